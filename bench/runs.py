"""Whole runs where a GPU can be had for half an hour, and a command may take ten minutes.

    python bench/runs.py pair --data_path data     # again and again until the exit status is 0
    python bench/runs.py nano --data_path data

`pair`: the paper's claim, like for like: `dems_tiny` and `vit_tiny` (patch 2, the same positions)
by the paper's recipe on CIFAR-10, compiled, seed 0. The first call measures an epoch of each and
chooses one number of epochs, so that both schedules end within `--minutes` together. `nano`: the
three small models at the paper's 800 epochs, seed by seed: `dems_nano`, `vit_nano`, and `vit_nano`
with the positions of the released baseline (fixed noise of standard deviation 0.02).

A call works until `--slice` minutes after it began, saves and ends with status 3: give the same
command again. 0: all runs are done. What is to come back lies in `OUT/back`: a row of the ledger,
the logs, the weights in half precision. Nothing that was done is done twice.
"""
import argparse, json, shutil, sys, time
from dataclasses import asdict
from pathlib import Path

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root))
import torch
from safetensors.torch import save_file
from fastai.callback.core import Callback
from dems_nb.data import dataset_checksum
from dems_nb.results import enter_run
from dems_nb.studies import time_training
from dems_nb.learner import Recipe, recipe_dls
from dems_nb.run import Interrupted, train
from dems_nb.weights import read_safetensors, write_atomic

class StopAfter(Callback):
    "At a moment, ask the run's checkpoint to save and to stop."
    order = 60                                  # before the checkpoint
    def __init__(self, end, clock): self.end, self.clock = end, clock
    def after_batch(self):
        if self.training and self.clock() >= self.end: self.learn.checkpoint.asked = 15

class ReleasedPositions(Callback):
    "Positions as the released plain ViT has them: fixed noise in the place of sines and cosines."
    order = 62                                  # after a checkpoint was read
    def before_fit(self):
        model = getattr(self.model, 'module', self.model)
        pos, draw = model.tokenizer.pos, torch.Generator().manual_seed(0)
        noise = torch.empty(pos.shape)
        torch.nn.init.trunc_normal_(noise, std=.02, generator=draw)
        pos.copy_(noise)

def plan_pair(file, minutes, spent, models, common, where):
    "Both recipes, of as many epochs as fit; decided once and kept in the file."
    if file.exists():
        return [Recipe(**r) for r in json.loads(file.read_text())['recipes']]
    recipes = [Recipe.pretrain(m, **common) for m in models]
    times = [time_training(r, **where) for r in recipes]
    room = 60*minutes - spent() - sum(t['start'] for t in times)
    epochs = int(.9*room/sum(t['epoch'] for t in times))
    if epochs < 1: raise SystemExit(f'not one epoch of both fits into {minutes} minutes: {times}')
    recipes = [Recipe.pretrain(m, **{**common, 'epochs': epochs}) for m in models]
    plan = dict(recipes=[asdict(r) for r in recipes], measured=times, minutes=minutes)
    write_atomic(file, json.dumps(plan, indent=1).encode())
    print(f'{epochs} epochs of each: {times}', flush=True)
    return recipes

def bring_back(run, out, stage, checksum):
    "Copy what is to come back: the row, the logs, the weights in half precision."
    enter_run(run, out/'ledger', 'gpu', stage, checksum)
    out = out/run.name
    out.mkdir(parents=True, exist_ok=True)
    for name in ('log.txt', 'history.csv', 'recipe.json', 'environment.json'):
        shutil.copy(run/name, out/name)
    tensors, notes = read_safetensors(run/'model.safetensors')
    half = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
    save_file(half, out/'model.half.safetensors', notes)

def work(runs, out, end, where, clock):
    "Go through runs (name, stage, recipe, callbacks) until the time is over: whether all are done."
    for name, stage, recipe, cbs in runs:
        run = out/name
        if (out/'back'/name/'model.half.safetensors').exists(): continue
        if clock() >= end: return False
        if not (run/'result.json').exists():
            try: train(recipe, run, resume=True, bar=False, **where,
                       cbs=[*cbs, StopAfter(end, clock)])
            except Interrupted as e:
                print(f'{name}: {e}', flush=True)
                return False
        data = recipe_dls(recipe, 'cpu', where['root'])
        bring_back(run, out/'back', stage, dataset_checksum(data))
        print(f'{name}: done', flush=True)
    return True

def main(argv=None, clock=time.monotonic):
    "The command: see the top of this file."
    began = clock()
    p = argparse.ArgumentParser(description='Whole runs in slices.')
    p.add_argument('what', choices=['pair', 'nano'])
    p.add_argument('--out', default='runs/gpu', help='(default: %(default)s)')
    p.add_argument('--data_path', help='folder to look for the data in first')
    p.add_argument('--device', default='cuda', help='(default: %(default)s)')
    p.add_argument('--minutes', type=float, default=20, help='of the pair (default: %(default)s)')
    p.add_argument('--slice', type=float, default=9, help='minutes (default: %(default)s)')
    p.add_argument('--seeds', type=int, nargs='+', help='(default: 0 for the pair, 0 1 2 for nano)')
    p.add_argument('--models', nargs=2, default=['dems_tiny', 'vit_tiny'], help='of the pair')
    p.add_argument('--epochs', type=int, default=800, help='of nano (default: %(default)s)')
    p.add_argument('--dataset', default='cifar10', help='(default: %(default)s)')
    p.add_argument('--n_train', type=int, help='use so many training images (default: all)')
    p.add_argument('--holdout', type=int, default=0,
                   help='keep so many of them back to score (default: score the test set)')
    p.add_argument('--batch_size', type=int, default=256, help='(default: %(default)s)')
    p.add_argument('--eager', action='store_true', help='compile nothing')
    a = p.parse_args(argv)
    out, end = Path(a.out), began + 60*a.slice
    out.mkdir(parents=True, exist_ok=True)
    where = dict(device=a.device, root=a.data_path)
    common = dict(dataset=a.dataset, n_train=a.n_train, holdout=a.holdout, bs=a.batch_size,
                  compile=not a.eager)
    runs = []
    for seed in a.seeds or ([0] if a.what == 'pair' else [0, 1, 2]):
        own = {**common, 'seed': seed}
        if a.what == 'pair':
            recipes = plan_pair(out/f'pair-{seed}.json', a.minutes, lambda: clock() - began,
                                a.models, own, where)
            runs += [(f'{r.model}-s{seed}', 'pair', r, []) for r in recipes]
            continue
        for model, stage, cbs in (('dems_nano', 'whole', []), ('vit_nano', 'whole', []),
                                  ('vit_nano', 'released-positions', [ReleasedPositions()])):
            recipe = Recipe.pretrain(model, epochs=a.epochs, **own)
            runs.append((f'{model}-{stage}-s{seed}', stage, recipe, cbs))
    return 0 if work(runs, out, end, where, clock) else 3

if __name__ == '__main__': raise SystemExit(main())
