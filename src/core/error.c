/* The text is always terminated, and errno is what it was, or the error's. */
#include "core/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *error, const char *format, ...)
{
	int saved = errno;
	va_list args;

	error->code = 0;
	error->key = NULL;
	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	errno = saved;
	return -1;
}

int error_errno(struct error *error, const char *format, ...)
{
	size_t length;
	va_list args;

	error->code = errno;
	error->key = NULL;
	va_start(args, format);
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	length = strlen(error->text);
	snprintf(error->text + length, sizeof(error->text) - length, ": %s", strerror(error->code));
	errno = error->code;
	return -1;
}

int error_memory(struct error *error)
{
	error_set(error, "out of memory");
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
	vsnprintf(error->text, sizeof(error->text), format, args);
	va_end(args);
	length = strlen(error->text);
	snprintf(error->text + length, sizeof(error->text) - length, "%s", rest);
	errno = saved;
	return -1;
}
