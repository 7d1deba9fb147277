"Every exercise: its stub says not done, its folded solution passes, and plausible mistakes fail by name. All taken from the notebooks themselves."
import ast, io, json, matplotlib, pytest, re, runpy, subprocess, sys, torch
from contextlib import redirect_stdout
from pathlib import Path
from dems_nb import exercises as E
matplotlib.use('Agg')
import matplotlib.pyplot as plt

root = Path(__file__).parent.parent
COURSE = ['00_layout', '01_tokenizer', '02_interaction', '03_model', '04_weights', '05_data', '06_augment', '07_learner', '08_visualize']
books = sorted(p for p in (root/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
source = lambda c: ''.join(c['source'])
ASKED = re.compile(r"^check\('(\d\d\.\d+)'.*\)$", re.M)

def in_book(p):
    "The exercises of a notebook: number -> (index of the stub's cell, its code, all cells)."
    cells = json.loads(p.read_text())['cells']
    if p.stem == '14_exercises': return {}                                                 # where the checks are made and shown
    return {m[1]: (i, source(c), cells) for i, c in enumerate(cells) if c['cell_type'] == 'code' for m in [ASKED.search(source(c))] if m}

posed = {id: (p, *rest) for p in books for id, rest in in_book(p).items()}
MISTAKES = {id: ms for f in sorted((root/'tests/mistakes').glob('*.py')) for id, ms in runpy.run_path(str(f))['mistakes'].items()}

def folded(id):
    "The folded cells after a stub: (hint, solution, its code)."
    p, i, _, cells = posed[id]
    text = ''
    for c in cells[i+1:]:
        if c['cell_type'] != 'markdown': break
        text += source(c) + '\n\n'
        if f'Solution {id}' in source(c): break
    text = re.split(r'^###? (?!.*Solution)', text, flags=re.M)[0]
    parts = {t: body for t, body in re.findall(r'<details><summary>(.*?)</summary>\n\n(.*?)</details>', text, re.S)}
    solution = parts.get(f'Solution {id}', '')
    code = re.search(r'^~~~python\n(.*?)\n~~~$', solution, re.S | re.M)
    return parts.get('Hint'), solution, code and code[1]

def names(id):
    """What a student has at hand in that cell: all that the exported cells above define, which are other classes than the package's,
    and the imports, definitions and temporary folder of the other cells above."""
    p, i, _, cells = posed[id]
    space = dict(__name__='__main__')
    for c in cells[:i]:
        if c['cell_type'] != 'code' or 'COLAB_RELEASE_TAG' in source(c): continue
        code = ast.parse(source(c))
        defines = lambda n: isinstance(n, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)) or 'mkdtemp' in ast.unparse(n)
        if '#| export' not in source(c): code.body = [n for n in code.body if defines(n)]
        exec(compile(code, p.name, 'exec'), space)
    return space

def verdict(id, answer=None):
    "Run the stub's cell, with the student's definitions replaced by `answer`, and return the verdict of its own `check`."
    space, cell, seen = names(id), posed[id][2], []
    space['check'] = lambda *args: seen.append(E.mark(*args))
    at = ASKED.search(cell).start()
    exec(cell[:at], space)
    if answer is not None: exec(answer, space)
    exec(cell[at:], space)
    return seen[0]

def test_every_exercise_is_posed_once_and_checked():
    assert sorted(posed) == sorted(E.EXERCISES), 'exercises in the notebooks, and those that exercises.py knows'
    assert sum(len(in_book(p)) for p in books) == len(posed), 'a number is used twice'
    assert all(p.stem[:2] == id[:2] for id, (p, *_) in posed.items())

@pytest.mark.parametrize('chapter', COURSE)
def test_a_chapter_has_at_least_three(chapter): assert len(in_book(root/f'nbs/{chapter}.ipynb')) >= 3

@pytest.mark.parametrize('id', sorted(posed))
def test_the_stub_says_not_done_yet(id):
    v = verdict(id)
    assert v.state == 'todo' and str(v) == f'· {id} {v.exercise.title}: not done yet'
    _, i, _, cells = posed[id]
    assert str(v) in ''.join(o['text'] if isinstance(o['text'], str) else ''.join(o['text']) for o in cells[i]['outputs']), 'and so does the saved notebook'

@pytest.mark.parametrize('id', sorted(posed))
def test_the_folded_solution_passes(id):
    hint, text, code = folded(id)
    assert hint and len(hint.strip()) > 20, 'a folded hint'
    assert code, f'a folded "Solution {id}" with a ~~~python block'
    v = verdict(id, code)
    assert v.state == 'done', str(v)
    assert re.match(rf'✓ {id} .*: \S.{{15,}}', str(v)), 'a tick and what was shown'

@pytest.mark.parametrize('id', sorted(posed))
def test_answers_are_checked_among_the_notebooks_own_classes(id):
    "A chapter defines again what its module holds; a checker that asks for the package's class would refuse every right answer."
    space, (p, i, _, cells) = names(id), posed[id]
    exported = {n.name for c in cells[:i] if c['cell_type'] == 'code' and '#| export' in source(c)
                for n in ast.parse(source(c)).body if isinstance(n, ast.ClassDef)}
    assert all(space[n].__module__ == '__main__' for n in exported)

@pytest.mark.parametrize('id', sorted(posed))
def test_it_is_not_passed_by_half_an_answer(id):
    "Where an explanation is asked, the numbers alone do not do."
    cell = posed[id][2]
    if '= ...' not in cell: pytest.skip('one answer only')
    code = re.sub(r"^(\w+) = ['\"]\w['\"]$", r'\1 = ...', folded(id)[2], flags=re.M)
    assert '= ...' in code
    v = verdict(id, code)
    assert v.state == 'todo' and 'still to be chosen' in v.said

@pytest.mark.parametrize('id', sorted(E.EXERCISES))
def test_there_are_three_mistakes_at_least(id): assert len(MISTAKES.get(id, ())) >= 3

@pytest.mark.parametrize('id, kind, code', [(id, *m) for id, ms in sorted(MISTAKES.items()) for m in ms], ids=lambda x: x.strip()[:40].replace('\n', ' ') if isinstance(x, str) else None)
def test_a_plausible_mistake_fails_by_name(id, kind, code):
    v = verdict(id, code)
    assert v.state == 'wrong', str(v)
    assert kind in v.said, v.said
    assert len(v.said) < 400 and '\n' not in v.said, v.said
    if v.draw: v.draw(); assert plt.get_fignums(); plt.close('all')

RIGHT = {id: a for f in sorted((root/'tests/mistakes').glob('*.py')) for id, a in runpy.run_path(str(f)).get('right', {}).items()}
@pytest.mark.parametrize('id, code', [(id, a) for id, answers in sorted(RIGHT.items()) for a in answers], ids=lambda x: x.strip()[:40].replace('\n', ' '))
def test_a_right_answer_in_another_style_passes(id, code):
    v = verdict(id, code)
    assert v.state == 'done', str(v)

@pytest.mark.parametrize('id', sorted(posed))
def test_every_explanation_is_answered(id):
    "Each wrong letter is told why, each letter offered is known, and the wrong ones are told apart."
    _, i, cell, cells = posed[id]
    if '= ...' not in cell: pytest.skip('no explanation asked')
    offered = re.findall(r"^- `'(\w)'`", source(cells[i-1]), re.M)
    code = folded(id)[2]
    told = [verdict(id, re.sub(r"^(\w+) = ['\"]\w['\"]$", rf"\1 = '{l}'", code, flags=re.M)) for l in offered]
    assert len(offered) >= 3 and sum(v.state == 'done' for v in told) == 1
    assert len({v.said for v in told}) == len(told)
    assert 'give one of' in verdict(id, re.sub(r"^(\w+) = ['\"]\w['\"]$", r"\1 = 'z'", code, flags=re.M)).said

def test_no_solution_is_in_the_package():
    text = (root/'dems_nb/exercises.py').read_text()
    def there(code): return all(l.strip() in text for l in code.splitlines() if len(l.strip()) > 15)
    assert there('    names, got, want = axes.split(), tuple(got), tuple(want)\n    if got == want: return'), 'the check sees what is there'
    for id in posed: assert not there(folded(id)[2]), id

@pytest.mark.parametrize('p', [p for p in books if p.stem != '14_exercises'], ids=lambda p: p.stem)
def test_no_tick_is_committed(p):
    for c in json.loads(p.read_text())['cells']:
        for o in c.get('outputs', ()): assert not re.search(r'^[✓✗] \d\d\.\d', ''.join(o.get('text', '')), re.M)

# the framework
def test_shape_before_dtype_before_values():
    want = torch.arange(6.).view(2, 3)
    said = lambda got, **kw: pytest.raises(E.Wrong, E.compare, got, want, 'row column', **kw).value.args[0]
    assert 'shape' in said(torch.zeros(1, 3).long()) and 'dtype' not in said(torch.zeros(1, 3).long())
    assert 'dtype' in said(torch.zeros(2, 3).long()) and 'differ' in said(torch.zeros(2, 3))
    for stretched in (want[:1], want[:, :1], want[0], torch.tensor(0.), want[None]): assert 'shape' in said(stretched)
    assert 'axis 0 (row) has size 1, not 2' in said(want[:1])
    assert said(want[:1], slips={'the rows were averaged': want[:1]}) == 'the rows were averaged'

def test_small_differences_count_and_rounding_does_not():
    want = torch.linspace(1, 2, 100).view(10, 10)
    E.compare(want*(1 + 1e-6), want, 'a b')
    for bad in (want*1.01, want.clone().index_put((torch.tensor(9), torch.tensor(9)), torch.tensor(float('nan')))):
        with pytest.raises(E.Wrong): E.compare(bad, want, 'a b')
    big = torch.arange(10**6)
    with pytest.raises(E.Wrong, match='1 of 1000000 values differ'): E.compare(big + (big == 5), big, 'a')

def test_a_foreign_not_implemented_is_an_error():
    def answer(x): raise NotImplementedError("Could not run 'aten::foo' on the backend")
    with pytest.raises(E.Wrong, match='raised NotImplementedError: Could not run'): E.ask(answer, 1, case='one')

def test_checking_leaves_the_random_state_alone():
    torch.manual_seed(3); before = torch.get_rng_state()
    verdict('00.1', folded('00.1')[2]); verdict('02.1', folded('02.1')[2]) if '02.1' in posed else None
    assert torch.equal(torch.get_rng_state(), before)

def test_check_prints_and_draws(capsys):
    E.check('00.1', lambda fine, coarse: torch.arange(fine**2).view(coarse**2, -1))
    assert capsys.readouterr().out.startswith('✗ 00.1 the correspondence map: from a 4×4 grid to 2×2: a flat list was cut into runs')
    plt.close('all')

def test_progress_is_read_and_not_run(tmp_path):
    "Of the notebooks as committed: all is to be done; solved and saved, it is done."
    p = posed['00.1'][0]
    doc = json.loads(p.read_text())
    tmp = tmp_path/'nbs'; tmp.mkdir()
    (tmp/p.name).write_text(json.dumps(doc))
    assert set(E.saved_progress(tmp)['00_layout'].values()) == {'todo'}
    for c in doc['cells']:
        if "check('00.1'" in source(c): c['outputs'] = [dict(output_type='stream', name='stdout', text=[str(verdict('00.1', folded('00.1')[2])) + '\n'])]
        elif c['cell_type'] == 'code': c['source'] = 'raise SystemExit("run!")\n' + source(c)
    (tmp/p.name).write_text(json.dumps(doc))
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', 'from dems_nb.exercises import main; main()', str(tmp)], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stderr
    assert '✓ 00.1 the correspondence map' in done.stdout and '· 00.2' in done.stdout and '1 of 3 exercises done' in done.stdout
    none = subprocess.run([sys.executable, '-W', 'ignore', '-c', 'from dems_nb.exercises import main; main()', str(tmp_path/'no')], capture_output=True, text=True, cwd=root)
    assert none.returncode != 0 and 'there is no notebook' in none.stderr and 'Traceback' not in none.stderr
