/*
 * What the harnesses share: the entry that libFuzzer (or replay.c in its place) calls, how an input is cut
 * into the values that a harness wants, and what a harness says that must never be otherwise.
 */
#ifndef ECHOD_FUZZ_H
#define ECHOD_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In every build, unlike assert(): the fuzzer takes the abort for a crash and keeps the input. */
#define require(what)                                                                      \
	do {                                                                               \
		if (!(what)) {                                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
			abort();                                                           \
		}                                                                          \
	} while (0)

/* What is left of an input. */
struct input {
	const uint8_t *at, *end;
};

/* The next byte; 0 when there is none. */
static inline uint8_t input_byte(struct input *input)
{
	return input->at == input->end ? 0 : *input->at++;
}

/* The next `length` bytes, or as many as there are. */
static inline const uint8_t *input_bytes(struct input *input, size_t *length)
{
	const uint8_t *bytes = input->at;

	if (*length > (size_t)(input->end - input->at))
		*length = (size_t)(input->end - input->at);
	input->at += *length;
	return bytes;
}

static inline size_t input_left(const struct input *input)
{
	return (size_t)(input->end - input->at);
}

#endif
