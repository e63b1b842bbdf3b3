/*
 * The wheel: slots of one tick each, and a bitmap of those in use. A deadline further away than the wheel reaches
 * is filed in its last slot and filed again then.
 */
#include "net/deadline.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdlib.h>

#include "core/clock.h"

#define TICK_MS 64
#define SLOTS 256
#define WORD_BITS 64

LIST_HEAD(slot, deadline);

struct deadlines {
	struct event *timer;
	void (*check)(struct deadline *deadline, int64_t now_ms);
	int64_t done;  /* the last tick that was checked */
	int64_t armed; /* the tick that the timer is set for; 0 = it is not set */
	uint64_t used[SLOTS / WORD_BITS];
	struct slot slots[SLOTS];
};

/* The first tick after `done` whose slot is in use; 0 when none is. */
static int64_t next_used_tick(const struct deadlines *d)
{
	for (int64_t tick = d->done + 1; tick <= d->done + SLOTS;) {
		unsigned slot = (unsigned)tick % SLOTS;
		uint64_t word = d->used[slot / WORD_BITS] >> (slot % WORD_BITS);

		if (word != 0)
			return tick + __builtin_ctzll(word);
		tick += WORD_BITS - slot % WORD_BITS;
	}
	return 0;
}

static void arm(struct deadlines *d, int64_t tick, int64_t now)
{
	int64_t wait = tick * TICK_MS - now;
	struct timeval tv;

	if (wait < 0)
		wait = 0;
	tv.tv_sec = wait / 1000;
	tv.tv_usec = wait % 1000 * 1000;
	/* When memory is short, the next deadline that is set tries again. */
	d->armed = event_add(d->timer, &tv) == 0 ? tick : 0;
}

static void deadlines_timer_cb(evutil_socket_t fd, short events, void *arg)
{
	struct deadlines *d = arg;
	int64_t now = clock_ms(), tick;
	struct deadline *deadline;

	(void)fd;
	(void)events;
	d->armed = 0;
	while ((tick = next_used_tick(d)) != 0 && tick * TICK_MS <= now) {
		unsigned slot = (unsigned)tick % SLOTS;
		struct slot due = LIST_HEAD_INITIALIZER(due);

		d->done = tick;
		/* Moved aside first: a check may file its entry in this very slot again, a round later. */
		if ((deadline = LIST_FIRST(&d->slots[slot])) != NULL) {
			LIST_FIRST(&due) = deadline;
			deadline->entry.le_prev = &LIST_FIRST(&due);
			LIST_INIT(&d->slots[slot]);
		}
		d->used[slot / WORD_BITS] &= ~(UINT64_C(1) << (slot % WORD_BITS));
		while ((deadline = LIST_FIRST(&due)) != NULL) {
			LIST_REMOVE(deadline, entry);
			deadline->due = 0;
			d->check(deadline, now);
		}
	}
	if (tick != 0 && (d->armed == 0 || tick < d->armed))
		arm(d, tick, now);
}

struct deadlines *deadlines_new(
    struct event_base *base, void (*check)(struct deadline *deadline, int64_t now_ms))
{
	struct deadlines *d = calloc(1, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->timer = evtimer_new(base, deadlines_timer_cb, d);
	if (d->timer == NULL) {
		free(d);
		return NULL;
	}
	d->check = check;
	return d;
}

void deadlines_free(struct deadlines *d)
{
	if (d == NULL)
		return;
	event_free(d->timer);
	free(d);
}

void deadline_set(struct deadlines *d, struct deadline *deadline, int64_t due, int64_t now)
{
	int64_t tick = (due + TICK_MS - 1) / TICK_MS;
	unsigned slot;

	if (deadline->due != 0 && deadline->due <= due)
		return;
	deadline_cancel(d, deadline);
	/* An empty wheel has not turned; turn it to now so that a whole round lies ahead. */
	if (d->armed == 0 && next_used_tick(d) == 0)
		d->done = now / TICK_MS - 1;
	if (tick <= d->done)
		tick = d->done + 1;
	if (tick > d->done + SLOTS)
		tick = d->done + SLOTS;
	slot = (unsigned)tick % SLOTS;
	LIST_INSERT_HEAD(&d->slots[slot], deadline, entry);
	d->used[slot / WORD_BITS] |= UINT64_C(1) << (slot % WORD_BITS);
	deadline->due = due;
	if (d->armed == 0 || tick < d->armed)
		arm(d, tick, now);
}

void deadline_cancel(struct deadlines *d, struct deadline *deadline)
{
	/* The slot's bit may stay set: the timer finds the slot empty and goes on. */
	(void)d;
	if (deadline->due == 0)
		return;
	LIST_REMOVE(deadline, entry);
	deadline->due = 0;
}
