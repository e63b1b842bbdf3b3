/* INFO: the state of the server, by sections. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "build.h"
#include "core/clock.h"
#include "core/resident.h"
#include "kv/engine.h"
#include "kv/verb.h"
#include "net/endpoint.h"
#include "net/instance.h"
#include "net/listener.h"
#include "net/settings.h"
#include "services/kv.h"
#include "services/resp_pubsub.h"
#include "services/resp_request.h"

static unsigned tcp_port(const struct instance *instance)
{
	const struct listener *listener;

	TAILQ_FOREACH (listener, &instance->listeners, entry)
		if (listener->wanted.protocol.resp &&
		    endpoint_port(listener_endpoint(listener)) != 0)
			return endpoint_port(listener_endpoint(listener));
	return 0;
}

static void info_server(struct resp_request *r, struct text *text)
{
	int64_t up = (clock_ms() - r->kv->started) / 1000;
	struct utsname os;

	uname(&os);
	text_add(text,
	    "# Server\r\nredis_version:" REDIS_VERSION "\r\nserver_name:echod\r\n"
	    "echod_version:" PACKAGE_VERSION "\r\nredis_mode:standalone\r\nos:%s %s %s\r\n"
	    "arch_bits:%zu\r\nprocess_id:%d\r\ntcp_port:%u\r\nuptime_in_seconds:%" PRId64
	    "\r\nuptime_in_days:%" PRId64 "\r\n",
	    os.sysname, os.release, os.machine, 8 * sizeof(void *), (int)getpid(),
	    tcp_port(r->instance), up, up / 86400);
}

static void info_clients(struct resp_request *r, struct text *text)
{
	text_add(text,
	    "# Clients\r\nconnected_clients:%zu\r\nmaxclients:%" PRId64 "\r\nblocked_clients:0\r\n",
	    r->instance->stream_count, r->instance->settings->max_connections);
}

static void add_size(struct text *text, const char *name, uint64_t bytes)
{
	static const char units[] = "BKMGT";
	double size = (double)bytes;
	size_t unit = 0;

	for (; size >= 1024 && units[unit + 1] != '\0'; unit++)
		size /= 1024;
	text_add(text, "%s:%" PRIu64 "\r\n%s_human:%.*f%c\r\n", name, bytes, name,
	    unit == 0 ? 0 : 2, size, units[unit]);
}

const char *resp_memory_policy(const struct kv *kv)
{
	return kv->evicts ? "allkeys-lru" : "noeviction";
}

static void info_memory(struct resp_request *r, struct text *text)
{
	struct engine_stats stats;

	r->kv->engine->ops->stats(r->kv->engine, &stats);
	text_add(text, "# Memory\r\n");
	add_size(text, "used_memory", stats.table.memory);
	add_size(text, "used_memory_rss", resident_memory());
	add_size(text, "maxmemory", (uint64_t)r->kv->max_memory);
	text_add(text, "maxmemory_policy:%s\r\n", resp_memory_policy(r->kv));
}

static void info_persistence(struct resp_request *r, struct text *text)
{
	struct engine_stats stats;

	r->kv->engine->ops->stats(r->kv->engine, &stats);
	text_add(text,
	    "# Persistence\r\nloading:%d\r\naof_enabled:%d\r\naof_last_write_status:%s\r\n"
	    "rdb_changes_since_last_save:%zu\r\nrdb_bgsave_in_progress:0\r\n"
	    "rdb_last_bgsave_status:ok\r\naof_rewrite_in_progress:0\r\n",
	    r->kv->progress != NULL, stats.durable, stats.read_only ? "err" : "ok",
	    stats.uncommitted);
}

static void info_stats(struct resp_request *r, struct text *text)
{
	struct pubsub_counts counts = resp_pubsub_counts(r->kv->pubsub);
	const struct counters *c = &r->instance->counters;
	struct engine_stats stats;

	r->kv->engine->ops->stats(r->kv->engine, &stats);
	text_add(text,
	    "# Stats\r\ntotal_connections_received:%" PRIu64 "\r\ntotal_commands_processed:%" PRIu64
	    "\r\ntotal_net_input_bytes:%" PRIu64 "\r\ntotal_net_output_bytes:%" PRIu64
	    "\r\nrejected_connections:%" PRIu64 "\r\nevicted_keys:%" PRIu64
	    "\r\npubsub_channels:%zu\r\npubsub_patterns:%zu\r\n",
	    c->accepted, r->kv->requests, c->bytes_in, c->bytes_out, c->closed[CLOSE_LIMIT],
	    stats.evictions, counts.channels, counts.patterns);
}

static void info_replication(struct resp_request *r, struct text *text)
{
	(void)r;
	text_add(text, "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n");
}

static void info_cpu(struct resp_request *r, struct text *text)
{
	struct rusage usage;

	(void)r;
	getrusage(RUSAGE_SELF, &usage);
	text_add(text, "# CPU\r\nused_cpu_sys:%ld.%06ld\r\nused_cpu_user:%ld.%06ld\r\n",
	    (long)usage.ru_stime.tv_sec, (long)usage.ru_stime.tv_usec, (long)usage.ru_utime.tv_sec,
	    (long)usage.ru_utime.tv_usec);
}

static void info_cluster(struct resp_request *r, struct text *text)
{
	(void)r;
	text_add(text, "# Cluster\r\ncluster_enabled:0\r\n");
}

static void info_keyspace(struct resp_request *r, struct text *text)
{
	struct engine_stats stats;

	r->kv->engine->ops->stats(r->kv->engine, &stats);
	text_add(text, "# Keyspace\r\n");
	if (stats.table.entries > 0)
		text_add(text, "db0:keys=%zu,expires=%zu,avg_ttl=0\r\n", stats.table.entries,
		    stats.table.expiring);
}

static const struct section {
	const char *name;
	void (*add)(struct resp_request *request, struct text *text);
} sections[] = {
	{ "server", info_server },
	{ "clients", info_clients },
	{ "memory", info_memory },
	{ "persistence", info_persistence },
	{ "stats", info_stats },
	{ "replication", info_replication },
	{ "cpu", info_cpu },
	{ "cluster", info_cluster },
	{ "keyspace", info_keyspace },
};
#define SECTIONS (sizeof(sections) / sizeof(sections[0]))

enum verdict resp_run_info(struct resp_request *r)
{
	unsigned wanted = r->words == 0 ? ~0u : 0;
	struct text text = { 0 };

	while (r->words > 0) {
		struct slice name = resp_next_word(r);

		if (verb_is_word(name, "all") || verb_is_word(name, "everything") ||
		    verb_is_word(name, "default"))
			wanted = ~0u;
		for (size_t i = 0; i < SECTIONS; i++)
			if (verb_is_word(name, sections[i].name))
				wanted |= 1u << i;
	}
	for (size_t i = 0; i < SECTIONS; i++) {
		if (!(wanted & 1u << i))
			continue;
		if (text.length > 0)
			text_add(&text, "\r\n");
		sections[i].add(r, &text);
	}
	return text_reply(r, &text);
}
