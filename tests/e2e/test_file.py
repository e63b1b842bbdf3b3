"""file: its bytes to every client, and everything that can become of the file meanwhile."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness import descriptors, run_echod, wait_until
from transports import every_stream, needs_root

TCP = "tcp://127.0.0.1:0"
UNIX = "unix://$DIR/file"  # little is on its way there: a client is slow at once


def file(path, listen=TCP, **settings):
    return {"file": {"listen": listen, "path": str(path), **settings}}


@pytest.fixture
def big(workdir):
    """20 MB of a file, and its path."""
    data = os.urandom(20_000_000)
    path = workdir / "big"
    path.write_bytes(data)
    return path, data


def open_files(server, path):
    """How many descriptors of the daemon lead to the file, removed or not."""
    found = 0
    for fd in descriptors(server.pid):
        try:
            found += os.readlink(f"/proc/{server.pid}/fd/{fd}").startswith(str(path))
        except FileNotFoundError:
            continue
    return found


def begin(server):
    """A client that has got the first byte, and then reads no more."""
    client = server.connect("file", receive_buffer=65536)
    client.sock.recv(1)
    return client


@every_stream
def test_a_file_comes_whole(echod, workdir, listen):
    data = os.urandom(1_000_003)
    (workdir / "data").write_bytes(data)
    server = echod(file(workdir / "data", listen))
    with server.connect("file") as client:
        assert client.rest() == data
    server.wait_closed("quit")


@pytest.mark.parametrize("size", [1, 4096, (256 << 10) - 1, 256 << 10, (256 << 10) + 1])
def test_sizes_around_a_piece(echod, workdir, size):
    data = os.urandom(size)
    (workdir / "data").write_bytes(data)
    server = echod(file(workdir / "data"))
    with server.connect("file") as client:
        assert client.rest() == data
    wait_until(lambda: open_files(server, workdir / "data") == 0, "the file is closed")


def test_20_mb_to_several_clients_at_once(echod, big):
    path, data = big
    server = echod(file(path))
    before = server.memory()
    slow = begin(server)
    clients = [server.connect("file") for _ in range(8)]
    received = [None] * len(clients)

    def read(number):
        received[number] = clients[number].exchange(b"")

    threads = [threading.Thread(target=read, args=[n]) for n in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(got == data for got in received)
    if not server.has_sanitizer():
        assert server.memory() - before < 4 << 20, "the bytes are not to pass through the daemon"
    assert slow.exchange(b"") == data[1:]
    wait_until(lambda: open_files(server, path) == 0, "the file is closed")


def test_one_client_does_not_hold_up_another_service(echod, big):
    path, _ = big
    server = echod({**file(path, UNIX), "echo": {"listen": TCP}})
    with begin(server), server.connect("echo") as client:
        assert client.ask(b"hello") == b"hello"


def test_a_file_over_2_gib(echod, workdir):
    """A 32-bit build without large files can not even look at it."""
    path = workdir / "huge"
    with path.open("wb") as huge:
        huge.write(b"begin")
        huge.truncate(3 << 30)
    server = echod(file(path))
    with server.connect("file") as client:
        assert client.exactly(1 << 20).startswith(b"begin\0")
    path.unlink()
    wait_until(lambda: open_files(server, path) == 0, "the file is closed")


def test_an_empty_file(echod, workdir):
    path = workdir / "empty"
    path.touch()
    server = echod(file(path))
    before = server.fds()
    for _ in range(50):
        with server.connect("file") as client:
            assert client.rest() == b""
    wait_until(lambda: server.fds() == before, "every descriptor is closed")
    assert open_files(server, path) == 0


def test_what_the_client_says_is_dropped(echod, big):
    path, data = big
    server = echod(file(path))
    with server.connect("file") as client:
        assert client.exchange(b"GET / HTTP/1.1\r\n" * 100_000, length=len(data)) == data


def test_a_half_close_does_not_end_the_transfer(echod, big):
    path, data = big
    server = echod(file(path))
    with server.connect("file") as client:
        client.half_close()
        assert client.rest() == data


@pytest.mark.parametrize("left", [0, 5_000_000])
def test_a_file_cut_short_ends_its_client_only(echod, big, left):
    path, data = big
    server = echod({**file(path), "echo": {"listen": TCP}})
    with server.connect("echo") as other, begin(server) as client:
        os.truncate(path, left)
        with pytest.raises(ConnectionResetError):
            client.rest()
        assert len(client.buffered) < len(data) - 1
        server.wait_closed("reset")
        assert other.ask(b"still there?") == b"still there?"
    server.log.wait(rf" warning file: {path} was truncated .*: to {left} of {len(data)} bytes$")
    assert open_files(server, path) == 0
    path.write_bytes(b"whole again")
    with server.connect("file") as client:
        assert client.rest() == b"whole again"


def test_a_file_that_grows_is_sent_as_it_was(echod, big):
    path, data = big
    server = echod(file(path, UNIX))
    with begin(server) as client:
        with path.open("ab") as more:
            more.write(b"more")
        assert client.rest() == data[1:]


def test_a_file_replaced_between_two_clients(echod, big):
    path, data = big
    server = echod(file(path, UNIX))
    with begin(server) as early:
        new = path.with_name("new")
        new.write_bytes(b"new")
        new.rename(path)
        with server.connect("file") as late:
            assert late.rest() == b"new"
        assert early.rest() == data[1:]
    wait_until(lambda: open_files(server, path) == 0, "both files are closed")


def test_a_client_that_leaves_in_the_middle_leaks_nothing(echod, big):
    path, _ = big
    server = echod(file(path))
    before = server.fds()
    for number in range(40):
        client = begin(server)
        if number % 2:
            client.reset()
        client.close()
    wait_until(lambda: open_files(server, path) == 0, "the file is closed")
    wait_until(lambda: server.fds() == before, "every descriptor is closed")


def test_a_file_that_goes_missing(echod, workdir):
    path = workdir / "data"
    path.write_bytes(b"there")
    server = echod(file(path))
    with server.connect("file") as client:
        assert client.rest() == b"there"
    path.unlink()
    for _ in range(30):
        with server.connect("file") as client:
            assert client.rest() == b""
    server.wait_closed("quit", count=1)
    server.log.wait(rf" error file: cannot send {path}: No such file or directory$")
    assert len(server.log.matches("cannot send")) < 20, "a client can provoke these lines"
    path.write_bytes(b"back")
    with server.connect("file") as client:
        assert client.rest() == b"back"


def test_missing_at_the_start(fleet, workdir):
    path = workdir / "nothing"
    server = fleet.launch(file(path))
    server.wait_stopped_with((1, 78), f"services.file.path: {path}: No such file or directory")


@pytest.mark.parametrize(
    "make, text",
    [(os.mkdir, "Is a directory"), (os.mkfifo, "not a regular file"),
     (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
     (lambda path: path.symlink_to("/proc/kmsg"), "not a regular file")],
)  # fmt: skip
def test_not_a_file(fleet, workdir, make, text):
    make(workdir / "thing")
    server = fleet.launch(file(workdir / "thing"))
    server.wait_stopped_with((1, 78), f"{workdir}/thing: {text}")


def test_a_reload_refuses_what_is_not_a_file(echod, workdir):
    server = echod(file("/proc/version"))
    os.mkfifo(workdir / "fifo")
    for path in workdir / "fifo", "/dev/zero", "/proc/kmsg":
        assert not server.reload(file(path))
    with server.connect("file") as client:
        assert client.rest() == Path("/proc/version").read_bytes()


def test_a_file_that_becomes_a_fifo_holds_nobody_up(echod, workdir):
    path = workdir / "data"
    path.write_bytes(b"data")
    server = echod({**file(path), "echo": {"listen": TCP}})
    path.unlink()
    os.mkfifo(path)
    with server.connect("file") as client, server.connect("echo") as other:
        assert client.rest() == b""
        assert other.ask(b"still there?") == b"still there?"
    server.log.wait(rf"cannot send {path}: not a regular file")


@pytest.mark.parametrize("path", ["/proc/version", "/proc/filesystems", "/sys/class/net/lo/mtu",
                                  "/sys/kernel/mm/transparent_hugepage/enabled", "/proc/kallsyms",
                                  "/proc/config.gz"])  # fmt: skip
@pytest.mark.parametrize("listen", [TCP, UNIX])
def test_sizes_that_lie(echod, path, listen):
    """In /proc it is 0, in /sys a page; what is there is read, however much it is, and so is what has a size there."""
    if not os.access(path, os.R_OK):
        pytest.skip(f"no {path} here")
    server = echod(file(path, listen))
    with server.connect("file") as client:
        assert client.exchange(b"") == Path(path).read_bytes()
    server.wait_closed("quit")
    wait_until(lambda: open_files(server, path) == 0, "the file is closed")


def test_much_that_is_read_waits_for_a_slow_client_outside_of_memory(echod):
    path = "/proc/kallsyms"
    if not os.access(path, os.R_OK) or len(Path(path).read_bytes()) < 4 << 20:
        pytest.skip("nothing that is large enough")
    server = echod(file(path, UNIX))
    if server.has_sanitizer():
        pytest.skip("the sanitizer keeps what was freed")
    before = server.memory()
    with begin(server) as client:
        assert server.memory() - before < 2 << 20
        assert client.exchange(b"") == Path(path).read_bytes()[1:]


def test_a_file_that_cannot_be_read_resets_its_client(echod, workdir):
    """Opening /proc/self/mem works, reading its first byte does not."""
    server = echod({**file("/proc/self/mem"), "echo": {"listen": TCP}})
    with server.connect("echo") as other:
        with pytest.raises(ConnectionResetError), server.connect("file") as client:
            client.rest()
        assert other.ask(b"still there?") == b"still there?"
    server.log.wait("error file: cannot read /proc/self/mem: Input/output error$")


LEASE = """
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lease_holds_nobody_up(echod, workdir):
    path = workdir / "leased"
    path.write_bytes(b"leased")
    server = echod({**file(path), "echo": {"listen": TCP}})
    with subprocess.Popen([sys.executable, "-c", LEASE, path], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as holder:  # fmt: skip
        if holder.stdout.readline() != b"held\n":
            pytest.skip("no leases here")
        with server.connect("file") as client, server.connect("echo") as other:
            assert client.rest() == b""
            assert other.ask(b"still there?") == b"still there?"
        server.log.wait(rf"cannot send {path}: another process has a lease on it")
        assert not server.reload()
        holder.stdin.close()
        holder.wait()
    with server.connect("file") as client:
        assert client.rest() == b"leased"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_at_the_start(fleet, workdir):
    (workdir / "secret").touch(mode=0)
    server = fleet.launch(file(workdir / "secret"))
    server.wait_stopped_with((1, 78), f"{workdir}/secret: Permission denied")


@needs_root
def test_unreadable_for_the_user_that_serves(fleet, workdir):
    workdir.chmod(0o755)
    (workdir / "secret").write_bytes(b"secret")
    (workdir / "secret").chmod(0o600)
    server = fleet.launch(file(workdir / "secret"), user="nobody")
    text = f"services.file.path: {workdir}/secret: Permission denied, for the user nobody"
    server.wait_stopped_with((1, 77, 78), text)
    done = run_echod("-t", "-c", server.config)
    assert (done.returncode, done.stderr) == (0, f"echod: warning: {server.config}:2: {text}\n")


@needs_root
def test_that_has_become_unreadable_for_the_user_that_serves(echod, workdir):
    workdir.chmod(0o755)
    (workdir / "secret").write_bytes(b"secret")
    server = echod(file(workdir / "secret"), user="nobody")
    (workdir / "secret").chmod(0o600)
    with server.connect("file") as client:
        assert client.rest() == b""
    server.log.wait("cannot send .*: Permission denied$")


@pytest.mark.parametrize("settings, text", [
    ('listen = "tcp://127.0.0.1:0";', "services.file.path"),
    ('listen = "tcp://127.0.0.1:0"; path = "relative";', "expected an absolute path"),
    ('listen = "udp://127.0.0.1:0"; path = "/etc/passwd";', "for streams only"),
])  # fmt: skip
def test_mistakes_in_the_config(write, settings, text):
    config = write("x.conf", "services = { file = { %s }; };" % settings)
    done = run_echod("-t", "-c", config)
    assert done.returncode == 78
    assert text in done.stderr


def test_a_reload_takes_another_path_for_new_clients(echod, big):
    path, data = big
    other = path.with_name("other")
    other.write_bytes(b"other")
    server = echod(file(path, UNIX))
    with begin(server) as early:
        assert server.reload(file(other, UNIX))
        with server.connect("file") as late:
            assert late.rest() == b"other"
        assert not server.reload(file(path.with_name("nothing"), UNIX))
        with server.connect("file") as late:
            assert late.rest() == b"other"
        assert early.rest() == data[1:]


def test_a_stop_lets_transfers_finish(echod, big):
    path, data = big
    server = echod(file(path, UNIX))
    with begin(server) as client:
        server.send_signal(15)
        server.log.wait("echod: stopping")
        assert client.rest() == data[1:]
    server.wait_stopped()
    server.wait_closed("shutdown")


def test_a_stop_does_not_wait_for_ever(echod, big):
    path, _ = big
    server = echod(file(path), limits={"shutdown_timeout": "300ms"})
    with begin(server):
        server.send_signal(15)
        server.wait_stopped()


def test_a_reader_that_is_slow_is_waited_for_without_work(echod, big):
    path, _ = big
    server = echod(file(path, UNIX))
    with begin(server):
        before = server.cpu_seconds()
        time.sleep(0.5)
        assert server.cpu_seconds() - before < 0.2
