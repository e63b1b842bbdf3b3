/* The spool's files take turns: one fills while the journal commits what the other one has. */
#include "kv/committer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "core/clock.h"
#include "core/error.h"
#include "kv/batch.h"
#include "kv/journal.h"
#include "kv/spool.h"
#include "kv/writer.h"

/* The journal gets what is spooled when it is so much, or so old: a copy of the journal lacks no more. */
#define SPOOLED_ENOUGH ((size_t)4 << 20)
#define SPOOLED_MS 200
/* Where clients begin to wait for a journal that does not keep up. */
#define SPOOLED_MAX ((size_t)64 << 20)

struct committer {
	struct writer *to_journal, *to_spool; /* the latter NULL: no client waits */
	int fd;                               /* the eventfd that both make readable */
	bool journal_works, spool_works;
	struct spool *spool;
	int file;              /* of the spool, that fills */
	bool appending;        /* the spool's writer has a batch */
	struct batch *spooled; /* what the file holds */
	int64_t spooled_since; /* ms, when it got its first batch */
	struct batch *moving;  /* is with the journal's writer, and what the other file holds */
};

/* --- from the spool to the journal --- */

static bool is_empty(const struct batch *batch)
{
	return TAILQ_EMPTY(&batch->records);
}

static int begin_file(struct batch *batch, int file)
{
	batch->spool_file = file;
	return siphash_key_random(&batch->next_key);
}

/* Nothing is lost or held up if it does not succeed: the file goes on filling. */
static void move(struct committer *c)
{
	struct batch *batch = c->spooled, *next = batch_new(0);

	c->spooled_since = clock_ms();
	if (next == NULL || begin_file(batch, c->file) == -1 ||
	    !writer_give(c->to_journal, batch)) {
		batch_free(next);
		return;
	}
	c->moving = batch;
	c->spooled = next;
	c->file = !c->file;
}

static void end_move(struct committer *c, struct batch *moved)
{
	spool_begin(c->spool, moved->spool_file, &moved->next_key);
	batch_free(moved);
	c->moving = NULL;
}

static void keep_spooled(struct committer *c, struct batch *done)
{
	if (is_empty(c->spooled))
		c->spooled_since = clock_ms();
	batch_join(done, c->spooled);
}

/* A file is the writer's while it appends, or recovers from having failed to. */
static bool can_move(const struct committer *c)
{
	return c->spool != NULL && !c->appending && c->spool_works && c->moving == NULL &&
	       c->journal_works && !is_empty(c->spooled);
}

int64_t committer_due(const struct committer *c)
{
	int64_t left;

	if (!can_move(c))
		return -1; /* when it can, there will be news */
	left = c->spooled_since + SPOOLED_MS - clock_ms();
	return left > 0 ? left : 0;
}

/* --- batches and news --- */

bool committer_submit(struct committer *c, struct batch *batch)
{
	if (c->spool == NULL)
		return writer_give(c->to_journal, batch);
	if (c->spooled->size >= SPOOLED_ENOUGH && can_move(c))
		move(c);
	if (c->spooled->size >= SPOOLED_MAX)
		return false;
	batch->spool_file = c->file;
	c->appending = writer_give(c->to_spool, batch);
	return c->appending;
}

static void note_state(bool *works, const struct writer_news *news)
{
	if (news->failed)
		*works = false;
	if (news->recovered)
		*works = true;
}

static void ask_journal(struct committer *c, struct commit_completion *news)
{
	struct writer_news journal;

	writer_ask(c->to_journal, &journal);
	note_state(&c->journal_works, &journal);
	news->log_bytes = journal.log_bytes;
	if (journal.failed)
		memcpy(news->why, journal.why, sizeof(news->why));
	if (c->spool == NULL) {
		news->done = journal.done;
		news->failed = journal.failed;
	} else if (journal.done != NULL) {
		end_move(c, journal.done);
	}
}

static void ask_spool(struct committer *c, struct commit_completion *news)
{
	struct writer_news spool;

	writer_ask(c->to_spool, &spool);
	note_state(&c->spool_works, &spool);
	if (spool.failed)
		memcpy(news->why, spool.why, sizeof(news->why));
	news->done = spool.done;
	news->undone = spool.undone;
	news->failed = spool.failed;
	c->appending &= spool.done == NULL && spool.undone == NULL;
	if (spool.done != NULL)
		keep_spooled(c, spool.done);
	if (committer_due(c) == 0)
		move(c);
	news->log_bytes += c->spooled->size + (c->moving == NULL ? 0 : c->moving->size);
}

/*
 * Must run before either writer is asked: the read clears the calls of both, so a report that arrives between
 * asking a writer and a later read would not wake the loop.
 */
static void read_calls(struct committer *c)
{
	bool called = writer_has_called(c->to_journal);
	eventfd_t calls;

	if (c->to_spool != NULL)
		called |= writer_has_called(c->to_spool);
	if (called)
		eventfd_read(c->fd, &calls);
}

void committer_poll(struct committer *c, struct commit_completion *news)
{
	*news = (struct commit_completion){ .done = NULL };
	read_calls(c);
	ask_journal(c, news);
	if (c->spool != NULL)
		ask_spool(c, news);
	news->works = c->journal_works && c->spool_works;
}

void committer_wake(struct committer *c)
{
	writer_wake(c->to_journal);
	if (c->to_spool != NULL)
		writer_wake(c->to_spool);
}

/* --- beginning and end --- */

static int start_spool(struct committer *c, struct journal *journal, int fd, struct error *error)
{
	c->spooled = batch_new(0);
	if (c->spooled != NULL)
		c->spool = journal_spool(journal, error);
	if (c->spool == NULL)
		return -1;
	c->to_spool = writer_start(&c->spool->medium, 0, fd);
	if (c->to_spool == NULL)
		error_errno(error, "cannot start a thread");
	return c->to_spool == NULL ? -1 : 0;
}

static int start_writers(
    struct committer *c, struct journal *journal, int64_t interval, int fd, struct error *error)
{
	bool spools = interval == 0;

	if (spools && start_spool(c, journal, fd, error) == -1) {
		journal_close(journal);
		return -1;
	}
	c->to_journal = writer_start(journal_medium(journal), spools ? SPOOLED_MS : interval, fd);
	if (c->to_journal == NULL)
		error_errno(error, "cannot start a thread");
	return c->to_journal == NULL ? -1 : 0;
}

struct committer *committer_start(
    struct journal *journal, int64_t interval, int fd, struct error *error)
{
	struct committer *c = calloc(1, sizeof(*c));

	error_memory(error);
	if (c == NULL) {
		journal_close(journal);
		return NULL;
	}
	c->fd = fd;
	c->journal_works = c->spool_works = true;
	if (start_writers(c, journal, interval, fd, error) == 0)
		return c;
	if (c->to_spool != NULL)
		writer_stop(c->to_spool, NULL);
	batch_free(c->spooled);
	free(c);
	return NULL;
}

/* What the spool has and the last batch, for the journal; NULL = nothing, or it has to stay in the spool. */
static struct batch *stop_spool(struct committer *c, struct batch *last)
{
	struct commit_completion news;
	struct batch *spooled;

	writer_finish(c->to_spool);
	committer_poll(c, &news);
	batch_free(news.done);
	batch_free(news.undone);
	writer_stop(c->to_spool, NULL);
	spooled = c->spooled;
	if (last != NULL)
		batch_join(last, spooled);
	batch_free(last);
	if (!is_empty(spooled) && begin_file(spooled, c->file) == 0)
		return spooled;
	batch_free(spooled);
	return NULL;
}

int committer_stop(struct committer *c, struct batch *last)
{
	int result;

	if (c->spool != NULL)
		last = stop_spool(c, last);
	result = writer_stop(c->to_journal, last);
	free(c);
	return result;
}
