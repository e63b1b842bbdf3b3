/*
 * The control service names the listeners; the first kv one that accepts clients, now or later, is chosen. RESP is
 * preferred, because its keys and values may be any bytes. TLS is not: the daemon is on this machine, and the address
 * need not be a name in its certificate.
 */
#include "echoctl/kv_address.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "echoctl/query.h"

#define KV_VARIABLE "ECHOD_KV"

static const char *string_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text == NULL ? "" : text;
}

/* Clients are accepted at once, or after a while. */
static bool is_served(const json_t *listener)
{
	const char *state = string_of(listener, "state");

	return strcmp(state, "open") == 0 || strcmp(state, "full") == 0 ||
	       strcmp(state, "paused") == 0;
}

static bool has_tls(const char *address)
{
	return strncmp(address, "rediss://", 9) == 0 || strncmp(address, "tls://", 6) == 0;
}

/* The address of the first kv listener: of RESP before lines, and of these before TLS. NULL = there is none. */
static const char *choose(const json_t *listeners)
{
	const char *address, *first = NULL;
	json_t *listener;
	size_t i;

	json_array_foreach (listeners, i, listener) {
		if (strcmp(string_of(listener, "type"), "kv") != 0 || !is_served(listener))
			continue;
		address = string_of(listener, "address");
		if (strncmp(address, "redis://", 8) == 0 ||
		    strncmp(address, "redis+unix://", 13) == 0)
			return address;
		if (first == NULL || (has_tls(first) && !has_tls(address)))
			first = address;
	}
	return first;
}

static int complain_memory(void)
{
	complain("out of memory");
	return STATUS_NO;
}

/* Asks the control service. */
static int query_daemon(const struct options *options, char **address)
{
	char request[] = "-j listeners\n";
	struct query query = { .options = options, .request = request };
	json_t *answer = NULL;
	const char *found;
	int status;

	if ((query.address = query_address(options->socket)) == NULL)
		return complain_memory();
	status = query_run(&query);
	if (status == STATUS_OK && query.error != NULL) {
		complain("%s: %s", query.address, query.error);
		status = STATUS_NO;
	} else if (status == STATUS_OK) {
		answer = json_loadb(query.text.bytes, query.text.length, 0, NULL);
		found = choose(json_object_get(answer, "listeners"));
		if (found == NULL) {
			complain("%s: the daemon serves no kv", query.address);
			status = STATUS_NO;
		} else if ((*address = strdup(found)) == NULL) {
			status = complain_memory();
		}
	}
	if (status != STATUS_OK)
		complain("-a ADDRESS or $" KV_VARIABLE " says where else a kv service is");
	json_decref(answer);
	free(query.text.bytes);
	free(query.error);
	free(query.address);
	return status;
}

int kv_address_find(const struct options *options, char **address)
{
	const char *given = options->address;

	*address = NULL;
	if (given == NULL && (given = getenv(KV_VARIABLE)) != NULL && *given == '\0')
		given = NULL;
	if (given == NULL)
		return query_daemon(options, address);
	return (*address = strdup(given)) == NULL ? complain_memory() : STATUS_OK;
}
