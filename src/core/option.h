/*
 * One row per configuration key: its name, what it may hold, where the value goes and what it is for. Parsing, range
 * checks, messages, `-T`, `--explain`, reload and the check of the manual all come from the rows. Other code names a key
 * in an error message, or if it means the same to several services.
 *
 * A type is an object, so that a folder that uses core/ can add one, as net/ adds addresses and networks.
 */
#ifndef ECHOD_CORE_OPTION_H
#define ECHOD_CORE_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/error.h"
#include "core/strings.h"

struct config_setting_t;
struct option_row;
struct suggestion;

/* Where a value came from; file is NULL for a built-in default. The text belongs to the config. */
struct option_origin {
	const char *file;
	int line;
};

#define OPTION_SIZE_MAX 64

struct option_type {
	const char *name; /* "duration", for --explain and the manual */
	size_t size;      /* of the field, bytes; at most OPTION_SIZE_MAX */
	/*
	 * Parses a setting into the field, which is zeroed before. 0, or -1 with an error that says what was expected
	 * and what was found ("expected an integer from 1 to 65535, got \"abc\"").
	 */
	int (*parse)(const struct option_row *row, const struct config_setting_t *setting,
	    void *field, struct error *error);
	/* Writes the value as the file would have it. */
	void (*print)(const struct option_row *row, const void *field, FILE *out);
	/* A field that owns nothing has none of these three: its bytes are the value. */
	bool (*equal)(const struct option_row *row, const void *a, const void *b);
	/* Fills `to`, which is zeroed before. 0, or -1 with errno ENOMEM and nothing to be cleared. */
	int (*copy)(const struct option_row *row, void *to, const void *from);
	/* Frees what the field owns and leaves it as zeroes. */
	void (*clear)(const struct option_row *row, void *field);
	/* What a value of the row looks like ("an integer from 1 to 9"); NULL = the type's name. */
	void (*describe)(const struct option_row *row, char *to, size_t size);
	const struct option_item *item; /* of a list, see option_list.h */
};

/* Field types in C: bool, int64_t, int64_t ms, int64_t bytes, mode_t, int (index), char *, char *, struct strings. */
extern const struct option_type option_bool, option_integer, option_duration, option_size,
    option_mode, option_choice, option_string, option_choice_or_path, option_strings;

enum option_flags {
	OPTION_RESTART = 1 << 0, /* a reload keeps the old value and says that it needs a restart */
	OPTION_REQUIRED = 1 << 1, /* there is no default: the file must give it */
	OPTION_EMPTY = 1 << 2,    /* an empty string is a value, too */
};

struct option_row {
	const char *key;
	const struct option_type *type;
	size_t offset;    /* of the field in the struct that the section fills */
	int64_t min, max; /* of a number, in the field's unit; both 0 = no bounds */
	const void
	    *fallback; /* the default, a value of the field's type; NULL = all zeroes, not set */
	const char *const *choices; /* of an option_choice(_or_path), NULL-terminated */
	unsigned flags;
	const char *unit; /* "seconds", "bytes"; NULL = none */
	const char *help; /* a sentence or two */
};

/* A row for the field of the same name: OPTION(struct x, depth, integer, .max = 9, .help = "…"). */
#define OPTION(type_, field_, kind_, ...)                                                   \
	{                                                                                   \
		.key = #field_, .type = &option_##kind_, .offset = offsetof(type_, field_), \
		__VA_ARGS__                                                                 \
	}
/* The same with a default, of the field's type: OPTION_DEFAULT(struct x, depth, integer, 3, .max = 9). */
#define OPTION_DEFAULT(type_, field_, kind_, default_, ...)                                       \
	{                                                                                         \
		.key = #field_, .type = &option_##kind_, .offset = offsetof(type_, field_),       \
		.fallback = &(const __typeof__(((type_ *)NULL)->field_)){ default_ }, __VA_ARGS__ \
	}
/* The default of a string: OPTION(struct x, name, string, .fallback = OPTION_TEXT("a")). */
#define OPTION_TEXT(default_) (&(const char *const){ default_ })
#define OPTION_END          \
	{                   \
		.key = NULL \
	}

/* Rows applied to one struct; origins has as many entries as there are rows. */
struct option_section {
	const struct option_row *rows;
	void *fields;
	struct option_origin *origins;
};

/*
 * Allocates fields (`size` bytes) and origins, and sets every default. 0, or -1 with errno ENOMEM.
 */
int option_section_init(struct option_section *section, const struct option_row *rows, size_t size);
/* Frees all of it; zeroes are fine, too. */
void option_section_clear(struct option_section *section);

/* The row of that key, or NULL. */
const struct option_row *option_find(const struct option_row *rows, const char *key);

/* Offers all keys of the rows as what a misspelt one may have meant. */
void option_suggest(struct suggestion *suggestion, const struct option_row *rows);

/* Replaces the value of one field by that of a setting. 0, or -1 with an error and everything as it was. */
int option_set(struct option_section *section, const struct option_row *row,
    const struct config_setting_t *setting, const struct option_origin *origin,
    struct error *error);

/* Whether the row accepts the setting; sets nothing. */
bool option_accepts(const struct option_row *row, const struct config_setting_t *setting);

/* As option_set(), from a value in the file's syntax. 0, or -1 with errno ENOMEM or EINVAL. */
int option_set_text(struct option_section *section, const struct option_row *row, const char *text,
    const struct option_origin *origin);

/* The field of the row, in the struct that the section fills. */
void *option_field(const struct option_section *section, const struct option_row *row);

const struct option_origin *option_origin(
    const struct option_section *section, const struct option_row *row);
/* The same, of a key that must exist. */
const struct option_origin *option_origin_of(const struct option_section *section, const char *key);

/* Whether the row has a value at all: from a file or by default. */
bool option_is_set(const struct option_section *section, const struct option_row *row);

/* The value as the file would have it, allocated; NULL with errno ENOMEM. */
char *option_format(const struct option_section *section, const struct option_row *row);

/* Whether both sections hold the same value for the row. */
bool option_equal(
    const struct option_section *a, const struct option_section *b, const struct option_row *row);

/* Gives `to` the value and the origin that `from` has. 0, or -1 with errno ENOMEM. */
int option_copy(
    struct option_section *to, const struct option_section *from, const struct option_row *row);

/* --explain: what the key may hold, its default, what it is for. `path` is its full name. */
void option_explain(const struct option_row *row, const char *path, FILE *out);

/*
 * A duration on a command line, in ms: a number of seconds, or with one of the units that option_duration knows. -1 =
 * it is neither.
 */
int64_t option_read_duration(const char *text);

/*
 * For those who write a type: the setting's string, or NULL with an error. An empty one needs OPTION_EMPTY.
 */
const char *option_read_string(const struct option_row *row, const struct config_setting_t *setting,
    const char *expected, struct error *error);
/* What is expected of a list of strings: of an array, or of a single string in its place. */
#define OPTION_LIST_EXPECTED(many) \
	((many) ? "an array with each item a string" : "a string or an array of strings")

/*
 * For those who write a type; a list of strings can be left to option_strings, its printing to option_string. Sets the
 * error to "expected EXPECTED, got …", with the setting's value. Always -1.
 */
int option_refuse(
    struct error *error, const struct config_setting_t *setting, const char *expected);

#endif
