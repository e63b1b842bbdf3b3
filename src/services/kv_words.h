/* The replies to kv's commands as lines. */
#ifndef ECHOD_SERVICES_KV_WORDS_H
#define ECHOD_SERVICES_KV_WORDS_H

#include <stdbool.h>

#include "core/slice.h"
#include "services/kv_wording.h"

/* The reply that rests on a failed commit. */
extern const char kv_words_failure[];

extern const struct wording kv_words;

/* Whether a line can hold the value. */
bool kv_words_is_line(struct slice value);

/* Adds the reply to a request that is not run because of its status. */
void kv_words_error(struct replies *replies, const struct call *call);

/* Adds the reply to a call; one that rests on a commit is promised. */
void kv_words_result(
    struct replies *replies, const struct call *call, const struct kv_result *result);

#endif
