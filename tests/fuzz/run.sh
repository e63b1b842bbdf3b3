#!/bin/sh
# Builds the fuzzers with clang and lets them run, one after the other, beginning with the committed corpus.
# `make fuzz` calls it in the build directory; arguments (or FUZZ_ARGS) name fuzzers, the default is all.
#
#   FUZZ_SECONDS  how long each runs (60)
#   CLANG         the compiler (clang-14)
#
# What they find that is new stays in fuzz-found/NAME, and so does what makes one fail.
set -eu
seconds=${FUZZ_SECONDS:-60}
found=$PWD/fuzz-found

# In a network of their own, if we may: what TCP remembers of a million clients slows everybody else.
if [ -z "${FUZZ_ALONE-}" ] && unshare --net true 2>/dev/null; then
	FUZZ_ALONE=yes exec unshare --net sh -c 'ip link set lo up && exec "$@"' sh "$0" "$@"
fi

${MAKE:-make} distdir distdir=build-fuzz >/dev/null
cd build-fuzz
./configure CC="${CLANG:-clang-14}" CFLAGS="-O1 -g" --enable-fuzzing --disable-hardening >/dev/null
if [ $# -eq 0 ]; then
	cd tests/fuzz/corpus
	set -- *
	cd ../../..
fi
for name; do
	${MAKE:-make} -s "tests/fuzz/$name"
done

failed=
for name; do
	mkdir -p "$found/$name"
	echo "== $name, $seconds s"
	"tests/fuzz/$name" -max_total_time="$seconds" -max_len=2000 -timeout=25 -print_final_stats=1 \
		-artifact_prefix="$found/$name-" "$found/$name" "tests/fuzz/corpus/$name" \
		>"$found/$name.log" 2>&1 || failed="$failed $name"
	grep -E '^#[0-9]+[[:space:]]DONE|^SUMMARY|not so:|Test unit written' "$found/$name.log" || :
done
[ -z "$failed" ] || { echo "failed:$failed (see $found)" >&2 && exit 1; }
