"Draw the pictures that the README shows, into nbs/images: python tests/draw_images.py. Two need a browser."
import io, shutil, sys
from contextlib import contextmanager
from pathlib import Path

INSTALL = ('pip install playwright && python -m playwright install --with-deps chromium (or, on '
           'Debian: apt install chromium)')
images = Path(__file__).parent.parent/'nbs'/'images'

class NoBrowser(Exception): pass

@contextmanager
def chromium():
    "A headless Chromium: the system's if it has one, or playwright's own. Raises `NoBrowser` with the install line."
    try: from playwright.sync_api import sync_playwright
    except ImportError: raise NoBrowser(f'playwright is not installed: {INSTALL}') from None
    with sync_playwright() as p:
        found = [shutil.which(n) for n in ('chromium', 'chromium-browser',
                                           'google-chrome')] + [p.chromium.executable_path]
        path = next((f for f in found if f and Path(f).exists()), None)
        if path is None: raise NoBrowser(f'no Chromium found: {INSTALL}')
        browser = p.chromium.launch(executable_path=path,
                                    args=['--no-sandbox', '--disable-gpu',
                                          '--disable-background-networking'])
        try: yield browser
        finally: browser.close()

def boot():
    from dems_nb.data import sample_images
    return sample_images(10).x[9]

def draw_correspondence():
    from dems_nb.layout import TokenLayout
    from dems_nb.visualize import show_correspondence
    show_correspondence(boot(), TokenLayout(), 251).savefig(images/'correspondence.png', dpi=100)

def draw_batch():
    "One tensor of pictures, and the first batches of an epoch: pieces of an order."
    import matplotlib.pyplot as plt
    from dems_nb.data import epoch_order, sample_images
    pictures, order = sample_images(30).x, epoch_order(30, 1, 0)
    batch_of = {i: n for n, idx in enumerate(order.split(8)) for i in idx.tolist()}
    fig = plt.figure(figsize=(9, 4.2), layout='constrained')
    left, right = fig.subfigures(1, 2, width_ratios=(6, 8))
    left.suptitle('the tensor, on the device', fontsize=10)
    right.suptitle('an epoch: an order of it, cut into batches of 8', fontsize=10)
    def show(ax, i):
        ax.imshow(pictures[i, 0], cmap='gray')
        ax.set(xticks=[], yticks=[])
        for side in ax.spines.values(): side.set(color=f'C{batch_of[i]}', linewidth=3)
    for i, ax in enumerate(left.subplots(5, 6).flat): show(ax, i)
    axs = right.subplots(4, 8)
    for ax in axs.flat: ax.axis('off')
    for ax, i in zip(axs.flat, order.tolist()):
        ax.axis('on')
        show(ax, i)
    fig.savefig(images/'batch.png', dpi=100)

def draw_viewer():
    from PIL import Image
    from dems_nb.data import fashion_classes
    from dems_nb.viewer import view_tokens
    from dems_nb.weights import load_bundled
    model = load_bundled()
    shown = view_tokens(boot(), model.layout, model, classes=fashion_classes)
    with chromium() as browser:
        page = browser.new_page(viewport=dict(width=760, height=900))
        page.set_content(f'<body style="margin: 0; background: #fff">{shown.html}</body>')
        page.check('input[value=provenance]')
        page.select_option('select', index=1)
        page.hover('rect[data-kind=target][data-i="12"]')
        shot = page.locator('.card').screenshot()
    Image.open(io.BytesIO(shot)).convert('RGB').save(images/'viewer.png', optimize=True)

def draw_explorer():
    "Two questions answered by the explorer: what the heel of a boot is mixed from, and what the boot is."
    from PIL import Image
    from dems_nb.data import fashion_classes
    from dems_nb.viewer import explore
    from dems_nb.weights import load_bundled
    page_of_model = explore(load_bundled(), fashion_classes)
    with chromium() as browser:
        page = browser.new_page(viewport=dict(width=1280, height=900))
        page.set_content(f'<body style="margin: 0; background: #fff">{page_of_model.html}</body>')
        page.evaluate('''() => { const e = document.querySelector('.dems-explorer').explorer;
            e.state = {...e.state, mode: 'mixing', token: [1, 27]}; }''')
        page.wait_for_timeout(500)
        page.evaluate('''() => document.querySelector('.dems-explorer').shadowRoot
            .querySelector('.answer .note').remove()''')                # milliseconds: never twice the same
        shot = page.locator('.card').screenshot()
    Image.open(io.BytesIO(shot)).convert('RGB').save(images/'explorer.png', optimize=True)

if __name__ == '__main__':
    import matplotlib
    matplotlib.use('Agg')
    draw_correspondence()
    draw_batch()
    try:
        draw_viewer()
        draw_explorer()
    except NoBrowser as e: sys.exit(f'viewer.png and explorer.png are left as they were: {e}')
