"""Much at once: starts on one path, signals under load, a log that nobody takes away.

--starts=N says how many daemons want the same path (30; a large run takes 1000).
"""

import fcntl
import itertools
import os
import select
import signal
import socket
import subprocess
import threading

import pytest

import harness
from harness import find_echod, wait_until
from test_log import needs_mount_namespaces, with_dev_log
F_SETPIPE_SZ = 1031  # fcntl has it from Python 3.10 on


def launch_all(config, count):
    """All at once, as far as one machine can."""
    return [
        subprocess.Popen([find_echod(), "-c", str(config), "-v"], stdin=subprocess.DEVNULL,
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(count)
    ]


@pytest.mark.parametrize("stale", [False, True], ids=["new", "stale"])
def test_of_many_starts_on_one_path_one_wins(workdir, stale, pytestconfig):
    path = workdir / "echo"
    if stale:  # left behind by a daemon that was killed
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
    config = workdir / "echod.conf"
    config.write_text(harness.to_config({"echo": {"listen": f"unix://{path}"}}))
    daemons = launch_all(config, pytestconfig.getoption("--starts"))
    try:
        wait_until(lambda: sum(daemon.poll() is None for daemon in daemons) <= 1, "one is left")
        (winner,) = [daemon for daemon in daemons if daemon.returncode is None]
        for daemon in daemons:
            if daemon is not winner:
                assert daemon.returncode == 69
                assert str(path) in daemon.stderr.read()
        wait_until(lambda: harness.takes_clients(path), "the winner serves")
        with harness.connect(f"unix://{path}") as client:
            assert client.exchange(b"hello", half_close=True) == b"hello"
        winner.terminate()
        assert winner.wait(harness.DEADLINE) == 0
    finally:
        for daemon in daemons:
            daemon.kill()
            daemon.wait()
            daemon.stderr.close()
    assert sorted(entry.name for entry in workdir.iterdir() if entry.is_socket()) == []


def test_a_path_is_taken_under_its_lock(fleet, workdir):
    """Or else two that find it stale at the same time would both have it."""
    lock = os.open(workdir / ".echo.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    server = fleet.launch({"echo": {"listen": "unix://$DIR/echo"}})
    server.wait_stopped_with(69, "another process is just binding it")
    os.close(lock)
    assert not (workdir / "echo").exists()


def test_signals_under_load_disturb_nobody(echod):
    """Reloads, dumps and reopened logs, as fast as they can be sent, while clients talk."""
    server = echod({"kv": {"listen": "unix://$DIR/kv"}})
    over = threading.Event()

    def storm():
        for number in itertools.cycle([signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE]):
            if over.is_set():
                return
            server.send_signal(number)

    sender = threading.Thread(target=storm)
    sender.start()
    try:
        with server.kv() as client:
            for number in range(300):
                assert client.ask(b"SET key%d %d" % (number % 7, number)) == b"OK"
                assert client.ask(b"GET key%d" % (number % 7)) == b"%d" % number
    finally:
        over.set()
        sender.join()
    with server.kv() as client:
        assert client.ask(b"GET key0") == b"294"


def serve_with_sink(workdir, sink=None, target="stderr", wrapper=()):
    """A daemon with such a log, and clients that give it much to say."""
    path = workdir / "kv"
    config = workdir / "echod.conf"
    services = {"kv": {"listen": f"unix://{path}"},
                "receiver": {"listen": f"unixgram://{workdir}/receiver"}}
    config.write_text(harness.to_config(services, log={"level": "debug", "target": target}))
    daemon = subprocess.Popen([*wrapper, find_echod(), "-c", str(config)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=sink)
    try:
        wait_until(lambda: harness.takes_clients(path), "it takes clients")
        for number in range(300):
            with harness.connect(f"unix://{path}") as client:
                assert client.line() == b"READY\n"
                if number % 100 == 0:
                    assert client.ask(b"SET a %d" % number) == b"OK"
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:  # lines of any length
                sender.settimeout(harness.DEADLINE)
                sender.sendto(b"x" * (number * 6), f"{workdir}/receiver")
        daemon.terminate()
        assert daemon.wait(harness.DEADLINE) == 0
    finally:
        daemon.kill()
        daemon.wait()


def fill_soon(pipe):
    """A page is the least that a pipe holds, some 40 lines."""
    fcntl.fcntl(pipe, F_SETPIPE_SZ, 4096)


def is_full(pipe):
    return not select.select([], [pipe], [], 0)[1]


def test_a_log_that_nobody_reads_stops_nothing(workdir):
    reader, writer = os.pipe()
    fill_soon(writer)
    try:
        serve_with_sink(workdir, writer)
        assert is_full(writer)
    finally:
        os.close(reader)
        os.close(writer)


def test_a_terminal_that_nobody_reads_stops_nothing(workdir):
    """It polls writable while it takes a byte, and lines are longer than that."""
    master, terminal = os.openpty()
    try:
        serve_with_sink(workdir, terminal)
    finally:
        os.close(terminal)
        os.close(master)


def test_a_log_whose_reader_has_gone_stops_nothing(workdir):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        serve_with_sink(workdir, writer)
    finally:
        os.close(writer)


def test_a_log_on_a_full_disk_stops_nothing(workdir):
    with open("/dev/full", "wb") as full:
        serve_with_sink(workdir, full)


def test_a_log_file_that_is_a_fifo_which_nobody_reads_stops_nothing(workdir):
    os.mkfifo(workdir / "log")
    fifo = os.open(workdir / "log", os.O_RDWR)
    fill_soon(fifo)
    try:
        serve_with_sink(workdir, target=str(workdir / "log"))
        assert is_full(fifo)
    finally:
        os.close(fifo)


@needs_mount_namespaces
def test_a_syslog_that_is_stuck_stops_nothing(workdir):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(workdir / "log.socket"))
        serve_with_sink(workdir, target="syslog", wrapper=with_dev_log(workdir))
