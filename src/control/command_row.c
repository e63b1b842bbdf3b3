/* The table of the rows, and the parser of their synopses. Both are constant, and nothing is allocated. */
#include "control/command_row.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

const struct command_row command_rows[COMMAND_ROWS] = {
#define CONTROL(name, flags, ...) { #name, flags, __VA_ARGS__ },
#define LOCAL(name, flags, ...) { #name, (flags) | COMMAND_LOCAL, __VA_ARGS__ },
#include "control/commands.def"
};

bool synopsis_next(const char **at, struct synopsis_item *item)
{
	const char *s = *at + strspn(*at, " ]");

	*item = (struct synopsis_item){ .optional = *s == '[' };
	s += strspn(s, "[");
	item->name = s;
	item->length = strcspn(s, " ]");
	s += item->length;
	if (*item->name == '-' && s[0] == ' ' && isupper((unsigned char)s[1])) {
		item->takes_value = true;
		s += 1 + strcspn(s + 1, " ]");
	}
	while (strncmp(s, " | ", 3) == 0)
		s += 3 + strcspn(s + 3, " ]");
	item->repeats = item->length > 3 && memcmp(s - 3, "...", 3) == 0;
	*at = s;
	return item->length > 0;
}

void synopsis_count(const char *synopsis, size_t *least, size_t *most)
{
	struct synopsis_item item;
	const char *counted = synopsis;
	int depth = 0; /* of brackets */

	*least = *most = 0;
	while (synopsis_next(&synopsis, &item)) {
		for (; counted < item.name; counted++)
			depth += (*counted == '[') - (*counted == ']');
		if (*item.name == '-')
			continue;
		*least += depth == 0;
		*most = item.repeats ? SIZE_MAX : *most + 1;
	}
}
