"The scripts of bench/, in small, on the CPU: plans, slices that go on, what is brought back."
import ast, importlib.util, io, json, os, pytest, re, shutil, subprocess, sys, tarfile, time, torch
import types, weakref
from importlib import metadata
from packaging.requirements import Requirement
from pathlib import Path
from dems_nb.learner import evaluate, recipe_dls
from dems_nb.weights import load_model, read_safetensors

root = Path(__file__).parent.parent

def script(name):
    "A script of bench/ as a module."
    spec = importlib.util.spec_from_file_location(f'bench_{name}', root/f'bench/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

battery, runs = script('battery'), script('runs')
small = ('--dataset sample --n_train 100 --holdout 20 --batch_size 50 --device cpu '
         '--eager').split()

class Clock:
    "A clock that a test moves, or that moves each time it is asked."
    def __init__(self, step=0.): self.now, self.step = 0., step
    def __call__(self):
        self.now += self.step
        return self.now

# ---- the battery
class Parts:
    "Stands in for a battery: parts that note their order, and one that fails at first."
    model, device, precision, batch_size = 'dems_nano', 'cpu', 'fp32', 4
    def __init__(self, clock): self.clock, self.order, self.broken = clock, [], True
    def part(self, name):
        self.order.append(name)
        self.clock.now += 60
        return name.upper()
    def one(self): return self.part('one')
    def two(self):
        if self.broken: raise RuntimeError('no luck')
        return self.part('two')
    def three(self): return self.part('three')

def test_the_battery_goes_on_where_it_was(tmp_path):
    clock, file = Clock(), tmp_path/'b.json'
    parts = Parts(clock)
    ask = lambda: battery.run(parts, file, 1.5, ('one', 'two', 'three'), clock)
    assert ask() and parts.order == ['one', 'three']
    done = json.loads(file.read_text())
    assert done['failed'] == {'dems_nano two': 'RuntimeError: no luck'}
    parts.broken = False
    assert ask() and parts.order == ['one', 'three', 'two']
    done = json.loads(file.read_text())
    assert done['failed'] == {} and done['dems_nano']['two'] == 'TWO'

def test_the_battery_begins_nothing_when_its_time_is_over(tmp_path):
    clock = Clock()
    parts = Parts(clock)
    parts.broken = False
    ask = lambda: battery.run(parts, tmp_path/'b.json', .9, ('one', 'two', 'three'), clock)
    assert [ask(), ask(), ask()] == [False, False, True] and parts.order == ['one', 'two', 'three']

def test_two_models_share_a_file(tmp_path):
    for model in ('a', 'b'):
        parts = Parts(Clock())
        parts.model = model
        battery.run(parts, tmp_path/'b.json', 9, ('one',), parts.clock)
    assert {'a', 'b', 'failed'} == set(json.loads((tmp_path/'b.json').read_text()))

def test_a_battery_of_nano(capsys, tmp_path):
    flags = ['dems_nano', *small, '--rounds', '1', '--steps', '1', '--out', str(tmp_path/'b.json')]
    assert battery.main([*flags, '--minutes', '0']) == 3
    flags += ['--copy', str(tmp_path/'back')]
    assert battery.main([*flags, '--parts', 'kernels', 'resume', 'memory', 'step', 'epoch']) == 0
    assert (tmp_path/'back/b.json').read_bytes() == (tmp_path/'b.json').read_bytes()
    own = json.loads((tmp_path/'b.json').read_text())['dems_nano']
    assert own['resume'] == dict(resumed=0., again=0.)      # on a CPU to the last bit
    assert set(own['kernels']) == {'0.05', '0.0'}
    assert own['epoch']['images'] == 100 and own['memory']['peak_bytes'] > 0
    assert set(own['step']['images_per_s']) == set(own['step']['first_step_s']) == {'eager'}
    assert own['step']['first_step_s']['eager'] > 0 and 'ways' not in own
    assert 'not run' in capsys.readouterr().out

def test_goals_say_what_was_not_run():
    assert (battery.goals({}).measured == 'not run').all() and len(battery.goals({})) == 9
    median = lambda v: dict(median=v, q1=v, q3=v)
    tiny = dict(waits=dict(light=[], paper=['a.py:1']), epoch=dict(images_per_s=12345.),
                step=dict(augmentation=dict(compiled=median(2e5)),
                          images_per_s=dict(compiled=median(5e3))),
                ways={'compiled, bf16': dict(same=median(2.6))}, resume=dict(resumed=1e-4),
                kernels={'0.05': 'flash', '0.0': 'cuDNN'})
    assert list(battery.goals(dict(dems_tiny=tiny)).measured) == [
        '12,345', 'not run', '200,000', '2.5%', '2.60', '1', 'flash and cuDNN', '1.0e-04',
        'not run']

def test_the_batterys_tests_come_last_and_from_their_files_alone():
    names = {p.name for p in battery.cuda_tests()}
    assert battery.parts[-1] == 'tests'
    assert {'test_augment.py', 'test_benchmark.py', 'test_model.py'} <= names
    assert not names & {'test_docments.py', 'test_fake_cuda.py', 'test_bench_runs.py'}

@pytest.mark.parametrize('status, said, failed', [
    (0, '...\n3 passed in 9s', ''), (0, 'sss\n3 skipped in 1s', '3 skipped in 1s'),
    (1, 'FAILED tests/test_a.py::b\n1 failed, 2 passed in 9s',
     '1 failed, 2 passed in 9s; FAILED tests/test_a.py::b'),
    (2, 'ERROR tests/test_a.py\n1 error in 1s', '1 error in 1s; ERROR tests/test_a.py'),
    (5, 'no tests ran in 0.1s', 'no tests ran in 0.1s'), (-9, '', 'nothing was said'),
    (None, '..', 'stopped after 240 seconds; ..')])
def test_tests_that_did_not_pass_are_tried_again(tmp_path, monkeypatch, status, said, failed):
    asked, file = [], tmp_path/'b.json'
    def say(command, most):
        asked.append(command)
        return status, said
    monkeypatch.setattr(battery, 'said_within', say)
    tests = battery.Battery('dems_tiny', 'cpu')
    for _ in range(2): assert battery.run(tests, file, 9, ('tests',), Clock())
    done = json.loads(file.read_text())
    assert done['failed'] == ({'dems_tiny tests': f'RuntimeError: {failed}'} if failed else {})
    assert ('tests' in done['dems_tiny']) == (not failed) and len(asked) == 1 + bool(failed)
    assert not any(str(part).endswith('tests') for part in asked[0])

@pytest.mark.skipif(not Path('/proc/self').exists(), reason='looks into /proc')
def test_a_command_is_stopped_with_what_it_started():
    code = ('import subprocess, sys; child = subprocess.Popen([sys.executable, "-c", '
            '"import time; time.sleep(60)"]); print(child.pid, flush=True); child.wait()')
    status, said = battery.said_within([sys.executable, '-c', code], 4)
    child = Path(f'/proc/{int(said)}/stat')
    for _ in range(50):                                     # a dead one may wait for its parent
        gone = not child.exists() or child.read_text().rpartition(')')[2].split()[0] in 'ZX'
        if gone: break
        time.sleep(.1)
    assert status is None and gone
    assert battery.said_within([sys.executable, '-c', 'print(1); raise SystemExit(3)'], 50) == (
        3, '1\n')

def test_only_a_wait_is_a_wait(monkeypatch):
    "Not what PyTorch says when the mode is switched on for the first time."
    import warnings
    from fastai.callback.core import Callback
    modes = []
    def set_mode(mode):
        modes.append(mode)
        if len(modes) == 1:
            warnings.warn('Synchronization debug mode is a prototype feature and does not yet '
                          'detect all synchronizing operations')
    monkeypatch.setattr(torch.cuda, 'set_sync_debug_mode', set_mode)
    class Wait(Callback):
        "Waits in one step, if it is to."
        def __init__(self, does): self.does = does
        def before_batch(self):
            if self.training and self.iter == 2 and self.does:
                warnings.warn('called a synchronizing CUDA operation')
    seen = {}
    for does in (False, True):
        modes.clear()
        places = battery.NoteWaits()
        recipe = battery.Recipe(n_train=100, holdout=20, bs=20, patch_size=8, epochs=1)
        learn = battery.make_learner(recipe, device='cpu', cbs=[places, Wait(does)])
        with learn.no_bar(), learn.no_logging(): learn.fit(1)
        seen[does], n = places.places, modes.count('warn')
    assert seen[False] == [] and n == 3
    assert len(seen[True]) == 1 and seen[True][0].startswith('test_bench_runs.py:')

def test_what_other_parts_left_behind_is_not_the_steps_memory(monkeypatch):
    class Cycle: pass
    left = Cycle()
    left.itself, gone = left, weakref.ref(left)
    del left
    tests = battery.Battery('dems_nano', 'cuda')
    tests.created = lambda: types.SimpleNamespace(cpu=lambda: None)
    class Step:
        def __init__(self, model, *rest): self.model = model
        def __call__(self): pass
    monkeypatch.setattr(battery.B, 'TrainingStep', Step)
    monkeypatch.setattr(battery.B, 'peak_memory', lambda step, device: 150)
    monkeypatch.setattr(battery.B, 'estimate_memory', lambda *args: dict(total=49))
    monkeypatch.setattr(torch.cuda, 'memory_allocated',
                        lambda device: 100 if gone() is None else 1000)
    assert tests.memory() == dict(peak_bytes=50, estimated_bytes=49)

# ---- whole runs
def until_done(argv, most=60, step=0.):
    "Call until the exit status is 0: how often."
    for n in range(1, most):
        if runs.main(argv, Clock(step)) == 0: return n
    raise AssertionError('it never ends')

pair = ['pair', *small, '--models', 'dems_nano', 'vit_nano', '--minutes', '.1']

def unpacked(file, to):
    "The files in a tar, by name."
    with tarfile.open(file) as tar: tar.extractall(to, filter='data')
    return {p.relative_to(to).as_posix() for p in to.rglob('*') if p.is_file()}

def rows_in(folder): return [json.loads(p.read_text()) for p in sorted(folder.glob('*.json'))]

@pytest.fixture
def timed(monkeypatch):
    "Which models' epochs were measured: a second each."
    asked = []
    monkeypatch.setattr(runs, 'time_training', lambda recipe, **where: asked.append(recipe.model)
                        or dict(start=.1, epoch=1.))
    return asked

def test_the_pair_in_slices(timed, tmp_path):
    "Equal epochs of both, chosen once; each slice goes on; nothing is done twice."
    home, back = tmp_path/'runs', tmp_path/'back'
    flags = [*pair, '--runs', str(home), '--out', str(back)]
    n = until_done([*flags, '--slice', '.01'], step=.1)     # six looks at the clock a slice
    assert n > 2 and timed == ['dems_nano', 'vit_nano']
    plan = json.loads((home/'pair-0.json').read_text())
    epochs, rows = {r['epochs'] for r in plan['recipes']}, rows_in(home/'ledger/gpu')
    assert epochs == {2} == {r['epochs'] for r in rows}
    assert [r['recipe']['model'] for r in rows] == ['dems_nano', 'vit_nano']
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*') if p.is_file()}
    assert runs.main(flags) == 0
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*') if p.is_file()} == before

    names = ['dems_nano-s0', 'ledger', 'vit_nano-s0']
    assert sorted(p.name for p in back.iterdir()) == [f'{name}.tar' for name in names]
    found = unpacked(back/'ledger.tar', tmp_path/'ledger')
    assert 'pair-0.json' in found and rows_in(tmp_path/'ledger/ledger/gpu') == rows
    found = unpacked(back/'vit_nano-s0.tar', tmp_path/'vit')
    assert {f'vit_nano-s0/{name}' for name in ('log.txt', 'history.csv', 'recipe.json',
                                               'result.json', 'model.half.safetensors')} <= found
    assert 'vit_nano-s0/checkpoint.safetensors' not in found

def test_weights_in_half_precision_load(tmp_path):
    "As any model does, with what is noted beside it; also those with positions of their own."
    flags = ['nano', *small, '--epochs', '1', '--seeds', '0', '--runs', str(tmp_path/'runs'),
             '--out', str(tmp_path/'back')]
    assert until_done(flags) == 1
    unpacked(tmp_path/'back/nano-s0.tar', tmp_path/'new')
    seen = sorted(p.name for p in (tmp_path/'new').iterdir())
    assert seen == ['dems_nano-whole-s0', 'vit_nano-released-positions-s0', 'vit_nano-whole-s0']
    for name in seen:
        file = tmp_path/'new'/name/runs.half
        tensors, _ = read_safetensors(file)
        model, whole = load_model(file), load_model(tmp_path/'runs'/name)
        assert all(t.dtype == torch.float16 for t in tensors.values())
        assert model.notes['classes'] == whole.notes['classes'] and model.config == whole.config
        assert model.notes['recipe'] == whole.notes['recipe'] and tensors.keys() == dict(
            whole.state_dict()).keys()
        for k, v in whole.state_dict().items(): assert torch.equal(tensors[k], v.half()), k
        result = json.loads((tmp_path/'new'/name/'result.json').read_text())
        data = recipe_dls(runs.Recipe(**result['recipe']), 'cpu')
        again = evaluate(whole, data)
        assert abs(again.loss - result['loss']) < 1e-5, 'not the model that was scored'
        assert abs(evaluate(model, data).loss - result['loss']) < 1e-2
        assert torch.equal(model.tokenizer.pos, whole.tokenizer.pos.half().float()) == (
            'positions' in name)

def test_released_positions_are_noise_and_stay(tmp_path):
    "Also when the run was stopped; a second fit draws nothing."
    r = runs.Recipe(model='vit_nano', n_train=100, holdout=20, bs=20, epochs=2, patch_size=8)
    try:
        runs.train(r, tmp_path, bar=False, device='cpu',
                   cbs=[runs.ReleasedPositions(), battery.StopAt(1, 2)])
    except runs.Interrupted: pass
    learn = runs.train(r, tmp_path, bar=False, device='cpu', resume=True,
                       cbs=[runs.ReleasedPositions()])
    pos = load_model(tmp_path).tokenizer.pos
    assert torch.equal(pos, learn.model.tokenizer.pos) and abs(pos.std() - .02) < .002
    assert learn.model.config['positions'] == 'noise'

def test_a_pair_that_does_not_fit_says_so(tmp_path):
    with pytest.raises(SystemExit, match='not one epoch of both fits'):
        runs.main([*pair, '--runs', str(tmp_path), '--minutes', '0'])

def test_each_call_but_the_first_starts_a_run_once_more(tmp_path, monkeypatch):
    "Eighteen minutes in slices of eight are three calls, two of them resume."
    monkeypatch.setattr(runs, 'time_training', lambda *a, **kw: dict(start=50., epoch=9.))
    def epochs(calls):
        made = runs.plan_pair(tmp_path/f'{calls}.json', 18, calls, lambda: 80., ('vit_nano',)*2,
                              dict(seed=0), {})
        return made[0].epochs
    assert (epochs(1), epochs(3)) == (45, 40)               # .9*900/18, .9*800/18

def test_nano_seed_by_seed(tmp_path):
    flags = ['nano', *small, '--epochs', '2', '--seeds', '0', '1', '--runs', str(tmp_path)]
    assert until_done([*flags, '--out', str(tmp_path/'back')]) == 1
    rows = rows_in(tmp_path/'ledger/gpu')
    assert sorted((r['recipe']['model'], r['stage']) for r in rows if r['seed'] == 1) == [
        ('dems_nano', 'whole'), ('vit_nano', 'released-positions'), ('vit_nano', 'whole')]
    of_vit = [r for r in rows if r['recipe']['model'] == 'vit_nano' and r['seed'] == 0]
    by_stage = {r['stage']: r for r in of_vit}
    assert by_stage['whole']['loss'] != by_stage['released-positions']['loss']
    assert {k: r['config']['positions'] for k, r in by_stage.items()} == {
        'whole': 'sincos', 'released-positions': 'noise'}
    assert {k: r['variant'] for k, r in by_stage.items()} == {
        'whole': 'base', 'released-positions': 'pos_noise'}        # no study takes it for the base
    assert sorted(p.name for p in (tmp_path/'back').iterdir()) == [
        'ledger.tar', 'nano-s0.tar', 'nano-s1.tar']

def test_no_run_is_begun_in_the_last_quarter_of_a_slice(tmp_path):
    "A call whose time is nearly over trains nothing; one that is at work works to the end."
    recipe = runs.Recipe(n_train=100, epochs=1)
    where, clock = dict(device='cpu', root=None), Clock()
    clock.now = 6.
    assert not runs.work([('r', 'whole', recipe, [])], tmp_path, 6., 8., where, clock)
    assert not (tmp_path/'r').exists()

class Killed(BaseException): pass

def test_a_call_after_a_kill_goes_on(tmp_path, monkeypatch):
    "Between weights and row, and between result and weights: the row comes last, nothing trains."
    flags = ['nano', *small, '--epochs', '1', '--seeds', '0', '--runs', str(tmp_path), '--out',
             str(tmp_path/'back')]
    def dies(*args, **kwargs): raise Killed
    for name in ('save_model', 'enter_run'):
        with monkeypatch.context() as m:
            m.setattr(runs, name, dies)
            with pytest.raises(Killed): runs.main(flags)
        run = tmp_path/'dems_nano-whole-s0'
        assert (run/'result.json').exists() and not rows_in(tmp_path/'ledger/gpu')
        assert (run/runs.half).exists() == (name == 'enter_run')
    before = (run/'log.txt').read_bytes()
    assert until_done(flags) == 1 and len(rows_in(tmp_path/'ledger/gpu')) == 3
    assert (run/'log.txt').read_bytes() == before

# ---- another machine
def test_a_fresh_machine_goes_on_with_what_came_back(timed, tmp_path, monkeypatch):
    "The plan stays, what is done is done, and what was under way goes on from its checkpoint."
    first, back = [*pair, '--slice', '.01', '--runs', str(tmp_path/'a'), '--out',
                   str(tmp_path/'back')], tmp_path/'back'
    for _ in range(60):
        assert runs.main(first, Clock(.1)) == 3
        if (tmp_path/'a/vit_nano-s0/checkpoint.safetensors').exists(): break
    found = unpacked(back/'vit_nano-s0.tar', tmp_path/'seen')
    assert 'vit_nano-s0/checkpoint.safetensors' in found
    assert 'vit_nano-s0/result.json' not in found
    timed.clear()
    trained, real = [], runs.train
    monkeypatch.setattr(runs, 'train', lambda recipe, *args, **kwargs: trained.append(recipe.model)
                        or real(recipe, *args, **kwargs))
    home = tmp_path/'b'
    assert runs.main([*pair, '--runs', str(home), '--out', str(tmp_path/'back_b'), '--given',
                      str(back)]) == 0
    assert timed == [] and trained == ['vit_nano']
    assert 'resumed after epoch' in (home/'vit_nano-s0/log.txt').read_text()
    assert (home/'pair-0.json').read_bytes() == (tmp_path/'a/pair-0.json').read_bytes()
    assert [r['recipe']['model'] for r in rows_in(home/'ledger/gpu')] == ['dems_nano', 'vit_nano']
    assert (tmp_path/'back_b/dems_nano-s0.tar').exists()
    before = (home/'vit_nano-s0/log.txt').read_bytes()      # on a warm one the newer stays
    runs.unpack(back, home)
    assert (home/'vit_nano-s0/log.txt').read_bytes() == before

def test_a_checkpoint_that_is_too_large_stays_and_the_run_begins_anew(timed, tmp_path, monkeypatch,
                                                                      capsys):
    monkeypatch.setattr(runs, 'most_bytes', 200_000)
    flags = [*pair, '--slice', '.01', '--runs', str(tmp_path/'a'), '--out', str(tmp_path/'back')]
    assert runs.main(flags, Clock(.1)) == 3
    said = capsys.readouterr().out
    assert re.search(r'dems_nano-s0.tar is left without dems_nano-s0/checkpoint.* MiB', said)
    sizes = [p.stat().st_size for p in (tmp_path/'back').iterdir()]
    assert len(sizes) == 2 and max(sizes) <= 200_000
    monkeypatch.undo()
    again = [*pair, '--runs', str(tmp_path/'b'), '--out', str(tmp_path/'back_b'), '--given',
             str(tmp_path/'back')]
    assert runs.main(again) == 0
    assert {r['epochs'] for r in rows_in(tmp_path/'b/ledger/gpu')} == {2}

def test_no_more_comes_back_than_may(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, 'most_together', 120_000)
    packs = {}
    for k in range(3):
        (tmp_path/f'runs/{k}').mkdir(parents=True)
        for name in ('log.txt', 'checkpoint.safetensors'):
            (tmp_path/f'runs/{k}'/name).write_bytes(bytes(30_000 if name[0] == 'c' else 10))
        packs[f'{k}'] = [f'{k}']
    runs.pack(packs, tmp_path/'runs', tmp_path/'back')
    assert sum(p.stat().st_size for p in (tmp_path/'back').iterdir()) <= 120_000
    assert all('log.txt' in str(unpacked(p, tmp_path/p.stem)) for p in (tmp_path/'back').iterdir())
    for what, seeds in (('pair', 4), ('nano', 8)):
        with pytest.raises(SystemExit): runs.main([what, '--seeds', *map(str, range(seeds))])

# ---- what is carried
def test_the_list_of_wheels_is_whole():
    "What the package and fastai's core import, for a machine that has torch and the usual ones."
    text = (root/'bench/wheels.sh').read_text()
    for name in ('fastai', 'fastcore', 'fastdownload', 'fasttransform', 'plum-dispatch',
                 'beartype', 'fastprogress', 'safetensors', 'hypothesis', 'PyYAML'):
        assert re.search(rf"[' ]{name}\b", text), name
    pins = dict(re.findall(r"[' ]([\w-]+)==([\d.]+)", text))
    assert {'fastai', 'fastcore', 'fasttransform', 'plum-dispatch', 'fastprogress'} <= pins.keys()
    for name, version in pins.items():                      # what is installed says what it wants
        if metadata.version(name) != version: continue
        for wanted in map(Requirement, metadata.requires(name) or []):
            pin = pins.get(wanted.name)
            assert not pin or wanted.specifier.contains(pin), f'{name} {version}: {wanted}, {pin}'
    for name in ('wheels', 'setup'): assert (root/f'bench/{name}.sh').stat().st_mode & 0o111

def imported(code):
    "The modules that a piece of Python imports when it begins."
    for node in ast.parse(code).body:
        if isinstance(node, ast.Import): yield from (a.name for a in node.names)
        if isinstance(node, ast.ImportFrom) and node.module: yield node.module

def test_what_the_set_up_imports_exists():
    code = re.findall(r"<<'PY'\n(.*?)\nPY\n", (root/'bench/setup.sh').read_text(), re.S)
    names = {name for part in code for name in imported(part)}
    assert {'torch', 'fastai', 'dems_nb.run', 'dems_nb.data'} <= names
    for name in names: importlib.import_module(name)

def test_the_tests_for_a_card_import_what_is_there():
    "The package's own, the wheels, and what that machine has: jedi, say, is not among it."
    there = {'torch', 'torchvision', 'numpy', 'scipy', 'pandas', 'matplotlib', 'PIL', 'filelock'}
    carried = {'fastai', 'pytest', 'safetensors', 'hypothesis', 'yaml', 'fastcore'}
    own = {'dems_nb', 'build', *(p.stem for p in (root/'tests').glob('*.py'))}
    for path in [*battery.cuda_tests(), *(root/'bench').glob('*.py'), root/'tests/conftest.py',
                 root/'tests/fake_cuda/build.py']:
        names = {n.split('.')[0] for n in imported(path.read_text(encoding='utf-8'))}
        assert names <= {*sys.stdlib_module_names, *there, *carried, *own}, path.name

PYTHON = '''#!/bin/sh
case "$*" in
  *'pip download'*) to=$(echo "$*" | sed 's/.*--dest //; s/ .*//')
                    touch "$to/some_thing-1-py3-none-any.whl";;
  *'pip install'*) echo "$*" >> "$LOG";;
  '-W ignore -'*) cat > /dev/null; echo 'ready: here';;
  *) exec "$PYTHON" "$@";;
esac
'''
@pytest.fixture
def shell(tmp_path):
    "Run a script of bench/ with a Python that fetches and installs nothing: status, what it said."
    (tmp_path/'bin').mkdir()
    (tmp_path/'bin/python3').write_text(PYTHON)
    (tmp_path/'bin/python3').chmod(0o755)
    def call(script, *args, **env):
        env = {**os.environ, 'PATH': f'{tmp_path}/bin{os.pathsep}{os.environ["PATH"]}',
               'PYTHON': sys.executable, 'LOG': str(tmp_path/'log'), **env}
        done = subprocess.run(['bash', root/f'bench/{script}.sh', *map(str, args)], env=env,
                              cwd=tmp_path, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr
    return call

@pytest.fixture
def cut(tmp_path):
    "A packed folder in three parts, as the data come."
    (tmp_path/'batches').mkdir()
    (tmp_path/'batches/one').write_bytes(torch.randint(256, (5_000,), dtype=torch.uint8).numpy())
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode='w:xz') as tar: tar.add(tmp_path/'batches', 'batches')
    packed = packed.getvalue()
    (tmp_path/'parts').mkdir()
    for k in range(3):
        (tmp_path/f'parts/cifar10.tar.xz.0{k}').write_bytes(packed[k*2000:(k + 1)*2000])
    return tmp_path/'parts'

@pytest.mark.skipif(not shutil.which('bash'), reason='no bash')
def test_data_come_over_in_parts_and_the_last_joins_them(tmp_path, shell, cut):
    status, said = shell('wheels', 'carry', cut, PIECE='2500')
    assert status == 0, said
    trips = sorted((tmp_path/'carry').iterdir())
    assert [t.name for t in trips] == ['1', '2', '3']       # each folder can replace the others
    assert [sorted(p.name for p in t.iterdir()) for t in trips] == [
        ['piece.00', 'sums'], ['piece.01', 'sums'],
        ['piece.02', 'some_thing-1-py3-none-any.whl', 'sums']]
    for k in (3, 1):
        status, said = shell('setup', trips[k - 1], 'store', 'data')
        assert status == 3 and 'piece.01' in said and not (tmp_path/'log').exists()
    status, said = shell('setup', trips[1], 'store', 'data')
    assert status == 0 and 'ready' in said, said
    assert (tmp_path/'data/batches/one').read_bytes() == (tmp_path/'batches/one').read_bytes()
    assert 'store/some_thing-1-py3-none-any.whl' in (tmp_path/'log').read_text()
    (tmp_path/'store/piece.00').write_bytes(b'?')           # a part that broke on the way
    status, said = shell('setup', trips[1], 'store', 'data')
    assert status == 3 and 'piece.00' in said

@pytest.mark.skipif(not shutil.which('bash'), reason='no bash')
def test_what_travels_together_is_held_against_the_limit(tmp_path, shell, cut):
    "The checkout, of more than a MiB, counts too."
    if not (root/'.git').exists(): pytest.skip('not a git checkout')
    status, said = shell('wheels', 'carry', cut, LIMIT_MIB='1')
    assert status == 1 and 'over 1 MiB' in said, said

def test_a_time_box_counts_from_the_call(tmp_path, monkeypatch):
    "What was spent on timing is not there for epochs."
    from dems_nb import studies
    from dems_nb.learner import Recipe
    clock = [0.]
    def timed(*args):
        clock[0] += 30
        return dict(start=10., epoch=5.)
    monkeypatch.setattr(studies.time, 'perf_counter', lambda: clock[0])
    monkeypatch.setattr(studies, 'time_training', timed)
    monkeypatch.setattr(studies, 'train', lambda recipe, *args, **kw: recipe)
    said = []
    chosen = studies.timebox(Recipe(n_train=160), tmp_path, minutes=2, say=said.append)
    assert chosen.epochs == 13 and '13 epochs' in said[0]      # (.9*120 - 30 - 10)/5 seconds
