"""Start and end: drain, signals, exit statuses, the command line, -D, the pid file, the manager."""

import fcntl
import os
import pwd
import re
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

import pytest

import harness
from harness import DEADLINE, Failure, run_echod, to_config, wait_exit, wait_until
from transports import needs_root

TCP = "tcp://127.0.0.1:0"
BIG = b"v" * 60_000


def kv(**settings):
    return {"kv": {"listen": TCP, **settings}}


def clogged(server, requests=2000):
    """A client that has asked for much more than the kernel buffers, and does not read yet."""
    client = server.kv("kv", "unix")
    assert client.ask(b"SET big " + BIG) == b"OK"
    client.send_some(b"GET big\n" * requests)
    return client


def unix_kv(**settings):
    return {"kv": {"listen": ["unix://$DIR/kv", TCP], **settings}}


# --- drain ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_with_status_0(echod, number):
    server = echod(kv())
    server.stop(number)
    assert server.log.matches(r" info echod: stopping")
    assert server.log.matches(r" info echod: stopped")


def test_stop_with_idle_clients_is_at_once(echod):
    server = echod(kv())
    clients = [server.kv() for _ in range(20)]
    begin = time.monotonic()
    server.send_signal(signal.SIGTERM)
    for client in clients:
        assert client.rest() == b""
        client.close()
    server.wait_stopped()
    assert time.monotonic() - begin < 5
    server.wait_closed("shutdown")


def test_requests_that_were_sent_before_the_stop_are_answered(echod):
    server = echod(kv())
    with server.kv() as client:
        client.send(b"GET a\n" * 5000)
        server.send_signal(signal.SIGTERM)
        assert client.rest() == b"NOT_FOUND\n" * 5000
    server.wait_stopped()


def test_all_that_the_kernel_has_received_before_the_stop_is_answered(echod):
    """More than the daemon reads at once, and an end of file behind it."""
    server = echod({"shout": {"type": "upper", "mode": "line", "listen": TCP}})
    lines = [b"%03d" % number + b"x" * 996 + b"\n" for number in range(100)]
    with server.connect("shout") as client:
        with server.stopped(0):
            client.send(b"".join(lines) + b"the end")
            client.half_close()
            server.send_signal(signal.SIGTERM)
        assert client.rest() == (b"".join(lines) + b"the end").upper()
    server.wait_stopped()


def test_answers_that_wait_for_a_slow_reader_arrive(echod):
    server = echod(unix_kv())
    with clogged(server, 200) as client:
        server.send_signal(signal.SIGTERM)
        server.log.wait(" info echod: stopping")
        received = client.rest()
        assert len(received) % (len(BIG) + 1) == 0, "only whole answers"
        assert len(received) == 200 * (len(BIG) + 1)
    server.wait_stopped()


def test_echo_of_what_was_sent_before_the_stop_arrives(echod):
    server = echod({"echo": {"listen": TCP}})
    with server.connect("echo") as client:
        client.ask(b"hello")
        client.send(b"x" * 50_000)
        server.send_signal(signal.SIGTERM)
        assert client.rest() == b"x" * 50_000
    server.wait_stopped()


def taken(client, sent):
    """How many of these bytes the daemon's kernel has: it has acknowledged them. A Unix socket has no other queue."""
    if client.sock.family == socket.AF_UNIX:
        return sent
    left = fcntl.ioctl(client.sock, termios.TIOCOUTQ, bytes(4))
    return sent - struct.unpack("i", left)[0]


@pytest.mark.parametrize("end", ["stop", "reload"])
@pytest.mark.parametrize("listen", [TCP, "unix://$DIR/stream"], ids=["tcp", "unix"])
@pytest.mark.parametrize("settings", [{"type": "echo"}, {"type": "upper", "mode": "line"}], ids=["bytes", "lines"])
def test_what_is_behind_a_slow_reader_is_answered(echod, settings, listen, end):
    """The kernel has more than the daemon reads at once, as the client does not read its replies."""
    server = echod({"slow": {"listen": listen, **settings}, **kv()})
    data = (b"x" * 99 + b"\n") * 80_000
    with server.connect("slow") as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        sent = client.send_some(data)
        least = taken(client, sent) // 100 * 100
        if end == "stop":
            server.send_signal(signal.SIGTERM)
            server.log.wait(" info echod: stopping")
        else:
            assert server.reload(kv())
        received = client.rest()
        assert received.lower() == data[: len(received)]
        assert len(received) >= least
    if end == "stop":
        server.wait_stopped()
    else:
        server.wait_closed("reload")


def test_nobody_is_accepted_while_draining(echod):
    server = echod(unix_kv())
    with clogged(server):
        server.send_signal(signal.SIGTERM)
        server.log.wait(" info echod: stopping")
        wait_until(lambda: is_refused(server.address("kv", "tcp")), "the listener is closed")
        server.send_signal(signal.SIGTERM)
        server.wait_stopped()


def is_refused(address):
    try:
        harness.connect(address).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False  # it was closed in the middle
    return False


def test_second_signal_stops_at_once(echod):
    server = echod(unix_kv(), limits={"shutdown_timeout": 600})
    with clogged(server):
        server.send_signal(signal.SIGTERM)
        server.log.wait(" info echod: stopping")
        server.send_signal(signal.SIGTERM)
        server.wait_stopped()


def test_shutdown_timeout_ends_the_wait_for_a_stuck_client(echod):
    server = echod(unix_kv(), limits={"shutdown_timeout": "500ms"})
    with clogged(server):
        begin = time.monotonic()
        server.send_signal(signal.SIGTERM)
        server.wait_stopped()
        assert 0.4 < time.monotonic() - begin < 8


def test_clients_that_never_leave_do_not_hold_the_stop(echod):
    """They were told (end of stream), but do not close their side."""
    server = echod(kv(), limits={"shutdown_timeout": "500ms"})
    clients = [server.kv() for _ in range(5)]
    server.stop()
    for client in clients:
        client.close()


def test_stop_under_load(echod):
    server = echod(kv())
    rounds = []

    def load():
        answers = b"NOT_FOUND\n" * 1000
        with server.kv() as client:
            try:
                while client.exchange(b"GET a\n" * 1000, length=len(answers)) == answers:
                    rounds.append(1)
            except (Failure, ConnectionError):
                return  # the daemon has gone
        rounds.append("wrong answers")

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(rounds) > 20, "the load runs")
        server.send_signal(signal.SIGTERM)
        server.wait_stopped()
    finally:
        for thread in threads:
            thread.join()
    assert "wrong answers" not in rounds


def test_stop_during_a_burst_of_new_clients(echod):
    server = echod(kv())
    address = server.address("kv").sockaddr
    socks = []
    for number in range(100):
        if number == 50:
            server.send_signal(signal.SIGTERM)
        try:
            socks.append(socket.create_connection(address, DEADLINE))
        except ConnectionError:
            break
    server.wait_stopped()
    for sock in socks:
        sock.close()


def start_in_progress(fleet):
    """With many sockets to bind, the first line comes long before the last."""
    server = fleet.launch({"kv": {"listen": [f"unix://$DIR/{n}" for n in range(200)]}})
    server.log.wait("listening on")
    return server


def test_stop_in_the_middle_of_the_start(fleet, workdir):
    server = start_in_progress(fleet)
    server.stop()
    assert [path for path in workdir.iterdir() if path.is_socket()] == []


def test_reload_in_the_middle_of_the_start(fleet):
    server = start_in_progress(fleet)
    server.send_signal(signal.SIGHUP)
    server.wait_ready()
    server.kv().close()


def test_reload_while_draining_is_harmless(echod):
    server = echod(unix_kv())
    with clogged(server, 200) as client:
        server.send_signal(signal.SIGTERM)
        server.log.wait(" info echod: stopping")
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            server.send_signal(number)
        assert len(client.rest()) == 200 * (len(BIG) + 1)
    server.wait_stopped()


# --- command line ---


def test_version():
    result = run_echod("-V")
    assert result.returncode == 0
    assert re.match(r"echod \d+\.\d+", result.stdout)


def test_help():
    result = run_echod("-h")
    assert (result.returncode, result.stderr) == (0, "")
    for option in ("-c", "-t", "-T", "-D", "-p", "-v", "-q", "-V", "-h", "--explain"):
        assert option in result.stdout


@pytest.mark.parametrize(
    "args", [["-Z"], ["--nonsense"], ["-c"], ["operand"], ["--explain"], ["-p"]], ids=" ".join
)
def test_wrong_usage(args):
    result = run_echod(*args)
    assert result.returncode == 2
    assert result.stdout == "" and result.stderr != ""


def test_check_and_daemon_together_are_wrong_usage(write):
    path = write("test.conf", to_config(kv()))
    assert run_echod("-c", path, "-t", "-D").returncode == 2


def test_quiet(fleet):
    server = fleet.launch(kv(listen="unix://$DIR/kv"), args=("-q",))
    server.wait_listening(server.directory / "kv")
    server.stop()
    assert server.log.lines == []


def test_without_v_ends_of_clients_are_not_logged(fleet):
    server = fleet.start(kv(), args=())
    server.kv().close()
    server.stop()
    assert not server.log.matches(" debug ")


# --- exit statuses (those of bad files are in test_config, of ports in test_addresses) ---


@needs_root
def test_privileged_port_without_privileges(fleet):
    if int(open("/proc/sys/net/ipv4/ip_unprivileged_port_start").read()) < 1024:
        pytest.skip("ports below 1024 are free for all here")
    wrapper = unprivileged()
    os.chmod(fleet.directory, 0o755)
    server = fleet.launch(kv(listen="tcp://127.0.0.1:777"), wrapper=wrapper)
    server.wait_stopped_with(77, "tcp://127.0.0.1:777")


@needs_root
def test_socket_in_a_directory_that_is_not_ours(fleet):
    wrapper = unprivileged()
    os.chmod(fleet.directory, 0o755)
    server = fleet.launch(kv(listen="unix://$DIR/kv"), wrapper=wrapper)
    server.wait_stopped_with(77, "/kv")


def unprivileged():
    nobody = pwd.getpwnam("nobody")
    command = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    if harness.program("setpriv") is None:
        pytest.skip("no setpriv")
    return command


@needs_root
def test_user_drops_root(echod):
    server = echod(kv(), user="nobody")
    status = open(f"/proc/{server.pid}/status").read()
    nobody = pwd.getpwnam("nobody")
    assert re.search(rf"^Uid:(\s{nobody.pw_uid}){{4}}$", status, re.M)
    assert re.search(rf"^Gid:(\s{nobody.pw_gid}){{4}}$", status, re.M)
    assert re.search(r"^CapEff:\s0+$", status, re.M)
    assert re.search(r"^Groups:\s*(\d* ?)$", status, re.M)
    server.kv().close()


@needs_root
def test_unknown_user(fleet):
    server = fleet.launch(kv(), user="no-such-user-here")
    server.wait_stopped_with((1, 78), "no-such-user-here")


# --- -D and -p ---


def detached(workdir, write, *args, services=None, **options):
    """Runs echod -D to the return of its parent."""
    path = write(
        "test.conf",
        to_config(services or kv(listen=f"unix://{workdir}/kv"), log={"target": f"{workdir}/log"}),
    )
    return run_echod("-c", path, "-D", "-p", workdir / "pid", *args, **options)


def test_daemon_returns_once_it_listens(workdir, write):
    result = detached(workdir, write)
    assert result.returncode == 0, result.stderr
    pid = int((workdir / "pid").read_text())
    try:
        assert (workdir / "pid").read_text() == f"{pid}\n"
        with harness.connect(f"unix://{workdir}/kv") as client:
            assert client.line() == b"READY\n"
        stat = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        assert int(stat[3]) != os.getsid(0), "a session of its own"
        assert stat[4] == "0", "no terminal"
        harness.descriptors(pid)  # or it is skipped
        for fd in (0, 1, 2):
            assert os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/null"
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_exit(pid)
    assert not (workdir / "pid").exists() and not (workdir / "kv").exists()
    log = (workdir / "log").read_text()
    assert " info echod: ready" in log and " info echod: stopped" in log


def test_daemon_exits_with_the_childs_status_when_it_cannot_bind(workdir, write):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        result = detached(workdir, write, services=kv(listen=address))
    assert result.returncode == 69
    assert address in result.stderr
    assert not (workdir / "pid").exists()


def test_daemon_with_a_bad_file_says_so_on_stderr(workdir, write):
    result = detached(workdir, write, services=kv(idel_timeout=1))
    assert result.returncode == 78
    assert "idel_timeout" in result.stderr


def test_pid_file_in_the_foreground(echod, workdir):
    server = echod(kv(), args=("-v", "-p", str(workdir / "pid")))
    assert (workdir / "pid").read_text() == f"{server.pid}\n"
    server.stop()
    assert not (workdir / "pid").exists()


@needs_root
def test_pid_file_where_only_root_may_write(echod, workdir):
    workdir.chmod(0o755)
    server = echod(kv(), user="nobody", args=("-v", "-p", str(workdir / "pid")))
    assert (workdir / "pid").read_text() == f"{server.pid}\n"
    server.stop()
    assert (workdir / "pid").read_text() == ""


def test_pid_file_that_cannot_be_written(fleet):
    server = fleet.launch(kv(), args=("-p", "/nonexistent/pid"))
    server.wait_stopped_with((1, 77), "/nonexistent/pid")


# --- signals and the service manager ---


def test_usr2_dumps_the_state(echod):
    server = echod({**kv(), "echo": {"listen": "udp://127.0.0.1:0"}})
    with server.kv() as client:
        client.ask(b"SET a 1")
        mark = server.log.mark()
        server.send_signal(signal.SIGUSR2)
        server.log.wait(r"info (kv|dump|echod|state)\b.*\bkv\b|info kv: ", mark)
        server.log.wait(r"\becho\b", mark)
        assert client.ask(b"GET a") == b"1"


def test_readiness_is_the_last_line_of_the_start(echod):
    server = echod({**kv(), "echo": {"listen": [TCP, "udp://127.0.0.1:0"]}})
    lines = server.log.matches(r"info (\S+: listening on|echod: ready)")
    assert [line[1] for line in lines][-1] == "echod: ready"
    assert len(lines) == 4
    server.log.wait(r"ready \(2 services, 3 addresses\)")


# --- a log that nobody reads ---


@pytest.fixture
def without_reader(workdir, write):
    """A daemon that logs into a pipe; the test gets the pipe's other end and the socket's path."""
    path = write("test.conf", to_config({"kv": {"listen": f"unix://{workdir}/kv"}}))
    reader, writer = os.pipe()
    process = subprocess.Popen([harness.find_echod(), "-c", str(path), "-v"], stderr=writer)
    os.close(writer)
    try:
        wait_until(lambda: harness.takes_clients(workdir / "kv"), "it listens")
        yield reader, workdir / "kv"
    finally:
        process.terminate()
        status = process.wait(DEADLINE)
        os.close(reader)
    assert status == 0


def test_a_full_log_pipe_does_not_block_the_service(without_reader):
    _, path = without_reader
    for _ in range(3000):
        with harness.connect(f"unix://{path}") as client:
            assert client.line() == b"READY\n"


def test_a_closed_log_pipe_does_not_end_the_service(without_reader):
    reader, path = without_reader
    closed = os.open(os.devnull, os.O_RDONLY)
    os.dup2(closed, reader)
    os.close(closed)
    for _ in range(10):
        with harness.connect(f"unix://{path}") as client:
            assert client.line() == b"READY\n"
