/*
 * The JSON of the time service: every answer is JSON, is not much longer than its request, and is not
 * answered when it comes back; nothing but an answer is left without one.
 */
#include <jansson.h>
#include <string.h>

#include "fuzz.h"
#include "services/service.h"

static ssize_t ask(
    struct instance *instance, const void *bytes, size_t length, char *to, size_t size)
{
	const struct datagram request = { .bytes = bytes, .length = length };

	return service_time.handlers->datagram(instance, &request, to, size);
}

static bool is_answer(const uint8_t *bytes, size_t length)
{
	json_t *value = json_loadb((const char *)bytes, length, JSON_ALLOW_NUL, NULL);
	bool is =
	    json_is_object(value) && json_object_get(value, "type") == NULL &&
	    (json_object_get(value, "time") != NULL || json_object_get(value, "error") != NULL);

	json_decref(value);
	return is;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct instance instance = { 0 };
	size_t room = 64 + 6 * size;
	char *answer = malloc(room), *again = malloc(room);
	struct error error;
	json_t *value;
	ssize_t length;

	require(service_time.start(&instance, &error) == 0);
	length = ask(&instance, data, size, answer, room);
	if (length == -1) {
		require(size == 0 || is_answer(data, size));
	} else {
		require((size_t)length <= 64 + 2 * size);
		value = json_loadb(answer, (size_t)length, JSON_ALLOW_NUL, NULL);
		require(value != NULL);
		json_decref(value);
		require(ask(&instance, answer, (size_t)length, again, room) == -1);
	}
	free(instance.state);
	free(answer);
	free(again);
	return 0;
}
