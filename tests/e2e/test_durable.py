"""kv with storage: what it promises while the disk is slow, and how it begins and ends."""

import os
import subprocess
import time
from statistics import median

import pytest

import harness
from crowd import Crowd, Mix, read_all, survived

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
        with getattr(faults, call).held() as barrier:
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


def journal_commits(faults):
    """Pages of the root that were written: one for each."""
    return faults.dsync.calls


def commits(faults):
    """Of batches that clients wait for: the syncs, without those of the journal."""
    return faults.sync.calls - journal_commits(faults)


def wait_until_moved(faults, since=0):
    """Until all that is safe is in the journal, and folded: for a while there is no commit."""

    def is_quiet():
        before = journal_commits(faults)
        time.sleep(0.4)
        return since < journal_commits(faults) == before

    harness.wait_until(is_quiet, "the journal has it all")


def test_a_pipeline_is_one_commit(start, faults):
    server = start()
    with server.kv() as client:
        before = commits(faults)
        client.send(b"SET a 1\nGET a\nSET b 2\nDEL a\nGET a\nGET b\nSET a 3\nGET a\nDEL c\n")
        answers = b"".join(client.lines(9))
        assert answers == b"OK\n1\nOK\nDELETED\nNOT_FOUND\n2\nOK\n3\nNOT_FOUND\n"
        assert commits(faults) == before + 1
        client.send(b"".join(b"SET key%d %d\n" % (n, n) for n in range(1000)))
        assert client.lines(1000) == [b"OK\n"] * 1000
        assert commits(faults) <= before + 3


def test_all_that_waits_for_a_commit_shares_the_next_one(start, faults):
    server = start()
    clients = [server.kv() for _ in range(30)]
    before = commits(faults)
    with faults.sync.held() as barrier, server.connect("echo") as echo:
        clients[0].send(b"SET key0 1\n")
        barrier.wait_held()
        for number, client in enumerate(clients[1:]):
            client.send(b"SET key%d 1\n" % number)
        assert echo.exchange(b"hello", 5) == b"hello"
    for client in clients:
        assert client.line() == b"OK\n"
        client.close()
    assert commits(faults) == before + 2


def test_requests_that_change_nothing_are_no_commit(start, faults):
    server = start()
    ask_all(server, b"SET a 1")
    before = commits(faults)
    assert ask_all(server, b"GET a", b"DEL b", b"GET b", b"FOO") == [
        b"1", MISSING, MISSING, b"ERROR: unknown command"]  # fmt: skip
    assert commits(faults) == before


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


def test_with_an_interval_nothing_is_written_before_it_is_over(start, faults):
    server = start(sync="interval", sync_interval="1h")
    before = journal_commits(faults)
    assert ask_all(server, b"SET a 1") == [OK]
    assert journal_commits(faults) == before
    server.stop()
    assert ask_all(start(), b"GET a") == [b"1"]


def test_with_an_interval_what_is_older_survives_a_kill(start, faults):
    server = start(sync="interval", sync_interval="20ms")
    before = journal_commits(faults)
    assert ask_all(server, b"SET a 1") == [OK]
    harness.wait_until(lambda: journal_commits(faults) > before, "a commit")
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


# --- LMDB's tools, while it runs ---


needs_tools = pytest.mark.skipif(
    not harness.program("mdb_copy"), reason="no LMDB tools (lmdb-utils)"
)


def run_tool(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, check=False,
                          timeout=harness.DEADLINE)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_tools
def test_tools_read_the_store_while_clients_write(start, faults):
    server, store = start(), faults.root / "store"
    crowd = Crowd(4, Mix(5, keys=20))
    for tool in (["mdb_stat", "-ef"], ["mdb_dump", "-a"], ["mdb_stat", "-a"]):
        crowd.connect(server)
        process = subprocess.Popen([*tool, store], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        crowd.run(until=lambda: process.poll() is not None)
        assert process.returncode == 0 and process.stdout.read()
        process.stdout.close()
        crowd.close()
    assert b"format\n" in run_tool("mdb_dump", "-p", "-s", "meta", store).replace(b" ", b"")


def has_passed(seconds):
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


@needs_tools
def test_a_copy_is_a_backup_of_one_moment(start, faults, workdir, fleet):
    server, store, backup = start(), faults.root / "store", workdir / "backup"
    backup.mkdir()
    crowd = Crowd(4, Mix(6, keys=20))
    crowd.connect(server)
    enough = 500
    crowd.run(until=lambda: sum(client.answered for client in crowd.clients) > enough)
    for client in crowd.clients:
        client.acknowledged = client.answered
    crowd.run(until=has_passed(1))  # more than what a copy may lack
    process = subprocess.Popen(["mdb_copy", store, backup])
    crowd.run(until=lambda: process.poll() is not None)
    assert process.returncode == 0
    crowd.close()
    restored = fleet.start({"kv": {"listen": "unix://$DIR/restored", "storage": str(backup)}})
    found = {request.key: request.value for request in read_all(restored, crowd.all_keys())}
    for client in crowd.clients:
        own = {key: found[key] for key in crowd.mix.all_keys([client.name])}
        survived(client.requests, client.acknowledged, own)


# --- room ---


def test_the_map_grows_by_itself(start, faults):
    faults.map_divisor = 512  # half a megabyte in the place of 256
    server = start()
    value = b"v" * 10_000
    maps = faults.map.calls
    with server.kv() as client:
        for number in range(200):
            assert client.ask(b"SET key%d %d%s" % (number, number, value)) == OK
    wait_until_moved(faults)
    assert faults.map.calls > maps + 1
    assert not server.log.matches(r"storage .* failed|read-only")
    server.kill()
    requests = [b"GET key%d" % number for number in range(200)]
    assert ask_all(start(), *requests) == [b"%d%s" % (n, value) for n in range(200)]


def overwrite(server, faults):
    """The same keys, again and again: how large the file is in between, when the log is folded."""
    pipeline = b"".join(b"SET key%d %s\n" % (number, b"v" * 1000) for number in range(200))

    with server.kv() as client:
        for _ in range(8):
            for _ in range(5):
                assert client.exchange(pipeline, 3 * 200) == b"OK\n" * 200
            wait_until_moved(faults)
            yield (faults.root / "store/data.mdb").stat().st_size


def test_overwriting_does_not_grow_the_file_for_ever(start, faults):
    sizes = list(overwrite(start(), faults))
    assert sizes[-1] < 2 * sizes[2], sizes


@needs_tools
def test_a_tool_that_was_killed_does_not_keep_old_pages_for_ever(start, faults):
    server = start()
    ask_all(server, *(b"SET old%d %s" % (number, b"v" * 1000) for number in range(200)))
    wait_until_moved(faults)
    with subprocess.Popen(["mdb_dump", "-a", faults.root / "store"], stdout=subprocess.PIPE) as tool:
        assert tool.stdout.read(1000)  # it is in the middle, as the pipe takes no more
        tool.kill()
    sizes = list(overwrite(server, faults))
    assert sizes[-1] < 2 * sizes[2], sizes


def test_keys_that_lmdb_cannot_hold_are_a_mistake_in_the_config(fleet):
    server = fleet.launch({"kv": {"listen": KV, "storage": STORE, "max_key": 512}})
    server.wait_stopped_with(78, "max_key")


def test_the_longest_keys_and_values(start):
    key, value = b"k" * 511, b"v" * 400_000
    settings = {"max_key": 511, "max_value": "512K", "max_line": "512K"}
    server = start(**settings)
    assert ask_all(server, b"SET " + key + b" " + value) == [OK]
    server.kill()
    assert ask_all(start(**settings), b"GET " + key) == [value]
