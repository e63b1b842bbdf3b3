/* Bytes both ways over a connected stream, at the same time: an input to the peer, its answer out. */
#ifndef ECHOD_ECHOCTL_PUMP_H
#define ECHOD_ECHOCTL_PUMP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct connection;

struct pump {
	struct connection *connection; /* a stream */
	int input;                     /* to be read after `text`; -1 = none */
	const char *text;              /* what is sent first; the rest of it while the pump runs */
	size_t text_length;
	FILE *output;
	int64_t patience;         /* how long the peer may keep silent, microseconds */
	const char *what;         /* whom we wait for */
	size_t offered, received; /* bytes, so far */
	bool reset;               /* by the peer, as a write was told */
};

enum pump_end {
	PUMP_CLOSED, /* the peer has closed its side */
	PUMP_SILENT, /* it neither took nor sent anything for too long */
	PUMP_FAILED, /* the stream; errno says why, here and below */
	PUMP_NO_INPUT,
	PUMP_NO_OUTPUT,
};

/*
 * Runs until the peer closes its side. Half-closes the stream at the end of the input, for which it waits without a
 * limit.
 */
enum pump_end pump_run(struct pump *pump);

#endif
