"""Rows of a csv file in the encodings and dialects of Excel and others."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kdtool.errors import DataError, did_you_mean

DELIMITERS = ",;\t|"
FEW = 3  # rows with one problem are listed each; more become one line, as they have one cause


@dataclass(slots=True)
class Findings:
    """What is wrong or odd in a table, collected while it is read."""

    problems: list[tuple[int, str]] = field(default_factory=list)  # line and text
    warnings: list[str] = field(default_factory=list)


def read_text(path: Path, found: Findings) -> str:
    """Return the text of a file in any encoding that spreadsheets save."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check data.csv") from error
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise DataError(f"{path} is a workbook or an archive; save the table as csv in UTF-8")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    elif content[:200].count(0) > 0.3 * len(content[:200]):  # UTF-16 without its first mark
        encodings = ["utf-16-be" if content.startswith(b"\0") else "utf-16-le"]
    else:
        encodings = ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding == "cp1252":
            found.warnings.append(
                f"{path.name} is not UTF-8 and is read as Windows-1252; if letters such as ä are "
                "wrong, save it as UTF-8"
            )
        return text
    raise DataError(f"{path} is not text in UTF-8, UTF-16 or Windows-1252; save it as csv in UTF-8")


def rows_of(path: Path, text: str, wanted: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield line and fields of each record that is not empty, the header first.

    The separator is that of Excel's first line `sep=;`, else the one that divides the header into
    the most of the wanted columns, else into the most columns.
    """
    lines = list(io.StringIO(text, newline=""))
    if lines and (named := re.match(r'"?sep=(.)', lines[0], re.IGNORECASE)):
        yield from _parsed(path, lines[1:], named[1], first_line=2)
        return

    def fit(delimiter: str) -> tuple[int, int]:
        try:
            _, header = next(_parsed(path, lines, delimiter), (0, []))
        except DataError:
            return -1, 0
        return len({column_name(name) for name in header}.intersection(wanted)), len(header)

    yield from _parsed(path, lines, max(DELIMITERS, key=fit))


def _parsed(
    path: Path, lines: Sequence[str], delimiter: str, first_line: int = 1
) -> Iterator[tuple[int, list[str]]]:
    # Only where a quote follows a space: spaces before a label must stay visible.
    quote_after_space = re.compile(re.escape(delimiter) + ' +"')
    reader = csv.reader(
        lines,
        delimiter=delimiter,
        skipinitialspace=any(map(quote_after_space.search, lines)),
        strict=True,  # or a quote that is never closed takes all rows below it
    )
    line = first_line
    try:
        for fields in reader:
            if any(text.strip() for text in fields):  # Excel writes rows of separators
                yield line, fields
            line = first_line + reader.line_num
    except csv.Error as error:
        raise DataError(
            f"{path}, line {line}: {error}; quotes must enclose a whole field, and a quote in a "
            "field must be written twice"
        ) from error


def column_name(name: str) -> str:
    """Return the name of a column with one space for any spaces and line breaks in it."""
    return unicodedata.normalize("NFC", " ".join(name.split()))


def check_columns(path: Path, wanted: Sequence[str], given: Sequence[str]) -> None:
    """Raise DataError if a wanted column is missing or a name is used twice."""
    if repeated := [name for name in wanted if given.count(name) > 1]:
        raise DataError(
            f"{path} has more than one column {', '.join(repeated)}; give each another name"
        )
    missing = [name for name in wanted if name not in given]
    if not missing:
        return
    raise DataError(
        f"{path} has no column {', '.join(missing)}; it has "
        f"{', '.join(name for name in given if name) or 'none'}"
        f"{did_you_mean(missing[0], given)} (data.columns and data.group_by must be names of the "
        "header; the separator may be a comma, a semicolon, a tab or |)"
    )


def too_long_rows(rows: Sequence[tuple[int, int]], expected: int) -> list[tuple[int, str]]:
    """Return the problems of rows, by line and number of fields, that are longer than the header.

    Their columns may be shifted, as by a decimal comma in a table with commas.
    """
    advice = f"expected {expected}; put a field that holds the separator in quotes"
    if len(rows) <= FEW:
        return [(line, f"{count} fields, {advice}") for line, count in rows]
    line, count = rows[0]
    return [(line, f"{count} fields, and too many in {len(rows):,} rows, {advice}")]
