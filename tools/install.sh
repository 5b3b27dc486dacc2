#!/usr/bin/env bash
# Installs the built extension into PHP's extension directory and enables it for every SAPI, or removes it. Works in a clone
# and in an unpacked archive; needs PHP, but not its headers.
#
#   tools/install.sh install | uninstall
#   PHP=php8.3 tools/install.sh install        for another PHP binary

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

NAME=toporia_realtime

# In an archive, the extension is in the top-level directory.
if [ -f "$ROOT/$NAME.so" ]; then REALTIME_EXTENSION="$ROOT/$NAME.so"; fi

have "$PHP" || fail "$PHP is missing." "Install PHP (on Debian: apt-get install php-cli), or name it: PHP=php8.3"

# The directory from which this PHP loads extensions: set in its ini files, or the compiled-in default.
# shellcheck disable=SC2016
directory="$("$PHP" -r '$set = (string) ini_get("extension_dir"); echo str_starts_with($set, "/") ? $set : PHP_EXTENSION_DIR;')"
version="$("$PHP" -n -r 'echo PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;')"
available="/etc/php/$version/mods-available"
scan_dir="$("$PHP" -r 'echo PHP_CONFIG_FILE_SCAN_DIR;')"

# An extension built for one PHP does not load in another.
need_extension_that_fits() {
    local build
    need_extension
    if ! "$PHP" -n -d "extension=$REALTIME_EXTENSION" -r "exit(extension_loaded('$NAME') ? 0 : 1);" >/dev/null 2>&1; then
        build="$(grep -aoE 'API[0-9]{8},N?TS(,debug)?' "$REALTIME_EXTENSION" | head -n 1)"
        fail "$PHP cannot load $REALTIME_EXTENSION." "$("$PHP" -n -d "extension=$REALTIME_EXTENSION" -r '' 2>&1 | grep -m 1 . || true)" \
            "It was built for ${build:-another PHP}, this one is $("$PHP" -n -i | sed -n 's/^PHP Extension Build => //p')." \
            "In a clone: make install PHP=php8.2 PHP_CONFIG=php-config8.2. Otherwise take the archive for this PHP."
    fi
}

# The Debian package and this script would overwrite each other's file.
not_from_debian() {
    local package
    package="$(dpkg-query -S "$directory/$NAME.so" 2>/dev/null | cut -d: -f1)" || true
    [ -z "$package" ] || fail "$directory/$NAME.so belongs to the Debian package $package." "Remove it first: apt-get remove $package"
}

# Debian's PHP has one ini file that is linked into every SAPI; other PHP builds read it from their scan directory.
debian_php() { [[ "$scan_dir" == /etc/php/"$version"/* ]] && [ -d "$available" ] && have phpenmod; }

ini_file() {
    if debian_php; then
        echo "$available/$NAME.ini"
    elif [ -n "$scan_dir" ]; then
        echo "${scan_dir%%:*}/$NAME.ini"
    else
        fail "this PHP scans no directory for ini files." "Add this line to $("$PHP" -r 'echo php_ini_loaded_file() ?: "php.ini";') yourself: extension=$NAME"
    fi
}

install_extension() {
    local ini staged
    need_extension_that_fits
    not_from_debian
    ini="$(ini_file)"
    say "Installing $NAME.so into $directory"
    as_root install -d "$directory" "$(dirname "$ini")"
    # Renamed into place: running PHP processes keep the file that they have loaded.
    as_root install -m 644 "$REALTIME_EXTENSION" "$directory/.$NAME.so.new"
    as_root mv -f "$directory/.$NAME.so.new" "$directory/$NAME.so"
    # Keep an existing ini file: it may contain settings of this machine.
    if [ ! -f "$ini" ]; then
        staged="$(mktemp)"
        printf '; Settings: php --ri %s\nextension=%s.so\n' "$NAME" "$NAME" >"$staged"
        as_root install -m 644 "$staged" "$ini"
        rm -f "$staged"
    fi
    if debian_php; then
        as_root phpenmod -v "$version" "$NAME"
    fi
    note "enabled by $ini"
    "$PHP" --ri "$NAME" || fail "PHP does not load the installed extension." "See: $PHP -v"
    if have pgrep && pgrep php-fpm >/dev/null; then
        note "php-fpm is running: reload it to load the extension, e.g. systemctl reload php$version-fpm"
    fi
}

uninstall_extension() {
    local ini
    not_from_debian
    ini="$(ini_file)"
    say "Removing $NAME from PHP $version"
    if debian_php && [ -f "$ini" ]; then
        as_root phpdismod -v "$version" "$NAME"
    fi
    as_root rm -f "$ini" "$directory/$NAME.so"
    if debian_php; then
        # phpdismod records that the extension was disabled; without this deletion a later installation would stay disabled.
        as_root find "/var/lib/php/modules/$version" -name "$NAME" -type f -delete
    fi
    if "$PHP" -r "exit(extension_loaded('$NAME') ? 0 : 1);"; then
        fail "PHP still loads $NAME, from another ini file." "See: $PHP --ini"
    fi
    note "done; reload php-fpm if it is running"
}

can_be_root || fail "writing to $directory needs root, and sudo cannot be used here." "Run as root: tools/install.sh ${1:-install}"

case "${1:-}" in
    install) install_extension ;;
    uninstall) uninstall_extension ;;
    *) fail "unknown argument '${1:-}'." "Usage: tools/install.sh install|uninstall" ;;
esac
