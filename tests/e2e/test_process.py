"""What echod's parent has left behind, what its programs get of it, and signals from the first moment to the last."""

import fcntl
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest

import harness
from harness import run_echod, to_config, wait_exit, wait_until
from transports import needs_root

TCP = "tcp://127.0.0.1:0"
ECHO = {"echo": {"listen": TCP}}
ALL = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def left_behind(script):
    """A parent that does this before it becomes echod; what Python itself ignores is not left behind."""
    return ("/usr/bin/python3", "-c", "\n".join([
        "import ctypes, os, resource, signal, sys",
        "for n in (signal.SIGPIPE, signal.SIGXFSZ): signal.signal(n, signal.SIG_DFL)",
        script,
        "os.execv(sys.argv[1], sys.argv[1:])"]))


def shell(script):
    return {"exec": {"listen": TCP, "command": ["sh", "-c", script]}}


def output(server, name="exec"):
    with server.connect(name) as client:
        return client.exchange(b"", half_close=True).decode()


def signals_of(text):
    """SigBlk and SigIgn as sets of numbers, without the two that belong to the C library."""
    status = dict(line.split(":\t") for line in text.splitlines() if line.startswith("Sig"))
    return [{n for n in range(1, 65) if int(status[name], 16) >> (n - 1) & 1} - {32, 33}
            for name in ("SigBlk", "SigIgn")]


SIGNALS = {"signals": {"type": "exec", "listen": TCP, "command": ["grep", "Sig", "/proc/self/status"]}}
CHILDREN = "/proc/{0}/task/{0}/children"


# --- signals ---


@pytest.mark.parametrize("script", [
    "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
    f"for n in {tuple(map(int, ALL))}: signal.signal(n, signal.SIG_IGN)",
], ids=["blocked", "ignored"])  # fmt: skip
def test_signals_that_the_parent_did_not_want(echod, script):
    server = echod(ECHO, wrapper=left_behind(script))
    server.send_signal(signal.SIGUSR2)
    server.log.wait("info echo: serves ")
    assert server.reload()
    server.stop(signal.SIGINT)


def test_signals_that_came_before_the_start(echod):
    """Blocked, they wait for whoever comes next; what echod has no use for is dropped."""
    server = echod(ECHO, wrapper=left_behind("""if True:
        early = [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGPROF]
        signal.pthread_sigmask(signal.SIG_BLOCK, early)
        for number in early:
            os.kill(os.getpid(), number)"""))
    server.log.wait("info reload: done")
    server.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_that_came_before_the_start(fleet, number):
    server = fleet.launch(ECHO, wrapper=left_behind(f"""if True:
        signal.pthread_sigmask(signal.SIG_BLOCK, [{int(number)}])
        os.kill(os.getpid(), {int(number)})"""))
    server.wait_stopped()


@pytest.fixture
def reading(fleet, workdir, write):
    """A daemon that reads its configuration, and the pipe that this comes through."""
    pipe = workdir / "pipe"
    os.mkfifo(pipe, 0o600)
    server = fleet.launch(ECHO, args=("-v", "-c", str(pipe)))
    with open(pipe, "w") as writer:  # waits for the reader
        server.config.replace(pipe)
        yield server, writer


def test_signals_while_the_configuration_is_read(reading):
    server, writer = reading
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        server.send_signal(number)
    writer.write(to_config(ECHO))
    writer.close()
    server.log.wait("info reload: done")


def test_a_stop_while_the_configuration_is_read(reading):
    server, _ = reading
    server.stop()


@pytest.fixture
def committing(fleet, faults, workdir):
    """Stopping, in the middle of the last commit of its store."""
    kv = {"kv": {"listen": TCP, "storage": str(faults.root / "store"), "sync": "interval",
                 "sync_interval": 3600}}
    server = fleet.start(kv, env=faults.env, args=("-v", "-p", str(workdir / "pid")))
    with server.kv() as client:
        assert client.ask(b"SET a 1") == b"OK"
    with faults.sync.held() as barrier:
        server.send_signal(signal.SIGTERM)
        barrier.wait_held()
        yield server


def test_no_signal_ends_the_last_commit(committing, faults, workdir, fleet):
    server = committing
    for number in 2 * ALL:
        server.send_signal(number)
    assert (workdir / "pid").read_text() == f"{server.pid}\n"
    second = fleet.launch(ECHO, args=("-p", str(workdir / "pid")))
    second.wait_stopped_with(1, "another echod that runs has it")
    assert not server.log.matches("echod: stopped")
    faults.sync.hold = 0
    server.wait_stopped()
    assert server.log.lines[-1].endswith("echod: stopped")
    assert not (workdir / "pid").exists()
    again = fleet.start({"kv": {"listen": TCP, "storage": str(faults.root / "store")}},
                        env=faults.env)
    with again.kv() as client:
        assert client.ask(b"GET a") == b"1"


def test_a_stop_of_the_parent_that_waits_for_the_background(workdir, write, faults):
    config = write("test.conf", to_config(
        {"kv": {"listen": TCP, "storage": str(faults.root / "store")}},
        log={"target": f"{workdir}/log"}))
    log = workdir / "log"
    with faults.sync.held() as barrier:
        parent = subprocess.Popen([harness.find_echod(), "-c", config, "-D"],
                                  env={**os.environ, **faults.env})
        barrier.wait_held()
        child = int(Path(CHILDREN.format(parent.pid)).read_text().split()[0])
        parent.send_signal(signal.SIGHUP)
        parent.send_signal(signal.SIGINT)
        assert parent.wait(harness.DEADLINE) == -signal.SIGINT
    wait_exit(child)
    assert log.read_text().endswith("echod: stopped\n")


# --- limits, the umask, timers ---


def test_a_program_gets_what_echod_was_started_with(echod):
    server = echod({**shell("ulimit -Sn; umask"), **SIGNALS}, wrapper=left_behind("""if True:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        os.umask(0o007)
        for number in (signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])"""))
    assert output(server) == "256\n0007\n"
    blocked, ignored = signals_of(output(server, "signals"))
    assert blocked == {signal.SIGUSR1}
    assert ignored == {signal.SIGHUP, signal.SIGPIPE, signal.SIGQUIT}
    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    assert soft == hard


def test_a_program_gets_nothing_of_what_echod_ignores(echod):
    assert signals_of(output(echod(SIGNALS), "signals")) == [set(), set()]


def test_a_log_that_is_over_the_limit_of_file_sizes(echod, workdir):
    log = workdir / "log"
    server = echod(ECHO, log={"target": str(log), "level": "debug"},
                   wrapper=left_behind("resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"))

    def is_full():
        with server.connect("echo") as client:
            assert client.exchange(b"hello", half_close=True) == b"hello"
        return log.stat().st_size == 1000

    wait_until(is_full, "the log is full")
    assert is_full()
    server.stop()


@pytest.mark.parametrize("target", ["$DIR/log", "syslog"])
def test_a_pid_file_that_takes_no_number(fleet, workdir, target):
    """The reason is on standard error, too: the log has gone elsewhere by then, and may take no line."""
    server = fleet.launch(ECHO, log={"target": target.replace("$DIR", str(workdir))},
                          args=("-p", str(workdir / "pid")),
                          wrapper=left_behind("resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"))
    server.wait_stopped_with(1, f"echod: {workdir}/pid: File too large")
    assert not (workdir / "pid").exists()


def test_a_store_that_is_over_the_limit_of_file_sizes(fleet, workdir):
    server = fleet.launch(
        {"kv": {"listen": TCP, "storage": str(workdir / "kv")}},
        wrapper=left_behind("resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))"))
    server.wait_stopped_with(1, "File too large")


@pytest.mark.parametrize("umask, mode", [(0, 0o640), (0o777, 0o600), (0o077, 0o600)])
def test_what_is_made_under_any_umask(echod, workdir, umask, mode):
    server = echod({"echo": {"listen": "unix://$DIR/echo", "socket_mode": "0666"}},
                   log={"target": str(workdir / "log")},
                   wrapper=left_behind(f"os.umask({umask})"), args=("-v", "-p", str(workdir / "pid")))
    assert (workdir / "log").stat().st_mode & 0o777 == mode
    assert (workdir / "pid").stat().st_mode & 0o777 == 0o600
    assert (workdir / "echo").stat().st_mode & 0o777 == 0o666
    server.stop()


def test_an_alarm_that_the_parent_has_set(echod):
    server = echod(ECHO, wrapper=left_behind("signal.alarm(1)"))
    time.sleep(1.1)  # that is what an alarm takes
    server.stop()


# --- descriptors and directories ---


def test_descriptors_that_the_parent_has_left_open(fleet):
    """Whoever waits for the end of a pipe does not wait for echod."""
    reader, writer = os.pipe()
    server = fleet.launch(ECHO, pass_fds=(writer,))
    os.close(writer)
    server.wait_ready()
    fcntl.fcntl(reader, fcntl.F_SETFL, os.O_NONBLOCK)
    assert os.read(reader, 1) == b""
    os.close(reader)


@pytest.mark.parametrize("limit", range(4, 10))
def test_fewer_descriptors_than_a_start_takes(fleet, limit):
    """Whatever lacks them says so, and the library does not end the process."""
    server = fleet.launch({**ECHO, "more": {"type": "echo", "listen": [TCP] * 4}}, wrapper=left_behind(
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))"))
    server.wait_stopped_with((1, 69, 78), "Too many open files")


@pytest.mark.parametrize("limit, few", [(200, 64), (263, 1), (264, 0)])
def test_how_many_descriptors_too_few_a_start_has(echod, limit, few):
    """Room for the clients alone is not enough."""
    server = echod(ECHO, limits={"max_connections": 200}, wrapper=left_behind(
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))"))
    found = server.log.matches(
        r"warning echod: limits.max_connections is 200, which takes 264 open files with 64 for echod "
        rf"itself, but the limit on open files is {limit}: {few} too few")
    assert len(found) == (few > 0)
    server.stop()


def test_no_standard_descriptors_at_all(fleet, workdir):
    log = workdir / "log"
    server = fleet.launch({**ECHO, **shell("echo hello")}, log={"target": str(log)},
                          wrapper=left_behind("for fd in range(3): os.close(fd)"))
    server.wait_ready()
    assert output(server) == "hello\n"
    server.stop()
    assert log.read_text().endswith("echod: stopped\n")


@needs_root
@pytest.mark.skipif(subprocess.call(["unshare", "-m", "true"], stderr=subprocess.DEVNULL) != 0,
                    reason="no mount namespaces here")
def test_no_dev_null_either(fleet, workdir):
    """What is opened next would become a standard descriptor, and the log be written into it."""
    script = 'mount -t tmpfs none /dev && exec "$0" "$@" <&- >&- 2>&-'
    log = workdir / "log"
    server = fleet.launch(ECHO, log={"target": str(log)}, wrapper=("unshare", "-m", "sh", "-c", script))
    server.wait_ready()
    for fd in range(3):
        assert os.readlink(f"/proc/{server.pid}/fd/{fd}") == "/"
    server.stop()


def test_a_directory_that_has_gone(echod, workdir):
    (workdir / "gone").mkdir()
    server = echod({**ECHO, **shell("pwd")}, wrapper=left_behind(
        f"os.chdir('{workdir}/gone'); os.rmdir('{workdir}/gone')"))
    assert output(server) == "/\n"
    assert server.reload()
    server.stop()


def test_a_pid_file_relative_to_a_directory_that_has_gone(fleet, workdir):
    (workdir / "gone").mkdir()
    server = fleet.launch(ECHO, args=("-p", "pid"), wrapper=left_behind(
        f"os.chdir('{workdir}/gone'); os.rmdir('{workdir}/gone')"))
    server.wait_stopped_with(1, "-p pid: cannot find the current directory: No such file")


# --- children ---


def children(server):
    return Path(CHILDREN.format(server.pid)).read_text().split()


def test_children_of_what_it_was_before(echod):
    server = echod(ECHO, wrapper=("sh", "-c", 'sleep 0.2 & true & exec "$0" "$@"'))
    wait_until(lambda: not children(server), "every one is reaped")


def test_a_subreaper_reaps_what_programs_have_left(echod):
    """As process 1 of a container has to; and the programs' own ends are seen as ever."""
    server = echod(shell("setsid sleep 0.1 & setsid true & true"), args=("-v", "-v"), wrapper=left_behind(
        "ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)"))  # PR_SET_CHILD_SUBREAPER
    for _ in range(10):
        assert output(server) == ""
    server.log.wait(r"the program has ended \(exit status 0\)", count=10)
    wait_until(lambda: not children(server), "every one is reaped")


def test_a_program_has_a_session_of_its_own(echod):
    server = echod(shell("echo $$; ps -o sid=,pgid=,tty= -p $$; true 3</dev/tty || echo none"))
    pid, ids, terminal = output(server).splitlines()
    assert ids.split() == [pid, pid, "?"]
    assert terminal == "none"


# --- the pid file ---


def test_the_pid_file_is_for_its_owner(echod, workdir):
    """Whoever can open it can lock it, and the next start would be refused."""
    stranger = workdir / "pid"
    stranger.touch(0o644)
    stranger.chmod(0o644)
    with open(stranger) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        server = echod(ECHO, args=("-p", str(workdir / "pid")))
    assert (workdir / "pid").read_text() == f"{server.pid}\n"
    assert (workdir / "pid").stat().st_mode & 0o777 == 0o600


def make_fifo(path, _):
    os.mkfifo(path)


def make_directory(path, _):
    path.mkdir()


def make_symlink(path, precious):
    path.symlink_to(precious)


def make_hard_link(path, precious):
    os.link(precious, path)


@pytest.mark.parametrize("make", [make_fifo, make_directory, make_symlink, make_hard_link])
def test_a_pid_file_that_is_something_else(fleet, workdir, write, make):
    precious = write("precious", "precious")
    make(workdir / "pid", precious)
    server = fleet.launch(ECHO, args=("-p", str(workdir / "pid")))
    server.wait_stopped_with(1, str(workdir / "pid"))
    assert precious.read_text() == "precious"


def directory_of_nobody(workdir):
    """A directory that nobody owns, with a link in it to one of root's."""
    home, roots = workdir / "home", workdir / "roots"
    workdir.chmod(0o755)
    home.mkdir()
    os.chown(home, 65534, 65534)
    roots.mkdir()
    (home / "link").symlink_to(roots)
    return home, roots


@needs_root
def test_a_pid_file_in_a_directory_of_the_user(echod, workdir):
    """Root does not write there: the user could lead it anywhere."""
    home, _ = directory_of_nobody(workdir)
    server = echod(ECHO, user="nobody", args=("-v", "-p", str(home / "pid")))
    assert (home / "pid").read_text() == f"{server.pid}\n"
    assert ((home / "pid").stat().st_uid, (home / "pid").stat().st_mode & 0o777) == (65534, 0o600)
    server.stop()
    assert not (home / "pid").exists()


@needs_root
@pytest.mark.parametrize("sections", [{"user": "nobody"}, {}], ids=["with user", "without"])
def test_a_pid_file_by_way_of_a_link_of_the_user(fleet, workdir, sections):
    home, roots = directory_of_nobody(workdir)
    server = fleet.launch(ECHO, args=("-p", str(home / "link/pid")), **sections)
    server.wait_stopped_with(1, str(home / "link/pid"))
    assert list(roots.iterdir()) == []


@needs_root
def test_a_pid_file_by_way_of_a_link_of_root(echod, workdir):
    (workdir / "run").mkdir()
    (workdir / "var").symlink_to("run")
    server = echod(ECHO, args=("-p", str(workdir / "var/pid")))
    assert (workdir / "run/pid").read_text() == f"{server.pid}\n"
