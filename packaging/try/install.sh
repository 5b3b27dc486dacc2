#!/bin/bash
# Runs inside a clean Debian with PHP and without Rust: installs, uses and removes each package, then checks for leftover files.
#
#   install.sh PACKAGES      the directory with the packages that `make package` built

set -euo pipefail
packages=$1
smoke="$(dirname "$0")/smoke.php"
version="$(php -n -r 'echo PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;')"
build="$(php -n -r 'echo "php", PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION, PHP_ZTS ? "-zts" : "-nts";')"
export DEBIAN_FRONTEND=noninteractive

step() { printf -- '-- %s\n' "$*"; }

stop() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

# All files of the system except logs, caches, the files of this test, and the directories that phpenmod creates for its state.
files() {
    find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /run -o -path /var/log -o -path /var/cache \
        -o -path /var/lib/apt -o -path "$packages" -o -path "$(dirname "$smoke")" \) -prune -o -print \
        | grep -vE '^/var/lib/php/modules/[^/]*/[^/]*/(en|dis)abled_by_[a-z]*$|^/var/lib/dpkg/(.*-old|triggers/.*|lock.*)$|^/root/' | sort
}

# Not through a pipe: grep -q would close it while PHP is still writing.
loads_it() { [[ "$("$1" -m 2>&1)" == *toporia* ]]; } # php

nothing_left() { # the removal command, file lists before and after
    step "files left after $1"
    diff "$2" "$3" >/tmp/left || { cat /tmp/left >&2; stop "$1 left files behind, or removed files of other packages"; }
    if loads_it php; then stop "PHP still loads the extension after $1"; fi
    echo "nothing"
}

works() {
    local sapi
    php --ri toporia_realtime | sed -n 1,6p
    php "$smoke"
    for sapi in /usr/sbin/php-fpm"$version" /usr/bin/php-cgi"$version"; do
        [ ! -x "$sapi" ] || { loads_it "$sapi" || stop "$sapi does not load it"; echo "${sapi##*/} loads it"; }
    done
}

for tool in cargo rustc cc clang cmake php-config; do
    if command -v "$tool" >/dev/null; then stop "$tool is installed: this is not a clean machine"; fi
done

step "archive, without installing it"
mkdir /tmp/archive
tar -C /tmp/archive -xzf "$packages"/toporia_realtime-*-"$build"-*.tar.gz
cd /tmp/archive/*
php -d "extension=$PWD/toporia_realtime.so" "$smoke"
php -d "extension=$PWD/toporia_realtime.so" bin/toporia-realtime --version

step "archive, ./install.sh"
files >/tmp/before
./install.sh
works
php bin/toporia-realtime list | grep -c 'realtime:' | sed 's/$/ commands/'
./install.sh uninstall
files >/tmp/after
nothing_left "install.sh uninstall" /tmp/before /tmp/after
cd /

step "Debian packages"
cp "$packages/php$version-toporia-realtime"_*.deb "$packages"/php-toporia-realtime_*.deb /tmp/
began=$SECONDS
apt-get install -y -q --no-install-recommends "/tmp/php$version-toporia-realtime"_*.deb /tmp/php-toporia-realtime_*_all.deb >/tmp/apt.log 2>&1 \
    || { cat /tmp/apt.log >&2; stop "apt-get install"; }
php --ri toporia_realtime >/dev/null
echo "$((SECONDS - began)) s from apt-get install to php --ri"
[ $((SECONDS - began)) -le 60 ] || stop "docs/install.md promises a minute"
works
toporia-realtime --version
toporia-realtime list | grep -c 'realtime:' | sed 's/$/ commands/'
php -r 'require "Toporia/Realtime/autoload.php"; echo Toporia\Realtime\Support\Version::NUMBER, " in the PHP layer\n";'

step "a disabled extension stays disabled when the package is reinstalled"
phpdismod toporia_realtime
apt-get install -y -q --reinstall "/tmp/php$version-toporia-realtime"_*.deb >/tmp/apt.log 2>&1 || { cat /tmp/apt.log >&2; stop "apt-get --reinstall"; }
if loads_it php; then stop "the reinstallation enabled the disabled extension"; fi
phpenmod toporia_realtime
loads_it php || stop "phpenmod does not enable it"

step "apt remove, then purge"
apt-get remove -y -q "php$version-toporia-realtime" php-toporia-realtime >/tmp/apt.log 2>&1
if loads_it php; then stop "PHP still loads, or misses, the extension after apt remove"; fi
dpkg-query -W -f '${Conffiles}\n' "php$version-toporia-realtime" | sed 's/^ */left until purge: /'
apt-get purge -y -q "php$version-toporia-realtime" php-toporia-realtime >/tmp/apt.log 2>&1
files >/tmp/after
nothing_left "apt purge" /tmp/before /tmp/after
echo "All packages work on $(. /etc/os-release && echo "$PRETTY_NAME"), PHP $(php -n -r 'echo PHP_VERSION;'), glibc $(ldd --version | sed -n '1s/.* //p')."
