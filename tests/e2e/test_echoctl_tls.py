"""echoctl at tls:// and rediss:// addresses: whom it trusts, what it says of others, and the ends of a connection."""

import base64
import contextlib
import hashlib
import os
import re
import select
import socket
import ssl
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

import certificates
from harness import DEADLINE
from test_echoctl import (NO, NOBODY, USAGE, Running, find_echoctl, nobody, read_all, run,
                          stream_peer)

MIB = 1 << 20
every_version = pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
CUT_OFF = "the connection was cut off: what has arrived may be incomplete"
WANTS_CERTIFICATE = "the server wants a client certificate: --cert FILE"


def speaks_tls():
    done = subprocess.run([find_echoctl(), "send", f"tls://127.0.0.1:{nobody()}", "hello"],
                          capture_output=True, check=False)  # fmt: skip
    return b"without OpenSSL" not in done.stderr


pytestmark = [
    pytest.mark.skipif(not os.path.exists(find_echoctl()), reason="echoctl is not built"),
    pytest.mark.skipif(
        os.path.exists(find_echoctl()) and not speaks_tls(), reason="echoctl is built without TLS"),
]


# --- certificates ---


@pytest.fixture(scope="module")
def directory():
    with tempfile.TemporaryDirectory(prefix="echod-") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def authority(directory):
    return certificates.ca(directory)


@pytest.fixture(scope="module")
def certificate(authority):
    """Of the server at localhost and 127.0.0.1."""
    return authority.issue("localhost", "127.0.0.1")


@pytest.fixture(scope="module")
def self_signed(directory):
    return certificates.self_signed(directory, "localhost", "127.0.0.1")


@pytest.fixture(scope="module")
def own(authority):
    """Of a client that the same CA has signed."""
    return authority.issue("client")


def pin_of(certificate):
    return "sha256/" + base64.b64encode(hashlib.sha256(certificate.public_key).digest()).decode()


# --- servers ---


def context_for(certificate, clients=None, version=None):
    """Of a server; `clients`: it wants certificates that this one has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.chain, certificate.key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.pem)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def echo_back(client):
    """Returns what a client says, after it has said goodbye."""
    while piece := client.recv(1 << 16):
        client.sendall(piece)
    client.unwrap()


@contextlib.contextmanager
def tls_peer(certificate, serve=echo_back, stays=False, scheme="tls", host="127.0.0.1", **options):
    """A server for one client; yields its address. It ends a connection only as `serve` does it."""
    context = context_for(certificate, **options)
    over = threading.Event()

    def wrapped(client):
        # With suppress_ragged_eofs, a FIN would look like the goodbye of TLS.
        with context.wrap_socket(client, server_side=True, suppress_ragged_eofs=False) as tls:
            serve(tls)
            if stays:
                over.wait(DEADLINE)

    with stream_peer(wrapped) as address:
        yield f"{scheme}://{host}:{address.rsplit(':', 1)[1]}"
        over.set()


def refused(address, *options, status=NO, **more):
    """What echoctl says of the server, of which it has printed nothing."""
    output, errors = run("send", *options, address, "hello", status=status, **more)
    assert output == b"" and errors.count("\n") == 1
    assert errors.startswith(f"echoctl: {address}: ")
    return errors.removeprefix(f"echoctl: {address}: ").rstrip("\n")


# --- whom it trusts ---


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@every_version
def test_server_of_a_trusted_ca(authority, certificate, host, version):
    with tls_peer(certificate, host=host, version=version) as address:
        assert run("send", "--ca", authority.pem, address, "hello") == (b"hello\n", "")


def test_cas_of_the_system(authority, certificate):
    trusting = {**os.environ, "SSL_CERT_FILE": str(authority.pem)}
    with tls_peer(certificate) as address:
        assert run("send", address, "hello", env=trusting) == (b"hello\n", "")


def test_ca_replaces_those_of_the_system(authority, certificate, self_signed):
    trusting = {**os.environ, "SSL_CERT_FILE": str(authority.pem)}
    with tls_peer(certificate) as address:
        assert "not trusted" in refused(address, "--ca", self_signed.pem, env=trusting)


def test_only_a_name_is_named_in_the_handshake(certificate):
    for host, named in [("localhost", "localhost"), ("127.0.0.1", None)]:
        seen = []
        context = context_for(certificate)
        context.sni_callback = lambda _, name, __: seen.append(name)

        def serve(client):
            with context.wrap_socket(client, server_side=True) as tls:
                echo_back(tls)

        with stream_peer(serve) as address:
            address = f"tls://{host}:{address.rsplit(':', 1)[1]}"
            run("send", "--pin", pin_of(certificate), address, "hello")
        assert seen == [named]


def test_unknown_ca(certificate):
    with tls_peer(certificate) as address:
        assert refused(address) == (
            'the certificate is signed by "Test ca", which is not trusted here: if you expect it, '
            f"trust it by --ca FILE or --pin {pin_of(certificate)}")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_certificate_for_another_name(authority, host):
    other = authority.issue("example.org", "*.example.org", "192.0.2.1")
    with tls_peer(other, host=host) as address:
        assert refused(address, "--ca", authority.pem) == (
            f'the certificate is for "example.org", "*.example.org", "192.0.2.1", not for "{host}" '
            f"(use its name, or --pin {pin_of(other)})")


def test_certificate_whose_names_are_hostile(authority):
    other = authority.issue(*[f"{'x' * 200}{i}.example.org" for i in range(50)])
    with tls_peer(other) as address:
        assert len(refused(address, "--ca", authority.pem)) < 1000


def test_expired_certificate(authority):
    expired = authority.issue("localhost", "127.0.0.1", start=-3, days=-1)
    end = certificates.openssl("x509", "-in", expired.pem, "-noout", "-enddate", "-dateopt", "iso_8601")
    end = end.decode().split("=")[1].strip().replace("Z", " UTC")
    with tls_peer(expired) as address:
        assert refused(address, "--ca", authority.pem) == (
            f"the certificate has expired on {end}: renew it, or use --pin {pin_of(expired)}")


def test_certificate_of_the_future(authority):
    early = authority.issue("localhost", "127.0.0.1", start=1)
    with tls_peer(early) as address:
        assert re.fullmatch(
            r"the certificate is not valid before \S+ \S+ UTC: is the clock of this machine right\?",
            refused(address, "--ca", authority.pem))


def test_intermediate_ca(authority):
    """The server sends it; with --ca, it can also be the end of the chain."""
    between = authority.issue(authority=True, file="between", subject="/CN=Between")
    below = between.issue("localhost", "127.0.0.1")
    for trusted in (authority, between, below):
        with tls_peer(below) as address:
            assert run("send", "--ca", trusted.pem, address, "hello") == (b"hello\n", "")


def test_certificate_of_a_client_is_none_of_a_server(authority):
    client = authority.issue("localhost", "127.0.0.1", usage="clientAuth")
    with tls_peer(client) as address:
        why = refused(address, "--ca", authority.pem)
        assert why.startswith("the certificate cannot be verified: un") and "purpose" in why


def test_self_signed_certificate(self_signed):
    with tls_peer(self_signed) as address:
        assert refused(address) == (
            "self-signed certificate: if you expect it, trust it by --ca FILE or "
            f"--pin {pin_of(self_signed)}")
    with tls_peer(self_signed) as address:
        assert run("send", "--ca", self_signed.pem, address, "hello") == (b"hello\n", "")


@pytest.mark.parametrize("form", ["base64", "hex", "HEX"])
def test_right_pin_replaces_name_ca_and_date(authority, form):
    expired = authority.issue("example.org", start=-3, days=-1)
    pin = {"base64": pin_of(expired), "hex": expired.fingerprint,
           "HEX": "sha256:" + expired.fingerprint[7:].upper()}[form]
    with tls_peer(expired) as address:
        assert run("send", "--pin", pin, address, "hello") == (b"hello\n", "")


def test_wrong_pin_is_refused_whatever_the_ca(authority, certificate, self_signed):
    seen = []
    with tls_peer(certificate, seen.append) as address:
        assert refused(address, "--ca", authority.pem, "--pin", pin_of(self_signed)) == (
            f"the key of the server is not the one of --pin, but {pin_of(certificate)}: it was "
            "renewed, or this is another server")
    assert seen == []


@pytest.mark.parametrize("pin", [
    "", "sha256", "sha256/", "sha256:", "sha1/" + "A" * 43 + "=", "sha256/" + "A" * 44,
    "sha256/" + "A" * 42 + "==", "sha256/" + "A" * 42 + "!=", "sha256/ " + "A" * 42 + "=",
    "sha256/" + "A" * 42 + "B=", "sha256:" + "a" * 63, "sha256:" + "a" * 65, "sha256:" + "g" * 64])
def test_what_is_no_pin(pin):
    errors = run("send", "--pin", pin, f"tls://127.0.0.1:{nobody()}", "hello", status=USAGE)[1]
    assert errors.startswith("echoctl: --pin: expected sha256/ and 44 characters of base64, or ")


# --- certificates of the client ---


@every_version
def test_client_certificate(authority, certificate, own, self_signed, version, workdir):
    def peer():
        return tls_peer(certificate, clients=authority, version=version)

    ca = ["--ca", authority.pem]
    both = workdir / "both.pem"
    both.write_text(own.key.read_text() + own.pem.read_text())
    with peer() as address:
        assert refused(address, *ca) == WANTS_CERTIFICATE
    with peer() as address:
        shown = ["--cert", own.pem, "--key", own.key]
        assert run("send", *ca, *shown, address, "hello") == (b"hello\n", "")
    with peer() as address:
        assert run("send", *ca, "--cert", both, address, "hello") == (b"hello\n", "")
    with peer() as address:
        shown = ["--cert", self_signed.pem, "--key", self_signed.key]
        assert refused(address, *ca, *shown) == (
            "the server does not accept the client certificate: unknown CA")


def test_every_command_says_that_a_client_certificate_is_wanted(authority, certificate):
    for scheme, *command in [("tls", "ping"), ("rediss", "get", "-a"), ("tls", "get", "-a"),
                             ("rediss", "dump", "-a")]:  # fmt: skip
        with tls_peer(certificate, scheme=scheme, clients=authority) as address:
            words = ["key"] if command[0] == "get" else []
            errors = run(command[0], "--ca", authority.pem, *command[1:], address, *words, status=NO)[1]
            # The kernel of the server discards its last words if it has not read ours.
            assert errors in [f"echoctl: {address}: {why}\n" for why in (
                WANTS_CERTIFICATE, "Connection reset by peer; the server has asked for a client "
                "certificate: --cert FILE")]  # fmt: skip


def test_files_that_cannot_be_used(authority, own, self_signed, workdir):
    locked, empty = workdir / "locked.key", workdir / "empty.pem"
    certificates.openssl("pkey", "-in", own.key, "-aes128", "-passout", "pass:secret", "-out", locked)
    empty.write_text("")
    for options, why in [
        (["--ca", workdir / "none"], f"--ca {workdir}/none: No such file or directory"),
        (["--ca", empty], f"--ca {empty}: it has no certificate in PEM"),
        (["--ca", own.key], f"--ca {own.key}: it has no certificate in PEM"),
        (["--cert", workdir / "none"], f"--cert {workdir}/none: No such file or directory"),
        (["--cert", own.key], f"--cert {own.key}: it has no certificate in PEM"),
        (["--cert", own.pem], f"--cert {own.pem}: it has no private key in PEM: --key FILE"),
        (["--cert", own.pem, "--key", own.pem], f"--key {own.pem}: it has no private key in PEM"),
        (["--cert", own.pem, "--key", self_signed.key],
         f"--key {self_signed.key}: the key does not belong to the certificate"),
        (["--cert", own.pem, "--key", locked],
         f"--key {locked}: the key is encrypted, and echoctl asks for no passphrase: decrypt it "
         "by 'openssl pkey'"),
    ]:
        errors = run("send", *options, f"tls://127.0.0.1:{nobody()}", "hello", status=NO)[1]
        assert errors == f"echoctl: {why}\n"


def test_wrong_usage(own):
    address = f"tls://127.0.0.1:{nobody()}"
    errors = run("send", "--key", own.key, address, "hello", status=USAGE)[1]
    assert errors == "echoctl: --key is of use only with --cert\n"
    for address in ("tcp://127.0.0.1:1", "unix:///none", "udp://127.0.0.1:1"):
        errors = run("send", "--pin", "x", address, "hello", status=USAGE)[1]
        assert errors == (
            f"echoctl: {address}: --ca, --cert, --key and --pin are for tls:// and rediss:// addresses\n")
    assert "unknown option --ca" in run("listen", "--ca", "x", "udp://127.0.0.1:0", status=USAGE)[1]


# --- what is no server ---


@pytest.mark.parametrize("scheme, plain", [("tls", "tcp"), ("rediss", "redis")])
def test_server_that_does_not_speak_tls(scheme, plain):
    def greet(client):
        client.sendall(b"READY\n")
        read_all(client)

    def echo(client):
        while piece := client.recv(1 << 16):
            client.sendall(piece)

    def reply(client):
        client.recv(1 << 16)
        client.sendall(b"-ERR unknown command\r\n")
        read_all(client)

    for serve in (greet, echo, reply):
        with stream_peer(serve) as address:
            why = refused(address.replace("tcp", scheme))
            assert why == f"the server does not speak TLS: write {plain}://"


def test_server_that_closes_in_the_handshake():
    with stream_peer(lambda client: client.recv(1 << 16)) as address:
        assert refused(address.replace("tcp", "tls")) == (
            "the server has closed the connection in the handshake: does it speak TLS?")


def test_server_of_old_versions(authority, certificate):
    context = context_for(certificate)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1

    def serve(client):
        context.wrap_socket(client, server_side=True)

    with stream_peer(serve) as address:
        assert refused(address.replace("tcp", "tls")) == (
            "the server does not speak TLS 1.2 or newer")


def test_nobody_is_there():
    address = f"tls://127.0.0.1:{nobody()}"
    assert refused(address, status=NOBODY) == "Connection refused"


# --- time ---


def test_handshake_takes_no_longer_than_w():
    def drip(client):
        """An endless message, a byte at a time."""
        client.sendall(b"\x16\x03\x03\x40\x00")
        while not select.select([client], [], [], 0.01)[0] or client.recv(1 << 16):
            client.sendall(b"\x02")

    for serve in (lambda client: None, drip):
        with stream_peer(serve, stays=True) as address:
            address = address.replace("tcp", "tls")
            assert refused(address, "-w", "0.3", status=NOBODY) == (
                "the server has not completed the TLS handshake in time")


def test_server_that_is_silent_after_the_handshake(authority, certificate):
    with tls_peer(certificate, read_all, stays=True) as address:
        assert refused(address, "-w", "0.3", "--ca", authority.pem) == "no answer within 0.3 s"


def test_server_that_takes_nothing(authority, certificate):
    with tls_peer(certificate, lambda client: None, stays=True) as address:
        errors = run("send", "-w", "0.3", "--ca", authority.pem, address,
                     input=bytes(16 * MIB), status=NO)[1]  # fmt: skip
        assert errors == f"echoctl: {address}: the peer takes no more\n"


# --- the ends ---


@every_version
def test_answer_after_the_end_of_the_input(authority, certificate, version):
    """The end of the input is close_notify, for a FIN would raise SSLEOFError, and the answer comes after it."""

    def serve(client):
        data = read_all(client)
        client.sendall(data * 1000)
        client.unwrap()

    data = os.urandom(10_000)
    with tls_peer(certificate, serve, version=version) as address:
        assert run("send", "--ca", authority.pem, address, input=data) == (data * 1000, "")
    with tls_peer(certificate, serve, version=version) as address:
        assert run("send", "--ca", authority.pem, address, input=b"") == (b"", "")


def test_both_sides_send_at_once(authority, certificate, workdir):
    """
    More than the kernel buffers goes each way, so that one way must go on while the other one is stuck. The input is a
    file: subprocess would write it in pieces of 512 bytes, and would wait for the thread of the server before each.
    """
    ours, theirs = os.urandom(8 * MIB), os.urandom(8 * MIB)
    received = []
    (workdir / "ours").write_bytes(ours)

    def send_first(client):
        client.sendall(theirs)
        while piece := client.recv(1 << 16):
            received.append(piece)
        client.unwrap()

    def alternate(client):
        sent = 0
        while sent < len(theirs):
            sent += client.send(theirs[sent:sent + 50_000])
            if len(received) < len(ours) >> 14:
                received.append(client.recv(40_000))
        while piece := client.recv(1 << 16):
            received.append(piece)
        client.unwrap()

    for serve in (send_first, alternate):
        with tls_peer(certificate, serve) as address, open(workdir / "ours", "rb") as data:
            assert run("send", "--ca", authority.pem, address, stdin=data) == (theirs, "")
        assert b"".join(received) == ours
        received.clear()


def test_answer_while_the_input_goes_on(authority, certificate):
    with tls_peer(certificate) as address, Running("send", "--ca", authority.pem, address) as client:
        for line in ("first", "second"):
            client.write(f"{line}\n".encode())
            assert client.line() == line
        assert client.finish() == ("", "")


def test_connection_that_is_cut_off(authority, certificate):
    """FIN without close_notify: what has arrived is printed, but nobody can know whether it is all."""

    def serve(client):
        read_all(client)
        client.sendall(b"half an answer")

    with tls_peer(certificate, serve) as address:
        output, errors = run("send", "--ca", authority.pem, address, "hello", status=NO)
        assert output == b"half an answer"
        assert errors == f"echoctl: {address}: {CUT_OFF}\n"


def test_ping_and_kv_tell_a_connection_that_is_cut_off(authority, certificate):
    def serve(client):
        client.recv(1)

    with tls_peer(certificate, serve) as address:
        errors = run("ping", "--ca", authority.pem, address, status=NO)[1]
        assert errors == f"echoctl: {address}: {CUT_OFF}\n"

    def start_to_answer(client):
        client.recv(1 << 16)
        client.sendall(b"$100\r\nhalf")

    with tls_peer(certificate, start_to_answer, scheme="rediss") as address:
        errors = run("get", "--ca", authority.pem, "-a", address, "key", status=NO)[1]
        assert errors == f"echoctl: {address}: {CUT_OFF}\n"


def test_reset(authority, certificate):
    def serve(client):
        client.recv(1 << 16)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with tls_peer(certificate, serve) as address:
        assert refused(address, "--ca", authority.pem) == "Connection reset by peer"


def test_peer_that_does_not_want_the_rest(authority, certificate):
    """Its goodbye ends the command, although the input goes on, and no SIGPIPE does."""

    def serve(client):
        client.sendall(client.recv(100))
        client.unwrap()

    with tls_peer(certificate, serve) as address, Running("send", "--ca", authority.pem, address) as client:
        client.write(b"first\n")
        assert client.line() == "first"
        assert client.finish() == ("", "")


# --- commands ---


def test_ping(authority, certificate):
    with tls_peer(certificate) as address:
        output, errors = run("ping", "-n", "3", "-i", "0.01", "--ca", authority.pem, address)
        assert errors == ""
        assert b"3 packets transmitted, 3 received, 0% packet loss" in output


def test_ping_measures_requests_and_no_handshake(authority, certificate):
    """The server begins its handshake late."""
    context = context_for(certificate)

    def serve(client):
        threading.Event().wait(0.5)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(client, server_side=True) as tls:
            echo_back(tls)

    with stream_peer(serve) as address:
        address = address.replace("tcp", "tls")
        output = run("ping", "-n", "1", "--ca", authority.pem, address)[0].decode()
        assert float(re.search(r"seq=1 time=([\d.]+) ms", output)[1]) < 500


def at_localhost(server, name):
    """The address of the service, with the name that its certificate is for."""
    return str(server.address(name).at("localhost"))


def tls_of(certificate, **more):
    """The group tls of a configuration."""
    return {"certificate": str(certificate.chain), "key": str(certificate.key), **more}


def test_dump_needs_rediss(echod, authority, certificate):
    server = echod({"kv": {"listen": "tls://127.0.0.1:0"}}, tls=tls_of(certificate))
    errors = run("dump", "--ca", authority.pem, "-a", at_localhost(server, "kv"), status=NO)[1]
    assert "dump needs a rediss:// address" in errors


@pytest.mark.parametrize("scheme", ["tls", "rediss"])
def test_kv(echod, authority, certificate, scheme, workdir):
    limits = {} if scheme == "rediss" else {"max_line": 512 << 10}
    server = echod({"kv": {"listen": f"{scheme}://127.0.0.1:0", "max_value": 500_000, **limits}},
                   tls=tls_of(certificate))  # fmt: skip
    value = os.urandom(500_000) if scheme == "rediss" else os.urandom(250_000).hex().encode()
    address = at_localhost(server, "kv")

    def kv(command, *args, **options):
        output, errors = run(command, "--ca", authority.pem, *args,
                             env={**os.environ, "ECHOD_KV": address}, **options)  # fmt: skip
        assert errors == ""
        return output

    kv("set", "big", input=value)
    assert kv("get", "big") == value
    kv("set", "--ttl", "1h", "small", "1")
    assert kv("incr", "small") == b"2\n"
    assert 3000 < int(kv("ttl", "small")) <= 3600
    assert sorted(kv("keys").split()) == [b"big", b"small"]
    if scheme == "rediss":
        kv("dump", workdir / "dump")
        assert kv("del", "big", "small") == b"2\n"
        kv("load", workdir / "dump")
        assert kv("get", "big") == value
    assert kv("del", "big", "small") == b"2\n"


def test_dump_and_load_of_many_keys(echod, authority, certificate):
    """load sends while replies arrive; dump receives while requests are sent."""
    server = echod({"kv": {"listen": "rediss://127.0.0.1:0", "max_memory": 64 * MIB}},
                   tls=tls_of(certificate))  # fmt: skip
    commands = b"".join(b"*3\r\n$3\r\nSET\r\n$6\r\nk%05d\r\n$200\r\n%s\r\n" % (i, b"%0200d" % i)
                        for i in range(20_000))  # fmt: skip
    to = ["--ca", authority.pem, "-a", at_localhost(server, "kv")]
    assert run("load", *to, input=commands) == (b"", "")
    output, errors = run("dump", *to)
    assert errors == "" and len(output) == len(commands)
    assert set(output.split(b"*3\r\n")) == set(commands.split(b"*3\r\n"))


def test_kv_of_the_daemon(echod, certificate, workdir):
    """Without -a, a listener without TLS is preferred, and one with TLS is used if there is no other."""
    server = echod({"kv": {"listen": ["rediss://127.0.0.1:0", "tcp://127.0.0.1:0"]},
                    "control": {"listen": "unix://$DIR/control"}}, tls=tls_of(certificate))  # fmt: skip
    control = ["-s", workdir / "control"]
    assert run(*control, "set", "key", "value") == (b"", "")
    server.stop()
    echod({"kv": {"listen": "rediss://127.0.0.1:0"},
           "control": {"listen": "unix://$DIR/control"}}, tls=tls_of(certificate))  # fmt: skip
    assert run(*control, "set", "--pin", certificate.fingerprint, "key", "value") == (b"", "")
    assert "not trusted" in run(*control, "set", "key", "value", status=NO)[1]


@every_version
def test_echo_of_the_daemon(echod, authority, certificate, version, workdir):
    data = os.urandom(8 * MIB)
    (workdir / "data").write_bytes(data)
    least = {ssl.TLSVersion.TLSv1_2: {}, ssl.TLSVersion.TLSv1_3: {"min_version": "1.3"}}[version]
    server = echod({"echo": {"listen": "tls://127.0.0.1:0"}}, tls=tls_of(certificate, **least))
    address = at_localhost(server, "echo")
    with open(workdir / "data", "rb") as sent:
        assert run("send", "--ca", authority.pem, address, stdin=sent) == (data, "")
    output, errors = run("ping", "-n", "3", "-i", "0.01", "--ca", authority.pem, address)
    assert errors == "" and b"3 received" in output


def test_daemon_that_wants_a_client_certificate(echod, authority, certificate, own, self_signed):
    server = echod({"echo": {"listen": "tls://127.0.0.1:0"}},
                   tls=tls_of(certificate, client_ca=str(authority.pem)))  # fmt: skip
    address = at_localhost(server, "echo")
    ca = ["--ca", authority.pem]
    shown = ["--cert", own.pem, "--key", own.key]
    assert run("send", *ca, *shown, address, "hello") == (b"hello\n", "")
    assert WANTS_CERTIFICATE.split(" wants ")[1] in refused(address, *ca)
    shown = ["--cert", self_signed.pem, "--key", self_signed.key]
    assert refused(address, *ca, *shown).startswith("the server does not accept the client certificate: ")


def test_control_is_asked_over_tls(authority, certificate):
    """echod's control service listens on Unix sockets only, but something may be in front of it."""

    def serve(client):
        assert client.recv(100) == b"log\n"
        client.sendall(b"log level info\nOK\n")

    trusting = {**os.environ, "SSL_CERT_FILE": str(authority.pem)}
    with tls_peer(certificate, serve) as address:
        assert run("-s", address, "log", env=trusting) == (b"log level info\n", "")
    with tls_peer(certificate, serve) as address:
        errors = run("-s", address, "log", status=NO)[1]
        assert errors.startswith(f'echoctl: {address}: the certificate is signed by "Test ca"')
    with tls_peer(certificate, lambda client: client.recv(100)) as address:
        errors = run("-s", address, "log", env=trusting, status=NO)[1]
        assert errors == f"echoctl: {address}: {CUT_OFF}\n"
