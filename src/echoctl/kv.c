/* echoctl get, set, del, incr, keys, ttl: a kv service for scripts. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/escape.h"
#include "echoctl/echoctl.h"
#include "echoctl/json_output.h"
#include "echoctl/kv_peer.h"
#include "echoctl/scan.h"

/* For a script the exit status is enough; a person sees a message. */
static int not_found(void)
{
	if (isatty(STDOUT_FILENO))
		complain("not found");
	return STATUS_NO;
}

/* Prints the number, which with -j is a member of that name. */
static int print_number(const struct options *options, const char *name, int64_t number)
{
	if (options->json)
		return json_print(json_pack("{s:I}", name, (json_int_t)number)) == 0 ? STATUS_OK
										     : STATUS_NO;
	printf("%" PRId64 "\n", number);
	return STATUS_OK;
}

static int refuse(const struct kv_peer *peer, const struct kv_reply *reply)
{
	kv_peer_reject(peer, reply);
	return STATUS_NO;
}

/* Connects, and checks that the key can be sent. */
static int open_for_key(struct kv_peer *peer, const struct options *options, const char *key)
{
	int status = kv_peer_open(peer, options);

	if (status == STATUS_OK && kv_peer_check_key(peer, slice_of(key)) == -1)
		return STATUS_NO;
	return status;
}

/* --- get --- */

static int print_bytes(struct kv_peer *peer, struct kv_reply *reply)
{
	struct slice piece;
	char last = '\n';
	int more;

	while ((more = kv_peer_piece(peer, reply, &piece)) == 1) {
		if (fwrite(piece.bytes, 1, piece.length, stdout) != piece.length)
			return STATUS_NO; /* reported at the end */
		last = piece.bytes[piece.length - 1];
	}
	if (more == -1)
		return STATUS_NO;
	if (last != '\n' && isatty(STDOUT_FILENO))
		putchar('\n');
	return STATUS_OK;
}

static int print_json(struct kv_peer *peer, struct kv_reply *reply)
{
	struct buffer value = { 0 };
	int status = STATUS_NO;

	if (kv_peer_collect(peer, reply, &value) == 0 &&
	    json_print(json_with_bytes(
		json_object(), value.bytes == NULL ? "" : value.bytes, value.length)) == 0)
		status = STATUS_OK;
	free(value.bytes);
	return status;
}

int get_command(const struct options *options, int count, char **arguments)
{
	struct kv_peer peer;
	struct kv_reply reply;
	struct slice words[2];
	int status = open_for_key(&peer, options, arguments[0]);

	(void)count;
	setvbuf(stdout, NULL, _IOFBF, KV_PIECE);
	words[0] = slice_of(peer.resp ? "GET" : "GETS");
	words[1] = slice_of(arguments[0]);
	if (status == STATUS_OK && kv_peer_call(&peer, words, 2, &reply) == -1)
		status = STATUS_NO;
	else if (status == STATUS_OK && reply.kind == KV_REPLY_MISSING)
		status = not_found();
	else if (status == STATUS_OK && reply.kind != KV_REPLY_BYTES)
		status = refuse(&peer, &reply);
	else if (status == STATUS_OK)
		status = options->json ? print_json(&peer, &reply) : print_bytes(&peer, &reply);
	kv_peer_close(&peer);
	return status;
}

/* --- set --- */

/* All of the standard input. */
static int read_input(struct buffer *value)
{
	ssize_t n;

	do {
		char *to = buffer_room(value, KV_PIECE);

		if (to == NULL) {
			complain("out of memory");
			return -1;
		}
		while ((n = read(STDIN_FILENO, to, KV_PIECE)) == -1 && errno == EINTR)
			continue;
		if (n == -1) {
			complain("cannot read the input: %s", strerror(errno));
			return -1;
		}
		value->length += (size_t)n;
		if ((int64_t)value->length > KV_VALUE_MAX) {
			complain("the input is longer than 512 MB, the limit of a value");
			return -1;
		}
	} while (n > 0);
	return 0;
}

int set_command(const struct options *options, int count, char **arguments)
{
	struct kv_peer peer;
	struct kv_reply reply;
	struct buffer input = { 0 };
	struct slice words[4], value;
	char ms[24];
	size_t n = 0;
	int status;

	/* The input is read first, because a service may disconnect a client that is idle meanwhile. */
	if (count == 1 && read_input(&input) == -1) {
		free(input.bytes);
		return STATUS_NO;
	}
	value = count == 1 ? (struct slice){ input.bytes, input.length } : slice_of(arguments[1]);
	words[n++] = slice_of(options->ttl > 0 ? "PSETEX" : "SET");
	words[n++] = slice_of(arguments[0]);
	if (options->ttl > 0) {
		snprintf(ms, sizeof(ms), "%" PRId64, options->ttl);
		words[n++] = slice_of(ms);
	}
	words[n++] = value;
	status = open_for_key(&peer, options, arguments[0]);
	if (status == STATUS_OK && (kv_peer_check_value(&peer, value) == -1 ||
				       kv_peer_call(&peer, words, n, &reply) == -1))
		status = STATUS_NO;
	else if (status == STATUS_OK && reply.kind != KV_REPLY_DONE)
		status = refuse(&peer, &reply);
	kv_peer_close(&peer);
	free(input.bytes);
	return status;
}

/* --- del, incr, ttl --- */

int del_command(const struct options *options, int count, char **arguments)
{
	struct slice words[2] = { slice_of("DEL") };
	struct kv_peer peer;
	struct kv_reply reply;
	int64_t deleted = 0;
	int status = kv_peer_open(&peer, options);

	for (int i = 0; i < count && status == STATUS_OK; i++)
		if (kv_peer_check_key(&peer, slice_of(arguments[i])) == -1)
			status = STATUS_NO;
	for (int i = 0; i < count && status == STATUS_OK; i++) {
		words[1] = slice_of(arguments[i]);
		if (kv_peer_call(&peer, words, 2, &reply) == -1)
			status = STATUS_NO;
		else if (reply.kind == KV_REPLY_NUMBER)
			deleted += reply.number;
		else if (reply.kind == KV_REPLY_DONE)
			deleted++;
		else if (reply.kind != KV_REPLY_MISSING)
			status = refuse(&peer, &reply);
	}
	kv_peer_close(&peer);
	if (status == STATUS_OK)
		status = print_number(options, "deleted", deleted);
	return status == STATUS_OK && deleted == 0 ? STATUS_NO : status;
}

int incr_command(const struct options *options, int count, char **arguments)
{
	struct slice words[3] = { slice_of("INCRBY"), slice_of(arguments[0]),
		slice_of(count > 1 ? arguments[1] : "1") };
	struct kv_peer peer;
	struct kv_reply reply;
	int status = open_for_key(&peer, options, arguments[0]);

	if (status == STATUS_OK && (kv_peer_check_key(&peer, words[2]) == -1 ||
				       kv_peer_call(&peer, words, 3, &reply) == -1))
		status = STATUS_NO;
	else if (status == STATUS_OK && reply.kind == KV_REPLY_NUMBER)
		status = print_number(options, "value", reply.number);
	else if (status == STATUS_OK)
		status = refuse(&peer, &reply);
	kv_peer_close(&peer);
	return status;
}

static int print_ttl(
    const struct options *options, const struct kv_peer *peer, const struct kv_reply *reply)
{
	/* RESP has numbers for what lines have words for. */
	bool is_negative = reply->kind == KV_REPLY_NUMBER && reply->number < 0;

	if (reply->kind == KV_REPLY_MISSING || (is_negative && reply->number == -2))
		return not_found();
	if (reply->kind == KV_REPLY_NUMBER && !is_negative)
		return print_number(options, "ttl", reply->number);
	if (reply->kind != KV_REPLY_NEVER && !is_negative)
		return refuse(peer, reply);
	if (options->json)
		return json_print(json_pack("{s:n}", "ttl")) == 0 ? STATUS_OK : STATUS_NO;
	puts("NEVER");
	return STATUS_OK;
}

int ttl_command(const struct options *options, int count, char **arguments)
{
	struct slice words[2] = { slice_of("TTL"), slice_of(arguments[0]) };
	struct kv_peer peer;
	struct kv_reply reply;
	int status = open_for_key(&peer, options, arguments[0]);

	(void)count;
	if (status == STATUS_OK && kv_peer_call(&peer, words, 2, &reply) == -1)
		status = STATUS_NO;
	else if (status == STATUS_OK)
		status = print_ttl(options, &peer, &reply);
	kv_peer_close(&peer);
	return status;
}

/* --- keys --- */

/* Whether a key is printed with escapes: it would be two lines, or move the terminal. */
static bool needs_escapes(struct slice key, bool terminal)
{
	for (size_t i = 0; i < key.length; i++)
		if (key.bytes[i] == '\n' || (terminal && iscntrl((unsigned char)key.bytes[i])))
			return true;
	return false;
}

/* Prints the key with the same C escapes that the service uses in lines. */
static void print_escaped(struct slice key)
{
	char escape[ESCAPE_MAX];

	for (size_t i = 0; i < key.length; i++) {
		char byte = key.bytes[i];

		if (byte == '\\' || byte == ' ' || iscntrl((unsigned char)byte))
			fwrite(escape, 1, escape_write(byte, ESCAPE_SPACE, escape), stdout);
		else
			putchar(byte);
	}
}

/* At an address of lines, the service has escaped the key already. */
static int print_key(const struct options *options, struct slice key, bool terminal)
{
	if (options->json)
		return json_print(json_with_bytes(json_object(), key.bytes, key.length));
	if (needs_escapes(key, terminal))
		print_escaped(key);
	else
		fwrite(key.bytes, 1, key.length, stdout);
	return putchar('\n') == EOF ? -1 : 0;
}

int keys_command(const struct options *options, int count, char **arguments)
{
	struct scan scan = { .pattern = count > 0 ? arguments[0] : NULL };
	struct kv_peer peer;
	struct slice key;
	bool terminal = isatty(STDOUT_FILENO);
	int status = kv_peer_open(&peer, options);

	if (!terminal)
		setvbuf(stdout, NULL, _IOFBF, KV_PIECE);
	if (status == STATUS_OK && count > 0 &&
	    kv_peer_check_key(&peer, slice_of(arguments[0])) == -1)
		status = STATUS_NO;
	while (status == STATUS_OK && !scan.over) {
		if (scan_step(&scan, &peer) == -1)
			status = STATUS_NO;
		for (size_t at = 0; status == STATUS_OK && scan_key(&scan, &at, &key);)
			if (print_key(options, key, terminal) == -1)
				status = STATUS_NO;
	}
	kv_peer_close(&peer);
	free(scan.keys.bytes);
	return status;
}
