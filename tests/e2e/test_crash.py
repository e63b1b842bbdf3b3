"""kv with storage, killed at random moments under clients that write, and in the middle of what it does."""

import time

import pytest

from crowd import Crowd, Mix, read_all
from harness import wait_until
from linearizable import check
from stored import LONG, checkpoint, fill_segment, segments, snapshot_keys, wait_checkpoint

STORE = {"kv": {"listen": "unix://$DIR/kv", "storage": "$DIR/store"}}
ON_DISK = {"kv": {"listen": "unix://$DIR/kv", "storage": "$DIR/disk/store"}}


def run_and_kill(server, crowd, randomness):
    """The daemon dies a little after some number of answers, whatever it does then."""
    crowd.connect(server)
    enough = sum(client.answered for client in crowd.clients) + randomness.randrange(3000)
    pause = randomness.uniform(0, 0.004)
    crowd.run(
        until=lambda: sum(client.answered for client in crowd.clients) >= enough,
        at_end=lambda: (time.sleep(pause), server.kill()),
    )
    crowd.abandon()


@pytest.mark.slow
def test_every_acknowledged_write_survives_a_kill(echod, randomness, pytestconfig):
    crowd = Crowd(8, Mix(randomness.random(), keys=25))
    server = echod(STORE)
    for _ in range(pytestconfig.getoption("--kill-cycles")):
        run_and_kill(server, crowd, randomness)
        server = echod(STORE)
        crowd.check_survivors(server)


@pytest.mark.slow
def test_every_acknowledged_write_survives_a_kill_during_checkpoints(
    echod, workdir, randomness, pytestconfig
):
    """Long values fill the segments, some of them in each round."""
    crowd = Crowd(4, Mix(randomness.random(), keys=15, value_sizes=(0, 60_000), reads=0.1))
    server, numbers = echod(STORE), set()
    for _ in range(pytestconfig.getoption("--kill-cycles") // 5):
        run_and_kill(server, crowd, randomness)
        numbers |= set(segments(workdir / "store"))
        server = echod(STORE)
        crowd.check_survivors(server)
    assert len(numbers) > pytestconfig.getoption("--kill-cycles") // 15  # there were checkpoints


def test_clients_of_shared_keys_see_one_order_across_kills(echod, randomness):
    crowd = Crowd(8, Mix(randomness.random(), keys=40, shared=True, longest=4, reads=0.5))
    server = echod(STORE)
    final = []
    for _ in range(5):
        run_and_kill(server, crowd, randomness)
        server = echod(STORE)
        final += read_all(server, crowd.all_keys())
    check(crowd.history() + final)


def set_all(server, data):
    with server.kv() as client:
        requests = b"".join(b"SET %s %s\n" % item for item in data.items())
        assert client.exchange(requests, 3 * len(data)) == b"OK\n" * len(data)


def expect_all(server, data):
    with server.kv() as client:
        requests = b"".join(b"GET %s\n" % key for key in data)
        answers = b"".join(value + b"\n" for value in data.values())
        assert client.exchange(requests, len(answers)) == answers


def some_data():
    """Not in the order of the keys."""
    return {b"key%d" % (number * 7919 % 5000): b"%d" % number for number in range(5000)}


@pytest.mark.parametrize("call", ["write", "sync", "truncate"])
def test_a_kill_at_each_call_of_a_checkpoint(echod, faults, call):
    """What the snapshot has already, and what has changed again meanwhile."""
    server, store, rule = echod(ON_DISK, env=faults.env), faults.root / "store", None
    data = some_data()
    set_all(server, data)
    data[b"filler"] = checkpoint(server, store)
    rule = getattr(faults.snapshot, call)
    before = rule.calls
    set_all(server, data)
    data[b"filler"] = checkpoint(server, store)
    count = rule.calls - before
    assert count > 0
    for skip in sorted({0, 1, 2, 3, count // 2, count - 2, count - 1} & set(range(count))):
        data |= {b"key%d" % number: b"%d.%d" % (number, skip) for number in range(skip, 5000, 7)}
        with rule.held(skip=skip) as barrier:
            set_all(server, data)
            data[b"filler"] = fill_segment(server, store)
            barrier.wait_held()
            with server.kv() as client:
                assert client.ask(b"SET key1 new%d" % skip) == b"OK"
                assert client.ask(b"DEL key2") == b"DELETED"
            server.kill()
        data |= {b"key1": b"new%d" % skip, b"key2": b"NOT_FOUND"}
        server = echod(ON_DISK, env=faults.env)
        expect_all(server, data)
        data[b"key2"] = b"back"
        set_all(server, {b"key2": b"back"})
        wait_checkpoint(store)
    expect_all(server, data)
    checkpoint(server, store)
    assert snapshot_keys(store) == set(data)


@pytest.mark.parametrize("skip", [0, 1, 2, 5])
def test_a_kill_during_a_replay(echod, fleet, faults, skip):
    """Again and again, wherever it reads, and while the checkpoint of what it has read begins."""
    server, store, data = echod(ON_DISK, env=faults.env), faults.root / "store", some_data()
    with faults.snapshot.write.held():
        set_all(server, data)
        data[b"filler"] = fill_segment(server, store, count=2)
        server.kill()
    for rule in (faults.wal.read, faults.snapshot.read, faults.snapshot.write, faults.wal.write):
        with rule.held(skip=skip):
            server = fleet.launch(ON_DISK, env=faults.env)
            wait_until(lambda rule=rule: rule.waiting or server.log.matches("info echod: ready"),
                       "it is held")  # fmt: skip
            server.kill()
    server = echod(ON_DISK, env=faults.env)
    expect_all(server, data)
    wait_checkpoint(store)
    assert snapshot_keys(store) >= set(data)
    server.kill()
    expect_all(echod(ON_DISK), data)


def test_a_kill_and_a_start_at_once(echod):
    """Nothing of the old process is in the way of the new one, not even a tool's leftovers."""
    server = echod(STORE)
    for number in range(20):
        with server.kv() as client:
            client.send(b"".join(b"SET key%d %s\n" % (n, LONG) for n in range(8)))
            client.line()
            server.kill()
        server = echod(STORE)
        with server.kv() as client:
            assert client.ask(b"GET key0") == LONG, f"start {number}"
