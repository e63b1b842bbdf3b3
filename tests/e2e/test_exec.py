"""exec: a program per client, its input and output, its environment, and its end in every way."""

import os
import signal
import time
from pathlib import Path

import pytest

from harness import run_echod, wait_exit, wait_until
from transports import every_stream, needs_ipv6, needs_root

TCP = "tcp://127.0.0.1:0"
UNIX = "unix://$DIR/stream"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
IGNORES_TERM = ["sh", "-c", "trap '' TERM; echo $$; while :; do sleep 0.1; done"]
SLEEPS = ["sh", "-c", "echo $$; exec sleep 1000"]


def program(*command, listen=TCP, **settings):
    return {"exec": {"listen": listen, "command": list(command), **settings}}


def shell(script, **settings):
    return program("sh", "-c", script, **settings)


def python(script, **settings):
    return program("/usr/bin/python3", "-c", script, **settings)


def children(server):
    """The process ids of the daemon's children, zombies too."""
    return Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()


def wait_no_children(server):
    wait_until(lambda: not children(server), "every program is gone and reaped")


def answer(server, data=b"", **options):
    """All that the program says to a client that says `data`, and no more."""
    with server.connect("exec", **options) as client:
        return client.exchange(data, half_close=True)


def number(client):
    """The process id that the program begins with."""
    return int(client.line())


# --- bytes ---


@every_stream
def test_what_goes_in_and_what_comes_out(echod, listen):
    server = echod(program("tr", "a-z", "A-Z", listen=listen))
    assert answer(server, b"hello\n") == b"HELLO\n"
    server.wait_closed("quit")


@every_stream
def test_8_mib_through_cat_with_a_half_close(echod, listen):
    data = os.urandom(8 << 20)
    server = echod(program("cat", listen=listen))
    assert answer(server, data) == data
    wait_no_children(server)


def test_a_dialogue(echod):
    with echod(program("cat")).connect("exec") as client:
        for line in (b"one", b"two", b"three"):
            assert client.ask(line) == line


def test_a_program_that_answers_only_after_the_end_of_its_input(echod):
    lines = [b"%06d\n" % (n * 7919 % 100_000) for n in range(100_000)]
    assert answer(echod(program("sort")), b"".join(lines)) == b"".join(sorted(lines))


def test_arguments_are_passed_as_they_are(echod):
    arguments = ["a b", "$HOME", "`id`", "*", "", "'", 'say "hi"']
    server = echod(program("printf", "<%s>", *[a for a in arguments if a]))
    assert answer(server) == "".join(f"<{a}>" for a in arguments if a).encode()


@pytest.mark.parametrize("script", ["exit 0", "exit 7", "kill -9 $$"])
def test_a_program_that_ends_at_once(echod, script):
    server = echod(shell(script))
    for _ in range(20):
        assert answer(server) == b""
    wait_no_children(server)


def test_output_before_the_end_is_delivered_to_a_slow_client(echod):
    server = echod(shell("head -c 3000000 /dev/zero", listen=UNIX))
    with server.connect("exec") as client:
        time.sleep(0.2)  # whatever happens when the program ends has happened
        assert len(client.exchange(b"")) == 3_000_000


def test_a_program_that_does_not_read_its_input_gets_its_answer_out(echod):
    server = echod(shell("echo hello"))
    with server.connect("exec") as client:
        assert client.exchange(bytes(1 << 20), half_close=True) == b"hello\n"


def test_a_program_that_closes_its_input_may_still_speak(echod):
    server = echod(python("""if True:
        import socket, time
        own = socket.socket(fileno=0)
        own.sendall(b"ready\\n")
        own.shutdown(socket.SHUT_RD)
        time.sleep(0.3)
        own.sendall(b"still here\\n")
    """))
    with server.connect("exec") as client:
        assert client.line() == b"ready\n"
        assert client.exchange(bytes(4 << 20), half_close=True) == b"still here\n"


def test_a_program_that_ends_its_output_and_lives_on(echod):
    server = echod(python("""if True:
        import os, socket, time
        print(os.getpid(), flush=True)
        socket.socket(fileno=0).shutdown(socket.SHUT_WR)
        time.sleep(1000)
    """))
    with server.connect("exec") as client:
        pid = number(client)
        assert client.rest() == b""
    wait_exit(pid)
    wait_no_children(server)


# --- back-pressure ---


def test_100_mb_to_a_client_that_does_not_read(echod):
    server = echod(program("head", "-c", "100000000", "/dev/zero", listen=UNIX))
    before = server.memory()
    with server.connect("exec") as client:
        client.exactly(1)
        time.sleep(0.3)
        assert children(server), "the program has to wait"
        if not server.has_sanitizer():
            assert server.memory() - before < 2 << 20
        used = server.cpu_seconds()
        time.sleep(0.3)
        assert server.cpu_seconds() - used < 0.15, "it spins"
        assert len(client.exchange(b"", length=99_999_999)) == 99_999_999
        assert client.rest() == b""


def test_single_bytes_to_a_client_that_does_not_read(echod):
    server = echod(python("""if True:
        import os
        for _ in range(600000):
            os.write(1, b"x")
    """, listen=UNIX))
    before = server.memory()
    with server.connect("exec") as client:
        wait_until(lambda: is_blocked_in_write(children(server)), "the program has to wait")
        if not server.has_sanitizer():
            assert server.memory() - before < 4 << 20
        assert len(client.exchange(b"")) == 600_000


def is_blocked_in_write(pids):
    """Whether the program uses no processor time: it waits."""
    if not pids:
        return False
    stat = Path(f"/proc/{pids[0]}/stat")
    before = stat.read_text().split()[13:15]
    time.sleep(0.2)
    return stat.read_text().split()[13:15] == before and sum(map(int, before)) > 0


def test_a_program_that_does_not_read_stops_the_client(echod):
    server = echod(shell("echo $$; read line; cat | wc -c", listen=UNIX))
    before = server.memory()
    data = b"\n" + bytes(16 << 20)
    with server.connect("exec") as client:
        pid = number(client)
        os.kill(pid, signal.SIGSTOP)
        sent = client.send_some(data)
        assert sent < 2 << 20
        if not server.has_sanitizer():
            assert server.memory() - before < 2 << 20
        os.kill(pid, signal.SIGCONT)
        assert client.exchange(data[sent:], half_close=True) == b"%d\n" % (16 << 20)


# --- what the program is given ---


def environment(text):
    return dict(line.split("=", 1) for line in text.decode().splitlines())


@pytest.mark.parametrize("listen", [TCP, pytest.param("tcp://[::1]:0", marks=needs_ipv6)])
def test_environment(echod, listen):
    server = echod(program("env", listen=listen), env={"SECRET": "x", "LD_LIBRARY_PATH": "/x"})
    address = server.address("exec")
    with server.connect("exec") as client:
        host, port = client.sock.getsockname()[:2]
        assert environment(client.rest()) == {
            "PATH": PATH,
            "SERVICE": "exec",
            "REMOTE_ADDR": host,
            "REMOTE_PORT": str(port),
            "LOCAL_ADDR": address.host,
            "LOCAL_PORT": str(address.port),
        }


@needs_ipv6
def test_environment_of_an_ipv4_client_on_a_dual_stack_socket(echod):
    server = echod(program("env", listen="tcp://[::]:0"))
    found = environment(answer(server, host="127.0.0.1"))
    assert (found["REMOTE_ADDR"], found["LOCAL_ADDR"]) == ("127.0.0.1", "127.0.0.1")


def test_environment_over_a_unix_socket(echod, workdir):
    server = echod({"who": {"type": "exec", "listen": UNIX, "command": "env"}})
    with server.connect("who") as client:
        assert environment(client.rest()) == {
            "PATH": PATH,
            "SERVICE": "who",
            "REMOTE_ADDR": "unix",
            "LOCAL_ADDR": f"unix:{workdir}/stream",
        }


def test_descriptors(echod):
    """0, 1 and 2, whatever the daemon has open or was started with; 3 is the directory itself."""
    listen = [TCP, UNIX]
    wrapper = ("sh", "-c", 'exec 7</dev/null 8<&0; exec "$0" "$@"')
    server = echod(program("ls", "-l", "/proc/self/fd", listen=listen), wrapper=wrapper)
    with server.connect("exec", "tcp"), server.connect("exec", "tcp"):
        lines = answer(server, transport="tcp").decode().splitlines()
    found = {line.split()[-3]: line.split()[-1] for line in lines if "->" in line}
    assert sorted(found) == ["0", "1", "2", "3"]
    assert found["3"].endswith("/fd")
    assert found["0"] == found["1"] and found["0"].startswith("socket:")
    assert found["2"].startswith("pipe:")


def test_signals_group_and_directory(echod):
    """Nothing ignored, nothing blocked, a group of its own, the root as directory."""
    server = echod(shell("grep Sig /proc/self/status; pwd; ps -o pid=,pgid= -p $$"))
    lines = answer(server).decode().splitlines()
    status = dict(line.split(":\t") for line in lines if ":" in line)
    assert int(status["SigIgn"], 16) & ~(3 << 31) == 0  # 32 and 33 belong to the C library
    assert int(status["SigBlk"], 16) == 0
    directory, ids = lines[-2:]
    assert directory == "/"
    assert len(set(ids.split())) == 1


def test_its_input_waits(echod):
    """The program's end of the socket is not in non-blocking mode."""
    server = echod(python("import os; print(os.get_blocking(0))"))
    assert answer(server) == b"True\n"


# --- standard error ---


def test_standard_error_goes_to_the_log_line_by_line(echod):
    server = echod(shell(r"printf 'one\n\ntwo \033[31m\nthree' >&2; echo out"))
    with server.connect("exec") as client:
        name = client.name
        assert client.rest() == b"out\n"
    for line in ("one", r"two \\x1b\[31m", "three"):
        server.log.wait(rf" info exec {name}: stderr: {line}$")
    assert len(server.log.matches("stderr:")) == 3


def test_long_lines_of_standard_error_are_cut(echod):
    server = echod(shell("head -c 100000 /dev/zero | tr '\\0' x >&2; echo >&2; echo end >&2"))
    assert answer(server) == b""
    assert len(server.log.wait(r"stderr: (x+)\.\.\.$")[1]) < 1000
    server.log.wait("stderr: end$")


def test_standard_error_is_rate_limited(echod):
    server = echod(shell("i=0; while [ $i -lt 5000 ]; do echo $i; i=$((i+1)); done >&2"))
    assert answer(server) == b""
    wait_no_children(server)
    assert len(server.log.matches("stderr:")) < 50


# --- the end of a program ---


def test_a_client_that_leaves_ends_its_program(echod):
    server = echod(program(*SLEEPS))
    with server.connect("exec") as client:
        pid = number(client)
        client.reset()
    wait_exit(pid)
    wait_no_children(server)


@pytest.mark.parametrize("listen", [TCP, UNIX])
@pytest.mark.parametrize("before", ["half-close", "unread input"])
def test_a_client_that_leaves_while_nothing_is_awaited_of_it(echod, listen, before):
    server = echod(program(*SLEEPS, listen=listen))
    with server.connect("exec") as client:
        pid = number(client)
        if before == "half-close":
            client.half_close()
        else:
            client.send_some(bytes(4 << 20))
        assert str(pid) in children(server)
        client.reset()
    wait_exit(pid)
    wait_no_children(server)


def test_the_end_is_term_first(echod, workdir):
    script = f"trap 'echo cleaned up >{workdir}/trace; exit' TERM; echo $$; sleep 1000 & wait"
    server = echod(shell(script))
    with server.connect("exec") as client:
        pid = number(client)
        client.reset()
    wait_exit(pid)
    assert (workdir / "trace").read_text() == "cleaned up\n"
    server.log.wait("the program has ended")
    wait_no_children(server)


def test_the_whole_process_group_is_ended(echod):
    server = echod(shell("sleep 1000 & echo $!; sleep 1000 & echo $!; wait"))
    with server.connect("exec") as client:
        pids = [number(client), number(client)]
        client.reset()
    for pid in pids:
        wait_exit(pid)
    wait_no_children(server)


def test_what_a_program_leaves_in_its_group_ends_with_it(echod):
    server = echod(shell("sleep 1000 & echo $!"))
    with server.connect("exec") as client:
        pid = number(client)
        assert client.rest() == b""
    wait_exit(pid)
    wait_no_children(server)
    assert not server.log.matches("timeout")


def test_the_end_does_not_wait_for_others_that_hold_the_output(echod):
    """They have left the group: they stay, too."""
    server = echod(shell("setsid sleep 1000 & sleep 0.2; echo $!"))
    with server.connect("exec") as client:
        pid = number(client)
        assert client.rest() == b""
    wait_no_children(server)
    os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_a_program_that_ignores_term_is_killed_after_5_s(echod):
    server = echod(program(*IGNORES_TERM))
    with server.connect("exec") as client:
        pid = number(client)
        begin = time.monotonic()
        client.reset()
    wait_exit(pid)
    assert 4.5 < time.monotonic() - begin < 8
    wait_no_children(server)


@pytest.mark.slow
def test_one_that_ignores_term_and_is_left_behind_is_killed_after_5_s(echod):
    server = echod(shell("trap '' TERM; (while :; do sleep 0.1; done) & echo $!"))
    with server.connect("exec") as client:
        pid = number(client)
        begin = time.monotonic()
        assert client.rest() == b""
    wait_exit(pid)
    assert 4.5 < time.monotonic() - begin < 8


def test_timeout(echod):
    server = echod(program(*SLEEPS, timeout="300ms"))
    with server.connect("exec") as client:
        pid, begin = number(client), time.monotonic()
        assert client.rest() == b""
        assert time.monotonic() - begin < 5
    wait_exit(pid)
    server.log.wait(" info exec .*: the program is over its timeout, it is ended$")
    wait_no_children(server)


def test_a_program_that_ends_in_time_is_not_bothered(echod):
    server = echod(shell("sleep 0.2; echo done", timeout="10s"))
    assert answer(server) == b"done\n"
    assert not server.log.matches("timeout")


def test_idle_timeout_ends_the_program(echod):
    server = echod(program(*SLEEPS, idle_timeout="200ms"))
    with server.connect("exec") as client:
        pid = number(client)
        assert client.rest() == b""
    server.wait_closed("idle")
    wait_exit(pid)


@pytest.mark.slow
def test_what_a_program_says_during_a_pause_of_the_daemon_is_in_time(echod):
    server = echod(shell("echo ready; sleep 0.3; echo done; read line", idle_timeout="4s"))
    with server.connect("exec") as client:
        assert client.line() == b"ready\n"
        with server.stopped(4.5):
            pass
        assert client.line() == b"done\n"
        assert client.rest() == b""
    server.wait_closed("idle")


@pytest.mark.slow
def test_a_program_that_ends_during_a_pause_of_the_daemon_is_in_time(echod):
    server = echod(shell("echo ready; sleep 0.3", timeout="4s"))
    with server.connect("exec") as client:
        assert client.line() == b"ready\n"
        with server.stopped(4.5):
            pass
        assert client.rest() == b""
    server.log.wait("the program has ended")
    assert not server.log.matches("timeout")


def test_a_program_killed_by_a_signal_is_logged(echod):
    server = echod(shell("kill -SEGV $$"))
    assert answer(server) == b""
    server.log.wait(r" info exec .*: the program was killed by signal 11$")


def test_a_program_that_fails_is_logged_and_counted(echod):
    server = echod({**shell("read line && exit $line"), "control": {"listen": "unix://$DIR/control"}})
    for status, failures in ((3, 1), (0, 1), (1, 2)):
        with server.connect("exec") as client:
            client.send(b"%d\n" % status)
            assert client.rest() == b""
        server.log.wait(r" debug exec .*: the program has ended \(exit status 0\)$" if status == 0 else
                        rf" info exec .*: the program has failed with exit status {status}$")
        with server.connect("control") as client:
            client.send(b"stats\n")
            client.half_close()
            assert b'exec_failed_programs_total{service="exec"} %d\n' % failures in client.rest()


def test_a_program_that_is_ended_has_not_failed(echod):
    server = echod(shell("trap 'exit 3' TERM; echo $$; sleep 1000 & wait"))
    with server.connect("exec") as client:
        pid = number(client)
        client.reset()
    wait_exit(pid)
    server.log.wait(r" debug exec .*: the program has ended \(exit status 3\)$")


@needs_root
def test_a_program_that_the_user_may_not_run(fleet, workdir, write):
    workdir.chmod(0o755)
    write("private/hello", "#!/bin/sh\n").chmod(0o755)
    (workdir / "private").chmod(0o700)
    server = fleet.launch(program(str(workdir / "private/hello")), user="nobody")
    text = f"services.exec.command: {workdir}/private/hello: Permission denied, for the user nobody"
    server.wait_stopped_with((1, 77, 78), text)
    assert f"warning: {server.config}:2: {text}" in run_echod("-t", "-c", server.config).stderr


@pytest.mark.slow
def test_1000_clients_in_a_row_leave_nothing(echod):
    server = echod(program("true", listen=UNIX))
    before = server.fds()
    for number in range(1000):
        with server.connect("exec") as client:
            if number % 2:
                assert client.rest() == b""
    wait_no_children(server)
    wait_until(lambda: server.fds() == before, "every descriptor is closed")


def test_50_clients_at_once(echod):
    server = echod(program("cat"))
    clients = [server.connect("exec") for _ in range(50)]
    for number, client in enumerate(clients):
        client.send(b"client %d\n" % number)
    for number, client in enumerate(clients):
        assert client.line() == b"client %d\n" % number
    assert len(children(server)) == 50
    for client in clients:
        client.close()
    wait_no_children(server)


# --- how many ---


def test_one_client_over_max_children_is_turned_away(echod):
    server = echod(program("cat", max_children=2))
    with server.connect("exec") as first, server.connect("exec") as second:
        assert (first.ask(b"a"), second.ask(b"b")) == (b"a", b"b")
        with server.connect("exec") as third:
            assert third.rest() == b""
        server.wait_closed("limit")
        first.half_close()
        assert first.rest() == b""
        wait_until(lambda: len(children(server)) == 1, "the first program has ended")
        assert answer(server, b"again") == b"again"


def test_one_client_over_max_children_waits(echod):
    server = echod(program("cat", max_children=1, on_limit="queue"))
    with server.connect("exec") as first, server.connect("exec") as second:
        assert first.ask(b"a") == b"a"
        second.send(b"b\n")
        for _ in range(20):
            assert first.ask(b"the loop turns") == b"the loop turns"
        assert not second.readable(), "it has to wait in the queue"
        first.half_close()
        assert first.rest() == b""
        assert second.line() == b"b\n"


def test_all_that_wait_are_served_in_the_end(echod):
    server = echod(program("cat", max_children=3, on_limit="queue"))
    clients = [server.connect("exec") for _ in range(30)]
    for number, client in enumerate(clients):
        data = b"client %d" % number
        assert client.exchange(data, half_close=True) == data
        client.close()


def test_a_program_that_does_not_die_counts(echod):
    settings = program(*IGNORES_TERM, max_children=1)
    server = echod(settings, limits={"shutdown_timeout": "300ms"})
    with server.connect("exec") as client:
        pid = number(client)
        client.reset()
    server.wait_closed("reset")
    assert answer(server) == b""
    server.wait_closed("limit")
    os.kill(pid, signal.SIGKILL)

    def greets():
        with server.connect("exec") as client:
            return client.more()

    wait_until(greets, "a client is served again")


# --- start, reload, stop ---


@pytest.mark.parametrize("command, text", [
    (["/no/such/program"], "services.exec.command: /no/such/program: No such file or directory"),
    (["no-such-program"], "services.exec.command: no-such-program: No such file or directory"),
    (["/etc/passwd"], "services.exec.command: /etc/passwd: Permission denied"),
    (["/usr"], "services.exec.command: /usr: Is a directory"),
])  # fmt: skip
def test_a_program_that_cannot_run_is_an_error_at_the_start(fleet, command, text):
    fleet.launch(program(*command)).wait_stopped_with((1, 78), text)


@pytest.mark.parametrize("settings, text", [
    ('listen = "tcp://127.0.0.1:0";', "services.exec.command"),
    ('listen = "tcp://127.0.0.1:0"; command = [ ];', "expected a program"),
    ('listen = "tcp://127.0.0.1:0"; command = [ "bin/cat" ];', "expected a program"),
    ('listen = "tcp://127.0.0.1:0"; command = "cat"; max_children = 0;', "max_children"),
    ('listen = "udp://127.0.0.1:0"; command = "cat";', "for streams only"),
])  # fmt: skip
def test_mistakes_in_the_config(write, settings, text):
    config = write("x.conf", "services = { exec = { %s }; };" % settings)
    done = run_echod("-t", "-c", config)
    assert done.returncode == 78
    assert text in done.stderr


def test_a_program_that_goes_missing(echod, write):
    script = write("script", "#!/bin/sh\necho hello\n")
    script.chmod(0o755)
    server = echod(program(str(script)))
    before = server.fds()
    assert answer(server) == b"hello\n"
    script.unlink()
    for _ in range(20):
        assert answer(server) == b""
    server.log.wait(f" error exec .*: cannot start {script}: No such file or directory$")
    assert len(server.log.matches("cannot start")) < 20
    wait_until(lambda: server.fds() == before, "every descriptor is closed")


def test_without_descriptors_a_client_is_closed_and_nothing_leaks(echod):
    server = echod(program("cat"))
    with server.connect("exec") as first:
        assert first.ask(b"a") == b"a"
        before = server.fds()
        for spare in range(1, 7):
            server.limit_fds(before + spare)
            with server.connect("exec") as client:
                client.half_close()
                try:
                    client.rest()
                except ConnectionResetError:
                    pass
            wait_until(lambda: server.fds() == before, "every descriptor is closed")
        server.limit_fds(before + 20)
        assert first.ask(b"b") == b"b"
        wait_until(lambda: answer(server, b"c") == b"c", "clients are served again")


def test_a_reload_takes_another_command_for_new_clients(echod):
    server = echod(program("cat", listen=UNIX))
    with server.connect("exec") as early:
        assert early.ask(b"a") == b"a"
        assert server.reload(program("tr", "a", "b", listen=UNIX))
        assert answer(server, b"aaa") == b"bbb"
        assert not server.reload(program("no-such-program", listen=UNIX))
        assert answer(server, b"aaa") == b"bbb"
        assert early.ask(b"a") == b"a"


def test_a_reload_that_takes_the_service_away_ends_its_programs(echod):
    server = echod({**program(*SLEEPS), "echo": {"listen": TCP}})
    with server.connect("exec") as client:
        pid = number(client)
        assert server.reload({"echo": {"listen": TCP}}, limits={"shutdown_timeout": "300ms"})
        assert client.rest() == b""
    wait_exit(pid)
    wait_no_children(server)
    with server.connect("echo") as client:
        assert client.ask(b"hello") == b"hello"


def test_a_stop_lets_programs_finish(echod):
    server = echod(shell("echo $$; sort"))
    with server.connect("exec") as client:
        number(client)
        client.send_read(b"b\na\n")
        server.send_signal(signal.SIGTERM)
        assert client.rest() == b"a\nb\n"
    server.wait_stopped()
    server.wait_closed("shutdown")


@pytest.mark.parametrize("command", [SLEEPS, IGNORES_TERM], ids=["sleeps", "ignores-term"])
def test_a_stop_ends_what_does_not_finish(echod, command):
    server = echod(program(*command), limits={"shutdown_timeout": "300ms"})
    clients = [server.connect("exec") for _ in range(5)]
    pids = [number(client) for client in clients]
    clients.pop().reset()
    server.send_signal(signal.SIGTERM)
    server.wait_stopped(deadline=10)
    for pid in pids:
        assert not Path(f"/proc/{pid}").exists()
    for client in clients:
        assert client.rest() == b""


def test_a_second_signal_stops_at_once(echod):
    server = echod(program(*IGNORES_TERM))
    with server.connect("exec") as client:
        pid = number(client)
        server.send_signal(signal.SIGTERM)
        server.log.wait("echod: stopping")
        begin = time.monotonic()
        server.send_signal(signal.SIGTERM)
        server.wait_stopped()
        assert time.monotonic() - begin < 5
    assert not Path(f"/proc/{pid}").exists()


def test_a_killed_daemon_shows_to_the_program_as_the_end_of_its_input(echod):
    server = echod(shell("echo $$; exec cat"))
    with server.connect("exec") as client:
        pid = number(client)
        server.kill()
        wait_exit(pid)
