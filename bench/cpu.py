"""A CPU, measured: this kit against the plain model, and how long common things take on it.

    python bench/cpu.py --out results/bench/xeon.json              # with nothing beside
    python bench/cpu.py --isa avx2 --out results/bench/xeon_as_avx2.json

Parts, in this order: `product` (one large product of matrices: the peak), `ways` (forward and
backward pass against the plain model), `inference` (likewise, without gradients), `compiled` (a
training step by torch.compile, and what compiling takes), `busy` (a training step with a busy
process beside it for each core), `scoring` (10,000 pictures, from 200), `looking` (figures and
viewer of dems_tiny). Each is written as soon as it is done; the same command goes on with the parts
that are not there, if commit and machine are those of the file. `--isa avx2` has PyTorch, oneDNN
and MKL act as on a CPU without AVX-512.
"""
import argparse, json, multiprocessing, os, subprocess, sys, time
from pathlib import Path

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root))
ISA = dict(ATEN_CPU_CAPABILITY='avx2', ONEDNN_MAX_CPU_ISA='AVX2', MKL_ENABLE_INSTRUCTIONS='AVX2')
sizes = {'dems_tiny': 32, 'dems_nano': 64}      # model -> images a step

def as_asked():
    "Begin anew if PyTorch is to act as on another CPU: it looks when it is imported."
    if '--isa' in sys.argv and sys.argv[sys.argv.index('--isa') + 1:][:1] == ['avx2']:
        if any(os.environ.get(k) != v for k, v in ISA.items()):
            os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ISA})

if __name__ == '__main__': as_asked()
import torch
from dems_nb import benchmark as B
from dems_nb.kernels import has_bf16, processor
from dems_nb.model import create_model
from dems_nb.weights import write_atomic

def created(name, **kw):
    "A model as the recipe trains it, from seed 0."
    torch.manual_seed(0)
    return create_model(name, drop_path=.15, attn_drop=.05, **kw)

def precisions(): return ('fp32', 'bf16') if has_bf16('cpu') else ('fp32',)

def product(rounds):
    "GFLOP/s of one large product in float32, by threads."
    n, cores = 3072, torch.get_num_threads()
    a, b = torch.randn(2, n, n)
    out = {}
    for threads in sorted({1, cores}):
        torch.set_num_threads(threads)
        out[str(threads)] = B.spread(2*n**3/1e9/B.take_turns({'it': lambda: a @ b}, rounds)['it'])
    return out

def ways(rounds):
    "Forward and backward pass against the plain model."
    return {name: dict(batch_size=n, ways=B.compare(created(name), n, precisions(), rounds=rounds))
            for name, n in sizes.items()}

@torch.no_grad()
def inference(rounds):
    "Images a second without gradients, and times the plain model."
    out = {}
    for name, n in sizes.items():
        model, x = created(name).eval(), torch.randn(n, 3, 32, 32)
        twin = B.plain_twin(model)
        took = B.take_turns({'plain': lambda: twin(x), 'here': lambda: model(x)}, rounds)
        out[name] = dict(batch_size=n, ratio=B.spread(took['plain']/took['here']),
                         images_per_s={k: B.spread(n/t) for k, t in took.items()})
    return out

def compiled(rounds):
    """Forward and backward pass of dems_nano, compiled against eager, and the seconds of the first
    call; or why it is not compiled. (dems_tiny was stopped after eight minutes of compiling.)"""
    n, start = sizes['dems_nano'], time.perf_counter()
    eager, made = (B.TrainingStep(created('dems_nano'), n, 'fp32') for _ in range(2))
    made.call = torch.compile(made.model, fullgraph=True)
    try: made.gradients()
    except Exception as e: return f'{type(e).__name__}: {str(e).splitlines()[0]}'
    first = time.perf_counter() - start
    took = B.take_turns({'eager': eager.gradients, 'compiled': made.gradients}, rounds)
    return dict(model='dems_nano', batch_size=n, first_seconds=first,
                ratio=B.spread(took['eager']/took['compiled']))

def spin():
    "A busy neighbour."
    while True: pass

def busy_step(rounds):
    "Images a second of a training step of dems_nano, by threads; quiet, and with each core busy."
    out, cores = {}, torch.get_num_threads()
    step = B.TrainingStep(created('dems_nano'), 64)
    for beside in (0, os.cpu_count()):
        others = [multiprocessing.Process(target=spin, daemon=True) for _ in range(beside)]
        for p in others: p.start()
        try:
            for threads in sorted({1, cores}):
                torch.set_num_threads(threads)
                took = B.take_turns({'it': step}, rounds)['it']
                out[f'{threads} threads, {beside} beside'] = (64/took).tolist()
        finally:
            for p in others: p.terminate()
    return out

def busy(rounds):
    """`busy_step` with threads that wait as the library has it, and that sleep: (`passive`). OpenMP
    reads that once, so each is a process of its own; they take turns, twice."""
    out = {}
    for _ in range(2):
        for waiting in ('default', 'passive'):
            env = {k: v for k, v in os.environ.items() if k != 'OMP_WAIT_POLICY'}
            if waiting == 'passive': env['OMP_WAIT_POLICY'] = waiting
            code = ('import torch, sys, json; sys.path.insert(0, "bench"); import cpu; '
                    f'torch.set_num_threads({torch.get_num_threads()}); '
                    f'print(json.dumps(cpu.busy_step({rounds})))')
            said = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], env=env, cwd=root,
                                  capture_output=True, text=True, check=True).stdout
            for k, v in json.loads(said).items(): out.setdefault(f'{k}, {waiting}', []).extend(v)
    return {k: B.spread(v) for k, v in out.items()}

@torch.no_grad()
def scoring(rounds):
    "Seconds in which dems_tiny answers 10,000 pictures, from 200 at a time, by number format."
    model, x = created('dems_tiny').eval(), torch.randn(200, 3, 32, 32)
    def go(dtype):
        with torch.autocast('cpu', dtype, enabled=dtype != torch.float32): model(x)
    ways = {p: lambda p=p: go(B.dtypes[p]) for p in precisions()}
    return {p: B.spread(50*t) for p, t in B.take_turns(ways, rounds).items()}

def looking(rounds):
    "Seconds that the figures and the viewer of dems_tiny take for one picture."
    import matplotlib.pyplot as plt
    from dems_nb import visualize as V
    from dems_nb.viewer import view_tokens
    model, img = created('dems_tiny'), torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    ways = {'provenance': lambda: V.provenance(model, img, attention=True),
            'show_provenance': lambda: V.show_provenance(model, img),
            'show_mixing': lambda: V.show_mixing(model, img),
            'view_tokens': lambda: view_tokens(img, model.layout, model).html}
    took = B.take_turns(ways, rounds)
    plt.close('all')
    return {k: B.spread(t) for k, t in took.items()}

parts = dict(product=product, ways=ways, inference=inference, compiled=compiled, busy=busy,
             scoring=scoring, looking=looking)

def main(flags):
    "Measure the parts that the file does not have, and write it after each."
    here = dict(command='python bench/cpu.py ' + ' '.join(sys.argv[1:]), isa=flags.isa, seed=0,
                **B._machine('cpu'), kind=processor())
    done = json.loads(flags.out.read_text()) if flags.out.exists() else {**here}
    if flags.out.exists():      # which, half done, is not committed
        here['commit'] = here['commit'].rstrip('+')
    differ = [k for k in here if k != 'command' and here[k] != done.get(k)]
    if differ:
        sys.exit(f'{flags.out} was begun with another {" and ".join(differ)}: name another file')
    for name in flags.parts:
        if name in done: continue
        start, threads = time.perf_counter(), torch.get_num_threads()
        done[name] = parts[name](flags.rounds)
        torch.set_num_threads(threads)
        write_atomic(flags.out, (json.dumps(done, indent=1) + '\n').encode())
        print(f'{name}: {time.perf_counter() - start:.0f} s', flush=True)

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument('--out', type=Path, required=True, help='the file of results')
    p.add_argument('--parts', nargs='*', default=list(parts), choices=list(parts))
    p.add_argument('--rounds', type=int, default=5, help='measurements of each')
    p.add_argument('--threads', type=int, help="by default PyTorch's choice")
    p.add_argument('--isa', choices=['own', 'avx2'], default='own')
    flags = p.parse_args()
    if flags.threads: torch.set_num_threads(flags.threads)
    main(flags)
