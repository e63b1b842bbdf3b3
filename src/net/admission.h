/*
 * Admission: whether a client is served, by the rules and limits of its instance and the limit of all. The acceptor
 * checks and counts its clients; the control tool checks in order to explain.
 */
#ifndef ECHOD_NET_ADMISSION_H
#define ECHOD_NET_ADMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/access.h"
#include "net/close_reason.h"
#include "net/rate.h"

struct instance;
struct peer;

enum admission_verdict {
	ADMIT,
	ADMIT_LATER, /* on_limit = "queue": once another client has gone */
	REFUSE_DENIED,
	REFUSE_LIMIT,
};

/* A limit, as it applies to one client. */
struct admission_limit {
	bool applies, reached;
	bool site; /* LIMIT_SOURCE: `now` and `max` are those of its /48 */
	int64_t now,
	    max; /* clients; LIMIT_PROGRAMS: programs, with those to come; LIMIT_RATE: max a second */
	int64_t wait; /* LIMIT_RATE: ms until the next client of its network is admitted */
};

struct admission {
	enum admission_verdict verdict;
	enum limit limit; /* that has decided; LIMIT_NONE = none has */
	struct access_decision access;
	struct admission_limit limits[LIMITS]; /* none applies to a client that the rules deny */
	struct rate_charges charges; /* for connect_rate, of a client that the rules allow */
};

/* Finds out whether a client of that address would be served; changes nothing else. */
void admission_check(
    const struct instance *instance, const struct peer *peer, struct admission *admission);

/*
 * Decides about a new client: charges its network for connect_rate, and counts it if it may stay. On
 * refusal *limit is the limit (LIMIT_NONE: the rules deny it).
 */
enum admission_verdict admission_enter(
    struct instance *instance, const struct peer *peer, enum limit *limit);
/* Takes a client that has entered off the counts. */
void admission_leave(struct instance *instance, const struct peer *peer);

/* Whether proxies announce the clients of the instance, and this peer is one of them. */
bool admission_is_proxied(const struct instance *instance);
bool admission_trusts(const struct instance *instance, const struct peer *proxy);
/* As admission_enter(), for a connection whose client a proxy is about to announce: only the number is limited. */
enum admission_verdict admission_enter_unknown(struct instance *instance, enum limit *limit);
void admission_leave_unknown(struct instance *instance);
/* The client is known now, and enters in place of the unknown one, which leaves in any case. */
enum admission_verdict admission_identify(
    struct instance *instance, const struct peer *peer, enum limit *limit);

/* The limit that one more client of any address would exceed; LIMIT_NONE = none. */
enum limit admission_full(const struct instance *instance);

/* "max_per_source", for counters. */
const char *limit_name(enum limit limit);
/* Writes the configuration key of the limit, such as "limits.max_per_source", into the buffer, and returns it. */
const char *limit_key(enum limit limit, const struct instance *instance, char *buffer, size_t size);

#endif
