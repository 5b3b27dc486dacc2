#!/usr/bin/env bash
# Puts the built extension into PHP's extension directory and enables it for every SAPI, or takes it out again.
#
#   tools/install.sh install | uninstall

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

NAME=toporia_realtime

have "$PHP_CONFIG" || fail "$PHP_CONFIG is missing." "Install it: make setup. For another PHP: make install PHP=php8.3 PHP_CONFIG=php-config8.3"
have "$PHP" || fail "$PHP is missing." "Install it: make setup"

# An extension built for one PHP does not load in another: the two programs must be of one version.
php_api="$("$PHP" -n -i | sed -n 's/^PHP Extension => //p')"
[ "$php_api" = "$("$PHP_CONFIG" --phpapi)" ] || fail "$PHP and $PHP_CONFIG belong to different versions of PHP." \
    "Name both: make install PHP=php8.2 PHP_CONFIG=php-config8.2"

directory="$("$PHP_CONFIG" --extension-dir)"
version="$("$PHP_CONFIG" --version | cut -d. -f1,2)"
available="/etc/php/$version/mods-available"
scan_dir="$("$PHP" -r 'echo PHP_CONFIG_FILE_SCAN_DIR;')"

# Debian keeps one ini file and links it into every SAPI; elsewhere it goes straight into the directory PHP scans.
debian_php() { [ -d "$available" ] && have phpenmod; }

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
    need_extension
    ini="$(ini_file)"
    say "Installing $NAME.so into $directory"
    as_root install -d "$directory" "$(dirname "$ini")"
    # Renamed into place: a PHP that runs keeps the file it has loaded.
    as_root install -m 644 "$REALTIME_EXTENSION" "$directory/.$NAME.so.new"
    as_root mv -f "$directory/.$NAME.so.new" "$directory/$NAME.so"
    # An ini file that is there may hold settings of this machine.
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
    ini="$(ini_file)"
    say "Removing $NAME from PHP $version"
    if debian_php && [ -f "$ini" ]; then
        as_root phpdismod -v "$version" "$NAME"
    fi
    as_root rm -f "$ini" "$directory/$NAME.so"
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
