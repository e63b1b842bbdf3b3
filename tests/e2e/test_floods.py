"""Crowds and floods: who waits, drips, never reads, resets or sends without end, and the healthy client beside.

--crowd=N says how many clients come at once (a large run takes 9000), --flood=N how many MiB one sends (64).
"""

import resource
import select
import socket
import struct
import time

import pytest

from harness import DEADLINE, wait_until

TCP = "tcp://127.0.0.1:0"
UNIX = "unix://$DIR/kv"
KIB, MIB = 1 << 10, 1 << 20
EVERYBODY = {"max_connections": 50_000, "max_per_source": 50_000}

# What echod(8), SECURITY, says: a client in which nothing waits, and the most that waits for one.
IDLE_CLIENT = 2 * KIB
HALF_LINE = 6 * KIB
WAITING_INPUT, ONE_READ, WAITING_OUTPUT = 128 * KIB, 64 * KIB, MIB
KEPT = 2560  # of each client that has left, at most


@pytest.fixture(scope="module", autouse=True)
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def size(request):
    """Clients of a crowd."""
    return request.config.getoption("--crowd")


@pytest.fixture
def flood(request):
    """Bytes that one client sends."""
    return request.config.getoption("--flood") * MIB


def store(echod, listen=TCP, time=None, **settings):
    kv = {"kv": {"listen": listen, **EVERYBODY, **settings}}
    return echod(
        {**kv, "time": time} if time else kv,
        limits={"max_connections": EVERYBODY["max_connections"]},
    )


class Crowd:
    """Many sockets that do the same; they leave by a reset, so that TCP remembers none of them."""

    def __init__(self, address, count):
        self.socks = []
        for _ in range(count):
            sock = socket.socket(address.family)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.connect(address.sockaddr)
            sock.setblocking(False)
            self.socks.append(sock)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for sock in self.socks:
            sock.close()

    def send(self, data):
        """What each socket takes of it; returns how many are still connected."""
        connected = 0
        for sock in self.socks:
            try:
                sock.send(data)
                connected += 1
            except BlockingIOError:
                connected += 1
            except OSError:
                pass
        return connected

    def read(self):
        for sock in self.socks:
            try:
                sock.recv(4096)
            except OSError:
                pass


class Watch:
    """The daemon before a crowd comes, and that it is the same again afterwards."""

    def __init__(self, server):
        self.server = server
        self.fds, self.memory = server.fds(), server.memory()

    def grown(self):
        return self.server.memory() - self.memory

    def expect_growth_below(self, most):
        if not self.server.has_sanitizer():
            assert self.grown() < most, f"{self.grown() / MIB:.1f} MiB"

    def expect_quiet(self):
        """Nothing moves, so that no CPU is used."""
        before = self.server.cpu_seconds()
        time.sleep(1)  # a second is what is measured
        assert self.server.cpu_seconds() - before < 0.1

    def expect_baseline(self, clients=0):
        """Everybody has left, so many of them at a time, and what they had is free."""
        wait_until(lambda: self.server.fds() == self.fds, "all descriptors are closed")
        if not self.server.has_sanitizer():
            wait_until(lambda: self.grown() < clients * KEPT + MIB, "their memory is given back")


class Patient:
    """The healthy client: how long its answers take meanwhile."""

    def __init__(self, server):
        self.client = server.kv()
        self.waits = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()

    def ask(self):
        begin = time.monotonic()
        assert self.client.ask(b"GET nothing") == b"NOT_FOUND"
        self.waits.append(time.monotonic() - begin)

    def expect_short_waits(self):
        waits = sorted(self.waits)
        assert waits[len(waits) // 2] < 0.5, "seconds, usually"
        assert waits[-1] < 2, "seconds, at worst"


@pytest.mark.parametrize("listen", [TCP, UNIX], ids=["tcp", "unix"])
def test_a_crowd_that_only_waits(echod, size, listen):
    server = store(echod, listen)
    with Patient(server) as patient:
        watch = Watch(server)
        for _ in range(3):  # the second and the third take the memory of the first
            with Crowd(server.address("kv"), size) as crowd:
                for _ in range(50):
                    patient.ask()
                crowd.read()
                watch.expect_growth_below(size * IDLE_CLIENT + 2 * MIB)
                watch.expect_quiet()
            watch.expect_baseline(size)
        patient.expect_short_waits()


def test_slowloris(echod, size):
    """Each byte is progress; the end of the line is what has to come in time."""
    server = store(echod, line_timeout="3s")
    with Patient(server) as patient:
        watch = Watch(server)
        with Crowd(server.address("kv"), size) as crowd:
            begin = time.monotonic()
            while crowd.send(b"x") > 0:
                patient.ask()
                watch.expect_growth_below(size * (IDLE_CLIENT + HALF_LINE) + 2 * MIB)
                assert time.monotonic() < begin + DEADLINE, "they still drip"
            assert time.monotonic() > begin + 2
        patient.expect_short_waits()
        watch.expect_baseline(size)


def test_clients_that_never_read(echod):
    """Their answers don't pile up: past 128 KiB they are not read any more."""
    count, value = 50, b"v" * 60_000
    server = store(echod)
    with Patient(server) as patient:
        assert patient.client.ask(b"SET big " + value) == b"OK"
        watch = Watch(server)
        with Crowd(server.address("kv"), count) as crowd:
            for _ in range(20):
                crowd.send(b"GET big\n" * 8000)
                patient.ask()
            watch.expect_growth_below(count * (WAITING_INPUT + ONE_READ + WAITING_OUTPUT))
            watch.expect_quiet()
        patient.expect_short_waits()
        watch.expect_baseline(count)


def test_the_kernel_keeps_little_for_who_never_reads(echod):
    """It would take four megabytes of answers, and the 30 seconds begin when it takes no more."""
    server = store(echod)
    with server.connect("kv", receive_buffer=4096) as client:
        client.ask(b"SET big " + b"v" * 60_000)
        client.send_some(b"GET big\n" * 100_000)

        def is_stuck():
            """It has stopped to read, and the kernel takes no more."""
            before = client.queues_there()
            time.sleep(0.05)
            return min(before) > 0 and client.queues_there() == before

        wait_until(is_stuck, "the answers of who never reads lie in the kernel")
        assert client.queues_there()[0] < 256 * KIB


def test_a_flood_of_connections(echod, size):
    server = store(echod)
    address = server.address("kv")
    with Patient(server) as patient:
        watch = Watch(server)
        for _ in range(10):
            with Crowd(address, size // 10):
                patient.ask()
        patient.expect_short_waits()
        watch.expect_baseline(size // 10)


def test_a_storm_of_resets_in_the_middle_of_answers(echod, size):
    server = store(echod)
    address = server.address("kv")
    with Patient(server) as patient:
        watch = Watch(server)
        for _ in range(10):
            with Crowd(address, size // 10) as crowd:
                crowd.send(b"SET a 1\nGET a\n" * 500 + b"GET")
                patient.ask()
        patient.expect_short_waits()
        watch.expect_baseline(size // 10)


def pour(client, data, total, patient):
    """Sends the data over and over, up to `total` bytes, and reads what comes; returns how much came."""
    view, sent, received = memoryview(data), 0, 0
    client.sock.setblocking(False)
    end = time.monotonic() + 10 * DEADLINE
    while sent < total:
        readable, writable, _ = select.select([client.sock], [client.sock], [], DEADLINE)
        if writable:
            sent += client.sock.send(view[sent % len(data) :])
        if readable:
            received += len(client.sock.recv(MIB))
        if sent % 50 == 0:
            patient.ask()
        assert time.monotonic() < end
    patient.ask()
    return received


def test_a_pipeline_without_end(echod, flood):
    server = store(echod)
    with Patient(server) as patient, server.kv() as client:
        watch = Watch(server)
        assert pour(client, b"GET a\n" * 100_000, flood, patient) > flood // 2
        watch.expect_growth_below(WAITING_INPUT + ONE_READ + WAITING_OUTPUT + 2 * MIB)
        patient.expect_short_waits()


def test_a_line_without_end(echod, flood):
    server = store(echod, line_timeout=0)
    with Patient(server) as patient, server.kv() as client:
        watch = Watch(server)
        said = pour(client, b"x" * MIB, flood, patient)
        assert said == len(b"ERROR: line too long\n"), "once"
        watch.expect_growth_below(WAITING_INPUT + ONE_READ + 2 * MIB)
        patient.expect_short_waits()
        client.sock.settimeout(DEADLINE)
        assert client.ask(b"\nGET a") == b"NOT_FOUND"


def test_datagrams_that_are_dear_to_answer(echod):
    """64 KiB of JSON take milliseconds each; who sends them waits for them, the others do not."""
    server = store(echod, time={"listen": "udp://127.0.0.1:0"})
    dear = b'{"type": "time", "id": [0.25%s]}' % (b", 0.30000000000000004" * 2000)
    with Patient(server) as patient, server.connect("time", "udp") as first:
        assert b'"id": [0.25, 0.3' in first.ask(dear)
        for number in range(100):
            with server.connect("time", "udp") as client:
                for _ in range(10):
                    client.send(dear)
            patient.ask()
        patient.expect_short_waits()


def test_refused_clients_take_their_leave(echod, size):
    """Those over the limit are told so, a bounded number of them; none of them stays."""
    server = store(echod, max_connections=1)
    with Patient(server) as patient:
        watch = Watch(server)
        with Crowd(server.address("kv"), size):
            for _ in range(20):
                patient.ask()
            watch.expect_growth_below(4 * MIB)
        patient.expect_short_waits()
        watch.expect_baseline()
