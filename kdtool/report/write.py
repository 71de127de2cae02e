"""Writes report.html and report.md from the results of a study."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from kdtool.files import write_atomic
from kdtool.format import (
    count,
    decimals,
    decimals_range,
    percent,
    percent_range,
    points,
    printable,
    role_name,
    rough_percent,
    score_interval,
    score_text,
    tenths,
    test_summary,
    validation_summary,
)
from kdtool.report import canvas
from kdtool.report.context import report_context
from kdtool.report.sections import bias_shift, images, subclasses
from kdtool.report.sections.calibration import reliability_figure
from kdtool.report.sections.classes import confusion_figures, exported_scores
from kdtool.report.sections.comparison import cost_bars, parity_sentence
from kdtool.report.sections.devices import device_bars, measured, side_by_side
from kdtool.report.sections.images import (
    explained_pictures,
    load_duplicates,
    load_gallery,
    thumbnails,
    twin_pictures,
)
from kdtool.report.sections.operating_point import operating_figure
from kdtool.report.sections.saliency import (
    Picture,
    Saliency,
    compared_images,
    load_saliency,
    saliency_figure,
)
from kdtool.report.sections.sweep import sweep_figure
from kdtool.report.sections.training import score_by_epoch
from kdtool.report.sections.verdict import differences, on_methods
from kdtool.results.study import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure


TEMPLATES = Path(__file__).parent / "templates"
WIDE, NARROW = 960, 340  # pixels: a desktop's column and a phone's
PIXELATED_BELOW = 65  # pixels: smaller images are shown as squares, not as a blur


class Verbatim(str):
    """Markdown that is not escaped."""

    __slots__ = ()


def write_report(results: Results, folder: Path) -> None:
    """Write report.html, report.md and the figures of report.md into the study's folder.

    Args:
        results: All that the report shows, but for the pictures in the file of `results.explain`.
        folder: Of the study; `results.explain.path` is relative to it.

    Raises:
        StudyError: The saliency file is missing or damaged, or the folder cannot be written.
    """
    saliency = load_saliency(results.explain, folder) if results.explain else None
    shown = load_gallery(results.gallery, folder) if results.gallery else {}
    twins = load_duplicates(results.data, folder)
    with canvas.style():
        wide, narrow = _draw(results, WIDE), _draw(results, NARROW)
        html = render_html(results, wide, narrow, saliency, shown, twins)
        if results.explain and saliency:
            wide["saliency"] = saliency_figure(results.explain, saliency)
        for name, figure in wide.items():
            write_atomic(folder / "figures" / f"{name}.png", canvas.to_png(figure))
    write_atomic(folder / "report.md", render_markdown(results, set(wide)))
    write_atomic(folder / "report.html", html)


def _draw(results: Results, width: int) -> "dict[str, Figure]":
    if not results.models:
        return {}
    figures = {"epochs": score_by_epoch(results, width)}
    verdicts = on_methods(results)
    if verdicts:
        figures["difference"] = differences(results, verdicts, min(width, 400))
    reliability = reliability_figure(results, min(width, 440))
    if reliability:
        figures["reliability"] = reliability
    sweep = sweep_figure(results, width)
    if sweep:
        figures["sweep"] = sweep
    operating = operating_figure(results, min(width, 440))
    if operating:
        figures["operating"] = operating
    if results.devices:
        figures["devices"] = device_bars(side_by_side(measured(results)), min(width, 640))
    if width == NARROW:
        return figures
    # These are narrow enough for a phone as they are.
    figures |= {f"cost-{name}": bars for name, bars in cost_bars(results).items()}
    matrices = confusion_figures(exported_scores(results), results.data.classes)
    return figures | {f"confusion-{role}": matrix for role, matrix in matrices.items()}


def render_html(
    results: Results,
    wide: "dict[str, Figure]",
    narrow: "dict[str, Figure]",
    saliency: Saliency | None,
    shown: dict[int, Picture],
    twins: list[list[tuple[Picture, Picture]]],
) -> str:
    """Return the report as one HTML page that needs no other file.

    Args:
        results: What the page shows.
        wide: Figures by name.
        narrow: The same figures for narrow screens, of those that need a form of their own.
        saliency: Pictures of `results.explain`.
        shown: Pictures of `results.gallery`, by test image.
        twins: Of `load_duplicates`.
    """
    environment = _environment(results, autoescape=True, finalize=None)
    return environment.get_template("report.html").render(
        **report_context(results),
        # SVG: text in it was escaped by matplotlib.
        wide={name: Markup(canvas.to_svg(fig, name)) for name, fig in wide.items()},
        narrow={name: Markup(canvas.to_svg(fig, f"{name}-narrow")) for name, fig in narrow.items()},
        pictures=explained_pictures(results, saliency) if saliency else [],
        shown=list(saliency.heatmaps) if saliency else [],
        pixelated=saliency is not None and saliency.images[0].shape[0] < PIXELATED_BELOW,
        thumbs=thumbnails(results, shown),
        duplicate_pairs=twin_pictures(results, twins),
        small_thumbs=results.data.image_shape[1] < PIXELATED_BELOW,
        light=canvas.LIGHT,
        dark=canvas.DARK,
    )


def render_markdown(results: Results, figures: set[str]) -> str:
    """Return the report as Markdown; `figures` names the PNG files under `figures/`."""
    environment = _environment(results, autoescape=False, finalize=_escape_markdown)
    context = report_context(results)
    recipe = str(context["recipe_toml"])
    fence = "```"
    while fence in recipe:
        fence += "`"
    return environment.get_template("report.md").render(
        **context,
        figures=figures,
        fenced_recipe=Verbatim(f"{fence}toml\n{recipe}{fence}"),
    )


def _environment(
    results: Results, *, autoescape: bool, finalize: Callable[[object], object] | None
) -> Environment:
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
        "plain": printable,
        "spoken": role_name,
        "percent": percent,
        "percent_range": percent_range,
        "rough_percent": rough_percent,
        "tenths": tenths,
        "decimals": decimals,
        "decimals_range": decimals_range,
        "validation_of": validation_summary,
        "test_of": test_summary,
        "points": points,
        "count": count,
        "verbatim": Verbatim,
        "parity_sentence": parity_sentence,
        "flip_sentence": images.flip_sentence,
        "flip_rows": images.flip_rows,
        "shown_classes": subclasses.shown_classes,
        "fine_sentence": subclasses.fine_sentence,
    }
    environment.filters["score"] = partial(score_text, results.metric)
    environment.filters["score_range"] = partial(score_interval, results.metric)
    environment.filters["fine_rows"] = lambda use: subclasses.fine_rows(results, use.fine)
    environment.filters["compared_images"] = partial(
        compared_images, num_test=results.data.num_test
    )
    environment.filters["shift_sentence"] = lambda one: bias_shift.shift_sentence(results, one)
    return environment


def _escape_markdown(value: object) -> object:
    """Escape a value so that Markdown shows it as it is, in a table too; see `Verbatim`."""
    if not isinstance(value, str) or isinstance(value, Verbatim):
        return value
    text = printable(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{c}" if c in "\\`*_[]|~$#" else c for c in text)
