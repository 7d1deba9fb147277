"The house in order: modules, README and notebooks agree, read well, and say things once."
import ast, configparser, hashlib, json, re, shutil, subprocess, sys, pytest, yaml
from pathlib import Path

root = Path(__file__).parent.parent
nbs = sorted(p for p in (root/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
chapters = [p for p in nbs if p.name[:2].isdigit()]
ini = configparser.ConfigParser(delimiters=['='])
ini.read(root/'settings.ini')
cfg = ini['DEFAULT']
cells = lambda p: json.loads(p.read_text())['cells']
source = lambda c: ''.join(c['source'])
bin_ = Path(sys.executable).parent

def tree(folder):
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(Path(folder).rglob('*')) if p.is_file() and '__pycache__' not in p.parts
            and '.ipynb_checkpoints' not in p.parts}

@pytest.fixture(scope='module')
def copy(tmp_path_factory):
    "A copy of the sources, in which nbdev may write."
    to = tmp_path_factory.mktemp('copy')
    for d in ('nbs', 'dems_nb'):
        shutil.copytree(root/d, to/d,
                        ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
    for f in ('settings.ini', 'pyproject.toml', 'setup.py', 'README.md'): shutil.copy(root/f, to/f)
    return to

def nbdev(command, where):
    done = subprocess.run([str(bin_/command)], cwd=where, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

def not_exported(where):
    "The modules that a fresh export would change."
    before = tree(where/'dems_nb')
    nbdev('nbdev_export', where)
    after = tree(where/'dems_nb')
    return sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))

def test_exported_modules_match_the_notebooks(copy):
    changed = ', '.join(not_exported(copy))
    assert not changed, f'{changed} differ from the notebooks: run make export and commit both'

def test_the_export_check_notices(copy, tmp_path):
    shutil.copytree(copy, tmp_path/'c')
    f = tmp_path/'c/dems_nb/layout.py'
    f.write_text(f.read_text() + '\nby_hand = 1\n')
    assert not_exported(tmp_path/'c') == ['layout.py']

def test_notebooks_are_clean(copy):
    before = tree(copy/'nbs')
    nbdev('nbdev_clean', copy)
    changed = sorted(k for k, v in tree(copy/'nbs').items() if before[k] != v)
    assert not changed, f'{", ".join(changed)} are not clean: run nbdev_clean'

def test_readme_is_the_index(tmp_path):
    new = tmp_path/'README.md'
    subprocess.run(['make', '-s', 'readme', f'README={new}', f'BIN={bin_}', 'STAMP='], cwd=root,
                   check=True, capture_output=True)
    same = new.read_text() == (root/'README.md').read_text()
    assert same, 'README.md is not what index.ipynb says: run make readme'

def test_readme_links_exist():
    text = (root/'README.md').read_text()
    links = [l for l in re.findall(r'\]\(([^)#]+)\)', text) if not l.startswith('http')]
    assert links
    for l in links: assert (root/l).exists(), l

@pytest.mark.parametrize('nb', nbs, ids=lambda p: p.stem)
def test_notebook_reads_well(nb):
    doc = json.loads(nb.read_text())
    assert nb.stat().st_size < 500_000, f'{nb.stat().st_size:,} bytes'
    assert set(doc['metadata']) <= {'kernelspec'}
    ids = [c['id'] for c in doc['cells']]
    assert len(ids) == len(set(ids))
    for i, c in enumerate(doc['cells']):
        if c['cell_type'] != 'code': continue
        lines = [l for l in source(c).splitlines() if l.strip()]
        most = 40 if source(c).startswith('#| export') else 25
        assert len(lines) <= most, f'cell {i}: {len(lines)} lines: {lines[1]}'
        for o in c['outputs']:
            assert o['output_type'] != 'error', f'cell {i} shows an error'
            assert o.get('name') != 'stderr', f'cell {i} shows stderr: {"".join(o["text"])[:200]}'
            texts = {k: v for k, v in o.items() if k != 'data'}
            texts |= {k: v for k, v in o.get('data', {}).items() if not k.startswith('image')}
            local = re.search(r'(/(root|home|work|Users|tmp)/|[A-Z]:\\\\)', json.dumps(texts))
            assert not local, f'cell {i} shows a local path'

by_hand = [p for d in ('tests', 'bench', 'docs', 'dems_nb/checks')
           for p in sorted((root/d).rglob('*.py')) if '__pycache__' not in p.parts]

def too_wide(text): return [l for l in text.splitlines() if len(l) > 100]

@pytest.mark.parametrize('path', [*nbs, *by_hand], ids=lambda p: p.relative_to(root).as_posix())
def test_lines_have_at_most_100_columns(path):
    code = [path.read_text(encoding='utf-8')]
    if path.suffix == '.ipynb':
        doc = json.loads(code[0])
        code = [source(c) for c in doc['cells'] if c['cell_type'] == 'code']
    wide = [l for text in code for l in too_wide(text)]
    assert not wide, '\n'.join(wide)

def test_a_line_of_101_columns_is_noticed():
    assert too_wide('x'*100 + '\n' + 'y'*101) == ['y'*101]

@pytest.mark.parametrize('nb', chapters, ids=lambda p: p.stem)
def test_chapter_has_its_outputs_and_tests(nb):
    code = [c for c in cells(nb) if c['cell_type'] == 'code']
    assert any(c['outputs'] for c in code), 'committed without outputs'
    assert any(re.search(r'\b(test_eq|test_close|test_fail|assert)\b', source(c)) for c in code)
    assert source(cells(nb)[0]).startswith('# ') and any('#| default_exp' in source(c)
                                                         for c in code)

def test_one_notebook_one_module():
    named = {re.search(r'default_exp (\w+)', source(c)).group(1)
             for nb in chapters for c in cells(nb) if 'default_exp' in source(c)}
    have = {p.stem for p in (root/'dems_nb').glob('*.py')} - {'__init__', '_modidx'}
    assert named == have and len(chapters) == len(named)

# who may import whom: the rooms below, one way only
may = {'layout': [], 'tokenizer': ['layout'], 'interaction': [], 'kernels': [],
       'model': ['layout', 'tokenizer', 'interaction', 'kernels'], 'zoo': [], 'trust': [],
       'weights': ['model', 'trust', 'zoo'], 'datasets': [], 'data': ['datasets'],
       'folders': ['datasets', 'data'], 'colours': ['kernels'],
       'augment': ['colours', 'datasets'],
       'results': ['weights', 'zoo'], 'released': None,
       'loop': ['kernels', 'augment'], 'recipes': ['layout', 'model', 'augment'],
       'learner': ['layout', 'model', 'datasets', 'data', 'augment', 'results', 'loop',
                   'recipes'],
       'run': ['model', 'weights', 'data', 'learner'],
       'figures': ['model', 'augment', 'datasets'], 'visualize': ['layout', 'model', 'figures'],
       'viewer': None, 'classifier': None,
       'studies': None, 'commands': None, 'demo': None,
       'benchmark': ['tokenizer', 'model', 'kernels', 'weights', 'augment', 'learner', 'run']}

@pytest.mark.parametrize('module',
                         sorted(p.stem for p in (root/'dems_nb').glob('*.py')
                                if not p.stem.startswith('_')))
def test_imports_go_one_way(module):
    code = ast.parse((root/f'dems_nb/{module}.py').read_text())
    own, froms = set(), set()
    for n in ast.walk(code):
        # nbdev exports relative imports
        if isinstance(n, ast.ImportFrom) and n.level:
            own |= {n.module} if n.module else {a.name for a in n.names}
        elif isinstance(n, ast.ImportFrom): froms.add(n.module)
        elif isinstance(n, ast.Import): froms |= {a.name for a in n.names}
    own |= {f.split('.')[1] for f in froms if f.startswith('dems_nb.')}
    own.discard('__version__')
    assert module in may, f'{module} is not in the plan of the house: add it to `may` here'
    assert may[module] is None or own <= {*may[module], 'trust'}, own       # which all may ask
    assert own or may[module] == [], 'this check sees no import: it would see no wrong one'
    assert not any(f.split('.')[0] == 'nbdev' for f in froms), 'nbdev is not there at run time'

CHECKS = sorted((root/'dems_nb/checks').glob('*.py'))
TAUGHT = {'layout', 'tokenizer', 'interaction', 'model', 'weights', 'data', 'augment', 'learner',
          'visualize', 'run'}

def test_the_only_code_written_by_hand_is_that_of_the_checkers():
    "Every other file says which notebook it comes from; a checker is named as what it checks."
    for path in (root/'dems_nb').rglob('*.py'):
        made = path.name in ('__init__.py', '_modidx.py') or 'AUTOGENERATED' in path.read_text()
        assert made != (path.parent.name == 'checks' and path.stem != '__init__'), path
    assert {p.stem for p in CHECKS} == {'__init__', 'core', 'progress', *TAUGHT}

@pytest.mark.parametrize('path', CHECKS, ids=lambda p: p.stem)
def test_checkers_know_the_rooms_of_the_course_alone(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 2:
            assert node.module in {*TAUGHT, 'figures'}
        if not isinstance(node, ast.ImportFrom) or node.level: continue
        assert not node.module.startswith(('dems_nb', 'nbdev')), 'relative, and no nbdev'

def test_requirements_are_ranged_and_nbdev_is_for_developers():
    run, dev = cfg['requirements'].split(), cfg['dev_requirements'].split()
    name = lambda r: re.split(r'[<>=!~]', r)[0]
    assert {name(r) for r in run} == {'torch', 'torchvision', 'fastai', 'safetensors', 'matplotlib'}
    assert all('>=' in r for r in run)
    tools = {'nbdev', 'jupyterlab', 'pytest', 'fastcore', 'execnb', 'ghapi'}
    assert tools <= {name(r) for r in dev}

def test_setup_reads_settings(tmp_path):
    ask = lambda what: subprocess.run([sys.executable, '-W', 'ignore', 'setup.py', '-q',
                                       f'--{what}'], cwd=root, capture_output=True, text=True,
                                      check=True).stdout.strip().splitlines()[-1]
    assert ask('version') == cfg['version'] and ask('name') == 'dems_nb'
    assert 'pkg_resources' not in (root/'setup.py').read_text()
    import dems_nb
    assert dems_nb.__version__ == cfg['version']

def test_top_level():
    for p in ('nbs', 'dems_nb', 'settings.ini', 'setup.py', 'README.md', 'LICENSE', 'Makefile',
              '.ci/run', '.gitattributes', '.gitignore'):
        assert (root/p).exists(), p
    assert 'Apache License' in (root/'LICENSE').read_text()
    assert (root/'.ci/run').stat().st_mode & 0o111

def test_the_repository_stays_small():
    try:
        names = subprocess.run(['git', 'ls-files'], cwd=root, capture_output=True, text=True,
                               check=True).stdout.split('\n')
    except (OSError, subprocess.CalledProcessError): pytest.skip('not a git checkout')
    assert sum((root/n).stat().st_size for n in names if n and (root/n).is_file()) < 15_000_000

# the pages around the project
def test_the_citation_is_of_this_version():
    cff = yaml.safe_load((root/'CITATION.cff').read_text())
    assert {'cff-version', 'message', 'title', 'authors'} <= cff.keys()
    assert cff['version'] == cfg['version']
    assert cff['license'] == 'Apache-2.0'
    assert cff['references'][0]['title'] in (root/'README.md').read_text()

def test_the_changelog_knows_this_version():
    assert cfg['version'] in (root/'CHANGELOG.md').read_text()

def test_the_workflow_runs_what_must_hold():
    flow = yaml.safe_load((root/'.github/workflows/test.yml').read_text())
    job = flow['jobs']['test']
    assert '.ci/run' in [s.get('run') for s in job['steps']]
    assert cfg['min_python'] in job['strategy']['matrix']['python']

def test_what_contributors_are_told_to_run_exists():
    text, targets = (root/'CONTRIBUTING.md').read_text(), (root/'Makefile').read_text()
    asked = set(re.findall(r'make ([a-z]+)', text))
    assert asked and all(re.search(rf'^{t}:', targets, re.M) for t in asked)
