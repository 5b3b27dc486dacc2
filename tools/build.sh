#!/usr/bin/env bash
# Builds the extension for the PHP that is in use, or the one PHP and PHP_CONFIG name.

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cd "$ROOT"
say "Building the extension for PHP $("$PHP" -n -r 'echo PHP_VERSION;') (the first time takes about three minutes)"
cargo build --release --locked
note "$REALTIME_EXTENSION"
