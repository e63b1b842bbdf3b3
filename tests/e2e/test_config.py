"""The configuration: -t, -T, --explain, every kind of mistake, drop-ins, the shipped file."""

import os
import re
import subprocess

import pytest

import harness
from harness import run_echod, to_config

GOOD = to_config({"echo": {"listen": "tcp://127.0.0.1:0"}})


@pytest.fixture
def check(write):
    """Runs -t on a config text."""
    return lambda text: run_echod("-c", write("test.conf", text), "-t")


# --- -t ---


def test_good_file_is_ok(check, workdir):
    result = check(GOOD)
    assert result.stdout == f"echod: {workdir}/test.conf: OK\n"
    assert (result.returncode, result.stderr) == (0, "")


def test_every_key_of_every_service_is_taken(check):
    common = {
        "enabled": True, "listen": ["tcp://127.0.0.1:0"], "allow": ["10.0.0.0/8", "::1/128"],
        "deny": ["192.0.2.1"], "backlog": 10, "ipv6_only": True, "freebind": True, "socket_mode": "0600",
        "max_connections": 5, "on_limit": "queue", "max_per_source": 2, "idle_timeout": "5m",
        "keepalive": "1m",
    }  # fmt: skip
    lines = {"max_line": "4K", "line_timeout": "500ms", "telnet": False}
    datagrams = {"reply_ports": "any", "reply_rate": 0, "reply_prefix": "32/64"}
    services = {
        "echo": {**common, **datagrams, "mode": "once"},
        "upper": {**common, **lines, **datagrams, "mode": "line"},
        "time": {**common, **lines, **datagrams},
        "kv": {**common, **lines, "max_memory": "1G", "max_key": 10, "max_value": 100},
        "other-name": {"type": "echo", "listen": "unix:///run/x.sock"},
    }
    limits = {"max_connections": 10, "max_per_source": 5, "shutdown_timeout": "30s"}
    log = {"level": "debug", "target": "syslog"}
    result = check(to_config(services, limits=limits, log=log, user="nobody"))
    assert (result.returncode, result.stderr) == (0, "")


# --- what no start could have together ---


@pytest.mark.parametrize("one, two", [
    ("tcp://127.0.0.1:7", "tcp://127.0.0.1:7"),
    ("tcp://*:7", "tcp://127.0.0.1:7"),
    ("tcp://[::1]:7", "tcp://*:7"),
    ("tcp://0.0.0.0:7", "tcp://127.0.0.9:7"),
    ("tcp://0.0.0.0:7", "tcp://[::]:7"),
    ("tcp://[::]:7", "tcp://10.1.2.3:7"),
    ("tcp://[0:0::1]:7", "tcp://[::1]:7"),
    ("tcp://[::ffff:127.0.0.1]:7", "tcp://127.0.0.1:7"),
    ("tcp://some.host:7", "tcp://SOME.host.:7"),
    ("tcp://[fe80::1%eth0]:7", "tcp://[fe80::1%eth0]:7"),
    ("udp://0.0.0.0:7", "udp://[::]:7"),
    ("udp://127.0.0.1:7", "udp://127.0.0.1:7"),
    ("unix:///tmp/x", "unix:///tmp/x"),
    ("unix:///tmp/x", "unixgram:///tmp/x"),
    ("unix:///tmp/x", "unix:///tmp/./no/..//x"),
    ("unix://@x", "unix://@x"),
])  # fmt: skip
def test_addresses_that_collide(check, workdir, one, two):
    """Of one service, and of two; each is named with its own line."""
    allow = "allow = [ \"127.0.0.1\" ];\n"
    result = check('services = { a = { type = "echo"; %slisten = [\n"%s",\n"%s"\n]; }; };'
                   % (allow, one, two))  # fmt: skip
    assert result.returncode == 78 and result.stdout == ""
    place = f"{workdir}/test.conf"
    assert f"{place}:4: services.a.listen: \"{two}\" collides with \"{one}\" of services.a " \
        f"({place}:3): " in result.stderr  # fmt: skip
    result = check('services = { a = { type = "echo"; %slisten = "%s"; };\nb = { type = "echo"; %s'
                   'listen = "%s"; }; };' % (allow, one, allow, two))  # fmt: skip
    assert result.returncode == 78
    assert f"{place}:4: services.b.listen: \"{two}\" collides with \"{one}\" of services.a " \
        f"({place}:2): " in result.stderr  # fmt: skip


@pytest.mark.parametrize("one, two, settings", [
    ("tcp://127.0.0.1:7", "udp://127.0.0.1:7", ""),
    ("tcp://127.0.0.1:7", "tcp://127.0.0.1:8", ""),
    ("tcp://127.0.0.1:0", "tcp://127.0.0.1:0", ""),
    ("tcp://*:0", "tcp://[::]:0", ""),
    ("tcp://0.0.0.0:7", "tcp://[::1]:7", ""),
    ("tcp://0.0.0.0:7", "tcp://[::]:7", "ipv6_only = true;"),
    ("udp://[::]:7", "udp://127.0.0.1:7", "ipv6_only = true;"),
    ("tcp://[fe80::1%eth0]:7", "tcp://[fe80::1%eth1]:7", ""),
    ("unix:///tmp/x", "unix:///tmp/y", ""),
    ("unix:///tmp/x", "unix:///var/x", ""),
    ("unix://@x", "unixgram://@x", ""),
])  # fmt: skip
def test_addresses_that_do_not_collide(check, one, two, settings):
    result = check('services = { echo = { %s listen = [ "%s", "%s" ]; }; };' % (settings, one, two))
    assert result.returncode == 0, result.stderr


def test_both_wildcards_are_told_what_to_do(check):
    result = check('services = { echo = { listen = [ "tcp://0.0.0.0:7", "tcp://[::]:7" ]; }; };')
    assert '[::] serves IPv4, too; set ipv6_only = true where it is, or listen on "tcp://*:7" alone' \
        in result.stderr  # fmt: skip


def test_receivers_share_a_group_but_not_with_a_wildcard(check):
    receiver = 'services = { receiver = { listen = [ "udp://239.1.2.3:7", "udp://%s:7" ]; }; };'
    assert check(receiver % "239.1.2.3").returncode == 0
    assert check(receiver % "0.0.0.0").returncode == 78


def test_a_service_that_is_disabled_collides_with_nothing(check):
    result = check('services = { a = { type = "echo"; listen = "tcp://127.0.0.1:7"; };\n'
                   'b = { type = "echo"; enabled = false; listen = "tcp://*:7"; }; };')
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("spelling", ["store", "./store/", "no/..//store", "link", "new/./kv/"])
def test_two_stores_in_one_directory(check, workdir, spelling):
    """Whether or not it is there yet."""
    (workdir / "store").mkdir()
    (workdir / "link").symlink_to("store")
    first = "new/kv" if spelling.startswith("new") else "store"
    result = check('services = { a = { type = "kv"; listen = "tcp://127.0.0.1:7";\n storage = "%s/%s";'
                   '};\nb = { type = "kv"; listen = "tcp://127.0.0.1:8";\n storage = "%s/%s"; }; };'
                   % (workdir, first, workdir, spelling))  # fmt: skip
    assert result.returncode == 78
    place = f"{workdir}/test.conf"
    assert f"{place}:4: services.b.storage: \"{workdir}/{spelling}\" is the directory of " \
        f"services.a ({place}:2)" in result.stderr  # fmt: skip
    assert sorted(os.listdir(workdir)) == ["link", "store", "test.conf"]


def test_a_start_is_refused_as_by_t(fleet):
    two = [f"tcp://127.0.0.1:{harness.free_port()}"] * 2
    server = fleet.launch({"echo": {"listen": two}})
    server.wait_stopped_with(78, f'"{two[0]}" collides with "{two[0]}" of services.echo')


def test_a_reload_is_refused_as_by_t(echod):
    server = echod({"echo": {"listen": "tcp://127.0.0.1:0"}})
    port = harness.free_port()
    assert not server.reload({"echo": {"listen": [f"udp://*:{port}", f"udp://127.0.0.1:{port}"],
                                       "allow": "127.0.0.1"}})  # fmt: skip
    server.log.wait(r"error reload: .*:1: services\.echo\.listen: .* collides with ")


@pytest.mark.parametrize("service, key, address, text", [
    ("echo", "listen", "tcp://[fe80::1]:7", "write it behind a %, [fe80::1%eth0]"),
    ("echo", "listen", "udp://[fe80::1]:7", "write it behind a %, [fe80::1%eth0]"),
    ("kv", "listen", "tcp://[febf::1]:7", "write it behind a %, [febf::1%eth0]"),
    ("receiver", "listen", "udp://[fe80::1]:7", "write it behind a %, [fe80::1%eth0]"),
    ("receiver", "listen", "udp://[ff02::1]:7", "add the key interface"),
    ("receiver", "listen", "udp://[ff01::1]:7", "add the key interface"),
    ("echo", "listen", "tcp://[ff02::1%eth0]:7", "only datagrams, udp://, are sent to one"),
    ("echo", "listen", "tcp://239.1.2.3:7", "only datagrams, udp://, are sent to one"),
    ("beacon", "send_to", "udp://[fe80::1]:7", "needs an interface"),
    ("beacon", "send_to", "udp://[ff02::1]:7", "needs an interface"),
    ("echo", "listen", "tcp://127.0.0.1", "the port is missing"),
    ("echo", "listen", "udp://239.1.2.3:7", "only a receiver joins one"),
    ("kv", "listen", "udp://127.0.0.1:7", "kv is a service for streams only"),
    ("control", "listen", "unix://@x", "an abstract name has no owner"),
    ("beacon", "send_to", "udp://*:7", "* is no destination"),
    ("echo", "deny", "10.0.0.0/99", "must be a number from 0 to 32"),
    ("exec", "command", "", "not empty"),
])  # fmt: skip
@pytest.mark.parametrize("layout", ['"%s",\n"%s"\n', '"%s"\n,\n"%s"', '"%s", /* x\n */ "%s"', '"%s", "%s"'])
def test_an_item_of_an_array_is_named_with_its_line(check, workdir, service, key, address, text, layout):
    good = {"receiver": "udp://127.0.0.1:8", "beacon": "udp://127.0.0.1:8"}
    good = {"deny": "127.0.0.1", "command": "/bin/true", "listen": "tcp://127.0.0.1:8"}.get(
        key, "udp://127.0.0.1:8") if service not in good else good[service]  # fmt: skip
    if service == "control":
        good = "unix:///run/x"
    listen = "" if key in ("listen", "send_to") else 'listen = "tcp://127.0.0.1:9";\n'
    array = "[\n" + layout % (good, address) + " ]"
    # Another array of the same name before it.
    result = check('services = { x = { type = "echo"; listen = [\n"tcp://127.0.0.1:1",\n'
                   '"tcp://127.0.0.1:2" ]; };\n y = { type = "%s"; %s %s = %s; }; };'
                   % (service, listen, key, array))  # fmt: skip
    line = 5 + listen.count("\n") + layout.split('"%s"')[1].count("\n")
    assert result.returncode == 78
    assert f"{workdir}/test.conf:{line}: services.y.{key}: " in result.stderr
    assert text in result.stderr


def test_an_item_of_an_included_array_is_named_with_its_line(check, write, workdir):
    write("more.conf", 'echo = { listen = [\n"tcp://127.0.0.1:1",\n"tcp://127.0.0.1"\n]; };\n')
    result = check('services = {\n@include "more.conf"\n};\n')
    assert f"{workdir}/more.conf:3: services.echo.listen: " in result.stderr


@pytest.mark.parametrize("value", ["5", '"500ms"', '"30s"', '"5m"', "0"])
def test_durations(check, value):
    result = check('services = { echo = { listen = "tcp://*:0"; idle_timeout = %s; }; };' % value)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("value", ["4096", '"64K"', '"1M"', '"1G"'])
def test_sizes(check, value):
    result = check('services = { kv = { listen = "tcp://*:0"; max_memory = %s; }; };' % value)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "address",
    ["tcp://127.0.0.1:80", "tcp://[::1]:80", "tcp://*:0", "tcp://some.host.example:80",
     "udp://[::]:9", "unix:///run/x", "unixgram:///run/x", "unix://@name", "unixgram://@name"],
)  # fmt: skip
def test_addresses(check, address):
    result = check(to_config({"echo": {"listen": address}}))
    assert result.returncode == 0, result.stderr


def test_check_has_no_side_effects(check, workdir):
    """No socket is made, no log file opened, no name resolved, no port taken."""
    text = to_config(
        {"echo": {"listen": [f"unix://{workdir}/socket", "tcp://no-such-host.invalid:1"]}},
        log={"target": f"{workdir}/log"},
    )
    assert check(text).returncode == 0
    assert os.listdir(workdir) == ["test.conf"]


def test_disabled_service_is_checked_but_not_started(echod, check):
    wrong = {"echo": {"listen": "tcp://127.0.0.1:0", "enabled": False, "mode": "twice"}}
    assert check(to_config(wrong)).returncode == 78
    server = echod({"echo": {"listen": "tcp://127.0.0.1:0", "enabled": False},
                    "kv": {"listen": "tcp://127.0.0.1:0"}})  # fmt: skip
    assert server.addresses("echo") == []


# --- mistakes: the line, the key, what was expected ---


def service(settings, name="echo"):
    """Line 1 opens the group; settings stand on line 2 and on."""
    return f'services = {{ {name} = {{\n{settings}\n}}; }};\n'


def listening(setting, name="echo"):
    return service(f'{setting}\nlisten = "tcp://127.0.0.1:0";', name)


BAD = {
    "unknown-key": (listening("idel_timeout = 5;"), 2, ["idel_timeout", "idle_timeout"]),
    "unknown-key-of-another-service": (listening("max_memory = 5;"), 2, ["max_memory"]),
    "unknown-group": ("limts = { };\n" + GOOD, 1, ["limts", "limits"]),
    "unknown-log-key": ('log = {\nlevl = "info"; };\n' + GOOD, 2, ["levl", "level"]),
    "unknown-type": (listening('type = "ehco";'), 2, ["ehco", "echo"]),
    "unknown-name-without-type": (service("enabled = true;", "ecko"), 1, ["ecko", "echo"]),
    "unknown-choice": (listening('mode = "strem";'), 2, ["mode", "stream"]),
    "unknown-level": ('log = {\nlevel = "loud"; };\n' + GOOD, 2, ["level", "warning"]),
    "string-for-bool": (listening('enabled = "yes";'), 2, ["enabled", "true"]),
    "int-for-bool": (listening("enabled = 1;"), 2, ["enabled", "true"]),
    "string-for-int": (listening('max_connections = "many";'), 2, ["max_connections"]),
    "float-for-int": (listening("max_connections = 1.5;"), 2, ["max_connections"]),
    "negative": (listening("max_connections = -1;"), 2, ["max_connections"]),
    "group-for-int": (listening("backlog = { };"), 2, ["backlog"]),
    "wraps-to-negative": (listening("max_connections = 3000000000;"), 2, ["max_connections"]),
    "wraps-to-one": (listening("max_connections = 4294967297;"), 2, ["max_connections"]),
    "wraps-64-bits": (
        listening("max_connections = 99999999999999999999;"), 2, ["max_connections"],
    ),
    "wraps-with-l": (listening("max_connections = 4294967297L;"), 2, ["max_connections"]),
    "mode-as-int": (listening("socket_mode = 0660;"), 2, ["socket_mode", '"0660"']),
    "mode-not-octal": (listening('socket_mode = "0689";'), 2, ["socket_mode"]),
    "mode-too-large": (listening('socket_mode = "10660";'), 2, ["socket_mode"]),
    "duration-unit": (listening('idle_timeout = "5 parsecs";'), 2, ["idle_timeout"]),
    "duration-negative": (listening("idle_timeout = -5;"), 2, ["idle_timeout"]),
    "duration-of-the-kernel": (listening("keepalive = 32768;"), 2, ["keepalive", "32767"]),
    "size-unit": (listening('max_memory = "5Q";', "kv"), 2, ["max_memory"]),
    "size-overflow": (listening('max_memory = "99999999999G";', "kv"), 2, ["max_memory"]),
    "listen-missing": (service("enabled = true;"), 1, ["listen"]),
    "listen-a-number": (service("listen = 5566;"), 2, ["listen"]),
    "listen-array-of-numbers": (service("listen = [ 5566 ];"), 2, ["listen"]),
    "port-missing": (service('listen = "tcp://127.0.0.1";'), 2, ["listen", "port"]),
    "port-too-large": (service('listen = "tcp://127.0.0.1:65536";'), 2, ["listen", "65535"]),
    "port-a-word": (service('listen = "tcp://127.0.0.1:http";'), 2, ["listen", "port"]),
    "scheme-unknown": (service('listen = "sctp://127.0.0.1:1";'), 2, ["listen", "sctp", "tcp"]),
    "scheme-missing": (service('listen = "127.0.0.1:1";'), 2, ["listen", "tcp://"]),
    "ipv6-without-brackets": (service('listen = "tcp://::1:80";'), 2, ["listen", "["]),
    "unix-relative": (service('listen = "unix://run/x";'), 2, ["listen"]),
    "datagrams-for-kv": (service('listen = "udp://127.0.0.1:0";', "kv"), 2, ["listen", "udp"]),
    "unixgram-for-kv": (service('listen = "unixgram:///run/x";', "kv"), 2, ["listen"]),
    "network-host-bits": (listening('allow = [ "10.0.0.1/8" ];'), 2, ["allow", "10.0.0.1/8"]),
    "network-prefix": (listening('deny = [ "10.0.0.0/33" ];'), 2, ["deny", "33"]),
    "network-a-name": (listening('deny = [ "localhost" ];'), 2, ["deny", "localhost"]),
    "one-of-many": (
        service('listen = [\n"tcp://127.0.0.1:0",\n"tcp://127.0.0.1:x" ];'), None, ["listen"],
    ),
    "duplicate-key": (listening("backlog = 1;\nbacklog = 2;"), 3, ["backlog"]),
    "syntax-yes": (listening("enabled = yes;"), 2, ["yes"]),
    "syntax-unit": (listening("idle_timeout = 30s;"), 2, ["30s"]),
    "syntax-unquoted-address": (service("listen = tcp://127.0.0.1:0;"), 2, ["tcp"]),
    "syntax-trailing-comma": (service('listen = [ "tcp://*:0", ];'), 2, []),
    "syntax-unfinished": ("services = {\n", None, []),
    "services-not-a-group": ("services = 5;\n", 1, ["services"]),
    "service-not-a-group": ("services = {\necho = 5; };\n", 2, ["echo"]),
}  # fmt: skip


@pytest.mark.parametrize("text, line, needles", BAD.values(), ids=BAD.keys())
def test_mistake_is_reported_with_its_place(check, workdir, text, line, needles):
    result = check(text)
    assert result.returncode == 78, result
    assert result.stdout == ""
    place = rf"^echod: {re.escape(str(workdir))}/test\.conf:{line or '[0-9]+'}: "
    messages = [m for m in result.stderr.splitlines() if re.match(place, m)]
    assert messages, result.stderr
    for needle in needles:
        assert any(needle in message for message in messages), result.stderr


def test_expected_and_got_are_told(check):
    result = check(listening("max_connections = 3000000000;"))
    assert "expected" in result.stderr and "3000000000" in result.stderr


def test_all_mistakes_are_reported_at_once(check):
    result = check(listening('backlog = "x";\nidel_timeout = 1;\nmode = 5;'))
    places = re.findall(r"test\.conf:(\d+): ", result.stderr)
    assert {"2", "3", "4"} <= set(places)


def test_file_without_services(check):
    result = check("services = { };\n")
    assert result.returncode == 78 and "service" in result.stderr


def test_missing_file():
    result = run_echod("-c", "/nonexistent/echod.conf", "-t")
    assert result.returncode == 78
    assert "/nonexistent/echod.conf" in result.stderr


def test_empty_file(check):
    assert check("").returncode == 78


def test_byte_order_mark(check):
    assert check("\ufeff" + GOOD).returncode == 78


def test_start_with_a_bad_file_fails_like_the_check(fleet):
    server = fleet.launch(listening("idel_timeout = 5;"))
    server.wait_stopped_with(78, "idel_timeout")


# --- -T and --explain ---


def test_effective_configuration_is_a_configuration(check, workdir):
    text = to_config(
        {"echo": {"listen": ["tcp://127.0.0.1:0", "unix://@x"], "idle_timeout": "500ms"},
         "shout": {"type": "upper", "listen": "udp://*:0", "allow": ["10.0.0.0/8"]},
         "kv": {"listen": "tcp://[::1]:0", "max_memory": "64M", "socket_mode": "0600"}},
        limits={"max_per_source": 7},
    )  # fmt: skip
    assert check(text).returncode == 0
    first = run_echod("-c", workdir / "test.conf", "-T")
    assert (first.returncode, first.stderr) == (0, "")
    assert check(first.stdout).returncode == 0
    second = run_echod("-c", workdir / "test.conf", "-T")
    assert values(second.stdout) == values(first.stdout)


def values(text):
    """The lines of -T without comments, and without empty lists: those are the same as none."""
    lines = [re.sub(r"\s*#.*", "", line) for line in text.splitlines()]
    return [line for line in lines if line and not line.endswith(" = [ ];")]


@pytest.mark.parametrize("args", [["-t"], ["-T"], ["-V"], ["-h"], ["--explain", "kv"]])
def test_output_that_is_lost_is_a_failure(args):
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [harness.find_echod(), "-c", SHIPPED, *args], stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 1 and b"cannot write the output: No space left" in result.stderr


def test_effective_configuration_says_where_a_value_comes_from(write, workdir):
    path = write("test.conf", listening("backlog = 7;"))
    write("test.d/10.conf", "services = { echo = {\nidle_timeout = 9; }; };")
    output = run_echod("-c", path, "-T").stdout
    assert re.search(rf"backlog = 7;.*{re.escape(str(path))}:2", output)
    assert re.search(rf"idle_timeout = .*{re.escape(str(workdir))}/test\.d/10\.conf:2", output)
    assert re.search(r"socket_mode = \"0660\";.*default", output)


@pytest.mark.parametrize("key", ["max_key", "kv.max_key", "limits.max_connections", "listen", "kv"])
def test_explain(key):
    result = run_echod("--explain", key)
    assert (result.returncode, result.stderr) == (0, "")
    assert key.split(".")[-1] in result.stdout and len(result.stdout) > 40


def test_explain_names_the_nearest_key():
    result = run_echod("--explain", "idel_timeout")
    assert result.returncode != 0
    assert "idle_timeout" in result.stdout + result.stderr


# --- drop-ins ---


def test_drop_in_adds_a_service(echod, write, workdir):
    write("echod.d/50-kv.conf", to_config({"kv": {"listen": f"unix://{workdir}/kv"}}))
    write("echod.d/ignored.conf.bak", "nonsense")
    write("echod.d/README", "nonsense")
    write("echod.conf", GOOD)
    result = run_echod("-c", workdir / "echod.conf", "-T")
    assert result.returncode == 0, result.stderr
    assert "kv" in result.stdout and "nonsense" not in result.stdout


def test_drop_ins_are_read_in_c_order_and_the_last_wins(write, workdir):
    path = write("test.conf", listening("backlog = 1;"))
    for name, value in (("2.conf", 2), ("10.conf", 10), ("B.conf", 66), ("a.conf", 97)):
        write(f"test.d/{name}", f"services = {{ echo = {{ backlog = {value}; }}; }};")
    assert "backlog = 97;" in run_echod("-c", path, "-T").stdout
    (workdir / "test.d/a.conf").unlink()
    assert "backlog = 66;" in run_echod("-c", path, "-T").stdout
    (workdir / "test.d/B.conf").unlink()
    assert "backlog = 2;" in run_echod("-c", path, "-T").stdout


def test_mistake_in_a_drop_in_names_the_drop_in(write, workdir):
    path = write("test.conf", GOOD)
    write("test.d/1.conf", "services = { echo = {\n\nbacklogg = 1; }; };")
    result = run_echod("-c", path, "-t")
    assert result.returncode == 78
    assert f"{workdir}/test.d/1.conf:3: " in result.stderr and "backlogg" in result.stderr


def test_drop_in_takes_effect(fleet, write):
    server = fleet.launch({"echo": {"listen": "unix://$DIR/echo"}})
    server.wait_ready()
    write(
        f"{server.id}.d/1.conf",
        to_config({"kv": {"listen": f"unix://{server.directory}/kv"}}),
    )
    assert server.reload()
    with server.kv() as client:
        assert client.ask(b"SET a 1") == b"OK"


# --- the shipped file: ## begins a text, # a setting that shows its default ---


SHIPPED = harness.shipped_conf() / "echod.conf"
COMMENTED = re.compile(r"^(\s*)#(?!#)", re.M)


def commented_lines():
    lines = SHIPPED.read_text().splitlines()
    return [number for number, line in enumerate(lines) if COMMENTED.match(line)]


def shipped_with(number):
    """The file with that line un-commented."""
    lines = SHIPPED.read_text().splitlines()
    lines[number] = COMMENTED.sub(r"\1", lines[number])
    return "\n".join(lines) + "\n"


def test_shipped_file_is_ok():
    result = run_echod("-c", SHIPPED, "-t")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("number", commented_lines(), ids=lambda number: f"line-{number + 1}")
def test_commented_setting_of_the_shipped_file_works_and_is_the_default(check, workdir, number):
    text = shipped_with(number)
    result = check(text)
    assert (result.returncode, result.stderr) == (0, "")
    if not text.splitlines()[number].startswith("user"):  # it has no default
        changed = run_echod("-c", workdir / "test.conf", "-T").stdout
        assert values(changed) == values(run_echod("-c", SHIPPED, "-T").stdout)


def test_all_commented_settings_of_the_shipped_file_work_together(check):
    result = check(COMMENTED.sub(r"\1", SHIPPED.read_text()))
    assert (result.returncode, result.stderr) == (0, "")


def test_examples_are_ok():
    for path in SHIPPED.parent.glob("examples/*.conf"):
        result = run_echod("-c", path, "-t")
        others = [line for line in result.stderr.splitlines() if "runs as root" not in line]
        assert (result.returncode, others) == (0, []), path
