"""What is measured: the list of works, each with its target, and how each is done."""

import csv
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from servers import LOAD_CPU, Unavailable, on_cpu

KEYS = 100_000
VALUE = 64
KEY_LENGTH = 14
MANY_KEYS = 1_000_000
MANY_CLIENTS = 9_000
GROWING_KEYS = 10_000_000
STARTS = 11
QUIET_AFTER = 30  # seconds, at most
STORES = {name: name for name in ("Redis", "Valkey", "memcached")}  # kv's peers
TLS_STORES = {name: f"{name} over TLS" for name in STORES}
REDIS_BENCHMARK = ("redis-benchmark", "--csv", "-c", "50", "-d", str(VALUE), "-r", str(KEYS))


class Bench:
    """The servers, and the load generator that is pointed at them."""

    def __init__(self, load, servers, rounds, seconds):
        self.load = str(load)
        self.servers = servers
        self.rounds = rounds
        self.seconds = seconds
        self.filled = set()  # servers that hold the keys
        self.patient = {}  # what a client has seen while the store grew, by server

    def start_load(self, server, service, options):
        command = [self.load, "-p", str(server.process.pid), *options.split(),
                   server.addresses[service]]
        with on_cpu(LOAD_CPU):
            return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                    text=True)

    def run_load(self, server, service, options):
        """One measurement: figures by name."""
        with self.start_load(server, service, options) as load:
            return parse(load.stdout.readline(), server, options)

    def get(self, names):
        """Those of the servers that take part, running."""
        found = [self.servers[name] for name in names if name in self.servers]
        for server in found:
            if server.process is None:
                server.start()
                server.wait()
        return found

    def fresh(self, name):
        """The server, just started; None if it does not take part."""
        if name not in self.servers:
            return None
        self.servers[name].stop()
        self.filled.discard(name)
        return self.get([name])[0]

    def fill(self, server):
        if server.name not in self.filled:
            self.run_load(server, "kv", filling(server, KEYS))
            self.filled.add(server.name)


def busy_ticks():
    """Of all CPUs, since the machine started."""
    words = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()
    ticks = [int(word) for word in words[1:]]
    return sum(ticks) - ticks[3] - ticks[4]


def wait_until_quiet():
    """A store that was written to goes on writing, and the next one must not suffer from it."""
    quiet, end = 0, time.monotonic() + QUIET_AFTER
    while quiet < 3 and time.monotonic() < end:
        before = busy_ticks()
        time.sleep(0.1)
        quiet = quiet + 1 if busy_ticks() - before <= 2 else 0


def parse(line, server, options):
    words = dict(word.split("=") for word in line.split())
    if words.get("errors") != "0":
        ended = server.process.poll()
        state = "errors" if ended is None else f"ended with status {ended}"
        raise Unavailable(f"{server.name}: {state} at {options!r}: {line!r}")
    return {name: float(text) for name, text in words.items() if text != "-"}


def filling(server, keys):
    return f"-m {server.dialect}-set -k {keys} -s {VALUE} -o -n {keys} -c 1 -f 100"


# --- rows of the report --------------------------------------------------------------------------


@dataclass
class SpeedRow:
    """CPU time per request of echod and its peers, round by round."""

    title: str
    target: float
    figures: dict = field(default_factory=dict)  # by server: a list of figures, one per round
    tail = ("p99.9", "p999_us")  # the percentile that is shown: its name, its figure

    def median(self, name, figure):
        return median(f[figure] for f in self.figures[name])

    def peers(self):
        return [name for name in self.figures if name != "echod"]

    def ratio(self, figure, peer, inverse=False):
        """The median of the rounds' ratios peer / echod, or the inverse."""
        rounds = zip(self.figures[peer], self.figures["echod"])
        ratios = [p[figure] / e[figure] for p, e in rounds]
        return median(1 / r if inverse else r for r in ratios)

    def best_peer(self):
        return min(self.peers(), key=lambda peer: self.ratio("cpu_us", peer))

    def summary(self):
        peer, (tail, figure) = self.best_peer(), self.tail
        return (f"CPU {self.ratio('cpu_us', peer):.2f} of {peer} (target {self.target}), "
                f"throughput {self.ratio('rate', peer, inverse=True):.2f}, "
                f"{tail} {self.ratio(figure, peer, inverse=True):.2f}")


class TLSRow(SpeedRow):
    """Both over TLS, or echod with and without it."""


class RedisBenchmarkRow(SpeedRow):
    tail = ("p99", "p99_us")


class DurableRow(SpeedRow):
    """Here the disk decides: what counts is how many changes become safe in a second."""

    def summary(self):
        return (f"{self.median('echod', 'rate'):,.0f} SET/s, "
                f"{self.ratio('rate', 'Redis', inverse=True):.2f} of Redis (target {self.target}), "
                f"p99.9 {self.ratio('p999_us', 'Redis', inverse=True):.2f}, "
                f"CPU {self.ratio('cpu_us', 'Redis'):.2f}")


@dataclass
class AmountRow:
    """One amount per server, such as bytes per key; echod's is to be at most the target."""

    title: str
    unit: str
    target: float
    amounts: dict

    def summary(self):
        amounts = ", ".join(f"{name} {amount:.1f}" for name, amount in self.amounts.items())
        return f"{amounts} {self.unit} (target {self.target})"


# --- works ---------------------------------------------------------------------------------------


@dataclass
class Speed:
    name: str
    own: dict  # by the name of one of our servers: (title, target) of its row
    service: str
    peers: dict  # by role in the row, the name of a server
    options: object  # a text, or a function of the server
    row: type = SpeedRow

    def measure(self, bench):
        """All in the same turns; a row for each of our own."""
        servers = bench.get([*self.own, *self.peers.values()])
        figures = {server.name: [] for server in servers}
        peers = {role: figures[name] for role, name in self.peers.items() if name in figures}
        if not peers or any(name not in figures for name in self.own):
            return []
        for _ in range(bench.rounds):
            for server in servers:
                figures[server.name].append(self.run(bench, server))
        return [self.row(title, target, {"echod": figures[name], **peers})
                for name, (title, target) in self.own.items()]

    def run(self, bench, server):
        if self.service == "kv":
            bench.fill(server)
        options = self.options(server) if callable(self.options) else self.options
        return bench.run_load(server, self.service, f"{options} -t {bench.seconds}")


@dataclass
class RedisBenchmark(Speed):
    """The load of redis-benchmark instead of ours; its options are a verb and -P."""

    row: type = RedisBenchmarkRow

    def run(self, bench, server):
        verb, window = self.options
        requests = int(bench.seconds * 50_000) * window
        command = [*REDIS_BENCHMARK, "-t", verb, "-P", str(window), "-n", str(requests),
                   "-p", server.addresses["kv"].rsplit(":", 1)[1]]
        if server.tls:
            command += ["--tls", "--insecure", "--tls-ciphersuites", "TLS_AES_128_GCM_SHA256"]
        before = cpu_ns(server)
        with on_cpu(LOAD_CPU):
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        used = cpu_ns(server) - before
        figures = next(csv.DictReader(done.stdout.splitlines()))
        return {"cpu_us": used / 1000 / requests, "rate": float(figures["rps"]),
                "p99_us": float(figures["p99_latency_ms"]) * 1000}


def cpu_ns(server):
    """CPU time of all its threads, by the clock of clock_getcpuclockid(3), which Python lacks."""
    return time.clock_gettime_ns(~server.process.pid << 3 | 2)


@dataclass
class Durable:
    """SETs to stores that are on the same disk, and wait for it in the same way."""

    name: str
    title: str
    target: float
    stores: dict  # by role in the row, the name of a server
    options: str

    def measure(self, bench):
        servers = bench.get(self.stores.values())
        if len(servers) < 2:
            return []
        row = DurableRow(self.title, self.target, {role: [] for role in self.stores})
        for _ in range(bench.rounds):
            for role, server in zip(self.stores, servers):
                bench.fill(server)
                wait_until_quiet()
                options = (f"-m {server.dialect}-set -k {KEYS} -s {VALUE} {self.options} "
                           f"-t {bench.seconds}")
                row.figures[role].append(bench.run_load(server, "kv", options))
        return [row]


@dataclass
class Amount:
    name: str
    title: str
    unit: str
    target: float
    measure_one: object  # a function of the bench and the name of a server, to the amount
    stores: dict = field(  # name by role
        default_factory=lambda: {name: name for name in ("echod", *STORES)})

    def measure(self, bench):
        amounts = {role: self.measure_one(bench, name) for role, name in self.stores.items()
                   if name in bench.servers}
        return [AmountRow(self.title, self.unit, self.target, amounts)] if amounts else []


def bytes_per_key(bench, name):
    """What a key costs beyond its own bytes and those of its value."""
    server = bench.fresh(name)
    before = server.resident()
    bench.run_load(server, "kv", filling(server, MANY_KEYS))
    grown = server.resident() - before
    bench.fresh(name)
    return grown / MANY_KEYS - KEY_LENGTH - VALUE


def bytes_per_client(bench, name):
    server = bench.fresh(name)
    bench.run_load(server, "kv", filling(server, 1))
    before = server.resident()
    options = f"-m {server.dialect}-get -k 1 -s {VALUE} -c {MANY_CLIENTS} -n {MANY_CLIENTS} -H"
    with bench.start_load(server, "kv", options) as load:
        parse(load.stdout.readline(), server, options)
        grown = server.resident() - before
        load.stdin.close()
    return grown / MANY_CLIENTS


def first_answer_ms(bench, name):
    server = bench.servers[name]
    times = []
    for _ in range(STARTS):
        server.stop()
        began = time.monotonic()
        server.start()
        server.wait()
        times.append((time.monotonic() - began) * 1000)
    bench.filled.discard(name)
    return median(times)


def load_ms(bench, name):
    """From the start to the first answer, with the keys that are kept."""
    server = bench.servers[name]
    server.stop()
    server.forget()
    bench.get([name])
    bench.run_load(server, "kv", filling(server, MANY_KEYS))
    bench.filled.discard(name)
    return first_answer_ms(bench, name)


def give_precedence(server, patient):
    """Neither is to wait for anything but the other: what is left is what the server's loop takes."""
    try:
        os.setpriority(os.PRIO_PROCESS, server.pid, -20)
        os.sched_setscheduler(patient.pid, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        pass


def patient_figures(bench, name):
    """One client's GETs while another adds keys, as fast as it can."""
    server = bench.fresh(name)
    bench.run_load(server, "kv", filling(server, 1000))
    options = f"-m {server.dialect}-get -k 1000 -s {VALUE} -c 1 -w 0 -t 3600"
    with bench.start_load(server, "kv", options) as patient:
        give_precedence(server.process, patient)
        bench.run_load(server, "kv", filling(server, GROWING_KEYS))
        patient.send_signal(signal.SIGINT)
        figures = parse(patient.stdout.readline(), server, options)
    bench.fresh(name)
    return figures


def longest_get(bench, name, figure):
    if name not in bench.patient:
        bench.patient[name] = patient_figures(bench, name)
    return bench.patient[name][figure]


def kv_works():
    targets = {1: (1.1, 1.1), 16: (2.5, 2.0), 100: (4.0, 3.0)}  # by lines and by RESP
    for verb in ("get", "set"):
        for window, (lines, resp) in targets.items():
            yield Speed(
                f"kv-{verb}-{window}",
                {"echod": (f"kv {verb.upper()}, {window} in flight", lines),
                 "echod by RESP": (f"kv {verb.upper()} by RESP, {window} in flight", resp)},
                "kv", STORES,
                lambda server, verb=verb, window=window:
                    f"-m {server.dialect}-{verb} -k {KEYS} -s {VALUE} -c 50 -f {window}",
            )


def redis_benchmark_works():
    """All have one name, and SETs come first, so that GETs find the keys."""
    if shutil.which(REDIS_BENCHMARK[0]) is None:
        print(f"skipped: {REDIS_BENCHMARK[0]} is not installed")
        return
    for verb in ("set", "get"):
        for window, target in {1: 1.1, 16: 2.0}.items():
            yield RedisBenchmark(
                "redis-benchmark", {"echod by RESP": (f"{verb.upper()}, -P {window}", target)},
                "kv", {"Redis": "Redis", "Valkey": "Valkey"}, (verb, window))
    for verb in ("set", "get"):
        for window, target in {1: 1.3, 16: 1.3}.items():
            yield RedisBenchmark(
                "redis-benchmark-tls",
                {"echod over TLS": (f"{verb.upper()} over TLS, -P {window}", target)},
                "kv", {name: TLS_STORES[name] for name in ("Redis", "Valkey")}, (verb, window))


def echo_work(name, title, target, options):
    return Speed(f"echo-{name}", {"echod": (f"echo {title}", target)}, "echo",
                 {"bare_echo": "bare_echo"}, options)


def tls_work(name, title, target, service, peers, options):
    return Speed(f"tls-{name}", {"echod over TLS": (f"{title} over TLS", target)}, service, peers,
                 options, TLSRow)


def tls_works():
    """What TLS costs, and what it costs others."""
    plain = {"echod, plain": "echod"}
    yield tls_work("echo-1", "echo 64 B, 1 in flight", 0.62, "echo", plain, "-c 50")
    yield tls_work("echo-16", "echo 64 B, 16 in flight", 0.59, "echo", plain, "-c 50 -f 16")
    yield tls_work("echo-64k", "echo 64 KiB, 8 connections", 0.2, "echo", plain, "-c 8 -s 65536")
    for window, target in {1: 1.3, 16: 1.3}.items():
        yield tls_work(f"kv-get-{window}", f"kv GET by RESP, {window} in flight", target, "kv",
                       TLS_STORES, lambda server, window=window:
                       f"-m {server.dialect}-get -k {KEYS} -s {VALUE} -c 50 -f {window}")


def durable_works():
    """Redis calls its ways to wait for the disk always and everysec."""
    targets = {"always": {1: 2, 16: 3}, "interval": {1: 1.5, 16: 2}}
    peers = {"always": "Redis always", "interval": "Redis everysec"}
    for sync, peer in peers.items():
        for window, target in targets[sync].items():
            yield Durable(f"durable-{sync}-{window}",
                          f"durable SET, {sync}, {window} in flight", target,
                          {"echod": f"echod {sync}", "Redis": peer}, f"-c 50 -f {window}")
    yield Amount("durable-load", "start to first answer, 1 million keys of 14 + 64 bytes", "ms",
                 1500, load_ms, {"echod": "echod interval", "Redis": "Redis everysec"})


def works(stall):
    yield echo_work("50", "64 B, 50 connections", 0.95, "-c 50")
    yield echo_work("1000", "64 B, 1000 connections", 0.95, "-c 1000")
    yield echo_work("pipeline", "64 B, 16 in flight", 0.90, "-c 50 -f 16")
    yield echo_work("64k", "64 KiB, 8 connections", 0.85, "-c 8 -s 65536")
    yield from kv_works()
    yield from tls_works()
    yield from redis_benchmark_works()
    yield Speed("udp-time", {"echod": ("UDP time, 32 in flight", 0.75)}, "time",
                {"bare_udp": "bare_udp"},
                lambda server: f"-m {'time' if server.name == 'echod' else 'echo'} "
                               f"-s {len(TIME_REQUEST)} -c 1 -f 32")
    yield Amount("memory-key", "memory of a key, beside its 14 + 64 bytes, at 1 million", "bytes",
                 24, bytes_per_key)
    yield Amount("memory-client", "memory of a client that has asked once, at 9,000", "bytes",
                 1210, bytes_per_client)
    yield Amount("start", "start to first answer", "ms", 20, first_answer_ms)
    yield from durable_works()
    if stall:
        for figure, called in (("p999_us", "99.9 % of"), ("max_us", "all")):
            yield Amount(f"stall-{figure}", f"{called} GETs while 10 million keys are added", "us",
                         1000, lambda bench, name, figure=figure:
                         longest_get(bench, name, figure))


TIME_REQUEST = '{"type": "time"}'
