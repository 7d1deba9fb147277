"What a file says of itself is held against what it holds, before anything is made of it."
import json, pytest, tarfile, torch, zipfile
from pathlib import Path
from safetensors.torch import save_file
from dems_nb import weights as W
from dems_nb.model import build_model, create_model
from dems_nb.trust import hold_against, open_pth

configs = [('dems_nano', {}), ('vit_nano', {}), ('dems_tiny', dict(depth=2, mix_before=(1, 2))),
           ('vit_tiny', dict(depth=1, n_scales=3)), ('dems_nano', dict(mix_before=(), n_mixed=())),
           ('dems_nano', dict(plain_scales=0, mlp_ratio=2.5, in_chans=1))]

@pytest.mark.parametrize('name, more', configs, ids=str)
def test_the_truth_passes(name, more):
    m = create_model(name, 3, **more)
    hold_against(m.config, m.state_dict())
    hold_against(json.loads(json.dumps(m.config)), m.state_dict())  # as it comes out of a file

lies = [(k, v) for k, vs in dict(
    arch=[None, 'cnn', 3, 'vit', []],
    image_size=[16000, 2**40, 0, -1, None, '32', 32., True, 10**400],
    patch_sizes=[[2, 4, 8], [4, 8], None, 4, [4, 8, 10**9], 'abc'],
    in_chans=[3, 10**9, None, '1', True],
    n_classes=[10**9, 0, None, [7]], dim=[128, 10**9, None, 64.5], depth=[10**9, 5, None, '6', -1],
    heads=[0, 3, 10**9, None, 2.5, True], n_mixed=[[8], [8, 5], None, 8, [10**9, 4]],
    mlp_ratio=[0, 8, 1e300, 'x', None, float('nan'), float('inf')],
    drop_path=[-1, 'x', float('nan'), 1e300, 1],
    attn_drop=[-1, [], float('inf')], plain_scales=[0, 1, None, 10**9],
    mix_before=[[1], [5, 3], None, 3, [3, 10**9], 'ab'],
    unheard_of=[1]).items() for v in vs]

@pytest.fixture(scope='module')
def nano(): return create_model('dems_nano', 7, in_chans=1)

@pytest.mark.parametrize('field, lie', lies, ids=lambda v: str(v)[:20])
def test_a_lie_is_refused_and_the_file_named(field, lie, nano, tmp_path, monkeypatch):
    save_file(nano.state_dict(), tmp_path/'f',
              metadata={'config': json.dumps({**nano.config, field: lie})})
    small = (lambda config: build_model(config) if config['depth'] == 6 and config['dim'] == 64
             else pytest.fail('built'))
    monkeypatch.setattr(W, 'build_model', small)
    with pytest.raises(ValueError) as e: W.load_model(tmp_path/'f')
    assert str(e.value).startswith(f'{tmp_path/"f"}: ') and len(str(e.value)) < 400

@pytest.mark.parametrize('field',
                         ['arch', 'image_size', 'patch_sizes', 'in_chans', 'n_classes', 'dim',
                          'depth', 'heads', 'n_mixed', 'plain_scales'])
def test_a_field_that_is_missing(field, nano):
    with pytest.raises(ValueError):
        hold_against({k: v for k, v in nano.config.items() if k != field}, nano.state_dict())

def test_large_pictures_that_a_model_bears():
    c = create_model('dems_small', 3, depth=2, mix_before=(1, 2))
    hold_against({**c.config, 'image_size': 256}, c.state_dict())
    with pytest.raises(ValueError, match='image_size is 512: with its patches that is more'):
        hold_against({**c.config, 'image_size': 512}, c.state_dict())

@pytest.mark.parametrize('change, part', [
    (lambda sd: sd.update({'blocks.999999999.norm1.weight': torch.zeros(64)}),
     'its blocks are not numbered from 0 to 6'),
    (lambda sd: sd.update({'blocks.x.norm1.weight': torch.zeros(64)}),
     'its blocks are not numbered'),
    (lambda sd: [sd.pop(k) for k in list(sd) if k.startswith('blocks.')], 'it has no blocks'),
    (lambda sd: sd.pop('head.weight'), 'it has no head.weight'),
    (lambda sd: sd.update({'head.weight': torch.zeros(())}), r'head.weight has shape \(\): '
                                                             r'expected 2 axes'),
    (lambda sd: sd.update({'head.weight': torch.zeros(0, 64)}), r'head.weight has shape \(0, 64\)'),
    (lambda sd: sd.update({'interactions.0.mlp.4.weight': torch.zeros(3)}), 'expected 2 axes'),
    (lambda sd: sd.update({'tokenizer.embeds.0.weight': torch.zeros(64, 3, 4, 4)}),
     r'for \[1, 3\] channels'),
    (lambda sd: [sd.pop(k) for k in list(sd) if 'qkv' in k or '.mlp.2.' in k],
     'lacks most of the tensors')])
def test_tensors_that_make_no_model(change, part, nano):
    sd = dict(nano.state_dict())
    change(sd)
    with pytest.raises(ValueError, match=part): hold_against(nano.config, sd)

def test_a_thousand_blocks_without_weights(nano):
    dim, sd = 4096, dict(nano.state_dict())
    sd = {k: v for k, v in sd.items() if not k.startswith('interactions.')}
    for b in range(1000): sd[f'blocks.{b}.norm1.weight'] = torch.zeros(1)
    sd['blocks.0.mlp.0.weight'] = torch.zeros(4*dim, 1)
    sd['head.weight'] = torch.zeros(1, dim)
    config = {**nano.config, 'arch': 'vit', 'dim': dim, 'depth': 1000, 'n_classes': 1, 'heads': 64}
    del config['mix_before'], config['n_mixed']
    with pytest.raises(ValueError, match='lacks most of the tensors'): hold_against(config, sd)

def test_a_packed_archive(tmp_path):
    torch.save({'w': torch.zeros(10**6)}, tmp_path/'large.pth')
    with zipfile.ZipFile(tmp_path
                         /'large.pth') as z, zipfile.ZipFile(tmp_path/'p.pth', 'w',
                                                             zipfile.ZIP_DEFLATED) as p:
        for n in z.namelist(): p.writestr(n, z.read(n))
    assert open_pth(tmp_path/'large.pth')['w'].shape == (10**6,)
    with pytest.raises(ValueError, match='p.pth: it is no complete .* packed archive'):
        W.load_model(tmp_path/'p.pth')

# what a refusal repeats

HUGE = ['9'*5000, [1]*5000, {'a'*5000: 1}]

@pytest.mark.parametrize('value', HUGE, ids=lambda v: type(v).__name__)
def test_a_refusal_repeats_no_value_of_thousands_of_characters(value):
    from dataclasses import fields
    from dems_nb.learner import Recipe
    from dems_nb.results import check_row
    root = Path(__file__).parents[1]
    row = json.loads(next((root/'results/ledger/cifar10').glob('*.json')).read_text())
    tries = [lambda f=f: Recipe(**{f.name: value}) for f in fields(Recipe)]
    tries += [lambda k=k: check_row({**row, k: value}) for k in row]
    said = []
    for attempt in tries:
        try: attempt()
        except ValueError as e: said.append(str(e))
    assert len(said) > len(tries)//2
    assert max(map(len, said)) < 600, max(said, key=len)[:300]

def test_a_file_with_a_huge_header_is_refused_in_a_line(tmp_path):
    from dems_nb.weights import read_safetensors
    header = json.dumps({'a': {'dtype': '9'*5000, 'shape': [1], 'data_offsets': [0, 4]}}).encode()
    file = tmp_path/'m.safetensors'
    file.write_bytes(len(header).to_bytes(8, 'little') + header + bytes(4))
    with pytest.raises(ValueError, match='is no complete safetensors file') as e:
        read_safetensors(file)
    assert len(str(e.value)) < 600

def test_a_tar_archive_is_refused(tmp_path, monkeypatch):
    "PyTorch before 2.6 unpickles one as if it were trusted."
    monkeypatch.setattr(torch, 'load', lambda *a, **kw: pytest.fail('read'))
    (tmp_path/'pickle').write_bytes(b'whatever')
    with tarfile.open(tmp_path/'m.pth', 'w') as tar: tar.add(tmp_path/'pickle', 'pickle')
    with pytest.raises(ValueError, match='it is a tar archive'): open_pth(tmp_path/'m.pth')
    with zipfile.ZipFile(tmp_path/'m.pth', 'a') as z: z.writestr('more', 'at the end, a ZIP')
    with pytest.raises(ValueError, match='it is a tar archive'): open_pth(tmp_path/'m.pth')
