#!/bin/sh
# openapi.yaml: lints it, then compares traffic of the running service with it.  run.sh [BINARY]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
binary=${1:-$here/../../build/mailhatch}
export REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true

# npm ci only when the lock changed: its copy inside node_modules says what is installed.
if ! cmp -s "$here/package-lock.json" "$here/node_modules/.installed"; then
    (cd "$here" && npm ci --loglevel=error --no-progress --ignore-scripts)
    cp "$here/package-lock.json" "$here/node_modules/.installed"
fi
exec "${PYTHON:-/usr/bin/python3}" "$here/traffic.py" "$binary"
