/*
 * The life of a server. Signals come through the loop, so that a handler is ordinary code; a reload is a
 * change that change.c prepares and commits.
 */
#include "server.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

#include "build.h"
#include "change.h"
#include "control/console.h"
#include "control/status.h"
#include "core/clock.h"
#include "core/notify.h"
#include "core/path.h"
#include "core/privilege.h"
#include "core/process.h"
#include "net/child.h"
#include "net/errand.h"
#include "net/listener.h"
#include "net/names.h"
#include "net/pulse.h"
#include "net/stream.h"
#include "services/service.h"

#define LAST_COMMIT_MS 600000 /* of a store with sync = "interval", on a slow disk */
#define SPARE_DESCRIPTORS 64  /* beside those of clients: listeners, the log, the loop itself */

/* --- signals --- */

static void stop(struct server *server);

static void reload(struct server *server)
{
	if (reload_request(server, false, NULL, NULL) == NULL)
		log_warning("reload: refused: %s",
		    errno == ESHUTDOWN ? "the daemon is stopping" : strerror(errno));
}

static void reopen(struct server *server)
{
	char why[1024];

	server_reopen_log(server, why, sizeof(why));
}

static void dump(struct server *server)
{
	status_log(server);
}

static void reap_children(struct server *server)
{
	children_reap(server->loop);
}

static const struct {
	int number;
	void (*serve)(struct server *server);
} signals[SERVER_SIGNALS] = {
	{ SIGHUP, reload },
	{ SIGTERM, stop },
	{ SIGINT, stop },
	{ SIGUSR1, reopen },
	{ SIGUSR2, dump },
	{ SIGCHLD, reap_children },
};

static void serve_signals_cb(evutil_socket_t fd, short events, void *arg)
{
	struct server *server = arg;

	(void)fd;
	(void)events;
	for (int i = 0; i < SERVER_SIGNALS; i++)
		if (server->signalled[i]) {
			server->signalled[i] = false;
			signals[i].serve(server);
		}
}

/* libevent calls once for each signal that was sent; a storm of them is served once a turn. */
static void signal_cb(evutil_socket_t number, short events, void *arg)
{
	struct server *server = arg;

	(void)events;
	for (int i = 0; i < SERVER_SIGNALS; i++)
		if (signals[i].number == number)
			server->signalled[i] = true;
	event_active(server->signal_server, EV_READ, 0);
}

static int watch_signals(struct server *server)
{
	server->signal_server = event_new(server->loop->base, -1, 0, serve_signals_cb, server);
	if (server->signal_server == NULL)
		return -1;
	for (int i = 0; i < SERVER_SIGNALS; i++) {
		server->signals[i] =
		    evsignal_new(server->loop->base, signals[i].number, signal_cb, server);
		if (server->signals[i] == NULL || event_add(server->signals[i], NULL) == -1)
			return -1;
	}
	process_take_signals();
	return 0;
}

/* --- stopping --- */

static const char *plural(size_t count)
{
	return count == 1 ? "" : "s";
}

static bool has_clients(const struct server *server)
{
	const struct loop *loop = server->loop;

	return loop->streams + loop->refused + loop->children > 0;
}

/* Clients or programs have left that somebody was waiting for. */
static void left_cb(evutil_socket_t fd, short events, void *arg)
{
	struct server *server = arg;

	(void)fd;
	(void)events;
	retired_reap(&server->retired);
	if (server->phase == SERVER_STOPS && !has_clients(server))
		event_base_loopbreak(server->loop->base);
}

static void stop_timer_cb(evutil_socket_t fd, short events, void *arg)
{
	struct server *server = arg;
	const struct loop *loop = server->loop;

	(void)fd;
	(void)events;
	log_warning("echod: %zu clients and %zu programs are left after shutdown_timeout, they are "
		    "cut off",
	    loop->streams + loop->refused, loop->children);
	event_base_loopbreak(loop->base);
}

static void close_listeners(struct instance *instance)
{
	struct listener *listener;

	while ((listener = TAILQ_FIRST(&instance->listeners)) != NULL) {
		streams_leave(instance, listener, CLOSE_SHUTDOWN);
		listener_free(listener);
	}
}

static void begin_stop(struct server *server)
{
	int64_t wait = server->config->limits->shutdown_timeout;
	const struct timeval tv = { .tv_sec = wait / 1000, .tv_usec = wait % 1000 * 1000 };
	struct instance *instance;

	log_info("echod: stopping");
	notify_stopping(wait, "Stopping; %zu client%s left", server->loop->streams,
	    plural(server->loop->streams));
	server->phase = SERVER_STOPS;
	reloads_cancel(server);
	TAILQ_FOREACH (instance, &server->loop->instances, entry) {
		close_listeners(instance);
		streams_drain(instance, CLOSE_SHUTDOWN);
	}
	retired_drain(&server->retired, CLOSE_SHUTDOWN);
	if (has_clients(server))
		evtimer_add(server->stop_timer, &tv);
	else
		event_base_loopbreak(server->loop->base);
}

static void stop(struct server *server)
{
	if (server->phase == SERVER_STOPS)
		event_base_loopbreak(server->loop->base);
	else
		begin_stop(server);
}

/* --- starting and reloading --- */

/* Warns if the limit of open files, which process_begin() has raised, is too low for max_connections. */
static void check_descriptor_limit(int64_t max_connections)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
	    (uint64_t)max_connections + SPARE_DESCRIPTORS > limit.rlim_cur)
		log_warning("echod: limits.max_connections is %" PRId64
			    ", but only %ju files may be open at a time",
		    max_connections, (uintmax_t)limit.rlim_cur);
}

void server_use_log_level(const struct server *server)
{
	int level = server->config->log->level + server->verbosity;

	if (level < LOG_LEVEL_ERROR)
		level = LOG_LEVEL_ERROR;
	if (level > LOG_LEVEL_DEBUG)
		level = LOG_LEVEL_DEBUG;
	log_set_level((enum log_level)level);
}

struct server *server_new(struct config *config, const char *config_file,
    struct inherited *inherited, int verbosity, bool detached)
{
	struct server *server = calloc(1, sizeof(*server));

	if (server == NULL)
		return NULL;
	LIST_INIT(&server->retired);
	server->config_file = path_absolute(config_file);
	server->verbosity = verbosity;
	server->detached = detached;
	server->inherited = inherited;
	server->config = config;
	server->started = clock_ms();
	server->console = console_new(server);
	server->loop = loop_new((size_t)config->limits->max_connections);
	if (server->loop != NULL) {
		server->loop->control = server->console;
		server->pulse = pulse_new(server->loop);
		server->left = event_new(server->loop->base, -1, 0, left_cb, server);
		server->stop_timer = evtimer_new(server->loop->base, stop_timer_cb, server);
		server->loop->left = server->left;
	}
	if (server->config_file == NULL || server->console == NULL || server->pulse == NULL ||
	    server->left == NULL || server->stop_timer == NULL || reloads_init(server) == -1) {
		server->config = NULL; /* it stays the caller's */
		server_free(server);
		return NULL;
	}
	return server;
}

void server_log_errors(const char *subject, const struct strings *errors)
{
	for (size_t i = 0; i < errors->count; i++)
		log_error("%s: %s", subject, errors->items[i]);
	if (errors->lost)
		log_error("%s: out of memory", subject);
}

/* The exit status, by errno: the user may be a mistake in the configuration. */
static int refuse_privileges(const struct config *config, const char *why)
{
	static const struct option_origin nowhere = { 0 };
	bool unknown = errno == ENOENT;
	struct strings errors = { 0 };

	errors_add(&errors, unknown ? option_origin_of(&config->sections[0], "user") : &nowhere,
	    "%s", why);
	server_log_errors("echod", &errors);
	strings_clear(&errors);
	return unknown ? EX_CONFIG : EX_NOPERM;
}

static void looked_up_cb(void *arg)
{
	struct server *server = arg;

	event_base_loopbreak(server->loop->base);
}

/* Looks up the host names of the start and runs the loop meanwhile, until a stop. NULL with errno. */
static struct names *look_up(struct server *server)
{
	struct names *names = reload_look_up(server, server->config, looked_up_cb, server);

	if (names == NULL || !names_are_pending(names) ||
	    event_base_dispatch(server->loop->base) != -1)
		return names;
	names_free(names);
	return NULL;
}

int server_start(struct server *server)
{
	struct config *config = server->config;
	struct strings errors = { 0 };
	struct change *change;
	struct names *names;
	char why[256];
	int status;

	server_use_log_level(server);
	/* Before anything is bound: whether it will be possible to become the user. */
	if (privilege_seal(why, sizeof(why)) == -1 ||
	    privilege_lend(config->main->user, why, sizeof(why)) == -1)
		return refuse_privileges(config, why);
	privilege_return();
	check_descriptor_limit(config->limits->max_connections);
	/* Before anything is bound: from here on a TERM ends in an orderly stop, by the loop's first turn. */
	if (watch_signals(server) == -1) {
		log_error("echod: cannot watch signals: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	if ((names = look_up(server)) == NULL) {
		log_error("echod: cannot look up host names: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	if (server->phase == SERVER_STOPS) {
		names_free(names);
		return 0;
	}
	server->config = NULL; /* a start is a change from nothing */
	change = change_prepare(server, config, names, CHANGE_REAL, &errors, &status);
	names_free(names);
	if (change == NULL) {
		server->config = config;
		server_log_errors("echod", &errors);
		strings_clear(&errors);
		return status;
	}
	log_info("echod: version %s starting, logging to %s at level %s", PACKAGE_VERSION,
	    log_target(), log_level_name(log_level()));
	for (size_t i = 0; i < config->warnings.count; i++)
		log_warning("echod: %s", config->warnings.items[i]);
	change_commit(change);
	notify_check();
	if (privilege_drop(config->main->user, why, sizeof(why)) == -1)
		return refuse_privileges(config, why);
	if (geteuid() == 0)
		log_info("echod: started as root and stays root: set user to another user");
	server->reloads.loaded_at = clock_seconds();
	server->phase = SERVER_RUNS;
	errand_in(server->reloads.work, 0); /* for reloads that were requested meanwhile */
	return 0;
}

void server_count(const struct server *server, size_t *services, size_t *addresses)
{
	const struct instance *instance;
	const struct listener *listener;

	*services = *addresses = 0;
	TAILQ_FOREACH (instance, &server->loop->instances, entry) {
		++*services;
		TAILQ_FOREACH (listener, &instance->listeners, entry)
			*addresses += listener->socket.fd != -1;
	}
}

int server_reopen_log(const struct server *server, char *why, size_t why_size)
{
	const char *user = server->config->main->user;
	size_t length;

	if (log_reopen(why, why_size) == 0) {
		log_info("log: reopened");
		return 0;
	}
	length = strlen(why);
	if (errno == EACCES && user != NULL)
		snprintf(why + length, why_size - length,
		    "; have logrotate make it, with \"create 0640 %s\", or use \"copytruncate\"",
		    user);
	log_error(
	    "log: cannot reopen %s, lines go on to the file that was open: %s", log_target(), why);
	return -1;
}

static void watchdog_cb(evutil_socket_t fd, short events, void *arg)
{
	(void)fd;
	(void)events;
	(void)arg;
	notify_alive();
}

/* By the loop: when it hangs, the service manager hears nothing and starts us again. */
static int feed_watchdog(struct server *server)
{
	int64_t ms = notify_watchdog();
	const struct timeval interval = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	if (ms == 0)
		return 0;
	server->watchdog = event_new(server->loop->base, -1, EV_PERSIST, watchdog_cb, NULL);
	return server->watchdog == NULL ? -1 : event_add(server->watchdog, &interval);
}

static void free_instances(struct loop *loop)
{
	struct instance *instance;

	while ((instance = TAILQ_FIRST(&loop->instances)) != NULL) {
		streams_abort(instance, CLOSE_SHUTDOWN);
		children_finish(instance);
		close_listeners(instance);
		TAILQ_REMOVE(&loop->instances, instance, entry);
		service_stop(instance);
	}
}

/* Includes the last commits of all stores; signals that arrive meanwhile stay pending in the loop. */
static void server_close(struct server *server)
{
	reloads_cancel(server);
	retired_abort(&server->retired, CLOSE_SHUTDOWN);
	free_instances(server->loop);
}

int server_run(struct server *server)
{
	size_t services, addresses;

	if (server->phase == SERVER_STOPS) { /* before it had started */
		log_info("echod: stopped");
		return EXIT_SUCCESS;
	}
	server_count(server, &services, &addresses);
	log_info("echod: ready (%zu services, %zu addresses)", services, addresses);
	if (feed_watchdog(server) == -1) {
		log_error("echod: out of memory for the watchdog's timer");
		return EXIT_FAILURE;
	}
	reload_tell_ready(server);
	pulse_start(server->pulse);
	children_reap(server->loop); /* children that ended before SIGCHLD had a handler */
	if (event_base_dispatch(server->loop->base) == -1) {
		log_error("echod: the event loop failed: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	notify_stopping(LAST_COMMIT_MS, "Stopping; closing the stores");
	server_close(server);
	log_info("echod: stopped");
	return EXIT_SUCCESS;
}

/* --- the end --- */

static void free_event(struct event *event)
{
	if (event != NULL)
		event_free(event);
}

void server_free(struct server *server)
{
	if (server == NULL)
		return;
	if (server->loop != NULL) {
		server_close(server);
		reloads_free(server);
	}
	process_hold_signals(); /* for good: the handlers are freed */
	for (int i = 0; i < SERVER_SIGNALS; i++)
		free_event(server->signals[i]);
	free_event(server->signal_server);
	free_event(server->watchdog);
	free_event(server->stop_timer);
	free_event(server->left);
	pulse_free(server->pulse);
	loop_free(server->loop);
	console_free(server->console);
	config_free(server->config);
	free(server->config_file);
	free(server);
}
