#!/usr/bin/env bash
# What a machine without a network lacks: the wheels, and the data, in folders to carry there.
# It has x86-64 Linux, Python 3.12, torch, torchvision and the usual scientific packages.
# On this machine:   bash bench/wheels.sh carry [FOLDER OF cifar10.tar.xz.*]
# On that one:       bash bench/setup.sh carry/1 store data, and so on for carry/2, carry/3
# A folder a call: with the checkout, which travels too, each is under 64 MiB. The data of CIFAR-10
# have 133 MiB and make three. What the last brings is joined there to what came before.
set -euo pipefail
out=${1:?folder}; parts=${2:-}
limit=${LIMIT_MIB:-64}; piece=${PIECE:-46M}
root=$(cd "$(dirname "$0")/.." && pwd)
rm -rf "$out"/[1-9]*
mkdir -p "$out/1"
if [ -n "$parts" ]; then
  cat "$parts"/cifar10.tar.xz.* | split -b "$piece" -d - "$out/piece."
  trip=0
  for p in "$out"/piece.*; do trip=$((trip + 1)); mkdir -p "$out/$trip"; mv "$p" "$out/$trip"; done
fi
last=$out/${trip:-1}
# fastai, in versions that fit one another, since pip is not asked (2.8.12 wants fastcore 2, say),
# without what it needs for text and the notebook; pytest's plugins for the tests marked cuda
packages='fastai==2.8.7 fastcore==1.14.5 fasttransform==0.0.2 plum-dispatch==2.10.1
  fastdownload==0.0.8 fastprogress==1.0.5 beartype safetensors hypothesis sortedcontainers attrs
  PyYAML pytest pluggy iniconfig'
for p in $packages; do
  python3 -m pip download --quiet --disable-pip-version-check --dest "$last" --no-deps \
    --only-binary=:all: --python-version 3.12 --implementation cp \
    --abi cp312 --abi abi3 --abi none --platform manylinux2014_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux_2_28_x86_64 "$p"
done
sums=$(cd "$out" && sha256sum [1-9]*/* | sed 's#  .*/#  #')
for trip in "$out"/[1-9]*; do echo "$sums" > "$trip/sums"; done
travels() { git -C "$root" ls-files -coz --exclude-standard; }
tree=$(cd "$root" && { travels | xargs -0 cat 2> /dev/null || true; } | wc -c)
for trip in "$out"/[1-9]*; do
  bytes=$(cat "$trip"/* | wc -c)
  echo "$trip: $((bytes >> 20)) MiB, with the checkout's $((tree >> 20)) MiB"
  if [ $((bytes + tree)) -gt $((limit << 20)) ]; then echo "over $limit MiB: give PIECE"; exit 1; fi
done
