/*
 * time: one JSON request, one JSON answer; a datagram each, or a line each over a stream. The common
 * request is known by its bytes; all others go through jansson, and both write their answer by the same
 * function.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/json_memory.h"
#include "net/frame_lines.h"
#include "net/replies.h"
#include "services/service.h"

#define DEPTH_MAX 32
#define ANSWER_MAX 64 /* an answer without an id */
#define GROWTH_MAX 2  /* times its request: more to a datagram than that would make an amplifier */

enum format { FORMAT_PLAIN, FORMAT_ISO8601, FORMAT_UNIX };

/* What a request asks for. */
struct question {
	bool utc;
	enum format format;
	const json_t *id; /* borrowed from the request; NULL = none */
};

/* The text of the second that was last told: localtime and strftime cost more than all the rest. */
struct second {
	time_t at;
	char text[sizeof("2026-11-21 00:58:17")];
};

static const char canonical[] = "{\"type\": \"time\"}";
static const char unknown_request[] = "{\"error\": \"unknown request\"}";
static const char invalid_json[] = "{\"error\": \"invalid JSON\"}";

static int time_start(struct instance *instance, struct error *error)
{
	json_memory_watch();
	instance->state = calloc(1, sizeof(struct second));
	return instance->state == NULL ? error_memory(error) : 0;
}

/* The time zone may have changed. */
static void time_configure(struct instance *instance)
{
	((struct second *)instance->state)->at = 0;
}

/* The answer without an id. Returns its length, or -1. */
static int write_time(struct second *second, const struct question *question, char *to, size_t size)
{
	bool iso = question->format == FORMAT_ISO8601;
	struct second other = { .at = -1 };
	char offset[32] = "";
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	if (question->format == FORMAT_UNIX)
		return snprintf(
		    to, size, "{\"time\": %lld.%06ld}", (long long)now.tv_sec, now.tv_nsec / 1000);
	if (iso || question->utc)
		second = &other;
	if (second->at != now.tv_sec) {
		if ((question->utc ? gmtime_r : localtime_r)(&now.tv_sec, &tm) == NULL)
			return -1;
		strftime(second->text, sizeof(second->text), iso ? "%FT%T" : "%F %T", &tm);
		second->at = now.tv_sec;
		if (iso)
			snprintf(offset, sizeof(offset), "%c%02ld:%02ld",
			    tm.tm_gmtoff < 0 ? '-' : '+', labs(tm.tm_gmtoff) / 3600,
			    labs(tm.tm_gmtoff) / 60 % 60);
	}
	return snprintf(
	    to, size, "{\"time\": \"%s.%06ld%s\"}", second->text, now.tv_nsec / 1000, offset);
}

static ssize_t write_error(const char *text, char *to, size_t size)
{
	size_t length = strlen(text);

	if (length > size)
		return -1;
	memcpy(to, text, length);
	return (ssize_t)length;
}

static ssize_t write_answer(
    struct second *second, const struct question *question, char *to, size_t size)
{
	static const char key[] = ", \"id\": ";
	int length = write_time(second, question, to, size);
	size_t at = (size_t)length - 1 + sizeof(key) - 1, dumped;
	json_t *back;

	if (length == -1 || question->id == NULL)
		return length;
	/* Replaces the closing brace by `, "id": …}`. */
	if (at >= size)
		return write_error(invalid_json, to, size);
	memcpy(to + length - 1, key, sizeof(key) - 1);
	/*
	 * Writes a number with fifteen digits, so that 0.1 stays 0.1, unless it needs seventeen to be the same number
	 * when it is read back.
	 */
	dumped =
	    json_dumpb(question->id, to + at, size - at, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
	if (dumped > 0 && dumped <= size - at) {
		back = json_loadb(to + at, dumped, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
		if (!json_equal(back, question->id))
			dumped = json_dumpb(question->id, to + at, size - at,
			    JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
		json_decref(back);
	}
	if (dumped == 0)
		return -1;
	if (dumped >= size - at)
		return write_error(invalid_json, to, size);
	to[at + dumped] = '}';
	return (ssize_t)(at + dumped + 1);
}

/* jansson would go 2048 deep; brackets inside strings don't count. */
static bool is_too_deep(const char *bytes, size_t length)
{
	int depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < length; i++) {
		char byte = bytes[i];

		if (quoted && byte == '\\')
			i++;
		else if (byte == '"')
			quoted = !quoted;
		else if (!quoted && (byte == '[' || byte == '{') && ++depth > DEPTH_MAX)
			return true;
		else if (!quoted && (byte == ']' || byte == '}'))
			depth--;
	}
	return false;
}

/* Whether the key is missing or one of the names; *index is then which (missing = 0). */
static bool read_choice(
    const json_t *request, const char *key, const char *const *names, int *index)
{
	const json_t *value = json_object_get(request, key);

	*index = 0;
	if (value == NULL)
		return true;
	for (int i = 0; names[i] != NULL; i++) {
		if (json_is_string(value) && strcmp(json_string_value(value), names[i]) == 0) {
			*index = i;
			return true;
		}
	}
	return false;
}

/*
 * The answer's length; 0 = none, for an answer of a time service, ours or another's: to answer it would begin a loop.
 */
static ssize_t answer_json(struct second *second, const json_t *request, char *reply, size_t size)
{
	static const char *const zones[] = { "local", "utc", NULL };
	static const char *const formats[] = { "plain", "iso8601", "unix", NULL };
	const json_t *type = json_object_get(request, "type");
	struct question question = { .id = json_object_get(request, "id") };
	int zone, format;

	if (json_is_object(request) && type == NULL &&
	    (json_object_get(request, "error") != NULL || json_object_get(request, "time") != NULL))
		return 0;
	if (!json_is_string(type) || strcmp(json_string_value(type), "time") != 0 ||
	    !read_choice(request, "tz", zones, &zone) ||
	    !read_choice(request, "format", formats, &format))
		return write_error(unknown_request, reply, size);
	question.utc = zone == 1;
	question.format = (enum format)format;
	return write_answer(second, &question, reply, size);
}

/* The answer's length, 0 for none, or -1 when it could not be made. */
static ssize_t answer(
    struct second *second, const char *bytes, size_t length, char *reply, size_t size)
{
	static const struct question plain = { 0 };
	json_t *request;
	ssize_t answered;

	if (length == sizeof(canonical) - 1 && memcmp(bytes, canonical, length) == 0)
		return write_answer(second, &plain, reply, size);
	if (is_too_deep(bytes, length))
		return write_error(invalid_json, reply, size);
	json_memory_was_short(); /* the last answer may not have got what it needed */
	request = json_loadb(bytes, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	if (json_memory_was_short()) {
		json_decref(request);
		return -1;
	}
	if (request == NULL)
		return write_error(invalid_json, reply, size);
	answered = answer_json(second, request, reply, size);
	json_decref(request);
	return answered;
}

static ssize_t time_datagram(
    struct instance *instance, const struct datagram *request, char *reply, size_t size)
{
	size_t most = ANSWER_MAX + GROWTH_MAX * request->length;
	ssize_t answered = 0;

	if (request->length > 0)
		answered = answer(instance->state, request->bytes, request->length, reply,
		    most < size ? most : size);
	return answered == 0 ? -1 : answered;
}

static enum verdict time_lines(struct stream *stream, struct run *run)
{
	struct second *second = stream_instance(stream)->state;
	struct message *line;

	while ((line = run_next(run)) != NULL) {
		/* Numbers can come back longer than they came, but not six times as long. */
		size_t size = ANSWER_MAX + 6 * line->length;
		char few[1024], *reply = size <= sizeof(few) ? few : malloc(size);
		ssize_t answered = -1;

		if (reply != NULL)
			answered = answer(second, line->bytes, line->length, reply, size - 1);
		if (answered > 0) {
			reply[answered] = '\n';
			replies_add(run->replies, reply, (size_t)answered + 1);
		}
		if (reply != few)
			free(reply);
		if (answered == -1)
			return VERDICT_ABORT;
	}
	return VERDICT_CONTINUE;
}

static const struct refusals refusals = {
	.long_line = "{\"error\": \"invalid JSON\"}\n",
	.sniffed = SNIFFED_TEXTS("{\"error\": \"this is the echod time port, not ", "\"}\n"),
};

static const struct handlers handlers = {
	.framing = &framing_lines,
	.refusals = &refusals,
	.messages = time_lines,
	.datagram = time_datagram,
};

const struct service_ops service_time = {
	.kind =
	    SERVICE_KIND("time", "Sends the time as JSON; each request is a datagram or a line.",
		SERVICE_LINES, SERVICE_DATAGRAMS),
	.transports = SERVICE_BOTH,
	.handlers = &handlers,
	.start = time_start,
	.configure = time_configure,
};
