"A local server that answers as Google Drive does, and full-size files of the released format."
import http.server, re, threading, urllib.parse
from contextlib import contextmanager
import torch
from dems_nb import weights as W
from dems_nb.tokenizer import sincos_position_embedding

def released_state(model, prefix=''):
    "The state dict that the released code would have written of a model."
    back = {v: k for k, v in W._released_names.items()}
    state = {}
    for key, value in model.state_dict().items():
        stem, _, leaf = key.rpartition('.')
        if key.endswith('.scale'):
            name, value = f'mlp{int(key.split(".")[1]) + 1}.scale', value.view(1, 1, 1, 1)
        elif stem in back: name = f'{back[stem]}.{leaf}'
        else: name = key.replace('.mlp.0.', '.mlp.fc1.').replace('.mlp.2.', '.mlp.fc2.')
        state[name] = value.detach().clone()
    for suffix, grid in zip(W._suffixes, model.layout.grids):
        state[f'pos_embed{suffix}'] = sincos_position_embedding(grid, model.config['dim'])[None]
    for n in (1, 2):
        for leaf in ('weight', 'bias'):
            state[f'norm_merge{n}.{leaf}'] = state[f'mlp{n}.norm.{leaf}']
    return {prefix + k: v for k, v in state.items()}

def released_file(model, path, prefix='module.'):
    "A checkpoint as the released code writes it."
    whole = dict(model=released_state(model, prefix),
                 optimizer=dict(state={}, param_groups=[dict(lr=1e-6)]),
                 epoch=799, scaler=dict(scale=65536.))
    torch.save(whole, path)
    return path

QUOTA = ('<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body>'
         '<p class="uc-error-caption">Sorry, you can&#39;t view or download this file at this '
         'time.</p><p class="uc-error-subcaption">Too many users have viewed or downloaded this '
         'file recently. '
         'Please try accessing the file again later.</p></body></html>')
SIGN_IN = ('<!DOCTYPE html><html><head><title>Google Drive: Sign-in</title></head><body>Sign '
           'in</body></html>')
ASK = ('<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>'
       '<p class="uc-warning-caption">Google Drive can\'t scan this file for viruses.</p>'
       '<form id="download-form" action="https://drive.usercontent.google.com/download" '
       'method="get"><input type="hidden" name="id" value="{id}"><input type="hidden" '
       'name="export" value="download">'
       '<input type="hidden" name="confirm" value="t"><input type="hidden" name="uuid" '
       'value="1-2-3"></form></body></html>')

class Drive(http.server.BaseHTTPRequestHandler):
    "Small files at once, large ones behind a question; pages for the private, the gone, the busy."
    def log_message(self, *args): pass

    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        query = urllib.parse.parse_qs(url.query)
        file_id = (query.get('id') or [''])[0]
        self.server.asked.append(self.path)
        kind, data = self.server.files.get(file_id, ('gone', b''))
        if kind == 'gone':
            return self.page(404, '<html><head><title>Error 404 (Not '
                                  'Found)!!1</title></head></html>')
        if kind == 'quota': return self.page(200, QUOTA)
        if kind == 'private': return self.page(200, SIGN_IN)
        if kind == 'large' and 'confirm' not in query: return self.page(200, ASK.format(id=file_id))
        self.send_response(200)
        self.send_header('Content-Type', 'application/octet-stream')
        self.send_header('Content-Disposition', 'attachment; filename="checkpoint.pth"')
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data[:len(data)//2] if kind == 'breaks off' else data)

    def page(self, status, text):
        self.send_response(status)
        self.send_header('Content-Type', 'text/html; charset=utf-8')
        self.send_header('Content-Length', str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

@contextmanager
def drive(files, monkeypatch):
    "Serve {identifier: (kind, bytes)} and lead what goes to Google there: the list of requests."
    import requests
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Drive)
    server.files, server.asked = files, []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    real = requests.Session.get
    def get(self, url, **kwargs):
        here, n = re.subn(r'^https://(drive|docs|drive\.usercontent)\.google\.com',
                          f'http://127.0.0.1:{server.server_port}', url)
        assert n == 1, f'{url} is not on Google Drive'
        return real(self, here, **kwargs)
    monkeypatch.setattr(requests.Session, 'get', get)
    monkeypatch.setenv('NO_PROXY', '127.0.0.1')
    try: yield server.asked
    finally:
        server.shutdown()
        server.server_close()
