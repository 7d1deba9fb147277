"Chapter 06: the schedule, cutmix, one draw against many, a crop of its own for each image."
import math

import torch
from torch.nn.functional import interpolate

from ..augment import AugmentSchedule, cubic
from .core import (Slips, Wrong, ask, compare, compare_choice, compare_number, compare_pair,
                   exercise, refuse_loop)

# 06.1: the reference is the package's own

schedule_slips = Slips()


def half_cosine(epoch, epochs, p0):
    "From p0 along half a cosine, which is 0 in epoch `epochs`."
    return p0*(1 + math.cos(math.pi*epoch/epochs))/2


@schedule_slips
def not_halved(epoch, epochs, p0):
    "it is not halved: the bracket goes from 2 to 0"
    return 2*half_cosine(epoch, epochs, p0)


@schedule_slips
def one_missing(epoch, epochs, p0):
    "the cosine goes from 1 to −1: add 1, and halve"
    return p0*math.cos(math.pi*epoch/epochs)


@schedule_slips
def cut_off(epoch, epochs, p0):
    "the cosine was cut off where it is negative: add 1, and halve"
    return p0*max(0., math.cos(math.pi*epoch/epochs))


@schedule_slips
def folded_up(epoch, epochs, p0):
    "the negative half of the cosine was turned up: add 1, and halve"
    return p0*abs(math.cos(math.pi*epoch/epochs))


@schedule_slips
def rising(epoch, epochs, p0):
    "it rises: it begins at p0 and falls"
    return p0 - half_cosine(epoch, epochs, p0)


@schedule_slips
def epochs_from_one(epoch, epochs, p0):
    "epochs are counted from 1 here: they start at 0"
    return half_cosine(epoch + 1, epochs, p0)


@schedule_slips
def last_epoch_zero(epoch, epochs, p0):
    "off by one: divide by E, so that the last epoch is not 0 yet"
    return half_cosine(epoch, max(epochs - 1, 1), p0)


@schedule_slips
def straight_line(epoch, epochs, p0):
    "a straight line, not half a cosine"
    return p0*(1 - epoch/epochs)


@schedule_slips
def frozen(epoch, epochs, p0):
    "it stays: this is frozen"
    return p0


@schedule_slips
def whole_turn(epoch, epochs, p0):
    "a whole turn of the cosine, not half of one: π, not 2π"
    return half_cosine(2*epoch, epochs, p0)


@schedule_slips
def quarter_turn(epoch, epochs, p0):
    "a quarter of the cosine, not half of one"
    return p0*math.cos(math.pi/2*epoch/epochs)


@schedule_slips
def degrees(epoch, epochs, p0):
    "the angle is in degrees; math.cos takes radians"
    return p0*(1 + math.cos(180*epoch/epochs))/2


@schedule_slips
def start_missing(epoch, epochs, p0):
    "p0 is missing"
    return half_cosine(epoch, epochs, 1.)


@schedule_slips
def pi_missing(epoch, epochs, p0):
    "π is missing"
    return p0*(1 + math.cos(epoch/epochs))/2


@exercise('06.1', 'the schedule')
def check_schedule(my_p):
    "The probability in six epochs of three trainings."
    cases = [(0, 10, .6), (7, 10, .8), (3, 8, .8), (5, 10, .6), (9, 10, .8), (300, 800, .6),
             (799, 800, .8)]
    for epoch, epochs, p0 in cases:
        case = f'epoch {epoch} of {epochs}, p0 {p0}'
        answer = ask(my_p, epoch, epochs, p0, case=case)
        truth = AugmentSchedule(epochs, p0)(epoch)[0]
        slips = schedule_slips.of(epoch, epochs, p0)
        compare_number(answer, truth, 'the probability', case, slips, tol=1e-6)
    return f'{len(cases)} epochs of four trainings, from p0 to nearly 0'


# 06.2: pictures of random numbers, boxes that are nowhere square

cut_slips = Slips()


def hole(x, top, left, bottom, right):
    "1 in the box, 0 outside: (row, column)."
    inside = torch.zeros(x.shape[2:])
    inside[top:bottom, left:right] = 1
    return inside


def cut(x, other, *box):
    "The pictures with the box of others."
    return torch.where(hole(x, *box).bool(), other, x)


@cut_slips
def next_picture(x, top, left, bottom, right):
    "the other picture is the next one, not the one before"
    return cut(x, x.roll(-1, 0), top, left, bottom, right)


@cut_slips
def nothing_cut(x, top, left, bottom, right):
    "nothing was cut"
    return x


@cut_slips
def inside_out(x, top, left, bottom, right):
    "inside and outside are swapped"
    return cut(x.roll(1, 0), x, top, left, bottom, right)


@cut_slips
def box_turned(x, top, left, bottom, right):
    "rows and columns of the box are swapped"
    return cut(x, x.roll(1, 0), left, top, right, bottom)


@cut_slips
def batch_turned(x, top, left, bottom, right):
    "the batch was turned round, last to first: the other picture is the one before"
    return cut(x, x.flip(0), top, left, bottom, right)


@cut_slips
def rolled_flat(x, top, left, bottom, right):
    "roll without an axis moves single values: roll(1, 0) moves pictures"
    return cut(x, x.roll(1), top, left, bottom, right)


@cut_slips
def rolled_columns(x, top, left, bottom, right):
    "the pictures were moved along another axis: the batch is axis 0"
    return cut(x, x.roll(1, 3), top, left, bottom, right)


@cut_slips
def ends_counted(x, top, left, bottom, right):
    "off by one: the box ends before bottom and before right"
    return cut(x, x.roll(1, 0), top, left, bottom + 1, right + 1)


@cut_slips
def ends_as_sides(x, top, left, bottom, right):
    "bottom and right were read as height and width"
    return cut(x, x.roll(1, 0), top, left, top + bottom, left + right)


@cut_slips
def written_over(x, top, left, bottom, right):
    "a picture already written over was copied: read from x, write into a clone"
    return cut(x, x[-1:], top, left, bottom, right)


@cut_slips
def black_hole(x, top, left, bottom, right):
    "the hole is black: put the other picture there"
    return cut(x, torch.zeros_like(x), top, left, bottom, right)


target_slips = Slips()


def blend(own, before, part):
    "Targets in which the other picture has a part."
    return (1 - part)*own + part*before


@target_slips
def targets_unmixed(t, part, x, box):
    "the targets were not mixed"
    return t


@target_slips
def targets_of_other(t, part, x, box):
    "these are the targets of the other picture alone"
    return t.roll(1, 0)


@target_slips
def shares_swapped(t, part, x, box):
    "the shares are swapped: the box belongs to the other picture"
    return blend(t.roll(1, 0), t, part)


@target_slips
def half_and_half(t, part, x, box):
    "half and half, whatever the area"
    return blend(t, t.roll(1, 0), .5)


@target_slips
def next_target(t, part, x, box):
    "mixed with the next target, the picture with the one before"
    return blend(t, t.roll(-1, 0), part)


@target_slips
def targets_turned(t, part, x, box):
    "the batch of targets was turned round, last to first"
    return blend(t, t.flip(0), part)


@target_slips
def targets_rolled_flat(t, part, x, box):
    "roll without an axis moves single numbers of the targets: roll(1, 0) moves rows"
    return blend(t, t.roll(1), part)


@target_slips
def sides_averaged(t, part, x, box):
    "the sides were averaged: the area counts"
    top, left, bottom, right = box
    return blend(t, t.roll(1, 0), ((bottom - top)/x.shape[2] + (right - left)/x.shape[3])/2)


@target_slips
def channels_counted(t, part, x, box):
    "channels were counted: the share is of pixels"
    return blend(t, t.roll(1, 0), part/x.shape[1])


@target_slips
def area_with_ends(t, part, x, box):
    "off by one: the box has (bottom − top) · (right − left) pixels"
    top, left, bottom, right = box
    return blend(t, t.roll(1, 0), (bottom - top + 1)*(right - left + 1)/x[0, 0].numel())


@target_slips
def area_of_ends(t, part, x, box):
    "bottom and right were read as height and width: the area is that of the box"
    top, left, bottom, right = box
    return blend(t, t.roll(1, 0), bottom*right/x[0, 0].numel())


@target_slips
def not_made_smaller(t, part, x, box):
    "the rows do not sum to 1: the own target was not made smaller"
    return t + part*t.roll(1, 0)


@exercise('06.2', 'cutmix, with its targets')
def check_cutmix(my_cutmix):
    "Pictures and targets for three boxes, an empty one among them."
    cases = [(3, 2, 5, 7, (1, 0, 3, 3)), (4, 3, 6, 6, (0, 2, 5, 6)), (5, 1, 8, 9, (1, 2, 4, 5)),
             (2, 1, 4, 4, (0, 0, 0, 0))]
    for images, channels, height, width, box in cases:
        top, left, bottom, right = box
        case = (f'{images} pictures of {height}×{width}, '
                f'box from ({top}, {left}) to ({bottom}, {right})')
        x = torch.rand(images, channels, height, width)
        t = torch.eye(images + 1)[:images]
        part = hole(x, *box).mean()
        answer = ask(my_cutmix, x, t, *box, case=case)
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            raise Wrong(f'{case}: give pictures and targets')
        shapes = [getattr(part, 'shape', None) for part in answer]
        if shapes == [t.shape, x.shape]:
            raise Wrong(f'{case}: pictures and targets are swapped: pictures first, then targets')
        truth = cut(x, x.roll(1, 0), *box)
        compare(answer[0], truth, 'batch channel row column', f'{case}, pictures',
                cut_slips.of(x, *box))
        compare(answer[1], blend(t, t.roll(1, 0), part), 'batch class', f'{case}, targets',
                target_slips.of(t, part, x, box))
    return 'four boxes, an empty one among them; each target has the share of its pixels'


# 06.3: the variances are exact: every draw is equally likely, so nothing has to be simulated

variance_slips = Slips()


def variance(numbers, *axes):
    "The variance of all the draws there are."
    return numbers.var(*axes, unbiased=False)


def shared_variance(table):
    "Of the mean of a batch whose images share one draw."
    return variance(table.mean(1)).item()


def own_variance(table):
    "Of the mean of a batch whose images have a draw each."
    return (variance(table, 0).sum()/table.shape[1]**2).item()


def variances(table):
    "Both."
    return shared_variance(table), own_variance(table)


def correction(table):
    "What a variance grows by that is divided by draws − 1."
    return len(table)/(len(table) - 1)


@variance_slips
def variances_swapped(table):
    "the two are swapped: shared comes first"
    return variances(table)[::-1]


@variance_slips
def shared_twice(table):
    "shared was given twice"
    return shared_variance(table), shared_variance(table)


@variance_slips
def own_not_divided(table):
    "own is not divided by the number of pictures: a mean of n independent draws"
    return shared_variance(table), own_variance(table)*table.shape[1]


@variance_slips
def own_summed(table):
    "own is a sum of variances: the mean of n numbers has that sum over n²"
    return shared_variance(table), own_variance(table)*table.shape[1]**2


@variance_slips
def own_divided_twice(table):
    "own is divided by the number twice"
    return shared_variance(table), own_variance(table)/table.shape[1]


@variance_slips
def own_from_shared(table):
    "own is the shared variance divided by n: each picture has its own, add those up"
    return shared_variance(table), shared_variance(table)/table.shape[1]


@variance_slips
def own_of_first(table):
    "own is that of the first picture alone, divided by n: each picture has its own, add those up"
    return shared_variance(table), variance(table[:, 0]).item()/table.shape[1]


@variance_slips
def first_picture(table):
    "these are variances of the first picture alone: a batch pushes by the mean over its pictures"
    first = variance(table[:, 0]).item()
    return first, first/table.shape[1]


@variance_slips
def own_first_not_divided(table):
    "own is the variance of the first picture alone: it is that of a mean over n of them"
    return shared_variance(table), variance(table[:, 0]).item()


@variance_slips
def deviations(table):
    "these are standard deviations, not variances"
    return shared_variance(table)**.5, own_variance(table)**.5


@variance_slips
def both_corrected(table):
    "divided by draws − 1: these are all the draws there are"
    return shared_variance(table)*correction(table), own_variance(table)*correction(table)


@variance_slips
def own_corrected(table):
    "own alone was divided by draws − 1: these are all the draws there are, unbiased=False"
    return shared_variance(table), own_variance(table)*correction(table)


@variance_slips
def shared_corrected(table):
    "shared alone was divided by draws − 1: these are all the draws there are, unbiased=False"
    return shared_variance(table)*correction(table), own_variance(table)


@variance_slips
def over_pictures(table):
    "over the pictures, not over the draws"
    own = variance(table, 1).mean().item()/table.shape[1]
    return variance(table.mean(0)).item(), own


@variance_slips
def shared_of_one_picture(table):
    "shared is the mean variance of one picture: average over the pictures first"
    return own_variance(table)*table.shape[1], own_variance(table)


@variance_slips
def draws_and_pictures(table):
    "own mixes up draws and pictures: take the variance of each picture over its draws"
    return shared_variance(table), variance(table).item()/table.shape[1]


@exercise('06.3', 'one draw for the whole batch')
def check_variances(two_variances, why):
    "Two variances for four tables, and what a larger batch does to them."
    for draws, pictures, common in [(3, 2, .5), (5, 3, 1.), (40, 64, .9), (7, 100, 0.)]:
        table = common*torch.randn(draws, 1) + torch.randn(pictures)
        table = table + .5*torch.randn(draws, pictures)
        case = f'{draws} draws, {pictures} pictures'
        answer = ask(two_variances, table, case=case)
        slips = variance_slips.of(table)
        compare_pair(answer, variances(table), 'variance', case, slips, eps=1e-3)
    compare_choice(why, 'b', {
        'a': 'with one draw all pictures lean the same way, '
             'and a mean over more of them leans as far',
        'c': 'the draws are the same; whether they cancel in the mean is not. '
             'Try 10 pictures and 100'})
    return ('with its own draws a batch averages them out, like 1/n; '
            'with one draw the variance stays, however large the batch')


# 06.4: the first that fits

first_fit_slips = Slips()


def fits(h, w, height, width):
    "Which tries lie inside the image: bool (batch, try)."
    return (h > 0) & (w > 0) & (h <= height) & (w <= width)


def pick(h, w, good, height, width):
    "The first good try of each image, the whole image if there is none, in plain Python."
    sides = []
    for image in range(len(h)):
        places = good[image].nonzero().flatten().tolist()
        first = [h[image, places[0]], w[image, places[0]]] if places else [height, width]
        sides.append(first)
    return torch.tensor(sides, dtype=torch.int64)


def first_sides(h, w, height, width):
    "The first try that fits, the whole image if none does."
    return pick(h, w, fits(h, w, height, width), height, width)


@first_fit_slips
def last_fit(h, w, height, width):
    "the last try that fits was taken, not the first"
    return first_sides(h.flip(1), w.flip(1), height, width)


@first_fit_slips
def first_try(h, w, height, width):
    "the first try was taken, whether it fits or not"
    return torch.stack([h[:, 0], w[:, 0]], 1)


@first_fit_slips
def none_fits_first_try(h, w, height, width):
    "where no try fits the whole image is asked for, not the first try"
    sides = first_sides(h, w, height, width)
    none = ~fits(h, w, height, width).any(1)
    sides[none] = torch.stack([h[:, 0], w[:, 0]], 1)[none]
    return sides


@first_fit_slips
def each_side_alone(h, w, height, width):
    "height and width were chosen apart: a try fits if both do, &"
    rows = pick(h, w, (h > 0) & (h <= height), height, width)
    columns = pick(h, w, (w > 0) & (w <= width), height, width)
    return torch.stack([rows[:, 0], columns[:, 1]], 1)


@first_fit_slips
def either_side(h, w, height, width):
    "a try was taken of which one side fits: both must hold, &"
    good = ((h > 0) & (h <= height)) | ((w > 0) & (w <= width))
    return pick(h, w, good, height, width)


@first_fit_slips
def full_side_refused(h, w, height, width):
    "off by one: a try as high or as wide as the image fits, <="
    good = (h > 0) & (w > 0) & (h < height) & (w < width)
    return pick(h, w, good, height, width)


@first_fit_slips
def empty_accepted(h, w, height, width):
    "a side of 0 was accepted: a box has pixels"
    good = (h <= height) & (w <= width)
    return pick(h, w, good, height, width)


@first_fit_slips
def limits_swapped(h, w, height, width):
    "height and width are swapped: h is held against height, w against width"
    good = fits(h, w, width, height)
    return pick(h, w, good, height, width)


@first_fit_slips
def sides_swapped(h, w, height, width):
    "the two columns are swapped: h first, then w"
    return first_sides(h, w, height, width).flip(1)


@first_fit_slips
def choice_of_first_image(h, w, height, width):
    "every image got the try that fits the first image: each has its own"
    good = fits(h, w, height, width)[:1].expand_as(h)
    return pick(h, w, good, height, width)


@first_fit_slips
def sides_turned(h, w, height, width):
    "the axes are swapped: one row for each image"
    return first_sides(h, w, height, width).T


def tries(images, n, height, width):
    "Sides of `n` tries an image, about half of which fit; the first image has none that fits."
    h = torch.randint(0, 3*height//2, (images, n))
    w = torch.randint(0, 3*width//2, (images, n))
    h[0] += height
    return h, w


# 06.4: and the two matrices of a crop

matrix_slips = Slips()


def centres(start, length, size_out, half=.5):
    "Where the centres of new pixels lie in the picture, in old pixels: (batch, out, 1)."
    new = torch.arange(size_out) + half
    return (start[:, None] + new*length[:, None]/size_out)[:, :, None]


def tent(centre, size_in, half=.5, width=1.):
    "Weights that fall to 0 at one old pixel from the centre: (batch, out, in)."
    old = torch.arange(size_in) + half
    return (1 - (old - centre).abs()/width).clamp(min=0)


def inside(start, length, size_in):
    "Which old pixels lie in the box: bool (batch, 1, in)."
    at = torch.arange(size_in)
    return ((at >= start[:, None]) & (at < (start + length)[:, None]))[:, None]


def row_shares(weights):
    "Weights divided by the sum of their row."
    return weights/weights.sum(2, keepdim=True)


def crop_weights(start, length, size_in, size_out):
    "PyTorch's own interpolation, image by image, of the pictures that are 1 at one pixel."
    matrices = []
    for first, n in zip(start.tolist(), length.tolist()):
        basis = torch.eye(size_in)[None, :, first:first + n]                     # 1 old-pixel box
        rows = interpolate(basis, size_out, mode='linear', align_corners=False)[0]
        matrices.append(rows.T)
    return torch.stack(matrices)


@matrix_slips
def matrix_turned(start, length, size_in, size_out):
    "this is turned: a row is a new pixel, (batch, out, in)"
    return crop_weights(start, length, size_in, size_out).mT


@matrix_slips
def start_missing_in_crop(start, length, size_in, size_out):
    "the box begins at its start, not at pixel 0"
    return crop_weights(torch.zeros_like(start), length, size_in, size_out)


@matrix_slips
def whole_picture(start, length, size_in, size_out):
    "the whole picture was resized: cut out the box"
    zeros = torch.zeros_like(start)
    return crop_weights(zeros, zeros + size_in, size_in, size_out)


@matrix_slips
def box_edge_crossed(start, length, size_in, size_out):
    "pixels outside the box were used: a row has weights inside the box alone"
    return row_shares(tent(centres(start, length, size_out), size_in))


@matrix_slips
def rows_not_divided(start, length, size_in, size_out):
    "the rows at the edge of the box do not sum to 1: divide each by its sum"
    return tent(centres(start, length, size_out), size_in)*inside(start, length, size_in)


@matrix_slips
def half_missing_in_new(start, length, size_in, size_out):
    "the half of the new pixel is missing: its centre is at j + ½"
    weights = tent(centres(start, length, size_out, half=0), size_in)
    return row_shares(weights*inside(start, length, size_in))


@matrix_slips
def half_missing_in_old(start, length, size_in, size_out):
    "the half of the old pixel is missing: its centre is at i + ½"
    weights = tent(centres(start, length, size_out), size_in, half=0)
    return row_shares(weights*inside(start, length, size_in))


@matrix_slips
def halves_missing(start, length, size_in, size_out):
    "both halves are missing: pixels have their centres at i + ½ and j + ½"
    weights = tent(centres(start, length, size_out, half=0), size_in, half=0)
    return row_shares(weights*inside(start, length, size_in))


@matrix_slips
def corners_aligned(start, length, size_in, size_out):
    "corners were aligned: new pixel j has its centre at (j + ½)·length/size_out"
    step = (length - 1)/(size_out - 1)
    centre = start[:, None] + .5 + torch.arange(size_out)*step[:, None]
    return row_shares(tent(centre[:, :, None], size_in)*inside(start, length, size_in))


@matrix_slips
def nearest_pixel(start, length, size_in, size_out):
    "this takes the nearest old pixel: two have a share, the nearer the more"
    return torch.eye(size_in)[centres(start, length, size_out)[:, :, 0].long()]


@matrix_slips
def cubic_weights(start, length, size_in, size_out):
    "these are the cubic weights of the chapter: linear ones are asked for"
    width = (length/size_out).clamp(min=1)[:, None, None]
    old = torch.arange(size_in) + .5
    weights = cubic((old - centres(start, length, size_out))/width)
    return row_shares(weights*inside(start, length, size_in))


@matrix_slips
def tent_widened(start, length, size_in, size_out):
    "the tent was widened where the picture gets smaller: here it reaches one old pixel always"
    width = (length/size_out).clamp(min=1)[:, None, None]
    weights = tent(centres(start, length, size_out), size_in, width=width)
    return row_shares(weights*inside(start, length, size_in))


@matrix_slips
def end_as_length(start, length, size_in, size_out):
    "length was read as the end of the box"
    if (length <= start).any(): return None
    return crop_weights(start, length - start, size_in, size_out)


@matrix_slips
def box_of_first(start, length, size_in, size_out):
    "every image has the box of the first"
    first = crop_weights(start[:1], length[:1], size_in, size_out)
    return first.expand(len(start), -1, -1).clone()


def boxes(images, size):
    "First pixel and length of a box for each image, along one axis."
    length = torch.randint(size//2, size + 1, (images,))
    start = (torch.rand(images)*(size + 1 - length)).long()
    return start, length


@exercise('06.4', 'a crop of its own for each image')
def check_crop(first_fit, crop_matrix):
    "The first try that fits, then the matrix that crops and resizes one axis; neither loops."
    for images, n, height, width in [(6, 4, 6, 9), (40, 10, 7, 5), (3, 1, 5, 5)]:
        case = f'{images} images of {height}×{width}, {n} tr{"ies" if n > 1 else "y"} each'
        h, w = tries(images, n, height, width)
        answer = ask(first_fit, h, w, height, width, case=case)
        compare(answer, first_sides(h, w, height, width), 'batch side', case,
                first_fit_slips.of(h, w, height, width))
    few = tries(2, 10, 8, 8)
    refuse_loop(first_fit, (*few, 8, 8), (*tries(64, 10, 8, 8), 8, 8), 'images')
    cases = [(torch.tensor([1, 2]), torch.tensor([3, 5]), 8, 6),
             (torch.tensor([2, 0, 5]), torch.tensor([8, 12, 7]), 12, 4), (*boxes(30, 28), 28, 32)]
    for start, length, size_in, size_out in cases:
        case = f'{len(start)} boxes of {size_in} pixels, resized to {size_out}'
        answer = ask(crop_matrix, start, length, size_in, size_out, case=case)
        if isinstance(answer, torch.Tensor) and answer.isnan().any():
            raise Wrong(f'{case}: a row has no weight at all, 0/0: where is the centre of its new '
                        'pixel? It is length/size_out old ones wide')
        compare(answer, crop_weights(start, length, size_in, size_out), 'batch out in', case,
                matrix_slips.of(start, length, size_in, size_out))
    refuse_loop(crop_matrix, (*boxes(2, 8), 8, 8), (*boxes(64, 8), 8, 8), 'images')
    return ('the first of ten tries that fits, and two matrices that crop and resize as '
            "PyTorch's linear interpolation does, without a loop over images")
