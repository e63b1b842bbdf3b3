/*
 * kv: a key-value store in lines. The verbs are rows; what a line must look like is checked in one place,
 * and what the store answers becomes a reply in one place.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "kv/engine.h"
#include "kv/table.h"
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

/* One request on its way to the store. */
struct words {
	const char *verb, *key, *rest;
	size_t verb_length, key_length, rest_length;
	int count; /* behind the verb: none, a key, a key and more */
};

static enum verdict reply(struct evbuffer *out, const char *text)
{
	return evbuffer_add(out, text, strlen(text)) == -1 ? VERDICT_ABORT : VERDICT_CONTINUE;
}

/* --- what the store answers --- */

/* An answer that is lost would let every later one be taken for another's: it ends the client. */
struct answer {
	struct evbuffer *out;
	enum verdict verdict;
};

static void answer_get(void *client, enum engine_status status, const void *value, size_t length)
{
	struct answer *answer = client;

	if (status == ENGINE_NOT_FOUND)
		answer->verdict = reply(answer->out, "NOT_FOUND\n");
	else if (evbuffer_add(answer->out, value, length) == -1)
		answer->verdict = VERDICT_ABORT;
	else
		answer->verdict = reply(answer->out, "\n");
}

static void answer_set(void *client, enum engine_status status, const void *value, size_t length)
{
	struct answer *answer = client;

	(void)value;
	(void)length;
	answer->verdict =
	    reply(answer->out, status == ENGINE_FULL ? "ERROR: store is full\n" : "OK\n");
}

static void answer_del(void *client, enum engine_status status, const void *value, size_t length)
{
	struct answer *answer = client;

	(void)value;
	(void)length;
	answer->verdict =
	    reply(answer->out, status == ENGINE_NOT_FOUND ? "NOT_FOUND\n" : "DELETED\n");
}

/* --- the verbs --- */

static enum verdict verb_get(struct engine *engine, const struct words *w, struct evbuffer *out)
{
	struct answer answer = { .out = out };

	engine->ops->get(engine, w->key, w->key_length, answer_get, &answer);
	return answer.verdict;
}

static enum verdict verb_set(struct engine *engine, const struct words *w, struct evbuffer *out)
{
	struct answer answer = { .out = out };

	engine->ops->set(
	    engine, w->key, w->key_length, w->rest, w->rest_length, answer_set, &answer);
	return answer.verdict;
}

static enum verdict verb_del(struct engine *engine, const struct words *w, struct evbuffer *out)
{
	struct answer answer = { .out = out };

	engine->ops->del(engine, w->key, w->key_length, answer_del, &answer);
	return answer.verdict;
}

static enum verdict verb_quit(struct engine *engine, const struct words *w, struct evbuffer *out)
{
	(void)engine;
	(void)w;
	return reply(out, "BYE\n") == VERDICT_ABORT ? VERDICT_ABORT : VERDICT_CLOSE;
}

static const struct verb {
	const char *name;
	int min, max; /* words behind the verb; two or more count as two */
	enum verdict (*run)(struct engine *engine, const struct words *w, struct evbuffer *out);
} verbs[] = {
	{ "GET", 1, 1, verb_get },
	{ "SET", 2, 2, verb_set },
	{ "DEL", 1, 1, verb_del },
	{ "QUIT", 0, 2, verb_quit },
};

/* --- a line --- */

/* Takes the first word off the bytes, and the white space behind it. */
static void take_word(const char **word, size_t *word_length, const char **bytes, size_t *length)
{
	size_t n = 0;

	*word = *bytes;
	while (n < *length && !is_space((*bytes)[n]))
		n++;
	*word_length = n;
	while (n < *length && is_space((*bytes)[n]))
		n++;
	*bytes += n;
	*length -= n;
}

static void split(struct words *w, const char *line, size_t length)
{
	take_word(&w->verb, &w->verb_length, &line, &length);
	take_word(&w->key, &w->key_length, &line, &length);
	w->rest = line;
	w->rest_length = length;
	w->count = (w->key_length > 0) + (w->rest_length > 0);
}

static const struct verb *find_verb(const struct words *w)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		const struct verb *verb = &verbs[i];

		if (strlen(verb->name) == w->verb_length &&
		    strncasecmp(verb->name, w->verb, w->verb_length) == 0)
			return w->count >= verb->min && w->count <= verb->max ? verb : NULL;
	}
	return NULL;
}

static enum verdict run(struct instance *instance, const struct words *w, struct evbuffer *out)
{
	const struct kv_conf *conf = instance->conf;
	const struct verb *verb = find_verb(w);

	if (verb == NULL)
		return reply(out, "ERROR: unknown command\n");
	if (verb->min > 0 && w->key_length > (size_t)conf->max_key)
		return reply(out, "ERROR: key too long\n");
	if (verb->min > 1 && w->rest_length > (size_t)conf->max_value)
		return reply(out, "ERROR: value too long\n");
	return verb->run(instance->state, w, out);
}

static enum verdict kv_line(struct stream *stream, struct evbuffer *out, char *line, size_t length)
{
	const char *stripped = line;
	struct words words;

	strip(&stripped, &length);
	if (length == 0)
		return reply(out, "ERROR: empty command\n");
	split(&words, stripped, length);
	return run(stream_instance(stream), &words, out);
}

/* The keys of the lines to come; a line without one costs a glance at an empty key's place. */
static void kv_expect(struct stream *stream, const struct line *lines, size_t count)
{
	struct engine *engine = stream_instance(stream)->state;
	struct table_key keys[EXPECT_MAX];

	for (size_t i = 0; i < count; i++) {
		const char *bytes = lines[i].bytes;
		size_t length = lines[i].length;
		struct words words;

		strip(&bytes, &length);
		split(&words, bytes, length);
		keys[i] = (struct table_key){ words.key, words.key_length };
	}
	engine->ops->expect(engine, keys, count);
}

static enum verdict kv_open(struct stream *stream, struct evbuffer *out)
{
	(void)stream;
	return reply(out, "READY\n");
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

static const struct handlers handlers = {
	.open = kv_open,
	.line = kv_line,
	.expect = kv_expect,
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
};
