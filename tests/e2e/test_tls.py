"""The bytes of TLS: every service at tls://, records and segments of every size, ends of every kind, and clients that break the rules."""

import os
import ssl
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

import certificates
import harness
import tls_client
from harness import DEADLINE, program, wait_until
from tls_client import ALERT, DATA, HANDSHAKE, KEY_UPDATE, Client, records, trusting, writer

pytestmark = pytest.mark.skipif(
    "without TLS" in harness.run_echod("-V").stdout, reason="echod is built without TLS")

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
