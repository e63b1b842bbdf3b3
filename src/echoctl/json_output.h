/* What -j prints: one JSON object per line. */
#ifndef ECHOD_ECHOCTL_JSON_OUTPUT_H
#define ECHOD_ECHOCTL_JSON_OUTPUT_H

#include <jansson.h>
#include <stddef.h>

/*
 * Adds foreign bytes: "bytes", how many, and then either "text", where they are UTF-8, or "hex".
 * Returns the object; or NULL, with the object freed, when that is NULL or memory is short.
 */
json_t *json_with_bytes(json_t *object, const char *bytes, size_t length);

/*
 * Prints the object as a line and frees it. 0, or -1 after a message when it is NULL or memory is short. A write
 * error is reported at the end of the program, as for all output.
 */
int json_print(json_t *object);

#endif
