/*
 * The probes of a ping: which are under way, and what came of those that are not. Knows nothing of
 * sockets; the caller says what time it is, in microseconds.
 */
#ifndef ECHOD_ECHOCTL_PROBES_H
#define ECHOD_ECHOCTL_PROBES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROBES_WINDOW 1024           /* as many are remembered */
#define PROBE_SEQUENCE_MAX 999999999 /* sequence numbers begin with 1 */

struct probe {
	unsigned sequence;
	enum { PROBE_WAITING, PROBE_ANSWERED, PROBE_LOST } state;
	int64_t sent_at;
};

/* Zeroed = none. */
struct probes {
	unsigned sent, received, late, duplicates;
	unsigned finished; /* all up to this one are answered or lost */
	double min, max;   /* milliseconds, of those received in time; so are the sums */
	double sum, squares;
	struct probe window[PROBES_WINDOW];
};

enum probe_answer {
	PROBE_IN_TIME,
	PROBE_LATE, /* after it was given up; it remains lost */
	PROBE_DUPLICATE,
	PROBE_UNKNOWN, /* never sent, or too long ago */
};

/* Whether a further probe would push out one that is still under way. */
bool probes_full(const struct probes *probes);

/* Records that the next one is sent now; returns its sequence number. */
unsigned probes_send(struct probes *probes, int64_t now);

/* Records an answer; *ms is its round-trip time, unless it is unknown. */
enum probe_answer probes_receive(struct probes *probes, unsigned sequence, int64_t now, double *ms);

/* The oldest one under way, or NULL. */
const struct probe *probes_oldest(const struct probes *probes);

/* The oldest one under way is lost. Returns its sequence number. */
unsigned probes_give_up(struct probes *probes);

double probes_mean(const struct probes *probes);      /* ms; 0 without an answer */
double probes_deviation(const struct probes *probes); /* the population's */
double probes_loss(const struct probes *probes);      /* percent; 0 if none was sent */

#endif
