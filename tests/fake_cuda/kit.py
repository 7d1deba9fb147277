"""What the scenes need: the package's names, wherever they live, and callbacks that look on.

With the stand-in every number is rubbish, so checks for sane numbers are kept out here.
"""
import importlib, io, torch
from contextlib import redirect_stdout
from fastai.callback.core import Callback
from watch import counts, since, waits

rooms = [importlib.import_module(f'dems_nb.{n}')
         for n in 'learner run data folders augment weights model results'.split()]

def named(name):
    "A name of the package, from the first room that has it."
    return next(getattr(r, name) for r in rooms if hasattr(r, name))

Recipe, train, evaluate, make_learner = map(named, 'Recipe train evaluate make_learner'.split())
Interrupted, recipe_dls = map(named, 'Interrupted recipe_dls'.split())
create_model, load_model = map(named, 'create_model load_model'.split())

# every number is finite, every target a class, and a mean on the card is 1
torch.Tensor.isfinite = lambda t: torch.tensor(True)
# to print a tensor PyTorch counts what is not zero in it, and takes the memory for as many
shown = torch.Tensor.__repr__
torch.Tensor.__repr__ = (lambda t, **kwargs: f'{t.dtype} {tuple(t.shape)} on {t.device}'
                         if t.is_cuda else shown(t, **kwargs))
mean, from_all = named('MeanLoss').value.fget, named('_from_all')
named('MeanLoss').value = property(lambda self: None if mean(self) is None else 1.)
def in_range(logits, targets):
    "The predictions and targets of all processes, the targets made classes."
    logits, targets = from_all(logits, targets)
    return logits, targets.nan_to_num().clamp(0, logits.shape[1] - 1)
rooms[0]._from_all = in_range
named('Evaluation').loss = property(lambda self: 1., lambda self, value: None)

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
    "From the second step of the second epoch on, a wait in training is an error, as on a card."
    order = 1000
    def set(self, mode): torch.cuda.set_sync_debug_mode(mode)
    def after_batch(self):
        if not self.training: return
        inside = self.epoch and self.iter < self.n_iter - 1
        self.set('error' if inside else 'default')
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
