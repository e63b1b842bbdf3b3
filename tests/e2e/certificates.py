"""Certificates for a test, made by the openssl command in the test's directory; nothing of it is ever committed.

    authority = certificates.ca(workdir)
    server = authority.issue("example.org", "*.example.org", "127.0.0.1")
    tls = {"certificate": server.chain, "key": server.key}
"""

import hashlib
import ipaddress
import itertools
import shutil
import subprocess
from datetime import datetime, timedelta, timezone

import pytest

# What `openssl ca` must know; it is the only command that takes both dates, and that revokes.
AUTHORITY = """
[ca]
default_ca = authority
[authority]
database = {directory}/index.txt
new_certs_dir = {directory}
serial = {directory}/serial
crlnumber = {directory}/crlnumber
default_md = sha256
policy = policy
unique_subject = no
[policy]
commonName = optional
[ca_extensions]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf_extensions]
basicConstraints = critical, CA:false
"""


def openssl(*words, **options):
    """Runs openssl and returns what it prints; a failure shows its errors."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, check=False, **options)
    assert done.returncode == 0, f"openssl {words}: {done.stderr.decode(errors='replace')}"
    return done.stdout


def make_key(path, kind="ec:P-256"):
    """"ec:CURVE", "rsa:BITS" or "ed25519"; readable by its owner alone."""
    algorithm, _, parameter = kind.partition(":")
    options = {"ec": ["-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{parameter}"],
               "rsa": ["-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{parameter}"]}  # fmt: skip
    openssl("genpkey", *options.get(algorithm, ["-algorithm", algorithm]), "-out", path)
    path.chmod(0o600)
    return path


def alternative_name(name):
    if ":" in name and "//" in name:
        return f"URI:{name}"
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name}"


def to_date(days):
    return (datetime.now(timezone.utc) + timedelta(days=days)).strftime("%Y%m%d%H%M%SZ")


class Certificate:
    """
    Files: `pem` (the certificate), `key`, `chain` (the certificate and those of its authorities, but for the root). An
    authority can issue and revoke.
    """

    numbers = itertools.count(1)

    def __init__(self, directory, name):
        self.directory = directory
        self.name = name
        self.pem = directory / f"{name}.pem"
        self.key = directory / f"{name}.key"
        self.chain = directory / f"{name}.chain.pem"

    def issue(self, *names, file=None, kind="ec:P-256", days=30, start=-1, authority=False, key=None,
              usage=None, subject=None):  # fmt: skip
        """
        A certificate for these names (DNS names, addresses, URIs), valid from `start` to `days` days from now. `file` is
        what its files are called; `key` another certificate, which has the same key then; `usage` "serverAuth" or
        "clientAuth" only.
        """
        issued = Certificate(self.directory, file or f"certificate-{next(self.numbers)}")
        if key is None:
            make_key(issued.key, kind)
        else:
            shutil.copy(key.key, issued.key)
        if subject is None:
            subject = f"/CN={names[0][:60]}" if names and "/" not in names[0] else "/"
        extensions = [AUTHORITY.format(directory=self._authority())]
        if authority:
            section = "ca_extensions"
        else:
            section = "leaf_extensions"
            if names:
                extensions.append("subjectAltName = " + ", ".join(map(alternative_name, names)))
            if usage:
                extensions.append(f"extendedKeyUsage = {usage}")
        self._sign(issued, subject, section, "\n".join(extensions) + "\n", start, days)
        above = self.chain.read_text() if self.chain.exists() else ""
        issued.chain.write_text(issued.pem.read_text() + above)
        return issued

    def revoke(self, *certificates, start=-1, days=30):
        """The path of a CRL with all that this authority has revoked until now."""
        config = self._authority() / "openssl.cnf"
        signer = ["-config", config, "-cert", self.pem, "-keyfile", self.key]
        for certificate in certificates:
            openssl("ca", *signer, "-revoke", certificate.pem)
        path = self.directory / f"{self.name}-{next(self.numbers)}.crl"
        openssl("ca", *signer, "-gencrl", "-crl_lastupdate", to_date(start), "-crl_nextupdate", to_date(days),
                "-out", path)  # fmt: skip
        return path

    @property
    def public_key(self):
        """In DER, as a pin or an identity has its hash."""
        public = openssl("x509", "-in", self.pem, "-noout", "-pubkey")
        return openssl("pkey", "-pubin", "-outform", "DER", input=public)

    @property
    def fingerprint(self):
        return "sha256:" + hashlib.sha256(self.public_key).hexdigest()

    def _authority(self):
        """The directory of what it has issued."""
        directory = self.directory / f"{self.name}.issued"
        if not directory.exists():
            directory.mkdir()
            (directory / "index.txt").touch()
            for number in ("serial", "crlnumber"):
                (directory / number).write_text("01\n")
            (directory / "openssl.cnf").write_text(AUTHORITY.format(directory=directory))
        return directory

    def _sign(self, issued, subject, section, extensions, start, days, more=()):
        directory = self._authority()
        request, config = directory / f"{issued.name}.csr", directory / f"{issued.name}.cnf"
        config.write_text(extensions)
        openssl("req", "-new", "-key", issued.key, "-subj", subject, "-out", request, "-config", "/dev/null")
        openssl("ca", "-batch", "-notext", "-config", config, "-cert", self.pem, "-keyfile", self.key, *more,
                "-extensions", section, "-startdate", to_date(start), "-enddate", to_date(days),
                "-in", request, "-out", issued.pem)  # fmt: skip


def ca(directory, name="ca", kind="ec:P-256", start=-1, days=365):
    """An authority of its own; clients trust its `pem`."""
    authority = Certificate(directory, name)
    make_key(authority.key, kind)
    extensions = AUTHORITY.format(directory=authority._authority())
    authority._sign(authority, f"/CN=Test {name}", "ca_extensions", extensions, start, days, ["-selfsign"])
    return authority


def self_signed(directory, *names, file="self-signed", kind="ec:P-256", start=-1, days=30):
    """A certificate without an authority; it is its own `chain`."""
    issued = Certificate(directory, file)
    make_key(issued.key, kind)
    extensions = [AUTHORITY.format(directory=issued._authority())]
    if names:
        extensions.append("subjectAltName = " + ", ".join(map(alternative_name, names)))
    issued._sign(issued, f"/CN={names[0] if names else file}", "leaf_extensions", "\n".join(extensions) + "\n",
                 start, days, ["-selfsign"])  # fmt: skip
    shutil.copy(issued.pem, issued.chain)
    return issued
