/*
 * kv: a key-value store in lines. The verbs are rows; what a line must look like is checked in one place,
 * and what the store answers becomes a reply in one place. Lines that have come together are served in
 * three steps, all of them at each: they are split, their keys are readied, and they are run.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "kv/engine.h"
#include "kv/journal.h"
#include "net/errand.h"
#include "services/kv_hold.h"
#include "services/kv_replies.h"
#include "services/service.h"

struct kv_conf {
	char *storage; /* "" = none */
	int sync;      /* enum sync */
	int64_t sync_interval;
	int64_t max_memory, max_key, max_value;
};

enum sync { SYNC_ALWAYS, SYNC_INTERVAL };
static const char *const syncs[] = { "always", "interval", NULL };

static const struct option_row rows[] = {
	OPTION(struct kv_conf, storage, string, .flags = OPTION_RESTART | OPTION_EMPTY,
	    .fallback = "\"\"",
	    .help = "The absolute path of a directory that makes the store durable; it is made if "
		    "it is missing. Without one all is forgotten at the end."),
	OPTION(struct kv_conf, sync, choice, .flags = OPTION_RESTART, .fallback = "\"always\"",
	    .choices = syncs,
	    .help = "Answer a change when it is safe on the disk, or at once, and make it safe "
		    "within sync_interval."),
	OPTION(struct kv_conf, sync_interval, duration, .flags = OPTION_RESTART, .min = 10,
	    .max = 3600 * 1000, .fallback = "1", .unit = "seconds",
	    .help = "What sync = \"interval\" may lose."),
	OPTION(struct kv_conf, max_memory, size, .min = 0, .max = INT64_MAX, .fallback = "\"64M\"",
	    .unit = "bytes",
	    .help = "What keys, values and their index may take; a SET past it is refused. 0 = no "
		    "limit."),
	OPTION(struct kv_conf, max_key, size, .min = 1, .max = 65535, .fallback = "250",
	    .unit = "bytes", .help = "The longest key."),
	OPTION(struct kv_conf, max_value, size, .min = 1, .max = 512 * 1024, .fallback = "\"64K\"",
	    .unit = "bytes",
	    .help = "The longest value; it must also fit into a line (max_line) with its verb and "
		    "key."),
	OPTION_END,
};

/* An instance's state. */
struct kv_store {
	struct engine *engine;
	struct errand *work; /* of the engine */
	struct holds holds;
	/* SETs that were refused for lack of memory: */
	uint64_t refused;        /* since the start */
	bool is_full;            /* the last one was refused; then: */
	uint64_t refused_before; /* `refused` when the store became full */
	size_t smallest;         /* refused since then, bytes of key and value */
};

/* A client's state. */
struct kv_client {
	struct hold *hold;
};

struct word {
	const char *bytes;
	size_t length;
};

/* A request: the verb, and behind it a key, and more. */
struct words {
	struct word verb, rest;
	struct table_key *key; /* length 0 = there is none */
	int count;             /* behind the verb: none, a key, a key and more */
};

/* Requests of one client that are served together, and their replies. */
struct requests {
	struct stream *stream;
	struct kv_store *store;
	const struct kv_conf *conf;
	struct replies replies;
	bool held; /* some reply waits for a commit */
};

static enum verdict reply(struct requests *r, const char *text)
{
	replies_text(&r->replies, text);
	return VERDICT_CONTINUE;
}

/* --- what the store answers --- */

static const char failure[] = "ERROR: storage failed\n";

static enum verdict reply_value(struct requests *r, const struct table_value *value)
{
	replies_add(&r->replies, value->bytes, value->length);
	return reply(r, "\n");
}

/* Keeps the reply that began there until the commit it rests on is settled. */
static enum verdict keep_back(struct requests *r, uint64_t commit, size_t begin)
{
	struct kv_client *client = stream_state(r->stream);

	if (hold_reply(&r->store->holds, &client->hold, r->stream, commit, begin,
		replies_end(&r->replies)) == -1)
		return VERDICT_ABORT;
	r->held = true;
	return VERDICT_CONTINUE;
}

/* Replies what the store has answered; `done` is its reply to success, NULL = the value. */
static enum verdict tell(struct requests *r, const struct engine_answer *answer, const char *done)
{
	size_t begin = replies_end(&r->replies);

	switch (answer->status) {
	case ENGINE_OK:
		done == NULL ? reply_value(r, &answer->value) : reply(r, done);
		break;
	case ENGINE_NOT_FOUND:
		reply(r, "NOT_FOUND\n");
		break;
	case ENGINE_FULL:
		reply(r, "ERROR: store is full\n");
		break;
	case ENGINE_FAILED:
		reply(r, failure);
		break;
	}
	return answer->commit == 0 ? VERDICT_CONTINUE : keep_back(r, answer->commit, begin);
}

/* --- the verbs --- */

static enum verdict verb_get(struct requests *r, const struct words *w)
{
	struct engine *engine = r->store->engine;
	struct engine_answer answer = engine->ops->get(engine, w->key);

	return tell(r, &answer, NULL);
}

static void note_refused_set(struct requests *r, const struct words *w)
{
	struct kv_store *store = r->store;
	size_t bytes = w->key->length + w->rest.length;

	if (!store->is_full) {
		store->is_full = true;
		store->refused_before = store->refused;
		store->smallest = bytes;
		log_warning("%s: the store is full, SETs are refused; see max_memory",
		    stream_instance(r->stream)->name);
	}
	if (bytes < store->smallest)
		store->smallest = bytes;
	store->refused++;
}

/* A SET has worked, but may have needed no memory: the store has room only if the smallest refused one fits. */
static void note_room(struct requests *r)
{
	struct kv_store *store = r->store;
	size_t limit = (size_t)r->conf->max_memory;
	struct engine_stats stats;

	store->engine->ops->stats(store->engine, &stats);
	if (limit != 0 && stats.table.memory + store->smallest > limit)
		return;
	store->is_full = false;
	log_info("%s: the store takes SETs again; %" PRIu64 " were refused",
	    stream_instance(r->stream)->name, store->refused - store->refused_before);
}

static enum verdict verb_set(struct requests *r, const struct words *w)
{
	struct engine *engine = r->store->engine;
	struct engine_answer answer =
	    engine->ops->set(engine, w->key, w->rest.bytes, w->rest.length);

	if (answer.status == ENGINE_FULL)
		note_refused_set(r, w);
	else if (r->store->is_full && answer.status == ENGINE_OK)
		note_room(r);
	return tell(r, &answer, "OK\n");
}

static enum verdict verb_del(struct requests *r, const struct words *w)
{
	struct engine *engine = r->store->engine;
	struct engine_answer answer = engine->ops->del(engine, w->key);

	return tell(r, &answer, "DELETED\n");
}

static enum verdict verb_quit(struct requests *r, const struct words *w)
{
	(void)w;
	reply(r, "BYE\n");
	return VERDICT_CLOSE;
}

#define VERB(name) name, sizeof(name) - 1

static const struct verb {
	const char *name;
	size_t length;
	int min, max; /* words behind the verb; two or more count as two */
	enum verdict (*run)(struct requests *r, const struct words *w);
} verbs[] = {
	{ VERB("GET"), 1, 1, verb_get },
	{ VERB("SET"), 2, 2, verb_set },
	{ VERB("DEL"), 1, 1, verb_del },
	{ VERB("QUIT"), 0, 2, verb_quit },
};

/* --- a line --- */

/* Takes the first word off the bytes, and the white space behind it. */
static struct word take_word(struct word *bytes)
{
	struct word word = { bytes->bytes, 0 };
	size_t n = 0;

	while (n < bytes->length && !is_space(bytes->bytes[n]))
		n++;
	word.length = n;
	while (n < bytes->length && is_space(bytes->bytes[n]))
		n++;
	bytes->bytes += n;
	bytes->length -= n;
	return word;
}

static void split(struct words *w, const struct line *line, struct table_key *key)
{
	struct word word;

	w->rest = (struct word){ line->bytes, line->length };
	strip(&w->rest.bytes, &w->rest.length);
	w->verb = take_word(&w->rest);
	word = take_word(&w->rest);
	*key = (struct table_key){ word.bytes, word.length, 0 };
	w->key = key;
	w->count = (word.length > 0) + (w->rest.length > 0);
}

/* In any case; 0x20 is what a small ASCII letter differs by. */
static bool is_verb(const struct verb *verb, const struct word *word)
{
	if (word->length != verb->length)
		return false;
	for (size_t i = 0; i < verb->length; i++)
		if ((word->bytes[i] & ~0x20) != verb->name[i])
			return false;
	return true;
}

static const struct verb *find_verb(const struct words *w)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		const struct verb *verb = &verbs[i];

		if (is_verb(verb, &w->verb))
			return w->count >= verb->min && w->count <= verb->max ? verb : NULL;
	}
	return NULL;
}

static enum verdict run_words(struct requests *r, const struct words *w)
{
	const struct verb *verb = find_verb(w);

	if (w->verb.length == 0)
		return reply(r, "ERROR: empty command\n");
	if (verb == NULL)
		return reply(r, "ERROR: unknown command\n");
	if (verb->min > 0 && w->key->length > (size_t)r->conf->max_key)
		return reply(r, "ERROR: key too long\n");
	if (verb->min > 1 && w->rest.length > (size_t)r->conf->max_value)
		return reply(r, "ERROR: value too long\n");
	return verb->run(r, w);
}

static enum verdict kv_lines(struct stream *stream, struct evbuffer *out, struct lines_run *run)
{
	const struct instance *instance = stream_instance(stream);
	struct requests r = { .stream = stream, .store = instance->state, .conf = instance->conf };
	struct engine *engine = r.store->engine;
	struct table_key keys[LINES_PER_RUN];
	struct words words[LINES_PER_RUN];
	enum verdict verdict = VERDICT_CONTINUE;

	replies_begin(&r.replies, out);
	for (size_t i = 0; i < run->count; i++)
		split(&words[i], &run->lines[i], &keys[i]);
	engine->ops->prepare(engine, keys, run->count);
	while (verdict == VERDICT_CONTINUE && run->taken < run->count &&
	       replies_end(&r.replies) <= STREAM_OUTPUT_HIGH) {
		verdict = run_words(&r, &words[run->taken]);
		run->taken++;
	}
	replies_flush(&r.replies);
	run->held = r.held;
	/* A reply that is lost would let every later one be taken for another's. */
	return r.replies.lost ? VERDICT_ABORT : verdict;
}

static enum verdict kv_open(struct stream *stream, struct evbuffer *out)
{
	(void)stream;
	return evbuffer_add(out, "READY\n", 6) == -1 ? VERDICT_ABORT : VERDICT_CONTINUE;
}

static void kv_close(struct stream *stream)
{
	struct kv_client *client = stream_state(stream);

	hold_forget(client->hold);
}

/* --- the instance --- */

static bool is_durable(const struct kv_conf *conf)
{
	return *conf->storage != '\0';
}

static int check(const struct instance_config *config, const char **key, char *why, size_t why_size)
{
	const struct kv_conf *conf = config->parts[PART_OWN].fields;

	if (!is_durable(conf))
		return 0;
	if (*conf->storage != '/') {
		*key = "storage";
		snprintf(why, why_size, "expected an absolute path, got \"%s\"", conf->storage);
		return -1;
	}
	if (conf->max_key > JOURNAL_KEY_MAX) {
		*key = "max_key";
		snprintf(why, why_size, "expected at most %d with storage, got %" PRId64,
		    JOURNAL_KEY_MAX, conf->max_key);
		return -1;
	}
	return 0;
}

static const char *kv_storage(const void *conf)
{
	return is_durable(conf) ? ((const struct kv_conf *)conf)->storage : NULL;
}

static void store_free(struct kv_store *store)
{
	errand_free(store->work);
	if (store->engine != NULL)
		store->engine->ops->free(store->engine);
	free(store);
}

static void work(void *arg)
{
	struct kv_store *store = arg;

	store->engine->ops->work(store->engine);
}

static void work_in(void *arg, int64_t ms)
{
	struct kv_store *store = arg;

	errand_in(store->work, ms);
}

static void settled(void *arg, uint64_t commit, bool safe)
{
	struct kv_store *store = arg;

	holds_settle(&store->holds, commit, safe, failure);
}

static struct engine *new_engine(
    const struct instance *instance, struct kv_store *store, char *why, size_t why_size)
{
	const struct kv_conf *conf = instance->conf;
	struct engine_settings settings = {
		.name = instance->name,
		.directory = conf->storage,
		.always = conf->sync == SYNC_ALWAYS,
		.interval = conf->sync_interval,
		.max_memory = (size_t)conf->max_memory,
	};
	struct engine_host host = { .work_in = work_in, .settled = settled, .arg = store };
	struct engine *engine;

	if (is_durable(conf))
		return durable_engine_new(&settings, &host, why, why_size);
	engine = memory_engine_new((size_t)conf->max_memory);
	if (engine == NULL)
		snprintf(why, why_size, "cannot make the table: %s", strerror(errno));
	return engine;
}

static int start(struct instance *instance, char *why, size_t why_size)
{
	struct kv_store *store = calloc(1, sizeof(*store));

	snprintf(why, why_size, "out of memory");
	if (store == NULL)
		return -1;
	store->engine = new_engine(instance, store, why, why_size);
	if (store->engine != NULL)
		store->work = errand_new(instance->loop, store->engine->fd, work, store);
	instance->state = store;
	if (store->work == NULL) {
		store_free(store);
		return -1;
	}
	work_in(store, 0);
	return 0;
}

static void reload(struct instance *instance)
{
	const struct kv_conf *conf = instance->conf;
	struct kv_store *store = instance->state;

	store->engine->ops->set_max_memory(store->engine, (size_t)conf->max_memory);
}

static void stop(struct instance *instance)
{
	store_free(instance->state);
}

static void report(const struct instance *instance, struct report *report)
{
	const struct kv_conf *conf = instance->conf;
	const struct kv_store *store = instance->state;
	uint64_t limit = (uint64_t)conf->max_memory;
	struct engine_stats stats;
	char text[320];

	store->engine->ops->stats(store->engine, &stats);
	report->number(report, "entries", stats.table.entries);
	report->number(report, "memory_bytes", stats.table.memory);
	report->number(report, "memory_limit_bytes", limit);
	if (limit != 0 && stats.table.memory > limit - limit / 20)
		report->problem(report, "its memory is full or nearly so");
	if (stats.durable) {
		report->number(report, "commits_total", stats.commits);
		report->number(report, "commit_failures_total", stats.failures);
		report->number(report, "unsettled", stats.unsettled);
		report->number(report, "journal_bytes", stats.log_bytes);
	}
	report->number(report, "refused_sets_total", store->refused);
	if (!stats.durable || !stats.read_only)
		return;
	snprintf(text, sizeof(text), "it is read-only: %s", stats.failure);
	report->problem(report, text);
}

static const struct handlers handlers = {
	.conn_size = sizeof(struct kv_client),
	.open = kv_open,
	.lines = kv_lines,
	.close = kv_close,
	.long_line = "ERROR: line too long\n",
	.refusal = "ERROR: too many connections\n",
	.foreign = FOREIGN_TEXTS("ERROR: this is the echod key-value port, not ", "\n"),
};

const struct service_ops service_kv = {
	.kind = SERVICE_KIND("kv", "A key-value store in lines: SET, GET, DEL, QUIT.",
	    SERVICE_LINES, SERVICE_OWN(rows, struct kv_conf)),
	.transports = SERVICE_STREAM,
	.exposes = "lets everybody who reaches it read and change the store",
	.handlers = &handlers,
	.storage = kv_storage,
	.check = check,
	.start = start,
	.reload = reload,
	.stop = stop,
	.report = report,
};
