#!/usr/bin/env bash
# Drives real pusher-js 8 and laravel-echo 2, in headless Chromium and Node, against the gateway; screenshots in
# build/test-output.
#
#   tests/support/browser.sh                          all files, on an Apache Kafka that the script starts and stops
#   tests/support/browser.sh people.test.js …         only these files of tests/browser
#   REALTIME_TEST_BROKERS=embedded …/browser.sh       on the embedded broker, or on the Kafka with the given address

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/common.sh"

cd "$ROOT"
need_extension
have node || fail "Node.js is missing." "Install it: make setup"
CHROMIUM="$(command -v chromium || command -v chromium-browser || true)"
[ -n "$CHROMIUM" ] || fail "Chromium is missing." "Install it: make setup"
"$ROOT/tools/npm.sh"

KAFKA="$ROOT/tests/support/kafka.sh"
if [ -z "${REALTIME_TEST_BROKERS:-}" ]; then
    trap '"$KAFKA" stop-owned --owner=$$; "$KAFKA" sweep' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    REALTIME_TEST_KAFKA="browser-$$"
    REALTIME_TEST_BROKERS="$("$KAFKA" start --name="$REALTIME_TEST_KAFKA" --owner=$$)"
fi
# If the extension is installed, PHP must not load it a second time.
REALTIME_LOADED="$("$PHP" -r 'echo extension_loaded("toporia_realtime") ? "1" : "";')"
REALTIME_TEST_KAFKA="${REALTIME_TEST_KAFKA:-}"
export CHROMIUM PHP REALTIME_TEST_BROKERS REALTIME_TEST_KAFKA REALTIME_LOADED

files=()
for file in "$@"; do files+=("tests/browser/$(basename "$file")"); done
[ ${#files[@]} -gt 0 ] || files=(clients/js/*.test.js tests/browser/*.test.js)
# Files run sequentially: each starts its own gateway and browser, and measures times.
node --test --test-concurrency=1 --test-reporter=spec "${files[@]}"
