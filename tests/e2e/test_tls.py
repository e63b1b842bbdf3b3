"""The bytes of TLS: every service at tls://, records and segments of every size, ends of every kind, and clients that break the rules."""

import fcntl
import os
import signal
import ssl
import struct
import subprocess
import tempfile
import termios
import threading
import time
from pathlib import Path

import pytest

import certificates
import harness
import resp
import tls_client
from harness import DEADLINE, program, wait_until
from tls_client import ALERT, DATA, HANDSHAKE, KEY_UPDATE, Client, records, trusting, writer

pytestmark = pytest.mark.skipif(
    " tls" not in harness.run_echod("-V").stdout, reason="echod is built without TLS")

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
MIB = 1 << 20
every_version = pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])


@pytest.fixture(scope="module")
def directory():
    with tempfile.TemporaryDirectory(prefix="echod-") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def authority(directory):
    return certificates.ca(directory)


@pytest.fixture(scope="module")
def certificate(authority):
    return authority.issue("127.0.0.1", "localhost")


@pytest.fixture
def serve(echod, certificate):
    """Starts a daemon; each service is at a tls:// address, unless it says where."""

    def serve(services, **sections):
        for settings in services.values():
            settings.setdefault("listen", "tls://127.0.0.1:0")
        server = echod(services, tls={"certificate": str(certificate.chain), "key": str(certificate.key)}, **sections)
        server.sections = {"tls": {"certificate": str(certificate.chain), "key": str(certificate.key)}, **sections}
        return server

    return serve


@pytest.fixture
def trust(authority):
    return trusting(authority)


@pytest.fixture
def connect(trust):
    """A client of an instance, which has ended its handshake."""
    clients = []

    def connect(server, name, context=None, transport=None, **options):
        client = Client(server.address(name, transport), context or trust, **options)
        clients.append(client)
        return client

    yield connect
    for client in clients:
        client.close()


def expect_end(client, reason, server, since=0):
    """The connection ends for this reason; nothing in it was in the clear."""
    found = client.expect_only_records()
    server.wait_closed(reason, since=since)
    return found


# --- services ---


@every_version
def test_echo(serve, connect, authority, version):
    client = connect(serve({"echo": {}}), "echo", trusting(authority, version))
    client.send(b"hello")
    assert client.exactly(5) == b"hello"
    client.half_close()
    assert client.rest() == b""
    assert client.sock.recv(1) == b""


@every_version
@pytest.mark.parametrize("size", [1, 16383, 16384, 16385, 65535, 65536, 65537, MIB])
def test_echo_of_sizes(serve, connect, authority, version, size):
    client = connect(serve({"echo": {}}), "echo", trusting(authority, version))
    data = os.urandom(size)
    assert client.exchange(data, size) == data
    client.half_close()
    assert client.rest() == b""


@pytest.mark.parametrize(("mode", "said", "answer"), [
    ("line", b"one\ntwo\nrest", b"ONE\nTWO\nREST"), ("stream", b"one\ntwo", b"ONE\nTWO"), ("once", b"one two", b"ONE TWO"),
])
def test_upper(serve, connect, mode, said, answer):
    client = connect(serve({"upper": {"mode": mode}}), "upper")
    client.send(said)
    client.half_close()
    assert client.rest() == answer


def test_services_that_speak_first(serve, connect):
    server = serve({"daytime": {}, "rfc868": {}})
    assert connect(server, "daytime").rest().endswith(b"\r\n")
    assert len(connect(server, "rfc868").rest()) == 4


def test_time(serve, connect):
    client = connect(serve({"time": {}}), "time")
    client.send(b"[]\n")
    assert client.line() == b'{"error": "unknown request"}\n'


def test_chargen_and_discard(serve, connect):
    server = serve({"chargen": {}, "discard": {}})
    client = connect(server, "chargen")
    assert len(set(client.lines(10_000))) > 90
    client.close()
    client = connect(server, "discard")
    client.send(bytes(MIB))
    client.half_close()
    assert client.rest() == b""
    server.log.wait(r"bytes_in=1048576|1048576")


def test_kv(serve, connect):
    server = serve({"kv": {}})
    client = connect(server, "kv")
    assert client.line() == b"READY\n"
    client.send(b"SET a 1\nGET a\nQUIT\n")
    assert client.rest() == b"OK\n1\nBYE\n"


@pytest.mark.parametrize("size", [1, 5000, 3 * MIB])
def test_file(serve, connect, workdir, size):
    data = os.urandom(size)
    (workdir / "file").write_bytes(data)
    assert connect(serve({"file": {"path": str(workdir / "file")}}), "file").rest() == data


def test_file_of_the_kernel(serve, connect):
    served = connect(serve({"file": {"path": "/proc/version"}}), "file").rest()
    assert served == Path("/proc/version").read_bytes()


def test_truncated_file_is_not_taken_for_whole(serve, connect, workdir):
    """No close_notify comes, but a reset."""
    with open(workdir / "file", "wb") as file:
        file.truncate(64 * MIB)
        server = serve({"file": {"path": str(workdir / "file")}})
        client = connect(server, "file")
        client.exactly(100_000)
        file.truncate(MIB)
        with pytest.raises(OSError):
            client.rest()
    server.wait_closed("reset")
    server.log.wait("was truncated while a client was reading it")


def test_exec(serve, connect):
    client = connect(serve({"exec": {"command": ["/usr/bin/sort"]}}), "exec")
    client.send(b"b\na\n")
    client.half_close()
    assert client.rest() == b"a\nb\n"


def test_a_handshake_takes_the_place_of_a_program(serve, connect):
    server = serve({"exec": {"command": ["cat"], "max_children": 2}})
    first, second, *others = [connect(server, "exec", handshake=False) for _ in range(6)]
    for other in others:
        assert other.receive_raw() == b""
    first.close()
    server.wait_closed("client_eof")
    second.handshake()
    third = connect(server, "exec")
    assert (second.ask(b"2"), third.ask(b"3")) == (b"2", b"3")
    assert connect(server, "exec", handshake=False).receive_raw() == b""
    server.wait_closed("limit", 5)


@every_version
@pytest.mark.parametrize("end", ["stop", "reload"])
def test_what_is_behind_a_slow_reader_is_answered(serve, connect, authority, version, end):
    """A record that is sent in part is in the way of reading."""
    server = serve({"echo": {}, "daytime": {}})
    client = connect(server, "echo", trusting(authority, version))
    data = os.urandom(4 * MIB)
    sealed = [client.seal(data[i : i + 16384]) for i in range(0, len(data), 16384)]
    sent = client.send_some(b"".join(sealed))
    least = (sent - struct.unpack("i", fcntl.ioctl(client.sock, termios.TIOCOUTQ, bytes(4)))[0]) // len(sealed[0]) * 16384
    assert least > MIB // 4
    if end == "stop":
        server.send_signal(signal.SIGTERM)
        server.log.wait(" info echod: stopping")
    else:
        assert server.reload({"daytime": {"listen": "tls://127.0.0.1:0"}}, **server.sections)
    received = client.rest()  # to a close_notify
    assert received == data[: len(received)]
    assert len(received) >= least
    server.wait_closed("shutdown" if end == "stop" else "reload")


@pytest.mark.parametrize("leave", ["close", "linger", "serve"])
def test_a_client_waits_for_the_place_of_a_handshake(serve, connect, leave):
    server = serve({"exec": {"command": ["cat"], "max_children": 1, "on_limit": "queue"}})
    first, second = (connect(server, "exec", handshake=False) for _ in range(2))
    assert not second.readable()
    if leave == "close":
        first.close()
    elif leave == "linger":
        first.send_raw(b"in the clear\r\n")
        assert first.sock.recv(100) == b"ERROR: this port speaks TLS\r\n"
    else:
        first.handshake()
        assert first.ask(b"1") == b"1"
        assert not second.readable()
        first.close()
    second.handshake()
    assert second.ask(b"2") == b"2"


def test_redis_clients(serve, certificate, authority):
    redis = pytest.importorskip("redis")
    server = serve({"kv": {"listen": "rediss://127.0.0.1:0"}})
    port = server.address("kv").port
    with redis.Redis(port=port, ssl=True, ssl_ca_certs=str(authority.pem), ssl_check_hostname=True,
                     host="127.0.0.1") as client:  # fmt: skip
        assert client.set("a", os.urandom(60_000)) and client.strlen("a") == 60_000
        with client.pipeline() as pipeline:
            for i in range(1000):
                pipeline.set(i, i).get(i)
            assert pipeline.execute()[1::2] == [b"%d" % i for i in range(1000)]
        subscriber = client.pubsub(ignore_subscribe_messages=True)
        subscriber.subscribe("news")
        subscriber.get_message(timeout=DEADLINE)
        client.publish("news", "hello")
        assert subscriber.get_message(timeout=DEADLINE)["data"] == b"hello"
    if program("redis-cli") is not None:
        done = subprocess.run(["redis-cli", "--tls", "--cacert", authority.pem, "-p", str(port), "STRLEN", "a"],
                              capture_output=True, timeout=DEADLINE, check=True)  # fmt: skip
        assert done.stdout == b"60000\n"


# --- records and segments ---


def one_by_one(client):
    """Sends each byte in a segment of its own."""
    def send(data):
        for i in range(len(data)):
            client.send_raw(data[i : i + 1])

    return send


@every_version
def test_ciphertext_in_single_bytes(serve, authority, version):
    with Client(serve({"kv": {}}).address("kv"), trusting(authority, version), handshake=False) as client:
        client.handshake(one_by_one(client))
        one_by_one(client)(client.seal(b"SET a 1\nGET a\n"))
        client.half_close()
        assert client.rest() == b"READY\nOK\n1\n"


@every_version
def test_records_of_single_bytes(serve, connect, authority, version):
    client = connect(serve({"kv": {}}), "kv", trusting(authority, version))
    request = b"SET a 1\nGET a\n" * 200
    client.send_raw(b"".join(client.seal(request[i : i + 1]) for i in range(len(request))))
    client.half_close()
    assert client.rest() == b"READY\n" + b"OK\n1\n" * 200


def test_record_in_many_segments(serve, connect):
    client = connect(serve({"echo": {}}), "echo")
    data = os.urandom(16384)
    sealed = client.seal(data)
    for i in range(0, len(sealed), 1000):
        client.send_raw(sealed[i : i + 1000])
        wait_until(lambda: client.unread() == 0, "the daemon reads")
    assert client.exactly(len(data)) == data


@every_version
def test_data_behind_the_handshake_in_one_segment(serve, authority, version):
    """The client's Finished, a request, and its close_notify."""
    with Client(serve({"kv": {}}).address("kv"), trusting(authority, version), handshake=False) as client:
        if version == TLS13:
            client._call(client.tls.do_handshake)
            client.tls.write(b"GET a\n")
            client.half_close()
        else:
            client.handshake()
            client.send(b"GET a\n")
            client.half_close()
        assert client.rest() == b"READY\nNOT_FOUND\n"


def test_empty_and_padded_records(serve, trust):
    client, write = writer(serve({"echo": {}}).address("echo"), trust)
    with client:
        client.send_raw(write.record(DATA, b"") * 1 + write.record(DATA, b"a", padding=16000) + write.record(DATA, b"b"))
        assert client.exactly(2) == b"ab"


def test_reader_that_stops_in_the_middle_of_a_record(serve, connect):
    """And goes on: all is there, and in order."""
    server = serve({"chargen": {}, "echo": {}})
    client = connect(server, "chargen", receive_buffer=4096)
    wait_until(lambda: stands_still(client), "the daemon cannot send")
    client.lines(2000)
    client.close()
    client = connect(server, "echo", receive_buffer=4096)
    data = os.urandom(8 * MIB)
    sealed = b"".join(client.seal(data[i : i + 10_000]) for i in range(0, len(data), 10_000))
    sent = client.send_some(sealed)
    assert sent < len(sealed), "the daemon has read it all, although its answers are not read"
    thread = threading.Thread(target=client.send_raw, args=[sealed[sent:]])
    thread.start()
    assert client.exactly(len(data)) == data
    thread.join()


def stands_still(client):
    """Whether the daemon's socket has the same to send as a moment ago."""
    before = client.queues_there()[0]
    time.sleep(0.05)
    return before > 0 and before == client.queues_there()[0]


# --- ends ---


@every_version
def test_half_close_gets_all_answers(serve, connect, authority, version):
    client = connect(serve({"kv": {}}), "kv", trusting(authority, version))
    client.send(b"GET a\n" * 20_000)
    client.half_close()
    assert client.rest() == b"READY\n" + b"NOT_FOUND\n" * 20_000
    assert client.sock.recv(1) == b""


@every_version
def test_fin_alone_answers_whole_lines(serve, connect, authority, version):
    server = serve({"kv": {}, "upper": {"mode": "line"}, "echo": {}})
    client = connect(server, "kv", trusting(authority, version))
    client.send(b"SET a 1\nSET b 2")
    client.fin()
    assert client.rest() == b"READY\nOK\n"
    client = connect(server, "kv")
    client.send(b"GET b\n")
    assert client.lines(2) == [b"READY\n", b"NOT_FOUND\n"]
    client = connect(server, "upper", trusting(authority, version))
    client.send(b"line\ntail")
    client.fin()
    assert client.rest() == b"LINE\n"
    client = connect(server, "echo", trusting(authority, version))
    client.send(b"hello")
    client.fin()
    assert client.rest() == b"hello"


def test_fin_alone_is_no_end_for_a_program(serve, connect, workdir):
    """It is ended without an EOF."""
    server = serve({"exec": {"command": ["/bin/sh", "-c", f"cat; echo all >{workdir}/end"]}})
    client = connect(server, "exec")
    client.send(b"half of it")
    client.fin()
    with pytest.raises(OSError):
        client.rest()
    server.log.wait(r"closed: tls \(.*\): truncated$")
    server.log.wait("the program has ended")
    assert not (workdir / "end").exists()


# --- handshakes that come to nothing ---


def start_of_handshake(client):
    """The client's hello."""
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    return client.outgoing.read()


@every_version
@pytest.mark.parametrize("end", ["reset", "fin"])
@pytest.mark.parametrize("state", ["nothing", "half a hello", "hello", "flight", "finished"])
def test_connection_that_ends_in_its_handshake(serve, authority, version, state, end):
    server = serve({"kv": {}})
    fds = server.fds()
    client = Client(server.address("kv"), trusting(authority, version), handshake=False)
    hello = start_of_handshake(client)
    if state == "half a hello":
        client.send_raw_read(hello[: len(hello) // 2])
    elif state != "nothing":
        client.send_raw_read(hello)
    if state in ("flight", "finished"):
        client.receive_raw()
    if state == "finished":
        client.handshake()
    if end == "reset":
        client.reset()
    else:
        client.fin()
        while client.receive_raw():
            pass
        client.close()
    server.wait_closed("reset" if end == "reset" else "client_eof")
    wait_until(lambda: server.fds() == fds, "the descriptor is free")


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"SET a 1\n", b"\n", b"*1\r\n$4\r\nPING\r\n", bytes(100_000)],
                         ids=["http", "kv", "empty", "resp", "zeros"])
def test_plain_text_at_a_tls_port(serve, said):
    server = serve({"kv": {"listen": ["tls://127.0.0.1:0", "rediss://127.0.0.1:0"]}})
    for scheme, answer in (("tls", b"ERROR: "), ("rediss", b"-ERR ")):
        mark = server.log.mark()
        with server.connect("kv", scheme) as client:
            client.send(said)
            client.half_close()
            assert client.rest() == answer + b"this port speaks TLS\r\n"
        server.wait_closed("protocol", since=mark)


def test_tls_at_a_plain_port(serve, trust):
    server = serve({"kv": {"listen": "tcp://127.0.0.1:0"}})
    with Client(server.address("kv"), trust, handshake=False) as client:
        client.send_raw(start_of_handshake(client))
        client.fin()
        assert harness.Stream.rest(client) == b"READY\nERROR: this is the echod key-value port, not TLS\n"


def weak(authority, ciphers, version=None):
    context = trusting(authority)
    context.minimum_version = version or TLS12
    context.maximum_version = version or TLS12
    context.set_ciphers(ciphers)
    return context


def test_nothing_in_common(serve, authority):
    server = serve({"echo": {}})
    contexts = [weak(authority, "AES256-SHA"), weak(authority, "ALL:@SECLEVEL=0", ssl.TLSVersion.TLSv1_1),
                weak(authority, "ALL:@SECLEVEL=0", ssl.TLSVersion.TLSv1)]  # fmt: skip
    for context in contexts:
        mark = server.log.mark()
        client = Client(server.address("echo"), context, handshake=False)
        client.send_raw(start_of_handshake(client))
        assert [kind for kind, _ in client.expect_only_records()] == [ALERT]
        client.close()
        server.log.wait(r"closed: tls \(.*\): handshake", mark)


@every_version
def test_client_that_does_not_trust_us(serve, version):
    server = serve({"echo": {}})
    context = ssl.create_default_context()
    context.minimum_version = context.maximum_version = version
    with Client(server.address("echo"), context, handshake=False) as client:
        with pytest.raises(ssl.SSLCertVerificationError):
            client.handshake()
        client.flush()
        client.expect_only_records()
    server.log.wait(r"closed: tls \(.*\): alert, .*unknown ca")


def test_garbage_in_place_of_a_hello(serve, trust, randomness):
    server = serve({"echo": {}})
    for _ in range(50):
        client = Client(server.address("echo"), trust, handshake=False)
        hello = bytearray(start_of_handshake(client))
        for _ in range(randomness.randint(1, 20)):
            hello[randomness.randint(1, len(hello) - 1)] = randomness.randint(0, 255)
        client.send_raw(hello)
        client.fin()
        records(harness.Stream.rest(client))
        client.close()
    server.log.wait("closed: ", count=50)


def test_silent_clients_make_room_for_others(serve, connect, trust):
    """More than 16 of one source have a second each, and a healthy client is served meanwhile."""
    server = serve({"echo": {}})
    began = time.monotonic()
    silent = [Client(server.address("echo"), trust, handshake=False) for _ in range(40)]
    for client in silent[20:]:
        client.send_raw(start_of_handshake(client)[:100])
    client = connect(server, "echo")
    client.send(b"hello")
    assert client.exactly(5) == b"hello"
    server.log.wait(r"closed: tls \(.*\): crowded$", count=24)
    assert time.monotonic() - began < 9
    for client in silent:
        client.close()


@pytest.mark.slow
def test_deadlines(serve, connect, trust):
    """10 seconds for a handshake, whatever comes meanwhile, and 30 for a client that reads nothing of a record."""
    server = serve({"chargen": {}, "echo": {"idle_timeout": 0}})
    reader = connect(server, "chargen", receive_buffer=4096)
    served = connect(server, "echo")
    silent, slow = (Client(server.address("echo"), trust, handshake=False) for _ in range(2))
    began = time.monotonic()
    hello = start_of_handshake(slow)
    for i in range(5):
        slow.send_raw_read(hello[i * 20 : i * 20 + 20])
        time.sleep(1)
    server.log.wait(r" echo .*closed: tls \(.*\): timeout$", count=2)
    assert 9.5 < time.monotonic() - began < 10 + DEADLINE / 2
    for client in silent, slow:
        client.expect_only_records()
        client.close()
    server.log.wait(r" chargen .*closed: slow_reader \(", deadline=30 + DEADLINE)
    assert 28 < time.monotonic() - began
    with pytest.raises(OSError):
        reader.rest()  # no close_notify comes
    assert b"ABCDEFGH" not in b"".join(reader.seen)
    served.send(b"hello")
    assert served.exactly(5) == b"hello"


def test_no_handshake_for_who_is_refused(serve, connect, trust):
    server = serve({"echo": {"max_connections": 1}})
    client = connect(server, "echo")
    with Client(server.address("echo"), trust, handshake=False) as other:
        other.send_raw(start_of_handshake(other))
        try:
            assert other.sock.recv(1) == b""
        except ConnectionResetError:
            pass
    server.wait_closed("limit")
    client.send(b"hello")
    assert client.exactly(5) == b"hello"


def test_resumption(serve, connect, trust, authority, certificate):
    server = serve({"echo": {}})
    for version in (TLS12, TLS13):
        context = trusting(authority, version)
        first = connect(server, "echo", context)
        first.send(b"a")
        first.exactly(1)
        second = connect(server, "echo", context, session=first.tls.session)
        assert second.tls.session_reused
        server.reload({"echo": {"listen": "tls://127.0.0.1:0", "max_connections": 77}}, **server.sections)
        third = connect(server, "echo", context, session=first.tls.session)
        third.send(b"b")
        assert third.exactly(1) == b"b"


# --- after the handshake ---


def flip(record):
    return record[:-1] + bytes([record[-1] ^ 1])


@every_version
def test_damaged_record(serve, connect, authority, version):
    server = serve({"echo": {}})
    client = connect(server, "echo", trusting(authority, version))
    client.send(b"hello")
    assert client.exactly(5) == b"hello"
    client.send_raw(client.seal(b"SECRET") + flip(client.seal(b"SECRET")))
    found = expect_end(client, "tls", server)
    assert found[-1][0] == (ALERT if version == TLS12 else DATA)
    server.log.wait(r"closed: tls \(.*\): record, ")
    assert b"SECRET" not in b"".join(client.seen)


def test_waiting_output_never_leaves_in_the_clear(serve, connect):
    server = serve({"chargen": {}})
    client = connect(server, "chargen", receive_buffer=4096)
    wait_until(lambda: stands_still(client), "the daemon cannot send")
    client.send_raw(flip(client.seal(b"SECRET")))
    raw = bytearray(b"".join(client.seen))
    while piece := client.sock.recv(1 << 18):
        raw += piece
    assert b"ABCDEFGH" not in raw
    server.log.wait(r"closed: tls \(.*\): record, ")


def test_replies_that_wait_for_a_commit_do_not_leave_in_the_clear(echod, serve, connect, faults, certificate):
    server = echod({"kv": {"listen": "tls://127.0.0.1:0", "storage": str(faults.root / "kv"), "sync": "always"}},
                   tls={"certificate": str(certificate.chain), "key": str(certificate.key)}, env=faults.env)  # fmt: skip
    client = connect(server, "kv")
    assert client.line() == b"READY\n"
    with faults.wal.sync.held() as barrier:
        client.send(b"SET a 1\nGET a\n")
        wait_until(lambda: barrier.waiting, "the commit waits for the disk")
        client.send_raw(flip(client.seal(b"GET a\n")))
        wait_until(client.readable, "an alert comes")
    client.expect_only_records()
    server.log.wait(r"closed: tls \(.*\): record, ")
    client = connect(server, "kv")
    client.send(b"GET a\n")
    assert client.lines(2) == [b"READY\n", b"1\n"]


def test_messages_to_a_subscriber_that_has_broken_tls(serve, connect):
    server = serve({"kv": {"listen": "rediss://127.0.0.1:0"}})
    subscriber, publisher = connect(server, "kv"), connect(server, "kv")
    subscriber.send(resp.request("SUBSCRIBE", "c"))
    subscriber.until(b":1\r\n")
    subscriber.send_raw(flip(subscriber.seal(b"x")))
    publisher.send(resp.request("PUBLISH", "c", "SECRET") * 3)
    assert set(publisher.lines(3)) <= {b":0\r\n", b":1\r\n"}
    subscriber.fin()
    subscriber.expect_only_records()
    assert b"SECRET" not in b"".join(subscriber.seen)
    server.log.wait(r"closed: tls \(.*\): record, ")


def test_slow_subscriber_gets_nothing_in_the_clear(serve, connect):
    server = serve({"kv": {"listen": "rediss://127.0.0.1:0", "max_value": 60_000}})
    subscriber, publisher = connect(server, "kv", receive_buffer=4096), connect(server, "kv")
    subscriber.send(resp.request("SUBSCRIBE", "c"))
    subscriber.until(b":1\r\n")
    message = resp.request("PUBLISH", "c", b"SECRET" * 10_000)
    for _ in range(200):
        publisher.send(message)
        if publisher.line() == b":0\r\n":
            break
    server.wait_closed("slow_reader")
    try:
        while subscriber.receive_raw():
            pass
    except ConnectionResetError:
        pass
    assert b"SECRET" not in b"".join(subscriber.seen)


def test_limits_of_lines_and_of_silence(serve, connect):
    server = serve({"kv": {"max_line": 1000, "max_key": 10, "max_value": 500, "idle_timeout": 1}})
    client = connect(server, "kv")
    client.send(b"x" * 5000 + b"\nGET a\n")
    assert client.lines(3) == [b"READY\n", b"ERROR: line too long\n", b"NOT_FOUND\n"]
    assert client.rest() == b"", "close_notify comes"
    server.wait_closed("idle")


@pytest.mark.parametrize("request_ours", [False, True])
def test_a_few_key_updates(serve, trust, request_ours):
    server = serve({"echo": {}})
    client, write = writer(server.address("echo"), trust)
    with client:
        for _ in range(32):
            client.send_raw(write.key_update(request_ours) + write.record(DATA, b"hello"))
            assert client.exactly(5) == b"hello"
        client.send_raw(write.record(ALERT, tls_client.CLOSE_NOTIFY))
        assert client.rest() == b""
    server.wait_closed("client_eof")


def test_too_many_key_updates(serve, trust):
    server = serve({"echo": {}})
    client, write = writer(server.address("echo"), trust)
    with client:
        client.send_raw(b"".join(write.key_update() for _ in range(33)))
        client.expect_only_records()
    server.log.wait(r"closed: tls \(.*\): key_updates$")


@pytest.mark.parametrize("service", ["chargen", "kv"])
def test_key_updates_while_the_daemon_cannot_send(serve, trust, service):
    """Its own KeyUpdate waits behind a record that is half sent; nothing is lost when the client reads on."""
    server = serve({"chargen": {}, "kv": {"max_value": 60_000}})
    client, write = writer(server.address(service), trust, receive_buffer=4096)
    with client:
        if service == "kv":
            value = b"x" * 60_000
            client.send_raw(b"".join(write.record(DATA, part) for part in (b"SET a " + value[:10_000], value[10_000:20_000],
                                                                          value[20_000:35_000], value[35_000:50_000], value[50_000:] + b"\n")))  # fmt: skip
            assert client.lines(2) == [b"READY\n", b"OK\n"]
            client.send_raw(write.record(DATA, b"GET a\n" * 200))
        wait_until(lambda: stands_still(client), "the daemon cannot send")
        for _ in range(3):
            client.send_raw(write.key_update(request=True))
        if service == "kv":
            client.send_raw(write.record(DATA, b"PING\n"))
            for _ in range(200):
                assert client.line() == value + b"\n"
            assert client.line() == b"PONG\n"
        else:
            lines = client.lines(100_000)
            assert all(len(line) == 74 for line in lines)


def test_part_of_a_handshake_message(serve, trust):
    """OpenSSL sends nothing until it has the rest: the client is ended, and the daemon does not spin."""
    server = serve({"echo": {}})
    client, write = writer(server.address("echo"), trust)
    with client:
        client.send_raw(write.record(DATA, b"hello") + write.record(HANDSHAKE, KEY_UPDATE[:4]))
        client.expect_only_records()
    server.log.wait(r"closed: tls \(.*\): record$")


@pytest.mark.parametrize("kind, content", [
    (HANDSHAKE, KEY_UPDATE[:-1] + b"\7"), (HANDSHAKE, b"\x18\0\0\2\0\0"), (HANDSHAKE, b"\1\0\0\1\0"), (HANDSHAKE, b"\x18\xff\xff\xff"), (20, b"\1"), (24, b"\1"), (0, b""), (ALERT, b"\1"), (HANDSHAKE, b""),
])
def test_records_against_the_rules(serve, trust, kind, content):
    server = serve({"echo": {}})
    client, write = writer(server.address("echo"), trust)
    with client:
        client.send_raw(write.record(DATA, b"hello") + write.record(kind, content))
        client.fin()
        client.expect_only_records()
    server.wait_closed("tls")


# --- a stop and a reload ---


@every_version
def test_stop_in_the_middle_of_everything(serve, connect, trust, authority, version):
    server = serve({"kv": {}, "echo": {}})
    silent = Client(server.address("kv"), trust, handshake=False)
    half = Client(server.address("kv"), trusting(authority, version), handshake=False)
    half.send_raw_read(start_of_handshake(half))
    client = connect(server, "kv", trusting(authority, version))
    client.send(b"GET a\n")
    assert client.lines(2) == [b"READY\n", b"NOT_FOUND\n"]
    with server.stopped(0):
        client.send(b"SET a 1\n" * 1000 + b"half")
        server.send_signal(harness.signal.SIGTERM)
    assert client.rest() == b"OK\n" * 1000
    client.close()
    assert silent.sock.recv(1) == b""
    half.expect_only_records()
    silent.close()
    half.close()
    server.wait_stopped()


def test_reload_without_the_address(serve, connect, trust):
    server = serve({"chargen": {}, "kv": {}})
    half = Client(server.address("kv"), trust, handshake=False)
    half.send_raw_read(start_of_handshake(half))
    client, reader = connect(server, "kv"), connect(server, "chargen")
    client.line()
    client.send(b"GET a\n" * 1000)
    reader.lines(10)
    assert server.reload({"echo": {"listen": "tls://127.0.0.1:0"}}, **server.sections)
    assert client.rest() == b"NOT_FOUND\n" * 1000
    assert reader.rest().endswith(b"\n")
    half.expect_only_records()
    half.close()


# --- programs of others ---


def needs(name):
    return pytest.mark.skipif(program(name) is None, reason=f"{name} is not installed")


@needs("openssl")
@every_version
def test_s_client(serve, authority, version):
    address = serve({"kv": {}}).address("kv")
    option = "-tls1_2" if version == TLS12 else "-tls1_3"
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{address.port}", "-CAfile", authority.pem, "-quiet",
               "-verify_return_error", "-no_ign_eof", option]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        assert run.stdout.readline() == b"READY\n"
        run.stdin.write(b"SET a 1\nGET a\nQUIT\n")
        run.stdin.flush()
        assert [run.stdout.readline() for _ in range(3)] == [b"OK\n", b"1\n", b"BYE\n"]
        run.stdin.close()
        assert run.stdout.read() == b""


@needs("openssl")
def test_renegotiation_is_refused(serve, connect, authority):
    """It would cost us a signature each time. TLS 1.3 has none."""
    server = serve({"kv": {}})
    client = connect(server, "kv")
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.address('kv').port}", "-CAfile", authority.pem,
               "-tls1_2", "-no_ign_eof"]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
        while (line := run.stdout.readline()) != b"READY\n":
            assert line, "s_client has ended"
        run.stdin.write(b"R\n")
        run.stdin.flush()
        said = run.stdout.read()
    assert b"RENEGOTIATING" in said and b"no renegotiation" in said
    server.log.wait(r"kv .*closed: ")
    client.send(b"GET a\n")
    assert client.lines(2) == [b"READY\n", b"NOT_FOUND\n"]


@needs("socat")
def test_socat(serve, authority):
    address = serve({"kv": {}}).address("kv")
    done = subprocess.run(
        ["socat", "-t20", "-", f"OPENSSL:127.0.0.1:{address.port},cafile={authority.pem}"],
        input=b"SET a 1\n" + b"GET a\n" * 1000, capture_output=True, timeout=DEADLINE, check=True)  # fmt: skip
    assert done.stdout == b"READY\nOK\n" + b"1\n" * 1000


@needs("curl")
def test_curl(serve, authority):
    """It is told in a line that this is no web server, also behind the header of a proxy."""
    server = serve({"kv": {}, "proxied": {"type": "kv", "proxy_from": "127.0.0.1"}})
    for name, options in {"kv": [], "proxied": ["--haproxy-protocol"]}.items():
        done = subprocess.run(
            ["curl", "-s", "--http0.9", "--cacert", authority.pem, *options, f"https://127.0.0.1:{server.address(name).port}/"],
            capture_output=True, timeout=DEADLINE, check=False)  # fmt: skip
        assert done.stdout.endswith(b"ERROR: this is the echod key-value port, not HTTP\n"), done
    server.wait_closed("protocol", 2)


@needs("stunnel4")
def test_stunnel(serve, authority, workdir):
    server = serve({"echo": {}})
    port = harness.free_port()
    (workdir / "stunnel.conf").write_text(
        f"foreground = yes\npid =\n[echo]\nclient = yes\naccept = 127.0.0.1:{port}\n"
        f"connect = 127.0.0.1:{server.address('echo').port}\nCAfile = {authority.pem}\nverifyChain = yes\n")
    with subprocess.Popen(["stunnel4", workdir / "stunnel.conf"], stderr=subprocess.DEVNULL) as run:
        address = harness.Address.parse(f"tcp://127.0.0.1:{port}")
        client = wait_until(lambda: try_to_connect(address), "stunnel listens")
        data = os.urandom(MIB)
        assert client.exchange(data, half_close=True) == data
        client.close()
        run.terminate()


def try_to_connect(address):
    try:
        return harness.Stream(address)
    except ConnectionRefusedError:
        return None
