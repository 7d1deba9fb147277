__version__ = "0.1.0"

import warnings
# fastai still uses torch.jit.script, whose deprecation no user of either can do anything about
warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
