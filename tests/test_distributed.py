"Two processes on a CPU do what one does: same steps, same weights, same score, every image once."
import csv, json, os, pytest, shell, socket, subprocess, sys, torch
from pathlib import Path
from dems_nb.weights import read_safetensors

root = Path(__file__).parent.parent
pytest.importorskip('accelerate',
                    reason='several processes need accelerate: pip install accelerate')
# nothing drawn for each image
plain = '--drop_path 0 --attn_drop 0 --mixup 0 --cutmix 0 --augment light --no-flip --shift 0'
flags = ('--model dems_nano --dataset sample --n_train 640 --holdout 110 --batch_size 64 --epochs '
         '2 --patch_size 8 --device cpu --precision fp32')

def free_port():
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); return s.getsockname()[1]

def launch(n, out, *more):
    "The command as the chapter has it, by torch.distributed.run."
    done = subprocess.run([sys.executable, '-W', 'ignore', '-m', 'torch.distributed.run',
                           '--nproc_per_node', str(n), '--master_port', str(free_port()), '-m',
                           'dems_nb.commands', 'pretrain', *flags.split(), '--output_dir', str(out),
                           *more],
                          env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(root)},
                          capture_output=True, text=True, timeout=300)
    return came(out, done)

def came(out, *all_done):
    for done in all_done: assert done.returncode == 0, done.stderr[-3000:]
    return read_safetensors(out/'model.safetensors')[0], json.loads(
        (out/'result.json').read_text()), ''.join(done.stdout for done in all_done)

def go(n, out, *more):
    "The same in `n` processes, each told what torch.distributed.run would tell it."
    code = 'import sys; from dems_nb.commands import pretrain; sys.exit(pretrain())'
    told = dict(WORLD_SIZE=n, LOCAL_WORLD_SIZE=n, MASTER_ADDR='127.0.0.1', MASTER_PORT=free_port(),
                OMP_NUM_THREADS=1)
    alone = dict(OMP_NUM_THREADS=1)
    envs = [dict(told, RANK=i, LOCAL_RANK=i) if n > 1 else alone for i in range(n)]
    envs = [{k: str(v) for k, v in env.items()} for env in envs]
    return came(out, *shell.run_together(code, *flags.split(), '--output_dir', out, *more, cwd=root,
                                         envs=envs))

def apart(a, b): return max((a[k] - b[k]).abs().max().item() for k in a)

@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    f = tmp_path_factory.mktemp('runs')
    return go(1, f/'1', *plain.split()), launch(2, f/'2', *plain.split())

def test_two_processes_are_one(runs):
    """Weights within 1e-4, after 20 steps.

    AdamW's first steps have the size of the learning rate, whatever the gradient's, so that a sum
    rounded otherwise shows.
    """
    (one, r1, _), (two, r2, said) = runs
    moved = max(v.abs().max().item() for v in two.values())
    assert moved > .1 and apart(one, two) < 1e-4
    assert r1['accuracy'] == r2['accuracy']
    assert r1['data']['n_scored'] == r2['data']['n_scored'] == 110
    assert r2['loss'] == pytest.approx(r1['loss'], rel=1e-4)
    assert (r1['processes'], r2['processes']) == (1, 2)
    assert r1['images_seen'] == r2['images_seen'] == 1280

def test_only_the_first_process_writes_and_speaks(runs):
    said = runs[1][2]
    assert said.count('epoch   1 ') == 1 and said.count('done:') == 1

CHECK = '''
import sys, torch, torch.distributed as dist
from dems_nb import learner as L, run as R
from fastai.torch_core import rank_distrib
steps = []
class Spy(R.Callback):
    order = 30
    def after_step(self): steps.append(len(self.y))
    def after_fit(self): self.learn.opt_state = None
recipe = L.Recipe(n_train=640, holdout=110, bs=64, epochs=1, augment='paper', mixup=.8, cutmix=1.,
                  drop_path=.2, patch_size=8, precision='fp32')
learn = R.train(recipe, device='cpu', bar=False, cbs=[Spy()])
flat = torch.cat([p.detach().flatten() for p in learn.model.parameters()])
both = [torch.zeros_like(flat) for _ in range(2)]
dist.all_gather(both, flat)
counts = [None, None]
sizes = [dl.dataset.y.shape[0] for dl in learn.dls.loaders]
dist.all_gather_object(counts, (steps, learn.evaluation.accuracy, learn.evaluation.n, sizes))
first = [None, None]
x = learn.dls.train.one_batch()[0]
dist.all_gather_object(first, x)
if rank_distrib() == 0:
    assert torch.equal(*both), 'the weights of the two processes differ'
    assert counts[0] == counts[1] and counts[0][0] == [32]*10 and counts[0][2] == 110, counts
    assert not torch.equal(*first), 'both processes see the same pictures'
    print('ALL GOOD')
'''
def test_each_process_sees_its_half_and_ends_with_the_same_weights(tmp_path):
    "Augmentation, mixup, drop path: gradients are averaged, so the weights stay equal to the bit."
    (tmp_path/'check.py').write_text(CHECK)
    done = subprocess.run([sys.executable, '-W', 'ignore', '-m', 'torch.distributed.run',
                           '--nproc_per_node', '2', '--master_port', str(free_port()),
                           str(tmp_path/'check.py')],
                          env={**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(root)},
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and 'ALL GOOD' in done.stdout, done.stdout + done.stderr[-3000:]

def test_resume_in_two_processes(tmp_path):
    "A run of two processes that lost its second epoch's checkpoint goes on to the same weights."
    from dems_nb import learner as L, run as R
    whole = go(2, tmp_path/'whole', '--save_every', '0')[0]
    # in the last epoch, after its last step
    tensors, notes = R.read_checkpoint(tmp_path/'whole/checkpoint.previous.safetensors')
    assert (notes['epoch'], notes['step']) == (1, 10)
    older = tmp_path/'whole/checkpoint.previous.safetensors'
    part, result, _ = go(2, tmp_path/'part', '--resume', str(older))
    assert apart(part, whole) == 0. and result['images_seen'] == 1280
    # one process goes on with what two began, and counts the images of both
    alone = go(1, tmp_path/'alone', '--resume', str(older))[1]
    assert (alone['processes'], alone['images_seen']) == (1, 1280)
    histories = []
    for run in ('whole', 'part'):
        with open(tmp_path/run/'history.csv', newline='') as f:
            histories.append([*csv.DictReader(f)])
    assert len(histories[0]) == len(histories[1]) == 2
    for a, b in zip(*histories):
        for row in (a, b): row.pop('time', None)
        assert a == b
