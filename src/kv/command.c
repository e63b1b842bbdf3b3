/* Lookup of rows and the typing of words. */
#include "kv/command.h"

#include <stdbool.h>
#include <stdio.h>

static bool has_name(const struct command *command, struct slice name)
{
	size_t i = 0;

	if (command->name_length != name.length)
		return false;
	/* 0x20 is what a small ASCII letter differs by. */
	while (i < name.length && (name.bytes[i] & ~0x20) == command->name[i])
		i++;
	return i == name.length;
}

const struct command *command_find(struct slice name)
{
	for (const struct command *command = commands; command->name != NULL; command++)
		if (has_name(command, name))
			return command;
	return NULL;
}

/* The slot with that row, or the empty one for it: there are always some. */
static size_t find_slot(const struct command_index *index, struct slice name)
{
	uint32_t hash = (uint32_t)name.length;
	size_t slot;

	for (size_t i = 0; i < name.length; i++)
		hash = (hash ^ (unsigned char)(name.bytes[i] & ~0x20)) * 0x01000193; /* FNV */
	slot = (hash ^ hash >> 16) % COMMAND_SLOTS;
	while (index->slots[slot] != NULL && !has_name(index->slots[slot], name))
		slot = (slot + 1) % COMMAND_SLOTS;
	return slot;
}

void command_index_add(struct command_index *index, const struct command *row)
{
	size_t slot = find_slot(index, (struct slice){ row->name, row->name_length });

	if (index->slots[slot] == NULL && !(row->flags & COMMAND_LINES))
		index->slots[slot] = row;
}

const struct command *command_index_find(const struct command_index *index, struct slice name)
{
	/* A longer name has no row, and would take long to hash. */
	return name.length > COMMAND_NAME_MAX ? NULL : index->slots[find_slot(index, name)];
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

/* Checks a word, and types it if it is a number. */
static enum kv_status check_argument(const struct arg *arg, struct slice word,
    const struct call_limits *limits, bool grows, int64_t *number)
{
	enum kv_status status;

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
		return grows && word.length > limits->max_value ? KV_VALUE_TOO_LONG : KV_OK;
	}
}

/* Adds the words behind the first key to the call; `arg` is the first one's. */
static enum kv_status add_arguments(struct call *call, const struct arg *arg,
    const struct slice *word, const struct slice *end, const struct call_limits *limits)
{
	bool grows = call->command->flags & COMMAND_GROWS;
	enum kv_status status = KV_OK;

	for (; word < end && arg->type != ARG_END && !(arg->flags & ARG_MANY); arg++, word++) {
		size_t n = call->arg_count++;

		call->args[n] = *word;
		if (status == KV_OK)
			status = check_argument(arg, *word, limits, grows, &call->numbers[n]);
	}
	if (arg->flags & ARG_MANY) {
		call->more = word;
		call->more_count = (size_t)(end - word);
		if (arg->type == ARG_PAIRS && call->more_count % 2 != 0)
			return KV_WRONG_ARGUMENTS;
		for (; word < end; word++) {
			bool is_key = arg->type == ARG_KEY ||
				      (arg->type == ARG_PAIRS && (end - word) % 2 == 0);

			if (is_key && word->length > limits->max_key)
				status = KV_KEY_TOO_LONG;
			else if (arg->type == ARG_PAIRS && word->length > limits->max_value)
				status = KV_VALUE_TOO_LONG;
		}
	} else if (word < end || (arg->type != ARG_END && !(arg->flags & ARG_OPTIONAL))) {
		status = KV_WRONG_ARGUMENTS;
	}
	return status;
}

enum kv_status command_read(const struct command *command, const struct slice *words, size_t count,
    const struct call_limits *limits, struct call *call)
{
	const struct arg *arg = command->args;
	enum kv_status status;

	call->command = command;
	call->arg_count = call->more_count = 0;
	call->from = 0;
	call->user = NULL;
	if (count == 0 && arg->type != ARG_END && !(arg->flags & ARG_OPTIONAL))
		return call->status = KV_WRONG_ARGUMENTS;
	if (arg->type != ARG_KEY) {
		call->key = (struct table_key){ .bytes = "" };
		return call->status = add_arguments(call, arg, words, words + count, limits);
	}
	call->key.bytes = words[0].bytes;
	call->key.length = words[0].length;
	status = KV_OK;
	if (!(arg->flags & ARG_MANY))
		arg++;
	if (count == 2 && (arg->type == ARG_REST ||
			      (arg->type == ARG_BYTES &&
				  arg[1].flags & ARG_OPTIONAL))) { /* as below; SET is fast */
		call->args[call->arg_count++] = words[1];
		if (words[1].length > limits->max_value && command->flags & COMMAND_GROWS)
			status = KV_VALUE_TOO_LONG;
	} else if (count > 1 || arg->type != ARG_END) {
		status = add_arguments(call, arg, words + 1, words + count, limits);
	}
	if (call->key.length > limits->max_key && status != KV_WRONG_ARGUMENTS)
		status = KV_KEY_TOO_LONG;
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
