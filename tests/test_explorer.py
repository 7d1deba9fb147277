"The explorer in a browser: compared with PyTorch, used as readers do; it asks the network nothing."
import base64, html, io, json, re, numpy as np, pytest, torch
from contextlib import contextmanager
from PIL import Image
from dems_nb.classifier import Classifier
from dems_nb.data import fashion_classes, sample_images
from dems_nb.model import DEMSViT, create_model
from dems_nb.studies import FewerScalesViT, PoolingViT
from dems_nb.viewer import answer_without, explore, view_tokens
from dems_nb.figures import _model_input
from dems_nb.visualize import attention_weights, mixing_weights, provenance
from dems_nb.weights import load_bundled
from draw_images import NoBrowser, chromium
from marks import weekly
from test_browser import INJECT, lit, rect
from torch import nn

@pytest.fixture(scope='module')
def browser():
    try:
        with chromium() as b: yield b
    except NoBrowser as e: pytest.skip(f'SKIPPED: {e}')

@contextmanager
def watched(browser):
    "A page: any request but of data and of files that it holds, and any error, fails the test."
    wrong = []
    context = browser.new_context(viewport=dict(width=1280, height=900), color_scheme='light')
    page = context.new_page()
    def asked(r):
        if not re.match('data:|blob:|about:|file:.*[.]html', r.url): wrong.append(r.url)
    page.on('request', asked)
    page.on('websocket', lambda w: wrong.append(w.url))
    page.on('pageerror', lambda e: wrong.append(str(e)))
    page.on('dialog', lambda d: (wrong.append(d.message), d.dismiss()))
    yield page
    context.close()
    assert not wrong, wrong

@pytest.fixture
def page(browser):
    with watched(browser) as page: yield page

def untidy(model, by=.05):
    "A model whose D and attention are not uniform."
    torch.manual_seed(1)
    with torch.no_grad():
        for p in model.parameters(): p.add_(by*torch.randn_like(p))
    return model.eval()

other_sizes = dict(image_size=48, patch_sizes=(3, 6, 12, 24), in_chans=3, n_classes=7,
                   dim=36, depth=4, heads=3, mlp_ratio=2.5, mix_before=(2, 4), n_mixed=(6, 5))
plain = lambda **kw: untidy(create_model('vit_nano', in_chans=1, **kw))
MODELS = {'bundled': load_bundled, 'vit_nano': plain, 'vit noise': lambda: plain(positions='noise'),
          'vit learned': lambda: plain(positions='learned'),
          'colour': lambda: untidy(create_model('dems_nano')),
          'other sizes': lambda: untidy(DEMSViT(**other_sizes))}
names = lambda model: [f'class {i}' for i in range(model.config['n_classes'])]

def open_explorers(page, *pages, body=''):
    page.set_content(f'<!doctype html><body {body}>' + '<hr>'.join(p.html for p in pages))
    return [page.locator('.dems-explorer').nth(i)
            for i in range(page.locator('.dems-explorer').count())]

@pytest.fixture(scope='module')
def bundled(): return load_bundled(), explore(load_bundled(), fashion_classes)

@pytest.fixture
def explorer(page, bundled): return open_explorers(page, bundled[1])[0]

@pytest.fixture(scope='module')
def steady(browser, bundled):
    "An explorer that refuses and stays as it is, for many tests: (page, explorer)."
    with watched(browser) as page:
        e, = open_explorers(page, bundled[1])
        do(e, 'keep')
        yield page, e

# what the page holds
def state(e): return e.evaluate('e => e.explorer.state')
def put(e, **change):
    e.evaluate('(e, c) => { e.explorer.state = {...e.explorer.state, ...c} }', change)
def said(e): return e.locator('.said').inner_text()
def do(e, name): e.locator(f'[data-do={name}]').click()
def floats(text): return torch.from_numpy(np.frombuffer(base64.b64decode(text), np.float32).copy())
PACK = '''a => { const bytes = new Uint8Array(a.buffer, a.byteOffset, a.byteLength), parts = [];
  for (let i = 0; i < bytes.length; i += 8192)
    parts.push(String.fromCharCode(...bytes.subarray(i, i + 8192)));
  return btoa(parts.join('')) }'''
def read(e, what): return floats(e.evaluate(f'e => ({PACK})(Float32Array.from({what}))'))
def pixels(e, model):
    c, S = model.config['in_chans'], model.layout.image_size
    return read(e, 'e.explorer.pixels').byte().view(c, S, S)
def logits(e): return read(e, 'e.explorer.trace.logits')
def coded(img): return base64.b64encode(img.contiguous().numpy().tobytes()).decode()
def near(a, b, eps=1e-4): return torch.allclose(a, b, atol=eps)
def answer(model, img):
    with torch.no_grad(): return model(_model_input(model, img))[0]

# every stage against PyTorch

def stages(model, pictures):
    "Everything on the way, as PyTorch has it, for a batch: {name: (batch, numbers)}."
    x = torch.cat([_model_input(model, img) for img in pictures])
    blocks, As, Ds = [], [], []
    def weigh(m, inp, out):
        q, k, _ = out.unflatten(-1, (3, model.config['heads'], -1)).permute(2, 0, 3, 1, 4)
        As.append((q @ k.mT / q.shape[-1]**.5).softmax(-1))
    hooks = [b.register_forward_hook(lambda m, inp, out: blocks.append(out)) for b in model.blocks]
    hooks += [b.attn.qkv.register_forward_hook(weigh) for b in model.blocks]
    hooks += [i.register_forward_hook(lambda m, inp, out: Ds.append(m.weights(inp[0])))
              for i in getattr(model, 'interactions', ())]
    with torch.no_grad(): found = dict(logits=model(x), sequence=model.sequence(x))
    for h in hooks: h.remove()
    for name, parts in (('block', blocks), ('attention', As), ('D', Ds)):
        found |= {f'{name} {k}': v for k, v in enumerate(parts, 1)}
    return {k: v.flatten(1) for k, v in found.items()}

RUN = f'''(e, pictures) => pictures.map(text => {{
  const t = e.explorer.run(Uint8Array.from(atob(text), c => c.charCodeAt(0)));
  const out = {{sequence: t.sequence, logits: t.logits}};
  t.blocks.forEach((b, k) => {{
    out[`block ${{k + 1}}`] = b.out;
    out[`attention ${{k + 1}}`] = b.attention; }});
  t.D.forEach((D, k) => {{ out[`D ${{k + 1}}`] = D; }});
  for (const k of Object.keys(out)) out[k] = ({PACK})(out[k]);
  return out; }})'''

three_scales = dict(other_sizes, image_size=24, patch_sizes=(3, 6, 12))

@pytest.mark.parametrize('name', ['bundled', 'other sizes',
                                  *weekly('vit_nano', 'vit noise', 'vit learned', 'colour',
                                           'three scales')])
def test_every_stage_is_pytorchs(page, name):
    """100 pictures and 20 of noise: the largest difference, in units of its stage's largest number.
    Of the model with tables of 341², 10 and 2."""
    model = MODELS[name]() if name in MODELS else untidy(DEMSViT(**three_scales))
    n = 2 if name == 'other sizes' else 20
    c, S = model.config['in_chans'], model.layout.image_size
    noise = torch.randint(0, 256, (n, c, S, S), dtype=torch.uint8)
    pictures = torch.cat([sample_images(5*n, S).x.expand(-1, c, -1, -1), noise])
    pages = dict(float=1e-5, half=1e-3)
    explorers = open_explorers(page, *(explore(model, names(model), precision=p) for p in pages))
    worst, largest = {p: {} for p in pages}, {}
    for part in pictures.split(20):
        want, sent = stages(model, part), [coded(img) for img in part]
        for k, v in want.items(): largest[k] = max(largest.get(k, 0), v.abs().max().item())
        for e, p in zip(explorers, pages):
            for i, got in enumerate(e.evaluate(RUN, sent)):
                assert got.keys() == want.keys()
                for k, v in want.items():
                    worst[p][k] = max(worst[p].get(k, 0),
                                      (floats(got[k]) - v[i]).abs().max().item())
    for p, eps in pages.items():
        off = {k: w/largest[k] for k, w in worst[p].items()}
        print(name, p, {k: f'{v:.1e}' for k, v in off.items()})
        assert max(off.values()) < eps, (p, off)

def test_the_comparison_notices(page, bundled):
    "A weight that is off by a hundredth shows."
    model = load_bundled()
    with torch.no_grad(): model.blocks[3].mlp[2].bias[5] += .01
    e, = open_explorers(page, bundled[1])
    want = stages(model, sample_images(1).x)
    got = e.evaluate(RUN, [coded(sample_images(1).x[0])])[0]
    assert near(floats(got['block 3']), want['block 3'][0])
    assert not near(floats(got['block 4']), want['block 4'][0], 1e-3)

@pytest.mark.parametrize('name', ['bundled', *weekly(*[n for n in MODELS if n != 'bundled'])])
def test_without_tokens_it_answers_as_pytorch_does(page, name):
    model = MODELS[name]()
    layout = model.layout
    shape = (model.config['in_chans'], layout.image_size, layout.image_size)
    img = torch.randint(0, 256, shape, dtype=torch.uint8)
    e, = open_explorers(page, explore(model, names(model), [img], precision='float'))
    per, n = layout.tokens_per_region, layout.n_tokens
    cuts = [[], [0], [n - 1], torch.randperm(n)[:n//2].tolist(), list(range(per)),
            list(range(n - 1)), list(range(n))]
    for cut in cuts:
        put(e, cut=cut)
        assert near(logits(e), answer_without(model, img, cut),
                    1e-4*(1 + answer(model, img).abs().max().item())), cut

def test_answer_without_is_a_shorter_sequence():
    "By hand, for a model without interactions: the tokens leave the sequence, and no more."
    model, img = MODELS['vit_nano'](), sample_images(1).x[0]
    with torch.no_grad():
        x = model.sequence(_model_input(model, img))[:, [0, *range(4, 65)]]
        for b in model.blocks: x = b(x)
        want = model.head(model.norm(x[:, 0]))[0]
    model.train()
    assert near(answer_without(model, img, [0, 1, 2]), want, 1e-5)
    assert near(answer_without(nn.DataParallel(model), img, [0, 1, 2]), want, 1e-5)
    view_tokens(img, model.layout, nn.DataParallel(model))          # unwrapped
    assert model.training
    assert model.blocks[0].training
    with pytest.raises(IndexError, match='position 64 is out of range'):
        answer_without(model, img, [64])

# the questions

def test_what_lights_up_is_what_python_says(page):
    model = MODELS['other sizes']()
    img = torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8)
    x, layout = _model_input(model, img), model.layout
    e, = open_explorers(page, explore(model, names(model), [img], precision='float'))
    D, A = mixing_weights(model, x), attention_weights(model, x)
    stage = lambda s: read(e, f'e.explorer.found.stages[{s}]')[1:]
    put(e, mode='kin', token=[0, 7])
    assert stage(0).nonzero().flatten().tolist() == layout.linked(7).tolist()
    put(e, mode='mixing', token=[1, 3*1 + 4])
    assert near(stage(0)[85:170], D[0][1, :, 1]) and not stage(0)[:85].any()
    put(e, mode='mixing', token=[2, 5*2 + 3])
    assert near(stage(1)[12:18], D[1][2, :, 3])
    put(e, mode='mixing', token=[0, 90])
    assert near(stage(1)[6:12], D[0][1, 5])
    for block, head, token in ((1, 2, [0, 17]), (3, -1, [1, -1]), (4, 0, [2, 19])):
        put(e, mode='attention', block=block, head=head, token=token)
        want = A[block - 1][head] if head >= 0 else A[block - 1].mean(0)
        assert near(read(e, f'e.explorer.found.stages[{token[0]}]'), want[token[1] + 1])
    put(e, mode='attention', block=3, head=-1, token=[1, 4])
    P = provenance(model, img, blocks=3)
    assert near(read(e, 'e.explorer.found.pixels'), A[2].mean(0)[5] @ P)
    for s, blocks in ((1, 3), (2, 4)):
        put(e, mode='provenance', attention=False, token=[s, 9])
        assert near(read(e, 'e.explorer.found.pixels'), provenance(model, img, blocks=blocks)[10])
    for k in (1, 3, 4):
        put(e, mode='provenance', attention=True, block=k, token=[[0, 1, 2][(k > 1) + (k > 3)], -1])
        assert near(read(e, 'e.explorer.found.pixels'),
                    provenance(model, img, blocks=k, attention=True)[0])

def test_the_panels_show_these_weights_and_the_legend_their_size(explorer, bundled):
    model, img = bundled[0], sample_images(10).x[9]
    put(explorer, mode='mixing', token=[1, 27])
    want = mixing_weights(model, _model_input(model, img))[0][3, :, 3]
    for t in range(21):
        assert abs(float(rect(explorer, 63 + t).get_attribute('data-w')) - want[t]) < 1e-5
        assert abs(float(rect(explorer, 63 + t).get_attribute('fill-opacity')) - .78*want[t]
                   /want.max()) < 1e-4
    assert f'0 to {100*want.max():.1f} %' in explorer.locator('.legend').inner_text()
    shares = [float(s.rstrip(' %')) for s in explorer.locator('.share').all_inner_texts()]
    assert abs(sum(shares) - 100) < 1e-6
    for k, s in enumerate(shares):
        assert abs(s - 100*want[model.layout.scale[63:] == k].sum()) < .11
    parts = [float(v) for v in re.findall(r'([\d.]+) %', said(explorer))]
    assert parts == shares and said(explorer).startswith('Mixed token 3 of region 3 is made of')

def test_pointing_shows_and_clicking_chooses(page, explorer, bundled):
    layout = bundled[0].layout
    rect(explorer, 7).hover()
    assert said(explorer).startswith('Token 7, the 4-pixel patch')
    assert state(explorer)['token'] == [0, 79]
    page.mouse.move(2, 2)
    assert said(explorer).startswith('Token 79')
    rect(explorer, 40).click()
    assert state(explorer)['token'] == [0, 40]
    lit_now = explorer.evaluate("e => [...e.shadowRoot.querySelectorAll('.panel "
                                "rect[data-w]')].map(r => +r.dataset.i).sort((a, b) => a - b)")
    assert lit_now == layout.linked(40).tolist()
    explorer.locator('.strip rect[data-kind=mixed1][data-i="9"]').click()
    explorer.locator('input[value=mixing]').check(force=True)
    assert state(explorer)['token'] == [1, 9] and state(explorer)['mode'] == 'mixing'
    explorer.locator('.matrices rect[data-kind=mixed2][data-i="2"]').click()
    assert state(explorer)['token'] == [2, 4*1 + 2]  # the column, in the region that was shown
    explorer.locator('input[value=attention]').check(force=True)
    assert state(explorer)['block'] == 5
    explorer.locator('select[name=block]').select_option(value='1')
    explorer.locator('select[name=head]').select_option(index=2)
    assert [state(explorer)[k] for k in ('block', 'head', 'token')] == [1, 1, [0, -1]]

# input

def at(explorer, x, y):
    box = explorer.locator('.easel canvas').bounding_box()
    return box['x'] + box['width']*x/32, box['y'] + box['height']*y/32

def drag(page, explorer, *places):
    page.mouse.move(*at(explorer, *places[0])); page.mouse.down()
    for p in places[1:]: page.mouse.move(*at(explorer, *p), steps=4)
    page.mouse.up()

def test_draw_erase_undo_invert(page, explorer, bundled):
    model = bundled[0]
    do(explorer, 'clear')
    assert not pixels(explorer, model).any()
    assert near(logits(explorer), answer(model, torch.zeros(1, 32, 32)))
    drag(page, explorer, (4.5, 20.5), (27.5, 20.5))
    drawn = pixels(explorer, model)
    assert (drawn[0, 20, 5:27] == 255).all() and not drawn[0, :17].any() and not drawn[0, 24:].any()
    assert near(logits(explorer), answer(model, drawn))
    thin = (drawn > 0).sum()
    explorer.locator('.thick input').fill('5')
    do(explorer, 'erase')
    drag(page, explorer, (16.5, 10.5), (16.5, 30.5))
    erased = pixels(explorer, model)
    assert erased[0, 20, 16] == 0
    assert erased[0, 20, 6] == 255
    assert near(logits(explorer), answer(model, erased))
    do(explorer, 'undo'); assert pixels(explorer, model).equal(drawn)
    do(explorer, 'draw')
    drag(page, explorer, (4.5, 20.5), (27.5, 20.5))
    assert (pixels(explorer, model) > 0).sum() > thin
    do(explorer, 'undo'); do(explorer, 'undo'); do(explorer, 'undo')
    assert pixels(explorer, model).equal(sample_images(10).x[9]) and state(explorer)['picture'] == 9
    do(explorer, 'invert'); assert pixels(explorer, model).equal(255 - sample_images(10).x[9])

def test_it_answers_while_the_pointer_is_down(page, explorer, bundled):
    do(explorer, 'clear')
    page.mouse.move(*at(explorer, 8, 8)); page.mouse.down()
    for y in (12, 20, 28):
        page.mouse.move(*at(explorer, 8, y), steps=3)
        assert near(logits(explorer), answer(bundled[0], pixels(explorer, bundled[0])))
    page.mouse.up()

def test_choose_and_shift(page, explorer, bundled):
    model = bundled[0]
    explorer.locator('.samples button').nth(3).click()
    img = sample_images(10).x[3]
    assert pixels(explorer, model).equal(img) and near(logits(explorer), answer(model, img))
    assert explorer.locator('.samples button').nth(3).get_attribute('aria-pressed') == 'true'
    explorer.locator('.easel canvas').focus()
    for key in ('ArrowRight', 'ArrowRight', 'ArrowDown'): page.keyboard.press(key)
    moved = torch.zeros_like(img)
    moved[:, 1:, 2:] = img[:, :-1, :-2]
    assert state(explorer)['shift'] == [2, 1]
    assert pixels(explorer, model).equal(moved)
    assert near(logits(explorer), answer(model, moved))
    assert explorer.locator('.track u').first.is_visible()  # where the bars were before the shift
    for name in ('left', 'left', 'up'): explorer.get_by_label(f'shift {name} by a pixel').click()
    # nothing was lost at the border
    assert state(explorer)['shift'] == [0, 0] and pixels(explorer, model).equal(img)
    page.keyboard.press('Tab')
    explorer.locator('.easel canvas').focus()
    page.keyboard.press('Control+z'); assert state(explorer)['shift'] == [0, 1]

def png(a, kind='PNG', **kw):
    buffer = io.BytesIO()
    Image.fromarray(a).save(buffer, kind, **kw)
    return base64.b64encode(buffer.getvalue()).decode()

GIVE = '''(e, [how, name, type, text]) => {
  const file = new File([Uint8Array.from(atob(text), c => c.charCodeAt(0))], name, {type});
  const data = new DataTransfer();
  data.items.add(file);
  const on = e.shadowRoot.querySelector('.easel canvas');
  const to = {bubbles: true, composed: true, cancelable: true};
  if (how == 'drop') on.dispatchEvent(new DragEvent('drop', {...to, dataTransfer: data}));
  else on.dispatchEvent(new ClipboardEvent('paste', {...to, clipboardData: data})); }'''

def give(page, e, text, how='drop', name='a.png', type='image/png'):
    before = e.evaluate('e => JSON.stringify(e.explorer.state)')
    e.evaluate(GIVE, [how, name, type, text])
    page.wait_for_function('''([e, before]) => JSON.stringify(e.explorer.state) != before ||
        e.shadowRoot.querySelector('.problem').textContent''', arg=[e.element_handle(), before])
    return e.locator('.problem').text_content()

@pytest.mark.parametrize('how', ['drop', 'paste', 'choose'])
def test_a_file_of_the_models_size_comes_as_it_is(page, explorer, bundled, how):
    img = torch.randint(0, 256, (1, 32, 32), dtype=torch.uint8)
    if how == 'choose':
        explorer.locator('input[type=file]').set_input_files(
            dict(name='a.png', mimeType='image/png', buffer=base64.b64decode(png(img[0].numpy()))))
        page.wait_for_function(
            "typeof document.querySelector('.dems-explorer').explorer.state.picture == 'string'")
    else: assert give(page, explorer, png(img[0].numpy()), how) == ''
    assert pixels(explorer, bundled[0]).equal(img)
    assert near(logits(explorer), answer(bundled[0], img))

@pytest.mark.parametrize('fit', ['tensor', 'whole', 'middle'])
@pytest.mark.parametrize('name', ['bundled', 'colour'])
def test_a_file_of_another_size_comes_by_the_models_rule(page, name, fit):
    model = MODELS[name]()
    model.notes = dict(picture=fit)
    rule = Classifier(model, device='cpu')
    e, = open_explorers(page, explore(model, names(model)))
    # the last is larger than what the page takes in: the browser makes it smaller first
    for shape, eps in (((64, 90), .1), ((300, 200), .1), ((20, 31), .1), ((1100, 1500), 1)):
        rough = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
        a = np.array(Image.fromarray(rough).resize(shape[::-1], Image.Resampling.BICUBIC))
        assert give(page, e, png(a)) == ''
        off = (pixels(e, model).float() - rule.picture(a).float()).abs()
        assert off.mean() <= eps and off.max() <= (1 if eps < 1 else 8), (shape, off.max())

def test_a_colour_profile_changes_nothing(page):
    "Neither does it in Python. This one says that red is blue."
    from PIL.ImageCms import ImageCmsProfile, createProfile
    profile = ImageCmsProfile(createProfile('sRGB')).tobytes()
    swapped = profile.replace(b'rXYZ', b'?').replace(b'bXYZ', b'rXYZ').replace(b'?', b'bXYZ')
    assert swapped != profile and len(swapped) == len(profile)
    model = MODELS['colour']()
    e, = open_explorers(page, explore(model, names(model)))
    a = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    text = png(a, icc_profile=swapped)
    assert give(page, e, text) == ''
    assert pixels(e, model).equal(torch.from_numpy(a).permute(2, 0, 1))
    rule, file = Classifier(model, device='cpu'), io.BytesIO(base64.b64decode(text))
    assert rule.picture(Image.open(file)).equal(torch.from_numpy(a).permute(2, 0, 1))

def test_colour_is_drawn_in_colour(page):
    model = MODELS['colour']()
    e, = open_explorers(page, explore(model, names(model), precision='float'))
    do(e, 'clear')
    e.locator('input[type=color]').fill('#20c040')
    drag(page, e, (10.5, 10.5), (20.5, 10.5))
    assert pixels(e, model)[:, 10, 15].tolist() == [0x20, 0xc0, 0x40]
    assert near(logits(e), answer(model, pixels(e, model)))

def test_cut_out_and_put_back(page, explorer, bundled):
    model, img = bundled[0], sample_images(10).x[9]
    layout = model.layout
    rect(explorer, 83).click()
    do(explorer, 'cut')
    assert state(explorer)['cut'] == [83]
    assert near(logits(explorer), answer_without(model, img, [83]))
    assert 'is cut out' in said(explorer)
    assert explorer.locator('.panel path.gone').nth(2).get_attribute('d').startswith('M16 16')
    do(explorer, 'cut'); assert state(explorer)['cut'] == []
    do(explorer, 'cut-kin')
    gone = sorted([83, *layout.linked(83).tolist()])
    assert state(explorer)['cut'] == gone
    assert near(logits(explorer), answer_without(model, img, gone))
    explorer.locator('.strip rect[data-kind=mixed1][data-i="24"]').click()
    assert 'is not there' in said(explorer)
    do(explorer, 'back-in'); assert near(logits(explorer), answer(model, img))
    put(explorer, mode='provenance', attention=True, block=6, token=[2, -1])
    do(explorer, 'cut-lit')
    most = provenance(model, img, attention=True)[0, 1:].topk(10).indices.sort().values.tolist()
    assert state(explorer)['cut'] == most
    assert near(logits(explorer), answer_without(model, img, most))
    bars = [float(v)
            for v in explorer.evaluate("e => [...e.shadowRoot.querySelectorAll('.answer "
                                       "li')].map(l => l.dataset.p)")]
    assert near(torch.tensor(bars), answer_without(model, img, most).softmax(0), 1e-5)

# keys

def focused(page):
    return page.evaluate("(() => { const e = document.activeElement?.shadowRoot?.activeElement; "
                         "return e && (e.dataset.i ? [e.dataset.kind, +e.dataset.i] : e.tagName) "
                         "})()")

def test_all_can_be_done_with_keys(page, explorer, bundled):
    layout, stops = bundled[0].layout, []
    page.keyboard.press('Tab')
    for _ in range(60):
        stops.append(str(focused(page)))
        page.keyboard.press('Tab')
        if focused(page) is None: break
    for what in ('BUTTON', 'CANVAS', 'INPUT'): assert what in stops
    assert len([s for s in stops if s.startswith('[')]) == 3 + 3 + 2  # a stop in each drawing
    rect(explorer, 79).focus()
    for key, step in (('ArrowUp', (0, -8)), ('ArrowLeft', (-8, 0)), ('ArrowDown', (0, 8)),
                      ('ArrowRight', (8, 0))):
        before = layout.boxes[focused(page)[1]]
        page.keyboard.press(key)
        assert (layout.boxes[focused(page)[1]] - before).tolist() == [*step, *step]
        assert state(explorer)['token'] == [0, focused(page)[1]]
    page.keyboard.press('+'); assert focused(page) == ['token', 83]
    # at the border nothing happens
    page.keyboard.press('ArrowRight'); assert focused(page) == ['token', 83]
    page.keyboard.press('x'); assert state(explorer)['cut'] == [83]
    page.keyboard.press('x'); assert state(explorer)['cut'] == []
    page.keyboard.press('-'); assert layout.scale[focused(page)[1]] == 1
    explorer.locator('.strip rect[data-kind=mixed1][data-i="0"]').focus()
    page.keyboard.press('ArrowLeft'); assert focused(page) == ['mixed1', -1]
    page.keyboard.press('ArrowRight')
    page.keyboard.press('ArrowDown')
    assert focused(page) == ['mixed1', 8] and state(explorer)['token'] == [1, 8]
    explorer.locator('input[value=kin]').focus()
    page.keyboard.press('ArrowRight'); assert state(explorer)['mode'] == 'mixing'

def test_everything_has_a_name_that_is_read_aloud(explorer):
    do(explorer, 'tour'); do(explorer, 'keep')
    unnamed = explorer.evaluate('''e => {
      const kinds = 'button, input, select, textarea, a, canvas, svg, [role=button], section, img';
      const name = x => x.getAttribute('aria-label') || x.textContent.trim() || x.alt
        || x.closest('label')?.textContent.trim();
      return [...e.shadowRoot.querySelectorAll(kinds)].filter(x =>
        x.getAttribute('aria-hidden') != 'true' && !name(x)).map(x => x.outerHTML) }''')
    assert not unnamed
    assert explorer.locator('[role=status][aria-live=polite]').count() == 1
    assert explorer.locator('[role=alert]').count() == 1

# the tour

def test_the_tour_sets_the_page_and_says_what_is_there(page, explorer, bundled):
    model, img = bundled[0], sample_images(10).x[9]
    do(explorer, 'clear')  # it begins from its own picture
    do(explorer, 'tour')
    D, seen = mixing_weights(model, _model_input(model, img)), []
    for k in range(1, 7):
        logits(explorer)  # a cut is thought through at the next frame: now
        assert state(explorer)['step'] == k
        seen.append((explorer.locator('.tour .title').inner_text(),
                     explorer.locator('.tour p').inner_text(), state(explorer)))
        assert not re.search('undefined|NaN|null', seen[-1][1])
        if k < 6: do(explorer, 'next')
    assert 'the heel of a boot' in seen[0][1]
    assert seen[0][2]['token'] == [0, 83]
    assert '84 tokens' in seen[0][1]
    top = D[0][3, :, seen[2][2]['token'][1] - 24].max()
    assert seen[2][2]['mode'] == 'mixing'
    assert f'{100*top:.1f} %' in seen[2][1]
    assert '21 of each region' in seen[2][1]
    assert seen[3][2]['token'][0] == 2 and seen[4][2]['attention']
    P = provenance(model, img, attention=True)[0, 1:]
    named = P.masked_fill(model.layout.scale != 0, -1).topk(10).indices.sort().values.tolist()
    assert sorted(seen[5][2]['cut']) == named
    before, after = answer(model, img).softmax(0)[9], answer_without(model, img,
                                                                     named).softmax(0)[9]
    assert f'from {100*before:.1f} % to {100*after:.1f} %' in seen[5][1]
    do(explorer, 'back'); assert state(explorer)['step'] == 5
    page.keyboard.press('Escape')
    assert state(explorer)['step'] == 0 and not explorer.locator('.tour').is_visible()

def test_what_the_tour_says_stays_true(page, explorer, bundled):
    "Pointing changes nothing; another picture or cut ends what a step claims, and it comes back."
    text = lambda: explorer.locator('.tour p').inner_text()
    again = explorer.locator('[data-do=again]')
    do(explorer, 'tour'); do(explorer, 'next'); do(explorer, 'next')
    third = text()
    assert '0.0 %' not in third and not again.is_visible()
    explorer.evaluate('''e => { e.said = [];
      new MutationObserver(() => e.said.push(1)).observe(e.shadowRoot.querySelector('.tour .text'),
        {subtree: true, childList: true, characterData: true}) }''')
    for i in (0, 40, 83):
        rect(explorer, i).hover()
        assert text() == third
    page.mouse.move(2, 2)
    assert explorer.evaluate('e => e.said.length') == 0    # nothing that would be read aloud
    rect(explorer, 40).click()
    assert text() == third and again.is_visible()
    for _ in range(3): do(explorer, 'next')
    logits(explorer)
    last, own = text(), state(explorer)
    assert 'are cut out' in last and not again.is_visible()
    def draw(): drag(page, explorer, (5, 5), (20, 20))
    for change in (lambda: do(explorer, 'back-in'), draw, lambda: put(explorer, shift=[1, 0]),
                   lambda: explorer.locator('.samples button').nth(2).click()):
        change()
        logits(explorer)
        assert 'are cut out' not in text() and '%' not in text()
        assert 'no longer the tour' in text()
        do(explorer, 'again')
        logits(explorer)
        assert text() == last and state(explorer) == own and not again.is_visible()

@pytest.mark.parametrize('name', ['vit_nano', *weekly('colour', 'other sizes')])
def test_the_tour_of_another_model_has_six_steps_too(page, name):
    model = MODELS[name]()
    e, = open_explorers(page, explore(model, names(model)))
    regions = 'a row of patches' if name.startswith('vit') else 'a region'
    assert f'each row is {regions}' in e.locator('.sequence').inner_text()
    do(e, 'tour')
    for k in range(1, 7):
        logits(e)  # a cut is thought through at the next frame: now
        assert e.locator('.tour .title').inner_text().startswith(f'{k} of 6')
        assert not re.search('undefined|NaN', e.locator('.tour p').inner_text() + said(e))
        if k < 6: do(e, 'next')

# save and load

def test_a_state_comes_back_by_text_and_by_link(page, bundled, tmp_path):
    file = bundled[1].save(tmp_path/'explorer.html')
    page.goto(file.as_uri())
    e = page.locator('.dems-explorer')
    do(e, 'clear'); drag(page, e, (8, 8), (24, 20))
    put(e, mode='attention', block=3, head=1, token=[1, 5], cut=[3, 77])
    do(e, 'keep')
    text, link = e.locator('textarea').input_value(), e.locator('a.link').get_attribute('href')
    assert json.loads(text) == state(e)
    want = state(e), logits(e)
    do(e, 'reset'); assert state(e)['cut'] == []
    e.locator('textarea').fill(text); do(e, 'load')
    assert state(e) == want[0] and near(logits(e), want[1], 0)
    other = page.context.new_page()
    other.goto(link)
    assert state(other.locator('.dems-explorer')) == want[0]
    assert near(logits(other.locator('.dems-explorer')), want[1], 0)
    again = explore(bundled[0], fashion_classes, state=want[0])
    page.set_content(again.html)
    assert state(page.locator('.dems-explorer')) == want[0]

def test_a_second_link_in_the_same_tab_is_followed(page, bundled, tmp_path):
    file = bundled[1].save(tmp_path/'explorer.html')
    page.goto(file.as_uri())
    e, links = page.locator('.dems-explorer'), []
    do(e, 'keep')
    for change in (dict(picture=3, token=[0, 5]), dict(picture=4, token=[1, 2], cut=[7])):
        put(e, **change)
        e.locator('.samples button').nth(change['picture']).click()
        links.append((e.locator('a.link').get_attribute('href'), state(e)))
    for link, want in (*links, *links):
        page.goto(link)                                         # only what is behind # differs
        page.wait_for_function('''want => JSON.stringify(document.querySelector('.dems-explorer')
            .explorer.state.token) == JSON.stringify(want.token)''', arg=want)
        assert state(e) == want
    page.evaluate("location.hash = location.hash.slice(0, -8)")
    page.wait_for_function("""document.querySelector('.dems-explorer').shadowRoot
        .querySelector('.problem').textContent""")
    assert state(e) == links[1][1]

def test_the_view_is_saved_as_a_picture(page, explorer):
    put(explorer, mode='mixing', token=[1, 27], cut=[63])
    do(explorer, 'keep')
    page.wait_for_function(
        "document.querySelector('.dems-explorer').shadowRoot.querySelector('.keep "
        "img').naturalWidth > 0")
    svg = explorer.evaluate("async e => await (await "
                            "fetch(e.shadowRoot.querySelector('a.svg').href)).text()")
    assert svg.startswith('<svg')
    assert svg.count('<image') == 3
    assert 'Ankle boot' in svg
    assert 'Mixed token 3' in svg
    assert '<script' not in svg
    picture = (Image.open(
        io.BytesIO(base64.b64decode(
            explorer.locator('a.png').get_attribute('href').partition(',')[2]))))
    assert picture.width > 1000 and len(picture.convert('RGB').getcolors(10**6)) > 50
    assert explorer.locator('a.png').get_attribute('download').endswith('.png')

PENS = '''async e => { const text = await (await fetch(
    e.shadowRoot.querySelector('a.svg').href)).text();
  const doc = new DOMParser().parseFromString(text, 'image/svg+xml');
  return [...doc.querySelectorAll('g rect[stroke="#000"], g rect[stroke="#fff"][fill="none"]')]
    .map(r => parseFloat(r.closest('g').getAttribute('transform').split('scale(')[1])
      *r.getAttribute('stroke-width')) }'''

def test_in_the_saved_picture_a_frame_is_as_thick_at_every_side(page):
    pens = []
    for side in (32, 256):
        model = create_model('vit_nano', in_chans=1, image_size=side, patch_size=side//8, depth=1)
        e, = open_explorers(page, explore(model, names(model)))
        do(e, 'keep')
        page.wait_for_function("document.querySelector('.dems-explorer').shadowRoot"
                               ".querySelector('a.png').href")
        pens.append(e.evaluate(PENS))
    assert len(pens[0]) == 2 and min(pens[0]) > 2
    assert near(torch.tensor(pens[0]), torch.tensor(pens[1]), 1e-3)

# what does not belong

EVIL = '</script><script>alert(1)</script><img src=x onerror=alert(2)>“&amp;'

def test_hostile_names_are_only_text(page, bundled):
    classes = [EVIL, *fashion_classes[1:]]
    e, = open_explorers(page, explore(bundled[0], classes, title=EVIL))
    do(e, 'clear'); do(e, 'tour'); do(e, 'keep')
    page.wait_for_timeout(300)
    assert e.locator('h2').inner_text() == EVIL
    assert e.locator('.answer .name').first.get_attribute('title') == EVIL
    assert page.locator('script').count() == 1 and e.locator('img:not([alt])').count() == 0
    said = give(page, e,
                base64.b64encode(
                    b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(3)"/>').decode(),
                name=EVIL, type='image/svg+xml')
    assert said.startswith(f'“{EVIL[:60]}”') and 'give a PNG, JPEG' in said

@pytest.mark.parametrize('data, type',
                         [(b'', 'image/png'), (b'not a picture', 'image/png'),
                          (b'<html><script>alert(1)</script>', 'text/html'),
                          (b'\x89PNG\r\n\x1a\n' + bytes(40), 'image/png')])
def test_what_is_no_picture_is_told_what_is_accepted(steady, data, type):
    page, explorer = steady
    before = state(explorer)
    explorer.locator('.problem').evaluate("e => { e.textContent = '' }")
    assert re.search('“a.png” (is no picture|cannot be read).* give a PNG, JPEG, WebP',
                     give(page, explorer, base64.b64encode(data).decode(), type=type))
    assert state(explorer) == before

@pytest.mark.parametrize('wrong, because', [
    ('[]', 'it is no object'), ('{"picture": 99}', 'picture must be a whole number from 0 to 19'),
    ('{"picture": "AAAA"}', 'picture must have 1024 bytes'),
    ('{"picture": "é"}', 'picture is no base64'), ('{"token": [3, 0]}', 'the stage of token'),
    ('{"token": [1, 32]}', 'the place of token must be a whole number from -1 to 31'),
    ('{"cut": [84]}', 'cut must be a whole number from 0 to 83'),
    ('{"cut": {"length": 1e9}}', 'cut must be a list'),
    ('{"mode": "__proto__"}', 'mode must be one of'),
    ('{"block": 1.5}', 'block must be'), ('{"shift": [1e9, 0]}', 'shift must be'),
    ('nonsense', 'no state that can be loaded')])
def test_a_state_that_cannot_be_is_refused_by_a_sentence(steady, wrong, because):
    explorer = steady[1]
    before = state(explorer)
    explorer.locator('textarea').fill(wrong); do(explorer, 'load')
    assert because in explorer.locator('.problem').inner_text() and state(explorer) == before

def test_python_refuses_what_does_not_fit(bundled):
    model, classes = bundled[0], fashion_classes
    for args, kw, said in [((model, classes[:3]), {}, '3 class names and a model with 10 outputs'),
                           ((model, classes, []), {}, 'images is empty'),
                           ((model, classes, torch.zeros(2, 3, 32, 32)), {},
                            'an image has 3 channels and the model takes 1'),
                           ((model, classes, torch.zeros(2, 1, 28, 28)), {},
                            'does not fit this layout'),
                           ((model, classes, torch.zeros(2, 1, 32, 32), [1]), {},
                            '2 images and 1 labels'),
                           ((model, classes), dict(precision='double'),
                            "precision is 'double': give 'half' or 'float'"),
                           ((create_model('dems_small'), classes), {},
                            'weights of 59 MB and pictures of 0 MB make a page of more than 24'),
                           ((model, classes, torch.zeros(20_000, 1, 32, 32)), {},
                            'weights of 1 MB and pictures of 27 MB make .* fewer pictures')]:
        with pytest.raises(ValueError, match=said): explore(*args, **kw)
    large = load_bundled()
    with torch.no_grad(): large.head.bias[0] = 1e5
    with pytest.raises(ValueError, match="too large for half precision: give precision='float'"):
        explore(large, classes)
    with torch.no_grad(): large.head.bias[0] = float('nan')
    with pytest.raises(ValueError, match='weights that are no numbers'): explore(large, classes)
    config = {k: v for k, v in create_model('dems_nano').config.items() if k != 'arch'}
    for own in (PoolingViT(**config), FewerScalesViT(keep=1, **config)):
        for ask in (lambda: explore(own, classes),
                    lambda: answer_without(own, torch.zeros(3, 32, 32), [3])):
            with pytest.raises(ValueError, match=f'a {type(own).__name__} may do other things'):
                ask()

# where it lives

def test_it_is_small(bundled, tmp_path):
    assert len(bundled[1].html.encode()) < 1_200_000
    assert bundled[1].html == explore(load_bundled(), fashion_classes).html
    assert set(bundled[1]._repr_mimebundle_()) == {'text/html', 'image/png', 'text/plain'}
    links = re.sub(r'[\w+/=]{200,}', 'long',
                   bundled[1].html).replace('http://www.w3.org/2000/svg', '')
    assert not re.search(r'https?:|//[a-z]|src="(?!data:image/png;base64,long)', links)

def test_two_explorers_and_a_viewer_do_not_disturb_each_other(page, bundled):
    model = bundled[0]
    viewer, colour = view_tokens(sample_images(10).x[9], model.layout, model), MODELS['colour']()
    names_before = page.evaluate('Object.keys(window)')
    a, b, c = open_explorers(page, bundled[1], viewer, explore(colour, names(colour)), bundled[1])
    v = page.locator('.dems-viewer')
    everything = lambda skip: [(state(e), logits(e).tolist())
                               for e in (a, b, c) if e != skip] + [lit(v)]
    for e in (a, b, c):
        before = everything(e)
        do(e, 'clear'); rect(e, 5).click(); do(e, 'cut'); drag(page, e, (5, 5), (20, 20))
        assert everything(e) == before and state(e)['cut'] == [5]
    before = everything(None)[:-1]
    rect(v, 12).click()
    assert everything(None)[:-1] == before and lit(v) == model.layout.linked(12).tolist()
    assert set(page.evaluate('Object.keys(window)')) <= set(names_before)
    assert page.evaluate("document.querySelectorAll('style').length") == 0

@pytest.mark.parametrize('how', INJECT)
def test_however_the_html_gets_into_the_page(page, bundled, how):
    page.set_content('<body><div id="out"></div></body>')
    page.evaluate(f'html => {{ const e = document.getElementById("out"); {INJECT[how]} }}',
                  bundled[1].html)
    assert near(logits(page.locator('.dems-explorer')), answer(bundled[0], sample_images(10).x[9]))

def test_in_a_sandboxed_frame(page, bundled):
    page.set_content('<iframe sandbox="allow-scripts" style="width: 1000px; height: 1200px" '
                     f'srcdoc="{html.escape(bundled[1].html)}"></iframe>')
    e = page.frame_locator('iframe').locator('.dems-explorer')
    e.locator('.samples button').nth(2).click()
    do(e, 'keep')
    assert near(logits(e), answer(bundled[0], sample_images(10).x[2]))
    assert json.loads(e.locator('textarea').input_value())['picture'] == 2

CONTRAST = '''e => {
  const linear = v => v <= .04045 ? v/12.92 : ((v + .055)/1.055)**2.4;
  const light = color => {
    const [r, g, b] = color.match(/[0-9.]+/g).slice(0, 3).map(v => linear(v/255));
    return .2126*r + .7152*g + .0722*b };
  const style = name => getComputedStyle(e.shadowRoot.querySelector(name));
  const paper = light(style('.card').backgroundColor);
  return Math.min(...['.sub', '.words', '.note', 'h3', '.share', '.said'].map(name => {
    const ink = light(style(name).color);
    return (Math.max(ink, paper) + .05)/(Math.min(ink, paper) + .05) })) }'''

@pytest.mark.parametrize('theme', ['light', 'dark'])
@pytest.mark.parametrize('width', [320, 1280, *weekly(360, 768, 1800)])
def test_nothing_is_cut_off_and_all_can_be_read(page, bundled, width, theme):
    page.set_viewport_size(dict(width=width, height=900))
    page.emulate_media(color_scheme=theme)
    e, = open_explorers(page, bundled[1])
    do(e, 'tour'); do(e, 'keep')
    put(e, mode='provenance', attention=True, block=6, token=[2, -1], step=5)
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    assert e.get_attribute('data-theme') == theme
    for box in [x.bounding_box()
                for x in e.locator('button:visible, svg:visible, p:visible, select:visible').all()]:
        assert box is None or box['x'] >= 0 and box['x'] + box['width'] <= width + .5, box
    assert e.evaluate(CONTRAST) > 4.5

def test_without_scripts_there_is_a_still_picture(browser, bundled):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_content(bundled[1].html)
    assert page.locator('img').bounding_box()['width'] > 300
    assert 'A still picture' in page.inner_text('body')
    context.close()
