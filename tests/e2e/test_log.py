"""The log: its contract line, what clients cannot do to it, and systemd's prefix."""

import re
import socket
import subprocess

import pytest

import harness

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
        return server.log.matches(r"suppressed \d+ lines")

    from_now_on = server.log.mark()
    while not is_told():
        assert len(server.log.lines) < from_now_on + 1000
    assert server.log.matches(r"suppressed \d+ lines")


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


OWN_DEV_LOG = """
mkdir "$1/dev" && mount --bind /dev "$1/dev" && mount -t tmpfs tmpfs /dev &&
touch /dev/null /dev/log && mount --bind "$1/dev/null" /dev/null &&
mount --bind "$1/log.socket" /dev/log && shift && exec "$@"
"""
needs_mount_namespaces = pytest.mark.skipif(
    subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode != 0,
    reason="no mount namespaces here",
)


def with_dev_log(workdir):
    """A wrapper: what it runs has a mount namespace of its own, with log.socket as its /dev/log."""
    return ("unshare", "--mount", "sh", "-c", OWN_DEV_LOG, "sh", str(workdir))


@needs_mount_namespaces
def test_syslog_gets_the_lines(workdir, write):
    config = write("test.conf", 'log = { target = "syslog"; };\n'
                   'services = { echo = { listen = "tcp://127.0.0.1:0"; }; };\n')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(workdir / "log.socket"))
        syslog.settimeout(harness.DEADLINE)
        process = subprocess.Popen(
            [*with_dev_log(workdir), harness.find_echod(), "-c", str(config)]
        )
        try:
            line = rf"<30>\w{{3}} [ \d]\d [\d:]{{8}} echod\[{process.pid}\]: "
            expected = [r"echo: listening on tcp://127\.0\.0\.1:\d+", r"echod: ready .*"]
            for text in expected:
                assert re.fullmatch(line + text, syslog.recv(4096).decode())
        finally:
            process.terminate()
            assert process.wait(harness.DEADLINE) == 0
