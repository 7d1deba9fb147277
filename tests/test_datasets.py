"The data sets: their facts, their files wherever they lie, parts, and one picture from anywhere."
import gzip, hashlib, numpy as np, os, pickle, pytest, struct, torch, tracemalloc, warnings
from PIL import Image
from dems_nb import data as D, datasets as S

@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    "No data set on this machine is found, unless a test puts it there."
    monkeypatch.delenv('DEMS_DATA', raising=False)
    monkeypatch.setattr(
        S,
        'data_folders',
        lambda root=None, real=S.data_folders: [
            p for p in real(root)[:-2] if str(p) != '/usr/share/datasets'
        ]
        or [tmp_path / 'fastai'],
    )

def idx(a):
    "An array in the format of the MNIST files."
    return (
        struct.pack('>HBB', 0, 8, a.ndim)
        + b''.join(struct.pack('>I', n) for n in a.shape)
        + a.astype(np.uint8).tobytes()
    )

def write_fashion(folder, n=(50, 20), packed=True):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split, k in zip(('train', 't10k'), n):
        for kind, a in (
            ('images-idx3', rng.integers(0, 256, (k, 28, 28))),
            ('labels-idx1', np.arange(k) % 10),
        ):
            name, raw = f'{split}-{kind}-ubyte.gz', idx(a)
            (folder / (name if packed else name[:-3])).write_bytes(
                gzip.compress(raw) if packed else raw
            )

def write_emnist(folder, packed):
    folder.mkdir(parents=True)
    x = np.random.default_rng(1).integers(0, 256, (20, 28, 28))
    for split in ('train', 'test'):
        for kind, a in (('images-idx3', x.transpose(0, 2, 1)), ('labels-idx1', np.arange(20) % 10)):
            file = folder/f'emnist-mnist-{split}-{kind}-ubyte'
            (
                file.with_name(file.name + '.gz').write_bytes(gzip.compress(idx(a)))
                if packed
                else file.write_bytes(idx(a))
            )
    return x

def write_cifar(folder, monkeypatch, n=100, trust=True):
    "CIFAR's files, n colours of each class in order; torchvision is told their md5 if `trust`."
    folder.mkdir(parents=True)
    fine, cls = n == 100, S.CIFAR100 if n == 100 else S.CIFAR10
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
        for part in ('train_list', 'test_list'):
            monkeypatch.setattr(cls, part, [[f, sums[f]] for f, _ in getattr(cls, part)])
        monkeypatch.setattr(cls, 'meta', {**cls.meta, 'md5': sums[cls.meta['filename']]})
    return x

def test_sample_is_balanced_and_small():
    from importlib.resources import files
    (x, y), (xt, yt), _ = S.read_sample()
    assert x.shape == (6000, 1, 28, 28) and xt.shape == (1000, 1, 28, 28) and x.dtype == torch.uint8
    assert (y.bincount() == 600).all() and (yt.bincount() == 100).all()
    assets = files('dems_nb')/'assets'
    assert (assets/'fashionmnist_sample.npz').stat().st_size <= 3_500_000
    assert (
        'Zalando SE' in (assets / 'FASHION_MNIST_LICENSE.txt').read_text()
        and 'MIT License' in (assets / 'FASHION_MNIST_LICENSE.txt').read_text()
    )

def test_sample_is_cut_from_the_real_set(monkeypatch):
    monkeypatch.undo()
    if S._find(S.dataset_facts('fashionmnist')) is None:
        pytest.skip('Fashion-MNIST is not on this machine (apt install dataset-fashion-mnist)')
    for sample, full, n in zip(
        S.read_sample()[:2], S.read_files('fashionmnist', download=False)[:2], (600, 100)
    ):
        pick = torch.cat([(full[1] == c).nonzero().flatten()[:n] for c in range(10)]).sort().values
        assert all(torch.equal(part, whole[pick]) for part, whole in zip(sample, full))

@pytest.mark.parametrize('packed', [True, False])
@pytest.mark.parametrize('under', ['', 'FashionMNIST/raw', 'fashion-mnist'])
@pytest.mark.parametrize('how', ['root', 'env'])
def test_fashionmnist_is_found(how, under, packed, tmp_path, monkeypatch):
    write_fashion(tmp_path/'d'/under if under else tmp_path/'d', packed=packed)
    if how == 'env': monkeypatch.setenv('DEMS_DATA', str(tmp_path/'d'))
    dls = D.get_dls(
        'fashionmnist',
        root=tmp_path / 'd' if how == 'root' else None,
        bs=16,
        device='cpu',
        download=False,
    )
    assert len(dls.train.dataset.y) == 50 and len(dls.valid.dataset.y) == 20

def test_folders_in_their_order(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv('DEMS_DATA', '/b')
    folders = [str(p) for p in S.data_folders('/a')]
    assert (
        folders[:2] == ['/a', '/b'] and folders[-1] == '/usr/share/datasets' and len(folders) == 4
    )

@pytest.mark.parametrize(
    'name, parts',
    [
        (
            'fashionmnist',
            ('train-images-idx3-ubyte.gz', 'FashionMNIST/raw', 'dataset-fashion-mnist'),
        ),
        ('emnist', ('emnist-mnist-test-labels-idx1-ubyte.gz', 'EMNIST/raw')),
        ('cifar10', ('Unpack cifar-10-python.tar.gz into',)),
        ('cifar100', ('Unpack cifar-100-python.tar.gz into',)),
    ],
)
def test_no_network_says_where_to_put_the_files(name, parts, tmp_path, monkeypatch):
    def no(self): raise OSError('no network')
    for c in (S.FashionMNIST, S.EMNIST, S.CIFAR10): monkeypatch.setattr(c, 'download', no)
    with pytest.raises(RuntimeError) as e: D.get_dls(name, root=tmp_path/'x', device='cpu')
    for part in ('no network', *parts, str(tmp_path / 'x'), '$DEMS_DATA', "'sample'"):
        assert part in str(e.value)
    with pytest.raises(FileNotFoundError, match=f'{name} is in none of the known folders'):
        D.get_dls(name, root=tmp_path / 'x', device='cpu', download=False)

def test_what_a_download_brings_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(
        S.FashionMNIST,
        'download',
        lambda self: write_fashion(tmp_path / 'x' / 'FashionMNIST' / 'raw', packed=False),
    )
    assert (
        len(D.get_dls('fashionmnist', root=tmp_path / 'x', bs=16, device='cpu').train.dataset.y)
        == 50
    )

@pytest.mark.parametrize('packed', [True, False])
def test_a_damaged_file_is_named(packed, tmp_path, monkeypatch):
    write_fashion(tmp_path/'d', packed=packed)
    bad = tmp_path/'d'/('t10k-images-idx3-ubyte' + ('.gz' if packed else ''))
    bad.write_bytes(bad.read_bytes()[:-50])
    with pytest.raises(ValueError, match='t10k-images-idx3-ubyte.* cannot be read'):
        D.get_dls('fashionmnist', root=tmp_path / 'd', device='cpu', download=False)

def test_the_files_of_mnist_are_no_clothes(tmp_path):
    "They have the names of Fashion-MNIST's, and other numbers of each class."
    write_fashion(tmp_path/'d', packed=False)
    record = S.dataset_facts('fashionmnist')
    for n in (50, 60): assert len(S._read_idx_split(record, tmp_path/'d', 'train', n)[1]) == 50
    labels = tmp_path/'d/train-labels-idx1-ubyte'
    labels.write_bytes(idx((np.arange(50) % 10).clip(1)))
    with pytest.raises(ValueError, match='not those of fashionmnist.* from 0 to 10 .*MNIST'):
        S._read_idx_split(record, tmp_path/'d', 'train', 50)

@pytest.mark.parametrize('packed', [True, False])
@pytest.mark.parametrize('under', ['', 'EMNIST/raw'])
def test_emnist_stands_upright(under, packed, tmp_path):
    x = write_emnist(tmp_path/'d'/under, packed)
    dls = D.get_dls('EMNIST', root=tmp_path/'d', bs=8, image_size=28, device='cpu', download=False)
    assert (
        torch.equal(dls.train.dataset.x[:, 0], torch.from_numpy(x).byte())
        and dls.vocab == list('0123456789')
        and dls.in_chans == 1
        and dls.name == 'emnist'
    )

@pytest.mark.parametrize('n', [10, 100])
@pytest.mark.parametrize('root', ['its parent', 'itself', 'itself, renamed'])
def test_cifar_is_found_and_read(n, root, tmp_path, monkeypatch):
    folder = (
        tmp_path
        / 'd'
        / ('mine' if 'renamed' in root else {10: 'cifar-10-batches-py', 100: 'cifar-100-python'}[n])
    )
    x = write_cifar(folder, monkeypatch, n)
    dls = D.get_dls(
        f'CIFAR{n}',
        root=folder.parent if 'parent' in root else folder,
        bs=8,
        device='cpu',
        download=False,
    )
    files = list(x)
    for dl, names in ((dls.train, files[:-1]), (dls.valid, files[-1:])):
        assert torch.equal(
            dl.dataset.x,
            torch.from_numpy(np.concatenate([x[f] for f in names])).view(-1, 3, 32, 32),
        )
        assert dl.dataset.y.tolist() == [*range(n)]*2*len(names)
    assert (
        dls.vocab[:2] == ['class 0', 'class 1']
        and dls.c == n
        and dls.in_chans == 3
        and dls.name == f'cifar{n}'
    )

class Bomb:
    def __reduce__(self): return os.mkdir, (os.environ['BOMB'],)

def test_cifar_of_another_md5_is_not_unpickled(tmp_path, monkeypatch):
    monkeypatch.setenv('BOMB', str(tmp_path/'went off'))
    write_cifar(tmp_path/'d', monkeypatch, 10)
    (tmp_path/'d'/'test_batch').write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match='test_batch in .*: not the published file'):
        D.get_dls('cifar10', root=tmp_path / 'd', device='cpu', download=False)
    (tmp_path/'d'/'batches.meta').write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match='test_batch, batches.meta in .*: not the published file'):
        D.get_dls('cifar10', root=tmp_path / 'd', device='cpu', download=False)
    assert not (tmp_path/'went off').exists()
    pickle.loads(pickle.dumps(Bomb()))
    assert (tmp_path/'went off').exists()                                   # it would have

def test_names_of_the_released_code_are_accepted(tmp_path):
    assert S.list_datasets() == [
        'sample',
        'fashionmnist',
        'cifar10',
        'cifar100',
        'emnist',
        'folder',
        'caltech101',
    ]
    assert [
        S.dataset_name(n) for n in ('CIFAR10', 'CIFAR100', 'FashionMNIST', 'EMNIST', 'Caltech101')
    ] == ['cifar10', 'cifar100', 'fashionmnist', 'emnist', 'caltech101']

@pytest.mark.parametrize('counts', [[800, 31, 435, 40, 31], [5, 5, 5, 6], [1, 2, 50]])
def test_parts_of_unequal_classes(counts):
    y = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))[
        torch.randperm(sum(counts))
    ]
    k, n = len(counts), len(y)
    for seed in range(3):
        for h in (0, k, n//3, n - k):
            for m in (None, k, (n - h)//2, n - h):
                if m is not None and m < k: continue
                held, kept = S.part_indices(y, h, m, seed)
                held, kept = torch.arange(0) if held is None else held, (
                    torch.arange(n) if kept is None else kept
                )
                assert (
                    len(held) == h
                    and len(kept) == (n - h if m is None else m)
                    and not set(held.tolist()) & set(kept.tolist())
                )
                c, d = torch.tensor(counts), y[kept].bincount(minlength=k)
                assert (d > 0).all()
                if h:
                    assert (y[held].bincount(minlength=k)[c > 1] > 0).all() and (
                        y[held].bincount(minlength=k) < c
                    ).all()
                if h in (0, n // 3) and m == (n - h) // 2:
                    assert (
                        (d / m - c / n).abs() <= 3 / m
                    ).all()  # each class's share, to a picture or so

def test_impossible_parts_of_unequal_classes():
    y = torch.tensor([0]*30 + [1]*11)
    for kw, said in (
        (
            dict(holdout=1, n_train=None),
            'holdout is 1: give a number for 2 classes of unequal size, from 2 to 39',
        ),
        (dict(holdout=40, n_train=None), 'from 2 to 39'),
        (
            dict(holdout=10, n_train=32),
            'n_train is 32: give a number for 2 classes of unequal size, from 2 to 31',
        ),
        (dict(holdout=0, n_train=1), 'n_train is 1'),
    ):
        with pytest.raises(ValueError) as e:
            S.part_indices(y, seed=0, **kw)
        assert said in str(e.value)


# facts

def test_facts_are_asked_by_any_name():
    cifar = S.dataset_facts('CIFAR100')
    assert (cifar.n_classes, cifar.in_chans, cifar.side, cifar.n_train, cifar.n_test) == (
        100,
        3,
        32,
        50_000,
        10_000,
    )
    folder, caltech = S.dataset_facts('folder'), S.dataset_facts('Caltech101')
    assert (folder.image_size, folder.patch_size, folder.n_classes, folder.in_chans) == (
        256,
        16,
        None,
        None,
    )
    assert (caltech.n_classes, caltech.fit, folder.fit) == (101, 'middle', None)
    with pytest.raises(ValueError, match="unknown data set 'imagenet'"): S.dataset_facts('imagenet')

@pytest.mark.parametrize('name', ['sample', 'fashionmnist', 'cifar10', 'cifar100', 'emnist'])
def test_facts_and_files_agree(name, tmp_path, monkeypatch):
    if name in ('cifar10', 'cifar100'):
        write_cifar(tmp_path / 'd', monkeypatch, 100 if name == 'cifar100' else 10)
    if name == 'fashionmnist': write_fashion(tmp_path/'d')
    if name == 'emnist': write_emnist(tmp_path/'d', True)
    record = S.dataset_facts(name)
    (x, y), (xt, yt), classes = S.read_files(name, tmp_path/'d', download=False)
    assert x.shape[1:] == xt.shape[1:] == (record.in_chans, record.side, record.side)
    assert len(classes) == record.n_classes and (
        record.classes is None or classes == record.classes
    )
    if name == 'sample': assert (len(x), len(xt)) == (record.n_train, record.n_test)
    assert record.stats == S.picture_stats(record.in_chans)

def test_the_augmentation_normalises_as_the_scoring_does():
    from dems_nb.augment import Augment, AugmentSchedule
    for c in (1, 3):
        augment = Augment(8, AugmentSchedule(1, in_chans=c))
        assert [tuple(t.flatten().tolist()) for t in (augment.mean, augment.std)] == [
            tuple(torch.tensor(v).tolist()) for v in S.picture_stats(c)]

# what is read is not trusted

@pytest.mark.parametrize('packed', [True, False])
@pytest.mark.parametrize(
    'kind, most', [('images-idx3', 16 + 10_000 * 784), ('labels-idx1', 8 + 10_000)]
)
def test_no_more_is_read_than_the_set_has(packed, kind, most, tmp_path):
    write_fashion(tmp_path/'d', packed=packed)
    bomb = tmp_path/'d'/(f't10k-{kind}-ubyte' + '.gz'*packed)
    with (gzip.open(bomb, 'wb') if packed else open(bomb, 'wb')) as f:
        for _ in range(200):
            f.write(bytes(2**20))  # 200 MB, of which 1/1000 on the disk
    tracemalloc.start()
    try:
        with pytest.raises(ValueError) as e:
            S.read_files('fashionmnist', tmp_path / 'd', download=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally: tracemalloc.stop()
    assert f'{bomb} cannot be read (it has more than its data set has, {most:,} bytes)' in str(
        e.value
    )
    assert peak < 60e6                                                        # of 200 MB

def test_nothing_is_written_through_a_linked_lock(tmp_path):
    (tmp_path/'precious').write_text('kept')
    (tmp_path/'x.lock').symlink_to(tmp_path/'precious')
    with S.locked(tmp_path/'x.lock'): pass
    assert (tmp_path/'precious').read_text() == 'kept'

def test_a_lock_keeps_others_out(tmp_path):
    from filelock import FileLock, Timeout
    with S.locked(tmp_path/'a'/'x.lock'):
        with pytest.raises(Timeout): FileLock(tmp_path/'a'/'x.lock').acquire(timeout=0)
    FileLock(tmp_path/'a'/'x.lock').acquire(timeout=0)

def test_a_file_system_without_locks_is_no_hindrance(tmp_path, monkeypatch):
    for error in (OSError, NotImplementedError):
        def none(self, error=error): raise error('no locks here')
        monkeypatch.setattr(S.FileLock, 'acquire', none)
        with S.locked(tmp_path/'x.lock'): done = True
        assert done

# one picture from anywhere

def picture(w=40, h=30, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8))

def pixels(im): return torch.from_numpy(np.array(im)).view(im.height, im.width, -1).permute(2, 0, 1)

@pytest.mark.parametrize('in_chans', [1, 3])
@pytest.mark.parametrize('fit', ['tensor', 'whole', 'middle'])
def test_a_rule_is_the_same_for_every_kind_of_picture(in_chans, fit, tmp_path):
    im = picture()
    im.save(tmp_path/'a.png')
    rule = S.PictureRule(16, in_chans, fit)
    kinds = [tmp_path/'a.png', str(tmp_path/'a.png'), im, np.asarray(im), pixels(im)]
    x, y = rule(kinds)
    base = im if in_chans == 3 else im.convert('L')
    want = {
        'tensor': lambda: S.resize_images(pixels(base)[None], 16)[0],
        'whole': lambda: pixels(S.to_square(base, 16)),
        'middle': lambda: pixels(S.to_middle(base, 16)),
    }[fit]()
    assert y is None and all(torch.equal(one, want) for one in x)

def test_grey_pictures_of_every_kind(tmp_path):
    grey = picture().convert('L')
    a = np.asarray(grey)
    x, _ = S.PictureRule(30, 1)(
        [grey.resize((30, 30)), *(np.asarray(grey.resize((30, 30)))[..., None],) * 2]
    )
    assert torch.equal(x[0], x[1]) and x.shape == (3, 1, 30, 30)
    for kind in (a, a[..., None], torch.from_numpy(a.copy()), torch.from_numpy(a.copy())[None]):
        assert np.array_equal(np.asarray(S.open_image(kind, 1)), a)
    assert np.array_equal(np.asarray(S.open_image(a)), np.repeat(a[..., None], 3, 2))

def test_a_rule_keeps_classes_and_takes_none():
    x, y = S.PictureRule(8)([(picture(), 3), (picture(), torch.tensor(1))])
    assert y.tolist() == [3, 1] and x.shape == (2, 3, 8, 8)
    x, y = S.PictureRule(8)([])
    assert y is None and x.shape == (0, 3, 8, 8)
    with pytest.raises(ValueError, match='some of the pictures have a class'):
        S.PictureRule(8)([(picture(), 3), picture()])
    with pytest.raises(ValueError, match="fit is 'stretch': give 'tensor', 'whole' or 'middle'"):
        S.PictureRule(8, fit='stretch')

@pytest.mark.parametrize('turn', range(1, 9))
def test_a_picture_is_turned_as_its_exif_says(turn, tmp_path):
    from PIL import ImageOps
    exif = Image.Exif()
    exif[0x0112] = turn
    picture().save(tmp_path/'a.jpg', exif=exif, quality=95)
    with Image.open(tmp_path/'a.jpg') as im: want = ImageOps.exif_transpose(im)
    assert np.array_equal(np.asarray(S.open_image(tmp_path/'a.jpg')), np.asarray(want))
    assert S.open_image(tmp_path/'a.jpg').size == ((30, 40) if turn > 4 else (40, 30))

def test_a_damaged_exif_is_no_hindrance(tmp_path):
    picture().save(tmp_path/'a.jpg', exif=b'Exif\0\0II*\0\xff\xff\xff\x7f')
    assert S.open_image(tmp_path/'a.jpg').size == (40, 30)

def test_a_picture_of_floats_is_refused():
    for kind in (np.zeros((4, 4, 3)), torch.zeros(3, 4, 4)):
        with pytest.raises(ValueError, match='give bytes, uint8; of floats from 0 to 1'):
            S.open_image(kind)

def test_files_of_other_depths_are_read_or_refused_but_not_made_black(tmp_path):
    def saved(a, name='a.tif'):
        Image.fromarray(a).save(tmp_path/name)
        return tmp_path/name
    ramp = np.arange(256).reshape(16, 16)
    with pytest.raises(ValueError, match='its pixels are floats: save it with 8 or 16 bits'):
        S.open_image(saved((ramp/255).astype(np.float32)))
    for wrong in (ramp, ramp*-1, ramp*1000):               # 255: of 8 bits or of 16?
        with pytest.raises(ValueError, match='32 bits a pixel and values from'):
            S.open_image(saved(wrong.astype(np.int32)))
    for deep in (saved((ramp*257).astype(np.int32)), saved((ramp*257).astype(np.uint16)),
                 saved((ramp*257).astype(np.uint16), 'a.png')):
        assert np.array_equal(np.asarray(S.open_image(deep, 1)), ramp)
    assert not np.asarray(S.open_image(saved(np.zeros((4, 4), np.int32)))).any()

def test_too_many_pixels_say_the_limit_and_the_flag(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 500)
    picture().save(tmp_path / 'a.png')  # 1,200 pixels; Pillow refuses twice its limit
    with pytest.raises(ValueError, match=r'more than the 1,000 pixels .* \$DEMS_MAX_PIXELS'):
        S.open_image(tmp_path/'a.png')
    monkeypatch.setenv('DEMS_MAX_PIXELS', '2400')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert S.open_image(tmp_path/'a.png').size == (40, 30)

@pytest.mark.parametrize('name', ['a.png', 'a.tif', 'a.pgm'])
def test_twelve_bits_in_a_file_of_sixteen_are_not_black_in_silence(name, tmp_path):
    a = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(a).save(tmp_path/name)
    with pytest.warns(UserWarning, match='no value above 4,095'): S.open_image(tmp_path/name, 1)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for other in (a*16, a*0):                               # all of the range, and black
            Image.fromarray(other).save(tmp_path/name)
            assert S.open_image(tmp_path/name, 1).getextrema() == ((0, 255) if other.any()
                                                                   else (0, 0))

def test_no_picture_starts_a_program(tmp_path, monkeypatch):
    "An EPS is read by Ghostscript, whatever the file is called."
    from PIL import EpsImagePlugin
    monkeypatch.setattr(EpsImagePlugin, 'Ghostscript', lambda *a, **kw: pytest.fail('started'))
    Image.new('RGB', (20, 20), 'red').save(tmp_path/'a.eps')
    (tmp_path/'a.eps').rename(tmp_path/'a.jpg')
    with pytest.raises(OSError, match='cannot identify image file'): S.open_image(tmp_path/'a.jpg')

@pytest.mark.parametrize('ending', ['jpg', 'png', 'ppm', 'bmp', 'tif', 'webp', 'gif', 'tga'])
def test_the_usual_formats_are_read(ending, tmp_path):
    Image.new('RGB', (20, 20), 'white').save(tmp_path/f'a.{ending}')
    assert S.open_image(tmp_path/f'a.{ending}', 1).getextrema() == (255, 255)

@pytest.mark.parametrize('wrong, form', [
    (np.zeros((1, 28, 28), np.uint8), 'an array of (1, 28, 28): give (height, width) or '
                                      '(height, width, channels)'),
    (np.zeros((2, 9, 9, 3), np.uint8), 'an array of (2, 9, 9, 3): give'),
    (np.zeros((0, 9), np.uint8), 'an array of (0, 9): give'),
    (torch.zeros(28, 28, 1, dtype=torch.uint8), 'a tensor of (28, 28, 1): give (height, width) or '
                                                '(channels, height, width)')])
def test_numbers_in_another_order_are_told_with_their_shape(wrong, form):
    with pytest.raises(ValueError) as e: S.PictureRule(32, 1).picture(wrong)
    assert f'the picture is {form}' in str(e.value)

@pytest.mark.parametrize('name', ['Bag', '3', 1.5, -1, True])
def test_a_class_by_name_is_refused(name):
    with pytest.raises(ValueError, match=r'class is .*; classes are numbers from 0 to n - 1'):
        S.PictureRule(8)([(picture(), name)])
    for number in (3, np.int64(3), torch.tensor(3), np.array(3)):
        assert S.PictureRule(8)([(picture(), number)])[1].tolist() == [3]
