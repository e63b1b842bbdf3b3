/*
 * What a service says of its state: numbers under names that stay the same, for people, for scripts and for graphs.
 * Who asks for it gives the service these functions.
 */
#ifndef ECHOD_SERVICES_REPORT_H
#define ECHOD_SERVICES_REPORT_H

#include <stdint.h>

/* Names are words with _ between them; one in bytes or milliseconds says so: "memory_bytes". */
struct report {
	void (*number)(struct report *report, const char *name, uint64_t value);
	/* Something that an administrator should look at, as a sentence without an end mark. */
	void (*problem)(struct report *report, const char *sentence);
};

#endif
