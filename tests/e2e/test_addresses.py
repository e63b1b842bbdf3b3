"""Addresses: families, wildcards, names, Unix sockets that are left over, taken or stolen."""

import fcntl
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess

import pytest

import harness
from harness import Address, connect
from transports import needs_ipv6, needs_root

ECHO = "echo"


def echo(listen, **settings):
    return {ECHO: {"listen": listen, **settings}}


def says_hello(client):
    with client:
        client.send(b"hello")
        return (client.exactly(5) if hasattr(client, "exactly") else client.receive()) == b"hello"


def test_port_0_takes_a_free_port_and_says_which(echod):
    server = echod(echo(["tcp://127.0.0.1:0", "tcp://127.0.0.1:0"]))
    ports = [address.port for address in server.addresses(ECHO)]
    assert len(set(ports)) == 2 and 0 not in ports


def test_chosen_port(echod):
    port = harness.free_port()
    server = echod(echo([f"tcp://127.0.0.1:{port}", f"udp://127.0.0.1:{port}"]))
    assert [a.port for a in server.addresses(ECHO)] == [port, port]
    assert says_hello(server.connect(ECHO, "tcp")) and says_hello(server.connect(ECHO, "udp"))


@needs_ipv6
@pytest.mark.parametrize("listen", ["tcp://*:0", "tcp://[::]:0", "udp://*:0", "udp://[::]:0"])
def test_dual_stack_wildcard(echod, listen):
    server = echod(echo(listen))
    assert len(server.addresses(ECHO)) == 1
    for host in ("127.0.0.1", "127.0.0.2", "::1"):
        assert says_hello(server.connect(ECHO, host=host)), host


@needs_ipv6
def test_ipv4_client_of_a_dual_stack_listener_is_shown_as_ipv4(echod):
    server = echod(echo("tcp://[::]:0"))
    with server.connect(ECHO, host="127.0.0.1") as client:
        name = client.name
        client.ask(b"hello")
    server.log.wait(rf"debug echo {name}: closed")


@needs_ipv6
def test_ipv6_peer_is_shown_in_brackets(echod):
    server = echod(echo("tcp://[::1]:0"))
    with server.connect(ECHO) as client:
        port = client.sock.getsockname()[1]
        client.ask(b"hello")
    server.log.wait(rf"debug echo \[::1\]:{port}: closed")


@needs_ipv6
def test_ipv6_only(echod):
    server = echod(echo("tcp://[::]:0", ipv6_only=True))
    assert says_hello(server.connect(ECHO, host="::1"))
    with pytest.raises(ConnectionRefusedError):
        server.connect(ECHO, host="127.0.0.1")


@needs_ipv6
def test_both_families_on_one_port(echod):
    port = harness.free_port()
    server = echod(echo([f"tcp://0.0.0.0:{port}", f"tcp://[::1]:{port}"]))
    assert says_hello(server.connect(ECHO, host="127.0.0.1"))
    assert says_hello(server.connect(ECHO, host="::1"))


@pytest.mark.parametrize("host", ["192.0.2.77", pytest.param("[2001:db8::77]", marks=needs_ipv6)])
@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_an_address_that_comes_later(fleet, echod, host, scheme):
    """freebind binds it now; without, the message names the key."""
    port = harness.free_port()
    server = fleet.launch(echo(f"{scheme}://{host}:{port}"))
    server.wait_stopped_with(69, "Cannot assign requested address (if this machine gets the address "
                                 "later, set freebind = true)")  # fmt: skip
    server = echod(echo(f"{scheme}://{host}:{port}", freebind=True))
    server.log.wait(rf"info echo: listening on {scheme}://{re.escape(host)}:{port}")


def test_name(echod):
    server = echod(echo("tcp://localhost:0"))
    found = socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)
    assert {a.host for a in server.addresses(ECHO)} == {entry[4][0] for entry in found}
    assert says_hello(server.connect(ECHO))


def with_hosts(write, text, *namespaces, before=""):
    """A wrapper that gives the daemon namespaces of its own and another /etc/hosts."""
    flags = ["unshare", "--mount", *namespaces]
    if subprocess.run([*flags, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no namespaces here")
    hosts = write("hosts", text)
    script = f'{before} mount --bind {shlex.quote(str(hosts))} /etc/hosts && exec "$0" "$@"'
    return [*flags, "sh", "-c", script]


@needs_root
@needs_ipv6
def test_every_address_of_a_name_is_bound(echod, write):
    hosts = "127.0.0.1 many.test\n127.0.0.3 many.test\n::1 many.test\n"
    server = echod(echo("tcp://many.test:0"), wrapper=with_hosts(write, hosts))
    assert sorted(a.host for a in server.addresses(ECHO)) == ["127.0.0.1", "127.0.0.3", "::1"]
    for address in server.addresses(ECHO):
        assert says_hello(connect(address))


@needs_root
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_an_address_of_a_name_that_is_not_here_is_told(echod, write, transport):
    """192.0.2.77 belongs to nobody."""
    hosts = "192.0.2.77 many.test\n127.0.0.1 many.test\n"
    listen = f"{transport}://many.test:{harness.free_port()}"
    server = echod(echo(listen), wrapper=with_hosts(write, hosts))
    server.log.wait(r"warning echo: cannot bind \w+://192\.0\.2\.77:\d+: Cannot assign requested")
    assert [a.host for a in server.addresses(ECHO)] == ["127.0.0.1"]
    server.log.wait(r" ready \(1 service, 1 address\)$")
    assert says_hello(server.connect(ECHO))
    mark = server.log.mark()
    assert server.reload()
    server.log.wait(r"warning echo: cannot bind \w+://192\.0\.2\.77:", mark)
    assert says_hello(server.connect(ECHO))


@needs_root
def test_a_name_where_the_kernel_has_no_ipv6(echod, write, faults):
    wrapper = with_hosts(write, "127.0.0.1 both.test\n::1 both.test\n")
    server = echod(echo(["tcp://both.test:0", "udp://*:0"]), wrapper=wrapper,
                   env={**faults.env, "ECHOD_FAULT_NO_IPV6": "1"})  # fmt: skip
    server.log.wait(r"warning echo: cannot bind tcp://\[::1\]:0: Address family not supported")
    assert {a.host for a in server.addresses(ECHO)} == {"127.0.0.1", "0.0.0.0"}
    assert says_hello(server.connect(ECHO, "tcp"))


@needs_root
def test_a_name_without_any_address_that_is_here_is_an_error(fleet, write):
    hosts = "192.0.2.77 many.test\n192.0.2.78 many.test\n"
    server = fleet.launch(echo("tcp://many.test:0"), wrapper=with_hosts(write, hosts))
    server.wait_stopped_with(69, "Cannot assign requested address")


@needs_root
def test_an_address_of_a_name_that_is_in_use_is_an_error(fleet, write):
    hosts = "127.0.0.4 many.test\n127.0.0.1 many.test\n"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"tcp://many.test:{taken.getsockname()[1]}"
        server = fleet.launch(echo(listen), wrapper=with_hosts(write, hosts))
        server.wait_stopped_with(69, "Address already in use")


def test_an_address_that_is_not_here_is_an_error(fleet):
    server = fleet.launch(echo(["tcp://127.0.0.1:0", "tcp://192.0.2.77:0"]))
    server.wait_stopped_with(69, "Cannot assign requested address")


@needs_root
def test_a_reload_binds_the_address_of_a_name_that_has_come(echod, write):
    """localhost, where IPv6 is off at first."""
    if shutil.which("ip") is None:
        pytest.skip("no ip here")
    off = "ip link set lo up; cd /proc/sys/net/ipv6/conf/; for i in all lo; do " \
        "echo 1 >$i/disable_ipv6 || exit; done;"
    hosts = "127.0.0.1 both.test\n::1 both.test\n"
    server = echod(echo("tcp://both.test:7"), wrapper=with_hosts(write, hosts, "--net", before=off))
    server.log.wait(r"warning echo: cannot bind tcp://\[::1\]:7: Cannot assign requested address")
    on = "for i in all lo; do echo 0 >/proc/sys/net/ipv6/conf/$i/disable_ipv6; done"
    subprocess.run(["nsenter", "-n", "-t", str(server.pid), "sh", "-c", on], check=True)
    mark = server.log.mark()
    assert server.reload()
    server.log.wait(r"info echo: listening on tcp://\[::1\]:7$", mark)
    assert not server.log.matches("cannot bind", mark)


def test_unknown_name_is_an_error(fleet):
    server = fleet.launch(echo("tcp://no-such-host.invalid:0"))
    server.wait_stopped_with(69, "no-such-host.invalid")


@pytest.mark.parametrize("host", ["127.0.0.2", "127.45.6.7"])
@pytest.mark.parametrize("listen", ["udp://0.0.0.0:0", "udp://*:0"])
def test_datagram_answer_leaves_from_the_asked_address(echod, listen, host):
    server = echod(echo(listen))
    assert says_hello(server.connect(ECHO, host=host)), "a connected client drops other sources"


# --- ports in use ---


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def test_port_in_use(fleet, kind):
    with socket.socket(type=kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        scheme = "tcp" if kind == socket.SOCK_STREAM else "udp"
        address = f"{scheme}://127.0.0.1:{taken.getsockname()[1]}"
        server = fleet.launch(echo([f"{scheme}://127.0.0.1:0", address]))
        server.wait_stopped_with(69, address)


def test_restart_on_the_port_that_was_just_left(echod):
    listen = f"tcp://127.0.0.1:{harness.free_port()}"
    first = echod(echo(listen))
    clients = [first.connect(ECHO) for _ in range(5)]
    for client in clients:
        client.ask(b"hello")
    first.stop()  # closes first: its side stays in TIME_WAIT
    for client in clients:
        assert client.rest() == b""
        client.close()
    assert says_hello(echod(echo(listen)).connect(ECHO))


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_two_instances_on_one_port(fleet, transport):
    listen = f"{transport}://127.0.0.1:{harness.free_port()}"
    server = fleet.launch({"one": {"type": "echo", "listen": listen},
                           "two": {"type": "echo", "listen": listen}})  # fmt: skip
    server.wait_stopped_with((69, 78), listen)


# --- Unix sockets ---


UNIX_KINDS = pytest.mark.parametrize(
    "scheme, kind",
    [("unix", socket.SOCK_STREAM), ("unixgram", socket.SOCK_DGRAM)],
    ids=["unix", "unixgram"],
)


def bound_socket(path, kind):
    """A socket at the path, as another program would have it."""
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(str(path))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


def received(sock):
    """What clients send; those that say nothing have only looked whether the socket lives."""
    while True:
        server = sock.accept()[0] if sock.type == socket.SOCK_STREAM else sock
        data = server.recv(100)
        if server is not sock:
            server.close()
        if data:
            yield data


@UNIX_KINDS
def test_stale_socket_is_taken_over(echod, workdir, scheme, kind):
    path = workdir / "socket"
    bound_socket(path, kind).close()
    assert path.is_socket()
    assert says_hello(echod(echo(f"{scheme}://{path}")).connect(ECHO))


@UNIX_KINDS
def test_socket_of_a_killed_daemon_is_taken_over(echod, scheme, kind):
    first = echod(echo(f"{scheme}://$DIR/socket"))
    first.kill()
    assert says_hello(echod(echo(f"{scheme}://$DIR/socket")).connect(ECHO))


@UNIX_KINDS
def test_live_socket_is_left_alone(fleet, workdir, scheme, kind):
    path = workdir / "socket"
    with bound_socket(path, kind) as live:
        inode = path.stat().st_ino
        fleet.launch(echo(f"{scheme}://{path}")).wait_stopped_with(69, str(path))
        assert path.stat().st_ino == inode
        client = socket.socket(socket.AF_UNIX, kind)
        client.connect(str(path))
        client.send(b"hello")
        assert next(received(live)) == b"hello"
        client.close()


@UNIX_KINDS
def test_second_daemon_does_not_steal_the_first_ones_socket(fleet, scheme, kind):
    first = fleet.start(echo(f"{scheme}://$DIR/socket"))
    second = fleet.launch(echo(f"{scheme}://$DIR/socket"))
    second.wait_stopped_with(69, str(first.directory / "socket"))
    assert says_hello(first.connect(ECHO))


@UNIX_KINDS
def test_two_instances_on_one_path(fleet, workdir, scheme, kind):
    listen = f"{scheme}://$DIR/socket"
    server = fleet.launch({"one": {"type": "echo", "listen": listen},
                           "two": {"type": "echo", "listen": listen}})  # fmt: skip
    server.wait_stopped_with((69, 78), str(workdir / "socket"))
    assert not (workdir / "socket").exists()


def test_abstract_name_in_use(fleet):
    first = fleet.start(echo("unix://@$ID"))
    second = fleet.launch(echo(str(first.address(ECHO))))
    second.wait_stopped_with(69, first.address(ECHO).path)
    assert says_hello(first.connect(ECHO))


@pytest.mark.parametrize("kind", ["a regular file", "a directory", "a symbolic link"])
def test_file_that_is_no_socket_is_left_alone(fleet, workdir, kind):
    """Not even a link to a socket that is stale is followed."""
    path = workdir / "precious"
    if kind == "a regular file":
        path.write_text("data")
    elif kind == "a directory":
        path.mkdir()
    else:
        bound_socket(workdir / "stale", socket.SOCK_STREAM).close()
        path.symlink_to(workdir / "stale")
    before = path.lstat()
    fleet.launch(echo(f"unix://{path}")).wait_stopped_with(69, f"no socket but {kind}: remove that")
    assert path.lstat().st_ino == before.st_ino
    assert (workdir / "stale").exists() == (kind == "a symbolic link")


def test_missing_directory_is_named(fleet, workdir):
    server = fleet.launch(echo("unix://$DIR/not/there"))
    server.wait_stopped_with(69, f"No such file or directory: create the directory {workdir}/not")


@needs_root
def test_directory_that_may_not_be_written_is_named(fleet, workdir):
    (workdir / "closed").mkdir(mode=0o755)
    wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    workdir.chmod(0o755)
    if not harness.is_tree_open():
        pytest.skip("only its owner may enter the build tree")
    server = fleet.launch(echo("unix://$DIR/closed/socket"), wrapper=wrapper)
    server.wait_stopped_with(77, f"user 65534 may not make files in {workdir}/closed")


@UNIX_KINDS
def test_longest_path(echod, workdir, scheme, kind):
    path = f"{workdir}/" + "x" * (107 - len(f"{workdir}/"))
    first = echod(echo(f"{scheme}://{path}"))
    first.kill()
    assert says_hello(echod(echo(f"{scheme}://{path}")).connect(ECHO))
    assert sorted(name for name in os.listdir(workdir) if "lock" in name) == []


def test_nobody_elses_lock_holds_it_up(echod, workdir):
    """Whoever may read the directory can lock it."""
    directory = os.open(workdir, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        server = echod(echo(["tcp://127.0.0.1:0", "unix://$DIR/a"]))
        assert server.reload(echo(["tcp://127.0.0.1:0", "unix://$DIR/a", "unixgram://$DIR/b"]))
        assert says_hello(server.connect(ECHO, "unix"))
        assert says_hello(server.connect(ECHO, "unixgram"))
    finally:
        os.close(directory)


def test_a_lock_that_a_dead_process_has_left_is_no_matter(echod, workdir):
    (workdir / ".socket.lock").touch(mode=0o600)
    assert says_hello(echod(echo("unix://$DIR/socket")).connect(ECHO))
    assert not (workdir / ".socket.lock").exists()


@pytest.mark.parametrize("kind", ["link", "readable", "stranger's"])
def test_a_lock_that_others_can_open_is_refused(fleet, workdir, kind):
    lock = workdir / ".socket.lock"
    if kind == "link":
        lock.symlink_to(workdir / "elsewhere")
    else:
        lock.touch(mode=0o600 if kind == "stranger's" else 0o644)
    if kind == "stranger's":
        if os.geteuid() != 0:
            pytest.skip("needs root")
        os.chown(lock, 65534, 65534)
    server = fleet.launch(echo("unix://$DIR/socket"))
    server.wait_stopped_with((69, 77), f"{lock} is no lock file of ours: remove it")
    assert lock.is_symlink() or lock.exists()
    assert not (workdir / "elsewhere").exists()


@UNIX_KINDS
def test_of_many_that_start_at_once_one_gets_the_path(fleet, workdir, scheme, kind):
    bound_socket(workdir / "socket", kind).close()
    daemons = [fleet.launch(echo(f"{scheme}://$DIR/socket")) for _ in range(6)]
    harness.wait_until(
        lambda: sum(d.process.poll() is not None for d in daemons) == len(daemons) - 1,
        "all but one have given up")
    for daemon in daemons:
        if daemon.process.poll() is not None:
            daemon.wait_stopped(69)
        else:
            daemon.wait_ready()
            assert says_hello(daemon.connect(ECHO))
    assert not (workdir / ".socket.lock").exists()


# --- a path that goes while it is served ---


@pytest.mark.parametrize("how", ["removed", "stale", "moved"])
@UNIX_KINDS
def test_a_path_that_is_gone_is_bound_again_by_a_reload(echod, workdir, scheme, kind, how):
    path = workdir / "socket"
    server = echod(echo(["tcp://127.0.0.1:0", f"{scheme}://{path}"]))
    clients = [server.connect(ECHO, "tcp"), server.connect(ECHO, scheme)]
    if how == "moved":
        path.rename(workdir / "other")
    else:
        path.unlink()
    if how == "stale":
        bound_socket(path, kind).close()
    assert server.reload()
    assert says_hello(server.connect(ECHO, scheme))
    for client in clients if kind == socket.SOCK_STREAM else clients[:1]:
        with client:
            client.send(b"still here")
            assert client.exactly(10) == b"still here"
    server.stop()
    assert not path.exists()


def test_a_path_that_is_another_file_by_now_fails_the_reload(echod, workdir):
    path = workdir / "socket"
    server = echod(echo(f"unix://{path}"))
    with server.connect(ECHO) as client:
        path.unlink()
        path.write_text("precious")
        assert not server.reload()
        server.log.wait(r"services\.echo\.listen: cannot bind .*no socket but a regular file")
        client.send(b"still here")
        assert client.exactly(10) == b"still here"
    server.stop()
    assert path.read_text() == "precious"


def test_a_path_that_another_server_has_by_now_fails_the_reload(echod, workdir):
    path = workdir / "socket"
    server = echod(echo(f"unix://{path}"))
    path.unlink()
    with bound_socket(path, socket.SOCK_STREAM):
        assert not server.reload()
        server.log.wait(r"services\.echo\.listen: cannot bind .*a process that runs has it")
        server.stop()
        assert path.is_socket()


def test_path_that_is_too_long_is_an_error(fleet):
    fleet.launch(echo("unix://$DIR/" + "x" * 200)).wait_stopped_with((69, 78), "xxx")


@UNIX_KINDS
def test_socket_is_removed_at_exit(echod, workdir, scheme, kind):
    server = echod(echo(f"{scheme}://$DIR/socket"))
    assert (workdir / "socket").is_socket()
    server.stop()
    assert [path.name for path in workdir.iterdir()] == [server.config.name]


@UNIX_KINDS
def test_somebody_elses_socket_is_not_removed_at_exit(echod, workdir, scheme, kind):
    path = workdir / "socket"
    server = echod(echo(f"{scheme}://{path}"))
    path.unlink()
    with bound_socket(path, kind):
        server.stop()
        assert path.is_socket()


@UNIX_KINDS
@pytest.mark.parametrize("mode", [None, "0600", "0666", "0777"])
def test_socket_mode(echod, workdir, scheme, kind, mode):
    old = os.umask(0o077)
    try:
        settings = {} if mode is None else {"socket_mode": mode}
        echod(echo(f"{scheme}://$DIR/socket", **settings))
    finally:
        os.umask(old)
    got = stat.S_IMODE((workdir / "socket").stat().st_mode)
    assert got == int(mode or "0660", 8), oct(got)


def test_address_texts_of_the_log_can_be_parsed_again(echod):
    server = echod(echo(["tcp://127.0.0.1:0", "unix://$DIR/s", "unix://@$ID"]))
    for address in server.addresses(ECHO):
        assert Address.parse(str(address)) == address
