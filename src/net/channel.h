/*
 * A channel: the socket of a client, with the buffers and the events of its bufferevent. What differs between a plain
 * socket and TLS is behind struct channel_ops. The channel owns the descriptor.
 *
 * Both events of the bufferevent call the stream, not libevent's reader and writer. That reader asks FIONREAD before each
 * read and then takes 4096 bytes at most (#798); that writer is enabled by each addition to the output, and would send
 * it in the clear.
 */
#ifndef ECHOD_NET_CHANNEL_H
#define ECHOD_NET_CHANNEL_H

#include <event2/util.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct bufferevent;
struct event_base;
struct tls;
struct tls_context;
struct tls_identity;

#define CHANNEL_READ_SMALL (4096 - 64) /* with libevent's header, a page */
/* The bound of a turn, without that header: messages of 64 KiB would be cut in two. */
#define CHANNEL_READ_LARGE (64 * 1024)

struct channel {
	const struct channel_ops *ops;
	struct bufferevent *bev;
	struct tls *tls; /* NULL = plain, or TLS is over */
	size_t piece;    /* bytes, the most that one send takes */
	size_t fetched;  /* bytes off the socket by the last receive(); over TLS, of ciphertext */
	int fd;
	bool reading, writing; /* what is polled for */
	bool large_read;       /* the last read filled its buffer: the next one asks for more */
	bool sends_files;      /* the output may hold parts of files */
	bool established;      /* false = the TLS handshake is not over */
	bool wants_write;  /* TLS has to send something first: receive() once the socket takes it */
	bool in_record;    /* a record is sent in part: nothing is read before the rest is */
	bool eof;          /* receive() has met the end of what the client sends */
	bool truncated;    /* and TLS has not announced it: an attacker may have cut it off */
	uint8_t tls_cause; /* enum tls_cause, once receive() or send() has failed with EPROTO */
	const char *tls_error; /* what OpenSSL says of it, a constant; or NULL */
};

struct channel_ops {
	/* Reads once into the input: the number of bytes, 0 at EOF, or -1 with errno. May find bytes and EOF at once. */
	ssize_t (*receive)(struct channel *channel);
	/*
	 * Sends at most so many bytes of the output, which is not empty: the number of bytes, 0 = a file has become
	 * shorter than what was to be sent of it, or -1 with errno.
	 */
	ssize_t (*send)(struct channel *channel, size_t most);
	/* Tells the client that nothing more will be sent. False = the socket does not take it yet: see wants_write. */
	bool (*finish)(struct channel *channel);
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

/* Begins TLS on a plain channel that has not moved a byte. 0, or -1 when out of memory, and it stays plain. */
int channel_start_tls(struct channel *channel, struct tls_context *context);

/* "TLSv1.3", a constant; NULL = plain. */
const char *channel_tls_version(const struct channel *channel);
/* Whom the client's certificate names; false = it has shown none. */
bool channel_identity(const struct channel *channel, struct tls_identity *identity);

/* Sets what is polled for. 0, or -1 when epoll refuses. */
int channel_poll(struct channel *channel, bool reading, bool writing);

/* Has `again` called in the next turn of the loop, after the clients that are ready in this one. */
void channel_again(struct channel *channel);

#endif
