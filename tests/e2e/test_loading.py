"""Stores are loaded beside the loop: at the start and in a reload, others are served meanwhile."""

import json
import os
import pwd
import re
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

import harness
from harness import to_config, wait_until
from test_control import LOOK, NO, run
from transports import needs_root

USER = pwd.getpwnam("nobody")
UNIX = "unix://$DIR/echo"
LOADING = b"ERROR: loading"


def kv(name="kv", **settings):
    return {name: {"type": "kv", "listen": f"unix://$DIR/{name}", "storage": f"$DIR/disk/{name}",
                   **settings}}


def others():
    return {"echo": {"listen": UNIX}, "control": {"listen": "unix://$DIR/control"}}


@pytest.fixture
def fill(fleet):
    """Makes a store with some keys."""

    def fill(name="kv", count=300):
        server = fleet.start(kv(name))
        with server.kv(name) as client:
            for i in range(count):
                assert client.ask(b"SET %d %d" % (i, i)) == b"OK"
        server.stop()

    return fill


@pytest.fixture
def slow(fleet, faults):
    """Makes a store that takes long to be loaded: it has thousands of pages, and each read is slow; that rule."""
    server = fleet.start(kv())
    with server.kv() as client:
        requests = b"".join(b"SET %d %s\n" % (i, 1000 * b"a") for i in range(20000))
        assert client.exchange(requests, 20000 * 3) == 20000 * b"OK\n"
    snapshot, journal = (faults.root / "kv" / f"snapshot.db{end}" for end in ("", "-journal"))
    # 0.5 s; under AddressSanitizer, which marks each buffer's memory, 4 s of CPU time that other tests want, too.
    wait_until(lambda: snapshot.stat().st_size > 10e6 and journal.stat().st_size == 0,
               "the end of a checkpoint", 120 if server.has_sanitizer() else harness.DEADLINE)  # fmt: skip
    server.stop()
    faults.read.delay_ms = 2
    return faults.read


def reads(faults):
    return faults.snapshot.read, faults.wal.read


@contextmanager
def loading(faults):
    """No store gets on with its loading before the end of the block."""
    with faults.snapshot.read.held(), faults.wal.read.held():
        yield


def wait_loading(faults):
    wait_until(lambda: any(rule.waiting for rule in reads(faults)), "a store is being loaded")


@pytest.fixture
def launch(fleet, faults, fill):
    """Starts a daemon with a filled store that is being loaded."""

    @contextmanager
    def launch(**options):
        fill()
        with loading(faults):
            server = fleet.launch({**kv(), **others()}, env=faults.env, **options)
            wait_loading(faults)
            yield server

    return launch


@pytest.fixture
def start(fleet, faults, fill):
    """Starts a daemon without its filled store, and has a reload add that, which is being loaded."""

    @contextmanager
    def start(more=None, **sections):
        fill()
        server = fleet.start(others(), env=faults.env)
        with loading(faults):
            server.configure({**kv(), **others(), **(more or {})}, **sections)
            server.send_signal(signal.SIGHUP)
            wait_loading(faults)
            yield server

    return start


def is_served(server):
    with server.connect("echo") as client:
        return client.ask(b"hello") == b"hello"


def has_all(server, name="kv", count=300):
    with server.kv(name) as client:
        return all(client.ask(b"GET %d" % i) == b"%d" % i for i in range(count))


# --- the start ---


def test_a_start_serves_others_while_a_store_is_loaded(launch):
    with launch() as server:
        assert is_served(server)
        with server.kv() as client:
            assert [client.ask(line) for line in (b"GET 1", b"SET 1 x", b"DEL 1")] == 3 * [LOADING]
            assert client.ask(b"GET") == b"ERROR: unknown command"
            assert client.ask(b"QUIT") == b"BYE"
        with server.kv() as client:
            client.send(b"SET 1 x\n" * 1000)
            assert client.lines(1000) == 1000 * [LOADING + b"\n"]
        assert not server.log.matches("echod: ready")
    server.wait_ready()
    assert has_all(server)


def test_a_client_that_came_during_the_loading_is_served_afterwards(launch):
    with launch() as server:
        client = server.kv()
        assert client.ask(b"GET 1") == LOADING
    server.wait_ready()
    with client:
        assert client.ask(b"GET 1") == b"1"
        assert client.ask(b"SET 1 2") == b"OK"


def test_status_says_that_a_store_is_being_loaded(launch, workdir):
    with launch() as server:
        text, _ = run(workdir, "status", status=LOOK)
        assert re.search(r"^echod: problem: kv: its store is being loaded, \d+ items? so far; ", text,
                         re.MULTILINE)  # fmt: skip
        server.send_signal(signal.SIGHUP)
        assert is_served(server)
        text, _ = run(workdir, "status", status=LOOK)
        assert "\nechod: a reload is waiting for the end of the start\n" in text
    server.log.wait("reload: done")
    status = json.loads(run(workdir, "-j", "status")[0])
    assert status["problems"] == [] and status["config"]["reload_step"] is None


def test_a_reload_that_is_requested_during_the_loading_follows_it(launch, workdir):
    with launch() as server:
        server.configure({**kv(), **others(), "more": {"type": "echo", "listen": "unix://$DIR/more"}})
        with server.connect("control") as client:
            client.send(b"reload\n")
            server.send_signal(signal.SIGHUP)
            assert is_served(server)
            assert not client.readable() and not server.addresses("more")
        # Who has left no longer waits, but the reload takes place.
    server.log.wait("reload: done")
    assert harness.takes_clients(workdir / "more")
    ready = next(i for i, line in enumerate(server.log.lines) if "echod: ready" in line)
    assert not any("reload: " in line for line in server.log.lines[:ready])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_during_the_loading(launch, fleet, workdir, number):
    with launch() as server:
        idle = server.kv()
        server.send_signal(number)
        server.log.wait("echod: stopping")
        with idle:
            assert idle.rest() == b""
        wait_until(lambda: not harness.takes_clients(workdir / "echo"), "the listeners are closed")
    server.wait_stopped()
    assert server.log.lines[-1].endswith("echod: stopped")
    assert not server.log.matches("echod: ready")
    assert has_all(fleet.start(kv()))


def test_a_stop_does_not_wait_for_a_slow_load(fleet, faults, slow):
    slow.delay_ms = 20  # a minute in all
    server = fleet.launch({**kv(), **others()}, env=faults.env)
    wait_until(lambda: slow.calls > 30, "some pages are loaded")
    server.send_signal(signal.SIGTERM)
    server.wait_stopped(deadline=5)
    assert not server.log.matches("echod: ready")


def test_a_stop_does_not_wait_for_a_reload_with_a_slow_load(fleet, faults, slow):
    slow.delay_ms = 20
    server = fleet.start(others(), env=faults.env)
    server.configure({**kv(), **others()})
    server.send_signal(signal.SIGHUP)
    wait_until(lambda: slow.calls > 30, "some pages are loaded")
    server.send_signal(signal.SIGTERM)
    server.wait_stopped(deadline=5)
    assert not server.log.matches("reload: done")


def test_the_loading_leaves_signals_to_the_loop(launch):
    with launch() as server:
        blocked = wait_until(server.blocked_signals, "a thread loads the store")
        assert all(signals >= harness.SIGNALS_OF_THE_LOOP for signals in blocked)


def test_the_pid_file_gets_its_number_when_the_store_is_loaded(launch, workdir):
    with launch(args=("-v", "-p", str(workdir / "pid"))) as server:
        assert is_served(server)
        assert (workdir / "pid").read_text() == ""
    server.wait_ready()
    assert (workdir / "pid").read_text() == f"{server.pid}\n"


def fill_in(services, workdir):
    return json.loads(json.dumps(services).replace("$DIR", str(workdir)))


def launch_detached(workdir, write, faults, services):
    config = write("test.conf", to_config(fill_in(services, workdir), log={"target": f"{workdir}/log"}))
    return subprocess.Popen(
        [harness.find_echod(), "-c", config, "-D", "-p", workdir / "pid"], text=True,
        env=harness.environment(faults.env), stderr=subprocess.PIPE)  # fmt: skip


def test_the_background_is_reported_when_the_store_is_loaded(workdir, write, faults, fill):
    fill()
    with loading(faults):
        parent = launch_detached(workdir, write, faults, {**kv(), **others()})
        wait_loading(faults)
        with harness.connect(f"unix://{workdir}/echo") as client:
            assert client.ask(b"hello") == b"hello"
        assert parent.poll() is None
    try:
        assert parent.wait(harness.DEADLINE) == 0
    finally:
        pid = int((workdir / "pid").read_text())
        os.kill(pid, signal.SIGTERM)
        harness.wait_exit(pid)
    assert " info echod: ready" in (workdir / "log").read_text()


@needs_root
def test_a_store_is_loaded_as_the_user(workdir, fleet, faults, fill):
    """No thread has the rights of root, or a way back to them."""
    fill()
    workdir.chmod(0o755)
    for path in (faults.root, *faults.root.rglob("*")):
        os.chown(path, USER.pw_uid, USER.pw_gid)
    with loading(faults):
        server = fleet.launch({**kv(), **others()}, user=USER.pw_name,
                              env={**faults.env, "ECHOD_FAULT_DUMPABLE": "yes"})
        wait_loading(faults)
        ids = [re.search(r"^Uid:\s*(.*)$", (task / "status").read_text(), re.MULTILINE)[1].split()
               for task in Path(f"/proc/{server.pid}/task").iterdir()]  # fmt: skip
        assert len(ids) > 1 and all(uids == 4 * [str(USER.pw_uid)] for uids in ids)
    server.wait_ready()
    assert has_all(server)


# --- a start that fails ---


def break_reads(faults, name):
    """Reads of that store's files fail."""
    store = faults.files(f"{name}/*")
    store.read.fail()
    return store


def wait_failed(server, name):
    server.wait_stopped_with(1, f"services.{name}: ")
    assert server.errors.matches(
        rf"error echod: {server.config}:1: services.{name}: .*/disk/{name}\b")
    assert not server.log.matches("echod: ready")


def test_a_store_that_cannot_be_loaded_ends_the_start(fleet, faults, fill, workdir):
    fill()
    store = break_reads(faults, "kv")
    with store.read.held() as barrier:
        server = fleet.launch({**kv(), **others()}, env=faults.env)
        barrier.wait_held()
        clients = server.kv(), server.connect("echo")
        assert clients[0].ask(b"GET 1") == LOADING and clients[1].ask(b"hello") == b"hello"
    wait_failed(server, "kv")
    assert [client.rest() for client in clients] == [b"", b""]
    assert [path for path in workdir.iterdir() if path.is_socket()] == []
    store.clear()
    assert has_all(fleet.start(kv(), env=faults.env))


def test_one_store_that_cannot_be_loaded_does_not_wait_for_another(fleet, faults, fill):
    fill("good")
    fill("bad")
    good, bad = faults.files("good/*"), break_reads(faults, "bad")
    with good.read.held(), bad.read.held():
        server = fleet.launch({**kv("good"), **kv("bad"), **others()}, env=faults.env)
        good.read.wait_held()
        bad.read.wait_held()
        bad.read.hold = 0
        server.log.wait(r"error echod: \S+: services.bad: ")
        server.log.wait("echod: stopping")
    wait_failed(server, "bad")
    assert not server.log.matches("services.good")


def test_the_caller_sees_why_the_background_did_not_start(workdir, write, faults, fill):
    fill()
    break_reads(faults, "kv")
    parent = launch_detached(workdir, write, faults, {**kv(), **others()})
    _, errors = parent.communicate(timeout=harness.DEADLINE)
    assert parent.returncode == 1
    assert re.search(rf"^echod: {workdir}/test.conf:\d+: services.kv: ", errors, re.MULTILINE)
    assert "services.kv: " in (workdir / "log").read_text()
    assert not (workdir / "pid").exists()


# --- a reload ---


def test_a_reload_serves_others_while_a_store_is_loaded(start, workdir):
    udp = f"udp://127.0.0.1:{harness.free_port()}"
    with start({"more": {"type": "echo", "listen": ["unix://$DIR/more", udp]}}) as server:
        mark = server.log.mark()
        assert is_served(server)
        # What is new is bound, and served later.
        waiting = [harness.connect(address) for address in (f"unix://{workdir}/more", udp)]
        waiting.append(harness.connect(f"unix://{workdir}/kv"))
        for client in waiting[:2]:
            client.send(b"hello\n")
        with server.connect("control") as client:
            client.send(b"status\n")
            assert b"\nechod: a reload is loading stores\n" in client.until(b"OK\n")
        assert is_served(server)
        assert not any(client.readable() for client in (waiting[0], waiting[2]))
        assert waiting[1].received() == []
        assert not server.addresses("kv")
    server.log.wait("reload: done", mark)
    assert waiting[0].line() == b"hello\n"
    assert waiting[1].receive() == b"hello\n"
    assert waiting[2].line() == b"READY\n"
    assert waiting[2].ask(b"GET 299") == b"299"
    for client in waiting:
        client.close()
    assert harness.connect(udp).ask(b"again") == b"again"
    assert has_all(server) and is_served(server)


def test_echoctl_waits_for_the_store(fleet, faults, fill, workdir):
    fill()
    server = fleet.start(others(), env=faults.env)
    server.configure({**kv(), **others()})
    with loading(faults), server.connect("control") as client, server.connect("control") as later:
        client.send(b"reload\n")
        wait_loading(faults)
        server.configure({**kv(), **others(), "more": {"type": "echo", "listen": "unix://$DIR/more"}})
        later.send(b"reload --dry-run\n")
        server.send_signal(signal.SIGHUP)
        assert is_served(server)
        assert not client.readable() and not later.readable()
        for rule in reads(faults):
            rule.hold = 0
        assert client.until(b"OK\n").splitlines()[-2].startswith(b"reloaded ")
        assert later.until(b"OK\n").splitlines()[-2].startswith(b"a reload would")
    server.log.wait("reload: done", count=2)
    assert harness.takes_clients(workdir / "more") and has_all(server)


def test_a_store_that_cannot_be_loaded_fails_the_reload(fleet, faults, fill, workdir):
    fill("good")
    fill("bad")
    server = fleet.start({**kv("good"), **others()}, env=faults.env, log={"target": "$DIR/log"})
    bad = break_reads(faults, "bad")
    server.configure({**kv("good", max_key=1), **kv("bad"), "echo": {"listen": "unix://$DIR/more"},
                      "control": others()["control"]}, log={"target": "$DIR/other"})  # fmt: skip
    with server.connect("echo") as client:
        with bad.read.held() as barrier:
            server.send_signal(signal.SIGHUP)
            barrier.wait_held()
            assert harness.takes_clients(workdir / "more")
        server.log.wait(rf"error reload: {server.config}:\d+: services.bad: ")
        server.log.wait("reload: failed, the running configuration stays")
        assert client.ask(b"hello") == b"hello"
    assert has_all(server, "good") and is_served(server)
    for name in "bad", "more", "other":
        assert not (workdir / name).exists()
    _, errors = run(workdir, "reload", status=NO)
    assert "services.bad: " in errors and "the running configuration stays" in errors
    bad.clear()
    server.send_signal(signal.SIGHUP)
    wait_until(lambda: (workdir / "other").exists(), "the reload's log")
    wait_until(lambda: "reload: done" in (workdir / "other").read_text(), "the reload")
    with harness.connect(f"unix://{workdir}/bad") as client:
        assert client.line() == b"READY\n" and client.ask(b"GET 7") == b"7"


def test_a_reload_with_one_store_that_fails_does_not_wait_for_another(fleet, faults, fill, workdir):
    fill("good")
    fill("bad")
    good, bad = faults.files("good/*"), break_reads(faults, "bad")
    server = fleet.start(others(), env=faults.env)
    good.read.delay_ms = 300
    server.configure({**kv("good"), **kv("bad"), **others()})
    server.send_signal(signal.SIGHUP)
    server.log.wait(r"error reload: \S+: services.bad: ", deadline=3)
    server.log.wait("reload: failed")
    assert is_served(server)
    assert not (workdir / "good").exists()
    bad.clear()
    good.read.delay_ms = 0
    assert server.reload()
    assert has_all(server, "good") and has_all(server, "bad")


def test_a_stop_ends_a_reload_that_loads_a_store(fleet, faults, fill, workdir):
    fill()
    server = fleet.start(others(), env=faults.env)
    server.configure({**kv(), **others()})
    with loading(faults), server.connect("control") as client:
        client.send(b"reload\n")
        wait_loading(faults)
        server.send_signal(signal.SIGTERM)
        server.log.wait("echod: stopping")
        for rule in reads(faults):
            rule.hold = 0
        assert client.rest().endswith(b"ERROR: reload failed, the running configuration stays\n")
    server.wait_stopped()
    assert not (workdir / "kv").exists()


def test_a_group_without_a_network_waits_for_a_reload_that_waits(start):
    """It is tried at once otherwise, by an instance that is not there yet."""
    group = {"receiver": {"listen": f"udp://239.255.77.1:{harness.free_port()}", "interface": "none0"}}
    with start(group) as server:
        mark = server.log.mark()
        for _ in range(3):
            assert is_served(server)
    server.log.wait("reload: done", mark)
    server.log.wait("warning receiver: .*tried again every", mark)


def test_a_loaded_store_stays_when_a_reload_changes_nothing_of_it(fleet, faults, fill):
    fill()
    server = fleet.start({**kv(), **others()}, env=faults.env)
    with loading(faults):  # nothing is read again
        assert server.reload({**kv(max_key=100), **others()})
        assert has_all(server)


def test_a_stop_does_not_wait_for_the_check_of_a_large_store_on_a_slow_disk(fleet, faults, slow):
    slow.delay_ms = 0
    server = fleet.start(kv(), env=faults.env)
    with server.kv() as client:
        assert client.ask(b"SET new value") == b"OK"
    slow.delay_ms = 100
    server.stop()
    slow.delay_ms = 0
    with fleet.start(kv(), env=faults.env).kv() as client:
        assert client.ask(b"GET new") == b"value"
