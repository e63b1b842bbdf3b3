/*
 * How batches become durable. Those that clients wait for are committed to the spool, and from there, many as
 * one, to the journal; the others to the journal at once. Each of the two has a writer that waits for the disk;
 * all of this is the loop's.
 */
#ifndef ECHOD_KV_COMMITTER_H
#define ECHOD_KV_COMMITTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch;
struct committer;
struct error;
struct journal;

/* What has happened since it was last asked. */
struct commit_completion {
	struct batch *done;   /* is durable. The batches are the caller's again; NULL = none */
	struct batch *undone; /* has failed, and is not kept */
	bool failed;          /* what it has, or was about to get, is not durable */
	bool works;           /* at the moment */
	char why[256]; /* something has failed, be it only behind the spool; "" = nothing has */
	uint64_t log_bytes; /* that are not folded yet */
};

/*
 * Takes over the journal, whatever happens. `interval`, ms: the longest time between two batches of busy
 * clients, who have been answered; 0: they wait for each batch. `fd` is an eventfd that it makes readable
 * when there is news. NULL with the error.
 */
struct committer *committer_start(
    struct journal *journal, int64_t interval, int fd, struct error *error);
/* Its threads rest until then, so that whoever opens more stores at the start may fork. */
void committer_wake(struct committer *committer);

/*
 * Commits what it has and then the last batch (NULL = none), which it takes over; what has failed is tried
 * once more. Frees it all. 0, or -1 when that batch, or what was answered before it was durable, is lost.
 */
int committer_stop(struct committer *committer, struct batch *last);

/* Takes over a batch, one at a time; false when it cannot, and there will be news. */
bool committer_submit(struct committer *committer, struct batch *batch);

void committer_poll(struct committer *committer, struct commit_completion *news);

/* In how many ms it has to be asked, if there is no news before; -1 = it need not. */
int64_t committer_due(const struct committer *committer);

#endif
