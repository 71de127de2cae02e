"""What spreadsheets and others write as csv: each is read with the right values, or refused."""

import shutil
import unicodedata
from pathlib import Path

import pytest
from loading import load_splits
from PIL import Image

from kdtool.errors import DataError
from kdtool.recipe.data import Columns, CsvTable


def as_text(rows, delimiter=","):
    return "".join(delimiter.join(row) + "\r\n" for row in rows)


def with_empty_rows(rows):
    return [["", ""], ["file", "label", "split", "patient"], ["", " ", "", ""], *rows[1:], [""] * 4]


# What spreadsheets and others write: text of the rows and encoding.
DIALECTS = {
    "sep=;": (lambda rows: "sep=;\r\n" + as_text(rows, ";"), "utf-8"),
    "SEP=| in quotes": (lambda rows: '"SEP=|"\n' + as_text(rows, "|"), "utf-8"),
    "sep= of an odd separator": (lambda rows: "sep=~\n" + as_text(rows, "~"), "utf-8-sig"),
    "sep=tab": (lambda rows: "sep=\t\n" + as_text(rows, "\t"), "utf-16"),
    "semicolons": (lambda rows: as_text(rows, ";"), "utf-8"),
    "tabs": (lambda rows: as_text(rows, "\t"), "utf-8"),
    "tabs in UTF-16, as Excel's Unicode text": (lambda rows: as_text(rows, "\t"), "utf-16"),
    "UTF-16 without its mark": (as_text, "utf-16-le"),
    "UTF-16, big first, without its mark": (as_text, "utf-16-be"),
    "UTF-8 with its mark": (as_text, "utf-8-sig"),
    "rows of separators": (lambda rows: as_text(with_empty_rows(rows)), "utf-8"),
    "rows of separators after sep=": (
        lambda rows: "sep=;\n" + as_text(with_empty_rows(rows), ";"),
        "utf-8",
    ),
    "empty lines": (lambda rows: "\n\n" + as_text(rows).replace("\n", "\n\n"), "utf-8"),
    "old Macintosh": (lambda rows: as_text(rows).replace("\r\n", "\r"), "utf-8"),
    "empty columns at the end": (
        lambda rows: as_text([[*row, "", ""] for row in rows]),
        "utf-8",
    ),
    "rows longer than the header, but empty there": (
        lambda rows: as_text([rows[0], *([*row, "", " "] for row in rows[1:])]),
        "utf-8",
    ),
    "decimal commas": (
        lambda rows: as_text([[*rows[0], "mm, wide"], *([*row, "0,5"] for row in rows[1:])], ";"),
        "utf-8",
    ),
    "a header with more commas than semicolons": (
        lambda rows: as_text(
            [[*rows[0], "a, b, c, d, e, f"], *([*row, "1"] for row in rows[1:])], ";"
        ),
        "utf-8",
    ),
    "line breaks in quotes": (
        lambda rows: as_text(
            [[*rows[0], '"a\nnote"'], *([*row, '"two\nlines"'] for row in rows[1:])]
        ),
        "utf-8",
    ),
    "spaces before quotes": (
        lambda rows: as_text([[a, f' "{b}"', c, d] for a, b, c, d in rows]),
        "utf-8",
    ),
}


@pytest.fixture
def load(tmp_path, patient_rows):
    """A function that writes the table of patients with `make` and loads it."""

    def load(make=None, encoding="utf-8", warn=pytest.fail, change=list, **settings):
        text = (make or as_text)(change(patient_rows))
        (tmp_path / "table.csv").write_bytes(text.encode(encoding))
        columns = Columns(**{"file": "file", "label": "label", **settings.pop("columns", {})})
        settings = {"root": tmp_path, "csv": Path("table.csv"), "columns": columns, **settings}
        return load_splits(CsvTable(source="csv", **settings), warn)

    return load


SPLIT = {"columns": {"split": "split"}}


def images(split):
    """The numbers of the images of a split: their grey values."""
    return split.images[:, 0, 0, 0].tolist()


def assert_right(splits, classes=("a", "b")):
    assert splits.classes == classes
    assert images(splits.train) == list(range(8))
    assert images(splits.validation) == list(range(8, 16))
    assert images(splits.test) == list(range(16, 40))
    for split in (splits.train, splits.validation, splits.test):
        assert [number // 4 % 2 for number in images(split)] == split.labels.tolist()


@pytest.mark.parametrize(("make", "encoding"), DIALECTS.values(), ids=DIALECTS.keys())
def test_each_dialect_gives_the_right_values(load, make, encoding):
    assert_right(load(make, encoding, **SPLIT))


def rename(**names):
    def change(rows):
        return [rows[0], *([a, names[b], c, d] for a, b, c, d in rows[1:])]

    return change


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
def test_umlauts_are_read_in_every_encoding(load, tmp_path, encoding):
    (tmp_path / "05.png").rename(tmp_path / "größe.png")

    def change(rows):
        return [["größe.png" if row[0] == "05.png" else row[0], *row[1:]] for row in rows]

    warnings = []
    splits = load(
        None,
        encoding,
        change=lambda rows: rename(a="Käse", b="Öl")(change(rows)),
        warn=warnings.append,
        **SPLIT,
    )
    assert_right(splits, ("Käse", "Öl"))
    expected = "table.csv is not UTF-8 and is read as Windows-1252; if letters such as ä are wrong,"
    assert [text[: len(expected)] for text in warnings] == [expected] * (encoding == "cp1252")


def test_names_in_the_unicode_form_of_macos_are_found(load, tmp_path):
    (tmp_path / "05.png").rename(tmp_path / unicodedata.normalize("NFD", "größe.png"))

    def change(rows):
        return [["größe.png" if row[0] == "05.png" else row[0], *row[1:]] for row in rows]

    assert_right(load(change=change, **SPLIT))


def test_a_header_may_have_spaces_and_line_breaks(load):
    def change(rows):
        return [[" file", '"Majority\nVote  Label"', "split ", "patient"], *rows[1:]]

    columns = {"label": "Majority Vote Label", "split": "split"}
    assert_right(load(change=change, columns=columns))


def test_labels_with_spaces_around_them_are_one_class_with_a_warning(load):
    def change(rows):
        return [
            rows[0],
            *([a, (b, f"{b} ", f" {b}")[n % 3], c, d] for n, (a, b, c, d) in enumerate(rows[1:])),
        ]

    warnings = []
    assert_right(load(change=change, warn=warnings.append, **SPLIT))
    assert warnings == ["labels with and without spaces around them are one class: a, b"]


@pytest.mark.parametrize(
    ("first", "second", "classes"), [("1", "1.0", ("0", "1")), ("1.00", "1.0", ("0", "1.0"))]
)
def test_one_number_written_in_two_ways_is_one_class_with_a_warning(load, first, second, classes):
    def change(rows):
        named = {"a": ("0", "0"), "b": (first, second)}
        return [rows[0], *([a, named[b][n % 2], c, d] for n, (a, b, c, d) in enumerate(rows[1:]))]

    warnings = []
    assert_right(load(change=change, warn=warnings.append, **SPLIT), classes)
    pair = sorted((first, second), key=len)
    assert warnings == [f"labels that are one number are one class: {pair[1]} is {pair[0]}"]


def test_numbers_that_pandas_wrote_with_a_point_are_the_classes_of_the_recipe(load):
    warnings = []
    splits = load(
        change=rename(a="0.0", b="1.0"), classes=["0", "1"], warn=warnings.append, **SPLIT
    )
    assert_right(splits, ("0", "1"))
    assert warnings == ["labels that are one number are one class: 0.0 is 0, 1.0 is 1"]


def test_labels_with_decimal_commas_have_the_order_of_numbers(load):
    splits = load(lambda rows: as_text(rows, ";"), change=rename(a="10,5", b="9"))
    assert splits.classes == ("9", "10,5")


def test_classes_that_differ_in_case_are_a_warning(load):
    warnings = []
    assert load(change=rename(a="Cat", b="cat"), warn=warnings.append).classes == ("Cat", "cat")
    (warning,) = warnings
    assert warning.startswith("the classes Cat and cat differ only in case")


SPLIT_COLUMNS = {
    "no test": (
        {"TEST": "train"},
        "val is used as the test split, as there is no other; validation images",
    ),
    "dev": ({"Val": "dev"}, None),
    "eval for test": ({"TEST": "Eval"}, "eval is used as the test split, as there is no other"),
    "eval for validation": ({"Val": "eval"}, "eval is used as the validation split"),
    "testing": ({"TEST": "testing", "train": "Training"}, None),
}


@pytest.mark.parametrize(("names", "message"), SPLIT_COLUMNS.values(), ids=SPLIT_COLUMNS.keys())
def test_splits_have_any_of_their_usual_names(load, names, message):
    def change(rows):
        return [rows[0], *([a, b, names.get(c, c), d] for a, b, c, d in rows[1:])]

    warnings = []
    splits = load(change=change, warn=warnings.append, **SPLIT)
    assert [text[: len(message or "")] for text in warnings] == [message] * bool(message)
    if "TEST" in names and names["TEST"] == "train":
        assert images(splits.test) == list(range(8, 16))
        assert sorted(images(splits.train) + images(splits.validation)) == [
            *range(8),
            *range(16, 40),
        ]
    else:
        assert_right(splits)


def without_extension(rows):
    return [rows[0], *([Path(a).stem, b, c, d] for a, b, c, d in rows[1:])]


def test_extensions_are_taken_from_the_folder_with_one_warning(load, tmp_path):
    for number in (3, 7):
        Image.open(tmp_path / f"{number:02}.png").save(tmp_path / f"{number:02}.BMP")
        (tmp_path / f"{number:02}.png").unlink()
    (tmp_path / "05.txt").touch()  # no image, so no second match
    warnings = []
    assert_right(load(change=without_extension, warn=warnings.append, **SPLIT))
    assert warnings == [
        "the table names 40 files without their extension; each is the only image of its name: "
        ".png (38), .BMP (2)"
    ]


def test_an_id_may_have_a_point(load, tmp_path):
    (tmp_path / "00.png").rename(tmp_path / "ISIC_0.1.png")

    def change(rows):
        return [rows[0], ["ISIC_0.1", *rows[1][1:]], *rows[2:]]

    warnings = []
    assert_right(load(change=change, warn=warnings.append, **SPLIT))
    assert warnings[0].startswith("the table names 1 file without its extension")


def test_an_id_that_is_two_files_is_an_error(load, tmp_path):
    shutil.copy(tmp_path / "05.png", tmp_path / "05.jpg")
    with pytest.raises(DataError) as caught:
        load(change=without_extension, **SPLIT)
    assert "  line 7: there is no file 05; write its extension: there are 05.jpg, 05.png\n" in str(
        caught.value
    )


def test_names_that_no_file_has_are_one_problem_with_a_hint(load, tmp_path):
    (tmp_path / "images").mkdir()
    for path in tmp_path.glob("*.png"):
        path.rename(tmp_path / "images" / path.name)

    with pytest.raises(DataError) as caught:
        load(**SPLIT)
    assert str(caught.value).splitlines()[:-1] == [
        f"{tmp_path / 'table.csv'}: 1 problem:",
        "  line 2: there is no file 00.png (did you mean images/00.png?); likewise 40 of 40 rows, "
        f"while data.images = {tmp_path} holds 40 images, such as images/00.png",
    ]
    assert_right(load(images=Path("images"), **SPLIT))


def test_a_name_in_another_case_is_an_error_with_a_hint(load):
    def change(rows):
        return [rows[0], ["00.PNG", *rows[1][1:]], *rows[2:]]

    with pytest.raises(
        DataError, match=r"line 2: there is no file 00\.PNG \(did you mean 00\.png\?\)"
    ):
        load(change=change, **SPLIT)


REFUSED = {
    "decimal commas between commas": (
        lambda rows: as_text([["x", *rows[0]], *(["0,5", *row] for row in rows[1:])]),
        "utf-8",
        "line 2: 6 fields, and too many in 40 rows, expected 5; put a field that holds the separ",
    ),
    "a quote that is not closed": (
        lambda rows: as_text(rows).replace("03.png,a", '03.png,"a'),
        "utf-8",
        "table.csv, line 5: unexpected end of data; quotes must enclose a whole field",
    ),
    "a quote within a field": (
        lambda rows: as_text(rows).replace("03.png,a", '03.png,"a"b'),
        "utf-8",
        "table.csv, line 5: ',' expected after '\"'; quotes must enclose a whole field",
    ),
    "a workbook": (lambda rows: "PK\x03\x04", "utf-8", "is a workbook or an archive; save the"),
    "no text": (lambda rows: "a\x81\x8d\x00", "latin-1", "is not text in UTF-8, UTF-16 or Windows"),
    "half of UTF-16": (lambda rows: "\xff\xfea", "latin-1", "is not text in UTF-8, UTF-16 or"),
    "only separators": (lambda rows: ",,,\n,,,\n", "utf-8", "has no column file, label, split; it"),
    "only sep=": (lambda rows: "sep=;\n", "utf-8", "has no column file, label, split; it has none"),
}


@pytest.mark.parametrize(("make", "encoding", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_read_is_one_error(load, make, encoding, message):
    with pytest.raises(DataError) as caught:
        load(make, encoding, **SPLIT)
    assert message in str(caught.value)
