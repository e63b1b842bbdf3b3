"""The telnet layer of line services: what it swallows, what it answers, at any split."""

import re
import socket

import pytest

IAC = b"\xff"
IP, BREAK, SUSPEND, AYT, NOP = (IAC + bytes([code]) for code in (0xF4, 0xF3, 0xED, 0xF6, 0xF1))
SB, SE, WILL, WONT, DO, DONT = (
    IAC + bytes([code]) for code in (0xFA, 0xF0, 0xFB, 0xFC, 0xFD, 0xFE)
)
ECHO, LINEMODE, TIMING_MARK = b"\x01", b"\x22", b"\x06"
NEGOTIATION = re.compile(rb"\xff[\xfb-\xfe].|\[yes\](?:\r?\n)?", re.DOTALL)


@pytest.fixture
def server(echod):
    return echod({"kv": {"listen": "tcp://127.0.0.1:0"}})


def sorted_out(received):
    """Telnet's answers and the service's, which may interleave differently."""
    return NEGOTIATION.findall(received), NEGOTIATION.sub(b"", received)


CASES = {
    "will-is-refused": (WILL + ECHO, [DONT + ECHO]),
    "do-is-refused": (DO + LINEMODE, [WONT + LINEMODE]),
    "wont-and-dont-need-no-answer": (WONT + ECHO + DONT + ECHO, []),
    "refused-once-per-option": (
        (WILL + ECHO) * 3 + (DO + ECHO) * 2 + WILL + LINEMODE,
        [DONT + ECHO, WONT + ECHO, DONT + LINEMODE],
    ),
    "option-255": (DO + IAC, [WONT + IAC]),
    "timing-mark-each-time": ((DO + TIMING_MARK) * 3, [WONT + TIMING_MARK] * 3),
    "subnegotiation-is-swallowed": (SB + LINEMODE + b"\x01\x02\nGET b\n" + SE, []),
    "subnegotiation-with-escaped-iac": (SB + LINEMODE + IAC + IAC + b"x" + SE, []),
    "no-operation": (NOP, []),
    "data-mark-and-go-ahead": (b"\xff\xf2\xff\xf9", []),
}


@pytest.mark.parametrize("command, answers", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize(
    "before, after", [(b"", b"GET a\n"), (b"GE", b"T a\n")], ids=["alone", "inside-a-line"]
)
def test_commands_are_taken_out_of_the_line(server, command, answers, before, after):
    with server.kv() as client:
        received = client.exchange(before + command + after, half_close=True)
        assert sorted_out(received) == (answers, b"NOT_FOUND\n")


def test_doubled_iac_is_one_ff(echod):
    server = echod({"kv": {"listen": ["tcp://127.0.0.1:0", "unix://$DIR/kv"]}})
    with server.kv(transport="tcp") as telnet, server.kv(transport="unix") as plain:
        assert telnet.ask(b"SET k\xff\xff 1\xff\xff\xff\xff2") == b"OK"
        assert plain.ask(b"GET k\xff") == b"1\xff\xff2"


def test_unix_sockets_and_telnet_false_leave_ff_alone(echod):
    server = echod({"kv": {"listen": ["tcp://127.0.0.1:0", "unix://$DIR/kv"], "telnet": False}})
    for transport in ("tcp", "unix"):
        with server.kv(transport=transport) as client:
            assert client.ask(b"SET k \xff\xf6\xff\xff") == b"OK"
            assert client.ask(b"GET k") == b"\xff\xf6\xff\xff"


@pytest.mark.parametrize("command", [IP, BREAK, SUSPEND], ids=["ip", "brk", "susp"])
def test_interrupt_drops_the_half_typed_line(server, command):
    with server.kv() as client:
        client.send(b"SET a 1\nSET a 2" + command + b"GET a\n")
        assert client.lines(2) == [b"OK\n", b"1\n"]


def test_interrupt_drops_only_the_half_typed_line(server):
    with server.kv() as client:
        client.send(b"SET a 1\n" + IP + b"GET a\n")
        assert client.lines(2) == [b"OK\n", b"1\n"]


def test_interrupt_forgets_a_line_that_was_too_long(echod):
    server = echod({"kv": {"listen": "tcp://127.0.0.1:0", "max_line": 300}})
    with server.kv() as client:
        client.send_read(b"x" * 1000)
        client.send(IP + b"GET a\n")
        answers = client.line()
        if answers == b"ERROR: line too long\n":
            answers = client.line()
        assert answers == b"NOT_FOUND\n"


def test_ctrl_c_is_acknowledged(server):
    with server.kv() as client:
        client.send(b"SET a 2" + IP + DO + TIMING_MARK)
        assert client.exactly(3) == WONT + TIMING_MARK
        assert client.ask(b"GET a") == b"NOT_FOUND"


def test_are_you_there(server):
    with server.kv() as client:
        client.send(AYT)
        assert client.exactly(5) == b"[yes]"
        assert sorted_out(client.exchange(b"GET a\n", half_close=True))[1].strip() == b"NOT_FOUND"


DM = IAC + b"\xf2"
AO = IAC + b"\xf5"


@pytest.mark.parametrize("before", [b"", b"SET a 2" + IP, AO], ids=["synch", "autosynch", "ao"])
@pytest.mark.parametrize("parts", [[DM], [IAC, DM[1:]]], ids=["telnet", "putty"])
def test_synch_leaves_the_next_line_alone(server, before, parts):
    """Its DM is urgent: taken out of the stream it would leave its IAC to eat what is typed next."""
    with server.kv() as client:
        assert client.ask(b"SET a 1") == b"OK"
        client.send(before)
        for part in parts[:-1]:
            client.send(part)
        client.sock.send(parts[-1], socket.MSG_OOB)
        client.send(b"GET a\n")
        assert client.line() == b"1\n"
        client.send_read(b"GE" + IAC)
        client.sock.send(DM[1:], socket.MSG_OOB)
        assert client.ask(b"T a") == b"1"


@pytest.mark.parametrize(
    "end",
    [b"\r\0\r\n", b"\r\0\n", b"\r\n", b"\n"],
    ids=["cr-nul-cr-lf", "cr-nul-lf", "cr-lf", "lf"],
)
def test_line_ends(server, end):
    with server.kv() as client:
        client.send(b"SET a 1" + end + b"GET a" + end)
        assert client.lines(2) == [b"OK\n", b"1\n"]


def test_cr_nul_is_cr_wherever_it_stands(echod):
    server = echod({"kv": {"listen": ["tcp://127.0.0.1:0", "unix://$DIR/kv"]},
                    "upper": {"listen": "tcp://127.0.0.1:0", "mode": "line"}})  # fmt: skip
    with server.kv(transport="tcp") as telnet, server.kv(transport="unix") as plain:
        assert telnet.ask(b"SET k a\r\0b\r\0\r") == b"OK"
        assert plain.ask(b"GET k") == b"a\rb"
        assert plain.ask(b"SET k a\r\0b\r\0\r") == b"OK"
        assert plain.ask(b"GET k") == b"a\r\0b\r\0"
    with server.connect("upper") as client:
        assert client.exchange(b"a\r\0\r\nb\r\0", half_close=True) == b"A\r\nB\r"


SCRIPT = (
    b"SET a x" + IAC + IAC + b"y\r\n" + WILL + ECHO + DO + ECHO + b"GE" + SB + LINEMODE + b"\x01"
    + IAC + IAC + SE + b"T a\r\0\n" + AYT + b"half" + IP + DO + TIMING_MARK + b"DEL a\r\0\r\n"
    + DM + WILL + ECHO + NOP + b"GET a\n"
)  # fmt: skip


def test_every_split_in_two(server):
    with server.kv() as client:
        whole = client.exchange(SCRIPT, half_close=True)
    answers = sorted_out(whole)
    assert len(answers[0]) == 4
    assert re.fullmatch(rb"OK\nx\xff+y\nDELETED\nNOT_FOUND\n", answers[1])
    for at in range(1, len(SCRIPT)):
        with server.kv() as client:
            client.send_read(SCRIPT[:at])
            received = client.exchange(SCRIPT[at:], half_close=True)
            assert sorted_out(received) == answers, f"split before byte {at}"


def test_bytes_that_come_one_by_one(server):
    with server.kv() as client:
        whole = client.exchange(SCRIPT, half_close=True)
    with server.kv() as client:
        for byte in SCRIPT:
            client.send_read(bytes([byte]))
        client.half_close()
        assert sorted_out(client.rest()) == sorted_out(whole)


def test_refusals_are_bounded(server):
    """256 options each way, told over and over, get 512 refusals and no more."""
    every_option = b"".join(
        verb + bytes([option]) for option in range(256) if option != 6 for verb in (WILL, DO)
    )
    with server.kv() as client:
        received = client.exchange(every_option * 20 + b"GET a\n", half_close=True)
        refusals, answer = sorted_out(received)
        assert answer == b"NOT_FOUND\n"
        assert len(refusals) == len(set(refusals)) == 510
