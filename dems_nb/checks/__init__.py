"""The checkers of the exercises: what each one accepts, and what it answers to a wrong one.

These files are written by hand; read them after you have solved the exercises, or to add one.
There is one file a chapter, named as its module, `core` for what they share, and `progress` for
the command `dems_progress`. No solution is in here: those are folded into the chapters.

To add an exercise:

1. In the chapter: a statement, a stub that raises `NotImplementedError` (bare: PyTorch raises the
   same exception, with a text) and ends in `check('00.4', my_answer)`, a folded hint and solution.
2. Here: a checker under `@exercise('00.4', 'a title')`. It asks for the answer on a few cases,
   smallest first, and returns what has been shown.
3. A `Slips()` with one small function a usual mistake, whose docstring is what a student is told.
   If two slips give the same value for the first case in which they are wrong, choose another
   first case: a test refuses it, since the wrong one might be named.
4. In `tests/mistakes/`: three plausible wrong answers or more, each with words of the message that
   it must get, and right answers in another style than the folded one.

Where no answer can be compared with one of ours (any order of an epoch will do), a checker looks at
what every right answer must have in common, one property after the other.
"""
from . import layout, tokenizer, interaction, model, weights
from . import data, augment, learner, visualize, run
from .core import check, mark
from .progress import progress

__all__ = ['check', 'mark', 'progress']
