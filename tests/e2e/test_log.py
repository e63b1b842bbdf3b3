"""The log: its contract line, what clients cannot do to it, and systemd's prefix."""

import os
import re
import resource
import signal
import socket
import subprocess

import pytest

import harness
from harness import run_echod, wait_until

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
TCP = "tcp://127.0.0.1:0"


def test_every_line_has_time_level_and_subject(echod):
    server = echod({"kv": {"listen": [TCP, "unix://$DIR/kv"]}, "echo": {"listen": TCP}})
    server.kv().close()
    server.connect("echo").close()
    server.reload()
    server.reload("nonsense")
    server.stop()
    for line in server.log.lines:
        assert re.match(rf"{STAMP} (error|warning|info|debug) \S+( \S+)?: \S", line), line


def test_listening_line(echod):
    server = echod({"my-echo": {"type": "echo", "listen": [TCP, "unix://$DIR/echo"]}})
    port = server.addresses("my-echo")[0].port
    for address in (f"tcp://127.0.0.1:{port}", f"unix://{server.directory}/echo"):
        assert server.log.matches(rf"^{STAMP} info my-echo: listening on {re.escape(address)}$")


def test_a_peers_name_cannot_forge_a_line(echod):
    server = echod({"echo": {"listen": "unix://$DIR/echo"}})
    forged = "2026-01-01T00:00:00.000Z error echod: forged"
    with socket.socket(socket.AF_UNIX) as client:
        client.bind(f"\0{server.id}\n{forged}\x1b[31m\n")
        client.connect(server.address("echo").path)
    line = server.wait_closed("(client_eof|reset)").string
    assert not server.log.matches(rf"^{re.escape(forged)}")
    assert "\x1b" not in line
    assert all(character.isprintable() for character in line)


def test_the_name_of_who_sends_datagrams_cannot_forge_a_line(echod):
    server = echod({"echo": {"listen": "unixgram://$DIR/echo"}})
    forged = "2026-01-01T00:00:00.000Z error echod: forged"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.bind(f"\0{server.id}\n{forged}\x1b[31m\n")
        client.connect(server.address("echo").path)
        for _ in range(21):
            client.send(b"hello")
        line = server.log.wait("muted").string  # it is there to be answered
    assert f"@{server.id}\\n{forged}\\x1b[31m\\n: muted" in line
    assert not server.log.matches(rf"^{re.escape(forged)}")


def test_what_clients_provoke_is_limited_and_counted(echod):
    server = echod({"kv": {"listen": TCP, "deny": ["127.0.0.1"]}})
    for _ in range(300):
        with server.connect("kv") as client:
            assert client.rest() == b""
    server.wait_closed("denied", count=5)
    assert len(server.log.matches("closed: denied")) < 200

    def is_told():
        with server.connect("kv") as client:
            client.rest()
        return server.log.matches(r"suppressed \d+ lines?")

    from_now_on = server.log.mark()
    while not is_told():
        assert len(server.log.lines) < from_now_on + 1000
    assert server.log.matches(r"suppressed \d+ lines?")


def test_systemds_journal_gets_the_level_as_a_prefix(fleet):
    script = 'exec env JOURNAL_STREAM="$(stat -L -c %d:%i /proc/self/fd/2)" "$0" "$@"'
    server = fleet.launch({"echo": {"listen": TCP}}, wrapper=("sh", "-c", script))
    server.log.wait(r"^<6>echod: ready")
    assert server.log.matches(r"^<6>echo: listening on tcp://127\.0\.0\.1:\d+$")


def test_somebody_elses_journal_is_not_ours(echod):
    server = echod({"echo": {"listen": TCP}}, env={"JOURNAL_STREAM": "1:2"})
    assert not server.log.matches(r"^<\d>")


def test_level_warning_hides_what_is_less(fleet, workdir):
    server = fleet.launch(
        {"echo": {"listen": "unix://$DIR/echo"}}, args=(), log={"level": "warning"}
    )
    socket_file = workdir / "echo"
    server.wait_listening(socket_file)
    server.stop()
    assert server.log.lines == []


def test_log_file_is_appended_to_and_not_readable_by_all(fleet, workdir, write):
    path = write("log", "an older line\n")
    fleet.start({"echo": {"listen": TCP}}, log={"target": "$DIR/log"}).stop()
    assert path.read_text().startswith("an older line\n")
    path.unlink()
    fleet.start({"echo": {"listen": TCP}}, log={"target": "$DIR/log"}).stop()
    assert path.stat().st_mode & 0o007 == 0


def test_log_file_that_cannot_be_opened_is_named(fleet):
    server = fleet.launch({"echo": {"listen": TCP}}, log={"target": "/nonexistent/log"})
    server.errors.wait("/nonexistent/log")
    server.wait_stopped_with((1, 77, 78), "/nonexistent/log")


@pytest.mark.parametrize("target, hint", [
    ("Syslog", '; did you mean "syslog"?'),
    ("sterr", '; did you mean "stderr"?'),
    ("log.txt", ""),
    ("./log", ""),
    ("", ""),
])  # fmt: skip
def test_target_that_is_neither_a_word_nor_an_absolute_path(fleet, write, target, hint):
    text = f'log.target: expected "stderr", "syslog" or an absolute path, got "{target}"{hint}'
    services = {"echo": {"listen": TCP}}
    config = write("x.conf", "\n" + harness.to_config(services, log={"target": target}))
    done = run_echod("-t", "-c", config)
    assert (done.returncode, done.stderr) == (78, f"echod: {config}:2: {text}\n")
    server = fleet.start(services)
    assert not server.reload(services, log={"target": target})
    assert server.log.matches(re.escape(text) + "$")


def test_where_it_logs_to_is_its_first_line_and_on_stderr_and_in_status(fleet):
    services = {"echo": {"listen": TCP}, "control": {"listen": "unix://$DIR/control"}}
    server = fleet.start(services, log={"target": "$DIR/log"})
    path = f"{server.directory}/log"
    assert re.fullmatch(rf"{STAMP} info echod: version \S+ starting, logging to {path} at level debug",
                        server.log.lines[0])
    assert re.fullmatch(rf"{STAMP} info log: lines go to {path} from here on", server.errors.lines[-1])
    with server.connect("control") as client:
        client.send(b"status\n-j status\n")
        client.half_close()
        answer = client.rest()
    assert b"log level debug to " + path.encode() in answer
    assert f'"target":"{path}"'.encode() in answer


def test_a_reload_says_in_the_old_place_where_lines_go(fleet):
    services = {"echo": {"listen": TCP}}
    server = fleet.start(services)
    server.configure(services, log={"target": "$DIR/log"})
    server.send_signal(signal.SIGHUP)
    server.log.wait(rf" info log: lines go to {server.directory}/log from here on$")
    path = server.directory / "log"
    wait_until(lambda: path.exists() and "info reload: done" in path.read_text(), "the new place")


def limit_file_size(server, size=None):
    hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


def test_a_line_that_was_cut_is_ended_before_the_next(fleet, workdir):
    """The file has no room for the whole of a line, and then there is some again."""
    server = fleet.start({"echo": {"listen": TCP}}, log={"target": "$DIR/log"})
    path = workdir / "log"
    room = path.stat().st_size + 40
    limit_file_size(server, room)
    server.send_signal(signal.SIGUSR2)
    wait_until(lambda: path.stat().st_size == room, "the file is as long as it may be")
    limit_file_size(server)
    server.send_signal(signal.SIGUSR2)
    server.log.wait(r"warning log: lost \d+ lines? before this one$")
    server.stop()
    lines = path.read_text().split("\n")
    cut = [line for line in lines if not re.match(rf"{STAMP} \w+ \S+( \S+)?: \S", line)]
    assert cut[-1] == "" and len(cut) <= 2 and "" not in lines[:-1]
    assert not [line for line in lines if re.search(f".{STAMP}", line)]
    assert "echod: stopped" in lines[-2]


def test_names_of_files_cannot_forge_a_line(fleet, write):
    forged = "2026-01-01T00:00:00.000Z error echod: forged"
    server = fleet.start({"echo": {"listen": TCP}})
    write(f"{server.config.stem}.d/x\n{forged}\x1b[31m.conf", "nonsense = 1;")
    assert not server.reload()
    assert server.log.matches(r"\.d/x\\n" + re.escape(forged) + r"\\x1b\[31m\.conf:1: nonsense: unknown key")
    assert not server.log.matches(rf"^{re.escape(forged)}")
    done = run_echod("-t", "-c", server.config)
    assert forged in done.stderr and "\n" + forged not in done.stderr


# --- syslog ---


OWN_DEV_LOG = """
mkdir "$1/dev" && mount --bind /dev "$1/dev" && mount -t tmpfs tmpfs /dev &&
for name in null urandom; do touch /dev/$name && mount --bind "$1/dev/$name" /dev/$name || exit; done &&
ln -s "$1/log.socket" /dev/log && shift && exec "$@"
"""
needs_mount_namespaces = pytest.mark.skipif(
    subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode != 0,
    reason="no mount namespaces here",
)


class Syslog:
    """A syslog daemon; echod's /dev/log leads to it."""

    def __init__(self, workdir, kind):
        self.path = workdir / "log.socket"
        self.kind = kind
        self.buffered = b""

    def begin(self):
        self.path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX, self.kind)
        self.socket.bind(str(self.path))
        self.socket.settimeout(harness.DEADLINE)
        if self.kind == socket.SOCK_STREAM:
            self.socket.listen()
        self.client = self.socket if self.kind == socket.SOCK_DGRAM else None

    def end(self):
        self.socket.close()
        if self.client is not None:
            self.client.close()
        self.path.unlink()

    def message(self):
        if self.client is None:
            self.client = self.socket.accept()[0]
            self.client.settimeout(harness.DEADLINE)
            self.buffered = b""
        if self.kind == socket.SOCK_DGRAM:
            return self.client.recv(4096).decode()
        while b"\0" not in self.buffered:
            data = self.client.recv(4096)
            assert data, "echod has closed the connection"
            self.buffered += data
        line, self.buffered = self.buffered.split(b"\0", 1)
        return line.decode()

    def wait(self, pattern):
        while not re.fullmatch(pattern, message := self.message()):
            assert re.match(r"<\d+>\w{3} [ \d]\d [\d:]{8} echod\[\d+\]: \w", message)


@pytest.fixture(params=[socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["datagrams", "stream"])
def syslog(request, workdir):
    return Syslog(workdir, request.param)


def with_dev_log(workdir):
    """A wrapper: what it runs has a mount namespace of its own, and its /dev/log leads to log.socket."""
    return ("unshare", "--mount", "sh", "-c", OWN_DEV_LOG, "sh", str(workdir))


def launch_with_dev_log(fleet, workdir, listen):
    return fleet.launch({"echo": {"listen": listen}}, log={"target": "syslog"},
                        wrapper=with_dev_log(workdir))


@needs_mount_namespaces
def test_syslog_gets_the_lines(fleet, workdir, syslog):
    syslog.begin()
    server = launch_with_dev_log(fleet, workdir, TCP)
    line = rf"<30>\w{{3}} [ \d]\d [\d:]{{8}} echod\[{server.pid}\]: "
    for text in (r"echod: version .* logging to syslog at level debug",
                 r"echo: listening on tcp://127\.0\.0\.1:\d+",
                 *(["echod: started as root and stays root: .*"] if os.geteuid() == 0 else []),
                 r"echod: ready .*"):
        assert re.fullmatch(line + text, syslog.message())
    server.stop()
    syslog.end()


@needs_mount_namespaces
def test_syslog_that_comes_later_and_is_restarted(fleet, workdir, syslog):
    server = launch_with_dev_log(fleet, workdir, "unix://$DIR/echo")
    server.errors.wait(r"warning log: lines go to syslog from here on, and are lost until it takes them: "
                       r"/dev/log: No such file or directory$")
    server.wait_listening(workdir / "echo")
    with harness.connect(harness.Address.parse(f"unix://{workdir}/echo")) as client:
        assert client.ask(b"hello") == b"hello"  # what is logged at the start is lost by now
    for expected in (r".*: log: lost \d+ lines? before this one", r".*: echod: configuration .*"):
        syslog.begin()
        server.send_signal(signal.SIGUSR2)
        syslog.wait(expected)
        syslog.end()
    server.stop()
