/* Groups and link-local addresses of both families, and the joining of a group. */
#include "net/multicast.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/address.h"
#include "net/endpoint.h"

#define INDEX_MAX 1024 /* of an interface that is looked for one by one */

bool multicast_is_group(const struct sockaddr *address)
{
	struct in6_addr key;

	return sockaddr_key(address, &key) && network_key_is_group(&key);
}

bool multicast_uses_interface(const struct sockaddr *address)
{
	struct in6_addr key;

	return sockaddr_key(address, &key) &&
	       (network_key_is_group(&key) || network_key_is_broadcast(&key) ||
		   IN6_IS_ADDR_LINKLOCAL(&key));
}

/* The address in figures, without its zone; false for a name, `*` and a Unix path. */
static bool read_host(const struct address *address, struct in6_addr *to)
{
	char bare[INET6_ADDRSTRLEN], mapped[INET6_ADDRSTRLEN + sizeof("::ffff:")];

	if (address->host == NULL)
		return false;
	snprintf(bare, sizeof(bare), "%.*s", (int)strcspn(address->host, "%"), address->host);
	snprintf(mapped, sizeof(mapped), "::ffff:%s", bare);
	return inet_pton(AF_INET6, bare, to) == 1 ||
	       (strchr(bare, ':') == NULL && inet_pton(AF_INET6, mapped, to) == 1);
}

bool multicast_names_group(const struct address *address)
{
	struct in6_addr host;

	return read_host(address, &host) && network_key_is_group(&host);
}

bool multicast_needs_interface(const struct address *address)
{
	struct in6_addr host;

	return read_host(address, &host) && strchr(address->host, '%') == NULL &&
	       (IN6_IS_ADDR_LINKLOCAL(&host) || IN6_IS_ADDR_MC_LINKLOCAL(&host) ||
		   IN6_IS_ADDR_MC_NODELOCAL(&host));
}

int multicast_join(int fd, const struct sockaddr *group, socklen_t length, unsigned interface)
{
	bool ipv6 = group->sa_family == AF_INET6;
	int level = ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, off = 0;
	struct group_req request = { .gr_interface = interface };

	/* By default, a socket also receives groups that other sockets of this host have joined. */
	if (setsockopt(
		fd, level, ipv6 ? IPV6_MULTICAST_ALL : IP_MULTICAST_ALL, &off, sizeof(off)) == -1)
		return -1;
	memcpy(&request.gr_group, group, length);
	return setsockopt(fd, level, MCAST_JOIN_GROUP, &request, sizeof(request));
}

void multicast_leave(int fd, const struct sockaddr *group, socklen_t length, unsigned interface)
{
	struct group_req request = { .gr_interface = interface };

	memcpy(&request.gr_group, group, length);
	setsockopt(fd, group->sa_family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP, MCAST_LEAVE_GROUP,
	    &request, sizeof(request));
}

/* The kernel shows the filter of a membership only to a member. */
static bool is_member(int fd, const struct sockaddr *group, socklen_t length, unsigned interface)
{
	uint32_t mode, sources = 0;

	return getsourcefilter(fd, interface, group, length, &mode, &sources, NULL) == 0;
}

/* The kernel does not say which interface it chose, so tries all. Without netlink, tries indices instead of names. */
unsigned multicast_interface(int fd, const struct sockaddr *group, socklen_t length)
{
	struct if_nameindex *all = if_nameindex();
	unsigned found = 0;

	for (size_t i = 0; all != NULL && all[i].if_index != 0 && found == 0; i++)
		if (is_member(fd, group, length, all[i].if_index))
			found = all[i].if_index;
	for (unsigned i = 1; all == NULL && i <= INDEX_MAX && found == 0; i++)
		if (is_member(fd, group, length, i))
			found = i;
	if (all != NULL)
		if_freenameindex(all);
	return found;
}

bool multicast_is_joined(const struct sockaddr *group, unsigned interface)
{
	bool ipv6 = group->sa_family == AF_INET6, here = false, found = false;
	FILE *table = fopen(ipv6 ? "/proc/self/net/igmp6" : "/proc/self/net/igmp", "re");
	struct in6_addr key = { 0 };
	char line[256], wanted[2 * sizeof(key) + 3] = " ";
	in_addr_t ipv4;

	if (table == NULL)
		return true;
	sockaddr_key(group, &key);
	ipv4 = htonl(network_key_ipv4(&key));
	for (size_t i = 0; i < sizeof(key); i++)
		snprintf(wanted + 1 + 2 * i, 3, "%02x", key.s6_addr[i]);
	strcat(wanted, " ");
	while (!found && fgets(line, sizeof(line), table) != NULL) {
		/* IPv6: index, name, group; IPv4: a line for an interface, then its groups behind tabs. */
		if (ipv6)
			found =
			    strtoul(line, NULL, 10) == interface && strstr(line, wanted) != NULL;
		else if (line[0] != '\t')
			here = strtoul(line, NULL, 10) == interface;
		else
			found = here && strtoul(line, NULL, 16) == ipv4;
	}
	fclose(table);
	return found;
}

bool multicast_is_absent(int error)
{
	return error == ENODEV || error == ENXIO || error == EADDRNOTAVAIL ||
	       error == ENETUNREACH || error == ENETDOWN;
}
