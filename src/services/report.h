/*
 * What a service says of its state: numbers and words under names that stay the same, for people, for
 * scripts and for graphs. Each way of showing them is a set of these functions.
 */
#ifndef ECHOD_SERVICES_REPORT_H
#define ECHOD_SERVICES_REPORT_H

#include <stdint.h>

/* Names are words with _ between them; one in bytes or milliseconds says so: "memory_bytes". */
struct report {
	void (*number)(struct report *report, const char *name, uint64_t value);
	void (*text)(struct report *report, const char *name, const char *value);
	/* Something that an administrator should look at, as a sentence without an end mark. */
	void (*problem)(struct report *report, const char *sentence);
};

#endif
