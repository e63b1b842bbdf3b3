/* Lookup of rows and the typing of words; the rows themselves are in commands.c. */
#include "kv/command.h"

const struct command *command_find(struct slice name)
{
	for (const struct command *command = commands; command->name != NULL; command++) {
		size_t i = 0;

		if (command->name_length != name.length)
			continue;
		/* 0x20 is what a small ASCII letter differs by. */
		while (i < name.length && (name.bytes[i] & ~0x20) == command->name[i])
			i++;
		if (i == name.length)
			return command;
	}
	return NULL;
}

const char *command_read(const struct command *command, const struct slice *words, size_t count,
    const struct call_limits *limits, struct call *call)
{
	const struct arg *arg = command->args;
	size_t n = 0;

	call->command = NULL;
	call->key = (struct table_key){ .length = 0 };
	call->arg_count = 0;
	for (; arg->type != ARG_END && n < count; arg++, n++) {
		if (arg->type == ARG_KEY)
			call->key = (struct table_key){ words[n].bytes, words[n].length, 0 };
		else
			call->args[call->arg_count++] = words[n];
	}
	if (n < count || (arg->type != ARG_END && !(arg->flags & ARG_OPTIONAL)))
		return "unknown command"; /* the protocol has no other error for a wrong number of words */
	if (call->key.length > limits->max_key)
		return "key too long";
	for (size_t i = 0; command->flags & COMMAND_GROWS && i < call->arg_count; i++)
		if (call->args[i].length > limits->max_value)
			return "value too long";
	call->command = command;
	return NULL;
}
