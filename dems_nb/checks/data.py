"Chapter 05: the order and the batches of an epoch, IDX files, honest reports, fair parts."
from itertools import chain

import torch

from .core import (Slips, Wrong, ask, ask_quietly, check_shape, compare, compare_choice,
                   compare_pair, exercise, function_calls, kind_of)

# 05.1: any generator will do, so nothing is compared with an order of ours. What is asked is what
# an order must be: every picture once, from seed and epoch alone, the same when it is continued

def order_of(my_order, n, bs, seed, epoch, start=0):
    "An order; raises `Wrong` if it is none, or if a global random state was used for it."
    case = f'n={n}, bs={bs}, seed={seed}, epoch={epoch}, start={start}'
    order = ask_quietly(my_order, n, bs, seed, epoch, start, case=case)
    if not isinstance(order, torch.Tensor):
        raise Wrong(f'{case}: a tensor is expected, this is {kind_of(order)}')
    if order.ndim == 1 and start and len(order) != n - bs*start:
        if len(order) == n - start: raise Wrong(f'{case}: start counts batches, not pictures')
        if len(order) == n: raise Wrong(f'{case}: start was not used')
    try: check_shape(order.shape, (n - bs*start,), 'picture')
    except Wrong as problem: raise Wrong(f'{case}: {problem}') from None
    if order.dtype != torch.int64:
        raise Wrong(f'{case}: dtype {order.dtype}, expected torch.int64')
    return order


def check_once_each(order, n):
    "Raise `Wrong` unless an order has each of `n` pictures once, and not as they lie."
    case = f'{n} pictures'
    if order.min() == 1 and order.max() == n:
        raise Wrong(f'{case}: pictures are counted from 1: they start at 0')
    strangers = order[(order < 0) | (order >= n)]
    if len(strangers): raise Wrong(f'{case}: there is no picture {int(strangers[0])}')
    times = order.bincount(minlength=n)
    if (times != 1).any():
        often = int(times.argmax())
        seldom = int(times.argmin())
        count = 'never' if times.min() == 0 else 'once'
        raise Wrong(f'{case}: drawn with replacement: picture {often} comes {int(times.max())} '
                    f'times, picture {seldom} {count}')
    if torch.equal(order, torch.arange(n)): raise Wrong(f'{case}: nothing was shuffled')


def check_continued(my_order, n, bs):
    "Raise `Wrong` unless an epoch is the same when asked for again, or from a later batch on."
    whole = order_of(my_order, n, bs, 3, 5)
    if not torch.equal(whole, order_of(my_order, n, bs, 3, 5)):
        raise Wrong(f'{n} pictures: asked twice, it is not the same order')
    for start in (1, (n - 1)//bs):
        rest = order_of(my_order, n, bs, 3, 5, start)
        if torch.equal(rest, whole[bs*start:]): continue
        again = torch.equal(rest, whole[:len(rest)])
        reason = 'these are the first pictures again' if again else 'this is another order'
        raise Wrong(f'continued at batch {start}: {reason}')


CONFUSIONS = [('their sum counts', (3, 5), (4, 4)), ('their product counts', (2, 6), (3, 4)),
              ('exchanged, they count the same', (2, 4), (4, 2)),
              ('with seed 0 the epoch counts for nothing', (0, 1), (0, 2))]


def check_seed_and_epoch(my_order):
    "Raise `Wrong` if two pairs of seed and epoch have one order."
    whole = order_of(my_order, 1000, 256, 3, 5)
    for what, seed, epoch in [('epoch', 3, 6), ('seed', 4, 5)]:
        if torch.equal(whole, order_of(my_order, 1000, 256, seed, epoch)):
            raise Wrong(f'another {what} gives the same order: {what} counts for nothing')
    for reason, (seed, epoch), (seed2, epoch2) in CONFUSIONS:
        order = order_of(my_order, 1000, 256, seed, epoch)
        if torch.equal(order, order_of(my_order, 1000, 256, seed2, epoch2)):
            raise Wrong(f'seed {seed} in epoch {epoch} and seed {seed2} in epoch {epoch2} '
                        f'give one order: use `seed_of`; {reason}')
    seen = {}
    for seed in range(8):
        for epoch in (*range(100), 1000, 10_000, 100_000, 1_000_000):
            order = tuple(order_of(my_order, 30, 7, seed, epoch).tolist())
            seed2, epoch2 = seen.setdefault(order, (seed, epoch))
            if (seed2, epoch2) == (seed, epoch): continue
            raise Wrong(f'seed {seed2} in epoch {epoch2} and seed {seed} in epoch {epoch} '
                        'give one order: use `seed_of`')


def check_pictures(x, batch, order, bs, i, case):
    "Raise `Wrong` unless a batch holds the pictures of the order, each as it is or mirrored."
    numbers = torch.minimum(batch[:, 0, 0, 0], batch[:, 0, 0, -1]).long()
    truth = order[bs*i:bs*(i + 1)]
    if torch.equal(numbers, truth):
        same = (batch == x[truth]).flatten(1).all(1) | (batch == x[truth].flip(3)).flatten(1).all(1)
        if same.all(): return
        raise Wrong(f'{case}: picture {int((~same).nonzero()[0])} of the batch is neither the '
                    'picture that my_order names nor its mirror image')
    reason = 'these are not the pictures that my_order names, each as it is or mirrored'
    if torch.equal(numbers.sort().values, truth.sort().values):
        reason = 'these are the right pictures in another order'
    if torch.equal(numbers, order[i:i + bs]): reason = 'the number counts batches, not pictures'
    if torch.equal(numbers, order[:bs]): reason = 'these are the pictures of batch 0'
    if torch.equal(numbers, order[bs*(i + 1):bs*(i + 2)]):
        reason = 'batches are counted from 1: they start at 0'
    raise Wrong(f'{case}: {reason}')


def coins_of(my_order, my_batch, x, bs, seed, epoch, i):
    "Which pictures of a batch are mirrored, bool (batch,); raises `Wrong` for wrong pictures."
    case = f'n={len(x)}, bs={bs}, seed={seed}, epoch={epoch}, batch {i}'
    order = order_of(my_order, len(x), bs, seed, epoch)
    truth = x[order[bs*i:bs*(i + 1)]]
    batch = ask_quietly(my_batch, x, bs, seed, epoch, i, case=case)
    if not isinstance(batch, torch.Tensor):
        raise Wrong(f'{case}: a tensor of pictures is expected, this is {kind_of(batch)}')
    try: check_shape(batch.shape, truth.shape, 'batch channel row column')
    except Wrong as problem: raise Wrong(f'{case}: {problem}') from None
    if batch.dtype != x.dtype: raise Wrong(f'{case}: dtype {batch.dtype}, expected {x.dtype}')
    check_pictures(x, batch, order, bs, i, case)
    return (batch != truth).flatten(1).any(1)


def check_batch(my_order, my_batch):
    "Raise `Wrong` unless a batch follows from seed, epoch and its number, and from nothing else."
    x = torch.randint(0, 256, (120, 1, 2, 3), dtype=torch.uint8)
    x[:, 0, 0, 0] = torch.arange(120)                  # each a picture of its own, none symmetric
    x[:, 0, 0, 2] = 255 - torch.arange(120)

    def coins(seed, epoch, i): return coins_of(my_order, my_batch, x, 50, seed, epoch, i)

    first = coins(3, 5, 0)
    if not first.any(): raise Wrong('no picture of a batch is mirrored: use `random_flip`')
    if first.all(): raise Wrong('all pictures of a batch are mirrored: each draws its own coin')
    if torch.equal(first, coins(3, 5, 1)):
        raise Wrong('batches 0 and 1 have the same coins: '
                    'the number of the batch counts for nothing')
    coins(3, 5, 2)
    if not torch.equal(first, coins(3, 5, 0)):
        raise Wrong('batch 0, asked for again after others, has other coins: '
                    'they may not depend on what was made before')
    for what, seed, epoch in [('epoch', 3, 6), ('seed', 4, 5)]:
        if torch.equal(first, coins(seed, epoch, 0)):
            raise Wrong(f'another {what} gives the same coins: {what} counts for nothing')
    for one, other in [((3, 5, 1), (3, 6, 0)), ((3, 5, 0), (4, 4, 0)), ((2, 3, 1), (3, 2, 1))]:
        if torch.equal(coins(*one), coins(*other)):
            raise Wrong(f'(seed, epoch, batch) = {one} and {other} have the same coins: '
                        'use `seed_of` of all three')
    coins_of(my_order, my_batch, x, 2, 3, 5, 59)
    check_alone(my_batch, x, 2)


def check_alone(my_batch, x, bs):
    "Raise `Wrong` if a late batch takes a call more for each batch before it: they are made first."
    last = len(x)//bs - 1
    early = max(function_calls(my_batch, x, bs, 3, 5, i) for i in (2, 1, 0))
    late = min(function_calls(my_batch, x, bs, 3, 5, last - i) for i in (0, 1, 2))
    if late - early < last - 4: return
    raise Wrong(f'batch {last} takes {late:,} calls of functions, batch 0 no more than {early:,}: '
                'the batches before it are made first; give each batch a generator of its own')


@exercise('05.1', 'the order and the batches of an epoch')
def check_order(my_order, my_batch):
    "An order that can be continued anywhere, and a batch that can be made without those before it."
    for n, bs in [(8, 3), (64, 16), (1000, 256)]:
        check_once_each(order_of(my_order, n, bs, 3, 5), n)
        check_continued(my_order, n, bs)
    check_seed_and_epoch(my_order)
    check_batch(my_order, my_batch)
    return ('every picture once, from seed and epoch alone; '
            'a batch from seed, epoch and its number, whatever was made before it')


# 05.2

idx_slips = Slips()


def idx_bytes(x):
    "A uint8 tensor as the bytes of an IDX file."
    sizes = b''.join(n.to_bytes(4, 'big') for n in x.shape)
    return bytes([0, 0, 8, x.ndim]) + sizes + bytes(x.flatten().tolist())


@idx_slips
def first_axis_fastest(x):
    "the first axis runs fastest; the last one should"
    if x.ndim == 1: return None
    return x.flatten().view(x.shape[::-1]).permute(*range(x.ndim)[::-1])


@idx_slips
def rows_and_columns_swapped(x):
    "rows and columns are swapped"
    return None if x.ndim == 1 else x.mT


@idx_slips
def one_long_row(x):
    "this is one long row: give it the shape"
    return None if x.ndim == 1 else x.flatten()


def early_starts(x):
    "What comes of values that begin inside the header: pairs (message, tensor)."
    data = torch.tensor(list(idx_bytes(x)), dtype=torch.uint8)
    header = 4 + 4*x.ndim
    for start in range(header):
        message = f'the values begin too early: the header is {header} bytes, this began at byte'
        yield f'{message} {start}', data[start:start+x.numel()].view(x.shape)


def ask_reader(read_idx, data, shape, case):
    "Call the reader; an error over sizes is told which sizes were read."
    try: return ask(read_idx, data, case=case)
    except Wrong as problem:
        swaps = [int.from_bytes(n.to_bytes(4, 'big'), 'little') for n in shape]
        if any(str(n) in str(problem) for n in swaps):
            raise Wrong(f'{case}: sizes were read least significant byte first: '
                        f'{shape[0]} became {swaps[0]}') from None
        if shape[0] > 65535 and str(shape[0] % 65536) in str(problem):
            raise Wrong(f'{case}: {shape[0]} became {shape[0] % 65536}: '
                        'a size has four bytes, two were read') from None
        if not isinstance(problem.__cause__, ValueError): raise
        raise Wrong(f'{problem}; but this file is whole: which sizes did you read? '
                    'Each is four bytes, the most significant first') from None


def check_refusal(read_idx, data, case):
    "Raise `Wrong` unless the reader raises a ValueError for these bytes."
    try: read_idx(data)
    except ValueError: return
    except Exception as error:
        if isinstance(error, NotImplementedError) and not error.args: raise
        raise Wrong(f'{case}: raised {type(error).__name__}, expected a ValueError') from error
    raise Wrong(f'{case} was accepted: compare the number of values with the header, and raise a '
                'ValueError')


@exercise('05.2', "MNIST's format")
def check_idx(read_idx):
    "Files of one axis to four, a long one, and two whose length does not fit the header."
    for shape in [(2, 3, 4), (3, 2, 2), (5,), (2, 300), (2, 1, 3, 2), (70_000,)]:
        x = torch.randint(0, 256, shape, dtype=torch.uint8)
        x.view(-1)[-1] = 200
        case = f'{len(shape)} {"axes" if len(shape) > 1 else "axis"}, shape {shape}'
        answer = ask_reader(read_idx, idx_bytes(x), shape, case)
        if isinstance(answer, torch.Tensor) and (answer < 0).any():
            raise Wrong(f'{case}: read as signed: 200 became -56')
        axes = ' '.join(f'axis{i}' for i in range(x.ndim))
        compare(answer, x, axes, case, chain(early_starts(x), idx_slips.of(x)))
    data = idx_bytes(torch.randint(0, 256, (2, 1, 3, 2), dtype=torch.uint8))
    check_refusal(read_idx, data[:-1], 'a file that lacks its last byte')
    check_refusal(read_idx, data + b'0', 'a file with a byte too many')
    return 'six shapes, one axis to four; a file cut short is refused'


# 05.3

report_slips = Slips()


def accuracies(right):
    "The accuracy of each checkpoint."
    return right.double().mean(1)


def best_on_test(right_valid, right_test):
    "The accuracy on test pictures of the checkpoint that is best on them."
    return accuracies(right_test).max().item()


def best_on_valid(right_valid, right_test):
    "The accuracy on test pictures of the checkpoint that is best on validation pictures."
    return accuracies(right_test)[accuracies(right_valid).argmax()].item()


def reports(right_valid, right_test):
    "Both accuracies."
    return best_on_test(right_valid, right_test), best_on_valid(right_valid, right_test)


@report_slips
def reports_swapped(right_valid, right_test):
    "the two are swapped: the best on test comes first"
    return reports(right_valid, right_test)[::-1]


@report_slips
def picked_twice(right_valid, right_test):
    "the best on test was taken twice"
    best = best_on_test(right_valid, right_test)
    return best, best


@report_slips
def chosen_twice(right_valid, right_test):
    "chosen on the validation pictures twice"
    honest = best_on_valid(right_valid, right_test)
    return honest, honest


@report_slips
def scored_on_valid(right_valid, right_test):
    "the second is an accuracy on the validation pictures: choose there, report on test"
    return best_on_test(right_valid, right_test), accuracies(right_valid).max().item()


@report_slips
def last_checkpoint(right_valid, right_test):
    "the second is the last checkpoint, not the one best on validation"
    return best_on_test(right_valid, right_test), accuracies(right_test)[-1].item()


@report_slips
def mean_checkpoint(right_valid, right_test):
    "the second is the mean of all checkpoints: choose one"
    return best_on_test(right_valid, right_test), right_test.double().mean().item()


@report_slips
def valid_of_best(right_valid, right_test):
    "the second is the validation accuracy of the one best on test"
    chosen = accuracies(right_test).argmax()
    return best_on_test(right_valid, right_test), accuracies(right_valid)[chosen].item()


@report_slips
def over_checkpoints(right_valid, right_test):
    "averaged over the checkpoints: an accuracy is a mean over pictures"
    by_picture = right_test.double().mean(0)
    chosen = right_valid.double().mean(0).argmax() % len(by_picture)
    return by_picture.max().item(), by_picture[chosen].item()


@report_slips
def per_cent(right_valid, right_test):
    "these are per cent: give shares"
    return tuple(100*accuracy for accuracy in reports(right_valid, right_test))


def tables(checkpoints, n_valid, n_test, p):
    "Two bool tables (checkpoint, picture) in which nothing that matters is tied."
    while True:
        right_valid = torch.rand(checkpoints, n_valid) < p
        right_test = torch.rand(checkpoints, n_test) < p
        valid = accuracies(right_valid)
        if valid.topk(2)[0].diff() == 0: continue
        pairs = [pair for message, pair in report_slips.of(right_valid, right_test)]
        pairs.append(reports(right_valid, right_test))
        if len({(round(a, 6), round(b, 6)) for a, b in pairs}) < len(pairs): continue
        return right_valid, right_test


@exercise('05.3', 'the best on the test set')
def check_reports(two_reports, why):
    "Two accuracies for three sets of checkpoints, and what choosing by the test set does."
    for checkpoints, n_valid, n_test, p in [(3, 8, 10, .7), (5, 50, 80, .7), (100, 1000, 1000, .8)]:
        right_valid, right_test = tables(checkpoints, n_valid, n_test, p)
        case = f'{checkpoints} checkpoints'
        answer = ask(two_reports, right_valid, right_test, case=case)
        truth = reports(right_valid, right_test)
        slips = report_slips.of(right_valid, right_test)
        compare_pair(answer, truth, 'accuracy', case, slips, eps=1e-5)
    compare_choice(why, 'c', {
        'a': 'on average over choices made beforehand; the largest of a hundred is not an average',
        'b': 'put the hundred into your function: accuracies on 1,000 pictures scatter by 0.013'})
    best, honest = truth
    return (f'of 100 checkpoints, all of which are right 0.800 of the time, the best on test '
            f'shows {best:.3f}, the one chosen on other pictures {honest:.3f}')


# 05.4: a contract again, for classes of very different size

def parts_of(my_holdout, y, n, seed):
    "What is held, sorted; raises `Wrong` unless both parts share out all pictures, `n` held back."
    case = f'{len(y)} pictures, n={n}'
    answer = ask(my_holdout, y, n, seed, case=case)
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise Wrong(f'{case}: give two tensors, (held, kept)')
    for name, part in zip(('held', 'kept'), answer):
        if isinstance(part, torch.Tensor) and part.ndim == 1 and part.dtype == torch.int64: continue
        kind = type(part).__name__
        if isinstance(part, torch.Tensor): kind = f'{part.dtype} of shape {tuple(part.shape)}'
        raise Wrong(f'{case}: {name} is {kind}: give int64 indices (picture,)')
    held, rest = (part.sort().values for part in answer)
    if len(rest) == n != len(held): raise Wrong(f'{case}: held and kept are swapped')
    both = torch.cat([held, rest])
    strangers = both[(both < 0) | (both >= len(y))]
    if len(strangers): raise Wrong(f'{case}: there is no picture {int(strangers[0])}')
    times = both.bincount(minlength=len(y))
    if (times > 1).any():
        raise Wrong(f'{case}: picture {int(times.argmax())} is there twice: '
                    'what is held is not trained on')
    if (times < 1).any(): raise Wrong(f'{case}: picture {int(times.argmin())} is in neither part')
    if len(held) != n:
        raise Wrong(f'{case}: {len(held)} are held back: rounding has changed their number')
    return held


def check_stratified(held, y, n, case):
    "Raise `Wrong` unless each class gives its share, rounded up or down."
    sizes = y.bincount()
    counts = y[held].bincount(minlength=len(sizes))
    shares = sizes*n/len(y)
    off = (counts - shares).abs()
    if off.max() < 1 - 1e-4: return
    worst = int(off.argmax())
    message = f'{case}: class {worst} gives {int(counts[worst])}, its share is {shares[worst]:.1f}'
    if counts.max() - counts.min() > 1: raise Wrong(f'{message}: not stratified')
    raise Wrong(f'{message}: each class gives equally many: balanced, not stratified')


@exercise('05.4', 'a stratified holdout')
def check_holdout(my_holdout):
    "A fair part of four sets of classes, another for another seed, any picture in some of them."
    sets = [((6, 4, 2), 6), ((40, 20, 20, 14, 6), 25), ((300, *[3]*100), 240),
            ((31, 800, 64, 5, 100), 200)]
    for sizes, n in sets:
        y = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        y = y[torch.randperm(len(y))]
        names = ', '.join(map(str, sizes)) if len(sizes) < 9 else '300 and a hundred times 3'
        case = f'classes of {names} pictures, n={n}'
        held = parts_of(my_holdout, y, n, 0)
        check_stratified(held, y, n, case)
        if not torch.equal(held, parts_of(my_holdout, y, n, 0)):
            raise Wrong(f'{case}: asked twice, it is not the same part')
    if torch.equal(held, parts_of(my_holdout, y, n, 1)):
        raise Wrong('another seed holds back the same pictures')
    many = torch.cat([parts_of(my_holdout, y, n, seed) for seed in range(40)])
    never = int((many.bincount(minlength=len(y)) == 0).sum())
    if never > len(y)/100:
        raise Wrong(f'in 40 seeds {never} pictures were never held back: shuffle all of a class')
    return 'each class gives its share, up to rounding; nothing is in both parts, nothing lost'
