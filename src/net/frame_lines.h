/*
 * Lines: found where they lie, at most max_line bytes long. Telnet's commands are removed from them, and a client of
 * another protocol is recognised by its first bytes.
 */
#ifndef ECHOD_NET_FRAME_LINES_H
#define ECHOD_NET_FRAME_LINES_H

#include "net/framing.h"

extern const struct framing framing_lines;

#endif
