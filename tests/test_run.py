"A run owns its files, holds its folder, loses nothing, and hands back an ordinary Learner."
import json, os, platform, pytest, shell, signal, threading, time, torch
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from fastai.callback.core import CancelValidException
from fastai.callback.tracker import EarlyStoppingCallback
from dems_nb import learner as L, run as R
from dems_nb.weights import load_model, read_safetensors, save_model, start_from

root = Path(__file__).parent.parent
tiny = L.Recipe(n_train=160, holdout=100, bs=32, epochs=2, patch_size=8, precision='fp32')

def go(folder, recipe=tiny, **kw): return R.train(recipe, folder, device='cpu', bar=False, **kw)

class Do(R.Callback):
    "Do something before one batch."
    order = 0
    def __init__(self, epoch, step, action):
        self.where = epoch, step
        self.action = action
    def before_batch(self):
        if self.training and (self.epoch, self.iter) == self.where: self.action(self.learn)

def stop(learn): signal.raise_signal(signal.SIGINT)
def fail(learn): raise RuntimeError('boom')
def visible(folder): return sorted(p.name for p in Path(folder).iterdir() if p.name[0] != '.')
def contents(folder):
    return {n: (folder/n).read_bytes() for n in visible(folder) if (folder/n).is_file()}

@pytest.fixture(scope='module')
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp('done')/'run'
    go(folder)
    return folder

# what is not the run's stays

@pytest.mark.parametrize('name', R._owned)
@pytest.mark.parametrize('how', [{}, dict(resume=True), dict(overwrite=True)], ids=str)
def test_a_folder_with_somebody_elses_file_is_refused(tmp_path, name, how):
    (tmp_path/name).write_text('the only copy')
    with pytest.raises(FileExistsError, match=f'holds {name}, which no run of this kit wrote'):
        go(tmp_path, **how)
    assert contents(tmp_path) == {name: b'the only copy'}

def test_a_dangling_link_of_such_a_name_is_refused(tmp_path):
    (tmp_path/'model.safetensors').symlink_to(tmp_path/'nowhere')
    with pytest.raises(FileExistsError, match='holds model.safetensors'): go(tmp_path)
    assert (tmp_path/'model.safetensors').is_symlink()

def test_other_files_in_the_folder_are_not_touched(tmp_path):
    others = {'a.safetensors': b'1', '.b.safetensors.x': b'2', 'notes.txt': b'3',
              'old.checkpoint.safetensors': b'4'}
    for name, data in others.items(): (tmp_path/name).write_bytes(data)
    go(tmp_path)
    go(tmp_path, replace(tiny, seed=1), overwrite=True)
    assert {name: (tmp_path/name).read_bytes() for name in others} == others

@pytest.mark.parametrize('what', ['file', 'folder'])
def test_the_folder_of_the_pretrained_weights_is_refused(tmp_path, done, what):
    folder = tmp_path/'models'
    folder.mkdir()
    (folder/'a.safetensors').write_bytes((done/'model.safetensors').read_bytes())
    source = folder/'a.safetensors' if what == 'file' else folder
    for how in ({}, dict(resume=True), dict(overwrite=True)):
        with pytest.raises(ValueError, match='the pretrained weights lie in'):
            go(folder, pretrained=source, **how)
    assert visible(folder) == ['a.safetensors']

def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path/'f').write_text('mine')
    with pytest.raises(ValueError, match='f is a file: give a folder'): go(tmp_path/'f')
    assert (tmp_path/'f').read_text() == 'mine'

def test_a_refused_run_leaves_no_folder(tmp_path):
    with pytest.raises(ValueError): go(tmp_path/'new', replace(tiny, n_train=7))
    assert not (tmp_path/'new').exists()

# an old run stays until the new one has something to put in its place

def bad_optimizer(learn): raise ValueError('no such optimizer')

@pytest.mark.parametrize('where', [(0, 0), (0, 4)], ids=str)
def test_overwrite_keeps_the_old_run_until_the_first_checkpoint(tmp_path, where):
    go(tmp_path/'run')
    before = contents(tmp_path/'run')
    with pytest.raises(RuntimeError):
        go(tmp_path/'run', replace(tiny, seed=1), overwrite=True, cbs=[Do(*where, fail)])
    assert contents(tmp_path/'run') == before and not (tmp_path/'run'/R._new).exists()
    assert load_model(tmp_path/'run/model.safetensors')
    go(tmp_path/'run', resume=True)                                     # it is still the run it was

def test_overwrite_with_bad_numbers_touches_nothing(tmp_path, done):
    before = contents(done)
    with pytest.raises(ValueError, match='eps is -1'):
        go(done, replace(tiny, eps=-1), overwrite=True)
    assert contents(done) == before

def test_overwrite_replaces_the_run_at_its_first_checkpoint(tmp_path):
    go(tmp_path/'run')
    other = replace(tiny, seed=1)
    with pytest.raises(R.Interrupted):
        go(tmp_path/'run', other, overwrite=True, cbs=[Do(1, 2, stop)])
    assert visible(tmp_path/'run') == ['checkpoint.safetensors', 'dems_run.json',
                                       'environment.json', 'history.csv',
                                       'log.txt', 'recipe.json']
    go(tmp_path/'run', other, resume=True)
    whole = go(tmp_path/'whole', other)
    again = load_model(tmp_path/'run/model.safetensors').state_dict()
    assert all(torch.equal(v, again[k]) for k, v in whole.model.state_dict().items())
    assert (tmp_path/'run/history.csv').read_text() == (tmp_path/'whole/history.csv').read_text()

def test_a_checkpoint_of_another_run_does_not_go_into_a_folder_with_a_run(tmp_path):
    go(tmp_path/'mine')
    with pytest.raises(R.Interrupted): go(tmp_path/'other', cbs=[Do(1, 2, stop)])
    before = {p.name: p.read_bytes() for p in (tmp_path/'mine').iterdir()}
    for more in ({}, dict(overwrite=True)):
        with pytest.raises(FileExistsError, match='mine holds a run, and .* is of another'):
            go(tmp_path/'mine', resume=tmp_path/'other/checkpoint.safetensors', **more)
        assert {p.name: p.read_bytes() for p in (tmp_path/'mine').iterdir()} == before

# one run a folder

def test_a_second_run_is_told_who_has_the_folder(tmp_path):
    tried = []
    def second(learn):
        with pytest.raises(RuntimeError,
                           match=f'is being trained into by process {os.getpid()} on '):
            go(tmp_path, replace(tiny, seed=1))
        tried.append(True)
    go(tmp_path, cbs=[Do(0, 1, second)])
    assert tried and json.loads((tmp_path/'recipe.json').read_text())['seed'] == 0
    go(tmp_path, resume=True)                                           # and is free afterwards

def test_a_dead_holders_lock_is_free(tmp_path):
    code = ('import os, signal, sys; from dems_nb import learner as L, run as R\n'
            'class Die(R.Callback):\n    def after_batch(self): os.kill(os.getpid(), '
            'signal.SIGKILL)\nR.train(L.Recipe.from_json(sys.argv[1]), sys.argv[2], device="cpu", '
            'bar=False, cbs=[Die()])')
    out = shell.run(code, tiny.to_json(), tmp_path/'run', cwd=root)
    assert out.returncode == -signal.SIGKILL and (tmp_path/'run'/R._holder).exists()
    go(tmp_path/'run', resume=True)

def test_a_failed_run_lets_go(tmp_path):
    with pytest.raises(RuntimeError, match='boom'): go(tmp_path, cbs=[Do(0, 1, fail)])
    go(tmp_path, resume=True)

# resuming

def test_a_checkpoint_can_be_taken_to_a_new_folder(tmp_path):
    with pytest.raises(R.Interrupted): go(tmp_path/'a', cbs=[Do(1, 2, stop)])
    go(tmp_path/'b', resume=tmp_path/'a/checkpoint.safetensors')
    whole = go(tmp_path/'whole')
    state = load_model(tmp_path/'b/model.safetensors').state_dict()
    assert all(torch.equal(v, state[k]) for k, v in whole.model.state_dict().items())

def test_a_run_names_every_commit_it_was_trained_from(tmp_path, monkeypatch):
    def at(commit, **kw):
        monkeypatch.setattr(R, '_commit', lambda: commit)
        go(tmp_path, resume=True, **kw)
        return json.loads((tmp_path/'result.json').read_text())['commit']
    with pytest.raises(R.Interrupted): at('a', cbs=[Do(0, 2, stop)])
    with pytest.raises(R.Interrupted): at('b', cbs=[Do(1, 2, stop)])
    assert at('a') == 'a then b'
    assert at('c') == 'a then b'                          # it scored, and trained nothing
    (tmp_path/'result.json').unlink()                     # killed when all was trained
    assert at('c') == 'a then b'

def test_a_longer_run_names_the_commit_of_what_was_added(tmp_path, monkeypatch):
    monkeypatch.setattr(R, '_commit', lambda: 'a')
    go(tmp_path)
    monkeypatch.setattr(R, '_commit', lambda: 'b')
    go(tmp_path, replace(tiny, epochs=3), resume=True, allow_changes=True)
    result = json.loads((tmp_path/'result.json').read_text())
    assert (result['commit'], result['epochs']) == ('a then b', 3)
    with pytest.raises(ValueError, match='epochs is 2 and the run in the folder has done 3'):
        go(tmp_path, resume=True, allow_changes=True)

def test_a_run_names_every_device_and_precision_it_was_trained_in(tmp_path, monkeypatch):
    def on(device, recipe=tiny, **kw):
        monkeypatch.setattr(R, '_device_name', lambda _: device)
        go(tmp_path, recipe, resume=True, **kw)
        result = json.loads((tmp_path/'result.json').read_text())
        return result['device'], result['precision']
    with pytest.raises(R.Interrupted): on('one', cbs=[Do(0, 2, stop)])
    other = replace(tiny, precision='bf16')
    assert on('another', other, allow_changes=True) == ('one then another', 'fp32 then bf16')
    before = contents(tmp_path)
    on('a third', other)                                  # it scored, and trained nothing
    after = contents(tmp_path)
    assert before['environment.json'] == after['environment.json']
    assert before['result.json'] == after['result.json']

def test_what_a_run_was_given_is_told_though_it_was_stopped(tmp_path):
    model = load_model('bundled')
    small = replace(tiny, patch_size=4)
    with pytest.raises(R.Interrupted): go(tmp_path, small, model=model, cbs=[Do(0, 2, stop)])
    go(tmp_path, small, resume=True, cbs=[EarlyStoppingCallback(monitor='accuracy', patience=9)])
    for _ in range(2):
        result = json.loads((tmp_path/'result.json').read_text())
        assert result['given'] == ['model']
        assert result['callbacks'] == ['Do', 'EarlyStoppingCallback']
        go(tmp_path, small, resume=True)                  # it scores, and is given nothing

@pytest.mark.parametrize('again', [True, False])
def test_the_rates_of_a_model_that_was_given_go_on(tmp_path, again):
    def model(): return start_from('bundled', 10, 32, say=lambda line: None)
    recipe = L.Recipe.finetune('dems_nano', 'sample', epochs=2, bs=32, n_train=160, holdout=100)
    assert recipe.drop_path > 0 == model().config['drop_path']
    whole = go(tmp_path/'whole', recipe, model=model())
    with pytest.raises(R.Interrupted):
        go(tmp_path/'s', recipe, model=model(), cbs=[Do(1, 2, stop)])
    learn = go(tmp_path/'s', recipe, resume=True, **(dict(model=model()) if again else {}))
    assert torch.equal(weights(learn), weights(whole))
    assert json.loads((tmp_path/'s/result.json').read_text())['config']['drop_path'] == 0

@pytest.mark.parametrize('change', [dict(wd=.3), dict(eps=1e-3), dict(betas=(.5, .6))], ids=str)
def test_a_changed_setting_of_the_optimizer_is_what_goes_on(tmp_path, change):
    recipe = replace(tiny, schedule='paper', warmup=0)
    with pytest.raises(R.Interrupted): go(tmp_path, recipe, cbs=[Do(1, 2, stop)])
    seen = []
    def look(learn): seen.extend(learn.opt.opt.param_groups)
    go(tmp_path, replace(recipe, **change), resume=True, allow_changes=True, cbs=[Do(1, 3, look)])
    (name, value), = change.items()
    own = 'weight_decay' if name == 'wd' else name
    assert seen and {g[own] for g in seen} == {value}

@pytest.mark.parametrize('change', [dict(model='vit_nano'), dict(patch_size=4)], ids=str)
def test_weights_do_not_go_on_as_another_model(tmp_path, change):
    with pytest.raises(R.Interrupted): go(tmp_path, cbs=[Do(1, 2, stop)])
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=f'{next(iter(change))} is .* do not go on as another'):
        go(tmp_path, replace(tiny, **change), resume=True, allow_changes=True)
    assert contents(tmp_path) == before

@pytest.mark.parametrize('gone', [['checkpoint.previous.safetensors'], []], ids=str)
def test_a_run_without_its_checkpoint_is_not_begun_anew_by_resuming(tmp_path, done, gone):
    import shutil
    shutil.copytree(done, tmp_path/'run')
    (tmp_path/'run/checkpoint.safetensors').rename(tmp_path/'run/checkpoint.previous.safetensors')
    for name in gone: (tmp_path/'run'/name).unlink()
    before = contents(tmp_path/'run')
    for recipe in (tiny, replace(tiny, seed=1)):
        with pytest.raises(FileExistsError) as e: go(tmp_path/'run', recipe, resume=True)
        assert 'result.json' in str(e.value) and ('goes on from the older one' in str(e.value)) == (
            not gone)
    assert contents(tmp_path/'run') == before
    with pytest.raises(RuntimeError, match='boom'):       # and is kept until there is a checkpoint
        go(tmp_path/'run', resume=True, overwrite=True, cbs=[Do(0, 0, fail)])
    assert contents(tmp_path/'run') == before
    go(tmp_path/'run', resume=True, overwrite=True)
    (tmp_path/'run/result.json').unlink()
    for name in gone: (tmp_path/'run/checkpoint.safetensors').unlink()
    if gone:
        with pytest.raises(FileExistsError, match='already holds a run'): go(tmp_path/'run')

@pytest.fixture
def commit_without_git(tmp_path, monkeypatch):
    "What `_commit` says of a copy of the package without git, for a value of $DEMS_COMMIT."
    monkeypatch.setattr(R, 'files', lambda package: tmp_path)
    def ask(said):
        monkeypatch.setenv('DEMS_COMMIT', said)
        return R._commit()
    return ask

@pytest.mark.parametrize('said, meant', [
    ('', None), ('0f'*20, '0f'*6), ('0f'*20 + '+', '0f'*6 + '+'), ('0f'*6, '0f'*6),
    ('0f'*6 + '+', '0f'*6 + '+'), ('abcdef1', 'abcdef1')])
def test_without_git_the_environment_says_the_commit(commit_without_git, said, meant):
    assert commit_without_git(said) == meant and R.environment()['commit'] == meant

@pytest.mark.parametrize('said', ['abcdef', '0f'*21, 'main', '0F'*6, '0f'*6 + '++', ' ' + '0f'*6,
                                  '0f'*6 + '\n'])
def test_a_commit_that_is_none_is_refused(commit_without_git, said):
    with pytest.raises(ValueError, match='DEMS_COMMIT is .* 7 to 40 hexadecimal digits'):
        commit_without_git(said)

def test_git_is_believed_before_the_environment(monkeypatch):
    git = R._commit()
    if git is None: pytest.skip('not a git checkout')
    monkeypatch.setenv('DEMS_COMMIT', '0f'*6)
    assert R._commit() == git != '0f'*6

def test_what_cannot_be_meant_is_refused(tmp_path):
    with pytest.raises(ValueError, match='resume is True and there is no folder'):
        R.train(tiny, resume=True)
    dls = L.recipe_dls(tiny, 'cpu')
    with pytest.raises(ValueError, match='device is cuda and the data lives on cpu'):
        R.train(tiny, dls=dls, device='cuda')

@pytest.mark.parametrize('key, shape',
                         [('optim.3.exp_avg', (1,)), ('optim.3.step', (2,)),
                          ('model.cls_token', (1, 1, 8)),
                                        ('optim.999.exp_avg', (4,))])
def test_a_checkpoint_of_other_shapes_is_refused_before_anything_is_loaded(tmp_path, key, shape):
    with pytest.raises(R.Interrupted): go(tmp_path, cbs=[Do(1, 2, stop)])
    tensors, notes = R.read_checkpoint(tmp_path/'checkpoint.safetensors')
    R.write_checkpoint(tmp_path/'checkpoint.safetensors', {**tensors, key: torch.zeros(shape)},
                       notes)
    with pytest.raises(ValueError, match='does not fit the model'): go(tmp_path, resume=True)

def test_the_losses_go_on_where_the_device_has_them(tmp_path):
    "Losses of a resumed run are stacked with new ones: both must be on the data's device."
    with pytest.raises(R.Interrupted): go(tmp_path, cbs=[Do(1, 2, stop)])
    tensors, notes = R.read_checkpoint(tmp_path/'checkpoint.safetensors')
    learn = L.make_learner(tiny, device='cpu')
    learn.add_cb(R.EpochLog(R.NoFolder(), tiny))
    learn.create_opt()
    learn.dls = SimpleNamespace(device=torch.device('meta'))
    R.restore_state(learn, tensors, notes)
    assert {l.device.type for l in learn.recorder.losses} == {'meta'}
    assert learn.recorder.smooth_loss.val.device.type == 'meta'

def test_a_run_in_float16_goes_on_in_another_precision_if_told(tmp_path):
    few = replace(tiny, n_train=30, holdout=10, bs=6)                   # a CPU emulates float16
    half = replace(few, precision='fp16')
    with pytest.raises(R.Interrupted): go(tmp_path, half, cbs=[Do(1, 2, stop)])
    go(tmp_path, few, resume=True, allow_changes=True)

# the Learner that is handed back

@pytest.fixture
def resumed(tmp_path):
    with pytest.raises(R.Interrupted): go(tmp_path, cbs=[Do(1, 2, stop)])
    return go(tmp_path, resume=True)

def weights(learn): return torch.cat([p.detach().flatten() for p in learn.model.parameters()])

def test_no_later_call_puts_old_weights_back(resumed):
    before = weights(resumed)
    with resumed.no_bar(), resumed.no_logging():
        resumed.validate()
        resumed.get_preds()
        assert torch.equal(weights(resumed), before)
        resumed.lr_find(show_plot=False, num_it=8)
        assert torch.equal(weights(resumed), before)
        resumed.fit(1, 1e-3)
    assert len(resumed.recorder.values) == 1 and not torch.equal(weights(resumed), before)

def test_a_later_fit_is_not_the_runs(resumed):
    before = contents(resumed.path)
    with resumed.no_bar(), resumed.no_logging(): resumed.fit(2, 1e-3)
    assert contents(resumed.path) == before

def test_the_runs_callbacks_are_gone(resumed):
    names = {type(cb).__name__ for cb in resumed.cbs}
    assert not names & {'EpochLog', 'Checkpoint', 'EpochLR'} and resumed.rows[-1]['epoch'] == 2

def test_more_metrics(tmp_path):
    from fastai.learner import AvgLoss
    class Metric(R.Callback):
        order = -9
        def before_fit(self): self.learn._metrics = self.learn._metrics + [AvgLoss()]
    rows = go(tmp_path, cbs=[Metric()]).rows
    assert set(rows[0]) >= {'epoch', 'lr', 'train_loss', 'valid_loss', 'accuracy', 'loss'}

def test_an_early_stop_is_told_as_it_was(tmp_path):
    longer = replace(tiny, epochs=6)
    early = lambda: EarlyStoppingCallback(monitor='valid_loss', min_delta=10, patience=1)
    learn = go(tmp_path, longer, cbs=[early()])
    result = json.loads((tmp_path/'result.json').read_text())
    assert (result['epochs'], result['images_seen'],
            result['callbacks']) == (2, 320, ['EarlyStoppingCallback'])
    again = go(tmp_path, longer, resume=True, cbs=[early()])  # it is finished, and stays so
    assert torch.equal(weights(again), weights(learn))
    assert json.loads((tmp_path/'result.json').read_text())['epochs'] == 2

# values that are not finite

class Spoil(R.Callback):
    "Make the gradients of one step infinite."
    order = 5
    def __init__(self, epoch, step): self.where = epoch, step
    def before_step(self):
        if (self.epoch, self.iter) != self.where: return
        for p in self.model.parameters(): p.grad.fill_(float('nan'))

@pytest.mark.parametrize('every', [0., 60.])
def test_a_state_that_is_not_finite_is_not_saved(tmp_path, every, capsys):
    with pytest.raises(R.Interrupted): go(tmp_path, cbs=[Do(0, 2, stop)])
    before = (tmp_path/'checkpoint.safetensors').read_bytes()
    with pytest.raises(FloatingPointError) as e:
        go(tmp_path, resume=True, save_every=every, cbs=[Spoil(0, 3)])
    assert str(e.value) == ('the training came to values that are not finite in epoch 1: '
                            f'give a lower lr than {tiny.lr}')
    tensors, notes = R.read_checkpoint(tmp_path/'checkpoint.safetensors')
    assert all(t.isfinite().all() for t in tensors.values())
    if every: assert (tmp_path/'checkpoint.safetensors').read_bytes() == before
    else: assert notes['step'] == 3
    go(tmp_path, resume=True)

def test_a_state_that_is_not_finite_after_the_last_step(tmp_path):
    "The scores may be finite where an average of the optimizer is not: a sentence, all the same."
    class Spoil(R.Callback):
        order = 56  # after the log has looked at the epoch's losses
        def after_epoch(self):
            if self.epoch: next(iter(self.opt.opt.state.values()))['exp_avg'].fill_(torch.inf)
    with pytest.raises(FloatingPointError, match='not finite in epoch 2: give a lower lr'):
        go(tmp_path, cbs=[Spoil()], save_every=9e9)

def test_which_of_lr_decay_and_pictures_it_was():
    learn = L.make_learner(tiny, device='cpu')
    assert 'give a lower lr than 0.002' in R.why_not_finite(learn, tiny, 0)
    assert 'give a lower wd' in R.why_not_finite(learn, replace(tiny, wd=600.), 0)
    floats = learn.dls.train.dataset.x.float()
    floats[3] = float('nan')
    learn.dls.train.dataset = SimpleNamespace(x=floats)
    assert 'the pictures hold such values' in R.why_not_finite(learn, tiny, 0)

# the record is what ran

def test_pretrained_weights_of_another_model_are_refused(tmp_path, done):
    with pytest.raises(ValueError, match='with arch .* and the pretrained weights have'):
        go(tmp_path/'new', replace(tiny, model='vit_nano'), pretrained=done)
    assert not (tmp_path/'new').exists()

def test_another_patch_size_is_what_runs(tmp_path):
    fine = tmp_path/'fine.safetensors'
    save_model(L.create_model('dems_nano', 10, 1), fine)
    go(tmp_path/'run', replace(tiny, epochs=1, patch_size=8), pretrained=fine)
    config = json.loads((tmp_path/'run/result.json').read_text())['config']
    assert config['patch_sizes'] == [8, 16, 32]

def test_class_names_travel_with_the_weights(done):
    assert json.loads(read_safetensors(done/'model.safetensors')[1]['classes'])[9] == 'Ankle boot'

@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='of glibc alone')
def test_freed_memory_between_what_is_kept_goes_back():
    code = '''
import torch
from dems_nb.run import _give_back_memory
def resident(): return int(open('/proc/self/statm').read().split()[1])*4096
small = [torch.ones(4000) for _ in range(12_000)]           # 16 kB each, on the heap
last = torch.ones(4000)
full = resident()
del small                                                   # and the last stays above the hole
_give_back_memory()
print(full - resident())
'''
    assert int(shell.run(code, cwd=root).stdout) > 150*10**6

def test_memory_is_given_back_after_each_epoch(tmp_path, monkeypatch):
    times = []
    monkeypatch.setattr(R, '_give_back_memory', lambda: times.append(1))
    go(tmp_path)
    assert len(times) == tiny.epochs
    for missing in (AttributeError, OSError, TypeError):    # musl and macOS, a sandbox, Windows
        def nothing(name): raise missing
        monkeypatch.undo()
        monkeypatch.setattr(R.ctypes, 'CDLL', nothing)
        R._give_back_memory()

def test_a_new_head_is_drawn_from_the_recipes_seed(done):
    "Whatever was drawn before; and what is noted of the source does not depend on it."
    dls = SimpleNamespace(c=5, in_chans=1, vocab=list('abcde'))
    def start(seed, before):
        torch.manual_seed(before)
        recipe = replace(tiny, seed=seed, patch_size=None)
        model, source = R._starting_model(recipe, dls, None, 'bundled', None)
        return model.head.weight, source
    (a, from_a), (b, from_b), (c, from_c) = start(0, 1), start(0, 2), start(1, 1)
    assert torch.equal(a, b) and not torch.equal(a, c) and from_a == from_b == from_c

class Skip(R.Callback):
    "Score only some epochs."
    order = 0
    def __init__(self, scored): self.scored = scored
    def before_validate(self):
        if self.epoch not in self.scored: raise CancelValidException

@pytest.mark.parametrize('scored', [(0,), (2,), ()], ids=str)
def test_epochs_that_are_not_scored_cost_nothing(scored, tmp_path):
    recipe = replace(tiny, epochs=3)
    learn = go(tmp_path/'whole', recipe, cbs=[Skip(scored)])
    assert [r['accuracy'] is not None for r in learn.rows] == [e in scored for e in range(3)]
    result = json.loads((tmp_path/'whole/result.json').read_text())
    best = learn.rows[scored[0]]['accuracy'] if scored else learn.evaluation.accuracy
    assert result['best']['accuracy'] == best
    assert result['best']['epoch'] == (scored[0] + 1 if scored else 3)
    with pytest.raises(R.Interrupted):
        go(tmp_path/'part', recipe, cbs=[Skip(scored), Do(1, 2, stop)])
    again = go(tmp_path/'part', recipe, cbs=[Skip(scored)], resume=True)
    assert again.rows == learn.rows
    assert again.recorder.values == learn.recorder.values
    for name in ('history.csv', 'model.safetensors'):
        assert (tmp_path/'part'/name).read_bytes() == (tmp_path/'whole'/name).read_bytes()

def test_another_pytorch_may_have_other_switches(tmp_path):
    "Newer AdamW has decoupled_weight_decay; another optimizer is refused, and named."
    go(tmp_path/'whole')
    with pytest.raises(R.Interrupted): go(tmp_path/'part', cbs=[Do(1, 2, stop)])
    path = tmp_path/'part/checkpoint.safetensors'
    tensors, notes = R.read_checkpoint(path)
    notes['groups'] = [{**{k: v for k, v in g.items() if k != 'decoupled_weight_decay'},
                        'a_switch_of_later': None} for g in notes['groups']]
    R.write_checkpoint(path, tensors, notes)
    go(tmp_path/'part', resume=True)
    for name in ('history.csv', 'model.safetensors'):
        assert (tmp_path/'part'/name).read_bytes() == (tmp_path/'whole'/name).read_bytes()
    own = [dict(lr=.1, betas=(.9, .99), params=[0])]
    with pytest.raises(ValueError, match='the settings betas, momentum; another optimizer'):
        R._check_groups(own, [dict(lr=.1, momentum=.9, params=[0])])
    with pytest.raises(ValueError, match='other groups of parameters, 2 and not 1'):
        R._check_groups(own, own*2)
