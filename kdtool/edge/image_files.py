"""Which files in a folder are images, for the data of a study and for `kdtool predict`."""

import os
from dataclasses import dataclass
from pathlib import Path

from kdtool.errors import KdtoolError

# Notes and other files that are plainly no images; any other file must be an image, or is broken.
NO_IMAGES = {
    ".csv", ".doc", ".docx", ".html", ".ini", ".ipynb", ".json", ".jsonl", ".log", ".md", ".npy",
    ".npz", ".pdf", ".py", ".sh", ".toml", ".tsv", ".txt", ".url", ".xls", ".xlsx", ".xml",
    ".yaml", ".yml", ".zip",
}  # fmt: skip
# What operating systems, file managers and network drives leave in folders, in lower case. Hidden
# files, whose names start with a dot, are left out too: .DS_Store, .AppleDouble, ._* and so on.
SYSTEM_NAMES = {
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "$recycle.bin",
    "system volume information",  # Windows
    "icon\r",
    "__macosx",  # macOS
    "lost+found",  # Linux
    "@eadir",
    "@tmp",
    "#recycle",
    "#snapshot",  # Synology
    "@recycle",
    "@recently-snapshot",  # QNAP
    "__pycache__",
}


def is_system(name: str) -> bool:
    """Return whether a file or folder is hidden or made by a system, and so none of the user's."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """What a folder and its subfolders hold."""

    paths: list[Path]  # in the order of their folders and names
    links: list[Path]  # to folders; they are not followed


def images_below(folder: Path) -> ImageFiles:
    """Return the image files in a folder and its subfolders, the same on every machine.

    Left out are hidden and system files, and files that are plainly no images, such as .txt. Any
    other file counts as an image, so that a damaged one is reported and not passed over.

    Raises:
        KdtoolError: A folder cannot be read, or there are no images.
    """

    def stop(error: OSError) -> None:
        raise KdtoolError(f"cannot read the folder {error.filename}: {error.strerror}") from error

    paths, links = [], []
    for place, folders, files in os.walk(folder, onerror=stop):
        inside = sorted(name for name in folders if not is_system(name))
        links += [Path(place, name) for name in inside if Path(place, name).is_symlink()]
        folders[:] = inside
        paths += [
            Path(place, name)
            for name in files
            if not is_system(name) and Path(name).suffix.lower() not in NO_IMAGES
        ]
    if not paths and not links:
        raise KdtoolError(f"{folder} holds no images; expected image files, or folders of them")
    return ImageFiles(sorted(paths), sorted(links))
