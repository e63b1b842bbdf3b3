#!/bin/sh
# Two seconds of load on each kind of service, as TAP: every answer right, none missing. How fast
# they came is not looked at; run.py does that.
# ECHOD names the daemon, BENCH_PROGRAMS the directory of the load generator.
echod=${ECHOD:-src/echod}
load=${BENCH_PROGRAMS:-tests/bench}/load
directory=$(mktemp -d) || exit 1
log=$directory/log
trap 'kill $daemon 2>/dev/null; wait $daemon 2>/dev/null; rm -rf "$directory"' EXIT

tests=8 listeners=5 tls='' secure=''
if "$echod" -V | grep -q ' tls' && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
	-subj /CN=localhost -keyout "$directory/key" -out "$directory/pem" 2>/dev/null; then
	tests=9 listeners=6 tls=', "tls://127.0.0.1:0"'
	secure="tls = { certificate = \"$directory/pem\"; key = \"$directory/key\"; };"
fi
cat >"$directory/echod.conf" <<END
$secure
services = {
  echo = { listen = [ "tcp://127.0.0.1:0", "unix://$directory/echo.sock"$tls ]; };
  kv = { listen = [ "tcp://127.0.0.1:0", "redis://127.0.0.1:0" ]; };
  time = { listen = "udp://127.0.0.1:0"; };
};
END
"$echod" -c "$directory/echod.conf" 2>"$log" &
daemon=$!

# The address of a service and scheme, from the line that says it.
address() {
	sed -n "s/.* $1: listening on \($2:.*\)/\1/p" "$log"
}

for _ in $(seq 100); do
	[ "$(grep -c 'listening on' "$log")" -eq $listeners ] && break
	sleep 0.05
done

count=0
status=0

# expect_answers NAME ADDRESS OPTIONS...: one test.
expect_answers() {
	name=$1 to=$2
	shift 2
	count=$((count + 1))
	if figures=$("$load" -p "$daemon" "$@" "$to" 2>&1); then
		echo "ok $count - $name"
	else
		status=1
		echo "not ok $count - $name"
		sed 's/^/# /' "$log"
	fi
	echo "# $figures"
}

echo "1..$tests"
expect_answers "echo over TCP" "$(address echo tcp)" -c 20 -t 0.3 -w 0.05
expect_answers "echo of 64 KiB over TCP" "$(address echo tcp)" -c 4 -s 65536 -t 0.3 -w 0.05
expect_answers "echo over a Unix socket" "$(address echo unix)" -c 20 -f 16 -t 0.3 -w 0.05
[ -z "$tls" ] || expect_answers "echo over TLS" "$(address echo tls)" -c 20 -f 16 -t 0.3 -w 0.05
expect_answers "kv: SET" "$(address kv tcp)" -m kv-set -k 5000 -o -n 5000 -c 4 -f 16
expect_answers "kv: GET" "$(address kv tcp)" -m kv-get -k 5000 -c 20 -f 16 -t 0.3 -w 0.05
expect_answers "kv: SET by RESP" "$(address kv redis)" -m redis-set -k 5000 -o -n 5000 -c 4 -f 16
expect_answers "kv: GET by RESP" "$(address kv redis)" -m redis-get -k 5000 -c 20 -f 16 -t 0.3 -w 0.05
expect_answers "time over UDP" "$(address time udp)" -m time -c 1 -f 8 -t 0.3 -w 0.05
exit $status
