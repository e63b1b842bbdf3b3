"""echoctl get, set, del, incr, keys, ttl, dump and load: in lines and in RESP, of echod, of Redis and of hostile servers."""

import json
import os
import pty
import resource
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

import harness
from harness import DEADLINE, wait_until
from test_echoctl import (NO, NOBODY, OK, USAGE, Running, find_echoctl, nobody, read_all,
                          read_terminal, run, stream_peer)

ALL_BYTES = bytes(range(256))
NOT_A_LINE = "cannot be part of a line; use a redis:// address"
MEMORY = 96 << 20  # enough for a program, but not for what a hostile server announces

needs_redis = pytest.mark.skipif(not harness.program("redis-server"), reason="no redis-server")
needs_redis_cli = pytest.mark.skipif(not harness.program("redis-cli"), reason="no redis-cli")
needs_plain_build = pytest.mark.skipif(
    os.path.exists(find_echoctl()) and b"libasan" in Path(find_echoctl()).read_bytes(),
    reason="AddressSanitizer reserves more memory")


def word(data):
    return b"$%d\r\n%s\r\n" % (len(data), data)


def command(*words):
    """A command in RESP."""
    return b"*%d\r\n%s" % (len(words), b"".join(map(word, words)))


def commands_of(data):
    """The commands in a dump."""
    found = []
    while data:
        head, data = data.split(b"\r\n", 1)
        words = []
        for _ in range(int(head[1:])):
            head, data = data.split(b"\r\n", 1)
            length = int(head[1:])
            words.append(data[:length])
            assert data[length:length + 2] == b"\r\n"
            data = data[length + 2:]
        found.append(words)
    return found


class Service:
    """A kv service, at an address."""

    def __init__(self, address):
        self.address = str(address)
        self.resp = self.address.startswith("redis")

    def __call__(self, name, *args, **options):
        """Runs a command; returns its output."""
        output, errors = run(name, "-a", self.address, *args, **options)
        assert errors == ""
        return output

    def refuses(self, name, *args, status=NO, **options):
        """Runs a command that fails; returns its errors."""
        output, errors = run(name, "-a", self.address, *args, status=status, **options)
        assert output == b"" and errors.startswith("echoctl: ")
        return errors

    def lacks(self, name, *args):
        """Runs a command whose status alone says that there is nothing."""
        assert run(name, "-a", self.address, *args, status=NO) == (b"", "")


@pytest.fixture
def redis(workdir):
    """A redis-server."""
    if harness.program("redis-server") is None:
        pytest.skip("no redis-server")
    path = workdir / "redis.sock"
    with open(workdir / "redis.log", "wb") as log:
        process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", workdir],
            stdout=log, stderr=log)  # fmt: skip
    try:
        wait_until(lambda: harness.takes_clients(path), "Redis takes clients")
        yield Service(f"redis+unix://{path}")
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def start(echod, workdir):
    """Starts a daemon with a kv service, and returns it at its address of that scheme."""

    def start(scheme="redis", **keys):
        listen = {"tcp": "tcp://127.0.0.1:0", "redis": "redis://127.0.0.1:0",
                  "unix": "unix://$DIR/kv", "redis+unix": "redis+unix://$DIR/kv"}[scheme]
        server = echod({"kv": {"listen": listen, **keys}})
        found = server.log.wait(r" info kv: listening on (\S+)$")
        return Service(found[1])

    return start


EVERY_RESP = ["redis", "redis+unix", "redis-server"]
EVERY_LINES = ["tcp", "unix"]


@pytest.fixture
def kv(request, start):
    if request.param == "redis-server":
        return request.getfixturevalue("redis")
    return start(request.param)


every_kv = pytest.mark.parametrize("kv", EVERY_LINES + EVERY_RESP, indirect=True)
every_lines = pytest.mark.parametrize("kv", EVERY_LINES, indirect=True)
every_resp = pytest.mark.parametrize("kv", EVERY_RESP, indirect=True)


# --- get, set, del, incr, ttl ---


@every_kv
def test_get_what_was_set(kv):
    assert kv("set", "a", "hello  big world") == b""
    assert kv("get", "a") == b"hello  big world"
    assert kv("set", "a", "2") == b""
    assert kv("get", "a") == b"2"


@every_kv
def test_a_missing_key_is_a_status(kv):
    for name in ["get", "ttl"]:
        kv.lacks(name, "missing")


@every_kv
def test_del_counts(kv):
    for key in "abc":
        kv("set", key, "1")
    assert kv("del", "a", "x", "b") == b"2\n"
    assert run("del", "-a", kv.address, "a", "x", status=NO) == (b"0\n", "")
    assert kv("keys") == b"c\n"


@every_kv
def test_incr(kv):
    assert kv("incr", "n") == b"1\n"
    assert kv("incr", "n", "41") == b"42\n"
    assert kv("incr", "n", "-50") == b"-8\n"
    kv("set", "text", "abc")
    assert "integer" in kv.refuses("incr", "text") or not kv.resp
    assert "not a number" in kv.refuses("incr", "n", "1x") or kv.resp
    assert kv("get", "n") == b"-8"


@every_kv
def test_ttl(kv):
    kv("set", "lasting", "1")
    assert kv("ttl", "lasting") == b"NEVER\n"
    kv("set", "--ttl", "5m", "fading", "2")
    assert 290 <= int(kv("ttl", "fading")) <= 300
    kv("set", "--ttl", "100", "fading", "3")
    assert 90 <= int(kv("ttl", "fading")) <= 100
    kv("set", "fading", "4")
    assert kv("ttl", "fading") == b"NEVER\n"
    kv("set", "--ttl", "20ms", "short", "5")
    wait_until(lambda: run_status("get", "-a", kv.address, "short") == NO, "it expires")


def run_status(*args):
    return subprocess.run([find_echoctl(), *args], stdout=subprocess.DEVNULL, check=False,
                          stdin=subprocess.DEVNULL, timeout=DEADLINE).returncode  # fmt: skip


@every_kv
def test_words_may_begin_with_a_hyphen(kv):
    assert kv("set", "a", "-j") == b""
    assert kv("get", "a") == b"-j"
    assert kv("set", "--", "-w", "--ttl") == b""
    assert kv("get", "--", "-w") == b"--ttl"
    assert kv("del", "a", "-w") == b"2\n"


@every_kv
def test_values_of_the_standard_input(kv):
    assert kv("set", "a", input=b"from a pipe") == b""
    assert kv("get", "a") == b"from a pipe"
    assert kv("set", "a", input=b"x" * 65000) == b""
    assert kv("get", "a") == b"x" * 65000


@every_resp
@pytest.mark.parametrize("value", [b"", b"\n", b"\r\n", b" a ", b"a\n", ALL_BYTES * 255, b"\0", b"$3\r\nabc\r\n"],
                         ids=lambda value: repr(value[:12]))
def test_any_bytes_in_resp(kv, value):
    assert kv("set", "a", input=value) == b""
    assert kv("get", "a") == value


@pytest.mark.parametrize("size", [1 << 20, (16 << 20) + 1])
def test_long_values(redis, size):
    value = os.urandom(size)
    redis("set", "a", input=value)
    assert redis("get", "a") == value


@every_resp
@pytest.mark.parametrize("key", ["a b", " ", "a\nb", "\t", "ä", "*", "a\\nb"])
def test_names_of_any_kind_in_resp(kv, key):
    assert kv("set", key, "1") == b""
    assert kv("get", key) == b"1"
    assert kv("ttl", key) == b"NEVER\n"
    assert kv("incr", key) == b"2\n"
    listed = json.loads(kv("keys", "-j"))
    assert listed == {"bytes": len(key.encode()), "text": key}
    assert kv("del", key) == b"1\n"


@every_lines
def test_what_is_no_line_is_refused(kv):
    for key in ["", " ", "a b", "a\nb", "a\t"]:
        for args in [("get",), ("set", "x"), ("del",), ("incr",), ("ttl",)]:
            errors = kv.refuses(args[0], key, *args[1:])
            assert NOT_A_LINE in errors
    for value in [b"", b" a", b"a ", b"a\n", b"a\nDEL a", b"\r"]:
        assert NOT_A_LINE in kv.refuses("set", "a", input=value)
    assert NOT_A_LINE in kv.refuses("keys", "a b")
    assert NOT_A_LINE in kv.refuses("incr", "a", "1 2")
    kv.lacks("get", "a")


@every_lines
def test_what_telnet_would_change_is_refused_over_tcp(kv):
    for value in [b"a\xffb", b"a\xff\xf4b", b"a\r\0b"]:
        if kv.address.startswith("tcp"):
            assert NOT_A_LINE in kv.refuses("set", "a", input=value)
            continue
        kv("set", "a", input=value)
        assert kv("get", "a") == value
    plain = bytes(byte for byte in ALL_BYTES[:-1] if byte != 10) + b"!"
    kv("set", "a", input=b"!" + plain)
    assert kv("get", "a") == b"!" + plain


@every_lines
@pytest.mark.parametrize("value", ["NOT_FOUND", "ERROR: loading", "OK", "BYE", "0123456789abcdef x", "7"])
def test_a_value_is_not_taken_for_an_answer(kv, value):
    kv("set", "a", value)
    assert kv("get", "a") == value.encode()


def test_a_value_that_is_no_line_is_refused_by_name(echod, workdir):
    echod({"kv": {"listen": ["unix://$DIR/lines", "redis+unix://$DIR/resp"]}})
    lines, resp = Service(f"unix://{workdir}/lines"), Service(f"redis+unix://{workdir}/resp")
    resp("set", "a", input=b"two\nlines")
    resp("set", "a key", "1")
    assert "value is not a line; use a redis:// address" in lines.refuses("get", "a")
    assert sorted(lines("keys").splitlines()) == [b"a", b"a\\x20key"]
    assert sorted(resp("keys").splitlines()) == [b"a", b"a key"]
    for name in ["dump", "load"]:
        assert f"{name} needs a redis:// address" in lines.refuses(name)


@every_kv
def test_json(kv):
    kv("set", "a", "hello")
    assert json.loads(kv("get", "-j", "a")) == {"bytes": 5, "text": "hello"}
    assert json.loads(kv("ttl", "-j", "a")) == {"ttl": None}
    kv("set", "--ttl", "1h", "n", "1")
    assert json.loads(kv("ttl", "-j", "n"))["ttl"] in range(3590, 3601)
    assert json.loads(kv("incr", "-j", "n")) == {"value": 2}
    assert [json.loads(line) for line in kv("keys", "-j", "a").splitlines()] == [
        {"bytes": 1, "text": "a"}]
    assert json.loads(kv("del", "-j", "a", "n")) == {"deleted": 2}
    kv("set", "a", input=b"\x80\xfe")
    assert json.loads(kv("get", "-j", "a")) == {"bytes": 2, "hex": "80fe"}
    kv.lacks("get", "-j", "missing")


@every_kv
def test_the_errors_of_the_service_are_printed(kv):
    kv("set", "a", "text")
    assert kv.refuses("incr", "a").startswith(f"echoctl: {kv.address}: ")
    if kv.address.endswith("redis.sock"):
        return
    assert "too long" in kv.refuses("set", "k" * 251, "1")
    refusal = "exceeds maximum allowed size" if kv.resp else "line too long"
    assert refusal in kv.refuses("set", "a", input=b"x" * 65537)
    assert kv("get", "a") == b"text"


# --- keys ---


@every_kv
def test_keys(kv):
    names = {b"key:%d" % i for i in range(5000)} | {b"other"}
    if kv.resp:
        kv("load", input=b"".join(command(b"SET", name, b"1") for name in names))
    else:
        with harness.connect(kv.address) as client:
            client.exchange(b"".join(b"SET %s 1\n" % name for name in names),
                            len(b"READY\n") + 3 * len(names))
    assert set(kv("keys").splitlines()) == names
    assert set(kv("keys", "key:*").splitlines()) == names - {b"other"}
    assert kv("keys", "oth?r") == b"other\n"
    assert kv("keys", "none*") == b""


@every_resp
def test_keys_are_a_line_each(kv):
    for key in ["a\nb c\\\t\r\v\f", "plain \\n", "ä"]:
        kv("set", key, "1")
    assert sorted(kv("keys").splitlines(keepends=True)) == sorted(
        [b"a\\nb\\x20c\\\\\\t\\r\\v\\f\n", b"plain \\n\n", "ä\n".encode()])


# --- which service ---


def environment(**more):
    return {key: value for key, value in os.environ.items() if key != "ECHOD_KV"} | more


def test_the_address_is_an_option_the_environment_or_that_of_the_daemon(echod, workdir):
    def kv(name):
        return {"type": "kv", "listen": f"unix://$DIR/{name}"}

    echod({"echo": {"listen": "tcp://127.0.0.1:0"}, "first": kv("first"), "second": kv("second"),
           "control": {"listen": "unix://$DIR/control"}})
    for name in ["first", "second"]:
        run("set", "-a", f"unix://{workdir}/{name}", "name", name)
    control = ["-s", f"{workdir}/control"]
    second = environment(ECHOD_KV=f"unix://{workdir}/second")
    assert run(*control, "get", "name", env=environment())[0] == b"first"
    assert run(*control, "get", "name", env=environment(ECHOD_KV=""))[0] == b"first"
    assert run("-s", "/nowhere", "get", "name", env=second)[0] == b"second"
    assert run("get", "-a", f"unix://{workdir}/first", "name", env=second)[0] == b"first"


def test_of_the_daemon_a_listener_for_resp_comes_first(echod, workdir):
    echod({"lines": {"type": "kv", "listen": "unix://$DIR/lines"},
           "both": {"type": "kv", "listen": ["tcp://127.0.0.1:0", "redis://127.0.0.1:0"]},
           "control": {"listen": "unix://$DIR/control"}})
    control = ["-s", f"{workdir}/control"]
    run(*control, "set", "a key", "1", env=environment())
    assert run(*control, "keys", env=environment())[0] == b"a key\n"


def test_without_an_address(echod, workdir):
    errors = run("-s", f"{workdir}/nobody", "get", "a", status=NOBODY, env=environment())[1]
    assert "$ECHOD_KV" in errors and "-a ADDRESS" in errors
    echod({"echo": {"listen": "tcp://127.0.0.1:0"}, "control": {"listen": "unix://$DIR/control"}})
    errors = run("-s", f"{workdir}/control", "get", "a", status=NO, env=environment())[1]
    assert "the daemon serves no kv" in errors and "-a ADDRESS" in errors


ALL = [("get", "a"), ("set", "a", "1"), ("del", "a"), ("incr", "a"), ("keys",), ("ttl", "a"),
       ("dump",), ("load",)]  # fmt: skip
every_command = pytest.mark.parametrize("args", ALL, ids=lambda args: args[0])


@every_command
def test_nobody_is_there(args, workdir):
    for address in [f"tcp://127.0.0.1:{nobody()}", f"redis://127.0.0.1:{nobody()}",
                    f"unix://{workdir}/no", f"redis+unix://{workdir}/no", "redis://no.invalid:1"]:
        errors = run(args[0], "-a", address, *args[1:], status=NOBODY)[1]
        assert errors.startswith(f"echoctl: {address}: ")


@pytest.mark.parametrize("args, text", [
    (["get"], "get: an argument is missing"),
    (["get", "a", "b"], "get: too many arguments"),
    (["set", "a", "b", "--ttl", "5"], "set: too many arguments"),
    (["set", "--ttl", "0", "a", "b"], '--ttl: expected seconds or a duration such as'),
    (["set", "--ttl", "-5", "a", "b"], 'got "-5"'),
    (["set", "--ttl", "5x", "a", "b"], 'got "5x"'),
    (["set", "--ttl", "99999999999999999999", "a", "b"], 'got "99999999999999999999"'),
    (["set", "--ttl"], "--ttl: its value is missing"),
    (["get", "--ttl", "5", "a"], "unknown option --ttl"),
    (["get", "-w", "x", "a"], "-w: expected seconds"),
    (["get", "-a", "", "a"], "the scheme is missing"),
    (["get", "-a", "127.0.0.1:1", "a"], "the scheme is missing"),
    (["get", "-a", "udp://127.0.0.1:1", "a"], "kv serves no datagrams"),
    (["dump", "-j"], "-j needs a FILE"),
    (["dump", "a", "b"], "dump: too many arguments"),
])  # fmt: skip
def test_usage_errors(args, text):
    output, errors = run(*args, status=USAGE)
    assert output == b"" and text in errors


# --- on a terminal ---


@contextmanager
def terminal(stream, *args, status=OK, **options):
    """What a command shows on a terminal, which is its standard output or error, as a list that is filled."""
    ours, theirs = pty.openpty()
    shown = []
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: theirs}
    process = subprocess.Popen([find_echoctl(), *map(str, args)], stdin=subprocess.DEVNULL,
                               **streams, **options)  # fmt: skip
    os.close(theirs)
    yield shown
    shown.append(read_terminal(ours))
    os.close(ours)
    assert process.wait(DEADLINE) == status


def test_a_value_ends_with_a_line_feed_on_a_terminal(start):
    kv = start("unix")
    kv("set", "a", "hello")
    with terminal("stdout", "get", "-a", kv.address, "a") as shown:
        pass
    assert shown == [b"hello\r\n"]


def test_a_key_moves_no_terminal(start):
    kv = start("redis")
    kv("set", "a\x1b[2J \\\a\x7f", "1")
    assert kv("keys") == b"a\x1b[2J \\\a\x7f\n"
    with terminal("stdout", "keys", "-a", kv.address) as shown:
        pass
    assert shown == [b"a\\x1b[2J\\x20\\\\\\x07\\x7f\r\n"]


@pytest.mark.parametrize("name", ["get", "ttl"])
def test_people_are_told_that_a_key_is_missing(start, name):
    kv = start("unix")
    ours, theirs = pty.openpty()
    output, errors = run(name, "-a", kv.address, "missing", stdout=theirs, status=NO)
    os.close(theirs)
    assert (output, errors) == (None, "echoctl: not found\n")
    assert read_terminal(ours) == b""
    os.close(ours)


def test_progress_is_shown_on_a_terminal_and_erased(start, workdir):
    kv = start("redis", max_memory="256M")
    kv("load", input=b"".join(command(b"SET", b"key:%d" % i, b"1") for i in range(3000)))
    with terminal("stderr", "dump", "-a", kv.address, workdir / "dump") as shown:
        pass
    assert b" of 3000 keys" in shown[0] and shown[0].endswith(b"\r\x1b[K")
    with terminal("stderr", "load", "-a", kv.address, workdir / "dump") as shown:
        pass
    assert b" commands, " in shown[0] and shown[0].endswith(b"\r\x1b[K")


# --- dump and load ---


def fill(kv):
    """Fills a store with values of all kinds; returns what it has: {key: value}."""
    values = {b"key:%d" % i: os.urandom(i % 300) for i in range(2500)}
    values |= {b"bytes": ALL_BYTES, b"long": os.urandom(60000), b"empty": b"", b"a b\nc\0": b" \r\n "}
    now = int(time.time() * 1000)
    data = b"".join(
        command(b"SET", key, value, *([b"PXAT", b"%d" % (now + 10**6 + i)] if i % 3 == 0 else []))
        for i, (key, value) in enumerate(values.items()))
    kv("load", input=data)
    return {tuple(words) for words in commands_of(data)}


def dumped(kv):
    output = kv("dump")
    found = commands_of(output)
    assert len({words[1] for words in found}) == len(found)
    return {tuple(words) for words in found}


@every_resp
def test_dump_has_what_was_loaded(kv, workdir):
    assert dumped(kv) == set()
    stored = fill(kv)
    assert dumped(kv) == stored
    file = workdir / "dump"
    assert kv("dump", file) == b""
    assert {tuple(words) for words in commands_of(file.read_bytes())} == stored
    kv("set", "other", "stays")
    kv("del", "bytes")
    kv("set", "empty", "changed")
    assert kv("load", file) == b""
    assert dumped(kv) == stored | {(b"SET", b"other", b"stays")}
    assert json.loads(kv("dump", "-j", file)) == {
        "keys": len(stored) + 1, "bytes": file.stat().st_size}
    assert json.loads(kv("load", "-j", file)) == {"commands": len(stored) + 1, "errors": 0}
    assert kv("dump", "-") == kv("dump")
    assert kv("load", "-", input=file.read_bytes()) == b""


@needs_redis_cli
def test_a_store_moves_to_redis_and_back(start, redis):
    kv = start("redis")
    stored = fill(kv)
    path = redis.address.removeprefix("redis+unix://")
    done = subprocess.run(["redis-cli", "-s", path, "--pipe"], input=kv("dump"),
                          capture_output=True, timeout=DEADLINE, check=True)  # fmt: skip
    assert b"errors: 0, replies: %d\n" % len(stored) in done.stdout
    assert dumped(redis) == stored
    kv("del", *(words[1].decode() for words in stored if b"key" in words[1]))
    assert dumped(kv) < stored
    kv("load", input=redis("dump"))
    assert dumped(kv) == stored


def test_dump_while_keys_change(start):
    kv = start("redis")
    stored = fill(kv)
    over = threading.Event()
    address = harness.Address("tcp", *kv.address.removeprefix("redis://").rsplit(":"), None)
    rounds = []

    def change():
        with harness.Stream(address._replace(port=int(address.port))) as client:
            while not over.is_set():
                for i in range(200):
                    client.send(command(b"SET", b"new:%d" % i, b"x") + command(b"DEL", b"new:%d" % i))
                for _ in range(200):
                    assert client.exactly(len(b"+OK\r\n:1\r\n")) == b"+OK\r\n:1\r\n"
                rounds.append(1)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        wait_until(lambda: rounds, "keys change")
        for _ in range(3):
            found = {tuple(words) for words in commands_of(kv("dump"))}
            assert stored <= found
            assert all(words[:2] + words[2:] == (b"SET", words[1], b"x") for words in found - stored)
    finally:
        over.set()
        thread.join()


def leftovers(workdir):
    return [path.name for path in workdir.iterdir() if path.name.startswith("dump")]


def test_the_file_of_a_dump_is_new_and_private(start, workdir):
    kv = start("redis")
    kv("set", "a", "1")
    file, link = workdir / "dump", workdir / "link"
    file.write_text("old")
    file.chmod(0o644)
    link.symlink_to(file)
    kv("dump", link)
    assert link.is_symlink() and commands_of(file.read_bytes()) == [[b"SET", b"a", b"1"]]
    assert file.stat().st_mode & 0o777 == 0o600
    kv("dump", "/dev/null")
    assert Path("/dev/null").is_char_device()
    assert leftovers(workdir) == ["dump"]
    assert "No such file or directory" in kv.refuses("dump", workdir / "no/dump")
    assert "Is a directory" in kv.refuses("dump", workdir)


def test_a_dump_needs_its_output(start, workdir):
    kv = start("redis")
    fill(kv)
    with open("/dev/full", "wb") as full:
        assert run("dump", "-a", kv.address, stdout=full, status=NO)[1] == (
            "echoctl: cannot write the output: No space left on device\n")
        assert run("get", "-a", kv.address, "bytes", stdout=full, status=NO)[1] == (
            "echoctl: cannot write the output: No space left on device\n")
        assert run("keys", "-a", kv.address, stdout=full, status=NO)[1] == (
            "echoctl: cannot write the output: No space left on device\n")
    assert "No space left on device" in kv.refuses("dump", "/dev/full")
    file = workdir / "dump"
    file.write_text("old")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))

    assert f"cannot write {file}: File too large" in kv.refuses("dump", file, preexec_fn=limit)
    assert file.read_text() == "old" and leftovers(workdir) == ["dump"]


def serve_keys(after):
    """Serves a dump of two keys, and instead of the second value `after(client)`."""

    def serve(client):
        replies = [b":2\r\n", b"*2\r\n$1\r\n0\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n", b":-1\r\n$1\r\n1\r\n:-1\r\n"]
        for reply in replies:
            client.recv(1 << 16)
            client.sendall(reply)
        after(client)

    return serve


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_dump_leaves_nothing(workdir, number):
    file = workdir / "dump"
    file.write_text("old")
    held, reached = threading.Event(), threading.Event()

    def hold(client):
        client.sendall(b"$100\r\npart of it")
        reached.set()
        held.wait(DEADLINE)

    with stream_peer(serve_keys(hold)) as address:
        with Running("dump", "-a", address.replace("tcp", "redis"), file) as dump:
            assert reached.wait(DEADLINE)
            wait_until(lambda: len(leftovers(workdir)) == 2, "it writes beside")
            output, errors = dump.finish(number, status=NO)
        held.set()
    assert (output, errors) == ("", "echoctl: interrupted\n")
    assert file.read_text() == "old" and leftovers(workdir) == ["dump"]


@pytest.mark.parametrize("after", [
    lambda client: None,
    lambda client: client.sendall(b"$100\r\npart of it"),
    lambda client: client.sendall(b"$1\r\n12\r\n"),
    lambda client: client.sendall(b"-WRONGTYPE Operation against a key\r\n"),
    lambda client: client.sendall(b":5\r\n"),
    lambda client: client.sendall(b"rubbish\r\n"),
], ids=["closed", "cut", "longer", "type", "number", "rubbish"])  # fmt: skip
def test_a_dump_that_fails_leaves_nothing(workdir, after):
    file = workdir / "dump"
    with stream_peer(serve_keys(after)) as address:
        errors = run("dump", "-a", address.replace("tcp", "redis"), file, status=NO)[1]
    assert errors.startswith("echoctl: ")
    assert leftovers(workdir) == []


@needs_redis
def test_a_key_of_another_type_is_named(redis):
    path = redis.address.removeprefix("redis+unix://")
    redis("load", input=command(b"RPUSH", b"my list", b"1"))
    output, errors = run("dump", "-a", redis.address, status=NO)
    assert 'cannot dump the key "my list"' in errors and "WRONGTYPE" in errors
    assert path.startswith("/")


@every_resp
def test_load_goes_on_after_errors(kv):
    bad = [command(b"NOSUCHCOMMAND", b"x"), command(b"SET", b"a"), command(b"INCR", b"text")]
    data = command(b"SET", b"text", b"abc") + b"".join(bad * 5) + command(b"SET", b"last", b"1")
    errors = kv.refuses("load", input=data).splitlines()
    assert len(errors) == 11
    assert errors[0].startswith("echoctl: the standard input: command 2: ERR unknown command")
    assert errors[10] == "echoctl: the standard input: 15 of 17 commands failed"
    assert kv("get", "last") == b"1"
    output, errors = run("load", "-j", "-a", kv.address, input=bad[0], status=NO)
    assert json.loads(output) == {"commands": 1, "errors": 1}


@every_resp
def test_load_reads_every_kind_of_reply(kv):
    kv("set", "a", "1")
    data = (command(b"GET", b"a") + command(b"GET", b"missing") + command(b"MGET", b"a", b"b")
            + command(b"KEYS", b"*") + command(b"SCAN", b"0") + command(b"PING")
            + command(b"STRLEN", b"a"))  # fmt: skip
    assert json.loads(kv("load", "-j", input=data * 400)) == {"commands": 2800, "errors": 0}


@every_resp
@pytest.mark.parametrize("rest, text", [
    (b"*", "ends within a command, after 27 bytes"),
    (b"*2\r\n$3\r\nGET\r\n$1\r\n", "ends within a command, after 44 bytes"),
    (b"*2\r\n$3\r\nGET\r\n$5\r\nab", "ends within a command"),
    (b"*2\r\n$3\r\nGET\r\n$1\r\nab\r\n", "byte 45: not a command in RESP"),
    (b"SET b 2\r\n", "byte 27: not a command in RESP; load reads what dump has written"),
    (b"\r\n", "byte 27: not a command"),
    (b"*x\r\n", "byte 27: not a command"),
    (b"*-1\r\n", "byte 27: not a command"),
    (b"*0\r\n", "byte 27: not a command"),
    (b"*1\n", "byte 27: not a command"),
    (b"*1\0\r\n$4\r\nPING\r\n", "byte 27: not a command"),
    (b"*9999999\r\n", "byte 27: not a command"),
    (b"*999999999999999999999\r\n", "byte 27: not a command"),
    (b"*1\r\n$536870913\r\n", "byte 31: not a command"),
    (b"*1\r\n$-1\r\n", "byte 31: not a command"),
    (b"*1\r\n*1\r\n$4\r\nPING\r\n", "byte 31: not a command"),
])  # fmt: skip
def test_load_stops_where_the_file_is_no_command(kv, rest, text):
    assert len(command(b"SET", b"a", b"1")) == 27
    errors = kv.refuses("load", input=command(b"SET", b"a", b"1") + rest)
    assert text in errors
    assert kv("get", "a") == b"1"
    assert kv("keys") == b"a\n"


def test_load_needs_a_file(start, workdir):
    kv = start("redis")
    assert "cannot open" in kv.refuses("load", workdir / "missing")
    assert "Is a directory" in kv.refuses("load", workdir)
    assert kv("load", input=b"") == b""


def test_load_waits_for_every_reply():
    asked = threading.Event()

    def serve(client):
        client.recv(1 << 16)
        client.sendall(b":0\r\n")
        while len(client.recv(1 << 16)) == 0:
            pass
        client.sendall(b"+OK\r\n")
        asked.wait(DEADLINE)

    data = command(b"SET", b"a", b"1") * 3
    with stream_peer(serve) as address:
        errors = run("load", "-w", "0.2", "-a", address.replace("tcp", "redis"), input=data, status=NO)[1]
        asked.set()
    assert "no answer within 0.2 s" in errors and "2 of the 3 commands" in errors


# --- a store that is being loaded ---


def serve_loading(loading, replies, times):
    """Serves clients that ask again while it says `loading`."""

    def serve(client):
        if not loading.startswith(b"-"):
            client.sendall(b"READY\n")
        for _ in range(times):
            if not client.recv(1 << 16):
                return
            client.sendall(loading)
        client.recv(1 << 16)
        client.sendall(replies)

    return serve


LOADING = {"redis": b"-LOADING Redis is loading the dataset in memory\r\n", "tcp": b"ERROR: loading\n"}


@pytest.mark.parametrize("scheme", ["redis", "tcp"])
def test_a_store_that_is_being_loaded_is_waited_for(scheme):
    replies = {"redis": b"$1\r\n7\r\n", "tcp": b"0123456789abcdef 7\n"}[scheme]
    with stream_peer(serve_loading(LOADING[scheme], replies, 3)) as address:
        assert run("get", "-a", address.replace("tcp", scheme), "a") == (b"7", "")
    with stream_peer(serve_loading(LOADING[scheme], b"", 1000)) as address:
        errors = run("get", "-w", "0.3", "-a", address.replace("tcp", scheme), "a", status=NO)[1]
    assert "oading" in errors


def test_the_daemon_that_loads_is_waited_for(fleet, faults, workdir):
    config = {"kv": {"listen": "redis+unix://$DIR/kv", "storage": f"{faults.root}/kv"}}
    kv = Service(f"redis+unix://{workdir}/kv")
    server = fleet.start(config, env=faults.env)
    kv("set", "a", "1")
    server.stop()
    with faults.snapshot.read.held(), faults.wal.read.held():
        server = fleet.launch(config, env=faults.env)
        server.log.wait(r"listening on redis\+unix")
        wait_until(lambda: faults.snapshot.read.waiting or faults.wal.read.waiting, "it loads")
        assert "LOADING" in kv.refuses("get", "-w", "0.2", "a")
        get = Running("get", "-a", kv.address, "a")
        wait_until(lambda: len(os.listdir(f"/proc/{get.process.pid}/fd")) > 3, "it asks")
    with get:
        assert get.finish() == ("1", "")


# --- hostile servers ---


def serve(data, lines=False):
    def serve(client):
        if lines:
            client.sendall(b"READY\n")
        client.recv(1 << 16)
        client.sendall(data)
        client.shutdown(1)
        read_all(client)

    return serve


RUBBISH = {
    "nothing": b"",
    "empty": b"\r\n",
    "no RESP": b"READY\n",
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "no CR": b"+OK\n",
    "no type": b"OK\r\n",
    "huge": b"$536870912\r\nabc",
    "too huge": b"$536870913\r\n",
    "overflow": b"$99999999999999999999\r\n",
    "negative": b"$-2\r\n",
    "no length": b"$\r\n",
    "hex": b"$0x3\r\nabc\r\n",
    "cut": b"$3\r\nab",
    "long": b"$3\r\nabcd\r\n",
    "list": b"*1048576\r\n",
    "huge list": b"*1048577\r\n",
    "deep": b"*1\r\n" * 10000,
    "scan without keys": b"*2\r\n$1\r\n1\r\n*1048576\r\n",
    "scan of a huge key": b"*2\r\n$1\r\n0\r\n*1\r\n$536870912\r\nabc",
    "scan with a long cursor": b"*2\r\n$100\r\n" + b"1" * 100 + b"\r\n*0\r\n",
    "endless line": b"+" + b"x" * (1 << 20),
    "endless error": b"-" + b"x" * (1 << 20) + b"\r\n",
    "controls": b"-\x1b[2J\a\r\n",
    "bytes": ALL_BYTES * 1000,
}
LIMITS = {} if needs_plain_build.args[0] else {
    "preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))}


@pytest.mark.parametrize("data", RUBBISH.values(), ids=RUBBISH.keys())
@every_command
def test_rubbish_in_resp(args, data, workdir):
    """It ends, without much memory, and shows nothing that moves a terminal."""
    if args == ("load",):
        args = ("load", workdir / "commands")
        (workdir / "commands").write_bytes(command(b"SET", b"a", b"1"))
    with stream_peer(serve(data)) as address:
        name, *words = args
        output, errors = run(name, "-w", "5", "-a", address.replace("tcp", "redis"), *words,
                             status=NO, **LIMITS)  # fmt: skip
    assert errors.startswith("echoctl: ") and "out of memory" not in errors
    assert all(line.isprintable() for line in errors.splitlines()) and len(errors) < 1000
    assert output in (b"", b"abc", b"ab")


LINE_RUBBISH = {
    "nothing": b"",
    "empty": b"\n",
    "RESP": b"+OK\r\n",
    "no end": b"O",
    "endless line": b"x" * (1 << 20),
    "endless error": b"ERROR: " + b"x" * (1 << 20),
    "huge list": b"1048576\n1\na\n",
    "controls": b"ERROR: \x1b[2J\a\n",
    "bytes": ALL_BYTES * 1000,
}


@pytest.mark.parametrize("data", LINE_RUBBISH.values(), ids=LINE_RUBBISH.keys())
@pytest.mark.parametrize("args", ALL[:6], ids=lambda args: args[0])
def test_rubbish_in_lines(args, data):
    if args[0] in ("del", "incr", "ttl") and data.startswith(b"1048576"):
        pytest.skip("a number is an answer")
    with stream_peer(serve(data, lines=True)) as address:
        name, *words = args
        output, errors = run(name, "-a", address, *words, status=NO, **LIMITS)
    assert all(line.isprintable() for line in errors.splitlines()) and len(errors) < 1000
    assert errors.startswith("echoctl: ") and output == b""


@every_command
@pytest.mark.parametrize("scheme", ["redis", "tcp"])
def test_a_silent_server(args, scheme):
    with stream_peer(lambda client: None, stays=True) as address:
        name, *words = args
        errors = run(name, "-w", "0.2", "-a", address.replace("tcp", scheme), *words, status=NO)[1]
    assert "no answer within 0.2 s" in errors


def test_a_server_that_takes_nothing():
    with stream_peer(lambda client: None, stays=True) as address:
        errors = run("set", "-w", "0.2", "-a", address.replace("tcp", "redis"), "a", status=NO,
                     input=bytes(64 << 20))[1]  # fmt: skip
    assert "the peer takes no more within 0.2 s" in errors


def test_a_server_that_says_why_it_takes_no_more():
    def serve(client):
        client.recv(1 << 16)
        client.sendall(b"-ERR Protocol error: too big\r\n")

    with stream_peer(serve, stays=True) as address:
        errors = run("set", "-w", "1", "-a", address.replace("tcp", "redis"), "a", status=NO,
                     input=bytes(64 << 20))[1]  # fmt: skip
    assert "takes no more" in errors or "Protocol error" in errors


def test_a_scan_that_makes_no_progress():
    def serve(client):
        for _ in range(100):
            if not client.recv(1 << 16):
                return
            client.sendall(b"*2\r\n$1\r\n7\r\n*1\r\n$1\r\na\r\n")

    with stream_peer(serve) as address:
        output, errors = run("keys", "-a", address.replace("tcp", "redis"), status=NO)
    assert "SCAN makes no progress" in errors and output == b"a\n"


@needs_plain_build
def test_a_value_need_not_fit_into_memory():
    size, piece = 300 << 20, bytes(1 << 20)

    def serve(client):
        client.recv(1 << 16)
        client.sendall(b"$%d\r\n" % size)
        for _ in range(size // len(piece)):
            client.sendall(piece)
        client.sendall(b"\r\n")
        client.recv(1 << 16)

    with stream_peer(serve) as address:
        get = subprocess.Popen([find_echoctl(), "get", "-a", address.replace("tcp", "redis"), "a"],
                               stdout=subprocess.PIPE, **LIMITS)  # fmt: skip
        received = 0
        with get.stdout:
            while data := get.stdout.read(1 << 20):
                received += len(data)
        assert get.wait(DEADLINE) == OK and received == size
