"""Limits: how many, from where, how slow, how long; and running out of descriptors."""

import socket
import threading
import time

import pytest

from harness import DEADLINE, Failure, wait_until
from transports import every_stream, needs_ipv6

TCP = "tcp://127.0.0.1:0"
FULL = b"ERROR: too many connections\n"


def kv(**settings):
    return {"kv": {"listen": TCP, **settings}}


def is_served(server, name="kv", **options):
    """A new client gets the greeting and an answer."""
    with server.connect(name, **options) as client:
        if client.line() != b"READY\n":
            return False
        return client.ask(b"GET nothing") == b"NOT_FOUND"


def is_turned_away(server, name="kv", **options):
    """A new client is closed without a word."""
    with server.connect(name, **options) as client:
        return client.rest() == b""


# --- how many ---


@every_stream
def test_one_client_too_many_is_told_and_closed(echod, listen):
    server = echod({"kv": {"listen": listen, "max_connections": 2}})
    with server.kv() as first, server.kv() as second:
        with server.connect("kv") as third:
            assert third.rest() == FULL
        server.wait_closed("limit")
        assert second.ask(b"GET a") == b"NOT_FOUND"
        first.ask(b"QUIT")
        assert first.rest() == b""
        first.close()
        server.wait_closed("quit")
        assert is_served(server)


def test_refused_clients_that_have_sent_something_get_the_text_not_a_reset(echod):
    server = echod(kv(max_connections=1))
    with server.kv():
        for _ in range(20):
            with server.connect("kv") as client:
                client.send(b"GET a\n" * 100)
                assert client.rest() == FULL


def test_queued_client_waits_until_another_leaves(echod):
    services = {**kv(max_connections=1, on_limit="queue"), "echo": {"listen": TCP}}
    server = echod(services)
    with server.connect("echo") as probe:
        first = server.kv()
        with server.connect("kv") as second:
            for _ in range(20):
                probe.ask(b"the loop turns")
            assert not second.readable(), "it has to wait in the queue"
            assert first.ask(b"QUIT") == b"BYE"
            first.rest()
            first.close()
            assert second.line() == b"READY\n"
            assert second.ask(b"GET a") == b"NOT_FOUND"


def test_all_queued_clients_are_served_in_the_end(echod):
    server = echod(kv(max_connections=2, on_limit="queue"))
    clients = [server.connect("kv") for _ in range(30)]
    for client in clients:
        assert client.exchange(b"GET a\n", half_close=True) == b"READY\nNOT_FOUND\n"
        client.close()


def test_limit_over_all_services(echod):
    server = echod({**kv(), "echo": {"listen": TCP}}, limits={"max_connections": 2})
    with server.kv(), server.connect("echo") as second:
        second.ask(b"hello")
        with server.connect("kv") as third:
            assert third.rest() == FULL


def test_limit_per_source(echod):
    server = echod(kv(listen="tcp://0.0.0.0:0", max_per_source=2))
    at = {"host": "127.0.0.1"}
    with server.kv(**at) as first, server.kv(**at):
        with server.connect("kv", **at) as third:
            assert third.rest() in (FULL, b"")
        assert is_served(server, **at, source="127.0.0.2")
        first.ask(b"QUIT")
        first.rest()
        first.close()
        server.wait_closed("quit")
        assert is_served(server, **at)


def test_limit_per_source_for_all_services_is_replaced_by_a_services_own(echod):
    services = {"one": {"type": "kv", "listen": TCP},
                "two": {"type": "kv", "listen": TCP, "max_per_source": 2}}  # fmt: skip
    server = echod(services, limits={"max_per_source": 1})
    with server.kv("one"), server.kv("two"):
        assert not is_served(server, "one")
        assert is_served(server, "two")


# --- from where ---


RULES = {
    "allow-only": ({"allow": ["127.0.0.2"]}, {"127.0.0.2"}),
    "deny-only": ({"deny": ["127.0.0.2"]}, {"127.0.0.1", "127.0.0.3"}),
    "longest-prefix-wins": (
        {"allow": ["127.0.0.0/8"], "deny": ["127.0.0.2/31"]},
        {"127.0.0.1"},
    ),
    "allow-inside-deny": ({"allow": ["127.0.0.3/32"], "deny": ["127.0.0.0/8"]}, {"127.0.0.3"}),
    "deny-wins-a-tie": (
        {"allow": ["127.0.0.1/32", "127.0.0.2/32"], "deny": ["127.0.0.1/32"]},
        {"127.0.0.2"},
    ),
    "everything-denied": ({"deny": ["0.0.0.0/0"]}, set()),
    "other-family-only": ({"allow": ["::1/128"]}, set()),
}
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
LISTENS = [
    pytest.param("tcp://0.0.0.0:0", id="ipv4"),
    pytest.param("tcp://[::]:0", id="mapped", marks=needs_ipv6),
]


@pytest.mark.parametrize("rules, allowed", RULES.values(), ids=RULES.keys())
@pytest.mark.parametrize("listen", LISTENS)
def test_access_rules(echod, listen, rules, allowed):
    server = echod(kv(listen=listen, **rules))
    for host in HOSTS:
        check = is_served if host in allowed else is_turned_away
        assert check(server, host="127.0.0.1", source=host), host


@needs_ipv6
def test_access_rules_for_ipv6(echod):
    server = echod(kv(listen="tcp://[::]:0", deny=["::1"]))
    assert is_turned_away(server, host="::1")
    assert is_served(server, host="127.0.0.1")


def test_denied_client_is_logged(echod):
    server = echod(kv(deny=["127.0.0.1"]))
    with server.connect("kv") as client:
        name = client.name
        assert client.rest() == b""
    server.log.wait(rf" info kv {name}: closed: denied \(")


def test_denied_datagram_is_not_answered(echod):
    server = echod({"echo": {"listen": "udp://0.0.0.0:0", "deny": ["127.0.0.2"]}})
    denied = server.connect("echo", host="127.0.0.1", source=("127.0.0.2", 0))
    with denied, server.connect("echo", host="127.0.0.1") as allowed:
        denied.send(b"hello")
        assert allowed.ask(b"fence") == b"fence"
        assert denied.received() == []


# --- how slow ---


def test_idle_client_is_closed_without_a_word(echod):
    server = echod(kv(idle_timeout="200ms"))
    with server.kv() as client:
        assert client.rest() == b""
    server.wait_closed("idle")


def test_active_client_is_not_idle(echod):
    server = echod(kv(idle_timeout="400ms"))
    end = time.monotonic() + 1.2
    with server.kv() as client:
        while time.monotonic() < end:
            assert client.ask(b"GET a") == b"NOT_FOUND"
            time.sleep(0.02)
        assert client.rest() == b""


def test_idle_timeout_0_is_never(echod):
    server = echod({"kv": {"listen": TCP, "idle_timeout": 0},
                    "short": {"type": "kv", "listen": TCP, "idle_timeout": "500ms"}})  # fmt: skip
    with server.kv() as patient, server.kv("short") as impatient:
        assert impatient.rest() == b""
        assert patient.ask(b"GET a") == b"NOT_FOUND"


def test_line_that_drips_is_cut_off(echod):
    """Each byte is progress; the line is what has to be there in time."""
    server = echod(kv(line_timeout="500ms"))
    begin = time.monotonic()
    with server.kv() as client:
        client.sock.settimeout(0.05)
        while True:
            assert time.monotonic() < begin + DEADLINE, "still not closed"
            try:
                client.send(b"x")
                if not client.more():
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert time.monotonic() - begin > 0.4
    server.log.wait(r"kv 127\.0\.0\.1:\d+: closed: ")


def test_lines_that_come_in_time_are_not_cut_off(echod):
    server = echod(kv(line_timeout="500ms"))
    wait_until(lambda: lines_come_in_time(server), "this machine has time for us")


def lines_come_in_time(server):
    """False when one of them did not."""
    end = time.monotonic() + 1.5
    with server.kv() as client:
        while time.monotonic() < end:
            began = time.monotonic()
            try:
                client.send_read(b"GE")
                assert client.ask(b"T a") == b"NOT_FOUND"
            except (Failure, OSError):
                assert time.monotonic() - began >= 0.5
                return False
    return True


@pytest.mark.slow
def test_slow_reader_is_closed_after_30_s(echod):
    server = echod({"kv": {"listen": "unix://$DIR/kv"}})
    before = server.memory()
    with server.kv() as slow, server.kv() as other:
        other.ask(b"SET big " + b"v" * 60_000)
        slow.send_some(b"GET big\n" * 1_000_000)
        if not server.has_sanitizer():
            assert server.memory() - before < 16 << 20, "its answers must not pile up"
        assert other.ask(b"GET a") == b"NOT_FOUND"
        server.log.wait(r" info kv .*closed: slow_reader \(", deadline=30 + DEADLINE)


# --- fairness ---


def test_a_huge_pipeline_does_not_starve_others(echod):
    server = echod(kv())
    over = threading.Event()
    rounds = []

    def hog():
        requests, answers = b"GET a\n" * 50_000, len(b"NOT_FOUND\n") * 50_000
        with server.kv() as client:
            while not over.is_set():
                client.exchange(requests, length=answers)
                rounds.append(1)

    thread = threading.Thread(target=hog)
    thread.start()
    slowest = 0
    try:
        wait_until(lambda: rounds, "the pipeline runs")
        with server.kv() as client:
            for _ in range(100):
                begin = time.monotonic()
                assert client.ask(b"GET a") == b"NOT_FOUND"
                slowest = max(slowest, time.monotonic() - begin)
    finally:
        over.set()
        thread.join()
    assert slowest < 2, "seconds for one answer"


def test_an_idle_daemon_uses_no_cpu(echod):
    server = echod({**kv(), "echo": {"listen": TCP, "idle_timeout": "700ms"}})
    with server.kv() as half, server.connect("echo") as idle:
        half.send_read(b"half a line")
        before = server.cpu_seconds()
        assert idle.rest() == b""
        assert server.cpu_seconds() - before < 0.2


# --- out of descriptors ---


OUT_OF_FDS = r"(?i)descriptor|too many open files"


def test_out_of_descriptors(echod):
    server = echod({**kv(), "echo": {"listen": TCP}})
    crowd = []
    with server.connect("echo") as stays:
        stays.ask(b"hello")
        server.limit_fds(server.fds() + 3)
        try:
            crowd = [server.connect("kv") for _ in range(40)]
            server.log.wait(OUT_OF_FDS)
            before = server.cpu_seconds()
            for _ in range(50):
                assert stays.ask(b"still served?") == b"still served?"
            assert server.cpu_seconds() - before < 1, "it must not spin"
            assert len(server.log.matches(OUT_OF_FDS)) < 15, "the log must not be flooded"
        finally:
            for client in crowd:
                client.close()
        assert is_served_after_a_while(server)
        assert stays.ask(b"still there?") == b"still there?"


def test_out_of_descriptors_the_queue_moves_but_slowly(echod):
    """One client is shed at each pause, and the pauses grow; the others may be lucky and wait."""
    server = echod(kv())
    server.limit_fds(server.fds() + 1)
    with server.kv() as stays:
        crowd = [server.connect("kv") for _ in range(40)]
        try:
            for count in range(1, 4):
                wait_until(lambda: sum(c.readable() for c in crowd) >= count, "one more is shed")
            assert sum(client.readable() for client in crowd) < 20, "many at a time"
            assert stays.ask(b"GET a") == b"NOT_FOUND"
        finally:
            for client in crowd:
                client.close()


def is_served_after_a_while(server):
    """Clients that are shed meanwhile are closed; in the end one is served."""

    def try_once():
        try:
            return is_served(server)
        except (ConnectionError, Failure):
            return False

    return wait_until(try_once, "new clients are served again")


# --- out of memory ---


def test_out_of_memory(echod):
    """As little as a client needs may be what is not to be had: clients end, the daemon does not."""
    server = echod(kv(max_per_source=1000, max_connections=1000))
    if server.has_sanitizer():
        pytest.skip("the sanitizer ends the daemon itself")
    before, crowd = server.fds(), []
    server.kv().close()
    server.limit_memory(1 << 20)
    try:
        for _ in range(400):
            crowd.append(server.connect("kv"))
            crowd[-1].send_some(b"GET " + b"x" * 60_000)
        server.log.wait("(?i)memory")
        assert len(server.log.matches("(?i)memory")) < 50, "the log must not be flooded"
    finally:
        for client in crowd:
            client.close()
    assert is_served_after_a_while(server)
    wait_until(lambda: server.fds() == before, "all descriptors are closed")


def test_descriptors_come_back_when_clients_leave(echod):
    server = echod(kv())
    before = server.fds()
    clients = [server.kv() for _ in range(50)]
    assert server.fds() == before + 50
    for number, client in enumerate(clients):
        if number % 2:
            client.reset()
        else:
            client.close()
    wait_until(lambda: server.fds() == before, "all descriptors are closed")


def test_accept_queue_of_many_clients_at_once(echod):
    """More than one turn's worth of accepts."""
    server = echod(kv(max_per_source=1000))
    address = server.address("kv").sockaddr
    socks = [socket.create_connection(address, DEADLINE) for _ in range(300)]
    for sock in socks:
        assert sock.recv(100) == b"READY\n"
        sock.close()
