/*
 * The task takes the first reload of the queue through its steps: read, look up, plan, wait for the services of the plan,
 * commit, and call `done`.
 */
#include "reload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/clock.h"
#include "core/config.h"
#include "core/log.h"
#include "core/notify.h"
#include "core/plural.h"
#include "net/names.h"
#include "net/task.h"
#include "reload_plan.h"
#include "running.h"
#include "services/service.h"

static void reload_free(struct reload *reload)
{
	if (reload->plan != NULL)
		reload_plan_cancel(reload->plan);
	names_free(reload->names); /* before the config: it holds their addresses */
	if (reload->next != reload->reloads->running->config)
		config_free(reload->next);
	strings_clear(&reload->errors);
	strings_clear(&reload->warnings);
	strings_clear(&reload->kept);
	free(reload);
}

/* --- its steps --- */

struct reload_plan *reload_make_plan(struct reload *reload)
{
	struct running *running = reload->reloads->running;
	int status,
	    result = reload->next == running->config
			 ? 0
			 : config_keep_unreloadable(running->config, reload->next, &reload->kept);

	if (!reload->dry_run)
		strings_append(&reload->warnings, &reload->kept);
	strings_append(&reload->warnings, &reload->next->warnings);
	if (result == -1) {
		strings_add(&reload->errors, "out of memory");
		return NULL;
	}
	return reload_plan_new(running, reload->next, reload->names, reload->dry_run,
	    &reload->errors, &reload->warnings, &status);
}

/* Reports the outcome of the first reload of the queue, and frees it. */
static void reload_end(struct reload *reload)
{
	struct reloads *reloads = reload->reloads;

	if (!reload->dry_run)
		strings_clear(&reloads->errors);
	if (!reload->dry_run && !reload->failed) {
		reload_plan_commit(reload->plan);
		reload->plan = NULL;
		reload->next = NULL;
		running_set_log_level(reloads->running);
		for (size_t i = 0; i < reload->warnings.count; i++)
			log_warning("reload: %s", reload->warnings.items[i]);
		strings_clear(&reloads->kept);
		strings_append(&reloads->kept, &reload->kept);
		reloads->failed_at = 0;
		reloads->done++;
		reloads->loaded_at = clock_seconds();
		log_info("reload: done");
	} else if (!reload->dry_run) {
		log_errors("reload", &reload->errors);
		strings_append(&reloads->errors, &reload->errors);
		reloads->failed++;
		reloads->failed_at = clock_seconds();
		log_error("reload: failed, the running configuration stays");
	}
	if (!reload->dry_run)
		reloads_notify_ready(reloads);
	if (reload->done != NULL)
		reload->done(reload, reload->arg);
	TAILQ_REMOVE(&reloads->queue, reload, entry);
	reload_free(reload);
	if (!TAILQ_EMPTY(&reloads->queue))
		task_schedule(reloads->work, 0);
}

/* Its host names have been looked up, or it cannot get that far; or services of its plan have started. */
static void reload_continue(void *arg)
{
	struct reload *reload = arg;
	int ready = reload->next == NULL || reload->names == NULL ? -1 : 1;

	if (ready == 1 && !reload->dry_run) {
		if (reload->plan == NULL)
			reload->plan = reload_make_plan(reload);
		ready = reload->plan == NULL ? -1 : reload_plan_ready(reload->plan);
		if (ready == 0)
			return; /* reloads_wake() continues */
		if (ready == 1)
			ready = reload_plan_open_log(reload->plan) == -1 ? -1 : 1;
	}
	if (ready == -1 && reload->plan != NULL) {
		reload_plan_cancel(reload->plan);
		reload->plan = NULL;
	}
	reload->failed = ready == -1;
	reload_end(reload);
}

static void reload_begin(struct reload *reload)
{
	const struct running *running = reload->reloads->running;

	reload->begun = true;
	if (!reload->dry_run)
		notify_reloading();
	/* The rest is done for the same config, too: what its names and paths lead to may have changed. */
	if (config_is_current(running->config))
		reload->next = running->config;
	else
		reload->next =
		    config_load(running->config_file, false, service_kinds, &reload->errors);
	if (reload->next != NULL) {
		reload->names = reload_plan_look_up(running, reload->next, reload_continue, reload);
		if (reload->names == NULL)
			reload->errors.lost = true;
		else if (names_are_pending(reload->names))
			return; /* reload_continue() will be called */
	}
	reload_continue(reload);
}

static void reload_work(void *arg)
{
	struct reloads *reloads = arg;
	struct reload *reload = TAILQ_FIRST(&reloads->queue);

	if (reload == NULL || reloads->state != RELOADS_RUN)
		return;
	if (!reload->begun)
		reload_begin(reload);
	else if (reload->plan != NULL)
		reload_continue(reload);
}

/* --- the queue --- */

int reloads_init(struct reloads *reloads, struct running *running)
{
	TAILQ_INIT(&reloads->queue);
	reloads->running = running;
	reloads->work = task_new(running->loop, -1, reload_work, reloads);
	return reloads->work == NULL ? -1 : 0;
}

void reloads_start(struct reloads *reloads)
{
	reloads->state = RELOADS_RUN;
	task_schedule(reloads->work, 0);
}

void reloads_wake(struct reloads *reloads)
{
	task_schedule(reloads->work, 0);
}

struct reload *reload_request(struct reloads *reloads, bool dry_run,
    void (*done)(struct reload *reload, void *arg), void *arg)
{
	struct reload *reload = TAILQ_LAST(&reloads->queue, reload_queue);

	if (reloads->state == RELOADS_REFUSED) {
		errno = ESHUTDOWN;
		return NULL;
	}
	if (reload != NULL && !reload->begun && !reload->dry_run && !dry_run && done == NULL)
		return reload;
	if ((reload = calloc(1, sizeof(*reload))) == NULL)
		return NULL;
	reload->reloads = reloads;
	reload->dry_run = dry_run;
	reload->done = done;
	reload->arg = arg;
	TAILQ_INSERT_TAIL(&reloads->queue, reload, entry);
	task_schedule(reloads->work, 0);
	return reload;
}

void reload_forget(struct reload *reload)
{
	reload->done = NULL;
}

void reloads_cancel(struct reloads *reloads)
{
	struct reload *reload;

	reloads->state = RELOADS_REFUSED;
	while ((reload = TAILQ_FIRST(&reloads->queue)) != NULL) {
		TAILQ_REMOVE(&reloads->queue, reload, entry);
		reload->failed = true;
		strings_add(&reload->errors, "the daemon is stopping");
		if (reload->done != NULL)
			reload->done(reload, reload->arg);
		reload_free(reload);
	}
}

void reloads_free(struct reloads *reloads)
{
	reloads_cancel(reloads);
	task_free(reloads->work);
	strings_clear(&reloads->errors);
	strings_clear(&reloads->kept);
}

void reloads_notify_ready(const struct reloads *reloads)
{
	size_t services, addresses;
	char serving[100];

	running_count(reloads->running, &services, &addresses);
	snprintf(serving, sizeof(serving), "Serving %zu service%s on %zu address%s", services,
	    PLURAL(services, "s"), addresses, PLURAL(addresses, "es"));
	if (reloads->failed_at == 0)
		notify_ready("%s", serving);
	else
		notify_ready("%s; the last reload failed: %s", serving,
		    reloads->errors.count > 0 ? reloads->errors.items[0] : "out of memory");
}
