/*
 * An instance of a service as the network sees it: its name, settings and handlers, who is connected, and
 * what was counted. The server makes it from a group of the config; its config part is exchanged by a
 * reload, everything else stays.
 */
#ifndef ECHOD_NET_INSTANCE_H
#define ECHOD_NET_INSTANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "core/log.h"
#include "net/close_reason.h"
#include "net/guard.h"
#include "net/replies.h"
#include "net/source.h"

struct datagram_settings;
struct handlers;
struct instance_config;
struct instance_settings;
struct limit_settings;
struct line_settings;
struct loop;
struct rates;
struct tls_context;

/* Where a kind of service keeps each of them among its config parts. */
enum instance_part { PART_INSTANCE, PART_LINES, PART_DATAGRAMS, PART_OWN };

struct counters {
	uint64_t accepted;
	uint64_t closed[CLOSE_REASONS];
	uint64_t refused[LIMITS]; /* also counted in closed[CLOSE_LIMIT] */
	uint64_t tls
	    [TLS_CAUSES]; /* also in closed[CLOSE_TLS], or for TLS_PLAIN_TEXT in closed[CLOSE_PROTOCOL] */
	uint64_t bytes_in, bytes_out;
	uint64_t datagrams_in, datagrams_out;
	uint64_t drops[DROP_REASONS];
};

LIST_HEAD(child_list, child);
TAILQ_HEAD(stream_list, stream);
TAILQ_HEAD(listener_list, listener);

struct instance {
	TAILQ_ENTRY(instance) entry; /* in loop->instances */
	struct loop *loop;
	char *name;
	const struct handlers *handlers;
	/* From the config that is in force: */
	struct instance_config *config;
	const struct instance_settings *settings;
	const struct line_settings *lines;         /* NULL for a service without lines */
	const struct datagram_settings *datagrams; /* NULL for one that answers none */
	int64_t max_per_source;
	struct tls_context
	    *tls;             /* of its listeners at tls:// and rediss://; NULL = there are none */
	size_t max_word;      /* of a request in RESP, bytes; the service sets it */
	int64_t max_children; /* the service sets it; 0 = it runs no programs */
	const void *conf;     /* the service's own settings */
	void *state;          /* the service's own, from its start() to its stop() */
	void *prepared;       /* what its prepare() has made, for its configure(); then NULL */
	struct listener_list listeners;
	struct stream_list streams;
	struct waiters waiters;     /* streams that wait for a commit */
	size_t stream_count;        /* without those that are only being refused */
	size_t arriving;            /* of these, those that are not served yet: see net/arrival.h */
	struct child_list children; /* programs for clients, until their process group is empty */
	size_t child_count;         /* programs that run */
	uint64_t failed_programs;   /* could not be started, or failed */
	struct sources sources;
	struct guard_rules guard_rules;
	struct guard *guard; /* NULL before the first datagram listener */
	struct rates *rates; /* of connections; NULL before the first stream listener */
	struct counters counters;
	struct log_class closed_lines, drop_lines, service_lines; /* what a client can provoke */
};

/* An instance without a socket; the caller starts its service and opens its listeners. NULL: errno. */
struct instance *instance_new(struct loop *loop, const char *name);
/* Frees it; its streams, children and listeners must be gone. */
void instance_free(struct instance *instance);

/* Takes settings and limits from a config, which must live as long as they are in force. The caller then calls
 * streams_recheck(). */
void instance_configure(struct instance *instance, struct instance_config *config,
    const struct handlers *handlers, const struct limit_settings *limits);

/* The keepalive in whole seconds, as the kernel expects it; rounded up. */
int instance_keepalive(const struct instance_settings *settings);

#endif
