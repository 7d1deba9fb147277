"Draw the pictures of README and of openings, into nbs/images: python tests/draw_images.py."
import io, shutil, sys
from contextlib import contextmanager
from pathlib import Path

INSTALL = ('pip install playwright && python -m playwright install --with-deps chromium (or, on '
           'Debian: apt install chromium)')
images = Path(__file__).parent.parent/'nbs'/'images'

class NoBrowser(Exception): pass

@contextmanager
def chromium():
    "A headless Chromium, the system's or playwright's. Raises `NoBrowser` with the install line."
    try: from playwright.sync_api import sync_playwright
    except ImportError: raise NoBrowser(f'playwright is not installed: {INSTALL}') from None
    with sync_playwright() as p:
        names = ('chromium', 'chromium-browser', 'google-chrome')
        files = [*map(shutil.which, names), p.chromium.executable_path]
        path = next((f for f in files if f and Path(f).exists()), None)
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
    pictures = sample_images(30).x
    order = epoch_order(30, 1, 0)
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

def draw_tokens():
    "The patches of one region at four sizes, and their tokens in the sequence."
    import matplotlib.pyplot as plt
    from dems_nb.layout import TokenLayout
    from dems_nb.figures import SCALE_COLORS
    layout = TokenLayout()
    scales = layout.scale.tolist()
    fig = plt.figure(figsize=(9, 3.4), layout='constrained')
    above, below = fig.subfigures(2, 1, height_ratios=(5, 2))
    for k, ax in enumerate(above.subplots(1, 4)):
        ax.imshow(boot()[0], cmap='gray', extent=(0, 32, 32, 0))
        for (x0, y0, x1, y1), scale, region in zip(layout.boxes.tolist(), scales, layout.region):
            if scale != k: continue
            color = SCALE_COLORS[k] if region == 0 else 'none'
            ax.add_patch(plt.Rectangle((x0, y0), x1 - x0, y1 - y0, fc=color, ec='w', lw=.6,
                                       alpha=.75))
        ax.set(xticks=[], yticks=[])
        ax.set_title(f'patches of {layout.patch_sizes[k]} pixels', fontsize=10)
    ax = below.subplots()
    for position, scale in enumerate(scales):
        alpha = .9 if layout.region[position] == 0 else .35
        ax.bar(position, 1, 1, color=SCALE_COLORS[scale], alpha=alpha)
    for region in range(1, 4): ax.axvline(85*region - .5, color='k', lw=1)
    ax.set(xlim=(-.5, 339.5), ylim=(0, 1), xticks=[0, 85, 170, 255, 339], yticks=[])
    ax.set_xlabel('position in the sequence: region by region, finest patches first')
    fig.savefig(images/'tokens.png', dpi=100)

def draw_interaction():
    "The mixing weights of the regions of a boot, in the bundled model's first interaction."
    import matplotlib.pyplot as plt
    from dems_nb.data import Normalize
    from dems_nb.visualize import mixing_weights
    from dems_nb.weights import load_bundled
    model = load_bundled()
    tokens = model.layout.tokens_per_region
    x = Normalize(1)(boot()[None])
    D = mixing_weights(model, x)[0].detach()                       # region token mixed
    fig, ax = plt.subplots(figsize=(9, 2.6), layout='constrained')
    im = ax.imshow(D[0].T, cmap='viridis', vmin=0, aspect='auto')
    for scale in (15.5, 19.5): ax.axvline(scale, color='w', lw=1.5)
    fig.colorbar(im, ax=ax, label='weight')
    ax.set(xticks=range(tokens), yticks=range(D.shape[-1]), ylabel='mixed token',
           xlabel='token of the region: 16 of the finest scale, 4, 1')
    fig.savefig(images/'interaction.png', dpi=100)

def draw_blocks():
    "How many tokens each block of dems_tiny reads, and where they are mixed."
    import matplotlib.pyplot as plt
    from dems_nb.model import create_model, shape_ledger
    from dems_nb.figures import SCALE_COLORS
    model = create_model('dems_tiny')
    ledger = shape_ledger(model)
    lengths = [size[1] for stage, size in zip(ledger.stage, ledger.sizes)
               if stage.startswith('block')]
    blocks = range(1, len(lengths) + 1)
    fig, ax = plt.subplots(figsize=(9, 2.6), layout='constrained')
    ax.bar(blocks, lengths, width=.6, color=SCALE_COLORS[0])
    for k, n in zip(blocks, lengths): ax.text(k, n + 8, n, ha='center', fontsize=9)
    for k in model.config['mix_before']:
        ax.axvline(k - .5, color=SCALE_COLORS[1], lw=4)
        ax.text(k - .5, 425, 'interaction', ha='center', fontsize=9)
    ax.text(.35, 425, 'tokens and class token', ha='center', fontsize=9)
    ax.text(12.75, 425, 'class token → logits', ha='center', fontsize=9)
    ax.set(xlabel='block', ylabel='tokens', xticks=blocks, xlim=(-.4, 13.4), ylim=(0, 410))
    for side in ('top', 'right'): ax.spines[side].set_visible(False)
    fig.savefig(images/'blocks.png', dpi=100)

def draw_draws():
    "One picture, and what the paper's augmentation makes of it twelve times."
    import matplotlib.pyplot as plt, numpy as np, torch
    from PIL import Image
    from sklearn.datasets import load_sample_image
    from dems_nb.augment import Augment, AugmentSchedule
    flower = Image.fromarray(load_sample_image('flower.jpg')[:, 100:527]).resize((32, 32))
    x = torch.from_numpy(np.array(flower)).movedim(2, 0)[None]
    augment = Augment(32, AugmentSchedule(1), normalize=False)
    views = augment(x.expand(12, -1, -1, -1).clone(), torch.Generator().manual_seed(0))
    fig = plt.figure(figsize=(9, 2.6), layout='constrained')
    left, right = fig.subfigures(1, 2, width_ratios=(2, 6))
    ax = left.subplots()
    ax.imshow(x[0].movedim(0, 2))
    ax.axis('off')
    for ax, view in zip(right.subplots(2, 6).flat, views):
        ax.imshow(view.movedim(0, 2))
        ax.axis('off')
    fig.savefig(images/'draws.png', dpi=100)

def budget_rows():
    "Rows for the picture of the budget, and the same in a line, to be noted in its file."
    from dems_nb.results import read_ledger
    rows = read_ledger(images.parent.parent/'results'/'ledger', 'budget')
    return rows, '; '.join(sorted(f'{r["stage"]} {r["variant"]} {r["recipe_hash"]} '
                                  f'{r["accuracy"]}' for r in rows))

def draw_budget():
    "Accuracy against images seen, DEMS and a plain ViT, and the difference, from the ledger."
    import matplotlib.pyplot as plt
    from dems_nb.studies import show_budget, show_budget_gap
    rows, noted = budget_rows()
    fig, axs = plt.subplots(2, 1, figsize=(7, 6.5), sharex=True, height_ratios=(3, 2),
                            layout='constrained')
    show_budget(rows, axs[0])
    show_budget_gap(rows, axs[1])
    axs[0].label_outer()
    fig.savefig(images/'budget.png', dpi=100, metadata={'Description': noted})

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
    "Two answers of the explorer: what the heel of a boot is mixed from, and what the boot is."
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
            .querySelector('.answer .note').remove()''')   # milliseconds, never twice the same
        shot = page.locator('.card').screenshot()
    Image.open(io.BytesIO(shot)).convert('RGB').save(images/'explorer.png', optimize=True)

if __name__ == '__main__':
    import matplotlib
    matplotlib.use('Agg')
    for draw in (draw_correspondence, draw_tokens, draw_interaction, draw_blocks, draw_batch,
                 draw_draws, draw_budget):
        draw()
    try:
        draw_viewer()
        draw_explorer()
    except NoBrowser as e: sys.exit(f'viewer.png and explorer.png are left as they were: {e}')
