#!/bin/sh
# What the composer writes, read back by Python's email, mailparser and postal-mime.  run.sh COMPOSE [ARGUMENTS]
set -eu
here=$(cd "$(dirname "$0")" && pwd)

# npm ci only when the lock changed: its copy inside node_modules says what is installed.
if ! cmp -s "$here/package-lock.json" "$here/node_modules/.installed"; then
    (cd "$here" && npm ci --loglevel=error --no-progress --no-audit --no-fund --ignore-scripts)
    cp "$here/package-lock.json" "$here/node_modules/.installed"
fi
exec "${PYTHON:-/usr/bin/python3}" "$here/judge.py" "$@"
