"The network: cost, shapes, bad arguments, and what must not be in its forward pass."
import pytest, torch
from torch.utils._python_dispatch import TorchDispatchMode
from dems_nb.interaction import RegionalInteraction
from dems_nb.layout import TokenLayout
from dems_nb.model import (DEMSViT, ViT, build_model, count_cost, create_model, list_models,
                           shape_ledger)
from dems_nb.tokenizer import MultiScaleTokenizer, sincos_position_embedding
from dems_nb.weights import load_model, save_model

def raises(said, f, *args, error=ValueError, **kwargs):
    with pytest.raises(error) as e: f(*args, **kwargs)
    assert said in str(e.value), str(e.value)
    assert '\n' not in str(e.value)

@pytest.mark.parametrize('name, trained, all_, macs, without', [
    ('dems_tiny', 5_600_258, 5_665_538, 2.029, 1.628),
    ('dems_small', 22_253_154, 22_383_714, 6.492, 5.804)])
def test_cost_of_the_released_models(name, trained, all_, macs, without):
    c = count_cost(create_model(name, n_classes=100))
    assert (c['trained'], c['all']) == (trained, all_)
    assert (round(c['macs']/1e9, 3), round(c['macs_without_attention']/1e9, 3)) == (macs, without)
    # the paper's table
    assert round(c['macs_without_attention']/1e9, 1) == {'dems_tiny': 1.6, 'dems_small': 5.8}[name]
    assert sum(c['parts'].values()) == c['macs']

# M multiply-adds: qkv, attention products, projection, MLP, interaction
@pytest.mark.parametrize('name, parts', [
    ('dems_tiny', (388, 401, 129, 1033, 77)), ('dems_small', (1380, 688, 460, 3681, 281))])
def test_cost_by_part(name, parts):
    got = count_cost(create_model(name, n_classes=100))['parts']
    assert tuple(round(got[k]/1e6) for k in ('qkv', 'attention products', 'projection', 'mlp',
                                             'interaction')) == parts

def test_macs_of_a_plain_vit_by_hand():
    n, d, depth = 65, 64, 6
    by_hand = depth*(n*d*3*d + 2*n*n*d + n*d*d + 8*n*d*d) + 64*16*d + d*10
    assert count_cost(create_model('vit_nano', in_chans=1))['macs'] == by_hand

@pytest.mark.parametrize('name, want',
                         [('dems_tiny', [341]*5 + [257]*7),
                          ('dems_small', [341]*5 + [257]*4 + [129]*3), ('vit_small', [257]*12)])
def test_shape_ledger(name, want):
    model = create_model(name)
    led = shape_ledger(model, batch=2)
    assert list(led.columns) == ['stage', 'axes', 'sizes']
    blocks = [s for stage, s in zip(led.stage, led.sizes) if stage.startswith('block')]
    assert [s[1] for s in blocks] == want
    assert {(s[0], s[2]) for s in blocks} == {(2, model.config['dim'])}
    assert all(len(axes.split()) == len(sizes) for axes, sizes in zip(led['axes'], led['sizes']))
    assert tuple(led.sizes.iloc[0]) == (2, 3, 32, 32) and tuple(led.sizes.iloc[-1]) == (2, 10)
    # left as it was found
    assert model.training and not any(m._forward_hooks for m in model.modules())

@pytest.mark.parametrize('S, p, c, n_scales',
                         [(32, 2, 3, 4), (32, 2, 1, 4), (256, 16, 3, 4), (64, 4, 1, 4),
                          (48, 4, 3, 3), (24, 3, 1, 2), (32, 4, 3, 1)])
@pytest.mark.parametrize('arch', ['dems_nano', 'vit_nano'])
def test_any_size(arch, S, p, c, n_scales):
    m = create_model(arch, n_classes=7, in_chans=c, image_size=S, patch_size=p,
                     n_scales=n_scales).eval()
    assert m(torch.randn(2, c, S, S)).shape == (2, 7)
    assert build_model(m.config).config == m.config

def test_tokens_do_not_depend_on_the_other_images():
    m = create_model('dems_nano', in_chans=1).eval()
    x = torch.randn(3, 1, 32, 32)
    torch.testing.assert_close(m(x)[1:2], m(x[1:2]))

class Watch(TorchDispatchMode):
    "Every operator that runs."
    def __init__(self): super().__init__(); self.ops = set()
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.ops.add(func._schema.name.split('::')[1])
        return func(*args, **(kwargs or {}))

@pytest.mark.parametrize('name', ['dems_tiny', 'vit_tiny'])
def test_forward_looks_nothing_up(name):
    m, x = create_model(name).eval(), torch.randn(2, 3, 32, 32)
    with torch.no_grad(), Watch() as w: m(x)
    assert not w.ops & {'gather', 'index', 'index_select', 'take', 'take_along_dim', 'embedding',
                        'arange', 'scatter', 'index_put'}, w.ops
    assert any('scaled_dot_product' in op for op in w.ops)
    with Watch() as w: torch.zeros(4)[torch.tensor([1])]
    assert 'index' in w.ops  # the watch sees one when there is one

def test_drop_path_rises_linearly_and_rests_in_eval():
    m = create_model('dems_tiny', drop_path=.11)
    assert [round(b.drop_path.p, 4) for b in m.blocks] == [round(.01*i, 4) for i in range(12)]
    m.eval(); x = torch.randn(2, 3, 32, 32)
    assert torch.equal(m(x), m(x))

def test_initialisation():
    m = create_model('dems_tiny')
    for name, mod in m.named_modules():
        if isinstance(mod, torch.nn.Linear):
            assert abs(mod.weight.std().item() - .02) < .002, name
            assert mod.bias is None or not mod.bias.any()
        if isinstance(mod, torch.nn.LayerNorm):
            assert (mod.weight == 1).all() and not mod.bias.any() and mod.eps == 1e-5
    assert abs(m.cls_token.std().item() - .02) < .006
    assert all(b.attn.qkv.bias is None and b.attn.proj.bias is not None for b in m.blocks)
    assert all(i.scale.item() == 1 for i in m.interactions)

def test_position_embedding_is_fixed_and_not_on_the_class_token():
    m = create_model('dems_nano', in_chans=1)
    assert 'tokenizer.pos' not in dict(m.named_parameters())
    assert 'tokenizer.pos' not in m.state_dict()
    assert torch.equal(m.sequence(torch.zeros(1, 1, 32, 32))[:, :1], m.cls_token)

@pytest.mark.parametrize('said, f', [
    ('image_size 28 is not divisible by the largest patch 16',
     lambda: create_model('dems_tiny', image_size=28)),
    ('dim 190 is not divisible by 4', lambda: DEMSViT(dim=190, heads=2)),
    ('dim 192 is not divisible by 5 heads', lambda: DEMSViT(heads=5)),
    ('plain_scales is 1.5', lambda: ViT(plain_scales=1.5)),
    ('plain_scales is -1', lambda: DEMSViT(plain_scales=-1)),
    ('plain_scales is True', lambda: DEMSViT(plain_scales=True)),
    ('plain_scales is 65', lambda: DEMSViT(plain_scales=65)),
    ("attn_drop is 'x'", lambda: ViT(attn_drop='x')), ('mlp_ratio is 0', lambda: ViT(mlp_ratio=0)),
    ('dim is 64.0', lambda: ViT(dim=64.)), ('drop_path is 1.5', lambda: ViT(drop_path=1.5)),
    ('config is None: give a dict', lambda: build_model(None)),
    ('patch_sizes is 2: give a tuple', lambda: ViT(patch_sizes=2)),
    ('heads is 0', lambda: DEMSViT(heads=0)), ('depth is 0', lambda: ViT(depth=0)),
    ('n_classes is 0', lambda: ViT(n_classes=0)), ('in_chans is 0', lambda: ViT(in_chans=0)),
    ('-1 is not a number of mixed tokens', lambda: DEMSViT(n_mixed=(64, -1))),
    ('n_mixed is 0', lambda: RegionalInteraction(8, 0)),
    ('there is no block 13; this model has blocks 1 to 12', lambda: DEMSViT(mix_before=(6, 13))),
    ('there is no block 0', lambda: DEMSViT(mix_before=(0, 10))),
    ('must name different blocks in ascending order', lambda: DEMSViT(mix_before=(10, 6))),
    ('give one number of mixed tokens for each interaction', lambda: DEMSViT(mix_before=(6,))),
    ("unknown model 'resnet50': the known ones are dems_nano, dems_tiny, dems_small, vit_nano, "
     "vit_tiny, vit_small", lambda: create_model('resnet50')),
    ("unknown arch 'cnn'", lambda: build_model(dict(arch='cnn'))),
    ('unexpected keyword argument', lambda: build_model(dict(arch='dems', width=3))),
    ('patch_size 6 is not divisible by 4',
     lambda: MultiScaleTokenizer(TokenLayout(24, (2, 6)), 16, plain_scales=1)),
    ('dim 6 is not divisible by 4', lambda: sincos_position_embedding(4, 6)),
    ('mix_before does not apply to vit_tiny',
     lambda: create_model('vit_tiny', mix_before=(2,), n_mixed=(4,)))])
def test_bad_arguments(said, f): raises(said, f)

@pytest.mark.parametrize('shape', [(2, 3, 28, 28), (2, 1, 32, 32), (3, 28, 28), (2, 3, 32, 64)])
def test_an_image_of_another_shape(shape):
    raises(f'an image batch of shape {shape} does not fit this model, which takes (batch, 3, 32, '
           '32)', create_model('dems_nano'), torch.zeros(shape))

def test_one_image_without_a_batch():
    raises('this model takes a batch; give x[None]', create_model('dems_nano'),
           torch.zeros(3, 32, 32))

def test_patch_sizes_by_hand():
    assert create_model('dems_tiny', image_size=24,
                        patch_sizes=(2, 4, 8)).layout.grids == (12, 6, 3)
    raises('give either patch_sizes, or patch_size and n_scales, not both', create_model,
           'dems_tiny', patch_size=2, patch_sizes=(2, 4))
    raises('patch_size is 0', create_model, 'dems_tiny', patch_size=0)

def test_cost_counts_frozen_parameters_too():
    m = create_model('vit_nano', in_chans=1)
    c = count_cost(m)
    m.head.requires_grad_(False)
    assert count_cost(m)['all'] == c['all']
    assert count_cost(m)['trained'] == c['trained'] - 650
    assert m.training

@pytest.mark.cuda
def test_same_on_cuda():
    m, x = create_model('dems_tiny').eval(), torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(m.cuda()(x.cuda()).cpu(), m.cpu()(x), atol=1e-4, rtol=1e-3)

def test_numpy_integers_are_sizes():
    import json, numpy as np
    i = np.int64
    m = create_model('dems_nano', n_classes=i(7), in_chans=i(1), image_size=i(32), patch_size=i(4),
                     depth=i(6), mix_before=np.array([3, 5]), n_mixed=(i(8), i(4)))
    same = create_model('dems_nano', n_classes=7, in_chans=1)
    assert m.config == same.config
    assert json.loads(json.dumps(m.config))
    sizes = m.config['depth'], *m.config['mix_before'], m.layout.image_size
    assert all(type(v) is int for v in sizes)

def test_other_numbers_of_numpy_and_pytorch_are_saved_too(tmp_path):
    "They were found out by json, when the model was to be saved."
    import numpy as np
    m = create_model('vit_nano', mlp_ratio=np.float32(4), drop_path=torch.tensor(.25),
                     attn_drop=np.float64(.5), plain_scales=np.int64(1))
    same = create_model('vit_nano', mlp_ratio=4., drop_path=.25, attn_drop=.5, plain_scales=1)
    assert m.config == same.config
    assert load_model(save_model(m, tmp_path/'m.safetensors')).config == same.config

@pytest.mark.parametrize('look', [count_cost, shape_ledger])
def test_who_looks_at_a_model_leaves_each_part_in_its_mode(look):
    m = create_model('dems_nano')
    m.blocks[0].eval()
    before = {k: p.training for k, p in m.named_modules()}
    look(m)
    assert before == {k: p.training for k, p in m.named_modules()}

@pytest.mark.parametrize('said, make', [
    ('mix_before is 6: give a tuple of whole numbers, such as (6,)', lambda: DEMSViT(mix_before=6)),
    ('n_mixed is 64: give a tuple of whole numbers, such as (64,)', lambda: DEMSViT(n_mixed=64)),
    ('mix_before is (6.0, 10): give a tuple', lambda: DEMSViT(mix_before=(6., 10))),
    ("mix_before is 'ab': give a tuple", lambda: DEMSViT(mix_before='ab')),
    ('mix_before is 6: give a tuple', lambda: build_model({**DEMSViT().config, 'mix_before': 6})),
    ('dim is True: give a positive whole number', lambda: ViT(dim=True)),
    ('depth is 2.0: give a positive whole number', lambda: ViT(depth=2.))])
def test_a_plan_that_is_no_plan_is_told(said, make):
    with pytest.raises(ValueError) as e: make()
    assert said in str(e.value)

def test_export_with_any_batch():
    "The size of the batch is not looked at, so one exported program takes all."
    model = create_model('dems_nano', depth=2, mix_before=(2,), n_mixed=(4,)).eval()
    program = torch.export.export(model, (torch.rand(2, 3, 32, 32),),
                                  dynamic_shapes=({0: torch.export.Dim('batch')},)).module()
    for n in (1, 5):
        x = torch.rand(n, 3, 32, 32)
        assert torch.allclose(program(x), model(x), atol=1e-5)

def test_no_length_of_a_batch_is_taken_where_a_model_computes():
    "`len(x)` is a number and pins the batch in graphs of older PyTorch; `x.shape[0]` is not."
    import ast
    from pathlib import Path
    for name in ('model', 'tokenizer', 'interaction', 'kernels', 'layout'):
        code = (Path(__file__).parents[1]/f'dems_nb/{name}.py').read_text(encoding='utf-8')
        taken = [ast.unparse(n) for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Call)]
        assert 'len(x)' not in taken, name

@pytest.mark.parametrize('capability, flags, kind', [
    ('AVX512', 'avx512f avx512_bf16 amx_tile amx_bf16', 'amx_bf16'),
    ('AVX512', 'avx512f avx512_bf16', 'avx512_bf16'), ('AVX512', 'avx512f', 'avx512'),
    ('AVX512', 'AuthenticAMD avx512f avx512_bf16', 'amd_avx512_bf16'),
    ('AVX2', 'AuthenticAMD avx512f avx512_bf16', 'avx2'),
    ('AVX2', 'avx512f avx512_bf16 amx_bf16', 'avx2'), ('DEFAULT', '', 'other')])
def test_a_linear_layer_is_a_convolution_only_in_float32_by_avx512_of_amd(
        capability, flags, kind, monkeypatch):
    from dems_nb import kernels as K
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: capability)
    monkeypatch.setattr(K, '_cpu_flags', lambda: set(flags.split()))
    assert K.processor.__wrapped__() == kind
    monkeypatch.setattr(K, '_here', kind)
    layer, taken, x = K.TokenLinear(4, 6), [], torch.randn(2, 3, 4)
    monkeypatch.setattr(layer, 'as_convolution', lambda x: taken.append(1) or x)
    with torch.autocast('cpu', torch.bfloat16): layer(x)
    assert not taken
    layer(x)
    assert len(taken) == (kind == 'amd_avx512_bf16')
