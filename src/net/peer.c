/* From the kernel's addresses, and back. */
#include "net/peer.h"

#include <string.h>

#include "net/endpoint.h"

void peer_set(struct peer *peer, const struct sockaddr *address, socklen_t length)
{
	struct sockaddr_in6 in6;

	*peer = (struct peer){ .family = AF_UNIX };
	if (length < sizeof(sa_family_t))
		return;
	peer->family = address->sa_family;
	if (!sockaddr_key(address, &peer->key))
		return;
	peer->port = sockaddr_port(address);
	if (IN6_IS_ADDR_V4MAPPED(&peer->key)) {
		peer->family = AF_INET;
	} else {
		memcpy(&in6, address, sizeof(in6));
		peer->scope = in6.sin6_scope_id;
	}
}

socklen_t peer_sockaddr(const struct peer *peer, struct sockaddr_storage *to)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(peer->port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6,
		.sin6_port = htons(peer->port),
		.sin6_addr = peer->key,
		.sin6_scope_id = peer->scope };

	switch (peer->family) {
	case AF_INET:
		in.sin_addr.s_addr = htonl(network_key_ipv4(&peer->key));
		memcpy(to, &in, sizeof(in));
		return sizeof(in);
	case AF_INET6:
		memcpy(to, &in6, sizeof(in6));
		return sizeof(in6);
	default:
		to->ss_family = peer->family;
		return sizeof(to->ss_family);
	}
}

const char *peer_format(const struct peer *peer, char *to, size_t size)
{
	struct sockaddr_storage address;
	socklen_t length = peer_sockaddr(peer, &address);

	return sockaddr_format((const struct sockaddr *)&address, length, to, size);
}
