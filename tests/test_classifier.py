"A trained model that answers: any picture, the evaluation's figure, ONNX, the Hub, the command."
import csv, inspect, io, json, logging, os, pytest, shutil, subprocess, sys, numpy as np, torch
from pathlib import Path
from PIL import Image
from dems_nb import classifier as C, weights as W
from dems_nb.data import get_dls
from dems_nb.datasets import open_image
from dems_nb.model import ViT, create_model
from dems_nb.tokenizer import MultiScaleTokenizer
from dems_nb.learner import evaluate
from marks import weekly

@pytest.fixture(autouse=True)
def any_batch(monkeypatch):
    "The model's `len(x)` and the tokenizer's check would fix the batch of an export."
    if 'len(x)' in inspect.getsource(ViT.sequence):
        def sequence(self, x):
            tokens = self.tokenizer(x).flatten(1, 2)
            return torch.cat([self.cls_token.expand(x.shape[0], -1, -1), tokens], dim=1)
        monkeypatch.setattr(ViT, 'sequence', sequence)
    if 'if tuple(x.shape) == want' in inspect.getsource(MultiScaleTokenizer.forward):
        def forward(self, x):
            return torch.cat([self.layout.to_regions(embed(x)) for embed in self.embeds],
                             dim=2) + self.pos
        monkeypatch.setattr(MultiScaleTokenizer, 'forward', forward)

@pytest.fixture(autouse=True)
def few_words():
    "The exporter's trace, which pytest would catch and format, takes minutes."
    logging.disable(logging.INFO)
    yield
    logging.disable(logging.NOTSET)

def small(n_classes=3, in_chans=3, image_size=16):
    return create_model('dems_nano', n_classes, in_chans, image_size, depth=2, mix_before=(1, 2),
                        dim=32)

@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    "A folder of pictures of three classes, of many shapes and modes."
    root, gen = tmp_path_factory.mktemp('photos'), np.random.default_rng(0)
    modes = ['RGB', 'L', 'RGBA', 'P', 'CMYK', 'LA', '1']
    for split, n in (('train', 4), ('val', 9)):
        for c in ('a$^$', 'b', 'ü'):
            (root/split/c).mkdir(parents=True)
            for i in range(n):
                size = gen.integers(20, 70, 2)
                im = Image.fromarray(gen.integers(0, 256, (*size, 3),
                                                  dtype=np.uint8)).convert(modes[i % 7])
                ending = 'tiff' if im.mode == 'CMYK' else 'png'
                im.save(root/split/c/f'{i}.{ending}')
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(gen.integers(0, 256, (30, 50, 3),
                                 dtype=np.uint8)).save(root/'val/b/turned.jpg', exif=turned)
    return root

@pytest.mark.parametrize('fit', ['whole', 'middle'])
@pytest.mark.parametrize('in_chans', [1, 3])
def test_predicting_the_files_gives_the_evaluation(fit, in_chans, photos, tmp_path):
    dls = get_dls('folder', photos, image_size=16, bs=8, device='cpu', fit=fit, in_chans=in_chans,
                  cache=tmp_path/'c')
    model = small(3, in_chans)
    path = W.save_model(model, tmp_path/'m.safetensors', classes=dls.vocab,
                        picture=dls.valid.rule.fit)
    score = evaluate(model, dls)
    answering = C.load_classifier(path, device='cpu')
    files = [str(f) for c in dls.vocab for f in sorted((photos/'val'/c).iterdir())]
    assert torch.equal(torch.stack([answering.picture(f) for f in files]),
                       dls.valid.dataset.x.cpu())
    given = answering.predict(files, bs=5)
    assert [a.name for a in given] == [dls.vocab[i] for i in score.predicted]
    right = sum(a.name == Path(f).parent.name for a, f in zip(given, files))
    assert right/len(files) == score.accuracy

def test_what_is_known_of_a_model(tmp_path):
    assert C.load_classifier('bundled', device='cpu').classes[9] == 'Ankle boot'
    assert C.Classifier(small(), device='cpu').classes == ['0', '1', '2']
    ten = create_model('vit_nano', 10, depth=1)
    recipe = json.dumps(dict(dataset='cifar10'))
    found = C.load_classifier(W.save_model(ten, tmp_path/'m', recipe=recipe), device='cpu')
    assert found.classes[:2] == ['airplane', 'automobile'] and found.rule.fit == 'tensor'
    for augment, fit in (('light', 'whole'), ('paper', 'middle')):
        recipe = json.dumps(dict(dataset='folder', augment=augment))
        assert C.load_classifier(W.save_model(ten, tmp_path/'m', recipe=recipe),
                                 device='cpu').rule.fit == fit
    assert len(C._listed['cifar100']) == 100 == len(set(C._listed['cifar100']))
    assert sorted(C._listed['cifar100']) == C._listed['cifar100']
    with pytest.raises(ValueError, match='2 class names for a model of 3 classes'):
        C.Classifier(small(), ['a', 'b'])
    for broken in ('{', '[]', '3'):
        assert C.load_classifier(W.save_model(ten, tmp_path/'m', recipe=broken),
                                 device='cpu').classes[0] == '0'

@pytest.fixture(scope='module')
def answering(): return C.Classifier(small().eval(), ['a$^$', 'b', 'c'], 'whole', 'cpu')

def test_every_kind_of_picture(answering, photos):
    file = photos/'val/b/0.png'
    im = open_image(file)
    array = np.array(im)
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    want = answering.predict(file).probabilities
    for source in (str(file), im, array, tensor, tensor.float()/255, array.astype(np.float32)/255):
        assert torch.equal(answering.predict(source).probabilities, want), type(source)
    for several in ([file, im], (array, tensor), torch.stack([tensor, tensor]),
                    np.stack([array, array])):
        answers = answering.predict(several)
        assert len(answers) == 2
        assert all(torch.allclose(a.probabilities, want, atol=1e-6) for a in answers)
    assert answering.predict([]) == []
    grey = answering.predict(array[..., 0])
    assert grey.probabilities.shape == (3,) and str(grey).endswith('%')
    top = grey.top(9)
    assert len(top) == 3
    assert top[0] == (grey.name, pytest.approx(grey.probability))
    assert top[0][1] >= top[1][1]

def test_views_that_run_backwards(answering, photos):
    array = np.array(open_image(photos/'val/b/0.png'))
    floats = array.astype(np.float32)/255
    for flipped in (array[..., ::-1], array[::-1, ::-1], floats[:, ::-1], floats[..., ::-1]):
        want = answering.predict(flipped.copy()).probabilities
        assert torch.equal(answering.predict(flipped).probabilities, want)
        for several in (np.stack([flipped]*2)[::-1], np.stack([flipped[..., ::-1]]*2)[..., ::-1],
                        [flipped, flipped]):
            answers = answering.predict(several)
            assert len(answers) == 2
            assert all(torch.allclose(a.probabilities, want, atol=1e-6) for a in answers)

@pytest.mark.parametrize('source, part', [
    ('none.png', 'there is no file none.png'),
    (__file__, 'test_classifier.py cannot be read as a picture'),
    (torch.full((3, 8, 8), 2.), 'values from 2 to 2: give bytes, or floats'),
    (torch.full((3, 8, 8), float('nan')), 'give bytes'),
    (np.zeros((2, 3, 4, 5, 6), np.uint8), 'a ndarray cannot be read'),
    (None, 'a NoneType cannot be read'), (os.curdir, 'cannot be read')])
def test_what_is_no_picture(source, part, answering):
    with pytest.raises((ValueError, OSError), match=part): answering.predict(source)

def test_a_stream_goes_on(answering, photos):
    names = [photos/'val/b/0.png', 'none.png', __file__, photos/'val/b/1.png']
    found = list(answering.stream(iter(names), bs=2, on_broken='give'))
    assert [n for n, _ in found] == names
    assert [type(a).__name__ for _, a in found] == ['Prediction', 'FileNotFoundError', 'ValueError',
                                                    'Prediction']

@pytest.mark.parametrize('wrong, part', [
    (dict(bs=0), 'bs is 0: give a positive whole number'), (dict(bs=2.5), 'bs is 2.5'),
    (dict(bs=True), 'bs is True'),
    (dict(on_broken='skip'), "on_broken is 'skip': give 'error' or 'give'")])
def test_wrong_arguments_are_refused_at_once(wrong, part, answering, photos):
    with pytest.raises(ValueError, match=part): answering.stream([], **wrong)
    if 'bs' not in wrong: return
    for source in (photos/'val/b/0.png', [photos/'val/b/0.png'], []):
        with pytest.raises(ValueError, match=part): answering.predict(source, **wrong)

def test_look(answering, photos):
    import matplotlib.pyplot as plt
    for c in (answering, C.Classifier(create_model('vit_nano', 3, depth=1), ['a$^$', 'b', 'c'],
                                      'whole', 'cpu')):
        fig = c.look(photos/'val/b/0.png')
        fig.canvas.draw()                                      # a dollar in a name would raise here
        titles = [ax.get_title() for ax in fig.axes]
        assert any('where the class token read' in t for t in titles)
        assert sum('-pixel patches' in t for t in titles) == len(c.model.layout.grids)
        plt.close(fig)

def test_a_run_folder_brings_its_result(tmp_path):
    W.save_model(small(), tmp_path/'model.safetensors', classes='abc', picture='whole')
    result = dict(accuracy=.75, interval=(.5, .9), data=dict(n_scored=12), scored_on='test',
                  commit='abc123',
                  recipe=dict(model='dems_nano', dataset='folder', lr=.5))
    (tmp_path/'result.json').write_text(json.dumps(result))
    card = C.load_classifier(tmp_path, device='cpu').card()
    for part in ('75.00% of 12 pictures (95 % interval 50.0% to 90.0%)', 'commit abc123',
                 '"lr": 0.5', 'a, b, c', '# dems_nano on folder'):
        assert part in card
    (tmp_path/'result.json').write_text('{')
    with pytest.raises(ValueError, match='result.json is no JSON'):
        C.load_classifier(tmp_path, device='cpu')
    assert 'not known' in C.Classifier(small(), device='cpu').card()

def test_export_with_any_batch():
    model = small().eval()
    exported = torch.export.export(model, (torch.zeros(2, 3, 16, 16),),
                                   dynamic_shapes=({0: torch.export.Dim('b')},))
    x = torch.randn(5, 3, 16, 16)
    torch.testing.assert_close(exported.module()(x), model(x))

@pytest.mark.parametrize('inside', [True, *weekly(False)])
def test_onnx(inside, answering, tmp_path):
    for p in ('onnx', 'onnxscript'): pytest.importorskip(p)
    ort = pytest.importorskip('onnxruntime')
    before = {k: v.clone() for k, v in answering.model.state_dict().items()}
    session = ort.InferenceSession(str(C.export_onnx(answering, tmp_path/'m.onnx', inside)))
    x = torch.randint(0, 256, (5, 3, 16, 16), dtype=torch.uint8)
    given = x if inside else answering.normalize(x)
    logits = torch.from_numpy(session.run(None, {'image': given.numpy()})[0])
    torch.testing.assert_close(logits.softmax(1), answering._probabilities(x), atol=1e-5, rtol=1e-4)
    notes = session.get_modelmeta().custom_metadata_map
    assert json.loads(notes['classes']) == answering.classes and notes['picture'] == 'whole'
    assert notes['normalisation'] == ('inside' if inside else 'outside')
    assert json.loads(notes['config'])['dim'] == 32
    assert all(torch.equal(v, before[k]) for k, v in answering.model.state_dict().items())
    class Wrong(ort.InferenceSession):
        def run(self, *args): return [super().run(*args)[0] + 1]
    with pytest.MonkeyPatch.context() as m:
        m.setattr(ort, 'InferenceSession', Wrong)
        with pytest.raises(RuntimeError, match='other logits for 1 pictures: nothing was written'):
            C.export_onnx(answering, tmp_path/'no.onnx', inside)
    assert not (tmp_path/'no.onnx').exists()

def test_the_hub(answering, tmp_path):
    pytest.importorskip('huggingface_hub')
    answering.to_hub().save_pretrained(tmp_path/'hub')
    assert {'README.md', 'model.safetensors'} <= {p.name for p in (tmp_path/'hub').iterdir()}
    again = C.hub_classifier().from_pretrained(tmp_path/'hub', device='cpu')
    assert again.classes == answering.classes and again.rule == answering.rule
    x = torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8)
    assert torch.equal(again.predict(x).probabilities, answering.predict(x).probabilities)
    again.save_pretrained(tmp_path/'twice')
    assert (tmp_path
            /'twice/model.safetensors').read_bytes() == (tmp_path
                                                         /'hub/model.safetensors').read_bytes()

@pytest.mark.parametrize('missing, call', [
    ('onnxruntime', lambda a: C.export_onnx(a, 'x.onnx')),
    ('huggingface_hub', lambda a: C.hub_classifier.__wrapped__())])
def test_what_is_not_installed_is_named(missing, call, answering, monkeypatch):
    for p in ('onnx', 'onnxscript'): monkeypatch.setitem(sys.modules, p, type(sys)(p))
    monkeypatch.setitem(sys.modules, missing, None)
    extra = 'hub' if 'hub' in missing else 'onnx'
    with pytest.raises(ImportError, match=f"is not installed: pip install 'dems_nb.{extra}.'"):
        call(answering)

@pytest.fixture
def old_exporter(monkeypatch):
    "PyTorch 2.4, whose exporter writes files and takes no shapes, with the packages it needs."
    def export(model, args, f, export_params=True, verbose=False, input_names=None,
               output_names=None, dynamic_axes=None, autograd_inlining=True): pytest.fail('asked')
    monkeypatch.setattr(torch.onnx, 'export', export)
    for p in ('onnx', 'onnxscript', 'onnxruntime'):
        monkeypatch.setitem(sys.modules, p, type(sys)(p))

def test_an_older_pytorch_is_named(old_exporter, answering, tmp_path):
    with pytest.raises(ImportError, match='needs PyTorch 2.5 or newer'):
        C.export_onnx(answering, tmp_path/'m.onnx')

# ---- the commands

@pytest.fixture
def weight(tmp_path):
    return str(W.save_model(small(), tmp_path/'w.safetensors', classes=['a$^$', 'b', 'ü'],
                            picture='whole'))

def predict(*args): return C.main(['--device', 'cpu', *map(str, args)])

def test_a_line_a_picture(weight, photos, capsys):
    assert predict('--pretrained_weight', weight, photos/'val/b', photos/'val/ü/0.png', '--top',
                   2) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 11
    assert all(l.count('%') == 2 for l in out)
    assert out[-1].startswith(f'{photos/"val/ü/0.png"}: ')

def test_csv_and_json(weight, photos, tmp_path, capsys):
    assert predict('--pretrained_weight', weight, photos/'val', '--csv', tmp_path/'o.csv', '--top',
                   9) == 0
    assert capsys.readouterr().out == ''
    rows = list(csv.DictReader((tmp_path/'o.csv').read_text(encoding='utf-8').splitlines()))
    assert len(rows) == 28
    assert list(rows[0]) == ['file', 'class', 'probability', 'class_2', 'probability_2',
                             'class_3', 'probability_3']
    assert sum(float(rows[0][k]) for k in rows[0] if 'prob' in k) == pytest.approx(1, abs=1e-4)
    assert predict('--pretrained_weight', weight, photos/'val', '--json') == 0
    lines = [json.loads(l) for l in capsys.readouterr().out.splitlines()]
    assert [(l['file'], l['class']) for l in lines] == [(r['file'], r['class']) for r in rows]

def test_broken_files_are_named_and_the_others_go_on(weight, photos, tmp_path, capsys):
    (tmp_path/'p').mkdir()
    (tmp_path/'p/bad.png').write_text('x')
    (tmp_path/'p/.hidden.png').write_text('x')
    (tmp_path/'p/notes.txt').write_text('x')
    (tmp_path/'p/.ipynb_checkpoints').mkdir()
    for name in ('.ipynb_checkpoints/good-checkpoint', 'good'):
        shutil.copy(photos/'val/b/0.png', tmp_path/f'p/{name}.png')
    assert predict('--pretrained_weight', weight, tmp_path/'p', 'none.png') == 1
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert 'bad.png cannot be read' in err
    assert 'there is no file none.png' in err
    assert '2 of the pictures' in err

def test_names_from_standard_input(weight, photos, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'stdin',
                        io.StringIO(f'{photos/"val/b/0.png"}\n\n{photos/"val/b/1.png"}\n'))
    assert predict('--pretrained_weight', weight, '-') == 0
    assert len(capsys.readouterr().out.splitlines()) == 2

@pytest.mark.parametrize('args, part', [
    (['--top', '0', 'x'], "'0' is no number"), (['--top', 'x', 'x'], "'x' is no number"),
    (['--batch_size', '-1', 'x'], "no number"),
    (['--device', 'xyz', 'x'], "'xyz' is not to be had here"), ([], 'required: pictures')])
def test_wrong_flags(args, part, weight, capsys):
    with pytest.raises(SystemExit) as e: C.main(['--pretrained_weight', weight, *args])
    assert e.value.code == 2 and part in capsys.readouterr().err

def test_what_cannot_be_done(weight, tmp_path, capsys):
    (tmp_path/'empty').mkdir()
    assert predict('--pretrained_weight', weight, tmp_path/'empty') == 2
    assert 'no picture in' in capsys.readouterr().err
    assert predict('--pretrained_weight', 'none', 'x.png') == 2
    err = capsys.readouterr().err
    assert err.startswith('dems_predict: error: there is no file none') and err.count('\n') == 1

def test_the_export_command(weight, tmp_path, capsys):
    for p in ('onnx', 'onnxscript', 'onnxruntime'): pytest.importorskip(p)
    export = lambda weight, file: C.export_command(['--pretrained_weight', weight,
                                                    '--output', str(tmp_path/file)])
    assert export(weight, 'm.onnx') == 0
    assert (tmp_path/'m.onnx').is_file()
    assert export('none', 'n.onnx') == 2
    assert not (tmp_path/'n.onnx').exists()

def test_the_export_command_names_an_older_pytorch(old_exporter, weight, tmp_path, capsys):
    flags = ['--pretrained_weight', weight, '--output', str(tmp_path/'m.onnx')]
    assert C.export_command(flags) == 2
    err = capsys.readouterr().err
    assert err.startswith('dems_export: error: ') and 'PyTorch 2.5' in err and err.count('\n') == 1

def rows_of(path):
    with open(path, encoding='utf-8', errors=sys.getfilesystemencodeerrors(), newline='') as f:
        return list(csv.DictReader(f))

class Page(io.TextIOWrapper):
    "Standard output in an encoding, with what was written."
    def __init__(self, encoding): super().__init__(io.BytesIO(), encoding)
    def lines(self):
        self.flush()
        return self.buffer.getvalue().decode(self.encoding).splitlines()

@pytest.mark.skipif(sys.platform != 'linux', reason='file names that are any bytes')
def test_names_that_are_no_utf_8(weight, photos, tmp_path, monkeypatch, capsys):
    (tmp_path/'p').mkdir()
    name = os.fsdecode(os.fsencode(tmp_path/'p') + b'/Gr\xfcn.png')
    shutil.copy(photos/'val/b/0.png', name)
    assert predict('--pretrained_weight', weight, tmp_path/'p', '--csv', tmp_path/'o.csv') == 0
    assert [r['file'] for r in rows_of(tmp_path/'o.csv')] == [name]
    assert b'Gr\xfcn.png,' in (tmp_path/'o.csv').read_bytes()
    for flags in ([], ['--json']):
        page = Page('utf-8')
        monkeypatch.setattr(sys, 'stdout', page)
        monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(os.fsencode(name)), 'utf-8'))
        assert predict('--pretrained_weight', weight, '-', *flags) == 0
        line, = page.lines()
        assert json.loads(line)['file'] == name if flags else r'Gr\udcfcn.png: ' in line
    assert capsys.readouterr().err == ''

@pytest.mark.parametrize('encoding', ['cp1252', 'ascii'])
def test_letters_that_the_terminal_lacks(encoding, photos, tmp_path, monkeypatch, capsys):
    classes = ['猫', 'größer', '\N{DOG}']
    weight = W.save_model(small(), tmp_path/'w.safetensors', classes=classes, picture='whole')
    pages = [Page(encoding) for _ in range(3)]
    for page, flags in zip(pages, ([], ['--json'])):
        monkeypatch.setattr(sys, 'stdout', page)
        assert predict('--pretrained_weight', weight, photos/'val/ü', '--top', 3, *flags) == 0
    text, rows = (page.lines() for page in pages[:2])
    assert len(text) == 9 and all(r'\u732b ' in l and r'\U0001f415 ' in l for l in text)
    assert all({*json.loads(l)['top']} == {*classes} for l in rows)
    monkeypatch.setattr(sys, 'stdout', pages[2])
    monkeypatch.setattr(C, 'export_onnx', lambda *args: None)
    flags = ['--pretrained_weight', str(weight), '--output', str(tmp_path/'猫.onnx')]
    assert C.export_command(flags) == 0
    assert r'\u732b.onnx' in pages[2].lines()[0]
    assert capsys.readouterr().err == ''

@pytest.mark.parametrize('command', ['predict', 'export'])
@pytest.mark.parametrize('name', ['', '.', 'folder', 'new/', 'file/o.csv', 'file/new/o.csv',
                                  'x'*300])
def test_a_file_that_cannot_be_written_is_named_first(command, name, weight, photos, tmp_path,
                                                      monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'folder').mkdir()
    (tmp_path/'file').write_text('as it was')
    monkeypatch.setattr(C, 'load_classifier', lambda *args: pytest.fail('computed'))
    if command == 'predict':
        assert predict('--pretrained_weight', weight, photos/'val', '--csv', name) == 2
    else: assert C.export_command(['--pretrained_weight', weight, '--output', name]) == 2
    err = capsys.readouterr().err
    flag = '--csv' if command == 'predict' else '--output'
    assert f'error: {flag} is {name!r}, which cannot be written (' in err and err.count('\n') == 1
    assert {p.name for p in tmp_path.iterdir()} == {'folder', 'file', 'w.safetensors'}

@pytest.mark.skipif(sys.platform != 'linux', reason='a folder that not even root may write')
def test_a_folder_that_may_not_be_written(weight, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(C, 'load_classifier', lambda *args: pytest.fail('computed'))
    (tmp_path/'folder').mkdir(mode=0o500)
    folder = tmp_path/'folder' if os.geteuid() else Path('/sys')
    for file in (folder/'o.csv', folder/'new/o.csv'):
        assert predict('--pretrained_weight', weight, photos/'val', '--csv', file) == 2
        assert f"'{file}', which cannot be written (" in capsys.readouterr().err

def test_the_folder_of_the_table_is_made(weight, photos, tmp_path):
    table = tmp_path/'new/folder/o.csv'
    assert predict('--pretrained_weight', weight, photos/'val/b', '--csv', table) == 0
    assert len(rows_of(table)) == 10

@pytest.mark.parametrize('error, status', [(KeyboardInterrupt(), 130),
                                           (RuntimeError('no memory'), 2)])
def test_what_was_computed_is_kept(error, status, weight, photos, tmp_path, monkeypatch, capsys):
    def stop_at(n):
        seen, answer = [], inspect.unwrap(C.Classifier._probabilities)
        def until(self, x):
            seen.append(len(x))
            if len(seen) == n: raise error
            return answer(self, x)
        return until
    flags = ['--pretrained_weight', weight, photos/'val', '--batch_size', 5, '--csv',
             tmp_path/'o.csv']
    assert predict(*flags) == 0
    whole = rows_of(tmp_path/'o.csv')
    capsys.readouterr()
    for n, want in ((3, 10), (1, 10)):                         # nothing does not replace something
        with monkeypatch.context() as m:
            m.setattr(C.Classifier, '_probabilities', stop_at(n))
            assert predict(*flags) == status
        assert [r['file'] for r in rows_of(tmp_path/'o.csv')] == [r['file'] for r in whole[:want]]
        said = f'{tmp_path/"o.csv"} has the 10 answers so far' in capsys.readouterr().err
        assert said == (n == 3)
    with monkeypatch.context() as m:
        m.setattr(C.Classifier, '_probabilities', stop_at(3))
        m.setattr(os, 'fsync', lambda f: (_ for _ in ()).throw(OSError(28, 'No space left')))
        assert predict(*flags) == status
    assert 'the 10 answers so far are lost: [Errno 28] No space left' in capsys.readouterr().err
    assert len(rows_of(tmp_path/'o.csv')) == 10 and not list(tmp_path.glob('.o.csv*'))

def test_folders_that_are_linked_are_walked_once(weight, photos, tmp_path, capsys):
    new, other = tmp_path/'new', tmp_path/'other'
    for folder in (new/'b', other/'deep'): folder.mkdir(parents=True)
    for file in (new/'0.png', new/'b/1.png', other/'deep/2.png', other/'3.PNG'):
        shutil.copy(photos/'val/b/0.png', file)
    try:
        for link, to in (('a', new/'b'), ('b/up', new), ('linked', other), ('twice', other/'deep'),
                         ('nowhere', new/'none')):
            (new/link).symlink_to(to, target_is_directory=True)
    except OSError: pytest.skip('links are not allowed here')
    assert predict('--pretrained_weight', weight, new, '--csv', tmp_path/'o.csv') == 0
    found = [Path(r['file']).relative_to(new).as_posix() for r in rows_of(tmp_path/'o.csv')]
    assert found == ['0.png', 'b/1.png', 'linked/3.PNG', 'twice/2.png']
    assert 'nowhere: no picture by its name' in capsys.readouterr().err

def test_files_that_are_no_pictures_by_their_names_are_counted(weight, photos, tmp_path, capsys):
    (tmp_path/'p/q').mkdir(parents=True)
    shutil.copy(photos/'val/b/0.png', tmp_path/'p/q/0.png')
    for name in ('1.gif', 'q/2.gif', 'q/notes.txt', '.hidden.gif'):
        (tmp_path/'p'/name).write_text('x')
    assert predict('--pretrained_weight', weight, tmp_path/'p') == 0
    said = f'{tmp_path/"p/1.gif"} and 2 more: no picture by its name (2 .gif, 1 .txt)'
    assert capsys.readouterr().err == f'dems_predict: skipped: {said}\n'
    (tmp_path/'p/q/0.png').unlink()
    assert predict('--pretrained_weight', weight, tmp_path/'p') == 2
    assert said in (err := capsys.readouterr().err) and 'no picture in' in err

@pytest.mark.skipif(os.name != 'posix', reason='a pipe that closes early, as POSIX has it')
def test_a_reader_that_has_seen_enough(weight, photos, tmp_path):
    code = 'import sys; from dems_nb.classifier import main; sys.exit(main(sys.argv[1:]))'
    (tmp_path/'names').write_text('\n'.join([str(photos/'val/b/0.png')]*3000))
    flags = ['--device', 'cpu', '--batch_size', '8', '--pretrained_weight', weight, '-']
    with open(tmp_path/'names') as names, open(tmp_path/'err', 'w') as err:
        reading = subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code, *flags],
                                   stdin=names,
                                   stdout=subprocess.PIPE, stderr=err)
        assert reading.stdout.readline()
        reading.stdout.close()
        assert reading.wait(300) == 141
    assert 'Traceback' not in (tmp_path/'err').read_text()

def test_a_folder_that_may_not_be_read_is_told(tmp_path, monkeypatch, capsys):
    from dems_nb.classifier import _walk
    (tmp_path/'photos/shut').mkdir(parents=True)
    (tmp_path/'photos/a.png').write_bytes(b'')
    scan = os.scandir
    def refuse(path):
        if os.fspath(path).endswith('shut'): raise PermissionError(13, 'Permission denied', path)
        return scan(path)
    monkeypatch.setattr(os, 'scandir', refuse)
    assert [*_walk([str(tmp_path/'photos')])] == [str(tmp_path/'photos/a.png')]
    assert 'shut' in capsys.readouterr().err
