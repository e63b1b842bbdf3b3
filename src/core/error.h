/*
 * An error: what has failed and why, as one sentence without a full stop, and the errno for code that decides by it.
 * It lives on the caller's stack and owns nothing. The function that fails sets it; a caller that knows more puts
 * that in front. Nothing needs to be initialised, for an error is only read after a failure.
 */
#ifndef ECHOD_CORE_ERROR_H
#define ECHOD_CORE_ERROR_H

#define ERROR_TEXT_MAX 1024

struct error {
	int code; /* an errno; 0 = no system call is the cause */
	/* The option that is wrong, or the item of its list, by its address; NULL = none, or not known. */
	const char *key;
	char text[ERROR_TEXT_MAX]; /* cut if it is longer */
};

/*
 * Each returns -1, so that a function can fail by `return error_set(...)`. Afterwards errno is error->code, if that
 * is not 0; otherwise it is what it was. All but error_prefix() reset the key.
 */

/* Without a code. */
int error_set(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* With a code that the text does not mention, or words better than strerror(3). */
int error_code(struct error *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Appends ": " and the text of errno, which is the code: error_errno(error, "cannot open %s", path). */
int error_errno(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* An option is wrong, or the item of a list: see key. */
int error_key(struct error *error, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* "out of memory", with ENOMEM. */
int error_memory(struct error *error);

/* Puts text in front of what the error says already: error_prefix(error, "storage %s: ", path). */
int error_prefix(struct error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
