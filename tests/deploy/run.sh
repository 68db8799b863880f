#!/bin/sh
# What is shipped beside the program: manual, completions, units, manifests, package.
#   run.sh BINARY [arguments of run.py]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
binary=$1
shift
sh "$here/install.sh"
exec "${PYTHON:-/usr/bin/python3}" "$here/run.py" --bin "$binary" "$@"
