/*
 * The log's sinks and its one formatter. A line is built whole in a buffer no larger than PIPE_BUF and
 * written by one call that cannot wait: a pipe that polls writable takes that much, a socket is asked
 * not to wait, a file does not wait for a reader.
 */
#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <paths.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/path.h"

#define LINE_MAX_BYTES 2048 /* below PIPE_BUF: written whole or not at all */
#define CLASS_RATE 10       /* lines a second in a class that does not say its own */

enum sink { SINK_STDERR, SINK_JOURNAL, SINK_SYSLOG, SINK_FILE };

static struct {
	enum sink sink;
	int fd;
	char *path; /* of a file */
	enum log_level level;
	unsigned long lost; /* lines that the sink did not take since the last one it took */
	unsigned long lost_in_all;
} the_log = { .sink = SINK_STDERR, .fd = STDERR_FILENO, .level = LOG_LEVEL_INFO };

static const char *const level_names[] = { "error", "warning", "info", "debug", NULL };
static const int level_priorities[] = { LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

const struct option_row log_rows[] = {
	OPTION(struct log_settings, level, choice, .fallback = "\"info\"", .choices = level_names,
	    .help = "How much is logged: this level and everything graver."),
	OPTION(struct log_settings, target, string, .fallback = "\"stderr\"",
	    .help =
		"Where lines go: stderr, syslog, or the path of a file, which SIGUSR1 reopens."),
	OPTION_END,
};

static int open_syslog(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = _PATH_LOG };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd != -1 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == -1) {
		int saved = errno;

		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

static int open_file(const char *path)
{
	return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
}

/* JOURNAL_STREAM names the device and inode of the journal's socket: is it still our stderr? */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t device, inode;
	struct stat st;

	return stream != NULL && sscanf(stream, "%ju:%ju", &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

static void use_sink(enum sink sink, int fd, char *path)
{
	if (the_log.fd != STDERR_FILENO)
		close(the_log.fd);
	free(the_log.path);
	the_log.sink = sink;
	the_log.fd = fd;
	the_log.path = path;
}

int log_open(const char *target)
{
	char *path;
	int fd;

	if (strcmp(target, "stderr") == 0) {
		use_sink(stderr_is_journal() ? SINK_JOURNAL : SINK_STDERR, STDERR_FILENO, NULL);
		return 0;
	}
	if (strcmp(target, "syslog") == 0) {
		if ((fd = open_syslog()) == -1)
			return -1;
		use_sink(SINK_SYSLOG, fd, NULL);
		return 0;
	}
	if ((path = path_absolute(target)) == NULL)
		return -1;
	if ((fd = open_file(path)) == -1) {
		int saved = errno;

		free(path);
		errno = saved;
		return -1;
	}
	use_sink(SINK_FILE, fd, path);
	return 0;
}

/* A file that may be written to, or made. */
static int probe_file(const char *path)
{
	char *directory;
	int result;

	result = faccessat(AT_FDCWD, path, W_OK, AT_EACCESS);
	if (result == 0 || errno != ENOENT)
		return result;
	if ((directory = strdup(path)) == NULL)
		return -1;
	result = faccessat(AT_FDCWD, dirname(directory), W_OK | X_OK, AT_EACCESS);
	free(directory);
	return result;
}

int log_probe(const char *target)
{
	char *path;
	int fd, result;

	if (strcmp(target, "stderr") == 0)
		return 0;
	if (strcmp(target, "syslog") == 0) {
		if ((fd = open_syslog()) != -1)
			close(fd);
		return fd == -1 ? -1 : 0;
	}
	if ((path = path_absolute(target)) == NULL)
		return -1;
	result = probe_file(path);
	free(path);
	return result;
}

int log_reopen(void)
{
	int fd;

	if (the_log.sink != SINK_FILE)
		return 0;
	if ((fd = open_file(the_log.path)) == -1)
		return -1;
	close(the_log.fd);
	the_log.fd = fd;
	return 0;
}

void log_close(void)
{
	use_sink(SINK_STDERR, STDERR_FILENO, NULL);
}

void log_set_level(enum log_level level)
{
	the_log.level = level;
}

enum log_level log_level(void)
{
	return the_log.level;
}

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

int log_level_parse(const char *name)
{
	for (int i = 0; level_names[i] != NULL; i++)
		if (strcmp(level_names[i], name) == 0)
			return i;
	return -1;
}

unsigned long log_lost(void)
{
	return the_log.lost_in_all;
}

bool log_enabled(enum log_level level)
{
	return level <= the_log.level;
}

/* Whether the sink took the whole line. A syslog daemon that was restarted is found again. */
static bool sink_write(const char *line, size_t length)
{
	struct pollfd writable = { .fd = the_log.fd, .events = POLLOUT };
	struct stat st;

	if (the_log.sink == SINK_SYSLOG) {
		if (send(the_log.fd, line, length, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)length)
			return true;
		if (errno != ECONNREFUSED && errno != ENOTCONN && errno != ECONNRESET)
			return false;
		int fd = open_syslog();

		if (fd == -1)
			return false;
		use_sink(SINK_SYSLOG, fd, NULL);
		return send(fd, line, length, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)length;
	}
	if (the_log.sink == SINK_FILE)
		return write(the_log.fd, line, length) == (ssize_t)length;
	if (poll(&writable, 1, 0) != 1 || !(writable.revents & POLLOUT))
		return false;
	if (fstat(the_log.fd, &st) == 0 && S_ISSOCK(st.st_mode))
		return send(the_log.fd, line, length, MSG_DONTWAIT | MSG_NOSIGNAL) ==
		       (ssize_t)length;
	return write(the_log.fd, line, length) == (ssize_t)length;
}

/* What stands before the text, as the sink wants it. Returns its length. */
static size_t write_prefix(char *to, size_t size, enum log_level level)
{
	struct timespec now;
	struct tm tm;
	char time_text[32];
	int n;

	clock_gettime(CLOCK_REALTIME, &now);
	switch (the_log.sink) {
	case SINK_JOURNAL:
		n = snprintf(to, size, "<%d>", level_priorities[level]);
		break;
	case SINK_SYSLOG:
		strftime(time_text, sizeof(time_text), "%b %e %T", localtime_r(&now.tv_sec, &tm));
		n = snprintf(to, size, "<%d>%s echod[%d]: ", LOG_DAEMON | level_priorities[level],
		    time_text, (int)getpid());
		break;
	default:
		strftime(time_text, sizeof(time_text), "%FT%T", gmtime_r(&now.tv_sec, &tm));
		n = snprintf(to, size, "%s.%03ldZ %s ", time_text, now.tv_nsec / 1000000,
		    level_names[level]);
	}
	return n < 0 ? 0 : (size_t)n;
}

static bool write_line(enum log_level level, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

static bool write_line(enum log_level level, const char *format, va_list args)
{
	char line[LINE_MAX_BYTES];
	size_t length = write_prefix(line, sizeof(line) - 1, level);
	int n = vsnprintf(line + length, sizeof(line) - 1 - length, format, args);

	if (n < 0)
		return false;
	length += (size_t)n;
	if (length > sizeof(line) - 2)
		length = sizeof(line) - 2; /* what vsnprintf has cut */
	if (the_log.sink != SINK_SYSLOG)
		line[length++] = '\n';
	return sink_write(line, length);
}

static void lose_line(void)
{
	the_log.lost++;
	the_log.lost_in_all++;
}

static void write_note(enum log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void write_note(enum log_level level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (!write_line(level, format, args))
		lose_line();
	va_end(args);
}

static void log_line(enum log_level level, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

static void log_line(enum log_level level, const char *format, va_list args)
{
	int saved = errno;
	unsigned long lost = the_log.lost;

	if (!log_enabled(level))
		return;
	if (!write_line(level, format, args)) {
		lose_line();
	} else if (lost != 0) {
		the_log.lost = 0;
		write_note(LOG_LEVEL_WARNING, "log: lost %lu lines before this one", lost);
	}
	errno = saved;
}

#define DEFINE_LOG(name, level)                \
	void name(const char *format, ...)     \
	{                                      \
		va_list args;                  \
                                               \
		va_start(args, format);        \
		log_line(level, format, args); \
		va_end(args);                  \
	}

DEFINE_LOG(log_error, LOG_LEVEL_ERROR)
DEFINE_LOG(log_warning, LOG_LEVEL_WARNING)
DEFINE_LOG(log_info, LOG_LEVEL_INFO)
DEFINE_LOG(log_debug, LOG_LEVEL_DEBUG)

/* Takes a token of the class; false when there is none left. */
static bool class_admits(struct log_class *class)
{
	double now = (double)clock_us() / 1e6;
	double rate = class->rate != 0 ? class->rate : CLASS_RATE;

	if (class->refilled == 0)
		class->tokens = rate;
	else
		class->tokens += (now - class->refilled) * rate;
	if (class->tokens > rate)
		class->tokens = rate;
	class->refilled = now;
	if (class->tokens < 1) {
		class->suppressed++;
		return false;
	}
	class->tokens--;
	return true;
}

void log_limited(struct log_class *class, enum log_level level, const char *format, ...)
{
	int saved = errno;
	va_list args;

	if (!log_enabled(level) || !class_admits(class))
		return;
	va_start(args, format);
	log_line(level, format, args);
	va_end(args);
	if (class->suppressed != 0) {
		write_note(level, "log: suppressed %lu lines like this", class->suppressed);
		class->suppressed = 0;
	}
	errno = saved;
}

/* One byte as log_escape shows it; returns how many characters that takes. */
static size_t escape_byte(char to[5], unsigned char byte)
{
	static const char hex[] = "0123456789abcdef";

	switch (byte) {
	case '\n':
		memcpy(to, "\\n", 3);
		return 2;
	case '\r':
		memcpy(to, "\\r", 3);
		return 2;
	case '\t':
		memcpy(to, "\\t", 3);
		return 2;
	case '\\':
		memcpy(to, "\\\\", 3);
		return 2;
	}
	if (byte >= 0x20 && byte < 0x7f) {
		to[0] = (char)byte;
		return 1;
	}
	memcpy(to, "\\x", 2);
	to[2] = hex[byte >> 4];
	to[3] = hex[byte & 15];
	return 4;
}

char *log_escape(char *to, size_t size, const void *bytes, size_t length)
{
	const unsigned char *from = bytes;
	size_t at = 0;
	char shown[5];

	for (size_t i = 0; i < length; i++) {
		size_t n = escape_byte(shown, from[i]);

		if (at + n + (i + 1 < length ? 3 : 0) >= size) {
			size_t dots = size - at > 3 ? 3 : size - at - 1;

			memcpy(to + at, "...", dots);
			at += dots;
			break;
		}
		memcpy(to + at, shown, n);
		at += n;
	}
	to[at] = '\0';
	return to;
}
