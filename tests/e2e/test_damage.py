"""kv with a store that is not as it was left: it is refused with a reason, or it holds what it should; it
never kills the daemon, and never makes it say something that was not stored."""

import errno
import os
import random
import shutil
import subprocess
import time

import pytest

import harness

OK, MISSING = b"OK", b"NOT_FOUND"
KV = "unix://$DIR/kv"
NEEDS_HELP = "restore a backup, or move the directory away"

needs_tools = pytest.mark.skipif(
    not harness.program("mdb_load"), reason="no LMDB tools (lmdb-utils)"
)


def kv(store):
    return {"kv": {"listen": KV, "storage": str(store)}}


def ask_all(server, requests):
    with server.kv() as client:
        client.send(b"".join(request + b"\n" for request in requests))
        return [line[:-1] for line in client.lines(len(requests))]


class Stored:
    """A store with pages of all kinds: folded and in the log, long values, free pages."""

    def __init__(self, path, data):
        self.path, self.data = path, data
        self.content = (path / "data.mdb").read_bytes()

    def expect(self, server):
        answers = ask_all(server, [b"GET " + key for key in self.data])
        assert answers == list(self.data.values())

    def damaged(self, path, content):
        """A copy with another data.mdb."""
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self.path, path)
        (path / "data.mdb").write_bytes(content)
        return path


def set_some(server, data, randomness, keys):
    changes = {b"key%d" % number: randomness.randbytes(randomness.choice([8, 60, 400])).hex().encode()
               for number in keys}  # fmt: skip
    assert set(ask_all(server, [b"SET %s %s" % item for item in changes.items()])) == {OK}
    data.update(changes)


def is_quiet(path):
    """Whether nothing has been written for a while."""
    return time.time() - (path / "data.mdb").stat().st_mtime > 0.5


@pytest.fixture
def stored(echod, workdir):
    data, randomness, path = {}, random.Random(3), workdir / "store"
    server = echod(kv(path))
    for _ in range(3):
        set_some(server, data, randomness, range(300))
        harness.wait_until(lambda: is_quiet(path), "the log is folded")
    gone = [key for number, key in enumerate(data) if number % 7 == 0]
    assert set(ask_all(server, [b"DEL " + key for key in gone])) == {b"DELETED"}
    data.update(dict.fromkeys(gone, MISSING))
    set_some(server, data, randomness, range(280, 320))
    big = randomness.randbytes(20_000).hex().encode()
    assert ask_all(server, [b"SET big " + big]) == [OK]
    data[b"big"] = big
    server.stop()
    return Stored(path, data)


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
    fleet.start(kv(stored.path)).kill()
    stored.expect(fleet.start(kv(stored.path)))


@pytest.mark.parametrize("length", [0, 1, 100, 4095, 4096, 4097, 8192, 12288, 0.3, 0.7, -4096, -1])
def test_a_file_cut_short(fleet, stored, workdir, length):
    content = stored.content
    size = int(length * len(content)) if isinstance(length, float) else length
    path = stored.damaged(workdir / "cut", content[:size])
    before = (path / "data.mdb").read_bytes()
    fleet.launch(kv(path)).wait_stopped_with(1, f"storage {path}: ")
    assert fleet.members[-1].errors.matches(NEEDS_HELP)
    assert (path / "data.mdb").read_bytes() == before


GARBAGE = {
    "zeros": bytes(65536),
    "noise": random.Random(1).randbytes(65536),
    "text": b"This is not a database.\n" * 1000,
    "noise-behind-a-good-beginning": None,
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_in_the_place_of_the_file(fleet, stored, workdir, content):
    if content is None:
        content = stored.content[:8192] + random.Random(2).randbytes(len(stored.content) - 8192)
    path = stored.damaged(workdir / "garbage", content)
    fleet.launch(kv(path)).wait_stopped_with(1, f"storage {path}: ")
    assert fleet.members[-1].errors.matches(NEEDS_HELP)


def test_a_file_that_is_gone(fleet, stored):
    (stored.path / "data.mdb").unlink()
    fleet.launch(kv(stored.path)).wait_stopped_with(1, f"storage {stored.path}: ")
    assert not (stored.path / "data.mdb").exists()


def places(content, randomness, count):
    """Where to damage it: anywhere, and where LMDB keeps what it relies on.

    But not in the numbers of the newest two commits: of two that fit, nobody could tell which is wrong.
    """
    pages = len(content) // 4096
    headers = [page * 4096 + byte for page in range(pages) for byte in range(40)]
    metas = [page * 4096 + byte for page in range(2) for byte in range(160)]
    numbers = [144, 4096 + 144]
    for _ in range(count):
        at = randomness.choice(randomness.choice([range(len(content)), headers, metas]))
        if at in numbers:
            continue
        yield at, randomness.choice([1, 2, 16, 128, 255])


@pytest.mark.slow
def test_flipped_bits(fleet, stored, workdir, randomness, pytestconfig):
    """One byte is wrong. What comes up has all values, and has them after more changes and a restart, too."""
    refused, count = 0, pytestconfig.getoption("--flipped-bits")
    for at, bits in places(stored.content, randomness, count):
        content = bytearray(stored.content)
        content[at] ^= bits
        path = stored.damaged(workdir / "flipped", content)
        server = fleet.launch(kv(path))
        server.log.wait(r"info echod: ready|error|^echod: ")
        try:
            if server.log.matches("info echod: ready"):
                stored.expect(server)
                data = dict(stored.data)
                set_some(server, data, randomness, range(0, 300, 3))
                server.stop()
                server = fleet.start(kv(path))
                Stored(path, data).expect(server)
                server.stop()
            else:
                server.wait_stopped_with(1, f"storage {path}: ")
                refused += 1
        except AssertionError as mistake:
            raise AssertionError(f"byte {at} (page {at // 4096} + {at % 4096}) ^ {bits}: "
                                 f"{mistake}") from None  # fmt: skip
    assert refused > count / 10


# --- the spool ---


class Spooled:
    """A store whose daemon was killed before the journal had what is in the spool: a batch for each key."""

    def __init__(self, path, keys, ends):
        self.path, self.keys, self.ends = path, keys, ends
        self.content = (path / "spool.0").read_bytes()

    def damaged(self, path, content):
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self.path, path)
        if content is None:
            (path / "spool.0").unlink()
        else:
            (path / "spool.0").write_bytes(content)
        return path

    def is_found(self, server):
        """Of each key, whether it is there."""
        answers = ask_all(server, [b"GET " + key for key in self.keys])
        assert all(answer in (key, MISSING) for key, answer in zip(self.keys, answers))
        return [answer != MISSING for answer in answers]


@pytest.fixture
def spooled(echod, faults):
    path, keys, ends = faults.root / "store", [b"key%d" % number for number in range(8)], []
    server = echod(kv(path), env=faults.env)
    with faults.dsync.held():
        for key in keys:
            assert ask_all(server, [b"SET %s %s" % (key, key)]) == [OK]
            ends.append(len((path / "spool.0").read_bytes().rstrip(b"\0")))
        server.kill()
    return Spooled(path, keys, ends)


def test_what_is_spooled_is_there_after_a_kill(fleet, spooled):
    for _ in range(2):
        server = fleet.start(kv(spooled.path))
        assert all(spooled.is_found(server))
        server.kill()


@pytest.mark.parametrize("length", [None, 0, 1, 32, 1000, 4096, 100_000])
def test_a_spool_cut_short(fleet, spooled, workdir, length):
    content = None if length is None else spooled.content[:length]
    path = spooled.damaged(workdir / "cut", content)
    fleet.launch(kv(path)).wait_stopped_with(1, f"storage {path}: it is damaged: its spool.0")
    assert fleet.members[-1].errors.matches(NEEDS_HELP)


def test_bits_of_a_spool_that_flip(fleet, spooled, workdir, randomness):
    """In the last batch it is as if the power had failed before its client was told."""
    for number in [*range(len(spooled.ends)), len(spooled.ends) - 1]:
        begin = 0 if number == 0 else spooled.ends[number - 1]
        content = bytearray(spooled.content)
        content[randomness.randrange(begin, spooled.ends[number])] ^= 1 << randomness.randrange(8)
        path = spooled.damaged(workdir / "flipped", content)
        server = fleet.launch(kv(path))
        if number < len(spooled.ends) - 1:
            server.wait_stopped_with(1, f"storage {path}: it is damaged: its spool.0")
        else:
            server.wait_ready()
            assert spooled.is_found(server) == [True] * number + [False]
            server.stop()


def test_the_spool_of_another_store(fleet, spooled, workdir):
    """Its key is not known here: nothing of it is read, as if it was empty."""
    other = workdir / "other"
    fleet.start(kv(other)).stop()
    shutil.copy(spooled.path / "spool.0", other)
    assert not any(spooled.is_found(fleet.start(kv(other))))


def test_a_store_without_its_spool_is_one_that_was_copied(fleet, spooled, workdir):
    """LMDB's tools copy but data.mdb; only where echod has been at work before something is missing."""
    (workdir / "copy").mkdir()
    shutil.copy(spooled.path / "data.mdb", workdir / "copy")
    server = fleet.start(kv(workdir / "copy"))
    assert not any(spooled.is_found(server))
    assert ask_all(server, [b"SET a 1"]) == [OK]
    server.kill()
    assert ask_all(fleet.start(kv(workdir / "copy")), [b"GET a"]) == [b"1"]


def test_the_first_start_on_a_copy_may_be_cut_short(fleet, stored, faults):
    """It has made a spool, or half of one, that nobody knows yet."""
    copy = faults.root / "copy"
    copy.mkdir()
    shutil.copy(stored.path / "data.mdb", copy)
    faults.write.fail(errno.ENOSPC, skip=3)  # the lock, and two of data.mdb
    fleet.launch(kv(copy), env=faults.env).wait_stopped_with(1, f"storage {copy}")
    faults.write.clear()
    assert (copy / "spool.0").stat().st_size == 0 and (copy / "echod.lock").stat().st_size > 0
    stored.expect(fleet.start(kv(copy)))


# --- foreign stores and places ---


@needs_tools
def test_an_lmdb_of_somebody_else(fleet, workdir):
    path = workdir / "foreign"
    path.mkdir()
    subprocess.run(["mdb_load", "-T", path], input=b"somebody\nelse\n", check=True)
    before = (path / "data.mdb").read_bytes()
    fleet.launch(kv(path)).wait_stopped_with(1, f"storage {path}: it is no store of echod")
    assert (path / "data.mdb").read_bytes() == before


@needs_tools
def test_the_format_without_a_spool_is_read(fleet, stored, workdir):
    before = workdir / "before"
    before.mkdir()
    for table in ("data", "log"):
        dump = subprocess.run(["mdb_dump", "-s", table, stored.path], capture_output=True,
                              check=True).stdout  # fmt: skip
        subprocess.run(["mdb_load", "-s", table, before], input=dump, check=True)
    subprocess.run(["mdb_load", "-T", "-s", "meta", before],
                   input=b"format\nechod-kv 1\n", check=True)  # fmt: skip
    server = fleet.start(kv(before))
    stored.expect(server)
    server.stop()
    dump = subprocess.run(["mdb_dump", "-p", "-s", "meta", before], capture_output=True,
                          check=True).stdout  # fmt: skip
    assert b"echod-kv 2" in dump


@needs_tools
def test_another_format_is_refused_by_name(fleet, stored):
    subprocess.run(["mdb_load", "-T", "-s", "meta", stored.path],
                   input=b"format\nechod-kv 9\n", check=True)  # fmt: skip
    fleet.launch(kv(stored.path)).wait_stopped_with(1, f"storage {stored.path}: ")
    assert fleet.members[-1].errors.matches('its format is "echod-kv 9"')


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
    path = stored.damaged(workdir / "damaged", os.urandom(65536))
    server = fleet.start({"one": {"type": "kv", "listen": KV}})
    with server.kv("one") as client:
        assert client.ask(b"SET a 1") == OK
        two = {"type": "kv", "listen": "unix://$DIR/two", "storage": str(path)}
        assert not server.reload({"one": {"type": "kv", "listen": KV}, "two": two})
        assert server.log.matches(f"storage {path}: ")
        assert client.ask(b"GET a") == b"1"
