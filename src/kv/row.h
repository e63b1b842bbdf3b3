/*
 * The words in which a command's row is written: its name, and its arguments. Only files with rows include this, because
 * the words are short.
 */
#ifndef ECHOD_KV_ROW_H
#define ECHOD_KV_ROW_H

#include "kv/command.h"

#define NAME(name_) .name = (name_), .name_length = sizeof(name_) - 1

/* clang-format off */
#define KEY { ARG_KEY, 0, "key", 0 }
#define KEYS { ARG_KEY, ARG_MANY, "key", 0 }
#define NEW_KEY { ARG_KEY, 0, "newkey", 0 }
#define WORD(name) { ARG_BYTES, 0, (name), 0 }
#define OPTIONAL_WORD(name) { ARG_BYTES, ARG_OPTIONAL, (name), 0 }
#define CHANNEL { ARG_CHANNEL, 0, "channel", 0 }
#define CHANNELS { ARG_CHANNEL, ARG_MANY, "channel", 0 }
#define CHANNEL_PATTERNS { ARG_CHANNELS, ARG_MANY, "pattern", 0 }
#define REST(name) { ARG_REST, 0, (name), 0 }
#define OPTIONAL_REST(name) { ARG_REST, ARG_OPTIONAL, (name), 0 }
#define INTEGER(name) { ARG_INTEGER, 0, (name), 0 }
#define DURATION(name, scale) { ARG_DURATION, 0, (name), (scale) }
#define PATTERN { ARG_PATTERN, 0, "pattern", 0 }
#define OPTIONAL_PATTERN { ARG_PATTERN, ARG_OPTIONAL, "pattern", 0 }
#define OPTIONS(usage) { ARG_OPTIONS, ARG_OPTIONAL | ARG_MANY, (usage), 0 }
#define MORE_PAIRS { ARG_PAIRS, ARG_OPTIONAL | ARG_MANY, "[key value...]", 0 }
/* clang-format on */

#endif
