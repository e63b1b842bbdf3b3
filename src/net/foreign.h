/*
 * Recognises clients of other protocols at a port of lines: they connect by mistake, or because a web page makes a
 * browser send commands to its own machine. The caller answers with one line and closes, whatever follows.
 */
#ifndef ECHOD_NET_FOREIGN_H
#define ECHOD_NET_FOREIGN_H

#include <stdbool.h>
#include <stddef.h>

enum foreign { FOREIGN_NOT, FOREIGN_HTTP, FOREIGN_TLS, FOREIGN_RESP, FOREIGN_PROTOCOLS };

/* An initializer of the answers by protocol: FOREIGN_TEXTS("ERROR: not for ", "\n"). */
#define FOREIGN_TEXTS(before, after)                                                      \
	{                                                                                 \
		[FOREIGN_HTTP] = before "HTTP" after, [FOREIGN_TLS] = before "TLS" after, \
		[FOREIGN_RESP] = before "RESP" after                                      \
	}

#define FOREIGN_GREETING 2 /* bytes that identify TLS, which may send no LF */
/* Bytes at the end of a line that identify HTTP: " HTTP/1.1", plus telnet's CR NUL CR. */
#define FOREIGN_END 12

/* The protocol of a stream that begins with these FOREIGN_GREETING bytes. */
enum foreign foreign_by_greeting(const char *bytes);

/* The protocol of a line, without its CR and LF; `first` = it is the first of its stream. */
enum foreign foreign_by_line(const char *line, size_t length, bool first);

/* The same for a line that is too long to be kept: by its beginning and, for MAY_BE_HTTP, by its end. */
enum foreign_begin { FOREIGN_BEGINS_OTHER, FOREIGN_MAY_BE_HTTP, FOREIGN_BEGINS_HTTP };
enum foreign_begin foreign_http_begins(const char *bytes, size_t length, bool first);
bool foreign_http_ends(const char *bytes, size_t length, bool first);

#endif
