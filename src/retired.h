/*
 * What a reload has taken away: instances that still have clients, with the config that those were served
 * under. Each goes with its last client, or when its time is over.
 */
#ifndef ECHOD_RETIRED_H
#define ECHOD_RETIRED_H

#include <sys/queue.h>

#include "net/instance.h"

struct event_base;
struct retired;

LIST_HEAD(retired_list, retired);

/* An empty one, made before it is needed, so that a commit cannot fail. NULL when out of memory. */
struct retired *retired_new(struct event_base *base);
void retired_free(struct retired *retired);

/* Takes an instance without listeners, and ends its clients gracefully. */
void retired_add(struct retired *retired, struct instance *instance);

/* Takes the config (NULL is fine) and files the whole in the list; what is left after `wait_ms` is cut. */
void retired_file(
    struct retired *retired, struct retired_list *list, struct config *config, int64_t wait_ms);

/* Frees whatever has no clients any more. */
void retired_reap(struct retired_list *list);
void retired_drain(struct retired_list *list, enum close_reason reason);
/* Ends every client now and empties the list. */
void retired_abort(struct retired_list *list, enum close_reason reason);

#endif
