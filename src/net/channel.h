/*
 * A channel: the socket of a client, with the buffers and the events of its bufferevent. What differs between a plain
 * socket and TLS is behind struct channel_ops. The channel owns the descriptor.
 *
 * Both events of the bufferevent call the stream, not libevent's reader and writer. That reader asks FIONREAD before each
 * read and then takes 4096 bytes at most (#798); that writer is enabled by each addition to the output.
 */
#ifndef ECHOD_NET_CHANNEL_H
#define ECHOD_NET_CHANNEL_H

#include <event2/util.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct bufferevent;
struct event_base;

#define CHANNEL_READ_SMALL (4096 - 64) /* with libevent's header, a page */
/* The bound of a turn, without that header: messages of 64 KiB would be cut in two. */
#define CHANNEL_READ_LARGE (64 * 1024)

struct channel {
	const struct channel_ops *ops;
	struct bufferevent *bev;
	int fd;
	bool reading, writing; /* what is polled for */
	bool large_read;       /* the last read filled its buffer: the next one asks for more */
	bool sends_files;      /* the output may hold parts of files */
};

struct channel_ops {
	/* Reads once into the input: the number of bytes, 0 at EOF, or -1 with errno. */
	ssize_t (*receive)(struct channel *channel);
	/*
	 * Sends at most so many bytes of the output, which is not empty: the number of bytes, 0 = a file has become
	 * shorter than what was to be sent of it, or -1 with errno.
	 */
	ssize_t (*send)(struct channel *channel, size_t most);
	/* Whether bytes are read off the socket and not yet in the input, so that epoll does not report them.
	 * NULL = never. */
	bool (*has_more)(const struct channel *channel);
	/* Tells the client that nothing more will be sent. */
	void (*finish)(struct channel *channel);
	/* Closes the descriptor and frees the rest, at once. */
	void (*close)(struct channel *channel);
};

extern const struct channel_ops channel_plain;

/* Called with the bufferevent as last argument, whose cbarg is the one given here. */
struct channel_callbacks {
	void (*readable)(evutil_socket_t fd, short events, void *bev);
	void (*writable)(evutil_socket_t fd, short events, void *bev);
	void (*again)(struct bufferevent *bev, void *arg); /* after channel_again() */
};

/* A plain channel, which is not polled yet. 0; or -1 when out of memory, and the descriptor stays the caller's. */
int channel_open(struct channel *channel, struct event_base *base, int fd,
    const struct channel_callbacks *callbacks, void *arg);

/* Sets what is polled for. 0, or -1 when epoll refuses. */
int channel_poll(struct channel *channel, bool reading, bool writing);

/* Has `again` called in the next turn of the loop, after the clients that are ready in this one. */
void channel_again(struct channel *channel);

#endif
