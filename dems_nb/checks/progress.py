"How far am I? Read from the ticks in saved notebooks; nothing is run."
import argparse
import json
import re
from pathlib import Path

from .core import EXERCISES, MARKS

__all__ = ['saved_progress', 'progress', 'main']

STATES = {mark: state for state, mark in MARKS.items()}


def outputs_of(cell):
    "The text that a saved cell has printed."
    return ''.join(''.join(output.get('text', '')) for output in cell.get('outputs', []))


def saved_progress(
    folder='nbs', # where the notebooks are; its subfolders count too
) -> dict: # notebook -> {exercise number: 'done', 'wrong' or 'todo'}
    "What saved outputs say about each exercise. Raises `FileNotFoundError` for no notebooks."
    books = sorted(path for path in Path(folder).rglob('*.ipynb')
                   if '.ipynb_checkpoints' not in path.parts)
    if not books:
        raise FileNotFoundError(f'there is no notebook in {folder}: '
                                'give the folder that holds your chapters')
    found = {}
    for path in books:
        try: cells = json.loads(path.read_text(encoding='utf-8'))['cells']
        except (ValueError, KeyError, TypeError):
            print(f'{path.name} is no readable notebook: left out')
            continue
        for cell in cells:
            source = ''.join(cell.get('source', ''))
            numbers = re.findall(r"""^check\(['"](\d\d\.\d+)['"]""", source, re.M)
            ticks = re.findall(r'^([✓✗·]) (\d\d\.\d+) ', outputs_of(cell), re.M)
            states = {id: STATES[tick] for tick, id in ticks}
            book = path.relative_to(folder).with_suffix('').as_posix()
            for id in numbers: found.setdefault(book, {})[id] = states.get(id, 'todo')
    return found


def progress(
    folder='nbs', # where the notebooks are; its subfolders count too
):
    "Print which exercises are done in a copy of the notebooks, from their saved outputs."
    done = {}
    for book, states in saved_progress(folder).items():
        states = {id: state for id, state in states.items() if id in EXERCISES}
        if states: print(book)
        for id, state in states.items():
            print(f'  {MARKS[state]} {id} {EXERCISES[id].title}')
            done[id] = done.get(id) or state == 'done'
    total = sum(done.values())
    print(f'{total} of {len(done)} exercises done, by the outputs saved in {folder}')


def main(
    argv:list=None, # the flags; by default the command line's
):
    "The command `dems_progress`."
    parser = argparse.ArgumentParser(
        'dems_progress', description='Which exercises are done, by the saved notebooks.')
    parser.add_argument('folder', nargs='?', default='nbs',
                        help='where the notebooks are (default: nbs)')
    folder = parser.parse_args(argv).folder
    try: progress(folder)
    except FileNotFoundError as error: raise SystemExit(f'dems_progress: {error}') from None
