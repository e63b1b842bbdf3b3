/*
 * Mistakes in a config's text that libconfig would not report, or not survive, and what its versions read
 * differently.
 */
#ifndef ECHOD_CORE_CONFIG_CHECK_H
#define ECHOD_CORE_CONFIG_CHECK_H

#include <stdbool.h>
#include <stddef.h>

struct config;
struct strings;

/*
 * Checks a text and what it includes, relative to `directory`; the config keeps the texts of included files.
 * False when libconfig would fail at an error, or crash: it must not parse the text then.
 */
bool config_check(struct config *config, const char *file, const char *text, size_t length,
    const char *directory, struct strings *errors);

#endif
