/*
 * The topics of publish and subscribe: channels, and patterns of their names, that have subscribers. A topic exists as
 * long as a subscription to it.
 */
#ifndef ECHOD_SERVICES_TOPICS_H
#define ECHOD_SERVICES_TOPICS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "core/siphash.h"
#include "core/slice.h"

enum topic_kind { CHANNEL, PATTERN, TOPIC_KINDS };

/* What a hash table holds begins with this. */
struct node {
	struct node *next; /* in the same place */
	uint64_t hash;
};

/* A hash table, which grows and is freed with its last node. Zeroed = empty. */
struct nodes {
	size_t count, size; /* places, 0 or a power of two */
	struct node **places;
};

TAILQ_HEAD(topic_list, topic);
TAILQ_HEAD(subscriptions, subscription);

struct topic {
	struct node node;
	TAILQ_ENTRY(topic) entry; /* in topics->lists */
	struct subscriptions subscriptions;
	size_t count;             /* of them */
	struct topic *next_match; /* for the caller, who links those that it has found */
	enum topic_kind kind;
	size_t length;
	char name[];
};

struct subscription {
	struct node node;
	struct topic *topic;
	struct subscriber *subscriber;
	TAILQ_ENTRY(subscription) of_topic, of_subscriber;
};

/* The caller's; it must have no subscriptions when it is freed. */
struct subscriber {
	struct subscriptions subscriptions[TOPIC_KINDS];
	size_t counts[TOPIC_KINDS];
};

/* It owns the topics and subscriptions, and keeps no memory when there are none. */
struct topics {
	struct siphash_key key;
	struct nodes by_name, by_client;
	struct topic_list lists[TOPIC_KINDS]; /* in the order of their first subscription */
	size_t counts[TOPIC_KINDS];
};

/* 0, or -1 with errno. */
int topics_init(struct topics *topics);
void subscriber_init(struct subscriber *subscriber);

/* NULL = it has no subscribers. */
struct topic *topics_find(const struct topics *topics, enum topic_kind kind, struct slice name);
/* NULL = there is none. */
struct subscription *topics_find_subscription(
    const struct topics *topics, const struct topic *topic, const struct subscriber *subscriber);

/* The subscriber has no subscription to it. 0, or -1 when out of memory. */
int topics_subscribe(
    struct topics *topics, enum topic_kind kind, struct slice name, struct subscriber *subscriber);
/* Frees the subscription, and its topic if it was the last one. */
void topics_unsubscribe(struct topics *topics, struct subscription *subscription);
void topics_unsubscribe_all(struct topics *topics, struct subscriber *subscriber);

#endif
