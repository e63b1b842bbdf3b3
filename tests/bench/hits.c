/*
 * Plays a trace to a cache, as a program does that has a cache beside a slow database: it asks for each key, and sets it
 * when it is missing. Prints how many requests were hits. One connection; the requests are sent in windows.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "trace.h"

#define WINDOW 32

struct dialect {
	const char *name;
	bool greets;
	const char *get, *get_end;
	const char *set, *set_end; /* set_end follows the value */
	const char *hit;           /* how the first line begins */
	unsigned hit_lines;
	const char *miss, *stored;
};

static const struct dialect dialects[] = {
	{ "echod", true, "GET ", "\n", "SET ", "\n", "v", 1, "NOT_FOUND", "OK" },
	{ "redis", false, "GET ", "\r\n", "SET ", "\r\n", "$", 2, "$-1", "+OK" },
	{ "memcached", false, "get ", "\r\n", "set ", "\r\n", "VALUE ", 3, "END", "STORED" },
};
#define DIALECTS (sizeof(dialects) / sizeof(*dialects))

struct player {
	const struct dialect *dialect;
	struct trace trace;
	char *value; /* with what is between it and the key */
	FILE *in, *out;
	char *line;
	size_t line_size;
	unsigned long requests, hits, refused;
};

__attribute__((noreturn)) static void fail(const char *what)
{
	fprintf(stderr, "hits: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void player_connect(struct player *player, const char *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons((uint16_t)atoi(port));
	if (fd == -1 || connect(fd, (struct sockaddr *)&address, sizeof(address)) == -1)
		fail("cannot connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* without it, it is slow */
	player->in = fdopen(fd, "r");
	player->out = fdopen(dup(fd), "w");
	if (player->in == NULL || player->out == NULL)
		fail("cannot connect");
}

static void read_line(struct player *player)
{
	if (getline(&player->line, &player->line_size, player->in) == -1)
		fail("the connection has ended");
}

static bool begins(const struct player *player, const char *text)
{
	return strncmp(player->line, text, strlen(text)) == 0;
}

static bool read_hit(struct player *player)
{
	const struct dialect *dialect = player->dialect;

	read_line(player);
	if (begins(player, dialect->miss))
		return false;
	if (!begins(player, dialect->hit))
		fail(player->line);
	for (unsigned n = 1; n < dialect->hit_lines; n++)
		read_line(player);
	return true;
}

static void play_window(struct player *player, unsigned count)
{
	const struct dialect *dialect = player->dialect;
	uint32_t keys[WINDOW], missing[WINDOW];
	unsigned missed = 0;

	for (unsigned i = 0; i < count; i++) {
		keys[i] = trace_next(&player->trace);
		fprintf(player->out, "%skey:%010u%s", dialect->get, keys[i], dialect->get_end);
	}
	fflush(player->out);
	for (unsigned i = 0; i < count; i++) {
		unsigned n = 0;

		if (read_hit(player)) {
			player->hits++;
			continue;
		}
		while (n < missed && missing[n] != keys[i])
			n++;
		if (n == missed)
			missing[missed++] = keys[i];
	}
	for (unsigned n = 0; n < missed; n++)
		fprintf(player->out, "%skey:%010u%s%s", dialect->set, missing[n], player->value,
		    dialect->set_end);
	fflush(player->out);
	for (unsigned n = 0; n < missed; n++) {
		read_line(player);
		player->refused += !begins(player, dialect->stored);
	}
	player->requests += count;
}

/* " vvvv", or for memcached " 0 0 4\r\nvvvv". */
static char *make_value(const struct dialect *dialect, size_t size)
{
	char *value = malloc(size + 40);
	int length;

	if (value == NULL)
		fail("no memory");
	if (strcmp(dialect->name, "memcached") == 0)
		length = snprintf(value, 40, " 0 0 %zu\r\n", size);
	else
		length = snprintf(value, 40, " ");
	memset(value + length, 'v', size);
	value[(size_t)length + size] = '\0';
	return value;
}

static void usage(void)
{
	fputs("usage: hits -m echod|redis|memcached -t TRACE -k KEYS -n REQUESTS [-s SIZE] PORT\n"
	      "Traces:",
	    stderr);
	for (unsigned n = 0; trace_name(n) != NULL; n++)
		fprintf(stderr, " %s", trace_name(n));
	fputs("\n", stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	struct player player = { .dialect = NULL };
	const char *trace = NULL;
	unsigned long keys = 0, requests = 0, size = 64;
	int option;

	while ((option = getopt(argc, argv, "m:t:k:n:s:")) != -1) {
		for (size_t n = 0; option == 'm' && n < DIALECTS; n++)
			if (strcmp(optarg, dialects[n].name) == 0)
				player.dialect = &dialects[n];
		if (option == 't')
			trace = optarg;
		if (option == 'k')
			keys = strtoul(optarg, NULL, 10);
		if (option == 'n')
			requests = strtoul(optarg, NULL, 10);
		if (option == 's')
			size = strtoul(optarg, NULL, 10);
		if (option == '?')
			usage();
	}
	if (player.dialect == NULL || trace == NULL || size == 0 || optind != argc - 1 ||
	    trace_init(&player.trace, trace, (uint32_t)keys) == -1)
		usage();
	player.value = make_value(player.dialect, size);
	player_connect(&player, argv[optind]);
	if (player.dialect->greets)
		read_line(&player);
	while (player.requests < requests)
		play_window(&player, requests - player.requests < WINDOW
					 ? (unsigned)(requests - player.requests)
					 : WINDOW);
	printf("requests=%lu hits=%lu refused=%lu\n", player.requests, player.hits, player.refused);
	trace_clear(&player.trace);
	return 0;
}
