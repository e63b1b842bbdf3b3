/* Keys of the group, and the same with tls_ in front, of the instance. */
#include "net/tls_settings.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/error.h"
#include "net/instance.h"
#include "net/settings.h"

static const char prefix[] = "tls_";

static struct tls_setting own_setting(const struct instance_config *instance, const char *key)
{
	struct tls_setting setting = {
		.section = &instance->parts[PART_INSTANCE],
		.instance = instance->name,
	};
	char own[32];

	snprintf(own, sizeof(own), "%s%s", prefix, key);
	setting.row = option_find(setting.section->rows, own);
	return setting;
}

static struct tls_setting find(
    const struct config *config, const struct instance_config *instance, const char *key)
{
	struct tls_setting setting = own_setting(instance, key);

	if (tls_setting_is_given(&setting))
		return setting;
	setting.section = config_section(config, "tls");
	setting.row = option_find(setting.section->rows, key);
	setting.instance = NULL;
	return setting;
}

void tls_settings_find(struct tls_settings_found *found, const struct config *config,
    const struct instance_config *instance)
{
	struct tls_setting key = own_setting(instance, "key");

	found->certificate = find(config, instance, "certificate");
	found->key = found->certificate.instance != NULL ? key : find(config, instance, "key");
	found->client_ca = find(config, instance, "client_ca");
	found->crl = find(config, instance, "crl");
	found->min_version = find(config, instance, "min_version");
}

bool tls_setting_is_given(const struct tls_setting *setting)
{
	return option_is_set(setting->section, setting->row);
}

const struct strings *tls_setting_list(const struct tls_setting *setting)
{
	return option_field(setting->section, setting->row);
}

const char *tls_setting_string(const struct tls_setting *setting)
{
	return *(const char *const *)option_field(setting->section, setting->row);
}

int tls_setting_choice(const struct tls_setting *setting)
{
	return *(const int *)option_field(setting->section, setting->row);
}

void tls_setting_report(
    const struct tls_setting *setting, struct strings *messages, const char *format, ...)
{
	char text[ERROR_TEXT_MAX];
	const char *last;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (setting->instance == NULL)
		errors_add(messages, option_origin(setting->section, setting->row), "tls.%s: %s",
		    setting->row->key, text);
	else
		errors_add(messages, option_origin(setting->section, setting->row),
		    "services.%s.%s: %s", setting->instance, setting->row->key, text);
	if (messages->count == 0)
		return;
	last = messages->items[messages->count - 1];
	if (strings_find(messages, last) != last)
		free(messages->items[--messages->count]);
}

bool tls_settings_needed(const struct instance_config *instance)
{
	const struct instance_settings *settings = instance->parts[PART_INSTANCE].fields;

	for (size_t i = 0; i < settings->listen.count; i++)
		if (settings->listen.items[i].protocol.tls)
			return true;
	return false;
}

const char *tls_settings_own(const struct instance_config *instance)
{
	const struct option_section *section = &instance->parts[PART_INSTANCE];

	for (const struct option_row *row = section->rows; row->key != NULL; row++)
		if (strncmp(row->key, prefix, sizeof(prefix) - 1) == 0 &&
		    option_is_set(section, row))
			return row->key;
	return NULL;
}
