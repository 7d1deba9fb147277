"Every public name says in a line what it is, and every argument what it takes."
import ast, pytest
from pathlib import Path

root = Path(__file__).parent.parent
modules = sorted(p for p in (root/'dems_nb').glob('*.py') if not p.stem.startswith('_'))
modules += [root/'dems_nb/checks/core.py', root/'dems_nb/checks/progress.py']
# fastai's and torch's own, and overrides
EVENTS = {'before_fit', 'after_fit', 'before_epoch', 'after_epoch', 'before_batch', 'after_batch',
          'after_pred', 'forward', 'close', 'mix', 'accumulate'}

def complaints(text):
    "What a module's public definitions leave unsaid."
    code, lines, out = ast.parse(text), text.splitlines(), []
    public = ast.literal_eval(next(n.value for n in code.body if isinstance(n, ast.Assign)
                                   and getattr(n.targets[0], 'id', '') == '__all__'))

    def arguments(f, name):
        a = f.args
        named = [*a.posonlyargs, *a.args, *a.kwonlyargs]
        for arg in named:
            if arg.arg in ('self', 'cls'): continue
            if '#' not in lines[arg.lineno-1]:
                out.append(f'{name}: argument {arg.arg} has no docment')
    def doc(node, name):
        d = ast.get_docstring(node)
        if not d: out.append(f'{name} has no docstring')
        elif len(d.split('\n')[0]) < 15: out.append(f'{name}: its docstring says too little')

    for node in code.body:
        if isinstance(node, ast.ClassDef) and node.name in public:
            doc(node, node.name)
            for f in node.body:
                if isinstance(f, ast.AnnAssign) and '#' not in lines[f.lineno-1]:
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
    ("__all__ = ['C']\n@patch\ndef f(self:C, y):\n    'Add one to a tensor, slowly.'",
     'C.f: argument y has no docment')])
def test_the_check_notices(code, said): assert said in complaints(code)
