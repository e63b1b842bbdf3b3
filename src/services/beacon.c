/* beacon: sends a fixed text, or the time, to its addresses at every interval. It receives nothing. */
#include <string.h>
#include <time.h>

#include "services/service.h"

struct beacon_conf {
	struct addresses send_to;
	int64_t interval; /* ms */
	char *payload;    /* NULL = the time */
	int64_t ttl;
	char *interface; /* NULL = as routed */
};

static const struct option_row rows[] = {
	OPTION(struct beacon_conf, send_to, addresses, .flags = OPTION_REQUIRED,
	    .help = "The destinations: udp://HOST:PORT (including broadcast and multicast), "
		    "unixgram:///path, unixgram://@name."),
	OPTION_DEFAULT(struct beacon_conf, interval, duration, 5 * 1000, .min = 100,
	    .max = INT64_C(86400000), .unit = "seconds", .help = "The time between two datagrams."),
	OPTION(struct beacon_conf, payload, string, .flags = OPTION_EMPTY,
	    .help = "The content of the datagram; without this key, the time, such as "
		    "1431473025.72, and a line feed."),
	OPTION_DEFAULT(struct beacon_conf, ttl, integer, 2, .min = 0, .max = 255,
	    .help = "Time-to-live of multicast datagrams: 0 = this machine, 1 = its links; each "
		    "router subtracts one."),
	OPTION(struct beacon_conf, interface, string,
	    .help = "The network interface for datagrams to multicast, 255.255.255.255 and IPv6 "
		    "link-local addresses; without this key, the routing table selects it."),
	OPTION_END,
};

static size_t beacon_payload(const struct instance *instance, char *to, size_t size)
{
	const struct beacon_conf *conf = instance->conf;
	struct timespec now;
	size_t length;

	if (conf->payload == NULL) {
		clock_gettime(CLOCK_REALTIME, &now);
		return (size_t)snprintf(
		    to, size, "%lld.%02ld\n", (long long)now.tv_sec, now.tv_nsec / 10000000);
	}
	length = strlen(conf->payload);
	memcpy(to, conf->payload, length);
	return length;
}

static struct sender_settings beacon_settings_of(const struct instance *instance)
{
	const struct beacon_conf *conf = instance->conf;

	return (struct sender_settings){ .to = &conf->send_to,
		.interval = conf->interval,
		.ttl = (int)conf->ttl,
		.interface = conf->interface,
		.payload = beacon_payload };
}

static int beacon_start(struct instance *instance, struct error *error)
{
	const struct sender_settings settings = beacon_settings_of(instance);

	instance->state = sender_new(instance, &settings);
	return instance->state == NULL ? error_memory(error) : 0;
}

static void beacon_configure(struct instance *instance)
{
	const struct sender_settings settings = beacon_settings_of(instance);

	sender_configure(instance->state, &settings);
}

static void beacon_stop(struct instance *instance)
{
	sender_free(instance->state);
}

static void beacon_report(const struct instance *instance, struct report *report)
{
	const struct beacon_conf *conf = instance->conf;
	uint64_t troubles = 0;
	char text[512];

	for (size_t i = 0; i < conf->send_to.count; i++) {
		const char *trouble = sender_trouble(instance->state, i);

		if (trouble == NULL)
			continue;
		troubles++;
		snprintf(text, sizeof(text), "cannot send to %s: %s", conf->send_to.items[i].text,
		    trouble);
		report->problem(report, text);
	}
	report->number(report, "addresses", conf->send_to.count);
	report->number(report, "unreachable", troubles);
}

static int beacon_check(const struct instance_config *config, struct error *error)
{
	const struct beacon_conf *conf = config->parts[PART_OWN].fields;

	if (conf->payload != NULL && strlen(conf->payload) > SENDER_PAYLOAD_MAX)
		return error_key(error, "payload", "expected at most %d bytes, got %zu",
		    SENDER_PAYLOAD_MAX, strlen(conf->payload));
	if (conf->send_to.count == 0)
		return error_key(error, "send_to",
		    "expected an address such as \"udp://192.0.2.1:9100\", got none");
	for (size_t i = 0; i < conf->send_to.count; i++) {
		const struct address *address = &conf->send_to.items[i];
		const char *reason = sender_refuses(address, conf->interface);

		if (reason != NULL)
			return error_key(error, address->text, "\"%s\": %s", address->text, reason);
	}
	return 0;
}

/* Nobody comes to a beacon. */
static const struct handlers handlers = { 0 };

const struct service_ops service_beacon = {
	.kind = SERVICE_KIND("beacon", "Sends a datagram to its addresses at every interval.",
	    SERVICE_OWN(rows, struct beacon_conf)),
	.transports_why = "it sends to the addresses in send_to",
	.handlers = &handlers,
	.check = beacon_check,
	.start = beacon_start,
	.configure = beacon_configure,
	.stop = beacon_stop,
	.report = beacon_report,
};
