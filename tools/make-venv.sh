#!/bin/sh
# Creates the virtual environment $1 with $PYTHON, fetching Debian's venv package where it is missing.
set -eu

venv=$1
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "Python 3.11 or newer is needed, and '$python' is not it: set PYTHON=/path/to/python3.11." >&2
    exit 1
fi

# Debian ships the venv module without ensurepip; only the latter says whether an environment can be made.
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
    else
        echo "Python's venv module is missing: install the package python3-venv (apt-get install python3-venv), then run make again." >&2
        exit 1
    fi
fi

# Without --clear: an environment somebody already works in keeps what it has.
"$python" -m venv "$venv"
