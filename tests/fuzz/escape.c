/*
 * The log's escaper: what it writes is printable ASCII, fits, and tells every input from every other
 * unless it says "..." that it was cut.
 */
#include <string.h>

#include "core/log.h"
#include "fuzz.h"

static int hex_value(char digit)
{
	const char *digits = "0123456789abcdef", *at = strchr(digits, digit);

	require(digit != '\0' && at != NULL);
	return (int)(at - digits);
}

/* The byte that the text at *at stands for. */
static uint8_t unescape(const char **at)
{
	static const char names[] = "n\nr\rt\t\\\\";
	const char *name;
	int high;

	if (**at != '\\')
		return (uint8_t) * (*at)++;
	++*at;
	if (**at == 'x') {
		high = hex_value((*at)[1]);
		*at += 3;
		return (uint8_t)(high << 4 | hex_value((*at)[-1]));
	}
	for (name = names; *name != **at; name += 2)
		require(name[2] != '\0');
	++*at;
	return (uint8_t)name[1];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, data + size };
	size_t room = 1u + input_byte(&input), length, shown = 0;
	char *text = malloc(room);
	const char *at = text;
	bool cut;

	require(log_escape(text, room, input.at, input_left(&input)) == text);
	length = strnlen(text, room);
	require(length < room);
	for (size_t i = 0; i < length; i++)
		require(text[i] >= ' ' && text[i] <= '~');
	cut = length + 4 >= room; /* it may have been */
	while (*at != '\0' && shown < input_left(&input)) {
		if (cut && strspn(at, ".") == strlen(at))
			break;
		require(unescape(&at) == input.at[shown++]);
	}
	require(cut || (*at == '\0' && shown == input_left(&input)));
	free(text);
	return 0;
}
