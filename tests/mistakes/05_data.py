"Plausible wrong answers to the exercises of chapter 05: (words of the message, code)."

def order(out='torch.randperm(n, generator=g)[bs*start:]', seed='seed_of(seed, epoch)'): return f'''
def my_order(n, bs, seed, epoch, start):
    g = torch.Generator().manual_seed({seed})
    return {out}
''' + batch(with_order=False)

def batch(pictures='x[my_order(len(x), bs, seed, epoch, i)[:bs]]',
    seed='seed_of(seed, epoch, i, 1)',
          out='random_flip(pictures, g)', with_order=True):
    return (order() if with_order else '') + f'''
def my_batch(x, bs, seed, epoch, i):
    pictures = {pictures}
    g = torch.Generator().manual_seed({seed})
    return {out}
'''

def idx(header='4 + 4*data[3]', sizes="int.from_bytes(data[i:i+4], 'big')",
    out='torch.tensor(list(data[header:]), dtype=torch.uint8).view(*shape)', cut='!='): return f'''
def read_idx(data):
    header = {header}
    shape = [{sizes} for i in range(4, 4 + 4*data[3], 4)]
    if len(data) - header {cut} math.prod(shape): raise ValueError(f'values for shape {{shape}}')
    return {out}
'''

def reports(out='test.max().item(), test[valid.argmax()].item()', axis=1, why='c'): return f'''
def two_reports(right_valid, right_test):
    valid, test = right_valid.float().mean({axis}), right_test.float().mean({axis})
    return {out}
why = {why!r}
'''

def holdout(take='', part='order[y[order] == c][:k]', out='held, (~mask).nonzero().flatten()',
    seed='seed', shuffled='torch.randperm(len(y), generator=g)'): return f'''
def my_holdout(y, n, seed):
    g = torch.Generator().manual_seed({seed})
    share = y.bincount()*n/len(y)
    take = share.floor().long()
    take[(share - take).argsort(descending=True)[:n - int(take.sum())]] += 1
    {take}
    order = {shuffled}
    held = torch.cat([{part} for c, k in enumerate(take.tolist())])
    mask = torch.zeros(len(y), dtype=torch.bool).index_fill(0, held, True)
    return {out}
'''

mistakes = {
'05.1': [
    ('drawn with replacement', order('torch.randint(n, (n,), generator=g)[bs*start:]')),
    ('the global random state has changed', '''
def my_order(n, bs, seed, epoch, start):
    torch.manual_seed(seed_of(seed, epoch))
    return torch.randperm(n)[bs*start:]
''' + batch(with_order=False)),
    ('has changed, that of NumPy', '''
def my_order(n, bs, seed, epoch, start):
    np.random.seed([seed, epoch])
    return torch.from_numpy(np.random.permutation(n)[bs*start:])
''' + batch(with_order=False)),
    ('has changed, that of Python', '''
import random
def my_order(n, bs, seed, epoch, start):
    random.seed(seed_of(seed, epoch))
    return torch.tensor(random.sample(range(n), n)[bs*start:])
''' + batch(with_order=False)),
    ('the global random state has changed', order('torch.randperm(n)[bs*start:]')),
    ('start counts batches, not pictures', order('torch.randperm(n, generator=g)[start:]')),
    ('start was not used', order('torch.randperm(n, generator=g)')),
    ('these are the first pictures again', order('torch.randperm(n, generator=g)[:n - bs*start]')),
    ('this is another order',
     order(seed='seed_of(seed, epoch, start)', out='torch.randperm(n, generator=g)[bs*start:]')),
    ('another epoch gives the same order', order(seed='seed')),
    ('another seed gives the same order', order(seed='epoch')),
    ('their sum counts', order(seed='seed + epoch')),
    ('their product counts', order(seed='seed*epoch')),
    ('exchanged, they count the same', order(seed='seed ^ epoch')),
    ('exchanged, they count the same', order(seed='seed**epoch')),
    ('with seed 0 the epoch counts for nothing', order(seed='seed*(epoch + 10**6)')),
    ('give one order: use', order(seed='seed ^ epoch')),
    ('give one order: use', order(seed='10*seed + epoch')),
    ('give one order: use', order(seed='1000*seed + epoch')),
    ('counted from 1', order('torch.randperm(n, generator=g)[bs*start:] + 1')),
    ('nothing was shuffled', order('torch.arange(bs*start, n)')),
    ('a tensor is expected, this is a list',
     order('torch.randperm(n, generator=g)[bs*start:].tolist()')),
    ('2 axes, not 1', order('torch.randperm(n, generator=g)[bs*start:, None]')),
    ('expected torch.int64', order('torch.randperm(n, generator=g)[bs*start:].float()')),
    ('the number of the batch counts for nothing', batch(seed='seed_of(seed, epoch)')),
    ('epoch counts for nothing', batch(seed='seed_of(seed, i)')),
    ('seed counts for nothing', batch(seed='seed_of(epoch, i)')),
    ('have the same coins: use', batch(seed='seed + epoch + i')),
    ('have the same coins: use', batch(seed='seed_of(seed, epoch + i)')),
    ('has changed, that of PyTorch', batch(out='random_flip(pictures)')),
    ('has changed, that of PyTorch', batch(out='random_flip(pictures, torch.manual_seed(i))')),
    ('the batches before it are made first', order() + '''
def my_batch(x, bs, seed, epoch, i):
    g = torch.Generator().manual_seed(seed_of('batch', seed, epoch))
    for k in range(i + 1): batch = random_flip(x[my_order(len(x), bs, seed, epoch, k)[:bs]], g)
    return batch
'''),
    ('the batches before it are made first', order() + '''
def my_batch(x, bs, seed, epoch, i):
    g = torch.Generator().manual_seed(seed_of('batch', seed, epoch))
    for k in range(i): torch.rand(bs, generator=g)
    return random_flip(x[my_order(len(x), bs, seed, epoch, i)[:bs]], g)
'''),
    ('the batches before it are made first', order() + '''
def my_batch(x, bs, seed, epoch, i):
    rng = np.random.default_rng([seed, epoch])
    pictures = x[my_order(len(x), bs, seed, epoch, i)[:bs]]
    for k in range(i + 1): coin = rng.random((bs, 1, 1, 1)) < .5
    return torch.where(torch.tensor(coin[:len(pictures)]), pictures.flip(3), pictures)
'''),
    ('has other coins', '''
own = torch.Generator()
''' + batch(out='random_flip(pictures, own)')),
    ('no picture of a batch is mirrored', batch(out='pictures')),
    ('all pictures of a batch are mirrored', batch(out='pictures.flip(3)')),
    ('of a batch ',
     batch(out='pictures.flip(3) if torch.rand((), generator=g) < .5 else pictures')),
    ('these are the pictures of batch 0', batch('x[my_order(len(x), bs, seed, epoch, 0)[:bs]]')),
    ('batches are counted from 1', batch('x[my_order(len(x), bs, seed, epoch, i + 1)[:bs]]')),
    ('the number counts batches, not pictures',
     batch('x[my_order(len(x), bs, seed, epoch, 0)[i:i + bs]]')),
    ('not the pictures that my_order names', batch('x[bs*i:bs*(i + 1)]')),
    ('the right pictures in another order',
     batch('x[my_order(len(x), bs, seed, epoch, i)[:bs].sort().values]')),
    ('has size 120, not 50', batch('x[my_order(len(x), bs, seed, epoch, i)]')),
    ('dtype torch.float32, expected torch.uint8', batch(out='random_flip(pictures, g)/255')),
    ('each as it is or mirrored', batch(out='random_shift(pictures, g)'))],
'05.2': [
    ('least significant byte first',
     idx(sizes="int.from_bytes(data[i:i+4], 'little')",
         out='torch.tensor(list(data[header:]), dtype=torch.uint8).view(*shape)', cut='> 1e30 +')),
    ('least significant byte first', idx(sizes="int.from_bytes(data[i:i+4], 'little')")),
    ('the header is 16 bytes, this began at byte 4',
     idx(out='torch.tensor(list(data[4:4 + math.prod(shape)]), dtype=torch.uint8).view(*shape)')),
    ('raised ValueError', idx(header='16')),
    ('the first axis runs fastest',
     idx(out="torch.tensor(np.frombuffer(data[header:], np.uint8)"
             ".reshape(shape, order='F').copy())")),
    ('rows and columns are swapped',
     idx(out='torch.tensor(list(data[header:]), dtype=torch.uint8).view(*shape).mT')),
    ('this is one long row', idx(out='torch.tensor(list(data[header:]), dtype=torch.uint8)')),
    ('read as signed',
     idx(out='torch.tensor(np.frombuffer(data[header:], np.int8).astype(int)).view(*shape)')),
    ('dtype torch.int64, expected torch.uint8',
     idx(out='torch.tensor(list(data[header:])).view(*shape)')),
    ('lacks its last byte: raised RuntimeError', idx(cut='> 1e9 +')),
    ('this file is whole: which sizes did you read',
     idx(sizes="int.from_bytes(data[i:i+4], 'little')").replace("f'values for shape {shape}'",
         "'the file is cut'")),
    ('a size has four bytes, two were read', idx(sizes="int.from_bytes(data[i+2:i+4], 'big')")),
    ('raised ValueError: the file is cut; but this file is whole',
     idx(sizes="int.from_bytes(data[i+2:i+4], 'big')").replace("f'values for shape {shape}'",
         "'the file is cut'")),
    ('a byte too many was accepted',
     idx(cut='<', out='torch.tensor(list(data[header:header + math.prod(shape)]), '
                      'dtype=torch.uint8).view(*shape)'))],
'05.3': [
    ('the two are swapped', reports('test[valid.argmax()].item(), test.max().item()')),
    ('the best on test was taken twice', reports('test.max().item(), test[test.argmax()].item()')),
    ('chosen on the validation pictures twice',
     reports('test[valid.argmax()].item(), test[valid.argmax()].item()')),
    ('choose there, report on test', reports('test.max().item(), valid.max().item()')),
    ('the last checkpoint', reports('test.max().item(), test[-1].item()')),
    ('the mean of all checkpoints', reports('test.max().item(), test.mean().item()')),
    ('the validation accuracy of the one best on test',
     reports('test.max().item(), valid[test.argmax()].item()')),
    ('these are per cent', reports('100*test.max().item(), 100*test[valid.argmax()].item()')),
    ('averaged over the checkpoints', reports(axis=0)),
    ('one number, this is a Tensor of shape', reports('test, test[valid.argmax()]')),
    ('the largest of a hundred is not an average',
     reports(why='a')), ('scatter by 0.013', reports(why='b'))],
'05.4': [
    ('balanced, not stratified',
     holdout('take = torch.full_like(take, n//len(take)); take[:n - int(take.sum())] += 1')),
    ('not stratified', '''
def my_holdout(y, n, seed):
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    return order[:n], order[n:]
'''),
    ('class 0 gives 140, its share is 120.0', '''
def my_holdout(y, n, seed):
    order, key = torch.randperm(len(y),
        generator=torch.Generator().manual_seed(seed)), torch.empty(len(y))
    for c in y.unique():
        mine = order[y[order] == c]
        key[mine] = (torch.arange(len(mine)) + .5)/len(mine)
    order = key.argsort(stable=True)
    return order[:n], order[n:]
'''),
    ('rounding has changed their number', holdout('take = share.floor().long()')),
    ('rounding has changed their number', holdout('take = share.ceil().long()')),
    ('held and kept are swapped', holdout(out='(~mask).nonzero().flatten(), held')),
    ('is there twice: what is held is not trained on', holdout(out='held, torch.arange(len(y))')),
    ('is in neither part', holdout(out='held, (~mask).nonzero().flatten()[1:]')),
    ('another seed holds back the same pictures', holdout(seed='0')),
    ('another seed holds back the same pictures', holdout(shuffled='torch.arange(len(y))')),
    ('asked twice', holdout(shuffled='torch.randperm(len(y))')),
    ('were never held back',
     holdout(part='order[(y[order] == c) & ((order >= len(y)//4) | ((y == c).sum() < 9))][:k]')),
    ('give int64 indices', holdout(out='mask, ~mask')),
    ('picture 0 is in neither part', holdout(out='held[:0], held[:0]')),
    ('there is no picture -1', holdout(out='held - 1, (~mask).nonzero().flatten()')),
    ('give two tensors', holdout(out='held'))]}

right = { # right answers, in another style than the folded one
'05.1': ['''
def my_order(n, bs, seed, epoch, start):
    return torch.from_numpy(np.random.default_rng([seed, epoch]).permutation(n))[bs*start:]
def my_batch(x, bs, seed, epoch, i):
    idx = my_order(len(x), bs, seed, epoch, 0)[bs*i:bs*i + bs]
    coin = torch.from_numpy(np.random.default_rng([seed, epoch, i]).random(len(idx)) < .5)
    return torch.stack([x[k].flip(2) if c else x[k] for k, c in zip(idx, coin)])
''', '''
def my_order(n, bs, seed, epoch, start):
    g = torch.Generator().manual_seed(seed_of(seed, epoch))
    return torch.cat(torch.randperm(n, generator=g).split(bs)[start:])
''' + batch(with_order=False), '''
import random
def my_order(n, bs, seed, epoch, start):
    numbers = list(range(n))
    random.Random(f'{seed},{epoch}').shuffle(numbers)
    return torch.tensor(numbers[bs*start:])
''' + batch(seed='seed_of(f"{seed} {epoch}", i)', with_order=False), order() + '''
import random
def my_batch(x, bs, seed, epoch, i):
    for k, pictures in enumerate(my_order(len(x), bs, seed, epoch, 0).split(bs)):
        if k == i: break
    coins = random.Random(f'{seed} {epoch} {i}')
    return torch.stack([x[k].flip(2) if coins.choice([True, False]) else x[k] for k in pictures])
'''],
'05.3': ['''
def two_reports(right_valid, right_test):
    valid = right_valid.numpy().astype(np.float32).mean(1)
    test = right_test.numpy().astype(np.float32).mean(1)
    return test.max(), test[valid.argmax()]
why = 'c'
'''],
'05.4': ['''
def my_holdout(y, n, seed):
    order = np.random.default_rng(seed).permutation(len(y))
    order = torch.from_numpy(order[np.argsort(y.numpy()[order],
        kind='stable')]) # class by class, shuffled inside
    held = torch.zeros(len(y), dtype=bool)
    held[order[((torch.arange(n) + .5)*len(y)/n).long()]] = True # evenly spaced
    return held.nonzero()[:, 0], (~held).nonzero()[:, 0]
''']}
