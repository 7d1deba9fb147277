"The sample, Fashion-MNIST wherever it lies, the loader and its splits."
import gzip, hashlib, numpy as np, os, pickle, pytest, struct, torch
from dems_nb import data as D

@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    "No data set on this machine is found, unless a test puts it there."
    monkeypatch.delenv('DEMS_DATA', raising=False)
    monkeypatch.setattr(D, 'data_folders', lambda root=None, real=D.data_folders: [p for p in real(root)[:-2] if str(p) != '/usr/share/datasets'] or [tmp_path/'fastai'])

def idx(a):
    "An array in the format of the MNIST files."
    return struct.pack('>HBB', 0, 8, a.ndim) + b''.join(struct.pack('>I', n) for n in a.shape) + a.astype(np.uint8).tobytes()

def write_fashion(folder, n=(50, 20), packed=True):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, k in zip(('train', 't10k'), n):
        for kind, a in (('images-idx3', rng.integers(0, 256, (k, 28, 28))), ('labels-idx1', np.arange(k) % 10)):
            name, raw = f'{split}-{kind}-ubyte.gz', idx(a)
            (folder/(name if packed else name[:-3])).write_bytes(gzip.compress(raw) if packed else raw)

def write_emnist(folder, packed):
    folder.mkdir(parents=True)
    x = np.random.default_rng(1).integers(0, 256, (20, 28, 28))
    for split in ('train', 'test'):
        for kind, a in (('images-idx3', x.transpose(0, 2, 1)), ('labels-idx1', np.arange(20) % 10)):
            file = folder/f'emnist-mnist-{split}-{kind}-ubyte'
            file.with_name(file.name + '.gz').write_bytes(gzip.compress(idx(a))) if packed else file.write_bytes(idx(a))
    return x

def write_cifar(folder, monkeypatch, n=100, trust=True):
    "CIFAR's files, n colours of each class in order; torchvision is told their md5 if `trust`."
    folder.mkdir(parents=True)
    fine, cls = n == 100, D.CIFAR100 if n == 100 else D.CIFAR10
    rng, sums = np.random.default_rng(2), {}
    def put(name, entry):
        (folder/name).write_bytes(pickle.dumps(entry))
        sums[name] = hashlib.md5((folder/name).read_bytes()).hexdigest()
    x = {}
    for name, _ in cls.train_list + cls.test_list:
        x[name] = rng.integers(0, 256, (2*n, 3072), dtype=np.uint8)
        put(name, {'data': x[name], 'fine_labels' if fine else 'labels': list(range(n))*2})
    put(cls.meta['filename'], {cls.meta['key']: [f'class {i}' for i in range(n)]})
    if trust:
        for part in ('train_list', 'test_list'): monkeypatch.setattr(cls, part, [[f, sums[f]] for f, _ in getattr(cls, part)])
        monkeypatch.setattr(cls, 'meta', {**cls.meta, 'md5': sums[cls.meta['filename']]})
    return x

def test_sample_is_balanced_and_small():
    from importlib.resources import files
    (x, y, _), (xt, yt, _) = D._load_sample()
    assert x.shape == (6000, 1, 28, 28) and xt.shape == (1000, 1, 28, 28) and x.dtype == torch.uint8
    assert (y.bincount() == 600).all() and (yt.bincount() == 100).all()
    assets = files('dems_nb')/'assets'
    assert (assets/'fashionmnist_sample.npz').stat().st_size <= 3_500_000
    assert 'Zalando SE' in (assets/'FASHION_MNIST_LICENSE.txt').read_text() and 'MIT License' in (assets/'FASHION_MNIST_LICENSE.txt').read_text()

def test_sample_is_cut_from_the_real_set(monkeypatch):
    monkeypatch.undo()
    if D._find('fashionmnist') is None: pytest.skip('Fashion-MNIST is not on this machine (apt install dataset-fashion-mnist)')
    for sample, full, n in zip(D._load_sample(), D._load_files('fashionmnist', download=False), (600, 100)):
        pick = torch.cat([(full.y == c).nonzero().flatten()[:n] for c in range(10)]).sort().values
        assert torch.equal(sample.x, full.x[pick]) and torch.equal(sample.y, full.y[pick])

@pytest.mark.parametrize('packed', [True, False])
@pytest.mark.parametrize('under', ['', 'FashionMNIST/raw', 'fashion-mnist'])
@pytest.mark.parametrize('how', ['root', 'env'])
def test_fashionmnist_is_found(how, under, packed, tmp_path, monkeypatch):
    write_fashion(tmp_path/'d'/under if under else tmp_path/'d', packed=packed)
    if how == 'env': monkeypatch.setenv('DEMS_DATA', str(tmp_path/'d'))
    dls = D.get_dls('fashionmnist', root=tmp_path/'d' if how == 'root' else None, bs=16, device='cpu', download=False)
    assert len(dls.train.dataset.y) == 50 and len(dls.valid.dataset.y) == 20

def test_folders_in_their_order(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv('DEMS_DATA', '/b')
    folders = [str(p) for p in D.data_folders('/a')]
    assert folders[:2] == ['/a', '/b'] and folders[-1] == '/usr/share/datasets' and len(folders) == 4

@pytest.mark.parametrize('name, parts', [('fashionmnist', ('train-images-idx3-ubyte.gz', 'FashionMNIST/raw', 'dataset-fashion-mnist')),
    ('emnist', ('emnist-mnist-test-labels-idx1-ubyte.gz', 'EMNIST/raw')), ('cifar10', ('Unpack cifar-10-python.tar.gz into',)), ('cifar100', ('Unpack cifar-100-python.tar.gz into',))])
def test_no_network_says_where_to_put_the_files(name, parts, tmp_path, monkeypatch):
    def no(self): raise OSError('no network')
    for c in (D.FashionMNIST, D.EMNIST, D.CIFAR10): monkeypatch.setattr(c, 'download', no)
    with pytest.raises(RuntimeError) as e: D.get_dls(name, root=tmp_path/'x', device='cpu')
    for part in ('no network', *parts, str(tmp_path/'x'), '$DEMS_DATA', "'sample'"): assert part in str(e.value)
    with pytest.raises(FileNotFoundError, match=f'{name} is in none of the known folders'): D.get_dls(name, root=tmp_path/'x', device='cpu', download=False)

def test_what_a_download_brings_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(D.FashionMNIST, 'download', lambda self: write_fashion(tmp_path/'x'/'FashionMNIST'/'raw', packed=False))
    assert len(D.get_dls('fashionmnist', root=tmp_path/'x', bs=16, device='cpu').train.dataset.y) == 50

@pytest.mark.parametrize('packed', [True, False])
def test_a_damaged_file_is_named(packed, tmp_path, monkeypatch):
    write_fashion(tmp_path/'d', packed=packed)
    bad = tmp_path/'d'/('t10k-images-idx3-ubyte' + ('.gz' if packed else ''))
    bad.write_bytes(bad.read_bytes()[:-50])
    with pytest.raises(ValueError, match='t10k-images-idx3-ubyte.* cannot be read'): D.get_dls('fashionmnist', root=tmp_path/'d', device='cpu', download=False)

@pytest.mark.parametrize('packed', [True, False])
@pytest.mark.parametrize('under', ['', 'EMNIST/raw'])
def test_emnist_stands_upright(under, packed, tmp_path):
    x = write_emnist(tmp_path/'d'/under, packed)
    dls = D.get_dls('EMNIST', root=tmp_path/'d', bs=8, image_size=28, device='cpu', download=False)
    assert torch.equal(dls.train.dataset.x[:, 0], torch.from_numpy(x).byte()) and dls.vocab == list('0123456789') and dls.in_chans == 1 and dls.name == 'emnist'

@pytest.mark.parametrize('n', [10, 100])
@pytest.mark.parametrize('root', ['its parent', 'itself', 'itself, renamed'])
def test_cifar_is_found_and_read(n, root, tmp_path, monkeypatch):
    folder = tmp_path/'d'/('mine' if 'renamed' in root else {10: 'cifar-10-batches-py', 100: 'cifar-100-python'}[n])
    x = write_cifar(folder, monkeypatch, n)
    dls = D.get_dls(f'CIFAR{n}', root=folder.parent if 'parent' in root else folder, bs=8, device='cpu', download=False)
    files = list(x)
    for dl, names in ((dls.train, files[:-1]), (dls.valid, files[-1:])):
        assert torch.equal(dl.dataset.x, torch.from_numpy(np.concatenate([x[f] for f in names])).view(-1, 3, 32, 32))
        assert dl.dataset.y.tolist() == [*range(n)]*2*len(names)
    assert dls.vocab[:2] == ['class 0', 'class 1'] and dls.c == n and dls.in_chans == 3 and dls.name == f'cifar{n}'

class Bomb:
    def __reduce__(self): return os.mkdir, (os.environ['BOMB'],)

def test_cifar_of_another_md5_is_not_unpickled(tmp_path, monkeypatch):
    monkeypatch.setenv('BOMB', str(tmp_path/'went off'))
    write_cifar(tmp_path/'d', monkeypatch, 10)
    (tmp_path/'d'/'test_batch').write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match='test_batch in .*: not the published file'): D.get_dls('cifar10', root=tmp_path/'d', device='cpu', download=False)
    (tmp_path/'d'/'batches.meta').write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match='test_batch, batches.meta in .*: not the published file'): D.get_dls('cifar10', root=tmp_path/'d', device='cpu', download=False)
    assert not (tmp_path/'went off').exists()
    pickle.loads(pickle.dumps(Bomb()))
    assert (tmp_path/'went off').exists()                                   # it would have

def test_names_of_the_released_code_are_accepted(tmp_path):
    assert D.list_datasets() == ['sample', 'fashionmnist', 'cifar10', 'cifar100', 'emnist', 'folder']
    assert [D.dataset_name(n) for n in ('CIFAR10', 'CIFAR100', 'FashionMNIST', 'EMNIST', 'Caltech101')] == ['cifar10', 'cifar100', 'fashionmnist', 'emnist', 'caltech101']

def test_order_follows_from_seed_and_epoch():
    train = D._load_sample()[0]
    dl = D.DeviceDL(train, bs=100, shuffle=True, device='cpu', seed=1)
    one, two = ([y for _, y in dl] for _ in range(2))
    dl.epoch = 1
    assert torch.equal(torch.cat([y for _, y in dl]), torch.cat(two)) and not torch.equal(torch.cat(one), torch.cat(two))
    other = D.DeviceDL(train, bs=100, shuffle=True, device='cpu', seed=2)
    assert not torch.equal(torch.cat([y for _, y in other]), torch.cat(one))
    assert torch.equal(dl.new().one_batch()[1], one[0])

def test_one_batch_is_the_first_of_the_coming_epoch():
    dl = D.DeviceDL(D._load_sample()[0], bs=100, shuffle=True, device='cpu', tfms=[D.random_flip, D.Normalize(1)])
    x, y = dl.one_batch()
    again = next(iter(dl))
    assert torch.equal(x, again[0]) and torch.equal(y, again[1])

@pytest.mark.parametrize('drop_last, n', [(False, 24), (True, 23)])
def test_drop_last(drop_last, n):
    dl = D.DeviceDL(D._load_sample()[0], bs=256, drop_last=drop_last, device='cpu')
    assert len(dl) == n == len(list(dl))

def test_one_batch_does_not_disturb_an_epoch_under_way():
    make = lambda: D.DeviceDL(D._load_sample()[0], bs=1000, shuffle=True, device='cpu', tfms=[D.random_flip])
    plain, disturbed = make(), make()
    want, got = [x for x, _ in plain], []
    for x, _ in disturbed:
        got.append(x)
        disturbed.one_batch()
    assert all(torch.equal(a, b) for a, b in zip(want, got)) and disturbed.epoch == 1

def test_a_loader_finds_its_own_device(): assert D.DeviceDL(D._load_sample()[1]).one_batch()[1].shape == (256,)

def test_evaluation_drops_nothing_and_changes_nothing():
    dls = D.get_dls('sample', bs=48, device='cpu')
    x, y = (torch.cat(t) for t in zip(*dls.valid))
    assert len(y) == 1000 and torch.equal(x, D.Normalize(1)(dls.valid.dataset.x)) and torch.equal(y, dls.valid.dataset.y)

@pytest.mark.parametrize('c', [1, 3])
def test_each_image_draws_for_itself(c):
    x = torch.randint(0, 256, (400, c, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    g = torch.Generator().manual_seed(5)
    y = D.random_flip(x, g)
    flipped = (y == x.flip(3)).flatten(1).all(1)
    assert (flipped | (y == x).flatten(1).all(1)).all() and 150 < flipped.sum() < 250
    y = D.random_shift(x, g, by=1)
    pad = torch.nn.functional.pad(x, (1, 1, 1, 1))
    hits = torch.stack([(y == pad[:, :, i:i+12, j:j+12]).flatten(1).all(1) for i in range(3) for j in range(3)])
    assert (hits.sum(0) == 1).all() and (hits.sum(1) > 20).all()         # each image is one of nine crops, and each crop occurs

def test_splits():
    dls = D.get_dls('sample', device='cpu', holdout=500, n_train=1000, seed=4)
    test = D.get_dls('sample', device='cpu').valid
    rows = lambda dl: {im.numpy().tobytes() for im in dl.dataset.x}
    assert (dls.valid.dataset.y.bincount() == 50).all() and (dls.train.dataset.y.bincount() == 100).all()
    assert not rows(dls.train) & rows(dls.valid) and not (rows(dls.train) | rows(dls.valid)) & rows(test)
    same = D.get_dls('sample', device='cpu', holdout=500, n_train=1000, seed=4)
    assert torch.equal(same.valid.dataset.x, dls.valid.dataset.x)

@pytest.mark.parametrize('said, kw', [("unknown data set 'cifar': the known ones are sample, fashionmnist, cifar10, cifar100, emnist, folder, caltech101", dict(dataset='cifar')), ('holdout is 25', dict(holdout=25)),
    ('holdout is -10', dict(holdout=-10)), ('holdout is 6000: give a multiple of the 10 classes, from 0 to 5990', dict(holdout=6000)), ('n_train is 6000: give a multiple of the 10 classes, from 10 to 5990', dict(holdout=10, n_train=6000)), ('n_train is 0', dict(n_train=0)), ('n_train is 5', dict(n_train=5))])
def test_bad_arguments(said, kw):
    with pytest.raises(ValueError) as e: D.get_dls(device='cpu', **kw)
    assert said in str(e.value)

def test_normalize_refuses_two_channels():
    with pytest.raises(ValueError, match='in_chans is 2'): D.Normalize(2)

def test_learner_predictions_come_in_order():
    from dems_nb.learner import Recipe, make_learner
    dls = D.get_dls('sample', device='cpu', bs=64)
    with (learn := make_learner(Recipe(precision='fp32'), dls)).no_bar(): p, y = learn.get_preds(ds_idx=1)
    assert torch.equal(y, dls.valid.dataset.y) and p.shape == (1000, 10)
    learn.model.eval()
    torch.testing.assert_close(learn.model(next(iter(dls.valid))[0]).softmax(1), p[:128], atol=1e-5, rtol=1e-4)

def few(n, c=1, side=8, classes=10):
    x = torch.randint(0, 256, (n, c, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    x[:, 0, 0, 0] = torch.arange(n) % 256
    return D.Images(x, torch.arange(n) % classes)

def noise(x, generator): return x.float() + torch.rand(x.shape, generator=generator, device=x.device)
def same(a, b): return len(a) == len(b) and all(torch.equal(s, t) for p, q in zip(a, b) for s, t in zip(p, q))

@pytest.mark.parametrize('drop_last', [True, False])
def test_an_epoch_can_begin_at_any_batch(drop_last):
    make = lambda: D.DeviceDL(few(23), bs=4, shuffle=True, drop_last=drop_last, device='cpu', tfms=[noise], seed=5)
    whole = make()
    epochs = [list(whole), list(whole)]
    n = len(epochs[0])
    assert n == len(whole) == 6 - drop_last and not same(*epochs)
    for k in range(n + 1):
        dl, loaded = make(), []
        dl._load = lambda idx, real=dl._load: loaded.append(len(idx)) or real(idx)
        dl.epoch, dl.start = 1, k
        assert same(list(dl), epochs[1][k:]) and (dl.epoch, dl.start) == (2, 0) and len(loaded) == n - k     # what is skipped is not loaded
        dl.epoch = 0
        assert same(list(dl), epochs[0])

@pytest.mark.parametrize('start', [-1, 7])
def test_a_start_beyond_the_epoch(start):
    dl = D.DeviceDL(few(23), bs=4, device='cpu')
    dl.start = start
    with pytest.raises(ValueError, match=f'start is {start}: an epoch has 6 batches'): list(dl)

def test_one_batch_leaves_the_start_and_says_if_there_is_none():
    dl = D.DeviceDL(few(23), bs=4, shuffle=True, device='cpu', tfms=[noise])
    want, dl.start = list(dl)[3], 3
    dl.epoch = 0
    assert same([dl.one_batch()], [want]) and (dl.epoch, dl.start) == (0, 3)
    assert same([next(iter(dl))], [want])
    with pytest.raises(ValueError, match='there is no batch: 3 pictures, bs 4'): D.DeviceDL(few(3), bs=4, drop_last=True, device='cpu').one_batch()

def test_draws_do_not_depend_on_the_size_of_earlier_draws():
    "A batch's draws follow from its number, whatever the batches before it drew."
    def hungry(x, generator):
        torch.rand(int(x[0, 0, 0, 0]) + 1, generator=generator)
        return x
    make = lambda tfms: D.DeviceDL(few(24), bs=4, shuffle=True, device='cpu', tfms=tfms)
    assert same([b for b in make([noise])], [b for b in make([noise, hungry])])

def test_each_epoch_and_batch_draws_anew():
    dl = D.DeviceDL(few(24), bs=8, device='cpu', tfms=[lambda x, g: torch.rand(8, generator=g)])
    drawn = [x for _ in range(3) for x, _ in dl] + [x for x, _ in dl.new(seed=1)]
    assert len({tuple(x.tolist()) for x in drawn}) == 12

def test_an_order_can_be_given():
    dl = D.DeviceDL(few(24), bs=4, shuffle=True, device='cpu').new(get_idxs=lambda: [5, 3, 9, 9, 20])
    assert [y.tolist() for _, y in dl] == [[5, 3, 9, 9], [0]] and len(dl) == 2 and dl.new().get_idxs().tolist() == [5, 3, 9, 9, 20]
    assert len(dl.new(few(8)).get_idxs()) == 8                              # it belongs to these pictures

def test_nothing_depends_on_the_global_generator():
    make = lambda: list(D.DeviceDL(few(24), bs=4, shuffle=True, device='cpu', tfms=[noise]))
    a = make(); torch.manual_seed(99); assert same(a, make())

@pytest.mark.parametrize('drop_last', [True, False])
@pytest.mark.parametrize('n, bs, world', [(24, 4, 2), (23, 4, 2), (25, 6, 3), (20, 6, 3), (13, 12, 4), (3, 4, 2), (21, 8, 8)])
def test_processes_share_each_batch(n, bs, world, drop_last):
    one = D.DeviceDL(few(n), bs=bs, shuffle=True, drop_last=drop_last, device='cpu', seed=2)
    dls = [one.shard(r, world) for r in range(world)]
    for epoch in (0, 1):
        parts, whole = [[y for _, y in dl] for dl in dls], [x for x, _ in one]
        assert len({len(p) for p in parts}) == 1 and all(len(dl) == len(p) for dl, p in zip(dls, parts))     # the same number of steps
        for dl in (one, *dls): dl.epoch = epoch
        got = [torch.cat(step) for step in zip(*([x for x, _ in dl] for dl in dls))]
        assert all(len(s) for p in parts for s in p)                                                         # none is empty
        for g, w in zip(got[:-1], whole): assert torch.equal(g, w) and len(g) == bs                          # the batch of one process, in order
        assert torch.equal(torch.cat([few(0).x, *got]), torch.cat([few(0).x, *whole]))                       # every picture once
        if drop_last: assert all(len(s) == bs//world for p in parts for s in p)
        for dl in (one, *dls): dl.epoch = epoch + 1

def test_each_process_draws_for_itself():
    one = D.DeviceDL(few(24), bs=8, device='cpu', tfms=[lambda x, g: torch.rand(len(x), generator=g)])
    a, b = ([x for x, _ in one.shard(r, 2)] for r in range(2))
    assert not any(torch.equal(x, y) for x, y in zip(a, b))
    assert all(torch.equal(x, y[:4]) for x, y in zip(a, [x for x, _ in one]))                               # process 0 draws as one alone does

def test_a_shard_is_where_its_loader_is():
    one = D.DeviceDL(few(24), bs=8, shuffle=True, device='cpu')
    one.epoch, one.start = 3, 1
    dl = one.shard(1, 2)
    assert (dl.epoch, dl.start, dl.rank, dl.world, dl.bs) == (3, 1, 1, 2, 8) and len(list(dl)) == 2

def test_get_dls_for_several_processes():
    parts = [D.get_dls('sample', bs=60, device='cpu', rank=r, world=3) for r in range(3)]
    assert sum(len(y) for dls in parts for _, y in dls.valid) == 1000 and {len(dls.valid) for dls in parts} == {9}
    one = next(iter(D.get_dls('sample', bs=60, device='cpu').train))[1]
    assert torch.equal(torch.cat([next(iter(dls.train))[1] for dls in parts]), one)

@pytest.mark.parametrize('said, kw', [('bs is 250, in all, for 4 processes: give a multiple of 4', dict(bs=250, world=4)), ('rank is 2 of 2 processes: give one from 0 to 1', dict(rank=2, world=2)),
    ('bs is 0', dict(bs=0)), ('world 0', dict(world=0)), ("keep is 'disk'", dict(keep='disk'))])
def test_bad_shares(said, kw):
    with pytest.raises(ValueError) as e: D.get_dls(device='cpu', **kw)
    assert said in str(e.value)
    with pytest.raises(ValueError, match='3 pictures cannot be shared by 4 processes'): D.DeviceDL(few(3), bs=4, world=4, device='cpu')

def test_a_transform_that_takes_size_is_given_it():
    seen = []
    def sized(x, generator, size): seen.append(size); return x
    sized.takes_size = True
    size = torch.arange(24).view(12, 2)
    dl = D.DeviceDL(few(12)._replace(size=size), bs=4, shuffle=True, device='cpu', tfms=[sized, D.random_flip])
    list(dl)
    assert torch.equal(torch.cat(seen), size[D.DeviceDL.new(dl).get_idxs()])
    seen.clear(); list(D.DeviceDL(few(12), bs=4, device='cpu', tfms=[sized]))
    assert seen == [None]*3

def test_unknown_arguments_are_refused_and_fastais_taken():
    with pytest.raises(TypeError, match='DeviceDL does not know after_item, batch_tfms'): D.DeviceDL(few(4), device='cpu', batch_tfms=[], after_item=None)
    dl = D.DeviceDL(few(4), device='cpu', num_workers=2, pin_memory=True)
    assert dl.num_workers == 1 and dl.n == 4
    with pytest.raises(TypeError, match='the pictures are a list'): dl.new([1])
    with pytest.raises(ValueError, match='3 pictures, 4 classes'): D.DeviceDL(D.Images(few(3).x, few(4).y), device='cpu')
    with pytest.raises(TypeError): D.get_dls('sample', device='cpu', batch_tfms=[])

def test_new_keeps_everything():
    dl = D.DeviceDL(few(24), bs=6, shuffle=True, drop_last=True, device='cpu', tfms=[noise], seed=4, rank=1, world=3, keep='host')
    twin = dl.new()
    for k in 'bs shuffle drop_last device tfms seed rank world keep'.split(): assert getattr(twin, k) == getattr(dl, k), k
    assert twin.dataset.x.data_ptr() == dl.dataset.x.data_ptr() and dl.new(bs=9).bs == 9

def test_numpys_integers_are_numbers():
    i = np.int64
    dls = D.get_dls('sample', image_size=i(32), bs=i(60), n_train=i(600), holdout=i(100), seed=i(3), world=i(2), rank=i(1), device='cpu')
    twin = D.get_dls('sample', image_size=32, bs=60, n_train=600, holdout=100, seed=3, world=2, rank=1, device='cpu')
    assert same(list(dls.train), list(twin.train)) and D.resize_images(few(2).x, i(16)).shape[-1] == 16
    with pytest.raises(TypeError): D.get_dls('sample', image_size=32.5, device='cpu')

def test_where_the_pictures_live(monkeypatch):
    data, cuda = few(16, side=32), torch.device('cuda')
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (4*data.x.nbytes, 10**12))
    assert D._fits(data, cuda) and D._fits(data, torch.device('cpu')) and not D._fits(few(17, side=32), cuda)
    there = type('I', (), dict(x=type('X', (), dict(nbytes=10**12, device=cuda))))
    assert D._fits(there, cuda)                                             # what is there already is not sent back when memory has shrunk by it

@pytest.mark.cuda
@pytest.mark.parametrize('keep', ['device', 'host'])
def test_pictures_on_host_and_device_give_the_same(keep):
    dl = D.DeviceDL(few(24), bs=8, shuffle=True, device='cuda', keep=keep, tfms=[D.Normalize(1)])
    assert dl.dataset.x.is_cuda == (keep == 'device') and all(x.is_cuda and y.is_cuda for x, y in dl)
    assert all(torch.equal(y.cpu(), z) for (_, y), (_, z) in zip(dl, D.DeviceDL(few(24), bs=8, shuffle=True, device='cpu')))

def learner(dls):
    from dems_nb.learner import Recipe, make_learner
    return make_learner(Recipe(precision='fp32'), dls)

def test_predictions_of_the_training_set_come_in_the_order_of_the_set():
    dls = D.get_dls('sample', device='cpu', bs=64, n_train=200, augment=[])
    with (learn := learner(dls)).no_bar():
        for kw in (dict(ds_idx=0), dict(dl=dls.train), dict(dl=dls.train.new(drop_last=False))):
            p, y = learn.get_preds(**kw)
            assert torch.equal(y, dls.train.dataset.y) and len(p) == 200
        p, y = learn.get_preds(dl=dls.test_dl(dls.valid.dataset, num_workers=0))
        loss, acc = learn.validate()
    assert torch.equal(y, dls.valid.dataset.y) and acc == pytest.approx((p.argmax(1) == y).float().mean().item(), abs=1e-6)

def test_predictions_of_a_share():
    dls = D.get_dls('sample', device='cpu', bs=99, rank=1, world=3)
    with (learn := learner(dls)).no_bar(): p, y = learn.get_preds()
    mine = dls.valid.get_idxs().sort().values
    assert torch.equal(y, dls.valid.dataset.y[mine]) and len(p) == len(mine) == 333

def crop(x, generator, size=None): return x[:, :, :20, :20]
crop.takes_size = True

def test_crop_leaves_training_pictures_at_their_size():
    dls = D.get_dls('sample', image_size=20, bs=32, device='cpu', crop=True, augment=[crop], holdout=100)
    assert dls.train.dataset.x.shape[2:] == (28, 28) and dls.valid.dataset.x.shape[2:] == (20, 20) and dls.train.one_batch()[0].shape == (32, 1, 20, 20)

@pytest.mark.parametrize('said, kw', [('the first of augment must crop', dict(crop=True)), ('the first of augment must crop', dict(crop=True, augment=[])), ('the first of augment must crop', dict(crop=True, augment=[D.random_flip, crop])),
    ('augment makes pictures of 20×20 pixels where image_size is 32', dict(augment=[crop])), ('augment makes pictures of 20×20 pixels where image_size is 32', dict(crop=True, augment=[crop]))])
def test_augmentation_must_fit(said, kw):
    with pytest.raises(ValueError) as e: D.get_dls('sample', device='cpu', **kw)
    assert said in str(e.value)

def test_floats_are_not_normalised_again():
    as_floats = lambda x, g: (x.float()/255 - .5)/.5
    a, b = (D.get_dls('sample', bs=32, device='cpu', augment=t).train.one_batch()[0] for t in ([], [as_floats]))
    torch.testing.assert_close(a, b)

@pytest.mark.parametrize('counts', [[800, 31, 435, 40, 31], [5, 5, 5, 6], [1, 2, 50]])
def test_parts_of_unequal_classes(counts):
    y = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))[torch.randperm(sum(counts))]
    k, n = len(counts), len(y)
    for seed in range(3):
        for h in (0, k, n//3, n - k):
            for m in (None, k, (n - h)//2, n - h):
                if m is not None and m < k: continue
                held, kept = D._parts(y, h, m, seed)
                held, kept = torch.arange(0) if held is None else held, torch.arange(n) if kept is None else kept
                assert len(held) == h and len(kept) == (n - h if m is None else m) and not set(held.tolist()) & set(kept.tolist())
                c, d = torch.tensor(counts), y[kept].bincount(minlength=k)
                assert (d > 0).all()
                if h: assert (y[held].bincount(minlength=k)[c > 1] > 0).all() and (y[held].bincount(minlength=k) < c).all()
                if h in (0, n//3) and m == (n - h)//2: assert ((d/m - c/n).abs() <= 3/m).all()              # each class's share, to a picture or so

def test_impossible_parts_of_unequal_classes():
    y = torch.tensor([0]*30 + [1]*11)
    for kw, said in ((dict(holdout=1, n_train=None), 'holdout is 1: give a number for 2 classes of unequal size, from 2 to 39'), (dict(holdout=40, n_train=None), 'from 2 to 39'),
                     (dict(holdout=10, n_train=32), 'n_train is 32: give a number for 2 classes of unequal size, from 2 to 31'), (dict(holdout=0, n_train=1), 'n_train is 1')):
        with pytest.raises(ValueError) as e: D._parts(y, seed=0, **kw)
        assert said in str(e.value)

def test_checksum_sees_every_byte():
    base = few(300, side=4)._replace(size=torch.full((300, 2), 4))
    want = D.dataset_checksum(base)
    for field, at in (('x', (299, 0, 3, 3)), ('x', (0, 0, 0, 0)), ('y', 150), ('size', (299, 1))):
        t = getattr(base, field).clone(); t[at] += 1
        assert D.dataset_checksum(base._replace(**{field: t})) != want, field
    assert D.dataset_checksum(base._replace(size=None)) != want and D.dataset_checksum(D.Images(*(t.clone() for t in base))) == want
    assert D.dataset_checksum(base._replace(x=base.x.view(300, 1, 2, 8))) != want                              # the same bytes in another shape

def test_checksum_of_loaders_is_kept_and_the_same_in_all_processes():
    a, b, c = D.get_dls('sample', device='cpu'), D.get_dls('sample', bs=60, device='cpu', rank=1, world=2, seed=7), D.get_dls('sample', device='cpu', n_train=100)
    assert D.dataset_checksum(a) == a.checksum == D.dataset_checksum(b) != D.dataset_checksum(c)
    a.train.dataset.x[0] = 0
    assert D.dataset_checksum(a) == a.checksum                                                                # computed once

@pytest.mark.cuda
def test_pictures_live_on_the_device():
    x, y = D.get_dls('sample', device='cuda').train.one_batch()
    assert x.is_cuda and y.is_cuda

def test_sample_images_go_round_the_classes():
    x, y, size = D.sample_images(25, image_size=40)
    assert y.tolist() == [*range(10), *range(10), *range(5)] and x.shape == (25, 1, 40, 40) and x.dtype == torch.uint8
