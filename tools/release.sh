#!/usr/bin/env bash
# Makes a release, all but publishing it: version, changelog, commit, packages, bill of materials, checksums, signature.
# The result is in build/release, and the commands that publish it are printed at the end.
#
#   tools/release.sh 0.2.0 --key=KEY                     all steps; also: make release VERSION=0.2.0 KEY=KEY
#   tools/release.sh 0.2.0 --key=KEY --suites=trixie     with the packages of another Debian's PHP, built and tried in clean
#                                                        roots (root, network)
#   tools/release.sh 0.2.0 --step=prepare                writes version and changelog, and commits them
#   tools/release.sh 0.2.0 --step=packages               the packages of every PHP on this machine, and of arm64 if its
#                                                        compilers are here (tools/cross.sh arm64 --ready)
#   tools/release.sh 0.2.0 --step=finish --key=KEY       checksums, notes and signature of what is in build/release
#
# KEY is a key that gpg knows, or the file of a private ssh key, or "none". The last commit gives the times in the packages,
# so that a second build from it has the same checksums: tools/reproduce.sh compares two.

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cd "$ROOT"
USAGE="Usage: make release VERSION=0.2.0 KEY=…, or tools/release.sh --help"
RELEASE="$ROOT/build/release"
version="" key="" step="" suites=""
for argument in "$@"; do
    case "$argument" in
        --help) sed -n '2,15s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit ;;
        --key=*) key="${argument#*=}" ;;
        --step=*) step="${argument#*=}" ;;
        --suites=*) suites="${argument#*=}" ;;
        -*) fail "unknown option '$argument'." "$USAGE" ;;
        *) version="$argument" ;;
    esac
done
[ -n "$version" ] || fail "the version is missing." "$USAGE"

# Before hours of building, not after them.
check_key() {
    case "$key" in
        none) ;;
        "") fail "the key is missing." "KEY=<a key of gpg>, KEY=<file of a private ssh key>, or KEY=none for an unsigned release" ;;
        *)
            if [ -f "$key" ]; then
                ssh-keygen -y -f "$key" >/dev/null </dev/null || fail "ssh-keygen cannot use $key."
            else
                gpg --batch --list-secret-keys "$key" >/dev/null 2>&1 || fail "gpg has no secret key '$key', and there is no such file." "List them: gpg --list-secret-keys"
            fi
            ;;
    esac
}

# The version and the changelog; does nothing if both are committed.
prepare() {
    [ -z "$(git status --porcelain --untracked-files=no)" ] || fail "the work tree has changes." "Commit them first: the release is built from a commit."
    if grep -q "^## \[$version\] - [0-9]" CHANGELOG.md; then
        note "CHANGELOG.md has the section of $version"
    else
        "$PHP" -n packaging/changelog.php release "$version" "$(date -u +%F)"
    fi
    tools/version.sh "$version" >/dev/null
    if [ -n "$(git status --porcelain --untracked-files=no)" ]; then
        git commit -q -a -m "Version $version"
        note "committed: $(git log -1 --format='%h %s')"
    fi
}

packages() {
    local suite reason
    [ "$(tools/version.sh)" = "$version" ] || fail "the tree has version $(tools/version.sh), not $version." "First: tools/release.sh $version --step=prepare"
    rm -rf "$RELEASE"
    mkdir -p "$RELEASE"
    tools/package.sh
    cp build/packages/* "$RELEASE/"
    if reason="$(tools/cross.sh arm64 --ready 2>&1)"; then
        tools/cross.sh arm64 tools/package.sh --output=build/cross/arm64-packages
        cp -n build/cross/arm64-packages/* "$RELEASE/"
    else
        note "without packages for arm64: $reason"
    fi
    for suite in $suites; do
        tools/package-try.sh "$suite"
        # What does not depend on the PHP is there already.
        [ ! -d "build/package-try/$suite" ] || cp -n "build/package-try/$suite"/* "$RELEASE/"
    done
}

finish() {
    [ -n "$(ls -A "$RELEASE" 2>/dev/null)" ] || fail "$RELEASE has no packages." "First: tools/release.sh $version --step=packages"
    "$PHP" -n packaging/changelog.php notes "$version" >build/release-notes.md
    cd "$RELEASE"
    rm -f SHA256SUMS SHA256SUMS.asc SHA256SUMS.sig
    sha256sum -- * >../SHA256SUMS
    mv ../SHA256SUMS .
    if [ -f "$key" ]; then
        ssh-keygen -q -Y sign -f "$key" -n toporia-realtime SHA256SUMS
    elif [ "$key" != none ]; then
        gpg --batch --local-user "$key" --armor --detach-sign SHA256SUMS
    fi
    say "Release $version in build/release:"
    ls -sh1 >&2
    note "notes: build/release-notes.md"
    note "to publish: git tag -s v$version && git push origin HEAD v$version"
    note "            gh release create v$version --title v$version --notes-file build/release-notes.md build/release/*"
}

case "$step" in
    "") check_key; prepare; packages; finish ;;
    prepare) prepare ;;
    packages) packages ;;
    finish) check_key; finish ;;
    *) fail "unknown step '$step'." "Steps: prepare, packages, finish" ;;
esac
