/*
 * TLS behind a handshake that has succeeded: the client sends records of every size, KeyUpdates, damaged records and bytes of
 * any kind, in any pieces, and ends in any way. All that it gets are records, what it gets of its own is what it has
 * sent, and in the end nothing of it is left. OpenSSL's parser is not the subject.
 */
#include <errno.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "certificate.h"
#include "daemon.h"
#include "fuzz.h"
#include "world.h"

#define STEPS_MAX 200
#define SAID_MAX (1 << 16)
#define PATIENCE 1000

#define AT "listen = \"tls://127.0.0.1:0\"; "

static const char *const services[] = { "echo", "kv", "upper", "daytime" };
static char directory[] = "/tmp/echod-fuzz-tls-XXXXXX";
static char pem[64];

static struct server *server;
static SSL *ssl;
static BIO *incoming, *outgoing;
static int fd;
static unsigned char said[SAID_MAX]; /* as text, whether it arrives or not */
static size_t said_length, heard_length;
static unsigned char head[5]; /* of the record that arrives */
static size_t head_length, record_left;

/* --- the certificate --- */

static void remove_certificate(void)
{
	unlink(pem);
	rmdir(directory);
}

static void make_certificate(void)
{
	require(mkdtemp(directory) != NULL);
	snprintf(pem, sizeof(pem), "%s/pem", directory);
	certificate_write(pem);
	atexit(remove_certificate);
}

static const char *config_text(void)
{
	static char text[1024];

	snprintf(text, sizeof(text),
	    "log = { level = \"debug\"; target = \"/dev/null\"; }; "
	    "tls = { certificate = \"%s\"; key = \"%s\"; }; "
	    "services = { echo = { " AT "}; kv = { " AT "max_line = 100; }; "
	    "upper = { mode = \"line\"; " AT "}; daytime = { " AT "}; };",
	    pem, pem);
	return text;
}

/* --- the connection --- */

/* Whatever happens, the daemon sends records and nothing else. */
static void require_records(const unsigned char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (record_left > 0) {
			record_left--;
			continue;
		}
		head[head_length++] = bytes[i];
		require(
		    head[0] >= SSL3_RT_CHANGE_CIPHER_SPEC && head[0] <= SSL3_RT_APPLICATION_DATA);
		require(head_length < 2 || head[1] == SSL3_VERSION_MAJOR);
		if (head_length == sizeof(head)) {
			record_left = (size_t)head[3] << 8 | head[4];
			head_length = 0;
		}
	}
}

/* Sends the first `most` bytes that OpenSSL has for the daemon; a flip damages the last of them. */
static void pass_on(size_t most, bool flip)
{
	unsigned char bytes[1 << 15];
	int n = BIO_read(outgoing, bytes, (int)(most < sizeof(bytes) ? most : sizeof(bytes)));

	if (n <= 0)
		return;
	if (flip)
		bytes[n - 1] ^= 1;
	send(fd, bytes, (size_t)n, MSG_NOSIGNAL);
}

static void pass_on_all(void)
{
	while (BIO_pending(outgoing) > 0)
		pass_on(SIZE_MAX, false);
}

static void hear(void)
{
	unsigned char bytes[1 << 14];
	size_t n;

	while (SSL_read_ex(ssl, bytes, sizeof(bytes), &n) == 1) {
		if (strcmp(SSL_get_app_data(ssl), "echo") == 0)
			require(heard_length + n <= said_length &&
				memcmp(said + heard_length, bytes, n) == 0);
		heard_length += n;
	}
}

/* Lets the daemon act. Whether the connection has ended. */
static bool turn(void)
{
	unsigned char bytes[1 << 14];
	bool ended;
	ssize_t n;

	daemon_turn(server);
	while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
		require_records(bytes, (size_t)n);
		BIO_write(incoming, bytes, (int)n);
	}
	ended = n == 0 || errno != EAGAIN;
	hear();
	return ended;
}

static void begin(SSL_CTX *context, const char *service, bool is_new)
{
	ssl = SSL_new(context);
	incoming = BIO_new(BIO_s_mem());
	outgoing = BIO_new(BIO_s_mem());
	SSL_set_bio(ssl, incoming, outgoing);
	SSL_set_app_data(ssl, (char *)(uintptr_t)service);
	require(SSL_set_max_proto_version(ssl, is_new ? TLS1_3_VERSION : TLS1_2_VERSION) == 1);
	said_length = heard_length = head_length = record_left = 0;
	fd = daemon_connect(server, service, 0);
	require(fd != -1);
	for (int i = 0; i < PATIENCE && SSL_connect(ssl) != 1; i++) {
		pass_on_all();
		daemon_turn(server);
		require(!turn() || strcmp(service, "daytime") == 0);
	}
	require(SSL_is_init_finished(ssl));
	pass_on_all();
}

/* --- what the client does --- */

static void play_text(struct input *input)
{
	size_t length = input_byte(input), times = length >> 7 ? 64 : 1;
	const uint8_t *bytes = input_bytes(input, &length);

	for (; times > 0 && length > 0 && said_length + length <= sizeof(said); times--) {
		if (SSL_write(ssl, bytes, (int)length) <= 0)
			return;
		memcpy(said + said_length, bytes, length);
		said_length += length;
	}
}

static void play_raw(struct input *input)
{
	size_t length = input_byte(input);
	const uint8_t *bytes = input_bytes(input, &length);

	send(fd, bytes, length, MSG_NOSIGNAL);
}

static void play_key_update(struct input *input)
{
	int count = input_byte(input) % 40;

	for (int i = 0; i < count && SSL_version(ssl) == TLS1_3_VERSION; i++)
		if (SSL_key_update(
			ssl, i & 1 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED) == 1)
			SSL_do_handshake(ssl);
}

static void play_send(struct input *input)
{
	(void)input;
	pass_on_all();
}

static void play_send_some(struct input *input)
{
	pass_on(input_byte(input), false);
}

static void play_damage(struct input *input)
{
	pass_on(input_byte(input), true);
}

static void play_turn(struct input *input)
{
	(void)input;
	turn();
}

static void play_goodbye(struct input *input)
{
	(void)input;
	SSL_shutdown(ssl);
}

static void play_half_close(struct input *input)
{
	(void)input;
	shutdown(fd, SHUT_WR);
}

static void play_clock(struct input *input)
{
	world_pass(INT64_C(1) << input_byte(input) % 16);
}

static void (*const plays[])(struct input *input) = { play_text, play_send, play_turn, play_raw,
	play_key_update, play_send_some, play_damage, play_goodbye, play_half_close, play_clock };
#define PLAYS (sizeof(plays) / sizeof(plays[0]))

/* The client leaves in the best way that is left to it. */
static void end(void)
{
	bool ended = false;

	SSL_shutdown(ssl);
	pass_on_all();
	shutdown(fd, SHUT_WR);
	for (int i = 0; i < PATIENCE && !ended; i++)
		ended = turn();
	require(ended);
	close(fd);
	SSL_free(ssl);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static SSL_CTX *context;
	struct input input = { data, data + size };
	uint8_t kind;

	if (context == NULL) {
		make_certificate();
		context = SSL_CTX_new(TLS_client_method());
	}
	server = world_begin(config_text());
	kind = input_byte(&input);
	begin(context, services[kind % 4], kind & 4);
	for (int step = 0; step < STEPS_MAX && input_left(&input) > 0; step++)
		plays[input_byte(&input) % PLAYS](&input);
	end();
	world_end(server);
	return 0;
}
