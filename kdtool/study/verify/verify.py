"""What `kdtool verify` compares without PyTorch and without the images of a study."""

from collections.abc import Callable

from kdtool.errors import reason
from kdtool.results.base import sealed
from kdtool.results.commands.verification import Part, mismatched, not_checked
from kdtool.results.study import Results
from kdtool.study.verify.devices import Profiles, measured_elsewhere
from kdtool.study.verify.finished_study import FinishedStudy
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


def verify_records(
    finished: FinishedStudy, profiles: Profiles, warn: Callable[[str], None]
) -> list[Part]:
    """Compare everything that needs neither PyTorch nor the images.

    Args:
        finished: The study.
        profiles: Of other machines, which were merged into the study; each with its file.
        warn: Called with models of a profile that are not of this study.

    Raises:
        StudyError: A profile has no file of this study.
    """
    results = finished.results
    parts = [
        listed_files(finished),
        *attempted(RECORDS, results, lambda: [recorded_results(finished)]),
        *attempted(SCORES, results, lambda: [recounted(finished)]),
        *attempted(DECISION, results, lambda: [decided(results)]),
    ]
    if profiles or results.devices:
        parts.append(measured_elsewhere(finished.study.folder, results, profiles, warn))
    if any(one.file == RESULTS for part in parts for one in part.mismatches):
        return [*parts, not_checked(PAGES, "report.html: results.json does not match")]
    return [*parts, written_again(finished.study, results)]


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
