#!/usr/bin/env bash
# Cargo.toml defines the version; this script compares all other files with it, or writes a new version into all of them.
#
#   tools/version.sh            prints the version; lists the files that differ and fails if there are any
#   tools/version.sh 0.2.0      sets the version everywhere except in the changelog, which is edited manually

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cd "$ROOT"

# A file, and an expression with three groups: the text before the number, the number, the text after it.
PLACES=(
    php/Support/Version.php "^( *public const NUMBER = ')([^']*)('.*)$"
    clients/js/package.json '^( *"version": ")([^"]*)(",?)$'
)

compare() {
    local i version found file wrong=()
    version="$(project_version)"
    differs() { # place, number
        [ "$2" = "$version" ] || wrong+=("  $1 has '$2'")
    }
    for ((i = 0; i < ${#PLACES[@]}; i += 2)); do
        found="$(sed -nE "s/${PLACES[i + 1]}/\2/p" "${PLACES[i]}")"
        differs "${PLACES[i]}" "$found"
    done
    differs Cargo.lock "$(sed -n '/^name = "toporia_realtime"$/{n;s/^version = "\(.*\)"/\1/p}' Cargo.lock)"
    differs "the newest release in CHANGELOG.md" "$(sed -n 's/^## \[\([0-9].*\)\].*/\1/p' CHANGELOG.md | head -n 1)"
    # Composer takes a package's version from its tag; a number in the file could only contradict it.
    for file in composer.json packaging/pie/composer.json; do
        if grep -qE '^    "version"' "$file"; then wrong+=("  $file has a \"version\" key: remove it"); fi
    done
    [ ${#wrong[@]} -eq 0 ] || fail "the version in Cargo.toml is $version, but:" "${wrong[@]}" "Correct them: tools/version.sh $version"
    echo "$version"
}

write() {
    local i
    [[ "$1" =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[a-z]+[0-9]*)?$ ]] || fail "'$1' is not a valid version." "Examples: tools/version.sh 0.2.0, tools/version.sh 0.2.0-rc1"
    sed -i "0,/^version = \".*\"/s//version = \"$1\"/" Cargo.toml
    sed -i "/^name = \"toporia_realtime\"$/{n;s/^version = .*/version = \"$1\"/}" Cargo.lock
    for ((i = 0; i < ${#PLACES[@]}; i += 2)); do
        sed -i -E "s/${PLACES[i + 1]}/\1$1\3/" "${PLACES[i]}"
    done
}

[ -z "${1:-}" ] || write "$1"
compare
