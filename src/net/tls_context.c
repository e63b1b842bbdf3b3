/* Contexts of OpenSSL. */
#include "net/tls_context.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>

#include "core/config.h"
#include "net/instance.h"
#include "net/settings.h"

const bool built_with_tls = true;

struct tls_context {
	SSL_CTX *ssl;
};

struct tls_context *tls_context_new(
    const struct config *config, const struct instance_config *instance, struct strings *errors)
{
	const struct instance_settings *settings = instance->parts[PART_INSTANCE].fields;
	const struct strings *certificate = settings->tls_certificate.count > 0
						? &settings->tls_certificate
						: &config->tls->certificate;
	const struct strings *key =
	    settings->tls_certificate.count > 0 ? &settings->tls_key : &config->tls->key;
	struct tls_context *context = calloc(1, sizeof(*context));

	context->ssl = SSL_CTX_new(TLS_server_method());
	SSL_CTX_set_min_proto_version(context->ssl, TLS1_2_VERSION);
	SSL_CTX_set_session_cache_mode(context->ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_session_id_context(context->ssl, (const unsigned char *)"echod", 5);
	SSL_CTX_set_num_tickets(context->ssl, 1);
	SSL_CTX_set_options(context->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					      SSL_OP_CIPHER_SERVER_PREFERENCE);
	if (SSL_CTX_use_certificate_chain_file(context->ssl, certificate->items[0]) != 1 ||
	    SSL_CTX_use_PrivateKey_file(context->ssl, key->items[0], SSL_FILETYPE_PEM) != 1) {
		errors_add(errors, &instance->origin, "services.%s: TLS: %s", instance->name,
		    ERR_reason_error_string(ERR_peek_last_error()));
		tls_context_free(context);
		return NULL;
	}
	return context;
}

void tls_context_free(struct tls_context *context)
{
	if (context == NULL)
		return;
	SSL_CTX_free(context->ssl);
	free(context);
}

SSL *tls_context_accept(struct tls_context *context)
{
	SSL *ssl = SSL_new(context->ssl);

	if (ssl != NULL)
		SSL_set_accept_state(ssl);
	return ssl;
}
