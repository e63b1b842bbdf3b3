"""Certificates: what is said of bad ones, which one a client gets, who may come in, and how they are renewed."""

import contextlib
import grp
import json
import os
import pwd
import re
import shutil
import socket
import ssl
import subprocess
import threading
from types import SimpleNamespace

import pytest

import certificates
import harness
from certificates import openssl
from harness import DEADLINE, run_echod, to_setting, wait_until
from test_echoctl import find_echoctl
from transports import needs_open_tree, needs_root

TLS = "tls://127.0.0.1:0"


@pytest.fixture(autouse=True)
def needs_tls(write):
    """Without OpenSSL there is one error for all of this."""
    text = f'services = {{ echo = {{ listen = "{TLS}"; }}; }};'
    if "built without TLS" in run_echod("-c", write("probe.conf", text), "-t").stderr:
        pytest.skip("echod is built without TLS")


@pytest.fixture
def authority(workdir):
    return certificates.ca(workdir)


@pytest.fixture
def server_files(authority):
    return authority.issue("example.org", "127.0.0.1", file="server")


def files(*issued, **more):
    """The group tls for these certificates."""
    return {"certificate": [str(each.chain) for each in issued], "key": [str(each.key) for each in issued],
            **more}  # fmt: skip


def upper(**settings):
    return {"up": {"type": "upper", "listen": TLS, **settings},
            "control": {"listen": "unix://$DIR/control"}}  # fmt: skip


def client_context(authority=None, client=None, version=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if authority is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(authority.pem)
    if client is not None:
        context.load_cert_chain(client.chain, client.key)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


@contextlib.contextmanager
def connected(server, name=None, context=None, instance="up"):
    address = server.address(instance)
    with socket.create_connection(("127.0.0.1", address.port), timeout=DEADLINE) as plain:
        with (context or client_context()).wrap_socket(plain, server_hostname=name) as client:
            yield client


def shown(server, name=None, context=None):
    """The certificate that a client gets, in PEM; it has also been served."""
    with connected(server, name, context) as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"HELLO"
        return ssl.DER_cert_to_PEM_cert(client.getpeercert(binary_form=True))


def is_shown(server, issued, name=None):
    return ssl.PEM_cert_to_DER_cert(shown(server, name)) == ssl.PEM_cert_to_DER_cert(issued.pem.read_text())


def refused(server, context):
    """Whether the client is not served: in TLS 1.3 it learns that with its first read."""
    try:
        shown(server, context=context)
    except (ssl.SSLError, ConnectionError):
        return True
    return False


def status(workdir):
    done = subprocess.run([find_echoctl(), "-s", workdir / "control", "-j", "status"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    return json.loads(done.stdout)


def replace(path, text):
    """By rename, as a renewal should be."""
    fresh = path.with_suffix(".fresh")
    fresh.write_text(text)
    fresh.chmod(path.stat().st_mode)
    fresh.rename(path)


def install(issued, over):
    """Puts a certificate with its key in the place of another one's."""
    replace(over.chain, issued.chain.read_text())
    replace(over.key, issued.key.read_text())


# --- errors ---


def self_test(authority, **more):
    """Files that are right, to be spoilt."""
    return authority.issue("example.org", **more)


def missing_file(authority, good):
    return {**files(good), "certificate": "/nonexistent/cert.pem"}, \
        r"tls.certificate: cannot open /nonexistent/cert.pem: No such file or directory \(correct the path"


def missing_key(authority, good):
    return {**files(good), "key": "/nonexistent/key.pem"}, "tls.key: cannot open /nonexistent/key.pem: No such"


def relative_path(authority, good):
    return {**files(good), "certificate": "cert.pem"}, \
        'tls.certificate: expected an absolute path, got "cert.pem"'


def no_pem(authority, good):
    good.chain.write_bytes(openssl("x509", "-in", good.pem, "-outform", "DER"))
    return files(good), "server.chain.pem is not in PEM, which begins with a line -----BEGIN"


def empty(authority, good):
    good.chain.write_text("")
    return files(good), "is not in PEM"


def half(authority, good):
    good.chain.write_text(good.chain.read_text()[:300])
    return files(good), "server.chain.pem: its PEM is broken, or only a part of it has been written"


def damaged(authority, good):
    lines = good.chain.read_text().splitlines()
    lines[1] = "AAAA" + lines[1][4:]
    good.chain.write_text("\n".join(lines) + "\n")
    return files(good), "server.chain.pem: a certificate is broken"


def damaged_key(authority, good):
    lines = good.key.read_text().splitlines()
    lines[1] = "AAAA" + lines[1][4:]
    good.key.write_text("\n".join(lines) + "\n")
    return files(good), "tls.key: .*server.key: the private key is broken"


def no_certificate(authority, good):
    return {**files(good), "certificate": str(good.key)}, "there is no certificate in .*server.key"


def no_key(authority, good):
    return {**files(good), "key": str(good.pem)}, "tls.key: there is no private key in .*server.pem"


def no_key_at_all(authority, good):
    return {"certificate": str(good.pem)}, \
        r"tls.certificate: there is no private key in .*server.pem \(add the file of the key"


def another_key(authority, good):
    other = authority.issue("other.org", file="other")
    return {**files(good), "key": str(other.key)}, \
        "tls.key: the private key in .*other.key does not belong to the certificate in .*server.chain.pem"


def wrong_order(authority, good):
    good.chain.write_text(authority.pem.read_text() + good.pem.read_text())
    return files(good), r"belongs to certificate 2 in .*server.chain.pem \(put that certificate first"


def too_many_keys(authority, good):
    return {**files(good), "key": [str(good.key), str(good.key)]}, \
        "tls.key: expected a key for each certificate, in the same order, got 2 for 1"


def passphrase(authority, good):
    text = openssl("pkey", "-in", good.key, "-aes256", "-passout", "pass:secret")
    good.key.write_bytes(text)
    return files(good), "tls.key: the private key in .*server.key is encrypted by a passphrase"


def old_passphrase(authority, good):
    text = openssl("ec", "-in", good.key, "-aes256", "-passout", "pass:secret")
    good.key.write_bytes(text)
    return files(good), "is encrypted by a passphrase"


def open_key(authority, good):
    good.key.chmod(0o644)
    return files(good), r"others can read the private key in .*server.key \(mode 0644; chmod o-rwx"


def open_certificate(authority, good):
    good.chain.chmod(0o666)
    return files(good), r"others can write to .*server.chain.pem \(mode 0666; chmod o-w"


def directory(authority, good):
    return {**files(good), "certificate": "/usr"}, "tls.certificate: /usr is not a regular file"


def device(authority, good):
    return {**files(good), "certificate": "/dev/zero"}, "/dev/zero is not a regular file"


def huge(authority, good):
    with good.chain.open("a") as file:
        file.truncate(2 << 20)
    return files(good), "server.chain.pem is larger than a PEM file may be"


def short_rsa(authority, good):
    weak = self_test(authority, kind="rsa:1024", file="weak")
    return files(weak), "the RSA key of the certificate in .*weak.chain.pem has 1024 bits only"


def strange_curve(authority, good):
    strange = self_test(authority, kind="ec:secp256k1", file="strange")
    return files(strange), "is on the curve secp256k1, which TLS clients do not know"


def empty_client_ca(authority, good):
    return files(good, client_ca=str(good.key)), "tls.client_ca: there is no certificate in .*server.key"


def no_crl(authority, good):
    return files(good, client_ca=str(authority.pem), crl=str(authority.pem)), \
        "tls.crl: there is no CRL in .*ca.pem"


ERRORS = [missing_file, missing_key, relative_path, no_pem, empty, half, damaged, damaged_key, no_certificate,
          no_key, no_key_at_all, another_key, wrong_order, too_many_keys, passphrase, old_passphrase,
          open_key, open_certificate, directory, device, huge, short_rsa, strange_curve, empty_client_ca,
          no_crl]  # fmt: skip


@pytest.mark.parametrize("mistake", ERRORS, ids=lambda mistake: mistake.__name__)
def test_an_error_says_where_and_what(echod, workdir, authority, server_files, mistake):
    good = self_test(authority, file="good")
    server = echod(upper(), tls=files(good))
    settings, expected = mistake(authority, server_files)
    mark = server.log.mark()
    assert not server.reload(upper(), tls=settings)
    pattern = re.escape(str(server.config)) + r":\d+: .*" + expected
    server.log.wait(" error reload: " + pattern, mark)
    assert is_shown(server, good)
    dry = subprocess.run([find_echoctl(), "-s", workdir / "control", "reload", "--dry-run"],
                         capture_output=True, text=True, check=False)  # fmt: skip
    assert dry.returncode == 1 and re.search(pattern, dry.stderr)
    checked = run_echod("-c", server.config, "-t")
    assert checked.returncode == 78 and re.search("^echod: " + pattern, checked.stderr, re.M)
    # One mistake, although two instances share it.
    server.configure({**upper(), "echo": {"listen": TLS}}, tls=settings)
    checked = run_echod("-c", server.config, "-t")
    assert len(re.findall(pattern, checked.stderr)) == 1


def test_no_certificate_at_all(write):
    config = write("test.conf", 'services = {\n  echo = {\n    listen = "tls://127.0.0.1:0"; }; };\n')
    checked = run_echod("-c", config, "-t")
    assert checked.returncode == 78
    assert checked.stderr.startswith(
        f"echod: {config}:3: tls.certificate: is missing: services.echo listens at tls:// or rediss:// (set ")
    started = run_echod("-c", config)
    assert started.returncode == 78 and ":3: tls.certificate: is missing" in started.stderr


def test_keys_of_an_instance(write, authority, server_files):
    text = 'services = { echo = { listen = "%s";\n %s }; };\n'
    for keys, expected in (
        (f'tls_key = "{server_files.key}";', ":2: services.echo.tls_key: is of no use without tls_certificate"),
        ('tls_certificate = "/nonexistent";', ":2: services.echo.tls_certificate: cannot open /nonexistent"),
        (f'tls_certificate = "{server_files.chain}"; tls_key = "{server_files.key}";\n tls_crl = "/x";',
         ":3: services.echo.tls_crl: no client is asked for a certificate"),
    ):
        checked = run_echod("-c", write("test.conf", text % ("tls://127.0.0.1:0", keys)), "-t")
        assert checked.returncode == 78 and expected in checked.stderr
    checked = run_echod("-c", write("test.conf", text % ("tcp://127.0.0.1:0", keys)), "-t")
    assert checked.returncode == 0
    assert ":2: services.echo.tls_certificate: has no effect: no address" in checked.stderr


def test_a_crl_that_nobody_needs(write, authority, server_files):
    """Unless a service asks for certificates, the CRL of the group has no effect."""
    group = {"tls": files(server_files, crl=str(authority.revoke()))}
    for settings, warned in ({}, True), ({"tls_client_ca": str(authority.pem)}, False):
        config = write("test.conf", harness.to_config({"echo": {"listen": TLS, **settings}, "daytime": {"listen": TLS}}, **group))
        checked = run_echod("-c", config, "-t")
        assert checked.returncode == 0
        found = re.findall("tls.crl: has no effect: no client is asked for a certificate", checked.stderr)
        assert len(found) == warned


def test_who_needs_a_certificate_is_not_everybody(write, authority, server_files):
    for address, settings, warned in (("tls://*:7501", {}, True), ("tls://*:7501", {"tls_client_ca": str(authority.pem)}, False),
                                      ("tcp://*:7501", {"tls_client_ca": str(authority.pem)}, True)):
        config = write("test.conf", harness.to_config({"kv": {"listen": address, **settings}}, tls=files(server_files)))
        checked = run_echod("-c", config, "-t")
        assert checked.returncode == 0
        assert (f"{address} lets everybody" in checked.stderr) == warned


@needs_root
@needs_open_tree
def test_the_user_must_be_able_to_read_the_key(echod, workdir, authority, server_files):
    workdir.chmod(0o755)
    server_files.chain.chmod(0o644)
    config = workdir / "test.conf"
    config.write_text(harness.to_config({"echo": {"listen": TLS}}, user="nobody", tls=files(server_files)))
    pattern = r"tls.key: cannot open .*server.key: Permission denied, for the user nobody \(let its group read it: chgrp " \
        + grp.getgrgid(pwd.getpwnam("nobody").pw_gid).gr_name + " /"
    for checked in run_echod("-c", config, "-t"), run_echod("-c", config):
        assert checked.returncode == 78 and re.search(pattern, checked.stderr)
    shutil.chown(server_files.key, "nobody")
    assert run_echod("-c", config, "-t").returncode == 0
    server = echod({"up": {"type": "upper", "listen": TLS}}, user="nobody", tls=files(server_files))
    assert is_shown(server, server_files)
    # As the user, it sees a renewal, and what it may not read.
    renewed = authority.issue("example.org", file="renewed")
    mark = server.log.mark()
    install(renewed, server_files)
    until_logged(server, r"warning up: the new files of TLS are not used, .*Permission denied", mark)
    assert not is_shown(server, renewed)
    shutil.chown(server_files.key, "nobody")
    wait_until(lambda: is_shown(server, renewed), "the renewed certificate is used")


# --- warnings ---


def expired(authority, good):
    old = self_test(authority, start=-10, days=-1, file="old")
    return files(old), "tls.certificate: the certificate in .*old.chain.pem has expired at 20"


def not_yet_valid(authority, good):
    early = self_test(authority, start=1, file="early")
    return files(early), "the certificate in .*early.chain.pem is not valid before 20"


def expires_soon(authority, good):
    soon = self_test(authority, start=-80, days=9.5, file="soon")
    return files(soon), "the certificate in .*soon.chain.pem expires at 20.*, in 9 days"


def stranger_in_the_chain(authority, good):
    stranger = certificates.ca(authority.directory, "stranger")
    good.chain.write_text(good.pem.read_text() + stranger.pem.read_text())
    return files(good), r"certificate 2 \(CN=Test stranger\) is not the issuer of certificate 1, which is CN=Test ca"


def no_names(authority, good):
    nameless = authority.issue(file="nameless")
    return files(nameless), "nameless.chain.pem: the certificate has no subjectAltName"


def foreign_crl(authority, good):
    stranger = certificates.ca(authority.directory, "stranger")
    return files(good, client_ca=str(authority.pem), crl=str(stranger.revoke())), \
        r"there is no CRL of CN=Test ca in .*\.crl; all clients of this authority are refused \(add its CRL\)"


def expired_crl(authority, good):
    return files(good, client_ca=str(authority.pem), crl=str(authority.revoke(start=-2, days=-1))), \
        "tls.crl: the CRL of CN=Test ca in .* has expired at"


def expired_authority(authority, good):
    old = certificates.ca(authority.directory, "old", start=-3, days=-1)
    return files(good, client_ca=str(old.pem)), "old.pem: the certificate of CN=Test old has expired at 20"


def no_authority(authority, good):
    return files(good, client_ca=str(good.pem)), \
        "tls.client_ca: .*server.pem: CN=example.org is not the certificate of an authority"


@pytest.mark.parametrize("oddity", [expired, not_yet_valid, expires_soon, stranger_in_the_chain, no_names,
                                    foreign_crl, expired_crl, expired_authority, no_authority],
                         ids=lambda oddity: oddity.__name__)  # fmt: skip
def test_a_warning_is_in_the_log_and_in_status(echod, workdir, authority, server_files, oddity):
    settings, expected = oddity(authority, server_files)
    server = echod(upper(), tls=settings)
    key, sentence = re.fullmatch(r"(?:tls\.(\w+): )?(.*)", expected).groups()
    pattern = re.escape(str(server.config)) + rf":\d+: tls\.{key or '[a-z_]+'}: .*"
    server.log.wait(f" warning echod: {pattern}{sentence}")
    assert server.reload()
    server.log.wait(f" warning reload: {pattern}{sentence}")
    checked = run_echod("-c", server.config, "-t")
    assert checked.returncode == 0 and re.search("warning: " + pattern + sentence, checked.stderr)
    dry = subprocess.run([find_echoctl(), "-s", workdir / "control", "reload", "--dry-run"],
                         capture_output=True, text=True, check=True)  # fmt: skip
    assert re.search("^warning: " + pattern + sentence, dry.stdout, re.M)
    found = status(workdir)
    with_time = oddity in (expired, not_yet_valid, expires_soon, expired_crl)
    assert any(re.search("^up: .*" + sentence, line)
               for line in found["problems" if with_time else "warnings"])  # fmt: skip
    assert len(found["problems"]) == with_time


def test_status_and_stats_show_the_certificates(echod, workdir, authority, server_files):
    other = authority.issue("*.example.net", file="other", days=60)
    echod(upper(), tls=files(server_files, other))
    (service,) = [each for each in status(workdir)["services"] if each["name"] == "up"]
    first, second = service["tls"]["certificates"]
    assert first["file"] == str(server_files.chain) and first["names"] == ["example.org", "127.0.0.1"]
    assert second["names"] == ["*.example.net"]
    end = openssl("x509", "-in", other.pem, "-noout", "-enddate", "-dateopt", "iso_8601").decode()
    assert end.strip().split("=")[1].replace(" ", "T") == second["not_after"]
    text = subprocess.run([find_echoctl(), "-s", workdir / "control", "status"],
                          capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert re.search(rf"^up: certificate {first['file']} for example.org, 127.0.0.1, valid until 20", text, re.M)
    stats = subprocess.run([find_echoctl(), "-s", workdir / "control", "stats"],
                           capture_output=True, text=True, check=True).stdout  # fmt: skip
    name = r'^echod_tls_certificate_expiry_timestamp_seconds{service="up",file="%s"} (\d+)$'
    expires = [int(re.search(name % each.chain, stats, re.M)[1]) for each in (server_files, other)]
    assert expires == [ssl.cert_time_to_seconds(
        openssl("x509", "-in", each.pem, "-noout", "-enddate").decode().strip().split("=")[1])
        for each in (server_files, other)]  # fmt: skip


# --- which one a client gets ---


def test_the_name_decides(echod, authority):
    first = authority.issue("first.org", file="first")
    wild = authority.issue("*.example.org", file="wild")
    exact = authority.issue("a.example.org", file="exact")
    server = echod(upper(), tls=files(first, wild, exact))
    for name, expected in (
        (None, first), ("first.org", first), ("unknown.org", first), ("a.example.org", exact),
        ("A.EXAMPLE.ORG", exact), ("b.example.org", wild), ("a.b.example.org", first), ("example.org", first),
    ):  # fmt: skip
        assert is_shown(server, expected, name), name


def test_an_rsa_and_an_ec_certificate_for_the_same_names(echod, authority):
    ec = authority.issue("example.org", file="ec")
    rsa = authority.issue("example.org", file="rsa", kind="rsa:2048")
    other = authority.issue("other.org", file="other")
    server = echod(upper(), tls=files(other, ec, rsa))
    for ciphers, expected in ("ECDHE+aECDSA", ec), ("ECDHE+aRSA", rsa):
        context = client_context(version=ssl.TLSVersion.TLSv1_2)
        context.set_ciphers(ciphers)
        assert shown(server, "example.org", context) == ssl.DER_cert_to_PEM_cert(
            ssl.PEM_cert_to_DER_cert(expected.pem.read_text()))


@pytest.mark.parametrize("kind", ["ec:P-256", "ec:P-384", "ec:P-521", "rsa:2048", "ed25519"])
def test_kinds_of_keys(echod, authority, kind):
    server = echod(upper(), tls=files(authority.issue("example.org", kind=kind, file="server")))
    assert shown(server, context=client_context(authority))


def test_the_key_may_be_in_the_file_of_the_certificate(echod, authority, server_files):
    both = server_files.chain
    both.write_text(both.read_text() + server_files.key.read_text())
    both.chmod(0o600)
    server = echod(upper(), tls={"certificate": str(both)})
    assert is_shown(server, server_files)


def test_the_chain_is_sent(echod, authority):
    middle = authority.issue("middle", file="middle", authority=True)
    server = echod(upper(), tls=files(middle.issue("example.org", file="leaf")))
    assert shown(server, context=client_context(authority))


def test_an_instance_has_its_own(echod, authority, server_files):
    own = authority.issue("own.org", file="own")
    services = upper(tls_certificate=str(own.chain), tls_key=str(own.key))
    server = echod({**services, "other": {"type": "upper", "listen": TLS}}, tls=files(server_files))
    assert is_shown(server, own)
    with connected(server, instance="other") as client:
        assert client.getpeercert(True) == ssl.PEM_cert_to_DER_cert(server_files.pem.read_text())


# --- versions and tickets ---


def test_min_version(echod, server_files):
    old, new = (client_context(version=version) for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3))
    server = echod(upper(), tls=files(server_files))
    assert not refused(server, old) and not refused(server, new)
    assert server.reload(upper(tls_min_version="1.3"), tls=files(server_files))
    assert refused(server, old) and not refused(server, new)
    assert server.reload(upper(), tls=files(server_files, min_version="1.3"))
    assert refused(server, old) and not refused(server, new)


def session_is_reused(server, context, before=None):
    """(whether the session was resumed, the session for the next time)."""
    port = server.address("up").port
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as plain:
        with context.wrap_socket(plain, session=before) as client:
            client.sendall(b"hello")
            assert client.recv(5) == b"HELLO"
            return client.session_reused, client.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_tickets(echod, authority, server_files, version):
    server = echod(upper(), tls=files(server_files))
    context = client_context(version=version)
    _, session = session_is_reused(server, context)
    assert session.has_ticket and session_is_reused(server, context, session)[0]
    assert server.reload()
    assert session_is_reused(server, context, session)[0]
    touched = server_files.chain
    replace(touched, touched.read_text())  # another file of the same content
    assert server.reload()
    assert session_is_reused(server, context, session)[0]
    install(authority.issue("example.org"), server_files)
    assert server.reload()
    assert not session_is_reused(server, context, session)[0]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_no_tickets_where_clients_have_certificates(echod, authority, server_files, version):
    """Nor does a ticket of a service that asks for none let anybody in."""
    server = echod({**upper(tls_client_ca=str(authority.pem)), "open": {"type": "upper", "listen": TLS}},
                   tls=files(server_files))  # fmt: skip
    context = client_context(client=authority.issue("joe"), version=version)
    reused, session = session_is_reused(server, context)
    assert not reused and not (session and session.has_ticket)
    context = client_context(version=version)
    with connected(server, context=context, instance="open") as client:
        client.sendall(b"hello")
        assert client.recv(5) == b"HELLO"
        session = client.session
    assert session.has_ticket
    with pytest.raises((ssl.SSLError, ConnectionError)):
        session_is_reused(server, context, session)


# --- client certificates ---


@pytest.fixture
def clients(authority):
    """Of one authority: one that is good, one that is revoked, and so on."""
    middle = authority.issue("middle", file="middle", authority=True)
    stranger = certificates.ca(authority.directory, "stranger")
    return SimpleNamespace(
        good=authority.issue("joe"),
        indirect=middle.issue("jim"),
        revoked=authority.issue("jack"),
        stranger=stranger.issue("joe"),
        expired=authority.issue("jane", start=-3, days=-1),
        server_only=authority.issue("server.org", usage="serverAuth"),
    )


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize("name", [None, "other.org"])
def test_client_certificates(echod, authority, server_files, clients, version, name):
    """Whatever name the client asks for."""
    other = authority.issue("other.org", file="other")
    settings = files(server_files, other, client_ca=str(authority.pem))
    server = echod(upper(), tls=settings)

    def is_served(client):
        try:
            return bool(shown(server, name, client_context(client=client, version=version)))
        except (ssl.SSLError, ConnectionError):
            return False

    assert is_served(clients.good) and is_served(clients.indirect) and is_served(clients.revoked)
    for client in None, clients.stranger, clients.expired, clients.server_only:
        assert not is_served(client)
    assert server.reload(upper(), tls={**settings, "crl": str(authority.revoke(clients.revoked))})
    assert is_served(clients.good) and not is_served(clients.revoked)
    # The key of the service decides; the empty string is no authority.
    assert server.reload(upper(tls_client_ca="", tls_crl=""), tls=settings)
    assert is_served(None)


def test_a_renewed_crl_needs_no_reload(echod, authority, server_files, clients):
    crl = authority.revoke()
    server = echod(upper(), tls=files(server_files, client_ca=str(authority.pem), crl=str(crl)))
    good, revoked = client_context(client=clients.good), client_context(client=clients.revoked)
    assert not refused(server, revoked)
    replace(crl, authority.revoke(clients.revoked).read_text())
    wait_until(lambda: refused(server, revoked), "the client is refused")
    assert not refused(server, good)
    server.log.wait(rf" info up: new CRL from {re.escape(str(crl))}$")


def test_without_its_crl_an_authority_has_no_clients(echod, authority, server_files, clients):
    server = echod(upper(), tls=files(server_files, client_ca=str(authority.pem),
                                      crl=str(authority.revoke(start=-2, days=-1))))  # fmt: skip
    assert refused(server, client_context(client=clients.good))


def crl_file(directory, *crls):
    path = directory / "all.crl"
    path.write_text("".join(crl.read_text() for crl in crls))
    return str(path)


def test_an_old_crl_beside_a_new_one(echod, workdir, authority, server_files, clients):
    crls = crl_file(workdir, authority.revoke(start=-2, days=-1), authority.revoke())
    server = echod(upper(), tls=files(server_files, client_ca=str(authority.pem), crl=crls))
    assert not refused(server, client_context(client=clients.good))
    assert not status(workdir)["problems"] and not server.log.matches(" warning .*CRL")


@pytest.fixture
def chain(workdir):
    """A root, an authority below it, and a client of that."""
    root = certificates.ca(workdir, "root")
    middle = root.issue("inter", file="inter", authority=True)
    return SimpleNamespace(root=root, middle=middle, client=middle.issue("jim"))


def anchors(workdir, *issued):
    path = workdir / "anchors.pem"
    path.write_text("".join(each.pem.read_text() for each in issued))
    return str(path)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_crls_of_a_chain(echod, workdir, server_files, chain, version):
    """(what is trusted, the CRLs, whether the client is served)"""
    root, middle, client = chain.root, chain.middle, chain.client
    clean, below = root.revoke(), middle.revoke()
    revoking = root.revoke(middle)
    revoking_below = middle.revoke(client)
    context = client_context(client=client, version=version)
    server = None
    for trusted, crls, served in [
        ([root], [clean, below], True),
        ([root], [revoking, below], False),
        ([root], [clean, revoking_below], False),
        ([root], [below], False),  # no CRL of the root
        ([root], [clean], False),
        ([middle], [below], True),  # its issuer is not known
        ([middle], [clean, below], True),
        ([middle], [revoking, below], False),
        ([middle], [clean], False),
        ([root, middle], [clean, below], True),
        ([root, middle], [below], True),
        ([root, middle], [revoking, below], False),
        ([client], [clean], True),
        ([client], [revoking_below], False),
    ]:
        tls = files(server_files, client_ca=anchors(workdir, *trusted), crl=crl_file(workdir, *crls))
        if server is None:
            server = echod(upper(), tls=tls)
        else:
            assert server.reload(upper(), tls=tls)
        case = ([each.name for each in trusted], [crl.name for crl in crls])
        assert refused(server, context) != served, case


def test_no_warning_of_an_intermediate_crl(echod, workdir, server_files, chain):
    crls = crl_file(workdir, chain.root.revoke(), chain.middle.revoke())
    server = echod(upper(), tls=files(server_files, client_ca=str(chain.root.pem), crl=crls))
    assert not refused(server, client_context(client=chain.client))
    assert not server.log.matches(" warning .*CRL")


# --- renewal ---


def until_logged(server, pattern, mark):
    """Clients connect meanwhile, so the files are looked at each second."""
    def is_logged():
        shown(server)
        return server.log.matches(pattern, mark)

    return wait_until(is_logged, pattern)


def test_a_renewal_needs_no_command(echod, authority, server_files):
    server = echod(upper(), tls=files(server_files))
    renewed = authority.issue("example.org", file="renewed", days=77)
    with connected(server) as client:
        install(renewed, server_files)
        wait_until(lambda: is_shown(server, renewed), "the renewed certificate is used")
        client.sendall(b"still here")
        assert client.recv(10) == b"STILL HERE"
    end = openssl("x509", "-in", renewed.pem, "-noout", "-enddate", "-dateopt", "iso_8601").decode()
    server.log.wait(rf" info up: new certificate from {re.escape(str(server_files.chain))}, valid until "
                    + end.strip().split("=")[1].replace(" ", "T"))  # fmt: skip
    assert len(server.log.matches(" info up: new certificate")) == 1


def test_a_renewal_by_links(echod, workdir, authority, server_files):
    """As certbot has them: live/NAME/fullchain.pem leads to archive/NAME/fullchain2.pem."""
    renewed = authority.issue("example.org", file="renewed")
    links = SimpleNamespace(chain=workdir / "fullchain.pem", key=workdir / "privkey.pem")
    links.chain.symlink_to(server_files.chain.name)
    links.key.symlink_to(server_files.key.name)
    server = echod(upper(), tls=files(links))
    assert is_shown(server, server_files)
    for link, target in (links.chain, renewed.chain), (links.key, renewed.key):
        fresh = workdir / "fresh"
        fresh.symlink_to(target.name)
        fresh.rename(link)
    wait_until(lambda: is_shown(server, renewed), "the renewed certificate is used")


@needs_root
@needs_open_tree
def test_the_deploy_hook_of_certbot(echod, workdir, authority, server_files):
    workdir.chmod(0o755)
    text = (harness.SOURCE_TREE / "conf/examples/certbot/echod").read_text()
    group = grp.getgrgid(pwd.getpwnam("nobody").pw_gid).gr_name
    hook, deployed = workdir / "hook", workdir / "etc/echod"
    hook.write_text(text.replace("=/etc/echod", f"={deployed}").replace("group=echod", f"group={group}"))
    lineage = workdir / "letsencrypt/live/example.org"
    lineage.mkdir(parents=True, mode=0o700)
    lineage.parent.parent.chmod(0o700)
    deployed.parent.mkdir()

    def deploy(issued):
        shutil.copy(issued.chain, lineage / "fullchain.pem")
        shutil.copy(issued.key, lineage / "privkey.pem")
        subprocess.run(["/bin/sh", hook], env={**os.environ, "RENEWED_LINEAGE": str(lineage)}, check=True)

    deploy(server_files)
    assert [(path.name, oct(path.stat().st_mode & 0o777), path.owner(), path.group())
            for path in sorted(deployed.iterdir())] == [
        ("example.org.key", "0o640", "root", group), ("example.org.pem", "0o644", "root", group)]
    named = {"certificate": f"{deployed}/example.org.pem", "key": f"{deployed}/example.org.key"}
    assert f'tls = {to_setting(named)};'.replace(str(deployed), "/etc/echod") in text
    server = echod({"up": {"type": "upper", "listen": TLS}}, user="nobody", tls=named)
    assert is_shown(server, server_files)
    renewed = authority.issue("example.org", file="renewed")
    deploy(renewed)
    wait_until(lambda: is_shown(server, renewed), "the renewed certificate is used")
    assert not server.log.matches(" warning up")
    hook.write_text(hook.read_text().replace("certificates=", "certificates=other.org"))
    deploy(authority.issue("example.org"))
    assert (deployed / "example.org.pem").read_text() == renewed.chain.read_text()


@pytest.mark.parametrize("state", ["half", "another key", "gone"])
def test_what_does_not_fit_is_warned_of_once_and_tried_again(echod, workdir, authority, server_files, state):
    renewed = authority.issue("example.org", file="renewed")
    before = server_files.pem.read_text()
    server = echod(upper(), tls=files(server_files))
    mark = server.log.mark()
    if state == "half":
        server_files.chain.write_text(renewed.chain.read_text()[:200])
    elif state == "gone":
        server_files.chain.unlink()
    else:
        replace(server_files.key, renewed.key.read_text())
    warning = r" warning up: the new files of TLS are not used, the old certificate stays: .*:\d+: tls\.\w+: "
    until_logged(server, warning, mark)
    for _ in range(50):
        assert ssl.PEM_cert_to_DER_cert(shown(server)) == ssl.PEM_cert_to_DER_cert(before)
    (problem,) = status(workdir)["problems"]
    assert re.match(r"up: the new files of TLS are not used, the old certificate stays: .*:\d+: tls\.\w+: ", problem)
    if state == "gone":
        shutil.copy(renewed.chain, server_files.chain)
    install(renewed, server_files)
    wait_until(lambda: is_shown(server, renewed), "the renewed certificate is used")
    assert len(server.log.matches(warning, mark)) == 1
    assert not status(workdir)["problems"]


def test_a_renewal_that_was_taken_back_is_no_problem(echod, workdir, authority, server_files):
    server = echod(upper(), tls=files(server_files))
    before = server_files.chain.read_text()
    replace(server_files.chain, "junk")
    until_logged(server, " warning up: the new files of TLS are not used", 0)
    assert not server.reload() and status(workdir)["problems"]
    replace(server_files.chain, before)
    assert server.reload() and not status(workdir)["problems"]


def test_a_renewal_that_has_expired_is_used_and_warned_of(echod, workdir, authority, server_files):
    server = echod(upper(), tls=files(server_files))
    renewed = authority.issue("example.org", file="renewed", start=-10, days=-1)
    install(renewed, server_files)
    wait_until(lambda: is_shown(server, renewed), "the renewed certificate is used")
    server.log.wait(r" warning up: .*: tls.certificate: the certificate in .* has expired at ")
    assert any("has expired" in problem for problem in status(workdir)["problems"])


def test_a_reload_sees_new_content_of_the_same_files(echod, authority, server_files):
    server = echod(upper(), tls=files(server_files))
    renewed = authority.issue("example.org", file="renewed")
    install(renewed, server_files)
    assert server.reload()
    assert is_shown(server, renewed)


def test_a_reload_that_fails_elsewhere_changes_nothing(echod, authority, server_files):
    server = echod(upper(), tls=files(server_files))
    renewed = authority.issue("example.org", file="renewed")
    before = server_files.pem.read_text()
    assert not server.reload({**upper(), "file": {"listen": TLS, "path": "/nonexistent"}}, tls=files(renewed))
    assert ssl.PEM_cert_to_DER_cert(shown(server)) == ssl.PEM_cert_to_DER_cert(before)


def test_reloads_and_renewals_under_load(echod, authority, server_files):
    """Clients that connect all the while never fail."""
    all_issued = [authority.issue("example.org", "*.example.org") for _ in range(4)]
    other = authority.issue("other.org", file="other")
    server = echod(upper(max_per_source=1000), tls=files(server_files, other))
    context = client_context(authority)
    failures, count, is_over = [], [0, 0], threading.Event()

    def connect_on(index):
        while not is_over.is_set():
            try:
                shown(server, (None, "other.org")[index], context)
                count[index] += 1
            except Exception as error:  # pylint: disable=broad-except
                failures.append(error)
                return

    threads = [threading.Thread(target=connect_on, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    try:
        for issued in all_issued * 3:
            server_files.chain.write_text(issued.chain.read_text()[:100])
            assert not server.reload()
            install(issued, server_files)
            assert server.reload()
            before = list(count)
            wait_until(lambda: failures or all(a > b for a, b in zip(count, before)),
                       "clients are served")  # fmt: skip
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    assert not failures
