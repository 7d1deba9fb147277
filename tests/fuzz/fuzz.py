"""Damage files in every way there is and read them: `python tests/fuzz/fuzz.py --files 5000`, or
`make fuzz FILES=5000`. The kit may take a file, or refuse it in one line that names it."""
import argparse, contextlib, gzip, io, json, multiprocessing, os, pickle, platform, random
import resource, shutil, struct, sys, tempfile, threading, time, traceback, warnings, zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
most_seconds, most_bytes = 5., 100*2**20          # of the processor; above what readers took before
odd = [None, True, -1, 0, 3, 2**31, 2**63, 10**400, 1.5, -0., 1e308, float('nan'), float('inf'), '',
       'x', '../../evil', 'é'*300, '9'*5000, [], [[]], {}, {'x': 1}, [1]*1000]

# damage: functions of (bytes, a random generator) that give bytes

def flip(data, rng):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 8, 100])):
        if data: data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)

def flip_head(data, rng): return flip(data[:400], rng) + data[400:]
def cut(data, rng): return data[:rng.choice([0, 1, 7, 8, 9, rng.randrange(len(data) + 1)])]
def cut_end(data, rng): return data[:max(0, len(data) - rng.randint(1, 64))]
def longer(data, rng): return data + rng.randbytes(rng.choice([1, 8, 4096]))
def foreign(data, rng):
    return rng.choice([b'', b'\0'*len(data), rng.randbytes(len(data)), b'hello\n', b'{}', b'[]',
                       b'null', b'3', b'\x89PNG\r\n\x1a\n' + data, b'PK\x03\x04' + data, b'['*10**5,
                       b'\xff\xfe' + data, data[::-1], gzip.compress(data), pickle.dumps({'a': 1})])

def chunk(data, rng):
    "A part left out, doubled, zeroed, or two parts exchanged, as a bad disk or a bad copy does."
    size = rng.choice([1, 16, 512, 4096])
    a, b = sorted(rng.randrange(max(1, len(data) - size)) for _ in range(2))
    part = data[a:a+size]
    return rng.choice([data[:a] + data[a+size:], data[:a] + part + data[a:],
                       data[:a] + bytes(len(part)) + data[a+size:],
                       data[:a] + data[b:b+size] + data[a+size:b] + part + data[b+size:]])

damages = flip, flip, flip_head, cut, cut_end, longer, foreign, chunk, chunk

# forgery: what only somebody does, who knows the format

def twist(value, rng):
    "A value of JSON with one thing in it that is odd."
    if isinstance(value, (dict, list)) and value and rng.random() < .9:
        key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        new = value.copy()
        if rng.random() < .1: new.pop(key)
        elif isinstance(new, dict) and rng.random() < .1: new[rng.choice(['x', '', key*9])] = 1
        else: new[key] = twist(value[key], rng)
        return new
    if isinstance(value, str) and value[:1] in '{[' and rng.random() < .9:      # JSON in JSON
        try: return json.dumps(twist(json.loads(value), rng))
        except ValueError: pass
    if isinstance(value, (int, float)) and rng.random() < .4:
        return value*rng.choice([-1, 2, 10, 1000, .5])
    return rng.choice(odd)

def forge_json(data, rng): return json.dumps(twist(json.loads(data), rng)).encode()

def forge_head(data, rng):
    "Another header of a safetensors file, well-formed."
    n = int.from_bytes(data[:8], 'little')
    head = json.dumps(twist(json.loads(data[8:8+n]), rng)).encode()
    return len(head).to_bytes(8, 'little') + head + data[8+n:]

def forge_signed(data, rng):
    "Other notes or other tensors, with the right checksum over them."
    import torch
    from safetensors.torch import load, save
    from dems_nb.weights import digest
    n = int.from_bytes(data[:8], 'little')
    meta, tensors = json.loads(data[8:8+n])['__metadata__'], load(data)
    meta.pop('sha256')
    if rng.random() < .3: tensors = twist_tensors(tensors, rng)
    else:
        meta = twist(meta, rng)
        meta = {str(k): str(v) for k, v in meta.items()} if isinstance(meta, dict) else {}
    notes = meta
    if 'notes' in meta:
        try: notes = json.loads(meta['notes'])
        except ValueError: pass
    meta['sha256'] = digest(tensors, notes)
    return save({k: v.contiguous() for k, v in tensors.items()}, meta)

def twist_tensors(tensors, rng):
    "A state dict with one tensor that is odd."
    import torch
    key, tensors = rng.choice(list(tensors)), dict(tensors)
    t = tensors.pop(key)
    new = rng.choice([None, t.flatten(), t[..., :1], t.double(), t.to(torch.uint8),
                      t.reshape(-1)[0], t[:0] if t.ndim else t, torch.zeros(1),
                      t.half(), t*float('nan')])
    if new is not None: tensors[rng.choice([key, key, key + '.x', 'blocks.999999999.w'])] = new
    return tensors

def forge_pth(data, rng):
    "A .pth with one thing in it that is odd."
    import torch
    held = torch.load(io.BytesIO(data), weights_only=True)
    held['model'] = twist_tensors(held['model'], rng)
    if rng.random() < .1: held = twist(held, rng)
    if rng.random() < .1: held['model']['head.weight'] = torch.zeros(1).expand(10**6, 10**6)
    torch.save(held, out := io.BytesIO())
    return out.getvalue()

def forge_png(data, rng):
    "A PNG that says of itself that it is another size, with the right checksum."
    sides = [rng.choice([0, 1, 7, 20, 5000, 100_000, 2**31 - 1]) for _ in range(2)]
    head = b'IHDR' + struct.pack('>II', *sides) + data[24:29]
    return data[:12] + head + struct.pack('>I', zlib.crc32(head)) + data[33:]

def forge_gz(data, rng):
    "An IDX file with other numbers in its head, or a gigabyte of zeros, well packed."
    plain = gzip.decompress(data)
    if rng.random() < .1: return zeros()
    head = struct.pack('>I', rng.choice([0, 1, 2**31 - 1, 2**32 - 1, 60_000, 2049, 2051]))
    at = rng.choice([0, 4, 8, 12])
    return gzip.compress(plain[:at] + head + plain[at+4:], 1)

def zeros(kept=[]):
    if not kept: kept.append(gzip.compress(bytes(2**30), 1))
    return kept[0]

# kinds of file: (a good one's folder, its name in it, how it is read, how it is forged)

def make(base):
    "Good files of every kind, small, in a folder."
    import numpy as np, torch
    from PIL import Image
    from safetensors import safe_open
    from dems_nb.learner import Recipe
    from dems_nb.model import create_model
    from dems_nb.run import train
    from dems_nb.weights import save_model
    rng = np.random.default_rng(0)
    for name in ('model', 'pth', 'rows/study', 'idx', 'cut'): (base/name).mkdir(parents=True)
    small = dict(dim=16, depth=3, heads=2, mix_before=(2, 3))
    save_model(create_model('dems_nano', 3, **small), base/'model/f.safetensors',
               classes=['a', 'b', 'c'], picture='whole')
    golden = Path(__file__).parents[1]/'golden/micro32.safetensors'
    with safe_open(golden, 'pt') as f:
        state = {k[3:]: f.get_tensor(k) for k in f.keys() if k.startswith('sd.')}
    torch.save(dict(model=state, epoch=3), base/'pth/f.pth')
    train(Recipe(n_train=40, holdout=20, bs=20, epochs=1), base/'run', device='cpu', bar=False)
    result = json.loads((base/'run/result.json').read_text())
    row = dict(study='study', stage='pretrain', variant='base', **result)
    (base/'rows/study/f.json').write_text(json.dumps(row, indent=1))
    for part, n in (('train', 20), ('t10k', 10)):
        x = struct.pack('>IIII', 2051, n, 28, 28) + rng.bytes(n*28*28)
        y = struct.pack('>II', 2049, n) + bytes(i % 10 for i in range(n))
        for kind, data in (('images-idx3', x), ('labels-idx1', y)):
            (base/f'idx/{part}-{kind}-ubyte.gz').write_bytes(gzip.compress(data))
    for c in ('cat', 'dog'):
        (base/'photos'/c).mkdir(parents=True)
        for i, ext in enumerate(('png', 'jpg', 'bmp', 'webp', 'tif', 'ppm')):
            im = Image.fromarray(rng.integers(0, 255, (24, 20, 3), np.uint8))
            im.save(base/f'photos/{c}/{i}.{ext}')
    read_photos(base/'photos')                                          # which makes its cache
    plan = dict(recipe=json.loads((base/'run/recipe.json').read_text()), start=1., epoch=1.,
                minutes=1.)
    (base/'cut/timebox.json').write_text(json.dumps(plan))
    (base/'cut/recipe.json').write_text((base/'run/recipe.json').read_text())

def read_model(path):
    from dems_nb.weights import load_model
    load_model(path)

def read_pth(path):
    from dems_nb.weights import load_model
    load_model(path, heads=2, mix_before=(2, 4))

def read_run(path):
    "Go on with a run, or begin beside what is left of it, up to where the training would begin."
    from dems_nb import learner as L, run as R
    recipe = L.Recipe(n_train=40, holdout=20, bs=20, epochs=1)
    folder = R.open_folder(path.parent, recipe, resume=True)
    try:
        if folder.saved is None: return
        dls = L.recipe_dls(recipe, 'cpu')
        R._same_data(folder.saved, dls, False)
        model, _ = R._starting_model(recipe, dls, None, None, folder.saved)
        learn = L.make_learner(recipe, dls, model, device='cpu')
        learn.add_cbs([R.EpochLog(R.NoFolder(), recipe), R.Checkpoint(folder, recipe)])
        learn.create_opt()
        learn.checkpoint.before_fit()
    finally: folder.close()

def read_result(path):
    from dems_nb.results import enter_run
    enter_run(path.parent, path.parent/'ledger', 'study', 'pretrain')

def read_rows(path):
    from dems_nb import results as S
    rows = S.read_ledger(path.parents[1])
    S.frame(rows), S.paper_table(rows)

def read_recipe(path):
    from dems_nb.learner import Recipe
    Recipe.from_json(path.read_bytes().decode(errors='replace'))

def read_plan(path):
    from dems_nb import studies
    from dems_nb.learner import Recipe
    recipe = Recipe(n_train=40, holdout=20, bs=20, epochs=1)            # what the plan was made for
    train, studies.train = studies.train, lambda *args, **kwargs: None
    try: studies.timebox(recipe, path.parent, 1., 'cpu', say=lambda line: None)
    finally: studies.train = train

def read_idx(path):
    from dems_nb.datasets import read_files
    read_files('fashionmnist', path.parent, download=False)

def read_picture(path):
    from dems_nb.classifier import Classifier
    from dems_nb.model import create_model
    Classifier(create_model('vit_nano', 2, dim=16, depth=1, heads=2), device='cpu').picture(path)

def read_photos(root):
    from dems_nb.data import get_dls
    get_dls('folder', root, image_size=16, bs=2, device='cpu', on_broken='skip', check=True)

def read_cache(path): read_photos(path.parents[1])
def read_photo(path):
    read_picture(path)
    read_photos(path.parents[1])

kinds = dict(
    model=('model/f.safetensors', read_model, (forge_head, forge_signed)),
    pth=('pth/f.pth', read_pth, (forge_pth,)),
    checkpoint=('run/checkpoint.safetensors', read_run, (forge_head, forge_signed)),
    marker=('run/dems_run.json', read_run, (forge_json,)),
    result_resumed=('run/result.json', read_run, (forge_json,)),
    result=('run/result.json', read_result, (forge_json,)),
    recipe=('cut/recipe.json', read_recipe, (forge_json,)),
    row=('rows/study/f.json', read_rows, (forge_json,)),
    plan=('cut/timebox.json', read_plan, (forge_json,)),
    images=('idx/train-images-idx3-ubyte.gz', read_idx, (forge_gz,)),
    labels=('idx/t10k-labels-idx1-ubyte.gz', read_idx, (forge_gz,)),
    cache=('photos/.dems_cache/train-square-16-*.safetensors', read_cache, (forge_head,)),
    parts=('photos/.dems_cache/split-0.2-0.json', read_cache, (forge_json,)),
    png=('photos/cat/0.png', read_photo, (forge_png,)),
    **{ext: (f'photos/dog/{i}.{ext}', read_photo, ()) for i, ext in
       enumerate(('jpg', 'bmp', 'webp', 'tif', 'ppm'), 1)})

def judge(error, path):
    "What is wrong with an error; None if it is the kit's own line, with the file's name in it."
    frames = traceback.extract_tb(error.__traceback__)
    own = 'dems_nb' in Path(frames[-1].filename).parts
    text = str(error)
    named = any(n in text for n in (path.name, path.parent.name)) or path.name == 'recipe.json'
    kind = isinstance(error, (ValueError, OSError)) and not isinstance(error, json.JSONDecodeError)
    if own and kind and named and '\n' not in text and len(text) < 2000: return None
    return f'{type(error).__name__}: {text[:200]!r} from {frames[-1].filename}:{frames[-1].lineno}'

def copied(home, name):
    "The file of a kind in a copy of its folder."
    (path,) = home.glob('/'.join(Path(name).parts[1:]))
    return path

def try_one(base, seed, index, kind=None):
    "Damage one file and read it: (its kind, forged?, what came of it, seconds, bytes, why)."
    rng = random.Random(f'{seed} {index}')
    kind = kind or list(kinds)[index % len(kinds)]
    name, read, forgeries = kinds[kind]
    forged = bool(forgeries) and rng.random() < .3
    change = rng.choice(forgeries if forged else damages)
    with tempfile.TemporaryDirectory(dir=base.parent) as folder:
        home = Path(folder)/'copy'
        shutil.copytree(base/Path(name).parts[0], home)
        path = copied(home, name)
        data = path.read_bytes()
        try: data = change(data, rng)
        except (OverflowError, RuntimeError, IndexError): data = flip(data, rng)
        path.write_bytes(data)
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        why = None
        try: read(path)
        except Exception as e:
            why = judge(e, path)
            came = 'raw' if why else 'refused'
        else: came = 'taken'
        seconds = time.process_time() - began
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)*1024
        return kind, forged, came, seconds, grown, f'{change.__name__}: {why}' if why else None

def work(pipe, base, seed):
    "A process that tries what it is sent."
    import torch
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    resource.setrlimit(resource.RLIMIT_CPU, (10**6, 10**6))
    sys.stdout = open(os.devnull, 'w')
    base = Path(base)
    for name, read, _ in kinds.values():                                # the first read is slow
        with tempfile.TemporaryDirectory(dir=base.parent) as folder:
            home = Path(folder)/'copy'
            shutil.copytree(base/Path(name).parts[0], home)
            read(copied(home, name))
    pipe.send(None)
    while (index := pipe.recv()) is not None: pipe.send(try_one(base, seed, *index))

class Fuzz:
    "The harness: what came of each file, and lines about what is wrong."
    def __init__(self, folder, seed=0):
        self.base, self.seed = Path(folder)/'good', seed
        with contextlib.redirect_stdout(io.StringIO()): make(self.base)
        self.context = multiprocessing.get_context('spawn')
        self.counts, self.wrong, self.lock = Counter(), [], threading.Lock()

    def serve(self, indices, kind=None):
        "Try one file after the other in a process, and in another one after one that ends it."
        task = None
        for index in indices:
            if task is None:
                here, there = self.context.Pipe()
                task = self.context.Process(target=work, args=(there, str(self.base), self.seed),
                                            daemon=True)
                task.start()
                there.close()
                here.recv()
            here.send((index, kind))
            try: answer = here.recv() if here.poll(300) else 'does not end'
            except EOFError: answer = 'ends the process'
            if isinstance(answer, str):
                task.kill()
                task.join()
                self.note(index, kind or list(kinds)[index % len(kinds)], 'time', answer)
                task = None
            else: self.judge(index, *answer)
        if task: here.send(None)

    def judge(self, index, kind, forged, came, seconds, grown, why):
        if came == 'raw': came = 'raw forged' if forged else 'raw damaged'
        if seconds > most_seconds: came, why = 'time', f'{came}, {seconds:.1f} s'
        if grown > most_bytes: came, why = 'memory', f'{came}, {grown/2**20:.0f} MiB'
        self.note(index, kind, came, why)

    def note(self, index, kind, came, why):
        with self.lock:
            self.counts['files'] += 1
            self.counts[came] += 1
            if why: self.wrong.append(f'{index} {kind}: {came}: {why}')
            if why: print(self.wrong[-1], flush=True)
            if self.counts['files'] % 500 == 0: print(f'{self.counts["files"]:,} files', flush=True)

def fuzz(folder, files=5000, minutes=1e9, seed=0, only=None, first=0, jobs=1):
    "Try files until so many are done or time is over: the harness, with what it counted."
    harness, began = Fuzz(folder, seed), time.monotonic()
    turn, lock = iter(range(first, first + files)), threading.Lock()
    def indices():
        while time.monotonic() - began < 60*minutes:
            with lock: index = next(turn, None)
            if index is None: return
            yield index
    with ThreadPoolExecutor(jobs) as pool:
        for job in [pool.submit(harness.serve, indices(), only) for _ in range(jobs)]: job.result()
    harness.counts['minutes'] = (time.monotonic() - began)/60
    return harness

def report(counts, seed):
    "The line that a note may quote."
    return (f'fuzz: {counts["files"]:,} files of {len(kinds)} kinds ({counts["refused"]:,} refused '
            f'in one line, {counts["taken"]:,} taken); raw errors {counts["raw damaged"]} by '
            f'damage, {counts["raw forged"]} by forgery; more than {most_bytes/2**20:.0f} MiB '
            f'{counts["memory"]}, more than {most_seconds:.0f} s {counts["time"]}; seed {seed}, '
            f'{time.strftime("%Y-%m-%d")}, {counts["minutes"]:.0f} minutes on '
            f'{platform.system()} {platform.machine()}')

def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--files', type=int, default=5000, help='(default: %(default)s)')
    p.add_argument('--minutes', type=float, default=1e9, help='end after so many (default: never)')
    p.add_argument('--seed', type=int, default=0, help='(default: %(default)s)')
    p.add_argument('--only', choices=list(kinds), help='one kind (default: all, in turn)')
    p.add_argument('--jobs', type=int, default=2, help='processes (default: %(default)s)')
    p.add_argument('--first', type=int, default=0, help='the number to begin at (default: 0)')
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        harness = fuzz(folder, a.files, a.minutes, a.seed, a.only, a.first, a.jobs)
    print(report(harness.counts, a.seed))
    return int(bool(harness.wrong))

if __name__ == '__main__': sys.exit(main())
