#!/usr/bin/env bash
# Runs the tests in stages, says what each is and how long it took, and ends at the first that fails.
#
#   tests/support/test.sh all      everything below, and lint; installs what is missing; the PHPUnit runs side by side
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

REPORTS="$ROOT/build/test-output"
second=() # tests that passed only when they ran again, alone

# Whatever way this ends, no broker and no database stays behind.
beside=()
clean_up() {
    local group
    for group in "${beside[@]}"; do
        kill -- "-$group" 2>/dev/null || true
    done
    "$KAFKA" stop-owned --owner=$$
    "$KAFKA" sweep
    "$DATABASES" stop-owned --owner=$$
    "$DATABASES" sweep
}
trap clean_up EXIT
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

test_without_extension() {
    stage "PHPUnit without the extension" "$PHPUNIT" without-extension
}

# PHPUnit with a report of each test, and a mark beside it where all passed; see again().
stage_phpunit() { # title, the report's name, then what phpunit.sh takes
    local title=$1 report="$REPORTS/$2"
    shift 2
    mkdir -p "$REPORTS"
    rm -f "$report".{ok,xml}
    stage "$title" "$PHPUNIT" "$@" --log-junit "$report.xml"
    touch "$report.ok"
}

test_embedded() {
    stage_phpunit "PHPUnit on the embedded broker" embedded embedded
}

start_kafka() {
    say "Starting Apache Kafka, a second one that creates no topics by itself, and one with TLS, SASL and ACLs"
    REALTIME_TEST_BROKERS="$("$KAFKA" start --name="test-$$" --owner=$$)"
    REALTIME_TEST_BROKERS_STRICT="$("$KAFKA" start --name="test-strict-$$" --no-auto-create --owner=$$)"
    REALTIME_TEST_SECURE="test-secure-$$"
    "$KAFKA" start --secure --name="$REALTIME_TEST_SECURE" --owner=$$ >/dev/null
    export REALTIME_TEST_BROKERS REALTIME_TEST_BROKERS_STRICT REALTIME_TEST_SECURE
}

test_kafka() { # all of it, or --part=K/N
    local part=${1:-}
    part=${part#--part=}
    stage_phpunit "PHPUnit on a real Apache Kafka at $REALTIME_TEST_BROKERS${part:+, part $part}" \
        "kafka${part:+-${part%/*}}" kafka "$@"
}

# The suites wait more than they compute: side by side they take the time of the longest one. Those that run in the
# background show their output when the first has ended, so that their lines do not mix.
beside_others() { # name, command …
    local output="$REPORTS/$1.log"
    shift
    mkdir -p "$REPORTS"
    set -m # a process group of its own, so that clean_up reaches all of it
    ("$@") >"$output" 2>&1 &
    beside+=("$!")
    set +m
    outputs+=("$output")
}

test_both_brokers() {
    local status=0 outputs=() at
    say "PHPUnit runs on the embedded broker and, in two parts, on Kafka; the output of all but this part comes at the end"
    beside_others embedded test_embedded
    beside_others kafka-2 test_kafka --part=2/2
    (test_kafka --part=1/2) || status=$?
    for at in "${!beside[@]}"; do
        wait "${beside[$at]}" || status=$?
        cat "${outputs[$at]}"
    done
    beside=()
    [ "$status" -eq 0 ] || again
}

# A test that failed beside the others runs once more, alone on the machine. Failing again it is broken. Passing, the
# machine was too busy for its times, or there is a race that only a busy machine shows: it is named at the very end,
# and what it said first is in the output above, so that somebody looks. More than a handful is no accident.
again() {
    local run tests line
    for run in embedded kafka-1 kafka-2; do
        [ ! -e "$REPORTS/$run.ok" ] || continue
        tests="$("$PHP" tests/support/failed.php "$REPORTS/$run.xml" 5)" || fail "failed: PHPUnit, $run; see its output above"
        while IFS= read -r line; do
            stage "Alone once more: ${line#*$'\t'}, ${run%-*}" \
                "$PHPUNIT" "${run%-*}" --filter "::${line##*::}( |\$)" "${line%%$'\t'*}" </dev/null
            second+=("${line#*$'\t'}, ${run%-*}")
        done <<<"$tests"
    done
}

# The same tests as in the Rust stage; there on the embedded broker, here on the Kafka that was just started.
test_gateway_on_kafka() {
    stage "Rust tests of the gateway on a real Apache Kafka" \
        cargo test --locked --no-default-features --lib -- --test-threads=1 gateway::tests_kafka gateway::feed
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
        start_databases
        test_without_extension
        start_kafka
        test_gateway_on_kafka
        test_both_brokers
        test_browser
        say "Everything passed in $SECONDS s."
        if [ ${#second[@]} -gt 0 ]; then
            say "But these only the second time, alone on the machine; why they failed beside the others is above:"
            for test in "${second[@]}"; do note "$test"; done
        fi
        ;;
    rust) test_rust ;;
    php)
        start_databases
        test_without_extension
        test_embedded
        ;;
    kafka)
        start_databases
        start_kafka
        test_gateway_on_kafka
        test_kafka
        ;;
    browser) test_browser ;;
    *) fail "unknown argument '$1'." "Usage: tests/support/test.sh all|rust|php|kafka|browser" ;;
esac
