#!/usr/bin/env bash
# Builds the extension for the default PHP, or for the PHP that the variables PHP and PHP_CONFIG select.

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cd "$ROOT"
say "Building the extension for PHP $("$PHP" -n -r 'echo PHP_VERSION;') (the first time takes about three minutes)"
export_release_flags
# Only the library that PHP loads: with the one for Rust beside it, cargo leaves link-time optimization out.
cargo rustc --release --locked --lib --crate-type cdylib ${REALTIME_FEATURES:+--features="$REALTIME_FEATURES"}
note "$REALTIME_EXTENSION"
