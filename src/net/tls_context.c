/*
 * Making a context: reads all files that the settings name, checks them and what they have to do with each other, and has
 * tls_server.c make the SSL_CTX. Remembers the files, to find out whether a new context would be the same, and when it is
 * time for one.
 */
#include "net/tls_context.h"

#include <errno.h>
#include <grp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/config.h"
#include "core/error.h"
#include "core/log.h"
#include "core/privilege.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/task.h"
#include "net/tls_authority.h"
#include "net/tls_certificate.h"
#include "net/tls_pem.h"
#include "net/tls_server.h"
#include "net/tls_settings.h"
#include "net/tls_sources.h"

#define DAY (24 * 60 * 60)

const bool built_with_tls = true;

struct tls_context {
	unsigned owners;
	SSL_CTX *server;
	int min_version;
	struct tls_sources sources;
	struct tls_pem crls;
	struct strings warnings; /* without their places */
	struct strings failures; /* of the last renewal */
	time_t reminded;         /* of its problems; 0 = there were none */
	struct loop *loop;       /* of its instance; NULL = it has none yet */
};

/* A context in the making. */
struct making {
	const struct config *config;
	const struct instance_config *instance;
	struct tls_settings_found settings;
	struct tls_context *context;
	struct tls_certificates certificates;
	struct tls_pem authorities;
	bool asks_clients; /* for certificates of the authorities */
	bool is_check;     /* see tls_context_check() */
	bool is_lent;      /* root reads as the user that it will become */
	struct strings *errors, *warnings;
};

/* --- messages --- */

/* A warning that stays one as long as the context is used. */
static void warn(struct making *making, const struct tls_setting *setting, const char *text)
{
	strings_add(&making->context->warnings, text);
	tls_setting_report(setting, making->warnings, "%s", text);
}

/* NULL = it is not known. */
static const struct group *group_of(const char *user)
{
	struct error error;
	uid_t uid;
	gid_t gid;

	return user == NULL || privilege_ids(user, &uid, &gid, &error) == -1 ? NULL : getgrgid(gid);
}

/* -1 with the error added, and what can be done about it. */
static int report_unreadable(struct making *making, const struct tls_setting *setting,
    const char *path, const struct error *error)
{
	const char *user = making->config->main->user;
	const struct group *group = group_of(user);
	char hint[512] = "";

	if (error->code == EACCES && making->is_check && user != NULL && !making->is_lent) {
		tls_setting_report(setting, making->warnings,
		    "%s; only root can test what the user %s may read", error->text, user);
		return -1;
	}
	if (error->code == ENOENT)
		snprintf(hint, sizeof(hint), " (correct the path, or create the file)");
	else if (error->code == EACCES && strncmp(path, "/etc/letsencrypt/", 17) == 0)
		snprintf(hint, sizeof(hint),
		    " (only root can read below /etc/letsencrypt; let certbot copy the files, see "
		    "TLS in echod.conf(5))");
	else if (error->code == EACCES)
		snprintf(hint, sizeof(hint),
		    " (let its group read it: chgrp %s %s; chmod 640 %s; and let it enter the "
		    "directory)",
		    group == NULL ? "GROUP" : group->gr_name, path, path);
	tls_setting_report(setting, making->errors, "%s%s%s%s", error->text,
	    making->is_lent && error->code != 0 ? ", for the user " : "",
	    making->is_lent && error->code != 0 ? user : "", hint);
	return -1;
}

/* --- reading --- */

/* Reads a file, and remembers that the context is made from it. 0, or -1 with an error added. */
static int read_source(struct making *making, const struct tls_setting *setting, enum tls_role role,
    const char *path, struct tls_pem *pem)
{
	struct error error;

	*pem = (struct tls_pem){ 0 };
	if (*path != '/') {
		tls_setting_report(
		    setting, making->errors, "expected an absolute path, got \"%s\"", path);
		return -1;
	}
	if (tls_pem_read(pem, path, &error) == -1)
		return report_unreadable(making, setting, path, &error);
	if (tls_sources_add(&making->context->sources, role, path, pem) == 0)
		return 0;
	tls_pem_clear(pem);
	making->errors->lost = true;
	return -1;
}

static int add_certificate(struct making *making, const char *file, const char *key_file)
{
	const struct tls_settings_found *settings = &making->settings;
	struct tls_certificates *all = &making->certificates;
	struct tls_certificate *one = &all->items[all->count];
	struct tls_pem pem, key = { 0 };
	struct error error;
	int result = -1;

	if (read_source(making, &settings->certificate, TLS_CERTIFICATE_FILE, file, &pem) == -1)
		return -1;
	if (key_file == NULL ||
	    read_source(making, &settings->key, TLS_KEY_FILE, key_file, &key) == 0) {
		result = tls_certificate_init(one, file, &pem, key_file == NULL ? file : key_file,
		    key_file == NULL ? &pem : &key, &error);
		if (result == -1)
			tls_setting_report(error.key != NULL && key_file != NULL
					       ? &settings->key
					       : &settings->certificate,
			    making->errors, "%s", error.text);
	}
	tls_pem_clear(&pem);
	tls_pem_clear(&key);
	if (result == -1)
		return -1;
	all->count++;
	if (tls_certificate_warn(one, &error) == -1)
		warn(making, &settings->certificate, error.text);
	return 0;
}

/* All that are given, so that one run shows all errors. 0, or -1 with errors added. */
static int read_certificates(struct making *making)
{
	const struct tls_settings_found *settings = &making->settings;
	const struct strings *files = tls_setting_list(&settings->certificate);
	const struct strings *keys = tls_setting_list(&settings->key);
	int result = 0;

	if (files->count == 0 && settings->key.instance != NULL) {
		tls_setting_report(
		    &settings->key, making->errors, "is of no use without tls_certificate");
		return -1;
	}
	if (files->count == 0)
		return errors_add(making->errors,
		    option_origin_of(&making->instance->parts[PART_INSTANCE], "listen"),
		    "tls.certificate: is missing: services.%s listens at tls:// or rediss:// "
		    "(set certificate and key in the group tls, or tls_certificate and tls_key "
		    "of the service)",
		    making->instance->name);
	if (keys->count > files->count) {
		tls_setting_report(&settings->key, making->errors,
		    "expected a key for each certificate, in the same order, got %zu for %zu",
		    keys->count, files->count);
		return -1;
	}
	making->certificates.items = calloc(files->count, sizeof(struct tls_certificate));
	if (making->certificates.items == NULL) {
		making->errors->lost = true;
		return -1;
	}
	for (size_t i = 0; i < files->count; i++)
		if (add_certificate(
			making, files->items[i], i < keys->count ? keys->items[i] : NULL) == -1)
			result = -1;
	return result;
}

/* --- client certificates --- */

/* 0, or -1 with errors added. */
static int read_crls(struct making *making, const char *path)
{
	struct tls_pem *crls = &making->context->crls;
	const STACK_OF(X509) *authorities = making->authorities.certificates;
	struct error error;

	if (read_source(making, &making->settings.crl, TLS_CRL_FILE, path, crls) == -1)
		return -1;
	if (sk_X509_CRL_num(crls->crls) == 0) {
		tls_setting_report(&making->settings.crl, making->errors,
		    "there is no CRL in %s (expected -----BEGIN X509 CRL-----)", path);
		return -1;
	}
	for (int i = 0; i < sk_X509_num(authorities); i++)
		if (tls_authority_check_crl(
			sk_X509_value(authorities, i), crls->crls, path, &error) == -1)
			warn(making, &making->settings.crl, error.text);
	return 0;
}

/* Whether any service asks its clients for certificates: the CRL of the group is for all of them. */
static bool is_client_ca_given(const struct making *making)
{
	const struct config *config = making->config;
	struct tls_settings_found found;
	const char *path;

	for (size_t i = 0; i < config->instance_count; i++) {
		tls_settings_find(&found, config, &config->instances[i]);
		path = tls_setting_string(&found.client_ca);
		if (path != NULL && *path != '\0')
			return true;
	}
	return false;
}

/* 0, or -1 with errors added. */
static int read_authorities(struct making *making)
{
	const char *path = tls_setting_string(&making->settings.client_ca);
	const char *crl = tls_setting_string(&making->settings.crl);
	struct error error;
	int count;

	making->asks_clients = path != NULL && *path != '\0';
	if (crl != NULL && *crl == '\0')
		crl = NULL;
	if (!making->asks_clients) {
		if (crl == NULL)
			return 0;
		if (making->settings.crl.instance == NULL) {
			if (!is_client_ca_given(making))
				warn(making, &making->settings.crl,
				    "has no effect: no client is asked for a certificate that "
				    "could be revoked (set client_ca)");
			return 0;
		}
		tls_setting_report(&making->settings.crl, making->errors,
		    "no client is asked for a certificate that could be revoked (set "
		    "tls_client_ca)");
		return -1;
	}
	if (read_source(making, &making->settings.client_ca, TLS_CLIENT_CA_FILE, path,
		&making->authorities) == -1)
		return -1;
	if ((count = sk_X509_num(making->authorities.certificates)) == 0) {
		tls_setting_report(&making->settings.client_ca, making->errors,
		    "there is no certificate in %s (expected -----BEGIN CERTIFICATE-----)", path);
		return -1;
	}
	for (int i = 0; i < count; i++)
		if (tls_authority_check(sk_X509_value(making->authorities.certificates, i), path,
			clock_seconds(), &error) == -1)
			warn(making, &making->settings.client_ca, error.text);
	return crl == NULL ? 0 : read_crls(making, crl);
}

/* --- what changes with time --- */

static void check_certificates(const struct tls_context *context, struct strings *sentences)
{
	const struct tls_certificates *certificates = tls_server_certificates(context->server);
	time_t now = clock_seconds();
	struct error error;

	for (size_t i = 0; i < certificates->count; i++)
		if (tls_certificate_check_time(&certificates->items[i], now, &error) == -1)
			strings_add(sentences, error.text);
}

static void check_crls(const struct tls_context *context, struct strings *sentences)
{
	const STACK_OF(X509_CRL) *crls = context->crls.crls;
	time_t now = clock_seconds();
	struct error error;

	for (int i = 0; i < sk_X509_CRL_num(crls); i++)
		if (tls_crl_check_time(sk_X509_CRL_value(crls, i), crls,
			tls_sources_path(&context->sources, TLS_CRL_FILE), now, &error) == -1)
			strings_add(sentences, error.text);
}

void tls_context_problems(const struct tls_context *context, struct strings *sentences)
{
	for (size_t i = 0; i < context->failures.count; i++)
		strings_addf(sentences,
		    "the new files of TLS are not used, the old certificate stays: %s",
		    context->failures.items[i]);
	check_certificates(context, sentences);
	check_crls(context, sentences);
}

void tls_context_note_failure(struct tls_context *context, struct strings *errors)
{
	strings_clear(&context->failures);
	context->failures = *errors;
	*errors = (struct strings){ 0 };
	context->reminded = clock_seconds();
}

/* --- making it --- */

void tls_context_free(struct tls_context *context)
{
	if (context == NULL || --context->owners > 0)
		return;
	tls_sources_clear(&context->sources);
	SSL_CTX_free(context->server);
	tls_pem_clear(&context->crls);
	strings_clear(&context->warnings);
	strings_clear(&context->failures);
	free(context);
}

/* The previous one, with what a new one of the same contents knows better; frees that one. */
static struct tls_context *keep(struct tls_context *previous, struct tls_context *context)
{
	struct strings warnings = previous->warnings;

	tls_sources_refresh(&previous->sources, &context->sources);
	previous->reminded = context->reminded;
	previous->warnings = context->warnings;
	context->warnings = warnings;
	tls_context_free(context);
	strings_clear(&previous->failures);
	previous->owners++;
	return previous;
}

/* 0, or -1 with errors added. */
static int make_server(struct making *making)
{
	struct tls_context *context = making->context;
	const struct tls_server_settings settings = {
		.min_version = context->min_version,
		.authorities = making->asks_clients ? making->authorities.certificates : NULL,
		.crls = context->crls.crls,
	};
	struct error error;

	context->server = tls_server_new(&making->certificates, &settings, &error);
	if (context->server != NULL)
		return 0;
	tls_setting_report(error.key != NULL && strcmp(error.key, "client_ca") == 0
			       ? &making->settings.client_ca
			       : &making->settings.certificate,
	    making->errors, "%s", error.text);
	return -1;
}

/* Reads all, and makes it all. 0, or -1 with errors added. */
static int make_context(struct making *making)
{
	struct error error;
	int result, other;

	making->is_lent = making->config->main->user != NULL && geteuid() == 0;
	/* Root's privileges would hide what the user cannot read later. */
	if (privilege_lend(making->config->main->user, &error) == -1)
		return errors_add(making->errors, &making->instance->origin, "services.%s: %s",
		    making->instance->name, error.text);
	result = read_certificates(making);
	other = read_authorities(making);
	privilege_return();
	return result == -1 || other == -1 ? -1 : make_server(making);
}

static void warn_of_time(const struct making *making, const struct tls_setting *setting,
    void (*check)(const struct tls_context *context, struct strings *sentences))
{
	struct strings sentences = { 0 };

	check(making->context, &sentences);
	if (sentences.count > 0)
		making->context->reminded = clock_seconds();
	for (size_t i = 0; i < sentences.count; i++)
		tls_setting_report(setting, making->warnings, "%s", sentences.items[i]);
	strings_clear(&sentences);
}

static struct tls_context *context_make(struct making *making)
{
	struct tls_context *context = making->context = calloc(1, sizeof(*context));
	int result;

	if (context == NULL) {
		making->errors->lost = true;
		return NULL;
	}
	tls_settings_find(&making->settings, making->config, making->instance);
	context->owners = 1;
	context->min_version = tls_setting_choice(&making->settings.min_version) == 0
				   ? TLS1_2_VERSION
				   : TLS1_3_VERSION;
	result = make_context(making);
	tls_certificates_clear(&making->certificates);
	tls_pem_clear(&making->authorities);
	ERR_clear_error();
	if (result == 0) {
		warn_of_time(making, &making->settings.certificate, check_certificates);
		warn_of_time(making, &making->settings.crl, check_crls);
		return context;
	}
	tls_context_free(context);
	return NULL;
}

struct tls_context *tls_context_new(const struct config *config,
    const struct instance_config *instance, struct tls_context *previous, struct strings *errors,
    struct strings *warnings)
{
	struct making making = {
		.config = config, .instance = instance, .errors = errors, .warnings = warnings
	};
	struct tls_context *context = context_make(&making);

	if (context == NULL || previous == NULL || context->min_version != previous->min_version ||
	    !tls_sources_equal(&context->sources, &previous->sources))
		return context;
	return keep(previous, context);
}

void tls_context_check(const struct config *config, const struct instance_config *instance,
    struct strings *errors, struct strings *warnings)
{
	struct making making = {
		.config = config,
		.instance = instance,
		.is_check = true,
		.errors = errors,
		.warnings = warnings,
	};

	tls_context_free(context_make(&making));
}

SSL *tls_context_accept(struct tls_context *context)
{
	SSL *ssl = SSL_new(context->server);

	if (ssl != NULL)
		SSL_set_accept_state(ssl);
	if (context->loop != NULL && context->loop->renewal != NULL)
		task_schedule(context->loop->renewal, RENEWAL_SOON_MS);
	return ssl;
}

/* --- its files --- */

enum tls_change tls_context_poll(struct tls_context *context)
{
	return tls_sources_poll(&context->sources);
}

/* --- for an administrator --- */

bool tls_context_certificate(
    const struct tls_context *context, size_t index, struct tls_certificate_facts *facts)
{
	const struct tls_certificates *certificates = tls_server_certificates(context->server);
	const struct tls_certificate *one = &certificates->items[index];

	if (index >= certificates->count)
		return false;
	*facts = (struct tls_certificate_facts){
		.file = one->file,
		.names = &one->names,
		.not_before = one->not_before,
		.not_after = one->not_after,
	};
	return true;
}

const struct strings *tls_context_warnings(const struct tls_context *context)
{
	return &context->warnings;
}

static bool has_certificate(const struct tls_context *context, const X509 *leaf)
{
	const struct tls_certificates *all = tls_server_certificates(context->server);

	for (size_t i = 0; i < all->count; i++)
		if (X509_cmp(all->items[i].leaf, leaf) == 0)
			return true;
	return false;
}

/* Those that are not in the context before. */
static void log_news(
    const struct tls_context *context, const char *instance, const struct tls_context *before)
{
	const struct tls_certificates *all = tls_server_certificates(context->server);
	char date[TLS_DATE_MAX];

	for (size_t i = 0; i < all->count; i++)
		if (before == NULL || !has_certificate(before, all->items[i].leaf))
			log_info("%s: %scertificate from %s, valid until %s", instance,
			    before == NULL ? "" : "new ", all->items[i].file,
			    tls_date(all->items[i].not_after, date));
	for (size_t i = 0; before != NULL && i < context->sources.count; i++) {
		const struct tls_source *source = &context->sources.items[i];

		if (source->role >= TLS_CLIENT_CA_FILE &&
		    !tls_sources_have(&before->sources, source))
			log_info("%s: new %s from %s", instance,
			    source->role == TLS_CRL_FILE ? "CRL" : "authorities of clients",
			    source->path);
	}
}

void tls_context_install(struct tls_context *context, struct instance *instance)
{
	struct tls_context *before = instance->tls;

	instance->tls = context;
	if (context != NULL && context != before) {
		context->loop = instance->loop;
		log_news(context, instance->name, before);
		if (context->loop->renewal != NULL)
			task_schedule(context->loop->renewal, RENEWAL_INTERVAL_MS);
	}
	tls_context_free(before);
}

void tls_context_remind(struct tls_context *context, const char *instance)
{
	time_t now = clock_seconds();
	struct strings sentences = { 0 };

	if (now >= context->reminded && now - context->reminded < DAY)
		return;
	tls_context_problems(context, &sentences);
	context->reminded = sentences.count == 0 ? 0 : now;
	for (size_t i = 0; i < sentences.count; i++)
		log_warning("%s: %s", instance, sentences.items[i]);
	strings_clear(&sentences);
}
