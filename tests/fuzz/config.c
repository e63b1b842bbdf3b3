/*
 * The config loader: whatever the file holds, it is a whole config or refused with a reason; and what
 * `echod -T` prints of it is a config that prints the same again.
 */
#include "core/config.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/strings.h"
#include "fuzz.h"
#include "services/service.h"

const char *__lsan_default_suppressions(void);

/* libconfig 1.5 does not free the string or name that a syntax error stands behind. */
const char *__lsan_default_suppressions(void)
{
	return "leak:strbuf_append\nleak:libconfig_yylex\nleak:libconfig_yyparse\n";
}

static int file = -1;

static void write_file(const void *bytes, size_t length)
{
	require(ftruncate(file, 0) == 0);
	require(pwrite(file, bytes, length, 0) == (ssize_t)length);
}

/* What is in the file, read and printed; NULL when it is refused. */
static char *load_and_print(size_t *length)
{
	struct strings errors = { 0 };
	struct config *config;
	char path[32], *text = NULL;
	FILE *out;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	config = config_load(path, true, service_kinds, &errors);
	require((config == NULL) == (errors.count > 0));
	strings_clear(&errors);
	if (config == NULL)
		return NULL;
	out = open_memstream(&text, length);
	config_print(config, out);
	fclose(out);
	config_free(config);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t first_length, second_length, third_length;
	char *first, *second, *third;

	if (file == -1)
		file = memfd_create("config", MFD_CLOEXEC);
	write_file(data, size);
	if ((first = load_and_print(&first_length)) == NULL)
		return 0;
	write_file(first, first_length);
	second = load_and_print(&second_length);
	require(second != NULL);
	/* The comments say where a value came from: the file itself, from now on. */
	write_file(second, second_length);
	third = load_and_print(&third_length);
	require(third != NULL && strcmp(second, third) == 0);
	free(first);
	free(second);
	free(third);
	return 0;
}
