/* What ping prints, for people in the words of ping(8), or as JSON. */
#ifndef ECHOD_ECHOCTL_PING_REPORT_H
#define ECHOD_ECHOCTL_PING_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "echoctl/probes.h"

struct ping_report {
	bool json;
	const char *address; /* as it was written */
	const char *peer;    /* the endpoint that answers; may change between calls */
	int bytes;           /* in a probe */
};

void report_start(const struct ping_report *report);
void report_answer(
    const struct ping_report *report, unsigned sequence, enum probe_answer kind, double ms);
/* `patience`: how long it was waited for, microseconds. */
void report_lost(const struct ping_report *report, unsigned sequence, int64_t patience);
/* `elapsed`: from the first probe to the end, microseconds. */
void report_summary(const struct ping_report *report, const struct probes *probes, int64_t elapsed);

#endif
