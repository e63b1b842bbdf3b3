"""Real clients: netcat, telnet on a terminal, socat. What the README shows has to be true."""

import os
import pty
import select
import subprocess

import pytest

import harness
from harness import DEADLINE, wait_until
from transports import needs_ipv6

TCP, UDP = "tcp://127.0.0.1:0", "udp://127.0.0.1:0"


def needs(name):
    return pytest.mark.skipif(harness.program(name) is None, reason=f"no {name} here")


def pipe(*command, stdin=b""):
    """What a shell pipe would show: printf ... | command."""
    result = subprocess.run(
        [str(word) for word in command],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=DEADLINE,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


class Interactive:
    """A program that stays, on pipes or on a terminal, and is talked to."""

    def __init__(self, *command, terminal=False):
        ours, theirs = pty.openpty() if terminal else (None, subprocess.PIPE)
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        if terminal:
            os.close(theirs)
            self.input = self.output = ours
        else:
            self.input, self.output = self.process.stdin.fileno(), self.process.stdout.fileno()
        self.shown = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        if self.process.stdin is None:
            os.close(self.input)
        else:
            self.process.stdin.close()
            self.process.stdout.close()

    def type(self, text):
        os.write(self.input, text)

    def shows(self, text):
        """Waits until the text is on the screen, and forgets what stands before it."""

        def is_there():
            if text not in self.shown and select.select([self.output], [], [], 0.05)[0]:
                try:
                    self.shown += os.read(self.output, 65536)
                except OSError:  # the end of a terminal
                    pass
            return text in self.shown

        wait_until(is_there, f"{text!r} is shown")
        self.shown = self.shown[self.shown.index(text) + len(text) :]


SERVICES = {
    "echo": {"listen": [TCP, UDP, "unix://$DIR/echo", "unixgram://$DIR/echo.dgram"]},
    "shout": {"type": "upper", "listen": [TCP, UDP]},
    "time": {"listen": [TCP, UDP]},
    "kv": {"listen": [TCP, "unix://$DIR/kv"]},
}


@pytest.fixture
def server(echod):
    return echod(SERVICES)


def host_port(server, name, transport="tcp"):
    address = server.address(name, transport)
    return address.host, address.port


# --- netcat ---


@needs("nc")
def test_nc_with_half_close(server):
    assert pipe("nc", "-N", *host_port(server, "echo"), stdin=b"hello\n") == b"hello\n"
    assert pipe("nc", "-N", *host_port(server, "shout"), stdin=b"hello\n") == b"HELLO\n"
    answer = pipe("nc", "-N", *host_port(server, "kv"), stdin=b"SET a 1\nGET a\nGET b\n")
    assert answer == b"READY\nOK\n1\nNOT_FOUND\n"
    answer = pipe("nc", "-N", *host_port(server, "time"), stdin=b'{"type": "time"}\n')
    assert answer.startswith(b'{"time": "')


@needs("nc")
def test_nc_without_half_close_ends_at_quit(server):
    """Plain nc keeps its side open at the end of a pipe."""
    answer = pipe("nc", *host_port(server, "kv"), stdin=b"SET a 1\nQUIT\n")
    assert answer == b"READY\nOK\nBYE\n"


@needs("nc")
def test_nc_over_a_unix_socket(server):
    assert pipe("nc", "-NU", server.directory / "echo", stdin=b"hello\n") == b"hello\n"
    answer = pipe("nc", "-NU", server.directory / "kv", stdin=b"GET a\n")
    assert answer == b"READY\nNOT_FOUND\n"


@needs("nc")
@pytest.mark.parametrize("name, answer", [("echo", b"hello"), ("shout", b"HELLO"), ("time", b"{")])
def test_nc_over_udp(server, name, answer):
    with Interactive("nc", "-u", *host_port(server, name, "udp")) as nc:
        nc.type(b"hello\n")
        nc.shows(answer)


@needs("nc")
def test_nc_over_a_unix_datagram_socket(server):
    """Its reply socket lies in a directory that echod can or cannot reach: never a crash."""
    with Interactive("nc", "-uU", server.directory / "echo.dgram") as nc:
        nc.type(b"hello\n")
        nc.shows(b"hello")


@needs("nc")
def test_nc_port_scan_is_no_error(server):
    mark = server.log.mark()
    pipe("nc", "-z", *host_port(server, "kv"))
    server.wait_closed("(client_eof|reset)", since=mark)
    assert not server.log.matches(" (error|warning) ", mark)


@needs("nc")
@needs_ipv6
def test_nc_over_both_families_to_a_wildcard(echod):
    port = echod({"echo": {"listen": "tcp://*:0"}}).address("echo").port
    assert pipe("nc", "-4N", "127.0.0.1", port, stdin=b"four") == b"four"
    assert pipe("nc", "-6N", "::1", port, stdin=b"six") == b"six"


@needs("nc")
def test_nc_waits_for_the_greeting(server):
    with Interactive("nc", *host_port(server, "kv")) as nc:
        nc.shows(b"READY\n")
        nc.type(b"get a\n")
        nc.shows(b"NOT_FOUND\n")


# --- telnet, on a terminal ---


@needs("telnet")
def test_telnet_session(server):
    with Interactive("telnet", *host_port(server, "kv"), terminal=True) as telnet:
        telnet.shows(b"READY")
        telnet.type(b"SET greeting hello  world\n")
        telnet.shows(b"OK")
        telnet.type(b"GET greeting\n")
        telnet.shows(b"hello  world")
        telnet.type(b"QUIT\n")
        telnet.shows(b"BYE")
        telnet.shows(b"Connection closed by foreign host")


@needs("telnet")
def test_telnet_interrupt_drops_the_line_and_the_session_goes_on(server):
    with Interactive("telnet", *host_port(server, "kv"), terminal=True) as telnet:
        telnet.shows(b"READY")
        telnet.type(b"SET a 1\n")
        telnet.shows(b"OK")
        telnet.type(b"\x1dsend ip\n")
        telnet.type(b"GET a\n")
        telnet.shows(b"1\r\n")


@needs("telnet")
@pytest.mark.parametrize("command", [b"send synch\n", b"send ao\n"])
def test_telnet_synch_leaves_the_next_line_alone(server, command):
    with Interactive("telnet", *host_port(server, "kv"), terminal=True) as telnet:
        telnet.shows(b"READY")
        telnet.type(b"SET a 1\n")
        telnet.shows(b"OK")
        telnet.type(b"\x1d")
        telnet.shows(b"telnet>")
        telnet.type(command)
        telnet.shows(command[:-1])
        telnet.type(b"GET a\n")
        telnet.shows(b"1\r\n")


@needs("telnet")
def test_telnet_sends_a_script_with_cr_lf(server):
    """It ends each line in CR NUL CR LF."""
    host, port = host_port(server, "kv")
    with Interactive("telnet", host, port) as telnet:
        telnet.shows(b"READY")
        telnet.type(b"SET a 1\r\nGET a\r\n")
        telnet.shows(b"OK\n1\n")
    with server.kv() as client:
        assert client.ask(b"GET a") == b"1"


@needs("telnet")
def test_telnet_are_you_there(server):
    with Interactive("telnet", *host_port(server, "kv"), terminal=True) as telnet:
        telnet.shows(b"READY")
        telnet.type(b"\x1d")
        telnet.shows(b"telnet>")
        telnet.type(b"send ayt\n")
        telnet.shows(b"[yes]")


@needs("telnet")
def test_telnet_to_upper_in_line_mode(echod):
    server = echod({"upper": {"listen": TCP, "mode": "line"}})
    with Interactive("telnet", *host_port(server, "upper"), terminal=True) as telnet:
        telnet.shows(b"Escape character")
        telnet.type(b"hello\n")
        telnet.shows(b"HELLO\r\n")


# --- socat ---


@needs("socat")
def test_socat_over_tcp_and_unix(server):
    host, port = host_port(server, "echo")
    assert pipe("socat", "-", f"TCP:{host}:{port}", stdin=b"hello") == b"hello"
    target = f"UNIX-CONNECT:{server.directory}/echo"
    assert pipe("socat", "-", target, stdin=b"hello") == b"hello"


@needs("socat")
def test_socat_over_an_abstract_socket(echod):
    path = echod({"kv": {"listen": "unix://@$ID"}}).address("kv").path
    answer = pipe("socat", "-", f"ABSTRACT-CONNECT:{path[1:]}", stdin=b"GET a\nQUIT\n")
    assert answer == b"READY\nNOT_FOUND\nBYE\n"


@needs("socat")
def test_socat_over_udp(server):
    host, port = host_port(server, "shout", "udp")
    with Interactive("socat", "-", f"UDP:{host}:{port}") as socat:
        socat.type(b"hello\n")
        socat.shows(b"HELLO")


@needs("socat")
def test_socat_over_a_unix_datagram_socket(server):
    target = f"UNIX-SENDTO:{server.directory}/echo.dgram,bind={server.directory}/socat"
    with Interactive("socat", "-", target) as socat:
        socat.type(b"hello\n")
        socat.shows(b"hello\n")


@needs("socat")
def test_socat_passes_a_megabyte_through(server):
    data = os.urandom(1 << 20)
    host, port = host_port(server, "echo")
    assert pipe("socat", "-t5", "-", f"TCP:{host}:{port}", stdin=data) == data
