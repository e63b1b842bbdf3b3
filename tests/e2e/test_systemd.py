"""The service manager: what it is told."""

import signal
import socket
import time

import pytest

import harness
from harness import DEADLINE, run_echod, to_config

TCP = "tcp://127.0.0.1:0"
UDP = "udp://127.0.0.1:0"
HAS_SYSTEMD = "systemd" in run_echod("-V").stdout

with_systemd = pytest.mark.skipif(not HAS_SYSTEMD, reason="built without libsystemd")


# --- what the manager is told --------------------------------------------------------------------


class Manager:
    """Listens where NOTIFY_SOCKET points to; keeps every message as {name: value}."""

    def __init__(self, path):
        self.path = str(path)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.settimeout(DEADLINE)
        self.sock.bind(self.path)
        self.messages = []

    def receive(self):
        message = self.sock.recv(1 << 16).decode()
        self.messages.append(dict(line.split("=", 1) for line in message.splitlines()))
        return self.messages[-1]

    def wait(self, name):
        """The next message that has the name; what comes before it is kept, too."""
        while name not in self.receive():
            pass
        return self.messages[-1]

    def drain(self, most=None):
        """All (or the next few) that has been said by now, since the last wait."""
        old = len(self.messages)
        self.sock.setblocking(False)
        try:
            while most is None or len(self.messages) < old + most:
                self.receive()
            self.sock.settimeout(DEADLINE)
        except BlockingIOError:
            self.sock.settimeout(DEADLINE)
        return self.messages[old:]

    @property
    def environment(self):
        return {"NOTIFY_SOCKET": self.path}


@pytest.fixture
def manager(workdir):
    manager = Manager(workdir / "notify")
    yield manager
    manager.sock.close()


def echo(listen=TCP, **settings):
    return {"echo": {"listen": listen, **settings}}


@with_systemd
def test_ready_is_told_once_every_address_is_bound(fleet, workdir, manager):
    listen = [f"unix://$DIR/socket-{i}" for i in range(20)]
    server = fleet.launch(echo(listen), env=manager.environment)
    message = manager.wait("READY")
    assert all(harness.takes_clients(workdir / f"socket-{i}") for i in range(20))
    assert message == {"READY": "1", "STATUS": "Serving 1 service on 20 addresses"}
    server.stop()


@with_systemd
def test_nothing_is_told_by_a_start_that_fails(fleet, manager):
    server = fleet.launch(echo("unix:///nowhere/at/all"), env=manager.environment)
    server.wait_stopped_with((69, 77, 1), "/nowhere/at/all")
    assert manager.drain() == []


@with_systemd
def test_a_reload_begins_with_the_time_and_ends_with_ready(fleet, manager):
    server = fleet.launch(echo(), env=manager.environment)
    manager.wait("READY")
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    assert server.reload(echo([TCP, UDP]))
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    message = manager.wait("RELOADING")
    assert message["RELOADING"] == "1"
    assert before <= int(message["MONOTONIC_USEC"]) <= after
    assert manager.wait("READY")["STATUS"] == "Serving 1 service on 2 addresses"


@with_systemd
def test_a_failed_reload_is_ready_too_and_says_why(fleet, manager):
    server = fleet.launch(echo(), env=manager.environment)
    manager.wait("READY")
    assert not server.reload("services = { echo = { listne = 1; }; };")
    manager.wait("RELOADING")
    status = manager.wait("READY")["STATUS"]
    assert status.startswith("Serving 1 service on 1 address; the last reload failed: ")
    assert "listne" in status
    assert server.reload(echo())
    manager.wait("RELOADING")
    assert manager.wait("READY")["STATUS"] == "Serving 1 service on 1 address"


@with_systemd
def test_a_line_feed_in_a_file_name_forges_no_message(fleet, workdir, manager):
    directory = workdir / "a\nSTOPPING=1\nb"
    directory.mkdir()
    config = directory / "echod.conf"
    config.write_text(to_config(echo()))
    server = fleet.launch(echo(), args=("-c", str(config)), env=manager.environment)
    manager.wait("READY")
    config.write_text("nonsense")
    server.send_signal(signal.SIGHUP)
    manager.wait("RELOADING")
    assert "STOPPING" not in manager.wait("READY")


@with_systemd
def test_a_stop_says_how_long_it_may_take(fleet, manager):
    server = fleet.launch(echo(), env=manager.environment, limits={"shutdown_timeout": 300})
    manager.wait("READY")
    client = server.wait_ready().connect("echo")
    client.send(b"a")
    assert client.exactly(1) == b"a"
    server.send_signal(signal.SIGTERM)
    message = manager.wait("STOPPING")
    assert message["STOPPING"] == "1"
    assert message["STATUS"] == "Stopping; 1 client left"
    assert 300e6 < int(message["EXTEND_TIMEOUT_USEC"]) < 330e6
    client.close()
    server.wait_stopped()


@with_systemd
def test_the_loop_feeds_the_watchdog(fleet, manager):
    fleet.launch(echo(), env={**manager.environment, "WATCHDOG_USEC": "200000"})
    manager.wait("READY")
    signs = []
    for _ in range(5):
        assert manager.wait("WATCHDOG") == {"WATCHDOG": "1"}
        signs.append(time.monotonic())
    assert (signs[-1] - signs[0]) / 4 < 0.2, "oftener than the manager asks for"


@with_systemd
def test_a_watchdog_of_another_process_is_not_fed(fleet, manager):
    environment = {**manager.environment, "WATCHDOG_USEC": "2000", "WATCHDOG_PID": "1"}
    server = fleet.launch(echo(), env=environment)
    manager.wait("READY")
    end = time.monotonic() + 0.1
    with server.wait_ready().connect("echo") as client:
        while time.monotonic() < end:
            client.send(b"a")
            client.exactly(1)
    server.stop()
    assert not any("WATCHDOG" in message for message in [*manager.messages, *manager.drain()])
