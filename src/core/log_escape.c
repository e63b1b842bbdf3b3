/* Escapes of log lines: neither a client nor the name of a file can forge a line or move a terminal. */
#include "core/log_escape.h"

#include <stdbool.h>

#include <string.h>

/* Writes the escape of one byte and returns its length. */
static size_t escape_byte(char to[5], unsigned char byte)
{
	static const char hex[] = "0123456789abcdef";

	switch (byte) {
	case '\n':
		memcpy(to, "\\n", 3);
		return 2;
	case '\r':
		memcpy(to, "\\r", 3);
		return 2;
	case '\t':
		memcpy(to, "\\t", 3);
		return 2;
	case '\\':
		memcpy(to, "\\\\", 3);
		return 2;
	}
	memcpy(to, "\\x", 2);
	to[2] = hex[byte >> 4];
	to[3] = hex[byte & 15];
	return 4;
}

/* Escapes controls, and, unless `controls_only`, what is not ASCII and backslashes; ends in "..." when it does not fit. */
static char *escape_bytes(
    char *to, size_t size, const unsigned char *from, size_t length, bool controls_only)
{
	size_t at = 0;
	char shown[5];

	for (size_t i = 0; i < length; i++) {
		bool is_plain = from[i] >= 0x20 && from[i] != 0x7f &&
				(controls_only || (from[i] < 0x7f && from[i] != '\\'));
		size_t n = 1;

		if (is_plain)
			shown[0] = (char)from[i];
		else
			n = escape_byte(shown, from[i]);
		if (at + n + (i + 1 < length ? 3 : 0) >= size) {
			size_t dots = size - at > 3 ? 3 : size - at - 1;

			memcpy(to + at, "...", dots);
			at += dots;
			break;
		}
		memcpy(to + at, shown, n);
		at += n;
	}
	to[at] = '\0';
	return to;
}

char *log_escape(char *to, size_t size, const void *bytes, size_t length)
{
	return escape_bytes(to, size, bytes, length, false);
}

char *log_escape_controls(char *to, size_t size, const char *text)
{
	return escape_bytes(to, size, (const unsigned char *)text, strlen(text), true);
}
