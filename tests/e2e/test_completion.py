"""Completion for bash: options, keys, and what only the running daemon knows."""

import os
import re
import subprocess

import pytest

import harness
from test_echoctl import find_echoctl

LIBRARY = "/usr/share/bash-completion/bash_completion"
COMPLETIONS = harness.SOURCE_TREE / "conf/completions"
PROGRAMS = {"echod": harness.find_echod(), "echoctl": find_echoctl()}

pytestmark = pytest.mark.skipif(not os.path.exists(LIBRARY), reason="no bash-completion")

COMPLETE = f"""
source {LIBRARY}
source {COMPLETIONS}/$1
COMP_LINE=$2 COMP_POINT=${{#2}} COMP_TYPE=9
read -ra COMP_WORDS <<<"${{2//:/ : }}"
[[ $2 == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_$1
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def complete(program, line):
    """What bash offers for the last word of the line."""
    done = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE, "bash", program, f"{PROGRAMS[program]} {line}"],
        capture_output=True, text=True, timeout=harness.DEADLINE, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.split()


def help_of(program, *args):
    return subprocess.run(
        [PROGRAMS[program], *args, "-h"], capture_output=True, text=True, check=True
    ).stdout


def options_of(text):
    return set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", text))


def test_every_command_of_echoctl_is_offered():
    commands = re.findall(r"^  (\w+) +\w", help_of("echoctl"), re.M)
    assert len(commands) > 10
    assert sorted(complete("echoctl", "")) == sorted(commands)
    assert complete("echoctl", "cl") == ["clients"]
    assert sorted(complete("echoctl", "-")) == sorted(
        set(re.findall(r"^  (-\w) ", help_of("echoctl"), re.M)))


@pytest.mark.parametrize("command", re.findall(r"^(?:CONTROL|LOCAL)\((\w+)", (
    harness.SOURCE_TREE / "src/control/commands.def").read_text(), re.M))
def test_every_option_of_a_command_is_offered(command):
    usage = help_of("echoctl", command).splitlines()[0]
    assert set(complete("echoctl", f"{command} -")) == options_of(usage) | {"-h"}


def test_every_option_of_echod_is_offered():
    usage = help_of("echod").split("\n\n")[0]
    letters = set(re.findall(r"-(\w)\b", usage))
    offered = complete("echod", "-")
    assert {f"-{letter}" for letter in letters if letter != "e"} <= set(offered)
    assert set(options_of(usage)) <= set(offered)


def test_keys_and_services_are_offered_to_be_explained():
    offered = complete("echod", "--explain ")
    assert {"max_key", "level", "kv", "log", "max_per_source", "listen"} <= set(offered)
    for key in offered:
        assert harness.run_echod("--explain", key).returncode == 0
    assert complete("echod", "--explain max_k") == ["max_key"]


def test_files_are_offered(workdir):
    (workdir / "some.conf").write_text("")
    assert complete("echod", f"-c {workdir}/so") == [f"{workdir}/some.conf"]


def test_the_daemon_is_asked(echod, workdir):
    server = echod({"kv": {"listen": "tcp://127.0.0.1:0"}, "shout": {
        "type": "upper", "listen": "tcp://127.0.0.1:0"},
        "control": {"listen": "unix://$DIR/control"}})  # fmt: skip
    socket = f"-s {workdir}/control"
    with server.kv():
        assert complete("echoctl", f"{socket} clients --service ") == ["kv", "shout", "control"]
        assert complete("echoctl", f"{socket} clients --service s") == ["shout"]
        assert "1" in complete("echoctl", f"{socket} kill ")
        assert "127.0.0.1" in complete("echoctl", f"{socket} why 12")
        assert complete("echoctl", f"{socket} why 127.0.0.1 k") == ["kv"]
        assert complete("echoctl", f"{socket} log de") == ["debug"]
        port = server.address("kv").port
        assert f"//127.0.0.1:{port}" in complete("echoctl", f"{socket} ping tcp:")


def test_without_a_daemon_nothing_is_said(workdir):
    assert complete("echoctl", f"-s {workdir}/control kill ") == []
    assert complete("echoctl", f"-s {workdir}/control send u") == [
        "udp://", "unix:///", "unixgram:///"]


def test_addresses_of_kv_and_files_are_offered(echod, workdir):
    server = echod({
        "kv": {"listen": ["tcp://127.0.0.1:0", "redis://127.0.0.1:0"]},
        "echo": {"listen": "udp://127.0.0.1:0"},
        "control": {"listen": "unix://$DIR/control"}})  # fmt: skip
    (workdir / "kv.dump").write_text("")
    offered = set(complete("echoctl", f"-s {workdir}/control get -a "))
    assert {str(address) for address in server.addresses("kv")} < offered
    assert {"redis://", "rediss://", "redis+unix:///", "tls://"} < offered
    assert not any(word.startswith("udp:") for word in offered)
    assert complete("echoctl", f"load {workdir}/k") == [f"{workdir}/kv.dump"]
    assert complete("echoctl", f"get --ca {workdir}/k") == [f"{workdir}/kv.dump"]
    assert complete("echoctl", "set --t") == ["--ttl"]
    assert complete("echoctl", f"set --password-file {workdir}/k") == [f"{workdir}/kv.dump"]


@pytest.mark.parametrize("command", ["passwd", "token"])
def test_users_are_offered(workdir, command):
    users = workdir / "users"
    users.write_text("# bob:\nalice:x:r:*\n\nana:uid:0:r:*\n")
    assert complete("echoctl", f"{command} {workdir}/u") == [str(users)]
    assert complete("echoctl", f"{command} {users} ") == ["alice", "ana"]
    assert complete("echoctl", f"{command} -j {users} al") == ["alice"]
    assert complete("echoctl", f"{command} {users} alice rw") == ["rw", "rwa"]
    assert complete("echoctl", f"{command} {users} alice rw ") == []
