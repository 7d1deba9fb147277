__version__ = "0.1.0"

import os, warnings
# Threads that wait for each other sleep. If they spin, other work on the cores can make training
# several times slower; where it does not, sleeping costs up to about a sixth (14 · Benchmark). It
# holds for a process that imports this before PyTorch.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
# fastai still uses torch.jit.script, whose deprecation no user of either can do anything about
warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
