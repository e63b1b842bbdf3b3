/* Lines out of a pipe. One that is too long is cut, one read per turn leaves others their turn. */
#include "net/logpipe.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"

#define LINE_BYTES 512 /* of a line, before it is escaped */
#define READ_BYTES 4096
#define LAST_READS 16 /* a pipe holds 64 KiB by default; somebody may still be writing */

struct logpipe {
	int fd;
	struct event *readable;
	struct log_class *class;
	const char *label;
	bool cut; /* there was more of the line than fits */
	size_t length;
	char line[LINE_BYTES];
};

static void log_one(struct logpipe *p)
{
	char shown[2 * LINE_BYTES];

	if (p->length == 0)
		return;
	log_limited(p->class, LOG_LEVEL_INFO, "%s: stderr: %s%s", p->label,
	    log_escape(shown, sizeof(shown), p->line, p->length), p->cut ? "..." : "");
	p->length = 0;
	p->cut = false;
}

static void keep(struct logpipe *p, const char *bytes, size_t length)
{
	size_t room = sizeof(p->line) - p->length;

	if (length > room) {
		length = room;
		p->cut = true;
	}
	memcpy(p->line + p->length, bytes, length);
	p->length += length;
}

/* Whether there may be more. */
static bool read_some(struct logpipe *p)
{
	char bytes[READ_BYTES], *at = bytes, *end;
	ssize_t n = read(p->fd, bytes, sizeof(bytes));

	if (n <= 0) {
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			event_del(p->readable);
		return false;
	}
	for (; (end = memchr(at, '\n', (size_t)(bytes + n - at))) != NULL; at = end + 1) {
		keep(p, at, (size_t)(end - at));
		log_one(p);
	}
	keep(p, at, (size_t)(bytes + n - at));
	return true;
}

static void logpipe_readable_cb(evutil_socket_t fd, short events, void *arg)
{
	(void)fd;
	(void)events;
	read_some(arg);
}

struct logpipe *logpipe_new(
    struct event_base *base, struct log_class *class, const char *label, int *writer)
{
	struct logpipe *p = calloc(1, sizeof(*p));
	int ends[2], saved;

	if (p == NULL || pipe2(ends, O_CLOEXEC) == -1) {
		free(p);
		return NULL;
	}
	*p = (struct logpipe){ .fd = ends[0], .class = class, .label = label };
	*writer = ends[1];
	p->readable = event_new(base, p->fd, EV_READ | EV_PERSIST, logpipe_readable_cb, p);
	if (p->readable != NULL && fcntl(p->fd, F_SETFL, O_NONBLOCK) == 0 &&
	    event_add(p->readable, NULL) == 0)
		return p;
	saved = errno;
	if (p->readable != NULL)
		event_free(p->readable);
	close(ends[0]);
	close(ends[1]);
	free(p);
	errno = saved;
	return NULL;
}

void logpipe_free(struct logpipe *p)
{
	if (p == NULL)
		return;
	for (int i = 0; i < LAST_READS && read_some(p); i++)
		continue;
	log_one(p);
	event_free(p->readable);
	close(p->fd);
	free(p);
}
