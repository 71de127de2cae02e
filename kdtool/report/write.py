"""Writes report.html and report.md from the results of a study."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import kdtool
from kdtool.files import write_atomic
from kdtool.format import (
    count,
    decimals,
    decimals_range,
    percent_number,
    points,
    points_range,
    printable,
    role_name,
    whole_percent,
)
from kdtool.report.card import card
from kdtool.report.context import ReportContext, drawings, report_context, sections
from kdtool.report.parts import canvas
from kdtool.report.parts.canvas import Drawing
from kdtool.report.studies import COLUMNS, NOTE, class_names, shown_studies, shown_value
from kdtool.results.base import Role
from kdtool.results.studies import StudiesReport
from kdtool.results.study import Results

TEMPLATES = Path(__file__).parent / "templates"


class Verbatim(str):
    """Markdown that is not escaped."""

    __slots__ = ()


def write_report(results: Results, folder: Path) -> list[str]:
    """Write report.html, report.md and the figures of report.md into the study's folder.

    Returns:
        The files, relative to the folder.

    Args:
        results: All that the report shows, except the pictures in files that it names.
        folder: The study's; the paths of those files are relative to it.

    Raises:
        StudyError: A file of pictures is missing or damaged, or the folder cannot be written.
    """
    files = report_files(results, folder)
    for path, content in files.items():
        write_atomic(folder / path, content)
    return list(files)


def report_files(results: Results, folder: Path) -> dict[str, str]:
    """Return what `write_report` writes, by path relative to the folder.

    Raises:
        StudyError: A file of pictures is missing or damaged.
    """
    with canvas.style():
        context = report_context(results, folder)
        svgs = {one.name: canvas.to_svg(one.wide, one.name) for one in drawings(context)}
        html = _render_html(context, svgs)
    figures = {one.path: canvas.on_white(svgs[one.name]) for one in drawings(context)}
    return {**figures, "report.md": render_markdown(context), "report.html": html}


def _render_html(context: ReportContext, svgs: Mapping[str, str]) -> str:
    """Return the report as one HTML page that needs no other file.

    Args:
        context: The sections.
        svgs: The figures of `drawings(context)`, drawn wide, by name.
    """
    environment = _environment(autoescape=True, finalize=None)
    # SVG: matplotlib has escaped the text in it.
    environment.filters["svg"] = lambda one: Markup(canvas.inline(svgs[one.name], one.title))
    environment.filters["narrow_svg"] = lambda one: Markup(
        canvas.inline(canvas.to_svg(one.narrow, f"{one.name}-narrow"), one.title)
    )
    return environment.get_template("report.html").render(
        **_variables(context), light=canvas.LIGHT, dark=canvas.DARK
    )


def render_markdown(context: ReportContext) -> str:
    """Return the report as Markdown, with links to the files of the figures."""
    environment = _environment(autoescape=False, finalize=_escape_markdown)
    environment.filters["verbatim"] = Verbatim
    environment.filters["image"] = _image
    environment.filters["fenced"] = _fenced
    return environment.get_template("report.md").render(**_variables(context))


def render_card(results: Results, role: Role) -> str:
    """Return the model card of a role's files as Markdown."""
    environment = _environment(autoescape=False, finalize=_escape_markdown)
    environment.filters["verbatim"] = Verbatim
    return environment.get_template("card.md").render(card=card(results, role))


def write_studies_page(report: StudiesReport, links: Sequence[str | None], path: Path) -> None:
    """Write several studies side by side, as HTML or, by the ending of `path`, Markdown.

    Args:
        report: The studies.
        links: Address of the report of each, from the page; None: it has none.
        path: Of the page.

    Raises:
        StudyError: The file cannot be written.
    """
    if path.suffix == ".html":
        environment = _environment(autoescape=True, finalize=None)
    else:
        environment = _environment(autoescape=False, finalize=_escape_markdown)
        environment.filters["verbatim"] = Verbatim
    text = environment.get_template(f"studies{path.suffix}").render(
        header={"models": [], "pixelated": False},  # what style.css asks for
        light=canvas.LIGHT,
        dark=canvas.DARK,
        version=kdtool.__version__,
        classes=len(report.classes),
        class_names=class_names(report),
        studies=shown_studies(report),
        links=links,
        columns=COLUMNS,
        warnings=report.warnings,
        note=NOTE,
        differences=[(one.key, [*map(shown_value, one.values)]) for one in report.differences],
    )
    write_atomic(path, text)


def _variables(context: ReportContext) -> dict[str, Any]:
    named = {field.name: getattr(context, field.name) for field in fields(context)}
    return {**named, "sections": sections(context)}


def _environment(*, autoescape: bool, finalize: Callable[[object], object] | None) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=autoescape,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "printable": printable,
        "role_name": role_name,
        "whole_percent": whole_percent,
        "percent_number": percent_number,
        "decimals": decimals,
        "decimals_range": decimals_range,
        "points": points,
        "points_range": points_range,
        "count": count,
    }
    return environment


def _image(drawing: Drawing) -> Verbatim:
    return Verbatim(f"![{_escape_markdown(drawing.title)}]({drawing.path})")


def _fenced(toml: str) -> Verbatim:
    """Return TOML as a block of code whose fence is longer than any in it."""
    fence = "```"
    while fence in toml:
        fence += "`"
    return Verbatim(f"{fence}toml\n{toml}{fence}")


def _escape_markdown(value: object) -> object:
    """Escape text so that Markdown shows every character, in a table too; see `Verbatim`."""
    if not isinstance(value, str) or isinstance(value, Verbatim):
        return value
    text = printable(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{c}" if c in "\\`*_[]|~$#" else c for c in text)
