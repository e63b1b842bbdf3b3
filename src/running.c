/* What can be read from, and applied by, the configuration in force. */
#include "running.h"

#include "core/config.h"
#include "core/log.h"
#include "net/instance.h"
#include "net/listener.h"
#include "net/loop.h"

void running_set_log_level(const struct running *running)
{
	int level = running->config->log->level + running->verbosity;

	if (level < LOG_LEVEL_ERROR)
		level = LOG_LEVEL_ERROR;
	if (level > LOG_LEVEL_DEBUG)
		level = LOG_LEVEL_DEBUG;
	log_set_level((enum log_level)level);
}

void running_count(const struct running *running, size_t *services, size_t *addresses)
{
	const struct instance *instance;
	const struct listener *listener;

	*services = *addresses = 0;
	TAILQ_FOREACH (instance, &running->loop->instances, entry) {
		++*services;
		TAILQ_FOREACH (listener, &instance->listeners, entry)
			*addresses += listener->socket.fd != -1;
	}
}

void log_errors(const char *subject, const struct strings *errors)
{
	for (size_t i = 0; i < errors->count; i++)
		log_error("%s: %s", subject, errors->items[i]);
	if (errors->lost)
		log_error("%s: out of memory", subject);
}
