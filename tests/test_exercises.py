"""Every exercise: its stub says not done, its solution passes, plausible mistakes fail by name.

All is taken from the notebooks themselves, the mistakes from `tests/mistakes/`.
"""
import ast
import functools
import inspect
import json
import re
import runpy
import sys
from pathlib import Path

import matplotlib
import pytest
import torch

import dems_nb.checks
from dems_nb.checks import core
from dems_nb.data import get_dls
from dems_nb.checks.progress import main as dems_progress, saved_progress

matplotlib.use('Agg')
import matplotlib.pyplot as plt

root = Path(__file__).parent.parent
COURSE = ['00_layout', '01_tokenizer', '02_interaction', '03_model', '04_weights', '05_data',
          '06_augment', '07_learner', '08_visualize']
ASKED = re.compile(r"^check\('(\d\d\.\d+)'.*\)$", re.M)
books = sorted(path for path in (root/'nbs').rglob('*.ipynb')
               if '.ipynb_checkpoints' not in path.parts)
files = sorted((root/'tests/mistakes').glob('*.py'))
source = lambda cell: ''.join(cell['source'])
cells_of = functools.cache(lambda path: json.loads(path.read_text(encoding='utf-8'))['cells'])


def in_book(path):
    "The exercises of a notebook: number -> (index of the stub's cell, its code, all cells)."
    cells = cells_of(path)
    found = {}
    for i, cell in enumerate(cells):
        asked = ASKED.search(source(cell)) if cell['cell_type'] == 'code' else None
        if asked: found[asked[1]] = (i, source(cell), cells)
    return found


posed = {id: (path, *rest) for path in books for id, rest in in_book(path).items()}
MISTAKES = {id: entries for file in files
            for id, entries in runpy.run_path(str(file))['mistakes'].items()}
RIGHT = {id: codes for file in files
         for id, codes in runpy.run_path(str(file)).get('right', {}).items()}


def folded(id):
    "The folded cells after a stub: (hint, solution, its code)."
    _, i, _, cells = posed[id]
    text = ''
    for cell in cells[i+1:]:
        if cell['cell_type'] != 'markdown': break
        text += source(cell) + '\n\n'
        if f'Solution {id}' in source(cell): break
    text = re.split(r'^###? (?!.*Solution)', text, flags=re.M)[0]
    folds = r'<details><summary>(.*?)</summary>\n\n(.*?)</details>'
    parts = dict(re.findall(folds, text, re.S))
    solution = parts.get(f'Solution {id}', '')
    code = re.search(r'^~~~python\n(.*?)\n~~~$', solution, re.S | re.M)
    return parts.get('Hint'), solution, code and code[1]


def defines(node):
    "Is it an import, a definition or a temporary folder?"
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    return isinstance(node, kinds) or ast.unparse(node).endswith('= Path(tempfile.mkdtemp())')


@functools.cache
def names_above(id):
    """What a student has at hand in that cell.

    All that the exported cells above define, which are other classes than the package's, and the
    imports, definitions and temporary folder of the other cells above.
    """
    path, i, _, cells = posed[id]
    space = dict(__name__='__main__')
    for cell in cells[:i]:
        if cell['cell_type'] != 'code' or 'COLAB_RELEASE_TAG' in source(cell): continue
        code = ast.parse(source(cell))
        if '#| export' not in source(cell): code.body = [n for n in code.body if defines(n)]
        exec(compile(code, path.name, 'exec'), space)
    return space


def verdict(id, answer=None):
    "The verdict of the stub's cell, with the student's definitions replaced by `answer`."
    space = dict(names_above(id))
    cell = posed[id][2]
    seen = []
    space['check'] = lambda *args: seen.append(core.mark(*args))
    at = ASKED.search(cell).start()
    exec(cell[:at], space)
    if answer is not None: exec(answer, space)
    exec(cell[at:], space)
    if seen[0].error: raise seen[0].error                 # a student is told, we are to mend it
    return seen[0]


def with_letter(code, letter):
    "A solution with another explanation."
    return re.sub(r"^(\w+) = ['\"]\w['\"]$", rf'\1 = {letter}', code, flags=re.M)


def short(value):
    "The start of a code, for the name of a test."
    return value.strip()[:40].replace('\n', ' ') if isinstance(value, str) else None


def test_every_exercise_is_posed_once_and_checked():
    assert sorted(posed) == sorted(core.EXERCISES), 'those in notebooks, those with a checker'
    assert sum(len(in_book(path)) for path in books) == len(posed), 'a number is used twice'
    assert all(path.stem[:2] == id[:2] for id, (path, *_) in posed.items())


@pytest.mark.parametrize('chapter', COURSE)
def test_a_chapter_has_three_or_four(chapter):
    assert len(in_book(root/f'nbs/{chapter}.ipynb')) in (3, 4)


@pytest.mark.parametrize('id', sorted(posed))
def test_the_stub_says_not_done_yet(id):
    found = verdict(id)
    assert found.state == 'todo' and str(found) == f'· {id} {found.exercise.title}: not done yet'
    _, i, _, cells = posed[id]
    saved = ''.join(''.join(output['text']) for output in cells[i]['outputs'])
    assert str(found) in saved, 'and so does the saved notebook'


@pytest.mark.parametrize('id', sorted(posed))
def test_the_folded_solution_passes(id):
    hint, text, code = folded(id)
    assert hint and len(hint.strip()) > 20, 'a folded hint'
    assert code, f'a folded "Solution {id}" with a ~~~python block'
    found = verdict(id, code)
    assert found.state == 'done', str(found)
    assert re.match(rf'✓ {id} .*: \S.{{15,}}', str(found)), 'a tick and what was shown'


@pytest.mark.parametrize('id', sorted(posed))
def test_answers_are_checked_among_the_notebooks_own_classes(id):
    "A chapter defines again what its module holds; its own classes must do."
    space = names_above(id)
    path, i, _, cells = posed[id]
    exported = {node.name for cell in cells[:i]
                if cell['cell_type'] == 'code' and '#| export' in source(cell)
                for node in ast.parse(source(cell)).body if isinstance(node, ast.ClassDef)}
    assert all(space[name].__module__ == '__main__' for name in exported)


@pytest.mark.parametrize('id', sorted(posed))
def test_it_is_not_passed_by_half_an_answer(id):
    "Where an explanation is asked, the numbers alone do not do."
    if '= ...' not in posed[id][2]: pytest.skip('no explanation asked')
    code = with_letter(folded(id)[2], '...')
    assert '= ...' in code
    found = verdict(id, code)
    assert found.state == 'todo' and 'still to be chosen' in found.message


@pytest.mark.parametrize('id', sorted(core.EXERCISES))
def test_there_are_three_mistakes_at_least(id): assert len(MISTAKES.get(id, ())) >= 3


@pytest.mark.parametrize('id, kind, code',
                         [(id, *entry) for id in sorted(MISTAKES) for entry in MISTAKES[id]],
                         ids=short)
def test_a_plausible_mistake_fails_by_name(id, kind, code):
    found = verdict(id, code)
    assert found.state == 'wrong', str(found)
    assert kind in found.message, found.message
    assert len(found.message) < 400 and '\n' not in found.message, found.message
    if found.draw:
        found.draw()
        assert plt.get_fignums()
        plt.close('all')


@pytest.mark.parametrize('id, code', [(id, code) for id in sorted(RIGHT) for code in RIGHT[id]],
                         ids=short)
def test_a_right_answer_in_another_style_passes(id, code):
    found = verdict(id, code)
    assert found.state == 'done', str(found)


def test_a_gain_that_is_no_number_is_not_said_to_be_simulated_too_seldom():
    found = verdict('07.4', "def luck(p, n, k): return float('nan')\nwhy = 'b'")
    assert found.state == 'wrong' and found.message.endswith('the gain is nan, expected 0.0337593')


def test_that_an_answer_changes_nothing_it_is_given_is_said_before_the_first_exercise():
    _, i, _, cells = posed['00.1']
    [start] = [source(cell) for cell in cells[:i] if '## Exercises' in source(cell)]
    assert 'An answer leaves what it is given as it is' in start


def test_a_resume_can_be_broken_again_and_again(tmp_path):
    "The two cells of 09.1, with a short run: a part is left out twice, and all is begun anew."
    _, i, stub, cells = posed['09.1']
    space = {**names_above('09.1'), 'folder': tmp_path}
    dls = get_dls('sample', n_train=50, bs=16, holdout=20, device='cpu', seed=0)
    space['train'] = functools.partial(space['train'], dls=dls)
    begin = source(cells[i-1]).replace('n_train=320, epochs=3', 'n_train=50, bs=16, epochs=2')
    exec(begin, space)
    exec(stub[:ASKED.search(stub).start()], space)
    found = [space['forgetting'](part) for part in ('losses', 'losses', 'rows')]
    assert found == [(0., True), (0., True), (0., False)]
    exec(begin, space)


@pytest.mark.parametrize('id', sorted(posed))
def test_every_explanation_is_answered(id):
    "Each wrong letter is told why, each letter offered is known, the wrong ones are told apart."
    _, i, cell, cells = posed[id]
    if '= ...' not in cell: pytest.skip('no explanation asked')
    offered = re.findall(r"^- `'(\w)'`", source(cells[i-1]), re.M)
    code = folded(id)[2]
    found = [verdict(id, with_letter(code, repr(letter))) for letter in offered]
    assert len(offered) >= 3 and sum(one.state == 'done' for one in found) == 1
    assert len({one.message for one in found}) == len(found)
    assert 'give one of' in verdict(id, with_letter(code, "'z'")).message


# the files of the checkers

modules = sorted((root/'dems_nb/checks').glob('*.py'))
package = '\n'.join(path.read_text(encoding='utf-8') for path in modules)


def test_no_solution_is_in_the_package():
    def there(code):
        lines = [line.strip() for line in code.splitlines() if len(line.strip()) > 15]
        return all(line in package for line in lines)

    assert there('    shape = tuple(shape)\n    truth = tuple(truth)'), 'it sees what is there'
    for id in posed: assert not there(folded(id)[2]), id


@pytest.mark.parametrize('path', modules, ids=lambda path: path.stem)
def test_a_checker_says_in_a_line_what_each_function_is(path):
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)): continue
        inner = node.name.startswith('__') or node.col_offset
        text = ast.get_docstring(node)
        assert inner or text and len(text.splitlines()[0]) > 3, f'{path.name}: {node.name}'


@pytest.mark.parametrize('path', [*modules, *files, Path(__file__)], ids=lambda path: path.stem)
def test_lines_are_at_most_100_columns(path):
    wide = [line for line in path.read_text(encoding='utf-8').splitlines() if len(line) > 100]
    assert not wide, wide


class Comparisons(list):
    "Notes what the checkers compare: (truth, pairs of message and value, where)."
    def note(self, original, pair=False):
        def compare(answer, truth, *args, **keywords):
            signature = inspect.signature(original).bind(answer, truth, *args, **keywords)
            signature.apply_defaults()
            arguments = signature.arguments
            slips = list(arguments['slips'])
            arguments['slips'] = slips
            if slips:
                numbers = torch.tensor(truth) if pair or not torch.is_tensor(truth) else truth
                values = [(message, torch.as_tensor(value)) for message, value in slips]
                self.append((numbers, values, arguments.get('eps', 1e-4)))
            return original(*signature.args, **signature.kwargs)
        return compare


@pytest.mark.parametrize('id', sorted(posed))
def test_no_two_slips_give_the_same_where_they_are_first_wrong(id, monkeypatch):
    "Else the message might name the wrong one: change the case."
    noted = Comparisons()
    module = sys.modules[core.EXERCISES[id].checker.__module__]
    for name in ('compare', 'compare_number', 'compare_pair'):
        if not hasattr(module, name): continue
        spy = noted.note(getattr(core, name), pair=name == 'compare_pair')
        monkeypatch.setattr(module, name, spy)
    assert verdict(id, folded(id)[2]).state == 'done'
    done = set()
    for truth, values, eps in noted:
        wrong = [(message, value.to(truth.dtype)) for message, value in values
                 if not core.alike(value.to(truth.dtype), truth, min(eps, 1e-3))]
        for message, value in wrong:
            if message in done: continue
            twins = [other for other, same in wrong if other != message
                     and core.alike(same, value, min(eps, 1e-3))]
            assert not twins, f'{message!r} and {twins} give the same'
        done |= {message for message, value in wrong}
    assert done == {message for _, values, _ in noted for message, _ in values}, 'never wrong'


@pytest.mark.parametrize('path', books, ids=lambda path: path.stem)
def test_no_tick_is_committed(path):
    for cell in cells_of(path):
        for output in cell.get('outputs', ()):
            assert not re.search(r'^[✓✗] \d\d\.\d', ''.join(output.get('text', '')), re.M)


# the framework

def message_of(answer, truth, axes, **keywords):
    "What an answer is told."
    with pytest.raises(core.Wrong) as caught: core.compare(answer, truth, axes, **keywords)
    return str(caught.value)


def test_shape_before_dtype_before_values():
    truth = torch.arange(6.).view(2, 3)
    told = lambda answer, **keywords: message_of(answer, truth, 'row column', **keywords)
    both = told(torch.zeros(1, 3).long())
    assert 'shape' in both and 'dtype' not in both
    assert told(torch.zeros(2, 3).long()) == 'dtype torch.int64, expected torch.float32'
    for stretched in (truth[:1], truth[:, :1], truth[0], torch.tensor(0.), truth[None]):
        assert 'shape' in told(stretched)
    assert 'axis 0 (row) has size 1, not 2' in told(truth[:1])
    assert 'axis 1 (column) has size 1, not 3 (size 1 would broadcast' in told(truth[:, :1])
    assert 'the axes are in another order' in told(truth.T)
    assert '1 axes, not 2' in told(truth.flatten())
    assert told(truth.tolist()) == 'a tensor is expected, this is a list'
    assert told(truth.numpy()) == 'a tensor is expected, this is an ndarray'
    rows = [('the rows were averaged', truth[:1])]
    assert told(truth[:1], slips=rows) == 'the rows were averaged'
    off = truth + (truth == 4)*.5
    assert '2×3: 1 of 6 values differ, first at row 1, column 1' in told(off, case='2×3')


def test_small_differences_count_and_rounding_does_not():
    truth = torch.linspace(1, 2, 100).view(10, 10)
    core.compare(truth*(1 + 1e-6), truth, 'a b')
    hole = truth.clone()
    hole[9, 9] = float('nan')
    for answer in (truth*1.01, hole):
        with pytest.raises(core.Wrong): core.compare(answer, truth, 'a b')
    big = torch.arange(10**6)
    assert '1 of 1000000 values differ' in message_of(big + (big == 5), big, 'a')


def test_numbers_and_letters():
    core.compare_number(torch.tensor(3.), 3, 'the number of regions')
    with pytest.raises(core.Wrong, match='expected 4: counted twice'):
        core.compare_number(8, 4, 'their number', slips=[('counted twice', 8)])
    with pytest.raises(core.Wrong, match=r'one number, this is a Tensor of shape \(2,\)'):
        core.compare_number(torch.ones(2), 4, 'their number')
    with pytest.raises(core.Wrong, match="give one of 'a', 'b'"):
        core.compare_choice('c', 'a', {'b': 'no'})
    with pytest.raises(core.Wrong, match="explanation 'b' is not: both are equal"):
        core.compare_choice('b', 'a', {'b': 'both are equal'})
    with pytest.raises(NotImplementedError, match='still to be chosen'):
        core.compare_choice(..., 'a', {'b': 'no'})


def test_of_two_slips_the_nearest_is_named():
    slips = [('far', 1.04), ('near', 1.01)]
    with pytest.raises(core.Wrong, match='near'):
        core.compare_number(1.011, 2., 'it', slips=slips, eps=.05)


def test_how_an_answer_is_called():
    def foreign(x): raise NotImplementedError("Could not run 'aten::foo' on the backend")
    assert core.ask(len, [1, 2], case='two') == 2
    with pytest.raises(core.Wrong, match='raised NotImplementedError: Could not run'):
        core.ask(foreign, 1, case='one')
    with pytest.raises(core.Wrong, match='two: raised IndexError: list index out of range'):
        core.ask(lambda x: x[7], [1, 2], case='two')
    with pytest.raises(core.Wrong, match='returned None'):
        core.ask(lambda: None, case='nothing')
    with pytest.raises(core.Wrong, match='argument 0 was changed in place'):
        core.ask(lambda x: x.add_(1), torch.zeros(2), case='zeros')


@pytest.mark.parametrize('draw, library', [
    ('torch.rand(1)', 'PyTorch'), ('np.random.rand()', 'NumPy'),
    ('random.random()', 'Python'), ('random.seed(0)', 'Python')])
def test_a_global_random_state_is_watched(draw, library):
    space = {}
    exec(f'import random, torch, numpy as np\ndef answer(): {draw}; return 1', space)
    with pytest.raises(core.Wrong, match=f'has changed, that of {library}'):
        core.ask_quietly(space['answer'], case='one')
    assert core.ask_quietly(lambda: 1, case='one') == 1


@pytest.mark.parametrize('body', [
    'for i in range(len(x)): x[i] = 0', '[i for i in range(len(x))]',
    'n = 0\n    while n < len(x): n += 1', 'np.apply_along_axis(lambda r: r, 1, x.numpy())',
    'y = x.numpy().copy()\n    for row in y: row[0] = 1', 'list(map(lambda r: r.sum(), x))'])
def test_a_loop_shows_whatever_it_calls(body):
    space = {}
    exec(f'import numpy as np\ndef loops(x):\n    {body}\n    return x', space)
    few = (torch.zeros(2, 3),)
    many = (torch.zeros(64, 3),)
    with pytest.raises(core.Wrong, match='it loops over images'):
        core.refuse_loop(space['loops'], few, many, 'images')
    core.refuse_loop(lambda x: torch.vmap(lambda row: row.sum())(x), few, many, 'images')


@pytest.mark.parametrize('body', [
    'for k in range(i): torch.rand(2)', '[np.random.rand(2) for k in range(i)]',
    'for k in range(i): (lambda: 0)()', '[g.random(2) for g in [np.random.default_rng(0)]*i]'])
def test_what_is_called_again_for_each_one_before_shows(body):
    space = {}
    exec(f'import torch, numpy as np\ndef answer(i):\n    {body}', space)
    assert core.function_calls(space['answer'], 60) - core.function_calls(space['answer'], 2) >= 58
    idle = lambda i: [k for k in range(i) if k < i]
    assert core.function_calls(idle, 60) == core.function_calls(idle, 2)


def test_the_three_verdicts(monkeypatch, capsys):
    "A small exercise, to see them."
    monkeypatch.setattr(core, 'EXERCISES', {})
    slips = core.Slips()

    @slips
    def squared(x):
        "that is the square, not the double"
        return x**2

    @core.exercise('99.1', 'double a vector')
    def check_double(double):
        x = torch.tensor([1., 2.])
        core.compare(core.ask(double, x, case='[1, 2]'), 2*x, 'element', '[1, 2]', slips.of(x))
        return 'two elements doubled'

    def stub(x): raise NotImplementedError
    core.check('99.1', stub)
    core.check('99.1', lambda x: x**2)
    core.check('99.1', lambda x: x + x)
    assert capsys.readouterr().out == (
        '· 99.1 double a vector: not done yet\n'
        '✗ 99.1 double a vector: [1, 2]: that is the square, not the double\n'
        '✓ 99.1 double a vector: two elements doubled\n')
    with pytest.raises(ValueError, match='exercise 99.1 is there already: double a vector'):
        core.exercise('99.1', 'again')
    with pytest.raises(ValueError, match="there is no exercise '99.2': the numbers are 99.1"):
        core.mark('99.2', stub)


def test_an_answer_that_was_not_foreseen_is_wrong_and_the_error_is_kept(monkeypatch, capsys):
    monkeypatch.setattr(core, 'EXERCISES', {})

    @core.exercise('99.1', 'sort names')
    def check_sorted(sort):
        if sorted(core.ask(sort, ['b', 'a'], case='two')) == ['a', 'b']: return 'two names sorted'

    answer = lambda names: [None, *names]
    core.check('99.1', answer)
    assert capsys.readouterr().out == (
        '✗ 99.1 sort names: this answer could not be compared: '
        "TypeError: '<' not supported between instances of 'str' and 'NoneType'\n")
    assert isinstance(core.mark('99.1', answer).error, TypeError)
    assert core.mark('99.1', sorted) == (core.EXERCISES['99.1'], 'done', 'two names sorted',
                                         None, None)


def test_checking_leaves_the_random_state_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    for id in ('00.1', '02.1'): verdict(id, folded(id)[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_check_prints_and_draws(capsys):
    dems_nb.checks.check('00.1', lambda fine, coarse: torch.arange(fine**2).view(coarse**2, -1))
    assert capsys.readouterr().out.startswith(
        '✗ 00.1 the correspondence map: from a 4×4 grid to 2×2: a flat list was cut into runs')
    plt.close('all')


# how far one is

def test_progress_is_read_and_not_run(tmp_path, capsys):
    "Of the notebooks as committed: all is to be done; solved and saved, it is done."
    path = posed['00.1'][0]
    doc = json.loads(path.read_text(encoding='utf-8'))
    copy = tmp_path/'nbs'/path.name
    copy.parent.mkdir()
    copy.write_text(json.dumps(doc))
    assert set(saved_progress(copy.parent)['00_layout'].values()) == {'todo'}
    tick = str(verdict('00.1', folded('00.1')[2])) + '\n'
    for cell in doc['cells']:
        if "check('00.1'" in source(cell):
            cell['outputs'] = [dict(output_type='stream', name='stdout', text=[tick])]
        elif cell['cell_type'] == 'code':
            cell['source'] = 'raise SystemExit("run!")\n' + source(cell)
    copy.write_text(json.dumps(doc))
    dems_progress([str(copy.parent)])
    text = capsys.readouterr().out
    for line in ('✓ 00.1 the correspondence map', '· 00.2', '1 of 3 exercises done'):
        assert line in text
    with pytest.raises(SystemExit, match='dems_progress: there is no notebook'):
        dems_progress([str(tmp_path/'no')])


def test_progress_believes_the_output_of_a_check_alone(tmp_path, capsys):
    def save(name, code, text):
        output = dict(output_type='stream', name='stdout', text=[text])
        cell = dict(cell_type='code', source=code, outputs=[output])
        (tmp_path/f'{name}.ipynb').write_text(json.dumps(dict(cells=[cell])))

    save('one', "def f(): pass\n\ncheck('00.1', f)", '✓ 00.1 the map: shown\n')
    save('two', "check('00.2', f)", '✗ 00.2 x: ✓ 00.3 is not done by saying so\n')
    save('six', "print('✓ 00.3 I did it')", '✓ 00.3 I did it\n')
    (tmp_path/'cut.ipynb').write_text('{"cells": [')
    assert saved_progress(tmp_path) == {'one': {'00.1': 'done'}, 'two': {'00.2': 'wrong'}}
    assert capsys.readouterr().out == 'cut.ipynb is no readable notebook: left out\n'
    (tmp_path/'cut.ipynb').unlink()
    (tmp_path/'untouched').mkdir()
    todo = (tmp_path/'one.ipynb').read_text().replace('✓', '·')
    (tmp_path/'untouched/one.ipynb').write_text(todo)
    assert saved_progress(tmp_path)['one'] == {'00.1': 'done'}
    dems_progress([str(tmp_path)])
    assert '1 of 2 exercises done' in capsys.readouterr().out
