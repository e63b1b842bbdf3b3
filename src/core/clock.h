/* Time, in one place, so that a test can see what a deadline sees. */
#ifndef ECHOD_CORE_CLOCK_H
#define ECHOD_CORE_CLOCK_H

#include <stdint.h>

/* Milliseconds on the monotonic clock. */
int64_t clock_ms(void);
/* Microseconds on the monotonic clock. */
int64_t clock_us(void);

#endif
