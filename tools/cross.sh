#!/usr/bin/env bash
# Runs a command that builds or tests for a machine other than this one, with the PHP of that machine: on Debian, without
# changing the system. What it needs is downloaded and built once, into build/cross.
#
#   tools/cross.sh arm64 tools/build.sh                            Debian's PHP for arm64, unpacked; runs under qemu
#   tools/cross.sh arm64 tools/package.sh --output=build/cross/arm64/packages
#   tools/cross.sh arm64 cargo test --no-default-features --lib
#   tools/cross.sh musl tools/build.sh                             a PHP of Debian's sources, built with musl-gcc
#   tools/cross.sh musl tests/support/phpunit.sh embedded
#   tools/cross.sh arm64 --ready                                   says what is missing, and fails if anything is
#
# The tests start further PHP processes. Under qemu this needs the kernel's binfmt_misc, which Debian's binfmt-support sets
# up: apt-get install qemu-user-static binfmt-support

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

USAGE="Usage: tools/cross.sh arm64|musl --ready, or tools/cross.sh arm64|musl COMMAND …"
MIRROR="${REALTIME_DEBIAN_MIRROR:-http://deb.debian.org/debian}"
[ $# -ge 2 ] || fail "a machine and a command are required." "$USAGE"
machine=$1
shift
CROSS="${REALTIME_CROSS:-$ROOT/build/cross}/$machine"
case "$machine" in
    arm64) triple=aarch64-unknown-linux-gnu compiler=aarch64-linux-gnu-gcc packages="g++-aarch64-linux-gnu qemu-user-static" ;;
    musl) triple="$(uname -m)-unknown-linux-musl" compiler=musl-gcc packages="musl-tools" ;;
    *) fail "unknown machine '$machine'." "$USAGE" ;;
esac

# Prints what is missing and the command that installs it.
missing() {
    if ! have "$compiler" || { [ "$machine" = arm64 ] && ! { have aarch64-linux-gnu-g++ && have qemu-aarch64-static; }; }; then
        echo "apt-get install $packages"
    fi
    have apt-get && have dpkg-deb || echo "a Debian with apt-get and dpkg-deb"
    if ! [ -d "$(rustc --print target-libdir --target "$triple" 2>/dev/null)" ]; then
        echo "rustup target add $triple (Debian's Rust: apt-get install libstd-rust-dev:$machine)"
    fi
}

# A package manager with its own state: it neither sees nor changes what is installed here.
write_apt_configuration() { # architecture, deb or deb-src
    local suite
    suite="$(sed -n "s/^VERSION_CODENAME=//p" /etc/os-release)"
    mkdir -p "$CROSS"/apt/{lists,cache}/partial "$CROSS/apt/cache/archives/partial"
    touch "$CROSS/apt/status"
    echo "$2 [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $MIRROR $suite main" >"$CROSS/apt/sources.list"
    if [ "$2" = deb ] && [[ "$MIRROR" == */debian ]]; then
        echo "$2 [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $MIRROR-security $suite-security main" >>"$CROSS/apt/sources.list"
    fi
    export APT_CONFIG="$CROSS/apt/apt.conf"
    cat >"$APT_CONFIG" <<CONFIGURATION
APT::Architecture "$1"; APT::Architectures { "$1"; }; APT::Install-Recommends "false"; APT::Sandbox::User "root";
Dir::State::lists "$CROSS/apt/lists"; Dir::State::status "$CROSS/apt/status"; Dir::Cache "$CROSS/apt/cache";
Dir::Etc::sourcelist "$CROSS/apt/sources.list"; Dir::Etc::sourceparts "/nonexistent"; Debug::NoLocking "true";
CONFIGURATION
    apt-get update -q >"$CROSS/apt.log" 2>&1 || fail "the package lists of $1 could not be fetched." "apt's output: $CROSS/apt.log"
}

# The downloaded PHP: php8.2.
php_package() { (cd "$CROSS/apt/cache/archives" && basename php[0-9]*-cli_*.deb | sed 's|-cli_.*||'); }

# Debian's PHP and the libraries of the extension for arm64, unpacked but not installed.
make_arm64() {
    local root="$CROSS/root" package version file name
    say "Unpacking Debian's PHP for arm64 into $root"
    rm -rf "$CROSS"
    mkdir -p "$root"/{usr/{bin,sbin,lib},bin} "$CROSS/bin"
    ln -s usr/lib "$root/lib"
    write_apt_configuration arm64 deb
    (
        apt-get install -q -y -d php-cli php-mbstring php-sqlite3 php-xml php-symfony-console \
            libc6-dev libssl-dev libcurl4-openssl-dev libzstd-dev libpcre2-dev "libgcc-$(aarch64-linux-gnu-gcc -dumpversion)-dev"
        cd "$CROSS/apt/cache/archives"
        # Without what php-dev depends on: autoconf and a compiler.
        apt-get download "$(php_package)-dev"
    ) >>"$CROSS/apt.log" 2>&1 || fail "the packages for arm64 could not be downloaded." "apt's output: $CROSS/apt.log"
    version="$(php_package)"
    for package in "$CROSS"/apt/cache/archives/*.deb; do
        # tar keeps the links of /lib and /bin to /usr, which dpkg-deb would replace by directories.
        dpkg-deb --fsys-tarfile "$package" | tar -C "$root" --extract --keep-directory-symlink --no-same-owner
    done
    # qemu would find these instead of this machine's.
    rm -rf "${root:?}"/{dev,home,proc,root,run,sys,tmp,var,etc/ssl,etc/hosts,etc/passwd,etc/resolv.conf}
    # Every extension, those first that others need.
    mkdir -p "$root/etc/php/${version#php}/cli/conf.d"
    for name in pdo xml $(cd "$root"/usr/lib/php/2*/ && printf "%s\n" *.so | sed "s|\.so\$||" | grep -vxE "pdo|xml|opcache|ffi|readline"); do
        echo "extension=$name"
    done >"$root/etc/php/${version#php}/cli/conf.d/10-all.ini"
    # The library's dependencies by package, for the Debian package.
    for package in "$CROSS"/apt/cache/archives/*.deb; do
        for file in $(dpkg-deb --fsys-tarfile "$package" | tar --list | grep -oE '/(lib[a-z_]+|ld-linux-aarch64)\.so\.[0-9]+$'); do
            echo "${file#/} $(dpkg-deb -f "$package" Package)"
        done
    done | sort -u >"$CROSS/libraries"
    # Programs of that PHP, with a path of this machine.
    printf '#!/bin/sh\nexec qemu-aarch64-static -L "%s" "%s" "$@"\n' "$root" "$root/usr/bin/$version" >"$CROSS/bin/php"
    sed -e "s|^prefix=.*|prefix=\"$root/usr\"|" -e 's|^php_sapis=.*|php_sapis=" cli"|' \
        "$root/usr/bin/php-config${version#php}" >"$CROSS/bin/php-config"
    for name in gcc g++; do
        printf '#!/bin/sh\nexec aarch64-linux-gnu-%s --sysroot="%s" "$@"\n' "$name" "$root" >"$CROSS/bin/$name"
    done
    cat >"$CROSS/toolchain.cmake" <<TOOLCHAIN
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER "$CROSS/bin/gcc")
set(CMAKE_CXX_COMPILER "$CROSS/bin/g++")
set(CMAKE_SYSROOT "$root")
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
# Both: zlib is built by a crate, outside of the root.
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY BOTH)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE BOTH)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)
TOOLCHAIN
    chmod 755 "$CROSS"/bin/*
    "$CROSS/bin/php" -n -v >/dev/null || fail "qemu does not run $root/usr/bin/$version."
    rm -rf "$CROSS/apt"
    touch "$CROSS/complete"
}

use_arm64() {
    export QEMU_LD_PREFIX="$CROSS/root"
    export CMAKE_TOOLCHAIN_FILE_aarch64_unknown_linux_gnu="$CROSS/toolchain.cmake"
    export CC_aarch64_unknown_linux_gnu="$CROSS/bin/gcc" CXX_aarch64_unknown_linux_gnu="$CROSS/bin/g++"
    export AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER="$CROSS/bin/gcc"
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L $CROSS/root"
    export PKG_CONFIG_SYSROOT_DIR_aarch64_unknown_linux_gnu="$CROSS/root"
    export PKG_CONFIG_LIBDIR_aarch64_unknown_linux_gnu="$CROSS/root/usr/lib/aarch64-linux-gnu/pkgconfig"
    export AARCH64_UNKNOWN_LINUX_GNU_OPENSSL_LIB_DIR="$CROSS/root/usr/lib/aarch64-linux-gnu"
    export AARCH64_UNKNOWN_LINUX_GNU_OPENSSL_INCLUDE_DIR="$CROSS/root/usr/include"
    export BINDGEN_EXTRA_CLANG_ARGS_aarch64_unknown_linux_gnu="--sysroot=$CROSS/root"
}

# PHP, and libxml2 for PHPUnit, of Debian's sources.
make_musl() {
    local name include="$CROSS/include" libunwind
    say "Building PHP with musl-gcc in $CROSS (a few minutes)"
    rm -rf "$CROSS"
    mkdir -p "$CROSS"/{bin,lib,source/{php,libxml2}} "$include"
    write_apt_configuration "$(dpkg --print-architecture)" deb-src
    # The headers of the kernel, and those of curl that librdkafka includes, but not glibc's.
    ln -s /usr/include/{linux,asm-generic,mtd} "$include/"
    ln -s "/usr/include/$(uname -m)-linux-gnu/asm" "$include/asm"
    ln -s "/usr/include/$(uname -m)-linux-gnu/curl" "$include/curl"
    printf '#!/bin/sh\nexec musl-gcc -idirafter "%s" "$@"\n' "$include" >"$CROSS/bin/gcc"
    # Rust's target has the unwinder of LLVM; that of Debian's gcc needs glibc.
    libunwind="$(rustc --print target-libdir --target "$triple")/self-contained/libunwind.a"
    [ -f "$libunwind" ] || fail "$libunwind is missing." "Install the target with rustup: rustup target add $triple"
    echo "INPUT($libunwind)" >"$CROSS/lib/libgcc_s.so"
    printf '#!/bin/sh\nexec musl-gcc -L"%s" "$@"\n' "$CROSS/lib" >"$CROSS/bin/linker"
    chmod 755 "$CROSS"/bin/*
    (cd "$CROSS/source" && apt-get source -q -d libxml2 "php$("$PHP" -n -r 'echo PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;')") \
        >>"$CROSS/apt.log" 2>&1 || fail "the sources of PHP and libxml2 could not be downloaded." "apt's output: $CROSS/apt.log"
    tar -C "$CROSS/source/php" --strip-components=1 -xf "$CROSS"/source/php*.orig.tar.xz
    tar -C "$CROSS/source/libxml2" --strip-components=1 -xf "$CROSS"/source/libxml2*.orig.tar.xz
    export CC="$CROSS/bin/gcc" CFLAGS="-O1" PKG_CONFIG_LIBDIR="$CROSS/usr/lib/pkgconfig"
    {
        cd "$CROSS/source/libxml2"
        ./configure --prefix="$CROSS/usr" --disable-shared --with-pic --without-python --without-zlib --without-lzma \
            --without-iconv
        make -j"$(nproc)" libxml2.la
        make install-libLTLIBRARIES install-data
        cd "$CROSS/source/php"
        ./configure --prefix="$CROSS/usr" --disable-all --disable-cgi --disable-phpdbg --enable-cli --enable-pcntl --enable-posix \
            --enable-mbstring --disable-mbregex --enable-ctype --enable-tokenizer --enable-filter --enable-session --enable-sockets \
            --enable-phar --with-libxml --enable-dom --enable-xml --enable-xmlreader --enable-xmlwriter --enable-simplexml
        make -j"$(nproc)"
        make install-cli install-headers install-build install-programs
    } >"$CROSS/build.log" 2>&1 || fail "PHP could not be built with musl-gcc." "The output: $CROSS/build.log"
    echo 'include_path = ".:/usr/share/php"' >"$CROSS/usr/lib/php.ini"
    unset CC CFLAGS PKG_CONFIG_LIBDIR
    ln -s ../usr/bin/php ../usr/bin/php-config ../usr/bin/phpize "$CROSS/bin/"
    rm -rf "$CROSS/apt" "$CROSS/source"
    touch "$CROSS/complete"
}

use_musl() {
    local name="${triple//-/_}"
    # Such a PHP has no OpenSSL.
    export REALTIME_FEATURES=openssl-vendored
    export "CC_$name=$CROSS/bin/gcc" "CARGO_TARGET_${name^^}_LINKER=$CROSS/bin/linker"
    # librdkafka's C++ interface is compiled, but not linked.
    export "CXX_$name=g++"
    export "BINDGEN_EXTRA_CLANG_ARGS_$name=-nostdlibinc -isystem /usr/include/$(uname -m)-linux-musl -idirafter $CROSS/include"
}

lacking="$(missing)"
if [ "$1" = --ready ]; then
    [ -z "$lacking" ] || fail "a build for $machine needs:" "$lacking"
    exit
fi
[ -z "$lacking" ] || fail "a build for $machine needs:" "$lacking"
[ -e "$CROSS/complete" ] || "make_$machine"
"use_$machine"
export REALTIME_CROSS_MACHINE="$machine" REALTIME_CROSS_ROOT="$CROSS"
export PHP="$CROSS/bin/php" PHP_CONFIG="$CROSS/bin/php-config" CARGO_BUILD_TARGET="$triple"
export REALTIME_EXTENSION="${CARGO_TARGET_DIR:-$ROOT/target}/$triple/release/libtoporia_realtime.so"
exec "$@"
