"""kv with storage: what it promises while the disk is slow, and how it begins and ends."""

import errno
import os
import re
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from statistics import median

import pytest

import harness
from crowd import Crowd, Mix, read_all, survived
from stored import (LONG, checkpoint, fill_segment, frames, segments, size_of, snapshot_keys,
                    wait_checkpoint, wait_quiet)

OK, MISSING = b"OK", b"NOT_FOUND"
KV, ECHO = "unix://$DIR/kv", "unix://$DIR/echo"
STORE = "$DIR/disk/store"


@pytest.fixture
def start(echod, faults):
    """Starts a daemon whose store is on the disk that can be held."""

    def start(wrapper=(), **settings):
        kv = {"listen": KV, "storage": STORE, **settings}
        services = {"kv": kv, "echo": {"listen": ECHO}}
        return echod(services, env=faults.env, wrapper=wrapper)

    return start


def ask_all(server, *requests):
    with server.kv() as client:
        return [client.ask(request) for request in requests]


# --- nothing is told before it is safe ---


@pytest.mark.parametrize("call", ["sync", "write"])
def test_an_answer_waits_for_the_disk_and_nobody_else_does(start, faults, call):
    server = start()
    assert ask_all(server, b"SET safe 1", b"SET gone 1") == [OK, OK]
    with server.kv() as writer, server.kv() as reader, server.connect("echo") as echo:
        with getattr(faults.wal, call).held() as barrier:
            writer.send(b"SET a 1\nDEL gone\n")
            barrier.wait_held()
            reader.send(b"GET safe\n")
            assert reader.line() == b"1\n"
            for _ in range(100):
                assert echo.exchange(b"hello", 5) == b"hello"
            assert not writer.readable()
        assert writer.lines(2) == [b"OK\n", b"DELETED\n"]


@pytest.mark.parametrize("before, change, after", [
    (b"DEL a", b"SET a new", b"new"), (b"SET a old", b"SET a new", b"new"),
    (b"SET a old", b"DEL a", MISSING),
], ids=["new", "replaced", "deleted"])  # fmt: skip
def test_what_is_not_safe_is_not_shown(start, faults, before, change, after):
    """Neither the new value nor the missing key, and the old one is not true any more."""
    server = start()
    ask_all(server, before)
    with server.kv() as writer, server.kv() as reader, server.connect("echo") as echo:
        with faults.sync.held() as barrier:
            writer.send(change + b"\n")
            barrier.wait_held()
            reader.send(b"GET a\n")
            for _ in range(10):
                assert echo.exchange(b"hello", 5) == b"hello"
            assert not reader.readable()
        assert reader.line() == after + b"\n"


def test_a_missing_key_whose_deletion_is_not_safe_cannot_be_deleted_at_once(start, faults):
    server = start()
    ask_all(server, b"SET a 1")
    with server.kv() as first, server.kv() as second, server.connect("echo") as echo:
        with faults.sync.held() as barrier:
            first.send(b"DEL a\n")
            barrier.wait_held()
            second.send(b"DEL a\n")
            assert echo.exchange(b"hello", 5) == b"hello"
            assert not second.readable()
        assert (first.line(), second.line()) == (b"DELETED\n", b"NOT_FOUND\n")


def test_answers_of_one_client_leave_in_order(start, faults):
    server = start()
    ask_all(server, b"SET safe 1")
    with server.kv() as client, server.connect("echo") as echo:
        with faults.sync.held() as barrier:
            client.send(b"SET a 1\nGET safe\n")
            barrier.wait_held()
            client.send(b"GET safe\nSET b 2\nFOO\n")
            assert echo.exchange(b"hello", 5) == b"hello"
            assert not client.readable()
            client.send(b"GET b\nQUIT\n")
        assert client.rest() == b"OK\n1\n1\nOK\nERROR: unknown command\n2\nBYE\n"


def test_clients_that_leave_while_their_answers_wait(start, faults):
    server = start()
    with server.kv() as half, server.kv() as gone, server.kv() as reset:
        with faults.sync.held() as barrier:
            for number, client in enumerate([half, gone, reset]):
                client.send(b"SET key%d 1\n" % number)
            barrier.wait_held()
            half.half_close()
            gone.close()
            reset.reset()
        assert half.rest() == b"OK\n"
    assert ask_all(server, b"GET key0", b"GET key1", b"GET key2") == [b"1", b"1", b"1"]


def test_one_commit_answers_more_clients_than_are_written_at_once(start, faults):
    """Some leave while they wait, and the others get all of their answers."""
    server = start(max_connections=400)
    clients = [server.kv() for _ in range(300)]
    with server.connect("echo") as echo:
        with faults.sync.held() as barrier:
            for number, client in enumerate(clients):
                client.send(b"SET key%d %d\nGET key%d\n" % (number, number, number))
            barrier.wait_held()
            assert echo.exchange(b"hello", 5) == b"hello"
            for client in clients[::7]:
                client.reset()
        for number, client in enumerate(clients):
            if number % 7 != 0:
                assert client.lines(2) == [b"OK\n", b"%d\n" % number]
                client.close()


def test_a_client_whose_answer_waits_is_not_idle_and_is_afterwards(start, faults):
    server = start(idle_timeout="300ms")
    with server.kv() as client, faults.sync.held() as barrier:
        client.send(b"SET a 1\n")
        barrier.wait_held()
        for _ in range(2):
            with server.kv() as idle:
                assert idle.rest() == b""
        assert not client.readable()
        barrier.hold = 0
        assert client.line() == b"OK\n"
        assert client.rest() == b""
    server.wait_closed("idle", count=3)


def test_others_are_answered_within_milliseconds_beside_a_slow_disk(start, faults):
    server = start()
    ask_all(server, b"SET safe 1")
    faults.sync.delay_ms = 300
    times = []
    with server.kv() as writer, server.kv() as reader, server.connect("echo") as echo:
        for number in range(3):
            writer.send(b"SET a %d\n" % number)
            while not writer.readable():
                began = time.monotonic()
                assert echo.exchange(b"hello", 5) == b"hello"
                assert reader.ask(b"GET safe") == b"1"
                times.append(time.monotonic() - began)
            assert writer.line() == b"OK\n"
    assert len(times) > 100 and median(times) < 0.03


# --- batches ---


def commits(faults):
    """The batches that have been written so far, and each has been synced once; the trace is on."""
    wal = [record for record in faults.records() if record.kind in "WE" and (
        record.kind == "E" or (record.data and "wal." in record.name))]  # fmt: skip
    kinds = "".join(record.kind for record in wal)
    assert "WW" not in kinds, "a batch that is written in pieces, or without a sync"
    return len(frames(faults))


def test_a_pipeline_is_one_commit(start, faults):
    server = start()
    faults.trace = 1
    with server.kv() as client:
        client.send(b"SET a 1\nGET a\nSET b 2\nDEL a\nGET a\nGET b\nSET a 3\nGET a\nDEL c\n")
        answers = b"".join(client.lines(9))
        assert answers == b"OK\n1\nOK\nDELETED\nNOT_FOUND\n2\nOK\n3\nNOT_FOUND\n"
        assert commits(faults) == 1
        client.send(b"".join(b"SET key%d %d\n" % (n, n) for n in range(1000)))
        assert client.lines(1000) == [b"OK\n"] * 1000
        assert commits(faults) <= 3


def test_all_that_waits_for_a_commit_shares_the_next_one(start, faults):
    server = start()
    faults.trace = 1
    clients = [server.kv() for _ in range(30)]
    with faults.wal.sync.held() as barrier, server.connect("echo") as echo:
        clients[0].send(b"SET key0 1\n")
        barrier.wait_held()
        for number, client in enumerate(clients[1:]):
            client.send(b"SET key%d 1\n" % number)
        assert echo.exchange(b"hello", 5) == b"hello"
    for client in clients:
        assert client.line() == b"OK\n"
        client.close()
    assert commits(faults) == 2


def test_requests_that_change_nothing_are_no_commit(start, faults):
    server = start()
    ask_all(server, b"SET a 1")
    wait_quiet(faults)
    before = faults.write.calls
    assert ask_all(server, b"GET a", b"DEL b", b"GET b", b"FOO") == [
        b"1", MISSING, MISSING, b"ERROR: unknown command"]  # fmt: skip
    wait_quiet(faults)
    assert faults.write.calls == before


def test_a_store_at_rest_writes_nothing(start, faults):
    """But one mark behind its last batch, by which a rotten batch can be told from a torn one."""
    server = start()
    ask_all(server, b"SET a 1")
    wait_quiet(faults)
    faults.trace = 1
    ask_all(server, b"SET b 1")
    wait_quiet(faults)
    assert "".join(record.kind for record in faults.records()
                   if record.kind in "WBE") == "WBEWBE"  # fmt: skip


# --- sync = "interval" ---


def test_with_an_interval_answers_come_at_once(start, faults):
    server = start(sync="interval", sync_interval="20ms")
    with server.kv() as client, faults.sync.held() as barrier:
        assert client.ask(b"SET a 1") == OK
        barrier.wait_held()
        assert client.ask(b"GET a") == b"1"
        assert client.ask(b"SET a 2") == OK
        assert client.ask(b"DEL a") == b"DELETED"
        assert client.ask(b"GET a") == MISSING


def test_with_an_interval_nothing_is_synced_before_it_is_over(start, faults):
    server = start(sync="interval", sync_interval="1h")
    wait_quiet(faults)
    before = faults.sync.calls
    assert ask_all(server, b"SET a 1") == [OK]
    wait_quiet(faults)
    assert faults.sync.calls == before
    server.stop()
    assert ask_all(start(), b"GET a") == [b"1"]


def test_with_an_interval_what_is_older_survives_a_kill(start, faults):
    server = start(sync="interval", sync_interval="20ms")
    faults.trace = 1
    assert ask_all(server, b"SET a 1") == [OK]
    harness.wait_until(lambda: frames(faults), "a commit")
    harness.wait_until(lambda: faults.records()[-1].kind == "E", "its end")
    server.kill()
    assert ask_all(start(), b"GET a") == [b"1"]


# --- start, reload, stop ---


def test_what_was_stored_is_there_after_a_restart(start):
    server = start()
    value = os.urandom(20_000).hex().encode()
    plain = bytes(byte for byte in range(256) if byte not in b"\t\n\v\f\r ")
    requests = [b"SET a 1", b"SET b  two  words ", b"SET a 11", b"DEL b", b"SET big " + value,
                b"SET " + plain + b" " + plain]  # fmt: skip
    assert ask_all(server, *requests) == [OK, OK, OK, b"DELETED", OK, OK]
    server.stop()
    found = ask_all(start(), b"GET a", b"GET b", b"GET big", b"GET " + plain)
    assert found == [b"11", MISSING, value, plain]


def test_the_directory_is_made_for_its_owner_alone(start, faults):
    start()
    store = faults.root / "store"
    assert store.stat().st_mode & 0o777 == 0o700
    assert all(file.stat().st_mode & 0o077 == 0 for file in store.iterdir())


def test_its_threads_leave_signals_to_the_loop(start):
    blocked = start().blocked_signals()
    assert len(blocked) >= 2
    assert all(signals >= harness.SIGNALS_OF_THE_LOOP for signals in blocked)


def test_a_stop_commits_what_waits(start, faults):
    server = start()
    with server.kv() as client:
        with faults.sync.held() as barrier:
            client.send(b"SET a 1\n")
            barrier.wait_held()
            client.send(b"SET b 2\n")
            server.send_signal(harness.signal.SIGTERM)
            server.log.wait(r"stopping")
        answers = client.rest()
    server.wait_stopped()
    assert answers in (b"OK\n", b"OK\nOK\n")
    found = ask_all(start(), b"GET a", b"GET b")
    assert found[0] == b"1" and found[1] in (b"2", MISSING)
    assert found[1] == b"2" or answers == b"OK\n"


def test_a_check_of_the_config_touches_no_store(start, faults):
    config = start().config
    assert harness.run_echod("-t", "-c", config).returncode == 0
    text = config.read_text().replace("/disk/store", "/disk/other")
    config.write_text(text)
    assert harness.run_echod("-t", "-c", config).returncode == 0
    assert not (faults.root / "other").exists()


def test_a_reload_keeps_the_store_and_its_clients(start, faults):
    server = start()
    with server.kv() as client:
        client.ask(b"SET a 1")
        with faults.sync.held() as barrier:
            client.send(b"SET b 2\n")
            barrier.wait_held()
            assert server.reload()
        assert client.line() == b"OK\n"
        assert client.ask(b"GET a") == b"1"
        assert client.ask(b"SET c 3") == OK
    server.kill()
    assert ask_all(start(), b"GET a", b"GET b", b"GET c") == [b"1", b"2", b"3"]


@pytest.mark.parametrize("key, value", [("storage", "$DIR/disk/other"), ("sync", "interval")])
def test_a_reload_says_what_needs_a_restart(start, faults, key, value):
    server = start()
    ask_all(server, b"SET a 1")
    server.reload({"kv": {"listen": KV, "storage": STORE, key: value}})
    assert server.log.matches(rf"{key}\b.*restart"), "the log does not name it"
    assert ask_all(server, b"GET a", b"SET a 2") == [b"1", OK]
    assert not (faults.root / "other").exists()


def test_an_instance_that_is_taken_away_leaves_its_store_to_another(start):
    server = start()
    ask_all(server, b"SET a 1")
    assert server.reload({"echo": {"listen": ECHO}})
    assert server.reload({"fresh": {"type": "kv", "listen": KV, "storage": STORE}})
    with server.kv("fresh") as client:
        assert client.ask(b"GET a") == b"1"


def test_programs_of_exec_get_no_descriptor_of_the_store(echod, faults):
    server = echod({
        "kv": {"listen": KV, "storage": STORE},
        "exec": {"listen": "unix://$DIR/exec",
                 "command": ["/bin/sh", "-c", "exec ls -l /proc/self/fd"]},
    })  # fmt: skip
    ask_all(server, b"SET a 1")
    with server.connect("exec") as client:
        descriptors = client.rest()
    assert b"/dev/null" in descriptors or b"socket:" in descriptors
    assert str(faults.root).encode() not in descriptors


# --- the snapshot ---


def test_a_checkpoint_moves_all_to_the_snapshot(start, faults):
    server, store = start(), faults.root / "store"
    ask_all(server, b"SET a 1", b"SET b 1", b"SET a 2", b"DEL b")
    newest = checkpoint(server, store)
    assert snapshot_keys(store) == {b"a", b"filler"}
    ask_all(server, b"SET c 3", b"DEL a")
    server.kill()
    server = start()
    requests = [b"GET " + key for key in (b"a", b"b", b"c", b"filler")]
    assert ask_all(server, *requests) == [MISSING, MISSING, b"3", newest]
    checkpoint(server, store)
    assert snapshot_keys(store) == {b"c", b"filler"}


def test_a_stop_moves_all_to_the_snapshot(start, faults):
    server = start()
    ask_all(server, b"SET a 1", b"SET b 2", b"DEL a")
    server.stop()
    assert snapshot_keys(faults.root / "store") == {b"b"}
    assert ask_all(start(), b"GET a", b"GET b") == [MISSING, b"2"]


def test_a_stop_during_a_checkpoint(start, faults):
    server, store = start(), faults.root / "store"
    with faults.snapshot.sync.held() as barrier:
        newest = fill_segment(server, store)
        barrier.wait_held()
        server.send_signal(harness.signal.SIGTERM)
        server.log.wait("stopping")
    server.wait_stopped()
    assert ask_all(start(), b"GET filler") == [newest]


def test_a_slow_snapshot_keeps_nobody_waiting(start, faults):
    server, store = start(), faults.root / "store"
    ask_all(server, b"SET a 1")
    with faults.snapshot.write.held() as barrier:
        newest = fill_segment(server, store)
        barrier.wait_held()
        with server.kv() as client:
            for number in range(500):
                assert client.ask(b"SET key%d %d" % (number, number)) == OK
    server.kill()
    found = ask_all(start(), b"GET a", b"GET key0", b"GET key499", b"GET filler")
    assert found == [b"1", b"0", b"499", newest]


needs_sqlite3 = pytest.mark.skipif(not harness.program("sqlite3"), reason="no sqlite3 (sqlite3)")


@needs_sqlite3
def test_sqlite3_reads_the_snapshot_while_clients_write(start, faults):
    server, store = start(), faults.root / "store"
    checkpoint(server, store)
    crowd = Crowd(4, Mix(5, keys=20))
    for query, pattern in (("select count(*) from kv", rb"\d+\n"), ("pragma quick_check", rb"ok\n")):
        crowd.connect(server)
        process = subprocess.Popen(["sqlite3", "-readonly", store / "snapshot.db", query],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
        crowd.run(until=lambda: process.poll() is not None)
        assert re.fullmatch(pattern, process.stdout.read())
        process.stdout.close()
        crowd.close()
    assert not server.log.matches("read-only")


def test_a_reader_delays_the_checkpoint_and_nothing_else(start, faults):
    server, store = start(), faults.root / "store"
    checkpoint(server, store)
    with closing(sqlite3.connect(store / "snapshot.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        before = reader.execute("SELECT count(*) FROM kv").fetchone()
        ask_all(server, b"SET a 1")
        newest = fill_segment(server, store, count=2)
        assert len(segments(store)) > 1
        assert ask_all(server, b"SET b 2") == [OK]
        assert reader.execute("SELECT count(*) FROM kv").fetchone() == before
        assert not server.log.matches("read-only")
        reader.execute("COMMIT")
        wait_checkpoint(store)
    assert snapshot_keys(store) >= {b"a", b"filler"}
    server.kill()
    assert ask_all(start(), b"GET a", b"GET b", b"GET filler") == [b"1", b"2", newest]


def test_a_reader_that_was_killed_is_in_nobody_s_way(start, faults):
    server, store = start(), faults.root / "store"
    checkpoint(server, store)
    script = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1], isolation_level=None); " \
             "db.execute('BEGIN'); print(*db.execute('SELECT count(*) FROM kv')); " \
             "sys.stdout.flush(); sys.stdin.read()"  # fmt: skip
    with subprocess.Popen(["/usr/bin/python3", "-c", script, store / "snapshot.db"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:  # fmt: skip
        assert reader.stdout.readline()
        reader.kill()
    checkpoint(server, store)


# --- backup ---


@pytest.fixture
def backup(workdir):
    """Starts echoctl, which makes one of the service kv."""
    echoctl = Path(harness.find_echod()).parent / "echoctl/echoctl"

    def backup(directory):
        return subprocess.Popen(
            [echoctl, "-s", workdir / "control", "backup", "kv", directory],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return backup


@pytest.fixture
def start_with_control(echod, faults):
    services = {"kv": {"listen": KV, "storage": STORE}, "control": {"listen": "unix://$DIR/control"}}
    return lambda: echod(services, env=faults.env)


def finish(process):
    """Its exit status, and what it has said."""
    output, errors = process.communicate(timeout=harness.DEADLINE)
    return process.returncode, output + errors


def test_a_backup_is_of_one_moment(start_with_control, faults, workdir, backup, fleet):
    """All that was confirmed before the command is in it, and a beginning of what came later."""
    server = start_with_control()
    checkpoint(server, faults.root / "store")
    crowd = Crowd(4, Mix(6, keys=20))
    crowd.connect(server)
    crowd.run(until=lambda: sum(client.answered for client in crowd.clients) > 500)
    for client in crowd.clients:
        client.acknowledged = client.answered
    process = backup(workdir / "backup")
    crowd.run(until=lambda: process.poll() is not None)
    crowd.close()
    status, text = finish(process)
    assert status == 0, text
    found = found_in(fleet.start, workdir / "backup", crowd)
    for client in crowd.clients:
        own = {key: found[key] for key in crowd.mix.all_keys([client.name])}
        survived(client.requests, client.acknowledged, own)
    done = harness.run_echod("--check-store", workdir / "backup")
    assert done.returncode == 1 and "in use" in done.stderr


def found_in(start, directory, crowd):
    server = start({"kv": {"listen": "unix://$DIR/restored", "storage": str(directory)}})
    return {request.key: request.value for request in read_all(server, crowd.all_keys())}


def test_a_backup_replaces_no_store_and_not_itself(start_with_control, faults, workdir, backup):
    server = start_with_control()
    ask_all(server, b"SET a 1")
    assert finish(backup(workdir / "backup"))[0] == 0
    before = {file.name: file.read_bytes() for file in (workdir / "backup").iterdir()}
    store = faults.root / "store"
    for directory in (workdir / "backup", store, store / "backup"):
        status, text = finish(backup(directory))
        assert status == 1 and str(directory) in text
    assert not (store / "backup").exists()
    assert {file.name: file.read_bytes() for file in (workdir / "backup").iterdir()} == before
    assert ask_all(server, b"GET a", b"SET a 2") == [b"1", OK]


@pytest.mark.parametrize("way", ["store/./in", "store/../store/in", "link/in", "whole", "whole/in/"])
def test_a_backup_is_not_made_in_its_store_by_another_path(
    start_with_control, faults, workdir, backup, way
):
    server = start_with_control()
    ask_all(server, b"SET a 1")
    (workdir / "link").symlink_to(faults.root / "store")
    (faults.root / "link").symlink_to("store")
    (faults.root / "whole").symlink_to(workdir / "link")
    target = f"{faults.root}/{way}"
    status, text = finish(backup(target))
    assert status == 1 and f"{target} is in the store" in text, text
    assert not (faults.root / "store/in").exists()


@pytest.mark.parametrize("is_there", [False, True])
def test_a_backup_through_a_symbolic_link(
    start_with_control, faults, workdir, backup, is_there
):
    server = start_with_control()
    ask_all(server, b"SET a 1")
    (workdir / "link").symlink_to(faults.root)
    if is_there:
        (faults.root / "backup").mkdir(mode=0o700)
    status, text = finish(backup(workdir / "link/backup"))
    assert status == 0, text
    assert harness.run_echod("--check-store", faults.root / "backup").returncode == 0


@pytest.mark.parametrize("is_there", [False, True])
@pytest.mark.parametrize("call", ["write", "sync", "open", "mkdir", "rename"])
def test_a_backup_that_fails_leaves_nothing(start_with_control, faults, backup, call, is_there):
    """At each of its calls; the store goes on as if nothing had been, and so does a retry."""
    server = start_with_control()
    ask_all(server, b"SET a 1")
    target = faults.root / "backup"
    if is_there:
        target.mkdir(mode=0o700)
    rule = getattr(faults.files("backup*"), call)
    begin = 1 if call == "write" else 0  # the process ID in the lock file is no loss
    for skip in range(begin, 40):
        rule.fail(errno.ENOSPC, skip=skip)
        status, text = finish(backup(target))
        if status == 0:
            break
        cause = "No space left|Input/output error" if call == "sync" else "No space left"
        assert re.search(f" {target}.*: ({cause})", text), text
        assert target.exists() == is_there
        assert not is_there or list(target.iterdir()) == []
    rule.clear()
    assert skip > begin or (call == "mkdir" and is_there)
    assert status == 0 and harness.run_echod("--check-store", target).returncode == 0
    assert not server.log.matches("read-only")
    assert ask_all(server, b"GET a", b"SET a 2") == [b"1", OK]


@pytest.mark.parametrize("missing", ["snapshot.db", "wal.*"])
def test_a_backup_that_lacks_a_file_is_not_begun_anew(
    start_with_control, faults, workdir, backup, fleet, missing
):
    """An incomplete restore is refused, rather than that the service starts with no keys."""
    server = start_with_control()
    ask_all(server, b"SET a 1")
    assert finish(backup(workdir / "backup"))[0] == 0
    for file in (workdir / "backup").glob(missing):
        file.unlink()
    services = {"kv": {"listen": "unix://$DIR/restored", "storage": str(workdir / "backup")}}
    fleet.launch(services).wait_stopped_with(1, "is missing; restore a backup")


def test_a_backup_fails_with_the_checkpoint_that_it_waits_for(start_with_control, faults, backup):
    """The disk may never work again, and nobody is to wait for that."""
    server = start_with_control()
    ask_all(server, b"SET a 1")
    faults.snapshot.write.fail(errno.EIO)
    status, text = finish(backup(faults.root / "backup"))
    assert status == 1 and os.strerror(errno.EIO) in text, text
    assert not (faults.root / "backup").exists()
    faults.snapshot.clear()
    harness.wait_until(lambda: ask_all(server, b"SET a 2") == [OK], "the store works again")
    assert finish(backup(faults.root / "backup"))[0] == 0


def test_a_copy_goes_on_when_the_log_fails(start_with_control, faults, backup):
    """All that was confirmed is in the snapshot by then. No other backup is told that it has been made."""
    server = start_with_control()
    ask_all(server, b"SET a 1")
    with faults.files("backup*").open.held() as barrier:
        first = backup(faults.root / "backup")
        barrier.wait_held()
        faults.wal.write.fail(errno.EIO)
        assert ask_all(server, b"SET a 2") == [b"ERROR: storage failed"]
        faults.wal.clear()
        harness.wait_until(lambda: ask_all(server, b"SET a 3") == [OK], "the store works again")
        status, text = finish(backup(faults.root / "another"))
        assert status == 1 and "is being made" in text, text
    status, text = finish(first)
    assert status == 0, text
    assert harness.run_echod("--check-store", faults.root / "backup").returncode == 0
    assert not (faults.root / "another").exists()


def test_a_backup_is_given_up_when_its_service_is_removed(echod, faults, backup):
    """The loop does not wait for the rest of the copy: that of a large store takes minutes."""
    control = {"listen": "unix://$DIR/control"}
    server = echod({"kv": {"listen": KV, "storage": STORE}, "control": control}, env=faults.env)
    with server.kv() as client:
        requests = b"".join(b"SET a%d %s\n" % (number, b"x" * 80) for number in range(60000))
        assert client.exchange(requests, 3 * 60000) == b"OK\n" * 60000
    copy = faults.files("backup*")
    with copy.write.held() as barrier:
        process = backup(faults.root / "backup")
        barrier.wait_held()
        copy.write.delay_ms = 20
    assert server.reload({"control": control})
    status, text = finish(process)
    assert status == 1 and "the service has been stopped" in text, text
    assert copy.write.calls < 500
    harness.wait_until(lambda: not (faults.root / "backup").exists(), "the copy is removed")


# --- room ---


@pytest.mark.slow
def test_overwriting_does_not_grow_the_files_for_ever(start, faults):
    """Three times what lives, and 256 MiB: here 320 MiB are written, and 3 live."""
    server, store, sizes = start(), faults.root / "store", []
    requests = b"".join(b"SET key%d %s\n" % (number, LONG) for number in range(50))
    with server.kv() as client:
        for _ in range((320 << 20) // len(requests)):
            assert client.exchange(requests, 3 * 50) == b"OK\n" * 50
            sizes.append(size_of(store))
    assert max(sizes) < 3 * len(requests) + (256 << 20), sizes
    wait_checkpoint(store)
    wait_quiet(faults)
    assert size_of(store) < 3 * len(requests) + (64 << 20)


def test_deleted_keys_leave_the_snapshot(start, faults):
    server, store = start(), faults.root / "store"
    keys = [b"key%d" % number for number in range(200)]
    assert set(ask_all(server, *(b"SET %s %s" % (key, LONG) for key in keys))) == {OK}
    checkpoint(server, store)
    assert set(ask_all(server, *(b"DEL " + key for key in keys))) == {b"DELETED"}
    checkpoint(server, store)
    assert snapshot_keys(store) == {b"filler"}


@pytest.mark.parametrize("length", [512, 65535])
def test_the_longest_keys_and_values(start, faults, length):
    key, value = b"k" * length, b"v" * 400_000
    settings = {"max_key": length, "max_value": "512K", "max_line": "512K"}
    server = start(**settings)
    assert ask_all(server, b"SET " + key + b" " + value) == [OK]
    checkpoint(server, faults.root / "store")
    server.kill()
    assert ask_all(start(**settings), b"GET " + key) == [value]
