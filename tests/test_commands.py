"The commands as a shell sees them: exit status, and one line for a mistake."
import os, subprocess, sys
from pathlib import Path

root = Path(__file__).parent.parent
def script(name, *flags, cwd):
    "A console script, as setuptools writes it: what the function returns is the exit status."
    code = f'import sys; from dems_nb.commands import {name}; sys.argv = ["x", *{list(flags)!r}]; sys.exit({name}())'
    return subprocess.run([sys.executable, '-W', 'ignore', '-c', code], cwd=cwd, env={**os.environ, 'PYTHONPATH': str(root)}, capture_output=True, text=True)

def test_exit_status(tmp_path):
    flags = '--model dems_nano --dataset sample --n_train 160 --holdout 100 --epochs 1 --batch_size 32 --device cpu --output_dir run'.split()
    good = script('pretrain', *flags, cwd=tmp_path)
    assert good.returncode == 0 and 'last epoch:' in good.stdout, good.stderr
    again = script('pretrain', *flags, cwd=tmp_path)
    assert again.returncode == 2 and 'already holds a run' in again.stderr and 'Traceback' not in again.stderr
    scored = script('evaluate_command', '--pretrained_weight', 'run', '--dataset', 'sample', '--device', 'cpu', cwd=tmp_path)
    assert scored.returncode == 0 and 'of 1,000 images' in scored.stdout, scored.stderr

def test_the_demo_refuses_in_one_line_before_it_trains(tmp_path):
    (here := tmp_path/'here').mkdir()
    (tmp_path/'dems_demo').write_text('import sys\nfrom dems_nb.demo import main\nif __name__ == "__main__": sys.exit(main())\n')
    for flags, said in (('--epochs 0', 'epochs is 0'), ('--finetune_epochs -1', 'epochs is -1'), ('--device gpu', 'device string: gpu')):
        done = subprocess.run([sys.executable, '-W', 'ignore', tmp_path/'dems_demo', *flags.split()], cwd=here, env={**os.environ, 'PYTHONPATH': str(root)},
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and done.stderr.startswith('dems_demo: error: ') and said in done.stderr and done.stderr.count('\n') == 1, done.stderr
        assert not done.stdout and not any(here.iterdir())

def test_every_flag_is_explained():
    "Each flag's help is a sentence, with its default: not its own name, which is what a missing comment leaves."
    from dems_nb import cli
    from dems_nb.learner import Recipe
    for usual in (Recipe.pretrain(), Recipe.finetune()):
        for a in cli._parser('x', 'y', usual)._actions:
            if a.dest == 'help': continue
            assert a.help and len(a.help.split(' (default')[0]) > 3 and '(default' in a.help, a.dest
            assert a.help.split(' (default')[0] not in (a.dest, 'None'), f'--{a.dest} has no explanation'

def test_names_as_users_write_them():
    from dems_nb import cli
    for said, meant in (('DEMS_Small', 'dems_small'), ('dems-tiny', 'dems_tiny'), ('Ti', 'dems_tiny'), ('S', 'dems_small'), ('vit_nano', 'vit_nano')):
        assert cli._names({'model': said}) == {'model': meant}

def test_tensorboard_gets_loss_learning_rate_and_scores(tmp_path):
    import pytest
    pytest.importorskip('tensorboard', reason='--tensorboard needs it: pip install tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    flags = '--model dems_nano --dataset sample --n_train 160 --holdout 100 --epochs 2 --batch_size 32 --device cpu --output_dir run --tensorboard'.split()
    done = script('pretrain', *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    log = EventAccumulator(str(tmp_path/'run/tensorboard')).Reload()
    assert {'train_loss', 'lr', 'wd', 'valid_loss', 'accuracy'} <= set(log.Tags()['scalars'])
    assert len(log.Scalars('lr')) == 10 and len(log.Scalars('accuracy')) == 2

def test_a_folder_with_a_broken_picture(tmp_path):
    "Named before anything is written; left out when asked."
    import json, numpy as np
    from PIL import Image
    for split, n in (('train', 8), ('val', 3)):
        for c in ('cat', 'dog'):
            (tmp_path/'data'/split/c).mkdir(parents=True)
            for i in range(n): Image.fromarray(np.random.default_rng(i).integers(0, 255, (20, 30, 3), np.uint8)).save(tmp_path/'data'/split/c/f'{i}.png')
    (tmp_path/'data/train/dog/7.png').write_bytes(b'no picture')
    flags = '--model dems_nano --dataset folder --data_path data --image_size 32 --patch_size 4 --epochs 1 --batch_size 4 --device cpu --output_dir run'.split()
    refused = script('pretrain', *flags, cwd=tmp_path)
    assert refused.returncode == 2 and '7.png' in refused.stderr and 'Traceback' not in refused.stderr and not (tmp_path/'run').exists()
    good = script('pretrain', *flags, '--skip_broken', cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    row = json.loads((tmp_path/'run/result.json').read_text())
    assert row['data']['n_train'] == 15 and row['data']['n_scored'] == 6 and row['config']['n_classes'] == 2
