"""Channels and their subscribers in RESP: the same messages as from redis-server, in the same order; limits; slow clients."""

import errno
import subprocess
from contextlib import ExitStack

import pytest

import harness
import resp
from faults import NOTHING
from test_redis import needs_redis, reference  # noqa: F401
from test_redis_clients import CLI, needs_cli

SOCKET = "redis+unix://$DIR/kv"
KV = {"kv": {"listen": SOCKET}}
DURABLE = {"kv": {"listen": SOCKET, "storage": "$DIR/disk/store"}}
PENDING_MAX = 1 << 20


@pytest.fixture
def server(echod):
    return echod(KV)


@pytest.fixture
def client(server):
    with resp.connect(server) as client:
        yield client


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def subscriber(request, server):
    with resp.connect(server) as subscriber:
        subscriber.call("HELLO", request.param)
        subscriber.version = request.param
        yield subscriber


def pushed(version, *words):
    """A message; words are bytes or a number."""
    head = b"%c%d\r\n" % (b">" if version == 3 else b"*", len(words))
    return head + b"".join(
        b":%d\r\n" % word if isinstance(word, int) else b"$%d\r\n%s\r\n" % (len(word), word) for word in words)  # fmt: skip


def message(client, channel, text):
    return pushed(getattr(client, "version", 2), b"message", channel, text)


def subscribe(client, *channels, command="SUBSCRIBE"):
    client.send(resp.request(command, *channels))
    for _ in channels:
        assert client.reply()[:1] in b">*"


# --- beside Redis --------------------------------------------------------------------------------


class Group:
    """Some clients of one server, by their letters."""

    def __init__(self, stack, address, version):
        self.clients = {}
        for letter in "abc":
            self.clients[letter] = stack.enter_context(resp.Client(address))
            self.clients[letter].call("HELLO", version)

    def replies(self, expected):
        return [self.clients[letter].reply() for letter in expected]

    def rest(self):
        """What each client has left: RESET is understood in any state."""
        found = []
        for client in self.clients.values():
            client.send(resp.request("RESET"))
            found.append([])
            while found[-1][-1:] != [b"+RESET\r\n"]:
                found[-1].append(client.reply())
        return found


@pytest.fixture(params=[2, 3], ids=["resp2", "resp3"])
def groups(request, server, reference):  # noqa: F811
    """Three clients of each server, echod's first."""
    with ExitStack() as stack:
        yield [Group(stack, address, request.param) for address in (server.address("kv"), reference)]


# "CLIENT: REQUEST; REQUEST... | RECEIVERS": the requests are sent in one piece; without receivers, the client gets a
# reply to each of them.
SESSIONS = {
    "subscriptions": [
        "a: UNSUBSCRIBE", "a: PUNSUBSCRIBE", "a: UNSUBSCRIBE x y | aa", "a: PUNSUBSCRIBE x y | aa", "a: SUBSCRIBE x",
        "a: SUBSCRIBE x y x | aaa", "a: PSUBSCRIBE x x | aa", "b: PUBSUB NUMSUB x y none", "b: PUBSUB NUMSUB", "b: PUBSUB NUMPAT",
        "b: PUBSUB CHANNELS x*", "b: PUBSUB CHANNELS [^x]", "b: PUBSUB CHANNELS p*", "c: SUBSCRIBE x", "c: PSUBSCRIBE x",
        "b: PUBSUB NUMSUB x y", "b: PUBSUB NUMPAT", "a: UNSUBSCRIBE x", "a: UNSUBSCRIBE x", "a: UNSUBSCRIBE none",
        "a: PUNSUBSCRIBE y", "a: UNSUBSCRIBE", "a: UNSUBSCRIBE", "a: PUNSUBSCRIBE", "a: PING", "b: PUBSUB NUMSUB x y",
        "b: PUBSUB NUMPAT", "c: RESET", "b: PUBSUB CHANNELS", "b: PUBSUB NUMPAT",
    ],
    "errors": [
        "a: SUBSCRIBE", "a: PSUBSCRIBE", "a: PUBLISH", "a: PUBLISH x", "a: PUBLISH x y z", "a: PUBSUB", "a: PUBSUB FOO",
        "a: PUBSUB CHANNELS x y", "a: pubsub channels x y", "a: PUBSUB NUMPAT x", "a: pubsub numpat", "a: PUBLISH x y",
        "a: CLIENT REPLY OFF; RESET | a",
    ],
    "messages": [
        "a: SUBSCRIBE x", "b: PUBLISH x hello | ab", "b: publish x hello | ab", "b: PUBLISH y hello", "b: PUBLISH X hello",
        "c: SUBSCRIBE y x | cc", "b: PUBLISH x 1; PUBLISH y 2; PUBLISH x 3 | abcbcabc", "c: PSUBSCRIBE x*", "b: PUBLISH x 4 | abcc",
        "b: PUBLISH xy 5 | bc", "a: UNSUBSCRIBE", "b: PUBLISH x 6 | bcc", "c: QUIT", "b: PUBLISH x 7",
    ],
    "any-bytes": [
        "a: SUBSCRIBE ", "b: PUBLISH   | ab", "b: PUBSUB CHANNELS", "b: PUBSUB CHANNELS ", "b: PUBSUB CHANNELS *", "b: PUBSUB NUMSUB ",
        "a: PSUBSCRIBE ", "a: PSUBSCRIBE *", "b: PUBLISH   | aab", "a: PUNSUBSCRIBE *", "b: PUBLISH \0 \xff", "a: SUBSCRIBE \r\n",
        "b: PUBLISH \r\n $5\r\n | ab", "a: PSUBSCRIBE [\0-\x10]*", "b: PUBLISH \x07\n \0 | ab", "a: UNSUBSCRIBE ",
    ],
    "context": [
        "a: SUBSCRIBE x", "a: PING", "a: PING hello", "a: PING a b", "a: GET x", "a: gEt x", "a: GET", "a: FOO x", "a: SET x", "a: SET x 1 EX x",
        "a: EXPIRE x x", "a: CLIENT NO-EVICT on", "a: CLIENT", "a: client getname", "a: config GET nothing", "a: PUBSUB NUMSUB x", "a: COMMAND INFO none",
        "a: OBJECT FREQ none", "a: MEMORY USAGE none", "a: ACL WHOAMI", "a: CLUSTER INFO", "a: SLOWLOG GET", "a: LATENCY LATEST", "a: MODULE LIST",
        "a: INCR n", "a: DISCARD", "a: WATCH n", "a: UNWATCH", "a: EXEC", "a: SELECT 0", "a: ECHO x", "a: DBSIZE", "a: AUTH x",
        "a: MULTI", "a: EXEC", "a: UNSUBSCRIBE", "a: GET x", "a: PING", "a: WATCH n", "b: INCR n", "a: SUBSCRIBE x", "a: EXEC", "a: UNSUBSCRIBE",
        "a: MULTI", "a: PING", "a: EXEC", "a: PSUBSCRIBE x", "a: GET x", "a: RESET", "a: GET x", "a: SUBSCRIBE x", "a: QUIT",
    ],
    "own-messages": [
        "a: SUBSCRIBE x", "b: SUBSCRIBE x", "c: PUBLISH x 0 | abc", "c: MULTI", "c: SUBSCRIBE x", "c: PUBLISH x 1",
        "c: PUBLISH x 2", "c: PING", "c: UNSUBSCRIBE x", "c: PUBLISH x 3", "c: EXEC | aaabbbc", "c: PING",
    ],
    "transactions": [
        "a: MULTI", "a: SUBSCRIBE x", "b: PUBLISH x 1", "a: GET x", "a: PING", "a: PSUBSCRIBE x", "a: UNSUBSCRIBE x", "a: UNSUBSCRIBE", "a: EXEC", "a: PING",
        "b: PUBLISH x 2 | ab", "a: RESET", "a: MULTI", "a: SUBSCRIBE", "a: SUBSCRIBE x", "a: EXEC", "b: PUBLISH x 3", "a: MULTI",
        "a: UNSUBSCRIBE", "a: PUNSUBSCRIBE", "a: PUBSUB NUMPAT", "a: PUBSUB CHANNELS", "a: PUBLISH x 4", "a: EXEC", "a: SUBSCRIBE x", "b: MULTI",
        "b: PUBLISH x 5", "b: SET n 5", "b: PUBLISH x 6", "b: EXEC | aab", "b: MULTI", "b: PUBLISH x 7", "b: DISCARD",
    ],
    "no-replies": [
        "a: CLIENT REPLY OFF; SUBSCRIBE x; PING; SUBSCRIBE y | aa", "b: PUBLISH x 1 | ab", "a: UNSUBSCRIBE y; UNSUBSCRIBE x; GET n | aa",
        "a: CLIENT REPLY ON", "a: CLIENT REPLY SKIP; SUBSCRIBE z x; PING | aaa", "a: UNSUBSCRIBE z; UNSUBSCRIBE x",
        "a: CLIENT REPLY OFF; MULTI; SUBSCRIBE x; PUBLISH x 1; EXEC | aa", "b: PUBLISH x 2 | ab", "a: RESET", "a: PING",
    ],
}  # fmt: skip
RESP3_SESSIONS = {
    "own-messages": [
        "a: SUBSCRIBE x", "a: PUBLISH x 1 | aa", "a: PUBLISH x 1; PING; PUBLISH x 2; GET n | aaaaaa", "a: PSUBSCRIBE *", "a: PUBLISH x 3 | aaa",
        "a: MULTI", "a: PUBLISH x 4", "b: PUBLISH x 5 | aab", "a: PING", "a: CLIENT REPLY SKIP; PING", "a: RESET", "a: SUBSCRIBE x",
    ],
    "both-versions": [
        "a: SUBSCRIBE x", "a: CLIENT REPLY SKIP; PUBLISH x 1; PING | aa", "a: CLIENT REPLY OFF; PUBLISH x 1; PING; CLIENT REPLY ON | aa",
        "b: RESET", "b: SUBSCRIBE x", "c: PUBLISH x 2 | abc",
    ],
}  # fmt: skip


def play(groups, session):
    for step in session:
        requests, _, receivers = step.partition(" | ")
        letter, _, requests = requests.partition(": ")
        requests = requests.split("; ")
        for group in groups:
            group.clients[letter].send(
                b"".join(resp.split(request.encode("latin-1")) for request in requests))  # fmt: skip
        ours, theirs = (group.replies(receivers or letter * len(requests)) for group in groups)
        assert ours == theirs, step
        if requests == ["QUIT"]:
            assert [group.clients.pop(letter).rest() for group in groups] == [b"", b""]


@needs_redis
@pytest.mark.parametrize("name", SESSIONS)
def test_the_same_messages(groups, name):
    play(groups, SESSIONS[name])
    assert groups[0].rest() == groups[1].rest()


@needs_redis
@pytest.mark.parametrize("groups", [3], indirect=True)
@pytest.mark.parametrize("name", RESP3_SESSIONS)
def test_the_same_messages_in_resp3(groups, name):
    play(groups, RESP3_SESSIONS[name])
    assert groups[0].rest() == groups[1].rest()


def comparable(replies):
    """Patterns, channels and confirmations without names have no order."""
    return sorted(b" ".join(sorted(reply.split(b"\r\n"))) for reply in replies)


FORMS = (
    "SUBSCRIBE +c|SUBSCRIBE c|PSUBSCRIBE +p|PSUBSCRIBE p|UNSUBSCRIBE +c|UNSUBSCRIBE c|PUNSUBSCRIBE +p|PUNSUBSCRIBE p|PUBLISH c m|"
    "PUBLISH c m|PUBLISH c m|PUBLISH c m|PUBSUB NUMSUB +c|PUBSUB NUMPAT|PUBSUB CHANNELS|PUBSUB CHANNELS p|GET c|RESET|HELLO 3"
).split("|")
CHOICES = {
    "c": [b"a", b"b", b"ab", b"abc", b"", b"news.art", b"news.*"],
    "p": [b"*", b"a*", b"?", b"[ab]", b"news.*", b"news.\\*", b"", b"*b*"],
    "m": [b"", b"hello", b"\r\n", b"v" * 5000],
}


@needs_redis
def test_thousands_of_random_commands(groups, randomness):
    """Behind each command, PING shows that every client has all that it gets."""
    letters = "abc"
    for number in range(3000):
        words = []
        for part in randomness.choice(FORMS).split(" "):
            times = randomness.randrange(1, 4) if part.startswith("+") else 1
            for _ in range(times):
                words.append(randomness.choice(CHOICES.get(part.lstrip("+"), [part.encode()])))
        letter, mark = randomness.choice(letters), b"mark%d" % number
        found = []
        for group in groups:
            # The others send theirs only when the command has been run.
            found.append([])
            for other in letter + letters.replace(letter, ""):
                client, replies = group.clients[other], []
                client.send((resp.request(*words) if other == letter else b"") + resp.request("PING", mark))
                while mark not in b"".join(replies[-1:]):
                    replies.append(client.reply())
                found[-1].append(replies if words[0] == b"HELLO" else comparable(replies))
        if words[0] != b"HELLO":
            assert found[0] == found[1], (letter, words)


# --- order ---------------------------------------------------------------------------------------


def test_a_message_waits_behind_replies_that_wait_for_the_disk(echod, faults):
    server = echod(DURABLE, env=faults.env)
    with resp.connect(server) as subscriber, resp.connect(server) as client:
        subscriber.version = 3
        subscriber.call("HELLO", 3)
        subscribe(subscriber, b"x")
        for fails in False, True:
            with faults.wal.sync.held() as barrier:
                subscriber.send(b"".join(map(resp.split, [b"SET a 1", b"INCR a", b"ECHO known", b"MULTI", b"INCR a", b"GET a", b"EXEC"])))
                barrier.wait_held()
                for number in range(3):
                    assert client.ask(b"PUBLISH x %d" % number) == b":1\r\n"
                subscriber.send(resp.split(b"PUBLISH x own"))
                harness.wait_until(lambda: subscriber.unread() == 0, "the daemon reads")
                assert client.ask(b"PUBLISH x last") == b":1\r\n"
                assert not subscriber.readable()
                if fails:
                    faults.wal.sync.fail(errno.EIO, NOTHING)
            replies = [subscriber.reply() for _ in range(12)]
            failed = b"-ERR storage failed\r\n"
            assert replies[3:6] == [b"+OK\r\n", b"+QUEUED\r\n", b"+QUEUED\r\n"] or fails
            if not fails:
                assert replies[:3] == [b"+OK\r\n", b":2\r\n", b"$5\r\nknown\r\n"]
                assert replies[6] == b"*2\r\n:3\r\n$1\r\n3\r\n"
            else:
                assert replies[:3] == [failed, failed, b"$5\r\nknown\r\n"] and replies[6] == failed
            assert replies[7:] == [*(message(subscriber, b"x", b"%d" % number) for number in range(3)),
                                   message(subscriber, b"x", b"own"), b":1\r\n"]  # fmt: skip
            assert subscriber.reply() == message(subscriber, b"x", b"last")
            faults.wal.sync.clear()


def test_messages_behind_a_stuck_disk_have_a_limit(echod, faults):
    server = echod(DURABLE, env=faults.env)
    with resp.connect(server) as subscriber, resp.connect(server) as client:
        subscriber.call("HELLO", 3)
        subscribe(subscriber, b"x")
        with faults.wal.sync.held() as barrier:
            subscriber.send(resp.split(b"SET a 1"))
            barrier.wait_held()
            count = publish_until_nobody_gets_it(client)
            server.wait_closed("slow_reader")
        assert count * 60_000 <= 3 * PENDING_MAX
        assert client.ask(b"GET a") == b"$1\r\n1\r\n"


def test_a_message_is_never_within_a_reply(server, client):
    keys = [b"key:%d" % number for number in range(50_000)]
    for at in range(0, len(keys), 10_000):
        client.call("MSET", *(word for key in keys[at : at + 10_000] for word in (key, b"v")))
    with resp.connect(server) as subscriber:
        subscriber.version = 3
        subscriber.call("HELLO", 3)
        subscribe(subscriber, b"x")
        subscriber.send(resp.split(b"KEYS *") + resp.split(b"ECHO next"))
        subscriber.more()  # the reply has begun, and is too long to be sent without us
        assert client.ask(b"PUBLISH x 1") == b":1\r\n" and client.ask(b"PUBLISH x 2") == b":1\r\n"
        assert sorted(resp.items(subscriber.reply())) == sorted(keys)
        assert [subscriber.reply() for _ in range(2)] == [message(subscriber, b"x", b"1"), message(subscriber, b"x", b"2")]
        assert subscriber.reply() == b"$4\r\nnext\r\n"


def test_no_message_comes_behind_the_end_of_a_subscription(server, subscriber):
    """Many publishers, whose messages may be of the same turn of the loop."""
    with ExitStack() as stack:
        publishers = [stack.enter_context(resp.connect(server)) for _ in range(20)]
        for _ in range(50):
            subscribe(subscriber, b"x")
            for number, publisher in enumerate(publishers):
                publisher.send(resp.request("PUBLISH", "x", number))
                if number == 10:
                    subscriber.send(resp.request("UNSUBSCRIBE", "x") + resp.request("GET", "none"))
            received = int(sum(int(publisher.reply()[1:]) for publisher in publishers))
            replies = [subscriber.reply() for _ in range(received + 2)]
            assert replies[-2] == pushed(subscriber.version, b"unsubscribe", b"x", 0)
            assert replies[-1] == (b"_\r\n" if subscriber.version == 3 else b"$-1\r\n")


def test_many_subscribers(server, client, subscriber):
    """More than have a place among those that are written to at the end of a turn."""
    with ExitStack() as stack:
        crowd = [stack.enter_context(resp.connect(server)) for _ in range(300)]
        for number, one in enumerate(crowd):
            if number % 2:
                one.version = 3
                one.call("HELLO", 3)
            subscribe(one, b"x")
            subscribe(one, b"y*", command="PSUBSCRIBE")
        for number in range(10):
            client.send(resp.request("PUBLISH", "x", number) + resp.request("PUBLISH", "yes", number))
            assert [client.reply(), client.reply()] == [b":300\r\n"] * 2
        for one in crowd:
            for number in range(10):
                assert one.reply() == message(one, b"x", b"%d" % number)
                assert one.reply() == pushed(getattr(one, "version", 2), b"pmessage", b"y*", b"yes", b"%d" % number)
        for one in crowd[:250]:
            one.close()
        harness.wait_until(lambda: client.ask(b"PUBSUB NUMSUB x") == b"*2\r\n$1\r\nx\r\n:50\r\n", "they have left")
        assert client.ask(b"PUBLISH x more") == b":50\r\n"
        assert {one.reply() for one in crowd[250::2]} == {message(crowd[250], b"x", b"more")}
    harness.wait_until(lambda: client.ask(b"PUBSUB CHANNELS") == b"*0\r\n", "all have left")
    assert client.ask(b"PUBSUB NUMPAT") == b":0\r\n"


# --- slow and idle subscribers -------------------------------------------------------------------


def publish_until_nobody_gets_it(client, command=b"PUBLISH"):
    """How many messages of 60,000 bytes the subscriber of x was given."""
    for count in range(1000):
        if client.call(command, "x", 60_000 * b"v") == b":0\r\n":
            return count
    raise harness.Failure("a subscriber that does not read is still there")


def test_a_slow_subscriber_ends_and_holds_up_nobody(server, client, subscriber):
    before = server.memory()
    with resp.connect(server) as reader, resp.connect(server) as other:
        subscribe(subscriber, b"x")
        subscribe(reader, b"*", command="PSUBSCRIBE")
        count = 0
        while client.call("PUBLISH", "x", 60_000 * b"v") == b":2\r\n":
            assert len(reader.reply()) > 60_000 and other.ask(b"PING") == b"+PONG\r\n"
            count += 1
            assert count < 1000
        assert len(reader.reply()) > 60_000
        server.log.wait(r" info kv .*closed: slow_reader \(")
        assert 10 < count and (count - 5) * 60_000 < 2 * PENDING_MAX, "of output, and of what the kernel has taken"
        if not server.has_sanitizer():
            assert server.memory() - before < 16 << 20
        assert client.ask(b"PUBLISH x end") == b":1\r\n"
        assert reader.reply() == pushed(2, b"pmessage", b"*", b"x", b"end")
        assert b"sub=" in client.ask(b"CLIENT LIST TYPE PUBSUB") and other.ask(b"PING") == b"+PONG\r\n"


def test_too_much_at_once(server, client, subscriber):
    """A transaction publishes more than may wait for a subscriber, who cannot read meanwhile."""
    subscribe(subscriber, b"x")
    client.send(b"".join([resp.request("MULTI"), *30 * [resp.request("PUBLISH", "x", 60_000 * b"v")], resp.request("EXEC")]))
    assert [client.reply() for _ in range(31)] == [b"+OK\r\n", *30 * [b"+QUEUED\r\n"]]
    assert client.reply() == b"*30\r\n" + 18 * b":1\r\n" + 12 * b":0\r\n"
    server.wait_closed("slow_reader")
    assert client.ask(b"PUBSUB CHANNELS") == b"*0\r\n"


def test_too_much_of_ones_own(server, client):
    with resp.connect(server) as subscriber:
        subscriber.call("HELLO", 3)
        subscribe(subscriber, *(b"*" * number for number in range(1, 100)), command="PSUBSCRIBE")
        subscriber.send(resp.request("PUBLISH", "x", 60_000 * b"v"))
        server.wait_closed("slow_reader")
    assert client.ask(b"PUBSUB NUMPAT") == b":0\r\n"


def test_a_pipeline_of_messages_arrives(server, client, subscriber):
    subscribe(subscriber, b"x")
    count = PENDING_MAX // 2 // len(message(subscriber, b"x", 100 * b"v"))
    client.send(count * resp.request("PUBLISH", "x", 100 * b"v"))
    assert client.exactly(4 * count) == count * b":1\r\n"
    assert subscriber.exactly(count * len(message(subscriber, b"x", 100 * b"v"))) == count * message(subscriber, b"x", 100 * b"v")


def test_a_subscriber_is_not_idle(echod):
    server = echod({"kv": {"listen": SOCKET, "idle_timeout": "300ms"}})
    with resp.connect(server) as subscriber, resp.connect(server) as listener:
        subscribe(subscriber, b"x")
        subscribe(listener, b"x", command="PSUBSCRIBE")
        for count in range(1, 4):
            with resp.connect(server) as idle:
                assert idle.rest() == b""
            server.wait_closed("idle", count)
        with resp.connect(server) as client:
            assert client.ask(b"PUBLISH x 1") == b":2\r\n"
        assert subscriber.reply() == message(subscriber, b"x", b"1")
        listener.reply()
        listener.send(b"*2\r\n$4\r\nPI")  # line_timeout is another matter
        subscriber.send(resp.request("UNSUBSCRIBE"))
        subscriber.reply()
        assert subscriber.rest() == b""
        server.wait_closed("idle", 4)


# --- limits --------------------------------------------------------------------------------------


def test_lengths(client, subscriber):
    longest, longer = 512 * b"c", 513 * b"c"
    subscribe(subscriber, longest)
    subscribe(subscriber, longest, command="PSUBSCRIBE")
    assert subscriber.call("SUBSCRIBE", longer) == b"-ERR channel too long\r\n"
    assert subscriber.call("PSUBSCRIBE", longer) == b"-ERR pattern too long\r\n"
    assert subscriber.call("UNSUBSCRIBE", longer) == pushed(subscriber.version, b"unsubscribe", longer, 2)
    assert client.call("PUBLISH", longer, "x") == b"-ERR channel too long\r\n"
    assert client.call("PUBLISH", longest, "x") == b":2\r\n"
    assert subscriber.reply() == message(subscriber, longest, b"x")
    assert subscriber.reply() == pushed(subscriber.version, b"pmessage", longest, longest, b"x")
    assert client.call("PUBSUB", "CHANNELS", longer) == b"-ERR pattern too long\r\n"
    assert client.call("PUBSUB", "NUMSUB", longer) == b"*2\r\n$513\r\n%s\r\n:0\r\n" % longer


def test_an_error_in_the_middle_of_a_long_command_is_not_heard_either(client):
    """Nor is it when the command is continued after its first confirmations have been read."""
    client.call("HELLO", 3)
    names = [b"channel:%d" % number for number in range(65537)]
    expected = b"".join(pushed(3, b"subscribe", name, number) for number, name in enumerate(names[:-1], 1)) + b"+OK\r\n"
    off, on = resp.split(b"CLIENT REPLY OFF"), resp.split(b"CLIENT REPLY ON")
    requests = off + resp.request("SUBSCRIBE", *names[:32768]) + resp.request("SUBSCRIBE", *names[32768:]) + on
    assert client.exchange(requests, len(expected)) == expected


def test_as_many_subscriptions_as_one_may_have(server, client, subscriber):
    """All confirmations arrive, although they are more than may wait in the output."""
    names = [b"channel:%d" % number for number in range(65536)]
    before = server.memory()
    for at in range(0, len(names), 32768):
        part = names[at : at + 32768]
        expected = b"".join(pushed(subscriber.version, b"subscribe", name, at + number) for number, name in enumerate(part, 1))
        assert subscriber.exchange(resp.request("SUBSCRIBE", *part), len(expected)) == expected
    assert subscriber.call("SUBSCRIBE", names[7]) == pushed(subscriber.version, b"subscribe", names[7], 65536)
    subscriber.send(resp.request("PSUBSCRIBE", "one", "more"))
    assert subscriber.reply() == b"-ERR too many subscriptions\r\n"
    assert client.ask(b"PUBSUB CHANNELS") == b"-ERR too many channels for one reply\r\n"
    assert client.ask(b"PUBSUB CHANNELS channel:7") == b"*1\r\n$9\r\nchannel:7\r\n"
    assert client.ask(b"PUBLISH channel:65535 x") == b":1\r\n"
    assert subscriber.reply() == message(subscriber, b"channel:65535", b"x")

    subscriber.send(resp.request("UNSUBSCRIBE") + resp.request("PING", "end"))
    subscriber.more()  # the confirmations have begun
    assert client.ask(b"PUBLISH channel:65535 y") == b":1\r\n"
    found = [subscriber.reply() for _ in range(65538)]
    assert found.pop() == b"$3\r\nend\r\n"
    assert found.count(message(subscriber, b"channel:65535", b"y")) == 1
    assert found.index(message(subscriber, b"channel:65535", b"y")) < len(found) - 1
    found.remove(message(subscriber, b"channel:65535", b"y"))
    assert found == [pushed(subscriber.version, b"unsubscribe", name, 65535 - number) for number, name in enumerate(names)]
    assert client.ask(b"PUBSUB CHANNELS") == b"*0\r\n"
    if not server.has_sanitizer():
        for _ in range(3):
            expected = sum(len(pushed(subscriber.version, b"subscribe", name, number)) for number, name in enumerate(names[:32768], 1))
            subscriber.exchange(resp.request("SUBSCRIBE", *names[:32768]), expected)
            assert subscriber.ask(b"RESET") == b"+RESET\r\n"
            if subscriber.version == 3:
                subscriber.call("HELLO", 3)
        assert server.memory() - before < 32 << 20


def test_patterns_that_take_long_to_match(server, client, subscriber):
    """The publisher of the one channel gets an error; the others and their channels are not affected."""
    evil = [b"*" + 250 * b"a" + b"%03d" % number for number in range(400)]
    subscribe(subscriber, *evil, b"a*", command="PSUBSCRIBE")
    with resp.connect(server) as other:
        client.send(20 * resp.request("PUBLISH", 512 * b"a", "x"))
        assert other.ask(b"PING") == b"+PONG\r\n"
        for _ in range(20):
            assert client.reply().startswith(b"-ERR matching the patterns of all subscribers takes too long")
        assert client.ask(b"PUBLISH abc x") == b":1\r\n"
        assert subscriber.reply() == pushed(subscriber.version, b"pmessage", b"a*", b"abc", b"x")


# --- what administrators see ---------------------------------------------------------------------


def test_client_list_and_info(client, subscriber):
    subscribe(subscriber, b"x", b"y")
    subscribe(subscriber, b"x*", command="PSUBSCRIBE")
    assert b" flags=P db=0 sub=2 psub=1 " in client.ask(b"CLIENT LIST") and b" flags=N db=0 sub=0 psub=0 " in client.ask(b"CLIENT LIST")
    for kind, flag in (b"pubsub", b"P"), (b"normal", b"N"):
        lines = client.ask(b"CLIENT LIST TYPE " + kind)
        assert lines.count(b"id=") == 1 and b" flags=%s " % flag in lines
    assert b"\r\npubsub_channels:2\r\npubsub_patterns:1\r\n" in client.ask(b"INFO stats")
    if subscriber.version == 3:
        assert b" flags=P db=0 sub=2 psub=1 " in subscriber.ask(b"CLIENT INFO")
    subscriber.ask(b"RESET")
    assert b" flags=N db=0 sub=0 psub=0 " in subscriber.ask(b"CLIENT INFO")
    assert b"\r\npubsub_channels:0\r\npubsub_patterns:0\r\n" in client.ask(b"INFO stats")


def test_client_kill(server, client, subscriber):
    subscribe(subscriber, b"x")
    with resp.connect(server) as other:
        assert other.ask(b"PING") == b"+PONG\r\n"
        assert client.ask(b"CLIENT KILL TYPE PUBSUB") == b":1\r\n" and subscriber.rest() == b""
        assert client.ask(b"PUBLISH x 1") == b":0\r\n" and client.ask(b"PUBSUB CHANNELS") == b"*0\r\n"
        subscribe(other, b"x")
        assert client.ask(b"CLIENT KILL TYPE NORMAL") == b":0\r\n"
        assert client.ask(b"PUBLISH x 2") == b":1\r\n" and other.reply() == message(other, b"x", b"2")


def test_instances_are_separate_and_a_reload_ends_nothing(echod):
    services = {"kv": {"listen": SOCKET}, "two": {"type": "kv", "listen": "redis+unix://$DIR/two"}}
    server = echod(services)
    with resp.connect(server) as one, resp.connect(server, "two") as two, resp.connect(server) as client:
        subscribe(one, b"x")
        subscribe(two, b"x")
        assert client.ask(b"PUBLISH x 1") == b":1\r\n" and one.reply() == message(one, b"x", b"1")
        assert server.reload({**services, "kv": {"listen": SOCKET, "max_value": 1000}})
        assert client.ask(b"PUBLISH x 2") == b":1\r\n" and one.reply() == message(one, b"x", b"2")
        assert server.reload({"kv": services["kv"]})
        assert two.rest() == b""
        assert client.ask(b"PUBLISH x 3") == b":1\r\n" and one.reply() == message(one, b"x", b"3")
        server.send_signal(harness.signal.SIGTERM)
        assert one.rest() == b""
    server.wait_stopped()


def test_it_works_while_the_store_is_read_only(echod, faults):
    server = echod(DURABLE, env=faults.env)
    with resp.connect(server) as subscriber, resp.connect(server) as client:
        subscribe(subscriber, b"x")
        faults.wal.sync.fail(errno.EIO, NOTHING)
        assert client.ask(b"SET a 1") == b"-ERR storage failed\r\n"
        assert client.ask(b"PUBLISH x 1") == b":1\r\n" and subscriber.reply() == message(subscriber, b"x", b"1")
        faults.wal.sync.clear()


# --- clients of Redis ----------------------------------------------------------------------------


@needs_cli
def test_redis_cli(server, client):
    command = [CLI, "-s", server.address("kv").path, "SUBSCRIBE", "x", "y"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            lines = [process.stdout.readline() for _ in range(6)]
            assert lines == [b"subscribe\n", b"x\n", b"1\n", b"subscribe\n", b"y\n", b"2\n"]
            assert client.ask(b"PUBLISH y hello") == b":1\r\n"
            assert [process.stdout.readline() for _ in range(3)] == [b"message\n", b"y\n", b"hello\n"]
        finally:
            process.kill()


def test_python_redis(server):
    redis = pytest.importorskip("redis")
    with redis.Redis(unix_socket_path=server.address("kv").path) as client:
        with client.pubsub() as pubsub:
            heard = []
            pubsub.subscribe("x", "y")
            pubsub.psubscribe(**{"news.*": heard.append})

            def get():
                return pubsub.get_message(timeout=harness.DEADLINE)

            kinds = [get() for _ in range(3)]
            assert [(one["type"], one["data"]) for one in kinds] == [("subscribe", 1), ("subscribe", 2), ("psubscribe", 3)]
            assert client.publish("x", "hello") == 1 and client.publish("news.art", b"\0") == 1
            assert get() == {"type": "message", "pattern": None, "channel": b"x", "data": b"hello"}
            assert get() is None and heard[0]["pattern"] == b"news.*" and heard[0]["channel"] == b"news.art"
            assert client.pubsub_numsub("x", "none") == [(b"x", 1), (b"none", 0)] and client.pubsub_numpat() == 1
            assert sorted(client.pubsub_channels()) == [b"x", b"y"]
            pubsub.ping("are you there")
            assert get() == {"type": "pong", "pattern": None, "channel": None, "data": b"are you there"}
            pubsub.unsubscribe()
            pubsub.punsubscribe()
            assert {get()["type"] for _ in range(3)} == {"unsubscribe", "punsubscribe"}
            assert not pubsub.subscribed
        assert client.publish("x", "nobody") == 0
