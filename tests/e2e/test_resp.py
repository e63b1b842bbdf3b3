"""kv in RESP: its addresses, its limits, the lines beside it, and what rests on a disk."""

import concurrent.futures
import errno
import re
import select
import signal
import socket
from contextlib import ExitStack

import pytest

import harness
import resp
from faults import NOTHING
from transports import needs_ipv6

LINES, SOCKET = "unix://$DIR/lines", "redis+unix://$DIR/kv"
TOO_LONG = b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"
FULL = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"


@pytest.fixture
def server(echod):
    return echod({"kv": {"listen": [LINES, SOCKET]}})


@pytest.fixture
def client(server):
    with resp.connect(server) as client:
        yield client


@pytest.fixture
def lines(server):
    with server.kv(transport="unix") as lines:
        yield lines


# --- addresses ---


@pytest.mark.parametrize(
    "listen",
    ["redis://127.0.0.1:0", pytest.param("redis://[::1]:0", marks=needs_ipv6), SOCKET, "redis+unix://@$ID"],
)
def test_addresses(echod, listen):
    server = echod({"kv": {"listen": listen}})
    address = server.address("kv")
    assert address.transport == listen.split(":")[0]
    with resp.connect(server, transport=None) as client:
        assert client.call("SET", "a", "1") == b"+OK\r\n"
        assert client.call("GET", "a") == b"$1\r\n1\r\n"
        assert client.call("QUIT") == b"+OK\r\n" and client.rest() == b""


def test_status_shows_the_scheme(echod):
    server = echod({"kv": {"listen": [SOCKET, "redis://127.0.0.1:0"]},
                    "control": {"listen": "unix://$DIR/control"}})  # fmt: skip
    with server.connect("control") as control:
        control.send(b"status\n")
        addresses = control.until(b"%s, %s" % tuple(str(server.address("kv", scheme)).encode()
                                                    for scheme in ("redis+unix", "redis")))  # fmt: skip
    assert b"kv: serves " in addresses


@pytest.mark.parametrize("service, address, why", [
    ("echo", "redis://127.0.0.1:0", 'echo does not speak RESP, only kv does'),
    ("time", "redis+unix:///run/x", 'time does not speak RESP, only kv does'),
    ("kv", "redis://127.0.0.1", "the port is missing: write redis://HOST:PORT"),
])  # fmt: skip
def test_addresses_that_are_refused(write, service, address, why):
    path = write("test.conf", harness.to_config({service: {"listen": address}}))
    result = harness.run_echod("-t", "-c", path)
    assert result.returncode == 78 and why in result.stderr


def test_one_port_cannot_have_both(write):
    listen = ["tcp://127.0.0.1:6379", "redis://127.0.0.1:6379"]
    path = write("test.conf", harness.to_config({"kv": {"listen": listen}}))
    assert "collides with" in harness.run_echod("-t", "-c", path).stderr


def test_a_reload_changes_what_is_spoken(echod):
    """The socket stays, and so does the client with its protocol."""
    port = harness.free_port()
    server = echod({"kv": {"listen": f"tcp://127.0.0.1:{port}"}})
    with server.kv() as before:
        assert before.ask(b"SET a 1") == b"OK"
        assert server.reload({"kv": {"listen": f"redis://127.0.0.1:{port}"}})
        assert server.address("kv", "redis").port == port
        assert before.ask(b"GET a") == b"1"
        with resp.connect(server, transport="redis") as after:
            assert after.call("GET", "a") == b"$1\r\n1\r\n"
        assert server.reload({"kv": {"listen": f"tcp://127.0.0.1:{port}"}})
        with server.kv() as again:
            assert again.ask(b"GET a") == b"1"


@pytest.mark.parametrize("on_full, policy", [("refuse", b"noeviction"), ("evict", b"allkeys-lru")])
def test_the_policy_of_a_full_store(echod, on_full, policy):
    server = echod({"kv": {"listen": SOCKET, "on_full": on_full, "max_memory": "1M"}})
    with resp.connect(server) as client:
        replies = {client.call("SET", f"key{number}", "v" * 5000) for number in range(400)}
        assert (FULL in replies) == (on_full == "refuse")
        assert policy in client.call("CONFIG", "GET", "maxmemory-policy")
        info = client.call("INFO")
        assert b"maxmemory_policy:%s\r\n" % policy in info
        assert (b"evicted_keys:0\r\n" in info) == (on_full == "refuse")


# --- lines on the same store ---


def test_lines_and_resp_share_a_store(client, lines):
    assert lines.ask(b"SET a two  words") == b"OK"
    assert client.call("GET", "a") == b"$10\r\ntwo  words\r\n"
    assert client.call("SET", "b", "x\ny") == b"+OK\r\n" and client.call("SET", "a b", "1") == b"+OK\r\n"
    for request in (b"GET b", b"GETDEL b", b"GETSET b 1"):
        assert lines.ask(request) == b"ERROR: value is not a line"
    assert client.call("GET", "b") == b"$3\r\nx\ny\r\n"
    lines.send(b"KEYS a?b\n")
    assert lines.lines(2) == [b"1\n", b"a\\x20b\n"]
    assert client.call("GETS", "a").startswith(b"-ERR unknown command 'GETS'")
    assert lines.ask(b"UNLINK a") == b"ERROR: unknown command"


def test_a_client_of_lines_is_none_of_resp(client):
    client.send(b"GET a\r\nget a b\n\r\nPING\n")
    assert [client.reply() for _ in range(3)] == [
        b"$-1\r\n", b"-ERR wrong number of arguments for 'get' command\r\n", b"+PONG\r\n"]  # fmt: skip


# --- limits ---


def test_a_value_that_is_too_long_is_dropped(client):
    largest = b"v" * 65536
    assert client.call("SET", "a", largest) == b"+OK\r\n"
    assert client.call("GET", "a") == b"$65536\r\n" + largest + b"\r\n"
    client.send(resp.request("SET", "a", largest + b"v") + resp.request("PING"))
    assert client.reply() == TOO_LONG and client.reply() == b"+PONG\r\n"
    assert client.call("APPEND", "a", "x") == TOO_LONG
    assert client.call("SETRANGE", "a", "65535", "xy") == TOO_LONG
    assert client.call("SETRANGE", "a", "65535", "x") == b":65536\r\n"
    assert client.call("GETRANGE", "a", "65534", "-1") == b"$2\r\nvx\r\n"
    assert client.call("GET", b"k" * 251) == b"-ERR key too long\r\n"
    assert client.call("MGET", "a", b"k" * 251) == b"-ERR key too long\r\n"
    assert client.call("MSET", "a", "1", b"k" * 251, "1") == b"-ERR key too long\r\n"


def test_what_is_announced_takes_no_memory(server, client):
    """Half a gigabyte is announced, again and again, and a word of it sent."""
    clients = [resp.connect(server) for _ in range(100)]
    before = server.memory()
    for one in clients:
        one.send(b"*1048576\r\n$536870912\r\nabc")
    assert [one.line() for one in clients] == [TOO_LONG] * len(clients)
    assert server.memory() < before + (8 << 20)
    for one in clients:
        one.close()
    assert client.call("PING") == b"+PONG\r\n"


def test_many_words(client):
    pairs = [word for number in range(10000) for word in (f"key:{number}", number)]
    assert client.call("MSET", *pairs) == b"+OK\r\n"
    assert client.call("DBSIZE") == b":10000\r\n"
    assert resp.items(client.call("MGET", *pairs[::2])) == [b"%d" % number for number in range(10000)]
    assert client.call("EXISTS", *pairs[::2]) == b":10000\r\n"
    assert len(resp.items(client.call("KEYS", "*"))) == 10000
    assert client.call("DEL", *pairs[::2], "none") == b":10000\r\n"
    client.send(resp.request("MSET", *["x" * 60000] * 20) + resp.request("PING"))
    assert client.reply() == b"-ERR request is too long\r\n" and client.reply() == b"+PONG\r\n"
    assert client.call("DBSIZE") == b":0\r\n"


def test_a_full_store(echod):
    server = echod({"kv": {"listen": SOCKET, "max_memory": "1M"}})
    with resp.connect(server) as client:
        value, number = b"v" * 10000, 0
        while (reply := client.call("SET", f"key:{number}", value)) == b"+OK\r\n":
            number += 1
        assert reply == FULL
        assert client.call("MSET", "key:0", "new", "key:1", "new", "a", value, "b", value, "c", value) == FULL
        assert client.call("GET", "key:0") == client.call("GET", "key:1") == b"$10000\r\n" + value + b"\r\n"
        assert client.call("EXISTS", "a", "b", "c") == b":0\r\n"
        assert client.call("DEL", "key:0", "key:1") == b":2\r\n"
        assert client.call("MSET", "a", "1", "b", "2") == b"+OK\r\n"


def test_a_refused_mset_has_changed_nothing(echod, randomness):
    """What it has already set is put back, also where that takes memory that is not there any more."""
    server = echod({"kv": {"listen": SOCKET, "max_memory": "300K"}})
    keys, refused = [b"k%d" % n for n in range(1000)], 0
    with resp.connect(server) as client:
        while refused < 200:
            value = b"v" * randomness.choice([1, 50, 500, 3000])
            if randomness.random() < 0.7:
                client.call("SET", randomness.choice(keys), value)
                continue
            some = randomness.sample(keys, 5)
            before = client.call("MGET", *some)
            if client.call("MSET", *[word for key in some for word in (key, b"N" + value)]) == FULL:
                refused += 1
                assert client.call("MGET", *some) == before


def test_too_many_clients(echod):
    server = echod({"kv": {"listen": [LINES, SOCKET], "max_connections": 1}})
    with server.kv(transport="unix"), resp.connect(server) as client:
        assert client.rest() == b"-ERR max number of clients reached\r\n"


def test_tls_is_recognised(server, client):
    client.send(b"\x16\x03\x01\x02\x00\x01")
    assert client.rest() == b"-ERR Protocol error: TLS is not spoken here\r\n"
    server.wait_closed("protocol")


# --- replies ---


def test_flush_takes_turns(server, client):
    """Other clients are served meanwhile, and so are the requests behind it."""
    for begin in range(0, 50000, 5000):
        pairs = [word for number in range(begin, begin + 5000) for word in (number, "x")]
        assert client.call("MSET", *pairs) == b"+OK\r\n"
    with resp.connect(server) as other:
        client.send(resp.request("FLUSHALL") + resp.request("DBSIZE"))
        assert other.call("PING") == b"+PONG\r\n"
        assert client.reply() == b"+OK\r\n" and client.reply() == b":0\r\n"


def test_replies_that_are_not_wanted(client):
    client.send(b"".join(map(resp.split, [
        b"CLIENT REPLY SKIP", b"SET a 1", b"GET a", b"CLIENT REPLY OFF", b"SET a 2", b"KEYS *", b"FOO",
        b"CLIENT REPLY SKIP", b"GET a", b"CLIENT REPLY ON", b"GET a"])))  # fmt: skip
    assert [client.reply() for _ in range(3)] == [b"$1\r\n1\r\n", b"+OK\r\n", b"$1\r\n2\r\n"]


def test_resp3(client):
    assert client.call("GET", "a") == b"$-1\r\n"
    hello = client.call("HELLO", "3", "SETNAME", "me")
    assert hello.startswith(b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n")
    assert client.call("GET", "a") == b"_\r\n" and client.call("MGET", "a") == b"*1\r\n_\r\n"
    assert client.call("CONFIG", "GET", "save") == b"%1\r\n$4\r\nsave\r\n$0\r\n\r\n"
    assert client.call("INFO", "cluster") == b"=34\r\ntxt:# Cluster\r\ncluster_enabled:0\r\n\r\n"
    assert client.call("CLIENT", "GETNAME") == b"$2\r\nme\r\n"
    assert b" name=me " in client.call("CLIENT", "INFO") and b" resp=3 " in client.call("CLIENT", "LIST")
    assert client.call("CLIENT", "SETINFO", "lib-name", "x") == b"+OK\r\n"
    assert client.call("CLIENT", "SETINFO", "LIB-VER", "1 2").startswith(b"-ERR lib-ver cannot contain")
    assert b" lib-name=x " in client.call("CLIENT", "INFO")
    assert client.call("RESET") == b"+RESET\r\n" and client.call("GET", "a") == b"$-1\r\n"


def test_commands_of_newer_versions(client):
    for line, reply in [
        (b"DIGEST a", b"$-1\r\n"), (b"SET a hello", b"+OK\r\n"), (b"DIGEST a", b"$16\r\n9555e8555c62dcfd\r\n"),
        (b"SET a 1 IFEQ x", b"$-1\r\n"), (b"SET a x IFEQ hello", b"+OK\r\n"), (b"SET none x IFEQ x", b"$-1\r\n"),
        (b"SET none x IFNE y", b"+OK\r\n"), (b"SET a hello IFNE x", b"$-1\r\n"), (b"SET a hello", b"+OK\r\n"),
        (b"SET a y IFDNE 9555e8555c62dcfd", b"$-1\r\n"), (b"SET a y IFDEQ 9555E8555C62DCFD GET", b"$5\r\nhello\r\n"),
        (b"SET a y IFEQ y NX", b"-ERR syntax error\r\n"), (b"SET a y IFEQ", b"-ERR syntax error\r\n"),
        (b"DELEX a IFEQ x", b":0\r\n"), (b"DELEX a IFEQ y", b":1\r\n"), (b"DELEX a IFEQ y", b":0\r\n"),
        (b"DELIFEQ none y", b":0\r\n"), (b"DELIFEQ none x", b":1\r\n"), (b"DELEX a", b":0\r\n"),
        (b"CLIENT NO-TOUCH on", b"+OK\r\n"),
    ]:  # fmt: skip
        assert client.ask(line) == reply, line


def test_what_is_not_there_yet(client):
    for line in [b"SSUBSCRIBE a", b"SPUBLISH a b", b"LPUSH a 1"]:
        assert client.ask(line).startswith(b"-ERR unknown command '%s', " % line.split()[0])
    assert client.call("PING") == b"+PONG\r\n"


@pytest.mark.parametrize("line, reply", [
    (b"GETRANGE a 0 -1", b"$0\r\n\r\n"), (b"SETRANGE a 1 x", b":2\r\n"), (b"INCRBYFLOAT a 1.5", b"$3\r\n1.5\r\n"),
    (b"SET a 1 KEEPTTL", b"+OK\r\n"), (b"MSET a 1 b 2", b"+OK\r\n"), (b"SET a 1 GET", b"$-1\r\n"), (b"COPY a c", b":0\r\n"),
    (b"RENAMENX a c", b"-ERR no such key\r\n"), (b"APPEND a x", b":1\r\n"), (b"OBJECT ENCODING a", b"$-1\r\n"),
    (b"GETEX a", b"$-1\r\n"), (b"DIGEST a", b"$-1\r\n"), (b"MSETNX a 1 b 2", b":1\r\n"), (b"EXPIRETIME a", b":-2\r\n"),
])  # fmt: skip
def test_what_has_expired_is_missing(client, line, reply):
    """It expires within one turn, in which no sweep deletes it."""
    assert client.call("SET", "long", b"v" * 65000) == b"+OK\r\n"
    lines = [b"SET a 12345 PX 1"] + [b"SETRANGE long 0 x"] * 900 + [line, b"TTL a", b"DEL a"]
    client.send(b"".join(map(resp.split, lines)))
    replies = [client.reply() for _ in lines]
    assert replies[-3] == reply and replies[-2] in (b":-1\r\n", b":-2\r\n")


# --- storage ---


def test_a_disk_that_fails(echod, faults):
    server = echod({"kv": {"listen": SOCKET, "storage": "$DIR/disk/store"}}, env=faults.env)
    with resp.connect(server) as client:
        assert client.call("SET", "a", "1") == b"+OK\r\n"
        faults.wal.sync.fail(errno.EIO, NOTHING)
        client.send(resp.request("SET", "a", "2") + resp.request("GET", "a") + resp.request("PING"))
        assert client.reply() == client.reply() == b"-ERR storage failed\r\n"
        assert client.reply() == b"+PONG\r\n"
        assert client.call("GET", "a") == b"$1\r\n1\r\n"
        assert client.call("SET", "a", "3").startswith(b"-READONLY ")
        assert client.call("MSET", "a", "3", "b", "4").startswith(b"-READONLY ")


def test_what_is_acknowledged_survives(echod):
    """A long MSET and a flush in parts are on the disk when they are replied to."""
    services = {"kv": {"listen": SOCKET, "storage": "$DIR/store"}}
    server = echod(services)
    with resp.connect(server) as client:
        pairs = [word for number in range(5000) for word in (number, "x")]
        assert client.call("MSET", *pairs) == b"+OK\r\n" and client.call("FLUSHALL") == b"+OK\r\n"
        assert client.call("SET", "a", "1", "EX", "1000") == b"+OK\r\n"
        assert client.call("SET", "a", "2", "KEEPTTL", "GET") == b"$1\r\n1\r\n"
        assert client.call("INCRBYFLOAT", "a", "0.5") == b"$3\r\n2.5\r\n"
        assert client.call("DEL", "a", "none") == b":1\r\n" and client.call("MSETNX", "b", "1", "c", "2") == b":1\r\n"
    server.kill()
    with resp.connect(echod(services)) as client:
        assert client.call("MGET", "a", "b", "c", "17") == b"*4\r\n$-1\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n"
        assert client.call("DBSIZE") == b":2\r\n"


def test_half_a_request_has_a_deadline(echod):
    server = echod({"kv": {"listen": SOCKET, "line_timeout": "200ms"}})
    with resp.connect(server) as client:
        client.send(b"*2\r\n$3\r\nGET\r\n$5\r\nab")
        assert client.rest() == b""
    server.wait_closed("idle")


def test_a_client_that_does_not_read_is_bounded(server, client):
    """It is not read any more, and what it has sent is replied to once it reads."""
    assert client.call("SET", "a", b"v" * 60000) == b"+OK\r\n"
    before, count = server.memory(), 2000
    sent = client.send_some(resp.request("GET", "a") * count)
    assert server.memory() < before + (8 << 20)
    whole = sent // len(resp.request("GET", "a"))
    for _ in range(whole):
        assert client.exactly(60010) == b"$60000\r\n" + b"v" * 60000 + b"\r\n"


# --- large values ---


@pytest.fixture(params=["", "$DIR/store"], ids=["memory", "disk"])
def large(request):
    return {"kv": {"listen": [LINES, SOCKET], "storage": request.param, "max_value": "16M", "max_memory": "1G"}}


def test_values_of_many_megabytes(echod, large):
    server = echod(large)
    value = bytes(range(256)) * (16 << 12)
    with resp.connect(server) as client, server.kv(transport="unix") as lines:
        assert client.call("SET", "a", value) == b"+OK\r\n"
        assert client.call("STRLEN", "a") == b":%d\r\n" % len(value)
        assert client.call("GET", "a") == b"$%d\r\n%s\r\n" % (len(value), value)
        assert client.call("APPEND", "a", "x") == TOO_LONG and client.call("SETRANGE", "a", 16 << 20, "x") == TOO_LONG
        assert client.call("COPY", "a", "b") == b":1\r\n" and client.call("SET", "a", value + b"x") == TOO_LONG
        assert client.call("SET", "c", 600000 * b"v") == b"+OK\r\n"
        assert lines.ask(b"GET c") == lines.ask(b"GETDEL c") == b"ERROR: value is not a line"
        assert client.call("MGET", "b", "none", "c") == b"*3\r\n$%d\r\n%s\r\n$-1\r\n$600000\r\n%s\r\n" % (
            len(value), value, 600000 * b"v")  # fmt: skip
    if large["kv"]["storage"]:
        server.kill()
        with resp.connect(echod(large)) as client:
            assert client.call("GET", "b") == client.call("GET", "a") == b"$%d\r\n%s\r\n" % (len(value), value)


def test_a_request_of_a_million_words(echod, large):
    with resp.connect(echod(large)) as client:
        words = [b"%07d" % (number // 2) for number in range((1 << 20) - 2)]
        assert client.call("MSET", *words) == b"+OK\r\n"
        assert client.call("DBSIZE") == b":%d\r\n" % ((1 << 19) - 1)
        assert client.call("DEL", *words[::2]) == b":%d\r\n" % ((1 << 19) - 1)


def test_a_pipeline_of_a_million_requests(server, client):
    """Each is answered in its place, and another client is served meanwhile."""
    count = 1_000_000
    expected = b"".join(b":%d\r\n" % number for number in range(1, count + 1))
    with resp.connect(server) as other, concurrent.futures.ThreadPoolExecutor() as pool:
        answered = pool.submit(client.exchange, count * resp.split(b"INCR n"), len(expected))
        pings = 0
        while not answered.done():
            assert other.call("PING") == b"+PONG\r\n"
            pings += 1
        assert answered.result() == expected and pings > 10


def test_large_values_of_clients_that_do_not_read(echod, large):
    """Each has one of them on its way."""
    server = echod(large)
    with resp.connect(server) as client:
        assert client.call("SET", "a", bytes(16 << 20)) == b"+OK\r\n"
        before = server.memory()
        client.send_some(resp.request("GET", "a") * 20)
        with resp.connect(server) as other:
            assert other.call("PING") == b"+PONG\r\n"
        if not server.has_sanitizer():  # it keeps what was freed
            assert server.memory() < before + (40 << 20)
        for _ in range(20):
            assert client.exactly(len(b"$16777216\r\n")) == b"$16777216\r\n"
            assert client.exactly((16 << 20) + 2) == bytes(16 << 20) + b"\r\n"


def client_id(client):
    return int(client.ask(b"CLIENT ID")[1:])


def all_of(client):
    """What it gets until it is closed or reset."""
    try:
        while client.more():
            pass
    except ConnectionError:
        pass
    return client.take(len(client.buffered))


def is_gone(client):
    return all_of(client) == b""


@pytest.mark.parametrize("end", ["stop", "reload"])
def test_clients_that_kill_each_other_while_they_are_drained(echod, end):
    server = echod({"kv": {"listen": SOCKET}, "echo": {"listen": "unix://$DIR/echo"}})
    with ExitStack() as stack:
        clients = [stack.enter_context(resp.connect(server)) for _ in range(5)]
        for client in clients:
            assert client.call("PING") == b"+PONG\r\n"
        with server.stopped(0):
            if end == "stop":
                server.send_signal(signal.SIGTERM)
            else:
                server.configure({"echo": {"listen": "unix://$DIR/echo"}})
                server.send_signal(signal.SIGHUP)
            for client in clients:  # more than the first turn reads, so that the end comes before the kills
                client.send(700 * b"PING\r\n" + resp.split(b"CLIENT KILL TYPE normal SKIPME yes"))
        assert sum(b":4\r\n" in all_of(client) for client in clients) == 1


def test_client_list(echod):
    server = echod({"kv": {"listen": "redis+unix://$DIR/kv"}})
    with resp.connect(server) as first, resp.connect(server) as second:
        assert first.call("MULTI") == b"+OK\r\n" and first.call("GET", "a") == b"+QUEUED\r\n"
        assert second.call("SUBSCRIBE", "x").startswith(b"*3\r\n")
        with resp.connect(server) as third:
            rows = third.ask(b"CLIENT LIST").split(b"\n")[1:-2]
            fields = [dict(re.findall(rb"(\S+)=(\S*)", row)) for row in rows]
            assert {(one[b"flags"], one[b"multi"], one[b"sub"], one[b"cmd"]) for one in fields} == {
                (b"x", b"1", b"0", b"get"), (b"P", b"-1", b"1", b"subscribe"), (b"N", b"-1", b"0", b"client|list")}  # fmt: skip
            assert {one[b"qbuf"] for one in fields} == {b"0", b"26"}
            number = int(fields[0][b"id"])
            assert third.call("CLIENT", "LIST", "ID", number, 10**9).count(b"id=") == 1
            assert third.call("CLIENT", "LIST", "TYPE", "pubsub").count(b"id=") == 1
            assert third.call("CLIENT", "LIST", "ID", *[number] * 101) == b"-ERR too many client IDs\r\n"


def test_client_kill(echod):
    server = echod({"kv": {"listen": ["redis://127.0.0.1:0", SOCKET, LINES]}, "echo": {"listen": "tcp://127.0.0.1:0"}})
    with ExitStack() as stack:
        clients = [stack.enter_context(resp.connect(server, transport=kind)) for kind in ["redis", "redis", "redis", "redis+unix"]]
        me, one, two, three = clients
        lines = stack.enter_context(server.kv(transport="unix"))
        for client in clients:
            assert client.ask(b"PING") == b"+PONG\r\n"
        address = re.search(rb" addr=(\S+)", one.ask(b"CLIENT INFO"))[1]
        assert me.call("CLIENT", "KILL", address) == b"+OK\r\n" and is_gone(one)
        assert me.call("CLIENT", "KILL", address) == b"-ERR No such client\r\n"
        assert me.call("CLIENT", "KILL", "ID", client_id(two), "ADDR", address) == b":0\r\n"
        assert me.call("CLIENT", "KILL", "ID", client_id(two), "TYPE", "normal") == b":1\r\n" and is_gone(two)
        assert me.call("CLIENT", "KILL", "ID", client_id(me)) == b":0\r\n"
        assert me.call("CLIENT", "KILL", "USER", "default") == b":1\r\n" and is_gone(three)
        assert lines.ask(b"PING") == b"PONG"
        me.send(b"".join(map(resp.split, [b"MULTI", b"CLIENT KILL SKIPME NO", b"SET a 1", b"EXEC", b"SET a 2"])))
        assert me.rest() == b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n+OK\r\n"
        assert lines.ask(b"GET a") == b"1"


def test_help_is_made_of_the_rows(client):
    for name, subcommand in [(b"CLIENT", b"KILL"), (b"COMMAND", b"GETKEYS command"), (b"CONFIG", b"GET pattern..."),
                             (b"OBJECT", b"ENCODING key"), (b"MEMORY", b"USAGE key [SAMPLES n]"), (b"SCRIPT", b"LOAD script")]:  # fmt: skip
        reply = client.ask(name + b" HELP")
        lines = reply.split(b"\r\n")
        assert lines[0] == b"*%d" % (len(lines) - 2) and lines[1].startswith(b"+" + name + b" <subcommand>")
        assert any(line.startswith(b"+" + subcommand) for line in lines) and lines[-3:-1] == [b"+HELP", b"+    This list."]
        wrong = b"-ERR wrong number of arguments for '%s|help' command\r\n" % name.lower()
        assert name in [b"OBJECT", b"MEMORY"] or client.ask(name + b" HELP x") == wrong
    assert client.ask(b"OBJECT ENCODING") == b"-ERR wrong number of arguments for 'object|encoding' command\r\n"


def test_waitaof_without_storage(client):
    assert client.ask(b"WAITAOF 0 0 0") == b"*2\r\n:0\r\n:0\r\n"
    assert client.ask(b"WAITAOF 1 0 0").startswith(b"-ERR WAITAOF cannot be used when numlocal is set")
    for words, error in [(b"2 0 0", b"value is out of range, value must between 0 and 1"), (b"x 0 0", b"value is not an integer"),
                         (b"0 -1 0", b"value is out of range, must be positive"), (b"0 0 -1", b"timeout is negative"),
                         (b"0 0 x", b"timeout is not an integer or out of range")]:  # fmt: skip
        assert client.ask(b"WAITAOF " + words).startswith(b"-ERR " + error)


def test_waitaof_comes_behind_the_commit(echod, faults):
    server = echod({"kv": {"listen": SOCKET, "storage": "$DIR/disk/store"}}, env=faults.env)
    with resp.connect(server) as client:
        with faults.wal.sync.held() as barrier:
            client.send(resp.split(b"SET a 1") + resp.split(b"WAITAOF 1 0 0"))
            barrier.wait_held()
            with resp.connect(server) as other:
                assert other.ask(b"PING") == b"+PONG\r\n"
            assert select.select([client.sock], [], [], 0)[0] == []
        assert client.reply() == b"+OK\r\n" and client.reply() == b"*2\r\n:1\r\n:0\r\n"
