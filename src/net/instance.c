/* The keys that services share, and the making of an instance. */
#include "net/instance.h"
#include "core/config.h"
#include "net/handlers.h"
#include "net/settings.h"
#include "net/tls_context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const on_limit_names[] = { "reject", "queue", NULL };
static const char *const reply_ports_names[] = { "unprivileged", "any", NULL };

#define CLOSED_LINES_RATE 100 /* a second: each of dozens that arrive at once is to be seen */
#define MINUTE_MS INT64_C(60000)
#define DAY_MS (24 * 60 * MINUTE_MS)

const struct option_row instance_rows[] = {
	OPTION_DEFAULT(
	    struct instance_settings, enabled, bool, true, .help = "Whether to run the instance."),
	OPTION(struct instance_settings, type, string,
	    .help = "The service; without this key, the name of the group."),
	OPTION(struct instance_settings, listen, addresses,
	    .help = "Addresses to listen on: tcp://HOST:PORT, udp://HOST:PORT, unix:///path, "
		    "unixgram:///path, unix://@name; for clients of Redis: redis://HOST:PORT, "
		    "redis+unix:///path."),
	OPTION(struct instance_settings, allow, networks,
	    .help = "Networks whose clients are served; if any is given, all others are denied."),
	OPTION(struct instance_settings, deny, networks,
	    .help = "Networks whose clients are turned away; the longest prefix wins, deny wins a "
		    "tie."),
	OPTION(struct instance_settings, proxy_from, peers,
	    .help =
		"Proxies, as networks or \"unix\": each connection of theirs begins with a header "
		"of the PROXY protocol, and counts as that of the client which it names. All others "
		"are turned away."),
	OPTION_DEFAULT(struct instance_settings, backlog, integer, 1024, .min = 1, .max = 65535,
	    .help = "How many connections the kernel queues until they are accepted."),
	OPTION_DEFAULT(struct instance_settings, ipv6_only, bool, false, .flags = OPTION_RESTART,
	    .help =
		"Whether [::] serves IPv6 clients only; otherwise it serves IPv4 clients, too."),
	OPTION_DEFAULT(struct instance_settings, freebind, bool, false,
	    .help = "Whether an IP address may be bound that this machine does not have yet."),
	OPTION_DEFAULT(struct instance_settings, socket_mode, mode, 0660, .flags = OPTION_RESTART,
	    .help = "The mode of Unix sockets that have a path, in octal."),
	OPTION_DEFAULT(struct instance_settings, max_connections, integer, 4096, .min = 1,
	    .max = 1000000, .help = "Limit on the number of clients of this instance."),
	OPTION_DEFAULT(struct instance_settings, on_limit, choice, ON_LIMIT_REJECT,
	    .choices = on_limit_names,
	    .help = "What happens to a new client when max_connections is reached: it is rejected, "
		    "or it waits in the kernel's queue until another client leaves."),
	OPTION_DEFAULT(struct instance_settings, max_per_source, integer, 0, .min = 0,
	    .max = 1000000,
	    .help = "Limit on the number of clients from one source network, see source_prefix; an "
		    "IPv6 /48 gets four times as many. 0 = the value under limits."),
	OPTION_DEFAULT(struct instance_settings, source_prefix, prefixes, PREFIX_LENGTHS(32, 56),
	    .help = "How many leading bits of an IPv4 and an IPv6 address identify a source "
		    "network for max_per_source and connect_rate."),
	OPTION_DEFAULT(struct instance_settings, connect_rate, integer, 500, .min = 0,
	    .max = 1000000000, .unit = "connections a second",
	    .help = "Limit on new clients per second from one source network; after a pause, up to "
		    "max_per_source at once if that is more. 0 = no limit. Clients on Unix sockets "
		    "are exempt."),
	OPTION_DEFAULT(struct instance_settings, idle_timeout, duration, 300 * 1000, .min = 0,
	    .max = 365 * DAY_MS, .unit = "seconds",
	    .help = "A client that neither sends nor receives a byte for this long is closed; 0 = "
		    "never."),
	/* The maximum is that of TCP_KEEPIDLE. */
	OPTION_DEFAULT(struct instance_settings, keepalive, duration, 300 * 1000, .min = 0,
	    .max = 32767 * 1000, .unit = "seconds",
	    .help = "How long a TCP client is silent before the kernel sends it up to three "
		    "probes, 30 seconds apart. Fractions of a second are rounded up; 0 = never."),
	OPTION(struct instance_settings, tls_certificate, strings,
	    .help = "As certificate of the group tls, in place of that."),
	OPTION(struct instance_settings, tls_key, strings,
	    .help = "As key of the group tls; goes with tls_certificate."),
	OPTION(struct instance_settings, tls_client_ca, string, .flags = OPTION_EMPTY,
	    .help = "As client_ca of the group tls, in place of that."),
	OPTION(struct instance_settings, tls_crl, string, .flags = OPTION_EMPTY,
	    .help = "As crl of the group tls, in place of that."),
	OPTION(struct instance_settings, tls_min_version, choice, .choices = tls_versions,
	    .help = "As min_version of the group tls, in place of that."),
	OPTION_END,
};

const struct option_row line_rows[] = {
	/* The maximum keeps one answer below the output at which a client counts as a slow reader. */
	OPTION_DEFAULT(struct line_settings, max_line, size, 64 << 10, .min = 16,
	    .max = LINE_MAX_LENGTH, .unit = "bytes",
	    .help = "Maximum length of a line, without its end."),
	OPTION_DEFAULT(struct line_settings, line_timeout, duration, 10 * 1000, .min = 0,
	    .max = DAY_MS, .unit = "seconds",
	    .help = "Limit on the time from the first byte of a line to its end; 0 = no limit."),
	OPTION_DEFAULT(struct line_settings, telnet, bool, true,
	    .help = "Whether to remove telnet commands from what TCP clients send."),
	OPTION_END,
};

const struct option_row datagram_rows[] = {
	OPTION_DEFAULT(struct datagram_settings, reply_ports, choice, REPLY_PORTS_UNPRIVILEGED,
	    .choices = reply_ports_names,
	    .help = "Source ports whose datagrams get a reply: the ports from 1024 up that no "
		    "server of a well-known protocol uses, or any."),
	OPTION_DEFAULT(struct datagram_settings, reply_rate, integer, 1000, .min = 0,
	    .max = 1000000000, .unit = "replies a second",
	    .help = "Limit on replies per second to one source network, see reply_prefix; a reply "
		    "of more than 1472 bytes counts as several. 0 = no limit. Loopback and Unix "
		    "peers are exempt."),
	OPTION_DEFAULT(struct datagram_settings, reply_prefix, prefixes, PREFIX_LENGTHS(24, 56),
	    .help = "How many leading bits of an IPv4 and an IPv6 address identify a source "
		    "network for reply_rate; an IPv6 /48 gets at most four times the rate."),
	OPTION_END,
};

struct instance *instance_new(struct loop *loop, const char *name)
{
	struct instance *instance = calloc(1, sizeof(*instance));

	if (instance == NULL)
		return NULL;
	instance->loop = loop;
	TAILQ_INIT(&instance->listeners);
	TAILQ_INIT(&instance->streams);
	LIST_INIT(&instance->children);
	instance->closed_lines.rate = CLOSED_LINES_RATE;
	instance->name = strdup(name);
	if (instance->name == NULL) {
		instance_free(instance);
		return NULL;
	}
	return instance;
}

void instance_free(struct instance *instance)
{
	if (instance == NULL)
		return;
	guard_free(instance->guard);
	tls_context_free(instance->tls);
	free(instance->rates);
	sources_clear(&instance->sources);
	free(instance->name);
	free(instance);
}

void instance_configure(struct instance *instance, struct instance_config *config,
    const struct handlers *handlers, const struct limit_settings *limits)
{
	instance->config = config;
	instance->handlers = handlers;
	instance->settings = config->parts[PART_INSTANCE].fields;
	instance->lines = config->parts[PART_LINES].fields;
	instance->datagrams = config->parts[PART_DATAGRAMS].fields;
	instance->conf = config->parts[PART_OWN].fields;
	instance->guard_rules =
	    (struct guard_rules){ .receiver = handlers->flags & HANDLERS_RECEIVE };
	if (instance->datagrams != NULL) {
		instance->guard_rules.any_port =
		    instance->datagrams->reply_ports == REPLY_PORTS_ANY;
		instance->guard_rules.reply_rate = instance->datagrams->reply_rate;
		instance->guard_rules.reply_prefix = instance->datagrams->reply_prefix;
	}
	instance->max_per_source = instance->settings->max_per_source != 0
				       ? instance->settings->max_per_source
				       : limits->max_per_source;
}

int instance_keepalive(const struct instance_settings *settings)
{
	return (int)((settings->keepalive + 999) / 1000);
}
