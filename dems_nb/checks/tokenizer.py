"Chapter 01: sines and cosines, and one ruler for all scales."
import torch

from ..layout import TokenLayout
from ..tokenizer import MultiScaleTokenizer
from .core import Slips, ask, compare, compare_choice, compare_number, exercise


def waves(rows, columns, frequencies):
    "sin(r w), cos(r w), sin(c w), cos(c w) for rows and columns given as two vectors."
    r = rows[:, None].double()*frequencies
    c = columns[:, None].double()*frequencies
    return torch.cat([r.sin(), r.cos(), c.sin(), c.cos()], dim=1).float()


def frequencies_of(dim, over=None):
    "10000^(-k/m) with m = dim/4, or another divisor of the exponent."
    return 10000**(-torch.arange(dim//4, dtype=torch.float64)/(over or dim//4))


# 01.1: one function gives the right answer and the wrong ones

position_slips = Slips()


def rows_and_columns(grid):
    "Row and column of each token of a grid."
    token = torch.arange(grid*grid)
    return token//grid, token % grid


def position(grid, dim):
    "The position embedding of a grid."
    return waves(*rows_and_columns(grid), frequencies_of(dim))


@position_slips
def columns_first(grid, dim):
    "rows and columns are swapped: the first half of a vector belongs to the row"
    row, column = rows_and_columns(grid)
    return waves(column, row, frequencies_of(dim))


@position_slips
def alternating(grid, dim):
    "sines and cosines alternate: all sines of the row come first, then all its cosines"
    vectors = position(grid, dim)
    return vectors.view(-1, 2, 2, dim//4).mT.reshape(vectors.shape)


@position_slips
def cosines_first(grid, dim):
    "cosines come before sines"
    vectors = position(grid, dim)
    return vectors.view(-1, 2, 2, dim//4).flip(2).reshape(vectors.shape)


@position_slips
def exponent_over_dim(grid, dim):
    "wrong frequencies: the exponent is -k/m with m = dim/4, not -k/dim"
    return waves(*rows_and_columns(grid), frequencies_of(dim, dim))


@position_slips
def exponent_over_half_dim(grid, dim):
    "wrong frequencies: the exponent is -k/m with m = dim/4, not -2k/dim"
    return waves(*rows_and_columns(grid), frequencies_of(dim, dim/2))


@position_slips
def exponent_positive(grid, dim):
    "the minus in the exponent is missing: the frequencies fall from 1"
    return waves(*rows_and_columns(grid), 1/frequencies_of(dim))


@position_slips
def exponent_to_the_end(grid, dim):
    "off by one: the exponent is -k/m, not -k/(m-1)"
    return waves(*rows_and_columns(grid), frequencies_of(dim, max(dim//4 - 1, 1)))


@position_slips
def counted_from_one(grid, dim):
    "rows and columns are counted from 1: they start at 0"
    row, column = rows_and_columns(grid)
    return waves(row + 1, column + 1, frequencies_of(dim))


@position_slips
def position_turned(grid, dim):
    "the axes are swapped: one row for each token"
    return position(grid, dim).T


@exercise('01.1', 'the position embedding')
def check_position(my_position):
    "The vectors of four grids."
    for grid, dim in [(2, 8), (3, 4), (4, 16), (5, 24)]:
        case = f'a {grid}×{grid} grid, dim {dim}'
        answer = ask(my_position, grid, dim, case=case)
        slips = position_slips.of(grid, dim)
        compare(answer, position(grid, dim), 'token dim', case, slips)
    return 'four grids, row-major, float32'


# 01.2

mark_slips = Slips()


@mark_slips
def all_tokens(tokenizer):
    "all tokens were counted: those of different scales share vectors"
    return tokenizer.layout.n_tokens


@mark_slips
def all_numbers(tokenizer):
    "numbers were counted, not vectors: unique needs dim=0"
    return tokenizer.pos.unique().numel()


@mark_slips
def whole_regions(tokenizer):
    "whole regions were compared: flatten region and token first"
    return len(tokenizer.pos.unique(dim=0))


@mark_slips
def one_region(tokenizer):
    "one region was counted, not all"
    return len(tokenizer.pos[0].unique(dim=0))


@mark_slips
def repeated_ones(tokenizer):
    "the repeated ones were counted"
    return tokenizer.layout.n_tokens - tokenizer.layout.grids[0]**2


@exercise('01.2', 'tokens with the same mark')
def check_distinct(distinct, why):
    "How many vectors are different, and why a token is told from another with the same."
    for layout, dim in [(TokenLayout(8, (1, 2, 4)), 8), (TokenLayout(8, (2, 4)), 8),
                        (TokenLayout(32), 16)]:
        case = f'{layout}'
        tokenizer = MultiScaleTokenizer(layout, dim)
        answer = ask(distinct, tokenizer, case=case)
        truth = layout.grids[0]**2
        slips = mark_slips.of(tokenizer)
        compare_number(answer, truth, 'the number of different vectors', case, slips)
    compare_choice(why, 'b', {
        'a': 'they are equal to the last bit: unique has just found them so',
        'c': 'attention never sees a place in the sequence; '
             'exchange two tokens and their outputs are exchanged'})
    return 'as many marks as the finest grid has tokens: the coarser grids repeat them'


# 01.3

ruler_slips = Slips()


def centres(layout):
    "Row and column of each box's centre, in patches of the finest scale."
    x0, y0, x1, y1 = layout.boxes.double().T
    side = layout.patch_sizes[0]
    return (y0 + y1)/2/side - .5, (x0 + x1)/2/side - .5


def shared_position(layout, dim):
    "The vectors of all tokens, every scale measured with one ruler."
    return waves(*centres(layout), frequencies_of(dim))


@ruler_slips
def x_before_y(layout, dim):
    "x and y are swapped: a box is x0, y0, x1, y1, and the row is y"
    y, x = centres(layout)
    return waves(x, y, frequencies_of(dim))


@ruler_slips
def scale_by_scale(layout, dim):
    "this is scale by scale: the tokens are wanted in sequence order"
    vectors = shared_position(layout, dim)
    return torch.empty_like(vectors).index_copy(0, layout.order, vectors)


@ruler_slips
def corners(layout, dim):
    "the corner was taken, not the centre"
    side = layout.patch_sizes[0]
    x0, y0, x1, y1 = layout.boxes.double().T
    return waves(y0/side, x0/side, frequencies_of(dim))


@ruler_slips
def half_missing(layout, dim):
    "the half is missing: a finest token in row r has its centre at r"
    y, x = centres(layout)
    return waves(y + .5, x + .5, frequencies_of(dim))


@ruler_slips
def pixels(layout, dim):
    "this is in pixels: measure in patches of the finest scale"
    y, x = centres(layout)
    side = layout.patch_sizes[0]
    return waves((y + .5)*side, (x + .5)*side, frequencies_of(dim))


@ruler_slips
def pixels_less_half(layout, dim):
    "this is in pixels: divide by the side of a finest patch before the half is taken away"
    y, x = centres(layout)
    side = layout.patch_sizes[0]
    return waves((y + .5)*side - .5, (x + .5)*side - .5, frequencies_of(dim))


@ruler_slips
def doubling(layout, dim):
    "patches need not double from scale to scale: layout.boxes knows their sides"
    side = 2.**layout.scale[:, None]
    y, x = (layout.cells*side + (side - 1)/2).T
    return waves(y, x, frequencies_of(dim))


@ruler_slips
def own_grids(layout, dim):
    "each scale has its own grid still"
    return waves(layout.cells[:, 0], layout.cells[:, 1], frequencies_of(dim))


@exercise('01.3', 'one coordinate system for all scales')
def check_shared_position(shared):
    "The vectors of three layouts."
    for layout, dim in [(TokenLayout(8, (2, 4)), 12), (TokenLayout(32), 16),
                        (TokenLayout(12, (1, 3)), 8)]:
        case = f'{layout}, dim {dim}'
        answer = ask(shared, layout, dim, case=case)
        truth = shared_position(layout, dim)
        compare(answer, truth, 'token dim', case, ruler_slips.of(layout, dim))
    return 'three layouts, every scale measured with one ruler'
