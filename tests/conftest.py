import os, pytest, torch

def pytest_configure(config):
    config.addinivalue_line('markers', 'cuda: needs a CUDA device; skipped without one')

def pytest_collection_modifyitems(items):
    if torch.cuda.is_available(): return
    for item in items:
        if 'cuda' in item.keywords: item.add_marker(pytest.mark.skip(reason='no CUDA device here'))

@pytest.fixture(autouse=True)
def seeded(): torch.manual_seed(0)
