"""echoctl passwd and token, which write a users file, and the users of echoctl get, dump and the like."""

import contextlib
import ctypes
import ctypes.util
import hashlib
import json
import os
import pty
import re
import resource
import select
import signal
import stat
import struct
import subprocess
import termios

import pytest

import harness
from harness import DEADLINE, wait_until
from test_echoctl import NO, OK, USAGE, find_echoctl, run, stream_peer
from test_echoctl_kv import Service

RELOAD = "put it in force with: echoctl reload\n"
HASH = "$6$saltstring$" + "x" * 86
DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def users(workdir):
    return workdir / "users"


def matches(password, hashed):
    """Whether crypt(3) says that the hash is one of the password."""
    library = ctypes.CDLL(ctypes.util.find_library("crypt"))
    library.crypt.restype = ctypes.c_char_p
    return library.crypt(password, hashed.encode()).decode() == hashed


def digest(token):
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()


def passwd(users, *args, password=b"swordfish\n", **options):
    return run("passwd", users, *args, input=password, **options)


def nothing_left(users):
    """No temporary file was left behind."""
    return [path.name for path in users.parent.glob("users*")] in ([], ["users"])


# --- token ---


def test_a_token_alone():
    output, errors = run("token")
    token, hashed = output.decode().splitlines()
    assert errors == "" and re.fullmatch("[0-9a-f]{64}", token) and hashed == digest(token)
    other = json.loads(run("token", "-j")[0])
    assert other["hash"] == digest(other["token"]) and other["token"] != token


@pytest.mark.parametrize("umask", [0, 0o77])
def test_a_token_in_a_new_file(users, umask):
    output, errors = run("token", users, "worker", "r", "jobs:*,log", umask=umask)
    token = output.decode().rstrip("\n")
    assert users.read_text() == f"worker:{digest(token)}:r:jobs:*,log\n"
    assert stat.S_IMODE(users.stat().st_mode) == 0o640 and nothing_left(users)
    assert errors == (
        f"echoctl: added worker (rights r, keys jobs:*,log) to {users}; {RELOAD}"
        f"echoctl: created {users}; the user of echod must be able to read it, for example after: "
        f"chgrp echod {users}\n")  # fmt: skip


def test_a_token_without_a_name(users):
    assert run("token", users, status=USAGE) == (b"", "echoctl: token: after FILE, the NAME is missing\n")
    assert not users.exists()


# --- passwd ---


def test_a_password(users):
    users.write_text("# the users\n")
    assert passwd(users, "alice") == (
        f"added alice (rights rw, keys *) to {users}; {RELOAD}".encode(), "")
    comment, line = users.read_text().splitlines()
    name, hashed, rights, patterns = line.split(":")
    assert (comment, name, rights, patterns) == ("# the users", "alice", "rw", "*")
    assert hashed.startswith("$y$") and matches(b"swordfish", hashed)
    assert passwd(users, "alice", password=b"other") == (
        f"changed the password of alice in {users}; {RELOAD}".encode(), "")
    assert matches(b"other", users.read_text().splitlines()[1].split(":")[1])
    assert passwd(users, "alice", "a")[0].decode() == (
        f"changed alice (rights a) and the password in {users}; {RELOAD}")
    assert json.loads(passwd(users, "-j", "alice", "r", "a,b")[0]) == {
        "file": str(users), "name": "alice", "added": False}
    assert users.read_text().splitlines()[1].split(":")[2:] == ["r", "a,b"]


@pytest.mark.parametrize("password, wanted", [
    (b"x", b"x"), (b" two words \nmore\n", b" two words "), (b"\xff\xc3\xa4\r\n", b"\xff\xc3\xa4"), (b"p" * 511, b"p" * 511),
], ids=["short", "blanks", "bytes", "long"])  # fmt: skip
def test_the_password_is_the_first_line(users, password, wanted):
    passwd(users, "alice", password=password)
    assert matches(wanted, users.read_text().split(":")[1])


@pytest.mark.parametrize("password, why", [
    (b"", "is empty"), (b"\n", "is empty"), (b"\r\nx", "is empty"), (b"a\0b\n", "contains a NUL"),
    (b"p" * 512, "is longer than 511 bytes"),
], ids=["nothing", "empty", "cr", "nul", "long"])  # fmt: skip
def test_passwords_that_are_refused(users, password, why):
    errors = passwd(users, "alice", password=password, status=NO)[1]
    assert errors == f"echoctl: the standard input: the password {why}\n"
    assert not users.exists()


@pytest.mark.parametrize("args, what", [
    ([""], "NAME"), (["a b"], "NAME"), (["a:b"], "NAME"), (["x" * 65], "NAME"), (["ä"], "NAME"),
    (["a", ""], "RIGHTS"), (["a", "rx"], "RIGHTS"), (["a", "rr"], "RIGHTS"), (["a", "swordfish"], "RIGHTS"),
    (["a", "r", ""], "PATTERNS"), (["a", "r", "a,,b"], "PATTERNS"), (["a", "r", "a\nb"], "PATTERNS"), (["a", "r", "a,"], "PATTERNS"),
    (["a", "r", ","], "PATTERNS"), (["a", "r", "a "], "PATTERNS"), (["a", "r", "a," + "x" * 513], "PATTERNS"),
])  # fmt: skip
def test_arguments_that_are_refused(users, args, what):
    for command in ("passwd", "token"):
        output, errors = run(command, users, *args, status=USAGE)
        assert output == b"" and errors.startswith(f"echoctl: {what}: expected ")
    assert not users.exists()


def test_names_of_every_kind(users):
    names = ["x" * 64, "a.b_c-d@example.org", "7", "alice", "alic", "alice2"]
    tokens = [run("token", users, name)[0].decode().strip() for name in names]
    assert users.read_text() == "".join(
        f"{name}:{digest(token)}:rw:*\n" for name, token in zip(names, tokens))


# --- what is in the file ---


@pytest.mark.parametrize("old, kept", [
    (f"bob:{HASH}:r:jobs:*", "r:jobs:*"),
    (f"bob:{DIGEST}:rwa:*", "rwa:*"),
    ("bob:uid:bob:w:*", "w:*"),
    ("bob:uid:r:w:w:*", "w:w:*"),
    ("bob:cert:dns:a.example:rw:a:b,c", "rw:a:b,c"),
    ("bob:cert:uri:spiffe://a/b:ar:*", "ar:*"),
    ("bob:cert:sha256:00ff:r:*\r", "r:*\r"),
    ("bob:!:rw:*", "rw:*"),
    ("bob::rw:*", "rw:*"),
])  # fmt: skip
def test_every_other_byte_stays(users, old, kept):
    before, behind = f"# bob:x:r:*\n\n \tx\r\nbobby:{HASH}:r:*\nbo:x:r:\n".encode() + b"\xff\0\n", b"bob\nz:1:r:*"
    users.write_bytes(before + old.encode() + b"\n" + behind)
    token = run("token", users, "bob")[0].decode().strip()
    assert users.read_bytes() == before + f"bob:{digest(token)}:{kept}\n".encode() + behind
    token = run("token", users, "new", "a")[0].decode().strip()
    assert users.read_bytes().endswith(behind + f"\nnew:{digest(token)}:a:*\n".encode())
    token = run("token", users, "z", "w", "y")[0].decode().strip()
    assert f"\nz:{digest(token)}:w:y\nnew:".encode() in users.read_bytes()


@pytest.mark.parametrize("line", ["bob:", "bob:x", "bob:x:r", "bob:x:q:*", "bob:x:rr:*", "bob:uid:bob", "bob:a:b:r:*"])
def test_a_line_that_cannot_be_parsed(users, line):
    users.write_text(f"{line}\n")
    assert passwd(users, "bob", status=NO)[1] == (
        f'echoctl: {users}: the line of "bob" is not NAME:HASH:RIGHTS:PATTERNS; correct or remove it\n')
    assert users.read_text() == f"{line}\n"
    run("token", users, "alice")


def test_two_lines_of_one_name(users):
    text = f"bob:{HASH}:r:*\n#\nbob:{DIGEST}:r:*\n"
    users.write_text(text)
    assert passwd(users, "bob", status=NO)[1] == (
        f'echoctl: {users}: lines 1 and 3 are both of "bob"; remove one of them\n')
    assert users.read_text() == text


# --- the file itself ---


def test_mode_owner_and_group_stay(users):
    users.write_text("")
    users.chmod(0o604)
    if os.geteuid() == 0:
        os.chown(users, 12345, 54321)
    before = users.stat()
    passwd(users, "alice")
    after = users.stat()
    assert after.st_ino != before.st_ino
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_an_access_list_stays(users):
    """As of setfacl -m u:12345:r, with which the user of echod can read the file."""
    entries = [(1, 6, -1), (2, 4, 12345), (4, 0, -1), (0x10, 4, -1), (0x20, 0, -1)]
    access = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    users.write_text("")
    try:
        os.setxattr(users, "system.posix_acl_access", access)
    except OSError:
        pytest.skip("the file system has no access lists")
    passwd(users, "alice")
    assert os.getxattr(users, "system.posix_acl_access") == access
    assert stat.S_IMODE(users.stat().st_mode) == 0o640


def test_a_symbolic_link_is_followed(users, workdir):
    (workdir / "elsewhere").mkdir()
    target = workdir / "elsewhere/target"
    users.symlink_to("elsewhere/target")
    assert "is a symbolic link to a file that does not exist" in passwd(users, "alice", status=NO)[1]
    target.write_text("#\n")
    passwd(users, "alice")
    assert users.is_symlink() and target.read_text().startswith("#\nalice:$y$")
    assert [path.name for path in target.parent.iterdir()] == ["target"]


@pytest.mark.parametrize("kind", ["directory", "fifo", "device"])
def test_what_is_no_file(users, kind):
    if kind == "directory":
        users.mkdir()
    elif kind == "fifo":
        os.mkfifo(users)
    else:
        users.symlink_to("/dev/null")
    assert passwd(users, "alice", status=NO)[1].endswith(" is not a regular file\n")


def test_a_file_that_others_can_write(users):
    users.write_text("")
    users.chmod(0o606)
    assert passwd(users, "alice", status=NO)[1] == (
        f"echoctl: others can write to {users} (mode 0606; chmod o-w {users})\n")


def test_nobody_types_a_password_in_vain(users):
    users.mkdir()
    with subprocess.Popen([find_echoctl(), "passwd", users, "alice"], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.wait(DEADLINE) == NO


@pytest.mark.parametrize("path", ["missing/users", "users/file"])
def test_no_such_directory(workdir, path):
    (workdir / "users").write_text("")
    assert "echoctl: cannot " in run("token", workdir / path, "alice", status=NO)[1]
    assert run("token", workdir / path, "alice", status=NO)[0] == b""


def test_a_directory_that_cannot_be_written_to(users):
    if os.geteuid() == 0:
        pytest.skip("root can write to any directory")
    users.write_text("#\n")
    users.parent.chmod(0o555)
    try:
        errors = passwd(users, "alice", status=NO)[1]
    finally:
        users.parent.chmod(0o755)
    assert errors.startswith(f"echoctl: cannot create {users}.")
    assert errors.endswith(": Permission denied (a new file replaces the old one, so echoctl must be "
                           "able to write to the directory)\n")
    assert users.read_text() == "#\n"


@pytest.mark.parametrize("exists", [True, False])
def test_a_disk_that_is_full(users, exists):
    if exists:
        users.write_text("#" * 1000 + "\n")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60, 60))

    output, errors = run("token", users, "alice", preexec_fn=limit, status=NO)
    assert output == b"" and re.fullmatch(
        rf"echoctl: cannot write {users}\.\w+: File too large \({users} is as it was\)\n", errors)
    assert users.exists() == exists and nothing_left(users)
    assert not exists or users.read_text() == "#" * 1000 + "\n"


@pytest.mark.parametrize("exists", [True, False])
def test_many_at_once_lose_nothing(users, exists):
    if exists:
        users.write_text("# users\n")
    names = [f"user{number}" for number in range(24)]
    started = [subprocess.Popen([find_echoctl(), "token", users, name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
               for name in names]  # fmt: skip
    tokens = [process.communicate(timeout=DEADLINE)[0].decode().strip() for process in started]
    assert [process.returncode for process in started] == [OK] * len(names)
    lines = [line for line in users.read_text().splitlines() if not line.startswith("#")]
    assert sorted(lines) == sorted(
        f"{name}:{digest(token)}:rw:*" for name, token in zip(names, tokens))
    assert nothing_left(users)


# --- the terminal ---


class Terminal:
    """echoctl passwd on a terminal of its own."""

    def __init__(self, *args):
        self.fd, theirs = pty.openpty()
        self.before = termios.tcgetattr(theirs)

        def session():
            os.setsid()
            os.close(os.open(os.ttyname(0), os.O_RDWR))  # it becomes the controlling terminal

        self.process = subprocess.Popen(
            [find_echoctl(), *map(str, args)], stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=session)
        self.theirs = theirs
        self.shown = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.fd)
        os.close(self.theirs)

    def wait(self, text):
        """Waits until that is shown, and takes it off."""
        while text not in self.shown:
            assert select.select([self.fd], [], [], DEADLINE)[0], f"only {self.shown!r} is shown"
            self.shown += os.read(self.fd, 4096).decode()
        seen, self.shown = self.shown.split(text, 1)
        return seen

    def type(self, text):
        os.write(self.fd, text.encode())

    def echoes(self):
        return bool(termios.tcgetattr(self.theirs)[3] & termios.ECHO)

    def restored(self):
        return termios.tcgetattr(self.theirs) == self.before

    def finish(self):
        status = self.process.wait(DEADLINE)
        with contextlib.suppress(OSError):
            while select.select([self.fd], [], [], 0)[0]:
                self.shown += os.read(self.fd, 4096).decode()
        assert self.restored()
        return status


def test_a_terminal_is_asked_twice_and_shows_nothing(users):
    with Terminal("passwd", users, "alice") as terminal:
        terminal.wait("New password of alice: ")
        assert not terminal.echoes()
        terminal.type("sword fish\n")
        assert terminal.wait("The same again: ") == "\r\n"
        terminal.type("sword fish\n")
        assert terminal.finish() == OK
        assert terminal.shown.startswith("\r\nadded alice")
    assert matches(b"sword fish", users.read_text().split(":")[1])


@pytest.mark.parametrize("typed, why", [
    (["a\n", "b\n"], "the two passwords differ; nothing was changed"),
    (["\n"], "the terminal: the password is empty"),
    (["\x04"], "the terminal: the password is empty"),
    (["x" * 512 + "\n"], "the terminal: the password is longer than 511 bytes"),
])  # fmt: skip
def test_passwords_that_a_terminal_is_refused(users, typed, why):
    with Terminal("passwd", users, "alice") as terminal:
        for prompt, text in zip(("New password of alice: ", "The same again: "), typed):
            terminal.wait(prompt)
            terminal.type(text)
        assert terminal.finish() == NO
        assert terminal.shown == f"\r\nechoctl: {why}\r\n"
    assert not users.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_restores_the_terminal(users, number):
    with Terminal("passwd", users, "alice") as terminal:
        terminal.wait("New password of alice: ")
        if number == signal.SIGINT:
            terminal.type("half a pass\x03")
        else:
            terminal.process.send_signal(number)
        assert terminal.finish() == -number
    assert not users.exists()


def test_a_prompt_comes_back_after_a_stop(users):
    with Terminal("passwd", users, "alice") as terminal:
        terminal.wait("New password of alice: ")
        terminal.process.send_signal(signal.SIGSTOP)
        terminal.process.send_signal(signal.SIGCONT)
        terminal.process.send_signal(signal.SIGTSTP)  # its process group has no parent here: it is not stopped
        terminal.wait("New password of alice: ")
        wait_until(lambda: not terminal.echoes(), "the terminal is silent")
        terminal.type("x\n")
        terminal.wait("The same again: ")
        terminal.type("x\n")
        assert terminal.finish() == OK


# --- users of kv ---


@pytest.fixture
def secret(workdir):
    path = workdir / "password"
    path.write_text("swordfish\nanother line\n")
    path.chmod(0o600)
    return path


def lines_server(requests, *answers):
    """A kv service of lines."""

    def serve(client):
        with client.makefile("rwb") as stream:
            stream.write(b"READY\n")
            for answer in answers:
                stream.flush()
                requests.append(stream.readline())
                stream.write(answer)
            stream.flush()

    return stream_peer(serve)


def test_lines_begin_with_auth(secret):
    requests = []
    with lines_server(requests, b"OK\n", b"1234567890abcdef hello\n") as address:
        assert run("get", "-a", address, "--user", "alice", "--password-file", secret, "key") == (b"hello", "")
    assert requests == [b"AUTH alice swordfish\n", b"GETS key\n"]


def test_the_environment_has_the_user(secret):
    requests = []
    env = harness.environment({"ECHOD_USER": "bob", "ECHOD_PASSWORD_FILE": str(secret)})
    with lines_server(requests, b"OK\n", b"OK\n") as address:
        run("set", "-a", address, "key", "value", env=env)
    with lines_server(requests, b"OK\n", b"OK\n") as address:
        run("set", "-a", address, "--user", "alice", "key", "value", env=env)
    assert requests == [b"AUTH bob swordfish\n", b"SET key value\n", b"AUTH alice swordfish\n", b"SET key value\n"]
    env = harness.environment({"ECHOD_USER": "", "ECHOD_PASSWORD_FILE": ""})
    with lines_server(requests, b"OK\n") as address:
        run("set", "-a", address, "key", "value", env=env)
    assert requests[4:] == [b"SET key value\n"]


def test_a_user_who_is_refused(secret):
    requests = []
    with lines_server(requests, b"ERROR: wrong name or password\n") as address:
        assert run("get", "-a", address, "--user", "alice", "--password-file", secret, "key", status=NO) == (
            b"", f"echoctl: {address}: wrong name or password\n")
    assert len(requests) == 1


@pytest.fixture
def service(echod, users, secret):
    """Starts a kv service with the users alice, whose password is that of the file, and worker, whose token is returned."""

    def start(listen):
        passwd(users, "alice", "rwa", password=b"swordfish")
        token = secret.with_name("token")
        token.write_bytes(run("token", users, "worker", "r", "jobs:*")[0])
        token.chmod(0o600)
        server = echod({"kv": {"listen": listen, "users": str(users)}})
        alice = ("--user", "alice", "--password-file", secret)
        return server, Service(server.address("kv")), alice, ("--user", "worker", "--password-file", token)

    return start


@pytest.mark.parametrize("scheme, denied, wrong", [
    ("tcp", "not allowed", "wrong name or password"), ("redis", "NOPERM", "WRONGPASS"),
])  # fmt: skip
def test_users_of_echod(service, scheme, denied, wrong, users, workdir):
    server, kv, alice, worker = service(f"{scheme}://127.0.0.1:0")
    assert kv.refuses("get", "jobs:1")
    kv("set", *alice, "jobs:1", "sleep")
    kv("set", *alice, "other", "1")
    assert kv("get", *worker, "jobs:1") == b"sleep"
    assert kv("keys", *worker) == b"jobs:1\n"
    assert denied in kv.refuses("get", *worker, "other")
    assert denied in kv.refuses("set", *worker, "jobs:1", "x")
    passwd(users, "worker", password=b"another")
    assert server.reload()
    assert wrong in kv.refuses("get", *worker, "jobs:1")
    assert kv("incr", *alice, "other") == b"2\n"
    if kv.resp:
        kv("dump", *alice, workdir / "dump")
        assert kv("del", *alice, "other", "jobs:1") == b"2\n"
        kv("load", *alice, workdir / "dump")
    assert sorted(kv("keys", *alice).split()) == [b"jobs:1", b"other"]


def test_a_service_without_users(echod, secret):
    server = echod({"kv": {"listen": "tcp://127.0.0.1:0"}})
    options = ("-a", server.address("kv"), "--user", "alice", "--password-file", secret)
    assert "echoctl: tcp://127.0.0.1:" in run("get", *options, "key", status=NO)[1]


@pytest.mark.parametrize("options, env, text", [
    (["--user", "a"], {}, "the user a, but no password"),
    ([], {"ECHOD_USER": "a"}, "the user a, but no password"),
    (["--password-file", "/dev/null"], {}, "a password file, but no user"),
    ([], {"ECHOD_PASSWORD_FILE": "/dev/null"}, "a password file, but no user"),
])  # fmt: skip
def test_half_of_a_user(options, env, text):
    errors = run("get", "-a", "tcp://127.0.0.1:1", *options, "key", env=harness.environment(env), status=USAGE)[1]
    assert errors.startswith(f"echoctl: {text}; use --")


@pytest.mark.parametrize("content, why", [
    (None, "No such file or directory"), (b"", "the password is empty"), (b"a\0b", "contains a NUL"),
    (b"x" * 512, "longer than 511 bytes"),
], ids=["missing", "empty", "nul", "long"])  # fmt: skip
def test_password_files_that_are_refused(workdir, content, why):
    path = workdir / "password"
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    errors = run("get", "-a", "tcp://127.0.0.1:1", "--user", "a", "--password-file", path, "key", status=NO)[1]
    assert str(path) in errors and why in errors and errors.count("\n") == 1


def test_a_password_file_that_others_can_read(secret):
    secret.chmod(0o644)
    with lines_server([], b"OK\n", b"OK\n") as address:
        errors = run("set", "-a", address, "--user", "a", "--password-file", secret, "b", "c")[1]
    assert errors == (f"echoctl: warning: others can read the password in {secret} (mode 0644; "
                      f"chmod o-rwx {secret})\n")


def test_what_is_no_part_of_a_line(secret):
    secret.write_text("swordfish \n")
    for user in ("alice", "a b"):
        with lines_server([], b"") as address:
            errors = run("get", "-a", address, "--user", user, "--password-file", secret, "key", status=NO)[1]
        assert "use a redis:// address" in errors


@pytest.fixture
def redis(workdir):
    """A redis-server with users: default may do nothing."""
    if harness.program("redis-server") is None:
        pytest.skip("no redis-server")
    path = workdir / "redis.sock"
    (workdir / "users.acl").write_text("user default off\nuser alice on >swordfish ~a* +@all\n")
    with open(workdir / "redis.log", "wb") as log:
        process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", workdir,
             "--aclfile", workdir / "users.acl"], stdout=log, stderr=log)  # fmt: skip
    try:
        wait_until(lambda: harness.takes_clients(path), "Redis takes clients")
        yield Service(f"redis+unix://{path}")
    finally:
        process.kill()
        process.wait()


def test_users_of_redis(redis, secret, workdir):
    user = ("--user", "alice", "--password-file", secret)
    assert "NOAUTH" in redis.refuses("get", "a")
    redis("set", *user, "a", "1")
    assert redis("get", *user, "a") == b"1"
    assert redis("incr", *user, "a") == b"2\n"
    assert "NOPERM" in redis.refuses("get", *user, "b")
    assert redis("ttl", *user, "a") == b"NEVER\n"
    redis("dump", *user, workdir / "dump")
    assert redis("del", *user, "a") == b"1\n"
    redis("load", *user, workdir / "dump")
    assert redis("keys", *user) == b"a\n"
    assert "WRONGPASS" in redis.refuses("get", "--user", "bob", "--password-file", secret, "a")
    secret.write_text("sword fish\n")
    assert "WRONGPASS" in redis.refuses("get", *user, "a")
