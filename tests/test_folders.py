"Image folders: every kind of file, every fault of a folder; the cache killed, spoiled and shared."
import errno, json, numpy as np, os, pytest, re, signal, subprocess, sys, time, torch, warnings
from contextlib import contextmanager
from PIL import Image
from pathlib import Path
from torchvision import transforms as T
from torchvision.datasets import ImageFolder
from dems_nb import data as D, folders as F
from dems_nb.datasets import open_image, part_indices, to_middle, to_square

@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    for v in ('DEMS_DATA', 'DEMS_CACHE'): monkeypatch.delenv(v, raising=False)

def noise(w, h, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8))

def make(root, train=(('a', 3), ('b', 2)), val=(('a', 1), ('b', 1)), size=(20, 14)):
    "A folder of small PNGs, all different."
    seed = 0
    for split, classes in (('train', train), ('val', val)):
        for c, n in classes:
            (root/split/c).mkdir(parents=True)
            for i in range(n): noise(*size, seed := seed + 1).save(root/split/c/f'{i}.png')
    return root

def load(root, size=16, crop=False, canvas=24, workers=2, **kw):
    "(training pictures, scored ones, class names, a function: training ones as scored)."
    s = F.read_folder(root, image_size=size, crop=crop, canvas=canvas, workers=workers, **kw)
    return s.train, s.test, list(s.classes), s.as_scored

def top_left(x, generator, size=None): return x[:, :, :16, :16]
top_left.takes_size = True

def pixels(im): return torch.from_numpy(np.array(im)).view(im.height, im.width, -1).permute(2, 0, 1)

# files of every kind

def kinds():
    rgb = noise(30, 22)
    yield 'grey.png', rgb.convert('L'), {}
    yield 'grey.jpg', rgb.convert('L'), {}
    yield 'colour.JPG', rgb, {}
    yield 'black_and_white.png', rgb.convert('1'), {}
    yield 'palette.png', rgb.quantize(16), {}
    yield 'palette_transparent.png', rgb.quantize(16), dict(transparency=bytes(range(16)))
    yield 'alpha.png', Image.merge('RGBA', (*rgb.split(), rgb.convert('L'))), {}
    yield 'grey_alpha.png', Image.merge('LA', (rgb.convert('L'),)*2), {}
    yield 'cmyk.jpg', rgb.convert('CMYK'), {}
    yield 'cmyk.tif', rgb.convert('CMYK'), {}
    yield 'plain.webp', rgb, {}
    yield 'plain.bmp', rgb, {}

@pytest.mark.parametrize(
    'name, im, kw', list(kinds()), ids=lambda v: v if isinstance(v, str) else ''
)
def test_every_kind_of_file_is_read_as_imagefolder_reads_it(name, im, kw, tmp_path):
    im.save(tmp_path/name, **kw)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        want = ImageFolder.__init__.__defaults__[2](str(tmp_path/name))
        got = open_image(tmp_path/name)
    assert got.mode == 'RGB' and np.array_equal(np.asarray(got), np.asarray(want))

def test_sixteen_bits_keep_the_upper_eight(tmp_path):
    a = (np.arange(600).reshape(20, 30)*100).astype(np.uint16)
    Image.fromarray(a).save(tmp_path/'deep.png')
    assert np.array_equal(
        np.asarray(open_image(tmp_path / 'deep.png')),
        np.repeat((a >> 8).astype(np.uint8)[..., None], 3, 2),
    )

def test_grey_and_colour_mix_and_exif_is_applied(tmp_path):
    root = make(tmp_path/'r')
    noise(20, 14, 50).convert('L').save(root/'train'/'a'/'0.png')
    exif = Image.Exif(); exif[0x0112] = 6                                   # rotated by a quarter
    noise(20, 14, 51).save(root/'train'/'a'/'1.png', exif=exif)
    train, *_ = load(root, crop=True)
    assert (
        train.x.shape[1] == 3
        and (train.x[0] == train.x[0][:1]).all()
        and train.size[1].tolist() == [20, 14]
    )

def test_a_palette_with_transparency_says_nothing(tmp_path, recwarn):
    root = make(tmp_path/'r')
    noise(20, 14).quantize(16).save(root/'train'/'a'/'0.png', transparency=bytes(range(16)))
    load(root)
    assert not recwarn.list

# the three forms

@pytest.mark.parametrize(
    'size', [(300, 200), (200, 300), (1, 400), (400, 1), (1, 1), (3000, 7), (256, 256)]
)
def test_forms_agree_with_torchvision(size):
    im = noise(*size)
    squash = lambda s: T.Resize((s, s), T.InterpolationMode.BICUBIC)
    assert np.array_equal(np.asarray(to_square(im)), np.asarray(squash(256)(im)))
    assert np.array_equal(np.asarray(to_middle(im)), np.asarray(T.CenterCrop(256)(squash(300)(im))))
    for side in (32, 63, 224):
        assert np.array_equal(
            np.asarray(to_middle(im, side)),
            np.asarray(T.CenterCrop(side)(squash(round(side * 300 / 256))(im))),
        )

@pytest.mark.parametrize(
    'size, want',
    [
        ((300, 200), (200, 300)),
        ((640, 320), (160, 320)),
        ((1, 400), (320, 1)),
        ((3000, 7), (1, 320)),
        ((1, 1), (1, 1)),
        ((320, 320), (320, 320)),
        ((321, 5), (5, 320)),
    ],
)
def test_a_canvas_holds_the_whole_picture(size, want):
    im = noise(*size)
    canvas, (h, w) = F.to_canvas(im)
    a = np.asarray(canvas)
    assert (h, w) == want and a.shape == (320, 320, 3) and not a[h:].any() and not a[:, w:].any()
    assert np.array_equal(a[:h, :w], np.asarray(im.resize((w, h), Image.Resampling.BICUBIC)))

@pytest.mark.parametrize('layout, crop', [('canvas', True), ('square', False)])
def test_pictures_and_classes_are_imagefolders(layout, crop, tmp_path):
    root = make(
        tmp_path / 'r', train=(('b', 12), ('a', 11), ('c', 1)), val=(('c', 2), ('b', 1), ('a', 3))
    )
    (root/'train'/'a'/'deeper').mkdir(); noise(9, 30).save(root/'train'/'a'/'deeper'/'x.jpg')
    train, test, names, as_scored = load(root, crop=crop)
    forms = {
        'canvas': lambda im: F.to_canvas(im, 24)[0],
        'square': lambda im: to_square(im, 16),
        'middle': lambda im: to_middle(im, 16),
    }
    scored = 'middle' if crop else 'square'                                 # as they are trained on
    for split, images, form in (
        ('train', train, layout),
        ('val', test, scored),
        ('train', as_scored(), scored),
    ):
        official = ImageFolder(root / split)
        assert official.classes == names and images.y.tolist() == official.targets
        for x, (im, _) in zip(images.x, official, strict=True):
            assert torch.equal(x, pixels(forms[form](im)))
    if crop:
        assert train.size.tolist() == [
            list(F.to_canvas(im, 24)[1]) for im, _ in ImageFolder(root / 'train')
        ]
    assert test.size is None and as_scored().size is None and (crop or train.size is None)

# faults of a folder

def test_stray_files_are_named_in_one_warning(tmp_path):
    root = make(tmp_path/'r')
    for f in ('train/a/notes.txt', 'val/b/Thumbs.db', 'val/a/a.gif', 'val/a/.DS_Store'):
        (root / f).write_bytes(b'x')
    (root/'train'/'readme.md').write_bytes(b'x')
    (root/'train'/'.ipynb_checkpoints').mkdir()
    with pytest.warns() as said: train, *_ = load(root)
    said = [str(w.message) for w in said]
    kinds = '(1 .txt, 1 .gif, 1 .db)'
    assert said == [f'{root}/train/a/notes.txt and 2 more: no picture by its name {kinds}, skipped']
    assert len(train.y) == 5

def broken_folder(tmp_path):
    root = make(tmp_path/'r', train=(('a', 4), ('b', 4)))
    whole = (root/'train'/'a'/'3.png').read_bytes()
    for f, b in (
        ('a/0.png', b''),
        ('a/2.png', b'not a picture'),
        ('b/3.png', whole[: len(whole) // 2]),
    ):
        (root / 'train' / f).write_bytes(b)
    return root

def test_broken_files_are_named_before_training(tmp_path):
    root = broken_folder(tmp_path)
    for _ in range(2):                                                      # from the cache as well
        with pytest.raises(ValueError) as e: D.get_dls('folder', root, 16, bs=2, device='cpu')
        what = 'UnidentifiedImageError: cannot identify image file'
        first = f'3 file(s) cannot be read as pictures: {root}/train/a/0.png ({what}), '
        assert str(e.value).startswith(first)
        assert f', {root}/train/a/2.png ({what}), {root}/train/b/3.png (' in str(e.value)
        assert str(e.value).endswith(
            '; mend or delete them, or leave them out with on_broken="skip"'
        )

@pytest.mark.parametrize('crop', [True, False])
def test_broken_files_are_skipped_when_asked(crop, tmp_path):
    root = broken_folder(tmp_path)
    with pytest.warns(UserWarning, match='a/0.png .*a/2.png .*b/3.png .*; skipped') as said:
        train, _, _, as_scored = load(root, crop=crop, on_broken='skip')
    assert len(said) == 1
    form = (lambda im: F.to_canvas(im, 24)[0]) if crop else (lambda im: to_square(im, 16))
    good = ['a/1.png', 'a/3.png', 'b/0.png', 'b/1.png', 'b/2.png']
    for x, f in zip(train.x, good, strict=True):
        assert torch.equal(x, pixels(form(Image.open(root / 'train' / f))))
    assert train.y.tolist() == [0, 0, 1, 1, 1]
    with pytest.warns(UserWarning): assert as_scored().y.tolist() == train.y.tolist()
    with pytest.raises(ValueError, match='cannot be read as pictures'):
        load(root, crop=crop)  # asking again without skip
    for f in ('a/0.png', 'a/2.png', 'b/3.png'): noise(5, 5).save(root/'train'/f)
    assert len(load(root, crop=crop)[0].y) == 8  # mended

@pytest.mark.parametrize(
    'said, spoil',
    [
        (
            'none of 4 files can be read as a picture',
            lambda r: [f.write_bytes(b'') for f in (r / 'train').rglob('*.png')],
        ),
        (
            "no picture of class 'a'",
            lambda r: [f.write_bytes(b'') for f in (r / 'train' / 'a').iterdir()],
        ),
    ],
)
def test_nothing_left_after_skipping(said, spoil, tmp_path, recwarn):
    root = make(tmp_path/'r', train=(('a', 2), ('b', 2)))
    spoil(root)
    with pytest.raises(ValueError, match=said): load(root, on_broken='skip')

def away(*parts):
    def f(root):
        import shutil
        for p in parts: shutil.rmtree(root/p)
    return f

@pytest.mark.parametrize(
    'error, said, spoil',
    [
        (ValueError, '{root} has val/ and nothing to train on: add train/', away('train')),
        (FileNotFoundError, 'there is no folder {root}', away('')),
        (ValueError, '{root}/val has no folders', away('val/a', 'val/b')),
        (ValueError, "class 'b' of {root} is in train/ and not in val/", away('val/b')),
        (ValueError, "class 'a' of {root} is in val/ and not in train/", away('train/a')),
        (ValueError, '{root}/val/b has no picture (.jpg', lambda r: (r / 'val/b/0.png').unlink()),
        (ValueError, '{root}/train/c has no picture', lambda r: (r / 'train/c').mkdir()),
    ],
)
def test_faults_are_told_clearly(error, said, spoil, tmp_path):
    root = make(tmp_path/'r')
    spoil(root)
    with pytest.raises(error) as e: D.get_dls('folder', root, 16, bs=2, device='cpu')
    assert said.format(root=root) in str(e.value) and not (root/'.dems_cache').exists()

@pytest.mark.parametrize('name', ['folder', 'Caltech101'])
def test_bad_arguments(name, tmp_path):
    with pytest.raises(ValueError, match='an image folder needs root='):
        D.get_dls(name, device='cpu')
    with pytest.raises(ValueError, match="on_broken is 'ignore': give 'error' or 'skip'"):
        D.get_dls(name, make(tmp_path / 'r'), device='cpu', on_broken='ignore')

# the loaders

def test_folder_through_get_dls(tmp_path):
    root = make(tmp_path/'r', train=(('a', 30), ('b', 11)))
    dls = D.get_dls(
        'caltech101',
        str(root),
        16,
        bs=8,
        device='cpu',
        crop=True,
        augment=[top_left],
        canvas=24,
        workers=1,
    )
    (x, y), d = dls.train.one_batch(), dls.train.dataset
    assert (
        x.shape == (8, 3, 16, 16)
        and d.x.shape == (41, 3, 24, 24)
        and d.size.shape == (41, 2)
        and (d.size == torch.tensor([14, 20])).all()
    )
    assert (dls.vocab, dls.c, dls.in_chans, dls.name) == (['a', 'b'], 2, 3, 'caltech101')
    assert (
        torch.equal(torch.cat([x for x, _ in dls.valid]), D.Normalize(3)(dls.valid.dataset.x))
        and len(D.dataset_checksum(dls)) == 64
    )

@pytest.mark.parametrize('crop', [True, False])
def test_held_back_pictures_are_scored_as_the_test_set_is(crop, tmp_path):
    root = make(tmp_path/'r', train=(('a', 30), ('b', 11)))
    dls = D.get_dls(
        'folder',
        root,
        16,
        bs=8,
        device='cpu',
        crop=crop,
        augment=[top_left],
        canvas=24,
        holdout=8,
        n_train=20,
    )
    held, kept = part_indices(torch.tensor([0]*30 + [1]*11), 8, 20, 0)
    as_scored = load(root, crop=crop)[3]()
    assert (
        torch.equal(dls.valid.dataset.x, as_scored.x[held])
        and dls.valid.dataset.size is None
        and len(dls.train.dataset.y) == 20
    )
    assert torch.equal(dls.train.dataset.x, load(root, crop=crop)[0].x[kept])

# the cache

def no_decoding(monkeypatch):
    monkeypatch.setattr(
        F, 'open_image', lambda path, in_chans: pytest.fail(f'decoded {path} again')
    )

def caches(root): return sorted((root/'.dems_cache').glob('*.safetensors'))

def test_a_second_load_decodes_nothing(tmp_path, monkeypatch):
    root = make(tmp_path/'r')
    one = load(root, crop=True)
    with monkeypatch.context() as m:
        no_decoding(m)
        two = load(root, crop=True)
    assert all(D.dataset_checksum(one[i]) == D.dataset_checksum(two[i]) for i in (0, 1))
    assert [re.sub('-[0-9a-f]{8}', '', f.name) for f in caches(root)] == [
        'scored-middle-16.safetensors',
        'train-canvas-24.safetensors',
    ]
    root.rename(tmp_path / 'moved')  # the cache goes with the pictures
    no_decoding(monkeypatch)
    load(tmp_path/'moved', crop=True)

def test_the_cache_is_a_safetensors_file(tmp_path):
    from safetensors.torch import load_file
    root = make(tmp_path/'r', size=(5, 7))
    train, *_ = load(root, size=13, crop=True, canvas=15)  # odd sides: nothing is aligned by luck
    t = load_file(caches(root)[-1])
    assert all(torch.equal(t[k], getattr(train, k)) for k in ('x', 'y', 'size'))

def touch(f): os.utime(f, ns=(0, f.stat().st_mtime_ns + 1))

@pytest.mark.parametrize(
    'spoil',
    [
        lambda r: touch(r / 'train/a/0.png'),
        lambda r: noise(9, 9).save(r / 'train/a/9.png'),
        lambda r: (r / 'train/a/2.png').unlink(),
        lambda r: (r / 'train/a/2.png').rename(r / 'train/b/2.png'),
        lambda r: noise(40, 14).save(r / 'train/b/0.png'),
        lambda r: [(r / s / 'b').rename(r / s / 'z') for s in ('train', 'val')],
    ],
    ids=['time', 'added', 'removed', 'moved', 'changed', 'class renamed'],
)
def test_a_changed_folder_is_decoded_again(spoil, tmp_path, monkeypatch):
    root, decoded = make(tmp_path/'r'), []
    load(root)
    spoil(root)
    monkeypatch.setattr(
        F, 'open_image', lambda path, c, real=F.open_image: decoded.append(path) or real(path, c)
    )
    train, *_ = load(root)
    assert len(decoded) >= len(train.y)
    fresh, *_ = load(root, cache=tmp_path/'elsewhere')
    assert torch.equal(train.x, fresh.x) and torch.equal(train.y, fresh.y)

@pytest.mark.parametrize(
    'spoil',
    [
        lambda b: b[:-1],
        lambda b: b + b'x',
        lambda b: b[:100],
        lambda b: b'',
        lambda b: b'\xff' * len(b),
        lambda b: (2).to_bytes(8, 'little') + b'[]',
        lambda b: (2).to_bytes(8, 'little') + b'{}',
        lambda b: b.replace(b'"version": "2"', b'"version": "0"'),
    ],
    ids=['short', 'long', 'head only', 'empty', 'foreign', 'a list', 'no head', 'other version'],
)
def test_a_spoiled_cache_is_made_anew(spoil, tmp_path):
    root = make(tmp_path/'r')
    want = load(root)[0].x.clone()
    file = caches(root)[-1]
    good = file.read_bytes()
    assert spoil(good) != good
    file.write_bytes(spoil(good))
    assert torch.equal(load(root)[0].x, want) and file.read_bytes() == good

@contextmanager
def as_on_windows(held):
    "Files that are mapped can be read, but neither deleted nor replaced."
    unlink, replace = Path.unlink, os.replace
    def refuse(path):
        if Path(path) in held: raise PermissionError(errno.EACCES, 'in use', str(path))
    with pytest.MonkeyPatch.context() as m:
        m.setattr(Path, 'unlink', lambda f, missing_ok=False: refuse(f) or unlink(f, missing_ok))
        m.setattr(os, 'replace', lambda old, new: refuse(new) or replace(old, new))
        yield

def test_a_cache_is_made_anew_while_an_older_one_is_mapped(tmp_path):
    root = make(tmp_path/'r')
    first = load(root)[0]
    was, held = first.x.clone(), set(caches(root))
    noise(20, 14, 90).save(root/'train'/'a'/'0.png')
    with as_on_windows(held): second = load(root)[0]
    assert torch.equal(first.x, was) and len(caches(root)) == 3
    fresh = load(root, cache=tmp_path/'elsewhere')[0]
    assert torch.equal(second.x, fresh.x) and not torch.equal(second.x, was)
    (file,) = set(caches(root)) - held
    for copies in (4, 5):                                   # made from the same, but rotten
        good = file.read_bytes()
        with open(file, 'r+b') as f:
            n = int.from_bytes(f.read(8), 'little')
            f.seek(8 + n)
            f.write(bytes([good[8 + n] ^ 1]))
        held = set(caches(root))
        with as_on_windows(held), pytest.warns(UserWarning, match='not those that were written'):
            third = load(root, check=True)[0]
        with as_on_windows(held): fourth = load(root, check=True)[0]
        assert torch.equal(third.x, fresh.x) and torch.equal(fourth.x, fresh.x)
        assert len(caches(root)) == copies
        (file,) = set(caches(root)) - held
    noise(20, 14, 91).save(root/'train'/'a'/'0.png')
    load(root)
    assert len(caches(root)) == 2                           # nobody holds them any more

def test_caches_of_other_kinds_stay_and_those_of_before_go(tmp_path):
    root = make(tmp_path/'r')
    others = [f'train-square-16{end}.safetensors' for end in ('-grey-01234567', '0', '-notes')]
    (root/'.dems_cache').mkdir()
    for name in ('train-square-16.safetensors', 'train-square-16-01234567.safetensors', *others):
        (root/'.dems_cache'/name).write_bytes(b'x')
    load(root)
    names = [f.name for f in caches(root) if f.name.startswith('train')]
    assert {*others} < {*names} and len(names) == 4
    assert not {'train-square-16.safetensors', 'train-square-16-01234567.safetensors'} & {*names}

def test_other_sides_have_files_of_their_own(tmp_path):
    root = make(tmp_path/'r')
    for size in (16, 18): load(root, size)
    assert len(caches(root)) == 4 and load(root, 16)[0].x.shape[-1] == 16

def test_where_the_cache_lies(tmp_path, monkeypatch):
    root = make(tmp_path/'r')
    assert F.cache_folder(root) == root/'.dems_cache'
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'home'))
    with monkeypatch.context() as m:
        m.setattr(os, 'access', lambda path, mode: False)
        theirs = F.cache_folder(root)
        assert theirs.parent == tmp_path/'home'/'dems_nb' and theirs.name.startswith('r-')
        m.delenv('XDG_CACHE_HOME'); m.setenv('HOME', str(tmp_path/'me'))
        assert F.cache_folder(root).parent == tmp_path/'me'/'.cache'/'dems_nb'
    monkeypatch.setenv('DEMS_CACHE', str(tmp_path/'env'))
    assert (
        F.cache_folder(root).parent == tmp_path / 'env'
        and F.cache_folder(root, tmp_path / 'arg').parent == tmp_path / 'arg'
    )
    assert (
        F.cache_folder(make(tmp_path / 's' / 'r')).name != F.cache_folder(root).name
    )  # two folders of one name
    load(root, cache=tmp_path/'arg')
    assert (
        not (root / '.dems_cache').exists()
        and len(list((tmp_path / 'arg').rglob('*.safetensors'))) == 2
    )

def test_a_full_disk_is_said_before_and_leaves_nothing(tmp_path, monkeypatch):
    root = make(tmp_path/'r')
    with monkeypatch.context() as m:
        m.setattr(F.shutil, 'disk_usage', lambda p: type('U', (), dict(free=3000)))
        with pytest.raises(
            OSError,
            match='decoding train takes 3,840 bytes and .*has 3,000 left: make room, or name '
                  'another f',
        ):
            load(root)
    for after in range(3):
        def full(f, data, count=[0], after=after):
            count[0] += 1
            if count[0] > after: raise OSError(errno.ENOSPC, 'No space left on device')
            f.write(data)
        with monkeypatch.context() as m:
            m.setattr(F, '_put', full)
            with pytest.raises(OSError, match='No space left'):
                load(root, on_broken='skip')  # not taken for a broken picture
        assert not [f for f in (root/'.dems_cache').iterdir() if f.suffix != '.lock']
    assert len(load(root)[0].y) == 5

def python(code, *args, **kw):
    return subprocess.Popen(
        [sys.executable, '-c', code, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
        **kw
    )

SLOW = '''
import os, sys, time
from pathlib import Path
from dems_nb import folders as F
real, root, log = F.open_image, sys.argv[1], open(sys.argv[2], 'a')
def slow(path, in_chans):
    print(path, file=log, flush=True); time.sleep(float(sys.argv[3]))
    return real(path, in_chans)
F.open_image = slow
Path(f'{sys.argv[2]}.{os.getpid()}').touch()            # begin together with the others
while len(list(Path(sys.argv[2]).parent.glob('log.*'))) < int(sys.argv[4]): time.sleep(.01)
train = F.read_folder(root, image_size=16, canvas=24, workers=1).train
print(len(train.y), flush=True)
'''

def test_a_kill_in_the_middle_leaves_no_half_cache(tmp_path):
    root, log = make(tmp_path/'r', train=(('a', 30), ('b', 10))), tmp_path/'log'
    p = python(SLOW, root, log, .2, 1)
    for _ in range(600):
        if log.exists() and log.read_text().count('\n') >= 20: break
        time.sleep(.1)
    p.send_signal(signal.SIGKILL); p.communicate()
    folder = root/'.dems_cache'
    assert log.read_text().count('\n') < 40 and [
        f.name for f in folder.iterdir() if f.suffix != '.lock'
    ] == ['train-square-16.safetensors.part']
    train, *_ = load(root)
    fresh, *_ = load(root, cache=tmp_path/'elsewhere')
    assert torch.equal(train.x, fresh.x) and not list(folder.glob('*.part'))

def test_of_two_processes_one_decodes(tmp_path):
    root, log = make(tmp_path/'r', train=(('a', 30), ('b', 10))), tmp_path/'log'
    both = [python(SLOW, root, log, .02, 2) for _ in range(2)]
    said = [p.communicate(timeout=120) for p in both]
    assert [out.strip() for out, err in said] == ['40', '40'], said
    assert log.read_text().count('\n') == 42 and len(set(log.read_text().split())) == 42

BIG = '''
import resource, sys
from dems_nb import folders as F
unit = 2**20 if sys.platform == 'darwin' else 2**10
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/unit
before = peak()
train = F.read_folder(sys.argv[1], image_size=16, crop=True, canvas=800, workers=2).train
print(train.x.nbytes/2**20, peak() - before)
'''

def test_memory_is_bounded(tmp_path):
    "220 MB of pictures are decoded, and the peak of memory rises by a small part of them."
    root = make(tmp_path/'r', train=(('a', 60), ('b', 60)), size=(90, 60))
    out, err = python(BIG, root).communicate(timeout=300)
    assert out, err
    decoded, rise = map(float, out.split())
    assert decoded > 200 and rise < 100, (decoded, rise)
    assert caches(root)[-1].stat().st_size > 200*2**20

def test_pictures_stay_in_the_file_until_a_batch_asks(tmp_path):
    root = make(tmp_path/'r')
    train, *_ = load(root, crop=True)
    dl = D.DeviceDL(train, bs=2, shuffle=True, device='cpu')
    file = caches(root)[-1]
    with open(file, 'r+b') as f:
        n = int.from_bytes(f.read(8), 'little')
        f.seek(8 + n)
        f.write(bytes([1]) * 24)  # the first row of the first picture
    assert (dl.dataset.x[0, 0, 0] == 1).all()                               # seen through the map
    dl.dataset.x[0] = 0
    assert file.read_bytes()[8 + n:8 + n + 24] == bytes([1])*24             # and never written back

def test_progress_in_plain_lines(tmp_path, monkeypatch, capsys):
    root = make(tmp_path/'r', train=(('a', 200), ('b', 150)), size=(4, 4))
    monkeypatch.setattr(F, 'IN_NOTEBOOK', False)
    load(root, size=8, workers=1)
    lines = capsys.readouterr().out.splitlines()
    assert (
        len(lines) == 10
        and lines[-1] == 'decoding train: 350 of 350 pictures'
        and all(l.startswith('decoding train: ') for l in lines)
    )
    load(root, size=8, workers=1)
    assert capsys.readouterr().out == ''

@pytest.mark.parametrize('where', ['terminal', 'notebook'])
def test_progress_has_a_bar(where, monkeypatch, capsys):
    monkeypatch.setattr(F, 'IN_NOTEBOOK', where == 'notebook')
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: where == 'terminal', raising=False)
    parts = [range(i, i + 3) for i in range(0, 75, 3)]
    assert list(
        F._steps(parts, 75, 'decoding train')
    ) == parts and capsys.readouterr().out.startswith('decoding train: 75 pictures')

# the tutorial

def messy(root):
    "What real folders hold: pictures of several kinds, in folders of folders, and others."
    for split, n in (('train', 8), ('val', 4)):
        for c in ('red things', 'Grüne Äpfel', 'blau'):
            for i in range(n):
                at = (
                    root
                    / split
                    / c
                    / ('more stuff' if i == 3 else '.')
                    / f'IMG {i}{(".jpg", ".png", ".JPG", ".webp")[i % 4]}'
                )
                at.parent.mkdir(parents=True, exist_ok=True)
                noise(20 + 30*i, 60, i).convert('L' if i % 4 == 1 else 'RGB').save(at)
        for stray in ('.DS_Store', 'blau/Thumbs.db', 'red things/notes.txt', 'blau/a.gif'):
            (root / split / stray).write_text('no picture')
    return root

def test_the_tutorial_runs_on_a_folder_of_ones_own(tmp_path, capsys):
    "With `root` in place of its example and without the section on a broken file, as it says."
    import matplotlib, matplotlib.pyplot as plt
    matplotlib.use('Agg')
    nb = json.loads(
        (Path(__file__).parent.parent / 'nbs/tutorials/your_own_images.ipynb').read_text()
    )
    left_out, space, ran = False, dict(__name__='__main__'), 0
    for c in nb['cells']:
        s = ''.join(c['source'])
        if c['cell_type'] == 'markdown':
            if s.startswith('## '): left_out = s.startswith('## A broken file')
            continue
        if 'def write_picture' in s:
            space['root'] = messy(tmp_path/'mine')
            space['new'] = space['root']/'val'
        elif not left_out: exec(s.replace('epochs=16', 'epochs=1'), space); ran += 1
    assert ran > 10 and space['names'] == ['Grüne Äpfel', 'blau', 'red things']
    assert len(space['table'].read_text(encoding='utf-8').splitlines()) == 13
    assert re.search(
        r'^val/blau +4 pictures such as IMG 0.jpg \(20, 60\)$', capsys.readouterr().out, re.M
    )
    plt.close('all')

# links, pipes and copies: each picture once, by its real path

def paths(listed, which='train'):
    return [f for fs in getattr(listed, which).files.values() for f in fs]

@pytest.mark.parametrize('to', ['.', '..', '../..', '../../..', '../b', 'deeper/..'])
def test_a_link_in_a_circle_adds_nothing(to, tmp_path):
    root = make(tmp_path/'r')
    (root/'train'/'a'/'deeper').mkdir()
    (root/'train'/'a'/'link').symlink_to(to)
    listed = F.look_at_folder(root)
    assert listed.counts['train'] == dict(a=3, b=2)
    assert len(load(root)[0]) == 5

def test_two_links_that_point_at_each_other(tmp_path):
    root = make(tmp_path/'r')
    for one, other in (('x', 'y'), ('y', 'x')):
        (root / 'train' / 'a' / one).symlink_to(root / 'train' / 'a' / other)
    (root/'train'/'a'/'1').mkdir(); (root/'train'/'a'/'2').mkdir()
    (root / 'train' / 'a' / '1' / 'other').symlink_to('../2')
    (root / 'train' / 'a' / '2' / 'other').symlink_to('../1')
    assert F.look_at_folder(root).counts['train'] == dict(a=3, b=2)

def test_a_file_with_two_names_is_taken_once(tmp_path):
    root = make(tmp_path/'r')
    (root/'train'/'a'/'again.png').symlink_to('0.png')
    (root/'train'/'a'/'deeper').mkdir()
    (root/'train'/'a'/'deeper'/'again.png').symlink_to('../1.png')
    assert F.look_at_folder(root).counts['train'] == dict(a=3, b=2)

@pytest.mark.parametrize('flat_one', [False, True])
@pytest.mark.parametrize('link, to', [('b/zzz.png', '../a/0.png'), ('c', 'a'), ('0', 'b'),
                                      ('a/more', '../b/deeper'), ('b/more', '../a/deeper')])
def test_a_file_in_two_classes_is_refused(link, to, flat_one, tmp_path):
    root = flat(tmp_path, 3, 2) if flat_one else make(tmp_path/'r')/'train'
    for c, seed in (('a', 80), ('b', 81)):
        (root/c/'deeper').mkdir()
        noise(9, 9, seed).save(root/c/'deeper'/'x.png')
    (root/link).symlink_to(to)
    with pytest.raises(ValueError, match='by another name: it is in ./ and in ./, and a') as e:
        F.look_at_folder(root if flat_one else root.parent)
    here, there = sorted((link[0], to.strip('./')[0]))
    assert f'it is in {here}/ and in {there}/' in str(e.value)

def test_links_to_elsewhere_are_followed(tmp_path):
    root, store = make(tmp_path/'r'), tmp_path/'store'
    store.mkdir()
    for f in (root/'train'/'a').iterdir():
        f.rename(store/f.name)
        f.symlink_to(store / f.name)  # as git-annex and DVC do
    (root/'train'/'b').rename(tmp_path/'b')
    (root/'train'/'b').symlink_to(tmp_path/'b')
    assert F.look_at_folder(root).counts['train'] == dict(a=3, b=2) and len(load(root)[0]) == 5

def test_a_link_that_leads_nowhere_is_a_broken_file(tmp_path):
    root = make(tmp_path/'r')
    link = root/'train'/'a'/'gone.jpg'
    link.symlink_to('nowhere.jpg')
    with pytest.raises(ValueError) as e: load(root)
    assert str(e.value).startswith(
        f'1 file(s) cannot be read as pictures: {link} (a link that leads nowhere)'
    )
    with pytest.warns(UserWarning, match='gone.jpg .a link that leads nowhere.; skipped'):
        assert len(load(root, on_broken='skip')[0]) == 5
    assert F.look_at_folder(root).broken == {str(link): 'a link that leads nowhere'}

@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no pipes on this system')
def test_a_pipe_with_a_pictures_name_is_not_opened(tmp_path):
    root = make(tmp_path/'r')
    os.mkfifo(root/'train'/'a'/'pipe.png')
    with pytest.warns(UserWarning, match='pipe.png: no picture'): assert len(load(root)[0]) == 5

def test_hidden_copies_are_no_pictures(tmp_path, recwarn):
    root = make(tmp_path/'r')
    for hidden in (
        'train/.ipynb_checkpoints/x',
        'train/a/.ipynb_checkpoints',
        'train/a/__MACOSX',
        'train/__MACOSX/a',
    ):
        (root / hidden).mkdir(parents=True)
        noise(5, 5, 99).save(root / hidden / 'copy.png')
    (root/'train'/'a'/'._0.png').write_bytes(b'AppleDouble')
    listed = F.look_at_folder(root)
    assert listed.counts == dict(train=dict(a=3, b=2), scored=dict(a=1, b=1)) and not listed.strays
    load(root)
    assert not recwarn.list

def test_a_picture_in_both_splits_is_told(tmp_path):
    root = make(tmp_path/'r')
    (root/'val'/'a'/'same.png').symlink_to('../../train/a/0.png')
    with pytest.warns(UserWarning, match='is in train/ and in val/: what is scored was trained on'):
        F.look_at_folder(root)

def test_nothing_is_written_through_links_in_a_cache(tmp_path):
    root, precious = make(tmp_path/'r'), tmp_path/'precious'
    precious.write_text('kept')
    cache = root/'.dems_cache'
    cache.mkdir()
    for name in (
        'train-square-16.safetensors',
        'train-square-16.safetensors.part',
        'train-square-16.lock',
        'scored-square-16.safetensors.part',
    ):
        (cache / name).symlink_to(precious)
    assert len(load(root)[0]) == 5 and precious.read_text() == 'kept'
    assert not (cache/'train-square-16.safetensors').is_symlink()
    (file,) = cache.glob('train-*.safetensors')
    file.unlink()
    file.symlink_to(precious)
    assert len(load(root)[0]) == 5 and precious.read_text() == 'kept' and not file.is_symlink()

def test_a_cache_that_is_a_link_is_refused(tmp_path):
    root = make(tmp_path/'r')
    (tmp_path/'elsewhere').mkdir()
    (root/'.dems_cache').symlink_to(tmp_path/'elsewhere')
    with pytest.raises(ValueError, match='is a link, through which nothing is written'): load(root)
    assert not list((tmp_path/'elsewhere').iterdir())
    load(root, cache=tmp_path/'elsewhere')

# the cache is not trusted

def header(file):
    raw = file.read_bytes()
    n = int.from_bytes(raw[:8], 'little')
    return json.loads(raw[8:8+n]), raw[8+n:], n

def rewrite(file, head, body, n):
    file.write_bytes(n.to_bytes(8, 'little') + json.dumps(head).encode().ljust(n) + body)

def swap_offsets(head):
    head['x']['data_offsets'], head['y']['data_offsets'] = (
        head['y']['data_offsets'],
        head['x']['data_offsets'],
    )

@pytest.mark.parametrize(
    'spoil',
    [
        lambda h: h['y'].update(shape=[4]),
        lambda h: h['x'].update(shape=[5, 1, 16, 48]),
        swap_offsets,
        lambda h: h['x'].update(data_offsets=[-8, 3832]),
        lambda h: h['x'].update(dtype='I64'),
        lambda h: h.pop('size'),
        lambda h: h['x'].update(shape=[10**12, 3, 16, 16]),
        lambda h: h.update(more=h['y']),
    ],
    ids=['labels', 'shape', 'swapped', 'before the file', 'type', 'no sizes', 'huge', 'more'],
)
def test_a_header_that_is_not_right_in_every_part_is_made_anew(spoil, tmp_path):
    root = make(tmp_path/'r')
    want = load(root)[0].x.clone()
    file = caches(root)[-1]
    good = file.read_bytes()
    head, body, n = header(file)
    spoil(head)
    rewrite(file, head, body, n)
    assert torch.equal(load(root)[0].x, want) and file.read_bytes() == good

@pytest.mark.parametrize('name, value', [('y', 2), ('y', -1), ('size', 0), ('size', 25)])
def test_impossible_classes_and_sizes_are_made_anew(name, value, tmp_path):
    root = make(tmp_path/'r')
    load(root, crop=True)
    file = caches(root)[-1]
    good = file.read_bytes()
    head, body, n = header(file)
    at = 8 + n + head[name]['data_offsets'][0]
    file.write_bytes(good[:at] + value.to_bytes(8, 'little', signed=True) + good[at+8:])
    load(root, crop=True)
    assert file.read_bytes() == good

def test_check_finds_a_source_of_equal_size_and_time(tmp_path):
    root = make(tmp_path/'r')
    before, _, _, _ = load(root)
    file = root/'train'/'a'/'1.png'
    stat = file.stat()
    noise(20, 14, 77).save(tmp_path/'other.png')
    new = (tmp_path/'other.png').read_bytes()
    Image.open(file).save(tmp_path/'same.png')
    assert abs(len(new) - stat.st_size) < 60
    size = max(len(new), stat.st_size)
    file.write_bytes(file.read_bytes().ljust(size, b'\0'))  # what follows a PNG's end is not read
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    before, *_ = load(root)
    file.write_bytes(new.ljust(size, b'\0'))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert torch.equal(load(root)[0].x, before.x)                           # not noticed
    with pytest.warns(
        UserWarning, match='a source changed with equal length and time; decoded again'
    ):
        after = load(root, check=True)[0]
    assert not torch.equal(after.x[1], before.x[1]) and torch.equal(after.x[0], before.x[0])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        load(root, check=True)

def test_check_finds_rotten_bytes(tmp_path):
    root = make(tmp_path/'r')
    load(root)
    file = caches(root)[-1]
    good = file.read_bytes()
    n = int.from_bytes(good[:8], 'little')
    file.write_bytes(good[:8+n] + bytes([good[8+n] ^ 1]) + good[9+n:])
    load(root)
    with pytest.warns(
        UserWarning, match='its bytes are not those that were written; decoded again'
    ):
        load(root, check=True)
    assert file.read_bytes() == good

@pytest.mark.parametrize('name', ['content', 'pixels'])
def test_a_cache_without_a_checksum_is_made_again(tmp_path, name):
    root = make(tmp_path/'r')
    load(root)
    file = caches(root)[-1]
    good = file.read_bytes()
    n = int.from_bytes(good[:8], 'little')
    head = json.loads(good[8:8+n])
    del head['__metadata__'][name]
    file.write_bytes(good[:8] + json.dumps(head).encode().ljust(n) + good[8+n:])
    load(root, check=True)
    assert file.read_bytes() == good

def test_check_knows_files_that_were_broken_before(tmp_path):
    root = broken_folder(tmp_path)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        load(root, on_broken='skip')
        load(root, on_broken='skip', check=True)
    assert not [w for w in told if 'decoded again' in str(w.message)]

def test_too_many_pixels_are_named_with_limit_and_flag(tmp_path, monkeypatch):
    root = make(tmp_path/'r')
    noise(40, 40).save(root/'train'/'a'/'0.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 150)
    with pytest.raises(ValueError, match=r'a/0.png .*more than the 300 pixels .*\$DEMS_MAX_PIXELS'):
        load(root)

# folders as people have them

@pytest.mark.parametrize('name', ['val', 'valid', 'validation', 'test'])
def test_the_scored_part_has_several_names(name, tmp_path):
    root = make(tmp_path/'r')
    (root/'val').rename(root/name)
    assert F.look_at_folder(root).name == name and len(load(root)[1]) == 2

def test_val_comes_before_test(tmp_path):
    root = make(tmp_path/'r')
    make(tmp_path/'s', val=(('a', 4), ('b', 4)))
    (tmp_path/'s'/'val').rename(root/'test')
    assert F.look_at_folder(root).name == 'val' and len(load(root)[1]) == 2

def flat(tmp_path, a=20, b=10, name='flat'):
    make(tmp_path/f'{name}_', train=(('a', a), ('b', b)))
    (tmp_path/f'{name}_'/'train').rename(tmp_path/name)
    return tmp_path/name

def test_a_flat_folder_is_split_and_stays_split(tmp_path, capsys):
    root = flat(tmp_path)
    train, test, names, _ = load(root)
    assert (len(train), len(test), names) == (24, 6, ['a', 'b']) and test.y.bincount().tolist() == [
        4,
        2,
    ]
    assert (
        capsys.readouterr().out
        == f'{root} has no val/: 20% of each class, 6 of 30 pictures, is kept to score\n'
    )
    first = F.look_at_folder(root)
    assert not first.train.real & first.scored.real and first.n_scored == 6
    for i in range(10): noise(9, 9, 200 + i).save(root/'b'/f'0_new{i}.png')
    second = F.look_at_folder(root)
    assert first.scored.real <= second.scored.real and first.train.real <= second.train.real
    assert second.counts['scored'] == dict(a=4, b=4)
    load(root)
    gone = min(first.scored.real)
    Path(gone).rename(tmp_path/'away.png')
    load(root)
    (tmp_path/'away.png').rename(gone)
    assert gone in F.look_at_folder(root).scored.real  # it comes back to its side

def test_a_flat_folder_is_split_by_its_own_seed(tmp_path):
    root = flat(tmp_path)
    def scored(**kw):
        return {
            x.numpy().tobytes()
            for x in D.get_dls('folder', root, 16, bs=4, device='cpu', **kw).valid.dataset.x
        }
    assert scored(seed=1) == scored(seed=2) != scored(split_seed=1)
    assert len(scored(valid_pct=.5)) == 15

def test_looking_writes_nothing(tmp_path):
    root = flat(tmp_path)
    text = F.describe_folder(F.look_at_folder(root))
    assert text.splitlines() == [
        f'{root}: 2 classes (a, b), colour',
        '24 pictures to train on (8 to 16 a class), 6 to score (20% of each class: '
        '2 to 4 a class)',
    ]
    assert sorted(p.name for p in root.iterdir()) == ['a', 'b']

def test_train_alone_is_split(tmp_path):
    root = make(tmp_path/'r', train=(('a', 10), ('b', 10)))
    away('val')(root)
    train, test, *_ = load(root)
    assert (len(train), len(test)) == (16, 4)
    dls = D.get_dls('folder', root, 16, bs=4, device='cpu', holdout=2)
    assert len(dls.valid.dataset) == 2 and len(dls.train.dataset) == 14

def test_classes_of_few_pictures_are_split(tmp_path):
    root = flat(tmp_path, 30, 1)
    train, test, *_ = load(root)
    assert train.y.bincount().tolist() == [24, 1] and test.y.bincount().tolist() == [6]
    root = flat(tmp_path, 2, 2, 'small')
    train, test, *_ = load(root)
    assert train.y.tolist() == test.y.tolist() == [0, 1]

@pytest.mark.parametrize(
    'kw, said',
    [
        (dict(valid_pct=0), 'valid_pct is 0'),
        (dict(valid_pct=1.5), 'valid_pct is 1.5'),
        (dict(valid_pct=1), 'leaves 0 to train on'),
        (dict(split_seed='x'), 'split_seed is'),
    ],
)
def test_impossible_splits(kw, said, tmp_path):
    with pytest.raises((ValueError, TypeError)) as e: load(flat(tmp_path), **kw)
    assert said in str(e.value)
    with pytest.raises(ValueError, match='valid_pct is 0.2, and .* has val/: leave it out'):
        load(make(tmp_path/'r'), valid_pct=.2)

def test_a_damaged_split_is_told(tmp_path):
    root = flat(tmp_path)
    load(root)
    (written,) = (root/'.dems_cache').glob('split-*.json')
    for text in ('{', '[1]', '{"train": 3}'):
        written.write_text(text)
        with pytest.raises(ValueError, match='which says what pictures are scored, is damaged'):
            load(root)

def test_only_the_scored_part_is_read(tmp_path, monkeypatch):
    root = make(tmp_path/'r', val=(('a', 2), ('b', 3)))
    (root/'train'/'a'/'0.png').write_bytes(b'broken')                       # nobody asks for it
    dls = D.get_dls('folder', root, 16, bs=4, device='cpu', train=False)
    assert (
        dls.valid.dataset.y.tolist() == [0, 0, 1, 1, 1]
        and dls.vocab == ['a', 'b']
        and len(dls.train.dataset) == 0
    )
    away('train')(root)
    assert len(D.get_dls('folder', root, 16, bs=4, device='cpu', train=False).valid.dataset) == 5
    alone = flat(tmp_path)
    assert (
        len(
            D.get_dls(
                'folder', alone, 16, bs=4, device='cpu', train=False, valid_pct=1.0
            ).valid.dataset
        )
        == 30
    )

def test_grey_folders_are_grey(tmp_path):
    root = make(tmp_path/'r')
    for f in root.rglob('*.png'): Image.open(f).convert('L').save(f)
    dls = D.get_dls('folder', root, 16, bs=2, device='cpu')
    assert dls.in_chans == 1 and dls.train.one_batch()[0].shape == (2, 1, 16, 16)
    want = to_square(Image.open(root/'train'/'a'/'0.png'), 16)
    assert torch.equal(dls.train.dataset.x[0], pixels(want))
    colour = D.get_dls('folder', root, 16, bs=2, device='cpu', in_chans=3)
    assert colour.in_chans == 3 and torch.equal(colour.train.dataset.x[:, :1], dls.train.dataset.x)
    noise(20, 14).save(root/'val'/'b'/'0.png')
    assert D.get_dls('folder', root, 16, bs=2, device='cpu').in_chans == 3
    assert D.get_dls('caltech101', root, 16, bs=2, device='cpu').in_chans == 3

@pytest.mark.parametrize(
    'name, crop, fit, want',
    [
        ('folder', False, None, 'whole'),
        ('folder', True, None, 'middle'),
        ('folder', False, 'middle', 'middle'),
        ('folder', True, 'whole', 'whole'),
        ('caltech101', False, None, 'middle'),
    ],
)
def test_pictures_are_scored_as_they_are_trained_on(name, crop, fit, want, tmp_path):
    root = make(tmp_path/'r', train=(('a', 8), ('b', 8)))
    dls = D.get_dls(
        name, root, 16, bs=4, device='cpu', crop=crop, augment=[top_left], canvas=24, fit=fit
    )
    form = dict(whole=to_square, middle=to_middle)[want]
    im = Image.open(root/'val'/'a'/'0.png')
    assert torch.equal(dls.valid.dataset.x[0], pixels(form(im, 16)))
    new = dls.test_dl([root / 'val' / 'a' / '0.png', im])  # and so are new pictures
    assert all(torch.equal(x, dls.valid.dataset.x[0]) for x in new.dataset.x)

def test_a_folder_is_noticed(tmp_path):
    assert F.has_image_folders(make(tmp_path/'r')) and F.has_image_folders(flat(tmp_path))
    (tmp_path/'texts'/'a').mkdir(parents=True)
    for other in (tmp_path / 'texts', tmp_path / 'nowhere', tmp_path / 'flat' / 'a', None):
        assert not F.has_image_folders(other)

def test_photographs_are_not_made_small_unasked(tmp_path):
    assert (
        D.get_dls('folder', make(tmp_path / 'r'), bs=2, device='cpu').train.dataset.x.shape[-1]
        == 256
    )

def test_every_option_of_folders_can_be_given_to_get_dls():
    import inspect
    own = {'root', 'record', 'image_size', 'crop', 'train'}
    assert set(inspect.signature(F.read_folder).parameters) - own == D._folder_options

@pytest.mark.parametrize(
    'name, wrong', [('in_chans', 2), ('fit', 'stretch'), ('workers', 1.5), ('canvas', 'large')]
)
def test_bad_options(name, wrong, tmp_path):
    with pytest.raises((ValueError, TypeError), match=f'{name} is {wrong!r}: give'):
        load(make(tmp_path / 'r'), **{name: wrong})

@pytest.mark.parametrize('wrong, said', [
    (dict(valid_pct='0.2'), "valid_pct is '0.2': give a number"),
    (dict(split_seed='x'), "split_seed is 'x': give a whole number"),
    (dict(cache=3), 'cache is 3: give a path')])
def test_a_wrong_argument_is_named(wrong, said, tmp_path):
    for f in (F.read_folder, F.look_at_folder):
        with pytest.raises(ValueError) as e: f(flat(tmp_path, name=f.__name__), **wrong)
        assert said in str(e.value)
    with pytest.raises(ValueError, match='root is 3: give a path'): F.cache_folder(3)

# what folders do to those who trust them

@pytest.mark.parametrize('flat_one', [False, True])
@pytest.mark.parametrize('on_broken', ['error', 'skip'])
def test_a_class_whose_links_lead_nowhere_is_refused(flat_one, on_broken, tmp_path):
    root = flat(tmp_path, 4, 4) if flat_one else make(tmp_path/'r')
    for f in (root if flat_one else root/'train').joinpath('b').iterdir():
        f.unlink()
        f.symlink_to('nowhere.jpg')
    with pytest.raises(ValueError) as e: load(root, on_broken=on_broken)
    assert 'b has no picture that can be opened' in str(e.value) and 'leads nowhere' in str(e.value)
    if flat_one:                                                     # and a class beside them too
        for f in (root/'a').iterdir():
            f.unlink()
            f.symlink_to('nowhere.jpg')
        with pytest.raises(ValueError, match='a and 1 more has no picture that'): load(root)

@pytest.mark.parametrize(
    'ours, theirs', [('Train', 'Val'), ('TRAIN', 'test'), ('Training', 'Testing')])
def test_parts_are_found_in_any_case(ours, theirs, tmp_path):
    root = make(tmp_path/'r')
    (root/'train').rename(root/ours)
    (root/'val').rename(root/theirs)
    listed = F.look_at_folder(root)
    assert (listed.classes, listed.n_train, listed.name) == (['a', 'b'], 5, theirs)
    away(f'{theirs}/b')(root)
    with pytest.raises(ValueError, match=f'is in {ours}/ and not in {theirs}/'):
        F.look_at_folder(root)

def test_a_class_may_be_named_as_a_part(tmp_path):
    root = flat(tmp_path)
    (root/'b').rename(root/'train')
    assert F.look_at_folder(root).classes == ['a', 'train']
    root = make(tmp_path/'r')                              # a part stays one, with others beside it
    (root/'notes').mkdir()
    assert F.look_at_folder(root).classes == ['a', 'b']

def test_classes_beside_a_part_do_not_vanish_without_a_word(tmp_path, recwarn):
    root = flat(tmp_path)
    (root/'b').rename(root/'train')
    for i, c in enumerate(('bus', 'bus', 'steam', 'steam')):
        (root/'train'/c).mkdir(exist_ok=True)
        (root/'train'/f'{i}.png').rename(root/'train'/c/f'{i}.png')
    (root/'more'/'deeper').mkdir(parents=True)
    (root/'a'/'1.png').rename(root/'more'/'deeper'/'1.png')
    for name in ('notes', '.hidden', 'more/.hidden'): (root/name).mkdir()
    noise(9, 9).save(root/'.hidden'/'x.png')
    said = (f'{root/"a"} and 1 more: left out with its pictures, since train/ is taken for a part, '
            'with classes inside')
    listed = F.look_at_folder(root)
    assert listed.classes == ['bus', 'steam'] and not recwarn.list
    assert said in F.describe_folder(listed).splitlines()
    for kw in (dict(), dict(train=False, valid_pct=1)):
        recwarn.clear()
        load(root, **kw)
        assert [str(w.message) for w in recwarn.list if 'left out' in str(w.message)] == [said]

def test_what_lies_beside_two_parts_is_named(tmp_path):
    root = make(tmp_path/'r')
    make(tmp_path/'s')
    (tmp_path/'s'/'val').rename(root/'test')               # a part too, which val/ goes before
    (root/'extra').mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        load(root)
    noise(9, 9).save(root/'extra'/'x.JPG')
    with pytest.warns(UserWarning, match='extra: left out .* train/ and val/ and test/ are taken'):
        load(root)

def test_names_in_any_encoding_are_written_down(tmp_path):
    root = flat(tmp_path)
    odd = os.fsencode(root/'a') + b'/Gr\xfcn.png'
    try: os.rename(root/'a'/'0.png', odd)
    except OSError: pytest.skip('this file system has names in UTF-8 alone')
    first = load(root)
    assert [len(part) for part in first[:2]] == [len(part) for part in load(root)[:2]] == [24, 6]
    assert not [*(root/'.dems_cache').glob('.split*')]

def test_a_split_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    root = flat(tmp_path)
    def full(*args): raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr(os, 'replace', full)
    with pytest.raises(OSError, match='No space'): load(root)
    assert not [*(root/'.dems_cache').iterdir()]

@pytest.mark.parametrize('crop', [True, False])
def test_a_file_that_can_be_read_again_is_taken(crop, tmp_path, monkeypatch):
    root = make(tmp_path/'r')
    noise(40, 40).save(root/'train'/'a'/'0.png')
    with monkeypatch.context() as m:
        m.setattr(Image, 'MAX_IMAGE_PIXELS', 150)
        with pytest.warns(UserWarning, match='0.png .*pixels'):
            assert len(load(root, crop=crop, on_broken='skip')[0]) == 4
        with pytest.warns(UserWarning, match='0.png .*pixels'):
            assert len(load(root, crop=crop, on_broken='skip')[0]) == 4
    assert len(load(root, crop=crop)[0]) == 5                        # the limit was raised

def test_a_cache_that_another_replaces_is_read_while_it_is_held(tmp_path, monkeypatch):
    root = make(tmp_path/'r')
    @contextmanager
    def locked(path):
        path.parent.mkdir(exist_ok=True)
        yield
        for f in path.parent.glob(f'{path.stem}-*.safetensors'): f.unlink()     # at once, by others
    monkeypatch.setattr(F, 'locked', locked)
    assert len(load(root)[0]) == 5

def test_what_was_trained_on_is_not_scored(tmp_path, capsys):
    root = flat(tmp_path, 40, 40)
    train = load(root, valid_pct=.05, split_seed=3)[0]
    def scored(**kw): return load(root, train=False, **kw)[1]
    for name in ('split-e-0.json', 'split-.-0.json', 'split-x.json'):    # none of ours
        (root/'.dems_cache'/name).write_text('{}')
    assert len(scored()) == 4
    seen = {x.numpy().tobytes() for x in train.x}
    assert not any(x.numpy().tobytes() in seen for x in scored().x)
    load(root)                                                       # and by a fifth
    with pytest.raises(ValueError) as e: scored()
    assert '0.05 (seed 3) and 0.2 (seed 0)' in str(e.value) and 'valid_pct=' in str(e.value)
    assert len(scored(split_seed=3)) == 4 and len(scored(valid_pct=.2)) == 16

def contents(images): return {x.numpy().tobytes() for x in images.x}

def divided(tmp_path, **kw):
    "A folder that was divided to train as nobody would by default: (folder, what is scored)."
    root = flat(tmp_path, 6, 6)
    train, scored, *_ = load(root, valid_pct=.34, split_seed=3, **kw)
    assert (len(train), len(scored)) == (8, 4)
    return root, contents(scored)

def read_only(monkeypatch, tmp_path):
    "Nobody may write beside the pictures any more, but into a user's own cache folder."
    may = os.access
    monkeypatch.setattr(os, 'access', lambda p, mode: mode != os.W_OK and may(p, mode))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'home'))

def test_a_division_is_found_by_who_does_not_name_the_cache(tmp_path, recwarn):
    root, want = divided(tmp_path, cache=tmp_path/'fast')
    assert contents(load(root, train=False)[1]) == want
    assert contents(load(root, train=False, cache=tmp_path/'other')[1]) == want
    assert contents(load(root, valid_pct=.34, split_seed=3, cache=tmp_path/'other')[1]) == want
    assert not recwarn.list

def test_a_division_is_found_by_who_may_not_write_there(tmp_path, monkeypatch, recwarn):
    root, want = divided(tmp_path)
    read_only(monkeypatch, tmp_path)
    assert contents(load(root, train=False)[1]) == want
    assert F.cache_folder(root).parent == tmp_path/'home'/'dems_nb' and not recwarn.list

def test_a_division_of_pictures_that_nobody_may_write_beside(tmp_path, monkeypatch, recwarn):
    read_only(monkeypatch, tmp_path)
    root, want = divided(tmp_path, cache=tmp_path/'fast')
    assert contents(load(root, train=False)[1]) == want and not (root/'.dems_cache').exists()
    (tmp_path/'home').rename(tmp_path/'gone')               # nothing is found by cache= alone
    assert contents(load(root, train=False, cache=tmp_path/'fast')[1]) == want
    assert not recwarn.list
    (tmp_path/'home').write_text('a file, no folder')       # and that copy is not needed
    assert contents(load(root, valid_pct=.34, split_seed=3, cache=tmp_path/'fast')[1]) == want

def test_a_division_moves_with_the_pictures(tmp_path, monkeypatch, recwarn):
    monkeypatch.setenv('DEMS_CACHE', str(tmp_path/'fast'))
    root, want = divided(tmp_path)
    root.rename(tmp_path/'moved')
    assert contents(load(tmp_path/'moved', train=False)[1]) == want and not recwarn.list

def test_a_division_of_before_is_found_in_the_cache_of_all(tmp_path, monkeypatch, recwarn):
    monkeypatch.setenv('DEMS_CACHE', str(tmp_path/'fast'))
    root, want = divided(tmp_path)
    away('.dems_cache')(root)                               # no copy was kept there once
    assert contents(load(root, train=False, cache=tmp_path/'other')[1]) == want
    assert not recwarn.list

def test_a_division_is_read_on_every_system(tmp_path, recwarn):
    root, want = divided(tmp_path)
    (file,) = (root/'.dems_cache').glob('split-*.json')
    parts = json.loads(file.read_text())
    assert {n.count('/') for names in parts.values() for n in names} == {1}
    windows = {part: [n.replace('/', '\\') for n in names] for part, names in parts.items()}
    file.write_text(json.dumps(windows))
    assert contents(load(root, train=False)[1]) == want and not recwarn.list
    load(root, valid_pct=.34, split_seed=3)
    assert json.loads(file.read_text()) == parts

@pytest.mark.skipif(os.name == 'nt', reason='no such name can be there')
def test_a_backslash_in_a_name_is_none_between_folders(tmp_path, recwarn):
    root = flat(tmp_path, 6, 6)
    for i, f in enumerate(sorted((root/'a').iterdir())): f.rename(root/'a'/f'x\\{i}.png')
    _, scored, *_ = load(root, valid_pct=.34, split_seed=3)
    assert contents(load(root, train=False)[1]) == contents(scored) and not recwarn.list

def test_what_one_list_has_to_train_on_is_not_scored_by_another(tmp_path, monkeypatch):
    root, want = divided(tmp_path)
    (file,) = (root/'.dems_cache').glob('split-*.json')
    parts = json.loads(file.read_text())
    other = F.cache_folder(root, tmp_path/'fast')/file.name
    other.parent.mkdir(parents=True)
    was, now = parts['scored'].pop(0), parts['train'].pop(0)
    other.write_text(json.dumps(dict(train=[*parts['train'], was], scored=[*parts['scored'], now])))
    listed = F.look_at_folder(root, .34, 3, tmp_path/'fast')
    assert {Path(f).relative_to(root).as_posix() for f in paths(listed, 'scored')} == {
        *parts['scored']}

@pytest.mark.parametrize('kw', [dict(valid_pct=.5), dict(valid_pct=.5, split_seed=7),
                                dict(split_seed=7)])
def test_the_part_of_the_training_is_scored_whatever_is_asked_for(kw, tmp_path):
    root, want = divided(tmp_path)
    with pytest.warns(UserWarning, match=r'was divided to train by 0.34 \(seed 3\): the part') as w:
        assert contents(load(root, train=False, **kw)[1]) == want
    assert len(w) == 1
    load(root)                                              # now in two ways, of which none fits
    with pytest.raises(ValueError, match='several ways: 0.2 .seed 0. and 0.34 .seed 3. of each'):
        load(root, train=False, **kw)

def test_a_share_that_has_no_short_name_is_known_again(tmp_path, recwarn):
    root = flat(tmp_path, 6, 6)
    want = contents(load(root, valid_pct=1/3)[1])
    assert contents(load(root, train=False, valid_pct=1/3)[1]) == want and not recwarn.list

def test_all_are_scored_if_asked_and_those_trained_on_are_counted(tmp_path):
    root, _ = divided(tmp_path)
    with pytest.warns(UserWarning, match='8 of the 12 pictures of .* were trained on'):
        assert len(load(root, train=False, valid_pct=1)[1]) == 12

def test_who_scores_a_folder_without_a_list_is_warned(tmp_path, recwarn):
    def told(): return [m for w in recwarn.list if 'no list says' in (m := str(w.message))]
    root = flat(tmp_path, 6, 6)
    load(root, train=False, valid_pct=1)
    assert not told()
    assert len(load(root, train=False)[1]) == 2 and len(told()) == 1
    assert 'if it was: pictures that were trained on may be scored' in told()[0]
    recwarn.clear()
    load(root)
    load(root, train=False)
    load(make(tmp_path/'r'), train=False)
    load(make(tmp_path/'s', train=()), train=False)
    assert not recwarn.list
    for c in 'ab': (root/c).rename(root/f'{c}{c}')          # a list of other pictures is none
    load(root, train=False)
    assert len(told()) == 1

def without(root, which, c):
    "Delete the pictures of a class that are to train on, or to score: how many."
    files = F.look_at_folder(root)
    files = getattr(files, which).files[c]
    for f in files: os.remove(f)
    return len(files)

def test_a_class_with_nothing_left_to_train_on_is_refused(tmp_path):
    root = flat(tmp_path, 5, 5)
    load(root)
    assert without(root, 'train', 'a') == 4
    with pytest.raises(ValueError) as e: load(root)
    assert f"class 'a' of {root} has no picture to train on: what it has, 1, is" in str(e.value)
    assert load(root, train=False)[1].y.tolist() == [0, 1]   # which is no reason not to score
    noise(9, 9, 300).save(root/'a'/'new.png')
    assert load(root)[0].y.bincount().tolist() == [1, 4]

def test_a_class_with_nothing_left_to_score_is_named(tmp_path):
    root = flat(tmp_path, 5, 5)
    train = contents(load(root)[0])
    assert without(root, 'scored', 'a') == 1
    for kw in (dict(), dict(train=False)):
        with pytest.warns(UserWarning, match="class 'a' of .* has no picture to score") as w:
            scored = load(root, **kw)[1]
        assert len(w) == 1 and scored.y.tolist() == [1] and not contents(scored) & train
    noise(9, 9, 300).save(root/'a'/'new.png')               # it takes the place
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        scored = load(root)[1]
    assert scored.y.tolist() == [0, 1] and not contents(scored) & train

def test_a_folder_that_cannot_be_listed_is_no_empty_one(tmp_path, monkeypatch):
    root = make(tmp_path/'r')
    (root/'train'/'a'/'deep').mkdir()
    scan = os.scandir
    def refuse(path):
        if os.fspath(path).endswith('deep'): raise PermissionError(13, 'Permission denied', path)
        return scan(path)
    monkeypatch.setattr(os, 'scandir', refuse)
    with pytest.raises(PermissionError, match='deep'): F.look_at_folder(root)

def test_the_cache_of_another_is_not_written_into(tmp_path, monkeypatch):
    root = make(tmp_path/'r')
    (root/'.dems_cache').mkdir()
    may = os.access
    monkeypatch.setattr(os, 'access',
                        lambda p, mode: Path(p).name != '.dems_cache' and may(p, mode))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'home'))
    assert F.cache_folder(root).parent == tmp_path/'home'/'dems_nb'
    assert len(load(root)[0]) == 5 and not caches(root)

def test_canvases_are_larger_than_what_is_cropped_from_them(tmp_path):
    root = make(tmp_path/'r', size=(700, 600))
    def side(size, **kw):
        return F.read_folder(root, image_size=size, crop=True, **kw).train.x.shape[-1]
    assert (side(32), side(512), side(512, canvas=64)) == (320, 640, 64)

def test_grey_folders_have_the_papers_recipe(tmp_path):
    from dems_nb.learner import Recipe, recipe_dls
    root = make(tmp_path/'r')
    for f in root.rglob('*.png'): Image.open(f).convert('L').save(f)
    recipe = Recipe.pretrain('dems_nano', 'folder', image_size=32, patch_size=4, bs=2, epochs=2)
    assert recipe_dls(recipe, 'cpu', root).train.one_batch()[0].shape == (2, 1, 32, 32)
    assert recipe_dls(recipe, 'cpu', root, in_chans=3).train.one_batch()[0].shape == (2, 3, 32, 32)
