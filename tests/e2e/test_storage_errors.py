"""kv with storage on a disk that fails: nothing is lost, nothing is invented, and it recovers by itself."""

import errno
import os
import resource
import shutil
import signal
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
from stored import (
    LONG,
    SEGMENT_SIZE,
    checkpoint,
    copy,
    fill_segment,
    snapshot_keys,
    wait_checkpoint,
)
from transports import needs_root

OK, MISSING, FAILED = b"OK", b"NOT_FOUND", b"ERROR: storage failed"
KV, ECHO = "unix://$DIR/kv", "unix://$DIR/echo"
STORE = "$DIR/disk/store"
KV_ALONE = {"kv": {"listen": KV, "storage": STORE}}
BROKEN, WORKS = r"error kv: storage \S+/store: .*read-only", r"info kv: storage .*works again"

# What fails of the WAL: the call, its errno, and what is done nevertheless.
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
# Of the snapshot, during a checkpoint.
FAILURES_OF_THE_SNAPSHOT = {
    "sync": ("sync", errno.EIO, NOTHING),
    "sync-that-was-one": ("sync", errno.EIO, ALL),
    "write": ("write", errno.EIO, NOTHING),
    "write-that-was-one": ("write", errno.EIO, ALL),
    "disk-full": ("write", errno.ENOSPC, NOTHING),
    "disk-full-in-the-middle": ("write", errno.ENOSPC, HALF),
    "read": ("read", errno.EIO, NOTHING),
    "truncate": ("truncate", errno.EIO, NOTHING),
}


def each_of(failures):
    return pytest.mark.parametrize("call, error, done", failures.values(), ids=failures.keys())


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
    getattr(faults.wal, call).fail(error, done)
    assert ask_all(server, b"SET a new", b"GET a", b"GET new") == [FAILED, b"old", MISSING]
    server.log.wait(BROKEN)
    assert ask_all(server, b"SET new 1", b"DEL a", b"GET a", b"GET new", b"DEL new") == [
        FAILED, FAILED, b"old", MISSING, MISSING]  # fmt: skip
    getattr(faults.wal, call).clear()
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
    getattr(faults.wal, call).fail(error, done)
    assert ask_all(server, b"SET a new") == [FAILED]
    server.kill()
    getattr(faults.wal, call).clear()
    kept, value = ask_all(start(), b"GET kept", b"GET a")
    assert kept == b"1" and value in (b"old", b"new")


def test_what_has_failed_does_not_come_back(start, faults):
    """It was on the disk, whatever the disk said; then something else was acknowledged."""
    server = start()
    assert ask_all(server, b"SET a old", b"SET b old") == [OK, OK]
    for number in range(3):
        faults.wal.sync.fail(done=ALL)
        failing = [b"SET a failed%d" % number, b"DEL b", b"SET c failed"]
        assert ask_at_once(server, *failing) == [FAILED] * 3
        faults.wal.sync.clear()
        server.log.wait(WORKS, count=number + 1)
    assert ask_all(server, b"SET a new") == [OK]
    server.kill()
    server = start()
    assert ask_all(server, b"GET a", b"GET b", b"GET c") == [b"new", b"old", MISSING]
    checkpoint(server, faults.root / "store")
    server.kill()
    assert ask_all(start(), b"GET a", b"GET b", b"GET c") == [b"new", b"old", MISSING]


@pytest.mark.parametrize("attempts", range(6))
@pytest.mark.parametrize("done", [NOTHING, ALL])
def test_a_kill_during_a_recovery(start, faults, attempts, done):
    """After so many calls of it; and then another one, of the start on what is there."""
    server = start()
    assert ask_all(server, b"SET a old", b"SET kept 1") == [OK, OK]
    faults.wal.sync.fail(done=done, limit=1)
    changes = faults.files("*")
    with changes.write.held(skip=attempts + 1), changes.rename.held(skip=attempts):
        assert ask_all(server, b"SET a new") == [FAILED]
        harness.wait_until(
            lambda: changes.write.waiting or changes.rename.waiting or server.log.matches(WORKS),
            "it is in the middle",
        )
        server.kill()
    for _ in range(2):
        server = start()
        kept, value = ask_all(server, b"GET kept", b"GET a")
        assert kept == b"1" and value in (b"old", b"new")
        server.kill()
    server = start()
    assert ask_all(server, b"GET a", b"SET a newer") == [value, OK]
    server.kill()
    assert ask_all(start(), b"GET a") == [b"newer"]


# --- behind the WAL: what clients have been told is safe there ---


@each_of(FAILURES_OF_THE_SNAPSHOT)
def test_a_checkpoint_that_fails_undoes_nothing(start, faults, call, error, done):
    server, store = start(), faults.root / "store"
    ask_all(server, b"SET gone 1", b"SET a 0")
    checkpoint(server, store)
    ask_all(server, b"SET a 1", b"DEL gone")
    getattr(faults.snapshot, call).fail(error, done)
    with server.kv() as client:
        is_read_only = lambda: client.ask(b"SET filler " + LONG) == FAILED  # noqa: E731
        harness.wait_until(is_read_only, "the checkpoint fails")
    server.log.wait(BROKEN)
    # A full disk takes deletions, which are what makes room on it.
    deleted, left = (b"DELETED", MISSING) if error == errno.ENOSPC else (FAILED, b"1")
    assert ask_all(server, b"SET b 1", b"DEL a", b"GET a", b"GET b", b"GET gone") == [
        FAILED, deleted, left, MISSING, MISSING]  # fmt: skip
    getattr(faults.snapshot, call).clear()
    server.log.wait(WORKS)
    assert ask_all(server, b"GET a", b"SET b 2", b"GET gone") == [left, OK, MISSING]
    expect_once(server.log, BROKEN)
    expect_once(server.log, WORKS)
    wait_checkpoint(store)
    assert snapshot_keys(store) == {b"a", b"filler"}
    server.kill()
    assert ask_all(start(), b"GET a", b"GET b", b"GET gone") == [left, b"2", MISSING]


@each_of(FAILURES_OF_THE_SNAPSHOT)
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_what_a_checkpoint_could_not_move_is_there_at_the_next_start(
    start, faults, call, error, done, end
):
    server = start()
    ask_all(server, b"SET a 1", b"SET a 2", b"SET b 1", b"DEL b")
    getattr(faults.snapshot, call).fail(error, done)
    with server.kv() as client:
        stored = [b"0"]
        while client.ask(b"SET filler %d%s" % (len(stored), LONG)) == OK:
            stored.append(b"%d%s" % (len(stored), LONG))
    server.log.wait(BROKEN)
    getattr(server, end)()
    getattr(faults.snapshot, call).clear()
    server = start()
    assert ask_all(server, b"GET a", b"GET b", b"GET filler") == [b"2", MISSING, stored[-1]]
    wait_checkpoint(faults.root / "store")


def test_a_checkpoint_fails_once_at_each_of_its_calls(start, faults):
    """Whichever it is, it goes on afterwards; and at no time is anything lost."""
    server, store, works = start(), faults.root / "store", 0
    checkpoint(server, store)
    calls = ("write", "sync", "truncate", "read", "open", "unlink")
    before = {call: getattr(faults.snapshot, call).calls for call in calls}
    checkpoint(server, store)
    counts = {call: getattr(faults.snapshot, call).calls - before[call] for call in calls}
    assert counts["write"] > 2 and counts["sync"] > 2
    for call, count in counts.items():
        for skip in {0, 1, count // 2, count - 1} if count else ():
            rule = getattr(faults.snapshot, call)
            rule.fail(errno.EIO, skip=max(skip, 0), limit=1)
            with server.kv() as client:
                number = 0
                while rule.error:
                    number += 1
                    client.ask(b"SET filler %d%s" % (number, LONG))
            server.log.wait(BROKEN, count=works + 1)
            server.log.wait(WORKS, count=works + 1)
            works += 1
            assert ask_all(server, b"SET last %d" % works) == [OK]
            wait_checkpoint(store)
    assert works > 6
    server.kill()
    assert ask_all(start(), b"GET last") == [b"%d" % works]


@pytest.mark.parametrize("call", ["rename", "unlink"])
def test_a_segment_that_cannot_be_used_again(start, faults, call):
    """Its name stays, until the next start at the latest, and does no harm."""
    server, store = start(), faults.root / "store"
    getattr(faults.wal, call).fail(errno.EIO)
    with server.kv() as client:
        requests = 3 * SEGMENT_SIZE // len(LONG)
        has_failed = any(client.ask(b"SET filler " + LONG) == FAILED for _ in range(requests))
    getattr(faults.wal, call).clear()
    if has_failed:
        server.log.wait(WORKS)
    newest = fill_segment(server, store)
    server.kill()
    server = start()
    assert ask_all(server, b"GET filler") == [newest]
    wait_checkpoint(store)


def test_a_loop_that_can_only_wait_for_the_disk_sleeps(start, faults):
    """There is a segment that should be in the snapshot by now, and a change on its way to the WAL."""
    server = start()
    with server.kv() as client, faults.snapshot.write.held() as behind:
        fill_segment(server, faults.root / "store")
        behind.wait_held()
        with faults.wal.sync.held() as barrier:
            client.send(b"SET b 1\n")
            barrier.wait_held()
            time.sleep(0.3)
            before = server.cpu_seconds()
            time.sleep(0.7)
            assert server.cpu_seconds() - before < 0.2
        assert client.line() == b"OK\n"


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
    faults.disk.fail(errno.EIO)
    assert ask_all(server, b"SET a 2") == [FAILED]
    server.log.wait(BROKEN)
    attempts = faults.open.calls
    harness.wait_until(lambda: faults.open.calls > attempts, "an attempt to recover")
    assert ask_all(server, b"GET a", b"SET b 1") == [b"1", FAILED]
    faults.disk.clear()
    server.log.wait(WORKS)
    assert ask_all(server, b"GET a", b"SET b 1") == [b"1", OK]
    server.kill()
    assert ask_all(start(), b"GET a", b"GET b") == [b"1", b"1"]


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
    assert ask_all(start(), b"GET a")[0] in (b"1", b"2")


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


SMALL_DISK = 'mount -t tmpfs -o size=$1 tmpfs "$0" && shift && exec "$@"'
needs_namespaces = pytest.mark.skipif(
    subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode != 0,
    reason="no mount namespaces here",
)


class SmallDisk:
    """A daemon with a file system of that size for its store, which a later daemon finds again."""

    def __init__(self, echod, workdir, size):
        self.echod, self.disk = echod, workdir / "disk"
        self.disk.mkdir()
        # Somebody has to keep the file system while no daemon does.
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", SMALL_DISK, str(self.disk), str(size), "sh", "-c",
             "echo mounted; read wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        assert self.holder.stdout.readline() == b"mounted\n"
        self.there = Path(f"/proc/{self.holder.pid}/root/{self.disk}")
        self.store = self.there / "store"

    def start(self, **settings):
        wrapper = self.command()
        return self.echod({"kv": {"listen": KV, "storage": STORE, **settings}}, wrapper=wrapper)

    def command(self, *more):
        return ["nsenter", f"--mount=/proc/{self.holder.pid}/ns/mnt", "--", *more]

    def run(self, *command):
        subprocess.run(self.command(*command), check=True)

    def free(self):
        found = os.statvfs(self.there)
        return found.f_bavail * found.f_bsize

    def fill(self, but=0):
        with open(self.there / "ballast", "wb") as ballast:
            while self.free() > but:
                ballast.write(bytes(min(1 << 16, self.free() - but)))
                ballast.flush()

    def relieve(self):
        (self.there / "ballast").unlink()

    def close(self):
        self.holder.stdin.close()
        self.holder.stdout.close()
        self.holder.wait()


@pytest.fixture
def small_disk(echod, workdir):
    disks = []

    def make(size):
        disks.append(SmallDisk(echod, workdir, size))
        return disks[-1]

    yield make
    for disk in disks:
        disk.close()


def is_full(answer):
    return answer in (FAILED, b"ERROR: store is full")


def set_until_full(server):
    """How many keys there was room for."""
    with server.kv() as client:
        for number in range(3 * SEGMENT_SIZE // len(LONG)):
            if is_full(client.ask(b"SET key%d %d%s" % (number, number, LONG))):
                return number
    raise AssertionError("the disk is never full")


@needs_namespaces
def test_a_file_system_that_is_really_full(small_disk):
    """Reads go on, and so do deletions; once there is room, so does all else."""
    disk = small_disk("64M")
    server = disk.start()
    ask_all(server, b"SET a 1", b"SET b 1")
    disk.fill()
    count = set_until_full(server)
    server.log.wait(BROKEN)
    assert ask_all(server, b"GET a", b"GET key0", b"GET key%d" % count) == [
        b"1", b"0" + LONG, MISSING]  # fmt: skip
    assert ask_all(server, b"DEL a", b"GET a") == [b"DELETED", MISSING]
    assert is_full(*ask_all(server, b"SET a 2"))
    server.kill()
    server = disk.start()
    last = b"GET key%d" % (count - 1)
    assert ask_all(server, b"GET a", b"GET b", last) == [MISSING, b"1", b"%d%s" % (count - 1, LONG)]
    assert ask_all(server, b"DEL b") == [b"DELETED"]
    disk.relieve()
    harness.wait_until(lambda: ask_all(server, b"SET a 3") == [OK], "it works again")
    assert ask_all(server, b"SET more " + LONG, b"GET more", b"GET a") == [OK, LONG, b"3"]
    server.kill()
    assert ask_all(disk.start(), b"GET a", b"GET b", b"GET more") == [b"3", MISSING, LONG]


@pytest.mark.parametrize("call", ["sync", "open"])
def test_a_disk_that_is_full_when_a_segment_begins(start, faults, call):
    """Its file has its name already, or not: what is acknowledged then is in the one that is found."""
    server = start()
    ask_all(server, b"SET a 1", b"SET b 1")
    rule = getattr(faults.files("store" if call == "sync" else "*/wal.new"), call)
    rule.fail(errno.ENOSPC)
    count = set_until_full(server)
    assert count > 100 and rule.calls > 0
    answers = ask_all(server, b"DEL a", b"GET a")
    assert answers in ([b"DELETED", MISSING], [FAILED, b"1"])
    server.kill()
    rule.clear()
    found = ask_all(start(), b"GET a", b"GET b", b"GET key%d" % (count - 1))
    assert found == [answers[1], b"1", b"%d%s" % (count - 1, LONG)]


@needs_namespaces
@pytest.mark.parametrize("left", [0, 4096, 1 << 20])
def test_a_start_on_a_full_disk_serves_reads(small_disk, left):
    """After a stop, and after a kill, which leaves more to do."""
    for end in ("stop", "kill"):
        disk = small_disk("64M") if end == "stop" else disk
        server = disk.start()
        assert ask_all(server, b"SET a 1", b"SET b 1", b"SET c 1") == [OK] * 3
        getattr(server, end)()
        disk.fill(left)
        server = disk.start()
        assert ask_all(server, b"GET a", b"DEL b") == [b"1", b"DELETED"]
        server.kill()
        server = disk.start()
        assert ask_all(server, b"GET a", b"GET b", b"GET c") == [b"1", MISSING, b"1"]
        disk.relieve()
        harness.wait_until(lambda: ask_all(server, b"SET a 1") == [OK], "it works again")
        server.stop()


@needs_namespaces
def test_many_deletions_on_a_full_disk(small_disk):
    """All of what is stored can be deleted, and then there is room again."""
    disk = small_disk("48M")
    server = disk.start()
    keys = [b"key%d" % number for number in range(2000)]
    assert set(ask_at_once(server, *(b"SET %s 1" % key for key in keys))) == {OK}
    disk.fill()
    set_until_full(server)
    assert set(ask_all(server, *(b"DEL " + key for key in keys))) == {b"DELETED"}
    server.kill()
    server = disk.start()
    assert set(ask_at_once(server, *(b"GET " + key for key in keys))) == {MISSING}


@needs_namespaces
def test_a_first_start_on_a_full_disk_is_refused(small_disk, fleet):
    disk = small_disk("4M")
    disk.fill(64 << 10)
    kv = {"kv": {"listen": KV, "storage": STORE}}
    server = fleet.launch(kv, wrapper=disk.command())
    server.wait_stopped_with(1, f"{disk.disk}/store")
    assert server.errors.matches(os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("room", [0, 1 << 20, 8 << 20])
def test_a_limit_on_the_size_of_files(start, faults, room):
    """ulimit -f, LimitFSIZE=: the kernel sends a signal as well."""
    server = start()
    ask_all(server, b"SET a 1")
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    count = set_until_full(server)
    assert ask_all(server, b"GET a", b"GET key%d" % count) == [b"1", MISSING]
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE,
                     (resource.RLIM_INFINITY, resource.RLIM_INFINITY))  # fmt: skip
    server.log.wait(WORKS)
    assert ask_all(server, b"SET more " + LONG, b"GET a") == [OK, b"1"]
    server.kill()
    assert ask_all(start(), b"GET more", b"GET a") == [LONG, b"1"]


# --- volumes ---


@needs_root
@needs_namespaces
def test_a_volume_that_vanishes_and_comes_back(echod, workdir, faults):
    """The directory below it is no store: nothing is begun there, and nothing acknowledged."""
    volume, disk = workdir / "volume", faults.root
    volume.mkdir()
    script = 'mount --bind "$0" "$1" && shift && exec "$@"'
    wrapper = ["unshare", "--mount", "sh", "-c", script, str(volume), str(disk)]
    server = echod({"kv": {"listen": KV, "storage": STORE}}, env=faults.env, wrapper=wrapper)
    mount = ["nsenter", f"--mount=/proc/{server.pid}/ns/mnt", "--"]
    there = Path(f"/proc/{server.pid}/root/{disk}")
    assert ask_all(server, b"SET a 1") == [OK]
    faults.disk.fail(errno.EIO)
    assert ask_all(server, b"SET a 2") == [FAILED]
    subprocess.run([*mount, "umount", "-l", str(disk)], check=True)
    faults.disk.clear()
    for below in (lambda: None, (there / "store").mkdir):
        below()
        for _ in range(2):
            attempts = faults.open.calls
            harness.wait_until(lambda n=attempts: faults.open.calls > n, "an attempt to recover")
        assert ask_all(server, b"GET a", b"SET a 3") == [b"1", FAILED]
        assert not [file for file in there.glob("store/*") if file.name != "echod.lock"]
    subprocess.run([*mount, "mount", "--bind", str(volume), str(disk)], check=True)
    server.log.wait(WORKS)
    assert ask_all(server, b"GET a", b"SET b 1") == [b"1", OK]
    checkpoint(server, volume / "store")
    server.kill()
    again = echod({"kv": {"listen": KV, "storage": str(volume / "store")}})
    assert ask_all(again, b"GET a", b"GET b") == [b"1", b"1"]


@needs_root
@needs_namespaces
def test_another_store_in_the_place_of_a_volume(echod, workdir, faults):
    """As if somebody had mounted a backup: it is not the one whose keys are in memory."""
    volume, backup, disk = workdir / "volume", workdir / "backup", faults.root
    for path in (volume, backup):
        path.mkdir()
        server = echod({"kv": {"listen": KV, "storage": str(path / "store")}})
        assert ask_all(server, b"SET a " + path.name.encode()) == [OK]
        server.stop()
    script = 'mount --bind "$0" "$1" && shift && exec "$@"'
    wrapper = ["unshare", "--mount", "sh", "-c", script, str(volume), str(disk)]
    server = echod({"kv": {"listen": KV, "storage": STORE}}, env=faults.env, wrapper=wrapper)
    mount = ["nsenter", f"--mount=/proc/{server.pid}/ns/mnt", "--"]
    faults.disk.fail(errno.EIO)
    assert ask_all(server, b"SET a 2") == [FAILED]
    before = {file.name: file.read_bytes() for file in (backup / "store").iterdir()}
    subprocess.run([*mount, "umount", "-l", str(disk)], check=True)
    subprocess.run([*mount, "mount", "--bind", str(backup), str(disk)], check=True)
    faults.disk.clear()
    for _ in range(2):
        attempts = faults.open.calls
        harness.wait_until(lambda n=attempts: faults.open.calls > n, "an attempt to recover")
    assert ask_all(server, b"GET a", b"SET a 3") == [b"volume", FAILED]
    server.stop()
    del before["echod.lock"]
    for name, content in before.items():
        assert (backup / "store" / name).read_bytes() == content


# --- a restore while echod runs ---

REPLACED = r"error kv: storage \S+/store: the directory was replaced while echod was running: .*read-only"
GONE = r"error kv: storage \S+/store: cannot open \S+/store/echod.lock: No such file.*read-only"


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def make_backup(echod, workdir, kind):
    """A server whose store has a backup, made by echoctl or as a copy of all files, and has changed since."""
    services = {"kv": {"listen": KV, "storage": "$DIR/store"}, "control": {"listen": "unix://$DIR/control"}}
    server = echod(services)
    assert ask_all(server, b"SET a old", b"SET b 1") == [OK, OK]
    if kind == "backup":
        echoctl = Path(harness.find_echod()).parent / "echoctl/echoctl"
        subprocess.run([echoctl, "-s", workdir / "control", "backup", "kv",
                        workdir / "backup"], check=True, capture_output=True)  # fmt: skip
    elif kind == "copy":
        server.stop()
        copy(workdir / "store", workdir / "backup")
        server = echod(services)
    assert ask_all(server, b"SET a new", b"DEL b") == [OK, b"DELETED"]
    return server


def start_on(echod, workdir, path):
    done = harness.run_echod("--check-store", path)
    assert (done.returncode, done.stderr) == (0, "")
    server = echod({"kv": {"listen": KV, "storage": str(path)}})
    values = ask_all(server, b"GET a", b"GET b", b"GET last", b"SET more 1")
    server.stop()
    return values


@pytest.mark.parametrize("end", ["stop", "kill", "stop-at-once"])
@pytest.mark.parametrize("kind", ["backup", "copy"])
def test_a_restore_without_a_stop(echod, workdir, kind, end):
    """Neither store is damaged: the old one has all that was confirmed, the new one what was restored."""
    server = make_backup(echod, workdir, kind)
    (workdir / "store").rename(workdir / "old")
    shutil.copytree(workdir / "backup", workdir / "store")
    before = contents(workdir / "store")
    assert ask_all(server, b"SET last 1") == [OK]
    if end != "stop-at-once":
        with server.kv() as client:
            count = 0
            while client.ask(b"SET filler " + LONG) == OK:
                count += 1
                assert count < 2 * SEGMENT_SIZE // len(LONG)
        server.log.wait(REPLACED)
        assert ask_all(server, b"GET a", b"SET a 3", b"DEL a") == [b"new", FAILED, FAILED]
    server.kill() if end == "kill" else server.stop()
    assert contents(workdir / "store") == before
    assert start_on(echod, workdir, workdir / "store") == [b"old", b"1", MISSING, OK]
    assert start_on(echod, workdir, workdir / "old") == [b"new", MISSING, b"1", OK]


def test_a_restore_before_a_checkpoint(start, faults):
    """The segment was sealed before: what the checkpoint would write into and remove is another store's."""
    root = faults.root
    server = start()
    assert ask_all(server, b"SET a old", b"SET b 1") == [OK, OK]
    server.stop()
    copy(root / "store", root / "backup")
    server = start()
    assert ask_all(server, b"SET a new", b"DEL b", b"SET last 1") == [OK, b"DELETED", OK]
    with faults.snapshot.write.held():
        fill_segment(server, root / "store")
        faults.snapshot.write.wait_held()
        (root / "store").rename(root / "old")
        copy(root / "backup", root / "store")
        before = contents(root / "store")
    server.log.wait(REPLACED)
    server.stop()
    assert contents(root / "store") == before


@pytest.mark.parametrize("replaced", [False, True])
def test_a_directory_that_is_moved_and_put_back(echod, workdir, replaced):
    server = make_backup(echod, workdir, "backup" if replaced else None)
    (workdir / "store").rename(workdir / "old")
    if replaced:
        shutil.copytree(workdir / "backup", workdir / "store")
    with server.kv() as client:
        while client.ask(b"SET filler " + LONG) == OK:
            pass
    server.log.wait(REPLACED if replaced else GONE)
    if replaced:
        shutil.rmtree(workdir / "store")
    (workdir / "old").rename(workdir / "store")
    server.log.wait(WORKS)
    assert ask_all(server, b"SET last 1") == [OK]
    checkpoint(server, workdir / "store")
    server.kill()
    assert start_on(echod, workdir, workdir / "store") == [b"new", MISSING, b"1", OK]


# --- sync = "interval" ---


@each_of(FAILURES)
def test_with_an_interval_nothing_is_undone(start, faults, call, error, done):
    server = start(sync="interval", sync_interval="20ms")
    getattr(faults.wal, call).fail(error, done)
    assert ask_all(server, b"SET a 1", b"GET a") == [OK, b"1"]
    server.log.wait(BROKEN)
    assert ask_all(server, b"SET b 2", b"GET a") == [FAILED, b"1"]
    getattr(faults.wal, call).clear()
    server.log.wait(WORKS)
    server.kill()
    assert ask_all(start(), b"GET a", b"GET b") == [b"1", MISSING]


@each_of(FAILURES_OF_THE_SNAPSHOT)
def test_with_an_interval_a_checkpoint_that_fails_undoes_nothing(start, faults, call, error, done):
    server = start(sync="interval", sync_interval="20ms")
    getattr(faults.snapshot, call).fail(error, done)
    with server.kv() as client:
        stored = 0
        while client.ask(b"SET filler %d%s" % (stored + 1, LONG)) == OK:
            stored += 1
    newest = b"%d%s" % (stored, LONG)
    server.log.wait(BROKEN)
    assert ask_all(server, b"GET filler") == [newest]
    getattr(faults.snapshot, call).clear()
    server.log.wait(WORKS)
    wait_checkpoint(faults.root / "store")
    server.stop()
    assert ask_all(start(), b"GET filler") == [newest]


def test_with_an_interval_a_stop_tries_once_more(start, faults):
    server = start(sync="interval", sync_interval="20ms")
    faults.sync.fail()
    assert ask_all(server, b"SET a 1") == [OK]
    server.log.wait(BROKEN)
    faults.sync.clear()
    server.stop()
    assert ask_all(start(), b"GET a") == [b"1"]


@pytest.mark.parametrize("sync, status, last", [
    ("interval", 1, "error echod: stopped, but changes of kv are lost"),
    ("always", 0, "info echod: stopped"),
])  # fmt: skip
def test_a_stop_says_whether_confirmed_changes_are_lost(start, faults, sync, status, last):
    server = start(sync=sync, sync_interval="20ms")
    faults.wal.write.fail(errno.ENOSPC)
    assert ask_all(server, b"SET a 1") == [OK if sync == "interval" else FAILED]
    server.log.wait(BROKEN)
    server.send_signal(signal.SIGTERM)
    server.wait_stopped(status)
    assert server.log.matches(f"{last}$")
    assert len(server.log.matches("echod: stopped")) == 1


def test_what_a_removed_service_has_lost_is_said_at_the_stop(start, faults):
    server = start(sync="interval", sync_interval="20ms")
    faults.wal.write.fail(errno.ENOSPC)
    assert ask_all(server, b"SET a 1") == [OK]
    server.log.wait(BROKEN)
    assert server.reload({"echo": {"listen": ECHO}})
    server.send_signal(signal.SIGTERM)
    server.wait_stopped(1)
    server.log.wait("echod: stopped, but changes of kv are lost")


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
        rule, skip = randomness.choice([faults.sync, faults.write]), randomness.randrange(20)
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
def test_a_file_system_that_is_mounted_read_only(echod, workdir):
    """Reads are served; it recovers when it is mounted to be written again."""
    disk = workdir / "disk"
    disk.mkdir()
    server = echod(KV_ALONE)
    ask_all(server, b"SET a 1")
    server.kill()
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    server = echod(KV_ALONE, wrapper=["unshare", "--mount", "sh", "-c", script, str(disk)])
    assert ask_all(server, b"GET a", b"SET b 1", b"DEL a") == [b"1", FAILED, FAILED]
    server.log.wait(BROKEN)
    subprocess.run(["nsenter", f"--mount=/proc/{server.pid}/ns/mnt", "--",
                    "mount", "-o", "remount,bind,rw", str(disk)], check=True)  # fmt: skip
    server.log.wait(WORKS)
    assert ask_all(server, b"GET a", b"SET b 1") == [b"1", OK]
    server.kill()
    assert ask_all(echod(KV_ALONE), b"GET a", b"GET b") == [b"1", b"1"]


@needs_root
@needs_namespaces
def test_a_file_system_that_becomes_read_only(echod, workdir):
    """What is open can still be written to, as after a remount by force; no new segment can be begun."""
    disk = workdir / "disk"
    disk.mkdir()
    script = 'mount --bind "$0" "$0" && exec "$@"'
    server = echod(KV_ALONE, wrapper=["unshare", "--mount", "sh", "-c", script, str(disk)])
    mount = ["nsenter", f"--mount=/proc/{server.pid}/ns/mnt", "--", "mount"]
    ask_all(server, b"SET a 1")
    subprocess.run([*mount, "--bind", str(disk), str(disk)], check=True)
    subprocess.run([*mount, "-o", "remount,bind,ro", str(disk)], check=True)
    count = set_until_full(server)
    server.log.wait(BROKEN)
    assert ask_all(server, b"GET a", b"GET key%d" % count) == [b"1", MISSING]
    subprocess.run([*mount, "-o", "remount,bind,rw", str(disk)], check=True)
    server.log.wait(WORKS)
    assert ask_all(server, b"SET b 1") == [OK]
    server.kill()
    last = b"GET key%d" % (count - 1)
    assert ask_all(echod(KV_ALONE), b"GET a", b"GET b", last) == [b"1", b"1", b"%d%s" % (count - 1, LONG)]


CALLS_OF_A_FIRST_START = pytest.mark.parametrize("call", ["open", "write", "sync", "mkdir", "rename"])


@CALLS_OF_A_FIRST_START
def test_a_disk_that_fails_at_the_first_start(fleet, faults, call):
    """What it leaves at each of its calls is no store, or one that is empty: the next start takes it."""
    rule = getattr(faults, call)
    for skip in range(30):
        before = rule.calls
        rule.fail(errno.EIO, skip=skip)
        server = fleet.launch(KV_ALONE, env=faults.env)
        server.log.wait(r"info echod: ready|error echod: |^echod: ")
        has_failed = rule.calls > before + skip
        if has_failed and not server.log.matches("info echod: ready"):
            server.wait_stopped_with(1, f"{faults.root}/store")
        else:
            server.kill()
        rule.clear()
        expect_empty(fleet, faults)
        if not has_failed:
            return
    raise AssertionError("it always fails")


@CALLS_OF_A_FIRST_START
def test_a_first_start_that_is_killed(fleet, faults, call):
    """At each of its calls: nothing was acknowledged, and the next start is not refused."""
    rule = getattr(faults, call)
    for skip in range(30):
        with rule.held(skip=skip):
            server = fleet.launch(KV_ALONE, env=faults.env)
            harness.wait_until(
                lambda: rule.waiting or server.log.matches("info echod: ready"), "it is held")
            is_held = bool(rule.waiting)
            server.kill()
        expect_empty(fleet, faults)
        if not is_held:
            return
    raise AssertionError("it is always held")


def expect_empty(fleet, faults):
    server = fleet.start(KV_ALONE, env=faults.env)
    assert ask_all(server, b"GET a", b"SET a 1") == [MISSING, OK]
    server.kill()
    subprocess.run(["rm", "-r", faults.root / "store"], check=True)


# --- what the path leads to ---


def test_a_store_below_a_symbolic_link(echod, workdir):
    """It is common that /var/lib, or a part of it, is on another disk."""
    (workdir / "real").mkdir()
    (workdir / "link").symlink_to("real")
    services = {"kv": {"listen": KV, "storage": "$DIR/link/store"}}
    server = echod(services)
    assert ask_all(server, b"SET a 1") == [OK]
    checkpoint(server, workdir / "real/store")
    server.stop()
    (workdir / "whole").symlink_to("real/store")
    for storage in ("link/store", "whole"):
        done = harness.run_echod("--check-store", workdir / storage)
        assert (done.returncode, done.stderr) == (0, "")
        server = echod({"kv": {"listen": KV, "storage": f"$DIR/{storage}"}})
        assert ask_all(server, b"GET a") == [b"1"]
        server.stop()


def make_link(path):
    path.rename(path.with_name("other"))
    path.symlink_to("other")


def make_pipe(path):
    path.unlink()
    os.mkfifo(path)


def make_directory(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("make, text", [
    (make_link, "is a symbolic link"),
    (make_pipe, "is not a regular file"),
    (make_directory, "is not a regular file"),
])  # fmt: skip
def test_a_snapshot_that_is_no_file(echod, fleet, workdir, make, text):
    services = {"kv": {"listen": KV, "storage": "$DIR/store"}}
    server = echod(services)
    ask_all(server, b"SET a 1")
    server.stop()
    make(workdir / "store/snapshot.db")
    fleet.launch(services).wait_stopped_with(1, f"store/snapshot.db {text}")
    done = harness.run_echod("--check-store", workdir / "store")
    assert done.returncode == 1 and f"store/snapshot.db {text}" in done.stderr


def replace_by_copy(path):
    path.with_name("other").write_bytes(path.read_bytes())
    path.with_name("other").rename(path)


@pytest.mark.parametrize("replace", [Path.unlink, replace_by_copy])
def test_a_snapshot_that_is_removed_while_it_is_open(echod, workdir, replace):
    """SQLite calls it read-only then, which nobody could make sense of."""
    server = echod({"kv": {"listen": KV, "storage": "$DIR/store"}})
    store = workdir / "store"
    assert ask_all(server, b"SET a 1") == [OK]
    checkpoint(server, store)
    replace(store / "snapshot.db")
    fill_segment(server, store)
    server.log.wait(r"error kv: .*snapshot\.db is missing or was replaced .*; read-only until")
    assert not server.log.matches("Read-only file system")


def test_a_journal_that_cannot_be_created(start, faults):
    """SQLite tries to read it then, and has ENOENT of that: it is not the snapshot that is missing."""
    server = start()
    store = faults.root / "store"
    assert ask_all(server, b"SET a 1") == [OK]
    (store / "snapshot.db-journal").unlink(missing_ok=True)
    faults.files("*-journal").open.fail(errno.ENOSPC, limit=1)
    fill_segment(server, store)
    server.log.wait(r"error kv: .*cannot write \S+/snapshot\.db: .*; read-only until")
    server.log.wait(WORKS)
