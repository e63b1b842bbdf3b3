/*
 * The key-value service in RESP, through sockets and the real streams: two equal daemons get the same bytes, one in one
 * piece, one cut into many, and must say the same. Time goes by between two clients, so that keys expire, also those that
 * the first one has left.
 */
#include "daemon.h"
#include "fuzz.h"
#include "talk.h"
#include "world.h"

static const char config[] = "log = { level = \"debug\"; target = \"/dev/null\"; };"
			     "services = { kv = { listen = \"redis://127.0.0.1:0\"; max_key = 8; "
			     "max_value = 60; max_memory = 4000; }; };";

static void play(struct input bytes, const size_t *pieces, size_t piece_count, int64_t pause,
    struct said said[2])
{
	struct server *server = world_begin(config);
	const uint8_t *middle = bytes.at + input_left(&bytes) / 2;

	talk(server, "kv", (struct input){ bytes.at, middle }, pieces, piece_count, &said[0]);
	world_pass(pause);
	for (int i = 0; i < 10; i++) /* what has expired is swept */
		daemon_turn(server);
	talk(server, "kv", (struct input){ middle, bytes.end }, pieces, piece_count, &said[1]);
	world_end(server);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, data + (size < SENT_MAX ? size : SENT_MAX) };
	static struct said whole[2], cut[2];
	const size_t all = SIZE_MAX;
	size_t pieces[4];
	int64_t pause;

	for (int i = 0; i < 4; i++)
		pieces[i] = 1u + input_byte(&input) % 64;
	pause = (int64_t)pieces[3] * 100;
	play(input, &all, 1, pause, whole);
	play(input, pieces, 4, pause, cut);
	for (int i = 0; i < 2; i++)
		require_same(&whole[i], &cut[i]);
	return 0;
}
