/* The memory that the process has at the moment. */
#ifndef ECHOD_CORE_RESIDENT_H
#define ECHOD_CORE_RESIDENT_H

#include <stddef.h>

/* Bytes; 0 when the kernel does not tell. */
size_t resident_memory(void);

#endif
