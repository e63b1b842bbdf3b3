#include "talk.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon.h"

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

void talk(struct server *server, const char *name, struct input bytes, const size_t *pieces,
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

void require_same(const struct said *one, const struct said *other)
{
	require(one->error == other->error);
	require(one->length == other->length);
	require(memcmp(one->bytes, other->bytes, one->length) == 0);
}
