"""What `kdtool verify` compares without PyTorch and without the images of a study."""

from collections.abc import Callable
from pathlib import Path

from kdtool.errors import StudyError
from kdtool.recipe.schema import Recipe
from kdtool.results.study import Results, load_results
from kdtool.results.verification import Part
from kdtool.study.folder import Study
from kdtool.study.verify.devices import Profiles, measured_elsewhere
from kdtool.study.verify.integrity import listed_files
from kdtool.study.verify.records import decided, recorded_results
from kdtool.study.verify.scores import recounted


def opened(folder: Path) -> tuple[Study, Recipe, Results]:
    """Open a finished study, whose files may be damaged.

    Raises:
        KdtoolError: results.json or recipe.toml cannot be read at all.
    """
    study = Study(folder, lambda _: None)
    if not study.recipe_path.is_file():
        raise StudyError(
            f"{study.recipe_path} is missing; copy the whole folder of the study, with its folders "
            "checkpoints, predictions and stages"
        )
    return study, study.load_recipe(), load_results(study.results_path, edited=True)


def verify_records(
    study: Study,
    recipe: Recipe,
    results: Results,
    profiles: Profiles,
    warn: Callable[[str], None],
) -> list[Part]:
    """Compare everything that needs neither PyTorch nor the images.

    Args:
        study: Of `opened`.
        recipe: Of `opened`.
        results: Of `opened`.
        profiles: Of other machines, which were merged into the study; each with its file.
        warn: Called with models of a profile that are not of this study.

    Raises:
        StudyError: A profile has no file of this study.
    """
    parts = [
        listed_files(study, results),
        recorded_results(study, recipe, results),
        recounted(study, results),
        decided(results),
    ]
    if profiles or results.devices:
        parts.append(measured_elsewhere(study.folder, results, profiles, warn))
    return parts
