"The published checkpoints: names, downloads, the copy that is checked, and every way to fail."
import hashlib, pytest, re, threading, torch
from dems_nb import weights as W, zoo as Z
from dems_nb.model import create_model
from drive import drive, released_file

gdown = pytest.importorskip('gdown', reason='gdown is not installed: pip install "dems_nb[zoo]"')

@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv('DEMS_ZOO', str(tmp_path/'zoo'))
    return tmp_path/'zoo'

@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    "A file of full Ti size for 100 classes, in the released format, and the model in it."
    model = create_model('dems_tiny', 100).eval()
    return model, released_file(model, tmp_path_factory.mktemp('pth')/'ti.pth').read_bytes()

def test_the_list():
    table = Z.list_zoo()
    assert len(table) == 14 and not table.here.any() and table.name.is_unique
    assert {e.file_id for e in Z.zoo.values()} == {re.search('/d/(.*)/view', a)[1]
                                                   for a in table.address}
    assert [e.accuracy for e in Z.zoo.values()
            if e.stage == 'finetune'] == [96.74, 83.50, 97.76, 85.16]
    assert Z.zoo['dems_small/caltech101'].image_size == 256
    assert Z.zoo['dems_small/caltech101'].picture == 'middle'
    with pytest.raises(ValueError, match="no published checkpoint is called 'dems_huge/x': the "
                                         "names are dems_tiny/cifar10,"):
        Z.zoo_entry('dems_huge/x')

@pytest.mark.parametrize('kind', ['small', 'large'])
def test_fetched_once_checked_and_kept(kind, tiny, folder, monkeypatch, capsys):
    model, data = tiny
    entry, x = Z.zoo_entry('dems_tiny/cifar100'), torch.randn(1, 3, 32, 32)
    with drive({entry.file_id: (kind, data)}, monkeypatch) as asked:
        first = W.load_model(entry.name)
        assert len(asked) == (2 if kind == 'large' else 1)
        said = capsys.readouterr().err
        second = W.load_model(entry.name)
        assert len(asked) == (2 if kind == 'large' else 1)  # the second one came from here
    for text in (said, capsys.readouterr().err):
        assert 'CC BY-NC 4.0' in text and entry.name in text
    with torch.no_grad():
        assert torch.equal(first(x), model(x)) and torch.equal(second(x), model(x))
    assert first.notes == second.notes and first.notes['picture'] == 'tensor'
    assert first.notes['licence'] == 'CC BY-NC 4.0' and first.notes['source'] == entry.address
    pth, copy = Z.zoo_files(entry.name)
    assert first.notes['pth_sha256'] == hashlib.sha256(data).hexdigest()
    assert pth.read_bytes() == data
    sums = dict(reversed(l.split()) for l in copy.with_suffix('.sha256').read_text().splitlines())
    assert sums == {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in (pth, copy)}
    assert Z.list_zoo().here.sum() == 1 and not list(folder.glob('*.part'))

@pytest.mark.parametrize('kind, part', [
    ('quota', 'Too many users have viewed'), ('private', 'Cannot retrieve the public link'),
    ('gone', '404|Cannot retrieve'),
    ('breaks off', '.'), ('no network', 'refused|connect'),
    ('a text', 'something else came in its place')])
def test_every_way_to_fail_is_one_sentence(kind, part, tiny, folder, monkeypatch):
    entry = Z.zoo_entry('dems_tiny/cifar100')
    files = {} if kind == 'gone' else {entry.file_id: ('small', b'hello') if kind == 'a text'
                                       else (kind, tiny[1])}
    with drive(files, monkeypatch): 
        if kind == 'no network':
            import requests
            def get(*args, **kwargs):
                raise requests.exceptions.ConnectionError('connection refused')
            monkeypatch.setattr(requests.Session, 'get', get)
        with pytest.raises(OSError) as e: W.load_model(entry.name)
    said = str(e.value)
    assert re.search(part, said) and '\n' not in said and said.startswith(entry.name)
    assert entry.address in said and str(Z.zoo_files(entry.name)[0]) in said
    assert [f.name for f in folder.iterdir() if f.suffix != '.lock'] == []

def test_without_gdown(monkeypatch):
    import builtins
    real = builtins.__import__
    def no(name, *args, **kwargs):
        if name == 'gdown': raise ImportError(name)
        return real(name, *args, **kwargs)
    monkeypatch.setattr(builtins, '__import__', no)
    with pytest.raises(ImportError, match="pip install 'dems_nb.zoo.'. Or: Open "
                                          "https://drive.google.com/file/d/"):
        W.load_model('dems_tiny/cifar10')

def test_a_file_placed_by_hand(tiny, monkeypatch):
    pth = Z.zoo_files('dems_tiny/cifar100')[0]
    pth.parent.mkdir()
    pth.write_bytes(tiny[1])
    with drive({}, monkeypatch) as asked: W.load_model('dems_tiny/cifar100')
    assert not asked

def test_another_model_under_the_name(tiny):
    entry = Z.zoo_entry('dems_small/emnist')
    pth = Z.zoo_files(entry.name)[0]
    pth.parent.mkdir()
    pth.write_bytes(tiny[1])
    with pytest.raises(ValueError) as e: W.load_model(entry.name)
    said = str(e.value)
    assert 'is no dems_small for emnist: it has dim 192 in place of 384' in said
    assert '\n' not in said
    assert 'listed for dems_tiny/emnist as well' in said
    assert entry.address in said
    assert str(pth) in said

def test_a_damaged_copy_is_made_again(tiny):
    pth, copy = Z.zoo_files('dems_tiny/cifar100')
    pth.parent.mkdir()
    pth.write_bytes(tiny[1])
    W.load_model('dems_tiny/cifar100')
    whole = copy.read_bytes()
    copy.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    W.load_model('dems_tiny/cifar100')
    assert copy.read_bytes() == whole

@pytest.mark.parametrize('what', ['another model', 'no checksum'])
def test_a_copy_that_is_not_what_its_name_says_is_made_again(what, tiny):
    "It was believed; and one without the authors' checksum ended dems_reproduce by a KeyError."
    pth, copy = Z.zoo_files('dems_tiny/cifar100')
    pth.parent.mkdir()
    pth.write_bytes(tiny[1])
    W.load_model('dems_tiny/cifar100')
    whole = copy.read_bytes()
    if what == 'another model': W.save_model(create_model('dems_nano'), copy, pth_sha256='0'*64)
    else: W.save_model(tiny[0], copy)
    model = W.load_model('dems_tiny/cifar100')
    assert model.config['dim'] == 192 and model.notes['pth_sha256'] == hashlib.sha256(
        tiny[1]).hexdigest()
    assert copy.read_bytes() == whole

def test_two_who_want_the_same_file_fetch_it_once(tiny, monkeypatch):
    entry, found = Z.zoo_entry('dems_tiny/cifar100'), []
    with drive({entry.file_id: ('small', tiny[1])}, monkeypatch) as asked:
        threads = [threading.Thread(target=lambda: found.append(Z.fetch(entry.name, bar=False)))
                   for _ in range(4)]
        for t in threads: t.start()
        for t in threads: t.join()
    assert len(asked) == 1 and len(found) == 4

def test_a_folder_that_may_only_be_read(tiny, folder, monkeypatch, capsys):
    "The authors' file lies there for everybody, as on a cluster."
    entry, x = Z.zoo_entry('dems_tiny/cifar100'), torch.randn(1, 3, 32, 32)
    pth, copy = Z.zoo_files(entry.name)
    pth.parent.mkdir(parents=True)
    pth.write_bytes(tiny[1])
    def no(path, data): raise PermissionError(13, 'Permission denied', str(path))
    monkeypatch.setattr(W, 'write_atomic', no)
    model = W.load_model(entry.name)
    assert 'read from dems_tiny-cifar100.pth each time' in capsys.readouterr().err
    with torch.no_grad(): assert torch.equal(model(x), tiny[0](x))
    monkeypatch.undo()
    monkeypatch.setenv('DEMS_ZOO', str(folder))
    assert W.load_model(entry.name).notes == model.notes and not model.training
