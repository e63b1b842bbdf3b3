"""kv with storage when the power fails: the writes and syncs of a run are recorded, and a daemon is
started on what the disk may hold at any moment of it."""

import errno
import shutil
import time

import pytest

import harness
from crowd import Crowd, Mix, expect_own_answers, possible, read_all, survived
from faults import ALL, NOTHING, Faults
from power import Answers, Disk, write_image
from stored import LONG, segments, wait_checkpoint

TCP = "tcp://127.0.0.1:0"
TOGETHER = 20  # images that one daemon opens


class Run:
    """A daemon's life with a few clients; each has keys of its own."""

    def __init__(self, echod, faults, randomness):
        self.echod, self.faults, self.randomness = echod, faults, randomness
        mix = Mix(randomness.random(), keys=30, longest=8, value_sizes=(0, 900))
        self.crowd = Crowd(4, mix)
        self.ports = {client.name: [] for client in self.crowd.clients}
        self.server = None
        faults.trace = 1

    def start(self, **settings):
        kv = {"listen": TCP, "storage": str(self.faults.root / "store"), **settings}
        self.server = self.echod({"kv": kv}, env=self.faults.env)

    @property
    def store(self):
        return self.faults.root / "store"

    def write(self, until):
        """Until that is true."""
        self.crowd.connect(self.server)
        for client in self.crowd.clients:
            self.ports[client.name].append(client.stream.sock.getsockname()[1])
        self.crowd.run(until)
        self.crowd.close()

    def write_some(self, count):
        enough = count + sum(client.answered for client in self.crowd.clients)
        self.write(lambda: sum(client.answered for client in self.crowd.clients) >= enough)

    def write_segments(self, count):
        """While checkpoints go on beside; one client fills the segments."""
        end = segments(self.store)[-1] + count
        with self.server.kv() as filler:
            request = b"SET filler " + LONG + b"\n"
            filler.send(20 * request)

            def is_enough():
                if filler.readable() and filler.lines(20):
                    filler.send(20 * request)
                return segments(self.store)[-1] >= end

            self.write(is_enough)
            filler.lines(20)

    def wait_recovered(self):
        """From all failures so far."""
        log = self.server.log
        harness.wait_until(
            lambda: len(log.matches("works again after")) == len(log.matches("read-only until")),
            "the store works again",
        )

    def stop(self):
        self.server.stop()
        self.faults.trace = 0
        for client in self.crowd.clients:
            assert not client.waits()

    def acknowledged(self, answers, number):
        """How many requests of each client had been answered, its greetings apart."""
        counts = {}
        for client, ports in self.ports.items():
            lines = (max(0, answers.count(port, number) - 1) for port in ports)
            counts[client] = sum(lines)
        return counts


class Image:
    """A store as it may be found, in a directory of its own."""

    def __init__(self, directory, files, moment, acknowledged):
        self.directory, self.files = directory, files
        self.moment, self.acknowledged = moment, acknowledged

    def write(self):
        self.directory.mkdir(parents=True)
        write_image(self.files, self.directory)


def images(run, directory, count, disk=None):
    """As many images, from the whole of the trace, of a disk that was empty or that."""
    records = [record for record in run.faults.records() if record.kind != "M"]
    randomness, disk, answers = run.randomness, disk or Disk(), Answers(records)
    interesting = [at for at, record in enumerate(records) if record.kind not in "SL"]
    moments = sorted(randomness.choice(interesting) for _ in range(count))
    at = 0
    for number, moment in enumerate(moments):
        while at <= moment:
            disk.follow(records[at])
            at += 1
        path = directory / f"image{number}"
        acknowledged = run.acknowledged(answers, records[moment].number)
        yield Image(path, disk.image(randomness), records[moment].number, acknowledged)


def expect_beginnings(run, image, found):
    for client in run.crowd.clients:
        own = {key: found[key] for key in run.crowd.mix.all_keys([client.name])}
        survived(client.requests, image.acknowledged[client.name], own)


def expect_some_beginnings(run, image, found):
    """When answers do not wait for the disk."""
    image.acknowledged = dict.fromkeys(image.acknowledged, 0)
    expect_beginnings(run, image, found)


def expect_possible(run, image, found):
    for client in run.crowd.clients:
        allowed = possible(client.requests, image.acknowledged[client.name])
        for key in run.crowd.mix.all_keys([client.name]):
            if found[key] not in allowed.get(key, {None}):
                own = [str(request) for request in client.requests if request.key == key]
                raise AssertionError("\n".join([f"{key} is {found[key]!r} after:", *own]))


def open_images(run, some, expect, keys=None):
    """All in one daemon: each is taken, holds what it may, and goes on working."""
    services = {
        image.directory.name: {
            "type": "kv", "listen": f"unix://$DIR/{image.directory.name}",
            "storage": str(image.directory / "store"),
        } for image in some
    }  # fmt: skip
    server = run.echod(services)
    for image in some:
        name = image.directory.name
        found = read_all(server, keys or run.crowd.all_keys(), name)
        try:
            expect(run, image, {request.key: request.value for request in found})
        except AssertionError as mistake:
            raise AssertionError(f"power failed at record {image.moment}: {mistake}") from None
        with server.kv(name) as client:
            assert client.ask(b"SET new 1") == b"OK"
    server.kill()  # a stop would move all of these logs to their snapshots


def try_images(run, workdir, count, expect=expect_beginnings):
    directory = workdir / "images"
    some = []
    for number, image in enumerate(images(run, directory, count), 1):
        image.write()
        some.append(image)
        if len(some) == TOGETHER or number == count:
            open_images(run, some, expect)
            shutil.rmtree(directory)
            some = []


@pytest.mark.slow
def test_every_acknowledged_write_survives_a_power_failure(
    echod, faults, randomness, workdir, pytestconfig
):
    """From the first start on, across a stop, a kill, and checkpoints."""
    run = Run(echod, faults, randomness)
    run.start()
    run.write_some(300)
    run.write_segments(2)
    run.server.stop()
    run.start()
    run.write_segments(1)
    run.write_some(100)
    run.server.kill()
    run.start()
    run.write_some(200)
    run.write_segments(1)
    wait_checkpoint(run.store)
    run.stop()
    expect_nothing_else_was_written(run)
    for client in run.crowd.clients:
        expect_own_answers(client.requests)
    try_images(run, workdir, pytestconfig.getoption("--power-images"))


def expect_nothing_else_was_written(run):
    """The trace tells all: it makes the files that are there, and no file is mapped for writing."""
    records = run.faults.records()
    assert not [record for record in records if record.kind == "M"]
    disk = Disk()
    for record in records:
        disk.follow(record)
    found = disk.root.image(lambda: True, 512)
    there = {f"store/{file.name}": file.read_bytes() for file in run.store.iterdir()}
    assert set(there) | {"store/"} == set(found)
    for name, content in there.items():
        assert found[name] == content, name


@pytest.mark.slow
def test_a_power_failure_during_the_recovery_from_one(
    echod, faults, randomness, workdir, pytestconfig
):
    """An image of a start on an image, and of what was written after it."""
    run = Run(echod, faults, randomness)
    run.start()
    run.write_some(200)
    run.write_segments(2)
    run.write_some(200)
    run.stop()
    count = max(1, pytestconfig.getoption("--power-images") // 40)
    for number, image in enumerate(images(run, workdir, count)):
        again = workdir / f"again{number}"
        again.mkdir()
        recover_from(echod, image, again, run)
        shutil.rmtree(again)


def recover_from(echod, image, directory, first):
    """Clients whose keys were not those of the first ones write after it."""
    faults = Faults(directory)
    write_image(image.files, faults.root)
    run = Run(echod, faults, first.randomness)
    run.start()
    for client in run.crowd.clients:
        client.name = f"again.{client.name}"
        run.ports[client.name] = []
    run.write_some(100)
    run.stop()

    def expect(_, second, found):
        second.acknowledged |= image.acknowledged
        expect_beginnings(first, second, found)
        expect_beginnings(run, second, found)

    both = first.crowd.all_keys() + run.crowd.all_keys()
    open_all = list(images(run, directory / "images", 8, Disk(image.files)))
    for second in open_all:
        second.write()
    open_images(run, open_all, expect, both)
    faults.close()


def test_with_an_interval_only_the_newest_writes_are_lost(
    echod, faults, randomness, workdir, pytestconfig
):
    run = Run(echod, faults, randomness)
    run.start(sync="interval", sync_interval="10ms")
    run.write_some(1500)
    run.stop()
    count = pytestconfig.getoption("--power-images") // 4
    try_images(run, workdir, count, expect_some_beginnings)


@pytest.mark.slow
def test_every_acknowledged_write_survives_failing_syncs_and_then_a_power_failure(
    echod, faults, randomness, workdir, pytestconfig
):
    """What a failed sync has left on the disk, or not, must not be relied on, nor be in the way."""

    def has_failed_often():
        """Makes it fail the more: once, or while it recovers, too."""
        works = len(run.server.log.matches("works again after"))
        has_recovered = works == len(run.server.log.matches("read-only until"))
        if has_recovered and not any(rule.error for rule in rules):
            rule, done = randomness.choice(rules), randomness.choice([NOTHING, ALL])
            rule.fail(errno.EIO, done, randomness.randrange(20), randomness.randint(1, 2))
        if not has_recovered:
            time.sleep(0.005)  # more of the same refusals teach nothing
        return works >= 8

    rules = faults.sync, faults.write
    run = Run(echod, faults, randomness)
    run.start()
    run.write(has_failed_often)
    for rule in rules:
        rule.clear()
    run.wait_recovered()
    run.write_some(100)
    run.stop()
    try_images(run, workdir, pytestconfig.getoption("--power-images") // 2, expect_possible)


@pytest.mark.slow
def test_checkpoints_that_fail_and_then_a_power_failure(
    echod, faults, randomness, workdir, pytestconfig
):
    """A call of SQLite fails, once or for a while, in each of some checkpoints."""
    run = Run(echod, faults, randomness)
    run.start()
    run.write_some(100)
    for _ in range(4):
        rule = randomness.choice([faults.snapshot.write, faults.snapshot.sync, faults.snapshot.truncate])
        rule.fail(errno.EIO, randomness.choice([NOTHING, ALL]), randomness.randrange(4), 2)
        end = segments(run.store)[-1] + 1
        with run.server.kv() as filler:
            run.write(lambda: filler.ask(b"SET filler " + LONG) and segments(run.store)[-1] >= end)
        harness.wait_until(lambda: len(segments(run.store)) == 1 or rule.error == 0, "a checkpoint")
        rule.clear()
        run.wait_recovered()
        run.write_some(30)
    run.stop()
    try_images(run, workdir, pytestconfig.getoption("--power-images") // 4, expect_possible)


@pytest.mark.slow
def test_a_kill_before_a_new_name_is_safe_and_then_a_power_failure(
    echod, faults, randomness, workdir, pytestconfig
):
    """The next process writes to a segment whose name nobody has synced yet."""
    run = Run(echod, faults, randomness)
    directory = faults.files("store").sync
    run.start()
    run.write_some(40)
    for _ in range(3):
        wait_checkpoint(run.store)
        with directory.held() as barrier:
            fill_until(run.server, lambda: barrier.waiting)
            run.server.kill()
        with faults.snapshot.write.held():  # SQLite, too, syncs the directory
            run.start()
            run.write_some(40)
            run.server.kill()
        run.start()
    run.stop()
    try_images(run, workdir, pytestconfig.getoption("--power-images") // 2)


def fill_until(server, condition):
    """Without answers to all, for they may wait for that condition to end."""
    with server.kv() as filler:
        rest = b""
        while not condition():
            rest = rest or b"SET filler " + LONG + b"\n"
            rest = rest[filler.send_some(rest) :]
            if filler.readable():
                filler.more()
                filler.take(len(filler.buffered))


def test_an_early_acknowledgement_would_be_caught(fleet, faults, randomness, workdir):
    """The tests above can fail: with a disk that says that it is done before it is."""
    faults.early = 1
    run = Run(fleet.start, faults, randomness)
    run.start()
    run.write_some(400)
    run.stop()
    with pytest.raises(AssertionError, match="acknowledged|restore a backup"):
        try_images(run, workdir, 100)
    if fleet.members[-1].log.matches("restore a backup"):
        fleet.members[-1].wait_stopped(1)
