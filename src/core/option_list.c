/* Lists for option types further right: net/ has addresses and networks. A list owns its items. */
#include "core/option_list.h"

#include <libconfig.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"

/* What every such field begins with. */
struct list {
	char *items;
	size_t count;
};

static int parse_item(
    const struct option_item *type, void *item, const char *text, char *why, size_t why_size)
{
	char shown[160], expected[160];

	if (type->parse(item, text, expected, sizeof(expected)) == 0)
		return 0;
	log_escape(shown, sizeof(shown), text, strlen(text));
	snprintf(why, why_size, "\"%s\": %s", shown, expected);
	return -1;
}

/* An array may go over many lines. */
static void note_line(const struct option_item *type, void *item,
    const struct config_setting_t *setting, size_t index)
{
	if (type->line == NULL)
		return;
	if (config_setting_is_aggregate(setting))
		setting = config_setting_get_elem(setting, (unsigned)index);
	*type->line(item) = (int)config_setting_source_line(setting);
}

static int parse_strings(const struct option_item *type, struct list *list,
    const struct config_setting_t *setting, const struct strings *strings, char *why,
    size_t why_size)
{
	list->items = calloc(strings->count, type->size);
	if (list->items == NULL && strings->count > 0) {
		snprintf(why, why_size, "out of memory");
		return -1;
	}
	for (; list->count < strings->count; list->count++) {
		void *item = list->items + list->count * type->size;

		if (parse_item(type, item, strings->items[list->count], why, why_size) == -1)
			return -1;
		note_line(type, item, setting, list->count);
	}
	return 0;
}

int option_list_parse(const struct option_row *row, const struct config_setting_t *setting,
    void *field, char *why, size_t why_size)
{
	const struct option_item *type = row->type->item;
	struct list list = { 0 };
	struct strings strings = { 0 };
	int result = option_strings.parse(row, setting, &strings, why, why_size);

	if (result == 0)
		result = parse_strings(type, &list, setting, &strings, why, why_size);
	strings_clear(&strings);
	if (result == -1)
		option_list_clear(type, &list);
	memcpy(field, &list, sizeof(list));
	return result;
}

void option_list_print(const struct option_row *row, const void *field, FILE *out)
{
	const struct option_item *type = row->type->item;
	struct list list;

	memcpy(&list, field, sizeof(list));
	fputs("[ ", out);
	for (size_t i = 0; i < list.count; i++) {
		fputs(i == 0 ? "" : ", ", out);
		option_string.print(row, type->text(list.items + i * type->size), out);
	}
	fputs(list.count == 0 ? "]" : " ]", out);
}

void option_list_clear(const struct option_item *type, void *field)
{
	struct list list;

	memcpy(&list, field, sizeof(list));
	for (size_t i = 0; i < list.count; i++)
		type->clear(list.items + i * type->size);
	free(list.items);
	memset(field, 0, sizeof(list));
}

void option_list_set_line(const struct option_row *row, void *field, size_t index, int line)
{
	const struct option_item *type = row->type->item;
	struct list list;

	memcpy(&list, field, sizeof(list));
	if (type->line != NULL && index < list.count)
		*type->line(list.items + index * type->size) = line;
}

int option_list_line(const struct option_row *row, const void *field, const char *text)
{
	const struct option_item *type = row->type->item;
	struct list list;

	memcpy(&list, field, sizeof(list));
	for (size_t i = 0; type->line != NULL && i < list.count; i++)
		if (*type->text(list.items + i * type->size) == text)
			return *type->line(list.items + i * type->size);
	return 0;
}
