"Plausible wrong answers to the exercises of chapter 00: (words of the message, code)."

mistakes = {
'00.1': [
('column by column: i, the row, is the outer loop', '''
def my_map(fine_grid, coarse_grid):
    n = fine_grid // coarse_grid
    return torch.tensor([[(n*R + i)*fine_grid + n*C + j for j in range(n) for i in range(n)]
        for R in range(coarse_grid) for C in range(coarse_grid)])
'''),
('coarse tokens are listed column by column', '''
def my_map(fine_grid, coarse_grid):
    n = fine_grid // coarse_grid
    return torch.tensor([[(n*R + i)*fine_grid + n*C + j for i in range(n) for j in range(n)]
        for C in range(coarse_grid) for R in range(coarse_grid)])
'''),
('the grid is transposed', '''
def my_map(fine_grid, coarse_grid):
    n = fine_grid // coarse_grid
    return torch.tensor([[n*R + i + (n*C + j)*fine_grid for i in range(n) for j in range(n)]
        for R in range(coarse_grid) for C in range(coarse_grid)])
'''),
('off-by-one stride', '''
def my_map(fine_grid, coarse_grid):
    n = fine_grid // coarse_grid
    return torch.tensor([[(n*R + i)*(fine_grid - 1) + n*C + j for i in range(n) for j in range(n)]
        for R in range(coarse_grid) for C in range(coarse_grid)])
'''),
('the wrong stride', '''
def my_map(fine_grid, coarse_grid):
    n = fine_grid // coarse_grid
    return torch.tensor([[(n*R + i)*coarse_grid + n*C + j for i in range(n) for j in range(n)]
        for R in range(coarse_grid) for C in range(coarse_grid)])
'''),
('counted from 1', '''
def my_map(fine_grid, coarse_grid): return correspondence_map(fine_grid, coarse_grid) + 1
'''),
('cut into runs', '''
def my_map(fine_grid, coarse_grid): return torch.arange(fine_grid**2).view(coarse_grid**2, -1)
'''),
('axes are swapped', '''
def my_map(fine_grid, coarse_grid):
    n = fine_grid // coarse_grid
    return torch.arange(fine_grid**2).view(coarse_grid, n, coarse_grid, n).permute(1, 3, 0,
        2).reshape(n*n, coarse_grid**2)
'''),
('axis 1 (fine) has size 1, not 4 (size 1 would broadcast', '''
def my_map(fine_grid, coarse_grid): return correspondence_map(fine_grid, coarse_grid)[:, :1]
'''),
('1 axes, not 2', '''
def my_map(fine_grid, coarse_grid): return correspondence_map(fine_grid, coarse_grid).flatten()
'''),
('dtype torch.float32, expected torch.int64', '''
def my_map(fine_grid, coarse_grid): return correspondence_map(fine_grid, coarse_grid).float()
'''),
('from a 6×6 grid to 2×2: shape', '''
def my_map(fine_grid, coarse_grid):              # n is 2, always
    return torch.tensor([[(2*R + i)*fine_grid + 2*C + j for i in range(2) for j in range(2)]
        for R in range(coarse_grid) for C in range(coarse_grid)])
'''),
('a tensor is expected, this is a list', '''
def my_map(fine_grid, coarse_grid): return correspondence_map(fine_grid, coarse_grid).tolist()
'''),
('is there a `return`?', '''
def my_map(fine_grid, coarse_grid): correspondence_map(fine_grid, coarse_grid)
'''),
('raised NameError', '''
def my_map(fine_grid, coarse_grid): return indices
''')],
'00.2': [
('off by one', '''
def stretch(layout, region):
    at = (layout.region == region).nonzero().flatten()
    length = lambda at: int(at.max() - at.min())
    return length(layout.order[at]), length(at)
why = 'b'
'''),
('the two are swapped', '''
def stretch(layout, region):
    at = (layout.region == region).nonzero().flatten()
    length = lambda at: int(at.max() - at.min()) + 1
    return length(at), length(layout.order[at])
why = 'b'
'''),
('sequence positions were used twice', '''
def stretch(layout, region):
    n = int((layout.region == region).sum())
    return n, n
why = 'b'
'''),
('order was inverted', '''
def stretch(layout, region):
    at = (layout.region == region).nonzero().flatten()
    length = lambda at: int(at.max() - at.min()) + 1
    return length(layout.order.argsort()[at]), length(at)
why = 'b'
'''),
('the first number (scale by scale) is 0, expected 17', '''
def stretch(layout, region): return 0, int((layout.region == region).sum())
why = 'b'
'''),
('the second number (in the sequence) is one number', '''
def stretch(layout, region):
    at = layout.order[layout.region == region]
    return at.max() - at.min() + 1, at
why = 'b'
'''),
('the first number (scale by scale) is one number, this is an ndarray of shape (5,)', '''
def stretch(layout, region):
    at = (layout.region == region).numpy().nonzero()[0]
    return layout.order.numpy()[at], at
why = 'b'
'''),
('give two numbers, not a Tensor', '''
def stretch(layout, region): return torch.tensor([17, 5])
why = 'b'
'''),
('attention compares every token with every other', '''
def stretch(layout, region):
    at = (layout.region == region).nonzero().flatten()
    length = lambda at: int(at.max() - at.min()) + 1
    return length(layout.order[at]), length(at)
why = 'a'
'''),
('only their places differ', '''
def stretch(layout, region):
    at = (layout.region == region).nonzero().flatten()
    length = lambda at: int(at.max() - at.min()) + 1
    return length(layout.order[at]), length(at)
why = 'c'
''')],
'00.3': [
('the wrong stride', '''
def my_map_2d(fine, coarse):
    n = fine[0] // coarse[0]
    return torch.tensor([[(n*R + i)*fine[0] + n*C + j for i in range(n) for j in range(n)]
        for R in range(coarse[0]) for C in range(coarse[1])])
'''),
('rows and columns are exchanged', '''
def my_map_2d(fine, coarse):                                     # (columns, rows)
    n = fine[0] // coarse[0]
    return torch.tensor([[(n*R + i)*fine[0] + n*C + j for i in range(n) for j in range(n)]
        for R in range(coarse[1]) for C in range(coarse[0])])
'''),
('rows and columns are swapped', '''
def my_map_2d(fine, coarse):
    n = fine[0] // coarse[0]
    return torch.tensor([[(n*C + j)*fine[0] + n*R + i for i in range(n) for j in range(n)]
        for R in range(coarse[0]) for C in range(coarse[1])])
'''),
('inside a coarse one are listed column by column', '''
def my_map_2d(fine, coarse):
    n = fine[0] // coarse[0]
    return torch.tensor([[(n*R + i)*fine[1] + n*C + j for j in range(n) for i in range(n)]
        for R in range(coarse[0]) for C in range(coarse[1])])
'''),
('coarse tokens are listed column by column', '''
def my_map_2d(fine, coarse):
    n = fine[0] // coarse[0]
    return torch.tensor([[(n*R + i)*fine[1] + n*C + j for i in range(n) for j in range(n)]
        for C in range(coarse[1]) for R in range(coarse[0])])
'''),
('axis 0 (coarse) has size 1, not 2 (size 1 would broadcast', '''
def my_map_2d(fine, coarse): return correspondence_map(fine[0], coarse[0]) # square images only
''')]}

right = {'00.2': ['''
def stretch(layout, region):
    p = (layout.region == region).numpy().nonzero()[0]
    o = layout.order.numpy()[p]
    return o.max() - o.min() + 1, len(p)
why = 'b'
'''], '00.3': ['''
def my_map_2d(fine, coarse):
    n = fine[0] // coarse[0]
    return torch.tensor([[(n*R + i)*fine[1] + n*C + j for i in range(n) for j in range(n)]
        for R in range(coarse[0]) for C in range(coarse[1])])
''']}
