/*
 * Which servers a TLS client trusts: those whose certificate is for the host and leads to a trusted CA, or those that
 * have a certain key. Part of a struct tls_client; owns nothing.
 */
#ifndef ECHOD_ECHOCTL_TLS_TRUST_H
#define ECHOD_ECHOCTL_TLS_TRUST_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "core/error.h"
#include "net/address.h"

#define TLS_PIN_BYTES 32 /* of SHA-256 */

struct tls_trust {
	char host[ADDRESS_HOST_MAX]; /* that the certificate must be for */
	bool is_pinned;
	unsigned char pin[TLS_PIN_BYTES];
	struct error refusal; /* why the certificate was refused; an empty text = it was not */
};

/* Trusts only this key: "sha256/BASE64" or "sha256:HEX". False = the text is no pin. */
bool tls_trust_set_pin(struct tls_trust *trust, const char *text);

/*
 * The certificate must be for the host of the address, of which a name is also named in the handshake: without the dot
 * at its end, or the zone. 0, or -1 if there is no memory.
 */
int tls_trust_set_host(struct tls_trust *trust, SSL *ssl, const struct address *address);

/* Verifies in all handshakes of that context. */
void tls_trust_start(struct tls_trust *trust, SSL_CTX *context);

#endif
