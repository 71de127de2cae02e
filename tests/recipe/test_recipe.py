from pathlib import Path
from typing import get_args

import pytest

from kdtool.errors import RecipeError
from kdtool.recipe.data import TABLES, DataTable, MnistTable
from kdtool.recipe.distill import DkdOptions, RldOptions
from kdtool.recipe.load import (
    check_sweep,
    load_recipe,
    parse_setting,
    parse_sweep,
    recipe_toml,
    with_settings,
)

GOOD = """
name = "tiny"
[data]
source = "digits"
[teacher]
model = "mnist-cnn"
[student]
model = "mnist-mlp"
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "recipe.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("name =", "nam ="), ["name: is missing", "nam: unknown key; did you mean `name`?"]),
        (('"tiny"', '"a/b"'), ['name: got "a/b", expected letters, digits']),
        (
            ('"digits"', '"digit"'),
            ['got "digit", expected one of mnist,', 'did you mean "digits"?'],
        ),
        (
            ('"tiny"', '"-a"'),
            ["name: got \"-a\", expected letters, digits, '.', '_' and '-' only, t"],
        ),
        (
            ('"digits"', '"webdataset"\nroot = "x"\nlabel = "CLS"'),
            ['data.label: got "CLS", expected the ending of a member in small letters, such as'],
        ),
        (('"digits"', '"x"\nvalidation = 0'), ["data.validation: got 0, expected a value greater"]),
        (('"digits"', '"digits"\nvalidation = 1.5'), ["validation: got 1.5, expected a share"]),
        (
            ('"digits"', '"digits"\noffline = "mnist-5k"'),
            ['data.offline: not a key of source "digits", only of mnist'],
        ),
        (
            ('"digits"', '"digits"\nclasses = ["a", "b"]'),
            ['data.classes: not a key of source "digits", only of idx, csv, webdataset'],
        ),
        (
            ('"digits"', '"digits"\nroot = "x"'),
            ['data.root: not a key of source "digits", only of mnist, fashion-mnist, kmnist,'],
        ),
        (
            ('"digits"', '"digits"\npositive = []'),
            ["1 problem", "data.positive: got [], expected an integer or a string"],
        ),
        (
            ('"mnist-mlp"', '"mnist-mlp"\nnormalize = "x"'),
            ['student.normalize: got "x", expected one of weights, imagenet, none or a table'],
        ),
        (
            ('"mnist-mlp"', '"mnist-mlp"\nnormalize = {}'),
            ["2 problems", "student.normalize.mean: is missing: mean of each channel"],
        ),
        (('"digits"', '"idx"'), ["data.root: is missing: folder of the data"]),
        (('"digits"', '"folder"'), ["data.root: is missing: folder of the data, relative to"]),
        (('"digits"', '"npz"\nroot = "x"'), ["data.file: is missing: the .npz file, relative to"]),
        (
            ('"digits"', '"csv"'),
            [
                "3 problems",
                "data.root: is missing: folder of the data",
                "data.csv: is missing: the table, relative to `data.root`",
                'data.columns: is missing: names of its columns, such as `{ file = "name"',
            ],
        ),
        (
            ('"digits"', '"digit"\nsize = 0\ntset = 1\nroot = "x"'),
            [
                "3 problems",
                'data.source: got "digit", expected one of mnist, fashion-mnist, kmnist, cifar10,',
                "data.size: got 0, expected a value",
                "data.tset: unknown key; did you mean `data.test`?",
            ],
        ),
        (('source = "digits"', ""), ["data.source: is missing, expected one of mnist,"]),
        (('source = "digits"', "source = 3"), ["data.source: got 3, expected one of mnist,"]),
        (('[data]\nsource = "digits"', ""), ["data: is missing"]),
        (
            ('"digits"', '"mnist"\noffline = "x"'),
            ['data.offline: got "x", expected "mnist-5k"'],
        ),
        (('[data]\nsource = "digits"', "data = 3"), ["data: got 3, expected a table, [data]"]),
        (
            ('"digits"', '"csv"\nroot = "x"\ncsv = "y"\ncolumns = { file = "a", lable = "b" }'),
            [
                "data.columns.label: is missing: column with the class",
                "did you mean `data.columns.label`?",
            ],
        ),
        (('"digits"', '"folder"\nroot = "x"\nsize = 0'), ["data.size: got 0, expected a value"]),
        (
            ('"digits"', '"folder"\nroot = "x"\nchannels = 4'),
            ["data.channels: got 4, expected 1 or 3"],
        ),
        (
            ('"digits"', '"folder"\nroot = "x"\ntest = 1.5'),
            ["data.test: got 1.5, expected a share"],
        ),
        (
            ('"digits"', '"folder"\nroot = "x"\ngroup_by = "p"'),
            ['data.group_by: not a key of source "folder", only of csv'],
        ),
        (
            ('"digits"', '"digits"\nsize = 9'),
            ['data.size: not a key of source "digits", only of folder, csv, webdataset, parquet'],
        ),
        (
            ('"digits"', '"webdataset"\nroot = "x"\nshards = { validation = "v-*.tar" }'),
            ["data.shards: got `validation` without `test`; call the files that test the models"],
        ),
        (
            ('"digits"', '"webdataset"\nroot = "x"\nshards = { train = "/x/*.tar" }'),
            ['data.shards.train: got "/x/*.tar", expected a name inside data.root, without ..'],
        ),
        (
            ('"digits"', '"webdataset"\nroot = "x"\nshards = { test = "../*.tar" }'),
            ['data.shards.test: got "../*.tar", expected a name inside data.root, without ..'],
        ),
        (
            ('"digits"', '"parquet"\nroot = "x"\nshards = { train = "**.parquet", test = "" }'),
            [
                'data.shards.train: got "**.parquet", expected a name with * and ?, such as',
                'data.shards.test: got "", expected a name with * and ?',
            ],
        ),
        (
            ('"digits"', '"mnist"\nroots = "x"'),
            ["data.roots: unknown key; did you mean `data.root`?"],
        ),
        (
            ('"digits"', '"digits"\nfils = "x"'),
            ["data.fils: unknown key; did you mean `data.files`, a key of source idx?"],
        ),
        (
            ('"digits"', '"digits"\nxyz = "x"'),
            ["data.xyz: unknown key; known here: source, validation, group, positive, augment"],
        ),
        (('"mnist-mlp"', "3"), ["student.model: got 3, expected a string"]),
        (('"mnist-mlp"', '"m"\nepochs = "12"'), ['student.epochs: got "12", expected an integer']),
        (
            ('"mnist-mlp"', '"m"\nepochs = 0'),
            ["student: `epochs` = 0 is for a pretrained model; add its `weights`"],
        ),
        (('"mnist-mlp"', '"m"\nlearning_rate = nan'), ["student.learning_rate: got nan, expected"]),
        (
            ('"mnist-mlp"', '"m"\ntemperature = 3'),
            ["student.temperature: unknown key; did you mean `distill.temperature`?"],
        ),
        (
            ('"mnist-mlp"', '"m"\n[distill]\nsoft_weight = 2'),
            ["distill.soft_weight: got 2, expected a value less than or equal to 1"],
        ),
        (
            ('"mnist-mlp"', '"m"\n[distill]\nalpha = 0.5'),
            ["distill.alpha: unknown key; did you mean `distill.options.alpha`?"],
        ),
        (
            ('"mnist-mlp"', '"m"\n[distill]\nmethod = "dkk"'),
            ['distill.method: got "dkk", expected one of kd, ls, dkd,', 'did you mean "dkd"?'],
        ),
        (
            ('"mnist-mlp"', '"m"\n[distill]\noptions = { beta = 2 }'),
            [
                'distill.options: got "beta", but kd has no options, only distill.temperature and',
                "for one method, such as [distill.options.dkd]",
            ],
        ),
        (
            ('"mnist-mlp"', '"m"\n[distill]\nmethod = "dkd"\noptions = { betta = 2, gamma = 1 }'),
            [
                'distill.options: got "betta", expected an option of dkd: soft_weight,',
                'did you mean "beta"?; got "gamma", expected an option of dkd: ',
                "it is an option of dist, wttm, nkd: [distill.options.dist]",
            ],
        ),
        (
            ('"mnist-mlp"', '"m"\n[distill.options.wttm]\ntemperature = 2'),
            ['got "temperature", expected an option of wttm: soft_weight, gamma; it is an option'],
        ),
        (
            ('"mnist-mlp"', '"m"\n[distill]\nmethod = "ls"\n[distill.options.dkdd]\nbeta = 2'),
            ['got "dkdd", expected an option of ls', 'did you mean "dkd"?'],
        ),
        (
            ('"mnist-mlp"', '"m"\n[distill]\nmethod = "dkd"\noptions = { beta = -2 }'),
            ["distill.options.dkd.beta: got -2, expected a value greater than or equal to 0"],
        ),
        (
            ('"mnist-mlp"', '"m"\n[distill]\nmethod = "ls"\noptions = { temperature = 0 }'),
            ["distill.options.ls.temperature: got 0, expected a value greater than 0"],
        ),
        (
            ('"mnist-mlp"', '"m"\n[distill]\noptions = 3'),
            ["distill.options: got 3, expected a table, [distill.options]"],
        ),
        (
            ('"mnist-mlp"', '"m"\nmixup = 0.2\n[distill]\nmethod = "nkd"'),
            ["distill: method nkd needs one label for each image, but student.mixup = 0.2 spreads"],
        ),
        (
            ('"mnist-mlp"', '"m"\nlabel_smoothing = 0.1\n[distill]\nmethod = "rld"'),
            ["but student.label_smoothing = 0.1 spreads it", "or use kd, ls, dist, wttm or mse"],
        ),
        (
            ('"mnist-mlp"', '"m"\nbatch_size = 1\n[distill]\nmethod = "dist"'),
            ["distill: method dist compares the images of a batch, but student.batch_size = 1"],
        ),
        (
            ('"mnist-mlp"', '"m"\n[distill]\nmethod = "dkd"\noptions = { warm_up = 13 }'),
            ["distill: got warm_up = 13 epochs for method dkd, expected at most the 12 of the"],
        ),
        (
            ('"mnist-mlp"', '"m"\n[subclass]\nper_class = 1'),
            ["subclass.per_class: got 1, expected 2 or more; with one subclass use `kdtool"],
        ),
        (
            ('"mnist-mlp"', '"m"\n[subclass]\nper_class = 0'),
            ["per_class: got 0, expected"],
        ),
        (
            ('"digits"', '"digits"\ngroup = [[0, 1]]'),
            ["group: got [[0, 1]], expected at least"],
        ),
        (
            ('"digits"', '"digits"\ngroup = [[0], []]'),
            ["group.1: got [], expected at least 1"],
        ),
        (('name = "tiny"', 'name = "tiny"\nseeds = [1, 1]'), ["seeds: got 1 more than once"]),
        (
            ('name = "tiny"', 'name = "tiny"\nseeds = [1, 2]\nteacher_seeds = [3, 3]'),
            ["teacher_seeds: got 3 more than once"],
        ),
        (
            ('name = "tiny"', 'name = "tiny"\nseeds = [1, 2]\nteacher_seeds = [0]'),
            ["teacher_seeds: got 1, expected 2, as many as `seeds`: the student of each seed"],
        ),
        (('name = "tiny"', 'name = "tiny"\nmetric = "f1"'), ['metric: got "f1", expected one of']),
        (
            ('"digits"', '"digits"\naugment = ["crop:2", "flop"]'),
            ['data.augment: got "crop:2", expected crop:VALUE with the smallest', "0.05 to 1"],
        ),
        (
            ('"digits"', '"digits"\naugment = ["flop"]'),
            ['got "flop", expected one of crop, flip', 'did you mean "flip"?'],
        ),
        (('"digits"', '"digits"\naugment = ["flip", "flip:1"]'), ["got flip more than once"]),
        (
            ('"digits"', '"digits"\naugment = ["flip"]\nviews = 0'),
            ["data.views: got 0, expected a"],
        ),
        (
            ('"digits"', '"digits"\naugment = ["flip"]\nviews = -2'),
            ["views: got -2, expected a value"],
        ),
        (
            ('"digits"', '"digits"\naugment = ["flip"]\nviews = 1.5'),
            ["got 1.5, expected an integer"],
        ),
        (
            ('"digits"', '"digits"\nviews = 4'),
            ["data.views: got 4 without `augment`: all views would be the image itself; set"],
        ),
        (
            ('"digits"', '"digits"\naugment = ["flip:much"]'),
            ["expected flip:VALUE with the probability"],
        ),
        (
            ('source = "digits"', 'source = "folder"\nroot = "."\nmemory = "16"'),
            ['data.memory: got "16", expected a number of MB, GB or TB, such as "16 GB"'],
        ),
        (
            ('source = "digits"', 'source = "folder"\nroot = "."\nmemory = "1e3 GB"'),
            ['got "1e3 GB", expected a number of MB'],
        ),
        (('"digits"', '"digits"\nmemory = "1 GB"'), ['data.memory: not a key of source "digits"']),
        (
            ('"digits"', '"digits"\naugment = "flip"'),
            ['data.augment: got "flip", expected a list, such as ["flip"]'],
        ),
        (
            ('"mnist-mlp"', '"m"\n[[student.phase]]\nepoch = 1'),
            ["student.phase.0.epochs: is missing", "unknown key; did you mean `student.phase.epo"],
        ),
        (
            ('"mnist-mlp"', '"m"\nepochs = 3\n[[student.phase]]\nepochs = 1'),
            ["got `epochs` = 3 and phases, which have their own epochs; remove"],
        ),
        (
            ('model = "mnist-cnn"', 'model = "t.onnx"\nepochs = 3'),
            ["teacher: an ONNX file is not trained; set epochs = 0, or remove `epochs`"],
        ),
        (
            ('model = "mnist-cnn"', 'model = "t.onnx"\nweights = "imagenet"'),
            ["an ONNX file has its own weights; remove `weights`"],
        ),
        (
            ('model = "mnist-cnn"', 'model = "mnist-cnn"\nclasses = ["a"]'),
            ["teacher: `classes` is for a pretrained teacher: an ONNX file, or"],
        ),
        (
            ('"mnist-mlp"', '"m"\nepochs = 0\nweights = "w.pth"'),
            ["student: a student is trained: expected a network and `epochs` of 1"],
        ),
        (
            ('"mnist-mlp"', '"m"\n[export]\noperating_point = "sens"'),
            ['export.operating_point: got "sens", expected argmax, youden'],
        ),
        (
            ('"mnist-mlp"', '"m"\n[export]\noperating_point = "sensitivity"'),
            ["expected sensitivity:VALUE, above 0 and at most 1"],
        ),
        (
            ('"mnist-mlp"', '"m"\n[export]\noperating_point = "f1:2"'),
            ["expected f1 without a value"],
        ),
        (
            ('"mnist-mlp"', '"m"\n[export.qat]\nepochs = -1\nlearning_rate = 0'),
            ["export.qat.epochs: got -1, expected", "export.qat.learning_rate: got 0, expected"],
        ),
        (
            ('"mnist-mlp"', '"m"\n[export.qat]\nepoch = 1\nsoft_weight = 2'),
            ["export.qat.epoch: unknown key; did you mean", "export.qat.soft_weight: got 2"],
        ),
        (
            ('name = "tiny"', 'name = "tiny"\nseeds = []'),
            ["seeds: got [], expected at least 1 item"],
        ),
        (
            ('name = "tiny"', 'name = "tiny"\nseeds = "0,1"'),
            ['seeds: got "0,1", expected a list, such as [0,1]'],
        ),
        (('name = "tiny"', 'name = "tiny"\nseeds = [-1]'), ["seeds.0: got -1, expected"]),
        (('"mnist-mlp"', '"m"\n[[distill]]'), ["distill: got [{}], expected a table, [distill]"]),
        (('name = "tiny"', "name = tiny"), ["is not valid TOML", "line 2"]),
    ],
)
def test_a_wrong_recipe_gets_a_message_for_each_problem(write, change, message):
    path = write(GOOD.replace(*change))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)
    for part in message:
        assert part in str(caught.value)


def test_a_byte_order_mark_is_no_problem(write):
    assert load_recipe(write(GOOD.encode("utf-8-sig"))).name == "tiny"


def test_all_problems_are_listed_at_once(write):
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(GOOD.replace('"digits"', "1").replace('"mnist-cnn"', "2")))
    assert "2 problems" in str(caught.value)


def test_a_recipe_that_is_no_readable_file(tmp_path, write):
    (tmp_path / "mnist.toml").touch()
    with pytest.raises(RecipeError, match=r"there is no recipe .*; did you mean .*mnist\.toml"):
        load_recipe(tmp_path / "minst.toml")
    with pytest.raises(RecipeError, match="is a folder"):
        load_recipe(tmp_path)
    with pytest.raises(RecipeError, match="is not text in UTF-8, expected a TOML file"):
        load_recipe(write(b"\xff\xfe"))


def test_settings_override_the_recipe(write):
    recipe = load_recipe(write(GOOD), ["distill.temperature=7", "seeds=[5]", "name=other"])
    assert (recipe.distill.temperature, recipe.seeds, recipe.name) == (7, [5], "other")
    with pytest.raises(RecipeError, match=r"distill\.temprature: unknown key; did you mean"):
        load_recipe(write(GOOD), ["distill.temprature=7"])
    with pytest.raises(RecipeError, match="expected a key of the recipe and a value: --set dist"):
        parse_setting("distill.temperature")
    with pytest.raises(RecipeError, match="name is a value, not a table"):
        load_recipe(write(GOOD), ["name.x=7"])


def test_epochs_on_the_command_line_overrule_the_min_steps_of_the_file(write):
    path = write(GOOD.replace('"mnist-mlp"', '"mnist-mlp"\nmin_steps = 400'))
    assert load_recipe(path).student.min_steps == 400
    assert load_recipe(path, ["teacher.epochs=1"]).student.min_steps == 400
    assert load_recipe(path, ["student.epochs=1"]).student.min_steps == 0
    assert load_recipe(path, ["student.phase=[{epochs=1}]"]).student.min_steps == 0
    both = ["student.min_steps=30", "student.epochs=1"]
    assert load_recipe(path, both).student.min_steps == 30


def test_root_is_relative_to_the_recipe_and_on_the_command_line_to_the_working_folder(
    write, tmp_path, monkeypatch
):
    path = write(GOOD.replace('"digits"', '"mnist"\nroot = "here"'))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_recipe(path).data.root == tmp_path / "here"
    given = load_recipe(path, ["data.root=there"])
    assert given.data.root == tmp_path / "elsewhere" / "there"
    given = load_recipe(path, ["data={source='folder',root='there'}"])
    assert given.data.root == tmp_path / "elsewhere" / "there"


def test_files_of_models_are_found_as_the_data_are(write, tmp_path, monkeypatch):
    path = write(
        GOOD.replace('"mnist-cnn"', '"big.onnx"').replace('"mnist-mlp"', '"m"\nweights="w"')
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    recipe = load_recipe(path)
    assert recipe.teacher.model == str(tmp_path / "big.onnx")
    assert recipe.student.weights == str(tmp_path / "w")
    given = load_recipe(path, ["teacher.model=mnist-cnn", "teacher.weights=imagenet"])
    assert (given.teacher.model, given.teacher.weights) == ("mnist-cnn", "imagenet")
    given = load_recipe(path, ["teacher.model=b.onnx", "student.weights=none"])
    assert given.teacher.model == str(tmp_path / "elsewhere" / "b.onnx")
    assert given.student.weights is None


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("distill.temperature=1,2,4", [1, 2, 4]),
        ("distill.temperature=[1, 2.5]", [1, 2.5]),
        ("student.schedule=constant,cosine", ["constant", "cosine"]),
    ],
)
def test_sweep_values(text, values):
    assert parse_sweep(text) == (text.partition("=")[0], values)


@pytest.mark.parametrize("text", ["distill.temperature=4", "distill.temperature=4,4.0"])
def test_a_sweep_of_one_value_is_none(text):
    with pytest.raises(RecipeError, match="at least two different values"):
        parse_sweep(text)


def test_a_recipe_survives_being_written(write):
    settings = ["data.source=mnist", "data.root=/somewhere"]
    settings += ["distill.temperature=2.5", "teacher.model=big.onnx", "data.augment=['flip']"]
    recipe = load_recipe(write(GOOD), [*settings, "student.phase=[{epochs=2, train='head'}]"])
    assert load_recipe(write(recipe_toml(recipe))) == recipe
    assert with_settings(recipe, {"distill.temperature": 2.5}) == recipe


def test_options_that_stand_alone_are_of_the_method(write):
    settings = ["distill.method=dkd", "distill.options.beta=3", "distill.options.dist.gamma=0"]
    recipe = load_recipe(write(GOOD), settings)
    assert recipe.distill.chosen == DkdOptions(beta=3)
    assert recipe.distill.options.dist.gamma == 0
    in_tables = load_recipe(write(GOOD), [settings[0], "distill.options.dkd.beta=3", settings[2]])
    assert recipe == in_tables
    assert load_recipe(write(recipe_toml(recipe))) == recipe
    other = with_settings(recipe, {"distill.method": "rld"})
    assert other.distill.chosen == RldOptions()  # beta = 3 was of dkd
    assert with_settings(recipe, {"distill.options.beta": 5}).distill.chosen.beta == 5
    assert load_recipe(write(GOOD)).distill.chosen is None


def test_a_written_recipe_has_all_options_of_its_method_and_none_that_has_no_use(write):
    assert "options" not in recipe_toml(load_recipe(write(GOOD)))
    text = recipe_toml(load_recipe(write(GOOD), ["distill.method=wttm"]))
    assert "[distill.options.wttm]\nsoft_weight = 4.0\ngamma = 0.2\n" in text
    assert text.count("distill.options") == 1


@pytest.mark.parametrize(
    ("settings", "sweep", "message"),
    [
        ([], {"distill.method": ["kd", "ls", "dist"]}, None),
        (
            ["distill.options.wttm.gamma=0.5"],
            {"distill.method": ["kd", "wttm"], "distill.temperature": [1, 4]},
            None,
        ),
        ([], {"distill.method": ["dkd", "rld"], "distill.options.beta": [1, 8]}, None),
        ([], {"distill.method": ["kd", "dkd"], "distill.options.dkd.beta": [1, 8]}, None),
        (
            [],
            {"distill.method": ["kd", "dkd"], "distill.options.beta": [1, 8]},
            'got "beta", but kd has no options',
        ),
        (
            ["distill.method=ls"],
            {"distill.soft_weight": [0.1, 0.9]},
            r"got --sweep distill\.soft_weight, which is of method kd, but the students learn",
        ),
        ([], {"distill.options.dkd.beta": [1, 8]}, "is of method dkd, but the students learn by"),
        (["student.mixup=0.1"], {"distill.method": ["kd", "dkd"]}, "method dkd needs one label"),
        ([], {"distill.method": ["kd", "lss"]}, 'got "lss", expected one of'),
    ],
)
def test_every_setting_of_a_sweep_over_methods_is_checked(write, settings, sweep, message):
    recipe = load_recipe(write(GOOD), settings)
    if message is None:
        check_sweep(recipe, sweep, subclasses=False)
        return
    with pytest.raises(RecipeError, match=message):
        check_sweep(recipe, sweep, subclasses=False)


# What `recipe_toml` of kdtool 0.1 wrote for a source that has none of the last four keys.
OLD_DATA = """
source = "mnist"
root = "/somewhere"
offline = "mnist-5k"
validation = 0.1
augment = []
test = 0.2
images = "."
skip_broken = false
[data.files]
train_images = "train-images-idx3-ubyte"
train_labels = "train-labels-idx1-ubyte"
test_images = "t10k-images-idx3-ubyte"
test_labels = "t10k-labels-idx1-ubyte"
"""


def test_the_recipe_of_an_older_study_loads(write):
    recipe = load_recipe(write(GOOD.replace('source = "digits"', OLD_DATA)))
    assert recipe.data == MnistTable(source="mnist", root=Path("/somewhere"), offline="mnist-5k")
    assert load_recipe(write(recipe_toml(recipe))) == recipe
    changed = OLD_DATA.replace("test = 0.2", "test = 0.3")
    with pytest.raises(RecipeError, match='test: not a key of source "mnist", only of folder'):
        load_recipe(write(GOOD.replace('source = "digits"', changed)))


def test_a_key_of_another_source_is_an_error_even_at_its_default(write):
    with pytest.raises(RecipeError, match='test: not a key of source "digits"'):
        load_recipe(write(GOOD.replace('"digits"', '"digits"\ntest = 0.2')))


def test_every_source_has_a_table():
    for source, table in TABLES.items():
        assert source in get_args(table.model_fields["source"].annotation)
    assert set(TABLES.values()) == set(get_args(get_args(DataTable)[0]))
