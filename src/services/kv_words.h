/* The results of kv's commands as lines. */
#ifndef ECHOD_SERVICES_KV_WORDS_H
#define ECHOD_SERVICES_KV_WORDS_H

#include <stddef.h>

#include "kv/command.h"

struct list_item;
struct replies;

/* The line of a result that rests on a failed commit. */
extern const char kv_words_failure[];

/* Adds the reply to a request that is not run, whose status says why. */
void kv_words_error(struct replies *replies, const struct call *call);

/* Adds the reply to a call; one that rests on a commit is promised. */
void kv_words_result(
    struct replies *replies, const struct call *call, const struct kv_result *result);

/* Adds parts of a list: the line with its length, and the line of an item. */
void kv_words_length(struct replies *replies, size_t length);
void kv_words_item(struct replies *replies, const struct list_item *item);

#endif
