"""One wrong argument at a time, to the public names of the main path: how many are answered from
deep inside? `python tests/test_arguments.py` goes through all; the tests take a part."""
import contextlib, io, itertools, json, math, numpy as np, os, pytest, random, re, shutil
import sys, tempfile, torch, traceback, warnings
from collections import Counter
from pathlib import Path
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
import matplotlib.pyplot as plt
from dems_nb import (augment as A, classifier as C, data as D, figures as F, folders as P,
                     interaction as I, layout as Y, learner as L, model as M, results as S,
                     tokenizer as T, visualize as V, weights as W)

wrong = [None, 'x', -1, 1.5, math.nan, np.float64(1.5), [], {}, b'x', np.arange(2.), torch.zeros(2),
         object(), abs]

def right(folder):
    "For each public name what it can be called with; what it takes by itself is left out."
    small = dict(dim=16, depth=2, heads=2, mix_before=(1, 2))
    model = M.create_model('dems_nano', 10, 1, **small)
    layout, g, data = model.layout, torch.Generator(), D.sample_images(20)
    x, y, some = torch.rand(2, 3, 8, 8), torch.tensor([0, 1]), torch.ones(2)
    img = data.x[0]
    recipe = L.Recipe(n_train=20, holdout=10, bs=10, epochs=1)
    paper = L.Recipe.pretrain('dems_nano', 'sample', epochs=2, bs=10, n_train=20, holdout=10)
    dls, z = L.recipe_dls(recipe, 'cpu'), torch.zeros(1, 1, 32, 32)
    W.save_model(model, folder/'m.safetensors')
    ledger = Path(__file__).parents[1]/'results/ledger'
    entry = json.loads(next(p for p in sorted(ledger.glob('*/*.json'))
                            if p.parent.name != 'released').read_text())
    (folder/'run').mkdir()
    (folder/'run/result.json').write_text(json.dumps({k: v for k, v in entry.items() if k not in (
        'study', 'stage', 'variant')}))
    (folder/'row.json').write_text(json.dumps(entry))
    (folder/'none').mkdir()
    for i in range(8):
        to = folder/'photos'/'ab'[i % 2]/f'{i}.png'
        to.parent.mkdir(parents=True, exist_ok=True)
        (picture := Image.fromarray(data.x[i, 0].numpy())).save(to)
    photos, listed = dict(root=folder/'photos'), P.look_at_folder(folder/'photos')
    learn = L.make_learner(recipe, dls, path=folder)
    evaluation = S.Evaluation(y, y, 1.)
    batch, generator = dict(batch=2), dict(generator=g)
    schedule = A.AugmentSchedule(2)
    row = dict(seed=0, accuracy=.5)
    return {
        Y.correspondence_map: dict(fine_grid=4, coarse_grid=2),
        Y.TokenLayout: dict(image_size=32, patch_sizes=(4, 8)),
        T.sincos_position_embedding: dict(grid=2, dim=8),
        T.PatchEmbed: dict(patch_size=4, dim=8, in_chans=3),
        T.FactorizedPatchEmbed: dict(patch_size=4, dim=8, in_chans=3),
        T.MultiScaleTokenizer: dict(layout=layout, dim=8, in_chans=3, plain_scales=2,
                                    positions='sincos'),
        I.RegionalInteraction: dict(dim=8, n_mixed=2),
        M.Attention: dict(dim=8, heads=2, drop=0.), M.DropPath: dict(p=.1),
        M.Block: dict(dim=8, heads=2, mlp_ratio=2., drop_path=0., attn_drop=0.),
        M.ViT: dict(image_size=8, patch_sizes=(4,), in_chans=1, n_classes=2, dim=8, depth=1,
                    heads=2, mlp_ratio=2., drop_path=0., attn_drop=0., plain_scales=1,
                    positions='sincos'),
        M.DEMSViT: dict(image_size=16, patch_sizes=(4, 8), mix_before=(1,), n_mixed=(2,),
                        in_chans=1, n_classes=2, dim=8, depth=1, heads=2, mlp_ratio=2.,
                        drop_path=0.),
        M.create_model: dict(name='vit_nano', n_classes=2, in_chans=1, image_size=32, patch_size=4,
                             depth=1),
        M.build_model: dict(config=model.config), M.shape_ledger: dict(model=model, batch=1),
        M.count_cost: dict(model=model),
        W.write_atomic: dict(path=folder/'f', data=b'x'), W.digest: dict(tensors={}, notes={}),
        W.bare_model: dict(model=model),
        W.save_model: dict(model=model, path=folder/'n.safetensors', dtype=torch.float32,
                           classes=[str(i) for i in range(10)], picture='tensor'),
        W.read_safetensors: dict(path=folder/'m.safetensors'),
        W.load_model: dict(source=folder/'m.safetensors', heads=2, mix_before=(1, 2)),
        W.load_bundled: dict(name='dems_nano_fashionmnist'),
        W.start_from: dict(source=model, n_classes=10, image_size=32, drop_path=0., attn_drop=0.,
                           heads=2, mix_before=(1, 2), say=str, in_chans=1, patch_size=4,
                           classes=None),
        D.Images: dict(x=data.x, y=data.y, size=None), D.sample_images: dict(n=1, image_size=8),
        D.epoch_order: dict(n=3, seed=0, epoch=0),
        D.share_batches: dict(order=torch.arange(4), bs=2, drop_last=False, rank=0, world=1),
        D.DeviceDL: dict(dataset=data, bs=2, device='cpu', tfms=[], seed=0, rank=0, world=1,
                         keep='auto', vocab=None, rule=None, augment=None, get_idxs=None),
        D.random_flip: dict(x=x, generator=g), D.random_shift: dict(x=x, generator=g, by=1),
        D.Normalize: dict(in_chans=1), D.dataset_checksum: dict(data=data),
        D.get_dls: dict(dataset='sample', image_size=16, bs=10, device='cpu', n_train=20,
                        holdout=10, augment=[], seed=0, rank=0, world=1, keep='auto'),
        A.draw_coin: {**batch, **generator, 'p': .5},
        A.where_chosen: dict(x=x, chosen=some > 0, op=A.mirror), A.mirror: dict(x=x),
        A.draw_crop: {**batch, **generator, 'height': 8, 'width': 8, 'area': (.2, 1.),
                      'ratio': (.75, 1.5)},
        A.cubic: dict(t=some, a=-.5),
        A.resize_weights: dict(start=some, length=4*some, size_in=8, size_out=4),
        A.resized_crop: dict(x=x, box=torch.tensor([[0, 0, 4, 4]]*2), size=4),
        A.grey_of: dict(x=x), A.blend: dict(x=x, duller=0., factor=some),
        A.brightness: dict(x=x, factor=some), A.contrast: dict(x=x, factor=some),
        A.saturation: dict(x=x, factor=some), A.shift_hue: dict(x=x, shift=.1*some),
        A.color_jitter: dict(x=x, factors=torch.ones(2, 3), hue=.1*some,
                             order=torch.arange(4).expand(2, 4)),
        A.draw_jitter: {**batch, **generator, 'strength': (.4, .4, .2, .1)},
        A.grayscale: dict(x=x), A.solarize: dict(x=x, threshold=100),
        A.blur_weights: dict(sigma=some, size=8, reach=3), A.gaussian_blur: dict(x=x, sigma=some),
        A.AugmentSchedule: dict(epochs=2, p0=.6, mode='cosine', in_chans=3),
        A.draw_chosen: {**batch, **generator, 'p': torch.ones(3)},
        A.Augment: dict(size=8, schedule=schedule),
        A.soft_targets: dict(y=y, n_classes=2, smoothing=.1),
        A.combine: dict(x=x, target=torch.ones(2, 2), mask=torch.ones(1, 1, 8, 8)),
        A.mixup_mask: dict(share=torch.ones(1)),
        A.cutmix_mask: dict(share=torch.ones(1), place=.5*some, height=8, width=8),
        A.draw_share: {**generator, 'alpha': .5},
        A.MixupCutmix: dict(n_classes=2, mixup=.8, cutmix=1., smoothing=.1),
        L.Recipe: {f: getattr(recipe, f) for f in L.Recipe.__dataclass_fields__},
        L.lr_schedule: dict(epochs=4, warmup=1, peak=1e-3, floor=1e-6), L.EpochLR: dict(lrs=[.1]),
        L.SeedStep: dict(seed=0),
        L.MixupCutmixBatch: dict(operation=A.MixupCutmix(2), seed=0),
        L.chosen_precision: dict(recipe=recipe, device='cpu'),
        L.Autocast: dict(dtype=torch.bfloat16), L.parameter_groups: dict(model=model),
        L.recipe_dls: dict(recipe=recipe, device='cpu', root=None),
        L.recipe_callbacks: dict(recipe=paper, dls=dls),
        L.make_learner: dict(recipe=recipe, dls=dls, model=None, path=folder, device='cpu', cbs=()),
        L.fit_recipe: dict(learn=learn, recipe=recipe, bar=False),
        L.evaluate: dict(model=model, dls=dls, drop_last=0),
        V.show_scales: dict(img=img, layout=layout),
        V.show_correspondence: dict(img=img, layout=layout, position=3),
        V.show_sequence: dict(layout=layout, model=model), V.mixing_weights: dict(model=model, x=z),
        V.show_mixing: dict(model=model, img=img, which=0, region=0, x=z),
        V.attention_weights: dict(model=model, x=z),
        V.provenance: dict(model=model, img=img, blocks=1, attention=True, residual=.5, x=z),
        V.show_provenance: dict(model=model, img=img, token=0, blocks=1, x=z),
        F.show_schedule: dict(img=img, recipe=paper, epochs=[0], n=2, seed=0),
        F.show_predictions: dict(model=model, images=data.x[:2], target=data.y[:2],
                                 classes=D.fashion_classes, n=2),
        F.show_history: dict(histories=dict(a=[(1., 1., .5)])),
        F.show_confusion: dict(evaluation=evaluation, classes=['a', 'b']),
        S.wilson: dict(right=1, n=2, z=1.96), S.Evaluation: dict(predicted=y, target=y, loss=1.),
        S.recipe_hash: dict(recipe={}), S.check_row: dict(row=entry, name='the row'),
        S.read_row: dict(path=folder/'row.json'), S.read_ledger: dict(folder=folder/'none',
                                                                          study='x'),
        S.enter_run: dict(run=folder/'run', ledger=folder/'ledger', study='x', stage='pretrain',
                          checksum='0'*64),
        S.frame: dict(rows=[]), S.mean_interval: dict(values=[1., 2.]),
        S.paired: dict(a=[row], b=[row]), S.say_difference: dict(mean=1., half=1., seeds=2),
        S.paper_table: dict(rows=[]), S.percentages: dict(text='1.5 %'),
        P.cache_folder: dict(**photos, cache=None), P.has_image_folders: photos,
        P.look_at_folder: dict(**photos, valid_pct=.5, split_seed=0, cache=None),
        P.folder_channels: dict(listed=listed), P.describe_folder: dict(listed=listed),
        P.to_canvas: dict(im=picture, side=8),
        P.read_folder: dict(**photos, record=None, image_size=8, crop=False, train=True, canvas=8,
                            on_broken='error', cache=None, workers=1, in_chans=1, fit='whole',
                            valid_pct=.5, split_seed=0, check=False),
        C.Classifier: dict(model=model, classes=None, picture='tensor', device='cpu'),
        C.load_classifier: dict(source=folder/'m.safetensors', device='cpu', classes=None,
                                picture='tensor')}

def from_deep_inside(error, name, value):
    "Is an error not the kit's own, or without the argument's name and value?"
    own = 'dems_nb' in Path(traceback.extract_tb(error.__traceback__)[-1].filename).parts
    text = str(error)
    return not own or not (re.search(rf'\b{name}\b', text) or repr(value) in text)

def calls(folder):
    "Every call with one wrong argument: (function, the other arguments, name, value)."
    for f, arguments in right(folder).items():
        for name, value in itertools.product(arguments, wrong): yield f, arguments, name, value

def try_call(f, arguments, name, value):
    "What comes of a call: 'taken', 'refused', or the error from deep inside."
    try:
        with contextlib.redirect_stdout(io.StringIO()): f(**{**arguments, name: value})
        shutil.rmtree('ledger', ignore_errors=True)
        return 'taken'
    except Exception as e: return e if from_deep_inside(e, name, value) else 'refused'
    finally: plt.close('all')

def count(part=None, seed=0):
    "How calls end, of all or of a random part: Counter, and [(function's name, argument, error)]."
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter('ignore')
        old, home = os.getcwd(), Path(folder)
        os.chdir(folder)
        try:
            every = list(calls(home))
            if part: every = random.Random(seed).sample(every, part)
            ends, deep = Counter(), []
            for f, arguments, name, value in every:
                end = try_call(f, arguments, name, value)
                ends[end if isinstance(end, str) else 'deep'] += 1
                if not isinstance(end, str): deep.append((f.__name__, name, value, end))
        finally: os.chdir(old)
    return ends, deep

def test_a_wrong_argument_is_refused_by_name():
    "A random part of all calls; of the whole, a twentieth comes from deep inside."
    ends, deep = count(part=250)
    assert ends['deep'] <= 25, [(f, name, value, repr(e)[:80]) for f, name, value, e in deep[:9]]
    assert ends['refused'] >= 150

def test_the_count_notices():
    "The same calls of a function whose errors nobody names."
    named = T.sincos_position_embedding
    ends = [try_call(f, dict(grid=2, dim=8), 'grid', v)
            for f in (named.__wrapped__, named) for v in ('x', -1, [], object())]
    assert all(isinstance(e, Exception) for e in ends[:4]) and ends[4:] == ['refused']*4

def test_an_error_of_the_callers_own_is_left_as_it_is():
    def op(x): raise RuntimeError('boom')
    with pytest.raises(RuntimeError, match='^boom$'):
        A.where_chosen(torch.rand(2, 3, 8, 8), torch.ones(2) > 0, op)

def test_the_cause_is_kept_and_a_name_is_said_once():
    with pytest.raises(ValueError, match="^layout is 'x': give a TokenLayout$") as e:
        V.show_scales(torch.rand(1, 32, 32), 'x')
    assert isinstance(e.value.__cause__, AttributeError)
    with pytest.raises(ValueError, match=r'^grid is -1: give a whole number of at least 0$'):
        T.sincos_position_embedding(-1, 8)

def test_signatures_and_docments_are_those_of_the_function():
    import inspect
    from fastcore.docments import docments
    assert list(inspect.signature(A.resized_crop).parameters) == ['x', 'box', 'size']
    assert docments(A.resized_crop)['size'] == 'side of the result, pixels'
    assert docments(A.Augment)['size'] == 'side of the result, pixels'

if __name__ == '__main__':
    ends, deep = count()
    by = Counter((f, name) for f, name, _, _ in deep)
    for (f, name), n in by.most_common():
        first = next(e for g, a, _, e in deep if (g, a) == (f, name))
        print(f'{n:3} {f}({name}=): {type(first).__name__}: {str(first)[:90]!r}')
    print(f'{sum(ends.values()):,} calls: {ends["taken"]:,} taken, {ends["refused"]:,} refused by '
          f'name, {ends["deep"]:,} from deep inside')
