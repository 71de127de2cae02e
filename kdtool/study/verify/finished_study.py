"""A finished study whose files may be damaged, read as far as they are not."""

from dataclasses import dataclass
from pathlib import Path

from kdtool.errors import StudyError
from kdtool.recipe.schema import Recipe
from kdtool.results.study import Results, load_results
from kdtool.study.folder import Study
from kdtool.study.stages import StageRecord, read_record


@dataclass(frozen=True)
class FinishedStudy:
    """What a study says of itself."""

    study: Study
    recipe: Recipe  # of the study, or with `data.root` where the images are on this machine
    results: Results
    records: dict[str, StageRecord]  # of the stages, by name
    damaged: dict[str, str]  # records that cannot be used, by name: what is wrong with them


def open_study(folder: Path) -> FinishedStudy:
    """Open a finished study.

    Raises:
        KdtoolError: results.json or recipe.toml cannot be read at all.
    """
    study = Study(folder, lambda _: None)
    if not study.recipe_path.is_file():
        raise StudyError(
            f"{study.recipe_path} is missing; copy the whole folder of the study, with its folders "
            "checkpoints, predictions and stages"
        )
    recipe, results = study.load_recipe(), load_results(study.results_path, edited=True)
    return FinishedStudy(study, recipe, results, *_stages(folder))


def _stages(folder: Path) -> tuple[dict[str, StageRecord], dict[str, str]]:
    """Return the records of all stages, and what is wrong with those that cannot be used."""
    records, damaged = {}, {}
    for path in sorted((folder / "stages").glob("*.json")):
        try:
            if record := read_record(path):
                records[path.stem] = record
        except StudyError as error:
            damaged[path.stem] = str(error)
        except ValueError as error:
            damaged[path.stem] = f"it {error}"
    return records, damaged
