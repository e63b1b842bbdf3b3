"""The control service and echoctl's commands for it: every answer, as text and as JSON."""

import contextlib
import itertools
import json
import os
import pty
import re
import signal
import socket
import subprocess
import time

import pytest

import harness
from harness import DEADLINE, Failure, run_echod, to_config, wait_until
from test_addresses import with_hosts
from test_beacon import needs_namespaces
from test_echoctl import NO, NOBODY, OK, USAGE, find_echoctl
from transports import needs_ipv6, needs_open_tree, needs_root, own_address

pytestmark = pytest.mark.skipif(not os.path.exists(find_echoctl()), reason="echoctl is not built")

TCP = "tcp://127.0.0.1:0"
CONTROL = {"control": {"listen": "unix://$DIR/control"}}


LOOK = 4  # of status


def with_control(**services):
    return {**services, **CONTROL}


def run(workdir, *args, status=OK, **options):
    """Runs echoctl against the test's daemon; returns (output, errors)."""
    done = subprocess.run(
        [find_echoctl(), "-s", f"{workdir}/control", *map(str, args)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        timeout=DEADLINE, check=False, text=True, **options,
    )  # fmt: skip
    assert not harness.SANITIZER_REPORT.search(done.stderr), done.stderr
    if args[0] in ("status", "-j") and status == OK and has_problem(done.stdout):
        status = LOOK
    assert done.returncode == status, f"exit status {done.returncode}: {done.stderr}"
    return done.stdout, done.stderr


def has_problem(output):
    """Whether that is what status says, in text or in JSON."""
    if output.startswith("{"):
        return bool(json.loads(output).get("problems"))
    return output.split("\n")[0].endswith(": needs a look")


@pytest.fixture
def echoctl(workdir):
    return lambda *args, **options: run(workdir, *args, **options)


@pytest.fixture
def ask(workdir):
    """The same with -j: returns the one object that is printed."""

    def ask(*args, **options):
        output, _ = run(workdir, "-j", *args, **options)
        assert output.endswith("\n") and output.count("\n") == 1
        return json.loads(output)

    return ask


class Console(harness.Stream):
    """A client of the control service without echoctl."""

    def request(self, line):
        """Returns (the lines of the answer, its end)."""
        self.send(line + b"\n")
        return self.answer()

    def answer(self):
        lines = []
        while True:
            line = self.line()[:-1]
            if line == b"OK" or line.startswith(b"ERROR: "):
                return lines, line
            lines.append(line)

    def ask(self, request):
        lines, end = self.request(b"-j " + request)
        assert len(lines) == 1, lines
        answer = json.loads(lines[0])
        assert ("error" in answer) == (end != b"OK")
        return answer


@contextlib.contextmanager
def console(server):
    client = Console(server.address("control"))
    with client:
        yield client


# --- the protocol ---


def test_answers_end_with_ok_or_error(echod):
    with console(echod(CONTROL)) as client:
        assert client.request(b"status")[1] == b"OK"
        assert client.request(b"nonsense")[1].startswith(b"ERROR: unknown command")
        assert client.request(b"") == ([], client.request(b"  ")[1])
        assert client.request(b"kill")[1] == b"ERROR: usage: kill ID"


def test_every_command_of_help_answers_in_json(echod):
    with console(echod(CONTROL)) as client:
        names = [command["name"] for command in client.ask(b"help")["commands"]]
        assert len(names) > 8
        for name in names:
            client.ask(name.encode())


def test_requests_in_one_segment_are_answered_in_order(echod):
    with console(echod(CONTROL)) as client:
        client.send(b"log\nlisteners\n-j log\nfoo\nlog\n")
        assert client.answer() == ([b"log level debug"], b"OK")
        assert client.answer()[0][0].startswith(b"SERVICE")
        assert json.loads(client.answer()[0][0]) == {"level": "debug"}
        assert client.answer()[1].startswith(b"ERROR: ")
        assert client.answer() == ([b"log level debug"], b"OK")


def test_half_close_is_answered(echod):
    with console(echod(CONTROL)) as client:
        client.send(b"log\n-j clients\nlog")
        client.half_close()
        lines = client.rest().split(b"\n")
    assert lines[:2] == [b"log level debug", b"OK"]
    assert lines[3:] == [b"OK", b""]  # a line without an end is no request


def test_quit_closes_after_the_answers(echod):
    with console(echod(CONTROL)) as client:
        client.send(b"log\nQUIT\nstatus\n")
        assert client.rest() == b"log level debug\nOK\n"


@pytest.mark.parametrize(
    "line", [b"\xff\xfe status", b"status\0more", b"-j \x1b[2J", b"clients --service \xc2\x9b",
             b"x" * 4000, b"log " + b"a " * 40, b"kill 99999999999999999999", b"kill -1",
             b"clients --source", b"clients --left=1", b"-j -j status", b'-j "\\"'],
)  # fmt: skip
def test_odd_requests_are_refused_with_a_clean_line(echod, line):
    with console(echod(CONTROL)) as client:
        lines, end = client.request(line)
        assert end.startswith(b"ERROR: ")
        for text in [*lines, end]:
            assert re.fullmatch(rb"[ -~]*", text)
        if line.startswith(b"-j"):
            assert json.loads(lines[0])["error"]
        assert client.request(b"log")[1] == b"OK"


def test_too_many_requests_at_once(echod):
    with console(echod({"control": {**CONTROL["control"], "max_line": "512K"}})) as client:
        client.send(b"stats " + b"x" * 100000 + b"\n")
        assert client.rest() == b"ERROR: too many requests wait for their answers\n"


def test_http_is_shown_the_door(echod):
    with console(echod(CONTROL)) as client:
        client.send(b"GET / HTTP/1.1\r\nreload\r\n\r\n")
        assert client.rest() == b"ERROR: this is the echod control port, not HTTP\n"


def test_a_client_that_leaves_while_it_is_answered(echod):
    server = echod(CONTROL)
    for _ in range(50):
        client = Console(server.address("control"))
        client.send(b"status\nclients\n" * 50)
        client.reset()
    with console(server) as client:
        assert client.request(b"status")[1] == b"OK"


def test_over_its_limit_echoctl_is_told(echod, echoctl):
    server = echod({"control": {"listen": "unix://$DIR/control", "max_connections": 1}})
    with console(server):
        assert "too many connections" in echoctl("status", status=NO)[1]


def test_an_administrator_gets_in_when_all_places_are_taken(echod, echoctl, ask):
    server = echod(with_control(kv={"listen": TCP}), limits={"max_connections": 1})
    with server.kv():
        with server.connect("kv") as other:
            assert other.rest() == b"ERROR: too many connections\n"
        assert "limits.max_connections is reached" in echoctl("status")[0]
        assert ask("why", "127.0.0.1", "kv")["streams"]["verdict"] == "limited"
        assert ask("why", "unix", "control")["streams"]["verdict"] == "allowed"


@pytest.mark.parametrize(
    "listen, why",
    [("tcp://127.0.0.1:0", "Unix stream sockets only"), ("udp://127.0.0.1:0", "unix:///path"),
     ("unixgram:///run/x", "unix:///path"), ("unix://@name", "abstract")],
)  # fmt: skip
def test_listens_on_paths_only(write, listen, why):
    config = write("test.conf", to_config({"control": {"listen": listen}}))
    result = run_echod("-c", config, "-t")
    assert result.returncode == 78
    assert why in result.stderr and "control" in result.stderr


# --- status ---


def test_status_says_that_all_is_well(echod, echoctl, ask):
    server = echod(with_control(kv={"listen": TCP}))
    with server.kv() as client:
        assert client.ask(b"SET a 1") == b"OK"
        text, _ = echoctl("status")
        status = ask("status")
    assert re.search(rf"^echod: version \S+, process {server.pid}, up .*: all is well$", text, re.M)
    assert f"kv: serves {server.address('kv')}\n" in text
    assert re.search(r"^kv: 1 of 4096 clients, 1 accepted, 8 B in, 9 B out$", text, re.M)
    assert re.search(r"^kv: entries 1, memory ", text, re.M)
    assert status["problems"] == [] and status["pid"] == server.pid
    assert status["config"]["file"] == str(server.config)
    assert status["config"]["failed"] is None
    kv = next(s for s in status["services"] if s["name"] == "kv")
    assert kv["addresses"] == [str(server.address("kv"))]
    assert kv["clients"] == {"now": 1, "limit": 4096}
    assert (kv["accepted"], kv["bytes_in"], kv["bytes_out"]) == (1, 8, 9)
    assert kv["report"]["entries"] == 1
    assert kv["closed"] == kv["errors"] == {}


def test_status_tells_by_its_exit_status(echod, echoctl, workdir):
    server = echod(CONTROL)
    assert "all is well" in echoctl("status", status=OK)[0]
    assert not server.reload("nonsense")
    output, errors = echoctl("status", status=LOOK)
    assert "needs a look" in output.split("\n")[0] and errors == ""
    for words in ["-j", "status"], ["status", "-j"]:
        output, errors = echoctl(*words, status=LOOK)
        assert json.loads(output)["problems"] and errors == ""
    echoctl("listeners", status=OK)
    with terminal("status", "-w", workdir=workdir) as (process, screen):
        screen.wait(b"needs a look")
        os.write(screen.fd, b"q")
        screen.wait(b"\x1b[?25h")
        assert process.wait(DEADLINE) == LOOK
    server.stop()
    echoctl("status", status=NOBODY)


def test_status_of_what_is_shipped_fits_on_a_screen(echod, echoctl):
    server = echod(with_control(
        echo={"listen": ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]},
        shout={"type": "upper", "listen": TCP}, time={"listen": "udp://127.0.0.1:0"},
        kv={"listen": TCP, "storage": "$DIR/kv"}))  # fmt: skip
    with server.kv() as client:
        client.ask(b"SET a 1")
    for name in "echo", "shout":
        for address in server.addresses(name):
            with harness.connect(address) as client:
                client.ask(b"hello")
        server.connect(name, transport="tcp").close()
    echoctl("status")
    text, _ = echoctl("status")
    lines = text.splitlines()
    assert len(lines) <= 23 and max(len(line) for line in lines if "configuration" not in line) < 80
    assert f"echo: serves {server.address('echo', 'tcp')}, {server.address('echo', 'udp')}\n" in text
    assert re.search(r"^kv: entries 1, memory [\d.]+ KB, memory limit 64.0 MB, commits 1$", text, re.M)
    assert re.search(r"^kv: commit failures 0, uncommitted 0, wal \d+ B, refused sets 0$", text, re.M)
    assert "none" not in text


def test_status_tells_errors_by_reason(echod, ask):
    server = echod(with_control(
        echo={"listen": [TCP, "udp://127.0.0.1:0"], "max_connections": 1, "reply_ports": "any"}))
    with server.connect("echo", transport="tcp") as one:
        one.ask(b"hello")
        with server.connect("echo", transport="tcp") as two:
            assert two.rest() == b""
        address = server.address("echo", "udp")
        with server.connect("echo", transport="udp") as client:
            client.ask(b"hello")
        with socket.socket(type=socket.SOCK_DGRAM) as own:
            own.bind(("127.0.0.2", address.port))  # one of the daemon's own ports
            own.sendto(b"loop", address.sockaddr)
        status = wait_until(lambda: has_errors(ask("status"), 2), "both errors are counted")
    echo = next(s for s in status["services"] if s["name"] == "echo")
    assert echo["errors"] == {"limit": 1, "dropped_own_port": 1}
    assert any("limit" in problem for problem in status["problems"])


def test_status_tells_what_a_beacon_cannot_reach(echod, ask, echoctl, workdir):
    echod(with_control(beacon={"interval": "100ms", "send_to": [
        "unixgram://$DIR/nobody", "udp://127.0.0.1:9"]}))  # fmt: skip
    problems = wait_until(lambda: ask("status")["problems"], "it has tried")
    assert problems == [f"beacon: cannot send to unixgram://{workdir}/nobody: "
                        "No such file or directory"]
    assert ask("stats")['echod_beacon_unreachable{service="beacon"}'] == 1
    assert "needs a look" in echoctl("status")[0]


def has_errors(status, count):
    return len(status["services"][0]["errors"]) == count and status


def test_status_tells_how_late_the_loop_is(echod, ask):
    server = echod(with_control(kv={"listen": TCP}))
    ask("status")  # the loop runs
    server.send_signal(signal.SIGSTOP)
    time.sleep(1.2)  # the time is the matter: a whole sample lies within it
    server.send_signal(signal.SIGCONT)
    loop = wait_until(lambda: is_late(ask("status")["loop"]), "the pause was seen")
    assert loop["longest_lag_us"] < 5_000_000


def is_late(loop):
    return loop["longest_lag_us"] > 100_000 and loop


def test_an_idle_daemon_sleeps(echod):
    server = echod(CONTROL)
    with console(server) as client:
        before = client.ask(b"stats")["echod_cpu_seconds_total"]
        time.sleep(1.5)  # doing nothing is what is measured
        after = client.ask(b"stats")["echod_cpu_seconds_total"]
    assert after - before < 0.1


def test_usr2_says_the_same(echod, echoctl):
    server = echod(with_control(kv={"listen": TCP}))
    server.send_signal(signal.SIGUSR2)
    server.log.wait(r" info echod: version .*: all is well$")
    server.log.wait(r" info kv: 0 of 4096 clients")


# --- listeners ---


def test_listeners(echod, echoctl, ask):
    server = echod(with_control(kv={"listen": [TCP, "unix://$DIR/kv"]}))
    listeners = ask("listeners")["listeners"]
    assert [row["address"] for row in listeners] == [
        *map(str, server.addresses("kv")), str(server.address("control"))]
    assert {row["state"] for row in listeners} == {"open"}
    assert listeners[0]["file"] == str(server.config) and listeners[0]["line"] == 1
    assert f"{server.config}:1" in echoctl("listeners")[0]


def test_a_path_that_is_gone(echod, echoctl, ask, workdir):
    server = echod(with_control(echo={"listen": ["unix://$DIR/echo", "unix://@$ID"]}))
    (workdir / "echo").rename(workdir / "other")
    assert [row["state"] for row in ask("listeners")["listeners"]] == ["unreachable", "open", "open"]
    status = ask("status")
    assert status["problems"] == [
        f"echo: unix://{workdir}/echo cannot be reached: its path has been removed or replaced; "
        "a reload binds it again"]
    assert "needs a look" in echoctl("status")[0]
    echoctl("reload")
    assert {row["state"] for row in ask("listeners")["listeners"]} == {"open"}
    assert ask("status")["problems"] == []
    (workdir / "control").unlink()
    assert server.reload()
    assert ask("status")["problems"] == []


LINK_LOCAL = """
ip link add lan0 type veth peer name lan1 && ip link set lan1 up && ip link set lan0 up &&
ip addr add fe80::1/64 dev lan0 nodad && exec "$@"
"""


@needs_root
@needs_namespaces
def test_an_interface_that_is_another_one_by_now(echod, ask, echoctl):
    """The kernel has bound a link-local address to one that is gone."""
    listen = f"tcp://[fe80::1%lan0]:{harness.free_port()}"
    server = echod(with_control(echo={"listen": listen}),
                   wrapper=("unshare", "-n", "sh", "-c", LINK_LOCAL, "sh"))  # fmt: skip
    enter = ["nsenter", "-t", str(server.pid), "-n"]
    subprocess.run([*enter, "ip", "link", "del", "lan0"], check=True)
    subprocess.run([*enter, "sh", "-c", LINK_LOCAL, "sh", "true"], check=True)
    assert [row["state"] for row in ask("listeners")["listeners"]] == ["unreachable", "open"]
    problem, = ask("status")["problems"]
    assert "cannot be reached: its interface has been removed or replaced; a reload binds" in problem
    echoctl("reload")
    assert [row["state"] for row in ask("listeners")["listeners"]] == ["open", "open"]
    assert ask("status")["problems"] == []


@needs_root
def test_an_address_of_a_name_that_is_not_here(echod, echoctl, ask, write):
    wrapper = with_hosts(write, "192.0.2.77 many.test\n127.0.0.1 many.test\n")
    port = harness.free_port()
    echod(with_control(echo={"listen": f"tcp://many.test:{port}"}), wrapper=wrapper)
    states = {row["address"]: row["state"] for row in ask("listeners")["listeners"]}
    assert states[f"tcp://192.0.2.77:{port}"] == "absent"
    assert states[f"tcp://127.0.0.1:{port}"] == "open"
    problem, = ask("status")["problems"]
    assert problem.startswith(f"echo: tcp://192.0.2.77:{port} is not served: cannot bind it: Cannot")
    assert "a reload would change nothing" in echoctl("reload", "--dry-run")[0]


def test_a_full_listener_says_so(echod, ask):
    server = echod(with_control(echo={"listen": TCP, "max_connections": 1, "on_limit": "queue"}))
    with server.connect("echo") as client:
        client.ask(b"hello")
        with server.connect("echo"):
            wait_until(lambda: ask("listeners")["listeners"][0]["state"] == "full", "it is full")


# --- clients ---


def listed(ask, *filters):
    return [c for c in ask("clients", *filters)["clients"] if c["service"] != "control"]


def test_clients(echod, echoctl, ask):
    server = echod(with_control(kv={"listen": TCP}, echo={"listen": "unix://$DIR/echo"}))
    with server.kv() as one, server.connect("echo") as two:
        one.ask(b"SET a 1")
        two.ask(b"hello")
        clients = listed(ask)
        assert [(c["service"], c["peer"]) for c in clients] == [("kv", one.name), ("echo", "unix")]
        assert (clients[0]["bytes_in"], clients[0]["bytes_out"]) == (8, 9)
        assert 0 <= clients[0]["idle_ms"] <= clients[0]["age_ms"]
        assert clients[0]["id"] < clients[1]["id"]
        text, _ = echoctl("clients")
        assert text.splitlines()[0].split()[:3] == ["ID", "SERVICE", "PEER"]
        assert text.splitlines()[1].split()[:3] == [str(clients[0]["id"]), "kv", one.name]


def test_clients_by_filter(echod, ask, echoctl):
    server = echod(with_control(kv={"listen": TCP}, echo={"listen": TCP}))
    with server.kv() as one, server.connect("echo", source="127.0.0.9") as two:
        two.ask(b"hello")
        assert [c["peer"] for c in listed(ask, "--service", "kv")] == [one.name]
        assert [c["peer"] for c in listed(ask, "--source=127.0.0.8/30")] == [two.name]
        assert [c["peer"] for c in listed(ask, "--source", "127.0.0.9")] == [two.name]
        assert listed(ask, "--source", "::/0") == []
        assert listed(ask, "--idle-over", 60) == []
        wait_until(lambda: len(listed(ask, "--idle-over", "1ms")) == 2, "both are idle")
        assert "no service" in echoctl("clients", "--service", "nobody", status=NO)[1]
        assert "write 10.0.0.0/8" in echoctl("clients", "--source", "10.1.0.0/8", status=USAGE)[1]
        assert "60x" in echoctl("clients", "--idle-over", "60x", status=USAGE)[1]


def test_clients_that_left(echod, ask, echoctl):
    server = echod(with_control(kv={"listen": TCP, "deny": "127.0.0.7"}))
    with server.kv() as client:
        name = client.name
        client.send(b"QUIT\n")
        client.rest()
    with server.connect("kv", source="127.0.0.7") as client:
        denied = client.name
        with contextlib.suppress(ConnectionResetError):
            client.rest()
    left = wait_until(lambda: two_left(listed(ask, "--left")), "both have left")
    assert [(c["peer"], c["reason"]) for c in left] == [(denied, "denied"), (name, "quit")]
    assert left[0]["id"] == 0 and left[1]["bytes_in"] == 5
    assert "quit" in echoctl("clients", "--left", "--source", "127.0.0.1")[0]


def test_administrators_leave_unremembered(echod, echoctl, ask):
    echod(CONTROL)
    for _ in range(3):
        echoctl("status")
    assert ask("clients", "--left") == {"clients": []}


def two_left(left):
    return len(left) == 2 and left


def test_the_log_says_who_has_asked_for_a_change(echod):
    server = echod(with_control(kv={"listen": TCP}))
    who = rf" \(asked by user {os.getuid()}, process {os.getpid()}\)$"
    with console(server) as client, server.kv() as victim:
        id = client.ask(b"clients --service kv")["clients"][0]["id"]
        for command, line in [(b"log info", "logs info, until now debug"), (b"reopen", "reopen"),
                              (b"reload", "reload"), (b"kill %d" % id, rf"kills client {id}, \S+ of kv")]:  # fmt: skip
            client.ask(command)
            server.log.wait(" info control: " + line + who)
        assert victim.more() == b""
    assert not server.log.matches("asked by .*clients"), "what only looks is not logged"


def test_refused_clients_say_which_limit_it_was(echod, ask, echoctl):
    """In the list of those that left, in the counters and in status; they push nobody else out of the list."""
    server = echod(with_control(kv={"listen": TCP, "max_connections": 1},
                                source={"type": "kv", "listen": TCP, "max_per_source": 1, "connect_rate": 0}))  # fmt: skip
    with server.kv() as stays, server.kv("source"):
        with server.connect("kv") as one:
            one.rest()
        for _ in range(100):
            with server.connect("source") as client:
                client.rest()
        stays.send(b"QUIT\n")
        stays.rest()
    server.wait_closed("quit")
    server.wait_closed("limit", 100)
    left = ask("clients", "--left")["clients"]
    assert [(c["reason"], c["limit"]) for c in left if c["service"] == "kv"] == [("quit", None)]
    refused = [c for c in left if c["reason"] == "limit"]
    assert [c["limit"] for c in refused] == ["max_per_source"] * 32
    assert "limit: max_per_source" in echoctl("clients", "--left")[0]
    stats = ask("stats")
    assert stats['echod_refused_total{service="kv",reason="max_connections"}'] == 1
    assert stats['echod_refused_total{service="source",reason="max_per_source"}'] == 100
    assert stats['echod_closed_total{service="source",reason="limit"}'] == 100
    assert "source: refused: max_per_source=100" in echoctl("status")[0]


def test_why_names_the_rate_of_connections(echod, echoctl):
    server = echod(with_control(kv={"listen": TCP, "max_per_source": 1, "connect_rate": 1}))
    with server.kv():
        pass
    text, _ = echoctl("why", "127.0.0.1", "kv")
    assert text.startswith("streams: limited\n  by: its network has opened the 1 connection a second"), text
    text, _ = echoctl("why", "127.0.0.2", "kv")
    assert "at most 1 new client a second of its network, by services.kv.connect_rate" in text


def test_only_the_last_64_that_left_are_kept(echod):
    server = echod(with_control(echo={"listen": TCP}))
    with console(server) as client:
        for _ in range(70):
            server.connect("echo").close()
        server.wait_closed("client_eof", 70)
        left = client.ask(b"clients --left")["clients"]
    assert len(left) == 64
    assert [c["id"] for c in left] == sorted((c["id"] for c in left), reverse=True)


def test_a_thousand_clients(echod, ask):
    server = echod(with_control(echo={"listen": TCP, "max_per_source": 2000}),
                   limits={"max_per_source": 2000})
    with contextlib.ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(server.connect("echo"))
        wait_until(lambda: ask("status")["clients"]["now"] > 1000, "all have come")
        ids = [c["id"] for c in listed(ask)]
    assert len(ids) == len(set(ids)) == 1000 and ids == sorted(ids)


def test_clients_may_end_while_they_are_listed(echod):
    """The list is longer than what is listed in one turn: it is under way when they go."""
    server = echod(with_control(echo={"listen": TCP, "max_per_source": 2000}))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.connect("echo")) for _ in range(900)]
        with console(server) as client:
            wait_until(lambda: client.ask(b"status")["clients"]["now"] > 900, "all have come")
            client.send(b"-j clients --service echo\n" * 20)
            for other in clients[::2]:
                other.close()
            for _ in range(20):
                lines, end = client.answer()
                assert end == b"OK"
                ids = [row["id"] for row in json.loads(lines[0])["clients"]]
                assert 450 <= len(ids) <= 900 and ids == sorted(set(ids))


def test_clients_that_a_reload_makes_leave_are_counted(echod, ask, echoctl):
    server = echod(with_control(exec={"listen": TCP, "command": ["sleep", "60"]}))
    with server.connect("exec"):
        wait_until(lambda: ask("status")["clients"]["programs"] == 1, "it runs")
        server.configure(CONTROL)
        ask("reload")
        clients = ask("status")["clients"]
        assert (clients["leaving"], clients["programs"]) == (1, 1)
        assert ", 1 leaving after a reload, " in echoctl("status")[0]
    wait_until(lambda: ask("status")["clients"]["programs"] == 0, "it has ended")


def test_a_reload_may_take_the_service_away_whose_clients_are_listed(echod):
    server = echod(with_control(echo={"listen": TCP, "max_per_source": 2000}))
    with contextlib.ExitStack() as stack:
        for _ in range(900):
            stack.enter_context(server.connect("echo"))
        with console(server) as client, console(server) as other:
            wait_until(lambda: client.ask(b"status")["clients"]["now"] > 900, "all have come")
            server.configure(CONTROL)
            client.send(b"-j clients\n")
            other.send(b"reload\n")
            assert client.answer()[1] == other.answer()[1] == b"OK"
            assert client.request(b"status")[1] == b"OK"


def test_a_reader_that_stops_in_the_middle_of_a_list(echod):
    server = echod(with_control(echo={"listen": TCP, "max_per_source": 2000}))
    with contextlib.ExitStack() as stack:
        for _ in range(600):
            stack.enter_context(server.connect("echo"))
        slow = stack.enter_context(console(server))
        wait_until(lambda: slow.ask(b"status")["clients"]["now"] > 600, "all have come")
        slow.send(b"-j clients\n" * 60)
        with console(server) as client:
            for _ in range(5):
                assert client.request(b"status")[1] == b"OK"
            mine = [c for c in client.ask(b"clients --service control")["clients"]]
            assert all(c["unsent"] < 1 << 20 for c in mine)
        for _ in range(60):
            assert len(json.loads(slow.answer()[0][0])["clients"]) >= 600


# --- kill ---


def test_kill(echod, echoctl, ask):
    server = echod(with_control(kv={"listen": TCP}))
    with server.kv() as client, server.kv() as other:
        ids = {c["peer"]: c["id"] for c in listed(ask)}
        assert ask("kill", ids[client.name])["peer"] == client.name
        with contextlib.suppress(ConnectionResetError):
            assert client.rest() == b""
        assert other.ask(b"GET a") == b"NOT_FOUND"
        server.wait_closed("denied")
        server.log.wait(rf"info control: kills client {ids[client.name]}, .* user {os.geteuid()}, ")
        assert "no client" in echoctl("kill", ids[client.name], status=NO)[1]


def test_kill_is_refused_for_nobody_and_for_oneself(echod, echoctl):
    server = echod(CONTROL)
    assert "no client has the id 0" in echoctl("kill", 0, status=NO)[1]
    echoctl("kill", "x", status=USAGE)
    echoctl("kill", status=USAGE)
    with console(server) as client:
        own = client.ask(b"clients")["clients"][0]["id"]
        assert b"this very connection" in client.request(b"kill %d" % own)[1]


# --- reload, reopen, log ---


def test_reload(echod, echoctl, ask):
    server = echod(with_control(kv={"listen": TCP}))
    server.configure(with_control(kv={"listen": TCP}, echo={"listen": TCP}))
    assert echoctl("reload")[0] == f"reloaded {server.config}\n"
    with server.connect("echo") as client:
        assert client.ask(b"hello") == b"hello"
    assert ask("reload") == {"reloaded": str(server.config), "warnings": []}
    assert ask("status")["config"]["reloads"] == 2


def test_reload_that_fails_says_why(echod, echoctl, ask):
    server = echod(with_control(kv={"listen": TCP}))
    server.configure(with_control(kv={"listen": TCP, "backlog": 0}, ecko={"listen": TCP}))
    output, errors = echoctl("reload", status=NO)
    assert output == ""
    assert f"{server.config}:1: services.kv.backlog: " in errors and "ecko" in errors
    assert errors.endswith("echoctl: reload failed, the running configuration stays\n")
    details = ask("reload", status=NO)["details"]
    assert len(details) == 2
    text, _ = echoctl("status")
    assert "needs a look" in text and "services.kv.backlog" in text
    assert ask("status")["config"]["failures"] == 2
    server.configure(CONTROL)
    echoctl("reload")
    assert "all is well" in echoctl("status")[0]


def test_reload_warns_of_what_needs_a_restart(echod, echoctl):
    server = echod(with_control(kv={"listen": "unix://$DIR/kv", "socket_mode": "0600"}))
    server.configure(with_control(kv={"listen": "unix://$DIR/kv", "socket_mode": "0660"}))
    output, _ = echoctl("reload")
    assert 'warning: services.kv.socket_mode: needs a restart, stays "0600"' in output


def test_status_warns_of_what_waits_for_a_restart(echod, echoctl, ask):
    """Until the files are as before again, whatever else is reloaded meanwhile."""
    kv = {"listen": "unix://$DIR/kv"}
    server = echod(with_control(kv={**kv, "storage": "$DIR/store"}))
    assert "needs a restart" not in echoctl("status")[0]
    warning = f'services.kv.storage: needs a restart, stays "{server.fill_in("$DIR/store")}"'
    for changes in ({}, {}, {"max_line": "2K"}):
        server.configure(with_control(kv={**kv, "storage": "$DIR/other", **changes}))
        echoctl("reload")
        assert ask("status")["warnings"] == [warning]
        assert f"echod: warning: {warning}\n" in echoctl("status")[0]
    server.configure(with_control(kv={**kv, "bad": 1}))
    echoctl("reload", status=NO)
    assert ask("status")["warnings"] == [warning]
    server.configure(with_control(kv={**kv, "storage": "$DIR/store"}))
    echoctl("reload", "--dry-run")
    assert ask("status")["warnings"] == [warning]
    echoctl("reload")
    assert ask("status")["warnings"] == []


def test_reload_that_takes_the_control_service_away_is_answered(echod, echoctl):
    server = echod(with_control(kv={"listen": TCP}))
    server.configure({"kv": {"listen": TCP}})
    assert echoctl("reload")[0] == f"reloaded {server.config}\n"
    echoctl("status", status=NOBODY)


def test_reload_that_moves_the_control_service_is_answered(echod, echoctl, workdir):
    server = echod(with_control(kv={"listen": TCP}))
    server.configure({"control": {"listen": "unix://$DIR/control2"}, "kv": {"listen": TCP}})
    echoctl("reload")
    subprocess.run([find_echoctl(), "-s", f"{workdir}/control2", "log"], check=True,
                   stdout=subprocess.DEVNULL)


def test_reopen(echod, echoctl, workdir):
    server = echod(CONTROL, log={"target": "$DIR/log"})
    (workdir / "log").rename(workdir / "log.1")
    assert echoctl("reopen")[0] == "reopened the log\n"
    assert "reopened" in (workdir / "log").read_text()
    os.unlink(workdir / "log")
    (workdir / "log").mkdir()
    assert "Is a directory" in echoctl("reopen", status=NO)[1]
    (workdir / "log").rmdir()
    server.stop()


def test_log_level_until_the_next_reload(fleet, echoctl):
    server = fleet.start(with_control(kv={"listen": TCP}), args=())
    assert echoctl("log")[0] == "log level info\n"
    echoctl("log", "debug")
    server.kv().close()
    server.log.wait(r" debug kv ")
    echoctl("reload")
    assert echoctl("log")[0] == "log level info\n"
    echoctl("log", "loud", status=USAGE)


# --- reload --dry-run ---


def open_files(server):
    """By descriptor; once more if one of them is closed meanwhile."""
    try:
        return {fd: os.readlink(f"/proc/{server.pid}/fd/{fd}")
                for fd in harness.descriptors(server.pid)}  # fmt: skip
    except FileNotFoundError:
        return open_files(server)


def snapshot(server, directory):
    """All that a reload without a trace must leave as it was."""
    return (
        sorted(path.name for path in directory.iterdir()),
        (directory / "control").stat().st_ino,
        open_files(server),
    )


def test_dry_run_says_what_would_change(echod, echoctl, ask, workdir):
    port, other = harness.free_port(), harness.free_port()
    tcp, gone = f"tcp://127.0.0.1:{port}", f"tcp://127.0.0.1:{other}"
    before = with_control(kv={"listen": [tcp, gone], "max_key": 10, "socket_mode": "0600"},
                          echo={"listen": TCP}, shout={"type": "upper", "listen": TCP})
    server = echod(before)
    with server.kv() as client, server.connect("echo") as leaving:
        leaving.ask(b"hello")
        client.ask(b"SET a 1")
        server.configure(with_control(
            kv={"listen": [tcp, "unix://$DIR/new"], "max_key": 20, "socket_mode": "0660"},
            shout={"type": "echo", "listen": gone}, time={"listen": "udp://127.0.0.1:0"},
        ), log={"target": "$DIR/log"})  # fmt: skip
        mark, state = server.log.mark(), snapshot(server, workdir)
        plan = ask("reload", "--dry-run")
        text, _ = echoctl("reload", "--dry-run")
        wait_until(lambda: snapshot(server, workdir) == state, "nothing has changed")
        assert not server.log.matches("(warning|error)", mark)
        assert client.ask(b"GET a") == b"1" and leaving.ask(b"there") == b"there"
    steps = {(s["step"], s["service"], s.get("address", s.get("clients"))) for s in plan["steps"]}
    assert steps == {
        ("keeps", "kv", tcp), ("opens", "kv", f"unix://{workdir}/new"), ("moves", "shout", gone),
        ("starts", "shout", 0), ("starts", "time", 0), ("opens", "time", "udp://127.0.0.1:0"),
        ("keeps", "control", str(server.address("control"))),
        ("closes", "echo", str(server.address("echo"))), ("stops", "echo", 1),
        ("closes", "shout", str(server.address("shout"))), ("stops", "shout", 0),
    }  # fmt: skip
    values = {v["key"]: (v["before"], v["after"], v["restart"]) for v in plan["values"]}
    assert values["services.kv.max_key"] == ("10", "20", False)
    assert values["services.kv.socket_mode"] == ('"0600"', '"0660"', True)
    assert values["log.target"][1] == f'"{workdir}/log"'
    assert set(values) == {"services.kv.max_key", "services.kv.socket_mode", "services.kv.listen",
                           "log.target"}
    assert f"changes services.kv.max_key: 10 -> 20 ({server.config}:2)\n" in text
    assert f"stops echo and its 1 client\n" in text
    assert text.endswith("nothing has been changed\n")


def test_dry_run_of_no_change(echod, echoctl):
    kv = {"listen": [TCP, "unix://$DIR/kv"]}
    server = echod(with_control(kv=kv))
    assert echoctl("reload", "--dry-run")[0].endswith("a reload would change nothing\n")
    server.configure(with_control(kv={**kv, "socket_mode": "0600"}))
    text, _ = echoctl("reload", "--dry-run")
    assert 'needs a restart: services.kv.socket_mode: "0660" -> "0600" (' in text
    assert text.endswith("a reload would change nothing\n")


def test_dry_run_warns_as_a_reload_does(echod, echoctl, ask):
    server = echod(CONTROL)
    server.configure(with_control(time={"listen": "udp://*:0"}))
    warnings = ask("reload", "--dry-run")["warnings"]
    assert len(warnings) == 1 and "services.time" in warnings[0]
    assert f"warning: {warnings[0]}\n" in echoctl("reload", "--dry-run")[0]
    assert ask("reload")["warnings"] == warnings


def test_dry_run_finds_that_addresses_are_taken_and_disturbs_nobody(echod, echoctl, workdir):
    server = echod(CONTROL)
    with contextlib.ExitStack() as stack:
        tcp, udp = (stack.enter_context(socket.socket(type=kind))
                    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM))
        stream, datagram = (stack.enter_context(socket.socket(socket.AF_UNIX, kind))
                            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM))
        for sock in tcp, udp:
            sock.bind(("127.0.0.1", 0))
        stream.bind(f"{workdir}/stream")
        datagram.bind(f"{workdir}/datagram")
        for sock in tcp, stream:
            sock.listen()
            sock.setblocking(False)
        (workdir / "file").write_text("no socket")
        taken = [f"tcp://127.0.0.1:{tcp.getsockname()[1]}",
                 f"udp://127.0.0.1:{udp.getsockname()[1]}", "unix://$DIR/stream",
                 "unixgram://$DIR/datagram", "unix://$DIR/file", "unix://$DIR/no/such/directory"]
        server.configure(with_control(echo={"listen": taken}))
        errors = echoctl("reload", "--dry-run", status=NO)[1]
        lines = [line for line in errors.splitlines() if "services.echo.listen: cannot" in line]
        assert [line.split("cannot bind ")[1].split(": ")[0] for line in lines] == [
            server.fill_in(address) for address in taken]
        assert errors.endswith("echoctl: a reload would fail, and change nothing\n")
        for sock in tcp, stream:
            with pytest.raises(BlockingIOError):
                sock.accept()  # nobody has connected
        assert os.path.exists(workdir / "stream") and os.path.exists(workdir / "datagram")


def test_dry_run_of_an_address_that_becomes_wider(echod, echoctl, ask):
    port = harness.free_port()
    narrow, wide = f"tcp://127.0.0.1:{port}", f"tcp://[::]:{port}"
    server = echod(with_control(echo={"listen": narrow}))
    with server.connect("echo") as client:
        server.configure(with_control(echo={"listen": wide}))
        steps = {(s["step"], s.get("address")) for s in ask("reload", "--dry-run")["steps"]}
        assert {("opens", wide), ("closes", narrow)} < steps
        server.configure(with_control(echo={"listen": narrow}))
        assert echoctl("reload", "--dry-run")[0].endswith("a reload would change nothing\n")
        assert client.ask(b"hello") == b"hello"


def test_dry_run_leaves_a_stale_socket(echod, echoctl, workdir):
    server = echod(CONTROL)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(f"{workdir}/stale")
    server.configure(with_control(echo={"listen": "unix://$DIR/stale"}))
    inode = (workdir / "stale").stat().st_ino
    assert f"opens echo unix://{workdir}/stale" in echoctl("reload", "--dry-run")[0]
    assert (workdir / "stale").stat().st_ino == inode
    echoctl("reload")
    server.connect("echo").close()


def test_dry_run_tells_mistakes(echod, echoctl, ask):
    server = echod(CONTROL)
    server.configure(with_control(kv={"listen": TCP, "max_key": 0}))
    assert f"{server.config}:1: services.kv.max_key: " in echoctl(
        "reload", "--dry-run", status=NO)[1]
    assert ask("status")["config"]["failures"] == 0
    server.configure(CONTROL, log={"target": "$DIR/no/such/log"})
    assert f"{server.config}:1: log.target: cannot open" in echoctl(
        "reload", "--dry-run", status=NO)[1]


# --- why ---


RULES = """
limits = { max_per_source = 2; };
services = {
  kv = {
    listen = [ "tcp://127.0.0.1:0", "unix://$DIR/kv" ];
    allow = [ "127.0.0.0/8",
              "10.0.0.0/8" ];
    deny = [
      "127.0.0.7",
      "10.0.0.0/8",
      "10.1.0.0/16" ];
  };
  open = { type = "echo"; listen = [ "tcp://127.0.0.1:0", "udp://127.0.0.1:0" ];
           max_connections = 1; on_limit = "queue"; reply_rate = 5; };
  off = { type = "echo"; listen = "tcp://127.0.0.1:0"; enabled = false; };
  control = { listen = "unix://$DIR/control"; };
};
"""


@pytest.mark.parametrize(
    "address, verdict, key, line",
    [("127.0.0.1", "allowed", "allow", 6), ("127.0.0.7", "denied", "deny", 9),
     ("10.2.2.2", "denied", "deny", 10), ("10.1.2.3:44", "denied", "deny", 11),
     ("[::ffff:10.1.2.3]:44", "denied", "deny", 11), ("9.9.9.9", "denied", "allow", 6),
     ("::1", "denied", "allow", 6), ("unix", "allowed", "socket_mode", 0)],
)  # fmt: skip
def test_why_names_the_rule_and_its_line(echod, ask, address, verdict, key, line):
    server = echod(RULES)
    answer = ask("why", address, "kv")
    assert answer["datagrams"] is None and answer["streams"]["verdict"] == verdict
    decides = answer["streams"]["findings"][0]
    assert (decides["key"], decides["line"]) == (key, line)
    assert decides["file"] == (str(server.config) if line else None)


def test_why_agrees_with_what_happens(echod, ask):
    server = echod(RULES)
    for source in "127.0.0.1", "127.0.0.7", "127.0.0.8":
        with server.connect("kv", source=source, transport="tcp") as client:
            try:
                allowed = client.more() == b"READY\n"
            except ConnectionResetError:
                allowed = False
        verdict = ask("why", source, "kv")["streams"]["verdict"]
        assert verdict == ("allowed" if allowed else "denied")


LOOPBACK_ONLY = "services.open listens on loopback addresses only"


def test_why_says_that_only_this_machine_can_connect(echod, echoctl):
    """No rule says so: "allowed" alone would send an administrator to the firewall."""
    server = echod(RULES)
    for address, service, count in [
        ("192.0.2.1", "open", 2), ("2001:db8::1", "open", 2), ("127.0.0.9", "open", 0),
        ("::1", "open", 0), ("unix", "kv", 0), ("192.0.2.1", "kv", 0),
    ]:  # fmt: skip
        text, _ = echoctl("why", address, service)
        assert text.count(LOOPBACK_ONLY) == count, address
    server.configure(RULES.replace('"udp://127.0.0.1:0"', '"udp://*:0"'))
    echoctl("reload")
    streams, datagrams = echoctl("why", "192.0.2.1", "open")[0].split("datagrams:")
    assert LOOPBACK_ONLY in streams and LOOPBACK_ONLY not in datagrams


def test_why_names_limits(echod, ask, echoctl):
    server = echod(RULES)
    with server.kv(transport="tcp"), server.kv(transport="tcp"):
        streams = ask("why", "127.0.0.1", "kv")["streams"]
        assert streams["verdict"] == "limited"
        assert streams["findings"][0]["text"] == "2 of 2 clients by limits.max_per_source: no more"
        assert streams["findings"][0]["line"] == 2
        assert ask("why", "127.0.0.2", "kv")["streams"]["verdict"] == "allowed"
    with server.connect("open", transport="tcp") as client:
        client.ask(b"hello")
        text, _ = echoctl("why", "127.0.0.1", "open")
        assert "streams: waits\n  by: 1 of 1 client by services.open.max_connections" in text
        assert f"({server.config}:14)" in text
        assert "answers a second" not in text  # the loopback is exempt
        text, _ = echoctl("why", "192.0.2.1", "open")
        assert "at most 5 answers a second" in text


def test_why_knows_the_guards_of_datagrams(echod, ask):
    server = echod(RULES)
    port = server.address("open", "udp").port
    for address, verdict, key in (
        ("192.0.2.1", "allowed", "allow"), ("192.0.2.1:50000", "allowed", "allow"),
        ("192.0.2.1:53", "dropped", "reply_ports"), (f"192.0.2.1:{port}", "dropped", None),
    ):  # fmt: skip
        answer = ask("why", address, "open")["datagrams"]
        assert answer["verdict"] == verdict and answer["findings"][0]["key"] == key
    text = ask("why", f"192.0.2.1:{port}", "open")["datagrams"]["findings"][0]["text"]
    assert text == "its port is one that echod itself receives datagrams on"


@pytest.mark.parametrize(
    "host, asked, any_port",
    [("127.0.0.1", "127.0.0.1:{}", "127.0.0.1"), ("127.0.0.2", "[::ffff:127.0.0.2]:{}", "127.0.0.2"),
     pytest.param("::1", "[::1]:{}", "::1", marks=needs_ipv6)],
)  # fmt: skip
def test_why_knows_what_is_muted(echod, ask, echoctl, host, asked, any_port):
    server = echod(with_control(echo={"listen": "udp://*:0"}))
    with server.connect("echo", host=host, source=(host, 0)) as client:
        this, other = asked.format(client.port), asked.format(client.port ^ 1)
        assert ask("why", this, "echo")["datagrams"]["verdict"] == "allowed"
        for _ in range(30):
            client.send(b"again\n")
        server.log.wait(rf"echo \S+:{client.port}: .*muted")
        for address in this, any_port:
            answer = ask("why", address, "echo")["datagrams"]
            assert answer["verdict"] == "dropped"
            found = re.fullmatch(r'its request "again\\n" \(6 bytes\) from port (\d+) is muted for '
                                 r"another (\d+) s: it had the same answer over and over",
                                 answer["findings"][0]["text"])
            assert int(found[1]) == client.port and int(found[2]) <= 60
            assert answer["findings"][1]["text"] == "its other requests are answered"
        assert ask("why", other, "echo")["datagrams"]["verdict"] == "allowed"
        assert "datagrams: dropped\n  by: its request" in echoctl("why", this, "echo")[0]


def test_why_knows_what_is_muted_on_a_unix_socket(echod, ask):
    server = echod(with_control(echo={"listen": "unixgram://$DIR/echo"}))
    with server.connect("echo") as client:
        for _ in range(21):
            client.send(b"x" * 100)
        server.log.wait(r"echo unix:\S+: .*muted")
        answer = ask("why", "unix", "echo")["datagrams"]
    assert answer["verdict"] == "dropped"
    shown = "x" * 32
    assert answer["findings"][0]["text"].startswith(f'its request "{shown}"... (100 bytes) is muted')


def test_why_names_some_of_many_that_are_muted(echod, ask):
    server = echod(with_control(echo={"listen": "udp://127.0.0.1:0"}))
    with server.connect("echo") as client:
        for number in range(7):
            for _ in range(20):
                client.ask(b"%d" % number)
            client.send(b"%d" % number)
        client.ask(b"fence")
        texts = [f["text"] for f in ask("why", "127.0.0.1", "echo")["datagrams"]["findings"]]
    assert len([text for text in texts if "is muted for" in text]) == 4
    assert texts[4:6] == ["and 3 more of its requests are", "its other requests are answered"]


def test_why_knows_that_the_rate_is_used_up(echod, ask):
    host = own_address()
    server = echod(with_control(echo={"listen": "udp://0.0.0.0:0", "reply_rate": 1}))
    with server.connect("echo", host=host, source=(host, 0)) as client:
        client.ask(b"x" * 30_000)  # 21 packets
        answer = ask("why", f"{host}:{client.port}", "echo")["datagrams"]
    assert answer["verdict"] == "dropped"
    assert answer["findings"][0]["key"] == "reply_rate"
    assert "has had the 1 answer a second" in answer["findings"][0]["text"]
    assert ask("why", "127.0.0.1", "echo")["datagrams"]["verdict"] == "allowed"


@pytest.mark.parametrize("address", ["224.0.0.1", "0.0.0.0:4242", "255.255.255.255", "192.0.2.1:0"])
def test_why_knows_sources_that_are_nobodys(echod, ask, address):
    echod(RULES)
    answer = ask("why", address, "open")["datagrams"]
    assert (answer["verdict"], answer["findings"][0]["key"]) == ("dropped", None)


@pytest.mark.parametrize(
    "arguments, text, status",
    [(("1.2.3", "kv"), "expected an IP address", USAGE), (("[::1", "kv"), "IP address", USAGE),
     (("1.2.3.4:70000", "kv"), "expected", USAGE), (("1.2.3.4", "vk"), 'mean "kv"', NO),
     (("1.2.3.4", "off"), "not enabled", NO), (("1.2.3.4",), "an argument is missing", USAGE),
     (("1.2.3.4", "control"), "services.control has no address that 1.2.3.4 could come to", NO),
     (("unix", "open"), "services.open has no address that unix could come to", NO)],
)  # fmt: skip
def test_why_of_nothing(echod, echoctl, arguments, text, status):
    echod(RULES)
    assert text in echoctl("why", *arguments, status=status)[1]


# --- numbers ---


@pytest.mark.parametrize("number", ["18446744073709551617", "9223372036854775808", "4294967297000000001",
                                    "99999999999999999999999", "0x1", "+1", "1e0"])  # fmt: skip
def test_numbers_of_a_request_do_not_wrap(echod, echoctl, number):
    """Client 1 is not meant, and nobody has been idle for so long."""
    server = echod(with_control(kv={"listen": TCP}))
    with server.kv() as client:
        with pytest.raises(AssertionError, match="exit status [12]"):
            echoctl("kill", number)
        with pytest.raises(AssertionError, match="exit status 2"):
            echoctl("clients", f"--idle-over={number}")
        assert client.ask(b"GET a") == b"NOT_FOUND"


def test_a_duration_beyond_32_bits(echod, echoctl):
    def is_listed(idle):
        return echoctl("clients", "--service", "kv", "--idle-over", idle)[0].count("\n") > 1

    server = echod(with_control(kv={"listen": TCP}))
    with server.kv():
        wait_until(lambda: is_listed("1ms"), "it has been idle for a moment")
        for duration in "4294967296", "4294967296001ms", "106751991167d":
            assert not is_listed(duration)


# --- stats ---


def test_stats(echod, echoctl, ask):
    server = echod(with_control(kv={"listen": TCP}))
    with server.kv() as client:
        client.ask(b"SET a 1")
    server.wait_closed("client_eof")
    text, _ = echoctl("stats")
    names = [line.rsplit(" ", 1) for line in text.splitlines()]
    for name, value in names:
        assert re.fullmatch(r'echod_[a-z0-9_]+(\{\w+="[\w-]+"(,\w+="\w+")?\})?', name), name
        float(value)
    assert len({name for name, _ in names}) == len(names)
    families = [name for name, _ in itertools.groupby(name.split("{")[0] for name, _ in names)]
    assert len(families) == len(set(families)), "lines of a name stand together"
    stats = ask("stats")
    assert list(stats) == [name for name, _ in names]
    assert stats['echod_accepted_total{service="kv"}'] == 1
    assert stats['echod_closed_total{service="kv",reason="client_eof"}'] == 1
    assert stats['echod_kv_entries{service="kv"}'] == 1
    assert stats['echod_refused_total{service="kv",reason="connect_rate"}'] == 0


# --- echoctl ---


def test_nobody_there(workdir, echoctl):
    for command in ["status"], ["listeners"], ["clients"], ["kill", 1], ["reload"], ["stats"]:
        output, errors = echoctl(*command, status=NOBODY)
        assert output == "" and f"unix://{workdir}/control" in errors and "running" in errors


def test_wrong_usage_needs_no_daemon(echoctl):
    for wrong in (["kill"], ["kill", 1, 2], ["status", "x"], ["clients", "--foo"], ["log", 1, 2],
                  ["clients", "--service"], ["reload", "-w"], ["log", "a b"], ["log", ""]):
        echoctl(*wrong, status=USAGE)


@contextlib.contextmanager
def asked(workdir, command):
    """A daemon of the test's own that has been asked: (echoctl's process, its connection)."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{workdir}/control")
        server.listen()
        with subprocess.Popen([find_echoctl(), "-s", f"{workdir}/control", command],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            client, _ = server.accept()
            with client:
                assert client.recv(100) == f"{command}\n".encode()
                yield process, client


def test_a_daemon_that_dies_in_the_middle(workdir):
    with asked(workdir, "status") as (process, client):
        client.send(b"echod: half an answer\n")
        client.close()
        output, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, output) == (NO, b"")
    assert b"closed before the answer was complete" in errors


def test_reload_waits_as_long_as_it_takes(workdir):
    """A large store, or a name server that is slow: longer than echoctl waits for other answers."""
    with asked(workdir, "reload") as (process, client):
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(5.2)
        client.send(b"reloaded\nOK\n")
        assert process.communicate(timeout=DEADLINE) == (b"reloaded\n", b"")
    assert process.returncode == OK


@needs_root
@needs_open_tree
def test_permission_denied_names_the_socket_and_the_group(echod, echoctl, workdir):
    server = echod(CONTROL)
    os.chmod(workdir, 0o755)
    os.chown(workdir / "control", 0, 1)  # daemon
    errors = echoctl("status", status=NO, user=65534, group=65534, extra_groups=[])[1]
    assert f"{workdir}/control" in errors and "group daemon" in errors
    os.chown(workdir / "control", 65534, 1)
    os.chmod(workdir / "control", 0o600)
    errors = echoctl("status", status=NO, user=1, group=1, extra_groups=[])[1]
    assert "belongs to user 65534 and has mode 0600" in errors
    os.chmod(workdir / "control", 0o660)
    os.chmod(workdir, 0o750)
    errors = echoctl("status", status=NO, user=65534, group=65534, extra_groups=[])[1]
    assert f"{workdir} belongs to root: become root" in errors and "group" not in errors
    os.chmod(workdir, 0o755)
    assert "well" in echoctl("status", user=65534, group=1, extra_groups=[])[0]
    server.stop()


@needs_root
def test_sockets_belong_to_the_user_that_serves(echod, workdir):
    os.chmod(workdir, 0o755)
    (workdir / "own").mkdir()
    os.chown(workdir / "own", 65534, 65534)
    server = echod({"control": {"listen": ["unix://$DIR/own/a", "unix://$DIR/b"]}}, user="nobody")
    owners = [(workdir / path).stat().st_uid for path in ("own/a", "b")]
    assert owners == [65534, 0]
    server.stop()
    assert not (workdir / "own/a").exists()


def test_watch_ends_at_q_on_a_terminal(echod, workdir):
    echod(with_control(kv={"listen": TCP}))
    with terminal("status", "-w", "-i", "0.05", workdir=workdir) as (process, screen):
        for _ in range(3):
            screen.wait(b"all is well")
        os.write(screen.fd, b"q")
        screen.wait(b"\x1b[?25h")
        assert process.wait(DEADLINE) == OK


def test_watch_shows_long_lines_whole(echod, workdir):
    server = echod(CONTROL)
    assert not server.reload("services = { echo = { listne = 1; }; };")
    with terminal("status", "-w", workdir=workdir) as (_, screen):
        screen.wait(b'services.echo.listne: unknown key; did you mean "listen"?')
        screen.wait(b"control: serves ")


def test_watch_ends_at_ctrl_c(echod, workdir):
    echod(CONTROL)
    with terminal("status", "-w", workdir=workdir) as (process, screen):
        screen.wait(b"all is well")
        os.write(screen.fd, b"\x03")
        assert process.wait(DEADLINE) == OK


def test_watch_without_a_terminal_repeats(echod, workdir):
    echod(CONTROL)
    with subprocess.Popen([find_echoctl(), "-s", f"{workdir}/control", "-j", "status", "-w", "-i",
                           "0.05"], stdout=subprocess.PIPE) as process:
        for _ in range(3):
            assert json.loads(process.stdout.readline())["problems"] == []
        process.terminate()
        process.stdout.read()
    assert process.returncode == OK


class Screen:
    """The other side of a terminal; where its lines end does not matter."""

    def __init__(self, fd):
        self.fd = fd
        self.shown = b""

    def wait(self, text):
        end = time.monotonic() + DEADLINE
        while text not in self.shown:
            if time.monotonic() > end:
                raise Failure(f"{text!r} did not come: {self.shown!r}")
            try:
                self.shown += os.read(self.fd, 4096).translate(None, b"\r\n")
            except OSError as error:
                raise Failure(f"{text!r} did not come: {self.shown!r}") from error
        self.shown = self.shown.split(text, 1)[1]


@contextlib.contextmanager
def terminal(*args, workdir):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [find_echoctl(), "-s", f"{workdir}/control", *args],
        stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=lambda: take_terminal(theirs),
    )  # fmt: skip
    os.close(theirs)
    try:
        yield process, Screen(ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def take_terminal(fd):
    """It becomes the controlling terminal: Ctrl-C is a signal then."""
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
