/* The event base is set up so that libevent never ends the process; memory goes back to the kernel after a peak. */
#include "net/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/resident.h"
#include "core/standard.h"
#include "net/deadline.h"
#include "net/guard.h"

#define BASE_DESCRIPTORS 3          /* epoll, and two for signals */
#define PEAK_MIN 16                 /* clients whose memory is worth giving back */
#define CLIENT_MEMORY (128u * 1024) /* bytes that one may have had */
#define TRIM_SECONDS 2              /* after most clients have gone: as many may return */

static void fatal_cb(int error)
{
	(void)error;
	/* The library would call exit(1) behind our back; its own message is in the log by now. */
	abort();
}

/* A client can cause such a line when memory is short, so the lines are limited. */
static void library_log_cb(int severity, const char *message)
{
	static struct log_class lines;

	if (severity != EVENT_LOG_DEBUG)
		log_limited(&lines, severity == EVENT_LOG_MSG ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING,
		    "libevent: %s", message);
}

/* The environment cannot choose a back-end. Without locks, since one thread uses the base. NULL with errno. */
static struct event_base *base_new(void)
{
	int fds[BASE_DESCRIPTORS], count = 0, saved;
	struct event_config *config;
	struct event_base *base;
	bool enough;

	/* libevent exits when it cannot open the descriptors of an event base, so this checks first. */
	while (count < BASE_DESCRIPTORS && (fds[count] = standard_open_nowhere()) != -1)
		count++;
	saved = errno;
	enough = count == BASE_DESCRIPTORS;
	while (count > 0)
		close(fds[--count]);
	errno = saved;
	if (!enough || (config = event_config_new()) == NULL)
		return NULL;
	event_set_fatal_callback(fatal_cb);
	event_set_log_callback(library_log_cb);
	event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV | EVENT_BASE_FLAG_NOLOCK);
	base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

/*
 * The memory of departed clients lies between that of others, and free() returns only the top of the heap to the kernel.
 * Trimming takes 0.1 us for each free piece, of which a large store can have millions, and holds up the loop: so it is
 * done only if the clients can have had a good part of the memory.
 */
static void trim_cb(evutil_socket_t fd, short events, void *arg)
{
	struct loop *loop = arg;

	(void)fd;
	(void)events;
	if (loop->peak_clients * CLIENT_MEMORY >= resident_memory() / 4)
		malloc_trim(0);
	loop->peak_clients = loop->streams;
}

struct loop *loop_new(size_t max_streams, void (*check)(struct deadline *deadline, int64_t now_ms),
    void (*flush_cb)(int fd, short events, void *loop))
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (loop == NULL)
		return NULL;
	TAILQ_INIT(&loop->instances);
	LIST_INIT(&loop->iterators);
	LIST_INIT(&loop->programs);
	loop->max_streams = max_streams;
	loop->arrivals.sources.prefixes = (struct prefixes){ PREFIX_LENGTHS(32, 56) };
	loop->own_ports = calloc(1, sizeof(*loop->own_ports));
	if ((loop->base = base_new()) != NULL) {
		loop->deadlines = deadlines_new(loop->base, check);
		loop->flush = event_new(loop->base, -1, EV_PERSIST, flush_cb, loop);
		loop->trim = evtimer_new(loop->base, trim_cb, loop);
	}
	if (loop->own_ports == NULL || loop->deadlines == NULL || loop->flush == NULL ||
	    loop->trim == NULL) {
		loop_free(loop);
		return NULL;
	}
	return loop;
}

void loop_free_event(struct event *event)
{
	if (event != NULL)
		event_free(event);
}

void loop_free(struct loop *loop)
{
	if (loop == NULL)
		return;
	deadlines_free(loop->deadlines);
	loop_free_event(loop->flush);
	loop_free_event(loop->trim);
	sources_clear(&loop->arrivals.sources);
	if (loop->base != NULL) {
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
		event_base_free(loop->base);
	}
	free(loop->batch);
	free(loop->own_ports);
	free(loop);
}

void loop_announce_start(struct loop *loop)
{
	if (loop->started != NULL)
		event_active(loop->started, 0, 0);
}

void loop_announce_departure(struct loop *loop)
{
	if (loop->departed != NULL)
		event_active(loop->departed, 0, 0);
	if (loop->waiting_acceptors > 0)
		event_active(loop->room, 0, 0);
}

void loop_note_loss(struct loop *loop, const char *service)
{
	size_t length = strlen(loop->losses);

	snprintf(loop->losses + length, sizeof(loop->losses) - length, "%s%s",
	    length == 0 ? "" : ", ", service);
}

void loop_count_departure(struct loop *loop)
{
	const struct timeval wait = { .tv_sec = TRIM_SECONDS };

	if (loop->streams > loop->peak_clients)
		loop->peak_clients = loop->streams;
	loop->streams--;
	if (loop->peak_clients >= PEAK_MIN && loop->streams < loop->peak_clients / 2 &&
	    !event_pending(loop->trim, EV_TIMEOUT, NULL))
		event_add(loop->trim, &wait);
	loop_announce_departure(loop);
}
