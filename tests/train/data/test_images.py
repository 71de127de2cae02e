"""Image files of all kinds become arrays of one shape, or are listed as broken."""

import errno
import os
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loading import no_progress
from pictures import SORTS, draw, save
from PIL import Image, PngImagePlugin

from kdtool.edge.portable.picture import fit
from kdtool.errors import DataError
from kdtool.recipe.data import FolderTable
from kdtool.train.data.images import read_pictures
from kdtool.train.data.large.shards import Member


def read(paths, **settings):
    table = FolderTable(source="folder", root=paths[0].parent, **settings)
    return read_pictures(paths, [path.name for path in paths], table, no_progress)


@pytest.mark.parametrize("sort", range(len(SORTS)), ids=lambda sort: "".join(SORTS[sort]))
def test_a_picture_is_the_same_in_every_sort_of_file(tmp_path, sort):
    picture = draw("disc", 3).convert("L").convert("RGB")
    if SORTS[sort][1] == "1":
        picture = picture.convert("1").convert("RGB")
    images = read([save(picture, tmp_path, "a", sort)], channels=3).images
    difference = np.abs(images[0].astype(int) - np.asarray(picture).transpose(2, 0, 1))
    assert np.median(difference) <= 2  # what JPEG and a palette cost
    assert difference.mean() < 5


def test_grey_pictures_have_one_channel_and_one_in_colour_makes_it_three(tmp_path):
    grey = [save(draw("disc", 3), tmp_path, f"{sort}", sort) for sort in (2, 6, 7, 8, 10)]
    assert read(grey).images.shape[:2] == (5, 1)
    colour = save(draw("disc", 3), tmp_path, "c", 0)
    assert read([*grey, colour]).images.shape[:2] == (6, 3)
    assert read([*grey, colour], channels=1).images.shape[:2] == (6, 1)


def scaled_and_cropped(image, size):
    """The shorter side as torchvision's Resize does it, then CenterCrop."""
    short = min(image.size)
    whole = image.resize(
        tuple(size * side // short for side in image.size), Image.Resampling.BILINEAR
    )
    left, top = (whole.width - size) // 2, (whole.height - size) // 2
    return np.asarray(whole.crop((left, top, left + size, top + size)))


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 64))
def test_fit_is_scaling_the_shorter_side_and_cropping_the_centre(width, height, size):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    expected = scaled_and_cropped(image, size)
    assert np.abs(np.asarray(fit(image, size, size)).astype(int) - expected).max() <= 1


def test_images_are_scaled_to_the_size_with_a_warning_for_small_ones(tmp_path):
    paths = [save(draw("disc", seed), tmp_path, f"{seed}", 9) for seed in range(4)]
    Image.new("RGB", (20, 50)).save(tmp_path / "small.png")
    pictures = read([*paths, tmp_path / "small.png"], size=32)
    assert pictures.images.shape == (5, 3, 32, 32)
    for image, path in zip(pictures.images, paths, strict=False):
        expected = scaled_and_cropped(Image.open(path), 32)
        assert np.abs(image.transpose(1, 2, 0).astype(int) - expected).max() <= 1
    (warning,) = pictures.warnings
    assert warning == "1 of 5 images are smaller than data.size = 32 and are enlarged"


def test_only_pictures_that_were_read_are_counted(tmp_path):
    good = save(draw("disc", 0), tmp_path, "good", 9)
    Image.new("RGB", (20, 20)).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:-300])
    pictures = read([good, tmp_path / "cut.jpg"], size=16, skip_broken=True)
    assert len(pictures.images) == 1
    (warning,) = pictures.warnings
    assert warning.startswith("1 of 2 files is broken and left out: cut.jpg (")


def test_a_very_long_picture_takes_no_memory_for_what_is_cropped_away(tmp_path):
    Image.new("L", (1, 60_000), 7).save(tmp_path / "long.png")
    # Scaled as a whole it would have 224 x 13,440,000 pixels.
    images = read([tmp_path / "long.png"], size=224).images
    assert (images == 7).all()


def test_images_of_one_size_keep_it_and_of_several_are_an_error(tmp_path):
    for name, size in {"a": (30, 20), "b": (30, 20), "c": (31, 20)}.items():
        Image.new("L", size).save(tmp_path / f"{name}.png")
    a, b, c = (tmp_path / f"{name}.png" for name in "abc")
    assert read([a, b]).images.shape == (2, 1, 20, 30)
    with pytest.raises(DataError) as caught:
        read([a, b, c])
    assert str(caught.value) == (
        "images differ in size (30 x 20: 2, such as b.png; 31 x 20: 1, such as c.png). "
        "Set data.size=224 (--set data.size=224) to resize and centre-crop them."
    )


def test_broken_files_and_several_sizes_are_reported_at_once(tmp_path):
    for width in range(10, 15):
        Image.new("L", (width, 20)).save(tmp_path / f"{width}.png")
    (tmp_path / "broken.png").write_bytes(b"# kdtool")
    with pytest.raises(DataError) as caught:
        read(sorted(tmp_path.iterdir()))
    lines = str(caught.value).splitlines()
    assert lines[:2] == [
        "1 of 6 files is broken:",
        "  broken.png: not an image that Pillow can read; it begins with the text '# kdtool'",
    ]
    assert lines[-1].startswith("images differ in size (10 x 20: 1, such as 10.png; ")
    assert "; 2 more sizes). Set data.size=224 " in lines[-1]
    with pytest.raises(DataError, match=r"^images differ in size"):
        read(sorted(tmp_path.iterdir()), skip_broken=True)


def test_photos_turned_by_their_metadata_have_one_size(tmp_path):
    rows = np.linspace(0, 255, 30)[:, None] * np.ones(20)
    upright = Image.fromarray(rows.astype(np.uint8))
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[0x0112] = 6
    for suffix in ("jpg", "png", "webp", "tif"):
        turned.save(tmp_path / f"turned.{suffix}", exif=exif)
    upright.save(tmp_path / "upright.png")
    images = read(sorted(tmp_path.iterdir()), channels=1).images
    assert images.shape == (5, 1, 30, 20)
    assert np.abs(images.astype(int) - images[-1]).max() <= 8  # upright.png, but for compression


@pytest.mark.parametrize(("brightest", "is_warned"), [(4095, True), (4096, False)])
def test_images_of_12_bits_in_files_of_16_are_a_warning(tmp_path, brightest, is_warned):
    pixels = np.array([[0, 100], [brightest, 17]], dtype=np.uint16)
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    Image.fromarray(np.full((2, 2), 255, np.uint8)).save(tmp_path / "bright.png")
    pictures = read([tmp_path / "deep.png", tmp_path / "bright.png"])
    assert pictures.images[0, 0].tolist() == (pixels >> 8).tolist()
    dark = [text for text in pictures.warnings if "multiply the values by 16" in text]
    assert [text[:42] for text in dark] == is_warned * [
        "1 of 2 images have 16 bits a pixel but use"
    ]


@pytest.mark.parametrize("suffix", ["gif", "webp", "tif", "png"])
def test_the_first_image_of_several_in_a_file_is_used(tmp_path, suffix):
    shades = [Image.new("L", (30, 20), shade) for shade in (40, 90, 200)]
    path = tmp_path / f"film.{suffix}"
    shades[0].save(path, save_all=True, append_images=shades[1:])
    with Image.open(path) as file:
        assert file.n_frames == 3
    assert np.abs(read([path], channels=1).images.astype(int) - 40).max() <= 2


def whole(folder, name="whole.png", size=(64, 64)):
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / name)
    return folder / name


def written(content):
    def make(path):
        path.write_bytes(content)

    return make


def cut(name):
    def make(path):
        content = whole(path.parent, f"whole-{name}").read_bytes()
        path.write_bytes(content[: len(content) // 2])

    return make


# File -> how it is made, and the reason in the message.
BROKEN = {
    "empty.png": (written(b""), "an empty file"),
    "notes.txt": (
        written(b"not a picture"),
        "not an image that Pillow can read; it begins with the text 'not a picture'",
    ),
    "cut.jpg": (cut("cut.jpg"), "truncated"),
    "cut.png": (cut("cut.png"), "truncated"),
    "bomb.png": (
        lambda path: Image.new("1", (10_000, 10_000)).save(path),
        "exceeds limit of 89478485 pixels",
    ),
    "float.tif": (
        lambda path: Image.fromarray(np.ones((9, 9), np.float32)).save(path),
        "32 bits of unknown range, expected 8 or 16",
    ),
    "deep.tif": (
        lambda path: Image.fromarray(np.full((9, 9), 1 << 20, np.int32)).save(path),
        "its pixels have 32 bits of unknown range",
    ),
    "program.png": (
        lambda path: Image.new("RGB", (9, 9)).save(path, "EPS"),
        "an EPS file is a program; save it as PNG",
    ),
    "lost.png": (lambda path: path.symlink_to(path.parent / "nowhere.png"), "no such file"),
    "pipe.png": (os.mkfifo, "no such file"),
    "folder.png": (lambda path: path.mkdir(), "no such file"),
}


@pytest.fixture
def broken(tmp_path):
    """Broken files between two that are whole."""
    (tmp_path / "set").mkdir()
    paths = [tmp_path / "set" / name for name in BROKEN]
    for path, (make, _) in zip(paths, BROKEN.values(), strict=True):
        make(path)
    images = tmp_path / "images"
    images.mkdir()
    return [whole(images, "first.png"), *paths, whole(images, "last.png", (70, 64))]


def test_all_broken_files_are_listed_with_their_reasons(broken):
    with pytest.raises(DataError) as caught:
        read(broken, size=32)
    head, *lines, advice = str(caught.value).splitlines()
    assert head == f"{len(BROKEN)} of {len(BROKEN) + 2} files are broken:"
    for line, (name, (_, reason)) in zip(lines, BROKEN.items(), strict=True):
        assert line.startswith(f"  {name}: ")
        assert reason in line
    assert "--set data.skip_broken=true" in advice


def test_broken_files_can_be_left_out_with_a_warning(broken):
    pictures = read(broken, size=32, skip_broken=True)
    assert pictures.kept.tolist() == [0, len(BROKEN) + 1]
    for image, path in zip(pictures.images, (broken[0], broken[-1]), strict=True):
        expected = scaled_and_cropped(Image.open(path), 32)
        assert np.abs(image.transpose(1, 2, 0).astype(int) - expected).max() <= 1
    warning = pictures.warnings[0]
    assert warning.startswith(f"{len(BROKEN)} of {len(BROKEN) + 2} files are broken and left out: ")
    for name, (_, reason) in list(BROKEN.items())[:10]:
        assert name in warning
        assert reason in warning
    assert warning.endswith(" and 1 more")


def test_broken_files_only_are_an_error_even_then(broken):
    with pytest.raises(DataError, match="files are broken"):
        read(broken[1:-1], size=32, skip_broken=True)
    with pytest.raises(DataError, match=r"1 of 1 file is broken"):
        read(broken[1:2], size=32, skip_broken=True)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no file that fails so")
@pytest.mark.parametrize("memory", [None, "0.001 MB"])
@pytest.mark.parametrize("skip_broken", [False, True])
@pytest.mark.parametrize("begun", ["checking the files", "reading the images"])
def test_files_that_the_system_cannot_read_end_the_run(
    tmp_path, user_cache, begun, skip_broken, memory
):
    paths = [whole(tmp_path, f"{number}.png") for number in range(4)]
    (tmp_path / "notes.png").write_bytes(b"not a picture")

    def failing(title, total):
        if title == begun:
            for path in paths[1:3]:
                path.unlink()
                path.symlink_to("/proc/self/mem")  # nothing is at its beginning: EIO
        return no_progress(title, total)

    files, names = [*paths, tmp_path / "notes.png"], ["0", "1", "2", "3", "notes"]
    table = FolderTable(source="folder", root=tmp_path, skip_broken=skip_broken, memory=memory)
    with pytest.raises(DataError) as caught:
        read_pictures(files, names, table, failing)
    assert str(caught.value).splitlines() == [
        f"2 of {5 if begun == 'checking the files' else 4} files cannot be read:",
        "  1: Input/output error",
        "  2: Input/output error",
        "the system failed and not the files, so data.skip_broken does not leave them out; run the "
        "same command again when the system can read them",
    ]
    assert not list((user_cache / "kdtool" / "decoded").glob("*[!k]"))  # but a lock


def test_memory_that_runs_out_is_no_broken_file(tmp_path, monkeypatch):
    path = whole(tmp_path)

    def out_of_memory(*_arguments):
        raise MemoryError

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", out_of_memory)
    with pytest.raises(DataError, match=r"^1 of 1 file cannot be read:\n  whole\.png: out of mem"):
        read([path], skip_broken=True)


@pytest.mark.parametrize("content", [None, "row"])
def test_members_that_the_system_cannot_read_end_the_run(tmp_path, content):
    """The picture can be opened when its header is read, and not when it is decoded."""
    path = whole(tmp_path, "0.png")
    size, opened = path.stat().st_size, []

    def row(_number):
        opened.append(_number)
        if len(opened) > 1:
            raise OSError(errno.EIO, "Input/output error")
        return path.read_bytes()

    member = Member(path, "7.png", 0, size, row if content else None)

    def failing(title, total):
        if title == "reading the images" and not content:
            path.unlink()
        return no_progress(title, total)

    for memory in ("1 GB", "0.001 MB"):
        if not content:
            whole(tmp_path, "0.png")
        opened.clear()
        table = FolderTable(source="folder", root=tmp_path, skip_broken=True, memory=memory)
        why = "Input/output error" if content else "No such file or directory"
        with pytest.raises(DataError, match=rf"^1 of 1 file cannot be read:\n  0/7: {why}\n"):
            read_pictures([member], ["0/7"], table, failing)


def test_the_list_of_broken_files_is_complete(tmp_path):
    paths = [tmp_path / f"{index:03}.png" for index in range(130)]
    for path in paths:
        path.touch()
    with pytest.raises(DataError) as caught:
        read(paths)
    _, *listed, _ = str(caught.value).splitlines()
    assert listed == [f"  {path.name}: an empty file" for path in paths]


def test_reasons_have_no_notation_of_python(tmp_path):
    for name in ("chunk.png", "head.tif", "bytes.png"):
        whole(tmp_path, name)
    damaged = (tmp_path / "chunk.png").read_bytes()
    (tmp_path / "chunk.png").write_bytes(damaged.replace(b"IDAT", b"\x01\x02\x03\x04"))
    (tmp_path / "head.tif").write_bytes(b"II*\0\xff\xff\xff\xff")
    (tmp_path / "bytes.png").write_bytes(damaged[:60])
    with pytest.raises(DataError) as caught:
        read(sorted(tmp_path.iterdir()))
    lines = str(caught.value).splitlines()[1:-1]
    assert len(lines) == 3
    assert not [line for line in lines if "b'" in line or "<" in line or "Path(" in line]
