/* Two configs beside each other: what is not the same, and what of the old one stays in force. */
#include <stdlib.h>
#include <string.h>

#include "core/config.h"

/* A value that is not the same in both. */
struct changed {
	const char *prefix; /* of the key: "services.kv." */
	const struct option_row *row;
	const struct option_section *from;
	struct option_section *to;
};

/* 0, or -1 with errno to end the comparison. */
typedef int each_changed(const struct changed *changed, void *arg);

/* Compares the rows that have all of the flags, in so many sections. */
static int compare_sections(const char *prefix, unsigned flags, const struct option_section *from,
    struct option_section *to, size_t count, each_changed *each, void *arg)
{
	for (; count > 0; count--, from++, to++)
		for (const struct option_row *row = to->rows; row != NULL && row->key != NULL;
		     row++) {
			const struct changed changed = { prefix, row, from, to };

			if ((row->flags & flags) == flags && !option_equal(from, to, row) &&
			    each(&changed, arg) == -1)
				return -1;
		}
	return 0;
}

static int compare_configs(const struct config *running, struct config *next, unsigned flags,
    each_changed *each, void *arg)
{
	char prefix[128];

	for (size_t i = 0; i < CONFIG_GROUPS; i++) {
		const char *group = config_groups[i].name;

		snprintf(prefix, sizeof(prefix), "%s%s", group != NULL ? group : "",
		    group != NULL ? "." : "");
		if (compare_sections(prefix, flags, &running->sections[i], &next->sections[i], 1,
			each, arg) == -1)
			return -1;
	}
	for (size_t i = 0; i < next->instance_count; i++) {
		struct instance_config *to = &next->instances[i];
		const struct instance_config *from = config_instance(running, to->name);

		if (from == NULL || from->kind != to->kind)
			continue;
		snprintf(prefix, sizeof(prefix), "services.%s.", to->name);
		if (compare_sections(
			prefix, flags, from->parts, to->parts, CONFIG_PARTS, each, arg) == -1)
			return -1;
	}
	return 0;
}

struct difference_listener {
	void (*each)(const struct config_difference *difference, void *arg);
	void *arg;
};

static int report_difference(const struct changed *changed, void *arg)
{
	const struct difference_listener *listener = arg;
	const struct option_row *row = changed->row;
	char *before = option_format(changed->from, row), *after = option_format(changed->to, row);
	char key[256];
	const struct config_difference difference = {
		.key = key,
		.before = option_is_set(changed->from, row) ? before : NULL,
		.after = option_is_set(changed->to, row) ? after : NULL,
		.origin = option_origin(changed->to, row),
		.restart = row->flags & OPTION_RESTART,
	};
	bool complete = before != NULL && after != NULL;

	snprintf(key, sizeof(key), "%s%s", changed->prefix, row->key);
	if (complete)
		listener->each(&difference, listener->arg);
	free(before);
	free(after);
	return complete ? 0 : -1;
}

int config_compare(const struct config *running, struct config *next,
    void (*each)(const struct config_difference *difference, void *arg), void *arg)
{
	struct difference_listener listener = { each, arg };

	return compare_configs(running, next, 0, report_difference, &listener);
}

struct keeper {
	struct config *next;
	struct strings *kept;
};

static int keep_value(const struct changed *changed, void *arg)
{
	static const struct option_origin nowhere = { 0 };
	const struct keeper *keeper = arg;
	const struct option_row *row = changed->row;
	struct strings *files = &keeper->next->files;
	struct option_origin *origin = &changed->to->origins[row - changed->to->rows];
	char *value;

	if (option_copy(changed->to, changed->from, row) == -1)
		return -1;
	strings_clear(&keeper->next->texts);
	/* The name of the file belongs to the old config: the new one needs its own. */
	if (origin->file != NULL) {
		if (strings_add(files, origin->file) == -1)
			return -1;
		origin->file = files->items[files->count - 1];
	}
	if ((value = option_format(changed->from, row)) == NULL)
		return -1;
	errors_add(keeper->kept, &nowhere, "%s%s: needs a restart, stays %s", changed->prefix,
	    row->key, option_is_set(changed->from, row) ? value : "unset");
	free(value);
	return 0;
}

int config_keep_unreloadable(
    const struct config *running, struct config *next, struct strings *kept)
{
	struct keeper keeper = { next, kept };

	return compare_configs(running, next, OPTION_RESTART, keep_value, &keeper);
}
