"""kv with on_full = "evict": a store that makes room for what is new."""

import json
import subprocess

import pytest

import harness
from test_echoctl import find_echoctl

OK, MISSING, FULL = b"OK", b"NOT_FOUND", b"ERROR: store is full"
KV, STORE = "unix://$DIR/kv", "$DIR/store"
CONTROL = {"listen": "unix://$DIR/control"}
VALUE = b"v" * 100
LIMIT = 256 * 1024
FITS = 1500  # keys of that size, and some more


def services(**settings):
    return {"kv": {"listen": KV, "max_memory": LIMIT, "on_full": "evict", **settings},
            "control": CONTROL}


@pytest.fixture
def start(echod):
    return lambda **settings: echod(services(**settings))


@pytest.fixture
def report(workdir):
    """What status says of kv."""

    def report():
        done = subprocess.run([find_echoctl(), "-s", f"{workdir}/control", "-j", "status"],
                              stdout=subprocess.PIPE, timeout=harness.DEADLINE, check=False)
        status = json.loads(done.stdout)
        kv = next(s for s in status["services"] if s["name"] == "kv")
        assert not any("full" in problem for problem in status["problems"])
        return kv["report"]

    return report


def ask_all(client, requests):
    client.send(b"".join(request + b"\n" for request in requests))
    return [line[:-1] for line in client.lines(len(requests))]


def add(client, numbers):
    """In pieces, for a client that does not read is not read for ever."""
    numbers = list(numbers)
    for n in range(0, len(numbers), 500):
        requests = [b"SET key%d %s" % (number, VALUE) for number in numbers[n:n + 500]]
        assert set(ask_all(client, requests)) == {OK}


def present(client, numbers):
    """Those of the keys that are there; each of them counts as used."""
    numbers = list(numbers)
    answers = []
    for n in range(0, len(numbers), 500):
        answers += ask_all(client, [b"GET key%d" % number for number in numbers[n:n + 500]])
    assert set(answers) <= {VALUE, MISSING}
    return {number for number, answer in zip(numbers, answers) if answer == VALUE}


def test_it_takes_everything_and_stays_below_its_limit(start, report):
    with start().kv() as client:
        add(client, range(10 * FITS))
        assert client.ask(b"GET key%d" % (10 * FITS - 1)) == VALUE
        entries = int(client.ask(b"DBSIZE"))
    kv = report()
    assert kv["entries"] == entries > FITS
    assert LIMIT * 0.9 < kv["memory_bytes"] <= LIMIT
    assert kv["evictions_total"] == 10 * FITS - entries
    assert kv["refused_sets_total"] == 0


def test_what_is_used_stays_while_other_keys_pass_through(start):
    with start().kv() as client:
        add(client, range(FITS))
        used = range(FITS // 3)
        assert present(client, used) == set(used)
        for n in range(1, 10):
            add(client, range(n * FITS, (n + 1) * FITS))
            present(client, used)
        assert len(present(client, used)) > len(used) * 0.9


def test_a_large_value_makes_room_for_itself(start):
    large = b"w" * 60000
    with start().kv() as client:
        add(client, range(2 * FITS))
        assert client.ask(b"SET large " + large) == OK
        assert client.ask(b"GET large") == large


def test_what_cannot_fit_is_refused(start):
    with start(max_value="512K", max_line="512K", max_memory="64K").kv() as client:
        assert client.ask(b"SET large " + b"w" * 100000) == FULL
        assert client.ask(b"SET small 1") == OK


@pytest.mark.parametrize("verb", [b"COPY", b"RENAME"])
def test_a_value_survives_the_evictions_that_its_own_change_needs(start, verb):
    """What is deleted may be that value, or something whose place it then takes."""
    with start().kv() as client:
        add(client, range(2 * FITS))
        for n in range(2 * FITS):
            value = b"%d" % n + VALUE
            assert ask_all(client, [b"SET from%d %s" % (n, value), b"%s from%d a-longer-key%d" % (verb, n, n),
                                    b"GET a-longer-key%d" % n]) == [OK, OK, value]


def test_an_expiry_is_added_when_there_is_no_room(start):
    with start().kv() as client:
        for n in range(4 * FITS):
            value = b"%d" % n + VALUE
            assert ask_all(client, [b"SET key%d %s" % (n, value), b"EXPIRE key%d 1000" % n,
                                    b"GET key%d" % n]) == [OK, OK, value]


def test_a_lower_limit_is_reached_without_any_change(start, report):
    server = start(max_memory="4M")
    with server.kv() as client:
        add(client, range(10 * FITS))
        assert int(client.ask(b"DBSIZE")) == 10 * FITS
        assert server.reload(services())
        harness.wait_until(lambda: report()["memory_bytes"] <= LIMIT, "less memory")
        assert client.ask(b"SET a 1") == OK
        assert int(client.ask(b"DBSIZE")) > FITS


def test_a_reload_changes_what_happens_when_it_is_full(start):
    server = start()
    with server.kv() as client:
        add(client, range(2 * FITS))
        assert server.reload(services(on_full="refuse"))
        answers = ask_all(client, [b"SET more%d %s" % (n, VALUE) for n in range(300)])
        assert answers[-1] == FULL
        assert server.reload(services())
        add(client, range(4 * FITS))


@pytest.mark.parametrize("sync", ["always", "interval"])
def test_evictions_are_stored(start, sync):
    server = start(storage=STORE, sync=sync)
    numbers = range(4 * FITS)
    with server.kv() as client:
        add(client, numbers)
        there = present(client, numbers)
        assert FITS < len(there) < 2 * FITS
    server.stop()
    with start(storage=STORE, sync=sync).kv() as client:
        assert present(client, numbers) == there


def test_a_store_that_is_larger_than_its_limit_is_reduced(start, report):
    server = start(storage=STORE, sync="interval", max_memory="4M")
    with server.kv() as client:
        add(client, range(4 * FITS))
    server.stop()
    server = start(storage=STORE, sync="interval")
    harness.wait_until(lambda: report()["memory_bytes"] <= LIMIT, "less memory")
    with server.kv() as client:
        left = present(client, range(4 * FITS))
        assert FITS < len(left) < 2 * FITS
    server.stop()
    with start(storage=STORE, sync="interval").kv() as client:
        assert present(client, range(4 * FITS)) == left
