#!/usr/bin/env bash
# Installs missing packages on a Debian machine and reports each step; does nothing if everything is installed.
#
#   tools/setup.sh build    the build dependencies of the extension
#   tools/setup.sh demo     the same, and npm, which downloads the page's pusher-js
#   tools/setup.sh memcheck valgrind, for make memcheck
#   tools/setup.sh package  the tools for building the packages
#   tools/setup.sh test     all of the above, and the test dependencies (PHPUnit, php-fpm, Java, Maven, …)

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# The minimum Rust version of this crate, from Cargo.toml.
RUST_NEEDED="$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$ROOT/Cargo.toml")"

missing=()

want() { # package, then a command that succeeds if its content is installed
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

any_file() { compgen -G "$1" >/dev/null; }

# True if the package lists were fetched and do not have the package.
is_unavailable() { [ -n "$(apt-cache madison base-files 2>/dev/null)" ] && [ -z "$(apt-cache madison "$1" 2>/dev/null)" ]; }

php_has() { "$PHP" -r "exit(extension_loaded('$1') ? 0 : 1);"; }

# Packages of the default PHP: php8.3-dev if they exist per version (third-party archives), otherwise Debian's php-dev.
php_package() {
    local version
    if have "$PHP"; then
        version="$("$PHP" -n -r 'echo PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;')"
        if apt-cache show "php$version-$1" >/dev/null 2>&1; then
            echo "php$version-$1"
            return
        fi
    fi
    echo "php-$1"
}

php_symfony_console() { [ -f /usr/share/php/Symfony/Component/Console/autoload.php ] || [ -d "$ROOT/vendor/symfony/console" ]; }

header() { printf '#include <%s>\n' "$1" | cc -E -x c - ; }

# A compiler, for Pusher's Java libraries in the browser tests; Kafka needs only the runtime.
jdk_17() { [ "$(javac -version 2>&1 | sed -n 's/javac \([0-9]*\).*/\1/p')" -ge 17 ]; }

check_build_packages() {
    want ca-certificates any_file '/etc/ssl/certs/*.0'
    want curl have curl
    want git have git
    want make have make
    want g++ have g++
    want cmake have cmake
    want pkg-config have pkg-config
    want clang have clang
    want libclang-dev any_file '/usr/lib/llvm-*/lib/libclang*.so*'
    want libssl-dev header openssl/ssl.h
    want zlib1g-dev header zlib.h
    want libzstd-dev header zstd.h
    # librdkafka's sources include curl's header even with OIDC off; nothing is linked with it.
    want libcurl4-openssl-dev header curl/curl.h
    want "$(php_package cli)" have "$PHP"
    want "$(php_package dev)" have "$PHP_CONFIG"
    want "$(php_package mbstring)" php_has mbstring
    want php-symfony-console php_symfony_console
}

check_memcheck_packages() { want valgrind have valgrind; }

check_demo_packages() {
    want nodejs have node
    want npm have npm
}

check_package_packages() {
    want dpkg-dev have dpkg-shlibdeps
    want zip have zip
}

check_test_packages() {
    want "$(php_package xml)" php_has dom
    want "$(php_package fpm)" any_file '/usr/sbin/php-fpm*'
    want libfcgi-bin have cgi-fcgi
    want phpunit have phpunit
    # Debian 13 does not have it: make lint then leaves PSR-12 out.
    is_unavailable php-codesniffer || want php-codesniffer have phpcs
    want composer have composer
    want default-jdk-headless jdk_17
    want maven have mvn
    # Laravel, for the tests of php/Laravel.
    want php-laravel-framework any_file '/usr/share/php/Illuminate/Foundation/Application.php'
    want shellcheck have shellcheck
    # Certificates for Kafka with TLS; a wrong system clock for the tests of realtime:doctor.
    want openssl have openssl
    # A signed release.
    want openssh-client have ssh-keygen
    want faketime any_file '/usr/lib/*/faketime/libfaketime.so.1'
    # The browser tests, and the restart of a gateway behind a proxy.
    want chromium have chromium
    want fonts-dejavu-core any_file '/usr/share/fonts/truetype/dejavu/*.ttf'
    want nginx-light any_file '/usr/sbin/nginx'
    # Prometheus scrapes the exposed metrics, and promtool checks them.
    want prometheus have promtool
    # The supervisors and servers that run the files of deploy/.
    want supervisor have supervisord
    want systemd have systemd-analyze
    want php-symfony-yaml any_file '/usr/share/php/Symfony/Component/Yaml/autoload.php'
    # Servers and clients for the tests of the Idempotency and Outbox stores. MariaDB's core packages contain no service;
    # the services of the other two are prevented from starting, see install_packages.
    want redis-server have redis-server
    want postgresql any_file '/usr/lib/postgresql/*/bin/postgres'
    want mariadb-server-core have mariadb-install-db
    want mariadb-client-core have my_print_defaults
    want "$(php_package redis)" php_has redis
    want "$(php_package sqlite3)" php_has pdo_sqlite
    want "$(php_package pgsql)" php_has pdo_pgsql
    want "$(php_package mysql)" php_has pdo_mysql
    want php-predis any_file '/usr/share/php/Predis/autoload.php'
}

# The tests start their own servers. The services of the packages must not start or occupy a port, now or at the next boot;
# policy-rc.d is Debian's mechanism for that. An existing policy is kept.
POLICY=/usr/sbin/policy-rc.d

keep_services_off() {
    if [ ! -e "$POLICY" ]; then
        trap 'as_root rm -f "$POLICY"' EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
        as_root chmod 755 "$POLICY"
    fi
}

leave_services_off() {
    local service
    for service in redis-server postgresql nginx prometheus supervisor; do
        # Only services that this run has installed: an existing server may be in use.
        if [[ " ${missing[*]} " == *" ${service/#nginx/nginx-light} "* ]] && have systemctl; then
            as_root systemctl --quiet disable "$service" >/dev/null 2>&1 || note "The service $service could not be disabled and starts at boot."
        fi
    done
}

install_packages() {
    if [ ${#missing[@]} -eq 0 ]; then
        return
    fi
    have apt-get || fail "this script supports only Debian's apt. Install the equivalents of these packages, then run it again:" "  ${missing[*]}"
    can_be_root || fail "Debian packages are missing, and installing them needs root." "Run as root, then run this script again:" \
        "  apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
    say "Installing Debian packages: ${missing[*]}"
    # After a failed update the existing lists may still suffice; the installation shows it.
    as_root apt-get update -q || true
    if is_unavailable php-codesniffer; then
        mapfile -t missing < <(printf '%s\n' "${missing[@]}" | grep -vx php-codesniffer)
    fi
    keep_services_off
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" \
        || fail "apt could not install them; its message is above."
    leave_services_off
}

# True if the Rust toolchain in PATH has at least the version that Cargo.toml requires.
rust_is_new_enough() {
    local have_version
    have cargo && have rustc || return 1
    have_version="$(rustc --version 2>/dev/null | awk '{print $2}')"
    [ -n "$have_version" ] && [ "$(printf '%s\n%s\n' "$RUST_NEEDED" "$have_version" | sort -V | head -n 1)" = "$RUST_NEEDED" ]
}

install_rust_with_rustup() {
    local script
    if have rustup; then
        say "Updating Rust through rustup (needs $RUST_NEEDED or newer)"
        rustup toolchain install stable --profile minimal --component rustfmt,clippy && rustup default stable
        return
    fi
    say "Installing Rust $RUST_NEEDED or newer through rustup, into ${CARGO_HOME:-$HOME/.cargo}"
    script="$(mktemp)"
    # A proxy may return its own page instead of the installer: check before running it.
    if curl --proto '=https' --tlsv1.2 -sSf --retry 2 --max-time 60 https://sh.rustup.rs -o "$script" && head -n 1 "$script" | grep -q '^#!'; then
        sh "$script" -y --no-modify-path --profile minimal --component rustfmt,clippy --default-toolchain stable
    else
        note "https://sh.rustup.rs did not return the installer."
        return 1
    fi
}

# Debian 12 has a current Rust, for building browsers, in rustc-web and cargo-web; Debian 13 and later in rustc and cargo.
install_rust_with_apt() {
    local rust version packages
    have apt-cache || return 1
    for rust in "rustc-web cargo-web rustfmt-web rust-web-clippy" "rustc cargo rustfmt rust-clippy"; do
        version="$(apt-cache policy "${rust%% *}" 2>/dev/null | sed -n 's/.*Candidate: //p')"
        if [ -z "$version" ] || [ "$version" = "(none)" ] || dpkg --compare-versions "$version" lt "$RUST_NEEDED"; then
            continue
        fi
        read -ra packages <<<"$rust"
        say "Installing Debian's Rust $version: $rust"
        # --no-remove: do not remove an older Rust that was installed on purpose.
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends --no-remove "${packages[@]}" && return 0
    done
    return 1
}

install_rust() {
    if ! rust_is_new_enough; then
        install_rust_with_rustup || { hash -r; install_rust_with_apt; } || true
        hash -r
    fi
    rust_is_new_enough || fail "Rust $RUST_NEEDED or newer is not installed, and neither rustup (https://sh.rustup.rs) nor apt could install one." \
        "Install it manually, see https://rustup.rs, then run this script again." \
        "Behind a proxy: set https_proxy. With another toolchain directory: set CARGO_HOME and RUSTUP_HOME."
}

install_rust_tools() {
    if cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1; then
        return
    fi
    say "Installing rustfmt and clippy"
    if have rustup; then
        rustup component add rustfmt clippy
    else
        as_root apt-get install -y -q --no-install-recommends rustfmt-web rust-web-clippy
    fi || fail "rustfmt or clippy is missing for $(rustc --version)." "With rustup: rustup component add rustfmt clippy"
}

case "${1:-test}" in
    build) check_build_packages ;;
    demo) check_build_packages; check_demo_packages ;;
    package) check_build_packages; check_package_packages ;;
    memcheck) check_memcheck_packages ;;
    test) check_build_packages; check_demo_packages; check_package_packages; check_test_packages ;;
    *) fail "unknown argument '$1'." "Usage: tools/setup.sh build|demo|package|memcheck|test" ;;
esac
install_packages
install_rust
if [ "${1:-test}" = test ]; then
    install_rust_tools
fi
say "Ready: PHP $("$PHP" -n -r 'echo PHP_VERSION;'), $(rustc --version | cut -d' ' -f1,2)"
