"Each wrong value of each flag of each command: one line that names it, status 2, nothing written."
import argparse, errno, importlib, io, json, os, pytest, sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from dems_nb import commands as C, run as R

# command -> {flag: [(wrong value, what the line says)]}; what is needed besides is in `needed`
recipe = {
    '--recipe': [('nowhere.toml', 'there is no file nowhere.toml'), ('file', 'file ends in')],
    '--dataset': [('imagenet', "--dataset: unknown data set 'imagenet'")],
    '--image_size': [('0', '--image_size is 0'), ('x', '--image_size'), ('33', 'image_size 33')],
    '--n_train': [('-1', '--n_train is -1'), ('7', '--n_train is 7: give a multiple'),
                  ('9999999', '--n_train is 9999999')],
    '--holdout': [('-1', '--holdout is -1'), ('3', '--holdout is 3'), ('1e3', '--holdout')],
    '--batch_size': [('0', '--batch_size is 0'), ('1.5', '--batch_size')],
    '--augment': [('heavy', "--augment is 'heavy'")],
    '--shift': [('-1', '--shift is -1: give 0 or more'), ('x', '--shift')],
    '--augment_schedule': [('x', "--augment_schedule is 'x'")],
    '--p0': [('2', '--p0 is 2.0'), ('nan', '--p0 is nan')],
    '--mixup': [('2', '--mixup is 2.0')], '--cutmix': [('.01', '--cutmix is 0.01')],
    '--label_smoothing': [('1', '--label_smoothing is 1.0')],
    '--seed': [('-1', '--seed is -1'), ('1e3', '--seed')],
    '--model': [('resnet', "--model: unknown model 'resnet'")],
    '--patch_size': [('0', '--patch_size is 0'), ('5', 'not divisible')],
    '--epochs': [('0', '--epochs is 0'), ('inf', '--epochs')],
    '--lr': [('0', '--lr is 0.0'), ('nan', '--lr is nan'), ('inf', '--lr is inf')],
    '--schedule': [('x', "--schedule is 'x'")],
    '--warmup': [('-1', '--warmup is -1'), ('99999', '--warmup is 99999')],
    '--min_lr': [('-1', '--min_lr is -1.0'), ('inf', '--min_lr is inf')],
    '--betas': [('1 1', '--betas is (1.0, 1.0)'), ('.9', '--betas')],
    '--eps': [('0', '--eps is 0.0'), ('-1', '--eps is -1.0')],
    '--wd': [('-1', '--wd is -1.0'), ('inf', '--wd is inf')],
    '--drop_path': [('1', '--drop_path is 1.0')], '--attn_drop': [('nan', '--attn_drop is nan')],
    '--precision': [('fp8', "--precision is 'fp8'")],
    '--ema': [('1', '--ema is 1.0')], '--grad_clip': [('-1', '--grad_clip is -1.0')],
    '--accumulate': [('0', '--accumulate is 0')],
    '--randaugment': [('31', '--randaugment is 31')], '--erasing': [('2', '--erasing is 2.0')],
    '--crop_scale': [('0 1', '--crop_scale is (0.0, 1.0)')],
    '--layer_decay': [('0', '--layer_decay is 0.0')], '--opt': [('sgd', "--opt is 'sgd'")],
    '--valid_pct': [('2 --dataset folder --data_path photos', '--valid_pct is 2.0'),
                    ('x', '--valid_pct')],
    '--data_path': [('nowhere --dataset folder', 'no folder nowhere')],
    '--output_dir': [('file', 'file is a file'), ('full', 'full holds history.csv')],
    '--device': [('x', "--device: 'x' is no device here"), ('cuda:99', '--device')],
    '--resume': [('nowhere', 'nowhere')],
    '--save_every': [('nan', '--save_every is nan'), ('-1', '--save_every is -1.0')]}
table = dict(
    pretrain=recipe,
    finetune=recipe | {'--model': [('resnet', '--model is resnet and the weights in')],
                       '--pretrained_weight': [('nowhere', 'nowhere'), ('file', 'file')],
                       '--patch_size': [('8', '--patch_size is 8'), ('0', '--patch_size is 0')],
                       '--image_size': [('0', '--image_size is 0'), ('33', '33')]},
    evaluate={'--pretrained_weight': [('nowhere', 'nowhere'), ('file', 'file')],
              '--dataset': [('x', '--dataset: unknown data set'), ('cifar100', 'cifar100')],
              '--data_path': [('nowhere --dataset folder', 'nowhere')],
              '--batch_size': [('0', '--batch_size is 0'), ('x', '--batch_size')],
              '--valid_pct': [('2 --dataset folder --data_path photos', '--valid_pct is 2.0'),
                              ('x', '--valid_pct')],
              '--device': [('x', '--device')], '--json': [('photos', 'photos')]},
    predict={'pictures': [('nowhere.png', '1 of the pictures could not be read'),
                          ('empty', 'no picture in empty')],
             '--pretrained_weight': [('nowhere', 'nowhere'), ('file', 'file')],
             '--top': [('0', '--top'), ('x', '--top')], '--csv': [('photos', 'photos')],
             '--device': [('x', '--device')], '--batch_size': [('0', '--batch_size')]},
    export={'--pretrained_weight': [('nowhere', 'nowhere')], '--output': [('photos', 'photos')],
            '--normalize': [('x', '--normalize')]},
    demo={'--out': [('file', 'file')],
          '--minutes': [('inf', '--minutes is inf'), ('0', '--minutes')],
          '--epochs': [('0', '--epochs is 0')],
          '--finetune_epochs': [('-1', '--finetune_epochs is -1')],
          '--device': [('x', "--device: 'x' is no device here"), ('cuda:99', '--device')]},
    reproduce={'names': [('x', 'x is no published checkpoint')], '--device': [('x', '--device x')],
               '--batch_size': [('0', '--batch_size is 0')], '--data_path': [],
               '--ledger': [('file', "--ledger is 'file'")]},
    doctor={'--data_path': []},
    bench={'--model': [('x', "unknown model 'x'")], '--batch_size': [('0', 'batch_size is 0')],
           '--device': [('x', 'device')], '--precision': [('fp8', 'fp8')],
           '--steps': [('0', 'steps is 0')], '--threads': [('0', 'threads is 0')],
           '--attn_drop': [('2', 'attn_drop is 2.0')], '--json': [('photos', 'json is photos')],
           '--profile': [('file', 'profile is file')]},
    study={'study': [('x', 'study'), ('ablations', 'run dems_study data_efficiency first')],
           '--processes': [('0', '--processes is 0')], '--threads': [('0', '--threads is 0')],
           '--images': [('0', '--images is 0')], '--seeds': [('-1', '--seeds is -1')],
           '--out': [], '--data_path': [], '--runs': []},
    timebox={'--model': [('x', "--model: unknown model 'x'")],
             '--dataset': [('x', '--dataset: unknown data set')],
             '--batch_size': [('0', '--batch_size is 0')], '--n_train': [('-1', '--n_train is -1')],
             '--precision': [('fp8', "precision is 'fp8'")], '--seed': [('-1', 'seed is -1')],
             '--minutes': [('inf', '--minutes is inf'), ('nan', '--minutes is nan')],
             '--output_dir': [('file', 'file'), ('cut', 'cut/timebox.json is no JSON')],
             '--data_path': [], '--device': [('x', '--device')], '--ledger': []},
    progress={'folder': [('nowhere', 'nowhere')]})
small = '--n_train 40 --holdout 20 --batch_size 20'
train = f'--model dems_nano --dataset sample --epochs 1 --device cpu --output_dir run {small}'
needed = dict(
    pretrain=train, finetune=f'{train} --pretrained_weight dems_nano_fashionmnist',
    evaluate='--pretrained_weight dems_nano_fashionmnist --dataset sample --device cpu',
    predict='--pretrained_weight dems_nano_fashionmnist --device cpu photos',
    export='--pretrained_weight dems_nano_fashionmnist --output run.onnx',
    demo='--out run --epochs 1 --finetune_epochs 1', reproduce='dems_tiny/cifar10', doctor='',
    bench='--model dems_nano --device cpu', study='data_efficiency --out run',
    timebox='--model dems_nano --dataset sample --output_dir run', progress='')
cases = [(command, flag, value, said) for command, flags in table.items()
         for flag, wrong in flags.items() for value, said in wrong]

@pytest.fixture
def here(tmp_path, monkeypatch):
    "A folder with a file, a folder of pictures, another's run, and a plan that was cut."
    from PIL import Image
    (tmp_path/'file').write_text('mine')
    for name in ('full', 'cut', 'empty', 'photos/a', 'photos/b'):
        (tmp_path/name).mkdir(parents=True)
    (tmp_path/'full/history.csv').write_text('mine')
    (tmp_path/'cut/timebox.json').write_text('{"recipe": {"bs"')
    for c in 'ab':
        for i in range(3):
            Image.new('RGB', (20, 20), (i, 0, 0)).save(tmp_path/f'photos/{c}/{i}.png')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(R, 'fit_recipe', lambda *args: pytest.fail('it trains'))
    return tmp_path

def listing(folder): return {p.relative_to(folder): p.is_file() and p.read_bytes()
                             for p in folder.rglob('*')}

def argv_of(command, flag, value):
    "The flags that a command needs, with one of them wrong."
    words, name = needed[command].split(), value.split()
    if not flag.startswith('--'):
        positional = dict(study=1, reproduce=1).get(command, 0)
        words = words[positional:] if command != 'predict' else words[:-1]
        return [*name, *words]
    if flag in words:
        at = words.index(flag)
        del words[at:at+2]
    for other in [w for w in name if w.startswith('--') and w in words]:
        at = words.index(other)
        del words[at:at+2]
    return [*words, *([f'{flag}={value}'] if value[:1] == '-' else [flag, *name])]

def run(command, argv):
    "Run a command in this process: (its exit status, what it printed on stderr)."
    said = io.StringIO()
    with redirect_stderr(said), redirect_stdout(io.StringIO()):
        try: status = C.main([command, *argv])
        except SystemExit as e:
            status = e.code
            if isinstance(status, str): said.write(status); status = 1
    return status, said.getvalue()

@pytest.mark.parametrize('command, flag, value, said', cases, ids=lambda v: str(v)[:24])
def test_a_wrong_value(here, command, flag, value, said):
    if flag == '--output': pytest.importorskip('onnx', reason='dems_export needs onnx')
    before = listing(here)
    status, stderr = run(command, argv_of(command, flag, value))
    last = stderr.strip().splitlines()[-1]
    assert said in last and 'Traceback' not in stderr, stderr[-1500:]
    ends_in_1 = ('predict', 'nowhere.png'), ('progress', 'nowhere')
    assert status == (1 if (command, value) in ends_in_1 else 2), stderr
    assert len(stderr.strip().splitlines()) == 1 or 'usage:' in stderr or command == 'predict'
    after = listing(here)
    assert after == before, set(after) - set(before)

@pytest.mark.parametrize('command', table)
def test_no_flag_is_left_out(command, monkeypatch):
    "The table has every flag that takes a value."
    found = []
    def parse(parser, argv=None, namespace=None):
        found.extend(a for a in parser._actions if a.nargs != 0)
        raise SystemExit(0)
    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse)
    run(command, [])
    flags = {a.option_strings[-1] if a.option_strings else a.dest for a in found}
    assert {f for f in flags if not f.startswith('--no-')} == {*table[command]}

# what a table of values does not reach

def test_a_full_disk_is_named_with_its_file(here, monkeypatch):
    "No space left while a model is saved: one line, the file's name, and the old file whole."
    from dems_nb.weights import load_bundled, save_model
    model = load_bundled()
    def full(fd): raise OSError(errno.ENOSPC, 'No space left on device')
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError) as e: save_model(model, here/'file')
    assert C._in_flags(e.value) == f'No space left on device: {here/"file"}'
    assert (here/'file').read_text() == 'mine'
    assert not [p for p in here.iterdir() if p.name[0] == '.']
    argv = argv_of('evaluate', '--json', str(here/'scores.json'))
    status, stderr = run('evaluate', argv)
    assert status == 2 and stderr == (f'dems_evaluate: error: No space left on device: '
                                      f'{here/"scores.json"}\n')

def test_ctrl_c_before_the_loop(here, monkeypatch):
    def stop(*args, **kwargs): raise KeyboardInterrupt
    monkeypatch.setattr(R, 'recipe_dls', stop)
    before = listing(here)
    assert run('pretrain', needed['pretrain'].split()) == (130, '\ndems_pretrain: interrupted\n')
    from dems_nb import studies
    monkeypatch.setattr(studies, 'timebox', stop)
    assert run('timebox', needed['timebox'].split()) == (130, '\ndems_timebox: interrupted\n')
    assert listing(here) == before

def test_names_of_classes_that_look_like_formulas(here):
    import matplotlib.pyplot as plt, torch
    from dems_nb import figures as F
    from dems_nb.classifier import Classifier
    from dems_nb.data import DeviceDL, sample_images
    from dems_nb.results import Evaluation
    from dems_nb.weights import load_bundled
    names, model, data = ['C$^$', '$$', 'a_b$'] + list('defghij'), load_bundled(), sample_images(10)
    drawn = [F.show_predictions(model, data.x, data.y, names),
             F.show_history({'C$^$': [(1, 1, 1)]}),
             F.show_confusion(Evaluation(data.y, data.y.flip(0), 1.), names),
             Classifier(model, names, device='cpu').look(data.x[0])]
    DeviceDL(data, 10, device='cpu', vocab=names).show_batch()
    for figure in [*drawn, plt.gcf()]: figure.savefig(io.BytesIO())
    plt.close('all')
