"The Learner: the recipe's numbers, real mixed precision, repeatable runs, whole evaluation."
import json, math, pytest, torch
from dataclasses import replace
from dems_nb import data as D, learner as L, run as R
from dems_nb.model import create_model
from dems_nb.results import Evaluation
from dems_nb.weights import load_model, read_safetensors, start_from

tiny = dict(n_train=640, epochs=2, bs=64, precision='fp32')

def test_lr_of_the_paper():
    lrs = L.lr_schedule(800, 10, 5e-4)
    assert len(lrs) == 800 and lrs[0] == 1e-6 and lrs[9] == 5e-4 and lrs[10] == 5e-4
    assert lrs[4] == pytest.approx(1e-6 + 4/9*(5e-4 - 1e-6), rel=1e-12)
    for j in (1, 395, 789):
        assert lrs[10 + j] == pytest.approx(1e-6 + (5e-4 - 1e-6)/2*(1 + math.cos(math.pi*j/790)),
                                            rel=1e-12)
    assert L.lr_schedule(100, 0, 1e-3)[50] == pytest.approx(1e-6 + (1e-3 - 1e-6)/2, rel=1e-12)

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
    model = create_model('dems_nano', in_chans=1)
    model.blocks[0].mlp[0].register_forward_hook(lambda m, i, o: kinds.append(o.dtype))
    for precision, want in (('bf16', torch.bfloat16), ('fp32', torch.float32)):
        kinds.clear()
        learn = L.make_learner(L.Recipe(**{**tiny, 'epochs': 1, 'precision': precision}),
                               model=model, device='cpu', cbs=[Spy()])
        with learn.no_bar(): learn.fit(1)
        assert set(kinds) == {want} and set(preds) == {torch.float32} and all(p.dtype
                                                                              == torch.float32
                                                                              for p in model.parameters())
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
    learn = R.train(L.Recipe(n_train=2000, epochs=3, bs=32, flip=False, shift=0), bar=False)
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
            and res['data']['n_train'] == 640 and res['scored_on'] == 'test'
            and res['images_seen'] == 1280 and res['recipe']['seed'] == 0)
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
    model = create_model('dems_nano', in_chans=1)
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
    with pytest.raises(ValueError, match='unknown recipe field lrate: the known ones are dataset'):
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
        assert y.shape == (64, 10) and y.is_floating_point() and shape == (64, 1, 32, 32)
        torch.testing.assert_close(y.sum(1), torch.ones(64)); assert (y >= .01 - 1e-6).all()
    # another share each batch
    assert len({round(y.amax(1).mean().item(), 4) for y, _ in seen}) == len(seen) == 10
    assert learn.evaluation.n == 1000

def test_augmentation_advances_through_the_real_loader():
    "The samples of epoch k, not only the stored probability: none is solarised at the end, most at the start."
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

def test_float16_scales_its_gradients():
    seen = []
    class Spy(R.Callback):
        order = 30
        def before_backward(self): seen.append((self.loss_grad/self.loss).item())
    learn = R.train(L.Recipe(**{**tiny, 'precision': 'fp16'}), cbs=[Spy()], bar=False, device='cpu')
    assert all(s > 1 for s in seen) and learn.autocast.scaler.get_scale() > 1
    before = torch.cat([p.flatten() for p in L.make_learner(L.Recipe(**tiny),
                                                            device='cpu').model.parameters()])
    assert not torch.equal(before,
                           torch.cat([p.detach().flatten() for p in learn.model.parameters()]))

def test_float16_skips_a_step_that_overflows():
    class Huge(R.Callback):
        order = 30
        def before_backward(self):
            if self.iter == 3: self.learn.loss_grad = self.loss_grad*float('inf')
    learn = R.train(L.Recipe(**{**tiny, 'epochs': 1, 'precision': 'fp16'}), cbs=[Huge()], bar=False,
                    device='cpu')
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
    "Two runs in one process, with other draws between them, are equal: every step sets its own seed."
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
        R.train(L.Recipe(**tiny), model=create_model('dems_nano', in_chans=1),
                pretrained=tmp_path/'a')

def test_what_was_given_is_recorded(tmp_path):
    dls = D.get_dls('sample', device='cpu', n_train=640, bs=64)
    R.train(L.Recipe(**tiny), tmp_path, dls=dls, model=create_model('dems_nano', in_chans=1),
            bar=False)
    res = json.loads((tmp_path/'result.json').read_text())
    assert res['given'] == ['dls', 'model'] and res['scored_on'] == 'given data'

def test_a_model_for_other_pictures_is_refused_before_anything_is_written(tmp_path):
    for kw, said in ((dict(in_chans=3), r"of \(3, 32, 32\) and sample gives \(1, 32, 32\)"),
                     (dict(in_chans=1, image_size=64), r'\(1, 64, 64\)')):
        with pytest.raises(ValueError, match=said):
            R.train(L.Recipe(**tiny), tmp_path/'x', model=create_model('dems_nano', **kw),
                    bar=False, device='cpu')
    assert not (tmp_path/'x').exists()

@pytest.mark.cuda
def test_trains_on_cuda():
    learn = R.train(L.Recipe(**{**tiny, 'precision': 'auto'}), bar=False, device='cuda')
    assert next(learn.model.parameters()).is_cuda and learn.evaluation.n == 1000
