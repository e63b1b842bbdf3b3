/*
 * Preloaded into a daemon under test (LD_PRELOAD): it delays, holds and fails what the daemon does to the
 * files below a directory, and keeps a trace of it. The test turns the switches while the daemon runs, in a
 * file that both have mapped; faults.py is its side of the same structures.
 *
 * ECHOD_FAULT_ROOT is the directory, ECHOD_FAULT_CONTROL the file of the switches, ECHOD_FAULT_TRACE the
 * trace. A call that no rule concerns goes on as it is. With ECHOD_FAULT_NO_IPV6 the kernel has no IPv6. With
 * ECHOD_FAULT_DUMPABLE the daemon stays dumpable, for tests that look into it and are not run by root.
 */
#undef _FORTIFY_SOURCE   /* its inline open() and ours cannot both be */
#undef _FILE_OFFSET_BITS /* nor open() and open64(), of which each is ours */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* The kinds of calls that can be told from each other; CALL_WRITE is also a file's preallocation. */
enum call {
	CALL_OPEN,
	CALL_READ,
	CALL_WRITE,
	CALL_SYNC,
	CALL_TRUNCATE,
	CALL_UNLINK,
	CALL_RENAME,
	CALL_MKDIR,
	CALLS
};

/* Of a call that fails: what is done nevertheless. */
enum done { DONE_NOTHING, DONE_ALL, DONE_HALF };

struct rule {
	_Atomic uint32_t calls;   /* so far */
	_Atomic uint32_t waiting; /* now, because of hold or delay_ms */
	_Atomic uint32_t hold;    /* 1 = until it is 0 again */
	_Atomic uint32_t delay_ms;
	_Atomic uint32_t error; /* errno to fail with; 0 = none */
	_Atomic uint32_t done;
	_Atomic uint32_t skip;  /* as many calls are neither held nor fail first */
	_Atomic uint32_t limit; /* as many calls fail, then no more; 0 = all */
};

/* The rules of some files: those whose name relative to the root fits a pattern, in which * includes the slash. */
struct files {
	char pattern[64]; /* "" = none */
	struct rule rules[CALLS];
};

#define FILES 8

struct control {
	struct files files[FILES];
	_Atomic uint32_t trace; /* whether to write it */
	_Atomic uint32_t early; /* the end of a sync is noted by the next one */
	_Atomic uint64_t records;
};
static struct control *control;

/*
 * A record of the trace; its name (a path relative to the root, or a peer) and its data follow.
 *
 *	W  a write begins                    offset of the file; no data = zeros
 *	X  the write has failed              number of its W
 *	B  a sync of a file or directory begins
 *	E  it has succeeded                  number of its B
 *	F  it has failed                     number of its B
 *	T  the file is cut or grown          its new length
 *	C  a file or directory was created   1 = a directory
 *	R  it was renamed                    data: the new name
 *	U  it was removed
 *	M  a file was mapped for writing
 *	S  bytes begin to go to a client     its port, if it has one
 *	L  some of them did not go           number of its S; data: the bytes
 */
struct record {
	uint32_t kind, name_length;
	uint64_t data_length, number, time_ns, value;
	uint64_t length; /* of what is written; the data's, unless it is zeros */
};

static struct {
	const char *root;
	size_t root_length;
	int trace;
	pthread_mutex_t lock;
	uint64_t late; /* the begin of a sync whose end is still to be noted; 0 = none */
} fault = { .trace = -1, .lock = PTHREAD_MUTEX_INITIALIZER };

#define AT_POSITION ((off64_t)-1) /* in the place of an offset: where the descriptor stands */

/* The function that would have been called without us. */
#define REAL(name) ((__typeof__(&name))(uintptr_t)real(#name))

static void *real(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (function == NULL)
		abort();
	return function;
}

__attribute__((constructor)) static void fault_start(void)
{
	const char *switches = getenv("ECHOD_FAULT_CONTROL"), *trace = getenv("ECHOD_FAULT_TRACE");
	const char *root = getenv("ECHOD_FAULT_ROOT");
	int fd;

	if (switches == NULL || trace == NULL || root == NULL)
		return;
	fault.root = root;
	fault.root_length = strlen(root);
	fault.trace = REAL(open)(trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if ((fd = REAL(open)(switches, O_RDWR | O_CLOEXEC)) == -1)
		abort();
	control = REAL(mmap)(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (control == MAP_FAILED || fault.trace == -1)
		abort();
}

int prctl(int option, ...)
{
	unsigned long values[4];
	va_list args;

	va_start(args, option);
	for (int i = 0; i < 4; i++)
		values[i] = va_arg(args, unsigned long);
	va_end(args);
	if (option == PR_SET_DUMPABLE && getenv("ECHOD_FAULT_DUMPABLE") != NULL)
		values[0] = 1; /* for good: a change of user has reset it */
	return (int)syscall(SYS_prctl, option, values[0], values[1], values[2], values[3]);
}

/* --- what a descriptor is --- */

/* Whether it is a file or directory below the root, or that itself; its name relative to the root. */
static bool is_ours(int fd, char name[PATH_MAX])
{
	char link[64], path[PATH_MAX];
	ssize_t length;

	if (control == NULL)
		return false;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if ((length = readlink(link, path, sizeof(path) - 1)) == -1)
		return false;
	path[length] = '\0';
	if (strncmp(path, fault.root, fault.root_length) != 0 ||
	    (path[fault.root_length] != '/' && path[fault.root_length] != '\0'))
		return false;
	snprintf(name, PATH_MAX, "%s", path + fault.root_length + (path[fault.root_length] == '/'));
	return true;
}

/* The same of a path, whether or not it is there: of its directory, and then its last part. */
static bool is_path_ours(int at, const char *path, char name[PATH_MAX])
{
	const char *slash = strrchr(path, '/'), *last = slash == NULL ? path : slash + 1;
	char directory[PATH_MAX];
	int fd, saved = errno;
	bool ours;

	if (control == NULL)
		return false;
	snprintf(directory, sizeof(directory), "%.*s",
	    slash == NULL ? 1 : (int)(slash - path) + (slash == path), slash == NULL ? "." : path);
	fd = REAL(openat)(at, directory, O_PATH | O_CLOEXEC);
	ours = fd != -1 && is_ours(fd, directory);
	if (fd != -1)
		close(fd);
	else if (strncmp(path, fault.root, fault.root_length) == 0) { /* the directory is gone */
		snprintf(name, PATH_MAX, "%s", path + fault.root_length);
		errno = saved;
		return true;
	}
	if (ours && snprintf(name, PATH_MAX, "%s%s%s", directory, *directory == '\0' ? "" : "/",
			last) >= PATH_MAX)
		abort();
	errno = saved;
	return ours;
}

int socket(int domain, int type, int protocol)
{
	if (domain == AF_INET6 && getenv("ECHOD_FAULT_NO_IPV6") != NULL) {
		errno = EAFNOSUPPORT;
		return -1;
	}
	return REAL(socket)(domain, type, protocol);
}

/* Whether it is a stream to a client; the client's port, or the name of its Unix socket. */
static bool is_client(int fd, uint64_t *port, char name[PATH_MAX])
{
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer), type_length = sizeof(int);
	int type;

	if (control == NULL || !control->trace ||
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_length) == -1 || type != SOCK_STREAM ||
	    getpeername(fd, (struct sockaddr *)&peer, &length) == -1)
		return false;
	*port = 0;
	name[0] = '\0';
	if (peer.ss_family == AF_UNIX)
		snprintf(name, PATH_MAX, "%.*s", (int)(length - sizeof(sa_family_t)),
		    ((struct sockaddr_un *)&peer)->sun_path);
	else
		*port = ntohs(((struct sockaddr_in *)&peer)->sin_port); /* IPv6 has it there, too */
	return true;
}

/* --- the trace --- */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static bool is_zeros(const struct iovec *parts, int count)
{
	for (int i = 0; i < count; i++) {
		const char *bytes = parts[i].iov_base;
		size_t length = parts[i].iov_len;

		if (length > 0 && (bytes[0] != 0 || memcmp(bytes, bytes + 1, length - 1) != 0))
			return false;
	}
	return true;
}

/*
 * Writes a record, at once and in one piece; its number. The trace is in the order of the numbers. The caller has the
 * lock.
 */
static uint64_t note_locked(
    uint32_t kind, uint64_t value, const char *name, const struct iovec *parts, int count)
{
	struct record record = {
		.kind = kind, .name_length = (uint32_t)strlen(name), .value = value
	};
	struct iovec all[IOV_MAX];
	int saved = errno;

	if (!control->trace)
		return 0;
	all[0] = (struct iovec){ &record, sizeof(record) };
	all[1] = (struct iovec){ (void *)(uintptr_t)name, record.name_length };
	for (int i = 0; i < count; i++) {
		all[2 + i] = parts[i];
		record.length += parts[i].iov_len;
	}
	if (kind == 'W' && is_zeros(parts, count))
		count = 0;
	else
		record.data_length = record.length;
	record.number = ++control->records;
	record.time_ns = now_ns();
	if (REAL(writev)(fault.trace, all, 2 + count) == -1)
		abort();
	errno = saved;
	return record.number;
}

static uint64_t note_parts(
    uint32_t kind, uint64_t value, const char *name, const struct iovec *parts, int count)
{
	uint64_t number;

	pthread_mutex_lock(&fault.lock);
	number = note_locked(kind, value, name, parts, count);
	pthread_mutex_unlock(&fault.lock);
	return number;
}

static uint64_t note(uint32_t kind, uint64_t value, const char *name)
{
	return note_parts(kind, value, name, NULL, 0);
}

/* The end of a sync: noted now, or by the next one if early ends are asked for. */
static void note_end(uint64_t begin)
{
	pthread_mutex_lock(&fault.lock);
	if (fault.late != 0)
		note_locked('E', fault.late, "", NULL, 0);
	fault.late = control->early ? begin : 0;
	if (!control->early)
		note_locked('E', begin, "", NULL, 0);
	pthread_mutex_unlock(&fault.lock);
}

/* --- rules --- */

static void sleep_ms(uint32_t ms)
{
	struct timespec left = { ms / 1000, (ms % 1000) * 1000000 };

	while (nanosleep(&left, &left) == -1 && errno == EINTR)
		;
}

/* Counts a call and lets it wait as the rule says; the errno that it fails with, or 0. */
static int apply(struct rule *rule)
{
	int error;

	rule->waiting++;
	rule->calls++;
	if (rule->delay_ms > 0)
		sleep_ms(rule->delay_ms);
	if (rule->skip > 0 && (rule->hold || rule->error != 0)) {
		rule->skip--;
		rule->waiting--;
		return 0;
	}
	while (rule->hold)
		sleep_ms(1);
	rule->waiting--;
	if ((error = (int)rule->error) == 0)
		return 0;
	if (rule->limit > 0 && --rule->limit == 0)
		rule->error = 0;
	return error;
}

/* The errno of the first rule by which the call fails, and what is done nevertheless; or 0. */
static int enter(enum call call, const char *name, enum done *done)
{
	int error = 0;

	*done = DONE_ALL;
	for (int i = 0; i < FILES && error == 0; i++) {
		struct files *files = &control->files[i];

		if (files->pattern[0] == '\0' || fnmatch(files->pattern, name, 0) != 0)
			continue;
		if ((error = apply(&files->rules[call])) == 0)
			continue;
		*done = (enum done)files->rules[call].done;
		if (*done == DONE_HALF) /* the rest has no room either */
			files->rules[call].done = DONE_NOTHING;
	}
	return error;
}

static int fail(int error)
{
	errno = error;
	return -1;
}

/* --- syncs --- */

static int sync_file(int fd, int (*sync)(int))
{
	char name[PATH_MAX];
	enum done done;
	uint64_t begin;
	int error;

	if (!is_ours(fd, name))
		return sync(fd);
	begin = note('B', 0, name);
	error = enter(CALL_SYNC, name, &done);
	if (done == DONE_ALL && sync(fd) == -1 && error == 0)
		error = errno;
	if (error == 0)
		note_end(begin);
	else
		note('F', begin, name);
	return error == 0 ? 0 : fail(error);
}

int fdatasync(int fd)
{
	return sync_file(fd, REAL(fdatasync));
}

int fsync(int fd)
{
	return sync_file(fd, REAL(fsync));
}

/* What the trace does not know of, nobody may rely on. */
int syncfs(int fd)
{
	char name[PATH_MAX];

	if (is_ours(fd, name))
		abort();
	return REAL(syncfs)(fd);
}

/* --- reads --- */

static ssize_t read_file(int fd, const char *name, void *data, size_t length, off64_t offset)
{
	enum done done;
	int error = enter(CALL_READ, name, &done);

	if (error != 0 && done != DONE_HALF)
		return fail(error);
	if (error != 0)
		length = (length + 1) / 2;
	return offset == AT_POSITION ? REAL(read)(fd, data, length)
				     : REAL(pread64)(fd, data, length, offset);
}

ssize_t read(int fd, void *data, size_t length)
{
	char name[PATH_MAX];

	if (is_ours(fd, name))
		return read_file(fd, name, data, length, AT_POSITION);
	return REAL(read)(fd, data, length);
}

ssize_t pread(int fd, void *data, size_t length, off_t offset)
{
	return pread64(fd, data, length, offset);
}

ssize_t pread64(int fd, void *data, size_t length, off64_t offset)
{
	char name[PATH_MAX];

	if (is_ours(fd, name))
		return read_file(fd, name, data, length, offset);
	return REAL(pread64)(fd, data, length, offset);
}

ssize_t preadv64(int fd, const struct iovec *parts, int count, off64_t offset)
{
	char name[PATH_MAX];
	enum done done;
	int error;

	if (is_ours(fd, name) && (error = enter(CALL_READ, name, &done)) != 0)
		return fail(error);
	return REAL(preadv64)(fd, parts, count, offset);
}

ssize_t preadv(int fd, const struct iovec *parts, int count, off_t offset)
{
	return preadv64(fd, parts, count, offset);
}

/* What the compiler makes of the calls above, when it knows the size of the buffer. */
ssize_t __read_chk(int fd, void *data, size_t length, size_t size);
ssize_t __pread_chk(int fd, void *data, size_t length, off_t offset, size_t size);
ssize_t __pread64_chk(int fd, void *data, size_t length, off64_t offset, size_t size);

ssize_t __read_chk(int fd, void *data, size_t length, size_t size)
{
	return length > size ? (abort(), -1) : read(fd, data, length);
}

ssize_t __pread_chk(int fd, void *data, size_t length, off_t offset, size_t size)
{
	return length > size ? (abort(), -1) : pread64(fd, data, length, offset);
}

ssize_t __pread64_chk(int fd, void *data, size_t length, off64_t offset, size_t size)
{
	return length > size ? (abort(), -1) : pread64(fd, data, length, offset);
}

/* --- writes --- */

static ssize_t do_write(int fd, const struct iovec *parts, int count, off64_t offset)
{
	if (offset == AT_POSITION)
		return REAL(writev)(fd, parts, count);
	return REAL(pwritev64)(fd, parts, count, offset);
}

static ssize_t write_file(
    int fd, const char *name, const struct iovec *parts, int count, off64_t offset)
{
	struct iovec half = { parts[0].iov_base, parts[0].iov_len / 2 };
	uint64_t begin;
	enum done done;
	int error = enter(CALL_WRITE, name, &done);

	if (error != 0 && done == DONE_HALF) { /* as a disk does that has no more room */
		parts = &half;
		count = 1;
	}
	begin =
	    note_parts('W', (uint64_t)(offset == AT_POSITION ? lseek64(fd, 0, SEEK_CUR) : offset),
		name, parts, count);
	if (error == 0 || done == DONE_HALF)
		return do_write(fd, parts, count, offset);
	if (done == DONE_ALL)
		do_write(fd, parts, count, offset);
	else
		note('X', begin, "");
	return fail(error);
}

/* Bytes for a client: what was not taken is noted behind, as it will be tried again. */
static void note_unsent(uint64_t begin, const void *data, size_t length, ssize_t sent)
{
	size_t gone = sent == -1 ? 0 : (size_t)sent;
	struct iovec rest = { (char *)(uintptr_t)data + gone, length - gone };

	if (rest.iov_len > 0)
		note_parts('L', begin, "", &rest, 1);
}

static ssize_t write_client(
    int fd, const char *name, uint64_t port, const struct iovec *parts, int count)
{
	uint64_t begin = note_parts('S', port, name, parts, count);
	ssize_t sent = REAL(writev)(fd, parts, count), left = sent;

	for (int i = 0; i < count; i++) {
		ssize_t taken = left < (ssize_t)parts[i].iov_len ? left : (ssize_t)parts[i].iov_len;

		note_unsent(begin, parts[i].iov_base, parts[i].iov_len, taken);
		left -= taken == -1 ? 0 : taken;
	}
	return sent;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	char name[PATH_MAX];
	uint64_t port;

	if (is_ours(fd, name))
		return write_file(fd, name, parts, count, AT_POSITION);
	if (is_client(fd, &port, name))
		return write_client(fd, name, port, parts, count);
	return REAL(writev)(fd, parts, count);
}

ssize_t write(int fd, const void *data, size_t length)
{
	struct iovec part = { (void *)(uintptr_t)data, length };
	char name[PATH_MAX];

	if (is_ours(fd, name))
		return write_file(fd, name, &part, 1, AT_POSITION);
	return REAL(write)(fd, data, length);
}

static ssize_t write_at(int fd, const struct iovec *parts, int count, off64_t offset)
{
	char name[PATH_MAX];

	if (is_ours(fd, name))
		return write_file(fd, name, parts, count, offset);
	return REAL(pwritev64)(fd, parts, count, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
	return write_at(fd, parts, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
	return write_at(fd, parts, count, offset);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
	return write_at(fd, &(struct iovec){ (void *)(uintptr_t)data, length }, 1, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
	return write_at(fd, &(struct iovec){ (void *)(uintptr_t)data, length }, 1, offset);
}

ssize_t send(int fd, const void *data, size_t length, int flags)
{
	struct iovec part = { (void *)(uintptr_t)data, length };
	char name[PATH_MAX];
	uint64_t port, begin;
	ssize_t sent;

	if (!is_client(fd, &port, name))
		return REAL(send)(fd, data, length, flags);
	begin = note_parts('S', port, name, &part, 1);
	sent = REAL(send)(fd, data, length, flags);
	note_unsent(begin, data, length, sent);
	return sent;
}

/* --- files --- */

/* Truncates or preallocates; nobody else's records come between it and its own. */
static int resize(int fd, off64_t length)
{
	char name[PATH_MAX];
	enum done done;
	int error, result;

	if (!is_ours(fd, name))
		return REAL(ftruncate64)(fd, length);
	error = enter(CALL_TRUNCATE, name, &done);
	if (done != DONE_ALL)
		return fail(error);
	note('T', (uint64_t)length, name);
	result = REAL(ftruncate64)(fd, length);
	return error == 0 ? result : fail(error);
}

int ftruncate(int fd, off_t length)
{
	return resize(fd, length);
}

int ftruncate64(int fd, off64_t length)
{
	return resize(fd, length);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length)
{
	char name[PATH_MAX];
	enum done done;
	struct stat64 st;
	int error;

	if (!is_ours(fd, name))
		return REAL(fallocate64)(fd, mode, offset, length);
	if ((mode & ~FALLOC_FL_KEEP_SIZE) != 0)
		abort(); /* what it changes has no record */
	if ((error = enter(CALL_WRITE, name, &done)) != 0)
		return fail(error);
	if (mode == 0 && REAL(fstat64)(fd, &st) == 0 && st.st_size < offset + length)
		note('T', (uint64_t)(offset + length), name);
	return REAL(fallocate64)(fd, mode, offset, length);
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
	return fallocate64(fd, mode, offset, length);
}

int posix_fallocate64(int fd, off64_t offset, off64_t length)
{
	return fallocate64(fd, 0, offset, length) == 0 ? 0 : errno;
}

int posix_fallocate(int fd, off_t offset, off_t length)
{
	return fallocate64(fd, 0, offset, length) == 0 ? 0 : errno;
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset)
{
	char name[PATH_MAX];

	if (fd != -1 && (protection & PROT_WRITE) != 0 && (flags & MAP_SHARED) != 0 &&
	    is_ours(fd, name))
		note('M', length, name);
	return REAL(mmap64)(address, length, protection, flags, fd, offset);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	return mmap64(address, length, protection, flags, fd, offset);
}

static int open_file(int at, const char *path, int flags, mode_t mode)
{
	char name[PATH_MAX];
	enum done done;
	bool creates;
	int fd, error;

	if (!is_path_ours(at, path, name))
		return REAL(openat64)(at, path, flags, mode);
	if ((error = enter(CALL_OPEN, name, &done)) != 0)
		return fail(error);
	pthread_mutex_lock(&fault.lock);
	creates = (flags & O_CREAT) != 0 && faccessat(at, path, F_OK, 0) == -1;
	fd = REAL(openat64)(at, path, flags, mode);
	if (fd != -1 && creates)
		note_locked('C', 0, name, NULL, 0);
	else if (fd != -1 && (flags & O_TRUNC) != 0)
		note_locked('T', 0, name, NULL, 0);
	pthread_mutex_unlock(&fault.lock);
	return fd;
}

/* The last argument is there if a file may be created; without one, its value does not matter. */
#define OPEN(at, path, flags)                                     \
	va_list more;                                             \
	mode_t mode;                                              \
                                                                  \
	va_start(more, flags);                                    \
	mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0; \
	va_end(more);                                             \
	return open_file(at, path, flags, mode)

int open(const char *path, int flags, ...)
{
	OPEN(AT_FDCWD, path, flags);
}

int open64(const char *path, int flags, ...)
{
	OPEN(AT_FDCWD, path, flags);
}

int openat(int at, const char *path, int flags, ...)
{
	OPEN(at, path, flags);
}

int openat64(int at, const char *path, int flags, ...)
{
	OPEN(at, path, flags);
}

/* Those of the compiler, for flags that it does not know. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int at, const char *path, int flags);
int __openat64_2(int at, const char *path, int flags);

int __open_2(const char *path, int flags)
{
	return open_file(AT_FDCWD, path, flags, 0);
}

int __open64_2(const char *path, int flags)
{
	return open_file(AT_FDCWD, path, flags, 0);
}

int __openat_2(int at, const char *path, int flags)
{
	return open_file(at, path, flags, 0);
}

int __openat64_2(int at, const char *path, int flags)
{
	return open_file(at, path, flags, 0);
}

int mkdirat(int at, const char *path, mode_t mode)
{
	char name[PATH_MAX];
	enum done done;
	int error, result;

	if (!is_path_ours(at, path, name))
		return REAL(mkdirat)(at, path, mode);
	if ((error = enter(CALL_MKDIR, name, &done)) != 0)
		return fail(error);
	pthread_mutex_lock(&fault.lock);
	if ((result = REAL(mkdirat)(at, path, mode)) == 0)
		note_locked('C', 1, name, NULL, 0);
	pthread_mutex_unlock(&fault.lock);
	return result;
}

int mkdir(const char *path, mode_t mode)
{
	return mkdirat(AT_FDCWD, path, mode);
}

int unlinkat(int at, const char *path, int flags)
{
	char name[PATH_MAX];
	enum done done;
	int error, result;

	if (!is_path_ours(at, path, name))
		return REAL(unlinkat)(at, path, flags);
	error = enter(CALL_UNLINK, name, &done);
	if (done != DONE_ALL)
		return fail(error);
	pthread_mutex_lock(&fault.lock);
	if ((result = REAL(unlinkat)(at, path, flags)) == 0)
		note_locked('U', 0, name, NULL, 0);
	pthread_mutex_unlock(&fault.lock);
	return error == 0 ? result : fail(error);
}

int unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
	return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags)
{
	char old_name[PATH_MAX], new_name[PATH_MAX];
	enum done done;
	int error, result;

	if (!is_path_ours(from_at, from, old_name) || !is_path_ours(to_at, to, new_name))
		return REAL(renameat2)(from_at, from, to_at, to, flags);
	error = enter(CALL_RENAME, old_name, &done);
	if (done != DONE_ALL)
		return fail(error);
	pthread_mutex_lock(&fault.lock);
	if ((result = REAL(renameat2)(from_at, from, to_at, to, flags)) == 0)
		note_locked('R', 0, old_name, &(struct iovec){ new_name, strlen(new_name) }, 1);
	pthread_mutex_unlock(&fault.lock);
	return error == 0 ? result : fail(error);
}

int renameat(int from_at, const char *from, int to_at, const char *to)
{
	return renameat2(from_at, from, to_at, to, 0);
}

int rename(const char *from, const char *to)
{
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}
