/* One event does all three: it is readable, timed out, or made active by hand. */
#include "net/task.h"

#include <event2/event.h>
#include <stdlib.h>

#include "core/clock.h"
#include "net/loop.h"

struct task {
	struct event *event;
	void (*run)(void *arg);
	void *arg;
	int64_t due; /* ms, of the timer; INT64_MAX = it is not set */
};

static void task_run_cb(evutil_socket_t fd, short events, void *arg)
{
	struct task *task = arg;

	(void)fd;
	/* A persistent event would time out again and again, and later whenever it is active for another reason. */
	if (events & EV_TIMEOUT || task->due != INT64_MAX)
		event_remove_timer(task->event);
	task->due = INT64_MAX;
	task->run(task->arg);
}

struct task *task_new(struct loop *loop, int fd, void (*run)(void *arg), void *arg)
{
	struct task *task = malloc(sizeof(*task));
	short events = fd == -1 ? EV_PERSIST : EV_READ | EV_PERSIST;

	if (task == NULL)
		return NULL;
	*task = (struct task){ .run = run, .arg = arg, .due = INT64_MAX };
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
	int64_t due = clock_ms() + ms;

	/* Of the loop's own priority: a lower one would starve. */
	if (ms == 0) {
		event_active(task->event, EV_SIGNAL, 0);
	} else if (due < task->due) {
		task->due = due;
		event_add(task->event, &time);
	}
}

void task_next_turn(struct task *task)
{
	const struct timeval at_once = { 0 };

	event_add(task->event, &at_once);
}
