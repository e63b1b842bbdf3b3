/* Groups first, then the group, then the user: any other order leaves something behind. */
#include "core/privilege.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static int refuse(char *why, size_t why_size, const char *call, const char *user)
{
	int saved = errno;

	snprintf(why, why_size, "cannot become %s: %s: %s", user, call, strerror(saved));
	errno = saved;
	return -1;
}

static int become(const char *user, char *why, size_t why_size)
{
	const struct passwd *pw;

	errno = 0;
	if ((pw = getpwnam(user)) == NULL && errno == 0) {
		errno = ENOENT;
		snprintf(why, why_size, "user: there is no user %s", user);
		return -1;
	}
	if (pw == NULL)
		return refuse(why, why_size, "getpwnam", user);
	if (initgroups(user, pw->pw_gid) == -1)
		return refuse(why, why_size, "initgroups", user);
	if (setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) == -1)
		return refuse(why, why_size, "setresgid", user);
	if (setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) == -1)
		return refuse(why, why_size, "setresuid", user);
	if (pw->pw_uid != 0 && (setuid(0) != -1 || seteuid(0) != -1)) {
		errno = EPERM;
		return refuse(why, why_size, "the way back to root is still open", user);
	}
	return 0;
}

int privilege_drop(const char *user, char *why, size_t why_size)
{
	if (user != NULL && geteuid() == 0 && become(user, why, why_size) == -1)
		return -1;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1) {
		snprintf(why, why_size, "cannot set no_new_privs: %s", strerror(errno));
		return -1;
	}
	return 0;
}
