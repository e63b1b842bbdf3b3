/*
 * The commands' rows, and what each does with the keyspace. A new one is a function and a row; HACKING says what
 * else.
 */
#include "kv/command.h"
#include "kv/keyspace.h"

static enum kv_status run_get(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;

	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	result->kind = KV_BYTES;
	result->bytes = item.value;
	return KV_OK;
}

static enum kv_status run_set(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item = { .value = call->args[0] };

	(void)result;
	return keyspace_put(keyspace, &call->key, &item) == 0 ? KV_OK : KV_FULL;
}

static enum kv_status run_del(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	(void)result;
	return keyspace_delete(keyspace, &call->key) ? KV_OK : KV_NOT_FOUND;
}

#define NAME(name_) .name = (name_), .name_length = sizeof(name_) - 1
#define KEY                       \
	{                         \
		ARG_KEY, 0, "key" \
	}

const struct command commands[] = {
	{ NAME("GET"), .args = { KEY }, .run = run_get, .help = "The value of the key." },
	{ NAME("SET"), .args = { KEY, { ARG_REST, 0, "value" } }, .flags = COMMAND_GROWS,
	    .run = run_set, .help = "Sets the key to the value." },
	{ NAME("DEL"), .args = { KEY }, .run = run_del, .done = "DELETED\n",
	    .help = "Deletes the key." },
	{ NAME("QUIT"), .args = { { ARG_REST, ARG_OPTIONAL, "anything" } }, .flags = COMMAND_LOCAL,
	    .done = "BYE\n", .help = "Closes the connection." },
	{ 0 },
};
