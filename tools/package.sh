#!/usr/bin/env bash
# Builds the packages of this version into build/packages: for each PHP on this machine an archive, PIE's pre-packaged
# binary and, for Debian's PHP, a Debian package; and once the packages that do not depend on a PHP version.
#
#   tools/package.sh                                             for every PHP with installed headers (php-config*)
#   PHP=php8.3 PHP_CONFIG=php-config8.3 tools/package.sh         for one PHP
#   tools/package.sh --extension=FILE [--output=DIR]             with an existing library, for the default PHP
#   tools/cross.sh arm64 tools/package.sh --output=DIR            for another machine

# If PHP_CONFIG is set, build for this PHP only.
PHP_ASKED="${PHP_CONFIG:-}"

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=packaging/archive.sh
. "$ROOT/packaging/archive.sh"
# shellcheck source=packaging/debian.sh
. "$ROOT/packaging/debian.sh"

cd "$ROOT"
OUTPUT="$ROOT/build/packages"
given=""
for argument in "$@"; do
    case "$argument" in
        --extension=*) given="$(realpath "${argument#*=}")" ;;
        --output=*) OUTPUT="$(realpath -m "${argument#*=}")" ;;
        *) fail "unknown argument '$argument'." "Usage: tools/package.sh [--extension=FILE] [--output=DIR]" ;;
    esac
done

VERSION="$("$ROOT/tools/version.sh")"
# Files in packages have the time of the last commit, so that builds are reproducible.
SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date -r CHANGELOG.md +%s)}"
export SOURCE_DATE_EPOCH
# The modes of files in packages do not depend on the user.
umask 022
WORK="$(mktemp -d)"
trap 'rm -rf "$WORK"' EXIT

# Prints the PHP builds to package, one per line: php, then php-config.
every_php() {
    local config php seen=" " build
    if [ -n "$given" ] || [ -n "$PHP_ASKED" ]; then
        echo "$(command -v "$PHP") $(command -v "$PHP_CONFIG")"
        return
    fi
    for config in php-config $(compgen -c php-config | grep -E '^php-config[0-9.]+$' | sort -uV); do
        have "$config" || continue
        php="$("$config" --php-binary)"
        [ -x "$php" ] || { note "$config belongs to no installed php; skipped"; continue; }
        build="$("$php" -n -r 'echo PHP_MINOR_VERSION, PHP_ZTS, PHP_DEBUG, PHP_EXTENSION_DIR;')"
        [[ "$seen" == *" $build "* ]] && continue
        seen+="$build "
        echo "$php $(command -v "$config")"
    done
}

# Builds for one PHP and prints the path of the library. The default PHP shares target/ with `make build`; other PHP builds
# have their own directory.
build_for() {
    local php=$1 config=$2 default target
    if [ -n "$given" ]; then
        echo "$given"
        return
    fi
    target="${CARGO_TARGET_DIR:-$ROOT/target}"
    default="$(command -v php || true)"
    # cargo itself has a directory for each platform.
    if [ -z "${CARGO_BUILD_TARGET:-}" ] && [ "$(readlink -f "$php")" != "$(readlink -f "$default")" ]; then
        target="$target/$(php_build "$php")"
        PHP="$php" PHP_CONFIG="$config" CARGO_TARGET_DIR="$target" REALTIME_EXTENSION='' "$ROOT/tools/build.sh"
    else
        REALTIME_EXTENSION='' CARGO_TARGET_DIR="$target" "$ROOT/tools/build.sh"
    fi
    echo "$target/${CARGO_BUILD_TARGET:+$CARGO_BUILD_TARGET/}release/libtoporia_realtime.so"
}

# A copy without symbols and, beside it, a file with them. Debuggers and Rust's backtraces find that file by the build id
# in /usr/lib/debug, or by its name in the directory of the library.
split_symbols() { # library, copy
    "${BINUTILS}objcopy" --only-keep-debug --compress-debug-sections=zlib "$1" "$2.debug"
    "${BINUTILS}strip" --strip-unneeded -o "$2" "$1"
    "${BINUTILS}objcopy" --add-gnu-debuglink="$2.debug" "$2"
    chmod 644 "$2" "$2.debug"
}

# The machine that a library runs on, as uname -m prints it there.
machine_of() { readelf -h "$1" | sed -n 's/^ *Machine: *AArch64.*/aarch64/p; s/^ *Machine: .*X86-64.*/x86_64/p'; }

# glibc, or musl: the C library that a library was linked with.
libc_of() { if readelf -d "$1" | grep -q 'libc\.so\.6'; then echo glibc; else echo musl; fi; }

# The newest glibc version whose symbols the library uses: the minimum version for a machine.
glibc_needed() { "${BINUTILS}objdump" -T "$1" 2>/dev/null | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -uV | tail -n 1; }

package_for() { # php, php-config
    local php=$1 config=$2 library build
    build="$(php_build "$php")"
    say "PHP $("$php" -n -r 'echo PHP_VERSION;') ($build)"
    library="$(build_for "$php" "$config")"
    "$php" -n -d "extension=$library" -r 'exit(extension_loaded("toporia_realtime") ? 0 : 1);' \
        || fail "$php does not load $library." "It was built for another PHP: set both PHP and PHP_CONFIG."
    MACHINE="$(machine_of "$library")"
    BINUTILS=""
    [ "$MACHINE" = "$(uname -m)" ] || BINUTILS="$MACHINE-linux-gnu-"
    LIBC="$(libc_of "$library")"
    split_symbols "$library" "$WORK/toporia_realtime.so"
    make_symbols_archive "$build" "$WORK/toporia_realtime.so.debug"
    make_archive "$build" "$WORK/toporia_realtime.so" "$(glibc_needed "$WORK/toporia_realtime.so")"
    make_pie_binary "$php" "$WORK/toporia_realtime.so"
    if debian_can_package "$php" "$config"; then
        make_debian_extension "$php" "$config" "$WORK/toporia_realtime.so"
        make_debian_symbols "$php" "$WORK/toporia_realtime.so"
    fi
}

for tool in cargo strip objdump readelf zip; do
    have "$tool" || fail "$tool is missing." "Install it: make setup, or tools/setup.sh package"
done

rm -rf "$OUTPUT"
mkdir -p "$OUTPUT"
say "Licence notices and bill of materials"
cargo metadata --locked --format-version 1 --filter-platform "$(target_platform)" >"$WORK/metadata"
"$PHP" -n "$ROOT/packaging/licences.php" "$(target_platform)" <"$WORK/metadata" >"$WORK/THIRD-PARTY-LICENSES.txt"
"$PHP" -n "$ROOT/packaging/sbom.php" "$(target_platform)" "$(rustc --version | cut -d' ' -f2)" <"$WORK/metadata" \
    >"$OUTPUT/toporia_realtime-$VERSION.cdx.json"

every_php >"$WORK/phps"
[ -s "$WORK/phps" ] || fail "no PHP with its headers (php-config) is installed." "Install them: make setup"
while read -r php config; do
    package_for "$php" "$config"
done <"$WORK/phps"
make_pie_source
if debian_can_package "$PHP" "$PHP_CONFIG"; then
    make_debian_layer
fi
(cd "$OUTPUT" && sha256sum -- * >"$WORK/SHA256SUMS" && mv "$WORK/SHA256SUMS" SHA256SUMS)
say "Built into $OUTPUT:"
(cd "$OUTPUT" && ls -sh1 -- * >&2)
