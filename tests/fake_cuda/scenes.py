"""What is played with the stand-in, each scene in a process of its own: a function that returns
plain values. `python scenes.py GROUP` prints them as JSON on the last line: scene -> values."""
import io, json, sys, tempfile, time, traceback
from contextlib import redirect_stdout
from pathlib import Path
import torch
from kit import (Callback, Interrupted, NoWaits, Recipe, Steps, StopAt, create_model, evaluate,
                 load_model, make_learner, named, quiet, recipe_dls, train)
from watch import counts, since, watch, waits

small = dict(dataset='sample', model='dems_nano', n_train=320, holdout=100, bs=64, epochs=2,
             patch_size=8)
paper = dict(augment='paper', mixup=.8, cutmix=1., label_smoothing=.1, schedule='paper',
             drop_path=.15, attn_drop=.05)
finetune = dict(mixup=.8, cutmix=1., label_smoothing=.1, schedule='paper', drop_path=.2,
                flip=False, shift=0)
kinds = {'light': {}, 'paper': paper, 'fine-tune': finetune,
         'paper, one_cycle': {**paper, 'schedule': 'one_cycle'}}

def colour(recipe, side=32, keep='device', n=320, size=None):
    "Data of random colour pictures for a recipe."
    Images, DeviceDL = named('Images'), named('DeviceDL')
    Normalize, Augment = named('Normalize'), named('Augment')
    images = Images(torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8),
                    torch.arange(n) % 10)
    tfms = [t for t in recipe_dls(recipe, 'cpu').train.tfms if type(t) is not Normalize]
    if recipe.augment == 'paper':
        schedule = named('AugmentSchedule')(recipe.epochs, recipe.p0, 'cosine', 3)
        tfms = [Augment(recipe.image_size, schedule)]
    else: tfms.append(Normalize(3))
    common = dict(bs=recipe.bs, device='cuda', keep=keep)
    dls = named('DataLoaders')(DeviceDL(images, shuffle=True, drop_last=True, tfms=tfms, **common),
                               DeviceDL(images, tfms=[Normalize(3)], **common),
                               device=torch.device('cuda'))
    dls.c, dls.in_chans, dls.vocab, dls.name = 10, 3, list('0123456789'), 'colour'
    return dls

# recipe, then what differs from a run in bf16 of the sample's grey pictures on the device
names = (*kinds, *(f'paper, {p}' for p in ('fp16', 'fp32')), 'light, fp16', 'light, colour, host',
         'paper, colour', 'paper, colour, 256 px, host', 'fine-tune, colour, 256 px')

def case(name):
    "A recipe, and how its data are made, or None for what the recipe names."
    kind = 'paper, one_cycle' if 'one_cycle' in name else name.split(', ')[0]
    words = set(name.split(', ')[1:])
    changes = {'precision': p for p in words & {'fp16', 'fp32'}}
    if '256 px' in words: changes |= dict(image_size=256, patch_size=16, bs=16)
    if 'colour' not in words: return Recipe(**{**small, **kinds[kind], **changes}), None
    how = dict(side=256, n=64) if '256 px' in words else {}
    return Recipe(**{**small, **kinds[kind], **changes}), how | dict(
        keep='host' if 'host' in words else 'device')

def play(recipe, how=None):
    "Train and count; in the second epoch a wait in a step is an error."
    dls = colour(recipe, **how) if how is not None else None
    steps, error = Steps(), None
    with watch(*waits) as seen:
        try: learn = quiet(train, recipe, dls=dls, device='cuda', bar=False, cbs=[steps, NoWaits()])
        except RuntimeError as e: error = str(e).splitlines()[0]
    found = dict(step={k: max(s.get(k, 0) for s in steps.steps) for k in waits}, error=error,
                 n_steps=len(steps.steps),
                 places=[f'{n} x {k}: {place}' for (k, place), n in seen.most_common(8)])
    if error: return found
    autocast = getattr(learn, 'autocast', None)
    return found | dict(epoch=steps.epochs[-1], scored=learn.evaluation.n,
                        device=str(next(learn.model.parameters()).device),
                        dtype=str(autocast.dtype) if autocast else 'torch.float32',
                        scaler=bool(autocast and learn.scaler))

def recipes(): return {name: play(*case(name)) for name in names}

def auto():
    "What `auto` chooses on this card, and a run in fp16."
    return {name: play(*case(name)) for name in ('light', 'paper', 'paper, fp16')}

def stopped(recipe, out, at):
    "Stop a run at a place, go on, evaluate, and read the model on the CPU."
    try: quiet(train, recipe, out, device='cuda', bar=False, cbs=[StopAt(*at)])
    except Interrupted as e: stop = str(e)
    learn = quiet(train, recipe, out, device='cuda', bar=False, resume=True)
    model = load_model(out/'model.safetensors')
    result = json.loads((out/'result.json').read_text())
    return dict(stop=stop, epochs=len(learn.rows), losses=len(learn.recorder.losses),
                scored=evaluate(learn.model, learn.dls).n, on=str(next(model.parameters()).device),
                device=result['device'], precision=result['precision'])

def resume():
    "Each recipe stopped in an epoch, at its last step, and in scoring; goes on; errors by name."
    places = {'in an epoch': (1, 2), 'last step': (0, 4), 'scoring': (0, 0, False)}
    runs = [(k, k, {}) for k in kinds] + [(f'light, {p}', 'light', dict(precision=p))
                                          for p in ('fp16', 'fp32')]
    done = {}
    with tempfile.TemporaryDirectory() as tmp:
        for name, kind, more in runs:
            for place, at in places.items():
                if name != 'light' and place != 'in an epoch': continue
                r = Recipe(**{**small, **kinds[kind], **more})
                try: done[f'{name}, {place}'] = stopped(r, Path(tmp)/f'{name}-{place}', at)
                except Exception as e: done[f'{name}, {place}'] = f'{type(e).__name__}: {e}'
    return done

def other_precision():
    "A run in fp16, stopped and resumed in bf16 with `allow_changes`."
    with tempfile.TemporaryDirectory() as tmp:
        r = Recipe(**small, precision='fp16')
        try: quiet(train, r, Path(tmp)/'r', device='cuda', bar=False, cbs=[StopAt(0, 2)])
        except Interrupted: pass
        changed = Recipe(**small, precision='bf16')
        learn = quiet(train, changed, Path(tmp)/'r', device='cuda', bar=False, resume=True,
                      allow_changes=True)
    return dict(epochs=len(learn.rows))

def clip():
    "How many gradients fastai's GradientClip sees before the optimizer steps, by precision."
    from fastai.callback.training import GradientClip
    seen = {}
    for precision in ('fp32', 'fp16'):
        class Count(GradientClip):
            calls = 0
            def before_step(self): self.calls += 1
        cb = Count()
        quiet(train, Recipe(**small, precision=precision), device='cuda', bar=False, cbs=[cb])
        seen[precision] = cb.calls
    return seen

def stages():
    "Pre-train with a folder, fine-tune from it, and start from it on the CPU."
    with tempfile.TemporaryDirectory() as tmp:
        first, second = Path(tmp)/'first', Path(tmp)/'second'
        quiet(train, Recipe(**{**small, **paper}), first, device='cuda', bar=False)
        learn = quiet(train, Recipe(**{**small, **finetune}), second, device='cuda', bar=False,
                      pretrained=first)
        return dict(source=learn.pretrained['name'], scored=learn.evaluation.n)

def float64():
    "Operations in double precision, were the metrics to add as they do on a Mac's GPU."
    from dems_nb import loop
    loop._wide = torch.Tensor.float
    from torch.utils._python_dispatch import TorchDispatchMode
    class Doubles(TorchDispatchMode):
        names = set()
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **kwargs or {})
            flat = out if isinstance(out, (list, tuple)) else [out]
            for t in flat:
                if isinstance(t, torch.Tensor) and t.dtype == torch.float64 and t.is_cuda:
                    self.names.add(str(func))
            return out
    with Doubles() as seen:
        for name in ('light', 'paper'): quiet(train, case(name)[0], device='cuda', bar=False)
    return sorted(seen.names)

class Stumble(Callback):
    "An error in a step."
    def after_pred(self): 1/0

def cudnn():
    "Whether cuDNN's attention may be chosen: in each step of training, and after, by dropout."
    seen, allowed = {}, torch.backends.cuda.cudnn_sdp_enabled
    class Look(Callback):
        def after_pred(self): self.seen.append(allowed())
    torch.backends.cuda.enable_cudnn_sdp(True)
    try:
        for drop in (0., .05):
            look, r = Look(), Recipe(**small, attn_drop=drop, precision='fp32')
            look.seen = []
            quiet(train, r, device='cuda', bar=False, cbs=[look])
            seen[str(drop)] = [sorted(set(look.seen)), allowed()]
        try: quiet(train, r, device='cuda', bar=False, cbs=[Stumble()])
        except ZeroDivisionError: seen['after an error'] = allowed()
    finally: torch.backends.cuda.enable_cudnn_sdp(False)
    return seen

def graphs():
    "Graphs, breaks and waits over two fits, compiled as in training, and of other batches."
    import torch._dynamo as dynamo
    made = []
    def backend(graph, inputs): made.append(graph); return graph.forward
    compile_ = torch.compile
    torch.compile = lambda f, **kw: compile_(f, **{**kw, 'backend': backend})
    r = Recipe(**{**small, **paper, 'compile': True, 'n_train': 330})
    steps = Steps()
    learn = make_learner(r, device='cuda', cbs=[steps])
    with learn.no_bar(), learn.no_logging():
        for _ in range(2): learn.fit(2)
    breaks = dynamo.utils.counters['graph_break']
    return dict(graphs=len(made), breaks=sum(breaks.values()),
                step={k: max(s.get(k, 0) for s in steps.steps) for k in waits},
                batches=batches(made, backend, compile_))

def batches(made, backend, compile_):
    "Graphs of a compiled model: training, scoring, a smaller batch; then with a dynamic batch."
    import torch._dynamo as dynamo
    out = {}
    for dynamic in (None, True):
        dynamo.reset()
        made.clear()
        model = create_model('dems_nano', depth=2, mix_before=(2,), n_mixed=(4,), drop_path=.1,
                             attn_drop=.05).cuda()
        f, n = compile_(model, backend=backend, fullgraph=True, dynamic=dynamic), []
        for size, training in ((8, True), (8, True), (8, False), (5, False), (3, False), (8, True)):
            model.train(training)
            with torch.set_grad_enabled(training): f(torch.rand(size, 3, 32, 32, device='cuda'))
            n.append(len(made))
        out[str(dynamic)] = n
    return out

def inductor():
    "Two blocks compiled for real: forward and backward run through Triton's launcher."
    model = create_model('dems_nano', depth=2, mix_before=(2,), n_mixed=(4,)).cuda()
    f = torch.compile(model, fullgraph=True)
    before = counts()
    for _ in range(2): f(torch.rand(8, 3, 32, 32, device='cuda')).sum().backward()
    return since(before)

def kernels():
    "Which attention kernel PyTorch chooses on this card: precision and dropout -> its name."
    from dems_nb.benchmark import attention_kernel
    return {f'{p}, {drop}': attention_kernel('cuda', p, drop) for p in ('bf16', 'fp16', 'fp32')
            for drop in (0., .05)}

def pictures():
    "Viewer, explorer and provenance of a model on the card."
    import numpy as np
    import dems_nb.visualize as V
    from dems_nb.figures import show_predictions
    from dems_nb.viewer import view_tokens
    img = named('sample_images')(1).x[0]
    model = create_model('dems_nano', in_chans=1).cuda()
    share = V.provenance(model, img, attention=True)
    viewers = dict(mixing=lambda: V.show_mixing(model, img),
                   provenance=lambda: V.show_provenance(model, img),
                   predictions=lambda: show_predictions(model, img[None], [0], range(10)),
                   tokens=lambda: view_tokens(img, model.layout, model))
    for f in viewers.values(): f()
    return dict(shape=list(share.shape), shown=list(viewers))

def two_cards():
    "Under torchrun: a run of two processes, stopped at an epoch's last step, goes on."
    import os
    import torch.distributed as dist
    out, precisions = Path(sys.argv[2]), []
    class Precision(Callback):
        def before_train(self):
            trainer = self.learn.distributed_trainer
            precisions.append(trainer.accelerator.mixed_precision)
    for place, at in (('a', (0, 4)), ('b', (0, 0, False)), ('c', (1, 1))):
        r = Recipe(**small)
        try: quiet(train, r, out/place, device='cuda', bar=False, cbs=[StopAt(*at), Precision()])
        except Interrupted: pass
        dist.barrier()
        learn = quiet(train, r, out/place, device='cuda', bar=False, resume=True)
    rank = int(os.environ['RANK'])
    done = dict(backend=dist.get_backend(), rank=rank, device=str(learn.dls.device),
                mixed_precision=precisions[0],
                result=json.loads((out/'c/result.json').read_text())) if rank == 0 else {}
    seen = since({k: 0 for k in counts()})
    dist.destroy_process_group()
    return done | dict(reduced=seen.get('NCCL', 0))

def memory():
    "Bytes at most in a step by PyTorch's allocator, and as estimated, in units of the estimate."
    import gc
    from dems_nb import benchmark as B
    out = {}
    for name, precision in (('tiny', 'bf16'), ('tiny', 'fp32'), ('small', 'bf16')):
        model = create_model(f'dems_{name}', drop_path=.15, attn_drop=.05).cuda()
        step = B.TrainingStep(model, 256, precision)
        step()
        peak = B.peak_memory(step, 'cuda')
        said = B.estimate_memory(model.cpu(), 256, precision)['total']
        out[f'{name}, {precision}'] = peak/said
        del model, step
        gc.collect()
    return out

def fits():
    "On this card: a step of S at the batch that is said to fit, and at a quarter more."
    import gc
    from dems_nb import benchmark as B
    model = create_model('dems_small', drop_path=.15, attn_drop=.05)
    most = B.largest_batch(model, torch.cuda.get_device_properties(0).total_memory, 'fp32')
    def step(batch):
        try:
            one = B.TrainingStep(model.cuda(), batch, 'fp32')
            for _ in range(2): one()
            return True
        except torch.OutOfMemoryError: return False
        finally:
            model.zero_grad()
            gc.collect()
            torch.cuda.empty_cache()
    return dict(most=most, fits=step(most), more=step(most*5//4))

def expected():
    from dems_nb.benchmark import what_to_expect
    return what_to_expect('cuda', ('dems_nano',))

def doctor():
    "What `dems_doctor` says of this card."
    from dems_nb.commands import doctor
    with redirect_stdout(io.StringIO()) as said: doctor(['--data_path', 'nowhere'])
    return dict(said=said.getvalue())

def second_card():
    "The events of a measurement on the second card are recorded on it."
    from dems_nb import benchmark as B
    cards, event = [], torch.cuda.Event
    class Noted(event):
        def record(self, *args):
            super().record(*args)
            cards.append(str(self.device))
    torch.cuda.Event = Noted
    try: B.seconds(lambda: None, 1, 'cuda:1')
    finally: torch.cuda.Event = event
    return cards

groups = dict(recipes=[recipes], auto=[auto, kernels, fits, expected, doctor],
              runs=[resume, other_precision, clip, stages, float64, graphs, kernels, pictures,
                    memory, expected, cudnn],
              inductor=[inductor], two_cards=[second_card, two_cards])

def played(f):
    "What a scene gave, or how it ended; how long it took goes to the errors."
    start = time.process_time()
    try: return f()
    except Exception: return dict(error=traceback.format_exc())
    finally: print(f'{f.__name__}: {time.process_time() - start:.1f} s', file=sys.stderr)

if __name__ == '__main__':
    print('\n' + json.dumps({f.__name__: played(f) for f in groups[sys.argv[1]]}), flush=True)
