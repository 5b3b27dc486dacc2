#!/usr/bin/env bash
# Builds the packages twice, from two copies of the work tree in different directories, and compares their checksums. Takes
# twice the time of a clean build.

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
# shellcheck source=packaging/archive.sh
. "$ROOT/packaging/archive.sh"

cd "$ROOT"
SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date -r CHANGELOG.md +%s)}"
export SOURCE_DATE_EPOCH
unset REALTIME_EXTENSION CARGO_TARGET_DIR
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
for tree in one other/in/another/directory; do
    mkdir -p "$work/$tree"
    copy_sources "$work/$tree" .
    (cd "$work/$tree" && tools/package.sh)
done
diff "$work/one/build/packages/SHA256SUMS" "$work/other/in/another/directory/build/packages/SHA256SUMS" \
    || fail "these packages differ (above)." "Compare them with diffoscope."
say "Two builds, the same checksums:"
cat "$work/one/build/packages/SHA256SUMS"
