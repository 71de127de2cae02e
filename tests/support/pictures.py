"""Pictures as a stranger has them, or MHIST: drawings in files of every sort."""

import csv

import numpy as np
from PIL import Image, ImageDraw

ORIENTATION = 0x0112
# Suffix and mode; the class shows in all of them.
SORTS = [
    (".jpg", "RGB"),
    (".png", "RGBA"),
    (".png", "L"),
    (".png", "P"),
    (".gif", "P"),
    (".jpg", "CMYK"),
    (".png", "LA"),
    (".png", "1"),
    (".png", "I;16"),
    (".bmp", "RGB"),
    (".tif", "L"),
    (".webp", "RGB"),
]


def draw(kind, seed):
    """A disc or a cross, dark on a light ground, of any place, size and colour."""
    rng = np.random.default_rng(seed)
    size = rng.integers(40, 90, 2)
    ground, ink = rng.integers(190, 256, 3), rng.integers(0, 90, 3)
    image = Image.new("RGB", tuple(size.tolist()), tuple(ground.tolist()))
    radius = int(rng.integers(12, 18))
    x, y = (size / 2 + rng.integers(-3, 4, 2)).astype(int).tolist()
    pen = ImageDraw.Draw(image)
    color = tuple(ink.tolist())
    if kind == "disc":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    else:
        pen.line((x - radius, y - radius, x + radius, y + radius), fill=color, width=4)
        pen.line((x - radius, y + radius, x + radius, y - radius), fill=color, width=4)
    return image


def save(image, folder, name, sort):
    """Write a picture as one of the `SORTS`; a jpg is turned, and says so in its EXIF."""
    suffix, mode = SORTS[sort % len(SORTS)]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}{suffix}"
    if mode == "I;16":
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(path)
    elif suffix == ".jpg":
        exif = image.getexif()
        exif[ORIENTATION] = 6  # to be turned by 90 degrees, clockwise
        image.convert(mode).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)
    else:
        image.convert(mode).save(path)
    return path


def save_classes(folder, num_images, *, first_seed=0):
    """Write as many pictures of each class into its folder."""
    for index in range(num_images):
        for kind in ("cross", "disc"):
            seed = first_seed + 2 * index + (kind == "disc")
            save(draw(kind, seed), folder / kind, f"{index:03}", index)


MHIST_COLUMNS = (
    "Image Name",
    "Majority Vote Label",
    "Number of Annotators who Selected SSA (Out of 7)",
    "Partition",
)


def save_mhist(folder, num_train, num_test, size):
    """Write a folder laid out as MHIST is; every third picture is SSA, a disc, the others HP."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for index in range(num_train + num_test):
        is_ssa = index % 3 == 2
        name = f"MHIST_{index:03}.png"
        draw("disc" if is_ssa else "cross", index).resize((size, size)).save(
            folder / "images" / name
        )
        votes, split = 5 if is_ssa else 1, "train" if index < num_train else "test"
        rows.append((name, "SSA" if is_ssa else "HP", votes, split))
    with (folder / "annotations.csv").open("w", newline="") as file:
        csv.writer(file).writerows([MHIST_COLUMNS, *rows])


def save_number(folder, name, number):
    """Write an image whose pixels hold a number below 65,536."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (33, 27), (number % 256, number // 256, 5)).save(folder / f"{name}.png")


def numbers(split):
    """Return the number that each image of a split holds."""
    return (split.images[:, 0, 0, 0].int() + 256 * split.images[:, 1, 0, 0].int()).tolist()


def save_splits(root, folders, classes=("x", "y"), count=5):
    """Write `count` images of each class below each folder, the first from 0, the second 1000."""
    for place, folder in enumerate(folders):
        for label, name in enumerate(classes):
            for index in range(count):
                save_number(root / folder / name, f"{index}", 1000 * place + 100 * label + index)
