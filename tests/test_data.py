"The sample, Fashion-MNIST wherever it lies, the loader and its splits."
import gzip, numpy as np, pytest, struct, torch
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

def test_no_network_says_where_to_put_the_files(tmp_path, monkeypatch):
    def no(self): raise OSError('no network')
    monkeypatch.setattr(D.FashionMNIST, 'download', no)
    with pytest.raises(RuntimeError) as e: D.get_dls('fashionmnist', root=tmp_path/'x', device='cpu')
    for part in ('no network', 'train-images-idx3-ubyte.gz', str(tmp_path/'x/FashionMNIST/raw'), '$DEMS_DATA', 'dataset-fashion-mnist', "'sample'"): assert part in str(e.value)
    with pytest.raises(FileNotFoundError, match='Put train-images'): D.get_dls('fashionmnist', root=tmp_path/'x', device='cpu', download=False)

@pytest.mark.parametrize('packed', [True, False])
def test_a_damaged_file_is_named(packed, tmp_path, monkeypatch):
    write_fashion(tmp_path/'d', packed=packed)
    bad = tmp_path/'d'/('t10k-images-idx3-ubyte' + ('.gz' if packed else ''))
    bad.write_bytes(bad.read_bytes()[:-50])
    with pytest.raises(ValueError, match='t10k-images-idx3-ubyte.* cannot be read'): D.get_dls('fashionmnist', root=tmp_path/'d', device='cpu', download=False)

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

@pytest.mark.parametrize('said, kw', [("unknown data set 'cifar': the known ones are sample, fashionmnist", dict(dataset='cifar')), ('holdout is 25', dict(holdout=25)),
    ('holdout is -10', dict(holdout=-10)), ('holdout is 6000: give a multiple of the 10 classes, from 0 to 5990', dict(holdout=6000)), ('n_train is 6000: give a multiple of the 10 classes, from 10 to 5990', dict(holdout=10, n_train=6000)), ('n_train is 0', dict(n_train=0)), ('n_train is 5', dict(n_train=5))])
def test_bad_arguments(said, kw):
    with pytest.raises(ValueError) as e: D.get_dls(device='cpu', **kw)
    assert said in str(e.value)

def test_normalize_refuses_two_channels():
    with pytest.raises(ValueError, match='in_chans is 2'): D.Normalize(2)

def test_learner_predictions_come_in_order():
    from dems_nb.training import Recipe, make_learner
    dls = D.get_dls('sample', device='cpu', bs=64)
    with (learn := make_learner(Recipe(precision='fp32'), dls)).no_bar(): p, y = learn.get_preds(ds_idx=1)
    assert torch.equal(y, dls.valid.dataset.y) and p.shape == (1000, 10)
    learn.model.eval()
    torch.testing.assert_close(learn.model(next(iter(dls.valid))[0]).softmax(1), p[:128], atol=1e-5, rtol=1e-4)

@pytest.mark.cuda
def test_pictures_live_on_the_device():
    x, y = D.get_dls('sample', device='cuda').train.one_batch()
    assert x.is_cuda and y.is_cuda

def test_sample_images_go_round_the_classes():
    x, y, size = D.sample_images(25, image_size=40)
    assert y.tolist() == [*range(10), *range(10), *range(5)] and x.shape == (25, 1, 40, 40) and x.dtype == torch.uint8
