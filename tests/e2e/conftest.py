"""Fixtures of every test, and the TAP report that the build's test driver reads."""

import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest

import harness
from faults import Faults


@pytest.fixture
def workdir():
    """A directory of the test's own, with a short path: Unix sockets take 107 bytes."""
    directory = tempfile.mkdtemp(prefix="echod-")
    yield Path(directory)
    shutil.rmtree(directory)


@pytest.fixture
def fleet(workdir, request):
    fleet = harness.Fleet(workdir)
    request.node.fleet = fleet
    yield fleet
    fleet.finish()


@pytest.fixture
def echod(fleet):
    """Starts a daemon and returns it once it is ready; it is stopped and checked after the test."""
    return fleet.start


@pytest.fixture
def faults(workdir):
    """A disk that can be slow and break; see faults.py."""
    faults = Faults(workdir)
    yield faults
    faults.close()


@pytest.fixture
def randomness(request):
    """A failure shows its seed; --seed repeats it."""
    seed = request.config.getoption("--seed")
    request.node.seed = int.from_bytes(os.urandom(4), "big") if seed is None else seed
    return random.Random(request.node.seed)


@pytest.fixture
def write(workdir):
    """Writes a file (a config, a drop-in) below the test's directory and returns its path."""

    def write(name, text):
        path = workdir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failure shows the log of each daemon that the test has started."""
    report = (yield).get_result()
    if report.failed and hasattr(item, "fleet"):
        for member in item.fleet.members:
            lines = (member.log.lines if member.log is member.errors else
                     member.log.lines + member.errors.lines)
            report.sections.append((f"log of {member.id}", "\n".join(lines[-200:])))
    if report.failed and hasattr(item, "seed"):
        report.sections.append(("seed", str(item.seed)))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """
    What takes long by its nature begins first, and on all workers: xdist first gives each of them a quarter of its
    share, in this order.
    """
    workers = getattr(config, "workerinput", {"workercount": 1})["workercount"]
    slow = [item for item in items if item.get_closest_marker("slow")]
    others = [item for item in items if not item.get_closest_marker("slow")]
    share, items[:] = max(len(items) // workers // 4, 2), []
    for worker in range(workers):
        items += slow[worker::workers]
        rest = max(0, (worker + 1) * share - len(items))
        items += others[:rest]
        del others[:rest]
    items += others


def pytest_addoption(parser):
    parser.addoption("--tap", action="store_true", help="report as TAP version 13")
    parser.addoption("--seed", type=int, help="of the tests that are random")
    parser.addoption("--flipped-bits", type=int, default=60, help="(default: %(default)s)")
    parser.addoption("--crowd", type=int, default=1000, help="clients (default: %(default)s)")
    parser.addoption("--flood", type=int, default=16, help="MiB (default: %(default)s)")
    parser.addoption("--kill-cycles", type=int, default=20, help="(default: %(default)s)")
    parser.addoption("--node-modules", default="/usr/share/nodejs", help="libraries for Node.js (default: %(default)s)")
    parser.addoption("--power-images", type=int, default=80, help="(default: %(default)s)")
    parser.addoption("--starts", type=int, default=30, help="daemons (default: %(default)s)")


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    config.addinivalue_line("markers", "slow: waits for a long deadline of the daemon")
    if config.getoption("--tap") and not hasattr(config, "workerinput"):
        config.pluginmanager.unregister(name="terminalreporter")
        config.pluginmanager.register(TapReport(), "tap")


class TapReport:
    """One line per test, in the order in which they end; under xdist by the controller."""

    def __init__(self):
        self.out = os.fdopen(os.dup(1), "w", buffering=1)
        self.count = 0
        self.phases = {}
        self.out.write("TAP version 13\n")

    def pytest_runtest_logreport(self, report):
        phases = self.phases.setdefault(report.nodeid, [])
        phases.append(report)
        if report.when not in ("setup", "call"):  # teardown, or a worker that has crashed
            self._write_result(report.nodeid, self.phases.pop(report.nodeid))

    def pytest_collectreport(self, report):
        if report.failed:
            self._write_result(report.nodeid, [report])
        elif report.skipped:
            self._write_result(report.nodeid, [report])

    def pytest_internalerror(self, excrepr):
        self._write_notes(str(excrepr))
        self.out.write("Bail out! pytest has failed\n")

    def pytest_sessionfinish(self):
        for nodeid, phases in self.phases.items():
            self._write_result(nodeid, phases)
        self.out.write(f"1..{self.count}\n" if self.count else "1..0 # SKIP no test was selected\n")
        self.out.flush()

    def _write_result(self, nodeid, phases):
        self.count += 1
        failed = [phase for phase in phases if phase.failed]
        skipped = [phase for phase in phases if phase.skipped]
        name = nodeid.split("/")[-1].replace("#", "")
        reason = f" # SKIP {self._skip_reason(skipped[0])}" if skipped and not failed else ""
        self.out.write(f"{'not ok' if failed else 'ok'} {self.count} - {name}{reason}\n")
        for phase in failed:
            self._write_notes(f"{phase.when if hasattr(phase, 'when') else 'collection'} failed")
            self._write_notes(phase.longreprtext)
            for title, text in phase.sections:
                self._write_notes(f"--- {title} ---\n{text}")

    @staticmethod
    def _skip_reason(report):
        text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        return text.removeprefix("Skipped: ").replace("\n", " ")

    def _write_notes(self, text):
        self.out.writelines(f"# {line}\n" for line in text.splitlines())
