/*
 * What is said to a server, and what it must answer, byte for byte. A request is made from a number,
 * which chooses its key and its value; its answer follows from the same number, so that nothing but
 * the number has to be remembered to check it.
 */
#ifndef ECHOD_BENCH_WORKLOAD_H
#define ECHOD_BENCH_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORKLOAD_SIZE_MAX (1024u * 1024)
#define TEMPLATE_PIECES 8

/* A template, taken apart once so that making a request is a few memcpy()s. */
struct template
{
	struct piece {
		enum piece_kind { PIECE_TEXT, PIECE_KEY, PIECE_VALUE, PIECE_DATE } kind;
		const char *text;
		size_t length;
	} pieces[TEMPLATE_PIECES];
	size_t count;
	size_t length; /* of what it makes: the same for every number */
};

struct workload {
	const char *greeting; /* what the server says first */
	size_t size;          /* of a value, or of an echoed message */
	uint64_t keys;        /* numbers are below; 0 = they go up forever */
	bool in_order;        /* or chosen at random */
	struct template request, answer;
	uint64_t last, random;
	char length_text[24];
	char *filling; /* what values consist of behind their number */
};

/* The name of dialect n ("echo", "kv-get", ...); NULL behind the last. */
const char *workload_dialect(size_t n);

/* 0, or -1: no such dialect, or out of memory. */
int workload_init(
    struct workload *workload, const char *dialect, size_t size, uint64_t keys, bool in_order);
void workload_clear(struct workload *workload);

/* The number of the next request. */
uint64_t workload_next(struct workload *workload);

/* Writes the request of that number: request.length bytes. Returns what is behind it. */
char *workload_request(const struct workload *workload, uint64_t number, char *to);

/* Whether these answer.length bytes are the answer to the request of that number. */
bool workload_is_answer(const struct workload *workload, uint64_t number, const char *bytes);

/* The same, but looks at no more than the last byte. */
bool workload_ends_well(const struct workload *workload, uint64_t number, const char *bytes);

#endif
