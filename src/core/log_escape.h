/* Text that is fit for a log, a terminal or a message, whatever bytes it has. */
#ifndef ECHOD_CORE_LOG_ESCAPE_H
#define ECHOD_CORE_LOG_ESCAPE_H

#include <stddef.h>

/*
 * Writes foreign bytes so that they cannot forge a line or move a terminal: printable ASCII as it
 * is, the rest as \n, \t, \\, \xHH. Always ends with NUL; cut with "..." when it does not fit.
 */
char *log_escape(char *to, size_t size, const void *bytes, size_t length);

/*
 * Escapes control characters only, for our own text that contains names of files. The log does this to every line
 * that it writes.
 */
char *log_escape_controls(char *to, size_t size, const char *text);

#endif
