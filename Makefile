# `make` lists the targets. The work is done by the scripts in tools/ and tests/support/.

# For another PHP: make build PHP=php8.3 PHP_CONFIG=php-config8.3

# The directory of rustup's cargo; a shell older than the installation does not have it on its path.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup build install uninstall package package-try release demo check test test-rust test-php test-kafka test-browser chaos memcheck lint bench hooks clean

help: ## Lists these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Installs missing Debian packages and Rust
	@tools/setup.sh test

build: ## Builds target/release/libtoporia_realtime.so
	@tools/setup.sh build
	@tools/build.sh

install: build ## Installs the extension into PHP's extension directory and enables it
	@tools/install.sh install

uninstall: ## Uninstalls the extension
	@tools/install.sh uninstall

package: ## Builds the packages of every PHP here into build/packages: archives, Debian, PIE
	@tools/setup.sh package
	@tools/package.sh

package-try: ## Installs, uses and removes the packages in clean Debian roots (root, network; SUITES="bookworm trixie")
	@tools/package-try.sh $(SUITES)

release: ## Makes a release in build/release, all but publishing it: VERSION=0.2.0 KEY=<gpg key, ssh key file or none>
	@tools/setup.sh package
	@tools/release.sh "$(VERSION)" --key="$(KEY)" --step="$(STEP)" --suites="$(SUITES)"

demo: build ## Runs the demo: orders broadcast to services and the browser, without Kafka
	@tools/setup.sh demo
	@examples/demo/run.sh

check: setup ## Lint, unit and embedded tests with a development build: under five minutes, before each push
	@tests/support/test.sh check

test: ## Runs every check and test on a private Kafka; installs their dependencies
	@tests/support/test.sh all

test-rust: setup ## Rust tests of the core (no PHP)
	@tests/support/test.sh rust

test-php: setup build ## PHPUnit without the extension, and on the embedded broker
	@tests/support/test.sh php

test-kafka: setup build ## PHPUnit on a private Apache Kafka
	@tests/support/test.sh kafka

test-browser: setup build ## Real pusher-js and laravel-echo in Chromium against the gateway; screenshots in build/test-output
	@tests/support/test.sh browser

chaos: setup build ## Injects faults into a Kafka cluster and its clients, and checks the guarantees (options: tests/chaos/run.sh --help)
	@tests/chaos/run.sh --mode="$(MODE)" --messages="$(MESSAGES)" --seed="$(SEED)" --workers="$(WORKERS)" \
		--seconds="$(SECONDS)" --rate="$(RATE)" --callbacks="$(CALLBACKS)" --nodes="$(NODES)"

memcheck: setup build ## Runs tests under valgrind: FILTER=Refused selects others (see tests/support/memcheck.sh)
	@tools/setup.sh memcheck
	@tests/support/memcheck.sh $(if $(FILTER),--filter="$(FILTER)")

lint: setup ## rustfmt, clippy, PSR-12, composer validate, shellcheck
	@tests/support/lint.sh

bench: build ## CPU time per message, against named peers
	@tests/bench/run.sh

hooks: ## Installs a git hook that checks formatting and syntax before each commit
	@git config core.hooksPath tools/hooks

clean: ## Removes all build results and downloads
	rm -rf build
	cargo clean
