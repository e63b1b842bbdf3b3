/* LISTEN_FDS, LISTEN_FDNAMES and LISTEN_PID, as libsystemd reads them. */
#include "core/inherited.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/systemd.h"

int inherited_acquire(struct inherited *to)
{
	char **names = NULL;
	int count = sd_listen_fds_with_names(1, &names);

	*to = (struct inherited){ 0 };
	if (count > 0 && (to->items = calloc((size_t)count, sizeof(*to->items))) == NULL)
		count = -ENOMEM;
	for (int i = 0; i < count; i++)
		to->items[to->count++] =
		    (struct inherited_socket){ .name = names[i], .fd = SD_LISTEN_FDS_START + i };
	if (count < 0 && names != NULL)
		for (char **name = names; *name != NULL; name++)
			free(*name);
	free(names);
	if (count >= 0)
		return 0;
	errno = -count;
	return -1;
}

void inherited_clear(struct inherited *inherited)
{
	for (size_t i = 0; i < inherited->count; i++) {
		free(inherited->items[i].name);
		if (inherited->items[i].fd != -1)
			close(inherited->items[i].fd);
	}
	free(inherited->items);
	*inherited = (struct inherited){ 0 };
}

bool inherited_has(const struct inherited *inherited, const char *name)
{
	for (size_t i = 0; i < inherited->count; i++)
		if (strcmp(inherited->items[i].name, name) == 0)
			return true;
	return false;
}
