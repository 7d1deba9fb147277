"The Learner: the recipe's numbers, real mixed precision, repeatable runs, whole evaluation."
import json, math, pytest, torch
from dems_nb import data as D, training as T
from dems_nb.model import create_model
from dems_nb.weights import load_model, read_safetensors

tiny = dict(n_train=640, epochs=2, bs=64, precision='fp32')

def test_lr_of_the_paper():
    lrs = T.lr_schedule(800, 10, 5e-4)
    assert len(lrs) == 800 and lrs[0] == 1e-6 and lrs[9] == 5e-4 and lrs[10] == 5e-4
    assert lrs[4] == pytest.approx(1e-6 + 4/9*(5e-4 - 1e-6), rel=1e-12)
    for j in (1, 395, 789): assert lrs[10 + j] == pytest.approx(1e-6 + (5e-4 - 1e-6)/2*(1 + math.cos(math.pi*j/790)), rel=1e-12)
    assert T.lr_schedule(100, 0, 1e-3)[50] == pytest.approx(1e-6 + (1e-3 - 1e-6)/2, rel=1e-12)

def test_the_learner_really_uses_it():
    seen = []
    class Spy(T.Callback):
        def before_batch(self): seen.append((self.training, self.epoch, self.opt.hypers[-1]['lr']))
    r = T.Recipe(**{**tiny, 'epochs': 4}, schedule='paper', warmup=2, lr=1e-3)
    T.train(r, cbs=[Spy()], bar=False)
    per_epoch = {e: {lr for tr, ep, lr in seen if tr and ep == e} for e in range(4)}
    assert [per_epoch[e] for e in range(4)] == [{lr} for lr in T.lr_schedule(4, 2, 1e-3)]

def test_adamw_decays_every_parameter_and_steps_like_torch():
    learn = T.make_learner(T.Recipe(**tiny, wd=.05, schedule='paper'))
    learn.create_opt()
    groups = learn.opt.opt.param_groups
    assert {id(p) for g in groups for p in g['params']} == {id(p) for p in learn.model.parameters()}
    for g in groups: assert (g['betas'], g['eps'], g['weight_decay']) == ((.9, .999), 1e-8, .05) and isinstance(learn.opt.opt, torch.optim.AdamW)
    learn.opt.set_hypers(lr=.1, wd=.05)
    for p in learn.model.parameters(): p.grad = torch.zeros_like(p)
    before = {n: p.detach().clone() for n, p in learn.model.named_parameters()}
    learn.opt.step()
    for n, p in learn.model.named_parameters(): torch.testing.assert_close(p.detach(), before[n]*(1 - .1*.05))    # decay alone, norms and biases too

@pytest.mark.parametrize('schedule', ['paper', 'one_cycle'])
def test_weight_decay_survives_the_fit(schedule):
    seen = []
    class Spy(T.Callback):
        def after_step(self): seen.append({g['weight_decay'] for g in self.opt.opt.param_groups})
    T.train(T.Recipe(**{**tiny, 'epochs': 1}, schedule=schedule), cbs=[Spy()], bar=False)
    assert seen and all(s == {.05} for s in seen)

def test_bf16_is_real_on_a_cpu():
    kinds, preds = [], []
    class Spy(T.Callback):
        order = 30
        def after_pred(self): preds.append(self.pred.dtype)
    model = create_model('dems_nano', in_chans=1)
    model.blocks[0].mlp[0].register_forward_hook(lambda m, i, o: kinds.append(o.dtype))
    for precision, want in (('bf16', torch.bfloat16), ('fp32', torch.float32)):
        kinds.clear()
        learn = T.make_learner(T.Recipe(**{**tiny, 'epochs': 1, 'precision': precision}), model=model, device='cpu', cbs=[Spy()])
        with learn.no_bar(): learn.fit(1)
        assert set(kinds) == {want} and set(preds) == {torch.float32} and all(p.dtype == torch.float32 for p in model.parameters())
    assert not torch.is_autocast_enabled('cpu')

def test_autocast_closes_after_an_error():
    class Boom(T.Callback):
        order = 20
        def before_batch(self): raise RuntimeError('boom')
    learn = T.make_learner(T.Recipe(**{**tiny, 'precision': 'bf16'}), device='cpu', cbs=[Boom()])
    with learn.no_bar(), pytest.raises(RuntimeError, match='boom'): learn.fit(1)
    assert not torch.is_autocast_enabled('cpu') and torch.backends.cuda.flash_sdp_enabled()

def test_same_seed_same_run_other_seed_another():
    runs = [T.train(T.Recipe(**tiny, seed=s), bar=False, device='cpu') for s in (1, 1, 2)]
    flat = [torch.cat([p.detach().flatten() for p in r.model.parameters()]) for r in runs]
    assert torch.equal(flat[0], flat[1]) and not torch.equal(flat[0], flat[2])

def test_it_learns():
    learn = T.train(T.Recipe(n_train=2000, epochs=3, bs=32, flip=False, shift=0), bar=False)
    assert learn.evaluation.accuracy > .35, learn.evaluation         # chance is .10; a model that does not learn stays there
    assert learn.recorder.values[-1][0] < learn.recorder.values[0][0]

def test_run_folder(tmp_path):
    r = T.Recipe(**tiny)
    learn = T.train(r, tmp_path/'run', bar=False)
    assert sorted(p.name for p in (tmp_path/'run').iterdir()) == ['history.csv', 'model.safetensors', 'recipe.json', 'result.json']
    assert T.Recipe.from_json((tmp_path/'run/recipe.json').read_text()) == r
    res = json.loads((tmp_path/'run/result.json').read_text())
    assert res['accuracy'] == learn.evaluation.accuracy and res['n_scored'] == 1000 and res['scored_on'] == 'test' and res['images_seen'] == 1280 and res['recipe']['seed'] == 0
    again = load_model(tmp_path/'run/model.safetensors')
    assert T.evaluate(again, learn.dls).accuracy == learn.evaluation.accuracy
    assert T.Recipe.from_json(read_safetensors(tmp_path/'run/model.safetensors')[1]['recipe']) == r
    assert len((tmp_path/'run/history.csv').read_text().splitlines()) == 3

def test_evaluate_scores_every_image_once():
    dls, model = D.get_dls('sample', bs=77, device='cpu'), create_model('vit_nano', in_chans=1).eval()
    e = T.evaluate(model, dls)
    with torch.no_grad(): want = model(D.Normalize(1)(dls.valid.dataset.x))
    assert e.n == 1000 and torch.equal(e.target, dls.valid.dataset.y) and torch.equal(e.predicted, want.argmax(1))
    assert e.accuracy == pytest.approx((want.argmax(1) == dls.valid.dataset.y).float().mean().item())
    assert e.loss == pytest.approx(torch.nn.functional.cross_entropy(want, dls.valid.dataset.y).item(), rel=1e-4)

def test_wilson_interval():
    y = torch.zeros(1000, dtype=torch.long); p = y.clone(); p[:200] = 1
    low, high = T.Evaluation(p, y, 0.).interval
    assert (round(low, 4), round(high, 4)) == (.7741, .8236)             # 800 of 1,000, from the formula worked by hand

def test_fine_tuning_starts_from_the_given_model():
    model = create_model('dems_nano', in_chans=1)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    learn = T.make_learner(T.Recipe(**tiny), model=model, device='cpu')
    assert learn.model is model and all(torch.equal(v, before[k]) for k, v in model.state_dict().items())

@pytest.mark.parametrize('said, kw', [('epochs is 0', dict(epochs=0)), ('bs is 0', dict(bs=0)), ('lr is -1', dict(lr=-1)), ("schedule is 'x'", dict(schedule='x')),
    ('warmup is 12 of 12 epochs', dict(warmup=12)), ("precision is 'fp8'", dict(precision='fp8')), ('drop_path is 1', dict(drop_path=1)), ('attn_drop is -0.1', dict(attn_drop=-.1)),
    ('label_smoothing is 2', dict(label_smoothing=2))])
def test_impossible_recipes(said, kw):
    with pytest.raises(ValueError) as e: T.Recipe(**kw)
    assert said in str(e.value)

def test_other_bad_input():
    with pytest.raises(ValueError, match='unknown recipe field lrate: the known ones are model'): T.Recipe.from_json('{"lrate": 1}')
    with pytest.raises(ValueError, match='tells 7 classes apart and sample has 10'): T.make_learner(T.Recipe(), model=create_model('dems_nano', 7, 1))
    with pytest.raises(ValueError, match='does not fit this model, which takes'): T.evaluate(create_model('dems_nano', in_chans=3), D.get_dls('sample', device='cpu'))

@pytest.mark.cuda
def test_trains_on_cuda():
    learn = T.train(T.Recipe(**{**tiny, 'precision': 'auto'}), bar=False, device='cuda')
    assert next(learn.model.parameters()).is_cuda and learn.evaluation.n == 1000
