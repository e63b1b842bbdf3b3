/*
 * Preloaded into a daemon under test (LD_PRELOAD): it delays, holds and fails what the daemon does to the
 * files below a directory, and keeps a trace of it. The test turns the switches while the daemon runs, in a
 * file that both have mapped; faults.py is its side of the same structures.
 *
 * ECHOD_FAULT_ROOT is the directory, ECHOD_FAULT_CONTROL the file of the switches, ECHOD_FAULT_TRACE the
 * trace. A call that no rule concerns goes on as it is. With ECHOD_FAULT_NO_IPV6 the kernel has no IPv6. With ECHOD_FAULT_DUMPABLE the daemon stays dumpable, for
 * tests that look into it and are not run by root.
 */
#undef _FORTIFY_SOURCE   /* its inline open() and ours cannot both be */
#undef _FILE_OFFSET_BITS /* nor open() and open64(), of which each is ours */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
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

/* The kinds of calls that can be told from each other; a write is to a descriptor with O_DSYNC or not. */
enum call {
	CALL_SYNC,
	CALL_WRITE,
	CALL_DSYNC,
	CALL_TRUNCATE,
	CALL_MAP,
	CALL_OPEN,
	CALL_READ,
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
	_Atomic uint32_t skip;  /* as many calls succeed first */
	_Atomic uint32_t limit; /* as many calls fail, then no more; 0 = all */
};

struct control {
	struct rule rules[CALLS];
	_Atomic uint32_t trace;       /* whether to write it */
	_Atomic uint32_t early;       /* the end of a sync is noted by the next one */
	_Atomic uint32_t map_divisor; /* LMDB's maps are so much smaller; 0 = 1 */
	_Atomic uint64_t records;
};
static struct control *control;

/*
 * A record of the trace; its name (a path relative to the root, or a peer) and its data follow.
 *
 *	W  a write begins                       offset of the file
 *	D  the write has succeeded, and is      number of its W
 *	   safe, as the descriptor has O_DSYNC
 *	X  the write has failed                 number of its W
 *	B  a sync of a file or directory begins
 *	E  it has succeeded                     number of its B
 *	F  it has failed                        number of its B
 *	T  the file is cut or grown             its new length
 *	C  a file or directory was created      1 = a directory
 *	R  it was renamed; data: the new name
 *	M  a file was mapped for writing
 *	S  bytes begin to go to a client        its port, if it has one
 *	U  so many of them did not go           number of its S; data: the bytes
 */
struct record {
	uint32_t kind, name_length;
	uint64_t data_length, number, time_ns, value;
};

static struct {
	const char *root;
	size_t root_length;
	int trace;
	pthread_mutex_t lock;
	struct record late; /* an end that is still to be noted; kind 0 = none */
} fault = { .trace = -1, .lock = PTHREAD_MUTEX_INITIALIZER };

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
		return 0;
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

static bool is_path_ours(const char *path, char name[PATH_MAX])
{
	int fd = control == NULL ? -1 : REAL(open)(path, O_PATH | O_CLOEXEC);
	bool ours = fd != -1 && is_ours(fd, name);

	if (fd != -1)
		close(fd);
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

/* Writes a record, at once and in one piece; its number. The trace is in the order of the numbers. */
static uint64_t note_parts(
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
		record.data_length += parts[i].iov_len;
	}
	pthread_mutex_lock(&fault.lock);
	record.number = ++control->records;
	record.time_ns = now_ns();
	if (REAL(writev)(fault.trace, all, 2 + count) == -1)
		abort();
	pthread_mutex_unlock(&fault.lock);
	errno = saved;
	return record.number;
}

static uint64_t note(uint32_t kind, uint64_t value, const char *name)
{
	return note_parts(kind, value, name, NULL, 0);
}

/* The end of a sync, or of a write that was one: noted now, or by the next one if early ends are asked for. */
static void note_end(uint32_t kind, uint64_t begin)
{
	if (fault.late.kind != 0)
		note(fault.late.kind, fault.late.value, "");
	fault.late.kind = 0;
	if (control->early)
		fault.late = (struct record){ .kind = kind, .value = begin };
	else
		note(kind, begin, "");
}

/* --- rules --- */

static void sleep_ms(uint32_t ms)
{
	struct timespec left = { ms / 1000, (ms % 1000) * 1000000 };

	while (nanosleep(&left, &left) == -1 && errno == EINTR)
		;
}

/* Counts a call and lets it wait as its rule says; the errno that it fails with, or 0. */
static int enter(enum call call)
{
	struct rule *rule = &control->rules[call];
	int error;

	rule->waiting++;
	rule->calls++;
	if (rule->delay_ms > 0)
		sleep_ms(rule->delay_ms);
	while (rule->hold)
		sleep_ms(1);
	rule->waiting--;
	if ((error = (int)rule->error) == 0)
		return 0;
	if (rule->skip > 0) {
		rule->skip--;
		return 0;
	}
	if (rule->limit > 0 && --rule->limit == 0)
		rule->error = 0;
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
	uint64_t begin;
	int error;

	if (!is_ours(fd, name))
		return sync(fd);
	begin = note('B', 0, name);
	error = enter(CALL_SYNC);
	if ((error == 0 || control->rules[CALL_SYNC].done == DONE_ALL) && sync(fd) == -1)
		error = errno;
	if (error == 0)
		note_end('E', begin);
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

/* --- writes --- */

#define AT_POSITION ((off64_t)-1) /* in the place of an offset: where the descriptor stands */

static ssize_t do_write(int fd, const struct iovec *parts, int count, off64_t offset)
{
	if (offset == AT_POSITION)
		return REAL(writev)(fd, parts, count);
	return REAL(pwritev64)(fd, parts, count, offset);
}

/* The first half of the first part, as a disk does that has no more room. */
static ssize_t do_half(int fd, const struct iovec *parts, off64_t offset)
{
	struct iovec half = { parts[0].iov_base, parts[0].iov_len / 2 };

	return do_write(fd, &half, 1, offset);
}

static ssize_t write_file(
    int fd, const char *name, const struct iovec *parts, int count, off64_t offset)
{
	enum call call = (fcntl(fd, F_GETFL) & O_DSYNC) != 0 ? CALL_DSYNC : CALL_WRITE;
	off64_t at = offset == AT_POSITION ? lseek64(fd, 0, SEEK_CUR) : offset;
	uint64_t begin = note_parts('W', (uint64_t)at, name, parts, count);
	int error = enter(call);
	ssize_t written;

	if (error != 0 && control->rules[call].done == DONE_NOTHING) {
		note('X', begin, "");
		return fail(error);
	}
	if (error != 0 && control->rules[call].done == DONE_HALF)
		return do_half(fd, parts, offset);
	written = do_write(fd, parts, count, offset);
	if (written != -1 && error == 0 && call == CALL_DSYNC)
		note_end('D', begin);
	return error == 0 ? written : fail(error);
}

/* Bytes for a client: what was not taken is noted behind, as it will be tried again. */
static void note_unsent(uint64_t begin, const void *data, size_t length, ssize_t sent)
{
	size_t gone = sent == -1 ? 0 : (size_t)sent;
	struct iovec rest = { (char *)(uintptr_t)data + gone, length - gone };

	if (rest.iov_len > 0)
		note_parts('U', begin, "", &rest, 1);
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

/* --- reads --- */

/* 0, or -1 with errno: the read fails. */
static int enter_read(int fd)
{
	char name[PATH_MAX];
	int error;

	if (!is_ours(fd, name))
		return 0;
	error = enter(CALL_READ);
	return error == 0 ? 0 : fail(error);
}

ssize_t read(int fd, void *data, size_t length)
{
	return enter_read(fd) == -1 ? -1 : REAL(read)(fd, data, length);
}

ssize_t pread(int fd, void *data, size_t length, off_t offset)
{
	return enter_read(fd) == -1 ? -1 : REAL(pread)(fd, data, length, offset);
}

ssize_t pread64(int fd, void *data, size_t length, off64_t offset)
{
	return enter_read(fd) == -1 ? -1 : REAL(pread64)(fd, data, length, offset);
}

/* What the compiler makes of them where it knows the size of the buffer. */
ssize_t __read_chk(int fd, void *data, size_t length, size_t size);
ssize_t __pread_chk(int fd, void *data, size_t length, off_t offset, size_t size);
ssize_t __pread64_chk(int fd, void *data, size_t length, off64_t offset, size_t size);

ssize_t __read_chk(int fd, void *data, size_t length, size_t size)
{
	return enter_read(fd) == -1 ? -1 : REAL(__read_chk)(fd, data, length, size);
}

ssize_t __pread_chk(int fd, void *data, size_t length, off_t offset, size_t size)
{
	return enter_read(fd) == -1 ? -1 : REAL(__pread_chk)(fd, data, length, offset, size);
}

ssize_t __pread64_chk(int fd, void *data, size_t length, off64_t offset, size_t size)
{
	return enter_read(fd) == -1 ? -1 : REAL(__pread64_chk)(fd, data, length, offset, size);
}

/* --- files --- */

static int resize(int fd, off64_t length)
{
	char name[PATH_MAX];
	int error;

	if (!is_ours(fd, name))
		return REAL(ftruncate64)(fd, length);
	if ((error = enter(CALL_TRUNCATE)) != 0)
		return fail(error);
	note('T', (uint64_t)length, name);
	return REAL(ftruncate64)(fd, length);
}

int ftruncate(int fd, off_t length)
{
	return resize(fd, length);
}

int ftruncate64(int fd, off64_t length)
{
	return resize(fd, length);
}

static void *map(void *address, size_t length, int protection, int flags, int fd, off64_t offset)
{
	char name[PATH_MAX];
	int error;

	if (fd == -1 || !is_ours(fd, name))
		return REAL(mmap64)(address, length, protection, flags, fd, offset);
	if ((error = enter(CALL_MAP)) != 0) {
		errno = error;
		return MAP_FAILED;
	}
	if ((protection & PROT_WRITE) != 0 && (flags & MAP_SHARED) != 0)
		note('M', length, name);
	return REAL(mmap64)(address, length, protection, flags, fd, offset);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
	return map(address, length, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset)
{
	return map(address, length, protection, flags, fd, offset);
}

static int open_file(const char *path, int flags, mode_t mode)
{
	bool creates = (flags & O_CREAT) != 0 && control != NULL && access(path, F_OK) == -1;
	int fd = REAL(open64)(path, flags, mode), error;
	char name[PATH_MAX];

	if (fd == -1 || !is_ours(fd, name))
		return fd;
	if ((error = enter(CALL_OPEN)) != 0) {
		close(fd);
		return fail(error);
	}
	if (creates)
		note('C', 0, name);
	return fd;
}

/* The third argument is there if a file may be created; without one, its value does not matter. */
#define OPEN(path, flags)                                         \
	va_list more;                                             \
	mode_t mode;                                              \
                                                                  \
	va_start(more, flags);                                    \
	mode = (flags & O_CREAT) != 0 ? va_arg(more, mode_t) : 0; \
	va_end(more);                                             \
	return open_file(path, flags, mode)

int open(const char *path, int flags, ...)
{
	OPEN(path, flags);
}

int open64(const char *path, int flags, ...)
{
	OPEN(path, flags);
}

/* LMDB's, to see it fill its map without that many bytes. */
int mdb_env_set_mapsize(void *env, size_t size);

int mdb_env_set_mapsize(void *env, size_t size)
{
	size_t divisor = control == NULL || control->map_divisor == 0 ? 1 : control->map_divisor;

	return REAL(mdb_env_set_mapsize)(env, size / divisor);
}

int mkdir(const char *path, mode_t mode)
{
	int result = REAL(mkdir)(path, mode);
	char name[PATH_MAX];

	if (result == 0 && is_path_ours(path, name))
		note('C', 1, name);
	return result;
}

int rename(const char *from, const char *to)
{
	char old_name[PATH_MAX], new_name[PATH_MAX];
	bool was_ours = is_path_ours(from, old_name);
	int result = REAL(rename)(from, to);

	if (result == 0 && was_ours && is_path_ours(to, new_name))
		note_parts('R', 0, old_name, &(struct iovec){ new_name, strlen(new_name) }, 1);
	return result;
}
