"The loader: its batches, its processes, what fastai asks of it, and get_dls."
import hashlib, numpy as np, pytest, torch, warnings
from dataclasses import replace
from functools import partial
from PIL import Image
from dems_nb import data as D, datasets as S

def sample(): return tuple(D.Images(*part) for part in S.read_sample()[:2])

def test_order_follows_from_seed_and_epoch():
    train = sample()[0]
    dl = D.DeviceDL(train, bs=100, shuffle=True, device='cpu', seed=1)
    one, two = ([y for _, y in dl] for _ in range(2))
    dl.epoch = 1
    assert torch.equal(torch.cat([y for _, y in dl]), torch.cat(two)) and not torch.equal(
        torch.cat(one), torch.cat(two)
    )
    other = D.DeviceDL(train, bs=100, shuffle=True, device='cpu', seed=2)
    assert not torch.equal(torch.cat([y for _, y in other]), torch.cat(one))
    assert torch.equal(dl.new().one_batch()[1], one[0])

def test_one_batch_is_the_first_of_the_coming_epoch():
    dl = D.DeviceDL(
        sample()[0], bs=100, shuffle=True, device='cpu', tfms=[D.random_flip, D.Normalize(1)]
    )
    x, y = dl.one_batch()
    again = next(iter(dl))
    assert torch.equal(x, again[0]) and torch.equal(y, again[1])

@pytest.mark.parametrize('drop_last, n', [(False, 24), (True, 23)])
def test_drop_last(drop_last, n):
    dl = D.DeviceDL(sample()[0], bs=256, drop_last=drop_last, device='cpu')
    assert len(dl) == n == len(list(dl))

def test_one_batch_does_not_disturb_an_epoch_under_way():
    make = lambda: D.DeviceDL(
        sample()[0], bs=1000, shuffle=True, device='cpu', tfms=[D.random_flip]
    )
    plain, disturbed = make(), make()
    want, got = [x for x, _ in plain], []
    for x, _ in disturbed:
        got.append(x)
        disturbed.one_batch()
    assert all(torch.equal(a, b) for a, b in zip(want, got)) and disturbed.epoch == 1

def test_a_loader_finds_its_own_device(monkeypatch):
    "fastai's default device, whatever it is: here one that holds nothing."
    monkeypatch.setattr(D, 'default_device', lambda: torch.device('meta'))
    pictures = few(8)
    monkeypatch.setattr(torch, 'Generator', lambda device: None)
    dl = D.DeviceDL(pictures)
    assert dl.device.type == 'meta' and dl.dataset.x.is_meta and dl.dataset.y.is_meta

def test_evaluation_drops_nothing_and_changes_nothing():
    dls = D.get_dls('sample', bs=48, device='cpu')
    x, y = (torch.cat(t) for t in zip(*dls.valid))
    assert (
        len(y) == 1000
        and torch.equal(x, D.Normalize(1)(dls.valid.dataset.x))
        and torch.equal(y, dls.valid.dataset.y)
    )

@pytest.mark.parametrize('c', [1, 3])
def test_each_image_draws_for_itself(c):
    x = torch.randint(
        0, 256, (400, c, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    g = torch.Generator().manual_seed(5)
    y = D.random_flip(x, g)
    flipped = (y == x.flip(3)).flatten(1).all(1)
    assert (flipped | (y == x).flatten(1).all(1)).all() and 150 < flipped.sum() < 250
    y = D.random_shift(x, g, by=1)
    pad = torch.nn.functional.pad(x, (1, 1, 1, 1))
    hits = torch.stack(
        [
            (y == pad[:, :, i : i + 12, j : j + 12]).flatten(1).all(1)
            for i in range(3)
            for j in range(3)
        ]
    )
    assert (hits.sum(0) == 1).all() and (
        hits.sum(1) > 20
    ).all()  # each image is one of nine crops, and each crop occurs

def test_splits():
    dls = D.get_dls('sample', device='cpu', holdout=500, n_train=1000, seed=4)
    test = D.get_dls('sample', device='cpu').valid
    rows = lambda dl: {im.numpy().tobytes() for im in dl.dataset.x}
    assert (dls.valid.dataset.y.bincount() == 50).all() and (
        dls.train.dataset.y.bincount() == 100
    ).all()
    assert not rows(dls.train) & rows(dls.valid) and not (rows(dls.train) | rows(dls.valid)) & rows(
        test
    )
    same = D.get_dls('sample', device='cpu', holdout=500, n_train=1000, seed=4)
    assert torch.equal(same.valid.dataset.x, dls.valid.dataset.x)

@pytest.mark.parametrize(
    'said, kw',
    [
        (
            "unknown data set 'cifar': the known ones are sample, fashionmnist, cifar10, "
            "cifar100, emnist, folder, caltech101",
            dict(dataset='cifar'),
        ),
        ('holdout is 25', dict(holdout=25)),
        ('holdout is -10', dict(holdout=-10)),
        ('holdout is 6000: give a multiple of the 10 classes, from 0 to 5990', dict(holdout=6000)),
        (
            'n_train is 6000: give a multiple of the 10 classes, from 10 to 5990',
            dict(holdout=10, n_train=6000),
        ),
        ('n_train is 0', dict(n_train=0)),
        ('n_train is 5', dict(n_train=5)),
    ],
)
def test_bad_arguments(said, kw):
    with pytest.raises(ValueError) as e: D.get_dls(device='cpu', **kw)
    assert said in str(e.value)

def test_normalize_refuses_two_channels():
    with pytest.raises(ValueError, match='in_chans is 2'): D.Normalize(2)

def test_learner_predictions_come_in_order():
    from dems_nb.learner import Recipe, make_learner
    dls = D.get_dls('sample', device='cpu', bs=64)
    with (learn := make_learner(Recipe(precision='fp32'), dls)).no_bar():
        p, y = learn.get_preds(ds_idx=1)
    assert torch.equal(y, dls.valid.dataset.y) and p.shape == (1000, 10)
    learn.model.eval()
    torch.testing.assert_close(
        learn.model(next(iter(dls.valid))[0]).softmax(1), p[:128], atol=1e-5, rtol=1e-4
    )

def few(n, c=1, side=8, classes=10):
    x = torch.randint(
        0, 256, (n, c, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    x[:, 0, 0, 0] = torch.arange(n) % 256
    return D.Images(x, torch.arange(n) % classes)

def noise(x, generator):
    return x.float() + torch.rand(x.shape, generator=generator, device=x.device)
def same(a, b):
    return len(a) == len(b) and all(torch.equal(s, t) for p, q in zip(a, b) for s, t in zip(p, q))

@pytest.mark.parametrize('drop_last', [True, False])
def test_an_epoch_can_begin_at_any_batch(drop_last):
    make = lambda: D.DeviceDL(
        few(23), bs=4, shuffle=True, drop_last=drop_last, device='cpu', tfms=[noise], seed=5
    )
    whole = make()
    epochs = [list(whole), list(whole)]
    n = len(epochs[0])
    assert n == len(whole) == 6 - drop_last and not same(*epochs)
    for k in range(n + 1):
        dl, loaded = make(), []
        dl.load = lambda idx, real=dl.load: loaded.append(len(idx)) or real(idx)
        dl.epoch, dl.start = 1, k
        assert (
            same(list(dl), epochs[1][k:])
            and (dl.epoch, dl.start) == (2, 0)
            and len(loaded) == n - k
        )  # what is skipped is not loaded
        dl.epoch = 0
        assert same(list(dl), epochs[0])

@pytest.mark.parametrize('start', [-1, 7])
def test_a_start_beyond_the_epoch(start):
    dl = D.DeviceDL(few(23), bs=4, device='cpu')
    dl.start = start
    accepted = 'an epoch has 6 batches' if start > 0 else 'give a whole number of at least 0'
    with pytest.raises(ValueError, match=f'start is {start}: {accepted}'): list(dl)

def test_the_sample_has_no_more_than_it_has():
    assert len(D.sample_images(1000)) == 1000
    with pytest.raises(ValueError, match='n is 1001 and the sample has 1000'): D.sample_images(1001)

def test_as_many_pictures_as_there_are():
    "`n`, which fastai's loaders take, was ignored."
    dl = D.DeviceDL(few(23), bs=4, device='cpu')
    assert len(dl.new(n=23)) == len(dl.new(n=None)) == 6
    for make in (lambda: dl.new(n=5), lambda: D.DeviceDL(few(23), bs=4, n=5)):
        with pytest.raises(ValueError, match='n is 5 and there are 23 pictures'): make()

@pytest.mark.parametrize('kw', [dict(holdout=100), dict(n_train=100)])
def test_what_is_held_back_is_not_to_be_had_without_the_training_pictures(kw):
    "It was the test set in its place, in silence."
    with pytest.raises(ValueError, match='train=True'):
        D.get_dls('sample', device='cpu', train=False, **kw)

def test_one_batch_leaves_the_start_and_says_if_there_is_none():
    dl = D.DeviceDL(few(23), bs=4, shuffle=True, device='cpu', tfms=[noise])
    want, dl.start = list(dl)[3], 3
    dl.epoch = 0
    assert same([dl.one_batch()], [want]) and (dl.epoch, dl.start) == (0, 3)
    assert same([next(iter(dl))], [want])
    with pytest.raises(ValueError, match='there is no batch: 3 pictures, bs 4'):
        D.DeviceDL(few(3), bs=4, drop_last=True, device='cpu').one_batch()

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
    dl = D.DeviceDL(few(24), bs=4, shuffle=True, device='cpu').new(
        get_idxs=lambda: [5, 3, 9, 9, 20]
    )
    assert (
        [y.tolist() for _, y in dl] == [[5, 3, 9, 9], [0]]
        and len(dl) == 2
        and dl.new().get_idxs().tolist() == [5, 3, 9, 9, 20]
    )
    assert len(dl.new(few(8)).get_idxs()) == 8  # it belongs to these pictures

def test_nothing_depends_on_the_global_generator():
    make = lambda: list(D.DeviceDL(few(24), bs=4, shuffle=True, device='cpu', tfms=[noise]))
    a = make(); torch.manual_seed(99); assert same(a, make())

@pytest.mark.parametrize('drop_last', [True, False])
@pytest.mark.parametrize(
    'n, bs, world',
    [(24, 4, 2), (23, 4, 2), (25, 6, 3), (20, 6, 3), (13, 12, 4), (3, 4, 2), (21, 8, 8)],
)
def test_processes_share_each_batch(n, bs, world, drop_last):
    one = D.DeviceDL(few(n), bs=bs, shuffle=True, drop_last=drop_last, device='cpu', seed=2)
    dls = [one.shard(r, world) for r in range(world)]
    for epoch in (0, 1):
        parts, whole = [[y for _, y in dl] for dl in dls], [x for x, _ in one]
        assert len({len(p) for p in parts}) == 1 and all(
            len(dl) == len(p) for dl, p in zip(dls, parts)
        )  # the same number of steps
        for dl in (one, *dls): dl.epoch = epoch
        got = [torch.cat(step) for step in zip(*([x for x, _ in dl] for dl in dls))]
        assert all(len(s) for p in parts for s in p)  # none is empty
        for g, w in zip(got[:-1], whole):
            assert torch.equal(g, w) and len(g) == bs  # the batch of one process, in order
        assert torch.equal(
            torch.cat([few(0).x, *got]), torch.cat([few(0).x, *whole])
        )  # every picture once
        if drop_last: assert all(len(s) == bs//world for p in parts for s in p)
        for dl in (one, *dls): dl.epoch = epoch + 1

def test_each_process_draws_for_itself():
    one = D.DeviceDL(
        few(24), bs=8, device='cpu', tfms=[lambda x, g: torch.rand(len(x), generator=g)]
    )
    a, b = ([x for x, _ in one.shard(r, 2)] for r in range(2))
    assert not any(torch.equal(x, y) for x, y in zip(a, b))
    assert all(
        torch.equal(x, y[:4]) for x, y in zip(a, [x for x, _ in one])
    )  # process 0 draws as one alone does

def test_a_shard_is_where_its_loader_is():
    one = D.DeviceDL(few(24), bs=8, shuffle=True, device='cpu')
    one.epoch, one.start = 3, 1
    dl = one.shard(1, 2)
    assert (dl.epoch, dl.start, dl.rank, dl.world, dl.bs) == (3, 1, 1, 2, 8) and len(list(dl)) == 2

def test_get_dls_for_several_processes():
    parts = [D.get_dls('sample', bs=60, device='cpu', rank=r, world=3) for r in range(3)]
    assert sum(len(y) for dls in parts for _, y in dls.valid) == 1000 and {
        len(dls.valid) for dls in parts
    } == {9}
    one = next(iter(D.get_dls('sample', bs=60, device='cpu').train))[1]
    assert torch.equal(torch.cat([next(iter(dls.train))[1] for dls in parts]), one)

@pytest.mark.parametrize(
    'said, kw',
    [
        ('bs is 250, in all, for 4 processes: give a multiple of 4', dict(bs=250, world=4)),
        ('rank is 2 of 2 processes: give one from 0 to 1', dict(rank=2, world=2)),
        ('bs is 0', dict(bs=0)),
        ('world is 0', dict(world=0)),
        ("keep is 'disk'", dict(keep='disk')),
    ],
)
def test_bad_shares(said, kw):
    with pytest.raises(ValueError) as e: D.get_dls(device='cpu', **kw)
    assert said in str(e.value)
    with pytest.raises(ValueError, match='3 pictures cannot be shared by 4 processes'):
        D.DeviceDL(few(3), bs=4, world=4, device='cpu')

def test_a_transform_that_takes_size_is_given_it():
    seen = []
    def sized(x, generator, size): seen.append(size); return x
    sized.takes_size = True
    size = torch.arange(24).view(12, 2)
    dl = D.DeviceDL(
        replace(few(12), size=size), bs=4, shuffle=True, device='cpu', tfms=[sized, D.random_flip]
    )
    list(dl)
    assert torch.equal(torch.cat(seen), size[D.DeviceDL.new(dl).get_idxs()])
    seen.clear(); list(D.DeviceDL(few(12), bs=4, device='cpu', tfms=[sized]))
    assert seen == [None]*3

def test_unknown_arguments_are_refused_and_fastais_taken():
    with pytest.raises(TypeError, match='DeviceDL does not know after_item, batch_tfms'):
        D.DeviceDL(few(4), device='cpu', batch_tfms=[], after_item=None)
    dl = D.DeviceDL(few(4), device='cpu', num_workers=2, pin_memory=True)
    assert dl.num_workers == 1 and dl.n == 4
    with pytest.raises(TypeError, match='dataset is a list'): D.DeviceDL([1], device='cpu')
    with pytest.raises(ValueError, match='3 pictures, 4 classes'):
        D.DeviceDL(D.Images(few(3).x, few(4).y), device='cpu')
    with pytest.raises(TypeError): D.get_dls('sample', device='cpu', batch_tfms=[])

def test_new_keeps_everything():
    dl = D.DeviceDL(
        few(24),
        bs=6,
        shuffle=True,
        drop_last=True,
        device='cpu',
        tfms=[noise],
        seed=4,
        rank=1,
        world=3,
        keep='host',
    )
    twin = dl.new()
    for k in 'bs shuffle drop_last device tfms seed rank world keep'.split():
        assert getattr(twin, k) == getattr(dl, k), k
    assert twin.dataset.x.data_ptr() == dl.dataset.x.data_ptr() and dl.new(bs=9).bs == 9

def test_numpys_integers_are_numbers():
    i = np.int64
    dls = D.get_dls(
        'sample',
        image_size=i(32),
        bs=i(60),
        n_train=i(600),
        holdout=i(100),
        seed=i(3),
        world=i(2),
        rank=i(1),
        device='cpu',
    )
    twin = D.get_dls(
        'sample',
        image_size=32,
        bs=60,
        n_train=600,
        holdout=100,
        seed=3,
        world=2,
        rank=1,
        device='cpu',
    )
    assert (
        same(list(dls.train), list(twin.train)) and D.resize_images(few(2).x, i(16)).shape[-1] == 16
    )
    with pytest.raises(ValueError): D.get_dls('sample', image_size=32.5, device='cpu')

def test_where_the_pictures_live(monkeypatch):
    data, cuda = few(16, side=32), torch.device('cuda')
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (4*data.x.nbytes, 10**12))
    assert (
        D._fits(data, cuda)
        and D._fits(data, torch.device('cpu'))
        and not D._fits(few(17, side=32), cuda)
    )
    there = type('I', (), dict(x=type('X', (), dict(nbytes=10**12, device=cuda))))
    assert D._fits(
        there, cuda
    )  # what is there already is not sent back when memory has shrunk by it

@pytest.mark.cuda
@pytest.mark.parametrize('keep', ['device', 'host'])
def test_pictures_on_host_and_device_give_the_same(keep):
    dl = D.DeviceDL(few(24), bs=8, shuffle=True, device='cuda', keep=keep, tfms=[D.Normalize(1)])
    assert dl.dataset.x.is_cuda == (keep == 'device') and all(
        x.is_cuda and y.is_cuda for x, y in dl
    )
    on_cpu = D.DeviceDL(few(24), bs=8, shuffle=True, device='cpu', tfms=[D.Normalize(1)])
    for (x, y), (z, w) in zip(dl, on_cpu, strict=True):
        assert torch.equal(y.cpu(), w)
        torch.testing.assert_close(x.cpu(), z)

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
    assert torch.equal(y, dls.valid.dataset.y) and acc == pytest.approx(
        (p.argmax(1) == y).float().mean().item(), abs=1e-6
    )

def test_predictions_of_a_share():
    dls = D.get_dls('sample', device='cpu', bs=99, rank=1, world=3)
    with (learn := learner(dls)).no_bar(): p, y = learn.get_preds()
    mine = dls.valid.get_idxs().sort().values
    assert torch.equal(y, dls.valid.dataset.y[mine]) and len(p) == len(mine) == 333

def crop(x, generator, size=None): return x[:, :, :20, :20]
crop.takes_size = True

def test_crop_leaves_training_pictures_at_their_size():
    dls = D.get_dls(
        'sample', image_size=20, bs=32, device='cpu', crop=True, augment=[crop], holdout=100
    )
    assert (
        dls.train.dataset.x.shape[2:] == (28, 28)
        and dls.valid.dataset.x.shape[2:] == (20, 20)
        and dls.train.one_batch()[0].shape == (32, 1, 20, 20)
    )

@pytest.mark.parametrize(
    'said, kw',
    [
        ('the first of augment must crop', dict(crop=True)),
        ('the first of augment must crop', dict(crop=True, augment=[])),
        ('the first of augment must crop', dict(crop=True, augment=[D.random_flip, crop])),
        ('augment makes pictures of 20×20 pixels where image_size is 32', dict(augment=[crop])),
        (
            'augment makes pictures of 20×20 pixels where image_size is 32',
            dict(crop=True, augment=[crop]),
        ),
    ],
)
def test_augmentation_must_fit(said, kw):
    with pytest.raises(ValueError) as e: D.get_dls('sample', device='cpu', **kw)
    assert said in str(e.value)

def test_floats_are_not_normalised_again():
    as_floats = lambda x, g: (x.float()/255 - .5)/.5
    a, b = (
        D.get_dls('sample', bs=32, device='cpu', augment=t).train.one_batch()[0]
        for t in ([], [as_floats])
    )
    torch.testing.assert_close(a, b)

def test_checksum_sees_every_byte():
    base = replace(few(300, side=4), size=torch.full((300, 2), 4))
    want = D.dataset_checksum(base)
    for field, at in (('x', (299, 0, 3, 3)), ('x', (0, 0, 0, 0)), ('y', 150), ('size', (299, 1))):
        t = getattr(base, field).clone(); t[at] += 1
        assert D.dataset_checksum(replace(base, **{field: t})) != want, field
    assert (
        D.dataset_checksum(replace(base, size=None)) != want
        and D.dataset_checksum(base.each(torch.clone)) == want
    )
    assert (
        D.dataset_checksum(replace(base, x=base.x.view(300, 1, 2, 8))) != want
    )  # the same bytes in another shape

def test_checksum_of_loaders_is_kept_and_the_same_in_all_processes():
    a, b, c = (
        D.get_dls('sample', device='cpu'),
        D.get_dls('sample', bs=60, device='cpu', rank=1, world=2, seed=7),
        D.get_dls('sample', device='cpu', n_train=100),
    )
    assert D.dataset_checksum(a) == a.checksum == D.dataset_checksum(b) != D.dataset_checksum(c)
    a.train.dataset.x[0] = 0
    assert D.dataset_checksum(a) == a.checksum  # computed once

@pytest.mark.cuda
def test_pictures_live_on_the_device():
    x, y = D.get_dls('sample', device='cuda').train.one_batch()
    assert x.is_cuda and y.is_cuda

def test_sample_images_go_round_the_classes():
    x, y = (few := D.sample_images(25, image_size=40)).x, few.y
    assert (
        y.tolist() == [*range(10), *range(10), *range(5)]
        and x.shape == (25, 1, 40, 40)
        and x.dtype == torch.uint8
    )

# the same batches as ever: these digests were recorded with the loader of release 0.1.0

def made(n, c=1, side=8):
    "Pictures by arithmetic, so that they are the same on every machine."
    x = torch.arange(n*c*side*side)*2654435761 % 2**32//2**13 % 256
    return D.Images(x.to(torch.uint8).view(n, c, side, side), torch.arange(n)*7 % 10)

def digest(batches):
    h = hashlib.sha256()
    for t in (t for batch in batches for t in batch):
        h.update(f'{t.dtype}{tuple(t.shape)}'.encode() + t.contiguous().numpy().tobytes())
    return h.hexdigest()[:16]

def epochs(dl, n=2): return digest(batch for _ in range(n) for batch in dl)

light = [D.random_flip, partial(D.random_shift, by=2), D.Normalize(1)]

def test_batches_are_those_of_the_first_release():
    def make(c=1, bs=8, tfms=light, **kw):
        return D.DeviceDL(made(50, c), bs, tfms=tfms, device='cpu', **kw)
    assert epochs(make(shuffle=True, seed=3)) == '7e149a796df2c84f'
    colour = make(3, shuffle=True, drop_last=True, tfms=[D.random_flip, D.Normalize(3)], seed=4)
    assert epochs(colour) == '2e386374688e65e0'
    late = make(shuffle=True, seed=3)
    late.epoch, late.start = 5, 3
    assert epochs(late, 1) == '25e8d0ab63db79ab'
    one = make(bs=12, shuffle=True, seed=5)
    shares = ['1830922a94f3c50f', '7dc18501298ff7c9', 'e891a5b58992a21b']
    assert [epochs(one.shard(r, 3)) for r in range(3)] == shares
    order = [5, 3, 9, 9, 20, 1, 2, 3, 4, 5, 6]
    assert epochs(make().new(get_idxs=lambda: order)) == '607006112e5f39fb'
    assert (D.seed_of(3, 7), D.seed_of(0, 5, 'mix')) == (2327618400265565905, 976787722505661339)

@pytest.mark.parametrize('kw, train, valid', [
    (dict(), 'e183410f1e606a31', '77f7f7a12cd550a2'),
    (dict(bs=64, n_train=300, holdout=200, seed=7), '6995246e73b47597', '37f86c46fafa7276')])
def test_batches_of_get_dls_are_those_of_the_first_release(kw, train, valid):
    dls = D.get_dls('sample', image_size=28, device='cpu', **kw)            # 28: nothing is resized
    assert (epochs(dls.train), epochs(dls.valid, 1)) == (train, valid)

def test_the_checksum_of_the_sample_is_that_of_the_first_release():
    dls = D.get_dls('sample', image_size=28, device='cpu')
    assert D.dataset_checksum(dls)[:16] == '9924bcef3555f92c'

# the epoch is told

class Told:
    "A transform that shows which epoch it thinks it is."
    def set_epoch(self, epoch): self.epoch = epoch
    def __call__(self, x, generator): return torch.full_like(x, self.epoch)

def epochs_seen(dl): return {int(v) for x, _ in dl for v in x.unique()}

def test_the_loader_tells_its_transforms_the_epoch():
    dl = D.DeviceDL(few(24), bs=8, device='cpu', tfms=[Told()])
    assert [epochs_seen(dl) for _ in range(3)] == [{0}, {1}, {2}]
    dl.epoch = 7
    assert epochs_seen(dl) == {7}

def test_the_papers_schedule_moves_without_a_learner():
    from dems_nb.augment import Augment, AugmentSchedule
    schedule = AugmentSchedule(3, .6, in_chans=1)
    augment = Augment(28, schedule)
    dls = D.get_dls(
        'sample', n_train=100, bs=50, device='cpu', crop=True, image_size=28, augment=[augment]
    )
    for epoch in range(3):
        for _ in dls.train: assert augment.p.tolist() == pytest.approx(list(schedule(epoch)))
    assert len({tuple(schedule(epoch)) for epoch in range(3)}) == 3

def test_a_look_in_the_middle_of_an_epoch_leaves_its_number():
    dl = D.DeviceDL(few(24), bs=8, device='cpu', tfms=[Told()])
    seen = []
    for x, _ in dl:
        seen.append(int(x[0, 0, 0, 0]))
        assert int(dl.one_batch()[0][0, 0, 0, 0]) == 1                      # the coming epoch
        dl.new().one_batch()  # another loader, the same transform
    assert seen == [0, 0, 0]

# normalising

@pytest.mark.parametrize('c', [1, 3])
def test_normalize_and_back(c):
    x = few(5, c).x
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in S.picture_stats(c))
    assert torch.equal(D.Normalize(c)(x), (x.float()/255 - mean)/std)
    torch.testing.assert_close(D.Normalize(c).decode(D.Normalize(c)(x)), x/255)

def test_normalize_makes_no_new_numbers_in_a_batch(monkeypatch):
    normalize, x = D.Normalize(3), few(5, 3).x
    def none(*a, **kw): raise AssertionError('a tensor was made of numbers: a copy to the device')
    for name in ('tensor', 'as_tensor'): monkeypatch.setattr(torch, name, none)
    with pytest.raises(AssertionError): D.Normalize(3)
    normalize(x)

def test_normalize_goes_where_its_loader_goes():
    normalize = D.Normalize(1)
    moved = []
    normalize.to = moved.append
    D.DeviceDL(few(4), device='cpu', tfms=[normalize])
    assert moved == [torch.device('cpu')]

@pytest.mark.parametrize('wrong', [few(2).x/255, few(2).x.long()])
def test_what_is_no_byte_is_refused(wrong):
    with pytest.raises(TypeError, match=r'give torch.uint8.*\(255\*x\)'): D.Images(wrong)
    with pytest.raises(ValueError, match=r'give bytes, torch.uint8.*\(255\*x\)'):
        D.Normalize(1)(wrong)

@pytest.mark.parametrize('wrong, said', [(few(2).x[0], '(1, 8, 8)'), ([1], 'the pictures are list'),
                                         (few(2).x.numpy(), 'uint8')])
def test_what_is_no_batch_of_pictures_is_refused(wrong, said):
    with pytest.raises(TypeError) as e: D.Images(wrong)
    assert said in str(e.value) and 'give torch.uint8 (n, channels, height, width)' in str(e.value)

# numbers as people have them

numbers = [lambda i: i, np.int64, np.uint8, torch.tensor, lambda i: np.array([i])[0]]

@pytest.mark.parametrize('kind', numbers)
def test_every_kind_of_whole_number_is_taken(kind):
    kw = dict(image_size=28, bs=60, n_train=100, holdout=50, seed=3, rank=1, world=2)
    dls = D.get_dls('sample', device='cpu', **{name: kind(value) for name, value in kw.items()})
    assert same(list(dls.train), list(D.get_dls('sample', device='cpu', **kw).train))
    assert D.seed_of(kind(3), kind(7)) == D.seed_of(3, 7)

@pytest.mark.parametrize(
    'name', ['image_size', 'bs', 'n_train', 'holdout', 'seed', 'rank', 'world']
)
@pytest.mark.parametrize('wrong', [1e3, '8', None, np.float64(8)])
def test_what_is_no_whole_number_is_refused_by_name(name, wrong):
    if wrong is None and name in ('image_size', 'n_train'):
        return  # these have a meaning for None
    with pytest.raises(ValueError) as e: D.get_dls('sample', device='cpu', **{name: wrong})
    assert str(e.value).startswith(f'{name} is {wrong!r}: give a ')
    assert str(e.value).endswith('whole number')

@pytest.mark.parametrize('name', ['image_size', 'bs', 'world'])
def test_what_is_too_small_is_refused_by_name(name):
    with pytest.raises(ValueError, match=f'{name} is 0: give a positive whole number'):
        D.get_dls('sample', device='cpu', **{name: 0})

def test_the_first_size_is_the_data_sets_own():
    assert D.get_dls('sample', device='cpu').train.dataset.x.shape[-1] == 32

def test_only_what_is_scored():
    dls = D.get_dls('sample', device='cpu', train=False)
    assert len(dls.train.dataset) == 0 and len(dls.valid.dataset) == 1000 and list(dls.train) == []
    assert dls.vocab == list(S.fashion_classes)

# a data set like any other

def test_images_are_a_data_set():
    images = few(6)
    assert len(images) == 6 and repr(images) == 'Images(6 of 1×8×8)'
    x, y = images[2]
    assert torch.equal(x, images.x[2]) and y == 2 and len(list(images)) == 6
    for part in (
        images[2:4],
        images[[2, 3]],
        images[torch.tensor([2, 3])],
        images[torch.arange(6) % 4 > 1],
    ):
        assert isinstance(part, D.Images) and torch.equal(part.x[:2], images.x[2:4])
    assert images[np.int64(2)][1] == 2 and images[torch.tensor([2])].x.shape == (1, 1, 8, 8)
    assert D.Images(images.x)[0][0].shape == (1, 8, 8) and len(D.Images(images.x)[0]) == 1
    with pytest.raises(IndexError): images[6]
    sized = replace(images, size=torch.tensor([[3, 5]]*6))
    assert sized[1][0].shape == (1, 3, 5) and torch.equal(sized[1][0], images.x[1][:, :3, :5])

# what fastai asks, by a plain Learner of fastai's own

@pytest.fixture(scope='module')
def plain():
    "A plain fastai Learner with the smallest model there is, on our loaders."
    from fastai.callback.progress import ProgressCallback                   # brings no_bar
    from fastai.learner import Learner
    from fastai.losses import CrossEntropyLossFlat
    from fastai.metrics import accuracy
    torch.manual_seed(0)
    dls = D.get_dls('sample', device='cpu', bs=50, n_train=200, holdout=100)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 10))
    learn = Learner(dls, model, CrossEntropyLossFlat(), metrics=accuracy)
    with learn.no_bar(), learn.no_logging(): learn.fit(3, 1e-3)
    return learn

@pytest.fixture
def titles(monkeypatch):
    "What is written above the pictures that are shown."
    import matplotlib.pyplot as plt
    plt.close('all')
    yield lambda: [
        ax.get_title() for n in plt.get_fignums() for ax in plt.figure(n).axes if ax.images
    ]
    plt.close('all')

def test_show_batch(plain, titles):
    dl = plain.dls.valid
    plain.dls.valid.show_batch(max_n=4)
    names = [S.fashion_classes[c] for c in dl.one_batch()[1][:4]]
    assert titles() == names
    plain.dls.show_batch(max_n=3)
    assert len(titles()) == 7

def test_decode_batch_gives_the_picture_back(plain):
    dl = plain.dls.valid
    shown = dl.decode_batch(dl.one_batch(), max_n=5)
    assert len(shown) == 5
    for (x, y), want, c in zip(shown, dl.dataset.x, dl.dataset.y):
        torch.testing.assert_close(torch.as_tensor(x), want/255)
        assert y == S.fashion_classes[c]

def test_show_results(plain, titles):
    with plain.no_bar(): plain.show_results(max_n=4, shuffle=False)
    with plain.no_bar(): decoded = plain.get_preds(with_decoded=True)[2]
    names = [S.fashion_classes[c] for c in plain.dls.valid.dataset.y[:4]]
    want = [f'{name}\n{S.fashion_classes[p]}' for name, p in zip(names, decoded)]
    assert titles() == want

def test_predict_new_pictures_of_any_kind(plain, tmp_path):
    x, y = S.read_sample()[1]
    Image.fromarray(x[5, 0].numpy()).save(tmp_path/'new.png')
    batch = D.Normalize(1)(S.resize_images(x[5:6], 32))
    with torch.no_grad(): want = plain.model(batch).softmax(1)[0]
    for item in (
        tmp_path / 'new.png',
        str(tmp_path / 'new.png'),
        Image.open(tmp_path / 'new.png'),
        x[5],
        x[5, 0].numpy(),
    ):
        with plain.no_bar():
            name, number, p = plain.predict(item)
        torch.testing.assert_close(p, want)
        assert number == want.argmax() and name == S.fashion_classes[number]

def test_get_preds_of_new_files_has_no_targets(plain, tmp_path):
    x = S.read_sample()[1][0][:7]
    for i, im in enumerate(x): Image.fromarray(im[0].numpy()).save(tmp_path/f'{i}.png')
    dl = plain.dls.test_dl(sorted(tmp_path.iterdir()))
    with plain.no_bar(): p, y = plain.get_preds(dl=dl)
    with torch.no_grad(): want = plain.model(D.Normalize(1)(S.resize_images(x, 32))).softmax(1)
    assert y is None
    torch.testing.assert_close(p, want)

def test_predicting_the_scored_pictures_gives_the_same_bytes(plain):
    valid = plain.dls.valid
    raw = S.read_sample()[0][0]
    held = S.part_indices(S.read_sample()[0][1], 100, 200, 0)[0]
    assert torch.equal(plain.dls.test_dl([raw[i] for i in held]).dataset.x, valid.dataset.x)

def test_interpretation(plain, titles):
    from fastai.interpret import ClassificationInterpretation
    with plain.no_bar():
        seen = ClassificationInterpretation.from_learner(plain)
        assert seen.confusion_matrix().sum() == 100
        seen.plot_top_losses(4)
        losses, worst = seen.top_losses(4)
    classes = [S.fashion_classes[c] for c in plain.dls.valid.dataset.y[worst]]
    assert [
        t.split('/')[-3].strip() if c != 'T-shirt/top' else c for t, c in zip(titles(), classes)
    ] == classes
    assert len(titles()) == 4 and f'{losses[0].item():.2f}' in titles()[0]
    seen.plot_confusion_matrix()
    assert all(isinstance(row, tuple) for row in seen.most_confused())
    seen.print_classification_report()

def test_tta_augments_and_each_pass_anew(plain):
    valid = plain.dls.valid
    passes = []
    with valid.dataset.set_split_idx(0): passes = [next(iter(valid.new()))[0] for _ in range(3)]
    assert len({p.numpy().tobytes() for p in passes}) == 3
    assert torch.equal(next(iter(valid.new()))[0], D.Normalize(1)(valid.dataset.x[:100]))
    with plain.no_bar():
        mean, y = plain.tta(n=3)
        only, _ = plain.get_preds()
    assert (
        torch.equal(y, valid.dataset.y) and mean.shape == only.shape and not torch.equal(mean, only)
    )

def test_export_takes_no_pictures_along(plain, tmp_path):
    from fastai.learner import load_learner
    before, plain.path = plain.path, tmp_path
    plain.export('e.pkl')
    plain.path = before
    assert (tmp_path/'e.pkl').stat().st_size < 200_000 and len(plain.dls.train.dataset) == 200
    with warnings.catch_warnings():         # newer versions of fastai warn of pickle
        warnings.simplefilter('ignore')
        again = load_learner(tmp_path/'e.pkl')
    x = S.read_sample()[1][0][3]
    with plain.no_bar(), again.no_bar():
        assert again.predict(x)[0] == plain.predict(x)[0]
        torch.testing.assert_close(again.predict(x)[2], plain.predict(x)[2])
    assert again.dls.vocab == list(S.fashion_classes)

def test_items_with_classes_keep_them(plain):
    dl = plain.dls.test_dl([plain.dls.valid_ds.items[i] for i in (3, 1)], with_labels=True)
    assert dl.dataset.y.tolist() == plain.dls.valid.dataset.y[[3, 1]].tolist()
    assert (
        torch.equal(dl.dataset.x, plain.dls.valid.dataset.x[[3, 1]])
        and len(plain.dls.valid_ds) == 100
    )

def test_options_of_folders_are_known_and_no_others():
    D.get_dls(
        'sample', device='cpu', on_broken='skip', cache='anywhere'
    )  # a set in files has no use for them
    with pytest.raises(TypeError, match='get_dls does not know on_brokn'):
        D.get_dls('sample', device='cpu', on_brokn='skip')
