"Every public name says in a line what it is, and every argument what it takes."
import ast, importlib, io, jedi, pytest, re, tokenize
from pathlib import Path

root = Path(__file__).parent.parent
modules = sorted(p for p in (root/'dems_nb').glob('*.py') if not p.stem.startswith('_'))
modules += [root/'dems_nb/checks/core.py', root/'dems_nb/checks/progress.py']
# fastai's and torch's own, and overrides
EVENTS = {'before_fit', 'after_fit', 'before_epoch', 'after_epoch', 'before_batch', 'after_batch',
          'after_pred', 'forward', 'close', 'mix', 'accumulate'}

def comments(text):
    "Line number -> what its comment says; a # in a string is none."
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return {t.start[0]: t.string.lstrip('# ') for t in tokens if t.type == tokenize.COMMENT}

def says(comment, name):
    "Whether a comment tells more than the name of what it stands beside."
    words = set(re.findall(r'\w+', comment.lower()))
    return bool(words - set(re.findall(r'[^\W_]+', name.lower())))

def complaints(text):
    "What a module's public definitions leave unsaid."
    code, comment, out = ast.parse(text), comments(text), []
    public = ast.literal_eval(next(n.value for n in code.body if isinstance(n, ast.Assign)
                                   and getattr(n.targets[0], 'id', '') == '__all__'))

    def arguments(f, name):
        a = f.args
        named = [*a.posonlyargs, *a.args, *a.kwonlyargs]
        beside = [arg.lineno for arg in named if arg.arg not in ('self', 'cls')]
        for arg in named:
            if arg.arg in ('self', 'cls'): continue
            said = comment.get(arg.lineno, '')
            if not says(said, arg.arg): out.append(f'{name}: argument {arg.arg} has no docment')
            elif beside.count(arg.lineno) > 1 and not said.startswith('as in '):
                out.append(f'{name}: argument {arg.arg} shares its docment with another')
    def doc(node, name):
        d = ast.get_docstring(node)
        if not d: out.append(f'{name} has no docstring')
        elif len(d.split('\n')[0]) < 15: out.append(f'{name}: its docstring says too little')

    for node in code.body:
        if isinstance(node, ast.ClassDef) and node.name in public:
            doc(node, node.name)
            for f in node.body:
                if isinstance(f, ast.AnnAssign) and not says(
                        comment.get(f.lineno, ''), f.target.id):
                    out.append(f'{node.name}.{f.target.id} has no docment')
                if not isinstance(f, ast.FunctionDef): continue
                if f.name == '__init__' or (not f.name.startswith('_') and f.name not in EVENTS
                                            and f.args.args[1:]):
                    arguments(f, f'{node.name}.{f.name}')
        if isinstance(node, ast.FunctionDef):
            patched = any('patch' in ast.unparse(d) for d in node.decorator_list)
            if patched:
                cls = ast.unparse(node.args.args[0].annotation)
                if node.name.startswith('_') or node.name in EVENTS and node.name != 'mix': continue
                if node.name == 'mix' and cls != 'ViT': continue
                doc(node, f'{cls}.{node.name}'); arguments(node, f'{cls}.{node.name}')
            elif node.name in public: doc(node, node.name); arguments(node, node.name)
    return out

@pytest.mark.parametrize('module', modules, ids=lambda p: p.stem)
def test_every_public_name_is_documented(module):
    assert not (said := complaints(module.read_text())), '\n'.join(said)

@pytest.mark.parametrize('code, said', [
    ("__all__ = ['f']\ndef f(\n    x, # a tensor\n): return x", 'f has no docstring'),
    ("__all__ = ['f']\ndef f(\n    x, # a tensor\n    y=1,\n):\n    'Add one to a tensor, slowly.'",
     'f: argument y has no docment'),
    ("__all__ = ['C']\nclass C:\n    'A thing that holds one number.'\n    def __init__(self, x): "
     "self.x = x", 'C.__init__: argument x has no docment'),
    ("__all__ = ['f']\ndef f(\n    x='#', # a tensor\n    y='#',\n):\n    'Add one to a tensor.'",
     'f: argument y has no docment'),
    ("__all__ = ['f']\ndef f(\n    n_classes, # classes\n):\n    'Add one to a tensor, slowly.'",
     'f: argument n_classes has no docment'),
    ("__all__ = ['f']\ndef f(\n    x, y, # tensors\n):\n    'Add one to a tensor, slowly.'",
     'f: argument y shares its docment with another'),
    ("__all__ = ['C']\n@patch\ndef f(self:C, y):\n    'Add one to a tensor, slowly.'",
     'C.f: argument y has no docment')])
def test_the_check_notices(code, said): assert said in complaints(code)

@pytest.mark.parametrize('module, cls', [('layout', 'TokenLayout'), ('model', 'ViT'),
                                         ('model', 'DEMSViT')])
def test_an_editor_shows_the_members(module, cls):
    "What is patched in, cell by cell, is named in the class too, where an editor looks."
    kind = getattr(importlib.import_module(f'dems_nb.{module}'), cls)
    own = {name for c in kind.__mro__ if c.__module__.startswith('dems_nb') for name in vars(c)}
    wanted = {name for name in own if not name.startswith('_')} - {'build'}
    code = f'from dems_nb.{module} import {cls}\n{cls}().'
    shown = {c.name for c in jedi.Script(code).complete()}
    assert wanted <= shown and len(wanted) > 6, wanted - shown
