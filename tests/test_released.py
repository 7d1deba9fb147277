"The published checkpoints, scored: files of full size, from a server like the real one."
import json, pytest, re, torch
from dems_nb import released as R, results, zoo as Z
from dems_nb.data import DeviceDL, Images, Normalize
from dems_nb.datasets import PictureRule
from dems_nb.model import create_model
from dems_nb.learner import evaluate
from drive import drive, released_file
from fastai.data.core import DataLoaders

pytest.importorskip('gdown', reason='gdown is not installed: pip install "dems_nb[zoo]"')
classes = dict(cifar10=10, cifar100=100, emnist=10, fashionmnist=10, caltech101=101)

@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv('DEMS_ZOO', str(tmp_path/'zoo'))

@pytest.fixture(scope='module')
def files(tmp_path_factory):
    "Files of full size: a Ti of 100 classes, an S and a Ti of 10; the Ti serves for grey sets too."
    tmp, made = tmp_path_factory.mktemp('pth'), {}
    for name, model, n in (('ti100', 'dems_tiny', 100), ('s10', 'dems_small', 10),
                           ('ti10', 'dems_tiny', 10)):
        torch.manual_seed(n)
        made[name] = released_file(create_model(model, n), tmp/f'{name}.pth').read_bytes()
    return made

def pictures(dataset, n=6):
    "A test set of a few random pictures."
    chans = 1 if dataset in ('emnist', 'fashionmnist') else 3
    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (n, chans, 32, 32), generator=g).byte()
    images = Images(x, torch.randint(0, classes[dataset], (n,), generator=g))
    rule = PictureRule(32, chans, 'tensor')
    dl = DeviceDL(images, 4, tfms=[Normalize(chans)], device='cpu', rule=rule)
    dls = DataLoaders(dl, dl, device=torch.device('cpu'))
    dls.c, dls.in_chans, dls.name = classes[dataset], chans, dataset
    return dls

@pytest.fixture
def few(monkeypatch):
    "Few pictures in each test set's place; gives what was asked for."
    asked = []
    def get(dataset, root, **kwargs):
        asked.append((dataset, root, kwargs))
        if dataset == 'caltech101':
            raise FileNotFoundError('caltech101 is in none of the known folders')
        return pictures(dataset)
    monkeypatch.setattr(R, 'get_dls', get)
    return asked

def served(files, **more):
    "What lies at the authors' addresses in these tests; everything else is gone."
    names = {'dems_tiny/cifar100': files['ti100'], 'dems_small/cifar10': files['s10'],
             'dems_tiny/emnist': files['ti10'],
             'dems_tiny/fashionmnist': files['ti10'], 'dems_tiny/cifar100-finetuned': files['ti10']}
    return {Z.zoo[k].file_id: ('large', v)
            for k, v in names.items()} | {Z.zoo[k].file_id: v for k, v in more.items()}

@pytest.mark.slow
def test_all_fourteen(files, few, tmp_path, monkeypatch, capsys):
    quota = {'dems_small/cifar100': ('quota', b'')}
    with drive(served(files, **quota), monkeypatch):
        status = R.main(['--device', 'cpu', '--ledger', str(tmp_path/'ledger'), '--data_path',
                         'data', '--batch_size', '4'])
    out, err = capsys.readouterr()
    lines = {l.split()[0]: l for l in out.splitlines()}
    assert status == 1 and list(lines) == list(Z.zoo) and err.count('CC BY-NC 4.0') == 14
    scored = [n for n, l in lines.items() if 'not scored' not in l]
    assert scored == ['dems_tiny/cifar100', 'dems_tiny/fashionmnist', 'dems_tiny/emnist',
                      'dems_small/cifar10']
    assert all(re.search(r'paper \d\d\.\d\d %, here \d+\.\d\d% of 6 \(', lines[n]) for n in scored)
    reasons = {'dems_tiny/cifar10': 'Open https', 'dems_small/cifar100': 'Too many users',
               'dems_small/emnist': 'listed for dems_tiny/emnist as well',
               'dems_tiny/cifar100-finetuned': 'tells 10 classes apart and cifar100 has 100'}
    for name, part in reasons.items():
        assert 'not scored: ' in lines[name] and part in lines[name]
    assert all(root == 'data' and kw['train'] is False and kw['bs'] == 4 for _, root, kw in few)
    rows = results.read_ledger(tmp_path/'ledger', 'released')
    assert sorted(r['source']['name'] for r in rows) == sorted(scored)
    assert results.read_ledger(tmp_path/'ledger') == []  # not among the runs that were trained here
    table = results.paper_table(rows)
    assert (table.released != 'not run').sum() == 4 and set(table.ours) == {'not run'}

def test_a_row_says_what_was_done(files, few, monkeypatch):
    with drive(served(files), monkeypatch):
        row = R.score_released('dems_small/cifar10', device='cpu')
    entry, dls = Z.zoo_entry('dems_small/cifar10'), pictures('cifar10')
    model = R.load_model(entry.name)
    score = evaluate(model, dls)
    assert (row['accuracy'], row['loss']) == (score.accuracy, pytest.approx(score.loss, rel=1e-5))
    assert (row['params'] == 22_253_154 - 90*385
            and row['source']['sha256'] == model.notes['pth_sha256'])
    assert row['published'] == 96.20 and row['channels'] == 'as stored' and row['recipe'] == dict(
        model='dems_small', dataset='cifar10')
    assert row['whole_batches'] == dict(n_scored=0, accuracy=None)
    results.check_row(json.loads(json.dumps(row)))
    for change in (dict(accuracy=.123), dict(source={}), dict(interval=[0, 1]),
                   dict(loss=float('nan'))):
        with pytest.raises(ValueError, match='the row is refused'):
            results.check_row({**row, **change})

def test_grey_pictures_three_times(files, few, monkeypatch):
    with drive(served(files), monkeypatch): row = R.score_released('dems_tiny/emnist', device='cpu')
    assert row['channels'] == 'grey three times' and row['data']['n_scored'] == 6

@pytest.mark.parametrize('held, other, data', [('tiny', 'small', 'ti10'), ('small', 'tiny', 's10')])
def test_which_of_emnists_two_the_file_is(held, other, data, files, few, monkeypatch):
    "One file is listed for Ti and S: its shapes say which it is, and the other's line does."
    said = {}
    with drive({Z.zoo['dems_tiny/emnist'].file_id: ('large', files[data])}, monkeypatch):
        found = R.reproduce(['dems_tiny/emnist', 'dems_small/emnist'], device='cpu',
                            say=lambda line: said.setdefault(line.split()[0], line))
    assert isinstance(found[f'dems_{held}/emnist'], dict)
    assert f'listed for dems_{held}/emnist as well' in said[f'dems_{other}/emnist']

def test_whole_batches_are_the_first_pictures():
    from dems_nb.results import Evaluation
    target = torch.zeros(300, dtype=torch.long)
    predicted = target.clone()
    predicted[256:] = 1
    assert R._accuracy(Evaluation(predicted, target, 0.),
                       256) == 1. and R._accuracy(Evaluation(predicted, target, 0.), 0) is None
    row = dict(accuracy=.5, interval=[.4, .6], published=96., data=dict(n_scored=300),
               whole_batches=dict(n_scored=256, accuracy=1.))
    assert R._sentence(row) == 'paper 96.00 %, here 50.00% of 300 (40.0% to 60.0%), 100.00% of 256'

@pytest.mark.parametrize('args, part',
                         [(['dems_tiny/mnist'],
                           'dems_tiny/mnist is no published checkpoint: the names are '
                           'dems_tiny/cifar10'),
    (['--batch_size', '0'], '--batch_size is 0'),
                          (['--device', 'xyz'], '--device xyz is not to be had here')])
def test_wrong_flags(args, part, capsys):
    with pytest.raises(SystemExit) as e: R.main(args)
    assert e.value.code == 2 and part in capsys.readouterr().err

# where rows are kept

@pytest.fixture
def row(files, few, monkeypatch):
    "A row as it is scored, which is then what scoring gives at once."
    with drive(served(files), monkeypatch):
        made = R.score_released('dems_tiny/cifar100', device='cpu')
    monkeypatch.setattr(R, 'score_released', lambda *args: dict(made))
    return made

@pytest.mark.parametrize('ledger', ['file', 'file/new', 'full'])
def test_a_ledger_that_cannot_be_written_is_named_first(ledger, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'file').write_text('mine')
    (tmp_path/'full').mkdir()
    (tmp_path/'full/released').write_text('mine')
    monkeypatch.setattr(R, 'score_released', lambda *args: pytest.fail('it scores'))
    with pytest.raises(SystemExit) as e: R.main(['dems_tiny/cifar100', '--ledger', ledger])
    said = capsys.readouterr().err.splitlines()[-1]
    assert e.value.code == 2 and f'--ledger is {ledger!r}, in which no row can be written' in said
    with pytest.raises(OSError, match='^ledger is .*, in which no row'): R.reproduce(ledger=ledger)
    assert [p.read_text() for p in (tmp_path/'file', tmp_path/'full/released')] == ['mine']*2

def test_a_score_that_cannot_be_written_is_said_and_kept(row, tmp_path, monkeypatch, capsys):
    "A disk that is full by then: the score first, and what came of its row in a line of its own."
    def full(path, data): raise OSError(28, 'No space left on device', str(path))
    monkeypatch.setattr(R, 'write_atomic', full)
    names, lines = ['dems_tiny/cifar100'], []
    found = R.reproduce(names, ledger=tmp_path/'ledger', say=lines.append)
    assert found == {names[0]: row} and len(lines) == 2
    score, loss = (line.split(maxsplit=1)[1] for line in lines)
    assert score == R._sentence(row) and loss.startswith('not written: ')
    assert 'No space left on device' in loss and 'dems_tiny-cifar100.json' in loss
    assert R.main([*names, '--ledger', str(tmp_path/'ledger')]) == 1
    assert capsys.readouterr().out.splitlines() == lines
    assert R.main(names) == 0 and capsys.readouterr().out.splitlines() == lines[:1]

@pytest.mark.parametrize('ledger, scored', [(False, 1), (True, 1), (True, 0)])
def test_ctrl_c_says_where_the_scores_are(ledger, scored, row, tmp_path, monkeypatch, capsys):
    rows = iter([row]*scored)
    def until_stopped(*args):
        for one in rows: return one
        raise KeyboardInterrupt
    monkeypatch.setattr(R, 'score_released', until_stopped)
    flags = ['--ledger', str(tmp_path/'ledger')] if ledger else []
    assert R.main(flags) == 130
    out, err = capsys.readouterr()
    said = (f'rows written to {tmp_path/"ledger"/"released"}: {scored}' if ledger
            else 'no row is written without --ledger')
    assert len(out.splitlines()) == scored and err == f'\ndems_reproduce: stopped; {said}\n'
    assert len(results.read_ledger(tmp_path/'ledger', 'released')) == (scored if ledger else 0)
