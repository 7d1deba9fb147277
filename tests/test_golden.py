"Parity with the released model: the same weights and image give the same numbers, both ways."
import json, pytest, torch
from pathlib import Path
from dems_nb.weights import load_released, read_safetensors, save_model, load_model

golden = Path(__file__).parent/'golden'
TOL = 1e-5      # of the largest magnitude, float32

def run(name, change=lambda sd: sd):
    t, meta = read_safetensors(golden/f'{name}.safetensors')
    sd = change({k[3:]: v.clone() for k, v in t.items() if k.startswith('sd.')})
    model = load_released(sd, heads=int(meta['heads']), mix_before=json.loads(meta['merge_layer']))
    seen = []
    for b in model.blocks: b.register_forward_hook(lambda m, i, o: seen.append(o.detach()))
    x = t['in.x'].clone().requires_grad_()
    logits = model(x)
    logits.square().sum().backward()
    return t, model, x, logits.detach(), seen

def assert_close(ours, theirs, what):
    assert ours.shape == theirs.shape, f'{what}: {tuple(ours.shape)} is not {tuple(theirs.shape)}'
    err = ((ours - theirs).abs().max()/theirs.abs().max()).item()
    assert err < TOL, f'{what}: {err:.2e}'

# the released name of a stored gradient -> where our model keeps it
ours = {'cls_token': 'cls_token', 'mlp1.fc1.weight': 'interactions.0.mlp.0.weight',
        'mlp2.scale': 'interactions.1.scale',
        'patch_embed_8.proj.proj-1.weight': 'tokenizer.embeds.3.0.weight'}

@pytest.mark.parametrize('name', ['micro32', 'gray32'])
def test_parity(name):
    t, model, x, logits, seen = run(name)
    assert [s.shape[1] for s in seen] == t['out.ntokens'].tolist()
    for i, s in enumerate(seen): assert_close(s.mean(1), t[f'out.block{i}.mean'], f'block {i}')
    assert_close(logits, t['out.logits'], 'logits')
    assert_close(x.grad, t['out.grad_x'], 'input gradient')
    grads = [k for k in t if k.startswith('grad.')]
    assert {k[5:] for k in grads} == set(ours)
    for k in grads: assert_close(model.get_parameter(ours[k[5:]]).grad.reshape(t[k].shape), t[k], k)

@pytest.mark.parametrize('key', ['cls_token', 'blocks.2.attn.qkv.weight',
                                 'patch_embed_4.proj.proj-2.weight', 'mlp1.fc3.weight',
                                 'mlp2.fc1.weight'])
def test_parity_notices_a_changed_weight(key):
    def change(sd): sd[key] = sd[key] + 2*torch.randn_like(sd[key]); return sd
    t, *_, logits, _ = run('micro32', change)
    with pytest.raises(AssertionError): assert_close(logits, t['out.logits'], 'logits')

def test_the_last_bias_of_an_interaction_does_nothing():
    "It adds one number to every token's score, and the softmax over tokens takes it away again."
    def change(sd): sd['mlp1.fc3.bias'] += torch.randn_like(sd['mlp1.fc3.bias']); return sd
    t, *_, logits, _ = run('micro32', change)
    assert_close(logits, t['out.logits'], 'logits')

@pytest.mark.parametrize('name', ['micro32', 'gray32'])
def test_parity_survives_our_own_file(name, tmp_path):
    t, model, x, logits, _ = run(name)
    again = load_model(save_model(model, tmp_path/'m.safetensors'))
    assert torch.equal(again(t['in.x']), model(t['in.x']))
