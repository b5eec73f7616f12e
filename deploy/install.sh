#!/bin/sh
# Sets up .venv: `make install` calls it. Everything in one command, as installing timm alone would
# pull another torch; with uv where it is installed, otherwise with pip.
#
#   deploy/install.sh PYTHON [CONSTRAINTS]
#
# TORCH_INDEX names the index that torch is looked for in besides; empty: none. Unset, torch's CPU
# build is taken on a Linux without an NVIDIA driver, unless pip was told where packages come from.
set -eu
python=$1
constraints=${2:-}
cpu_builds=https://download.pytorch.org/whl/cpu
driver=${NVIDIA_DRIVER:-/proc/driver/nvidia/version}
told="${PIP_INDEX_URL-}${PIP_EXTRA_INDEX_URL-}${PIP_FIND_LINKS-}${PIP_NO_INDEX-}" # uv does not read it

has_driver() { # under WSL 2 the program alone tells
    [ -e "$driver" ] || command -v nvidia-smi >/dev/null
}

answers() { # within seconds: pip would ask a host that is not there again and again
    "$python" -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=10)' "$1/torch/" 2>/dev/null
}

if [ "${TORCH_INDEX+set}" = set ]; then
    index=$TORCH_INDEX
elif [ "$(uname -s)" = Linux ] && ! has_driver && [ -z "$told" ] && answers "$cpu_builds"; then
    index=$cpu_builds
else
    index=
fi

# As `python -m benchmarks.download_size` counts it, with and without --cuda.
echo "installing into .venv: downloads 0.65 GB (2.3 GB on disk), 3.2 GB (5.7 GB) where torch comes with CUDA${index:+; torch from $index}"
"$python" -m venv .venv
if [ -z "$told" ] && command -v uv >/dev/null; then
    # As pip does it: other packages that torch's index has in old versions come from PyPI.
    set -- uv pip install --quiet --python .venv/bin/python --index-strategy unsafe-best-match
else
    # What is not imported need not be compiled: a minute on two cores, of which the first run pays little.
    set -- .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile
fi
exec "$@" ${index:+--extra-index-url "$index"} ${constraints:+-c "$constraints"} -e ./clients/python -e ".[dev]"
