"The plain model and ours give the same; a step does not grow; nothing waits; the command works."
import gc, inspect, json, numpy as np, pandas as pd, pytest, re, subprocess, sys, threading, time
import torch
from pathlib import Path
from dems_nb import benchmark as B, kernels as K
from dems_nb.model import create_model
from dems_nb.kernels import has_bf16, use_path
from dems_nb.learner import Recipe, make_learner

root = Path(__file__).parent.parent
tiny = lambda **kw: create_model('dems_nano', drop_path=.15, attn_drop=.05, **kw)

# the plain model
sizes = [('dems_nano', {}), ('dems_tiny', dict(depth=3, mix_before=(2, 3))), ('vit_nano', {}),
         ('dems_nano', dict(in_chans=1, image_size=48)),
         ('dems_nano', dict(n_scales=4, patch_size=4, plain_scales=1)),
         ('dems_nano', dict(mix_before=(2,), n_mixed=(5,)))]

def both(name, kw):
    model = create_model(name, **kw)
    # so that mixing is far from uniform and counts
    for p in model.parameters(): p.data += .1*torch.randn_like(p)
    x = torch.randn(2, model.config['in_chans'], *[model.config['image_size']]*2)
    return model, B.plain_twin(model), x

@pytest.mark.parametrize('name,kw', sizes, ids=str)
def test_the_plain_model_gives_the_same_logits_and_gradients(name, kw):
    model, twin, x = both(name, kw)
    for m in (model, twin): m(x).square().sum().backward()
    a, b = model(x), twin(x)
    assert (a - b).abs().max() < 1e-4*a.abs().max() and a.std() > .1
    theirs = dict(twin.named_parameters())
    for n, p in model.named_parameters():
        far, most = (p.grad - theirs[n].grad).abs().max(), p.grad.abs().max()
        # no effect: a softmax over tokens does not see it
        if 'interactions' in n and n.endswith('mlp.4.bias'): continue
        assert most > 1e-6 and far <= 1e-3*most, n

def test_the_comparison_would_see_another_order(monkeypatch):
    "The finest scale's tokens go to the wrong regions. (All alike: regions have no order.)"
    model, twin, x = both('dems_nano', {})
    right = B.PlainModel.correspondence
    monkeypatch.setattr(B.PlainModel, 'correspondence',
                        lambda self, fine, device: right(self, fine,
                                                         device).roll(int(fine == self.grids[0]),
                                                                      0))
    assert (model(x) - twin(x)).abs().max() > 1e-2

def test_no_twin_for_another_model():
    model = create_model('dems_nano')
    model.extra = torch.nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match='left over.*extra'): B.plain_twin(model)

# what a step is made of: ATen operations of forward, backward, AdamW, augmentation and mixing, on a
# GPU's path, without attention dropout
COMMITTED = dict(dems_nano=1395, dems_tiny=2014)
if tuple(map(int, torch.__version__.split('.')[:2])) < (2, 6):                     # torch 2.4's
    COMMITTED = dict(dems_nano=1566, dems_tiny=2255)
def may_grow_by_a_tenth(n, committed):
    grown = f'a step takes {n} operations, it took {committed}'
    assert n <= 1.1*committed, (f'{grown}: say why it is worth it and commit the new number, or '
                                'find what was added')
    assert n >= .7*committed, f'{grown}: well done; commit the new number'

@pytest.mark.parametrize('name', COMMITTED)
def test_operations_of_a_training_step(name):
    step = B.TrainingStep(create_model(name, drop_path=.15), 2)
    step()  # the first makes AdamW's averages
    may_grow_by_a_tenth(B.count_ops(step).total(), COMMITTED[name])

def test_it_would_be_seen_if_they_grew():
    "Three more operations on the way into each block and back, and a norm more: too many."
    step = B.TrainingStep(tiny(), 2)
    for b in step.model.blocks:
        b.register_forward_pre_hook(lambda m, inp: tuple(((t.sin()*2).cos() + t).tanh()*1.
                                                         for t in inp))
    step()
    with pytest.raises(AssertionError, match='find what was added'):
        may_grow_by_a_tenth(B.count_ops(step).total(), COMMITTED['dems_nano'])

# softmaxes, fused kernels and products of a forward and backward pass of two blocks, by path
BY_PATH = dict(auto=(4, 0, 12), plain=(4, 0, 12), gpu=(0, 4, 0))

@pytest.mark.parametrize('drop', [0., .05])
@pytest.mark.parametrize('path', BY_PATH)
def test_operations_of_each_path(path, drop):
    "Tables written out cost six products and two softmaxes a block; fused, two calls."
    model = create_model('vit_nano', depth=2, attn_drop=drop)
    step = B.TrainingStep(model, 2)
    with B.use_path(path), B._Ops() as ops: step.gradients()
    seen = lambda *words: sum(n for o, n in ops.count.items() if any(w in o for w in words))
    # the fused kernel of a CPU has no dropout: PyTorch itself writes the table out then
    if path == 'gpu' and drop: return
    assert (seen('_softmax') - 2, seen('_scaled_dot'), seen('bmm')) == BY_PATH[path], ops.count

def test_counts_are_the_same_each_time_and_on_each_batch_size():
    assert len({B.count_ops(B.TrainingStep(tiny(), n).gradients).total() for n in (2, 2, 5)}) == 1

# nothing waits, one graph
@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_no_operation_of_a_step_waits(precision):
    step = B.TrainingStep(tiny(), 4, precision)
    step()
    assert B.waits(step) == []
    assert B.waits(lambda: step().item()) == ['_local_scalar_dense'] and B.waits(
        lambda: step.bytes.nonzero()) == ['nonzero']
    chosen = step.classes > 0
    assert B.waits(lambda: step.bytes[chosen]) == ['index by a mask']
    assert B.waits(lambda: step.bytes[step.classes % 4]) == []
    def put(): step.bytes[chosen] = step.bytes[:1].clone()
    assert B.waits(put) == ['index by a mask']

def test_on_a_gpu_only_a_wait_is_called_one(monkeypatch):
    modes = []
    monkeypatch.setattr(torch.cuda, 'get_sync_debug_mode', lambda: 0)
    monkeypatch.setattr(torch.cuda, 'set_sync_debug_mode', modes.append)
    def fails(words):
        def f(): raise RuntimeError(words)
        return f
    said = 'called a synchronizing CUDA operation'
    assert B.waits(fails(said), 'cuda') == [said]
    with pytest.raises(RuntimeError, match='out of memory'):
        B.waits(fails('CUDA out of memory'), 'cuda')
    assert modes == ['error', 0]*2

@pytest.mark.parametrize('name', ['dems_nano', 'vit_nano'])
def test_one_graph_for_many_steps(name):
    model, x = create_model(name, drop_path=.15,
                            attn_drop=.05).train(), torch.randn(4, 4, 3, 32, 32)
    assert B.count_graphs(model, *[(t,) for t in x]) == 1
    # a short batch makes one more graph, for all sizes
    assert B.count_graphs(model.eval(), (x[0],), (x[1],), (x[2, :3],), (x[3, :2],)) == 2

def test_one_graph_with_the_loss_in_bf16():
    model = tiny().train()
    def loss(x, y):
        with torch.autocast('cpu', dtype=torch.bfloat16): out = model(x)
        return torch.nn.functional.cross_entropy(out.float(), y)
    assert B.count_graphs(loss, *[(torch.randn(4, 3, 32, 32), torch.rand(4, 10).softmax(1))
                                  for _ in range(3)]) == 1

@pytest.mark.parametrize('mode', ['cosine', 'three_way'])
@pytest.mark.parametrize('c', [1, 3])
def test_the_augmentation_is_one_graph(mode, c):
    aug, g = B.Augment(32, B.AugmentSchedule(10, .6, mode, c)), torch.Generator().manual_seed(0)
    calls = []
    for epoch in range(3):
        x = torch.randint(0, 256, (4, c, 32, 32), dtype=torch.uint8)
        calls.append((x, aug.set_epoch(epoch).draw(x, g)))
    assert B.count_graphs(aug.apply, *calls) == 1

def test_a_break_is_an_error():
    with pytest.raises(Exception, match='(?i)data-dependent|graph break|unsupported|control flow'):
        B.count_graphs(lambda x: x if x.sum() > 0 else -x, (torch.ones(2),))

# the clock, tables
def test_ways_take_turns():
    order = []
    took = B.take_turns({k: lambda k=k: order.append(k) for k in 'ab'}, rounds=3, n=2, warmup=1)
    assert ''.join(order) == 'aabb'*4 and {k: v.shape
                                           for k, v in took.items()} == dict(a=(3,), b=(3,))

@pytest.mark.parametrize('threads,clock', [(1, time.process_time), (2, time.perf_counter)])
def test_all_of_a_benchmark_goes_by_one_clock(monkeypatch, threads, clock):
    "On one thread the parts once went by the wall clock, and the comparison did not."
    seen, real, before = [], inspect.signature(B.take_turns), torch.get_num_threads()
    def noted(*args, **kw):
        given = real.bind(*args, **kw)
        given.apply_defaults()
        seen.append(given.arguments['clock'])
        return {k: np.ones(1) for k in given.arguments['ways']}
    monkeypatch.setattr(B, 'take_turns', noted)
    torch.set_num_threads(threads)
    try: said = B.bench('dems_nano', 2, rounds=1)['clock']
    finally: torch.set_num_threads(before)
    assert len(seen) == 4 and set(seen) == {clock}
    assert said == {1: 'processor time', 2: 'wall clock'}[threads]

def test_a_macs_gpu_is_waited_for(monkeypatch):
    did = []
    monkeypatch.setattr(torch.mps, 'synchronize', lambda: did.append('wait'))
    B.seconds(lambda: did.append('call'), 2, 'mps')
    assert did == ['wait', 'call', 'call', 'wait']

def test_a_model_that_was_not_training_is_not_afterwards():
    model = create_model('dems_nano', depth=2, mix_before=(2,), n_mixed=(4,)).eval()
    for f in (lambda: B.compare(model, 2, rounds=1), lambda: B.estimate_memory(model, 2),
              lambda: B.largest_batch(model, 10**9)):
        f()
        assert not any(m.training for m in model.modules())

def test_comparison():
    got = B.compare(create_model('dems_nano'), 4, ('bf16',), rounds=2)
    assert list(got) == ['plain, fp32', 'plain, bf16', 'here, fp32', 'here, bf16']
    assert all(set(r) == {'images_per_s', 'ratio', 'same'}
               and all(set(s) == {'median', 'q1', 'q3'} for s in r.values()) for r in got.values())
    one = dict(median=1., q1=1., q3=1.)
    assert (got['plain, fp32']['ratio'] == got['plain, fp32']['same'] == got['plain, bf16']['same']
            == one)
    assert got['here, fp32']['ratio'] == got['here, fp32']['same']
    table = B.show_comparison(got)
    assert table.shape == (4, 3) and all(re.fullmatch(r'[\d,.]+ \([\d,.]+ to [\d,.]+\)', v)
                                         for v in table.values.ravel())
    assert list(table.columns) == ['images/s', 'times plain, fp32', 'times plain, same precision']

def test_parts_sum_to_the_step():
    parts = B.time_parts(B.TrainingStep(tiny(), 4), rounds=1)
    whole = parts.pop('whole step')
    assert sum(parts.values()) == pytest.approx(whole) and {'tokenizer', 'attention', 'MLP',
                                                            'interactions',
                                                            'augmentation'} <= set(parts)
    assert 'interactions' not in B.time_parts(B.TrainingStep(create_model('vit_nano'), 4), rounds=1)

def test_augmentation_beside_pillow():
    threads = torch.get_num_threads()
    got = B.compare_augmentation(batch_size=8, ps=(.6,), rounds=2)
    assert set(got) == {'0.6'} and set(got['0.6']) == {'Pillow', 'here', 'ratio'}
    assert torch.get_num_threads() == threads
    assert B.show_augmentation(got).shape == (1, 3)
    from PIL import Image
    one = B.pillow_pipeline(24)(Image.fromarray(np.zeros((32, 32, 3), np.uint8)))
    assert one.shape == (3, 24, 24) and one.dtype == torch.float32

# memory
@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_the_estimate_is_what_a_larger_batch_keeps(precision):
    model = tiny()
    with use_path('gpu_memory'): kept = B.kept_bytes(B.TrainingStep(model, 9, precision))
    said = B.estimate_memory(model, 9, precision)
    assert abs(said['activations'] - kept) < .02*kept
    assert said['weights'] == 4*sum(p.numel()
                                    for p in model.parameters()) and said['total'] == sum(
                                        v for k, v in said.items() if k != 'total')

def test_the_tables_are_what_the_plain_model_keeps():
    rows = B.growth('dems_nano', (16, 32, 64), rounds=1)
    assert [r['tokens'] for r in rows] == [22, 85, 337]
    assert rows[-1]['plain']['kept'] > 1.2*rows[-1]['here']['kept']
    assert rows[-1]['here']['kept']/rows[-2]['here']['kept'] < 4.2  # four times the tokens

@pytest.mark.parametrize('name', ['dems_nano', 'dems_tiny', 'vit_nano'])
def test_the_tokens_of_each_block(name):
    model, seen = create_model(name), []
    for b in model.blocks: b.register_forward_pre_hook(lambda m, x: seen.append(x[0].shape[1]))
    with torch.no_grad(): model(torch.zeros(1, 3, 32, 32))
    assert B._tokens(model) == seen

def test_whether_all_blocks_are_fused():
    "337, 129 and 65 tokens; 341 and 257: few are 128, in bfloat16 512."
    model = lambda name, **kw: create_model(name, **kw)
    assert not B._is_fused(model('dems_nano', image_size=64), 'fp32')
    assert B._is_fused(model('dems_tiny'), 'fp32') and B._is_fused(model('vit_tiny'), 'fp32')
    assert not B._is_fused(model('dems_tiny'), 'bf16')
    assert not B._is_fused(model('dems_tiny', attn_drop=.05), 'fp32')

def test_largest_image_fits_a_line_only_through_what_is_fused():
    "Written out up to 341 tokens, as in bfloat16: those rows are no part of the line."
    def row(side):
        n = 1 + side*side//16*5
        fused = n > 512
        return dict(image_size=side, tokens=n, fused=fused, plain=dict(kept=1000*n + 10*n*n),
                    here=dict(kept=1000*n + (0 if fused else 10*n*n)))
    rows = [row(s) for s in (16, 32, 64, 96)]
    for side in (128, 256):
        kept = 1000*row(side)['tokens']
        assert B.largest_image(rows, 'here', kept*1.0001, 1) == side
        assert B.largest_image(rows, 'here', kept*.9999, 1) == side - 16
    tables = [dict(r, fused=False, here=r['plain']) for r in rows]      # dropout: ours as plain
    assert all(B.largest_image(tables, 'here', 10.**k, 1)
               == B.largest_image(tables, 'plain', 10.**k, 1) for k in range(6, 12))

def test_largest_image():
    "Kept: 1000 bytes a token, 10 a pair more where tables are kept; one token a pixel of 16."
    row = lambda side: dict(image_size=side, tokens=(n := 1 + side*side//16),
                            here=dict(kept=1000*n), plain=dict(kept=1000*n + 10*n*n))
    rows = [row(s) for s in (16, 32, 64, 96)]
    for side in (64, 128, 256):
        for way in ('here', 'plain'):
            room = 8*row(side)[way]['kept']
            assert B.largest_image(rows, way, room*1.0001,
                                   8) == side and B.largest_image(rows, way, room*.9999,
                                                                  8) == side - 16
    assert B.largest_image(rows, 'here', 10, 8) == 0

def test_nothing_kept_outlives_the_count():
    "The hook once gave back its own tensor, and the graph held itself."
    import weakref
    model = tiny()
    seen = []
    model.norm.register_forward_hook(lambda m, inp, out: seen.append(weakref.ref(out)))
    gc.disable()
    try: B.kept_bytes(B.TrainingStep(model, 2))
    finally: gc.enable()
    assert seen and all(r() is None for r in seen)

def test_fp16_and_bf16_need_the_same():
    two = [B.estimate_memory(tiny(), 8, p)['total'] for p in ('fp16', 'bf16')]
    assert two[0] == two[1] < B.estimate_memory(tiny(), 8, 'fp32')['total']

def test_a_step_in_fp16_scales_its_loss():
    step = B.TrainingStep(tiny(), 4, 'fp16')
    before = [p.detach().clone() for p in step.model.parameters()]
    for _ in range(3): step()
    assert step.scaler.is_enabled() and step.scaler.get_scale() > 1
    assert any(not torch.equal(a, b) for a, b in zip(before, step.model.parameters()))

def test_what_to_expect_of_a_cpu(): assert B.what_to_expect('cpu') == {}

def test_what_to_expect_of_a_mac():
    said = B.what_to_expect('mps', ('dems_nano',), 2560)
    assert said['precision'] == "'auto' is fp32" and 'float64' in said
    found = re.fullmatch(r'fp32 ([\d.]+) GiB; fp16 [\d.]+ GiB \(computed\)',
                         said['dems_nano, batch 2560'])
    needed = B.estimate_memory(tiny(), 2560, 'fp32', tables=True)['total']
    assert float(found[1]) == round(needed/2**30, 1)

@pytest.mark.parametrize('drop,tables', [(0., 1), (.05, 3)])
def test_on_a_mac_attention_keeps_its_tables(drop, tables):
    "With dropout three: before it, the coins, after it."
    model = create_model('vit_nano', attn_drop=drop)
    entries = model.config['depth']*model.config['heads']*(model.layout.n_tokens + 1)**2
    each = [B._held(model, 'fp32', kept)[1] for kept in (False, True)]
    assert each[1] - each[0] == pytest.approx(4*tables*entries, rel=.1)

def test_the_page_about_cards_is_of_this_code():
    "Sentences and figures of the committed table; kernels depend on PyTorch: not compared."
    cards = json.loads((root/'results/cards.json').read_text())['cards']
    assert list(cards) == ['T4', 'A100', 'H100', 'Mac']
    model = create_model('dems_small', drop_path=.15, attn_drop=.05)
    for precision in ('fp32', 'bf16'):
        gib = f'{precision} {B.estimate_memory(model, 256, precision)["total"]/2**30:.1f} GiB'
        assert gib in cards['H100']['dems_small, batch 256']
    mac = B.estimate_memory(model, 256, 'fp32', tables=True)["total"]/2**30
    assert f'fp32 {mac:.1f} GiB' in cards['Mac']['dems_small, batch 256']
    assert [c['precision'] for c in cards.values()] == [f"'auto' is {p}" for p in
                                                        ('fp32', 'bf16', 'bf16', 'fp32')]

def test_result_files_say_where_they_come_from():
    found = sorted((root/'results/bench').glob('*.json'))
    assert {'tiny_cpu', 'growth_cpu'} <= {f.stem for f in found}
    for f in found:
        r = json.loads(f.read_text())
        ours = r['command'].startswith(('dems_bench ', 'python bench/cpu.py '))
        assert ours and not re.search(r'/(tmp|root|home|work|Users)\b', f.read_text()), f.name
        for part in r['bench'].values() if 'bench' in r else [r]:
            committed = re.fullmatch('[0-9a-f]{12}', part['commit'] or '')
            assert part['seed'] == 0 and committed, f'{f.name}: measured with a committed state'
            assert part['processor'] and part['threads'] >= 1 and part['versions']['torch']

# the ways to compute
def test_numbers_of_no_meaning_stay_in_their_thread():
    q = torch.randn(1, 1, 3, 4)
    right, got = K.attention(q, q, q), []
    def other(): got.append(K.attention(q, q, q))
    with use_path('gpu_memory'):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert torch.allclose(got[0], right)

def test_ways_asked_for_in_two_threads_do_not_mix():
    "The second waits until the first has left; what was before is there again."
    first, second, inside = threading.Event(), threading.Event(), []
    def one():
        with use_path('plain'):
            first.set()
            second.wait(.3)
            inside.append(K._chosen)
    def two():
        first.wait(5)
        with use_path('gpu'):
            second.set()
            inside.append(K._chosen)
            time.sleep(.3)
    threads = [threading.Thread(target=f) for f in (one, two)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert inside == ['plain', 'gpu'] and K._chosen == 'auto'

@pytest.mark.parametrize('kind,flags,has', [
    ('avx2', 'avx512_bf16 amx_bf16', False), ('avx512', 'avx512f', False), ('other', 'bf16', True),
    ('amd_avx512_bf16', 'avx512_bf16', True), ('avx512_bf16', 'avx512_bf16', True),
    ('amx_bf16', 'amx_bf16', True), ('other', '', False)])
def test_bf16_of_a_cpu_is_what_pytorch_treats_it_as(monkeypatch, kind, flags, has):
    "As with bench/cpu.py --isa avx2, which would have measured an imitation."
    monkeypatch.setattr(K, 'processor', lambda: kind)
    monkeypatch.setattr(K, '_cpu_flags', lambda: set(flags.split()))
    assert has_bf16('cpu') == has

# imports
def test_nothing_heavy_is_imported_beyond_fastai():
    code = ('import sys, fastai.vision.all; top = lambda: {m.split(".")[0] for m in sys.modules}; '
            'before = top(); import dems_nb.model, dems_nb.run, dems_nb.augment, '
            'dems_nb.visualize, dems_nb.benchmark; print(*sorted(top() - before))')
    new = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], cwd=root,
                         capture_output=True, text=True, check=True).stdout.split()
    # filelock is PyTorch's own requirement
    assert 'dems_nb' in new and set(new) - set(sys.stdlib_module_names) <= {'dems_nb',
                                                                            'safetensors',
                                                                            'filelock'}, new

# the command
def bench(monkeypatch, *flags):
    monkeypatch.setattr(sys, 'argv', ['dems_bench', *map(str, flags)])
    monkeypatch.setattr(B, 'import_seconds', lambda: {'fastai.vision.all': 1.})
    threads = torch.get_num_threads()
    try: return B.main() or 0
    except SystemExit as e: return e.code
    finally: torch.set_num_threads(threads)

def test_help(monkeypatch, capsys):
    assert bench(monkeypatch, '--help') == 0
    said = capsys.readouterr().out
    flags = 'model batch_size device precision compile steps threads attn_drop json profile growth'
    for flag in flags.split():
        assert f'--{flag}' in said, flag

def test_a_small_run(monkeypatch, capsys, tmp_path):
    file, folder = tmp_path/'new'/'b.json', tmp_path/'trace'
    assert bench(monkeypatch, '--model', 'dems_nano', '--batch_size', 4, '--steps', 1, '--device',
                 'cpu', '--precision', 'fp32', '--threads', 1, '--json', file, '--profile',
                 folder) == 0
    said, r = capsys.readouterr().out, json.loads(file.read_text())
    for part in ('times plain, fp32', 'images/s', 'share', 'memory:', 'Pillow', 'import, by'):
        assert part in said, part
    assert (r['command'].startswith('dems_bench --model dems_nano --batch_size 4')
            and r['seed'] == 0 and r['threads'] == 1)
    assert set(r['ways']) == {'plain, fp32',
                              'here, fp32'} and r['peak_bytes'] > 0 and r['processor']
    ops = pd.read_csv(folder/'ops.csv')
    assert len(ops) == 10 and list(ops.columns) == ['operation', 'ms', 'calls', 'share']
    assert ops.ms.is_monotonic_decreasing and ops.share.sum() <= 1.001
    assert 'attention, training: written out' in said
    assert r['paths']['attention, scoring'] == 'fused'
    assert 'traceEvents' in json.loads((folder/'trace.json').read_text())

def test_what_is_profiled_is_what_was_compared(monkeypatch, tmp_path):
    made, real = [], B.TrainingStep
    def noted(model, *args, **kw):
        made.append((model.config['drop_path'], model.config['attn_drop']))
        return real(model, *args, **kw)
    monkeypatch.setattr(B, 'TrainingStep', noted)
    monkeypatch.setattr(B, 'bench', lambda *args, **kw: dict(drop_path=.15, model='dems_nano'))
    for name in ('print_bench', 'show_augmentation', 'compare_augmentation'):
        monkeypatch.setattr(B, name, lambda *args, **kw: None)
    assert bench(monkeypatch, *'--model dems_nano --batch_size 2 --attn_drop .1 --device'.split(),
                 'cpu', '--profile', tmp_path/'trace') == 0
    assert made == [(.15, .1)]

def test_every_cpu_is_a_cpu(monkeypatch, tmp_path):
    "`cpu:0` counted as a GPU."
    seen = []
    monkeypatch.setattr(B, '_run', lambda *args: seen.append(args) or 0)
    assert bench(monkeypatch, '--device', 'cpu:0') == 0 and seen[0][1:3] == (32, 'cpu')

def test_fp16_is_said_to_be_fp16():
    said = B.bench('dems_nano', 2, precision='fp16', device='cpu:0', rounds=1)
    assert 'in float16' in said['paths']['linear layers'] and said['device'] == 'cpu'

def test_growth_takes_the_flags(monkeypatch, tmp_path):
    given = {}
    monkeypatch.setattr(B, 'growth', lambda name, **kw: given.update(kw) or [])
    flags = '--growth --model dems_nano --device cpu --json'.split()
    for more, n, drop in (((), 1, 0.), (('--batch_size', 4, '--attn_drop', .1), 4, .1)):
        assert bench(monkeypatch, *flags, tmp_path/'g.json', *more) == 0
        assert given['batch_size'] == n and given['attn_drop'] == drop

def test_growth(monkeypatch, capsys, tmp_path):
    sizes = tuple((16, 32) if d == (16, 32, 48, 64, 80, 96) else d for d in B.growth.__defaults__)
    monkeypatch.setattr(B.growth, '__defaults__', sizes)
    flags = '--growth --model dems_nano --steps 1 --device cpu --json'.split()
    assert bench(monkeypatch, *flags, tmp_path/'g.json') == 0
    rows = json.loads((tmp_path/'g.json').read_text())['growth']
    assert [r['image_size'] for r in rows] == [16, 32]

def test_a_result_outlives_what_comes_after_it(monkeypatch, tmp_path):
    "The time of the imports is not the point: where it cannot be had, the rest is kept."
    flags = '--model dems_nano --batch_size 4 --steps 1 --device cpu --precision fp32'.split()
    def fail(): raise OSError('no second process')
    monkeypatch.setattr(B, 'compare_augmentation', lambda **kw: None)
    monkeypatch.setattr(B, 'import_seconds', fail)
    monkeypatch.setattr(sys, 'argv', ['dems_bench'])
    assert B.main([*flags, '--json', str(tmp_path/'b.json')]) == 0
    result = json.loads((tmp_path/'b.json').read_text())
    assert result['import_seconds'] == 'not measured: no second process'
    assert set(result['ways']) == {'plain, fp32', 'here, fp32'}

wrong = [('--model nope', "unknown model 'nope': the known ones are"),
         ('--device tpu', "device is 'tpu': give cpu or cuda"),
         ('--batch_size 0', 'batch_size is 0: give 1 or more'),
         ('--steps -1', 'steps is -1: give 1 or more'),
         ('--threads 0', 'threads is 0: give 1 or more'),
         ('--precision fp8', "precision is 'fp8': the known ones are fp32, bf16, fp16"),
         ('--attn_drop 2', 'attn_drop is 2'),
         ('--json .', 'json is ., a folder: give the name of a file'),
         ('--profile setup.py', 'profile is setup.py, a file: give a folder'),
         ('--growth --profile out', 'profile is out: not together with --growth'),
         ('--growth --compile', 'compile is True: not together with --growth'),
         ('--growth --attn_drop 2', 'attn_drop is 2')]
@pytest.mark.parametrize('flags,says', wrong, ids=[w[0] for w in wrong])
def test_wrong_flags(monkeypatch, capsys, flags, says):
    monkeypatch.chdir(root)
    device = () if '--device' in flags else ('--device', 'cpu')
    assert bench(monkeypatch, *flags.split(), *device) == 2
    got = capsys.readouterr()
    assert got.err.startswith('dems_bench: error: ') and says in got.err and got.err.count(
        '\n') == 1 and not got.out

@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_no_gpu(monkeypatch, capsys):
    assert bench(monkeypatch, '--device', 'cuda') == 2
    assert 'device is cuda, and there is none here: give cpu' in capsys.readouterr().err

# on a GPU
@pytest.mark.cuda
@pytest.mark.parametrize('compile', [False, True])
@pytest.mark.parametrize('name', ['dems_tiny', 'dems_small'])
def test_on_cuda_a_step_does_not_wait(name, compile):
    step = B.TrainingStep(create_model(name, drop_path=.15, attn_drop=.05).cuda(), 32, 'bf16',
                          compile)
    for _ in range(3): step()
    torch.cuda.synchronize()
    assert B.waits(step, 'cuda') == []
    assert B.waits(lambda: step().item(), 'cuda')  # it would be seen

@pytest.mark.cuda
@pytest.mark.parametrize('kind', ['light', 'pretrain', 'finetune'])
def test_on_cuda_a_step_of_the_learner_does_not_wait(kind):
    "From the end of the second step on: the loader, augmentation and normalisation are in it."
    from fastai.callback.core import Callback
    class NoWait(Callback):
        order, seen = 1000, 0
        def after_batch(self):
            if not self.training: return
            inside = 0 < self.iter < self.n_iter - 1
            torch.cuda.set_sync_debug_mode('error' if inside else 'default')
            self.seen += inside
    make = Recipe if kind == 'light' else getattr(Recipe, kind)
    recipe = make(model='dems_nano', dataset='sample', epochs=1, bs=128)
    learn = make_learner(recipe, device='cuda', cbs=[cb := NoWait()])
    try:
        with learn.no_bar(), learn.no_logging(): learn.fit(1)
    finally: torch.cuda.set_sync_debug_mode('default')
    assert cb.seen > 10

@pytest.mark.parametrize('device, name, backend', [
    ('cpu', 'dems_nano', 'aot_eager'),
    pytest.param('cuda', 'dems_tiny', 'inductor', marks=pytest.mark.cuda)])
def test_compiled_is_eager_is_plain(device, name, backend):
    "Outputs and gradients, in float32."
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch._dynamo.reset()
    model = create_model(name).to(device)
    x, y = torch.randn(4, 3, 32, 32, device=device), torch.arange(4, device=device)
    def seen(model, call):
        model.zero_grad()
        out = call(x)
        torch.nn.functional.cross_entropy(out, y).backward()
        grads = {k: p.grad.clone() for k, p in model.named_parameters() if p.requires_grad}
        return dict(out=out.detach(), **grads)
    eager, twin = seen(model, model), B.plain_twin(model)
    for other in (seen(model, torch.compile(model, fullgraph=True, backend=backend)),
                  seen(twin, twin)):
        assert other.keys() == eager.keys() and len(eager) > 50
        for k, v in eager.items():
            apart = (other[k] - v).abs().max()
            assert apart < 1e-4*(1 if k == 'out' else v.abs().max() + 1e-3), f'{k}: {apart}'

@pytest.mark.cuda
def test_on_cuda_measured_memory_is_near_the_estimate():
    gc.collect()
    before = torch.cuda.memory_allocated()                  # of other tests
    model = create_model('dems_small', drop_path=.15, attn_drop=.05).cuda()
    step = B.TrainingStep(model, 64, 'bf16')
    step()
    measured = B.peak_memory(step, 'cuda') - before
    said = B.estimate_memory(model.cpu(), 64, 'bf16')['total']
    assert said < measured < 1.2*said

@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason='there is one GPU')
def test_on_cuda_the_clock_is_that_of_the_card_asked_for():
    seen = []
    B.seconds(lambda: seen.append(torch.cuda.current_device()), 1, 'cuda:1')
    assert seen == [1]
