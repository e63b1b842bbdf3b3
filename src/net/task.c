/* One event does all three: it is readable, timed out, or made active by hand. */
#include "net/task.h"

#include <event2/event.h>
#include <stdlib.h>

#include "net/loop.h"

struct task {
	struct event *event;
	void (*run)(void *arg);
	void *arg;
};

static void task_run_cb(evutil_socket_t fd, short events, void *arg)
{
	struct task *task = arg;

	(void)fd;
	if (events & EV_TIMEOUT) /* a persistent event would time out again and again */
		event_remove_timer(task->event);
	task->run(task->arg);
}

struct task *task_new(struct loop *loop, int fd, void (*run)(void *arg), void *arg)
{
	struct task *task = malloc(sizeof(*task));
	short events = fd == -1 ? EV_PERSIST : EV_READ | EV_PERSIST;

	if (task == NULL)
		return NULL;
	*task = (struct task){ .run = run, .arg = arg };
	task->event = event_new(loop->base, fd, events, task_run_cb, task);
	if (task->event != NULL && (fd == -1 || event_add(task->event, NULL) == 0))
		return task;
	task_free(task);
	return NULL;
}

void task_free(struct task *task)
{
	if (task == NULL)
		return;
	if (task->event != NULL)
		event_free(task->event);
	free(task);
}

void task_schedule(struct task *task, int64_t ms)
{
	struct timeval time = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	/* Of the loop's own priority: a lower one would starve. */
	if (ms == 0)
		event_active(task->event, EV_SIGNAL, 0);
	else
		event_add(task->event, &time);
}

void task_next_turn(struct task *task)
{
	const struct timeval at_once = { 0 };

	event_add(task->event, &at_once);
}
