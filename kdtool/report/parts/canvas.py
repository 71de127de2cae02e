"""Colours, and figures as SVG: in a file, or in a page whose colours they follow."""

import html
import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdtool.format import in_percent, milliseconds, score_scale
from kdtool.results.base import Interval, Metric, Role
from kdtool.results.profile import Latency

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# One colour a role throughout: blue, grey and vermilion differ in lightness and hue also for the
# colour-blind (after Okabe and Ito 2008); the models with subclasses are indigo and purple, as far
# from the others as the colour-blind see. Each must be unique: SVG colours are found by value.
LIGHT = {
    "page": "#f4f6f8",
    "panel": "#ffffff",
    "faint": "#eef1f4",
    "line": "#d5dae1",
    "muted": "#5a6370",
    "ink": "#171b21",
    "teacher": "#0a69ad",
    "subclass-teacher": "#2b2c86",
    "control": "#66707b",
    "student": "#b94a06",
    "subclass-student": "#9b12e6",
    "better": "#0b7566",
    "worse": "#b02a21",
    "notice": "#7a5200",
    "notice-panel": "#fff4d6",
}
DARK = {
    "page": "#0e1115",
    "panel": "#171b20",
    "faint": "#20262d",
    "line": "#323a44",
    "muted": "#9da7b4",
    "ink": "#e7eaee",
    "teacher": "#5fb1f2",
    "subclass-teacher": "#d8d5ff",
    "control": "#a1abb8",
    "student": "#f68f4a",
    "subclass-student": "#bd59ff",
    "better": "#45c5b0",
    "worse": "#ff8f84",
    "notice": "#f0c563",
    "notice-panel": "#2b2412",
}

# Opacity of the cells of a heat map: the ink stays readable on the strongest, in both schemes.
PALEST, STRONGEST = 0.08, 0.4

LOG_FROM = 6.0  # slowest / fastest of the times on an axis
FONT_SIZE = 12  # pixels: figures are drawn at 72 dots an inch, so that a point is a pixel
# DejaVu comes with matplotlib; the others draw class names in other scripts where installed.
FONTS = ["DejaVu Sans", "Noto Sans CJK JP", "Hiragino Sans", "Yu Gothic", "Arial Unicode MS"]


# pixels: the width of a figure on a desktop, on a phone, and on both
WIDE, NARROW, SMALL = 960, 340, 400


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A figure of the report."""

    name: str  # of its file; unique in the report
    title: str  # what it shows
    wide: "Figure"
    narrow: "Figure | None"  # for a phone; None: `wide` fits there too

    @property
    def path(self) -> str:
        """Its file, relative to the study."""
        return f"figures/{self.name}.svg"


def small_drawing(name: str, title: str, draw: "Callable[[int], Figure]") -> Drawing:
    """Draw a figure once, so small that it fits half of a desktop's page and a phone."""
    return Drawing(name=name, title=title, wide=draw(SMALL), narrow=None)


def drawing(name: str, title: str, draw: "Callable[[int], Figure]") -> Drawing:
    """Draw a figure twice, for a desktop and for a phone; `draw` gets the width in pixels."""
    return Drawing(name=name, title=title, wide=draw(WIDE), narrow=draw(NARROW))


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of the report inside the block."""
    import matplotlib as mpl
    from matplotlib import font_manager

    known = set(font_manager.get_font_names())
    with warnings.catch_warnings(), mpl.rc_context():
        mpl.rcParams["font.family"] = [name for name in FONTS if name in known]
        mpl.rcParams["font.size"] = FONT_SIZE
        mpl.rcParams["axes.labelsize"] = FONT_SIZE
        mpl.rcParams["xtick.labelsize"] = FONT_SIZE
        mpl.rcParams["ytick.labelsize"] = FONT_SIZE
        mpl.rcParams["svg.fonttype"] = "none"  # text stays text, in the page's font
        mpl.rcParams["text.parse_math"] = False  # a class may be named "$x$"
        # A browser finds a font for any script.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_figure(width: int, height: int) -> "Figure":
    """Return an empty figure of a size in pixels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")


def quiet_axes(axes: "Axes", *, grid: str = "y") -> None:
    """Leave only what a reader needs: faint grid lines in one direction and labels."""
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0, colors=LIGHT["muted"], pad=5)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis="y" if grid == "y" else "x", color=LIGHT["line"], linewidth=1)
    axes.xaxis.label.set_color(LIGHT["muted"])
    axes.yaxis.label.set_color(LIGHT["muted"])


def to_svg(figure: "Figure", name: str) -> str:
    """Return `figure` as an SVG document without a background.

    Args:
        figure: Drawn in colours of `LIGHT` only.
        name: Identifiers inside the SVG are made from it, so that they differ between figures.
    """
    import matplotlib as mpl

    buffer = io.StringIO()
    none = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with style(), mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=none)
    return re.sub(r"<metadata>.*?</metadata>\s*", "", buffer.getvalue(), flags=re.DOTALL)


def on_white(svg: str) -> str:
    """Return a document of `to_svg` with a white background, for a file."""
    return re.sub(
        r"<svg [^>]*>", rf'\g<0>\n <rect width="100%" height="100%" fill="{LIGHT["panel"]}"/>', svg
    )


def inline(svg: str, title: str) -> str:
    """Return a document of `to_svg` as part of a page, in the page's own colours and font.

    Args:
        svg: The document.
        title: What a screen reader says of the figure; the numbers in it are in tables.
    """
    svg = re.sub(r"<!--.*?-->|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = svg[svg.index("<svg") :]
    size = re.search(r'viewBox="0 0 (\S+) (\S+)"', svg)
    assert size is not None
    width, height = (round(float(side)) for side in size.groups())
    svg = re.sub(r"<[^>]*>", lambda tag: _adapt(tag[0]), svg)
    head = (
        f'<svg viewBox="0 0 {width} {height}" style="max-width:{width}px" '
        f'role="img" aria-label="{html.escape(title)}">'
    )
    return re.sub(r"<svg [^>]*>", lambda _: head, svg, count=1).strip()


def _adapt(tag: str) -> str:
    """Let one SVG tag take its colours and font family from the page, and no name on it."""
    for variable, color in LIGHT.items():
        tag = tag.replace(color, f"var(--{variable})")
    tag = re.sub(r'^<g id="[^"]*"', "<g", tag)
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    # matplotlib before 3.11 writes all of the font in one: "font: 700 12px 'DejaVu Sans', ..."
    return re.sub(r"font: (?:(\d+|bold) )?([\d.]+px) [^;\"]*", _split_font, tag)


def _split_font(font: re.Match[str]) -> str:
    weight = f"font-weight: {font[1]}; " if font[1] else ""
    return f"{weight}font-size: {font[2]}"


def spread(values: list[float], gap: float) -> list[float]:
    """Move values apart until each two are at least `gap` apart; their order stays."""
    import numpy as np

    order = np.argsort(values, kind="stable")
    placed = np.array(values, dtype=np.float64)[order]
    for _ in range(100):
        overlap = gap - np.diff(placed)
        if (overlap <= gap / 1000).all():
            break
        push = np.maximum(overlap, 0) / 2
        placed[:-1] -= push
        placed[1:] += push
    result = np.empty_like(placed)
    result[order] = placed
    return [float(value) for value in result]


def cut_short(name: str, most: int) -> str:
    """Return a name of a class, cut to so many characters."""
    return name if len(name) <= most else name[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def label(
    axes: "Axes", text: str, at: tuple[float, float], offset: tuple[int, int], color: str
) -> None:
    """Write bold text next to a point, on the side to which `offset` (pixels) leads."""
    right, up = offset
    axes.annotate(
        text,
        at,
        offset,
        textcoords="offset points",
        ha="left" if right > 0 else "right" if right < 0 else "center",
        va="bottom" if up > 0 else "top" if up < 0 else "center",
        color=color,
        weight="bold",
        annotation_clip=False,
        zorder=5,
    )


def label_ends(axes: "Axes", ends: dict[str, float], colors: dict[str, str]) -> None:
    """Name curves right of the axes at the heights of their ends, moved apart where too near."""
    low, high = axes.get_ylim()
    right = axes.get_xlim()[1]
    # The axes are laid out only when drawn; until then the figure's height is the nearest guess.
    gap = 1.3 * FONT_SIZE * (high - low) / (axes.get_window_extent().height * 0.9)
    for name, y in zip(ends, spread(list(ends.values()), gap), strict=True):
        label(axes, name, (right, y), (9, 0), colors[name])


def time_axis(axes: "Axes", times: list[float]) -> None:
    """Label the x axis in milliseconds; it is logarithmic where times differ much."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    locator: LogLocator | MaxNLocator = MaxNLocator(5)
    if max(times) > LOG_FROM * min(times):
        axes.set_xscale("log")
        axes.minorticks_off()
        locator = LogLocator(subs=(1, 2, 5))
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def score_axis(axes: "Axes", metric: Metric) -> None:
    """Label the y axis in units of a metric, with as many digits as the range asks for."""
    (low, high), most = axes.get_ylim(), score_scale(metric)
    span = (high - low) * 100 / most
    digits = 0 if span > 40 else 1 if span > 1.5 else 2
    digits, unit = (digits, " %") if in_percent(metric) else (digits + 2, "")
    axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick <= min(high, most)])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.{digits}f}{unit}")


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar and the texts at its ends."""

    name: str
    role: Role  # gives the colour
    value: float
    label: str
    interval: Interval | None = None

    @property
    def end(self) -> float:
        """Where the ink ends."""
        return max(self.value, self.interval[1]) if self.interval else self.value


def latency_bar(name: str, role: Role, latency: Latency) -> Bar:
    """Return the bar of a median time with its interval."""
    text = milliseconds(latency.p50_ms) + ("*" if latency.noise else "")
    return Bar(name, role, latency.p50_ms, text, latency.p50_ci95_ms)


def draw_bars(axes: "Axes", bars: dict[int, Bar]) -> None:
    """Draw bars from zero, each in its row."""
    colors = [LIGHT[bar.role] for bar in bars.values()]
    axes.barh(list(bars), [bar.value for bar in bars.values()], height=0.6, color=colors)
    for row, bar in bars.items():
        if bar.interval:
            axes.plot(bar.interval, [row, row], color=LIGHT["ink"], linewidth=1.5)
        label(axes, bar.label, (bar.end, row), (8, 0), LIGHT["ink"])
    axes.axvline(0, color=LIGHT["line"], linewidth=1)
    axes.set(xlim=(0, 1.05 * max(bar.end for bar in bars.values()) or 1), xticks=[])
    axes.set_yticks(list(bars), [bar.name for bar in bars.values()])
    for tick, color in zip(axes.get_yticklabels(), colors, strict=True):
        tick.set_color(color)
