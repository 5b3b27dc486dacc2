#!/bin/bash
# Runs inside a clean Debian: installs what the build needs, with that Debian's own PHP and Rust, and builds the packages.
set -euo pipefail
cd /src
apt-get install -y -q --no-install-recommends make >/dev/null
tools/setup.sh package
nice -n "${REALTIME_NICE:-0}" tools/package.sh
