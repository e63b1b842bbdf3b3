"""echo: what comes goes back, over every transport."""

import os
import re
import socket

import pytest

from harness import connect
from transports import every_datagram, every_stream

ALL_BYTES = bytes(range(256))


@every_stream
def test_stream_returns_every_byte(echod, listen):
    with echod({"echo": {"listen": listen}}).connect("echo") as client:
        client.send(ALL_BYTES)
        assert client.exactly(256) == ALL_BYTES
        client.send(b"again")
        assert client.exactly(5) == b"again"


@every_stream
def test_stream_answers_what_came_before_the_half_close(echod, listen):
    with echod({"echo": {"listen": listen}}).connect("echo") as client:
        client.send(b"no line feed")
        client.half_close()
        assert client.rest() == b"no line feed"


@every_stream
def test_once_mode_closes_after_one_answer(echod, listen):
    with echod({"echo": {"listen": listen, "mode": "once"}}).connect("echo") as client:
        client.send(b"hello\n")
        assert client.rest() == b"hello\n"


@every_stream
def test_8_mib_come_back_whole(echod, listen):
    data = os.urandom(8 << 20)
    with echod({"echo": {"listen": listen}}).connect("echo") as client:
        assert client.exchange(data, half_close=True) == data


def test_a_client_that_does_not_read_is_not_read_either(echod):
    data = os.urandom(8 << 20)
    server = echod({"echo": {"listen": "unix://$DIR/stream"}})
    before = server.memory()
    with server.connect("echo") as client:
        sent = client.send_some(data)
        assert sent < 2 << 20, "back-pressure has to stop the sender early"
        if not server.has_sanitizer():
            assert server.memory() - before < 4 << 20
        assert client.exchange(data[sent:], length=len(data)) == data


def test_200_clients_at_once(echod):
    server = echod({"echo": {"listen": "tcp://127.0.0.1:0"}})
    clients = [server.connect("echo") for _ in range(200)]
    for number, client in enumerate(clients):
        client.send(b"client %d\n" % number)
    for number, client in enumerate(clients):
        assert client.line() == b"client %d\n" % number
    for client in reversed(clients):
        client.half_close()
        assert client.rest() == b""
        client.close()


def test_a_client_that_leaves_unheard_disturbs_nobody(echod):
    server = echod({"echo": {"listen": "tcp://127.0.0.1:0"}})
    with server.connect("echo") as stays:
        server.connect("echo").close()
        server.wait_closed("client_eof")
        assert stays.ask(b"still there?") == b"still there?"


def test_a_reset_ends_only_its_client(echod):
    server = echod({"echo": {"listen": "tcp://127.0.0.1:0"}})
    with server.connect("echo") as stays:
        leaver = server.connect("echo")
        assert leaver.ask(b"hello") == b"hello"
        leaver.reset()
        server.wait_closed("reset")
        assert stays.ask(b"still there?") == b"still there?"


def test_the_end_of_a_client_is_logged_with_its_counts(echod):
    server = echod({"echo": {"listen": "tcp://127.0.0.1:0"}})
    with server.connect("echo") as client:
        name = client.name
        client.ask(b"four")
        client.half_close()
        client.rest()
    server.log.wait(
        rf" debug echo {re.escape(name)}: closed: client_eof \(5 B in, 5 B out, \d+ ms\)$"
    )


@every_datagram
@pytest.mark.parametrize("size", [1, 1024, 1025, 9000, 65507])
def test_datagram_comes_back_whole(echod, listen, size):
    data = os.urandom(size)
    with echod({"echo": {"listen": listen}}).connect("echo") as client:
        assert client.ask(data) == data


@every_datagram
def test_empty_datagram_comes_back_empty(echod, listen):
    with echod({"echo": {"listen": listen}}).connect("echo") as client:
        assert client.ask(b"") == b""
        assert client.ask(b"next") == b"next"


@every_datagram
def test_a_burst_of_datagrams_is_answered_in_order(echod, listen):
    with echod({"echo": {"listen": listen}}).connect("echo") as client:
        for burst in range(20):
            requests = [b"%d.%d" % (burst, n) for n in range(8)]
            for request in requests:
                client.send(request)
            assert [client.receive() for _ in requests] == requests


def test_many_datagram_clients_get_their_own_answers(echod):
    server = echod({"echo": {"listen": "udp://127.0.0.1:0"}})
    clients = [server.connect("echo") for _ in range(100)]
    for number, client in enumerate(clients):
        client.send(b"client %d" % number)
    for number, client in enumerate(clients):
        assert client.receive() == b"client %d" % number
        client.close()


def test_one_instance_on_every_transport_at_once(echod):
    listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix://$DIR/s", "unix://@$ID",
              "unixgram://$DIR/d", "unixgram://@$ID.d"]  # fmt: skip
    server = echod({"echo": {"listen": listen}})
    addresses = server.addresses("echo")
    assert [a.transport for a in addresses] == [text.split(":")[0] for text in listen]
    for address in addresses:
        options = {"directory": server.directory} if address.transport == "unixgram" else {}
        with connect(address, **options) as client:
            client.send(b"ping")
            answer = client.exactly(4) if hasattr(client, "exactly") else client.receive()
            assert answer == b"ping"


def test_urgent_data_stays_in_its_place(echod):
    server = echod({"echo": {"listen": "tcp://127.0.0.1:0"}})
    with server.connect("echo") as client:
        client.send(b"one")
        client.sock.send(b"two", socket.MSG_OOB)
        client.send(b"three")
        assert client.exactly(11) == b"onetwothree"
        client.sock.send(b"!", socket.MSG_OOB)
        assert client.exactly(1) == b"!"
