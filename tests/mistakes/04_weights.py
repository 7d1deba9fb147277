"Plausible wrong answers to the exercises of chapter 04: (words of the message, code)."

def unfit(missing='own.keys() - given.keys()', unknown='given.keys() - own.keys()',
    shape='own[k].shape != given[k].shape', out='sorted(missing), sorted(unknown), sorted(wrong)'):
    return f'''
def unfit(own, given):
    missing, unknown = {missing}, {unknown}
    wrong = [k for k in own if k in given and {shape}]
    return {out}
'''

def half(out='((after - before).abs().max()/before.abs().max()).item()',
    copy="load_model(save_model(model, tmp/'h.safetensors', dtype=torch.float16))", why='a'):
    return f'''
def half_change(model, x):
    with torch.no_grad():
        before = model(x)
        half = {copy}
        after = half(x)
    return {out}
why = {why!r}
'''

def colour(plain='w.repeat(1, 3, 1, 1)/3', depthwise='w.repeat(3, 1, 1, 1)',
    point='w.repeat(1, 3, 1, 1)/3', channels=3, rest='', bias='t[k]'):
    return f'''
from dems_nb.model import build_model
def to_colour(model):
    new = build_model({{**model.config, 'in_chans': {channels}}}).eval()
    t = {{k: v.clone() for k, v in model.state_dict().items()}}
    for k, w in t.items():
        if not k.startswith('tokenizer'): continue
        if w.ndim == 1: t[k] = {bias}
        elif w.shape[2:] == (1, 1): t[k] = {point}
        elif len(w) == 1: t[k] = {depthwise}
        else: t[k] = {plain}
    new.load_state_dict(t)
    {rest}
    return new
'''

def averaged(code): return f'''
import copy
class Grey(torch.nn.Module):
    def forward(self, x): return x.mean(1, keepdim=True)
def to_colour(model):
    new = copy.deepcopy(model)
    new.config['in_chans'] = 3
    {code.strip()}
    return new
'''

mistakes = {
'04.1': [
    ('missing and unknown are swapped',
     unfit(out='sorted(unknown), sorted(missing), sorted(wrong)')),
    ('hold as many numbers and are two shapes', unfit(shape='own[k].numel() != given[k].numel()')),
    ('would broadcast to (4, 3)',
     unfit(shape='not all(a == b or b == 1 for a, b in zip(own[k].shape, given[k].shape))')),
    ('the names are right, sort them',
     unfit(out='list(missing), sorted(unknown), sorted(wrong)',
         missing='[k for k in own if k not in given]')),
    ('give a list of names', unfit(out='sorted(missing) + sorted(unknown) + sorted(wrong)')),
    ('give three lists', unfit(out='sorted(missing), sorted(unknown)')),
    ('give a list of names', unfit(out='len(missing), len(unknown), len(wrong)')),
    ('missing holds a NoneType: give a list of names',
     unfit(out='[None, *missing], sorted(unknown), sorted(wrong)')),
    ('shape holds a tuple: give a list of names',
     unfit(out='sorted(missing), sorted(unknown), [(k, own[k].shape) for k in wrong]')),
    ('give three lists, not a dict', unfit(out='dict(missing=missing, unknown=unknown)')),
    ('raised KeyError',
     "def unfit(own, given): return [], [], [k for k in own if own[k].shape != given[k].shape]"),
    ('look only at names that both have',
     unfit(shape='own[k].shape != given[k].shape or given["nowhere"]')),
    ('b is not in both', unfit(out='sorted(missing), sorted(unknown), sorted([*wrong, *missing])')),
    ('expected []', unfit(shape='not torch.equal(own[k], given[k])'))],
'04.2': [
    ('divide by the largest magnitude of the logits', half('(after - before).abs().max().item()')),
    ('the mean was taken', half('((after - before).abs().mean()/before.abs().max()).item()')),
    ('divided by the mean magnitude',
     half('((after - before).abs().max()/before.abs().mean()).item()')),
    ('each logit was divided by itself', half('((after - before)/before).abs().max().item()')),
    ('each picture was divided by its own largest magnitude',
     half('((after - before).abs().amax(1)/before.abs().amax(1)).max().item()')),
    ('the largest logits were compared',
     half('((after.max() - before.max()).abs()/before.max()).item()')),
    ('was the copy really rounded',
     half(copy="load_model(save_model(model, tmp/'h.safetensors'))")),
    ('the model that was given has changed', half(copy='model.half().float()')),
    ('they are not stored', half(copy='__import__("copy").deepcopy(model).half().float()')),
    ('one number, this is a Tensor of shape', half('(after - before).abs()/before.abs().max()')),
    ('have no exact float16', half(why='b')), ('and computes in that', half(why='c'))],
'04.3': [
    ('three equal channels add up', colour(plain='w.repeat(1, 3, 1, 1)')),
    ('three equal channels add up', colour(point='w.repeat(1, 3, 1, 1)')),
    ('a depthwise kernel sees one channel', colour(depthwise='w.repeat(3, 1, 1, 1)/3')),
    ('divided by 3 once too often', colour(point='w.repeat(1, 3, 1, 1)/9')),
    ('the channels do not count equally',
     colour(plain='torch.cat([w, torch.zeros_like(w), torch.zeros_like(w)], 1)')),
    ('the channels do not count equally: all three turned',
     colour(plain='torch.cat([w/4, w/2, w/4], 1)')),
    ('the model given is returned', 'def to_colour(model): return model'),
    ('in_chans is 1', 'import copy\ndef to_colour(model): return copy.deepcopy(model)'),
    ("the grey model has changed: config['in_chans']", colour(rest="model.config['in_chans'] = 3")),
    ('the grey model has changed: tokenizer.in_chans', colour(rest='model.tokenizer.in_chans = 3')),
    ('change the weights, not the way', averaged('pass')),
    ('change the weights, not the way', averaged('''
    for k, embed in enumerate(new.tokenizer.embeds):
        new.tokenizer.embeds[k] = torch.nn.Sequential(Grey(), embed)
    new.tokenizer.in_chans = 3
''')),
    ('change the weights, not the way', averaged('''
    class Tokens(torch.nn.Module):
        def __init__(self, own):
            super().__init__()
            self.own, self.layout, self.in_chans = own, own.layout, 3
        def forward(self, x): return self.own(x.mean(1, keepdim=True))
    new.tokenizer = Tokens(new.tokenizer)
''')),
    ('change the weights, not the way', averaged('''
    new.forward = lambda x: type(new).forward(new, x.mean(1, keepdim=True))
''')),
    ('change the weights, not the way', '''
class Wrapped(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model, self.config = model, {**model.config, 'in_chans': 3}
    def forward(self, x): return self.model(x.mean(1, keepdim=True))
def to_colour(model): return Wrapped(model)
'''),
    ('a model is expected, this is an OrderedDict',
     'def to_colour(model): return model.state_dict()'),
    ('divide in one convolution only',
     colour(depthwise='w.repeat(3, 1, 1, 1)/3', plain='w.repeat(1, 3, 1, 1)/9')),
    ('was not taken over', colour(rest='torch.nn.init.zeros_(new.head.weight)')),
    ('the bias is not the grey one', colour(bias='t[k]/3')),
    ('the grey model has changed', colour(rest='model.head.bias.data.add_(1)')),
    ('raised RuntimeError', colour(depthwise='w'))]}

right = {'04.1': [unfit(shape='tuple(own[k].shape) != tuple(given[k].shape)')],
         '04.2': [half(), '''
import copy
@torch.no_grad()
def half_change(model, x):
    half = copy.deepcopy(model)
    half.load_state_dict({k: v.half().float() for k, v in model.state_dict().items()})
    before = model(x)
    return ((half(x) - before).abs().max()/before.abs().max()).item()
why = 'a'
'''],
         '04.3': [colour(), colour(point='torch.cat([w, w, w], 1)/3',
             plain='w.expand(-1, 3, -1, -1)/3'), averaged('''
    new.tokenizer.in_chans = 3
    for conv in new.modules():
        if not isinstance(conv, torch.nn.Conv2d): continue
        w = conv.weight.data
        if len(w) == 1: w, conv.groups, conv.out_channels = w.repeat(3, 1, 1, 1), 3, 3
        else: w = w.repeat(1, 3, 1, 1)/3
        conv.weight, conv.in_channels = torch.nn.Parameter(w), 3
''')]}
