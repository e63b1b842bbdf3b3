/*
 * What a service does with what its clients send: handlers that return verdicts. A handler never ends a stream, and
 * frees nothing of the network.
 */
#ifndef ECHOD_NET_HANDLERS_H
#define ECHOD_NET_HANDLERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "net/framing.h"

struct evbuffer;
struct instance;
struct stream;

/* What is to become of the stream. */
enum verdict {
	VERDICT_CONTINUE,
	VERDICT_CLOSE,    /* send what is buffered, then close lingeringly */
	VERDICT_PROTOCOL, /* the same, because the client speaks another protocol */
	VERDICT_AUTH,     /* the same, because it has sent too many wrong passwords */
	VERDICT_ABORT,    /* reset at once */
	/*
	 * Only of `messages`: the reply to the last message that is consumed is not known yet. The service gets an empty run
	 * after stream_resume(); until then, the client is not read.
	 */
	VERDICT_WAIT,
};

/* One datagram as a service sees it. */
struct datagram {
	const char *bytes;
	size_t length;
	const struct sockaddr *from;
	socklen_t from_length;
};

enum handler_flags {
	HANDLERS_TAIL = 1 << 0,   /* `messages` gets the bytes behind the last line's end, too */
	HANDLERS_FINISH = 1 << 1, /* `eof` is called at a drain, too: what was begun is finished */
	HANDLERS_SEND_FILES = 1 << 2, /* the output may hold parts of files */
	HANDLERS_ADMINISTER =
	    1 << 3, /* clients may exceed limits.max_connections, and are not remembered */
	HANDLERS_RECEIVE =
	    1 << 4, /* takes broadcast and multicast datagrams, and answers nothing */
};

/* Each handler may be NULL. */
struct handlers {
	unsigned flags;
	size_t conn_size;              /* of the service's state per stream, bytes */
	const struct framing *framing; /* cuts the input into messages; NULL = its bytes are raw */
	const struct refusals *refusals;
	/* The reply that replaces those of a failed commit; NULL = the service promises none. */
	const char *failure;
	/* Of streams at redis:// addresses; NULL = the service cannot listen there. */
	const struct handlers *resp;
	enum verdict (*open)(struct stream *stream, struct evbuffer *out);
	/* Whole messages, in the order of their arrival; see struct run. Needs a framing. */
	enum verdict (*messages)(struct stream *stream, struct run *run);
	/*
	 * Raw bytes, without a framing: consumes what it wants of `in`. While more than 128 KiB are left there, the
	 * client is not read. A service with neither handler has its input dropped.
	 */
	enum verdict (*bytes)(struct stream *stream, struct evbuffer *in, struct evbuffer *out);
	/*
	 * The client has closed its side, and all input is consumed. CONTINUE: the service has more to send. Without
	 * this handler the stream is closed, or continues if there is `writable`.
	 */
	enum verdict (*eof)(struct stream *stream, struct evbuffer *out);
	/* At the start and whenever the output is short: may add to it, and is called again if it did. */
	enum verdict (*writable)(struct stream *stream, struct evbuffer *out);
	/* Whether the service is working for the client, which is not idle then. */
	bool (*busy)(struct stream *stream);
	void (*close)(struct stream *stream);
	/* As whom the client of that state has logged in, for an administrator, also after `close`; "" = it has not. */
	const char *(*user)(const void *state);
	/* Fills the reply and returns its length; -1 = no answer. */
	ssize_t (*datagram)(
	    struct instance *instance, const struct datagram *request, char *reply, size_t size);
};

#endif
