/*
 * Recognises clients that send another protocol to a service of lines: by mistake, or because a web page makes the
 * browser send commands to its own machine. The caller answers with one line and closes, whatever follows.
 */
#ifndef ECHOD_NET_SNIFF_H
#define ECHOD_NET_SNIFF_H

#include <stdbool.h>
#include <stddef.h>

enum protocol { PROTOCOL_OURS, PROTOCOL_HTTP, PROTOCOL_TLS, PROTOCOL_RESP, PROTOCOLS };

/* An initializer of the answers by protocol: SNIFFED_TEXTS("ERROR: not for ", "\n"). */
#define SNIFFED_TEXTS(before, after)                                                        \
	{                                                                                   \
		[PROTOCOL_HTTP] = before "HTTP" after, [PROTOCOL_TLS] = before "TLS" after, \
		[PROTOCOL_RESP] = before "RESP" after                                       \
	}

#define SNIFF_GREETING 2 /* bytes that identify TLS, which may send no LF */
/* Bytes at the end of a line that identify HTTP: " HTTP/1.1", plus telnet's CR NUL CR. */
#define SNIFF_END 12

/* The protocol of a stream that begins with these SNIFF_GREETING bytes. */
enum protocol sniff_greeting(const char *bytes);

/* The protocol of a line, without its LF; `first` = it is the first of its stream. */
enum protocol sniff_line(const char *line, size_t length, bool first);

/* Whether a line that is too long to be kept is HTTP: by its beginning and, for SNIFFED_MAYBE_HTTP, by its end. */
enum sniffed_http { SNIFFED_OTHER, SNIFFED_MAYBE_HTTP, SNIFFED_HTTP };
enum sniffed_http sniff_http_begin(const char *bytes, size_t length, bool first);
bool sniff_http_end(const char *bytes, size_t length, bool first);

#endif
