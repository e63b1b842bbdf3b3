"""beacon: says the time, or its payload, to its addresses at every interval."""

import re
import shutil
import signal
import socket
import struct
import subprocess
import time

import pytest

from harness import DEADLINE, free_port, run_echod, to_config
from transports import needs_ipv6, needs_root

IP_RECVTTL = 12  # as <linux/in.h> has it; Python does not name it


class Listener:
    """A socket that a beacon is to reach."""

    def __init__(self, family=socket.AF_INET, at=("127.0.0.1", 0)):
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.settimeout(DEADLINE)
        self.sock.bind(at)
        self.port = self.sock.getsockname()[1] if family != socket.AF_UNIX else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def join(self, group):
        request = socket.inet_aton(group) + socket.inet_aton("127.0.0.1")
        self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)

    def receive(self):
        return self.sock.recv(1 << 17)


def beacon(send_to, **settings):
    return {"beacon": {"send_to": send_to, "interval": "100ms", **settings}}


# --- what is said, and when ---


def test_says_the_time(echod):
    with Listener() as listener:
        begin = time.time()
        echod(beacon(f"udp://127.0.0.1:{listener.port}"))
        for _ in range(3):
            text = listener.receive()
            assert re.fullmatch(rb"\d+\.\d\d\n", text)
            assert begin - 0.01 <= float(text) <= time.time()


@pytest.mark.parametrize("payload", ["hello", "hello\n", "", "\x01\x7f\u00e4", "x" * 65507])
def test_says_its_payload_as_it_is(echod, payload):
    with Listener() as listener:
        echod(beacon(f"udp://127.0.0.1:{listener.port}", payload=payload))
        assert listener.receive() == payload.encode()
        assert listener.receive() == payload.encode()


def test_the_first_comes_at_once(echod):
    """Not after the interval, which is an hour here."""
    with Listener() as listener:
        echod(beacon(f"udp://127.0.0.1:{listener.port}", interval="1h"))
        listener.receive()


def test_the_interval_does_not_drift(echod):
    with Listener() as listener:
        echod(beacon(f"udp://127.0.0.1:{listener.port}"))
        listener.receive()
        begin = time.monotonic()
        for _ in range(20):
            listener.receive()
        assert abs(time.monotonic() - begin - 2.0) < 0.09


def test_a_stopped_beacon_does_not_catch_up(echod):
    with Listener() as listener:
        server = echod(beacon(f"udp://127.0.0.1:{listener.port}"))
        listener.receive()
        server.send_signal(signal.SIGSTOP)
        time.sleep(1)
        listener.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                listener.receive()
        listener.sock.settimeout(DEADLINE)
        server.send_signal(signal.SIGCONT)
        listener.receive()
        begin = time.monotonic()
        for _ in range(3):
            listener.receive()
        assert time.monotonic() - begin > 0.15


# --- to whom ---


@needs_ipv6
def test_to_several_addresses_of_every_kind(echod, workdir):
    path = f"{workdir}/in"
    with (
        Listener() as udp4,
        Listener(socket.AF_INET6, ("::1", 0)) as udp6,
        Listener(socket.AF_UNIX, path) as unix,
        Listener(socket.AF_UNIX, f"\0{path}") as abstract,
    ):
        server = echod(beacon([f"udp://127.0.0.1:{udp4.port}", f"udp://[::1]:{udp6.port}",
                               f"unixgram://{path}", f"unixgram://@{path}"]))  # fmt: skip
        for listener in (udp4, udp6, unix, abstract):
            assert re.fullmatch(rb"\d+\.\d\d\n", listener.receive())
        server.log.wait(rf"info beacon: sending to unixgram://{path}$")


def test_to_a_name(echod):
    with Listener() as listener:
        server = echod(beacon(f"udp://localhost:{listener.port}"))
        listener.receive()
        server.log.wait(rf"info beacon: sending to udp://localhost:{listener.port}$")


def test_to_a_broadcast_address(echod):
    with Listener(at=("0.0.0.0", 0)) as listener:
        echod(beacon(f"udp://127.255.255.255:{listener.port}", payload="to all"))
        assert listener.receive() == b"to all"


@pytest.mark.parametrize("ttl", [None, 0, 1, 255])
def test_to_a_group_with_its_ttl(echod, ttl):
    settings = {} if ttl is None else {"ttl": ttl}
    with Listener(at=("239.9.9.9", 0)) as listener:
        listener.join("239.9.9.9")
        listener.sock.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        to = f"udp://239.9.9.9:{listener.port}"
        echod(beacon(to, payload="to the group", interface="lo", **settings))
        data, ancillary, _, _ = listener.sock.recvmsg(100, 100)
    assert data == b"to the group"
    assert struct.unpack("i", ancillary[0][2]) == (2 if ttl is None else ttl,)


def test_to_an_ipv4_group_written_as_ipv6(echod):
    with Listener(at=("239.9.9.9", 0)) as listener:
        listener.join("239.9.9.9")
        listener.sock.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        echod(beacon(f"udp://[::ffff:239.9.9.9]:{listener.port}", interface="lo", ttl=7))
        _, ancillary, _, _ = listener.sock.recvmsg(100, 100)
    assert struct.unpack("i", ancillary[0][2]) == (7,)


def test_beacon_and_receiver_together(echod):
    port = free_port()
    server = echod({**beacon(f"udp://239.1.2.3:{port}", interface="lo"),
                    "in": {"type": "receiver", "listen": f"udp://239.1.2.3:{port}",
                           "interface": "lo"}})  # fmt: skip
    server.log.wait(r" info in [\d.]+:\d+: \d+\.\d\d$", count=3)


# --- what is not there yet ---


def test_a_unix_receiver_that_comes_goes_and_comes_again(echod, workdir):
    path = workdir / "in"
    server = echod(beacon(f"unixgram://{path}"))
    server.log.wait(r"warning beacon: cannot send to \S+/in: No such file or directory; tried")
    with Listener(socket.AF_UNIX, str(path)) as listener:
        listener.receive()
        server.log.wait(r"info beacon: sending to \S+/in again$")
    server.log.wait(r"warning beacon: cannot send to \S+/in: Connection refused; tried")
    path.unlink()
    server.log.wait(r"No such file or directory; tried", count=2)
    with Listener(socket.AF_UNIX, str(path)) as listener:
        listener.receive()
        listener.receive()
    assert len(server.log.matches(r"info beacon: sending to")) == 2


def test_what_does_not_change_is_logged_once(echod, workdir):
    with Listener() as listener:
        server = echod(
            beacon([f"unixgram://{workdir}/nobody", f"udp://127.0.0.1:{listener.port}"])
        )
        for _ in range(10):
            listener.receive()
    assert len(server.log.matches("cannot send")) == 1


def test_a_name_that_nobody_knows_blocks_nothing(echod):
    server = echod({**beacon("udp://no-such-host.invalid:9"),
                    "echo": {"listen": "tcp://127.0.0.1:0"}})  # fmt: skip
    with server.connect("echo") as client:
        assert client.ask(b"hello") == b"hello"
    server.log.wait(r"warning beacon: cannot send to udp://no-such-host.invalid:9: ")


# --- reload ---


def test_reload_changes_payload_and_address(echod):
    with Listener() as first, Listener() as second:
        server = echod(beacon(f"udp://127.0.0.1:{first.port}", payload="one"))
        assert first.receive() == b"one"
        assert server.reload(beacon(f"udp://127.0.0.1:{second.port}", payload="two"))
        assert second.receive() == b"two"


def test_reload_changes_the_interval(echod):
    with Listener() as listener:
        to = f"udp://127.0.0.1:{listener.port}"
        server = echod(beacon(to, interval="1h"))
        listener.receive()
        assert server.reload(beacon(to))
        for _ in range(5):
            listener.receive()


def test_reload_ends_a_beacon(echod):
    with Listener() as listener, Listener() as other:
        to = f"udp://127.0.0.1:{listener.port}"
        server = echod({**beacon(to), "b": {"type": "beacon", "interval": "100ms",
                                            "send_to": f"udp://127.0.0.1:{other.port}"}})  # fmt: skip
        listener.receive()
        assert server.reload({"b": {"type": "beacon", "interval": "100ms",
                                    "send_to": f"udp://127.0.0.1:{other.port}"}})  # fmt: skip
        listener.sock.setblocking(False)
        try:
            while True:
                listener.receive()
        except BlockingIOError:
            pass
        for _ in range(5):
            other.receive()
        with pytest.raises(BlockingIOError):
            listener.receive()


# --- a network of the test's own ---

has_namespaces = (
    shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin") is not None
    and subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True).returncode == 0
)
needs_namespaces = pytest.mark.skipif(not has_namespaces, reason="no network namespaces")


class Namespace:
    """A daemon that starts in a network without any interface that is up."""

    def __init__(self, echod, services):
        self.server = echod(services, wrapper=("unshare", "-n", "--"))
        self.log = self.server.log

    def ip(self, *args):
        command = ["nsenter", "-t", str(self.server.pid), "-n", "ip", *" ".join(args).split()]
        subprocess.run(command, check=True, timeout=DEADLINE)

    def add_interface(self, index=""):
        self.ip(f"link add lan0 {index} type veth peer name lan1")
        self.ip("addr add 10.9.8.1/24 broadcast 10.9.8.255 dev lan0")
        self.ip("link set lan1 up")
        self.ip("link set lan0 up")


@needs_root
@needs_namespaces
@pytest.mark.parametrize("group", ["239.1.2.3", "[ff02::1:2]", "[ff05::1:2]"])
def test_a_network_that_comes_later(echod, group):
    """Both ends wait for the interface, and both find one that has come back as another one."""
    space = Namespace(echod, {
        **beacon(f"udp://{group}:9100", interface="lan0"),
        "in": {"type": "receiver", "listen": f"udp://{group}:9100", "interface": "lan0"},
    })  # fmt: skip
    shown = re.escape(group.rstrip("]"))
    space.log.wait(rf"warning beacon: cannot send to udp://{shown}\S+ No such device; tried")
    space.log.wait(rf"warning in: cannot join udp://{shown}\S+ No such device; tried")
    assert not space.log.matches("in: listening")
    space.add_interface()
    space.log.wait(r"info beacon: sending to \S+ again$")
    space.log.wait(rf"info in: listening on udp://{shown}")
    space.log.wait(r"info in \S+: \d+\.\d\d$", count=2)
    space.ip("link del lan0")
    space.log.wait(r"warning in: cannot join .*: No such device; tried", count=2)
    mark = space.log.mark()
    space.add_interface()
    space.log.wait(r"info in: listening on ", mark)
    space.log.wait(r"info in \S+: \d+\.\d\d$", mark, count=2)


@needs_root
@needs_namespaces
@pytest.mark.parametrize("address, settings", [
    ("239.1.2.3", {}), ("[ff05::1:2]", {}), ("[ff02::1:2%lan0]", {}),
    ("[ff02::1:2%lan0]", {"interface": "lan1"}),
])  # fmt: skip
def test_a_network_that_comes_back_however_it_was_named(echod, address, settings):
    """By the routing table alone, or by a zone, which counts before the key."""
    space = Namespace(echod, {
        **beacon(f"udp://{address}:9100", **settings),
        "in": {"type": "receiver", "listen": f"udp://{address}:9100", **settings},
    })  # fmt: skip
    space.log.wait(r"warning in: cannot join udp://\S+ \w.*; tried again every")
    mark = 0
    for _ in range(3):
        space.add_interface()
        space.ip("route add 224.0.0.0/4 dev lan0")
        space.log.wait(r"info in: listening on udp://", mark)
        space.log.wait(r"info in \S+: \d+\.\d\d$", mark, count=2)
        mark = space.log.mark()
        space.ip("link del lan0")
        space.log.wait(r"warning in: cannot join .*; tried again every", mark)


@needs_root
@needs_namespaces
def test_a_network_that_is_another_one_at_once(echod):
    """Nobody has seen that it was away."""
    space = Namespace(echod, {
        **beacon("udp://239.1.2.3:9100"),
        "in": {"type": "receiver", "listen": "udp://239.1.2.3:9100"},
    })  # fmt: skip
    mark = 0
    for _ in range(2):
        space.add_interface()
        space.ip("route add 224.0.0.0/4 dev lan0")
        space.log.wait(r"info in: listening on udp://", mark)
        space.log.wait(r"info in \S+: \d+\.\d\d$", mark, count=2)
        mark = space.log.mark()
        space.ip("link del lan0")


@needs_root
@needs_namespaces
@pytest.mark.parametrize("group", ["239.1.2.3", "[ff05::1:2]"])
def test_a_network_that_is_another_one_under_the_same_index(echod, group):
    """As an interface that was in another namespace for a moment."""
    space = Namespace(echod, {
        **beacon(f"udp://{group}:9100", interface="lan0"),
        "in": {"type": "receiver", "listen": f"udp://{group}:9100", "interface": "lan0"},
    })  # fmt: skip
    mark = 0
    for _ in range(2):
        space.add_interface("index 77")
        space.log.wait(r"info in: listening on udp://", mark)
        space.log.wait(r"info in \S+: \d+\.\d\d$", mark, count=2)
        mark = space.log.mark()
        space.ip("link del lan0")


@needs_root
@needs_namespaces
def test_an_interface_that_had_no_ipv6_for_a_moment(echod):
    """With an MTU below 1280 it has none, and forgets its groups."""
    space = Namespace(echod, {
        **beacon("udp://[ff05::1:2]:9100", interface="lan0"),
        "in": {"type": "receiver", "listen": "udp://[ff05::1:2]:9100", "interface": "lan0"},
    })  # fmt: skip
    space.add_interface()
    space.log.wait(r"info in \S+: \d+\.\d\d$", count=2)
    space.ip("link set lan0 mtu 1200")
    mark = space.log.mark()
    space.ip("link set lan0 mtu 1500")
    space.log.wait(r"info in: listening on udp://", mark)
    space.log.wait(r"info in \S+: \d+\.\d\d$", mark, count=2)


@needs_root
@needs_namespaces
@pytest.mark.parametrize("address, peer", [("255.255.255.255", "10.9.8.1"),
                                           ("10.9.8.255", "10.9.8.1")])  # fmt: skip
def test_broadcast_on_an_interface_without_a_default_route(echod, address, peer):
    space = Namespace(echod, {
        **beacon(f"udp://{address}:9100", interface="lan0"),
        "in": {"type": "receiver", "listen": "udp://0.0.0.0:9100"},
    })  # fmt: skip
    space.log.wait(r"warning beacon: cannot send to ")
    space.add_interface()
    space.log.wait(rf"info in {re.escape(peer)}:\d+: \d+\.\d\d$", count=2)


@needs_root
@needs_namespaces
def test_unicast_without_a_route_is_tried_again(echod):
    space = Namespace(echod, {
        **beacon("udp://10.9.8.1:9100"), "in": {"type": "receiver", "listen": "udp://*:9100"},
    })  # fmt: skip
    space.log.wait(r"warning beacon: cannot send to \S+: Network is unreachable; tried again")
    space.add_interface()
    space.ip("link set lo up")
    space.log.wait(r"info in \S+: \d+\.\d\d$", count=2)
    assert len(space.log.matches("Network is unreachable")) == 1


@needs_root
@needs_namespaces
def test_a_group_without_an_interface_waits_for_a_route(echod):
    space = Namespace(echod, {
        **beacon("udp://239.1.2.3:9100"),
        "in": {"type": "receiver", "listen": "udp://239.1.2.3:9100"},
    })  # fmt: skip
    space.log.wait(r"warning in: cannot join udp://239.1.2.3:9100: ")
    space.add_interface()
    space.ip("route add 224.0.0.0/4 dev lan0")
    space.log.wait(r"info in 10\.9\.8\.1:\d+: \d+\.\d\d$", count=2)


# --- mistakes ---


@pytest.mark.parametrize(
    "settings, message",
    [({}, "services.beacon.send_to: is missing"),
     ({"send_to": []}, "services.beacon.send_to: expected an address"),
     ({"send_to": "tcp://127.0.0.1:1"}, "only datagrams are sent"),
     ({"send_to": "udp://*:1"}, "* is no destination"),
     ({"send_to": "udp://127.0.0.1:0"}, "port 0 is no destination"),
     ({"send_to": "udp://[ff02::1]:9100"}, "add the key interface"),
     ({"send_to": "udp://[fe80::1]:9100"}, "add the key interface"),
     ({"send_to": "udp://127.0.0.1:9", "interval": 0}, "services.beacon.interval: expected"),
     ({"send_to": "udp://127.0.0.1:9", "ttl": 256}, "services.beacon.ttl: expected"),
     ({"send_to": "udp://127.0.0.1:9", "interface": "a-name-too-long-for-one"},
      "services.beacon.interface: expected the name of an interface"),
     ({"send_to": "udp://127.0.0.1:9", "payload": "x" * 65508}, "at most 65507 bytes"),
     ({"send_to": "udp://127.0.0.1:9", "listen": "udp://127.0.0.1:1"},
      "services.beacon.listen: expected none")],
)  # fmt: skip
def test_mistakes(write, settings, message):
    result = run_echod("-c", write("test.conf", to_config({"beacon": settings})), "-t")
    assert result.returncode == 78
    assert message in result.stderr
