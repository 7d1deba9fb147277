"Plausible wrong answers to the exercises of chapter 08: (words of the message, code)."

def rollout(step='residual*P + (1 - residual)*(a @ P)', heads='mean(0)', use='A', out='P'):
    return f'''
def my_rollout(A, residual=.5):
    eye = torch.eye(A[0].shape[-1])
    P = eye
    for a in {use}:
        a = a.{heads}
        P = {step}
    return {out}
'''

def compose(code): return f'def compose(first, second): return {code}'

def shares(code, why='b'): return f'''
def scale_shares(P, scale):
    hot = torch.eye(int(scale.max()) + 1)[scale]
    return {code}
why = {why!r}
'''

def paint(add='w/((x1 - x0)*(y1 - y0))', where='y0:y1, x0:x1', out='heat', weights='P.T',
    boxes='layout.boxes.tolist()'):
    return f'''
def paint(layout, P):
    heat = torch.zeros(len(P), layout.image_size, layout.image_size)
    for k, ((x0, y0, x1, y1), w) in enumerate(zip({boxes}, {weights})):
        w = w[:, None, None]
        heat[:, {where}] += {add}
    return {out}
'''

mistakes = {
'08.1': [
    ('the residual is forgotten', rollout('a @ P')),
    ('multiplied in the wrong order', rollout('P @ (residual*eye + (1 - residual)*a)')),
    ('the residual and the rest are swapped', rollout('(1 - residual)*P + residual*(a @ P)')),
    ('half and half, whatever', rollout('(P + a @ P)/2')),
    ('the rows no longer sum to 1', rollout('P + a @ P')),
    ('the residual was taken once', rollout('a @ P', out='residual*eye + (1 - residual)*P')),
    ('the heads were summed', rollout(heads='sum(0)')),
    ('the largest head was taken', rollout(heads='amax(0)')),
    ('queries and keys are swapped', rollout(heads='mean(0).T')),
    ('this is turned', rollout(out='P.T')),
    ('this is the last block alone', rollout(use='A[-1:]')),
    ('this is the first block alone', rollout(use='A[:1]')),
    ('the blocks were averaged',
     '''
def my_rollout(A, residual=.5):
    return residual*torch.eye(A[0].shape[-1]) + (1 - residual)*torch.stack(A).mean((0, 1))
'''),
    ('each head was rolled out by itself', '''
def my_rollout(A, residual=.5):
    P = torch.eye(A[0].shape[-1])
    for a in A: P = residual*P + (1 - residual)*(a @ P)
    return P.mean(0)
'''),
    ('3 axes, not 2',
     '''
def my_rollout(A, residual=.5):
    P = torch.eye(A[0].shape[-1])
    for a in A: P = residual*P + (1 - residual)*(a @ P)
    return P
'''),
    ('raised AttributeError', 'def my_rollout(A, residual=.5): return A.mean(1).prod(0)')],
'08.2': [
    ('this is turned', compose('first @ second')),
    ('this is the first mixing alone', compose('first.mT')),
    ('this is the second mixing alone', compose('second.mT')),
    ('reshape does not turn a matrix',
     compose('(first @ second).reshape(len(first), second.shape[2], -1)')),
    ('the regions were added up', compose("torch.einsum('rtl,rlk->kt', first, second)")),
    ('the regions were put one below the other', compose('(first @ second).mT.flatten(0, 1)')),
    ('one matrix for all regions', compose('torch.block_diag(*(first @ second).mT)')),
    ('each region was mixed with all regions',
     compose("torch.einsum('rtm,sml->rlt', first, second)")),
    ('a softmax was taken again', compose('(first @ second).softmax(1).mT')),
    ('the rows were divided by their largest',
     compose('(lambda p: p/p.amax(2, True))((first @ second).mT)')),
    ('the second matrix is turned the wrong way', compose('second @ first.mT')),
    ('size 1 would broadcast', compose('(first[:1] @ second[:1]).mT')),
    ('raised RuntimeError', compose('second.mT @ first'))],
'08.3': [
    ('the mean was taken, not the sum', shares('P @ hot/hot.sum(0)')),
    ('this is turned', shares('(P @ hot).T')),
    ('parts of the tokens, not of the weights', shares('hot.mean(0).expand(len(P), -1)')),
    ('divided by the part of the tokens', shares('P @ hot/hot.mean(0)')),
    ('use layout.scale', shares('P @ torch.eye(int(scale.max()) + 1)[scale.sort()[0]]')),
    ('the finest scale comes first', shares('(P @ hot).flip(1)')),
    ('all later tokens were averaged', shares('(P @ hot).mean(0)')),
    ('divided by the sum of the row', shares('P @ hot/P.sum(1, keepdim=True)')),
    ('raised RuntimeError', shares('hot @ P')),
    ('of the finest scale?', shares('P @ hot', 'a')),
    ('compare two pictures', shares('P @ hot', 'c'))],
'08.4': [
    ('each pixel got the whole weight', paint('w')),
    ('divided by the side of the box', paint('w/(x1 - x0)')),
    ('rows and columns are swapped', paint(where='x0:x1, y0:y1')),
    ('x1 and y1 are exclusive already',
     paint(where='y0:max(y1 - 1, y0 + 1), x0:max(x1 - 1, x0 + 1)', add='w/((x1 - x0)*(y1 - y0))')),
    ('the scales overwrite each other',
     '''
def paint(layout, P):
    heat = torch.zeros(len(P), layout.image_size, layout.image_size)
    for (x0, y0, x1, y1), w in zip(layout.boxes.tolist(), P.T):
        heat[:, y0:y1, x0:x1] = w[:, None, None]/((x1 - x0)*(y1 - y0))
    return heat
'''),
    ('the scales were averaged', paint(out='heat/len(layout.grids)')),
    ('scale by scale was assumed', paint(weights='P.T[layout.order]')),
    ('the weights were put into another order', paint(weights='P.T[layout.order.argsort()]')),
    ('the tokens of a scale were laid out row by row', '''
def paint(layout, P):
    heat = 0
    for k, (g, p) in enumerate(zip(layout.grids, layout.patch_sizes)):
        grid = P[:, layout.scale == k].view(-1, g, g)/p**2
        heat = heat + grid.repeat_interleave(p, 1).repeat_interleave(p, 2)
    return heat
'''),
    ('one scale alone was painted', paint('w/((x1 - x0)*(y1 - y0))*(layout.scale[k] == 0)')),
    ('the later tokens were added up', paint(out='heat.sum(0)')),
    ('each picture was divided by its largest value', paint(out='heat/heat.amax((1, 2), True)')),
    ('the boxes are a pixel too large', paint(where='y0:y1 + 1, x0:x1 + 1')),
    ('divided by its sum, instead of each token',
     paint('w', out='heat/heat.sum((1, 2), keepdim=True)')),
    ('it has what its row of P sums to', paint(out='heat/heat.sum((1, 2), keepdim=True)')),
    ('size 1 would broadcast', paint(out='heat.mean(0, keepdim=True)')),
    ('values differ', paint(where='y0:y1, x0', add='w[..., 0]/((x1 - x0)*(y1 - y0))')),
    ('values differ', paint(where='y0:y1')),
    ('raised IndexError', paint(where='y0:y1, x0:x1, 0'))]}

right = { # right answers, in another style than the folded one
'08.1': ['''
from functools import reduce
def my_rollout(A, residual=.5):
    a = torch.stack(list(A)).mean(1)*(1 - residual)
    a.diagonal(dim1=1, dim2=2).add_(residual)
    return reduce(lambda P, W: W.mm(P), a)
'''],
'08.2': ['''
def compose(first, second): return second.transpose(1, 2) @ first.transpose(1, 2)
''', '''
def compose(first, second):
    R, T, L = first.shape
    out = torch.zeros(R, second.shape[2], T)
    for r in range(R):
        for t in range(T):
            for k in range(second.shape[2]): out[r, k, t] = sum(first[r, t, m]*second[r, m, k]
                for m in range(L))
    return out
'''],
'08.3': ['''
def scale_shares(P, scale): return torch.zeros(len(P), int(scale.max()) + 1).index_add_(1, scale, P)
why = 'b'
''', '''
def scale_shares(P, scale): return P @ torch.nn.functional.one_hot(scale).to(P.dtype)
why = 'b'
'''],
'08.4': ['''
def paint(layout, P):
    out = torch.zeros(len(P), layout.image_size, layout.image_size)
    for k, p in enumerate(layout.patch_sizes):
        at = (layout.scale == k).nonzero()[:, 0]
        g, rc = layout.grids[k], layout.cells[at]
        grid = torch.zeros(len(P), g, g); grid[:, rc[:, 0], rc[:, 1]] = P[:, at]
        out += grid.repeat_interleave(p, 1).repeat_interleave(p, 2)/p**2
    return out
''']}
