"""kv: expiry to the millisecond, the memory of what has expired, and time that passes while the daemon is down."""

import time

import pytest

import harness

KV = "unix://$DIR/kv"
STORE, DISK = "$DIR/store", "$DIR/disk/store"  # the second one is on the disk that can fail
MISSING = b"NOT_FOUND\n"


def start(echod, **settings):
    return echod({"kv": {"listen": KV, **settings}})


def now_ms():
    return time.time_ns() // 1_000_000


def wait_until_ms(moment):
    """By the clock that the daemon sees, too."""
    harness.wait_until(lambda: now_ms() >= moment, "the time has come")


def next_second():
    """A whole second that is at least 0.2 s away, so that what is to happen before can."""
    return (now_ms() + 1200) // 1000


# Of a key that has expired: what each verb answers, and whether the key is there afterwards.
VERBS = {
    b"GET k": b"NOT_FOUND", b"DEL k": b"NOT_FOUND", b"EXISTS k": b"0", b"MGET k": b"1\nNOT_FOUND",
    b"TYPE k": b"none", b"STRLEN k": b"0", b"GETDEL k": b"NOT_FOUND", b"GETSET k 7": b"NOT_FOUND",
    b"GETS k": b"NOT_FOUND", b"CAS k 0 7": b"NOT_FOUND", b"DELIFEQ k 5": b"NOT_FOUND", b"TTL k": b"NOT_FOUND",
    b"PTTL k": b"NOT_FOUND", b"EXPIRE k 9": b"NOT_FOUND", b"PEXPIRE k 9": b"NOT_FOUND",
    b"EXPIREAT k 9999999999": b"NOT_FOUND", b"PERSIST k": b"NOT_FOUND", b"RENAME k l": b"NOT_FOUND",
    b"COPY k l": b"NOT_FOUND", b"COPY m k": b"OK", b"SETNX k 7": b"OK", b"INCR k": b"1", b"DECR k": b"-1",
    b"INCRBY k 2": b"2", b"DECRBY k 2": b"-2", b"APPEND k 7": b"1", b"KEYS k*": b"0", b"SCAN 0 MATCH k*": b"1\n0",
}  # fmt: skip


def test_a_key_is_missing_for_every_verb_from_its_millisecond_on(echod):
    """Each verb has a daemon's instance, and so a store, of its own; the key is asked for at once."""
    services = {f"kv{n}": {"type": "kv", "listen": f"unix://$DIR/kv{n}"} for n in range(len(VERBS))}
    server = echod(services)
    clients = [server.kv(name) for name in services]
    try:
        second = next_second()
        for client in clients:
            client.send(b"SET k 5\nSET m 6\nEXPIREAT k %d\nEXISTS k\n" % second)
        exists = [client.lines(4) for client in clients]
        assert now_ms() < second * 1000, "the machine is too slow for this test"
        assert exists == [[b"OK\n", b"OK\n", b"OK\n", b"1\n"]] * len(clients)
        wait_until_ms(second * 1000)
        for client, request in zip(clients, VERBS):
            client.send(request + b"\n")
        for client, (request, answer) in zip(clients, VERBS.items()):
            assert b"".join(client.lines(answer.count(b"\n") + 1)) == answer + b"\n", request
    finally:
        for client in clients:
            client.close()


def test_a_key_is_there_until_its_last_millisecond(echod):
    """Replies that have come before the moment show the key, requests that were sent after it don't."""
    with start(echod).kv() as client:
        for _ in range(5):
            begin = now_ms()
            assert client.ask(b"PSETEX k 60 v") == b"OK"
            earliest, latest = begin + 60, now_ms() + 60
            seen = {True: 0, False: 0}
            while True:
                sent = now_ms()
                exists = client.ask(b"GET k") == b"v"
                received = now_ms()
                if received < earliest:
                    assert exists
                elif sent > latest:
                    assert not exists
                seen[exists] += 1
                if sent > latest:
                    break
            assert seen[False] > 0


def test_time_that_is_left(echod):
    with start(echod).kv() as client:
        assert client.ask(b"PSETEX k 90500 v") == b"OK"
        first = int(client.ask(b"PTTL k"))
        assert 80_000 < first <= 90_500
        assert client.ask(b"TTL k") in (b"90", b"91") or first < 89_600
        harness.wait_until(lambda: int(client.ask(b"PTTL k")) <= first - 20, "time passes")


def test_an_overwritten_key_does_not_expire_with_the_old_value(echod):
    with start(echod).kv() as client:
        second = next_second()
        keys = {b"a": b"SET a 2", b"b": b"GETSET b 2", b"c": b"PERSIST c", b"d": b"EXPIRE d 1000"}
        for key, change in keys.items():
            client.send(b"SET %s 1\nEXPIREAT %s %d\n%s\n" % (key, key, second, change))
            client.lines(3)
        wait_until_ms(second * 1000 + 50)
        assert client.ask(b"EXISTS a b c d") == b"4"


@pytest.mark.parametrize("sync", [None, "always", "interval"])
def test_memory_comes_back_without_an_access(echod, sync):
    storage = {} if sync is None else {"storage": STORE, "sync": sync}
    server = start(echod, max_memory="64M", **storage)
    with server.kv() as client:
        assert client.ask(b"SET stays 1") == b"OK"
        for first in range(0, 30_000, 1000):
            client.send(b"".join(
                b"PSETEX key%d %d %s\n" % (n, 1 + n % 300, b"v" * 100) for n in range(first, first + 1000)
            ))  # fmt: skip
            assert client.lines(1000) == [b"OK\n"] * 1000
        harness.wait_until(lambda: client.ask(b"DBSIZE") == b"1", "all others have gone")
        assert client.ask(b"GET stays") == b"1"


def test_a_full_store_has_room_again_when_keys_have_expired(echod):
    with start(echod, max_memory="1M").kv() as client:
        number = 0
        while client.ask(b"PSETEX key%d 500 %s" % (number, b"v" * 10_000)) == b"OK":
            number += 1
        assert number > 50
        harness.wait_until(lambda: client.ask(b"SET new " + b"v" * 10_000) == b"OK", "there is room")


def test_a_key_expires_while_a_large_store_is_swept_and_changed(echod):
    """Keys that stay are never swept, whatever is moved by what goes."""
    with start(echod, max_memory="64M").kv() as client:
        for first in range(0, 20_000, 500):
            client.send(b"".join(
                b"PSETEX brief%d %d x\nSET stays%d %d\n" % (n, 1 + n % 200, n, n) for n in range(first, first + 500)
            ))  # fmt: skip
            client.lines(1000)
        harness.wait_until(lambda: client.ask(b"DBSIZE") == b"20000", "all that expire have gone")
        client.send(b"".join(b"GET stays%d\n" % n for n in range(20_000)))
        assert client.lines(20_000) == [b"%d\n" % n for n in range(20_000)]


# --- with storage ---


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_key_expires_while_the_daemon_is_down(echod, end):
    server = start(echod, storage=STORE)
    second = next_second()
    with server.kv() as client:
        client.send(b"SET a 1\nEXPIREAT a %d\nSET b 2\nEXPIREAT b %d\nSET c 3\n" % (second, second + 1000))
        assert client.lines(5) == [b"OK\n"] * 5
    server.stop() if end == "stop" else server.kill()
    wait_until_ms(second * 1000)
    with start(echod, storage=STORE).kv() as client:
        assert client.exchange(b"GET a\nGET b\nGET c\n", half_close=True) == MISSING + b"2\n3\n"


def test_what_has_expired_while_it_was_down_is_swept(echod):
    server = start(echod, storage=STORE)
    with server.kv() as client:
        second = next_second() + 2
        client.send(b"".join(b"SET key%d v\nEXPIREAT key%d %d\n" % (n, n, second) for n in range(2000)))
        assert client.lines(4000) == [b"OK\n"] * 4000
    server.kill()
    wait_until_ms(second * 1000)
    server = start(echod, storage=STORE)
    with server.kv() as client:
        harness.wait_until(lambda: client.ask(b"DBSIZE") == b"0", "they are swept")
    server.stop()
    with start(echod, storage=STORE).kv() as client:
        assert client.ask(b"DBSIZE") == b"0", "their deletion was logged"


def test_nobody_waits_for_the_deletion_of_what_has_expired(echod, faults):
    server = echod({"kv": {"listen": KV, "storage": DISK}}, env=faults.env)
    with server.kv() as client, server.kv() as writer:
        assert client.ask(b"PSETEX a 50 1") == b"OK"
        with faults.sync.held() as barrier:
            writer.send(b"SET b 1\n")
            barrier.wait_held()
            harness.wait_until(lambda: client.ask(b"GET a") == b"NOT_FOUND", "it has expired")
            assert client.ask(b"PTTL a") == b"NOT_FOUND"
        assert writer.line() == b"OK\n"


def test_a_read_only_store_shows_no_expired_key(echod, faults):
    server = echod({"kv": {"listen": KV, "storage": DISK}}, env=faults.env)
    with server.kv() as client:
        assert client.ask(b"PSETEX a 300 1") == b"OK"
        faults.wal.fail()
        assert client.ask(b"SET b 1") == b"ERROR: storage failed"
        harness.wait_until(lambda: client.ask(b"GET a") == b"NOT_FOUND", "it has expired")
        assert client.ask(b"EXISTS a") == b"0"
        faults.wal.clear()
        harness.wait_until(lambda: client.ask(b"SET b 1") == b"OK", "the disk works again")
        harness.wait_until(lambda: client.ask(b"DBSIZE") == b"1", "it is swept")


@pytest.mark.parametrize("verb", [b"INCR", b"APPEND", b"DECRBY"])
def test_a_new_key_has_no_expiry_of_another_one(echod, verb):
    """Of thousands, some have the same tag as an entry of their bucket."""
    with echod({"kv": {"listen": KV}}).kv() as client:
        count = 4000
        client.send(b"".join(b"SETEX old%d 1000 1\n" % n for n in range(count)))
        assert client.lines(count) == [b"OK\n"] * count
        more = b"" if verb == b"INCR" else b" 1"
        client.send(b"".join(b"%s new%d%s\nTTL new%d\n" % (verb, n, more, n) for n in range(count)))
        assert client.lines(2 * count)[1::2] == [b"NEVER\n"] * count
