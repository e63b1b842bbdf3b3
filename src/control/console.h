/*
 * The console: what is behind the control service. Reads a request's line, finds its command, and gives
 * the answer in pieces, as text or as JSON.
 */
#ifndef ECHOD_CONTROL_CONSOLE_H
#define ECHOD_CONTROL_CONSOLE_H

struct host;

/* A host for server_new(). */
void console_init(struct host *host);

#endif
