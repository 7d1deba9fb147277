"The site: every page and every public name is there, and nothing is asked of the network."
import ast, html, importlib.util, json, os, pkgutil, pytest, re, subprocess, sys
from pathlib import Path
from urllib.parse import unquote, urlsplit
import dems_nb
from filelock import FileLock
from draw_images import NoBrowser, chromium

root = Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location('build_docs', root/'docs/build.py')
build = importlib.util.module_from_spec(spec); spec.loader.exec_module(build)
books = [p.relative_to(root/'nbs').with_suffix('').as_posix() for p in build.notebooks()]
modules = sorted(m.name for m in pkgutil.iter_modules(dems_nb.__path__) if m.name[0] != '_'
                 and not m.ispkg)

@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "The site, built once for all processes of a run; warnings are errors. Or as DEMS_SITE has it."
    if built := os.environ.get('DEMS_SITE'): return Path(built)/'html'
    if not all(importlib.util.find_spec(m) for m in ('sphinx', 'myst_nb', 'furo')):
        pytest.skip(f'the site needs Sphinx: {build.INSTALL}')
    folder = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ: folder = folder.parent
    out = folder/'site'
    with FileLock(folder/'site.lock'):
        if not (out/'built').exists():
            command = [sys.executable, '-W', 'ignore', str(root/'docs/build.py'), str(out)]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
            (out/'built').touch()
    return out/'html'

# before any building
def test_the_first_page_names_every_notebook():
    listed = re.findall(r'<(.+?)>', build.contents()['source'])
    assert listed[0] == 'explorer'
    assert sorted(listed[1:]) == sorted(b for b in books if b != 'index')
    assert [b[:2] for b in listed[1:10]] == [f'{i:02}' for i in range(9)]

def test_links_out_of_the_notebooks_are_addresses():
    at = root/'nbs/tutorials/x.ipynb'
    assert build.absolute('[a](../../results/demo/table.csv)',
                          at) == f'[a](<{build.source_url()}/results/demo/table.csv>)'
    for same in ('[a](../00_layout.ipynb)', '[a](https://example.org/b)', '[a](#here)',
                 '![p](../images/viewer.png)'):
        assert build.absolute(same, at) == same

def test_only_one_title_a_page():
    for p in build.notebooks():
        titles = [c for c in build.page(p)['cells'] if c['cell_type'] == 'markdown'
                  and re.match('# ', ''.join(c['source']))]
        assert len(titles) == 1, p

# the pages
@pytest.mark.parametrize('book', books)
def test_every_notebook_is_a_page_with_its_outputs(site, book):
    page = (site/f'{book}.html').read_text()
    cells = json.loads((root/f'nbs/{book}.ipynb').read_text())['cells']
    outputs = [o for c in cells for o in c.get('outputs', ())]
    assert page.count('<img alt="') >= sum('image/png' in o.get('data', {}) for o in outputs)
    for o in outputs:
        first = ''.join(o.get('text', '')).strip().partition('\n')[0]
        if first: assert ' '.join(first.split()) in plain(page), f'an output is missing: {first}'
    assert build.title(root/f'nbs/{book}.ipynb').replace('`', '') in plain(page)

def test_links_lead_somewhere(site):
    wrong = []
    for p in site.rglob('*.html'):
        for to in re.findall(r'<a[^>]* href="([^"]+)"', p.read_text()):
            url = urlsplit(html.unescape(to))
            if url.scheme or not url.path: continue
            if url.path.endswith('.ipynb') or not (p.parent/unquote(url.path)).exists():
                wrong.append(f'{p.relative_to(site)}: {to}')
    assert not wrong, wrong

LOADS = (r'<(?:script|img|iframe|video|audio|source|embed)\b[^>]*\bsrc="?(?:https?:)?//[^">\s]+'
         r'|<link\b(?![^>]*rel="canonical")[^>]*href="?(?:https?:)?//[^">\s]+'
         r'|url\(["\']?(?:https?:)?//[^)]+|@import[^;]*//')

def test_no_page_asks_the_network(site):
    for p in [*site.rglob('*.html'), *site.rglob('*.css')]:
        assert not (found := re.findall(LOADS, p.read_text())), (p.relative_to(site), found)

@pytest.mark.parametrize('text',
                         ['<script async src="https://cdn.example/x.js">',
                          '<link rel="stylesheet" href="//fonts.example/a.css">',
                          'a { background: url("http://example.org/a.png") }'])
def test_the_check_of_the_network_notices(text): assert re.search(LOADS, text)

# the API
def plain(text): return ' '.join(html.unescape(re.sub(r'<[^>]+>', '', text)).split())

def described(text):
    "A module's public definitions with their commented arguments: {name: [(argument, comment)]}."
    code, lines, out = ast.parse(text), text.splitlines(), {}
    public = ast.literal_eval(next(n.value for n in code.body if isinstance(n, ast.Assign)
                                   and getattr(n.targets[0], 'id', '') == '__all__'))
    comment = lambda n: re.sub('`', '', lines[n.lineno - 1].rpartition('# ')[2]).strip()
    def of(f): # a comment belongs to the last argument of its line
        last = {a.lineno: a for a in (*f.args.posonlyargs, *f.args.args,
                                      *f.args.kwonlyargs)}.values()
        return [(a.arg, comment(a)) for a in last if a.arg not in ('self', 'cls')
                and '# ' in lines[a.lineno - 1]]
    for n in code.body:
        if isinstance(n, ast.ClassDef) and n.name in public:
            fields = any('dataclass' in ast.unparse(d) for d in n.decorator_list)
            out[n.name] = [(f.target.id, comment(f)) for f in n.body
                           if fields and isinstance(f, ast.AnnAssign)]
            for f in n.body:
                if isinstance(f, ast.FunctionDef) and f.name == '__init__': out[n.name] += of(f)
        elif isinstance(n, ast.FunctionDef):
            if any('patch' in ast.unparse(d) for d in n.decorator_list):
                owner = ast.unparse(n.args.args[0].annotation)
                private = n.name.startswith('_') or owner not in public
                if not private and ast.get_docstring(n):
                    out[f'{owner}.{n.name}'] = of(
                        ast.FunctionDef(n.name,
                                        ast.arguments(n.args.posonlyargs, n.args.args[1:],
                                                      n.args.vararg, n.args.kwonlyargs)))
            elif n.name in public: out[n.name] = of(n)
    return {**{n: [] for n in public}, **out}

def undescribed(module, page):
    "What the page of a module leaves out."
    wrong = []
    for name, arguments in described((root/f'dems_nb/{module}.py').read_text()).items():
        found = re.search(rf'id="dems_nb\.{module}\.{re.escape(name)}"(.*?)(?=<dt class="sig |\Z)',
                          page, re.S)
        if not found: wrong.append(name); continue
        text = plain(found[1])
        wrong += [f'{name}: {k}'
                  for k, comment in arguments if ' '.join(f'{k} – {comment}'.split()) not in text]
    return wrong

@pytest.mark.parametrize('module', modules)
def test_every_public_name_has_its_parameters_described(site, module):
    assert not undescribed(module, (site/f'api/{module}.html').read_text())

def test_the_check_of_the_api_notices(site):
    page = (site/'api/layout.html').read_text()
    assert described((root/'dems_nb/layout.py').read_text())['correspondence_map']
    assert any('correspondence_map: fine_grid' in w
               for w in undescribed('layout', page.replace('<strong>fine_grid</strong>', '')))
    assert 'correspondence_map' in undescribed('layout',
                                               page.replace(
                                                   'id="dems_nb.layout.correspondence_map"', ''))

def test_a_recipe_describes_inherited_fields_and_no_page_shows_an_address_in_memory(site):
    assert 'p0 – for \'paper\', the probability at the start' in plain(
        (site/'api/learner.html').read_text().partition('id="dems_nb.learner.Recipe"')[2])
    for p in (site/'api').glob('*.html'): assert not re.search(r' at 0x[0-9a-f]+', p.read_text()), p

# in a browser
@pytest.fixture(scope='module')
def browser():
    try:
        with chromium() as b: yield b
    except NoBrowser as e: pytest.skip(f'SKIPPED: {e}')

@pytest.fixture
def page(browser):
    "A page that reaches nothing outside; what it asks for there, and its errors, fail the test."
    context, wrong = browser.new_context(viewport=dict(width=1300, height=900),
                                         color_scheme='light'), []
    def refuse(route): wrong.append(route.request.url); route.abort()
    context.route(re.compile('^(https?|wss?):'), refuse)
    page = context.new_page()
    page.on('pageerror', lambda e: wrong.append(str(e)))
    yield page
    context.close()
    assert not wrong, wrong

def test_pages_load_without_the_network(site, page):
    for p in sorted(site.rglob('*.html')): page.goto(p.as_uri())

def test_search_finds_a_name(site, page):
    page.goto((site/'search.html').as_uri() + '?q=correspondence_map')
    page.wait_for_selector('#search-results li a')
    assert any('api/layout.html#dems_nb.layout.correspondence_map' in a.get_attribute('href')
               for a in page.locator('#search-results li a').all())

def test_dark_mode_switches(site, page):
    page.goto((site/'00_layout.html').as_uri())
    color = lambda: page.evaluate('getComputedStyle(document.body).backgroundColor')
    brightness = lambda: sum(map(int, re.findall(r'\d+', color())[:3]))
    seen = {}
    for _ in range(3):
        page.locator('button.theme-toggle:visible').first.click()
        seen[page.evaluate('document.body.dataset.theme')] = brightness()
    assert seen['light'] > 600 and seen['dark'] < 150

def test_the_viewer_works_in_the_page(site, page):
    from test_browser import LIT
    from dems_nb.weights import load_bundled
    layout = load_bundled().layout
    page.goto((site/'11_viewer.html').as_uri())
    viewers = [v for v in page.locator('.dems-viewer').all()
               if v.locator('.strip rect[data-kind=token]').count() == layout.n_tokens]
    assert viewers
    for position in (3, 70, 83):
        viewers[-1].locator(f'.panel rect[data-kind=token][data-i="{position}"]').hover()
        assert viewers[-1].evaluate(LIT, '.panel') == layout.linked(position).tolist()

def test_the_explorer_is_alive_in_its_page(site, page):
    page.goto((site/'explorer.html').as_uri())
    explorer = page.locator('.dems-explorer')
    assert explorer.locator('.best').inner_text().startswith('Ankle boot')
    explorer.locator('.samples button').nth(1).click()
    explorer.locator('.panel rect[data-i="83"]').click()
    assert explorer.evaluate('e => [e.explorer.state.picture, e.explorer.state.token]') == [
        1, [0, 83]]
    assert explorer.bounding_box()['width'] > 700

def test_narrow_pages_do_not_scroll_sideways(site, page):
    page.set_viewport_size(dict(width=400, height=800))
    for name in ('index', 'explorer', '00_layout', '11_viewer', 'tutorials/finetune', 'api/data',
                 'paper_map'):
        page.goto((site/f'{name}.html').as_uri())
        assert page.evaluate('document.documentElement.scrollWidth') <= 400, name
