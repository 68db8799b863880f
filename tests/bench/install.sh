#!/bin/sh
# Installs what the load rig and its peers need on Debian 12; nothing when it is there. As root, or through sudo.
set -eu
want="gcc libc6-dev libssl-dev openssl python3 wrk golang-go golang-gopkg-mail.v2-dev util-linux nodejs npm strace
    binutils"
missing=""
for package in $want; do
    # A node or npm from elsewhere serves as well as Debian's.
    case $package in
        nodejs) command -v node >/dev/null && continue ;;
        npm) command -v npm >/dev/null && continue ;;
    esac
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0
run=""
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "The load rig needs packages that are not installed. As root:" >&2
        echo "  apt-get update && apt-get install -y --no-install-recommends$missing" >&2
        exit 1
    fi
    run=sudo
fi
echo "installing:$missing"
$run apt-get update -qq
$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
