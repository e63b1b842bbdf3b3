/*
 * file: each client gets the bytes of a file as it is when the client comes, by sendfile, then it
 * is closed. A segment of libevent's owns the descriptor; the pieces of it that wait in the output
 * keep it open. A file of at most one page is read instead: files in /proc and /sys claim a size of 0 or
 * one page, and only read(2) shows their contents. So is a larger file of /proc, such as config.gz, which
 * sendfile() refuses, and any file that goes to a client over TLS.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "net/client.h"
#include "services/service.h"

/* What one client gets in one turn: libevent sends a piece of a file whole, whatever its limits. */
#define PIECE (INT64_C(256) * 1024)
/* The same for a file that is read, which takes memory. */
#define READ_PIECE (INT64_C(64) * 1024)

struct file_conf {
	char *path;
};

static const struct option_row rows[] = {
	OPTION(struct file_conf, path, string, .flags = OPTION_REQUIRED,
	    .help = "The absolute path of the file; it is opened again for each client."),
	OPTION_END,
};

/* A client's state. */
struct file_client {
	int fd;                                /* 0 = none, since it is never standard input */
	struct evbuffer_file_segment *segment; /* owns it; NULL = it is read */
	int64_t sent, size;                    /* bytes; a size of 0 means unknown */
	bool exact;                            /* a file that ends before its size was truncated */
};

/* 0, or -1 with errno. */
static int check_kind(const struct stat *st)
{
	struct stat kmsg;

	/* Reading /proc/kmsg never ends, and removes messages from the system's log. */
	if (S_ISREG(st->st_mode) && !(st->st_size == 0 && stat("/proc/kmsg", &kmsg) == 0 &&
					kmsg.st_dev == st->st_dev && kmsg.st_ino == st->st_ino))
		return 0;
	errno = S_ISDIR(st->st_mode) ? EISDIR : EINVAL;
	return -1;
}

/*
 * A descriptor and the size, or -1 with errno. Does not open devices and FIFOs, since that may have side effects,
 * and does not wait for the end of a lease.
 */
static int open_file(const char *path, int64_t *size)
{
	struct stat st;
	int fd, saved;

	if (stat(path, &st) == -1 || check_kind(&st) == -1)
		return -1;
	if ((fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)) == -1)
		return -1;
	if (fstat(fd, &st) == 0 && check_kind(&st) == 0 && lseek(fd, 0, SEEK_CUR) == 0) {
		*size = st.st_size;
		return fd;
	}
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static const char *describe(int error)
{
	switch (error) {
	case EINVAL:
		return "not a regular file: a FIFO, a device and /proc/kmsg have no end";
	case ESPIPE:
		return "not a regular file: it has no beginning to read from";
	case EAGAIN:
		return "another process has a lease on it (F_SETLEASE), which has to end first";
	default:
		return strerror(error);
	}
}

static enum verdict fail_reading(const struct stream *stream, const char *why)
{
	struct instance *instance = stream_instance(stream);
	const struct file_conf *conf = instance->conf;

	log_limited(&instance->service_lines, LOG_LEVEL_ERROR, "%s: cannot read %s: %s",
	    instance->name, conf->path, why);
	return VERDICT_ABORT;
}

/* Why the client is reset, if its file has become shorter. */
static void warn_if_truncated(struct instance *instance, const struct file_client *client)
{
	const struct file_conf *conf = instance->conf;
	struct stat st;

	if (fstat(client->fd, &st) == 0 && st.st_size < client->size)
		log_limited(&instance->service_lines, LOG_LEVEL_WARNING,
		    "%s: %s was truncated while a client was reading it: to %" PRId64 " of %" PRId64
		    " bytes",
		    instance->name, conf->path, (int64_t)st.st_size, client->size);
}

/* Adds the next piece of a file that is read; the file ends at its size, if that is known, or at EOF. */
static enum verdict read_piece(struct stream *stream, struct evbuffer *out)
{
	struct file_client *client = stream_state(stream);
	int64_t left = client->size > 0 ? client->size - client->sent : READ_PIECE;
	int64_t want = left < READ_PIECE ? left : READ_PIECE;
	struct evbuffer_iovec space;
	ssize_t n = -1;
	size_t got = 0;

	if (evbuffer_reserve_space(out, want, &space, 1) != 1)
		return VERDICT_ABORT;
	do {
		n = read(client->fd, (char *)space.iov_base + got, (size_t)want - got);
		got += n > 0 ? (size_t)n : 0;
	} while ((n > 0 && got < (size_t)want) || (n == -1 && errno == EINTR));
	if (n == -1)
		return fail_reading(
		    stream, errno == EAGAIN ? "reading it would block" : strerror(errno));
	space.iov_len = got;
	client->sent += (int64_t)got;
	if (got > 0 && evbuffer_commit_space(out, &space, 1) == -1)
		return VERDICT_ABORT;
	if (n == 0 && client->exact && client->sent < client->size) {
		warn_if_truncated(stream_instance(stream), client);
		return VERDICT_ABORT;
	}
	return n == 0 || client->sent == client->size ? VERDICT_CLOSE : VERDICT_CONTINUE;
}

static enum verdict file_open(struct stream *stream, struct evbuffer *out)
{
	/* Not a mapping, which a file cut short turns into SIGBUS. */
	const unsigned flags =
	    EVBUF_FS_CLOSE_ON_FREE | EVBUF_FS_DISABLE_MMAP | EVBUF_FS_DISABLE_LOCKING;
	struct instance *instance = stream_instance(stream);
	const struct file_conf *conf = instance->conf;
	struct file_client *client = stream_state(stream);
	int fd = open_file(conf->path, &client->size);
	struct statfs fs;

	if (fd == -1) {
		log_limited(&instance->service_lines, LOG_LEVEL_ERROR, "%s: cannot send %s: %s",
		    instance->name, conf->path, describe(errno));
		return VERDICT_CLOSE;
	}
	client->fd = fd;
	if (client->size <= sysconf(_SC_PAGESIZE) ||
	    (fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC))
		return read_piece(stream, out);
	if (!stream_sends_files(stream)) {
		client->exact = true;
		return read_piece(stream, out);
	}
	client->segment = evbuffer_file_segment_new(fd, 0, client->size, flags);
	return client->segment == NULL ? fail_reading(stream, "out of memory") : VERDICT_CONTINUE;
}

static enum verdict file_writable(struct stream *stream, struct evbuffer *out)
{
	struct file_client *client = stream_state(stream);
	int64_t left = client->size - client->sent;
	int64_t most = stream_is_unix(stream) ? STREAM_UNIX_PIECE : PIECE;
	int64_t piece = left < most ? left : most; /* sendfile(2) takes it at once */

	if (client->segment == NULL)
		return read_piece(stream, out);
	if (evbuffer_add_file_segment(out, client->segment, client->sent, piece) == -1) {
		client->segment = NULL; /* out of memory, it lets go of our reference (#964) */
		client->fd = 0;
		return VERDICT_ABORT;
	}
	client->sent += piece;
	return client->sent < client->size ? VERDICT_CONTINUE : VERDICT_CLOSE;
}

static void file_close(struct stream *stream)
{
	struct file_client *file = stream_state(stream);
	struct client client;

	if (file->segment == NULL) {
		if (file->fd > 0)
			close(file->fd);
		return;
	}
	stream_describe(stream, &client);
	if ((int64_t)client.bytes_out < file->size)
		warn_if_truncated(stream_instance(stream), file);
	evbuffer_file_segment_free(file->segment);
}

/* --- the config --- */

static int file_check(const struct instance_config *config, struct error *error)
{
	const struct file_conf *conf = config->parts[PART_OWN].fields;

	if (conf->path != NULL && *conf->path == '/')
		return 0;
	return error_key(error, "path", "expected an absolute path, got \"%s\"",
	    conf->path == NULL ? "" : conf->path);
}

static int file_verify(const struct instance_config *config, struct error *error)
{
	const struct file_conf *conf = config->parts[PART_OWN].fields;
	int64_t size;
	int fd = open_file(conf->path, &size);

	if (fd == -1)
		return error_key(error, "path", "%s: %s", conf->path, describe(errno));
	close(fd);
	return 0;
}

/* Without a `bytes` handler, what the client sends is dropped. */
static const struct handlers handlers = {
	.flags = HANDLERS_FINISH | HANDLERS_SEND_FILES,
	.conn_size = sizeof(struct file_client),
	.open = file_open,
	.writable = file_writable,
	.close = file_close,
};

const struct service_ops service_file = {
	.kind = SERVICE_KIND("file", "Sends a file to each client and closes the connection.",
	    SERVICE_OWN(rows, struct file_conf)),
	.transports = SERVICE_STREAM,
	.handlers = &handlers,
	.check = file_check,
	.verify = file_verify,
};
