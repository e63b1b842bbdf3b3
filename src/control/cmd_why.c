/*
 * why: what decides about a client of that address, asked of the very functions that decide. The first
 * finding of a verdict is the one that it rests on.
 */
#include <event2/buffer.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "control/request.h"
#include "control/show.h"
#include "core/clock.h"
#include "core/config.h"
#include "core/log.h"
#include "core/plural.h"
#include "core/suggest.h"
#include "net/admission.h"
#include "net/endpoint.h"
#include "net/instance.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/peer.h"
#include "net/settings.h"
#include "observe/json.h"
#include "server.h"

/* Who is asked about. */
struct suspect {
	struct peer peer;
	bool has_port;
};

struct question {
	const struct server *server;
	const struct instance *instance;
	struct suspect suspect;
};

/*
 * "unix", or an IP address as the log shows it, with or without its port. Adds missing brackets and a missing port, so
 * that the parser of the configuration can read it.
 */
static int parse_suspect(struct suspect *suspect, const char *text)
{
	bool bare = text[0] != '[' && strchr(text, ':') != strrchr(text, ':');
	struct endpoints endpoints = { 0 };
	struct address address;
	char full[ADDRESS_TEXT_MAX];
	const char *why;
	int result = -1;

	*suspect = (struct suspect){ .peer.family = AF_UNIX };
	if (strcmp(text, "unix") == 0)
		return 0;
	suspect->has_port = !bare && strrchr(text, ':') > strrchr(text, ']');
	snprintf(full, sizeof(full), "%s%s%s%s%s", "tcp://", bare ? "[" : "", text, bare ? "]" : "",
	    suspect->has_port ? "" : ":0");
	if (address_parse(&address, full, &why) == -1)
		return -1;
	if (address.host != NULL && !address.is_name &&
	    endpoints_resolve(&endpoints, &address, &why) == 0) {
		peer_set(&suspect->peer, &endpoints.items[0].any, endpoints.items[0].length);
		result = 0;
	}
	endpoints_clear(&endpoints);
	address_clear(&address);
	return result;
}

/* --- findings --- */

/*
 * A sentence about a key, or about what no key decides (NULL), before all others or behind them; `line` is a closer
 * place than the key's own, or 0.
 */
static void add_finding(json_t *findings, bool first, const struct option_section *section,
    const char *key, int line, const char *format, ...) __attribute__((format(printf, 6, 7)));

static void add_finding(json_t *findings, bool first, const struct option_section *section,
    const char *key, int line, const char *format, ...)
{
	struct option_origin origin = { 0 };
	char text[512];
	va_list args;
	json_t *finding;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (key != NULL)
		origin = *option_origin_of(section, key);
	if (line != 0 && origin.file != NULL)
		origin.line = line;
	finding = json_pack("{s:o, s:s?}", "text", json_text(text), "key", key);
	json_add_place(finding, &origin);
	json_array_insert_new(findings, first ? 0 : json_array_size(findings), finding);
}

static const struct option_section *own_section(const struct question *q, enum instance_part part)
{
	return &q->instance->config->parts[part];
}

static void add_rule(json_t *findings, const struct question *q, const char *key,
    const struct network *rule, const char *what)
{
	add_finding(findings, false, own_section(q, PART_INSTANCE), key, rule->line,
	    "services.%s.%s has \"%s\"%s", q->instance->name, key, rule->text, what);
}

/* What the rules say; the finding that decides comes first. */
static void explain_rules(const struct question *q, struct access_decision d, json_t *findings)
{
	const struct option_section *section = own_section(q, PART_INSTANCE);
	const char *name = q->instance->name;

	if (q->suspect.peer.family == AF_UNIX)
		add_finding(findings, false, section, "socket_mode", 0,
		    "access rules do not apply to Unix sockets; services.%s.socket_mode restricts "
		    "access",
		    name);
	else if (d.allow == NULL && d.deny == NULL && d.allowed)
		add_finding(findings, false, section, "allow", 0,
		    "services.%s has no rule that matches", name);
	else if (d.allow == NULL && d.deny == NULL)
		add_finding(findings, false, section, "allow", 0,
		    "no network in services.%s.allow contains it", name);
	else if (d.allowed)
		add_rule(findings, q, "allow", d.allow, "");
	else
		add_rule(findings, q, "deny", d.deny, "");
	if (d.allowed && d.deny != NULL)
		add_rule(findings, q, "deny", d.deny, ", whose prefix is shorter");
	if (!d.allowed && d.allow != NULL)
		add_rule(findings, q, "allow", d.allow, ", whose prefix is not longer");
}

/* What no rule knows: an address that lets everybody in may be one that others cannot reach. */
static void explain_reach(const struct question *q, bool stream, json_t *findings)
{
	const struct peer *peer = &q->suspect.peer;
	const struct listener *listener;

	if (!peer_is_ip(peer) || network_key_is_loopback(&peer->key))
		return;
	TAILQ_FOREACH (listener, &q->instance->listeners, entry) {
		const struct endpoint *endpoint = listener_endpoint(listener);

		if (transport_is_stream(endpoint->transport) == stream &&
		    !endpoint_is_loopback(endpoint))
			return;
	}
	add_finding(findings, false, own_section(q, PART_INSTANCE), "listen", 0,
	    "but it cannot connect from another machine: services.%s listens on loopback addresses "
	    "only",
	    q->instance->name);
}

/* Whose address counts, where proxies announce the clients. */
static void explain_proxies(const struct question *q, json_t *findings)
{
	const struct option_section *section = own_section(q, PART_INSTANCE);
	const char *name = q->instance->name;

	if (!admission_is_proxied(q->instance))
		return;
	add_finding(findings, false, section, "proxy_from", 0,
	    "this is about a client that a proxy in services.%s.proxy_from announces", name);
	if (admission_trusts(q->instance, &q->suspect.peer))
		add_finding(findings, false, section, "proxy_from", 0,
		    "it is such a proxy itself: its own connections have to begin with a PROXY "
		    "header");
	else
		add_finding(findings, false, section, "proxy_from", 0,
		    "a connection of its own is turned away: services.%s.proxy_from does not "
		    "contain it",
		    name);
}

/* --- streams --- */

/* A limit on a number of clients; the finding comes first if it is reached. */
static void explain_limit(const struct question *q, const struct admission *a, enum limit limit,
    const char *key, json_t *findings)
{
	const struct admission_limit *found = &a->limits[limit];
	const struct option_section *section;
	char path[192];

	if (!found->applies)
		return;
	limit_key(limit, q->instance, path, sizeof(path));
	section = strncmp(path, "limits.", strlen("limits.")) != 0
		      ? own_section(q, PART_INSTANCE)
		      : config_section(q->server->running.config, "limits");
	if (found->site)
		snprintf(
		    path + strlen(path), sizeof(path) - strlen(path), ", of its /%d", SITE_LENGTH);
	add_finding(findings, found->reached, section, key, 0,
	    "%" PRId64 " of %" PRId64 " client%s by %s%s", found->now, found->max,
	    PLURAL(found->max, "s"), path, found->reached ? ": no more" : "");
}

static json_t *judge_streams(const struct question *q)
{
	static const char *const verdicts[] = { [ADMIT] = "allowed",
		[ADMIT_LATER] = "waits",
		[REFUSE_DENIED] = "denied",
		[REFUSE_LIMIT] = "limited" };
	const struct option_section *section = own_section(q, PART_INSTANCE);
	const struct admission_limit *rate;
	json_t *findings = json_array();
	struct admission a;

	admission_check(q->instance, &q->suspect.peer, &a);
	explain_rules(q, a.access, findings);
	explain_limit(q, &a, LIMIT_CLIENTS, "max_connections", findings);
	explain_limit(q, &a, LIMIT_ALL_CLIENTS, "max_connections", findings);
	if (a.limits[LIMIT_PROGRAMS].reached)
		add_finding(findings, true, NULL, NULL, 0,
		    "the service runs max_children programs, or is about to");
	/* No address gets in over these, so that they decide. */
	if (!a.limits[LIMIT_CLIENTS].reached && !a.limits[LIMIT_ALL_CLIENTS].reached &&
	    !a.limits[LIMIT_PROGRAMS].reached) {
		explain_limit(q, &a, LIMIT_SOURCE, "max_per_source", findings);
		rate = &a.limits[LIMIT_RATE];
		if (rate->reached)
			add_finding(findings, true, section, "connect_rate", 0,
			    "its network has opened the %" PRId64 " connection%s a second of "
			    "services.%s.connect_rate: no more for %" PRId64 " ms",
			    rate->max, PLURAL(rate->max, "s"), q->instance->name, rate->wait);
		else if (rate->applies)
			add_finding(findings, false, section, "connect_rate", 0,
			    "at most %" PRId64 " new client%s a second of its network, by "
			    "services.%s.connect_rate",
			    rate->max, PLURAL(rate->max, "s"), q->instance->name);
	}
	if (a.access.allowed && !admission_is_proxied(q->instance))
		explain_reach(q, true, findings);
	explain_proxies(q, findings);
	return json_pack("{s:s, s:o}", "verdict", verdicts[a.verdict], "findings", findings);
}

/* --- datagrams --- */

#define MUTED_SHOWN 4
#define HIGHEST_PORT 65535

/* Why a guard before the rules drops it, but for the one that a key can switch off. */
static const char *const guard_facts[DROP_REASONS] = {
	[DROP_SOURCE] =
	    "it cannot be a sender: port 0, or an unspecified, multicast or broadcast address",
	[DROP_OWN_PORT] = "its port is one that echod itself receives datagrams on",
};

/* The guards before the rules; true with a finding when one of them drops it. */
static bool judge_guards(const struct question *q, json_t *findings)
{
	const struct own_ports *own = q->server->running.loop->own_ports;
	const struct guard_rules *rules = &q->instance->guard_rules;
	struct suspect suspect = q->suspect;
	const struct datagram_route route = { .from = &suspect.peer };
	enum drop_reason reason;

	if (!suspect.has_port && suspect.peer.family != AF_UNIX) {
		/* To judge the address alone, uses a port that passes all guards. */
		uint16_t port = HIGHEST_PORT;

		while (own_ports_has(own, port))
			port--;
		suspect.peer.port = port;
	}
	reason = guard_request(rules, own, &route);
	if (reason == DROP_NOT)
		return false;
	if (reason == DROP_RESPONDER)
		add_finding(findings, false, own_section(q, PART_DATAGRAMS), "reply_ports", 0,
		    "its port is below 1024 or that of a well-known protocol, and "
		    "services.%s.reply_ports is not \"any\"",
		    q->instance->name);
	else
		add_finding(findings, true, NULL, NULL, 0, "%s", guard_facts[reason]);
	return true;
}

/* Puts the peer's muted requests first, those of all its ports if it has none. False = there are none. */
static bool judge_muted(const struct question *q, json_t *findings, bool others_pass)
{
	struct muted_exchange muted[MUTED_SHOWN];
	int64_t now = clock_ms();
	size_t count = guard_muted(q->instance->guard, &q->suspect.peer, now, muted, MUTED_SHOWN);
	size_t more = count > MUTED_SHOWN ? count - MUTED_SHOWN : 0;

	if (others_pass && count > 0)
		add_finding(findings, true, NULL, NULL, 0, "its other requests are answered");
	if (more > 0)
		add_finding(findings, true, NULL, NULL, 0, "and %zu more of its requests %s", more,
		    more == 1 ? "is" : "are");
	for (size_t i = count - more; i-- > 0;) {
		size_t length = muted[i].length, shown = sizeof(muted[i].request);
		char request[4 * MUTED_REQUEST_SHOWN + 1], port[32] = "";

		log_escape(
		    request, sizeof(request), muted[i].request, length < shown ? length : shown);
		if (muted[i].peer.family != AF_UNIX)
			snprintf(port, sizeof(port), "from port %u ", muted[i].peer.port);
		add_finding(findings, true, NULL, NULL, 0,
		    "its request \"%s\"%s (%zu byte%s) %sis muted for another %" PRId64
		    " s: it had the same answer over and over",
		    request, length > shown ? "..." : "", length, PLURAL(length, "s"), port,
		    (muted[i].until - now + 999) / 1000);
	}
	return count > 0;
}

static json_t *judge_datagrams(const struct question *q)
{
	json_t *findings = json_array();
	const struct instance *instance = q->instance;
	const struct instance_settings *settings = instance->settings;
	const struct option_section *section = own_section(q, PART_DATAGRAMS);
	const struct guard_rules *rules = &instance->guard_rules;
	bool dropped = judge_guards(q, findings);
	struct access_decision access;
	int64_t wait;

	if (!dropped) {
		access = access_decide(&settings->allow, &settings->deny, &q->suspect.peer);
		explain_rules(q, access, findings);
		dropped = !access.allowed;
	}
	if (!dropped) {
		wait = guard_rate_wait(instance->guard, rules, &q->suspect.peer, clock_ms());
		dropped = wait > 0;
		if (wait == 0)
			add_finding(findings, false, section, "reply_rate", 0,
			    "at most %" PRId64
			    " answer%s a second to its network, by services.%s.reply_rate",
			    rules->reply_rate, PLURAL(rules->reply_rate, "s"), instance->name);
		else if (wait > 0)
			add_finding(findings, true, section, "reply_rate", 0,
			    "its network has had the %" PRId64
			    " answer%s a second of services.%s.reply_rate: no more for %" PRId64
			    " ms",
			    rules->reply_rate, PLURAL(rules->reply_rate, "s"), instance->name,
			    wait);
		dropped |= judge_muted(q, findings, !dropped);
		explain_reach(q, false, findings);
	}
	return json_pack(
	    "{s:s, s:o}", "verdict", dropped ? "dropped" : "allowed", "findings", findings);
}

/* --- the command --- */

/* Whether there is an address that the client could come to: by a network, by a Unix socket, or by a proxy. */
static bool has_listener(const struct question *q, bool stream)
{
	bool local = q->suspect.peer.family == AF_UNIX;
	const struct listener *listener;

	TAILQ_FOREACH (listener, &q->instance->listeners, entry) {
		enum transport transport = listener->wanted.transport;

		if (transport_is_stream(transport) == stream &&
		    (transport_is_unix(transport) == local ||
			(stream && admission_is_proxied(q->instance))))
			return true;
	}
	return false;
}

static json_t *why_answer(struct request *request)
{
	const struct running *running = &request->server->running;
	const char *name = request->words[1];
	const struct instance_config *config = config_instance(running->config, name);
	struct suggestion suggestion = { .name = name };
	struct question q = { .server = request->server };
	bool streams, datagrams;

	if (parse_suspect(&q.suspect, request->words[0]) == -1)
		return request_misuse(
		    request, "expected an IP address, with its port or without, or \"unix\"");
	TAILQ_FOREACH (q.instance, &running->loop->instances, entry) {
		if (strcmp(q.instance->name, name) == 0)
			break;
		suggest_offer(&suggestion, q.instance->name);
	}
	if (q.instance == NULL && config != NULL)
		return request_refuse(request, "services.%s is not enabled (%s:%d)", name,
		    config->origin.file, config->origin.line);
	if (q.instance == NULL)
		return request_refuse(request, "there is no service \"%.64s\"%s%s%s", name,
		    suggestion.best != NULL ? "; did you mean \"" : "",
		    suggestion.best != NULL ? suggestion.best : "",
		    suggestion.best != NULL ? "\"?" : "");
	streams = has_listener(&q, true);
	datagrams = has_listener(&q, false);
	if (!streams && !datagrams)
		return request_refuse(request, "services.%s has no address that %s could come to",
		    q.instance->name, request->words[0]);
	return json_pack("{s:s, s:s, s:o, s:o}", "address", request->words[0], "service",
	    q.instance->name, "streams", streams ? judge_streams(&q) : json_null(), "datagrams",
	    datagrams ? judge_datagrams(&q) : json_null());
}

static void show_verdict(const char *what, const json_t *verdict, struct evbuffer *out)
{
	json_t *findings = json_object_get(verdict, "findings"), *finding;
	size_t i;

	if (json_is_null(verdict))
		return;
	evbuffer_add_printf(out, "%s: %s\n", what, json_string_of(verdict, "verdict"));
	json_array_foreach (findings, i, finding) {
		evbuffer_add_printf(out, "  %s", i == 0 ? "by: " : "    ");
		show_text(json_string_of(finding, "text"), out);
		if (json_is_string(json_object_get(finding, "key"))) {
			evbuffer_add_printf(out, " (");
			show_place(finding, out);
			evbuffer_add_printf(out, ")");
		}
		evbuffer_add_printf(out, "\n");
	}
}

static void why_show(json_t *answer, struct evbuffer *out)
{
	show_verdict("streams", json_object_get(answer, "streams"), out);
	show_verdict("datagrams", json_object_get(answer, "datagrams"), out);
}

const struct command command_why = {
	.answer = why_answer,
	.show = why_show,
};
