/*
 * The loop owns all checks but the one that the thread works on. Whoever is last frees the passwords: that is the thread
 * when a check outlives the loop, for a check cannot be interrupted.
 */
#include "net/passwords.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <unistd.h>

#include "core/secret.h"
#include "core/thread.h"
#include "net/access.h"
#include "net/loop.h"
#include "net/peer.h"
#include "net/task.h"

struct password_check {
	TAILQ_ENTRY(password_check)
	entry;                  /* in `waiting` or `finished`; the current one is in none */
	struct in6_addr source; /* zeroes = it is not counted */
	void (*done)(void *arg, bool matches); /* NULL = it was cancelled */
	void *arg;
	bool matches;
	char password[SECRET_PASSWORD_MAX + 1];
	char hash[];
};

TAILQ_HEAD(password_checks, password_check);

struct passwords {
	struct monitor monitor; /* of the next five */
	struct password_checks waiting, finished;
	struct password_check *current; /* in the thread; NULL = none */
	size_t waiting_count;
	bool ends, is_abandoned; /* the thread ends; and frees all */
	int finished_fd;         /* an eventfd */
	pthread_t thread;
	bool has_thread;
	struct task *task;
	unsigned char key[32];
	unsigned char known[PASSWORDS_KNOWN][SECRET_DIGEST]; /* a ring */
	size_t known_count, known_next;
};

static void check_free(struct password_check *check)
{
	explicit_bzero(check->password, sizeof(check->password));
	free(check);
}

static void passwords_destroy(struct passwords *passwords)
{
	monitor_destroy(&passwords->monitor);
	if (passwords->finished_fd != -1)
		close(passwords->finished_fd);
	explicit_bzero(passwords, sizeof(*passwords));
	free(passwords);
}

/* --- the thread --- */

static void *passwords_run(void *arg)
{
	struct passwords *passwords = arg;
	bool is_abandoned;

	monitor_lock(&passwords->monitor);
	while (!passwords->ends) {
		struct password_check *check = TAILQ_FIRST(&passwords->waiting);

		if (check == NULL) {
			monitor_wait(&passwords->monitor, INT64_MAX);
			continue;
		}
		TAILQ_REMOVE(&passwords->waiting, check, entry);
		passwords->waiting_count--;
		passwords->current = check;
		monitor_unlock(&passwords->monitor);
		/* What crypt(3) cannot take is empty, and is checked only for the time that it takes. */
		check->matches =
		    secret_hash_matches(check->hash, check->password) && *check->password != '\0';
		monitor_lock(&passwords->monitor);
		passwords->current = NULL;
		TAILQ_INSERT_TAIL(&passwords->finished, check, entry);
		eventfd_write(passwords->finished_fd, 1);
	}
	is_abandoned = passwords->is_abandoned;
	monitor_unlock(&passwords->monitor);
	if (is_abandoned) {
		check_free(TAILQ_FIRST(&passwords->finished));
		passwords_destroy(passwords);
	}
	return NULL;
}

/* --- what is known --- */

static void known_digest(const struct passwords *passwords, const char *hash, struct slice password,
    unsigned char digest[SECRET_DIGEST])
{
	size_t key = sizeof(passwords->key), length = strlen(hash) + 1;
	char bytes[sizeof(passwords->key) + SECRET_HASH_MAX + SECRET_PASSWORD_MAX];

	memcpy(bytes, passwords->key, key);
	memcpy(bytes + key, hash, length);
	memcpy(bytes + key + length, password.bytes, password.length);
	secret_digest(bytes, key + length + password.length, digest);
	explicit_bzero(bytes, sizeof(bytes));
}

/* Whether crypt(3) could take it at all. */
static bool is_possible(const char *hash, struct slice password)
{
	return strlen(hash) < SECRET_HASH_MAX && password.length > 0 &&
	       password.length <= SECRET_PASSWORD_MAX &&
	       memchr(password.bytes, '\0', password.length) == NULL;
}

bool passwords_know(const struct passwords *passwords, const char *hash, struct slice password)
{
	unsigned char digest[SECRET_DIGEST];

	if (!is_possible(hash, password))
		return false;
	known_digest(passwords, hash, password, digest);
	for (size_t i = 0; i < passwords->known_count; i++)
		if (secret_digest_equal(passwords->known[i], digest))
			return true;
	return false;
}

static void remember(struct passwords *passwords, const struct password_check *check)
{
	struct slice password = { check->password, strlen(check->password) };

	if (passwords_know(passwords, check->hash, password))
		return;
	known_digest(passwords, check->hash, password, passwords->known[passwords->known_next]);
	passwords->known_next = (passwords->known_next + 1) % PASSWORDS_KNOWN;
	if (passwords->known_count < PASSWORDS_KNOWN)
		passwords->known_count++;
}

/* --- checks --- */

static void finish_checks(void *arg)
{
	struct passwords *passwords = arg;
	struct password_check *check;
	eventfd_t ignored;

	eventfd_read(passwords->finished_fd, &ignored);
	for (;;) {
		monitor_lock(&passwords->monitor);
		check = TAILQ_FIRST(&passwords->finished);
		if (check != NULL)
			TAILQ_REMOVE(&passwords->finished, check, entry);
		monitor_unlock(&passwords->monitor);
		if (check == NULL)
			return;
		if (check->matches)
			remember(passwords, check);
		if (check->done != NULL)
			check->done(check->arg, check->matches);
		check_free(check);
	}
}

struct passwords *passwords_new(struct loop *loop)
{
	struct passwords *passwords = calloc(1, sizeof(*passwords));

	if (passwords == NULL)
		return NULL;
	TAILQ_INIT(&passwords->waiting);
	TAILQ_INIT(&passwords->finished);
	monitor_init(&passwords->monitor);
	passwords->finished_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (passwords->finished_fd != -1 &&
	    getrandom(passwords->key, sizeof(passwords->key), 0) == sizeof(passwords->key))
		passwords->task = task_new(loop, passwords->finished_fd, finish_checks, passwords);
	if (passwords->task != NULL)
		return passwords;
	passwords_destroy(passwords);
	return NULL;
}

void passwords_free(struct passwords *passwords)
{
	struct password_check *check;
	bool has_current;

	if (passwords == NULL)
		return;
	task_free(passwords->task);
	monitor_lock(&passwords->monitor);
	TAILQ_CONCAT(&passwords->finished, &passwords->waiting, entry);
	while ((check = TAILQ_FIRST(&passwords->finished)) != NULL) {
		TAILQ_REMOVE(&passwords->finished, check, entry);
		check_free(check);
	}
	passwords->ends = true;
	has_current = passwords->is_abandoned = passwords->current != NULL;
	monitor_signal(&passwords->monitor);
	if (has_current)
		pthread_detach(passwords->thread);
	monitor_unlock(&passwords->monitor);
	if (has_current)
		return;
	if (passwords->has_thread)
		pthread_join(passwords->thread, NULL);
	passwords_destroy(passwords);
}

/* Of an IPv4 address or an IPv6 /56; zeroes = of a Unix socket. */
static struct in6_addr source_of(const struct peer *peer)
{
	static const struct prefixes prefixes = { .ipv4 = 32, .ipv6 = 56 };
	struct in6_addr source = peer->key;

	if (peer_is_ip(peer))
		prefixes_mask(&prefixes, &source);
	return source;
}

static bool is_same_source(const struct password_check *check, const struct password_check *other)
{
	return other != NULL && memcmp(&check->source, &other->source, sizeof(check->source)) == 0;
}

/* Puts the check into the queue. 0, or -1 with errno. */
static int enqueue(struct passwords *passwords, struct password_check *check)
{
	bool is_local = IN6_IS_ADDR_UNSPECIFIED(&check->source), has_room;
	size_t same, most = is_local ? PASSWORDS_LOCAL : PASSWORDS_PER_SOURCE;
	const struct password_check *other;

	if (!passwords->has_thread &&
	    thread_start(&passwords->thread, passwords_run, passwords) == -1)
		return -1;
	passwords->has_thread = true;
	monitor_lock(&passwords->monitor);
	same = is_same_source(check, passwords->current);
	TAILQ_FOREACH (other, &passwords->waiting, entry)
		same += is_same_source(check, other);
	has_room = passwords->waiting_count < PASSWORDS_WAITING && same < most;
	if (has_room) {
		TAILQ_INSERT_TAIL(&passwords->waiting, check, entry);
		passwords->waiting_count++;
		monitor_signal(&passwords->monitor);
	}
	monitor_unlock(&passwords->monitor);
	errno = EBUSY;
	return has_room ? 0 : -1;
}

struct password_check *passwords_check(struct passwords *passwords, const char *hash,
    struct slice password, const struct peer *peer, void (*done)(void *arg, bool matches),
    void *arg)
{
	size_t size = strlen(hash) + 1;
	struct password_check *check = malloc(sizeof(*check) + size);

	if (check == NULL)
		return NULL;
	*check = (struct password_check){ .source = source_of(peer), .done = done, .arg = arg };
	memcpy(check->hash, hash, size);
	if (is_possible(hash, password))
		memcpy(check->password, password.bytes, password.length);
	if (enqueue(passwords, check) == 0)
		return check;
	check_free(check);
	return NULL;
}

void passwords_cancel(struct passwords *passwords, struct password_check *check)
{
	bool is_waiting = false;
	struct password_check *other;

	monitor_lock(&passwords->monitor);
	check->done = NULL;
	TAILQ_FOREACH (other, &passwords->waiting, entry)
		is_waiting |= other == check;
	if (is_waiting) {
		TAILQ_REMOVE(&passwords->waiting, check, entry);
		passwords->waiting_count--;
	}
	monitor_unlock(&passwords->monitor);
	if (is_waiting)
		check_free(check);
}
