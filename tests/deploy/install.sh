#!/bin/sh
# What the tests of deploy/ need beside the program's own test packages. Idempotent, and quick when all is there.
set -eu
cd "$(dirname "$0")"

missing=""
for package in mandoc zsh shellcheck systemd strace python3-yaml; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    run=""
    [ "$(id -u)" = 0 ] || run=sudo
    echo "installing:$missing"
    $run env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 sh -c "apt-get update -qq
        apt-get install -y -qq --no-install-recommends $missing" >/dev/null
fi
