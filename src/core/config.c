/* The config itself: its groups and their rows, its errors, its instances. */
#include "core/config.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define MINUTE 60000

const struct option_row limit_rows[] = {
	OPTION_DEFAULT(struct limit_settings, max_connections, integer, 4096, .min = 1,
	    .max = 1000000, .help = "Limit on the number of clients of all services together."),
	OPTION_DEFAULT(struct limit_settings, max_per_source, integer, 256, .min = 1,
	    .max = 1000000,
	    .help = "Limit on the number of clients of one service from one source network, see "
		    "source_prefix."),
	OPTION_DEFAULT(struct limit_settings, shutdown_timeout, duration, 10 * 1000,
	    .max = 60 * MINUTE, .unit = "seconds",
	    .help = "How long a stopping echod waits for clients to read their last replies."),
	OPTION_END,
};

const char *const tls_versions[] = { "1.2", "1.3", NULL };

const struct option_row tls_rows[] = {
	OPTION(struct tls_settings, certificate, strings,
	    .help =
		"The PEM files of certificates for tls:// and rediss://, each with its chain. A "
		"client gets the one for the name that it asks for, else the first one."),
	OPTION(struct tls_settings, key, strings,
	    .help =
		"The PEM files of their private keys, in the same order. A key that is not given "
		"is in the file of its certificate."),
	OPTION(struct tls_settings, client_ca, string, .flags = OPTION_EMPTY,
	    .help =
		"A PEM file of authorities. If it is given, a client must have a certificate of "
		"one of them; \"\" = none is asked for."),
	OPTION(struct tls_settings, crl, string, .flags = OPTION_EMPTY,
	    .help = "A PEM file of the CRLs of these authorities: a client whose certificate is "
		    "revoked is refused; \"\" = revocation is not checked."),
	OPTION_DEFAULT(struct tls_settings, min_version, choice, 0, .choices = tls_versions,
	    .help = "The oldest version of TLS that a client may use."),
	OPTION_END,
};

const struct option_row main_rows[] = {
	OPTION(struct main_settings, user, string, .flags = OPTION_RESTART,
	    .help = "The user to change to when started as root."),
	OPTION_END,
};

const struct config_group config_groups[CONFIG_GROUPS] = {
	{ NULL, main_rows, sizeof(struct main_settings) },
	{ "log", log_rows, sizeof(struct log_settings) },
	{ "limits", limit_rows, sizeof(struct limit_settings) },
	{ "tls", tls_rows, sizeof(struct tls_settings) },
};

const struct option_section *config_section(const struct config *config, const char *group)
{
	size_t i = 0;

	while (config_groups[i].name == NULL || strcmp(config_groups[i].name, group) != 0)
		i++;
	return &config->sections[i];
}

int errors_add(struct strings *errors, const struct option_origin *where, const char *format, ...)
{
	char text[2048], shown[2048], file[1024], place[32] = "";
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* Other users may have chosen the names of files. */
	log_escape_controls(file, sizeof(file), where->file == NULL ? "" : where->file);
	if (where->line > 0)
		snprintf(place, sizeof(place), ":%d", where->line);
	strings_addf(errors, "%s%s%s%s", file, place, where->file == NULL ? "" : ": ",
	    log_escape_controls(shown, sizeof(shown), text));
	return -1;
}

void config_free(struct config *config)
{
	if (config == NULL)
		return;
	for (size_t i = 0; i < CONFIG_GROUPS; i++)
		option_section_clear(&config->sections[i]);
	for (size_t i = 0; i < config->instance_count; i++) {
		for (size_t part = 0; part < CONFIG_PARTS; part++)
			if (config->instances[i].parts[part].rows != NULL)
				option_section_clear(&config->instances[i].parts[part]);
		free(config->instances[i].name);
	}
	free(config->instances);
	strings_clear(&config->files);
	strings_clear(&config->texts);
	strings_clear(&config->warnings);
	free(config);
}

struct instance_config *config_instance(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->instance_count; i++)
		if (strcmp(config->instances[i].name, name) == 0)
			return &config->instances[i];
	return NULL;
}

const struct option_row *config_kind_row(
    const struct config_kind *kind, const char *key, size_t *part)
{
	for (*part = 0; *part < CONFIG_PARTS; (*part)++)
		for (const struct option_row *row = kind->parts[*part].rows;
		     row != NULL && row->key != NULL; row++)
			if (strcmp(row->key, key) == 0)
				return row;
	return NULL;
}
