"""Whether the report of a study shows what its results.json says."""

import re
from collections.abc import Iterator
from pathlib import Path

import kdtool
from kdtool.errors import StudyError
from kdtool.results.commands.verification import Part, compared, joined, not_checked
from kdtool.results.study import Results
from kdtool.study.folder import Study
from kdtool.study.verify.integrity import sha256_of_text

NAME = "the report, written again from results.json"
FIGURE = re.compile(r"<svg.*?</svg>", re.DOTALL)  # in the page


def written_again(study: Study, results: Results) -> Part:
    """Write the report again, not to the study, and compare it with the report."""
    then = results.environment.kdtool
    if then != kdtool.__version__:
        return not_checked(NAME, f"report.html: kdtool {then} wrote it, this is another one")
    try:
        from kdtool.report.write import report_files
    except ModuleNotFoundError as error:
        if (error.name or "kdtool").partition(".")[0] == "kdtool":
            raise
        return not_checked(NAME, f"report.html: needs {error.name}, of kdtool[train]")
    try:
        files = report_files(results, study.folder)
    except StudyError as error:
        return not_checked(NAME, f"report.html: {error}")
    return joined(NAME, [part for one in files.items() for part in _file(study.folder, *one)])


def _file(folder: Path, path: str, text: str) -> Iterator[Part]:
    """Compare a file of the report but for its figures.

    Another version of Matplotlib, or other fonts, draw otherwise; figures have their SHA-256.
    """
    if path.endswith(".svg"):
        return
    found = _read(folder / path)
    both = [one if one is None else FIGURE.sub("", one) for one in (text, found)]
    expected, got = ("no such file" if one is None else sha256_of_text(one) for one in both)
    yield compared(NAME, path, expected, got, "text")


def _read(path: Path) -> str | None:
    """Return the text of a file as it was written; None if there is none."""
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return None
