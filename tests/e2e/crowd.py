"""Many clients of a key-value store at once, each with a pipeline of requests in flight.

Every request is kept with what was answered and when (linearizable.Request), so that it can be said
afterwards what the store may hold: by `survived` where each client has keys of its own, by
linearizable.check where they share them.
"""

import random
import select
import time
from math import inf

import harness
from linearizable import DEL, GET, SET, Request

FAILED = b"ERROR: storage failed"


class Mix:
    """What clients ask: a random pipeline each time, of unique values."""

    def __init__(self, seed, keys, shared=False, longest=16, value_sizes=(0, 40), reads=0.25):
        self.randomness = random.Random(seed)
        self.keys, self.shared, self.longest, self.reads = keys, shared, longest, reads
        self.value_sizes = value_sizes
        self.count = 0

    def key(self, client, number):
        return f"k{number}" if self.shared else f"{client}.k{number}"

    def all_keys(self, clients):
        clients = [None] if self.shared else clients
        return [self.key(client, number) for client in clients for number in range(self.keys)]

    def request(self, client):
        key = self.key(client, self.randomness.randrange(self.keys))
        chance = self.randomness.random()
        if chance < self.reads:
            return Request(client, GET, key)
        if chance < self.reads + 0.15:
            return Request(client, DEL, key)
        self.count += 1
        padding = "x" * self.randomness.randint(*self.value_sizes)
        return Request(client, SET, key, f"{client}:{self.count}:{padding}")

    def pipeline(self, client):
        return [self.request(client) for _ in range(self.randomness.randint(1, self.longest))]


def to_line(request):
    words = [request.verb, request.key, *([request.value] if request.verb == SET else [])]
    return " ".join(words).encode() + b"\n"


class Client:
    """A client with a name that stays the same when its daemon is another one."""

    def __init__(self, name):
        self.name = name
        self.requests = []  # all that were sent, in order
        self.answered = 0  # of them
        self.acknowledged = 0  # of them, when its last daemon went away
        self.stream = None

    def restart(self, found):
        """Forgets its requests: what was found of its keys is where it goes on from."""
        own = [Request(self.name, SET, key, value, end=0)
               for key, value in found.items() if value is not None]
        self.requests, self.answered = own, len(own)

    def connect(self, stream):
        assert self.answered == len(self.requests), "abandon() comes first"
        self.stream = stream

    def send(self, pipeline):
        """In one segment, if it is not too long for one."""
        now = time.monotonic()
        for request in pipeline:
            request.begin = now
        self.requests += pipeline
        self.stream.send(b"".join(map(to_line, pipeline)))

    def waits(self):
        return self.answered < len(self.requests)

    def receive(self):
        """Takes the answers that have come; False at the end of the stream."""
        try:
            open_ = bool(self.stream.more())
        except OSError:
            open_ = False
        now = time.monotonic()
        *lines, self.stream.buffered = self.stream.buffered.split(b"\n")
        for line in lines:
            self._answer(self.requests[self.answered], line, now)
            self.answered += 1
        return open_

    @staticmethod
    def _answer(request, line, now):
        text = line.decode()
        request.end = now
        if line == FAILED:
            request.is_certain, request.end = False, inf
        elif request.verb == GET:
            request.value = None if text == "NOT_FOUND" else text
        elif request.verb == DEL:
            assert text in ("DELETED", "NOT_FOUND"), f"{request} was answered {text!r}"
            request.deleted = text == "DELETED"
        else:
            assert text == "OK", f"{request} was answered {text!r}"

    def abandon(self, end):
        """The daemon has gone, at `end` at the latest: what it has not answered, nobody knows."""
        for request in self.requests[self.answered :]:
            request.is_certain, request.end = False, end
        self.acknowledged, self.answered = self.answered, len(self.requests)
        self.stream.close()
        self.stream = None


class Crowd:
    """Clients that go on and on."""

    def __init__(self, count, mix):
        self.mix = mix
        self.clients = [Client(f"c{number}") for number in range(count)]

    def connect(self, server, name="kv"):
        for client in self.clients:
            client.connect(server.kv(name))

    def run(self, until, at_end=None):
        """Keeps every client busy until `until()`, then calls `at_end` and takes the last answers."""
        poll = select.poll()
        by_fd = {client.stream.sock.fileno(): client for client in self.clients}
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        deadline = time.monotonic() + 3 * harness.DEADLINE
        while not until():
            assert time.monotonic() < deadline, "the clients get no answers"
            for client in by_fd.values():
                if not client.waits():
                    client.send(self.mix.pipeline(client.name))
            for fd, _ in poll.poll(10):
                assert by_fd[fd].receive(), "the daemon has closed"
        if at_end is not None:
            at_end()
        for client in by_fd.values():
            while client.waits() and client.receive():
                pass

    def abandon(self):
        now = time.monotonic()
        for client in self.clients:
            client.abandon(now)

    def close(self):
        """When all is answered."""
        for client in self.clients:
            client.stream.close()

    def names(self):
        return [client.name for client in self.clients]

    def history(self):
        return [request for client in self.clients for request in client.requests]

    def all_keys(self):
        return self.mix.all_keys(self.names())

    def check_survivors(self, server, name="kv"):
        """Each client has keys of its own; each goes on from what is there."""
        found = {request.key: request.value for request in read_all(server, self.all_keys(), name)}
        for client in self.clients:
            own = {key: found[key] for key in self.mix.all_keys([client.name])}
            survived(client.requests, client.acknowledged, own)
            expect_own_answers(client.requests[: client.acknowledged])
            client.restart(own)


def read_all(server, keys, name="kv", client="reader"):
    """What the store holds, as certain GETs."""
    requests = [Request(client, GET, key) for key in keys]
    reader = Client(client)
    with server.kv(name) as stream:
        reader.connect(stream)
        reader.send(requests)
        while reader.waits():
            assert reader.receive(), "the daemon has closed"
    assert all(request.is_certain for request in requests)
    return requests


# --- what may be found ---------------------------------------------------------------------------


class Model:
    """The keys of one client, beside what was found: how many of them differ."""

    def __init__(self, found):
        self.state, self.found = {}, found
        self.wrong = {key for key, value in found.items() if value is not None}

    def do(self, request):
        if request.verb == GET:
            return
        self.state[request.key] = request.value if request.verb == SET else None
        if self.found.get(request.key) == self.state[request.key]:
            self.wrong.discard(request.key)
        else:
            self.wrong.add(request.key)


def survived(requests, acknowledged, found):
    """How many of one client's requests, in their order, have made what was found (key to value).

    At least as many as were acknowledged, and nothing but a beginning of what was sent: no request is
    missing before one that is there. Fails if it is neither.
    """
    model = Model(found)
    for request in requests[:acknowledged]:
        model.do(request)
    lost = {key: model.state.get(key) for key in model.wrong}
    for count in range(acknowledged, len(requests) + 1):
        if not model.wrong:
            return count
        if count < len(requests):
            model.do(requests[count])
    shown = "\n".join(f"    {key}: {found.get(key)!r}, acknowledged: {value!r}"
                      for key, value in sorted(lost.items())[:20])
    raise AssertionError(f"after {acknowledged} of {len(requests)} acknowledged requests, "
                         f"the store holds what no beginning of them explains:\n{shown}")


def expect_own_answers(requests):
    """A client whose keys are its own can foretell each answer."""
    state = {}
    for request in requests:
        before = state.get(request.key)
        if request.is_certain and request.verb == GET:
            assert request.value == before, f"{request}, but the value was {before!r}"
        elif request.is_certain and request.verb == DEL:
            assert request.deleted == (before is not None), f"{request}, value was {before!r}"
        if request.verb != GET:
            state[request.key] = request.value if request.verb == SET else None


def possible(requests, acknowledged):
    """The values that each of a client's keys may have, when some of its requests have failed.

    That of its last acknowledged change, or of any later one of which nobody knows. A DEL that has found
    nothing is no change: what has failed before it may still come.
    """
    values = {}
    for number, request in enumerate(requests):
        if request.verb == GET or (request.verb == DEL and request.is_certain
                                   and number < acknowledged and not request.deleted):
            continue
        value = request.value if request.verb == SET else None
        if number < acknowledged and request.is_certain:
            values[request.key] = {value}
        else:
            values.setdefault(request.key, {None}).add(value)
    return values
