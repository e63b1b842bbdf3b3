/*
 * echoctl load: the commands of a file, in RESP, to a kv service. They are sent as they are read, so that a value need
 * not fit into memory, and up to WINDOW of them before the first reply is received.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/log_escape.h"
#include "core/plural.h"
#include "echoctl/echoctl.h"
#include "echoctl/json_output.h"
#include "echoctl/kv_peer.h"
#include "echoctl/progress.h"

#define WINDOW 1000
#define ERRORS_SHOWN 10
#define WORDS_MAX (1 << 20)
#define SHOWN_MAX 200

struct load {
	struct kv_peer peer;
	FILE *file;
	const char *name;
	int64_t at, size; /* bytes read; of a regular file, else 0 */
	int64_t sent, answered, errors;
	struct progress progress;
};

/* Why a command cannot be read. */
static int complain_file(const struct load *load)
{
	if (ferror(load->file))
		complain("cannot read %s: %s", load->name, strerror(errno));
	else if (feof(load->file))
		complain("%s ends within a command, after %" PRId64 " bytes", load->name, load->at);
	else
		complain("%s: byte %" PRId64
			 ": not a command in RESP; load reads what dump has written",
		    load->name, load->at);
	return -1;
}

/* Copies a line "*3" or "$5" to the peer. 1, 0 at the end of the file, -1 after a complaint. */
static int copy_head(struct load *load, char type, int64_t most, int64_t *number)
{
	char line[16];
	size_t length;

	if (fgets(line, sizeof(line), load->file) == NULL)
		return type == '*' && !ferror(load->file) ? 0 : complain_file(load);
	length = strlen(line);
	if (length < 4 || line[0] != type || strspn(line + 1, "0123456789") != length - 3 ||
	    strcmp(line + length - 2, "\r\n") != 0)
		return complain_file(load);
	*number = strtoll(line + 1, NULL, 10);
	if (*number > most || (type == '*' && *number == 0)) /* no words have no reply */
		return complain_file(load);
	load->at += (int64_t)length;
	return kv_peer_send_raw(&load->peer, line, length) == -1 ? -1 : 1;
}

/* Copies so many bytes, and the line's end behind them. */
static int copy_word(struct load *load, int64_t length)
{
	char piece[KV_PIECE];

	while (length > 0) {
		size_t n =
		    fread(piece, 1, length < KV_PIECE ? (size_t)length : KV_PIECE, load->file);

		if (n == 0)
			return complain_file(load);
		length -= (int64_t)n;
		load->at += (int64_t)n;
		if (kv_peer_send_raw(&load->peer, piece, n) == -1)
			return -1;
	}
	if (fread(piece, 1, 2, load->file) != 2 || memcmp(piece, "\r\n", 2) != 0)
		return complain_file(load);
	load->at += 2;
	return kv_peer_send_raw(&load->peer, "\r\n", 2);
}

/* Copies a command. 1, 0 at the end of the file, -1 after a complaint. */
static int copy_command(struct load *load)
{
	int64_t words, length;
	int result = copy_head(load, '*', WORDS_MAX, &words);

	if (result != 1)
		return result;
	while (words-- > 0)
		if (copy_head(load, '$', KV_VALUE_MAX, &length) != 1 ||
		    copy_word(load, length) == -1)
			return -1;
	return 1;
}

/* Receives a reply of any kind, whole. */
static int receive_reply(struct load *load)
{
	char shown[SHOWN_MAX];
	struct kv_reply reply;
	struct slice piece;
	int64_t left = 1;
	int more;

	load->answered++;
	do {
		if (kv_peer_receive(&load->peer, &reply) == -1)
			return -1;
		if (reply.kind == KV_REPLY_LIST)
			left += reply.number;
		if (left > WORDS_MAX)
			return kv_peer_reject(&load->peer, &reply);
		if (reply.kind == KV_REPLY_BYTES) {
			while ((more = kv_peer_piece(&load->peer, &reply, &piece)) == 1)
				continue;
			if (more == -1)
				return -1;
		}
		if (reply.kind == KV_REPLY_ERROR && ++load->errors <= ERRORS_SHOWN) {
			progress_erase(&load->progress);
			complain("%s: command %" PRId64 ": %s", load->name, load->answered,
			    log_escape(shown, sizeof(shown), reply.text.bytes, reply.text.length));
		}
	} while (--left > 0);
	return 0;
}

/* Receives replies until at most so many are outstanding. */
static int receive_replies(struct load *load, int64_t outstanding)
{
	if (kv_peer_flush(&load->peer) == -1)
		return -1;
	while (load->sent - load->answered > outstanding)
		if (receive_reply(load) == -1) {
			complain("%" PRId64 " of the %" PRId64
				 " commands that were sent have no reply",
			    load->sent - load->answered + 1, load->sent);
			return -1;
		}
	return 0;
}

static int load_all(struct load *load)
{
	int64_t keys;
	int more;

	/* Commands of the file are sent only once, so the store must be loaded before. */
	if (kv_peer_prepare_resp(&load->peer, "load", &keys) == -1)
		return STATUS_NO;
	while ((more = copy_command(load)) == 1) {
		load->sent++;
		if (load->sent - load->answered >= WINDOW &&
		    receive_replies(load, WINDOW / 2) == -1)
			return STATUS_NO;
		if (!progress_is_due(&load->progress))
			continue;
		if (load->size > 0)
			progress_show("%" PRId64 " commands, %.0f %%", load->sent,
			    100 * (double)load->at / (double)load->size);
		else
			progress_show("%" PRId64 " commands", load->sent);
	}
	if (receive_replies(load, 0) == -1)
		return STATUS_NO;
	return more == -1 || load->errors > 0 ? STATUS_NO : STATUS_OK;
}

int load_command(const struct options *options, int count, char **arguments)
{
	struct load load = { .file = stdin, .name = "the standard input" };
	struct stat st;
	int status;

	if (count > 0 && strcmp(arguments[0], "-") != 0) {
		load.name = arguments[0];
		if ((load.file = fopen(load.name, "re")) == NULL) {
			complain("cannot open %s: %s", load.name, strerror(errno));
			return STATUS_NO;
		}
	}
	if (fstat(fileno(load.file), &st) == 0 && S_ISREG(st.st_mode))
		load.size = st.st_size;
	status = kv_peer_open(&load.peer, options);
	progress_start(&load.progress);
	if (status == STATUS_OK)
		status = load_all(&load);
	progress_erase(&load.progress);
	if (load.errors > 0)
		complain("%s: %" PRId64 " of %" PRId64 " command%s failed", load.name, load.errors,
		    load.sent, PLURAL(load.sent, "s"));
	if (load.answered > 0 && options->json &&
	    json_print(json_pack("{s:I, s:I}", "commands", (json_int_t)load.answered, "errors",
		(json_int_t)load.errors)) == -1)
		status = STATUS_NO;
	kv_peer_close(&load.peer);
	if (load.file != stdin)
		fclose(load.file);
	return status;
}
