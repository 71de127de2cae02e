"""Tables of images: MHIST as published, splits and groups, and all rows that are wrong."""

import csv
import os
from pathlib import Path

import pytest
from loading import load_splits
from pictures import save_mhist
from PIL import Image

from kdtool.errors import DataError
from kdtool.recipe.data import Columns, CsvTable
from kdtool.recipe.load import load_recipe

MHIST = Path(__file__).parents[4] / "recipes" / "mhist.toml"


def write(path, rows, encoding="utf-8", **form):
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, **form).writerows(rows)  # lines end as on Windows


def test_the_recipe_reads_mhist_as_published(tmp_path):
    save_mhist(tmp_path, 24, 9, 224)
    recipe = load_recipe(MHIST, [f"data.root={tmp_path}"])
    splits = load_splits(recipe.data, pytest.fail)
    assert (splits.classes, splits.result.positive) == (("HP", "SSA"), "SSA")
    assert splits.result.class_counts == {"train": [15, 7], "validation": [1, 1], "test": [6, 3]}
    assert splits.result.image_shape == (3, 224, 224)
    assert splits.test.labels.tolist() == [0, 0, 1] * 3
    for image, index in zip(splits.test.images, range(24, 33), strict=True):
        pixels = Image.open(tmp_path / "images" / f"MHIST_{index:03}.png")
        assert tuple(image[:, 0, 0].tolist()) == pixels.getpixel((0, 0))


def test_the_error_says_where_to_download_mhist(tmp_path):
    with pytest.raises(DataError) as caught:
        load_splits(load_recipe(MHIST, [f"data.root={tmp_path}"]).data, pytest.fail)
    assert f"there is no {tmp_path / 'annotations.csv'}" in str(caught.value)
    assert "download the data from https://bmirds.github.io/MHIST" in str(caught.value)


@pytest.fixture
def table(tmp_path, patient_rows):
    """A function that loads the table of patients, changed or not."""
    rows = patient_rows

    def load(
        warn=pytest.fail, columns=("file", "label", "split"), change=list, written=None, **settings
    ):
        write(tmp_path / "table.csv", change(rows), **(written or {}))
        names = dict(zip(("file", "label", "split"), columns, strict=False))
        table = CsvTable(
            source="csv",
            root=tmp_path,
            **{"csv": Path("table.csv"), "columns": Columns(**names), **settings},
        )
        return load_splits(table, warn)

    return load


def patients(split):
    return set((split.images[:, 0, 0, 0] // 4).tolist())


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"lineterminator": "\n"},
        {"quoting": csv.QUOTE_ALL},
        {"delimiter": ";"},
        {"delimiter": "\t"},
        {"delimiter": "|"},
        {"encoding": "utf-8-sig"},
    ],
    ids=str,
)
def test_splits_are_those_of_the_table_in_any_case(table, written):
    splits = table(written=written)
    assert patients(splits.train) == {0, 1}
    assert patients(splits.validation) == {2, 3}
    assert patients(splits.test) == {4, 5, 6, 7, 8, 9}
    assert [
        n // 4 % 2 for n in splits.test.images[:, 0, 0, 0].tolist()
    ] == splits.test.labels.tolist()


def test_without_a_column_of_splits_they_are_drawn(table):
    counts = table(columns=("file", "label")).result.class_counts
    assert counts == {"train": [14, 15], "validation": [2, 1], "test": [4, 4]}


def test_a_patient_stays_in_one_split(table):
    splits = table(columns=("file", "label"), group_by="patient", validation=0.25)
    sets = [patients(split) for split in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, sets)) == len(set.union(*sets)) == 10
    assert [len(each) for each in sets] == [6, 2, 2]


def test_a_patient_in_two_splits_of_the_table_is_a_warning(table):
    def tear(rows):
        return [*rows[:-1], [*rows[-1][:2], "train", rows[-1][3]]]

    warnings = []
    table(warn=warnings.append, change=tear, group_by="patient")
    assert warnings[0].startswith(
        "the table puts images of 1 of 10 values of patient into more than"
    )


def test_classes_have_the_order_of_the_recipe(table):
    assert table(classes=["b", "a"]).test.labels[:4].tolist() == [1, 1, 1, 1]


def test_classes_that_are_numbers_have_their_order(table):
    def change(rows):
        return [rows[0], *([a, f"{2 + 8 * (b == 'a')}", c, d] for a, b, c, d in rows[1:])]

    assert table(change=change).classes == ("2", "10")


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (("10.0", "2.0"), ("2.0", "10.0")),
        (("nan", "2"), ("2", "nan")),
        (("-1", "+1"), ("-1", "+1")),
    ],
)
def test_classes_have_the_order_of_numbers_only_if_all_are(table, names, classes):
    named = dict(zip("ab", names, strict=True))

    def change(rows):
        return [rows[0], *([a, named[b], c, d] for a, b, c, d in rows[1:])]

    assert table(change=change).classes == classes


def test_spaces_around_the_names_of_columns_are_ignored(table):
    assert len(table(change=put(1, 1, " label ")).test) == 24


def test_a_path_may_be_absolute_and_a_name_may_have_spaces_and_umlauts(table, tmp_path):
    Image.new("L", (4, 4), 77).save(tmp_path / "größe 1.png")

    def change(rows):
        return [
            *put(2, 0, str(tmp_path / "00.png"))(rows),
            ["größe 1.png", "a", "test", "p9"],
        ]

    splits = table(change=change)
    assert splits.test.images[-1].flatten()[0] == 77
    assert len(splits.train) == 8


def test_images_without_a_label_are_a_warning(table):
    warnings = []
    table(warn=warnings.append, change=lambda rows: rows[:-2])
    assert warnings == ["2 images have no label and are not used: 38.png, 39.png"]


@pytest.mark.skipif(os.name != "posix", reason="names are text there")
def test_names_that_are_not_valid_text_can_be_reported(table, tmp_path):
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff.png")).touch()
    warnings = []
    assert table(warn=warnings.append).result.model_dump_json()
    assert warnings == ["1 image has no label and is not used: \\udcff.png"]


def put(line, column, value):
    def change(rows):
        row = list(rows[line - 1])
        row[column] = value
        return [*rows[: line - 1], row, *rows[line:]]

    return change


BAD_ROWS = {
    "no file": (put(5, 0, "gone.png"), "line 5: there is no file gone.png"),
    "Windows path": (
        put(5, 0, "a\\gone.png"),
        "line 5: there is no file a\\gone.png; write / instead of \\",
    ),
    "outside": (put(5, 0, "../x.png"), "line 5: ../x.png leads out of data.root"),
    "absolute": (put(5, 0, "/etc/hostname"), "line 5: /etc/hostname leads out of data.root"),
    "no name": (put(5, 0, ""), "line 5: no file name"),
    "long name": (put(5, 0, 300 * "x"), "line 5: not a valid file name: File name too long"),
    "zero byte": (put(5, 0, "a\0.png"), "line 5: not a valid file name: "),
    "no label": (put(7, 1, " "), "line 7: no label for 05.png"),
    "unknown split": (
        put(7, 2, "holdout"),
        'line 7: split "holdout", expected train, test (or val) and',
    ),
    "no split": (put(7, 2, ""), 'line 7: split "", expected train, test (or val) and'),
    "twice": (put(9, 0, "03.png"), "line 9: 03.png is a duplicate of line 5"),
    "twice, spelled otherwise": (put(9, 0, "./03.png"), "line 9: 03.png is a duplicate of line 5"),
    "twice, by another way": (
        put(9, 0, "a/../03.png"),
        "line 9: 03.png is a duplicate of line 5",
    ),
    "short row": (lambda rows: [*rows, ["00.png"]], "line 42: no label for 00.png"),
}


@pytest.mark.parametrize(("change", "message"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_rows_that_are_wrong_are_listed_by_line(table, change, message):
    with pytest.raises(DataError) as caught:
        table(change=change)
    assert f"  {message}" in str(caught.value)


def test_a_link_that_leads_out_of_the_root_is_an_error(table, tmp_path):
    (tmp_path / "04.png").unlink()
    (tmp_path / "04.png").symlink_to("/etc/hostname")
    with pytest.raises(DataError, match=r"line 6: 04\.png leads out of data\.root"):
        table()


def test_all_wrong_rows_are_listed_at_once(table):
    def change(rows):
        for name in ("no file", "no label", "unknown split"):
            rows = BAD_ROWS[name][0](rows)
        return rows

    with pytest.raises(DataError) as caught:
        table(change=change)
    assert "table.csv: 3 problems:" in str(caught.value)


BAD_TABLES = {
    "a label of no class": ({"classes": ["a", "c"]}, 'label "b", expected one of a, c'),
    "no column": (
        {"columns": ("fil", "label")},
        'has no column fil; it has file, label, split, patient; did you mean "file"?',
    ),
    "a column twice": (
        {"change": put(1, 3, "label")},
        "has more than one column label; give each another name",
    ),
    "an unknown delimiter": (
        {"written": {"delimiter": "~"}},
        "the separator may be a comma, a semicolon, a tab or |",
    ),
    "no group column": ({"group_by": "slide"}, "has no column slide"),
    "only a head": ({"change": lambda rows: rows[:1]}, "has no row below its header"),
    "empty": ({"change": lambda rows: []}, "has no column file, label, split; it has none"),
    "no patient": (
        {"group_by": "patient", "change": put(7, 3, " ")},
        "line 7: no value of data.group_by for 05.png",
    ),
    "a name that cannot be printed": (
        {"change": put(7, 1, "b\nc")},
        r"the name of class 'b\nc' cannot be printed",
    ),
    "one class": (
        {"change": lambda rows: [rows[0], *([a, "b", c, d] for a, _, c, d in rows[1:])]},
        "got the classes b; expected at least two",
    ),
    "a class in test that train lacks": (
        {"change": lambda rows: put(41, 1, "new")(rows)},
        "no image of class new in the train split",
    ),
    "no table": ({"images": Path("no")}, "no (data.images)"),
    "more fields than the header": (
        {"change": lambda rows: [*rows[:6], [*rows[6], "5"], *rows[7:]]},
        "line 7: 5 fields, expected 4; put a field that holds the separator in quotes",
    ),
    "a folder": ({"csv": Path()}, "cannot read"),
    "table outside": ({"csv": Path("..")}, "data.csv = .. leads out of data.root"),
    "only train": (
        {"change": lambda rows: [rows[0], *([a, b, "train", d] for a, b, _, d in rows[1:])]},
        "2 classes, but test images: 0",
    ),
    "one patient has a class": (
        {
            "columns": ("file", "label"),
            "group_by": "patient",
            "change": lambda rows: [rows[0], *([a, b, c, b] for a, b, c, _ in rows[1:])],
        },
        "with images of one patient kept together, class ",
    ),
}


@pytest.mark.parametrize(("settings", "message"), BAD_TABLES.values(), ids=BAD_TABLES.keys())
def test_tables_that_cannot_be_used_have_their_message(table, settings, message):
    with pytest.raises(DataError) as caught:
        table(warn=lambda _: None, **settings)
    assert message in str(caught.value)
