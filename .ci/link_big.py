"Link torch, torchvision and what they need into another environment: link_big.py OTHER_PYTHON"
import importlib.metadata as m, re, subprocess, sys
from pathlib import Path

ask = 'import sysconfig; print(sysconfig.get_path("purelib"))'
other = Path(subprocess.check_output([sys.argv[1], '-c', ask], text=True).strip())
todo, seen = ['torch', 'torchvision'], set()
while todo:
    name = re.sub(r'[-_.]+', '-', todo.pop()).lower()
    if name in seen: continue
    seen.add(name)
    try: dist = m.distribution(name)
    except m.PackageNotFoundError: continue      # needed on another platform
    todo += [re.match(r'[\w.-]+', r).group() for r in dist.requires or () if 'extra ==' not in r]
    tops = {f.parts[0] for f in dist.files if f.parts[0] not in ('..', '__pycache__')}
    for top in tops:
        src, dst = Path(dist.locate_file(top)), other/top
        if src.exists() and not dst.exists() and not dst.is_symlink(): dst.symlink_to(src.resolve())
print(f'linked {len(seen)} packages')
