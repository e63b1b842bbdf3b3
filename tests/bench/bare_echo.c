/*
 * The least that a TCP echo server on epoll can do: one read, one write, level-triggered. No limits, no
 * deadlines, no log: what echod is measured against.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 256
#define BUFFER_SIZE (64 * 1024)

/* A client, with what its socket did not take. */
struct client {
	int fd;
	char *rest;
	size_t at, length;
};

static char buffer[BUFFER_SIZE];

static void watch(int epoll, struct client *client, int operation, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = client };

	epoll_ctl(epoll, operation, client->fd, &event);
}

static void leave(struct client *client)
{
	close(client->fd);
	free(client->rest);
	free(client);
}

static void greet(int epoll, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct client *client = fd == -1 ? NULL : calloc(1, sizeof(*client));

	if (client == NULL)
		return;
	client->fd = fd;
	watch(epoll, client, EPOLL_CTL_ADD, EPOLLIN);
}

/* Nothing more is read from the client until the rest has left. */
static void keep_rest(int epoll, struct client *client, size_t sent, size_t length)
{
	client->rest = malloc(length - sent);
	if (client->rest == NULL) {
		leave(client);
		return;
	}
	memcpy(client->rest, buffer + sent, length - sent);
	client->at = 0;
	client->length = length - sent;
	watch(epoll, client, EPOLL_CTL_MOD, EPOLLOUT);
}

static void send_rest(int epoll, struct client *client)
{
	ssize_t n =
	    send(client->fd, client->rest + client->at, client->length - client->at, MSG_NOSIGNAL);

	if (n == -1 && errno != EAGAIN) {
		leave(client);
		return;
	}
	client->at += n > 0 ? (size_t)n : 0;
	if (client->at < client->length)
		return;
	free(client->rest);
	client->rest = NULL;
	watch(epoll, client, EPOLL_CTL_MOD, EPOLLIN);
}

static void echo(int epoll, struct client *client)
{
	ssize_t length = recv(client->fd, buffer, sizeof(buffer), 0), sent;

	if (length <= 0) {
		leave(client);
		return;
	}
	sent = send(client->fd, buffer, (size_t)length, MSG_NOSIGNAL);
	if (sent == -1 && errno != EAGAIN)
		leave(client);
	else if (sent < length)
		keep_rest(epoll, client, sent == -1 ? 0 : (size_t)sent, (size_t)length);
}

/* Listens on a free port of the loopback and says which. */
static int listen_somewhere(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;

	/* As echod has it; sockets that are accepted inherit it. */
	if (fd == -1 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == -1 ||
	    bind(fd, (struct sockaddr *)&address, length) == -1 || listen(fd, 1024) == -1 ||
	    getsockname(fd, (struct sockaddr *)&address, &length) == -1)
		return -1;
	printf("listening on tcp://127.0.0.1:%d\n", ntohs(address.sin_port));
	fflush(stdout);
	return fd;
}

int main(void)
{
	struct client listener = { .fd = listen_somewhere() };
	struct epoll_event events[EVENTS];
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (listener.fd == -1 || epoll == -1) {
		perror("bare_echo");
		return 1;
	}
	watch(epoll, &listener, EPOLL_CTL_ADD, EPOLLIN);
	for (;;) {
		int n = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			struct client *client = events[i].data.ptr;

			if (client == &listener)
				greet(epoll, listener.fd);
			else if (client->rest != NULL)
				send_rest(epoll, client);
			else
				echo(epoll, client);
		}
	}
}
