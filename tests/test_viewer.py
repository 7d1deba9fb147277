"The data of viewer and explorer, and what node can run; pages: test_browser, test_explorer."
import base64, io, json, re, shutil, subprocess, numpy as np, pytest, torch
from pathlib import Path
from PIL import Image
from dems_nb.classifier import Classifier
from dems_nb.data import fashion_classes, sample_images
from dems_nb.layout import TokenLayout
from dems_nb.model import create_model
from dems_nb.viewer import answer_without, explore, view_tokens
from dems_nb.figures import _model_input
from dems_nb.visualize import mixing_weights, provenance, show_correspondence
from dems_nb.weights import load_bundled
from test_visualize import closed, drawn, layouts, picture, untidy

assets = Path(__file__).parent.parent/'dems_nb/assets'
scripts = sorted(assets.glob('*.js'))

def data_of(html): return json.loads(re.search(r', DATA = (\{.*?\});\n', html, re.S)[1])

# scripts and styles

@pytest.mark.parametrize('file', scripts, ids=lambda p: p.name)
def test_scripts_are_well_formed(file):
    if not (node := shutil.which('node')): pytest.skip('SKIPPED: no node here')
    done = subprocess.run([node, '--check', str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

def test_the_check_of_scripts_notices(tmp_path):
    if not (node := shutil.which('node')): pytest.skip('SKIPPED: no node here')
    (tmp_path/'broken.js').write_text((assets/'page.js').read_text() + '\nconst = 1;\n')
    assert subprocess.run([node, '--check', str(tmp_path/'broken.js')],
                          capture_output=True).returncode

@pytest.mark.parametrize('file', [*scripts, *sorted(assets.glob('*.css'))], ids=lambda p: p.name)
def test_scripts_and_styles_read_well_and_stay_inside(file):
    text = file.read_text(encoding='utf-8')
    assert not (wide := [l for l in text.splitlines() if len(l) > 100]), wide
    assert '</' not in text and '<!--' not in text and '\t' not in text
    outside = (r'(?<![\w.])(fetch|XMLHttpRequest|WebSocket|eval|innerHTML|document\.write|import)\b'
               r'|https?://(?!www\.w3\.org/2000/svg)|url\(')
    assert not re.search(outside, text)

def in_node(expression, data=None, kind='explorer'):
    "What an expression gives in node, with the page's functions and its DATA."
    if not (node := shutil.which('node')): pytest.skip('SKIPPED: no node here')
    script = ''.join((assets/f'{name}.js').read_text(encoding='utf-8') for name in ('page', kind))
    script += (f'\nconst DATA = {json.dumps(data)};\n'
               f'process.stdout.write(JSON.stringify({expression}));')
    done = subprocess.run([node, '-'], input=script.encode(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)

RUN = 'Array.from(forward(makeNet(DATA), bytesOf(DATA.samples[DATA.start])).logits)'

@pytest.mark.parametrize('positions', ['sincos', 'noise', 'learned'])
def test_the_page_has_the_models_own_positions(positions):
    torch.manual_seed(0)
    model = create_model('vit_nano', in_chans=1, depth=2, positions=positions).eval()
    with torch.no_grad():
        model.tokenizer.pos.mul_(1 if positions == 'sincos' else 20)
        model.head.weight.normal_()
        want = model(_model_input(model, sample_images(10).x[9]))[0]
    got = torch.tensor(in_node(RUN, explore(model, range(10), precision='float').data))
    assert torch.allclose(got, want, atol=1e-3)

def test_the_tour_says_what_is_so_of_its_own_pictures_and_tokens():
    model, img = load_bundled(), sample_images(10).x[9]
    data = explore(model, fashion_classes, precision='float').data
    steps = in_node('tourSteps({net: makeNet(DATA), data: DATA})', data)
    assert len(steps) == 6 and all(type(s['text']) is str for s in steps)
    state, text = steps[2]['state'], steps[2]['text']
    D = mixing_weights(model, _model_input(model, img))[0]                # region token mixed
    assert f'{100*D[3, :, state["token"][1] - 24].max():.1f} %' in text
    cut, text = steps[5]['state']['cut'], steps[5]['text']
    p = [answer_without(model, img, some).softmax(0)[9] for some in ([], cut)]
    assert f'from {100*p[0]:.1f} % to {100*p[1]:.1f} %' in text and cut == sorted(cut)
    again = in_node('tourSteps({net: makeNet(DATA), data: DATA}).map(s => settled(makeNet(DATA), '
                    'JSON.parse(JSON.stringify(s.state))))', data)
    assert again == [s['state'] for s in steps]              # at its own state a step has not left

def test_the_tour_of_one_scale_speaks_of_no_other():
    data = explore(create_model('vit_nano', depth=2), range(10)).data
    texts = [s['text'] for s in in_node('tourSteps({net: makeNet(DATA), data: DATA})', data)]
    assert 'it has no kin' in texts[0] and 'position 63.' in texts[1]
    assert not re.search('its kin|larger|finest|fine to coarse', ' '.join(texts))

FIT = '''DATA.map(([rgba, width, height, size, grey, fit]) =>
    Array.from(fitted({data: bytesOf(rgba), width, height}, size, grey, fit)))'''

def test_the_page_prepares_a_picture_by_the_models_rule():
    rng, given, want = np.random.default_rng(0), [], []
    for fit in ('tensor', 'whole', 'middle'):
        for c, S, shape in ((1, 32, (40, 90)), (3, 32, (90, 50)), (3, 96, (20, 131)),
                            (1, 32, (32, 32)), (3, 48, (150, 48))):
            a = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
            model = create_model('vit_nano', in_chans=c, image_size=S, depth=1)
            model.notes = dict(picture=fit)
            assert explore(model, range(10)).data['fit'] == fit
            want.append(Classifier(model, device='cpu').picture(a).flatten().int())
            rgba = np.concatenate([a, np.full((*shape, 1), 255, np.uint8)], 2)
            given.append([base64.b64encode(rgba.tobytes()).decode(), *shape[::-1], S, c == 1, fit])
    for g, w, what in zip(in_node(FIT, given), want, given):         # some resize columns first
        assert (torch.tensor(g) - w).abs().float().mean() < .5, what[1:]

def test_a_model_that_says_nothing_of_its_pictures_has_the_classifiers_rule():
    model = create_model('vit_nano', depth=1)
    assert explore(model, range(10)).data['fit'] == Classifier(model, device='cpu').rule.fit

def test_a_token_without_kin_is_said_to_have_none():
    for layout, end in ((TokenLayout(32, (8,)), 'in region 5. Kin: 0.'),
                        (TokenLayout(8, (2, 4)), 'in region 1. Kin: 1 (1 of 4 px).')):
        said = in_node("sayKin(DATA, {kind: 'token', i: 5})",
                       view_tokens(picture(layout.image_size), layout).data, 'viewer')
        assert said.startswith('Position 5: ') and said.endswith(end)

# the viewer's data

@pytest.mark.parametrize('p', [-1, 340, 10**6])
def test_a_position_out_of_range_is_told_the_range(p):
    with pytest.raises(IndexError, match=f'position {p} is out of range: this layout has positions '
                                         '0 to 339'):
        view_tokens(picture(32), TokenLayout(), position=p)

def test_pictures_of_another_size():
    with pytest.raises(ValueError, match='resize=True'): view_tokens(picture(64), TokenLayout())
    assert view_tokens(picture(64, 3), TokenLayout(), resize=True).img.shape == (3, 32, 32)

def test_a_plain_model_has_the_class_token_after_each_block():
    plain = create_model('vit_nano', in_chans=1)
    assert len(view_tokens(picture(32), plain.layout, plain).data['maps']) == 6

@pytest.mark.parametrize('layout', layouts, ids=repr)
def test_the_viewer_knows_what_the_layout_says(layout):
    v = view_tokens(picture(layout.image_size), layout)
    data = data_of(v.html)
    assert data['linked'] == [layout.linked(p).tolist() for p in range(layout.n_tokens)]
    assert data['boxes'] == layout.boxes.tolist()
    assert data['scale'] == layout.scale.tolist()
    assert data['cells'] == layout.cells.tolist()
    assert data['maps'] == [] and data['at'] in range(layout.n_tokens)

def unpacked(m):
    w = np.frombuffer(base64.b64decode(m['w']),
                      np.uint8).reshape(m['regions'], m['targets'], m['per'])/255
    # region target source
    return torch.tensor(w*np.array(m['peak']).reshape(m['regions'], m['targets'], 1),
                        dtype=torch.float32)

def test_the_viewer_knows_what_the_model_does():
    model, img = untidy(), picture(8)
    x = _model_input(model, img)
    maps = {(m['mode'], m['name']): m for m in view_tokens(img, model.layout, model).data['maps']}
    for i, (k, D) in enumerate(zip((2, 3), mixing_weights(model, x))):
        m = maps['mixing', f'before block {k}']
        assert m['sources'] == ('mixed' if i else 'token')
        assert torch.allclose(unpacked(m), D.transpose(1, 2), atol=.003)
        own = unpacked(maps['provenance', f'mixed tokens before block {k}'])
        P = provenance(model, img, blocks=k)[1:, 1:].view(4, -1, 4, 5)
        for r in range(4): assert torch.allclose(own[r], P[r, :, r], atol=.003)
    for k in (1, 2, 3):
        m = maps['provenance', f'class token after block {k} (rollout)']
        P = provenance(model, img, blocks=k, attention=True)
        assert torch.allclose(unpacked(m).flatten(), P[0, 1:], atol=.003)
        assert abs(m['rest'] - P[0, 0]) < 1e-3
    assert len(maps) == 7

@pytest.mark.parametrize('name', ['dems_nano', 'dems_tiny', 'dems_small'])
def test_the_viewer_is_small_and_needs_nothing_from_the_web(name):
    model = create_model(name)
    html = view_tokens(picture(32, 3), model.layout, model).html
    assert len(html.encode()) < 300_000
    links = re.sub(r'(data:image/\w+;base64,|"w":")[\w+/=]+', '', html)
    links = links.replace('http://www.w3.org/2000/svg', '')  # a name, never fetched
    assert not re.search(r'https?:|//[a-z]|\b(require|import|fetch|XMLHttpRequest|url)\b|src="[^"]',
                         links)

def test_the_viewer_in_every_output_format():
    img = picture(32)
    one, two, other = (view_tokens(img, TokenLayout(), position=p) for p in (3, 3, 4))
    bundle = one._repr_mimebundle_()
    assert bundle == two._repr_mimebundle_()  # the same every time: no noise in a diff
    assert set(bundle) == {'text/html', 'image/png', 'text/plain'}
    assert Image.open(io.BytesIO(base64.b64decode(bundle['image/png']))).size[0] > 300
    assert bundle['image/png'] in bundle['text/html'] and one._repr_html_() == one.html
    name = lambda v: re.search(r'data-viewer="(\w+)"', v.html)[1]
    assert name(one) == name(two) != name(other)
    assert drawn(one.figure()) == drawn(show_correspondence(img, TokenLayout(), 3))
    assert 'figure()' in bundle['text/plain']
    assert bundle['text/html'].count('</script>') == 1
    assert not re.search(r'<script[^>]', bundle['text/html'].replace('<script>', ''))

@pytest.mark.parametrize('classes', [tuple(fashion_classes), list(fashion_classes)])
def test_the_explorer_names_what_is_on_its_own_pictures(classes):
    data = explore(load_bundled(), classes).data
    assert data['labels'] == sample_images(20).y.tolist()
    assert data['subject'] == 'the heel of a boot'
    other = explore(load_bundled(), [f'class {i}' for i in range(10)]).data
    assert other['labels'] == [None]*20 and other['subject'] == 'the lower right corner'

def test_a_wrapped_model_makes_the_same_page():
    class Wrapped(torch.nn.Module):                             # as DDP wraps
        def __init__(self, model):
            super().__init__()
            self.module = model
    model = create_model('vit_nano', depth=1)
    page = explore(model, range(10)).html
    assert page == explore(Wrapped(model), range(10)).html
    assert page == explore(torch.compile(model), range(10)).html

@pytest.mark.parametrize('label', [-1, 10])
def test_a_label_that_is_no_class_is_refused(label):
    model = create_model('vit_nano', depth=1)
    images = torch.zeros(2, 3, 32, 32)
    with pytest.raises(ValueError, match=f'label {label} is no class of this model: give labels '
                                         'from 0 to 9'):
        explore(model, range(10), images, [9, label])
    assert explore(model, range(10), images, [9, 0]).data['labels'] == [9, 0]

def test_the_viewer_refuses():
    with pytest.raises(ValueError, match='give model.layout'):
        view_tokens(picture(32), TokenLayout(), create_model('dems_nano', in_chans=1))
    model = create_model('dems_nano', in_chans=1)
    with pytest.raises(ValueError, match='the image has 3 channels and the model takes 1'):
        view_tokens(picture(32, 3), model.layout, model)

def test_a_page_is_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    page = explore(load_bundled(), fashion_classes)
    file = page.save(str(tmp_path/'new/folder/page.html'))
    assert file == tmp_path/'new/folder/page.html'
    saved = file.read_bytes()
    assert page.html.encode() in saved and b'\r' not in saved
    def full(*args): raise OSError(28, 'No space left')
    monkeypatch.setattr('os.fsync', full)
    page.data['title'] = 'another'
    with pytest.raises(OSError, match='No space left'): page.save(file)
    assert file.read_bytes() == saved and [*file.parent.iterdir()] == [file]
