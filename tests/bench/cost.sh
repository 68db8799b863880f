#!/bin/bash
# cost.sh [options]      e.g.  cost.sh --conns 16 --payload 1k        (see README.md; --help lists the options)
here=$(dirname "$(readlink -f "$0")")
export OURS_BIN=${OURS_BIN:-$here/../../build/mailhatch}
exec /usr/bin/python3 "$here/cost.py" "$@"
