"""The manual against the program: every key with its default, every option, every service."""

import json
import re
import subprocess
from pathlib import Path

import pytest

import harness
from test_echoctl import find_echoctl

ECHOD = harness.find_echod()
KEYS_MANUAL = (harness.SOURCE_TREE / "conf/echod.conf.5.in").read_text()
CLIENT_MANUAL = (harness.SOURCE_TREE / "src/echoctl/echoctl.1.in").read_text()
DAEMON_MANUAL = (harness.SOURCE_TREE / "src/echod.8.in").read_text()
SERVICES = re.findall(
    r"SERVICE\((\w+)\)", (harness.SOURCE_TREE / "src/services/services.def").read_text()
)
GROUPS = {
    "log": ["level", "target"],
    "limits": ["max_connections", "max_per_source", "shutdown_timeout"],
    "tls": ["certificate", "key", "client_ca", "crl", "min_version"],
}


def explained(topic):
    """The rows of a service or a key: {key: default or None}."""
    output = subprocess.run(
        [ECHOD, "--explain", topic], capture_output=True, text=True, check=True
    ).stdout
    rows = re.findall(r"^([\w.]+)(?: \(\w+\))?: .*; (?:default (.*)|not set by default|required)$",
                      output, re.M)
    assert rows, output
    return {key.split(".")[-1]: default or None for key, default in rows}


def echoctl_help(*command):
    return subprocess.run(
        [find_echoctl(), *command, "-h"], capture_output=True, text=True, check=True
    ).stdout


def documented(key):
    """What the manual gives as the key's defaults, once per place."""
    found = re.findall(rf"^\.It Cm {key}\n(.*)$", KEYS_MANUAL, re.M)
    assert found, f"{key} is not in echod.conf(5)"
    return [re.search(r"(?:default: (.*)|no default)\.$", line)[1] for line in found]


@pytest.mark.parametrize("service", SERVICES)
def test_every_key_of_a_service_stands_in_the_manual(service):
    for key, default in explained(service).items():
        assert default in documented(key), key


@pytest.mark.parametrize("group", GROUPS)
def test_every_key_of_a_group_stands_in_the_manual(group):
    for key in GROUPS[group]:
        assert explained(f"{group}.{key}")[key] in documented(key), key


def test_the_manual_says_which_keys_need_a_restart():
    for key, entry in re.findall(r"^\.It Cm (\w+)\n(.*?)(?=^\.It |^\.El$)", KEYS_MANUAL, re.M | re.S):
        text = subprocess.run([ECHOD, "--explain", key], capture_output=True, text=True).stdout
        assert ("Needs a restart." in entry) == ("needs a restart." in text), key


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_stands_in_the_manual(service):
    assert re.search(rf"^\.(?:Ss|It|Sh).*\b{service}\b", KEYS_MANUAL, re.M)


def test_every_verb_of_kv_stands_in_the_manual_and_no_other():
    rows = (harness.SOURCE_TREE / "src/kv/commands.c").read_text()
    section = KEYS_MANUAL.split("\n.Ss kv\n")[1].split("\n.Ss ")[0]
    verbs = re.findall(r"^\.It ([A-Z]+)\b.* Ta ", section, re.M)
    assert sorted(verbs) == sorted(re.findall(r'\bNAME\("(\w+)"\)', rows)) and len(verbs) > 3


def test_no_key_of_the_manual_is_unknown():
    for key in re.findall(r"^\.It Cm (\w+)\n", KEYS_MANUAL, re.M):
        subprocess.run([ECHOD, "--explain", key], capture_output=True, check=True)


def test_every_option_stands_in_the_manual():
    usage = subprocess.run([ECHOD, "-h"], capture_output=True, text=True, check=True).stdout
    options = set(re.findall(r"(?<![\w-])-(\w)\b", usage))
    assert options >= {"c", "t", "T", "D", "p", "v", "q", "V", "h"}
    for option in options:
        assert re.search(rf"^\.It Fl .*\b{option}\b", DAEMON_MANUAL, re.M), option
    assert re.search(r"^\.It Fl Fl explain", DAEMON_MANUAL, re.M) or "explain" in DAEMON_MANUAL


def test_every_command_of_echoctl_stands_in_its_manual_and_no_other():
    usage = echoctl_help()
    commands = re.findall(r"^  (\w+) +\w", usage, re.M)
    described = re.findall(r"^\.Ss (\w+)$", CLIENT_MANUAL, re.M)
    assert sorted(commands) == sorted(described) and len(commands) > 10
    synopsis = CLIENT_MANUAL.split(".Sh SYNOPSIS")[1].split(".Sh DESCRIPTION")[0]
    for command in commands:
        assert re.search(rf"^\.Cm .*\b{command}\b", synopsis, re.M), command


def test_every_option_of_echoctl_stands_in_its_manual():
    commands = re.findall(r"^  (\w+) +\w", echoctl_help(), re.M)
    for command in commands:
        usage = echoctl_help(command).splitlines()[0]
        section = CLIENT_MANUAL.split(f"\n.Ss {command}\n")[1].split("\n.Ss ")[0]
        for option in re.findall(r"(?<![\w-])-(-?[a-zA-Z][\w-]*)", usage):
            name = option.replace("-", r"\\-", 1) if option.startswith("-") else option
            where = CLIENT_MANUAL if option == "j" else section
            assert re.search(rf"^\.It Fl .*{name}\b", where, re.M), (command, option)


def test_the_synopsis_has_the_arguments_of_every_row():
    synopsis = CLIENT_MANUAL.split(".Sh SYNOPSIS")[1].split(".Sh DESCRIPTION")[0]
    for command in re.findall(r"^  (\w+) +\w", echoctl_help(), re.M):
        usage = echoctl_help(command).splitlines()[0].split("[-j]")[1]
        usage = re.sub(r"\[-[^]]*\]*", "", usage)  # its options
        choice = re.search(r"\[.*\|.*\]", usage)
        words = ["?"] if choice else [word.lower().rstrip(".]").lstrip("[") for word in usage.split()]
        block = next(block for block in synopsis.split(".Nm\n")
                     if re.search(rf"^\.Cm .*\b{command}\b", block, re.M))
        lines = [line for line in block.splitlines() if not line.startswith(".Op Fl")]
        named = [word for line in lines if " Ar " in line or line.startswith(".Ar ")
                 for word in line.split("Ar ")[1].split() if word != "..."]
        assert len(named) == len(words) and (choice or named == words), command


def test_every_command_of_the_control_service_is_one_of_echoctl(workdir, fleet):
    server = fleet.start({"control": {"listen": "unix://$DIR/control"}})
    with server.connect("control") as client:
        answer = json.loads(client.ask(b"-j help"))
    names = {command["name"] for command in answer["commands"]} - {"help"}
    assert names < set(re.findall(r"^  (\w+) +\w", echoctl_help(), re.M))


@pytest.mark.parametrize("status", [0, 1, 2, 3, 4])
def test_every_exit_status_of_echoctl_stands_in_its_manual(status):
    assert re.search(rf"^\.It {status}$", CLIENT_MANUAL, re.M)


def test_the_last_lines_of_the_log_stand_in_the_manual():
    server = (harness.SOURCE_TREE / "src/server.c").read_text()
    for line in ("echod: stopped", "echod: stopped, but changes of %s are lost"):
        assert f'"{line}"' in server
        assert f".Ql {line.replace('%s', 'kv')} ,\n" in DAEMON_MANUAL


@pytest.mark.parametrize("status", [0, 1, 2, 69, 77, 78])
def test_every_exit_status_stands_in_the_manual(status):
    assert re.search(rf"^\.It (?:Li )?{status}\b", DAEMON_MANUAL, re.M)


@pytest.mark.parametrize("manual", ["src/echod.8.in", "src/echoctl/echoctl.1.in", "conf/echod.conf.5.in"])
@pytest.mark.skipif(not harness.shutil.which("man"), reason="man is not installed")
def test_manual_renders_without_a_warning(manual):
    result = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z",
         str(harness.SOURCE_TREE / manual)],
        capture_output=True, text=True, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
    )
    assert result.returncode == 0 and result.stderr == ""


@pytest.mark.parametrize("name", ["src/echod.8", "src/echoctl/echoctl.1", "conf/echod.conf.5",
                                  "conf/systemd/echod.service"])
def test_generated_file_has_every_value(name):
    path = Path(ECHOD).parent.parent / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    assert not re.search(r"@\w+@", path.read_text())
