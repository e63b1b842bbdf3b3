"""fault.c itself, with a Python in the place of the daemon."""

import errno
import os
import select
import subprocess
from contextlib import contextmanager

import harness
from faults import ALL, HALF

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
        self.send('os.open("new", os.O_RDWR | os.O_CREAT)')
        self.file = int(self.read())
        self.dsync = int(self.do('os.open("new", os.O_WRONLY | os.O_DSYNC)'))

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
        assert doing.do('os.pwrite({dsync}, b"xy", 6)') == "2"
        assert doing.do("os.ftruncate({file}, 9)") == "None"
        assert doing.do("os.fdatasync({file})") == doing.do("os.fsync({file})") == "None"
        assert doing.do("len(mmap.mmap({file}, 9))") == "9"
        assert doing.do("os.pread({file}, 2, 2)") == "b'AB'"
        assert doing.do("os.read({file}, 2)") == "b'cd'"
        assert (faults.root / "new").read_bytes() == b"01ABcdxy\0"
        calls = (faults.write, faults.dsync, faults.truncate, faults.sync, faults.map, faults.open,
                 faults.read)
        assert [call.calls for call in calls] == [3, 1, 1, 2, 1, 2, 2]


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
        faults.dsync.fail(errno.EROFS)
        assert doing.do('os.pwrite({dsync}, b"x", 0)') == "EROFS"
        faults.open.fail(errno.EMFILE)
        assert doing.do('os.open("new", os.O_RDONLY)') == "EMFILE"
        faults.truncate.fail(errno.EFBIG)
        assert doing.do("os.ftruncate({file}, 0)") == "EFBIG"
        faults.map.fail(errno.ENOMEM)
        assert doing.do("mmap.mmap({file}, 4)") == "ENOMEM"
        faults.read.fail(errno.EIO)
        assert doing.do("os.pread({file}, 1, 0)") == doing.do("os.read({file}, 1)") == "EIO"
        assert (faults.root / "new").read_bytes() == b"doneha6789"


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
        doing.do('os.pwrite({dsync}, b"de", 0)')
        faults.sync.fail()
        doing.do("os.fsync({file})")
        doing.do('os.mkdir("directory") or os.rename("new", "directory/old")')
        doing.do('os.fsync(os.open(".", os.O_RDONLY))')
    created, write, begin, end, dsync, safe, again, failed, made, renamed = faults.records()[:10]
    assert kinds(faults) == "CWBEWDBFCRBF"
    assert [r.number for r in faults.records()] == list(range(1, 13))
    assert (created.name, made.name) == ("new", "directory")
    assert (write.name, write.value, write.data) == ("new", 2, b"abc")
    assert (end.value, safe.value, failed.value) == (begin.number, dsync.number, again.number)
    assert (renamed.name, renamed.data) == ("new", b"directory/old")
    assert faults.records()[10].name == ""


def test_an_early_end_is_noted_by_the_next_one(faults):
    faults.trace, faults.early = 1, 1
    with doer(faults) as doing:
        doing.do("os.fdatasync({file})")
        doing.do('os.pwrite({dsync}, b"de", 0)')
        doing.do("os.fdatasync({file})")
    assert kinds(faults) == "CBWEBD"
