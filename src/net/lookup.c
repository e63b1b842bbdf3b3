/*
 * The loop frees a lookup after it has joined the thread; the thread does, if the lookup was abandoned before.
 */
#include "net/lookup.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/thread.h"
#include "net/endpoint.h"

enum { RUNNING, FINISHED, ABANDONED };

struct lookup {
	struct address address;
	struct endpoints found;
	char why[128]; /* nothing was found */
	pthread_t thread;
	atomic_int state;
	int finished_fd; /* an eventfd */
	struct event *event;
	lookup_done *done;
	void *arg;
};

static void lookup_free(struct lookup *lookup)
{
	int saved = errno;

	endpoints_clear(&lookup->found);
	address_clear(&lookup->address);
	if (lookup->finished_fd != -1)
		close(lookup->finished_fd);
	free(lookup);
	errno = saved;
}

static void *lookup_run(void *arg)
{
	struct lookup *lookup = arg;
	const char *why;

	if (endpoints_resolve(&lookup->found, &lookup->address, &why) == -1)
		snprintf(lookup->why, sizeof(lookup->why), "%s", why);
	if (atomic_exchange(&lookup->state, FINISHED) == ABANDONED)
		lookup_free(lookup);
	else
		eventfd_write(lookup->finished_fd, 1);
	return NULL;
}

static void finished_cb(evutil_socket_t fd, short events, void *arg)
{
	struct lookup *lookup = arg;
	struct endpoints found;

	(void)fd;
	(void)events;
	pthread_join(lookup->thread, NULL); /* until then, the thread owns `found` */
	event_free(lookup->event);
	found = lookup->found;
	lookup->found = (struct endpoints){ 0 };
	lookup->done(lookup->arg, &found, lookup->why);
	lookup_free(lookup);
}

struct lookup *lookup_start(
    struct event_base *base, const struct address *address, lookup_done *done, void *arg)
{
	struct lookup *lookup = calloc(1, sizeof(*lookup));
	const char *why;

	if (lookup == NULL)
		return NULL;
	lookup->done = done;
	lookup->arg = arg;
	lookup->finished_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (lookup->finished_fd != -1 && address_parse(&lookup->address, address->text, &why) == 0)
		lookup->event = event_new(base, lookup->finished_fd, EV_READ, finished_cb, lookup);
	if (lookup->event != NULL && event_add(lookup->event, NULL) == 0 &&
	    thread_start(&lookup->thread, lookup_run, lookup) == 0)
		return lookup;
	if (lookup->event != NULL)
		event_free(lookup->event);
	lookup_free(lookup);
	return NULL;
}

void lookup_cancel(struct lookup *lookup)
{
	pthread_t thread;

	if (lookup == NULL)
		return;
	thread = lookup->thread;
	event_free(lookup->event);
	if (atomic_exchange(&lookup->state, ABANDONED) == RUNNING) {
		pthread_detach(thread);
	} else {
		pthread_join(thread, NULL);
		lookup_free(lookup);
	}
}
