/*
 * Option types whose value is a list of what texts stand for: one string, or an array of them. The field
 * is a struct of two members, a pointer to the items and their count.
 */
#ifndef ECHOD_CORE_OPTION_LIST_H
#define ECHOD_CORE_OPTION_LIST_H

#include "core/option.h"

struct option_item {
	size_t size;
	/* 0, or -1 with what was expected in `why`; then nothing is left to be cleared. */
	int (*parse)(void *item, const char *text, char *why, size_t why_size);
	void (*clear)(void *item);
	/* As it was written. */
	char *const *(*text)(const void *item);
	/* Where it keeps the line of the file that it was on; NULL = it does not. */
	int *(*line)(void *item);
};

/* The slots of an option_type; the first two find the item in row->type->item. */
int option_list_parse(const struct option_row *row, const struct config_setting_t *setting,
    void *field, char *why, size_t why_size);
void option_list_print(const struct option_row *row, const void *field, FILE *out);
void option_list_clear(const struct option_item *type, void *field);

/* Sets the line of an item, where the caller knows it better than libconfig. */
void option_list_set_line(const struct option_row *row, void *field, size_t index, int line);
/* The line of the item that owns this very string (compared by address); 0 = none does, or it has no line. */
int option_list_line(const struct option_row *row, const void *field, const char *text);

#endif
