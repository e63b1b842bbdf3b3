/* In place of channel_tls.c and tls_context.c where OpenSSL is not there: each context is refused, so no channel has one. */
#include "core/config.h"
#include "net/channel.h"
#include "net/tls_context.h"

const bool built_with_tls = false;

struct tls_context *tls_context_new(
    const struct config *config, const struct instance_config *instance, struct strings *errors)
{
	(void)config;
	errors_add(errors, &instance->origin,
	    "services.%s: this echod was built without TLS: write tcp:// or redis://, or build it "
	    "with OpenSSL (configure --with-tls)",
	    instance->name);
	return NULL;
}

void tls_context_free(struct tls_context *context)
{
	(void)context;
}

int channel_start_tls(struct channel *channel, struct tls_context *context)
{
	(void)channel;
	(void)context;
	return -1;
}
