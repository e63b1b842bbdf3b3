/* The CPU time that a process has used, read from /proc. */
#ifndef ECHOD_BENCH_PROCESS_H
#define ECHOD_BENCH_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

/*
 * Nanoseconds on a CPU, of all living threads; to the clock tick (10 ms) where the kernel keeps no
 * scheduler statistics. -1 when there is no such process.
 */
int64_t process_cpu_ns(pid_t pid);

#endif
