/*
 * A TLS context: what the listeners of an instance present to their clients, and ask of them. A reload makes a new one,
 * never changes one that is in use; a client keeps the one that it began with.
 */
#ifndef ECHOD_NET_TLS_CONTEXT_H
#define ECHOD_NET_TLS_CONTEXT_H

#include <stdbool.h>

struct config;
struct instance_config;
struct ssl_st;
struct strings;
struct tls_context;

/* Whether this echod has TLS. */
extern const bool built_with_tls;

/* Reads the files that the instance's settings name. NULL with errors added. */
struct tls_context *tls_context_new(
    const struct config *config, const struct instance_config *instance, struct strings *errors);
/* Its clients go on; NULL is fine. */
void tls_context_free(struct tls_context *context);

/* OpenSSL's part of a new client, which the caller frees with SSL_free(). NULL when out of memory. */
struct ssl_st *tls_context_accept(struct tls_context *context);

#endif
