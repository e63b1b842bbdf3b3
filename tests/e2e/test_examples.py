"""The examples of the manuals: configurations are taken, commands work and print what they show."""

import contextlib
import re
import shutil
import socket
import subprocess

import pytest

import certificates
import harness
import resp
from harness import DEADLINE, run_echod, wait_until
from test_echoctl import find_echoctl

MANUALS = ["src/echod.8.in", "src/echoctl/echoctl.1.in", "conf/echod.conf.5.in"]
# What belongs to a machine that the package is installed on, or is nothing to be run.
NOT_HERE = re.compile(r"^(\d{4}-|systemctl|journalctl|apt|install|\[|#|Sat |\{|mdb_|openssl)")


def examples():
    """(manual, number, text) of each literal block."""
    for manual in MANUALS:
        text = (harness.SOURCE_TREE / manual).read_text()
        for number, block in enumerate(re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed$", text, re.M | re.S)):
            yield manual, number, unescape(block)


def unescape(block):
    for sequence, text in ((r"\(dq", '"'), (r"\-", "-"), (r"\&", ""), (r"\e", "\\")):
        block = block.replace(sequence, text)
    return block


def kind(block):
    for beginning in ("import redis", "CACHES", "session"):
        if block.startswith(beginning):
            return beginning
    if re.match(r"\w+ = \{", block):
        return "config"
    if "redis.call" in block:
        return "scripts"
    if ":sha256:" in block:
        return "users"
    return "other" if NOT_HERE.match(block) else "commands"


def parameters(wanted):
    return [pytest.param(block, id=f"{manual.split('/')[-1][:-3]}-{number}")
            for manual, number, block in examples() if kind(block) == wanted]


def with_certificates(directory, block):
    """The block with files of the test in place of those in /etc/echod."""
    if "/etc/echod/" in block:
        authority = certificates.ca(directory, "clients")
        issued = authority.issue("localhost", file="cert")
        issued.key.rename(directory / "key.pem")
    return block.replace("/etc/echod/", f"{directory}/")


@pytest.mark.parametrize("block", parameters("config"))
def test_configuration_is_taken(workdir, write, block):
    block = with_certificates(workdir, block)
    base = 'services = { echo = { listen = "tcp://127.0.0.1:0"; }; };\n'
    config = write("test.conf", base if "services" not in block else block)
    if "services" not in block:
        write("test.d/drop-in.conf", block)
    result = run_echod("-c", config, "-t")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("block", parameters("users"))
def test_users_are_taken(workdir, write, block):
    (workdir / "users").touch(0o600)
    (workdir / "users").write_text(block)
    users = f'services = {{ kv = {{ listen = "tcp://127.0.0.1:0"; users = "{workdir}/users"; }}; }};\n'
    result = run_echod("-c", write("test.conf", users), "-t")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("block", parameters("scripts"))
def test_scripts_are_known(echod, block):
    with resp.connect(echod({"kv": {"listen": "redis+unix://$DIR/kv"}})) as client:
        for script in block.split("\n\n"):
            assert client.call("SET", "lock", "token") == b"+OK\r\n"
            assert client.call("EVAL", script, 1, "lock", "another", 1000) == b":0\r\n"
            assert client.call("EVAL", script, 1, "lock", "token", 1000) == b":1\r\n"


class Shipped:
    """The shipped configuration on ports and paths of the test's own, and programs that use it."""

    def __init__(self, directory):
        self.directory = directory
        self.ports = {}
        text = (harness.SOURCE_TREE / "conf/echod.conf").read_text()
        both = re.search(r'^\t## (listen = .*redis://.*)$', text, re.M)[1]
        text = self.move(text.replace('listen = "tcp://127.0.0.1:9002";', both))
        # In the background stderr means syslog, which need not be there.
        text = text.replace('#target = "stderr"', f'target = "{directory}/log"')
        (directory / "echod.conf").write_text(text)
        (directory / "bin").mkdir()
        self.program("echod", f'{harness.find_echod()} -c {directory}/echod.conf "$@"')
        self.program("echoctl", f'{find_echoctl()} -s {directory}/control.sock "$@"')

    def program(self, name, command):
        script = self.directory / "bin" / name
        script.write_text(f"#!/bin/sh\nexec {command}\n")
        script.chmod(0o755)

    def move(self, text):
        """The text with its fixed ports and paths exchanged."""
        text = re.sub(r"/(run|var/lib)/echod(?=/)", str(self.directory), text)
        text = text.replace("/run/echod.pid", f"{self.directory}/echod.pid")
        text = text.replace("/etc/echod.conf", f"{self.directory}/echod.conf")
        return re.sub(r"(?<=[\d.][: ])\d{4}\b", self.port, text)

    def port(self, match):
        return str(self.ports.setdefault(match[0], harness.free_port()))

    def run(self, command, expected=""):
        done = subprocess.run(
            ["/bin/sh", "-c", self.move(command)], capture_output=True, text=True, timeout=DEADLINE,
            env={"PATH": f"{self.directory}/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, cwd="/",
        )  # fmt: skip
        assert done.stderr == "" or "echod -D" in command, done.stderr
        assert done.returncode == 0 or "grep" in command, command
        if expected:
            pattern = re.sub(r"\d+", r"\\d+", re.escape(self.move(expected).rstrip()))
            assert re.fullmatch(pattern, done.stdout.rstrip()), done.stdout
        return done.stdout


@pytest.fixture
def shipped(workdir):
    return Shipped(workdir)


@contextlib.contextmanager
def running(shipped):
    pid_file = shipped.directory / "test.pid"
    shipped.run(f"echod -D -p {pid_file}")
    pid = int(pid_file.read_text())
    try:
        yield
    finally:
        subprocess.run(["kill", str(pid)], check=True)
        harness.wait_exit(pid)


def prompted(block):
    """[(command, what it prints)] of a block with prompts; without any, each line is a command."""
    if not block.startswith("$ "):
        return [(line, "") for line in block.splitlines()]
    return [(part.split("\n", 1)[0], part.split("\n", 1)[1])
            for part in re.split(r"^\$ ", block, flags=re.M)[1:]]


def is_installed(block):
    """What an example needs."""
    return shutil.which("nc") and (shutil.which("redis-cli") or "redis-cli" not in block)


@pytest.mark.parametrize("block", parameters("commands"))
def test_commands_work(shipped, block):
    if not is_installed(block):
        pytest.skip("nc or redis-cli is not installed")
    if re.search(r"(tls|rediss)://", block):
        pytest.skip("needs another machine; see test_echoctl_tls")
    if "echoctl listen" in block:
        listen(shipped, block)
    elif "echod -D" in block:
        for command, _ in prompted(block):
            shipped.run(command)
        wait_until(lambda: not list(shipped.directory.glob("*.pid")), "it has stopped")
    else:
        with running(shipped):
            for command, expected in prompted(block):
                may_be_silent = re.search("grep|clients|>/dev/null", command)
                assert shipped.run(command, expected) or may_be_silent


def listen(shipped, block):
    """It waits for a datagram."""
    command = shipped.move(block.strip())
    port = int(command.rsplit(":", 1)[1])
    with subprocess.Popen(
        [find_echoctl(), *command.split()[1:]], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process, socket.socket(type=socket.SOCK_DGRAM) as client:
        try:
            ready = process.stderr.readline()
            if b"No such device" in ready:
                pytest.skip("no route for multicast")
            assert b"listening" in ready
            if "-n 1" in command:
                client.sendto(b"hello", ("127.0.0.1", port))
                assert process.communicate(timeout=DEADLINE)[0] == b"hello"
        finally:
            process.kill()


@pytest.mark.parametrize("block", parameters("import redis"))
def test_python(shipped, block):
    redis = pytest.importorskip("redis")
    names = {}
    with running(shipped):
        exec(shipped.move(block).replace("port=6379", f"port={shipped.ports['6379']}"), names)
        client = names["client"]
        assert client.get("reports") == b"1" and 0 < client.ttl("greeting") <= 60
        assert isinstance(client, redis.Redis) and client.get("report") is None
        client.close()


@pytest.mark.parametrize("block", parameters("CACHES"))
def test_django(shipped, block):
    """Before Django 4, the package django-redis has the backend."""
    django = pytest.importorskip("django")
    conf = pytest.importorskip("django.conf")
    if django.VERSION < (4,):
        pytest.importorskip("django_redis")
        block = block.replace("django.core.cache.backends.redis", "django_redis.cache")
    names = {}
    exec(shipped.move(block), names)
    conf.settings.configure(CACHES=names["CACHES"])
    from django.core.cache import cache

    with running(shipped):
        assert cache.add("visits", 1, timeout=60) and not cache.add("visits", 5)
        assert cache.incr("visits") == 2 and cache.get("visits") == 2 and cache.get("none") is None
        cache.set_many({"a": [1, 2], "b": {"c": None}})
        assert cache.get_many(["a", "b", "none"]) == {"a": [1, 2], "b": {"c": None}}
        assert cache.touch("a", 100) and cache.delete("b") and cache.get_or_set("b", lambda: 5) == 5
        cache.clear()
        assert cache.get("visits") is None
        cache.close()


PHP = """
session_id("visitor");
session_start();
$_SESSION["visits"] = ($_SESSION["visits"] ?? 0) + 1;
echo $_SESSION["visits"];
"""


@pytest.mark.parametrize("block", parameters("session"))
def test_php(shipped, block):
    if "redis" not in subprocess.run(["sh", "-c", "php -m"], capture_output=True, text=True).stdout:
        pytest.skip("PHP with its extension redis is not installed")
    settings = [word for line in shipped.move(block).splitlines() for word in ("-d", line.replace(" = ", "="))]
    with running(shipped):
        for visit in "12":
            done = subprocess.run(["php", *settings, "-r", PHP], capture_output=True, text=True)
            assert (done.stdout, done.stderr) == (visit, "")


def test_all_kinds_of_examples_are_there():
    kinds = [kind(block) for _, _, block in examples()]
    assert {"scripts", "import redis", "CACHES", "session"} < set(kinds)
    assert kinds.count("config") >= 3 and kinds.count("commands") >= 5
