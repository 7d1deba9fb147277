"A run that is stopped, however and wherever, goes on to the result of one that was not."
import errno, json, os, pytest, resource, shell, signal, time, torch
from dataclasses import replace
from pathlib import Path
from safetensors.torch import save
from dems_nb import learner as L, run as R
from dems_nb.weights import load_model, read_safetensors, start_from, write_atomic
from marks import weekly

root = Path(__file__).parent.parent
# drop path, dropout, mixing, every augmentation
recipe = L.Recipe.pretrain('dems_nano', 'sample', epochs=3, bs=32, n_train=320, holdout=100,
                           patch_size=8)

class At(R.Callback):
    "Do something at one place of a run."
    order = 0
    def __init__(self, epoch, step, do, training=True):
        self.where, self.do = (epoch, step, training), do
    def before_batch(self):
        if (self.epoch, self.iter, self.training) == self.where: self.do()

def state(folder):
    return read_safetensors(folder/'model.safetensors')[0], (folder/'history.csv').read_text()

skipped = 'seconds', 'commit', 'callbacks'

def assert_same_run(a, b):
    (wa, ca), (wb, cb) = state(a), state(b)
    assert max((wa[k] - wb[k]).abs().max().item() for k in wa) == 0.0 and wa.keys() == wb.keys()
    assert ca == cb and ca.count('\n') == recipe.epochs + 1
    ra, rb = (json.loads((f/'result.json').read_text()) for f in (a, b))
    assert {k: v for k, v in ra.items()
            if k not in skipped} == {k: v for k, v in rb.items() if k not in skipped}

def go(folder, r=recipe, **kw): return R.train(r, folder, device='cpu', bar=False, **kw)

@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    f = tmp_path_factory.mktemp('whole')
    go(f)
    return f

def raise_signal(s): return lambda: os.kill(os.getpid(), s)

@pytest.mark.parametrize('where',
                         [(0, 0, True), (1, 3, True), (1, 9, True), (2, 9, True), (1, 0, False),
                          (2, 1, False)], ids=str)
def test_stopped_by_a_signal(tmp_path, whole, where):
    epoch, step, training = where
    number = signal.SIGINT if step % 2 else signal.SIGTERM
    with pytest.raises(R.Interrupted, match=signal.Signals(number).name):
        go(tmp_path, cbs=[At(epoch, step, raise_signal(number), training)])
    assert not (tmp_path/'result.json').exists()
    go(tmp_path, resume=True)
    assert_same_run(whole, tmp_path)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler  # put back

def test_stopped_again_and_again(tmp_path, whole):
    for place in ((0, 4), (0, 8), (1, 1), (2, 2)):
        with pytest.raises(R.Interrupted):
            go(tmp_path, resume=True, cbs=[At(*place, raise_signal(signal.SIGINT))])
    go(tmp_path, resume=True)
    assert_same_run(whole, tmp_path)

CHILD = '''
import os, signal, sys
from dems_nb import learner as L, run as R
recipe, out = L.Recipe.from_json(sys.argv[1]), sys.argv[2]
epoch, step = int(sys.argv[3]), int(sys.argv[4])
class Kill(R.Callback):
    order = 100
    def after_batch(self):
        if self.training and (self.epoch, self.iter) == (epoch, step):
            os.kill(os.getpid(), signal.SIGKILL)
R.train(recipe, out, device='cpu', bar=False, resume=True, save_every=0., cbs=[Kill()])
'''
def child(r, out, epoch, step):
    return shell.run(CHILD, r.to_json(), out, epoch, step, cwd=root)

@pytest.mark.parametrize('schedule', ['one_cycle', *weekly('paper')])
def test_killed_outright(tmp_path, schedule):
    "SIGKILL in the middle of an epoch, twice, in processes of their own."
    r = replace(recipe, schedule=schedule, epochs=3, warmup=0, precision='fp32')
    go(tmp_path/'whole', r)
    for where in ((0, 6), (2, 3)):
        done = child(r, tmp_path/'killed', *where)
        assert done.returncode == -signal.SIGKILL, done.stderr
    go(tmp_path/'killed', r, resume=True)
    assert_same_run(tmp_path/'whole', tmp_path/'killed')

def test_killed_in_the_middle_of_a_save(tmp_path, monkeypatch):
    "The newest checkpoint is half written when the process dies; the one before it is used."
    r = replace(recipe, precision='fp32')
    go(tmp_path/'whole', r)
    child_code = CHILD.replace('R.train(', '''
import dems_nb.weights as W
count = 0
def dying(fd):
    global count
    count += 1
    if count == 14: os.kill(os.getpid(), signal.SIGKILL)
    return sync(fd)
sync, os.fsync = os.fsync, dying
R.train(''').replace('class Kill(R.Callback):\n    order = 100',
                     'class Kill(R.Callback):\n    order, run = 100, False')
    done = shell.run(child_code, r.to_json(), tmp_path/'killed', 9, 9, cwd=root)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = [p.name for p in (tmp_path/'killed').iterdir() if p.name.startswith('.checkpoint')]
    assert left, 'nothing was half written: this test killed at the wrong moment'
    R.read_checkpoint(tmp_path/'killed/checkpoint.safetensors')
    go(tmp_path/'killed', r, resume=True)
    assert_same_run(tmp_path/'whole', tmp_path/'killed')
    assert not list((tmp_path/'killed').glob('.checkpoint*'))  # and the rest of it is cleared away

class Overflow(R.Callback):
    "In the third batch: the scale becomes part of the state; of two a step, a gradient that waits."
    order = 30
    def before_backward(self):
        if (self.epoch, self.iter) == (0, 2): self.learn.loss_grad = self.loss_grad*float('inf')

def test_float16_and_its_scaler(tmp_path):
    r = replace(recipe, precision='fp16', n_train=40, holdout=20, bs=8) # a CPU emulates float16
    go(tmp_path/'whole', r, cbs=[Overflow()])
    with pytest.raises(R.Interrupted):
        go(tmp_path/'s', r, cbs=[Overflow(), At(1, 3, raise_signal(signal.SIGINT))])
    assert R.read_checkpoint(tmp_path/'s/checkpoint.safetensors')[1]['scaler']['scale'] == 32768.
    go(tmp_path/'s', r, resume=True, cbs=[Overflow()])
    assert_same_run(tmp_path/'whole', tmp_path/'s')

def test_gradients_that_overflow_and_wait_are_no_end_of_a_float16_run(tmp_path):
    r = replace(recipe, precision='fp16', n_train=40, holdout=20, bs=8, accumulate=2)
    go(tmp_path/'whole', r, cbs=[Overflow()])
    with pytest.raises(R.Interrupted):
        go(tmp_path/'s', r, cbs=[Overflow(), At(0, 2, raise_signal(signal.SIGINT))])
    go(tmp_path/'s', r, resume=True, cbs=[Overflow()])
    assert_same_run(tmp_path/'whole', tmp_path/'s')

def test_the_older_checkpoint_stays_if_the_first_save_after_it_fails(tmp_path, whole, monkeypatch):
    path = stopped_late(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with monkeypatch.context() as m:
        def full(*args): raise OSError(errno.ENOSPC, 'No space left on device')
        m.setattr(R, 'write_atomic', lambda p, data: full() if p == path else write_atomic(p, data))
        with pytest.raises(OSError, match='No space'):
            go(tmp_path, resume=R.previous_checkpoint(path), save_every=0.)
    go(tmp_path, resume=True)
    assert_same_run(whole, tmp_path)

def test_what_is_not_restored_would_show(tmp_path, whole, monkeypatch):
    "The comparison can fail: forget the optimizer's averages, and the runs differ."
    real = R.restore_state
    def forgetful(learn, tensors, *args):
        real(learn, {k: (torch.zeros_like(v) if k.endswith('exp_avg') else v)
                     for k, v in tensors.items()}, *args)
    with pytest.raises(R.Interrupted): go(tmp_path, cbs=[At(1, 3, raise_signal(signal.SIGINT))])
    monkeypatch.setattr(R, 'restore_state', forgetful)
    go(tmp_path, resume=True)
    with pytest.raises(AssertionError): assert_same_run(whole, tmp_path)

def test_a_finished_run_resumes_to_itself(tmp_path, whole):
    learn = go(whole, resume=True)
    assert len(learn.recorder.values) == 3
    assert all(torch.equal(v, learn.model.state_dict()[k])
               for k, v in load_model(whole/'model.safetensors').state_dict().items())

def test_a_fine_tuning_resumes_without_its_source(tmp_path, whole):
    r = L.Recipe.finetune('dems_nano', 'sample', epochs=3, bs=32, n_train=320, holdout=100,
                          patch_size=8)
    go(tmp_path/'a', r, pretrained=whole)
    with pytest.raises(R.Interrupted):
        go(tmp_path/'b', r, pretrained=whole, cbs=[At(1, 2, raise_signal(signal.SIGTERM))])
    go(tmp_path/'b', r, resume=True)
    assert_same_run(tmp_path/'a', tmp_path/'b')

def test_a_full_disk_leaves_the_checkpoint_and_says_so(tmp_path, whole):
    with pytest.raises(R.Interrupted): go(tmp_path, cbs=[At(1, 3, raise_signal(signal.SIGINT))])
    before = (tmp_path/'checkpoint.safetensors').read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        # no file may grow beyond half a checkpoint
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before)//2, hard))
        with pytest.raises(OSError) as e: go(tmp_path, resume=True, save_every=0.)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)); signal.signal(signal.SIGXFSZ, old)
    assert e.value.errno in (errno.EFBIG, errno.ENOSPC)
    assert (tmp_path
            /'checkpoint.safetensors').read_bytes() == before and not list(
                tmp_path.glob('.checkpoint*'))
    go(tmp_path, resume=True)
    assert_same_run(whole, tmp_path)

def stopped_late(folder):
    with pytest.raises(R.Interrupted):
        go(folder, save_every=0., cbs=[At(2, 3, raise_signal(signal.SIGINT))])
    return folder/'checkpoint.safetensors'

@pytest.mark.parametrize('broken', ['cut', 'one byte', 'foreign', 'text', 'pickle'])
def test_a_broken_checkpoint_is_refused_by_name_and_the_older_one_works(tmp_path, whole, broken):
    path = stopped_late(tmp_path)
    data = path.read_bytes()
    if broken == 'cut': path.write_bytes(data[:len(data)//2])
    if broken == 'one byte': path.write_bytes(data[:-100] + bytes([data[-100] ^ 1]) + data[-99:])
    if broken == 'foreign': path.write_bytes(save({'w': torch.ones(3)}))
    if broken == 'text': path.write_text('hello')
    if broken == 'pickle': torch.save({'model': {}}, path)
    with pytest.raises(ValueError) as e: go(tmp_path, resume=True)
    assert str(path) in str(e.value) and str(R.previous_checkpoint(path)) in str(e.value)
    go(tmp_path, resume=R.previous_checkpoint(path))
    assert_same_run(whole, tmp_path)

def test_no_load_path_can_run_code():
    "A checkpoint that is a pickle with code in it is refused, and the code is not run."
    class Evil:
        def __reduce__(self): return os.mkdir, ('evil',)
    import pickle, tempfile
    with tempfile.TemporaryDirectory() as d:
        p = Path(d)/'checkpoint.safetensors'
        p.write_bytes(pickle.dumps(Evil()))
        with pytest.raises(ValueError, match='no complete safetensors'): R.read_checkpoint(p)
        p = Path(d)/'evil.pth'
        torch.save({'model': Evil()}, p)
        with pytest.raises(ValueError, match='nothing in it was run'): start_from(p, 10)
    assert not Path('evil').exists()
    code = (root/'dems_nb/run.py').read_text()
    assert 'pickle' not in code and 'torch.load' not in code

def test_another_recipe_or_other_data_is_refused_unless_told(tmp_path):
    with pytest.raises(R.Interrupted): go(tmp_path, cbs=[At(1, 3, raise_signal(signal.SIGINT))])
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()}
    with pytest.raises(ValueError, match='seed was 0 and is 7; lr was .* and is 0.1'):
        go(tmp_path, replace(recipe, lr=.1, seed=7), resume=True)
    other = L.recipe_dls(replace(recipe, n_train=160), 'cpu')
    with pytest.raises(ValueError, match='other data: .*n_train was 320 and is 160'):
        go(tmp_path, dls=other, resume=True)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir() if p.is_file()} == before
    go(tmp_path, replace(recipe, lr=1e-4), resume=True, allow_changes=True)

def test_a_run_is_not_overwritten_by_accident(tmp_path, whole):
    before = state(whole)
    with pytest.raises(FileExistsError, match='already holds a run: give resume=True'): go(whole)
    assert state(whole)[1] == before[1]
    go(tmp_path, replace(recipe, epochs=1, warmup=0)); go(tmp_path, overwrite=True)
    assert_same_run(whole, tmp_path)

def test_resume_with_nothing_there_begins(tmp_path, whole):
    go(tmp_path/'new', resume=True)
    assert_same_run(whole, tmp_path/'new')

def test_a_kill_between_the_two_halves_of_a_save_leaves_nothing(tmp_path):
    "Then both names are one file, and to rename one link of it to another does nothing."
    path = tmp_path/'checkpoint.safetensors'
    for step in range(2): R.write_checkpoint(path, dict(w=torch.ones(2)), dict(step=step))
    older = R.previous_checkpoint(path)
    older.unlink()
    os.link(path, older)
    R.write_checkpoint(path, dict(w=torch.ones(2)), dict(step=2))
    assert sorted(p.name for p in tmp_path.iterdir()) == [older.name, path.name]
    assert [R.read_checkpoint(p)[1]['step'] for p in (older, path)] == [1, 2]
