/*
 * The PROXY protocol's parser: a header is the same whatever is behind it, and PARTIAL as long as a byte of it is missing;
 * what is broken stays broken.
 */
#include "net/proxy.h"

#include <string.h>

#include "fuzz.h"

/* From memory of exactly that size, in which the sanitizer sees a read past the end. */
static enum proxy_parsed parse(
    const uint8_t *bytes, size_t length, struct proxy_header *header, const char **why)
{
	char *copy = malloc(length == 0 ? 1 : length);
	enum proxy_parsed parsed;

	require(copy != NULL);
	memcpy(copy, bytes, length);
	*why = NULL;
	parsed = proxy_parse(copy, length, header, why);
	free(copy);
	require((parsed == PROXY_BROKEN) == (*why != NULL));
	return parsed;
}

static bool is_same_header(const struct proxy_header *a, const struct proxy_header *b)
{
	return a->length == b->length && a->is_announced == b->is_announced &&
	       memcmp(&a->source, &b->source, sizeof(a->source)) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxy_header whole, header;
	const char *why, *whole_why;
	enum proxy_parsed parsed, before = PROXY_PARTIAL;

	if (size == 0)
		return 0;
	if (size > 2 * PROXY_HEADER_MAX)
		size = 2 * PROXY_HEADER_MAX;
	parsed = parse(data, size, &whole, &whole_why);
	require(parsed != PROXY_PARTIAL || size < PROXY_HEADER_MAX);
	require(parsed != PROXY_DONE || (whole.length <= size && whole.length <= PROXY_HEADER_MAX));
	for (size_t length = 1; length < size; length++) {
		enum proxy_parsed part = parse(data, length, &header, &why);

		require(before == PROXY_PARTIAL || part == before);
		before = part;
		if (parsed == PROXY_DONE)
			require(part == (length < whole.length ? PROXY_PARTIAL : PROXY_DONE));
		if (part == PROXY_DONE)
			require(is_same_header(&header, &whole));
	}
	require(before == PROXY_PARTIAL || parsed == before);
	return 0;
}
