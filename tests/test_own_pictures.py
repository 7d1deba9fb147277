"Somebody's own pictures, from a folder as it is to a table of answers, by the commands alone."
import csv, json, shutil, numpy as np, pytest
from pathlib import Path
from PIL import Image
from dems_nb import commands, run
from dems_nb.classifier import load_classifier, predict_command
from dems_nb.learner import Recipe

small = '--light --image_size 32 --patch_size 4 --epochs 1 --batch_size 4 --device cpu'.split()

def picture(seed, size=(40, 26)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8))

def folder(root):
    "Two classes, not split: colour and grey, one turned by its EXIF, one broken, hidden copies."
    for k, name in enumerate(('cat', 'dog')):
        (root/name/'.ipynb_checkpoints').mkdir(parents=True)
        for i in range(10): picture(100*k + i, (30 + 5*i, 40)).save(root/name/f'{i}.png')
        picture(k).convert('L').save(root/name/'grey.jpg')
        turn = Image.Exif()
        turn[274] = 6
        picture(k).save(root/name/'turned.JPG', exif=turn)
        picture(k).save(root/name/'.ipynb_checkpoints/0-checkpoint.png')
        (root/name/'._0.png').write_bytes(b'\0\5\26\7')
    (root/'__MACOSX').mkdir()
    (root/'dog/broken.png').write_bytes(b'no picture')
    return root

@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    "(a folder of pictures, a run of it, what the command printed)"
    import contextlib, io
    at = tmp_path_factory.mktemp('own')
    photos, out = folder(at/'photos'), at/'run'
    flags = ['--data_path', str(photos), '--output_dir', str(out), '--skip_broken', *small]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.warns(UserWarning, match='broken'):
        commands.pretrain(flags)
    return photos, out, said.getvalue()

def refused(f, *argv, capsys):
    "What a command says on its way out with status 2: one line."
    with pytest.raises(SystemExit) as e: f([*map(str, argv)])
    said = capsys.readouterr().err.strip()
    assert e.value.code == 2 and said.count('\n') == 0, said
    assert not any(word in said for word in ('root=', 'on_broken', 'out=', 'True')), said
    return said

def test_a_run_says_before_it_starts_how_long_it_takes(trained):
    photos, out, said = trained
    lines = said.splitlines()
    assert lines[0].endswith('(--dataset folder)')
    assert lines[1].startswith('20 images: about ') and lines[1].endswith(
        'on cpu, by a step of 4 images'), lines[1]
    assert '20% of each class' in said and said.index('about') < said.index('epoch')

def test_a_light_run_is_by_the_recipe_of_the_notebooks(trained):
    row = json.loads((trained[1]/'result.json').read_text())
    want = Recipe(dataset='folder', image_size=32, patch_size=4, epochs=1, bs=4)
    assert Recipe(**row['recipe']) == want and row['config']['n_classes'] == 2
    assert row['data']['n_train'] + row['data']['n_scored'] == 24

def test_a_dry_run_tells_classes_steps_and_time(trained, capsys):
    commands.pretrain(['--data_path', str(trained[0]), '--dry_run', *small])
    said = capsys.readouterr().out
    assert '2 classes (cat, dog), colour' in said and '20% of each class' in said
    assert '20 images seen in 1 epochs, 5 steps' in said and 'by a step of 4 images' in said

def test_sizes_of_photographs_are_the_same_everywhere():
    plain, paper = Recipe(dataset='folder'), Recipe.pretrain(dataset='folder')
    assert (plain.image_size, plain.patch_size) == (paper.image_size, paper.patch_size) == (256, 16)
    for recipe in (Recipe, Recipe.pretrain, Recipe.finetune):
        assert recipe(dataset='folder', image_size=32).patch_size is None
        assert recipe(dataset='folder', image_size=128).patch_size == 16
        assert recipe(dataset='folder', patch_size=8).patch_size == 8
        usual = recipe(dataset='cifar10')
        assert (usual.image_size, usual.patch_size) == (32, None)
    said = ' '.join(commands._parser('x', 'y', Recipe.pretrain()).format_help().split())
    assert '(default: 32; 256 for a folder of pictures)' in said

def test_answers_on_new_pictures_go_into_a_table(trained, tmp_path, capsys):
    new = tmp_path/'new'
    new.mkdir()
    for i in range(3): picture(500 + i).save(new/f'{i} ü.png')
    argv = ['--pretrained_weight', str(trained[1]), str(new), '--csv', str(tmp_path/'a.csv')]
    assert predict_command(argv) == 0
    with open(tmp_path/'a.csv', encoding='utf-8', newline='') as f: rows = list(csv.DictReader(f))
    assert [Path(r['file']).name for r in rows] == ['0 ü.png', '1 ü.png', '2 ü.png']
    answers = load_classifier(trained[1]).predict([r['file'] for r in rows])
    assert [r['class'] for r in rows] == [a.name for a in answers]
    assert rows[0]['class'] in ('cat', 'dog')
    (new/'broken.png').write_bytes(b'no')
    assert predict_command(argv) == 1 and 'broken.png' in capsys.readouterr().err

def test_evaluation_takes_the_part_alone_and_the_same_classes(trained, tmp_path, capsys):
    photos, weights = trained[0], ['--pretrained_weight', trained[1], '--dataset', 'folder',
                                   '--device', 'cpu']
    shutil.copytree(photos, tmp_path/'alone/test')
    alone = '--data_path', tmp_path/'alone'
    said = refused(commands.evaluate_command, *weights, *alone, capsys=capsys)
    assert 'broken.png' in said and '--skip_broken' in said
    with pytest.warns(UserWarning, match='broken'):
        score = commands.evaluate_command([*map(str, (*weights, *alone)), '--skip_broken'])
    assert score.n == 24
    (tmp_path/'alone/test/dog/broken.png').unlink()
    (tmp_path/'alone/test/cat').rename(tmp_path/'alone/test/bird')
    said = refused(commands.evaluate_command, *weights, *alone, capsys=capsys)
    assert "'cat'" in said and "'bird'" in said

def test_weights_for_grey_pictures_are_a_start_for_colour(trained, tmp_path):
    flags = ['--data_path', trained[0], '--epochs', 1, '--batch_size', 4, '--device', 'cpu',
             '--skip_broken', '--output_dir', tmp_path/'tuned', '--pretrained_weight', 'bundled']
    with pytest.warns(UserWarning, match='broken'): learn = commands.finetune([*map(str, flags)])
    assert learn.model.config['in_chans'] == 3 and learn.model.config['n_classes'] == 2

def test_mistakes_are_told_in_the_words_of_the_commands(tmp_path, capsys):
    photos = folder(tmp_path/'photos')
    (tmp_path/'file').write_text('x')
    flags = ['--data_path', photos, *small]
    said = refused(commands.pretrain, *flags, '--output_dir', tmp_path/'a', capsys=capsys)
    assert 'broken.png' in said and '--skip_broken' in said and not (tmp_path/'a').exists()
    said = refused(commands.pretrain, *flags, '--output_dir', tmp_path/'file', capsys=capsys)
    assert str(tmp_path/'file') in said
    shutil.rmtree(photos/'dog')
    said = refused(commands.pretrain, *flags, '--dataset', 'folder', '--output_dir', tmp_path/'b',
                   capsys=capsys)
    assert str(photos) in said and 'class' in said
    assert 'data_path' in refused(commands.pretrain, '--dataset', 'folder', *small, capsys=capsys)

def test_a_run_without_a_folder_keeps_what_it_has_in_a_notebook(monkeypatch, capsys):
    from fastai.callback.core import Callback
    class Stop(Callback):
        def after_batch(self):
            if self.training and self.epoch == 1: raise KeyboardInterrupt
    recipe = Recipe(n_train=160, holdout=100, epochs=3, bs=32)
    with pytest.raises(KeyboardInterrupt): run.train(recipe, bar=False, device='cpu', cbs=[Stop()])
    monkeypatch.setattr(run, 'IN_NOTEBOOK', True)
    learn = run.train(recipe, bar=False, device='cpu', cbs=[Stop()])
    assert len(learn.rows) == 1 and learn.evaluation.n == 100
    assert 'interrupted after 1 of 3 epochs' in capsys.readouterr().out

def test_a_folder_with_a_fault_is_not_taken_for_other_data(tmp_path, capsys):
    photos = folder(tmp_path/'photos')
    (photos/'dog/broken.png').unlink()
    (photos/'empty').mkdir()
    for command in (commands.pretrain, commands.finetune):
        flags = ['--pretrained_weight', 'bundled']*(command is commands.finetune)
        given = small[command is commands.finetune:]                 # which has no --light
        said = refused(command, *flags, '--data_path', photos, *given, '--dry_run', capsys=capsys)
        assert 'empty has no picture' in said and '--dataset' in said
    said = refused(commands.evaluate_command, '--pretrained_weight', 'bundled', '--data_path',
                   photos, capsys=capsys)
    assert 'empty has no picture' in said
    shutil.rmtree(photos/'empty')
    shutil.rmtree(photos/'dog')
    said = refused(commands.pretrain, '--data_path', photos, *small, '--dry_run', capsys=capsys)
    assert "the one class 'cat'" in said
    for nothing in (tmp_path/'phots', tmp_path):            # misspelt, and of no pictures a class
        if nothing == tmp_path: photos.rename(tmp_path/'.hidden')
        said = refused(commands.pretrain, '--data_path', nothing, *small, '--dry_run',
                       capsys=capsys)
        assert str(nothing) in said and 'no folder of pictures a class' in said
    commands.pretrain(['--data_path', str(tmp_path/'phots'), '--dry_run', *small[1:]])
    assert 'no --dataset is given: the data is cifar10' in capsys.readouterr().out

def test_what_was_trained_on_is_not_scored(tmp_path, capsys):
    photos = folder(tmp_path/'photos')
    (photos/'dog/broken.png').unlink()
    run = ['--data_path', photos, '--output_dir', tmp_path/'run', *small]
    commands.pretrain([*map(str, run), '--valid_pct', '.1'])
    score = ['--pretrained_weight', str(tmp_path/'run'), '--data_path', str(photos),
             '--device', 'cpu']
    assert commands.evaluate_command(score).n == 2
    assert commands.evaluate_command([*score, '--valid_pct', '1']).n == 24
    assert commands.evaluate_command(score).n == 2
    commands.pretrain([*map(str, run), '--overwrite'])
    said = refused(commands.evaluate_command, *score, capsys=capsys)
    assert 'with --valid_pct' in said and '0.1 (seed 0) and 0.2 (seed 0)' in said

def test_a_checkpoint_is_scored_as_its_run_is(tmp_path):
    from dems_nb.weights import load_model
    photos = folder(tmp_path/'photos')
    (photos/'dog/broken.png').unlink()
    flags = ['--data_path', str(photos), '--output_dir', str(tmp_path/'run'), *small[1:]]
    learn = commands.pretrain([*flags, '--model', 'dems_nano', '--save_every', '0'])
    whole = commands.evaluate_command(['--pretrained_weight', str(tmp_path/'run'),
                                       '--data_path', str(photos), '--device', 'cpu'])
    assert learn.evaluation.loss == pytest.approx(whole.loss, rel=1e-5)
    model, seen = load_model(tmp_path/'run'), []
    from argparse import Namespace
    args = Namespace(dataset='folder', data_path=photos, batch_size=4, device='cpu',
                     skip_broken=False, valid_pct=None)
    for notes in (model.notes, {k: v for k, v in model.notes.items() if k != 'picture'}):
        model.notes = notes                       # a checkpoint does not say how pictures are cut
        seen.append(commands._scored_data(args, model).valid.rule.fit)
    model.notes = dict(picture='tensor')
    seen.append(commands._scored_data(args, model).valid.rule.fit)
    assert seen == ['middle', 'middle', 'whole']

def test_a_plan_counts_the_steps_that_are_made(trained, capsys):
    flags = ['--data_path', trained[0], '--dry_run', *small]
    commands.pretrain([*map(str, flags), '--batch_size', '6'])
    assert '18 images seen in 1 epochs, 3 steps' in capsys.readouterr().out
    commands.pretrain([*map(str, flags), '--batch_size', '64'])
    assert '20 images seen in 1 epochs, 1 steps' in capsys.readouterr().out
    said = refused(commands.pretrain, *flags, '--n_train', 999, capsys=capsys)
    assert '--n_train is 999: there are 20' in said
    said = refused(commands.pretrain, *flags, '--holdout', 20, capsys=capsys)
    assert '--holdout is 20' in said
