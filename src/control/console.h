/*
 * The console: what is behind the control service. Reads a request's line, finds its command, and gives
 * the answer in pieces, as text or as JSON.
 */
#ifndef ECHOD_CONTROL_CONSOLE_H
#define ECHOD_CONTROL_CONSOLE_H

struct control_host;
struct server;

/* Answers control services for the server, which outlives it. NULL when out of memory. */
struct control_host *console_new(struct server *server);
void console_free(struct control_host *host);

#endif
