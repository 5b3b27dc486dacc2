# shellcheck shell=bash
# Shared by all scripts: the project's root, the tools' paths, and functions for messages and errors.

set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export ROOT

# The directory where rustup installs cargo; a shell opened before the installation does not have it in PATH.
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"

# Building for another PHP: make PHP=php8.3 PHP_CONFIG=php-config8.3 …  The binding's build script reads the same two
# variables and expects paths. If they are not set, it finds php itself, so they are exported only if set.
if [ -n "${PHP:-}" ]; then PHP="$(command -v "$PHP" || echo "$PHP")"; fi
if [ -n "${PHP_CONFIG:-}" ]; then PHP_CONFIG="$(command -v "$PHP_CONFIG" || echo "$PHP_CONFIG")"; fi
PHP="${PHP:-php}"
PHP_CONFIG="${PHP_CONFIG:-php-config}"

# The extension that the tests, the demo and the benchmark load.
export REALTIME_EXTENSION="${REALTIME_EXTENSION:-${CARGO_TARGET_DIR:-$ROOT/target}/release/libtoporia_realtime.so}"

# Messages go to stderr: stdout is for a script's result.
say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }

note() { printf '    %s\n' "$*" >&2; }

fail() {
    printf '\033[31mError:\033[0m %s\n' "$1" >&2
    shift
    local line
    for line in "$@"; do printf '       %s\n' "$line" >&2; done
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

can_be_root() { [ "$(id -u)" -eq 0 ] || { have sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; }; }

# Runs a command as root: directly, or through sudo if it can be used; otherwise fails and prints the command to run.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif can_be_root; then
        sudo -- "$@"
    else
        fail "this step needs root, and sudo cannot be used here." "Run as root, then start again:" "  $*"
    fi
}

# The platform that cargo builds for; tools/cross.sh selects another one.
target_platform() { echo "${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}"; }

# The flags of release builds. A library that names no directory of this machine is the same wherever it is built.
export_release_flags() {
    local crates="${CARGO_HOME:-$HOME/.cargo}/registry/src" target="${CARGO_TARGET_DIR:-$ROOT/target}"
    export RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$ROOT=. --remap-path-prefix=$target=target --remap-path-prefix=$crates=crates"
    # A library that PHP loads uses the C library of PHP's process.
    if [[ "$(target_platform)" == *-musl ]]; then RUSTFLAGS+=" -C target-feature=-crt-static"; fi
    # Smaller, and as fast: calls are replaced by the callee only where it is short or marked #[inline], and C has no
    # tables for exceptions. Kafka never used the formats of zstd before 1.0.
    RUSTFLAGS+=" -C llvm-args=-inline-threshold=50"
    local c="-fno-asynchronous-unwind-tables -fno-unwind-tables -g1 -DZSTD_LEGACY_SUPPORT=0"
    c+=" -ffile-prefix-map=$target=target -ffile-prefix-map=$crates=crates"
    export CFLAGS="${CFLAGS:-} $c" CXXFLAGS="${CXXFLAGS:-} $c"
    export CMAKE_C_COMPILER_LAUNCHER="$ROOT/tools/small-c.sh"
}

need_extension() {
    [ -f "$REALTIME_EXTENSION" ] || fail "the extension is not built: $REALTIME_EXTENSION is missing." "Build it first: make build"
}

# The project's version; Cargo.toml holds the number.
project_version() { sed -n 's/^version *= *"\(.*\)"/\1/p' "$ROOT/Cargo.toml" | head -n 1; }
