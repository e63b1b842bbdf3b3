/*
 * An instance of the kv service, which kv.c (its life), kv_lines.c and kv_resp.c (its protocols) and kv_listing.c share.
 * kv.c owns it, from kv_start() to kv_stop().
 */
#ifndef ECHOD_SERVICES_KV_H
#define ECHOD_SERVICES_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "kv/command.h"
#include "net/handlers.h"
#include "services/kv_login.h"
#include "services/resp_scripts.h"

struct engine;
struct error;
struct instance;
struct listing;
struct pubsub;
struct replies;
struct task;
struct wording;

LIST_HEAD(listings, listing);

/* What the service keeps for a client; the state in either protocol begins with it. */
struct kv_client {
	struct login login;
	struct listing *listing; /* NULL = no reply is unfinished */
};

struct kv {
	struct engine *engine;
	struct task *work;     /* of the engine */
	struct task *progress; /* while its store is being loaded; else NULL */
	uint64_t notified;     /* engine_stats.loaded in the last message to the service manager */
	struct call_limits limits;
	struct users *users; /* NULL = there are none */
	struct logins logins;
	struct command_index redis; /* the commands of clients in RESP */
	struct resp_scripts scripts;
	int64_t max_memory;    /* bytes, 0 = no limit */
	bool always;           /* sync: replies wait for the disk */
	bool evicts;           /* instead of refusing changes, when that is reached */
	int64_t started;       /* ms */
	uint64_t requests;     /* in RESP, since the start */
	struct pubsub *pubsub; /* NULL = no client has subscribed yet */
	size_t pubsub_cost;    /* of this run of requests, see resp_pubsub.c */
	/* Called at the end of a backup; NULL = no caller waits for it: */
	void (*backup_done)(void *arg, const struct error *error, const char *sentence);
	void *backup_arg;
	char *backup;         /* its directory; NULL = none is being made */
	int64_t backup_begun; /* ms */
	uint64_t committed; /* the last commit whose promises are kept, see engine_host.committed */
	struct listings listings; /* see kv_listing.h */
	size_t listed;            /* bytes that they hold */
	int64_t next_part;        /* us, they make no part before */
	/* Calls that were refused for lack of memory: */
	uint64_t refused;        /* since the start */
	bool is_full;            /* the last one was refused; then: */
	uint64_t refused_before; /* `refused` when the store became full */
	size_t smallest;         /* refused since then, bytes of key and value */
	int64_t refused_at;      /* ms, the last one */
};

/* Runs a prepared call. */
void kv_submit(const struct instance *instance, const struct call *call, struct kv_result *result);
/*
 * Does that, and adds the reply. If the reply is made in parts, returns a listing instead, which the caller
 * continues and frees.
 */
struct listing *kv_run(const struct instance *instance, const struct call *call,
    const struct wording *wording, struct replies *replies);

/* Lets a call fail that the client may not make. */
static inline void kv_restrict(
    const struct kv *kv, const struct kv_client *client, struct call *call)
{
	if (kv->users != NULL)
		kv_login_restrict(&client->login, call);
}

/* handlers.user of both protocols. */
const char *kv_user(const void *state);

/* The streams in lines, and those in RESP. */
extern const struct handlers kv_lines_handlers, kv_resp_handlers;

#endif
