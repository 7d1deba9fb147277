import json, os, pytest, subprocess, sys, torch
from pathlib import Path

tests = Path(__file__).parent
sys.path.insert(0, str(tests/'fake_cuda'))
import build as stand_in

def pytest_configure(config):
    config.addinivalue_line('markers', 'cuda: needs a CUDA device; skipped without one')
    config.addinivalue_line('markers', 'fake_cuda: runs on the stand-in for CUDA; skipped where '
                                       'that cannot be built')

def pytest_collection_modifyitems(items):
    reason = stand_in.why_not()
    for item in items:
        if item.get_closest_marker('fake_cuda') and reason:
            item.add_marker(pytest.mark.skip(reason=f'no stand-in for CUDA: {reason}'))
        if item.get_closest_marker('cuda') and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason='no CUDA device here'))

@pytest.fixture(scope='session')
def fake_cuda():
    "Run a command of Python's in a process with the stand-in for CUDA: what it printed."
    def run(*argv, card='H100', cards=1, gib=None, code=0, **env):
        paths = os.pathsep.join(map(str, (tests.parent, tests/'fake_cuda')))
        env = {**stand_in.environment(card, cards, gib), 'PYTHONPATH': paths, **env}
        done = subprocess.run([sys.executable, *map(str, argv)], env=env, cwd=tests.parent,
                              capture_output=True, text=True, timeout=600)
        assert done.returncode == code, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout
    return run

@pytest.fixture(scope='session')
def scene(fake_cuda, tmp_path_factory):
    "What a scene gave, of a group on a card. A group runs once, for whoever asks first."
    from filelock import FileLock
    folder = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ: folder = folder.parent
    def play(name, group, card='H100'):
        file = folder/f'scenes-{group}-{card}.json'
        with FileLock(file.with_suffix('.lock')):
            if not file.exists():
                said = fake_cuda('tests/fake_cuda/scenes.py', group, card=card)
                file.write_text(said.strip().splitlines()[-1])
        seen = json.loads(file.read_text())[name]
        assert 'error' not in seen or not seen['error'].startswith('Traceback'), seen['error']
        return seen
    return play

@pytest.fixture(autouse=True)
def seeded(): torch.manual_seed(0)

@pytest.fixture
def released():
    "A state dict of the released code, from the golden files, and its configuration."
    import json
    from pathlib import Path
    from safetensors import safe_open
    with safe_open(sorted((Path(__file__).parent/'golden').glob('*.safetensors'))[0], 'pt') as f:
        sd = {k[3:]: f.get_tensor(k) for k in f.keys() if k.startswith('sd.')}
        meta = f.metadata()
    return sd, {k: json.loads(v) if v[:1] in '[{0123456789' else v for k, v in meta.items()}
