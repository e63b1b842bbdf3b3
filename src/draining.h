/*
 * What a reload has removed: instances that still have clients, with the config under which those are served. Each
 * is freed with its last client; clients that are left when its time is over are cut off.
 */
#ifndef ECHOD_DRAINING_H
#define ECHOD_DRAINING_H

#include <stdint.h>
#include <sys/queue.h>

#include "net/close_reason.h"

struct config;
struct draining;
struct event_base;
struct instance;

LIST_HEAD(draining_list, draining);

/* An empty one, made before it is needed, so that a commit cannot fail. NULL when out of memory. */
struct draining *draining_new(struct event_base *base);
void draining_free(struct draining *draining);

/* Owns the instance, which has no listeners, from now on, and ends its clients gracefully. */
void draining_add(struct draining *draining, struct instance *instance);

/* Owns the config (may be NULL), and is owned by the list; clients left after `wait_ms` are cut off. */
void draining_start(
    struct draining *draining, struct draining_list *list, struct config *config, int64_t wait_ms);

/* Frees whatever has no clients any more. */
void draining_reap(struct draining_list *list);
void draining_stop(struct draining_list *list, enum close_reason reason);
/* Ends every client now and empties the list. */
void draining_abort(struct draining_list *list, enum close_reason reason);

#endif
