/*
 * A connection to a kv service: sends requests and receives replies, at redis:// and redis+unix:// addresses in RESP2, in
 * which keys and values are any bytes, at others in lines. A value is received in pieces, so that it need not fit into
 * memory, and nothing that a peer announces is allocated before it has arrived.
 *
 * Functions that return int return 0, or -1 after a complaint, if their comment does not say otherwise.
 */
#ifndef ECHOD_ECHOCTL_KV_PEER_H
#define ECHOD_ECHOCTL_KV_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/slice.h"
#include "echoctl/connection.h"

#define KV_VALUE_MAX ((int64_t)512 << 20) /* bytes; the most that RESP has */
#define KV_PIECE 65536

struct buffer;
struct options;

struct kv_peer {
	struct connection connection;
	int64_t patience;
	int signals; /* wait_signals(): a signal ends every wait; -1 = signals end the process */
	bool resp;
	bool write_closed; /* it receives no more; what it has sent can still be read */
	size_t begin, end; /* of what has been received and not yet consumed */
	size_t queued;     /* bytes to be sent */
	char received[KV_PIECE], queue[KV_PIECE];
};

enum kv_reply_kind {
	KV_REPLY_DONE,    /* OK, DELETED */
	KV_REPLY_MISSING, /* there is no such key */
	KV_REPLY_NEVER,   /* the key does not expire */
	KV_REPLY_NUMBER,
	KV_REPLY_BYTES, /* kv_peer_piece() returns them */
	KV_REPLY_LIST,  /* kv_peer_item() returns each */
	KV_REPLY_ERROR,
};

struct kv_reply {
	enum kv_reply_kind kind;
	int64_t number; /* of LIST: how many items */
	/* Of BYTES: how many of them are left; if they end with a line, the most that may come. */
	int64_t left;
	bool to_line_end;
	struct slice text; /* of ERROR; valid until the next call */
};

/* Connects, and logs in as the user, if one is given. STATUS_OK, or another status after a complaint. The caller calls kv_peer_close() in any case. */
int kv_peer_open(struct kv_peer *peer, const struct options *options);
void kv_peer_close(struct kv_peer *peer);

/* For a command that needs RESP: checks that the peer speaks it, waits until it has loaded its store, and counts its keys. */
int kv_peer_prepare_resp(struct kv_peer *peer, const char *command, int64_t *keys);

/* Whether the bytes can be sent: lines allow no white space in a word, and at their end nothing that is not a line. */
bool kv_peer_takes_word(const struct kv_peer *peer, struct slice word);
bool kv_peer_takes_line(const struct kv_peer *peer, struct slice rest);
/* The same for a key and a value, with a complaint. */
int kv_peer_check_key(const struct kv_peer *peer, struct slice key);
int kv_peer_check_value(const struct kv_peer *peer, struct slice value);

/* Sends a request, which may wait in the queue until kv_peer_flush(), and raw bytes. Words are not copied if they are long. */
int kv_peer_send(struct kv_peer *peer, const struct slice *words, size_t count);
int kv_peer_send_raw(struct kv_peer *peer, const void *bytes, size_t length);
int kv_peer_flush(struct kv_peer *peer);

/* Receives the reply to a request, which may be an error; with a list or with bytes, only its beginning. */
int kv_peer_receive(struct kv_peer *peer, struct kv_reply *reply);
/* An item of the list that has begun. */
int kv_peer_item(struct kv_peer *peer, struct kv_reply *reply);
/* 1 and the next piece of the bytes, which is valid until the next call; 0 at their end; -1 after a complaint. */
int kv_peer_piece(struct kv_peer *peer, struct kv_reply *reply, struct slice *piece);
/* Appends all pieces. */
int kv_peer_collect(struct kv_peer *peer, struct kv_reply *reply, struct buffer *to);

/* Sends a request and receives its reply; repeats it while the service is loading its store. -1 after an error reply, too. */
int kv_peer_call(
    struct kv_peer *peer, const struct slice *words, size_t count, struct kv_reply *reply);

/* Complains of a reply that is not one of those that the request has. Returns -1. */
int kv_peer_reject(const struct kv_peer *peer, const struct kv_reply *reply);

/* The text as a slice. */
struct slice slice_of(const char *text);

#endif
