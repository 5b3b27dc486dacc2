#!/bin/bash
# Copies what a gateway needs out of a Debian into an empty directory, the root of its image: PHP, the packages of the
# extension, the libraries that these link, certificates, and busybox as the shell. Runs as root inside a Debian.
#
#   gateway-root.sh PACKAGES HEALTHCHECK TARGET    the directory of the .deb files, deploy/docker/healthcheck.sh, the root

set -euo pipefail
packages=$1 healthcheck=$2 target=$3
export DEBIAN_FRONTEND=noninteractive

before="$(dpkg-query -W -f '${Package}\n')"
apt-get install -y -q --no-install-recommends ca-certificates busybox-static tini php-cli
version="$(php -n -r 'echo PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;')"
apt-get install -y -q --no-install-recommends \
    "$packages/php$version-toporia-realtime_"*"_$(dpkg --print-architecture).deb" "$packages"/php-toporia-realtime_*_all.deb

# The packages that were installed now, without those that only their installation needs.
chosen="$(dpkg-query -W -f '${Package}\n' | grep -vxF "$before" \
    | grep -vxE 'debconf|dh-.*|file|libmagic.*|perl.*|libperl.*|libgdbm.*|php|psmisc|sensible-utils|ucf'; echo base-files; echo tzdata)"

copy() { # paths, one per line
    tar --create --file=- --no-recursion --directory=/ --files-from=<(sed 's|^/||' | grep . | sort -u) | tar --extract --file=- --directory="$target"
}

mkdir -p "$target"
# Directories that are links into /usr come first.
printf '%s\n' /bin /sbin /lib /lib64 /usr /usr/bin /usr/sbin /usr/lib /usr/lib64 | while read -r path; do [ ! -e "$path" ] || echo "$path"; done | copy
# shellcheck disable=SC2086
dpkg-query -L $chosen | grep '^/' | while read -r path; do
    case "$path" in
        /usr/share/doc/*/copyright | /usr/share/doc/*/THIRD-PARTY-LICENSES*) echo "$path" ;;
        /usr/share/doc/* | /usr/share/man/* | /usr/share/locale/* | /usr/share/lintian/* | /usr/share/bug/* | /usr/share/info/*) ;;
        /usr/share/zoneinfo/posix/* | /usr/share/zoneinfo/right/* | /etc/cron* | /lib/systemd/* | /usr/lib/systemd/*) ;;
        *) [ -d "$path" ] && [ ! -L "$path" ] || [ ! -e "$path" ] || echo "$path" ;;
    esac
done | copy
# What their installation has made: PHP's links to enabled extensions, alternatives, the bundle of certificates.
{ find /etc/php /etc/alternatives/php /etc/ssl/certs; echo /usr/bin/php; } | copy
# The libraries they link, and those that the C library loads by name.
{ find "$target" -type f \( -perm /111 -o -name '*.so*' \) -exec ldd {} + 2>/dev/null || true; } \
    | sed -nE 's/.*=> (\/[^ ]+) .*/\1/p; s/^\s+(\/[^ ]+) .*/\1/p' | sort -u | while read -r path; do
    printf '%s\n' "$path" "$(readlink -f "$path")"
done | copy
# Scanners of images look here for the versions of packages.
mkdir -p "$target/var/lib/dpkg/status.d"
for package in $chosen; do dpkg-query -s "$package" >"$target/var/lib/dpkg/status.d/$package"; done

# The links of busybox: the health check, and looking around with docker exec.
mkdir -p "$target/bin"
for name in sh env stat cat ls ps kill wget; do ln -sf busybox "$target/bin/$name"; done
install -D -m 755 "$healthcheck" "$target/usr/local/bin/realtime-healthcheck"
# The user has a fixed id, as in the other images, and owns only its spool and /app.
printf 'root:x:0:0:root:/root:/bin/sh\napp:x:10001:10001::/app:/usr/sbin/nologin\n' >"$target/etc/passwd"
printf 'root:x:0:\napp:x:10001:\n' >"$target/etc/group"
printf 'hosts: files dns\n' >"$target/etc/nsswitch.conf"
install -d -m 1777 "$target/tmp"
install -d -o 10001 -g 10001 "$target/app"
install -d -o 10001 -g 10001 -m 750 "$target/var/lib/toporia-realtime" "$target/var/lib/toporia-realtime/spool"
chroot "$target" /usr/bin/php --ri toporia_realtime >/dev/null
du -sm "$target"
