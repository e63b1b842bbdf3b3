/* One lookup, and therefore one thread, for each name. */
#include "net/names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "net/endpoint.h"
#include "net/lookup.h"

struct name {
	SLIST_ENTRY(name) entry;
	struct names *names;
	const struct address *address;
	struct lookup *lookup; /* NULL = it has ended */
	struct endpoints found;
	char why[128]; /* why nothing was found */
};

struct names {
	SLIST_HEAD(, name) list;
	struct event_base *base;
	void (*done)(void *arg);
	void *arg;
	size_t pending;
};

struct names *names_new(struct event_base *base, void (*done)(void *arg), void *arg)
{
	struct names *names = calloc(1, sizeof(*names));

	if (names == NULL)
		return NULL;
	SLIST_INIT(&names->list);
	names->base = base;
	names->done = done;
	names->arg = arg;
	return names;
}

void names_free(struct names *names)
{
	struct name *name;

	if (names == NULL)
		return;
	while ((name = SLIST_FIRST(&names->list)) != NULL) {
		SLIST_REMOVE_HEAD(&names->list, entry);
		lookup_cancel(name->lookup);
		endpoints_clear(&name->found);
		free(name);
	}
	free(names);
}

static void name_found_cb(void *arg, struct endpoints *found, const char *why)
{
	struct name *name = arg;
	struct names *names = name->names;

	name->lookup = NULL;
	name->found = *found;
	snprintf(name->why, sizeof(name->why), "%s", why);
	if (--names->pending == 0)
		names->done(names->arg);
}

static struct name *find_name(const struct names *names, const struct address *address)
{
	struct name *name;

	SLIST_FOREACH (name, &names->list, entry)
		if (strcmp(name->address->text, address->text) == 0)
			return name;
	return NULL;
}

int names_look_up(struct names *names, const struct address *address)
{
	struct name *name;

	if (find_name(names, address) != NULL)
		return 0;
	if ((name = calloc(1, sizeof(*name))) == NULL)
		return -1;
	name->names = names;
	name->address = address;
	SLIST_INSERT_HEAD(&names->list, name, entry);
	name->lookup = lookup_start(names->base, address, name_found_cb, name);
	if (name->lookup != NULL)
		names->pending++;
	else
		snprintf(name->why, sizeof(name->why), "%s", strerror(errno));
	return 0;
}

bool names_are_pending(const struct names *names)
{
	return names->pending > 0;
}

const struct endpoints *names_find(
    const struct names *names, const struct address *address, const char **why)
{
	const struct name *name = find_name(names, address);

	*why = name == NULL ? "it was not looked up" : name->why;
	return name == NULL || name->found.count == 0 ? NULL : &name->found;
}
