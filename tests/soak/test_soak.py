"The short form of `make soak`: ten kills; and the harness notices what it is there for."
import pytest, shutil, struct
import soak

@pytest.mark.slow
def test_ten_kills(tmp_path):
    h = soak.soak(tmp_path, minutes=5., kills=10, jobs=2)
    assert not h.faults and h.runs, h.faults
    said = soak.report(h)
    assert f'{h.runs} of {h.runs} runs equal to the bit' in said and ' kills (' in said

def test_an_unequal_run_is_noticed(tmp_path):
    h = soak.Soak(tmp_path)
    h.reference('light')
    a, b = h.whole['light'][0], tmp_path/'other'
    shutil.copytree(a, b)
    assert not list(soak.compare(a, b))
    from dems_nb.weights import load_model, save_model
    model = load_model(b/'model.safetensors')
    weights = model.state_dict()['head.bias']
    nearest = struct.unpack('<i', struct.pack('<f', weights[0].item()))[0] ^ 1
    weights[0] = struct.unpack('<f', struct.pack('<i', nearest))[0]    # the last bit of one
    save_model(model, b/'model.safetensors')
    (b/'.recipe.json.0123abcd').write_text('')
    assert list(soak.compare(a, b)) == ['its weights differ, head.bias first',
                                        'it leaves .recipe.json.0123abcd']
