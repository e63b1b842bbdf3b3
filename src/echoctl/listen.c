/* echoctl listen: binds a datagram address or joins a multicast group, and prints each datagram. */
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "core/error.h"
#include "core/log.h"
#include "echoctl/echoctl.h"
#include "echoctl/json_output.h"
#include "echoctl/wait.h"
#include "net/endpoint.h"
#include "net/multicast.h"
#include "net/socket.h"

#define DATAGRAM_MAX (1 << 20)           /* more than the kernel lets through */
#define SHOWN_MAX (4 * DATAGRAM_MAX + 1) /* \xHH for each byte */

struct receiver {
	const struct options *options;
	struct socket_options socket_options;
	struct bound_socket *sockets;
	size_t count;
	struct pollfd *fds;  /* one more: the signals */
	char *bytes, *shown; /* the latest datagram, and escaped */
	int64_t received;
};

static int bind_endpoint(struct receiver *r, const struct endpoint *endpoint)
{
	struct bound_socket *socket = &r->sockets[r->count];
	char text[ADDRESS_TEXT_MAX];
	struct error error;

	if (r->options->interface != NULL && !multicast_is_group(&endpoint->any)) {
		complain("-I: only multicast groups are joined on an interface");
		return STATUS_USAGE;
	}
	if (socket_open(socket, endpoint, &r->socket_options, &error) == -1) {
		complain("%s%s", error.text,
		    error.code == ENODEV && r->options->interface == NULL ? "; try -I INTERFACE"
									  : "");
		errno = error.code;
		return STATUS_NO;
	}
	fprintf(
	    stderr, "listening on %s\n", endpoint_format(&socket->endpoint, text, sizeof(text)));
	r->fds[r->count++] = (struct pollfd){ .fd = socket->fd, .events = POLLIN };
	return STATUS_OK;
}

/*
 * Binds all endpoints of the address; of a name, those that this machine has. A status, after a complaint if it is
 * not STATUS_OK.
 */
static int bind_address(struct receiver *r, const struct address *address)
{
	struct endpoints endpoints;
	const char *why;
	int status = STATUS_OK;

	if (endpoints_resolve(&endpoints, address, &why) == -1) {
		complain("%s: %s", address->text, why);
		return STATUS_NO;
	}
	r->sockets = calloc(endpoints.count, sizeof(*r->sockets));
	r->fds = calloc(endpoints.count + 1, sizeof(*r->fds));
	r->bytes = malloc(DATAGRAM_MAX);
	r->shown = malloc(SHOWN_MAX);
	if (r->sockets == NULL || r->fds == NULL || r->bytes == NULL || r->shown == NULL) {
		complain("out of memory");
		status = STATUS_NO;
	}
	for (size_t i = 0; i < endpoints.count && status == STATUS_OK; i++) {
		bool is_last = i + 1 == endpoints.count && r->count == 0;

		status = bind_endpoint(r, &endpoints.items[i]);
		if (status == STATUS_NO && address->is_name && !is_last &&
		    (errno == EADDRNOTAVAIL || errno == EAFNOSUPPORT))
			status = STATUS_OK;
	}
	endpoints_clear(&endpoints);
	return status;
}

/* A line has the time in UTC, as in the daemon's log, and not the datagram's own line feed at its end. */
static void print_datagram(struct receiver *r, const char *from, size_t length)
{
	struct timespec now;
	struct tm tm;
	char seconds[32], when[48];
	json_t *object;

	if (r->options->raw) {
		fwrite(r->bytes, 1, length, stdout);
		fflush(stdout);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	strftime(seconds, sizeof(seconds), "%FT%T", gmtime_r(&now.tv_sec, &tm));
	snprintf(when, sizeof(when), "%s.%03ldZ", seconds, now.tv_nsec / 1000000);
	if (r->options->json) {
		object = json_pack("{s:s, s:s}", "time", when, "from", from);
		json_print(json_with_bytes(object, r->bytes, length));
		return;
	}
	if (length > 0 && r->bytes[length - 1] == '\n')
		length--;
	log_escape(r->shown, SHOWN_MAX, r->bytes, length);
	printf("%s %s: %s\n", when, from, r->shown);
}

static bool is_done(const struct receiver *r)
{
	return (r->options->count > 0 && r->received == r->options->count) || ferror(stdout);
}

/* Receives and prints until it is done or a signal comes. 0, or -1 with errno. */
static int print_all(struct receiver *r, int signals)
{
	const struct waiting waiting = { .deadline = INT64_MAX };

	r->fds[r->count] = (struct pollfd){ .fd = signals, .events = POLLIN };
	while (!is_done(r)) {
		if (wait_poll(&waiting, r->fds, r->count + 1) == -1)
			return -1;
		for (size_t i = 0; i < r->count && !is_done(r); i++) {
			struct sockaddr_storage from = { 0 };
			struct sockaddr *any = (struct sockaddr *)&from;
			socklen_t from_length = sizeof(from);
			char text[ADDRESS_TEXT_MAX];
			ssize_t n;

			if (r->fds[i].revents == 0)
				continue;
			n = recvfrom(r->fds[i].fd, r->bytes, DATAGRAM_MAX, 0, any, &from_length);
			if (n == -1 && errno != EAGAIN)
				return -1;
			if (n == -1)
				continue;
			sockaddr_format(any, from_length, text, sizeof(text));
			print_datagram(r, text, (size_t)n);
			r->received++;
		}
		if (r->fds[r->count].revents != 0)
			break;
	}
	return 0;
}

int listen_command(const struct options *options, int count, char **arguments)
{
	struct receiver r = { .options = options, .socket_options.unix_mode = 0660 };
	struct address address;
	int signals, status = STATUS_USAGE;

	(void)count;
	if (options->interface != NULL && if_nametoindex(options->interface) == 0) {
		complain("-I: there is no interface \"%s\"", options->interface);
		return STATUS_USAGE;
	}
	if (options->interface != NULL) /* one that exists fits */
		strcpy(r.socket_options.interface, options->interface);
	if (parse_address_argument(&address, arguments[0]) == -1)
		return STATUS_USAGE;
	if (transport_is_stream(address.transport)) {
		complain(
		    "%s: only datagrams are listened for: udp:// or unixgram://", address.text);
	} else {
		signals = wait_signals();
		status = bind_address(&r, &address);
		if (status == STATUS_OK && (signals == -1 || print_all(&r, signals) == -1)) {
			complain("%s: %s", address.text, strerror(errno));
			status = STATUS_NO;
		}
	}
	for (size_t i = 0; i < r.count; i++)
		socket_close(&r.sockets[i]);
	free(r.sockets);
	free(r.fds);
	free(r.bytes);
	free(r.shown);
	address_clear(&address);
	return status;
}
