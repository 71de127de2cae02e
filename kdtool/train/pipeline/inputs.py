"""The files outside a study that its results depend on."""

import sys
from pathlib import Path

import kdtool
from kdtool.files import cache_folder
from kdtool.recipe.data import DataTable, DigitsTable
from kdtool.recipe.schema import Recipe
from kdtool.recipe.training import TrainTable
from kdtool.train.data.published.cifar import FAMILIES as CIFAR
from kdtool.train.data.published.mnist import FAMILIES
from kdtool.train.models.describe import LIBRARIES

OWN_FOLDER = Path(kdtool.__file__).parent


def inputs_of(recipe: Recipe) -> list[Path]:
    """Return the files and folders that a study of this recipe reads; they need not exist."""
    tables = (recipe.teacher, recipe.student)
    return [
        path.resolve()
        for path in [
            *data_places(recipe.data),
            *(path for table in tables for path in model_files(table)),
        ]
    ]


def data_places(data: DataTable) -> list[Path]:
    """Return the folder of the images; nothing for data that a package contains."""
    if not isinstance(data, DigitsTable) and data.root is not None:
        return [data.root]
    if data.source in FAMILIES:
        return [FAMILIES[data.source].raw_folder(cache_folder())]
    if data.source in CIFAR:
        return [cache_folder() / CIFAR[data.source].dataset]
    return []


def model_files(table: TrainTable) -> list[Path]:
    """Return the files of a model: its weights, its ONNX file, or the source of the user's network.

    Of the user's network these are all modules from the working directory that are loaded by now.
    """
    files = []
    if table.is_onnx:
        files.append(Path(table.model))
    if table.weights not in {None, "imagenet"}:
        files.append(Path(str(table.weights)))
    return sorted([*files, *sources_of(table)])


def sources_of(table: TrainTable) -> list[Path]:
    """Return all modules from the working directory, if a table names the user's own network."""
    package, colon, _ = table.model.partition(":")
    if not colon or package in LIBRARIES:
        return []
    here = Path.cwd()
    loaded = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    sources = (Path(file).absolute() for file in loaded if file)
    return [p for p in sources if p.is_relative_to(here) and "site-packages" not in p.parts]


def own_sources(recipe: Recipe) -> dict[str, bytes]:
    """Return the modules of the user's own networks: path in the working directory -> content."""
    found = {path for table in (recipe.teacher, recipe.student) for path in sources_of(table)}
    paths = [one for one in sorted(found) if one.is_file() and not one.is_relative_to(OWN_FOLDER)]
    return {path.relative_to(Path.cwd()).as_posix(): path.read_bytes() for path in paths}
