/* The Damerau-Levenshtein distance (optimal string alignment), on three rows of its matrix. */
#include "core/suggest.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#define NAME_LENGTH_MAX 64

static bool same_letter(char a, char b)
{
	return tolower((unsigned char)a) == tolower((unsigned char)b);
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
	size_t rows[3][NAME_LENGTH_MAX + 1];
	size_t *before = rows[0], *above = rows[1], *row = rows[2];

	for (size_t j = 0; j <= b_length; j++)
		above[j] = j;
	for (size_t i = 1; i <= a_length; i++) {
		size_t *oldest = before;

		row[0] = i;
		for (size_t j = 1; j <= b_length; j++) {
			size_t change = above[j - 1] + !same_letter(a[i - 1], b[j - 1]);

			row[j] = least(change, least(above[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) &&
			    same_letter(a[i - 2], b[j - 1]))
				row[j] = least(row[j], before[j - 2] + 1);
		}
		before = above;
		above = row;
		row = oldest;
	}
	return above[b_length];
}

void suggest_offer(struct suggestion *suggestion, const char *known)
{
	size_t length = strlen(suggestion->name), known_length = strlen(known);
	size_t shorter = least(length, known_length);
	size_t near = shorter < 6 ? 1 : shorter / 3;
	size_t distance;

	if (length > NAME_LENGTH_MAX || known_length > NAME_LENGTH_MAX || shorter < 2)
		return;
	distance = edit_distance(suggestion->name, length, known, known_length);
	if (distance <= near && (suggestion->best == NULL || distance < suggestion->distance)) {
		suggestion->best = known;
		suggestion->distance = distance;
	}
}

const char *suggest_name(const char *name, const char *const *names)
{
	struct suggestion suggestion = { .name = name };

	for (; *names != NULL; names++)
		suggest_offer(&suggestion, *names);
	return suggestion.best;
}
