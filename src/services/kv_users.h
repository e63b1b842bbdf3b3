/* Reads the file that the key `users` of the kv service names. */
#ifndef ECHOD_SERVICES_KV_USERS_H
#define ECHOD_SERVICES_KV_USERS_H

struct strings;
struct users;

/*
 * The users of the file, for users_free(). NULL with an error added for each mistake; *code is an errno if the file could
 * not be read, else 0.
 */
struct users *kv_users_read(const char *path, struct strings *errors, int *code);

#endif
