/*
 * kv: a key-value store in lines. The verbs are rows; what a line must look like is checked in one place,
 * and what the store answers becomes a reply in one place. Lines that have come together are served in
 * three steps, all of them at each: they are split, their keys are readied, and they are run.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <stdio.h>
#include <string.h>

#include "kv/engine.h"
#include "services/kv_replies.h"
#include "services/service.h"

struct kv_conf {
	int64_t max_memory, max_key, max_value;
};

static const struct option_row rows[] = {
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
	struct engine *engine;
	const struct kv_conf *conf;
	struct replies replies;
};

static enum verdict reply(struct requests *r, const char *text)
{
	replies_text(&r->replies, text);
	return VERDICT_CONTINUE;
}

/* --- what the store answers --- */

static enum verdict reply_value(struct requests *r, const struct table_value *value)
{
	replies_add(&r->replies, value->bytes, value->length);
	return reply(r, "\n");
}

/* Replies what the store has answered; `done` is its reply to success, NULL = the value. */
static enum verdict tell(struct requests *r, const struct engine_answer *answer, const char *done)
{
	switch (answer->status) {
	case ENGINE_OK:
		return done == NULL ? reply_value(r, &answer->value) : reply(r, done);
	case ENGINE_NOT_FOUND:
		return reply(r, "NOT_FOUND\n");
	case ENGINE_FULL:
		return reply(r, "ERROR: store is full\n");
	case ENGINE_FAILED:
		break;
	}
	return reply(r, "ERROR: storage failed\n");
}

/* --- the verbs --- */

static enum verdict verb_get(struct requests *r, const struct words *w)
{
	struct engine *engine = r->engine;
	struct engine_answer answer = engine->ops->get(engine, w->key);

	return tell(r, &answer, NULL);
}

static enum verdict verb_set(struct requests *r, const struct words *w)
{
	struct engine *engine = r->engine;
	struct engine_answer answer =
	    engine->ops->set(engine, w->key, w->rest.bytes, w->rest.length);

	return tell(r, &answer, "OK\n");
}

static enum verdict verb_del(struct requests *r, const struct words *w)
{
	struct engine *engine = r->engine;
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
	struct requests r = { .engine = instance->state, .conf = instance->conf };
	struct table_key keys[LINES_PER_RUN];
	struct words words[LINES_PER_RUN];
	enum verdict verdict = VERDICT_CONTINUE;

	replies_begin(&r.replies, out);
	for (size_t i = 0; i < run->count; i++)
		split(&words[i], &run->lines[i], &keys[i]);
	r.engine->ops->prepare(r.engine, keys, run->count);
	while (verdict == VERDICT_CONTINUE && run->taken < run->count &&
	       replies_end(&r.replies) <= STREAM_OUTPUT_HIGH) {
		verdict = run_words(&r, &words[run->taken]);
		run->taken++;
	}
	replies_flush(&r.replies);
	/* A reply that is lost would let every later one be taken for another's. */
	return r.replies.lost ? VERDICT_ABORT : verdict;
}

static enum verdict kv_open(struct stream *stream, struct evbuffer *out)
{
	(void)stream;
	return evbuffer_add(out, "READY\n", 6) == -1 ? VERDICT_ABORT : VERDICT_CONTINUE;
}

/* --- the instance --- */

static int start(struct instance *instance, char *why, size_t why_size)
{
	const struct kv_conf *conf = instance->conf;

	instance->state = memory_engine_new((size_t)conf->max_memory);
	if (instance->state == NULL)
		snprintf(why, why_size, "cannot make the table: %s", strerror(errno));
	return instance->state == NULL ? -1 : 0;
}

static void reload(struct instance *instance)
{
	const struct kv_conf *conf = instance->conf;
	struct engine *engine = instance->state;

	engine->ops->set_max_memory(engine, (size_t)conf->max_memory);
}

static void stop(struct instance *instance)
{
	struct engine *engine = instance->state;

	engine->ops->free(engine);
}

static void report(const struct instance *instance, struct report *report)
{
	const struct kv_conf *conf = instance->conf;
	struct engine *engine = instance->state;
	uint64_t limit = (uint64_t)conf->max_memory;
	struct engine_stats stats;

	engine->ops->stats(engine, &stats);
	report->number(report, "entries", stats.table.entries);
	report->number(report, "memory_bytes", stats.table.memory);
	report->number(report, "memory_limit_bytes", limit);
	if (limit != 0 && stats.table.memory > limit - limit / 20)
		report->problem(report, "its memory is full or nearly so");
}

static const struct handlers handlers = {
	.open = kv_open,
	.lines = kv_lines,
	.long_line = "ERROR: line too long\n",
	.refusal = "ERROR: too many connections\n",
	.foreign = FOREIGN_TEXTS("ERROR: this is the echod key-value port, not ", "\n"),
};

const struct service_ops service_kv = {
	.kind = SERVICE_KIND("kv", "A key-value store in lines: SET, GET, DEL, QUIT.",
	    SERVICE_LINES, SERVICE_OWN(rows, struct kv_conf)),
	.transports = SERVICE_STREAM,
	.handlers = &handlers,
	.start = start,
	.reload = reload,
	.stop = stop,
	.report = report,
};
