/* The three descriptors that every program has from its start. */
#ifndef ECHOD_CORE_STANDARD_H
#define ECHOD_CORE_STANDARD_H

/* A descriptor that leads nowhere, close-on-exec: /dev/null, or what is as good where that is missing. */
int standard_open_nowhere(void);

/* Opens those that are closed: what is opened next would become one of them. */
void standard_occupy(void);

/* Whether all that was printed has got where it was to go; otherwise -1 with errno. */
int standard_flush(void);

#endif
