/*
 * While the terminal does not echo, signals that end or stop the process are blocked. When one arrives, the terminal is
 * restored first; then the signal does what it does.
 */
#include "echoctl/password.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "core/error.h"
#include "echoctl/echoctl.h"

void password_wipe(struct password *password)
{
	explicit_bzero(password, sizeof(*password));
}

/* --- lines --- */

/* Adds a byte. 1, 0 at the end of the line, or -1 with an error. */
static int add(struct password *password, size_t *length, char c, struct error *error)
{
	if (c == '\n')
		return 0;
	if (c == '\0')
		return error_set(error, "the password contains a NUL");
	if (*length == SECRET_PASSWORD_MAX)
		return error_set(
		    error, "the password is longer than %d bytes", SECRET_PASSWORD_MAX);
	password->text[(*length)++] = c;
	return 1;
}

/* Ends the line; one that was written on Windows ends with CR LF. */
static int end(struct password *password, size_t length, struct error *error)
{
	if (length > 0 && password->text[length - 1] == '\r')
		length--;
	password->text[length] = '\0';
	return length > 0 ? 0 : error_set(error, "the password is empty");
}

/* Reads byte by byte, to leave the bytes behind the line for the next reader of the input. 0, or -1 after a complaint. */
static int read_line(int fd, struct password *password, const char *where)
{
	struct error error;
	size_t length = 0;
	int result = 1;
	char c;

	while (result == 1) {
		ssize_t n = read(fd, &c, 1);

		if (n == 1)
			result = add(password, &length, c, &error);
		else if (n == 0)
			result = 0;
		else if (errno != EINTR)
			result = error_errno(&error, "cannot read the password");
	}
	if (result == 0)
		result = end(password, length, &error);
	if (result == -1)
		complain("%s: %s", where, error.text);
	return result;
}

/* --- the terminal --- */

struct prompt {
	const char *text;
	struct termios terminal; /* as it was */
	sigset_t blocked, mask;  /* those of a prompt, those of before */
};

static int prompt_show(const struct prompt *prompt)
{
	struct termios silent = prompt->terminal;

	silent.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
	sigprocmask(SIG_BLOCK, &prompt->blocked, NULL);
	if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent) == -1)
		return -1;
	fputs(prompt->text, stderr);
	return 0;
}

/* Restores the terminal; then a signal that has arrived is delivered. */
static void prompt_hide(const struct prompt *prompt)
{
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &prompt->terminal);
	fputc('\n', stderr);
	sigprocmask(SIG_SETMASK, &prompt->mask, NULL);
}

/* Reads a line at the prompt, which is begun anew after a signal that does not end the process. */
static int prompt_read(
    const struct prompt *prompt, int signals, struct password *password, struct error *error)
{
	struct pollfd fds[] = { { .fd = STDIN_FILENO, .events = POLLIN },
		{ .fd = signals, .events = POLLIN } };
	size_t length = 0;
	int result = 1;
	char c;

	while (result == 1) {
		ssize_t n = poll(fds, 2, -1) == -1 ? -1 : 1;

		if (n == 1 && fds[1].revents != 0) {
			prompt_hide(prompt);
			length = 0;
			n = prompt_show(prompt);
			if (n == 0)
				continue;
		}
		if (n == 1)
			n = read(STDIN_FILENO, &c, 1);
		if (n == 1)
			result = add(password, &length, c, error);
		else if (n == 0)
			result = 0;
		else if (errno != EINTR)
			result = error_errno(error, "cannot read the password");
	}
	return result == -1 ? -1 : end(password, length, error);
}

static int ask(const char *text, struct password *password)
{
	struct prompt prompt = { .text = text };
	struct error error;
	int signals, result = -1;

	sigemptyset(&prompt.blocked);
	for (const int *number =
		 (const int[]){ SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGTSTP, 0 };
	     *number != 0; number++)
		sigaddset(&prompt.blocked, *number);
	sigprocmask(SIG_BLOCK, NULL, &prompt.mask);
	signals = signalfd(-1, &prompt.blocked, SFD_CLOEXEC);
	if (signals == -1 || tcgetattr(STDIN_FILENO, &prompt.terminal) == -1 ||
	    prompt_show(&prompt) == -1) {
		error_errno(&error, "cannot prepare it");
		sigprocmask(SIG_SETMASK, &prompt.mask, NULL);
	} else {
		result = prompt_read(&prompt, signals, password, &error);
		prompt_hide(&prompt);
	}
	if (result == -1)
		complain("the terminal: %s", error.text);
	if (signals != -1)
		close(signals);
	return result;
}

/* --- where it comes from --- */

int password_ask(const char *user, struct password *password)
{
	struct password again;
	char text[128];
	int result;

	if (!isatty(STDIN_FILENO))
		return read_line(STDIN_FILENO, password, "the standard input");
	snprintf(text, sizeof(text), "New password of %s: ", user);
	if (ask(text, password) == -1)
		return -1;
	snprintf(text, sizeof(text), "The same again: ");
	result = ask(text, &again);
	if (result == 0 && strcmp(password->text, again.text) != 0) {
		complain("the two passwords differ; nothing was changed");
		result = -1;
	}
	password_wipe(&again);
	return result;
}

int password_load(const char *path, struct password *password)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), result;
	struct stat st;

	if (fd == -1) {
		complain("cannot open %s: %s", path, strerror(errno));
		return -1;
	}
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_mode & S_IRWXO)
		complain("warning: others can %s the password in %s (mode %04o; chmod o-rwx %s)",
		    st.st_mode & S_IROTH ? "read" : "change", path, (unsigned)st.st_mode & 07777,
		    path);
	result = read_line(fd, password, path);
	close(fd);
	return result;
}
