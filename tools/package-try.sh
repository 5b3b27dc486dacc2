#!/usr/bin/env bash
# Tests the packages in clean Debian roots made with debootstrap. Needs root and network access.
#
#   tools/package-try.sh [bookworm|trixie …]      for each suite: builds in a root with that Debian's PHP and Rust (for the
#                                                 Debian of this machine: uses build/packages of `make package`), then
#                                                 installs, uses and removes the packages in a second root without Rust
#   tools/package-try.sh --fresh …                downloads the roots again instead of using those in build/roots
#   tools/package-try.sh --host-rust …            uses this machine's Rust: faster, but does not test that Debian's compiler
#   tools/package-try.sh --arm64                  the cross-built packages for arm64, of this machine's Debian, under qemu;
#                                                 needs binfmt_misc: apt-get install qemu-user-static binfmt-support
#
# Mounts are made in a separate mount namespace and disappear with it.

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=packaging/archive.sh
. "$ROOT/packaging/archive.sh"

cd "$ROOT"
ROOTS="${REALTIME_ROOTS:-$ROOT/build/roots}"
MIRROR="${REALTIME_DEBIAN_MIRROR:-http://deb.debian.org/debian}"
PHP_PACKAGES=(php-cli php-fpm php-cgi php-mbstring php-symfony-console)
fresh=no
host_rust=no
architecture="$(dpkg --print-architecture)"
suites=()
for argument in "$@"; do
    case "$argument" in
        --fresh) fresh=yes ;;
        --host-rust) host_rust=yes ;;
        --arm64) architecture=arm64 ;;
        -*) fail "unknown option '$argument'." "Usage: tools/package-try.sh [--fresh] [--host-rust] [--arm64] [suite …]" ;;
        *) suites+=("$argument") ;;
    esac
done
here="$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)"
if [ "$architecture" != "$(dpkg --print-architecture)" ]; then
    # The cross-built packages are for the PHP of this Debian only.
    suites=("$here")
    ROOTS="$ROOTS/$architecture"
elif [ ${#suites[@]} -eq 0 ]; then
    suites=(bookworm trixie)
fi

[ "$(id -u)" -eq 0 ] || fail "creating the Debian roots requires root." "Run: sudo tools/package-try.sh $*"
for tool in debootstrap unshare; do
    have "$tool" || fail "$tool is missing." "Install it: apt-get install debootstrap util-linux"
done

# Runs a command in a root, with /proc and the directories of REALTIME_BIND mounted at the same paths; no mount remains.
inside() { # root, command …
    local root=$1
    shift
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    # shellcheck disable=SC2016
    unshare --mount --pid --fork --propagation private bash -euc '
        root=$1; shift
        mount -t proc proc "$root/proc"
        mount -t tmpfs tmpfs "$root/dev/shm" 2>/dev/null || true
        for bind in ${REALTIME_BIND:-}; do mkdir -p "$root$bind"; mount --bind "$bind" "$root$bind"; done
        exec chroot "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
            DEBIAN_FRONTEND=noninteractive REALTIME_NICE="${REALTIME_NICE:-}" "$@"
    ' inside "$root" "$@"
}

# A minimal Debian, cached in build/roots.
base_root() { # suite
    local root="$ROOTS/$1"
    [ "$fresh" = no ] || rm -rf "$root" "$root.complete"
    if [ ! -e "$root.complete" ]; then
        say "Downloading a minimal Debian $1 into $root"
        rm -rf "$root"
        mkdir -p "$ROOTS"
        debootstrap --arch="$architecture" --variant=minbase "$1" "$root" "$MIRROR" >"$ROOTS/$1.log" 2>&1 || fail "debootstrap failed." "Its output: $ROOTS/$1.log"
        printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d" # no service is started in the root
        chmod 755 "$root/usr/sbin/policy-rc.d"
        touch "$root.complete"
    fi
    inside "$root" apt-get update -q >>"$ROOTS/$1.log" 2>&1 || note "apt-get update failed in $1; continuing with the existing package lists"
}

# A disposable copy of a root.
root_for() { # suite, purpose
    rm -rf "${ROOTS:?}/$1-$2"
    cp -a --reflink=auto "$ROOTS/$1" "$ROOTS/$1-$2"
    echo "$ROOTS/$1-$2"
}

# Builds this work tree in a root of the suite with that Debian's compilers; prints the directory of the packages.
build_in() { # suite
    local root bind="" output="$ROOT/build/package-try/$1"
    root="$(root_for "$1" build)"
    mkdir -p "$root/src" "$output"
    copy_sources "$root/src" .
    if [ "$host_rust" = yes ]; then
        bind="${CARGO_HOME:-$HOME/.cargo} ${RUSTUP_HOME:-$HOME/.rustup}"
    elif [ -d "${CARGO_HOME:-$HOME/.cargo}/registry" ]; then
        # Reuse the crates that are already downloaded.
        mkdir -p "$root/root/.cargo"
        cp -a --reflink=auto "${CARGO_HOME:-$HOME/.cargo}/registry" "$root/root/.cargo/"
    fi
    say "Building on Debian $1 (a clean build: 3 minutes on two quiet cores)"
    REALTIME_BIND="$bind" inside "$root" bash /src/packaging/try/build.sh >"$output.log" 2>&1 || { tail -n 30 "$output.log" >&2; fail "the build on $1 failed." "Its output: $output.log"; }
    rm -rf "$output"
    cp -a "$root/src/build/packages" "$output"
    rm -rf "$root"
    echo "$output"
}

try_in() { # suite, packages
    local root status=0
    root="$(root_for "$1" install)"
    say "Installing, using and removing the packages on a clean Debian $1"
    inside "$root" apt-get install -y -q --no-install-recommends "${PHP_PACKAGES[@]}" >"$ROOTS/$1-install.log" 2>&1 \
        || fail "PHP could not be installed in $root." "Its output: $ROOTS/$1-install.log"
    mkdir -p "$root/trial/packages"
    cp "$2"/* "$root/trial/packages/"
    cp "$ROOT"/packaging/try/* "$root/trial/"
    inside "$root" bash /trial/install.sh /trial/packages || status=$?
    rm -rf "$root"
    [ "$status" -eq 0 ] || fail "the packages failed on Debian $1."
}

for suite in "${suites[@]}"; do
    base_root "$suite"
    if [ "$architecture" != "$(dpkg --print-architecture)" ]; then
        packages="$ROOT/build/cross/$architecture-packages"
        [ -f "$packages/SHA256SUMS" ] || tools/cross.sh "$architecture" tools/package.sh --output="$packages"
    elif [ "$suite" = "$here" ]; then
        packages="$ROOT/build/packages"
        [ -f "$packages/SHA256SUMS" ] || tools/package.sh
    else
        packages="$(build_in "$suite")"
    fi
    try_in "$suite" "$packages"
done
