"""MULTI, EXEC and WATCH in RESP: one commit, all of it or nothing; see test_redis.py for the replies beside Redis."""

import errno

import pytest

import resp
from faults import NOTHING

LINES, SOCKET = "unix://$DIR/lines", "redis+unix://$DIR/kv"
DURABLE = {"kv": {"listen": SOCKET, "storage": "$DIR/disk/store"}}
QUEUED = b"+QUEUED\r\n"


@pytest.fixture
def server(echod):
    return echod({"kv": {"listen": [LINES, SOCKET]}})


@pytest.fixture
def client(server):
    with resp.connect(server) as client:
        yield client


def transaction(client, *lines):
    """All of them in one piece; the reply to EXEC."""
    client.send(b"".join(map(resp.split, [b"MULTI", *lines, b"EXEC"])))
    assert client.reply() == b"+OK\r\n"
    for _ in lines:
        assert client.reply() == QUEUED
    return client.reply()


def test_nobody_sees_half_of_it(server, client):
    with resp.connect(server) as other:
        client.ask(b"MSET a 0 b 0")
        for number in range(1, 300):
            client.send(resp.split(b"MULTI") + b"".join(
                resp.split(b"SET %s %d" % (key, number)) for key in [b"a", b"b"]) + resp.split(b"EXEC"))  # fmt: skip
            values = resp.items(other.ask(b"MGET a b"))
            assert values[0] == values[1]
            for _ in range(4):
                client.reply()


def test_it_is_durable_as_one(fleet):
    """The daemon is killed while a client sends transactions: what is there afterwards is that of a whole one."""
    services = {"kv": {"listen": SOCKET, "storage": "$DIR/store"}}
    server = fleet.start(services)
    with resp.connect(server) as client:
        for number in range(50):
            assert transaction(client, b"SET a %d" % number, b"SET b %d" % number) == b"*2\r\n+OK\r\n+OK\r\n"
        client.send(b"".join(
            resp.split(line) for number in range(50, 500)
            for line in [b"MULTI", b"SET a %d" % number, b"SET b %d" % number, b"EXEC"]))  # fmt: skip
        for _ in range(100):
            client.reply()
        server.kill()
    with resp.connect(fleet.start(services)) as client:
        values = resp.items(client.ask(b"MGET a b"))
    assert values[0] == values[1] and int(values[0]) >= 74


def test_it_fails_as_one(echod, faults):
    server = echod(DURABLE, env=faults.env)
    with resp.connect(server) as client:
        assert transaction(client, b"SET a 1", b"SET b 1") == b"*2\r\n+OK\r\n+OK\r\n"
        faults.wal.sync.fail(errno.EIO, NOTHING)
        client.send(resp.split(b"GET b"))
        assert client.reply() == b"$1\r\n1\r\n"
        assert transaction(client, b"SET a 2", b"GET b", b"DEL b") == b"-ERR storage failed\r\n"
        assert client.ask(b"MGET a b") == b"*2\r\n$1\r\n1\r\n$1\r\n1\r\n"


def test_what_a_failure_undoes_has_changed(echod, faults):
    """The value that WATCH has seen was never there."""
    server = echod(DURABLE, env=faults.env)
    with resp.connect(server) as client, resp.connect(server) as other:
        assert client.ask(b"SET a 1") == b"+OK\r\n"
        with faults.wal.sync.held() as barrier:
            other.send(resp.split(b"SET a 2"))
            barrier.wait_held()
            client.send(resp.split(b"WATCH a"))
            client.send(resp.split(b"PING"))
            assert client.reply() == b"+OK\r\n" and client.reply() == b"+PONG\r\n"
            faults.wal.sync.fail(errno.EIO, NOTHING)
        assert other.reply() == b"-ERR storage failed\r\n"
        assert transaction(client, b"GET a") == b"*-1\r\n"


def test_a_key_that_expires_has_changed(client):
    for watched, reply in [(b"a", b"*-1\r\n"), (b"b", b"*1\r\n+PONG\r\n")]:
        assert client.ask(b"MSET a 1 b 1") == b"+OK\r\n"
        client.send(resp.split(b"PEXPIRE a 1") + resp.split(b"WATCH " + watched))
        assert [client.reply(), client.reply()] == [b":1\r\n", b"+OK\r\n"]
        while client.ask(b"EXISTS a") == b":1\r\n":
            pass
        assert transaction(client, b"PING") == reply


def test_what_had_expired_before_has_not_changed(client):
    """It expires within one turn, in which no sweep deletes it."""
    lines = [b"SET long " + 60000 * b"v", b"SET a 1 PX 1", *900 * [b"SETRANGE long 0 x"], b"WATCH a", b"MULTI", b"PING", b"EXEC"]
    client.send(b"".join(map(resp.split, lines)))
    assert [client.reply() for _ in lines][-1] == b"*1\r\n+PONG\r\n"


@pytest.mark.parametrize("change", [b"SET a 2", b"DEL a", b"INCR a", b"CAS", b"EXPIRE a 100", b"SETEX a 100 1", b"RENAME a b"])
def test_a_change_by_lines_counts(server, client, change):
    with server.kv(transport="unix") as lines:
        assert client.ask(b"SET a 1") == b"+OK\r\n" and client.ask(b"WATCH a") == b"+OK\r\n"
        if change == b"CAS":
            change = b"CAS a %s 7" % lines.ask(b"GETS a").split()[0]
        assert not lines.ask(change).startswith(b"ERROR")
        assert transaction(client, b"PING") == b"*-1\r\n"
        assert transaction(client, b"PING") == b"*1\r\n+PONG\r\n"


def test_a_client_that_leaves_watches_no_more(server, client):
    if server.has_sanitizer():
        pytest.skip("the sanitizer keeps what was freed")
    before = None
    for _ in range(20):
        with resp.connect(server) as other:
            assert other.call("WATCH", *(b"key:%d" % number for number in range(5000))) == b"+OK\r\n"
            other.send(resp.split(b"MULTI") + 1000 * resp.request("SET", "x", 1000 * b"v"))
            assert [other.reply() for _ in range(1001)][-1] == QUEUED
        assert client.ask(b"SET key:1 1") == b"+OK\r\n"
        before = before or server.memory()
    assert server.memory() < before + (4 << 20)


def test_replies_that_are_not_wanted(client):
    lines = [b"CLIENT REPLY OFF", b"MULTI", b"SET a 1", b"INCR a", b"EXEC", b"CLIENT REPLY ON", b"GET a"]
    client.send(b"".join(map(resp.split, lines)))
    assert client.reply() == b"+OK\r\n" and client.reply() == b"$1\r\n2\r\n"


def test_limits(client):
    value = 60000 * b"v"
    assert client.call("SET", "a", value) == b"+OK\r\n"
    replies = transaction(client, *20 * [b"GET a"], b"SET b 1")
    assert replies.count(value) == 9 and replies.endswith(12 * b"-ERR replies of a transaction too large\r\n")
    assert client.ask(b"EXISTS b") == b":0\r\n"

    assert client.ask(b"MULTI") == b"+OK\r\n"
    count = (64 << 20) // len(resp.request("SET", "a", value)) + 1
    for number in range(count):
        reply = client.call("SET", "a", value)
        assert reply == (QUEUED if number < count - 1 else b"-ERR transaction too large\r\n")
    assert client.ask(b"EXEC").startswith(b"-EXECABORT ")

    names = [b"%d" % number for number in range(65536)]
    assert client.call("WATCH", *names) == b"+OK\r\n"
    assert client.ask(b"WATCH one more").startswith(b"-ERR too many watched keys")
    assert client.ask(b"SET 65535 x") == b"+OK\r\n"
    assert transaction(client, b"PING") == b"*-1\r\n"


def test_lists_are_whole_or_refused(client):
    pairs = [word for number in range(20000) for word in (b"key:%d" % number, 20 * b"v")]
    assert client.call("MSET", *pairs) == b"+OK\r\n"
    assert client.ask(b"MULTI") == b"+OK\r\n"
    for words in ["KEYS", "*"], ["MGET", *pairs[:10000:2]], ["MGET", *pairs[::2]], ["FLUSHALL"], ["DBSIZE"], ["KEYS", "*"]:
        assert client.call(*words) == QUEUED
    client.send(resp.request("EXEC"))
    assert client.line() == b"*6\r\n"
    assert len(resp.items(client.reply())) == 20000 and resp.items(client.reply()) == 5000 * [20 * b"v"]
    assert client.reply() == b"-ERR too many keys\r\n"
    assert [client.reply() for _ in range(3)] == [b"+OK\r\n", b":0\r\n", b"*0\r\n"]
