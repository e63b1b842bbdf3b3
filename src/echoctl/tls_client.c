/*
 * OpenSSL over a non-blocking socket: its options, its ends, and its failures in words. tls_trust.c verifies the server.
 */
#include "echoctl/tls_client.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/error.h"
#include "echoctl/echoctl.h"
#include "echoctl/tls_trust.h"
#include "echoctl/wait.h"
#include "net/address.h"

struct tls_client {
	const struct address *address;
	struct tls_trust trust;
	BIO_METHOD *method;
	SSL_CTX *context;
	SSL *ssl;
	int fd;
	int io_error;  /* errno of the last failure of the socket; 0 = none */
	bool io_end;   /* the socket has no more to be read */
	bool io_reset; /* a write has been told so; the kernel reports it only once */

	short read_events, write_events; /* what a read and a write that would block wait for */
	bool connected;
	bool has_received; /* a byte of the server, inside of TLS */
	bool failed;       /* nothing can be sent any more */
	bool finishing;    /* close_notify waits for the socket to take it */

	bool has_certificate; /* of our own */
	bool was_asked;       /* for a certificate that we do not have */
	bool has_passphrase;  /* the key needs one */
	struct error error;   /* an empty text = none */
};

/* --- the socket --- */

/* OpenSSL's own BIO for sockets uses write(2), which raises SIGPIPE. */
static int bio_write_cb(BIO *bio, const char *bytes, int length)
{
	struct tls_client *tls = BIO_get_data(bio);
	ssize_t n = send(tls->fd, bytes, (size_t)length, MSG_NOSIGNAL);

	BIO_clear_retry_flags(bio);
	tls->io_error = n == -1 ? errno : 0;
	tls->io_reset |= tls->io_error == ECONNRESET || tls->io_error == EPIPE;
	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_write(bio);
	return (int)n;
}

static int bio_read_cb(BIO *bio, char *to, int size)
{
	struct tls_client *tls = BIO_get_data(bio);
	ssize_t n = recv(tls->fd, to, (size_t)size, 0);

	if (n == 0 && tls->io_reset) {
		n = -1;
		errno = ECONNRESET;
	}
	BIO_clear_retry_flags(bio);
	tls->io_error = n == -1 ? errno : 0;
	tls->io_end = n == 0;
	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		BIO_set_retry_read(bio);
	return (int)n;
}

static long bio_ctrl_cb(BIO *bio, int command, long number, void *pointer)
{
	const struct tls_client *tls = BIO_get_data(bio);

	(void)number, (void)pointer;
	if (command == BIO_CTRL_EOF)
		return tls->io_end;
	return command == BIO_CTRL_FLUSH; /* nothing is kept back */
}

static BIO *make_bio(struct tls_client *tls)
{
	BIO *bio;

	tls->method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
	if (tls->method == NULL || BIO_meth_set_write(tls->method, bio_write_cb) != 1 ||
	    BIO_meth_set_read(tls->method, bio_read_cb) != 1 ||
	    BIO_meth_set_ctrl(tls->method, bio_ctrl_cb) != 1 ||
	    (bio = BIO_new(tls->method)) == NULL)
		return NULL;
	BIO_set_data(bio, tls);
	return bio;
}

/* Called only if the server asks for a certificate and we have none. */
static int client_certificate_cb(SSL *ssl, X509 **certificate, EVP_PKEY **key)
{
	struct tls_client *tls = SSL_get_app_data(ssl);

	(void)certificate, (void)key;
	tls->was_asked = true;
	return 0;
}

/* --- making a client --- */

/* Complains of a file, by the first error that OpenSSL has noted. */
static int complain_file(const char *option, const char *file, const char *otherwise)
{
	unsigned long code;
	const char *why = otherwise;

	while ((code = ERR_get_error()) != 0)
		if (ERR_SYSTEM_ERROR(code)) {
			why = strerror(ERR_GET_REASON(code));
			break;
		}
	complain("%s %s: %s", option, file, why);
	return STATUS_NO;
}

static int passphrase_cb(char *to, int size, int writing, void *data)
{
	struct tls_client *tls = data;

	(void)to, (void)size, (void)writing;
	tls->has_passphrase = true;
	return -1;
}

static int load_certificate(struct tls_client *tls, const struct tls_options *options)
{
	const char *key = options->key != NULL ? options->key : options->cert;
	const char *option = options->key != NULL ? "--key" : "--cert";
	unsigned long code;

	ERR_clear_error();
	if (SSL_CTX_use_certificate_chain_file(tls->context, options->cert) != 1)
		return complain_file("--cert", options->cert, "it has no certificate in PEM");
	SSL_CTX_set_default_passwd_cb(tls->context, passphrase_cb);
	SSL_CTX_set_default_passwd_cb_userdata(tls->context, tls);
	ERR_clear_error();
	if (SSL_CTX_use_PrivateKey_file(tls->context, key, SSL_FILETYPE_PEM) == 1)
		return STATUS_OK;
	code = ERR_peek_last_error();
	if (tls->has_passphrase)
		return complain_file(option, key,
		    "the key is encrypted, and echoctl asks for no passphrase: decrypt it by "
		    "'openssl pkey'");
	if (ERR_GET_LIB(code) == ERR_LIB_X509)
		return complain_file(option, key, "the key does not belong to the certificate");
	return complain_file(option, key,
	    options->key != NULL ? "it has no private key in PEM"
				 : "it has no private key in PEM: --key FILE");
}

/* What does not depend on the options. 0, or -1 if there is no memory. */
static int make_context(struct tls_client *tls)
{
	if ((tls->context = SSL_CTX_new(TLS_client_method())) == NULL ||
	    SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION) != 1)
		return -1;
	SSL_CTX_set_options(tls->context, SSL_OP_NO_RENEGOTIATION);
	/* A write may be repeated with another buffer, which has the same bytes. */
	SSL_CTX_set_mode(
	    tls->context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(tls->context, SSL_SESS_CACHE_OFF);
	tls_trust_start(&tls->trust, tls->context);
	SSL_CTX_set_client_cert_cb(tls->context, client_certificate_cb);
	return 0;
}

/* Reads what the options name. */
static int apply_options(struct tls_client *tls, const struct tls_options *options)
{
	if (options->key != NULL && options->cert == NULL) {
		complain("--key is of use only with --cert");
		return STATUS_USAGE;
	}
	if (options->pin != NULL && !tls_trust_set_pin(&tls->trust, options->pin)) {
		complain("--pin: expected sha256/ and 44 characters of base64, or sha256: and 64 "
			 "hexadecimal digits, got \"%s\"",
		    options->pin);
		return STATUS_USAGE;
	}
	ERR_clear_error();
	if (options->ca == NULL) {
		SSL_CTX_set_default_verify_paths(tls->context);
	} else {
		if (SSL_CTX_load_verify_file(tls->context, options->ca) != 1)
			return complain_file("--ca", options->ca, "it has no certificate in PEM");
		/* Whatever is in the file is trusted, not only if it has signed itself. */
		X509_VERIFY_PARAM_set_flags(
		    SSL_CTX_get0_param(tls->context), X509_V_FLAG_PARTIAL_CHAIN);
	}
	tls->has_certificate = options->cert != NULL;
	return tls->has_certificate ? load_certificate(tls, options) : STATUS_OK;
}

/* After the context is complete, for SSL_new() copies it. 0, or -1 if there is no memory. */
static int make_ssl(struct tls_client *tls)
{
	BIO *bio;

	if ((tls->ssl = SSL_new(tls->context)) == NULL || (bio = make_bio(tls)) == NULL)
		return -1;
	SSL_set_bio(tls->ssl, bio, bio);
	return SSL_set_app_data(tls->ssl, tls) == 1
		   ? tls_trust_set_host(&tls->trust, tls->ssl, tls->address)
		   : -1;
}

int tls_client_new(
    struct tls_client **to, const struct address *address, const struct tls_options *options)
{
	struct tls_client *tls = calloc(1, sizeof(*tls));
	int status = STATUS_NO;

	*to = NULL;
	if (tls == NULL) {
		complain("out of memory");
		return STATUS_NO;
	}
	tls->address = address;
	if (make_context(tls) == -1)
		complain("cannot start OpenSSL: %s", ERR_reason_error_string(ERR_get_error()));
	else if ((status = apply_options(tls, options)) == STATUS_OK && make_ssl(tls) == -1) {
		complain("out of memory");
		status = STATUS_NO;
	}
	if (status == STATUS_OK)
		*to = tls;
	else
		tls_client_free(tls);
	return status;
}

void tls_client_free(struct tls_client *tls)
{
	if (tls == NULL)
		return;
	if (tls->connected)
		tls_client_finish(tls);
	SSL_free(tls->ssl);
	SSL_CTX_free(tls->context);
	BIO_meth_free(tls->method);
	free(tls);
}

/* --- failures --- */

/* The server has sent an alert, after which it closes. */
static void explain_alert(struct tls_client *tls, int alert)
{
	const char *text = SSL_alert_desc_string_long(alert);
	bool is_about_us = alert == SSL_AD_HANDSHAKE_FAILURE || alert == SSL_AD_BAD_CERTIFICATE ||
			   alert == SSL_AD_CERTIFICATE_UNKNOWN || alert == SSL_AD_UNKNOWN_CA ||
			   alert == SSL_AD_CERTIFICATE_EXPIRED ||
			   alert == SSL_AD_CERTIFICATE_REVOKED ||
			   alert == SSL_AD_UNSUPPORTED_CERTIFICATE ||
			   alert == SSL_AD_ACCESS_DENIED || alert == SSL_AD_CERTIFICATE_REQUIRED;

	if (alert == SSL_AD_PROTOCOL_VERSION)
		error_set(&tls->error, "the server does not speak TLS 1.2 or newer");
	else if (alert == SSL_AD_UNRECOGNIZED_NAME)
		error_set(&tls->error, "the server has no certificate for \"%s\"", tls->trust.host);
	else if (is_about_us && tls->was_asked)
		error_set(&tls->error, "the server wants a client certificate: --cert FILE");
	else if (is_about_us && tls->has_certificate)
		error_set(
		    &tls->error, "the server does not accept the client certificate: %s", text);
	else
		error_set(&tls->error, "the server has ended the TLS connection: %s", text);
}

static void explain_end(struct tls_client *tls)
{
	if (tls->connected)
		error_set(
		    &tls->error, "the connection was cut off: what has arrived may be incomplete");
	else
		error_set(&tls->error,
		    "the server has closed the connection in the handshake: does it speak TLS?");
}

static void explain_protocol(struct tls_client *tls, unsigned long code)
{
	int reason = ERR_GET_REASON(code);

	if (!tls->connected && tls->trust.refusal.text[0] != '\0') {
		tls->error = tls->trust.refusal;
		return;
	}
	if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET) {
		explain_alert(tls, reason - SSL_AD_REASON_OFFSET);
		return;
	}
	switch (ERR_GET_LIB(code) == ERR_LIB_SSL ? reason : 0) {
	case SSL_R_UNEXPECTED_EOF_WHILE_READING:
		explain_end(tls);
		return;
	case SSL_R_UNSUPPORTED_PROTOCOL:
		error_set(&tls->error, "the server does not speak TLS 1.2 or newer");
		return;
	case SSL_R_PACKET_LENGTH_TOO_LONG:
	case SSL_R_UNEXPECTED_MESSAGE: /* our own, from an echo service */
	case SSL_R_WRONG_VERSION_NUMBER:
		if (!tls->connected) {
			error_set(&tls->error, "the server does not speak TLS: write %s://",
			    tls->address->protocol.resp ? "redis" : "tcp");
			return;
		}
	}
	error_set(&tls->error, "TLS has failed: %s",
	    code == 0 ? "no reason is known" : ERR_reason_error_string(code));
}

/*
 * After a call that has returned `result`: 0 if the peer has said goodbye, or -1 with errno; EAGAIN, if it would block,
 * and then *events is what it waits for.
 */
static int judge(struct tls_client *tls, int result, short *events)
{
	switch (SSL_get_error(tls->ssl, result)) {
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_WANT_READ:
		*events = POLLIN;
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_WANT_WRITE:
		*events = POLLOUT;
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_SYSCALL:
		tls->failed = true;
		tls->error.text[0] = '\0';
		if (tls->io_error != 0 && tls->was_asked && !tls->has_received)
			error_set(&tls->error,
			    "%s; the server has asked for a client certificate: --cert FILE",
			    strerror(tls->io_error));
		else if (tls->io_error == 0)
			explain_end(tls);
		errno = tls->io_error == 0 ? EPROTO : tls->io_error;
		return -1;
	default:
		tls->failed = true;
		explain_protocol(tls, ERR_peek_error());
		errno = EPROTO;
		return -1;
	}
}

const char *tls_client_error(const struct tls_client *tls)
{
	return tls->error.text[0] == '\0' ? NULL : tls->error.text;
}

/* --- the connection --- */

/*
 * A write may wait for the rest of a message from the server, such as a session ticket, and a read for room. Whatever is
 * done next may end that wait, so that it must not outlast it.
 */
static void expect_readiness(struct tls_client *tls)
{
	tls->read_events = POLLIN;
	tls->write_events = POLLOUT;
}

int tls_client_handshake(struct tls_client *tls, int fd, const struct waiting *waiting)
{
	struct pollfd ready = { .fd = fd };
	int result;

	tls->fd = fd;
	for (;;) {
		ERR_clear_error();
		if ((result = SSL_connect(tls->ssl)) == 1)
			break;
		if (judge(tls, result, &ready.events) == 0) {
			explain_end(tls);
			errno = EPROTO;
			return -1;
		}
		if (errno != EAGAIN)
			return -1;
		result = wait_poll(waiting, &ready, 1);
		if (result == 0) {
			error_code(&tls->error, ETIMEDOUT,
			    "the server has not completed the TLS handshake in time");
			return -1;
		}
		if (result == -1)
			return -1;
	}
	tls->connected = true;
	expect_readiness(tls);
	return 0;
}

ssize_t tls_client_read(struct tls_client *tls, void *to, size_t size)
{
	size_t n;

	expect_readiness(tls);
	ERR_clear_error();
	if (SSL_read_ex(tls->ssl, to, size, &n) != 1)
		return judge(tls, 0, &tls->read_events);
	tls->has_received = true;
	return (ssize_t)n;
}

ssize_t tls_client_write(struct tls_client *tls, const void *bytes, size_t length)
{
	size_t n;

	expect_readiness(tls);
	ERR_clear_error();
	if (SSL_write_ex(tls->ssl, bytes, length, &n) == 1)
		return (ssize_t)n;
	if (judge(tls, 0, &tls->write_events) == 0)
		errno = EPIPE;
	return -1;
}

void tls_client_finish(struct tls_client *tls)
{
	short events = 0;
	int result;

	/* A second call would wait for the peer's close_notify and discard the data before it. */
	if (tls->failed || (SSL_get_shutdown(tls->ssl) & SSL_SENT_SHUTDOWN && !tls->finishing))
		return;
	ERR_clear_error();
	result = SSL_shutdown(tls->ssl);
	tls->finishing =
	    result < 0 && judge(tls, result, &events) == -1 && errno == EAGAIN && events == POLLOUT;
}

int tls_client_poll(
    struct tls_client *tls, const struct waiting *waiting, struct pollfd *fds, nfds_t count)
{
	static const struct waiting at_once = { .deadline = 0 };
	bool reads = fds[0].events & POLLIN, writes = fds[0].events & POLLOUT;
	/* What is decrypted already, poll(2) does not know of. */
	bool has_bytes = reads && SSL_pending(tls->ssl) > 0;
	short events = fds[0].events, seen;
	int ready;

	fds[0].events = (short)((reads ? tls->read_events : 0) | (writes ? tls->write_events : 0) |
				(tls->finishing ? POLLOUT : 0));
	ready = wait_poll(has_bytes ? &at_once : waiting, fds, count);
	fds[0].events = events;
	if (ready == -1)
		return -1;
	seen = fds[0].revents;
	fds[0].revents = (short)(seen & (POLLERR | POLLHUP | POLLNVAL));
	if (reads && (has_bytes || seen & tls->read_events))
		fds[0].revents |= POLLIN;
	if (writes && seen & tls->write_events)
		fds[0].revents |= POLLOUT;
	if (tls->finishing && seen & (POLLOUT | POLLERR | POLLHUP))
		tls_client_finish(tls);
	return ready == 0 && has_bytes ? 1 : ready;
}
