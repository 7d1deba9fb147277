"Chapter 09: what a resume needs, and an average of the weights that survives one."
import torch
from safetensors.torch import load, save
from torch import nn

from .core import Slips, Wrong, ask, compare, exercise, kind_of

# 09.1: what was measured when one part of a checkpoint at a time was left out

EFFECTS = ('the weights', 'the history alone', 'nothing')
REASONS = {
    'averages': "AdamW's steps are along its averages, and those begin at 0 again",
    'step counts': 'AdamW divides its averages by a correction that depends on the count',
    'step': 'the first batches of the epoch are trained on twice',
    'pct_train': 'one-cycle sets rate and momentum of a step by it, and it begins at 0 again',
    'smoothed loss': 'history.csv has it, and nothing is trained by it',
    'rows': 'they are the history up to the stop, and nothing is trained by them',
    'losses': 'fastai draws them; neither the weights nor history.csv ask for them',
    'scaler': 'it scales the losses of float16, and this run has none'}
EFFECT_OF = {'averages': 0, 'step counts': 0, 'step': 0, 'pct_train': 0, 'smoothed loss': 1,
             'rows': 1, 'losses': 2, 'scaler': 2}


@exercise('09.1', 'break a resume')
def check_forgetting(effects):
    "Three sets of names."
    sets = ask(effects, case='effects()')
    if not isinstance(sets, (tuple, list)) or len(sets) != 3:
        raise Wrong(f'give three sets of names, not {kind_of(sets)}')
    for names in sets:
        if isinstance(names, str) or not hasattr(names, '__iter__'):
            raise Wrong(f'give three sets of names; one of yours is {names!r}')
    places = [(name, place) for place, names in enumerate(sets) for name in names]
    for name, place in places:
        if not isinstance(name, str) or name not in EFFECT_OF:
            raise Wrong(f'{name!r} is no part of `parts`')
        if [other for other, _ in places].count(name) > 1: raise Wrong(f'{name!r} is there twice')
    for name, place in places:
        if place == EFFECT_OF[name]: continue
        raise Wrong(f'{name!r} changes {EFFECTS[EFFECT_OF[name]]}, not {EFFECTS[place]}: '
                    f'{REASONS[name]}')
    missing = sorted(EFFECT_OF.keys() - {name for name, _ in places})
    if missing: raise Wrong(f'{missing[0]!r} is in none of the sets')
    return ('four parts decide the weights, two the history alone, two nothing in this run; '
            'chance is not among them')


# 09.2: eight updates in one go, and eight with a checkpoint after the fourth; the saved state goes
# through safetensors, as a checkpoint does

average_slips = Slips()


class Small(nn.Module):
    "A model with a weight, a bias and a buffer, in which an average can leave something out."
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 3))
        self.bias = nn.Parameter(torch.randn(2))
        self.register_buffer('grid', torch.randn(4))

    def set_weights(self, weights):
        "Give it the next weights, as an optimizer would: in place."
        with torch.no_grad():
            for parameter, value in zip(self.parameters(), weights): parameter.copy_(value)

    def plain(self):
        "Copies of all its tensors by name."
        return {name: value.detach().clone() for name, value in self.state_dict().items()}


def decay_of(n, decay):
    "How much of the average stays in update n."
    return min(decay, (1 + n)/(10 + n))


def average(trail, decay, decay_of=decay_of, start=None, first=0):
    "The average after the last of some weights; it begins as `start`, or as the first of them."
    mean = trail[0] if start is None else start
    for n, weights in enumerate(trail[1:], first):
        d = decay_of(n, decay)
        mean = d*mean + (1 - d)*weights
    return mean


@average_slips
def weights_of_now(trail, decay):
    "these are the weights of now, not an average: keep copies, clone()"
    return trail[-1]


@average_slips
def first_weights(trail, decay):
    "nothing was averaged: these are the first weights"
    return trail[0]


@average_slips
def decay_swapped(trail, decay):
    "d is swapped: the average keeps d of itself"
    return average(trail, decay, lambda n, decay: 1 - decay_of(n, decay))


@average_slips
def decay_from_start(trail, decay):
    "d is decay from the start: it is min(decay, (1 + n)/(10 + n)), and small at first"
    return average(trail, decay, lambda n, decay: decay)


@average_slips
def updates_from_one(trail, decay):
    "off by one: the first update has n = 0"
    return average(trail, decay, first=1)


@average_slips
def begun_at_zero(trail, decay):
    "it began at zero: begin with a copy of the weights"
    return average(trail, decay, start=torch.zeros_like(trail[0]))


@average_slips
def plain_mean(trail, decay):
    "this is the plain mean of all weights"
    return torch.stack(trail).mean(0)


resume_slips = Slips()


@resume_slips
def updates_forgotten(trail, decay, done):
    "the number of updates was forgotten: n begins at 0 again; it belongs to the state"
    return average(trail[done:], decay, start=average(trail[:done + 1], decay))


@resume_slips
def average_forgotten(trail, decay, done):
    "the average was forgotten: it began anew from the weights of now"
    return average(trail[done:], decay)


@resume_slips
def average_alone_forgotten(trail, decay, done):
    "the average was forgotten, the number of updates was not"
    return average(trail[done:], decay, first=done)


def update(answer, model, weights, case):
    "Give the model its next weights and update the average; say what went wrong."
    model.set_weights(weights)
    before = model.plain()
    ask(lambda: (answer.update(model), True), case=f'{case}: update')
    if all(torch.equal(value, before[name]) for name, value in model.state_dict().items()): return
    raise Wrong(f'{case}: update changed the model: only the average may change')


def check_average(answer, model, trails, decay, case, done=0):
    "Compare `weights()` with what it should be, name by name."
    averages = ask(lambda: answer.weights(), case=f'{case}: weights')
    names = model.state_dict().keys()
    if not isinstance(averages, dict) or not set(averages) <= set(names):
        raise Wrong(f'{case}: weights() gives tensors by the names of the model, '
                    'as state_dict does')
    if missing := sorted(names - averages.keys()):
        raise Wrong(f'{case}: weights() lacks {", ".join(missing)}: '
                    'weights, biases and buffers, as state_dict has them')
    for name, trail in trails.items():
        if getattr(averages[name], 'requires_grad', False):
            raise Wrong(f'{case}: the average is part of the graph: detach it')
        slips = resume_slips.of(trail, decay, done) if done else average_slips.of(trail, decay)
        axes = ' '.join(f'axis{i}' for i in range(trail[0].ndim))
        compare(averages[name], average(trail, decay), axes, f'{case}, {name}', slips)
    if not torch.allclose(averages['grid'], model.grid):
        raise Wrong(f'{case}: the buffer grid never changed, and its average did')


def state_of(answer):
    "The state as it comes back from a checkpoint, and the tensors that were given."
    state = ask(lambda: answer.state(), case='state')
    strangers = [state] if not isinstance(state, dict) else [
        value for value in state.values() if not isinstance(value, torch.Tensor)]
    if strangers:
        nested = isinstance(strangers[0], (dict, list, tuple))
        remedy = ('put its tensors into the state itself' if nested
                  else 'wrap a number in torch.tensor')
        raise Wrong(f'state() is a dict of tensors, and here is {kind_of(strangers[0])}: {remedy}')
    copies = {name: value.detach().clone().contiguous() for name, value in state.items()}
    return load(save(copies)), state


def trails_of(steps):
    "The weights by name after each of some steps: lists of tensors."
    return {name: [values[name] for values in steps] for name in ('weight', 'bias')}


@exercise('09.2', 'an average of the weights that survives a resume')
def check_resumed_average(Average):
    "Eight updates of a model with a weight, a bias and a buffer."
    decay = .25
    model = Small()
    steps = [model.plain()]
    steps += [dict(weight=torch.randn(2, 3), bias=torch.randn(2)) for _ in range(8)]
    answer = ask(Average, model, decay, case='WeightAverage(model, decay)')
    for name in ('update', 'weights', 'state', 'load'):
        if hasattr(answer, name): continue
        raise Wrong(f'the class has no method {name}: give it update, weights, state and load')
    for n in range(1, 9):
        case = f'{n} update{"s"*(n > 1)}'
        update(answer, model, (steps[n]['weight'], steps[n]['bias']), case)
        check_average(answer, model, trails_of(steps[:n + 1]), decay, case)
        if n == 4: state, live = state_of(answer)
        if n == 5 and any(not torch.equal(live[name], state[name]) for name in state):
            raise Wrong('state() gives the live tensors: the next update changes '
                        'what is to be saved; clone() them')
    other = Small()                                                 # that of a new process
    other.load_state_dict(model.state_dict())
    other.set_weights((steps[4]['weight'], steps[4]['bias']))
    again = ask(Average, other, decay, case='WeightAverage(model, decay)')
    ask(lambda: (again.load(state), True), case='load')
    for n in range(5, 9):
        case = f'resumed after 4 updates, {n} updates'
        update(again, other, (steps[n]['weight'], steps[n]['bias']), case)
        check_average(again, other, trails_of(steps[:n + 1]), decay, case, done=4)
    return 'eight updates in one go, and the same eight with a checkpoint in the middle'
