"""The examples of the manuals: configurations are taken, commands work and print what they show."""

import contextlib
import re
import shutil
import socket
import subprocess

import pytest

import harness
import resp
from harness import DEADLINE, run_echod, wait_until
from test_echoctl import find_echoctl

MANUALS = ["src/echod.8.in", "src/echoctl/echoctl.1.in", "conf/echod.conf.5.in"]
# What belongs to a machine that the package is installed on, or is nothing to be run.
NOT_HERE = re.compile(r"^(\d{4}-|systemctl|journalctl|apt|install|\[|#|Sat |\{|mdb_)")


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
    if re.match(r"\w+ = \{", block):
        return "config"
    if "redis.call" in block:
        return "scripts"
    return "other" if NOT_HERE.match(block) else "commands"


def parameters(wanted):
    return [pytest.param(block, id=f"{manual.split('/')[-1][:-3]}-{number}")
            for manual, number, block in examples() if kind(block) == wanted]


@pytest.mark.parametrize("block", parameters("config"))
def test_configuration_is_taken(write, block):
    base = 'services = { echo = { listen = "tcp://127.0.0.1:0"; }; };\n'
    config = write("test.conf", base if "services" not in block else block)
    if "services" not in block:
        write("test.d/drop-in.conf", block)
    result = run_echod("-c", config, "-t")
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
        text = self.move((harness.SOURCE_TREE / "conf/echod.conf").read_text())
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


@pytest.mark.skipif(not shutil.which("nc"), reason="nc is not installed")
@pytest.mark.parametrize("block", parameters("commands"))
def test_commands_work(shipped, block):
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


def test_all_kinds_of_examples_are_there():
    kinds = [kind(block) for _, _, block in examples()]
    assert kinds.count("config") >= 3 and kinds.count("commands") >= 5
