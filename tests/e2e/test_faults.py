"""fault.c itself, with a Python in the place of the daemon."""

import errno
import os
import random
import select
import sqlite3
import subprocess
from contextlib import closing, contextmanager

import harness
from faults import ALL, HALF
from power import Disk, write_image

# Does what its standard input says, line by line, and prints each result or the name of its error.
DOER = """
import errno, mmap, os, sys
os.chdir(sys.argv[1])
for line in sys.stdin:
    try:
        print(eval(line), flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
"""


class Doer:
    def __init__(self, faults):
        self.process = subprocess.Popen(
            ["/usr/bin/python3", "-c", DOER, str(faults.root)], env={**os.environ, **faults.env},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
        self.file = int(self.do('os.open("new", os.O_RDWR | os.O_CREAT)'))

    def send(self, code):
        self.process.stdin.write(code.format(**vars(self)) + "\n")
        self.process.stdin.flush()

    def read(self):
        return self.process.stdout.readline().strip()

    def do(self, code):
        self.send(code)
        return self.read()


@contextmanager
def doer(faults):
    doing = Doer(faults)
    try:
        yield doing
    finally:
        doing.process.stdin.close()
        doing.process.stdout.close()
        assert doing.process.wait(harness.DEADLINE) == 0


def test_calls_without_a_rule_do_what_they_do(faults):
    with doer(faults) as doing:
        assert doing.do('os.pwrite({file}, b"abcdef", 2)') == "6"
        assert doing.do('os.write({file}, b"01")') == "2"
        assert doing.do('os.writev({file}, [b"A", b"B"])') == "2"
        assert doing.do("os.ftruncate({file}, 9)") == "None"
        assert doing.do("os.posix_fallocate({file}, 0, 10)") == "None"
        assert doing.do("os.fdatasync({file})") == doing.do("os.fsync({file})") == "None"
        assert doing.do("os.pread({file}, 99, 0)") == repr(b"01ABcdef\0\0")
        assert doing.do("os.read({file}, 2)") == repr(b"cd")
        assert doing.do('os.mkdir("a") or os.rename("new", "a/b")') == "None"
        assert doing.do('os.mkdir("c") or os.rmdir("c") or os.unlink("a/b")') == "None"
        assert [rule.calls for rule in faults.disk.rules()] == [1, 2, 4, 2, 1, 2, 1, 2]
        assert not any(rule.calls for rule in faults.wal.rules())


def test_failures(faults):
    with doer(faults) as doing:
        doing.do('os.write({file}, b"0123456789")')
        faults.sync.fail(errno.EIO)
        assert doing.do("os.fdatasync({file})") == doing.do("os.fsync({file})") == "EIO"
        faults.sync.clear()
        assert doing.do("os.fdatasync({file})") == "None"
        faults.write.fail(errno.ENOSPC, skip=1, limit=1)
        answers = [doing.do('os.pwrite({file}, b"x", 0)') for _ in range(3)]
        assert answers == ["1", "ENOSPC", "1"]
        faults.write.fail(errno.EIO, done=ALL)
        assert doing.do('os.pwrite({file}, b"done", 0)') == "EIO"
        faults.write.fail(errno.ENOSPC, done=HALF)
        assert doing.do('os.pwrite({file}, b"half", 4)') == "2"
        assert doing.do('os.pwrite({file}, b"lf", 6)') == "ENOSPC"
        assert doing.do("os.posix_fallocate({file}, 0, 99)") == "ENOSPC"
        faults.read.fail(errno.EIO)
        assert doing.do("os.pread({file}, 4, 0)") == doing.do("os.read({file}, 4)") == "EIO"
        faults.open.fail(errno.EMFILE)
        assert doing.do('os.open("new", os.O_RDONLY)') == "EMFILE"
        faults.truncate.fail(errno.EFBIG)
        assert doing.do("os.ftruncate({file}, 0)") == "EFBIG"
        for rule in faults.mkdir, faults.rename, faults.unlink:
            rule.fail(errno.EROFS)
        assert doing.do('os.mkdir("a")') == doing.do('os.rename("new", "a")') == "EROFS"
        assert doing.do('os.unlink("new")') == "EROFS"
        assert (faults.root / "new").read_bytes() == b"doneha6789"


def test_failures_of_some_files(faults):
    with doer(faults) as doing:
        other = doing.do('os.mkdir("store") or os.open("store/wal.1", os.O_RDWR | os.O_CREAT)')
        faults.wal.fail(errno.EIO, "write", "sync")
        assert doing.do(f'os.write({other}, b"x")') == doing.do(f"os.fsync({other})") == "EIO"
        assert doing.do('os.write({file}, b"x")') == "1"
        assert (faults.wal.write.calls, faults.snapshot.write.calls) == (1, 0)
        faults.wal.clear()
        faults.files("new").write.fail(errno.ENOSPC)
        assert doing.do('os.write({file}, b"x")') == "ENOSPC"
        assert doing.do(f'os.write({other}, b"x")') == "1"


def test_a_held_call_waits(faults):
    with doer(faults) as doing:
        with faults.sync.held():
            doing.send("os.fdatasync({file})")
            faults.sync.wait_held()
            assert not select.select([doing.process.stdout], [], [], 0)[0]
        assert doing.read() == "None"


def kinds(faults):
    return "".join(record.kind for record in faults.records())


def test_trace(faults):
    faults.trace = 1
    with doer(faults) as doing:
        doing.do('os.pwrite({file}, b"abc", 2)')
        doing.do("os.fdatasync({file})")
        doing.do("os.pwrite({file}, bytes(9), 5)")
        faults.sync.fail()
        doing.do("os.fsync({file})")
        doing.do('os.mkdir("directory") or os.rename("new", "directory/old")')
        doing.do('os.unlink("directory/old") or os.rmdir("directory")')
        doing.do('os.fsync(os.open(".", os.O_RDONLY))')
    records = faults.records()
    assert kinds(faults) == "CWBEWBFCRUUBF"
    assert [record.number for record in records] == list(range(1, 14))
    created, write, begin, end, zeros, again, failed, made, renamed, removed = records[:10]
    assert (created.name, made.name, made.value) == ("new", "directory", 1)
    assert (write.name, write.value, write.data, write.length) == ("new", 2, b"abc", 3)
    assert (zeros.value, zeros.data, zeros.length) == (5, b"", 9)
    assert (end.value, failed.value) == (begin.number, again.number)
    assert (renamed.name, renamed.data, removed.name) == ("new", b"directory/old", "directory/old")
    assert records[11].name == ""


def test_an_early_end_is_noted_by_the_next_one(faults):
    faults.trace, faults.early = 1, 1
    with doer(faults) as doing:
        doing.do("os.fdatasync({file})")
        doing.do('os.write({file}, b"de")')
        doing.do("os.fdatasync({file})")
    assert kinds(faults) == "CBWBE"


# --- the disk that is made of a trace ---


def all_images(faults, moment=None, count=200):
    """What may be found after so many records, as a set of {name: content}."""
    disk, randomness = Disk(), random.Random(1)
    for record in faults.records()[:moment]:
        disk.follow(record)
    images = (disk.image(randomness) for _ in range(count))
    return {tuple(sorted((name, bytes(content)) for name, content in image.items()))
            for image in images}  # fmt: skip


def test_a_power_failure_before_and_after_the_syncs(faults):
    faults.trace = 1
    with doer(faults) as doing:
        doing.do('os.write({file}, b"a" * 1024)')
        before = len(faults.records())
        doing.do('os.fsync({file}) or os.fsync(os.open(".", os.O_RDONLY))')
    torn = {bytes(512) + b"a" * 512, b"a" * 512, b"a" * 1024, b""}
    assert all_images(faults, before) == {(), *((("new", content),) for content in torn)}
    assert all_images(faults) == {(("new", b"a" * 1024),)}


def test_a_power_failure_after_a_rename_and_a_removal(faults):
    faults.trace = 1
    with doer(faults) as doing:
        doing.do('os.mkdir("d") or os.fsync(os.open(".", os.O_RDONLY))')
        doing.do('os.rename("new", "d")')  # fails: nothing is noted
        doing.do('os.rename("new", "old")')
        before = len(faults.records())
        doing.do('os.fsync(os.open(".", os.O_RDONLY)) or os.unlink("old")')
    made = ("d/", b"")
    assert all_images(faults, before) == {(made, ("new", b"")), (made, ("old", b""))}
    assert all_images(faults) == {(made,), (made, ("old", b""))}


def test_a_failed_sync_makes_no_later_one_good(faults):
    faults.trace = 1
    with doer(faults) as doing:
        doing.do('os.fsync(os.open(".", os.O_RDONLY)) or os.write({file}, b"a")')
        faults.sync.fail(limit=1)
        assert doing.do("os.fsync({file})") == "EIO"
        assert doing.do('os.pwrite({file}, b"b", 2) and os.fsync({file})') == "None"
    assert all_images(faults) == {(("new", b"a\0b"),), (("new", b"\0\0b"),)}


# Commits some transactions, and says so in a file beside it.
SQLITE = """
import os, sqlite3, sys
done = os.open(sys.argv[1] + "/done", os.O_WRONLY | os.O_CREAT)
db = sqlite3.connect(sys.argv[1] + "/snapshot.db", isolation_level=None)
db.execute("PRAGMA journal_mode = TRUNCATE")
db.execute("PRAGMA synchronous = " + sys.argv[2])
db.execute("CREATE TABLE t(key INTEGER PRIMARY KEY, number, padding) WITHOUT ROWID")
for number in range(1, 12):
    os.write(done, b"x")
    db.execute("BEGIN")
    db.executemany("REPLACE INTO t VALUES (?, ?, ?)", [(k, number, "x" * 600) for k in range(40)])
    db.execute("COMMIT")
"""


def lost_commits(faults, workdir, synchronous, count):
    """In how many images SQLite's newest commits are missing."""
    faults.trace, randomness, lost = 1, random.Random(4), 0
    subprocess.run(["/usr/bin/python3", "-c", SQLITE, str(faults.root), synchronous],
                   env={**os.environ, **faults.env}, check=True)  # fmt: skip
    records, disk, at = faults.records(), Disk(), 0
    for number, moment in enumerate(sorted(randomness.choices(range(len(records)), k=count))):
        for record in records[at : moment + 1]:
            disk.follow(record)
        at = moment + 1
        done = sum(record.kind == "W" and record.name == "done" for record in records[:at]) - 1
        image = workdir / f"image{number}"
        image.mkdir()
        write_image(disk.image(randomness), image)
        lost += not done <= committed(image / "snapshot.db") <= done + 1
    return lost


def committed(path):
    """The newest transaction of which all is there; 0 = none, -1 = the database is damaged."""
    with closing(sqlite3.connect(path)) as database:
        try:
            numbers = {number for number, in database.execute("SELECT number FROM t")}
            is_whole = database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return -1 if not is_whole or len(numbers) > 1 else max(numbers, default=0)
        except sqlite3.DatabaseError as error:
            return 0 if "no such table" in str(error) else -1


def test_sqlite_loses_no_commit(faults, workdir):
    assert lost_commits(faults, workdir, "EXTRA", 150) == 0


def test_sqlite_without_syncs_is_seen_to_lose_commits(faults, workdir):
    assert lost_commits(faults, workdir, "OFF", 100) > 10
