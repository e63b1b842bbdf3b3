/* Accepts a bounded number of clients per turn. The rules and limits of the instance decide about each of them. */
#include "net/acceptor.h"

#include <errno.h>
#include <event2/event.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "core/standard.h"
#include "net/admission.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/peer.h"
#include "net/settings.h"
#include "net/socket.h"
#include "net/stream.h"

#define ACCEPTS_PER_TURN 16
#define PAUSE_MIN_MS 50
#define PAUSE_MAX_MS 1000

TAILQ_HEAD(acceptor_list, acceptor);

struct acceptors {
	struct loop *loop;
	struct acceptor_list accepting, waiting; /* the longest first */
	struct event *room;                      /* see loop->room */
	struct event *resume;                    /* ends the pause of all */
	int reserve_fd; /* closed to accept one client and turn it away; -1 = could not be opened */
	int64_t pause;  /* ms, the current one; 0 = the last accept has worked */
	struct log_class errors;
};

/* The client, or -1. */
static int accept_peer(int fd, struct peer *peer)
{
	union {
		struct sockaddr any;
		struct sockaddr_storage storage;
	} address;
	socklen_t length = sizeof(address);
	int client = accept4(fd, &address.any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (client != -1)
		peer_set(peer, &address.any, length);
	return client;
}

/* --- waiting --- */

static void acceptor_wait(struct acceptor *a)
{
	event_del(a->event);
	a->waits = a->shares = true;
	TAILQ_REMOVE(&a->all->accepting, a, entry);
	TAILQ_INSERT_TAIL(&a->all->waiting, a, entry);
	a->all->loop->waiting_acceptors++;
}

static bool acceptor_must_wait(const struct acceptor *a)
{
	return a->instance == NULL || (a->instance->settings->on_limit == ON_LIMIT_QUEUE &&
					  admission_full(a->instance) != LIMIT_NONE);
}

/* Starts the timer that ends the pause. 0, or -1 when out of memory. */
static int resume_later(struct acceptors *all)
{
	struct timeval wait;

	if (all->pause == 0)
		all->pause = PAUSE_MIN_MS;
	wait.tv_sec = all->pause / 1000;
	wait.tv_usec = all->pause % 1000 * 1000;
	return event_add(all->resume, &wait);
}

void acceptors_resume(struct acceptors *all)
{
	struct acceptor *a, *next;

	if (event_pending(all->resume, EV_TIMEOUT, NULL))
		return;
	if (all->reserve_fd == -1) /* no descriptor was left to replace it when it was used */
		all->reserve_fd = standard_open_nowhere();
	/* epoll reports ready sockets in the order in which they were added, so the first one here accepts first. */
	for (a = TAILQ_FIRST(&all->waiting); a != NULL; a = next) {
		next = TAILQ_NEXT(a, entry);
		if (acceptor_must_wait(a))
			continue;
		if (event_add(a->event, NULL) == -1) {
			resume_later(all);
			continue;
		}
		a->waits = false;
		TAILQ_REMOVE(&all->waiting, a, entry);
		TAILQ_INSERT_TAIL(&all->accepting, a, entry);
		all->loop->waiting_acceptors--;
	}
}

bool acceptors_are_paused(const struct acceptors *all)
{
	return all->pause != 0;
}

static void resume_cb(evutil_socket_t fd, short events, void *arg)
{
	(void)fd;
	(void)events;
	acceptors_resume(arg);
}

/* --- out of descriptors or memory --- */

/* Pauses all for 50 ms, twice as long after each failure, up to 1 s. The one that failed is the last to accept again. */
static void pause_all(struct acceptor *failed, int error)
{
	struct acceptors *all = failed->all;
	struct acceptor *a, *next;
	struct peer peer;
	int fd;

	all->pause = all->pause == 0 ? PAUSE_MIN_MS : all->pause * 2;
	if (all->pause > PAUSE_MAX_MS)
		all->pause = PAUSE_MAX_MS;
	log_limited(&all->errors, LOG_LEVEL_ERROR, "accept: %s: all listeners pause for %d ms%s",
	    strerror(error), (int)all->pause,
	    error == EMFILE ? " (raise the limit of open files, or lower limits.max_connections)"
			    : "");
	/* So that the queue moves on, the reserve descriptor is closed for one client, which is turned away. */
	if (all->reserve_fd != -1) {
		close(all->reserve_fd);
		fd = accept_peer(event_get_fd(failed->event), &peer);
		if (fd != -1) {
			failed->instance->counters.refused[LIMIT_FILES]++;
			stream_turn_away(failed->instance, fd, &peer, CLOSE_LIMIT, LIMIT_FILES);
		}
		all->reserve_fd = standard_open_nowhere();
	}
	if (resume_later(all) == -1)
		return; /* without a timer, the pause would not end */
	for (a = TAILQ_FIRST(&all->accepting); a != NULL; a = next) {
		next = TAILQ_NEXT(a, entry);
		if (a != failed)
			acceptor_wait(a);
	}
	acceptor_wait(failed);
}

/* --- accepting --- */

/* Whether the error is of one client, which accept(2) has taken off the queue, or of none. */
static bool is_client_error(int error)
{
	static const int errors[] = { EAGAIN, EINTR, ECONNABORTED, EPERM, EPROTO, ENOPROTOOPT,
		EOPNOTSUPP, ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH, ENONET, ETIMEDOUT };

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		if (errors[i] == error)
			return true;
	return false;
}

static void accept_cb(evutil_socket_t fd, short events, void *arg)
{
	struct acceptor *a = arg;
	struct instance *instance = a->instance;

	(void)events;
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		enum admission_verdict verdict;
		enum limit limit;
		struct peer peer;
		int client;

		if (acceptor_must_wait(a)) {
			acceptor_wait(a);
			return;
		}
		client = accept_peer(fd, &peer);
		if (client == -1) {
			a->shares = false;
			if (!is_client_error(errno))
				pause_all(a, errno);
			return;
		}
		a->all->pause = 0;
		if (a->older > 0) {
			a->older--;
			socket_set_client_options(client, a->keepalive);
		}
		verdict = !admission_is_proxied(instance) ? admission_enter(instance, &peer, &limit)
			  : admission_trusts(instance, &peer)
			      ? admission_enter_unknown(instance, &limit)
			      : REFUSE_DENIED;
		if (verdict == ADMIT)
			stream_open(instance, a->listener, client, &peer);
		else if (verdict == REFUSE_DENIED)
			stream_turn_away(instance, client, &peer, CLOSE_DENIED, LIMIT_NONE);
		else
			stream_refuse(instance, a->listener, client, &peer, limit);
		if (a->shares)
			return; /* other waiting acceptors get their turn */
	}
}

int acceptor_start(struct acceptor *a, struct listener *listener, struct acceptors *all, int fd)
{
	struct event *event = event_new(all->loop->base, fd, EV_READ | EV_PERSIST, accept_cb, a);

	if (event == NULL)
		return -1;
	if (event_add(event, NULL) == -1) {
		event_free(event);
		return -1;
	}
	*a = (struct acceptor){ .listener = listener, .all = all, .event = event };
	TAILQ_INSERT_TAIL(&all->accepting, a, entry);
	return 0;
}

void acceptor_stop(struct acceptor *a)
{
	if (a->event == NULL)
		return;
	event_free(a->event);
	a->event = NULL;
	TAILQ_REMOVE(a->waits ? &a->all->waiting : &a->all->accepting, a, entry);
	a->all->loop->waiting_acceptors -= a->waits;
}

struct acceptors *acceptors_new(struct loop *loop)
{
	struct acceptors *all = calloc(1, sizeof(*all));

	if (all == NULL)
		return NULL;
	TAILQ_INIT(&all->accepting);
	TAILQ_INIT(&all->waiting);
	all->loop = loop;
	all->reserve_fd = standard_open_nowhere();
	all->resume = evtimer_new(loop->base, resume_cb, all);
	all->room = event_new(loop->base, -1, EV_PERSIST, resume_cb, all);
	if (all->resume == NULL || all->room == NULL) {
		acceptors_free(all);
		errno = ENOMEM;
		return NULL;
	}
	loop->room = all->room;
	return all;
}

void acceptors_free(struct acceptors *all)
{
	if (all == NULL)
		return;
	loop_free_event(all->resume);
	loop_free_event(all->room);
	if (all->reserve_fd != -1)
		close(all->reserve_fd);
	free(all);
}
