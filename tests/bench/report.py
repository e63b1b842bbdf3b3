"""The results as Markdown, with the machine and the commands, and as a plot."""

import datetime
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from measure import REDIS_BENCHMARK, AmountRow, DurableRow, RedisBenchmarkRow, SpeedRow, TLSRow

PLOT = """
set terminal svg size 900,420 font "sans,12" background "white"
set output "{svg}"
set title "CPU time per request: the best peer's, as a multiple of echod's" noenhanced
set style data histograms
set style histogram clustered gap 0.4
set lmargin 18
set style fill solid 0.85 border -1
set yrange [0:*]
set ytics nomirror
set xtics nomirror rotate by 35 right noenhanced
set grid ytics
set key off
plot "{data}" using 2:xtic(1) linecolor rgb "#4878a8", \\
     1 with lines linecolor rgb "#a03030" linewidth 2, \\
     "{data}" using 0:2:(sprintf("%.2f", $2)) with labels offset 0,0.6
"""


def machine():
    model = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text("ascii"),
                      re.MULTILINE)
    return (f"{model[1] if model else platform.machine()}, {os.cpu_count()} CPUs, "
            f"Linux {platform.release()}")


def verdict(met):
    return "yes" if met else "**no**"


def speed_lines(row):
    """A line for each peer; only the best one has to be beaten."""
    best = row.best_peer()
    for peer in row.peers():
        ratio = row.ratio("cpu_us", peer)
        target = f"{row.target} | {verdict(ratio >= row.target)}" if peer == best else " | "
        yield (f"| {row.title} | {peer} | {row.median(peer, 'cpu_us'):.2f} | "
               f"{row.median('echod', 'cpu_us'):.2f} | {ratio:.2f} | {target} | "
               f"{row.ratio('rate', peer, inverse=True):.2f} | "
               f"{row.ratio(row.tail[1], peer, inverse=True):.2f} |")


def speed_table(rows, *heading):
    if not rows:
        return []
    return [
        *heading,
        "| work | peer | its CPU time, us | echod's, us | CPU time, peer / echod | target | met | "
        f"throughput, echod / peer | {rows[0].tail[0]}, echod / peer |",
        "|---|---|---|---|---|---|---|---|---|",
        *(line for row in rows for line in speed_lines(row)),
        "",
    ]


def durable_table(rows):
    if not rows:
        return []
    lines = ["| work | Redis, SET/s | echod, SET/s | echod / Redis | target | met | "
             "p99.9, echod / Redis | CPU time, Redis / echod |",
             "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        ratio = row.ratio("rate", "Redis", inverse=True)
        lines.append(
            f"| {row.title} | {row.median('Redis', 'rate'):,.0f} | "
            f"{row.median('echod', 'rate'):,.0f} | {ratio:.2f} | {row.target} | "
            f"{verdict(ratio >= row.target)} | {row.ratio('p999_us', 'Redis', inverse=True):.2f} | "
            f"{row.ratio('cpu_us', 'Redis'):.2f} |")
    return [*lines, ""]


def amount_table(rows):
    if not rows:
        return []
    names = list(dict.fromkeys(name for row in rows for name in row.amounts))
    lines = [f"| amount | unit | {' | '.join(names)} | target | met |",
             "|---" * (len(names) + 4) + "|"]
    for row in rows:
        amounts = " | ".join(f"{row.amounts[name]:,.1f}" if name in row.amounts else "-"
                             for name in names)
        met = verdict(row.amounts["echod"] <= row.target)
        lines.append(f"| {row.title} | {row.unit} | {amounts} | {row.target:,} | {met} |")
    return [*lines, ""]


def write_markdown(path, rows, servers, arguments):
    lines = [
        f"{datetime.date.today()}, {machine()}. {arguments.rounds} rounds of "
        f"{arguments.seconds:g} s, medians. CPU time is the server's, user and system, per "
        "request; a ratio above 1 is in echod's favour but for p99 and p99.9.",
        "",
        *speed_table([row for row in rows if type(row) is SpeedRow]),
        *speed_table([row for row in rows if isinstance(row, TLSRow)],
                     "Over TLS 1.3 with AES-128-GCM, against the others over TLS, or against echod without it:", ""),
        *speed_table([row for row in rows if isinstance(row, RedisBenchmarkRow)],
                     f"GET and SET by RESP, by `{' '.join(REDIS_BENCHMARK)}`:", ""),
        *durable_table([row for row in rows if isinstance(row, DurableRow)]),
        *amount_table([row for row in rows if isinstance(row, AmountRow)]),
        "Commands:",
        "",
        f"    {' '.join([Path(sys.argv[0]).name, *sys.argv[1:]])}",
        *(f"    {' '.join(server.command)}" for server in servers.values()),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"written: {path}")


def write_plot(directory, rows):
    speed = [row for row in rows if type(row) is SpeedRow]
    if not speed:
        return
    if shutil.which("gnuplot") is None:
        print("skipped: the plot, gnuplot is not installed")
        return
    data, svg = directory / "ratios.dat", directory / "ratios.svg"
    data.write_text("".join(f'"{row.title}" {row.ratio("cpu_us", row.best_peer()):.3f}\n'
                            for row in speed), encoding="utf-8")
    subprocess.run(["gnuplot"], input=PLOT.format(svg=svg, data=data), text=True, check=True)
    print(f"written: {svg}")
