"""Stop trainings at random moments, in every way there is, and hold what comes of each against
one that nobody touched: `python tests/soak/soak.py --minutes 30`, or `make soak MINUTES=30`."""
import argparse, contextlib, json, multiprocessing, os, platform, random, shutil, signal, socket
import sys, tempfile, threading, time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
light = dict(dataset='sample', image_size=16, n_train=40, holdout=20, bs=10, epochs=3)
names = ('light', 'paper', 'finetune', 'half', 'overwrite', 'pair')
signals = [getattr(signal, s) for s in ('SIGTERM', 'SIGINT', 'SIGKILL', 'SIGHUP')
           if hasattr(signal, s) and (os.name != 'nt' or s == 'SIGTERM')]
preloaded = ['dems_nb.run', 'fastai.distributed', 'accelerate']
moments = 'fsync', 'replace', 'link'                                    # of a save

def recipe_of(name):
    "The recipe of a name, and what else `train` gets."
    from dems_nb.learner import Recipe
    if name == 'paper': return Recipe.pretrain('dems_nano', **light), {}
    if name == 'finetune':
        return Recipe.finetune('dems_nano', **light), dict(pretrained='dems_nano_fashionmnist')
    own = dict(half=dict(precision='fp16'), overwrite=dict(seed=1)).get(name, {})
    return replace(Recipe(**light), **own), {}

def ambush(function, count, number):
    "Send a signal to oneself just before the n-th call of a function of `os`."
    real, calls = getattr(os, function), iter(range(1, 10**9))
    def waiting(*args, **kwargs):
        if next(calls) == count: os.kill(os.getpid(), number)
        return real(*args, **kwargs)
    setattr(os, function, waiting)

def work(name, out, options, trap, rank=0, world=1, port=0):
    "A training in a process of its own."
    with open(f'{out}.log', 'a') as log, contextlib.redirect_stdout(log):
        os.dup2(log.fileno(), 2)
        for number in signals[:2]: signal.signal(number, signal.default_int_handler)
        if signal.SIGTERM in signals: signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if world > 1:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world),
                              MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
        if trap and rank == 0: ambush(*trap)
        from dems_nb.run import train
        recipe, more = recipe_of(name)
        train(recipe, out, device='cpu', bar=False, **more, **options)

class Soak:
    "The harness: how often it killed, what it ran, and what was not equal."
    def __init__(self, folder, seed=0):
        self.folder, self.seed = Path(folder), seed
        self.context = multiprocessing.get_context('spawn' if os.name == 'nt' else 'forkserver')
        if os.name != 'nt': self.context.set_forkserver_preload(preloaded)
        self.kills, self.runs, self.faults, self.whole = Counter(), 0, [], {}
        self.lock = threading.Lock()

    def start(self, name, out, trap=None, **options):
        "Begin a training: its processes, one but for a pair."
        world = 1 + (name == 'pair')
        out.parent.mkdir(parents=True, exist_ok=True)
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            port = s.getsockname()[1]
        tasks = [self.context.Process(target=work, args=(name, str(out), options, trap, rank,
                                                         world, port)) for rank in range(world)]
        for task in tasks: task.start()
        return tasks

    def end(self, tasks, patience=300):
        "Wait for processes, the others not longer than a while after the first. Did all do well?"
        tasks[0].join(patience)
        for task in tasks:
            task.join(10)
            if task.is_alive(): task.kill()
            task.join()
        return all(task.exitcode == 0 for task in tasks)

    def reference(self, name):
        "The folder of the run that nobody touched, and the seconds that it took."
        out = self.folder/'whole'/name
        began = time.perf_counter()
        if not self.end(self.start(name, out)):
            raise RuntimeError(f'{name} fails by itself: {Path(f"{out}.log").read_text()[-2000:]}')
        self.whole[name] = out, time.perf_counter() - began

    def stop(self, name, out, rng, **options):
        "Begin or go on, and stop it at a random moment. Is it done? And the signal that it got."
        number, seconds = rng.choice(signals), self.whole[name][1]
        how = rng.choice(['save', 'save', 'time', 'time', 'time'])
        trap = (rng.choice(moments), rng.randint(1, 12), number) if how == 'save' else None
        tasks = self.start(name, out, trap, **options)
        if how == 'time':
            tasks[0].join(rng.uniform(0, .8*seconds))
            for task in tasks:
                if task.is_alive(): os.kill(task.pid, number)
        done = self.end(tasks)
        if done: return True
        with self.lock:
            self.kills[signal.Signals(number).name] += 1
            self.kills['in a save'] += how == 'save'
        return False

    def run(self, index):
        "One training, stopped two to six times, then left to its end, and compared."
        rng = random.Random(f'{self.seed} {index}')
        name, out = names[index % len(names)], self.folder/f'{index}'
        if name == 'overwrite': shutil.copytree(self.whole['light'][0], out)
        every, faults = rng.choice([0., 0., .2, 60.]), []
        for attempt in range(rng.randint(2, 6)):
            if self.stop(name, out, rng, **self.way(name, out, faults), save_every=every): break
        if not self.end(self.start(name, out, **self.way(name, out, faults))):
            faults.append('it does not go on: ' + Path(f'{out}.log').read_text()[-600:])
        else: faults += compare(self.whole[name][0], out)
        with self.lock:
            self.runs += 1
            self.faults += [f'run {index}, {name}: {fault}' for fault in faults[:1]]
            print(f'run {index}, {name}: {faults[0] if faults else "equal"}; '
                  f'{sum(self.kills[s.name] for s in signals)} kills so far', flush=True)
        shutil.rmtree(out, ignore_errors=True)

    def way(self, name, out, faults):
        "How to go on, after a look at what lies there."
        from dems_nb.run import read_checkpoint
        path = out/'checkpoint.safetensors'
        notes = None
        try:
            if path.exists(): notes = read_checkpoint(path)[1]
        except ValueError as e: faults.append(f'its checkpoint is broken: {e}')
        if name != 'overwrite' or notes and notes['recipe']['seed'] == 1: return dict(resume=True)
        old = self.whole['light'][0]
        faults += [f'of the old run, {f.name} is lost' for f in old.iterdir() if f.name[0] != '.'
                   and not (out/f.name).is_file()]
        return dict(overwrite=True)

def compare(a, b):
    "How two run folders differ in what must be equal, to the bit."
    from dems_nb.weights import read_safetensors
    weights = [read_safetensors(f/'model.safetensors')[0] for f in (a, b)]
    if weights[0].keys() != weights[1].keys(): yield 'its weights have other names'
    for key in weights[0]:
        if weights[0][key].numpy().tobytes() != weights[1][key].numpy().tobytes():
            yield f'its weights differ, {key} first'
            break
    if len({(f/'history.csv').read_bytes() for f in (a, b)}) > 1: yield 'its history differs'
    rows = [json.loads((f/'result.json').read_text(encoding='utf-8')) for f in (a, b)]
    for key in rows[0].keys() | rows[1].keys():
        if key not in ('seconds', 'commit') and rows[0].get(key) != rows[1].get(key):
            yield f'in its result, {key} differs'
    more = {p.name for p in b.iterdir()} - {p.name for p in a.iterdir()}
    if more - {'checkpoint.previous.safetensors'}: yield f'it leaves {", ".join(sorted(more))}'

def soak(folder, minutes=30., kills=None, seed=0, jobs=2):
    "Runs until the time is over, or so many kills are reached: the harness, with what it counted."
    harness = Soak(folder, seed)
    began = time.monotonic()
    for name in names: harness.reference(name)
    def over():
        if kills and sum(harness.kills[s.name] for s in signals) >= kills: return True
        return time.monotonic() - began >= 60*minutes
    turn = iter(range(10**9))
    def worker():
        while not over():
            with harness.lock: index = next(turn)
            harness.run(index)
    with ThreadPoolExecutor(jobs) as pool:
        for job in [pool.submit(worker) for _ in range(jobs)]: job.result()
    harness.minutes = (time.monotonic() - began)/60
    return harness

def report(h):
    "The line that a note may quote."
    total = sum(h.kills[s.name] for s in signals)
    kinds = ', '.join(f'{s.name[3:]} {h.kills[s.name]}' for s in signals)
    return (f'soak: {total} kills ({kinds}; {h.kills["in a save"]} in the middle of a save) over '
            f'{h.runs} runs of {len(names)} recipes, {h.runs - len(h.faults)} of {h.runs} runs '
            f'equal to the bit; seed {h.seed}, {time.strftime("%Y-%m-%d")}, {h.minutes:.0f} '
            f'minutes on {platform.system()} {platform.machine()}')

def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--minutes', type=float, default=30., help='(default: %(default)s)')
    p.add_argument('--kills', type=int, help='end after so many (default: when time is over)')
    p.add_argument('--seed', type=int, default=0, help='(default: %(default)s)')
    p.add_argument('--jobs', type=int, default=2, help='runs side by side (default: %(default)s)')
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        h = soak(folder, a.minutes, a.kills, a.seed, a.jobs)
    for fault in h.faults: print(fault)
    print(report(h))
    return int(bool(h.faults))

if __name__ == '__main__': sys.exit(main())
