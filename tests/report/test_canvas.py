import itertools
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from kdtool.report.parts.canvas import (
    DARK,
    LIGHT,
    STRONGEST,
    inline,
    label,
    new_figure,
    on_white,
    spread,
    style,
    to_svg,
)
from kdtool.results.base import ROLES


def luminance(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
    light, dark = sorted([luminance(first), luminance(second)], reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["ink", "muted", *ROLES, "better", "worse"])
def test_text_stands_out_from_page_and_panel_as_wcag_asks(scheme, name):
    for background in ("panel", "page"):
        assert contrast(scheme[name], scheme[background]) >= 4.5  # AA, of small text


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("role", ROLES)
def test_numbers_can_be_read_on_the_strongest_cell_of_a_heat_map(scheme, role):
    over, under = (
        [int(scheme[name][i : i + 2], 16) for i in (1, 3, 5)] for name in (role, "panel")
    )
    mixed = [STRONGEST * a + (1 - STRONGEST) * b for a, b in zip(over, under, strict=True)]
    cell = "#" + "".join(f"{round(channel):02x}" for channel in mixed)
    assert contrast(scheme["ink"], cell) >= 4.5


# What people without green or without red cones see of linear RGB.
# Source: Machado, Oliveira and Fernandes 2009, IEEE TVCG 15, 1291, severity 1.
COLOR_BLIND = {
    "nobody": np.eye(3),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
}


def lab(color, seen):
    """CIELAB of a colour under D65 light as somebody sees it."""
    channels = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = to_xyz @ np.clip(seen @ linear, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("seen", COLOR_BLIND.values(), ids=list(COLOR_BLIND))
def test_colours_of_roles_differ_also_for_the_colour_blind(scheme, seen):
    for one, other in itertools.combinations(ROLES, 2):
        distance = np.linalg.norm(lab(scheme[one], seen) - lab(scheme[other], seen))
        assert distance > 18, (one, other, distance)  # 2.3 can just be told apart


def test_both_schemes_name_the_same_colours_and_light_ones_are_unique():
    assert LIGHT.keys() == DARK.keys()
    assert len(set(LIGHT.values())) == len(LIGHT)


def drawn(text="x"):
    with style():
        figure = new_figure(200, 100)
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=LIGHT["student"])
        label(axes, text, (0.5, 0.5), (4, 0), LIGHT["ink"])
        return figure


def test_an_inline_svg_takes_colours_and_font_from_the_page():
    svg = inline(to_svg(drawn(), "a"), "x")
    assert "var(--student)" in svg
    assert LIGHT["student"] not in svg
    assert "font-family" not in svg
    assert "http" not in svg
    assert svg.startswith('<svg viewBox="0 0 200 100"')
    assert 'role="img" aria-label="x"' in svg
    assert svg.endswith("</svg>")


def test_svg_text_is_kept_as_it_is_and_escaped():
    svg = to_svg(drawn("$x$ <script> #ffffff"), "a")
    assert "$x$ &lt;script&gt; #ffffff" in svg
    assert "$x$ &lt;script&gt; #ffffff" in inline(svg, "x")


def test_the_name_of_an_inline_svg_is_kept_as_it_is_and_escaped():
    svg = inline(to_svg(drawn(), "a"), r'"a" & \1 <b>')
    assert r'aria-label="&quot;a&quot; &amp; \1 &lt;b&gt;"' in svg


def test_svg_of_the_same_figure_is_the_same_and_names_do_not_clash():
    first = to_svg(drawn(), "a")
    assert first == to_svg(drawn(), "a")
    identifier = first.split('clipPath id="')[1].split('"')[0]
    assert identifier not in to_svg(drawn(), "b")


def test_the_svg_of_a_file_is_a_document_in_fixed_colours_on_white():
    svg = ElementTree.fromstring(on_white(to_svg(drawn(), "a")))
    assert (svg.get("width"), svg.get("height")) == ("200pt", "100pt")
    assert svg[0].attrib == {"width": "100%", "height": "100%", "fill": "#ffffff"}
    text = ElementTree.tostring(svg, encoding="unicode")
    assert LIGHT["student"] in text
    assert "var(" not in text


@pytest.mark.parametrize("values", [[1.0, 1.0, 1.0], [3.0, 1.0, 1.1], [0.0, 5.0], [2.0]])
def test_spread_keeps_the_order_and_the_gap(values):
    placed = spread(values, 0.5)
    ordered = sorted(placed)
    assert all(b - a >= 0.499 for a, b in itertools.pairwise(ordered))
    for i, first in enumerate(values):
        for j, second in enumerate(values):
            assert first >= second or placed[i] < placed[j]
    assert sum(placed) == pytest.approx(sum(values))
