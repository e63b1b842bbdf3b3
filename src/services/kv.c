/*
 * kv: a key-value store. An instance's configuration, its engine and the engine's host, its backups, and its messages
 * and metrics. kv_lines.c and kv_resp.c are its protocols.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/error.h"
#include "core/log.h"
#include "core/notify.h"
#include "core/plural.h"
#include "kv/engine.h"
#include "kv/store.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/stream.h"
#include "net/task.h"
#include "services/kv.h"
#include "services/kv_listing.h"
#include "services/kv_login.h"
#include "services/kv_resp.h"
#include "services/kv_users.h"
#include "services/kv_wording.h"
#include "services/resp_pubsub.h"
#include "services/service.h"

#define PROGRESS_MS 1000
#define REFUSED_MS 60000   /* after a refused change, how long the store needs a look */
#define RESP_WORD_MIN 4096 /* bytes, for patterns and names, however small the limits are */

struct kv_conf {
	char *storage; /* "" = none */
	int sync;      /* enum sync */
	int64_t sync_interval;
	int64_t max_memory, max_key, max_value;
	int on_full; /* enum on_full */
	char *users; /* "" = none */
};

enum sync { SYNC_ALWAYS, SYNC_INTERVAL };
static const char *const syncs[] = { "always", "interval", NULL };

enum on_full { FULL_REFUSE, FULL_EVICT };
static const char *const on_fulls[] = { "refuse", "evict", NULL };

static const struct option_row kv_rows[] = {
	OPTION(struct kv_conf, storage, string, .flags = OPTION_RESTART | OPTION_EMPTY,
	    .fallback = OPTION_TEXT(""),
	    .help = "The absolute path of the directory that holds the store; it is created if it "
		    "is missing. If empty, the store is in memory only."),
	OPTION_DEFAULT(struct kv_conf, sync, choice, SYNC_ALWAYS, .flags = OPTION_RESTART,
	    .choices = syncs,
	    .help = "When to reply to a change: when it is on the disk, or at once, in which case "
		    "it is on the disk within sync_interval."),
	OPTION_DEFAULT(struct kv_conf, sync_interval, duration, 1000, .flags = OPTION_RESTART,
	    .min = 10, .max = 3600 * 1000, .unit = "seconds",
	    .help = "With sync = \"interval\", a crash loses the changes of at most this time."),
	OPTION_DEFAULT(struct kv_conf, max_memory, size, 64 << 20, .min = 0, .max = INT64_MAX,
	    .unit = "bytes",
	    .help =
		"Limit on the memory of keys, values and their index; on_full says what happens "
		"to a change that would exceed it. 0 = no limit."),
	OPTION_DEFAULT(struct kv_conf, on_full, choice, FULL_REFUSE, .choices = on_fulls,
	    .help =
		"What to do about a change that would exceed max_memory: refuse it, or evict keys "
		"that are not used much, as a cache does."),
	OPTION_DEFAULT(struct kv_conf, max_key, size, 250, .min = 1, .max = 65535, .unit = "bytes",
	    .help = "Maximum length of a key."),
	OPTION_DEFAULT(struct kv_conf, max_value, size, 64 << 10, .min = 1, .max = 64 << 20,
	    .unit = "bytes",
	    .help = "Maximum length of a value. One that a client sends as a line must also fit "
		    "into it (max_line) with the command and the key."),
	OPTION(struct kv_conf, users, string, .flags = OPTION_EMPTY, .fallback = OPTION_TEXT(""),
	    .help = "The absolute path of a file of users, a line for each, as \"echoctl passwd\" "
		    "makes them: clients log in, and may do what their rights say. If it is "
		    "empty, every client may do everything."),
	OPTION_END,
};

/* --- calls --- */

/* Notes what has become of a COMMAND_GROWS call, for the log: the store becomes full, or has room again. */
static void kv_note_growth(
    const struct instance *instance, const struct call *call, enum kv_status status)
{
	struct kv *kv = instance->state;
	size_t limit = (size_t)kv->max_memory;
	size_t bytes = call->key.length;
	struct engine_stats stats;

	if (status == KV_FULL) {
		for (size_t i = 0; i < call->arg_count; i++)
			bytes += call->args[i].length;
		if (!kv->is_full) {
			kv->is_full = true;
			kv->refused_before = kv->refused;
			kv->smallest = bytes;
			log_warning("%s: the store is full, changes that need memory are refused; "
				    "see max_memory",
			    instance->name);
		}
		if (bytes < kv->smallest)
			kv->smallest = bytes;
		kv->refused++;
		kv->refused_at = clock_ms();
		return;
	}
	if (status != KV_OK)
		return;
	/* A change that needs no memory succeeds in a full store, too: there is room only if the smallest refused one fits. */
	kv->engine->ops->stats(kv->engine, &stats);
	if (limit != 0 && stats.table.memory + kv->smallest > limit)
		return;
	kv->is_full = false;
	log_info("%s: the store takes all changes again; %" PRIu64 " were refused", instance->name,
	    kv->refused - kv->refused_before);
}

void kv_submit(const struct instance *instance, const struct call *call, struct kv_result *result)
{
	const struct kv *kv = instance->state;

	kv->engine->ops->submit(kv->engine, call, result);
	if (call->command->flags & COMMAND_GROWS && (result->status == KV_FULL || kv->is_full))
		kv_note_growth(instance, call, result->status);
}

struct listing *kv_run(const struct instance *instance, const struct call *call,
    const struct wording *wording, struct replies *replies)
{
	struct listing *listing;
	struct kv_result result;

	kv_submit(instance, call, &result);
	if (result.status == KV_OK && result.next != 0) {
		/* The listing begins again with the first part. */
		listing = kv_listing_new(instance->state, call, wording);
		if (listing != NULL)
			return listing;
		result = (struct kv_result){ .status = KV_NO_MEMORY };
	}
	wording->result(replies, call, &result);
	return NULL;
}

const char *kv_user(const void *state)
{
	const struct kv_client *client = state;

	return client->login.user == NULL ? "" : client->login.user->name;
}

/* --- the instance --- */

static int kv_check(const struct instance_config *config, struct error *error)
{
	const struct kv_conf *conf = config->parts[PART_OWN].fields;

	if (*conf->storage == '\0')
		return 0;
	if (*conf->storage != '/')
		return error_key(
		    error, "storage", "expected an absolute path, got \"%s\"", conf->storage);
	return 0;
}

/* 0, or -1: see engine_ops.free. */
static int kv_free(struct kv *kv, bool tidies)
{
	int result = 0;

	task_free(kv->work);
	task_free(kv->progress);
	kv_logins_end(&kv->logins);
	if (kv->engine != NULL)
		result = kv->engine->ops->free(kv->engine, tidies);
	resp_pubsub_free(kv->pubsub);
	users_free(kv->users);
	free(kv->backup);
	free(kv);
	return result;
}

static void kv_work_in(void *arg, int64_t ms)
{
	struct kv *kv = ((struct instance *)arg)->state;

	task_schedule(kv->work, ms);
}

static void kv_committed(void *arg, uint64_t commit, bool ok)
{
	struct kv *kv = ((struct instance *)arg)->state;

	if (ok)
		kv->committed = commit;
	else
		kv_listings_fail(kv, commit);
	streams_resolve(arg, kv->committed, commit);
}

static void kv_loaded(void *arg)
{
	struct instance *instance = arg;
	struct kv *kv = instance->state;

	task_free(kv->progress);
	kv->progress = NULL;
	loop_announce_start(instance->loop);
}

/* A load that makes no progress is not reported, so that the service manager's timeout ends it. */
static void kv_notify_progress(void *arg)
{
	struct instance *instance = arg;
	struct kv *kv = instance->state;
	struct engine_stats stats;

	kv->engine->ops->stats(kv->engine, &stats);
	if (stats.loaded != kv->notified)
		notify_step("Loading the store of %s: %" PRIu64, instance->name, stats.loaded);
	kv->notified = stats.loaded;
	task_schedule(kv->progress, PROGRESS_MS);
}

/* --- backup --- */

static void kv_backed_up(void *arg, const struct error *error, uint64_t keys)
{
	const struct instance *instance = arg;
	struct kv *kv = instance->state;
	char sentence[512];

	snprintf(sentence, sizeof(sentence), "%" PRIu64 " key%s %s in %.400s", keys,
	    PLURAL(keys, "s"), keys == 1 ? "is" : "are", kv->backup);
	if (error != NULL)
		log_error("%s: backup to %s failed: %s", instance->name, kv->backup, error->text);
	else
		log_info("%s: backup made in %" PRId64 " ms: %s", instance->name,
		    clock_ms() - kv->backup_begun, sentence);
	if (kv->backup_done != NULL)
		kv->backup_done(kv->backup_arg, error, sentence);
	kv->backup_done = NULL;
	free(kv->backup);
	kv->backup = NULL;
}

static int kv_backup(struct instance *instance, const char *directory,
    void (*done)(void *arg, const struct error *error, const char *sentence), void *arg,
    struct error *error)
{
	struct kv *kv = instance->state;
	char *copy;

	if (*directory != '/')
		return error_set(error, "expected an absolute path, got \"%s\"", directory);
	copy = strdup(directory);
	if (copy == NULL)
		return error_memory(error);
	if (kv->engine->ops->backup(kv->engine, directory, error) == -1) {
		free(copy);
		return -1;
	}
	kv->backup = copy;
	kv->backup_begun = clock_ms();
	kv->backup_done = done;
	kv->backup_arg = arg;
	return 0;
}

static void kv_forget_backup(struct instance *instance)
{
	((struct kv *)instance->state)->backup_done = NULL;
}

/* --- the engine --- */

static struct engine_settings kv_engine_settings(const struct instance *instance)
{
	const struct kv_conf *conf = instance->conf;

	return (struct engine_settings){
		.name = instance->name,
		.directory = conf->storage,
		.always = conf->sync == SYNC_ALWAYS,
		.interval = conf->sync_interval,
		.max_memory = (size_t)conf->max_memory,
		.evicts = conf->on_full == FULL_EVICT,
		.max_value = (size_t)conf->max_value,
	};
}

static void *kv_prepare(const struct instance_config *config, struct strings *errors, int *code)
{
	const struct kv_conf *conf = config->parts[PART_OWN].fields;

	return kv_users_read(conf->users, errors, code);
}

static void kv_drop_prepared(void *prepared)
{
	users_free(prepared);
}

static int kv_start(struct instance *instance, struct error *error)
{
	struct kv *kv = calloc(1, sizeof(*kv));
	struct engine_settings settings = kv_engine_settings(instance);
	struct engine_host host = { .work_in = kv_work_in,
		.committed = kv_committed,
		.loaded = kv_loaded,
		.backed_up = kv_backed_up,
		.arg = instance };
	bool loads;

	if (kv == NULL)
		return error_memory(error);
	kv->engine = store_new(&settings, &host, error);
	if (kv->engine == NULL)
		goto fail;
	loads = kv->engine->ops->state(kv->engine, error) == ENGINE_LOADING;
	kv->work = task_new(instance->loop, kv->engine->fd, kv->engine->ops->work, kv->engine);
	if (loads)
		kv->progress = task_new(instance->loop, -1, kv_notify_progress, instance);
	if (kv->work == NULL || (loads && kv->progress == NULL) ||
	    kv_logins_begin(&kv->logins, instance) == -1) {
		error_memory(error);
		goto fail;
	}
	instance->state = kv;
	kv->started = clock_ms();
	kv->always = settings.always;
	resp_commands_add(&kv->redis);
	resp_scripts_begin(&kv->scripts);
	kv_work_in(instance, 0);
	if (loads)
		task_schedule(kv->progress, PROGRESS_MS);
	return 0;

fail:
	kv_free(kv, false);
	return -1;
}

static int kv_ready(const struct instance *instance, struct error *error)
{
	static const int ready[] = {
		[ENGINE_LOADING] = 0, [ENGINE_READY] = 1, [ENGINE_FAILED] = -1
	};
	const struct kv *kv = instance->state;

	return ready[kv->engine->ops->state(kv->engine, error)];
}

/*
 * Applies the rights that the client has now. A subscriber that may do less than before is ended, because it would go on
 * receiving messages of channels that are no longer its own.
 */
static void kv_recheck(struct stream *stream)
{
	struct kv_client *client = stream_state(stream);
	bool is_resp = stream_handlers(stream) == &kv_resp_handlers;
	bool has_less = !kv_login_recheck(stream, &client->login);

	if (has_less && is_resp && resp_is_subscribed(stream_state(stream)))
		stream_kill(stream);
	else if (client->listing != NULL && has_less)
		kv_listing_refuse(client->listing);
	else if (client->listing != NULL)
		kv_listing_set_user(client->listing, client->login.user);
}

/* Puts users in force, and takes them over. */
static void kv_set_users(struct instance *instance, struct users *users)
{
	struct kv *kv = instance->state;
	struct users *before = kv->users;
	struct client_iterator iterator;
	struct stream *stream;

	kv->users = users;
	if (before == NULL && users == NULL)
		return;
	client_iterator_begin(&iterator, instance->loop);
	while ((stream = client_iterator_next(&iterator)) != NULL)
		if (stream_instance(stream) == instance)
			kv_recheck(stream);
	client_iterator_end(&iterator);
	users_free(before);
}

static void kv_configure(struct instance *instance)
{
	struct engine_settings settings = kv_engine_settings(instance);
	const struct kv_conf *conf = instance->conf;
	struct kv *kv = instance->state;

	kv->max_memory = conf->max_memory;
	kv->evicts = conf->on_full == FULL_EVICT;
	kv->limits = (struct call_limits){ (size_t)conf->max_key, (size_t)conf->max_value };
	instance->max_word =
	    kv->limits.max_value > RESP_WORD_MIN ? kv->limits.max_value : RESP_WORD_MIN;
	if (instance->max_word < kv->limits.max_key)
		instance->max_word = kv->limits.max_key;
	kv->engine->ops->configure(kv->engine, &settings);
	kv_set_users(instance, instance->prepared);
	instance->prepared = NULL;
}

static void kv_stop(struct instance *instance)
{
	struct kv *kv = instance->state;
	struct error error;

	if (kv->backup_done != NULL) {
		error_set(&error, "the service has been stopped");
		kv->backup_done(kv->backup_arg, &error, NULL);
	}
	if (kv_free(kv, instance->loop->stopping) == -1)
		loop_note_loss(instance->loop, instance->name);
}

/*
 * Adds the problem that the store is full. Its memory may be well below the limit: a page for another size of items does
 * not fit, or all of a large value.
 */
static void kv_report_room(const struct kv *kv, uint64_t memory, struct report *report)
{
	uint64_t limit = (uint64_t)kv->max_memory;

	if (kv->evicts || limit == 0)
		return;
	if (kv->refused > 0 && clock_ms() - kv->refused_at < REFUSED_MS)
		report->problem(
		    report, "its memory is full: it has refused changes within the last minute");
	else if (memory > limit - limit / 20 || (kv->is_full && memory + kv->smallest > limit))
		report->problem(report, "its memory is full or nearly full");
}

static void kv_report(const struct instance *instance, struct report *report)
{
	const struct kv_conf *conf = instance->conf;
	const struct kv *kv = instance->state;
	uint64_t limit = (uint64_t)conf->max_memory;
	struct engine_stats stats;
	char text[320];

	kv->engine->ops->stats(kv->engine, &stats);
	if (kv->progress != NULL) {
		snprintf(text, sizeof(text),
		    "its store is being loaded, %" PRIu64 " item%s so far; until then, clients get "
		    "\"ERROR: loading\"",
		    stats.loaded, PLURAL(stats.loaded, "s"));
		report->problem(report, text);
		return;
	}
	report->number(report, "entries", stats.table.entries);
	report->number(report, "memory_bytes", stats.table.memory);
	report->number(report, "memory_limit_bytes", limit);
	kv_report_room(kv, stats.table.memory, report);
	if (stats.durable) {
		report->number(report, "commits_total", stats.commits);
		report->number(report, "commit_failures_total", stats.failures);
		report->number(report, "uncommitted", stats.uncommitted);
		report->number(report, "wal_bytes", stats.log_bytes);
	}
	report->number(report, "refused_sets_total", kv->refused);
	if (kv->users != NULL) {
		report->number(report, "logins_total", kv->logins.succeeded);
		report->number(report, "failed_logins_total", kv->logins.failed);
		report->number(report, "refused_logins_total", kv->logins.refused);
	}
	if (conf->on_full == FULL_EVICT)
		report->number(report, "evictions_total", stats.evictions);
	if (!stats.durable || !stats.read_only)
		return;
	snprintf(text, sizeof(text), "it is read-only: %s", stats.failure);
	report->problem(report, text);
}

const struct service_ops service_kv = {
	.kind = SERVICE_KIND("kv", "A key-value store, for lines and for clients of Redis.",
	    SERVICE_LINES, SERVICE_OWN(kv_rows, struct kv_conf)),
	.transports = SERVICE_STREAM,
	.exposes = "lets everybody who can connect read and change the store",
	.handlers = &kv_lines_handlers,
	.check = kv_check,
	.prepared = "users",
	.prepare = kv_prepare,
	.drop_prepared = kv_drop_prepared,
	.start = kv_start,
	.ready = kv_ready,
	.configure = kv_configure,
	.stop = kv_stop,
	.backup = kv_backup,
	.forget_backup = kv_forget_backup,
	.report = kv_report,
};
