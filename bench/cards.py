"""What to expect of a T4, an A100, an H100 and a Mac: `results/cards.json`, which chapter
"Benchmark" shows. Without the cards: on the stand-in for CUDA of `tests/fake_cuda/`. A Mac's
memory is computed on the CPU, with the tables that attention keeps there; no Mac is stood in for.

    python bench/cards.py                    # needs gcc, Linux and a CUDA build of PyTorch
"""
import json, os, subprocess, sys
from pathlib import Path

root = Path(__file__).parent.parent
sys.path.insert(0, str(root/'tests/fake_cuda'))
import build as stand_in

code = '''import json, torch
from dems_nb.benchmark import what_to_expect
print("\\n" + json.dumps(dict(torch=torch.__version__, said=what_to_expect({device!r}))))'''

def ask(card):
    "What the package says on a card, in a process of its own."
    env = dict(os.environ) if card == 'Mac' else stand_in.environment(card)
    device = 'mps' if card == 'Mac' else 'cuda'
    done = subprocess.run([sys.executable, '-c', code.format(device=device)],
                          env=env | {'PYTHONPATH': str(root)}, cwd=root,
                          capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])

def main(file=root/'results/cards.json'):
    "Ask for each card, and write the table."
    answers = {card: ask(card) for card in ('T4', 'A100', 'H100', 'Mac')}
    table = dict(command='python bench/cards.py', torch=answers['H100']['torch'],
                 how='looked up and computed on a stand-in for CUDA, for the Mac on a CPU; nothing '
                     'ran on such a card',
                 cards={card: a['said'] for card, a in answers.items()})
    Path(file).write_text(json.dumps(table, indent=1) + '\n')
    return table

if __name__ == '__main__': print(json.dumps(main()['cards'], indent=1))
