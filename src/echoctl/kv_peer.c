/*
 * Every wait has the same limit: how long the peer may neither take nor send a byte. While a request is sent, what
 * arrives is received as far as there is room, so that both sides can send at once.
 */
#include "echoctl/kv_peer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/buffer.h"
#include "core/clock.h"
#include "core/log_escape.h"
#include "core/space.h"
#include "echoctl/credentials.h"
#include "echoctl/echoctl.h"
#include "echoctl/kv_address.h"
#include "echoctl/wait.h"

#define SECOND_US 1000000
#define LOADING_US 100000 /* between requests to a service that is loading */
#define LIST_MAX (1 << 20)
#define DIGEST_LENGTH 16 /* of GETS: hexadecimal digits, followed by a blank */
#define SHOWN_MAX 200

struct slice slice_of(const char *text)
{
	return (struct slice){ text, strlen(text) };
}

static const char *name_of(const struct kv_peer *peer)
{
	return peer->connection.address.text;
}

/* Bytes of the peer, as part of a complaint. */
static int complain_bytes(
    const struct kv_peer *peer, const char *before, struct slice bytes, const char *behind)
{
	char shown[SHOWN_MAX];

	log_escape(shown, sizeof(shown), bytes.bytes, bytes.length);
	complain("%s: %s%s%s", name_of(peer), before, shown, behind);
	return -1;
}

/* --- sending and receiving --- */

/* Waits for the events. Those that have happened, or -1 after a complaint. */
static int wait_for(struct kv_peer *peer, short events)
{
	struct pollfd fds[2] = { { .events = events }, { .fd = peer->signals, .events = POLLIN } };
	int64_t now = clock_us();
	const struct waiting waiting = { name_of(peer), now, wait_deadline(now, peer->patience) };
	int ready = connection_poll(&peer->connection, &waiting, fds, 2);

	if (ready == -1)
		complain("%s: %s", name_of(peer), strerror(errno));
	else if (ready == 0)
		complain("%s: %s within %g s", name_of(peer),
		    events & POLLOUT ? "the peer takes no more" : "no answer",
		    (double)peer->patience / SECOND_US);
	else if (fds[1].revents != 0)
		complain("interrupted");
	else
		return fds[0].revents;
	return -1;
}

/* Receives what has arrived, without waiting. 1, 0 at the end of the stream, or -1 with errno. */
static int receive_some(struct kv_peer *peer)
{
	ssize_t n;

	if (peer->begin > 0) {
		memmove(peer->received, peer->received + peer->begin, peer->end - peer->begin);
		peer->end -= peer->begin;
		peer->begin = 0;
	}
	n = connection_read(&peer->connection, peer->received + peer->end, KV_PIECE - peer->end);
	if (n == -1)
		return errno == EAGAIN || errno == EINTR ? 1 : -1;
	peer->end += (size_t)n;
	return n > 0;
}

/* Receives at least one byte. There must be room. */
static int receive_more(struct kv_peer *peer)
{
	size_t before = peer->end - peer->begin;
	int result;

	do {
		if (wait_for(peer, POLLIN) == -1)
			return -1;
		result = receive_some(peer);
	} while (result == 1 && peer->end - peer->begin == before);
	if (result == 1)
		return 0;
	if (result == 0)
		complain("%s: closed before the reply was complete", name_of(peer));
	else
		connection_complain(&peer->connection, errno);
	return -1;
}

static int transmit(struct kv_peer *peer, const char *bytes, size_t length)
{
	bool has_room;
	int events;

	while (length > 0 && !peer->write_closed) {
		ssize_t n = connection_write(&peer->connection, bytes, length);

		if (n > 0) {
			bytes += n;
			length -= (size_t)n;
			continue;
		}
		if (errno == EPIPE || errno == ECONNRESET) {
			peer->write_closed = true; /* but it may have sent the reason */
			break;
		}
		if (errno != EAGAIN && errno != EINTR) {
			connection_complain(&peer->connection, errno);
			return -1;
		}
		has_room = peer->end - peer->begin < KV_PIECE;
		events = wait_for(peer, has_room ? POLLOUT | POLLIN : POLLOUT);
		if (events == -1)
			return -1;
		if (has_room && events & POLLIN && receive_some(peer) != 1)
			peer->write_closed = true;
	}
	return 0;
}

int kv_peer_flush(struct kv_peer *peer)
{
	size_t queued = peer->queued;

	peer->queued = 0;
	return transmit(peer, peer->queue, queued);
}

int kv_peer_send_raw(struct kv_peer *peer, const void *bytes, size_t length)
{
	if (length > KV_PIECE - peer->queued && kv_peer_flush(peer) == -1)
		return -1;
	if (length > KV_PIECE)
		return transmit(peer, bytes, length);
	memcpy(peer->queue + peer->queued, bytes, length);
	peer->queued += length;
	return 0;
}

/* --- requests --- */

int kv_peer_send(struct kv_peer *peer, const struct slice *words, size_t count)
{
	char head[32];
	int failed = 0;

	if (peer->resp)
		failed = kv_peer_send_raw(
		    peer, head, (size_t)snprintf(head, sizeof(head), "*%zu\r\n", count));
	for (size_t i = 0; i < count && failed == 0; i++) {
		const char *end = peer->resp ? "\r\n" : i + 1 < count ? " " : "\n";

		if (peer->resp)
			failed = kv_peer_send_raw(peer, head,
			    (size_t)snprintf(head, sizeof(head), "$%zu\r\n", words[i].length));
		if (failed == 0)
			failed = kv_peer_send_raw(peer, words[i].bytes, words[i].length);
		if (failed == 0)
			failed = kv_peer_send_raw(peer, end, strlen(end));
	}
	return failed;
}

/* Whether telnet, which TCP has in its lines, would change the bytes: IAC, and CR NUL. */
static bool is_changed_by_telnet(const struct kv_peer *peer, struct slice bytes)
{
	static const char cr_nul[2] = { '\r', '\0' };

	if (peer->connection.address.transport != TRANSPORT_TCP || bytes.length == 0)
		return false;
	return memchr(bytes.bytes, 0xff, bytes.length) != NULL ||
	       memmem(bytes.bytes, bytes.length, cr_nul, sizeof(cr_nul)) != NULL;
}

bool kv_peer_takes_word(const struct kv_peer *peer, struct slice word)
{
	bool is_word = word.length > 0 && !is_changed_by_telnet(peer, word);

	for (size_t i = 0; i < word.length; i++)
		is_word = is_word && !is_space(word.bytes[i]);
	return peer->resp || is_word;
}

bool kv_peer_takes_line(const struct kv_peer *peer, struct slice rest)
{
	return peer->resp || (rest.length > 0 && !is_space(rest.bytes[0]) &&
				 !is_space(rest.bytes[rest.length - 1]) &&
				 memchr(rest.bytes, '\n', rest.length) == NULL &&
				 !is_changed_by_telnet(peer, rest));
}

int kv_peer_check_key(const struct kv_peer *peer, struct slice key)
{
	if (kv_peer_takes_word(peer, key))
		return 0;
	return complain_bytes(peer, "the key \"", key,
	    "\" is empty, or contains white space or a telnet command, and cannot be part of a line; "
	    "use a redis:// address");
}

int kv_peer_check_value(const struct kv_peer *peer, struct slice value)
{
	if (kv_peer_takes_line(peer, value))
		return 0;
	complain(
	    "%s: the value is empty, begins or ends with white space, or contains a line feed or "
	    "a telnet command, and cannot be part of a line; use a redis:// address",
	    name_of(peer));
	return -1;
}

/* --- replies --- */

/* Takes a line off what has been received, without its end. */
static int read_line(struct kv_peer *peer, struct slice *line)
{
	size_t searched = 0;
	const char *begin, *lf;

	for (;;) {
		begin = peer->received + peer->begin;
		lf = memchr(begin + searched, '\n', peer->end - peer->begin - searched);
		if (lf != NULL)
			break;
		searched = peer->end - peer->begin;
		if (searched == KV_PIECE)
			return complain_bytes(peer, "the reply is not one of kv: \"",
			    (struct slice){ begin, 64 }, "\"");
		if (receive_more(peer) == -1)
			return -1;
	}
	*line = (struct slice){ begin, (size_t)(lf - begin) };
	peer->begin += line->length + 1;
	return 0;
}

/* A number of 64 bits, as servers write it. */
static bool parse_number(struct slice text, int64_t *number)
{
	char digits[24], *end;

	if (text.length == 0 || text.length >= sizeof(digits))
		return false;
	memcpy(digits, text.bytes, text.length);
	digits[text.length] = '\0';
	if (strspn(digits + (digits[0] == '-'), "0123456789") != text.length - (digits[0] == '-'))
		return false;
	errno = 0;
	*number = strtoll(digits, &end, 10);
	return errno == 0 && end == digits + text.length && end[-1] != '-';
}

static bool is_text(struct slice line, const char *text)
{
	return line.length == strlen(text) && memcmp(line.bytes, text, line.length) == 0;
}

static int receive_resp(struct kv_peer *peer, struct kv_reply *reply)
{
	struct slice line, rest;
	int64_t number = 0;
	char type = '\0';

	if (read_line(peer, &line) == -1)
		return -1;
	if (line.length >= 2 && line.bytes[line.length - 1] == '\r')
		type = line.bytes[0];
	rest = (struct slice){ line.bytes + 1, type == '\0' ? 0 : line.length - 2 };
	if (strchr(":$*", type) != NULL && !parse_number(rest, &number))
		type = '\0';
	reply->number = number;
	if (type == '+') {
		reply->kind = KV_REPLY_DONE;
	} else if (type == '-') {
		reply->kind = KV_REPLY_ERROR;
		reply->text = rest;
	} else if (type == ':') {
		reply->kind = KV_REPLY_NUMBER;
	} else if ((type == '$' || type == '*') && number == -1) {
		reply->kind = KV_REPLY_MISSING;
	} else if (type == '$' && number >= 0 && number <= KV_VALUE_MAX) {
		reply->kind = KV_REPLY_BYTES;
		reply->left = number;
	} else if (type == '*' && number >= 0 && number <= LIST_MAX) {
		reply->kind = KV_REPLY_LIST;
	} else {
		return complain_bytes(peer, "the reply is not RESP: \"", line, "\"");
	}
	return 0;
}

/* A value arrives behind its digest (GETS), so that no value looks like another reply. */
static int receive_line(struct kv_peer *peer, struct kv_reply *reply)
{
	static const char error[] = "ERROR: ";
	struct slice line;
	size_t digits = 0;

	while (peer->end - peer->begin <= DIGEST_LENGTH &&
	       memchr(peer->received + peer->begin, '\n', peer->end - peer->begin) == NULL)
		if (receive_more(peer) == -1)
			return -1;
	line = (struct slice){ peer->received + peer->begin, peer->end - peer->begin };
	while (digits < line.length && digits < DIGEST_LENGTH &&
	       strchr("0123456789abcdef", line.bytes[digits]) != NULL && line.bytes[digits] != '\0')
		digits++;
	if (digits == DIGEST_LENGTH && line.length > digits && line.bytes[digits] == ' ') {
		peer->begin += DIGEST_LENGTH + 1;
		*reply =
		    (struct kv_reply){ KV_REPLY_BYTES, .left = KV_VALUE_MAX, .to_line_end = true };
		return 0;
	}
	if (read_line(peer, &line) == -1)
		return -1;
	if (is_text(line, "NOT_FOUND")) {
		reply->kind = KV_REPLY_MISSING;
	} else if (is_text(line, "NEVER")) {
		reply->kind = KV_REPLY_NEVER;
	} else if (is_text(line, "OK") || is_text(line, "DELETED")) {
		reply->kind = KV_REPLY_DONE;
	} else if (parse_number(line, &reply->number)) {
		reply->kind = KV_REPLY_NUMBER;
	} else if (line.length >= strlen(error) && memcmp(line.bytes, error, strlen(error)) == 0) {
		reply->kind = KV_REPLY_ERROR;
		reply->text =
		    (struct slice){ line.bytes + strlen(error), line.length - strlen(error) };
	} else {
		return complain_bytes(peer, "the reply is not one of kv: \"", line, "\"");
	}
	return 0;
}

int kv_peer_receive(struct kv_peer *peer, struct kv_reply *reply)
{
	*reply = (struct kv_reply){ 0 };
	return peer->resp ? receive_resp(peer, reply) : receive_line(peer, reply);
}

int kv_peer_item(struct kv_peer *peer, struct kv_reply *reply)
{
	if (peer->resp)
		return kv_peer_receive(peer, reply);
	*reply = (struct kv_reply){ KV_REPLY_BYTES, .left = KV_VALUE_MAX, .to_line_end = true };
	return 0;
}

int kv_peer_piece(struct kv_peer *peer, struct kv_reply *reply, struct slice *piece)
{
	const char *lf = NULL;
	struct slice line;

	if (reply->left == 0 && !reply->to_line_end) {
		if (read_line(peer, &line) == -1)
			return -1;
		if (is_text(line, "\r"))
			return 0;
		return complain_bytes(
		    peer, "the value is longer than announced, by \"", line, "\"");
	}
	if (reply->left == 0) {
		complain("%s: the value is longer than 512 MB", name_of(peer));
		return -1;
	}
	if (peer->begin == peer->end && receive_more(peer) == -1)
		return -1;
	*piece = (struct slice){ peer->received + peer->begin, peer->end - peer->begin };
	if (reply->to_line_end)
		lf = memchr(piece->bytes, '\n', piece->length);
	if (lf == piece->bytes) {
		peer->begin++;
		return 0;
	}
	if (lf != NULL)
		piece->length = (size_t)(lf - piece->bytes);
	if ((int64_t)piece->length > reply->left)
		piece->length = (size_t)reply->left;
	reply->left -= (int64_t)piece->length;
	peer->begin += piece->length;
	return 1;
}

int kv_peer_collect(struct kv_peer *peer, struct kv_reply *reply, struct buffer *to)
{
	struct slice piece;
	int more;

	while ((more = kv_peer_piece(peer, reply, &piece)) == 1)
		if (buffer_add(to, piece.bytes, piece.length) == -1) {
			complain("out of memory");
			return -1;
		}
	return more;
}

int kv_peer_reject(const struct kv_peer *peer, const struct kv_reply *reply)
{
	if (reply->kind == KV_REPLY_ERROR)
		return complain_bytes(peer, "", reply->text,
		    is_text(reply->text, "value is not a line") ? "; use a redis:// address" : "");
	complain("%s: this is not the reply to such a command", name_of(peer));
	return -1;
}

int kv_peer_call(
    struct kv_peer *peer, const struct slice *words, size_t count, struct kv_reply *reply)
{
	struct waiting waiting = { .what = name_of(peer), .since = clock_us() };
	int64_t end = wait_deadline(waiting.since, peer->patience);
	struct pollfd signals = { .fd = peer->signals, .events = POLLIN };

	for (;;) {
		if (kv_peer_send(peer, words, count) == -1 || kv_peer_flush(peer) == -1 ||
		    kv_peer_receive(peer, reply) == -1)
			return -1;
		if (reply->kind != KV_REPLY_ERROR)
			return 0;
		if (reply->text.length < strlen("loading") ||
		    strncasecmp(reply->text.bytes, "loading", strlen("loading")) != 0 ||
		    clock_us() >= end)
			return kv_peer_reject(peer, reply);
		waiting.deadline = clock_us() + LOADING_US;
		if (wait_poll(&waiting, &signals, 1) != 0) {
			complain("interrupted");
			return -1;
		}
	}
}

/* --- opening --- */

static int connect_to(struct kv_peer *peer, const struct options *options)
{
	char *address;
	int status = kv_address_find(options, &address);

	if (status == STATUS_OK)
		status =
		    connection_open(&peer->connection, address, options->patience, &options->tls);
	free(address);
	if (status == STATUS_OK && !transport_is_stream(peer->connection.address.transport)) {
		complain("%s: kv serves no datagrams", name_of(peer));
		return STATUS_USAGE;
	}
	peer->resp = peer->connection.address.protocol.resp;
	return status;
}

/* Lines begin with a greeting. */
static int receive_greeting(struct kv_peer *peer)
{
	struct slice line;

	if (peer->resp)
		return STATUS_OK;
	if (read_line(peer, &line) == -1)
		return STATUS_NO;
	if (is_text(line, "READY"))
		return STATUS_OK;
	complain_bytes(peer, "instead of the greeting of kv, it sent \"", line, "\"");
	return STATUS_NO;
}

int kv_peer_open(struct kv_peer *peer, const struct options *options)
{
	struct credentials credentials;
	int status = credentials_find(options, &credentials);

	*peer =
	    (struct kv_peer){ .connection.fd = -1, .patience = options->patience, .signals = -1 };
	if (status == STATUS_OK)
		status = connect_to(peer, options);
	if (status == STATUS_OK)
		status = receive_greeting(peer);
	if (status == STATUS_OK)
		status = credentials_send(peer, &credentials);
	password_wipe(&credentials.password);
	return status;
}

int kv_peer_prepare_resp(struct kv_peer *peer, const char *command, int64_t *keys)
{
	struct slice dbsize = slice_of("DBSIZE");
	struct kv_reply reply;

	if (!peer->resp) {
		complain(
		    "%s: %s needs a %s:// address, because not every key and value is part of a "
		    "line",
		    name_of(peer), command,
		    peer->connection.address.protocol.tls ? "rediss" : "redis");
		return -1;
	}
	if (kv_peer_call(peer, &dbsize, 1, &reply) == -1)
		return -1;
	if (reply.kind != KV_REPLY_NUMBER)
		return kv_peer_reject(peer, &reply);
	*keys = reply.number;
	return 0;
}

void kv_peer_close(struct kv_peer *peer)
{
	connection_close(&peer->connection);
}
