# shellcheck shell=bash disable=SC2154,SC2153
# The Debian packages: phpX.Y-toporia-realtime with the extension for Debian's PHP X.Y, and php-toporia-realtime with the
# PHP layer and the console for every PHP version. Sourced by tools/package.sh.
#
# Uses dpkg-deb without debhelper: the extension is built already, and dh_php would add a second build system next to cargo.

MAINTAINER="${DEBFULLNAME:-Toporia} <${DEBEMAIL:-realtime@toporia.invalid}>"

# True if this PHP is a Debian package: only then may a package use its extension directory and phpenmod. Debian has no ZTS
# PHP. The PHP of tools/cross.sh for arm64 is Debian's, unpacked.
debian_can_package() { # php, php-config
    local tool
    for tool in dpkg-deb dpkg-shlibdeps; do have "$tool" || return 1; done
    [ "${REALTIME_CROSS_MACHINE:-}" != arm64 ] || return 0
    [ -z "${REALTIME_CROSS_MACHINE:-}" ] && [ -r /usr/lib/php/php-maintscript-helper ] \
        && dpkg-query -S "$(readlink -f "$(command -v "$1")")" >/dev/null 2>&1 \
        && [ "$("$1" -n -r 'echo PHP_ZTS + PHP_DEBUG;')" = 0 ]
}

# With a tilde, 0.2.0~rc1 sorts before 0.2.0.
debian_version() { echo "${VERSION/-/"~"}-1"; }

# The documents of every package: copyright, changelogs.
debian_documents() { # package, tree
    local documents="$2/usr/share/doc/$1"
    mkdir -p "$documents" "$2/DEBIAN" "$2/usr/share/lintian/overrides"
    sed "s/@PACKAGE@/$1/g" "$ROOT/packaging/debian/lintian-overrides" >"$2/usr/share/lintian/overrides/$1"
    {
        printf '%s was built from the sources of toporia/realtime %s.\n\nIts licence:\n\n' "$1" "$VERSION"
        cat "$ROOT/LICENSE"
        if [ -n "${3:-}" ]; then
            printf "\n\nIt contains third-party software, in source form and compiled in. The licences and notices in full:\n"
            printf "/usr/share/doc/%s/THIRD-PARTY-LICENSES.txt.gz. The Apache License 2.0 among them is also in\n" "$1"
            printf "/usr/share/common-licenses/Apache-2.0.\n"
            gzip -9nc "$3" >"$documents/THIRD-PARTY-LICENSES.txt.gz"
        fi
    } >"$documents/copyright"
    {
        printf '%s (%s) unstable; urgency=medium\n\n' "$1" "$(debian_version)"
        printf '  * Version %s; see changelog.gz for the changes.\n\n' "$VERSION"
        printf ' -- %s  %s\n' "$MAINTAINER" "$(LC_ALL=C date -u -R -d "@$SOURCE_DATE_EPOCH")"
    } | gzip -9n >"$documents/changelog.Debian.gz"
    gzip -9nc "$ROOT/CHANGELOG.md" >"$documents/changelog.gz"
}

# Writes the control file (including Installed-Size) and builds the package. All files belong to root.
debian_build() { # package, architecture, tree; the other fields of control on standard input
    local package=$1 architecture=$2 tree=$3 size
    find "$tree" -type d -exec chmod 755 {} +
    (cd "$tree" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
    size="$(du -k -s --apparent-size --exclude=DEBIAN "$tree" | cut -f1)"
    {
        printf 'Package: %s\nSource: toporia-realtime\nVersion: %s\nArchitecture: %s\n' "$package" "$(debian_version)" "$architecture"
        printf 'Maintainer: %s\nInstalled-Size: %s\nSection: php\nPriority: optional\n' "$MAINTAINER" "$size"
        cat
    } >"$tree/DEBIAN/control"
    find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    dpkg-deb --root-owner-group -Zxz --build "$tree" "$OUTPUT/${package}_$(debian_version)_$architecture.deb" >&2
}

# Debian's name of the machine that the packages are for.
debian_architecture() {
    case "$MACHINE" in
        aarch64) echo arm64 ;;
        x86_64) echo amd64 ;;
        *) dpkg --print-architecture ;;
    esac
}

# The library's dependencies as Debian packages: libc6 (>= …), libssl3 (>= …).
debian_library_dependencies() { # library
    if [ -n "${REALTIME_CROSS_MACHINE:-}" ]; then
        cross_dependencies "$1"
        return
    fi
    mkdir -p "$WORK/shlibs/debian"
    printf 'Source: toporia-realtime\n\nPackage: toporia-realtime\nArchitecture: any\n' >"$WORK/shlibs/debian/control"
    (cd "$WORK/shlibs" && dpkg-shlibdeps -O -e"$1") | sed -n 's/^shlibs:Depends=//p'
}

# The same for another machine, whose libraries dpkg does not know: the package of each library with the newest of the
# versions that its symbols have (GLIBC_2.34, OPENSSL_3.0.0, GCC_4.2.0).
cross_dependencies() { # library
    local name package version
    while read -r name; do
        package="$(sed -n "s/^$name //p" "$REALTIME_CROSS_ROOT/libraries")"
        [ -n "$package" ] || fail "no package of $REALTIME_CROSS_ROOT has $name."
        version="$(readelf -V "$1" | awk -v name="$name" '$0 ~ "File: " { on = ($0 ~ "File: " name " ") } on' \
            | sed -n 's/.*Name: [A-Z]*_\([0-9.]*\) .*/\1/p' | sort -V | tail -n 1)"
        echo "$package ${version:+(>= $version)}"
    done < <(readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p') \
        | sort -Vr | sort -u -k1,1 | sed 's/ *$//' | paste -s -d, | sed 's/,/, /g'
}

# A maintainer script of packaging/debian, for one version of PHP.
debian_script() { # name, tree, version of PHP
    sed "s/@PHP@/$3/g" "$ROOT/packaging/debian/$1" >"$2/DEBIAN/$1"
    chmod 755 "$2/DEBIAN/$1"
}

make_debian_extension() { # php, php-config, library
    local php=$1 version api package tree
    version="$("$php" -n -r 'echo PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;')"
    api="$("$2" --phpapi)"
    package="php$version-toporia-realtime"
    tree="$WORK/$package"
    mkdir -p "$tree/usr/lib/php/$api" "$tree/etc/php/$version/mods-available"
    install -m 644 "$3" "$tree/usr/lib/php/$api/toporia_realtime.so"
    install -m 644 "$ROOT/packaging/debian/toporia_realtime.ini" "$tree/etc/php/$version/mods-available/"
    debian_documents "$package" "$tree" "$WORK/THIRD-PARTY-LICENSES.txt"
    echo "/etc/php/$version/mods-available/toporia_realtime.ini" >"$tree/DEBIAN/conffiles"
    debian_script postinst "$tree" "$version"
    debian_script prerm "$tree" "$version"
    debian_script postrm "$tree" "$version"
    debian_build "$package" "$(debian_architecture)" "$tree" <<CONTROL
Pre-Depends: php-common (>= 2:69~)
Depends: php$version-common, phpapi-$api, $(debian_library_dependencies "$3")
Recommends: php-toporia-realtime (>= $VERSION)
Provides: ext-toporia-realtime
Description: Kafka producer, consumer and WebSocket gateway for PHP $version
 The extension toporia_realtime publishes events to Apache Kafka, consumes
 them in batches, and delivers them to browsers over WebSockets, natively
 inside PHP.
 .
 The package php-toporia-realtime has the commands, helpers and framework
 integrations that belong to it.
CONTROL
}

# The symbols, where debuggers and backtraces find them.
make_debian_symbols() { # php, library
    local version package tree id
    version="$("$1" -n -r 'echo PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;')"
    package="php$version-toporia-realtime-dbgsym"
    tree="$WORK/$package"
    id="$(readelf -n "$2" | sed -n 's/^ *Build ID: //p')"
    [ -n "$id" ] || fail "$2 has no build id." "Its linker must be called with --build-id."
    install -D -m 644 "$2.debug" "$tree/usr/lib/debug/.build-id/${id:0:2}/${id:2}.debug"
    debian_documents "$package" "$tree"
    debian_build "$package" "$(debian_architecture)" "$tree" <<CONTROL
Depends: php$version-toporia-realtime (= $(debian_version))
Description: symbols of php$version-toporia-realtime
 The names and lines of the functions of the extension toporia_realtime, for
 debuggers and for the backtraces of RUST_BACKTRACE=1.
CONTROL
}

make_debian_layer() {
    local package=php-toporia-realtime tree="$WORK/php-toporia-realtime" home
    home="$tree/usr/share/php/Toporia/Realtime"
    mkdir -p "$home" "$tree/usr/bin" "$tree/usr/share/man/man1" "$tree/usr/share/doc/$package"
    copy_layer "$home"
    rm "$home/LICENSE"
    install -m 644 "$ROOT/packaging/debian/autoload.php" "$home/autoload.php"
    chmod 755 "$home/bin/toporia-realtime"
    ln -s ../share/php/Toporia/Realtime/bin/toporia-realtime "$tree/usr/bin/toporia-realtime"
    gzip -9nc "$ROOT/packaging/debian/toporia-realtime.1" >"$tree/usr/share/man/man1/toporia-realtime.1.gz"
    copy_sources "$tree/usr/share/doc/$package" README.md README.vi.md docs deploy clients/js
    debian_documents "$package" "$tree"
    find "$tree" -type f ! -path '*/bin/*' -exec chmod 644 {} +
    debian_build "$package" all "$tree" <<CONTROL
Depends: php-cli (>= 2:8.1~), php-mbstring, php-symfony-console
Recommends: ext-toporia-realtime
Suggests: php-laravel-framework
Description: commands and framework integrations of toporia_realtime for PHP
 The PHP layer of the extension toporia_realtime: the command
 toporia-realtime, helper functions, the broadcast driver of Laravel, the
 broker of Toporia, and fakes for tests, which need no extension.
 .
 The extension itself is in a package for each version of PHP, such as
 php8.2-toporia-realtime.
CONTROL
}
