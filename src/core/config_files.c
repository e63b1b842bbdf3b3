/*
 * A file is read into memory once; our checks and libconfig see the same bytes. Only includes are
 * opened again by libconfig, after we have looked at them.
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

static void report_errno(struct reader *reader, const char *file)
{
	struct option_origin where = { .file = file };

	if (errno == ENOMEM)
		reader->errors->lost = true;
	else
		errors_add(reader->errors, &where, "%s", text_describe(errno));
	reader->files->broken = true;
}

/* Whether only root and we can have written the file; adds an error if not. Only a daemon started as root asks. */
static bool is_trusted(struct reader *reader, const char *file)
{
	struct option_origin where = { .file = file };
	struct error error;

	if (!privilege_was_root() || trust_check(file, &error) == 0)
		return true;
	errors_add(reader->errors, &where, "%s", error.text);
	reader->files->broken = true;
	return false;
}

/* The name that we know a file of libconfig's by; 1.5 leaves our directory out, 1.7 does not. */
static const char *known_name(struct strings *names, const char *directory, const char *file)
{
	char *path = path_join(directory, file);
	const char *name = path == NULL ? NULL : strings_find(names, path);

	if (name == NULL)
		name = strings_find(names, file);
	if (name == NULL && path != NULL)
		name = strings_intern(names, path);
	free(path);
	return name;
}

static void report_syntax(
    struct reader *reader, const char *name, const char *own_text, const config_t *tree)
{
	const char *file = config_error_file(tree), *what = config_error_text(tree);
	struct option_origin where = { .file = name, .line = config_error_line(tree) };
	char line[120] = "", hint[160] = "", *included = NULL;
	const char *text = own_text;
	size_t length;

	if (file != NULL) {
		where.file = known_name(reader->files->names, reader->directory, file);
		text = included = where.file == NULL ? NULL : text_read(where.file, false, &length);
	}
	if (text != NULL)
		text_line(text, where.line, line, sizeof(line));
	if (text != NULL && strcmp(what, "syntax error") == 0)
		config_hint(text, where.line, hint, sizeof(hint));
	errors_add(reader->errors, &where, "%s%s%s%s%s%s", what,
	    *line != '\0' ? ": " : " at the end of the file", line, *hint != '\0' ? " (" : "", hint,
	    *hint != '\0' ? ")" : "");
	free(included);
}

/* Takes over the text. */
static void parse_text(struct reader *reader, const char *name, char *text)
{
	struct config_file *file = calloc(1, sizeof(*file));

	if (file == NULL) {
		reader->errors->lost = true;
		free(text);
		return;
	}
	file->name = name;
	file->text = text;
	if (text_parse(&file->tree, text, reader->directory) == 0) {
		STAILQ_INSERT_TAIL(&reader->files->list, file, entry);
		return;
	}
	if (errno == ENOMEM)
		reader->errors->lost = true;
	else
		report_syntax(reader, name, text, &file->tree);
	config_destroy(&file->tree);
	free(text);
	free(file);
	reader->files->broken = true;
}

static void read_file(struct reader *reader, const char *file, bool may_wait)
{
	const char *name = strings_intern(reader->files->names, file);
	char *directory = path_directory(file), *text;
	size_t length;

	if (name == NULL || directory == NULL) {
		reader->errors->lost = true;
	} else if (is_trusted(reader, name)) {
		reader->directory = directory;
		if ((text = text_read(name, may_wait, &length)) == NULL) {
			report_errno(reader, name);
		} else if (config_check(name, text, length, directory, reader->files->names,
			       reader->errors)) {
			parse_text(reader, name, text);
		} else {
			reader->files->broken = true;
			free(text);
		}
	}
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

static void read_directory(struct reader *reader, const char *directory)
{
	struct dirent **entries;
	int count = scandir(directory, &entries, is_drop_in, in_c_order);
	bool trusted;

	if (count == -1) {
		if (errno != ENOENT)
			report_errno(reader, directory);
		return;
	}
	trusted = is_trusted(reader, directory);
	for (int i = 0; i < count; i++) {
		char *file = path_join(directory, entries[i]->d_name);

		if (file == NULL)
			reader->errors->lost = true;
		else if (trusted)
			read_file(reader, file, false);
		free(file);
		free(entries[i]);
	}
	free(entries);
}

void config_files_read(struct config_files *files, const char *main_file, bool may_wait,
    struct strings *names, struct strings *errors)
{
	struct reader reader = { .files = files, .errors = errors };
	size_t length = strlen(main_file) - (ends_in_conf(main_file) ? strlen(".conf") : 0);
	char *drop_ins = NULL;

	STAILQ_INIT(&files->list);
	files->names = names;
	files->broken = false;
	read_file(&reader, main_file, may_wait);
	if (asprintf(&drop_ins, "%.*s.d", (int)length, main_file) == -1) {
		errors->lost = true;
		return;
	}
	read_directory(&reader, drop_ins);
	free(drop_ins);
}

void config_files_clear(struct config_files *files)
{
	struct config_file *file;

	while ((file = STAILQ_FIRST(&files->list)) != NULL) {
		STAILQ_REMOVE_HEAD(&files->list, entry);
		config_destroy(&file->tree);
		free(file->text);
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
		name = known_name(files->names, directory, included);
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
static int element_line(
    const char *text, const char *name, int name_line, unsigned index, int noted)
{
	struct lexer lexer = lexer_of(text);
	struct token token, first, behind;

	while ((token = lexer_next(&lexer)).kind != TOKEN_END && token.line <= name_line)
		if (token.kind == TOKEN_NAME && token.line == name_line &&
		    token.length == strlen(name) && memcmp(token.text, name, token.length) == 0 &&
		    find_element(lexer, index, &first, &behind) && behind.line == noted)
			return first.line;
	return noted;
}

struct option_origin config_files_element_origin(const struct config_files *files,
    const struct config_file *file, const config_setting_t *array, unsigned index)
{
	const config_setting_t *element = config_setting_get_elem(array, index);
	struct option_origin origin = config_files_origin(files, file, element);
	int name_line = (int)config_setting_source_line(array);
	char *text = file->text, *included = NULL;
	size_t length;

	if (origin.line == name_line)
		return origin;
	if (config_setting_source_file(array) != NULL)
		text = included = text_read(origin.file, false, &length);
	if (text != NULL)
		origin.line =
		    element_line(text, config_setting_name(array), name_line, index, origin.line);
	free(included);
	return origin;
}
