/*
 * The channel over TLS. One recv(2) reads into a buffer that all channels share; OpenSSL reads that buffer through a BIO
 * of ours and decrypts into the input until the buffer is empty, because epoll would not report bytes that are left
 * there. OpenSSL sends through its own socket BIO, a record at a time.
 *
 * bufferevent_openssl takes twice the CPU time: it polls anew for each reply and reads 4 KiB at a time. It also reports
 * a connection that ends without close_notify as an error (libevent #1288).
 */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/clock.h"
#include "net/channel.h"
#include "net/close_reason.h"
#include "net/tls_context.h"
#include "net/tls_identity.h"

#define RECORD (16 * 1024) /* the most plain text that a record holds */
#define HANDSHAKE_RECORD 22

/* Each costs a key derivation, and OpenSSL 3.0 does not limit them. */
#define KEY_UPDATES_MAX 32
#define KEY_UPDATES_MS 60000

struct tls {
	SSL *ssl;
	unsigned char
	    *rest; /* read off the socket, while OpenSSL waits until it can send; NULL = nothing */
	size_t rest_length;
	int64_t updates_since; /* ms */
	int updates;           /* of the client's key, since then */
	bool begun;            /* something has been read */
};

/* The buffer, and the part that OpenSSL has not read yet. It is empty between two calls; tls->rest keeps what is left. */
static unsigned char received[CHANNEL_READ_LARGE];
static const unsigned char *unread;
static size_t unread_length;

/* --- OpenSSL's view of it --- */

static int received_read_ex(BIO *bio, char *to, size_t size, size_t *length)
{
	*length = size < unread_length ? size : unread_length;
	BIO_clear_retry_flags(bio);
	if (*length == 0) {
		BIO_set_retry_read(bio);
		return 0;
	}
	memcpy(to, unread, *length);
	unread += *length;
	unread_length -= *length;
	return 1;
}

static long received_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)command;
	(void)number;
	(void)pointer;
	return 0;
}

/* One BIO for all channels, since it has no state between two calls. NULL when out of memory. */
static BIO *received_bio(void)
{
	static BIO_METHOD *method;
	static BIO *bio;

	if (method == NULL && (method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "received")) != NULL) {
		BIO_meth_set_read_ex(method, received_read_ex);
		BIO_meth_set_ctrl(method, received_ctrl);
	}
	if (bio == NULL && method != NULL && (bio = BIO_new(method)) != NULL)
		BIO_set_init(bio, 1);
	if (bio != NULL)
		BIO_up_ref(bio);
	return bio;
}

/* Sees each message of the handshake protocol: counts the client's key updates, and hides the rest if there are too many. */
static void message_cb(
    int sent, int version, int type, const void *bytes, size_t length, SSL *ssl, void *arg)
{
	struct channel *channel = arg;
	struct tls *tls = channel->tls;
	int64_t now;

	(void)version;
	(void)ssl;
	if (sent || type != SSL3_RT_HANDSHAKE || length == 0 ||
	    *(const unsigned char *)bytes != SSL3_MT_KEY_UPDATE)
		return;
	now = clock_ms();
	if (now - tls->updates_since > KEY_UPDATES_MS) {
		tls->updates_since = now;
		tls->updates = 0;
	}
	if (++tls->updates > KEY_UPDATES_MAX) {
		channel->tls_cause = TLS_KEY_UPDATES;
		unread_length = 0;
	}
}

/* --- failures --- */

static enum tls_cause cause_of(const struct channel *channel, unsigned long error)
{
	int reason = ERR_GET_REASON(error);

	/* Reasons that all libraries of OpenSSL have, such as that of its own mistakes, are larger than those of alerts. */
	switch (reason) {
	case ERR_R_MALLOC_FAILURE:
		return TLS_MEMORY;
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
	case SSL_R_CERTIFICATE_VERIFY_FAILED:
		return TLS_CERTIFICATE;
	default:
		return ERR_GET_LIB(error) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET &&
			       reason <= SSL_AD_REASON_OFFSET + UINT8_MAX
			   ? TLS_ALERT
		       : channel->established ? TLS_RECORD
					      : TLS_HANDSHAKE;
	}
}

static void tls_free(struct channel *channel)
{
	struct tls *tls = channel->tls;

	SSL_free(tls->ssl);
	free(tls->rest);
	free(tls);
	channel->tls = NULL;
	channel->wants_write = channel->in_record = false;
}

/*
 * The end of TLS, of which OpenSSL has told the client by an alert. The channel is plain from now on, so that the stream
 * can wait for the client's EOF; its output is dropped, since it must not leave in the clear. -1 with EPROTO.
 */
static ssize_t tls_fail(struct channel *channel, enum tls_cause cause)
{
	struct evbuffer *out = bufferevent_get_output(channel->bev);
	unsigned long error = ERR_peek_error();
	long verdict = SSL_get_verify_result(channel->tls->ssl);

	if (channel->tls_cause == TLS_FINE)
		channel->tls_cause =
		    (uint8_t)(cause == TLS_FINE ? cause_of(channel, error) : cause);
	if (channel->tls_cause == TLS_CERTIFICATE && verdict != X509_V_OK)
		channel->tls_error = X509_verify_cert_error_string(verdict);
	else if (error != 0 && cause == TLS_FINE)
		channel->tls_error = ERR_reason_error_string(error);
	ERR_clear_error();
	unread_length = 0;
	evbuffer_drain(out, evbuffer_get_length(out));
	tls_free(channel);
	channel->ops = &channel_plain;
	errno = EPROTO;
	return -1;
}

/* After a call that has failed: -1 with errno; EAGAIN when it can go on later. */
static ssize_t tls_result(struct channel *channel, int result)
{
	int saved = errno;

	switch (SSL_get_error(channel->tls->ssl, result)) {
	case SSL_ERROR_WANT_WRITE:
		channel->wants_write = true;
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_WANT_READ:
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_SYSCALL: /* of the write BIO */
		errno = saved == 0 ? ECONNRESET : saved;
		return -1;
	default:
		return tls_fail(channel, TLS_FINE);
	}
}

/* --- the operations --- */

/* Gives OpenSSL what has arrived: 1, 0 at EOF, or -1 with errno. */
static ssize_t fetch(struct channel *channel)
{
	struct tls *tls = channel->tls;
	ssize_t n = recv(channel->fd, received, sizeof(received), MSG_DONTWAIT);

	channel->fetched = n > 0 ? (size_t)n : 0;
	if (n <= 0)
		return n;
	unread = received;
	unread_length = (size_t)n;
	if (!tls->begun && received[0] != HANDSHAKE_RECORD)
		return tls_fail(channel, TLS_PLAIN_TEXT);
	tls->begun = true;
	return 1;
}

/* Gives it what it has not used, because it had to send something first. */
static void resume(struct tls *tls)
{
	unread = received;
	unread_length = tls->rest_length;
	if (tls->rest != NULL)
		memcpy(received, tls->rest, tls->rest_length);
	free(tls->rest);
	tls->rest = NULL;
	tls->rest_length = 0;
}

/* Decrypts until all is used. The number of bytes; *result is that of the last call, 1 unless that has failed. */
static size_t decrypt(struct channel *channel, int *result)
{
	struct evbuffer *in = bufferevent_get_input(channel->bev);
	struct evbuffer_iovec space;
	SSL *ssl = channel->tls->ssl;
	size_t total = 0;

	ERR_clear_error();
	errno = 0;
	do {
		size_t size =
		    unread_length > CHANNEL_READ_SMALL ? unread_length : CHANNEL_READ_SMALL;

		if (evbuffer_reserve_space(in, (ev_ssize_t)size, &space, 1) != 1) {
			channel->tls_cause = TLS_MEMORY;
			break;
		}
		*result = SSL_read_ex(ssl, space.iov_base, size, &space.iov_len);
		if (*result != 1)
			break;
		evbuffer_commit_space(in, &space, 1);
		total += space.iov_len;
	} while (unread_length > 0 || SSL_pending(ssl) > 0);
	return total;
}

/* For resume(). 0, or -1 when out of memory. */
static int keep_rest(struct tls *tls)
{
	if (unread_length == 0)
		return 0;
	if ((tls->rest = malloc(unread_length)) == NULL)
		return -1;
	memcpy(tls->rest, unread, unread_length);
	tls->rest_length = unread_length;
	return 0;
}

static ssize_t tls_receive(struct channel *channel)
{
	struct tls *tls = channel->tls;
	ssize_t n;
	size_t total;
	int result = 0;

	if (channel->wants_write) {
		channel->wants_write = false;
		channel->fetched = 0;
		resume(tls);
	} else if ((n = fetch(channel)) <= 0) {
		channel->eof = channel->truncated = n == 0;
		return n;
	}
	total = decrypt(channel, &result);
	if (!channel->established)
		channel->established = SSL_is_init_finished(tls->ssl);
	if (channel->tls_cause != TLS_FINE)
		return tls_fail(channel, TLS_FINE);
	if (result == 1)
		return (ssize_t)total;
	if (SSL_get_error(tls->ssl, result) == SSL_ERROR_ZERO_RETURN)
		channel->eof = true;
	else if (tls_result(channel, result) == -1 && errno != EAGAIN)
		return -1;
	else if (channel->wants_write && keep_rest(tls) == -1)
		return tls_fail(channel, TLS_MEMORY);
	unread_length = 0; /* it is behind the client's close_notify, and no other channel's */
	if (total > 0 || channel->eof)
		return (ssize_t)total;
	errno = EAGAIN;
	return -1;
}

static ssize_t tls_send(struct channel *channel, size_t most)
{
	static unsigned char record[RECORD];
	struct evbuffer *out = bufferevent_get_output(channel->bev);
	struct evbuffer_iovec extent[2];
	const unsigned char *bytes = record;
	size_t length, sent;
	int result;

	/* After a record that the socket has not taken, its bytes must be offered again, and at least as many. */
	if (evbuffer_peek(out, -1, NULL, extent, 2) == 1 || extent[0].iov_len >= RECORD) {
		bytes = extent[0].iov_base;
		length = extent[0].iov_len < RECORD ? extent[0].iov_len : RECORD;
	} else {
		length = (size_t)evbuffer_copyout(out, record, RECORD);
	}
	(void)most;
	ERR_clear_error();
	errno = 0;
	result = SSL_write_ex(channel->tls->ssl, bytes, length, &sent);
	if (result != 1) {
		ssize_t failed;

		/*
		 * The client has sent a part of a handshake message, and OpenSSL sends nothing before it has the rest.
		 * The socket takes more all the while: polling would never end.
		 */
		if (SSL_get_error(channel->tls->ssl, result) == SSL_ERROR_WANT_READ)
			return tls_fail(channel, TLS_RECORD);
		failed = tls_result(channel, result);
		/* OpenSSL would fail at a KeyUpdate that it had to answer now (bad length). */
		channel->in_record = failed == -1 && errno == EAGAIN;
		/* The output is polled for already. */
		channel->wants_write = channel->tls != NULL && channel->tls->rest != NULL;
		return failed;
	}
	channel->in_record = false;
	evbuffer_drain(out, sent);
	return (ssize_t)sent;
}

static bool tls_finish(struct channel *channel)
{
	int result;

	if (channel->wants_write)
		return false; /* the answer to a KeyUpdate is first */
	ERR_clear_error();
	result = SSL_shutdown(channel->tls->ssl);
	if (result < 0 && SSL_get_error(channel->tls->ssl, result) == SSL_ERROR_WANT_WRITE) {
		channel->wants_write = true;
		return false;
	}
	ERR_clear_error();
	/* What the client sends now is dropped unseen. */
	tls_free(channel);
	channel->ops = &channel_plain;
	return channel_plain.finish(channel);
}

static void tls_close(struct channel *channel)
{
	tls_free(channel);
	channel_plain.close(channel);
}

static const struct channel_ops channel_tls = {
	.receive = tls_receive,
	.send = tls_send,
	.finish = tls_finish,
	.close = tls_close,
};

int channel_start_tls(struct channel *channel, struct tls_context *context)
{
	struct tls *tls = calloc(1, sizeof(*tls));
	BIO *reader = received_bio(), *writer = BIO_new_socket(channel->fd, BIO_NOCLOSE);

	if (tls == NULL || reader == NULL || writer == NULL ||
	    (tls->ssl = tls_context_accept(context)) == NULL) {
		BIO_free(reader);
		BIO_free(writer);
		free(tls);
		ERR_clear_error();
		return -1;
	}
	SSL_set0_rbio(tls->ssl, reader);
	SSL_set0_wbio(tls->ssl, writer);
	SSL_set_mode(tls->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				   SSL_MODE_RELEASE_BUFFERS);
	SSL_set_msg_callback(tls->ssl, message_cb);
	SSL_set_msg_callback_arg(tls->ssl, channel);
	channel->ops = &channel_tls;
	channel->tls = tls;
	channel->piece = RECORD;
	channel->established = false;
	channel->sends_files = false;
	return 0;
}

const char *channel_tls_version(const struct channel *channel)
{
	return channel->tls == NULL ? NULL : SSL_get_version(channel->tls->ssl);
}

bool channel_identity(const struct channel *channel, struct tls_identity *identity)
{
	return channel->tls != NULL && channel->established &&
	       tls_identity_get(identity, channel->tls->ssl);
}
