/* The daemon's config lies in a file without a name; the log goes to /dev/null, every level of it. */
#include "daemon.h"

#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control/console.h"
#include "core/config.h"
#include "core/inherited.h"
#include "core/log.h"
#include "core/strings.h"
#include "fuzz.h"
#include "net/instance.h"
#include "net/listener.h"
#include "net/loop.h"
#include "server.h"
#include "services/host.h"
#include "services/service.h"

#define TURNS 8 /* what one wakes up, the next ones serve */

static int config_file = -1;
static int lowest_free;            /* descriptor, before the daemon was started */
static struct inherited inherited; /* none */
static struct host host;

static const char *config_path(void)
{
	static char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", config_file);
	return path;
}

static void write_config(const char *text)
{
	require(ftruncate(config_file, 0) == 0);
	require(pwrite(config_file, text, strlen(text), 0) == (ssize_t)strlen(text));
}

static int next_free(void)
{
	int fd = dup(STDERR_FILENO);

	close(fd);
	return fd;
}

static char directory[] = "/tmp/echod-fuzz-XXXXXX";

static void remove_directory(void)
{
	rmdir(directory); /* whose sockets the daemon has removed */
}

static void prepare_process(void)
{
	int fd;

	signal(SIGPIPE, SIG_IGN);
	require(mkdtemp(directory) != NULL);
	atexit(remove_directory);
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	require(fd != -1 && dup3(fd, 300, O_CLOEXEC) == 300);
	close(fd);
	config_file = memfd_create("config", MFD_CLOEXEC);
	require(config_file != -1);
}

static struct config *load_config(void)
{
	struct strings errors = { 0 };
	struct config *config = config_load(config_path(), true, service_kinds, &errors);

	for (size_t i = 0; i < errors.count; i++)
		fprintf(stderr, "echod: %s\n", errors.items[i]);
	if (errors.lost)
		fputs("echod: out of memory\n", stderr);
	strings_clear(&errors);
	return config;
}

struct server *daemon_start(const char *text)
{
	struct config *config;
	struct server *server;

	if (config_file == -1)
		prepare_process();
	lowest_free = next_free();
	write_config(text);
	if ((config = load_config()) == NULL)
		return NULL;
	console_init(&host);
	server = server_new(&host, config, config_path(), &inherited, 0, false);
	if (server == NULL) {
		fputs("echod: cannot start\n", stderr);
		config_free(config);
		return NULL;
	}
	if (server_start(server) == 0)
		return server;
	daemon_free(server);
	return NULL;
}

static void reload_ended(struct reload *reload, void *arg)
{
	*(int *)arg = reload->failed ? -1 : 0;
}

int daemon_reload(struct server *server, const char *text)
{
	int result = 1;

	write_config(text);
	if (reload_request(&server->reloads, false, reload_ended, &result) == NULL)
		return -1;
	while (result == 1)
		event_base_loop(server->running.loop->base, EVLOOP_ONCE);
	return result;
}

void daemon_turn(struct server *server)
{
	/* Without ONCE it would go on for as long as there is anything to do. */
	for (int i = 0; i < TURNS; i++)
		event_base_loop(server->running.loop->base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
}

void daemon_free(struct server *server)
{
	require(server->running.loop->streams == 0);
	require(server->running.loop->refused == 0);
	require(server->running.loop->children == 0);
	server_free(server);
	log_close();
	require(next_free() == lowest_free);
}

static struct listener *find_listener(struct server *server, const char *name, int which)
{
	struct instance *instance;
	struct listener *listener;

	TAILQ_FOREACH (instance, &server->running.loop->instances, entry)
		if (strcmp(instance->name, name) == 0)
			TAILQ_FOREACH (listener, &instance->listeners, entry)
				if (which-- == 0)
					return listener;
	return NULL;
}

int daemon_connect(struct server *server, const char *name, int which)
{
	const struct listener *listener = find_listener(server, name, which);
	struct linger reset = { .l_onoff = 1 };
	int fd;

	if (listener == NULL)
		return -1;
	fd = socket(listener->socket.endpoint.any.sa_family,
	    (transport_is_stream(listener->wanted.transport) ? SOCK_STREAM : SOCK_DGRAM) |
		SOCK_CLOEXEC,
	    0);
	require(fd != -1);
	/* Closing leaves nothing behind: no state of TCP that would outlast a million inputs. */
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (connect(fd, &listener->socket.endpoint.any, listener->socket.endpoint.length) == -1) {
		close(fd);
		return -1;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}
