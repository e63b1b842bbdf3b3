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

/* The kernel asks for the interface of these. */
static bool is_of_one_link(const struct in6_addr *address)
{
	return IN6_IS_ADDR_LINKLOCAL(address) || IN6_IS_ADDR_MC_LINKLOCAL(address) ||
	       IN6_IS_ADDR_MC_NODELOCAL(address);
}

bool multicast_is_group(const struct sockaddr *address)
{
	struct in6_addr key;

	return sockaddr_key(address, &key) && network_key_is_group(&key);
}

bool multicast_takes_interface(const struct sockaddr *address)
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

	return read_host(address, &host) && is_of_one_link(&host) &&
	       strchr(address->host, '%') == NULL;
}

int multicast_join(int fd, const struct sockaddr *group, socklen_t length, unsigned interface)
{
	bool ipv6 = group->sa_family == AF_INET6;
	int level = ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, off = 0;
	struct group_req request = { .gr_interface = interface };

	/* A socket hears by default what any other one of this host has joined elsewhere. */
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

/* A line of the table is an interface with its index in front, or a group of it behind tabs. */
static bool find_ipv4(FILE *table, in_addr_t group, unsigned interface)
{
	char line[256];
	bool here = false;

	while (fgets(line, sizeof(line), table) != NULL) {
		if (line[0] != '\t')
			here = strtoul(line, NULL, 10) == interface;
		else if (here && strtoul(line, NULL, 16) == group)
			return true;
	}
	return false;
}

/* A line of the table is index, name, group: "2 eth0 ff020000000000000000000000000001 ...". */
static bool find_ipv6(FILE *table, const struct in6_addr *group, unsigned interface)
{
	char line[256], wanted[2 * sizeof(*group) + 3] = " ";

	for (size_t i = 0; i < sizeof(*group); i++)
		snprintf(wanted + 1 + 2 * i, 3, "%02x", group->s6_addr[i]);
	strcat(wanted, " ");
	while (fgets(line, sizeof(line), table) != NULL)
		if (strtoul(line, NULL, 10) == interface && strstr(line, wanted) != NULL)
			return true;
	return false;
}

bool multicast_is_joined(const struct sockaddr *group, unsigned interface)
{
	bool ipv6 = group->sa_family == AF_INET6;
	FILE *table = fopen(ipv6 ? "/proc/self/net/igmp6" : "/proc/self/net/igmp", "re");
	struct sockaddr_in6 in6;
	struct sockaddr_in in;
	bool found;

	if (table == NULL)
		return true;
	if (ipv6) {
		memcpy(&in6, group, sizeof(in6));
		found = find_ipv6(table, &in6.sin6_addr, interface);
	} else {
		memcpy(&in, group, sizeof(in));
		found = find_ipv4(table, in.sin_addr.s_addr, interface);
	}
	fclose(table);
	return found;
}

bool multicast_is_absent(int error)
{
	return error == ENODEV || error == ENXIO || error == EADDRNOTAVAIL ||
	       error == ENETUNREACH || error == ENETDOWN;
}
