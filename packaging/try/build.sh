#!/bin/bash
# Runs inside a clean Debian: installs the build dependencies with that Debian's PHP and Rust, and builds the packages.
set -euo pipefail
cd /src
apt-get install -y -q --no-install-recommends make >/dev/null
tools/setup.sh package
nice -n "${REALTIME_NICE:-0}" tools/package.sh
