/* The script is a table of dialogues; they are held while things fail, and again when nothing does. */
#include "session.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../fuzz/certificate.h"
#include "../fuzz/daemon.h"
#include "../fuzz/fuzz.h"
#include "build.h"
#include "core/log.h"
#include "net/loop.h"
#include "server.h"
#include "tls_client.h"

#define PATIENCE 80000 /* times 250 us, for what takes its time: programs, disks, pauses */

#define TCP "listen = \"tcp://127.0.0.1:0\"; "
#define BOTH "listen = [ \"tcp://127.0.0.1:0\", \"udp://127.0.0.1:0\" ]; "
#define RESP "listen = [ \"tcp://127.0.0.1:0\", \"redis://127.0.0.1:0\" ]; "
#define SERVICES                                                             \
	"kv = { " RESP "}; "                                                 \
	"disk = { type = \"kv\"; storage = \"@/disk\"; " RESP "}; "          \
	"echo = { listen = [ \"tcp://127.0.0.1:0\", \"udp://127.0.0.1:0\", " \
	"\"unix://@/socket\" ]; }; "                                         \
	"upper = { mode = \"line\"; " BOTH "}; "                             \
	"time = { " BOTH "}; "                                               \
	"daytime = { " BOTH "}; "                                            \
	"chargen = { " TCP "}; "                                             \
	"discard = { " BOTH "}; "                                            \
	"file = { path = \"@/file\"; " TCP "}; "                             \
	"exec = { command = [ \"/bin/cat\" ]; " TCP "}; "                    \
	"control = { listen = \"unix://@/control\"; }; "                     \
	"full = { type = \"kv\"; max_connections = 1; " TCP "}; "            \
	"closed = { type = \"kv\"; deny = [ \"0.0.0.0/0\" ]; " TCP "}; "     \
	"old = { type = \"kv\"; storage = \"@/old\"; " TCP "}; "             \
	"proxied = { type = \"kv\"; proxy_from = \"127.0.0.1\"; " TCP "}; "  \
	"users = { type = \"kv\"; users = \"@/users\"; listen = [ "          \
	"\"tcp://127.0.0.1:0\", \"redis://127.0.0.1:0\", \"unix://@/own\" ]; }; " OVER_TLS
#ifdef HAVE_OPENSSL
#define CERTIFICATE "tls = { certificate = \"@/pem\"; key = \"@/pem\"; }; "
#define OVER_TLS                                                                    \
	"secure = { type = \"echo\"; listen = \"tls://127.0.0.1:0\"; }; "           \
	"behind = { type = \"kv\"; proxy_from = \"127.0.0.1\"; max_value = 60000; " \
	"listen = [ \"tls://127.0.0.1:0\", \"rediss://127.0.0.1:0\" ]; }; "
#else
#define CERTIFICATE
#define OVER_TLS
#endif
#define LOG "log = { level = \"debug\"; target = \"@/log\"; }; "

static const char first_config[] = LOG CERTIFICATE "services = { " SERVICES "};";
static const char second_config[] =
    LOG CERTIFICATE "limits = { max_connections = 100; }; services = { " SERVICES
		    "beacon = { send_to = \"udp://127.0.0.1:9\"; }; "
		    "receiver = { listen = \"udp://127.0.0.1:0\"; }; "
		    "rfc868 = { " BOTH "}; };";

/* A store may answer that it has failed; TLS is in addition to another kind. */
enum { STREAM, DATAGRAM, STORE, TLS = 4 };

/* A password, a token, and the user that this program runs as. */
#define USERS                                                                                       \
	"alice:$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW:rw:*\n"                 \
	"program:sha256:3c469e9d6c5875d37a43f353d4f88e61fcf812c66eee3457465a40b0da4153e0:rw:p*,q\n" \
	"self:uid:%u:rwa:*\n"

/* What is said to an instance, and all that it answers; NULL = anything. A PROXY header is in front of TLS. */
struct dialogue {
	const char *instance;
	int which; /* of its addresses */
	int kind;
	const char *request; /* NULL = nothing, and the client stays */
	const char *answer;  /* of a store, a|b = a, or b when it has refused something before */
};

/* Lists are last, for an error takes the place of all their lines. */
#define VERBS                                                                                      \
	"SETEX v 1000 1\nAPPEND v 2\nRENAME v w\nGETSET w 3\nGETDEL w\nEXPIRE w 9\nKEYS nothing\n" \
	"MGET nothing\n"
#define VERBS_ANSWER "READY\nOK\n2|1\nOK\n12|2|1\n3|12|2|1\nNOT_FOUND|OK\n0\n1\nNOT_FOUND\n"

/* The same for clients of Redis; what has more than one line is last. */
#define REDIS "SET r 1\r\nAPPEND r 2\r\nINCR r\r\nSTRLEN r\r\nPERSIST r\r\nDEL r\r\nMGET none\r\n"
#define REDIS_ANSWER                                                                \
	"+OK\r\n:2\r|:1\r\n:13\r|:3\r|:2\r|:1\r\n:2\r|:1\r|:0\r\n:0\r\n:1\r|:0\r\n" \
	"*1\r\n$-1\r\n"
#define REFUSED \
	"|-EXECABORT Transaction discarded because of previous errors.\r|-ERR EXEC without MULTI\r"
#define TRANSACTION "WATCH u\r\nMULTI\r\nSET t 1\r\nPERSIST t\r\nEXEC\r\n"
#define TRANSACTION_ANSWER \
	"+OK\r\n+OK\r\n+QUEUED\r|+OK\r\n+QUEUED\r|:0\r\n*2\r" REFUSED "\n+OK\r\n:0\r\n"
#define SCRIPT                                                                        \
	"SET lock me\r\nEVAL 'if redis.call(\"get\",KEYS[1]) == ARGV[1] then return " \
	"redis.call(\"del\",KEYS[1]) else return 0 end' 1 lock me\r\n"
#define ABOUT \
	"CLIENT SETNAME me\r\nCLIENT LIST\r\nINFO\r\nKEYS *\r\nCONFIG GET *\r\nCOMMAND DOCS\r\n"

#define TEN(text) text text text text text text text text text text
#define LONG TEN(TEN("a line of the file, x\n"))
#define HEADER "PROXY TCP4 192.0.2.1 192.0.2.2 51000 443\r\n"

static const struct dialogue dialogues[] = {
	{ "kv", 0, STORE, "SET a 1\nGET a\nDEL a\nGET b\n", "READY\nOK\n1\nDELETED\nNOT_FOUND\n" },
	{ "kv", 0, STORE, "\xff\xfd\x06GET b\xff\xf1\nQUIT\n",
	    "READY\n\xff\xfc\x06NOT_FOUND\nBYE\n" },
	{ "kv", 0, STORE, "GET / HTTP/1.1\n",
	    "READY\nERROR: this is the echod key-value port, not HTTP\n" },
	{ "disk", 0, STORE, "SET a 1\nGET a\nDEL a\nGET b\n",
	    "READY\nOK\n1\nDELETED\nNOT_FOUND\n" },
	{ "old", 0, STORE, "SET a 1\nGET a\nDEL a\nGET b\n", "READY\nOK\n1\nDELETED\nNOT_FOUND\n" },
	{ "kv", 0, STORE, VERBS, VERBS_ANSWER },
	{ "disk", 0, STORE, VERBS, VERBS_ANSWER },
	{ "kv", 1, STORE, REDIS, REDIS_ANSWER },
	{ "disk", 1, STORE, REDIS, REDIS_ANSWER },
	{ "kv", 1, STORE, TRANSACTION, TRANSACTION_ANSWER },
	{ "disk", 1, STORE, TRANSACTION, TRANSACTION_ANSWER },
	{ "kv", 1, STORE, SCRIPT, "+OK\r\n:1\r|:0\r\n" },
	{ "kv", 1, STORE, "SUBSCRIBE c\r\nQUIT\r\n",
	    "*3\r\n$9\r|+OK\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n+OK\r\n" },
	{ "kv", 1, STREAM, ABOUT, NULL },
	{ "users", 0, STORE, "GET a\nAUTH alice U*U\nSET a 1\nGET a\nDEL a\n",
	    "READY\nERROR: not authenticated\nOK\nOK\n1\nDELETED\n" },
	{ "users", 1, STORE, "AUTH program token\r\nSET p 1\r\nDEL p q\r\nGET a\r\n",
	    "+OK\r\n+OK\r\n:1\r|:0\r\n-NOPERM No permissions to access a key\r\n" },
	{ "users", 1, STREAM, "HELLO 3 AUTH alice U*U\r\nSUBSCRIBE c\r\nQUIT\r\n", NULL },
	{ "users", 2, STORE, "SET s 1\nGET s\nDEL s\n", "READY\nOK\n1\nDELETED\n" },
	{ "echo", 0, STREAM, "hello", "hello" },
	{ "echo", 1, DATAGRAM, "hello", "hello" },
	{ "echo", 2, STREAM, "hello", "hello" },
	{ "upper", 0, STREAM, "hello\nwor", "HELLO\nWOR" },
	{ "upper", 1, DATAGRAM, " hello ", "HELLO" },
	{ "time", 0, STREAM, "[]\n{\n",
	    "{\"error\": \"unknown request\"}\n{\"error\": \"invalid JSON\"}\n" },
	{ "time", 0, STREAM, "{\"type\": \"time\", \"id\": [1.5, \"\\u00e4\"]}\n", NULL },
	{ "time", 1, DATAGRAM, "[1, {\"a\": 2}]", "{\"error\": \"unknown request\"}" },
	{ "daytime", 0, STREAM, "", NULL },
	{ "daytime", 1, DATAGRAM, "", NULL },
	{ "chargen", 0, STREAM, NULL, NULL },
	{ "discard", 0, STREAM, "hello", "" },
	{ "file", 0, STREAM, "", "the file\n" },
	{ "exec", 0, STREAM, "hello", "hello" },
	{ "control", 0, STREAM, "status\nlisteners\nclients\nstats\nlog debug\nreload\n", NULL },
	{ "full", 0, STORE, NULL, "READY\n" },
	{ "full", 0, STORE, "GET a\n", NULL },
	{ "closed", 0, STREAM, "", "" },
	{ "proxied", 0, STORE, HEADER "SET a 1\nGET a\nDEL a\n", "READY\nOK\n1\nDELETED\n" },
	{ "proxied", 0, STORE, "PROXY UNKNOWN\r\nGET b\n", "READY\nNOT_FOUND\n" },
	{ "proxied", 0, STREAM, "PROXY TCP4 192.0.2.1 ", "" },
#ifdef HAVE_OPENSSL
	{ "secure", 0, STREAM | TLS, "hello", "hello" },
	{ "secure", 0, STREAM | TLS, LONG, LONG },
	{ "behind", 0, STORE | TLS, HEADER "SET a 1\nGET a\nDEL a\n", "READY\nOK\n1\nDELETED\n" },
	{ "behind", 1, STORE | TLS, HEADER REDIS, REDIS_ANSWER },
	{ "behind", 0, STREAM, HEADER "hello", "ERROR: this port speaks TLS\r\n" },
#endif
};
#define DIALOGUES (sizeof(dialogues) / sizeof(dialogues[0]))

struct visitor {
	int fd;                 /* -1 = it could not even connect */
	struct tls_client *tls; /* NULL = plain */
	bool ended;
	size_t length;
	char said[4096]; /* and a NUL */
};

static struct visitor clients[DIALOGUES];
static struct server *server;
static const struct trouble *trouble;
static int stderr_fd, told_fd; /* the real standard error, and what the daemon's goes to */
static char directory[] = "/tmp/echod-faults-XXXXXX";

/* --- the daemon --- */

/* "log" or another file of the directory. */
static FILE *open_file(const char *name, const char *mode)
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, mode);
	require(file != NULL);
	return file;
}

static void nothing(void)
{
}

static const struct trouble peace = { NULL, nothing, nothing };

static void turn(void)
{
	trouble->begin();
	daemon_turn(server);
	trouble->end();
}

static void rest(void)
{
	usleep(250);
}

/* The config with the directory in the place of each @. */
static const char *config_text(const char *config)
{
	static char text[8192];
	FILE *to = fmemopen(text, sizeof(text), "w");

	for (; *config != '\0'; config++)
		*config == '@' ? fputs(directory, to) : fputc(*config, to);
	fclose(to);
	return text;
}

/* Whether it is up; it has told why not, if it is not. */
static bool start(void)
{
	const char *config = config_text(first_config);

	dup2(told_fd, STDERR_FILENO);
	require(ftruncate(told_fd, 0) == 0);
	trouble->begin();
	server = daemon_start(config);
	trouble->end();
	dup2(stderr_fd, STDERR_FILENO);
	require(server != NULL || lseek(told_fd, 0, SEEK_END) > 0 || session_has_logged(" error "));
	return server != NULL;
}

static int reload(const char *text)
{
	const char *config = config_text(text);
	int result;

	trouble->begin();
	result = daemon_reload(server, config);
	trouble->end();
	return result;
}

static void stop(void)
{
	const struct loop *loop = server->running.loop;

	raise(SIGTERM);
	for (int i = 0; i < PATIENCE; i++) {
		turn();
		if (loop->streams + loop->refused + loop->children == 0)
			break;
		rest();
	}
	trouble->begin();
	daemon_free(server);
	trouble->end();
}

/* --- the clients --- */

/* Says the first part of a PROXY header, and the rest later. What is behind the header in a request. */
static const char *announce(int fd, const char *request)
{
	size_t length = strncmp(request, "PROXY ", 6) == 0 ? strcspn(request, "\n") + 1 : 0;

	if (length > strlen(request))
		length--;
	if (length > 0) {
		send(fd, request, length / 2, MSG_NOSIGNAL);
		turn();
		send(fd, request + length / 2, length - length / 2, MSG_NOSIGNAL);
	}
	return request + length;
}

static void greet(struct visitor *client, const struct dialogue *dialogue)
{
	const char *request = dialogue->request;

	*client =
	    (struct visitor){ .fd = daemon_connect(server, dialogue->instance, dialogue->which) };
	if (client->fd == -1 || request == NULL)
		return;
	request = announce(client->fd, request);
#ifdef HAVE_OPENSSL
	if (dialogue->kind & TLS) {
		client->tls = tls_client_new(client->fd, request);
		return;
	}
#endif
	send(client->fd, request, strlen(request), MSG_NOSIGNAL);
	if (dialogue->kind != DATAGRAM)
		shutdown(client->fd, SHUT_WR);
}

static ssize_t receive(struct visitor *client, char *to, size_t size)
{
#ifdef HAVE_OPENSSL
	if (client->tls != NULL)
		return tls_client_receive(client->tls, to, size);
#endif
	return recv(client->fd, to, size, 0);
}

static void hear(struct visitor *client)
{
	ssize_t n;

	do {
		n = receive(client, client->said + client->length,
		    sizeof(client->said) - 1 - client->length);
		client->length += n > 0 ? (size_t)n : 0;
	} while (n > 0 && client->length < sizeof(client->said) - 1);
	client->ended = n == 0 || (n == -1 && errno != EAGAIN);
}

static size_t count_lines(const char *text)
{
	size_t count = 0;

	for (; (text = strchr(text, '\n')) != NULL; text++)
		count++;
	return count;
}

static bool has_all(const struct visitor *client, const struct dialogue *dialogue)
{
	if (dialogue->answer == NULL)
		return client->length > 0;
	if (dialogue->kind & STORE)
		return count_lines(client->said) == count_lines(dialogue->answer);
	return client->length == strlen(dialogue->answer);
}

/* Whether nothing more is to come: the answer and the end, or only one of them where that is all. */
static bool is_done(const struct visitor *client, const struct dialogue *dialogue)
{
	if (client->fd == -1 || client->ended)
		return true;
	return has_all(client, dialogue) &&
	       (dialogue->kind == DATAGRAM || dialogue->request == NULL);
}

/* Whether the line is one of the answers a|b|c. */
static bool is_one_of(const char *line, const char *answers, bool failed)
{
	size_t length = strcspn(line, "\n"), option = strcspn(answers, "|\n");

	while (length != option || memcmp(line, answers, length) != 0) {
		if (!failed || answers[option] != '|')
			return false;
		answers += option + 1;
		option = strcspn(answers, "|\n");
	}
	return true;
}

/* Whether the line that the store has answered is this one, or says that it has failed, or had before. */
static bool is_true_line(const char *line, const char *answer, bool *failed)
{
	static const char *const failures[] = {
		"ERROR: storage failed\n",
		"ERROR: out of memory\n",
		"ERROR: store is full\n",
		"-ERR storage failed\r\n",
		"-READONLY storage failed",
		"-ERR out of memory\r\n",
		"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
		/* A password that could not be checked is none. */
		"ERROR: wrong name or password\n",
		"-WRONGPASS ",
		"ERROR: too many logins",
		"-ERR too many logins",
		"ERROR: not authenticated\n",
		"-NOAUTH ",
	};

	if (is_one_of(line, answer, *failed))
		return true;
	if (*failed && strncmp(line, "NOT_FOUND\n", 10) == 0)
		return true;
	*failed = true;
	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++)
		if (strncmp(line, failures[i], strlen(failures[i])) == 0)
			return true;
	return false;
}

static bool are_true_lines(const char *said, const char *answer)
{
	bool failed = false;

	if (strcmp(said, "ERROR: too many connections\n") == 0 ||
	    strcmp(said, "-ERR max number of clients reached\r\n") == 0)
		return true; /* no memory to count one more of this source */
	for (; *said != '\0'; said += strcspn(said, "\n") + 1) {
		if (*answer == '\0' || !is_true_line(said, answer, &failed))
			return false;
		answer += strcspn(answer, "\n") + 1;
	}
	return true;
}

/* It has got the beginning of its answer and nothing else; a datagram is whole or not there. */
static bool is_told_the_truth(const struct visitor *client, const struct dialogue *dialogue)
{
	const char *answer = dialogue->answer;

	if (answer == NULL || client->length == 0)
		return true;
	if (dialogue->kind & STORE)
		return are_true_lines(client->said, answer);
	return client->length <= strlen(answer) &&
	       memcmp(client->said, answer, client->length) == 0 &&
	       (dialogue->kind != DATAGRAM || has_all(client, dialogue));
}

static void require_of(bool good, const char *what, size_t i)
{
	char said[4 * sizeof(clients[i].said)];

	if (good)
		return;
	fprintf(stderr, "%s, address %d: %s \"%s\"\n", dialogues[i].instance, dialogues[i].which,
	    what, log_escape(said, sizeof(said), clients[i].said, clients[i].length));
	abort();
}

static void converse(void)
{
	for (size_t i = 0; i < DIALOGUES; i++) {
		greet(&clients[i], &dialogues[i]);
		for (int step = dialogues[i].kind & TLS ? 4 : 1; step > 0; step--) {
			turn();
			if (clients[i].fd != -1)
				hear(&clients[i]);
		}
	}
}

/* Whether all clients are done; a datagram may get lost. */
static bool all_are_done(bool lossless)
{
	bool done = true;

	for (size_t i = 0; i < DIALOGUES; i++) {
		if (is_done(&clients[i], &dialogues[i]))
			continue;
		hear(&clients[i]);
		if (lossless || dialogues[i].kind != DATAGRAM)
			done &= is_done(&clients[i], &dialogues[i]);
	}
	return done;
}

static void await_ends(bool lossless)
{
	for (int i = 0; i < PATIENCE && !all_are_done(lossless); i++) {
		turn();
		rest();
	}
	for (size_t i = 0; i < DIALOGUES; i++) {
		bool may_be_lost = dialogues[i].kind == DATAGRAM && !lossless;

		require_of(is_done(&clients[i], &dialogues[i]) || may_be_lost, "no end after", i);
		require_of(is_told_the_truth(&clients[i], &dialogues[i]), "no true answer", i);
	}
}

static void leave(void)
{
	for (size_t i = 0; i < DIALOGUES; i++) {
#ifdef HAVE_OPENSSL
		tls_client_free(clients[i].tls);
#endif
		if (clients[i].fd != -1)
			close(clients[i].fd);
	}
	turn();
	/* The programs of theirs end, too: while there is trouble nobody might hear of it. */
	for (int i = 0; i < PATIENCE && server->running.loop->children > 0; i++) {
		turn();
		rest();
	}
}

/* --- the script --- */

/* Whether the disk is back, and whoever has logged in is somebody. */
static bool nobody_is_refused(void)
{
	static const char *const refusals[] = { "ERROR: storage failed", "-ERR storage failed",
		"ERROR: wrong name", "-WRONGPASS", "too many logins" };

	for (size_t i = 0; i < DIALOGUES; i++)
		for (size_t j = 0; j < sizeof(refusals) / sizeof(refusals[0]); j++)
			if (strstr(clients[i].said, refusals[j]) != NULL)
				return false;
	return true;
}

/* Everybody gets all that there is to get; a disk that has failed is tried again after a while. */
static void converse_in_peace(void)
{
	for (int i = 0; i < 200; i++) {
		converse();
		await_ends(true);
		if (nobody_is_refused())
			break;
		leave();
		usleep(100000);
	}
	require(nobody_is_refused());
	for (size_t i = 0; i < DIALOGUES; i++)
		require_of(has_all(&clients[i], &dialogues[i]), "not all of it:", i);
	leave();
}

static void converse_in_trouble(void)
{
	converse();
	/* A little more time while it lasts, then its end is awaited. */
	for (int i = 0; i < 10; i++)
		turn();
}

/* What the trouble has left is finished without it, and then everybody is served. */
static void be_in_peace(const struct trouble *its_trouble)
{
	its_trouble->set(false);
	trouble = &peace;
	await_ends(false);
	leave();
	converse_in_peace();
}

static void be_in_trouble(const struct trouble *its_trouble)
{
	trouble = its_trouble;
	its_trouble->set(true);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

/* The path of a directory, or of a file in it. */
static const char *path_of(const char *name, const char *file)
{
	static char paths[2][512];
	static int last;

	last = !last;
	snprintf(paths[last], sizeof(paths[last]), "%s/%s/%s", directory, name, file);
	return paths[last];
}

static void copy_file(const char *from, const char *to)
{
	static char bytes[1 << 20];
	FILE *source = fopen(from, "r"), *target = fopen(to, "w");
	size_t n;

	require(source != NULL && target != NULL);
	while ((n = fread(bytes, 1, sizeof(bytes), source)) > 0)
		require(fwrite(bytes, 1, n, target) == n);
	fclose(source);
	require(fclose(target) == 0);
}

/* Every session begins with the same stores: one that is not there yet, and one that an earlier session has left. */
static void prepare_stores(void)
{
	DIR *kept = opendir(path_of("kept", ""));
	const struct dirent *file;

	nftw(path_of("disk", ""), remove_one, 16, FTW_DEPTH | FTW_PHYS);
	nftw(path_of("old", ""), remove_one, 16, FTW_DEPTH | FTW_PHYS);
	if (kept == NULL)
		return;
	require(mkdir(path_of("old", ""), 0700) == 0);
	while ((file = readdir(kept)) != NULL)
		if (file->d_name[0] != '.')
			copy_file(path_of("kept", file->d_name), path_of("old", file->d_name));
	closedir(kept);
}

/* The first session has seen no trouble. */
static void keep_store(void)
{
	if (access(path_of("kept", ""), F_OK) == -1)
		require(rename(path_of("disk", ""), path_of("kept", "")) == 0);
}

bool session_play(const struct trouble *its_trouble)
{
	fclose(open_file("log", "w"));
	prepare_stores();
	be_in_trouble(its_trouble);
	if (!start()) {
		its_trouble->set(false);
		return false;
	}
	converse_in_trouble();
	reload(second_config);
	raise(SIGUSR1);
	raise(SIGUSR2);
	turn();
	be_in_peace(its_trouble);
	be_in_trouble(its_trouble);
	reload(first_config);
	converse_in_trouble();
	be_in_peace(its_trouble);
	require(reload(first_config) == 0);
	converse_in_peace();
	be_in_trouble(its_trouble);
	stop();
	its_trouble->set(false);
	keep_store();
	return true;
}

bool session_has_logged(const char *text)
{
	FILE *log = open_file("log", "r");
	bool found = false;
	char line[4096];

	while (!found && fgets(line, sizeof(line), log) != NULL)
		found = strstr(line, text) != NULL;
	fclose(log);
	return found;
}

void session_prepare(void)
{
	FILE *file;

	stderr_fd = dup(STDERR_FILENO);
	told_fd = memfd_create("stderr", MFD_CLOEXEC);
	require(stderr_fd != -1 && told_fd != -1 && mkdtemp(directory) != NULL);
	file = open_file("file", "w");
	fputs("the file\n", file);
	fclose(file);
	file = open_file("users", "w");
	require(fchmod(fileno(file), 0600) == 0);
	fprintf(file, USERS, (unsigned)getuid());
	fclose(file);
#ifdef HAVE_OPENSSL
	certificate_write(config_text("@/pem"));
#endif
}

void session_clean_up(void)
{
	nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
