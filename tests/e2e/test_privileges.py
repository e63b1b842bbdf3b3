"""Started as root, echod binds, becomes its user for good, and refuses to run if it cannot."""

import os
import pwd
import re
import shutil
import signal
import socket
import struct
import subprocess
from pathlib import Path

import pytest

import harness
from harness import run_echod
from transports import needs_open_tree, needs_root

pytestmark = needs_root
USER = pwd.getpwnam("nobody")
GROUPS = set(os.getgrouplist(USER.pw_name, USER.pw_gid))
setpriv = shutil.which("setpriv")
needs_setpriv = pytest.mark.skipif(setpriv is None, reason="setpriv is not installed")


@pytest.fixture
def home(workdir):
    """What the user may read is the test's directory; what it may write is in here."""
    workdir.chmod(0o755)
    home = workdir / "home"
    home.mkdir()
    os.chown(home, USER.pw_uid, USER.pw_gid)
    return home


def services(home, **kv):
    return {
        "echo": {"listen": ["tcp://127.0.0.1:0", "udp://127.0.0.1:0", "unix://$DIR/echo"]},
        "kv": {"listen": "tcp://127.0.0.1:0", "storage": str(home / "store"), **kv},
    }


def status_of(pid):
    """What /proc says of each thread."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        yield dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines()
                   if ":\t" in line)


def test_every_thread_is_the_user_for_good(echod, home):
    server = echod(services(home), user=USER.pw_name)
    threads = list(status_of(server.pid))
    assert len(threads) > 1  # one of them writes the store
    for status in threads:
        assert set(map(int, status["Uid"].split())) == {USER.pw_uid}
        assert set(map(int, status["Gid"].split())) == {USER.pw_gid}
        assert set(map(int, status["Groups"].split())) == GROUPS
        assert status["NoNewPrivs"].strip() == "1"
        for kind in ("CapEff", "CapPrm", "CapAmb"):
            assert int(status[kind], 16) == 0, kind
    with server.connect("echo", "tcp") as client:
        assert client.exchange(b"hello", half_close=True) == b"hello"


def free_port_of_root():
    """Below ip_unprivileged_port_start; with that at 0 every port is for everybody."""
    start = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    for port in range(min(start, 1024) - 1, 0, -1):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    return pytest.skip("no port is for root alone, or none is free")


def test_binds_a_port_of_root_first(echod, home):
    server = echod({"echo": {"listen": f"tcp://127.0.0.1:{free_port_of_root()}"}},
                   user=USER.pw_name)
    with server.connect("echo") as client:
        assert client.exchange(b"hello", half_close=True) == b"hello"


def test_what_a_service_makes_belongs_to_the_user(echod, home):
    server = echod(services(home), user=USER.pw_name)
    with server.kv() as client:
        assert client.ask(b"SET a 1") == b"OK"
    made = list((home / "store").iterdir())
    assert {path.name for path in made} == {
        "echod.lock", "snapshot.db", "snapshot.db-journal", "wal.00000001"}  # fmt: skip
    for path in [home / "store", *made]:
        assert (path.stat().st_uid, path.stat().st_gid) == (USER.pw_uid, USER.pw_gid), path
        assert path.stat().st_mode & 0o077 == 0, path


def test_it_says_that_it_stays_root_and_so_do_its_programs(fleet, echod, home, workdir):
    exec_ = {"type": "exec", "listen": "tcp://127.0.0.1:0", "command": "true"}
    server = echod({"run": exec_})
    server.log.wait("started as root and stays root")
    server.log.wait(r"warning echod: .*\.conf:1: services\.run\.command: it runs as root for every client")
    check = run_echod("-c", server.config, "-t")
    assert (check.returncode, check.stdout) == (0, f"echod: {server.config}: OK\n")
    assert "services.run.command: it runs as root for every client" in check.stderr
    mark = server.log.mark()
    assert server.reload({"run": exec_, "more": exec_})
    server.log.wait("warning reload: .*services.more.command: it runs as root", mark)
    for user in ("nobody", "root"):
        server.configure({"run": exec_}, user=user)
        assert ("root" in run_echod("-c", server.config, "-t").stderr) == (user == "root")
    server = echod({"run": exec_}, user="nobody")
    assert not server.log.matches("root")


def in_memory(pid, text):
    """Whether the process has the text in its memory, as far as it lets itself be read."""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as memory:
        for low, high in re.findall(r"(?m)^([0-9a-f]+)-([0-9a-f]+) rw", maps.read()):
            memory.seek(int(low, 16))
            try:
                if text in memory.read(int(high, 16) - int(low, 16)):
                    return True
            except (OSError, OverflowError):
                pass
    return False


@needs_setpriv
@pytest.mark.parametrize("sections, wrapper", [
    ({"user": USER.pw_name}, []),
    ({}, [setpriv, "--reuid", str(USER.pw_uid), "--regid", str(USER.pw_gid), "--clear-groups"]),
], ids=["by itself", "from its start"])  # fmt: skip
def test_programs_of_its_user_cannot_read_its_memory(echod, home, sections, wrapper):
    look = "head -c 1 /proc/$PPID/maps /proc/$PPID/environ /proc/$PPID/mem; ls /proc/$PPID/fd"
    server = echod({"kv": services(home)["kv"], "exec": {"listen": "tcp://127.0.0.1:0", "command": [
        "sh", "-c", f"({look}) 2>&1 | grep -c denied; head -c 4 /proc/self/maps /dev/null"]}},
        wrapper=wrapper, **sections)
    if server.has_sanitizer():
        pytest.skip("LeakSanitizer has to look into it")
    with server.kv() as client:
        assert client.ask(b"SET a stored-by-a-client") == b"OK"
    assert in_memory(server.pid, b"stored-by-a-client"), "for root"
    with server.connect("exec") as client:
        answer = client.rest().decode()
    assert answer.startswith("4\n"), answer


def test_storage_that_only_root_could_open_is_refused(fleet, home):
    server = fleet.launch(services(home, storage="/root/echod-test-store"), user=USER.pw_name)
    server.wait_stopped_with(1, "Permission denied")
    assert not Path("/root/echod-test-store").exists()


@pytest.mark.parametrize("made", ["a link", "a directory", "a directory of root"])
def test_root_opens_no_storage_where_others_can_put_links(fleet, home, workdir, made):
    """Unless it is to become that user, it would write through them."""
    public = workdir / "public"
    public.mkdir()
    public.chmod(0o1777)
    (workdir / "elsewhere").mkdir()
    storage = public / "store"
    if made == "a link":
        storage.symlink_to(workdir / "elsewhere")
        os.chown(storage, USER.pw_uid, USER.pw_gid, follow_symlinks=False)
    elif made == "a directory":
        storage.mkdir()
        os.chown(storage, USER.pw_uid, USER.pw_gid)
    else:
        storage.mkdir()
        storage.chmod(0o777)
    server = fleet.launch(services(home, storage=str(storage)))
    server.wait_stopped_with(1, f"cannot use storage {storage}: ")
    assert os.listdir(workdir / "elsewhere") == []
    storage.unlink() if made == "a link" else storage.rmdir()
    fleet.start(services(home, storage=str(storage)))


def test_a_reload_runs_as_the_user(echod, home):
    server = echod(services(home), user=USER.pw_name)
    fresh = {**services(home), "more": {"type": "kv", "listen": "tcp://127.0.0.1:0",
                                        "storage": str(home / "more")}}
    assert server.reload(fresh, user=USER.pw_name)
    assert (home / "more").stat().st_uid == USER.pw_uid


def test_unknown_user(fleet, home):
    server = fleet.launch(services(home), user="echod-nobody-at-all")
    server.wait_stopped_with(78, ":1: user: there is no user echod-nobody-at-all")


@needs_setpriv
@pytest.mark.parametrize("lost", ["setuid", "setgid"])
def test_refuses_to_run_when_it_cannot_become_the_user(fleet, home, lost):
    """Root without the capability to change its ids."""
    server = fleet.launch({"echo": {"listen": "unix://$DIR/echo"}}, user=USER.pw_name,
                          wrapper=[setpriv, "--bounding-set", f"-{lost}", "--inh-caps", f"-{lost}"])
    server.wait_stopped_with(77, "cannot become nobody")
    assert not re.search("ready", str(server.log))
    assert not (home.parent / "echo").exists()


@needs_setpriv
def test_who_is_not_root_stays_who_it_is(echod, home):
    kv = {"kv": services(home)["kv"]}
    server = echod(kv, user="root", wrapper=[
        setpriv, "--reuid", str(USER.pw_uid), "--regid", str(USER.pw_gid), "--clear-groups"])
    for status in status_of(server.pid):
        assert set(map(int, status["Uid"].split())) == {USER.pw_uid}
        assert status["NoNewPrivs"].strip() == "1"


@needs_setpriv
def test_a_port_that_needs_a_capability_says_so(fleet, home):
    unprivileged = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()
    if int(unprivileged) <= 7:
        pytest.skip("everybody may have every port here")
    server = fleet.launch({"echo": {"listen": "tcp://127.0.0.1:7"}}, wrapper=[
        setpriv, "--reuid", str(USER.pw_uid), "--regid", str(USER.pw_gid), "--clear-groups"])
    server.wait_stopped_with(77, "cannot bind tcp://127.0.0.1:7: Permission denied, as for any port "
                                 "below 1024 without CAP_NET_BIND_SERVICE")


@needs_open_tree
def test_check_needs_no_privileges(home, workdir):
    config = workdir / "check.conf"
    config.write_text(harness.to_config({"kv": {"listen": "tcp://127.0.0.1:1", "storage":
                                                str(home / "none")}}, user=USER.pw_name))
    result = run_echod("-c", config, "-t", user=USER.pw_uid, group=USER.pw_gid, extra_groups=[])
    assert (result.returncode, result.stderr) == (0, "")
    assert not (home / "none").exists()


# --- the log's file ---


ECHO = {"echo": {"listen": "tcp://127.0.0.1:0"}}
CONTROL = {"control": {"listen": "unix://$DIR/control"}}


def rotate(server, path):
    """As logrotate without "create"; returns what the daemon says of it, wherever that is."""
    old = path.rename(path.with_suffix(".1"))
    mark = server.log.mark()
    server.send_signal(signal.SIGUSR1)

    def answer():
        lines = [line for file in (old, path) if file.exists() for line in file.read_text().splitlines()]
        return [line for line in lines[mark:] if re.search("reopen", line)]

    return harness.wait_until(answer, "an answer")[0]


@pytest.mark.parametrize("exists", [False, True])
def test_a_log_in_a_directory_of_root(echod, workdir, exists):
    """The user cannot make files there; a reload that does not change the target needs none."""
    workdir.chmod(0o755)
    path = workdir / "log"
    if exists:
        path.touch(mode=0o600)
    server = echod({**ECHO, **CONTROL}, user=USER.pw_name, log={"target": str(path)})
    assert path.stat().st_uid == (0 if exists else USER.pw_uid)
    assert server.reload()
    control = server.address("control")
    answer = rotate(server, path)
    with harness.connect(control) as client:
        client.send(b"status\n")
        assert b"the log file could not be reopened" in client.until(b"OK\n")
    assert f" error log: cannot reopen {path}, lines go on to the file that was open: " in answer
    assert 'have logrotate make it, with "create 0640 nobody"' in answer
    assert not path.exists()
    path.touch()
    os.chown(path, USER.pw_uid, USER.pw_gid)
    server.send_signal(signal.SIGHUP)
    harness.wait_until(lambda: "reload: done" in path.read_text(), "a line in the new file")
    with harness.connect(control) as client:
        client.send(b"status\n")
        assert b"could not be reopened" not in client.until(b"OK\n")


def test_a_reload_cannot_have_root_open_a_log(echod, workdir):
    workdir.chmod(0o755)
    (workdir / "logs").mkdir()
    server = echod(ECHO, user=USER.pw_name)
    assert not server.reload(ECHO, user=USER.pw_name, log={"target": str(workdir / "logs/log")})
    assert server.log.matches(rf"log.target: cannot open {workdir}/logs/log: Permission denied \(echod is "
                              r"no longer root, its user must be able to open the file\)$")
    os.chown(workdir / "logs", USER.pw_uid, USER.pw_gid)
    server.send_signal(signal.SIGHUP)
    server.log.wait(rf"log: lines go to {workdir}/logs/log from here on$")


@pytest.mark.parametrize("parent_mode", [0o755, 0o700])
def test_a_log_in_a_directory_of_the_user(echod, workdir, parent_mode):
    """Nobody but root may go there by its path in one case; the daemon has the directory open."""
    workdir.chmod(parent_mode)
    (workdir / "logs").mkdir()
    os.chown(workdir / "logs", USER.pw_uid, USER.pw_gid)
    path = workdir / "logs/log"
    server = echod({"echo": {"listen": "unix://@$ID"}}, user=USER.pw_name, log={"target": str(path)})
    assert " info log: reopened" in rotate(server, path)
    assert path.stat().st_uid == USER.pw_uid


def link_to(victim, path):
    path.symlink_to(victim)


def hard_link_to(victim, path):
    path.hardlink_to(victim)


def directory_link_to(victim, path):
    path.parent.rmdir()
    path.parent.symlink_to(victim.parent)


def dangling_link_to(victim, path):
    victim.unlink()
    path.symlink_to(victim)


def of_somebody_else(victim, path):
    path.touch(mode=0o600)
    os.chown(path, 1, 1)


@pytest.mark.parametrize("user", [USER.pw_name, None])
@pytest.mark.parametrize("owner, mode", [(USER.pw_uid, 0o755), (0, 0o1777), (0, 0o777)])
@pytest.mark.parametrize("trap", [link_to, hard_link_to, directory_link_to, dangling_link_to,
                                  of_somebody_else])
def test_root_is_not_led_astray_by_what_others_put_where_the_log_is(
        fleet, workdir, user, owner, mode, trap):
    workdir.chmod(0o755)
    victim, path = workdir / "private/log", workdir / "public/logs/log"
    victim.parent.mkdir(mode=0o700)
    victim.write_text("root's own")
    path.parent.mkdir(parents=True)
    trap(victim, path)
    for directory in [path.parent.parent, path.parent]:
        if not directory.is_symlink():
            os.chown(directory, owner, owner)
            directory.chmod(mode)
    if path.parent.is_symlink():
        os.chown(path.parent, USER.pw_uid, USER.pw_gid, follow_symlinks=False)
    if path.is_symlink():
        os.chown(path, USER.pw_uid, USER.pw_gid, follow_symlinks=False)
    server = fleet.launch(ECHO, log={"target": str(path)}, **({"user": user} if user else {}))
    server.wait_stopped_with((1, 77, 78), f"log.target: cannot open {path}: ")
    assert victim.exists() == (trap != dangling_link_to)
    assert trap == dangling_link_to or victim.read_text() == "root's own"
    assert not path.exists() or path.read_text() in ("", "root's own")


def test_roots_own_links_are_followed(echod, workdir):
    workdir.chmod(0o755)
    (workdir / "real").mkdir()
    (workdir / "logs").symlink_to("real")
    (workdir / "real/log").symlink_to(workdir / "real/other")
    server = echod(ECHO, user=USER.pw_name, log={"target": str(workdir / "logs/log")})
    assert "echod: ready" in (workdir / "real/other").read_text()
    assert server.reload()


logrotate = shutil.which("logrotate", path="/usr/sbin:/sbin:/usr/bin")


@pytest.mark.skipif(logrotate is None, reason="logrotate is not installed")
@pytest.mark.parametrize("how", ["example", "create 0640 nobody", "copytruncate"])
def test_logrotate(echod, workdir, how):
    """The shipped example in a directory of the user's, and what the manual says of one of root's."""
    workdir.chmod(0o755)
    logs = workdir / "logs"
    logs.mkdir()
    example = (harness.SOURCE_TREE / "conf/examples/logrotate/echod").read_text()
    text = example.replace("/var/log/echod", str(logs)).replace("echod echod", "nobody nogroup")
    if how == "example":
        os.chown(logs, USER.pw_uid, USER.pw_gid)
    else:
        text = re.sub(r"^\tsu .*\n", "", text, flags=re.M).replace("create 0640", how)
    server = echod(ECHO, user=USER.pw_name, log={"target": str(logs / "echod.log")})
    text = re.sub("systemctl .*", f"kill -USR1 {server.pid}", text)
    (workdir / "logrotate.conf").write_text(text)
    subprocess.run([logrotate, "-f", "-s", workdir / "logrotate.state", workdir / "logrotate.conf"],
                   check=True, capture_output=True)
    path = logs / "echod.log"
    harness.wait_until(lambda: "log: reopened" in path.read_text(), "the new file is written to")
    assert "echod: ready" in (logs / "echod.log.1").read_text()
    assert "echod: ready" not in path.read_text()


# --- whose configuration root reads ---


def spoil(path, owner=0, group=0, mode=None):
    os.chown(path, owner, group)
    path.chmod(mode if mode is not None else path.stat().st_mode)


def config_below(workdir):
    """A config with a drop-in, and a file that is included, in a directory of their own."""
    home = workdir / "etc"
    (home / "echod.d").mkdir(parents=True)
    (home / "echod.conf").write_text(harness.to_config(ECHO) + '@include "more"\n')
    (home / "more").write_text("")
    (home / "echod.d/x.conf").write_text("")
    return home / "echod.conf"


@pytest.mark.parametrize("rights", [
    dict(mode=0o666), dict(mode=0o664, group=1), dict(owner=USER.pw_uid), dict(mode=0o777),
    dict(owner=USER.pw_uid, mode=0o600)], ids=str)
@pytest.mark.parametrize("name", ["etc/echod.conf", "etc/echod.d/x.conf", "etc/more", "etc/echod.d",
                                  "etc", "."])
def test_root_refuses_a_config_that_others_can_write(workdir, name, rights):
    config = config_below(workdir)
    assert run_echod("-t", "-c", config).returncode == 0
    path = workdir / name
    if path.is_dir() and rights.get("mode") == 0o666:
        rights = {"mode": 0o777}
    spoil(path, **rights)
    for task in (["-t"], ["-T"], []):
        done = run_echod(*task, "-c", config)
        assert done.returncode == 78, done.stderr
        assert f"users other than root can write to {path if name in ('etc', '.') else 'it'} (owner " in \
            done.stderr.replace("/. ", " ")
        assert "chmod go-w" in done.stderr
    os.chown(path, 0, 0)
    path.chmod(0o755)
    assert run_echod("-t", "-c", config).returncode == 0


@pytest.mark.parametrize("name", ["etc", "etc/echod.conf"])
def test_root_refuses_a_config_whose_acl_lets_others_write(workdir, name):
    """All that a mode shows is the group's bits, and they say root."""
    everybody = 0xFFFFFFFF
    acl = [(0x01, 6, everybody), (0x02, 6, USER.pw_uid), (0x04, 4, everybody), (0x10, 6, everybody),
           (0x20, 4, everybody)]  # the owner, a user, the group, the mask, others
    config = config_below(workdir)
    path = workdir / name
    try:
        os.setxattr(path, "system.posix_acl_access",
                    struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in acl))
    except OSError as error:
        pytest.skip(f"no ACLs here: {error}")
    done = run_echod("-t", "-c", config)
    assert (done.returncode, "users other than root can write to" in done.stderr) == (78, True), done.stderr
    path.chmod(0o755)
    assert run_echod("-t", "-c", config).returncode == 0


def test_root_refuses_a_link_that_others_can_have_made(workdir):
    config = workdir / "echod.conf"
    config.write_text(harness.to_config(ECHO))
    public = workdir / "public"
    public.mkdir()
    (public / "echod.conf").symlink_to(config)
    os.chown(public / "echod.conf", USER.pw_uid, USER.pw_gid, follow_symlinks=False)
    public.chmod(0o1777)
    done = run_echod("-t", "-c", public / "echod.conf")
    assert (done.returncode, "symbolic link" in done.stderr) == (78, True)
    (public / "echod.conf").unlink()
    (public / "echod.conf").symlink_to(config)
    assert run_echod("-t", "-c", public / "echod.conf").returncode == 0


@pytest.mark.parametrize("user", [USER.pw_name, None])
def test_a_reload_refuses_what_others_can_write(echod, workdir, user):
    workdir.chmod(0o755)
    server = echod(ECHO, **({"user": user} if user else {}))
    server.config.chmod(0o666)
    assert not server.reload()
    assert server.log.matches("users other than root can write to it .*mode 0666")
    server.config.chmod(0o644)
    assert server.reload()


@needs_setpriv
@needs_open_tree
def test_who_is_not_root_may_read_whatever_it_likes(workdir):
    workdir.chmod(0o755)
    config = config_below(workdir)
    config.chmod(0o666)
    done = run_echod("-t", "-c", config, user=USER.pw_uid, group=USER.pw_gid, extra_groups=[])
    assert (done.returncode, done.stderr) == (0, "")


@needs_setpriv
@needs_open_tree
def test_root_of_a_user_namespace_has_what_is_the_machines(workdir):
    """The directories of the machine's root show as nobody's there."""
    as_user = [setpriv, "--reuid", str(USER.pw_uid), "--regid", str(USER.pw_gid), "--clear-groups",
               "unshare", "--user", "--map-root-user"]
    if subprocess.run([*as_user, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no user namespaces here")
    workdir.chmod(0o755)
    config = config_below(workdir)

    def check():
        return subprocess.run([*as_user, harness.find_echod(), "-t", "-c", config], check=False,
                              text=True, capture_output=True, timeout=harness.DEADLINE)

    assert (check().returncode, check().stderr) == (0, "")
    config.chmod(0o666)
    assert check().returncode == 78


def test_a_config_from_a_pipe_is_whose_it_is(workdir):
    done = subprocess.run([harness.find_echod(), "-t", "-c", "/dev/stdin"], check=False, text=True,
                          input=harness.to_config(ECHO), capture_output=True, timeout=harness.DEADLINE)
    assert (done.returncode, done.stderr) == (0, "")
