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

static void take(struct logpipe *p, const char *bytes, size_t length)
{
	const char *end;

	while ((end = memchr(bytes, '\n', length)) != NULL) {
		keep(p, bytes, (size_t)(end - bytes));
		log_one(p);
		length -= (size_t)(end - bytes) + 1;
		bytes = end + 1;
	}
	keep(p, bytes, length);
}

/* Whether there may be more. */
static bool read_some(struct logpipe *p)
{
	char bytes[READ_BYTES];
	ssize_t n = read(p->fd, bytes, sizeof(bytes));

	if (n > 0)
		take(p, bytes, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		event_del(p->readable);
	return n > 0;
}

static void logpipe_readable_cb(evutil_socket_t fd, short events, void *arg)
{
	(void)fd;
	(void)events;
	read_some(arg);
}

static struct logpipe *open_reader(struct event_base *base, int fd)
{
	struct logpipe *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->fd = fd;
	p->readable = event_new(base, fd, EV_READ | EV_PERSIST, logpipe_readable_cb, p);
	if (p->readable != NULL && fcntl(fd, F_SETFL, O_NONBLOCK) == 0 &&
	    event_add(p->readable, NULL) == 0)
		return p;
	if (p->readable != NULL)
		event_free(p->readable);
	free(p);
	return NULL;
}

struct logpipe *logpipe_new(
    struct event_base *base, struct log_class *class, const char *label, int *writer)
{
	struct logpipe *p;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) == -1)
		return NULL;
	if ((p = open_reader(base, ends[0])) == NULL) {
		int saved = errno;

		close(ends[0]);
		close(ends[1]);
		errno = saved;
		return NULL;
	}
	p->class = class;
	p->label = label;
	*writer = ends[1];
	return p;
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
