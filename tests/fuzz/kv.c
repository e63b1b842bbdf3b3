/*
 * The key-value protocol, through sockets and the real streams: two equal stores get the same bytes, one in
 * one piece, one cut into many, and must say the same. Time goes by between two halves, so that keys expire.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon.h"
#include "fuzz.h"
#include "world.h"

#define SENT_MAX 16384 /* what the sockets' buffers take without being read */

#define SETTINGS                                                                         \
	"{ type = \"kv\"; listen = \"tcp://127.0.0.1:0\"; max_line = 100; max_key = 8; " \
	"max_value = 60; max_memory = 2000; };"
static const char config[] = "log = { level = \"debug\"; target = \"/dev/null\"; };"
			     "services = { one = " SETTINGS " two = " SETTINGS " };";

struct said {
	char bytes[1 << 20];
	size_t length;
	int error; /* how it ended: 0 = by an EOF */
};

/* What has come by now; true when there is no more to come. */
static bool listen_to(struct said *said, int fd)
{
	ssize_t n;

	while (
	    (n = recv(fd, said->bytes + said->length, sizeof(said->bytes) - said->length, 0)) > 0)
		said->length += (size_t)n;
	said->error = n == 0 ? 0 : errno;
	return n == 0 || errno != EAGAIN;
}

/* Sends all in pieces of these lengths, half-closes, and hears the answers to their end. */
static void talk(struct server *server, const char *name, struct input bytes, const size_t *pieces,
    size_t piece_count, struct said *said)
{
	int fd = daemon_connect(server, name, 0);
	bool ended = false;

	require(fd != -1);
	said->length = 0;
	for (size_t i = 0; input_left(&bytes) > 0; i++) {
		size_t length = pieces[i % piece_count];
		const uint8_t *piece = input_bytes(&bytes, &length);

		send(fd, piece, length, MSG_NOSIGNAL);
		daemon_turn(server);
		ended = listen_to(said, fd);
	}
	shutdown(fd, SHUT_WR);
	for (int i = 0; i < 1000 && !ended; i++) {
		daemon_turn(server);
		ended = listen_to(said, fd);
	}
	require(ended);
	close(fd);
	daemon_turn(server);
}

/* The two stores get the same bytes. */
static void compare(struct server *server, struct input bytes, const size_t *pieces)
{
	static struct said whole, cut;
	const size_t all = SIZE_MAX;

	talk(server, "one", bytes, &all, 1, &whole);
	talk(server, "two", bytes, pieces, 4, &cut);
	require(whole.error == cut.error);
	require(whole.length == cut.length);
	require(memcmp(whole.bytes, cut.bytes, whole.length) == 0);
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
