"""Whatever bytes come: the daemon stays up, and the next client is served."""

import itertools
import random
import threading
import time

import pytest

from harness import DEADLINE, Failure

SERVICES = {
    "kv": {"listen": "tcp://127.0.0.1:0", "max_line": 2000, "max_memory": "1M"},
    "upper": {"listen": ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"], "mode": "line"},
    "time": {"listen": ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]},
}
TOKENS = [
    b"SET ", b"GET ", b"DEL ", b"a", b"key", b" ", b"\t", b"\n", b"\n", b"\r\n", b"\r\0", b"\0",
    b"\xff", b"\xff\xff", b"\xff\xf4", b"\xff\xf6", b"\xff\xfd\x06", b"\xff\xfb\x01", b"\xff\xfa",
    b"\xff\xf0", b"{", b"}", b'{"type": "time"}', b'{"type": "time", "id": [', b"[", b'"',
    b"x" * 500, b"\x16\x03", b"*1", b"HTTP/1.1", b"\xc3", b"\xed\xa0\x80",
]  # fmt: skip


def garbage(seed, tokens):
    chance = random.Random(seed)
    return b"".join(chance.choice(TOKENS) for _ in range(tokens))


@pytest.mark.parametrize("name", ["kv", "upper", "time"])
def test_stream_of_garbage(echod, name):
    server = echod(SERVICES)
    for seed in range(30):
        with server.connect(name, "tcp") as client:
            try:
                client.exchange(garbage(seed, 400), half_close=True)
            except (ConnectionError, Failure):
                pass  # it may be thrown out
    assert is_served(server, name)


def is_served(server, name):
    with server.connect(name, "tcp") as client:
        if name == "kv":
            client.line()
        return len(client.ask(b"[]")) > 0


def test_garbage_in_tiny_pieces_from_many_clients(echod):
    server = echod(SERVICES)

    def dribble(seed):
        data = garbage(seed, 100)
        with server.connect("kv", "tcp") as client:
            try:
                for at in range(0, len(data), 3):
                    client.send(data[at : at + 3])
                client.half_close()
                client.rest()
            except ConnectionError:
                pass

    threads = [threading.Thread(target=dribble, args=(seed,)) for seed in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert is_served(server, "kv")


@pytest.mark.parametrize("name", ["upper", "time"])
def test_datagrams_of_garbage(echod, name):
    server = echod(SERVICES)
    for seed in range(300):
        with server.connect(name, "udp") as client:
            client.send(garbage(seed, 1 + seed % 50))
        if seed % 10 == 9:  # before the kernel's queue is full
            with server.connect(name, "udp") as client:
                assert client.ask(b"[%d]" % seed)


def test_clients_that_reset_in_the_middle_of_everything(echod):
    server = echod(SERVICES)
    for number in range(100):
        client = server.kv()
        client.send(b"SET a 1\nGET a\n" * number * 10 + b"SET b ")
        client.reset()
    assert is_served(server, "kv")


@pytest.mark.parametrize("name", ["echo", "upper"])
def test_single_bytes_that_nobody_reads_take_no_more_than_they_are(echod, name):
    """Each is a read of its own, and was 4 KiB of memory of its own, too."""
    server = echod({name: {"listen": "unix://$DIR/socket"}})
    if server.has_sanitizer():
        pytest.skip("the sanitizer keeps what was freed")
    with server.connect(name) as client:
        before, end = server.memory(), time.monotonic() + DEADLINE
        for _ in range(4000):
            client.send(b"x")
            while client.unread() > 0:
                assert time.monotonic() < end, "the daemon has stopped to read"
        assert server.memory() - before < 4 << 20


# --- other protocols on a port of lines ---


PORTS = {
    "kv": b"ERROR: this is the echod key-value port, not %s\n",
    "upper": b"ERROR: this is the echod upper port, not %s\n",
    "time": b'{"error": "this is the echod time port, not %s"}\n',
}
EVIL = b'SET evil 1\r\n{"type": "time"}\r\n'
FOREIGN = {
    "http-get": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP"),
    "http-post": (b"POST /x HTTP/1.1\r\nContent-Type: text/plain\r\n\r\n", b"HTTP"),
    "http-2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"HTTP"),
    "http-own-method": (b"FOO /x?y HTTP/1.1\r\nHost: rebound.example\r\n\r\n", b"HTTP"),
    "http-set": (b"SET /x HTTP/1.1\r\nHost: rebound.example\r\n\r\n", b"HTTP"),
    "http-del-without-cr": (b"DEL /x HTTP/1.0\n\n", b"HTTP"),
    "http-m-search": (b"M-SEARCH /x HTTP/1.1\r\n\r\n", b"HTTP"),
    "http-3": (b"get /x HTTP/3.0\r\n\r\n", b"HTTP"),
    "http-longer-than-a-line-with-nul": (b"GET /" + b"x" * 3000 + b" HTTP/1.1\r\0\n", b"HTTP"),
    "host-first": (b"host: rebound.example\r\n\r\n", b"HTTP"),
    "host-without-a-blank": (b"HOST:rebound.example:9002\r\n\r\n", b"HTTP"),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"TLS"),
    "tls-longer-than-a-line": (b"\x16\x03\x01\x02\x00" + b"x" * 3000, b"TLS"),
    "resp": (b"*3\r\n$3\r\nSET\r\n$4\r\nevil\r\n$1\r\n1\r\n", b"RESP"),
}


def rest_of(client):
    """What comes until the end, without kv's greeting; the client's own bytes may cut it short."""
    return client.rest().removeprefix(b"READY\n")


def has_been_executed(server, name):
    """Whether something of EVIL was; what upper and time execute, they answer."""
    if name != "kv":
        return False
    with server.kv() as client:
        return client.ask(b"GET evil") != b"NOT_FOUND"


@pytest.mark.parametrize("request_, protocol", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("name", PORTS)
def test_another_protocol_gets_one_line_and_the_door(echod, name, request_, protocol):
    server = echod(SERVICES)
    with server.connect(name, "tcp") as client:
        client.send(request_ + EVIL)
        assert rest_of(client) == PORTS[name] % protocol
    server.wait_closed("protocol")
    assert not has_been_executed(server, name)


@pytest.mark.parametrize("name", PORTS)
def test_a_host_header_is_shown_the_door_at_any_time(echod, name):
    """Behind a request line that is none of ours to know, before the body is reached."""
    server = echod(SERVICES)
    with server.connect(name, "tcp") as client:
        client.send(b"[]\r\nSET http://rebound.example/x HTTP/1.1\r\nHost: rebound.example\r\n\r\n" + EVIL)
        answers = rest_of(client)
    assert answers.endswith(PORTS[name] % b"HTTP") and answers.count(b"\n") == 3
    assert not has_been_executed(server, name)


def test_a_blank_line_does_not_hide_a_request(echod):
    """No browser sends one; behind it the method may be a verb, but the body is not reached."""
    server = echod(SERVICES)
    with server.connect("kv", "tcp") as client:
        client.send(b"\r\nSET /x HTTP/1.1\r\nHost: rebound.example\r\n\r\n" + EVIL)
        assert rest_of(client) == b"ERROR: empty command\nOK\n" + PORTS["kv"] % b"HTTP"
    assert not has_been_executed(server, "kv")


@pytest.mark.parametrize("request_", [b"SET /x HTTP/1.1\r\nHost: rebound.example\r\n", b"x\r\nHost: y\r\n"],
                         ids=["first-line", "host"])  # fmt: skip
def test_a_request_in_any_two_reads(echod, request_):
    server = echod(SERVICES)
    for at in range(1, len(request_)):
        with server.connect("kv", "tcp") as client:
            client.send_read(request_[:at])
            client.send(request_[at:] + EVIL)
            assert rest_of(client).endswith(PORTS["kv"] % b"HTTP"), f"cut at {at}"
    assert not has_been_executed(server, "kv")


def test_another_protocol_on_the_control_socket(echod):
    server = echod({"control": {"listen": "unix://$DIR/control"}})
    for request in b"SET /x HTTP/1.1\r\n", b"reopen\r\nhost:x\r\n":
        with server.connect("control") as client:
            client.send(request + b"log debug\r\n")
            assert client.rest().endswith(b"ERROR: this is the echod control port, not HTTP\n")
    assert not server.log.matches("logs debug")


def test_values_that_resemble_http_are_stored(echod):
    server = echod(SERVICES)
    with server.kv() as client:
        assert client.ask(b"SET note HTTP/1.1") == b"OK"
        assert client.ask(b"SET /x HTTP/1.1") == b"OK"
        assert client.ask(b"SET Host: x") == b"OK"
        assert client.ask(b"GET /x") == b"HTTP/1.1"
    with server.kv() as client:
        assert client.ask(b"GET /") == b"NOT_FOUND"


@pytest.mark.parametrize("reads", [(), (2100,), (3, 2010, 2510), (2200, 2300, 2515)], ids=["1", "2", "4", "4-late"])
@pytest.mark.parametrize("name", PORTS)
@pytest.mark.parametrize("begin", [b"POST /", b"SET /", b"A" * 1500 + b" /", b"Host: ", b"host:"])
def test_a_url_longer_than_a_line_does_not_hide_a_request(echod, name, reads, begin):
    """A browser sends URLs of any length; the lines of the body must not be served behind one."""
    server = echod(SERVICES)
    request = begin + b"x" * 2500 + b" HTTP/1.1\r\n\r\n" + EVIL
    with server.connect(name, "tcp") as client:
        for begin, end in itertools.pairwise((0, *reads)):
            client.send_read(request[begin:end])
        client.send(request[reads[-1] if reads else 0 :])
        assert rest_of(client) == PORTS[name] % b"HTTP"
    assert not has_been_executed(server, name)


@pytest.mark.parametrize("name", ["upper", "time"])
def test_what_resembles_another_protocol_is_served(echod, name):
    server = echod(SERVICES)
    lines = [b"POST / x HTTP/1.1", b"*1", b"\x16\x03", b"PUSH / HTTP/1.1", b"x" * 2500 + b" HTTP/1.1"]
    with server.connect(name, "tcp") as client:
        for line in lines:
            assert b"port, not" not in client.ask(line)
