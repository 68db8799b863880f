#!/bin/sh
# What the end-to-end tests need beside the program's own test packages: Postfix from the system, Exim and OpenSMTPD
# unpacked under build/servers (as packages the three conflict), haproxy, nginx, and nodemailer, whose errors
# docs/migrating.md quotes. Idempotent, and quick when all is there.
set -eu
cd "$(dirname "$0")/../.."
servers=build/servers

# The libraries from libidn12 on are what Exim's and OpenSMTPD's programs load.
packages="postfix dovecot-core dovecot-submissiond sasl2-bin libsasl2-modules python3 openssl prometheus haproxy nginx
    gcc libc6-dev libssl-dev libidn12 libdb5.3 libevent-2.1-7 libgnutls-dane0 libnsl2 libpcre2-8-0 libpam0g zlib1g
    libcrypt1"
missing=""
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
unpack=""
[ -x $servers/exim/usr/sbin/exim4 ] || unpack="exim"
[ -x $servers/opensmtpd/usr/sbin/smtpd ] || unpack="$unpack opensmtpd"
# npm ci only when the lock changed: its copy inside node_modules says what is installed.
if ! cmp -s tests/e2e/node/package-lock.json tests/e2e/node/node_modules/.installed; then
    (cd tests/e2e/node && npm ci --loglevel=error --no-progress --ignore-scripts)
    cp tests/e2e/node/package-lock.json tests/e2e/node/node_modules/.installed
fi
[ -z "$missing$unpack" ] && exit 0

run=""
if [ "$(id -u)" != 0 ] && [ -n "$missing" ]; then
    if ! command -v sudo >/dev/null; then
        echo "the end-to-end tests need packages that are not installed. As root:" >&2
        echo "  apt-get update && apt-get install -y --no-install-recommends$missing" >&2
        exit 1
    fi
    run=sudo
fi
if [ -n "$missing" ]; then
    echo "installing:$missing"
    # The tests run instances of their own: no configuration of Postfix, and RUNLEVEL=1 keeps the packages' own services
    # from starting.
    $run env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 sh -c "apt-get update -qq
        echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
        apt-get install -y -qq --no-install-recommends $(echo $missing)" >/dev/null
fi
for server in $unpack; do
    case $server in exim) debs="exim4-daemon-light exim4-base" ;; *) debs=opensmtpd ;; esac
    work=$servers/.$server
    rm -rf "$work" && mkdir -p "$work"
    # As root apt warns that its own user cannot write here, and downloads all the same.
    (
        cd "$work"
        apt-get download -qq $debs || { $run apt-get update -qq && apt-get download -qq $debs; }
    ) 2>&1 | grep -v unsandboxed || true
    for deb in "$work"/*.deb; do
        dpkg -x "$deb" "$work/root"
    done
    rm -rf "${servers:?}/$server" && mv "$work/root" "$servers/$server" && rm -rf "$work"
done
for program in exim/usr/sbin/exim4 opensmtpd/usr/sbin/smtpd; do
    [ -x "$servers/$program" ] || { echo "cannot get $servers/$program" >&2; exit 1; }
done
