/*
 * Files are looked at once a minute, and while there are handshakes once a second, so that a client never has to wait for
 * a new certificate. That works for files that are replaced by rename(2), rewritten, or reached by symbolic links that
 * change, and in containers, which inotify(7) does not.
 *
 * A certificate and its key change one after the other. What does not fit together is refused with a warning, and tried
 * again after the next change.
 */
#include "renewal.h"

#include <stdlib.h>

#include "core/log.h"
#include "core/strings.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/task.h"
#include "net/tls_context.h"
#include "running.h"

struct renewal {
	struct running *running;
	struct task *task;
};

static void renewal_renew(const struct renewal *renewal, struct instance *instance)
{
	struct strings errors = { 0 }, warnings = { 0 };
	struct tls_context *context = tls_context_new(
	    renewal->running->config, instance->config, instance->tls, &errors, &warnings);

	if (context != NULL)
		tls_context_install(context, instance);
	for (size_t i = 0; i < warnings.count; i++)
		log_warning("%s: %s", instance->name, warnings.items[i]);
	for (size_t i = 0; i < errors.count; i++)
		log_warning("%s: the new files of TLS are not used, the old certificate stays: %s",
		    instance->name, errors.items[i]);
	if (errors.lost)
		log_warning("%s: the new files of TLS are not used: out of memory", instance->name);
	if (context == NULL)
		tls_context_note_failure(instance->tls, &errors);
	strings_clear(&errors);
	strings_clear(&warnings);
}

static void renewal_work(void *arg)
{
	const struct renewal *renewal = arg;
	struct instance *instance;

	TAILQ_FOREACH (instance, &renewal->running->loop->instances, entry) {
		enum tls_change change =
		    instance->tls == NULL ? TLS_SAME : tls_context_poll(instance->tls);

		if (change == TLS_CHANGED)
			renewal_renew(renewal, instance);
		if (instance->tls == NULL)
			continue;
		tls_context_remind(instance->tls, instance->name);
		task_schedule(
		    renewal->task, change == TLS_CHANGING ? RENEWAL_SOON_MS : RENEWAL_INTERVAL_MS);
	}
}

struct renewal *renewal_new(struct running *running)
{
	struct renewal *renewal = calloc(1, sizeof(*renewal));

	if (renewal == NULL)
		return NULL;
	renewal->running = running;
	renewal->task = task_new(running->loop, -1, renewal_work, renewal);
	if (renewal->task == NULL) {
		free(renewal);
		return NULL;
	}
	running->loop->renewal = renewal->task;
	return renewal;
}

void renewal_free(struct renewal *renewal)
{
	if (renewal == NULL)
		return;
	renewal->running->loop->renewal = NULL;
	task_free(renewal->task);
	free(renewal);
}
