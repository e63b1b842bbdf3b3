"""Runs echod for a test, and talks to it.

A test waits for something that is seen (a log line, bytes, the end of a process), never for time to
pass. Every wait has a deadline and fails with what was awaited; conftest.py adds the daemon's log.
"""

import array
import atexit
import fcntl
import functools
import itertools
import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import termios
import threading
import time
from collections import namedtuple
from contextlib import contextmanager
from pathlib import Path

import pytest

DEADLINE = float(os.environ.get("ECHOD_TEST_DEADLINE", "20"))  # seconds; ASan builds are slow
SANITIZER_REPORT = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:")

SIGNALS_OF_THE_LOOP = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD,
                       signal.SIGUSR1, signal.SIGUSR2}

HERE = Path(__file__).resolve().parent
SOURCE_TREE = HERE.parent.parent


class Failure(AssertionError):
    """Something that was awaited did not come."""


def find_echod():
    """The daemon under test: $ECHOD, the build tree's (current directory), or the source tree's."""
    build_tree = Path(os.environ.get("top_builddir", "."))
    candidates = [build_tree / "src/echod", SOURCE_TREE / "src/echod"]
    if "ECHOD" in os.environ:
        candidates = [Path(os.environ["ECHOD"])]
    for candidate in candidates:
        if candidate.exists():
            return str(candidate.resolve())
    raise Failure("no echod to test: " + ", ".join(map(str, candidates)))


@functools.cache
def shipped_conf():
    """A copy of the source tree's conf/: root takes no configuration of somebody else's, as the tree may be."""
    directory = tempfile.mkdtemp(prefix="echod-conf-")
    atexit.register(shutil.rmtree, directory)
    return Path(shutil.copytree(SOURCE_TREE / "conf", Path(directory) / "conf"))


def is_tree_open():
    """Whether the programs can be started by other users than the owner of the tree."""
    return all(parent.stat().st_mode & 0o1 for parent in Path(find_echod()).parents)


def wait_until(condition, what, deadline=DEADLINE):
    """For what cannot be waited on (/proc, the file system): returns the first true value."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"still not after {deadline} s: {what}")
        time.sleep(0.005)


def environment(more=None):
    """
    What a daemon is started with. It is not dumpable, so that root alone sees what it has open; for others, the
    library that breaks disks keeps it from that.
    """
    found = {**os.environ, **(more or {})}
    library = Path(find_echod()).parent.parent / "tests/e2e/fault.so"
    if os.geteuid() != 0 and library.exists():
        asan = found.get("ASAN_OPTIONS", "")
        found |= {"LD_PRELOAD": str(library), "ECHOD_FAULT_DUMPABLE": "yes"}
        found["ASAN_OPTIONS"] = ":".join(filter(None, [asan, "verify_asan_link_order=0"]))
    return found


def descriptors(pid):
    """The names in /proc/PID/fd."""
    try:
        return os.listdir(f"/proc/{pid}/fd")
    except PermissionError:
        return pytest.skip("needs root, to see what echod has open")


def wait_exit(pid, deadline=DEADLINE):
    """Waits for the end of a process that is not our child."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if not select.select([pidfd], [], [], deadline)[0]:
            raise Failure(f"process {pid} still runs after {deadline} s")
    finally:
        os.close(pidfd)


# --- configuration -------------------------------------------------------------------------------


def to_setting(value):
    """A Python value in libconfig's syntax."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, dict):
        return "{ " + " ".join(f"{k} = {to_setting(v)};" for k, v in value.items()) + " }"
    return "[ " + ", ".join(map(to_setting, value)) + " ]"


def to_config(services, **sections):
    """The text of a config file; `services` may be such a text already."""
    if isinstance(services, str):
        return services
    settings = {**sections, "services": services}
    return "".join(f"{key} = {to_setting(value)};\n" for key, value in settings.items())


# --- addresses -----------------------------------------------------------------------------------


class Address(namedtuple("Address", "transport host port path")):
    """An address as the log shows it and as the socket module takes it."""

    @classmethod
    def parse(cls, text):
        transport, rest = text.split("://", 1)
        if "unix" in transport:
            return cls(transport, None, None, rest)
        host, port = rest.rsplit(":", 1)
        return cls(transport, host.strip("[]"), int(port), None)

    def __str__(self):
        if self.path is not None:
            return f"{self.transport}://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport}://{host}:{self.port}"

    def at(self, host):
        """The same port on another host: how to reach a wildcard."""
        return self._replace(host=host)

    @property
    def family(self):
        if self.path is not None:
            return socket.AF_UNIX
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    @property
    def kind(self):
        return socket.SOCK_DGRAM if self.transport in ("udp", "unixgram") else socket.SOCK_STREAM

    @property
    def sockaddr(self):
        if self.path is not None:
            return "\0" + self.path[1:] if self.path.startswith("@") else self.path
        return (self.host, self.port)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


_ports = itertools.count(os.getpid() * 37 % 8000)


def free_port():
    """A TCP and UDP port that nobody uses, below the range that the kernel hands out by itself."""
    for offset in _ports:
        port = 20000 + offset % 12000
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


# --- clients -------------------------------------------------------------------------------------


class Stream:
    """A TCP or Unix stream client."""

    def __init__(self, address, source=None, receive_buffer=None):
        self.sock = socket.socket(address.family, socket.SOCK_STREAM)
        self.sock.settimeout(DEADLINE)
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source is not None:
            self.sock.bind((source, 0))
        self.sock.connect(address.sockaddr)
        if address.transport == "tcp":
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffered = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def name(self):
        """Our side as the daemon's log shows the peer."""
        host, port = self.sock.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def send(self, data):
        self.sock.sendall(data)

    def send_some(self, data):
        """Sends until the daemon takes no more; returns how much it took."""
        sent = 0
        while sent < len(data) and select.select([], [self.sock], [], 0.5)[1]:
            sent += self.sock.send(data[sent : sent + 65536], socket.MSG_DONTWAIT)
        return sent

    def send_read(self, data):
        """Sends, and waits until the daemon has read it all: what follows is another read."""
        self.send(data)
        wait_until(lambda: self.unread() == 0, "the daemon reads")

    def unread(self):
        """Bytes that wait in the daemon's socket."""
        if self.sock.family == socket.AF_UNIX:
            left = array.array("i", [0])
            fcntl.ioctl(self.sock, termios.TIOCOUTQ, left)
            return left[0]
        return self.queues_there()[1]

    def queues_there(self):
        """The bytes that wait in the daemon's TCP socket: to be sent, and to be read."""
        return self._kernel_shows()[0]

    def probed_in(self):
        """Seconds until the daemon's kernel asks whether we are still there; None = it won't."""

        def timer():
            kind, ticks = self._kernel_shows()[1]
            return kind in (0, 2) and (kind, ticks)  # others are there for a moment only

        kind, ticks = wait_until(timer, "all has been acknowledged")
        return ticks / os.sysconf("SC_CLK_TCK") if kind == 2 else None

    def _kernel_shows(self):
        """Of the daemon's TCP socket: [to be sent, to be read], [which timer, its ticks]."""
        names = self.sock.getsockname(), self.sock.getpeername()
        here, there = (f":{name[1]:04X}" for name in names)
        table = Path("/proc/net/tcp6" if self.sock.family == socket.AF_INET6 else "/proc/net/tcp")
        for line in table.read_text().splitlines():
            _, local, remote, _, queues, timer = line.split()[:6]
            if local.endswith(there) and remote.endswith(here):
                return [[int(part, 16) for part in pair.split(":")] for pair in (queues, timer)]
        return [0, 0], [0, 0]

    def more(self):
        data = self.sock.recv(1 << 18)
        self.buffered += data
        return data

    def take(self, length):
        data, self.buffered = self.buffered[:length], self.buffered[length:]
        return data

    def exactly(self, length):
        pieces, missing = [], length
        while len(self.buffered) < missing:
            pieces.append(self.take(len(self.buffered)))
            missing -= len(pieces[-1])
            if not self.more():
                got = b"".join(pieces)
                raise Failure(f"wanted {length} bytes, the stream ended after {got!r}")
        return b"".join([*pieces, self.take(missing)])

    def until(self, end):
        while end not in self.buffered:
            if not self.more():
                raise Failure(f"wanted {end!r}, the stream ended after {self.buffered!r}")
        return self.take(self.buffered.index(end) + len(end))

    def line(self):
        return self.until(b"\n")

    def lines(self, count):
        return [self.line() for _ in range(count)]

    def rest(self):
        """All until the end of the stream; a reset raises."""
        pieces = [self.take(len(self.buffered))]
        while piece := self.sock.recv(1 << 18):
            pieces.append(piece)
        return b"".join(pieces)

    def ask(self, request):
        """Sends a line, returns the answer line without its end."""
        self.send(request + b"\n")
        return self.line()[:-1]

    def exchange(self, data, length=None, half_close=False):
        """Sends and reads at the same time, until `length` bytes have come, or until the end."""
        view, received, end = memoryview(data), bytearray(self.take(len(self.buffered))), False
        poll, deadline = select.poll(), time.monotonic() + 3 * DEADLINE
        if half_close and not view:
            self.half_close()
        while (length is None and not end) or (length is not None and len(received) < length):
            poll.register(self.sock, select.POLLIN | (select.POLLOUT if view else 0))
            events = poll.poll(1000)
            if time.monotonic() > deadline:
                raise Failure(f"{len(view)} bytes not sent, only {len(received)} bytes received")
            for _, event in events:
                if event & (select.POLLIN | select.POLLHUP | select.POLLERR):
                    piece = self.sock.recv(1 << 18)
                    received += piece
                    end = not piece
                if event & select.POLLOUT and view:
                    view = view[self.sock.send(view[:65536], socket.MSG_DONTWAIT) :]
                    if not view and half_close:
                        self.half_close()
            if end and length is not None and len(received) < length:
                raise Failure(f"the stream ended after {len(received)} of {length} bytes")
        return bytes(received)

    def readable(self):
        """Whether bytes or the end of the stream are there by now."""
        return bool(self.buffered) or bool(select.select([self.sock], [], [], 0)[0])

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """Leaves with a reset instead of a goodbye."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def close(self):
        self.sock.close()


class Datagrams:
    """A UDP or Unix datagram client, connected: only answers from the asked address arrive."""

    _count = itertools.count()

    def __init__(self, address, directory=None, source=None, named=True):
        self.sock = socket.socket(address.family, socket.SOCK_DGRAM)
        self.sock.settimeout(DEADLINE)
        self.path = None
        if address.family == socket.AF_UNIX and named:
            self.path = f"{directory}/client-{os.getpid()}-{next(self._count)}"
            self.sock.bind(self.path)
        elif source is not None:
            self.sock.bind(source)
        self.sock.connect(address.sockaddr)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def port(self):
        return self.sock.getsockname()[1]

    def send(self, data):
        self.sock.send(data)

    def receive(self):
        return self.sock.recv(1 << 18)

    def ask(self, request):
        self.send(request)
        return self.receive()

    def received(self):
        """What has come by now."""
        answers = []
        while select.select([self.sock], [], [], 0)[0]:
            answers.append(self.receive())
        return answers

    def close(self):
        self.sock.close()
        if self.path is not None and os.path.exists(self.path):
            os.unlink(self.path)


def connect(address, **options):
    """A client for the address: Stream or Datagrams."""
    if isinstance(address, str):
        address = Address.parse(address)
    kind = Stream if address.kind == socket.SOCK_STREAM else Datagrams
    return kind(address, **options)


def takes_clients(path):
    """Whether somebody listens on the Unix socket."""
    try:
        connect(f"unix://{path}").close()
    except OSError:
        return False
    return True


# --- the daemon ----------------------------------------------------------------------------------


class Log:
    """The daemon's lines, as they come: from its standard error, or from a file that it writes."""

    def __init__(self):
        self.lines = []
        self.ended = False
        self.changed = threading.Condition()

    def __str__(self):
        return "\n".join(self.lines)

    def follow_pipe(self, pipe):
        def follow():
            with pipe:
                for line in pipe:
                    self._add(line.decode("utf-8", "backslashreplace").rstrip("\n"))
            self._end()

        threading.Thread(target=follow, daemon=True).start()

    def follow_file(self, path, process):
        def follow():
            wait_until(lambda: path.exists() or process.poll() is not None, f"{path} is there")
            while path.exists():
                over = process.poll() is not None
                lines = path.read_text("utf-8", "backslashreplace").splitlines()
                for line in lines[len(self.lines) :]:
                    self._add(line)
                if over:
                    break
                time.sleep(0.005)

        threading.Thread(target=follow, daemon=True).start()

    def _add(self, line):
        with self.changed:
            self.lines.append(line)
            self.changed.notify_all()

    def _end(self):
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def matches(self, pattern, since=0):
        return [m for m in (re.search(pattern, line) for line in self.lines[since:]) if m]

    def wait(self, pattern, since=0, count=1, deadline=DEADLINE):
        """The count-th line from `since` on that matches, as a match object."""
        with self.changed:
            self.changed.wait_for(
                lambda: len(self.matches(pattern, since)) >= count or self.ended, deadline
            )
            found = self.matches(pattern, since)
        if len(found) < count:
            raise Failure(f"{count} line(s) like {pattern!r} wanted, the log has:\n{self}")
        return found[count - 1]

    def wait_end(self):
        with self.changed:
            if not self.changed.wait_for(lambda: self.ended, DEADLINE):
                raise Failure("echod has ended, but somebody still holds its standard error")

    def mark(self):
        """Where the log ends now: a `since` for what comes after."""
        return len(self.lines)


class Echod:
    """One daemon, from its start to its checked end."""

    _count = itertools.count(1)

    def __init__(self, directory, services, args=("-v",), env=None, wrapper=(), pass_fds=(),
                 **sections):
        self.directory = Path(directory)
        self.id = f"echod-test-{os.getpid()}-{next(self._count)}"
        self.config = self.directory / f"{self.id}.conf"
        self.is_over = False  # killed, or its end was checked
        self.log = Log()
        self.configure(services, **sections)
        self.process = subprocess.Popen(
            [*wrapper, find_echod(), "-c", str(self.config), *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment(env),
            pass_fds=pass_fds,
        )
        self.errors = Log()
        self.errors.follow_pipe(self.process.stderr)
        target = sections.get("log", {}).get("target", "stderr")
        if target == "stderr":
            self.log = self.errors
        else:
            self.log.follow_file(Path(self.fill_in(target)), self.process)

    # Configuration

    def fill_in(self, text):
        """$DIR is the test's directory, $ID a name that no other daemon has."""
        return text.replace("$DIR", str(self.directory)).replace("$ID", self.id)

    def configure(self, services, **sections):
        """Exchanges the config file: whoever reads it sees the old one or the new one."""
        fresh = self.config.with_suffix(".new")
        fresh.write_text(self.fill_in(to_config(services, **sections)))
        fresh.replace(self.config)

    # Log and addresses

    def wait_ready(self):
        self.log.wait(r" info echod: ready")
        return self

    def wait_listening(self, path):
        """For a daemon whose log does not tell: waits until the Unix socket takes clients."""
        wait_until(lambda: takes_clients(path), f"{path} takes clients")

    @staticmethod
    def _listening(name, transport):
        """The pattern of a log line."""
        scheme = re.escape(transport) if transport else "[a-z+]+"
        return rf"^\S+ info {re.escape(name)}: listening on ({scheme}://\S+)$"

    def addresses(self, name, transport=None):
        """The addresses that the instance listens on, ports filled in."""
        return [Address.parse(m[1]) for m in self.log.matches(self._listening(name, transport))]

    def address(self, name, transport=None):
        """The newest one; waits for the first."""
        self.log.wait(self._listening(name, transport))
        return self.addresses(name, transport)[-1]

    def connect(self, name, transport=None, host=None, **options):
        address = self.address(name, transport)
        if host is not None:
            address = address.at(host)
        if address.transport == "unixgram":
            options.setdefault("directory", self.directory)
        return connect(address, **options)

    def kv(self, name="kv", transport=None, **options):
        """A client of a key-value service that has read its greeting."""
        client = self.connect(name, transport, **options)
        greeting = client.line()
        assert greeting == b"READY\n"
        return client

    def wait_closed(self, reason, count=1, since=0):
        """The line that says how a client ended."""
        return self.log.wait(rf"closed: {reason} \(", since, count)

    # Signals

    @property
    def pid(self):
        return self.process.pid

    def send_signal(self, number):
        self.process.send_signal(number)

    @contextmanager
    def stopped(self, seconds):
        """The process stands still for the block, and for so long at least: its deadlines pass."""
        self.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self.pid}/stat")
        wait_until(lambda: stat.read_text().rsplit(")", 1)[1].split()[0] == "T", "it is stopped")
        begin = time.monotonic()
        try:
            yield
            time.sleep(max(0, begin + seconds - time.monotonic()))
        finally:
            self.send_signal(signal.SIGCONT)

    def reload(self, services=None, **sections):
        """Reloads (with another config, if given) and returns whether the daemon took it."""
        if services is not None:
            self.configure(services, **sections)
        mark = self.log.mark()
        self.send_signal(signal.SIGHUP)
        end = self.log.wait(r" (info reload: done|error reload: failed)", mark)
        return end[1].startswith("info")

    def wait_stopped(self, status=0, deadline=DEADLINE):
        """The daemon ends by itself, with that status, leaking nothing."""
        try:
            got = self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise Failure(f"echod still runs after {deadline} s") from None
        self.errors.wait_end()
        self.expect_no_report()
        assert got == status, f"exit status {got}, expected {status}"
        self.is_over = True

    def expect_no_report(self):
        report = self.errors.matches(SANITIZER_REPORT.pattern)
        assert not report, "a sanitizer has found something"

    def wait_stopped_with(self, status, text):
        """It does not come up: one of these exit statuses, a message with that text, no leak."""
        statuses = status if isinstance(status, tuple) else (status,)
        try:
            got = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            raise Failure("echod runs, but it was not to come up") from None
        self.wait_stopped(got)
        assert got in statuses, f"exit status {got}, expected {status}"
        assert self.errors.matches(re.escape(text)), f"no message says {text!r}"

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.send_signal(number)
        self.wait_stopped()

    def kill(self):
        self.is_over = True
        self.process.kill()
        self.process.wait()

    def finish(self):
        """At the end of every test: nothing keeps running, and the end was clean."""
        if self.is_over:
            self.expect_no_report()  # ThreadSanitizer's come before the end, which may be a kill
            return
        try:
            self.stop()
        finally:
            if self.process.poll() is None:
                self.kill()

    # What the kernel knows of it

    def fds(self):
        return len(descriptors(self.pid))

    def has_open(self, path):
        try:
            links = [os.readlink(f"/proc/{self.pid}/fd/{fd}") for fd in descriptors(self.pid)]
            return str(path) in links
        except FileNotFoundError:
            return False  # one was closed meanwhile

    def memory(self):
        """Resident bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def limit_fds(self, count):
        hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (count, hard))

    def limit_memory(self, more):
        """So many bytes, and no more, it may still get."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[0])
        hard = resource.prlimit(self.pid, resource.RLIMIT_AS)[1]
        resource.prlimit(self.pid, resource.RLIMIT_AS, (pages * resource.getpagesize() + more, hard))

    def blocked_signals(self):
        """What each of its threads but the first blocks."""
        blocked = []
        for thread in Path(f"/proc/{self.pid}/task").iterdir():
            if int(thread.name) != self.pid:
                mask = int(re.search(r"SigBlk:\s*(\w+)", (thread / "status").read_text())[1], 16)
                blocked.append({number for number in range(1, 65) if mask >> (number - 1) & 1})
        return blocked

    def has_sanitizer(self):
        return bool(re.search("lib[at]san", Path(f"/proc/{self.pid}/maps").read_text()))


class Fleet:
    """All daemons of one test."""

    def __init__(self, directory):
        self.directory = directory
        self.members = []

    def start(self, services, **options):
        return self.launch(services, **options).wait_ready()

    def launch(self, services, **options):
        """Without waiting: for a daemon that is not meant to come up."""
        member = Echod(self.directory, services, **options)
        self.members.append(member)
        return member

    def finish(self):
        mistakes = []
        for member in reversed(self.members):
            try:
                member.finish()
            except AssertionError as mistake:
                mistakes.append(mistake)
        if mistakes:
            raise mistakes[0]


def run_echod(*args, **options):
    """Runs echod to its end (-t, -V, a wrong command line) and returns what it said."""
    options.setdefault("env", environment())
    return subprocess.run(
        [find_echod(), *map(str, args)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=DEADLINE,
        text=True,
        check=False,
        **options,
    )


def program(name):
    """The path of a client program, or None."""
    return shutil.which(name, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
