/* Lookup of rows and the typing of words; the rows themselves are in commands.c. */
#include "kv/command.h"

#include <stdbool.h>
#include <stdio.h>

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

enum kv_status command_number(struct slice word, int64_t *number)
{
	bool negative = word.length > 0 && word.bytes[0] == '-', fits = true;
	size_t first = negative;

	if (word.length == first || (word.bytes[first] == '0' && word.length > 1))
		return KV_NOT_A_NUMBER;
	*number = 0;
	for (size_t i = first; i < word.length; i++) {
		int digit = word.bytes[i] - '0';

		if (digit < 0 || digit > 9)
			return KV_NOT_A_NUMBER;
		/* On the negative side there is one number more. */
		fits = fits && !__builtin_mul_overflow(*number, 10, number) &&
		       !__builtin_sub_overflow(*number, digit, number);
	}
	if (!fits || (!negative && __builtin_sub_overflow(0, *number, number)))
		return KV_OUT_OF_RANGE;
	return KV_OK;
}

/* Types a word, and adds it to the call. */
static enum kv_status add_argument(const struct command *command, const struct arg *arg,
    struct slice word, const struct call_limits *limits, struct call *call)
{
	int64_t *number = &call->numbers[call->arg_count];
	enum kv_status status;

	call->args[call->arg_count++] = word;
	switch (arg->type) {
	case ARG_KEY:
		return word.length > limits->max_key ? KV_KEY_TOO_LONG : KV_OK;
	case ARG_PATTERN:
		return word.length > PATTERN_MAX ? KV_PATTERN_TOO_LONG : KV_OK;
	case ARG_INTEGER:
		return command_number(word, number);
	case ARG_DURATION:
		status = command_number(word, number);
		if (status == KV_OK && __builtin_mul_overflow(*number, arg->scale, number))
			return KV_INVALID_EXPIRE;
		return status;
	default:
		return command->flags & COMMAND_GROWS && word.length > limits->max_value
			   ? KV_VALUE_TOO_LONG
			   : KV_OK;
	}
}

enum kv_status command_read(const struct command *command, const struct slice *words, size_t count,
    const struct call_limits *limits, struct call *call)
{
	const struct arg *arg = command->args;
	enum kv_status status = KV_OK, wrong;
	size_t n = 0;

	call->command = command;
	call->key = (struct table_key){ .length = 0 };
	call->arg_count = call->more_count = 0;
	call->from = 0;
	for (; arg->type != ARG_END && n < count; arg++, n++) {
		if (arg == command->args && arg->type == ARG_KEY) {
			call->key = (struct table_key){ words[n].bytes, words[n].length, 0 };
			status = words[n].length > limits->max_key ? KV_KEY_TOO_LONG : KV_OK;
		} else if (!(arg->flags & ARG_MANY)) {
			wrong = add_argument(command, arg, words[n], limits, call);
			status = status == KV_OK ? wrong : status;
		}
		if (!(arg->flags & ARG_MANY))
			continue;
		/* The first key is in call->key, and the others are the rest of `more`. */
		call->more = &words[arg->type == ARG_KEY ? n + 1 : n];
		call->more_count = count - (size_t)(call->more - words);
		for (size_t i = 0; arg->type == ARG_KEY && i < call->more_count; i++)
			if (call->more[i].length > limits->max_key)
				status = KV_KEY_TOO_LONG;
		n = count - 1;
	}
	if (n < count || (arg->type != ARG_END && !(arg->flags & ARG_OPTIONAL)))
		status = KV_WRONG_ARGUMENTS;
	return call->status = status;
}

size_t command_usage(const struct command *command, char usage[USAGE_MAX])
{
	int length = snprintf(usage, USAGE_MAX, "%s", command->name);

	for (const struct arg *arg = command->args; arg->type != ARG_END; arg++) {
		bool brackets = arg->flags & ARG_OPTIONAL && arg->type != ARG_OPTIONS;
		const char *dots = arg->type == ARG_KEY && arg->flags & ARG_MANY ? "..." : "";

		length += snprintf(usage + length, USAGE_MAX - (size_t)length,
		    brackets ? " [%s%s]" : " %s%s", arg->name, dots);
	}
	return (size_t)length;
}
