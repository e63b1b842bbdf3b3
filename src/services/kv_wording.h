/* How a protocol writes replies to kv's commands: kv_words.c for lines, resp_words.c for the two versions of RESP. */
#ifndef ECHOD_SERVICES_KV_WORDING_H
#define ECHOD_SERVICES_KV_WORDING_H

#include <stddef.h>

struct call;
struct kv_result;
struct list_item;
struct replies;

struct wording {
	/* Adds the reply to a call; one that rests on a commit is promised. */
	void (*result)(
	    struct replies *replies, const struct call *call, const struct kv_result *result);
	/* Add parts of a list: the head with its length, and an item. */
	void (*length)(struct replies *replies, size_t length);
	void (*item)(struct replies *replies, const struct list_item *item);
	const char *failure; /* the reply that rests on a failed commit */
};

#endif
