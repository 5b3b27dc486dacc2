#!/bin/sh
# Installs and enables the extension; `install.sh uninstall` removes it. For another PHP binary: PHP=php8.3 ./install.sh
exec "$(dirname "$0")/tools/install.sh" "${1:-install}"
