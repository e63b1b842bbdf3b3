/*
 * file: each client gets the bytes of a file as it is when the client comes, by sendfile, then it
 * is closed. A segment of libevent's owns the descriptor; the pieces of it that wait in the output
 * keep it open.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "services/service.h"

/* What one client gets in one turn: libevent sends a piece of a file whole, whatever its limits. */
#define PIECE (INT64_C(256) * 1024)

struct file_conf {
	char *path;
};

static const struct option_row rows[] = {
	OPTION(struct file_conf, path, string, .flags = OPTION_REQUIRED,
	    .help = "The absolute path of the file; it is opened anew for each client."),
	OPTION_END,
};

/* A client's state. */
struct file_client {
	struct evbuffer_file_segment *segment; /* NULL = there is nothing to send */
	int64_t sent, size;                    /* bytes */
};

/* A descriptor and the size, or -1 with errno. Does not wait for the writer of a FIFO. */
static int open_file(const char *path, int64_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st = { 0 };

	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		*size = st.st_size;
		return fd;
	}
	close(fd);
	errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	return -1;
}

static const char *describe(int error)
{
	return error == EINVAL ? "not a regular file" : strerror(error);
}

/*
 * 0, or -1 with errno. Neither a mapping, which a file cut short turns into SIGBUS, nor an empty
 * segment.
 */
static int open_segment(struct file_client *client, const char *path)
{
	const unsigned flags =
	    EVBUF_FS_CLOSE_ON_FREE | EVBUF_FS_DISABLE_MMAP | EVBUF_FS_DISABLE_LOCKING;
	int fd = open_file(path, &client->size);

	if (fd == -1)
		return -1;
	if (client->size > 0)
		client->segment = evbuffer_file_segment_new(fd, 0, client->size, flags);
	if (client->segment == NULL)
		close(fd);
	if (client->segment == NULL && client->size > 0) {
		errno = ENOMEM;
		return -1;
	}
	return 0;
}

static enum verdict file_open(struct stream *stream, struct evbuffer *out)
{
	struct instance *instance = stream_instance(stream);
	const struct file_conf *conf = instance->conf;
	struct file_client *client = stream_state(stream);

	(void)out;
	if (open_segment(client, conf->path) == 0)
		return client->size > 0 ? VERDICT_CONTINUE : VERDICT_CLOSE;
	log_limited(&instance->service_lines, LOG_LEVEL_ERROR, "%s: cannot send %s: %s",
	    instance->name, conf->path, describe(errno));
	return VERDICT_CLOSE;
}

static enum verdict file_eof(struct stream *stream, struct evbuffer *out)
{
	(void)stream;
	(void)out;
	return VERDICT_CONTINUE;
}

static enum verdict file_room(struct stream *stream, struct evbuffer *out)
{
	struct file_client *client = stream_state(stream);
	int64_t left = client->size - client->sent;
	int64_t piece = left < PIECE ? left : PIECE;

	if (evbuffer_add_file_segment(out, client->segment, client->sent, piece) == -1) {
		client->segment = NULL; /* out of memory, it lets go of our reference (#964) */
		return VERDICT_ABORT;
	}
	client->sent += piece;
	return client->sent < client->size ? VERDICT_CONTINUE : VERDICT_CLOSE;
}

static void file_close(struct stream *stream)
{
	struct file_client *client = stream_state(stream);

	if (client->segment != NULL)
		evbuffer_file_segment_free(client->segment);
}

/* --- the config --- */

static int check(const struct instance_config *config, const char **key, char *why, size_t why_size)
{
	const struct file_conf *conf = config->parts[PART_OWN].fields;

	*key = "path";
	if (conf->path != NULL && *conf->path == '/')
		return 0;
	snprintf(why, why_size, "expected an absolute path, got \"%s\"",
	    conf->path == NULL ? "" : conf->path);
	return -1;
}

static int verify(
    const struct instance_config *config, const char **key, char *why, size_t why_size)
{
	const struct file_conf *conf = config->parts[PART_OWN].fields;
	int64_t size;
	int fd = open_file(conf->path, &size);

	*key = "path";
	if (fd == -1) {
		snprintf(why, why_size, "%s: %s", conf->path, describe(errno));
		return -1;
	}
	close(fd);
	return 0;
}

/* Without a data handler, what the client says is dropped. */
static const struct handlers handlers = {
	.conn_size = sizeof(struct file_client),
	.open = file_open,
	.eof = file_eof,
	.finishes = true,
	.sends_files = true,
	.room = file_room,
	.close = file_close,
};

const struct service_ops service_file = {
	.kind = SERVICE_KIND("file", "Sends a file to each client, then closes.",
	    SERVICE_OWN(rows, struct file_conf)),
	.transports = SERVICE_STREAM,
	.handlers = &handlers,
	.check = check,
	.verify = verify,
};
