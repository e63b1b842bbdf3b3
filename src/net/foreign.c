/*
 * What other protocols look like. A request of HTTP is known by its first line, three words of which the
 * last is a version, so that a line of ours which only holds such words is left alone.
 */
#include "net/foreign.h"

#include <string.h>

#include "core/space.h"

#define VERSION_LENGTH (sizeof("HTTP/1.1") - 1)

static size_t word_length(const char *bytes, size_t length)
{
	size_t n = 0;

	while (n < length && !is_space(bytes[n]))
		n++;
	return n;
}

static size_t space_length(const char *bytes, size_t length)
{
	size_t n = 0;

	while (n < length && is_space(bytes[n]))
		n++;
	return n;
}

/* Bytes of the method and the white space behind it; 0 = there is none. */
static size_t method_length(const char *bytes, size_t length)
{
	static const char *const methods[] = { "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT",
		"OPTIONS", "TRACE", "PATCH", "PRI", NULL };
	size_t n = word_length(bytes, length);

	for (const char *const *method = methods; *method != NULL; method++)
		if (strlen(*method) == n && n < length && memcmp(*method, bytes, n) == 0)
			return n + space_length(bytes + n, length - n);
	return 0;
}

bool foreign_http_begins(const char *bytes, size_t length)
{
	return method_length(bytes, length) > 0;
}

bool foreign_http_ends(const char *bytes, size_t length)
{
	static const char *const versions[] = { "HTTP/1.0", "HTTP/1.1", "HTTP/2.0", NULL };

	while (length > 0 && is_space(bytes[length - 1]))
		length--;
	if (length <= VERSION_LENGTH || !is_space(bytes[length - VERSION_LENGTH - 1]))
		return false;
	for (const char *const *version = versions; *version != NULL; version++)
		if (memcmp(*version, bytes + length - VERSION_LENGTH, VERSION_LENGTH) == 0)
			return true;
	return false;
}

/* A method, one word, a version. */
static bool is_http(const char *line, size_t length)
{
	size_t at, method;

	if (!foreign_http_ends(line, length))
		return false;
	at = space_length(line, length);
	method = method_length(line + at, length - at);
	at += method;
	at += word_length(line + at, length - at);
	at += space_length(line + at, length - at);
	at += word_length(line + at, length - at);
	return method > 0 && at + space_length(line + at, length - at) == length;
}

/* An array's header, `*N`, with which every request of it begins. */
static bool is_resp(const char *line, size_t length)
{
	if (length < 2 || line[0] != '*')
		return false;
	while (length > 1 && line[length - 1] >= '0' && line[length - 1] <= '9')
		length--;
	return length == 1;
}

enum foreign foreign_by_greeting(const char *bytes)
{
	return memcmp(bytes, "\x16\x03", FOREIGN_GREETING) == 0 ? FOREIGN_TLS : FOREIGN_NOT;
}

enum foreign foreign_by_line(const char *line, size_t length, bool first)
{
	if (is_http(line, length))
		return FOREIGN_HTTP;
	return first && is_resp(line, length) ? FOREIGN_RESP : FOREIGN_NOT;
}
