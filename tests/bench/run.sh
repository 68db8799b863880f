#!/bin/bash
# run.sh [options] PEER...      e.g.  run.sh node go ours        (see README.md; --help lists the options)
here=$(dirname "$(readlink -f "$0")")
export OURS_BIN=${OURS_BIN:-$here/../../build/mailhatch}
exec /usr/bin/python3 "$here/run.py" "$@"
