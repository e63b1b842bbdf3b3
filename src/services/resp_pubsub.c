/*
 * Channels and patterns are topics, found by their name; a publish looks up its channel, and tries each pattern once.
 * It ends no client: see resp_mailbox.h.
 */
#include "services/resp_pubsub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "core/buffer.h"
#include "kv/glob.h"
#include "kv/verb.h"
#include "net/instance.h"
#include "net/replies.h"
#include "services/kv.h"
#include "services/kv_resp.h"
#include "services/resp_mailbox.h"
#include "services/resp_request.h"
#include "services/resp_words.h"
#include "services/topics.h"

#define SUBSCRIBED_MAX 65536            /* channels and patterns of a client */
#define CHANNEL_MAX PATTERN_MAX         /* bytes */
#define LISTED_MAX ((size_t)512 << 10)  /* bytes of a reply to PUBSUB */
#define MESSAGE_HEAD 128                /* bytes of a message besides its words, at most */
#define RECEIVER_COST 64                /* what a receiver costs, in steps of glob_match() */
#define YIELD_COST ((size_t)1 << 20)    /* steps of a run of requests, about two ms */
#define MATCHING_MAX ((size_t)16 << 20) /* the same of one request, or of a transaction */

struct pubsub {
	struct topics topics;
	struct deliveries deliveries;
};

/* --- the instance, and its clients --- */

/* NULL when out of memory. */
static struct pubsub *get_pubsub(struct resp_request *r)
{
	struct pubsub *pubsub = r->kv->pubsub;

	if (pubsub != NULL)
		return pubsub;
	pubsub = calloc(1, sizeof(*pubsub));
	if (pubsub == NULL)
		return NULL;
	if (deliveries_init(&pubsub->deliveries, r->instance->loop) == -1 ||
	    topics_init(&pubsub->topics) == -1) {
		resp_pubsub_free(pubsub);
		return NULL;
	}
	r->kv->pubsub = pubsub;
	return pubsub;
}

void resp_pubsub_free(struct pubsub *pubsub)
{
	if (pubsub == NULL)
		return;
	deliveries_clear(&pubsub->deliveries);
	free(pubsub);
}

/* NULL when out of memory. */
static struct mailbox *get_mailbox(struct resp_request *r)
{
	if (r->client->mailbox == NULL)
		r->client->mailbox = mailbox_new(r->stream);
	return r->client->mailbox;
}

void resp_pubsub_unsubscribe(struct kv *kv, struct resp_client *client)
{
	if (client->mailbox != NULL && kv->pubsub != NULL)
		topics_unsubscribe_all(&kv->pubsub->topics, &client->mailbox->subscriber);
}

void resp_pubsub_leave(struct kv *kv, struct resp_client *client)
{
	if (client->mailbox == NULL)
		return;
	resp_pubsub_unsubscribe(kv, client);
	mailbox_free(client->mailbox);
	client->mailbox = NULL;
}

struct pubsub_counts resp_pubsub_counts(const struct pubsub *pubsub)
{
	if (pubsub == NULL)
		return (struct pubsub_counts){ 0, 0 };
	return (
	    struct pubsub_counts){ pubsub->topics.counts[CHANNEL], pubsub->topics.counts[PATTERN] };
}

struct pubsub_counts resp_client_counts(const struct resp_client *client)
{
	const struct mailbox *mailbox = client->mailbox;

	if (mailbox == NULL)
		return (struct pubsub_counts){ 0, 0 };
	return (struct pubsub_counts){ mailbox->subscriber.counts[CHANNEL],
		mailbox->subscriber.counts[PATTERN] };
}

static size_t count_subscriptions(const struct resp_client *client)
{
	struct pubsub_counts counts = resp_client_counts(client);

	return counts.channels + counts.patterns;
}

bool resp_is_subscribed(const struct resp_client *client)
{
	return client->mailbox != NULL && count_subscriptions(client) > 0;
}

/* --- subscriptions --- */

/*
 * Whether the client has to read the confirmations so far before the others follow; then resp_pubsub_continue() runs
 * the command again with the words that are left. The replies of a transaction are sent in one piece.
 */
static bool is_deferred(struct resp_request *r, const struct action *action)
{
	struct resp_request ahead = *r;
	struct mailbox *mailbox;

	if (r->client->replies->unsent <= REPLIES_HIGH || r->client->executes ||
	    (mailbox = get_mailbox(r)) == NULL)
		return false;
	if (mailbox->rest == NULL) {
		while (ahead.words > 0)
			resp_next_word(&ahead);
		mailbox->rest = malloc((size_t)(ahead.at - r->at) + 1);
		if (mailbox->rest == NULL)
			return false;
		mailbox->at = memcpy(mailbox->rest, r->at, (size_t)(ahead.at - r->at));
	} else {
		mailbox->at = r->at;
	}
	mailbox->words = r->words;
	mailbox->action = action;
	r->client->continues = true;
	return true;
}

void resp_pubsub_continue(struct resp_request *r)
{
	struct mailbox *mailbox = r->client->mailbox;

	r->at = mailbox->at;
	r->words = mailbox->words;
	r->client->continues = false;
	mailbox->action->run(r, mailbox->action);
	if (r->client->continues)
		return;
	free(mailbox->rest);
	mailbox->rest = NULL;
}

/* Confirmations are messages: CLIENT REPLY OFF does not suppress them. NULL name = there was none. */
static void confirm(struct resp_request *r, const struct action *action, const struct slice *name)
{
	struct replies *replies = r->client->replies;

	resp_push(replies, r->version, 3);
	resp_text(replies, action->name);
	if (name == NULL)
		resp_null(replies, r->version);
	else
		resp_bulk(replies, *name);
	resp_integer(replies, (int64_t)count_subscriptions(r->client));
}

/* Subscribes to one more. NULL, or the error. */
static const char *subscribe(struct resp_request *r, enum topic_kind kind, struct slice name)
{
	struct pubsub *pubsub = get_pubsub(r);
	struct mailbox *mailbox = get_mailbox(r);
	const struct topic *topic;

	if (name.length > CHANNEL_MAX)
		return kind == CHANNEL ? "ERR channel too long" : "ERR pattern too long";
	if (pubsub == NULL || mailbox == NULL)
		return "ERR out of memory";
	topic = topics_find(&pubsub->topics, kind, name);
	if (topic != NULL &&
	    topics_find_subscription(&pubsub->topics, topic, &mailbox->subscriber) != NULL)
		return NULL;
	if (count_subscriptions(r->client) == SUBSCRIBED_MAX)
		return "ERR too many subscriptions";
	if (topics_subscribe(&pubsub->topics, kind, name, &mailbox->subscriber) == -1)
		return "ERR out of memory";
	return NULL;
}

static enum verdict subscribe_all(struct resp_request *r, const struct action *action)
{
	while (r->words > 0 && !is_deferred(r, action)) {
		struct slice name = resp_next_word(r);
		const char *error = subscribe(r, action->kind, name);

		if (error != NULL)
			return resp_fail(r, error);
		confirm(r, action, &name);
	}
	return VERDICT_CONTINUE;
}

static void unsubscribe(struct resp_request *r, enum topic_kind kind, struct slice name)
{
	struct topics *topics;
	struct subscription *subscription;
	const struct topic *topic;

	if (r->kv->pubsub == NULL || r->client->mailbox == NULL)
		return;
	topics = &r->kv->pubsub->topics;
	topic = topics_find(topics, kind, name);
	if (topic == NULL)
		return;
	subscription = topics_find_subscription(topics, topic, &r->client->mailbox->subscriber);
	if (subscription != NULL)
		topics_unsubscribe(topics, subscription);
}

/* Without words, from all of the kind. */
static enum verdict unsubscribe_all(struct resp_request *r, const struct action *action)
{
	struct mailbox *mailbox = r->client->mailbox;
	struct subscription *subscription;
	char bytes[CHANNEL_MAX];
	struct slice name = { bytes, 0 };

	if (r->words > 0) {
		while (r->words > 0 && !is_deferred(r, action)) {
			name = resp_next_word(r);
			unsubscribe(r, action->kind, name);
			confirm(r, action, &name);
		}
		return VERDICT_CONTINUE;
	}
	if (mailbox == NULL || mailbox->subscriber.counts[action->kind] == 0) {
		confirm(r, action, NULL);
		return VERDICT_CONTINUE;
	}
	while ((subscription = TAILQ_FIRST(&mailbox->subscriber.subscriptions[action->kind])) !=
		   NULL &&
	       !is_deferred(r, action)) {
		name.length = subscription->topic->length;
		memcpy(bytes, subscription->topic->name, name.length);
		topics_unsubscribe(&r->kv->pubsub->topics, subscription);
		confirm(r, action, &name);
	}
	return VERDICT_CONTINUE;
}

enum verdict resp_run_subscribe(struct resp_request *r)
{
	static const struct action action = { "subscribe", CHANNEL, subscribe_all };

	return action.run(r, &action);
}

enum verdict resp_run_psubscribe(struct resp_request *r)
{
	static const struct action action = { "psubscribe", PATTERN, subscribe_all };

	return action.run(r, &action);
}

enum verdict resp_run_unsubscribe(struct resp_request *r)
{
	static const struct action action = { "unsubscribe", CHANNEL, unsubscribe_all };

	return action.run(r, &action);
}

enum verdict resp_run_punsubscribe(struct resp_request *r)
{
	static const struct action action = { "punsubscribe", PATTERN, unsubscribe_all };

	return action.run(r, &action);
}

/* --- PUBLISH --- */

/* One message to all subscribers of a topic after the other. */
struct publication {
	struct pubsub *pubsub;
	struct resp_client *publisher;
	struct buffer bytes; /* the message as the subscribers of a topic get it */
	size_t receivers;
};

/* The buffer has room. NULL pattern = to the channel's subscribers. */
static void write_message(
    struct buffer *to, const struct topic *pattern, struct slice channel, struct slice message)
{
	const struct slice words[] = { channel, message };

	/* The first byte is that of the subscriber's version. */
	if (pattern == NULL) {
		to->length = (size_t)sprintf(to->bytes, "*3\r\n$7\r\nmessage\r\n");
	} else {
		to->length =
		    (size_t)sprintf(to->bytes, "*4\r\n$8\r\npmessage\r\n$%zu\r\n", pattern->length);
		memcpy(to->bytes + to->length, pattern->name, pattern->length);
		to->length += pattern->length;
		to->length += (size_t)sprintf(to->bytes + to->length, "\r\n");
	}
	for (size_t i = 0; i < 2; i++) {
		to->length += (size_t)sprintf(to->bytes + to->length, "$%zu\r\n", words[i].length);
		if (words[i].length > 0)
			memcpy(to->bytes + to->length, words[i].bytes, words[i].length);
		to->length += words[i].length;
		to->length += (size_t)sprintf(to->bytes + to->length, "\r\n");
	}
}

static void push_to_topic(struct publication *publication, const struct topic *topic,
    struct slice channel, struct slice message)
{
	struct subscription *subscription;

	write_message(&publication->bytes, topic->kind == PATTERN ? topic : NULL, channel, message);
	TAILQ_FOREACH (subscription, &topic->subscriptions, of_topic) {
		struct mailbox *mailbox = (struct mailbox *)subscription->subscriber;

		publication->receivers +=
		    mailbox_add(mailbox, &publication->pubsub->deliveries, &publication->bytes);
		/* What is pending is sent before more is published. */
		publication->publisher->yields |= mailbox_pending(mailbox) > REPLIES_HIGH;
	}
}

/* After so much work, the other clients have their turns before the next request. */
static void yield_if_due(struct resp_request *r)
{
	if (r->kv->pubsub_cost > YIELD_COST)
		r->client->yields = true;
}

/* As in Redis, an asterisk does not match an empty name. */
static bool is_match(struct kv *kv, struct slice pattern, struct slice name)
{
	kv->pubsub_cost++;
	return name.length == 0 ? pattern.length == 0 : glob_match(pattern, name, &kv->pubsub_cost);
}

/* The patterns that match, linked by next_match. 0, or -1 = that takes too long. */
static int match_patterns(struct kv *kv, struct slice channel, struct topic **first)
{
	struct topic *topic, **end = first;

	TAILQ_FOREACH (topic, &kv->pubsub->topics.lists[PATTERN], entry) {
		struct slice pattern = { topic->name, topic->length };

		if (is_match(kv, pattern, channel)) {
			*end = topic;
			end = &topic->next_match;
		}
		if (kv->pubsub_cost > MATCHING_MAX)
			return -1;
	}
	*end = NULL;
	return 0;
}

enum verdict resp_run_publish(struct resp_request *r)
{
	struct slice channel = resp_next_word(r), message = resp_next_word(r);
	struct publication publication = { .pubsub = r->kv->pubsub, .publisher = r->client };
	struct topic *topic, *patterns = NULL;

	if (channel.length > CHANNEL_MAX)
		return resp_fail(r, "ERR channel too long");
	if (publication.pubsub == NULL) {
		resp_integer(r->replies, 0);
		return VERDICT_CONTINUE;
	}
	topic = topics_find(&publication.pubsub->topics, CHANNEL, channel);
	if (match_patterns(r->kv, channel, &patterns) == -1) {
		yield_if_due(r);
		return resp_fail(r, "ERR matching the patterns of all subscribers takes too long");
	}
	if ((topic != NULL || patterns != NULL) &&
	    buffer_room(&publication.bytes,
		MESSAGE_HEAD + PATTERN_MAX + channel.length + message.length) == NULL)
		return resp_fail_status(r, KV_NO_MEMORY);
	if (topic != NULL)
		push_to_topic(&publication, topic, channel, message);
	for (; patterns != NULL; patterns = patterns->next_match)
		push_to_topic(&publication, patterns, channel, message);
	free(publication.bytes.bytes);
	r->kv->pubsub_cost += RECEIVER_COST * publication.receivers;
	yield_if_due(r);
	resp_integer(r->replies, (int64_t)publication.receivers);
	return VERDICT_CONTINUE;
}

/* --- PUBSUB --- */

/* The channels that match, linked by next_match, and their number. -1 = too many for one reply. */
static int match_channels(
    struct kv *kv, const struct slice *pattern, struct topic **first, size_t *count)
{
	struct topic *topic, **end = first;
	size_t length = 0;

	TAILQ_FOREACH (topic, &kv->pubsub->topics.lists[CHANNEL], entry) {
		struct slice name = { topic->name, topic->length };

		if (pattern == NULL || is_match(kv, *pattern, name)) {
			*end = topic;
			end = &topic->next_match;
			++*count;
			length += topic->length + sizeof("$512\r\n\r\n");
		}
		if (length > LISTED_MAX || kv->pubsub_cost > MATCHING_MAX)
			return -1;
	}
	*end = NULL;
	return 0;
}

static enum verdict pubsub_channels(struct resp_request *r)
{
	struct slice word, *pattern = NULL;
	struct topic *topic = NULL;
	size_t count = 0;
	int result = 0;

	if (r->words > 1) {
		resp_errorf(r->replies,
		    "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try PUBSUB "
		    "HELP.",
		    resp_shown(r->within), r->within.bytes);
		return VERDICT_CONTINUE;
	}
	if (r->words > 0) {
		word = resp_next_word(r);
		pattern = &word;
		if (word.length > PATTERN_MAX)
			return resp_fail(r, "ERR pattern too long");
	}
	if (r->kv->pubsub != NULL)
		result = match_channels(r->kv, pattern, &topic, &count);
	yield_if_due(r);
	if (result == -1)
		return resp_fail(r, "ERR too many channels for one reply");
	resp_array(r->replies, count);
	for (; topic != NULL; topic = topic->next_match)
		resp_bulk(r->replies, (struct slice){ topic->name, topic->length });
	return VERDICT_CONTINUE;
}

static enum verdict pubsub_numsub(struct resp_request *r)
{
	const struct pubsub *pubsub = r->kv->pubsub;

	resp_array(r->replies, 2 * r->words);
	while (r->words > 0) {
		struct slice name = resp_next_word(r);
		const struct topic *topic =
		    pubsub == NULL ? NULL : topics_find(&pubsub->topics, CHANNEL, name);

		resp_bulk(r->replies, name);
		resp_integer(r->replies, topic == NULL ? 0 : (int64_t)topic->count);
	}
	return VERDICT_CONTINUE;
}

static enum verdict pubsub_numpat(struct resp_request *r)
{
	resp_integer(r->replies, (int64_t)resp_pubsub_counts(r->kv->pubsub).patterns);
	return VERDICT_CONTINUE;
}

const struct resp_within resp_pubsub_rows[] = {
	{ { "CHANNELS", "[pattern]", "The channels that have subscribers." }, 0, SIZE_MAX,
	    pubsub_channels },
	{ { "NUMSUB", "[channel...]", "How many subscribers the channels have." }, 0, SIZE_MAX,
	    pubsub_numsub },
	{ { "NUMPAT", "", "To how many patterns clients have subscribed." }, 0, 0, pubsub_numpat },
	{ { 0 }, 0, 0, NULL },
};
