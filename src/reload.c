/* The errand takes the first reload of the queue through its steps: read, look up, then apply or call `done`. */
#include "reload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "change.h"
#include "core/clock.h"
#include "core/inherited.h"
#include "core/log.h"
#include "core/notify.h"
#include "net/errand.h"
#include "net/names.h"
#include "server.h"
#include "services/service.h"

static void reload_free(struct reload *reload)
{
	names_free(reload->names); /* before the config: it holds their addresses */
	config_free(reload->next);
	strings_clear(&reload->errors);
	strings_clear(&reload->warnings);
	free(reload);
}

/* --- its steps --- */

/* Skips disabled services, and those whose sockets come from the service manager. */
struct names *reload_look_up(
    struct server *server, const struct config *config, void (*done)(void *arg), void *arg)
{
	struct names *names = names_new(server->loop->base, done, arg);

	for (size_t i = 0; names != NULL && i < config->instance_count; i++) {
		const struct instance_config *instance = &config->instances[i];
		const struct instance_settings *settings = instance->parts[PART_INSTANCE].fields;

		if (!instance_enabled(instance) || inherited_has(server->inherited, instance->name))
			continue;
		for (size_t j = 0; j < settings->listen.count; j++) {
			const struct address *address = &settings->listen.items[j];

			if (address->host == NULL || !address_is_name(address))
				continue;
			notify_step("Looking up %s", address->host);
			log_debug("names: looking up %s", address->host);
			if (names_look_up(names, address) == -1) {
				names_free(names);
				return NULL;
			}
		}
	}
	return names;
}

int reload_keep_unreloadable(struct reload *reload)
{
	int result =
	    config_keep_unreloadable(reload->server->config, reload->next, &reload->warnings);

	strings_append(&reload->warnings, &reload->next->warnings);
	if (result == -1)
		strings_add(&reload->errors, "out of memory");
	return result;
}

static void reload_succeed(struct reload *reload)
{
	struct reloads *reloads = &reload->server->reloads;

	reload->next = NULL; /* the server owns it */
	server_use_log_level(reload->server);
	for (size_t i = 0; i < reload->warnings.count; i++)
		log_warning("reload: %s", reload->warnings.items[i]);
	reloads->failed_at = 0;
	strings_clear(&reloads->errors);
	reloads->done++;
	reloads->loaded_at = clock_seconds();
	log_info("reload: done");
}

static void reload_fail(struct reload *reload)
{
	struct reloads *reloads = &reload->server->reloads;

	reload->failed = true;
	server_log_errors("reload", &reload->errors);
	reloads->failed++;
	reloads->failed_at = clock_seconds();
	strings_clear(&reloads->errors);
	strings_append(&reloads->errors, &reload->errors);
	log_error("reload: failed, the running configuration stays");
}

static void reload_apply(struct reload *reload)
{
	struct change *change = NULL;
	int status;

	if (reload->next != NULL && reload->names != NULL && reload_keep_unreloadable(reload) == 0)
		change = change_prepare(reload->server, reload->next, reload->names, CHANGE_REAL,
		    &reload->errors, &status);
	if (change != NULL) {
		change_commit(change);
		reload_succeed(reload);
	} else {
		reload_fail(reload);
	}
	reload_tell_ready(reload->server);
}

/* The first reload of the queue has what it needs, or cannot get it. */
static void reload_finish(struct reload *reload)
{
	struct reloads *reloads = &reload->server->reloads;

	if (!reload->dry_run)
		reload_apply(reload);
	else
		reload->failed = reload->next == NULL || reload->names == NULL;
	if (reload->done != NULL)
		reload->done(reload, reload->arg);
	TAILQ_REMOVE(&reloads->queue, reload, entry);
	reload_free(reload);
	if (!TAILQ_EMPTY(&reloads->queue))
		errand_in(reloads->work, 0);
}

static void reload_found_cb(void *arg)
{
	reload_finish(arg);
}

static void reload_work(void *arg)
{
	struct server *server = arg;
	struct reload *reload = TAILQ_FIRST(&server->reloads.queue);

	if (reload == NULL || reload->begun || server->phase != SERVER_RUNS)
		return;
	reload->begun = true;
	if (!reload->dry_run)
		notify_reloading();
	reload->next = config_load(server->config_file, false, service_kinds, &reload->errors);
	if (reload->next != NULL) {
		reload->names = reload_look_up(server, reload->next, reload_found_cb, reload);
		if (reload->names == NULL)
			reload->errors.lost = true;
		else if (names_are_pending(reload->names))
			return; /* reload_found_cb() goes on */
	}
	reload_finish(reload);
}

/* --- the queue --- */

int reloads_init(struct server *server)
{
	TAILQ_INIT(&server->reloads.queue);
	server->reloads.work = errand_new(server->loop, -1, reload_work, server);
	return server->reloads.work == NULL ? -1 : 0;
}

struct reload *reload_request(
    struct server *server, bool dry_run, void (*done)(struct reload *reload, void *arg), void *arg)
{
	struct reloads *reloads = &server->reloads;
	struct reload *reload = TAILQ_LAST(&reloads->queue, reload_queue);

	if (server->phase == SERVER_STOPS) {
		errno = ESHUTDOWN;
		return NULL;
	}
	if (reload != NULL && !reload->begun && !reload->dry_run && !dry_run && done == NULL)
		return reload;
	if ((reload = calloc(1, sizeof(*reload))) == NULL)
		return NULL;
	reload->server = server;
	reload->dry_run = dry_run;
	reload->done = done;
	reload->arg = arg;
	TAILQ_INSERT_TAIL(&reloads->queue, reload, entry);
	errand_in(reloads->work, 0);
	return reload;
}

void reload_forget(struct reload *reload)
{
	reload->done = NULL;
}

void reloads_cancel(struct server *server)
{
	struct reload *reload;

	while ((reload = TAILQ_FIRST(&server->reloads.queue)) != NULL) {
		TAILQ_REMOVE(&server->reloads.queue, reload, entry);
		reload->failed = true;
		strings_add(&reload->errors, "the daemon is stopping");
		if (reload->done != NULL)
			reload->done(reload, reload->arg);
		reload_free(reload);
	}
}

void reloads_free(struct server *server)
{
	reloads_cancel(server);
	errand_free(server->reloads.work);
	strings_clear(&server->reloads.errors);
}

void reload_tell_ready(const struct server *server)
{
	const struct reloads *reloads = &server->reloads;
	size_t services, addresses;
	char serving[100];

	server_count(server, &services, &addresses);
	snprintf(serving, sizeof(serving), "Serving %zu service%s on %zu address%s", services,
	    services == 1 ? "" : "s", addresses, addresses == 1 ? "" : "es");
	if (reloads->failed_at == 0)
		notify_ready("%s", serving);
	else
		notify_ready("%s; the last reload failed: %s", serving,
		    reloads->errors.count > 0 ? reloads->errors.items[0] : "out of memory");
}
