import pytest

from kdtool.errors import RecipeError
from kdtool.recipe.load import load_recipe, parse_setting, parse_sweep, recipe_toml, with_settings

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
        (('"digits"', '"x"\nvalidation = 0'), ["data.validation: got 0, expected a value greater"]),
        (('"digits"', '"digits"\nvalidation = 1.5'), ["validation: got 1.5, expected a share"]),
        (('"digits"', '"digits"\noffline = "mnist-5k"'), ['only stand in for source "mnist"']),
        (('"digits"', '"digits"\nclasses = ["a", "b"]'), ["`classes` is only for source"]),
        (('"digits"', '"digits"\nroot = "x"'), ['`root` is only for source "mnist" or']),
        (('"digits"', '"idx"'), ["needs `root`"]),
        (('"digits"', '"folder"'), ['source "folder" needs `root`, the folder of the data']),
        (('"digits"', '"npz"\nroot = "x"'), ["needs `file`, the .npz, below `root`"]),
        (('"digits"', '"csv"\nroot = "x"'), ["needs `csv`, the table, below `root`"]),
        (
            ('"digits"', '"csv"\nroot = "x"\ncsv = "y"'),
            ['needs `columns`, such as { file = "name", label = "class" }'],
        ),
        (
            ('"digits"', '"csv"\nroot = "x"\ncsv = "y"\ncolumns = { file = "a", lable = "b" }'),
            ["data.columns.label: is missing", "did you mean `data.columns.label`?"],
        ),
        (('"digits"', '"folder"\nroot = "x"\nsize = 0'), ["data.size: got 0, expected a value"]),
        (('"digits"', '"folder"\nroot = "x"\nchannels = 4'), ["data.channels: got 4, expected"]),
        (
            ('"digits"', '"folder"\nroot = "x"\ntest = 1.5'),
            ["data.test: got 1.5, expected a share"],
        ),
        (
            ('"digits"', '"folder"\nroot = "x"\ngroup_by = "p"'),
            ['`group_by` is only for source "csv"'],
        ),
        (('"digits"', '"digits"\nsize = 9'), ['`size` is only for source "folder" or "csv"']),
        (('"digits"', '"digits"\nroots = "x"'), ["roots: unknown key; did you mean `data.root`?"]),
        (('"mnist-mlp"', "3"), ["student.model: got 3, expected a string"]),
        (('"mnist-mlp"', '"m"\nepochs = "12"'), ['student.epochs: got "12", expected an integer']),
        (
            ('"mnist-mlp"', '"m"\nepochs = 0'),
            ["student: `epochs` = 0 is for a model that is trained already"],
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
            ["distill.alpha: unknown key; known here: temperature, soft_weight, exclude_classes"],
        ),
        (
            ('"mnist-mlp"', '"m"\n[subclass]\nper_class = 1'),
            [
                "subclass.per_class: got 1, expected 2 or more: with one subclass a class",
                "distill`",
            ],
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
        (('name = "tiny"', 'name = "tiny"\nseeds = [1, 1]'), ["seeds: the same seed twice"]),
        (('name = "tiny"', 'name = "tiny"\nmetric = "f1"'), ['metric: got "f1", expected one of']),
        (
            ('"digits"', '"digits"\naugment = ["crop:2", "flop"]'),
            ['data.augment: got "crop:2", expected crop:VALUE, least share', "from 0.05 to 1"],
        ),
        (('"digits"', '"digits"\naugment = ["flop"]'), ['got "flop", expected one of crop, flip']),
        (('"digits"', '"digits"\naugment = ["flip", "flip:1"]'), ["same augmentation twice"]),
        (('"digits"', '"digits"\naugment = ["flip:much"]'), ["expected flip:VALUE, chance"]),
        (
            ('"mnist-mlp"', '"m"\n[[student.phase]]\nepoch = 1'),
            ["student.phase.0.epochs: is missing", "unknown key; did you mean `student.phase.epo"],
        ),
        (
            ('"mnist-mlp"', '"m"\nepochs = 3\n[[student.phase]]\nepochs = 1'),
            ["got `epochs` = 3 and phases, which have epochs of their own"],
        ),
        (
            ('model = "mnist-cnn"', 'model = "t.onnx"\nepochs = 3'),
            ["answers as it is and learns nothing: leave out `epochs`"],
        ),
        (
            ('model = "mnist-cnn"', 'model = "t.onnx"\nweights = "imagenet"'),
            ["`weights` is not for", "has its own"],
        ),
        (
            ('model = "mnist-cnn"', 'model = "mnist-cnn"\nclasses = ["a"]'),
            ["teacher: `classes` is for a teacher that is trained already"],
        ),
        (
            ('"mnist-mlp"', '"m"\nepochs = 0\nweights = "w.pth"'),
            ["student: a student must learn"],
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
def test_a_wrong_recipe_is_told_what_is_wrong(write, change, message):
    path = write(GOOD.replace(*change))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)
    for part in message:
        assert part in str(caught.value)


def test_a_byte_order_mark_is_no_problem(write):
    assert load_recipe(write(GOOD.encode("utf-8-sig"))).name == "tiny"


def test_all_problems_are_told_at_once(write):
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(GOOD.replace('"digits"', "1").replace('"mnist-cnn"', "2")))
    assert "2 problems" in str(caught.value)


def test_a_recipe_that_is_no_readable_file(tmp_path, write):
    (tmp_path / "mnist.toml").touch()
    with pytest.raises(RecipeError, match=r"there is no recipe .*; did you mean .*mnist\.toml"):
        load_recipe(tmp_path / "minst.toml")
    with pytest.raises(RecipeError, match="is a folder"):
        load_recipe(tmp_path)
    with pytest.raises(RecipeError, match="not a text file in UTF-8"):
        load_recipe(write(b"\xff\xfe"))


def test_settings_override_the_recipe(write):
    recipe = load_recipe(write(GOOD), ["distill.temperature=7", "seeds=[5]", "name=other"])
    assert (recipe.distill.temperature, recipe.seeds, recipe.name) == (7, [5], "other")
    with pytest.raises(RecipeError, match=r"distill\.temprature: unknown key; did you mean"):
        load_recipe(write(GOOD), ["distill.temprature=7"])
    with pytest.raises(RecipeError, match="expected KEY=VALUE"):
        parse_setting("distill.temperature")
    with pytest.raises(RecipeError, match="name is a value, not a table"):
        load_recipe(write(GOOD), ["name.x=7"])


def test_root_is_relative_to_the_recipe_and_on_the_command_line_to_the_working_folder(
    write, tmp_path, monkeypatch
):
    path = write(GOOD.replace('"digits"', '"mnist"\nroot = "here"'))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_recipe(path).data.root == tmp_path / "here"
    given = load_recipe(path, ["data.root=there"])
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
