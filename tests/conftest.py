import json, os, pytest, socket, subprocess, sys, time, torch
from importlib.util import find_spec
from pathlib import Path

tests = Path(__file__).parent
sys.path.insert(0, str(tests/'fake_cuda'))
import build as stand_in

def pytest_configure(config):
    config.addinivalue_line('markers', 'cuda: needs a CUDA device; skipped without one')
    config.addinivalue_line('markers', 'slow: once a week and before a release: '
                                       'make test SLOW=1')
    config.addinivalue_line('markers', 'fake_cuda: runs on the stand-in for CUDA; skipped where '
                                       'that cannot be built')

def pytest_collection_modifyitems(items):
    reason = stand_in.why_not()
    for item in items:
        if item.get_closest_marker('fake_cuda') and reason:
            item.add_marker(pytest.mark.skip(reason=f'no stand-in for CUDA: {reason}'))
        if item.get_closest_marker('cuda') and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason='no CUDA device here'))
        if item.get_closest_marker('slow') and not os.environ.get('DEMS_SLOW'):
            item.add_marker(pytest.mark.skip(reason='slow: make test SLOW=1'))

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

GROUPS = [('runs', 'H100'), ('recipes', 'H100'), ('auto', 'T4')]
if find_spec('accelerate'): GROUPS.append(('two_cards', 'H100'))

def start_group(fake_cuda, group, card, folder):
    "Play the scenes of a group in a process of their own, those of two cards in two processes."
    if group != 'two_cards': return fake_cuda('tests/fake_cuda/scenes.py', group, card=card)
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    return fake_cuda('-m', 'torch.distributed.run', '--nproc_per_node', 2, '--master_port', port,
                     'tests/fake_cuda/scenes.py', group, folder/'two', cards=2,
                     ACCELERATE_MIXED_PRECISION='fp16')

@pytest.fixture(scope='session')
def scenes(fake_cuda, tmp_path_factory):
    """What each process of a group on a card saw: a list of scene -> values. A group is played once
    for all; who would have to wait for it plays another in the meantime."""
    from filelock import FileLock, Timeout
    folder = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ: folder = folder.parent
    file = lambda group, card: folder/f'scenes-{group}-{card}.json'
    def try_to_play(group, card):
        "Whether it is there, or was played now; False if another process is at it."
        to = file(group, card)
        try:
            with FileLock(to.with_suffix('.lock'), timeout=0):
                if not to.exists():
                    said = start_group(fake_cuda, group, card, folder).splitlines()
                    seen = [json.loads(line) for line in said if line.startswith('{')]
                    to.write_text(json.dumps(seen))
                return True
        except Timeout: return False
    def play(group, card='H100'):
        while not try_to_play(group, card):
            left = [other for other in GROUPS if not file(*other).exists()]
            any(try_to_play(*other) for other in left) or time.sleep(.2)
        return json.loads(file(group, card).read_text())
    return play

@pytest.fixture(scope='session')
def scene(scenes):
    "What a scene gave, of a group on a card."
    def play(name, group, card='H100'):
        seen = scenes(group, card)[-1][name]
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
