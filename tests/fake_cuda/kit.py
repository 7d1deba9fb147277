"""What the scenes need: the package's names, wherever they live, and callbacks that look on.

With the stand-in every number is rubbish, so two checks for sane numbers are kept out here.
"""
import importlib, io, sys, types
from contextlib import redirect_stdout
from pathlib import Path
import dems_nb, torch
from torch.nn import functional as F
from fastai.callback.core import Callback
from watch import counts, since, waits

names = 'training learner run data folders augment weights model'.split()
rooms = [importlib.import_module(f'dems_nb.{n}') for n in names
         if (Path(dems_nb.__file__).parent/f'{n}.py').exists()]

def named(name):
    "A name of the package, from the first room that has it."
    return next(getattr(r, name) for r in rooms if hasattr(r, name))

Recipe, train, evaluate, make_learner = map(named, 'Recipe train evaluate make_learner'.split())
EpochLog, Interrupted, recipe_dls = map(named, 'EpochLog Interrupted recipe_dls'.split())
create_model, load_model = map(named, 'create_model load_model'.split())

class AnyLoss(types.ModuleType):
    "The module `math` to which every number is finite."
    def __getattr__(self, name): return getattr(importlib.import_module('math'), name)
    def isfinite(self, x): return True

sys.modules[EpochLog.__module__].math = AnyLoss('math')
cross_entropy = F.cross_entropy
def any_class(x, y, *args, **kwargs):
    "Cross-entropy on the host to which every number is a class."
    if y.device.type == 'cpu' and not y.is_floating_point(): y = y.clamp(0, x.shape[1] - 1)
    return cross_entropy(x, y, *args, **kwargs)
F.cross_entropy = any_class

def only(seen): return {k: n for k, n in seen.items() if k in waits}

class Steps(Callback):
    "What happens from the end of a training step to the end of the next, and in each epoch."
    order = 1000                                # after everything else
    def before_fit(self): self.steps, self.epochs = [], []
    def before_epoch(self): self.epoch_began = counts()
    def before_train(self): self.began = None
    def after_batch(self):
        if not self.training: return
        if self.began and self.iter > 1: self.steps.append(only(since(self.began)))
        self.began = counts()
    def after_epoch(self): self.epochs.append(only(since(self.epoch_began)))

class NoWaits(Callback):
    "From the second step of an epoch on, a wait in training is an error, as on a real card."
    order = 1000
    def set(self, mode): torch.cuda.set_sync_debug_mode(mode)
    def after_batch(self):
        if self.training: self.set('error' if 0 < self.iter < self.n_iter - 1 else 'default')
    def after_train(self): self.set('default')
    def after_fit(self): self.set('default')
    close = after_fit                           # when an exception passes

class StopAt(Callback):
    "Ask the checkpoint to save and stop after a step, or in scoring."
    order = 60                                  # before the checkpoint
    def __init__(self, epoch, step, training=True): self.at = epoch, step, training
    def after_batch(self):
        if (self.epoch, self.iter, self.training) == self.at: self.learn.checkpoint.asked = 15

def quiet(f, *args, **kwargs):
    "Call it, and print nothing."
    with redirect_stdout(io.StringIO()): return f(*args, **kwargs)
