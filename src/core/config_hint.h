/* What a syntax error was about, where that can be told from the text. */
#ifndef ECHOD_CORE_CONFIG_HINT_H
#define ECHOD_CORE_CONFIG_HINT_H

#include <stddef.h>

/*
 * `line` is where libconfig gave up. Fills `to` with advice such as `write true for yes`; empty
 * when there is none.
 */
void config_hint(const char *text, int line, char *to, size_t size);

#endif
