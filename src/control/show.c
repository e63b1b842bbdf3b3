/* Text for people. Whatever a client or a file name can contain is escaped here, so that it cannot move a terminal. */
#include "control/show.h"

#include <event2/buffer.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/escape.h"
#include "core/log.h"

static int add_bytes(const char *bytes, size_t length, void *out)
{
	return evbuffer_add(out, bytes, length);
}

int json_write(const json_t *json, struct evbuffer *out)
{
	return json_dump_callback(json, add_bytes, out, JSON_COMPACT | JSON_REAL_PRECISION(12));
}

int json_write_line(const json_t *json, struct evbuffer *out)
{
	return json_write(json, out) == -1 ? -1 : evbuffer_add(out, "\n", 1);
}

const char *json_string_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text == NULL ? "" : text;
}

int64_t json_number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

const char *json_show(const json_t *object, const char *key, char *to, size_t size)
{
	const json_t *value = json_object_get(object, key);
	const char *text = json_string_value(value);

	if (text != NULL)
		log_escape(to, size, text, strlen(text));
	else if (json_is_integer(value))
		snprintf(to, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else
		snprintf(to, size, "-");
	return to;
}

void show_text(const char *text, struct evbuffer *out)
{
	char escape[ESCAPE_MAX];

	for (; *text != '\0'; text++) {
		if (*text >= ' ' && *text <= '~')
			evbuffer_add(out, text, 1);
		else
			evbuffer_add(out, escape, escape_write(*text, "", escape));
	}
}

void show_between(const char *before, const char *text, const char *after, struct evbuffer *out)
{
	evbuffer_add(out, before, strlen(before));
	show_text(text, out);
	evbuffer_add(out, after, strlen(after));
}

void show_place(const json_t *object, struct evbuffer *out)
{
	if (!json_is_string(json_object_get(object, "file"))) {
		evbuffer_add_printf(out, "default");
		return;
	}
	show_text(json_string_of(object, "file"), out);
	evbuffer_add_printf(out, ":%" PRId64, json_number(object, "line"));
}

const char *show_bytes(uint64_t bytes, char *to, size_t size)
{
	static const char units[] = "KMGTPE";
	double amount = (double)bytes;
	int unit = -1;

	while (amount >= 1023.95) {
		amount /= 1024;
		unit++;
	}
	if (unit == -1)
		snprintf(to, size, "%" PRIu64 " B", bytes);
	else
		snprintf(to, size, "%.1f %cB", amount, units[unit]);
	return to;
}

const char *show_duration(int64_t ms, char *to, size_t size)
{
	int64_t s = ms / 1000;

	if (ms < 1000)
		snprintf(to, size, "%" PRId64 " ms", ms);
	else if (s < 60)
		snprintf(to, size, "%" PRId64 ".%" PRId64 " s", s, ms % 1000 / 100);
	else if (s < 3600)
		snprintf(to, size, "%" PRId64 " min %" PRId64 " s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(to, size, "%" PRId64 " h %" PRId64 " min", s / 3600, s % 3600 / 60);
	else
		snprintf(to, size, "%" PRId64 " d %" PRId64 " h", s / 86400, s % 86400 / 3600);
	return to;
}
