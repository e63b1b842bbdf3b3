/*
 * The least that a UDP echo server can do: one recvmmsg, one sendmmsg, and not even a poll between. No
 * guards: it would echo with itself forever. What echod is measured against.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#define BATCH 32
#define BUFFER_SIZE 65536

static struct mmsghdr messages[BATCH];
static struct iovec slots[BATCH];
static struct sockaddr_in peers[BATCH];
static char buffers[BATCH][BUFFER_SIZE];

/* A socket on a free port of the loopback; says which. */
static int bind_somewhere(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd == -1 || bind(fd, (struct sockaddr *)&address, length) == -1 ||
	    getsockname(fd, (struct sockaddr *)&address, &length) == -1)
		return -1;
	printf("listening on udp://127.0.0.1:%d\n", ntohs(address.sin_port));
	fflush(stdout);
	return fd;
}

static int receive(int fd)
{
	for (int i = 0; i < BATCH; i++) {
		slots[i] = (struct iovec){ buffers[i], BUFFER_SIZE };
		messages[i].msg_hdr = (struct msghdr){ .msg_name = &peers[i],
			.msg_namelen = sizeof(peers[i]),
			.msg_iov = &slots[i],
			.msg_iovlen = 1 };
	}
	return recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
}

int main(void)
{
	int fd = bind_somewhere();

	if (fd == -1) {
		perror("bare_udp");
		return 1;
	}
	for (;;) {
		int n = receive(fd);

		for (int i = 0; i < n; i++)
			slots[i].iov_len = messages[i].msg_len;
		if (n > 0)
			sendmmsg(fd, messages, (unsigned)n, 0);
	}
}
