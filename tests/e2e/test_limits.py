"""Limits: how many, from where, how slow, how long; and running out of descriptors."""

import collections
import concurrent.futures
import ctypes
import json
import select
import shutil
import socket
import subprocess
import threading
import time

import pytest

from harness import DEADLINE, Failure, run_echod, to_config, wait_until
from transports import TCP_STREAMS, every_stream, needs_ipv6, needs_root

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
        server.log.wait(r"closed: limit \(.* ms\): over services\.kv\.max_per_source$")
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


has_namespaces = (
    shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin") is not None
    and subprocess.run(["unshare", "-n", "true"], check=False, capture_output=True).returncode == 0
)
# All of the documentation's prefix is the machine's own.
OWN_PREFIX = """ip link set lo up
ip -6 route add local 2001:db8::/32 dev lo
echo 1 >/proc/sys/net/ipv6/ip_nonlocal_bind
exec "$0" "$@"
"""
CLONE_NEWNET = 0x40000000


def inside(server, function):
    """What the function returns in a thread that is in the daemon's network."""

    def enter():
        with open(f"/proc/{server.pid}/ns/net") as network:
            assert ctypes.CDLL(None, use_errno=True).setns(network.fileno(), CLONE_NEWNET) == 0
        return function()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(enter).result(DEADLINE)


def served_from(server, name, networks, held):
    """How many clients, one from each of these networks, are served; they stay."""
    served = 0
    for network in networks:
        client = server.connect(name, host="2001:db8::1", source=network + "1")
        held.append(client)
        served += client.line() == b"READY\n"
    return served


@needs_root
@needs_ipv6
@pytest.mark.skipif(not has_namespaces, reason="no network namespaces")
def test_a_site_has_four_times_max_per_source(echod):
    """A /48 has 256 networks of the length that counts, and as many addresses as one likes."""
    own = {"type": "kv", "listen": "tcp://[::]:0", "max_per_source": 2}
    services = {"kv": own, "long": {**own, "source_prefix": "32/64"}, "site": {**own, "source_prefix": "32/48"},
                "rate": {**own, "connect_rate": 1}}  # fmt: skip
    server = echod(services, wrapper=("unshare", "-n", "sh", "-ec", OWN_PREFIX))
    site = [f"2001:db8:1:{i:x}00::" for i in range(16)]
    networks = [f"2001:db8:1:{i:x}::" for i in range(3)]
    held = []

    def served(name, networks):
        return inside(server, lambda: served_from(server, name, networks, held))

    assert served("kv", networks) == 2, "a /56 counts as one"
    assert served("kv", site) == 6, "the /48 has eight places, and two of them were taken"
    assert served("kv", ["2001:db8:2::"]) == 1, "others have their own"
    assert served("long", networks) == 3, "three sources of another length"
    assert served("site", site) == 2
    assert served("rate", site * 2) == 8
    server.log.wait(r"closed: limit \(.* ms\): over services\.kv\.max_per_source$")
    # A reload to another length counts those anew that are here.
    assert server.reload({**services, "kv": {**own, "source_prefix": "32/64"},
                          "long": {**own, "source_prefix": "32/56"}})  # fmt: skip
    assert served("long", networks) == 0, "the /56 has three already"
    for client in held:
        client.close()
    server.wait_closed("client_eof", 8 + 1 + 3 + 2)
    assert served("long", networks) == 2
    for client in held:
        client.close()


# --- how fast ---


def greetings(server, count, **options):
    """What so many clients get that come and go one after the other."""
    texts = []
    for _ in range(count):
        with server.connect("kv", **options) as client:
            texts.append(client.line())
    return texts


def test_connect_rate(echod):
    """A burst of max_per_source, then the rate; each network has its own."""
    server = echod(kv(listen="tcp://0.0.0.0:0", max_per_source=20, connect_rate=1))
    at = {"host": "127.0.0.1"}
    texts = greetings(server, 40, **at)
    assert texts[:20] == [b"READY\n"] * 20
    assert 15 <= texts.count(FULL), texts
    assert is_served(server, **at, source="127.0.0.2")
    server.log.wait(r"closed: limit \(.* ms\): over services\.kv\.connect_rate$")
    wait_until(lambda: greetings(server, 1, **at) == [b"READY\n"], "a second later one comes in")


def test_connect_rate_is_for_networks_only(echod):
    server = echod(kv(listen="unix://$DIR/kv", max_per_source=1, connect_rate=1))
    assert greetings(server, 20) == [b"READY\n"] * 20


def test_connect_rate_0_is_no_limit(echod):
    server = echod(kv(max_per_source=1, connect_rate=0))
    for _ in range(20):
        with server.connect("kv") as client:
            assert client.line() in (b"READY\n", FULL)
    assert not server.log.matches("connect_rate")


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


PUBLIC = ["tcp://*:9002", "tcp://0.0.0.0:9002", "tcp://[::]:9002", "tcp://198.51.100.1:9002",
          "tcp://192.168.0.1:9002", "tcp://[fd00::1]:9002", "tcp://store.example:9002"]  # fmt: skip
LOCAL = ["tcp://127.0.0.1:9002", "tcp://[::1]:9002", "tcp://localhost:9003",
         "tcp://[::ffff:127.0.0.1]:9004", "unix:///run/kv"]  # fmt: skip
OPEN_SERVICES = {"kv": "read and change the store", "exec": "run the program"}


def warnings_of(write, settings):
    result = run_echod("-c", write("test.conf", to_config(settings)), "-t")
    assert result.returncode == 0, result.stderr
    return [line for line in result.stderr.splitlines() if "everybody" in line]


def test_the_status_warns_of_it_and_all_is_well(echod):
    server = echod({"kv": {"listen": ["redis://127.0.0.1:0", "redis://0.0.0.0:0"]}, "control": {"listen": "unix://$DIR/control"}})
    server.log.wait(r" warning .* services\.kv\.listen: redis://0\.0\.0\.0:0 lets everybody ")
    with server.connect("control") as client:
        status = json.loads(client.ask(b"-j status"))
    assert status["warnings"] == ["kv: redis://0.0.0.0:0 lets everybody who can connect read and change the store; "
                                  "restrict it with allow"] and status["problems"] == []  # fmt: skip
    with server.connect("control") as client:
        client.send(b"status\n")
        assert client.line().endswith(b": all is well\n") and client.line().startswith(b"echod: warning: kv: redis://0.0")


@pytest.mark.parametrize("service", OPEN_SERVICES)
def test_check_warns_of_a_service_that_everybody_may_use(write, service):
    own = {"command": ["true"]} if service == "exec" else {}
    for listen in PUBLIC + [address.replace("tcp:", "redis:") for address in PUBLIC if service == "kv"]:
        warned = warnings_of(write, {service: {"listen": ["tcp://127.0.0.1:9003", listen], **own}})
        assert len(warned) == 1 and f"services.{service}.listen: {listen} lets" in warned[0], listen
        assert OPEN_SERVICES[service] in warned[0] and "restrict it with allow" in warned[0]
    assert not warnings_of(write, {service: {"listen": LOCAL[1:], **own}})
    assert not warnings_of(write, {service: {"listen": PUBLIC[0], "allow": ["10.0.0.0/8"], **own}})
    echo = {"echo": {"listen": "tcp://*:9001"}}
    assert not warnings_of(write, {service: {"listen": PUBLIC[0], "enabled": False, **own}, **echo})


def test_start_and_reload_warn_of_a_service_that_everybody_may_use(echod):
    services = {"kv": {"listen": "tcp://0.0.0.0:0"}}
    server = echod(services)
    assert server.log.matches(r" warning echod: .*services\.kv\.listen: .*allow")
    assert server.reload(services)
    assert server.log.matches(r" warning reload: .*services\.kv\.listen: .*allow")


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


# Whatever has been sent in time is read before a deadline is judged. The daemon must be stopped before its
# deadline passes, on a busy machine, too.
PAUSED_TIMEOUT = "4s"
PAUSE = 4.5


@pytest.mark.slow
@every_stream
def test_who_has_sent_during_a_pause_of_the_daemon_is_not_idle(echod, listen):
    server = echod({"kv": {"listen": listen, "idle_timeout": PAUSED_TIMEOUT, "max_per_source": 0}})
    clients = [server.kv() for _ in range(40)]
    with server.stopped(PAUSE):
        for client in clients:
            client.send(b"GET a\n")
    for client in clients:
        assert client.line() == b"NOT_FOUND\n"
        client.close()


@pytest.mark.slow
@every_stream
def test_a_line_that_ends_during_a_pause_of_the_daemon_is_in_time(echod, listen):
    """However many reads it takes to its end."""
    server = echod(kv(listen=listen, line_timeout=PAUSED_TIMEOUT, max_line="512K", max_value=500_000))
    half = len(b"SET a ") + 1000
    line = b"SET a " + b"v" * (60_000 if "unix" in listen else 400_000) + b"\n"
    with server.kv() as client:
        client.send_read(line[:half])
        with server.stopped(PAUSE):
            assert client.send_some(line[half:]) == len(line) - half
        assert client.line() == b"OK\n"


@pytest.mark.slow
def test_a_last_line_that_ends_during_a_pause_of_the_daemon_is_in_time(echod):
    server = echod({"upper": {"listen": TCP, "mode": "line", "line_timeout": PAUSED_TIMEOUT}})
    with server.connect("upper") as client:
        client.send_read(b"hel")
        with server.stopped(PAUSE):
            client.send(b"lo")
            client.half_close()
        assert client.rest() == b"HELLO"


def test_a_pause_of_the_daemon_saves_nobody_who_has_not_sent(echod):
    server = echod(kv(idle_timeout="1s", line_timeout="500ms"))
    with server.kv() as idle, server.kv() as half:
        half.send_read(b"GET ")
        with server.stopped(1.5):
            half.send(b"a")
        assert idle.rest() == half.rest() == b""
    server.wait_closed("idle", count=2)


# --- who has vanished ---


@pytest.mark.parametrize("listen", TCP_STREAMS)
@pytest.mark.parametrize("settings, least, most", [
    ({}, 200, 300), ({"keepalive": "500ms"}, 0, 1), ({"keepalive": 32767}, 32000, 32767),
])  # fmt: skip
def test_a_silent_client_is_probed(echod, listen, settings, least, most):
    server = echod(kv(listen=listen, **settings))
    with server.kv() as client:
        assert least <= client.probed_in() <= most


def test_keepalive_0_is_never(echod):
    server = echod(kv(keepalive=0))
    with server.kv() as client:
        assert client.probed_in() is None


def test_a_reload_changes_keepalive_for_all_clients(echod):
    server = echod(kv(keepalive=0))
    with server.kv() as old:
        for keepalive in (1000, 2000):
            assert server.reload(kv(keepalive=keepalive))
            with server.kv() as new:
                for client in (old, new):
                    assert keepalive - 100 <= client.probed_in() <= keepalive
        assert server.reload(kv(keepalive=0))
        wait_until(lambda: old.probed_in() is None, "it is not probed any more")
        with server.kv() as new:
            assert new.probed_in() is None


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


def serve_queues(server, counts, rounds):
    """Who is served by how many, while clients of all these services always wait for the only place."""
    queues = {name: collections.deque(server.connect(name) for _ in range(3)) for name in counts}
    while sum(counts.values()) < rounds:
        ready, _, _ = select.select([q[0].sock for q in queues.values()], [], [], DEADLINE)
        assert ready, "somebody is served"
        for name, queue in queues.items():
            if queue[0].sock in ready:
                queue.append(server.connect(name))
                client = queue.popleft()
                assert client.line() == b"READY\n"
                client.close()
                counts[name] += 1
    for queue in queues.values():
        for client in queue:
            client.close()
    return counts


def test_queues_of_services_take_turns(echod):
    queued = {"type": "kv", "listen": TCP, "on_limit": "queue"}
    server = echod({"a": queued, "b": queued, "c": queued}, limits={"max_connections": 1})
    counts = serve_queues(server, {"a": 0, "b": 0, "c": 0}, 60)
    assert min(counts.values()) >= 10, counts


def test_queues_of_one_services_addresses_take_turns(echod):
    """Also for the places of that service, and for all of them when several are free at once."""
    server = echod(kv(listen=[TCP, "unix://$DIR/kv"], on_limit="queue", max_connections=2))
    held = [server.kv(transport="tcp"), server.kv(transport="tcp")]
    waiting = {kind: [server.connect("kv", transport=kind) for _ in range(8)] for kind in ("tcp", "unix")}
    for client in held:
        client.close()
    for tcp, unix in zip(waiting["tcp"], waiting["unix"]):
        for client in (tcp, unix):
            assert client.line() == b"READY\n", "each queue has its turn"
        for client in (tcp, unix):
            client.close()


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
            server.log.wait(r"closed: limit \(0 B in, 0 B out, 0 ms\): over the limit of open files$")
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
