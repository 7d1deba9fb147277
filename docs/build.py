"Build the site from the notebooks as committed: python docs/build.py [FOLDER], by default _docs."
import configparser, importlib, inspect, json, re, shutil, sys
from pathlib import Path

INSTALL = "pip install -e '.[docs]'"
here = Path(__file__).parent
root = here.parent
TUTORIALS = ['quickstart', 'your_own_images', 'finetune']  # in this order; others follow by name

def settings():
    "The metadata of the package."
    ini = configparser.ConfigParser(delimiters=['='])
    ini.read(root/'settings.ini', encoding='utf-8')
    return ini['DEFAULT']

def source_url():
    "Where the files lie that are no pages of the site."
    cfg = settings()
    return f"https://github.com/{cfg['user']}/{cfg['repo']}/blob/{cfg['branch']}"

def notebooks():
    "Every notebook but the checkpoints, index first."
    found = [p for p in sorted((root/'nbs').rglob('*.ipynb'))
             if '.ipynb_checkpoints' not in p.parts]
    return sorted(found, key=lambda p: p.stem != 'index')

def title(path):
    "The first heading of a notebook."
    text = next(''.join(c['source']) for c in json.loads(path.read_text(encoding='utf-8'))['cells']
                if c['cell_type'] == 'markdown')
    return text.splitlines()[0].removeprefix('# ').strip()

def page(path):
    "A notebook as the site shows it: one title, the set-up cell folded, links out of nbs absolute."
    nb = json.loads(path.read_text(encoding='utf-8'))
    for i, c in enumerate(nb['cells']):
        text, tags = ''.join(c['source']), c['metadata'].get('tags', [])
        if 'remove_input' in tags: c['metadata']['tags'] = ['remove-input']
        if 'COLAB_RELEASE_TAG' in text: c['metadata']['tags'] = ['hide-input']
        if text.strip().startswith('#| default_exp'): c['metadata']['tags'] = ['remove-cell']
        if c['cell_type'] == 'markdown':
            c['source'] = absolute(re.sub(r'\A# ', '## ', text) if i else text, path)
        for o in c.get('outputs', ()):
            if 'text/markdown' in o.get('data', {}):  # Sphinx does not look for links in outputs
                text = absolute(''.join(o['data']['text/markdown']), path)
                o['data']['text/markdown'] = re.sub(r'\]\(([\w/.]+)\.ipynb', r'](\1.html', text)
    return nb

def absolute(text, path):
    "Markdown with its links to files outside `nbs` turned into addresses of the repository."
    def link(m):
        to = (path.parent/m[1].partition('#')[0]).resolve()
        if re.match(r'[a-z]+:|#', m[1]) or to.is_relative_to(root/'nbs'): return m[0]
        return f'](<{source_url()}/{to.relative_to(root).as_posix()}>)'
    return re.sub(r'\]\(([^)\s]+)\)', link, text)

def modules():
    "The modules of the package, in the order of their notebooks."
    found = [(p.stem, re.search(r'#\| default_exp (\w+)', p.read_text(encoding='utf-8')))
             for p in notebooks()]
    return [(m[1], stem) for stem, m in found if m]

def constant(mod, name):
    "What a module's constant is: the comment beside it, and its value if that is short."
    comment = re.search(rf'^{name} = .*?# *(.+)$', inspect.getsource(mod), re.M)
    value = getattr(mod, name)
    text = f'``{value!r}``'
    if len(text) > 153:
        keys = ', '.join(f'``{k}``' for k in value)
        text = f'A {type(value).__name__} of {len(value)}: {keys}'
    return text + (f' ({comment[1]})' if comment else '')

def api_page(module, notebook):
    "One module's page: each public name, in the notebook's order."
    mod = importlib.import_module(f'dems_nb.{module}')
    head = f'dems_nb.{module}'
    lines = [head, '='*len(head), '', f'.. py:module:: {head}', '',
             f'Developed in :doc:`/{notebook}`.', '']
    for name in mod.__all__:
        thing = getattr(mod, name)
        if not callable(thing):
            lines += [f'.. py:data:: {name}', '', f'   {constant(mod, name)}', '']
        elif isinstance(thing, type):
            lines += [f'.. autoclass:: dems_nb.{module}.{name}', '   :members:', '']
        else: lines += [f'.. autofunction:: dems_nb.{module}.{name}', '']
    return '\n'.join(lines)

def explorer_page():
    "The explorer, alive, with the bundled model: the sources of its page."
    from dems_nb.data import fashion_classes
    from dems_nb.viewer import explore
    from dems_nb.weights import load_bundled
    lines = ['---', 'hide-toc: true', '---', '', '# The explorer', '',
             'A `dems_nano`, trained on Fashion-MNIST, in your browser: draw a shoe, drop a '
             'photograph, point at its tokens, cut some out. [11 · Viewer](11_viewer.ipynb) '
             'builds it; `explore` makes one of your own model, as the end of the '
             '[quickstart](tutorials/quickstart.ipynb) does.', '',
             '```{raw} html', explore(load_bundled(), fashion_classes).html, '```', '']
    return '\n'.join(lines)

def contents():
    "The site's table of contents, as cells for the end of the first page."
    def toctree(caption, entries):
        return f'```{{toctree}}\n:hidden:\n:caption: {caption}\n\n' + '\n'.join(entries) + '\n```'
    named = (lambda p: f"{title(p).partition(':')[0]} "
                       f"<{p.relative_to(root/'nbs').with_suffix('').as_posix()}>")
    pages = [p for p in notebooks() if p.stem != 'index']
    numbered = [p for p in pages if p.stem[:2].isdigit()]
    tutorials = [p for p in pages if p.parent.name == 'tutorials']
    tutorials.sort(key=lambda p: (TUTORIALS + [p.stem]).index(p.stem))
    others = [p for p in pages if p not in numbered and p not in tutorials]
    trees = [toctree('Try it', ['The explorer <explorer>']),
             toctree('The course', map(named, [p for p in numbered if p.stem[:2] <= '08'])),
             toctree('Tutorials', map(named, tutorials)),
             toctree('Behind it', map(named, [p for p in numbered if p.stem[:2] > '08'])),
             toctree('Reference', [*map(named, others), *(f'api/{m}' for m, _ in modules())])]
    return dict(cell_type='markdown', id='contents', metadata={}, source='\n\n'.join(trees))

def assemble(to):
    "Write the site's sources into a folder: the notebooks, their pictures and the API pages."
    shutil.rmtree(to, ignore_errors=True)
    for p in notebooks():
        nb, new = page(p), to/p.relative_to(root/'nbs')
        if p.stem == 'index': nb['cells'].append(contents())
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(json.dumps(nb), encoding='utf-8')
    shutil.copytree(root/'nbs/images', to/'images')
    (to/'explorer.md').write_text(explorer_page(), encoding='utf-8')
    (to/'api').mkdir()
    for module, notebook in modules():
        (to/f'api/{module}.rst').write_text(api_page(module, notebook), encoding='utf-8')

def main(out='_docs'):
    try: from sphinx.cmd.build import build_main
    except ImportError: sys.exit(f'the site is built by Sphinx, which is not installed: {INSTALL}')
    out = Path(out).resolve()
    sys.path.insert(0, str(root))
    assemble(out/'src')
    done = build_main(['-q', '-W', '--keep-going', '-b', 'html', '-c', str(here), '-d',
                       str(out/'doctrees'), str(out/'src'), str(out/'html')])
    if done == 0: print(f'the site is in {out/"html"}: open index.html')
    return done

if __name__ == '__main__': sys.exit(main(*sys.argv[1:]))
