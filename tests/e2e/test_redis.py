"""kv beside redis-server: the same requests, and every byte of the replies compared."""

import re
import subprocess
from contextlib import ExitStack

import pytest

import harness
import resp

REDIS = harness.program("redis-server")
needs_redis = pytest.mark.skipif(REDIS is None, reason="redis-server is not installed")

SOCKET = "redis+unix://$DIR/kv"


@pytest.fixture
def reference(workdir):
    """A redis-server without persistence; the address of its socket."""
    path = workdir / "redis"
    path.mkdir()
    command = [REDIS, "--port", "0", "--unixsocket", path / "socket", "--save", "", "--dir", path]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # fmt: skip
    try:
        harness.wait_until(lambda: harness.takes_clients(path / "socket"), "redis-server is there")
        yield harness.Address("unix", None, None, str(path / "socket"))
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def both(request, echod, reference):
    """A client of each server, echod's first."""
    server = echod({"kv": {"listen": SOCKET}})
    with resp.connect(server) as ours, resp.Client(reference) as theirs:
        for client in ours, theirs:
            client.call("HELLO", request.param)
        yield ours, theirs


# Lines of words between blanks; each begins with an empty database. \x00 and the like are bytes.
SESSIONS = {
    "strings": [
        "GET a", "SET a 1", "GET a", "get a", "GeT a", "SET a", "GET", "GET a b", "SETNX a 2", "SETNX b 2",
        "GETSET a 3", "GETSET c 3", "GETDEL c", "GETDEL c", "GETDEL", "APPEND a 4", "APPEND new x",
        "STRLEN a", "STRLEN none", "MGET a b none a", "MGET", "MSET x 1 y 2 x 3", "MGET x y", "MSET x",
        "MSET x 1 y", "MSET", "MSETNX x 1 z 1", "GET z", "MSETNX z 1 z 2", "GET z", "MSETNX z", "MSETNX",
        "SUBSTR a 0 0", "GETRANGE new 0 -1",
    ],
    "set-options": [
        "SET a 1 NX", "SET a 2 NX", "SET a 2 XX", "SET b 2 XX", "GET a", "SET a 3 GET", "SET n 3 GET",
        "SET a 4 XX GET", "SET a 5 NX GET", "SET m 5 NX GET", "GET m", "SET a 1 NX XX", "SET a 1 XX NX",
        "SET a 1 EX 100", "TTL a", "SET a 2 KEEPTTL", "TTL a", "SET a 2", "TTL a", "SET a 1 PX 100000",
        "TTL a", "SET a 1 EXAT 33177117420", "EXPIRETIME a", "SET a 1 PXAT 33177117420000", "PEXPIRETIME a",
        "SET a 1 EX", "SET a 1 EX x", "SET a 1 EX 0", "SET a 1 EX -1", "SET a 1 PX 0", "SET a 1 EX 1.5",
        "SET a 1 EX 9223372036854775807", "SET a 1 PX 9223372036854775807", "SET a 1 EX 9223372036854775",
        "SET a 1 EXAT 0", "SET a 1 EX 1 PX 1", "SET a 1 EX 10 KEEPTTL", "SET a 1 KEEPTTL EX 10",
        "SET a 1 foo", "SET a 1 nx get ex 10", "SET q 1 get nx ex 100", "TTL q", "SET a 1 EX 100 EX 200",
        "TTL a", "SET a 1 GET GET", "SET a 1 EX 10 foo", "SET a 1 EX x foo",
    ],
    "getex": [
        "GETEX a", "SET a 1", "GETEX a", "GETEX a EX 100", "TTL a", "GETEX a PERSIST", "TTL a",
        "GETEX a PX 100000", "TTL a", "GETEX a PXAT 33177117420000", "PEXPIRETIME a", "GETEX a EX 0",
        "GETEX a EX x", "GETEX a EX", "GETEX a FOO", "GETEX a EX 10 PERSIST", "GETEX a PERSIST EX 10",
        "GETEX none EX 10", "GETEX none EX 0", "GETEX none EX x", "GETEX a EXAT 1", "GET a", "GETEX",
    ],
    "getkeys": [
        "COMMAND GETKEYS GET a", "COMMAND GETKEYS get a", "COMMAND GETKEYS MSET a 1 b 2 c 3", "COMMAND GETKEYS MGET a b c",
        "COMMAND GETKEYS SET a 1 EX 10", "COMMAND GETKEYS RENAME a b", "COMMAND GETKEYS COPY a b REPLACE",
        "COMMAND GETKEYS DEL a b", "COMMAND GETKEYS WATCH a b", "COMMAND GETKEYS MEMORY USAGE a", "COMMAND GETKEYS PING", "COMMAND GETKEYS PING x", "COMMAND GETKEYS SELECT 0",
        "COMMAND GETKEYS GET", "COMMAND GETKEYS GET a b", "COMMAND GETKEYS NOTHING a", "COMMAND GETKEYS MSET a",
        "COMMAND GETKEYS EVAL x 2 a b c", "COMMAND GETKEYS EVAL x 0", "COMMAND GETKEYS EVAL x 3 a b",
        "COMMAND GETKEYS EVAL x y a", "COMMAND GETKEYS EVAL x", "COMMAND GETKEYS EVALSHA x 1 a", "COMMAND GETKEYS",
        "COMMAND GETKEYS OBJECT ENCODING a",
    ],
    "client-kill": [
        "CLIENT KILL", "CLIENT KILL nobody", "CLIENT KILL ID", "CLIENT KILL ID 0", "CLIENT KILL ID x", "CLIENT KILL ID 999999",
        "CLIENT KILL ID 999999 SKIPME", "CLIENT KILL ID 999999 SKIPME maybe", "CLIENT KILL TYPE thing", "CLIENT KILL TYPE replica",
        "CLIENT KILL TYPE pubsub SKIPME no", "CLIENT KILL USER nobody", "CLIENT KILL ADDR 1.2.3.4:5", "CLIENT KILL FOO bar",
        "CLIENT KILL ADDR 1.2.3.4:5 LADDR 1.2.3.4:6 ID 5 USER default", "CLIENT KILL LADDR 1.2.3.4:6 SKIPME no", "PING",
    ],
    "setex": [
        "SETEX a 100 x", "TTL a", "SETEX a 0 x", "SETEX a -1 x", "SETEX a x x", "SETEX a 9223372036854775807 x",
        "SETEX a 9223372036854775 x", "SETEX a 9223372036854775808 x", "PSETEX a 100000 y", "TTL a",
        "PSETEX a 0 x", "SETEX a 100", "SETEX a 1.0 x", "SETEX a 01 x", "SETEX a +1 x",
    ],
    "numbers": [
        "INCR a", "INCR a", "DECR a", "INCRBY a 40", "DECRBY a 2", "GET a", "INCRBY a x", "INCRBY a 1.5",
        "INCRBY a 9223372036854775808", "INCRBY a", "SET a x", "INCR a", "SET a 9223372036854775807", "INCR a",
        "DECRBY a -1", "SET a -9223372036854775808", "DECR a", "DECRBY a 9223372036854775807",
        "INCRBY a -9223372036854775808", "SET a 0", "DECRBY a -9223372036854775808",
        "SET a 9223372036854775808", "INCR a", "SET a 01", "INCR a", "SET a +1", "INCR a",
        "SET a 5", "EXPIRE a 100", "INCR a", "TTL a",
    ],
    "floats": [
        "INCRBYFLOAT a 1.5", "INCRBYFLOAT a 1.5", "INCRBYFLOAT a -3", "GET a", "INCRBYFLOAT a 0.1",
        "INCRBYFLOAT a 1e3", "INCRBYFLOAT a x", "INCRBYFLOAT a", "INCRBYFLOAT a 1.5x", "SET a x",
        "INCRBYFLOAT a 1", "SET a 3.0e3", "INCRBYFLOAT a 200", "SET a 1e400", "INCRBYFLOAT a 1",
        "SET a 17179869184", "INCRBYFLOAT a 1.5", "INCRBYFLOAT a 1e4000", "INCRBYFLOAT a inf",
        "INCRBYFLOAT b -inf", "INCRBYFLOAT b nan", "INCRBYFLOAT c 1.23456789012345678",
        "INCRBYFLOAT d -0.0000000000000000001", "SET e 1", "EXPIRE e 100", "INCRBYFLOAT e 1", "TTL e",
        "INCRBYFLOAT f 0x10", "INCRBYFLOAT g 5.0", "INCRBYFLOAT g -5", "SET h -0", "INCRBYFLOAT h 0",
    ],
    "ranges": [
        "SET a hello", "GETRANGE a 0 -1", "GETRANGE a 1 3", "GETRANGE a -3 -1", "GETRANGE a 3 1",
        "GETRANGE a -1 -3", "GETRANGE a 10 20", "GETRANGE a 0 100", "GETRANGE a -100 2", "GETRANGE a -100 -90",
        "GETRANGE a -1 0", "GETRANGE none 0 -1", "GETRANGE a x 1", "GETRANGE a 0", "GETRANGE a 5 5",
        "GETRANGE a 9223372036854775807 -9223372036854775808", "GETRANGE a -9223372036854775808 9223372036854775807",
        "SETRANGE a 1 ipp", "GET a", "SETRANGE a 8 x", "GET a", "SETRANGE a -1 x", "SETRANGE a x x",
        "SETRANGE none 3 x", "GET none", "SETRANGE none2 0 ", "EXISTS none2", "SETRANGE a 2 ",
        "SETRANGE a 1", "SETRANGE a 536870912 x", "SETRANGE a 9223372036854775807 x", "SETEX t 100 abc",
        "SETRANGE t 0 x", "TTL t",
    ],
    "expiry": [
        "TTL a", "PTTL a", "EXPIRETIME a", "PEXPIRETIME a", "PERSIST a", "SET a 1", "TTL a", "PTTL a",
        "EXPIRETIME a", "PEXPIRETIME a", "PERSIST a", "EXPIRE a 100", "TTL a", "PERSIST a", "PERSIST a",
        "EXPIRE none 100", "PEXPIRE a 100000", "TTL a", "EXPIREAT a 33177117420", "EXPIRETIME a",
        "PEXPIRETIME a", "PEXPIREAT a 33177117420500", "PEXPIRETIME a", "EXPIRETIME a", "EXPIRE a x", "EXPIRE a",
        "EXPIRE a 1 2", "EXPIRE a 9223372036854775807", "PEXPIRE a 9223372036854775807",
        "EXPIREAT a 9223372036854775807", "PEXPIREAT a 9223372036854775807", "PEXPIRETIME a", "EXPIRE a 0",
        "EXISTS a", "SET a 1", "EXPIRE a -1", "EXISTS a", "SET a 1", "EXPIREAT a 1", "EXISTS a",
        "SET a 1", "PEXPIRE a -9223372036854775808", "EXPIRE a -9223372036854775808",
    ],
    "expire-options": [
        "SET a 1", "EXPIRE a 100 XX", "EXPIRE a 99 GT", "EXPIRE a 100 NX", "EXPIRE a 200 NX", "EXPIRE a 200 XX",
        "TTL a", "EXPIRE a 100 GT", "EXPIRE a 300 GT", "TTL a", "EXPIRE a 400 LT", "EXPIRE a 50 LT", "TTL a",
        "PERSIST a", "EXPIRE a 100 LT", "TTL a", "EXPIRE a 100 nx", "EXPIRE a 1 NX XX", "EXPIRE a 1 NX GT",
        "EXPIRE a 1 NX LT", "EXPIRE a 1 GT LT", "EXPIRE a 500 XX GT", "TTL a", "EXPIRE a 1 FOO",
        "EXPIRE none 1 NX", "PEXPIRE a 1 foo", "EXPIRE a 500 XX XX", "EXPIREAT a 33177117420 GT",
        "PEXPIREAT a 1 GT", "EXISTS a", "PEXPIREAT a 1 LT", "EXISTS a",
    ],
    "keys": [
        "DEL a", "MSET a 1 b 2 c 3", "DEL a b none a", "DEL", "EXISTS c c none", "EXISTS", "UNLINK c none", "UNLINK",
        "MSET a 1 b 2", "TOUCH a b none", "TOUCH", "TYPE a", "TYPE none", "TYPE", "RENAME a z", "GET z",
        "RENAME none z", "RENAME z z", "RENAME none none", "RENAMENX z b", "RENAMENX z y", "RENAMENX none x",
        "RENAMENX y y", "RENAME y", "COPY y b", "COPY y n", "GET n", "COPY y b REPLACE", "GET b", "COPY none b",
        "COPY y y", "COPY y b FOO", "COPY y b DB", "COPY y b DB x", "COPY y k DB 0", "COPY y", "DBSIZE", "DBSIZE x",
        "FLUSHDB", "DBSIZE", "SET a 1", "FLUSHALL ASYNC", "DBSIZE", "FLUSHALL SYNC", "FLUSHDB foo", "RANDOMKEY",
        "SET only 1", "RANDOMKEY", "RANDOMKEY x", "KEYS", "KEYS *", "KEYS o*y", "KEYS x*", "KEYS [a-o]nl?",
        "SCAN", "SCAN 0", "SCAN 0 MATCH o*", "SCAN 0 MATCH x", "SCAN 0 COUNT 5", "SCAN 0 COUNT 0", "SCAN 0 COUNT x",
        "SCAN 0 COUNT", "SCAN 0 TYPE string", "SCAN 0 TYPE hash", "MSET  1 [] 1 ] 1", "SCAN 0 TYPE hash COUNT 100", "SCAN 0 TYPE hash MATCH *", "KEYS []", "DEL  [] ]", "SCAN 0 FOO 1", "SCAN x", "SCAN -1x",
        "SCAN 0 match *", "SCAN 18446744073709551616",
    ],
    "objects": [
        "SET a 1", "OBJECT ENCODING a", "OBJECT REFCOUNT none", "OBJECT ENCODING none", "OBJECT FREQ a",
        "OBJECT IDLETIME a", "SET a hello", "OBJECT ENCODING a", "OBJECT REFCOUNT a",
        "SET a 12345678901234567890123456789012345678901234", "OBJECT ENCODING a",
        "SET a 123456789012345678901234567890123456789012345", "OBJECT ENCODING a", "OBJECT", "OBJECT ENCODING",
        "OBJECT FOO a", "OBJECT FOO", "object encoding a", "MEMORY USAGE none", "MEMORY USAGE a FOO 1", "MEMORY USAGE", "MEMORY FOO", "MEMORY", "OBJECT ENCODING a b",
    ],
    "connection": [
        "PING", "PING hello", "PING a b", "ECHO hello", "ECHO", "ECHO a b", "SELECT 0", "SELECT x", "SELECT -1",
        "SELECT 99", "SELECT", "AUTH x", "AUTH default x", "AUTH other x", "AUTH a b c", "CLIENT GETNAME",
        "CLIENT SETNAME me", "CLIENT GETNAME", "CLIENT SETNAME ", "CLIENT GETNAME", "CLIENT SETNAME \n",
        "CLIENT SETNAME", "CLIENT ID x", "CLIENT NO-EVICT on", "CLIENT NO-EVICT off", "CLIENT NO-EVICT x",
        "CLIENT LIST TYPE", "CLIENT LIST TYPE x", "CLIENT LIST TYPE replica", "CLIENT LIST FOO", "CLIENT LIST ID", "CLIENT LIST ID x",
        "CLIENT LIST ID 1000000 2000000", "CLIENT REPLY x", "CLIENT REPLY on", "CLIENT FOO", "CLIENT", "HELLO 4", "HELLO x", "HELLO 3 FOO",
        "HELLO 2 SETNAME", "HELLO 3 AUTH other y", "READONLY", "READWRITE", "ASKING", "CLUSTER INFO",
        "CLUSTER SLOTS", "WAIT 0 0", "WAIT x 0", "WAIT 0 x", "WAIT 0 -1", "WAIT 0", "MODULE LIST", "ACL WHOAMI",
        "LATENCY LATEST", "LATENCY RESET", "LATENCY HISTORY command", "SLOWLOG LEN", "SLOWLOG RESET", "SLOWLOG GET",
        "CONFIG GET save", "CONFIG GET appendonly", "CONFIG GET nothing", "CONFIG GET maxmemory-policy", "CONFIG GET",
        "CONFIG RESETSTAT", "CONFIG FOO", "CONFIG", "CONFIG SET", "CONFIG SET a", "CONFIG SET nothing 1", "CONFIG SET save ",
        "CONFIG SET maxmemory", "CONFIG SET databases 2", "CONFIG SET appendonly no SAVE ", "CONFIG SET save  nothing 1",
        "FUNCTION FLUSH", "FUNCTION FLUSH async", "FUNCTION FLUSH x", "FUNCTION LIST", "FUNCTION LIST FOO", "FUNCTION LIST WITHCODE LIBRARYNAME x", "FUNCTION LIST LIBRARYNAME", "FUNCTION", "TIME x", "LASTSAVE x", "COMMAND COUNT x", "COMMAND FOO",
        "COMMAND INFO nothing", "COMMAND DOCS nothing", "INFO nothing", "RESET", "PING",
    ],
    "transactions": [
        "EXEC", "DISCARD", "UNWATCH", "MULTI x", "MULTI", "EXEC", "MULTI", "SET a 1", "INCR a", "GET a", "EXEC",
        "MULTI", "MULTI", "SET a 5", "EXEC", "MULTI", "WATCH a", "SET a 6", "EXEC", "MULTI", "FOO", "SET a 7", "EXEC",
        "GET a", "MULTI", "GET", "SET a 7", "EXEC", "GET a", "MULTI", "SET a x", "INCR a", "SET b 1", "EXEC", "GET b",
        "MULTI", "SET a 8", "DISCARD", "GET a", "EXEC", "WATCH a", "WATCH", "SET a 9", "MULTI", "SET a 10", "EXEC", "GET a",
        "MULTI", "SET a 11", "EXEC", "WATCH a", "SET a 9", "UNWATCH", "MULTI", "GET a", "EXEC", "WATCH a b", "SET other 1",
        "MULTI", "GET a", "EXEC", "WATCH none", "DEL none", "MULTI", "PING", "EXEC", "WATCH none", "SETNX none 1", "MULTI", "PING",
        "EXEC", "WATCH none", "DEL none", "MULTI", "PING", "EXEC", "WATCH a", "SET a 9", "DISCARD", "MULTI", "DISCARD", "MULTI",
        "PING", "EXEC", "WATCH a", "EXPIRE a 1000", "MULTI", "PING", "EXEC", "WATCH a", "RENAME a c", "MULTI", "PING", "EXEC",
        "WATCH z", "COPY c z", "MULTI", "PING", "EXEC", "WATCH c", "FLUSHALL", "MULTI", "PING", "EXEC", "WATCH c", "FLUSHALL",
        "MULTI", "PING", "EXEC", "MULTI", "UNWATCH", "PING x", "ECHO y", "SELECT 0", "CLIENT SETNAME me", "CLIENT GETNAME",
        "KEYS *", "DBSIZE", "MGET a b", "SCAN 0", "FLUSHDB", "GET none", "EXEC", "WATCH a",
        "MULTI", "RESET", "EXEC", "GET a", "MULTI", "RESET x", "EXEC",
        "EXEC x", "SET a 1", "MULTI", "EXEC x", "SET a 2", "EXEC", "MULTI", "SET a 3", "MSET x 1 y", "PING x y", "EXEC", "GET a",
        "MULTI", "SET a 4", "OBJECT NOSUCH a", "EXEC", "MULTI", "SET a 4", "OBJECT ENCODING", "EXEC", "MULTI", "CLIENT NOSUCH", "EXEC",
        "MULTI", "SET a 4", "CLIENT GETNAME x", "EXEC", "MULTI", "FUNCTION NOSUCH", "EXEC", "MULTI", "PUBSUB NUMPAT x", "EXEC",
        "MULTI", "CONFIG", "EXEC", "MULTI", "SET a 4", "CONFIG SET nothing 1", "OBJECT FREQ a", "EXEC", "GET a", "MULTI", "ECHO", "EXEC",
        "MULTI", "GETEX none EX x", "SETEX a 0 1", "INCRBY a x", "GET a b", "EXEC", "GET a",
    ],
    "unknown": [
        "foo", "FOO a b", "foo \r\nbar", "", " ", "GETT a", "x " + "y" * 200 + " z", "f " + "abc " * 60,
        "n" * 200 + " a", "foo 'a' \"b\"",
    ],
}  # fmt: skip

# Where echod differs on purpose: the request, and what each replies instead.
DIFFERENCES = [
    # One database.
    (rb"^SELECT (?!0$)", rb""),
    # Values have the limit of max_value.
    (rb"^SETRANGE a (536870912|9223372036854775807) x", rb""),
    # How a value is stored, and for how long it was not used, is not known.
    (rb"^OBJECT (REFCOUNT|IDLETIME|ENCODING) ", rb""),
]


def unordered(line, reply):
    """A list of keys has no order."""
    if re.match(rb"(KEYS|SCAN) ", line):
        return sorted(reply.split(b"\r\n"))
    return reply


def is_close(replies):
    """Of times in seconds: the two servers get a request at different moments."""
    numbers = [int(reply[1:]) for reply in replies if reply.startswith(b":")]
    return len(numbers) == 2 and min(numbers) >= 0 and abs(numbers[0] - numbers[1]) <= 1


def compare(both, words):
    line = b" ".join(words)
    replies = []
    for client in both:
        client.send(resp.request(*words))
    for client in both:
        replies.append(unordered(line, client.reply()))
    if not any(re.search(pattern, line) for pattern, _ in DIFFERENCES):
        is_time = re.match(rb"(TTL|EXPIRETIME) ", line, re.IGNORECASE)
        assert replies[0] == replies[1] or (is_time and is_close(replies)), line
    return replies[0]


@needs_redis
@pytest.mark.parametrize("name", SESSIONS)
def test_the_same_replies(both, name):
    for line in SESSIONS[name]:
        compare(both, line.encode().split(b" "))


KEYS = [b"a", b"b", b"c", b"", b"\0\r\n", b"k" * 250]
VALUES = [b"", b"1", b"-7", b"x", b"hello world", b"\r\n$5\r\n", b"9223372036854775807", b"3.25", b"v" * 5000, b"01"]
NUMBERS = [b"0", b"1", b"-1", b"5", b"-3", b"100", b"x", b"", b"9223372036854775807", b"-9223372036854775808"]
TIMES = [b"1000", b"2000", b"100000", b"0", b"-1", b"x"]
SET_OPTIONS = [[b"NX"], [b"XX"], [b"GET"], [b"KEEPTTL"], [b"EX", b"1000"], [b"EX", b"x"], [b"EXAT", b"33177117420"]]
# k = a key, v = a value, n = a number, t = seconds, u = seconds that no key has yet, which GT and LT need; o = options
# of SET, e = of EXPIRE; + = repeated.
FORMS = (
    "GET k|SET k v|SET k v o|SETNX k v|SETEX k t v|GETSET k v|GETDEL k|GETEX k|APPEND k v|STRLEN k|INCR k|DECR k|"
    "INCRBY k n|DECRBY k n|INCRBYFLOAT k n|INCRBYFLOAT k v|GETRANGE k n n|MGET +k|MSET +kv|MSETNX +kv|DEL +k|"
    "UNLINK +k|EXISTS +k|TOUCH +k|TYPE k|EXPIRE k t|EXPIRE k u e|TTL k|EXPIRETIME k|PERSIST k|RENAME k k|"
    "RENAMENX k k|COPY k k|COPY k k REPLACE|DBSIZE|KEYS *|ECHO v|PING v|FOO v k"
).split("|")


def make(random, form):
    words = []
    for part in form.split(" "):
        times = random.randrange(1, 4) if part.startswith("+") else 1
        for letter in part.lstrip("+") * times if part.strip("+") in ("k", "v", "n", "t", "u", "o", "e", "kv") else [part]:
            if letter == "u":
                words.append(b"%d" % random.randrange(500, 10**9, 1000))
            elif letter == "o":
                for option in random.sample(SET_OPTIONS, random.randrange(1, 3)):
                    words += option
            else:
                choices = {"k": KEYS, "v": VALUES, "n": NUMBERS, "t": TIMES,
                           "e": [b"NX", b"XX", b"GT", b"LT", b"foo"]}.get(letter)  # fmt: skip
                words.append(random.choice(choices) if choices else letter.encode())
    return words


@needs_redis
def test_thousands_of_random_commands(both, randomness):
    for _ in range(5000):
        compare(both, make(randomness, randomness.choice(FORMS)))


@pytest.fixture
def crowd(echod, reference):
    """Some clients of each server, in pairs."""
    server = echod({"kv": {"listen": SOCKET}})
    with ExitStack() as stack:
        yield [tuple(stack.enter_context(client) for client in (resp.connect(server), resp.Client(reference)))
               for _ in range(3)]  # fmt: skip


@needs_redis
def test_transactions_of_clients_that_get_in_each_others_way(crowd, randomness):
    """Also such as have no end, or none of their own."""
    forms = [form for form in FORMS if form not in ("TTL k", "EXPIRETIME k", "KEYS *")] + ["MULTI"] * 8 + ["EXEC"] * 10 + ["DISCARD", "UNWATCH", "WATCH +k", "WATCH k", "WATCH k"] * 2
    for _ in range(5000):
        compare(randomness.choice(crowd), make(randomness, randomness.choice(forms)))


@needs_redis
def test_pipelines_cut_anywhere(both, randomness):
    requests = [make(randomness, randomness.choice([f for f in FORMS if "KEYS" not in f])) for _ in range(300)]
    stream = b"".join(resp.request(*words) for words in requests)
    outputs = []
    for client in both:
        at = 0
        while at < len(stream):
            length = randomness.choice([1, 2, 7, 50, 1000])
            client.send(stream[at : at + length])
            at += length
        outputs.append([client.reply() for _ in requests])
    assert outputs[0] == outputs[1]


# What ends a connection, and what only looks so; all that is replied.
ERRORS = [
    b"*x\r\n", b"*2147483648\r\n", b"*1\r\n$x\r\n", b"*1\r\n$-1\r\n", b"*1\r\nfoo\r\n", b"*1\r\n\r\n",
    b"*1\r\n$536870913\r\n", b"*01\r\n", b"*+1\r\n", b"GET \"a\n", b"GET 'a\n", b"GET \"a\"b\n", b"x" * 65537,
    b"*" + b"1" * 65537, b"*1\r\n$" + b"1" * 65537, b"PING\r\n*x\r\n", b"POST / HTTP/1.1\r\nPING\r\n",
    b"Host: x\r\nPING\r\n", b"host: x\r\n", b"*1\r\n$4\r\npost\r\nPING\r\n", b"QUIT\r\nPING\r\n",
]  # fmt: skip


@needs_redis
@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_the_same_ends(both, number):
    outputs = []
    for client in both:
        client.send(ERRORS[number])
        outputs.append(client.rest())
    assert outputs[0] == outputs[1]


SILENCE = [
    "CLIENT REPLY SKIP", "PING 1", "PING 2", "CLIENT REPLY SKIP", "CLIENT REPLY ON", "PING 3", "CLIENT REPLY SKIP", "CLIENT REPLY SKIP",
    "PING 4", "PING 5", "CLIENT REPLY OFF", "PING 6", "CLIENT REPLY SKIP", "PING 7", "CLIENT REPLY ON", "PING 8", "CLIENT REPLY SKIP", "CLIENT REPLY OFF",
    "PING 9", "CLIENT REPLY x", "FOO", "RESET", "PING 10", "CLIENT REPLY SKIP", "RESET", "PING 11", "QUIT",
]  # fmt: skip


@needs_redis
def test_replies_that_are_not_wanted(both):
    outputs = []
    for client in both:
        client.send(b"".join(resp.split(line.encode()) for line in SILENCE))
        outputs.append(client.rest())
    assert outputs[0] == outputs[1] and outputs[0].endswith(b"11\r\n+OK\r\n")


INLINE = b"""PING\r
SET "a b" 'c d'
GET "a\\x20b"
 get   "a b"  \r

*0\r
*-1\r
*-10\r
SET x "\\n\\r\\t\\a\\b\\q\\"\\\\"
GET x
SET y 'it\\'s'
GET y
ECHO a"b c"
ECHO ""
"""


@needs_redis
def test_inline_commands(both):
    for client in both:
        client.send(INLINE)
    for _ in range(10):
        assert both[0].reply() == both[1].reply()
    assert [client.call("PING") for client in both] == [b"+PONG\r\n"] * 2
