/*
 * A file is read into memory once; our checks and libconfig see the same bytes. Only includes are
 * opened again by libconfig, after we have looked at them. The config keeps the bytes, for the next reload.
 */
#include "core/config_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/config_check.h"
#include "core/config_hint.h"
#include "core/config_lexer.h"
#include "core/config_text.h"
#include "core/path.h"
#include "core/privilege.h"
#include "core/trust.h"

struct reader {
	struct config_files *files;
	struct strings *errors;
	const char *directory; /* of the file at hand; includes are relative to it */
};

static void report(struct reader *reader, const char *file, const struct error *error)
{
	struct option_origin where = { .file = file };

	if (error->code == ENOMEM)
		reader->errors->lost = true;
	else
		errors_add(reader->errors, &where, "%s", error->text);
	reader->files->broken = true;
}

/* The name that we know a file of libconfig's by; 1.5 leaves our directory out, 1.7 does not. */
static const char *known_name(const struct config *config, const char *directory, const char *file)
{
	char *path = path_join(directory, file);
	const char *name = path == NULL ? NULL : strings_find(&config->files, path);

	free(path);
	return name != NULL ? name : strings_find(&config->files, file);
}

static void report_syntax(struct reader *reader, const char *name, const config_t *tree)
{
	const struct config *config = reader->files->config;
	const char *file = config_error_file(tree), *what = config_error_text(tree), *text;
	struct option_origin where = { .file = name, .line = config_error_line(tree) };
	char line[120] = "", hint[160] = "";

	if (file != NULL)
		where.file = known_name(config, reader->directory, file);
	if (where.file == NULL)
		where.file = file;
	if ((text = text_kept(config, where.file)) != NULL)
		text_line(text, where.line, line, sizeof(line));
	if (text != NULL && strcmp(what, "syntax error") == 0)
		config_hint(text, where.line, hint, sizeof(hint));
	errors_add(reader->errors, &where, "%s%s%s%s%s%s", what,
	    *line != '\0' ? ": " : " at the end of the file", line, *hint != '\0' ? " (" : "", hint,
	    *hint != '\0' ? ")" : "");
}

static void read_file(struct reader *reader, const char *file, bool may_wait)
{
	struct config *config = reader->files->config;
	struct config_file *parsed = calloc(1, sizeof(*parsed));
	char *directory = path_directory(file);
	const char *text = NULL;
	struct error error;
	size_t length;

	error_memory(&error);
	if (parsed != NULL && directory != NULL)
		text = text_keep(config, file, may_wait, &length, &error);
	reader->directory = directory;
	if (text == NULL) {
		report(reader, file, &error);
	} else if (!config_check(config, file, text, length, directory, reader->errors)) {
		reader->files->broken = true;
	} else {
		parsed->name = strings_find(&config->files, file);
		if (text_parse(&parsed->tree, text, directory) == 0) {
			STAILQ_INSERT_TAIL(&reader->files->list, parsed, entry);
			parsed = NULL;
		} else {
			if (errno == ENOMEM)
				reader->errors->lost = true;
			else
				report_syntax(reader, parsed->name, &parsed->tree);
			config_destroy(&parsed->tree);
			reader->files->broken = true;
		}
	}
	free(parsed);
	free(directory);
}

static bool ends_in_conf(const char *name)
{
	size_t length = strlen(name);

	return length >= 5 && strcmp(name + length - 5, ".conf") == 0;
}

static int is_drop_in(const struct dirent *entry)
{
	return entry->d_name[0] != '.' && ends_in_conf(entry->d_name);
}

static int in_c_order(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* Lists the drop-ins of a main file. 0, or -1 with an error of their *directory, which is allocated in any case. */
static int list_drop_ins(
    const char *main_file, char **directory, struct strings *list, struct error *error)
{
	size_t length = strlen(main_file) - (ends_in_conf(main_file) ? strlen(".conf") : 0);
	struct dirent **entries;
	int count;

	if (asprintf(directory, "%.*s.d", (int)length, main_file) == -1) {
		*directory = NULL;
		return error_memory(error);
	}
	count = scandir(*directory, &entries, is_drop_in, in_c_order);
	if (count == -1)
		return errno == ENOENT ? 0 : error_code(error, errno, "%s", strerror(errno));
	for (int i = 0; i < count; i++) {
		strings_adopt(list, path_join(*directory, entries[i]->d_name));
		free(entries[i]);
	}
	free(entries);
	if (list->lost)
		return error_memory(error);
	return privilege_was_root() ? trust_check(*directory, error) : 0;
}

void config_files_read(
    struct config_files *files, const char *main_file, bool may_wait, struct strings *errors)
{
	struct reader reader = { .files = files, .errors = errors };
	struct strings drop_ins = { 0 };
	struct error error;
	char *directory;

	STAILQ_INIT(&files->list);
	read_file(&reader, main_file, may_wait);
	if (list_drop_ins(main_file, &directory, &drop_ins, &error) == -1)
		report(&reader, directory, &error);
	else
		for (size_t i = 0; i < drop_ins.count; i++)
			read_file(&reader, drop_ins.items[i], false);
	strings_clear(&drop_ins);
	free(directory);
}

bool config_is_current(const struct config *config)
{
	const struct strings *files = &config->files, *texts = &config->texts;
	struct strings drop_ins = { 0 };
	char *directory = NULL;
	struct error error;
	bool current = files->count == texts->count &&
		       list_drop_ins(files->items[0], &directory, &drop_ins, &error) == 0;

	for (size_t i = 0; current && i < drop_ins.count; i++)
		current = strings_find(files, drop_ins.items[i]) != NULL;
	for (size_t i = 0; current && i < files->count; i++) {
		size_t length;
		char *text = text_read(files->items[i], false, &length, &error);

		/* A text with a NUL byte is shorter. */
		current =
		    text != NULL && strcmp(text, texts->items[i]) == 0 && strlen(text) > length;
		free(text);
	}
	strings_clear(&drop_ins);
	free(directory);
	return current;
}

void config_files_clear(struct config_files *files)
{
	struct config_file *file;

	while ((file = STAILQ_FIRST(&files->list)) != NULL) {
		STAILQ_REMOVE_HEAD(&files->list, entry);
		config_destroy(&file->tree);
		free(file);
	}
}

struct option_origin config_files_origin(const struct config_files *files,
    const struct config_file *file, const config_setting_t *setting)
{
	const char *included = config_setting_source_file(setting), *name = NULL;
	struct option_origin origin = { .file = file->name,
		.line = (int)config_setting_source_line(setting) };
	char *directory;

	if (included == NULL)
		return origin;
	directory = path_directory(file->name);
	if (directory != NULL)
		name = known_name(files->config, directory, included);
	free(directory);
	if (name != NULL)
		origin.file = name;
	return origin;
}

/* Finds an element of the array or list after a name: its first token, and the token after it. */
static bool find_element(
    struct lexer lexer, unsigned index, struct token *first, struct token *behind)
{
	struct token token = lexer_next(&lexer);
	bool begins = true;

	if (token_is(&token, '=') || token_is(&token, ':'))
		token = lexer_next(&lexer);
	if (!token_is(&token, '[') && !token_is(&token, '('))
		return false;
	for (;; begins = token_is(&token, ','), index -= begins) {
		token = lexer_next(&lexer);
		if (begins && index == 0)
			*first = token;
		if (token.kind == TOKEN_END)
			return false;
		if (token_is(&token, ']') || token_is(&token, ')') || token_is(&token, ',')) {
			*behind = token;
			if (index == 0)
				return true;
			if (!token_is(&token, ','))
				return false;
		}
	}
}

/*
 * libconfig 1.5 notes the line of the token after an element, which may be a later one. Several arrays may have the
 * same name; the noted line tells which one is meant.
 */
struct option_origin config_files_element_origin(const struct config_files *files,
    const struct config_file *file, const config_setting_t *array, unsigned index)
{
	const config_setting_t *element = config_setting_get_elem(array, index);
	struct option_origin origin = config_files_origin(files, file, element);
	int name_line = (int)config_setting_source_line(array);
	const char *text = text_kept(files->config, origin.file), *name;
	struct lexer lexer;
	struct token token, first = { 0 }, behind;

	if (origin.line == name_line || text == NULL)
		return origin;
	name = config_setting_name(array);
	lexer = lexer_of(text);
	while ((token = lexer_next(&lexer)).kind != TOKEN_END && token.line <= name_line)
		if (token.kind == TOKEN_NAME && token.line == name_line &&
		    token.length == strlen(name) && memcmp(token.text, name, token.length) == 0 &&
		    find_element(lexer, index, &first, &behind) && behind.line == origin.line) {
			origin.line = first.line;
			break;
		}
	return origin;
}
