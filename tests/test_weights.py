"Files: written whole or not at all, read without running anything, refused with a reason."
import errno, os, pytest, torch
from pathlib import Path
from dems_nb import weights as W
from dems_nb.model import create_model

golden = Path(__file__).parent/'golden'

@pytest.fixture
def model(): return create_model('dems_nano', n_classes=7, in_chans=1).eval()

def released(name='micro32'):
    t, _ = W.read_safetensors(golden/f'{name}.safetensors')
    return {k[3:]: v for k, v in t.items() if k.startswith('sd.')}

def load(source): return W.load_released(source, heads=2, mix_before=(2, 4))

@pytest.mark.parametrize('name', ['dems_nano', 'vit_nano'])
def test_a_model_comes_back_from_its_file_alone(name, tmp_path):
    m = create_model(name, n_classes=7, in_chans=1, drop_path=.1).eval()
    again, x = W.load_model(W.save_model(m, tmp_path/'deep/er/m.safetensors')), torch.randn(2, 1, 32, 32)
    assert again.config == m.config and not again.training and torch.equal(again(x), m(x))

def test_half_precision_file_loads_as_float32(model, tmp_path):
    whole, half = W.save_model(model, tmp_path/'a'), W.save_model(model, tmp_path/'b', dtype=torch.float16)
    assert half.stat().st_size < .6*whole.stat().st_size
    again = W.load_model(half)
    assert all(p.dtype == torch.float32 for p in again.parameters())
    torch.testing.assert_close(again.head.weight, model.head.weight, atol=1e-4, rtol=1e-3)

def test_notes_are_kept(model, tmp_path):
    assert W.read_safetensors(W.save_model(model, tmp_path/'m', recipe='{"lr": 1}'))[1]['recipe'] == '{"lr": 1}'
    assert W.load_model(W.save_model(model, tmp_path/'m', config='x')).config == model.config       # a note cannot take its place

@pytest.mark.parametrize('where', ['write', 'fsync', 'replace'])
def test_a_failed_save_leaves_the_old_file_whole(where, model, tmp_path, monkeypatch):
    path = W.save_model(model, tmp_path/'m.safetensors')
    before = path.read_bytes()
    def full(*args): raise OSError(errno.ENOSPC, 'No space left on device')
    if where == 'write':
        real = os.fdopen
        class Disk:
            def __init__(self, f): self.f = f
            def __enter__(self): return self
            def __exit__(self, *a): self.f.close()
            def write(self, data): self.f.write(data[:100]); full()
        monkeypatch.setattr(os, 'fdopen', lambda fd, mode: Disk(real(fd, mode)))
    else: monkeypatch.setattr(os, where, full)
    with pytest.raises(OSError, match='No space left'): W.save_model(create_model('vit_nano'), path)
    monkeypatch.undo()
    assert path.read_bytes() == before and os.listdir(tmp_path) == ['m.safetensors']

def broken(tmp_path, model, kind):
    whole = W.save_model(model, tmp_path/'whole').read_bytes()
    path = tmp_path/'broken.safetensors'
    if kind == 'cut in the tensors': path.write_bytes(whole[:-100])
    if kind == 'cut in the header': path.write_bytes(whole[:40])
    if kind == 'empty': path.write_bytes(b'')
    if kind == 'text': path.write_text('hello '*100)
    if kind == 'pickle': torch.save(model.state_dict(), path)
    return path

@pytest.mark.parametrize('kind', ['cut in the tensors', 'cut in the header', 'empty', 'text', 'pickle'])
def test_a_broken_file(kind, model, tmp_path):
    path = broken(tmp_path, model, kind)
    with pytest.raises(ValueError) as e: W.load_model(path)
    assert str(path) in str(e.value) and 'is no complete safetensors file' in str(e.value) and 'save_model' in str(e.value)

def test_other_bad_files(model, tmp_path):
    from safetensors.torch import save_file
    with pytest.raises(FileNotFoundError, match='there is no file .*none.safetensors'): W.load_model(tmp_path/'none.safetensors')
    save_file({'x': torch.zeros(2)}, tmp_path/'bare')
    with pytest.raises(ValueError, match='no model configuration'): W.load_model(tmp_path/'bare')
    sd = model.state_dict(); sd['head.weight'] = torch.zeros(3, 64); del sd['cls_token']; sd['extra'] = torch.zeros(1)
    save_file(sd, tmp_path/'odd', metadata={'config': __import__('json').dumps(model.config)})
    with pytest.raises(ValueError) as e: W.load_model(tmp_path/'odd')
    assert 'missing cls_token' in str(e.value) and 'unknown extra' in str(e.value) and 'head.weight is (3, 64), not (7, 64)' in str(e.value)
    save_file({'x': torch.zeros(2)}, tmp_path/'alien', metadata={'config': '{"arch": "cnn"}'})
    with pytest.raises(ValueError, match="unknown arch 'cnn'"): W.load_model(tmp_path/'alien')

@pytest.mark.parametrize('wrap', ['bare', 'nested', 'module.', 'no norm_merge', 'file', 'file, nested, module.'])
def test_released_checkpoints_in_every_dress(wrap, tmp_path):
    sd, x = released(), torch.randn(2, 3, 32, 32)
    want = load(sd)(x)
    if 'no norm_merge' in wrap: sd = {k: v for k, v in sd.items() if not k.startswith('norm_merge')}
    if 'module.' in wrap: sd = {f'module.{k}': v for k, v in sd.items()}
    source = {'model': sd, 'optimizer': {'state': {}, 'param_groups': [{'lr': .1}]}, 'epoch': 799, 'scaler': {'scale': 2.}} if 'nested' in wrap else sd
    if 'file' in wrap: torch.save(source, tmp_path/'c.pth'); source = tmp_path/'c.pth'
    assert torch.equal(load(source)(x), want)

def test_released_configuration_is_read_off_the_shapes():
    m = load(released('gray32'))
    want = dict(arch='dems', image_size=32, patch_sizes=(2, 4, 8, 16), in_chans=1, n_classes=10, dim=16, depth=4, heads=2, mix_before=(2, 4), n_mixed=(6, 6))
    assert {k: m.config[k] for k in want} == want and not m.training

def test_heads_default_to_64_numbers_each():
    from dems_nb.weights import _released_config
    for dim, heads in ((192, 3), (384, 6)):
        sd = {k: v for k, v in released().items()}
        sd['patch_embed.proj.weight'] = torch.zeros(dim, 3, 2, 2)
        sd.update({k: torch.zeros(1, v.shape[1], dim) for k, v in sd.items() if k.startswith('pos_embed')})
        assert _released_config(sd, None, (6, 10))['heads'] == heads

@pytest.mark.parametrize('said, change', [
    ('it has no patch_embed.proj.weight', lambda sd: sd.pop('patch_embed.proj.weight')),
    ('it has no pos_embed_8', lambda sd: sd.pop('pos_embed_8')),
    ('do not halve from scale to scale', lambda sd: sd.update(pos_embed_4=torch.zeros(1, 25, 16))),
    ('do not halve from scale to scale', lambda sd: sd.update(pos_embed=torch.zeros(1, 255, 16))),
    ('patch_embed.proj.weight has shape (16,): expected four axes', lambda sd: sd.update({'patch_embed.proj.weight': torch.zeros(16)})),
    ('pos_embed_4 has shape (1, 16, 8): expected (1, tokens, 16)', lambda sd: sd.update(pos_embed_4=torch.zeros(1, 16, 8))),
    ('head.bias is (3,), not (7,)', lambda sd: sd.update({'head.bias': torch.zeros(3)})),
    ('missing blocks.1.norm1.bias', lambda sd: sd.pop('blocks.1.norm1.bias')),
    ('unknown blocks.1.norm3.bias', lambda sd: sd.update({'blocks.1.norm3.bias': torch.zeros(16)})),
    ('norm_merge1.weight differs from its second copy mlp1.norm.weight', lambda sd: sd.update({'norm_merge1.weight': torch.zeros(16)})),
    ('pos_embed_2 is not the fixed sine-cosine embedding', lambda sd: sd.update(pos_embed_2=torch.ones(1, 64, 16)))])
def test_a_checkpoint_that_fits_no_configuration(said, change):
    sd = released(); change(sd)
    with pytest.raises(ValueError) as e: load(sd)
    assert said in str(e.value)

def test_other_bad_checkpoints(tmp_path):
    with pytest.raises(FileNotFoundError, match='there is no file'): load(tmp_path/'none.pth')
    with pytest.raises(ValueError, match='pass heads=, a divisor of 16'): W.load_released(released(), mix_before=(2, 4))
    with pytest.raises(ValueError, match='there is no block 6'): W.load_released(released(), heads=2)
    with pytest.raises(ValueError, match='holds no state dict'): load({'epoch': 3})
    with pytest.raises(ValueError, match='holds no state dict'): load({})
    torch.save(released(), tmp_path/'c.pth')
    (tmp_path/'cut.pth').write_bytes((tmp_path/'c.pth').read_bytes()[:3000])
    with pytest.raises(ValueError, match='is no complete PyTorch checkpoint'): load(tmp_path/'cut.pth')
    (tmp_path/'text.pth').write_text('hello')
    with pytest.raises(ValueError, match='refused and nothing in it was run|no complete PyTorch checkpoint'): load(tmp_path/'text.pth')

class Trap:
    def __init__(self, path): self.path = path
    def __reduce__(self): return (os.mkdir, (str(self.path),))

@pytest.mark.parametrize('zipped', [True, False])
def test_a_pickle_that_carries_code_is_refused_and_not_run(zipped, tmp_path):
    torch.save({'model': {**released(), 'x': Trap(tmp_path/'sprung')}}, tmp_path/'trap.pth', _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match='was refused and nothing in it was run'): load(tmp_path/'trap.pth')
    with pytest.raises(ValueError): W.load_model(tmp_path/'trap.pth')
    assert not (tmp_path/'sprung').exists()
    torch.load(tmp_path/'trap.pth', weights_only=False)
    assert (tmp_path/'sprung').exists()                 # the trap was a real one

def test_bundled():
    from importlib.resources import files
    m = W.load_bundled()
    assert m.config['arch'] == 'dems' and m.config['in_chans'] == 1 and not m.training
    with pytest.raises(ValueError, match="no bundled model 'x': the package brings .*dems_nano_fashionmnist"): W.load_bundled('x')
    assert (files('dems_nb')/'assets'/'dems_nano_fashionmnist.safetensors').stat().st_size <= 2_000_000

@pytest.mark.parametrize('umask, mode', [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_who_may_read_a_file_is_up_to_the_umask(umask, mode, tmp_path):
    old = os.umask(umask)
    try: path = W.write_atomic(tmp_path/'f', b'x')
    finally: os.umask(old)
    assert path.stat().st_mode & 0o777 == mode and [p.name for p in tmp_path.iterdir()] == ['f']

def test_heads_that_are_not_stored_are_asked_for():
    with pytest.raises(ValueError, match='does not store the number of heads, and width/64, as in the paper.s sizes, is no whole number for width 16'): W.load_released(released())
    with pytest.raises(ValueError, match='heads=3 does not fit width 16'): W.load_released(released(), heads=3)
    with pytest.raises(ValueError, match='mix_before is 2: give a tuple'): W.load_released(released(), heads=2, mix_before=2)
