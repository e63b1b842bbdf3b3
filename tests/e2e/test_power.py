"""kv with storage when the power fails: the writes and syncs of a run are recorded, and a daemon is
started on what the disk may hold at any moment of it."""

import errno
import shutil
import time

import pytest

import harness
from crowd import Crowd, Mix, expect_own_answers, possible, read_all, survived
from faults import ALL, NOTHING
from power import Answers, Disk

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

    def write(self, until):
        """Until that is true, and then until the journal has it all and its log has been folded."""
        self.crowd.connect(self.server)
        for client in self.crowd.clients:
            self.ports[client.name].append(client.stream.sock.getsockname()[1])
        self.crowd.run(until)
        self.crowd.close()
        harness.wait_until(self.is_quiet, "the log is folded")

    def write_some(self, count):
        enough = count + sum(client.answered for client in self.crowd.clients)
        self.write(lambda: sum(client.answered for client in self.crowd.clients) >= enough)

    def is_quiet(self):
        before = self.faults.write.calls
        time.sleep(0.4)
        return self.faults.write.calls == before

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

    def __init__(self, directory, moment, acknowledged):
        self.directory, self.moment, self.acknowledged = directory, moment, acknowledged


def write_image(files, directory, randomness):
    """The store of the root; LMDB's lock file holds anything, as it is only for the living."""
    (directory / "store").mkdir(parents=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)
    lock = directory / "store/lock.mdb"
    if lock.exists() and randomness.random() < 0.5:
        lock.write_bytes(randomness.randbytes(randomness.choice([0, 100, 8192])))


def images(run, directory, count):
    """As many images, from the whole of the trace."""
    records = [record for record in run.faults.records() if record.kind != "M"]
    randomness, disk, answers = run.randomness, Disk(records), Answers(records)
    moments = sorted(randomness.randrange(len(records)) for _ in range(count))
    at = 0
    for number, moment in enumerate(moments):
        while at <= moment:
            disk.follow(records[at])
            at += 1
        path = directory / f"image{number}"
        write_image(disk.image(randomness), path, randomness)
        acknowledged = run.acknowledged(answers, records[moment].number)
        yield Image(path, records[moment].number, acknowledged)


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


def open_images(run, some, expect):
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
        found = read_all(server, run.crowd.all_keys(), name)
        try:
            expect(run, image, {request.key: request.value for request in found})
        except AssertionError as mistake:
            raise AssertionError(f"power failed at record {image.moment}: {mistake}") from None
        with server.kv(name) as client:
            assert client.ask(b"SET new 1") == b"OK"
    server.stop()


def try_images(run, workdir, count, expect=expect_beginnings):
    directory = workdir / "images"
    some = []
    for number, image in enumerate(images(run, directory, count), 1):
        some.append(image)
        if len(some) == TOGETHER or number == count:
            open_images(run, some, expect)
            shutil.rmtree(directory)
            some = []


@pytest.mark.slow
def test_every_acknowledged_write_survives_a_power_failure(
    echod, faults, randomness, workdir, pytestconfig
):
    run = Run(echod, faults, randomness)
    run.start()
    for _ in range(3):
        run.write_some(400)
    run.server.stop()
    run.start()
    run.write_some(200)
    run.stop()
    expect_nothing_else_was_written(run)
    for client in run.crowd.clients:
        expect_own_answers(client.requests)
    try_images(run, workdir, pytestconfig.getoption("--power-images"))


def expect_nothing_else_was_written(run):
    """The trace tells all: it makes the file that is there, and the file is not mapped for writing."""
    records = run.faults.records()
    mapped = {record.name for record in records if record.kind == "M"}
    assert mapped <= {"store/lock.mdb"}
    disk = Disk(records)
    for record in records:
        disk.follow(record)
    for name in ("data.mdb", "spool.0", "spool.1"):
        content = (run.faults.root / "store" / name).read_bytes()
        assert disk.files[f"store/{name}"].image(lambda: True) == content


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
        has_recovered = works == len(run.server.log.matches("read-only"))
        if has_recovered and not any(rule.error for rule in rules):
            rule, done = randomness.choice(rules), randomness.choice([NOTHING, ALL])
            skip = randomness.randrange(3 if rule is faults.dsync else 20)  # the journal's are rare
            rule.fail(errno.EIO, done, skip, randomness.randint(1, 2))
        if not has_recovered:
            time.sleep(0.005)  # more of the same refusals teach nothing
        return works >= 8

    rules = faults.sync, faults.write, faults.dsync
    run = Run(echod, faults, randomness)
    run.start()
    run.write(has_failed_often)
    for rule in rules:
        rule.clear()
    run.server.log.wait("works again after", count=len(run.server.log.matches("read-only")))
    run.write_some(100)
    run.stop()
    try_images(run, workdir, pytestconfig.getoption("--power-images") // 2, expect_possible)


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
