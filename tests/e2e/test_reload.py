"""Reload: all or nothing; what did not change stays, clients included."""

import os
import re
import signal
import socket

import pytest

import harness
from harness import wait_until
from transports import needs_root

TCP = "tcp://127.0.0.1:0"


def kv(**settings):
    return {"kv": {"listen": TCP, **settings}}


def echo(**settings):
    return {"echo": {"listen": "unix://$DIR/echo", **settings}}


# --- what stays ---


def test_listener_clients_and_data_survive(echod):
    server = echod({**kv(), **echo()})
    port = server.address("kv").port
    with server.kv() as client, server.connect("echo") as other:
        assert client.ask(b"SET a 1") == b"OK"
        assert other.ask(b"hello") == b"hello"
        assert server.reload()
        assert client.ask(b"GET a") == b"1"
        assert other.ask(b"hello") == b"hello"
    assert server.address("kv").port == port
    with server.kv() as client:
        assert client.ask(b"GET a") == b"1"


def test_unchanged_socket_file_stays(echod, workdir):
    server = echod(echo())
    inode = (workdir / "echo").stat().st_ino
    assert server.reload()
    assert (workdir / "echo").stat().st_ino == inode


def test_half_a_line_survives(echod):
    server = echod(kv())
    with server.kv() as client:
        client.send_read(b"SET a ")
        assert server.reload()
        assert client.ask(b"1") == b"OK"
        assert client.ask(b"GET a") == b"1"


@pytest.mark.parametrize("before", [0, "5m"], ids=["never", "long"])
def test_new_timeouts_hold_for_the_clients_that_are_there(echod, before):
    server = echod(kv(idle_timeout=before))
    with server.kv() as idle:
        assert server.reload(kv(idle_timeout="300ms"))
        assert idle.rest() == b""
    server = echod(kv(line_timeout=before))
    with server.kv() as half:
        half.send_read(b"GET ")
        assert server.reload(kv(line_timeout="300ms"))
        assert half.rest() == b""


def test_longer_timeouts_hold_for_the_clients_that_are_there(echod):
    server = echod(kv(idle_timeout="1s", line_timeout="1s"))
    with server.kv() as idle, server.kv() as half:
        half.send_read(b"GET ")
        assert server.reload({**kv(idle_timeout=0, line_timeout=0), **echo(idle_timeout="1500ms")})
        with server.connect("echo") as other:
            assert other.rest() == b""
        assert idle.ask(b"GET a") == half.ask(b"a") == b"NOT_FOUND"


def test_order_of_services_and_addresses_does_not_matter(echod):
    first, second = "tcp://127.0.0.1:0", "unix://$DIR/kv"
    server = echod({**echo(), **kv(listen=[first, second])})
    with server.kv(transport="tcp") as tcp, server.kv(transport="unix") as unix:
        assert server.reload({**kv(listen=[second, first]), **echo()})
        assert tcp.ask(b"GET a") == b"NOT_FOUND"
        assert unix.ask(b"GET a") == b"NOT_FOUND"


# --- what changes ---


def test_changed_settings_apply_to_clients_that_are_there(echod):
    server = echod(kv(max_key=4))
    with server.kv() as client:
        assert client.ask(b"SET 12345 x") == b"ERROR: key too long"
        assert server.reload(kv(max_key=5))
        assert client.ask(b"SET 12345 x") == b"OK"


def test_changed_limits_apply(echod):
    server = echod(kv(max_connections=1))
    with server.kv():
        assert server.reload(kv(max_connections=2))
        server.kv().close()


def test_changed_access_rules_apply_to_new_clients(echod):
    server = echod(kv())
    with server.kv():
        assert server.reload(kv(deny=["127.0.0.1"]))
        with server.connect("kv") as client:
            assert client.rest() == b""


def test_changed_log_level_applies(fleet):
    server = fleet.start(kv(), args=(), log={"level": "info"})
    server.kv().close()
    assert server.reload(kv(), log={"level": "debug"})
    mark = server.log.mark()
    server.kv().close()
    server.log.wait(r" debug kv ", mark)


def test_added_service(echod):
    server = echod(echo())
    assert server.reload({**echo(), **kv()})
    with server.kv() as client:
        assert client.ask(b"SET a 1") == b"OK"


def test_added_address(echod):
    server = echod(kv())
    with server.kv() as client:
        assert server.reload(kv(listen=[TCP, "unix://$DIR/kv"]))
        client.ask(b"SET a 1")
        with server.kv(transport="unix") as other:
            assert other.ask(b"GET a") == b"1"


def test_removed_service(echod, workdir):
    server = echod({**echo(), **kv()})
    with server.connect("echo") as client, server.kv() as stays:
        client.ask(b"hello")
        assert server.reload(kv())
        assert client.rest() == b""
        server.wait_closed("reload")
        assert not (workdir / "echo").exists()
        assert stays.ask(b"GET a") == b"NOT_FOUND"


def test_removed_address_loses_its_clients_only(echod, workdir):
    server = echod(kv(listen=[TCP, "unix://$DIR/kv"]))
    with server.kv(transport="tcp") as stays, server.kv(transport="unix") as leaves:
        stays.ask(b"SET a 1")
        assert server.reload(kv())
        assert leaves.rest() == b""
        server.wait_closed("reload")
        assert stays.ask(b"GET a") == b"1"
        assert not (workdir / "kv").exists()


def test_disabled_service_is_removed(echod):
    server = echod({**echo(), **kv()})
    address = server.address("kv")
    assert server.reload({**echo(), **kv(enabled=False)})
    with pytest.raises(ConnectionRefusedError):
        harness.connect(address)


def test_renamed_instance_takes_its_port_along(echod):
    listen = f"tcp://127.0.0.1:{harness.free_port()}"
    server = echod(kv(listen=listen))
    with server.kv() as client:
        client.ask(b"SET a 1")
        assert server.reload({"store": {"type": "kv", "listen": listen}})
        assert client.rest() == b""
    with server.kv("store") as client:
        assert client.ask(b"GET a") == b"NOT_FOUND"


@pytest.mark.parametrize("wide", ["*", "0.0.0.0", "[::]"])
@pytest.mark.parametrize("widens", [True, False])
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_an_address_becomes_wider_or_narrower_on_its_port(echod, transport, wide, widens):
    narrow, wide = (f"{transport}://{host}:{{}}" for host in ("127.0.0.1", wide))
    port = harness.free_port()
    before, after = (listen.format(port) for listen in ((narrow, wide) if widens else (wide, narrow)))
    server = echod(echo(listen=before))
    for listen in after, before, after:
        mark = server.log.mark()
        assert server.reload(echo(listen=listen))
        server.log.wait(r" info echo: listening on ", mark)
        with harness.connect(harness.Address.parse(narrow.format(port))) as client:
            assert client.ask(b"hello") == b"hello"
            with socket.socket(type=client.sock.type & 0xF) as other, pytest.raises(OSError):
                other.bind(("127.0.0.1", port))


@pytest.mark.parametrize("order", [1, -1])
def test_an_address_within_another_one_is_refused_as_at_the_start(echod, order):
    port = harness.free_port()
    narrow, wide = f"tcp://127.0.0.1:{port}", f"tcp://*:{port}"
    server = echod(echo(listen=narrow))
    with server.connect("echo") as client:
        assert not server.reload(echo(listen=[narrow, wide][::order]))
        assert client.ask(b"hello") == b"hello"
    assert server.reload(echo(listen=wide))


def test_what_was_to_be_replaced_stays_when_the_reload_fails(echod):
    port = harness.free_port()
    narrow, wide = f"tcp://127.0.0.1:{port}", f"tcp://*:{port}"
    server = echod(echo(listen=narrow))
    with server.connect("echo") as client:
        assert not server.reload({**echo(listen=wide), **kv(listen="unix://$DIR/no/such/directory")})
        assert client.ask(b"hello") == b"hello"
        assert server.reload(echo(listen=narrow))
        assert client.ask(b"hello") == b"hello"


def test_changed_type_on_the_same_port(echod):
    listen = f"tcp://127.0.0.1:{harness.free_port()}"
    server = echod({"it": {"type": "kv", "listen": listen}})
    assert server.reload({"it": {"type": "echo", "listen": listen}})
    with server.connect("it") as client:
        assert client.ask(b"hello") == b"hello"


def test_two_instances_swap_their_ports(echod):
    one, two = (f"tcp://127.0.0.1:{harness.free_port()}" for _ in range(2))
    server = echod({"kv": {"listen": one}, "echo": {"listen": two}})
    assert server.reload({"kv": {"listen": two}, "echo": {"listen": one}})
    with harness.connect(one) as client:
        assert client.ask(b"hello") == b"hello"
    with harness.connect(two) as client:
        assert client.line() == b"READY\n"


def test_two_instances_swap_their_socket_files(echod):
    one, two = "unix://$DIR/one", "unix://$DIR/two"
    server = echod({"kv": {"listen": one}, "echo": {"listen": two}})
    assert server.reload({"kv": {"listen": two}, "echo": {"listen": one}})
    with harness.connect(server.fill_in(one)) as client:
        assert client.ask(b"hello") == b"hello"
    with harness.connect(server.fill_in(two)) as client:
        assert client.line() == b"READY\n"


def test_datagram_service_goes_on(echod):
    server = echod({"echo": {"listen": "udp://127.0.0.1:0"}})
    with server.connect("echo") as client:
        assert client.ask(b"before") == b"before"
        assert server.reload()
        assert client.ask(b"after") == b"after"


# --- what is refused ---


def test_bad_file_changes_nothing(echod):
    server = echod({**kv(max_key=4), **echo()})
    with server.kv() as client:
        mark = server.log.mark()
        assert not server.reload(kv(max_key=5, idel_timeout=3))
        server.log.wait(r" error reload: .*\.conf:\d+: .*idel_timeout", mark)
        assert server.log.matches(r"error reload: failed, the running configuration stays", mark)
        assert client.ask(b"SET 12345 x") == b"ERROR: key too long"
    with server.connect("echo") as client:
        assert client.ask(b"hello") == b"hello"


def test_each_mistake_is_a_line(echod):
    server = echod(kv())
    mark = server.log.mark()
    assert not server.reload(kv(idel_timeout=3, max_kee=1))
    for key in ("idel_timeout", "max_kee"):
        assert len(server.log.matches(rf" error reload: .*{key}", mark)) == 1


def test_file_that_is_gone_changes_nothing(echod):
    server = echod(kv())
    server.config.unlink()
    assert not server.reload()
    server.kv().close()


def test_a_file_that_becomes_a_pipe_holds_nobody_up(echod):
    server = echod(echo())
    text = server.config.read_text()
    server.config.unlink()
    os.mkfifo(server.config)
    mark = server.log.mark()
    assert not server.reload()
    server.log.wait(r"error reload: .*\.conf: not a regular file", mark)
    server.config.unlink()
    server.config.write_text(text)
    drop_ins = server.config.with_suffix(".d")
    drop_ins.mkdir()
    os.mkfifo(drop_ins / "late.conf")
    mark = server.log.mark()
    assert not server.reload()
    server.log.wait(r"error reload: .*/late\.conf: not a regular file", mark)
    with server.connect("echo") as client:
        assert client.ask(b"hello") == b"hello"


def test_port_in_use_changes_nothing(echod, workdir):
    server = echod({**kv(max_key=4), **echo()})
    with socket.socket() as taken, server.kv() as client:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        mark = server.log.mark()
        wanted = {"new": {"type": "echo", "listen": "unix://$DIR/new"},
                  **kv(listen=[TCP, address], max_key=5)}  # fmt: skip
        assert not server.reload(wanted)
        server.log.wait(rf" error reload: .*{re.escape(address)}", mark)
        assert client.ask(b"SET 12345 x") == b"ERROR: key too long"
    assert not (workdir / "new").exists(), "what was bound for it is closed again"
    with server.connect("echo") as client:
        assert client.ask(b"hello") == b"hello"


def test_good_reload_after_a_bad_one(echod):
    server = echod(kv(max_key=4))
    with server.kv() as client:
        assert not server.reload("services = {")
        assert server.reload(kv(max_key=5))
        assert client.ask(b"SET 12345 x") == b"OK"


@needs_root
def test_what_needs_a_restart_is_named(echod):
    server = echod(kv())
    mark = server.log.mark()
    assert server.reload(kv(), user="nobody")
    server.log.wait(r"user: .*restart", mark)
    mark = server.log.mark()
    assert server.reload()
    server.log.wait(r"user: .*restart", mark)
    server.kv().close()


# --- storms and logs ---


def test_storm_of_reloads_leaks_nothing_and_ends_with_the_last_file(echod):
    server = echod(kv(max_key=4))
    assert server.reload()
    before = server.fds()
    with server.kv() as client:
        for number in range(50):
            addresses = [TCP, "unix://$DIR/kv"] if number % 2 else [TCP]
            server.configure(kv(max_key=5 + number % 2, listen=addresses))
            server.send_signal(signal.SIGHUP)
            assert client.ask(b"GET a") == b"NOT_FOUND"

        def has_come_to_rest():
            return server.reload(kv(max_key=9)) and client.ask(b"SET 123456789 x") == b"OK"

        wait_until(has_come_to_rest, "the last file is in force")
    wait_until(lambda: server.fds() == before, "no descriptor is left over")


def test_reload_under_load_loses_no_answer(echod):
    server = echod(kv())
    requests = b"GET a\n" * 20_000
    with server.kv() as client:
        for _ in range(5):
            server.send_signal(signal.SIGHUP)
            answers = client.exchange(requests, length=len(b"NOT_FOUND\n") * 20_000)
            assert answers == b"NOT_FOUND\n" * 20_000


def test_usr1_reopens_the_log_file(fleet, workdir):
    server = fleet.start(kv(), log={"target": "$DIR/log"})
    os.rename(workdir / "log", workdir / "log.1")
    server.send_signal(signal.SIGUSR1)
    wait_until((workdir / "log").exists, "the new log file is there")
    server.kv().close()
    wait_until(lambda: " debug kv " in (workdir / "log").read_text(), "lines go to the new file")
    assert " debug kv " not in (workdir / "log.1").read_text()


def test_changed_log_target_applies(fleet, workdir):
    server = fleet.start(kv())
    server.configure(kv(), log={"target": "$DIR/log"})
    server.send_signal(signal.SIGHUP)
    wait_until((workdir / "log").exists, "the log file is there")
    server.kv().close()
    wait_until(lambda: " debug kv " in (workdir / "log").read_text(), "lines go to the file")
