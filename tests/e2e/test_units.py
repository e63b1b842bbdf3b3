"""The files around the daemon: systemd's units and drop-ins, and what goes to other programs."""

import configparser
import json
import os
import re
import shutil
import subprocess

import pytest

import harness
from harness import SOURCE_TREE, program

CONF = SOURCE_TREE / "conf"
UNITS = CONF / "systemd"
EXAMPLES = CONF / "examples/systemd"
DROP_INS = sorted(path.name for path in EXAMPLES.glob("*.conf"))
SOCKETS = sorted([*UNITS.glob("*.socket"), *EXAMPLES.glob("*.socket")])
ANALYZE = program("systemd-analyze")

with_analyze = pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is not installed")


def without_comments(path):
    return re.sub(r"^#.*\n", "", path.read_text(), flags=re.M)


@pytest.fixture
def root(workdir):
    """A root directory with the units as installed."""
    units = workdir / "etc/systemd/system"
    units.mkdir(parents=True)
    for directory in ("usr/sbin", "usr/bin"):
        (workdir / directory).mkdir(parents=True)
    for name in ("usr/sbin/echod", "usr/bin/echoctl"):
        shutil.copy("/bin/true", workdir / name)
    text = (UNITS / "echod.service.in").read_text()
    for name, value in {"sbindir": "/usr/sbin", "bindir": "/usr/bin"}.items():
        text = text.replace(f"@{name}@", value)
    assert "@" not in re.sub(r"=@system|~@\w+|@\w+$", "", text, flags=re.M)
    (units / "echod.service").write_text(text)
    for path in SOCKETS:
        shutil.copy(path, units)
    for target in ("basic", "shutdown", "sockets", "sysinit"):
        (units / f"{target}.target").write_text("[Unit]\nDescription=Of every system\n")
    return workdir


def drop_in(root, *names, enable_all=False):
    directory = root / "etc/systemd/system/echod.service.d"
    directory.mkdir()
    for name in names:
        text = (EXAMPLES / name).read_text()
        if enable_all:
            text = re.sub(r"^#(?=\w+=)", "", text, flags=re.M)
        (directory / name).write_text(text)


def analyze(root, *args):
    return subprocess.run(
        [ANALYZE, *args, f"--root={root}"], capture_output=True, text=True, check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )


def mistakes(root, unit):
    return analyze(root, "verify", "--man=no", unit).stderr


def exposure(root):
    """systemd's own score of the unit, 0 (best) to 10."""
    result = analyze(root, "security", "--offline=true", "--no-pager", "echod.service")
    return float(re.search(r"Overall exposure level for \S+ (\d+\.\d)", result.stdout)[1])


@with_analyze
@pytest.mark.parametrize("unit", ["echod.service", *(path.name for path in SOCKETS)])
def test_unit_is_without_mistakes(root, unit):
    assert mistakes(root, unit) == ""


@with_analyze
@pytest.mark.parametrize("name", DROP_INS)
@pytest.mark.parametrize("enable_all", [False, True], ids=["as-is", "all-lines"])
def test_drop_in_is_without_mistakes(root, name, enable_all):
    drop_in(root, name, enable_all=enable_all)
    assert mistakes(root, "echod.service") == ""


@with_analyze
def test_a_mistake_in_a_unit_would_be_seen(root):
    path = root / "etc/systemd/system/echod.service"
    path.write_text(path.read_text().replace("ProtectClock=yes", "ProtectClocks=yes"))
    assert "ProtectClocks" in mistakes(root, "echod.service")


@with_analyze
def test_the_unit_s_exposure(root):
    assert exposure(root) <= 1.3


@with_analyze
def test_the_exposure_with_sockets_from_systemd(root):
    drop_in(root, "activation.conf")
    said = float(re.search(r"security: (\d\.\d)", (EXAMPLES / "activation.conf").read_text())[1])
    assert exposure(root) == said <= 0.5


@with_analyze
def test_each_directive_is_either_there_or_has_its_reason(root):
    text = (UNITS / "echod.service.in").read_text()
    given = set(re.findall(r"^(\w+)=", text, re.M))
    left_out = set(re.findall(r"^#   ([A-Z]\w+)  ", text, re.M))
    assert not given & left_out
    output = analyze(root, "security", "--offline=true", "--no-pager", "echod.service").stdout
    missed = set(re.findall(r"^✗ (\w+)=", output, re.M))
    assert "PrivateTmp" in missed
    assert missed - given <= left_out


@pytest.mark.parametrize("path", SOCKETS, ids=lambda path: path.name)
def test_a_socket_unit_opens_what_the_shipped_file_lets_its_service_listen_on(path):
    unit = dict(re.findall(r"^(\w+)=(.*)$", without_comments(path), re.M))
    shipped = harness.run_echod("-c", harness.shipped_conf() / "echod.conf", "-T").stdout
    group = re.search(rf"^\s*{unit['FileDescriptorName']} = \{{.*?\}};", shipped, re.M | re.S)[0]
    listen = set(re.findall(r'"((?:tcp|udp)://[^"]+)"', group))
    opened = {f"tcp://{unit['ListenStream']}"} if "ListenStream" in unit else set()
    opened |= {f"udp://{unit['ListenDatagram']}"} if "ListenDatagram" in unit else set()
    assert opened == listen


def test_every_service_of_the_shipped_file_has_a_socket_unit():
    shipped = harness.run_echod("-c", harness.shipped_conf() / "echod.conf", "-T").stdout
    services = re.findall(r"^  (\w+) = \{", shipped.split("services =")[1], re.M)
    names = {re.search(r"^FileDescriptorName=(.*)$", path.read_text(), re.M)[1] for path in SOCKETS}
    assert names == set(services) - {"control"}
    wanted = re.search(r"^Sockets=(.*)$", (EXAMPLES / "activation.conf").read_text(), re.M)[1]
    assert set(wanted.split()) == {path.name for path in SOCKETS}


@pytest.mark.skipif(not program("apparmor_parser"), reason="no apparmor_parser")
def test_apparmor_profile_parses():
    result = subprocess.run(
        [program("apparmor_parser"), "--skip-kernel-load", "--skip-cache",
         str(CONF / "apparmor/usr.sbin.echod")],
        capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_apparmor_profile_lets_it_look_at_itself():
    profile = (CONF / "apparmor/usr.sbin.echod").read_text()
    sources = "".join(path.read_text() for path in (SOURCE_TREE / "src").rglob("*.c"))
    looked_at = set(re.findall(r'"/proc/self/(\w+/?)"', sources))
    assert looked_at
    for name in looked_at:  # not as its owner: it is not dumpable, so that they are root's
        assert f"\n  @{{PROC}}/@{{pid}}/{name} r," in profile


def test_the_unit_leaves_programs_to_echod():
    """A stop ends their input and waits for them; TERM to all of the group would end them at once."""
    unit = (UNITS / "echod.service.in").read_text()
    assert "\nKillMode=mixed\n" in unit and "\nIgnoreSIGPIPE=no\n" in unit


# --- what goes to other programs ---


def shipped_addresses():
    """{name: addresses on a network} of the shipped file."""
    shipped = harness.run_echod("-c", harness.shipped_conf() / "echod.conf", "-T").stdout
    groups = re.findall(r"^  (\w+) = \{(.*?)^  \};", shipped, re.M | re.S)
    found = {name: re.findall(r'"(\w+)://[^"]*:(\d+)"', text) for name, text in groups}
    return {name: addresses for name, addresses in found.items() if addresses}


def test_ufw_profiles_open_what_the_shipped_file_listens_on():
    profiles = configparser.ConfigParser()
    profiles.read(CONF / "examples/ufw/echod")
    opened = {}
    for name in profiles.sections():
        port, _, transport = profiles[name]["ports"].partition("/")
        opened[name.removeprefix("echod ")] = {
            (one, port) for one in ([transport] if transport else ["tcp", "udp"])
        }
    assert opened == {name: set(found) for name, found in shipped_addresses().items()}


class Fail2ban:
    """The filter, about as fail2ban reads it: it has cut the time off when a pattern is tried."""

    def __init__(self):
        settings = configparser.ConfigParser(interpolation=None)
        settings.read(CONF / "examples/fail2ban/filter.d/echod.conf")
        self.definition = settings["Definition"]
        self.fail = re.compile(self.definition["failregex"].replace("<ADDR>", r"(?P<host>[\da-f.:]+)"))
        self.ignore = re.compile(self.definition["ignoreregex"])

    def banned(self, line):
        text = re.sub(r"^\d{4}-\d\d-\d\dT[\d:.]+Z", "", line)
        match = self.fail.search(text)
        return match["host"] if match and not self.ignore.search(text) else None


@pytest.mark.parametrize("reason, settings", [
    ("denied", {"deny": ["127.0.0.1"]}),
    ("protocol", {}),
])
def test_fail2ban_finds_whoever_was_turned_away(echod, reason, settings):
    server = echod({"kv": {"listen": "tcp://127.0.0.1:0", **settings}})
    with server.connect("kv"), server.connect("kv") as client:
        if reason == "protocol":
            client.send(b"GET / HTTP/1.1\r\n\r\n")
        line = server.wait_closed(reason).string
    filter = Fail2ban()
    assert filter.banned(line) == "127.0.0.1"
    journal = re.sub(r"^\S+ info ", "host echod[12]: ", line)
    assert filter.banned(journal) == "127.0.0.1", "as fail2ban puts a line of the journal together"
    assert filter.definition["journalmatch"] == "_SYSTEMD_UNIT=echod.service"


def test_fail2ban_leaves_clients_alone_that_found_no_place(echod):
    """Others may have taken the places, and an administrator who kills a client does not ban it."""
    server = echod({"control": {"listen": "unix://$DIR/control"},
                    "kv": {"listen": "tcp://127.0.0.1:0", "max_connections": 1}})  # fmt: skip
    filter = Fail2ban()
    with server.kv() as first:
        with server.connect("kv") as second:
            second.rest()
        assert filter.banned(server.wait_closed("limit").string) is None
        with server.connect("control") as control:
            control.send(b"-j clients --service kv\n")
            client = json.loads(control.line())["clients"][0]
            control.send(f"kill {client['id']}\n".encode())
            assert filter.banned(server.wait_closed("denied").string) is None
        assert first.more() == b""


@pytest.mark.skipif(not shutil.which("fail2ban-regex"), reason="fail2ban is not installed")
def test_fail2ban_itself_reads_the_filter(workdir):
    """Lines of a file, of syslog, and of the journal as fail2ban puts them together."""
    heads = ["2026-11-21T01:02:03.456Z info ", "Nov 21 01:02:03 host echod[12]: ",
             "2026-11-21T01:02:03+00:00 host echod[12]: "]  # fmt: skip
    found = ["kv 192.0.2.7:51234: closed: denied (0 B in, 0 B out, 0 ms)",
             "kv [2001:db8::7]:51234: closed: protocol (23 B in, 41 B out, 12 ms)",
             "kv [fe80::7%eth0]:51234: closed: slow_reader (23 B in, 41 B out, 31000 ms)"]  # fmt: skip
    missed = ["kv 192.0.2.7:51234: closed: limit (0 B in, 0 B out, 0 ms): over limits.max_per_source",
              "kv 192.0.2.7:51234: closed: denied (8 B in, 16 B out, 10 ms)",
              "kv 192.0.2.7:51234: closed: quit (8 B in, 16 B out, 10 ms)",
              "kv unix: closed: protocol (8 B in, 16 B out, 10 ms)"]  # fmt: skip
    ignored = ["receiver 192.0.2.7:51234: closed: protocol (8 B in, 16 B out, 10 ms)"]
    lines = [head + text + "\n" for head in heads for text in found + missed + ignored]
    log = workdir / "echod.log"
    log.write_text("".join(lines))
    done = subprocess.run(["fail2ban-regex", log, CONF / "examples/fail2ban/filter.d/echod.conf"],
                          capture_output=True, text=True, timeout=harness.DEADLINE)  # fmt: skip
    assert "Lines: 24 lines, 3 ignored, 9 matched, 12 missed" in done.stdout, done.stdout + done.stderr


def test_fail2ban_leaves_clients_alone_that_said_goodbye(echod):
    server = echod({"kv": {"listen": "tcp://127.0.0.1:0"}}, log={"level": "debug"})
    with server.kv() as client:
        client.send(b"QUIT\n")
        client.rest()
    line = server.wait_closed("quit").string
    assert Fail2ban().banned(line) is None


def test_fail2ban_does_not_believe_what_a_datagram_says(echod):
    server = echod({"receiver": {"listen": "udp://127.0.0.1:0"}})
    with server.connect("receiver") as client:
        client.send(b"closed: protocol (1 B in, 2 B out, 3 ms)")
    line = server.log.wait(r"closed: protocol \(").string
    assert Fail2ban().banned(line) is None
