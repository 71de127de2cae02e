"""Folders of classes: layouts, what is left out, and what stops the run."""

import shutil
from contextlib import contextmanager

import pytest
from loading import load_splits
from pictures import numbers, save_classes, save_number

from kdtool.errors import DataError
from kdtool.recipe.data import FolderTable


def load(root, warn=pytest.fail, **settings):
    return load_splits(FolderTable(source="folder", root=root, **{"size": 24, **settings}), warn)


def test_a_tree_of_classes_is_split_by_class_and_the_same_way_each_time(tree, tmp_path):
    splits = load(tree)
    assert splits.classes == ("a", "b", "ö c")
    result = splits.result
    assert result.class_counts == {"train": [7, 15, 7], "validation": [1, 1, 1], "test": [2, 4, 2]}
    everything = [
        n for name in ("train", "validation", "test") for n in numbers(getattr(splits, name))
    ]
    assert sorted(everything) == [*range(20), *range(100, 110), *range(200, 210)]
    for split in (splits.train, splits.validation, splits.test):
        assert [[1, 0, 2][n // 100] for n in numbers(split)] == split.labels.tolist()
    moved = shutil.copytree(tree, tmp_path / "other place" / "set")
    assert load(moved).result == result
    assert load(tree, test=0.5, validation=0.2).result.class_counts["test"] == [5, 10, 5]


@pytest.mark.parametrize("validation", [None, "validation", "VAL"])
def test_split_folders_are_kept(tree, validation):
    for name in ("b", "a"):
        for index in range(5):
            save_number(tree / "Test" / name, f"{index}", 300 + index)
            if validation:
                save_number(tree / validation / name, f"{index}", 400 + index)
        (tree / "train").mkdir(exist_ok=True)
        (tree / name).rename(tree / "train" / name)
    shutil.rmtree(tree / "ö c")
    warnings = []  # both classes of a split hold the same pictures
    splits = load(tree, warn=warnings.append)
    assert sorted(numbers(splits.test)) == sorted([*range(300, 305)] * 2)
    if validation:
        assert sorted(numbers(splits.validation)) == sorted([*range(400, 405)] * 2)
        assert sorted(numbers(splits.train)) == [*range(20), *range(100, 110)]
    else:
        assert splits.result.class_counts["validation"] == [1, 2]
        assert len(splits.train) == 27
    (warning,) = warnings
    assert "images have another label than an identical image, such as" in warning


def test_images_of_every_kind_are_read_and_system_files_left_out(tmp_path):
    save_classes(tmp_path / "set", 24)
    (tmp_path / "set" / ".DS_Store").touch()
    (tmp_path / "set" / "disc" / "Thumbs.db").touch()
    (tmp_path / "set" / "disc" / "deeper").mkdir()
    shutil.move(tmp_path / "set" / "disc" / "003.png", tmp_path / "set" / "disc" / "deeper")
    warnings = []
    splits = load(tmp_path / "set", warn=warnings.append)
    assert warnings == [
        "left out 2 hidden or system files and folders: .DS_Store (1), Thumbs.db (1)"
    ]
    assert splits.result.image_shape == (3, 24, 24)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (34, 4, 10)
    discs = splits.train.images[splits.train.labels == 1]
    # The middle of a disc is dark in every file, however it was stored.
    assert discs[:, :, 12, 12].float().mean(dim=1).max() < 140


def test_what_is_in_no_class_is_left_out_with_a_warning(tree):
    (tree / "README.txt").touch()
    for name in ("train", "test"):
        for label, kind in enumerate(("x", "y")):
            for index in range(4):
                save_number(
                    tree / name / kind, f"{index}", 10 * label + 100 * (name == "test") + index
                )
    (tree / "train" / "list.csv").touch()
    warnings = []
    assert load(tree, warn=warnings.append, validation=0.3).classes == ("x", "y")
    assert warnings == [
        "left out, as they are no images in the folder of a class: README.txt, a, b, "
        "train/list.csv, ö c"
    ]


def test_notes_next_to_the_images_are_left_out_with_a_warning(tree):
    (tree / "a" / "README.txt").write_text("from the shed")
    (tree / "b" / "deeper").mkdir()
    (tree / "b" / "deeper" / "LIST.CSV").touch()
    warnings = []
    assert load(tree, warn=warnings.append).result.num_test == 8
    assert warnings == [
        "left out, as they are no images in the folder of a class: a/README.txt, b/deeper/LIST.CSV"
    ]


def test_broken_files_are_left_out_as_if_they_had_been_deleted(tree):
    broken = [tree / "a" / f"{index}.png" for index in (0, 4, 5)] + [tree / "b" / "12.png"]
    for path in broken:
        path.write_bytes(path.read_bytes()[:60])
    skipped = load(tree, warn=lambda _: None, skip_broken=True)
    for path in broken:
        path.unlink()
    deleted = load(tree)
    assert skipped.result.fingerprint == deleted.result.fingerprint
    assert numbers(skipped.validation) == numbers(deleted.validation)
    assert skipped.result.description == "images in set, without 4 broken"


def test_a_class_of_broken_files_is_reported_as_such(tree):
    for index in range(9):
        (tree / "a" / f"{index}.png").write_bytes(b"")
    with pytest.raises(
        DataError, match="images in set, without 9 broken: only one train image of class a"
    ):
        load(tree, skip_broken=True)


def test_progress_goes_to_the_last_file(tree):
    seen = {}

    @contextmanager
    def progress(title, total):
        yield lambda done, text: seen.setdefault((title, total), []).append((done, text))

    load_splits(FolderTable(source="folder", root=tree, size=24), pytest.fail, progress)
    assert list(seen) == [("checking the files", 40), ("reading the images", 40)]
    for calls in seen.values():
        assert [done for done, _ in calls] == list(range(1, 41))
        assert calls[-1][1] == "40 of 40"


def test_broken_files_and_duplicates_are_reported_by_name(tree):
    (tree / "a" / "broken.png").touch()
    for copy in range(12):
        shutil.copy(tree / "a" / "3.png", tree / "b" / f"copy{copy}.png")
    with pytest.raises(DataError, match=r"1 of 53 files is broken:\n  a/broken.png: an empty file"):
        load(tree)
    warnings = []
    result = load(tree, warn=warnings.append, skip_broken=True).result
    assert result.warnings == warnings
    assert warnings[0] == "1 of 53 files is broken and left out: a/broken.png (an empty file)"
    assert "images are exact copies of images in another split, such as b/copy" in warnings[1]


def test_a_link_to_a_file_of_the_set_is_followed(tree):
    (tree / "a" / "10.png").symlink_to(tree / "a" / "9.png")
    assert load(tree, warn=lambda _: None).result.class_counts["train"][0] in (7, 8)


def written(path):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"no picture")


def one_class(tree):
    shutil.rmtree(tree / "a")
    shutil.rmtree(tree / "ö c")


def split_folders(*names, classes="ab"):
    def make(tree):
        for name in names:
            for label, one in enumerate(classes, start=1):
                save_number(tree / name / one, f"{label}", label)

    return make


def flat_folders(*names):
    def make(tree):
        for name in names:
            save_number(tree / name, "1", 1)

    return make


def only(*changes):
    """These folders, and none of the classes of the tree."""

    def make(tree):
        shutil.rmtree(tree)
        for change in changes:
            change(tree)

    return make


def new_class_in_test(tree):
    split_folders("train", "test")(tree)
    save_number(tree / "train" / "b", "3", 4)
    save_number(tree / "test" / "new", "3", 3)


def validation_lacks(tree):
    split_folders("train", "test", "validation")(tree)
    shutil.rmtree(tree / "validation" / "b")


def wrapped(tree):
    (tree / "pictures").mkdir()
    for name in ("a", "b", "ö c"):
        (tree / name).rename(tree / "pictures" / name)


def link(where, to):
    return lambda tree: (tree / where).symlink_to(to)


BAD = {
    "nothing": (lambda tree: [shutil.rmtree(path) for path in tree.iterdir()], "holds no images"),
    "absent": (shutil.rmtree, "there is no "),
    "one class": (one_class, "images in set: got the classes b; expected at least two"),
    "empty class": (lambda tree: (tree / "d").mkdir(), "no image of class d in the train split"),
    "one picture": (
        lambda tree: save_number(tree / "d", "1", 1),
        "only one train image of class d",
    ),
    "test lacks": (
        split_folders("train"),
        "cannot decide whether the folder train, with the folders a, b, is a split or a class",
    ),
    "two trains": (
        split_folders("train", "Training", "test"),
        "got the folders Training, test, train; expected each split once: train, test (or val) and",
    ),
    "val twice": (
        split_folders("train", "val", "dev", "test"),
        "got the folders dev, test, train, val",
    ),
    "eval next to val and test": (
        split_folders("train", "val", "eval", "test"),
        "got the folders eval, test, train, val, two of one split",
    ),
    "test apart from train": (
        only(split_folders("train", "holdout")),
        "cannot decide whether the folder train, with the folders a, b, is a split or a class",
    ),
    "train and test without classes": (
        only(flat_folders("train", "test")),
        "test holds 1 file and no folders; train holds 1 file and no folders; expected the same",
    ),
    "test without classes": (
        only(split_folders("train"), flat_folders("test")),
        "test holds 1 file and no folders; train holds the folders a, b; expected the same",
    ),
    "test without classes, and more": (
        only(split_folders("train"), flat_folders("test", "more")),
        "cannot decide whether the folder train, with the folders a, b, is a split or a class",
    ),
    "classes of two names": (
        only(split_folders("train"), split_folders("test", classes="AB")),
        "test holds the folders A, B; train holds the folders a, b; expected the same folders of",
    ),
    "validation without train": (
        only(split_folders("val", "test")),
        "test holds the folders a, b; val holds the folders a, b; expected the same folders of",
    ),
    "new class in test": (new_class_in_test, "no image of class new in the train split"),
    "validation lacks": (
        validation_lacks,
        "2 classes, but validation images: 1; expected at least one of each class",
    ),
    "one folder around all": (
        wrapped,
        "the folders in pictures are the classes, use --set data.root=",
    ),
    "notes only": (lambda tree: written(tree / "d" / "notes.txt"), "no image of class d"),
    "a film": (
        lambda tree: written(tree / "a" / "film.mp4"),
        "a/film.mp4: not an image that Pillow can read; it begins with the text",
    ),
    "link outwards": (
        link("a/out.png", "/etc/hostname"),
        "to files below data.root = ",
    ),
    "link to a folder": (
        link("d", "a"),
        "d is a link to a folder, a; replace it by the folder itself",
    ),
    "deeper link to a folder": (
        link("a/d", "../b"),
        "  a/d -> ../b\nreplace each link by the file",
    ),
    "link to itself": (link("a/x.png", "x.png"), "a/x.png: there is no such file"),
    "unprintable class": (
        lambda tree: save_number(tree / "d\n", "1", 1),
        r"'d\n' cannot be printed",
    ),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD.keys())
def test_folders_that_cannot_be_used_have_their_message(tree, change, message):
    change(tree)
    with pytest.raises(DataError) as caught:
        load(tree, warn=lambda _: None)
    assert message in str(caught.value)


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path):
    (tmp_path / "set.zip").touch()
    with pytest.raises(DataError, match=r"set\.zip is a file; expected train/CLASS/"):
        load(tmp_path / "set.zip")


def test_a_shortage_of_memory_and_disk_is_reported_before_reading(tree):
    with pytest.raises(DataError, match=r"the decoded images take 97\.2 TB, .* are free; set the"):
        load(tree, size=900_000)


def test_the_same_size_is_not_needed_where_all_are_equal(tree):
    assert load(tree, size=None).result.image_shape == (3, 27, 33)
