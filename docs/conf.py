"Sphinx's settings for the site; here parameter comments become parameter descriptions."
import configparser, dataclasses, inspect, re, sys, warnings
from pathlib import Path
warnings.filterwarnings('ignore', category=FutureWarning)

root = Path(__file__).parent.parent
sys.path.insert(0, str(root))
from fastcore.docments import docments

ini = configparser.ConfigParser(delimiters=['='])
ini.read(root/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']

project, author, version, release = cfg['lib_name'], cfg['author'], cfg['version'], cfg['version']
copyright = cfg['copyright'].split(',')[0] + f', {author}'
language = 'en'
smartquotes_action = 'D'                                  # dashes; quotes stay, as 'sample' is code
extensions = ['myst_nb', 'sphinx.ext.autodoc']
exclude_patterns = ['**.ipynb_checkpoints']

# Notebooks: their committed outputs, nothing is run.
nb_execution_mode = 'off'
nb_merge_streams = True
nb_render_text_lexer = 'none'
myst_heading_anchors = 3
suppress_warnings = ['misc.highlighting_failure', 'mystnb.mime_priority']

# API pages from docstrings and parameter comments.
autodoc_member_order = 'bysource'
autodoc_typehints = 'none'
autodoc_class_signature = 'mixed'
python_use_unqualified_type_names = True
maximum_signature_line_length = 90
add_module_names = False
toc_object_entries_show_parents = 'hide'

html_theme = 'furo'
html_title = f'{project} {version}'
html_static_path = ['static']
html_css_files = ['site.css']
html_copy_source = html_show_sourcelink = False
html_last_updated_fmt = None
html_show_search_summary = False                          # a page from a disk may not fetch others
html_permalinks_icon = '#'
pygments_style, pygments_dark_style = 'default', 'github-dark'
html_theme_options = dict(light_css_variables={'color-brand-primary': '#005a9c',
                                               'color-brand-content': '#005a9c',
                                               'color-brand-visited': '#005a9c'},
                          dark_css_variables={'color-brand-primary': '#7cc4ff',
                                              'color-brand-content': '#7cc4ff',
                                              'color-brand-visited': '#7cc4ff'})

def as_rst(text):
    "A docstring or comment as reStructuredText: code in backticks stays code, all else is plain."
    parts = re.split(r'(`[^`]+`)', ' '.join(text.split()))
    return ''.join(f'``{p[1:-1]}``\\ ' if p[:1] == '`' and len(p) > 1
                   else re.sub(r'([*_|\\`])', r'\\\1', p) for p in parts).rstrip('\\ ')

def parameters(obj):
    "The parameters of a function or class, [(name, comment)], and the comment on what it returns."
    if dataclasses.is_dataclass(obj) and inspect.isclass(obj):
        bases = [c for c in obj.__mro__[::-1] if dataclasses.is_dataclass(c) and c is not obj]
        inherited = {k: v for c in bases for k, v in parameters(c)[0]}
        own = {k: v['docment'] for k, v in docments(obj, full=True).items() if v.get('docment')
               and k != 'return'}
        return list({**inherited, **own}.items()), None
    f = obj.__init__ if inspect.isclass(obj) and '__init__' in vars(obj) else obj
    if isinstance(obj, property): f = obj.fget
    if inspect.isclass(f) and '_fields' in vars(f) and issubclass(f, tuple):
        return fields_of(f), None
    try: found = docments(f, full=True, returns=True)
    except (TypeError, ValueError, OSError): return [], None
    comments = {k: v.get('docment') for k, v in found.items()}
    returns = comments.pop('return', None)
    return [(k, v) for k, v in comments.items() if v], returns

def fields_of(cls):
    "The commented fields of a named tuple."
    lines = (re.match(r'\s+(\w+)\s*:.*?# (.+)', l) for l in inspect.getsource(cls).splitlines())
    return [(m[1], m[2]) for m in lines if m and m[1] in cls._fields]

def add_parameters(app, what, name, obj, options, lines):
    "autodoc's hook: the docstring as plain text, then a field for each parameter."
    said = [as_rst(p) for p in re.split(r'\n\s*\n', '\n'.join(lines))]
    lines[:] = [l for p in said for l in (p, '')] if any(said) else []
    if what not in ('function', 'method', 'class', 'exception', 'property'): return
    args, returns = parameters(obj)
    lines += [f':param {k}: {as_rst(v)}' for k, v in args]
    if returns: lines.append(f':returns: {as_rst(returns)}')
    lines.append('')

def plain_defaults(app, what, name, obj, options, signature, returns):
    "autodoc's hook: defaults that are functions or classes are called by their names."
    if signature:
        signature = re.sub(r"<(?:function|class|built-in function) '?(?:\w+\.)*(\w+)'?(?: at "
                           r"0x\w+)?>", r'\1', signature)
    return signature, returns

def setup(app):
    app.connect('autodoc-process-signature', plain_defaults)
    app.connect('autodoc-process-docstring', add_parameters)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
