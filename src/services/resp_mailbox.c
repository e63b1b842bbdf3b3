/* Messages that are pending grow no further than PENDING_MAX within a turn; net/stream.h limits the output behind them. */
#include "services/resp_mailbox.h"

#include <event2/buffer.h>
#include <stdlib.h>

#include "core/buffer.h"
#include "net/instance.h"
#include "net/replies.h"
#include "net/stream.h"
#include "net/task.h"
#include "services/kv_resp.h"

/* Bytes; a client that would have more, and one of the longest words on top, is slow. */
#define PENDING_MAX ((size_t)1 << 20)

static void deliveries_run(void *arg)
{
	struct deliveries *deliveries = arg;
	struct mailbox *mailbox;

	while ((mailbox = TAILQ_FIRST(&deliveries->due)) != NULL) {
		const struct resp_client *client = stream_state(mailbox->stream);

		TAILQ_REMOVE(&deliveries->due, mailbox, entry);
		mailbox->due = NULL;
		/* Each of these may free the mailbox. A reply of many parts is finished first. */
		if (mailbox->is_slow)
			stream_end_slow_reader(mailbox->stream);
		else if (mailbox->is_lost)
			stream_send(mailbox->stream, NULL, VERDICT_ABORT);
		else if (client->shared.listing == NULL)
			stream_send(mailbox->stream, mailbox->pending, VERDICT_CONTINUE);
	}
}

int deliveries_init(struct deliveries *deliveries, struct loop *loop)
{
	TAILQ_INIT(&deliveries->due);
	deliveries->task = task_new(loop, -1, deliveries_run, deliveries);
	return deliveries->task == NULL ? -1 : 0;
}

void deliveries_clear(struct deliveries *deliveries)
{
	task_free(deliveries->task);
}

struct mailbox *mailbox_new(struct stream *stream)
{
	struct mailbox *mailbox = calloc(1, sizeof(*mailbox));

	if (mailbox == NULL)
		return NULL;
	mailbox->pending = evbuffer_new();
	if (mailbox->pending == NULL) {
		free(mailbox);
		return NULL;
	}
	mailbox->stream = stream;
	subscriber_init(&mailbox->subscriber);
	return mailbox;
}

void mailbox_free(struct mailbox *mailbox)
{
	if (mailbox->due != NULL)
		TAILQ_REMOVE(&mailbox->due->due, mailbox, entry);
	evbuffer_free(mailbox->pending);
	free(mailbox->rest);
	free(mailbox);
}

static void mailbox_schedule(struct mailbox *mailbox, struct deliveries *deliveries)
{
	if (mailbox->due != NULL)
		return;
	if (TAILQ_EMPTY(&deliveries->due))
		task_schedule(deliveries->task, 0);
	TAILQ_INSERT_TAIL(&deliveries->due, mailbox, entry);
	mailbox->due = deliveries;
}

size_t mailbox_pending(const struct mailbox *mailbox)
{
	return evbuffer_get_length(mailbox->pending);
}

bool mailbox_add(
    struct mailbox *mailbox, struct deliveries *deliveries, const struct buffer *message)
{
	struct resp_client *client = stream_state(mailbox->stream);
	struct replies *own = client->replies;
	size_t pending = own != NULL ? own->unsent : mailbox_pending(mailbox);

	if (mailbox->is_slow || mailbox->is_lost || !stream_is_open(mailbox->stream))
		return false;
	message->bytes[0] = client->is_resp3 ? '>' : '*';
	if (pending + message->length > PENDING_MAX + stream_instance(mailbox->stream)->max_word)
		mailbox->is_slow = true;
	else if (own != NULL)
		replies_add(own, message->bytes, message->length);
	else if (evbuffer_add(mailbox->pending, message->bytes, message->length) == -1)
		mailbox->is_lost = true;
	if (own == NULL || mailbox->is_slow)
		mailbox_schedule(mailbox, deliveries);
	return !mailbox->is_slow && !mailbox->is_lost;
}

void mailbox_empty(struct mailbox *mailbox, struct replies *replies)
{
	char bytes[4096];
	int n;

	while ((n = evbuffer_remove(mailbox->pending, bytes, sizeof(bytes))) > 0)
		replies_add(replies, bytes, (size_t)n);
}
