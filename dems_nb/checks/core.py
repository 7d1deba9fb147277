"What all checkers share: how an answer is called, compared and marked."

# A checker is a function under `@exercise('00.1', 'a title')`. It is called with what the student
# gave to `check`, returns a sentence about what was shown, and raises `Wrong` with a sentence about
# what is wrong. It compares in an order that matters: shape, then dtype, then values. A test that
# subtracts before it has looked at the shapes lets (16, 1) pass for (16, 4): PyTorch broadcasts.
#
# A usual mistake is a *slip*: a function with the arguments of the exercise that gives what the
# mistake gives. Its docstring is what the student is told. Slips are computed when an answer is
# wrong, not before.
#
# If a checker raises anything else, a student is told that the answer could not be compared, and
# the tests raise it.
import matplotlib.pyplot as plt
import random
import sys
from dis import opname
from typing import NamedTuple

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

__all__ = ['Wrong', 'Slips', 'compare', 'compare_number', 'compare_pair', 'compare_choice', 'ask',
           'Exercise', 'EXERCISES', 'exercise', 'Verdict', 'MARKS', 'mark', 'check']


class Wrong(AssertionError):
    "An answer is wrong: the message says how, `draw()` draws the smallest example if there is one."
    def __init__(self,
        message:str, # what is wrong, in a sentence
        draw=None, # a function that draws the smallest failing example, or None
    ):
        super().__init__(message)
        self.draw = draw


class Slips(list):
    "The slips of one exercise, in the order in which they are tried; a decorator that adds one."
    def __call__(self,
        slip, # a function of a case whose docstring is what a student is told
    ): # the same function
        self.append(slip)
        return slip

    def of(self,
        *case, # what the exercise is computed from
    ): # pairs (message, what the mistake gives), one at a time
        "What each slip gives for a case. One that gives None does not apply to it."
        for slip in self:
            value = slip(*case)
            if value is not None: yield slip.__doc__, value


# shapes, dtypes, values

def kind_of(thing):
    "'a list', 'an int': the type of a thing with its article."
    name = type(thing).__name__
    return f'{"an" if name[0].lower() in "aeiou" or name == "ndarray" else "a"} {name}'


def check_shape(shape, truth, axes):
    "Raise `Wrong` unless two shapes are equal; name the axis that is not."
    names = axes.split()
    shape = tuple(shape)
    truth = tuple(truth)
    if shape == truth: return
    message = f'shape {shape}, expected {truth}, the axes being ({", ".join(names)})'
    if len(shape) != len(truth): raise Wrong(f'{message}: {len(shape)} axes, not {len(truth)}')
    if sorted(shape) == sorted(truth): raise Wrong(f'{message}: the axes are in another order')
    places = [i for i, (mine, true) in enumerate(zip(shape, truth)) if mine != true]
    sizes = [f'axis {i} ({names[i]}) has size {shape[i]}, not {truth[i]}' for i in places]
    stretch = ''
    if any(shape[i] == 1 for i in places):
        stretch = ' (size 1 would broadcast; it is not the same shape)'
    raise Wrong(f'{message}: {"; ".join(sizes)}{stretch}')


def differences(answer, truth, eps):
    "Where two tensors of one shape differ; integers must be equal; nan differs from everything."
    answer = answer.detach().cpu()
    truth = truth.detach().cpu()
    if not truth.dtype.is_floating_point: return answer != truth
    reach = eps*truth.abs().max().clamp_min(1e-12)
    return ~((answer.double() - truth.double()).abs() <= reach)


def alike(answer, truth, eps=1e-4):
    "Are two tensors of one shape, equal up to `eps` of the largest magnitude expected?"
    if not isinstance(answer, torch.Tensor) or answer.shape != truth.shape: return False
    return not differences(answer, truth, eps).any()


def compare(
    answer, # the student's tensor
    truth:torch.Tensor, # what it should be
    axes:str, # names of the axes, such as 'region token dim'
    case:str='', # what it was computed from, for the message
    slips=(), # pairs (message, tensor that a usual mistake gives)
    eps:float=1e-4, # largest difference allowed, in units of the largest magnitude of `truth`
    draw=None, # draws the case, see `Wrong`
):
    "Compare shape, dtype, values, without broadcasting. Raises `Wrong` naming axis or mistake."
    where = f'{case}: ' if case else ''
    if not isinstance(answer, torch.Tensor):
        raise Wrong(f'{where}a tensor is expected, this is {kind_of(answer)}')
    if not alike(answer, truth, eps):
        for message, value in slips:
            if alike(answer, value, eps): raise Wrong(f'{where}{message}', draw)
    try: check_shape(answer.shape, truth.shape, axes)
    except Wrong as problem: raise Wrong(f'{where}{problem}', draw) from None
    if answer.dtype != truth.dtype:
        raise Wrong(f'{where}dtype {answer.dtype}, expected {truth.dtype}')
    if alike(answer, truth, eps): return
    places = differences(answer, truth, eps)
    first = tuple(places.nonzero()[0].tolist())
    place = ', '.join(f'{name} {i}' for name, i in zip(axes.split(), first))
    count = f'{int(places.sum())} of {places.numel()} values differ, first at {place}'
    values = f'yours {answer[first].item():.6g}, expected {truth[first].item():.6g}'
    raise Wrong(f'{where}{count}: {values}', draw)


def plain_number(thing):
    "A number of PyTorch or NumPy as Python's, anything else as it is."
    if isinstance(thing, torch.Tensor): return thing.item() if thing.numel() == 1 else thing
    return thing.item() if getattr(thing, 'size', 0) == 1 else thing


def compare_number(
    answer, # the student's number
    truth:float, # what it should be
    name:str, # what the number is
    case:str='', # what it was computed from, for the message
    slips=(), # pairs (message, number that a usual mistake gives); the nearest is named
    eps:float=1e-4, # largest difference allowed, in units of the larger of the two
    tol:float=0., # a difference that is always allowed: of float32, where `truth` is nearly 0
):
    "Compare a number. Raises `Wrong` naming the mistake."
    where = f'{case}: ' if case else ''
    answer = plain_number(answer)
    if isinstance(answer, bool) or not isinstance(answer, (int, float)):
        shape = f' of shape {tuple(answer.shape)}' if hasattr(answer, 'shape') else ''
        raise Wrong(f'{where}{name} is one number, this is {kind_of(answer)}{shape}')

    def near(value):
        if answer != answer and value != value: return True                 # nan is like nan
        return abs(answer - value) <= max(tol, eps*max(abs(value), abs(truth)))

    if near(truth): return
    fits = [(abs(answer - value), slip) for slip, value in slips if near(value) and value != truth]
    reason = f': {min(fits, key=lambda fit: fit[0])[1]}' if fits else ''
    raise Wrong(f'{where}{name} is {answer:.6g}, expected {truth:.6g}{reason}')


def compare_pair(
    answer, # two numbers
    truth:tuple, # what they should be
    name:str, # what one of them is
    case:str, # what they were computed from, for the message
    slips=(), # pairs (message, the two numbers that a usual mistake gives)
    eps:float=1e-4, # largest difference allowed, in units of the larger number
):
    "Compare two numbers. Raises `Wrong` for anything but two numbers, and naming the mistake."
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise Wrong(f'{case}: give two numbers, not {kind_of(answer)}')
    for number in answer:
        plain = plain_number(number)
        if isinstance(plain, (int, float)): continue
        shape = f' of shape {tuple(number.shape)}' if hasattr(number, 'shape') else ''
        kind = kind_of(number) if shape else repr(number)
        raise Wrong(f'{case}: each {name} is one number, this is {kind}{shape}')
    slips = ((message, torch.tensor(pair)) for message, pair in slips)
    numbers = torch.tensor([float(plain_number(number)) for number in answer])
    compare(numbers, torch.tensor(truth), 'number', case, slips, eps=eps)


def compare_choice(
    answer, # the student's letter
    truth:str, # the right one
    objections:dict, # every other letter -> what speaks against it
):
    "Compare the letter of an explanation. Raises `Wrong` with what speaks against it."
    if answer is ...:
        raise NotImplementedError('the first part is right, the explanation is still to be chosen')
    letters = sorted([truth, *objections])
    if answer not in letters:
        choices = ', '.join(map(repr, letters))
        raise Wrong(f'the explanation is {answer!r}: give one of {choices}')
    if answer != truth:
        why_not = objections[answer]
        raise Wrong(f'the first part is right, explanation {answer!r} is not: {why_not}')


# calling an answer

def named(error):
    "'TypeError: what it says': an error in one line."
    message = ' '.join(str(error).split())[:200] or 'no message'
    return f'{type(error).__name__}: {message}'


def copies(arguments):
    "The same arguments, tensors as copies."
    return [a.clone() if isinstance(a, torch.Tensor) else a for a in arguments]


def ask(
    answer, # the student's function, class or method
    *arguments, # what to call it with; it gets copies of tensors
    case:str, # how to name this call in a message
): # what the answer returns
    "Call an answer. Raises `Wrong` if it raises, returns nothing or changes its input."
    if not callable(answer): raise Wrong(f'a function or class is expected, this is {answer!r}')
    inputs = copies(arguments)
    try: result = answer(*inputs)
    except Wrong: raise
    except Exception as error:
        if isinstance(error, NotImplementedError) and not error.args: raise   # the stub's own
        raise Wrong(f'{case}: raised {named(error)}') from error
    if result is None: raise Wrong(f'{case}: returned None; is there a `return`?')
    for i, (before, after) in enumerate(zip(arguments, inputs)):
        if isinstance(before, torch.Tensor) and not torch.equal(before, after):
            raise Wrong(f'{case}: argument {i} was changed in place')
    return result


def random_states():
    "The global random states of PyTorch, NumPy and Python."
    numpy_state = np.random.get_state()
    return {'PyTorch': torch.get_rng_state().tolist(),
            'NumPy': (numpy_state[1].tolist(), numpy_state[2:]), 'Python': random.getstate()}


def ask_quietly(answer, *arguments, case):
    "As `ask`, and raise `Wrong` if a global random state has changed."
    before = random_states()
    result = ask(answer, *arguments, case=case)
    after = random_states()
    for library, state in before.items():
        if state == after[library]: continue
        raise Wrong(f'{case}: the global random state has changed, that of {library}: '
                    'draw from a torch.Generator of your own')
    return result


def count_steps(counted, function, arguments):
    "How many steps of Python a call takes for whose frames `counted` is true."
    steps = 0

    def trace(frame, event, arg):
        nonlocal steps
        frame.f_trace_opcodes = True
        steps += event == 'opcode' and counted(frame)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try: function(*arguments)
    finally: sys.settrace(before)
    return steps


def python_steps(function, *arguments):
    "How many steps of Python a call takes: a loop shows, whatever library it calls."
    return count_steps(lambda frame: True, function, arguments)


def is_call(frame):
    "Is the next step of a frame the call of a function?"
    name = opname[frame.f_code.co_code[frame.f_lasti]]
    return name.startswith('CALL') and 'INTRINSIC' not in name


def function_calls(function, *arguments):
    "How many functions a call calls in turn, of whatever library."
    return count_steps(is_call, function, arguments)


def refuse_loop(function, few, many, what):
    "Raise `Wrong` if a call takes a step of Python more for each image more."
    steps_few = python_steps(function, *few)
    steps_many = python_steps(function, *many)
    if steps_many - steps_few < len(many[0]) - len(few[0]): return
    raise Wrong(f'it loops over {what}: {steps_few:,} steps of Python for {len(few[0])} of them, '
                f'{steps_many:,} for {len(many[0])}')


class Calls(TorchFunctionMode):
    "Notes which of PyTorch's functions are called inside a `with`."
    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.names.add(getattr(function, '__name__', ''))
        return function(*args, **(kwargs or {}))


# the register, and the verdict

class Exercise(NamedTuple):
    "One exercise: what it is called and how an answer is checked."
    id:str # chapter and number, such as '00.1'
    title:str # a few words
    checker:object # called with the student's answers; raises `Wrong` or says what was shown


EXERCISES = {} # id -> Exercise, in the order of the course


def exercise(
    id:str, # chapter and number, such as '00.1'
    title:str, # a few words
): # a decorator for a checker
    "Register a checker under a number. Raises `ValueError` if the number is taken."
    if id in EXERCISES:
        title = EXERCISES[id].title
        raise ValueError(f'exercise {id} is there already: {title}; give another number')

    def register(checker):
        EXERCISES[id] = Exercise(id, title, checker)
        return checker
    return register


MARKS = {'done': '✓', 'wrong': '✗', 'todo': '·'} # state -> what is printed


class Verdict(NamedTuple):
    "What was found about an answer."
    exercise:Exercise # which exercise
    state:str # 'done', 'wrong' or 'todo'
    message:str # what was shown, or what is wrong
    draw:object=None # draws the smallest failing example, or None
    error:object=None # what a checker raised that it should not, or None; the tests raise it again

    def __str__(self):
        return f'{MARKS[self.state]} {self.exercise.id} {self.exercise.title}: {self.message}'


def mark(
    id:str, # number of the exercise
    *answers, # the student's answers; `...` is one that is still to come
) -> Verdict: # done, wrong or todo
    "Check an answer and say what was found. Raises `ValueError` for a number that is not there."
    if id not in EXERCISES:
        raise ValueError(f'there is no exercise {id!r}: the numbers are {", ".join(EXERCISES)}')
    task = EXERCISES[id]
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            shown = task.checker(*answers)
    except NotImplementedError as error:
        return Verdict(task, 'todo', ': '.join(['not done yet', *map(str, error.args)]))
    except Wrong as problem: return Verdict(task, 'wrong', str(problem), problem.draw)
    except Exception as error:                       # an answer that the checker did not foresee
        message = f'this answer could not be compared: {named(error)}'
        return Verdict(task, 'wrong', message, error=error)
    return Verdict(task, 'done', shown)


def check(
    id:str, # number of the exercise
    *answers, # the student's answers; `...` is one that is still to come
):
    "Check an answer and print what was found, with a picture where there is one; raises nothing."
    verdict = mark(id, *answers)
    print(verdict)
    if verdict.draw:
        verdict.draw()
        plt.show()
