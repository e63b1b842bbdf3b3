/*
 * Clients whose replies wait for a commit. The replies lie in the output of the held stream already; a hold
 * knows where they are, so that they can be taken back when the commit fails.
 */
#ifndef ECHOD_SERVICES_KV_HOLD_H
#define ECHOD_SERVICES_KV_HOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct hold;
struct stream;

LIST_HEAD(hold_list, hold);

/* All holds of a store; zeroed = there are none. */
struct holds {
	struct hold_list waiting;
	uint64_t safe; /* the last commit that is */
};

/*
 * The reply at these bytes of the output rests on the commit. *hold is the client's, NULL before its
 * first held reply and again once they are settled. 0, or -1 when out of memory.
 */
int hold_reply(struct holds *holds, struct hold **hold, struct stream *stream, uint64_t commit,
    size_t begin, size_t end);

/*
 * Releases the clients that wait for no later commit. Unless they are safe, each reply that rests on an
 * unsafe one is exchanged for `failure` first.
 */
void holds_settle(struct holds *holds, uint64_t commit, bool safe, const char *failure);

/* The client leaves; NULL is fine. */
void hold_forget(struct hold *hold);

#endif
