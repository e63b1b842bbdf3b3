/* The making and unmaking of what all sockets share, and the pause of all listeners. */
#include "net/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/resident.h"
#include "core/standard.h"
#include "net/datagram.h"
#include "net/deadline.h"
#include "net/endpoint.h"
#include "net/instance.h"
#include "net/listener.h"
#include "net/stream.h"

#define PAUSE_MIN_MS 50
#define PAUSE_MAX_MS 1000
#define CROWD 16           /* clients whose memory is worth giving back */
#define BASE_DESCRIPTORS 3 /* epoll, and two for signals */
#define TRIM_SECONDS 2     /* after the crowd has left: it may come again */

static void fatal_cb(int error)
{
	(void)error;
	/* The library would call exit(1) behind our back; its own message is in the log by now. */
	abort();
}

/* A client that there is no memory for can make the library say so. */
static void library_log_cb(int severity, const char *message)
{
	static struct log_class lines;

	if (severity != EVENT_LOG_DEBUG)
		log_limited(&lines, severity == EVENT_LOG_MSG ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING,
		    "libevent: %s", message);
}

/* libevent exits when it cannot open the descriptors of an event base, so this checks before it tries. */
static bool has_descriptors(void)
{
	int fds[BASE_DESCRIPTORS], count = 0, saved;
	bool enough;

	while (count < BASE_DESCRIPTORS && (fds[count] = standard_open_nowhere()) != -1)
		count++;
	saved = errno;
	enough = count == BASE_DESCRIPTORS;
	while (count > 0)
		close(fds[--count]);
	errno = saved;
	return enough;
}

/* The environment can choose no back-end; no lock, since one thread uses the base. NULL with errno. */
static struct event_base *base_new(void)
{
	struct event_config *config;
	struct event_base *base;

	if (!has_descriptors() || (config = event_config_new()) == NULL)
		return NULL;
	event_set_fatal_callback(fatal_cb);
	event_set_log_callback(library_log_cb);
	event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV | EVENT_BASE_FLAG_NOLOCK);
	base = event_base_new_with_config(config);
	event_config_free(config);
	return base;
}

static void resume_cb(evutil_socket_t fd, short events, void *arg)
{
	struct loop *loop = arg;

	(void)fd;
	(void)events;
	loop_has_room(loop);
}

static void flush_cb(evutil_socket_t fd, short events, void *arg)
{
	(void)fd;
	(void)events;
	streams_flush(arg);
}

/* 0, or -1 when there is no memory for that. */
static int resume_later(struct loop *loop)
{
	struct timeval wait;

	if (loop->pause == 0)
		loop->pause = PAUSE_MIN_MS;
	wait.tv_sec = loop->pause / 1000;
	wait.tv_usec = loop->pause % 1000 * 1000;
	return event_add(loop->resume, &wait);
}

/*
 * Whether a crowd can have had a good part of the memory. To trim takes 0.1 us for each piece that is free, of
 * which a large store can have millions, and nobody is served meanwhile.
 */
static bool is_worth_trimming(const struct loop *loop)
{
	return loop->crowd * STREAM_OUTPUT_HIGH >= resident_memory() / 4;
}

/* What a crowd has taken lies between what those have who stay; free() gives back only what is on top. */
static void trim_cb(evutil_socket_t fd, short events, void *arg)
{
	struct loop *loop = arg;

	(void)fd;
	(void)events;
	if (is_worth_trimming(loop))
		malloc_trim(0);
	loop->crowd = loop->streams;
}

static int open_reserve(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

struct loop *loop_new(size_t max_streams)
{
	struct loop *loop = calloc(1, sizeof(*loop));

	if (loop == NULL)
		return NULL;
	TAILQ_INIT(&loop->instances);
	TAILQ_INIT(&loop->pending_writes);
	TAILQ_INIT(&loop->waiting);
	LIST_INIT(&loop->walks);
	LIST_INIT(&loop->programs);
	loop->max_streams = max_streams;
	loop->reserve_fd = open_reserve();
	loop->own_ports = calloc(1, sizeof(*loop->own_ports));
	loop->batch = datagram_batch_new();
	loop->base = base_new();
	if (loop->base != NULL) {
		loop->deadlines = deadlines_new(loop->base, stream_check);
		loop->resume = evtimer_new(loop->base, resume_cb, loop);
		loop->flush = event_new(loop->base, -1, EV_PERSIST, flush_cb, loop);
		loop->trim = evtimer_new(loop->base, trim_cb, loop);
	}
	if (loop->own_ports == NULL || loop->batch == NULL || loop->deadlines == NULL ||
	    loop->resume == NULL || loop->flush == NULL || loop->trim == NULL) {
		loop_free(loop);
		return NULL;
	}
	return loop;
}

static void free_event(struct event *event)
{
	if (event != NULL)
		event_free(event);
}

void loop_free(struct loop *loop)
{
	if (loop == NULL)
		return;
	deadlines_free(loop->deadlines);
	free_event(loop->resume);
	free_event(loop->flush);
	free_event(loop->trim);
	if (loop->base != NULL) {
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
		event_base_free(loop->base);
	}
	datagram_batch_free(loop->batch);
	free(loop->own_ports);
	if (loop->reserve_fd != -1)
		close(loop->reserve_fd);
	free(loop);
}

/* Gives the reserve descriptor to one waiting client, to turn it away: the queue must not stand still. */
static void shed_one(struct loop *loop, struct listener *listener)
{
	union {
		struct sockaddr any;
		struct sockaddr_storage storage;
	} address;
	socklen_t length = sizeof(address);
	struct peer peer;
	int fd;

	if (loop->reserve_fd == -1)
		return;
	close(loop->reserve_fd);
	fd = accept4(listener->socket.fd, &address.any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd != -1) {
		peer_set(&peer, &address.any, length);
		listener->instance->counters.refused[LIMIT_FILES]++;
		stream_turn_away(listener->instance, fd, &peer, CLOSE_LIMIT, LIMIT_FILES);
	}
	loop->reserve_fd = open_reserve();
}

void loop_cannot_accept(struct loop *loop, struct listener *failed, int error)
{
	struct instance *instance;
	struct listener *listener;

	loop->pause = loop->pause == 0 ? PAUSE_MIN_MS : loop->pause * 2;
	if (loop->pause > PAUSE_MAX_MS)
		loop->pause = PAUSE_MAX_MS;
	log_limited(&loop->accept_errors, LOG_LEVEL_ERROR,
	    "accept: %s: all listeners pause for %d ms%s", strerror(error), (int)loop->pause,
	    error == EMFILE ? " (raise the limit of open files, or lower limits.max_connections)"
			    : "");
	shed_one(loop, failed);
	if (resume_later(loop) == -1)
		return; /* nobody would end the pause */
	TAILQ_FOREACH (instance, &loop->instances, entry)
		TAILQ_FOREACH (listener, &instance->listeners, entry)
			if (listener != failed)
				listener_pause(listener);
	listener_pause(failed);
}

void loop_accepted(struct loop *loop)
{
	loop->pause = 0;
}

void loop_has_room(struct loop *loop)
{
	struct listener *listener, *next;

	if (event_pending(loop->resume, EV_TIMEOUT, NULL))
		return;
	for (listener = TAILQ_FIRST(&loop->waiting); listener != NULL; listener = next) {
		next = TAILQ_NEXT(listener, waiting_entry);
		if (listener_resume(listener) == -1)
			resume_later(loop);
	}
}

void loop_left(struct loop *loop)
{
	const struct timeval wait = { .tv_sec = TRIM_SECONDS };

	if (loop->streams > loop->crowd)
		loop->crowd = loop->streams;
	loop->streams--;
	if (loop->crowd >= CROWD && loop->streams < loop->crowd / 2 &&
	    !event_pending(loop->trim, EV_TIMEOUT, NULL))
		event_add(loop->trim, &wait);
	loop_has_room(loop);
}
