/*
 * The key-value protocol, through sockets and the real streams: two equal stores get the same bytes, one in
 * one piece, one cut into many, and must say the same. Time goes by between two halves, so that keys expire.
 */
#include "daemon.h"
#include "fuzz.h"
#include "talk.h"
#include "world.h"

#define SETTINGS                                                                         \
	"{ type = \"kv\"; listen = \"tcp://127.0.0.1:0\"; max_line = 100; max_key = 8; " \
	"max_value = 60; max_memory = 2000; };"
static const char config[] = "log = { level = \"debug\"; target = \"/dev/null\"; };"
			     "services = { one = " SETTINGS " two = " SETTINGS " };";

/* The two stores get the same bytes. */
static void compare(struct server *server, struct input bytes, const size_t *pieces)
{
	static struct said whole, cut;
	const size_t all = SIZE_MAX;

	talk(server, "one", bytes, &all, 1, &whole);
	talk(server, "two", bytes, pieces, 4, &cut);
	require_same(&whole, &cut);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, data + (size < SENT_MAX ? size : SENT_MAX) };
	struct server *server = world_begin(config);
	const uint8_t *middle;
	size_t pieces[4];

	for (int i = 0; i < 4; i++)
		pieces[i] = 1u + input_byte(&input) % 64;
	middle = input.at + input_left(&input) / 2;
	compare(server, (struct input){ input.at, middle }, pieces);
	world_pass((int64_t)pieces[3] * 100);
	for (int i = 0; i < 10; i++) /* what has expired is swept */
		daemon_turn(server);
	compare(server, (struct input){ middle, input.end }, pieces);
	world_end(server);
	return 0;
}
