/* A pipe whose lines go to the log: the standard error of a program. */
#ifndef ECHOD_NET_LOGPIPE_H
#define ECHOD_NET_LOGPIPE_H

struct event_base;
struct log_class;
struct logpipe;

/*
 * Logs each line, escaped, under the label and within the class; both must outlive it.
 * The end to write to (it blocks, and is closed on exec) goes to *writer and is the caller's. NULL
 * with errno.
 */
struct logpipe *logpipe_new(
    struct event_base *base, struct log_class *class, const char *label, int *writer);
/* Logs what is still in it, too. NULL is fine. */
void logpipe_free(struct logpipe *pipe);

#endif
