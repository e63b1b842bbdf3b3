"""kv with storage on a disk that fails: nothing is lost, nothing is invented, and it recovers by itself."""

import errno
import os
import resource
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

import harness
from crowd import Crowd, Mix, read_all
from faults import ALL, HALF, NOTHING
from linearizable import check
from transports import needs_root

OK, MISSING, FAILED = b"OK", b"NOT_FOUND", b"ERROR: storage failed"
KV, ECHO = "unix://$DIR/kv", "unix://$DIR/echo"
STORE = "$DIR/disk/store"
BROKEN, WORKS = r"error kv: storage \S+/store: .*read-only", r"info kv: storage .*works again"

# What fails: the call, its errno, and what is done nevertheless.
FAILURES = {
    "sync": ("sync", errno.EIO, NOTHING),
    "sync-that-was-one": ("sync", errno.EIO, ALL),
    "write": ("write", errno.EIO, NOTHING),
    "write-that-was-one": ("write", errno.EIO, ALL),
    "disk-full": ("write", errno.ENOSPC, NOTHING),
    "disk-full-in-the-middle": ("write", errno.ENOSPC, HALF),
    "quota": ("write", errno.EDQUOT, NOTHING),
    "read-only": ("write", errno.EROFS, NOTHING),
}
# Only the journal has a root page.
FAILURES_OF_THE_JOURNAL = {
    "root-page": ("dsync", errno.EIO, NOTHING),
    "root-page-that-was-written": ("dsync", errno.EIO, ALL),
    "root-page-half": ("dsync", errno.ENOSPC, HALF),
}


def each_of(failures):
    return pytest.mark.parametrize("call, error, done", failures.values(), ids=failures.keys())


every_failure = each_of({**FAILURES, **FAILURES_OF_THE_JOURNAL})


@pytest.fixture
def start(echod, faults):
    def start(**settings):
        services = {"kv": {"listen": KV, "storage": STORE, **settings}, "echo": {"listen": ECHO}}
        return echod(services, env=faults.env)

    return start


def ask_all(server, *requests):
    with server.kv() as client:
        return [client.ask(request) for request in requests]


def ask_at_once(server, *requests):
    """In one segment: what they change is one batch."""
    with server.kv() as client:
        client.send(b"".join(request + b"\n" for request in requests))
        return [line[:-1] for line in client.lines(len(requests))]


def expect_once(log, pattern, since=0):
    assert len(log.matches(pattern, since)) == 1, f"not one line like {pattern!r}"


@each_of(FAILURES)
def test_a_failed_change_is_undone_and_the_store_recovers(start, faults, call, error, done):
    server = start()
    assert ask_all(server, b"SET a old", b"SET kept 1") == [OK, OK]
    getattr(faults, call).fail(error, done)
    assert ask_all(server, b"SET a new", b"GET a", b"GET new") == [FAILED, b"old", MISSING]
    server.log.wait(BROKEN)
    assert ask_all(server, b"SET new 1", b"DEL a", b"GET a", b"GET new", b"DEL new") == [
        FAILED, FAILED, b"old", MISSING, MISSING]  # fmt: skip
    getattr(faults, call).clear()
    server.log.wait(WORKS)
    assert ask_all(server, b"GET a", b"GET new", b"SET b 2", b"DEL kept") == [
        b"old", MISSING, OK, b"DELETED"]  # fmt: skip
    expect_once(server.log, BROKEN)
    expect_once(server.log, WORKS)
    server.kill()
    keys = [b"GET a", b"GET new", b"GET b", b"GET kept"]
    assert ask_all(start(), *keys) == [b"old", MISSING, b"2", MISSING]


@each_of(FAILURES)
def test_a_failure_and_a_kill(start, faults, call, error, done):
    """What has failed may be there afterwards, or not; what was acknowledged is."""
    server = start()
    assert ask_all(server, b"SET a old", b"SET kept 1") == [OK, OK]
    getattr(faults, call).fail(error, done)
    assert ask_all(server, b"SET a new") == [FAILED]
    server.kill()
    getattr(faults, call).clear()
    kept, value = ask_all(start(), b"GET kept", b"GET a")
    assert kept == b"1" and value in (b"old", b"new")


# --- behind the spool: what clients have been told is safe there ---


@each_of(FAILURES_OF_THE_JOURNAL)
def test_a_journal_that_fails_undoes_nothing(start, faults, call, error, done):
    server = start()
    getattr(faults, call).fail(error, done)
    assert ask_all(server, b"SET a 1", b"GET a") == [OK, b"1"]
    server.log.wait(BROKEN)
    assert ask_all(server, b"SET b 1", b"DEL a", b"GET a", b"GET b") == [
        FAILED, FAILED, b"1", MISSING]  # fmt: skip
    getattr(faults, call).clear()
    server.log.wait(WORKS)
    assert ask_all(server, b"GET a", b"SET b 2", b"SET a 2") == [b"1", OK, OK]
    expect_once(server.log, BROKEN)
    expect_once(server.log, WORKS)
    server.kill()
    assert ask_all(start(), b"GET a", b"GET b") == [b"2", b"2"]


@each_of(FAILURES_OF_THE_JOURNAL)
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_what_the_journal_could_not_take_is_there_at_the_next_start(
    start, faults, call, error, done, end
):
    server = start()
    getattr(faults, call).fail(error, done)
    assert ask_at_once(server, b"SET a 1", b"SET a 2", b"SET b 1") == [OK, OK, OK]
    server.log.wait(BROKEN)
    getattr(server, end)()
    getattr(faults, call).clear()
    assert ask_all(start(), b"GET a", b"GET b") == [b"2", b"1"]


def test_a_root_page_that_was_written_and_cannot_be_put_back(start, faults):
    """LMDB will find the commit that has failed; that it is there twice then does no harm."""
    server = start()
    ask_all(server, b"SET a old")
    with faults.dsync.held() as barrier:
        assert ask_all(server, b"SET a new", b"SET b 1", b"DEL b") == [OK, OK, b"DELETED"]
        barrier.wait_held()
        faults.write.fail()
        faults.dsync.fail(done=ALL)
    server.log.wait(BROKEN)
    faults.write.clear()
    faults.dsync.clear()
    server.log.wait(WORKS)
    assert ask_all(server, b"GET a", b"SET c 1") == [b"new", OK]
    server.kill()
    assert ask_all(start(), b"GET a", b"GET b", b"GET c") == [b"new", MISSING, b"1"]


def test_a_loop_that_can_only_wait_for_the_disk_sleeps(start, faults):
    """There is a change in the spool that the journal should have by now, and one on its way there."""
    server = start()
    with server.kv() as client:
        assert client.ask(b"SET a 1") == OK
        with faults.sync.held() as barrier:
            client.send(b"SET b 1\n")
            barrier.wait_held()
            time.sleep(0.3)
            before = server.cpu_seconds()
            time.sleep(0.7)
            assert server.cpu_seconds() - before < 0.2
        assert client.line() == b"OK\n"


def test_a_slow_journal_keeps_nobody_waiting(start, faults):
    server = start()
    with server.kv() as client, faults.dsync.held() as barrier:
        assert client.ask(b"SET key 1") == OK
        barrier.wait_held()
        for number in range(2000):
            assert client.ask(b"SET key%d %d" % (number, number)) == OK
    server.kill()
    assert ask_all(start(), b"GET key", b"GET key0", b"GET key1999") == [b"1", b"0", b"1999"]


# --- all at once ---


def test_all_that_is_on_its_way_is_undone(start, faults):
    """What is being committed, what waits behind, and whoever has read it."""
    server = start()
    ask_all(server, b"SET a 0", b"SET b 0", b"SET safe 1")
    clients = [server.kv() for _ in range(5)]
    requests = [b"SET a 1\nSET c 1\n", b"SET a 2\nDEL b\n", b"GET a\nGET safe\n", b"GET b\n",
                b"GET safe\nSET c 2\nGET c\nGET safe\n"]  # fmt: skip
    with server.connect("echo") as echo, faults.sync.held() as barrier:
        clients[0].send(requests[0])
        barrier.wait_held()
        for client, request in zip(clients[1:], requests[1:]):
            client.send(request)
            assert echo.exchange(b"hello", 5) == b"hello"
        faults.sync.fail()
    line = FAILED + b"\n"
    answers = [2 * line, 2 * line, line + b"1\n", line, b"1\n" + 2 * line + b"1\n"]
    for client, expected in zip(clients, answers):
        assert b"".join(client.lines(expected.count(b"\n"))) == expected
        client.close()
    assert ask_all(server, b"GET a", b"GET b", b"GET c") == [b"0", b"0", MISSING]
    faults.sync.clear()
    server.log.wait(WORKS)
    server.kill()
    assert ask_all(start(), b"GET a", b"GET b", b"GET c") == [b"0", b"0", MISSING]


def test_clients_that_leave_while_their_changes_fail(start, faults):
    server = start()
    half, gone = server.kv(), server.kv()
    with faults.sync.held() as barrier:
        gone.send(b"SET a 1\n")
        half.send(b"SET b 1\nGET b\n")
        barrier.wait_held()
        gone.close()
        half.half_close()
        faults.sync.fail()
    assert half.rest() == 2 * (FAILED + b"\n")
    half.close()
    assert ask_all(server, b"GET a", b"GET b") == [MISSING, MISSING]


def test_a_disk_that_is_gone_comes_back(start, faults):
    """Nothing works, not even to open the files; then all is well again."""
    server = start()
    ask_all(server, b"SET a 1")
    rules = faults.sync, faults.write, faults.dsync, faults.open, faults.map
    for rule in rules:
        rule.fail(errno.EIO)
    server.log.wait(BROKEN)  # the journal was to take the change
    assert ask_all(server, b"SET a 2") == [FAILED]
    attempts = faults.open.calls
    harness.wait_until(lambda: faults.open.calls > attempts, "an attempt to recover")
    assert ask_all(server, b"GET a", b"SET b 1") == [b"1", FAILED]
    for rule in rules:
        rule.clear()
    server.log.wait(WORKS)
    assert ask_all(server, b"GET a", b"SET b 1") == [b"1", OK]


def test_the_pause_between_attempts_grows(start, faults):
    server = start()
    faults.trace = 1
    faults.sync.fail()
    assert ask_all(server, b"SET a 1") == [FAILED]
    failures = lambda: [r.time for r in faults.records() if r.kind == "F"]  # noqa: E731
    harness.wait_until(lambda: len(failures()) >= 5, "some attempts")
    times = failures()
    pauses = [after - before for before, after in zip(times, times[1:])]
    for number, pause in enumerate(pauses[:4]):
        assert pause > 0.09 * 2**number, pauses
    expect_once(server.log, BROKEN)


def test_a_disk_that_fails_again_is_told_again(start, faults):
    server = start()
    for _ in range(2):
        mark = server.log.mark()
        faults.sync.fail()
        assert ask_all(server, b"SET a 1") == [FAILED]
        faults.sync.clear()
        server.log.wait(WORKS, mark)
        expect_once(server.log, BROKEN, mark)


def test_a_stop_while_the_disk_fails(start, faults):
    server = start()
    ask_all(server, b"SET a 1")
    faults.sync.fail()
    assert ask_all(server, b"SET a 2") == [FAILED]
    server.stop()
    faults.sync.clear()
    assert ask_all(start(), b"GET a") == [b"1"]


def test_a_reload_while_the_disk_fails(start, faults):
    server = start()
    ask_all(server, b"SET a 1")
    faults.sync.fail()
    assert ask_all(server, b"SET a 2") == [FAILED]
    assert server.reload()
    assert ask_all(server, b"GET a", b"SET a 2") == [b"1", FAILED]
    faults.sync.clear()
    server.log.wait(WORKS)
    assert ask_all(server, b"SET a 3") == [OK]


# --- room ---


def test_a_map_that_cannot_grow(start, faults):
    faults.map_divisor = 512
    server = start()
    value = b"v" * 10_000
    sets = [b"SET key%d %s" % (number, value) for number in range(100)]
    faults.map.fail(errno.ENOMEM)
    stored = ask_all(server, *sets).count(OK)
    assert stored > 1  # all, unless it took so long that some came after the failure
    server.log.wait(BROKEN)
    last = b"GET key%d" % (stored - 1)
    assert ask_all(server, b"SET new 1", b"GET new", last) == [FAILED, MISSING, value]
    faults.map.clear()
    server.log.wait(WORKS)
    assert set(ask_all(server, last, *sets)) == {value, OK}
    server.kill()
    assert ask_all(start(), b"GET key0", b"GET key99") == [value, value]


SMALL_DISK = 'mount -t tmpfs -o size=4M tmpfs "$0" && head -c 2M /dev/zero >"$0/ballast" && exec "$@"'
needs_namespaces = pytest.mark.skipif(
    subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode != 0,
    reason="no mount namespaces here",
)


@needs_namespaces
def test_a_file_system_that_is_really_full(echod, workdir):
    disk = workdir / "disk"
    disk.mkdir()
    wrapper = ["unshare", "--mount", "sh", "-c", SMALL_DISK, str(disk)]
    server = echod({"kv": {"listen": KV, "storage": STORE}}, wrapper=wrapper)
    value = b"v" * 10_000
    answers = ask_all(server, *(b"SET key%d %s" % (number, value) for number in range(300)))
    stored = answers.index(FAILED)
    assert 10 < stored
    server.log.wait(BROKEN)
    assert ask_all(server, b"GET key0", b"GET key%d" % stored) == [value, MISSING]
    there = Path(f"/proc/{server.pid}/root/{disk}")
    for spool in there.glob("store/spool.*"):
        found = spool.stat()
        assert found.st_blocks * 512 >= found.st_size  # no holes, which a start could not read
    os.unlink(there / "ballast")
    server.log.wait(WORKS)
    assert ask_all(server, b"SET more " + value, b"GET more") == [OK, value]


def test_a_limit_on_the_size_of_files(start, faults):
    """ulimit -f, LimitFSIZE=: the kernel sends a signal as well."""
    server = start()
    ask_all(server, b"SET a 1")
    size = (faults.root / "store/data.mdb").stat().st_size
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    value = b"v" * 60_000
    answers = ask_all(server, *(b"SET key%d %s" % (number, value) for number in range(10)))
    assert FAILED in answers
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE,
                     (resource.RLIM_INFINITY, resource.RLIM_INFINITY))  # fmt: skip
    server.log.wait(WORKS)
    assert ask_all(server, b"SET more " + value, b"GET a") == [OK, b"1"]


# --- sync = "interval" ---


@every_failure
def test_with_an_interval_nothing_is_undone(start, faults, call, error, done):
    server = start(sync="interval", sync_interval="20ms")
    getattr(faults, call).fail(error, done)
    assert ask_all(server, b"SET a 1", b"GET a") == [OK, b"1"]
    server.log.wait(BROKEN)
    assert ask_all(server, b"SET b 2", b"GET a") == [FAILED, b"1"]
    getattr(faults, call).clear()
    server.log.wait(WORKS)
    server.kill()
    assert ask_all(start(), b"GET a", b"GET b") == [b"1", MISSING]


def test_with_an_interval_a_stop_tries_once_more(start, faults):
    server = start(sync="interval", sync_interval="20ms")
    faults.sync.fail()
    assert ask_all(server, b"SET a 1") == [OK]
    server.log.wait(BROKEN)
    faults.sync.clear()
    server.stop()
    assert ask_all(start(), b"GET a") == [b"1"]


# --- under load ---


@contextmanager
def in_background(function):
    thread = threading.Thread(target=function)
    thread.start()
    try:
        yield thread
    finally:
        thread.join()


def break_now_and_then(server, faults, randomness, rounds):
    """Bursts of errors, some of calls that have done their work all the same.

    The store recovers from each before the next: it waits longer and longer between tries that fail.
    """
    for _ in range(rounds):
        name = randomness.choice(["sync", "write", "dsync"])
        rule, skip = getattr(faults, name), randomness.randrange(3 if name == "dsync" else 20)
        rule.fail(errno.EIO, randomness.choice([NOTHING, ALL]), skip, randomness.randint(1, 3))
        harness.wait_until(lambda rule=rule: rule.error == 0, "it has failed")
        server.log.wait(WORKS, count=len(server.log.matches(BROKEN)))
        time.sleep(randomness.uniform(0, 0.01))


def test_clients_of_shared_keys_see_one_order_while_the_disk_fails(start, faults, randomness):
    server = start()
    crowd = Crowd(8, Mix(randomness.random(), keys=60, shared=True, longest=4, reads=0.5))
    crowd.connect(server)
    breaking = lambda: break_now_and_then(server, faults, randomness, 6)  # noqa: E731
    with in_background(breaking) as breaker:
        crowd.run(until=lambda: not breaker.is_alive())
    crowd.close()
    assert server.log.matches(BROKEN)
    before = read_all(server, crowd.all_keys(), client="before")
    server.kill()
    after = read_all(start(), crowd.all_keys(), client="after")
    check(crowd.history() + before + after)


# --- the start ---


@needs_root
@needs_namespaces
def test_a_directory_that_cannot_be_written(echod, fleet, workdir):
    disk = workdir / "disk"
    disk.mkdir()
    kv = {"kv": {"listen": KV, "storage": STORE}}
    server = echod(kv)
    ask_all(server, b"SET a 1")
    server.stop()
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    wrapper = ["unshare", "--mount", "sh", "-c", script, str(disk)]
    fleet.launch(kv, wrapper=wrapper).wait_stopped_with((1, 77), f"{disk}/store")
    assert ask_all(echod(kv), b"GET a") == [b"1"]


@pytest.mark.parametrize("call", ["open", "write", "sync", "dsync", "map"])
def test_a_disk_that_fails_at_the_first_start(fleet, start, faults, call):
    getattr(faults, call).fail(errno.EIO)
    server = fleet.launch({"kv": {"listen": KV, "storage": STORE}}, env=faults.env)
    server.wait_stopped_with(1, f"{faults.root}/store")
    getattr(faults, call).clear()
    assert ask_all(start(), b"SET a 1") == [OK]
