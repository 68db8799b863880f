#!/bin/sh
# Installs what building (and with "test" what testing) needs on Debian 12, and nothing when it is there already.
# As root, or through sudo; without either it prints the line to run.
set -eu

build="gcc make pkg-config libc6-dev libmicrohttpd-dev libgnutls28-dev libssl-dev libcjson-dev libidn2-dev libyaml-dev \
zlib1g-dev ca-certificates"
test="check python3 openssl prometheus nodejs npm clang libclang-rt-14-dev curl iproute2"

want=$build
[ "${1:-build}" = test ] && want="$build $test"

missing=""
for package in $want; do
    # A node or npm from elsewhere (a container image's own) serves as well as Debian's.
    case $package in
        nodejs) command -v node >/dev/null && continue ;;
        npm) command -v npm >/dev/null && continue ;;
    esac
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ]; then
    run=""
elif command -v sudo >/dev/null; then
    run="sudo"
else
    echo "mailhatch needs packages that are not installed. As root:" >&2
    echo "  apt-get update && apt-get install -y --no-install-recommends$missing" >&2
    exit 1
fi
echo "installing:$missing"
$run apt-get update -qq
$run env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
