"The Learner: the recipe's numbers, real mixed precision, repeatable runs, whole evaluation."
import itertools, json, math, numpy as np, pytest, torch
from contextlib import nullcontext
from dataclasses import replace
from dems_nb import data as D, learner as L, run as R
from dems_nb.model import DEMSViT, create_model
from dems_nb.results import Evaluation
from dems_nb.weights import load_model, read_safetensors, start_from
from torch import nn

# 21 tokens in place of 85
tiny = dict(n_train=320, epochs=2, bs=32, patch_size=8, precision='fp32')
def grey_nano(**kw): return create_model('dems_nano', **dict(in_chans=1, patch_size=8) | kw)

def test_lr_of_the_paper():
    lrs = L.lr_schedule(800, 10, 5e-4)
    assert len(lrs) == 800 and lrs[0] == 1e-6 and lrs[9] == 5e-4 and lrs[10] == 5e-4
    assert lrs[4] == pytest.approx(1e-6 + 4/9*(5e-4 - 1e-6), rel=1e-12)
    for j in (1, 395, 789):
        assert lrs[10 + j] == pytest.approx(1e-6 + (5e-4 - 1e-6)/2*(1 + math.cos(math.pi*j/790)),
                                            rel=1e-12)
    assert L.lr_schedule(100, 0, 1e-3)[50] == pytest.approx(1e-6 + (1e-3 - 1e-6)/2, rel=1e-12)
    with pytest.raises(ValueError, match='warmup is 10 of 5 epochs'): L.lr_schedule(5, 10, 1e-3)

def test_the_learner_really_uses_it():
    seen = []
    class Spy(R.Callback):
        def before_batch(self): seen.append((self.training, self.epoch, self.opt.hypers[-1]['lr']))
    r = L.Recipe(**{**tiny, 'epochs': 4}, schedule='paper', warmup=2, lr=1e-3)
    R.train(r, cbs=[Spy()], bar=False)
    per_epoch = {e: {lr for tr, ep, lr in seen if tr and ep == e} for e in range(4)}
    assert [per_epoch[e] for e in range(4)] == [{lr} for lr in L.lr_schedule(4, 2, 1e-3)]

def test_adamw_decays_every_parameter_and_steps_like_torch():
    learn = L.make_learner(L.Recipe(**tiny, wd=.05, schedule='paper'))
    learn.create_opt()
    groups = learn.opt.opt.param_groups
    assert {id(p) for g in groups for p in g['params']} == {id(p) for p in learn.model.parameters()}
    for g in groups:
        assert (g['betas'], g['eps'], g['weight_decay']) == ((.9, .999), 1e-8,
                                                             .05) and isinstance(learn.opt.opt,
                                                                                 torch.optim.AdamW)
    learn.opt.set_hypers(lr=.1, wd=.05)
    for p in learn.model.parameters(): p.grad = torch.zeros_like(p)
    before = {n: p.detach().clone() for n, p in learn.model.named_parameters()}
    learn.opt.step()
    # decay alone, norms and biases too
    for n, p in learn.model.named_parameters():
        torch.testing.assert_close(p.detach(), before[n]*(1 - .1*.05))

@pytest.mark.parametrize('schedule', ['paper', 'one_cycle'])
def test_weight_decay_survives_the_fit(schedule):
    seen = []
    class Spy(R.Callback):
        def after_step(self): seen.append({g['weight_decay'] for g in self.opt.opt.param_groups})
    R.train(L.Recipe(**{**tiny, 'epochs': 1}, schedule=schedule), cbs=[Spy()], bar=False)
    assert seen and all(s == {.05} for s in seen)

def test_bf16_is_real_on_a_cpu():
    kinds, preds = [], []
    class Spy(R.Callback):
        order = 30
        def after_pred(self): preds.append(self.pred.dtype)
    model = grey_nano()
    model.blocks[0].mlp[0].register_forward_hook(lambda m, i, o: kinds.append(o.dtype))
    for precision, want in (('bf16', torch.bfloat16), ('fp32', torch.float32)):
        kinds.clear()
        learn = L.make_learner(L.Recipe(**{**tiny, 'epochs': 1, 'precision': precision}),
                               model=model, device='cpu', cbs=[Spy()])
        with learn.no_bar(): learn.fit(1)
        assert set(kinds) == {want} and set(preds) == {torch.float32}
        assert all(p.dtype == torch.float32 for p in model.parameters())
    assert not torch.is_autocast_enabled('cpu')

def test_autocast_closes_after_an_error():
    class Boom(R.Callback):
        order = 20
        def before_batch(self): raise RuntimeError('boom')
    learn = L.make_learner(L.Recipe(**{**tiny, 'precision': 'bf16'}), device='cpu', cbs=[Boom()])
    with learn.no_bar(), pytest.raises(RuntimeError, match='boom'): learn.fit(1)
    assert not torch.is_autocast_enabled('cpu') and torch.backends.cuda.flash_sdp_enabled()

def test_same_seed_same_run_other_seed_another():
    runs = [R.train(L.Recipe(**tiny, seed=s), bar=False, device='cpu') for s in (1, 1, 2)]
    flat = [torch.cat([p.detach().flatten() for p in r.model.parameters()]) for r in runs]
    assert torch.equal(flat[0], flat[1]) and not torch.equal(flat[0], flat[2])

def test_it_learns():
    recipe = L.Recipe(n_train=2000, epochs=3, bs=32, flip=False, shift=0, patch_size=8)
    learn = R.train(recipe, bar=False)
    # chance is .10; a model that does not learn stays there
    assert learn.evaluation.accuracy > .35, learn.evaluation
    assert learn.recorder.values[-1][0] < learn.recorder.values[0][0]

def test_run_folder(tmp_path):
    r = L.Recipe(**tiny)
    learn = R.train(r, tmp_path/'run', bar=False)
    assert sorted(p.name for p in (tmp_path/'run').iterdir()
                  if p.name[0] != '.') == ['checkpoint.safetensors', 'dems_run.json',
                                           'environment.json', 'history.csv', 'log.txt',
                                           'model.safetensors', 'recipe.json', 'result.json']
    assert L.Recipe.from_json((tmp_path/'run/recipe.json').read_text()) == r
    res = json.loads((tmp_path/'run/result.json').read_text())
    assert (res['accuracy'] == learn.evaluation.accuracy and res['data']['n_scored'] == 1000
            and res['data']['n_train'] == 320 and res['scored_on'] == 'test'
            and res['images_seen'] == 640 and res['recipe']['seed'] == 0)
    again = load_model(tmp_path/'run/model.safetensors')
    assert L.evaluate(again, learn.dls).accuracy == learn.evaluation.accuracy
    assert L.Recipe.from_json(read_safetensors(tmp_path/'run/model.safetensors')[1]['recipe']) == r
    assert len((tmp_path/'run/history.csv').read_text().splitlines()) == 3

def test_evaluate_scores_every_image_once():
    dls, model = D.get_dls('sample', bs=77,
                           device='cpu'), create_model('vit_nano', in_chans=1).eval()
    e = L.evaluate(model, dls)
    with torch.no_grad(): want = model(D.Normalize(1)(dls.valid.dataset.x))
    assert e.n == 1000 and torch.equal(e.target,
                                       dls.valid.dataset.y) and torch.equal(e.predicted,
                                                                            want.argmax(1))
    assert e.accuracy == pytest.approx((want.argmax(1)
                                        == dls.valid.dataset.y).float().mean().item())
    assert (e.loss == pytest.approx(
        torch.nn.functional.cross_entropy(want, dls.valid.dataset.y).item(), rel=1e-4))

def test_wilson_interval():
    y = torch.zeros(1000, dtype=torch.long); p = y.clone(); p[:200] = 1
    low, high = Evaluation(p, y, 0.).interval
    # 800 of 1,000, from the formula worked by hand
    assert (round(low, 4), round(high, 4)) == (.7741, .8236)

def test_fine_tuning_starts_from_the_given_model():
    model = grey_nano()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    learn = L.make_learner(L.Recipe(**tiny), model=model, device='cpu')
    assert learn.model is model and all(torch.equal(v, before[k])
                                        for k, v in model.state_dict().items())

@pytest.mark.parametrize('said, kw',
                         [('epochs is 0', dict(epochs=0)), ('bs is 0', dict(bs=0)),
                          ('lr is -1', dict(lr=-1)), ("schedule is 'x'", dict(schedule='x')),
    ('warmup is 12 of 12 epochs', dict(warmup=12)), ("precision is 'fp8'", dict(precision='fp8')),
                          ('drop_path is 1', dict(drop_path=1)),
                          ('attn_drop is -0.1', dict(attn_drop=-.1)),
    ('label_smoothing is 2', dict(label_smoothing=2))])
def test_impossible_recipes(said, kw):
    with pytest.raises(ValueError) as e: L.Recipe(**kw)
    assert said in str(e.value)

def test_other_bad_input():
    with pytest.raises(ValueError, match='unknown recipe field lrate: the known ones are ema, '):
        L.Recipe.from_json('{"lrate": 1}')
    with pytest.raises(ValueError, match='tells 7 classes apart and sample has 10'):
        L.make_learner(L.Recipe(), model=create_model('dems_nano', 7, 1))
    with pytest.raises(ValueError, match='does not fit this model, which takes'):
        L.evaluate(create_model('dems_nano', in_chans=3), D.get_dls('sample', device='cpu'))

@pytest.mark.parametrize('said, kw',
                         [('betas is (0.9,)', dict(betas=(.9,))),
                          ('cutmix is 0.0: give both', dict(mixup=.8)),
                          ('mixup is 2', dict(mixup=2, cutmix=1)), ('p0 is 1.5', dict(p0=1.5)),
    ("augment is 'strong'", dict(augment='strong')),
                          ("augment_schedule is 'linear'", dict(augment_schedule='linear'))])
def test_impossible_recipes_of_the_paper(said, kw):
    with pytest.raises(ValueError) as e: L.Recipe(**kw)
    assert said in str(e.value)

def test_the_paper_s_recipes():
    "Every number of the recipe's table, for both sizes."
    for size, p0 in (('tiny', .6), ('small', .8)):
        r = L.Recipe.pretrain(f'dems_{size}', 'cifar100')
        assert (r.epochs, r.bs, r.lr, r.warmup, r.min_lr, r.wd, r.betas,
                r.eps) == (800, 256, 5e-4, 10, 1e-6, .05, (.9, .999), 1e-8)
        assert (r.drop_path, r.attn_drop, r.mixup, r.cutmix, r.label_smoothing, r.schedule,
                r.augment, r.augment_schedule, r.p0) == (.15, .05, .8, 1., .1, 'paper', 'paper',
                                                         'cosine', p0)
        f = L.Recipe.finetune(f'dems_{size}', 'cifar100')
        assert (f.epochs, f.bs, f.lr, f.warmup, f.drop_path, f.attn_drop, f.mixup, f.cutmix,
                f.label_smoothing) == (100, 256, 1e-3, 0, .2, 0, .8, 1., .1)
        assert (f.augment, f.flip, f.shift, r.image_size,
                r.patch_size) == ('light', False, 0, 32, None)
    assert L.Recipe.pretrain(bs=1024).lr == 4*5e-4 and L.Recipe.pretrain(
        epochs=30).warmup == 3 and L.Recipe.pretrain(epochs=1).warmup == 0

def test_the_drop_rates_arrive():
    learn = L.make_learner(L.Recipe.pretrain('dems_nano', 'sample', epochs=1), device='cpu')
    assert (learn.model.config['drop_path'], learn.model.config['attn_drop']) == (.15, .05)

def test_mixed_batches_reach_the_loss():
    seen = []
    class Spy(R.Callback):
        order = 5
        def before_batch(self):
            if self.training: seen.append((self.y.clone(), self.x.shape))
    learn = R.train(L.Recipe(**{**tiny, 'epochs': 1}, mixup=.8, cutmix=1., label_smoothing=.1),
                    cbs=[Spy()], bar=False, device='cpu')
    for y, shape in seen:
        assert y.shape == (32, 10) and y.is_floating_point() and shape == (32, 1, 32, 32)
        torch.testing.assert_close(y.sum(1), torch.ones(32)); assert (y >= .01 - 1e-6).all()
    # another share each batch
    assert len({round(y.amax(1).mean().item(), 4) for y, _ in seen}) == len(seen) == 10
    assert learn.evaluation.n == 1000

def test_augmentation_advances_through_the_real_loader():
    "The samples of epoch k: most are solarised at the start, none at the end."
    r = L.Recipe(dataset='sample', n_train=1000, bs=250, epochs=6, augment='paper', p0=.9,
                 precision='fp32', schedule='paper')
    for mode, want in (('cosine', lambda e: .9*(1 + math.cos(math.pi*e/6))/2),
                       ('frozen', lambda e: .9)):
        seen = {}
        class Spy(R.Callback):
            order = 5
            def before_batch(self):
                if self.training:
                    seen.setdefault(self.epoch,
                                    []).append((self.x.amax((1, 2, 3)) <= 0).float().mean().item())
        learn = L.make_learner(replace(r, augment_schedule=mode), device='cpu', cbs=[Spy()])
        # only the data matters here
        learn.model.forward = lambda x: learn.model.head.bias.expand(len(x), 10)
        with learn.no_bar(), learn.no_logging(): learn.fit(6)
        # 1,000 draws: 8 standard deviations
        for e in range(6): assert abs(sum(seen[e])/4 - want(e)) < .12, (mode, e, seen[e])

def test_evaluate_as_the_released_code_does():
    dls, model = D.get_dls('sample', bs=77,
                           device='cpu'), create_model('vit_nano', in_chans=1).eval()
    e, whole = L.evaluate(model, dls, drop_last=256), L.evaluate(model, dls)
    assert e.n == 768 and torch.equal(e.predicted, whole.predicted[:768])
    with pytest.raises(ValueError, match='drop_last is 1001 and there are 1000 images'):
        L.evaluate(model, dls, drop_last=1001)

def test_best_is_labelled_and_last_is_the_headline(tmp_path):
    learn = R.train(L.Recipe(**{**tiny, 'epochs': 4, 'lr': .02}), tmp_path, bar=False)
    res, rows = json.loads((tmp_path/'result.json').read_text()), learn.rows
    assert res['accuracy'] == pytest.approx(rows[-1]['accuracy'],
                                            abs=.005) and res['best']['accuracy'] == max(
                                                r['accuracy'] for r in rows)
    assert 'chosen by the very score' in res['best']['note']

few = dict(tiny, n_train=60, holdout=20, bs=6, precision='fp16')     # a CPU emulates float16

def test_float16_scales_its_gradients():
    seen = []
    class Spy(R.Callback):
        order = 30
        def before_backward(self): seen.append((self.loss_grad/self.loss).item())
    learn = R.train(L.Recipe(**few), cbs=[Spy()], bar=False, device='cpu')
    assert len(seen) == 20 and all(s > 1 for s in seen) and learn.autocast.scaler.get_scale() > 1
    fresh = L.make_learner(L.Recipe(**few), device='cpu').model
    before, after = (torch.cat([p.detach().flatten() for p in m.parameters()])
                     for m in (fresh, learn.model))
    assert not torch.equal(before, after)

def test_float16_skips_a_step_that_overflows():
    class Huge(R.Callback):
        order = 30
        def before_backward(self):
            if self.iter == 3: self.learn.loss_grad = self.loss_grad*float('inf')
    learn = R.train(L.Recipe(**few | dict(epochs=1)), cbs=[Huge()], bar=False, device='cpu')
    assert all(p.isfinite().all() for p in learn.model.parameters())
    assert next(iter(learn.opt.opt.state.values()))['step'] == 9  # of 10

def test_a_cancelled_batch_closes_autocast():
    from fastai.callback.core import CancelBatchException
    class Skip(R.Callback):
        order = 20
        def before_batch(self):
            if self.training: raise CancelBatchException
    learn = L.make_learner(L.Recipe(**{**tiny, 'precision': 'bf16'}), device='cpu', cbs=[Skip()])
    try:
        with learn.no_bar(), learn.no_logging(): learn.fit(1)
    except Exception: pass  # no batch, no loss: the Recorder minds
    assert not torch.is_autocast_enabled('cpu')

def test_compiling_leaves_the_names_and_the_numbers(monkeypatch):
    calls = []
    real = torch.nn.Module.compile
    def counted(self, *a, **k): calls.append(1); return real(self, backend='eager', fullgraph=True)
    monkeypatch.setattr(torch.nn.Module, 'compile', counted)
    a, b = (R.train(L.Recipe(**tiny, compile=c), bar=False, device='cpu') for c in (False, True))
    assert calls == [1] and list(a.model.state_dict()) == list(
        b.model.state_dict()) and b.model._compiled_call_impl is None
    for k, v in a.model.state_dict().items():
        torch.testing.assert_close(v, b.model.state_dict()[k], atol=1e-5, rtol=1e-4)

def test_compiling_takes_the_augmentation_along(monkeypatch):
    made, real = [], torch.compile
    def counted(f, **k): made.append(f.__self__); return real(f, **{**k, 'backend': 'eager'})
    paper = {**tiny, 'augment': 'paper', 'flip': False, 'shift': 0}
    a = R.train(L.Recipe(**paper), bar=False, device='cpu')
    monkeypatch.setattr(torch, 'compile', counted)
    b = R.train(L.Recipe(**paper, compile=True), bar=False, device='cpu')
    [augment] = b.dls.train.tfms
    # once, and only while it trains
    assert made == [b.model, augment] and 'apply' not in vars(augment)
    for k, v in a.model.state_dict().items():
        torch.testing.assert_close(v, b.model.state_dict()[k], atol=1e-5, rtol=1e-3)

def test_a_loss_of_nan_stops_the_run():
    class Nan(R.Callback):
        order = 30
        def after_pred(self): self.learn.pred = self.pred*float('nan')
    with pytest.raises(FloatingPointError, match='not finite in epoch 1: give a lower lr than'):
        R.train(L.Recipe(**tiny), cbs=[Nan()], bar=False, device='cpu')

def test_no_random_state_is_left_to_chance():
    "Two runs in one process, with other draws between them, are equal."
    r = L.Recipe(**tiny, drop_path=.3, attn_drop=.2, mixup=.8, cutmix=1., augment='paper')
    class Draw(R.Callback):
        order = -20
        def before_batch(self): torch.rand(3)
    a, b = R.train(r, bar=False, device='cpu'), R.train(r, bar=False, device='cpu', cbs=[Draw()])
    assert all(torch.equal(x, y) for x, y in zip(a.model.parameters(), b.model.parameters()))

def test_start_from(tmp_path):
    from dems_nb.weights import save_model
    m = create_model('dems_nano', 7, 1)
    save_model(m, tmp_path/'model.safetensors')
    said = []
    same = start_from(tmp_path, 7, 32, drop_path=.2, attn_drop=.1, say=said.append)
    assert not said and same.training and same.config['drop_path'] == .2 and all(
        torch.equal(v, same.state_dict()[k]) for k, v in m.state_dict().items())
    other = start_from(tmp_path/'model.safetensors', 10, say=said.append)
    assert 'tells 7 classes apart and the data has 10' in said[0] and other.head.weight.shape == (
        10, 64)
    assert torch.equal(other.blocks[0].attn.qkv.weight, m.blocks[0].attn.qkv.weight)
    assert start_from(tmp_path, 7, 64,
                      say=said.append).config['image_size'] == 64 and '64' in said[-1]
    with pytest.raises(FileNotFoundError): start_from(tmp_path/'none.safetensors', 7)

def test_fine_tuning_from_a_released_checkpoint(tmp_path, released):
    sd, config = released
    torch.save({'model': {f'module.{k}': v for k, v in sd.items()}, 'epoch': 3},
               tmp_path/'ckpt.pth')
    m = start_from(tmp_path/'ckpt.pth', 10, heads=config['heads'], mix_before=config['merge_layer'],
                   say=lambda s: None)
    assert torch.equal(m.cls_token, sd['cls_token'])

def test_train_from_pretrained_says_so(tmp_path, capsys):
    R.train(L.Recipe(**tiny), tmp_path/'a', bar=False, device='cpu')
    R.train(L.Recipe(**tiny), tmp_path/'b', pretrained=tmp_path/'a', bar=False, device='cpu')
    res = json.loads((tmp_path/'b/result.json').read_text())
    assert res['pretrained']['name'] == 'model.safetensors' and len(
        res['pretrained']['sha256']) == 64 and res['given'] == []
    with pytest.raises(ValueError, match='both a model and pretrained'):
        R.train(L.Recipe(**tiny), model=grey_nano(),
                pretrained=tmp_path/'a')

def test_what_was_given_is_recorded(tmp_path):
    dls = D.get_dls('sample', device='cpu', n_train=320, bs=32)
    R.train(L.Recipe(**tiny), tmp_path, dls=dls, model=grey_nano(),
            bar=False)
    res = json.loads((tmp_path/'result.json').read_text())
    assert res['given'] == ['dls', 'model'] and res['scored_on'] == 'given data'

def test_a_model_for_other_pictures_is_refused_before_anything_is_written(tmp_path):
    for kw, said in ((dict(in_chans=3), r"of \(3, 32, 32\) and sample gives \(1, 32, 32\)"),
                     (dict(in_chans=1, image_size=64), r'\(1, 64, 64\)')):
        with pytest.raises(ValueError, match=said):
            R.train(L.Recipe(**tiny), tmp_path/'x', model=grey_nano(**kw),
                    bar=False, device='cpu')
    assert not (tmp_path/'x').exists()

@pytest.mark.cuda
def test_trains_on_cuda():
    learn = R.train(L.Recipe(**{**tiny, 'precision': 'auto'}), bar=False, device='cuda')
    assert next(learn.model.parameters()).is_cuda and learn.evaluation.n == 1000

# ---- fastai's own API: a test for each line of the chapter's table

small = L.Recipe(n_train=40, holdout=20, bs=10, epochs=2, patch_size=8, precision='fp32')

@pytest.fixture(scope='module')
def at(tmp_path_factory): return tmp_path_factory.mktemp('api')

@pytest.fixture(scope='module', params=['make_learner', 'train'])
def learn(request, at):
    "A Learner of either kind, quiet."
    import matplotlib
    matplotlib.use('Agg')
    if request.param == 'make_learner': made = L.make_learner(small, device='cpu')
    else: made = R.train(replace(small, epochs=1), at/'run', bar=False, device='cpu')
    made.path = at
    with made.no_bar(), made.no_logging(): yield made

@pytest.fixture(scope='module')
def picture(at):
    from PIL import Image
    pixels = D.sample_images(1).x[0, 0].numpy()
    Image.fromarray(pixels).save(at/'a.png')
    return at/'a.png'

def weights(learn): return torch.cat([p.detach().flatten() for p in learn.model.parameters()])

def rates_of(learn): return [g['lr'] for g in learn.opt.opt.param_groups]

def axes_of(show):
    import matplotlib.pyplot as plt
    plt.close('all')
    show()
    drawn = [ax for n in plt.get_fignums() for ax in plt.figure(n).axes if ax.images or ax.lines]
    plt.close('all')
    return drawn

def test_pictures_are_shown(learn):
    shown = axes_of(lambda: learn.dls.show_batch(max_n=4))
    assert len(shown) == 4 and all(ax.get_title() in learn.dls.vocab for ax in shown)
    results = axes_of(lambda: learn.show_results(max_n=4))
    assert len(results) == 4 and all(len(ax.get_title().splitlines()) == 2 for ax in results)

def test_predict_takes_what_a_picture_may_be(learn, picture):
    from PIL import Image
    image = Image.open(picture)
    array = torch.from_numpy(np.array(image))
    answers = [learn.predict(x) for x in (picture, str(picture), image, array.numpy(), array[None])]
    name, number, probabilities = answers[0]
    assert name == learn.dls.vocab[number] and probabilities.sum() == pytest.approx(1, abs=1e-5)
    for a in answers: torch.testing.assert_close(a[2], probabilities)
    logits = learn.model.eval()(D.Normalize(1)(array[None, None]))
    torch.testing.assert_close(probabilities, logits.softmax(1)[0].detach())

def test_predictions_come_in_order(learn, picture):
    p, y = learn.get_preds()
    assert torch.equal(y, learn.dls.valid.dataset.y)
    loss, right = learn.validate()
    assert right == pytest.approx((p.argmax(1) == y).float().mean().item())
    assert loss == pytest.approx(-p.gather(1, y[:, None]).log().mean().item(), rel=1e-4)
    new, none = learn.get_preds(dl=learn.dls.test_dl([picture]*3))
    assert none is None and new.shape == (3, 10)
    torch.testing.assert_close(new, learn.predict(picture)[2].expand(3, -1))

def test_interpretation(learn, capsys):
    from fastai.interpret import ClassificationInterpretation
    seen = ClassificationInterpretation.from_learner(learn)
    p, y = learn.get_preds()
    table = seen.confusion_matrix()
    assert table.sum() == 20 and table.trace() == (p.argmax(1) == y).sum()
    wrong = [(a, b) for a, b, n in seen.most_confused()]
    assert all(a != b and a in learn.dls.vocab for a, b in wrong) and wrong
    assert axes_of(seen.plot_confusion_matrix)
    assert len(axes_of(lambda: seen.plot_top_losses(3))) == 3
    seen.print_classification_report()
    assert 'Ankle boot' in capsys.readouterr().out

def test_test_time_augmentation_draws_anew(learn):
    p, y = learn.tta(n=3, beta=0)
    q, _ = learn.get_preds()
    assert torch.equal(y, learn.dls.valid.dataset.y) and not torch.allclose(p, q, atol=1e-4)
    torch.testing.assert_close(learn.tta(n=3, beta=1)[0], q)

def test_lr_find_gives_the_weights_back(learn):
    before = weights(learn)
    found = learn.lr_find(num_it=6, show_plot=False)
    assert found.valley > 0 and torch.equal(weights(learn), before)

@pytest.mark.parametrize('name, given', [('fit', (1, 1e-4)), ('fit_one_cycle', (1, 1e-4)),
                                         ('fit_flat_cos', (1, 1e-4)), ('fit_sgdr', (1, 1, 1e-4))])
def test_every_fit_trains_at_its_rate(learn, name, given):
    before = weights(learn)
    getattr(learn, name)(*given)
    assert max(learn.recorder.lrs) <= 1.01e-4 and len(learn.recorder.lrs) == 4
    assert not torch.equal(before, weights(learn))

def test_frozen_parameters_stay(learn):
    matrix = learn.model.blocks[0].mlp[0].weight
    learn.freeze()
    frozen = matrix.detach().clone()
    head = learn.model.head.weight.detach().clone()
    learn.fit_one_cycle(1, 1e-3)
    assert torch.equal(frozen, matrix) and not torch.equal(head, learn.model.head.weight)
    learn.unfreeze()
    learn.fit_one_cycle(1, slice(1e-5, 1e-3))
    low, middle, high = rates_of(learn)
    assert low < middle < high and high/low == pytest.approx(100)
    assert not torch.equal(frozen, matrix)
    learn.fine_tune(1)
    assert matrix.requires_grad

def test_save_load_export(learn, at, picture):
    from fastai.learner import load_learner
    learn.save('m')
    before = weights(learn)
    learn.fit(1, 1e-3)
    learn.load('m', with_opt=True)
    assert torch.equal(weights(learn), before)
    learn.export(at/'m.pkl')
    again = load_learner(at/'m.pkl')
    with again.no_bar(): answer = again.predict(picture)
    torch.testing.assert_close(answer[2], learn.predict(picture)[2])

def test_precision_is_exchanged(learn):
    types = []
    hook = learn.model.blocks[0].mlp[0].register_forward_hook(
        lambda m, i, out: types.append(out.dtype) if m.training else None)
    for to in (learn.to_bf16, learn.to_fp16, learn.to_fp32): to().fit(1, 1e-4)
    hook.remove()
    assert types == [torch.bfloat16]*4 + [torch.float16]*4 + [torch.float32]*4
    assert learn.scaler is None

def test_accumulation_and_clipping(learn):
    from fastai.callback.training import GradientAccumulation, GradientClip
    steps = []
    class Spy(R.Callback):
        order = 30
        def before_step(self):
            steps.append(sum(p.grad.square().sum() for p in self.model.parameters()
                             if p.grad is not None).sqrt().item())
    learn.fit(1, 1e-4, cbs=[GradientAccumulation(20), Spy()])
    assert len(steps) == 2
    learn.fit(1, 1e-4, cbs=[GradientClip(1e-3), Spy()])
    assert len(steps) == 6 and steps[2:] == pytest.approx([1e-3]*4, rel=1e-3)

def test_trackers(learn, at):
    from fastai.callback.progress import CSVLogger
    from fastai.callback.tracker import (EarlyStoppingCallback, ReduceLROnPlateau,
                                         SaveModelCallback)
    kept = at/'models/best.pth'
    learn.fit(1, 1e-4, cbs=[SaveModelCallback(fname='best'), CSVLogger(at/'log.csv')])
    assert kept.exists() and len((at/'log.csv').read_text().splitlines()) == 2
    learn.fit(3, 1e-4, cbs=EarlyStoppingCallback(patience=1, min_delta=100.))
    assert len(learn.recorder.values) == 2
    learn.fit(3, 1e-4, cbs=ReduceLROnPlateau(patience=1, min_delta=100.))
    assert rates_of(learn) == pytest.approx([1e-6]*3)

def test_mixing_and_plots(learn):
    from fastai.callback.mixup import CutMix, MixUp
    from fastai.callback.progress import ShowGraphCallback
    mixed = []
    class Spy(R.Callback):
        order = 95
        def before_batch(self):
            if self.training: mixed.append(self.x.clone())
    for cb in (MixUp, CutMix):
        pure = len(mixed)
        learn.fit(1, 1e-4, cbs=[cb(), Spy()])
        assert len(mixed) == pure + 4
    assert axes_of(learn.recorder.plot_loss) and axes_of(learn.recorder.plot_sched)
    graphs = []
    class Bar:
        def update_graph(self, *given): graphs.append(given)
    class Progress(R.Callback):
        name = 'progress'
        mbar = Bar()
    learn.fit(2, 1e-4, cbs=[Progress(), ShowGraphCallback()])
    (_, losses), (at_steps, valid) = graphs[-1][0]
    assert len(losses) == 8 and at_steps == [4, 8] and len(valid) == 2

def test_tensorboard(learn, at):
    pytest.importorskip('tensorboard', reason='it is an extra')
    from fastai.callback.tensorboard import TensorBoardCallback
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    with pytest.raises(ValueError, match='give trace_model=False'):
        learn.fit(1, 1e-4, cbs=TensorBoardCallback())
    assert not any(isinstance(cb, TensorBoardCallback) for cb in learn.cbs)
    place = at/f'board{len(list(at.glob("board*")))}'
    learn.fit(1, 1e-4, cbs=TensorBoardCallback(log_dir=place, trace_model=False))
    tags = EventAccumulator(str(place)).Reload().Tags()
    assert {'train_loss', 'lr_0', 'wd_0', 'mom_0', 'valid_loss'} <= set(tags['scalars'])
    assert tags['images']

def test_weights_and_biases(learn, monkeypatch):
    "On a stand-in for the package, which would ask for an account."
    import sys, types
    logged, made = [], []
    fake = types.ModuleType('wandb')
    fake.run = types.SimpleNamespace(step=0, summary={})
    fake.config = types.SimpleNamespace(update=lambda values, **kw: made.append(values))
    fake.log = lambda values, step=None: logged.append(values)
    fake.Image = lambda x, **kw: 'picture'
    fake.Table = lambda **kw: 'table'
    monkeypatch.setitem(sys.modules, 'wandb', fake)
    monkeypatch.delitem(sys.modules, 'fastai.callback.wandb', raising=False)
    from fastai.callback.wandb import WandbCallback, _format_config
    try: _format_config({'batch size': 4})
    except TypeError as e: pytest.skip(f'this fastai raises for every Learner: {e}')
    learn.fit(1, 1e-4, cbs=WandbCallback(log_preds=False))
    assert made and sum('lr_0' in values for values in logged) == 4
    assert any('valid_loss' in values or 'accuracy' in values for values in logged)

def test_more_metrics(learn):
    from fastai.metrics import F1Score, accuracy, error_rate
    before = learn.metrics
    learn.metrics = [accuracy, error_rate, F1Score(average='macro')]
    learn.fit(1, 1e-4)
    assert len(learn.recorder.values[-1]) == 5
    learn.metrics = before

paper = replace(small, augment='paper', schedule='paper', p0=.8)

def test_the_paper_s_schedule_leaves_other_fits_alone():
    "The rate is the one that is given, and more epochs than the recipe has stay at its end."
    learn = L.make_learner(paper, device='cpu')
    with learn.no_bar(), learn.no_logging():
        learn.fit(1, lr=5e-5)
        assert set(learn.recorder.lrs) == {5e-5}
        learn.fit(3, lr=5e-5)
        assert len(learn.recorder.values) == 3
        last = learn.dls.train.tfms[0]
        assert last.p[0].item() == pytest.approx(last.schedule(1)[0])
        with pytest.raises(ValueError, match='2 learning rates: give one an epoch'):
            learn.fit(3, cbs=L.EpochLR([1e-3]*2))

def test_a_plain_learner_does_not_freeze_the_schedule():
    from fastai.learner import Learner
    dls = L.recipe_dls(replace(paper, epochs=4), 'cpu')
    seen = []
    class Spy(R.Callback):
        def before_batch(self):
            if self.training: seen.append(dls.train.tfms[0].p[0].item())
    learn = Learner(dls, create_model('dems_nano', in_chans=1), torch.nn.CrossEntropyLoss(),
                    cbs=[Spy()])
    with learn.no_bar(), learn.no_logging(): learn.fit(4, 1e-4)
    wanted = [.4*(1 + math.cos(math.pi*e/4)) for e in range(4)]
    assert seen[::4] == pytest.approx(wanted, abs=1e-6) and len(seen) == 16

def test_the_table_names_what_is_tested():
    "Each call of the table in the chapter stands in a test here."
    from pathlib import Path
    here = Path(__file__).read_text(encoding='utf-8')
    nb = Path(__file__).parent.parent/'nbs/07_learner.ipynb'
    cells = json.loads(nb.read_text(encoding='utf-8'))['cells']
    [table] = [''.join(c['source']) for c in cells
               if ''.join(c['source']).startswith('### It is a fastai Learner')]
    import re
    first = [row.split('|')[1] for row in table.splitlines() if row.startswith('| `')]
    names = {re.match(r'\w+', name.split('.')[-1]).group() for row in first
             for name in re.findall(r'`([\w.]+)', row)}
    assert len(names) > 30
    untested = sorted(n for n in names - {'EMACallback', 'ProgressCallback'} if f'{n}' not in here)
    assert not untested, untested
    import fastai.callback.all as known
    assert not hasattr(known, 'EMACallback'), 'fastai has it now: say so in the table'

# ---- the options of chapter 23

on = dict(ema=dict(ema=.9), grad_clip=dict(grad_clip=.1), accumulate=dict(accumulate=2),
          randaugment=dict(randaugment=9), erasing=dict(erasing=.5),
          crop_scale=dict(crop_scale=(.3, .6)), layer_decay=dict(layer_decay=.5),
          opt=dict(opt='muon'))

@pytest.fixture(scope='module')
def off(): return weights(R.train(small, bar=False, device='cpu'))

def test_every_option_is_tried(): assert set(on) == set(L.options)

class Stop(R.Callback):
    "Ask the run to stop in its second epoch, between two steps that accumulate."
    order = 0
    def before_batch(self):
        import os, signal
        if self.training and (self.epoch, self.iter) == (1, 2): os.kill(os.getpid(), signal.SIGINT)

@pytest.mark.parametrize('name', on)
def test_an_option_changes_the_run_and_is_resumed_to_the_bit(tmp_path, off, name):
    if name == 'opt' and not hasattr(torch.optim, 'Muon'): pytest.skip('this PyTorch has no Muon')
    r = replace(small, **on[name])
    whole = R.train(r, tmp_path/'whole', bar=False, device='cpu')
    assert not torch.equal(weights(whole), off)
    with pytest.raises(R.Interrupted):
        R.train(r, tmp_path/'cut', bar=False, device='cpu', cbs=[Stop()])
    again = R.train(r, tmp_path/'cut', bar=False, device='cpu', resume=True)
    assert torch.equal(weights(again), weights(whole))
    assert again.rows == whole.rows and L.Recipe.from_json(r.to_json()) == r
    with pytest.raises(ValueError, match=f'{name} was .* and is .off'):
        R.train(small, tmp_path/'cut', bar=False, device='cpu', resume=True)

def test_all_options_together_with_mixing_and_float16(tmp_path):
    if not hasattr(torch.optim, 'Muon'): pytest.skip('this PyTorch has no Muon')
    every = {k: v for d in on.values() for k, v in d.items()}
    r = replace(paper, precision='fp16', mixup=.8, cutmix=1., drop_path=.1, **every)
    whole = R.train(r, bar=False, device='cpu')
    with pytest.raises(R.Interrupted):
        R.train(r, tmp_path, bar=False, device='cpu', cbs=[Stop()])
    again = R.train(r, tmp_path, bar=False, device='cpu', resume=True)
    assert torch.equal(weights(again), weights(whole))
    row = json.loads((tmp_path/'result.json').read_text())
    assert row['recipe']['ema'] == .9 and row['recipe_hash'] == r.hash

def test_options_that_are_off_leave_no_trace():
    "The hash of a recipe is what it was before there were any."
    r = L.Recipe()
    assert r.hash == '6ba408cbc265' and L.Recipe.pretrain().hash == 'c332a55cd585'
    assert not set(L.options) & r.to_dict().keys() and 'ema' not in r.to_json()
    for values in on.values():
        changed = replace(r, **values)
        assert changed.hash != r.hash and values.items() <= changed.to_dict().items()
    assert len(r.to_dict()) == 28

@pytest.mark.parametrize('said, kw', [
    ('ema is 1.0: give a decay', dict(ema=1)), ('grad_clip is -1.0', dict(grad_clip=-1)),
    ('accumulate is 0: give 1 or more', dict(accumulate=0)),
    ('randaugment is 31: give a magnitude', dict(randaugment=31)),
    ('erasing is 1.0: give a probability', dict(erasing=1)),
    ('crop_scale is (0.5, 0.2): give the least', dict(crop_scale=(.5, .2))),
    ('crop_scale is 0.5: give a tuple', dict(crop_scale=.5)),
    ('layer_decay is 0.0: give a factor', dict(layer_decay=0)),
    ("opt is 'sgd': the known ones are adamw, muon", dict(opt='sgd'))])
def test_impossible_options(said, kw):
    with pytest.raises(ValueError) as e: L.Recipe(**kw)
    assert said in str(e.value)

def test_accumulated_batches_step_like_one():
    "Two batches of 10 and one of 20, of the same pictures: the same gradient, but for rounding."
    def gradients(**kw):
        seen = []
        class Keep(R.Callback):
            order = 20
            def before_step(self): seen.append([p.grad.clone() for p in self.model.parameters()])
        r = replace(small, flip=False, shift=0, **kw)
        learn = L.make_learner(r, device='cpu', cbs=[Keep()])
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 0.)
        return seen
    two, one = gradients(accumulate=2), gradients(bs=20)
    assert len(two) == len(one) == 2
    for a, b in zip(two, one):
        for x, y in zip(a, b): torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-3)
    assert len(gradients(accumulate=3)) == 2                     # the epoch's last takes the rest

def test_the_average_is_what_is_scored_and_handed_back():
    raw, scored = [], []
    class Spy(R.Callback):
        order = 65
        def after_batch(self):
            (raw if self.training else scored).append(weights(self))
    learn = R.train(replace(small, ema=.9), bar=False, device='cpu', cbs=[Spy()])
    average = weights(L.make_learner(small, device='cpu'))
    for n, w in enumerate(raw, 1): average = torch.lerp(w, average, min(.9, (1 + n)/(10 + n)))
    torch.testing.assert_close(weights(learn), average, atol=1e-6, rtol=1e-4)
    assert torch.equal(scored[-1], weights(learn)) and not torch.equal(scored[0], raw[3])
    assert not torch.equal(raw[4], scored[0])                    # training went on from the weights

def test_a_checkpoint_that_lacks_an_average_is_refused(tmp_path):
    r = replace(small, ema=.9)
    with pytest.raises(R.Interrupted): R.train(r, tmp_path, bar=False, device='cpu', cbs=[Stop()])
    tensors, notes = R.read_checkpoint(tmp_path/'checkpoint.safetensors')
    del tensors['ema.cls_token']
    R.write_checkpoint(tmp_path/'checkpoint.safetensors', tensors, notes)
    said = 'checkpoint.safetensors: the checkpoint lacks the averages of cls_token: go on with an'
    with pytest.raises(ValueError, match=said):
        R.train(r, tmp_path, bar=False, device='cpu', resume=True)

def test_averages_survive_a_search_for_a_rate_and_an_error():
    learn = L.make_learner(replace(small, ema=.9), device='cpu')
    with learn.no_bar(), learn.no_logging():
        before = weights(learn)
        learn.lr_find(num_it=4, show_plot=False)
        assert torch.equal(before, weights(learn))
        class Boom(R.Callback):
            def after_step(self): raise RuntimeError('boom')
        with pytest.raises(RuntimeError): learn.fit(1, cbs=Boom())
        assert learn.weight_ema.averages is None

def test_rates_fall_block_by_block():
    r = replace(small, layer_decay=.5, epochs=1, schedule='paper')
    learn = L.make_learner(r, device='cpu')
    L.fit_recipe(learn, r, bar=False)
    rates = [r.lr*.5**(7 - layer) for layer in range(8)]         # tokens, six blocks, head
    assert rates_of(learn) == pytest.approx(rates)
    groups = learn.opt.opt.param_groups
    second = {id(p) for p in learn.model.blocks[1].parameters()}
    mixing = {id(p) for p in learn.model.interactions[0].parameters()}
    assert second == {id(p) for p in groups[2]['params']}
    assert mixing < {id(p) for p in groups[3]['params']}         # with the third block, before it

def test_every_trained_parameter_is_in_a_group_once():
    "An interaction before the last block was in none, and so was what a subclass had added."
    class More(DEMSViT):
        def __init__(self, **kw):
            super().__init__(**kw)
            self.registers, self.gate = nn.Parameter(torch.zeros(1, 2, 8)), nn.Linear(8, 1)
    for model in (DEMSViT(dim=8, heads=2, depth=3, mix_before=(1, 3), n_mixed=(4, 2)),
                  More(dim=8, heads=2, depth=2, mix_before=(2,), n_mixed=(4,))):
        for by_block, apart in itertools.product((False, True), repeat=2):
            groups = L.parameter_groups(model, by_block, apart)
            found = [id(p) for g in groups for p in g]
            assert sorted(found) == sorted(id(p) for p in model.parameters())
        *_, last, head = [{id(p) for p in g} for g in L.parameter_groups(model, by_block=True)]
        assert {id(p) for p in model.interactions[-1].parameters()} < last
    assert {id(model.registers), id(model.gate.weight)} < head

def test_the_scores_loss_is_not_smoothed():
    "In training it is; what is reported of an epoch can be compared with the result, and others."
    learn = L.make_learner(replace(small, label_smoothing=.3), device='cpu')
    out, y = torch.randn(4, 10), torch.arange(4)
    want = [nn.functional.cross_entropy(out, y, label_smoothing=s) for s in (.3, 0.)]
    assert learn.loss_func(out, y) == want[0]
    with torch.no_grad(): assert learn.loss_func(out, y) == want[1]
    with learn.no_bar(), learn.no_logging(): loss = learn.validate()[0]
    assert loss == pytest.approx(L.evaluate(learn.model, learn.dls).loss, rel=1e-4)

def test_an_evaluation_leaves_each_part_in_its_mode():
    learn = L.make_learner(small, device='cpu')
    learn.model.train().blocks[0].eval()
    L.evaluate(learn.model, learn.dls)
    assert learn.model.training and learn.model.head.training
    assert not learn.model.blocks[0].training

def test_dropout_is_exact_if_the_model_has_some(monkeypatch):
    "The model's own rate counts, which may be another than the recipe's."
    from dems_nb import loop
    asked = []
    monkeypatch.setattr(loop, 'exact_dropout', lambda p: asked.append(p) or nullcontext())
    for model in (grey_nano(attn_drop=.05), grey_nano()):
        learn = L.make_learner(replace(small, attn_drop=0.), model=model, device='cpu',
                               cbs=[loop.ExactDropout()])
        with learn.no_bar(), learn.no_logging(): learn.fit(1)
    assert asked == [.05, 0.]

def test_what_is_compiled_is_not_exported_and_belongs_to_its_model(monkeypatch, tmp_path):
    class Compiled:
        def __init__(self, f): self.f = f
        def __call__(self, *args, **kw): return self.f(*args, **kw)
        def __reduce__(self): raise TypeError('what is compiled cannot be pickled')
    monkeypatch.setattr(torch, 'compile', lambda f, *a, **kw: Compiled(f))
    learn = L.make_learner(replace(small, compile=True), device='cpu')
    with learn.no_bar(), learn.no_logging():
        learn.fit(1)
        first, learn.model = learn.model, grey_nano()
        before = weights(learn).clone()
        learn.fit(1, reset_opt=True)
    assert not torch.equal(before, weights(learn)) and first._compiled_call_impl is None
    learn.export(tmp_path/'l.pkl')
    assert len(learn.dls.train.dataset)

def test_gradients_of_a_fit_that_was_broken_off_do_not_count():
    learn = L.make_learner(replace(small, accumulate=2), device='cpu')
    class Stop(R.Callback):
        order = 5
        def after_backward(self): raise RuntimeError('stop')
    with learn.no_bar(), learn.no_logging():
        with pytest.raises(RuntimeError): learn.fit(1, cbs=Stop())
        assert learn.model.head.weight.grad.any()
        norms = []
        class Look(R.Callback):
            def before_fit(self): pass
            def before_train(self): norms.append(learn.model.head.weight.grad)
        learn.fit(1, cbs=Look())
    assert norms[0] is None or not norms[0].any()

def test_muon_has_the_blocks_matrices():
    if not hasattr(torch.optim, 'Muon'): pytest.skip('this PyTorch has no Muon')
    learn = L.make_learner(replace(small, opt='muon'), device='cpu')
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3)
    buffers = {id(p) for p, s in learn.opt.opt.state.items() if 'momentum_buffer' in s}
    inside = [*learn.model.blocks.parameters(), *learn.model.interactions.parameters()]
    assert buffers == {id(p) for p in inside if p.ndim == 2}

def test_muon_that_is_not_there_is_named(monkeypatch):
    monkeypatch.delattr(torch.optim, 'Muon', raising=False)
    learn = L.make_learner(replace(small, opt='muon'), device='cpu')
    with pytest.raises(ValueError, match="does not have: give 'adamw'"): learn.create_opt()

def test_what_the_loader_augments_with():
    of = lambda **kw: L.recipe_dls(replace(small, **kw), 'cpu').train.tfms
    kinds = lambda **kw: [getattr(t, '__name__', type(t).__name__) for t in of(**kw)]
    every = dict(randaugment=5, erasing=.2, crop_scale=(.5, 1.), shift=0)
    tail = ['RandAugment', 'Normalize', 'RandomErasing']
    assert kinds(**every) == ['RandomCrop', 'random_flip', *tail]
    assert kinds(augment='paper', **every) == ['Augment', *tail]
    assert kinds(augment='paper', erasing=.2) == ['Augment', 'RandomErasing']
    assert of(augment='paper', **every)[0].area == (.5, 1.)

def test_a_recipe_from_a_file(tmp_path):
    import sys
    from dems_nb.commands import _parser, _recipe_flags
    (tmp_path/'r.json').write_text('{"epochs": 7, "ema": 0.99, "crop_scale": [0.4, 1]}')
    (tmp_path/'r.toml').write_text('epochs = 7\nema = 0.99\ncrop_scale = [0.4, 1]\n')
    def made(file, *flags):
        parser = _parser('dems_pretrain', 'x', L.Recipe.pretrain())
        given = parser.parse_args(['--recipe', str(file), *flags])
        return L.Recipe.pretrain(**_recipe_flags(given))
    r = made(tmp_path/'r.json', '--epochs', '20')
    assert (r.epochs, r.ema, r.crop_scale, r.warmup) == (20, .99, (.4, 1.), 2)
    if sys.version_info >= (3, 11): assert made(tmp_path/'r.toml', '--epochs', '20') == r
    (tmp_path/'whole.json').write_text(r.to_json())
    assert made(tmp_path/'whole.json') == r
    (tmp_path/'r.json').write_text('{"lrate": 1}')
    with pytest.raises(ValueError, match='unknown recipe field lrate'): made(tmp_path/'r.json')

def test_toml_before_python_3_11(tmp_path, monkeypatch):
    import sys
    monkeypatch.setitem(sys.modules, 'tomllib', None)
    (tmp_path/'r.toml').write_text('epochs = 7\n')
    with pytest.raises(ValueError, match='TOML needs Python 3.11: give the same as JSON'):
        L.recipe_values(tmp_path/'r.toml')

def test_the_rate_of_a_step_of_several_batches():
    assert L.Recipe.pretrain(bs=64, accumulate=4).lr == L.Recipe.pretrain(bs=256).lr

# ---- pictures of another size

@pytest.mark.parametrize('patch_size, regions', [(None, 16), (8, 4)])
def test_fine_tuning_at_64_pixels_from_32(tmp_path, patch_size, regions):
    "More regions, or patches twice as large: both train, and the second sees what it saw."
    R.train(replace(small, epochs=1, patch_size=None), tmp_path/'a', bar=False, device='cpu')
    r = L.Recipe.finetune('dems_nano', 'sample', 1, 10, image_size=64, patch_size=patch_size,
                          n_train=40, holdout=20, precision='fp32')
    learn = R.train(r, tmp_path/'b', pretrained=tmp_path/'a', bar=False, device='cpu')
    assert learn.model.layout.n_regions == regions and learn.evaluation.n == 20
    assert learn.dls.valid.one_batch()[0].shape[2:] == (64, 64)
    old = load_model(tmp_path/'a/model.safetensors').eval()
    new = start_from(tmp_path/'a', 10, 64, patch_size=patch_size, say=lambda s: None).eval()
    x = torch.randn(2, 1, 32, 32)
    twice = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    same = torch.allclose(old(x), new(twice), atol=1e-4)
    assert same == (patch_size == 8)
