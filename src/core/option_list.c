/* Lists for option types further right: net/ has addresses and networks. A list owns its items. */
#include "core/option_list.h"

#include <errno.h>
#include <libconfig.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"

/* What every such field is, with items of its own type. */
struct __attribute__((may_alias)) list {
	char *items;
	size_t count;
};

static char *text_of(const struct option_item *type, const void *item)
{
	return *(char *const *)((const char *)item + type->text);
}

static int *line_of(const struct option_item *type, void *item)
{
	return (int *)((char *)item + type->line);
}

int option_list_parse(const struct option_row *row, const struct config_setting_t *setting,
    void *field, struct error *error)
{
	const struct option_item *type = row->type->item;
	bool many = config_setting_is_array(setting) || config_setting_is_list(setting);
	size_t count = many ? (size_t)config_setting_length(setting) : 1;
	struct list *list = field;
	char shown[160];

	if (count > 0 && (list->items = calloc(count, type->size)) == NULL)
		return error_memory(error);
	for (; list->count < count; list->count++) {
		const config_setting_t *element =
		    many ? config_setting_get_elem(setting, (unsigned)list->count) : setting;
		const char *text =
		    option_read_string(row, element, OPTION_LIST_EXPECTED(many), error);
		char *item = list->items + list->count * type->size;

		if (text == NULL)
			break;
		if (type->parse(item, text, error) == -1) {
			log_escape(shown, sizeof(shown), text, strlen(text));
			error_prefix(error, "\"%s\": ", shown);
			break;
		}
		*line_of(type, item) = (int)config_setting_source_line(element);
	}
	if (list->count == count)
		return 0;
	option_list_clear(row, field);
	return -1;
}

void option_list_print(const struct option_row *row, const void *field, FILE *out)
{
	const struct option_item *type = row->type->item;
	const struct list *list = field;

	fputs("[ ", out);
	for (size_t i = 0; i < list->count; i++) {
		char *text = text_of(type, list->items + i * type->size);

		fputs(i == 0 ? "" : ", ", out);
		option_string.print(row, &text, out);
	}
	fputs(list->count == 0 ? "]" : " ]", out);
}

bool option_list_equal(const struct option_row *row, const void *a, const void *b)
{
	const struct option_item *type = row->type->item;
	const struct list *x = a, *y = b;
	size_t i = 0;

	if (x->count != y->count)
		return false;
	while (i < x->count && strcmp(text_of(type, x->items + i * type->size),
				   text_of(type, y->items + i * type->size)) == 0)
		i++;
	return i == x->count;
}

int option_list_copy(const struct option_row *row, void *to, const void *from)
{
	const struct option_item *type = row->type->item;
	const struct list *list = from;
	struct list *copy = to;
	struct error error;

	if (list->count > 0 && (copy->items = calloc(list->count, type->size)) == NULL)
		return -1;
	for (; copy->count < list->count; copy->count++) {
		char *item = list->items + copy->count * type->size;
		char *new = copy->items + copy->count * type->size;

		if (type->parse(new, text_of(type, item), &error) == -1) {
			option_list_clear(row, to);
			errno = ENOMEM;
			return -1;
		}
		*line_of(type, new) = *line_of(type, item);
	}
	return 0;
}

void option_list_clear(const struct option_row *row, void *field)
{
	const struct option_item *type = row->type->item;
	struct list *list = field;

	for (size_t i = 0; i < list->count; i++)
		type->clear(list->items + i * type->size);
	free(list->items);
	*list = (struct list){ 0 };
}

void option_list_set_line(const struct option_row *row, void *field, size_t index, int line)
{
	const struct option_item *type = row->type->item;
	const struct list *list = field;

	*line_of(type, list->items + index * type->size) = line;
}

int option_list_line(const struct option_row *row, const void *field, const char *text)
{
	const struct option_item *type = row->type->item;
	const struct list *list = field;

	for (size_t i = 0; i < list->count; i++)
		if (text_of(type, list->items + i * type->size) == text)
			return *line_of(type, list->items + i * type->size);
	return 0;
}
