"Each operation against torchvision's for given parameters, each draw against its draw."
import itertools, math, pytest, torch
from scipy import stats
from torchvision import transforms as T
from torchvision.transforms.v2 import CutMix, InterpolationMode, MixUp, functional as TF
from dems_nb import augment as A, recipes as C
from dems_nb.kernels import use_path

gen = lambda seed=0, device='cpu': torch.Generator(device).manual_seed(seed)
BICUBIC = InterpolationMode.BICUBIC

def noise(n=1, c=3, h=32, w=32, seed=0):
    return torch.randint(0, 256, (n, c, h, w), dtype=torch.uint8, generator=gen(seed))
def smooth(n=1, c=3, h=32, w=32, seed=0):
    return TF.resize(noise(n, c, 5, 5, seed), [h, w], BICUBIC, antialias=True)
def bytes_(x): return (255*x).round()
pictures = pytest.mark.parametrize('make', [noise, smooth])
channels = pytest.mark.parametrize('c', [1, 3])

# ---- operations, for given parameters
# -------------------------------------------------------------------------------

@pictures
@channels
@pytest.mark.parametrize('h, w, size',
                         [(32, 32, 32), (28, 28, 32), (64, 48, 32), (40, 40, 80), (96, 96, 24)])
def test_crop_is_within_one_level_of_torchvisions_on_bytes(make, c, h, w, size):
    "Two roundings of 1/2, the first times at most 1.27: at most one level (see the chapter)."
    n = 60
    x, box = make(n, c, h, w), A.draw_crop(n, gen(1), h, w, area=(.05, 1.))
    box[0] = torch.tensor([0, 0, h, w])
    box[1] = torch.tensor([h - 1, w - 1, 1, 1])
    box[2] = torch.tensor([3, 2, 7, 23])
    ours = bytes_(A.resized_crop(x/255, box, size))
    theirs = torch.stack([TF.resized_crop(im, *b, [size, size], BICUBIC, antialias=True)
                          for im, b in zip(x, box.tolist())])
    assert (ours - theirs).abs().max() <= 1

def test_crop_is_torchvisions_on_floats_but_for_the_clamps():
    x, box = noise(40, 3, 50, 41).double()/255, A.draw_crop(40, gen(2), 50, 41, area=(.05, 1.))
    for size in (16, 32, 64):
        W_y, W_x = (A.resize_weights(box[:, i], box[:, i + 2], x.shape[2 + i],
                                     size)[:, None].double() for i in (0, 1))
        theirs = torch.stack([TF.resized_crop(im, *b, [size, size], BICUBIC, antialias=True)
                              for im, b in zip(x, box.tolist())])
        assert (W_y @ x @ W_x.mT - theirs).abs().max() < 1e-5                    # float32 weights

def test_whole_image_at_its_own_size_is_unchanged():
    x = noise(3)/255
    assert torch.equal(A.resized_crop(x, torch.tensor([[0, 0, 32, 32]]*3), 32), x)

def test_the_first_clamp_does_not_grow_the_error_bound():
    "The claim behind the bound of one level: absolute weights of a row sum to at most 1.27."
    start, length = torch.zeros(32, dtype=torch.long), torch.arange(1, 33)
    assert max(A.resize_weights(start, length, 32, m).abs().sum(2).max().item()
               for m in (8, 13, 16, 24, 26, 32, 33, 48, 64, 100)) <= 1.27

def test_the_other_cubic_kernel_would_be_noticed(monkeypatch):
    real = A.cubic
    monkeypatch.setattr(A, 'cubic', lambda t: real(t, -.75))
    x, box = noise(20), A.draw_crop(20, gen(1), 32, 32)
    theirs = torch.stack([TF.resized_crop(im, *b, [32, 32], BICUBIC, antialias=True)
                          for im, b in zip(x, box.tolist())])
    assert (bytes_(A.resized_crop(x/255, box, 32)) - theirs).abs().max() > 5

factor_ops = [(A.brightness, TF.adjust_brightness, (0., .6, .93, 1., 1.4, 3.)),
              (A.contrast, TF.adjust_contrast, (0., .6, .93, 1., 1.4, 3.)),
              (A.saturation, TF.adjust_saturation, (0., .8, 1., 1.2, 3.)),
              (A.shift_hue, TF.adjust_hue, (-.5, -.1, -.03, 0., .1, .5))]

@pictures
@channels
@pytest.mark.parametrize('ours, theirs, values', factor_ops,
                         ids=lambda v: getattr(v, '__name__', ''))
def test_colour_operations_are_torchvisions_on_floats(make, c, ours, theirs, values):
    x = make(len(values), c)/255
    want = torch.stack([theirs(im, v) for im, v in zip(x, values)])
    assert (ours(x, torch.tensor(values)) - want).abs().max() < 2e-5

@pictures
@channels
@pytest.mark.parametrize('ours, theirs, values', factor_ops,
                         ids=lambda v: getattr(v, '__name__', ''))
def test_colour_operations_are_within_a_level_or_so_on_bytes(make, c, ours, theirs, values):
    "torchvision cuts bytes (off by 1), and contrast cuts its grey: 1 more, times |1 - factor|."
    x = make(len(values), c)
    want = torch.stack([theirs(im, v) for im, v in zip(x, values)])
    off = (bytes_(ours(x/255, torch.tensor(values))) - want).abs().flatten(1).amax(1)
    extra = [math.ceil(abs(1 - v)) if ours in (A.contrast, A.saturation) and c == 3 else 0
             for v in values]
    assert (off <= 1 + torch.tensor(extra)).all(), off

@pictures
@pytest.mark.parametrize('threshold', [0, 1, 100, 128, 255])
def test_solarize_is_torchvisions(make, threshold):
    x = make(4)
    assert torch.equal(bytes_(A.solarize(x/255, threshold)), TF.solarize(x, threshold).float())

@pictures
def test_grayscale_is_torchvisions(make):
    x = make(4)
    # torchvision cuts, we round
    assert (bytes_(A.grayscale(x/255)) - TF.rgb_to_grayscale(x, 3)).abs().max() <= 1
    assert (A.grayscale(x/255) - TF.rgb_to_grayscale(x/255, 3)).abs().max() < 1e-6

def test_grey_pictures_have_no_colours():
    x, v = noise(5, 1)/255, torch.linspace(-.4, 1.8, 5)
    for y in (A.saturation(x, v), A.shift_hue(x, v), A.grayscale(x)): assert torch.equal(y, x)

@pytest.mark.parametrize('h, w', [(32, 32), (9, 20), (28, 28)])
def test_blur_is_torchvisions(h, w):
    x, sigma = noise(4, 3, h, w)/255, torch.tensor([.1, .7, 1.3, 2.])
    want = torch.stack([TF.gaussian_blur(im, [17, 17], [s, s]) for im, s in zip(x, sigma.tolist())])
    assert (A.gaussian_blur(x, sigma) - want).abs().max() < 1e-5

@pytest.mark.parametrize('size', [1, 2, 5, 8])
def test_blur_of_a_tiny_image_keeps_a_flat_one(size):
    assert (A.gaussian_blur(torch.full((2, 1, size, size), .3), torch.tensor([.1, 2.]))
            - .3).abs().max() < 1e-6

def test_flip_mirrors_the_chosen():
    x, on = noise(4), torch.tensor([True, False, False, True])
    assert torch.equal(A.where_chosen(x, on, A.mirror),
                       torch.stack([TF.horizontal_flip(im) if o else im for im, o in zip(x, on)]))

@channels
def test_jitter_in_every_order_is_torchvisions_one_after_the_other(c):
    order = torch.tensor(list(itertools.permutations(range(4))))
    x, (factors, hue, _) = noise(24, c)/255, A.draw_jitter(24, gen(3), strength=(.8, .8, .8, .5))
    ops = [TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue]
    want = []
    for im, o, v in zip(x, order.tolist(), torch.cat([factors, hue[:, None]], 1).tolist()):
        for i in o: im = ops[i](im, v[i])
        want.append(im)
    assert (A.color_jitter(x, factors, hue, order) - torch.stack(want)).abs().max() < 1e-4

def everywhere(f):
    "f as on a GPU, where `where` picks: torch.compile takes that way on a CPU too."
    torch._dynamo.reset()
    return torch.compile(f, fullgraph=True, backend='eager')

def test_chosen_images_only():
    x, on, v = noise(6)/255, torch.tensor([True, False, False, True, True,
                                           False]), torch.rand(6, generator=gen())
    op, before = (lambda x, v: x + v[:, None, None, None]), x.clone()
    want = torch.stack([im + p if o else im for im, o, p in zip(x, on, v)])
    for f in (A.where_chosen, everywhere(A.where_chosen)): assert torch.equal(f(x, on, op, v), want)
    assert torch.equal(x, before) and torch.equal(
        A.where_chosen(x, torch.zeros(6, dtype=torch.bool), op, v), x)
    A.where_chosen(x, on, op, v, inplace=True)
    assert torch.equal(x, want)

def test_only_the_chosen_are_computed_on_a_cpu():
    seen = []
    A.where_chosen(noise(6), torch.tensor([True] + 5*[False]),
                   lambda x: (seen.append(len(x)), x)[1])
    assert seen == [1]

@channels
def test_jitter_on_a_cpu_and_elsewhere_are_equal_and_leave_their_input(c):
    x, drawn = noise(100, c)/255, A.draw_jitter(100, gen(3))
    before = x.clone()
    assert (A.color_jitter(x, *drawn) - everywhere(A.color_jitter)(x, *drawn)).abs().max() <= 1e-6
    assert torch.equal(x, before)

@channels
@pytest.mark.parametrize('mode', A.AugmentSchedule.modes)
def test_the_whole_on_a_cpu_and_elsewhere_are_equal(c, mode, monkeypatch):
    x, aug = noise(300, c), A.Augment(32, A.AugmentSchedule(10, .7, mode, c), normalize=False)
    d = aug.draw(x, gen(4))
    want = everywhere(aug.apply)(x, d)
    assert torch.equal(aug.apply(x, d), want)
    pieces, real = [], A.Augment._do
    monkeypatch.setattr(A.Augment, '_do',
                        lambda self, x, *drawn: (pieces.append(len(x)), real(self, x, *drawn))[1])
    big = noise(8, c, 80, 300)  # several pieces, and the last is smaller
    drawn = (aug := A.Augment(224, aug.schedule)).draw(big, gen(5))
    whole, alone = aug.apply(big, drawn), [aug.apply(big[i:i+1],
                                                     A.Drawn(*(v[i:i+1]
                                                               for v in drawn))) for i in range(8)]
    assert (whole - torch.cat(alone)).abs().max() < 1e-4 and sum(pieces) == 16

def test_a_large_batch_goes_through_in_pieces(monkeypatch):
    seen, real = [], A.resized_crop
    monkeypatch.setattr(A, 'resized_crop',
                        lambda x, box, size: (seen.append(len(x)), real(x, box, size))[1])
    A.Augment(32, A.AugmentSchedule(10))(noise(600), gen())
    assert sum(seen) == 600 and max(seen) == 2**18//3072 and len(seen) > 7

def test_mixed_precision_does_not_reach_the_pixels():
    x, aug = noise(20), A.Augment(32, A.AugmentSchedule(10))
    want = aug(x, gen())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(aug(x, gen()), want)
        assert (x[0, 0].float() @ x[0, 1].float()).dtype == torch.bfloat16               # and is on

# ---- draws against torchvision's: a family of tests that all together raise a false alarm once in
# 1,000 seeds ---------

N, FAMILY = 20_000, 1e-3

def same_counts(a, b):
    "p of the chi-square test that two samples of whole numbers are of one distribution."
    n = int(max(a.max(), b.max())) + 1
    table = torch.stack([a.long().bincount(minlength=n), b.long().bincount(minlength=n)])
    often = table.sum(0) >= 20
    table = torch.cat([table[:, often], table[:, ~often].sum(1, keepdim=True)], 1)
    return stats.chi2_contingency(table[:, table.sum(0) > 0].numpy()).pvalue

def torchvision_boxes(h, w, n=N):
    torch.manual_seed(1)
    x = torch.zeros(1, h, w)
    return torch.tensor([T.RandomResizedCrop.get_params(x, [.2, 1.], [3/4, 4/3]) for _ in range(n)])

def torchvision_jitter():
    torch.manual_seed(2)
    drawn = [T.ColorJitter.get_params([.6, 1.4], [.6, 1.4], [.8, 1.2], [-.1, .1]) for _ in range(N)]
    return torch.stack([d[0] for d in drawn]), torch.tensor([d[1:] for d in drawn])

def order_number(o): return (o*torch.tensor([64, 16, 4, 1])).sum(1)

def all_p_values():
    for h, w in ((32, 32), (30, 44)):
        ours, theirs = A.draw_crop(N, gen(5), h, w), torchvision_boxes(h, w)
        for i, name in enumerate(('top', 'left', 'height', 'width')):
            yield f'{name} of {h}×{w}', same_counts(ours[:, i], theirs[:, i])
        yield f'height and width of {h}×{w}', same_counts(ours[:, 2]//4*64 + ours[:, 3]//4,
                                                          theirs[:, 2]//4*64 + theirs[:, 3]//4)
        yield f'height and top of {h}×{w}', same_counts(ours[:, 2]//4*64 + ours[:, 0]//2,
                                                        theirs[:, 2]//4*64 + theirs[:, 0]//2)
    sizes = torch.tensor([[30, 44], [20, 11]]).repeat(N, 1)  # two sizes in one batch, on canvases
    mixed, theirs = A.draw_crop(2*N, gen(11),
                                *sizes.T).view(N, 2, 4), [torchvision_boxes(*hw)
                                                          for hw in ((30, 44), (20, 11))]
    for k, hw in enumerate(('30×44', '20×11')):
        for i, name in enumerate(('top', 'left', 'height', 'width')):
            yield f'{name} of {hw} on a canvas', same_counts(mixed[:, k, i], theirs[k][:, i])
        yield f'height and width of {hw} on a canvas', same_counts(mixed[:, k, 2]*64
                                                                   + mixed[:, k, 3]//4,
                                                                   theirs[k][:, 2]*64
                                                                   + theirs[k][:, 3]//4)
    (factors, hue, order), (their_order, theirs) = A.draw_jitter(N, gen(6)), torchvision_jitter()
    for i, name in enumerate(('brightness', 'contrast', 'saturation', 'hue')):
        yield name, stats.ks_2samp((factors[:, i] if i < 3 else hue).numpy(),
                                   theirs[:, i].numpy()).pvalue
    yield 'order', same_counts(order_number(order), order_number(their_order))
    for alpha in (.8, 1., .3):
        yield f'Beta({alpha})', stats.kstest(torch.cat([A.draw_share(g, alpha) for g in [gen(7)]
                                                        for _ in range(N)]).double().numpy(),
                                             stats.beta(alpha, alpha).cdf).pvalue
    for p in (.5, .05):
        yield f'coin {p}', stats.binomtest(int(A.draw_coin(N, gen(8), p).sum()), N, p).pvalue
    for three in (False, True):
        for name, on, p in zip(('jitter', 'grey', 'solarise', 'blur'),
                               A.draw_chosen(N, gen(9), torch.tensor([.6, .2, .7]), three),
                               (.6, 1/3, 1/3, 1/3) if three else (.6, .2, .7, 0)):
            yield f'{name} {three}', stats.binomtest(int(on.sum()), N, p).pvalue

def test_draws_are_torchvisions():
    p = dict(all_p_values())
    low = {k: v for k, v in p.items() if v < FAMILY/len(p)}  # Bonferroni
    assert len(p) >= 35 and not low, low

def test_a_wrong_draw_would_be_noticed():
    "A ratio drawn without its logarithm, no second try, crops from the corner: each fails."
    theirs = torchvision_boxes(32, 32, 10_000)
    joint = lambda b: b[:, 2]//4*64 + b[:, 3]//4
    u = torch.rand(N, 4, generator=gen(1))
    a, r = 1024*(.2 + .8*u[:, 0]), 3/4 + (4/3 - 3/4)*u[:, 1]
    once = torch.stack([(a/r).sqrt().round().clamp(max=32), (a*r).sqrt().round().clamp(max=32)], 1)
    wrong = torch.cat([torch.zeros(N, 2), once], 1).long()
    assert same_counts(joint(wrong),
                       joint(theirs)) < 1e-9 and same_counts(wrong[:, 0], theirs[:, 0]) < 1e-9
    fits = once[((a/r).sqrt().round() <= 32) & ((a*r).sqrt().round() <= 32)]
    # right but for the logarithm
    assert same_counts(joint(torch.cat([fits, fits], 1).long()), joint(theirs)) < 1e-4

@pytest.mark.parametrize('h, w', [(8, 64), (64, 8), (32, 32)])
def test_no_candidate_fits_so_the_middle_is_taken(h, w):
    impossible = dict(area=(.999, 1.)) if h != w else dict(area=(4., 5.))
    box = A.draw_crop(500, gen(), h, w, **impossible)
    want = T.RandomResizedCrop.get_params(torch.zeros(1, h, w), list(impossible['area']),
                                          [3/4, 4/3])
    assert (box == torch.tensor(want)).all()

def test_boxes_lie_inside_also_for_the_greatest_random_number(monkeypatch):
    monkeypatch.setattr(A, '_rand', lambda g, *shape: torch.full(shape, 1 - 2**-24))
    for side in (8, 28, 32, 33, 63, 224, 256):
        t, l, h, w = A.draw_crop(1, None, side, side, ratio=(1., 1.), area=(.2, .5))[0].tolist()
        assert t + h <= side and l + w <= side
    assert all(v[0].item() in (True, False)
               for v in A.draw_chosen(1, None, torch.ones(3),
                                      True)) and torch.stack(
                                          A.draw_chosen(1, None, torch.ones(3),
                                                        True))[1:].sum() == 1

@pytest.mark.parametrize('h, w', [(8, 64), (64, 8), (31, 22), (32, 32)])
def test_the_middle_is_each_pictures_own(h, w):
    impossible = dict(area=(4., 5.))
    box = A.draw_crop(6, gen(), torch.tensor([h, 10]*3), torch.tensor([w, 40]*3), **impossible)
    for k, (a, b) in enumerate(((h, w), (10, 40))):
        want = T.RandomResizedCrop.get_params(torch.zeros(1, a, b), list(impossible['area']),
                                              [3/4, 4/3])
        assert (box[k::2] == torch.tensor(want)).all()

def test_crops_stay_inside_each_picture():
    size = torch.randint(1, 65, (20_000, 2), generator=gen(12))
    t, l, h, w = A.draw_crop(20_000, gen(13), *size.T).T
    assert (t >= 0).all() and (l >= 0).all() and (h >= 1).all() and (w >= 1).all()
    assert (t + h <= size[:, 0]).all() and (l + w <= size[:, 1]).all()
    # and reach its end
    assert (t + h == size[:, 0]).float().mean() > .05 and (l + w == size[:, 1]).float().mean() > .05

def test_numbers_and_tensors_draw_alike():
    at = torch.full((50,), 30), torch.full((50,), 44)
    assert torch.equal(A.draw_crop(50, gen(), 30, 44), A.draw_crop(50, gen(), *at))
    assert torch.equal(A.draw_crop(50, gen(), 30, 44), A.draw_crop(50, gen(), 30, at[1]))

@channels
@pytest.mark.parametrize('mode', ['cosine', 'three_way'])
def test_what_lies_beside_a_picture_never_matters(c, mode):
    size, aug = torch.tensor([[20, 33], [40, 12], [32, 32], [48, 50], [1, 1]]
                             *8), A.Augment(24, A.AugmentSchedule(10, .8, mode, c))
    a, b = noise(40, c, 48, 50), noise(40, c, 48, 50, seed=1)
    for i, (h, w) in enumerate(size.tolist()): b[i, :, :h, :w] = a[i, :, :h, :w]
    assert torch.equal(aug(a, gen(), size), aug(b, gen(), size)) and not torch.equal(a, b)
    alone = [aug.apply(a[i:i+1, :, :h, :w], A.Drawn(*(v[i:i+1] for v in aug.draw(a, gen(), size))))
             for i, (h, w) in enumerate(size.tolist())]
    off = (torch.cat(alone) - aug(a, gen(), size)).abs()
    assert (off > 1e-3).float().mean() < 1e-4  # as if cut out of its canvas

def test_whole_canvas_is_the_default():
    x, aug = noise(9, 3, 20, 28), A.Augment(16, A.AugmentSchedule(10))
    assert aug.takes_size and torch.equal(aug(x, gen()), aug(x, gen(), torch.tensor([[20, 28]]*9)))

def test_drawing_for_canvases_compiles():
    torch._dynamo.reset()
    draw = lambda u, place, height, width: A._boxes(u, place, height, width, (.2, 1.), (3/4, 4/3))
    args = torch.rand(9, 10, 2), torch.rand(9, 2), torch.arange(9, 18), torch.arange(30, 39)
    assert torch.equal(torch.compile(draw, fullgraph=True, backend='eager')(*args), draw(*args))

# ---- independence, repeatability
# ------------------------------------------------------------------------------------

def drawn(n=256, seed=0, mode='cosine', c=3, h=32, w=32):
    return A.Augment(32, A.AugmentSchedule(10, .8, mode, c)).draw(noise(n, c, h, w), gen(seed))

def test_no_two_images_share_their_numbers():
    d = drawn()
    # 2**24 values: one pair may meet
    for v in (d.factors[:, 0], d.factors[:, 1], d.factors[:, 2], d.hue, d.sigma):
        assert len(v.unique()) >= 255
    assert len(torch.cat([d.factors, d.hue[:, None]], 1).unique(dim=0)) == 256
    assert len(d.box.unique(dim=0)) > 230 and len(d.order.unique(dim=0)) == 24
    for v in (d.jittered, d.greyed, d.solarised, d.mirrored): assert 0 < v.sum() < 256

def test_neighbours_in_a_batch_are_not_correlated():
    d = drawn(20_000)
    for v in (d.factors[:, 0], d.hue, d.sigma, d.box[:, 2].float(), d.jittered.float(),
              d.greyed.float()):
        assert abs(torch.corrcoef(torch.stack([v[1:], v[:-1]]))[0, 1]) < 5/20_000**.5
    pairs = torch.corrcoef(torch.stack([d.factors[:, 0], d.factors[:, 1], d.factors[:, 2], d.hue,
                                        d.jittered.float(), d.greyed.float(), d.solarised.float(),
                                        d.mirrored.float()]))
    assert (pairs - torch.eye(8)).abs().max() < 5/20_000**.5

def test_each_image_is_treated_as_if_it_were_alone():
    aug, x = A.Augment(24, A.AugmentSchedule(10, .8)), noise(16)
    d = aug.draw(x, gen())
    alone = torch.cat([aug.apply(x[i:i+1], A.Drawn(*(v[i:i+1] for v in d))) for i in range(16)])
    torch.testing.assert_close(aug.apply(x, d), alone, atol=1e-5, rtol=0)

@pytest.mark.parametrize('mode', A.AugmentSchedule.modes)
def test_the_count_of_random_numbers_never_changes(mode):
    after = set()
    for h, w in ((32, 32), (8, 64)):
        for p0 in (0., 1.):
            g = gen()
            A.Augment(16, A.AugmentSchedule(10, p0, mode))(noise(5, 3, h, w), g)
            after.add(bytes(g.get_state().numpy()))
    assert len(after) == 1

def test_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    x = A.Augment(32, A.AugmentSchedule(10))(noise(4), gen())
    A.MixupCutmix(10)(x, torch.arange(4), gen())
    assert torch.equal(before, torch.get_rng_state())

# ---- the whole

@channels
@pytest.mark.parametrize('mode', A.AugmentSchedule.modes)
def test_whole_is_torchvisions_operations_in_order(c, mode):
    # no overshoot: torchvision does not clamp floats between its passes
    aug, x = A.Augment(24, A.AugmentSchedule(10, .7, mode, c)), 64 + smooth(40, c, 30, 36)//2
    d, want = aug.draw(x, gen(4)), []
    for i, im in enumerate(x/255):
        im = TF.resized_crop(im, *d.box[i].tolist(), [24, 24], BICUBIC, antialias=True).clamp(0, 1)
        if d.jittered[i]:
            v = [*d.factors[i].tolist(), d.hue[i].item()]
            for o in d.order[i].tolist():
                im = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation,
                      TF.adjust_hue)[o](im, v[o])
        if d.greyed[i]: im = TF.rgb_to_grayscale(im, c)
        if d.solarised[i]: im = TF.solarize(im, 127.5/255)
        if d.blurred[i]: im = TF.gaussian_blur(im, [17, 17], [d.sigma[i].item()]*2)
        want.append(TF.horizontal_flip(im) if d.mirrored[i] else im)
    want = TF.normalize(torch.stack(want),
                        *(([.485, .456, .406], [.229, .224, .225]) if c == 3 else ([.5], [.5])))
    off = (aug.apply(x, d) - want).abs()
    # a value within rounding of the solarising threshold may fall on its other side
    assert (off > 1e-3).float().mean() < 1e-4

@channels
@pytest.mark.parametrize('normalize', [True, False])
@pytest.mark.parametrize('h, w, size', [(28, 28, 32), (32, 32, 32), (50, 40, 16)])
def test_shapes_and_types(c, normalize, h, w, size):
    y = A.Augment(size, A.AugmentSchedule(10, in_chans=c), normalize)(noise(7, c, h, w), gen())
    assert y.shape == (7, c, size, size) and y.float().isfinite().all()
    assert y.dtype == (torch.float32 if normalize else torch.uint8)

@pytest.mark.parametrize('mode, want',
                         [('cosine', lambda e: .6*(1 + math.cos(math.pi*e/10))/2),
                          ('frozen', lambda e: .6)])
def test_schedule(mode, want):
    aug = A.Augment(32, A.AugmentSchedule(10, .6, mode))
    for e in range(10):
        aug.set_epoch(e)
        assert aug.p.tolist() == pytest.approx([want(e)]*3)

def test_schedule_off_and_three_way():
    assert A.AugmentSchedule(3, mode='off')(2) == (.8, .2,
                                                   .2) and A.AugmentSchedule(3, mode='off',
                                                                             in_chans=1)(0) == (
                                                                                 .8, 0., .2)
    d = drawn(mode='three_way')
    assert (d.greyed.int() + d.solarised.int() + d.blurred.int() == 1).all()
    assert not drawn().blurred.any()

@pytest.mark.parametrize('said, make', [
    ("mode is 'linear': the known ones are 'cosine', 'frozen', 'off', 'three_way'",
     lambda: A.AugmentSchedule(10, mode='linear')),
    ('epochs is 0: give 1', lambda: A.AugmentSchedule(0)),
    ('p0 is -0.1: give a probability', lambda: A.AugmentSchedule(5, -.1)),
    ('in_chans is 2: pictures have 1', lambda: A.AugmentSchedule(5, in_chans=2)),
    ('epoch is 5 of 5: give one from 0 to 4', lambda: A.AugmentSchedule(5)(5)),
    ('size is 0', lambda: A.Augment(0, A.AugmentSchedule(5))),
    ('give bytes', lambda: A.Augment(8, A.AugmentSchedule(5))(noise().float(), gen())),
    ('(1, 1, 32, 32): give (batch, 3, height, width)',
     lambda: A.Augment(8, A.AugmentSchedule(5))(noise(c=1), gen())),
    ('(3, 32, 32): give', lambda: A.Augment(8, A.AugmentSchedule(5))(noise()[0], gen())),
    ('size has shape (2,): give (1, 2), height and width',
     lambda: A.Augment(8, A.AugmentSchedule(5))(noise(), gen(), torch.tensor([9, 9]))),
    ('size goes from 9 to 33: a picture has at least 1 pixel and at most its canvas, 32 by 32',
     lambda: A.Augment(8, A.AugmentSchedule(5))(noise(), gen(), torch.tensor([[9, 33]]))),
    ('size goes from 0 to 9: a picture',
     lambda: A.Augment(8, A.AugmentSchedule(5))(noise(), gen(), torch.tensor([[9, 0]]))),
    ('mixup is 1.5: give an alpha from 0.1 to 1', lambda: A.MixupCutmix(10, mixup=1.5)),
    ('cutmix is 0: give', lambda: A.MixupCutmix(10, cutmix=0)),
    ('smoothing is 1', lambda: A.MixupCutmix(10, smoothing=1)),
    ('n_classes is 1', lambda: A.MixupCutmix(1)),
    ('take floats', lambda: A.MixupCutmix(10)(noise(), torch.zeros(1, dtype=torch.long), gen()))])
def test_bad_arguments(said, make):
    with pytest.raises(ValueError) as e: make()
    assert said in str(e.value) and '\n' not in str(e.value)

# ---- compiled

@channels
@pytest.mark.parametrize('mode', A.AugmentSchedule.modes)
def test_compiles_as_one_graph_once(c, mode):
    torch._dynamo.reset()
    graphs, aug, x = [], A.Augment(16, A.AugmentSchedule(6, .8, mode, c)), noise(8, c, 20, 24)
    def count(graph, inputs): graphs.append(graph); return graph.forward
    compiled, g = torch.compile(aug.apply, fullgraph=True, backend=count), gen()
    for e in range(6):
        d = aug.set_epoch(e).draw(x, g)
        torch.testing.assert_close(compiled(x, d), aug.apply(x, d))
    assert len(graphs) == 1

def test_mix_compiles():
    torch._dynamo.reset()
    def f(x, y, share, place):
        return A.combine(x, A.soft_targets(y, 10), A.cutmix_mask(share, place, 32, 32))
    args = noise(4)/255, torch.arange(4), torch.tensor([.4]), torch.tensor([.2, .9])
    torch.testing.assert_close(torch.compile(f, fullgraph=True, backend='eager')(*args), f(*args))

def test_a_value_taken_from_a_tensor_would_be_noticed():
    refused = torch._dynamo.exc.TorchDynamoException
    with pytest.raises(refused, match='(?i)data-dependent|dynamic control flow'):
        torch.compile(lambda x: x + 1 if x.max() > 1 else x, fullgraph=True,
                      backend='eager')(torch.ones(3))

# ---- mixup and cutmix

# the name before torchvision 0.21
theirs = lambda op: getattr(op, 'transform', None) or op._transform

@pytest.mark.parametrize('smoothing', [0., .1])
def test_mixup_is_torchvisions(smoothing):
    x, t = noise(6)/255, A.soft_targets(torch.arange(6), 10, smoothing)
    for lam in (0., .3, 1.):
        params = dict(lam=lam, labels=t, batch_size=6)
        for ours, v in zip(A.combine(x, t, A.mixup_mask(torch.tensor([lam]))), (x, t)):
            torch.testing.assert_close(ours, theirs(MixUp())(v, params), atol=1e-6, rtol=0)

@pytest.mark.parametrize('h, w', [(32, 32), (20, 33)])
def test_cutmix_is_torchvisions(h, w):
    x, t = noise(6, 3, h, w)/255, A.soft_targets(torch.arange(6), 10)
    for lam, cy, cx in itertools.product((.02, .5, .9, .999), (0, h//2, h - 1), (0, w//3, w - 1)):
        r = .5*math.sqrt(1 - lam)  # torchvision's CutMix.make_params, word for word
        x1, x2, y1, y2 = max(cx - int(r*w), 0), min(cx + int(r*w),
                                                    w), max(cy - int(r*h), 0), min(cy + int(r*h), h)
        params = dict(box=(x1, y1, x2, y2), lam_adjusted=1 - (x2 - x1)*(y2 - y1)/(w*h), labels=t,
                      batch_size=6)
        a, b = A.combine(x, t, A.cutmix_mask(torch.tensor([lam]),
                                             torch.tensor([(cy + .5)/h, (cx + .5)/w]), h, w))
        assert torch.equal(a, theirs(CutMix())(x, params))
        torch.testing.assert_close(b, theirs(CutMix())(t, params), atol=1e-6, rtol=0)

def test_soft_targets_are_label_smoothing():
    logits, y = torch.randn(5, 10, generator=gen()), torch.tensor([3, 1, 4, 1, 5])
    a, b = torch.nn.functional.cross_entropy(logits,
                                             A.soft_targets(
                                                 y, 10, .1)), torch.nn.functional.cross_entropy(
                                                     logits, y, label_smoothing=.1)
    torch.testing.assert_close(a, b)

def test_one_of_the_two_with_even_odds():
    x, y, cut = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8)]), torch.arange(2), 0
    g = gen(3)
    for _ in range(2000):
        im, t = A.MixupCutmix(2, smoothing=0.)(x, y, g)
        # the target tells what is in the picture
        assert abs(im[1].mean() - t[1, 1]) < 1e-5 and abs(t.sum() - 2) < 1e-5
        cut += len(im.unique()) <= 2 and bool(((im == 0) | (im == 1)).all())
    assert stats.binomtest(cut, 2000, .5).pvalue > 1e-3

# ---- on a GPU

@pytest.mark.cuda
@channels
def test_on_cuda_nothing_waits_and_the_result_is_the_cpus(c):
    aug, mix = A.Augment(32, A.AugmentSchedule(10, .6, 'three_way', c)), A.MixupCutmix(10)
    x, y, g = noise(64, c).cuda(), torch.arange(64).cuda() % 10, gen(0, 'cuda')
    size = torch.tensor([[20, 30]]).repeat(64, 1).cuda()
    aug(x, g)  # brings its numbers over
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode('error')
    try:
        aug(x, g, size)  # pictures on canvases
        d = aug.draw(x, g)
        out = aug.apply(x, d)
        mix(out, y, g)
    finally: torch.cuda.set_sync_debug_mode(mode)
    torch.testing.assert_close(out.cpu(),
                               A.Augment(32, aug.schedule).apply(x.cpu(),
                                                                 A.Drawn(*(v.cpu()
                                                                           for v in d))), atol=2e-2,
                               rtol=0)
    with pytest.raises(ValueError, match='the generator is on cpu'): aug(x, gen())

@pytest.mark.parametrize('device, backend', [
    ('cpu', 'aot_eager'), pytest.param('cuda', 'inductor', marks=pytest.mark.cuda)])
@channels
def test_compiled_augmentation_is_eager(c, device, backend):
    "But for a pixel that lies on a threshold."
    torch._dynamo.reset()
    aug = A.Augment(32, A.AugmentSchedule(10, .6, 'three_way', c)).to(device)
    x = noise(64, c).to(device)
    drawn = aug.draw(x, gen(0, device))
    compiled = torch.compile(aug.apply, fullgraph=True, backend=backend)(x, drawn)
    apart = (compiled - aug.apply(x, drawn)).abs()
    assert (apart > 1e-3).float().mean() < 1e-4

def test_a_fit_longer_than_the_schedule_stays_at_its_end():
    augment = A.Augment(8, A.AugmentSchedule(5))
    last = augment.set_epoch(4).p.clone()
    assert torch.equal(augment.set_epoch(5).p, last) and torch.equal(augment.set_epoch(900).p, last)
    assert not torch.equal(augment.set_epoch(0).p, last)

# ---- chapter 23's: RandAugment, erasing, the crop alone

theirs_named = dict(shear_x='ShearX', shear_y='ShearY', translate_x='TranslateX',
                    translate_y='TranslateY', rotate='Rotate', brightness='Brightness',
                    color='Color', contrast='Contrast', sharpness='Sharpness',
                    posterize='Posterize', solarize='Solarize', autocontrast='AutoContrast',
                    equalize='Equalize', identity='Identity')

def torchvision_operation(x, name, magnitude, negative):
    "One operation of torchvision's RandAugment on one picture, at a bin of 31."
    from torchvision.transforms.v2 import RandAugment
    theirs = RandAugment(magnitude=magnitude)
    values, signed = theirs._AUGMENTATION_SPACE[theirs_named[name]]
    values = values(31, *x.shape[1:])
    v = 0. if values is None else float(values[magnitude])*(-1 if signed and negative else 1)
    return theirs._apply_image_or_video_transform(x, theirs_named[name], v, interpolation=
                                                  InterpolationMode.NEAREST, fill={})

@channels
@pytest.mark.parametrize('magnitude', [1, 9, 30])
def test_each_operation_is_torchvisions_to_the_bit(c, magnitude):
    ours = C.RandAugment(magnitude)
    n = len(ours.names)
    assert set(theirs_named) == set(ours.names) and n == 14
    x = torch.cat([smooth(n, c), smooth(n, c, seed=1)])
    kinds = torch.stack([torch.arange(n).repeat(2), torch.zeros(2*n, dtype=torch.long)])
    negative = torch.stack([torch.arange(2*n) >= n]*2)
    done = ours.apply(x, kinds, negative)
    for k, name in enumerate(ours.names):
        for i in (k, n + k):
            want = torchvision_operation(x[i], name, magnitude, i >= n)
            assert torch.equal(done[i], want), (name, i >= n)
    assert done.dtype == torch.uint8

def test_two_operations_one_after_the_other():
    x, ours = smooth(14), C.RandAugment(15)
    kinds = torch.stack([torch.arange(14), torch.arange(14).flip(0)])
    negative = torch.zeros(2, 14, dtype=torch.bool)
    want = [torchvision_operation(torchvision_operation(im, ours.names[a], 15, False),
                                  ours.names[b], 15, False) for im, (a, b) in zip(x, kinds.T)]
    assert torch.equal(ours.apply(x, kinds, negative), torch.stack(want))

def test_randaugment_on_a_cpu_and_elsewhere_are_equal():
    x, ours = smooth(60), C.RandAugment(9)
    drawn = ours.draw(60, gen(1))
    with use_path('gpu'): everywhere_done = ours.apply(x, *drawn)
    assert torch.equal(ours.apply(x, *drawn), everywhere_done)
    assert torch.equal(ours(x, gen(1)), everywhere_done)

def test_randaugment_draws_evenly_and_for_each_image():
    kinds, negative = C.RandAugment().draw(N, gen(2))
    for row in kinds: assert stats.chisquare(row.bincount(minlength=14)).pvalue > 1e-4
    joint = (14*kinds[0] + kinds[1]).bincount(minlength=196)
    assert stats.chisquare(joint).pvalue > 1e-4 and kinds.max() == 13
    assert stats.binomtest(int(negative.sum()), 2*N, .5).pvalue > 1e-4

def test_erasing_boxes_are_torchvisions():
    n = 10_000
    for h, w in ((32, 32), (24, 40)):
        ours = C.RandomErasing(1.).draw(n, gen(3), h, w)
        torch.manual_seed(4)
        x = torch.zeros(1, h, w)
        theirs = torch.tensor([T.RandomErasing.get_params(x, (.02, .33), (.3, 3.3), [0.])[:4]
                               for _ in range(n)])
        for i in range(4): assert same_counts(ours[:, i], theirs[:, i]) > 1e-4, i
        joint = lambda b: b[:, 2]//3*64 + b[:, 3]//3
        assert same_counts(joint(ours), joint(theirs)) > 1e-4
        low = C.RandomErasing(1., ratio=(1., 1.)).draw(n, gen(3), h, w)
        assert same_counts(low[:, 2], theirs[:, 2]) < 1e-9       # another ratio would be noticed

def test_erasing_covers_its_box_and_nothing_else():
    x, op = torch.rand(200, 3, 32, 24, generator=gen()) + 1, C.RandomErasing(.4)
    box = op.draw(200, gen(5), 32, 24)
    done = op.apply(x, box)
    for a, b, (top, left, h, w) in zip(x, done, box.tolist()):
        a = a.clone()
        a[:, top:top + h, left:left + w] = 0
        assert torch.equal(a, b)
    erased = (box[:, 2] > 0).sum().item()
    assert stats.binomtest(erased, 200, .4).pvalue > 1e-4 and torch.equal(op(x, gen(5)), done)
    assert (C.RandomErasing(1., area=(4., 5.)).draw(50, gen(), 8, 8) == 0).all() # none fits: none

@channels
def test_the_crop_alone_is_the_papers_crop(c):
    x = noise(40, c, 48, 50)
    size = torch.tensor([[20, 33], [48, 50]]*20)
    ours = C.RandomCrop(24, (.3, .6))(x, gen(7), size)
    box = A.draw_crop(40, gen(7), *size.T, (.3, .6))
    assert torch.equal(ours, bytes_(A.resized_crop(x/255, box, 24)).byte())
    share = (box[:, 2]*box[:, 3])/(size[:, 0]*size[:, 1])
    assert .25 < share.min() and share.max() < .65

def test_the_share_that_augment_crops():
    x = noise(500)
    a, b = (A.Augment(32, A.AugmentSchedule(10), area=s).draw(x, gen()).box
            for s in ((.2, 1.), (.9, 1.)))
    assert a[:, 2].float().mean() < 26 < b[:, 2].float().mean()
