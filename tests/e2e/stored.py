"""The directory of a store as an administrator sees it, and what makes it move on.

A full segment of the WAL is moved to the snapshot: a test that needs a checkpoint fills one.
"""

import re
import sqlite3
import struct
import time
from collections import namedtuple
from contextlib import closing

import harness

SEGMENT = re.compile(r"wal\.(\d+)")
SEGMENT_SIZE = 16 << 20
LONG = b"v" * 60_000
SEGMENT_HEADER = struct.Struct("<8sII16sQQQQ")
FRAME_HEADER = struct.Struct("<QQII")
Frame = namedtuple("Frame", "begin end sequence length flags")


def segments(store):
    """The numbers of the segments that are there."""
    matches = (SEGMENT.fullmatch(file.name) for file in store.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def segment_path(store, number):
    return store / f"wal.{number:08}"


def read_frames(path):
    """What src/kv/wal.c says of a segment, without the checksums."""
    content = path.read_bytes()
    sequence = SEGMENT_HEADER.unpack_from(content)[6]
    at, found = SEGMENT_HEADER.size, []
    while at + FRAME_HEADER.size <= len(content):
        _, number, length, flags = FRAME_HEADER.unpack_from(content, at)
        if number != sequence:
            break
        end = at + FRAME_HEADER.size + length
        found.append(Frame(at, end, number, length, flags))
        at, sequence = (end + 7) // 8 * 8, sequence + 1
    return found


def wait_mark(store):
    """Until the last frame is a mark: from now on damage of the others can be told from a torn write."""

    def is_marked():
        found = read_frames(segment_path(store, segments(store)[-1]))
        return not found or found[-1].length == 0

    harness.wait_until(is_marked, "a mark behind the last frame")


def fill_segment(server, store, name="kv", key=b"filler", count=1):
    """Overwrites one key until so many more segments have been begun; its value then."""
    end, number = segments(store)[-1] + count, 0
    with server.kv(name) as client:
        while segments(store)[-1] < end:
            assert number < 2 * (count + 1) * SEGMENT_SIZE // len(LONG), "the segment is never full"
            values = [b"%d%s" % (number + more, LONG) for more in range(10)]
            requests = b"".join(b"SET %s %s\n" % (key, value) for value in values)
            assert client.exchange(requests, 30) == b"OK\n" * 10
            number += 10
    return values[-1]


def wait_checkpoint(store):
    """Until the snapshot has all but the segment that is being written."""
    harness.wait_until(lambda: len(segments(store)) == 1, "a checkpoint")


def checkpoint(server, store, name="kv"):
    """Has all that is stored so far in the snapshot."""
    value = fill_segment(server, store, name)
    wait_checkpoint(store)
    return value


def wait_quiet(faults):
    """Until nothing has been written for a while: no commit, no mark behind it, no checkpoint."""

    def is_quiet():
        before = faults.write.calls, faults.sync.calls
        time.sleep(0.4)
        return before == (faults.write.calls, faults.sync.calls)

    harness.wait_until(is_quiet, "nothing is written")


def frames(faults):
    """The writes of batches so far, since the trace is on; an empty frame is none."""
    return [record for record in faults.records() if record.kind == "W" and record.data
            and SEGMENT.search(record.name) and record.length > FRAME_HEADER.size]  # fmt: skip


def snapshot_keys(store):
    with closing(sqlite3.connect(store / "snapshot.db", timeout=harness.DEADLINE)) as database:
        return {key for key, in database.execute("SELECT key FROM kv")}


def size_of(store):
    """Bytes that the files take on the disk."""
    size = 0
    for file in store.iterdir():
        try:
            size += file.stat().st_blocks * 512
        except FileNotFoundError:
            pass  # renamed meanwhile
    return size


def copy(store, to, without=()):
    """A copy in which zeros take no space."""
    to.mkdir()
    for file in store.iterdir():
        if file.is_file() and file.name not in without:
            content = file.read_bytes()
            with open(to / file.name, "wb") as target:
                target.write(content.rstrip(b"\0"))
                target.truncate(len(content))
    return to
