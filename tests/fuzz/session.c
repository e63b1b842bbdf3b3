/*
 * A whole session: clients of every kind of service connect, send, read, half-close, reset and leave, time
 * goes by, the configuration changes and signals come, in any order, against the real loop and real sockets.
 * When all have left, nothing of them may be left.
 */
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon.h"
#include "fuzz.h"
#include "world.h"

#define CLIENTS 8
#define STEPS_MAX 300

#define LOG "log = { level = \"debug\"; target = \"/dev/null\"; }; "
#define LIMITS "limits = { max_connections = 6; shutdown_timeout = 3; }; "
#define AT "listen = \"tcp://127.0.0.1:0\"; "
#define BOTH "listen = [ \"tcp://127.0.0.1:0\", \"udp://127.0.0.1:0\" ]; "

static const char *const configs[] = {
	LOG LIMITS "services = {"
		   "kv = { " AT "max_line = 100; max_memory = 2000; line_timeout = 2; }; "
		   "echo = { " BOTH "idle_timeout = 5; }; "
		   "upper = { mode = \"line\"; " BOTH "}; "
		   "time = { " BOTH "max_line = 300; }; "
		   "chargen = { " AT "}; "
		   "daytime = { " BOTH "}; "
		   "control = { listen = \"unix://" DAEMON_DIRECTORY "/control\"; }; "
		   "discard = { " BOTH "max_connections = 1; on_limit = \"queue\"; }; };",
	LOG LIMITS "services = {"
		   "kv = { " AT "max_line = 10; max_memory = 100; telnet = false; }; "
		   "echo = { mode = \"once\"; " BOTH "}; "
		   "time = { " BOTH "deny = \"127.0.0.1\"; }; "
		   "discard = { enabled = false; " AT "}; };",
	LOG "services = { kv = { " AT "}; echo = { listen = \"tcp://192.0.2.1:1\"; }; };",
	"services = { kv = ",
};
#define CONFIGS (sizeof(configs) / sizeof(configs[0]))

static const char *const services[] = { "kv", "echo", "upper", "time", "chargen", "daytime",
	"discard", "control" };
#define SERVICES (sizeof(services) / sizeof(services[0]))

static struct server *server;
static int clients[CLIENTS];

static int *some_client(struct input *input)
{
	return &clients[input_byte(input) % CLIENTS];
}

static void leave(int *client)
{
	if (*client != -1)
		close(*client);
	*client = -1;
}

static void play_connect(struct input *input)
{
	int *client = some_client(input);
	uint8_t whom = input_byte(input);

	leave(client);
	*client = daemon_connect(server, services[whom % SERVICES], whom >> 7);
}

static void play_send(struct input *input)
{
	int *client = some_client(input);
	size_t length = input_byte(input);
	const uint8_t *bytes = input_bytes(input, &length);

	send(*client, bytes, length, MSG_NOSIGNAL);
}

/* The same few bytes over and over, as much as the socket takes of it. */
static void play_flood(struct input *input)
{
	static char flood[1 << 18];
	int *client = some_client(input);
	size_t times = 64u * input_byte(input), length = input_byte(input) % 16 + 1u, at = 0;
	const uint8_t *bytes = input_bytes(input, &length);

	for (; times > 0 && at + length <= sizeof(flood); times--, at += length)
		memcpy(flood + at, bytes, length);
	send(*client, flood, at, MSG_NOSIGNAL);
}

static void play_read(struct input *input)
{
	static char bytes[1 << 16];
	int *client = some_client(input);

	recv(*client, bytes, 256u * input_byte(input), 0);
}

static void play_half_close(struct input *input)
{
	shutdown(*some_client(input), SHUT_WR);
}

static void play_leave(struct input *input)
{
	leave(some_client(input)); /* by a reset, see daemon_connect() */
}

static void play_clock(struct input *input)
{
	world_pass(INT64_C(1) << input_byte(input) % 18);
}

static void play_reload(struct input *input)
{
	daemon_reload(server, configs[input_byte(input) % CONFIGS]);
}

static void play_signal(struct input *input)
{
	static const int numbers[] = { SIGUSR1, SIGUSR2, SIGUSR2, SIGTERM };

	raise(numbers[input_byte(input) % 4]);
}

static void (*const plays[])(struct input *input) = { play_send, play_connect, play_send,
	play_flood, play_read, play_half_close, play_leave, play_clock, play_reload, play_signal };
#define PLAYS (sizeof(plays) / sizeof(plays[0]))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, data + size };

	for (int i = 0; i < CLIENTS; i++)
		clients[i] = -1;
	server = world_begin(configs[0]);
	for (int step = 0; step < STEPS_MAX && input_left(&input) > 0; step++) {
		plays[input_byte(&input) % PLAYS](&input);
		daemon_turn(server);
	}
	for (int i = 0; i < CLIENTS; i++)
		leave(&clients[i]);
	world_end(server);
	return 0;
}
