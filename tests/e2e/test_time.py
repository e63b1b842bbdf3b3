"""time: one JSON request, one answer, over datagrams and lines."""

import datetime
import json
import random
import os
import re
import struct
import subprocess
import time

import pytest

from transports import every_datagram, every_stream, needs_root

UNKNOWN, INVALID = b'{"error": "unknown request"}', b'{"error": "invalid JSON"}'
ZONE = {"TZ": "TEST-05:30"}  # POSIX: five and a half hours east of Greenwich
EAST = datetime.timezone(datetime.timedelta(hours=5, minutes=30))


class Caller:
    """Asks over a datagram or a stream alike."""

    def __init__(self, client):
        self.client = client
        self.is_stream = hasattr(client, "line")

    def send(self, request):
        self.client.send(request + b"\n" if self.is_stream else request)

    def receive(self):
        if not self.is_stream:
            return self.client.receive()
        line = self.client.line()
        assert line.endswith(b"\n")
        return line[:-1]

    def ask(self, request):
        self.send(request)
        return self.receive()

    def is_ignored(self, request):
        """The answer to the next request is the first that comes."""
        self.send(request)
        return json.loads(self.ask(b'{"type": "time", "id": "fence"}')).get("id") == "fence"


@pytest.fixture(params=["udp://127.0.0.1:0", "unix://$DIR/time"], ids=["udp", "lines"])
def caller(echod, request):
    server = echod({"time": {"listen": request.param}}, env=ZONE)
    with server.connect("time") as client:
        yield Caller(client)


def is_now(moment, zone):
    return abs(datetime.datetime.now(zone) - moment.replace(tzinfo=zone)).total_seconds() < 10


@every_datagram
def test_datagram_gets_the_local_time_without_line_feed(echod, listen):
    with echod({"time": {"listen": listen}}, env=ZONE).connect("time") as client:
        answer = client.ask(b'{"type": "time"}').decode()
    found = re.fullmatch(r'\{"time": "(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6})"\}', answer)
    assert found and is_now(datetime.datetime.fromisoformat(found[1]), EAST)


@every_stream
def test_stream_gets_a_line_for_a_line(echod, listen):
    with echod({"time": {"listen": listen}}, env=ZONE).connect("time") as client:
        client.send(b'{"type": "time"}\n{"type": "time"}\r\n[]\n')
        answers = client.lines(3)
    for answer in answers[:2]:
        assert re.fullmatch(rb'\{"time": "[-\d]{10} [\d:]{8}\.\d{6}"\}\n', answer)
    assert answers[2] == UNKNOWN + b"\n"


def test_utc(caller):
    answer = caller.ask(b'{"type": "time", "tz": "utc"}').decode()
    found = re.fullmatch(r'\{"time": "(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6})"\}', answer)
    assert found and is_now(datetime.datetime.fromisoformat(found[1]), datetime.timezone.utc)


@pytest.mark.parametrize(
    "tz, offset, zone",
    [("", r"\+05:30", EAST), (', "tz": "utc"', r"\+00:00", datetime.timezone.utc)],
    ids=["local", "utc"],
)
def test_iso8601(caller, tz, offset, zone):
    answer = caller.ask(b'{"type": "time", "format": "iso8601"%s}' % tz.encode()).decode()
    pattern = r'\{"time": "(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}' + offset + r')"\}'
    found = re.fullmatch(pattern, answer)
    assert found and is_now(datetime.datetime.fromisoformat(found[1]), zone)


def test_unix_seconds(caller):
    answer = caller.ask(b'{"type": "time", "format": "unix"}').decode()
    found = re.fullmatch(r'\{"time": (\d+\.\d{6})\}', answer)
    assert found and abs(float(found[1]) - time.time()) < 10


@pytest.mark.parametrize(
    "id_", ["7", '"x"', "null", "true", "[1, 2]", '{"a": {"b": []}}', '"\\u00e4 \\" \\\\"', "1.5"]
)
def test_id_comes_back(caller, id_):
    answer = caller.ask(b'{"id": %s, "type": "time"}' % id_.encode()).decode()
    assert set(json.loads(answer)) == {"time", "id"}
    assert json.loads(answer)["id"] == json.loads(id_)
    assert '": ' in answer and '":' not in answer.replace('": ', "")


TIMES = [
    b'{"type": "time"}',
    b'{"type":"time"}',
    b' \t\r {"type" : "time" } \t\r ',
    b'{"other": 1, "type": "time", "more": [{}]}',
    b'{"type": "date", "type": "time"}',
    b'{"error": "x", "type": "time"}',
    b'{"time": "x", "type": "time"}',
    b'{"\\u0074ype": "t\\u0069me"}',
]
UNKNOWNS = [
    b"{}",
    b"[]",
    b"[1, 2]",
    b"1",
    b"-1.5e3",
    b'"time"',
    b"null",
    b"true",
    b"false",
    b'{"type": "date"}',
    b'{"type": "TIME"}',
    b'{"Type": "time"}',
    b'{"type": ["time"]}',
    b'{"type": null}',
    b'{"type": "time", "type": "date"}',
    b'{"type": {"type": "time"}}',
    b'["type", "time"]',
    b'[{"type": "time"}]',
    b'{"error": "x", "type": "date"}',
    b'{"type": "time", "tz": "mars"}',
    b'{"type": "time", "format": "roman"}',
    b"[" * 32 + b"]" * 32,
]
INVALIDS = [
    b"hello",
    b"time",
    b"{",
    b'{"type": "time"',
    b'{"type": "time"} x',
    b'{"type": "time"}{}',
    b"{'type': 'time'}",
    b'{type: "time"}',
    b'{"type": "time",}',
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b'{"type": NaN}',
    b'{"type": "time", "id": NaN}',
    b"01",
    b"[1,]",
    b'"\x01"',
    b"\xff\xfe",
    b'{"type": "t\xc3me"}',
    b'"\xed\xa0\x80"',
    b'"\xc0\xaf"',
    b'\xef\xbb\xbf{"type": "time"}',
    b"// x",
    b'{"type": "time"} /* x */',
    b"\x00",
    b'{"type": "time"}\x00',
    b"[" * 33 + b"]" * 33,
    b"[" * 5000,
    b"[" * 5000 + b"]" * 5000,
    b'{"a":' * 33 + b"1" + b"}" * 33,
]
ANSWERS = [
    UNKNOWN,
    INVALID,
    b'{"time": "2026-11-21 00:58:17.988790"}',
    b'{"time": 1, "error": 2}',
    b'{"id": 1, "time": "x"}',
    b'{"error": null}',
]


def test_requests_for_the_time(caller):
    for request in TIMES:
        assert caller.ask(request).startswith(b'{"time": "'), request


def test_unknown_requests(caller):
    for request in UNKNOWNS:
        assert caller.ask(request) == UNKNOWN, request


def test_invalid_json(caller):
    for request in INVALIDS:
        assert caller.ask(request) == INVALID, request


def test_answers_are_never_answered(caller):
    for request in ANSWERS:
        assert caller.is_ignored(request), request


@every_datagram
def test_empty_datagram_is_not_answered(echod, listen):
    with echod({"time": {"listen": listen}}).connect("time") as client:
        assert Caller(client).is_ignored(b"")


def test_large_valid_datagram(echod):
    with echod({"time": {"listen": "udp://127.0.0.1:0"}}).connect("time") as client:
        padding = b'{"padding": "%s", "type": "time"}' % (b"x" * 8000)
        assert client.ask(padding) in (INVALID,) or client.ask(padding).startswith(b'{"time": ')


def test_line_over_the_limit_is_invalid_json(echod):
    server = echod({"time": {"listen": "unix://$DIR/time", "max_line": 100}})
    with server.connect("time") as client:
        assert client.ask(b'{"padding": "%s"}' % (b"x" * 1000)) == INVALID
        assert client.ask(b"[]") == UNKNOWN


def expected(text):
    """What the answer has to be, by Python's parser."""

    def refuse(constant):
        raise ValueError(constant)

    try:
        value = json.loads(text, parse_constant=refuse)
    except ValueError:
        return "invalid"
    if isinstance(value, dict):
        if value.get("type") == "time":
            return "time"
        if "type" not in value and ("error" in value or "time" in value):
            return "ignored"
    return "unknown"


def mutations(count):
    seeds = ['{"type": "time"}', '{"error": "x"}', '[1, {"a": null}]', '{"type": "t", "time": 1.5}']
    chance = random.Random(3)
    found = set()
    while len(found) < count:
        text = chance.choice(seeds)
        for _ in range(chance.randint(1, 2)):
            at = chance.randrange(len(text) + 1)
            piece = chance.choice(["", "", *'{}[]",:.0aety -', '"type": ', '"time"'])
            text = text[:at] + piece + text[at + chance.randint(0, 2) :]
        if text.strip():
            found.add(text)
    return sorted(found)


def test_thousand_mutations_agree_with_another_parser(caller):
    for text in mutations(1000):
        want = expected(text)
        if want == "ignored":
            assert caller.is_ignored(text.encode()), text
            continue
        answer = caller.ask(text.encode())
        got = {UNKNOWN: "unknown", INVALID: "invalid"}.get(answer, "time")
        assert got == want, text


# --- a zone that changes ---


def zone_file(path, hours, changed_at):
    """A zone without daylight saving time (RFC 8536), as a file that was changed at that time."""
    name = b"E%d" % hours
    block = struct.pack(">4sc15x6l", b"TZif", b"2", 0, 0, 0, 0, 1, len(name) + 1)
    block += struct.pack(">lbb", hours * 3600, 0, 0) + name + b"\0"
    path.write_bytes(block * 2 + b"\nEST-%d\n" % hours)
    os.utime(path, (changed_at, changed_at))


@needs_root
@pytest.mark.skipif(not os.path.exists("/etc/localtime"), reason="no /etc/localtime")
@pytest.mark.skipif(
    subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode != 0,
    reason="no mount namespaces",
)
def test_a_reload_sees_that_the_zone_has_changed(echod, workdir):
    zone = workdir / "zone"
    zone_file(zone, 5, 1_000_000_000)
    own_zone = f"unset TZ; mount --bind '{zone}' /etc/localtime && exec \"$@\""
    server = echod({"time": {"listen": "unix://$DIR/time"}, "daytime": {"listen": "unix://$DIR/day"}},
                   wrapper=("unshare", "--mount", "sh", "-c", own_zone, "sh"))  # fmt: skip
    with server.connect("time") as client:
        for hours in 5, 9:
            zone_file(zone, hours, 1_000_000_000 + hours)
            assert server.reload()
            here = datetime.timezone(datetime.timedelta(hours=hours))
            answer = json.loads(client.ask(b'{"type": "time", "format": "iso8601"}'))
            assert answer["time"].endswith(f"+0{hours}:00")
            plain = json.loads(client.ask(b'{"type": "time"}'))
            assert is_now(datetime.datetime.fromisoformat(plain["time"]), here)
            with server.connect("daytime") as day:
                text = day.rest().decode().strip()
            assert is_now(datetime.datetime.strptime(text, "%a %b %d %H:%M:%S %Y"), here)
