"Small trainings give the weights that they gave before, to the last bit: else results change."
import hashlib, json, os, pytest, subprocess, sys, torch
from pathlib import Path

root = Path(__file__).parent.parent

# sha256 over all weights, and of history.csv, first 16 digits each
RECORDED = {
    'light': ['1010d8de41ea0ad2', '38727b43a871ee31'],
    'paper': ['86d34eeea8affd6b', 'e19e6f54f7c24b06'],
    'finetune': ['3627bc90d3aa81a7', '41aaf2a6f79a1fe5'],
    'plain': ['826bf1cadf236a4d', '194956b60e65e063'],
}

# the same arithmetic on every x86 processor: the oldest instructions, in one order
ENV = dict(ATEN_CPU_CAPABILITY='default', ONEDNN_MAX_CPU_ISA='SSE41', MKL_CBWR='COMPATIBLE',
           OMP_NUM_THREADS='1')

CODE = '''
import hashlib, json, sys, tempfile
from pathlib import Path
from dems_nb.learner import Recipe
from dems_nb.run import train
tmp = Path(tempfile.mkdtemp())
small = dict(n_train=160, holdout=100, bs=32, precision='fp32')
runs = dict(light=(Recipe(epochs=2, **small), {}),
            paper=(Recipe.pretrain('dems_nano', 'sample', epochs=2, **small), {}),
            finetune=(Recipe.finetune('dems_nano', 'sample', epochs=2, **small),
                      dict(pretrained=tmp/'paper')),
            plain=(Recipe.pretrain('vit_nano', 'sample', epochs=1, **small), {}))
found = {}
for name, (recipe, more) in runs.items():
    learn = train(recipe, tmp/name, bar=False, device='cpu', **more)
    digest = hashlib.sha256()
    for key, value in sorted(learn.model.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.numpy().tobytes())
    history = (tmp/name/'history.csv').read_bytes()
    found[name] = [digest.hexdigest()[:16], hashlib.sha256(history).hexdigest()[:16]]
print(json.dumps(found))
'''

@pytest.mark.skipif(not torch.__version__.startswith('2.14')
                    or torch.backends.mkl.is_available() is False,
                    reason='recorded with PyTorch 2.14 and MKL')
def test_small_trainings_are_what_they_were():
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', CODE], cwd=root,
                          env={**os.environ, **ENV},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == RECORDED
