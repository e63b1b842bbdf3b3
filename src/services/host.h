/*
 * What the server and the control service ask of the code above them, which they cannot know: main.c gives the server
 * a host, and the loop carries it (loop->host).
 */
#ifndef ECHOD_SERVICES_HOST_H
#define ECHOD_SERVICES_HOST_H

#include <stddef.h>

struct evbuffer;
struct server;
struct stream;
struct task;

/* One request that is being answered. */
struct control_task;

enum control_progress {
	CONTROL_MORE,  /* another piece follows */
	CONTROL_WAITS, /* the host schedules `work` when the answer goes on */
	CONTROL_DONE,
};

struct host {
	struct server *server; /* the server sets it */
	/*
	 * Begins a request line of that client; `work` runs the client's next turn. The task ends with end(). NULL
	 * when out of memory.
	 */
	struct control_task *(*begin)(const struct host *host, struct stream *client,
	    struct task *work, const char *line, size_t length);
	/*
	 * Adds a piece of the answer, the last of them ending in a line "OK" or "ERROR: why". It is called
	 * outside of any stream's callback: it may end any stream.
	 */
	enum control_progress (*go_on)(struct control_task *task, struct evbuffer *out);
	void (*end)(struct control_task *task);
	/* Logs the state of the server. */
	void (*dump)(const struct host *host);
};

#endif
