"""Tar shards in the layout of WebDataset: read as files in folders are, or told what is wrong."""

import gzip
import io
import json
import shutil
import tarfile

import numpy as np
import pytest
from loading import load_splits
from pictures import numbers, save_classes, save_number

from kdtool.errors import DataError
from kdtool.recipe.data import FolderTable, WebDatasetTable

SIDE = 20


def load(root, warn=pytest.fail, **settings):
    table = WebDatasetTable(source="webdataset", root=root, **{"size": SIDE, **settings})
    return load_splits(table, warn)


def write(shard, members):
    """Write a tar file of (name, content) in this order."""
    shard.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(shard, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """The bytes of a PNG file whose pixels hold a number."""
    folder = tmp_path_factory.mktemp("pictures")

    def make(number):
        save_number(folder, f"{number}", number)
        return (folder / f"{number}.png").read_bytes()

    return make


def samples(picture, first, count, label=lambda number: str(number % 2)):
    """The members of samples, of alternating classes."""
    return [
        member
        for number in range(first, first + count)
        for member in (
            (f"{number:04}.png", picture(number)),
            (f"{number:04}.cls", label(number).encode()),
        )
    ]


@pytest.fixture
def shards(tmp_path, picture):
    """Three shards of ten samples each."""
    for shard in range(3):
        write(tmp_path / "set" / f"{shard:03}.tar", samples(picture, 10 * shard, 10))
    return tmp_path / "set"


@pytest.mark.parametrize("memory", [None, "0.001 MB"])
def test_shards_are_read_as_the_same_files_in_folders(tmp_path, memory):
    save_classes(tmp_path / "folder", 10)
    paths = sorted((tmp_path / "folder").rglob("*.*"))
    members = [
        member
        for path in paths
        for member in (
            (f"{path.parent.name}/{path.stem}{path.suffix}", path.read_bytes()),
            (f"{path.parent.name}/{path.stem}.cls", path.parent.name.encode()),
        )
    ]
    write(tmp_path / "shards" / "0.tar", members[:20])
    write(tmp_path / "shards" / "1.tar", members[20:])
    expected = load_splits(
        FolderTable(source="folder", root=tmp_path / "folder", size=SIDE), pytest.fail
    )
    found = load(tmp_path / "shards", memory=memory)
    assert found.result.fingerprint == expected.result.fingerprint
    assert found.classes == ("cross", "disc")
    assert found.result.description == "images in 2 shards of shards"
    assert np.array_equal(found.test.pixels[:], expected.test.pixels)
    assert found.result.read_from.where == ("memory" if memory is None else "disk")
    names = [f"{name.split('/')[0]}/{name.split('/')[1]}" for name in expected.test_names]
    assert [name.split(".tar/")[1] for name in found.test_names] == names


def test_each_split_may_have_shards_of_its_own(tmp_path, picture):
    for split, first in (("train", 0), ("val", 100), ("test", 200)):
        for part in range(2):
            members = samples(picture, first + 5 * part, 5)
            write(tmp_path / split / f"{split}-{part}.tar", members)
    shards = {"train": "train/*.tar", "validation": "val/*.tar", "test": "test/test-?.tar"}
    splits = load(tmp_path, shards=shards)
    assert numbers(splits.train) == [*range(10)]
    assert numbers(splits.validation) == [*range(100, 110)]
    assert numbers(splits.test) == [*range(200, 210)]
    assert splits.test.labels.tolist() == [0, 1] * 5


def test_a_class_may_be_a_value_of_a_json_member_or_have_a_name(tmp_path, picture):
    members = [
        member
        for number in range(20)
        for member in (
            (f"{number}.JSON", json.dumps({"kind": 10 - number % 2, "other": []}).encode()),
            (f"{number}.png", picture(number)),
            (f"{number}.txt", b"what is on it"),
            (f"{number}.seg.png", picture(0)),
        )
    ]
    write(tmp_path / "0.tar", members)
    splits = load(tmp_path, label="json:kind")
    assert splits.classes == ("9", "10")
    assert [1 - n % 2 for n in numbers(splits.train)] == splits.train.labels.tolist()
    assert load(tmp_path, label="json:kind", classes=["10", "9"]).classes == ("10", "9")


def test_a_shard_that_changed_is_read_again(shards, picture):
    before = load(shards, memory="0.001 MB")
    write(shards / "001.tar", samples(picture, 110, 10))  # as long as before
    after = load(shards, memory="0.001 MB")
    of_both = [
        sorted(
            number
            for split in (one.train, one.validation, one.test)
            for number in (split.pixels[:][:, 0, 0, 0]).tolist()
        )
        for one in (before, after)
    ]
    assert of_both[0] == [*range(30)]
    assert of_both[1] == [*range(10), *range(20, 30), *range(110, 120)]


def cut(path):
    path.write_bytes(path.read_bytes()[:3000])


def cut_between_members(path):
    with tarfile.open(path) as archive:
        end = archive.getmembers()[4].offset
    path.write_bytes(path.read_bytes()[:end])


def joined(path):
    other = path.with_name("002.tar").read_bytes()
    path.write_bytes(path.read_bytes() + bytes(3 * 2**16) + other)


def fail(path):
    path.unlink()
    path.symlink_to("/proc/self/mem")  # nothing is at its beginning: EIO


def flip_header(path):
    content = bytearray(path.read_bytes())
    content[2 * 512 + 3] ^= 0xFF  # the name in the second header: its checksum is wrong
    path.write_bytes(bytes(content))


def twice(path):
    with tarfile.open(path, "a") as archive:
        archive.addfile(tarfile.TarInfo("0013.png"))


def with_members(*members):
    def change(path):
        with tarfile.open(path, "a") as archive:
            for name, content in members:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))

    return change


def with_link(kind):
    def change(path):
        with tarfile.open(path, "a") as archive:
            info = tarfile.TarInfo("x.png")
            info.type, info.linkname = kind, "0010.png"
            archive.addfile(info)

    return change


def with_sparse_member(path):
    with tarfile.open(path, "a", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo("x.png")
        info.type = tarfile.GNUTYPE_SPARSE
        archive.addfile(info)


# What is done to the second shard -> what the error says.
WRONG = {
    "cut": (cut, r"  001\.tar: it is not a whole tar file \(unexpected end of data\)\n"),
    "damaged": (flip_header, r"  001\.tar: it is damaged at byte 1,024\n"),
    "cut between members": (
        cut_between_members,
        r"  001\.tar: it is cut at byte 4,096, or was not closed: the zeros that end a tar",
    ),
    "joined with another": (
        joined,
        r"  001\.tar: it goes on behind its end at byte 20,480, as joined tar files do; keep each",
    ),
    "on a disk that fails": (fail, r"  001\.tar: the system cannot read it \("),
    "two of one name": (twice, r"  001\.tar holds two members 0013\.png\n"),
    "packed": (
        lambda path: path.write_bytes(gzip.compress(path.read_bytes())),
        r"  001\.tar: it is packed by gzip; unpack it, to be read by offset\n",
    ),
    "no tar file": (
        lambda path: path.write_text("notes " * 200),
        r"  001\.tar: it is not a whole tar file \(invalid header\)\n",
    ),
    "empty": (lambda path: write(path, []), r"  001\.tar holds no samples\n"),
    "no label": (
        with_members(("x.png", b"1")),
        r"  001\.tar: sample x has no member \.cls with its class\n",
    ),
    "no image": (
        with_members(("x.cls", b"1")),
        r"  001\.tar: sample x has the images none; expected one\n",
    ),
    "no known image": (
        with_members(("x.avif", b""), ("x.cls", b"1")),
        r"  001\.tar: sample x has no image that is read, only x\.avif\n",
    ),
    "neither known image nor class": (
        with_members(("x.avif", b""), ("x.txt", b"")),
        r"  001\.tar: sample x has no image that is read, only x\.avif, x\.txt\n",
    ),
    "a hard link": (
        with_link(tarfile.LNKTYPE),
        r"  001\.tar: x\.png is a link; write the shard with the files themselves \(tar --hard-d",
    ),
    "a symbolic link": (
        with_link(tarfile.SYMTYPE),
        r"  001\.tar: x\.png is a link; write the shard",
    ),
    "a sparse file": (with_sparse_member, r"  001\.tar: x\.png is stored without its zeros; write"),
    "two images": (
        with_members(("x.cls", b"1"), ("x.png", b""), ("x.jpg", b"")),
        r"  001\.tar: sample x has the images x\.png, x\.jpg; expected one\n",
    ),
    "empty label": (with_members(("x.cls", b" ")), r"  001\.tar: x\.cls holds no class\n"),
    "binary label": (with_members(("x.cls", b"\xff\xfe")), r"  001\.tar: x\.cls is no text: byte"),
    "broken image": (
        with_members(("x.cls", b"1"), ("x.png", b"no picture")),
        r"^1 of 31 files is broken:\n  001\.tar/x\.png: not an image that Pillow can read; it "
        "begins with the text 'no picture'\n",
    ),
    "empty image": (
        with_members(("x.cls", b"1"), ("x.png", b"")),
        r"^1 of 31 files is broken:\n  001\.tar/x\.png: an empty file\n",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_shard_is_named_with_what_is_wrong(shards, kind):
    change, message = WRONG[kind]
    change(shards / "001.tar")
    with pytest.raises(DataError, match=message):
        load(shards)


def test_all_wrong_labels_of_a_shard_are_listed(shards):
    members = [
        (f"{n}.{kind}", b"1" if kind == "png" else b"") for n in "xy" for kind in ("cls", "png")
    ]
    with_members(*members, ("z.png", b""))(shards / "001.tar")
    with pytest.raises(DataError) as caught:
        load(shards)
    assert str(caught.value).splitlines()[1:-1] == [
        "  001.tar: x.cls holds no class",
        "  001.tar: y.cls holds no class",
        "  001.tar: sample z has no member .cls with its class",
    ]


def test_members_that_describe_a_shard_are_no_samples(shards):
    notes = ["README.md", "set/LICENSE.txt", "LICENSE", "__index__.json", "dataset.json", "notes"]
    with_members(*((name, b"{}") for name in notes), ("0010.txt", b""))(shards / "001.tar")
    assert load(shards).result.num_train == 22


def test_a_sample_may_have_the_name_of_what_describes_a_shard(shards, picture):
    with_members(("index.png", picture(0)), ("index.txt", b""))(shards / "001.tar")
    with pytest.raises(DataError, match=r"sample index has no member \.cls with its class"):
        load(shards)


def test_all_wrong_shards_are_listed_at_once(shards):
    cut(shards / "000.tar")
    twice(shards / "002.tar")
    with pytest.raises(DataError) as caught:
        load(shards)
    head, *lines, advice = str(caught.value).splitlines()
    assert head == f"the shards in {shards} cannot be used as they are:"
    assert [line.split()[0] for line in lines] == ["000.tar:", "002.tar:"]
    assert advice.startswith("write these shards again")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"shards": {"train": "*.zip"}},
            r'"\*\.zip" fits no file in .*"train-\*\.tar"$',
        ),
        ({"shards": {"test": "0*.tar"}}, r"data\.shards: 000\.tar, 001\.tar, 002\.tar fits the"),
        ({"label": "json:kind"}, r"sample 0000 has no member \.json with its class"),
        ({"classes": ["0", "2"]}, r"labels 1, expected 0, 2"),
    ],
)
def test_settings_that_do_not_fit_the_shards_are_an_error(shards, settings, message):
    with pytest.raises(DataError, match=message):
        load(shards, **settings)


def test_a_missing_value_of_a_json_member_is_named(tmp_path, picture):
    write(tmp_path / "0.tar", [("a.png", picture(0)), ("a.json", b'{"label": 1}')])
    with pytest.raises(DataError, match=r"0\.tar: a\.json has no value kind"):
        load(tmp_path, label="json:kind")
    write(tmp_path / "0.tar", [("a.png", picture(0)), ("a.json", b"{")])
    with pytest.raises(DataError, match=r"0\.tar: a\.json is no text: Expecting property name"):
        load(tmp_path, label="json:kind")


def test_system_files_and_folders_in_a_shard_are_passed_over(shards):
    folder = shards.parent / "more"
    folder.mkdir()
    (folder / "._0001.png").write_bytes(b"resource fork")
    with tarfile.open(shards / "000.tar", "a") as archive:
        archive.add(folder, "more")
    shutil.rmtree(folder)
    assert load(shards).result.num_train == 22
