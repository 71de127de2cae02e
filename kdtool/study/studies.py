"""Reads several studies, and writes the page that puts them side by side."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from kdtool.errors import StudyError
from kdtool.report.studies import studies_report
from kdtool.results.studies import StudiesReport
from kdtool.results.study import load_results

PAGE = "studies"  # name of the page in a folder, without its ending
ENDINGS = (".html", ".md")
MARK = "studies: kdtool report"  # on each page


def read_studies(folders: Sequence[Path]) -> StudiesReport:
    """Put studies side by side, from their results.json.

    Args:
        folders: Of finished studies.

    Raises:
        StudyError: One is no study, is damaged or given twice, or the studies have different
            classes.
    """
    known: dict[Path, Path] = {}
    for folder in folders:
        first = known.setdefault(folder.resolve(), folder)
        if first is not folder:
            same = "" if first == folder else f", as {first} and {folder}"
            raise StudyError(f"{folder} is given twice{same}; give each study once")
    return studies_report([(folder, load_results(folder / "results.json")) for folder in folders])


def pages(out: Path) -> list[Path]:
    """Return the files that `--out` names: both in a folder, or the one that is named.

    Raises:
        StudyError: It is a file of another kind, or the report of a study, which would be lost.
    """
    if out.suffix in ENDINGS and not out.is_dir():
        if out.stem == "report" and (out.parent / "results.json").exists():
            raise StudyError(
                f"{out} is the report of the study {out.parent}; choose another name for --out, "
                f"such as {out.parent.parent / 'studies.html'}"
            )
        if out.exists() and MARK not in out.read_text(encoding="utf-8", errors="replace"):
            raise StudyError(
                f"{out} exists and is not a page of kdtool; choose another name for --out"
            )
        return [out]
    if out.is_file() or (out.suffix and not out.is_dir()):
        raise StudyError(f"got --out {out}; expected a folder, or a file that ends in .html or .md")
    return [out / f"{PAGE}{ending}" for ending in ENDINGS]


def write_studies(report: StudiesReport, out: Path) -> list[Path]:
    """Write the page of several studies; return its files.

    Args:
        report: Of `read_studies`.
        out: A folder, or a file that ends in .html or .md.

    Raises:
        StudyError: `out` is neither, or cannot be written.
    """
    from kdtool.report.write import write_studies_page  # needs the extra `train`

    written = pages(out)
    for path in written:
        links = [link_to_report(Path(row.folder), path.parent) for row in report.studies]
        write_studies_page(report, links, path)
    return written


def link_to_report(folder: Path, place: Path) -> str | None:
    """Return the address of a study's report from a page; None: the study has no report.

    Args:
        folder: Of the study.
        place: Folder of the page.
    """
    page = folder / "report.html"
    if not page.exists():
        return None
    try:
        return quote(Path(os.path.relpath(page.resolve(), place.resolve())).as_posix())
    except ValueError:  # Windows: on another drive
        return page.resolve().as_uri()
