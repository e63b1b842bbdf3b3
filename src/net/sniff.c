/*
 * An HTTP request is recognised by its first line: three words, the last of which is a version. The first line of a
 * stream is HTTP with any method, if a path follows: after DNS rebinding, a web page has the same origin and can choose
 * the method, even SET or DEL. A later line is HTTP only with a method that browsers know, so that "SET note HTTP/1.1"
 * stores a value. The Host header, which every request has, is HTTP on any line.
 */
#include "net/sniff.h"

#include <string.h>
#include <strings.h>

#include "core/space.h"

#define VERSION_LENGTH (sizeof("HTTP/1.1") - 1)

struct word {
	const char *bytes;
	size_t length;
};

static void skip_space(const char **at, const char *end)
{
	while (*at < end && is_space(**at))
		(*at)++;
}

/* The next word; `at` moves behind the white space that follows it. Its length is 0 at the end. */
static struct word next_word(const char **at, const char *end)
{
	struct word word = { *at, 0 };

	while (*at < end && !is_space(**at))
		(*at)++;
	word.length = (size_t)(*at - word.bytes);
	skip_space(at, end);
	return word;
}

static bool is_digit(char byte)
{
	return byte >= '0' && byte <= '9';
}

/* Whether the word may be a method (RFC 9110, 5.6.2). */
static bool is_token(struct word word)
{
	for (size_t i = 0; i < word.length; i++) {
		char byte = word.bytes[i], small = (char)(byte | 0x20);

		if (!(small >= 'a' && small <= 'z') && !is_digit(byte) &&
		    (byte == '\0' || strchr("!#$%&'*+-.^_`|~", byte) == NULL))
			return false;
	}
	return true;
}

static bool is_known_method(struct word word)
{
	static const char *const methods[] = { "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT",
		"OPTIONS", "TRACE", "PATCH", "PRI", NULL };

	for (const char *const *method = methods; *method != NULL; method++)
		if (strlen(*method) == word.length && memcmp(*method, word.bytes, word.length) == 0)
			return true;
	return false;
}

/* No command and no JSON begins like this. The blank after the colon is optional. */
static bool is_host(struct word word)
{
	return word.length >= strlen("Host:") &&
	       strncasecmp(word.bytes, "Host:", strlen("Host:")) == 0;
}

enum sniffed_http sniff_http_begin(const char *bytes, size_t length, bool first)
{
	const char *at = bytes, *end = bytes + length;
	struct word method;

	skip_space(&at, end);
	method = next_word(&at, end);
	if (is_host(method))
		return SNIFFED_HTTP;
	if (method.bytes + method.length < end && is_known_method(method))
		return SNIFFED_MAYBE_HTTP;
	/* A first word longer than a line is answered as a long line; the Host header that follows still ends it. */
	return first && is_token(method) && at < end && *at == '/' ? SNIFFED_MAYBE_HTTP
								   : SNIFFED_OTHER;
}

bool sniff_http_end(const char *bytes, size_t length, bool first)
{
	const char *version;

	while (length > 0 && is_space(bytes[length - 1]))
		length--;
	if (length <= VERSION_LENGTH || !is_space(bytes[length - VERSION_LENGTH - 1]))
		return false;
	version = bytes + length - VERSION_LENGTH;
	if (memcmp(version, "HTTP/", 5) != 0)
		return false;
	version += 5;
	if (first)
		return is_digit(version[0]) && version[1] == '.' && is_digit(version[2]);
	return memcmp(version, "1.0", 3) == 0 || memcmp(version, "1.1", 3) == 0 ||
	       memcmp(version, "2.0", 3) == 0;
}

static bool is_http(const char *line, size_t length, bool first)
{
	const char *at = line, *end = line + length;
	struct word method, target;

	skip_space(&at, end);
	method = next_word(&at, end);
	if (is_host(method))
		return true;
	if (!sniff_http_end(line, length, first))
		return false;
	target = next_word(&at, end);
	next_word(&at, end); /* the version */
	return at == end &&
	       (is_known_method(method) || (first && is_token(method) && target.bytes[0] == '/'));
}

enum protocol sniff_greeting(const char *bytes)
{
	return memcmp(bytes, "\x16\x03", SNIFF_GREETING) == 0 ? PROTOCOL_TLS : PROTOCOL_OURS;
}

enum protocol sniff_line(const char *line, size_t length, bool first)
{
	unsigned char begin, end;

	if (length > 0 && line[length - 1] == '\r')
		length--;
	if (length == 0)
		return PROTOCOL_OURS;
	/* A request line ends in a digit; Host and RESP begin with these bytes. Most commands do neither. */
	begin = (unsigned char)line[0];
	end = (unsigned char)line[length - 1];
	if (begin > ' ' && begin != 'H' && begin != 'h' && begin != '*' && end > '9')
		return PROTOCOL_OURS;
	if (is_http(line, length, first))
		return PROTOCOL_HTTP;
	/* A request of RESP begins with an array's header, `*N`. */
	if (!first || length < 2 || begin != '*')
		return PROTOCOL_OURS;
	while (length > 1 && is_digit(line[length - 1]))
		length--;
	return length == 1 ? PROTOCOL_RESP : PROTOCOL_OURS;
}
