/* Numbers and what is written like one: integers, durations and sizes. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <libconfig.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core/option.h"

/* What a string of digits may end in, the largest first. */
struct unit {
	const char *suffix;
	int64_t factor;
};

static const struct unit duration_units[] = { { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 },
	{ "s", 1000 }, { "ms", 1 }, { NULL, 0 } };
static const struct unit size_units[] = { { "T", INT64_C(1) << 40 }, { "G", 1 << 30 },
	{ "M", 1 << 20 }, { "K", 1 << 10 }, { NULL, 0 } };

static const char duration_shape[] = "a duration in seconds or such as \"500ms\", \"30s\", \"5m\"";
static const char size_shape[] = "a size in bytes or such as \"64K\", \"1M\", \"1G\"";

/* libconfig's 64-bit getter gives 0 for a 32-bit value, and the other way round. */
static bool read_integer(const struct config_setting_t *setting, int64_t *value)
{
	switch (config_setting_type(setting)) {
	case CONFIG_TYPE_INT:
		*value = config_setting_get_int(setting);
		return true;
	case CONFIG_TYPE_INT64:
		*value = config_setting_get_int64(setting);
		return true;
	default:
		return false;
	}
}

/* Digits and a unit; the value is -1 when it is beyond 64 bits. */
static bool read_quantity(const char *text, const struct unit *unit, int64_t *value)
{
	char *end;

	if (text == NULL || !isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*value = strtoll(text, &end, 10);
	while (unit->suffix != NULL && strcmp(end, unit->suffix) != 0)
		unit++;
	if (unit->suffix == NULL)
		return false;
	if (errno != 0 || __builtin_mul_overflow(*value, unit->factor, value))
		*value = -1;
	return true;
}

static bool has_bounds(const struct option_row *row)
{
	return row->min != 0 || row->max != 0;
}

/* 0, or -1 with an error that describes the type. */
static int check_bounds(const struct option_row *row, const struct config_setting_t *setting,
    int64_t value, struct error *error)
{
	char shape[320];

	if (!has_bounds(row) || (value >= row->min && value <= row->max))
		return 0;
	row->type->describe(row, shape, sizeof(shape));
	return option_refuse(error, setting, shape);
}

/* "NOUN from 1 to 9", the bounds in the words of a type. */
static void describe_range(const struct option_row *row, const char *noun,
    void (*show)(int64_t value, char *to, size_t size), char *to, size_t size)
{
	char min[32], max[32];

	show(row->min, min, sizeof(min));
	show(row->max, max, sizeof(max));
	if (!has_bounds(row))
		snprintf(to, size, "%s", noun);
	else if (row->max == INT64_MAX)
		snprintf(to, size, "%s of at least %s", noun, min);
	else
		snprintf(to, size, "%s from %s to %s", noun, min, max);
}

static void print_number(int64_t value, FILE *out)
{
	fprintf(out, "%" PRId64 "%s", value, value < INT_MIN || value > INT_MAX ? "L" : "");
}

/* --- integers --- */

static void integer_show(int64_t value, char *to, size_t size)
{
	snprintf(to, size, "%" PRId64, value);
}

static void integer_describe(const struct option_row *row, char *to, size_t size)
{
	char range[96];

	describe_range(row, "an integer", integer_show, range, sizeof(range));
	snprintf(to, size, "%s%s%s", range, row->unit != NULL ? " " : "",
	    row->unit != NULL ? row->unit : "");
}

static int integer_parse(const struct option_row *row, const struct config_setting_t *setting,
    void *field, struct error *error)
{
	char shape[320];

	if (read_integer(setting, field))
		return check_bounds(row, setting, *(int64_t *)field, error);
	integer_describe(row, shape, sizeof(shape));
	return option_refuse(error, setting, shape);
}

static void integer_print(const struct option_row *row, const void *field, FILE *out)
{
	(void)row;
	print_number(*(const int64_t *)field, out);
}

/* --- durations --- */

static void duration_show(int64_t ms, char *to, size_t size)
{
	if (ms % 1000 == 0)
		snprintf(to, size, "%" PRId64 " s", ms / 1000);
	else
		snprintf(to, size, "%" PRId64 " ms", ms);
}

static void duration_describe(const struct option_row *row, char *to, size_t size)
{
	if (has_bounds(row))
		describe_range(row, "a duration", duration_show, to, size);
	else
		snprintf(to, size, "%s", duration_shape);
}

static int duration_parse(const struct option_row *row, const struct config_setting_t *setting,
    void *field, struct error *error)
{
	int64_t *ms = field;

	if (read_integer(setting, ms)) {
		if (__builtin_mul_overflow(*ms, INT64_C(1000), ms))
			*ms = -1;
	} else if (!read_quantity(config_setting_get_string(setting), duration_units, ms)) {
		return option_refuse(error, setting, duration_shape);
	}
	if (*ms < 0 && !has_bounds(row))
		return option_refuse(error, setting, duration_shape);
	return check_bounds(row, setting, *ms, error);
}

static void duration_print(const struct option_row *row, const void *field, FILE *out)
{
	int64_t ms = *(const int64_t *)field;

	(void)row;
	if (ms % 1000 == 0)
		print_number(ms / 1000, out);
	else
		fprintf(out, "\"%" PRId64 "ms\"", ms);
}

int64_t option_read_duration(const char *text)
{
	static const struct unit seconds[] = { { "", 1000 }, { NULL, 0 } };
	int64_t ms;

	if (read_quantity(text, duration_units, &ms) || read_quantity(text, seconds, &ms))
		return ms;
	return -1;
}

/* --- sizes --- */

static void size_show(int64_t bytes, char *to, size_t size)
{
	const struct unit *unit = size_units;

	while (unit->suffix != NULL && (bytes == 0 || bytes % unit->factor != 0))
		unit++;
	if (unit->suffix != NULL)
		snprintf(to, size, "%" PRId64 "%s", bytes / unit->factor, unit->suffix);
	else
		snprintf(to, size, "%" PRId64, bytes);
}

static void size_describe(const struct option_row *row, char *to, size_t size)
{
	char range[96];

	describe_range(row, "a size", size_show, range, sizeof(range));
	if (has_bounds(row))
		snprintf(to, size, "%s bytes", range);
	else
		snprintf(to, size, "%s", size_shape);
}

static int size_parse(const struct option_row *row, const struct config_setting_t *setting,
    void *field, struct error *error)
{
	int64_t *bytes = field;

	if (!read_integer(setting, bytes) &&
	    !read_quantity(config_setting_get_string(setting), size_units, bytes))
		return option_refuse(error, setting, size_shape);
	if (*bytes < 0 && !has_bounds(row))
		return option_refuse(error, setting, size_shape);
	return check_bounds(row, setting, *bytes, error);
}

static void size_print(const struct option_row *row, const void *field, FILE *out)
{
	int64_t bytes = *(const int64_t *)field;
	char text[32];

	(void)row;
	size_show(bytes, text, sizeof(text));
	if (isdigit((unsigned char)text[strlen(text) - 1]))
		print_number(bytes, out);
	else
		fprintf(out, "\"%s\"", text);
}

const struct option_type option_integer = {
	.name = "integer",
	.size = sizeof(int64_t),
	.parse = integer_parse,
	.print = integer_print,
	.describe = integer_describe,
};

const struct option_type option_duration = {
	.name = "duration",
	.size = sizeof(int64_t),
	.parse = duration_parse,
	.print = duration_print,
	.describe = duration_describe,
};

const struct option_type option_size = {
	.name = "size",
	.size = sizeof(int64_t),
	.parse = size_parse,
	.print = size_print,
	.describe = size_describe,
};
