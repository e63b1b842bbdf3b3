/* A client over TLS in a session: it says one thing and goodbye. */
#ifndef ECHOD_FAULTS_TLS_CLIENT_H
#define ECHOD_FAULTS_TLS_CLIENT_H

#include <stddef.h>
#include <sys/types.h>

struct tls_client;

/* Of a socket that does not block, which stays the caller's. Begins the handshake. */
struct tls_client *tls_client_new(int fd, const char *said);
void tls_client_free(struct tls_client *client);

/* As recv(2): goes on with the handshake, says what there is to say, and reads. */
ssize_t tls_client_receive(struct tls_client *client, char *to, size_t size);

#endif
