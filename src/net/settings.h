/* The keys that services share, as fields; each struct is filled by the rows beside it (core/option.h). */
#ifndef ECHOD_NET_SETTINGS_H
#define ECHOD_NET_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "net/access.h"
#include "net/address.h"
#include "net/frame_lines.h"
#include "net/source.h"

struct option_row;

/* Keys that every service has. */
struct instance_settings {
	bool enabled;
	char *type;
	struct addresses listen;
	struct networks allow, deny;
	struct networks proxy_from; /* and "unix" */
	int64_t backlog;
	bool ipv6_only, freebind;
	mode_t socket_mode;
	int64_t max_connections;
	int on_limit; /* enum on_limit */
	int64_t max_per_source;
	struct prefixes source_prefix;
	int64_t connect_rate; /* a second, 0 = no limit */
	int64_t idle_timeout; /* ms, 0 = never */
	int64_t keepalive;    /* ms, 0 = off */
	/* See struct tls_settings. */
	struct strings tls_certificate, tls_key;
	char *tls_client_ca, *tls_crl;
	int tls_min_version;
};

enum on_limit { ON_LIMIT_REJECT, ON_LIMIT_QUEUE };

/* Keys of services that answer datagrams. */
struct datagram_settings {
	int reply_ports; /* enum reply_ports */
	int64_t reply_rate;
	struct prefixes reply_prefix;
};

enum reply_ports { REPLY_PORTS_UNPRIVILEGED, REPLY_PORTS_ANY };

extern const struct option_row instance_rows[], line_rows[], datagram_rows[];

#endif
