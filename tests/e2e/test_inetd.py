"""discard, daytime, rfc868 and chargen: what inetd has built in, over every transport it may have."""

import select
import signal
import struct
import time

import pytest

from harness import run_echod, to_config, wait_until
from transports import every_datagram, every_stream

EPOCH_1900 = 2208988800
COARSE = 5  # CLOCK_REALTIME_COARSE, which Python has no name for
PRINTABLE = bytes(range(32, 127))


def chargen_lines(count):
    """RFC 864's pattern from its first line on."""
    lines = ((PRINTABLE * 2)[n % 95 : n % 95 + 72] + b"\r\n" for n in range(count))
    return b"".join(lines)


def clock():
    """As time(2) has it: some milliseconds behind."""
    return time.clock_gettime(COARSE)


def daytimes(begin, timezone):
    """The lines of all seconds from `begin` until now."""
    seconds = range(int(begin), int(time.time()) + 1)
    return [
        time.strftime("%a %b %e %H:%M:%S %Y\r\n", time.gmtime(s + timezone)).encode()
        for s in seconds
    ]


def is_silent(server, name, request):
    """Whether a request gets no answer before that to another client's later question."""
    with server.connect(name) as client, server.connect(name) as fence:
        client.send(request)
        fence.ask(b"")
        return not select.select([client.sock], [], [], 0)[0]


def datagrams_in(server, name):
    """How many datagrams the instance has had, as the dump of SIGUSR2 says."""
    mark = server.log.mark()
    server.send_signal(signal.SIGUSR2)
    return int(server.log.wait(rf" {name}: (?:.* )?(\d+) datagrams? in, 0 out", mark)[1])


# --- discard ---


@every_stream
def test_discard_takes_all_and_says_nothing(echod, listen):
    with echod({"discard": {"listen": listen}}).connect("discard") as client:
        client.send(bytes(8 << 20))
        assert not client.readable()
        client.half_close()
        assert client.rest() == b""


@every_datagram
def test_discard_takes_datagrams(echod, listen):
    server = echod({"discard": {"listen": listen}})
    with server.connect("discard") as client:
        for payload in (b"one", b"", b"x" * 65507):
            client.send(payload)
        wait_until(lambda: datagrams_in(server, "discard") == 3, "all datagrams are read")
        assert client.received() == []


# --- daytime ---


@every_stream
def test_daytime_is_one_line_and_the_end(echod, listen):
    server = echod({"daytime": {"listen": listen}}, env={"TZ": "UTC-9"})
    begin = clock()
    with server.connect("daytime") as client:
        line = client.rest()
    assert line in daytimes(begin, 9 * 3600)


@every_datagram
def test_daytime_answers_each_datagram(echod, listen):
    server = echod({"daytime": {"listen": listen}}, env={"TZ": "UTC+3"})
    with server.connect("daytime") as client:
        for request in (b"", b"what time is it?\n", b"\0" * 1000):
            begin = clock()
            assert client.ask(request) in daytimes(begin, -3 * 3600)


def test_daytime_does_not_answer_a_daytime(echod):
    server = echod({"daytime": {"listen": "udp://127.0.0.1:0"}})
    assert is_silent(server, "daytime", b"Sat Nov 21 00:58:17 2026\r\n")


# --- rfc868 ---


@every_stream
def test_rfc868_is_four_bytes_and_the_end(echod, listen):
    begin = int(clock())
    with echod({"rfc868": {"listen": listen}}).connect("rfc868") as client:
        (seconds,) = struct.unpack("!I", client.rest())
    assert begin <= seconds - EPOCH_1900 <= time.time()


@every_datagram
def test_rfc868_answers_each_datagram(echod, listen):
    with echod({"rfc868": {"listen": listen}}).connect("rfc868") as client:
        for request in (b"", b"anything"):
            begin = int(clock())
            (seconds,) = struct.unpack("!I", client.ask(request))
            assert begin <= seconds - EPOCH_1900 <= time.time()


def test_rfc868_does_not_answer_an_answer(echod):
    server = echod({"rfc868": {"listen": "udp://127.0.0.1:0"}})
    assert is_silent(server, "rfc868", b"\xee\xab\xc8\xd7")


@pytest.mark.parametrize("service", ["daytime", "rfc868"])
def test_a_client_that_talks_gets_its_answer_all_the_same(echod, service):
    server = echod({service: {"listen": "tcp://127.0.0.1:0"}})
    for _ in range(20):
        with server.connect(service) as client:
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert client.rest()


# --- chargen ---


@every_stream
def test_chargen_rotates_through_its_lines(echod, listen):
    expected = chargen_lines(30000)
    with echod({"chargen": {"listen": listen}}).connect("chargen") as client:
        assert client.exactly(len(expected)) == expected


def test_chargen_drops_what_its_client_says(echod):
    expected = chargen_lines(60000)
    with echod({"chargen": {"listen": "tcp://127.0.0.1:0"}}).connect("chargen") as client:
        assert client.exchange(bytes(1 << 20), length=len(expected))[: len(expected)] == expected


def test_chargen_goes_on_after_a_half_close(echod):
    expected = chargen_lines(30000)
    server = echod({"chargen": {"listen": "tcp://127.0.0.1:0"}})
    with server.connect("chargen") as client:
        client.half_close()
        assert client.exactly(len(expected)) == expected
    server.log.wait(r" debug chargen .*: closed: ")


def test_chargen_waits_for_a_client_that_does_not_read(echod):
    server = echod({"chargen": {"listen": "tcp://127.0.0.1:0"}})
    memory = server.memory()
    clients = [server.connect("chargen", receive_buffer=4096) for _ in range(50)]
    for client in clients:
        client.exactly(74)
    used = wait_until(lambda: idle_second(server), "the daemon rests")
    assert used <= 0.05
    if not server.has_sanitizer():
        assert server.memory() - memory < 50 * (256 << 10)
    assert clients[0].exactly(74 * 1000) == chargen_lines(1001)[74:]
    for client in clients:
        client.close()
    server.log.wait(r"closed: ", count=10)  # such lines are limited


def idle_second(server):
    """The CPU time that a second took, once the sockets are full; otherwise None."""
    before = server.cpu_seconds()
    time.sleep(1)
    used = server.cpu_seconds() - before
    return max(used, 1e-9) if used <= 0.05 else None


@pytest.mark.parametrize("listen", ["udp://127.0.0.1:19", "unixgram:///run/chargen"])
def test_there_is_no_chargen_for_datagrams(write, listen):
    config = write("chargen.conf", to_config({"chargen": {"listen": listen}}))
    result = run_echod("-c", config, "-t")
    assert result.returncode == 78
    assert "services.chargen.listen: expected tcp:// or unix://" in result.stderr
    assert "CVE-1999-0103" in result.stderr


def test_a_client_that_leaves_is_noticed(echod):
    server = echod({"chargen": {"listen": "tcp://127.0.0.1:0"}})
    for _ in range(5):
        with server.connect("chargen") as client:
            client.exactly(74)
    server.log.wait(r"chargen .*closed: ", count=5)
