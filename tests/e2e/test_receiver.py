"""receiver: prints the datagrams that come, escaped, with their senders; joins multicast groups."""

import re
import signal
import socket

import pytest

from harness import Datagrams, free_port, run_echod, to_config
from transports import every_datagram, needs_ipv6, needs_root


def send_to_group(group, port, data, interface="127.0.0.1"):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setsockopt(
            socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface)
        )
        sock.sendto(data, (group, port))


def printed(text, name="receiver", peer=r"\S+"):
    """The whole of the line that shows a datagram."""
    return rf"^\S+Z info {name} {peer}: {re.escape(text)}$"


@every_datagram
def test_prints_what_comes_and_says_nothing(echod, listen):
    server = echod({"receiver": {"listen": listen}})
    with server.connect("receiver") as client:
        client.send(b"hello\n")
        server.log.wait(printed("hello"))
        client.send(b"")
        server.log.wait(printed(""))
        assert client.received() == []


def test_the_sender_stands_before_the_text(echod):
    server = echod({"receiver": {"listen": "udp://127.0.0.1:0"}})
    with server.connect("receiver") as client:
        client.send(b"who am I?")
        server.log.wait(printed("who am I?", peer=f"127.0.0.1:{client.port}"))


def test_the_sender_on_a_unix_socket(echod):
    server = echod({"receiver": {"listen": "unixgram://$DIR/in"}})
    with server.connect("receiver") as client:
        client.send(b"named")
        server.log.wait(printed("named", peer=f"unix:{client.path}"))
    with Datagrams(server.address("receiver"), named=False) as client:
        client.send(b"unnamed")
        server.log.wait(printed("unnamed", peer="unix"))


@needs_ipv6
def test_the_sender_over_ipv6(echod):
    server = echod({"receiver": {"listen": "udp://[::1]:0"}})
    with server.connect("receiver") as client:
        client.send(b"six")
        server.log.wait(printed("six", peer=rf"\[::1\]:{client.port}"))


@pytest.mark.parametrize(
    "data, text",
    [(b"two\nlines\n", r"two\nlines"),
     (b"a\r\n", r"a\r"),
     (b"\n\n", r"\n"),
     (b"\x1b[31mred\x00", r"\x1b[31mred\x00"),
     ("n\u00e4mlich".encode(), r"n\xc3\xa4mlich"),
     (b"back\\slash\ttab", r"back\\slash\ttab"),
     (b"x\n2026-11-21T00:00:00.000Z error echod: forged", r"x\n2026-11-21T00:00:00.000Z error "
      r"echod: forged")],
)  # fmt: skip
def test_text_is_escaped(echod, data, text):
    server = echod({"receiver": {"listen": "udp://127.0.0.1:0"}})
    with server.connect("receiver") as client:
        client.send(data)
        server.log.wait(printed(text))


def test_a_long_datagram_is_cut(echod):
    server = echod({"receiver": {"listen": "udp://127.0.0.1:0"}})
    with server.connect("receiver") as client:
        client.send(b"x" * 65507)
        server.log.wait(r" receiver \S+: x{1000,}\.\.\.$")


def test_a_flood_is_limited(echod):
    """100 lines a second; the rest is counted and told."""
    server = echod({"receiver": {"listen": "udp://127.0.0.1:0"}})
    with server.connect("receiver") as client:
        for _ in range(50):
            client.send(b"wanted")
        server.log.wait(printed("wanted"), count=50)
        for _ in range(500):
            client.send(b"flood")
        server.log.wait(printed("flood"), count=40)
        client.send(b"more")
    assert len(server.log.matches(printed("flood"))) < 200


@pytest.mark.parametrize("port", [53, 1900, 5353, 11211])
@needs_root
def test_well_known_senders_are_heard(echod, port):
    """It answers nothing, so it can feed no loop."""
    server = echod({"receiver": {"listen": "udp://127.0.0.1:0"}})
    with server.connect("receiver", source=("127.77.0.1", port)) as client:
        client.send(b"announcement")
        server.log.wait(printed("announcement", peer=f"127.77.0.1:{port}"))


def test_what_is_printed_is_not_counted_as_dropped(echod):
    server = echod({"receiver": {"listen": "udp://127.0.0.1:0"}})
    with server.connect("receiver") as client:
        client.send(b"hello")
    server.log.wait(printed("hello"))
    server.send_signal(signal.SIGUSR2)
    server.log.wait(r"receiver: (.* )?1 datagram in, 0 out$")
    server.stop()
    assert not server.log.matches(r"receiver: errors: ")


def test_access_rules_hold(echod):
    server = echod({"receiver": {"listen": "udp://127.0.0.1:0", "deny": "127.0.0.9"}})
    with server.connect("receiver", source=("127.0.0.9", 0)) as denied:
        denied.send(b"denied")
    with server.connect("receiver") as client:
        client.send(b"allowed")
    server.log.wait(printed("allowed"))
    assert not server.log.matches(printed("denied"))


def test_broadcast_is_heard(echod):
    port = free_port()
    server = echod({"receiver": {"listen": f"udp://0.0.0.0:{port}"}})
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.sendto(b"to all", ("127.255.255.255", port))
    server.log.wait(printed("to all"))


# --- multicast ---


def test_joins_the_group_on_its_interface(echod):
    port = free_port()
    server = echod({"receiver": {"listen": f"udp://239.1.2.3:{port}", "interface": "lo"}})
    server.log.wait(rf"receiver: listening on udp://239\.1\.2\.3:{port}$")
    send_to_group("239.1.2.3", port, b"to the group")
    server.log.wait(printed("to the group", peer=r"127\.0\.0\.1:\d+"))


def test_only_the_group_is_heard(echod):
    port = free_port()
    server = echod({"receiver": {"listen": f"udp://239.1.2.3:{port}", "interface": "lo"}})
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.sendto(b"to the host", ("127.0.0.1", port))
    send_to_group("239.1.2.4", port, b"to another group")
    send_to_group("239.1.2.3", port, b"to the group")
    server.log.wait(printed("to the group"))
    assert not server.log.matches("to the host|to another group")


def test_receivers_share_a_group_and_its_port(echod):
    port = free_port()
    group = {"type": "receiver", "listen": f"udp://239.1.2.3:{port}", "interface": "lo"}
    one = echod({"a": group, "b": group})
    two = echod({"c": group})
    send_to_group("239.1.2.3", port, b"to three")
    one.log.wait(printed("to three", name="a"))
    one.log.wait(printed("to three", name="b"))
    two.log.wait(printed("to three", name="c"))


def test_a_unicast_port_is_not_shared(echod, fleet):
    port = free_port()
    echod({"receiver": {"listen": f"udp://127.0.0.1:{port}"}})
    second = fleet.launch({"receiver": {"listen": f"udp://127.0.0.1:{port}"}})
    second.wait_stopped_with(69, "Address already in use")


def test_reload_changes_the_interface_and_the_group(echod):
    port, other = free_port(), free_port()
    server = echod({"in": {"type": "receiver", "listen": f"udp://239.1.2.3:{port}",
                           "interface": "nothere0"}})  # fmt: skip
    server.log.wait(r"warning in: cannot join udp://239\.1\.2\.3:\d+: No such device; tried again")
    assert server.reload({"in": {"type": "receiver", "interface": "lo",
                                 "listen": f"udp://239.1.2.3:{port}"}})  # fmt: skip
    send_to_group("239.1.2.3", port, b"first")
    server.log.wait(printed("first", name="in"))
    assert server.reload({"in": {"type": "receiver", "interface": "lo",
                                 "listen": f"udp://239.1.2.4:{other}"}})  # fmt: skip
    send_to_group("239.1.2.4", other, b"second")
    server.log.wait(printed("second", name="in"))


# --- mistakes ---


@pytest.mark.parametrize(
    "services, message",
    [({"receiver": {"listen": "tcp://127.0.0.1:1"}}, "expected udp:// or unixgram://"),
     ({"receiver": {"listen": "udp://[ff02::1]:9100"}}, "add the key interface"),
     ({"receiver": {"listen": "udp://*:9100", "interface": "a-name-too-long-for-one"}},
      "services.receiver.interface: expected the name of an interface"),
     ({"receiver": {"listen": "udp://*:9100", "reply_rate": 5}}, "reply_rate: not a key of type"),
     ({"echo": {"listen": "udp://239.1.2.3:7"}}, "only a receiver joins one"),
     ({"echo": {"listen": "udp://[ff05::1]:7"}}, "only a receiver joins one")],
)  # fmt: skip
def test_mistakes(write, services, message):
    result = run_echod("-c", write("test.conf", to_config(services)), "-t")
    assert result.returncode == 78
    assert message in result.stderr
