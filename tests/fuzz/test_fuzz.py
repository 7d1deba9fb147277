"The short form of `make fuzz`: some files of each kind; and the harness notices a raw error."
import json, random
import fuzz

def test_some_files(tmp_path):
    h = fuzz.fuzz(tmp_path, files=4*len(fuzz.kinds), seed=2, minutes=5.)
    assert not h.wrong and h.counts['files'] and h.counts['refused'] > h.counts['files']//4
    assert 'raw errors 0 by damage, 0 by forgery' in fuzz.report(h.counts, 2)

def test_a_raw_error_is_noticed(tmp_path):
    from dems_nb.trust import read_json
    path = tmp_path/'f.json'
    path.write_text('[1')
    for read, raw in ((lambda p: json.loads(p.read_text()), True), (read_json, False),
                      (lambda p: open(p.parent/'gone'), True)):
        try: read(path)
        except Exception as e: assert bool(fuzz.judge(e, path)) == raw, e

def test_every_damage_changes_something():
    rng, data = random.Random(0), bytes(range(256))*40
    for damage in {*fuzz.damages}:
        assert any(damage(data, rng) != data for _ in range(3)), damage
