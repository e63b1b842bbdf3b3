"""The switches of fault.c, and the trace that it writes.

A daemon that is started with Faults.env has its storage below Faults.root on a disk that the test can
slow down, hold and break at any moment, all of it or some of its files:

    faults.sync.error = errno.EIO       every fdatasync and fsync fails, until it is 0 again
    faults.wal.sync.fail()              only those of WAL segments
    with faults.snapshot.write.held():  every write to the snapshot waits until the end of the block
"""

import errno
import mmap
import os
import struct
from contextlib import contextmanager
from pathlib import Path

import pytest

import harness

CALLS = ("open", "read", "write", "sync", "truncate", "unlink", "rename", "mkdir")
NOTHING, ALL, HALF = range(3)  # of a call that fails: what is done nevertheless
RULE = ("calls", "waiting", "hold", "delay_ms", "error", "done", "skip", "limit")
WORD = struct.Struct("=I")
PATTERN_SIZE = 64
FILES = 8
FILES_SIZE = PATTERN_SIZE + len(CALLS) * len(RULE) * WORD.size


def library():
    """The path of fault.so; skips the test if there is none."""
    path = Path(harness.find_echod()).parent.parent / "tests/e2e/fault.so"
    if not path.exists():
        pytest.skip(f"{path} is not there; make check builds it")
    return path


class Word:
    """A number in the file that the daemon has mapped."""

    def __init__(self, index):
        self.offset = index * WORD.size

    def __get__(self, owner, _):
        return WORD.unpack_from(owner.memory, owner.offset + self.offset)[0]

    def __set__(self, owner, value):
        WORD.pack_into(owner.memory, owner.offset + self.offset, value)


class Rule:
    """What happens to one kind of call."""

    calls, waiting, hold, delay_ms, error, done, skip, limit = map(Word, range(len(RULE)))

    def __init__(self, memory, offset):
        self.memory, self.offset = memory, offset

    def fail(self, error=errno.EIO, done=NOTHING, skip=0, limit=0):
        """From the call after the next `skip` on, `limit` times (0 = until it is cleared).

        HALF is the first half of a write or read; the calls that follow do nothing.
        """
        self.error = 0
        self.done, self.skip, self.limit = done, skip, limit
        self.error = error

    def clear(self):
        self.error = 0

    @contextmanager
    def held(self, skip=0):
        """Holds the call after the next `skip`, and all behind it."""
        self.waiting = 0  # a daemon may have been killed while it waited
        self.skip, self.hold = skip, 1
        try:
            yield self
        finally:
            self.hold = 0

    def wait_held(self):
        """Until a call waits."""
        harness.wait_until(lambda: self.waiting, "a call that is held")


class Files:
    """The rules of the files whose names, relative to the root, fit a pattern: one for each kind of call."""

    def __init__(self, memory, number, pattern):
        offset = number * FILES_SIZE
        for place, call in enumerate(CALLS):
            at = offset + PATTERN_SIZE + place * len(RULE) * WORD.size
            setattr(self, call, Rule(memory, at))
        memory[offset : offset + len(pattern)] = pattern.encode()

    def rules(self):
        return [getattr(self, call) for call in CALLS]

    def fail(self, error=errno.EIO, *calls):
        """All calls, or those of these names."""
        for call in calls or CALLS:
            getattr(self, call).fail(error)

    def clear(self):
        for rule in self.rules():
            rule.clear()


class Faults:
    """The disk of one test; several daemons may use it one after the other."""

    trace, early = (Word(FILES * FILES_SIZE // WORD.size + index) for index in range(2))

    def __init__(self, directory):
        self.root = Path(directory) / "disk"
        self.root.mkdir()
        self.trace_file = Path(directory) / "trace"
        switches = Path(directory) / "switches"
        switches.write_bytes(bytes(4096))
        with open(switches, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 4096)
        self.offset = 0
        self.groups = []
        self.disk = self.files("*")
        self.wal = self.files("*/wal.*")
        self.snapshot = self.files("*/snapshot.db*")
        for call in CALLS:
            setattr(self, call, getattr(self.disk, call))
        # A sanitizer's library wants to be the first one; it need not be, as ours calls it.
        asan = os.environ.get("ASAN_OPTIONS", "")
        self.env = {
            "LD_PRELOAD": str(library()),
            "ECHOD_FAULT_ROOT": os.path.realpath(self.root),
            "ECHOD_FAULT_CONTROL": str(switches),
            "ECHOD_FAULT_TRACE": str(self.trace_file),
            "ASAN_OPTIONS": ":".join(filter(None, [asan, "verify_asan_link_order=0"])),
        }

    def files(self, pattern):
        """Rules for some more files; * in the pattern includes the slash, and the disk itself is ""."""
        self.groups.append(Files(self.memory, len(self.groups), pattern))
        return self.groups[-1]

    def records(self):
        return list(read_trace(self.trace_file))

    def close(self):
        for files in self.groups:
            for rule in files.rules():
                rule.hold = 0
        self.memory.close()


# --- the trace -----------------------------------------------------------------------------------


HEADER = struct.Struct("=IIQQQQQ")


class Record:
    """See struct record in fault.c; data and name as they are there."""

    __slots__ = ("kind", "name", "data", "number", "time", "value", "length")

    def __init__(self, kind, name, data, number, time, value, length):
        self.kind, self.name, self.data = kind, name, data
        self.number, self.time, self.value, self.length = number, time, value, length

    def __repr__(self):
        return f"<{self.number} {self.kind} {self.name!r} {self.value} ({self.length} bytes)>"


def read_trace(path):
    """Its records in order; the last one may have been cut off with its daemon."""
    data, at = path.read_bytes(), 0
    while at + HEADER.size <= len(data):
        kind, name_length, data_length, number, time, value, length = HEADER.unpack_from(data, at)
        name_at = at + HEADER.size
        data_at = name_at + name_length
        at = data_at + data_length
        if at <= len(data):
            name = data[name_at:data_at].decode("utf-8", "backslashreplace")
            yield Record(chr(kind), name, data[data_at:at], number, time / 1e9, value, length)
