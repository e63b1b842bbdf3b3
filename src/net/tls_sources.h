/*
 * The files that a TLS context was made from, by which it is found out whether another one would be the same, and when it is
 * time for one. The context owns the list.
 */
#ifndef ECHOD_NET_TLS_SOURCES_H
#define ECHOD_NET_TLS_SOURCES_H

#include <stdbool.h>
#include <stddef.h>

#include "net/tls_context.h"
#include "net/tls_pem.h"

enum tls_role { TLS_CERTIFICATE_FILE, TLS_KEY_FILE, TLS_CLIENT_CA_FILE, TLS_CRL_FILE };

struct tls_source {
	enum tls_role role;
	char *path;
	unsigned char digest[TLS_DIGEST];
	struct tls_stamp seen; /* when it was read, or when it was last found to have changed */
	bool is_missing;       /* at the last poll: another file may be about to get its name */
};

/* Zeroed = empty. */
struct tls_sources {
	struct tls_source *items;
	size_t count;
};

/* Adds a file that was read into the pem. 0, or -1 when out of memory. */
int tls_sources_add(
    struct tls_sources *sources, enum tls_role role, const char *path, const struct tls_pem *pem);
void tls_sources_clear(struct tls_sources *sources);

/* The path of the only file of that role, which is there. */
const char *tls_sources_path(const struct tls_sources *sources, enum tls_role role);

/* Whether one has this content and role. */
bool tls_sources_have(const struct tls_sources *sources, const struct tls_source *source);

/* Whether both are the same files, with the same contents. */
bool tls_sources_equal(const struct tls_sources *a, const struct tls_sources *b);

/* Equal ones were read later: what is at their paths now is not a change. */
void tls_sources_refresh(struct tls_sources *sources, const struct tls_sources *later);

/* See tls_context_poll(). */
enum tls_change tls_sources_poll(struct tls_sources *sources);

#endif
