"The viewer in a browser: alone, in JupyterLab, in a static page; what lights up is the layout's."
import html as escape, json, os, pytest, re, secrets, shutil, socket, subprocess, sys, time
import torch, urllib.request
from pathlib import Path
from draw_images import NoBrowser, boot, chromium
from dems_nb.layout import TokenLayout
from dems_nb.model import create_model
from dems_nb.viewer import view_tokens
from dems_nb.figures import _model_input
from dems_nb.visualize import mixing_weights, provenance
from dems_nb.weights import load_bundled
from marks import weekly

root = Path(__file__).parent.parent

@pytest.fixture(scope='module')
def browser():
    try:
        with chromium() as b: yield b
    except NoBrowser as e: pytest.skip(f'SKIPPED: {e}')

@pytest.fixture
def page(browser):
    "A page that reaches nothing outside, and whose errors fail the test."
    context, errors = browser.new_context(viewport=dict(width=1000, height=900)), []
    context.route(re.compile('^https?:'), lambda route: route.abort())
    page = context.new_page()
    page.on('pageerror', lambda e: errors.append(str(e)))
    yield page
    context.close()
    assert not errors, errors

def open_viewers(page, *viewers, body=''):
    page.set_content(f'<!doctype html><body {body}>' + '<hr>'.join(v.html for v in viewers))
    return [page.locator('.dems-viewer').nth(i) for i in range(len(viewers))]

LIT = ("(v, where) => [...v.shadowRoot.querySelectorAll(where + ' "
       "rect.lit[data-kind=token]')].map(e => +e.dataset.i).sort((a, b) => a - b)")
def lit(viewer, where='.panel'): return viewer.evaluate(LIT, where)
def said(viewer): return viewer.locator('.said').inner_text()
def rect(viewer, i, kind='token', where='.panel'):
    return viewer.locator(f'{where} rect[data-kind={kind}][data-i="{i}"]')
def show(viewer, mode, layer=None):
    viewer.locator(f'input[value={mode}]').check()
    if layer is not None: viewer.locator('select').select_option(label=layer)
def weights(viewer, kind='token', where=''):
    drawn = viewer.evaluate('''(v, rects) => [...v.shadowRoot.querySelectorAll(rects)].map(
        e => [+e.dataset.i, +e.dataset.w])''', f'{where} rect[data-kind={kind}][data-w]')
    return dict(drawn)

def picture(S, c=1): return (torch.rand(c, S, S)*255).byte()

# alone on a page

@pytest.mark.parametrize('layout',
                         [TokenLayout(), TokenLayout(8, (2, 4)), TokenLayout(36, (2, 6, 12)),
                          TokenLayout(32, (4,)),
                          *weekly(TokenLayout(128, (8, 16, 32, 64)))], ids=repr)
def test_what_lights_up_is_what_is_linked(page, layout):
    viewer, = open_viewers(page, view_tokens(picture(layout.image_size), layout))
    found = viewer.evaluate(f'''v => {{
      const lit = {LIT}, out = [], all = rects => [...v.shadowRoot.querySelectorAll(rects)];
      for (const where of ['.panel', '.strip'])
        for (const e of all(where + ' rect[data-kind=token]')) {{
          e.dispatchEvent(new PointerEvent('pointerover', {{bubbles: true, composed: true}}));
          out.push([where, +e.dataset.i, lit(v, '.panel'), lit(v, '.strip'),
                    all('rect.at').map(a => +a.dataset.i)]);
        }}
      return out; }}''')
    assert sorted(p for where, p, *_ in found) == sorted([*range(layout.n_tokens)]*2)
    for where, p, on_panels, on_strip, at in found:
        assert on_panels == on_strip == layout.linked(p).tolist() and at == [p, p], (where, p)

def test_each_token_is_drawn_where_its_box_is(page):
    layout = TokenLayout(36, (2, 6, 12))
    viewer, = open_viewers(page, shown := view_tokens(picture(36), layout))
    drawn = viewer.evaluate("""v => [...v.shadowRoot.querySelectorAll('.panel')].map(
        panel => [...panel.querySelectorAll('rect[data-i]')].map(
            e => [+e.dataset.i, ...['x', 'y', 'width', 'height'].map(a => +e.getAttribute(a)),
                  e.getAttribute('fill')]))""")
    for k, panel in enumerate(drawn):
        assert sorted(r[0] for r in panel) == (layout.scale == k).nonzero().flatten().tolist()
        for i, x, y, w, h, fill in panel:
            assert [x, y, x + w, y + h] == layout.boxes[i].tolist()
            assert fill == shown.data['colors'][k]

def test_a_real_pointer_and_what_stays_lit(page):
    layout = TokenLayout()
    viewer, = open_viewers(page, view_tokens(boot(), layout, position=251))
    assert lit(viewer) == layout.linked(251).tolist()
    rect(viewer, 7).hover()
    assert lit(viewer) == layout.linked(7).tolist()
    assert said(viewer).startswith('Position 7: 2-pixel patch')
    page.mouse.move(990, 890)  # away: back to the first
    assert lit(viewer) == layout.linked(251).tolist()
    rect(viewer, 84, where='.strip').click()
    page.mouse.move(990, 890)
    assert lit(viewer) == layout.linked(84).tolist()
    assert 'Kin: 84 (64 of 2 px, 16 of 4 px, 4 of 8 px)' in said(viewer)

def test_two_viewers_do_not_disturb_each_other(page):
    one, two, same = (view_tokens(boot(), TokenLayout(), position=0),
                      view_tokens(picture(8), TokenLayout(8, (2, 4))),
                      view_tokens(boot(), TokenLayout(), position=0))
    names = page.evaluate('Object.keys(window)')
    a, b, c = open_viewers(page, one, two, same)  # a and c are the same viewer, shown twice
    layouts = TokenLayout(), TokenLayout(8, (2, 4)), TokenLayout()
    for v, p, layout in zip((a, b, c), (300, 3, 170), layouts):
        others = [lit(o) for o in (a, b, c) if o != v]
        rect(v, p).click()
        assert lit(v) == layout.linked(p).tolist()
        assert [lit(o) for o in (a, b, c) if o != v] == others
    assert set(page.evaluate('Object.keys(window)')) <= set(names)  # no global names
    assert page.evaluate("document.querySelectorAll('style').length") == 0

def test_the_page_does_not_reach_into_the_viewer(page):
    v = view_tokens(boot(), TokenLayout())
    page.set_content('<style>p, figure, svg, rect, .card, .panels '
                     f'{{ display: none !important; fill: red !important }} * '
                     f'{{ font-size: 2px !important }}</style>{v.html}')
    assert page.locator('.said').evaluate('e => getComputedStyle(e).fontSize') == '14px'
    assert page.locator('.panel').first.bounding_box()['width'] > 100

# the model's modes

def test_mixing_and_provenance_show_the_models_numbers(page):
    model, img = load_bundled(), boot()
    x = _model_input(model, img)
    viewer, = open_viewers(page, view_tokens(img, model.layout, model))
    D = mixing_weights(model, x)
    show(viewer, 'mixing', 'before block 3')
    for target in (0, 13, 31):
        r, l = divmod(target, 8)
        rect(viewer, target, 'target', '.strip').hover()
        for where in ('.panel', '.strip'):
            w = weights(viewer, where=where)
            assert all(abs(w.get(21*r + t, 0) - D[0][r, t, l]) < .004 for t in range(21))
            assert all(i//21 == r for i in w)
    rect(viewer, 40).hover()  # a source: where does it go?
    w = weights(viewer, 'target')
    assert set(w) == set(range(8, 16))
    assert all(abs(v - D[0][1, 40 - 21, i - 8]) < .004 for i, v in w.items())
    show(viewer, 'mixing', 'before block 5')
    rect(viewer, 6, 'target', '.strip').hover()
    w = weights(viewer, 'mixed')
    assert set(w) == set(range(8, 16))
    assert all(abs(v - D[1][1, i - 8, 2]) < .004 for i, v in w.items())
    assert not weights(viewer)
    show(viewer, 'provenance', 'mixed tokens before block 5')
    rect(viewer, 6, 'target', '.strip').hover()
    P, w = provenance(model, img)[1 + 6, 1:], weights(viewer)
    assert all(abs(w.get(i, 0) - P[i]) < .004 for i in range(84))
    assert 'Mixed token 2 of region 1' in said(viewer)
    for k in (1, 6):
        show(viewer, 'provenance', f'class token after block {k} (rollout)')
        P, w = provenance(model, img, k, attention=True)[0], weights(viewer)
        assert all(abs(w.get(i, 0) - P[1 + i]) < .002 for i in range(84)) and len(w) > 80
        assert f'from the class token at the start' in said(viewer)
    show(viewer, 'kin')
    assert not viewer.locator('select').is_visible()
    assert viewer.locator('rect[data-kind=target]').count() == 0

def test_without_a_model_there_is_nothing_to_choose(page):
    viewer, = open_viewers(page, view_tokens(boot(), TokenLayout()))
    assert not viewer.locator('input').is_visible() and not viewer.locator('select').is_visible()

# keys

def focused(page):
    return page.evaluate("(() => { const e = document.activeElement?.shadowRoot?.activeElement; "
                         "return e && (e.dataset.i ? +e.dataset.i : e.tagName) })()")

def test_all_can_be_done_with_keys(page):
    layout, model = load_bundled().layout, load_bundled()
    viewer, = open_viewers(page, view_tokens(boot(), layout, model, position=79))
    page.keyboard.press('Tab')
    assert focused(page) == 'INPUT'
    seen = []
    # three panels and the strip: a stop each
    for _ in range(4): page.keyboard.press('Tab'); seen.append(focused(page))
    scales = [layout.scale[i].item() for i in seen[:3]]
    assert scales == [0, 1, 2] and seen[3] in range(84)
    rect(viewer, 79).focus()
    for key, step in (('ArrowRight', (8, 0)), ('ArrowUp', (0, -8)), ('ArrowLeft', (-8, 0)),
                      ('ArrowDown', (0, 8))):
        before = layout.boxes[focused(page)]
        page.keyboard.press(key)
        after = layout.boxes[focused(page)]
        assert (after - before).tolist() == [*step, *step]
        assert lit(viewer) == layout.linked(focused(page)).tolist()
    assert focused(page) == 79
    page.keyboard.press('+')
    assert focused(page) == 83 and lit(viewer) == layout.linked(83).tolist()
    page.keyboard.press('ArrowRight'); assert focused(page) == 83  # at the border nothing happens
    page.keyboard.press('-')
    assert layout.scale[focused(page)] == 1 and 83 in layout.linked(focused(page))
    rect(viewer, 20, where='.strip').focus()
    page.keyboard.press('ArrowRight'); assert focused(page) == 21
    page.keyboard.press('ArrowDown'); assert focused(page) == 42
    assert viewer.locator('svg:has(rect:focus-visible) rect.inner').evaluate(
        'e => getComputedStyle(e).stroke') == 'rgb(255, 47, 160)'

@pytest.mark.parametrize('patch', [4, 2])
def test_the_strip_of_one_scale_is_no_tower(page, patch):
    model = create_model('vit_nano', in_chans=1, patch_size=patch)
    viewer, = open_viewers(page, view_tokens(boot(), model.layout, model))
    show(viewer, 'provenance')
    n = 32//patch
    strip = viewer.locator('.strip').nth(1)
    assert f'the sequence, {n} regions a row' in viewer.locator('h4').nth(1).inner_text()
    assert strip.bounding_box()['height'] < strip.bounding_box()['width']
    rect(viewer, n + 1, where='.strip').focus()
    for key, i in (('ArrowDown', 2*n + 1), ('ArrowRight', 2*n + 2), ('ArrowUp', n + 2)):
        page.keyboard.press(key)
        assert focused(page) == i
    assert viewer.locator('.strip').first.bounding_box()['height'] < 30   # the class token alone

def test_it_says_what_it_shows(page):
    viewer, = open_viewers(page, view_tokens(boot(), TokenLayout(), position=251))
    assert rect(viewer, 251).get_attribute('aria-label') == '8-pixel patch in row 2, column 1'
    assert rect(viewer, 251).get_attribute('aria-pressed') == 'true'
    assert viewer.locator('.panel').first.get_attribute(
        'aria-label') == '2-pixel patches, 16 rows of 16'
    assert (viewer.locator('[role=status][aria-live=polite]').inner_text()
            == 'Position 251: 8-pixel patch in row 2, column 1, in region 2. Kin: 21 (16 of 2 px, '
               '4 of 4 px, 1 of 16 px).')

# light and dark, wide and narrow

@pytest.mark.parametrize('body, system, theme', [
    ('', 'light', 'light'), ('', 'dark', 'dark'), ('style="background: #fff"', 'dark', 'light'),
    ('style="background: rgb(20, 20, 20)"', 'light', 'dark'),
    ('data-jp-theme-light="true"', 'dark', 'light'),
    ('data-jp-theme-light="false" style="background: #fff"', 'light', 'dark'),
    ('data-vscode-theme-kind="vscode-dark"', 'light', 'dark'),
    ('data-vscode-theme-kind="vscode-high-contrast-light"', 'dark', 'light')])
def test_light_or_dark(page, body, system, theme):
    page.emulate_media(color_scheme=system)
    viewer, = open_viewers(page, view_tokens(boot(), TokenLayout()), body=body)
    assert viewer.get_attribute('data-theme') == theme
    ink, paper = (
        viewer.locator('.card').evaluate(f'e => getComputedStyle(e).{a}.match(/[0-9]+/g).slice(0, '
                                         '3).map(Number)') for a in ('color', 'backgroundColor'))
    assert (sum(ink) > sum(paper)) == (theme == 'dark') and abs(sum(ink) - sum(paper)) > 450

def test_the_theme_is_followed(page):
    viewer, = open_viewers(page, view_tokens(boot(), TokenLayout()),
                           body='data-jp-theme-light="true"')
    page.evaluate("document.body.dataset.jpThemeLight = 'false'")
    page.wait_for_function("document.querySelector('.dems-viewer').dataset.theme == 'dark'")

@pytest.mark.parametrize('width', [320, 420, 1000])
def test_nothing_is_cut_off(page, width):
    page.set_viewport_size(dict(width=width, height=800))
    model = load_bundled()
    viewer, = open_viewers(page, view_tokens(boot(), model.layout, model))
    show(viewer, 'provenance', 'class token after block 6 (rollout)')
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    boxes = [e.bounding_box()
             for e in viewer.locator('.card svg, .card p, .card select, .card input').all()]
    assert len(boxes) == 3 + 2 + 5 + 1 + 3
    for box in boxes: assert box['x'] >= 0 and box['x'] + box['width'] <= width

# where notebooks are shown

INJECT = {
    'a page': 'e.innerHTML = ""; document.open(); document.write(html); document.close()',
    'JupyterLab': '''e.innerHTML = html; for (const old of [...e.querySelectorAll('script')]) {
        const s = document.createElement('script');
        s.textContent = old.textContent;
        old.parentNode.replaceChild(s, old) }''',
    'VS Code': '''e.innerHTML = html; for (const old of [...e.querySelectorAll('script')]) {
        const s = document.createElement('script');
        s.text = old.innerText;
        e.appendChild(s).parentNode.removeChild(s) }'''}

@pytest.mark.parametrize('how', INJECT)
def test_however_the_html_gets_into_the_page(page, how):
    page.set_content('<body><div id="out"></div></body>')
    page.evaluate(f'html => {{ const e = document.getElementById("out"); {INJECT[how]} }}',
                  view_tokens(boot(), TokenLayout(), position=5).html)
    assert lit(page.locator('.dems-viewer')) == TokenLayout().linked(5).tolist()

def test_in_a_sandboxed_frame(page):
    "As Colab shows outputs: a frame that may run scripts and nothing else."
    v = view_tokens(boot(), TokenLayout(), position=5)
    page.set_content('<iframe sandbox="allow-scripts" style="width: 900px; height: 700px" '
                     f'srcdoc="{escape.escape(v.html)}"></iframe>')
    viewer = page.frame_locator('iframe').locator('.dems-viewer')
    rect(viewer, 300).click()
    assert lit(viewer) == TokenLayout().linked(300).tolist()

def test_without_scripts_there_is_a_still_picture(browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_content(view_tokens(boot(), TokenLayout()).html)
    assert page.locator('img').bounding_box()['width'] > 300
    assert 'A still picture' in page.inner_text('body')
    context.close()

# the notebook

def viewers_of(source):
    "The two viewers that notebook 11 shows, and their layouts: (cell, layout)."
    shown = [i for i, c in enumerate(source['cells'])
             if any('dems-viewer' in ''.join(o.get('data', {}).get('text/html', ''))
                    for o in c.get('outputs', []))]
    assert len(shown) == 2, 'notebook 11 shows two viewers'
    return list(zip(shown, (TokenLayout(128, (8, 16, 32, 64)), load_bundled().layout)))

def point_around(page, viewers):
    "Hover over tokens of every scale of both viewers: each answers, and the other stays as it is."
    for (v, layout), (other, _) in zip(viewers, viewers[::-1]):
        page.mouse.move(2, 2)  # off both: each shows what was chosen in it
        for p in [(layout.scale == k).nonzero().flatten()[i].item()
                  for k in range(len(layout.grids)) for i in (0, -1)]:
            before = lit(other)
            for where in ('.panel', '.strip'):
                rect(v, p, where=where).hover()
                assert lit(v) == lit(v, '.strip') == layout.linked(p).tolist(), (where, p)
            assert lit(other) == before

def test_the_notebook_as_a_static_page(page, tmp_path):
    nb = root/'nbs/11_viewer.ipynb'
    subprocess.run([sys.executable, '-m', 'nbconvert', '--to', 'html', '--output-dir',
                    str(tmp_path), '--log-level', 'ERROR', str(nb)], check=True)
    page.goto((tmp_path/'11_viewer.html').as_uri(), wait_until='domcontentloaded')
    shown = [page.locator('.dems-viewer').nth(i) for i in (0, 1)]
    point_around(page, [(v, l) for v, (_, l) in zip(shown, viewers_of(json.loads(nb.read_text())))])
    assert [v.get_attribute('data-theme') for v in shown] == ['light', 'light']

@pytest.fixture(scope='module')
def lab(tmp_path_factory):
    "JupyterLab over a copy of the notebooks, with settings of its own: (address, folder)."
    tmp_path = tmp_path_factory.mktemp('lab')
    for d in ('nbs', 'results'):
        shutil.copytree(root/d, tmp_path/'work'/d,
                        ignore=shutil.ignore_patterns('.ipynb_checkpoints'))
    folders = ('JUPYTER_CONFIG_DIR', 'JUPYTER_DATA_DIR', 'JUPYTER_RUNTIME_DIR',
               'JUPYTERLAB_SETTINGS_DIR', 'JUPYTERLAB_WORKSPACES_DIR', 'IPYTHONDIR',
               'MPLCONFIGDIR')
    own = {k: str(tmp_path/k.lower()) for k in folders}
    config = tmp_path/'jupyter_config_dir/labconfig/page_config.json'
    config.parent.mkdir(parents=True)
    config.write_text(
        json.dumps({'disabledExtensions': {'@jupyterlab/apputils-extension:announcements': True}}))
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    token = secrets.token_hex(16)
    log = open(tmp_path/'lab.log', 'w')
    env = os.environ | own | dict(JUPYTER_TOKEN=token, PYTHONPATH=str(root),
                                  PYTHONWARNINGS='ignore',
                                  MPLBACKEND='module://matplotlib_inline.backend_inline')
    server = subprocess.Popen([sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root',
                               f'--ServerApp.port={port}', '--ServerApp.port_retries=0',
                               '--ServerApp.ip=127.0.0.1',
                               f'--ServerApp.root_dir={tmp_path/"work"}',
                               '--LabApp.expose_app_in_browser=True'],
                              env=env, stdout=log, stderr=log, cwd=tmp_path)
    try:
        for _ in range(240):
            assert server.poll() is None, (tmp_path/'lab.log').read_text()
            try:
                urllib.request.urlopen(f'http://127.0.0.1:{port}/api?token={token}', timeout=5)
                break
            except OSError: time.sleep(.25)
        yield (lambda nb: f'http://127.0.0.1:{port}/lab/tree/nbs/{nb}.ipynb?token={token}',
               tmp_path/'work')
    finally:
        server.terminate()
        try: server.wait(30)
        except subprocess.TimeoutExpired: server.kill(); server.wait()
        log.close()

@pytest.fixture
def lab_page(browser, lab):
    "Opens a notebook in JupyterLab: page = lab_page(name). Its kernel is shut down in the end."
    context = browser.new_context(viewport=dict(width=1300, height=1000))
    page = context.new_page()
    page.set_default_timeout(60_000)
    def open_it(name):
        n = len(json.loads((lab[1]/f'nbs/{name}.ipynb').read_text())['cells'])
        page.goto(lab[0](name))
        page.wait_for_function(
            "n => window.jupyterapp?.shell.currentWidget?.content?.model?.cells?.length == n",
            arg=n)
        return page
    yield open_it
    page.evaluate('async () => { await '
                  'window.jupyterapp.shell.currentWidget.sessionContext.shutdown() }')
    context.close()

def run_all(page):
    "Run All Cells; the outputs of each cell afterwards."
    page.evaluate("""async () => { const app = window.jupyterapp, panel = app.shell.currentWidget;
        await panel.sessionContext.ready; window.done = false;
        app.commands.execute('notebook:run-all-cells').then(() => { window.done = true }) }""")
    page.wait_for_function('window.done', timeout=300_000)
    return (page.evaluate(
        "() => [...window.jupyterapp.shell.currentWidget.content.model.cells].map(c => "
        "c.toJSON().outputs || [])"))

def pictures(outputs):
    return [sum('image/png' in o.get('data', {}) for o in outs) for outs in outputs]

# each is run by nbdev_test, and 11 here below, in the browser; the others when there is time
chapters = [pytest.param(p.stem, marks=pytest.mark.slow)
            for p in sorted((root/'nbs').glob('0[0-8]_*.ipynb'))]

@pytest.mark.parametrize('name', chapters)
def test_run_all_in_jupyterlab(lab_page, lab, name):
    "A chapter, opened and run as a reader does it: no error, as many pictures as were committed."
    outputs = run_all(lab_page(name))
    assert not [o for outs in outputs for o in outs if o['output_type'] == 'error']
    committed = json.loads((root/f'nbs/{name}.ipynb').read_text())['cells']
    assert pictures(outputs) == pictures([c.get('outputs', []) for c in committed])

def test_the_notebook_in_jupyterlab(lab_page, lab):
    page, folder = lab_page('11_viewer'), lab[1]
    notebook = 'window.jupyterapp.shell.currentWidget.content'
    def go(i):
        page.evaluate(f'i => {notebook}.scrollToItem(i, "start")', i)
        page.wait_for_timeout(500)
    cells = viewers_of(json.loads((folder/'nbs/11_viewer.ipynb').read_text()))

    go(cells[0][0])  # nobody has run it or trusts it: no script
    page.wait_for_selector('.dems-viewer img')
    assert page.locator('.dems-viewer').first.evaluate('v => v.shadowRoot') is None
    assert page.locator('.dems-viewer img').first.bounding_box()['width'] > 300

    assert not [o for outs in run_all(page) for o in outs if o['output_type'] == 'error']

    shown = []
    for i, layout in cells:
        go(i)
        found = page.wait_for_function("""n => [...document.querySelectorAll('.dems-viewer')].find(
            v => v.shadowRoot?.querySelectorAll('.panel rect[data-i]').length == n
            )?.dataset.viewer""", arg=layout.n_tokens)
        name = found.json_value()
        shown.append((page.locator(f'[data-viewer="{name}"]'), layout))
    point_around(page, shown)

    viewer, layout = shown[1]
    rect(viewer, 79).click()
    active = page.evaluate(f'{notebook}.activeCellIndex')
    for key in ('ArrowLeft', 'ArrowUp', '+', 'Enter'): # the notebook's own shortcuts stay out of it
        page.keyboard.press(key)
        assert lit(viewer) == layout.linked(focused(page)).tolist()
    assert page.evaluate(f'{notebook}.activeCellIndex') == active
    assert page.evaluate(f'{notebook}.mode') == 'command'

    for theme in ('Dark', 'Light'):
        page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', "
                      "{theme})", f'JupyterLab {theme}')
        page.wait_for_function("theme => [...document.querySelectorAll('.dems-viewer')].every("
                               "v => v.dataset.theme == theme)", arg=theme.lower())
