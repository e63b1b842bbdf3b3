/*
 * status -w: repeats the answer. On a terminal each one replaces the last, as much of it as fits; elsewhere it is
 * printed below.
 */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "core/clock.h"
#include "echoctl/query.h"
#include "echoctl/wait.h"

/* The terminal as it was, while it is ours. */
struct screen {
	bool in_place;  /* standard output is a terminal */
	bool has_input; /* so is the input: it is asked for q */
	struct termios before;
};

static void screen_open(struct screen *screen)
{
	struct termios raw;

	screen->in_place = isatty(STDOUT_FILENO);
	screen->has_input = screen->in_place && tcgetattr(STDIN_FILENO, &screen->before) == 0;
	if (screen->in_place)
		fputs("\033[2J\033[?25l", stdout); /* empty, and without a cursor */
	if (!screen->has_input)
		return;
	raw = screen->before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VSUSP] =
	    _POSIX_VDISABLE; /* a stopped program would leave the terminal like this */
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

static void screen_close(const struct screen *screen)
{
	if (screen->has_input)
		tcsetattr(STDIN_FILENO, TCSANOW, &screen->before);
	if (screen->in_place)
		fputs("\033[?25h", stdout);
	fflush(stdout);
}

/* As many rows as fit over what stood there; a line that is too long goes on in the next row. */
static void draw(const struct query *query)
{
	struct winsize size = { 0 };
	const char *at = query->text.bytes, *end = at + query->text.length;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == -1 || size.ws_row == 0 || size.ws_col == 0)
		size = (struct winsize){ .ws_row = 24, .ws_col = 80 };
	fputs("\033[H", stdout);
	for (int row = 1; row < size.ws_row && at < end; row++) {
		const char *lf = memchr(at, '\n', (size_t)(end - at));
		size_t length = (size_t)((lf == NULL ? end : lf) - at);

		if (length > size.ws_col)
			length = size.ws_col;
		fwrite(at, 1, length, stdout);
		fputs(length < size.ws_col ? "\033[K\r\n" : "\r\n", stdout);
		at += length;
		if (at == lf)
			at++;
	}
	fputs("\033[J", stdout);
	fflush(stdout);
}

/* Whether the user has had enough; false once it is time to ask again. */
static bool wait_for_the_end(const struct screen *screen, int signals, int64_t deadline)
{
	struct pollfd fds[2] = { { .fd = signals, .events = POLLIN },
		{ .fd = screen->has_input ? STDIN_FILENO : -1, .events = POLLIN } };
	const struct waiting waiting = { .deadline = deadline };
	char key;

	while (wait_poll(&waiting, fds, 2) > 0) {
		if (fds[0].revents != 0)
			return true;
		if (read(STDIN_FILENO, &key, 1) != 1 || key == 'q')
			return true;
	}
	return false;
}

int query_watch(struct query *query)
{
	bool json = query->options->json;
	struct screen screen;
	int signals = wait_signals(), status;
	int64_t next;

	screen_open(&screen);
	do {
		next = clock_us() + query->options->interval;
		status = query_run(query);
		if (status == STATUS_OK && screen.in_place && query->error == NULL && !json) {
			draw(query);
		} else if (status == STATUS_OK) {
			status = query_print(query);
			if (!json)
				putchar('\n');
			if (fflush(stdout) == EOF)
				status = STATUS_NO;
		}
	} while (status == STATUS_OK && !wait_for_the_end(&screen, signals, next));
	screen_close(&screen);
	return status;
}
