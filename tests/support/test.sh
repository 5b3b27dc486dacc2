#!/usr/bin/env bash
# Runs the tests in stages, prints the title and duration of each stage, and stops at the first failed stage.
#
#   tests/support/test.sh all      everything below; installs missing packages first
#   tests/support/test.sh check    lint, and PHPUnit without the extension and on the embedded broker (development build)
#   tests/support/test.sh rust     the core's Rust tests, which need no PHP
#   tests/support/test.sh php      PHPUnit: unit tests without the extension, then everything on the embedded broker
#   tests/support/test.sh kafka    PHPUnit against Apache Kafka, started here and stopped again
#   tests/support/test.sh browser  pusher-js and laravel-echo in Chromium, and Node, against the gateway

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/common.sh"

cd "$ROOT"
KAFKA="$ROOT/tests/support/kafka.sh"
DATABASES="$ROOT/tests/support/databases.sh"
PHPUNIT="$ROOT/tests/support/phpunit.sh"

REPORTS="$ROOT/build/test-output"
# The tests wait more than they compute: in parallel they take the time of the longest job, even on two cores.
EMBEDDED_PARTS=2
KAFKA_PARTS=2
CHECK_PARTS=8
retried=() # tests that passed only when they ran again, alone

# Runs at every exit, so that no broker and no database keeps running.
jobs=()
outputs=()
clean_up() {
    local group
    for group in "${jobs[@]}"; do
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
    "$@" || fail "failed: $title" "Run it alone: $*"
    note "$title: $((SECONDS - started)) s"
}

# Starts a background job; its output is shown when all jobs have finished, so that their lines do not mix.
job() { # name, command …
    local output="$REPORTS/$1.log"
    shift
    mkdir -p "$REPORTS"
    set -m # a separate process group, so that clean_up can signal all processes of the job
    ("$@") >"$output" 2>&1 </dev/null &
    jobs+=("$!")
    set +m
    outputs+=("$output")
}

# Shows the output of each job; returns 1 if a job failed.
wait_for_jobs() {
    local at status=0
    for at in "${!jobs[@]}"; do
        wait "${jobs[$at]}" || status=1
        cat "${outputs[$at]}"
    done
    jobs=()
    outputs=()
    return "$status"
}

cargo_test() { cargo test --locked --no-default-features "$@"; }

test_rust() {
    # One at a time: a child of a test that forks would inherit the file locks of concurrent tests.
    stage "Rust tests of the core, without PHP" cargo_test -- --test-threads=1
}

# The tests that use Apache Kafka too if REALTIME_TEST_BROKERS names one. `all` runs them in the Rust stage.
test_gateway_on_kafka() {
    stage "Rust tests of the gateway on Apache Kafka" cargo_test --lib -- --test-threads=1 \
        gateway::tests::kafka gateway::cluster gateway::feed gateway::replay
}

test_browser() {
    stage "pusher-js and laravel-echo in Chromium against the gateway" tests/support/browser.sh
}

# One set of servers for all stages; a separate PHPUnit run starts its own.
start_databases() {
    local variables
    say "Starting Redis, PostgreSQL and MariaDB"
    variables="$("$DATABASES" start --name="test-$$" --owner=$$)"
    eval "$variables"
}

start_kafka() {
    local name nodes=()
    say "Starting Apache Kafka, a second one without automatic topic creation, and one with TLS, SASL and ACLs"
    "$KAFKA" jars
    "$KAFKA" sweep
    REALTIME_TEST_SECURE="test-secure-$$"
    "$KAFKA" start --name="test-$$" --owner=$$ >/dev/null &
    nodes+=("$!")
    "$KAFKA" start --name="test-strict-$$" --no-auto-create --owner=$$ >/dev/null &
    nodes+=("$!")
    "$KAFKA" start --secure --name="$REALTIME_TEST_SECURE" --owner=$$ >/dev/null &
    nodes+=("$!")
    for name in "${nodes[@]}"; do wait "$name"; done
    REALTIME_TEST_BROKERS="$(cat "$ROOT/build/kafka/test-$$/address")"
    REALTIME_TEST_BROKERS_STRICT="$(cat "$ROOT/build/kafka/test-strict-$$/address")"
    export REALTIME_TEST_BROKERS REALTIME_TEST_BROKERS_STRICT REALTIME_TEST_SECURE
}

test_without_extension() {
    stage "PHPUnit without the extension" "$PHPUNIT" without-extension
}

# Runs PHPUnit with a JUnit report, and creates an .ok file next to the report if all tests passed; see retry_failed().
phpunit() { # embedded or kafka; all of it, or a part K/N
    local mode=$1 part=${2:-} name report
    name="$mode${part:+-${part%/*}}"
    report="$REPORTS/$name"
    mkdir -p "$REPORTS"
    rm -f "$report".{ok,xml}
    stage "PHPUnit, $mode${part:+, part $part}" "$PHPUNIT" "$mode" ${part:+"--part=$part"} --log-junit "$report.xml"
    touch "$report.ok"
}

phpunit_jobs() { # mode, parts
    local part
    for ((part = 1; part <= $2; part++)); do
        job "$1-$part" phpunit "$1" "$part/$2"
    done
}

# A test that failed while other jobs were running is run again, alone. If it fails again, the run fails. If it passes,
# the machine was too busy for its time limits, or there is a race that occurs only under load: the test is listed at the
# end, and its first failure is in the output above. More than five failures per part are not retried.
retry_failed() { # mode, parts
    local mode=$1 part run tests line
    for ((part = 1; part <= $2; part++)); do
        run="$mode-$part"
        [ ! -e "$REPORTS/$run.ok" ] || continue
        tests="$("$PHP" tests/support/failed.php "$REPORTS/$run.xml" 5)" || fail "failed: PHPUnit, $run; see its output above"
        while IFS= read -r line; do
            stage "Retry, alone: ${line#*$'\t'}, $mode" \
                "$PHPUNIT" "$mode" --filter "::${line##*::}( |\$)" "${line%%$'\t'*}" </dev/null
            retried+=("${line#*$'\t'}, $mode")
        done <<<"$tests"
    done
}

# The job of the tests outside PHPUnit; each stage that passes creates an .ok file.
other_tests() {
    local test
    rm -f "$REPORTS"/other-*.ok
    for test in rust browser; do
        if ("test_$test"); then touch "$REPORTS/other-$test.ok"; fi
    done
    [ "$(find "$REPORTS" -name 'other-*.ok' | wc -l)" -eq 2 ]
}

retry_other_tests() {
    local test
    for test in rust browser; do
        [ ! -e "$REPORTS/other-$test.ok" ] || continue
        "test_$test"
        retried+=("test_$test, the whole stage")
    done
}

test_everything() {
    say "PHPUnit on the embedded broker and on Kafka, Rust and browser tests, in parallel: all output is shown at the end"
    phpunit_jobs embedded "$EMBEDDED_PARTS"
    phpunit_jobs kafka "$KAFKA_PARTS"
    job other other_tests
    if ! wait_for_jobs; then
        retry_failed embedded "$EMBEDDED_PARTS"
        retry_failed kafka "$KAFKA_PARTS"
        retry_other_tests
    fi
}

show_retried() {
    local test
    [ ${#retried[@]} -eq 0 ] || say "These tests passed only when they were run again, alone; their first failures are above:"
    for test in "${retried[@]}"; do note "$test"; done
}

case "${1:-all}" in
    all)
        tools/setup.sh test
        stage "Building the extension" tools/build.sh
        stage "Lint" tests/support/lint.sh
        stage "Building the Rust tests" cargo_test --no-run
        start_databases
        test_without_extension
        start_kafka
        test_everything
        say "Everything passed in $SECONDS s."
        show_retried
        ;;
    check)
        stage "Building the extension" cargo build --locked
        export REALTIME_EXTENSION="${CARGO_TARGET_DIR:-$ROOT/target}/debug/libtoporia_realtime.so"
        start_databases
        test_without_extension
        say "PHPUnit on the embedded broker, in $CHECK_PARTS parts, in parallel with lint: their output is shown at the end"
        phpunit_jobs embedded "$CHECK_PARTS"
        stage "Lint" tests/support/lint.sh
        wait_for_jobs || retry_failed embedded "$CHECK_PARTS"
        say "Passed in $SECONDS s."
        show_retried
        ;;
    rust) test_rust ;;
    php)
        start_databases
        test_without_extension
        phpunit embedded
        ;;
    kafka)
        start_databases
        start_kafka
        test_gateway_on_kafka
        phpunit kafka
        ;;
    browser) test_browser ;;
    *) fail "unknown argument '$1'." "Usage: tests/support/test.sh all|check|rust|php|kafka|browser" ;;
esac
