"""What `kdtool verify` compares without PyTorch and without the images of a study."""

from collections.abc import Callable
from pathlib import Path

from kdtool.errors import StudyError, reason
from kdtool.recipe.schema import Recipe
from kdtool.results.base import sealed
from kdtool.results.commands.verification import Part, mismatched, not_checked
from kdtool.results.study import Results, load_results
from kdtool.study.folder import Study
from kdtool.study.verify.devices import Profiles, measured_elsewhere
from kdtool.study.verify.integrity import RESULTS, listed_files
from kdtool.study.verify.pages import NAME as PAGES
from kdtool.study.verify.pages import written_again
from kdtool.study.verify.records import DECISION, decided, recorded_results
from kdtool.study.verify.records import NAME as RECORDS
from kdtool.study.verify.scores import NAME as SCORES
from kdtool.study.verify.scores import recounted

# What code raises that is given lists that do not fit together; a generator makes a RuntimeError of
# a StopIteration.
CONTRADICTIONS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
)


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
        *attempted(RECORDS, results, lambda: [recorded_results(study, recipe, results)]),
        *attempted(SCORES, results, lambda: [recounted(study, results)]),
        *attempted(DECISION, results, lambda: [decided(results)]),
    ]
    if profiles or results.devices:
        parts.append(measured_elsewhere(study.folder, results, profiles, warn))
    if any(one.file == RESULTS for part in parts for one in part.mismatches):
        return [*parts, not_checked(PAGES, "report.html: results.json does not match")]
    return [*parts, written_again(study, results)]


def attempted(name: str, results: Results, make: Callable[[], list[Part]]) -> list[Part]:
    """Return parts, or one that says that the parts of results.json do not fit together.

    Args:
        name: Of the parts.
        results: That were read although they may have been changed.
        make: Compares them. What it raises is an error of kdtool's if they are unchanged.
    """
    try:
        return make()
    except CONTRADICTIONS as error:
        if sealed(results) == results:
            raise
        found = f"they do not: {reason(error)}"
        return [mismatched(name, RESULTS, name, "values that fit together", found)]
