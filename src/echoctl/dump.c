/*
 * echoctl dump: all keys as Redis commands in RESP, SET key value [PXAT ms], for echoctl load and redis-cli --pipe. A
 * file gets its name only when it is complete.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log_escape.h"
#include "echoctl/echoctl.h"
#include "echoctl/json_output.h"
#include "echoctl/kv_peer.h"
#include "echoctl/progress.h"
#include "echoctl/scan.h"
#include "echoctl/wait.h"

/* Requests that are sent before their replies are received: the kernel's buffers hold them, whatever the peer does. */
#define BATCH_BYTES 16384

struct dump {
	struct kv_peer peer;
	struct scan scan;
	FILE *file;
	char *path, *temporary; /* NULL: it is written to `file` as it is */
	int error;              /* errno of the first write that has failed */
	int64_t keys, bytes, all_keys;
	struct progress progress;
};

/* --- the file --- */

/* A regular file is written beside, and replaced at the end; a device or a pipe is written to. */
static int open_file(struct dump *dump, const char *name)
{
	struct stat st;
	int fd;

	if (name == NULL || strcmp(name, "-") == 0) {
		dump->file = stdout;
		setvbuf(stdout, NULL, _IOFBF, KV_PIECE);
		return 0;
	}
	if (stat(name, &st) == 0 && !S_ISREG(st.st_mode)) {
		if ((dump->file = fopen(name, "we")) != NULL)
			return 0;
		complain("cannot open %s: %s", name, strerror(errno));
		return -1;
	}
	/* What a symbolic link leads to is replaced, and not the link. */
	dump->path = realpath(name, NULL);
	if (dump->path == NULL && errno == ENOENT)
		dump->path = strdup(name);
	if (dump->path == NULL || asprintf(&dump->temporary, "%s.XXXXXX", dump->path) == -1) {
		dump->temporary = NULL;
		complain("cannot write %s: %s", name, strerror(errno));
		return -1;
	}
	dump->peer.signals = wait_signals();
	signal(SIGXFSZ, SIG_IGN); /* write(2) fails instead */
	fd = mkostemp(dump->temporary, O_CLOEXEC);
	if (fd != -1 && (dump->file = fdopen(fd, "w")) != NULL)
		return 0;
	complain("cannot create %s: %s", dump->temporary, strerror(errno));
	if (fd != -1) {
		close(fd);
		unlink(dump->temporary);
	}
	return -1;
}

/* Ends the file; only a complete one is kept. */
static int close_file(struct dump *dump, int status)
{
	bool failed;

	if (dump->file == NULL || dump->file == stdout)
		return status; /* what the standard output lacks is reported at the end */
	failed = fflush(dump->file) == EOF;
	if (!failed && dump->temporary != NULL && status == STATUS_OK)
		failed = fsync(fileno(dump->file)) == -1;
	if (failed && dump->error == 0)
		dump->error = errno;
	if (fclose(dump->file) == EOF && dump->error == 0)
		dump->error = errno;
	if (dump->temporary != NULL && status == STATUS_OK && dump->error == 0 &&
	    rename(dump->temporary, dump->path) == -1)
		dump->error = errno;
	if (dump->error != 0) {
		if (status == STATUS_OK)
			complain("cannot write %s: %s",
			    dump->path == NULL ? "the file" : dump->path, strerror(dump->error));
		status = STATUS_NO;
	}
	if (dump->temporary != NULL && status != STATUS_OK)
		unlink(dump->temporary);
	return status;
}

static void add(struct dump *dump, const void *bytes, size_t length)
{
	if (fwrite(bytes, 1, length, dump->file) != length && dump->error == 0)
		dump->error = errno;
	dump->bytes += (int64_t)length;
}

static void add_head(struct dump *dump, char type, int64_t number)
{
	char head[32];
	int length = snprintf(head, sizeof(head), "%c%" PRId64 "\r\n", type, number);

	add(dump, head, (size_t)length);
}

static void add_word(struct dump *dump, struct slice word)
{
	add_head(dump, '$', (int64_t)word.length);
	add(dump, word.bytes, word.length);
	add(dump, "\r\n", 2);
}

/* --- the keys --- */

static int reject(const struct dump *dump, struct slice key, const struct kv_reply *reply)
{
	char shown[ADDRESS_TEXT_MAX];

	complain(
	    "cannot dump the key \"%s\"", log_escape(shown, sizeof(shown), key.bytes, key.length));
	return kv_peer_reject(&dump->peer, reply);
}

/* Receives the expiry and the value of a key. One that has gone meanwhile is left out. */
static int dump_key(struct dump *dump, struct slice key)
{
	struct kv_reply expiry, value;
	struct slice piece;
	char ms[24];
	int more;

	if (kv_peer_receive(&dump->peer, &expiry) == -1)
		return -1;
	if (expiry.kind != KV_REPLY_NUMBER)
		return reject(dump, key, &expiry);
	if (kv_peer_receive(&dump->peer, &value) == -1)
		return -1;
	if (value.kind == KV_REPLY_MISSING)
		return 0;
	if (value.kind != KV_REPLY_BYTES)
		return reject(dump, key, &value);
	add_head(dump, '*', expiry.number >= 0 ? 5 : 3);
	add_word(dump, slice_of("SET"));
	add_word(dump, key);
	add_head(dump, '$', value.left);
	while ((more = kv_peer_piece(&dump->peer, &value, &piece)) == 1)
		add(dump, piece.bytes, piece.length);
	if (more == -1)
		return -1;
	add(dump, "\r\n", 2);
	if (expiry.number >= 0) {
		snprintf(ms, sizeof(ms), "%" PRId64, expiry.number);
		add_word(dump, slice_of("PXAT"));
		add_word(dump, slice_of(ms));
	}
	dump->keys++;
	return dump->error == 0 ? 0 : -1;
}

static void show_progress(struct dump *dump)
{
	if (progress_is_due(&dump->progress))
		progress_show("%" PRId64 " of %" PRId64 " keys, %.1f MB", dump->keys,
		    dump->all_keys, (double)dump->bytes / (1 << 20));
}

/* The keys of a step, a batch at a time. */
static int dump_keys(struct dump *dump)
{
	struct slice words[2], key;
	size_t asked = 0, answered = 0, bytes;

	while (answered < dump->scan.keys.length) {
		for (bytes = 0; bytes < BATCH_BYTES && scan_key(&dump->scan, &asked, &key);) {
			words[0] = slice_of("PEXPIRETIME");
			words[1] = key;
			if (kv_peer_send(&dump->peer, words, 2) == -1)
				return -1;
			words[0] = slice_of("GET");
			if (kv_peer_send(&dump->peer, words, 2) == -1)
				return -1;
			bytes += 2 * (key.length + 32);
		}
		if (kv_peer_flush(&dump->peer) == -1)
			return -1;
		while (answered < asked) {
			scan_key(&dump->scan, &answered, &key);
			if (dump_key(dump, key) == -1)
				return -1;
			show_progress(dump);
		}
	}
	return 0;
}

static int dump_all(struct dump *dump)
{
	if (kv_peer_prepare_resp(&dump->peer, "dump", &dump->all_keys) == -1)
		return STATUS_NO;
	while (!dump->scan.over)
		if (scan_step(&dump->scan, &dump->peer) == -1 || dump_keys(dump) == -1)
			return dump->error == 0 ? STATUS_NO
						: STATUS_OK; /* close_file() complains */
	return STATUS_OK;
}

int dump_command(const struct options *options, int count, char **arguments)
{
	const char *name = count > 0 ? arguments[0] : NULL;
	struct dump dump = { 0 };
	int status;

	if (options->json && (name == NULL || strcmp(name, "-") == 0)) {
		complain("dump: -j needs a FILE: the standard output has the commands");
		return STATUS_USAGE;
	}
	status = kv_peer_open(&dump.peer, options);
	progress_start(&dump.progress);
	if (status == STATUS_OK && open_file(&dump, name) == -1)
		status = STATUS_NO;
	if (status == STATUS_OK)
		status = dump_all(&dump);
	progress_erase(&dump.progress);
	status = close_file(&dump, status);
	kv_peer_close(&dump.peer);
	free(dump.scan.keys.bytes);
	free(dump.path);
	free(dump.temporary);
	if (status == STATUS_OK && options->json &&
	    json_print(json_pack("{s:I, s:I}", "keys", (json_int_t)dump.keys, "bytes",
		(json_int_t)dump.bytes)) == -1)
		status = STATUS_NO;
	return status;
}
