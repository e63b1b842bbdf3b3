/*
 * Nothing of our own environment goes to a program: what it gets is the same wherever we were
 * started.
 */
#include "net/program.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/strings.h"
#include "net/endpoint.h"
#include "net/instance.h"
#include "net/stream.h"
#include "net/tls_identity.h"

#define SEARCH_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static int check_executable(const char *path)
{
	struct stat st;

	if (stat(path, &st) == -1)
		return -1;
	if (!S_ISREG(st.st_mode)) {
		errno = S_ISDIR(st.st_mode) ? EISDIR : EACCES;
		return -1;
	}
	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS);
}

int program_find(const char *name, char *path, size_t size)
{
	int error = ENOENT;
	size_t length;

	if (strchr(name, '/') != NULL) {
		snprintf(path, size, "%s", name);
		return check_executable(name);
	}
	for (const char *at = SEARCH_PATH; *at != '\0'; at += length + (at[length] == ':')) {
		length = strcspn(at, ":");
		if ((size_t)snprintf(path, size, "%.*s/%s", (int)length, at, name) < size &&
		    check_executable(path) == 0)
			return 0;
		if (errno == EACCES)
			error = EACCES; /* it exists, but we may not run it */
	}
	errno = error;
	return -1;
}

/* NAME_ADDR and NAME_PORT of one end. */
static int add_address(
    struct strings *to, const char *name, const struct sockaddr *address, socklen_t length)
{
	char host[NI_MAXHOST], port[NI_MAXSERV], text[ADDRESS_TEXT_MAX];

	if (length == 0)
		return 0;
	if (address->sa_family == AF_UNIX)
		return strings_addf(
		    to, "%s_ADDR=%s", name, sockaddr_format(address, length, text, sizeof(text)));
	if (getnameinfo(address, length, host, sizeof(host), port, sizeof(port),
		NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
		errno = EAFNOSUPPORT;
		return -1;
	}
	if (strings_addf(to, "%s_ADDR=%s", name, host) == -1)
		return -1;
	return strings_addf(to, "%s_PORT=%s", name, port);
}

int program_environment(struct strings *to, struct stream *client)
{
	struct tls_identity identity;
	struct sockaddr_storage local, remote;
	socklen_t remote_length = peer_sockaddr(stream_peer(client), &remote);
	socklen_t length = stream_local(client, &local);

	if (strings_add(to, "PATH=" SEARCH_PATH) == -1 ||
	    strings_addf(to, "SERVICE=%s", stream_instance(client)->name) == -1 ||
	    add_address(to, "REMOTE", (struct sockaddr *)&remote, remote_length) == -1)
		return -1;
	if (stream_identity(client, &identity) &&
	    (strings_addf(to, "TLS_CLIENT=%s", tls_identity_text(&identity)) == -1 ||
		strings_addf(to, "TLS_FINGERPRINT=%s", identity.fingerprint) == -1))
		return -1;
	return add_address(to, "LOCAL", (struct sockaddr *)&local, length);
}
