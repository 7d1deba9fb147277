"The commands as a shell sees them: exit status, and one line for a mistake."
import io, json, pytest, shell, shutil, sys

def script(name, *flags, cwd, fresh=False):
    "A console script, as setuptools writes it: what the function returns is the exit status."
    code = (f'import sys; from dems_nb.commands import {name}; sys.argv[0] = "x"; '
            f'sys.exit({name}())')
    return shell.run(code, *flags, cwd=cwd, fresh=fresh)

def test_exit_status(tmp_path):
    flags = ('--model dems_nano --dataset sample --n_train 160 --holdout 100 --epochs 1 '
             '--patch_size 8 --batch_size 32 --device cpu --output_dir run'.split())
    good = script('pretrain', *flags, cwd=tmp_path, fresh=True)
    assert good.returncode == 0 and 'last epoch:' in good.stdout, good.stderr
    again = script('pretrain', *flags, cwd=tmp_path)
    assert (again.returncode == 2 and 'already holds a run' in again.stderr
            and 'Traceback' not in again.stderr)
    flags = '--pretrained_weight run --dataset sample --device cpu'.split()
    for name, command in (('evaluate_command', []), ('main', ['evaluate'])):
        scored = script(name, *command, *flags, cwd=tmp_path)
        assert scored.returncode == 0 and 'of 1,000 images' in scored.stdout, scored.stderr
        assert not scored.stderr, 'what a command returns is not printed'

def test_the_demo_refuses_in_one_line_before_it_trains(tmp_path):
    (here := tmp_path/'here').mkdir()
    for flags, said in (('--epochs 0', 'epochs is 0'),
                        ('--finetune_epochs -1', '--finetune_epochs is -1')):
        code = ('import sys; from dems_nb.demo import main; sys.argv[0] = "dems_demo"\n'
                'if __name__ == "__main__": sys.exit(main())')
        done = shell.run(code, *flags.split(), cwd=here)
        assert done.returncode == 2 and done.stderr.startswith(
            'dems_demo: error: ') and said in done.stderr and done.stderr.count(
                '\n') == 1, done.stderr
        assert not done.stdout and not any(here.iterdir())

@pytest.mark.parametrize('device', ['cuda', 'gpu'])
def test_the_demo_refuses_a_device_of_another_build(device, tmp_path):
    "A PyTorch without CUDA says so by an AssertionError."
    code = ('import sys, torch; vars(torch._C).pop("_cuda_getDeviceCount", None)\n'
            'from dems_nb.demo import main; sys.argv[0] = "dems_demo"; sys.exit(main())')
    done = shell.run(code, '--device', device, cwd=tmp_path)
    said = f"dems_demo: error: argument --device: '{device}' is no device here: give cpu"
    assert done.returncode == 2 and said in done.stderr.splitlines()[-1], done.stderr
    assert 'Traceback' not in done.stderr and not any(tmp_path.iterdir())

def test_every_flag_is_explained():
    "Each flag's help is a sentence, with its default: not its own name, as without a comment."
    from dems_nb import commands
    from dems_nb.learner import Recipe
    for usual in (Recipe.pretrain(), Recipe.finetune()):
        for a in commands._parser('x', 'y', usual)._actions:
            if a.dest == 'help': continue
            assert a.help and len(a.help.split(' (default')[0]) > 3 and '(default' in a.help, a.dest
            assert a.help.split(' (default')[0] not in (a.dest,
                                                        'None'), f'--{a.dest} has no explanation'

def test_names_as_users_write_them():
    from argparse import Namespace
    from dems_nb import commands
    for said, meant in (('DEMS_Small', 'dems_small'), ('dems-tiny', 'dems_tiny'),
                        ('Ti', 'dems_tiny'), ('S', 'dems_small'), ('vit_nano', 'vit_nano')):
        assert commands._recipe_flags(Namespace(model=said, data_path=None)) == {'model': meant}

def test_tensorboard_gets_loss_learning_rate_and_scores(tmp_path):
    pytest.importorskip('tensorboard', reason='--tensorboard needs it: pip install tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    flags = ('--model dems_nano --dataset sample --n_train 160 --holdout 100 --epochs 2 '
             '--batch_size 32 --device cpu --output_dir run --tensorboard'.split())
    done = script('pretrain', *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    log = EventAccumulator(str(tmp_path/'run/tensorboard')).Reload()
    assert {'train_loss', 'lr', 'wd', 'valid_loss', 'accuracy'} <= set(log.Tags()['scalars'])
    assert len(log.Scalars('lr')) == 10 and len(log.Scalars('accuracy')) == 2

def test_a_fastai_whose_wandb_callback_fails_is_told_before_training(tmp_path, monkeypatch):
    import types
    from argparse import Namespace
    from importlib.machinery import ModuleSpec
    wandb = types.ModuleType('wandb')
    wandb.__spec__ = ModuleSpec('wandb', None)
    wandb.init = lambda **kw: pytest.fail('a run was begun there')
    callback = types.ModuleType('fastai.callback.wandb')
    callback.WandbCallback = None
    callback._format_config = lambda config: vars(config['batch size'])      # fastai 2.8.12
    monkeypatch.setitem(sys.modules, 'wandb', wandb)
    monkeypatch.setitem(sys.modules, 'fastai.callback.wandb', callback)
    from dems_nb import commands
    monkeypatch.setattr(commands, 'version', lambda name: '0.1')
    with pytest.raises(ValueError, match=r'--wandb: .* fails.*vars\(\) .* or --tensorboard'):
        commands._loggers(Namespace(tensorboard=False, wandb=True), tmp_path/'run')
    assert not (tmp_path/'run').exists()

def test_a_folder_with_a_broken_picture(tmp_path):
    "Named before anything is written; left out when asked."
    import json, numpy as np
    from PIL import Image
    for split, n in (('train', 8), ('val', 3)):
        for c in ('cat', 'dog'):
            (tmp_path/'data'/split/c).mkdir(parents=True)
            for i in range(n):
                picture = np.random.default_rng(i).integers(0, 255, (20, 30, 3), np.uint8)
                Image.fromarray(picture).save(tmp_path/'data'/split/c/f'{i}.png')
    (tmp_path/'data/train/dog/7.png').write_bytes(b'no picture')
    flags = ('--model dems_nano --dataset folder --data_path data --image_size 32 --patch_size 4 '
             '--epochs 1 --batch_size 4 --device cpu --output_dir run'.split())
    refused = script('pretrain', *flags, cwd=tmp_path)
    assert (refused.returncode == 2 and '7.png' in refused.stderr
            and 'Traceback' not in refused.stderr and not (tmp_path/'run').exists())
    good = script('pretrain', *flags, '--skip_broken', cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    row = json.loads((tmp_path/'run/result.json').read_text())
    assert (row['data']['n_train'] == 15 and row['data']['n_scored'] == 6
            and row['config']['n_classes'] == 2)

def test_a_command_of_the_one_program(tmp_path):
    flags = 'finetune --pretrained_weight nowhere'.split()
    done = script('main', *flags, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count(
        '\n') == 1 and 'nowhere' in done.stderr, done.stderr
    assert script('main', '--help',
                  cwd=tmp_path).stdout.startswith('usage: dems {pretrain,finetune,')
    assert script('main', 'train', cwd=tmp_path).returncode == 2

def test_wrong_values_end_in_one_line_that_names_the_flag(tmp_path):
    for flags, said in (('--device x', "argument --device: 'x' is no device here: give cpu"),
                        ('--epochs x', 'argument --epochs'),
                        ('--shift -1', '--shift is -1: give 0 or more'),
                        ('--image_size 0', '--image_size is 0: give 1 or more'),
                        ('--bs 3', 'unrecognized arguments'),
                        ('--batch_size 0', '--batch_size is 0: give a positive whole number'),
                        ('--eps -1', 'eps is -1.0'),
                        ('--dataset imagenet', "unknown data set 'imagenet'"),
                        ('--model x', "unknown model 'x'")):
        flags = f'{flags} --dry_run' if '--model' in flags else flags
        done = script('pretrain', *flags.split(), cwd=tmp_path)
        assert done.returncode == 2 and said in done.stderr.splitlines()[-1], (flags, done.stderr)
        assert 'Traceback' not in done.stderr and not any(tmp_path.iterdir())

def test_a_folder_of_pictures_is_noticed(tmp_path):
    import numpy as np
    from PIL import Image
    for name in ('cat', 'dog'):
        (tmp_path/'photos'/name).mkdir(parents=True)
        for i in range(10):
            picture = np.random.default_rng(i).integers(0, 255, (20, 30, 3), np.uint8)
            Image.fromarray(picture).save(tmp_path/'photos'/name/f'{i}.png')
    before = sorted(tmp_path.rglob('*'))
    done = script('pretrain', '--data_path', 'photos', '--dry_run', cwd=tmp_path)
    assert done.returncode == 0 and '(--dataset folder)' in done.stdout, done.stderr
    assert '2 classes (cat, dog)' in done.stdout and '"image_size": 256' in done.stdout
    assert sorted(tmp_path.rglob('*')) == before
    # and is scored without its being named; elsewhere a name is asked for
    train = '--data_path photos --light --epochs 1 --image_size 16 --output_dir run'.split()
    assert script('pretrain', *train, cwd=tmp_path).returncode == 0
    flags = '--pretrained_weight run --data_path'.split()
    done = script('evaluate_command', *flags, 'photos', cwd=tmp_path)
    assert done.returncode == 0 and 'of 4 images' in done.stdout, done.stderr
    done = script('evaluate_command', *flags, 'run', cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.rstrip().endswith('required: --dataset')

def pictures_of(folder, *classes):
    "A folder of two pictures for each of the classes."
    import numpy as np
    from PIL import Image
    for name in classes:
        (folder/name).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(np.full((9, 9, 3), 9*i, np.uint8)).save(folder/name/f'{i}.png')

def poor_script(module, name, *flags, cwd, before='', **env):
    "A console script on a terminal that has the letters of English alone."
    code = (f'import sys; from dems_nb.{module} import {name}; {before}\n'
            f'sys.stdout.reconfigure(encoding="ascii", errors="strict"); sys.exit({name}())')
    return shell.run(code, *flags, cwd=cwd, env=env)

@pytest.mark.parametrize('name, command', [('pretrain', []), ('main', ['pretrain'])])
def test_classes_in_letters_that_the_terminal_lacks(name, command, tmp_path):
    pictures_of(tmp_path/'photos', '猫', '狗')
    flags = '--data_path photos --light --dry_run'.split()
    done = poor_script('commands', name, *command, *flags, cwd=tmp_path)
    assert done.returncode == 0 and r'2 classes (\u72d7, \u732b)' in done.stdout, done.stderr

@pytest.mark.parametrize('command', ['finetune', 'evaluate'])
def test_a_folder_in_letters_that_the_terminal_lacks(command, tmp_path):
    pictures_of(tmp_path/'фото', 'кошка', 'собака')
    flags = '--data_path фото --pretrained_weight dems_nano_fashionmnist --device cpu'.split()
    if command == 'finetune': flags.append('--dry_run')
    done = poor_script('commands', 'main', command, *flags, cwd=tmp_path)
    noticed = r'\u0444\u043e\u0442\u043e holds a folder of pictures a class'
    assert noticed in done.stdout and 'codec' not in done.stderr, done.stderr
    if command == 'finetune': assert done.returncode == 0, done.stderr
    else: assert 'the weights are for 10 classes' in done.stderr, done.stderr

@pytest.mark.parametrize('command', ['doctor', 'reproduce', 'demo', 'study'])
def test_other_commands_write_letters_that_the_terminal_lacks(command, tmp_path):
    "Under their own names, as `dems_doctor`."
    where = dict(doctor='commands', reproduce='released', demo='demo', study='studies')[command]
    shutil.copytree(shell.root/'results/ledger/cifar10', tmp_path/'фото/cifar10')
    (tmp_path/'фото/dems_tiny-cifar10.pth').write_bytes(b'none')
    flags = dict(doctor=['--data_path', 'фото'], reproduce=['dems_tiny/cifar10'],
                 demo=['--out', 'фото'], study=['cifar10', '--out', 'фото'])[command]
    quick = dict(doctor='import dems_nb.commands as C; C._one_step = lambda: []',
                 demo='import dems_nb.demo as D; D.demo = lambda *args: D.pd.DataFrame()')
    name = 'doctor' if command == 'doctor' else 'main'
    done = poor_script(where, name, *flags, cwd=tmp_path, before=quick.get(command, ''),
                       DEMS_ZOO='фото')
    assert r'\u0444\u043e\u0442\u043e' in done.stdout, done.stderr
    assert 'codec' not in done.stdout + done.stderr, done.stderr

def test_a_folder_of_a_packages_name_is_no_package(tmp_path, monkeypatch):
    "Such as the one that wandb makes where it runs: `import wandb` would find a namespace."
    from argparse import Namespace
    from importlib.metadata import PackageNotFoundError, version
    from dems_nb import commands
    optional = 'wandb', 'tensorboard'
    def own_version(name):
        if name in optional: raise PackageNotFoundError(name)
        return version(name)
    for name in optional: (tmp_path/name).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(commands, 'version', own_version)
    found = {what: (ok, state) for what, ok, state, *_ in commands._packages()}
    assert found['wandb'] == found['tensorboard'] == (False, 'not installed')
    assert found['torch'][0]
    for name in optional:
        asked = Namespace(**{**dict.fromkeys(optional, False), name: True})
        with pytest.raises(ValueError, match=f'--{name} needs the package {name}: pip install'):
            commands._loggers(asked, tmp_path/'run')
    assert not (tmp_path/'run').exists()

def refuses(*args, **kwargs):
    "A command that refuses in other words than a notebook tells of."
    print('something else', file=sys.stderr)
    raise SystemExit(2)

@pytest.mark.parametrize('nb, cell, names', [
    ('16_commands', '9d331f87', ['pretrain', 'finetune']), ('22_released', '60b38650', ['main']),
    ('tutorials/your_own_images', 'd4552aa2', ['get_dls'])])
def test_a_cell_about_a_mistake_fails_without_it(nb, cell, names, tmp_path):
    "Where nothing is refused, and where it is for another reason."
    import contextlib
    from fastcore.test import test_eq
    nb = json.loads((shell.root/f'nbs/{nb}.ipynb').read_text(encoding='utf-8'))
    code, = [''.join(c['source']) for c in nb['cells'] if c['id'] == cell]
    (tmp_path/'Sneaker.png').write_bytes(b'whole')
    known = dict(contextlib=contextlib, io=io, sys=sys, test_eq=test_eq, flags=[], root=tmp_path,
                 redirect_stderr=contextlib.redirect_stderr,
                 pictures_in=lambda folder: [tmp_path/'Sneaker.png']*9)
    def other(*args, **kwargs): raise ValueError('something else')
    for f in (lambda *args, **kwargs: None, other if names == ['get_dls'] else refuses):
        with pytest.raises(AssertionError): exec(code, known | dict.fromkeys(names, f))
