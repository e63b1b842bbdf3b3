"""The service manager: what it is told, and the sockets that it opens for us."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import harness
from harness import DEADLINE, Address, program, run_echod, to_config, wait_until
from test_beacon import needs_namespaces
from test_control import console
from test_loading import kv, slow  # noqa: F401 (a fixture)
from transports import every_datagram, every_stream, every_transport, needs_root

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
    message = manager.wait("STOPPING")
    assert message["STATUS"] == "Stopping; closing the stores"
    assert int(message["EXTEND_TIMEOUT_USEC"]) > 600e6
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
def test_a_storm_of_signals_is_one_a_turn_however_slow_the_manager(fleet, manager):
    """One reload for each, and each told to a manager that takes its time, would shut clients out."""
    server = fleet.launch(echo(), env=manager.environment)
    manager.wait("READY")
    server.wait_ready()
    over = threading.Event()

    def read_slowly():
        while not over.wait(0.02):
            manager.drain(1)
        while server.process.poll() is None:
            manager.drain()

    reader = threading.Thread(target=read_slowly)
    reader.start()
    try:
        for _ in range(5000):
            server.send_signal(signal.SIGHUP)
        begin = time.monotonic()
        assert ask(server.address("echo"), server.directory) == b"hello"
        waited = time.monotonic() - begin
    finally:
        over.set()
        server.stop()
        reader.join()
    assert waited < 5


@with_systemd
def test_a_reload_feeds_the_watchdog_before_each_name(fleet, manager):
    server = fleet.launch(echo(), env=manager.environment)
    manager.wait("READY")
    assert server.reload(echo(["tcp://localhost:0", TCP, "udp://localhost:0"]))
    manager.wait("RELOADING")
    for _ in range(2):
        message = manager.wait("WATCHDOG")
        assert message["STATUS"] == "Looking up localhost"
        assert int(message["EXTEND_TIMEOUT_USEC"]) > 10e6
    assert "READY" in manager.receive()


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


def expect_progress(manager):
    """Two messages; the second is later by a second, in which the loading has got on."""
    done = []
    for _ in range(2):
        message = manager.wait("EXTEND_TIMEOUT_USEC")
        assert int(message["EXTEND_TIMEOUT_USEC"]) > 10e6
        assert message["WATCHDOG"] == "1"
        assert message["STATUS"].startswith("Loading the store of kv: ")
        done.append(int(message["STATUS"].split()[-1]))
    assert 0 < done[0] < done[1]


@with_systemd
def test_a_start_that_loads_a_store_puts_the_timeout_off_and_feeds_the_watchdog(
        fleet, manager, faults, slow):
    server = fleet.launch(kv(), env={**faults.env, **manager.environment})
    expect_progress(manager)
    assert not any("READY" in message for message in manager.messages)
    assert not server.log.matches("echod: ready")
    slow.delay_ms = 0
    manager.wait("READY")


@with_systemd
def test_a_reload_that_loads_a_store_puts_the_timeout_off(fleet, manager, faults, slow):
    server = fleet.launch(echo(), env={**faults.env, **manager.environment})
    manager.wait("READY")
    server.configure({**echo(), **kv()})
    server.send_signal(signal.SIGHUP)
    manager.wait("RELOADING")
    expect_progress(manager)
    assert "READY" not in manager.messages[-1]
    slow.delay_ms = 0
    assert manager.wait("READY")["STATUS"] == "Serving 2 services on 2 addresses"


@with_systemd
def test_a_load_that_is_stuck_does_not_put_the_timeout_off(fleet, manager, faults, slow):
    with slow.held() as barrier:
        server = fleet.launch(
            kv(), env={**faults.env, **manager.environment, "WATCHDOG_USEC": "500000"})
        barrier.wait_held()
        for _ in range(12):  # three seconds of a loop that is well
            manager.wait("WATCHDOG")
        assert not any("EXTEND_TIMEOUT_USEC" in message for message in manager.messages)
        assert not server.log.matches("echod: ready")
        slow.delay_ms = 0
    manager.wait("READY")


# --- sockets that the manager has opened ---------------------------------------------------------

# As the manager does it: the descriptors from 3 on, the environment, then the daemon.
PASS = """
import fcntl, os, sys
given = [int(fd) for fd in sys.argv[1].split(",")]
fds = [fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in given]
for fd in given:
    os.close(fd)
for number, fd in enumerate(fds):
    os.dup2(fd, 3 + number)
    os.close(fd)
os.environ["LISTEN_FDS"] = str(len(fds))
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


class Sockets:
    """Bound by us, to be passed to a daemon by name."""

    def __init__(self, directory, identity):
        self.directory = directory
        self.identity = identity
        self.socks, self.names, self.addresses = [], [], []

    def open(self, name, listen=TCP, backlog=16):
        text = listen.replace("$DIR", str(self.directory)).replace("$ID", self.identity)
        address = Address.parse(text)
        sock = socket.socket(address.family, address.kind)
        sock.bind(address.sockaddr)
        if address.kind == socket.SOCK_STREAM and backlog is not None:
            sock.listen(backlog)
        if address.path is None:
            address = address._replace(port=sock.getsockname()[1])
        self.add(name, sock)
        self.addresses.append(address)
        return address

    def add(self, name, sock):
        self.socks.append(sock)
        self.names.append(name)

    def options(self, **environment):
        """For Fleet.start()."""
        fds = [sock.fileno() for sock in self.socks]
        return {
            "wrapper": (sys.executable, "-c", PASS, ",".join(map(str, fds))),
            "pass_fds": fds,
            "env": {"LISTEN_FDNAMES": ":".join(self.names), **environment},
        }

    def close(self):
        for sock in self.socks:
            sock.close()


@pytest.fixture
def sockets(workdir):
    sockets = Sockets(workdir, f"echod-inherited-{os.getpid()}-{workdir.name}")
    yield sockets
    sockets.close()


def ask(address, directory, text=b"hello"):
    options = {"directory": directory} if address.transport == "unixgram" else {}
    with harness.connect(address, **options) as client:
        client.send(text)
        if address.kind == socket.SOCK_STREAM:
            return client.exactly(len(text))
        return client.receive()


@with_systemd
@every_transport
def test_a_socket_with_a_service_s_name_takes_the_place_of_its_listen(echod, workdir, sockets, listen):
    address = sockets.open("echo", listen)
    server = echod(echo("unix://$DIR/configured"), **sockets.options())
    assert server.log.matches(r" info echo: sockets from the service manager take the place of listen$")
    assert server.addresses("echo") == [address]
    assert not (workdir / "configured").exists()
    assert ask(address, workdir) == b"hello"


@with_systemd
def test_a_listen_that_is_not_used_collides_with_nothing(echod, workdir, sockets):
    """The service manager's socket takes its place; -t cannot know of it."""
    address = sockets.open("one")
    service = {"type": "echo", "listen": f"tcp://127.0.0.1:{harness.free_port()}"}
    server = echod({"one": service, "two": service}, **sockets.options())
    assert ask(address, workdir) == ask(server.address("two"), workdir) == b"hello"
    assert server.reload()
    assert run_echod("-c", server.config, "-t").returncode == 78


# A network of its own, and a socket of a multicast group in it.
PASS_GROUP = """
import os, socket, subprocess, sys
for command in ("link add lan0 type veth peer name lan1", "link set lan1 up",
                "link set lan0 up", "addr add 10.9.8.1/24 dev lan0"):
    subprocess.run(["ip", *command.split()], check=True)
sock = socket.socket(type=socket.SOCK_DGRAM)
sock.bind(("239.1.2.3", 9100))
os.dup2(sock.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="in", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[1], sys.argv[1:])
"""


@with_systemd
@needs_root
@needs_namespaces
def test_a_group_s_socket_joins_again_when_its_network_comes_back(echod):
    server = echod(
        {"in": {"type": "receiver", "listen": "udp://*:0", "interface": "lan0"},
         "beacon": {"send_to": "udp://239.1.2.3:9100", "interface": "lan0", "interval": "100ms"}},
        wrapper=("unshare", "-n", sys.executable, "-c", PASS_GROUP))  # fmt: skip

    def ip(command):
        run = ["nsenter", "-t", str(server.pid), "-n", "ip", *command.split()]
        subprocess.run(run, check=True, timeout=DEADLINE)

    mark = 0
    for _ in range(2):
        server.log.wait(r"info in 10\.9\.8\.1:\d+: \d+\.\d\d$", mark, count=2)
        ip("link del lan0")
        server.log.wait(r"warning in: cannot join udp://239\.1\.2\.3:9100: No such device; tried", mark)
        mark = server.log.mark()
        ip("link add lan0 type veth peer name lan1")
        ip("link set lan1 up")
        ip("link set lan0 up")
        ip("addr add 10.9.8.1/24 dev lan0")
        server.log.wait(r"info in: listening on udp://239\.1\.2\.3:9100", mark)


@with_systemd
def test_listeners_say_who_has_opened_them(echod, sockets):
    address = sockets.open("echo", "tcp://127.0.0.1:0")
    server = echod({"echo": {"listen": "udp://127.0.0.1:0"},
                    "control": {"listen": "unix://$DIR/control"}}, **sockets.options())  # fmt: skip
    with console(server) as client:
        echo, control = client.ask(b"listeners")["listeners"]
        text, _ = client.request(b"listeners")
    assert (echo["address"], echo["inherited"], echo["file"]) == (str(address), True, None)
    assert (control["inherited"], control["file"]) == (False, str(server.config))
    assert text[1].endswith(b" the service manager")


@with_systemd
@every_stream
def test_who_came_before_the_daemon_is_served(echod, sockets, listen):
    address = sockets.open("echo", listen)
    with harness.connect(address) as client:
        client.send(b"early")
        echod(echo(), **sockets.options())
        assert client.exactly(5) == b"early"


@with_systemd
def test_clients_of_an_inherited_socket_are_probed(echod, sockets):
    """Who waits in its queue has come before it was ours."""
    address = sockets.open("echo", "tcp://127.0.0.1:0")
    with harness.connect(address) as early:
        server = echod(echo(keepalive=1000), **sockets.options())
        with harness.connect(address) as client:
            for one in (early, client):
                one.send(b"a")
                assert one.exactly(1) == b"a"
                assert 900 <= one.probed_in() <= 1000
            assert server.reload(echo(keepalive=2000))
            for one in (early, client):
                assert 1900 <= one.probed_in() <= 2000


@with_systemd
def test_a_service_gets_all_sockets_of_its_name(echod, workdir, sockets):
    listen = [TCP, UDP, "unix://$DIR/a", "unixgram://$DIR/b", TCP]
    addresses = [sockets.open("echo", one) for one in listen]
    server = echod(echo(), **sockets.options())
    assert server.addresses("echo") == addresses
    assert [ask(address, workdir) for address in addresses] == [b"hello"] * 5
    assert len(server.log.matches("from the service manager")) == 1


@with_systemd
def test_an_inherited_socket_that_everybody_may_reach_is_warned_of(echod, sockets):
    sockets.open("kv", "tcp://0.0.0.0:0")
    server = echod({"kv": {"listen": TCP}}, **sockets.options())
    server.log.wait(r" warning services\.kv: tcp://0\.0\.0\.0:\d+, .* lets everybody .*; restrict it with allow")


@with_systemd
def test_the_warning_of_an_inherited_socket_is_in_the_log_file(echod, sockets, workdir):
    sockets.open("kv", "tcp://0.0.0.0:0")
    echod({"kv": {"listen": TCP}}, log={"target": "$DIR/log"}, **sockets.options())
    lines = (workdir / "log").read_text().splitlines()
    assert " starting, logging to " in lines[0]
    assert [line for line in lines if " lets everybody " in line]


@with_systemd
def test_services_without_a_socket_listen_as_configured(echod, workdir, sockets):
    address = sockets.open("echo")
    server = echod({**echo(), "shout": {"type": "upper", "listen": TCP}}, **sockets.options())
    assert ask(address, workdir) == b"hello"
    assert ask(server.address("shout"), workdir) == b"HELLO"
    assert server.address("shout") != address


@with_systemd
@every_transport
def test_an_inherited_socket_survives_reloads(echod, workdir, sockets, listen):
    address = sockets.open("echo", listen)
    server = echod(echo(), **sockets.options())
    fds = server.fds()
    for backlog in (10, 20):
        assert server.reload(echo(["tcp://127.0.0.1:1", "udp://127.0.0.1:1"], backlog=backlog))
        assert ask(address, workdir) == b"hello"
    wait_until(lambda: server.fds() == fds, "no descriptor was lost")
    assert len(server.log.matches("from the service manager")) == 1


@with_systemd
def test_clients_of_an_inherited_socket_survive_a_reload(echod, sockets):
    sockets.open("echo")
    server = echod(echo(), **sockets.options())
    with server.connect("echo") as client:
        client.send(b"a")
        assert client.exactly(1) == b"a"
        assert server.reload(echo(UDP))
        client.send(b"b")
        assert client.exactly(1) == b"b"


@with_systemd
def test_a_reload_may_give_the_socket_to_another_kind_of_service(echod, workdir, sockets):
    address = sockets.open("echo")
    server = echod(echo(), **sockets.options())
    assert server.reload(echo(type="upper"))
    assert ask(address, workdir) == b"HELLO"


@with_systemd
@pytest.mark.parametrize("services, text", [
    ({"other": {"type": "echo", "listen": TCP}}, "which is no service"),
    ({**echo(enabled=False), "other": {"type": "echo", "listen": TCP}},
     "echo, which is not enabled"),
    (echo(type="kv"), "kv is a service for streams only"),
], ids=["gone", "disabled", "other-transport"])
def test_a_reload_that_would_leave_a_socket_alone_is_refused(echod, workdir, sockets, services, text):
    stream, datagram = sockets.open("echo", TCP), sockets.open("echo", UDP)
    server = echod(echo(), **sockets.options())
    assert not server.reload(services)
    server.log.wait(re.escape(text))
    assert ask(stream, workdir) == ask(datagram, workdir) == b"hello"


@with_systemd
def test_another_service_cannot_take_the_address_away(echod, workdir, sockets):
    address = sockets.open("echo")
    server = echod(echo(), **sockets.options())
    assert not server.reload({"a": {"type": "upper", "listen": str(address)}, **echo()})
    assert ask(address, workdir) == b"hello"


@with_systemd
def test_a_unix_path_is_left_to_whoever_has_made_it(echod, workdir, sockets):
    sockets.open("echo", "unix://$DIR/path")
    server = echod(echo(), **sockets.options())
    server.stop()
    assert (workdir / "path").exists()


@with_systemd
def test_no_descriptor_is_passed_on(echod, workdir, sockets):
    for listen in [TCP, UDP, "unix://$DIR/a", "unixgram://$DIR/b"]:
        sockets.open("echo", listen)
    server = echod(echo(), **sockets.options())
    harness.descriptors(server.pid)  # or it is skipped
    for info in Path(f"/proc/{server.pid}/fdinfo").iterdir():
        flags = int(re.search(r"flags:\s+(\d+)", info.read_text())[1], 8)
        assert int(info.name) <= 2 or flags & os.O_CLOEXEC, info.name
    assert "LISTEN_FDS" in Path(f"/proc/{server.pid}/environ").read_text()
    environment = {"command": ["/usr/bin/env"], "listen": TCP}
    assert server.reload({**echo(), "exec": environment})
    with server.connect("exec") as client:
        assert b"LISTEN" not in client.rest()


def refused(fleet, sockets, services, text, status=78, **environment):
    server = fleet.launch(services, **sockets.options(**environment))
    server.wait_stopped_with(status, text)


@with_systemd
@pytest.mark.parametrize("name, text", [
    ("ecoh", 'is for "ecoh", which is no service; did you mean "echo"?'),
    ("unknown", 'is for "unknown", which is no service'),
    ("off", "is for off, which is not enabled"),
], ids=["misspelt", "without-a-name", "disabled"])
def test_a_name_that_matches_nothing_is_an_error(fleet, sockets, name, text):
    sockets.open(name)
    off = {"type": "echo", "listen": TCP, "enabled": False}
    refused(fleet, sockets, {**echo(), "off": off}, text)


@with_systemd
@pytest.mark.parametrize("kind, listen, text", [
    ("kv", UDP, "expected tcp://, unix://, redis:// or redis+unix://"),
    ("beacon", UDP, "beacon does not listen"),
    ("echo", "udp://239.255.77.1:0", "only a receiver joins one"),
], ids=["transport", "none", "group"])
def test_a_socket_that_its_service_cannot_serve_is_an_error(fleet, sockets, kind, listen, text):
    sockets.open("x", listen)
    settings = {"send_to": "udp://127.0.0.1:9"} if kind == "beacon" else {"listen": TCP}
    refused(fleet, sockets, {"x": {"type": kind, **settings}}, text)


@with_systemd
def test_a_stream_that_does_not_listen_is_an_error(fleet, sockets):
    sockets.open("echo", backlog=None)
    refused(fleet, sockets, echo(), "expected a socket that listens, not a connection")


@with_systemd
@pytest.mark.parametrize("make, text", [
    (lambda: open("/dev/null", "rb"), "Socket operation on non-socket"),
    (lambda: socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET), "expected a TCP, UDP or Unix"),
], ids=["file", "seqpacket"])
def test_what_is_no_socket_of_ours_is_an_error(fleet, sockets, make, text):
    sockets.add("echo", make())
    refused(fleet, sockets, echo(), text)


@with_systemd
def test_sockets_for_another_process_are_not_ours(echod, workdir, sockets):
    inherited = sockets.open("echo")
    server = echod(echo(), **sockets.options(LISTEN_PID="1"))
    assert server.address("echo") != inherited
    assert ask(server.address("echo"), workdir) == b"hello"


@with_systemd
def test_more_names_than_sockets_are_an_error(fleet, sockets):
    sockets.open("echo")
    refused(fleet, sockets, echo(), "the sockets of the service manager", 1,
            LISTEN_FDNAMES="echo:echo")


@with_systemd
@every_datagram
def test_the_first_datagram_is_not_lost(echod, sockets, workdir, listen):
    address = sockets.open("echo", listen)
    options = {"directory": workdir} if address.transport == "unixgram" else {}
    with harness.connect(address, **options) as client:
        client.send(b"early")
        echod(echo(), **sockets.options())
        assert client.receive() == b"early"


@with_systemd
def test_a_group_is_joined_by_the_receiver_that_gets_its_socket(echod, sockets):
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.bind(("239.255.77.1", 0))
    sockets.add("receiver", sock)
    server = echod({"receiver": {"listen": UDP, "interface": "lo"}}, **sockets.options())
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        sender.sendto(b"to the group", sock.getsockname())
    server.log.wait("to the group")


@with_systemd
@pytest.mark.skipif(not program("systemd-socket-activate"), reason="no systemd-socket-activate")
@pytest.mark.parametrize("datagram", [False, True], ids=["stream", "datagram"])
def test_systemd_socket_activate_starts_it(fleet, workdir, datagram):
    port = harness.free_port()
    kind = ["--datagram"] if datagram else []
    server = fleet.launch(echo(), wrapper=(
        program("systemd-socket-activate"), *kind, "-l", f"127.0.0.1:{port}", "--fdname=echo"))
    server.log.wait("Listening on")
    address = Address.parse(f"{'udp' if datagram else 'tcp'}://127.0.0.1:{port}")
    assert ask(address, workdir) == b"hello"
    assert server.wait_ready().addresses("echo") == [address]


@pytest.mark.skipif(HAS_SYSTEMD, reason="built with libsystemd")
def test_a_build_without_libsystemd_says_so_once(echod, workdir, sockets, manager):
    sockets.open("echo")
    server = echod(echo(), **sockets.options(**manager.environment))
    assert len(server.log.matches("warning echod: .*built without libsystemd")) == 1
    assert ask(server.address("echo"), workdir) == b"hello"
    server.stop()
    assert manager.drain() == []
