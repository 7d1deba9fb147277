"""The CUDA path, run without a GPU: on a stand-in for CUDA whose numbers are rubbish.

What is looked at is everything but numbers: that nothing raises, that nothing is on the wrong
device, which precision and which kernel is chosen, and that no training step waits for the device.
"""
import json, pytest, re, runpy, torch, types
from pathlib import Path
from dems_nb import loop

pytestmark = pytest.mark.fake_cuda
nothing = dict(H2D=0, D2H=0, SYNC_STREAM=0, SYNC_DEVICE=0, SYNC_EVENT=0)

# ---- a training step, its loader and its augmentation
names = ('light', 'paper', 'fine-tune', 'paper, one_cycle', 'paper, fp16', 'paper, fp32',
         'light, fp16', 'light, colour, host', 'paper, colour', 'paper, colour, 256 px, host',
         'fine-tune, colour, 256 px')

@pytest.mark.parametrize('name', names)
def test_no_step_waits(scene, name):
    """Pictures on the host come over in a copy that nobody waits for: pictures and classes.
    An epoch waits five times at most: for the smoothed loss, the loss, the accuracy, and the
    order of the pictures is brought over. With the paper's augmentation seven times: loader and
    callback tell it the probabilities. Where a wait in a step is an error, there is none."""
    seen = scene('recipes', 'recipes')[name]
    assert seen['error'] is None and seen['n_steps'] > 2, 'nothing was counted'
    allowed = nothing | (dict(H2D=2) if 'host' in name else {})
    assert seen['step'] == allowed, '\n'.join(seen['places'])
    epoch = seen['epoch']
    waited = sum(epoch.get(k, 0) for k in ('SYNC_STREAM', 'SYNC_DEVICE', 'SYNC_EVENT'))
    assert 1 <= waited <= (7 if 'paper' in name else 5) and epoch['D2H'] == 3

@pytest.mark.parametrize('name', names)
def test_each_recipe_trains_and_scores_on_the_card(scene, name):
    seen = scene('recipes', 'recipes')[name]
    assert seen['device'] == 'cuda:0' and seen['scored'] in (64, 100, 320)
    precision = name.rpartition(', ')[2]
    wanted = dict(fp16='torch.float16', fp32='torch.float32').get(precision, 'torch.bfloat16')
    assert seen['dtype'] == wanted and seen['scaler'] == (precision == 'fp16')

# ---- what is chosen
@pytest.mark.parametrize('name,precision', [('light', 'float32'), ('paper', 'float32'),
                                            ('paper, fp16', 'float16')])
def test_on_a_t4_nothing_chooses_bf16(scene, name, precision):
    seen = scene('auto', 'auto', 'T4')[name]
    assert seen['dtype'] == f'torch.{precision}' and seen['device'] == 'cuda:0'
    assert seen['scaler'] == (precision == 'float16') and seen['step'] == nothing

def test_attention_kernels(scene):
    "None is the plain one, with its table of all pairs, but bf16 on a T4, which nothing chooses."
    h100, t4 = scene('kernels', 'runs'), scene('kernels', 'auto', 'T4')
    assert h100['bf16, 0.05'] in ('flash', 'cuDNN') and h100['bf16, 0.0'] in ('flash', 'cuDNN')
    assert h100['fp32, 0.05'] == t4['fp32, 0.05'] == t4['fp16, 0.05'] == 'memory-efficient'
    assert 'plain' not in [v for k, v in (h100 | t4).items() if not k.startswith('bf16')]
    assert t4['bf16, 0.05'] == 'plain'

# ---- stop and go on
stops = ['light, last step', 'light, scoring'] + [f'{k}, in an epoch' for k in (
    'light', 'paper', 'fine-tune', 'paper, one_cycle', 'light, fp16', 'light, fp32')]
@pytest.mark.parametrize('name', stops)
def test_a_stopped_run_goes_on(scene, name):
    seen = scene('resume', 'runs')[name]
    assert isinstance(seen, dict), seen
    assert (seen['epochs'], seen['losses'], seen['scored']) == (2, 10, 100)
    assert seen['on'] == 'cpu' and seen['device'] == 'stand-in for an H100'
    assert seen['precision'] == dict(fp16='fp16', fp32='fp32').get(name.split(', ')[1], 'bf16')

def test_a_run_goes_on_in_another_precision(scene):
    assert scene('other_precision', 'runs')['epochs'] == 2

def test_gradients_are_clipped_in_every_precision(scene):
    assert scene('clip', 'runs') == dict(fp32=10, fp16=10)

def test_the_second_stage_starts_from_the_first(scene):
    assert scene('stages', 'runs') == dict(source='model.safetensors', scored=100)

def test_nothing_is_computed_in_double(scene):
    "But the metrics' sums, where the device has double; without it they are float32 (a Mac)."
    assert scene('float64', 'runs') == []
    numbers = types.SimpleNamespace(device=torch.device('mps'), float=lambda: 'float')
    assert loop._wide(numbers) == 'float'
    assert loop._wide(torch.ones(1)).dtype == torch.float64

def test_with_dropout_training_leaves_cudnns_attention_out(scene):
    "It draws dropout in sixteenths. What was allowed before is allowed after, errors included."
    assert scene('cudnn', 'runs') == {'0.0': [[True], True], '0.05': [[False], True],
                                      'after an error': True}

# ---- memory
@pytest.mark.parametrize('name', ['tiny, bf16', 'tiny, fp32', 'small, bf16'])
def test_the_memory_estimate_is_the_allocators(scene, name):
    "At batch 256 within a tenth: it was 2.4 times too high."
    assert 1 < scene('memory', 'runs')[name] < 1.1

def test_the_batch_that_is_said_to_fit_on_a_t4_fits(scene):
    seen = scene('fits', 'auto', 'T4')
    assert 64 <= seen['most'] < 256 and seen['fits'] and not seen['more']

def test_what_to_expect_of_a_card(scene):
    h100, t4 = scene('expected', 'runs'), scene('expected', 'auto', 'T4')
    assert h100['precision'] == "'auto' is bf16" and 'bfloat16' not in h100
    assert t4['precision'] == "'auto' is fp32" and 'fp16' in t4['bfloat16']
    assert 'bf16' not in ' '.join(t4.values()) and 'plain' not in ' '.join(t4.values())
    assert 'bf16' in h100['dems_nano, batch 256'] and 'fp16' in t4['dems_nano, batch 256']

# ---- compiled
def test_compiled_once_over_epochs_and_fits(scene):
    "The model, and the paper's augmentation; scoring between epochs compiles nothing."
    seen = scene('graphs', 'runs')
    assert (seen['graphs'], seen['breaks'], seen['step']) == (2, 0, nothing)

def test_batches_of_other_sizes(scene):
    "Graphs after train 8, train 8, score 8, score 5, score 3, train 8."
    assert scene('graphs', 'runs')['batches'] == {'None': [1, 1, 2, 3, 3, 3],
                                                  'True': [1, 1, 2, 2, 2, 2]}

@pytest.mark.slow
def test_two_blocks_through_inductor(scene): assert scene('inductor', 'inductor')['TRITON'] > 100

# ---- pictures, commands
def test_pictures_of_a_model_on_the_card(scene):
    seen = scene('pictures', 'runs')
    assert seen['shape'] == [17, 85] and len(seen['shown']) == 4

def test_the_doctor(scene):
    said = scene('doctor', 'auto', 'T4')['said']
    assert re.search(r'\[OK\] +GPU 0: stand-in for a T4', said)
    assert '[FAIL] GPU 0 bfloat16' in said
    assert 'to expect, attention, fp16: ' in said and 'to expect, dems_small, batch 256: ' in said
    assert 'everything that is required works' in said

# ---- the half hour, in small
DRY = '''import json, kit, runpy, sys
for command in json.loads(sys.argv[1]):
    sys.argv = command
    try: runpy.run_path(command[0], run_name='__main__')
    except SystemExit as e: print('\\nexit status', e.code or 0)
    else: print('\\nexit status 0')'''
def dry(fake_cuda, script, *calls, **kw):
    "A script of bench/ on the stand-in, where numbers are no concern: what it says, each status."
    commands = [[f'bench/{script}', *map(str, flags)] for flags in calls]
    said = fake_cuda('-c', DRY, json.dumps(commands), **kw)
    return said, [int(n) for n in re.findall(r'^exit status (\d+)$', said, re.M)]

def test_the_battery_runs_and_goes_on(fake_cuda, tmp_path):
    "Of two commands the first has no time; compiled elsewhere, here eager."
    file = tmp_path/'b.json'
    flags = ('dems_nano --dataset sample --n_train 320 --holdout 60 --batch_size 64 --rounds 1 '
             f'--steps 1 --eager --parts kernels waits memory ways step epoch --out {file}').split()
    _, status = dry(fake_cuda, 'battery.py', [*flags, '--minutes', 0], flags)
    assert status == [3, 0]
    done = json.loads(file.read_text())
    own = done['dems_nano']
    assert done['failed'] == {} and own['machine']['device'] == 'stand-in for an H100'
    assert own['waits'] == dict(light=[], paper=[], finetune=[])
    assert own['kernels'] == {'0.05': 'flash', '0.0': 'flash'}
    assert own['memory']['peak_bytes'] > 2**20 and own['epoch']['images'] == 320

@pytest.mark.slow
def test_the_pair_on_a_card_in_one_call(fake_cuda, tmp_path):
    flags = ('pair --models dems_nano vit_nano --dataset sample --n_train 130 --holdout 60 '
             f'--batch_size 64 --minutes .5 --eager --runs {tmp_path}/a --out {tmp_path}/b').split()
    said, status = dry(fake_cuda, 'runs.py', [*flags, '--slice', 5])
    assert status == [0]
    back = sorted(p.name for p in (tmp_path/'b').iterdir())
    assert back == ['dems_nano-s0.tar', 'ledger.tar', 'vit_nano-s0.tar']
    assert said.count(': done') == 2

# ---- several cards
@pytest.fixture
def two(scenes):
    "What each of two processes saw."
    pytest.importorskip('accelerate', reason='several processes need accelerate')
    return scenes('two_cards')

@pytest.mark.slow
def test_the_second_cards_clock(two): assert two[0]['second_card'] == ['cuda:1', 'cuda:1']

@pytest.mark.slow
def test_two_processes_with_nccl(two):
    "They train, stop, go on, and the environment's mixed precision is none of theirs."
    rows = [r['two_cards'] for r in two]
    assert len(rows) == 2 and not [r for r in rows if 'error' in r], rows
    first = next(r for r in rows if r.get('rank') == 0)
    assert first['backend'] == 'nccl' and first['result']['processes'] == 2
    assert first['result']['data']['n_scored'] == 100 and all(r['reduced'] > 30 for r in rows)
    assert first['mixed_precision'] == 'no'

# ---- the tests for a real card, up to their numbers
@pytest.mark.slow
def test_the_tests_marked_cuda_run_up_to_their_numbers(fake_cuda, tmp_path):
    "Those that look at numbers fail by a comparison, nothing else fails; nothing is compiled."
    numbers = '''test_on_cuda_nothing_waits_and_the_result_is_the_cpus test_same_on_cuda
        test_pictures_on_host_and_device_give_the_same test_compiled_is_eager_is_plain
        test_everything_works_for_a_model_on_the_gpu test_compiled_augmentation_is_eager'''.split()
    file = tmp_path/'junit.xml'
    tests = runpy.run_path(Path(__file__).parent.parent/'bench/battery.py')['cuda_tests']()
    fake_cuda('-c', 'import kit, pytest, sys; pytest.main(sys.argv[1:])', '-m', 'cuda', '-q', '-p',
              'no:cacheprovider', f'--junitxml={file}', *tests, TORCHDYNAMO_DISABLE='1')
    from xml.etree import ElementTree
    cases = [c for c in ElementTree.parse(file).iter('testcase')]
    assert len(cases) >= 14
    for c in cases:
        bad = [*c.findall('failure'), *c.findall('error')]
        text = bad[0].get('message') if bad else ''
        by_numbers = c.get('name').split('[')[0] in numbers and re.match('(?i)assert', text)
        assert not bad or by_numbers, f'{c.get("name")}: {text}'
