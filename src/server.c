/*
 * The life of a server. Signals come through the loop, so that a handler is ordinary code; a start and a reload are
 * plans that reload_plan.c makes and commits. A start is over when the stores are loaded, which takes place beside the
 * loop.
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
#include "core/clock.h"
#include "core/config.h"
#include "core/error.h"
#include "core/log.h"
#include "core/notify.h"
#include "core/path.h"
#include "core/plural.h"
#include "core/privilege.h"
#include "core/process.h"
#include "net/acceptor.h"
#include "net/child.h"
#include "net/instance.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/loop_lag.h"
#include "net/names.h"
#include "net/passwords.h"
#include "net/stream.h"
#include "reload_plan.h"
#include "renewal.h"
#include "services/host.h"
#include "services/service.h"

#define LAST_COMMIT_MS 600000 /* of a store with sync = "interval", on a slow disk */
#define SPARE_DESCRIPTORS 64  /* beside those of clients: listeners, the log, the loop itself */

/* --- signals --- */

static void server_stop(struct server *server);

static void request_reload(struct server *server)
{
	if (reload_request(&server->reloads, false, NULL, NULL) == NULL)
		log_warning("reload: refused: %s",
		    errno == ESHUTDOWN ? "the daemon is stopping" : strerror(errno));
}

static void reopen_log(struct server *server)
{
	struct error error;

	server_reopen_log(server, &error);
}

static void dump_state(struct server *server)
{
	server->host->dump(server->host);
}

static void reap_children(struct server *server)
{
	children_reap(server->running.loop);
}

static const struct {
	int number;
	void (*act)(struct server *server);
} signals[SERVER_SIGNALS] = {
	{ SIGHUP, request_reload },
	{ SIGTERM, server_stop },
	{ SIGINT, server_stop },
	{ SIGUSR1, reopen_log },
	{ SIGUSR2, dump_state },
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
			signals[i].act(server);
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
	server->signal_server =
	    event_new(server->running.loop->base, -1, 0, serve_signals_cb, server);
	if (server->signal_server == NULL)
		return -1;
	for (int i = 0; i < SERVER_SIGNALS; i++) {
		server->signals[i] =
		    evsignal_new(server->running.loop->base, signals[i].number, signal_cb, server);
		if (server->signals[i] == NULL || event_add(server->signals[i], NULL) == -1)
			return -1;
	}
	process_unblock_signals();
	return 0;
}

/* --- stopping --- */

static bool has_clients(const struct server *server)
{
	const struct loop *loop = server->running.loop;

	return loop->streams + loop->refused + loop->children > 0;
}

/* Clients or programs have left that somebody was waiting for. */
static void departed_cb(evutil_socket_t fd, short events, void *arg)
{
	struct server *server = arg;

	(void)fd;
	(void)events;
	draining_reap(&server->running.draining);
	if (server->phase == SERVER_STOPS && !has_clients(server))
		event_base_loopbreak(server->running.loop->base);
}

static void stop_timer_cb(evutil_socket_t fd, short events, void *arg)
{
	struct server *server = arg;
	const struct loop *loop = server->running.loop;
	size_t clients = loop->streams + loop->refused;

	(void)fd;
	(void)events;
	log_warning(
	    "echod: %zu client%s and %zu program%s are left after shutdown_timeout and are closed",
	    clients, PLURAL(clients, "s"), loop->children, PLURAL(loop->children, "s"));
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

/* The first time it begins to stop; the second time it no longer waits for clients. */
static void server_stop(struct server *server)
{
	struct loop *loop = server->running.loop;
	int64_t wait = server->running.config->limits->shutdown_timeout;
	const struct timeval tv = { .tv_sec = wait / 1000, .tv_usec = wait % 1000 * 1000 };
	struct instance *instance;

	if (server->phase == SERVER_STOPS) {
		event_base_loopbreak(loop->base);
		return;
	}
	log_info("echod: stopping");
	notify_stopping(
	    wait, "Stopping; %zu client%s left", loop->streams, PLURAL(loop->streams, "s"));
	server->phase = SERVER_STOPS;
	reloads_cancel(&server->reloads);
	TAILQ_FOREACH (instance, &loop->instances, entry) {
		close_listeners(instance);
		streams_drain(instance, CLOSE_SHUTDOWN);
	}
	draining_stop(&server->running.draining, CLOSE_SHUTDOWN);
	if (has_clients(server))
		evtimer_add(server->stop_timer, &tv);
	else
		event_base_loopbreak(loop->base);
}

/* --- starting and reloading --- */

/* Ends the start if all services have started, and stops the server if one of them cannot. */
static void check_start(struct server *server)
{
	struct loop *loop = server->running.loop;
	const struct instance *instance;
	struct strings errors = { 0 };
	bool ready = true;

	TAILQ_FOREACH (instance, &loop->instances, entry)
		ready &= service_ready(instance, &errors) == 1;
	if (errors.count > 0 || errors.lost) {
		log_errors("echod", &errors);
		/* During the start, the errors also go to the terminal or script that started echod. */
		for (size_t i = 0; strcmp(log_target(), "stderr") != 0 && i < errors.count; i++)
			fprintf(stderr, "echod: %s\n", errors.items[i]);
		server->status = EXIT_FAILURE;
		server_stop(server);
	} else if (ready) {
		server->phase = SERVER_RUNS;
		event_base_loopbreak(loop->base);
	}
	strings_clear(&errors);
}

static void service_started_cb(evutil_socket_t fd, short events, void *arg)
{
	struct server *server = arg;

	(void)fd;
	(void)events;
	if (server->phase == SERVER_STARTS)
		check_start(server);
	else
		reloads_wake(&server->reloads);
}

struct server *server_new(struct host *host, struct config *config, const char *config_file,
    struct inherited *inherited, int verbosity, bool detached)
{
	struct server *server = calloc(1, sizeof(*server));
	struct loop *loop;

	if (server == NULL)
		return NULL;
	LIST_INIT(&server->running.draining);
	host->server = server;
	server->host = host;
	server->started = clock_ms();
	server->config_file = path_absolute(config_file);
	server->running.loop = loop =
	    loop_new((size_t)config->limits->max_connections, stream_check, streams_flush_cb);
	server->running.config_file = server->config_file;
	server->running.inherited = inherited;
	server->running.verbosity = verbosity;
	server->running.detached = detached;
	if (loop == NULL || server->config_file == NULL ||
	    (loop->acceptors = acceptors_new(loop)) == NULL ||
	    (server->loop_lag = loop_lag_new(loop)) == NULL ||
	    (server->renewal = renewal_new(&server->running)) == NULL ||
	    (loop->passwords = passwords_new(loop)) == NULL ||
	    (server->departed = event_new(loop->base, -1, 0, departed_cb, server)) == NULL ||
	    (server->service_started = event_new(loop->base, -1, 0, service_started_cb, server)) ==
		NULL ||
	    (server->stop_timer = evtimer_new(loop->base, stop_timer_cb, server)) == NULL ||
	    reloads_init(&server->reloads, &server->running) == -1) {
		server_free(server);
		return NULL;
	}
	loop->host = host;
	loop->departed = server->departed;
	loop->started = server->service_started;
	server->running.config = config;
	return server;
}

/* The exit status, by errno: the user may be a mistake in the configuration. */
static int refuse_privileges(const struct config *config, const struct error *error)
{
	static const struct option_origin nowhere = { 0 };
	bool unknown = errno == ENOENT;
	struct strings errors = { 0 };

	errors_add(&errors, unknown ? option_origin_of(&config->sections[0], "user") : &nowhere,
	    "%s", error->text);
	log_errors("echod", &errors);
	strings_clear(&errors);
	return unknown ? EX_CONFIG : EX_NOPERM;
}

static void looked_up_cb(void *arg)
{
	struct server *server = arg;

	event_base_loopbreak(server->running.loop->base);
}

/*
 * Looks up the host names of the start, and runs the loop meanwhile, until a stop. Then makes the start's plan, from
 * nothing. 0, or the exit status with the errors logged.
 */
static int start_running(struct server *server)
{
	struct running *running = &server->running;
	struct config *config = running->config;
	struct names *names = reload_plan_look_up(running, config, looked_up_cb, server);
	struct strings errors = { 0 }, warnings = { 0 };
	struct reload_plan *plan;
	int status = 0;

	if (names == NULL ||
	    (names_are_pending(names) && event_base_dispatch(running->loop->base) == -1)) {
		log_error("echod: cannot look up host names: %s", strerror(errno));
		names_free(names);
		return EXIT_FAILURE;
	}
	if (server->phase == SERVER_STOPS) {
		names_free(names);
		return 0;
	}
	running->config = NULL;
	plan = reload_plan_new(running, config, names, false, &errors, &warnings, &status);
	names_free(names);
	if (plan != NULL && reload_plan_open_log(plan) == -1) {
		reload_plan_cancel(plan);
		plan = NULL;
		status = EXIT_FAILURE;
	}
	if (plan == NULL) {
		running->config = config;
		log_errors("echod", &errors);
		strings_clear(&errors);
		strings_clear(&warnings);
		return status;
	}
	log_info("echod: version %s starting, logging to %s at level %s", PACKAGE_VERSION,
	    log_target(), log_level_name(log_level()));
	for (size_t i = 0; i < config->warnings.count; i++)
		log_warning("echod: %s", config->warnings.items[i]);
	for (size_t i = 0; i < warnings.count; i++)
		log_warning("echod: %s", warnings.items[i]);
	strings_clear(&warnings);
	reload_plan_commit(plan);
	server->reloads.loaded_at = clock_seconds();
	return 0;
}

static void watchdog_cb(evutil_socket_t fd, short events, void *arg)
{
	(void)fd;
	(void)events;
	(void)arg;
	notify_alive();
}

/* Serves until all services have started, or until a stop. 0, or the exit status with the errors logged. */
static int await_services(struct server *server)
{
	int64_t watchdog_ms = notify_watchdog();
	const struct timeval interval = { .tv_sec = watchdog_ms / 1000,
		.tv_usec = watchdog_ms % 1000 * 1000 };
	struct loop *loop = server->running.loop;

	/* By the loop: when it hangs, the service manager hears nothing and starts us again. */
	if (watchdog_ms != 0) {
		server->watchdog = event_new(loop->base, -1, EV_PERSIST, watchdog_cb, NULL);
		if (server->watchdog == NULL || event_add(server->watchdog, &interval) == -1) {
			log_error("echod: out of memory for the watchdog's timer");
			return EXIT_FAILURE;
		}
	}
	loop_lag_start(server->loop_lag);
	children_reap(loop); /* children that ended before SIGCHLD had a handler */
	check_start(server);
	if (server->phase == SERVER_STARTS && event_base_dispatch(loop->base) == -1) {
		log_error("echod: the event loop failed: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	return server->status;
}

/* process_begin() has raised the limit. */
static void warn_of_few_files(uint64_t clients)
{
	uint64_t wanted = clients + SPARE_DESCRIPTORS, allowed;
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == -1 || files.rlim_cur == RLIM_INFINITY)
		return;
	allowed = files.rlim_cur;
	if (wanted > allowed)
		log_warning(
		    "echod: limits.max_connections is %" PRIu64 ", which takes %" PRIu64
		    " open files with %d for echod itself, but the limit on open files is %" PRIu64
		    ": %" PRIu64 " too few (raise LimitNOFILE= or ulimit -n, or lower "
		    "max_connections)",
		    clients, wanted, SPARE_DESCRIPTORS, allowed, wanted - allowed);
}

int server_start(struct server *server)
{
	const struct config *config = server->running.config;
	struct error error;
	int status;

	running_set_log_level(&server->running);
	/* Before anything is bound: whether it will be possible to become the user. */
	if (privilege_seal(&error) == -1 || privilege_lend(config->main->user, &error) == -1)
		return refuse_privileges(config, &error);
	privilege_return();
	warn_of_few_files((uint64_t)config->limits->max_connections);
	/* Before anything is bound: from here on a TERM ends in an orderly stop, by the loop's first turn. */
	if (watch_signals(server) == -1) {
		log_error("echod: cannot watch signals: %s", strerror(errno));
		return EXIT_FAILURE;
	}
	status = start_running(server);
	if (server->phase == SERVER_STOPS || status != 0)
		return status;
	notify_check();
	if (privilege_drop(config->main->user, &error) == -1)
		return refuse_privileges(config, &error);
	if (geteuid() == 0)
		log_info("echod: started as root and stays root: set user to another user");
	status = await_services(server);
	if (server->phase == SERVER_RUNS)
		reloads_start(&server->reloads); /* for reloads that were requested meanwhile */
	return status;
}

int server_reopen_log(const struct server *server, struct error *error)
{
	const char *user = server->running.config->main->user;
	size_t length;

	if (log_reopen(error) == 0) {
		log_info("log: reopened");
		return 0;
	}
	length = strlen(error->text);
	if (errno == EACCES && user != NULL)
		snprintf(error->text + length, sizeof(error->text) - length,
		    "; have logrotate make it, with \"create 0640 %s\", or use \"copytruncate\"",
		    user);
	log_error("log: cannot reopen %s, lines go on to the file that was open: %s", log_target(),
	    error->text);
	return -1;
}

/* Includes the last commits of all stores; signals that arrive meanwhile stay pending in the loop. */
static void server_close(struct server *server)
{
	struct loop *loop = server->running.loop;
	struct instance *instance;

	loop->stopping = true;
	reloads_cancel(&server->reloads);
	draining_abort(&server->running.draining, CLOSE_SHUTDOWN);
	while ((instance = TAILQ_FIRST(&loop->instances)) != NULL) {
		streams_abort(instance, CLOSE_SHUTDOWN);
		children_finish(instance);
		close_listeners(instance);
		TAILQ_REMOVE(&loop->instances, instance, entry);
		service_stop(instance);
	}
}

int server_run(struct server *server)
{
	size_t services, addresses;

	if (server->phase == SERVER_RUNS) {
		running_count(&server->running, &services, &addresses);
		log_info("echod: ready (%zu service%s, %zu address%s)", services,
		    PLURAL(services, "s"), addresses, PLURAL(addresses, "es"));
		reloads_notify_ready(&server->reloads);
		if (event_base_dispatch(server->running.loop->base) == -1) {
			log_error("echod: the event loop failed: %s", strerror(errno));
			return EXIT_FAILURE;
		}
	}
	notify_stopping(LAST_COMMIT_MS, "Stopping; closing the stores");
	server_close(server);
	if (*server->running.loop->losses != '\0') {
		log_error(
		    "echod: stopped, but changes of %s are lost", server->running.loop->losses);
		return EXIT_FAILURE;
	}
	log_info("echod: stopped");
	return EXIT_SUCCESS;
}

/* --- the end --- */

void server_free(struct server *server)
{
	if (server == NULL)
		return;
	if (server->running.loop != NULL) {
		server_close(server);
		reloads_free(&server->reloads);
		acceptors_free(server->running.loop->acceptors);
	}
	process_block_signals(); /* for good: the handlers are freed */
	for (int i = 0; i < SERVER_SIGNALS; i++)
		loop_free_event(server->signals[i]);
	loop_free_event(server->signal_server);
	loop_free_event(server->watchdog);
	loop_free_event(server->stop_timer);
	loop_free_event(server->service_started);
	loop_free_event(server->departed);
	renewal_free(server->renewal);
	if (server->running.loop != NULL)
		passwords_free(server->running.loop->passwords);
	loop_lag_free(server->loop_lag);
	loop_free(server->running.loop);
	config_free(server->running.config);
	free(server->config_file);
	free(server);
}
