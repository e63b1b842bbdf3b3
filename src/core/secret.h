/*
 * Secrets as a file keeps them: the SHA-256 of a token, or the hash of a password as crypt(5) describes it. A token is
 * random, so a fast hash protects it and the loop can check it; a password is not, so its hash is slow.
 */
#ifndef ECHOD_CORE_SECRET_H
#define ECHOD_CORE_SECRET_H

#include <stdbool.h>
#include <stddef.h>

struct error;

#define SECRET_DIGEST 32        /* bytes */
#define SECRET_TOKEN_HEX 65     /* 32 random bytes in hexadecimal digits, NUL */
#define SECRET_HASH_MAX 384     /* bytes of crypt(3)'s output, with NUL */
#define SECRET_PASSWORD_MAX 511 /* bytes; crypt(3) takes no longer one */

/* --- tokens --- */

/* A new token. 0, or -1 with errno. */
int secret_token(char token[SECRET_TOKEN_HEX]);
/* The SHA-256 of the bytes. */
void secret_digest(const void *bytes, size_t length, unsigned char digest[SECRET_DIGEST]);
/* Whether both are the same; takes the same time whatever they are. */
bool secret_digest_equal(
    const unsigned char a[SECRET_DIGEST], const unsigned char b[SECRET_DIGEST]);

/* --- passwords --- */

/*
 * Whether passwords can be checked against the hash, and it is no weak one. 0, or -1 with an error ("expected ..., got
 * ..."), which does not show the hash. That it is all there is checked; that its cost is bearable is not.
 */
int secret_hash_check(const char *hash, struct error *error);
/* Hashes a password as new ones are (yescrypt). 0, or -1 with an error. */
int secret_hash_new(const char *password, char hash[SECRET_HASH_MAX], struct error *error);
/*
 * Whether that is the password; no if there is no memory, or the hash is none. Takes milliseconds to seconds, as the
 * hash says, and up to some megabytes: for a thread.
 */
bool secret_hash_matches(const char *hash, const char *password);

#endif
