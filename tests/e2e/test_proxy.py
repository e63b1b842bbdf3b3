"""The PROXY protocol: clients that a proxy announces, with headers made here, and behind haproxy, stunnel and nginx."""

import json
import os
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

import certificates
import harness
from harness import DEADLINE, Address, free_port, program, wait_until
from test_control import CONTROL, find_echoctl, run
from tls_client import Client as TLSClient
from tls_client import trusting
from transports import needs_ipv6

TCP = "tcp://127.0.0.1:0"
UNIX = "unix://$DIR/stream"
UNIX_NONE = "unix:///tmp/none"
FULL = b"ERROR: too many connections\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
CLIENT = "192.0.2.1:51000"
V1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 51000 443\r\n"
UNKNOWN = b"PROXY UNKNOWN\r\n"

speaks_tls = pytest.mark.skipif(
    " tls" not in harness.run_echod("-V").stdout, reason="echod is built without TLS")


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def v2(command=0x21, family=0x11, addresses=b"", extensions=b""):
    return SIGNATURE + struct.pack("!BBH", command, family, len(addresses + extensions)) + addresses + extensions


def from_ipv4(last=1, port=51000, extensions=b""):
    return v2(0x21, 0x11, bytes([192, 0, 2, last, 192, 0, 2, 200]) + struct.pack("!HH", port, 443), extensions)


def from_ipv6(last=1, port=51000):
    network = bytes.fromhex("20010db8") + bytes(11)
    return v2(0x21, 0x21, network + bytes([last]) + network + b"\xff" + struct.pack("!HH", port, 443))


def checked(header):
    """With a checksum behind it."""
    head, length = header[:14], struct.unpack_from("!H", header, 14)[0] + 7
    body = struct.pack("!H", length) + header[16:] + b"\3\0\4"
    return head + body + struct.pack("!I", crc32c(head + body + bytes(4)))


LOCAL = v2(0x20, 0)
EXTENDED = from_ipv4(extensions=b"\1\0\2h2\2\0\0\5\0\4abcd")
HEADERS = {"v1": V1, "v2": from_ipv4(), "v2-extended": checked(EXTENDED)}
UNANNOUNCED = {"local": LOCAL, "local-checked": checked(LOCAL), "unknown": UNKNOWN, "unspecified": v2(0x21, 0),
               "unix": v2(0x21, 0x31, bytes(216))}  # fmt: skip
every_header = pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
every_unannounced = pytest.mark.parametrize("header", UNANNOUNCED.values(), ids=UNANNOUNCED)
every_listener = pytest.mark.parametrize("listen", [TCP, UNIX], ids=["tcp", "unix"])


def proxied(type_="echo", listen=TCP, name=None, **settings):
    settings.setdefault("proxy_from", ["127.0.0.1", "unix"])
    return {name or type_: {"type": type_, "listen": listen, **settings}}


def greeted(server, header, name="kv", **options):
    client = server.connect(name, **options)
    client.send(header)
    assert client.line() == b"READY\n"
    return client


def stays(client):
    """Nothing has come, not even the end."""
    return not client.readable()


def clients(workdir, *options):
    """But for those of the control service."""
    rows = json.loads(run(workdir, "-j", "clients", *options)[0])["clients"]
    return [row for row in rows if row["service"] != "control"]


def let_read(server, name):
    """The daemon reads what it has been sent so far: it serves a client that has come later, more than once."""
    with server.connect(name) as client:
        client.send(V1)
        for _ in range(3):
            client.send(b"\n")
            client.line()


# --- headers ---


@every_header
@every_listener
def test_a_header_is_cut_at_every_byte(echod, header, listen):
    """Behind each cut comes the rest, with the first bytes of the client in the same segment."""
    server = echod(proxied(listen=listen))
    cut = [server.connect("echo") for _ in header[1:]]
    for at, client in enumerate(cut, 1):
        client.send(header[:at])
    let_read(server, "echo")
    for at, client in enumerate(cut, 1):
        client.send(header[at:] + b"hello")
    for client in cut:
        assert client.exactly(5) == b"hello"
        client.close()
    server.log.wait(CLIENT.replace(".", r"\.") + ": closed: client_eof", count=len(cut))


@every_header
def test_a_header_comes_byte_by_byte(echod, header):
    server = echod(proxied())
    with server.connect("echo") as client:
        for byte in header:
            client.send(bytes([byte]))
            time.sleep(0.002)
        client.send(b"hello")
        client.half_close()
        assert client.rest() == b"hello"
    server.wait_closed("client_eof")


@every_header
@every_listener
def test_header_and_bytes_in_one_segment(echod, header, listen):
    server = echod(proxied(listen=listen))
    with server.connect("echo") as client:
        payload = os.urandom(100_000)
        assert client.exchange(header + payload, half_close=True) == payload


@every_listener
def test_what_looks_like_a_second_header_is_the_clients(echod, listen):
    server = echod(proxied(listen=listen))
    with server.connect("echo") as client:
        assert client.exchange(V1 + V1 + LOCAL, half_close=True) == V1 + LOCAL


def test_without_proxy_from_a_header_is_bytes(echod):
    server = echod({"echo": {"listen": TCP}})
    with server.connect("echo") as client:
        assert client.exchange(V1, half_close=True) == V1


@every_header
def test_services_that_speak_first_wait_for_the_header(echod, header):
    server = echod({**proxied("kv"), **proxied("daytime")})
    with server.connect("kv") as kv, server.connect("daytime") as daytime:
        for client in kv, daytime:
            client.send_read(header[:-1])
        with greeted(server, V1):
            assert stays(kv) and stays(daytime)
        for client in kv, daytime:
            client.send(header[-1:])
        assert kv.line() == b"READY\n"
        assert kv.ask(b"GET a") == b"NOT_FOUND"
        assert daytime.rest().endswith(b"\r\n")


@every_unannounced
@every_listener
def test_a_proxy_speaks_for_itself(echod, header, listen):
    """It is served, whatever the rules say of its own address."""
    server = echod({**proxied(listen=listen, allow="198.51.100.0/24", max_per_source=1, connect_rate=1), **CONTROL})
    for _ in range(3):
        with server.connect("echo") as first, server.connect("echo") as second:
            for client in first, second:
                client.send(header + b"hello")
                assert client.exactly(5) == b"hello"
            (one, two) = clients(server.directory)
            assert one["proxy"] is None and two["proxy"] is None
            assert one["peer"].startswith("unix" if listen == UNIX else "127.0.0.1:")


def test_health_checks_leave_with_a_reset(echod):
    server = echod(proxied("kv"))
    for header in V1, checked(LOCAL):
        mark = server.log.mark()
        client = greeted(server, header)
        client.reset()
        server.wait_closed("reset", since=mark)
    assert not server.log.matches(" warning ")


# --- who may, and what is wrong ---


def test_others_are_turned_away(echod):
    server = echod({**proxied("kv", [TCP, UNIX], proxy_from="127.0.0.2"), **CONTROL})
    for transport in "tcp", "unix":
        with server.connect("kv", transport) as client:
            assert client.rest() == b""
        server.wait_closed("denied", 1 if transport == "tcp" else 2)
    with greeted(server, V1, transport="tcp", source="127.0.0.2") as client:
        assert client.ask(b"GET a") == b"NOT_FOUND"


@needs_ipv6
def test_a_proxy_at_an_ipv4_address_of_a_dual_stack_socket(echod):
    server = echod(proxied("kv", "tcp://[::]:0", proxy_from="127.0.0.0/8"))
    with greeted(server, from_ipv6(), host="127.0.0.1"):
        pass
    with server.connect("kv", host="::1") as client:
        assert client.rest() == b""


@pytest.mark.parametrize(("said", "why"), [
    (b"GET a\n", "expected a PROXY header"),
    (b"\x16\3\1\2\0\1\0\1\xfc\3\3", "expected a PROXY header"),
    (b"PROXY TCP4 192.0.2.1\r\nGET a\n", "expected PROXY TCP4, TCP6 or UNKNOWN, two addresses and two ports"),
    (b"PROXY  192.0.2.1 192.0.2.2 1 2\r\n", "expected PROXY TCP4, TCP6 or UNKNOWN, two addresses and two ports"),
    (b"PROXY TCP4" + bytes(200), "expected a PROXY line of at most 107 bytes, with CR LF"),
    (v2(0x21, 0x12, bytes(12)), "expected the addresses of a TCP or Unix stream"),
    (checked(EXTENDED)[:-1] + b"\0", "the checksum of the PROXY header is wrong"),
    (from_ipv4(extensions=b"\4" + struct.pack("!H", 506) + bytes(506)), "a PROXY header has at most 536 bytes here"),
], ids=["none", "tls", "short", "empty-word", "long-line", "datagram", "checksum", "long"])
@every_listener
def test_wrong_headers(echod, said, why, listen):
    """They end the client, which need not come at once."""
    server = echod({**proxied("kv", listen), **CONTROL})
    with server.connect("kv") as client:
        client.send(said)
        assert client.rest() == b""
    server.log.wait(rf" warning kv (127\.0\.0\.1:\d+|unix): {why}$")
    server.wait_closed("protocol")
    wait_until(lambda: not clients(server.directory), "the client has left")
    with greeted(server, from_ipv4(extensions=b"\4" + struct.pack("!H", 505) + bytes(505))):
        pass


@pytest.mark.slow
def test_a_late_header(echod):
    """Five seconds from the first byte on, whatever comes meanwhile; who is served has its own timeouts."""
    server = echod(proxied("kv", idle_timeout=0))
    began = time.monotonic()
    with server.connect("kv") as silent, server.connect("kv") as slow, greeted(server, V1) as served:
        slow.send(V1[:10])
        time.sleep(3)
        slow.send(V1[10:20])
        assert silent.rest() == slow.rest() == b""
        assert 4.5 < time.monotonic() - began < 5 + DEADLINE / 2
        server.log.wait(r" warning kv 127\.0\.0\.1:\d+: no PROXY header within 5 seconds", count=2)
        server.wait_closed("protocol", 2)
        assert served.ask(b"GET a") == b"NOT_FOUND"


@every_listener
@pytest.mark.parametrize("header", [V1, checked(EXTENDED), LOCAL], ids=["v1", "v2", "local"])
def test_ends_in_the_middle(echod, header, listen):
    """No descriptor stays."""
    server = echod(proxied("kv", listen))
    with greeted(server, V1):
        pass
    server.wait_closed("client_eof|reset")
    fds = server.fds()
    for cut in range(0, len(header), 3):
        mark = server.log.mark()
        client = server.connect("kv")
        client.send(header[:cut])
        client.half_close()
        assert client.rest() == b""
        client.close()
        server.wait_closed("protocol" if cut else "client_eof", since=mark)
        mark = server.log.mark()
        client = server.connect("kv")
        client.send_read(header[:cut])
        client.reset()
        server.wait_closed("reset|protocol|client_eof", since=mark)
    assert bool(server.log.matches("kv .*: the connection has ended in the middle of a PROXY header"))
    wait_until(lambda: server.fds() <= fds, "no descriptor stays")


def test_a_half_close_behind_the_header(echod):
    server = echod({**proxied("upper", mode="once"), **proxied("echo")})
    for name, answer in ("upper", b"HELLO"), ("echo", b"hello"):
        with server.connect(name) as client:
            assert client.exchange(V1 + b"hello", half_close=True) == answer
        with server.connect(name) as client:
            assert client.exchange(V1, half_close=True) == b""


# --- rules and limits ---


def test_rules_are_about_the_client(echod):
    server = echod({**proxied("kv", allow=["192.0.2.0/25", "2001:db8::/127"], deny="192.0.2.7"), **CONTROL})
    for header in from_ipv4(1), from_ipv4(127), from_ipv6(1), V1:
        greeted(server, header).close()
    for header in from_ipv4(7), from_ipv4(128), from_ipv6(2):
        with server.connect("kv") as client:
            client.send(header)
            assert client.rest() == b""
    server.wait_closed("denied", 3)
    assert server.log.matches(r"kv 192\.0\.2\.7:51000: closed: denied \(")
    denied = [row for row in clients(server.directory, "--left") if row["reason"] == "denied"]
    assert {row["peer"] for row in denied} == {"192.0.2.7:51000", "192.0.2.128:51000", "[2001:db8::2]:51000"}
    assert all(row["proxy"].startswith("127.0.0.1:") for row in denied)


@every_listener
def test_max_per_source_counts_clients(echod, listen):
    server = echod({**proxied("kv", listen, max_per_source=1), **CONTROL})
    first, other = greeted(server, from_ipv4(1)), greeted(server, from_ipv4(2))
    with server.connect("kv") as client:
        client.send(from_ipv4(1, 2000) + b"GET a\n")
        assert client.rest() == FULL
    assert server.wait_closed("limit").string.endswith(": over services.kv.max_per_source")
    assert first.ask(b"QUIT") == b"BYE"
    assert first.rest() == b""
    server.wait_closed("quit")
    with greeted(server, from_ipv4(1)):
        pass
    assert other.ask(b"GET a") == b"NOT_FOUND"


def test_connect_rate_counts_clients(echod):
    server = echod({**proxied("kv", max_per_source=2, connect_rate=1), **CONTROL})
    for _ in range(2):
        with greeted(server, from_ipv4(1)) as client:
            client.ask(b"QUIT")
    with server.connect("kv") as client:
        client.send(from_ipv4(1))
        assert client.rest() == FULL
    server.wait_closed("limit")
    for last in range(2, 6):
        greeted(server, from_ipv4(last)).close()


@pytest.mark.parametrize("header", [b"", V1, LOCAL], ids=["none", "announced", "local"])
def test_max_connections_counts_all(echod, header):
    server = echod({**proxied("kv", max_connections=1), **CONTROL})
    with server.connect("kv") as first:
        first.send(header)
        wait_until(lambda: clients(server.directory), "the first is there")
        with server.connect("kv") as client:
            assert client.rest() == b""
        server.wait_closed("limit")
    wait_until(lambda: not clients(server.directory), "the first has left")
    with greeted(server, V1):
        pass


def test_who_waits_gets_the_place_of_one_that_is_refused(echod):
    server = echod({**proxied("kv", max_connections=2, max_per_source=1, on_limit="queue"), **CONTROL})
    with greeted(server, from_ipv4(1)), server.connect("kv") as second, server.connect("kv") as third:
        third.send(from_ipv4(3))
        second.send(from_ipv4(1))
        assert second.line() == FULL  # and does not close
        assert third.line() == b"READY\n"
    wait_until(lambda: not clients(server.directory), "all have left")
    for _ in range(4):
        greeted(server, from_ipv4(1)).close()
        wait_until(lambda: not clients(server.directory), "it has left")


# --- who is shown ---


def test_environment_of_a_program(echod):
    server = echod(proxied("exec", [TCP, UNIX], command=["env"]))
    for transport in "tcp", "unix":
        for header, host in (from_ipv4(5), "192.0.2.5"), (from_ipv6(5), "2001:db8::5"):
            with server.connect("exec", transport) as client:
                client.send(header)
                found = dict(line.split("=", 1) for line in client.rest().decode().splitlines())
            assert (found["REMOTE_ADDR"], found["REMOTE_PORT"]) == (host, "51000")
        with server.connect("exec", transport) as client:
            client.send(LOCAL)
            assert f"REMOTE_ADDR={'127.0.0.1' if transport == 'tcp' else 'unix'}\n" in client.rest().decode()


@every_listener
def test_clients_shows_both(echod, listen, workdir):
    server = echod({**proxied("kv", listen), **CONTROL})
    with greeted(server, from_ipv6()) as client:
        proxy = "unix" if listen == UNIX else client.name
        (row,) = clients(workdir)
        assert (row["peer"], row["proxy"]) == ("[2001:db8::1]:51000", proxy)
        assert row["bytes_in"] == len(from_ipv6())
        assert f"[2001:db8::1]:51000 by {proxy} " in run(workdir, "clients")[0]
        client.ask(b"QUIT")
    server.wait_closed("quit")
    assert f"[2001:db8::1]:51000 by {proxy} " in run(workdir, "clients", "--left")[0]
    assert server.log.matches(r"kv \[2001:db8::1\]:51000: closed: quit")


def test_client_list(echod):
    server = echod(proxied("kv", "redis://127.0.0.1:0"))
    with server.connect("kv") as client:
        client.send(from_ipv4(9) + b"CLIENT LIST\r\n")
        client.line()
        assert b" addr=192.0.2.9:51000 " in client.line()


@every_listener
def test_why(echod, listen, workdir):
    server = echod({**proxied("kv", listen, deny="192.0.2.0/24", proxy_from="127.0.0.0/8"), **proxied("echo"), **CONTROL})
    announced = "this is about a client that a proxy in services.kv.proxy_from announces"
    direct = "a connection of its own is turned away: services.kv.proxy_from does not contain it"
    for address, verdict in ("192.0.2.1", "denied"), ("198.51.100.1", "allowed"):
        said = run(workdir, "why", address, "kv")[0]
        assert said.startswith(f"streams: {verdict}\n")
        assert announced in said and direct in said
    said = run(workdir, "why", "127.0.0.1", "kv")[0]
    assert "it is such a proxy itself" in said and direct not in said
    assert ("it is such a proxy itself" in run(workdir, "why", "unix", "echo")[0])
    assert server.process.poll() is None


@pytest.mark.parametrize(("services", "status", "why"), [
    ({"echo": {"listen": "udp://127.0.0.1:1", "proxy_from": "127.0.0.1"}}, 0,
     "services.echo.proxy_from: has no effect: the service has no address of streams, only of datagrams"),
    ({"control": {"listen": "unix:///tmp/none", "proxy_from": "unix"}}, 78,
     "services.control.proxy_from: control takes no PROXY header: echoctl does not send one"),
    ({"echo": {"listen": TCP, "proxy_from": "all"}}, 78, 'expected "unix", or an IPv4 or IPv6 address or ADDRESS/LENGTH'),
    ({"beacon": {"send_to": "udp://127.0.0.1:1", "proxy_from": "unix"}}, 0,
     "services.beacon.proxy_from: has no effect: nobody connects to the service"),
    ({"echo": {"listen": [UNIX_NONE, TCP], "proxy_from": "unix"}}, 0,
     "services.echo.proxy_from: nobody can use tcp://127.0.0.1:0: no proxy here is an IP address"),
    ({"echo": {"listen": [UNIX_NONE, TCP], "proxy_from": "10.0.0.1"}}, 0,
     'services.echo.proxy_from: nobody can use unix:///tmp/none: no proxy here is "unix"'),
    ({"kv": {"listen": "tcp://*:7501", "proxy_from": "10.0.0.1"}}, 0, ""),
    ({"echo": {"listen": TCP, "proxy_from": ["10.0.0.0/8", "10.0.0.1/8"]}}, 78, "bits are set behind the prefix"),
    ({"echo": {"listen": [TCP, "udp://127.0.0.1:1"], "proxy_from": ["10.0.0.0/8", "unix", "::1"]}}, 0, ""),
], ids=["datagrams", "control", "name", "beacon", "no-ip", "no-unix", "kv", "bits", "fine"])
def test_configurations(write, services, status, why):
    path = write("echod.conf", harness.to_config(services))
    path.chmod(0o600)
    done = harness.run_echod("-t", "-c", path)
    assert done.returncode == status, done.stderr
    assert why in done.stderr
    assert bool(why) == ("services." in done.stderr)


@every_listener
@every_unannounced
def test_max_children(echod, listen, header):
    server = echod(proxied("exec", listen, command=["cat"], max_children=2))
    first, second, *others = [server.connect("exec") for _ in range(6)]
    for other in others:
        assert other.rest() == b""
    server.wait_closed("limit", 4)
    second.send(header)
    assert second.ask(b"2") == b"2"
    first.close()
    server.wait_closed("client_eof")
    with server.connect("exec") as third, server.connect("exec") as fourth:
        third.send(from_ipv4())  # it has its place already
        assert third.ask(b"3") == b"3"
        assert fourth.rest() == b""
    second.close()


@every_listener
def test_a_denied_client_leaves_its_program_to_others(echod, listen):
    server = echod(proxied("exec", listen, command=["cat"], max_children=1, on_limit="queue", deny="192.0.2.1"))
    with server.connect("exec") as first, server.connect("exec") as second:
        second.send(from_ipv4(2) + b"2\n")
        assert not second.readable()
        first.send(from_ipv4(1))
        assert first.rest() == b""
        assert second.line() == b"2\n"


@speaks_tls
def test_max_children_over_tls(echod, authority, certificate):
    server = echod(proxied("exec", "tls://127.0.0.1:0", command=["cat"], max_children=2), **over_tls(certificate))
    clients = [TLSClient(server.address("exec"), trusting(authority), handshake=False) for _ in range(8)]
    for client in clients[:2]:
        client.send_raw(V1)
    for client in clients[2:]:
        assert client.receive_raw() == b""
    for client in clients[:2]:
        client.handshake()
        assert client.ask(b"a") == b"a"
    for client in clients:
        client.close()
    server.wait_closed("limit", 6)


@every_listener
def test_a_large_file(echod, listen, workdir, write):
    """What is sent at once depends on the socket, not on the client."""
    path = workdir / "file"
    path.write_bytes(os.urandom(5_000_000))
    server = echod(proxied("file", listen, path=str(path)))
    for header in V1, LOCAL:
        with server.connect("file") as client:
            client.send(header)
            assert client.rest() == path.read_bytes()


# --- reloads ---


def test_a_reload_while_headers_are_awaited(echod):
    services = proxied("kv", f"tcp://127.0.0.1:{free_port()}")
    server = echod({**services, **CONTROL})
    with server.connect("kv") as awaited, greeted(server, from_ipv4(1)) as one, greeted(server, LOCAL) as local:
        awaited.send_read(from_ipv4(2)[:20])
        changed = {"kv": {**services["kv"], "source_prefix": "24/48", "allow": "192.0.2.0/25", "max_per_source": 2}}
        assert server.reload({**changed, **CONTROL})
        awaited.send(from_ipv4(2)[20:])
        assert awaited.line() == b"READY\n"
        assert one.ask(b"GET a") == local.ask(b"GET a") == b"NOT_FOUND"
        with server.connect("kv") as third:
            third.send(from_ipv4(3))
            assert third.rest() == FULL
        # The announced addresses are denied; the proxy is not.
        changed["kv"]["allow"] = "127.0.0.1"
        assert server.reload({**changed, **CONTROL})
        assert one.rest() == awaited.rest() == b""
        assert local.ask(b"GET a") == b"NOT_FOUND"
    wait_until(lambda: not clients(server.directory), "all have left")


def test_a_reload_changes_proxy_from(echod):
    services = proxied("kv", f"tcp://127.0.0.1:{free_port()}")
    server = echod({**services, **CONTROL})
    direct = {"kv": {key: value for key, value in services["kv"].items() if key != "proxy_from"}}
    others = {"kv": {**services["kv"], "proxy_from": "127.0.0.2"}}
    with greeted(server, V1) as announced, greeted(server, LOCAL) as local, server.connect("kv") as awaited:
        awaited.send_read(V1[:9])
        assert server.reload({**direct, **CONTROL})
        awaited.send(V1[9:])
        assert awaited.line() == b"READY\n"
        with server.connect("kv") as client:
            assert client.line() == b"READY\n"
            assert announced.ask(b"GET a") == local.ask(b"GET a") == b"NOT_FOUND"
            assert server.reload({**others, **CONTROL})
            for one in announced, local, awaited, client:
                assert one.rest() == b""
        server.wait_closed("denied", 4)
        with greeted(server, V1, source="127.0.0.2"):
            pass
    wait_until(lambda: not clients(server.directory), "all have left")


def test_a_stop_while_headers_are_awaited(echod):
    server = echod(proxied("kv"))
    with server.connect("kv") as client, greeted(server, V1):
        client.send_read(V1[:9])
        server.send_signal(15)
        assert client.rest() == b""
        server.wait_stopped()


# --- TLS behind it ---


@pytest.fixture(scope="module")
def authority():
    with tempfile.TemporaryDirectory(prefix="echod-") as directory:
        yield certificates.ca(Path(directory))


@pytest.fixture(scope="module")
def certificate(authority):
    return authority.issue("127.0.0.1", "localhost")


def over_tls(certificate):
    return {"tls": {"certificate": str(certificate.chain), "key": str(certificate.key)}}


@speaks_tls
@pytest.mark.parametrize("header", [V1, checked(EXTENDED), LOCAL], ids=["v1", "v2", "local"])
def test_tls_behind_the_header(echod, authority, certificate, header):
    server = echod({**proxied("kv", "tls://127.0.0.1:0", idle_timeout=0), **CONTROL}, **over_tls(certificate))
    context = trusting(authority)
    for way in "before", "together", "cut":
        client = TLSClient(server.address("kv"), context, handshake=False)
        pending = [header]
        if way == "before":
            client.send_raw_read(pending.pop())
        elif way == "cut":
            client.send_raw_read(header[:10])
            pending = [header[10:]]
        client.handshake(lambda flight: client.send_raw(pending.pop() + flight if pending else flight))
        assert client.line() == b"READY\n"
        assert client.ask(b"GET a") == b"NOT_FOUND"
        (row,) = clients(server.directory)
        assert row["tls"] == "TLSv1.3" and row["peer"].startswith("127.0.0.1:" if header == LOCAL else CLIENT)
        client.ask(b"QUIT")
        client.close()
        wait_until(lambda: not clients(server.directory), "it has left")


@speaks_tls
def test_a_reload_takes_tls_away_while_a_header_is_awaited(echod, certificate):
    port = free_port()
    server = echod(proxied("kv", f"tls://127.0.0.1:{port}"), **over_tls(certificate))
    with server.connect("kv") as awaited:
        awaited.send_read(V1[:9])
        assert server.reload(proxied("kv", f"tcp://127.0.0.1:{port}"))
        awaited.send(V1[9:])
        assert awaited.rest() == b""
        server.wait_closed("reload")
    with greeted(server, V1):
        pass


@speaks_tls
def test_tls_without_a_header_and_a_header_without_tls(echod, certificate):
    server = echod(proxied("kv", "tls://127.0.0.1:0", max_per_source=1), **over_tls(certificate))
    with server.connect("kv") as client:
        client.send(b"\x16\3\1\0\5hello")
        assert client.rest() == b""
    server.wait_closed("protocol")
    with server.connect("kv") as client:
        client.send(V1 + b"GET a\n")
        assert client.rest() == b"ERROR: this port speaks TLS\r\n"
    server.wait_closed("protocol", 2)
    with server.connect("kv") as first, server.connect("kv") as second:
        first.send_read(V1)
        second.send(V1)
        assert second.rest() == b""  # the reason would cost a handshake
    server.wait_closed("limit")


# --- echoctl send ---


def send(*arguments):
    done = subprocess.run([find_echoctl(), "send", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=DEADLINE, check=False, text=True)  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@every_listener
def test_send_announces_a_client(echod, listen):
    server = echod(proxied("exec", listen, command=["sh", "-c", "echo $REMOTE_ADDR $REMOTE_PORT; cat"]))
    address = str(server.address("exec"))
    for source, host in ("192.0.2.1:51000", "192.0.2.1 51000"), ("[2001:db8::1]:65535", "2001:db8::1 65535"):
        assert send("--proxy", source, address, "hello") == (0, f"{host}\nhello\n", "")
    status, said, _ = send("--proxy=local", address, "hello")
    assert status == 0 and said.startswith("127.0.0.1 " if listen == TCP else "unix")


@speaks_tls
def test_send_announces_a_client_before_tls(echod, authority, certificate):
    server = echod(proxied("exec", "tls://127.0.0.1:0", command=["sh", "-c", "echo $REMOTE_ADDR"]), **over_tls(certificate))
    found = send("--proxy", "192.0.2.1:1", "--ca", str(authority.pem), str(server.address("exec")), "hello")
    assert found == (0, "192.0.2.1\n", "")


@pytest.mark.parametrize("source", ["", "local:1", "192.0.2.1", "192.0.2.1:", "192.0.2.1:65536", "2001:db8::1:1", "[::1]",
                                    "[192.0.2.1]:1", "[]:1", ":1", "example.org:1", "[" + "1" * 60 + "]:1"])  # fmt: skip
def test_send_refuses_other_sources(source):
    status, said, errors = send("--proxy", source, "tcp://127.0.0.1:1", "hello")
    assert (status, said) == (2, "")
    assert errors.startswith("echoctl: --proxy: expected an address such as 192.0.2.1:51000")


def test_send_refuses_to_announce_in_a_datagram():
    status, _, errors = send("--proxy", "192.0.2.1:1", "udp://127.0.0.1:1", "hello")
    assert (status, errors) == (2, "echoctl: udp://127.0.0.1:1: --proxy is for addresses of streams\n")


# --- haproxy, stunnel and nginx ---


class Front:
    """A proxy as a child process, with a configuration in the test's directory."""

    def __init__(self, command, port):
        self.address = Address("tcp", "127.0.0.1", port, None)
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)  # fmt: skip

    def __enter__(self):
        def is_up():
            assert self.process.poll() is None, self.process.stdout.read()
            try:
                harness.connect(self.address).close()
            except OSError:
                return False
            return True

        wait_until(is_up, "the proxy takes clients")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def connect(self):
        return harness.connect(self.address)


def haproxy(write, server, options, port=None):
    if program("haproxy") is None:
        pytest.skip("haproxy is not installed")
    port = port or free_port()
    config = write("haproxy.cfg", f"""
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen front
    bind 127.0.0.1:{port}
    server back {server} {options}
""")
    return Front([program("haproxy"), "-db", "-f", str(config)], port)


@pytest.mark.parametrize("listen", [TCP, UNIX], ids=["tcp", "unix"])
@pytest.mark.parametrize("options", [
    "send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority",
], ids=["v1", "v2", "crc32c"])
def test_behind_haproxy(echod, write, workdir, options, listen):
    server = echod({**proxied("kv", listen), **CONTROL})
    address = server.address("kv")
    target = f"unix@{address.path}" if listen == UNIX else f"127.0.0.1:{address.port}"
    with haproxy(write, target, options) as front:
        with front.connect() as client:
            assert client.line() == b"READY\n"
            assert client.ask(b"SET a 1") == b"OK"
            found = [row for row in clients(workdir) if row["peer"] == client.name]
            assert len(found) == 1 and found[0]["proxy"] is not None
    assert not server.log.matches(" warning ")


@pytest.mark.parametrize("options", [
    "send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c",
], ids=["v1", "v2", "crc32c"])
def test_checks_of_haproxy(echod, write, options):
    server = echod(proxied("kv", allow="192.0.2.0/24"))
    port = server.address("kv").port
    with haproxy(write, f"127.0.0.1:{port}", f"{options} check inter 50ms check-send-proxy"):
        mark = server.log.mark()
        server.log.wait(r"kv \S+: closed: (reset|denied|client_eof) ", mark, count=4)
    assert not server.log.matches(" warning ")


def test_behind_stunnel(echod, write, authority, certificate, workdir):
    if program("stunnel4") is None:
        pytest.skip("stunnel4 is not installed")
    server = echod({**proxied("kv"), **CONTROL})
    port = free_port()
    config = write("stunnel.conf", f"""
foreground = yes
pid =
[front]
accept = 127.0.0.1:{port}
connect = 127.0.0.1:{server.address("kv").port}
cert = {certificate.chain}
key = {certificate.key}
protocol = proxy
""")
    with Front([program("stunnel4"), str(config)], port) as front:
        client = TLSClient(front.address, trusting(authority))
        assert client.line() == b"READY\n"
        assert client.ask(b"GET a") == b"NOT_FOUND"
        assert client.name in {row["peer"] for row in clients(workdir)}
        client.close()


STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


def nginx(write, target, *options, listen=""):
    """Its module for streams, which passes on the bytes of TLS unless `options` say otherwise."""
    if program("nginx") is None or not STREAM_MODULE.exists():
        pytest.skip("nginx or its module stream is not installed")
    port = free_port()
    config = write("nginx.conf", f"""
load_module {STREAM_MODULE};
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events {{}}
stream {{
    server {{
        listen 127.0.0.1:{port} {listen};
        proxy_pass {target};
        {"".join(f"{option}; " for option in options)}
    }}
}}
""")
    return Front([program("nginx"), "-e", "stderr", "-p", str(config.parent), "-c", str(config)], port)


def target_of(server, name):
    """Where nginx finds the service."""
    address = server.address(name)
    return f"127.0.0.1:{address.port}" if address.path is None else f"unix:{address.path}"


@every_listener
def test_behind_nginx(echod, write, workdir, listen):
    server = echod({**proxied("kv", listen), **proxied("echo", "unix://$DIR/echo" if listen == UNIX else TCP), **CONTROL})
    with nginx(write, target_of(server, "kv"), "proxy_protocol on") as front, front.connect() as client:
        assert client.line() == b"READY\n"
        assert client.ask(b"SET a 1") == b"OK"
        (row,) = [row for row in clients(workdir) if row["peer"] == client.name]
        assert row["proxy"].startswith("unix" if listen == UNIX else "127.0.0.1:")
    with nginx(write, target_of(server, "echo"), "proxy_protocol on") as front, front.connect() as client:
        payload = os.urandom(1_000_000)
        assert client.exchange(payload, len(payload)) == payload
        (row,) = [row for row in clients(workdir) if row["peer"] == client.name]
        client.close()
        server.log.wait(f"echo {client_pattern(row['peer'])}: closed: client_eof")
    assert not server.log.matches(" warning ")


def client_pattern(peer):
    return peer.replace(".", r"\.")


@speaks_tls
@pytest.mark.parametrize("announces", [True, False], ids=["announced", "unannounced"])
@pytest.mark.parametrize("preread", [True, False], ids=["preread", "blind"])
def test_tls_through_nginx(echod, write, authority, certificate, workdir, announces, preread):
    """It passes on what it cannot read, the header in front of it."""
    listen = "tls://127.0.0.1:0"
    services = proxied("kv", listen) if announces else {"kv": {"listen": listen}}
    server = echod({**services, **CONTROL}, **over_tls(certificate))
    options = ["proxy_protocol on"] * announces + ["ssl_preread on"] * preread
    with nginx(write, target_of(server, "kv"), *options) as front:
        client = TLSClient(front.address, trusting(authority))
        assert client.line() == b"READY\n"
        value = b"x" * 50_000
        assert client.ask(b"SET a " + value) == b"OK"
        assert client.ask(b"GET a") == value
        (row,) = [row for row in clients(workdir) if row["tls"] is not None]
        assert row["tls"] == "TLSv1.3"
        assert (row["peer"] == client.name) == announces
        client.ask(b"QUIT")
        assert client.rest() == b""
        client.close()
    server.wait_closed("quit")


@speaks_tls
def test_nginx_ends_tls(echod, write, authority, certificate, workdir):
    server = echod({**proxied("kv"), **CONTROL})
    options = f"ssl_certificate {certificate.chain}", f"ssl_certificate_key {certificate.key}", "proxy_protocol on"
    with nginx(write, target_of(server, "kv"), *options, listen="ssl") as front:
        client = TLSClient(front.address, trusting(authority))
        assert client.line() == b"READY\n"
        assert client.ask(b"GET a") == b"NOT_FOUND"
        assert client.name in {row["peer"] for row in clients(workdir)}
        client.close()
