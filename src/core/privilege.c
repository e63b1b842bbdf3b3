/* Groups first, then the group, then the user: any other order leaves something behind. */
#include "core/privilege.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "core/error.h"

#if defined(__has_feature)
#define HAS_LEAK_SANITIZER __has_feature(address_sanitizer)
#elif defined(__SANITIZE_ADDRESS__)
#define HAS_LEAK_SANITIZER true
#else
#define HAS_LEAK_SANITIZER false
#endif

/* The user's entry, or NULL with an error. */
static const struct passwd *find_user(const char *user, struct error *error)
{
	const struct passwd *pw;

	errno = 0;
	pw = getpwnam(user);
	if (pw == NULL && errno != 0)
		error_errno(error, "cannot become %s: getpwnam", user);
	else if (pw == NULL)
		error_code(error, ENOENT, "user: there is no user %s", user);
	return pw;
}

int privilege_ids(const char *user, uid_t *uid, gid_t *gid, struct error *error)
{
	const struct passwd *pw = find_user(user, error);

	if (pw == NULL)
		return -1;
	*uid = pw->pw_uid;
	*gid = pw->pw_gid;
	return 0;
}

/*
 * Keeps processes of the same user, such as programs of exec, from reading and writing our memory; a crash leaves no
 * core file. A change of user resets that to fs.suid_dumpable, see proc_sys_fs(5). LeakSanitizer has to attach.
 */
static void hide_memory(void)
{
	if (!HAS_LEAK_SANITIZER)
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

int privilege_seal(struct error *error)
{
	hide_memory();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
		return 0;
	return error_errno(error, "cannot set no_new_privs");
}

/* The identity of root, while it acts as the user. */
static struct {
	bool dropped; /* for good */
	bool away;
	gid_t group;
	int group_count;
	gid_t groups[NGROUPS_MAX];
} root;

bool privilege_was_root(void)
{
	return root.dropped || root.away || geteuid() == 0;
}

int privilege_drop(const char *user, struct error *error)
{
	const struct passwd *pw;

	if (user == NULL || geteuid() != 0)
		return 0;
	root.dropped = true;
	if ((pw = find_user(user, error)) == NULL)
		return -1;
	if (initgroups(user, pw->pw_gid) == -1)
		return error_errno(error, "cannot become %s: initgroups", user);
	if (setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) == -1)
		return error_errno(error, "cannot become %s: setresgid", user);
	if (setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) == -1)
		return error_errno(error, "cannot become %s: setresuid", user);
	if (pw->pw_uid != 0 && (setuid(0) != -1 || seteuid(0) != -1)) {
		errno = EPERM;
		return error_errno(
		    error, "cannot become %s: the way back to root is still open", user);
	}
	hide_memory(); /* with fs.suid_dumpable = 1, the change of user has shown it */
	return 0;
}

int privilege_lend(const char *user, struct error *error)
{
	const struct passwd *pw;

	if (user == NULL || geteuid() != 0)
		return 0;
	if ((pw = find_user(user, error)) == NULL)
		return -1;
	root.group = getegid();
	root.group_count = getgroups(NGROUPS_MAX, root.groups);
	if (root.group_count == -1)
		return error_errno(error, "cannot become %s: getgroups", user);
	if (initgroups(user, pw->pw_gid) == -1)
		return error_errno(error, "cannot become %s: initgroups", user);
	root.away = true;
	if (setegid(pw->pw_gid) == 0 && seteuid(pw->pw_uid) == 0)
		return 0;
	error_errno(error, "cannot become %s: seteuid", user);
	privilege_return();
	return -1;
}

void privilege_return(void)
{
	int saved = errno;

	if (!root.away)
		return;
	root.away = false;
	if (seteuid(0) == -1 || setegid(root.group) == -1 ||
	    setgroups((size_t)root.group_count, root.groups) == -1)
		abort();
	errno = saved;
}
