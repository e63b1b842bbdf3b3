/*
 * Hashes of passwords are libxcrypt's: crypt(5) has the kinds. Which of them are strong is decided here, and not by
 * crypt_checksalt(3), whose verdict depends on how the library was built, and which sees only how a hash begins.
 * Memory that held a password, or a value derived from one, is overwritten before it is freed.
 */
#include "core/secret.h"

#include <crypt.h>
#include <errno.h>
#include <sha2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/error.h"

#define BCRYPT_COST_MAX 15     /* two seconds */
#define SHA_ROUNDS_MAX 5000000 /* the same */

_Static_assert(SECRET_DIGEST == SHA256_DIGEST_LENGTH, "SHA-256");
_Static_assert(SECRET_HASH_MAX == CRYPT_OUTPUT_SIZE, "crypt(3)'s output");
_Static_assert(SECRET_PASSWORD_MAX == CRYPT_MAX_PASSPHRASE_SIZE - 1, "crypt(3)'s longest password");

#define TOKEN_BYTES ((SECRET_TOKEN_HEX - 1) / 2)
#define TRADITIONAL_DES 13 /* characters */
#define ALPHABET "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

/* --- tokens --- */

int secret_token(char token[SECRET_TOKEN_HEX])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char bytes[TOKEN_BYTES];
	ssize_t got;

	do
		got = getrandom(bytes, sizeof(bytes), 0);
	while (got == -1 && errno == EINTR); /* only as long as the kernel has no entropy yet */
	if (got != sizeof(bytes))
		return -1;
	for (size_t i = 0; i < TOKEN_BYTES; i++) {
		token[2 * i] = digits[bytes[i] >> 4];
		token[2 * i + 1] = digits[bytes[i] & 15];
	}
	token[SECRET_TOKEN_HEX - 1] = '\0';
	explicit_bzero(bytes, sizeof(bytes));
	return 0;
}

void secret_digest(const void *bytes, size_t length, unsigned char digest[SECRET_DIGEST])
{
	SHA2_CTX context;

	SHA256Init(&context);
	SHA256Update(&context, bytes, length);
	SHA256Final(digest, &context);
	explicit_bzero(&context, sizeof(context));
}

/* volatile: the compiler must not see that the rest is of no consequence once a byte differs. */
static bool equal_in_constant_time(
    const volatile unsigned char *a, const volatile unsigned char *b, size_t length)
{
	unsigned char difference = 0;

	for (size_t i = 0; i < length; i++)
		difference |= a[i] ^ b[i];
	return difference == 0;
}

bool secret_digest_equal(const unsigned char a[SECRET_DIGEST], const unsigned char b[SECRET_DIGEST])
{
	return equal_in_constant_time(a, b, SECRET_DIGEST);
}

/* --- passwords --- */

/* Those that are accepted. crypt(3) takes a hash without its end for a new one's salt, so the end is counted. */
static const struct strong {
	const char *prefix;
	size_t end; /* characters behind the last $ */
} strong[] = {
	{ "$y$", 43 },
	{ "$gy$", 43 },
	{ "$7$", 43 },
	{ "$2b$", 53 },
	{ "$2y$", 53 },
	{ "$2a$", 53 },
	{ "$6$", 86 },
	{ "$5$", 43 },
};
#define STRONG (sizeof(strong) / sizeof(strong[0]))

/* Those that are refused by name, and what stands behind "got". */
static const struct refused {
	const char *prefix, *got;
} refused[] = {
	{ "$apr1$", "one of htpasswd's MD5 ($apr1$): use htpasswd -B" },
	{ "{SHA}", "one of htpasswd's SHA-1 ({SHA}): use htpasswd -B" },
	{ "{", "one of LDAP's ({...}): hash the password again" },
	{ "$1$", "one of MD5 ($1$), which is weak: hash the password again" },
	{ "$md5", "one of MD5 ($md5), which is weak: hash the password again" },
	{ "$sha1$", "one of SHA-1 ($sha1$), which is weak: hash the password again" },
	{ "$3$", "one of NT ($3$), which is weak: hash the password again" },
	{ "$2x$", "one of a faulty bcrypt ($2x$): hash the password again" },
	{ "_", "one of DES (_...), which is weak: hash the password again" },
	{ "*", "a disabled one (*): hash a password, or remove the line" },
	{ "!", "a disabled one (!): hash a password, or remove the line" },
	{ "sha256:", "sha256: with something else" },
	{ "$", "one of a kind that is not known here: hash the password again" },
};
#define REFUSED (sizeof(refused) / sizeof(refused[0]))

static int refuse(struct error *error, const char *got)
{
	return error_set(error,
	    "expected a hash as \"echoctl passwd\" makes it, or sha256: and 64 hexadecimal digits; "
	    "got %s",
	    got);
}

static int check_strong(const char *hash, const struct strong *kind, struct error *error)
{
	size_t end = strlen(strrchr(hash, '$') + 1);

	if (crypt_checksalt(hash) == CRYPT_SALT_INVALID)
		return error_set(error,
		    "the hash (%s...) has a character that no hash has, or a kind that the libcrypt "
		    "of this system lacks; hash the password with \"echoctl passwd\"",
		    kind->prefix);
	if (end != kind->end || strlen(hash) >= SECRET_HASH_MAX)
		return error_set(error,
		    "the hash (%s...) is not whole: expected %zu characters behind its last $, got "
		    "%zu; copy all of it, or hash the password with \"echoctl passwd\"",
		    kind->prefix, kind->end, end);
	return 0;
}

/* Whether a check would take many seconds, and keep all others waiting. */
static bool is_slow(const char *hash)
{
	if (strncmp(hash, "$2", 2) == 0)
		return atoi(hash + 4) > BCRYPT_COST_MAX;
	return strncmp(hash + 3, "rounds=", 7) == 0 && atol(hash + 10) > SHA_ROUNDS_MAX;
}

int secret_hash_check(const char *hash, struct error *error)
{
	for (size_t i = 0; i < STRONG; i++)
		if (strncmp(hash, strong[i].prefix, strlen(strong[i].prefix)) == 0)
			return is_slow(hash) ? error_set(error,
						   "a check of this hash takes too long: expected "
						   "a cost of at most %d, or at most %d rounds",
						   BCRYPT_COST_MAX, SHA_ROUNDS_MAX)
					     : check_strong(hash, &strong[i], error);
	for (size_t i = 0; i < REFUSED; i++)
		if (strncmp(hash, refused[i].prefix, strlen(refused[i].prefix)) == 0)
			return refuse(error, refused[i].got);
	if (*hash == '\0')
		return refuse(error, "nothing");
	if (strlen(hash) == TRADITIONAL_DES && strspn(hash, ALPHABET) == TRADITIONAL_DES)
		return refuse(error, "one of DES, which is weak, or a password: hash it");
	return refuse(error, "what is none; is it the password itself? hash it");
}

/* Makes the output of crypt(3) in *data, which the caller wipes. NULL with errno. */
static const char *hash_password(
    const char *password, const char *setting, struct crypt_data **data)
{
	const char *output;

	if ((*data = calloc(1, sizeof(**data))) == NULL)
		return NULL;
	output = crypt_r(password, setting, *data);
	return output == NULL || output[0] == '*' ? NULL : output;
}

static void wipe(struct crypt_data *data)
{
	int saved = errno;

	if (data != NULL)
		explicit_bzero(data, sizeof(*data));
	free(data);
	errno = saved;
}

int secret_hash_new(const char *password, char hash[SECRET_HASH_MAX], struct error *error)
{
	struct crypt_data *data = NULL;
	const char *output = NULL;
	char *setting;

	if (strlen(password) > SECRET_PASSWORD_MAX)
		return error_set(
		    error, "the password is longer than %d bytes", SECRET_PASSWORD_MAX);
	if ((setting = crypt_gensalt_ra("$y$", 0, NULL, 0)) != NULL)
		output = hash_password(password, setting, &data);
	if (output != NULL)
		strcpy(hash, output);
	else
		error_errno(error, "cannot hash the password");
	wipe(data);
	free(setting);
	return output == NULL ? -1 : 0;
}

bool secret_hash_matches(const char *hash, const char *password)
{
	struct crypt_data *data = NULL;
	const char *output = hash_password(password, hash, &data);
	size_t length = strlen(hash);
	bool matches = output != NULL && strlen(output) == length &&
		       equal_in_constant_time(
			   (const unsigned char *)output, (const unsigned char *)hash, length);

	wipe(data);
	return matches;
}
