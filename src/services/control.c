/*
 * control: requests of an administrator in lines, answered one after the other. A request may reload the daemon or end
 * any client, even the one that sent it. So no request is served by the handler that receives it: it waits for the next
 * turn of the loop. A long answer is sent in pieces, one per turn.
 */
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "net/frame_lines.h"
#include "net/loop.h"
#include "net/replies.h"
#include "net/settings.h"
#include "net/task.h"
#include "services/host.h"
#include "services/service.h"

#define WAITING_MAX (64u * 1024) /* bytes of requests that wait for their turn */
#define PIECE (32u * 1024)       /* most answers are shorter */

/* Of a client. Allocated by itself, because a step of its request may end the stream and free the stream's state. */
struct session {
	struct stream *stream;             /* NULL once it has ended */
	struct evbuffer *waiting, *answer; /* requests; the piece that is being made */
	struct task *work;
	struct control_task *task;      /* the request under way */
	enum control_progress progress; /* of it, after its last step */
	bool running;                   /* a step of it, right now */
	bool ending;                    /* no more requests follow: close once all are answered */
};

/* The stream's state. */
struct place {
	struct session *session;
};

static struct session *session_of(struct stream *stream)
{
	return ((struct place *)stream_state(stream))->session;
}

static void session_free(struct session *session)
{
	if (session->waiting != NULL)
		evbuffer_free(session->waiting);
	if (session->answer != NULL)
		evbuffer_free(session->answer);
	task_free(session->work);
	free(session);
}

static bool has_work(const struct session *session)
{
	return session->task != NULL || evbuffer_get_length(session->waiting) > 0;
}

/* Takes one step of the request under way, which may end the stream: session->stream is NULL then. */
static enum verdict control_step(struct session *session)
{
	const struct host *host = stream_instance(session->stream)->loop->host;
	size_t length;
	char *line;

	/* Reserves memory first: an answer that ends in OK must be complete. */
	if (evbuffer_expand(session->answer, PIECE) == -1)
		return VERDICT_ABORT;
	if (session->task == NULL) {
		line = evbuffer_readln(session->waiting, &length, EVBUFFER_EOL_LF);
		if (line != NULL)
			session->task =
			    host->begin(host, session->stream, session->work, line, length);
		free(line);
		if (session->task == NULL)
			return VERDICT_ABORT;
	}
	session->running = true;
	session->progress = host->go_on(session->task, session->answer);
	session->running = false;
	if (session->progress != CONTROL_DONE && session->stream != NULL)
		return VERDICT_CONTINUE;
	host->end(session->task);
	session->task = NULL;
	return session->ending && !has_work(session) ? VERDICT_CLOSE : VERDICT_CONTINUE;
}

static void control_work(void *arg)
{
	struct session *session = arg;
	enum verdict verdict;

	if (!has_work(session) || !stream_has_room(session->stream))
		return; /* control_writable() schedules it again */
	verdict = control_step(session);
	if (session->stream == NULL) {
		session_free(session);
		return;
	}
	if (has_work(session) && session->progress != CONTROL_WAITS)
		task_next_turn(session->work);
	stream_send(session->stream, session->answer, verdict);
}

static enum verdict control_open(struct stream *stream, struct evbuffer *out)
{
	struct session *session = calloc(1, sizeof(*session));

	(void)out;
	if (session == NULL)
		return VERDICT_ABORT;
	((struct place *)stream_state(stream))->session = session;
	session->stream = stream;
	session->waiting = evbuffer_new();
	session->answer = evbuffer_new();
	session->work = task_new(stream_instance(stream)->loop, -1, control_work, session);
	if (session->waiting == NULL || session->answer == NULL || session->work == NULL)
		return VERDICT_ABORT;
	return VERDICT_CONTINUE;
}

/* Called at a drain, too: a reload that removes this service still gets its answer. */
static enum verdict control_eof(struct stream *stream, struct evbuffer *out)
{
	struct session *session = session_of(stream);

	(void)out;
	session->ending = true;
	return has_work(session) ? VERDICT_CONTINUE : VERDICT_CLOSE;
}

static enum verdict control_lines(struct stream *stream, struct run *run)
{
	struct session *session = session_of(stream);
	const struct message *message;

	while (!session->ending && (message = run_next(run)) != NULL) {
		const char *line = message->bytes;
		size_t length = message->length;

		strip(&line, &length);
		if (length == strlen("quit") && strncasecmp(line, "quit", length) == 0) {
			session->ending = true;
			break;
		}
		if (evbuffer_get_length(session->waiting) + length >= WAITING_MAX) {
			replies_text(
			    run->replies, "ERROR: too many requests wait for their answers\n");
			return VERDICT_PROTOCOL;
		}
		if (evbuffer_add(session->waiting, line, length) == -1 ||
		    evbuffer_add(session->waiting, "\n", 1) == -1)
			return VERDICT_ABORT;
		task_next_turn(session->work);
	}
	if (session->ending)
		run->consumed = run->count; /* nothing behind a quit is served */
	return session->ending && !has_work(session) ? VERDICT_CLOSE : VERDICT_CONTINUE;
}

static enum verdict control_writable(struct stream *stream, struct evbuffer *out)
{
	struct session *session = session_of(stream);

	(void)out;
	if (has_work(session))
		task_next_turn(session->work);
	return VERDICT_CONTINUE;
}

/* A client that waits for an answer is not idle. */
static bool control_busy(struct stream *stream)
{
	return has_work(session_of(stream));
}

static void control_close(struct stream *stream)
{
	struct session *session = session_of(stream);

	if (session == NULL)
		return;
	session->stream = NULL;
	if (session->running)
		return; /* control_work() frees it */
	if (session->task != NULL)
		stream_instance(stream)->loop->host->end(session->task);
	session_free(session);
}

/* An abstract name would let every user of the machine in. */
static int control_check(const struct instance_config *config, struct error *error)
{
	const struct instance_settings *settings = config->parts[PART_INSTANCE].fields;

	for (size_t i = 0; i < settings->listen.count; i++) {
		const struct address *address = &settings->listen.items[i];

		if (address->path[0] == '@')
			return error_key(error, address->text,
			    "expected unix:///path, got \"%s\": an abstract name has no owner and "
			    "no mode",
			    address->text);
	}
	return 0;
}

static const struct refusals refusals = {
	.over_limit = "ERROR: too many connections\n",
	.long_line = "ERROR: line too long\n",
	.sniffed = SNIFFED_TEXTS("ERROR: this is the echod control port, not ", "\n"),
};

static const struct handlers handlers = {
	.flags = HANDLERS_FINISH | HANDLERS_ADMINISTER,
	.conn_size = sizeof(struct place),
	.framing = &framing_lines,
	.refusals = &refusals,
	.open = control_open,
	.messages = control_lines,
	.eof = control_eof,
	.writable = control_writable,
	.busy = control_busy,
	.close = control_close,
};

const struct service_ops service_control = {
	.kind = SERVICE_KIND("control",
	    "Shows the state of the running daemon and changes it; echoctl is its client.",
	    SERVICE_LINES),
	.transports = SERVICE_UNIX,
	.transports_why = "its clients control the daemon, and only a path has an owner and a mode",
	.handlers = &handlers,
	.check = control_check,
};
