"""What this project wants of one H100, measured: the acceptance battery, one command a model.

    python bench/battery.py dems_tiny --data_path data      # then dems_small, in a second command

Parts, in this order: `kernels` (which attention PyTorch chooses, with dropout and without),
`resume` (a run stopped and resumed beside a whole one, and two whole ones: the largest difference
of a weight), `waits` (of an epoch of each recipe), `memory`, `ways` (forward and backward, plain,
eager and compiled), `step` (the whole step and its first call, which compiles; the augmentation
alone, each part), `epoch` (end to end, compiled), `tests` (those marked cuda, with Ti only; stopped
after four minutes). Each part is written into the file as soon as it is done, and the same command
goes on with the parts that are not there: what failed is noted under `failed`, and tried again.
After `--minutes` no new part is begun: exit status 3 says that the same command should be given
again, 1 that a part failed, 0 that all is there. The file must stay between the commands; it is all
that is to come back, and `--copy FOLDER` puts a copy of it where what comes back must lie. At the
end it prints what was wanted beside what was measured.
"""
import argparse, contextlib, gc, io, json, os, re, signal, subprocess, sys, tempfile, time, warnings
from pathlib import Path

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root))
import pandas as pd, torch
from fastai.callback.core import Callback
from dems_nb import benchmark as B
from dems_nb.model import create_model
from dems_nb.kernels import has_bf16
from dems_nb.learner import Recipe, make_learner, recipe_dls
from dems_nb.run import Interrupted, environment, train
from dems_nb.weights import write_atomic

parts = 'kernels', 'resume', 'waits', 'memory', 'ways', 'step', 'epoch', 'tests'

def quiet(f, *args, **kwargs):
    "Call it, and print nothing."
    with contextlib.redirect_stdout(io.StringIO()): return f(*args, **kwargs)

def cuda_tests():
    "The files with tests marked cuda; others need what a rented machine may lack."
    return sorted(p for p in (root/'tests').glob('test_*.py')
                  if re.search(r'\bmark\.cuda\b', p.read_text(encoding='utf-8')))

def said_within(command, most):
    "Run a command: its exit status, None if it was stopped after `most` seconds, and what it said."
    with tempfile.TemporaryFile('w+', encoding='utf-8') as out:
        p = subprocess.Popen(command, cwd=root, stdout=out, stderr=subprocess.STDOUT,
                             start_new_session=True)
        try: status = p.wait(most)
        except BaseException as e:
            os.killpg(p.pid, signal.SIGKILL)                    # what it started, too
            p.wait()
            if not isinstance(e, subprocess.TimeoutExpired): raise
            status = None
        out.seek(0)
        return status, out.read()

class Battery:
    "The parts for one model. Each gives plain values for JSON."
    def __init__(self, model, device='cuda', dataset='cifar10', data_path=None, batch_size=256,
                 rounds=7, n=10, compile=True, n_train=None, holdout=0):
        self.model, self.device, self.dataset, self.data_path = model, device, dataset, data_path
        self.batch_size, self.rounds, self.n, self.compile = batch_size, rounds, n, compile
        self.n_train, self.holdout = n_train, holdout
        self.precision = 'bf16' if has_bf16(device) else 'fp32'

    def created(self):
        "The model as the paper trains it, from seed 0."
        torch.manual_seed(0)
        return create_model(self.model, drop_path=.15, attn_drop=.05).to(self.device)

    def recipes(self, **changes):
        "The three recipes by name, short."
        common = dict(model=self.model, dataset=self.dataset, bs=self.batch_size,
                      n_train=self.n_train, holdout=self.holdout, **changes)
        return dict(light=Recipe(**common), paper=Recipe.pretrain(**common),
                    finetune=Recipe.finetune(**common))

    def kernels(self):
        "The attention that PyTorch chooses, by its dropout."
        return {f'{drop}': B.attention_kernel(self.device, self.precision, drop)
                for drop in (.05, 0.)}

    def resume(self):
        "The largest difference of a weight: whole and resumed, and whole and whole again."
        r = self.recipes(epochs=2)['light']
        with tempfile.TemporaryDirectory() as tmp:
            whole, again = (self.weights(r, Path(tmp)/name) for name in ('whole', 'again'))
            half = len(recipe_dls(r, self.device, self.data_path).train)//2
            try: self.weights(r, Path(tmp)/'part', StopAt(1, half))
            except Interrupted: pass
            resumed = self.weights(r, Path(tmp)/'part')
        apart = lambda a, b: max((a[k] - b[k]).abs().max().item() for k in a)
        return dict(resumed=apart(whole, resumed), again=apart(whole, again))

    def weights(self, recipe, out, *cbs):
        "Train, and give the weights."
        learn = quiet(train, recipe, out, device=self.device, root=self.data_path, bar=False,
                      resume=True, cbs=list(cbs))
        return {k: v.float().cpu() for k, v in learn.model.state_dict().items()}

    def waits(self):
        "What waits in the steps of an epoch, loader and augmentation included: recipe -> places."
        if torch.device(self.device).type != 'cuda': return 'only on a GPU'
        found = {}
        for name, recipe in self.recipes(epochs=1).items():
            dls = recipe_dls(recipe, self.device, self.data_path)
            found[name] = places = NoteWaits()
            learn = make_learner(recipe, dls, cbs=[places])
            with learn.no_bar(), learn.no_logging(): learn.fit(1)
        return {name: cb.places for name, cb in found.items()}

    def memory(self):
        "Bytes at most in a step, beyond what other parts left behind, and as estimated."
        gc.collect()
        on_gpu = torch.device(self.device).type == 'cuda'
        before = torch.cuda.memory_allocated(self.device) if on_gpu else 0
        step = B.TrainingStep(self.created(), self.batch_size, self.precision)
        step()
        peak = B.peak_memory(step, self.device)
        said = B.estimate_memory(step.model.cpu(), self.batch_size, self.precision)
        return dict(peak_bytes=peak - before, estimated_bytes=said['total'])

    def ways(self):
        "Forward and backward pass against the plain model."
        return B.compare(self.created(), self.batch_size, (self.precision,), self.compile,
                         self.rounds, self.n)

    def step(self):
        "The whole step, eager and compiled, the augmentation alone, and where the time goes."
        model = self.created()
        whole = {'eager': B.TrainingStep(model, self.batch_size, self.precision)}
        if self.compile:
            whole['compiled'] = B.TrainingStep(model, self.batch_size, self.precision, True)
        clock = B._clock(self.device)                           # on a CPU, that of the parts
        first = {k: B.seconds(s, device=self.device) for k, s in whole.items()}
        took = B.take_turns(whole, self.rounds, self.n, self.device, 2, clock)
        return dict(first_step_s=first,
                    images_per_s={k: B.spread(self.batch_size/t) for k, t in took.items()},
                    augmentation={k: B.time_augmentation(s, self.rounds, self.n)
                                  for k, s in whole.items()},
                    parts=B.time_parts(whole['eager'], self.rounds, self.n))

    def epoch(self):
        "An epoch of the paper's recipe, end to end."
        return B.time_epoch(self.model, self.dataset, self.batch_size, 'auto', self.device,
                            self.compile, self.data_path, self.n_train)

    def tests(self, most=240):
        "The tests marked cuda: pytest's last line. Raises `RuntimeError` that says what failed."
        if self.model != 'dems_tiny': return 'run with dems_tiny'
        status, said = said_within([sys.executable, '-m', 'pytest', '-m', 'cuda', '-q', '-rfE',
                                    '-p', 'no:cacheprovider', *map(str, cuda_tests())], most)
        lines = said.strip().splitlines() or ['nothing was said']
        if status == 0 and ' passed' in lines[-1]: return lines[-1]
        bad = [l for l in lines if l.startswith(('FAILED', 'ERROR'))]
        stopped = [f'stopped after {most} seconds'] if status is None else []
        raise RuntimeError('; '.join([*stopped, lines[-1], *bad]))

class StopAt(Callback):
    "Ask the checkpoint to save and stop after a step."
    order = 60                                  # before the checkpoint
    def __init__(self, epoch, step): self.at = epoch, step
    def after_batch(self):
        if self.training and (self.epoch, self.iter) == self.at: self.learn.checkpoint.asked = 15

class NoteWaits(Callback):
    "Note where Python waits for the GPU, from the end of the second step to the end of the last."
    order = 1000                                # after everything else
    def __init__(self): self.places = []
    def before_train(self):
        self.record = warnings.catch_warnings(record=True)
        self.seen = self.record.__enter__()
        warnings.simplefilter('always')
    def after_batch(self):
        counts = self.training and 0 < self.iter < self.n_iter - 1
        torch.cuda.set_sync_debug_mode('warn' if counts else 'default')
    def after_train(self):
        torch.cuda.set_sync_debug_mode('default')
        self.record.__exit__(None, None, None)
        # the first time that it is switched on, PyTorch warns of the mode itself
        waits = [w for w in self.seen if 'called a synchronizing' in str(w.message)]
        self.places = sorted({f'{Path(w.filename).name}:{w.lineno}' for w in waits})

def goals(done):
    "What is wanted of one H100 at batch 256, and what was measured: one row a goal."
    def found(*path):
        value = done
        for k in path: value = value.get(k) if isinstance(value, dict) else None
        return value
    step = found('dems_tiny', 'step', 'images_per_s', 'compiled', 'median')
    aug = found('dems_tiny', 'step', 'augmentation', 'compiled', 'median')
    waits, peak = found('dems_tiny', 'waits'), found('dems_small', 'memory', 'peak_bytes')
    places = {p for v in waits.values() for p in v} if isinstance(waits, dict) else None
    resumed = found('dems_tiny', 'resume', 'resumed')
    kernels = found('dems_tiny', 'kernels')
    rows = [('Ti, an epoch end to end, images/s', 'at least 12,000',
             found('dems_tiny', 'epoch', 'images_per_s'), ',.0f'),
            ('S, an epoch end to end, images/s', 'at least 6,500',
             found('dems_small', 'epoch', 'images_per_s'), ',.0f'),
            ('augmentation alone, images/s', 'at least 200,000', aug, ',.0f'),
            ('augmentation, share of a step of Ti', 'at most 3 %',
             step and aug and step/aug, '.1%'),
            ('Ti compiled, times the plain model in bf16', 'at least 2.5',
             found('dems_tiny', 'ways', 'compiled, bf16', 'same', 'median'), '.2f'),
            ('places that wait in a step', '0', None if places is None else len(places), 'd'),
            ('attention of Ti, with dropout and without', '',
             kernels and ' and '.join(kernels.values()), ''),
            ('a resumed run of Ti: largest difference of a weight', '', resumed, '.1e'),
            ('S, most memory in use, GiB', '', peak and peak/2**30, '.1f')]
    shown = [dict(goal=goal, wanted=wanted, measured='not run' if v is None else f'{v:{form}}')
             for goal, wanted, v, form in rows]
    return pd.DataFrame(shown).set_index('goal')

def run(battery, file, minutes=4.5, only=parts, clock=time.monotonic, began=None):
    "Do the parts that the file lacks, until the time is over: whether all are there."
    began = clock() if began is None else began
    file = Path(file)
    done = json.loads(file.read_text()) if file.exists() else {}
    own = done.setdefault(battery.model, {})
    own['machine'] = dict(environment(battery.device), precision=battery.precision,
                          batch_size=battery.batch_size)
    failed = done.setdefault('failed', {})
    for part in only:
        if part in own: continue
        if clock() - began > 60*minutes: return False
        start, name = clock(), f'{battery.model} {part}'
        failed.pop(name, None)
        try: own[part] = getattr(battery, part)()
        except Exception as e: failed[name] = f'{type(e).__name__}: {e}'[:2000]
        own.setdefault('seconds', {})[part] = round(clock() - start, 1)
        write_atomic(file, json.dumps(done, indent=1).encode())
        print(f'{name}: {failed.get(name, "done")} ({own["seconds"][part]} s)', flush=True)
    return True

def main(argv=None):
    "The command: see the top of this file."
    began = time.monotonic()
    p = argparse.ArgumentParser(description='Measure what this project wants of one H100.')
    p.add_argument('model', help='dems_tiny, dems_small, or another name for create_model')
    p.add_argument('--out', default='runs/gpu/battery.json', help='(default: %(default)s)')
    p.add_argument('--copy', help='folder for a copy of it, made at the end of each command')
    p.add_argument('--device', default='cuda', help='(default: %(default)s)')
    p.add_argument('--dataset', default='cifar10', help='a name for get_dls (default: %(default)s)')
    p.add_argument('--data_path', help='folder to look for its files in first')
    p.add_argument('--batch_size', type=int, default=256, help='(default: %(default)s)')
    p.add_argument('--n_train', type=int, help='of resume, waits, epoch (default: all)')
    p.add_argument('--holdout', type=int, default=0,
                   help='keep so many back to score (default: score the test set)')
    p.add_argument('--minutes', type=float, default=4.5, help='(default: %(default)s)')
    p.add_argument('--rounds', type=int, default=7, help='measurements (default: %(default)s)')
    p.add_argument('--steps', type=int, default=10, help='of each (default: %(default)s)')
    p.add_argument('--eager', action='store_true', help='compile nothing')
    p.add_argument('--parts', nargs='+', choices=parts, default=parts, help='(default: all)')
    a = p.parse_args(argv)
    battery = Battery(a.model, a.device, a.dataset, a.data_path, a.batch_size, a.rounds, a.steps,
                      not a.eager, a.n_train, a.holdout)
    try: whole = run(battery, a.out, a.minutes, a.parts, began=began)
    finally:
        if a.copy and Path(a.out).exists():
            write_atomic(Path(a.copy)/Path(a.out).name, Path(a.out).read_bytes())
    if not whole: return 3
    done = json.loads(Path(a.out).read_text())
    print('\n' + goals(done).to_string())
    return int(any(k.startswith(f'{a.model} ') for k in done['failed']))

if __name__ == '__main__': raise SystemExit(main())
