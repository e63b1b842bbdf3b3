/*
 * SCAN, in RESP or in lines. The server is not trusted: a cursor that stays the same ends the scan, and the keys of one
 * step may take only so much memory.
 */
#include "echoctl/scan.h"

#include <stdlib.h>
#include <string.h>

#include "echoctl/echoctl.h"
#include "echoctl/kv_peer.h"

#define STEP "1000" /* keys, more or less */

/* Receives the cursor. */
static int receive_cursor(struct scan *scan, struct kv_peer *peer)
{
	char before[sizeof(scan->cursor)];
	struct buffer text = { 0 };
	struct kv_reply reply;
	int result = kv_peer_item(peer, &reply);

	if (result == 0 && reply.kind != KV_REPLY_BYTES)
		result = kv_peer_reject(peer, &reply);
	if (result == 0)
		result = kv_peer_collect(peer, &reply, &text);
	memcpy(before, scan->cursor, sizeof(before));
	if (result == 0 && text.length > 0 && text.length < sizeof(scan->cursor)) {
		memcpy(scan->cursor, text.bytes, text.length);
		scan->cursor[text.length] = '\0';
		scan->over = strcmp(scan->cursor, "0") == 0;
	}
	if (result == 0 && !scan->over && strcmp(scan->cursor, before) == 0) {
		complain("%s: SCAN makes no progress", peer->connection.address.text);
		result = -1;
	}
	free(text.bytes);
	return result;
}

static int receive_key(struct scan *scan, struct kv_peer *peer)
{
	size_t begin = scan->keys.length, length = 0;
	struct kv_reply reply;

	if (kv_peer_item(peer, &reply) == -1)
		return -1;
	if (reply.kind != KV_REPLY_BYTES)
		return kv_peer_reject(peer, &reply);
	/* A peer may send endless keys, but not into memory. */
	if ((int64_t)begin + reply.left > 2 * KV_VALUE_MAX) {
		complain("%s: too many keys in a piece", peer->connection.address.text);
		return -1;
	}
	if (buffer_add(&scan->keys, &length, sizeof(length)) == -1) {
		complain("out of memory");
		return -1;
	}
	if (kv_peer_collect(peer, &reply, &scan->keys) == -1)
		return -1;
	length = scan->keys.length - begin - sizeof(length);
	memcpy(scan->keys.bytes + begin, &length, sizeof(length));
	return 0;
}

int scan_step(struct scan *scan, struct kv_peer *peer)
{
	struct slice words[6] = { slice_of("SCAN"),
		slice_of(*scan->cursor == '\0' ? "0" : scan->cursor) };
	size_t count = 2;
	struct kv_reply reply;
	int64_t left;

	if (scan->pattern != NULL) {
		words[count++] = slice_of("MATCH");
		words[count++] = slice_of(scan->pattern);
	}
	words[count++] = slice_of("COUNT");
	words[count++] = slice_of(STEP);
	scan->keys.length = 0;
	if (kv_peer_call(peer, words, count, &reply) == -1)
		return -1;
	/* Lines are a list without a cursor of its own: that is the first item. */
	if (reply.kind != (peer->resp ? KV_REPLY_LIST : KV_REPLY_NUMBER) || reply.number < 1 ||
	    (peer->resp && reply.number != 2))
		return kv_peer_reject(peer, &reply);
	left = reply.number - 1;
	if (receive_cursor(scan, peer) == -1)
		return -1;
	if (peer->resp) {
		if (kv_peer_item(peer, &reply) == -1)
			return -1;
		if (reply.kind != KV_REPLY_LIST)
			return kv_peer_reject(peer, &reply);
		left = reply.number;
	}
	while (left-- > 0)
		if (receive_key(scan, peer) == -1)
			return -1;
	return 0;
}

bool scan_key(const struct scan *scan, size_t *at, struct slice *key)
{
	size_t length;

	if (*at >= scan->keys.length)
		return false;
	memcpy(&length, scan->keys.bytes + *at, sizeof(length));
	*key = (struct slice){ scan->keys.bytes + *at + sizeof(length), length };
	*at += sizeof(length) + length;
	return true;
}
