"""Build the stand-in for CUDA against the PyTorch of this Python: needs gcc and nm.

    python tests/fake_cuda/build.py          # prints the file to preload

Device memory is the host's, copies are real, kernels do nothing and are counted. PyTorch's own
CUDA code (allocator, device checks, sync warnings, choice of attention kernel, autocast,
GradScaler, process groups) runs for real on top. Numbers are rubbish: never test values with it.
FAKE_CC=7.5 makes it a T4 and 8.0 an A100, FAKE_COUNT=2 two cards, FAKE_MEM_GIB=8 another memory.
Not to be had with it: numbers, time, memory of real kernels, cuDNN's attention.
"""
import getpass, hashlib, os, re, shutil, subprocess, sys, tempfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

here = Path(__file__).parent
sources = ['card.c', 'memory.c', 'libraries.c', 'loose.c']
libraries = ('libtorch_cuda.so', 'libtorch_python.so', 'libtorch_cuda_linalg.so', 'libc10_cuda.so')
wanted = re.compile('(cublas|cudnn|nccl|cusolverDn|cusparse[A-Z]|curand|cufft|cuda[A-Z])')
# functions of the driver that only say "done"; Triton looks them up by name
driver = '''cuInit cuDevicePrimaryCtxRelease_v2 cuCtxSetCurrent cuCtxPushCurrent_v2 cuCtxSetLimit
cuModuleUnload cuFuncSetAttribute cuFuncSetCacheConfig cuTensorMapEncodeTiled
cuTensorMapEncodeIm2col cuLinkCreate_v2 cuLinkAddData_v2 cuLinkComplete'''.split()

def why_not():
    "Why the stand-in cannot be built here; None if it can."
    if sys.platform != 'linux': return f'the stand-in for CUDA is for Linux, this is {sys.platform}'
    for tool in ('gcc', 'nm'):
        if shutil.which(tool) is None: return f'there is no {tool}'
    try: torch = find_spec('torch').submodule_search_locations[0]
    except AttributeError: return 'PyTorch is not installed'
    if not (Path(torch)/'lib/libtorch_cuda.so').exists():
        return 'this PyTorch is built without CUDA'
    if _headers() is None: return "CUDA's headers are not beside PyTorch (they come with Triton)"
    return None

def _site(): return Path(find_spec('torch').submodule_search_locations[0]).parent

def _headers():
    "The folders with CUDA's headers: the runtime's, which pip brings along, and the driver's."
    runtime = sorted((*_site().glob('nvidia/cu*/include/cuda_runtime_api.h'),
                      *_site().glob('nvidia/cuda_runtime/include/cuda_runtime_api.h')))
    own = _site()/'triton/backends/nvidia/include'
    return [own, runtime[0].parent] if runtime and (own/'cuda.h').exists() else None

def _undefined():
    "What PyTorch wants of CUDA's libraries."
    files = [p for n in libraries if (p := _site()/'torch/lib'/n).exists()]
    lines = subprocess.run(['nm', '-D', '--undefined-only', *files], capture_output=True, text=True)
    names = {l.split()[-1].split('@')[0] for l in lines.stdout.splitlines() if ' U ' in l}
    return sorted(n for n in names if wanted.match(n))

def _stubs(text):
    "C for everything wanted that the sources do not define."
    yield 'void fakecuda_note(int, const char *);'
    for name in (*_undefined(), *driver):
        if re.search(rf'\b{name}\(', text): continue
        counts = name.startswith('cublas') and not re.search('Set|Get', name)
        yield f'int {name}() {{ {f"""fakecuda_note(1, "{name}"); """ if counts else ""}return 0; }}'

def _folder(text):
    "Where it is kept: in the temporary folder, by user, sources and PyTorch."
    key = hashlib.sha256((text + version('torch') + str(_site())).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir())/f'fake-cuda-{getpass.getuser()}-{key}'

def build():
    "The folder with libcuda.so.1, built if it is not there. Raises `RuntimeError` with the reason."
    if reason := why_not(): raise RuntimeError(reason)
    text = ''.join((here/name).read_text() for name in [*sources, 'common.h', 'build.py'])
    folder = _folder(text)
    if (folder/'libcuda.so.1').exists(): return folder
    with tempfile.TemporaryDirectory() as tmp:
        (Path(tmp)/'stubs.c').write_text('\n'.join(_stubs(text)) + '\n')
        done = subprocess.run(
            ['gcc', '-O1', '-w', '-shared', '-fPIC', '-std=gnu17', '-Wl,-soname,libcuda.so.1',
             *(f'-I{h}' for h in _headers()), '-o', f'{tmp}/libcuda.so.1',
             *(here/n for n in sources), f'{tmp}/stubs.c', '-ldl', '-lpthread'],
            capture_output=True, text=True)
        if done.returncode: raise RuntimeError(f'gcc: {done.stderr.strip()[:2000]}')
        folder.mkdir(mode=0o700, exist_ok=True)
        fresh = folder/f'libcuda.so.1.{os.getpid()}'
        shutil.copy(f'{tmp}/libcuda.so.1', fresh)
        os.replace(fresh, folder/'libcuda.so.1')
    return folder

def environment(card='H100', cards=1, gib=None):
    "What a process needs in its environment to start with the stand-in."
    folder = build()
    cc = dict(H100='9.0', A100='8.0', T4='7.5')[card]
    env = {**os.environ, 'LD_PRELOAD': str(folder/'libcuda.so.1'), 'FAKE_CC': cc,
           'FAKE_COUNT': str(cards), 'TRITON_LIBCUDA_PATH': str(folder), 'OMP_NUM_THREADS': '1',
           'MPLBACKEND': 'Agg', 'PYTHONWARNINGS': 'ignore'}
    env.pop('CUDA_VISIBLE_DEVICES', None)
    return env | ({'FAKE_MEM_GIB': str(gib)} if gib else {})

if __name__ == '__main__': print(build()/'libcuda.so.1')
