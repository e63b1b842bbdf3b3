/*
 * The log's sinks and its one formatter. A line is built whole in a buffer no larger than PIPE_BUF and written by one
 * call that cannot block: sockets are written with MSG_DONTWAIT, files and standard error are opened with O_NONBLOCK,
 * and where that is not possible, a pipe that polls writable takes that much.
 */
#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
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
#include "core/error.h"
#include "core/logfile.h"
#include "core/plural.h"

#define LINE_MAX_BYTES 2048 /* below PIPE_BUF: written whole or not at all */
#define CLASS_RATE 10       /* lines a second in a class that does not say its own */

enum sink { SINK_STDERR, SINK_JOURNAL, SINK_SYSLOG, SINK_FILE };

static struct {
	enum sink sink;
	int fd; /* -1 = there is no syslog; each line tries again */
	struct logfile file;
	char *path;     /* of the file */
	bool is_stream; /* syslog listens on a stream socket, which is rare */
	bool cut;       /* the sink took only the beginning of the last line, without its end */
	bool stale;     /* the file was rotated and could not be reopened */
	enum log_level level;
	unsigned long lost; /* lines that the sink did not take since the last one it took */
	unsigned long lost_in_all;
	int64_t lost_at; /* clock_ms() of the last one */
} the_log = {
	.sink = SINK_STDERR, .fd = STDERR_FILENO, .file = { -1, -1 }, .level = LOG_LEVEL_INFO
};

static const char *const level_names[] = { "error", "warning", "info", "debug", NULL };
static const char *const target_names[] = { "stderr", "syslog", NULL };
static const int level_priorities[] = { LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

const struct option_row log_rows[] = {
	OPTION_DEFAULT(struct log_settings, level, choice, LOG_LEVEL_INFO, .choices = level_names,
	    .help = "Messages of this level and of the more severe ones are logged."),
	OPTION(struct log_settings, target, choice_or_path, .fallback = OPTION_TEXT("stderr"),
	    .choices = target_names,
	    .help = "Where the log goes: standard error, the syslog daemon, or a file, which "
		    "SIGUSR1 reopens."),
	OPTION_END,
};

/* A socket that is connected to the syslog daemon, of either type, as in syslog(3); -1 with errno. */
static int connect_syslog(bool *is_stream)
{
	const struct sockaddr_un to = { .sun_family = AF_UNIX, .sun_path = _PATH_LOG };
	static const int types[] = { SOCK_DGRAM, SOCK_STREAM };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		int fd = socket(AF_UNIX, types[i] | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), saved;

		*is_stream = types[i] == SOCK_STREAM;
		if (fd == -1 || connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0)
			return fd;
		saved = errno;
		close(fd);
		errno = saved;
		if (errno != EPROTOTYPE)
			break;
	}
	return -1;
}

/* Closes the sink in use and switches to another one. */
static void use_sink(enum sink sink, int fd)
{
	if (the_log.sink != SINK_FILE && the_log.fd > STDERR_FILENO)
		close(the_log.fd);
	logfile_close(&the_log.file);
	free(the_log.path);
	the_log.path = NULL;
	the_log.sink = sink;
	the_log.fd = fd;
	the_log.cut = the_log.stale = false;
}

/* The last line in the old sink says where the next ones are. */
static void announce_target(const char *target)
{
	log_info("log: lines go to %s from here on", target);
}

/*
 * A terminal polls writable when it has room for one byte, and writing a line then blocks until somebody reads; other
 * processes may fill a pipe between our poll and our write. So standard error has to be non-blocking. Setting
 * O_NONBLOCK on it would affect all processes that share the open file, so this opens it again where it can.
 */
static void use_stderr(void)
{
	const char *journal = getenv("JOURNAL_STREAM");
	uintmax_t device, inode;
	struct stat st;
	bool is_there = fstat(STDERR_FILENO, &st) == 0, is_journal;
	int fd = -1;

	if (the_log.sink == SINK_SYSLOG || the_log.sink == SINK_FILE)
		announce_target("stderr");
	if (isatty(STDERR_FILENO) || (is_there && S_ISFIFO(st.st_mode)))
		fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	/* The variable names the device and inode of the journal's socket: is it still our stderr? */
	is_journal = is_there && journal != NULL &&
		     sscanf(journal, "%ju:%ju", &device, &inode) == 2 && st.st_dev == device &&
		     st.st_ino == inode;
	use_sink(is_journal ? SINK_JOURNAL : SINK_STDERR, fd == -1 ? STDERR_FILENO : fd);
}

static void use_syslog(void)
{
	bool is_stream;
	int fd;

	if (the_log.sink == SINK_SYSLOG)
		return;
	fd = connect_syslog(&is_stream);
	if (fd == -1)
		log_warning("log: lines go to syslog from here on, and are lost until it takes "
			    "them: %s: %s",
		    _PATH_LOG, strerror(errno));
	else
		announce_target("syslog");
	use_sink(SINK_SYSLOG, fd);
	the_log.is_stream = is_stream;
}

static bool is_open_file(const char *target)
{
	return the_log.sink == SINK_FILE && strcmp(the_log.path, target) == 0;
}

int log_open(const char *target, const char *user, struct error *error)
{
	struct logfile file;
	char *path;

	if (strcmp(target, "stderr") == 0) {
		use_stderr();
		return 0;
	}
	if (strcmp(target, "syslog") == 0) {
		use_syslog();
		return 0;
	}
	if (is_open_file(target)) {
		if (log_reopen(error) == -1)
			log_warning("log: cannot reopen %s, lines go on to the file that was open: "
				    "%s",
			    target, error->text);
		return 0;
	}
	if (logfile_open(&file, target, user, error) == -1)
		return -1;
	if ((path = strdup(target)) == NULL) {
		logfile_close(&file);
		return error_memory(error);
	}
	announce_target(target);
	use_sink(SINK_FILE, file.fd);
	the_log.file = file;
	the_log.path = path;
	return 0;
}

int log_probe(const char *target)
{
	return *target != '/' || is_open_file(target) ? 0 : logfile_probe(target);
}

int log_reopen(struct error *error)
{
	if (the_log.sink != SINK_FILE)
		return 0;
	the_log.stale = logfile_reopen(&the_log.file, the_log.path, error) == -1;
	if (the_log.stale)
		return -1;
	if (the_log.file.fd != the_log.fd)
		the_log.cut = false;
	the_log.fd = the_log.file.fd;
	return 0;
}

bool log_is_stale(void)
{
	return the_log.stale;
}

void log_close(void)
{
	use_sink(SINK_STDERR, STDERR_FILENO);
}

const char *log_target(void)
{
	return the_log.sink == SINK_FILE ? the_log.path : target_names[the_log.sink == SINK_SYSLOG];
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

bool log_has_lost_within(int64_t ms)
{
	return the_log.lost_in_all > 0 && clock_ms() - the_log.lost_at < ms;
}

bool log_enabled(enum log_level level)
{
	return level <= the_log.level;
}

/* As write(2), but never waits. */
static ssize_t sink_write(const char *bytes, size_t length)
{
	struct pollfd writable = { .fd = the_log.fd, .events = POLLOUT };
	struct stat st;

	if (the_log.sink == SINK_SYSLOG && !the_log.is_stream) {
		ssize_t n = send(the_log.fd, bytes, length - 1, MSG_DONTWAIT | MSG_NOSIGNAL);

		return n == -1 ? -1 : n + 1; /* a datagram has its own end */
	}
	if (the_log.sink == SINK_SYSLOG)
		return send(the_log.fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (the_log.sink == SINK_FILE)
		return write(the_log.fd, bytes, length);
	if (poll(&writable, 1, 0) != 1 || !(writable.revents & POLLOUT))
		return -1;
	if (fstat(the_log.fd, &st) == 0 && S_ISSOCK(st.st_mode))
		return send(the_log.fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	return write(the_log.fd, bytes, length);
}

/* Writes the prefix that the sink wants before the text, and returns its length. */
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

/* Whether the sink took the whole line. A byte in front of the line ends one that was cut. */
static bool write_line(enum log_level level, const char *format, va_list args)
{
	char line[1 + LINE_MAX_BYTES], text[LINE_MAX_BYTES];
	size_t length = 1 + write_prefix(line + 1, LINE_MAX_BYTES - 1, level);
	char *from = the_log.cut ? line : line + 1;
	ssize_t n;

	if (vsnprintf(text, sizeof(text), format, args) < 0)
		return false;
	log_escape_controls(line + length, LINE_MAX_BYTES - length, text);
	length += strlen(line + length);
	line[0] = line[length++] = the_log.sink == SINK_SYSLOG ? '\0' : '\n';
	n = sink_write(from, (size_t)(line + length - from));
	/* A syslog daemon may have been started again. Connecting costs no more than a line, so every line may. */
	if (n == -1 && the_log.sink == SINK_SYSLOG && errno != EAGAIN && errno != ENOBUFS) {
		use_sink(SINK_SYSLOG, connect_syslog(&the_log.is_stream));
		from = line + 1;
		if (the_log.fd != -1)
			n = sink_write(from, (size_t)(line + length - from));
	}
	if (n > 0)
		the_log.cut = from + n > line + 1 && from + n < line + length;
	return n >= 0 && from + n == line + length;
}

static void lose_line(void)
{
	the_log.lost++;
	the_log.lost_in_all++;
	the_log.lost_at = clock_ms();
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
		write_note(LOG_LEVEL_WARNING, "log: lost %lu line%s before this one", lost,
		    PLURAL(lost, "s"));
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
		write_note(level, "log: suppressed %lu line%s like this", class->suppressed,
		    PLURAL(class->suppressed, "s"));
		class->suppressed = 0;
	}
	errno = saved;
}
