"""Datagrams: no loops, no amplifier, nothing truncated."""

import itertools
import os
import random
import re
import select
import signal
import socket
import struct
import time

import pytest

from harness import DEADLINE, connect, run_echod, to_config, wait_until
from transports import needs_ipv6, needs_root, own_address

UDP = "udp://127.0.0.1:0"
SO_RCVBUFFORCE = 33  # Python does not name it


def loopback_host():
    """An address of 127.0.0.0/8 that no other test uses: well-known ports are free there."""
    return f"127.{random.randint(16, 250)}.{random.randint(0, 250)}.{random.randint(1, 250)}"


def forge(source_port, target_port, payload, source="127.0.0.1", target="127.0.0.1"):
    """Sends a datagram that claims to come from another socket's port."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as raw:
        raw.bind((source, 0))
        header = struct.pack("!HHHH", source_port, target_port, 8 + len(payload), 0)
        raw.sendto(header + payload, (target, 0))


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF or 0xFFFF


def forge_ipv6(source_port, port, payload, source, target="::1"):
    """Sends an IPv6 datagram with any source address; the payload has an even length."""
    ends = b"".join(socket.inet_pton(socket.AF_INET6, host) for host in (source, target))
    length = 8 + len(payload)
    pseudo = ends + struct.pack("!IxxxB", length, socket.IPPROTO_UDP)
    total = checksum(pseudo + struct.pack("!HHHH", source_port, port, length, 0) + payload)
    packet = struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_UDP, 64) + ends
    packet += struct.pack("!HHHH", source_port, port, length, total) + payload
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.sendto(packet, (target, 0))


class Sniffer:
    """Sees every IPv4 datagram that arrives on this host from or at one of the ports."""

    def __init__(self, *ports):
        self.ports = ports
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        self.sock.settimeout(DEADLINE)
        # Other tests flood the same loopback.
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def packet(self):
        packet = self.sock.recv(1 << 16)
        start = 4 * (packet[0] & 15)
        return *struct.unpack("!HH", packet[start : start + 4]), packet[start + 8 :]

    def until(self, last):
        """(source port, target port, payload) of all until one with the payload `last`."""
        seen, end = [], time.monotonic() + DEADLINE
        while not seen or seen[-1][2] != last:
            packet = self.packet()
            if packet[0] in self.ports or packet[1] in self.ports:
                seen.append(packet)
            assert time.monotonic() < end, f"{last} was not seen"
        return seen


def is_answered(server, name="echo", host=None, **options):
    """Whether an answer comes before that to a later question of somebody else."""
    with server.connect(name, host=host, **options) as client:
        client.send(b"hello")
        with server.connect(name, host=host) as fence:
            fence.ask(b"fence")
        return bool(select.select([client.sock], [], [], 0)[0])


# --- 1: sources and targets that cannot be answered ---


@needs_root
def test_source_port_0_is_dropped(echod):
    server = echod({"echo": {"listen": UDP}})
    port = server.address("echo").port
    with Sniffer(port) as sniffer, server.connect("echo") as client:
        forge(0, port, b"to nobody")
        client.ask(b"fence")
        seen = sniffer.until(b"fence")
    assert (port, 0, b"to nobody") not in seen


@pytest.mark.parametrize("listen", [
    "udp://0.0.0.0:0", pytest.param("udp://[::]:0", marks=needs_ipv6),
    pytest.param("udp://*:0", marks=needs_ipv6),
    pytest.param("udp://[::ffff:0.0.0.0]:0", marks=needs_ipv6), "udp://127.255.255.255:0",
])  # fmt: skip
def test_broadcast_is_not_answered(echod, listen):
    server = echod({"echo": {"listen": [listen, "udp://127.0.0.1:0"]}})
    port = server.addresses("echo")[0].port
    with socket.socket(type=socket.SOCK_DGRAM) as shouter:
        shouter.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        shouter.bind(("127.0.0.1", 0))
        shouter.sendto(b"anybody there?", ("127.255.255.255", port))
        if "127" not in listen:  # the one that gets the broadcast serves what comes behind it, too
            with connect(server.addresses("echo")[0].at("127.0.0.1")) as fence:
                fence.ask(b"fence")

        def is_dropped():
            server.send_signal(signal.SIGUSR2)
            return server.log.matches(r"echo: errors: dropped_source=1$")

        wait_until(is_dropped, "the broadcast is dropped")
        assert not select.select([shouter], [], [], 0)[0]


@needs_ipv6
@pytest.mark.parametrize("listen", ["udp://0.0.0.0:0", "udp://*:0"])
def test_broadcast_is_heard_by_a_receiver(echod, listen):
    server = echod({"receiver": {"listen": listen}})
    with socket.socket(type=socket.SOCK_DGRAM) as shouter:
        shouter.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        shouter.sendto(b"to all", ("127.255.255.255", server.address("receiver").port))
    server.log.wait(r"info receiver \S+: to all$")


@needs_root
@needs_ipv6
@pytest.mark.parametrize("listen", ["udp://*:0", "udp://[::]:0", "udp://[::1]:0"])
@pytest.mark.parametrize("ipv6_only", [False, True], ids=["dual", "ipv6-only"])
def test_mapped_source_on_the_wire_is_not_ipv4(echod, listen, ipv6_only):
    """Neither by the rules nor in the log: an IPv6 packet may claim to come from ::ffff:127.0.0.1."""
    server = echod({
        "receiver": {"listen": listen, "ipv6_only": ipv6_only, "deny": "::/0"},
        "control": {"listen": "unix://$DIR/control"},
    })  # fmt: skip
    port = server.address("receiver").port
    for source in ("::ffff:127.0.0.1", "::ffff:192.0.2.1", "::ffff:0.0.0.0"):
        forge_ipv6(40000, port, b"from a mapped source", source)
    for source in ("::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1"):
        forge_ipv6(40000, port, b"from an IPv6 source!", source)
    wait_until(lambda: drops(server, "receiver") == {"source": 3, "denied": 3}, "each is dropped")
    assert not server.log.matches("mapped source")


@needs_ipv6
def test_ipv4_is_served_by_a_socket_for_both(echod):
    server = echod({"echo": {"listen": "udp://[::]:0", "allow": "127.0.0.1"}})
    assert is_answered(server, host="127.0.0.1")


# --- 2: echod's own ports ---


@needs_root
def test_own_ports_are_not_answered(echod):
    server = echod({"echo": {"listen": UDP}, "time": {"listen": UDP}})
    echo, clock = server.address("echo").port, server.address("time").port
    with Sniffer(echo, clock) as sniffer, server.connect("echo") as client:
        forge(clock, echo, b'{"type": "time"}')
        forge(echo, clock, b'{"type": "time"}')
        forge(echo, echo, b"self")
        client.ask(b"fence")
        seen = sniffer.until(b"fence")
    loops = [packet for packet in seen if packet[0] in (echo, clock) and packet[1] in (echo, clock)]
    assert len(loops) == 3, "only what the test has forged"


# --- 3: ports of other responders ---


@pytest.mark.parametrize("port", [7, 53, 1023, 1900, 3702, 5353, 11211])
@pytest.mark.parametrize("reply_ports", ["unprivileged", "any"])
def test_responders_ports(echod, port, reply_ports):
    if port < 1024 and os.geteuid() != 0:
        pytest.skip("needs root")
    server = echod({"echo": {"listen": "udp://0.0.0.0:0", "reply_ports": reply_ports}})
    source = (loopback_host(), port)
    assert is_answered(server, host="127.0.0.1", source=source) == (reply_ports == "any")


@pytest.mark.parametrize("port", [1899, 1901, 5354, 11210])
def test_ports_beside_them_are_answered(echod, port):
    server = echod({"echo": {"listen": "udp://0.0.0.0:0"}})
    assert is_answered(server, host="127.0.0.1", source=(loopback_host(), port))


# --- loops between two daemons ---


PAIRS = list(itertools.combinations_with_replacement(["echo", "upper", "time", "daytime", "rfc868"], 2))
REPEATS = 20  # answers of a service to the same request of the same peer within a second


@needs_root
@pytest.mark.parametrize("payload", [b"PING", b'{"type": "time"}'], ids=["text", "json"])
@pytest.mark.parametrize("first, second", PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_loop_between_two_daemons_ends(echod, first, second, payload):
    one, two = echod({first: {"listen": UDP}}), echod({second: {"listen": UDP}})
    ports = (one.address(first).port, two.address(second).port)
    with Sniffer(*ports) as sniffer:
        forge(ports[0], ports[1], payload)
        forge(ports[1], ports[0], payload)
        seen = packets_until_quiet(sniffer, ports)
    # Both have answered the one forged datagram and the other, each in its own way.
    assert seen <= 2 + 2 * 2 * REPEATS


def packets_until_quiet(sniffer, ports):
    """The packets between both ports, until none has come for a while."""
    seen = 0
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        if not select.select([sniffer.sock], [], [], 0.1)[0]:
            continue
        source, target, _ = sniffer.packet()
        if source in ports and target in ports:
            seen += 1
            end = time.monotonic() + 0.3
            assert seen < 5000, "the loop goes on"
    return seen


@needs_root
def test_forged_sources_get_no_more_than_was_sent(echod):
    """Whoever they are, each byte that falls on them has cost the forger one."""
    server = echod({"echo": {"listen": UDP}})
    port, sent, received = server.address("echo").port, 0, 0
    with Sniffer(port) as sniffer, server.connect("echo") as client:
        for number in range(300):
            payload = b"x" * (number % 50)
            forge(20000 + number % 7, port, payload)
            sent += len(payload)
            if number % 50 == 49:  # before the queue of the sniffer is full
                client.ask(b"fence %d" % number)
                packets = sniffer.until(b"fence %d" % number)
                received += sum(len(p[2]) for p in packets if p[0] == port and p[1] < 20007)
    assert 0 < received <= sent


# --- 6: repeats ---


def test_same_question_over_and_over_is_muted(echod):
    server = echod({"echo": {"listen": UDP}})
    with server.connect("echo") as client, server.connect("echo") as other:
        for _ in range(20):
            assert client.ask(b"same") == b"same"
        for _ in range(80):
            client.send(b"same")
        assert other.ask(b"fence") == b"fence"
        assert len(client.received()) <= 1
        server.log.wait(rf"echo 127\.0\.0\.1:{client.port}: .*muted")
        assert len(server.log.matches("muted")) == 1


def test_only_the_question_is_muted(echod):
    """And no other of the same peer, whoever has sent it in the peer's name."""
    server = echod({"echo": {"listen": UDP}})
    with server.connect("echo") as client:
        for _ in range(REPEATS):
            assert client.ask(b"same") == b"same"
        client.send(b"same")
        server.log.wait(rf"echo 127\.0\.0\.1:{client.port}: .*muted")
        for number in range(100):
            assert client.ask(b"%d" % number) == b"%d" % number
        client.send(b"same")
        assert client.ask(b"fence") == b"fence"


def test_slow_loop_is_muted(echod):
    """A service that is 55 ms away sends back what it gets, and never 20 times within a second."""
    server, answers = echod({"echo": {"listen": UDP}}), 0
    with server.connect("echo") as client, server.connect("echo") as other:
        for number in range(60):
            client.send(b"round and round")
            assert other.ask(b"fence %d" % number) == b"fence %d" % number
            if not client.received():
                break
            answers += 1
            time.sleep(0.055)  # the way
        server.log.wait(rf"echo 127\.0\.0\.1:{client.port}: .*muted for 60 s")
        assert answers == 45
        assert client.ask(b"something else") == b"something else"


def test_different_questions_are_not_muted(echod):
    server = echod({"echo": {"listen": UDP}})
    with server.connect("echo") as client:
        for number in range(500):
            assert client.ask(b"%d" % number) == b"%d" % number


def test_loopback_is_exempt_from_the_reply_rate(echod):
    server = echod({"echo": {"listen": UDP, "reply_rate": 1}})
    with server.connect("echo") as client:
        for number in range(100):
            assert client.ask(b"%d" % number) == b"%d" % number


@pytest.mark.parametrize("rate, most", [(5, 15), (0, 60)], ids=["limited", "no-limit"])
@pytest.mark.parametrize("name", ["echo", "time"])
def test_reply_rate(echod, name, rate, most):
    host = own_address()
    server = echod({name: {"listen": "udp://0.0.0.0:0", "reply_rate": rate}})
    with server.connect(name, host=host, source=(host, 0)) as client:
        for number in range(60):
            client.send(b'{"type": "time", "id": %d}' % number)
        with server.connect(name, host="127.0.0.1") as fence:
            fence.ask(b"fence")
        answers = len(client.received())
    assert min(5, most) <= answers <= most
    assert rate or answers == 60


def test_large_answers_use_up_the_rate(echod):
    host = own_address()
    server = echod({"echo": {"listen": "udp://0.0.0.0:0", "reply_rate": 100}})
    answers = 0
    with server.connect("echo", host=host, source=(host, 0)) as client:
        with server.connect("echo", host="127.0.0.1") as fence:
            for number in range(20):
                client.send(b"%d" % number + b"x" * 30_000)
                fence.ask(b"fence %d" % number)
                answers += len(client.received())
    assert 5 <= answers < 15


# --- whole or not at all ---


@pytest.mark.parametrize("size", [65_507, 65_536, 70_000, 150_000])
def test_unix_datagram_is_answered_whole_or_not_at_all(echod, size):
    server = echod({"echo": {"listen": "unixgram://$DIR/echo"}})
    data = os.urandom(size)
    with server.connect("echo") as client, server.connect("echo") as fence:
        client.send(data)
        fence.ask(b"fence")
        assert client.received() in ([data], []), "truncated"
        assert client.ask(b"next") == b"next"


def test_unix_client_without_an_address_is_dropped(echod):
    server = echod({"echo": {"listen": "unixgram://$DIR/echo"}})
    with server.connect("echo", named=False) as nameless, server.connect("echo") as named:
        nameless.send(b"hello")
        assert named.ask(b"fence") == b"fence"


def test_client_that_is_gone_before_its_answer_is_one_log_line(echod, workdir):
    server = echod({"echo": {"listen": "unixgram://$DIR/echo"}})
    with server.connect("echo") as leaver, server.connect("echo") as stays:
        os.unlink(leaver.path)
        leaver.send(b"hello")
        assert stays.ask(b"fence") == b"fence"
        server.log.wait(r"echo .*(No such file|ENOENT)")


def test_client_that_does_not_read_its_answers_blocks_nobody(echod, workdir):
    """Not a connected one: for that the kernel bounds nothing but the daemon's own send buffer."""
    server = echod({"echo": {"listen": "unixgram://$DIR/echo"}})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf, server.connect("echo") as other:
        deaf.settimeout(DEADLINE)
        deaf.bind(str(workdir / "deaf"))
        for number in range(500):
            deaf.sendto(b"%d" % number, server.address("echo").path)
        assert other.ask(b"fence") == b"fence"


def test_closed_udp_client_does_not_disturb_the_next(echod):
    """Its ICMP error must not be taken for the end of the service's socket."""
    server = echod({"echo": {"listen": UDP}})
    for number in range(20):
        with server.connect("echo") as leaver:
            leaver.send(b"%d" % number)
    with server.connect("echo") as client:
        assert client.ask(b"hello") == b"hello"


def test_abstract_autobound_client_is_answered(echod):
    server = echod({"echo": {"listen": "unixgram://$DIR/echo"}})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.settimeout(DEADLINE)
        client.bind("")
        client.connect(server.address("echo").path)
        client.send(b"hello")
        assert client.recv(100) == b"hello"


# --- what was dropped ---


def drops(server, name):
    """The counts of the service, by reason."""
    pattern = rf'echod_dropped_total{{service="{name}",reason="(\w+)"}} (\d+)'
    with server.connect("control") as client:
        client.send(b"stats\n")
        client.half_close()
        found = re.findall(pattern, client.rest().decode())
    return {reason: int(count) for reason, count in found if count != "0"}


@needs_root
def test_each_drop_is_counted_by_its_reason(echod):
    """In the order of the guards: a datagram that several of them would drop is the first one's."""
    server = echod({
        "echo": {"listen": "udp://127.0.0.1:0", "deny": ["127.0.0.9", "127.0.0.2"]},
        "time": {"listen": "udp://127.0.0.1:0", "reply_ports": "any"},
        "gram": {"type": "echo", "listen": "unixgram://$DIR/gram"},
        "control": {"listen": "unix://$DIR/control"},
    })  # fmt: skip
    echo, clock = server.address("echo").port, server.address("time").port
    forge(0, echo, b"from nobody", source="127.0.0.9")
    forge(clock, echo, b"from itself", source="127.0.0.9")
    forge(53, echo, b"from a resolver", source="127.0.0.9")
    forge(40000, echo, b"from a stranger", source="127.0.0.9")
    with server.connect("echo", source=("127.0.0.1", 0)) as client:

        def is_muted():
            for _ in range(2 * REPEATS):
                client.send(b"again and again")
            return "repeat" in drops(server, "echo")

        wait_until(is_muted, "it repeats itself")
    dropped = drops(server, "echo")
    assert dropped.pop("repeat") >= REPEATS
    assert dropped == {"source": 1, "own_port": 1, "responder": 1, "denied": 1}
    with server.connect("time") as client:
        client.send(b'{"error": "unknown request"}')
        assert client.ask(b"?") == b'{"error": "invalid JSON"}'
    forge(53, clock, b"")
    wait_until(lambda: drops(server, "time") == {"answer": 2}, "an answer is not answered")
    with server.connect("gram", named=False) as nameless, server.connect("gram") as named:
        nameless.send(b"hello")
        named.send(b"x" * 70_000)
        assert named.ask(b"fence") == b"fence"
    assert drops(server, "gram") == {"unnamed": 1, "truncated": 1}


@needs_root
@needs_ipv6
@pytest.mark.parametrize("listen, sender, host, nobody", [
    ("udp://0.0.0.0:0", forge, "127.0.0.9", None),
    ("udp://[::]:0", forge, "127.0.0.9", None),
    ("udp://[::]:0", forge_ipv6, "fd00::9", "::"),
    ("udp://[::1]:0", forge_ipv6, "fd00::9", "::"),
])  # fmt: skip
def test_guards_are_the_same_for_both_families(echod, listen, sender, host, nobody):
    server = echod({
        "echo": {"listen": listen, "deny": host},
        "other": {"type": "echo", "listen": listen},
        "control": {"listen": "unix://$DIR/control"},
    })  # fmt: skip
    port, own = server.address("echo").port, server.address("other").port
    for source_port in (0, own, port, 53, 11211, 40000):
        sender(source_port, port, b"from anybody", source=host)
    sender(40000, port, b"", source=host)
    if nobody:
        sender(own, port, b"from nobody!", source=nobody)
    expected = {"source": 2 if nobody else 1, "own_port": 2, "responder": 2, "denied": 2}
    wait_until(lambda: drops(server, "echo") == expected, "each is counted by the first guard")


# --- who may ask ---


@pytest.mark.parametrize(
    "listen, settings, warned",
    [("udp://*:9001", {}, True), ("udp://0.0.0.0:9001", {}, True), ("udp://[::]:9001", {}, True),
     ("udp://198.51.100.1:9001", {}, True), ("udp://[2001:db8::1]:9001", {}, True),
     ("udp://*:9001", {"allow": ["10.0.0.0/8"]}, False),
     ("udp://127.0.0.1:9001", {}, False), ("udp://[::1]:9001", {}, False),
     ("udp://10.1.2.3:9001", {}, False), ("udp://172.31.0.1:9001", {}, False),
     ("udp://192.168.0.1:9001", {}, False), ("udp://169.254.0.1:9001", {}, False),
     ("udp://[::ffff:10.1.2.3]:9001", {}, False), ("udp://[::ffff:198.51.100.1]:9001", {}, True),
     ("udp://[fe80::1%lo]:9001", {}, False), ("udp://[fd00::1]:9001", {}, False),
     ("udp://localhost:9001", {}, False), ("tcp://*:9001", {}, False),
     ("unixgram:///run/time", {}, False)],
)  # fmt: skip
def test_check_warns_of_answers_to_everybody(write, listen, settings, warned):
    config = to_config({"time": {"listen": listen, **settings}})
    result = run_echod("-c", write("test.conf", config), "-t")
    assert result.returncode == 0
    assert ("warning: " in result.stderr and "services.time.listen" in result.stderr) == warned


def test_start_and_reload_warn_of_answers_to_everybody(echod):
    services = {"time": {"listen": "udp://0.0.0.0:0"}}
    server = echod(services)
    assert server.log.matches(r" warning echod: .*services\.time\.listen: .*allow")
    assert server.reload(services)
    assert server.log.matches(r" warning reload: .*services\.time\.listen: .*allow")
