"""What init finds in folders, tables and arrays, and the recipe that it writes; without PyTorch."""

import csv
import shutil
import tomllib

import numpy as np
import pytest
from cifar_sets import cifar_arrays, write_cifar
from pictures import draw, save_classes, save_mhist, save_number, save_splits
from PIL import Image

from kdtool.errors import KdtoolError
from kdtool.recipe.load import load_recipe
from kdtool.train.pipeline.look import init
from kdtool.train.reporter import Silent


def suggested(place, tmp_path):
    """The recipe that is written for `place`, read as any command reads it, and its text."""
    out = tmp_path / "recipe.toml"
    looked = init(place, out, Silent())
    text = out.read_text()
    assert all(len(line) <= 110 for line in text.splitlines())
    return load_recipe(out), text, looked


def save_arrays(path, num_train=200, **changes):
    arrays = {
        "train_images": np.zeros((num_train, 28, 28), np.uint8),
        "train_labels": np.arange(num_train) % 2,
        "val_images": np.zeros((60, 28, 28), np.uint8),
        "val_labels": np.arange(60) % 2,
        "test_images": np.zeros((50, 28, 28), np.uint8),
        "test_labels": np.arange(50) % 2,
    }
    np.savez(path, **(arrays | changes))


def test_pictures_of_many_sizes_get_one_size_and_pretrained_networks(tmp_path):
    save_classes(tmp_path / "my photos", 20)
    recipe, text, looked = suggested(tmp_path / "my photos", tmp_path)
    assert recipe.name == "my-photos"
    assert recipe.data.root == tmp_path / "my photos"
    assert 'root = "my photos"' in text  # relative to the recipe, so that both can be moved
    shorter = [min(size) for size, number in looked.sizes.items() for _ in range(number)]
    assert recipe.data.size == 48 <= np.median(shorter)
    assert recipe.teacher.model == "torchvision:resnet18"
    assert recipe.student.weights == "imagenet"
    assert len(recipe.seeds) == 5
    assert looked.num_images == {"train": 26, "validation": 6, "test": 8}


def test_small_pictures_that_are_split_get_small_networks_from_random_weights(tmp_path):
    save_splits(tmp_path / "data", ["train", "validation", "test"])
    recipe, text, looked = suggested(tmp_path / "data", tmp_path)
    assert looked.num_images == {"train": 10, "validation": 10, "test": 10}
    assert "as the data are split" in text
    assert (recipe.data.size, recipe.data.augment) == (None, [])
    assert (recipe.teacher.model, recipe.student.model) == ("mnist-cnn", "mnist-cnn-small")
    assert recipe.teacher.weights is None


@pytest.mark.parametrize(
    ("num_rare", "metric", "weights"),
    [
        (20, "accuracy", "none"),
        (12, "balanced_accuracy", "none"),
        (6, "balanced_accuracy", "balanced"),
    ],
)
def test_uneven_classes_change_the_metric_and_then_the_weights(tmp_path, num_rare, metric, weights):
    for index in range(20):
        save_number(tmp_path / "data" / "often", index, index)
    for index in range(num_rare):
        save_number(tmp_path / "data" / "rare", index, 100 + index)
    recipe, text, _ = suggested(tmp_path / "data", tmp_path)
    assert (recipe.metric, recipe.student.class_weights) == (metric, weights)
    assert recipe.teacher.class_weights == recipe.student.class_weights
    assert ("Positive class: rare" in text) == (num_rare < 20)


def test_a_table_is_found_with_its_columns(tmp_path):
    save_mhist(tmp_path / "mhist", 40, 20, 64)
    recipe, text, looked = suggested(tmp_path / "mhist", tmp_path)
    assert (recipe.data.source, str(recipe.data.csv)) == ("csv", "annotations.csv")
    assert str(recipe.data.images) == "images"
    assert recipe.data.columns.model_dump() == {
        "file": "Image Name", "label": "Majority Vote Label", "split": "Partition",
    }  # fmt: skip
    assert "other columns that could be the class: Number of Annotators" in text
    assert looked.num_images["test"] == 20


def save_clinic(folder):
    (folder / "pics").mkdir(parents=True)
    rows = [("File", "patientID", "Age", "Diagnosis")]
    for k in range(60):
        draw("disc", k).resize((32, 32)).save(folder / "pics" / f"{k}.png")
        rows.append((f"{k}", f"p{k // 3}", 20 + k % 30, "ill" if k // 3 % 2 else "well"))
    with (folder / "table.csv").open("w") as file:
        csv.writer(file, delimiter=";").writerows(rows)
    (folder / "other.csv").write_text("a,b\n1,2\n")


@pytest.mark.parametrize("place", ["clinic", "clinic/table.csv", "clinic/table.tsv"])
def test_images_of_one_patient_stay_together(tmp_path, place):
    save_clinic(tmp_path / "clinic")
    if place.endswith(".tsv"):
        (tmp_path / "clinic" / "table.csv").rename(tmp_path / place)
    recipe, *_ = suggested(tmp_path / place, tmp_path)
    assert (recipe.data.group_by, recipe.data.columns.label) == ("patientID", "Diagnosis")


@pytest.mark.parametrize("place", ["data", "data/set.npz"])
def test_arrays_and_idx_files_are_found(tmp_path, write_idx_set, place):
    (tmp_path / "data").mkdir()
    save_arrays(tmp_path / "data" / "set.npz")
    recipe, _, looked = suggested(tmp_path / place, tmp_path)
    assert (recipe.data.source, str(recipe.data.file)) == ("npz", "set.npz")
    assert looked.num_images == {"train": 200, "validation": 60, "test": 50}
    write_idx_set(tmp_path / "idx", size=28, num_train=200, packed=True)
    recipe, _, looked = suggested(tmp_path / "idx", tmp_path)
    assert recipe.data.source == "idx"
    assert looked.num_images == {"train": 160, "validation": 40, "test": 20}
    assert recipe.data.validation == 40


@pytest.mark.parametrize("kind", ["binary", "npm"])
def test_the_files_of_cifar_are_found(tmp_path, kind):
    folder = write_cifar(tmp_path, kind, cifar_arrays(10, num_train=200, num_test=50))
    recipe, _, looked = suggested(folder, tmp_path)
    assert recipe.data.source == "cifar10"
    assert looked.num_images == {"train": 160, "validation": 40, "test": 50}
    assert looked.sizes == {(32, 32): 250}
    assert "CIFAR-10 has 50,000 and 10,000" in looked.notes[0]


def test_a_folder_around_the_classes_is_entered(tmp_path):
    save_splits(tmp_path / "zip" / "data", ["train", "test"])
    recipe, *_ = suggested(tmp_path / "zip", tmp_path)
    assert recipe.data.root == tmp_path / "zip" / "data"


def test_few_broken_files_are_left_out_and_named(tmp_path):
    save_classes(tmp_path / "data", 20)
    (tmp_path / "data" / "cross" / "000.jpg").write_bytes(b"")
    torn = tmp_path / "data" / "disc" / "001.png"
    torn.write_bytes(torn.read_bytes()[:-90])
    recipe, text, looked = suggested(tmp_path / "data", tmp_path)
    assert recipe.data.skip_broken
    assert [one.split(" ")[0] for one in looked.broken] == ["cross/000.jpg", "disc/001.png"]
    assert "cross/000.jpg (an empty file); disc/001.png (it is damaged or truncated" in text
    assert looked.counts == {"cross": 19, "disc": 19}


def test_any_name_of_a_class_or_folder_is_written_as_toml(tmp_path):
    for index, name in enumerate(['=c"\\', "#x ü", "[a]"]):
        for k in range(5):
            save_number(tmp_path / 'a "b"#' / name, k, 10 * index + k)
    recipe, text, looked = suggested(tmp_path / 'a "b"#', tmp_path)
    assert recipe.data.root == tmp_path / 'a "b"#'
    assert set(looked.counts) == {'=c"\\', "#x ü", "[a]"}
    assert tomllib.loads(text)["name"] == recipe.name == "a-b"


def one_class(root):
    save_classes(root, 3)
    shutil.rmtree(root / "disc")


def two_images(root):
    save_splits(root, ["."], count=2)


def empty_class(root):
    save_classes(root, 3)
    (root / "third").mkdir()


def notes_only(root):
    for name in ("a", "b"):
        (root / name).mkdir()
        (root / name / "notes.txt").write_text("no image")


def all_broken(root):
    for name in ("a", "b"):
        (root / name).mkdir()
        for k in range(3):
            (root / name / f"{k}.png").write_bytes(b"\x89PNG torn")


def broken_arrays(root):
    (root / "a.npz").write_bytes(b"no zip")


def several_arrays(root):
    save_arrays(root / "a.npz")
    save_arrays(root / "b.npz")


def several_tables(root):
    save_clinic(root / "x")
    shutil.move(root / "x" / "pics", root / "pics")
    for name in "ab":
        shutil.copy(root / "x" / "table.csv", root / f"{name}.csv")
    shutil.rmtree(root / "x")


def table_elsewhere(root):
    root.rmdir()
    save_clinic(root)
    (root / "other.csv").unlink()
    (root / "table.csv").rename(root.parent / "elsewhere.csv")
    (root / "table.csv").symlink_to("../elsewhere.csv")


def table_with_one_class(root):
    for k in range(4):
        save_number(root, k, k)
    (root / "t.csv").write_text("file,kind\n" + "".join(f"{k}.png,a\n" for k in range(4)))


def name_that_is_no_text(root):
    save_splits(root / "\udcff", ["train", "test"])


def images_without_folders(root):
    Image.new("L", (9, 9)).save(root / "a.png")


REFUSED = [
    (one_class, "has images of one class only, cross; a classifier needs at least two"),
    (two_images, "only one train image of class"),
    (empty_class, "no image of class third"),
    (notes_only, "holds no images in folders; expected train/CLASS/"),
    (all_broken, "6 of 6 files in"),
    (broken_arrays, "a.npz is corrupt or not a numeric .npz"),
    (several_arrays, "has several .npz files: a.npz, b.npz; name the one to use"),
    (several_tables, "has several tables that name its images: a.csv, b.csv; name the one to use"),
    (table_elsewhere, "elsewhere.csv; expected a table in the folder of the images, "),
    (table_with_one_class, "no column can be the class"),
    (name_that_is_no_text, "is not text in UTF-8; rename it"),
    (images_without_folders, "holds 1 file and no folders; expected a folder of images for each"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=lambda one: getattr(one, "__name__", ""))
def test_what_no_study_can_be_made_of_is_an_error_and_writes_nothing(tmp_path, make, message):
    (tmp_path / "data").mkdir()
    make(tmp_path / "data")
    with pytest.raises(KdtoolError) as caught:
        init(tmp_path / "data", tmp_path / "recipe.toml", Silent())
    assert message in str(caught.value)
    assert not (tmp_path / "recipe.toml").exists()
