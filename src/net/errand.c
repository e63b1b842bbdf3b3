/* One event does all three: it is readable, timed out, or made active by hand. */
#include "net/errand.h"

#include <event2/event.h>
#include <stdlib.h>

#include "net/loop.h"

struct errand {
	struct event *event;
	void (*run)(void *arg);
	void *arg;
};

static void run_cb(evutil_socket_t fd, short events, void *arg)
{
	struct errand *errand = arg;

	(void)fd;
	if (events & EV_TIMEOUT) /* a persistent event would time out again and again */
		event_remove_timer(errand->event);
	errand->run(errand->arg);
}

struct errand *errand_new(struct loop *loop, int fd, void (*run)(void *arg), void *arg)
{
	struct errand *errand = malloc(sizeof(*errand));
	short events = fd == -1 ? EV_PERSIST : EV_READ | EV_PERSIST;

	if (errand == NULL)
		return NULL;
	*errand = (struct errand){ .run = run, .arg = arg };
	errand->event = event_new(loop->base, fd, events, run_cb, errand);
	if (errand->event != NULL && (fd == -1 || event_add(errand->event, NULL) == 0))
		return errand;
	errand_free(errand);
	return NULL;
}

void errand_free(struct errand *errand)
{
	if (errand == NULL)
		return;
	if (errand->event != NULL)
		event_free(errand->event);
	free(errand);
}

void errand_in(struct errand *errand, int64_t ms)
{
	struct timeval time = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	/* Of the loop's own priority: a lower one would starve. */
	if (ms == 0)
		event_active(errand->event, EV_SIGNAL, 0);
	else
		event_add(errand->event, &time);
}

void errand_next_turn(struct errand *errand)
{
	const struct timeval at_once = { 0 };

	event_add(errand->event, &at_once);
}
