/* The file of users: what its lines mean, which mistakes it can have, and which commands and keys a user may use. */
#include "kv/users.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/strings.h"
#include "services/kv_resp.h"

#define YESCRYPT "$y$j9T$LdJMENpBABJJ3hIHjB1Bi.$CbmXE/O/0bCHlsAzIaBSSe6Q31ZVeM4OxkjSOnAQ3C6"
#define BCRYPT "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
#define SHA256 "$5$saltstring$vc6YOOogU4kWVvwga8e9zTFgKcy4tb5LaPxIiPJzqEC"
#define DIGITS "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef"
#define OTHER_DIGITS "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdee"
#define SIXTY_FOUR "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define HALF_A_PATTERN SIXTY_FOUR SIXTY_FOUR SIXTY_FOUR SIXTY_FOUR

static struct strings errors;
static struct users *users;

static void teardown(void)
{
	users_free(users);
	users = NULL;
	strings_clear(&errors);
}

static struct users *parse_bytes(const char *bytes, size_t length)
{
	teardown();
	users = users_new("FILE", bytes, length, &errors);
	ck_assert_int_eq(users == NULL, errors.count > 0);
	return users;
}

/* Reads a file that has no mistakes. */
static struct users *parse(const char *text)
{
	parse_bytes(text, strlen(text));
	ck_assert_msg(users != NULL, "%s", errors.count > 0 ? errors.items[0] : "");
	return users;
}

static const struct user *find(const char *name)
{
	return users_find(users, (struct slice){ name, strlen(name) });
}

/* The user of a file of one line. */
static const struct user *parse_user(const char *line)
{
	ck_assert_uint_eq(parse(line)->count, 1);
	return &users->items[0];
}

static void expect_patterns(const struct user *user, size_t count, const char *const *patterns)
{
	ck_assert_uint_eq(user->pattern_count, count);
	for (size_t i = 0; i < count; i++) {
		ck_assert_uint_eq(user->patterns[i].length, strlen(patterns[i]));
		ck_assert_mem_eq(user->patterns[i].bytes, patterns[i], user->patterns[i].length);
	}
}

/* --- lines --- */

START_TEST(a_user_has_a_password)
{
	static const char *const hashes[] = { YESCRYPT, BCRYPT, SHA256 };
	char line[256];

	for (size_t i = 0; i < 3; i++) {
		const struct user *user;

		snprintf(line, sizeof(line), "alice:%s:rw:*", hashes[i]);
		user = parse_user(line);
		ck_assert_str_eq(user->name, "alice");
		ck_assert_int_eq(user->proof, USER_PASSWORD);
		ck_assert_str_eq(user->secret, hashes[i]);
		ck_assert_uint_eq(user->rights, RIGHT_READ | RIGHT_WRITE);
		ck_assert(user->has_all_keys);
		ck_assert_str_eq(users->decoy, hashes[i]);
	}
}
END_TEST

START_TEST(a_user_has_a_token)
{
	static const unsigned char digest[SECRET_DIGEST] = { 0x00, 0x11, 0x22, 0x33, 0x44, 0x55,
		0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x01, 0x23, 0x45, 0x67,
		0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef };
	const struct user *user = parse_user("program@host-1.example_2:sha256:" DIGITS ":r:a:*,b");

	ck_assert_str_eq(user->name, "program@host-1.example_2");
	ck_assert_int_eq(user->proof, USER_TOKEN);
	ck_assert_mem_eq(user->digest, digest, SECRET_DIGEST);
	ck_assert_uint_eq(user->rights, RIGHT_READ);
	ck_assert(!user->has_all_keys);
	expect_patterns(user, 2, (const char *const[]){ "a:*", "b" });
	ck_assert_ptr_null(users->decoy);
}
END_TEST

START_TEST(a_user_is_one_of_the_system)
{
	const struct user *user = parse_user("a:uid:0:a:*");

	ck_assert_int_eq(user->proof, USER_UID);
	ck_assert_uint_eq(user->uid, 0);
	ck_assert_uint_eq(user->rights, RIGHT_ADMIN);
	ck_assert_uint_eq(parse_user("a:uid:4294967294:a:*")->uid, 4294967294U);
	ck_assert_uint_eq(parse_user("a:uid:root:a:*")->uid, 0);
}
END_TEST

/* As in an identity, only a URI has capitals. Colons in it are its own, up to what can be RIGHTS. */
START_TEST(a_user_has_a_certificate)
{
	static const struct {
		const char *line, *secret, *pattern;
	} rows[] = {
		{ "a:cert:dns:Web-1.Example:rw:*", "dns:web-1.example", "*" },
		{ "a:cert:dns:a:r:b:c", "dns:a", "b:c" },
		{ "a:cert:uri:spiffe://Example/A:rw:*", "uri:spiffe://Example/A", "*" },
		{ "a:cert:uri:https://e:8443/x:r:k:*", "uri:https://e:8443/x", "k:*" },
		{ "a:cert:uri:urn:x:y:rwa:k?rw:*", "uri:urn:x:y", "k?rw:*" },
		{ "a:cert:uri:urn:rr:rwr::r:*", "uri:urn:rr:rwr:", "*" },
		{ "a:cert:sha256:" DIGITS ":wr:*", "sha256:" DIGITS, "*" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct user *user = parse_user(rows[i].line);

		ck_assert_int_eq(user->proof, USER_CERTIFICATE);
		ck_assert_str_eq(user->secret, rows[i].secret);
		expect_patterns(user, 1, &rows[i].pattern);
	}
}
END_TEST

START_TEST(rights_come_in_any_order)
{
	static const char letters[] = "rwa";
	static const unsigned bits[] = { RIGHT_READ, RIGHT_WRITE, RIGHT_ADMIN };
	char line[] = "a:uid:1:???:*";

	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 3; j++) {
			if (i == j)
				continue;
			snprintf(line, sizeof(line), "a:uid:1:%c%c:*", letters[i], letters[j]);
			ck_assert_uint_eq(parse_user(line)->rights, bits[i] | bits[j]);
		}
	ck_assert_uint_eq(
	    parse_user("a:uid:1:awr:*")->rights, RIGHT_READ | RIGHT_WRITE | RIGHT_ADMIN);
}
END_TEST

START_TEST(patterns_are_the_rest_of_the_line)
{
	ck_assert(parse_user("a:uid:1:r:b,*")->has_all_keys);
	ck_assert(!parse_user("a:uid:1:r:**,*a")->has_all_keys);
	expect_patterns(
	    parse_user("a:uid:1:r:x:y z:,:,#"), 3, (const char *const[]){ "x:y z:", ":", "#" });
	expect_patterns(parse_user("a:uid:1:r:" HALF_A_PATTERN HALF_A_PATTERN), 1,
	    (const char *const[]){ HALF_A_PATTERN HALF_A_PATTERN });
}
END_TEST

START_TEST(what_is_around_the_lines_is_not_theirs)
{
	ck_assert_uint_eq(parse("")->count, 0);
	ck_assert_uint_eq(parse("\n\r\n \t \r\n#\n# a:b\n#a:uid:1:r:*")->count, 0);
	ck_assert_ptr_null(find(""));
	ck_assert_ptr_null(find("a"));
	ck_assert_ptr_null(users_find_uid(users, 0));
	ck_assert_ptr_null(users_find_certificate(users, "", ""));

	ck_assert_uint_eq(parse("# users\r\nb:uid:2:r:x \t\r\n\na:uid:1:r:y\r\r")->count, 2);
	expect_patterns(find("a"), 1, (const char *const[]){ "y" });
	expect_patterns(find("b"), 1, (const char *const[]){ "x" });
	ck_assert_int_eq(find("a")->line, 4);
	ck_assert_int_eq(find("b")->line, 2);
}
END_TEST

/* --- mistakes --- */

#define NO_TOKEN \
	"expected 64 hexadecimal digits in small letters behind sha256:, as \"echoctl token\" prints them"
#define NO_FINGERPRINT                                                                                 \
	"expected 64 hexadecimal digits in small letters behind cert:sha256:, as \"echoctl clients\" " \
	"shows them"
#define NO_IDENTITY                                                                              \
	"expected cert:dns:NAME, cert:uri:URI or cert:sha256:FINGERPRINT, with the identity as " \
	"\"echoctl clients\" shows it, got "
#define NO_RIGHTS "expected RIGHTS, of the letters r, w and a, and a colon behind "
#define NO_NAME                                                                                 \
	"expected a name of letters, digits, \".\", \"_\", \"-\" and \"@\", at most 64 bytes, " \
	"got "
#define OTHER_RIGHTS \
	"expected RIGHTS of the letters r (reads), w (writes) and a (administers), got "
#define NO_PATTERN "expected patterns of keys with commas between, or *, found an empty one"
#define NO_USER "expected the name or number of a system user behind uid:, got "

/* The error begins with "FILE:1: " and this. */
static const struct {
	const char *line, *error;
} mistakes[] = {
	{ "alice", "expected NAME:HASH:RIGHTS:PATTERNS, found no colon" },
	{ " a:uid:1:r:*", NO_NAME "\" a\"" },
	{ ":uid:1:r:*", NO_NAME "\"\"" },
	{ "a b:uid:1:r:*", NO_NAME "\"a b\"" },
	{ "\xc3\xa4:uid:1:r:*", NO_NAME "\"\xc3\xa4\"" },
	{ SIXTY_FOUR "y:uid:1:r:*", NO_NAME "\"" SIXTY_FOUR "y\"" },
	{ "a:" YESCRYPT, "expected NAME:HASH:RIGHTS:PATTERNS, found no RIGHTS" },
	{ "a:" YESCRYPT ":rw",
	    "expected NAME:HASH:RIGHTS:PATTERNS, found no PATTERNS (* = all keys)" },
	{ "a::rw:*", "expected a hash as \"echoctl passwd\" makes it" },
	{ "a:secret:rw:*", "expected a hash as \"echoctl passwd\" makes it" },
	{ "a:$y$j9T$LdJMENpBABJJ3hIHjB1Bi.$C:rw:*", "the hash ($y$...) is not whole" },
	{ "a:" YESCRYPT "::*", OTHER_RIGHTS "\"\"" },
	{ "a:" YESCRYPT ":x:*", OTHER_RIGHTS "\"x\"" },
	{ "a:" YESCRYPT ":rwr:*", OTHER_RIGHTS "\"rwr\"" },
	{ "a:" YESCRYPT ":RW:*", OTHER_RIGHTS "\"RW\"" },
	{ "a:" YESCRYPT ":0123456789abcdefgh:*", OTHER_RIGHTS "\"0123456789abcdef\"" },
	{ "a:" YESCRYPT ":rw:", NO_PATTERN },
	{ "a:" YESCRYPT ":rw:a,,b", NO_PATTERN },
	{ "a:" YESCRYPT ":rw:a,", NO_PATTERN },
	{ "a:" YESCRYPT ":rw:*,", NO_PATTERN },
	{ "a:" YESCRYPT ":rw:" HALF_A_PATTERN HALF_A_PATTERN "x",
	    "a pattern is longer than 512 bytes" },
	{ "a:sha256:" DIGITS, NO_RIGHTS "sha256:..." },
	{ "a:sha256:" DIGITS ":rr:*", OTHER_RIGHTS "\"rr\"" },
	{ "a:sha256:" DIGITS ":rw",
	    "expected NAME:HASH:RIGHTS:PATTERNS, found no PATTERNS (* = all keys)" },
	{ "a:" YESCRYPT ":rw:a, b", "a pattern begins or ends with a blank" },
	{ "a:cert:uri:urn:x:y:rwa:k:rw:*",
	    "it is not clear which of the fields behind cert:uri: are RIGHTS" },
	{ "a:sha256::rw:*", NO_TOKEN },
	{ "a:sha256:0:rw:*", NO_TOKEN },
	{ "a:sha256:" DIGITS "0:rw:*", "there are more than 64 digits behind sha256:" },
	{ "a:sha256:A" DIGITS ":rw:*", NO_TOKEN },
	{ "a:sha256:" SIXTY_FOUR ":rw:*", NO_TOKEN },
	{ "a:uid:1", NO_RIGHTS "uid:..." },
	{ "a:uid::r:*", NO_USER "\"\"" },
	{ "a:uid:-1:r:*", NO_USER "\"-1\"" },
	{ "a:uid: 1:r:*", NO_USER "\" 1\"" },
	{ "a:uid:1x:r:*", NO_USER "\"1x\"" },
	{ "a:uid:4294967295:r:*", NO_USER "\"4294967295\"" }, /* (uid_t)-1 */
	{ "a:uid:18446744073709551617:r:*", NO_USER "\"18446744073709551617\"" },
	{ "a:uid:no such user:r:*", NO_USER "\"no such user\"" },
	{ "a:cert:dns:b", NO_RIGHTS "cert:dns:..." },
	{ "a:cert:uri:b:x:*", NO_RIGHTS "cert:uri:..." },
	{ "a:cert:dns::r:*", NO_IDENTITY "\"cert:dns:\"" },
	{ "a:cert:uri::r:*", NO_IDENTITY "\"cert:uri:\"" },
	{ "a:cert:b.example:r:*", NO_IDENTITY "\"cert:b.example\"" },
	{ "a:cert:DNS:b.example:r:*", NO_IDENTITY "\"cert:DNS\"" },
	{ "a:cert::r:*", NO_IDENTITY "\"cert:\"" },
	{ "a:cert:sha256::r:*", NO_FINGERPRINT },
	{ "a:cert:sha256:0" DIGITS ":r:*", NO_FINGERPRINT },
	{ "a:cert:sha256:" SIXTY_FOUR ":r:*", NO_FINGERPRINT },
};

START_TEST(a_mistake_is_named)
{
	char expected[1024];

	parse_bytes(mistakes[_i].line, strlen(mistakes[_i].line));
	ck_assert_uint_eq(errors.count, 1);
	snprintf(expected, sizeof(expected), "FILE:1: %s", mistakes[_i].error);
	ck_assert_msg(strncmp(errors.items[0], expected, strlen(expected)) == 0, "%s: %s",
	    mistakes[_i].line, errors.items[0]);
	ck_assert_ptr_null(strstr(errors.items[0], "LdJMENp"));
}
END_TEST

START_TEST(nul_is_in_no_line)
{
	static const char *const lines[] = { "a:uid:1:r:*\0", "\0a:uid:1:r:*", "a:uid:1\0:r:*",
		"#\0" };

	for (size_t i = 0; i < 3; i++) {
		parse_bytes(lines[i], 12);
		ck_assert_uint_eq(errors.count, 1);
		ck_assert_str_eq(errors.items[0], "FILE:1: there is a NUL byte in the line");
	}
	ck_assert_ptr_nonnull(parse_bytes(lines[3], 2));
}
END_TEST

START_TEST(each_line_has_its_mistake)
{
	static const char text[] = "# a\nb\nok:uid:1:r:*\r\n\nc\r\n";

	parse_bytes(text, strlen(text));
	ck_assert_uint_eq(errors.count, 2);
	ck_assert_str_eq(
	    errors.items[0], "FILE:2: expected NAME:HASH:RIGHTS:PATTERNS, found no colon");
	ck_assert_str_eq(
	    errors.items[1], "FILE:5: expected NAME:HASH:RIGHTS:PATTERNS, found no colon");
}
END_TEST

/* Nobody reads thousands of errors. */
START_TEST(mistakes_are_not_counted_for_ever)
{
	static char text[16 * 2000];
	size_t length = 0;

	memset(text, '\n', 100);
	for (int i = 0; i < 50; i++)
		text[2 * i] = 'a';
	parse_bytes(text, 100);
	ck_assert_uint_eq(errors.count, 20);
	for (int i = 0; i < 2000; i++)
		length += (size_t)sprintf(text + length, "a:uid:%d:r:*\n", i);
	parse_bytes(text, length);
	ck_assert_uint_eq(errors.count, 20);
	/* What was wrong before counts for itself. */
	ck_assert_ptr_null(users_new("FILE", "a\n", 2, &errors));
	ck_assert_uint_eq(errors.count, 21);
}
END_TEST

START_TEST(a_name_is_there_once)
{
	static const char text[] = "b:uid:1:r:*\na:uid:2:r:*\nb:uid:3:r:*\nb:uid:4:r:*\n";

	parse_bytes(text, strlen(text));
	ck_assert_uint_eq(errors.count, 2);
	ck_assert_str_eq(errors.items[0], "FILE:3: the user b is in line 1 already");
	ck_assert_str_eq(errors.items[1], "FILE:4: the user b is in line 3 already");
	ck_assert_uint_eq(parse("a:uid:1:r:*\nA:uid:2:r:*\n")->count, 2);
}
END_TEST

/* A client without a name must be one user; who says a name may have another one's password. */
START_TEST(what_a_client_is_known_by_is_there_once)
{
	static const char *const twice[] = { "uid:7:r:*", "cert:dns:x.example:r:*",
		"cert:uri:urn:x:r:*", "cert:sha256:" DIGITS ":r:*" };
	char text[256];

	for (size_t i = 0; i < 4; i++) {
		snprintf(text, sizeof(text), "b:%s\nc:uid:8:r:*\na:%s\n", twice[i], twice[i]);
		parse_bytes(text, strlen(text));
		ck_assert_uint_eq(errors.count, 1);
		ck_assert_str_eq(
		    errors.items[0], "FILE:1: b is known in the same way as a in line 3");
	}
	parse_bytes("a:cert:dns:X:r:*\nb:cert:dns:x:r:*\n", 34);
	ck_assert_uint_eq(errors.count, 1);
	/* One whose name is there already has one mistake, and all others are told of the first one. */
	parse_bytes("b:uid:7:r:*\nb:uid:7:r:*\na:uid:7:r:*\nc:uid:7:r:*\n", 48);
	ck_assert_uint_eq(errors.count, 3);
	ck_assert_str_eq(errors.items[0], "FILE:2: the user b is in line 1 already");
	ck_assert_str_eq(errors.items[1], "FILE:1: b is known in the same way as a in line 3");
	ck_assert_str_eq(errors.items[2], "FILE:4: c is known in the same way as a in line 3");
	parse("a:cert:uri:X:r:*\nb:cert:uri:x:r:*\n");
	parse("a:sha256:" DIGITS ":r:*\nb:sha256:" DIGITS ":r:*\n");
	parse("a:" YESCRYPT ":r:*\nb:" YESCRYPT ":r:*\n");
}
END_TEST

/* --- looking up --- */

#define MANY 50000

START_TEST(every_user_of_many_is_found)
{
	static char text[MANY * 128];
	size_t length = 0;
	char name[32];

	/* In no order; the names differ in length, too. So many take a moment, unless each is compared with all others. */
	for (int i = 0; i < MANY; i++) {
		int n = i * 7 % MANY;

		length +=
		    (size_t)(n % 2 == 0 ? sprintf(text + length, "u%d:uid:%d:r:*\n", n, n)
					: sprintf(text + length, "u%d:cert:dns:h%d:r:*\n", n, n));
	}
	parse_bytes(text, length);
	ck_assert_ptr_nonnull(users);
	ck_assert_uint_eq(users->count, MANY);
	for (size_t i = 1; i < MANY; i++)
		ck_assert_int_lt(strcmp(users->items[i - 1].name, users->items[i].name), 0);
	for (int i = 0; i < MANY; i++) {
		const struct user *user;

		snprintf(name, sizeof(name), "u%d", i);
		user = find(name);
		ck_assert_ptr_nonnull(user);
		ck_assert_str_eq(user->name, name);
		if (i % 50 > 1)
			continue;
		snprintf(name, sizeof(name), "dns:h%d", i);
		ck_assert_ptr_eq(users_find_uid(users, (uid_t)i), i % 2 == 0 ? user : NULL);
		ck_assert_ptr_eq(users_find_certificate(users, name, ""), i % 2 == 0 ? NULL : user);
		ck_assert_ptr_eq(users_find_certificate(users, "", name), i % 2 == 0 ? NULL : user);
	}
}
END_TEST

START_TEST(what_is_nearly_a_name_finds_nobody)
{
	static const char *const others[] = { "", "A", "ab\n", "b", "abcd", "ac", "aB", "-",
		"\xff" };

	parse("a:uid:1:r:*\nab:uid:2:r:*\nabc:uid:3:r:*\n");
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		ck_assert_ptr_null(find(others[i]));
	ck_assert_ptr_null(users_find(users, (struct slice){ "a", 2 })); /* with its NUL */
	ck_assert_ptr_null(users_find(users, (struct slice){ "abc", 4 }));
	ck_assert_str_eq(users_find(users, (struct slice){ "abcd", 3 })->name, "abc");
}
END_TEST

START_TEST(a_certificate_is_found_by_either)
{
	parse("a:cert:sha256:" DIGITS ":r:*\nb:cert:dns:b:r:*\nc:uid:1:r:*\nd:" YESCRYPT ":r:*\n");
	ck_assert_str_eq(users_find_certificate(users, "", "sha256:" DIGITS)->name, "a");
	ck_assert_str_eq(users_find_certificate(users, "dns:b", "sha256:0")->name, "b");
	ck_assert_ptr_null(users_find_certificate(users, "dns:B", "sha256:0"));
	ck_assert_ptr_null(users_find_certificate(users, "uri:b", ""));
	ck_assert_ptr_null(users_find_certificate(users, YESCRYPT, YESCRYPT));
	ck_assert_ptr_null(users_find_certificate(users, "", ""));
}
END_TEST

/* --- reloads --- */

/* The other one's list is users; both are of one line. */
static void compare(const char *line, const char *other_line, bool same, bool same_rights)
{
	struct users *others = users_new("FILE", line, strlen(line), &errors);
	const struct user *a, *b = parse_user(other_line);

	ck_assert_ptr_nonnull(others);
	a = &others->items[0];
	ck_assert_msg(user_is_same(a, b) == same, "%s, %s", line, other_line);
	ck_assert_int_eq(user_is_same(b, a), same);
	ck_assert_msg(user_has_rights_of(a, b) == same_rights, "%s, %s", line, other_line);
	ck_assert_int_eq(user_has_rights_of(b, a), same_rights);
	users_free(others);
}

START_TEST(a_user_is_the_same_by_its_name_and_proof)
{
	static const char *const lines[] = { "a:" YESCRYPT ":r:*", "a:" SHA256 ":r:*",
		"b:" SHA256 ":r:*", "a:sha256:" DIGITS ":r:*", "a:sha256:" OTHER_DIGITS ":r:*",
		"a:uid:1:r:*", "a:uid:2:r:*", "a:cert:dns:x:r:*", "a:cert:uri:x:r:*",
		"a:cert:sha256:" DIGITS ":r:*" };

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		for (size_t j = 0; j < sizeof(lines) / sizeof(lines[0]); j++)
			compare(lines[i], lines[j], i == j, true);
}
END_TEST

START_TEST(rights_are_the_same_word_for_word)
{
	compare("a:uid:1:rw:x,y", "b:uid:2:wr:x,y", false, true);
	compare("a:uid:1:rw:x,y", "a:uid:1:r:x,y", true, false);
	compare("a:uid:1:rw:x,y", "a:uid:1:rw:y,x", true, false);
	compare("a:uid:1:rw:x,y", "a:uid:1:rw:x", true, false);
	compare("a:uid:1:rw:x", "a:uid:1:rw:xx", true, false);
}
END_TEST

/* --- rows --- */

/*
 * What each command needs: the rights, or "open" if not even a login; "all" = all keys, and how many of its arguments
 * are keys or channels, of which "many" counts as one. A new row needs a line here, and so a thought: who may run it?
 */
static const struct {
	const char *name, *needs;
	size_t keys;
} needs[] = {
	/* reads */
	{ "GET", "r", 1 },
	{ "MGET", "r", 1 },
	{ "TTL", "r", 1 },
	{ "PTTL", "r", 1 },
	{ "EXPIRETIME", "r", 1 },
	{ "PEXPIRETIME", "r", 1 },
	{ "EXISTS", "r", 1 },
	{ "TOUCH", "r", 1 },
	{ "GETS", "r", 1 },
	{ "GETRANGE", "r", 1 },
	{ "SUBSTR", "r", 1 },
	{ "STRLEN", "r", 1 },
	{ "DIGEST", "r", 1 },
	{ "TYPE", "r", 1 },
	{ "OBJECT", "r", 1 },
	{ "MEMORY", "r", 1 },
	{ "SCAN", "r", 0 }, /* shows the keys that the user may use */
	{ "DBSIZE", "r", 0 },
	{ "ECHO", "r", 0 },
	{ "RANDOMKEY", "r all", 0 },
	/* writes */
	{ "SET", "w", 1 }, /* with the option GET the right to read as well, see redis_set() */
	{ "SETEX", "w", 1 },
	{ "PSETEX", "w", 1 },
	{ "SETNX", "w", 1 },
	{ "SETRANGE", "w", 1 },
	{ "MSET", "w", 2 },
	{ "MSETNX", "w", 2 },
	{ "CAS", "w", 1 },
	{ "APPEND", "w", 1 },
	{ "INCR", "w", 1 },
	{ "INCRBY", "w", 1 },
	{ "INCRBYFLOAT", "w", 1 },
	{ "DECR", "w", 1 },
	{ "DECRBY", "w", 1 },
	{ "DEL", "w", 1 },
	{ "UNLINK", "w", 1 },
	{ "DELIFEQ", "w", 1 },
	{ "DELEX", "w", 1 },
	{ "EXPIRE", "w", 1 },
	{ "PEXPIRE", "w", 1 },
	{ "EXPIREAT", "w", 1 },
	{ "PEXPIREAT", "w", 1 },
	{ "PERSIST", "w", 1 },
	{ "RENAME", "w", 2 },
	{ "RENAMENX", "w", 2 },
	{ "COPY", "w", 2 },
	{ "PUBLISH", "w", 1 },
	{ "EVAL", "w", 0 }, /* scripts are checked for themselves, see below */
	{ "EVALSHA", "w", 0 },
	{ "EVAL_RO", "r", 0 },
	{ "EVALSHA_RO", "r", 0 },
	/* replies the value before */
	{ "GETDEL", "rw", 1 },
	{ "GETSET", "rw", 1 },
	{ "GETEX", "rw", 1 },
	/* messages */
	{ "SUBSCRIBE", "r", 1 },
	{ "PSUBSCRIBE", "r", 1 },
	{ "PUBSUB", "r all", 0 },
	/* administers */
	{ "KEYS", "a", 0 }, /* shows the keys that the user may use */
	{ "FLUSHDB", "a all", 0 },
	{ "FLUSHALL", "a all", 0 },
	{ "CONFIG", "a", 0 },
	/* about the connection, and what is always the same: for everybody who has logged in */
	{ "SELECT", "", 0 },
	{ "CLIENT", "", 0 }, /* what it shows and ends of others needs the right to administer */
	{ "MULTI", "", 0 },
	{ "EXEC", "", 0 },
	{ "DISCARD", "", 0 },
	{ "WATCH", "r", 1 },
	{ "UNWATCH", "", 0 },
	{ "RESET", "", 0 },
	{ "UNSUBSCRIBE", "", 0 },
	{ "PUNSUBSCRIBE", "", 0 },
	{ "COMMAND", "", 0 },
	{ "INFO", "", 0 },
	{ "TIME", "", 0 },
	{ "LASTSAVE", "", 0 },
	{ "WAIT", "", 0 },
	{ "WAITAOF", "", 0 },
	{ "CLUSTER", "", 0 },
	{ "READONLY", "", 0 },
	{ "READWRITE", "", 0 },
	{ "ASKING", "", 0 },
	{ "SCRIPT", "", 0 },
	{ "FUNCTION", "", 0 },
	{ "MODULE", "", 0 },
	{ "ACL", "", 0 },
	{ "LATENCY", "", 0 },
	{ "SLOWLOG", "", 0 },
	/* before the login */
	{ "PING", "open", 0 },
	{ "HELP", "open", 0 },
	{ "AUTH", "open", 0 },
	{ "HELLO", "open", 0 },
	{ "QUIT", "open", 0 },
};
#define NEEDS (sizeof(needs) / sizeof(needs[0]))

static bool is_needed[NEEDS];

/* The line of the row above. */
static size_t find_needs(const struct command *row)
{
	size_t i = 0;

	while (i < NEEDS && strcmp(needs[i].name, row->name) != 0)
		i++;
	ck_assert_msg(i < NEEDS, "which rights does %s need? Add it to the table", row->name);
	is_needed[i] = true;
	return i;
}

/* Calls it with each row of both protocols; *index are those of RESP. */
static void for_each_row(void (*check)(const struct command *row))
{
	static struct command_index index;

	for (const struct command *row = commands; row->name != NULL; row++)
		check(row);
	for (const struct command *row = commands_redis; row->name != NULL; row++)
		check(row);
	resp_commands_add(&index);
	for (size_t i = 0; i < COMMAND_SLOTS; i++)
		if (index.slots[i] != NULL)
			check(index.slots[i]);
}

/* Whatever the table says: a row that changes keys needs a right to, and one with a function at least some right. */
static void check_flags(const struct command *row)
{
	const char *word = needs[find_needs(row)].needs;

	if (row->flags & (COMMAND_GROWS | COMMAND_WRITES))
		ck_assert_msg(strpbrk(word, "wa") != NULL, "%s writes", row->name);
	if (row->run != NULL)
		ck_assert_msg(*word != '\0', "%s needs no right", row->name);
	if (row->flags & COMMAND_OLD_VALUE)
		ck_assert_str_eq(word, "rw");
}

static void check_rights(const struct command *row)
{
	const char *word = needs[find_needs(row)].needs;
	bool is_open = strcmp(word, "open") == 0;
	size_t length = is_open ? 0 : strcspn(word, " ");

	check_flags(row);
	for (unsigned rights = 0; rights < 8; rights++) {
		const struct user user = { .name = "a", .rights = rights };
		bool may = true;

		for (size_t i = 0; i < length; i++)
			may &= (rights & (word[i] == 'r'      ? RIGHT_READ
					     : word[i] == 'w' ? RIGHT_WRITE
							      : RIGHT_ADMIN)) != 0;
		ck_assert_msg(
		    user_may_run(&user, row) == may, "%s with the rights %u", row->name, rights);
	}
	ck_assert_msg(user_may_run(&user_nobody, row) == is_open, "%s of nobody", row->name);
}

START_TEST(each_row_needs_its_rights)
{
	for_each_row(check_rights);
	for (size_t i = 0; i < NEEDS; i++)
		ck_assert_msg(is_needed[i], "there is no row %s", needs[i].name);
}
END_TEST

/* --- calls --- */

#define WORDS 16

static struct call call;
static struct slice words[WORDS];
static bool is_key[WORDS];
static size_t word_count;

static void add_word(const char *word, bool key)
{
	ck_assert_uint_lt(word_count, WORDS);
	is_key[word_count] = key;
	words[word_count++] = (struct slice){ word, strlen(word) };
}

/* Adds what stands for the argument; returns how many keys that are. */
static size_t add_argument(const struct arg *arg)
{
	bool key = arg->type == ARG_KEY || arg->type == ARG_CHANNEL || arg->type == ARG_CHANNELS;

	if (arg->type == ARG_OPTIONS)
		return 0;
	for (int i = arg->flags & ARG_MANY ? 2 : 1; i > 0; i--) {
		if (arg->type == ARG_PAIRS)
			add_word("mine", true);
		add_word(key ? "mine" : "1", key);
	}
	return key || arg->type == ARG_PAIRS;
}

static enum kv_status check_words(const struct user *user, const struct command *row)
{
	static const struct call_limits limits = { .max_key = 100, .max_value = 100 };

	ck_assert_msg(
	    command_read(row, words, word_count, &limits, &call) == KV_OK, "%s", row->name);
	return user_check(user, &call);
}

/* A user with one pattern may run it if all keys are of that pattern. */
static void check_keys(const struct command *row)
{
	size_t line = find_needs(row), keys = 0;
	bool needs_all = strstr(needs[line].needs, " all") != NULL;

	word_count = 0;
	for (const struct arg *arg = row->args; arg->type != ARG_END; arg++)
		keys += add_argument(arg);
	ck_assert_msg(keys == needs[line].keys, "%s has %zu keys", row->name, keys);
	parse_user("a:uid:1:rwa:mine,other?");
	ck_assert_msg(
	    check_words(&users->items[0], row) == (needs_all ? KV_KEY_NOT_ALLOWED : KV_OK),
	    "%s with its keys", row->name);
	for (size_t i = 0; i < word_count; i++) {
		struct slice before = words[i];

		words[i] = (struct slice){ "other", 5 };
		if (is_key[i])
			ck_assert_msg(check_words(&users->items[0], row) == KV_KEY_NOT_ALLOWED,
			    "%s with another key as word %zu", row->name, i);
		words[i] = before;
	}
	parse_user("a:uid:1:rwa:mine,*");
	ck_assert_msg(check_words(&users->items[0], row) == KV_OK, "%s with all keys", row->name);
}

START_TEST(each_row_checks_its_keys)
{
	for_each_row(check_keys);
}
END_TEST

static const struct command *find_row(const char *name)
{
	static struct command_index index;
	const struct command *row;

	resp_commands_add(&index);
	row = command_index_find(&index, (struct slice){ name, strlen(name) });
	return row != NULL ? row : command_find((struct slice){ name, strlen(name) });
}

/* The verdict on "NAME word word"; the user is that of a line. */
static enum kv_status check_line(const char *user, const char *text)
{
	static char line[512];
	const char *name;

	ck_assert_uint_lt(strlen(text), sizeof(line));
	strcpy(line, text);
	name = strtok(line, " ");
	word_count = 0;
	for (const char *word; (word = strtok(NULL, " ")) != NULL;)
		add_word(word, false);
	return check_words(parse_user(user), find_row(name));
}

/* The right comes before the key. */
static const struct {
	const char *user, *line;
	enum kv_status status;
} calls[] = {
	{ "a:uid:1:r:*", "GET x", KV_OK },
	{ "a:uid:1:r:x", "GET y", KV_KEY_NOT_ALLOWED },
	{ "a:uid:1:r:x", "SET y 1", KV_NOT_ALLOWED },
	{ "a:uid:1:w:x", "SET x 1", KV_OK },
	{ "a:uid:1:w:x", "GET x", KV_NOT_ALLOWED },
	{ "a:uid:1:rw:s:*,t:?", "MGET s: s:a t:b", KV_OK },
	{ "a:uid:1:rw:s:*,t:?", "MGET s: s:a t:bb", KV_KEY_NOT_ALLOWED },
	{ "a:uid:1:rw:s:*,t:?", "MGET S:a", KV_KEY_NOT_ALLOWED },
	{ "a:uid:1:rw:s*", "SET s elsewhere", KV_OK },
	{ "a:uid:1:rw:s*", "MSET s1 x s2 y s3 z", KV_OK },
	{ "a:uid:1:rw:s*", "MSET s1 x x s2", KV_KEY_NOT_ALLOWED },
	{ "a:uid:1:rw:s*", "COPY s1 s2 REPLACE", KV_OK },
	{ "a:uid:1:rw:s*", "COPY s1 t2 REPLACE", KV_KEY_NOT_ALLOWED },
	{ "a:uid:1:rw:s*", "OBJECT ENCODING s", KV_OK },
	{ "a:uid:1:rw:s*", "OBJECT ENCODING x", KV_KEY_NOT_ALLOWED },
	{ "a:uid:1:rw:s*", "MEMORY USAGE s SAMPLES 5", KV_OK },
	{ "a:uid:1:rw:s*", "MEMORY USAGE x SAMPLES 5", KV_KEY_NOT_ALLOWED },
	{ "a:uid:1:rw:s*", "SCAN 0 MATCH x*", KV_OK },
	{ "a:uid:1:rw:s*", "KEYS *", KV_NOT_ALLOWED },
	{ "a:uid:1:a:s*", "KEYS *", KV_OK },
	{ "a:uid:1:rw:*", "FLUSHALL", KV_NOT_ALLOWED },
	{ "a:uid:1:rwa:s*", "FLUSHALL", KV_KEY_NOT_ALLOWED },
	{ "a:uid:1:a:*", "FLUSHALL", KV_OK },
	{ "a:uid:1:a:*", "GET x", KV_NOT_ALLOWED },
	{ "a:uid:1:r:s*", "RANDOMKEY", KV_KEY_NOT_ALLOWED },
	{ "a:uid:1:r:s*", "WATCH s1 s2", KV_OK },
	{ "a:uid:1:r:s*", "WATCH s1 x", KV_KEY_NOT_ALLOWED },
	{ "a:uid:1:r:s*", "PING", KV_OK },
	{ "a:uid:1:w:s*", "GETDEL s", KV_NOT_ALLOWED },
	{ "a:uid:1:r:s*", "GETDEL s", KV_NOT_ALLOWED },
	{ "a:uid:1:w:s*", "GETEX s", KV_NOT_ALLOWED },
	/* channels; a pattern of them must be one of the user's own */
	{ "a:uid:1:r:s*", "SUBSCRIBE s1 s2", KV_OK },
	{ "a:uid:1:r:s*", "SUBSCRIBE s1 x", KV_KEY_NOT_ALLOWED },
	{ "a:uid:1:w:s*", "SUBSCRIBE s1", KV_NOT_ALLOWED },
	{ "a:uid:1:w:s*", "PUBLISH s1 x", KV_OK },
	{ "a:uid:1:w:s*", "PUBLISH x s1", KV_KEY_NOT_ALLOWED },
	{ "a:uid:1:r:s*", "PUBLISH s1 x", KV_NOT_ALLOWED },
	{ "a:uid:1:r:s*,t", "PSUBSCRIBE t s*", KV_OK },
	{ "a:uid:1:r:s*,t", "PSUBSCRIBE s1", KV_KEY_NOT_ALLOWED },
	{ "a:uid:1:r:s*,t", "PSUBSCRIBE s* *", KV_KEY_NOT_ALLOWED },
	{ "a:uid:1:r:*", "PSUBSCRIBE x*", KV_OK },
	{ "a:uid:1:r:s*", "PUBSUB CHANNELS", KV_KEY_NOT_ALLOWED },
	/* scripts: as many keys as they say; the right is that of the script, and is checked once it is known */
	{ "a:uid:1:r:s*", "EVAL text 2 s1 s2 x", KV_OK },
	{ "a:uid:1:r:s*", "EVAL text 2 s1 x s2", KV_KEY_NOT_ALLOWED },
	{ "a:uid:1:r:s*", "EVAL text 0 x", KV_OK },
	{ "a:uid:1:r:s*", "EVAL text 0", KV_OK },
	{ "a:uid:1:r:s*", "EVAL text 1", KV_OK },
	{ "a:uid:1:r:s*", "EVAL text 99 s1 s2", KV_OK },
	{ "a:uid:1:r:s*", "EVAL text 9223372036854775807 s1 x", KV_KEY_NOT_ALLOWED },
	{ "a:uid:1:r:s*", "EVAL text -1 x", KV_OK },
	{ "a:uid:1:r:s*", "EVAL text x x", KV_OK },
	{ "a:uid:1:w:s*", "EVALSHA_RO digest 1 x", KV_KEY_NOT_ALLOWED },
	{ "a:uid:1:a:*", "EVALSHA digest 1 x", KV_OK },
};
#define CALLS (sizeof(calls) / sizeof(calls[0]))

START_TEST(a_call_needs_rights_and_keys)
{
	ck_assert_msg(check_line(calls[_i].user, calls[_i].line) == calls[_i].status, "%s: %s",
	    calls[_i].user, calls[_i].line);
}
END_TEST

START_TEST(keys_are_compared_in_bytes)
{
	const struct user *user = parse_user("a:uid:1:r:a?b,\xff*");
	size_t work = 0;

	ck_assert(user_may_use(user, (struct slice){ "a\0b", 3 }, &work));
	ck_assert(!user_may_use(user, (struct slice){ "a\0b", 4 }, &work));
	ck_assert(user_may_use(user, (struct slice){ "\xff\0", 2 }, &work));
	ck_assert(!user_may_use(user, (struct slice){ "", 0 }, &work));
	ck_assert_uint_gt(work, 0);
	ck_assert(!user_may_use(&user_nobody, (struct slice){ "", 0 }, &work));
	user = parse_user("a:uid:1:r:x,*");
	ck_assert(user_may_use(user, (struct slice){ "", 0 }, &work));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("users");
	TCase *tc = tcase_create("users");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, NULL, teardown);
	tcase_add_test(tc, a_user_has_a_password);
	tcase_add_test(tc, a_user_has_a_token);
	tcase_add_test(tc, a_user_is_one_of_the_system);
	tcase_add_test(tc, a_user_has_a_certificate);
	tcase_add_test(tc, rights_come_in_any_order);
	tcase_add_test(tc, patterns_are_the_rest_of_the_line);
	tcase_add_test(tc, what_is_around_the_lines_is_not_theirs);
	tcase_add_loop_test(tc, a_mistake_is_named, 0, sizeof(mistakes) / sizeof(mistakes[0]));
	tcase_add_test(tc, nul_is_in_no_line);
	tcase_add_test(tc, each_line_has_its_mistake);
	tcase_add_test(tc, mistakes_are_not_counted_for_ever);
	tcase_add_test(tc, a_name_is_there_once);
	tcase_add_test(tc, what_a_client_is_known_by_is_there_once);
	tcase_add_test(tc, every_user_of_many_is_found);
	tcase_add_test(tc, what_is_nearly_a_name_finds_nobody);
	tcase_add_test(tc, a_certificate_is_found_by_either);
	tcase_add_test(tc, a_user_is_the_same_by_its_name_and_proof);
	tcase_add_test(tc, rights_are_the_same_word_for_word);
	tcase_add_test(tc, each_row_needs_its_rights);
	tcase_add_test(tc, each_row_checks_its_keys);
	tcase_add_loop_test(tc, a_call_needs_rights_and_keys, 0, CALLS);
	tcase_add_test(tc, keys_are_compared_in_bytes);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
