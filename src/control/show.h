/* JSON into a buffer, and JSON as people read it. */
#ifndef ECHOD_CONTROL_SHOW_H
#define ECHOD_CONTROL_SHOW_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct evbuffer;

/* Adds the object as one line. 0, or -1 when out of memory. */
int json_write_line(const json_t *json, struct evbuffer *out);
/* The same without the line's end. */
int json_write(const json_t *json, struct evbuffer *out);

/* A member as text that is safe on a terminal: strings escaped as in the log, numbers in digits. */
const char *json_show(const json_t *object, const char *key, char *to, size_t size);
/* A member that is a number; 0 when there is none. */
int64_t json_number(const json_t *object, const char *key);
/* A member that is a string as it is; "" when there is none. */
const char *json_string_of(const json_t *object, const char *key);

/* Adds text with everything but printable ASCII as \xHH: it stays one line, and moves no terminal. */
void show_text(const char *text, struct evbuffer *out);
/* The same between words of our own: "warning: ", the text, a line feed. */
void show_between(const char *before, const char *text, const char *after, struct evbuffer *out);
/* Adds "FILE:LINE", or "default", of an object that json_add_place() has given its place. */
void show_place(const json_t *object, struct evbuffer *out);
/* "1.2 MB", of 1024; "3 d 4 h", "12.3 s". */
const char *show_bytes(uint64_t bytes, char *to, size_t size);
const char *show_duration(int64_t ms, char *to, size_t size);

#endif
