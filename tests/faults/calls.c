/*
 * System calls that fail, each with what the kernel may say of it, once and from there on: see session.h for
 * what must hold. What an administrator has to know of stands in the log.
 * $FAULT_STEP=1 takes each call in turn with each error; a check takes the first, the 6th, the 31st ... with
 * the first error, and lets all fail from one of three calls on, with the first error from each of them. Under a
 * sanitizer a session takes seconds, and a check plays two of each call.
 */
#undef _FORTIFY_SOURCE /* its inline functions and ours cannot both be */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../fuzz/fuzz.h"
#include "session.h"

#define ERRORS 12
#define SHORT (-1) /* in the place of an error: the call succeeds, but with one byte */

/* In the order of the wrappers below. */
enum call {
	CALL_accept4,
	CALL_recv,
	CALL_send,
	CALL_writev,
	CALL_sendfile,
	CALL_recvmmsg,
	CALL_sendmmsg,
	CALL_epoll_create1,
	CALL_epoll_ctl,
	CALL_epoll_wait,
	CALL_socket,
	CALL_bind,
	CALL_listen,
	CALL_setsockopt,
	CALL_getsockname,
	CALL_socketpair,
	CALL_pipe2,
	CALL_eventfd,
	CALL_open,
	CALL_fstat,
	CALL_write,
	CALL_pwrite64,
	CALL_pread64,
	CALL_fdatasync,
	CALL_fsync,
	CALL_rename,
	CALL_getrandom,
	CALL_vfork,
	CALL_pthread_create,
	CALL_ssl_write,
	CALLS
};

static const struct call_errors {
	const char *name;
	bool is_told; /* the daemon logs the error itself */
	int errors[ERRORS];
} calls[CALLS] = {
	[CALL_accept4] = { "accept4", false,
	    { ECONNABORTED, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTO, EPERM, ENETDOWN, EINTR, EAGAIN,
		EINVAL } },
	[CALL_recv] = { "recv", false,
	    { ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENOMEM, EINTR, EAGAIN, SHORT } },
	[CALL_send] = { "send", false,
	    { EPIPE, ECONNRESET, ENOBUFS, ETIMEDOUT, EINTR, EAGAIN, SHORT } },
	[CALL_writev] = { "writev", false, { EPIPE, ECONNRESET, ENOMEM, EINTR, EAGAIN } },
	[CALL_sendfile] = { "sendfile", false, { EIO, ENOMEM, EPIPE, EINTR, EAGAIN } },
	[CALL_recvmmsg] = { "recvmmsg", false, { ECONNREFUSED, ENOMEM, EINTR, EAGAIN } },
	[CALL_sendmmsg] = { "sendmmsg", true,
	    { EPERM, ENOBUFS, EHOSTUNREACH, EMSGSIZE, ECONNREFUSED } },
	[CALL_epoll_create1] = { "epoll_create1", false, { EMFILE, ENOMEM } },
	[CALL_epoll_ctl] = { "epoll_ctl", false, { ENOSPC, ENOMEM } },
	[CALL_epoll_wait] = { "epoll_wait", false, { EINTR } },
	/* Not EACCES: a Unix socket is tried once more then, as root may what its user may not. */
	[CALL_socket] = { "socket", true, { EMFILE, ENFILE, ENOBUFS, EPERM, EAFNOSUPPORT } },
	[CALL_bind] = { "bind", true, { EADDRINUSE, EPERM, EADDRNOTAVAIL } },
	[CALL_listen] = { "listen", true, { EADDRINUSE } },
	[CALL_setsockopt] = { "setsockopt", false, { ENOMEM, ENOPROTOOPT } },
	[CALL_getsockname] = { "getsockname", false, { ENOBUFS } },
	[CALL_socketpair] = { "socketpair", false, { EMFILE, ENFILE } },
	[CALL_pipe2] = { "pipe2", false, { EMFILE, ENFILE } },
	[CALL_eventfd] = { "eventfd", true, { EMFILE, ENOMEM } },
	[CALL_open] = { "open", false, { EMFILE, ENFILE, EACCES, EIO, EINTR } },
	[CALL_fstat] = { "fstat", false, { EIO, ENOMEM } },
	[CALL_write] = { "write", false, { ENOSPC, EIO, EAGAIN, EINTR } },
	/* Nothing is lost when a stop cannot move the log to the snapshot. */
	[CALL_pwrite64] = { "pwrite64", false, { ENOSPC, EIO, EFBIG } },
	[CALL_pread64] = { "pread64", false, { EIO, ENOMEM } },
	[CALL_fdatasync] = { "fdatasync", false, { EIO, ENOSPC } },
	[CALL_fsync] = { "fsync", false, { EIO, ENOSPC } },
	[CALL_rename] = { "rename", false, { EIO, ENOSPC, EROFS } },
	[CALL_getrandom] = { "getrandom", false, { ENOSYS } },
	[CALL_vfork] = { "vfork", false, { EAGAIN, ENOMEM } },
	[CALL_pthread_create] = { "pthread_create", true, { EAGAIN } },
	/* OpenSSL's write to a client. */
	[CALL_ssl_write] = { "ssl_write", false,
	    { EAGAIN, EPIPE, ECONNRESET, ENOBUFS, ETIMEDOUT, EINTR, SHORT } },
};

static atomic_long made[CALLS], refused;
static atomic_bool lasts, troubled;
static enum call failing;
static int error; /* 0 = none fails */
static long fails_at;
static bool goes_on_failing;
static _Thread_local bool is_daemons = true; /* thread; main() says that it is none */

static bool is_refused(enum call call)
{
	long number;

	if (!lasts || (!troubled && !is_daemons))
		return false;
	number = ++made[call];
	if (error == 0 || call != failing ||
	    (goes_on_failing ? number < fails_at : number != fails_at))
		return false;
	refused++;
	errno = error;
	return true;
}

/* A program's own functions come before those of all libraries; theirs are the next. */
#define NEXT(name) ((__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name))

#define WRAP(type, name, parameters, arguments) \
	type name parameters                    \
	{                                       \
		static __typeof__(&name) next;  \
                                                \
		if (next == NULL)               \
			next = NEXT(name);      \
		if (is_refused(CALL_##name))    \
			return (type)-1;        \
		return next arguments;          \
	}

/* clang-format off */
WRAP(int, accept4, (int fd, struct sockaddr *a, socklen_t *length, int flags), (fd, a, length, flags))
WRAP(ssize_t, sendfile, (int to, int from, off_t *at, size_t n), (to, from, at, n))
WRAP(int, recvmmsg, (int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *t),
    (fd, m, n, flags, t))
WRAP(int, sendmmsg, (int fd, struct mmsghdr *m, unsigned n, int flags), (fd, m, n, flags))
WRAP(int, epoll_create1, (int flags), (flags))
WRAP(int, epoll_ctl, (int fd, int what, int of, struct epoll_event *e), (fd, what, of, e))
WRAP(int, epoll_wait, (int fd, struct epoll_event *e, int n, int ms), (fd, e, n, ms))
WRAP(int, socket, (int domain, int kind, int protocol), (domain, kind, protocol))
WRAP(int, bind, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
WRAP(int, listen, (int fd, int backlog), (fd, backlog))
WRAP(int, setsockopt, (int fd, int level, int o, const void *v, socklen_t n), (fd, level, o, v, n))
WRAP(int, getsockname, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))
WRAP(int, socketpair, (int domain, int kind, int protocol, int fds[2]), (domain, kind, protocol, fds))
WRAP(int, pipe2, (int fds[2], int flags), (fds, flags))
WRAP(int, eventfd, (unsigned value, int flags), (value, flags))
WRAP(ssize_t, pread64, (int fd, void *b, size_t n, off64_t at), (fd, b, n, at))
WRAP(int, fdatasync, (int fd), (fd))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, rename, (const char *from, const char *to), (from, to))
WRAP(int, fstat, (int fd, struct stat *st), (fd, st))
WRAP(ssize_t, getrandom, (void *b, size_t n, unsigned flags), (b, n, flags))
/* clang-format on */

/* As is_refused(), unless it is only to be short. */
static bool is_refused_or_short(enum call call, size_t *length)
{
	if (!is_refused(call))
		return false;
	if (error != SHORT)
		return true;
	*length = *length > 0;
	return false;
}

ssize_t send(int fd, const void *bytes, size_t length, int flags)
{
	static __typeof__(&send) next;

	if (next == NULL)
		next = NEXT(send);
	if (is_refused_or_short(CALL_send, &length))
		return -1;
	return next(fd, bytes, length, flags);
}

/* libevent's own pipe for signals is read without a flag, and takes an error for the end of the world. */
ssize_t recv(int fd, void *bytes, size_t length, int flags)
{
	static __typeof__(&recv) next;

	if (next == NULL)
		next = NEXT(recv);
	if (flags & MSG_DONTWAIT && is_refused_or_short(CALL_recv, &length))
		return -1;
	return next(fd, bytes, length, flags);
}

/* To a store, by the daemon's threads: the main thread writes its configuration in this way. */
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at)
{
	static __typeof__(&pwrite64) next;

	if (next == NULL)
		next = NEXT(pwrite64);
	if (is_daemons && is_refused(CALL_pwrite64))
		return -1;
	return next(fd, bytes, length, at);
}

/* To a client. */
ssize_t writev(int fd, const struct iovec *parts, int count)
{
	static __typeof__(&writev) next;

	if (next == NULL)
		next = NEXT(writev);
	if (fcntl(fd, F_GETFL) & O_NONBLOCK && is_refused(CALL_writev))
		return -1;
	return next(fd, parts, count);
}

static bool is_socket(int fd)
{
	socklen_t length = sizeof(int);
	int type;

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0;
}

/* To the log, or by OpenSSL to a client. An eventfd takes what is written. */
ssize_t write(int fd, const void *bytes, size_t length)
{
	static __typeof__(&write) next;
	int saved = errno;

	if (next == NULL)
		next = NEXT(write);
	if (fcntl(fd, F_GETFL) & O_APPEND && is_refused(CALL_write))
		return -1;
	if (is_socket(fd) && is_refused_or_short(CALL_ssl_write, &length)) {
		/* It must stay gone: OpenSSL goes on when it has been gone at a session ticket. */
		if (errno == EPIPE || errno == ECONNRESET)
			shutdown(fd, SHUT_WR);
		return -1;
	}
	errno = saved;
	return next(fd, bytes, length);
}

/* SQLite tries again for as long as it is interrupted. */
static bool is_endless(void)
{
	return is_daemons && error == EINTR && goes_on_failing;
}

int open(const char *path, int flags, ...)
{
	static __typeof__(&open) next;
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = va_arg(args, mode_t);
	va_end(args);
	if (next == NULL)
		next = NEXT(open);
	return !is_endless() && is_refused(CALL_open) ? -1 : next(path, flags, mode);
}

/* One that returned from the real vfork() in the child would spoil the stack of its parent. */
pid_t vfork(void)
{
	return is_refused(CALL_vfork) ? -1 : fork();
}

int pthread_create(
    pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *arg)
{
	static __typeof__(&pthread_create) next;

	if (next == NULL)
		next = NEXT(pthread_create);
	return is_refused(CALL_pthread_create) ? error : next(thread, attributes, run, arg);
}

static void set(bool on)
{
	lasts = on;
}

static void begin(void)
{
	troubled = true;
}

static void end(void)
{
	troubled = false;
}

static const struct trouble trouble = { set, begin, end };

/* How many sessions were played, and how many of them only up to the start. */
static struct {
	long sessions, unstarted;
} count;

/* Nothing is left to accept with; all else concerns one client, which has left the queue. */
static bool stops_accepting(int its_error)
{
	return its_error == EMFILE || its_error == ENFILE || its_error == ENOBUFS ||
	       its_error == ENOMEM || its_error == EINVAL;
}

static void require_told(enum call call, int its_error)
{
	if (calls[call].is_told)
		require(session_has_logged(strerror(its_error)));
	if (call == CALL_accept4)
		require(session_has_logged("all listeners pause") == stops_accepting(its_error));
}

static void play(enum call call, int its_error, long number, bool on)
{
	bool came_up;

	printf("# %s %ld%s: %s\n", calls[call].name, number, on ? " and all behind it" : "",
	    its_error == SHORT ? "one byte" : strerror(its_error));
	memset(made, 0, sizeof(made));
	refused = 0;
	failing = call;
	error = its_error;
	fails_at = number;
	goes_on_failing = on;
	came_up = session_play(&trouble);
	error = 0;
	if (came_up && refused > 0)
		require_told(call, its_error);
	count.sessions++;
	count.unstarted += !came_up;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SLOW true
#else
#define IS_SLOW false
#endif

/* A check has no time for each call and each error. */
static void play_once_each(enum call call, int its_error, long total, long step)
{
	const char *first = getenv("FAULT_FIRST");

	for (long number = first == NULL ? 1 : atol(first); number <= total;
	     number = step != 0 ? number + step
		      : IS_SLOW ? total + 1
				: number * 5 + 1)
		play(call, its_error, number, false);
}

static void play_call(enum call call, long total, long step)
{
	const int *errors = calls[call].errors;

	count.sessions = count.unstarted = 0;
	for (int i = 0; i < ERRORS && errors[i] != 0; i++) {
		if (i == 0 || step != 0)
			play_once_each(call, errors[i], total, step);
		for (long part = 2; part <= 4; part++)
			if (step != 0 ||
			    (IS_SLOW ? i == 0 && part == 2
				     : i == 0 || errors[i] == SHORT || part == 2 + i % 3))
				play(call, errors[i], 1 + total / part, true);
	}
	printf("ok %d - %s fails, of %ld: %ld sessions, %ld starts refused\n", call + 1,
	    calls[call].name, total, count.sessions, count.unstarted);
}

int main(int argc, char **argv)
{
	const char *step = getenv("FAULT_STEP");
	long totals[CALLS];

	is_daemons = false;
	setvbuf(stdout, NULL, _IOLBF, 0); /* or a child that forks has what is buffered, too */
	printf("1..%d\n", CALLS);
	session_prepare();
	require(session_play(&trouble));
	for (int i = 0; i < CALLS; i++)
		totals[i] = made[i];
	for (int i = 0; i < CALLS; i++)
		if (argc == 1 || strcmp(argv[1], calls[i].name) == 0)
			play_call((enum call)i, totals[i], step == NULL ? 0 : atol(step));
	session_clean_up();
	return 0;
}
