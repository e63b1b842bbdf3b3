/* The three descriptors that every program has from its start. */
#ifndef ECHOD_CORE_STANDARD_H
#define ECHOD_CORE_STANDARD_H

/* Opens /dev/null, or an O_PATH descriptor of / if there is none. Close-on-exec; -1 with errno. */
int standard_open_nowhere(void);

/* Opens those that are closed: what is opened next would become one of them. */
void standard_occupy(void);

/* Whether all that was printed has got where it was to go; otherwise -1 with errno. */
int standard_flush(void);

#endif
