/*
 * Option types whose value is a list of what strings stand for: one string, or an array of them. The field is a
 * struct that begins with a pointer to the items and their count (size_t).
 */
#ifndef ECHOD_CORE_OPTION_LIST_H
#define ECHOD_CORE_OPTION_LIST_H

#include "core/option.h"

struct option_item {
	size_t size;
	size_t text; /* where it keeps its text as it was written: offsetof a char * */
	size_t line; /* where it keeps the line of the file that it was on: offsetof an int */
	/* 0, or -1 with an error that says what was expected; then nothing is left to be cleared. */
	int (*parse)(void *item, const char *text, struct error *error);
	void (*clear)(void *item);
};

/* The slots of an option_type; they find the item in row->type->item. */
int option_list_parse(const struct option_row *row, const struct config_setting_t *setting,
    void *field, struct error *error);
void option_list_print(const struct option_row *row, const void *field, FILE *out);
bool option_list_equal(const struct option_row *row, const void *a, const void *b);
int option_list_copy(const struct option_row *row, void *to, const void *from);
void option_list_clear(const struct option_row *row, void *field);

/* Sets the line of an item that is there, where the caller knows it better than libconfig. */
void option_list_set_line(const struct option_row *row, void *field, size_t index, int line);
/* The line of the item that owns this very string (compared by address); 0 = none does. */
int option_list_line(const struct option_row *row, const void *field, const char *text);

#endif
