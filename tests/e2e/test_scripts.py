"""Known scripts in RESP: EVAL, EVALSHA and SCRIPT; those of installed libraries, and two of our own. There is no Lua."""

import errno
import hashlib
import importlib.util
import re
from pathlib import Path

import pytest

import resp
from faults import NOTHING
from test_redis import both, needs_redis, reference  # noqa: F401

LINES, SOCKET = "unix://$DIR/lines", "redis+unix://$DIR/kv"

# The lock of echod.conf(5).
RELEASE = b"if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
EXTEND = b"if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0"
UNKNOWN = b"return redis.call('GET', KEYS[1])"
NO_LUA = b"-ERR echod runs no Lua but knows the scripts of some client libraries"
NOSCRIPT = b"-NOSCRIPT No matching script. Please use EVAL.\r\n"


def sha1(text):
    return hashlib.sha1(text).hexdigest().encode()


@pytest.fixture
def server(echod):
    return echod({"kv": {"listen": [LINES, SOCKET]}})


@pytest.fixture
def client(server):
    with resp.connect(server) as client:
        yield client


def spread(text):
    return b"\n\t " + re.sub(rb"\s+", b"\r\n   ", text) + b"\n"


def test_a_lock_of_our_own(client):
    assert client.ask(b"SET lock me PX 100000") == b"+OK\r\n"
    assert client.call("EVAL", RELEASE, 1, "lock", "you") == b":0\r\n"
    assert client.call("EVAL", EXTEND, 1, "lock", "you", 1000) == b":0\r\n"
    assert client.call("EVAL", EXTEND, 1, "lock", "me", 900000) == b":1\r\n"
    assert 800000 < int(client.ask(b"PTTL lock")[1:]) <= 900000
    assert client.call("EVAL", EXTEND, 1, "lock", "me", "soon") == b"-ERR value is not an integer or out of range\r\n"
    assert client.call("EVAL", EXTEND, 1, "lock", "me", 2**63 - 1) == b"-ERR invalid expire time in 'pexpire' command\r\n"
    assert client.call("EVAL", RELEASE, 1, "lock", "me") == b":1\r\n"
    assert client.call("EVAL", RELEASE, 1, "lock", "me") == b":0\r\n"


def test_white_space_does_not_count(client):
    for text in RELEASE, spread(RELEASE), RELEASE.replace(b" ", b"\v\f"):
        assert client.ask(b"SET lock me") == b"+OK\r\n"
        assert client.call("EVAL", text, 1, "lock", "me") == b":1\r\n"
    assert client.call("EVAL", RELEASE.replace(b" ", b""), 1, "lock", "me").startswith(NO_LUA)
    assert client.call("EVAL", RELEASE + b"0", 1, "lock", "me").startswith(NO_LUA)


def test_digests_are_those_of_exact_texts(client):
    text = spread(RELEASE)
    assert client.call("EVALSHA", sha1(text), 1, "lock", "me") == NOSCRIPT
    assert client.call("SCRIPT", "EXISTS", sha1(text), sha1(text).upper(), "x") == b"*3\r\n:0\r\n:0\r\n:0\r\n"
    assert client.call("SCRIPT", "LOAD", text) == b"$40\r\n" + sha1(text) + b"\r\n"
    assert client.call("SCRIPT", "EXISTS", sha1(text), sha1(text).upper(), "x") == b"*3\r\n:1\r\n:1\r\n:0\r\n"
    assert client.call("EVALSHA", sha1(text).upper(), 1, "lock", "me") == b":0\r\n"
    assert client.call("SCRIPT", "FLUSH", "SYNC") == b"+OK\r\n"
    assert client.call("EVALSHA", sha1(text), 1, "lock", "me") == NOSCRIPT
    assert client.call("EVAL", text, 1, "lock", "me") == b":0\r\n"
    assert client.call("EVALSHA", sha1(text), 1, "lock", "me") == b":0\r\n"


def test_one_request_may_load_for_the_next(client):
    text = spread(EXTEND)
    requests = [("SCRIPT", "LOAD", text), ("EVALSHA", sha1(text), 1, "a", "b", 1), ("SCRIPT", "FLUSH"), ("EVALSHA", sha1(text), 1, "a", "b", 1)]
    client.send(b"".join(resp.request(*words) for words in requests))
    assert [client.reply()[:5] for _ in requests] == [b"$40\r\n", b":0\r\n", b"+OK\r\n", NOSCRIPT[:5]]


def test_too_many_digests_are_forgotten(server, client):
    texts = [b" " * number + RELEASE for number in range(1, 400)]
    for text in texts:
        assert client.call("SCRIPT", "LOAD", text) == b"$40\r\n" + sha1(text) + b"\r\n"
    kept = client.call("SCRIPT", "EXISTS", *map(sha1, texts))
    assert kept == b"*399\r\n" + 143 * b":0\r\n" + 256 * b":1\r\n"
    assert client.call("EVALSHA", sha1(texts[0]), 0) == NOSCRIPT


def test_errors(client):
    assert client.call("EVAL", UNKNOWN, 1, "a").startswith(NO_LUA)
    assert client.call("SCRIPT", "LOAD", UNKNOWN).startswith(NO_LUA)
    assert client.call("EVAL", 20000 * b"x", 0).startswith(NO_LUA)
    assert client.call("EVALSHA", "x", 0) == NOSCRIPT
    assert client.call("EVAL", RELEASE, 2, "a") == b"-ERR Number of keys can't be greater than number of args\r\n"
    assert client.call("EVAL", RELEASE, -1, "a") == b"-ERR Number of keys can't be negative\r\n"
    assert client.call("EVAL", RELEASE, "x", "a") == b"-ERR value is not an integer or out of range\r\n"
    few = b"-ERR too few keys or arguments for this script\r\n"
    for words in [0], [0, "a", "b"], [1, "a"], [2, "a", "b"]:
        assert client.call("EVAL", RELEASE, *words) == few
    assert client.call("EVAL", RELEASE, 2, "a", "b", "c") == b":0\r\n"
    assert client.call("EVAL", RELEASE, 1, 251 * "k", "a").startswith(b"-ERR ")
    assert client.call("EVAL", RELEASE) == b"-ERR wrong number of arguments for 'eval' command\r\n"
    assert client.call("EVAL_RO", RELEASE, 1, "a", "b").startswith(b"-ERR Write commands are not allowed from read-only scripts")
    assert client.ask(b"SCRIPT FLUSH NOW") == b"-ERR SCRIPT FLUSH only support SYNC|ASYNC option\r\n"
    assert client.ask(b"SCRIPT KILL") == b"-NOTBUSY No scripts in execution right now.\r\n"
    assert client.ask(b"PING") == b"+PONG\r\n"


@needs_redis
def test_beside_redis(both):
    requests = [
        ("SET", "a", "me"), ("EVAL", RELEASE, 1, "a", "you"), ("EVAL", RELEASE, 1, "a", "me"), ("EVAL", RELEASE, 1, "a", "me"),
        ("SET", "a", "me"), ("EVAL", EXTEND, 1, "a", "me", -1), ("EXISTS", "a"), ("SCRIPT", "EXISTS", sha1(RELEASE), "x"),
        ("EVALSHA", sha1(RELEASE), 1, "a", "me"), ("EVALSHA", sha1(b"x"), 1, "a"), ("EVALSHA", "x", "y"), ("SCRIPT", "FLUSH"),
        ("EVALSHA", sha1(RELEASE), 1, "a", "me"), ("SCRIPT", "LOAD", RELEASE), ("EVALSHA", sha1(RELEASE), 1, "a", "me"),
        ("EVAL", RELEASE, 1), ("EVAL", RELEASE, -2, "a"), ("EVAL", RELEASE, "z"), ("EVAL", RELEASE), ("SCRIPT", "EXISTS"), ("SCRIPT",),
        ("MULTI",), ("SET", "a", "me"), ("EVAL", RELEASE, 1, "a", "me"), ("EVALSHA", 40 * "0", 0), ("GET", "a"), ("EXEC",),
    ]  # fmt: skip
    for words in requests:
        ours, theirs = (client.call(*words) for client in both)
        assert ours == theirs, words


def test_in_a_transaction(server, client):
    with resp.connect(server) as other:
        client.send(b"".join(map(resp.split, [b"SET a me", b"WATCH a", b"MULTI"])) + resp.request("EVAL", RELEASE, 1, "a", "me") + resp.split(b"EXEC"))
        assert [client.reply() for _ in range(5)] == [b"+OK\r\n", b"+OK\r\n", b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n:1\r\n"]
        assert client.ask(b"SET a me") == b"+OK\r\n" and client.ask(b"WATCH a") == b"+OK\r\n"
        assert other.call("EVAL", EXTEND, 1, "a", "me", 100000) == b":1\r\n"
        assert client.ask(b"MULTI") == b"+OK\r\n" and client.ask(b"PING") == b"+QUEUED\r\n"
        assert client.ask(b"EXEC") == b"*-1\r\n"


def test_replies_that_are_not_wanted(client):
    client.send(resp.split(b"CLIENT REPLY OFF") + resp.split(b"SET a me") + resp.request("EVAL", RELEASE, 1, "a", "me") + resp.split(b"CLIENT REPLY ON"))
    assert client.reply() == b"+OK\r\n" and client.ask(b"EXISTS a") == b":0\r\n"


def test_lines_see_what_a_script_did(server, client):
    with server.kv(transport="unix") as lines:
        assert lines.ask(b"SET a me") == b"OK"
        assert client.call("EVAL", EXTEND, 1, "a", "me", 100000) == b":1\r\n"
        assert 90 <= int(lines.ask(b"TTL a")) <= 100


def test_it_is_durable(fleet):
    services = {"kv": {"listen": SOCKET, "storage": "$DIR/store"}}
    server = fleet.start(services)
    with resp.connect(server) as client:
        client.ask(b"MSET a me b me")
        assert client.call("EVAL", EXTEND, 1, "a", "me", 900000) == b":1\r\n"
        assert client.call("EVAL", RELEASE, 1, "b", "me") == b":1\r\n"
        server.kill()
    with resp.connect(fleet.start(services)) as client:
        assert 800000 < int(client.ask(b"PTTL a")[1:]) and client.ask(b"EXISTS b") == b":0\r\n"


def test_its_reply_rests_on_the_commit(echod, faults):
    server = echod({"kv": {"listen": SOCKET, "storage": "$DIR/disk/store"}}, env=faults.env)
    with resp.connect(server) as client:
        assert client.ask(b"SET a me") == b"+OK\r\n"
        faults.wal.sync.fail(errno.EIO, NOTHING)
        assert client.call("EVAL", RELEASE, 1, "a", "me") == b"-ERR storage failed\r\n"
        assert client.ask(b"GET a") == b"$2\r\nme\r\n"


# --- libraries ---


@pytest.fixture
def redis_py():
    return pytest.importorskip("redis")


def test_the_lock_of_redis_py(server, redis_py):
    path = server.address("kv", "redis+unix").path
    with redis_py.Redis(unix_socket_path=path) as one, redis_py.Redis(unix_socket_path=path) as other:
        for flush in False, True:
            mine, theirs = one.lock("lock", timeout=100), other.lock("lock", timeout=100, blocking_timeout=0)
            if flush:
                one.script_flush()
            assert mine.acquire() and not theirs.acquire() and theirs.locked()
            assert mine.extend(100) and 150000 < one.pttl("lock") <= 200000
            assert mine.extend(50, replace_ttl=True) and one.pttl("lock") <= 50000
            assert mine.reacquire() and 90000 < one.pttl("lock") <= 100000
            theirs.local.token = b"another"
            for step in theirs.release, lambda: theirs.extend(10), theirs.reacquire:
                theirs.local.token = b"another"
                with pytest.raises(redis_py.exceptions.LockNotOwnedError):
                    step()
            mine.release()
            assert theirs.acquire() and one.get("lock") == theirs.local.token
            theirs.release()
        pipe = one.pipeline()
        script = one.register_script(RELEASE)
        pipe.set("a", "me")
        script(keys=["a"], args=["me"], client=pipe)
        assert pipe.execute() == [True, 1]


def installed_texts(package, path, pattern):
    """The scripts that a file of an installed library contains."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"{package} is not installed")
    return re.findall(pattern, (Path(spec.origin).parent / path).read_bytes(), re.S)


def test_incr_of_django_redis(client):
    existing, any_key = installed_texts("django_redis", "client/default.py", rb'lua = """(.*?)"""')
    assert client.call("EVAL", existing, 1, "a", 5) == b"$-1\r\n"
    assert client.call("EVAL", any_key, 1, "a", 5) == b":5\r\n"
    assert client.call("EVAL", existing, 1, "a", -7) == b":-2\r\n"
    assert client.ask(b"SET a x") == b"+OK\r\n"
    assert client.call("EVAL", existing, 1, "a", 1) == b"-ERR value is not an integer or out of range\r\n"


def test_the_fixed_window_of_limits(client):
    (text,) = installed_texts("limits", "resources/redis/lua_scripts/incr_expire.lua", rb"\A.*\Z")
    assert client.call("EVAL", text, 1, "a", 100, 2) == b":2\r\n" and 0 < int(client.ask(b"TTL a")[1:]) <= 100
    assert client.ask(b"PERSIST a") == b":1\r\n"
    assert client.call("EVAL", text, 1, "a", 100, 2) == b":4\r\n" and client.ask(b"TTL a") == b":-1\r\n"


# Digests that libraries send first: the table knows them from the start.
LARAVEL_ADD = "a08c9c69b7c07ae2485190873b90d128a23e502d"
NEXTCLOUD_DEC, NEXTCLOUD_CAS = "720b40cb66cef1579f2ef16ec69b3da8c85510e9", "94eac401502554c02b811e3199baddde62d976d4"
NEXTCLOUD_NCAD = "75526f8048b13ce94a41b58eee59c664b4990ab2"
REDLOCK_ACQUIRE, REDLOCK_RELEASE = "96da70f7716f27d278a5218544df37fd8b0a5e4c", "e4612211c9f8f51c257e26e056b0a654b3187242"
REDLOCK_EXTEND = "aed6f382e410db8ba7926d4e5e9aab410bf2a78a"
RATE_INCREMENT, RATE_GET = "895b92e1712734e1b464999be23953485475357b", "6aeb97ed6086dcdeafdc6fda3999a0d0e38ec96a"
FLEXIBLE = "a1de965f42e177aa339706bd580f049065eca79a"
FASTIFY9, FASTIFY10 = "3f481dd9e75a7c63c2facb091af19e1ab17f2cc7", "b8a19d47785922bb04e7a9fdb49e90d89be1b8af"
SLOT = "420ca604de4310d8301943a71390ee669720d640"


def test_caches(client):
    assert client.call("EVALSHA", LARAVEL_ADD, 1, "a", "v", 100) == b"+OK\r\n"
    assert client.call("EVALSHA", LARAVEL_ADD, 1, "a", "w", 100) == b"$-1\r\n" and client.ask(b"GET a") == b"$1\r\nv\r\n"
    assert client.call("EVALSHA", LARAVEL_ADD, 1, "b", "w", 0) == b"-ERR invalid expire time in 'setex' command\r\n"
    assert client.call("EVALSHA", NEXTCLOUD_DEC, 1, "n", 1) == b"$3\r\nNEX\r\n"
    assert client.call("EVALSHA", NEXTCLOUD_CAS, 1, "a", "v", "9") == b":1\r\n"
    assert client.call("EVALSHA", NEXTCLOUD_CAS, 1, "a", "v", "8") == b":0\r\n"
    assert client.ask(b"TTL a") == b":-1\r\n" and client.call("EVALSHA", NEXTCLOUD_DEC, 1, "a", 10) == b":-1\r\n"
    assert client.call("EVALSHA", NEXTCLOUD_NCAD, 1, "a", "-1") == b":0\r\n"
    assert client.call("EVALSHA", NEXTCLOUD_NCAD, 1, "a", "x") == b":1\r\n"


def test_locks_of_many_keys(client):
    keys = [b"key:%d" % number for number in range(50)]
    assert client.call("EVALSHA", REDLOCK_ACQUIRE, 50, *keys, "me", 100000) == b":50\r\n"
    assert client.call("EVALSHA", REDLOCK_ACQUIRE, 2, "free", keys[7], "you", 100000) == b":0\r\n"
    assert client.ask(b"EXISTS free") == b":0\r\n"
    assert client.call("EVALSHA", REDLOCK_EXTEND, 50, *keys, "me", 900000) == b":50\r\n"
    assert 800000 < int(client.ask(b"PTTL key:49")[1:])
    assert client.call("EVALSHA", REDLOCK_EXTEND, 2, *keys[:2], "you", 1) == b":0\r\n"
    assert client.call("EVALSHA", REDLOCK_RELEASE, 3, "free", *keys[:2], "me") == b":2\r\n"
    assert client.ask(b"DBSIZE") == b":48\r\n"
    for number in 1, 2:
        assert client.call("EVALSHA", SLOT, 2, "s1", "s2", "s", 100, "me") == b"$2\r\ns%d\r\n" % number
    assert client.call("EVALSHA", SLOT, 2, "s1", "s2", "s", 100, "me") == b"$-1\r\n"


def test_all_keys_or_none_in_a_full_store(echod):
    server = echod({"kv": {"listen": SOCKET, "max_memory": 64 << 10}})
    with resp.connect(server) as client:
        keys = [b"%0240d" % number for number in range(1000)]
        assert client.call("EVALSHA", REDLOCK_ACQUIRE, 1000, *keys, "me", 100000).startswith(b"-OOM ")
        assert client.ask(b"DBSIZE") == b":0\r\n"


@pytest.mark.parametrize("version", [2, 3])
def test_rate_limits(client, version):
    client.call("HELLO", version)

    def numbers(*words):
        reply = client.call(*words)
        return [int(line[1:]) if line[:1] == b":" else line for line in reply.split(b"\r\n")[1:-1]]

    null = b"_" if version == 3 else b"$-1"
    assert numbers("EVALSHA", RATE_GET, 1, "a") == [null, -2]
    assert numbers("EVALSHA", RATE_INCREMENT, 1, "a", 100000) == [1, 100000]
    hits, left = numbers("EVALSHA", RATE_INCREMENT, 1, "a", 500000)
    assert hits == 2 and 0 < left <= 100000
    assert client.call("EVALSHA_RO", RATE_GET, 1, "a").startswith(b"*2\r\n$1\r\n2\r\n:")
    hits, left = numbers("EVALSHA", FLEXIBLE, 1, "b", 3, 100, 5, 100)
    assert hits == 3 and 90000 < left <= 100000
    assert client.ask(b"PERSIST b") == b":1\r\n" and numbers("EVALSHA", FLEXIBLE, 1, "b", 3, 50, 5, 50) == [6, 50000]
    assert numbers("EVALSHA", FASTIFY9, 1, "c", 100000, 1, 0, "true") == [1, 100000, null]
    assert numbers("EVALSHA", FASTIFY9, 1, "c", 200000, 1, 0, "true") == [2, 200000, 1]
    for window in 1000, 1000, 2000, 4000, 8000:
        hits, left = numbers("EVALSHA", FASTIFY10, 1, "d", 1000, 1, "false", "true")
        assert left == window
    assert hits == 5 and client.ask(b"SET d 1000") == b"+OK\r\n"
    assert numbers("EVALSHA", FASTIFY10, 1, "d", 1000, 1, "false", "true") == [1001, 2**53 - 1]
