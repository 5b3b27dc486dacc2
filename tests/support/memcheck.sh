#!/usr/bin/env bash
# Runs a part of the PHP suite under valgrind and fails on invalid reads and writes, and on uninitialised values.
#
#   tests/support/memcheck.sh                         producing, spool and dead letters on the embedded broker
#   tests/support/memcheck.sh --filter=Refused        the tests that PHPUnit's arguments select
#
# With REALTIME_TEST_BROKERS=host:port the tests run on that Kafka (see kafka.sh start). Under valgrind PHP is about 30 times
# slower: failed tests, usually time limits, are reported but do not fail this run.

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/common.sh"

cd "$ROOT"
need_extension
have valgrind || fail "valgrind is missing." "Install it: tools/setup.sh memcheck"
PHPUNIT="$(command -v phpunit)" || fail "phpunit is missing." "Install it: make setup"

if [ -z "${REALTIME_TEST_BROKERS:-}" ] || [ "$REALTIME_TEST_BROKERS" = embedded ]; then
    export REALTIME_TEST_BROKERS=embedded
    suites=embedded,broker
else
    suites=broker,kafka
fi
arguments=("$@")
[ $# -gt 0 ] || arguments=(--filter "Tests.(Producing|Spool|Delivery|Dlq)")

report="$ROOT/build/test-output/memcheck.log"
mkdir -p "${report%/*}"
rm -f "$report"
# PHP's own allocator would hide errors; modules stay loaded so that stack traces have symbols; valgrind does not support
# the JIT of PCRE.
export USE_ZEND_ALLOC=0 ZEND_DONT_UNLOAD_MODULES=1
status=0
valgrind --quiet --error-exitcode=99 --num-callers=40 --log-file="$report" --suppressions="$ROOT/tests/support/valgrind.supp" \
    "$PHP" -d "extension=$REALTIME_EXTENSION" -d pcre.jit=0 -d opcache.enable_cli=0 -d zend.assertions=1 \
    "$PHPUNIT" --testsuite "$suites" "${arguments[@]}" || status=$?

if [ -s "$report" ]; then
    head -n 60 "$report"
    fail "valgrind found errors; the full list is in $report."
fi
[ "$status" -eq 0 ] || note "Tests failed, possibly because of their time limits; valgrind found no error."
say "No memory errors."
