/* Two chained hash tables: of topics by their name, and of subscriptions by their topic and subscriber. */
#include "services/topics.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE 16

/* --- hash tables --- */

static struct node **place_of(const struct nodes *nodes, uint64_t hash)
{
	return &nodes->places[hash & (nodes->size - 1)];
}

/* Makes room for one more. 0, or -1 when out of memory. */
static int nodes_reserve(struct nodes *nodes)
{
	struct nodes larger = { .count = nodes->count };

	if (nodes->count < nodes->size)
		return 0;
	larger.size = nodes->size == 0 ? FIRST_SIZE : 2 * nodes->size;
	larger.places = calloc(larger.size, sizeof(struct node *));
	if (larger.places == NULL)
		return -1;
	for (size_t i = 0; i < nodes->size; i++) {
		struct node *node, *next;

		for (node = nodes->places[i]; node != NULL; node = next) {
			struct node **place = place_of(&larger, node->hash);

			next = node->next;
			node->next = *place;
			*place = node;
		}
	}
	free(nodes->places);
	*nodes = larger;
	return 0;
}

static void nodes_add(struct nodes *nodes, struct node *node)
{
	struct node **place = place_of(nodes, node->hash);

	node->next = *place;
	*place = node;
	nodes->count++;
}

static void nodes_remove(struct nodes *nodes, const struct node *node)
{
	struct node **at = place_of(nodes, node->hash);

	while (*at != node)
		at = &(*at)->next;
	*at = node->next;
	if (--nodes->count > 0)
		return;
	free(nodes->places);
	*nodes = (struct nodes){ 0 };
}

/* --- topics and subscriptions --- */

int topics_init(struct topics *topics)
{
	*topics = (struct topics){ 0 };
	TAILQ_INIT(&topics->lists[CHANNEL]);
	TAILQ_INIT(&topics->lists[PATTERN]);
	return siphash_key_random(&topics->key);
}

void subscriber_init(struct subscriber *subscriber)
{
	*subscriber = (struct subscriber){ 0 };
	TAILQ_INIT(&subscriber->subscriptions[CHANNEL]);
	TAILQ_INIT(&subscriber->subscriptions[PATTERN]);
}

static uint64_t name_hash(const struct topics *topics, enum topic_kind kind, struct slice name)
{
	return siphash13(&topics->key, name.bytes, name.length) + kind;
}

struct topic *topics_find(const struct topics *topics, enum topic_kind kind, struct slice name)
{
	uint64_t hash = name_hash(topics, kind, name);
	struct node *node = topics->by_name.size == 0 ? NULL : *place_of(&topics->by_name, hash);

	for (; node != NULL; node = node->next) {
		struct topic *topic = (struct topic *)node;

		if (node->hash == hash && topic->kind == kind &&
		    slice_is_equal((struct slice){ topic->name, topic->length }, name))
			return topic;
	}
	return NULL;
}

/* NULL when out of memory. It has no subscriptions yet. */
static struct topic *add_topic(struct topics *topics, enum topic_kind kind, struct slice name)
{
	struct topic *topic = malloc(sizeof(*topic) + name.length);

	if (topic == NULL || nodes_reserve(&topics->by_name) == -1) {
		free(topic);
		return NULL;
	}
	*topic = (struct topic){
		.node.hash = name_hash(topics, kind, name), .kind = kind, .length = name.length
	};
	if (name.length > 0)
		memcpy(topic->name, name.bytes, name.length);
	TAILQ_INIT(&topic->subscriptions);
	nodes_add(&topics->by_name, &topic->node);
	TAILQ_INSERT_TAIL(&topics->lists[kind], topic, entry);
	topics->counts[kind]++;
	return topic;
}

static void remove_topic(struct topics *topics, struct topic *topic)
{
	nodes_remove(&topics->by_name, &topic->node);
	TAILQ_REMOVE(&topics->lists[topic->kind], topic, entry);
	topics->counts[topic->kind]--;
	free(topic);
}

static uint64_t subscription_hash(
    const struct topics *topics, const struct topic *topic, const struct subscriber *subscriber)
{
	const void *pair[] = { topic, subscriber };

	return siphash13(&topics->key, pair, sizeof(pair));
}

struct subscription *topics_find_subscription(
    const struct topics *topics, const struct topic *topic, const struct subscriber *subscriber)
{
	uint64_t hash = subscription_hash(topics, topic, subscriber);
	struct node *node =
	    topics->by_client.size == 0 ? NULL : *place_of(&topics->by_client, hash);

	for (; node != NULL; node = node->next) {
		struct subscription *subscription = (struct subscription *)node;

		if (subscription->topic == topic && subscription->subscriber == subscriber)
			return subscription;
	}
	return NULL;
}

/* 0, or -1 when out of memory. */
static int add_subscription(
    struct topics *topics, struct topic *topic, struct subscriber *subscriber)
{
	struct subscription *subscription = malloc(sizeof(*subscription));

	if (subscription == NULL || nodes_reserve(&topics->by_client) == -1) {
		free(subscription);
		return -1;
	}
	*subscription =
	    (struct subscription){ .node.hash = subscription_hash(topics, topic, subscriber),
		    .topic = topic,
		    .subscriber = subscriber };
	nodes_add(&topics->by_client, &subscription->node);
	TAILQ_INSERT_TAIL(&topic->subscriptions, subscription, of_topic);
	TAILQ_INSERT_TAIL(&subscriber->subscriptions[topic->kind], subscription, of_subscriber);
	topic->count++;
	subscriber->counts[topic->kind]++;
	return 0;
}

void topics_unsubscribe(struct topics *topics, struct subscription *subscription)
{
	struct subscriber *subscriber = subscription->subscriber;
	struct topic *topic = subscription->topic;

	nodes_remove(&topics->by_client, &subscription->node);
	TAILQ_REMOVE(&topic->subscriptions, subscription, of_topic);
	TAILQ_REMOVE(&subscriber->subscriptions[topic->kind], subscription, of_subscriber);
	subscriber->counts[topic->kind]--;
	free(subscription);
	if (--topic->count == 0)
		remove_topic(topics, topic);
}

int topics_subscribe(
    struct topics *topics, enum topic_kind kind, struct slice name, struct subscriber *subscriber)
{
	struct topic *topic = topics_find(topics, kind, name);

	if (topic == NULL && (topic = add_topic(topics, kind, name)) == NULL)
		return -1;
	if (add_subscription(topics, topic, subscriber) == 0)
		return 0;
	if (topic->count == 0)
		remove_topic(topics, topic);
	return -1;
}

void topics_unsubscribe_all(struct topics *topics, struct subscriber *subscriber)
{
	struct subscription *subscription;

	for (enum topic_kind kind = CHANNEL; kind < TOPIC_KINDS; kind++)
		while ((subscription = TAILQ_FIRST(&subscriber->subscriptions[kind])) != NULL)
			topics_unsubscribe(topics, subscription);
}
