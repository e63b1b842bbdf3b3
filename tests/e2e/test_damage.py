"""kv with a store that is not as it was left: it is refused with a reason, or it holds what it should; it
never kills the daemon, and never makes it say something that was not stored."""

import errno
import os
import random
import re
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

import harness
from faults import HALF, Faults
from stored import (checkpoint, copy, fill_segment, read_frames, segment_path, segments, wait_mark)

OK, MISSING = b"OK", b"NOT_FOUND"
KV = "unix://$DIR/kv"
NEEDS_HELP = "restore a backup"
LOCK = "echod.lock"


def kv(store):
    return {"kv": {"listen": KV, "storage": str(store)}}


def ask_all(server, requests):
    with server.kv() as client:
        requests = list(requests)
        client.send(b"".join(request + b"\n" for request in requests))
        return [line[:-1] for line in client.lines(len(requests))]


def seal(store, begin=""):
    """
    What any change of the files with such names would change: they get a time of long ago. Without the lock, which
    belongs to whoever tries. To read them twice would take longer than all else.
    """
    for file in store.iterdir():
        os.utime(file, (1, 1))
    return sealed(store, begin)


def sealed(store, begin=""):
    return {file.name: (stat.st_ino, stat.st_size, stat.st_mtime) for file in store.iterdir()
            if file.name != LOCK and file.name.startswith(begin)
            for stat in [file.stat()]}  # fmt: skip


class Stored:
    """A store that was left in some state, and what it holds."""

    def __init__(self, path, data):
        self.path, self.data = path, data
        self.unchanged = ""  # when it is refused: the files whose names begin so

    def expect(self, server):
        answers = ask_all(server, [b"GET " + key for key in self.data])
        wrong = [key for key, answer in zip(self.data, answers) if answer != self.data[key]]
        assert not wrong, f"{len(wrong)} keys are wrong, such as {wrong[0]}"

    def copied(self, path, without=()):
        """A copy, in the place of one that may have been there."""
        shutil.rmtree(path, ignore_errors=True)
        return copy(self.path, path, without)

    def damaged(self, path, name, content):
        """A copy with another content of one file; None = without that file."""
        self.copied(path)
        if content is None:
            (path / name).unlink()
        else:
            (path / name).write_bytes(content)
        return path

    def is_refused(self, fleet, path, pattern=NEEDS_HELP):
        """Whether it is, with a message and no change; else it has all its values, twice."""
        before = seal(path, self.unchanged)
        server = fleet.launch(kv(path))
        server.log.wait(r"info echod: ready|error echod: |^echod: ")
        if server.log.matches("info echod: ready"):
            self.expect(server)
            is_set = self.change(server, b"SET new 1", OK)
            server.kill()
            server = fleet.start(kv(path))
            self.expect(server)
            assert not is_set or ask_all(server, [b"GET new"]) == [b"1"]
            self.change(server, b"DEL new", b"DELETED" if is_set else b"NOT_FOUND")
            server.stop()
            return False
        server.wait_stopped_with(1, f"storage {path}: ")
        assert server.errors.matches(pattern), f"the message does not say {pattern!r}"
        changed = sealed(path, self.unchanged)
        names = [name for name in before | changed if before.get(name) != changed.get(name)]
        assert not names, f"what was refused has been changed: {names}"
        return True

    def change(self, server, request, reply):
        """Whether it is made. What holds no keys is verified before the first write to it: the store may be read-only."""
        made = ask_all(server, [request]) == [reply]
        if not made:
            server.log.wait(r" error kv: .* is damaged: ")
        return made

    def expect_refusal(self, fleet, path, pattern=NEEDS_HELP):
        assert self.is_refused(fleet, path, pattern), "it is not refused"


def set_some(server, data, randomness, keys):
    changes = {b"key%d" % number: randomness.randbytes(randomness.choice([8, 60, 400])).hex().encode()
               for number in keys}  # fmt: skip
    assert set(ask_all(server, [b"SET %s %s" % item for item in changes.items()])) == {OK}
    data.update(changes)


def delete_some(server, data, keys):
    assert set(ask_all(server, [b"DEL " + key for key in keys])) == {b"DELETED"}
    data.update(dict.fromkeys(keys, MISSING))


@pytest.fixture(scope="session")
def originals():
    """Makes stores that all tests copy: by its function, each once in a run."""
    made = {}
    with tempfile.TemporaryDirectory(prefix="echod-") as directory:

        def original(make):
            if make not in made:
                place = Path(directory) / make.__name__
                place.mkdir()
                fleet, faults = harness.Fleet(place), Faults(place)
                try:
                    made[make] = make(fleet, faults)
                finally:
                    fleet.finish()
                    faults.close()
            return made[make]

        yield original


@pytest.fixture
def copy_of(originals):
    """A store of the test's own, without the spare segment, of which nothing is read."""

    def copy_of(make, path):
        original = originals(make)
        store = Stored(original.copied(path, {"wal.spare"}), dict(original.data))
        store.unchanged = original.unchanged
        return store

    return copy_of


def make_stored(fleet, faults):
    data, randomness, path = {}, random.Random(3), faults.root / "store"
    server = fleet.start(kv(path))
    set_some(server, data, randomness, range(300))
    delete_some(server, data, [b"key%d" % number for number in range(0, 100, 7)])
    data[b"filler"] = checkpoint(server, path)
    for number in range(5):
        set_some(server, data, randomness, range(number * 20, number * 20 + 30))
    delete_some(server, data, [b"key%d" % number for number in range(200, 290, 7)])
    set_some(server, data, randomness, range(290, 320))
    wait_mark(path)
    server.kill()
    return Stored(path, data)


@pytest.fixture
def stored(copy_of, workdir):
    """Killed; with a snapshot that has long values and deletions, and changes of it in the WAL."""
    return copy_of(make_stored, workdir / "store")


@pytest.fixture
def at_rest(fleet, stored):
    """Stopped: the snapshot has it all."""
    fleet.start(kv(stored.path)).stop()
    return stored


def make_unmoved(fleet, faults):
    data, path = {}, faults.root / "store"
    server = fleet.start(kv(path), env=faults.env)
    with faults.snapshot.write.held():
        for number in range(3):
            set_some(server, data, random.Random(number), range(number * 10, number * 10 + 20))
            data[b"filler"] = fill_segment(server, path)
        wait_mark(path)
        server.kill()
    assert len(segments(path)) == 4
    return Stored(path, data)


@pytest.fixture
def unmoved(copy_of, faults):
    """Killed; with some segments that are not in the snapshot yet."""
    return copy_of(make_unmoved, faults.root / "store")


def test_another_echod_is_refused_while_one_has_the_store(fleet, stored):
    server = fleet.start(kv(stored.path))
    other = fleet.launch({"kv": {"listen": "unix://$DIR/other", "storage": str(stored.path)}})
    other.wait_stopped_with((1, 69), f"storage {stored.path} is in use by another echod")
    assert other.errors.matches(rf"{other.config}:1: services\.kv: .* process {server.pid}\b")
    stored.expect(server)


def test_two_instances_cannot_share_a_store(fleet, stored):
    two = {name: {"type": "kv", "listen": f"unix://$DIR/{name}", "storage": str(stored.path)}
           for name in ("one", "two")}  # fmt: skip
    fleet.launch(two).wait_stopped_with((1, 69, 78), str(stored.path))


def test_a_store_is_free_again_after_a_kill(fleet, stored):
    for _ in range(5):
        fleet.start(kv(stored.path)).kill()
    stored.expect(fleet.start(kv(stored.path)))


# --- a check without a daemon ---


def run_check(path):
    """Whether it finds the store good, and what it says; it changes nothing."""
    before = seal(path)
    done = harness.run_echod("--check-store", path)
    assert done.returncode in (0, 1) and sealed(path) == before
    return done.returncode == 0, done.stdout + done.stderr


def test_a_check_of_a_good_store_counts_its_keys(stored):
    is_good, text = run_check(stored.path)
    count = sum(value != MISSING for value in stored.data.values())
    assert is_good and re.search(rf"\b{count} keys\b", text), text


def test_a_check_of_segments_that_are_not_in_the_snapshot(unmoved):
    assert run_check(unmoved.path)[0]


def test_a_check_names_what_is_wrong(stored, workdir):
    name = newest(stored.path)
    content = bytearray((stored.path / name).read_bytes())
    content[read_frames(stored.path / name)[0].begin + 30] ^= 1
    for file, damaged in ((name, content), (name, None), ("snapshot.db", None)):
        path = stored.damaged(workdir / "damaged", file, damaged)
        is_good, text = run_check(path)
        assert not is_good and file in text and NEEDS_HELP in text, text


def test_a_check_of_no_store(workdir):
    for path in (workdir / "nothing", workdir):
        assert harness.run_echod("--check-store", path).returncode == 1
    assert not os.listdir(workdir)


def test_a_check_while_a_daemon_runs(fleet, stored):
    server = fleet.start(kv(stored.path))
    assert "in use by another echod" in run_check(stored.path)[1]
    stored.expect(server)


# --- files that are short, gone, garbage, or somebody else's ---


def newest(path):
    return segment_path(path, segments(path)[-1]).name


@pytest.mark.parametrize("length", [0, 1, 100, 512, 4095, 4096, 4097, 0.5, -4096, -1])
@pytest.mark.parametrize("file", ["snapshot.db", "wal"])
def test_a_file_cut_short(fleet, stored, workdir, file, length):
    """Of a segment only zeros may be missing at the end; but it is never shorter than 1 MiB."""
    name = newest(stored.path) if file == "wal" else file
    content = (stored.path / name).read_bytes()
    size = int(length * len(content)) if isinstance(length, float) else length
    path = stored.damaged(workdir / "cut", name, content[:size])
    is_refused = stored.is_refused(fleet, path)
    assert is_refused or (file == "wal" and len(content[:size]) >= 1 << 20)


GARBAGE = {
    "nothing": b"",
    "zeros": bytes(65536),
    "noise": random.Random(1).randbytes(65536),
    "text": b"This is not a database.\n" * 1000,
    "noise-behind-a-good-beginning": None,
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("file", ["snapshot.db", "wal"])
def test_garbage_in_the_place_of_a_file(fleet, stored, workdir, file, content):
    name = newest(stored.path) if file == "wal" else file
    if content is None:
        good = (stored.path / name).read_bytes()
        content = good[:8192] + random.Random(2).randbytes(65536)
    path = stored.damaged(workdir / "garbage", name, content)
    stored.expect_refusal(fleet, path)


def test_garbage_in_files_that_do_not_matter(fleet, stored, workdir):
    """Somebody else's files, and a spare segment, of which nothing is read."""
    path = stored.damaged(workdir / "garbage", "wal.spare", random.Random(1).randbytes(65536))
    (path / "notes").write_text("mine")
    (path / "wal.old").write_text("mine, too")
    assert not stored.is_refused(fleet, path)
    assert (path / "notes").read_text() == "mine" and (path / "wal.old").exists()


def test_each_file_that_is_gone(fleet, stored, workdir):
    for name in sorted(os.listdir(stored.path)):
        path = stored.damaged(workdir / "gone", name, None)
        is_refused = stored.is_refused(fleet, path)
        if name == "snapshot.db" or name == newest(stored.path):
            assert is_refused, f"a store without {name} is taken"
            assert not (path / name).exists()


def test_each_segment_that_is_gone(fleet, unmoved, workdir):
    for number in segments(unmoved.path)[:-1]:
        name = segment_path(unmoved.path, number).name
        path = unmoved.damaged(workdir / "gone", name, None)
        unmoved.expect_refusal(fleet, path)
    assert not unmoved.is_refused(fleet, unmoved.copied(workdir / "whole"))


def test_segments_that_have_changed_places(fleet, unmoved, workdir):
    first, second, *_ = segments(unmoved.path)
    path = unmoved.copied(workdir / "exchanged")
    segment_path(path, first).rename(path / "first")
    segment_path(path, second).rename(segment_path(path, first))
    (path / "first").rename(segment_path(path, second))
    unmoved.expect_refusal(fleet, path)


@pytest.fixture
def other(fleet, workdir):
    """Another store, which has begun in the same way."""
    data, path = {}, workdir / "other"
    server = fleet.start(kv(path))
    set_some(server, data, random.Random(9), range(300))
    data[b"filler"] = checkpoint(server, path)
    set_some(server, data, random.Random(8), range(100))
    wait_mark(path)
    server.kill()
    return Stored(path, data)


def test_files_of_another_store(fleet, stored, other, workdir):
    for name in ("snapshot.db", newest(stored.path)):
        path = stored.damaged(workdir / "mixed", name, (other.path / name).read_bytes())
        stored.expect_refusal(fleet, path)


def test_a_segment_of_another_store_that_comes_in_addition(fleet, stored, other, workdir):
    path = stored.copied(workdir / "mixed")
    number = segments(path)[-1]
    segment_path(path, number + 1).write_bytes(segment_path(other.path, number).read_bytes())
    stored.expect_refusal(fleet, path)


def test_a_snapshot_from_before_the_last_checkpoint(fleet, stored, workdir):
    """A backup of one file alone: the segments between it and the newest are gone."""
    old = (stored.path / "snapshot.db").read_bytes()
    server = fleet.start(kv(stored.path))
    set_some(server, stored.data, random.Random(4), range(50))
    stored.data[b"filler"] = checkpoint(server, stored.path)
    server.stop()
    path = stored.damaged(workdir / "old", "snapshot.db", old)
    stored.expect_refusal(fleet, path)


def test_a_store_of_an_older_echod(fleet, workdir):
    path = workdir / "store"
    path.mkdir()
    (path / "data.mdb").write_bytes(bytes(8192))
    fleet.launch(kv(path)).wait_stopped_with(1, f"storage {path}: ")
    assert fleet.members[-1].errors.matches(r"0\.1\.0|data\.mdb")
    assert [file.name for file in path.iterdir() if file.name != LOCK] == ["data.mdb"]


# --- bits ---


class Places:
    """Bits of all files at random, most of them where there is something. The unit tests take all bits."""

    def __init__(self, store):
        # The lock has the number of a process, and is written anew by each.
        contents = {file.name: file.read_bytes() for file in store.iterdir() if file.name != "echod.lock"}
        self.lengths = {name: len(content) for name, content in contents.items()}
        self.used = {name: len(content.rstrip(b"\0")) for name, content in contents.items()}

    def some(self, randomness, count):
        names = [name for name in self.used if self.used[name]]
        for _ in range(count):
            name = randomness.choice(names)
            size = randomness.choice([self.used[name], self.used[name], self.lengths[name]])
            at = randomness.randrange(randomness.choice([size, min(size, 4096)]))
            yield name, at, randomness.randrange(8)


def flip_bit(path, at, bit):
    """In place; a second time it is as before."""
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))


def flip(fleet, store, randomness, count, directory):
    """So many bits in turn, in a copy; how many were refused."""
    places, refused = Places(store.path), 0
    path = store.copied(directory)
    for name, at, bit in places.some(randomness, count):
        flip_bit(path / name, at, bit)
        try:
            is_refused = store.is_refused(fleet, path)
        except AssertionError as mistake:
            raise AssertionError(f"{name}, byte {at}, bit {bit}: {mistake}") from None
        if is_refused:
            refused += 1
            flip_bit(path / name, at, bit)
        else:
            path = store.copied(directory)
        fleet.members.pop()
    return refused


@pytest.mark.slow
@pytest.mark.parametrize("state", ["stored", "at_rest", "unmoved"])
def test_flipped_bits(fleet, state, request, workdir, randomness, pytestconfig):
    """What comes up has all values, and has them after a change, a kill and another start, too."""
    store = request.getfixturevalue(state)
    assert flip(fleet, store, randomness, pytestconfig.getoption("--flipped-bits") // 3, workdir / "flipped") > 0


@pytest.fixture
def just_written(fleet, faults):
    """Killed before a mark was written behind its last batch."""
    data, path = {}, faults.root / "store"
    server = fleet.start(kv(path), env=faults.env)
    set_some(server, data, random.Random(1), range(10))
    wait_mark(path)
    with faults.wal.write.held(skip=1):
        assert ask_all(server, [b"SET last 1"]) == [OK]
        server.kill()
    return Stored(path, data)


def test_a_last_batch_that_is_torn_was_never_acknowledged(fleet, just_written, workdir, randomness):
    """A bit of it: it is as if the power had failed before its client was told."""
    path = just_written.path / newest(just_written.path)
    content, last = path.read_bytes(), read_frames(path)[-1]
    assert last.length > 0
    for _ in range(5):
        changed = bytearray(content)
        changed[randomness.randrange(last.begin, last.end)] ^= 1 << randomness.randrange(8)
        path = just_written.damaged(workdir / "torn", newest(just_written.path), changed)
        assert not just_written.is_refused(fleet, path)


def test_a_batch_with_a_mark_behind_it_is_not_torn_but_rotten(fleet, just_written, workdir, faults):
    server = fleet.start(kv(just_written.path), env=faults.env)
    assert ask_all(server, [b"GET last", b"SET last 2"]) == [b"1", OK]
    just_written.data[b"last"] = b"2"
    wait_mark(just_written.path)
    server.kill()
    name = newest(just_written.path)
    content = bytearray((just_written.path / name).read_bytes())
    content[content.rindex(b"last") + 1] ^= 4
    path = just_written.damaged(workdir / "rotten", name, content)
    just_written.expect_refusal(fleet, path)


# --- the journal of the snapshot ---


def make_half_committed(fleet, faults):
    data, path = {}, faults.root / "store"
    server = fleet.start(kv(path), env=faults.env)
    set_some(server, data, random.Random(1), range(200))
    data[b"filler"] = checkpoint(server, path)
    set_some(server, data, random.Random(2), range(100, 300))
    journal = path / "snapshot.db-journal"
    with faults.files("*/snapshot.db").sync.held() as barrier:
        data[b"filler"] = fill_segment(server, path)
        barrier.wait_held()
        server.kill()
    assert journal.stat().st_size > 0
    store = Stored(path, data)
    store.unchanged = "wal."  # SQLite puts the pages back before anybody can look at them
    return store


@pytest.fixture
def half_committed(copy_of, workdir):
    """Killed in the middle of a checkpoint's commit: the journal has the pages as they were."""
    return copy_of(make_half_committed, workdir / "store")


def test_a_journal_that_was_left(fleet, half_committed, workdir):
    assert not half_committed.is_refused(fleet, half_committed.copied(workdir / "left"))


def test_a_journal_that_is_gone_when_it_was_needed(fleet, half_committed, workdir):
    path = half_committed.damaged(workdir / "gone", "snapshot.db-journal", None)
    half_committed.is_refused(fleet, path)


@pytest.mark.slow
def test_flipped_bits_of_a_journal(fleet, half_committed, workdir, randomness, pytestconfig):
    name = "snapshot.db-journal"
    content = (half_committed.path / name).read_bytes()
    path = half_committed.copied(workdir / "flipped")
    for _ in range(pytestconfig.getoption("--flipped-bits") // 5):
        at = randomness.randrange(randomness.choice([len(content), 512]))
        flip_bit(path / name, at, randomness.randrange(8))
        try:
            is_refused = half_committed.is_refused(fleet, path)
        except AssertionError as mistake:
            raise AssertionError(f"{name}, byte {at}: {mistake}") from None
        if is_refused:  # the WAL is unchanged
            for file in ("snapshot.db", name):
                (path / file).write_bytes((half_committed.path / file).read_bytes())
        else:
            path = half_committed.copied(path)


# --- reads that fail ---


@pytest.mark.parametrize("files", ["snapshot", "wal"])
@pytest.mark.parametrize("call", ["open", "read"])
def test_a_disk_that_cannot_be_read_at_the_start(fleet, unmoved, faults, files, call):
    """Whichever of the calls it is; once it works again, all is there."""
    rule = getattr(getattr(faults, files), call)
    before = rule.calls
    fleet.start(kv(unmoved.path), env=faults.env).kill()
    count = rule.calls - before
    assert count > 0
    for skip in sorted({0, 1, 2, count // 2, count - 1}):
        rule.fail(errno.EIO, skip=skip)
        server = fleet.launch(kv(unmoved.path), env=faults.env)
        server.log.wait(r"info echod: ready|error echod: |^echod: ")
        if server.log.matches("info echod: ready"):
            unmoved.expect(server)
            server.kill()
        else:
            server.wait_stopped_with(1, f"storage {unmoved.path}: ")
            assert server.errors.matches(os.strerror(errno.EIO))
        rule.clear()
    unmoved.expect(fleet.start(kv(unmoved.path), env=faults.env))


def test_reads_that_come_in_pieces(fleet, unmoved, faults):
    faults.wal.read.fail(errno.EIO, done=HALF, limit=1)
    unmoved.expect(fleet.start(kv(unmoved.path), env=faults.env))


# --- foreign stores and places ---


def test_a_database_of_somebody_else(fleet, workdir):
    path = workdir / "foreign"
    path.mkdir()
    with closing(sqlite3.connect(path / "snapshot.db")) as database:
        database.execute("CREATE TABLE kv(key BLOB PRIMARY KEY, item BLOB) WITHOUT ROWID")
    before = seal(path)
    fleet.launch(kv(path)).wait_stopped_with(1, f"storage {path}: ")
    assert sealed(path) == before


def change(database, *statements):
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


HAND_MADE = {
    "a-row-is-gone": "DELETE FROM kv WHERE key = (SELECT max(key) FROM kv)",
    "a-row-is-another-one's": "UPDATE kv SET item = (SELECT item FROM kv WHERE key = x'66696c6c6572')"
                              " WHERE key = (SELECT max(key) FROM kv)",
    "a-row-is-shorter": "UPDATE kv SET item = substr(item, 1, length(item) - 1)"
                        " WHERE key = (SELECT max(key) FROM kv)",
    "a-row-is-empty": "UPDATE kv SET item = x'' WHERE key = (SELECT max(key) FROM kv)",
    "a-row-is-text": "UPDATE kv SET item = 'text' WHERE key = (SELECT max(key) FROM kv)",
    "a-row-more": "INSERT INTO kv VALUES (x'01', x'00')",
    "no-meta": "DELETE FROM meta",
    "no-table": "DROP TABLE kv",
}  # fmt: skip


@pytest.mark.parametrize("statement", HAND_MADE.values(), ids=HAND_MADE.keys())
def test_a_snapshot_that_was_edited_by_hand(fleet, stored, workdir, statement):
    path = stored.copied(workdir / "edited")
    change(path / "snapshot.db", statement)
    stored.expect_refusal(fleet, path)


def test_a_snapshot_that_was_vacuumed(fleet, stored, workdir):
    path = stored.copied(workdir / "vacuumed")
    change(path / "snapshot.db", "VACUUM")
    assert not stored.is_refused(fleet, path)


@pytest.mark.parametrize("path", ["/nonexistent/store", "/dev/null", "/proc/store"])
def test_a_place_where_no_store_can_be(fleet, path):
    fleet.launch(kv(path)).wait_stopped_with(1, path)


def test_a_relative_path_is_a_mistake_in_the_config(fleet):
    fleet.launch(kv("store")).wait_stopped_with(78, "absolute")


def test_a_new_store_does_not_overwrite_what_is_in_its_directory(fleet, workdir):
    path = workdir / "store"
    path.mkdir()
    (path / "notes").write_text("mine")
    assert ask_all(fleet.start(kv(path)), [b"SET a 1"]) == [OK]
    assert (path / "notes").read_text() == "mine"


def test_a_refused_store_on_reload_leaves_all_as_it_was(fleet, stored, workdir):
    path = stored.damaged(workdir / "damaged", "snapshot.db", os.urandom(65536))
    server = fleet.start({"one": {"type": "kv", "listen": KV}})
    with server.kv("one") as client:
        assert client.ask(b"SET a 1") == OK
        two = {"type": "kv", "listen": "unix://$DIR/two", "storage": str(path)}
        assert not server.reload({"one": {"type": "kv", "listen": KV}, "two": two})
        assert server.log.matches(f"storage {path}: ")
        assert client.ask(b"GET a") == b"1"
