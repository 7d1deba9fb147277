"""Whole runs where a GPU can be had for half an hour, and a command may take ten minutes.

    python bench/runs.py pair --data_path data     # again and again until the exit status is 0
    python bench/runs.py nano --data_path data

`pair`: what the paper's claim is about: `dems_tiny` and `vit_tiny` (patch 2, the same positions),
alike in everything else, by the paper's recipe on CIFAR-10, compiled, seed 0. The first call
measures an epoch of each and chooses one number of epochs, so that both schedules end within
`--minutes` together. `nano`: the three small models at the paper's 800 epochs, seed by seed:
`dems_nano`, `vit_nano`, and `vit_nano` with the positions of the released baseline (fixed noise of
standard deviation 0.02).

A call works until `--slice` minutes after it began, saves and ends with status 3: give the same
command again. In the last quarter of a slice no run is begun. 0: all runs are done. Nothing that
was done is done twice: the runs lie in `--runs`, which must stay between calls.

What is to come back is packed into `--out` at the end of each call, and may be taken away: a tar
for each run of the pair, or each seed of nano, with recipe, log, history, result and weights in
half precision, and `ledger.tar` with the rows and the plan. At most 8 files, of 15 MiB, 60 MiB
together; what does not fit is left out, and said. A run that is not done has its checkpoint in the
tar if that fits. `--given FOLDER` takes such tars up on a new machine: runs that are done count as
done, the plan stays, nano goes on from its checkpoints (4 MB), and of a pair the model that was
under way begins anew, since the checkpoint of a Ti has 64 MB.

Half an hour of a machine is enough for one of three things, its start and the bringing over of the
data counted in: the battery of both models (two commands of 5 to 9 minutes), one pair in 18 minutes
(three calls), or of nano as much as gets done. Without git there, `DEMS_COMMIT=$(git rev-parse
HEAD)`, asked where git is, tells the rows their commit.
"""
import argparse, io, json, math, sys, tarfile, time
from dataclasses import asdict
from pathlib import Path

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root))
import torch
from fastai.callback.core import Callback
from dems_nb.results import enter_run
from dems_nb.studies import time_training
from dems_nb.learner import Recipe
from dems_nb.run import Interrupted, train
from dems_nb.weights import bare_model, load_model, save_model, write_atomic

most_files, most_bytes, most_together = 8, 15*2**20, 60*2**20
half = 'model.half.safetensors'

class StopAfter(Callback):
    "At a moment, ask the run's checkpoint to save and to stop."
    order = 60                                  # before the checkpoint
    def __init__(self, end, clock): self.end, self.clock = end, clock
    def after_batch(self):
        if self.training and self.clock() >= self.end: self.learn.checkpoint.asked = 15

class ReleasedPositions(Callback):
    "Positions as the released plain ViT has them: fixed noise in the place of sines and cosines."
    order = 59                                  # before a checkpoint is read, which has them
    def __init__(self, seed=0): self.seed = seed
    def before_fit(self):
        model = bare_model(self.model)
        if model.config['positions'] == 'noise': return
        pos, draw = model.tokenizer.pos, torch.Generator().manual_seed(self.seed)
        noise = torch.nn.init.trunc_normal_(torch.empty(pos.shape), std=.02, generator=draw)
        del model.tokenizer.pos                 # which no file holds
        model.tokenizer.register_buffer('pos', noise.to(pos.device))
        model.config['positions'] = 'noise'

def plan_pair(file, minutes, calls, spent, models, common, where):
    "Both recipes, of as many epochs as fit; decided once and kept in the file."
    if file.exists():
        return [Recipe(**r) for r in json.loads(file.read_text())['recipes']]
    recipes = [Recipe.pretrain(m, **common) for m in models]
    times = [time_training(r, **where) for r in recipes]
    starts = [t['start'] for t in times]                    # each call but the first resumes one
    room = 60*minutes - spent() - sum(starts) - (calls - 1)*max(starts)
    epochs = int(.9*room/sum(t['epoch'] for t in times))
    if epochs < 1: raise SystemExit(f'not one epoch of both fits into {minutes} minutes: {times}')
    recipes = [Recipe.pretrain(m, **{**common, 'epochs': epochs}) for m in models]
    plan = dict(recipes=[asdict(r) for r in recipes], measured=times, minutes=minutes)
    write_atomic(file, json.dumps(plan, indent=1).encode())
    print(f'{epochs} epochs of each: {times}', flush=True)
    return recipes

def variant_of(cbs):
    "What a run's callbacks make of its model, by the name that the studies have for it."
    return 'pos_noise' if any(isinstance(c, ReleasedPositions) for c in cbs) else 'base'

def has_row(home, stage, r, variant):
    "Whether the ledger has a row of this recipe."
    what = r.model if variant == 'base' else f'{r.model}-{variant}'
    name = f'{stage}-{what}-{r.dataset}-n*-s{r.seed}-{r.hash}.json'
    return any((home/'ledger/gpu').glob(name))

def finish(run, home, stage, variant):
    "What is done after a run: the weights in half precision, and last of all the row."
    model = load_model(run)
    save_model(model, run/half, torch.float16, recipe=model.notes['recipe'])
    enter_run(run, home/'ledger', 'gpu', stage, variant=variant)

def files_of(run):
    "What of a run is to come back, the most important first; of one that is not done its state."
    texts = ['dems_run.json', 'recipe.json', 'environment.json', 'log.txt', 'history.csv']
    names = [*texts, 'result.json', half] if (run/half).exists() else [*texts,
                                                                       'checkpoint.safetensors']
    return [run/n for n in names if (run/n).exists()]

def write_tar(file, paths, home, room):
    "The files as a tar, by their names from `home` on; what is beyond `room` bytes is left out."
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode='w') as tar:
        for path in paths:
            if tar.offset + path.stat().st_size + 20_000 > room:
                print(f'{file.name} is left without {path.relative_to(home)}: '
                      f'{path.stat().st_size/2**20:.0f} MiB', flush=True)
            else: tar.add(path, path.relative_to(home).as_posix())
    data = data.getvalue()
    if not file.exists() or file.read_bytes() != data: write_atomic(file, data)
    return len(data)

def pack(packs, home, out):
    "Write what is to come back: rows and plans, and a tar for each of `packs`: name -> runs."
    kept = [*sorted(home.glob('ledger/gpu/*.json')), *sorted(home.glob('pair-*.json'))]
    room = most_together
    if kept: room -= write_tar(out/'ledger.tar', kept, home, most_bytes)
    for name, runs in packs.items():
        paths = [p for run in runs for p in files_of(home/run)]
        if paths: room -= write_tar(out/f'{name}.tar', paths, home, min(most_bytes, room))

def unpack(folder, home):
    "Take up what was brought back earlier; what is there already stays."
    for file in sorted(Path(folder).glob('*.tar')):
        there = {p.name for p in home.iterdir()} - {'ledger'}
        with tarfile.open(file) as tar:
            new = [m for m in tar if m.name.split('/')[0] not in there
                   and not (home/m.name).exists()]
            tar.extractall(home, new, filter='data')

def work(runs, home, last, end, where, clock, packed=lambda: None):
    """Go through runs (name, stage, recipe, callbacks) until `end`: whether all are done. After
    `last` none is begun; `packed` is called after each."""
    for name, stage, recipe, cbs in runs:
        run, variant = home/name, variant_of(cbs)
        if has_row(home, stage, recipe, variant): continue
        if clock() >= last: return False
        if not (run/'result.json').exists():
            try: train(recipe, run, resume=True, bar=False, **where,
                       cbs=[*cbs, StopAfter(end, clock)])
            except Interrupted as e:
                print(f'{name}: {e}', flush=True)
                return False
        finish(run, home, stage, variant)
        print(f'{name}: done', flush=True)
        packed()
    return True

def planned(a, home, common, where, spent):
    "What is to be run: (name, stage, recipe, callbacks), and the name of the tar for each."
    runs, packs = [], {}
    for seed in a.seeds:
        own = {**common, 'seed': seed}
        if a.what == 'pair':
            recipes = plan_pair(home/f'pair-{seed}.json', a.minutes,
                                max(1, math.ceil(a.minutes/a.slice)), spent, a.models, own, where)
            new = [(f'{r.model}-s{seed}', 'pair', r, []) for r in recipes]
            packs |= {name: [name] for name, *_ in new}
        else:
            new = [(f'{model}-{stage}-s{seed}', stage,
                    Recipe.pretrain(model, epochs=a.epochs, **own), cbs)
                   for model, stage, cbs in (
                       ('dems_nano', 'whole', []), ('vit_nano', 'whole', []),
                       ('vit_nano', 'released-positions', [ReleasedPositions(seed)]))]
            packs[f'nano-s{seed}'] = [name for name, *_ in new]
        runs += new
    return runs, packs

def main(argv=None, clock=time.monotonic):
    "The command: see the top of this file."
    began = clock()
    p = argparse.ArgumentParser(description='Whole runs in slices.')
    p.add_argument('what', choices=['pair', 'nano'])
    p.add_argument('--runs', default='runs/gpu', help='the runs, kept between calls '
                                                      '(default: %(default)s)')
    p.add_argument('--out', default='runs/gpu/back', help='what is to come back '
                                                          '(default: %(default)s)')
    p.add_argument('--given', help='folder of what came back from another machine')
    p.add_argument('--data_path', help='folder to look for the data in first')
    p.add_argument('--device', default='cuda', help='(default: %(default)s)')
    p.add_argument('--minutes', type=float, default=18, help='of the pair (default: %(default)s)')
    p.add_argument('--slice', type=float, default=8, help='minutes (default: %(default)s)')
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
    a.seeds = a.seeds or ([0] if a.what == 'pair' else [0, 1, 2])
    most = (most_files - 1)//(2 if a.what == 'pair' else 1)
    if len(a.seeds) > most: p.error(f'{len(a.seeds)} seeds: give {most} at most')
    home, seconds = Path(a.runs), 60*a.slice
    home.mkdir(parents=True, exist_ok=True)
    if a.given: unpack(a.given, home)
    where = dict(device=a.device, root=a.data_path)
    common = dict(dataset=a.dataset, n_train=a.n_train, holdout=a.holdout, bs=a.batch_size,
                  compile=not a.eager)
    runs, packs = planned(a, home, common, where, lambda: clock() - began)
    bring = lambda: pack(packs, home, Path(a.out))
    try: done = work(runs, home, began + .75*seconds, began + seconds, where, clock, bring)
    finally: bring()
    return 0 if done else 3

if __name__ == '__main__': raise SystemExit(main())
