/* A timer, and what is known of each address that is sent to. */
#include "net/sender.h"

#include <errno.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "net/endpoint.h"
#include "net/instance.h"
#include "net/lookup.h"
#include "net/loop.h"
#include "net/multicast.h"
#include "net/outlet.h"

/* One address of the config. */
struct target {
	struct sender *sender;
	const struct address *address;
	struct endpoints endpoints; /* none = it has to be resolved */
	struct lookup *lookup;      /* NULL = none runs */
	bool works;
	char trouble[128]; /* as last logged; "" = there was none yet */
};

struct sender {
	struct instance *instance;
	struct sender_settings settings;
	struct event *timer;
	int64_t due; /* ms, the round that is waited for */
	struct outlet outlet;
	struct target *targets; /* NULL = to be made from the settings */
	char payload[SENDER_PAYLOAD_MAX];
};

const char *sender_refuses(const struct address *address, const char *interface)
{
	if (transport_is_stream(address->transport))
		return "only datagrams are sent, by udp:// or unixgram://";
	if (transport_is_unix(address->transport))
		return NULL;
	if (address->host == NULL)
		return "* is no destination";
	if (address->port == 0)
		return "port 0 is no destination";
	if (interface == NULL && multicast_needs_interface(address))
		return "a link-local address needs an interface: add the key interface, or write "
		       "it behind a %, [fe80::1%eth0]";
	return NULL;
}

/* --- sending --- */

static void report_failure(struct target *target, const char *why)
{
	target->sender->instance->counters.drops[DROP_UNSENT]++;
	target->works = false;
	if (strcmp(target->trouble, why) == 0)
		return;
	snprintf(target->trouble, sizeof(target->trouble), "%s", why);
	log_limited(&target->sender->instance->drop_lines, LOG_LEVEL_WARNING,
	    "%s: cannot send to %s: %s; tried again at every interval",
	    target->sender->instance->name, target->address->text, why);
}

static void report_success(struct target *target)
{
	if (target->works)
		return;
	log_limited(&target->sender->instance->drop_lines, LOG_LEVEL_INFO, "%s: sending to %s%s",
	    target->sender->instance->name, target->address->text,
	    target->trouble[0] == '\0' ? "" : " again");
	target->works = true;
	target->trouble[0] = '\0';
}

/* Sends to every endpoint that the address stands for; one that takes it is enough. */
static void speak(struct target *target)
{
	struct sender *sender = target->sender;
	struct counters *counters = &sender->instance->counters;
	size_t length =
	    sender->settings.payload(sender->instance, sender->payload, sizeof(sender->payload));
	unsigned sent = 0;
	int error = 0;

	for (size_t i = 0; i < target->endpoints.count; i++) {
		if (outlet_send(&sender->outlet, &target->endpoints.items[i],
			sender->settings.interface, sender->payload, length) == 0)
			sent++;
		else
			error = errno;
	}
	counters->datagrams_out += sent;
	counters->bytes_out += sent * length;
	if (sent > 0) {
		report_success(target);
		return;
	}
	report_failure(target, strerror(error));
	endpoints_clear(&target->endpoints); /* the name may stand for another address by now */
}

/* --- resolving --- */

static void found_cb(void *arg, struct endpoints *found, const char *why)
{
	struct target *target = arg;

	target->lookup = NULL;
	target->endpoints = *found;
	if (found->count > 0)
		speak(target);
	else
		report_failure(target, why);
}

/* Finds out where to send to: at once, or, for a name, some time later, when found_cb() sends. */
static void resolve(struct target *target)
{
	const char *why;

	if (target->lookup != NULL)
		return;
	if (address_is_name(target->address)) {
		target->lookup = lookup_start(
		    target->sender->instance->loop->base, target->address, found_cb, target);
		if (target->lookup == NULL)
			report_failure(target, strerror(errno));
	} else if (endpoints_resolve(&target->endpoints, target->address, &why) == -1) {
		report_failure(target, why);
	}
}

static void free_targets(struct sender *sender)
{
	for (size_t i = 0; sender->targets != NULL && i < sender->settings.to->count; i++) {
		lookup_cancel(sender->targets[i].lookup);
		endpoints_clear(&sender->targets[i].endpoints);
	}
	free(sender->targets);
	sender->targets = NULL;
}

static int make_targets(struct sender *sender)
{
	const struct addresses *to = sender->settings.to;

	sender->targets = calloc(to->count, sizeof(*sender->targets));
	if (sender->targets == NULL)
		return -1;
	for (size_t i = 0; i < to->count; i++) {
		sender->targets[i].sender = sender;
		sender->targets[i].address = &to->items[i];
	}
	return 0;
}

/* --- the rounds --- */

static void send_round(struct sender *sender)
{
	if (sender->targets == NULL && make_targets(sender) == -1) {
		log_error("%s: out of memory, nothing is sent", sender->instance->name);
		return;
	}
	for (size_t i = 0; i < sender->settings.to->count; i++) {
		struct target *target = &sender->targets[i];

		if (target->endpoints.count == 0)
			resolve(target);
		if (target->endpoints.count > 0)
			speak(target);
	}
}

static int wait_for_round(struct sender *sender)
{
	int64_t wait = sender->due - clock_ms();
	struct timeval tv = { 0 };

	if (wait > 0)
		tv = (struct timeval){ .tv_sec = wait / 1000, .tv_usec = wait % 1000 * 1000 };
	return event_add(sender->timer, &tv);
}

static void round_cb(evutil_socket_t fd, short events, void *arg)
{
	struct sender *sender = arg;
	int64_t interval = sender->settings.interval, late;

	(void)fd;
	(void)events;
	send_round(sender);
	sender->due += interval;
	late = clock_ms() - sender->due;
	/* The process or the machine has slept: rounds that were missed stay missed. */
	if (late >= 0)
		sender->due += (late / interval + 1) * interval;
	if (wait_for_round(sender) == -1)
		log_error("%s: out of memory for the timer", sender->instance->name);
}

struct sender *sender_new(struct instance *instance, const struct sender_settings *settings)
{
	struct sender *sender = calloc(1, sizeof(*sender));

	if (sender == NULL)
		return NULL;
	sender->instance = instance;
	sender->settings = *settings;
	sender->due = clock_ms();
	outlet_open(&sender->outlet, settings->ttl);
	sender->timer = evtimer_new(instance->loop->base, round_cb, sender);
	if (sender->timer == NULL || wait_for_round(sender) == -1) {
		sender_free(sender);
		return NULL;
	}
	return sender;
}

void sender_configure(struct sender *sender, const struct sender_settings *settings)
{
	free_targets(sender);
	outlet_close(&sender->outlet);
	outlet_open(&sender->outlet, settings->ttl);
	sender->due += settings->interval - sender->settings.interval;
	sender->settings = *settings;
	if (wait_for_round(sender) == -1)
		log_error("%s: out of memory for the timer", sender->instance->name);
}

const char *sender_trouble(const struct sender *sender, size_t n)
{
	const struct target *target;

	if (sender->targets == NULL || n >= sender->settings.to->count)
		return NULL;
	target = &sender->targets[n];
	return target->works || target->trouble[0] == '\0' ? NULL : target->trouble;
}

void sender_free(struct sender *sender)
{
	if (sender == NULL)
		return;
	free_targets(sender);
	outlet_close(&sender->outlet);
	if (sender->timer != NULL)
		event_free(sender->timer);
	free(sender);
}
