"""What comes before the daemon: make install, and bootstrap."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness import DEADLINE, SOURCE_TREE, find_echod, program

TREE = Path(find_echod()).parents[1]
BOOTSTRAP = SOURCE_TREE / "bootstrap"
NEEDED = ["autoconf", "automake", "make", "gcc", "libc6-dev", "pkgconf", "libevent-dev",
          "libconfig-dev", "libjansson-dev", "libsqlite3-dev", "libxxhash-dev",
          "libmd-dev", "libcrypt-dev"]  # fmt: skip


def run(*command, **options):
    return subprocess.run(
        [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=3 * DEADLINE, check=False, text=True, **options,
    )  # fmt: skip


# --- make install ---


def make(target, root):
    """Not as a part of the make that may run the tests."""
    env = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    done = run("make", "-s", "-C", TREE, target, f"DESTDIR={root}", env=env)
    assert done.returncode == 0, done.stdout
    return {path.relative_to(root).name for path in root.rglob("*") if path.is_file()}


@pytest.mark.skipif(not (TREE / "Makefile").exists() or program("make") is None,
                    reason="no build tree around echod")  # fmt: skip
def test_install_below_a_path_with_a_blank(workdir):
    root = workdir / "a b"
    root.mkdir()
    installed = make("install-data-local", root)
    assert {"echod.conf", "inetd.conf", "programs.conf"} <= installed
    assert os.listdir(workdir) == ["a b"]
    config = next(path for path in root.rglob("echod.conf") if "examples" not in path.parts)
    config.write_text("# The administrator's.\n")
    make("install-data-local", root)
    assert config.read_text() == "# The administrator's.\n"
    assert make("uninstall-local", root) == {"echod.conf"}
    config.unlink()
    make("install-data-local", root)
    assert make("uninstall-local", root) == set()


# --- bootstrap ---


@pytest.fixture
def tools(workdir):
    """A directory for PATH with the little that bootstrap takes for granted."""
    tools = workdir / "tools"
    tools.mkdir()
    for name in "dirname", "id":
        (tools / name).symlink_to(shutil.which(name))
    return tools


@pytest.fixture
def tree(workdir):
    """A tree in which nothing could be built."""
    tree = workdir / "tree"
    (tree / "debian").mkdir(parents=True)
    shutil.copy(BOOTSTRAP, tree)
    workdir.chmod(0o755)
    return tree


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def bootstrap(tree, tools, **options):
    return run(tree / "bootstrap", env={"PATH": str(tools)}, **options)


def test_bootstrap_stays_in_its_tree(tree, workdir):
    """CDPATH would lead `cd tree` elsewhere, and make it print where that is."""
    (workdir / "elsewhere/tree").mkdir(parents=True)
    env = {**os.environ, "CDPATH": str(workdir / "elsewhere"), "POSIXLY_CORRECT": "1"}
    done = run("sh", "-c", "tree/bootstrap help", cwd=workdir, env=env)
    assert done.returncode == 2
    assert done.stdout.startswith("From a fresh clone") and "bootstrap check" in done.stdout


def test_bootstrap_by_way_of_a_link(tree, workdir):
    (workdir / "link").symlink_to("tree/bootstrap")
    done = run(workdir / "link", "help", cwd="/")
    assert done.returncode == 2
    assert done.stdout.startswith("From a fresh clone")


def test_bootstrap_names_every_package_that_is_missing(tree, tools):
    done = bootstrap(tree, tools)
    assert done.returncode == 1
    line = next(line for line in done.stdout.splitlines() if "please install" in line)
    assert line.split(":")[2].split() == NEEDED
    assert "libsystemd-dev check" in done.stdout


def test_bootstrap_without_root_and_sudo(tree, tools):
    (tree / "debian/control").touch()
    script(tools / "apt-get", "echo must not be called; exit 1")
    script(tools / "dpkg-checkbuilddeps",
           "echo dpkg-checkbuilddeps: error: Unmet build dependencies: check libfoo-dev >&2; exit 1")
    user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    done = bootstrap(tree, tools, **user)
    assert done.returncode == 1
    assert "packages are missing: check libfoo-dev\n" in done.stdout
    assert "you are not root, and there is no sudo" in done.stdout
    assert "must not be called" not in done.stdout and "not found" not in done.stdout
