/*
 * Telnet (RFC 854) as far as a line service meets it: commands are taken out of the bytes, every option is
 * refused, and a line that was typed around a command is kept until its end comes.
 */
#ifndef ECHOD_NET_TELNET_H
#define ECHOD_NET_TELNET_H

#include <stdbool.h>
#include <stddef.h>

struct evbuffer;

#define TELNET_IAC 0xff

struct telnet;

/* NULL when out of memory. */
struct telnet *telnet_new(void);
void telnet_free(struct telnet *telnet);

/* Whether the next byte belongs to a command that has begun. */
bool telnet_in_command(const struct telnet *telnet);

/*
 * Takes the rest of one command off the front of the bytes (the first of which is an IAC, or continues a
 * command that was cut) and writes the answer to `out`. Returns how many bytes it took; 0 = out of memory.
 */
size_t telnet_command(
    struct telnet *telnet, const unsigned char *bytes, size_t length, struct evbuffer *out);

/* Whether a command since the last call asked to drop the half-typed line (IP, BRK, SUSP). */
bool telnet_erased(struct telnet *telnet);

/* The beginning of the current line, before the last command. */
struct evbuffer *telnet_typed(struct telnet *telnet);

#endif
