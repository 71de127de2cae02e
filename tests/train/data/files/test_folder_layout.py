"""Folders of classes: which are splits, which are classes, and which are made by systems."""

import shutil

import pytest
from loading import load_splits
from pictures import numbers, save_number, save_splits

from kdtool.recipe.data import FolderTable


def load(root, warn=pytest.fail, **settings):
    return load_splits(FolderTable(source="folder", root=root, **{"size": 24, **settings}), warn)


def thousands(split):
    """The folder, by its place in `split_tree`, that each image comes from."""
    return {number // 1000 for number in numbers(split)}


@pytest.mark.parametrize(
    "held_out", ["val", "valid", "validation", "dev", "eval", "VAL", "Validation", "evaluation"]
)
def test_without_a_test_folder_the_validation_folder_is_the_test_split(tmp_path, held_out):
    save_splits(tmp_path / "set", ["train", held_out])
    warnings = []
    splits = load(tmp_path / "set", warn=warnings.append, validation=0.2)
    assert warnings == splits.result.warnings
    assert warnings == [
        f"{held_out} is used as the test split, as there is no other; validation images are drawn "
        "from train (data.validation)"
    ]
    assert splits.result.class_counts == {"train": [4, 4], "validation": [1, 1], "test": [5, 5]}
    assert thousands(splits.train) == thousands(splits.validation) == {0}
    assert thousands(splits.test) == {1}


@pytest.mark.parametrize(
    ("folders", "validation", "test", "warnings"),
    [
        (("train", "val", "test"), 1, 2, []),
        (("Train", "VAL", "TEST"), 1, 2, []),
        (("training", "dev", "testing"), 1, 2, []),
        (("train", "dev", "eval"), 1, 2, ["eval is used as the test split, as there is no other"]),
        (("train", "eval", "test"), 1, 2, ["eval is used as the validation split"]),
    ],
)
def test_with_three_folders_each_is_one_split(tmp_path, folders, validation, test, warnings):
    save_splits(tmp_path / "set", folders)
    said = []
    splits = load(tmp_path / "set", warn=said.append)
    assert said == warnings
    assert thousands(splits.train) == {0}
    assert thousands(splits.validation) == {validation}
    assert thousands(splits.test) == {test}


def test_test_images_without_folders_of_classes_are_left_out(tmp_path):
    save_splits(tmp_path / "set", ["train", "val"])
    save_number(tmp_path / "set" / "test", "unlabelled", 7000)
    warnings = []
    splits = load(tmp_path / "set", warn=warnings.append, validation=0.2)
    assert thousands(splits.test) == {1}
    assert warnings == [
        "val is used as the test split, as there is no other; validation images are drawn from "
        "train (data.validation)",
        "left out, as they are no images in the folder of a class: test",
    ]


@pytest.mark.parametrize(
    ("deeper", "classes"),
    [((), ("bus", "train")), (("steam", "electric"), ("bus", "train"))],
    ids=["images", "folders"],
)
@pytest.mark.parametrize("name", ["train", "Test"])
def test_a_class_may_have_the_name_of_a_split(tmp_path, name, deeper, classes):
    for index in range(10):
        save_number(tmp_path / "bus", f"{index}", index)
        save_number(tmp_path.joinpath(name, *deeper[: 1 + index % 2]), f"{index}", 100 + index)
    warnings = []
    splits = load(tmp_path, warn=warnings.append)
    assert sorted(splits.classes, key=str.lower) == ["bus", name]
    assert warnings == [
        f"{name}: taken for a class, not a split, as no train folder and test (or val) folder hold "
        "the same classes"
    ]
    for split in (splits.train, splits.validation, splits.test):
        named = [splits.classes[label] for label in split.labels]
        assert named == [name if number >= 100 else "bus" for number in numbers(split)]


def test_classes_may_have_the_names_of_all_splits(tmp_path):
    for label, name in enumerate(("train", "test", "bus")):
        for index in range(20):
            save_number(tmp_path / name, f"{index}", 100 * label + index)
    warnings = []
    assert load(tmp_path, warn=warnings.append).classes == ("bus", "test", "train")
    assert warnings[0].startswith("test, train: taken for classes, not splits")


def test_a_class_in_split_folders_may_have_the_name_of_a_split(tmp_path):
    save_splits(tmp_path, ["train", "val", "test"], classes=("test", "train"))
    splits = load(tmp_path)
    assert splits.classes == ("test", "train")
    assert splits.result.class_counts["test"] == [5, 5]


SYSTEM = {
    "@eaDir": "a/@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg",
    "#recycle": "#recycle/0.png",
    "#snapshot": "#snapshot/0.png",
    "@Recycle": "@Recycle/0.png",
    "@Recently-Snapshot": "@Recently-Snapshot/0.png",
    ".@__thumb": "a/.@__thumb/0.png",
    ".AppleDouble": "a/.AppleDouble/0.png",
    "__MACOSX": "__MACOSX/0.png",
    "._*": "a/._0.png",
    ".DS_Store": "a/.DS_Store",
    "Icon": "a/Icon\r",
    "Thumbs.db": "a/Thumbs.db",
    "desktop.ini": "a/desktop.ini",
    "$RECYCLE.BIN": "$RECYCLE.BIN/0.png",
    "System Volume Information": "System Volume Information/x",
    "lost+found": "lost+found/0.png",
    ".thumbnails": "a/.thumbnails/0.png",
    ".Trash-*": ".Trash-1000/files/0.png",
    ".ipynb_checkpoints": "a/.ipynb_checkpoints/0.png",
    "__pycache__": "__pycache__/x.pyc",
    ".hidden.png": "a/.hidden.png",
}


@pytest.mark.parametrize(("kind", "path"), SYSTEM.items(), ids=SYSTEM.keys())
@pytest.mark.parametrize("layout", ["classes", "splits"])
def test_each_kind_of_system_file_is_left_out(tree, tmp_path, kind, path, layout):
    if layout == "splits":
        shutil.rmtree(tree)
        save_splits(tree, ["train", "val", "test"], classes=("a", "b"))
        places = (tree / "train", tree / "test")
    else:
        places = (tree,)
    expected = load(tree).result
    for place in places:
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(next(tree.rglob("0.png")), place / path)
    warnings = []
    result = load(tree, warn=warnings.append).result
    noun = "file or folder" if layout == "classes" else "files and folders"
    assert warnings == [f"left out {len(places)} hidden or system {noun}: {kind} ({len(places)})"]
    assert result.fingerprint == expected.fingerprint


def test_system_files_are_reported_in_one_warning_with_their_numbers(tree):
    for path in SYSTEM.values():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).touch()
    (tree / "a" / "._1.png").touch()
    (tree / "b" / "@eaDir").mkdir()
    warnings = []
    load(tree, warn=warnings.append)
    (warning,) = warnings
    assert warning.startswith(f"left out {len(SYSTEM) + 2} hidden or system files and folders: ")
    assert "._* (2)" in warning
    assert warning.endswith(f" and {len(SYSTEM) - 10} more")
