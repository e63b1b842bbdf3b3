/* Each of the protocols knows some of the letters of C only. */
#include "core/escape.h"

#include <string.h>

static const char hex[] = "0123456789abcdef";
static const char c_letters[] = "abtnvfr"; /* of the bytes 07 to 0D, in this order */

size_t escape_write(char byte, const char *letters, char to[ESCAPE_MAX])
{
	unsigned char code = (unsigned char)byte;

	to[0] = '\\';
	if (byte == '\\') {
		to[1] = '\\';
		return 2;
	}
	if (byte >= '\a' && byte <= '\r' && strchr(letters, c_letters[byte - '\a']) != NULL) {
		to[1] = c_letters[byte - '\a'];
		return 2;
	}
	to[1] = 'x';
	to[2] = hex[code >> 4];
	to[3] = hex[code & 15];
	return 4;
}

static int hex_digit(char byte)
{
	if (byte >= '0' && byte <= '9')
		return byte - '0';
	byte = (char)(byte | 0x20);
	return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

char escape_read(const char **at, const char *end, const char *letters)
{
	const char *from = *at;

	if (*from == 'x' && end - from > 2 && hex_digit(from[1]) != -1 &&
	    hex_digit(from[2]) != -1) {
		*at += 3;
		return (char)(hex_digit(from[1]) * 16 + hex_digit(from[2]));
	}
	*at += 1;
	if (*from == '\0' || strchr(letters, *from) == NULL)
		return *from;
	return (char)('\a' + (strchr(c_letters, *from) - c_letters));
}
