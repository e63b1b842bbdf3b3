"""The clients of Redis: its own programs, and libraries of many languages."""

import os
import re
import subprocess
import threading

import pytest

import harness
import resp

CLI = harness.program("redis-cli")
needs_cli = pytest.mark.skipif(CLI is None, reason="redis-cli is not installed")

SOCKET = "redis+unix://$DIR/kv"
PROGRAMS = harness.SOURCE_TREE / "tests/e2e/redis_clients"
# How each program is run, and what says whether its library is there.
LIBRARIES = {
    "hiredis.c": ("cc -o {out} {program} -lhiredis && {out}", "echo '#include <hiredis/hiredis.h>' | cc -E -"),
    "redis.rb": ("ruby {program}", "ruby -r redis -e 1"),
    "phpredis.php": ("php {program}", "php -r 'exit(extension_loaded(\"redis\") ? 0 : 1);'"),
    "Redis.pl": ("perl {program}", "perl -MRedis -e 1"),
    "redigo.go": ("go run {program}", "go list github.com/gomodule/redigo/redis"),
    "redis.js": ("node {program}", "node -r redis -e 1"),
    "ioredis.js": ("node {program}", "node -r ioredis -e 1"),
}


@pytest.fixture
def server(echod):
    return echod({"kv": {"listen": [SOCKET, "redis://127.0.0.1:0"]}})


def cli(server, *arguments, stdin=None):
    command = [CLI, "-s", server.address("kv", "redis+unix").path, *arguments]
    result = subprocess.run(  # fmt: skip
        command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=harness.DEADLINE,
        check=False, **({} if stdin is not None else {"stdin": subprocess.DEVNULL}))  # fmt: skip
    assert result.returncode == 0, result.stdout
    return result.stdout


@needs_cli
def test_redis_cli(server):
    assert cli(server, "set", "a", "two words") == b"OK\n"
    assert cli(server, "get", "a") == b"two words\n"
    assert cli(server, "--no-raw", "get", "none") == b"(nil)\n"
    assert cli(server, "-3", "--no-raw", "get", "none") == b"(nil)\n"
    assert b'3# "proto" => (integer) 3\n' in cli(server, "-3", "--no-raw", "hello", "3")
    assert b"unknown command 'lpush', with args beginning with: 'l' '1' " in cli(server, "lpush", "l", "1")
    info = cli(server, "info")
    assert b"redis_version:7.2.4\r\n" in info and b"server_name:echod\r\n" in info and b"loading:0\r\n" in info
    assert b"db0:keys=1,expires=0,avg_ttl=0\r\n" in info


@needs_cli
def test_redis_cli_at_an_address_for_lines(echod):
    """The manual explains what it prints there."""
    server = echod({"kv": {"listen": "unix://$DIR/kv"}})
    done = subprocess.run([CLI, "-s", server.address("kv").path, "ping"], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=harness.DEADLINE, check=False)  # fmt: skip
    message = 'Protocol error, got "R" as reply type byte'
    assert message in (done.stdout + done.stderr).decode()
    manual = (harness.SOURCE_TREE / "conf/echod.conf.5.in").read_text()
    assert message in manual.replace(r"\(dq", '"')


@needs_cli
def test_redis_cli_pipe_and_scan(server):
    keys = [b"key:%d" % number for number in range(3000)]
    stream = b"".join(resp.request("SET", key, b"v" * 100) for key in keys)
    assert b"errors: 0, replies: 3000" in cli(server, "--pipe", stdin=stream)
    assert sorted(cli(server, "--scan").split()) == sorted(keys)
    assert sorted(cli(server, "--scan", "--pattern", "key:1??").split()) == sorted(
        key for key in keys if re.fullmatch(rb"key:1..", key))  # fmt: skip
    assert b"string" in cli(server, "--bigkeys")
    command = [CLI, "-s", server.address("kv", "redis+unix").path, "--stat", "-i", "0.01"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        lines = [process.stdout.readline() for _ in range(4)]
        process.kill()
    assert any(line.split()[:1] == [b"3000"] for line in lines), lines


@pytest.fixture
def client(server):
    redis = pytest.importorskip("redis")
    with redis.Redis(unix_socket_path=server.address("kv", "redis+unix").path, client_name="tests") as client:
        yield client


def test_python_redis(client):
    assert client.ping() and client.client_getname() == "tests"
    assert client.set("a", b"\0\r\n", ex=100) is True and client.get("a") == b"\0\r\n"
    assert client.set("a", 1, nx=True) is None and client.ttl("a") == 100
    assert client.mset({"b": 1, "c": 2}) and client.mget("b", "none", "c") == [b"1", None, b"2"]
    assert client.incr("n") == 1 and client.incrbyfloat("f", 0.5) == 0.5
    assert client.expire("b", 10, gt=True) is False and client.ttl("b") == -1
    assert client.delete("a", "b", "none") == 2
    with pytest.raises(Exception, match="value is not an integer"):
        client.incr("f")
    assert client.info("server")["server_name"] == "echod" and client.info()["loading"] == 0
    assert client.config_get("maxmemory") == {"maxmemory": str(64 << 20)}
    assert [one["name"] for one in client.client_list()] == ["tests"]
    assert "get" in client.command() and client.time()[0] > 0


def test_python_redis_pipeline_and_scan(client):
    pipeline = client.pipeline(transaction=False)
    for number in range(1000):
        pipeline.set(f"key:{number}", number)
    assert pipeline.execute() == [True] * 1000
    assert sorted(client.scan_iter(count=100)) == sorted(b"key:%d" % number for number in range(1000))
    assert len(client.keys("key:1*")) == 111 and client.dbsize() == 1000
    assert client.flushdb() and client.dbsize() == 0


def test_python_redis_transactions(client):
    pipeline = client.pipeline()
    pipeline.set("n", 1).incr("n").get("none")
    assert pipeline.execute() == [True, 2, None]
    tries = []

    def double(pipeline):
        number = int(pipeline.get("n"))
        if not tries:
            client.set("n", 5)
        tries.append(number)
        pipeline.multi()
        pipeline.set("n", 2 * number)

    assert client.transaction(double, "n") == [True] and tries == [2, 5] and client.get("n") == b"10"


def test_python_redis_lock(server, client):
    """Many that want it, each for a moment: nobody has it beside another one."""
    redis = pytest.importorskip("redis")
    held = []

    def work():
        with redis.Redis(unix_socket_path=server.address("kv", "redis+unix").path) as own:
            for _ in range(20):
                with own.lock("lock", timeout=100, sleep=0.001) as lock:
                    held.append(1)
                    assert len(held) == 1 and lock.owned() and lock.extend(50) is True
                    held.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.get("lock") is None and not held
    with pytest.raises(redis.exceptions.LockError):
        client.lock("lock", timeout=100).release()


def test_python_redis_messages(client):
    subscriber = client.pubsub(ignore_subscribe_messages=True)
    subscriber.psubscribe("news.*")
    assert subscriber.get_message(timeout=harness.DEADLINE) is None  # the reply to PSUBSCRIBE
    assert client.publish("news.today", "hello") == 1
    message = subscriber.get_message(timeout=harness.DEADLINE)
    assert (message["channel"], message["data"]) == (b"news.today", b"hello")
    subscriber.close()


BENCHMARK = harness.program("redis-benchmark")


@pytest.mark.skipif(BENCHMARK is None, reason="redis-benchmark is not installed")
@pytest.mark.parametrize("pipeline", [1, 16])
def test_redis_benchmark(server, pipeline):
    commands = ["ping", "set", "get", "incr", "mset"]
    done = subprocess.run(  # fmt: skip
        [BENCHMARK, "-s", server.address("kv", "redis+unix").path, "-t", ",".join(commands), "-n", "2000", "-c", "20",
         "-P", str(pipeline), "-r", "100", "--csv"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=harness.DEADLINE, check=True)  # fmt: skip
    assert re.findall(r'^"(\w+)[^"]*","[\d.]+"', done.stdout, re.M) == [
        "PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET"], done  # fmt: skip


@pytest.mark.parametrize("name", LIBRARIES)
def test_library(server, workdir, pytestconfig, name):
    """Values, errors, pipelines, transactions, a script and messages, with the calls that its users write."""
    run, probe = LIBRARIES[name]
    environment = os.environ | {"NODE_PATH": pytestconfig.getoption("--node-modules"), "GO111MODULE": "off",
                                "GOPATH": "/usr/share/gocode", "GOCACHE": str(workdir / "go")}  # fmt: skip

    def shell(command):
        return subprocess.run(["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env=environment, text=True, timeout=harness.DEADLINE)  # fmt: skip

    if shell(probe).returncode != 0:
        pytest.skip(f"the library of {name} is not installed")
    address, path = server.address("kv", "redis"), server.address("kv", "redis+unix").path
    done = shell(run.format(out=workdir / "client", program=PROGRAMS / name) + f" {address.host} {address.port} {path}")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout
