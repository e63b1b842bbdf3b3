/* An announcement: the header of the PROXY protocol, version 2, that names a client to a server behind a proxy. */
#ifndef ECHOD_ECHOCTL_ANNOUNCEMENT_H
#define ECHOD_ECHOCTL_ANNOUNCEMENT_H

#include <stddef.h>
#include <stdint.h>

struct announcement {
	uint8_t bytes[16 + 2 * 16 + 2 * 2]; /* with IPv6 addresses */
	size_t length;
};

/*
 * From "HOST:PORT", HOST being a numeric address, in brackets if it is one of IPv6; or from "local": no client is
 * announced. STATUS_OK, or STATUS_USAGE after a complaint.
 */
int announcement_make(struct announcement *announcement, const char *source);

#endif
