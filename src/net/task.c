/*
 * The timer is an event of its own: libevent takes an event out of epoll when it times out, and adds it again, which
 * may fail; then the descriptor would never be seen again.
 */
#include "net/task.h"

#include <event2/event.h>
#include <stdlib.h>

#include "core/clock.h"
#include "net/loop.h"

struct task {
	struct event *timer, *readable; /* readable NULL = no descriptor */
	void (*run)(void *arg);
	void *arg;
	int64_t due; /* ms, of the timer; INT64_MAX = it is not set */
};

static void task_run_cb(evutil_socket_t fd, short events, void *arg)
{
	struct task *task = arg;

	(void)fd;
	(void)events;
	if (task->due != INT64_MAX)
		evtimer_del(task->timer);
	task->due = INT64_MAX;
	task->run(task->arg);
}

struct task *task_new(struct loop *loop, int fd, void (*run)(void *arg), void *arg)
{
	struct task *task = calloc(1, sizeof(*task));

	if (task == NULL)
		return NULL;
	*task = (struct task){ .run = run, .arg = arg, .due = INT64_MAX };
	task->timer = evtimer_new(loop->base, task_run_cb, task);
	if (task->timer != NULL && fd != -1)
		task->readable = event_new(loop->base, fd, EV_READ | EV_PERSIST, task_run_cb, task);
	if (task->timer != NULL &&
	    (fd == -1 || (task->readable != NULL && event_add(task->readable, NULL) == 0)))
		return task;
	task_free(task);
	return NULL;
}

void task_free(struct task *task)
{
	if (task == NULL)
		return;
	loop_free_event(task->readable);
	loop_free_event(task->timer);
	free(task);
}

void task_schedule(struct task *task, int64_t ms)
{
	struct timeval time = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
	int64_t due = clock_ms() + ms;

	/* Of the loop's own priority: a lower one would starve. Not EV_TIMEOUT: setting the timer would take that back. */
	if (ms == 0) {
		event_active(task->timer, EV_SIGNAL, 0);
	} else if (due < task->due) {
		task->due = due;
		evtimer_add(task->timer, &time);
	}
}

void task_next_turn(struct task *task)
{
	const struct timeval at_once = { 0 };

	task->due = clock_ms();
	evtimer_add(task->timer, &at_once);
}
