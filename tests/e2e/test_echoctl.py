"""echoctl: the client commands over every transport, their output and their exit statuses."""

import array
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import termios
import threading
import time
from pathlib import Path

import pytest

import harness
from harness import DEADLINE, Failure
from test_addresses import with_hosts
from transports import every_datagram, every_stream, every_transport, needs_ipv6, needs_root

OK, NO, USAGE, NOBODY = 0, 1, 2, 3

UDP = "udp://127.0.0.1:0"
TCP = "tcp://127.0.0.1:0"


def find_echoctl():
    """$ECHOCTL, or the one beside the daemon under test."""
    beside = Path(harness.find_echod()).parent / "echoctl/echoctl"
    return str(Path(os.environ.get("ECHOCTL", beside)).resolve())


pytestmark = pytest.mark.skipif(not os.path.exists(find_echoctl()), reason="echoctl is not built")


def run(*args, status=OK, **options):
    """Runs echoctl to its end, which has that exit status; returns (output, errors)."""
    options.setdefault("stdout", subprocess.PIPE)
    if "input" not in options:
        options.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run(
        [find_echoctl(), *map(str, args)],
        stderr=subprocess.PIPE,
        timeout=DEADLINE,
        check=False,
        **options,
    )
    errors = done.stderr.decode()
    assert not harness.SANITIZER_REPORT.search(errors), errors
    assert done.returncode == status, f"exit status {done.returncode}: {errors}"
    return done.stdout, errors


class Running:
    """An echoctl that runs beside the test."""

    def __init__(self, *args):
        self.process = subprocess.Popen(
            [find_echoctl(), *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.unread = {"stdout": b"", "stderr": b""}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def line(self, stream="stdout"):
        """Its next line there."""
        pipe = getattr(self.process, stream)
        while b"\n" not in self.unread[stream]:
            if not select.select([pipe], [], [], DEADLINE)[0]:
                raise Failure(f"echoctl has written no line to {stream}")
            piece = os.read(pipe.fileno(), 1 << 16)
            assert piece, f"{stream} has ended after {self.unread[stream]!r}"
            self.unread[stream] += piece
        line, self.unread[stream] = self.unread[stream].split(b"\n", 1)
        return line.decode()

    def write(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def unread_input(self):
        """Bytes that it has not read yet."""
        left = array.array("i", [0])
        fcntl.ioctl(self.process.stdin, termios.FIONREAD, left)
        return left[0]

    def finish(self, number=None, status=OK):
        """What it still had to say, after that signal."""
        if number is not None:
            self.process.send_signal(number)
        ends = self.process.communicate(timeout=DEADLINE)
        unread = (self.unread["stdout"], self.unread["stderr"])
        output, errors = ((a + (b or b"")).decode() for a, b in zip(unread, ends))
        assert not harness.SANITIZER_REPORT.search(errors), errors
        assert self.process.returncode == status, errors
        return output, errors


@contextlib.contextmanager
def stream_peer(serve, stays=False):
    """A TCP server for one client, which `serve` talks to; `stays`: it closes only at the end."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE)

        def accept():
            with contextlib.suppress(OSError), listener.accept()[0] as client:
                client.settimeout(DEADLINE)
                serve(client)
                if stays:
                    over.wait(DEADLINE)

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        thread.join()


@contextlib.contextmanager
def datagram_peer(serve=None):
    """A UDP server; `serve(socket, datagram, sender)` is called for each datagram."""
    with socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        over = threading.Event()

        def receive():
            while not over.is_set():
                if select.select([server], [], [], 0.02)[0]:
                    serve(server, *server.recvfrom(1 << 16))

        thread = threading.Thread(target=receive)
        if serve is not None:
            thread.start()
        yield f"udp://127.0.0.1:{server.getsockname()[1]}"
        over.set()
        if serve is not None:
            thread.join()


def read_all(client):
    data = b""
    while piece := client.recv(1 << 16):
        data += piece
    return data


def nobody():
    """A port that nobody listens on."""
    return harness.free_port()


# --- send ---


@every_stream
def test_send_line(echod, listen):
    server = echod({"echo": {"listen": listen}})
    assert run("send", server.address("echo"), "hello", "big", "world") == (
        b"hello big world\n", "",
    )  # fmt: skip


@every_datagram
def test_send_datagram(echod, listen):
    server = echod({"echo": {"listen": listen}})
    assert run("send", server.address("echo"), "hello", "world") == (b"hello world", "")


@every_stream
def test_send_8_mib_of_input(echod, listen):
    data = os.urandom(8 << 20)
    server = echod({"echo": {"listen": listen}})
    assert run("send", server.address("echo"), input=data)[0] == data


@every_datagram
@pytest.mark.parametrize("size", [0, 1, 65507])
def test_send_input_as_one_datagram(echod, listen, size):
    data = os.urandom(size)
    server = echod({"echo": {"listen": listen}})
    assert run("send", server.address("echo"), input=data)[0] == data


def test_send_empty_input(echod):
    server = echod({"echo": {"listen": TCP}})
    assert run("send", server.address("echo"), input=b"") == (b"", "")


def test_send_takes_hyphens_behind_the_address_for_text(echod):
    server = echod({"echo": {"listen": TCP}})
    assert run("send", server.address("echo"), "-w", "-n", "--", "-h")[0] == b"-w -n -- -h\n"


def test_send_prints_what_the_peer_says_first(echod):
    server = echod({"kv": {"listen": TCP}})
    assert run("send", server.address("kv"), "GET", "nothing")[0] == b"READY\nNOT_FOUND\n"
    output, _ = run("send", server.address("kv"), input=b"SET a 1\nGET a\nQUIT\nGET a\n")
    assert output == b"READY\nOK\n1\nBYE\n"


def test_send_prints_the_answer_while_the_input_goes_on(echod):
    server = echod({"upper": {"listen": TCP}})
    with Running("send", "-w", "0.1", server.address("upper")) as client:
        client.write(b"first\n")
        assert client.line() == "FIRST"
        time.sleep(0.3)  # the person who types is not bound to -w
        client.write(b"second\n")
        assert client.line() == "SECOND"
        assert client.finish() == ("", "")


def test_send_ends_when_the_peer_does_not_want_the_rest(echod):
    server = echod({"echo": {"listen": TCP, "mode": "once"}})
    with Running("send", server.address("echo")) as client:
        client.write(b"first\n")
        assert client.line() == "first"
        assert client.finish() == ("", "")


def test_send_takes_the_answer_of_a_peer_that_takes_no_more(workdir):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.settimeout(DEADLINE)
        listener.bind(f"{workdir}/peer")
        listener.listen()
        with Running("send", f"unix://{workdir}/peer") as client, listener.accept()[0] as peer:
            client.write(b"first\n")
            assert peer.recv(100) == b"first\n"
            peer.shutdown(socket.SHUT_RD)
            client.write(b"second\n")
            harness.wait_until(lambda: client.unread_input() == 0, "echoctl reads its input")
            peer.sendall(b"enough")
            peer.shutdown(socket.SHUT_WR)
            assert client.finish() == ("enough", "")


def test_send_to_a_peer_that_keeps_its_side_open():
    def serve(client):
        assert read_all(client) == b"hello\n"
        client.sendall(b"half an answer")

    with stream_peer(serve, stays=True) as address:
        assert run("send", "-w", "0.2", address, "hello") == (b"half an answer", "")


def test_send_without_an_answer():
    with stream_peer(read_all, stays=True) as address:
        errors = run("send", "-w", "0.2", address, "hello", status=NO)[1]
        assert errors == f"echoctl: {address}: no answer within 0.2 s\n"
    with stream_peer(read_all) as address:
        errors = run("send", address, "hello", status=NO)[1]
        assert errors == f"echoctl: {address}: closed without an answer\n"
    with datagram_peer() as address:
        errors = run("send", "-w", "0.2", address, "hello", status=NO)[1]
        assert errors == f"echoctl: {address}: no answer within 0.2 s\n"


def test_send_to_a_peer_that_takes_nothing():
    with stream_peer(lambda client: None, stays=True) as address:
        errors = run("send", "-w", "0.2", address, input=bytes(16 << 20), status=NO)[1]
        assert errors == f"echoctl: {address}: the peer takes no more\n"


def test_send_tells_a_reset():
    def serve(client):
        client.sendall(b"half")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with stream_peer(serve) as address:
        errors = run("send", address, "hello", status=NO)[1]
        assert errors == f"echoctl: {address}: Connection reset by peer\n"


def test_send_as_json(echod):
    server = echod({"echo": {"listen": [TCP, UDP]}})
    tcp, udp = server.address("echo", "tcp"), server.address("echo", "udp")
    output, _ = run("-j", "send", tcp, "grüße")
    assert json.loads(output) == {"address": str(tcp), "bytes": 8, "text": "grüße\n"}
    output, _ = run("send", "-j", udp, input=b"\xff\0a")
    assert json.loads(output) == {"address": str(udp), "bytes": 3, "hex": "ff0061"}


def test_send_needs_its_output(echod):
    server = echod({"echo": {"listen": [TCP, UDP]}})
    for address in server.addresses("echo"):
        with open("/dev/full", "wb") as full:
            errors = run("send", address, "hello", stdout=full, status=NO)[1]
        assert errors == "echoctl: cannot write the output: No space left on device\n"


def test_send_refuses_what_no_datagram_holds(echod):
    server = echod({"echo": {"listen": UDP}})
    errors = run("send", server.address("echo"), input=bytes(70_000), status=NO)[1]
    assert errors == f"echoctl: {server.address('echo')}: Message too long\n"


# --- nobody there ---


@pytest.mark.parametrize("command", ["send", "ping"])
def test_nobody_is_there(command, workdir):
    args = ["hello"] if command == "send" else []
    options = ["-n", "1"] if command == "ping" else []
    for address, why in [
        (f"tcp://127.0.0.1:{nobody()}", "Connection refused"),
        (f"tcp://localhost:{nobody()}", "Connection refused"),
        (f"udp://127.0.0.1:{nobody()}", "Connection refused"),
        (f"unix://{workdir}/none", "No such file or directory"),
        (f"unixgram://{workdir}/none", "No such file or directory"),
        (f"unix://@{workdir}", "Connection refused"),
    ]:
        errors = run(command, *options, address, *args, status=NOBODY)[1]
        assert errors == f"echoctl: {address}: {why}\n"


def test_connecting_takes_no_longer_than_w(workdir):
    """A Unix socket whose backlog is full lets its clients wait."""
    path = f"{workdir}/busy"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        errors = run("send", "-w", "0.2", f"unix://{path}", "hello", status=NOBODY)[1]
    assert errors == f"echoctl: unix://{path}: Connection timed out\n"


def test_wrong_kind_of_unix_socket(echod):
    server = echod({"echo": {"listen": "unixgram://$DIR/echo"}})
    address = str(server.address("echo")).replace("unixgram", "unix")
    assert "Protocol wrong type" in run("send", address, "hello", status=NO)[1]


# --- the command line ---


def test_address_errors_are_those_of_the_configuration(echod, write):
    for address in ["127.0.0.1:7", "tcp://x", "tcp://::1:7", "udp://h:70000", "unix://relative"]:
        config = write("t.conf", 'services = { echo = { listen = "%s"; }; };' % address)
        config_error = harness.run_echod("-c", config, "-t").stderr
        errors = run("send", address, "hello", status=USAGE)[1]
        text = errors.removeprefix("echoctl: ").rstrip("\n")
        assert text.startswith(f'"{address}": ') and text in config_error


@pytest.mark.parametrize(
    "args, text",
    [
        (["pnig"], 'unknown command "pnig"; did you mean "ping"?'),
        (["xyzzy"], "send, ping, listen"),
        (["send"], "send: an argument is missing"),
        (["ping", "tcp://127.0.0.1:1", "more"], "ping: too many arguments"),
        (["ping", "-n", "0", "x"], '-n: expected a number from 1 to 999999999, got "0"'),
        (["ping", "-n", "1x", "x"], '-n: expected a number from 1 to 999999999, got "1x"'),
        (["ping", "-i", "inf", "x"], '-i: expected seconds from 0.001 to 86400, got "inf"'),
        (["ping", "-i", "0", "x"], '-i: expected seconds from 0.001 to 86400, got "0"'),
        (["ping", "-w", "", "x"], '-w: expected seconds from 0.001 to 86400, got ""'),
        (["ping", "-w"], "-w: its value is missing"),
        (["ping", "-r", "x"], "unknown option -r"),
        (["--bogus"], "unknown option --bogus"),
        (["listen", "tcp://127.0.0.1:1"], "only datagrams"),
        (["listen", "-I", "nonesuch", UDP], 'there is no interface "nonesuch"'),
        (["listen", "-I", "lo", UDP], "only multicast groups"),
        ([], "Usage: echoctl"),
    ],
)
def test_usage_errors(args, text):
    assert text in run(*args, status=USAGE)[1]


def test_help_and_version():
    for option in ["-h", "--help"]:
        output = run(option)[0].decode()
        assert all(name in output for name in ["send", "ping", "listen", "-j", "-s SOCKET"])
    assert run("ping", "-h")[0].startswith(b"Usage: echoctl ping ")
    assert re.fullmatch(rb"echoctl \d+\.\d+\.\d+\n", run("-V")[0])
    assert run("--version")[0] == run("-V")[0]


# --- ping ---

ANSWER = re.compile(r"64 bytes from (\S+): seq=(\d+) time=(\d+\.\d{3}) ms(?: \((.*)\))?")


@every_transport
def test_ping(echod, listen):
    server = echod({"echo": {"listen": listen}})
    address = str(server.address("echo"))
    output, errors = run("ping", "-n", 5, "-i", 0.01, address)
    lines = output.decode().splitlines()
    assert errors == ""
    assert lines[0] == f"PING {address}: 64 bytes of data"
    answers = [ANSWER.fullmatch(line) for line in lines[1:6]]
    assert [(a[1], a[2], a[4]) for a in answers] == [(address, str(n), None) for n in range(1, 6)]
    assert lines[6:8] == ["", f"--- {address} ping statistics ---"]
    match = re.fullmatch(
        r"5 packets transmitted, 5 received, 0% packet loss, time (\d+) ms", lines[8]
    )
    assert int(match[1]) >= 40
    match = re.fullmatch(r"rtt min/avg/max/mdev = ([\d.]+)/([\d.]+)/([\d.]+)/[\d.]+ ms", lines[9])
    times = [float(a[3]) for a in answers]
    assert (float(match[1]), float(match[3])) == (min(times), max(times))
    assert float(match[2]) == pytest.approx(sum(times) / 5, abs=0.001)
    assert len(lines) == 10


def test_ping_is_not_muted_as_a_loop(echod):
    server = echod({"echo": {"listen": UDP}})
    output, _ = run("ping", "-n", 100, "-i", 0.001, server.address("echo"))
    assert b"100 packets transmitted, 100 received, 0% packet loss" in output


def test_ping_as_json(echod):
    server = echod({"echo": {"listen": UDP}})
    address = str(server.address("echo"))
    output, _ = run("-j", "ping", "-n", 3, "-i", 0.01, address)
    *answers, summary = map(json.loads, output.splitlines())
    assert [a.pop("time_ms") > 0 for a in answers] == [True] * 3
    assert answers == [
        {"event": "answer", "from": address, "bytes": 64, "seq": n} for n in (1, 2, 3)
    ]
    assert summary["event"] == "summary" and summary["address"] == address
    assert (summary["sent"], summary["received"], summary["loss_percent"]) == (3, 3, 0)
    assert summary["min_ms"] <= summary["avg_ms"] <= summary["max_ms"]


@pytest.mark.parametrize("listen", [TCP, UDP])
def test_ping_ends_with_its_summary_at_ctrl_c(echod, listen):
    server = echod({"echo": {"listen": listen}})
    with Running("ping", "-i", "0.01", server.address("echo")) as ping:
        for _ in range(3):
            ping.line()
        output, errors = ping.finish(signal.SIGINT)
    assert "ping statistics" in output and "rtt min/avg/max/mdev" in output
    assert errors == ""


def test_ping_counts_what_is_lost_late_and_twice():
    def serve(server, probe, sender):
        number = int(re.search(rb"seq=(\d+)", probe)[1])
        if number == 2:
            held.append(probe)
        elif number == 3:
            server.sendto(probe, sender)
            server.sendto(probe, sender)
        elif number == 5:
            server.sendto(held.pop(), sender)
            server.sendto(probe, sender)
        elif number != 4:
            server.sendto(probe, sender)

    held = []
    with datagram_peer(serve) as address:
        output, _ = run("ping", "-n", 5, "-i", 0.2, "-w", 0.3, address)
    lines = output.decode().splitlines()
    marks = {(m[2], m[4]) for m in map(ANSWER.fullmatch, lines) if m}
    assert marks == {("1", None), ("2", "late"), ("3", None), ("3", "duplicate"), ("5", None)}
    assert [line for line in lines if line.startswith("no answer")] == [
        "no answer to seq=2 within 0.3 s", "no answer to seq=4 within 0.3 s",
    ]  # fmt: skip
    assert "5 packets transmitted, 3 received, +1 late, +1 duplicates, 40% packet loss" in lines[-2]


def test_ping_without_an_answer():
    with datagram_peer() as address:
        output, errors = run("ping", "-n", 2, "-i", 0.1, "-w", 0.2, address, status=NO)
        assert b"2 packets transmitted, 0 received, 100% packet loss" in output
        assert b"rtt" not in output and errors == ""
        output, _ = run("-j", "ping", "-n", 1, "-w", 0.1, address, status=NO)
        assert json.loads(output.splitlines()[0]) == {"event": "lost", "seq": 1}
        assert "min_ms" not in json.loads(output.splitlines()[1])


def test_ping_of_what_is_no_echo(echod):
    server = echod({"kv": {"listen": TCP}, "time": {"listen": UDP}, "upper": {"listen": UDP}})
    errors = run("ping", server.address("kv"), status=NO)[1]
    assert 'not an echo: it answered "READY\\n' in errors
    for name in ["time", "upper"]:
        args = ["ping", "-n", 1, "-w", 0.2, server.address(name)]
        assert "not an echo: it answered " in run(*args, status=NO)[1]


def test_ping_sees_a_single_wrong_byte():
    def serve(server, probe, sender):
        server.sendto(probe[:-2] + bytes([probe[-2] ^ 1]) + probe[-1:], sender)

    with datagram_peer(serve) as address:
        errors = run("ping", "-n", 1, "-w", 0.2, address, status=NO)[1]
        assert f"{address}: not an echo" in errors


def test_ping_tells_the_end_of_the_connection(echod):
    server = echod({"echo": {"listen": TCP, "mode": "once"}})
    output, errors = run("ping", "-n", 3, "-i", 0.1, server.address("echo"), status=NO)
    assert b"seq=1" in output and b"ping statistics" in output
    assert errors == f"echoctl: {server.address('echo')}: the peer has closed the connection\n"


def sequence(line):
    return int(ANSWER.fullmatch(line)[2])


@pytest.mark.parametrize("listen", ["udp://127.0.0.1:{port}", "unixgram://{workdir}/echo"])
def test_ping_goes_on_when_the_service_comes_back(echod, workdir, listen):
    listen = listen.format(port=nobody(), workdir=workdir)
    first = echod({"echo": {"listen": listen}})
    with Running("ping", "-i", "0.02", listen) as ping:
        assert ping.line().startswith("PING")
        answered = sequence(ping.line())
        first.stop()
        assert re.fullmatch(
            f"echoctl: {listen}: (Connection refused|No such file or directory)",
            ping.line("stderr"),
        )
        second = echod({"echo": {"listen": listen}})
        while (after := sequence(ping.line())) == answered + 1:
            answered = after  # by the first one
        ping.finish(signal.SIGINT)
        second.stop()


# --- listen ---


def send_datagram(address, data):
    with harness.connect(address, named=False) as sender:
        sender.send(data)
        return f"127.0.0.1:{sender.port}" if address.family == socket.AF_INET else "unix"


@needs_root
def test_listen_to_the_addresses_of_a_name_that_are_here(write):
    wrapper = with_hosts(write, "192.0.2.77 many.test\n127.0.0.1 many.test\n192.0.2.78 none.test\n")
    command = [*wrapper, find_echoctl(), "listen"]
    with subprocess.Popen([*command, "udp://many.test:0"], stderr=subprocess.PIPE, text=True,
                          stdout=subprocess.DEVNULL) as listener:  # fmt: skip
        said = listener.stderr.readline() + listener.stderr.readline()  # in the resolver's order
        assert "cannot bind udp://192.0.2.77:0: Cannot assign" in said
        assert "listening on udp://127.0.0.1:" in said
        listener.send_signal(signal.SIGINT)
        assert listener.wait(DEADLINE) == OK
    result = subprocess.run([*command, "udp://none.test:0"], capture_output=True, text=True,
                            timeout=DEADLINE, check=False)  # fmt: skip
    assert result.returncode == NO and "cannot bind udp://192.0.2.78:0" in result.stderr


def started(listener):
    return harness.Address.parse(listener.line("stderr").removeprefix("listening on "))


@pytest.mark.parametrize("listen", [UDP, "unixgram://{0}/inbox", "unixgram://@{0}"])
def test_listen_prints_what_comes(listen, workdir):
    with Running("listen", "-n", 3, listen.format(workdir)) as listener:
        address = started(listener)
        sender = send_datagram(address, b"hello\n")
        stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
        assert re.fullmatch(rf"{stamp} {re.escape(sender)}: hello", listener.line())
        send_datagram(address, b"\x1b[31m\xff\n\n")
        assert listener.line().endswith(r": \x1b[31m\xff\n")
        send_datagram(address, bytes(60_000))
        assert listener.line().endswith(": " + r"\x00" * 60_000)
        assert listener.finish() == ("", "")
    assert not (workdir / "inbox").exists()


def test_listen_ends_at_ctrl_c(workdir):
    with Running("listen", f"unixgram://{workdir}/inbox") as listener:
        started(listener)
        assert (workdir / "inbox").exists()
        assert listener.finish(signal.SIGINT) == ("", "")
    assert not (workdir / "inbox").exists()


def test_listen_raw_and_as_json():
    with Running("listen", "-r", "-n", 2, UDP) as listener:
        address = started(listener)
        send_datagram(address, b"one\n")
        send_datagram(address, b"two")
        assert listener.finish() == ("one\ntwo", "")
    with Running("-j", "listen", "-n", 1, UDP) as listener:
        sender = send_datagram(started(listener), b"hello\n")
        told = json.loads(listener.line())
        assert told.pop("time").endswith("Z")
        assert told == {"from": sender, "bytes": 6, "text": "hello\n"}


def test_listen_does_not_take_an_address_from_somebody():
    with datagram_peer() as address:
        errors = run("listen", address, status=NO)[1]
        assert errors == f"echoctl: cannot bind {address}: Address already in use\n"


def send_to_group(family, group, port, data):
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        if family == socket.AF_INET:
            loopback = socket.inet_aton("127.0.0.1")
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, loopback)
            sender.sendto(data, (group, port))
        else:
            sender.sendto(data, (group, port, 0, socket.if_nametoindex("lo")))


@pytest.mark.parametrize(
    "family, group",
    [
        pytest.param(socket.AF_INET, "239.255.71.19", id="ipv4"),
        pytest.param(socket.AF_INET6, "ff02::7119", id="ipv6", marks=needs_ipv6),
    ],
)
def test_listen_joins_a_group(family, group):
    port = harness.free_port()
    host = f"[{group}]" if family == socket.AF_INET6 else group
    args = ["listen", "-n", 1, "-I", "lo", f"udp://{host}:{port}"]
    with Running(*args) as first, Running(*args) as second:
        started(first), started(second)
        try:
            send_to_group(family, group, port, b"to everybody")
        except OSError as error:
            pytest.skip(f"no multicast on lo: {error}")
        for listener in (first, second):
            assert listener.line().endswith(": to everybody")
            listener.finish()


def test_send_to_a_group_waits_for_nobody():
    try:
        send_to_group(socket.AF_INET, "239.255.71.20", 9, b"")
        with socket.socket(type=socket.SOCK_DGRAM) as probe:
            probe.connect(("239.255.71.20", 9))
    except OSError as error:
        pytest.skip(f"no multicast: {error}")
    assert run("send", "udp://239.255.71.20:9", "hello") == (b"", "")


# --- on a terminal ---


def read_terminal(fd):
    shown = b""
    with contextlib.suppress(OSError):  # the other side has closed it
        while piece := os.read(fd, 4096):
            shown += piece
    return shown


@pytest.mark.parametrize("command", ["send", "ping"])
def test_long_waits_are_told_on_a_terminal_and_erased(command):
    args = {"send": ["hello"], "ping": []}[command]
    options = {"send": [], "ping": ["-n", "1"]}[command]
    with datagram_peer() as address:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [find_echoctl(), command, "-w", "1.3", *options, address, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
        )
        os.close(theirs)
        shown = read_terminal(ours)
        os.close(ours)
        assert process.wait(DEADLINE) == NO
    assert shown.startswith(b"\rwaiting for %s (1 s)\r\x1b[K" % address.encode())


def test_an_answer_ends_with_a_line_feed_on_a_terminal(echod):
    server = echod({"echo": {"listen": UDP}})
    ours, theirs = pty.openpty()
    run("send", server.address("echo"), "hello", stdout=theirs)
    os.close(theirs)
    assert read_terminal(ours) == b"hello\r\n"
    os.close(ours)


# --- whoever reads the output ---


def test_reader_of_the_output_leaves(echod, workdir):
    server = echod({"echo": {"listen": UDP}})
    with Running("ping", "-i", "0.01", server.address("echo")) as ping:
        ping.line()
        ping.process.stdout.close()
        ping.process.stdout = None
        assert ping.finish(status=NO)[1] == "", "the first read may have had more than one line"
    with Running("listen", f"unixgram://{workdir}/inbox") as listener:
        address = started(listener)
        listener.process.stdout.close()
        listener.process.stdout = None
        send_datagram(address, b"unread")
        assert listener.finish(status=NO) == ("", "")
    assert not (workdir / "inbox").exists()


@pytest.mark.parametrize("options", [[], ["-j"]])
def test_ping_ends_when_the_output_is_full(echod, options):
    server = echod({"echo": {"listen": UDP}})
    with open("/dev/full", "wb") as full:
        args = [*options, "ping", "-i", 0.01, server.address("echo")]
        errors = run(*args, stdout=full, status=NO)[1]
    assert errors == "echoctl: cannot write the output: No space left on device\n"


# --- the manual ---

MANUAL = harness.SOURCE_TREE / "src/echoctl/echoctl.1.in"


def test_every_option_of_every_command_stands_in_the_manual():
    text = MANUAL.read_text()
    for command in ["send", "ping", "listen"]:
        usage = run(command, "-h")[0].decode().splitlines()[0]
        synopsis = text.split(f"\n.Cm {command}\n")[1].split("\n.Nm\n")[0]
        section = text.split(f"\n.Ss {command}\n")[1].split("\n.Ss ")[0]
        for option in re.findall(r"\[-(\w)", usage.replace("[-j]", "")):
            assert f"Fl {option}" in synopsis and f".It Fl {option}" in section


# --- names with several addresses ---

has_namespaces = (
    shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin") is not None
    and subprocess.run(["unshare", "-nm", "true"], check=False, capture_output=True).returncode == 0
)

# The name's first address is on the link, and nobody has it; who looks for it gives up soon.
TWO_ADDRESSES = """
ip link set lo up
ip link add lan0 type veth peer name lan1
ip link set lan1 up
ip link set lan0 up
ip addr add fd09::1/64 dev lan0 nodad
echo 1 >/proc/sys/net/ipv6/neigh/lan0/mcast_solicit
echo 50 >/proc/sys/net/ipv6/neigh/lan0/retrans_time_ms
printf 'fd09::2 two.test\n127.0.0.1 two.test\n' >"$1/hosts"
mount --bind "$1/hosts" /etc/hosts
shift
exec "$@"
"""


@needs_root
@needs_ipv6
@pytest.mark.skipif(not has_namespaces, reason="no network and mount namespaces")
@pytest.mark.parametrize("command, answer", [(["send", "-w", "20"], "hello"),
                                             (["ping", "-w", "20", "-n", "1"], "1 received")])  # fmt: skip
def test_a_datagram_tries_every_address_of_a_name(echod, workdir, command, answer):
    server = echod({"echo": {"listen": UDP}},
                   wrapper=("unshare", "-nm", "sh", "-ec", TWO_ADDRESSES, "sh", str(workdir)))
    address = f"udp://two.test:{server.address('echo').port}"
    words = [address, "hello"] if command[0] == "send" else [address]
    done = subprocess.run(
        ["nsenter", "-t", str(server.pid), "-n", "-m", find_echoctl(), *command, *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        timeout=DEADLINE, check=False, text=True,
    )  # fmt: skip
    assert done.returncode == OK, done.stderr
    assert answer in done.stdout
