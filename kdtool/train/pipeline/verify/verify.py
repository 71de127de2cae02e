"""The part of `kdtool verify` that needs PyTorch and, for the files' answers, the images."""

from kdtool.results.commands.verification import Part, not_checked
from kdtool.study.verify.finished_study import FinishedStudy
from kdtool.study.verify.scores import stored_predictions
from kdtool.study.verify.verify import attempted
from kdtool.train.pipeline.verify.files import NAME as FILES
from kdtool.train.pipeline.verify.files import run_again
from kdtool.train.pipeline.verify.numbers import NAME, computed_again
from kdtool.train.pipeline.verify.opened import open_again
from kdtool.train.reporter import Reporter


def verify_numbers(finished: FinishedStudy, reporter: Reporter) -> list[Part]:
    """Compute the numbers of results.json again, and run its files on the images; write nothing.

    Args:
        finished: The study.
        reporter: Shows progress.
    """
    results = finished.results

    def compare() -> list[Part]:
        predictions, missing = stored_predictions(finished)
        if not predictions:
            return [not_checked(NAME, *missing)]
        opened, data = open_again(finished, predictions, reporter)
        numbers = attempted(NAME, results, lambda: [computed_again(opened)])
        files = attempted(FILES, results, lambda: [run_again(opened, reporter)])
        return [data, not_checked(NAME, *missing), *numbers, *files]

    return attempted(NAME, results, compare)
