"""upper: a-z become A-Z and nothing else changes; three modes on streams, and datagrams."""

from transports import every_datagram, every_stream

ALL_BYTES = bytes(range(256))
ALL_UPPER = bytes(byte - 32 if 0x61 <= byte <= 0x7A else byte for byte in range(256))
ALL_BUT_LF = ALL_BYTES.replace(b"\n", b"")


@every_stream
def test_stream_mode_changes_only_a_to_z(echod, listen):
    with echod({"upper": {"listen": listen}}).connect("upper") as client:
        client.send(ALL_BYTES)
        assert client.exactly(256) == ALL_UPPER
        client.send(b"no line feed needed")
        client.half_close()
        assert client.rest() == b"NO LINE FEED NEEDED"


def test_stream_mode_passes_8_mib(echod):
    data = ALL_BYTES * (8 << 12)
    with echod({"upper": {"listen": "tcp://127.0.0.1:0"}}).connect("upper") as client:
        assert client.exchange(data, half_close=True) == ALL_UPPER * (8 << 12)


def line_server(echod, **settings):
    return echod({"upper": {"listen": "unix://$DIR/stream", "mode": "line", **settings}})


@every_stream
def test_line_mode_answers_line_by_line(echod, listen):
    with echod({"upper": {"listen": listen, "mode": "line"}}).connect("upper") as client:
        assert client.ask(b"one") == b"ONE"
        client.send(b"two\nthree\n")
        assert client.lines(2) == [b"TWO\n", b"THREE\n"]


def test_line_mode_keeps_the_line_end_as_it_came(echod):
    with line_server(echod).connect("upper") as client:
        client.send(b"abc\r\nabc\n\r\n\n")
        assert client.lines(4) == [b"ABC\r\n", b"ABC\n", b"\r\n", b"\n"]


def test_line_mode_holds_a_half_line_back(echod):
    with line_server(echod).connect("upper") as client:
        client.send(b"one\nhal")
        assert client.line() == b"ONE\n"
        assert not client.readable()
        client.send(b"f\n")
        assert client.line() == b"HALF\n"


def test_line_mode_answers_the_last_line_without_line_feed(echod):
    with line_server(echod).connect("upper") as client:
        client.send(b"one\nlast")
        client.half_close()
        assert client.rest() == b"ONE\nLAST"


def test_line_mode_changes_only_a_to_z(echod):
    with line_server(echod).connect("upper") as client:
        assert client.ask(ALL_BUT_LF) == ALL_UPPER.replace(b"\n", b"")


def test_line_mode_refuses_a_line_over_the_limit_and_goes_on(echod):
    with line_server(echod, max_line=100).connect("upper") as client:
        assert client.ask(b"x" * 90) == b"X" * 90
        assert client.ask(b"x" * 5000) == b"ERROR: line too long"
        assert client.ask(b"next") == b"NEXT"


@every_stream
def test_once_mode_strips_answers_and_closes(echod, listen):
    with echod({"upper": {"listen": listen, "mode": "once"}}).connect("upper") as client:
        client.send(b" \t\r\n\v\f hello  world \v\f\r\n")
        assert client.rest() == b"HELLO  WORLD"


@every_datagram
def test_datagram_is_stripped_and_upper_cased(echod, listen):
    with echod({"upper": {"listen": listen}}).connect("upper") as client:
        assert client.ask(b"hello") == b"HELLO"
        assert client.ask(b" \t\n\v\f\r in  side \r\f\v\n\t ") == b"IN  SIDE"
        assert client.ask(b"\x00\x1cx\x85\xa0") == b"\x00\x1cX\x85\xa0"


@every_datagram
def test_datagram_changes_only_a_to_z(echod, listen):
    with echod({"upper": {"listen": listen}}).connect("upper") as client:
        assert client.ask(ALL_BYTES) == ALL_UPPER
