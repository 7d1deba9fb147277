"Plausible wrong answers to the exercises of chapter 09: (words of the message, code)."

def average(first='v.detach().clone()', d='min(self.decay, (1 + self.n)/(10 + self.n))',
    rule='d*self.a[k] + (1 - d)*v.detach()', n='0', state="{**self.a, 'n': torch.tensor(self.n)}",
            load="self.n, self.a = int(state['n']), {k: v for k, v in state.items() if k != 'n'}",
            weights='self.a', more='pass'):
    return f'''
class WeightAverage:
    def __init__(self, model, decay):
        self.decay, self.n, self.model = decay, {n}, model
        self.a = {{k: {first} for k, v in model.state_dict().items()}}
    def update(self, model):
        d = {d}
        self.a = {{k: {rule} for k, v in model.state_dict().items()}}
        self.n += 1
        {more}
    def weights(self): return {weights}
    def state(self): return {state}
    def load(self, state): {load}
'''

def effects(weights='averages, step counts, step, pct_train', history='smoothed loss, rows',
            nothing='losses, scaler', out='weights, history, nothing'):
    return f'''
def effects():
    weights = set({weights!r}.split(', '))
    history = set({history!r}.split(', '))
    nothing = set({nothing!r}.split(', '))
    return {out}
'''

mistakes = {
'09.1': [
    ("'scaler' changes nothing, not the weights: it scales the losses of float16",
     effects('averages, step counts, step, pct_train, scaler', nothing='losses')),
    ("'losses' changes nothing, not the history alone",
     effects(history='smoothed loss, rows, losses', nothing='scaler')),
    ("'step counts' changes the weights, not nothing: AdamW divides",
     effects('averages, step, pct_train', nothing='losses, scaler, step counts')),
    ("'pct_train' changes the weights, not the history alone: one-cycle",
     effects('averages, step counts, step', 'smoothed loss, rows, pct_train')),
    ("'rows' changes the history alone, not nothing",
     effects(history='smoothed loss', nothing='losses, scaler, rows')),
    ("'step' is in none of the sets", effects('averages, step counts, pct_train')),
    ("'rows' is there twice", effects(nothing='losses, scaler, rows')),
    ("'weights' is no part of `parts`", effects('averages, step counts, step, pct_train, weights')),
    ('give three sets of names, not a set', effects(out='weights')),
    ("['rows'] is no part of `parts`", effects(out="['averages', 'step'], [['rows']], nothing")),
    ('one of yours is 4', effects(out='len(weights), history, nothing'))],
'09.2': [
    ('these are the weights of now', average(first='v', rule='v')),
    ('nothing was averaged', average(rule='self.a[k]')),
    ('d is swapped', average(rule='(1 - d)*self.a[k] + d*v')),
    ('d is decay from the start', average(d='self.decay')),
    ('d is decay from the start', average(d='max(self.decay, (1 + self.n)/(10 + self.n))')),
    ('off by one: the first update has n = 0', average(n='1')),
    ('begin with a copy of the weights', average(first='torch.zeros_like(v)')),
    ('the plain mean of all weights', average(rule='(self.a[k]*(self.n + 1) + v)/(self.n + 2)')),
    ('the number of updates was forgotten', average(state='self.a', load='self.a = state')),
    ('the average was forgotten: it began anew', average(load='pass')),
    ('the average was forgotten, the number of updates was not',
     average(state="{'n': torch.tensor(self.n)}", load="self.n = int(state['n'])")),
    ('here is an int: wrap a number in torch.tensor', average(state="{**self.a, 'n': self.n}")),
    ('here is a dict: put its tensors into the state itself',
     average(state="{'a': self.a, 'n': torch.tensor(self.n)}")),
    ('the class has no method weights', average().split('    def weights')[0]),
    ('the class has no method state', average().split('    def state')[0]),
    ('the class has no method load', average().split('    def load')[0]),
    ("1 update: weights: raised TypeError: 'dict' object is not callable",
     average().replace('    def weights', '    @property\n    def weights')),
    ('update changed the model', average(more='model.load_state_dict(self.a)')),
    ('detach it', average(rule='d*self.a[k] + (1 - d)*dict(model.named_parameters()).get(k, v)')),
    ('by the names of the model', average(weights='list(self.a.values())')),
    ('weights: returned None', average(weights='None')),
    ('weights() lacks bias, grid',
     average(weights="{k: v for k, v in self.a.items() if 'weight' in k}")),
    ('weights() lacks grid',
     average(weights='{k: self.a[k] for k, _ in self.model.named_parameters()}')),
    ('state() gives the live tensors', '''
from copy import deepcopy
class WeightAverage:
    def __init__(self, model, decay):
        self.copy = deepcopy(model).requires_grad_(False)
        self.decay = decay
        self.n = torch.tensor(0.)
    @torch.no_grad()
    def update(self, model):
        d = torch.minimum(torch.tensor(self.decay), (1 + self.n)/(10 + self.n))
        for a, w in zip(self.copy.parameters(), model.parameters()): a.mul_(d).add_(w,
            alpha=1 - d.item())
        self.n += 1
    def weights(self): return self.copy.state_dict()
    def state(self): return {f'average.{k}': v for k,
        v in self.copy.state_dict().items()} | {'n': self.n}
    def load(self, state):
        self.n = state['n'].clone()
        self.copy.load_state_dict({k[8:]: v for k, v in state.items() if k.startswith('average.')})
''')]}

right = { # right answers, in another style than the folded one
'09.1': ['''
def effects():
    return [['pct_train', 'step', 'averages', 'step counts'], ('rows', 'smoothed loss'), ['scaler',
        'losses']]
'''],
'09.2': ['''
from copy import deepcopy
class WeightAverage:
    def __init__(self, model, decay):
        self.copy = deepcopy(model).requires_grad_(False)
        self.decay = decay
        self.n = torch.tensor(0.)
    @torch.no_grad()
    def update(self, model):
        d = torch.minimum(torch.tensor(self.decay), (1 + self.n)/(10 + self.n))
        for a, w in zip(self.copy.parameters(), model.parameters()): a.mul_(d).add_(w,
            alpha=1 - d.item())
        self.n += 1
    def weights(self): return self.copy.state_dict()
    def state(self): return {f'average.{k}': v.clone() for k,
        v in self.copy.state_dict().items()} | {'n': self.n.clone()}
    def load(self, state):
        self.n = state['n'].clone()
        self.copy.load_state_dict({k[8:]: v for k, v in state.items() if k.startswith('average.')})
''']}
