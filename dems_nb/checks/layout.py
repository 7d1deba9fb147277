"Chapter 00: correspondence maps, and the two orders of a layout."
import matplotlib.pyplot as plt
import torch

from ..layout import TokenLayout, correspondence_map
from ..figures import SCALE_COLORS
from .core import (Slips, Wrong, ask, compare, compare_choice, compare_number, exercise, kind_of,
                   plain_number)

# 00.1: the pairs of grids go from small to large, so the first that fails is among the smallest

map_slips = Slips()


def rows_and_columns(fine, coarse):
    "Row and column in the fine grid of each entry of the map."
    tokens = correspondence_map(fine, coarse)
    return tokens//fine, tokens % fine


@map_slips
def inside_by_columns(fine, coarse):
    "the tokens inside a coarse one are listed column by column: i, the row, is the outer loop"
    tokens = correspondence_map(fine, coarse)
    n = fine//coarse
    return tokens.view(-1, n, n).mT.reshape(tokens.shape)


@map_slips
def coarse_by_columns(fine, coarse):
    "the coarse tokens are listed column by column: they go row by row"
    tokens = correspondence_map(fine, coarse)
    return tokens.view(coarse, coarse, -1).transpose(0, 1).reshape(tokens.shape)


@map_slips
def transposed_grid(fine, coarse):
    "rows and columns are swapped: the grid is transposed"
    row, column = rows_and_columns(fine, coarse)
    return column*fine + row


@map_slips
def runs_of_a_list(fine, coarse):
    "a flat list was cut into runs: a patch is a square of the grid"
    return torch.arange(fine**2).view(coarse**2, -1)


@map_slips
def short_stride(fine, coarse):
    "off-by-one stride: a row of the fine grid is fine_grid long"
    row, column = rows_and_columns(fine, coarse)
    return row*(fine - 1) + column


@map_slips
def long_stride(fine, coarse):
    "off-by-one stride, one too long: a row of the fine grid is fine_grid long"
    row, column = rows_and_columns(fine, coarse)
    return row*(fine + 1) + column


@map_slips
def coarse_stride(fine, coarse):
    "the wrong stride: a row of the fine grid is fine_grid long, not coarse_grid"
    row, column = rows_and_columns(fine, coarse)
    return row*coarse + column


@map_slips
def tokens_from_one(fine, coarse):
    "indices are counted from 1: they start at 0"
    return correspondence_map(fine, coarse) + 1


@map_slips
def loops_from_one(fine, coarse):
    "i and j are counted from 1: they start at 0"
    return correspondence_map(fine, coarse) + fine + 1


@map_slips
def map_turned(fine, coarse):
    "the axes are swapped: one row for each coarse token"
    return correspondence_map(fine, coarse).T


def draw_grid(ax, fine, n, tokens, title, color):
    "A fine grid of integers, with the tokens of one coarse token marked and joined in order."
    for token in tokens:
        corner = (token % fine, token//fine)
        ax.add_patch(plt.Rectangle(corner, 1, 1, color=color, alpha=.5, lw=0))
    columns = [token % fine + .5 for token in tokens]
    rows = [token//fine + .5 for token in tokens]
    ax.plot(columns, rows, color='k', lw=6, alpha=.25)
    for token in range(fine*fine):
        place = (token % fine + .5, token//fine + .5)
        ax.text(*place, token, ha='center', va='center', fontsize=9)
    for edge in range(fine + 1):
        width = 2 if edge % n == 0 else .4
        ax.axhline(edge, color='k', lw=width)
        ax.axvline(edge, color='k', lw=width)
    ax.set(xlim=(0, fine), ylim=(fine, 0), aspect='equal', xticks=[], yticks=[])
    ax.set_title(title, fontsize=9)


def draw_map(fine, coarse, answer):
    "Draw one coarse token: what was given, and what lies inside."
    truth = correspondence_map(fine, coarse)
    fits = isinstance(answer, torch.Tensor) and answer.shape == truth.shape
    k = int((answer != truth).any(1).nonzero()[0]) if fits and (answer != truth).any() else 0
    fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.3), layout='constrained')
    mine = [int(token) for token in answer[k].tolist()] if fits else []
    title = f'yours, coarse token {k}:\n{mine}' if fits else 'yours: no such row'
    n = fine//coarse
    draw_grid(left, fine, n, mine, title, SCALE_COLORS[1])
    true = truth[k].tolist()
    draw_grid(right, fine, n, true, f'expected, coarse token {k}:\n{true}', SCALE_COLORS[2])
    return fig


@exercise('00.1', 'the correspondence map')
def check_map(my_map):
    "The map of nine pairs of grids."
    grids = [(4, 2), (6, 2), (6, 3), (8, 4), (8, 2), (3, 3), (5, 1), (12, 3), (16, 2)]
    for fine, coarse in grids:
        case = f'from a {fine}×{fine} grid to {coarse}×{coarse}'
        answer = ask(my_map, fine, coarse, case=case)
        truth = correspondence_map(fine, coarse)
        compare(answer, truth, 'coarse fine', case, map_slips.of(fine, coarse),
                draw=lambda: draw_map(fine, coarse, answer))
    return f'{len(grids)} pairs of grids, each fine token in its coarse one'


# 00.2: a region's first and last place in each of the two orders

stretch_slips = Slips()


def length(places):
    "How many places there are from the first to the last, both counted."
    return int(places.max() - places.min()) + 1


def positions(layout, region):
    "The places of a region's tokens in the sequence."
    return (layout.region == region).nonzero().flatten()


def stretches(layout, region):
    "How long a region is scale by scale, and in the sequence."
    places = positions(layout, region)
    return length(layout.order[places]), length(places)


@stretch_slips
def stretches_swapped(layout, region):
    "the two are swapped: the first number is the one scale by scale"
    return stretches(layout, region)[::-1]


@stretch_slips
def one_end_counted(layout, region):
    "off by one: first and last both count"
    long, own = stretches(layout, region)
    return long - 1, own - 1


@stretch_slips
def positions_twice(layout, region):
    "sequence positions were used twice: look the others up in layout.order"
    own = length(positions(layout, region))
    return own, own


@stretch_slips
def order_twice(layout, region):
    "scale-by-scale indices were used twice: in the sequence a region is a block"
    long = length(layout.order[positions(layout, region)])
    return long, long


@stretch_slips
def order_inverted(layout, region):
    "order was inverted: order[position] is the scale-by-scale index already"
    places = positions(layout, region)
    return length(layout.order.argsort()[places]), length(places)


@exercise('00.2', 'how far apart a region lies')
def check_stretch(stretch, why):
    "Two numbers for every region of four layouts, and why the order does not matter to attention."
    layouts = (TokenLayout(4, (1, 2)), TokenLayout(8, (1, 2, 4)), TokenLayout(32),
               TokenLayout(24, (2, 6, 12)))
    for layout, region in [(layout, r) for layout in layouts for r in range(layout.n_regions)]:
        case = f'{layout}, region {region}'
        answer = ask(stretch, layout, region, case=case)
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            raise Wrong(f'{case}: give two numbers, not {kind_of(answer)}')
        truth = stretches(layout, region)
        pair = tuple(plain_number(number) for number in answer)
        if all(isinstance(number, (int, float)) for number in pair) and pair != truth:
            for message, value in stretch_slips.of(layout, region):
                if pair == value: raise Wrong(f'{case}: {message}')
        compare_number(answer[0], truth[0], 'the first number (scale by scale)', case)
        compare_number(answer[1], truth[1], 'the second number (in the sequence)', case)
    compare_choice(why, 'b', {
        'a': 'attention compares every token with every other, wherever they stand; '
             'exchange two and it does the same',
        'c': 'both orders hold every token once; only their places differ'})
    return ('a region is 85 places long in the sequence, and up to 337 scale by scale: '
            'a reshape finds it, no index needed')


# 00.3: the reference asks of every fine token in which coarse one it lies

oblong_slips = Slips()


def oblong_map(fine, coarse):
    "The map of grids (rows, columns), by asking of each fine token where it lies."
    n = fine[0]//coarse[0]
    row, column = torch.meshgrid(torch.arange(fine[0]), torch.arange(fine[1]), indexing='ij')
    home = (row//n*coarse[1] + column//n).flatten()
    tokens = [(home == k).nonzero().flatten() for k in range(coarse[0]*coarse[1])]
    return torch.stack(tokens)


@oblong_slips
def stride_of_rows(fine, coarse):
    "the wrong stride: a row is as long as there are columns, fine[1]"
    tokens = oblong_map(fine, coarse)
    return tokens//fine[1]*fine[0] + tokens % fine[1]


@oblong_slips
def oblong_transposed(fine, coarse):
    "rows and columns are swapped"
    tokens = oblong_map(fine, coarse)
    return tokens % fine[1]*fine[0] + tokens//fine[1]


@oblong_slips
def sizes_exchanged(fine, coarse):
    "rows and columns are exchanged: fine is (rows, columns), and so is coarse"
    n = fine[0]//coarse[0]
    tokens = torch.arange(fine[0]*fine[1]).view(coarse[1], n, coarse[0], n)
    return tokens.transpose(1, 2).reshape(coarse[0]*coarse[1], n*n)


@oblong_slips
def oblong_inside_by_columns(fine, coarse):
    "the tokens inside a coarse one are listed column by column"
    tokens = oblong_map(fine, coarse)
    n = fine[0]//coarse[0]
    return tokens.view(-1, n, n).mT.reshape(tokens.shape)


@oblong_slips
def oblong_coarse_by_columns(fine, coarse):
    "the coarse tokens are listed column by column"
    tokens = oblong_map(fine, coarse)
    return tokens.view(*coarse, -1).transpose(0, 1).reshape(tokens.shape)


@oblong_slips
def oblong_turned(fine, coarse):
    "the axes are swapped: one row for each coarse token"
    return oblong_map(fine, coarse).T


@exercise('00.3', 'a map for images that are not square')
def check_oblong_map(my_map):
    "The map of five pairs of grids, wide, tall and square."
    grids = [((2, 4), (1, 2)), ((4, 2), (2, 1)), ((4, 6), (2, 3)), ((6, 3), (2, 1)),
             ((4, 4), (2, 2))]
    for fine, coarse in grids:
        case = f'from {fine[0]}×{fine[1]} to {coarse[0]}×{coarse[1]}'
        answer = ask(my_map, fine, coarse, case=case)
        truth = oblong_map(fine, coarse)
        compare(answer, truth, 'coarse fine', case, oblong_slips.of(fine, coarse))
    return 'five pairs of grids, wide, tall and square'
