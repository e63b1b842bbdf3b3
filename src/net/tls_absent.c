/* In place of channel_tls.c and tls_context.c where OpenSSL is not there: each context is refused, so no channel has one. */
#include "core/config.h"
#include "core/strings.h"
#include "net/channel.h"
#include "net/instance.h"
#include "net/tls_context.h"

const bool built_with_tls = false;

struct tls_context *tls_context_new(const struct config *config,
    const struct instance_config *instance, struct tls_context *previous, struct strings *errors,
    struct strings *warnings)
{
	(void)config;
	(void)previous;
	(void)warnings;
	errors_add(errors, option_origin_of(&instance->parts[PART_INSTANCE], "listen"),
	    "services.%s.listen: this echod was built without TLS: write tcp:// or redis://, or "
	    "build it with OpenSSL (configure --with-tls)",
	    instance->name);
	return NULL;
}

void tls_context_free(struct tls_context *context)
{
	(void)context;
}

void tls_context_check(const struct config *config, const struct instance_config *instance,
    struct strings *errors, struct strings *warnings)
{
	tls_context_new(config, instance, NULL, errors, warnings);
}

enum tls_change tls_context_poll(struct tls_context *context)
{
	(void)context;
	return TLS_SAME;
}

bool tls_context_certificate(
    const struct tls_context *context, size_t index, struct tls_certificate_facts *facts)
{
	(void)context;
	(void)index;
	(void)facts;
	return false;
}

void tls_context_install(struct tls_context *context, struct instance *instance)
{
	(void)context;
	(void)instance;
}

void tls_context_remind(struct tls_context *context, const char *instance)
{
	(void)context;
	(void)instance;
}

void tls_context_note_failure(struct tls_context *context, struct strings *errors)
{
	(void)context;
	strings_clear(errors);
}

void tls_context_problems(const struct tls_context *context, struct strings *sentences)
{
	(void)context;
	(void)sentences;
}

const struct strings *tls_context_warnings(const struct tls_context *context)
{
	static const struct strings none;

	(void)context;
	return &none;
}

int channel_start_tls(struct channel *channel, struct tls_context *context)
{
	(void)channel;
	(void)context;
	return -1;
}

const char *channel_tls_version(const struct channel *channel)
{
	(void)channel;
	return NULL;
}

bool channel_identity(const struct channel *channel, struct tls_identity *identity)
{
	(void)channel;
	(void)identity;
	return false;
}
