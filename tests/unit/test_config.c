/* Loading files: what is merged, what is refused and with which words, and what is printed. */
#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/config.h"

/* Three kinds of service: every one has base_rows, two have line_rows. */
struct base {
	bool enabled;
	char *type;
	struct strings listen;
	int64_t max_connections, idle_timeout;
	mode_t socket_mode;
};

struct lines {
	int64_t max_line;
};

struct store {
	char *storage;
	int64_t max_key, max_value;
	int sync;
};

static const char *const syncs[] = { "always", "interval", NULL };

static const struct option_row base_rows[] = {
	OPTION_DEFAULT(struct base, enabled, bool, true, .help = "Whether it runs."),
	OPTION(struct base, type, string, .help = "Its type."),
	OPTION(struct base, listen, strings, .flags = OPTION_REQUIRED, .help = "Addresses."),
	OPTION_DEFAULT(struct base, max_connections, integer, 100, .min = 1, .max = 100000,
	    .unit = "clients", .help = "Clients at a time."),
	OPTION_DEFAULT(struct base, idle_timeout, duration, 1500),
	OPTION_DEFAULT(struct base, socket_mode, mode, 0660),
	OPTION_END,
};
static const struct option_row line_rows[] = {
	OPTION_DEFAULT(struct lines, max_line, size, 64 << 10, .min = 16, .max = 1 << 20,
	    .help = "Longest line."),
	OPTION_END,
};
static const struct option_row store_rows[] = {
	OPTION(struct store, storage, string, .flags = OPTION_RESTART, .help = "A directory."),
	OPTION_DEFAULT(
	    struct store, max_key, integer, 250, .min = 1, .max = 65535, .help = "Longest key."),
	OPTION_DEFAULT(struct store, max_value, size, 65536, .min = 1, .max = INT64_MAX),
	OPTION_DEFAULT(struct store, sync, choice, 0, .choices = syncs, .flags = OPTION_RESTART),
	OPTION_END,
};

static int check_store(const struct instance_config *instance, struct error *error)
{
	const struct lines *lines = instance->parts[1].fields;
	const struct store *store = instance->parts[3].fields;

	if (store->max_value <= lines->max_line)
		return 0;
	return error_key(error, "max_value", "more than a line holds");
}

#define PART(rows, type)                  \
	{                                 \
		rows, sizeof(struct type) \
	}

static const struct config_kind echo = {
	.type = "echo", .help = "Sends back what comes.", .parts = { PART(base_rows, base) }
};
static const struct config_kind upper = { .type = "upper",
	.help = "Raises letters.",
	.parts = { PART(base_rows, base), PART(line_rows, lines) } };
static const struct config_kind kv = { .type = "kv",
	.help = "Keeps values.",
	.parts = { PART(base_rows, base), PART(line_rows, lines), { NULL, 0 },
	    PART(store_rows, store) },
	.check = check_store };
static const struct config_kind *const kinds[] = { &echo, &upper, &kv, NULL };

/* A service that makes any file complete. */
#define ECHO "services = { echo = { listen = \"tcp://*:7\"; }; };\n"

static char directory[] = "/tmp/test_config.XXXXXX";
static char *home;
static struct strings errors;

static int remove_cb(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void setup(void)
{
	home = getcwd(NULL, 0);
	memcpy(strrchr(directory, '.'), ".XXXXXX", 8);
	ck_assert_ptr_nonnull(mkdtemp(directory));
	ck_assert_int_eq(chdir(directory), 0);
	ck_assert_int_eq(mkdir("main.d", 0755), 0);
	ck_assert_int_eq(mkdir("sub", 0755), 0);
}

static void teardown(void)
{
	strings_clear(&errors);
	ck_assert_int_eq(chdir(home), 0);
	free(home);
	nftw(directory, remove_cb, 8, FTW_DEPTH | FTW_PHYS);
}

static void write_bytes(const char *file, const char *bytes, size_t length)
{
	FILE *out = fopen(file, "w");

	ck_assert_ptr_nonnull(out);
	ck_assert_uint_eq(fwrite(bytes, 1, length, out), length);
	ck_assert_int_eq(fclose(out), 0);
}

static void write_file(const char *file, const char *text)
{
	write_bytes(file, text, strlen(text));
}

static struct config *load(const char *file)
{
	strings_clear(&errors);
	return config_load(file, true, kinds, &errors);
}

/* All errors, a line each; the caller frees them. */
static char *all_errors(void)
{
	size_t length;
	char *text = NULL;
	FILE *out = open_memstream(&text, &length);

	for (size_t i = 0; i < errors.count; i++)
		fprintf(out, "%s\n", errors.items[i]);
	fclose(out);
	return text;
}

static struct config *load_good(const char *file)
{
	struct config *config = load(file);
	char *said = all_errors();

	ck_assert_str_eq(said, "");
	ck_assert_ptr_nonnull(config);
	free(said);
	return config;
}

static void refuses(const char *file, const char *expected)
{
	struct config *config = load(file);
	char *said = all_errors();

	ck_assert_str_eq(said, expected);
	ck_assert_ptr_null(config);
	free(said);
}

static const void *fields(const struct config *config, const char *name, size_t part)
{
	return config_instance(config, name)->parts[part].fields;
}

static const struct option_origin *origin(
    const struct config *config, const char *name, const char *key)
{
	const struct instance_config *instance = config_instance(config, name);
	size_t part;
	const struct option_row *row = config_kind_row(instance->kind, key, &part);

	return option_origin(&instance->parts[part], row);
}

/* One file, and every line that a load of it says. */
static const struct {
	const char *text, *said;
} bad[] = {
	/* Nothing to do. */
	{ "", "main.conf: no service is enabled\n" },
	{ "# nothing", "main.conf: no service is enabled\n" },
	{ "services = { echo = { enabled = false; }; };", "main.conf: no service is enabled\n" },
	/* Unknown names. */
	{ "lgo = { };\nzzzzzz = 1;\n" ECHO, "main.conf:1: lgo: unknown key; did you mean \"log\"?\n"
					    "main.conf:2: zzzzzz: unknown key\n" },
	{ "log = { target = \"Syslog\"; };\n" ECHO,
	    "main.conf:1: log.target: expected \"stderr\", \"syslog\" or an absolute path, got "
	    "\"Syslog\"; did you mean \"syslog\"?\n" },
	{ "log = { levle = \"info\"; };\n" ECHO,
	    "main.conf:1: log.levle: unknown key; did you mean \"level\"?\n" },
	{ "services = { echo = {\n lisen = \"a\"; }; };",
	    "main.conf:2: services.echo.lisen: unknown key; did you mean \"listen\"?\n" },
	{ "services = { echo = { listen = \"a\";\n max_key = 5; max_line = 5; }; };",
	    "main.conf:2: services.echo.max_key: not a key of type \"echo\", only of kv\n"
	    "main.conf:2: services.echo.max_line: not a key of type \"echo\", "
	    "only of upper, kv\n" },
	{ "services = { ech = { listen = \"a\"; }; };",
	    "main.conf:1: services.ech: unknown service type \"ech\"; did you mean \"echo\"?\n" },
	{ "services = { shout = {\n type = \"no\\nsuch\"; }; };",
	    "main.conf:2: services.shout.type: unknown service type \"no\\nsuch\"; "
	    "the types are echo, upper, kv\n" },
	{ "services = { shout = {\n type = 5; }; };",
	    "main.conf:2: services.shout.type: expected a string, got 5\n" },
	{ "services = { a*b = { type = \"echo\"; }; };",
	    "main.conf:1: services.a*b: a name is made of at most 64 letters, digits, - and _\n" },
	/* Groups that are none. */
	{ "log = 5;\nservices = [ ];",
	    "main.conf:1: log: expected a group, { ... }, got 5\n"
	    "main.conf:2: services: expected a group, { ... }, got an array\n" },
	{ "services = { echo = \"tcp://*:7\"; };",
	    "main.conf:1: services.echo: expected a group, { ... }, got \"tcp://*:7\"\n" },
	/* Values. */
	{ "user = 5;\n" ECHO, "main.conf:1: user: expected a string, got 5\n" },
	{ "limits = { max_connections = 0; };\n" ECHO,
	    "main.conf:1: limits.max_connections: "
	    "expected an integer from 1 to 1000000, got 0\n" },
	{ "services = { kv = { listen = \"a\";\n max_key = \"abc\";\n sync = \"alway\"; }; };",
	    "main.conf:2: services.kv.max_key: expected an integer from 1 to 65535, got \"abc\"\n"
	    "main.conf:3: services.kv.sync: expected \"always\" or \"interval\", got \"alway\"; "
	    "did you mean \"always\"?\n" },
	{ "services = { echo = { listen = \"a\"; socket_mode = 0660; }; };",
	    "main.conf:1: socket_mode: "
	    "expected an integer without a 0 before it, or a string such as \"0660\" for a "
	    "mode, got 0660\n" },
	/* What only the whole shows. */
	{ "\nservices = {\n echo = { }; };", "main.conf:3: services.echo.listen: is missing\n" },
	{ "services = { kv = { listen = \"a\";\n max_line = \"1K\"; }; };",
	    "main.conf:1: services.kv.max_value: more than a line holds\n" },
	{ "services = { kv = { listen = \"a\";\n max_value = \"1M\"; }; };",
	    "main.conf:2: services.kv.max_value: more than a line holds\n" },
	/* Integers that libconfig would wrap. */
	{ "limits = { max_connections = 3000000000; };\n" ECHO,
	    "main.conf:1: max_connections: expected an integer of 32 bits, one of 64 such as "
	    "3000000000L, or a string such as \"3G\", got 3000000000\n" },
	{ "limits = {\n max_connections = 4294967297;\n max_per_source = 0xFFFFFFFF; };\n" ECHO,
	    "main.conf:2: max_connections: expected an integer of 32 bits, one of 64 such as "
	    "4294967297L, or a string such as \"3G\", got 4294967297\n"
	    "main.conf:3: max_per_source: expected an integer of 32 bits, one of 64 such as "
	    "0xFFFFFFFFL, or a string such as \"3G\", got 0xFFFFFFFF\n" },
	{ "limits = { max_connections = 99999999999999999999; };\n" ECHO,
	    "main.conf:1: max_connections: expected an integer of 64 bits at most, "
	    "got 99999999999999999999\n" },
	{ "limits = { max_connections = 9223372036854775808L; };\n" ECHO,
	    "main.conf:1: max_connections: expected an integer of 64 bits at most, "
	    "got 9223372036854775808L\n" },
	{ "limits = { max_connections = -2147483649; };\n" ECHO,
	    "main.conf:1: max_connections: expected an integer of 32 bits, one of 64 such as "
	    "-2147483649L, or a string such as \"3G\", got -2147483649\n" },
	{ "limits = { max_connections = 3000000000L; };\n" ECHO,
	    "main.conf:1: limits.max_connections: "
	    "expected an integer from 1 to 1000000, got 3000000000\n" },
	/* What libconfig says nothing about. */
	{ "user = \"a\\x00b\";\n" ECHO, "main.conf:1: a string can't hold \\x00\n" },
	{ ECHO "/* x", "main.conf:2: the comment has no end\n" },
	{ ECHO "user = \"x\n\n", "main.conf:2: the string has no end\n" },
	{ "\xef\xbb\xbf" ECHO, "main.conf:1: the file begins with a byte order mark: remove it\n" },
	/* Syntax. */
	{ "a = 1;\na = 2;\n", "main.conf:2: duplicate setting name: a = 2;\n" },
	{ "services = { echo = {\n\tenabled = yes;\t\n}; };",
	    "main.conf:2: syntax error: enabled = yes; (write true for yes)\n" },
	{ "a = off;", "main.conf:1: syntax error: a = off; (write false for off)\n" },
	{ "a = 30s;", "main.conf:1: syntax error: a = 30s; (put 30s in double quotes)\n" },
	{ "a = 10k;", "main.conf:1: syntax error: a = 10k; (put 10k in double quotes)\n" },
	{ "a = info;", "main.conf:1: syntax error: a = info; (put info in double quotes)\n" },
	{ "a = 127.0.0.1;",
	    "main.conf:1: syntax error: a = 127.0.0.1; (put 127.0.0.1 in double quotes)\n" },
	{ "a = tcp://127.0.0.1:80;", "main.conf:1: syntax error: a = tcp://127.0.0.1:80; "
				     "(put tcp://127.0.0.1:80 in double quotes)\n" },
	{ "a = /run/x.sock;",
	    "main.conf:1: syntax error: a = /run/x.sock; (put /run/x.sock in double quotes)\n" },
	{ "a = 'x';", "main.conf:1: syntax error: a = 'x'; (a string needs double quotes)\n" },
	{ "a = [ \"b\",\n\"c\",\n];", "main.conf:3: a: remove the comma before the ]\n" },
	{ "a = [ \"b\", c ];",
	    "main.conf:1: syntax error: a = [ \"b\", c ]; (put c in double quotes)\n" },
	{ "a = [ 1 2 ];",
	    "main.conf:1: syntax error: a = [ 1 2 ]; (write a comma between two values)\n" },
	{ "a {\n b = 1; }", "main.conf:1: syntax error: a { (write = after a)\n" },
	{ "a = ;", "main.conf:1: syntax error: a = ; (a value is missing before the ;)\n" },
	{ "a = on;", "main.conf:1: syntax error: a = on; (write true for on)\n" },
	{ "a = no;", "main.conf:1: syntax error: a = no; (write false for no)\n" },
	{ "a = \"x\n;", "main.conf:1: the string has no end\n" },
	{ "a = { b = [ 1; }; };",
	    "main.conf:1: syntax error: a = { b = [ 1; }; }; (write a comma between two values)\n" },
	{ "a = ( 1, );", "main.conf:1: a: remove the comma before the )\n" },
	{ "9a = 1;", "main.conf:1: syntax error: 9a = 1; (a name begins with a letter: 9a)\n" },
	{ "a = 1;\n};", "main.conf:2: syntax error: }; (there is no { for this })\n" },
	{ "a = {\n b = 1;\n",
	    "main.conf:4: syntax error at the end of the file (the { of line 1 is not closed)\n" },
	{ "@include x", "main.conf:1: syntax error: @include x "
			"(@include begins a line and has its path in double quotes)\n" },
	{ "a = [ 1, \"b\" ];",
	    "main.conf:1: mismatched element type in array: a = [ 1, \"b\" ];\n" },
	{ "a = \x1b[31m;",
	    "main.conf:1: syntax error: a = \\x1b[31m; (put \\x1b[31m in double quotes)\n" },
	/* Includes. */
	{ "\n@include \"none\"\n", "main.conf:2: can't include none: No such file or directory\n" },
	{ "@include \"sub\"\n", "main.conf:1: can't include sub: Is a directory\n" },
	{ "@include \"sub/none\n" ECHO, "main.conf:1: the string has no end\n" },
	{ "@include \"main.conf\"\n",
	    "main.conf:1: include file nesting too deep: @include \"main.conf\"\n" },
};

START_TEST(test_bad)
{
	write_file("main.conf", bad[_i].text);
	refuses("main.conf", bad[_i].said);
}
END_TEST

START_TEST(test_good)
{
	struct config *config;
	const struct base *base;

	write_file("main.conf",
	    "/* 9999999999 */ # 9999999999 \"\n// 9999999999 '\n"
	    "user = \"9999999999 \\\" 9999999999 # /* //\"\n"
	    "log : { level = \"debug\", target = \"sys\" \"log\" }\n"
	    "limits = { max_connections = 10L; max_per_source = 0x10;\n"
	    "shutdown_timeout = \"2m\" };\n"
	    "services = { shout = { type = \"upper\"; listen = [ \"a\", \"b\" ]; };\n"
	    "kv = { listen = \"c\"; max_value = 40000L; idle_timeout = 3000000000L; };\n"
	    "echo = { enabled = false; }; }; # no end of line");
	config = load_good("main.conf");
	ck_assert_str_eq(config->main->user, "9999999999 \" 9999999999 # /* //");
	ck_assert_int_eq(config->log->level, LOG_LEVEL_DEBUG);
	ck_assert_str_eq(config->log->target, "syslog");
	ck_assert_int_eq(config->limits->max_connections, 10);
	ck_assert_int_eq(config->limits->max_per_source, 16);
	ck_assert_int_eq(config->limits->shutdown_timeout, 120000);
	ck_assert_uint_eq(config->instance_count, 3);
	ck_assert_str_eq(config->instances[0].name, "shout");
	ck_assert_ptr_eq(config->instances[0].kind, &upper);
	base = fields(config, "shout", 0);
	ck_assert_uint_eq(base->listen.count, 2);
	ck_assert_str_eq(base->type, "upper");
	base = fields(config, "kv", 0);
	ck_assert_int_eq(base->idle_timeout, INT64_C(3000000000000));
	ck_assert_str_eq(base->type, "kv");
	ck_assert_int_eq(((const struct store *)fields(config, "kv", 3))->max_value, 40000);
	ck_assert(config_instance(config, "kv")->enabled);
	ck_assert(!config_instance(config, "echo")->enabled);
	ck_assert_ptr_null(config_instance(config, "none"));
	config_free(config);
}
END_TEST

START_TEST(test_no_file)
{
	refuses("none.conf", "none.conf: No such file or directory\n");
	refuses("sub", "sub: Is a directory\n");
	config_free(NULL);
}
END_TEST

START_TEST(test_no_permission)
{
	if (geteuid() == 0)
		return;
	write_file("main.conf", ECHO);
	ck_assert_int_eq(chmod("main.conf", 0), 0);
	refuses("main.conf", "main.conf: Permission denied\n");
}
END_TEST

START_TEST(test_nul_byte)
{
	write_bytes("main.conf", "a = 1;\nb\0= 2;\n", 14);
	refuses("main.conf", "main.conf:2: a NUL byte in the file\n");
}
END_TEST

START_TEST(test_drop_ins)
{
	struct config *config;
	const struct base *base;

	write_file("main.conf", "limits = { max_connections = 1; max_per_source = 1; };\n"
				"services = { x = { listen = \"a\"; max_connections = 1; }; };\n");
	write_file("main.d/20.conf", "limits = { max_connections = 20; };\n"
				     "services = { x = { type = \"kv\";\n max_key = 20; }; };");
	write_file("main.d/100.conf", "limits = { max_connections = 100; };\n"
				      "services = { x = { max_key = 100;\n listen = \"b\"; };\n"
				      "y = { type = \"echo\"; listen = \"c\"; }; };");
	write_file("main.d/B.conf", "");
	write_file("main.d/a.conf~", "nonsense");
	write_file("main.d/.a.conf", "nonsense");
	write_file("main.d/a.dpkg-old", "nonsense");
	config = load_good("main.conf");
	ck_assert_int_eq(config->limits->max_connections, 20);
	ck_assert_int_eq(config->limits->max_per_source, 1);
	ck_assert_uint_eq(config->files.count, 4);
	ck_assert_str_eq(config->files.items[1], "main.d/100.conf");
	ck_assert_str_eq(config->files.items[2], "main.d/20.conf");
	ck_assert_uint_eq(config->instance_count, 2);
	ck_assert_ptr_eq(config_instance(config, "x")->kind, &kv);
	ck_assert_int_eq(((const struct store *)fields(config, "x", 3))->max_key, 20);
	base = fields(config, "x", 0);
	ck_assert_uint_eq(base->listen.count, 1);
	ck_assert_str_eq(base->listen.items[0], "b");
	ck_assert_int_eq(base->max_connections, 1);
	ck_assert_str_eq(origin(config, "x", "max_key")->file, "main.d/20.conf");
	ck_assert_int_eq(origin(config, "x", "max_key")->line, 3);
	ck_assert_str_eq(origin(config, "x", "listen")->file, "main.d/100.conf");
	ck_assert_int_eq(origin(config, "x", "listen")->line, 3);
	ck_assert_str_eq(origin(config, "x", "max_connections")->file, "main.conf");
	ck_assert_ptr_null(origin(config, "x", "max_line")->file);
	config_free(config);
}
END_TEST

START_TEST(test_drop_in_directory_of_any_name)
{
	struct config *config;

	ck_assert_int_eq(mkdir("sub/settings.d", 0755), 0);
	write_file("sub/settings", ECHO);
	write_file("sub/settings.d/1.conf", "user = \"u\";");
	config = load_good("sub/settings");
	ck_assert_str_eq(config->main->user, "u");
	config_free(config);
	ck_assert_int_eq(rmdir("main.d"), 0);
	write_file("main.conf", ECHO);
	config_free(load_good("main.conf"));
	write_file("main.d", "");
	refuses("main.conf", "main.d: Not a directory\n");
}
END_TEST

/* Each file's mistakes are told, and none that follows only from another. */
START_TEST(test_every_mistake_of_all_files)
{
	write_file("main.conf", "limits = { max_connections = 3000000000; };\n"
				"user = 5;\n"
				"services = { x = { max_key = 5; }; echo = { lisen = 5; }; };\n");
	write_file("main.d/1.conf", "services = { x = { type = kv; }; };");
	write_file("main.d/2.conf", "limits = { max_per_source = 0; };\n");
	ck_assert_int_eq(mkdir("main.d/3.conf", 0755), 0);
	refuses("main.conf",
	    "main.conf:1: max_connections: expected an integer of 32 bits, one of 64 such as "
	    "3000000000L, or a string such as \"3G\", got 3000000000\n"
	    "main.d/1.conf:1: syntax error: services = { x = { type = kv; }; }; "
	    "(put kv in double quotes)\n"
	    "main.d/3.conf: Is a directory\n"
	    "main.conf:2: user: expected a string, got 5\n"
	    "main.d/2.conf:1: limits.max_per_source: "
	    "expected an integer from 1 to 1000000, got 0\n"
	    "main.conf:3: services.echo.lisen: unknown key; did you mean \"listen\"?\n");
}
END_TEST

START_TEST(test_includes)
{
	struct config *config;

	ck_assert_int_eq(mkdir("sub/main.d", 0755), 0);
	write_file("sub/main.conf", "services = {\n@include \"inc/kv\"\n};\n");
	write_file("sub/main.d/1.conf", "  @include\t\"limits\"\n");
	write_file("sub/main.d/limits", "\nlimits = { max_connections = 5; };");
	ck_assert_int_eq(mkdir("sub/inc", 0755), 0);
	write_file("sub/inc/kv", "kv = {\n@include \"inc/key\"\nlisten = \"a\"; };\n");
	write_file("sub/inc/key", "\nmax_key = 77;\n");
	config = load_good("sub/main.conf");
	ck_assert_int_eq(config->limits->max_connections, 5);
	ck_assert_str_eq(origin(config, "kv", "max_key")->file, "sub/inc/key");
	ck_assert_int_eq(origin(config, "kv", "max_key")->line, 2);
	ck_assert_str_eq(origin(config, "kv", "listen")->file, "sub/inc/kv");
	ck_assert_uint_eq(config->files.count, 5);
	config_free(config);

	write_file("sub/inc/key", "\nmax_key = 4294967306;\nuser = \"\xc3\xa9\"; x = 1;\n");
	refuses("sub/main.conf",
	    "sub/inc/key:2: max_key: expected an integer of 32 bits, one of 64 such as "
	    "4294967306L, or a string such as \"3G\", got 4294967306\n"
	    "sub/inc/key:3: services.kv.user: unknown key\n"
	    "sub/inc/key:3: services.kv.x: unknown key\n");
	write_file("sub/inc/key", "\nmax_key = ten;\n");
	refuses("sub/main.conf",
	    "sub/inc/key:2: syntax error: max_key = ten; (put ten in double quotes)\n");
	write_file("sub/inc/key", "@include \"sub\"\n");
	refuses(
	    "sub/main.conf", "sub/inc/key:1: can't include sub/sub: No such file or directory\n");
}
END_TEST

/* Each file can change, and drop-ins come and go. */
START_TEST(test_current)
{
	struct strings kept = { 0 };
	struct config *config, *next;

	write_file("main.conf", "user = \"old\";\n@include \"sub/echo\"\n");
	write_file("main.d/1.conf", "");
	write_file("sub/echo", ECHO);
	config = load_good("main.conf");
	ck_assert(config_is_current(config));
	write_file("main.conf", "user = \"new\";\n@include \"sub/echo\"\n");
	ck_assert(!config_is_current(config));
	/* What a restart would change is in the files, but not in force. */
	next = load_good("main.conf");
	ck_assert(config_is_current(next));
	ck_assert_int_eq(config_keep_unreloadable(config, next, &kept), 0);
	ck_assert_uint_eq(kept.count, 1);
	ck_assert(!config_is_current(next));
	config_free(next);
	write_file("main.conf", "user = \"old\";\n@include \"sub/echo\"\n");
	ck_assert(config_is_current(config));
	write_file("sub/echo", ECHO "\n");
	ck_assert(!config_is_current(config));
	write_bytes("sub/echo", ECHO "\n\0#", sizeof(ECHO) + 2);
	ck_assert(!config_is_current(config));
	write_file("sub/echo", ECHO);
	write_file("main.d/1.conf", " ");
	ck_assert(!config_is_current(config));
	ck_assert_int_eq(unlink("main.d/1.conf"), 0);
	ck_assert(!config_is_current(config));
	write_file("main.d/1.conf", "");
	ck_assert(config_is_current(config));
	write_file("main.d/2.conf", "");
	ck_assert(!config_is_current(config));
	config_free(config);
	strings_clear(&kept);
}
END_TEST

static char *print(const struct config *config)
{
	size_t length;
	char *text = NULL;
	FILE *out = open_memstream(&text, &length);

	config_print(config, out);
	fclose(out);
	return text;
}

START_TEST(test_print)
{
	struct config *config;
	char *text;

	write_file("main.conf", "limits = {\n max_connections = 5; };\n"
				"services = { echo = { listen = \"tcp://*:7\"; }; };\n");
	config = load_good("main.conf");
	text = print(config);
	ck_assert_str_eq(text, "# user is not set\n"
			       "log = {\n"
			       "  level = \"info\";                               # default\n"
			       "  target = \"stderr\";                            # default\n"
			       "};\n"
			       "limits = {\n"
			       "  max_connections = 5;                          # main.conf:2\n"
			       "  max_per_source = 256;                         # default\n"
			       "  shutdown_timeout = 10;                        # default\n"
			       "};\n"
			       "tls = {\n"
			       "  # certificate is not set\n"
			       "  # key is not set\n"
			       "  # client_ca is not set\n"
			       "  # crl is not set\n"
			       "  min_version = \"1.2\";                          # default\n"
			       "};\n"
			       "services = {\n"
			       "  echo = {                                      # main.conf:3\n"
			       "    enabled = true;                             # default\n"
			       "    type = \"echo\";                              # main.conf:3\n"
			       "    listen = [ \"tcp://*:7\" ];                   # main.conf:3\n"
			       "    max_connections = 100;                      # default\n"
			       "    idle_timeout = \"1500ms\";                    # default\n"
			       "    socket_mode = \"0660\";                       # default\n"
			       "  };\n"
			       "};\n");
	free(text);
	config_free(config);
}
END_TEST

/* Cuts the origins off. */
static void strip(char *text)
{
	char *to = text;
	bool comment = false;

	for (; *text != '\0'; text++) {
		if (strncmp(text, " # ", 3) == 0)
			comment = true;
		if (*text == '\n')
			comment = false;
		if (!comment)
			*to++ = *text;
	}
	*to = '\0';
}

START_TEST(test_print_round_trip)
{
	struct config *config;
	char *once, *twice;

	write_file("main.conf",
	    "user = \"a\\\\ \\\"b\\x01\\n\";\n"
	    "services = { echo = { listen = \"tcp://*:7\"; idle_timeout = \"5m\"; };\n"
	    "other-1 = { type = \"kv\"; enabled = false; max_value = \"1T\"; storage = \"/s\"; };\n"
	    "};\n");
	config = load_good("main.conf");
	once = print(config);
	config_free(config);
	write_file("again.conf", once);
	config = load_good("again.conf");
	twice = print(config);
	config_free(config);
	strip(once);
	strip(twice);
	ck_assert_str_eq(once, twice);
	free(once);
	free(twice);
}
END_TEST

/* What --explain says, and whether the name is known. */
static const struct {
	const char *key;
	int result;
	const char *said;
} explained[] = {
	{ "kv.max_key", 0,
	    "kv.max_key: an integer from 1 to 65535; default 250\n    Longest key.\n" },
	{ "services.kv.max_key", 0,
	    "kv.max_key: an integer from 1 to 65535; default 250\n    Longest key.\n" },
	{ "max_line", 0,
	    "services.NAME.max_line (upper, kv): a size from 16 to 1M bytes; default \"64K\"\n"
	    "    Longest line.\n" },
	{ "enabled", 0,
	    "services.NAME.enabled (every service): true or false; default true\n"
	    "    Whether it runs.\n" },
	{ "max_connections", 0,
	    "limits.max_connections: an integer from 1 to 1000000; default 4096\n"
	    "    Limit on the number of clients of all services together.\n"
	    "services.NAME.max_connections (every service): "
	    "an integer from 1 to 100000 clients; default 100\n    Clients at a time.\n" },
	{ "user", 0,
	    "user: string; not set by default\n    The user to change to when started as root.\n"
	    "    A change needs a restart.\n" },
	{ "limits.shutdown_timeout", 0,
	    "limits.shutdown_timeout: a duration from 0 s to 3600 s; default 10\n"
	    "    How long a stopping echod waits for clients to read their last replies.\n" },
	{ "services", 0,
	    "echo: Sends back what comes.\nupper: Raises letters.\nkv: Keeps values.\n" },
	{ "max_kye", -1, "max_kye: unknown; did you mean \"max_key\"?\n" },
	{ "kv.lisen", -1, "kv.lisen: unknown; did you mean \"listen\"?\n" },
	{ "ehco", -1, "ehco: unknown; did you mean \"echo\"?\n" },
	{ "nothing at all", -1, "nothing at all: unknown\n" },
	{ "", -1, ": unknown\n" },
	{ ".", -1, ".: unknown\n" },
};

static char *explain(const char *key, int *result)
{
	size_t length;
	char *text = NULL;
	FILE *out = open_memstream(&text, &length);

	*result = config_explain(key, kinds, out);
	fclose(out);
	return text;
}

START_TEST(test_explain)
{
	int result;
	char *text = explain(explained[_i].key, &result);

	ck_assert_str_eq(text, explained[_i].said);
	ck_assert_int_eq(result, explained[_i].result);
	free(text);
}
END_TEST

START_TEST(test_explain_type)
{
	int result;
	char *text = explain("kv", &result);

	ck_assert_int_eq(result, 0);
	ck_assert_ptr_eq(strstr(text, "kv: Keeps values.\n\nenabled: true or false"), text);
	ck_assert_ptr_nonnull(strstr(text, "\nmax_key: an integer from 1 to 65535; default 250\n"));
	free(text);
}
END_TEST

START_TEST(test_keep_unreloadable)
{
	struct config *running, *next;
	struct strings kept = { 0 };
	const struct store *store;

	write_file("main.conf", "user = \"old\";\nservices = { kv = { listen = \"a\";\n"
				"storage = \"/old\"; max_key = 1; }; };");
	running = load_good("main.conf");
	write_file("new.conf", "services = { kv = { listen = \"a\"; storage = \"/new\";\n"
			       "max_key = 2; sync = \"interval\"; };\n"
			       "kv2 = { type = \"kv\"; listen = \"b\"; storage = \"/2\"; }; };");
	next = load_good("new.conf");
	ck_assert_int_eq(config_keep_unreloadable(running, next, &kept), 0);
	ck_assert_uint_eq(kept.count, 3);
	ck_assert_str_eq(kept.items[0], "user: needs a restart, stays \"old\"");
	ck_assert_str_eq(kept.items[1], "services.kv.storage: needs a restart, stays \"/old\"");
	ck_assert_str_eq(kept.items[2], "services.kv.sync: needs a restart, stays \"always\"");
	store = fields(running, "kv", 3);
	ck_assert_str_eq(store->storage, "/old");
	config_free(running);
	/* The new one stands alone: origins too. */
	store = fields(next, "kv", 3);
	ck_assert_str_eq(store->storage, "/old");
	ck_assert_int_eq(store->max_key, 2);
	ck_assert_int_eq(store->sync, 0);
	ck_assert_str_eq(next->main->user, "old");
	ck_assert_str_eq(origin(next, "kv", "storage")->file, "main.conf");
	ck_assert_str_eq(((const struct store *)fields(next, "kv2", 3))->storage, "/2");
	config_free(next);
	strings_clear(&kept);
}
END_TEST

START_TEST(test_keep_unset)
{
	struct config *running, *next;
	struct strings kept = { 0 };

	write_file("main.conf", ECHO);
	running = load_good("main.conf");
	write_file("new.conf", "user = \"new\";\n" ECHO);
	next = load_good("new.conf");
	ck_assert_int_eq(config_keep_unreloadable(running, next, &kept), 0);
	ck_assert_uint_eq(kept.count, 1);
	ck_assert_str_eq(kept.items[0], "user: needs a restart, stays unset");
	ck_assert_ptr_null(next->main->user);
	config_free(running);
	config_free(next);
	strings_clear(&kept);
}
END_TEST

/* One line per difference. */
static void note_difference(const struct config_difference *difference, void *arg)
{
	strings_addf(arg, "%s: %s -> %s at %s:%d%s", difference->key,
	    difference->before == NULL ? "unset" : difference->before,
	    difference->after == NULL ? "unset" : difference->after,
	    difference->origin->file == NULL ? "default" : difference->origin->file,
	    difference->origin->line, difference->restart ? ", restart" : "");
}

START_TEST(test_compare)
{
	static const char *const expected[] = { "user: \"old\" -> unset at default:0, restart",
		"limits.max_connections: 7 -> 8 at new.conf:1",
		"services.kv.listen: [ \"a\" ] -> [ \"a\", \"b\" ] at new.conf:2",
		"services.kv.storage: unset -> \"/new\" at new.conf:3, restart",
		"services.kv.max_key: 1 -> 250 at default:0" };
	struct config *running, *next;
	struct strings found = { 0 };

	write_file("main.conf", "user = \"old\"; limits = { max_connections = 7; };\n"
				"services = { kv = { listen = \"a\"; max_key = 1; };\n"
				"gone = { type = \"echo\"; listen = \"g\"; };\n"
				"other = { type = \"echo\"; listen = \"o\"; }; };");
	running = load_good("main.conf");
	write_file("new.conf", "limits = { max_connections = 8; };\n"
			       "services = { kv = { listen = [ \"a\", \"b\" ];\n"
			       "storage = \"/new\"; max_value = 65536;\n"
			       "idle_timeout = \"1500ms\"; };\n"
			       "other = { type = \"upper\"; listen = \"x\"; }; };");
	next = load_good("new.conf");
	ck_assert_int_eq(config_compare(running, next, note_difference, &found), 0);
	for (size_t i = 0; i < found.count; i++)
		ck_assert_str_eq(found.items[i], expected[i]);
	ck_assert_uint_eq(found.count, sizeof(expected) / sizeof(expected[0]));
	strings_clear(&found);
	config_free(running);
	config_free(next);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("config");
	TCase *tc = tcase_create("files");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, test_bad, 0, (int)(sizeof(bad) / sizeof(bad[0])));
	tcase_add_test(tc, test_good);
	tcase_add_test(tc, test_no_file);
	tcase_add_test(tc, test_no_permission);
	tcase_add_test(tc, test_nul_byte);
	tcase_add_test(tc, test_drop_ins);
	tcase_add_test(tc, test_drop_in_directory_of_any_name);
	tcase_add_test(tc, test_every_mistake_of_all_files);
	tcase_add_test(tc, test_includes);
	tcase_add_test(tc, test_current);
	tcase_add_test(tc, test_print);
	tcase_add_test(tc, test_print_round_trip);
	tcase_add_loop_test(tc, test_explain, 0, (int)(sizeof(explained) / sizeof(explained[0])));
	tcase_add_test(tc, test_explain_type);
	tcase_add_test(tc, test_keep_unreloadable);
	tcase_add_test(tc, test_keep_unset);
	tcase_add_test(tc, test_compare);
	suite_add_tcase(s, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
