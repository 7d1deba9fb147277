"""Counters and places of the stand-in for CUDA, for a process that was started with it.

    with watch('H2D', 'D2H', 'SYNC_STREAM', 'SYNC_DEVICE') as seen: step()
    seen.most_common()      # ((kind, bytes and Python lines), how often), of the wanted kinds
    seen.total              # kind -> how often, of all kinds
"""
import contextlib, ctypes, traceback, torch
from collections import Counter

torch.backends.cuda.enable_cudnn_sdp(False)     # the stand-in cannot plan cuDNN's attention
lib = ctypes.CDLL('libcuda.so.1')
lib.fakecuda_count.restype = ctypes.c_int64
kinds = '''LAUNCH BLAS DNN NCCL SYNC_STREAM SYNC_DEVICE SYNC_EVENT H2D D2H D2D H2D_BYTES D2H_BYTES
D2D_BYTES MALLOC HOSTALLOC TRITON MEMSET QUERY'''.split()
waits = 'H2D D2H SYNC_STREAM SYNC_DEVICE SYNC_EVENT'.split()    # what a training step must not do
named = 'LAUNCH TRITON BLAS DNN NCCL'.split()
callback = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_int64, ctypes.c_char_p)

def counts():
    "How often each kind happened so far."
    return {k: lib.fakecuda_count(i) for i, k in enumerate(kinds)}

def since(before):
    "What happened since `before`, which `counts` gave: kinds that did."
    return {k: n - before[k] for k, n in counts().items() if n != before[k]}

def where(depth=3):
    "The innermost lines of this package and of fastai, newest first."
    frames = [f for f in reversed(traceback.extract_stack()[:-3]) if f.filename != __file__]
    lines = [(f.filename.split('site-packages/')[-1], f.lineno) for f in frames]
    ours = [l for l in lines if 'dems_nb' in l[0] or 'fastai' in l[0]]
    short = [(name.split('/')[-2:], n) for name, n in (ours or lines)[:depth]]
    return ' < '.join(f'{"/".join(name)}:{n}' for name, n in short)

@contextlib.contextmanager
def watch(*wanted):
    "Collect (kind, place) of the wanted kinds while inside; `.total` counts every kind."
    seen, before, ids = Counter(), counts(), {kinds.index(k) for k in wanted}
    def note(kind, n, what):
        if kind not in ids: return
        k = kinds[kind]
        seen[k, what.decode() if k in named else f'{n} bytes, {where()}'] += 1
    keep = callback(note)                       # as long as C may call it
    lib.fakecuda_hook(keep)
    try: yield seen
    finally:
        lib.fakecuda_hook(None)
        seen.total = since(before)
