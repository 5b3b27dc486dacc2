#!/usr/bin/env bash
# Runs the tests in stages, says what each is and how long it took, and ends at the first that fails.
#
#   tests/support/test.sh all      everything below, and lint; installs what is missing
#   tests/support/test.sh rust     the core's Rust tests, which need no PHP
#   tests/support/test.sh php      PHPUnit: unit tests without the extension, then everything on the embedded broker
#   tests/support/test.sh kafka    PHPUnit against a real Apache Kafka, started here and stopped again
#   tests/support/test.sh browser  pusher-js and laravel-echo in Chromium, and Node, against the gateway

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/common.sh"

cd "$ROOT"
KAFKA="$ROOT/tests/support/kafka.sh"
DATABASES="$ROOT/tests/support/databases.sh"
PHPUNIT="$ROOT/tests/support/phpunit.sh"

# Whatever way this ends, no broker and no database stays behind.
trap '"$KAFKA" stop-owned --owner=$$; "$KAFKA" sweep; "$DATABASES" stop-owned --owner=$$; "$DATABASES" sweep' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

stage() { # title, command …
    local title=$1 started=$SECONDS
    shift
    say "$title"
    "$@" || fail "failed: $title" "Again, alone: $*"
    note "$title: $((SECONDS - started)) s"
}

test_rust() {
    # One at a time: a test that forks would hand the file locks of its neighbours to its child.
    stage "Rust tests of the core, without PHP" \
        cargo test --locked --no-default-features -- --test-threads=1
}

# One set for all stages; PHPUnit alone would start its own.
start_databases() {
    local variables
    say "Starting Redis, PostgreSQL and MariaDB"
    variables="$("$DATABASES" start --name="test-$$" --owner=$$)"
    eval "$variables"
}

test_php() {
    start_databases
    stage "PHPUnit without the extension" "$PHPUNIT" without-extension
    stage "PHPUnit on the embedded broker" "$PHPUNIT" embedded
}

test_kafka() {
    start_databases
    say "Starting Apache Kafka, and a second one that creates no topics by itself"
    REALTIME_TEST_BROKERS="$("$KAFKA" start --name="test-$$" --owner=$$)"
    REALTIME_TEST_BROKERS_STRICT="$("$KAFKA" start --name="test-strict-$$" --no-auto-create --owner=$$)"
    export REALTIME_TEST_BROKERS REALTIME_TEST_BROKERS_STRICT
    stage "PHPUnit on a real Apache Kafka at $REALTIME_TEST_BROKERS" "$PHPUNIT" kafka
    "$KAFKA" stop-owned --owner=$$
}

test_browser() {
    stage "pusher-js and laravel-echo in Chromium against the gateway" tests/support/browser.sh
}

case "${1:-all}" in
    all)
        tools/setup.sh test
        stage "Building the extension" tools/build.sh
        stage "Lint" tests/support/lint.sh
        test_rust
        test_php
        test_kafka
        test_browser
        say "Everything passed in $SECONDS s."
        ;;
    rust | php | kafka | browser) "test_$1" ;;
    *) fail "unknown argument '$1'." "Usage: tests/support/test.sh all|rust|php|kafka|browser" ;;
esac
