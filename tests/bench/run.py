#!/usr/bin/python3
"""Runs echod, the bare loops, Redis, Valkey and memcached side by side and writes what came out.

Each server is on one CPU and the load on another. Servers are measured in turns (A B C A B C), and
compared within a round, so that whatever else the machine does meanwhile hits all of them alike.
"""

import argparse
import resource
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import measure
import report
from servers import (Bare, DurableEchod, DurableRedis, Echod, Memcached, Redis, RespEchod,
                     TLSEchod, TLSMemcached, TLSRedis, TLSValkey, Unavailable, Valkey)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2, help="of a measurement (%(default)s)")
    parser.add_argument("--only", default="", metavar="TEXT", help="work whose name contains this")
    parser.add_argument("--stall", action="store_true", help="GET while 10 million keys are added")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), metavar="DIR")
    parser.add_argument("--disk", type=Path, metavar="DIR",
                        help="where durable stores are, for the time being (a directory in --out)")
    parser.add_argument("--echod", type=Path, default=Path("src/echod"), metavar="PATH")
    parser.add_argument("--valkey", default="valkey-server", metavar="PROGRAM",
                        help="(%(default)s, if it is installed)")
    parser.add_argument("--programs", type=Path, default=Path("tests/bench"), metavar="DIR",
                        help="where load, bare_echo and bare_udp are (%(default)s)")
    return parser.parse_args()


def make_servers(arguments, directory, disk):
    """All that can be had; says why one can't."""
    makers = [
        lambda: Echod(arguments.echod, directory),
        lambda: RespEchod(arguments.echod, directory),
        lambda: Bare(arguments.programs / "bare_echo", "echo"),
        lambda: Bare(arguments.programs / "bare_udp", "time"),
        Redis,
        lambda: Valkey(arguments.valkey),
        Memcached,
        lambda: TLSEchod(arguments.echod, directory),
        lambda: TLSRedis(directory),
        lambda: TLSValkey(directory, arguments.valkey),
        lambda: TLSMemcached(directory),
        lambda: DurableEchod(arguments.echod, directory, disk, "always"),
        lambda: DurableEchod(arguments.echod, directory, disk, "interval"),
        lambda: DurableRedis(disk, "always"),
        lambda: DurableRedis(disk, "everysec"),
    ]
    servers = {}
    for maker in makers:
        try:
            server = maker()
            servers[server.name] = server
        except Unavailable as reason:
            print(f"skipped: {reason}")
    return servers


def run(arguments, servers):
    bench = measure.Bench(arguments.programs / "load", servers, arguments.rounds,
                          arguments.seconds)
    rows = []
    for work in measure.works(arguments.stall):
        if arguments.only not in work.name:
            continue
        print(f"{work.name} ...", flush=True)
        for row in work.measure(bench):
            print(f"    {row.title}: {row.summary()}", flush=True)
            rows.append(row)
    return rows


def main():
    arguments = parse_arguments()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    arguments.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="echod-bench-"))
        disk = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="stores-", dir=arguments.disk or arguments.out))
        servers = make_servers(arguments, directory, disk)
        for server in servers.values():
            stack.callback(server.stop)
        rows = run(arguments, servers)
    if not rows:
        sys.exit(f"no work is called {arguments.only!r}")
    report.write_markdown(arguments.out / "results.md", rows, servers, arguments)
    report.write_plot(arguments.out, rows)


if __name__ == "__main__":
    main()
