"What must hold on machines that are not this one: Windows, macOS, older and newer packages."
import ast, configparser, ctypes, os, re, shlex, subprocess, sys, pytest, yaml
from pathlib import Path
from types import SimpleNamespace

root = Path(__file__).parent.parent
modules = sorted((root/'dems_nb').rglob('*.py'))
ini = configparser.ConfigParser(delimiters=['='])
ini.read(root/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']

def calls(path):
    "(name of what is called, the call) of a module."
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Call):
            yield getattr(node.func, 'attr', getattr(node.func, 'id', '')), node

def test_the_package_imports_without_what_only_posix_has():
    "In a process that has neither the modules nor the names that Windows lacks."
    code = '''
import os, signal, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"): sys.modules[name] = None
import torch, fastai.vision.all
lost = ("sysconf", "getuid", "geteuid", "fork", "mkfifo", "getloadavg", "sched_getaffinity")
for name in lost:
    if hasattr(os, name): delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGUSR1", "SIGALRM"): delattr(signal, name)
import importlib, pkgutil, dems_nb
names = [m.name for m in pkgutil.walk_packages(dems_nb.__path__, "dems_nb.")]
for name in names: importlib.import_module(name)
from dems_nb import commands
list(commands._hardware())
print(len(names), "imported")
'''
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], cwd=root,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and 'imported' in done.stdout, done.stderr[-2000:]

def test_text_files_say_how_they_are_encoded():
    "Windows would otherwise read and write them in a code page that has no word for many a name."
    for path in modules:
        for name, call in calls(path):
            if name not in ('read_text', 'write_text', 'open') or 'encoding' in (
                    k.arg for k in call.keywords): continue
            text = ast.unparse(call)
            binary = name == 'open' and re.search(r"'[rwxa]b'|Image\.open|os\.open", text)
            assert binary or '/proc/' in text or 'status' in text, f'{path.name}: {text}'

def test_no_call_that_only_posix_has():
    only = {'mkfifo', 'fork', 'symlink', 'symlink_to', 'getuid', 'kill', 'killpg', 'flock', 'nice',
            'setrlimit', 'alarm', 'setitimer'}
    for path in modules:
        found = {name for name, _ in calls(path)} & only
        assert not found, f'{path.name} calls {", ".join(found)}'

def test_the_peak_of_memory_on_windows(monkeypatch):
    "The branch for Windows, with a stand-in for its library."
    from dems_nb import benchmark
    class Ask:
        def __call__(self, process, at, size):
            assert process.value in (-1, 2**64 - 1)
            assert at._obj.size == size == 8 + 8*ctypes.sizeof(ctypes.c_size_t)
            at._obj.peak = 123
            return 1
    windows = dict(kernel32=SimpleNamespace(K32GetProcessMemoryInfo=Ask()))
    monkeypatch.setattr(ctypes, 'WinDLL', windows.__getitem__, raising=False)
    monkeypatch.setattr(benchmark.sys, 'platform', 'win32')
    monkeypatch.setattr(benchmark.Path, 'exists', lambda self: False)
    assert benchmark._peak_rss() == 123

def test_a_checkpoint_where_links_cannot_be_made(tmp_path, monkeypatch):
    import torch
    from dems_nb.run import previous_checkpoint, read_checkpoint, write_checkpoint
    def no_links(*args, **kwargs): raise OSError('no links here')
    monkeypatch.setattr(os, 'link', no_links)
    path = tmp_path/'checkpoint.safetensors'
    for i in range(2): write_checkpoint(path, dict(w=torch.full((2,), float(i))), dict(step=i))
    assert read_checkpoint(path)[1] == dict(step=1)
    assert read_checkpoint(previous_checkpoint(path))[1] == dict(step=0)

# the ways in which all this is tried
def test_nbdev_3_reads_what_nbdev_2_does():
    tomllib = pytest.importorskip('tomllib')                     # Python 3.11
    nbdev = tomllib.loads((root/'pyproject.toml').read_text(encoding='utf-8'))['tool']['nbdev']
    assert nbdev['tst_flags'] == cfg['tst_flags']
    assert nbdev['allowed_cell_metadata_keys'] == cfg['allowed_cell_metadata_keys'].split()
    assert nbdev['update_pyproject'] is False, 'the two would write it each in their own way'

def test_no_module_docstring_that_nbdev_3_would_copy_into_the_package():
    "It takes those of more than three lines for a table of contents."
    for path in modules:
        about = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''
        assert path.name.startswith('_') or len(about.splitlines()) <= 3, path.name

def steps(flow):
    return [(name, s['run']) for name, job in flow['jobs'].items() for s in job['steps']
            if 'run' in s]

def test_the_workflow_names_what_exists():
    text = (root/'.github/workflows/test.yml').read_text(encoding='utf-8')
    flow = yaml.safe_load(text)
    makefile = (root/'Makefile').read_text(encoding='utf-8')
    found = [words for _, run in steps(flow) for words in map(shlex.split, run.splitlines())]
    assert len(found) >= 3
    for words in found:
        if words[0] == 'make': assert re.search(rf'^{words[1]}:', makefile, re.M), words
        else:
            assert words[0].startswith('.ci/') and (root/words[0]).exists(), words
            assert os.name == 'nt' or (root/words[0]).stat().st_mode & 0o111, words
    for name, job in flow['jobs'].items():
        asked = set(re.findall(r'matrix\.(\w+)', str(job)))
        matrix = job.get('strategy', {}).get('matrix', {})
        rows = matrix.get('include', [matrix])
        assert all(asked <= row.keys() for row in rows), f'{name}: {asked} of {rows}'
    assert 'schedule' in (flow.get('on') or flow[True])      # YAML 1.1 reads `on` as true

def test_the_workflow_goes_where_the_readme_says_it_runs():
    flow = yaml.safe_load((root/'.github/workflows/test.yml').read_text(encoding='utf-8'))
    rows = flow['jobs']['compat']['strategy']['matrix']['include']
    assert {r['os'].split('-')[0] for r in rows} == {'ubuntu', 'macos', 'windows'}
    assert (cfg['min_python'], 'oldest') in [(r['python'], r['age']) for r in rows]
    assert {'3.12', '3.13'} <= {r['python'] for r in rows if r['age'] == 'newest'}

@pytest.mark.parametrize('script', ['run', 'package', 'colab', 'compat', 'nbdev3'])
def test_the_scripts_are_shell(script):
    done = subprocess.run(['bash', '-n', root/'.ci'/script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

def test_compat_says_what_it_takes():
    done = subprocess.run(['bash', root/'.ci/compat', 'older', sys.executable],
                          capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == 'older: give oldest or newest\n'

@pytest.mark.parametrize('path', sorted((root/'dems_nb').glob('*.py')), ids=lambda p: p.stem)
def test_no_patched_method_takes_the_name_of_something_else(path):
    "Older fastcore's `patch` leaves None under a method's name, whatever else had that name."
    code = ast.parse(path.read_text(encoding='utf-8'))
    patched = {f.name for f in code.body if isinstance(f, ast.FunctionDef)
               and any('patch' in ast.unparse(d) for d in f.decorator_list)}
    others = {(a.asname or a.name).split('.')[0] for n in ast.walk(code)
              if isinstance(n, (ast.Import, ast.ImportFrom)) for a in n.names}
    others |= {n.name for n in code.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))
               and n.name not in patched}
    assert not patched & others, patched & others
