"The scripts of bench/, in small, on the CPU: plans, slices that go on, what is brought back."
import importlib.util, json, pytest, re, sys, time, torch, types, weakref
from pathlib import Path
from safetensors.torch import load_file

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
    assert battery.main([*flags, '--parts', 'kernels', 'resume', 'memory', 'step', 'epoch']) == 0
    own = json.loads((tmp_path/'b.json').read_text())['dems_nano']
    assert own['resume'] == dict(resumed=0., again=0.)      # on a CPU to the last bit
    assert set(own['kernels']) == {'0.05', '0.0'}
    assert own['epoch']['images'] == 100 and own['memory']['peak_bytes'] > 0
    assert set(own['step']['images_per_s']) == {'eager'} and 'ways' not in own
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

def test_a_command_is_stopped_with_what_it_started():
    "It would wait for the pipe that the other process holds open."
    code = ('import subprocess, sys, time; print("so far", flush=True); '
            'subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).wait()')
    began = time.monotonic()
    assert battery.said_within([sys.executable, '-c', code], 8) == (None, 'so far\n')
    assert time.monotonic() - began < 50
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

def test_the_pair_in_slices(monkeypatch, tmp_path):
    "Equal epochs of both, chosen once; each slice goes on; nothing is done twice."
    asked = []
    monkeypatch.setattr(runs, 'time_training', lambda recipe, **where: asked.append(recipe.model)
                        or dict(start=.1, epoch=1.))
    flags = [*pair, '--out', str(tmp_path)]
    n = until_done([*flags, '--slice', '.01'], step=.1)     # six looks at the clock a slice
    assert n > 2 and asked == ['dems_nano', 'vit_nano']
    plan = json.loads((tmp_path/'pair-0.json').read_text())
    epochs = {r['epochs'] for r in plan['recipes']}
    rows = [json.loads(p.read_text()) for p in sorted((tmp_path/'back/ledger/gpu').iterdir())]
    assert epochs == {2} == {r['epochs'] for r in rows}
    assert [r['recipe']['model'] for r in rows] == ['dems_nano', 'vit_nano']
    for run in ('dems_nano-s0', 'vit_nano-s0'):
        back = tmp_path/'back'/run
        half, whole = (load_file(p/f) for p, f in
                       ((back, 'model.half.safetensors'), (tmp_path/run, 'model.safetensors')))
        assert all(t.dtype == torch.float16 for t in half.values())
        assert all(torch.equal(half[k], whole[k].half()) for k in whole)
        assert {'log.txt', 'history.csv', 'recipe.json'} <= {p.name for p in back.iterdir()}
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*') if p.is_file()}
    assert runs.main(flags) == 0
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*') if p.is_file()} == before

def test_a_pair_that_does_not_fit_says_so(tmp_path):
    with pytest.raises(SystemExit, match='not one epoch of both fits'):
        runs.main([*pair, '--out', str(tmp_path), '--minutes', '0'])

def test_nano_seed_by_seed(tmp_path):
    flags = ['nano', *small, '--epochs', '2', '--seeds', '0', '--out', str(tmp_path)]
    assert until_done(flags) == 1
    rows = [json.loads(p.read_text()) for p in (tmp_path/'back/ledger/gpu').iterdir()]
    assert sorted((r['recipe']['model'], r['stage']) for r in rows) == [
        ('dems_nano', 'whole'), ('vit_nano', 'released-positions'), ('vit_nano', 'whole')]
    by_stage = {r['stage']: r['loss'] for r in rows if r['recipe']['model'] == 'vit_nano'}
    assert by_stage['whole'] != by_stage['released-positions']

def test_the_slice_counts_from_the_call(tmp_path):
    "A call whose time is over before the first step trains nothing."
    clock = Clock()
    end = clock.now + 1
    clock.now = 2.
    recipe = runs.Recipe(n_train=100, epochs=1)
    where = dict(device='cpu', root=None)
    assert not runs.work([('r', 'whole', recipe, [])], tmp_path, end, where, clock)
    assert not (tmp_path/'r').exists()

# ---- what is carried
def test_the_list_of_wheels_is_whole():
    "What the package and fastai's core import, for a machine that has torch and the usual ones."
    text = (root/'bench/wheels.sh').read_text()
    for name in ('fastai', 'fastcore', 'fastdownload', 'fasttransform', 'plum-dispatch',
                 'beartype', 'fastprogress', 'safetensors', 'hypothesis', 'PyYAML'):
        assert re.search(rf"[' ]{name}\b", text), name
    assert (root/'bench/wheels.sh').stat().st_mode & 0o111

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
