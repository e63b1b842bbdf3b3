"""Host names: looked up beside the loop, so that a resolver that does not answer holds up nobody."""

import os
import shlex
import signal
import subprocess
import threading
import time

import pytest

import harness
from transports import needs_root

pytestmark = needs_root

LATE = "tcp://late.test:0"
UNIX = "unix://$DIR/echo"
LOOKING = "debug names: looking up late.test"


class Resolver:
    """Answers no lookup of the daemon before answer() is called: its nsswitch.conf is a FIFO."""

    def __init__(self, directory):
        self.hosts = directory / "hosts"
        self.fifo = directory / "nsswitch.conf"
        self.hosts.touch()
        os.mkfifo(self.fifo)
        script = "".join(
            f"mount --bind {shlex.quote(str(path))} /etc/{path.name} && "
            for path in (self.hosts, self.fifo)
        )
        self.wrapper = ["unshare", "--mount", "sh", "-c", script + 'exec "$0" "$@"']
        self.over = threading.Event()
        self.thread = None

    def answer(self, hosts):
        """Lookups find what the text says, those that wait already, too."""

        def write():
            while not self.over.is_set():
                try:
                    fd = os.open(self.fifo, os.O_WRONLY | os.O_NONBLOCK)
                    os.write(fd, b"hosts: files\n")
                    os.close(fd)
                except OSError:  # no lookup reads it
                    pass
                time.sleep(0.002)  # or the lookup would not reach the end of the file

        self.hosts.write_text(hosts)
        self.thread = threading.Thread(target=write, daemon=True)
        self.thread.start()

    def stop(self):
        self.over.set()
        if self.thread is not None:
            self.thread.join()


@pytest.fixture
def resolver(workdir):
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode != 0:
        pytest.skip("no mount namespaces here")
    resolver = Resolver(workdir)
    yield resolver
    resolver.stop()


def echo(listen=UNIX):
    return {"echo": {"listen": listen}, "control": {"listen": "unix://$DIR/control"}}


def launch(fleet, resolver, services):
    return fleet.launch(services, wrapper=resolver.wrapper)


def begin_reload(server, services):
    server.configure(services)
    server.send_signal(signal.SIGHUP)
    server.log.wait(LOOKING)


def test_clients_are_served_while_a_reload_looks_names_up(fleet, resolver):
    server = launch(fleet, resolver, echo()).wait_ready()
    with server.connect("echo") as client:
        begin_reload(server, echo([UNIX, LATE]))
        assert client.ask(b"hello") == b"hello"
        with server.connect("echo") as other:
            assert other.ask(b"hello") == b"hello"
        resolver.answer("127.0.0.1 late.test\n")
        server.log.wait("reload: done")
        assert client.ask(b"hello") == b"hello"
    with server.connect("echo", transport="tcp") as client:
        assert client.ask(b"hello") == b"hello"


def test_a_lookup_leaves_signals_to_the_loop(fleet, resolver):
    server = launch(fleet, resolver, echo()).wait_ready()
    begin_reload(server, echo([UNIX, LATE]))
    blocked = harness.wait_until(server.blocked_signals, "a thread looks the name up")
    assert all(signals >= harness.SIGNALS_OF_THE_LOOP for signals in blocked)


def test_a_name_that_is_unknown_in_the_end_fails_the_reload(fleet, resolver):
    server = launch(fleet, resolver, echo()).wait_ready()
    begin_reload(server, echo([UNIX, LATE]))
    resolver.answer("127.0.0.1 other.test\n")
    server.log.wait(r"reload: .*:\d+: services.echo.listen: cannot resolve tcp://late.test:0: ")
    server.log.wait("reload: failed, the running configuration stays")
    with server.connect("echo") as client:
        assert client.ask(b"hello") == b"hello"


@pytest.mark.parametrize("command", [b"reload\n", b"reload --dry-run\n"])
def test_echoctl_waits_for_the_names(fleet, resolver, command):
    server = launch(fleet, resolver, echo()).wait_ready()
    server.configure(echo([UNIX, LATE]))
    with server.connect("control") as client, server.connect("control") as other:
        client.send(command)
        server.log.wait(LOOKING)
        other.send(b"status\n")
        assert b"\nechod: a reload is looking up host names\n" in other.until(b"OK\n")
        resolver.answer("127.0.0.1 late.test\n")
        assert client.until(b"OK\n").splitlines()[-2].startswith(
            b"a reload would" if b"dry" in command else b"reloaded ")


def test_who_waits_for_a_reload_is_not_idle(fleet, resolver):
    def services(listen=UNIX):
        return {"echo": {"listen": listen},
                "control": {"listen": "unix://$DIR/control", "idle_timeout": "300ms"}}  # fmt: skip

    server = launch(fleet, resolver, services()).wait_ready()
    server.configure(services([UNIX, LATE]))
    with server.connect("control") as client:
        client.send(b"reload\n")
        server.log.wait(LOOKING)
        for _ in range(2):
            with server.connect("control") as idle:
                assert idle.rest() == b""
        resolver.answer("127.0.0.1 late.test\n")
        assert client.until(b"OK\n")
        assert client.rest() == b""


def test_reloads_that_are_asked_for_meanwhile_wait(fleet, resolver):
    """What is in force at the end is what the file said when the last one was asked for."""
    server = launch(fleet, resolver, echo()).wait_ready()
    begin_reload(server, echo([UNIX, LATE]))
    server.configure(echo("unix://$DIR/another"))
    server.send_signal(signal.SIGHUP)
    with server.connect("control") as client:
        client.send(b"reload\n")
        resolver.answer("127.0.0.1 late.test\n")
        client.until(b"OK\n")
    server.log.wait("reload: done", count=2)
    assert server.address("echo").path.endswith("/another")


def test_who_waits_for_a_reload_may_leave(fleet, resolver):
    server = launch(fleet, resolver, echo()).wait_ready()
    server.configure(echo([UNIX, LATE]))
    with server.connect("control") as client:
        client.send(b"reload\n")
        server.log.wait(LOOKING)
    server.log.wait("debug control unix: closed")
    resolver.answer("127.0.0.1 late.test\n")
    server.log.wait("reload: done")


def test_a_stop_ends_a_reload_that_waits(fleet, resolver):
    server = launch(fleet, resolver, echo()).wait_ready()
    server.configure(echo([UNIX, LATE]))
    with server.connect("control") as client:
        client.send(b"reload\n")
        server.log.wait(LOOKING)
        server.send_signal(signal.SIGTERM)
        assert client.rest().endswith(b"ERROR: reload failed, the running configuration stays\n")
    server.wait_stopped()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_is_heard_while_the_start_looks_names_up(fleet, resolver, number):
    server = launch(fleet, resolver, echo([UNIX, LATE]))
    server.log.wait(LOOKING)
    server.send_signal(number)
    server.wait_stopped()
    assert server.log.matches("info echod: stopped")
    assert not server.addresses("echo")


def test_a_reload_that_is_asked_for_during_the_start_follows_it(fleet, resolver):
    server = launch(fleet, resolver, echo([UNIX, LATE]))
    server.log.wait(LOOKING)
    server.configure(echo("unix://$DIR/another"))
    server.send_signal(signal.SIGHUP)
    resolver.answer("127.0.0.1 late.test\n")
    server.wait_ready()
    server.log.wait("reload: done")
    assert server.address("echo").path.endswith("/another")
