"Pictures compared as data: what is drawn is what the layout, the model or a loop says."
import base64, copy, hashlib, io, json, matplotlib, re, numpy as np, pytest, torch
matplotlib.use('Agg')
import matplotlib.pyplot as plt
from PIL import Image
from dems_nb.augment import Augment, AugmentSchedule
from dems_nb.data import fashion_classes, sample_images
from dems_nb.layout import TokenLayout
from dems_nb.model import DEMSViT, create_model
from dems_nb.learner import Recipe
from dems_nb.figures import *
from dems_nb.visualize import *
from dems_nb.viewer import answer_without, explore
from dems_nb import figures, visualize

layouts = [TokenLayout(), TokenLayout(8, (2, 4)), TokenLayout(36, (2, 6, 12)),
           TokenLayout(32, (4,)), TokenLayout(256, (16, 32, 64, 128))]
def picture(S, c=1): return (torch.rand(c, S, S)*255).byte()

@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close('all')

def untidy(seed=0, **kw):
    "A tiny model whose D and attention are far from uniform."
    torch.manual_seed(seed)
    kw = dict(image_size=8, patch_sizes=(2, 4), in_chans=1, dim=16, depth=3, heads=2,
              mix_before=(2, 3), n_mixed=(3, 2)) | kw
    model = DEMSViT(**kw)
    with torch.no_grad():
        for p in model.parameters(): p.add_(.3*torch.randn_like(p))
    return model.eval()

# correspondence

def drawn(fig):
    return [sorted(int(r.get_label()) for r in ax.patches if r.get_label().isdigit())
            for ax in fig.axes]

@pytest.mark.parametrize('layout',
                         [TokenLayout(8, (2, 4)), TokenLayout(12, (1, 3, 6)),
                          TokenLayout(32, (8,))], ids=repr)
def test_correspondence_draws_the_linked_tokens_and_only_them(layout):
    img = picture(layout.image_size)
    for p in range(layout.n_tokens):
        fig = show_correspondence(img, layout, p)
        want = [sorted(q for q in layout.linked(p).tolist() + [p] if layout.scale[q] == k)
                for k in range(len(layout.grids))]
        assert drawn(fig) == want, p
        for k, ax in enumerate(fig.axes):
            for r in ax.patches:
                if not r.get_label().isdigit(): continue
                x0, y0, x1, y1 = layout.boxes[int(r.get_label())].tolist()
                assert r.get_bbox().extents.tolist() == [x0, y0, x1, y1]
                colour = matplotlib.colors.to_hex(r.get_facecolor())
                assert colour.upper() == SCALE_COLORS[k]
        own = [ax for ax in fig.axes if 'the chosen token' in ax.get_title()]
        assert own == [fig.axes[layout.scale[p]]]
        plt.close(fig)

@pytest.mark.parametrize('p', [-1, 340, 10**6])
def test_a_position_out_of_range_is_told_the_range(p):
    with pytest.raises(IndexError, match=f'position {p} is out of range: this layout has positions '
                                         '0 to 339'):
        show_correspondence(picture(32), TokenLayout(), p)

# images

@pytest.mark.parametrize('img, said', [
    (torch.zeros(1, 28, 28), r'\(1, 28, 28\) does not fit this layout: give \(1, 32, 32\), or ask '
                             r'for it with resize=True'),
    (torch.zeros(4, 32, 32), 'cannot be drawn'), (torch.zeros(2, 3, 32, 32), 'cannot be drawn'),
    (torch.zeros(0, 32), 'cannot be drawn'),
    (torch.full((1, 32, 32), -1.), 'values from -1 to -1'),
    (torch.full((3, 32, 32), 1.01), 'values from 1.01'),
    (torch.full((1, 32, 32), float('nan')), 'values from nan'),
    (torch.full((1, 32, 32), 256, dtype=torch.int32), 'values from 256')])
def test_a_wrong_image_is_told_what_is_accepted(img, said):
    for f in (lambda: show_scales(img, TokenLayout()),
              lambda: show_correspondence(img, TokenLayout(), 0)):
        with pytest.raises(ValueError, match=said): f()

def test_only_who_can_be_asked_to_resize_says_so():
    model, img = untidy(), torch.zeros(1, 10, 10)
    for f in (lambda: provenance(model, img), lambda: show_provenance(model, img),
              lambda: show_mixing(model, img), lambda: answer_without(model, img, []),
              lambda: show_predictions(model, [img], [0], range(10)),
              lambda: explore(model, range(10), [img])):
        with pytest.raises(ValueError, match=r'give \(1, 8, 8\)$'): f()

@pytest.mark.parametrize('c', [1, 3])
def test_the_same_picture_in_every_form(c):
    img = picture(32, c)
    rows = img.movedim(0, 2).numpy()
    forms = [img, img.float()/255, img.int(), rows,
             Image.fromarray(rows.squeeze())] + ([img[0]] if c == 1 else [])
    for f in forms: assert torch.allclose(figures._image(f, 32), img.float()/255)
    assert img.dtype == torch.uint8 and img.equal(
        (255*figures._image(img, 32)).round().byte())

def test_resize_only_when_asked():
    big = picture(64, 3)
    with pytest.raises(ValueError, match='resize=True'): show_scales(big, TokenLayout())
    for f in (show_scales(big, TokenLayout(), resize=True),
              show_correspondence(big, TokenLayout(), 5, resize=True)):
        assert f.axes[0].images[0].get_array().shape == (32, 32, 3)

def test_scales_and_grids():
    fig = show_scales(picture(36), TokenLayout(36, (2, 6, 12)))
    assert [ax.get_title() for ax in fig.axes] == ['2-pixel patches\n18 × 18 = 324 tokens',
                                                   '6-pixel patches\n6 × 6 = 36 tokens',
                                                   '12-pixel patches\n3 × 3 = 9 tokens']
    for ax, p in zip(fig.axes, (2, 6, 12)):
        assert sorted({l.get_ydata()[0] for l in ax.lines
                       if l.get_ydata()[0] == l.get_ydata()[1]}) == list(range(0, 37, p))

# sequence

@pytest.mark.parametrize('layout', layouts, ids=repr)
def test_sequence_is_coloured_by_scale_in_order(layout):
    ax, = show_sequence(layout).axes
    colors = sum((list(im.cmap.colors) for im in ax.images), [])
    assert [SCALE_COLORS.index(c) for c in colors] == layout.scale.tolist()
    assert [int(t.get_text())
            for t in ax.get_xticklabels()] == list(range(0, layout.n_tokens,
                                                         layout.tokens_per_region))

def test_sequence_shows_what_each_interaction_leaves():
    for name, n in (('dems_tiny', [341, 257, 257]), ('dems_small', [341, 257, 129])):
        fig = show_sequence(TokenLayout(), create_model(name))
        assert [int(ax.get_title(loc='left').split()[0]) for ax in fig.axes] == n
        assert [1 + sum(im.get_array().size for im in ax.images) for ax in fig.axes] == n
    with pytest.raises(ValueError, match='give model.layout'):
        show_sequence(TokenLayout(8, (2, 4)), create_model('dems_tiny'))

# mixing

def test_mixing_weights_are_those_of_the_forward_pass():
    model, x = untidy(), torch.randn(1, 1, 8, 8)
    D = mixing_weights(model, x)
    with torch.no_grad():
        s = model.sequence(x)
        for k, block in enumerate(model.blocks, 1):
            before = s
            s = model.mix(s, k)
            if k in (2, 3):
                d = D[k - 2]
                for r in range(4):
                    X = before[0, 1:].view(4, -1, 16)[r]
                    assert torch.allclose(d[r].T @ X, s[0, 1:].view(4, -1, 16)[r], atol=1e-5)
            s = block(s)

def test_rollout_is_a_sum_over_all_ways():
    "A loop for each sum: attention and mixing as matrices of numbers, one after the other."
    model, x = untidy(seed=1), torch.randn(1, 1, 8, 8)
    def product(W, P):
        return [[sum(W[t][u]*P[u][s] for u in range(len(P))) for s in range(21)]
                for t in range(len(W))]
    def as_matrix(D): # of all regions, and the class token: (later, before)
        R, T, L = D.shape
        W = torch.zeros(1 + R*L, 1 + R*T)
        W[0, 0] = 1
        for r in range(R):
            for l in range(L):
                for u in range(T): W[1 + r*L + l, 1 + r*T + u] = D[r, u, l]
        return W.tolist()
    P, Ds = torch.eye(21).tolist(), mixing_weights(model, x)    # the class token and 20 others
    for k, A in enumerate(attention_weights(model, x), 1):
        if k in (2, 3): P = product(as_matrix(Ds[k - 2]), P)
        P = product((.5*A.mean(0) + .5*torch.eye(len(P))).tolist(), P)
    rolled = provenance(model, None, attention=True, x=x)
    assert torch.allclose(rolled, torch.tensor(P), atol=1e-6)
    assert torch.allclose(rolled.sum(1), torch.ones(9), atol=1e-5)

def test_looking_leaves_the_model_as_it_was():
    model, x = untidy(), torch.randn(1, 1, 8, 8)
    model.train(); model.blocks[1].eval()
    modes = [m.training for m in model.modules()]
    mixing_weights(model, x)
    attention_weights(model, x)
    provenance(model, None, attention=True, x=x)
    show_mixing(model, picture(8))
    show_predictions(model, picture(8)[None], [1], range(10))
    assert [m.training
            for m in model.modules()] == modes and not any(m._forward_hooks
                                                           for m in model.modules())
    model.head.register_forward_hook(lambda *a: 1/0)
    with pytest.raises(ZeroDivisionError): mixing_weights(model, x)
    assert [m.training
            for m in model.modules()] == modes and not any(m._forward_hooks
                                                           for m in model.interactions)

@pytest.mark.parametrize('which', [0, 1])
@pytest.mark.parametrize('region', [0, 3, None])
def test_show_mixing_draws_d(which, region):
    model, img = untidy(), picture(8)
    fig = show_mixing(model, img, which, region)
    said = fig.subfigs[0]._suptitle.get_text()
    r, l = int(re.search(r'region (\d+)', said)[1]), int(re.search(r'mixed token (\d+)', said)[1])
    assert r == region or region is None
    Ds = mixing_weights(model, figures._model_input(model, img))
    D = Ds[which][r]
    matrix, shares, perp = fig.subfigs[1].axes
    assert np.allclose(matrix.images[0].get_array(), D)
    entropy = -(D*D.log()).sum(0)
    assert np.allclose([b.get_height() for b in perp.patches], entropy.exp(), rtol=1e-4)
    origins = provenance(model, img, blocks=2 + which)[1:, 1:].view(4, -1, 20)[r]  # mixed origin
    want = [[origins[m, model.layout.scale == k].sum().item() for m in range(D.shape[1])]
            for k in (0, 1)]
    assert np.allclose(np.array([b.get_height() for b in shares.patches]).reshape(2, -1), want,
                       atol=1e-5)
    top = origins[l].max()
    for k, ax in enumerate(fig.subfigs[0].axes):
        alpha = {int(p.get_label()): p.get_alpha() for p in ax.patches}
        assert alpha and all(abs(a - .9*origins[l, p]/top) < 1e-4
                             for p, a in alpha.items()) and all(model.layout.scale[p] == k
                                                                for p in alpha)

def test_an_untrained_model_is_told_so():
    torch.manual_seed(0)
    said = lambda m: show_mixing(m, picture(8)).subfigs[0]._suptitle.get_text()
    fresh = DEMSViT(image_size=8, patch_sizes=(2, 4), in_chans=1, dim=16, depth=3, heads=2,
                    mix_before=(2, 3), n_mixed=(3, 2))
    assert 'nearly uniform' in said(fresh) and 'untrained' in said(fresh)
    assert 'nearly uniform' not in said(untidy())

def test_no_interactions():
    plain = create_model('vit_nano', in_chans=1)
    for f in (lambda: mixing_weights(plain, torch.zeros(1, 1, 32, 32)),
              lambda: show_mixing(plain, picture(32)), lambda: provenance(plain, picture(32))):
        with pytest.raises(ValueError, match='this model has no interactions'): f()
    P = provenance(plain, picture(32), attention=True)
    assert P.shape == (65, 65) and torch.allclose(P.sum(1), torch.ones(65))

@pytest.mark.parametrize('args, said',
                         [((2,), 'which is 2: give the number of an interaction, 0 to 1'),
                          ((-1,), 'which is -1'), ((.5,), 'which is 0.5'),
                                        ((torch.zeros(1, 1, 8, 8),),
                                         'which is Tensor: .* a normalised image goes in as x='),
                          ((0, 4), 'region is 4: give one from 0 to 3')])
def test_show_mixing_refuses(args, said):
    with pytest.raises((ValueError, IndexError), match=said):
        show_mixing(untidy(), picture(8), *args)

# attention and provenance

@pytest.mark.parametrize('seed', range(3))
def test_attention_weights_give_the_blocks_own_output(seed):
    model, x, seen = untidy(seed), torch.randn(1, 1, 8, 8), []
    for b in model.blocks:
        b.attn.register_forward_hook(lambda m, inp, out: seen.append((m, inp[0], out)))
    A = attention_weights(model, x)
    assert [tuple(a.shape) for a in A] == [(2, 21, 21), (2, 13, 13), (2, 9, 9)]
    for (m, inp, out), a in zip(seen, A):
        assert torch.allclose(a.sum(-1), torch.ones(a.shape[:2]), atol=1e-5)
        v = m.qkv(inp)[0, :, 32:].view(-1, 2, 8)  # token head head_dim
        mine = (torch.stack(
            [torch.stack([sum(a[h, t, u]*v[u, h] for u in range(len(v))) for h in (0, 1)]).flatten()
             for t in range(len(v))]))
        assert torch.allclose(m.proj(mine), out[0], atol=1e-5)

def by_paths(model, x, blocks, attention, residual):
    "Share of every original token in every later one, every path added up, one at a time."
    Ds, As = mixing_weights(model, x), attention_weights(model, x)
    steps = []
    for k in range(1, blocks + 1):
        if k in model.config['mix_before']:
            D = Ds[model.config['mix_before'].index(k)]
            R, T, L = D.shape
            steps.append({0: [(0, 1.)]}
                         | {1 + r*L + l: [(1 + r*T + t, D[r, t, l].item()) for t in range(T)]
                            for r in range(R) for l in range(L)})
        if attention:
            A = As[k-1].mean(0)
            steps.append({t: [(t, residual)]
                          + [(u, (1 - residual)*A[t, u].item()) for u in range(len(A))]
                          for t in range(len(A))})
    n = 1 + model.layout.n_tokens
    out = torch.zeros(len(steps[-1]) if steps else n, n)
    def walk(t, depth, w, row):
        if depth < 0: out[row, t] += w; return
        for u, v in steps[depth][t]: walk(u, depth - 1, w*v, row)
    for t in range(len(out)): walk(t, len(steps) - 1, 1., t)
    return out

@pytest.mark.parametrize('blocks', [0, 1, 2, 3])
@pytest.mark.parametrize('attention', [False, True])
def test_provenance_adds_up_all_paths(blocks, attention):
    model = untidy(2, image_size=4, patch_sizes=(1, 2),
                   dim=8) if attention and blocks < 3 else untidy(2)
    # one region of five: paths are few enough to walk
    if attention and blocks == 3:
        model = untidy(2, image_size=4, patch_sizes=(2, 4), dim=8, n_mixed=(3, 2))
    S = model.layout.image_size
    x = torch.randn(1, 1, S, S)
    for residual in (.5, .2):
        P = provenance(model, None, blocks, attention, residual, x=x)
        assert torch.allclose(P, by_paths(model, x, blocks, attention, residual), atol=1e-5)
        assert torch.allclose(P.sum(1), torch.ones(len(P)), atol=1e-5) and (P >= 0).all()

@pytest.mark.parametrize('name', ['dems_nano', 'dems_tiny', 'dems_small'])
def test_provenance_rows_sum_to_one(name):
    model = create_model(name, in_chans=1)
    n = [1 + 4*l for l in (*model.config['n_mixed'],)]
    for attention in (False, True):
        P = provenance(model, picture(32), attention=attention)
        assert P.shape == (n[-1], 1
                           + model.layout.n_tokens) and torch.allclose(P.sum(1), torch.ones(len(P)),
                                                                       atol=1e-4)

def test_mixing_alone_stays_in_its_region_and_leaves_the_class_token():
    model = untidy()
    P = provenance(model, picture(8))
    assert P[0].equal(torch.eye(21)[0])
    for t in range(8):
        assert (P[1 + t, 1:].view(4, 5).sum(1) > 0).nonzero().flatten().tolist() == [t//2]

def test_provenance_is_what_the_model_does_to_its_tokens():
    model, x = untidy(), torch.randn(1, 1, 8, 8)
    for b in model.blocks: b.forward = lambda x: x
    with torch.no_grad():
        first = s = model.sequence(x)
        for k in (1, 2, 3): s = model.mix(s, k)
    assert torch.allclose(provenance(model, None, x=x) @ first[0], s[0], atol=1e-4)

def test_a_picture_and_its_normalised_self_agree():
    model, img = untidy(in_chans=3), picture(8, 3)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((.485, .456, .406), (.229, .224, .225)))
    x = ((img/255 - mean)/std)[None]
    assert torch.allclose(provenance(model, img, attention=True),
                          provenance(model, None, attention=True, x=x), atol=1e-6)

@pytest.mark.parametrize('call, said', [
    (dict(blocks=4), 'blocks is 4: this model has 3, give 0 to 3'),
    (dict(blocks=-1), 'blocks is -1'), (dict(residual=1.5), 'residual is 1.5'),
    (dict(x=torch.zeros(2, 1, 8, 8)), r'shape \(2, 1, 8, 8\): give one image, \(1, 1, 8, 8\)')])
def test_provenance_refuses(call, said):
    with pytest.raises(ValueError, match=said): provenance(untidy(), picture(8), **call)
    with pytest.raises(ValueError, match='the image has 3 channels and the model takes 1'):
        provenance(untidy(), picture(8, 3))

@pytest.mark.parametrize('token, attention', [(0, True), (3, True), (5, False)])
def test_show_provenance_paints_the_row(token, attention):
    model, img = untidy(), picture(8)
    P, fig = provenance(model, img,
                        attention=attention), show_provenance(model, img, token,
                                                              attention=attention)
    w, layout = P[token, 1:], model.layout
    for k, ax in enumerate(fig.axes[1:3]):
        alpha, own = {int(p.get_label()): p.get_alpha() for p in ax.patches}, w[layout.scale == k]
        assert all(abs(a - .9*w[p]/own.max()) < 1e-4 for p, a in alpha.items())
        assert set(alpha) == set(((layout.scale == k)
                                  & (w > 1e-4*own.max())).nonzero().flatten().tolist())
        assert (f'{own.sum():.0%}' in ax.get_title()
                and f'{(layout.scale == k).float().mean():.0%} of the tokens' in ax.get_title())
    heat = torch.zeros(8, 8)
    for y in range(8):
        for x in range(8):
            for p, (x0, y0, x1, y1) in enumerate(layout.boxes.tolist()):
                if x0 <= x < x1 and y0 <= y < y1: heat[y, x] += w[p]/((x1 - x0)*(y1 - y0))
    assert np.allclose(fig.axes[-2].images[0].get_array(), 100*heat, atol=1e-4)

def test_show_provenance_refuses():
    with pytest.raises(IndexError,
                       match='token is 9: give 0 for the class token, or a later token, 1 to 8'):
        show_provenance(untidy(), picture(8), 9)
    with pytest.raises(ValueError, match='the class token takes no part in mixing'):
        show_provenance(untidy(), picture(8), attention=False)

# the schedule, answers, curves

@pytest.mark.parametrize('c', [1, 3])
def test_the_schedule_shows_what_the_augmentation_does(c):
    img, schedule = picture(16, c), AugmentSchedule(10, .8, in_chans=c)
    fig = show_schedule(img, schedule, epochs=[0, 5, 9], n=4, seed=3)
    rows = np.array(fig.subfigs[1].axes).reshape(3, 4)
    for e, row in zip((0, 5, 9), rows):
        want = Augment(16, schedule,
                       normalize=False).set_epoch(e)(img.expand(4, -1, -1, -1),
                                                     torch.Generator().manual_seed(3))
        for ax, w in zip(row, want):
            assert np.allclose(np.asarray(ax.images[0].get_array())*255, w.movedim(0, 2).squeeze(2),
                               atol=1e-3)
        assert row[0].get_ylabel() == f'epoch {e}\njitter {schedule(e)[0]:.2f}'
    curves = fig.subfigs[0].axes[0].lines[:3]
    assert [l.get_label() for l in curves] == ['jitter', 'grey', 'solarise']
    for i, l in enumerate(curves):
        assert np.allclose(l.get_ydata(), [schedule(e)[i] for e in range(10)])

@pytest.mark.parametrize('mode', AugmentSchedule.modes)
def test_a_recipe_and_its_schedule_are_the_same(mode):
    recipe = Recipe(augment='paper', augment_schedule=mode, epochs=20, p0=.7, image_size=16)
    one, two = (show_schedule(picture(16, 3), r) for r in (recipe, AugmentSchedule(20, .7, mode)))
    for a, b in zip(one.subfigs[0].axes[0].lines, two.subfigs[0].axes[0].lines):
        assert np.allclose(a.get_ydata(), b.get_ydata())
    assert len(one.subfigs[1].axes) == len(two.subfigs[1].axes) == 5*6

def test_the_crops_drawn_are_the_recipes(monkeypatch):
    from dems_nb import figures
    real, areas = figures.Augment, []
    monkeypatch.setattr(figures, 'Augment', lambda *a: areas.append(a[3]) or real(*a))
    for crop in (None, (.9, 1.)):
        show_schedule(picture(16, 3), Recipe(augment='paper', image_size=16, crop_scale=crop),
                      epochs=[0], n=1)
    assert areas == [(.2, 1.), (.9, 1.)]

def test_a_recipe_without_a_schedule_is_told_so():
    with pytest.raises(ValueError, match="augment is 'light', which has no schedule: give one with "
                                         "augment='paper'"):
        show_schedule(picture(32), Recipe())
    with pytest.raises(ValueError, match='epoch is 20 of 20'):
        show_schedule(picture(32, 3), AugmentSchedule(20), epochs=[20])

@pytest.mark.parametrize('worst', [False, True])
def test_predictions_say_what_the_model_says(worst):
    torch.manual_seed(1)
    model, some = create_model('dems_nano', in_chans=1).eval(), sample_images(12)
    x, y = some.x, some.y
    with torch.no_grad(): prob = model((x/255 - .5)/.5).softmax(1)
    order = prob[range(12), y].argsort().tolist() if worst else list(range(12))
    fig = show_predictions(model, x, y, fashion_classes, n=7, worst=worst)
    for ax, i in zip(fig.axes, order[:7]):
        given = prob[i].argmax()
        true = '' if given == y[i] else f'\nis: {fashion_classes[y[i]]}'
        assert ax.get_title() == f'{fashion_classes[given]} {prob[i, given]:.0%}{true}'
        assert np.allclose(ax.images[0].get_array(), x[i, 0]/255)
        assert matplotlib.colors.to_hex(
            ax.spines['top'].get_edgecolor()).upper() == SCALE_COLORS[0 if given == y[i] else 4]
    assert not any(ax.axison for ax in fig.axes[7:])

def test_history_and_confusion():
    runs = {'a': [(2., 1.9, .1), (1., 1.2, .5)], 'b': [(3., 2.9, .2)]}
    left, right = show_history(runs).axes
    assert left.lines[1].get_ydata().tolist() == [1.9, 1.2]
    assert right.lines[1].get_ydata().tolist() == [20.]
    assert [t.get_text() for t in left.get_legend().get_texts()] == ['a', 'b']
    class E: target, predicted = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1])
    ax, = show_confusion(E, ['cat', 'dog']).axes
    assert [t.get_text() for t in ax.texts] == ['50%', '50%', '0%',
                                                '100%'] and ax.get_xlabel() == 'given'

def test_small_png_keeps_the_colours_of_the_scales():
    fig = show_sequence(TokenLayout())
    for colors in (20, 96):
        a = (np.array(
            Image.open(io.BytesIO(figures._small_png(fig, colors=colors))).convert('RGB')))
        for c in SCALE_COLORS[:4]:
            assert (a == [round(255*v) for v in matplotlib.colors.to_rgb(c)]).all(2).any(), c

@pytest.mark.cuda
def test_everything_works_for_a_model_on_the_gpu():
    model, img = untidy().cuda(), picture(8)
    x = figures._model_input(model, img)
    assert mixing_weights(model, x)[0].device.type == 'cuda' and attention_weights(
        model, x)[0].device.type == 'cuda'
    cpu = untidy()
    assert torch.allclose(provenance(model, img, attention=True),
                          provenance(cpu, img, attention=True), atol=1e-4)
    assert torch.allclose(provenance(model.half(), img), provenance(cpu, img), atol=1e-2)
    for f in (lambda m: show_mixing(m, img), lambda m: show_provenance(m, img),
              lambda m: show_predictions(m, img[None], [0], range(10))):
        f(model.float())
