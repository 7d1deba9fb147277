"The ledger: sound rows, tables and prose that say what is in it, studies that can be continued."
import ast, copy, json, os, re, signal, subprocess, sys, time, pytest
from dataclasses import replace
from pathlib import Path
from hypothesis import given, settings, strategies as st
from dems_nb import results as R, studies as S
from dems_nb.learner import Recipe
from dems_nb.run import Interrupted, open_folder, read_checkpoint, train
from fastai.callback.core import Callback
from dems_nb.zoo import zoo

root = Path(__file__).parent.parent
ledger = root/'results/ledger'
files = sorted(ledger.glob('*/*.json'))
# the pages of the studies: every output of theirs comes from the ledger
page_of = dict(data_efficiency='data_efficiency', cifar10='data_efficiency', ablations='ablations',
               positions='baseline', budget='baseline', compression='baseline')
studies = [root/'nbs/tutorials'/f'{n}.ipynb' for n in dict.fromkeys(page_of.values())]

def test_the_pages_that_make_test_leaves_to_this_file_are_run_here():
    left_out = re.search('^STUDIES := (.*)$', (root/'Makefile').read_text(), re.M)[1]
    assert sorted(left_out.split('|')) == sorted(p.stem for p in studies)

def test_a_study_with_rows_has_a_page():
    for name in {p.parent.name for p in files} & S.studies.keys():
        text = (root/'nbs/tutorials'/f'{page_of[name]}.ipynb').read_text(encoding='utf-8')
        assert f"'{name}'" in text, name

def git(*args):
    try:
        return subprocess.run(['git', *args], cwd=root, capture_output=True, text=True,
                              check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError): return None

# the repository's own rows

def test_every_row_is_sound():
    assert len(R.read_ledger(ledger)) + len(R.read_ledger(ledger, 'released')) == len(files)

def test_rows_lie_where_they_say():
    for p in files:
        r = R.read_row(p)
        assert r['study'] == p.parent.name, p.name
        if r['stage'] == 'released': assert p.stem == r['variant']
        else: assert r['recipe_hash'] in p.name and p.name.startswith(r['stage']), p.name
    assert not [p for p in ledger.rglob('*') if p.is_file() and p not in files
                and p.name != 'README.md']

def test_every_row_names_a_commit_of_this_history():
    if not files: pytest.skip('no rows')
    if git('rev-parse', '--is-shallow-repository') != 'false':
        pytest.skip('not a whole git checkout')
    named = ' then '.join({str(R.read_row(p)['commit']) for p in files})
    for c in set(named.split(' then ')):
        assert re.fullmatch('[0-9a-f]{12}', str(c)), f'{c}: run from a clean checkout'
        assert git('merge-base', '--is-ancestor', c,
                   'HEAD') is not None, f'{c} is not in the history'

def test_nothing_was_tuned_on_the_test_set():
    for r in R.read_ledger(ledger):
        held = r['stage'] == 'tune' or r['study'] == 'compression'
        assert held == (r['scored_on'] == 'holdout'), r['recipe_hash']
        # scored once
        if r['study'] in S.studies:
            assert r['best']['epoch'] == r['epochs'] and r['best']['accuracy'] <= 1

def test_runs_that_are_paired_saw_the_same_images():
    seen = {}
    for r in R.read_ledger(ledger):
        d, c = r['data'], r['recipe']
        seen.setdefault((d['name'], d['n_train'], r['seed'], c['holdout'], c['augment']),
                        set()).add(d['checksum'])
    assert all(len(v) == 1 for v in seen.values())

# broken rows

@pytest.fixture(scope='module')
def row(tmp_path_factory):
    plan = S.PlannedRun('example', 'images', Recipe(n_train=200, epochs=2, bs=50))
    return R.read_row(S.run_planned(plan, tmp_path_factory.mktemp('ledger')))

@pytest.mark.parametrize('name', sorted(R.row_fields))
def test_a_row_without_a_field_is_refused(row, name):
    with pytest.raises(ValueError, match=f'bad.json is refused: it has no {name}'):
        R.check_row({k: v for k, v in row.items() if k != name}, 'bad.json')

@pytest.mark.parametrize('name', sorted(R.row_fields))
def test_a_field_of_another_type_is_refused(row, name):
    for wrong in (True, [[]] if name not in ('given', 'interval') else 'x', float('nan')):
        with pytest.raises((ValueError), match='bad.json is refused'):
            R.check_row({**row, name: wrong}, 'bad.json')

@pytest.mark.parametrize('text, why', [
    ('', 'is no JSON'), ('{', 'is no JSON'), ('\x00', 'is no JSON'),
    ('null', 'holds a NoneType, not an object'), ('[]', 'holds a list, not an object'),
    ('3', 'holds a int, not an object'), ('{"schema": 1}', 'is refused: it has no ')])
def test_a_file_that_is_no_row_is_refused_by_name(tmp_path, text, why):
    p = tmp_path/'study'/'odd.json'; p.parent.mkdir()
    p.write_text(text)
    with pytest.raises(ValueError, match=f'study/odd.json {why}'): R.read_ledger(tmp_path)

def test_a_cut_row_is_refused_wherever_it_is_cut(tmp_path, row):
    text = json.dumps(row)
    p = tmp_path/'s'/'r.json'; p.parent.mkdir()
    for n in range(0, len(text), 97):
        p.write_text(text[:n])
        with pytest.raises(ValueError, match='s/r.json is no JSON'): R.read_row(p)
    p.write_text(text)
    assert R.read_row(p) == row

def test_a_changed_digit_is_noticed(row):
    for path, new in ((('accuracy',), row['accuracy'] + 1/row['data']['n_scored']),
                      (('interval', 0), .5), (('interval',), [.5]), (('interval',), []),
                      (('interval', 1), float('nan')), (('recipe', 'lr'), .1), (('epochs',), 3),
                      (('images_seen',), 401), (('data', 'n_scored'), 999),
                      (('data', 'n_train'), 300), (('data', 'checksum'), 'x'*64),
                      (('recipe', 'holdout'), 100)):
        bad = copy.deepcopy(row); at = bad
        for k in path[:-1]: at = at[k]
        at[path[-1]] = new
        with pytest.raises(ValueError, match='refused'): R.check_row(bad)

# statistics

@settings(max_examples=200, deadline=None)
@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_stays_inside(rn):
    low, high = R.wilson(*rn)
    p = rn[0]/rn[1]
    assert -1e-12 <= low <= p + 1e-12 and p - 1e-12 <= high <= 1 + 1e-12

def test_wilson_known_value():                       # 81 of 263: a textbook's
    assert [round(x, 3) for x in R.wilson(81, 263)] == [.255, .366]

def test_pairs_are_by_seed_not_by_place():
    a = [dict(seed=s, accuracy=x) for s, x in ((2, .9), (0, .7), (1, .8))]
    b = [dict(seed=s, accuracy=x) for s, x in ((0, .69), (1, .79), (2, .89), (3, .1))]
    mean, half, n = R.paired(a, b)
    assert n == 3 and abs(mean - 1) < 1e-9 and half < 1e-6

# prose

# A percentage with a decimal is in an output of the code cell before it, or a comment in the
# Markdown says whose it is: <!-- 88.75 % is results/fashionmnist/dems_nano/result.json -->.

def text_of(o):
    d = o.get('data', {})
    return ''.join(o.get('text') or d.get('text/markdown') or d.get('text/plain') or '')

def worth(source):
    "What a comment names, in %: a fraction, a checkpoint of the zoo, a row of results."
    if m := re.fullmatch(r'(\d+)/(\d+)', source): return 100*int(m[1])/int(m[2])
    if source in zoo: return zoo[source].accuracy
    file = (root/source).resolve()
    assert file.is_relative_to(root/'results') and file.is_file(), f'{source} is no row of results'
    return 100*json.loads(file.read_text())['accuracy']

def loose(text, outputs):
    "The percentages of a Markdown text that neither the outputs above nor its comments explain."
    above = [float(x) for x in re.findall(r'\d+\.\d+', outputs)]
    tags = dict(re.findall(r'<!-- ([\d.]+) % is (\S+) -->', text))
    explains = lambda s, values: any(abs(float(s) - v) <= .5*10**-len(s.partition('.')[2]) + 1e-9
                                     for v in values)
    percentages = R.percentages(re.sub(r'<!--.*?-->', '', text, flags=re.S))
    return [s for s in percentages
            if not explains(s, [worth(tags[s])] if s in tags else above)]

@pytest.mark.parametrize('nb', sorted(p for p in (root/'nbs').rglob('*.ipynb')
                                      if '.ipynb_checkpoints' not in p.parts), ids=lambda p: p.stem)
def test_every_percentage_in_prose_has_its_source(nb):
    outputs = ''
    for c in json.loads(nb.read_text())['cells']:
        text = ''.join(c['source'])
        if c['cell_type'] == 'code': outputs = '\n'.join(map(text_of, c['outputs'])) or outputs
        else: assert not (odd := loose(text, outputs)), f'{", ".join(odd)} %: whose? {text[:80]}'

def test_readme_has_no_percentage_of_its_own():
    "All that README says beyond the index is printed by the index's code."
    cells = json.loads((root/'nbs/index.ipynb').read_text())['cells']
    printed = '\n'.join(text_of(o) for c in cells for o in c.get('outputs', ()))
    assert not loose((root/'README.md').read_text(), printed)

@pytest.mark.parametrize('text, odd', [
    ('It reaches 83.0 % and 12.34%, or 83 %.', ['12.34']), ('It is 82.9 %.', ['82.9']),
    ('It is 88.75 %. <!-- 88.75 % is results/fashionmnist/dems_nano/result.json -->', []),
    ('It is 88.76 %. <!-- 88.76 % is results/fashionmnist/dems_nano/result.json -->', ['88.76']),
    ('They say 96.7 %. <!-- 96.7 % is dems_tiny/cifar10-finetuned -->', []),
    ('They say 96.8 %. <!-- 96.8 % is dems_tiny/cifar10-finetuned -->', ['96.8']),
    ('A share of 76.2 %. <!-- 76.2 % is 16/21 -->', []),
    ('A share of 83.0 %. <!-- 83.0 % is 16/21 -->', ['83.0'])])
def test_a_percentage_of_nobody_is_noticed(text, odd): assert loose(text, '83.02') == odd

def test_a_source_that_is_none_is_refused():
    for source in ('results/none.json', 'README.md', 'dems_tiny/none'):
        with pytest.raises(AssertionError, match='is no row of results'): worth(source)

@pytest.mark.parametrize('nb', studies, ids=lambda p: p.stem)
def test_the_studies_say_what_the_ledger_says_now(nb):
    "The notebook, run again, prints what is committed."
    nbformat = pytest.importorskip('nbformat', reason='it comes with jupyterlab')
    from nbclient import NotebookClient
    doc = nbformat.read(nb, 4)
    old = [[text_of(o) for o in c.get('outputs', [])] for c in doc.cells if c.cell_type == 'code']
    NotebookClient(doc, timeout=300, kernel_name='python3',
                   resources={'metadata': {'path': str(nb.parent)}}).execute()
    new = [[text_of(o) for o in c.get('outputs', []) if o.get('name') != 'stderr']
           for c in doc.cells if c.cell_type == 'code']
    # no figures where MPLBACKEND draws to nowhere; a busy kernel splits what is printed
    strip = lambda x: [''.join(t for t in o if not t.startswith('<Figure size')) for o in x]
    assert strip(old) == strip(new), f'{nb.name} is older than the ledger: run it again'

def test_the_results_page_counts_the_ledger_as_it_is_now():
    page = (root/'nbs/13_results.ipynb').read_text(encoding='utf-8')
    assert re.findall(r'"(\d+) rows in the ledger', page) == [str(len(files))], 'run 13 again'

def test_readme_says_what_the_ledger_says_now():
    rows = [r for r in R.read_ledger(ledger) if r['study'] == 'data_efficiency']
    some = lambda n, stage, model: [r for r in rows if (r['data']['n_train'], r['stage'],
                                                        r['recipe']['model']) == (n, stage, model)]
    table = (root/'README.md').read_text().split('### Does it need less data?')[1]
    said = {l.split('|')[1].strip(): l for l in table.split('**Against which')[0].splitlines()
            if l.startswith('| ') and '±' in l}
    assert set(said) == {'1,000', '4,000', '16,000', '60,000'}
    for size, line in said.items():
        ours, equal, cheap = (some(int(size.replace(',', '')), *k)
                              for k in (('images', 'dems_nano'), ('images', 'vit_nano'),
                                        ('macs', 'vit_nano')))
        means = ['{:.1f} ± {:.1f}'.format(*R.mean_interval([100*r['accuracy'] for r in k]))
                 for k in (ours, equal, cheap)]
        less = ['{:+.1f} ± {:.1f}'.format(*R.paired(ours, k)) for k in (equal, cheap)]
        assert [c.strip() for c in line.split('|')[2:-1]] == [means[0], means[1], less[0], means[2],
                                                              less[1]], size

def test_readme_prints_what_its_code_says_now(monkeypatch):
    "The index's cells that read the ledger, run again, give what is committed."
    monkeypatch.chdir(root/'nbs')
    cells = json.loads((root/'nbs/index.ipynb').read_text(encoding='utf-8'))['cells']
    space, seen = {}, 0
    for c in cells:
        source = ''.join(c['source'])
        if c['cell_type'] != 'code' or not source.startswith('#| echo: false'): continue
        *body, last = ast.parse(source).body
        ends = isinstance(last, ast.Expr)
        exec(compile(ast.Module(body if ends else [*body, last], []), 'index', 'exec'), space)
        if not ends: continue
        shown = eval(compile(ast.Expression(last.value), 'index', 'eval'), space)
        said = [''.join(o['data']['text/markdown']) for o in c['outputs']]
        assert said == [shown.data], 'index.ipynb is older than the ledger: run it again'
        seen += 1
    assert seen >= 7

def test_the_picture_of_the_budget_shows_the_ledgers_rows():
    from PIL import Image
    from draw_images import budget_rows, images
    with Image.open(images/'budget.png') as im: noted = im.text['Description']
    assert noted == budget_rows()[1], 'it is older than the ledger: run make images'

# the driver

def sample(seed=0, epochs=2, **kw):
    return S.PlannedRun('example', 'images',
                        Recipe(n_train=200, epochs=epochs, bs=50, seed=seed, patch_size=8,
                               **kw))

def test_a_killed_study_goes_on(tmp_path):
    "Killed in the middle of its second run, it leaves one row; the next start adds the other."
    code = ('import sys; from dataclasses import replace; from dems_nb.studies import *; from '
            'dems_nb.learner import Recipe;'
            'r = Recipe(n_train=200, epochs=2, bs=50, patch_size=8);'
            'run_plans([PlannedRun("example", "images", r), PlannedRun("example", "images", '
            f'replace(r, seed=1, epochs=10_000))], {str(tmp_path)!r}, runs=None)')
    # -u: or its lines stay in a buffer
    p = subprocess.Popen([sys.executable, '-u', '-W', 'ignore', '-c', code], stdout=subprocess.PIPE,
                         text=True, start_new_session=True)
    lines = [p.stdout.readline(), p.stdout.readline()]  # what is to do, and the first run's line
    time.sleep(.5)
    os.killpg(p.pid, signal.SIGKILL); p.wait()
    assert 'example/images-dems_nano' in lines[1]
    first = list(tmp_path.rglob('*.json'))
    assert len(first) == 1 and R.read_ledger(tmp_path)
    stamp, said = first[0].stat().st_mtime_ns, []
    assert S.run_plans([sample(), sample(1)], tmp_path, say=said.append, runs=None) == []
    assert said[0] == '1 of 2 runs to do' and first[0].stat().st_mtime_ns == stamp
    assert sorted(r['seed'] for r in R.read_ledger(tmp_path)) == [0, 1]

endless = '''
import sys
from dems_nb import studies as S
from dems_nb.learner import Recipe
plan = S.PlannedRun('example', 'images', Recipe(n_train=200, epochs=10_000, bs=50, patch_size=8))
S.studies['example'] = lambda rows: [plan]
raise SystemExit(S.main(['example', '--out', sys.argv[1], '--runs', sys.argv[2]]))
'''

@pytest.mark.skipif(os.name != 'posix', reason='Windows has no SIGTERM to catch')
def test_a_stopped_driver_stops_its_runs(tmp_path):
    "SIGTERM to the driver alone: the run under way saves and ends, and so does the driver."
    p = subprocess.Popen([sys.executable, '-W', 'ignore', '-c', endless, str(tmp_path/'ledger'),
                          str(tmp_path/'runs')], stdout=subprocess.PIPE, text=True,
                         start_new_session=True)
    try:
        began, log = time.monotonic(), f'{sample(epochs=10_000).name}/log.txt'
        while not (f := tmp_path/'runs/example'/log).exists() or 'epoch' not in f.read_text():
            assert p.poll() is None and time.monotonic() - began < 600
            time.sleep(.1)
        p.send_signal(signal.SIGTERM)
        said, _ = p.communicate(timeout=300)
    finally:
        try: os.killpg(p.pid, signal.SIGKILL)
        except ProcessLookupError: pass
    assert p.returncode == 128 + signal.SIGTERM and 'stopped by SIGTERM after epoch' in said
    saved = read_checkpoint(f.parent/'checkpoint.safetensors')[1]
    assert saved['epoch'] >= 1 and not (tmp_path/'ledger').exists()
    open_folder(f.parent, sample(epochs=10_000).recipe, resume=True).close()   # nobody holds it

def test_a_resumed_run_has_the_losses_of_all_its_epochs(tmp_path):
    class StopAfterTwo(Callback):
        order = 60
        def after_epoch(self):
            if self.epoch == 1: self.learn.checkpoint.asked = signal.SIGTERM
    plan = sample(epochs=4)
    run = tmp_path/'runs/example'/plan.name
    with pytest.raises(Interrupted):
        train(plan.recipe, run, bar=False, cbs=[S.ScoreOnlyLast(), StopAfterTwo()])
    stopped = R.read_row(S.run_planned(plan, tmp_path/'a', runs=tmp_path/'runs'))
    whole = R.read_row(S.run_planned(plan, tmp_path/'b'))
    assert stopped['train_losses'] == whole['train_losses'] and stopped['loss'] == whole['loss']

def test_a_finished_run_whose_row_is_lost_gives_it_again(tmp_path):
    plan = sample(epochs=3)
    row = S.run_planned(plan, tmp_path/'a', runs=tmp_path/'runs')
    first = R.read_row(row)
    row.unlink()
    again = R.read_row(S.run_planned(plan, tmp_path/'a', runs=tmp_path/'runs'))
    assert len(first['train_losses']) == 3 and again['train_losses'] == first['train_losses']
    assert (again['accuracy'], again['best']) == (first['accuracy'], first['best'])

def test_a_finished_run_of_another_commit_is_trained_again(tmp_path, monkeypatch):
    "Whoever mends the code and removes the row wants a new run, not the old weights once more."
    from dems_nb import run
    trained = []
    class Count(S.ScoreOnlyLast):
        def before_epoch(self): trained.append(self.epoch)
    monkeypatch.setattr(S, 'ScoreOnlyLast', Count)
    def again(commit):
        monkeypatch.setattr(run, '_commit', lambda: commit)
        trained.clear()
        row = S.run_planned(sample(), tmp_path/'a', runs=tmp_path/'runs')
        commit = R.read_row(row)['commit']
        row.unlink()
        return len(trained), commit
    assert again('first') == (sample().recipe.epochs, 'first')
    assert again('first') == (0, 'first')
    assert again('second') == (sample().recipe.epochs, 'second')

def test_a_row_that_came_meanwhile_is_left_alone(tmp_path, monkeypatch):
    row = S.run_planned(sample(), tmp_path)
    before = row.read_bytes()
    row.unlink()
    monkeypatch.setattr(S, 'dataset_checksum', lambda dls: row.write_bytes(before) and '0'*64)
    assert S.run_planned(sample(), tmp_path).read_bytes() == before
    monkeypatch.setattr(S.subprocess, 'Popen', lambda *a, **kw: 1/0)
    said = []
    assert S._in_another_process(sample(), tmp_path, None, 1, None, said.append, set())
    assert 'done meanwhile' in said[0]

def test_a_run_of_a_model_that_was_given_is_not_the_base(tmp_path):
    row = R.read_row(S.run_planned(sample(), tmp_path/'a'))
    other = replace(sample(), study='other')
    assert S.take_over(other, [dict(row, given=['model'])], tmp_path/'b') is None
    assert S.take_over(other, [row], tmp_path/'b')
    result = {k: v for k, v in row.items() if k not in ('study', 'stage', 'variant')}
    (tmp_path/'result.json').write_text(json.dumps({**result, 'given': ['model']}))
    with pytest.raises(ValueError, match='trained from a model that was given'):
        R.enter_run(tmp_path, tmp_path/'b', 'x', 'images')
    line = R.paper_table([dict(row, recipe=dict(row['recipe'], model='dems_tiny',
                                                dataset='cifar10'), **more)
                          for more in (dict(variant='scales_1'), dict(given=['model']))]).ours
    assert set(line) == {'not run'}

def test_a_run_whose_positions_a_callback_has_changed_is_not_the_base(tmp_path):
    "It has the name, the recipe and the hash of the model as it is."
    row = R.read_row(S.run_planned(sample(), tmp_path/'a'))
    result = {k: v for k, v in row.items() if k not in ('study', 'stage', 'variant')}
    result['config'] = dict(result['config'], positions='noise')
    (tmp_path/'result.json').write_text(json.dumps(result))
    enter = lambda **kw: R.enter_run(tmp_path, tmp_path/'b', 'x', 'images', **kw)
    with pytest.raises(ValueError, match='other positions than its dems_nano, noise'): enter()
    assert not (tmp_path/'b').exists()
    changed = R.read_row(enter(variant='pos_noise'))
    assert changed['variant'] == 'pos_noise'
    assert S.take_over(replace(sample(), study='y'), [changed], tmp_path/'b') is None
    assert S.take_over(replace(sample(), study='y'), [dict(changed, variant='base')],
                       tmp_path/'b') is None

@pytest.mark.parametrize('broken', [dict(interval=[10**400, 1]), dict(n_scored=10**400),
                                    dict(bs=0), dict(config=[1]), dict(pretrained='x')])
def test_what_is_beyond_all_bounds_is_refused_by_name(broken):
    row = R.read_row(next((ledger/'cifar10').glob('images-*.json')))
    if 'bs' in broken:
        row['recipe'].update(broken)
        row['recipe_hash'] = R.recipe_hash(row['recipe'])
    elif 'n_scored' in broken: row['data'].update(broken)
    else: row.update(broken)
    with pytest.raises(ValueError, match='a/b.json is refused'): R.check_row(row, 'a/b.json')

def test_a_rate_comes_from_runs_of_the_studys_own_size():
    rows = R.read_ledger(ledger)
    def larger(r):
        recipe = dict(r['recipe'], epochs=9*r['recipe']['epochs'])
        return dict(r, recipe=recipe, recipe_hash=R.recipe_hash(recipe), epochs=recipe['epochs'],
                    accuracy=1. if recipe['lr'] == S.lr_grid[0] else 0.)
    for study in ('data_efficiency', 'positions'):
        more = [larger(r) for r in rows if (r['study'], r['stage']) == (study, 'tune')]
        plan = S.studies[study]
        assert more and plan(rows) == plan(rows + more)
        for other in ('ablations', 'budget', 'compression'):                # whose rates they find
            assert S.studies[other](rows) == S.studies[other](rows + more)
            assert S.studies[other](rows)
        assert not S.ablations(more) and not S.compression(more)

def test_a_ledger_that_has_a_study_at_another_size_is_not_gone_on_with(tmp_path, monkeypatch):
    "Without `images`, too: runs of the study's own size were added to those of another."
    monkeypatch.setattr(S, 'run_plans', lambda *a: pytest.fail('something was run'))
    small = S.cifar10([], images=24_000)[0]
    row = R.read_row(next((ledger/'cifar10').glob('tune-*.json')))
    (tmp_path/'cifar10').mkdir()
    (tmp_path/'cifar10/a.json').write_text(json.dumps({
        **row, 'recipe': small.recipe.to_dict(), 'recipe_hash': small.recipe.hash,
        'seed': small.recipe.seed, 'epochs': small.recipe.epochs,
        'images_seen': small.recipe.epochs*row['data']['n_train']}))
    with pytest.raises(ValueError, match='1 runs of cifar10 at another size'):
        S.run_study(['cifar10'], tmp_path)

def test_a_ledger_has_a_study_at_one_size(monkeypatch):
    monkeypatch.setattr(S, 'run_plans', lambda *a: pytest.fail('something was run'))
    with pytest.raises(ValueError, match='runs of cifar10 at another size'):
        S.run_study(['cifar10'], ledger, images=24_000)
    with pytest.raises(ValueError, match='budget .* no other size'):
        S.run_study(['budget'], ledger, images=24_000)
    said = []                                                                   # it is all there
    assert S.run_study(['cifar10'], ledger, say=said.append, images=240_000, seeds=1) == []
    assert len(said) == 1 and re.search(r'cifar10: all \d+ runs have their rows', said[0])

def test_a_ledger_may_have_more_seeds_of_a_study(monkeypatch):
    rows = R.read_ledger(ledger)
    def next_seed(r):
        recipe = dict(r['recipe'], seed=3)
        return dict(r, seed=3, recipe=recipe, recipe_hash=R.recipe_hash(recipe))
    more = [next_seed(r) for r in rows
            if r['study'] == 'cifar10' and r['stage'] != 'tune' and r['seed'] == 0]
    monkeypatch.setattr(S, 'read_ledger', lambda out: rows + more)
    monkeypatch.setattr(S, 'run_plans', lambda *a: pytest.fail('something was run'))
    for seeds in ({}, dict(seeds=1), dict(seeds=4)):
        assert more and S.run_study(['cifar10'], ledger, images=240_000, **seeds) == []

def test_a_variant_has_the_recipes_dropout():
    recipe = Recipe.pretrain('dems_nano', 'cifar10', 10, 50)
    base, changed = (S.make_variant(v, recipe, 10, 3) for v in ('base', 'pos_noise'))
    assert recipe.drop_path > 0 and recipe.attn_drop > 0
    for model in (base, changed):
        assert model.config['drop_path'] == recipe.drop_path
        assert model.config['attn_drop'] == recipe.attn_drop

def test_a_rate_is_chosen_when_the_whole_grid_is_there():
    tuned = [r for r in R.read_ledger(ledger) if r['study'] == 'positions' and r['stage'] == 'tune'
             and (r['recipe']['model'], r['variant']) == ('vit_nano', 'pos_noise')]
    whole = S._tuned_lr(tuned, 'vit_nano', 'pos_noise')
    assert whole == max(tuned, key=lambda r: r['accuracy'])['recipe']['lr']
    with pytest.raises(ValueError, match='learning rates not tuned yet'):
        S._tuned_lr(tuned[1:], 'vit_nano', 'pos_noise')

def test_a_failed_run_of_one_study_leaves_anothers_of_that_name_alone(tmp_path, monkeypatch):
    tried = []
    def fails(plans, *args):
        tried.extend(p.study for p in plans)
        return [p.name for p in plans]
    monkeypatch.setattr(S, 'run_plans', fails)
    for name in ('a', 'b'):
        plan = replace(sample(), study=name)
        monkeypatch.setitem(S.studies, name, lambda rows, plan=plan: [plan])
    failed = S.run_study(['a', 'b'], tmp_path)
    assert tried == ['a', 'b'] and failed == [sample().name]*2

def test_half_a_row_is_never_there(tmp_path, monkeypatch):
    "A run that fails before its end leaves nothing."
    monkeypatch.setattr(S, 'dataset_checksum', lambda dls: 1/0)
    with pytest.raises(ZeroDivisionError): S.run_planned(sample(), tmp_path)
    assert list(tmp_path.rglob('*')) == []

def test_tuning_never_sees_the_test_set():
    for plans in (S.data_efficiency([]), S.cifar10([])):
        assert all(p.recipe.holdout and p.stage == 'tune' for p in plans)

def test_a_broken_row_stops_the_driver_by_name(tmp_path):
    (tmp_path/'example').mkdir(); (tmp_path/'example'/'x.json').write_text('{}')
    with pytest.raises(ValueError, match='example/x.json is refused'):
        S.run_plans([sample()], tmp_path)

def test_the_command(tmp_path, capsys):
    with pytest.raises(SystemExit) as e: S.main(['nothing'])
    assert e.value.code == 2 and 'data_efficiency' in capsys.readouterr().err
    with pytest.raises(SystemExit) as e: S.main(['--help'])
    assert e.value.code == 0

@pytest.mark.parametrize('field', ['model', 'dataset'])
def test_a_run_is_entered_where_the_ledger_is_and_nowhere_else(field, tmp_path):
    "Names of the recipe, which become the row's file name, cannot lead out of the ledger."
    row = next((ledger/'cifar10').glob('images-dems_nano-*n4000*.json'))
    result = json.loads(row.read_text())
    result = {k: v for k, v in result.items() if k not in ('study', 'stage', 'variant')}
    run, rows = tmp_path/'run', tmp_path/'deep/er/ledger'
    run.mkdir()
    (run/'result.json').write_text(json.dumps(result))
    assert R.enter_run(run, rows, 'x', 'images').parent == rows/'x'
    there = sorted(tmp_path.rglob('*'))
    result['recipe'][field] = '../../../evil'
    result['recipe_hash'] = R.recipe_hash(result['recipe'])
    (run/'result.json').write_text(json.dumps(result))
    with pytest.raises(ValueError, match='evil'): R.enter_run(run, rows, 'x', 'images')
    assert sorted(tmp_path.rglob('*')) == there

def test_a_study_that_waits_for_another_says_so(tmp_path, capsys):
    "On an empty ledger: it printed nothing, and the exit status was 0."
    with pytest.raises(SystemExit) as e: S.main(['ablations', '--out', str(tmp_path)])
    said = capsys.readouterr().err
    assert e.value.code == 2 and 'ablations has nothing to run yet' in said
    assert 'run dems_study data_efficiency first' in said and not any(tmp_path.iterdir())
