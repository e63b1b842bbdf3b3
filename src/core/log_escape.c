/* Escapes of log lines: neither a client nor the name of a file can forge a line or move a terminal. */
#include "core/log_escape.h"

#include <stdbool.h>
#include <string.h>

#include "core/escape.h"

/* Escapes controls, and, unless `controls_only`, what is not ASCII and backslashes; ends in "..." when it does not fit. */
static char *escape_bytes(
    char *to, size_t size, const unsigned char *from, size_t length, bool controls_only)
{
	size_t at = 0;

	for (size_t i = 0; i < length; i++) {
		bool is_plain = from[i] >= 0x20 && from[i] != 0x7f &&
				(controls_only || (from[i] < 0x7f && from[i] != '\\'));
		char shown[ESCAPE_MAX] = { (char)from[i] };
		size_t n = is_plain ? 1 : escape_write((char)from[i], "nrt", shown);

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
