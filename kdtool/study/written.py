"""results.json with its decision, and the report from it: the only place that writes them."""

from pathlib import Path

from kdtool.errors import StudyError
from kdtool.files import sha256_of, write_atomic
from kdtool.report.changes import changes_since
from kdtool.report.decision import decide
from kdtool.results.base import sealed, to_json
from kdtool.results.study import Results, load_results
from kdtool.study.folder import Study, load_study
from kdtool.study.stages import StageRecord, write_record


def write_results(study: Study, results: Results) -> Results:
    """Decide what to ship; write results.json, and the report from it; return the results.

    Args:
        study: With its lock held.
        results: The study's, with or without a decision.

    Raises:
        StudyError: A file of pictures is missing or damaged, or the folder cannot be written.
    """
    from kdtool.report.write import write_report  # needs the extra `train`

    results = results.model_copy(update={"decision": decide(results)})
    results = sealed(results.model_copy(update={"changes": changes(study, results)}))
    write_atomic(study.results_path, to_json(results))
    files = write_report(results, study.folder)
    hashes = {path: sha256_of(study.folder / path) for path in files}
    # no stage: nothing looks for it to reuse the report, but `kdtool verify` compares its files
    record = StageRecord(f"report:{results.sha256}", hashes, result={})
    write_record(study.folder / "stages" / "report.json", record)
    return results


def changes(study: Study, results: Results) -> list[str]:
    """Return what changed since the study's results.json, or what that says of itself.

    A file that is damaged or of another kdtool says nothing.
    """
    try:
        old = load_results(study.results_path)
    except StudyError:
        return []
    return changes_since(old, results) or old.changes


def write_report_again(folder: Path) -> Results:
    """Write the report of a finished study again, from its results.json alone.

    Raises:
        StudyError: There is no study, it is in use, or a file of it is missing or damaged.
    """
    study, *_ = load_study(folder)  # before the lock, which would make the folder
    with study.locked():
        *_, results = load_study(folder)
        return write_results(study, results)
