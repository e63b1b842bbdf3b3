/*
 * All certificates belong to one SSL_CTX, and a connection that asks for another name than the first certificate's gets its
 * certificates replaced. So what is asked of clients is the same whatever name they send. (Servers with a context per
 * name have let clients around client certificates by a ticket of another name: CVE-2025-23419, CVE-2025-23048.)
 *
 * The certificates are the SSL_CTX's ex_data, so that a connection that is in its handshake while the context is
 * replaced still finds them.
 */
#include "net/tls_server.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"

/* Mozilla's intermediate configuration 5.7, without DHE, which is slow and which no client of today needs. */
#define CIPHERS_1_2                                                  \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:" \
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" \
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define CIPHERS_1_3 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS "X25519:P-256:P-384"

#define SECURITY_LEVEL 2       /* 112 bits: RSA of 2048 bits, no SHA-1 */
#define CLIENT_CHAIN_MAX 5     /* certificates between a client's and the authority */
#define CLIENT_BYTES_MAX 32768 /* of all of them; a stranger sends them */

/* --- the certificates --- */

void tls_certificates_clear(struct tls_certificates *certificates)
{
	for (size_t i = 0; i < certificates->count; i++)
		tls_certificate_clear(&certificates->items[i]);
	free(certificates->items);
	*certificates = (struct tls_certificates){ 0 };
}

size_t tls_certificates_find(const struct tls_certificates *certificates, const char *name)
{
	for (int is_exact = 1; name != NULL && is_exact >= 0; is_exact--)
		for (size_t i = 0; i < certificates->count; i++)
			if (tls_certificate_matches(&certificates->items[i], name, is_exact))
				return i;
	return 0;
}

static bool has_same_names(const struct tls_certificate *a, const struct tls_certificate *b)
{
	for (size_t i = 0; i < a->names.count; i++)
		if (strings_find(&b->names, a->names.items[i]) == NULL)
			return false;
	return a->names.count == b->names.count;
}

/*
 * Gives a connection the certificate, and those of the same names with keys of other kinds, of which the client's
 * algorithms choose one. 1, or 0 with the error in OpenSSL's queue, as OpenSSL has it.
 */
static int use_certificates(SSL *ssl, const struct tls_certificates *all, size_t chosen)
{
	const struct tls_certificate *first = &all->items[chosen];

	SSL_certs_clear(ssl);
	for (size_t i = all->count;
	     i-- > 0;) { /* the first of a kind is used last, and replaces the others */
		const struct tls_certificate *one = &all->items[i];

		if ((i == chosen || has_same_names(one, first)) &&
		    SSL_use_cert_and_key(ssl, one->leaf, one->key, one->chain, 1) != 1)
			return 0;
	}
	/* The last one set is the current one, which an older client may get whatever it supports. */
	return SSL_use_cert_and_key(ssl, first->leaf, first->key, first->chain, 1);
}

/* The index of the ex_data, -1 when out of memory. */
static int ex_index(void);

const struct tls_certificates *tls_server_certificates(const SSL_CTX *server)
{
	return SSL_CTX_get_ex_data(server, ex_index());
}

static int choose_cb(SSL *ssl, void *arg)
{
	const struct tls_certificates *all = arg;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	return use_certificates(ssl, all, tls_certificates_find(all, name));
}

static void free_certificates_cb(
    void *parent, void *certificates, CRYPTO_EX_DATA *data, int index, long number, void *pointer)
{
	(void)parent;
	(void)data;
	(void)index;
	(void)number;
	(void)pointer;
	if (certificates == NULL)
		return;
	tls_certificates_clear(certificates);
	free(certificates);
}

static int ex_index(void)
{
	static int index = -1;

	if (index == -1)
		index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_certificates_cb);
	return index;
}

/* --- making it --- */

/* OpenSSL's reason for a refusal, in words. */
static const char *refusal(unsigned long error)
{
	const char *reason = ERR_reason_error_string(error);

	switch (ERR_GET_REASON(error)) {
	case SSL_R_EE_KEY_TOO_SMALL:
		return "its key is too short (expected RSA of 2048 bits or more, or EC on P-256)";
	case SSL_R_CA_KEY_TOO_SMALL:
		return "the key of one of its issuers is too short";
	case SSL_R_CA_MD_TOO_WEAK:
		return "it is signed by an algorithm that is too weak, such as SHA-1";
	default:
		return reason == NULL ? "OpenSSL gives no reason" : reason;
	}
}

/* Lets OpenSSL judge each certificate, as a handshake would. 0, or -1 with an error. */
static int try_certificates(
    SSL_CTX *server, const struct tls_certificates *all, struct error *error)
{
	SSL *ssl = SSL_new(server);
	int result = ssl == NULL ? error_memory(error) : 0;

	for (size_t i = 0; result == 0 && i < all->count; i++) {
		const struct tls_certificate *one = &all->items[i];

		SSL_certs_clear(ssl);
		if (SSL_use_cert_and_key(ssl, one->leaf, one->key, one->chain, 1) == 1)
			continue;
		result = error_key(error, "certificate", "the certificate in %s cannot be used: %s",
		    one->file, refusal(ERR_peek_last_error()));
	}
	SSL_free(ssl);
	return result;
}

static bool is_crl_missing(int error)
{
	return error == X509_V_ERR_UNABLE_TO_GET_CRL ||
	       error == X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER ||
	       error == X509_V_ERR_CRL_HAS_EXPIRED || error == X509_V_ERR_CRL_NOT_YET_VALID ||
	       error == X509_V_ERR_CRL_SIGNATURE_FAILURE ||
	       error == X509_V_ERR_KEYUSAGE_NO_CRL_SIGN;
}

/* Whether a CRL revokes it. If its issuer is not known, no signature proves that, but the CRL is in our file. */
static bool is_revoked(X509_STORE_CTX *verification, X509 *certificate)
{
	STACK_OF(X509_CRL) *crls =
	    X509_STORE_CTX_get1_crls(verification, X509_get_issuer_name(certificate));
	bool result = false;
	X509_REVOKED *entry;

	for (int i = 0; i < sk_X509_CRL_num(crls); i++)
		result |=
		    X509_CRL_get0_by_cert(sk_X509_CRL_value(crls, i), &entry, certificate) == 1;
	sk_X509_CRL_pop_free(crls, X509_CRL_free);
	return result;
}

/*
 * OpenSSL requires a CRL for each certificate of the client's chain. A certificate in client_ca is trusted itself and needs
 * none: the CRL would be its issuer's, which echod may not know. 1 = the verification continues.
 */
static int verify_cb(int is_fine, X509_STORE_CTX *verification)
{
	if (is_fine || !is_crl_missing(X509_STORE_CTX_get_error(verification)) ||
	    X509_STORE_CTX_get_error_depth(verification) <
		X509_STORE_CTX_get_num_untrusted(verification))
		return is_fine;
	if (is_revoked(verification, X509_STORE_CTX_get_current_cert(verification))) {
		X509_STORE_CTX_set_error(verification, X509_V_ERR_CERT_REVOKED);
		return 0;
	}
	ERR_clear_error(); /* of the CRL's signature: SSL_get_error() would take it for one of the connection */
	X509_STORE_CTX_set_error(verification, X509_V_OK);
	return 1;
}

/* Asks clients for certificates of the authorities, which any certificate in their file is. 0, or -1 when out of memory. */
static int require_certificates(SSL_CTX *server, const struct tls_server_settings *settings)
{
	X509_STORE *store = SSL_CTX_get_cert_store(server);
	STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();

	for (int i = 0; names != NULL && i < sk_X509_num(settings->authorities); i++) {
		X509 *authority = sk_X509_value(settings->authorities, i);
		X509_NAME *name = X509_NAME_dup(X509_get_subject_name(authority));

		if (name == NULL || sk_X509_NAME_push(names, name) == 0 ||
		    X509_STORE_add_cert(store, authority) != 1) {
			sk_X509_NAME_pop_free(names, X509_NAME_free);
			return -1;
		}
	}
	if (names == NULL)
		return -1;
	SSL_CTX_set_client_CA_list(server, names);
	for (int i = 0; i < sk_X509_CRL_num(settings->crls); i++)
		if (X509_STORE_add_crl(store, sk_X509_CRL_value(settings->crls, i)) != 1)
			return -1;
	X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
	if (settings->crls != NULL)
		X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
	SSL_CTX_set_verify(server, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, verify_cb);
	SSL_CTX_set_verify_depth(server, CLIENT_CHAIN_MAX);
	SSL_CTX_set_max_cert_list(server, CLIENT_BYTES_MAX);
	/* A ticket would let a client in again without the checks, when its certificate has expired or is revoked. */
	SSL_CTX_set_options(server, SSL_OP_NO_TICKET);
	return SSL_CTX_set_num_tickets(server, 0) == 1 ? 0 : -1;
}

/* 0, or -1. */
static int set_protocol(SSL_CTX *server, const struct tls_server_settings *settings)
{
	static const unsigned char id[] = "echod";

	SSL_CTX_set_security_level(server, SECURITY_LEVEL);
	SSL_CTX_set_session_cache_mode(server, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_options(server, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	return SSL_CTX_set_min_proto_version(server, settings->min_version) == 1 &&
		       SSL_CTX_set_max_proto_version(server, 0) == 1 &&
		       SSL_CTX_set_cipher_list(server, CIPHERS_1_2) == 1 &&
		       SSL_CTX_set_ciphersuites(server, CIPHERS_1_3) == 1 &&
		       SSL_CTX_set1_groups_list(server, GROUPS) == 1 &&
		       SSL_CTX_set_session_id_context(server, id, sizeof(id) - 1) == 1 &&
		       SSL_CTX_set_max_early_data(server, 0) == 1 &&
		       SSL_CTX_set_num_tickets(server, 1) == 1
		   ? 0
		   : -1;
}

SSL_CTX *tls_server_new(struct tls_certificates *certificates,
    const struct tls_server_settings *settings, struct error *error)
{
	struct tls_certificates *own = malloc(sizeof(*own));
	SSL_CTX *server = SSL_CTX_new(TLS_server_method());

	ERR_clear_error();
	if (own == NULL || server == NULL || ex_index() == -1 ||
	    SSL_CTX_set_ex_data(server, ex_index(), own) != 1) {
		free(own);
		tls_certificates_clear(certificates);
		error_memory(error);
		goto fail;
	}
	*own = *certificates;
	*certificates = (struct tls_certificates){ 0 };
	if (set_protocol(server, settings) == -1) {
		error_set(error, "OpenSSL refuses the settings of TLS: %s",
		    refusal(ERR_peek_last_error()));
		goto fail;
	}
	if (try_certificates(server, own, error) == -1)
		goto fail;
	if (settings->authorities != NULL && require_certificates(server, settings) == -1) {
		error_key(error, "client_ca", "OpenSSL refuses the authorities: %s",
		    refusal(ERR_peek_last_error()));
		goto fail;
	}
	if (own->count > 1)
		SSL_CTX_set_cert_cb(server, choose_cb, own);
	else if (SSL_CTX_use_cert_and_key(
		     server, own->items->leaf, own->items->key, own->items->chain, 1) != 1) {
		error_memory(error);
		goto fail;
	}
	ERR_clear_error();
	return server;
fail:
	SSL_CTX_free(server);
	ERR_clear_error();
	return NULL;
}
