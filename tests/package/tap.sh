# Sourced by the scripts that run in a root: results as TAP.
count=0
failed=0

# check NAME COMMAND...: one result; what the command prints is shown when it fails.
check() {
	name=$1
	shift
	count=$((count + 1))
	if "$@" >/tmp/check.log 2>&1 </dev/null; then
		echo "ok $count - $name"
	else
		failed=$((failed + 1))
		echo "not ok $count - $name"
		tail -n 40 /tmp/check.log | sed 's/^/# /'
	fi
}

# fails COMMAND...: succeeds if the command fails.
fails() {
	! "$@"
}

# wait_for COMMAND...: waits, 20 seconds at most, until it succeeds.
wait_for() {
	tries=200
	until "$@"; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return
		sleep 0.1
	done
}

# says PATTERN COMMAND...: the command's output has a line that matches.
says() {
	pattern=$1
	shift
	"$@" >/tmp/says.log 2>&1
	cat /tmp/says.log
	grep -qE "$pattern" /tmp/says.log
}

apt_install() {
	apt-get install -q -y --no-install-recommends --allow-downgrades "$@"
}

# Every path but what changes by itself, to compare before with after.
list_paths() {
	find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp \
		-o -path /var/cache -o -path /var/log -o -path /var/lib/apt -o -path /var/lib/dpkg \
		-o -path /var/tmp -o -path '/etc/*-' \
		-o -path /var/lib/logrotate \) -prune -o -print | sort
	find /run/echod /var/log/echod 2>/dev/null
	ls /var/lib/dpkg/info | grep '^echod' || true
}

# Against the list of paths in /tmp/before.
leaves_nothing() {
	list_paths >/tmp/after
	diff -u /tmp/before /tmp/after
}

finish() {
	echo "1..$count"
	[ $failed -eq 0 ]
}
