"""The servers that are measured: how each is started on the loopback, and what it has used."""

import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

SERVER_CPU, LOAD_CPU = 0, 1
CLIENTS_MAX = 15000
READY_AFTER = 10  # seconds, at most

ECHOD_CONF = """
log = {{ level = "error"; }};
limits = {{ max_connections = {clients}; max_per_source = {clients}; }};
services = {{
  echo = {{ listen = [ "{echo_scheme}://127.0.0.1:{echo}", "udp://127.0.0.1:{udp}" ];
           max_connections = {clients}; connect_rate = 0; }};
  time = {{ listen = "udp://127.0.0.1:{time}"; }};
  kv = {{ listen = "{scheme}://127.0.0.1:{kv}"; max_connections = {clients}; connect_rate = 0;
         max_memory = "16G"; }};
}};
"""

TLS_CONF = """
tls = {{ certificate = "{certificate}"; key = "{key}"; }};
"""

DURABLE_CONF = """
log = {{ level = "error"; }};
services = {{
  kv = {{ listen = "tcp://127.0.0.1:{kv}"; connect_rate = 0; max_memory = "16G"; storage = "{storage}"; sync = "{sync}"; }};
}};
"""


class Unavailable(Exception):
    """A server that cannot take part; the text says why."""


@contextmanager
def on_cpu(cpu):
    """What is started meanwhile stays on that CPU; it goes anywhere when that is None, or there is none."""
    before = os.sched_getaffinity(0)
    if cpu in before:
        os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def find_program(name):
    path = shutil.which(name)
    if path is None:
        raise Unavailable(f"{name} is not installed")
    return path


def make_certificate(directory):
    """The paths of a certificate and its key, the same for all servers."""
    certificate, key = Path(directory) / "certificate.pem", Path(directory) / "key.pem"
    if not certificate.exists():
        subprocess.run(
            [find_program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost", "-addext",
             "subjectAltName=IP:127.0.0.1", "-days", "30", "-keyout", key, "-out", certificate],
            stderr=subprocess.DEVNULL, check=True)
        key.chmod(0o600)
    return certificate, key


def file_of_process(pid, name):
    return Path(f"/proc/{pid}/{name}").read_text(encoding="ascii")


class Server:
    """A process; the subclass says by which command, and where its services are."""

    name = None
    cpu = SERVER_CPU
    dialect = None  # of its key-value service
    greeting = b""
    ping = None  # a request, for the time to the first answer
    tls = False

    def __init__(self, command, addresses):
        self.command = command
        self.addresses = addresses  # by service: "echo", "udp", "time", "kv"
        self.process = None

    def start(self):
        with on_cpu(self.cpu):
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL)

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def wait(self):
        """Until it answers on its TCP port."""
        began = time.monotonic()
        while True:
            if self.process.poll() is not None:
                raise Unavailable(f"{self.name} has ended: {' '.join(self.command)}")
            if self.answers():
                return
            if time.monotonic() - began > READY_AFTER:
                raise Unavailable(f"{self.name} does not answer")
            time.sleep(0.0002)

    def answers(self):
        address = self.addresses.get("kv") or self.addresses.get("echo")
        port = int(address.rsplit(":", 1)[1])
        try:
            with self.connect(port) as client:
                client.sendall(self.ping)
                answer = b""
                while len(answer) <= len(self.greeting):
                    piece = client.recv(64)
                    if not piece:
                        return False
                    answer += piece
                return b"loading" not in answer.lower()
        except OSError:
            return False

    def connect(self, port):
        client = socket.create_connection(("127.0.0.1", port))
        if not self.tls:
            return client
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(client)

    def try_out(self):
        """Raises Unavailable if it cannot even start."""
        self.start()
        try:
            self.wait()
        finally:
            self.stop()
        return self

    def resident(self):
        """Bytes of memory in use."""
        rollup = file_of_process(self.process.pid, "smaps_rollup")
        return int(re.search(r"^Rss:\s+(\d+) kB", rollup, re.MULTILINE)[1]) * 1024


class Echod(Server):
    name = "echod"
    echo_scheme = scheme = "tcp"  # in its file, of echo and of kv
    dialect = "kv"
    greeting = b"READY\n"
    ping = b"GET x\n"

    def __init__(self, program, directory):
        ports = {
            "echo": free_port(),
            "udp": free_port(socket.SOCK_DGRAM),
            "time": free_port(socket.SOCK_DGRAM),
            "kv": free_port(),
        }
        conf = Path(directory) / f"{self.name.replace(' ', '-')}.conf"
        conf.write_text(ECHOD_CONF.format(clients=CLIENTS_MAX, scheme=self.scheme,
                                          echo_scheme=self.echo_scheme, **ports), encoding="ascii")
        stream = "tls" if self.tls else "tcp"
        scheme = {"echo": stream, "kv": stream, "udp": "udp", "time": "udp"}
        super().__init__(
            [str(program), "-c", str(conf)],
            {key: f"{scheme[key]}://127.0.0.1:{port}" for key, port in ports.items()},
        )


class RespEchod(Echod):
    """A daemon of its own whose kv speaks RESP."""

    name = "echod by RESP"
    scheme = "redis"
    dialect = "redis"
    greeting = b""
    ping = b"PING\r\n"


class TLSEchod(RespEchod):
    name = "echod over TLS"
    echo_scheme, scheme = "tls", "rediss"
    tls = True

    def __init__(self, program, directory):
        version = subprocess.run([program, "-V"], stdout=subprocess.PIPE, text=True, check=True)
        if " tls" not in version.stdout:
            raise Unavailable("echod is built without TLS")
        super().__init__(program, directory)
        certificate, key = make_certificate(directory)
        with open(self.command[-1], "a", encoding="ascii") as conf:
            conf.write(TLS_CONF.format(certificate=certificate, key=key))


class Durable:
    """A server that keeps its keys in a directory of its own, from one start to the next.

    It may use all CPUs, since both have threads beside the one that serves, to wait for the disk.
    """

    cpu = None

    def make_storage(self, disk):
        self.storage = Path(disk).resolve() / self.name.replace(" ", "-")
        self.forget()

    def forget(self):
        """Begins anew; it must not be running."""
        shutil.rmtree(self.storage, ignore_errors=True)
        self.storage.mkdir(parents=True)


class DurableEchod(Durable, Server):
    dialect = "kv"
    greeting = b"READY\n"
    ping = b"GET x\n"

    def __init__(self, program, directory, disk, sync):
        self.name = f"echod {sync}"
        self.make_storage(disk)
        port, conf = free_port(), Path(directory) / f"echod-{sync}.conf"
        conf.write_text(DURABLE_CONF.format(kv=port, sync=sync, storage=self.storage / "kv"),
                        encoding="utf-8")
        super().__init__([str(program), "-c", str(conf)], {"kv": f"tcp://127.0.0.1:{port}"})


class Redis(Server):
    name = "Redis"
    dialect = "redis"
    ping = b"PING\r\n"

    def __init__(self, program="redis-server", **more):
        port = free_port()
        options = {
            "bind": "127.0.0.1",
            "port": port,
            "save": "",
            "appendonly": "no",
            "maxclients": CLIENTS_MAX,
            "tcp-backlog": 1024,
            **more,
        }
        command = [find_program(program)]
        for key, value in options.items():
            command += [f"--{key}", str(value)]
        super().__init__(command, {"kv": f"tcp://127.0.0.1:{port}"})


class Valkey(Redis):
    name = "Valkey"


class TLSRedis(Redis):
    name = "Redis over TLS"
    tls = True

    def __init__(self, directory, program="redis-server"):
        certificate, key = make_certificate(directory)
        port = free_port()
        super().__init__(program, **{
            "port": 0, "tls-port": port, "tls-cert-file": certificate, "tls-key-file": key,
            "tls-ca-cert-file": certificate, "tls-auth-clients": "no"})
        self.addresses = {"kv": f"tls://127.0.0.1:{port}"}
        self.try_out()


class TLSValkey(TLSRedis):
    name = "Valkey over TLS"


class DurableRedis(Durable, Redis):
    """Its log is rewritten when it has doubled, as it is by default."""

    def __init__(self, disk, fsync):
        self.name = f"Redis {fsync}"
        self.make_storage(disk)
        super().__init__(appendonly="yes", appendfsync=fsync, dir=self.storage)


class Memcached(Server):
    name = "memcached"
    dialect = "memcached"
    ping = b"version\r\n"

    def __init__(self, *more):
        port = free_port()
        command = [find_program("memcached"), "-l", "127.0.0.1", "-p", str(port), "-U", "0", *more]
        command += ["-t", "1", "-c", str(CLIENTS_MAX), "-b", "1024", "-m", "8192"]
        if os.geteuid() == 0:
            command += ["-u", "nobody"]
        super().__init__(command, {"kv": f"{'tls' if self.tls else 'tcp'}://127.0.0.1:{port}"})


class TLSMemcached(Memcached):
    name = "memcached over TLS"
    tls = True

    def __init__(self, directory):
        certificate, key = make_certificate(directory)
        super().__init__("-Z", "-o", f"ssl_chain_cert={certificate},ssl_key={key}")
        self.try_out()


class Bare(Server):
    """One of our own loops, which say where they listen."""

    def __init__(self, program, service):
        super().__init__([str(program)], {})
        self.name = Path(program).name
        self.service = service

    def start(self):
        with on_cpu(SERVER_CPU):
            self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.addresses[self.service] = line.split()[-1]

    def wait(self):
        pass
