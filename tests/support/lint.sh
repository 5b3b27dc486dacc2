#!/usr/bin/env bash
# Runs every static check; continues after a failure, and fails at the end.

# shellcheck source=tools/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/common.sh"

cd "$ROOT"
failed=()

check() { # title, command …
    local title=$1
    shift
    say "$title"
    "$@" || failed+=("$title: $*")
}

# Prints the given paths that exist.
existing() {
    local path
    for path in "$@"; do
        if [ -e "$path" ]; then echo "$path"; fi
    done
}

# Every shell script of the repository.
shell_scripts() { find . \( -path ./target -o -path ./build -o -path ./vendor -o -path ./node_modules -o -path ./.git \) -prune -o -type f \( -name '*.sh' -o -path ./.ci/run \) -print; }

# A test file with another suffix belongs to no suite of phpunit.xml and would never run.
test_names() {
    local suffix='(Unit|Embedded|Broker|Kafka)Test.php$'
    ! find tests/php -name '*Test.php' | grep -Ev "$suffix"
}

mapfile -t php_paths < <(existing php stubs packaging tests/php tests/bench tests/chaos examples config bin console)
mapfile -t scripts < <(shell_scripts)

check "rustfmt" cargo fmt --check
check "clippy" cargo clippy --locked --all-targets -- -D warnings
check "clippy, core without PHP" cargo clippy --locked --all-targets --no-default-features -- -D warnings
# Errors only (-n): the 120 characters of PSR-12 are a soft limit, exceeded in about fifty places.
if have phpcs; then
    check "PSR-12" phpcs -n --standard=tests/support/phpcs.xml --basepath="$ROOT" "${php_paths[@]}"
else
    note "phpcs is not installed: PSR-12 is not checked."
fi
check "each test belongs to a suite" test_names
check "words of comments, length of lines" "$PHP" tests/support/prose.php
check "composer.json" env COMPOSER_ALLOW_SUPERUSER=1 composer validate --strict --no-interaction
if have shellcheck; then
    check "shellcheck" shellcheck -x "${scripts[@]}"
fi
if have actionlint; then
    check "actionlint" actionlint .github/workflows/*.yml
fi
if have cargo-deny; then
    # Advisories are not checked here: that downloads their database. Run: cargo deny check advisories
    check "cargo deny" cargo deny --locked check bans licenses sources
fi

if [ ${#failed[@]} -gt 0 ]; then
    fail "these checks failed:" "${failed[@]}"
fi
