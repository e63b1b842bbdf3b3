/* Strings are the one thing that can make JSON invalid: all are made here. */
#include "observe/json.h"

#include <string.h>

#include "core/log.h"
#include "core/option.h"
#include "core/strings.h"
#include "net/endpoint.h"
#include "net/peer.h"

#define TEXT_MAX 4096

json_t *json_text(const char *text)
{
	char escaped[TEXT_MAX];
	json_t *json;

	if (text == NULL)
		return json_null();
	json = json_string(text);
	return json != NULL ? json
			    : json_string(log_escape(escaped, sizeof(escaped), text, strlen(text)));
}

json_t *json_strings(const struct strings *strings)
{
	json_t *array = json_array();

	for (size_t i = 0; i < strings->count; i++)
		json_array_append_new(array, json_text(strings->items[i]));
	return array;
}

json_t *json_time(time_t time)
{
	struct tm tm;
	char text[32];

	if (time == 0)
		return json_null();
	strftime(text, sizeof(text), "%FT%TZ", gmtime_r(&time, &tm));
	return json_string(text);
}

json_t *json_endpoint(const struct endpoint *endpoint)
{
	char text[ADDRESS_TEXT_MAX];

	return json_text(endpoint_format(endpoint, text, sizeof(text)));
}

json_t *json_peer(const struct peer *peer)
{
	char text[ADDRESS_TEXT_MAX];

	return json_text(peer_format(peer, text, sizeof(text)));
}

void json_add_place(json_t *object, const struct option_origin *origin)
{
	json_object_set_new(object, "file", json_text(origin->file));
	json_object_set_new(object, "line", json_integer(origin->line));
}
