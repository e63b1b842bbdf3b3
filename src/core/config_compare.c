/* Two configs beside each other: what is not the same, and what of the old one stays in force. */
#include <stdlib.h>
#include <string.h>

#include "core/config.h"

/* A value that is not the same in both. */
struct changed {
	const char *key; /* "services.kv.max_key" */
	const struct option_row *row;
	const struct option_section *from;
	struct option_section *to;
};

/* Whoever looks at them; look() returns 0, or -1 with errno to end it. */
struct looker {
	int (*look)(const struct changed *changed, void *arg);
	void *arg;
};

static int look_at_section(const struct looker *looker, const char *prefix,
    const struct option_section *from, struct option_section *to)
{
	char key[256];

	for (const struct option_row *row = from->rows; row->key != NULL; row++) {
		const struct changed changed = { key, row, from, to };

		if (option_same(from, to, row))
			continue;
		snprintf(key, sizeof(key), "%s%s", prefix, row->key);
		if (looker->look(&changed, looker->arg) == -1)
			return -1;
	}
	return 0;
}

static int look_at_instance(
    const struct looker *looker, const struct instance_config *from, struct instance_config *to)
{
	char prefix[128];

	snprintf(prefix, sizeof(prefix), "services.%s.", to->name);
	for (size_t part = 0; part < CONFIG_PARTS; part++)
		if (to->parts[part].rows != NULL &&
		    look_at_section(looker, prefix, &from->parts[part], &to->parts[part]) == -1)
			return -1;
	return 0;
}

static int look_at_all(
    const struct looker *looker, const struct config *running, struct config *next)
{
	for (size_t i = 0; i < CONFIG_GROUPS; i++) {
		const char *group = config_groups[i].name;
		char prefix[32] = "";

		if (group != NULL)
			snprintf(prefix, sizeof(prefix), "%s.", group);
		if (look_at_section(looker, prefix, &running->sections[i], &next->sections[i]) ==
		    -1)
			return -1;
	}
	for (size_t i = 0; i < next->instance_count; i++) {
		struct instance_config *to = &next->instances[i];
		const struct instance_config *from = config_instance(running, to->name);

		if (from != NULL && from->kind == to->kind &&
		    look_at_instance(looker, from, to) == -1)
			return -1;
	}
	return 0;
}

/* --- what is not the same --- */

struct teller {
	void (*each)(const struct config_difference *difference, void *arg);
	void *arg;
};

static int tell(const struct changed *changed, void *arg)
{
	const struct teller *to = arg;
	char *before = option_format(changed->from, changed->row);
	char *after = option_format(changed->to, changed->row);
	const struct config_difference difference = {
		.key = changed->key,
		.before = option_is_set(changed->from, changed->row) ? before : NULL,
		.after = option_is_set(changed->to, changed->row) ? after : NULL,
		.origin = option_origin(changed->to, changed->row),
		.restart = changed->row->flags & OPTION_RESTART,
	};
	bool complete = before != NULL && after != NULL;

	if (complete)
		to->each(&difference, to->arg);
	free(before);
	free(after);
	return complete ? 0 : -1;
}

int config_compare(const struct config *running, struct config *next,
    void (*each)(const struct config_difference *difference, void *arg), void *arg)
{
	struct teller to = { each, arg };
	const struct looker looker = { tell, &to };

	return look_at_all(&looker, running, next);
}

/* --- what stays --- */

struct keeper {
	struct config *next;
	struct strings *kept;
};

/* The texts of its origins belong to the old config: the new one needs its own. */
static int keep_value(struct config *next, const struct changed *changed)
{
	struct option_origin *origin;

	if (option_copy(changed->to, changed->from, changed->row) == -1)
		return -1;
	origin = &changed->to->origins[changed->row - changed->to->rows];
	if (origin->file == NULL)
		return 0;
	origin->file = strings_intern(&next->files, origin->file);
	return origin->file == NULL ? -1 : 0;
}

static int keep(const struct changed *changed, void *arg)
{
	static const struct option_origin nowhere = { 0 };
	const struct keeper *keeper = arg;
	char *value;

	if (!(changed->row->flags & OPTION_RESTART))
		return 0;
	if (keep_value(keeper->next, changed) == -1 ||
	    (value = option_format(changed->from, changed->row)) == NULL)
		return -1;
	errors_add(keeper->kept, &nowhere, "%s: needs a restart, stays %s", changed->key,
	    option_is_set(changed->from, changed->row) ? value : "unset");
	free(value);
	return 0;
}

int config_keep_unreloadable(
    const struct config *running, struct config *next, struct strings *kept)
{
	struct keeper keeper = { next, kept };
	const struct looker looker = { keep, &keeper };

	return look_at_all(&looker, running, next);
}
