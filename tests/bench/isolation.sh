#!/bin/bash
# isolation.sh [options] [STAGE...]    e.g.  isolation.sh --rounds 5 AUTH    (see README.md; --help lists the options)
here=$(dirname "$(readlink -f "$0")")
export OURS_BIN=${OURS_BIN:-$here/../../build/mailhatch}
exec /usr/bin/python3 "$here/isolation.py" "$@"
