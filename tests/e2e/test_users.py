"""The users of kv: who may log in, and what each may do."""

import getpass
import hashlib
import json
import os
import re
import subprocess
import time

import pytest

import certificates
import harness
import resp
import test_units
import tls_client
from harness import wait_until

# All of the password "secret".
YESCRYPT = "$y$j9T$abcdefgh$IUWJt2doU4Kf6E/JP1UkAT3S5O3Q7SSA8SJirXIlEu9"
SHA512 = "$6$rounds=5000$salt1234$XlM3TAPQpzPux1K5SXljYTSlmwnoAbsunXwwWMLH2USuV84oQBkDPWUDYWZltiv6PdqNfuqoMB4aXKHtDfWeo/"
BCRYPT = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"
SLOW = "$2b$14$abcdefghijklmnopqrstuug2/T3netL3BPRcnafSaAr9lEfTNoLyC"  # a check takes about two seconds
TOKEN = "ab" * 32
DIGEST = "sha256:" + hashlib.sha256(TOKEN.encode()).hexdigest()

LINES, SOCKET = "tcp://127.0.0.1:0", "redis+unix://$DIR/kv"
WRONG = b"ERROR: wrong name or password"
STRANGER = b"ERROR: not authenticated"
NOT_ALLOWED = b"ERROR: not allowed"


class Server:
    """A daemon with a kv service and a file of users."""

    def __init__(self, echod, directory, users, listen, **settings):
        self.file = directory / "users"
        self.settings = {"listen": listen, "users": str(self.file), **settings}
        self.write(users)
        self.echod = echod({"kv": self.settings, "echo": {"listen": LINES},
                            "control": {"listen": "unix://$DIR/control"}})  # fmt: skip

    def write(self, lines):
        self.file.touch(0o600)
        self.file.write_text("".join(line + "\n" for line in lines))

    def reload(self, lines):
        self.write(lines)
        return self.echod.reload()

    def lines(self, login=None):
        client = self.echod.kv(transport="tcp")
        if login is not None:
            assert client.ask(f"AUTH {login} secret".encode()) == b"OK"
        return client

    def redis(self, login=None):
        client = resp.connect(self.echod)
        if login is not None:
            assert client.call("AUTH", login, "secret") == b"+OK\r\n"
        return client


@pytest.fixture
def serve(echod, workdir):
    def serve(*users, listen=(LINES, SOCKET), **settings):
        return Server(echod, workdir, users, list(listen), **settings)

    return serve


# --- logging in ---


def test_a_stranger_may_only_log_in(serve):
    with serve(f"alice:{YESCRYPT}:rw:*").lines() as client:
        for line in b"GET a", b"SET a 1", b"FLUSHALL", b"", b"NOTHING", b"KEYS", b"ECHO x", b"GET":
            assert client.ask(line) == STRANGER, line
        assert client.ask(b"PING") == b"PONG"
        assert client.ask(b"HELP") == b"4"
        assert [line.split(b":")[0].split()[0] for line in client.lines(4)] == [b"PING", b"HELP", b"AUTH", b"QUIT"]
        assert client.ask(b"AUTH alice").startswith(b"ERROR: wrong number of arguments: AUTH name password")
        assert client.ask(b"QUIT") == b"BYE"


def test_a_stranger_in_resp(serve):
    with serve(f"alice:{YESCRYPT}:rw:*").redis() as client:
        for line in b"GET a", b"NOTHING", b"MULTI", b"SUBSCRIBE a", b"CLIENT ID", b"COMMAND", b"RESET", b"EVAL x 0", b"GET":
            assert client.ask(line) == b"-NOAUTH Authentication required.\r\n", line
        assert client.ask(b"PING") == b"+PONG\r\n"
        assert client.ask(b"HELLO 3").startswith(b"%7\r\n")
        assert client.ask(b"QUIT") == b"+OK\r\n"


@pytest.mark.parametrize("secret", [YESCRYPT, SHA512, BCRYPT], ids=["yescrypt", "sha512", "bcrypt"])
def test_a_password_logs_in(serve, secret):
    server = serve(f"alice:{secret}:rw:*")
    for _ in range(2):  # the second time it is known
        with server.lines("alice") as client:
            assert client.ask(b"SET a 1") == b"OK"
        with server.redis("alice") as client:
            assert client.call("GET", "a") == b"$1\r\n1\r\n"


def test_a_token_logs_in(serve):
    server = serve(f"program:{DIGEST}:rw:*")
    with server.lines() as client:
        assert client.ask(f"AUTH program {TOKEN}".encode()) == b"OK"
        assert client.ask(b"SET a 1") == b"OK"
    with server.redis() as client:
        assert client.call("AUTH", "program", TOKEN[:-1]).startswith(b"-WRONGPASS ")
        assert client.call("GET", "a").startswith(b"-NOAUTH ")
        assert client.call("AUTH", "program", TOKEN) == b"+OK\r\n"
        assert client.call("GET", "a") == b"$1\r\n1\r\n"


def test_logins_of_redis(serve):
    server = serve(f"default:{YESCRYPT}:rw:*", f"alice:{DIGEST}:r:*")
    with server.redis() as client:
        assert client.call("AUTH", "secret") == b"+OK\r\n"
        assert client.call("ACL", "WHOAMI") == b"$7\r\ndefault\r\n"
        assert client.call("HELLO", 3, "AUTH", "alice", TOKEN, "SETNAME", "me").startswith(b"%7\r\n")
        assert client.call("ACL", "WHOAMI") == b"$5\r\nalice\r\n"
        assert client.call("CLIENT", "GETNAME") == b"$2\r\nme\r\n"
        assert b" user=alice " in client.call("CLIENT", "INFO")
        assert client.call("SET", "a", 1) == b"-NOPERM this user has no permissions to run the 'set' command\r\n"
        assert client.call("RESET") == b"+RESET\r\n"
        assert client.call("GET", "a").startswith(b"-NOAUTH ")
        assert client.call("HELLO", 2, "AUTH", "alice", "wrong").startswith(b"-WRONGPASS ")
        assert client.call("HELLO", 2, "AUTH", "default", "secret").startswith(b"*14\r\n")
        assert client.call("SET", "a", 1) == b"+OK\r\n"


def test_what_is_behind_a_login_waits_for_it(serve):
    server = serve(f"alice:{YESCRYPT}:rw:*")
    with server.lines() as client:
        client.send(b"GET a\nAUTH alice wrong\nGET a\nAUTH alice secret\nSET a 1\nGET a\nQUIT\n")
        assert client.rest().splitlines() == [STRANGER, WRONG, STRANGER, b"OK", b"OK", b"1", b"BYE"]
    with server.redis() as client:
        client.send(b"".join(map(resp.split, [b"AUTH alice wrong", b"GET a", b"AUTH alice secret", b"GET a", b"QUIT"])))
        assert [reply[:4] for reply in client.lines(6)] == [b"-WRO", b"-NOA", b"+OK\r", b"$1\r\n", b"1\r\n", b"+OK\r"]


def test_an_inline_login_waits(serve):
    server = serve(f"alice:{YESCRYPT}:rw:*")
    requests = b"SET a 'x y'\r\n" + resp.split(b"AUTH alice wrong") + b"GET a\r\nAUTH alice secret\r\nSET a 'x y'\r\n"
    for request in requests, b"AUTH alice wrong\r\n" * 2 + b"HELLO 2 AUTH alice secret\nPING\n":
        with server.redis() as client:
            client.send(request + resp.split(b"GET a") + b"QUIT\r\n")
            replies = client.rest()
        assert replies.count(b"-WRONGPASS ") == request.count(b"wrong")
        assert replies.endswith(b"$3\r\nx y\r\n+OK\r\n"), replies


@pytest.mark.parametrize("line", [b"AUTH alice secret", b"AUTH alice sec\xff\xf1ret", b"AUTH alice x\xff\xffy", b"AUTH alice x\r\0y"])
def test_a_login_of_telnet_waits(line, serve):
    with serve(f"alice:{YESCRYPT}:rw:*").lines() as client:
        client.send(line + b"\r\nPING\r\nGET a\r\n")
        is_right = line.replace(b"\xff\xf1", b"").endswith(b"secret")
        assert client.lines(3) == [b"OK\n", b"PONG\n", b"NOT_FOUND\n"] if is_right else [WRONG + b"\n", b"PONG\n", STRANGER + b"\n"]


def test_an_inline_login_waits(serve):
    with serve(f"alice:{YESCRYPT}:rw:*").redis() as client:
        client.send(b"AUTH alice wrong\r\nPING\r\nAUTH alice secret\r\nPING\r\n*1\r\n$4\r\nPING\r\n")
        assert [client.reply()[:5] for _ in range(5)] == [b"-WRON", b"+PONG", b"+OK\r\n", b"+PONG", b"+PONG"]


def test_requests_of_strangers_are_short(serve):
    """So that many of them take little memory; what is behind a login is that of a user."""
    long = b"x" * 20000
    server = serve(f"alice:{DIGEST}:rw:*")
    with server.redis() as client:
        assert client.call("SET", "a", long).startswith(b"-ERR string exceeds maximum allowed size")
        assert client.call("AUTH", *[b"x" * 16000] * 4) == b"-ERR request is too long\r\n"
        client.send(resp.request("AUTH", "alice", TOKEN) + resp.request("SET", "a", long) + resp.request("GET", "a"))
        assert [client.reply() for _ in range(3)] == [b"+OK\r\n", b"+OK\r\n", b"$20000\r\n" + long + b"\r\n"]


def test_a_login_whose_reply_is_not_wanted(serve):
    with serve(f"alice:{YESCRYPT}:rw:*").redis("alice") as client:
        client.send(b"".join(map(resp.split, [
            b"CLIENT REPLY SKIP", b"AUTH alice wrong", b"ECHO 1", b"CLIENT REPLY OFF", b"AUTH alice wrong", b"SET a 1",
            b"CLIENT REPLY ON", b"GET a"])))  # fmt: skip
        assert [client.reply() for _ in range(3)] == [b"$1\r\n1\r\n", b"+OK\r\n", b"$1\r\n1\r\n"]


def test_a_wrong_password_takes_a_second_and_the_third_one_ends_the_client(serve):
    server = serve(f"alice:{SHA512}:rw:*", f"program:{DIGEST}:rw:*")
    filter = test_units.Fail2ban()
    with server.lines() as client:
        for attempt, name in enumerate(["alice", "nobody", "program"]):
            mark, begun = server.echod.log.mark(), time.monotonic()
            assert client.ask(f"AUTH {name} wrong".encode()) == WRONG
            assert time.monotonic() - begun >= 0.99
            line = server.echod.log.wait(
                rf" info kv {re.escape(client.name)}: wrong name or password, for the user \"{name}\"", mark)
            assert filter.banned(line.string) == "127.0.0.1"
        assert client.rest() == b""
    assert filter.banned(server.echod.wait_closed("auth").string) == "127.0.0.1"


def test_names_of_users_cannot_forge_lines(serve):
    server = serve(f"alice:{DIGEST}:rw:*")
    with server.redis() as client:
        assert client.call("AUTH", b"x\"\n2026 info kv 192.0.2.1:1: closed: auth (" + b"y" * 5000, "z").startswith(b"-WRONGPASS")
    line = server.echod.log.wait("wrong name or password, for the user").string
    assert "\\n2026" in line and len(line) < 300


def test_a_check_holds_nobody_up(serve):
    server = serve(f"alice:{SLOW}:rw:*")
    with server.lines() as client, server.echod.connect("echo") as echo:
        client.send(b"AUTH alice secret\n")
        for _ in range(100):
            assert echo.ask(b"hello") == b"hello"
        assert not client.readable()
        assert client.line() == b"OK\n"
    with server.lines() as client:
        begun = time.monotonic()
        assert client.ask(b"AUTH alice secret") == b"OK"
        assert time.monotonic() - begun < 1, "it was found to be right before"


def test_a_flood_of_one_source_is_refused(serve):
    server = serve(f"alice:{SLOW}:rw:*", listen=[LINES])
    clients = [server.lines() for _ in range(8)]
    for client in clients:
        client.send(b"AUTH alice wrong\n")
    wait_until(lambda: sum(client.readable() for client in clients) >= 4, "four of them have an answer")
    refused = [client.line() for client in clients if client.readable()]
    assert set(refused) == {b"ERROR: too many logins, try again later\n"} and len(refused) <= 5
    for client in clients:
        client.close()
    server.echod.stop()  # while one is being checked


def test_a_client_leaves_while_its_password_is_checked(serve):
    server = serve(f"alice:{SLOW}:rw:*", f"bob:{SHA512}:rw:*")
    with server.lines() as first, server.lines() as second:
        first.send(b"AUTH alice secret\n")
        second.send(b"AUTH bob secret\n")
        second.reset()
        first.reset()
    server.echod.wait_closed("reset", 2)
    with server.lines("bob") as client:
        assert client.ask(b"PING") == b"PONG"


def test_a_stranger_who_does_not_read_is_not_read(serve):
    """A client that has not logged in takes little memory of the daemon, and loses no reply."""
    server = serve(f"alice:{DIGEST}:rw:*", listen=[SOCKET])
    total, reply = 100_000, b"-NOAUTH Authentication required.\r\n"
    with server.redis() as client:
        sent = client.send_some(resp.split(b"GET a") * total)
        unsent = int(clients_of(server)[0]["unsent"])
        assert unsent < 2048 and sent < len(resp.split(b"GET a")) * total
        whole = sent // len(resp.split(b"GET a"))
        assert client.exactly(whole * len(reply)) == whole * reply


def clients_of(server):
    with server.echod.connect("control") as control:
        control.send(b"-j clients --service kv\n")
        return json.loads(control.line())["clients"]


# --- rights ---

RIGHTS = {
    "r:*": {"GET a": "a", "MGET a b": "2", "SET a 1": None, "DEL a": None, "INCR n": None, "GETDEL a": None, "KEYS": None,
            "DBSIZE": "4", "SCAN 0": "5", "EXPIRE a 9": None, "PING": "PONG", "ECHO x": "x"},
    "w:*": {"GET a": None, "SET a 1": "OK", "GETDEL a": None, "GETSET a 1": None, "DEL a": "DELETED", "EXISTS a": None,
            "INCR n": "1", "KEYS": None},
    "rw:*": {"GETSET a 1": "a", "GETDEL a": "1", "KEYS": None},
    "a:*": {"GET a": None, "SET a 1": None, "KEYS": "4"},
    "rwa:*": {"GET a": "a", "KEYS": "4"},
    "rw:x*": {"GET x:1": "1", "GET a": None, "MGET x:1 a": None, "RENAME x:1 y": None, "COPY a x:3": None, "COPY x:1 x:3": "OK",
              "EXISTS x:1 a": None, "EXISTS x:1 x:2": "2", "SCAN 0": "4", "MGET x:1 x:2": "2"},
    "rwa:x*": {"KEYS": "2"},
    "rw:b,x:?": {"GET b": "b", "GET x:2": "2", "GET x:22": None},
    "rw:a:*": {"GET a": None},
}  # fmt: skip


@pytest.mark.parametrize("rights", RIGHTS)
def test_rights_in_lines(rights, serve):
    server = serve(f"admin:{SHA512}:rwa:*", f"alice:{BCRYPT}:{rights}")
    with server.lines("admin") as admin:
        for key, value in {"a": "a", "b": "b", "x:1": "1", "x:2": "2"}.items():
            assert admin.ask(f"SET {key} {value}".encode()) == b"OK"
    for line, reply in RIGHTS[rights].items():
        with server.lines("alice") as client:
            assert client.ask(line.encode()) == (NOT_ALLOWED if reply is None else reply.encode()), line


NO_KEY = b"-NOPERM No permissions to access a key\r\n"


def no_right(name):
    return f"-NOPERM this user has no permissions to run the '{name}' command\r\n".encode()


def session(server, login, requests):
    with server.redis(login) as client:
        for line, reply in requests.items():
            assert client.ask(line.encode()) == reply, line


def test_rights_in_resp(serve):
    server = serve(f"admin:{YESCRYPT}:rwa:*", f"reader:{BCRYPT}:r:*", f"writer:{SHA512}:w:*", f"app:{BCRYPT}:rw:app:*,n")
    session(server, "admin", {
        "MSET app:1 1 b 2": b"+OK\r\n", "CONFIG GET databases": b"*2\r\n$9\r\ndatabases\r\n$1\r\n1\r\n",
        "CLIENT KILL ID 9999999": b":0\r\n", "KEYS b": b"*1\r\n$1\r\nb\r\n", "SCRIPT FLUSH": b"+OK\r\n"})  # fmt: skip
    session(server, "reader", {
        "GET b": b"$1\r\n2\r\n", "GETEX b": no_right("getex"), "MSET b 1": no_right("mset"), "KEYS *": no_right("keys"),
        "FLUSHALL": no_right("flushall"), "CONFIG GET *": no_right("config"), "CLIENT KILL ID 1": no_right("client|kill"),
        "CLIENT LIST": no_right("client|list"), "SCRIPT FLUSH": no_right("script|flush"), "PUBLISH c x": no_right("publish"),
        "OBJECT ENCODING b": b"$3\r\nint\r\n", "RANDOMKEY x": b"-ERR wrong number of arguments for 'randomkey' command\r\n",
        "UNSUBSCRIBE": b"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n",
        "SUBSCRIBE c": b"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"})  # fmt: skip
    session(server, "writer", {
        "SET b 3": b"+OK\r\n", "SET b 4 GET": no_right("set"), "SET b 5 NX": b"$-1\r\n", "GETEX b": no_right("getex"),
        "EXISTS b": no_right("exists"), "DEL b": b":1\r\n", "SUBSCRIBE c": no_right("subscribe"), "PUBLISH c x": b":0\r\n",
        "DUMP b": b"-ERR unknown command 'DUMP', with args beginning with: 'b' \r\n"})  # fmt: skip
    session(server, "app", {
        "GET app:1": b"$1\r\n1\r\n", "GET b": NO_KEY, "MSET app:1 1 b 2": NO_KEY, "MSET app:1 b app:2 b": b"+OK\r\n",
        "DEL app:1 b": NO_KEY, "WATCH b": NO_KEY, "WATCH app:1 n": b"+OK\r\n", "RANDOMKEY": NO_KEY, "PUBSUB NUMPAT": NO_KEY,
        "MEMORY USAGE b": NO_KEY, "OBJECT ENCODING b": NO_KEY, "SCAN 0 COUNT 100": b"*2\r\n$1\r\n0\r\n*2\r\n$5\r\napp:1\r\n$5\r\napp:2\r\n",
        "SUBSCRIBE b": NO_KEY, "PSUBSCRIBE *": NO_KEY, "PSUBSCRIBE app:1*": NO_KEY, "PUBLISH b x": NO_KEY, "PUBLISH app:9 x": b":0\r\n",
        "PSUBSCRIBE app:*": b"*3\r\n$10\r\npsubscribe\r\n$5\r\napp:*\r\n:1\r\n"})  # fmt: skip


def test_rights_in_transactions(serve):
    session(serve(f"app:{BCRYPT}:rw:app:*"), "app", {
        "MULTI": b"+OK\r\n", "SET app:1 1": b"+QUEUED\r\n", "SET b 1": NO_KEY,
        "EXEC": b"-EXECABORT Transaction discarded because of previous errors.\r\n", "EXISTS app:1": b":0\r\n",
        "multi": b"+OK\r\n", "AUTH app secret": b"+QUEUED\r\n", "Set app:1 2": b"+QUEUED\r\n"})  # fmt: skip


def test_a_transaction_has_the_rights_of_its_end(serve):
    server = serve(f"app:{BCRYPT}:rw:*")
    with server.redis("app") as client:
        for line, reply in {b"MULTI": b"+OK\r\n", b"SET a 1": b"+QUEUED\r\n", b"AUTH app secret": b"+QUEUED\r\n"}.items():
            assert client.ask(line) == reply
        assert server.reload([f"app:{BCRYPT}:r:*"])
        assert client.ask(b"EXEC") == b"*2\r\n" + no_right("set") + b"-ERR a login inside MULTI is not possible\r\n"
        assert client.ask(b"GET a") == b"$-1\r\n"


# Of redis-py's Lock.
RELEASE = ("local token = redis.call('get', KEYS[1]) if not token or token ~= ARGV[1] then return 0 end "
           "redis.call('del', KEYS[1]) return 1")  # fmt: skip


def test_rights_of_scripts(serve):
    server = serve(f"app:{BCRYPT}:rw:app:*", f"reader:{YESCRYPT}:r:*")
    with server.redis("app") as app, server.redis("reader") as reader:
        assert app.call("SET", "app:lock", "me") == b"+OK\r\n"
        assert app.call("EVAL", RELEASE, 1, "lock", "me") == NO_KEY
        assert reader.call("EVAL", RELEASE, 1, "app:lock", "me") == no_right("del")
        assert app.call("EVAL", RELEASE, 1, "app:lock", "me") == b":1\r\n"


# --- other ways to be somebody ---


def test_a_process_of_the_system_need_not_log_in(serve):
    name = getpass.getuser()
    server = serve(f"me:uid:{name}:r:*", f"other:uid:{os.getuid() + 1}:rw:*", listen=[SOCKET, "unix://$DIR/lines"])
    with server.redis() as client:
        assert client.call("ACL", "WHOAMI") == b"$2\r\nme\r\n"
        assert client.call("GET", "a") == b"$-1\r\n"
        assert client.call("SET", "a", 1) == no_right("set")
        assert client.call("AUTH", "me", "x").startswith(b"-WRONGPASS ")
        assert client.call("RESET") == b"+RESET\r\n"
        assert client.call("GET", "a") == b"$-1\r\n"
    with server.echod.kv(transport="unix") as client:
        assert client.ask(b"GET a") == b"NOT_FOUND"


def test_a_proxy_is_not_its_clients(serve):
    server = serve(f"me:uid:{os.getuid()}:rw:*", listen=["unix://$DIR/lines"], proxy_from="unix")
    with server.echod.connect("kv") as client:
        client.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
        assert client.line() == b"READY\n"
        assert client.ask(b"GET a") == STRANGER
    with server.echod.connect("kv") as client:
        client.send(b"PROXY UNKNOWN\r\n")
        assert client.line() == b"READY\n"
        assert client.ask(b"GET a") == STRANGER


@pytest.mark.skipif(" tls" not in harness.run_echod("-V").stdout, reason="echod is built without TLS")
def test_a_certificate_names_a_user(echod, workdir):
    authority = certificates.ca(workdir)
    chain = authority.issue("127.0.0.1")
    one, two, three = authority.issue("One.example"), authority.issue("spiffe://a/b:c"), authority.issue("other.example")
    (workdir / "users").write_text(
        f"one:cert:dns:ONE.example:r:*\ntwo:cert:uri:spiffe://a/b:c:rw:*\nthree:{DIGEST}:r:*\n")
    server = echod({"kv": {"listen": "tls://127.0.0.1:0", "users": str(workdir / "users")}},
                   tls={"certificate": str(chain.chain), "key": str(chain.key), "client_ca": str(authority.pem)})  # fmt: skip

    def client(certificate):
        context = tls_client.trusting(authority)
        context.load_cert_chain(certificate.chain, certificate.key)
        client = tls_client.Client(server.address("kv"), context)
        assert client.line() == b"READY\n"
        return client

    with client(one) as first, client(two) as second, client(three) as third:
        assert first.ask(b"GET a") == b"NOT_FOUND"
        assert first.ask(b"SET a 1") == NOT_ALLOWED
        assert second.ask(b"SET a 1") == b"OK"
        assert third.ask(b"GET a") == STRANGER
        assert third.ask(f"AUTH three {TOKEN}".encode()) == b"OK"
        assert third.ask(b"GET a") == b"1"


def test_a_proxy_is_not_its_clients_after_a_reload(serve):
    server = serve(f"me:uid:{os.getuid()}:rw:*", listen=["unix://$DIR/lines", SOCKET], proxy_from="unix")
    services = {"kv": dict(server.settings), "echo": {"listen": LINES}, "control": {"listen": "unix://$DIR/control"}}
    del services["kv"]["proxy_from"]
    with server.echod.connect("kv", "unix") as one, resp.connect(server.echod) as other:
        one.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
        assert one.line() == b"READY\n"
        other.send(b"PROXY UNKNOWN\r\n")
        assert other.call("PING") == b"+PONG\r\n"
        assert server.echod.reload(services)
        assert one.ask(b"GET a") == STRANGER
        assert other.call("GET", "a").startswith(b"-NOAUTH ")


def test_libraries_of_redis_log_in(serve):
    redis = pytest.importorskip("redis")
    server = serve(f"default:{YESCRYPT}:rw:*", f"alice:{DIGEST}:r:*", listen=["redis://127.0.0.1:0"])
    port = server.echod.address("kv", "redis").port
    assert redis.Redis(port=port, password="secret").set("a", "1")
    assert redis.Redis(port=port, username="alice", password=TOKEN).get("a") == b"1"
    with pytest.raises(redis.exceptions.NoPermissionError):
        redis.Redis(port=port, username="alice", password=TOKEN).set("a", "1")
    with pytest.raises(redis.exceptions.AuthenticationError):
        redis.Redis(port=port).get("a")
    with pytest.raises((redis.exceptions.AuthenticationError, redis.exceptions.ResponseError)):
        redis.Redis(port=port, username="alice", password="wrong").get("a")


@pytest.mark.skipif(harness.program("redis-cli") is None, reason="redis-cli is not installed")
@pytest.mark.parametrize("version", ["-2", "-3"])
def test_redis_cli_logs_in(serve, version):
    server = serve(f"alice:{YESCRYPT}:rw:*", listen=["redis://127.0.0.1:0"])
    port = str(server.echod.address("kv", "redis").port)
    done = subprocess.run(["redis-cli", version, "-p", port, "--user", "alice", "--pass", "secret", "--no-auth-warning",
                           "set", "a", "1"], capture_output=True, check=False)  # fmt: skip
    assert done.stdout == b"OK\n" and done.stderr == b""


# --- reloads ---


def test_a_reload_takes_rights_away(serve):
    alice, bob, carl = f"alice:{BCRYPT}:rw:*", f"bob:{SHA512}:rw:*", f"carl:{YESCRYPT}:rw:*"
    server = serve(alice, bob, carl)
    with server.lines("alice") as a, server.redis("bob") as b, server.lines("carl") as c:
        assert a.ask(b"SET a 1") == b"OK"
        assert server.reload([f"alice:{BCRYPT}:r:*", f"carl:{SHA512}:rw:*"])
        assert a.ask(b"GET a") == b"1"
        assert a.ask(b"SET a 1") == NOT_ALLOWED
        assert b.ask(b"GET a") == b"-NOAUTH Authentication required.\r\n"
        assert b.call("AUTH", "bob", "secret").startswith(b"-WRONGPASS ")
        assert c.ask(b"GET a") == STRANGER, "whose password was changed"
        assert c.ask(b"AUTH carl secret") == b"OK"


def test_a_reload_ends_subscriptions_that_are_no_longer_allowed(serve):
    alice, bob, carl = f"alice:{BCRYPT}:rw:*", f"bob:{SHA512}:rw:*", f"carl:{YESCRYPT}:rw:*"
    server = serve(alice, bob, carl)
    with server.redis("alice") as a, server.redis("bob") as b, server.redis("carl") as c:
        for client in a, b, c:
            assert client.ask(b"SUBSCRIBE news").startswith(b"*3\r\n")
        assert server.reload([alice, f"bob:{SHA512}:rw:other"])
        assert b.rest() == b"" and c.rest() == b""
        with server.redis("alice") as publisher:
            assert publisher.call("PUBLISH", "news", "x") == b":1\r\n"
        assert a.reply() == b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nx\r\n"


def test_another_login_ends_subscriptions(serve):
    server = serve(f"alice:{BCRYPT}:rw:*", f"bob:{SHA512}:r:other")
    with server.redis() as client, server.redis("alice") as publisher:
        assert client.call("HELLO", 3, "AUTH", "alice", "secret").startswith(b"%7")
        assert client.call("SUBSCRIBE", "news").startswith(b">3\r\n")
        assert publisher.call("PUBLISH", "news", "x") == b":1\r\n"
        assert client.reply().startswith(b">3\r\n$7\r\nmessage")
        assert client.call("AUTH", "bob", "secret") == b"+OK\r\n"
        assert publisher.call("PUBLISH", "news", "x") == b":0\r\n"


def test_a_list_of_a_user_that_goes_is_an_error(serve):
    server = serve(f"alice:{DIGEST}:rwa:*", max_memory="1G")
    with server.lines() as client:
        assert client.ask(f"AUTH alice {TOKEN}".encode()) == b"OK"
        for n in range(0, 100_000, 1000):
            client.send(b"".join(b"SET key:%d x\n" % (n + i) for i in range(1000)))
            assert client.lines(1000) == [b"OK\n"] * 1000
        client.send(b"KEYS\n" * 200)
        client.line()
        assert server.reload([f"alice:{DIGEST}:r:*"])
        client.half_close()
        replies = client.rest().splitlines()
        assert replies[-1] == NOT_ALLOWED
        assert all(line == b"100000" or line == NOT_ALLOWED or line.startswith(b"key:") for line in replies)


def test_a_mistake_in_the_file_leaves_the_users_as_they_are(serve):
    alice = f"alice:{BCRYPT}:rw:*"
    server = serve(alice)
    with server.lines("alice") as client:
        assert not server.reload([alice, "", "# more", "bob:x:rw:*"])
        server.echod.log.wait(r"\.conf:\d+: services\.kv\.users: .*users:4: expected a hash")
        assert client.ask(b"SET a 1") == b"OK"
    with server.lines("alice") as client:
        assert client.ask(b"SET a 1") == b"OK"


def test_users_come_and_go(serve):
    server = serve(f"alice:{BCRYPT}:rw:*")
    services = {"kv": dict(server.settings), "echo": {"listen": LINES}, "control": {"listen": "unix://$DIR/control"}}
    with server.lines("alice") as client, server.lines() as stranger:
        del services["kv"]["users"]
        assert server.echod.reload(services)
        assert client.ask(b"SET a 1") == b"OK"
        assert stranger.ask(b"GET a") == b"1"
        assert stranger.ask(b"AUTH alice secret") == b"ERROR: no users are configured"
        services["kv"]["users"] = str(server.file)
        assert server.echod.reload(services)
        assert client.ask(b"GET a") == STRANGER
        assert stranger.ask(b"GET a") == STRANGER
        assert stranger.ask(b"AUTH alice secret") == b"OK"


def test_users_go_while_passwords_are_checked(serve):
    server = serve(f"alice:{SLOW}:rw:*")
    services = {"kv": dict(server.settings), "echo": {"listen": LINES}, "control": {"listen": "unix://$DIR/control"}}
    with server.lines() as first, server.redis() as second:
        first.send(b"AUTH alice wrong\nGET a\n")
        second.send(resp.split(b"AUTH wrong") + resp.split(b"GET a"))
        del services["kv"]["users"]
        assert server.echod.reload(services)
        assert first.lines(2) == [b"ERROR: no users are configured\n", b"NOT_FOUND\n"]
        assert second.line().startswith(b"-ERR AUTH <password> called without any password")
        assert second.line() == b"$-1\r\n"


def test_a_reload_while_a_password_is_checked(serve):
    server = serve(f"alice:{SLOW}:rw:*")
    with server.lines() as first, server.lines() as second:
        first.send(b"AUTH alice secret\nGET a\n")
        second.send(b"AUTH alice secret\nGET a\n")
        assert server.reload([f"bob:{DIGEST}:rw:*"])
        for client in first, second:
            assert client.lines(2) == [WRONG + b"\n", STRANGER + b"\n"]


def test_an_administrator_sees_who_has_logged_in(serve):
    server = serve(f"alice:{BCRYPT}:rw:*")
    with server.lines("alice"), server.redis():
        assert {client["user"] for client in clients_of(server)} == {"alice", None}
        with server.echod.connect("control") as control:
            control.send(b"clients\n")
            control.half_close()
            assert b" user alice " in control.rest()


def test_logins_are_counted(serve):
    server = serve(f"alice:{BCRYPT}:rw:*")
    with server.lines("alice") as client, server.echod.connect("control") as control:
        assert client.ask(b"AUTH alice x") == WRONG
        control.send(b"-j status\n")
        kv = next(s for s in json.loads(control.line())["services"] if s["name"] == "kv")["report"]
    assert (kv["logins_total"], kv["failed_logins_total"], kv["refused_logins_total"]) == (1, 1, 0)


# --- the file ---

MISTAKES = {
    "alice": "found no colon",
    f"al ice:{DIGEST}:r:*": 'expected a name of letters, .*, got "al ice"',
    f":{DIGEST}:r:*": "expected a name of letters",
    f"{'a' * 65}:{DIGEST}:r:*": "at most 64 bytes",
    "alice:x:r:*": "expected a hash",
    "alice:$1$abc$def:r:*": "expected a hash",
    "alice:$apr1$x$y:r:*": "htpasswd -B",
    "alice::r:*": "expected a hash",
    "alice:$2b$31$abcdefghijklmnopqrstuug2/T3netL3BPRcnafSaAr9lEfTNoLyC:r:*": "takes too long",
    "alice:$6$rounds=999999999$x$y:r:*": "takes too long",
    f"alice:{DIGEST}:r:a, b": 'a pattern begins or ends with a blank .*: " b"',
    "alice:cert:uri:spiffe://x/r:rw:q:r:*": "not clear which of the fields",
    "alice:cert:dns::r:*": "expected cert:dns:NAME",
    "alice:sha256:abc:r:*": "expected 64 hexadecimal digits",
    f"alice:{DIGEST}a:r:*": "more than 64 digits",
    f"alice:{DIGEST}:x:*": "expected RIGHTS",
    f"alice:{DIGEST}:rr:*": "expected RIGHTS",
    f"alice:{BCRYPT}:rwx:*": 'expected RIGHTS .* got "rwx"',
    f"alice:{BCRYPT}:rw": "found no PATTERNS",
    f"alice:{BCRYPT}": "found no RIGHTS",
    f"alice:{BCRYPT}:rw:": "found an empty one",
    f"alice:{BCRYPT}:rw:a,,b": "found an empty one",
    f"alice:{BCRYPT}:rw:{'a' * 513}": "longer than 512 bytes",
    "alice:uid:no-such-user-here:r:*": 'expected the name or number of a system user behind uid:, got "no-such-user-here"',
    "alice:cert:example.org:r:*": "expected cert:dns:NAME",
    f"alice:{DIGEST}:r:*\nalice:{DIGEST}:r:*": "2: the user alice is in line 1 already",
    "alice:uid:0:r:*\nbob:uid:0:r:*": "2: bob is known in the same way as alice in line 1",
    "alice:cert:dns:a:r:*\nbob:cert:dns:A:r:*": "2: bob is known in the same way as alice in line 1",
}


def check(write, workdir, text, mode=0o600, listen=LINES):
    users = workdir / "users"
    users.write_text(text + "\n")
    users.chmod(mode)
    config = harness.to_config({"kv": {"listen": listen, "users": str(users)}})
    return harness.run_echod("-c", write("test.conf", config), "-t")


@pytest.mark.parametrize("text", MISTAKES, ids=range(len(MISTAKES)))
def test_a_mistake_has_its_line(write, workdir, text):
    result = check(write, workdir, text)
    assert result.returncode == 78
    assert re.search(rf"test\.conf:\d+: services\.kv\.users: {workdir}/users:\d+: .*{MISTAKES[text].lstrip('2: ')}",
                     result.stderr), result.stderr  # fmt: skip


def test_all_mistakes_are_shown(write, workdir):
    result = check(write, workdir, "\n".join(["x"] * 30))
    assert result.stderr.count("found no colon") == 20


def test_a_file_that_others_can_write_to(write, workdir):
    result = check(write, workdir, f"alice:{DIGEST}:r:*", mode=0o646)
    assert result.returncode == 78 and "can write to it" in result.stderr


def test_a_file_that_is_not_there(write):
    config = harness.to_config({"kv": {"listen": LINES, "users": "/nonexistent/users"}})
    result = harness.run_echod("-c", write("test.conf", config), "-t")
    assert result.returncode == 78 and "cannot open /nonexistent/users: No such file" in result.stderr


def test_logins_in_the_clear_are_warned_of(write, workdir):
    for listen, warned in {"tcp://0.0.0.0:1": "tls://", "redis://192.0.2.1:1": "rediss://", "tcp://127.0.0.1:1": None,
                           "unix:///tmp/x": None}.items():  # fmt: skip
        result = check(write, workdir, f"alice:{DIGEST}:r:*", listen=listen)
        assert result.returncode == 0
        if warned is None:
            assert "warning" not in result.stderr
        else:
            assert f"{listen} takes names and passwords in the clear: use {warned} in its place" in result.stderr
            assert "lets everybody" not in result.stderr

