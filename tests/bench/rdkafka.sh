#!/usr/bin/env bash
# Prints the path of php-rdkafka for the benchmark, and builds it if necessary; fails, and says why, where it cannot.
#
# It is linked with the librdkafka of the extension's release build, so that only the bindings are compared. The source is
# PECL's, or that of REALTIME_BENCH_RDKAFKA_SOURCE: a directory, or a git repository (also a bare one), whose newest
# release is taken. A library that is built already is named by REALTIME_BENCH_RDKAFKA.

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/common.sh"

cannot() {
    note "php-rdkafka is not compared, its rows are left out: $1"
    exit 1
}

if [ -n "${REALTIME_BENCH_RDKAFKA:-}" ]; then
    [ -f "$REALTIME_BENCH_RDKAFKA" ] || cannot "REALTIME_BENCH_RDKAFKA is no file: $REALTIME_BENCH_RDKAFKA"
    echo "$REALTIME_BENCH_RDKAFKA"
    exit
fi

build="$ROOT/build/bench"
source="$build/php-rdkafka"
library="$source/modules/rdkafka.so"
if [ -f "$library" ]; then
    echo "$library"
    exit
fi

installed="$("$PHP_CONFIG" --extension-dir)/rdkafka.so"
phpize="${PHP_CONFIG/php-config/phpize}"
if ! have "$phpize" || ! have cc; then
    [ -f "$installed" ] || cannot "it is not installed, and $phpize or a C compiler is missing."
    echo "$installed"
    exit
fi

rm -rf "$source"
mkdir -p "$source"
from="${REALTIME_BENCH_RDKAFKA_SOURCE:-}"
if [ -n "$from" ] && git -C "$from" rev-parse --git-dir >/dev/null 2>&1; then
    release="$(git -C "$from" tag --sort=-version:refname | grep -E '^[0-9.]+$' | head -n 1)"
    git -C "$from" archive "${release:-HEAD}" | tar -x -C "$source"
elif [ -n "$from" ]; then
    cp -R "$from/." "$source"
elif [ -f "$installed" ]; then
    echo "$installed"
    exit
elif have pecl && (cd "$build" && pecl download rdkafka >&2); then
    tar -x -z -f "$(find "$build" -name 'rdkafka-*.tgz' | tail -n 1)" -C "$source" --strip-components=1
else
    rm -rf "$source"
    cannot "it is not installed and PECL cannot be reached. Name its sources by REALTIME_BENCH_RDKAFKA_SOURCE."
fi

say "Building php-rdkafka with the extension's librdkafka"
target="${CARGO_TARGET_DIR:-$ROOT/target}/release/build"
newest() { find "$target" -path "$1" -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2-; }
librdkafka="$(newest '*/rdkafka-sys-*/out/lib/librdkafka.a')"
[ -n "$librdkafka" ] || cannot "the extension's librdkafka is missing in $target."
prefix="$source/librdkafka"
mkdir -p "$prefix/lib"
cp -R "$(dirname "$librdkafka")/../include" "$prefix/"
for archive in "$librdkafka" "$(newest '*/zstd-sys-*/out/libzstd.a')" "$(newest '*/libz-sys-*/out/lib/libz.a')"; do
    [ -z "$archive" ] || cp "$archive" "$prefix/lib/"
done
libraries="-lzstd -lz -lssl -lcrypto -lm -lpthread -ldl"
(
    cd "$source"
    "$phpize"
    ./configure --with-php-config="$(command -v "$PHP_CONFIG")" --with-rdkafka="$prefix" --with-libdir=lib \
        LDFLAGS="-L$prefix/lib" LIBS="$libraries"
    make EXTRA_LIBS="$libraries"
) >"$build/php-rdkafka.log" 2>&1 || {
    rm -rf "$source"
    cannot "it does not build, see $build/php-rdkafka.log"
}
echo "$library"
