"Chapter 08: rollout, mixings in a row, shares of scales, tokens painted onto pixels."
import matplotlib.pyplot as plt
import torch

from ..layout import TokenLayout
from .core import Slips, ask, compare, compare_choice, exercise

# 08.1

rollout_slips = Slips()


def rolled(A, residual):
    "Rollout of attention weights (head, query, key), a list of one a block."
    P = torch.eye(A[0].shape[-1])
    for attention in A: P = residual*P + (1 - residual)*(attention.mean(0) @ P)
    return P


@rollout_slips
def residual_missing(A, residual):
    "the residual is forgotten: a token keeps a share of itself in each block"
    return rolled(A, 0.)


@rollout_slips
def order_reversed(A, residual):
    "multiplied in the wrong order: a later block stands on the left"
    return rolled(A[::-1], residual)


@rollout_slips
def residual_swapped(A, residual):
    "the residual and the rest are swapped: residual is what a token keeps"
    return rolled(A, 1 - residual)


@rollout_slips
def residual_half(A, residual):
    "half and half, whatever `residual` says: it is an argument"
    return rolled(A, .5)


@rollout_slips
def residual_whole(A, residual):
    "the residual was added whole: the rows no longer sum to 1"
    P = torch.eye(A[0].shape[-1])
    for attention in A: P = P + attention.mean(0) @ P
    return P


@rollout_slips
def residual_once(A, residual):
    "the residual was taken once, after the product: it is in every block"
    return residual*torch.eye(A[0].shape[-1]) + (1 - residual)*rolled(A, 0.)


@rollout_slips
def heads_summed(A, residual):
    "the heads were summed: take their mean"
    return rolled([attention.sum(0, True) for attention in A], residual)


@rollout_slips
def largest_head(A, residual):
    "the largest head was taken: take their mean"
    return rolled([attention.amax(0, True) for attention in A], residual)


@rollout_slips
def heads_apart(A, residual):
    "each head was rolled out by itself, and averaged at the end: average the heads in each block"
    heads = range(len(A[0]))
    return torch.stack([rolled([attention[h:h+1] for attention in A], residual)
                        for h in heads]).mean(0)


@rollout_slips
def queries_and_keys(A, residual):
    "queries and keys are swapped: a row is a query"
    return rolled([attention.mT for attention in A], residual)


@rollout_slips
def rollout_turned(A, residual):
    "this is turned: a row is a later token"
    return rolled(A, residual).T


@rollout_slips
def last_block(A, residual):
    "this is the last block alone"
    return rolled(A[-1:], residual)


@rollout_slips
def first_block(A, residual):
    "this is the first block alone"
    return rolled(A[:1], residual)


@rollout_slips
def blocks_averaged(A, residual):
    "the blocks were averaged: multiply them"
    return torch.stack([rolled([attention], residual) for attention in A]).mean(0)


@exercise('08.1', 'attention rollout with residuals')
def check_rollout(my_rollout):
    "The rollout of two blocks and of three."
    for blocks, heads, tokens, residual in [(2, 2, 3, .4), (2, 1, 2, .5), (3, 4, 5, .3)]:
        case = (f'{blocks} blocks, {heads} head{"s"*(heads > 1)}, {tokens} tokens, '
                f'residual {residual}')
        A = [*torch.randn(blocks, heads, tokens, tokens).mul(2).softmax(-1)]
        answer = ask(lambda r: my_rollout([attention.clone() for attention in A], r), residual,
                     case=case)
        truth = rolled(A, residual)
        compare(answer, truth, 'later original', case, rollout_slips.of(A, residual))
    return 'two and three blocks; every row sums to 1'


# 08.2

compose_slips = Slips()


@compose_slips
def way_turned(first, second):
    "this is turned: a row is a later token, (region, later, original)"
    return first @ second


@compose_slips
def first_alone(first, second):
    "this is the first mixing alone"
    return first.mT


@compose_slips
def second_alone(first, second):
    "this is the second mixing alone"
    return second.mT


@compose_slips
def reshaped(first, second):
    "reshape does not turn a matrix, it reads it in another row length"
    return (first @ second).reshape(len(first), second.shape[2], first.shape[1])


@compose_slips
def regions_summed(first, second):
    "the regions were added up: each has its own matrices"
    return (first @ second).mT.sum(0)


@compose_slips
def regions_stacked(first, second):
    "the regions were put one below the other: they have an axis of their own"
    return (first @ second).mT.flatten(0, 1)


@compose_slips
def regions_in_one_matrix(first, second):
    "this is one matrix for all regions: each is asked for by itself, (region, later, original)"
    return torch.block_diag(*(first @ second).mT)


@compose_slips
def regions_mixed(first, second):
    "each region was mixed with all regions: each has its own matrices"
    return (first @ second.sum(0)).mT


@compose_slips
def softmax_again(first, second):
    "a softmax was taken again: the product sums to 1 by itself"
    return (first @ second).softmax(1).mT


@compose_slips
def divided_by_largest(first, second):
    "the rows were divided by their largest"
    way = first @ second
    return (way/way.amax(1, True)).mT


@compose_slips
def second_turned(first, second):
    "the second matrix is turned the wrong way"
    return (first @ second.mT).mT if second.shape[1] == second.shape[2] else None


@exercise('08.2', 'two mixings in a row')
def check_compose(compose):
    "The product of two mixings, region by region, in four sizes."
    sizes = [(2, 3, 2, 2), (2, 5, 3, 2), (1, 3, 2, 2), (4, 21, 8, 4)]
    for regions, tokens, mixed, later in sizes:
        case = f'{regions} region{"s"*(regions > 1)}, {tokens} tokens, {mixed} mixed, {later} after'
        first = torch.randn(regions, tokens, mixed).softmax(1)
        second = torch.randn(regions, mixed, later).softmax(1)
        answer = ask(compose, first, second, case=case)
        truth = (first @ second).mT
        compare(answer, truth, 'region later original', case, compose_slips.of(first, second))
    return 'four sizes, region by region; rows still sum to 1'


# 08.3

share_slips = Slips()


def indicator(layout):
    "Which token is of which scale: (token, scale), 0 or 1."
    return torch.eye(len(layout.grids))[layout.scale]


@share_slips
def mean_not_sum(layout, P):
    "the mean was taken, not the sum"
    return P @ indicator(layout)/indicator(layout).sum(0)


@share_slips
def shares_turned(layout, P):
    "this is turned: a row is a later token"
    return (P @ indicator(layout)).T


@share_slips
def parts_of_tokens(layout, P):
    "these are parts of the tokens, not of the weights"
    return indicator(layout).mean(0).expand(len(P), -1).clone()


@share_slips
def divided_by_part(layout, P):
    "divided by the part of the tokens: a share is what it is"
    return P @ indicator(layout)/indicator(layout).mean(0)


@share_slips
def order_of_scales(layout, P):
    "scale by scale was assumed: use layout.scale, which is in sequence order"
    return P @ indicator(layout)[layout.order.argsort()]


@share_slips
def finest_first(layout, P):
    "the finest scale comes first"
    return (P @ indicator(layout)).flip(1)


@share_slips
def later_averaged(layout, P):
    "all later tokens were averaged"
    return (P @ indicator(layout)).mean(0)


@share_slips
def divided_by_row(layout, P):
    "divided by the sum of the row, which need not be 1"
    return P @ indicator(layout)/P.sum(1, keepdim=True)


@exercise('08.3', 'the share of each scale')
def check_shares(scale_shares, why):
    "The shares in three layouts, and what those of an untrained model say."
    sums = torch.tensor([1., .9, .5, 1., .2])[:, None]
    for layout in (TokenLayout(4, (2, 4)), TokenLayout(8, (2, 4, 8)), TokenLayout(8, (1, 2, 4))):
        case = f'{layout}'
        P = torch.randn(5, layout.n_tokens).mul(2).softmax(1)*sums
        answer = ask(scale_shares, P, layout.scale, case=case)
        truth = P @ indicator(layout)
        compare(answer, truth, 'later scale', case, share_slips.of(layout, P))
    compare_choice(why, 'b', {
        'a': 'count before you conclude: how many of the 21 tokens of a region are of the finest '
             'scale?',
        'c': 'it has shares, nearly the same for every picture and every mixed token; '
             'compare two pictures'})
    return ('three layouts; equal weights give each scale its part of the tokens, '
            'whatever the picture')


# 08.4: several later tokens at once; in one layout the scales do not double

paint_slips = Slips()


def painted(layout, P, pixels=None, grow=0, turn=False):
    """Weights (later, token) on the pixels: (later, row, column).

    What a box is divided by is its number of pixels, or `pixels(side)`; `grow` moves its ends.
    """
    pictures = torch.zeros(len(P), layout.image_size, layout.image_size)
    for (x0, y0, x1, y1), weights in zip(layout.boxes.tolist(), P.T):
        side = x1 - x0
        rows = slice(y0, max(y1 + grow, y0 + 1))
        columns = slice(x0, max(x1 + grow, x0 + 1))
        if turn: rows, columns = columns, rows
        divisor = pixels(side) if pixels else side*side
        pictures[:, rows, columns] += weights[:, None, None]/divisor
    return pictures


def whole_weights(layout, P):
    "Each pixel with the whole weight of its tokens."
    return painted(layout, P, pixels=lambda side: 1)


@paint_slips
def not_spread(layout, P):
    "each pixel got the whole weight: spread it evenly, so that the sum is kept"
    return whole_weights(layout, P)


@paint_slips
def divided_by_side(layout, P):
    "divided by the side of the box: it has side × side pixels"
    return painted(layout, P, pixels=lambda side: side)


@paint_slips
def boxes_turned(layout, P):
    "rows and columns are swapped: a box is x0, y0, x1, y1"
    return painted(layout, P, turn=True)


@paint_slips
def boxes_cut(layout, P):
    "off by one: x1 and y1 are exclusive already"
    return painted(layout, P, grow=-1)


@paint_slips
def boxes_grown(layout, P):
    "off by one: the boxes are a pixel too large"
    return painted(layout, P, grow=1)


@paint_slips
def sum_in_place_of_pixels(layout, P):
    "each picture was divided by its sum, instead of each token by its pixels"
    pictures = whole_weights(layout, P)
    return pictures/pictures.sum((1, 2), True)


@paint_slips
def divided_by_sum(layout, P):
    "each picture was divided by its sum: it has what its row of P sums to"
    pictures = painted(layout, P)
    return pictures/pictures.sum((1, 2), True)


@paint_slips
def overwritten(layout, P):
    "the scales overwrite each other: add, +="
    pictures = torch.zeros(len(P), layout.image_size, layout.image_size)
    for (x0, y0, x1, y1), weights in zip(layout.boxes.tolist(), P.T):
        pictures[:, y0:y1, x0:x1] = weights[:, None, None]/(x1 - x0)**2
    return pictures


@paint_slips
def scales_averaged(layout, P):
    "the scales were averaged: add them up"
    return painted(layout, P)/len(layout.grids)


@paint_slips
def weights_by_scale(layout, P):
    "scale by scale was assumed: the weights are in sequence order"
    return painted(layout, P[:, layout.order])


@paint_slips
def weights_reordered(layout, P):
    "the weights were put into another order: they are in that of the boxes"
    return painted(layout, P[:, layout.order.argsort()])


@paint_slips
def row_by_row(layout, P):
    "the tokens of a scale were laid out row by row: they go region by region, see layout.boxes"
    pictures = torch.zeros(len(P), layout.image_size, layout.image_size)
    for scale, (grid, side) in enumerate(zip(layout.grids, layout.patch_sizes)):
        squares = P[:, layout.scale == scale].view(-1, grid, grid)/side**2
        pictures += squares.repeat_interleave(side, 1).repeat_interleave(side, 2)
    return pictures


@paint_slips
def finest_alone(layout, P):
    "one scale alone was painted, the finest"
    return painted(layout, P*(layout.scale == 0))


@paint_slips
def later_added(layout, P):
    "the later tokens were added up: one picture for each"
    return painted(layout, P).sum(0)


@paint_slips
def picture_by_largest(layout, P):
    "each picture was divided by its largest value"
    pictures = painted(layout, P)
    return pictures/pictures.amax((1, 2), True)


def draw_painted(answer, truth):
    "The first later token that differs: what was given and what was expected."
    k = int((answer != truth).flatten(1).any(1).nonzero()[0])
    fig, axs = plt.subplots(1, 2, figsize=(5.2, 2.5), layout='constrained')
    for ax, pictures, name in zip(axs, (answer, truth), ('yours', 'expected')):
        image = ax.imshow(pictures[k].detach(), vmin=0, vmax=float(truth[k].max()))
        ax.set(xticks=[], yticks=[])
        ax.set_title(f'{name}, sum {float(pictures[k].sum()):.2f}', fontsize=10)
    fig.colorbar(image, ax=axs)
    return fig


@exercise('08.4', 'paint tokens of several scales onto the pixels')
def check_paint(paint):
    "The pictures of three later tokens in three layouts."
    sums = torch.tensor([[1.], [.5], [.8]])
    for layout in (TokenLayout(4, (2, 4)), TokenLayout(8, (1, 2, 4)), TokenLayout(12, (1, 3, 6))):
        case = f'{layout}'
        P = torch.randn(3, layout.n_tokens).softmax(1)*sums
        truth = painted(layout, P)
        answer = ask(lambda weights: paint(layout, weights), P, case=case)
        fits = isinstance(answer, torch.Tensor) and answer.shape == truth.shape
        draw = (lambda: draw_painted(answer, truth)) if fits else None
        compare(answer, truth, 'later row column', case, paint_slips.of(layout, P), draw=draw)
    return 'three layouts, three later tokens each; every picture sums to what its row does'
