/*
 * An error: what has failed and why, as one sentence without a full stop, and the errno for code that decides by it.
 * It lives on the caller's stack and owns nothing. The function that fails sets it; a caller that knows more puts
 * that in front of it. Nothing needs to be initialised: an error is only read after a failure.
 */
#ifndef ECHOD_CORE_ERROR_H
#define ECHOD_CORE_ERROR_H

#define ERROR_TEXT_MAX 512

struct error {
	int code; /* an errno, 0 = none is the cause */
	const char
	    *key; /* the option of a service, or item of its list, that is wrong; NULL = none is */
	char text[ERROR_TEXT_MAX]; /* cut if it is longer */
};

/* Each of them returns -1, so that the function that fails can return what it returns; errno is error->code then. */

/* Without an errno: code is 0 (and errno left alone). */
int error_set(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends ": " and the errno's text: error_errno(error, "cannot open %s", path). */
int error_errno(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "out of memory", with ENOMEM. */
int error_memory(struct error *error);

/* Puts text in front of what the error says already: error_prefix(error, "storage %s: ", path). */
int error_prefix(struct error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
