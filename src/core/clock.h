/* Time, in one place, so that a test can see what a deadline sees. */
#ifndef ECHOD_CORE_CLOCK_H
#define ECHOD_CORE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Milliseconds on the monotonic clock. */
int64_t clock_ms(void);
/* Microseconds on the monotonic clock. */
int64_t clock_us(void);

/* Milliseconds since 1970; they may go back. */
int64_t clock_wall_ms(void);
/* Seconds since 1970, by the same clock as fractions of them: that of time(2) is late by up to a tick. */
time_t clock_seconds(void);

#endif
