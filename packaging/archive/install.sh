#!/bin/sh
# Puts the extension into this PHP and enables it; `install.sh uninstall` takes it out again. For another: PHP=php8.3 ./install.sh
exec "$(dirname "$0")/tools/install.sh" "${1:-install}"
