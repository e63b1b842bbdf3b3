/*
 * Which settings of TLS apply to an instance: its own keys tls_..., or those of the group `tls`. A message about a setting
 * names its file, line and key. The config owns what these structs point to.
 */
#ifndef ECHOD_NET_TLS_SETTINGS_H
#define ECHOD_NET_TLS_SETTINGS_H

#include <stdbool.h>

#include "core/option.h"

struct config;
struct instance_config;

struct tls_setting {
	const struct option_section *section;
	const struct option_row *row;
	const char *instance; /* whose own it is; NULL = the group's */
};

struct tls_settings_found {
	struct tls_setting certificate, key, client_ca, crl, min_version;
};

/* An instance that has its own certificate has its own key, too; all else is found one by one. */
void tls_settings_find(struct tls_settings_found *found, const struct config *config,
    const struct instance_config *instance);

bool tls_setting_is_given(const struct tls_setting *setting);
/* Its value; of a list, or of a string that is NULL = not given, or "" = none. */
const struct strings *tls_setting_list(const struct tls_setting *setting);
const char *tls_setting_string(const struct tls_setting *setting);
int tls_setting_choice(const struct tls_setting *setting);

/* Adds a message to a list of errors or warnings, unless it is there: instances share the settings of the group. */
void tls_setting_report(const struct tls_setting *setting, struct strings *messages,
    const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Whether any of the instance's addresses is tls:// or rediss://. */
bool tls_settings_needed(const struct instance_config *instance);

/* The first key tls_... that the instance has; NULL = it has none. */
const char *tls_settings_own(const struct instance_config *instance);

#endif
