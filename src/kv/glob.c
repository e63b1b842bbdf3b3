/*
 * After a mismatch, only the last asterisk is tried again, at the next byte: another match of the part before it could
 * only end later, and would leave less to match. Redis tries all asterisks again, which takes exponential time.
 */
#include "kv/glob.h"

/* Whether the class at `at`, behind its '[', has the byte. *end is set behind its ']', or to the pattern's end. */
static bool class_has(struct slice pattern, size_t at, unsigned char byte, size_t *end)
{
	const unsigned char *bytes = (const unsigned char *)pattern.bytes;
	bool negated = at < pattern.length && bytes[at] == '^', has = false;

	for (at += negated; at < pattern.length && bytes[at] != ']'; at++) {
		if (bytes[at] == '\\' && at + 1 < pattern.length) {
			has |= bytes[++at] == byte;
		} else if (at + 2 < pattern.length && bytes[at + 1] == '-') {
			unsigned char first = bytes[at], last = bytes[at + 2];

			has |= first <= last ? first <= byte && byte <= last
					     : last <= byte && byte <= first;
			at += 2;
		} else {
			has |= bytes[at] == byte;
		}
	}
	*end = at < pattern.length ? at + 1 : at;
	return has != negated;
}

/* Whether the element at *at, which is no asterisk, matches the byte; advances *at behind it then. */
static bool element_matches(struct slice pattern, size_t *at, unsigned char byte, size_t *work)
{
	size_t next = *at + 1;
	bool matches;

	switch (pattern.bytes[*at]) {
	case '?':
		matches = true;
		break;
	case '[':
		matches = class_has(pattern, next, byte, &next);
		*work += next - *at;
		break;
	case '\\':
		if (next < pattern.length)
			next++;
		/* fallthrough */
	default:
		matches = (unsigned char)pattern.bytes[next - 1] == byte;
	}
	if (matches)
		*at = next;
	return matches;
}

bool glob_match(struct slice pattern, struct slice key, size_t *work)
{
	size_t p = 0, k = 0, star_k = 0,
	       star_p = 0; /* behind the last asterisk; 0 = there was none */

	while (k < key.length) {
		++*work;
		if (p < pattern.length && pattern.bytes[p] == '*') {
			star_p = ++p;
			star_k = k;
		} else if (p < pattern.length &&
			   element_matches(pattern, &p, (unsigned char)key.bytes[k], work)) {
			k++;
		} else if (star_p > 0) {
			p = star_p;
			k = ++star_k;
		} else {
			return false;
		}
		if (star_p > 0 && star_p == pattern.length)
			return true;
	}
	while (p < pattern.length && pattern.bytes[p] == '*')
		p++;
	return p == pattern.length;
}
