/* TLS of a client, without any check of the certificate: the server is our own. */
#ifndef ECHOD_BENCH_SECURE_H
#define ECHOD_BENCH_SECURE_H

#include <stddef.h>
#include <sys/types.h>

struct ssl_st;

/* Does the handshake on a blocking socket. NULL with errno. */
struct ssl_st *secure_connect(int fd);
void secure_free(struct ssl_st *ssl);

/* As recv(2) and send(2), for a non-blocking socket. */
ssize_t secure_receive(struct ssl_st *ssl, char *to, size_t size);
ssize_t secure_send(struct ssl_st *ssl, const char *bytes, size_t length);

#endif
