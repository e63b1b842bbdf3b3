/*
 * Out of memory, at each allocation in turn, once and from there on: see session.h for what must hold.
 * A check has no time for all of them: it takes some, from another one on every time.
 * $FAULT_STEP=1 takes them all, $FAULT_FIRST is where to begin.
 */
#include <dlfcn.h>
#include <errno.h>
#include <libconfig.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../fuzz/fuzz.h"
#include "build.h"
#include "session.h"

#ifdef HAVE_OPENSSL
#include <openssl/crypto.h>
#endif

/* The allocator behind ours: a program's own functions come before those of all libraries. */
#if defined(__SANITIZE_ADDRESS__)
#define REAL(name) __interceptor_##name
#define HAS_SANITIZER true /* it allocates at the start of each thread, and cannot go on without */
#define STEP 7993          /* a session takes seconds */
#else
#define REAL(name) __libc_##name
#define HAS_SANITIZER false
#define STEP 1999
#endif

void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t count, size_t size);
void *REAL(realloc)(void *pointer, size_t size);
void *REAL(memalign)(size_t alignment, size_t size);
void REAL(free)(void *pointer);

static atomic_long allocations, live, openssl_live;
static atomic_bool lasts;
static long fails_at; /* 0 = never */
static bool goes_on_failing;
static _Thread_local bool is_daemons = !HAS_SANITIZER; /* thread; main() says that it is none */
static _Thread_local bool troubled; /* main()'s thread, while it is the daemon's */

static bool is_refused(void)
{
	long number;

	if (!lasts || (!troubled && !is_daemons))
		return false;
	number = ++allocations;
	if (fails_at == 0 || (goes_on_failing ? number < fails_at : number != fails_at))
		return false;
	errno = ENOMEM;
	return true;
}

static void *counted(void *pointer)
{
	live += pointer != NULL;
	return pointer;
}

void *malloc(size_t size)
{
	return is_refused() ? NULL : counted(REAL(malloc)(size));
}

void *calloc(size_t count, size_t size)
{
	return is_refused() ? NULL : counted(REAL(calloc)(count, size));
}

void *realloc(void *pointer, size_t size)
{
	void *moved;

	if (is_refused())
		return NULL;
	moved = REAL(realloc)(pointer, size);
	if (pointer == NULL)
		counted(moved);
	return moved;
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return is_refused() ? NULL : counted(REAL(memalign)(alignment, size));
}

int posix_memalign(void **pointer, size_t alignment, size_t size)
{
	*pointer = aligned_alloc(alignment, size);
	return *pointer == NULL ? ENOMEM : 0;
}

void free(void *pointer)
{
	live -= pointer != NULL;
	REAL(free)(pointer);
}

#ifdef HAVE_OPENSSL
/* OpenSSL's own, which are counted apart from those of all others. */
static void *openssl_malloc(size_t size, const char *file, int line)
{
	void *pointer = is_refused() ? NULL : REAL(malloc)(size);

	(void)file;
	(void)line;
	openssl_live += pointer != NULL;
	return pointer;
}

static void *openssl_realloc(void *pointer, size_t size, const char *file, int line)
{
	void *moved = is_refused() ? NULL : REAL(realloc)(pointer, size);

	(void)file;
	(void)line;
	openssl_live += pointer == NULL && moved != NULL;
	return moved;
}

static void openssl_free(void *pointer, const char *file, int line)
{
	(void)file;
	(void)line;
	openssl_live -= pointer != NULL;
	REAL(free)(pointer);
}

static void count_openssl(void)
{
	require(CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) == 1);
}
#else
static void count_openssl(void)
{
}
#endif

/*
 * libconfig does not look at what malloc gives it, which is why core/config_text.c finds out first whether
 * there is enough. Its own calls succeed here.
 */
int config_read_string(config_t *tree, const char *text)
{
	static int (*parse)(config_t * tree, const char *text);
	bool was_troubled = troubled;
	int result;

	if (parse == NULL)
		parse = (int (*)(config_t *, const char *))(uintptr_t)dlsym(
		    RTLD_NEXT, "config_read_string");
	troubled = false;
	result = parse(tree, text);
	troubled = was_troubled;
	return result;
}

void config_init(config_t *tree)
{
	static void (*init)(config_t * tree);
	bool was_troubled = troubled;

	if (init == NULL)
		init = (void (*)(config_t *))(uintptr_t)dlsym(RTLD_NEXT, "config_init");
	troubled = false;
	init(tree);
	troubled = was_troubled;
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

/* A session in which that allocation fails, or it and all behind it; whether the daemon has come up. */
static bool play_once(long number, bool on)
{
	long before = live;
	bool came_up;

	allocations = 0;
	fails_at = number;
	goes_on_failing = on;
	came_up = session_play(&trouble);
	fails_at = 0;
	/* The sanitizer has allocations of its own, and looks for what is left at the end. */
	require(live == before || HAS_SANITIZER);
	return came_up;
}

/* OpenSSL makes some things when it first needs them, such as after a failure, and keeps them: not again, however. */
static bool play(long number, bool on)
{
	long before = openssl_live;
	bool came_up = play_once(number, on);

	for (int again = 1; openssl_live != before; again++) {
		require(again < 4);
		before = openssl_live;
		came_up = play_once(number, on);
	}
	return came_up;
}

static void play_all(long total, long step, bool on)
{
	const char *first = getenv("FAULT_FIRST");
	long refused = 0, served = 0;

	for (long number = first == NULL ? 1 + time(NULL) % step : atol(first); number <= total;
	     number += step) {
		printf("# allocation %ld%s\n", number, on ? " and all behind it" : "");
		if (play(number, on))
			served++;
		else
			refused++;
	}
	printf("ok %d - of %ld allocations, each %ld. fails%s: %ld starts refused, %ld served\n",
	    on + 1, total, step, on ? " with all behind it" : " once", refused, served);
}

int main(void)
{
	const char *step = getenv("FAULT_STEP");
	long total;

	is_daemons = false;
	count_openssl();
	setvbuf(stdout, NULL, _IOLBF, 0); /* or a child that forks has what is buffered, too */
	printf("1..2\n");
	session_prepare();
	/* What the libraries keep once and for all is there from now on. */
	for (int i = 0; i < 2; i++)
		require(session_play(&trouble));
	require(play(0, false));
	total = allocations;
	play_all(total, step == NULL ? STEP : atol(step), false);
	play_all(total, step == NULL ? STEP : atol(step), true);
	session_clean_up();
	return 0;
}
