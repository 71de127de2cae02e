"""The part of `kdtool verify` that needs PyTorch and, for the files' answers, the images."""

from kdtool.recipe.schema import Recipe
from kdtool.results.commands.verification import Part, not_checked
from kdtool.results.study import Results
from kdtool.study.folder import Study
from kdtool.study.verify.records import study_records
from kdtool.study.verify.scores import stored_predictions
from kdtool.study.verify.verify import attempted
from kdtool.train.pipeline.verify.files import NAME as FILES
from kdtool.train.pipeline.verify.files import run_again
from kdtool.train.pipeline.verify.numbers import NAME, computed_again
from kdtool.train.pipeline.verify.opened import open_again
from kdtool.train.reporter import Reporter


def verify_numbers(
    study: Study, recipe: Recipe, results: Results, reporter: Reporter
) -> list[Part]:
    """Compute the numbers of results.json again, and run its files on the images; write nothing.

    Args:
        study: Whose files may be damaged.
        recipe: Of the study, or with `data.root` where the images are on this machine.
        results: Of the study.
        reporter: Shows progress.
    """

    def compare() -> list[Part]:
        records = study_records(study)
        predictions, missing = stored_predictions(study, records, results)
        if not predictions:
            return [not_checked(NAME, *missing)]
        opened, data = open_again(study, recipe, results, records, predictions, reporter)
        numbers = attempted(NAME, results, lambda: [computed_again(opened)])
        files = attempted(FILES, results, lambda: [run_again(opened, reporter)])
        return [data, not_checked(NAME, *missing), *numbers, *files]

    return attempted(NAME, results, compare)
