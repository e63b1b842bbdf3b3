/*
 * Telnet (RFC 854) as far as a line service meets it: commands are removed from the bytes, every option is refused, and
 * the part of a line before a command is kept until the line ends.
 */
#ifndef ECHOD_NET_TELNET_H
#define ECHOD_NET_TELNET_H

#include <stdbool.h>
#include <stddef.h>

struct evbuffer;

#define TELNET_IAC 0xff

struct replies;
struct telnet;

/* NULL when out of memory. */
struct telnet *telnet_new(void);
void telnet_free(struct telnet *telnet);

/* Whether the next byte belongs to a command that has begun. */
bool telnet_in_command(const struct telnet *telnet);

/*
 * Consumes the rest of one command from the front of the bytes (the first of which is an IAC, or continues a
 * command that was cut) and adds the answer. Returns how many bytes it consumed; 0 = out of memory.
 */
size_t telnet_command(
    struct telnet *telnet, const unsigned char *bytes, size_t length, struct replies *replies);

/* Whether a command since the last call asked to drop the half-typed line (IP, BRK, SUSP). */
bool telnet_erased(struct telnet *telnet);

/* The beginning of the current line, before the last command. */
struct evbuffer *telnet_typed(struct telnet *telnet);

#endif
