"""Studies, and the reports that are written of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from sample_evidence import write_gallery
from sample_scores import write_duplicates
from sample_study import build_results, write_saliency

from kdtool.results.base import ROLES
from kdtool.results.study import Results

# Processor, its time / the time of the machine that made the study, time of int8 / time of fp32.
DEVICES = (
    ("Raspberry Pi 4 Model B Rev 1.4", 6.0, 1.08),
    ("AMD Ryzen 7 5800X 8-Core Processor", 0.7, 0.55),
)


@pytest.fixture
def build() -> Callable[..., Results]:
    return build_results


@pytest.fixture
def typed() -> Callable[[str], str]:
    """Turn signs that no keyboard has into those that tests are written with."""
    signs = {"\N{MULTIPLICATION SIGN}": "x", "\N{MINUS SIGN}": "-", "\N{NO-BREAK SPACE}": " "}
    signs["\N{GREATER-THAN OR EQUAL TO}"] = ">="
    return lambda text: text.translate(str.maketrans(signs))


def write_and_read(results: Results, folder: Path) -> tuple[str, str]:
    """Write a report; return the HTML and the Markdown."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    from kdtool.report.write import write_report

    if results.explain:
        write_saliency(results, folder)
    if results.gallery:
        write_gallery(results, folder)
    if results.data.duplicate_images:
        write_duplicates(results, folder)
    write_report(results, folder)
    return (folder / "report.html").read_text(), (folder / "report.md").read_text()


@pytest.fixture
def write(tmp_path) -> Callable[[Results], tuple[str, str]]:
    """Write a report into `tmp_path`; returns the HTML and the Markdown."""
    return lambda results: write_and_read(results, tmp_path)


@dataclass(frozen=True)
class Written:
    """A study whose report was written."""

    results: Results
    folder: Path
    html: str
    markdown: str


def written(folder, **options) -> Written:
    results = build_results(**options)
    return Written(results, folder, *write_and_read(results, folder))


@pytest.fixture(scope="session")
def full(tmp_path_factory) -> Written:
    """A study with all that a report can show."""
    folder = tmp_path_factory.mktemp("full")
    return written(folder, sweep_keys=1, explain=True, int8=True, devices=DEVICES)


@pytest.fixture(scope="session")
def mhist(tmp_path_factory) -> Written:
    """A study of two classes that is judged by weighted F1, with all that sets it apart."""
    folder = tmp_path_factory.mktemp("mhist")
    accuracy = {"teacher": 0.828, "control": 0.736, "student": 0.781}
    scores = {"metric": "weighted_f1"}
    return written(
        folder,
        classes=("SSA", "HP"),
        num_test=977,
        accuracy=accuracy,
        sweep_keys=1,
        scores=scores,
    )


HOSTILE = (
    "<script>alert(1)</script>",
    "a|b",
    "$x_1$ *b*",
    "\N{CJK UNIFIED IDEOGRAPH-732B}",
    "\"q\" & 'p'",
    "-->",
    "`tick`",
    "{{ 7 * 7 }}",
    "two\nlines",
    "\x1b[31mred",
)


@pytest.fixture(scope="session")
def subclass(tmp_path_factory) -> Written:
    """A study of subclass distillation with all that sets it apart."""
    folder = tmp_path_factory.mktemp("subclass")
    evidence = {"fine_classes": tuple("0123456789"), "collapsed": True, "excluded": ("5-9",)}
    return written(folder, roles=ROLES, classes=("0-4", "5-9"), evidence=evidence)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory) -> Written:
    """A study whose classes are named to break HTML, SVG, Markdown, Jinja and terminals."""
    folder = tmp_path_factory.mktemp("hostile")
    devices = ((HOSTILE[0], 3.0, 0.9), ("a|b \x1b[31m $x$", 2.0, 1.0))
    evidence = {"fine_classes": HOSTILE, "excluded": HOSTILE[:1], "collapsed": True}
    return written(
        folder,
        roles=ROLES,
        classes=HOSTILE,
        sweep_keys=2,
        explain=True,
        int8=True,
        devices=devices,
        evidence=evidence,
    )
