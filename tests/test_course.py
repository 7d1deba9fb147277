"What every chapter has, and the two pages around them: glossary and map from the paper."
import configparser, importlib, inspect, json, os, pkgutil, pytest, re, subprocess, sys
from importlib.metadata import version
from pathlib import Path
import dems_nb

root = Path(__file__).parent.parent
COURSE = ['00_layout', '01_tokenizer', '02_interaction', '03_model', '04_weights', '05_data',
          '06_augment', '07_learner', '08_visualize']
nbs = sorted(p for p in (root/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts)
cells = lambda name: json.loads((root/f'nbs/{name}.ipynb').read_text())['cells']
source = lambda c: ''.join(c['source'])
prose = lambda name: [source(c) for c in cells(name) if c['cell_type'] == 'markdown']
setups = {p: [source(c) for c in json.loads(p.read_text())['cells']
              if 'COLAB_RELEASE_TAG' in source(c) and c['cell_type'] == 'code'] for p in nbs}
ini = configparser.ConfigParser(delimiters=['=']); ini.read(root/'settings.ini')
cfg = ini['DEFAULT']
SETUP = setups[root/'nbs/00_layout.ipynb'][0]

@pytest.mark.parametrize('name', COURSE)
def test_opening(name):
    "The question, what you will be able to do, how long, what it needs; then the set-up cell."
    first, second = cells(name)[:2]
    text = source(first)
    assert re.match(r'# \d\d · .+\n\n> .+', text)
    for part in ('**After it you can** ', '**Takes** ', '**Needs** '): assert part in text, part
    assert re.search(r'(hour|minutes)', text)
    page = f'{cfg["user"]}/{cfg["repo"]}/blob/{cfg["branch"]}/nbs/{name}.ipynb'
    assert f'[Open in Colab](https://colab.research.google.com/github/{page})' in text
    assert '(glossary.ipynb)' in text and '(paper_map.ipynb)' in text
    assert source(second) == SETUP
    assert not re.search(r'^- ', text, re.M), 'nbdev takes "- " for a setting: begin lines with *'

@pytest.mark.parametrize('name', COURSE)
def test_a_picture_comes_at_once(name):
    "Under the question, or drawn by one of the first cells."
    first = cells(name)[:7]
    drawn = [o for c in first for o in c.get('outputs', ()) if 'image/png' in o.get('data', {})]
    assert drawn or re.search(r'^!\[.{20,}\]\(images/\w+\.png\)$', source(first[0]), re.M)

@pytest.mark.parametrize('name', COURSE)
def test_the_reader_is_stopped_twice(name):
    assert '\n'.join(prose(name)).count('**Predict, then run.**') >= 2

@pytest.mark.parametrize('name', COURSE)
def test_close(name):
    "What to remember, where it stands in the paper, exercises, what comes next: in this order."
    text = '\n\n'.join(prose(name))
    at = [text.index(s) for s in ('## What to remember', '**In the paper.**', '## Exercises',
                                  '\nNext: [')]
    assert at == sorted(at)
    assert re.findall(r'^(\d)\. ', text[at[0]:at[1]], re.M) == ['1', '2', '3']
    numbered = r'\b[Ss]ection \d|\b[Ee]q(uation|\.) ?\(?\d|\bTable \d'
    assert not re.search(numbered, text), 'the full text is not at hand'

@pytest.mark.parametrize('p', nbs, ids=lambda p: p.stem)
def test_links_lead_somewhere(p):
    for text in (source(c) for c in json.loads(p.read_text())['cells']
                 if c['cell_type'] == 'markdown'):
        for l in re.findall(r'\]\(([^)#\s]+)\)', text):
            if not re.match(r'https?:', l): assert (p.parent/l).exists(), l
        from_web = re.search(r'(!\[[^\]]*\]\(|<img[^>]+src=.)https?:', text)
        assert not from_web, 'a picture from the web'

# the set-up cell
def test_the_set_up_cell_is_the_same_everywhere():
    assert {s for ss in setups.values() for s in ss} == {SETUP}
    assert all(len(ss) <= 1 for ss in setups.values())
    url = cfg['git_url'] % dict(user=cfg['user'], repo=cfg['repo'])
    assert f"git+{url}@v{cfg['version']}'" in SETUP, 'it installs the version in settings.ini'

def set_up(monkeypatch, tmp_path, colab, returncode=0, **env):
    "Run the cell where nothing can be installed; return the pip command it would have run."
    ran = []
    def run(command, **kw):
        ran.append(command)
        return subprocess.CompletedProcess(command, returncode, '', 'no such tag')
    for k in ('COLAB_RELEASE_TAG', 'DEMS_NB_WHEEL'): monkeypatch.delenv(k, raising=False)
    for k, v in {**env, **(dict(COLAB_RELEASE_TAG='release') if colab else {})}.items():
        monkeypatch.setenv(k, v)
    monkeypatch.chdir(tmp_path); monkeypatch.setattr(subprocess, 'run', run)
    exec(SETUP, {})
    return ran

def test_elsewhere_it_does_nothing(monkeypatch, tmp_path):
    assert set_up(monkeypatch, tmp_path, False) == [] and not list(tmp_path.iterdir())

def test_on_colab_it_installs_the_release_and_keeps_torch(monkeypatch, tmp_path):
    (command,) = set_up(monkeypatch, tmp_path, True)
    assert command[:4] == [sys.executable, '-m', 'pip', 'install']
    assert command[-1].endswith(f'@v{cfg["version"]}')
    pinned = (tmp_path/command[command.index('-c') + 1]).read_text().split()
    assert pinned == [f'{p}=={version(p)}' for p in ('torch', 'torchvision', 'numpy')]

def test_on_colab_it_takes_a_wheel(monkeypatch, tmp_path):
    assert set_up(monkeypatch, tmp_path, True, DEMS_NB_WHEEL='some.whl')[0][-1] == 'some.whl'

def test_on_colab_a_failure_is_told(monkeypatch, tmp_path):
    with pytest.raises(AssertionError, match='no such tag'):
        set_up(monkeypatch, tmp_path, True, returncode=1)

# the two pages
rooms = [m.name for m in pkgutil.iter_modules(dems_nb.__path__) if m.name[0] != '_' and not m.ispkg]
public = [f'{room}.{name}' for room in rooms
          for name in importlib.import_module(f'dems_nb.{room}').__all__]
by_hand = [source(c) for c in cells('paper_map') if c['cell_type'] == 'markdown']
made = [o['data']['text/markdown'] for c in cells('paper_map') for o in c.get('outputs', ())
        if 'text/markdown' in o.get('data', {})]
index = ''.join(''.join(m) for m in made)
dotted = lambda text: re.findall(r'`([a-z_]+(?:\.\w+)+)`', text)

def resolve(name):
    "What a dotted name of the package means; of a model or a layer, what an instance has."
    module, *path = name.split('.')
    thing = importlib.import_module(f'dems_nb.{module}')
    for part in path:
        if not hasattr(thing, part) and isinstance(thing, type):
            from dems_nb.model import create_model
            if thing.__name__ == 'RegionalInteraction': thing = thing(8, 2)
            elif thing.__name__ in ('ViT', 'DEMSViT'):
                thing = create_model({'ViT': 'vit_nano', 'DEMSViT': 'dems_nano'}[thing.__name__])
        thing = getattr(thing, part)
    return thing

def test_every_public_name_is_on_the_map():
    missing = [n for n in public if f'`{n}`' not in index]
    assert not missing, f'run make run NB=nbs/paper_map.ipynb; not on the map: {", ".join(missing)}'

def test_the_map_has_no_name_that_is_gone():
    listed = re.findall(r'^\| `(\S+)` \|', index, re.M)
    gone = [n for n in listed if n not in public]
    assert listed and not gone, f'run make run NB=nbs/paper_map.ipynb; gone: {", ".join(gone)}'

def test_the_map_says_what_the_docstrings_say():
    said = dict(re.findall(r'^\| `(\S+)` \| (.*) \| \[', index, re.M))
    assert len(said) > 200
    differ = []
    for name, text in said.items():
        thing = resolve(name)
        if not (inspect.isclass(thing) or callable(thing)): continue
        if text != inspect.getdoc(thing).split('\n')[0].replace('|', '\\|'): differ.append(name)
    assert not differ, f'run make run NB=nbs/paper_map.ipynb; of old: {", ".join(differ)}'

rows = sorted({n for text in by_hand for n in dotted(text)})
@pytest.mark.parametrize('name', rows)
def test_every_row_of_the_map_resolves(name): resolve(name)

def test_every_row_of_the_map_has_a_name():
    table = [l for text in by_hand for l in text.splitlines() if l.startswith('| ')
             and not l.startswith('| in the')]
    assert len(table) > 30 and all(dotted(l) for l in table), [l for l in table if not dotted(l)]

def test_a_wrong_row_would_be_noticed():
    with pytest.raises(AttributeError): resolve('layout.TokenLayout.colour')
    with pytest.raises(ImportError): resolve('nowhere.TokenLayout')

def test_the_glossary_is_linked_and_sorted_by_chapter():
    words = re.findall(r'^\| \*\*(.+?)\*\* \|.*\[(\d\d)\]\((\S+)\) \|$',
                       '\n'.join(prose('glossary')), re.M)
    assert len(words) > 30 and len({w for w, *_ in words}) == len(words)
    assert [n for _, n, _ in words] == sorted(n for _, n, _ in words)
    for word, number, book in words:
        assert book.startswith(number)
        heads = [w.strip() for w in word.split(',')]
        text = '\n'.join(source(c) for c in cells(book.removesuffix('.ipynb'))).lower()
        used = [re.search(rf'\b{re.escape(h.lower())}s?\b', text) for h in heads]
        assert all(used), f'{book} does not use the word {word}'
