"Chapter 04: what does not fit, what half precision changes, a grey model for colour pictures."
import copy

import torch
from torch import nn

from ..model import build_model, create_model
from .core import Slips, Wrong, ask, compare, compare_choice, compare_number, exercise, kind_of

# 04.1: dictionaries of tensors, the smallest with one name of each kind

LISTS = ('missing', 'unknown', 'shape')
SHAPE_REASONS = {
    'one of each kind': ': (2, 3) and (3, 2) hold as many numbers and are two shapes',
    'a broadcastable shape': ': (1, 3) would broadcast to (4, 3) and is not the same shape'}


def fitting_cases():
    "Pairs (of the model, of the file) of dictionaries by name."
    zeros = torch.zeros
    return {'one of each kind': (dict(a=zeros(2, 3), b=zeros(4)), dict(a=zeros(3, 2), c=zeros(4))),
            'all fits': (dict(a=zeros(2)), dict(a=torch.ones(2))),
            'a broadcastable shape': (dict(a=zeros(4, 3), b=zeros(3)),
                                      dict(a=zeros(1, 3), b=zeros(3))),
            'several, in no order': ({k: zeros(2) for k in 'dbca'}, {k: zeros(2) for k in 'dfe'})}


def misfits(model, file):
    "The names that are missing, unknown, of another shape."
    both = model.keys() & file.keys()
    return (sorted(model.keys() - file.keys()), sorted(file.keys() - model.keys()),
            sorted(name for name in both if model[name].shape != file[name].shape))


def ask_unfit(unfit, model, file, case):
    "Call the answer; a KeyError is told what it comes from."
    try: return ask(unfit, dict(model), dict(file), case=case)
    except Wrong as problem:
        if not isinstance(problem.__cause__, KeyError): raise
        raise Wrong(f'{problem}: look only at names that both have') from None


def check_list(case, name, answer, truths):
    "Compare one of the three lists with what it should be."
    truth = truths[name]
    if isinstance(answer, str) or not hasattr(answer, '__iter__'):
        raise Wrong(f'{case}: {name} is {answer!r}: give a list of names')
    answer = list(answer)
    for stranger in answer:
        if isinstance(stranger, str): continue
        raise Wrong(f'{case}: {name} holds {kind_of(stranger)}: give a list of names')
    if answer == truth: return
    if sorted(answer) == truth:
        raise Wrong(f'{case}: {name} is {answer}: the names are right, sort them')
    other = {'missing': 'unknown', 'unknown': 'missing'}.get(name)
    if other and sorted(answer) == truths[other]:
        raise Wrong(f'{case}: missing and unknown are swapped: '
                    'missing is what the model has and the file has not')
    alone = {*truths['missing'], *truths['unknown']}
    if name == 'shape' and set(answer) > set(truth) and set(answer) <= alone | set(truth):
        extra = min(set(answer) - set(truth))
        raise Wrong(f'{case}: {extra} is not in both: it has no two shapes, '
                    'it is missing or unknown')
    reason = SHAPE_REASONS.get(case, '') if name == 'shape' else ''
    raise Wrong(f'{case}: {name} is {answer}, expected {truth}{reason}')


@exercise('04.1', 'what does not fit')
def check_unfit(unfit):
    "Three sorted lists of names for four pairs of dictionaries."
    for case, (model, file) in fitting_cases().items():
        answer = ask_unfit(unfit, model, file, case)
        if not isinstance(answer, (tuple, list)) or len(answer) != 3:
            raise Wrong(f'{case}: give three lists, not {kind_of(answer)}')
        truths = dict(zip(LISTS, misfits(model, file)))
        for name, names in zip(LISTS, answer): check_list(case, name, names, truths)
    return 'missing, unknown, wrong shape, in order, over four pairs'


# 04.2

half_slips = Slips()


def rounded(model):
    "A copy of the model whose stored weights went through float16."
    half = build_model(model.config).eval()
    half.load_state_dict({name: w.half().float() for name, w in model.state_dict().items()})
    return half


def change(model, other, x):
    "The largest change of a logit, as a share of the largest logit."
    logits = model(x)
    return ((other(x) - logits).abs().max()/logits.abs().max()).item()


@half_slips
def not_divided(model, x):
    "this is the difference itself: divide by the largest magnitude of the logits"
    return (rounded(model)(x) - model(x)).abs().max().item()


@half_slips
def mean_change(model, x):
    "the mean was taken, not the largest"
    logits = model(x)
    return ((rounded(model)(x) - logits).abs().mean()/logits.abs().max()).item()


@half_slips
def over_mean_magnitude(model, x):
    "divided by the mean magnitude, not the largest"
    logits = model(x)
    return ((rounded(model)(x) - logits).abs().max()/logits.abs().mean()).item()


@half_slips
def over_itself(model, x):
    "each logit was divided by itself: divide by the largest magnitude of all"
    logits = model(x)
    return ((rounded(model)(x) - logits).abs()/logits.abs()).max().item()


@half_slips
def picture_by_picture(model, x):
    "each picture was divided by its own largest magnitude: divide by the largest of all"
    logits = model(x)
    shares = (rounded(model)(x) - logits).abs().amax(1)/logits.abs().amax(1)
    return shares.max().item()


@half_slips
def largest_logits(model, x):
    "the largest logits were compared: take after − before first, then the largest magnitude"
    largest = model(x).max()
    return ((rounded(model)(x).max() - largest).abs()/largest).item()


@half_slips
def positions_rounded(model, x):
    "the position embeddings were rounded too; they are not stored"
    return change(model, copy.deepcopy(model).half().float(), x)


@half_slips
def not_rounded(model, x):
    "nothing changed: was the copy really rounded?"
    return 0.


def grey_model():
    "A fresh model whose logits have some size."
    model = create_model('dems_nano', in_chans=1).eval()
    model.head.weight.mul_(20)
    return model


def strong_and_faint():
    "A model and two pictures for which every mistake gives a number of its own."
    while True:
        model = grey_model()
        x = torch.randn(2, 1, 32, 32)*torch.tensor([3., .1]).view(2, 1, 1, 1)
        truth = change(model, rounded(model), x)
        values = sorted([truth, *(value for message, value in half_slips.of(model, x))])
        if min(b - a for a, b in zip(values, values[1:])) > .03*truth: return model, x


@exercise('04.2', 'what half precision changes')
@torch.no_grad()
def check_half(half_change, why):
    "The change of the logits for two batches, and why it is so small."
    for case, (model, x) in [('a strong picture and a faint one', strong_and_faint()),
                             ('a dark picture', (grey_model(), torch.full((1, 1, 32, 32), -1.)))]:
        before = {name: w.clone() for name, w in model.state_dict().items()}
        truth = change(model, rounded(model), x)
        answer = ask(half_change, model, x, case=case)
        after = model.state_dict()
        if any(after[name].dtype != w.dtype or not torch.equal(after[name], w)
               for name, w in before.items()):
            raise Wrong(f'{case}: the model that was given has changed; save it and load a copy')
        compare_number(answer, truth, 'the change', case, half_slips.of(model, x), eps=1e-2)
    compare_choice(why, 'a', {
        'b': 'most numbers between -1 and 1 have no exact float16; 0.1 is one of them',
        'c': 'load_model turns the weights into float32, and computes in that'})
    return (f'the logits move by {truth:.0e} of the largest: '
            '11 bits a weight, and errors of both signs')


# 04.3: no finished model to compare with; the tokens of a grey picture tell, scale by scale

def check_unchanged(case, model, before):
    "Raise `Wrong` if a model is not what it was: weights, configuration, channels."
    now = model.state_dict()
    then = before.state_dict()
    changes = [name for name in now.keys() | then.keys()
               if name not in now or name not in then or not torch.equal(now[name], then[name])]
    changes += [f'config[{key!r}]' for key, value in before.config.items()
                if model.config.get(key) != value]
    if model.tokenizer.in_chans != before.tokenizer.in_chans: changes.append('tokenizer.in_chans')
    if changes: raise Wrong(f'{case}: the grey model has changed: {min(changes)}')


def bias_of(embed):
    "The bias of a patch embedding, of its last convolution."
    return [weights for name, weights in embed.state_dict().items() if name.endswith('bias')][-1]


def check_tokens(case, grey, colour, x):
    "Raise `Wrong` unless both tokenizers make the same tokens of a grey picture."
    reasons = {3: 'three equal channels add up: divide the weights by 3',
               1/3: 'divided by 3 once too often: divide in one convolution only',
               1/9: 'a depthwise kernel sees one channel, nothing adds up there: '
                    'divide in the 1×1 convolution only'}
    for scale, (old, new) in enumerate(zip(grey.embeds, colour.embeds)):
        if not torch.equal(bias_of(old), bias_of(new)):
            raise Wrong(f'{case}, scale {scale}: the bias is not the grey one; it is added once')
        bias = bias_of(old)[:, None, None]
        truth = old(x) - bias
        way = f'{case}, scale {scale}: change the weights, not the way: three channels'
        tokens = ask(new, x.repeat(1, 3, 1, 1), case=way) - bias
        if torch.allclose(tokens, truth, atol=1e-4): continue
        fits = [reason for factor, reason in reasons.items()
                if torch.allclose(tokens, factor*truth, atol=1e-4)]
        reason = fits[0] if fits else 'the weights are not the grey ones'
        raise Wrong(f'{case}, scale {scale}: the tokens of a grey picture are not the same: '
                    f'{reason}')


def check_parts(case, new):
    "Raise `Wrong` unless a model has weights of the names and shapes that `build_model` gives it."
    built = ask(lambda: build_model(new.config), case=f'{case}: build_model of its config')
    shapes, truth = ({name: tuple(weights.shape) for name, weights in one.state_dict().items()}
                     for one in (new, built))
    way = f'{case}: change the weights, not the way: a model that build_model makes'
    for name in [*truth, *shapes]:
        if name not in shapes: raise Wrong(f'{way} has {name}, yours has not')
        if name not in truth: raise Wrong(f'{way} has no {name}')
        if shapes[name] == truth[name]: continue
        raise Wrong(f'{way} has {name} of shape {truth[name]}, yours is {shapes[name]}')


def check_colour_model(case, old, model, new):
    "Raise `Wrong` unless the answer is a new model of three channels with the grey one's weights."
    if not isinstance(new, nn.Module) or not hasattr(new, 'config'):
        raise Wrong(f'{case}: a model is expected, this is {kind_of(new)}')
    if new is model:
        raise Wrong(f'{case}: the model given is returned: '
                    'leave it as it is, and build one with in_chans 3')
    check_unchanged(case, model, old)
    channels = new.config['in_chans']
    if channels != 3: raise Wrong(f'{case}: in_chans is {channels}: build a new model with 3')
    check_parts(case, new)
    before = old.state_dict()
    for name, weights in new.eval().state_dict().items():
        if name.startswith('tokenizer'): continue
        if name not in before or not torch.equal(weights, before[name]):
            raise Wrong(f'{case}: {name} was not taken over')


@exercise('04.3', 'a grey model for colour pictures')
@torch.no_grad()
def check_to_colour(to_colour):
    "The same logits for a grey picture given three times, at three scales and at four."
    for scales in (3, 4):
        case = f'a model of {scales} scales'
        old = create_model('dems_nano', in_chans=1, n_scales=scales).eval()
        model = copy.deepcopy(old)
        x = torch.randn(2, 1, 32, 32)
        new = ask(to_colour, model, case=case)
        check_colour_model(case, old, model, new)
        grey = x.repeat(1, 3, 1, 1)
        ask(new, grey, case=f'{case}: a grey picture three times')
        check_tokens(case, old.tokenizer, new.tokenizer, x)
        colour = torch.randn(2, 3, 32, 32)
        for order, text in (([2, 1, 0], 'red and blue exchanged'), ([1, 2, 0], 'all three turned')):
            if not torch.allclose(new(colour), new(colour[:, order]), atol=1e-4):
                raise Wrong(f'{case}: the channels do not count equally: {text} give other logits')
        compare(new(grey), old(x), 'batch class', f'{case}: a grey picture three times')
    return 'the same logits for a grey picture given three times, at three scales and at four'
