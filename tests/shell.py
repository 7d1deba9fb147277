"""Commands as a shell starts them, without the wait for imports: a process that has imported the
package is asked, and forks for each. Where there is no fork, a new Python is started."""
import atexit, json, os, signal, subprocess, sys, tempfile, traceback
from concurrent.futures import ThreadPoolExecutor
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
    return run_together(code, *argv, cwd=cwd, envs=[env or {}], fresh=fresh)[0]

def run_together(code, *argv, cwd, envs, fresh=False):
    "The same in several processes side by side, one for each environment."
    argv = ['-c', *map(str, argv)]
    envs = [{**os.environ, 'PYTHONPATH': str(root), **env} for env in envs]
    if fresh or not hasattr(os, 'fork'):
        with ThreadPoolExecutor(len(envs)) as pool:
            return list(pool.map(lambda env: new_python(code, argv, cwd, env), envs))
    with tempfile.TemporaryDirectory() as tmp:
        jobs = [dict(code=code, argv=argv, cwd=str(cwd), env=env, out=f'{tmp}/out{i}',
                     err=f'{tmp}/err{i}') for i, env in enumerate(envs)]
        asked = server if server and server.poll() is None else start()
        asked.stdin.write(json.dumps(jobs) + '\n'); asked.stdin.flush()
        ended = json.loads(asked.stdout.readline())
        return [subprocess.CompletedProcess(argv, status, Path(job['out']).read_text(),
                                            Path(job['err']).read_text())
                for status, job in zip(ended, jobs)]

# in the other process
def serve():
    "Import, then fork for each job of a line; say the exit status of each child."
    import dems_nb.commands, dems_nb.classifier, dems_nb.demo, dems_nb.studies
    for line in sys.stdin:
        children, ended = [], {}
        for job in json.loads(line):
            children.append(os.fork())
            if not children[-1]: become(job)
        while len(ended) < len(children):
            child, status = os.wait()
            ended[child] = os.waitstatus_to_exitcode(status)
            if ended[child]:                    # the others may wait for it for ever
                for other in {*children} - ended.keys(): os.kill(other, signal.SIGTERM)
        print(json.dumps([ended[child] for child in children]), flush=True)

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
