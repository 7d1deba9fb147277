"Files: written whole or not at all, read without running anything, refused with a reason."
import errno, json, os, pytest, sys, threading, torch
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
    again, x = W.load_model(W.save_model(m, tmp_path
                                         /'deep/er/m.safetensors')), torch.randn(2, 1, 32, 32)
    assert again.config == m.config and not again.training and torch.equal(again(x), m(x))

def test_half_precision_file_loads_as_float32(model, tmp_path):
    whole, half = W.save_model(model, tmp_path
                               /'a'), W.save_model(model, tmp_path/'b', dtype=torch.float16)
    assert half.stat().st_size < .6*whole.stat().st_size
    again = W.load_model(half)
    assert all(p.dtype == torch.float32 for p in again.parameters())
    torch.testing.assert_close(again.head.weight, model.head.weight, atol=1e-4, rtol=1e-3)

def test_notes_are_kept(model, tmp_path):
    assert W.read_safetensors(W.save_model(model, tmp_path/'m',
                                           recipe='{"lr": 1}'))[1]['recipe'] == '{"lr": 1}'
    # a note cannot take its place
    assert W.load_model(W.save_model(model, tmp_path/'m', config='x')).config == model.config

@pytest.mark.parametrize('where', ['write', 'fsync', 'replace'])
def test_a_failed_save_leaves_the_old_file_whole(where, model, tmp_path, monkeypatch):
    path = W.save_model(model, tmp_path/'m.safetensors')
    before = path.read_bytes()
    def full(*args): raise OSError(errno.ENOSPC, 'No space left on device')
    if where == 'write':
        class Disk:
            def __init__(self, f): self.f = f
            def __enter__(self): return self
            def __exit__(self, *a): self.f.close()
            def write(self, data):
                self.f.write(data[:100])
                full()
        monkeypatch.setattr(W, 'open', lambda path, mode: Disk(open(path, mode)), raising=False)
    else: monkeypatch.setattr(os, where, full)
    with pytest.raises(OSError, match='No space left.*m.safetensors'):
        W.save_model(create_model('vit_nano'), path)
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

@pytest.mark.parametrize('kind',
                         ['cut in the tensors', 'cut in the header', 'empty', 'text', 'pickle'])
def test_a_broken_file(kind, model, tmp_path):
    path = broken(tmp_path, model, kind)
    with pytest.raises(ValueError) as e: W.load_model(path)
    assert str(path) in str(e.value)
    assert 'is no complete safetensors file' in str(e.value)
    assert 'save_model' in str(e.value)

def test_other_bad_files(model, tmp_path):
    from safetensors.torch import save_file
    with pytest.raises(FileNotFoundError, match='there is no file .*none.safetensors'):
        W.load_model(tmp_path/'none.safetensors')
    save_file({'x': torch.zeros(2)}, tmp_path/'bare')
    with pytest.raises(ValueError, match='no model configuration'): W.load_model(tmp_path/'bare')
    sd = model.state_dict()
    sd['head.bias'] = torch.zeros(3)
    del sd['cls_token']
    sd['extra'] = torch.zeros(1)
    save_file(sd, tmp_path/'odd', metadata={'config': json.dumps(model.config)})
    with pytest.raises(ValueError) as e: W.load_model(tmp_path/'odd')
    for part in ('odd: its weights do not fit', 'missing cls_token', 'unknown extra',
                 'head.bias is (3,), not (7,)'):
        assert part in str(e.value)
    save_file({'x': torch.zeros(2)}, tmp_path/'alien', metadata={'config': '{"arch": "cnn"}'})
    with pytest.raises(ValueError, match="alien: unknown arch 'cnn'"):
        W.load_model(tmp_path/'alien')

@pytest.mark.parametrize('wrap',
                         ['bare', 'nested', 'module.', 'no norm_merge', 'file',
                          'file, nested, module.'])
def test_released_checkpoints_in_every_dress(wrap, tmp_path):
    sd, x = released(), torch.randn(2, 3, 32, 32)
    want = load(sd)(x)
    if 'no norm_merge' in wrap: sd = {k: v for k, v in sd.items() if not k.startswith('norm_merge')}
    if 'module.' in wrap: sd = {f'module.{k}': v for k, v in sd.items()}
    source = {'model': sd, 'optimizer': {'state': {}, 'param_groups': [{'lr': .1}]}, 'epoch': 799,
              'scaler': {'scale': 2.}} if 'nested' in wrap else sd
    if 'file' in wrap: torch.save(source, tmp_path/'c.pth'); source = tmp_path/'c.pth'
    assert torch.equal(load(source)(x), want)

def test_released_configuration_is_read_off_the_shapes():
    m = load(released('gray32'))
    want = dict(arch='dems', image_size=32, patch_sizes=(2, 4, 8, 16), in_chans=1, n_classes=10,
                dim=16, depth=4, heads=2, mix_before=(2, 4), n_mixed=(6, 6))
    assert {k: m.config[k] for k in want} == want and not m.training

def test_heads_default_to_64_numbers_each():
    from dems_nb.weights import _released_config
    for dim, heads in ((192, 3), (384, 6)):
        sd = {k: v for k, v in released().items()}
        sd['patch_embed.proj.weight'] = torch.zeros(dim, 3, 2, 2)
        sd.update({k: torch.zeros(1, v.shape[1], dim) for k, v in sd.items()
                   if k.startswith('pos_embed')})
        assert _released_config(sd, None, (6, 10))['heads'] == heads

@pytest.mark.parametrize('said, change', [
    ('it has no patch_embed.proj.weight', lambda sd: sd.pop('patch_embed.proj.weight')),
    ('it has no pos_embed_8', lambda sd: sd.pop('pos_embed_8')),
    ('do not halve from scale to scale', lambda sd: sd.update(pos_embed_4=torch.zeros(1, 25, 16))),
    ('do not halve from scale to scale', lambda sd: sd.update(pos_embed=torch.zeros(1, 255, 16))),
    ('patch_embed.proj.weight has shape (16,): expected 4 axes',
     lambda sd: sd.update({'patch_embed.proj.weight': torch.zeros(16)})),
    ('pos_embed_4 has shape (1, 16, 8): expected (1, tokens, 16)',
     lambda sd: sd.update(pos_embed_4=torch.zeros(1, 16, 8))),
    ('head.bias is (3,), not (7,)', lambda sd: sd.update({'head.bias': torch.zeros(3)})),
    ('pos_embed_4 has shape (16, 16): expected 3 axes',
     lambda sd: sd.update(pos_embed_4=torch.zeros(16, 16))),
    ('missing blocks.1.norm1.bias', lambda sd: sd.pop('blocks.1.norm1.bias')),
    ('unknown blocks.1.norm3.bias', lambda sd: sd.update({'blocks.1.norm3.bias': torch.zeros(16)})),
    ('norm_merge1.weight differs from its second copy mlp1.norm.weight',
     lambda sd: sd.update({'norm_merge1.weight': torch.zeros(16)})),
    ('pos_embed_2 is not the fixed sine-cosine embedding',
     lambda sd: sd.update(pos_embed_2=torch.ones(1, 64, 16)))])
def test_a_checkpoint_that_fits_no_configuration(said, change):
    sd = released(); change(sd)
    with pytest.raises(ValueError) as e: load(sd)
    assert said in str(e.value)

def test_other_bad_checkpoints(tmp_path):
    with pytest.raises(FileNotFoundError, match='there is no file'): load(tmp_path/'none.pth')
    with pytest.raises(ValueError, match='pass heads=, a divisor of 16'):
        W.load_released(released(), mix_before=(2, 4))
    with pytest.raises(ValueError, match='there is no block 6'):
        W.load_released(released(), heads=2)
    with pytest.raises(ValueError, match='holds no state dict'): load({'epoch': 3})
    with pytest.raises(ValueError, match='holds no state dict'): load({})
    torch.save(released(), tmp_path/'c.pth')
    (tmp_path/'cut.pth').write_bytes((tmp_path/'c.pth').read_bytes()[:3000])
    with pytest.raises(ValueError, match='is no complete PyTorch checkpoint'):
        load(tmp_path/'cut.pth')
    (tmp_path/'text.pth').write_text('hello')
    with pytest.raises(ValueError, match='refused and nothing in it was run|no complete PyTorch '
                                         'checkpoint'):
        load(tmp_path/'text.pth')

class Trap:
    def __init__(self, path): self.path = path
    def __reduce__(self): return (os.mkdir, (str(self.path),))

@pytest.mark.parametrize('zipped', [True, False])
def test_a_pickle_that_carries_code_is_refused_and_not_run(zipped, tmp_path):
    torch.save({'model': {**released(), 'x': Trap(tmp_path/'sprung')}}, tmp_path/'trap.pth',
               _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match='was refused and nothing in it was run'):
        load(tmp_path/'trap.pth')
    with pytest.raises(ValueError): W.load_model(tmp_path/'trap.pth')
    assert not (tmp_path/'sprung').exists()
    torch.load(tmp_path/'trap.pth', weights_only=False)
    assert (tmp_path/'sprung').exists()                 # the trap was a real one

def test_bundled():
    from importlib.resources import files
    m = W.load_bundled()
    assert m.config['arch'] == 'dems' and m.config['in_chans'] == 1 and not m.training
    with pytest.raises(ValueError, match="no bundled model 'x': the package brings "
                                         ".*dems_nano_fashionmnist"):
        W.load_bundled('x')
    assert (files('dems_nb')/'assets'
            /'dems_nano_fashionmnist.safetensors').stat().st_size <= 2_000_000

@pytest.mark.parametrize('umask, mode', [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_who_may_read_a_file_is_up_to_the_umask(umask, mode, tmp_path):
    old = os.umask(umask)
    try: path = W.write_atomic(tmp_path/'f', b'x')
    finally: os.umask(old)
    assert path.stat().st_mode & 0o777 == mode and [p.name for p in tmp_path.iterdir()] == ['f']

def test_heads_that_are_not_stored_are_asked_for():
    with pytest.raises(ValueError, match='does not store the number of heads, and width/64, as in '
                                         'the paper.s sizes, is no whole number for width 16'):
        W.load_released(released())
    with pytest.raises(ValueError, match='heads=3 does not fit width 16'):
        W.load_released(released(), heads=3)
    with pytest.raises(ValueError, match='mix_before is 2: give a tuple'):
        W.load_released(released(), heads=2, mix_before=2)

# ---- where things are written

def test_a_link_stays_a_link_and_its_file_is_replaced(tmp_path):
    (tmp_path/'real').mkdir()
    (tmp_path/'real/f').write_text('old')
    (tmp_path/'link').symlink_to('real/f')
    assert W.write_atomic(tmp_path/'link', b'new') == tmp_path/'link'
    assert (tmp_path/'link').is_symlink() and (tmp_path/'real/f').read_bytes() == b'new'
    (tmp_path/'dangling').symlink_to('real/later')
    W.write_atomic(tmp_path/'dangling', b'there')
    assert (tmp_path/'dangling').is_symlink() and (tmp_path/'real/later').read_bytes() == b'there'
    (tmp_path/'round').symlink_to('round')
    with pytest.raises(OSError): W.write_atomic(tmp_path/'round', b'x')
    assert (tmp_path/'round').is_symlink()

@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no named pipes here')
def test_devices_and_pipes_are_written_into_and_stay(tmp_path):
    os.mkfifo(tmp_path/'pipe')
    heard = []
    reader = threading.Thread(target=lambda: heard.append((tmp_path/'pipe').read_bytes()))
    reader.start()
    W.write_atomic(tmp_path/'pipe', b'hello')
    reader.join(20)
    assert heard == [b'hello'] and (tmp_path/'pipe').is_fifo()
    (tmp_path/'null').symlink_to(os.devnull)                # /dev/null itself is too dear to lose
    W.write_atomic(tmp_path/'null', b'x')
    assert (tmp_path/'null').is_symlink() and Path(os.devnull).is_char_device()
    with pytest.raises(OSError, match='is a folder, a disk or a socket'):
        W.write_atomic(tmp_path, b'x')

def test_a_pipe_of_the_shell(tmp_path):
    if not os.path.isdir('/dev/fd'): pytest.skip('no /dev/fd here')
    r, w = os.pipe()
    W.write_atomic(f'/dev/fd/{w}', b'hello')
    os.close(w)
    assert os.read(r, 9) == b'hello'
    os.close(r)

@pytest.mark.skipif(os.name != 'posix', reason='permissions as on POSIX')
def test_the_permissions_of_a_file_stay(tmp_path):
    (tmp_path/'f').write_text('old')
    (tmp_path/'f').chmod(0o600)
    W.write_atomic(tmp_path/'f', b'new')
    assert (tmp_path/'f').stat().st_mode & 0o777 == 0o600

def test_a_long_name(tmp_path):
    name = 'ü'*120 + '.json'
    assert W.write_atomic(tmp_path/name, b'x').read_bytes() == b'x'
    assert os.listdir(tmp_path) == [name]

# ---- what travels with a model

def test_class_names_and_picture_rule_travel(model, tmp_path):
    path = W.save_model(model, tmp_path/'m', classes='abcdefg', picture='middle', recipe='{}')
    again = W.load_model(path)
    assert again.notes['classes'] == list('abcdefg') and again.notes['picture'] == 'middle'
    assert W.load_model(W.save_model(again, tmp_path/'n')).notes['classes'] == list('abcdefg')
    assert 'classes' not in W.load_model(W.save_model(model, tmp_path/'o')).notes
    with pytest.raises(ValueError,
                       match='2 class names for a model of 7 classes: give 7 different'):
        W.save_model(model, tmp_path/'p', classes=['a', 'b'])
    with pytest.raises(ValueError, match='1 class names for a model of 7'):
        W.save_model(model, tmp_path/'p', classes='a'*7)
    with pytest.raises(ValueError, match="picture is 'round': the known ways are tensor, whole, "
                                         "middle"):
        W.save_model(model, tmp_path/'p', picture='round')
    assert not (tmp_path/'p').exists()

def test_equal_models_are_equal_files(model, tmp_path):
    notes = {f'note{i}': str(i) for i in range(12)}  # enough that a hash's order would differ
    files = {W.save_model(model, tmp_path/f'{i}',
                          **dict(sorted(notes.items(), reverse=i % 2))).read_bytes()
             for i in range(6)}
    assert len(files) == 1

@pytest.mark.parametrize('wrap', ['compiled', 'parallel', 'both', 'a compiled block'])
def test_wrapped_models_are_saved_with_clean_names(wrap, model, tmp_path):
    plain = W.save_model(model, tmp_path/'plain').read_bytes()
    if wrap in ('parallel', 'both'): model = torch.nn.DataParallel(model)
    if wrap in ('compiled', 'both'): model = torch.compile(model, backend='eager')
    if wrap == 'a compiled block': model.blocks[0] = torch.compile(model.blocks[0], backend='eager')
    assert W.save_model(model, tmp_path/'m').read_bytes() == plain
    with pytest.raises(ValueError, match='a Linear is no model of this kit'):
        W.save_model(torch.nn.Linear(2, 2), tmp_path/'x')

# ---- what is read is not trusted

def test_every_flipped_bit_is_noticed(model, tmp_path):
    whole = W.save_model(model, tmp_path/'m', classes='abcdefg').read_bytes()
    head, gen = 8 + int.from_bytes(whole[:8], 'little'), torch.Generator().manual_seed(0)
    at = [*torch.randint(0, head, (60,), generator=gen),
          *torch.randint(head, len(whole), (60,), generator=gen)]
    for i in map(int, at):
        data = bytearray(whole)
        data[i] ^= 1 << int(torch.randint(0, 8, (), generator=gen))
        (tmp_path/'f').write_bytes(data)
        try: again = W.load_model(tmp_path/'f')
        except ValueError as e: assert str(tmp_path/'f') in str(e)
        else:
            assert all(torch.equal(a, b)
                       for a, b in zip(again.state_dict().values(), model.state_dict().values())), i

def test_files_from_before_the_checksum(model, tmp_path):
    from safetensors.torch import save_file
    save_file(model.state_dict(), tmp_path/'old',
              metadata={'config': json.dumps(model.config), 'format': 'dems_nb'})
    assert W.load_model(tmp_path/'old').config == model.config

def test_a_checkpoint_of_a_run_opens_as_a_model(model, tmp_path):
    from dems_nb.run import write_checkpoint
    tensors = {f'model.{k}': v
               for k, v in model.state_dict().items()} | {'optim.0.step': torch.ones(())}
    path = write_checkpoint(tmp_path/'checkpoint.safetensors', tensors,
                            dict(config=model.config, recipe={'lr': 1}))
    again, x = W.load_model(path), torch.randn(1, 1, 32, 32)
    assert torch.equal(again(x), model(x)) and json.loads(again.notes['recipe']) == {'lr': 1}
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match='checkpoint.safetensors: it was changed or damaged'):
        W.load_model(path)

@pytest.mark.parametrize('config, part', [
    ('[]', 'its configuration is a list'), ('{', 'its model configuration is not readable'),
    ('['*100_000, 'not readable'),
    ('"' + 'x'*2_000_000 + '"', 'its model configuration has 2,000,002 characters'),
    ('null', 'its configuration is a NoneType')])
def test_a_configuration_that_is_none(config, part, model, tmp_path):
    from safetensors.torch import save_file
    save_file(model.state_dict(), tmp_path/'f', metadata={'config': config})
    with pytest.raises(ValueError, match=f'f: {part}|f: .*{part}'): W.load_model(tmp_path/'f')

@pytest.mark.parametrize('classes, part',
                         [('{}', 'no list of names'), ('["a"]', '1 class names for a model of 7'),
                          ('[', 'not readable')])
def test_class_names_that_are_none(classes, part, model, tmp_path):
    from safetensors.torch import save_file
    save_file(model.state_dict(), tmp_path/'f',
              metadata={'config': json.dumps(model.config), 'classes': classes})
    with pytest.raises(ValueError, match=part): W.load_model(tmp_path/'f')

def test_weights_that_are_no_numbers(model, tmp_path):
    from safetensors.torch import save_file
    whole = {k: v.long() if v.ndim == 1 else v for k, v in model.state_dict().items()}
    save_file(whole, tmp_path/'f', metadata={'config': json.dumps(model.config)})
    with pytest.raises(ValueError, match='f: its weights are torch.int64'):
        W.load_model(tmp_path/'f')

# ---- one verb

def test_one_verb_opens_everything(model, tmp_path):
    x = torch.randn(2, 1, 32, 32)
    (tmp_path/'run').mkdir()
    W.save_model(model, tmp_path/'run/model.safetensors')
    torch.save({'model': released()}, tmp_path/'c.pth')
    assert torch.equal(W.load_model(tmp_path/'run')(x), model(x))
    assert torch.equal(W.load_model(str(tmp_path/'run/model.safetensors'))(x), model(x))
    assert W.load_model(tmp_path/'c.pth', heads=2, mix_before=(2, 4)).config['dim'] == 16
    for name in ('bundled', 'dems_nano_fashionmnist'):
        assert torch.equal(W.load_model(name)(x), W.load_bundled()(x))
    with pytest.raises(FileNotFoundError,
                       match='there is no file none: give a run folder, .*dems_tiny/cifar10'):
        W.load_model('none')
    with pytest.raises(FileNotFoundError, match='holds no finished run'): W.load_model(tmp_path)

def test_refused_checkpoints_are_named(tmp_path):
    for change in (lambda sd: sd.pop('pos_embed_8'), lambda sd: sd.pop('blocks.1.norm1.bias'),
                   lambda sd: sd.update({'mlp1.fc3.weight': torch.zeros(())})):
        sd = released()
        change(sd)
        torch.save(sd, tmp_path/'c.pth')
        with pytest.raises(ValueError, match='c.pth: '): load(tmp_path/'c.pth')
    with pytest.raises(ValueError, match='^this checkpoint: '): load({})

@pytest.mark.parametrize('dress',
                         ['state_dict', 'model_ema', '_orig_mod.', 'module._orig_mod.',
                          'arguments'])
def test_more_dresses(dress, tmp_path):
    import argparse
    sd, x = released(), torch.randn(2, 3, 32, 32)
    want = load(sd)(x)
    if dress.endswith('.'): sd = {dress + k: v for k, v in sd.items()}
    source = {dress: sd} if dress in ('state_dict', 'model_ema') else sd
    if dress == 'arguments': source = {'model': sd, 'args': argparse.Namespace(lr=.1)}
    if dress == 'arguments' and not hasattr(torch.serialization, 'safe_globals'):
        pytest.skip('PyTorch before 2.5')
    torch.save(source, tmp_path/'c.pth')
    assert torch.equal(load(tmp_path/'c.pth')(x), want)
    with pytest.raises(ValueError, match='the same name with and without'):
        load({**released(), 'module.cls_token': torch.zeros(1, 1, 16)})

def test_a_tensor_that_is_longer_than_its_numbers(tmp_path):
    sd = released()
    sd['head.weight'] = torch.zeros(1, 16).expand(10**9, 16)
    torch.save(sd, tmp_path/'c.pth')
    with pytest.raises(ValueError, match='c.pth: head.weight says it has shape .1000000000, 16., '
                                         'and fewer numbers'):
        load(tmp_path/'c.pth')

# ---- beginning from a model

def grey(): return W.load_bundled()

def test_other_classes_make_a_new_head(tmp_path):
    lines, old = [], grey()
    new = W.start_from('bundled', 3, say=lines.append)
    assert new.training
    assert new.config['n_classes'] == 3
    assert 'tells 10 classes apart and the data has 3 classes' in lines[0]
    assert torch.equal(new.blocks[0].attn.qkv.weight, old.blocks[0].attn.qkv.weight)
    path, lines = W.save_model(old, tmp_path/'m', classes='abcdefghij'), []
    same = W.start_from(path, 10, classes='abcdefghij', say=lines.append)
    assert torch.equal(same.head.weight, old.head.weight) and not lines
    other = W.start_from(path, 10, classes='bacdefghij', say=lines.append)
    assert not torch.equal(other.head.weight, old.head.weight)
    assert 'classes (b, a, c …): the head is a new one' in lines[0]

def test_drop_rates_are_those_of_the_new_training():
    new = W.start_from('bundled', 10, drop_path=.2, attn_drop=.1)
    assert new.config['drop_path'] == .2
    assert new.blocks[-1].drop_path.p == pytest.approx(.2)
    assert new.blocks[0].attn.drop == .1

def test_more_regions():
    lines, x = [], torch.rand(1, 1, 64, 64)
    new = W.start_from('bundled', 10, 64, say=lines.append)
    assert new.layout.n_regions == 16
    assert new.eval()(x).shape == (1, 10)
    assert '4 regions become 16' in lines[0]
    corner = new.tokenizer.pos.view(-1, 64)  # where the small grid was, positions are the old ones
    assert torch.allclose(corner[:21], grey().tokenizer.pos.view(-1, 64)[:21])
    with pytest.raises(ValueError, match='image_size 40 is not divisible by the largest patch 16'):
        W.start_from('bundled', 10, 40)

@pytest.mark.parametrize('name, size', [('dems_nano', 32), ('vit_nano', 32), ('dems_tiny', 32)])
def test_larger_patches_give_the_same_answer_for_an_enlarged_picture(name, size):
    old, x = create_model(name, 3, depth=2,
                          **({'mix_before': (1, 2)} if 'dems' in name
                             else {})).eval(), torch.rand(2, 3, size, size)
    p = old.config['patch_sizes'][0]
    new = W.start_from(old, 3, 3*size, patch_size=3*p).eval()
    large = x.repeat_interleave(3, 2).repeat_interleave(3, 3)
    torch.testing.assert_close(new(large), old(x), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match=f'patch_size is {p+1} and the model has {p}: give that, '
                                         'or a multiple'):
        W.start_from(old, 3, patch_size=p + 1)

@pytest.mark.parametrize('name', ['dems_nano', 'dems_tiny', 'vit_nano'])
def test_from_grey_to_colour_a_grey_picture_says_the_same(name):
    small = {'mix_before': (1, 2)} if 'dems' in name else {}
    old, x = create_model(name, 3, in_chans=1, depth=2, **small).eval(), torch.rand(2, 1, 32, 32)
    new = W.start_from(old, 3, in_chans=3).eval()
    torch.testing.assert_close(new(x.expand(-1, 3, -1, -1)), old(x), atol=1e-5, rtol=1e-4)

def test_from_colour_to_grey_the_plain_kernels_are_summed():
    old, x = create_model('vit_nano', 3, depth=1).eval(), torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(W.start_from(old, 3, in_chans=1).eval()(x),
                               old(x.expand(-1, 3, -1, -1)), atol=1e-5, rtol=1e-4)
    back = W.start_from(create_model('dems_tiny', 3, depth=2, mix_before=(1, 2)), 3, in_chans=1)
    assert back.eval()(x).shape == (2, 3)
    assert W.start_from(old, 3, in_chans=4).eval()(torch.rand(1, 4, 32, 32)).shape == (1, 3)

# checkpoints

def checkpoint(folder, **options):
    from dems_nb import learner as L, run as R
    recipe = L.Recipe(n_train=160, holdout=100, bs=32, epochs=1, patch_size=8, **options)
    learn = R.train(recipe, folder, device='cpu', bar=False)
    return learn, folder/'checkpoint.safetensors'

def test_a_checkpoint_after_many_steps_is_a_model(tmp_path):
    from dems_nb import run as R
    learn, path = checkpoint(tmp_path)
    tensors, notes = R.read_checkpoint(path)
    notes['lrs'] = [.0012345678901234567]*60_000                      # of 300 epochs of CIFAR-10
    R.write_checkpoint(path, tensors, notes)
    state = W.load_model(path).state_dict()
    assert all(torch.equal(v, state[k]) for k, v in learn.model.state_dict().items())

def test_a_checkpoint_gives_the_averages_that_were_scored(tmp_path):
    learn, path = checkpoint(tmp_path, ema=.9)
    tensors, _ = W.read_safetensors(path)
    state = W.load_model(path).state_dict()
    assert all(torch.equal(v, state[k]) for k, v in learn.model.state_dict().items())
    assert not all(torch.equal(tensors[f'model.{k}'], v) for k, v in state.items())

@pytest.mark.parametrize('said', ['trained on Tuesday', '{"a": 1}'])
def test_notes_of_ones_own_may_be_called_notes(model, tmp_path, said):
    assert W.load_model(W.save_model(model, tmp_path/'m', notes=said)).notes['notes'] == said

def test_a_model_on_a_gpu_takes_other_channels(model):
    "Tensors without numbers, which know their device: two of one operation must have the same."
    from torch._subclasses.fake_tensor import FakeTensorMode
    shapes = {k: v.shape for k, v in model.state_dict().items()}
    with FakeTensorMode():
        state = {k: torch.empty(shape, device='cuda') for k, shape in shapes.items()}
        for channels in {1, 2, 3, 4} - {model.config['in_chans']}:
            new = W._refit_embeds(state, 1, channels)
            assert {v.device.type for v in new.values()} == {'cuda'}

def test_a_class_of_ones_own_is_saved_and_refused_by_its_name(tmp_path):
    "Its configuration is the base's, as which it would give other answers."
    from dems_nb.studies import PoolingViT
    config = {k: v for k, v in create_model('dems_nano').config.items() if k != 'arch'}
    own = PoolingViT(**config).eval()
    path = W.save_model(own, tmp_path/'m.safetensors')
    for load in (W.load_model, lambda p: W.start_from(p, n_classes=3)):
        with pytest.raises(ValueError, match='weights of a PoolingViT.* make one and load them'):
            load(path)
    again, x = PoolingViT(**config).eval(), torch.randn(2, 3, 32, 32)
    again.load_state_dict(W.read_safetensors(path)[0])
    assert torch.equal(again(x), own(x))
    assert W.own_class(own) == 'PoolingViT' and W.own_class(torch.compile(own)) == 'PoolingViT'
    assert W.own_class(create_model('vit_nano')) is W.own_class(create_model('dems_nano')) is None

@pytest.mark.skipif(not Path('/proc/self/maps').exists(), reason='only Linux lists what is mapped')
def test_no_part_of_a_file_stays_mapped(model, tmp_path):
    "Windows would replace and delete no such file: a resumed run ended at its next checkpoint."
    path = W.save_model(model, tmp_path/'mapped.safetensors')
    tensors, _ = W.read_safetensors(path)
    assert tensors and 'mapped.safetensors' not in Path('/proc/self/maps').read_text()

@pytest.mark.parametrize('dtype, said', [
    (torch.int8, 'dtype is torch.int8: give a floating-point'),
    (torch.float16, 'head.bias has values that torch.float16 cannot hold')])
def test_what_a_type_cannot_hold_is_not_saved(dtype, said, model, tmp_path):
    path = W.save_model(model, tmp_path/'m.safetensors')
    before = path.read_bytes()
    with torch.no_grad(): model.head.bias[0] = 1e6
    with pytest.raises(ValueError, match=said): W.save_model(model, path, dtype=dtype)
    assert path.read_bytes() == before
    W.save_model(model, path, dtype=torch.bfloat16)
    with torch.no_grad(): model.head.bias[0] = float('nan')        # it is in the model itself
    W.save_model(model, path, dtype=torch.float16)

def test_a_compiled_model_can_be_started_from(model):
    x = torch.randn(2, 1, 32, 32)
    new = W.start_from(torch.compile(model), 7, say=pytest.fail).eval()
    assert torch.equal(new(x), model(x)) and new is not model
    with pytest.raises(ValueError, match='a Linear is no model of this kit'):
        W.start_from(torch.nn.Linear(2, 2), 7)

@pytest.mark.parametrize('times', [1, 1000])
def test_a_file_without_numbers_makes_no_model(times, tmp_path, monkeypatch):
    "A tensor on the device meta has a shape, of any size, and takes no room in the file."
    state = {k: torch.empty([n*times if n > 8 else n for n in v.shape], device='meta')
             for k, v in released().items()}
    torch.save(dict(model=state), tmp_path/'m.pth')
    monkeypatch.setattr(W, 'build_model', lambda config: pytest.fail('built'))
    with pytest.raises(ValueError, match='m.pth: .* fewer numbers are in the file'):
        load(tmp_path/'m.pth')
