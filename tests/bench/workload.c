/* A row per dialect, as templates; and the templates' machinery. */
#include "workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS 10 /* of a number, in a key and in front of a value */
#define KEY_PREFIX "key:"
#define KEY_LENGTH (sizeof(KEY_PREFIX) - 1 + DIGITS)
#define KEY_LENGTH_TEXT "14"
#define FILLING_SHIFTS 61 /* values of neighbouring numbers begin at different bytes of it */

/* In a template: the key, the value, the value's length, a date and time. */
#define K "\1"
#define V "\2"
#define L "\3"
#define D "\4"

#define DATE_LIKE "0000-00-00 00:00:00.000000"

static const struct dialect {
	const char *name, *greeting, *request, *answer;
} dialects[] = {
	{ "echo", "", V, V },
	{ "time", "", "{\"type\": \"time\"}", "{\"time\": \"" D "\"}" },
	{ "kv-get", "READY\n", "GET " K "\n", V "\n" },
	{ "kv-set", "READY\n", "SET " K " " V "\n", "OK\n" },
	{ "redis-get", "", "*2\r\n$3\r\nGET\r\n$" KEY_LENGTH_TEXT "\r\n" K "\r\n",
	    "$" L "\r\n" V "\r\n" },
	{ "redis-set", "",
	    "*3\r\n$3\r\nSET\r\n$" KEY_LENGTH_TEXT "\r\n" K "\r\n$" L "\r\n" V "\r\n", "+OK\r\n" },
	{ "memcached-get", "", "get " K "\r\n", "VALUE " K " 0 " L "\r\n" V "\r\nEND\r\n" },
	{ "memcached-set", "", "set " K " 0 0 " L "\r\n" V "\r\n", "STORED\r\n" },
};
#define DIALECTS (sizeof(dialects) / sizeof(dialects[0]))

const char *workload_dialect(size_t n)
{
	return n < DIALECTS ? dialects[n].name : NULL;
}

static const struct dialect *find_dialect(const char *name)
{
	for (size_t i = 0; i < DIALECTS; i++)
		if (strcmp(dialects[i].name, name) == 0)
			return &dialects[i];
	return NULL;
}

/* What one mark of a template stands for. */
static struct piece piece_of_mark(const struct workload *w, char mark)
{
	if (mark == *K)
		return (struct piece){ PIECE_KEY, NULL, KEY_LENGTH };
	if (mark == *V)
		return (struct piece){ PIECE_VALUE, NULL, w->size };
	if (mark == *D)
		return (struct piece){ PIECE_DATE, NULL, sizeof(DATE_LIKE) - 1 };
	return (struct piece){ PIECE_TEXT, w->length_text, strlen(w->length_text) };
}

static void take_apart(struct template *template, const struct workload *w, const char *text)
{
	*template = (struct template){ 0 };
	while (*text != '\0' && template->count < TEMPLATE_PIECES) {
		size_t plain = strcspn(text, K V L D);
		struct piece *piece = &template->pieces[template->count++];

		if (plain > 0)
			*piece = (struct piece){ PIECE_TEXT, text, plain };
		else
			*piece = piece_of_mark(w, *text);
		template->length += piece->length;
		text += plain > 0 ? plain : 1;
	}
}

static char *make_filling(size_t size)
{
	char *filling = malloc(size + FILLING_SHIFTS);

	for (size_t i = 0; filling != NULL && i < size + FILLING_SHIFTS; i++)
		filling[i] = (char)('a' + i * 7 % 26);
	return filling;
}

int workload_init(
    struct workload *workload, const char *dialect, size_t size, uint64_t keys, bool in_order)
{
	const struct dialect *row = find_dialect(dialect);

	if (row == NULL)
		return -1;
	*workload = (struct workload){ .greeting = row->greeting,
		.size = size,
		.keys = keys,
		.in_order = in_order || keys == 0,
		.random = 88172645463325252,
		.filling = make_filling(size) };
	snprintf(workload->length_text, sizeof(workload->length_text), "%zu", size);
	take_apart(&workload->request, workload, row->request);
	take_apart(&workload->answer, workload, row->answer);
	return workload->filling == NULL ? -1 : 0;
}

void workload_clear(struct workload *workload)
{
	free(workload->filling);
	workload->filling = NULL;
}

uint64_t workload_next(struct workload *workload)
{
	uint64_t number = workload->last++;

	if (workload->in_order)
		return workload->keys == 0 ? number : number % workload->keys;
	workload->random ^= workload->random << 13; /* Marsaglia's xorshift */
	workload->random ^= workload->random >> 7;
	workload->random ^= workload->random << 17;
	return (workload->random >> 32) * workload->keys >> 32;
}

static void put_digits(char *to, uint64_t number)
{
	for (int i = DIGITS; i-- > 0; number /= 10)
		to[i] = (char)('0' + number % 10);
}

static void put_key(char *to, uint64_t number)
{
	memcpy(to, KEY_PREFIX, sizeof(KEY_PREFIX) - 1);
	put_digits(to + sizeof(KEY_PREFIX) - 1, number);
}

/* How many bytes of a value are its number; the smallest have no room for one. */
static size_t number_length(const struct workload *w)
{
	return w->size < DIGITS ? 0 : DIGITS;
}

static const char *filling_of(const struct workload *w, uint64_t number)
{
	return w->filling + number % FILLING_SHIFTS;
}

static void put_value(const struct workload *w, char *to, uint64_t number)
{
	size_t numbered = number_length(w);

	if (numbered > 0)
		put_digits(to, number);
	memcpy(to + numbered, filling_of(w, number), w->size - numbered);
}

char *workload_request(const struct workload *workload, uint64_t number, char *to)
{
	for (size_t i = 0; i < workload->request.count; i++) {
		const struct piece *piece = &workload->request.pieces[i];

		if (piece->kind == PIECE_KEY)
			put_key(to, number);
		else if (piece->kind == PIECE_VALUE)
			put_value(workload, to, number);
		else if (piece->kind == PIECE_TEXT)
			memcpy(to, piece->text, piece->length);
		to += piece->length;
	}
	return to;
}

static bool is_date(const char *bytes)
{
	for (size_t i = 0; i < sizeof(DATE_LIKE) - 1; i++) {
		bool digit = bytes[i] >= '0' && bytes[i] <= '9';

		if (DATE_LIKE[i] == '0' ? !digit : bytes[i] != DATE_LIKE[i])
			return false;
	}
	return true;
}

static bool is_value(const struct workload *w, uint64_t number, const char *bytes)
{
	size_t numbered = number_length(w);
	char digits[DIGITS];

	put_digits(digits, number);
	return memcmp(bytes, digits, numbered) == 0 &&
	       memcmp(bytes + numbered, filling_of(w, number), w->size - numbered) == 0;
}

static bool is_piece(
    const struct workload *w, const struct piece *piece, uint64_t number, const char *bytes)
{
	char key[KEY_LENGTH];

	switch (piece->kind) {
	case PIECE_TEXT:
		return memcmp(bytes, piece->text, piece->length) == 0;
	case PIECE_KEY:
		put_key(key, number);
		return memcmp(bytes, key, sizeof(key)) == 0;
	case PIECE_VALUE:
		return is_value(w, number, bytes);
	case PIECE_DATE:
		return is_date(bytes);
	}
	return false;
}

bool workload_is_answer(const struct workload *workload, uint64_t number, const char *bytes)
{
	for (size_t i = 0; i < workload->answer.count; i++) {
		const struct piece *piece = &workload->answer.pieces[i];

		if (!is_piece(workload, piece, number, bytes))
			return false;
		bytes += piece->length;
	}
	return true;
}

bool workload_ends_well(const struct workload *workload, uint64_t number, const char *bytes)
{
	const struct piece *last = &workload->answer.pieces[workload->answer.count - 1];
	char byte = bytes[workload->answer.length - 1];

	if (last->kind == PIECE_TEXT)
		return byte == last->text[last->length - 1];
	if (last->length <= DIGITS)
		return true;
	return byte == filling_of(workload, number)[workload->size - DIGITS - 1];
}
