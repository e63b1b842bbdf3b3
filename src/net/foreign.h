/*
 * Other protocols, which come to a port of lines by mistake, or because a web page makes a browser send
 * commands to a port of its own machine. Such a client is told so and closed, whatever follows.
 */
#ifndef ECHOD_NET_FOREIGN_H
#define ECHOD_NET_FOREIGN_H

#include <stdbool.h>
#include <stddef.h>

enum foreign { FOREIGN_NOT, FOREIGN_HTTP, FOREIGN_TLS, FOREIGN_RESP, FOREIGN_PROTOCOLS };

/* What each is told, by its number, as an initializer: FOREIGN_TEXTS("ERROR: not for ", "\n"). */
#define FOREIGN_TEXTS(before, after)                                                      \
	{                                                                                 \
		[FOREIGN_HTTP] = before "HTTP" after, [FOREIGN_TLS] = before "TLS" after, \
		[FOREIGN_RESP] = before "RESP" after                                      \
	}

#define FOREIGN_GREETING 2 /* bytes that tell TLS; it need not hold a LF */
/* Bytes that tell, at the end of a line, whether it may be HTTP's: " HTTP/1.1", and telnet's CR NUL CR. */
#define FOREIGN_END 12

/* What a stream that begins with these FOREIGN_GREETING bytes is. */
enum foreign foreign_by_greeting(const char *bytes);

/* What a line is, without its CR and LF; `first` = the stream begins with it. */
enum foreign foreign_by_line(const char *line, size_t length, bool first);

/* The same of a line that is too long to be kept, by its beginning, and in case of doubt by its end. */
enum foreign_begin { FOREIGN_BEGINS_OTHER, FOREIGN_MAY_BE_HTTP, FOREIGN_BEGINS_HTTP };
enum foreign_begin foreign_http_begins(const char *bytes, size_t length, bool first);
bool foreign_http_ends(const char *bytes, size_t length, bool first);

#endif
