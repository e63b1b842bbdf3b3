#!/bin/sh
# Which lines and branches of src/ the tests reach, from a build directory: make coverage. It builds a second
# time, below build-coverage, and runs all tests there. The report is build-coverage/coverage.txt, its last
# lines are printed. What is not reached, and why, stands in tests/coverage.notes.
set -eu
source=$(cd "${1:-.}" && pwd)
command -v gcovr >/dev/null || {
	echo "coverage: gcovr is not installed"
	exit 1
}
rm -rf build-coverage
mkdir build-coverage
cd build-coverage

# The child that checks a store leaves by _exit, which would leave without its counts.
"$source/configure" CPPFLAGS=-D_exit=exit CFLAGS="-O1 -g --coverage -fprofile-abs-path -fprofile-update=atomic" \
	>configure.log
make -j "$(nproc)" >make.log
# The daemons that become somebody else count, too, if the files of counts are there for all.
(umask 000 && "$source/tests/e2e/run.sh" -k privileges >privileges.log) || :
FAULT_STEP=29 make -k check >check.log || grep '^FAIL' check.log || :

report() {
	gcovr -r "$source" --object-directory . -f "$source/src/" --exclude-unreachable-branches \
		--exclude-throw-branches --txt "$@" 2>>gcovr.log
}
{
	report
	report --branches
} >coverage.txt
grep TOTAL coverage.txt | {
	read -r _ lines covered percent
	echo "coverage: $covered of $lines lines, $percent"
	read -r _ branches covered percent
	echo "coverage: $covered of $branches branches, $percent"
}
