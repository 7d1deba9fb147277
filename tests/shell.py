"""Commands as a shell starts them, without the wait for imports: a process that has imported the
package is asked, and forks for each. Where there is no fork, a new Python is started."""
import atexit, json, os, subprocess, sys, tempfile, traceback
from pathlib import Path

root = Path(__file__).parent.parent
server = None

def new_python(code, argv, cwd, env):
    "The same in a new Python."
    return subprocess.run([sys.executable, '-W', 'ignore', '-c', code, *argv[1:]], cwd=cwd, env=env,
                          capture_output=True, text=True, timeout=600)

def start():
    "The process that forks, one for each process of the tests."
    global server
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join((str(root), str(root/'tests')))}
    server = subprocess.Popen([sys.executable, '-W', 'ignore', '-c', 'import shell; shell.serve()'],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    atexit.register(server.kill)
    return server

def run(code, *argv, cwd, env=None, fresh=False):
    "Run code as `python -c code argv…`: what `subprocess.run` gives; `fresh`: in a new Python."
    argv = ['-c', *map(str, argv)]
    env = {**os.environ, 'PYTHONPATH': str(root), **(env or {})}
    if fresh or not hasattr(os, 'fork'): return new_python(code, argv, cwd, env)
    with tempfile.TemporaryDirectory() as tmp:
        out, err = (Path(tmp)/name for name in ('out', 'err'))
        job = dict(code=code, argv=argv, cwd=str(cwd), env=env, out=str(out), err=str(err))
        asked = server if server and server.poll() is None else start()
        asked.stdin.write(json.dumps(job) + '\n'); asked.stdin.flush()
        status = int(asked.stdout.readline())
        return subprocess.CompletedProcess(argv, status, out.read_text(), err.read_text())

# in the other process
def serve():
    "Import, then fork for each line; say the exit status of the child."
    import dems_nb.commands, dems_nb.classifier, dems_nb.demo, dems_nb.studies
    for line in sys.stdin:
        child = os.fork()
        if not child: become(json.loads(line))
        status = os.waitpid(child, 0)[1]
        print(os.waitstatus_to_exitcode(status), flush=True)

def become(job):
    "In the child: its own streams, folder, environment and arguments; then the code."
    write = os.O_WRONLY | os.O_CREAT
    for fd, file, mode in ((0, os.devnull, os.O_RDONLY), (1, job['out'], write),
                           (2, job['err'], write)):
        os.dup2(os.open(file, mode), fd)
    os.chdir(job['cwd'])
    os.environ.clear(); os.environ.update(job['env'])
    sys.argv = job['argv']
    status = 1
    try:
        exec(compile(job['code'], '<string>', 'exec'), {'__name__': '__main__'})
        status = 0
    except SystemExit as e:
        if isinstance(e.code, str): print(e.code, file=sys.stderr)
        else: status = e.code or 0
    except BaseException: traceback.print_exc()
    sys.stdout.flush(); sys.stderr.flush()
    os._exit(status)                            # taking the interpreter down takes seconds
