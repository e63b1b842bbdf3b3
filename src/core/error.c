/* A text that does not fit is cut, and always terminated. Its arguments may be the error's own text. */
#include "core/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int error_write(struct error *error, int code, const char *key, const char *format,
    va_list args) __attribute__((format(printf, 4, 0)));

static int error_write(
    struct error *error, int code, const char *key, const char *format, va_list args)
{
	char text[ERROR_TEXT_MAX];
	int saved = errno;

	vsnprintf(text, sizeof(text), format, args);
	memcpy(error->text, text, strlen(text) + 1);
	error->code = code;
	error->key = key;
	errno = code != 0 ? code : saved;
	return -1;
}

int error_set(struct error *error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error_write(error, 0, NULL, format, args);
	va_end(args);
	return -1;
}

int error_code(struct error *error, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error_write(error, code, NULL, format, args);
	va_end(args);
	return -1;
}

int error_errno(struct error *error, const char *format, ...)
{
	size_t length;
	va_list args;

	va_start(args, format);
	error_write(error, errno, NULL, format, args);
	va_end(args);
	length = strlen(error->text);
	snprintf(error->text + length, sizeof(error->text) - length, ": %s", strerror(error->code));
	errno = error->code;
	return -1;
}

int error_key(struct error *error, const char *key, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error_write(error, 0, key, format, args);
	va_end(args);
	return -1;
}

int error_memory(struct error *error)
{
	strcpy(error->text, "out of memory");
	error->key = NULL;
	errno = error->code = ENOMEM;
	return -1;
}

int error_prefix(struct error *error, const char *format, ...)
{
	char rest[ERROR_TEXT_MAX];
	int saved = errno;
	size_t length;
	va_list args;

	memcpy(rest, error->text, sizeof(rest));
	va_start(args, format);
	error_write(error, error->code, error->key, format, args);
	va_end(args);
	length = strlen(error->text);
	snprintf(error->text + length, sizeof(error->text) - length, "%s", rest);
	errno = saved;
	return -1;
}
