#!/bin/sh
# Runs the end-to-end tests against the echod of the current build tree and reports as TAP.
# Arguments go to pytest: tests/e2e/run.sh -k kv
# ECHOD names another daemon, ECHOD_TEST_JOBS how many tests run at once: many of them only wait.
python=/usr/bin/python3
tests=$(cd "$(dirname "$0")" && pwd) || exit 1

for module in pytest xdist; do
	if ! $python -c "import $module" 2>/dev/null; then
		echo "1..0 # SKIP the Python module $module is not installed"
		exit 0
	fi
done
export PYTHONDONTWRITEBYTECODE=1
# What a service manager has said to us was not said to the daemons under test.
unset NOTIFY_SOCKET WATCHDOG_USEC LISTEN_FDS
jobs=$(nproc)
[ "$jobs" -le 6 ] || jobs=6
# Neither plug-in may leave its directory behind.
exec $python -m pytest --rootdir="$tests" -p no:cacheprovider -p no:tmpdir --tap \
	-n "${ECHOD_TEST_JOBS:-$((jobs + 1))}" "$tests" "$@"
