"Plausible wrong answers to the exercises of chapter 01: (words of the message, code)."

def position(r='at//grid', c='at % grid', w='10000**(-torch.arange(dim//4)/(dim//4))',
    out='torch.cat([r.sin(), r.cos(), c.sin(), c.cos()], dim=1)'):
    return f'''
def my_position(grid, dim):
    w, at = {w}, torch.arange(grid*grid)
    r, c = torch.outer({r}, w), torch.outer({c}, w)
    return {out}
'''

def shared(y='(y0 + y1)/2/p - .5', x='(x0 + x1)/2/p - .5', out=''):
    return f'''
def shared_position(layout, dim):
    x0, y0, x1, y1 = layout.boxes.T
    p = layout.patch_sizes[0]
    w = 10000**(-torch.arange(dim//4)/(dim//4))
    r, c = torch.outer({y}, w), torch.outer({x}, w)
    return torch.cat([r.sin(), r.cos(), c.sin(), c.cos()], dim=1){out}
'''

def distinct(code, why='b'): return f'''
def distinct(tokenizer): return {code}
why = {why!r}
'''

mistakes = {
'01.1': [
    ('rows and columns are swapped', position('at % grid', 'at//grid')),
    ('sines and cosines alternate',
     position(out='torch.stack([r.sin(), r.cos(), c.sin(), c.cos()]).view(2, 2, grid*grid, -1)'
              '.permute(2, 0, 3, 1).reshape(grid*grid, dim)')),
    ('cosines come before sines',
     position(out='torch.cat([r.cos(), r.sin(), c.cos(), c.sin()], dim=1)')),
    ('not -k/dim', position(w='10000**(-torch.arange(dim//4)/dim)')),
    ('the minus in the exponent is missing', position(w='10000**(torch.arange(dim//4)/(dim//4))')),
    ('not -2k/dim', position(w='10000**(-2*torch.arange(dim//4)/dim)')),
    ('off by one: the exponent is -k/m',
     position(w='10000**(-torch.arange(dim//4)/max(dim//4 - 1, 1))')),
    ('counted from 1', position('at//grid + 1', 'at % grid + 1')),
    ('the axes are swapped',
     position(out='torch.cat([r.sin(), r.cos(), c.sin(), c.cos()], dim=1).T')),
    ('dtype torch.float64, expected torch.float32',
     position(out='torch.cat([r.sin(), r.cos(), c.sin(), c.cos()], dim=1).double()')),
    ('axis 1 (dim) has size 4, not 8', position(out='torch.cat([r.sin(), c.cos()], dim=1)')),
    ('3 axes, not 2',
     position(out='torch.cat([r.sin(), r.cos(), c.sin(), c.cos()], dim=1).view(grid, grid, dim)'))],
'01.2': [
    ('all tokens were counted', distinct('tokenizer.layout.n_tokens')),
    ('unique needs dim=0', distinct('len(tokenizer.pos.unique())')),
    ('flatten region and token first', distinct('len(tokenizer.pos.unique(dim=0))')),
    ('one region was counted', distinct('len(tokenizer.pos[0].unique(dim=0))')),
    ('this is a Tensor of shape', distinct('tokenizer.pos.flatten(0, 1).unique(dim=0)')),
    ('equal to the last bit', distinct('len(tokenizer.pos.flatten(0, 1).unique(dim=0))', 'a')),
    ('never sees a place in the sequence',
     distinct('len(tokenizer.pos.flatten(0, 1).unique(dim=0))', 'c'))],
'01.3': [
    ('x and y are swapped', shared('(x0 + x1)/2/p - .5', '(y0 + y1)/2/p - .5')),
    ('the corner was taken, not the centre', shared('y0/p', 'x0/p')),
    ('the half is missing', shared('(y0 + y1)/2/p', '(x0 + x1)/2/p')),
    ('measure in patches of the finest scale', shared('(y0 + y1)/2', '(x0 + x1)/2')),
    ('divide by the side of a finest patch before', shared('(y0 + y1)/2 - .5', '(x0 + x1)/2 - .5')),
    ('patches need not double',
     shared('*((layout.cells*2.**layout.scale[:, None] + (2.**layout.scale[:, None] - 1)/2).T[:1])',
         '(layout.cells*2.**layout.scale[:, None] + (2.**layout.scale[:, None] - 1)/2)[:, 1]')),
    ('wanted in sequence order', shared(out='[layout.order.argsort()]')),
    ('each scale has its own grid still', shared('layout.cells[:, 0]', 'layout.cells[:, 1]')),
    ('3 axes, not 2', shared(out='[None]'))]}
