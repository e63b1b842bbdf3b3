/*
 * A scripted session for programs in which something fails: a daemon with every kind of service is started,
 * has clients, is reloaded, signalled and stopped. Whatever fails meanwhile, it refuses to start with a
 * message or it serves: a client may end, but none gets a wrong answer, none is left without an end, and
 * once nothing fails any more everybody is served, and nothing has leaked.
 */
#ifndef ECHOD_FAULTS_SESSION_H
#define ECHOD_FAULTS_SESSION_H

#include <stdbool.h>

/* What may fail is what the daemon does: on this thread from `begin` to `end`, on its own ones all the time. */
struct trouble {
	void (*set)(bool lasts); /* for a while it is over, and then it is back */
	void (*begin)(void);
	void (*end)(void);
};

/* Makes the directory of the sessions. */
void session_prepare(void);
void session_clean_up(void);

/* Plays it once, in this state of trouble. Whether the daemon has come up. */
bool session_play(const struct trouble *trouble);

/* Whether the text stands in the log of the last session. */
bool session_has_logged(const char *text);

#endif
