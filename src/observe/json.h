/* JSON of what the daemon knows: any text, times, addresses, places in the configuration. */
#ifndef ECHOD_OBSERVE_JSON_H
#define ECHOD_OBSERVE_JSON_H

#include <jansson.h>
#include <time.h>

struct endpoint;
struct option_origin;
struct peer;
struct strings;

/* A string; bytes that are not UTF-8 are escaped as in the log. NULL is null. */
json_t *json_text(const char *text);
/* An array of such strings. */
json_t *json_strings(const struct strings *strings);
/* "2026-11-21T01:02:03Z"; 0 is null. */
json_t *json_time(time_t time);
/* "tcp://127.0.0.1:5566"; "127.0.0.1:51234". */
json_t *json_endpoint(const struct endpoint *endpoint);
json_t *json_peer(const struct peer *peer);
/* Gives the object "file" and "line"; the file of a built-in default is null. */
void json_add_place(json_t *object, const struct option_origin *origin);

#endif
