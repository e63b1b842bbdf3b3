/*
 * A load generator: connections in closed loops against one server, and one line of figures at the
 * end. Single-threaded, so that it needs one CPU and leaves the other to the server.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "client.h"
#include "net/endpoint.h"
#include "process.h"

#define EVENTS 256
#define SECOND UINT64_C(1000000000)
#define CHECK_MS 100

struct options {
	const char *dialect;
	unsigned connections, window;
	size_t size;
	uint64_t keys, count; /* count 0 = as many as the time allows */
	double seconds, warm_up;
	bool in_order, hold;
	pid_t server; /* 0 = not told */
};

/* What is measured between two moments. */
struct figures {
	double seconds;
	int64_t cpu_ns; /* -1 = not known */
};

struct bench {
	struct options options;
	struct load load;
	struct client *clients;
	unsigned open;
	int epoll;
};

static volatile sig_atomic_t interrupted;

static void interrupt(int signal)
{
	(void)signal;
	interrupted = 1;
}

static void usage(FILE *out)
{
	fprintf(out,
	    "usage: load [-m DIALECT] [-c CONNECTIONS] [-f IN_FLIGHT] [-s SIZE] [-k KEYS] [-o]\n"
	    "            [-t SECONDS | -n REQUESTS] [-w WARM_UP] [-p PID] [-H] ADDRESS\n"
	    "ADDRESS is tcp://HOST:PORT, tls://HOST:PORT, udp://HOST:PORT or unix:///PATH; -o takes the keys in\n"
	    "order, -p tells whose CPU time to measure, -H holds the connections until the end\n"
	    "of the standard input. Dialects:");
	for (size_t i = 0; workload_dialect(i) != NULL; i++)
		fprintf(out, " %s", workload_dialect(i));
	fprintf(out, "\n");
}

/* --- running --- */

/* EPOLLOUT only while a window is stuck: that is rare, and costs two system calls. */
static void watch(struct bench *b, struct client *c, int operation)
{
	struct epoll_event event = { .events = EPOLLIN | (c->blocked ? EPOLLOUT : 0),
		.data.ptr = c };

	epoll_ctl(b->epoll, operation, c->fd, &event);
}

static void serve(struct bench *b, struct client *c)
{
	bool blocked = c->blocked;

	client_ready(c);
	if (c->fd == -1)
		b->open--;
	else if (c->blocked != blocked)
		watch(b, c, EPOLL_CTL_MOD);
}

static void check_all(struct bench *b, uint64_t now)
{
	for (unsigned i = 0; i < b->options.connections; i++) {
		struct client *c = &b->clients[i];
		bool was_open = c->fd != -1;

		client_check(c, now);
		if (was_open && c->fd == -1)
			b->open--;
	}
}

/* Whether all that may be sent has been answered, or failed. */
static bool is_done(const struct bench *b, uint64_t wanted)
{
	return interrupted || b->open == 0 || b->load.latency.count + b->load.errors >= wanted;
}

/* Goes on until the time is over or so many answers have come. */
static void run(struct bench *b, double seconds, uint64_t wanted)
{
	struct epoll_event events[EVENTS];
	uint64_t now = now_ns(), end = now + (uint64_t)(seconds * (double)SECOND);
	uint64_t check = now + CHECK_MS * (SECOND / 1000);

	while ((wanted != 0 || now < end) && !is_done(b, wanted == 0 ? UINT64_MAX : wanted)) {
		int n = epoll_wait(b->epoll, events, EVENTS, CHECK_MS);

		for (int i = 0; i < n; i++)
			serve(b, events[i].data.ptr);
		now = now_ns();
		if (now >= check) {
			check_all(b, now);
			check = now + CHECK_MS * (SECOND / 1000);
		}
	}
}

static int64_t server_cpu(const struct bench *b)
{
	return b->options.server == 0 ? -1 : process_cpu_ns(b->options.server);
}

static struct figures measure(struct bench *b)
{
	struct figures figures = { .cpu_ns = -1 };
	uint64_t start = now_ns();
	int64_t cpu = server_cpu(b), cpu_after;

	run(b, b->options.seconds, b->options.count);
	cpu_after = server_cpu(b);
	figures.seconds = (double)(now_ns() - start) / (double)SECOND;
	if (cpu != -1 && cpu_after != -1)
		figures.cpu_ns = cpu_after - cpu;
	return figures;
}

/* --- the beginning and the end --- */

static int connect_all(struct bench *b, const char *text)
{
	struct address address = { 0 };
	struct endpoints to = { 0 };
	const char *why;

	if (address_parse(&address, text, &why) == -1 ||
	    endpoints_resolve(&to, &address, &why) == -1) {
		address_clear(&address);
		fprintf(stderr, "load: %s: %s\n", text, why);
		return -1;
	}
	address_clear(&address);
	while (b->open < b->options.connections &&
	       client_open(&b->clients[b->open], &b->load, &to.items[0]) == 0)
		b->open++;
	endpoints_clear(&to);
	if (b->open == b->options.connections)
		return 0;
	fprintf(stderr, "load: %s, connection %u: %s\n", text, b->open + 1, strerror(errno));
	return -1;
}

static void start_all(struct bench *b)
{
	b->load.remaining = b->options.count != 0 ? b->options.count : UINT64_MAX;
	for (unsigned i = 0; i < b->options.connections; i++) {
		struct client *c = &b->clients[i];

		client_ask(c);
		if (c->fd == -1)
			b->open--;
		else
			watch(b, c, EPOLL_CTL_ADD);
	}
}

static double in_us(uint64_t ns)
{
	return (double)ns / 1000;
}

static void print_cpu(const struct figures *figures, uint64_t answers)
{
	if (figures->cpu_ns == -1 || answers == 0)
		printf("cpu_us=- ");
	else
		printf("cpu_us=%.4f ", (double)figures->cpu_ns / 1000 / (double)answers);
}

static void print_figures(const struct load *load, const struct figures *figures)
{
	const struct histogram *latency = &load->latency;

	printf("requests=%llu seconds=%.3f rate=%.0f ", (unsigned long long)latency->count,
	    figures->seconds, (double)latency->count / figures->seconds);
	print_cpu(figures, latency->count);
	printf("p50_us=%.1f p99_us=%.1f p999_us=%.1f max_us=%.1f errors=%llu\n",
	    in_us(histogram_percentile(latency, 0.5)), in_us(histogram_percentile(latency, 0.99)),
	    in_us(histogram_percentile(latency, 0.999)), in_us(latency->max),
	    (unsigned long long)load->errors);
	fflush(stdout);
}

static void wait_for_end_of_input(void)
{
	char ignored[256];

	while (read(STDIN_FILENO, ignored, sizeof(ignored)) > 0)
		;
}

/* 0, or 1 when something was wrong. */
static int bench(struct bench *b, const char *address)
{
	struct figures figures;
	uint64_t before;

	b->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (b->epoll == -1 || connect_all(b, address) == -1)
		return 1;
	start_all(b);
	if (b->options.count == 0)
		run(b, b->options.warm_up, 0);
	before = b->load.errors;
	if (b->options.count == 0)
		b->load.latency = (struct histogram){ 0 };
	figures = measure(b);
	print_figures(&b->load, &figures);
	if (b->options.hold)
		wait_for_end_of_input();
	return b->load.errors != 0 || before != 0 || b->load.latency.count == 0;
}

static int finish(struct bench *b, int status)
{
	for (unsigned i = 0; b->clients != NULL && i < b->options.connections; i++)
		if (b->clients[i].load != NULL)
			client_close(&b->clients[i]);
	free(b->clients);
	workload_clear(&b->load.workload);
	if (b->epoll != -1)
		close(b->epoll);
	return status;
}

/* --- options --- */

/* Takes one option; false when there is no such option. */
static bool take_option(struct options *o, int option)
{
	switch (option) {
	case 'm':
		o->dialect = optarg;
		return true;
	case 'c':
		o->connections = (unsigned)strtoul(optarg, NULL, 10);
		return true;
	case 'f':
		o->window = (unsigned)strtoul(optarg, NULL, 10);
		return true;
	case 's':
		o->size = strtoul(optarg, NULL, 10);
		return true;
	case 'k':
		o->keys = strtoull(optarg, NULL, 10);
		return true;
	case 'n':
		o->count = strtoull(optarg, NULL, 10);
		return true;
	case 't':
		o->seconds = strtod(optarg, NULL);
		return true;
	case 'w':
		o->warm_up = strtod(optarg, NULL);
		return true;
	case 'p':
		o->server = (pid_t)strtol(optarg, NULL, 10);
		return true;
	case 'o':
		o->in_order = true;
		return true;
	case 'H':
		o->hold = true;
		return true;
	default:
		return false;
	}
}

static bool take_options(struct options *o, int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "m:c:f:s:k:n:t:w:p:oH")) != -1)
		if (!take_option(o, option))
			return false;
	return optind == argc - 1 && o->connections > 0 && o->window > 0 &&
	       o->window <= WINDOW_MAX && o->size > 0 && o->size <= WORKLOAD_SIZE_MAX &&
	       o->keys <= UINT32_MAX && o->seconds > 0;
}

int main(int argc, char **argv)
{
	static struct bench b = { .epoll = -1,
		.options = { .dialect = "echo",
		    .connections = 50,
		    .window = 1,
		    .size = 64,
		    .seconds = 2,
		    .warm_up = 0.2 } };
	const struct options *o = &b.options;

	if (!take_options(&b.options, argc, argv) ||
	    workload_init(&b.load.workload, o->dialect, o->size, o->keys, o->in_order) == -1) {
		usage(stderr);
		return 2;
	}
	b.load.window = o->window;
	b.clients = calloc(o->connections, sizeof(*b.clients));
	if (b.clients == NULL)
		return 1;
	signal(SIGINT, interrupt);
	return finish(&b, bench(&b, argv[optind]));
}
