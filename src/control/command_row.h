/* The rows of commands.def, which the daemon and echoctl read, and their synopses. */
#ifndef ECHOD_CONTROL_COMMAND_ROW_H
#define ECHOD_CONTROL_COMMAND_ROW_H

#include <stdbool.h>
#include <stddef.h>

enum {
	COMMAND_LOCAL = 1, /* echoctl does it itself */
	COMMAND_SLOW = 2,  /* its answer may take as long as it likes */
	/* Its options end at the first word, so that further words, such as values, may begin with a hyphen. */
	COMMAND_VERBATIM = 4,
	COMMAND_TLS = 8,   /* it connects to an address, and therefore has the options of TLS */
	COMMAND_USER = 16, /* it has the options of a user of kv */
};

/* The rows by number, COMMAND_status and so on. */
enum command_number {
#define CONTROL(name, ...) COMMAND_##name,
#define LOCAL(name, ...) COMMAND_##name,
#include "control/commands.def"
#undef CONTROL
#undef LOCAL
	COMMAND_ROWS
};

struct command_row {
	const char *name;
	unsigned flags;
	const char *letters, *arguments; /* synopses */
	const char *help;
};

extern const struct command_row command_rows[COMMAND_ROWS];

/* An option ("-w", "--service") or a word ("ADDRESS") of a synopsis, which it points into. */
struct synopsis_item {
	const char *name;
	size_t length;
	bool optional;
	bool takes_value; /* an option */
	bool repeats;     /* a word, any number of times */
};

/* Reads the item at *at, and moves on behind it; false at the end. */
bool synopsis_next(const char **at, struct synopsis_item *item);

/* How many words it takes; *most = SIZE_MAX if one of them repeats. */
void synopsis_count(const char *synopsis, size_t *least, size_t *most);

#endif
