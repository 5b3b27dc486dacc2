# shellcheck shell=bash disable=SC2154
# The archives: a complete one for each PHP build, and the files that PIE downloads. Sourced by tools/package.sh.

# The PHP build as it appears in file names: php8.2-nts, php8.4-zts, php8.4-zts-debug.
php_build() { "$1" -n -r 'echo "php", PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION, PHP_ZTS ? "-zts" : "-nts", PHP_DEBUG ? "-debug" : "";'; }

# Copies the files that git does not ignore, so that build artefacts of a work tree are excluded. Outside git, copies all files.
copy_sources() { # target, path …
    local target=$1
    shift
    if git -C "$ROOT" rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        git -C "$ROOT" ls-files -z --cached --others --exclude-standard -- "$@"
    else
        (cd "$ROOT" && find "$@" -type f -print0)
    fi | tar -C "$ROOT" --null --files-from=- --create --file=- | tar -C "$target" --extract --file=-
}

# Reproducible: order, owner and times do not depend on the user or the machine.
pack_tar() { # file, directory, entry …
    local file=$1 directory=$2
    shift 2
    tar -C "$directory" --create --sort=name --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw,a-s \
        --mtime="@$SOURCE_DATE_EPOCH" --file=- "$@" | gzip -9n >"$file"
}

# The PHP layer and its accompanying files, identical in the archive and in the Debian package.
copy_layer() {
    mkdir -p "$1"
    copy_sources "$1" php stubs bin composer.json LICENSE
}

make_archive() { # build, library, glibc
    local name tree
    name="toporia_realtime-$VERSION-$1-$MACHINE-linux-$LIBC"
    tree="$WORK/archive/$name"
    rm -rf "$WORK/archive"
    copy_layer "$tree"
    copy_sources "$tree" tools/common.sh tools/install.sh README.md README.vi.md CHANGELOG.md docs deploy clients/js
    cp "$2" "$tree/toporia_realtime.so"
    cp "$WORK/THIRD-PARTY-LICENSES.txt" "$tree/"
    sed -e "s/@VERSION@/$VERSION/g" -e "s/@BUILD@/$1/g" -e "s/@GLIBC@/$3/g" -e "s/@ARCH@/$MACHINE/g" \
        "$ROOT/packaging/archive/INSTALL.txt" >"$tree/INSTALL.txt"
    install -m 755 "$ROOT/packaging/archive/install.sh" "$tree/install.sh"
    pack_tar "$OUTPUT/$name.tar.gz" "$WORK/archive" "$name"
}

# The symbols of an archive's library, for debuggers and backtraces.
make_symbols_archive() { # build, file
    rm -rf "$WORK/symbols"
    mkdir -p "$WORK/symbols"
    cp "$2" "$WORK/symbols/toporia_realtime.so.debug"
    pack_tar "$OUTPUT/toporia_realtime_symbols-$VERSION-$1-$MACHINE-linux-$LIBC.tar.gz" "$WORK/symbols" toporia_realtime.so.debug
}

# PIE searches the assets of a release for php_{name}-{tag}_php{X.Y}-{arch}-{os}-{libc}[-debug][-zts].zip with {name}.so at
# the top level. The tag is the version number without a "v".
make_pie_binary() { # php, library
    local name tree="$WORK/pie"
    name="php_toporia_realtime-${VERSION}_$("$1" -n -r 'echo "php", PHP_MAJOR_VERSION, ".", PHP_MINOR_VERSION;')"
    name+="-$(pie_architecture)-linux-$LIBC$("$1" -n -r 'echo PHP_DEBUG ? "-debug" : "", PHP_ZTS ? "-zts" : "";').zip"
    rm -rf "$tree"
    mkdir -p "$tree"
    cp "$2" "$ROOT/LICENSE" "$WORK/THIRD-PARTY-LICENSES.txt" "$tree/"
    find "$tree" -exec touch -d "@$SOURCE_DATE_EPOCH" {} +
    (cd "$tree" && TZ=UTC zip -q -9 -X "$OUTPUT/$name" toporia_realtime.so LICENSE THIRD-PARTY-LICENSES.txt)
}

# PIE's names of the architectures.
pie_architecture() {
    case "$MACHINE" in
        aarch64) echo arm64 ;;
        *) echo "$MACHINE" ;;
    esac
}

# The source package: the contents of the repository toporia/realtime-ext. PIE builds it if no binary matches.
make_pie_source() {
    local tree="$WORK/pie-source" entries
    mkdir -p "$tree"
    copy_sources "$tree" Cargo.toml Cargo.lock build.rs src LICENSE
    copy_sources "$WORK" packaging/pie
    cp "$WORK"/packaging/pie/* "$tree/"
    # The crate's examples are benchmarks, which are not part of this package.
    sed -i '/^\[\[example\]\]/,/^$/d' "$tree/Cargo.toml"
    mapfile -t entries < <(cd "$tree" && ls -A)
    pack_tar "$OUTPUT/php_toporia_realtime-$VERSION-src.tgz" "$tree" "${entries[@]}"
}
