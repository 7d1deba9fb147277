#!/usr/bin/env bash
# On the machine without a network, once for each folder that bench/wheels.sh made, in any order:
#   bash bench/setup.sh carry/1 store data
# Keeps what it brought in the folder `store`. Exit status 3 says what is still to come; with the
# last one the wheels are installed, those that are not there, the data joined, and both checked.
set -euo pipefail
from=$1; store=$2; data=$3
mkdir -p "$store" "$data"
cp "$from"/* "$store"
if ! lacks=$(cd "$store" && sha256sum --check --quiet sums 2> /dev/null); then
  echo still to come: ${lacks//: FAILED open or read/}
  exit 3
fi
missing=$(python3 - "$store"/*.whl <<'PY'
import importlib.metadata as m, pathlib, sys
for wheel in sys.argv[1:]:
    try: m.version(pathlib.Path(wheel).name.split('-')[0])
    except m.PackageNotFoundError: print(wheel)
PY
)
if [ -n "$missing" ]; then
  echo "$missing" | xargs python3 -m pip install --quiet --no-index --no-deps
fi
if ls "$store"/piece.* > /dev/null 2>&1; then
  cat "$store"/piece.* | python3 -c "import sys, tarfile
tarfile.open(fileobj=sys.stdin.buffer, mode='r|xz').extractall(sys.argv[1], filter='data')" "$data"
fi
PYTHONPATH=$(dirname "$0")/.. python3 -W ignore - "$data" <<'PY'
import sys, torch, fastai
import dems_nb.benchmark, dems_nb.run, dems_nb.studies
from dems_nb.data import get_dls
dls = get_dls('cifar10', sys.argv[1], device='cpu', download=False)   # checks each file's md5
print('ready:', torch.__version__, fastai.__version__, len(dls.train.dataset.y), 'training images')
PY
