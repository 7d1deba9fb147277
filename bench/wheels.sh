#!/usr/bin/env bash
# What a machine without a network lacks: the wheels, and the data, in a folder to carry there.
# It has x86-64 Linux, Python 3.12, torch, torchvision and the usual scientific packages.
# On this machine:   bash bench/wheels.sh carry [FOLDER OF cifar10.tar.xz.*]
# On that one:       bash carry/setup.sh carry data
set -euo pipefail
out=${1:?folder}; parts=${2:-}
mkdir -p "$out"
# fastai without what it needs for text and the notebook; pytest's plugins for the tests marked cuda
packages='fastai>=2.8,<3 fastcore<2 fastdownload fasttransform plum-dispatch beartype
  fastprogress>=1.0,<1.1 safetensors hypothesis sortedcontainers attrs PyYAML pytest pluggy
  iniconfig'
for p in $packages; do
  python -m pip download --quiet --disable-pip-version-check --dest "$out" --no-deps \
    --only-binary=:all: --python-version 3.12 --implementation cp \
    --abi cp312 --abi abi3 --abi none --platform manylinux2014_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux_2_28_x86_64 "$p"
done
if [ -n "$parts" ]; then cp "$parts"/cifar10.tar.xz.* "$out"; fi
cat > "$out/setup.sh" <<'SETUP'
#!/usr/bin/env bash
# Install the wheels, join the data, check both. Usage: bash carry/setup.sh CARRY DATA
set -euo pipefail
carry=$1; data=$2
python -m pip install --quiet --no-index --no-deps "$carry"/*.whl
mkdir -p "$data"
if ls "$carry"/cifar10.tar.xz.* > /dev/null 2>&1; then
  cat "$carry"/cifar10.tar.xz.* | tar xJ -C "$data"
fi
python -W ignore - "$data" <<'PY'
import sys, torch, fastai, dems_nb.training
from dems_nb.data import get_dls
dls = get_dls('cifar10', sys.argv[1], device='cpu', download=False)   # checks each file's md5
print('ready:', torch.__version__, fastai.__version__, len(dls.train.dataset.y), 'training images')
PY
SETUP
du -sh "$out"; ls "$out"
large=$(find "$out" -size +50M)
if [ -n "$large" ]; then echo "over 50 MB, cut it: $large"; exit 1; fi
