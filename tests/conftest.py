import os, pytest, torch

def pytest_configure(config):
    config.addinivalue_line('markers', 'cuda: needs a CUDA device; skipped without one')

def pytest_collection_modifyitems(items):
    if torch.cuda.is_available(): return
    for item in items:
        if 'cuda' in item.keywords: item.add_marker(pytest.mark.skip(reason='no CUDA device here'))

@pytest.fixture(autouse=True)
def seeded(): torch.manual_seed(0)

@pytest.fixture
def released():
    "A state dict of the released code, from the golden files, and its configuration."
    import json
    from pathlib import Path
    from safetensors import safe_open
    with safe_open(sorted((Path(__file__).parent/'golden').glob('*.safetensors'))[0], 'pt') as f:
        sd = {k[3:]: f.get_tensor(k) for k in f.keys() if k.startswith('sd.')}
        meta = f.metadata()
    return sd, {k: json.loads(v) if v[:1] in '[{0123456789' else v for k, v in meta.items()}
