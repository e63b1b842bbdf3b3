"""kv: lists, races between clients, limits, splits and durability of all verbs; test_kv.py has a dialogue of each."""

import os
import re
import threading

import pytest

import harness

KV = "unix://$DIR/kv"
STORE, DISK = "$DIR/store", "$DIR/disk/store"  # the second one is on the disk that can fail
VERBS = re.findall(r'\bNAME\("(\w+)"\)', (harness.SOURCE_TREE / "src/kv/commands.c").read_text())
FULL = b"ERROR: store is full"


@pytest.fixture
def kv(echod):
    with echod({"kv": {"listen": KV}}).kv() as client:
        yield client


def start(echod, **settings):
    return echod({"kv": {"listen": KV, **settings}})


def read_list(client):
    count = int(client.line())
    return [line[:-1] for line in client.lines(count)] if count else []


def ask_list(client, request):
    client.send(request + b"\n")
    return read_list(client)


def fill(client, count, key=b"key%d", value=b"v"):
    """Sets so many keys, 1000 in flight."""
    for first in range(0, count, 1000):
        numbers = range(first, min(first + 1000, count))
        client.send(b"".join(b"SET " + key % n + b" " + value + b"\n" for n in numbers))
        assert client.lines(len(numbers)) == [b"OK\n"] * len(numbers)


# --- HELP ---


def test_help_lists_every_verb_with_its_arguments_and_a_sentence(kv):
    lines = ask_list(kv, b"HELP")
    assert [re.match(rb"\w+", line)[0].decode() for line in lines] == VERBS
    for line in lines:
        assert re.fullmatch(rb"[A-Z]+( [^:]+)?: .*[a-zA-Z0-9]\S* ?.*\.", line), line
    assert any(line.startswith(b"CAS key digest value: ") for line in lines)


# --- MGET ---


def test_mget_of_more_keys_than_a_part_has(kv):
    fill(kv, 5000, value=b"v" * 40)
    keys = [b"key%d" % n if n % 3 else b"none%d" % n for n in range(5000)]
    values = ask_list(kv, b"MGET " + b" ".join(keys))
    assert values == [b"v" * 40 if n % 3 else b"NOT_FOUND" for n in range(5000)]
    assert kv.ask(b"PING") == b"PONG"


def test_mget_of_values_that_are_more_than_a_client_may_have_unread(echod):
    server = start(echod)
    value = os.urandom(30_000).hex().encode()
    with server.kv() as client, server.kv() as other:
        assert client.ask(b"SET big " + value) == b"OK"
        before = server.memory()
        client.send(b"MGET" + b" big" * 3000 + b"\nGET none\n")
        for _ in range(1000):
            assert other.ask(b"PING") == b"PONG"
        assert server.memory() - before < 16 << 20, "180 MB are to be sent"
        assert read_list(client) == [value] * 3000
        assert client.line() == b"NOT_FOUND\n"


# --- KEYS ---


def test_keys_are_all_listed_and_the_next_request_waits(kv):
    fill(kv, 20_000)
    kv.send(b"KEYS\nSET last 1\nKEYS key1999*\nKEYS nothing\nDBSIZE\n")
    assert sorted(read_list(kv)) == sorted(b"key%d" % n for n in range(20_000))
    assert kv.line() == b"OK\n"
    assert sorted(read_list(kv)) == [b"key1999", *(b"key1999%d" % n for n in range(10))]
    assert read_list(kv) == []
    assert kv.line() == b"20001\n"


def test_others_are_served_while_a_client_does_not_read_its_keys(echod):
    server = start(echod)
    with server.kv() as lazy, server.kv() as other:
        fill(other, 100_000, key=b"a-key-of-thirty-bytes-%08d")
        lazy.send(b"KEYS\nPING\n")
        for _ in range(1000):
            assert other.ask(b"PING") == b"PONG"
        assert len(set(read_list(lazy))) == 100_000
        assert lazy.line() == b"PONG\n"


def test_a_client_that_leaves_in_the_middle_of_its_keys(echod):
    server = start(echod)
    with server.kv() as other:
        fill(other, 50_000, key=b"a-key-of-thirty-bytes-%08d")
        for _ in range(5):
            with server.kv() as client:
                client.send(b"KEYS\n")
                assert client.line() == b"50000\n"
                client.reset()
        server.wait_closed("reset", count=5)
        assert other.ask(b"PING") == b"PONG"


@pytest.mark.parametrize("number", ["reload", "stop", "half-close"])
def test_a_list_that_has_begun_is_sent_to_its_end(echod, number):
    server = start(echod)
    with server.kv() as client:
        fill(client, 50_000, key=b"a-key-of-thirty-bytes-%08d")
        client.send(b"KEYS\n")
        if number == "half-close":
            client.half_close()
        assert client.line() == b"50000\n"
        if number == "reload":
            assert server.reload()
        elif number == "stop":
            server.send_signal(harness.signal.SIGTERM)
            server.log.wait("stopping")
        assert len(set(client.lines(50_000))) == 50_000
        if number == "reload":
            assert client.ask(b"PING") == b"PONG"
        else:
            assert client.rest() == b""


def test_a_pattern_that_takes_redis_years(echod):
    server = start(echod)
    with server.kv() as client, server.kv() as other:
        fill(other, 2000, key=b"a" * 200 + b"%d")
        client.send(b"KEYS " + b"*a" * 255 + b"b\n")
        for _ in range(100):
            assert other.ask(b"PING") == b"PONG"
        assert read_list(client) == []
        assert client.ask(b"KEYS " + b"a" * 513) == b"ERROR: pattern too long"
        assert client.ask(b"SCAN 0 MATCH " + b"a" * 513) == b"ERROR: pattern too long"


def hostile_keys():
    keys = [bytes([byte]) for byte in range(256) if byte not in b"\t\n\v\f\r "]
    return keys + [b"\\n", b"\\x20", b'"', b"a\\", b"3", b"OK", b"NOT_FOUND", b"\xff\xfe\0"]


def test_keys_of_any_bytes_are_listed_as_they_are(kv):
    keys = hostile_keys()
    for key in keys:
        assert kv.ask(b"SET " + key + b" 1") == b"OK"
    assert sorted(ask_list(kv, b"KEYS")) == sorted(set(keys))
    assert sorted(ask_list(kv, b"SCAN 0 COUNT 512")[1:]) == sorted(set(keys))
    assert ask_list(kv, b"KEYS \\*") == [b"*"]
    assert sorted(ask_list(kv, b"KEYS [\xfe-\xff]")) == [b"\xfe", b"\xff"]


# --- the guarantee of SCAN: what is there throughout is seen ---


def scan(client, options=b"", between=lambda: None):
    """All keys of a whole scan, and how many steps it took."""
    keys, cursor, steps = [], b"0", 0
    while True:
        cursor, *found = ask_list(client, b"SCAN %s%s" % (cursor, options))
        keys += found
        steps += 1
        if cursor == b"0":
            return keys, steps
        between()


def test_scan_visits_all_keys_once_while_nothing_changes(kv):
    fill(kv, 5000)
    keys, steps = scan(kv)
    assert sorted(keys) == sorted(b"key%d" % n for n in range(5000))
    assert 100 < steps < 1000, "about ten keys a step"
    assert scan(kv, b" COUNT 500")[1] < 20
    assert scan(kv, b" COUNT 9223372036854775807")[1] > 5, "a step is bounded"
    assert sorted(scan(kv, b" MATCH key*7")[0]) == sorted(b"key%d" % n for n in range(7, 5000, 10))


@pytest.mark.parametrize("cursor", [1, 7, 1 << 32, 1 << 63, (1 << 64) - 1, 0xDEADBEEF])
def test_a_cursor_that_nobody_was_given_harms_nobody(kv, cursor):
    fill(kv, 1000)
    following, *keys = ask_list(kv, b"SCAN %d" % cursor)
    assert set(keys) <= {b"key%d" % n for n in range(1000)} and int(following) < 1 << 64


def change_table(client):
    """Grows and shrinks the table by more and more, one step a call."""
    for size in [100, 3000, 20_000, 1000]:
        fill(client, size, key=b"other%d")
        yield
        client.send(b"".join(b"DEL other%d\n" % n for n in range(size)))
        client.lines(size)
        yield


def test_scan_sees_what_is_there_throughout(kv):
    fill(kv, 2000)
    changes = change_table(kv)
    steps = iter(range(1_000_000))
    keys, _ = scan(kv, b" COUNT 20", lambda: next(steps) % 3 or next(changes, None))
    assert set(keys) >= {b"key%d" % n for n in range(2000)}


def test_keys_sees_what_is_there_throughout(echod):
    """Another client changes the table while the parts are made: both have requests in flight."""
    server = start(echod)
    with server.kv() as client, server.kv() as changer:
        fill(client, 20_000)
        others = [b"other%d" % n for n in range(30_000)]
        for verb, value in [(b"SET ", b" 1\n"), (b"DEL ", b"\n")] * 3:
            client.send(b"KEYS key*\n")
            changer.send(b"".join(verb + key + value for key in others))
            assert set(read_list(client)) == {b"key%d" % n for n in range(20_000)}
            changer.lines(len(others))


# --- races ---


@pytest.fixture(params=["memory", "always", "interval"])
def raced(request, echod):
    """A daemon with a store of each kind."""
    storage = {} if request.param == "memory" else {"storage": STORE, "sync": request.param}
    return start(echod, **storage)


def race(server, count, work):
    """Runs work(client) for so many clients at once, each in a thread, and returns what they return."""
    results, barrier = [None] * count, threading.Barrier(count)

    def run(number):
        with server.kv() as client:
            barrier.wait()
            results[number] = work(client)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert None not in results, "a client has failed"
    return results


def test_no_increment_is_lost_and_none_is_answered_twice(raced):
    def increment(client):
        numbers = []
        for _ in range(20):
            client.send(b"INCR counter\n" * 25)
            numbers += map(int, client.lines(25))
        return numbers

    results = race(raced, 4, increment)
    assert sorted(sum(results, [])) == list(range(1, 2001))
    assert all(numbers == sorted(numbers) for numbers in results)


def test_compare_and_set_loses_no_update(raced):
    """Each client adds its own to the value, and knows by CAS whether that was in time."""

    def add(client):
        changed = 0
        for _ in range(30):
            while True:
                digest, value = client.ask(b"GETS sum").split(b" ")
                answer = client.ask(b"CAS sum %s %d" % (digest, int(value) + 1))
                if answer == b"OK":
                    break
                assert answer == b"CHANGED"
                changed += 1
        return changed

    with raced.kv() as client:
        assert client.ask(b"SET sum 0") == b"OK"
        race(raced, 4, add)
        assert client.ask(b"GET sum") == b"120"


def test_a_lock_has_one_owner(raced):
    """SETNX takes it and DELIFEQ gives it back; the counter that it protects is read and written by two requests."""
    names = iter(range(100))

    def work(client):
        name = b"owner%d" % next(names)
        for _ in range(15):
            while client.ask(b"SETNX lock " + name) != b"OK":
                assert client.ask(b"DELIFEQ lock not-the-owner") in (b"CHANGED", b"NOT_FOUND")
            count = client.ask(b"GET count")
            assert client.ask(b"SET count %d" % (int(count) + 1)) == b"OK"
            assert client.ask(b"DELIFEQ lock " + name) == b"DELETED"
        return True

    with raced.kv() as client:
        assert client.ask(b"SET count 0") == b"OK"
        race(raced, 4, work)
        assert client.ask(b"GET count") == b"60"


def test_a_value_is_taken_by_one_client(raced):
    def take(client):
        taken = []
        for _ in range(10):
            client.send(b"".join(b"GETDEL key%d\n" % n for n in range(100)))
            taken += [line for line in client.lines(100) if line != b"NOT_FOUND\n"]
        return taken

    with raced.kv() as client:
        for n in range(100):
            assert client.ask(b"SET key%d %d" % (n, n)) == b"OK"
    assert sorted(sum(race(raced, 4, take), [])) == sorted(b"%d\n" % n for n in range(100))


def test_a_rename_is_seen_whole(raced):
    """One key goes back and forth; EXISTS looks at both names at one moment."""

    def move(client):
        for _ in range(50):
            client.send(b"RENAME a b\nRENAME b a\n")
            assert client.lines(2) == [b"OK\n"] * 2
        return True

    def look(client):
        for _ in range(50):
            client.send(b"EXISTS a b\n" * 10)
            assert client.lines(10) == [b"1\n"] * 10
        return True

    works = iter([move, look, look])
    with raced.kv() as client:
        assert client.ask(b"SET a 1") == b"OK"
    race(raced, 3, lambda client: next(works)(client))


# --- limits ---


def test_no_verb_makes_a_value_over_the_limit(echod):
    with start(echod, max_value=8).kv() as client:
        assert client.ask(b"SET a 12345678") == b"OK"
        too_long = [b"APPEND a 9", b"APPEND b 123456789", b"SETNX b 123456789", b"GETSET a 123456789",
                    b"SETEX a 9 123456789", b"PSETEX a 9 123456789", b"CAS a x 123456789"]  # fmt: skip
        for request in too_long:
            assert client.ask(request) == b"ERROR: value too long", request
        assert client.ask(b"GET a") == b"12345678"
        assert client.ask(b"TTL a") == b"NEVER"
        assert client.ask(b"SET n 99999999") == b"OK"
        assert client.ask(b"INCR n") == b"ERROR: value too long"
        assert client.ask(b"GET n") == b"99999999"
        assert client.ask(b"DBSIZE") == b"2"
        assert client.ask(b"APPEND c 1234567") == b"7"
        assert client.ask(b"APPEND c 8") == b"8"


def test_no_key_is_over_the_limit(echod):
    with start(echod, max_key=4).kv() as client:
        client.ask(b"SET a 1")
        for request in [b"RENAME a 12345", b"RENAME 12345 a", b"COPY a 12345", b"MGET a 12345", b"EXISTS a b 12345",
                        b"INCR 12345", b"GETS 12345", b"EXPIRE 12345 1"]:  # fmt: skip
            assert client.ask(request) == b"ERROR: key too long", request
        assert client.ask(b"KEYS [a-z]1234567") == b"0", "a pattern is no key"


def test_a_full_store_refuses_what_needs_memory_and_nothing_else(echod):
    server = start(echod, max_memory="1M")
    long = b"v" * 10_000
    with server.kv() as client:
        fill(client, 2, key=b"small%d")
        assert client.ask(b"SETEX brief 1000 1") == b"OK"
        number = 0
        while client.ask(b"SET key%d " % number + long) == b"OK":
            number += 1
        refused = [b"SETNX new " + long, b"SETEX new 9 " + long, b"PSETEX small0 9 " + long,
                   b"GETSET small0 " + long, b"APPEND small0 " + long, b"COPY key0 copy", b"APPEND key0 " + long]
        for request in refused:
            assert client.ask(request) == FULL, request
        answers = {b"GET small0": b"v", b"STRLEN key0": b"10000", b"EXISTS new copy": b"0", b"TTL small0": b"NEVER",
                   b"DELIFEQ small1 v": b"DELETED", b"GETDEL brief": b"1"}
        for request, answer in answers.items():
            assert client.ask(request) == answer
        assert client.ask(b"DEL key0") == b"DELETED"
        assert client.ask(b"SETNX new " + long) == b"OK"
    server.log.wait("the store is full, changes that need memory are refused")


# --- splits ---


SCRIPT = (
    b"SETEX a 100 x\r\nTTL  a\nAPPEND a  y z \nMGET a b\r\n INCRBY n -7\nINCR a\nKEYS a*\nSCAN 0 MATCH n\n"
    b"TTL\nRENAME a b\nCOPY b c\nGETS b\nCAS b fcf7 1\nDELIFEQ c xy z\nEXISTS a b c\nECHO  q \nDBSIZE\nGETDEL b\nDEL n\nQUIT\n"
)
ANSWERS = (
    b"OK\n100\n4\n2\nxy z\nNOT_FOUND\n-7\nERROR: not a number\n1\na\n2\n0\nn\n"
    b"ERROR: wrong number of arguments: TTL key\nOK\nOK\n%s xy z\nCHANGED\nDELETED\n1\nq\n2\nxy z\nDELETED\nBYE\n"
)


def test_every_split_in_two(echod):
    server = start(echod)
    with server.kv() as client:
        client.ask(b"SET b xy z")
        answers = ANSWERS % client.ask(b"GETS b").split(b" ")[0]
        client.ask(b"DEL b")
    for at in range(1, len(SCRIPT)):
        with server.kv() as client:
            client.send_read(SCRIPT[:at])
            client.send(SCRIPT[at:])
            assert client.rest() == answers, f"split before byte {at}"


# --- with storage ---


def durable(echod, faults, **settings):
    return echod({"kv": {"listen": KV, "storage": DISK, **settings}}, env=faults.env)


def contents(client):
    keys = sorted(ask_list(client, b"KEYS"))
    return dict(zip(keys, ask_list(client, b"MGET " + b" ".join(keys)))) if keys else {}


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_each_verb_has_changed_is_there_after_a_restart(echod, faults, end):
    server = durable(echod, faults)
    with server.kv() as client:
        client.send(
            b"SET set 1\nSETNX setnx 2\nSETEX setex 1000 3\nPSETEX psetex 1000000 4\nGETSET getset 5\nAPPEND append 6\n"
            b"APPEND append 7\nINCR incr\nDECR decr\nINCRBY incrby 8\nDECRBY decrby 9\nSET old 10\nRENAME old renamed\n"
            b"COPY renamed copied\nSET cas hello\nCAS cas 9555e8555c62dcfd 11\nSET gone 1\nDEL gone\nSET gone 1\n"
            b"GETDEL gone\nSET gone 1\nDELIFEQ gone 1\nSET gone 1\nEXPIRE gone 0\nSET late 12\nEXPIRE late 1000\n"
            b"SETEX kept 1000 13\nPERSIST kept\nSET at 14\nEXPIREAT at 9999999999\n"
        )
        client.lines(30)
    server.stop() if end == "stop" else server.kill()
    with durable(echod, faults).kv() as client:
        assert contents(client) == {
            b"set": b"1", b"setnx": b"2", b"setex": b"3", b"psetex": b"4", b"getset": b"5", b"append": b"67",
            b"incr": b"1", b"decr": b"-1", b"incrby": b"8", b"decrby": b"-9", b"renamed": b"10", b"copied": b"10",
            b"cas": b"11", b"late": b"12", b"kept": b"13", b"at": b"14",
        }  # fmt: skip
        for key in [b"setex", b"psetex", b"late", b"at"]:
            assert 900 < int(client.ask(b"TTL " + key)), key
        assert client.ask(b"TTL kept") == b"NEVER"


READS = [b"INCR n", b"GETSET a 2", b"GETS a", b"STRLEN a", b"EXISTS a b", b"MGET b a", b"DBSIZE", b"KEYS", b"SCAN 0",
         b"SETNX a 5", b"DELIFEQ a no", b"TTL a", b"TYPE a", b"COPY b a", b"APPEND a x"]  # fmt: skip


@pytest.mark.parametrize("request_", READS)
def test_no_verb_shows_what_is_not_committed(echod, faults, request_):
    server = durable(echod, faults)
    with server.kv() as writer, server.kv() as reader:
        assert writer.ask(b"SET b 1") == b"OK"
        with faults.sync.held() as barrier:
            writer.send(b"SET a 1\nINCR n\n")
            barrier.wait_held()
            reader.send(request_ + b"\n")
            assert reader.unread() == 0 or harness.wait_until(lambda: reader.unread() == 0, "it is read")
            with server.kv() as other:  # has its answer after that turn
                assert other.ask(b"PING") == b"PONG"
            assert not reader.readable()
        assert writer.lines(2) == [b"OK\n", b"1\n"]
        assert not reader.line().startswith(b"ERROR")


@pytest.mark.parametrize("request_", READS)
def test_a_failed_commit_is_the_answer_of_all_that_rest_on_it(echod, faults, request_):
    server = durable(echod, faults)
    with server.kv() as writer, server.kv() as reader:
        assert writer.ask(b"SET b 1") == b"OK"
        with faults.sync.held() as barrier:
            writer.send(b"SET a 1\nINCR n\n")
            barrier.wait_held()
            reader.send(request_ + b"\n")
            harness.wait_until(lambda: reader.unread() == 0, "it is read")
            faults.sync.fail()
        assert writer.lines(2) == [b"ERROR: storage failed\n"] * 2
        assert reader.line() == b"ERROR: storage failed\n"
        assert contents(reader) == {b"b": b"1"}
        faults.sync.clear()


def test_a_long_list_that_rests_on_a_failed_commit_is_one_error(echod, faults):
    server = durable(echod, faults)
    with server.kv() as writer, server.kv() as reader:
        fill(writer, 20_000, key=b"a-key-of-thirty-bytes-%08d")
        with faults.sync.held() as barrier:
            writer.send(b"SET a 1\n")
            barrier.wait_held()
            reader.send(b"KEYS\nPING\n")
            harness.wait_until(lambda: reader.unread() == 0, "it is read")
            with server.kv() as other:
                assert other.ask(b"PING") == b"PONG"
            assert not reader.readable()
            faults.sync.fail()
        assert reader.lines(2) == [b"ERROR: storage failed\n", b"PONG\n"]
        assert writer.line() == b"ERROR: storage failed\n"
        faults.sync.clear()
