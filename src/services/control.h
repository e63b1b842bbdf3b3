/*
 * What the control service asks of the daemon around it. A service cannot know the server, so the loop
 * carries whoever answers (loop->control).
 */
#ifndef ECHOD_SERVICES_CONTROL_H
#define ECHOD_SERVICES_CONTROL_H

#include <stddef.h>

struct errand;
struct evbuffer;
struct stream;

/* One request that is being answered. */
struct control_task;

enum control_progress {
	CONTROL_MORE,  /* there is more to say */
	CONTROL_WAITS, /* the host schedules `work` when the answer goes on */
	CONTROL_DONE,
};

struct control_host {
	/*
	 * Takes a request line of that client; `work` runs the client's next turn. The task ends with
	 * control_host.end(). NULL when out of memory.
	 */
	struct control_task *(*begin)(struct control_host *host, struct stream *client,
	    struct errand *work, const char *line, size_t length);
	/*
	 * Adds a piece of the answer, the last of them ending in a line "OK" or "ERROR: why". It is called
	 * outside of any stream's callback: it may end any stream.
	 */
	enum control_progress (*go_on)(struct control_task *task, struct evbuffer *out);
	void (*end)(struct control_task *task);
};

#endif
