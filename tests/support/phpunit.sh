#!/usr/bin/env bash
# Runs PHPUnit with the freshly built extension, or without it; arguments after the mode go to PHPUnit.
#
#   tests/support/phpunit.sh embedded --filter=Retry     on the embedded broker
#   tests/support/phpunit.sh kafka                       on the Kafka of REALTIME_TEST_BROKERS (see kafka.sh start)
#   tests/support/phpunit.sh kafka --part=1/2            one of two parts of the suite, for running parts in parallel
#   tests/support/phpunit.sh without-extension           the unit tests, with PHP substitutes for the native classes

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/common.sh"

cd "$ROOT"
PHPUNIT="$(command -v phpunit)" || fail "phpunit is missing." "Install it: make setup"
# A test that hangs must not block the run forever.
LIMIT=${REALTIME_TEST_TIMEOUT:-2400}

# PHP would load an installed and enabled copy of the extension first: scan a copy of the ini files without that extension.
without_installed_copy() {
    local scan_dir copy file
    scan_dir="$("$PHP" -r 'echo PHP_CONFIG_FILE_SCAN_DIR;')"
    if [ -n "$scan_dir" ] && grep -qs toporia_realtime "$scan_dir"/*.ini; then
        copy="$ROOT/build/php-ini-$mode${part:+-${part//\//-}}"
        rm -rf "$copy"
        mkdir -p "$copy"
        for file in "$scan_dir"/*.ini; do
            grep -q toporia_realtime "$file" || cp "$file" "$copy/"
        done
        export PHP_INI_SCAN_DIR="$copy"
    fi
}

# The temporary files of all tests are in one directory, so that a killed test leaves nothing behind.
use_temporary_directory() {
    local left
    for left in "${TMPDIR:=/tmp}"/realtime-tests.*; do
        kill -0 "${left##*.}" 2>/dev/null || rm -rf "$left"
    done
    export TMPDIR="$TMPDIR/realtime-tests.$$"
    mkdir -m 1777 "$TMPDIR"
    trap 'rm -rf "$TMPDIR"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# Only tests that change mounts may be skipped, because containers usually do not permit it. Elsewhere a skipped test fails.
skip_rule() {
    if unshare --mount mount -t tmpfs tmpfs /run 2>/dev/null; then
        echo --fail-on-skipped
    else
        note "Mounts cannot be changed here (requires root, and CAP_SYS_ADMIN in a container): SystemdEmbeddedTest skips one test."
    fi
}

# shellcheck disable=SC2031
run_phpunit() { # php options, then --, then PHPUnit's
    local php_options=()
    while [ "$1" != -- ]; do
        php_options+=("$1")
        shift
    done
    shift
    mapfile -t skip < <(skip_rule)
    timeout --foreground --kill-after=10 "$LIMIT" "$PHP" "${php_options[@]}" "$PHPUNIT" "${skip[@]}" "$@" || {
        local status=$?
        if [ "$status" -eq 124 ]; then fail "PHPUnit did not finish within $LIMIT s." "Increase the limit: REALTIME_TEST_TIMEOUT=3600"; fi
        exit "$status"
    }
}

mode=${1:-embedded}
[ $# -gt 0 ] && shift
part=""
case "${1:-}" in
    --part=*)
        part=${1#*=}
        shift
        ;;
esac
use_temporary_directory
case "$mode" in
    without-extension)
        without_installed_copy
        unset REALTIME_EXTENSION
        export REALTIME_TEST_BROKERS=none
        run_phpunit -d zend.assertions=1 -- --testsuite unit "$@"
        ;;
    embedded | kafka)
        need_extension
        without_installed_copy
        if [ "$mode" = embedded ]; then
            export REALTIME_TEST_BROKERS=embedded
            suites=unit,embedded,broker
        else
            [ -n "${REALTIME_TEST_BROKERS:-}" ] || eval "$("$ROOT/tests/support/kafka.sh" env)"
            [ -n "${REALTIME_TEST_BROKERS:-}" ] || fail "no Kafka to test against: REALTIME_TEST_BROKERS is not set." \
                "Start one: tests/support/kafka.sh start; tests/support/kafka.sh start --no-auto-create"
            suites=broker,kafka
        fi
        if [ -n "$part" ]; then
            configuration="$("$PHP" "$ROOT/tests/support/part.php" "$suites" "$part")"
            selection=(--configuration "$configuration")
        else
            selection=(--testsuite "$suites")
        fi
        run_phpunit -d "extension=$REALTIME_EXTENSION" -d zend.assertions=1 -- "${selection[@]}" "$@"
        ;;
    *) fail "unknown mode '$mode'." "Usage: tests/support/phpunit.sh embedded|kafka|without-extension [PHPUnit's arguments]" ;;
esac
