#!/usr/bin/env bash
# Downloads the JavaScript packages of tests/browser/package-lock.json into build/npm if they are missing.
#
#   tools/npm.sh         all packages
#   tools/npm.sh demo    the packages of the demo's page: pusher-js and laravel-echo

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

LOCK="$ROOT/tests/browser/package-lock.json"
HOME_DIR="$ROOT/build/npm"
case "${1:-all}" in
    all) omit=() ;;
    demo) omit=(--omit=dev) ;;
    *) fail "unknown argument '$1'." "Usage: tools/npm.sh [demo]" ;;
esac

complete() { cmp -s "$LOCK" "$HOME_DIR/.complete-all" || { [ ${#omit[@]} -gt 0 ] && cmp -s "$LOCK" "$HOME_DIR/.complete-demo"; }; }

complete && exit 0
have npm || fail "npm is missing; it downloads pusher-js and laravel-echo." "Install it: make setup"
mkdir -p "$HOME_DIR"
(
    # Concurrent test runs must not write to the same directory.
    flock 9
    complete && exit 0
    say "Downloading pusher-js, laravel-echo and the test dependencies through npm into build/npm"
    rm -f "$HOME_DIR"/.complete-*
    cp "$LOCK" "${LOCK%-lock.json}.json" "$HOME_DIR"
    cd "$HOME_DIR"
    # Packages must not run install scripts.
    npm ci --ignore-scripts --no-audit --no-fund "${omit[@]}" >npm.log 2>&1 && cp "$LOCK" ".complete-${1:-all}"
) 9>"$ROOT/build/npm.lock" || {
    tail -n 20 "$HOME_DIR/npm.log" >&2
    fail "npm could not download the packages (log: $HOME_DIR/npm.log)." "Is the npm registry reachable? Behind a proxy: npm config set proxy."
}
