/*
 * Mistakes in a config's text that libconfig would not report, or not survive, and what its versions read
 * differently.
 */
#ifndef ECHOD_CORE_CONFIG_CHECK_H
#define ECHOD_CORE_CONFIG_CHECK_H

#include <stdbool.h>
#include <stddef.h>

struct strings;
struct strings;

/*
 * Checks a text and what it includes, relative to `directory`; included files are added to `names`.
 * False when libconfig would fail at an error, or crash: it must not parse the text then.
 */
bool config_check(const char *file, const char *text, size_t length, const char *directory,
    struct strings *names, struct strings *errors);

#endif
