"""kv with storage, killed at random moments under clients that write."""

import time

import pytest

from crowd import Crowd, Mix, read_all
from harness import wait_until
from linearizable import check

STORE = {"kv": {"listen": "unix://$DIR/kv", "storage": "$DIR/store"}}


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


def test_clients_of_shared_keys_see_one_order_across_kills(echod, randomness):
    crowd = Crowd(8, Mix(randomness.random(), keys=40, shared=True, longest=4, reads=0.5))
    server = echod(STORE)
    final = []
    for _ in range(5):
        run_and_kill(server, crowd, randomness)
        server = echod(STORE)
        final += read_all(server, crowd.all_keys())
    check(crowd.history() + final)


@pytest.mark.parametrize("slices", [0, 1, 3])
def test_a_kill_in_the_middle_of_a_fold(echod, faults, slices):
    """What has been moved out of the log, and what has changed again meanwhile."""
    services = {"kv": {"listen": "unix://$DIR/kv", "storage": "$DIR/disk/store"}}
    server = echod(services, env=faults.env)
    data = {b"key%d" % (number * 7919 % 5000): b"%d" % number for number in range(5000)}
    with server.kv() as client:
        requests = b"".join(b"SET %s %s\n" % item for item in data.items())
        assert client.exchange(requests, 3 * 5000) == b"OK\n" * 5000
        faults.dsync.delay_ms = 30
        done = faults.dsync.calls + slices
        wait_until(lambda: faults.dsync.calls > done, "so many slices have been folded")
        assert client.ask(b"SET key1 new") == b"OK"
        assert client.ask(b"DEL key2") == b"DELETED"
    server.kill()
    data.update({b"key1": b"new", b"key2": b"NOT_FOUND"})
    with echod(services).kv() as client:
        requests = b"".join(b"GET %s\n" % key for key in data)
        answers = b"".join(value + b"\n" for value in data.values())
        assert client.exchange(requests, len(answers)) == answers
