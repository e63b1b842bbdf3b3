/*
 * Lines: found where they lie, at most max_line bytes long. Telnet's commands are removed from them, and a client of
 * another protocol is recognised by its first bytes.
 */
#ifndef ECHOD_NET_FRAME_LINES_H
#define ECHOD_NET_FRAME_LINES_H

#include <stdbool.h>
#include <stdint.h>

#include "net/framing.h"

/* The most that max_line may be: no line is longer. Bytes. */
#define LINE_MAX_LENGTH (512 << 10)

/* Keys of services that talk in lines. */
struct line_settings {
	int64_t max_line;     /* bytes, without the line's end */
	int64_t line_timeout; /* ms, 0 = never */
	bool telnet;          /* on TCP */
};

extern const struct framing framing_lines;

#endif
