"""The report in a browser: with a keyboard, a screen reader, on a phone, in the dark, on paper.

Needs Chromium (apt install chromium). Without it these tests are skipped, except where
KDTOOL_REQUIRE_CHROMIUM=1 is set: there they fail. Studies of your own are tested too if they are
named: KDTOOL_STUDIES=runs/mnist:runs/folder.
"""

import os
import re
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from chromium import AXE, AXE_TAGS, running_chromium, violations
from report_fixtures import write_and_read
from sample_files import sample_targets
from sample_study import build_results

from kdtool.report.parts.canvas import LIGHT

SMALLEST, PHONE, TABLET, DESKTOP = 320, 390, 800, 1280  # pixels
PHONE_HEIGHT = 844
FIRST_TABLES = 721  # just wider than a phone: the least room in which tables are drawn as tables
PAPER = 702  # A4 less the margins of the style sheet, in pixels of 1/96 inch

KINDS = ("warbler", "oak", "mushroom", "beetle", "fox", "orchid")
FOLDER = {
    "classes": [f"{look} {kind}" for look in ("red", "great spotted", "common") for kind in KINDS],
    "seeds": (0, 1),
    "num_test": 900,
    "accuracy": {"teacher": 0.9, "control": 0.75, "student": 0.7},  # hurt: nothing is shipped
    "int8": {"recommended": False, "reason": "it is not measurably faster"},
}
WARNING = (
    "MNIST could not be downloaded (Name or service not known): 5,000 of its digits are used "
    "instead, 4,000 to train on and 1,000 to test on, of 60,000 and 10,000. For the full set put "
    "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, "
    "t10k-labels-idx1-ubyte.gz into a folder DIR and use --set data.root=DIR."
)


def mnist():
    results = build_results(explain=True, int8=True, evidence={}, num_test=1000)
    data = results.data.model_copy(update={"warnings": [WARNING]})
    return results.model_copy(update={"data": data, "targets": sample_targets()})


@pytest.fixture(scope="module")
def browser():
    with running_chromium() as started:
        yield started


OWN = [one for one in os.environ.get("KDTOOL_STUDIES", "").split(os.pathsep) if one]
STUDIES = ("mnist", "two classes with subclasses", "a sweep", "a folder", "merged devices", *OWN)


@pytest.fixture(scope="module", params=STUDIES)
def page(request, browser, tmp_path_factory):
    """The report of a study in a browser, as it opens."""
    fixtures = {
        "two classes with subclasses": "subclass",
        "a sweep": "mhist",
        "merged devices": "full",
    }
    if request.param in OWN:
        folder = Path(request.param).resolve()
    elif request.param in fixtures:
        folder = request.getfixturevalue(fixtures[request.param]).folder
    else:
        folder = tmp_path_factory.mktemp("page")
        results = mnist() if request.param == "mnist" else build_results(**FOLDER)
        write_and_read(results, folder)
    opened = browser.new_page()
    opened.goto((folder / "report.html").as_uri())
    yield opened
    opened.close()


@pytest.fixture
def folded(page):
    """The page as it opens, light and 1280 pixels wide."""
    show(page, DESKTOP)
    return page


@pytest.fixture
def unfolded(folded):
    """The page with all that is folded open, until the end of the test."""
    folded.evaluate("""document.querySelectorAll("details:not([open])").forEach(one => {
        one.open = true; one.classList.add("opened") })""")
    yield folded
    folded.evaluate("document.querySelectorAll('.opened').forEach(one => one.open = false)")


def show(page, width, scheme="light", media="screen"):
    page.set_viewport_size({"width": width, "height": PHONE_HEIGHT})
    page.emulate_media(media=media, color_scheme=scheme)


# A fifth row or picture is built as the first four are, and nobody is read the inside of a figure.
SAMPLE = """document.querySelectorAll(`svg > *, tbody tr:nth-child(n+5), .claims > :nth-child(n+5),
    .strip > :nth-child(n+5), .said > :nth-child(n+5), .pictures:nth-child(n+5)`)
    .forEach(one => one.remove())"""


@pytest.fixture
def sample(unfolded):
    """The open page with as many rows as axe-core needs to see."""
    unfolded.evaluate(SAMPLE)
    yield unfolded
    unfolded.reload()


def test_axe_finds_no_fault(sample):
    sample.evaluate(AXE)
    for width in (PHONE, DESKTOP):
        show(sample, width)
        assert violations(sample, AXE_TAGS) == []
        show(sample, width, "dark")  # only colours differ
        assert violations(sample, {"type": "rule", "values": ["color-contrast"]}) == []


# Elements of the page itself that end right of a width; those in a box that scrolls end with it.
CUT = """width => [...document.querySelectorAll("main *:not(svg *)")]
    .filter(one => one.getBoundingClientRect().right > width + 1 && !one.closest(".scroll table"))
    .map(one => `${one.tagName} ${one.className} ${one.textContent.slice(0, 40)}`)"""


def test_nothing_is_wider_than_the_page(unfolded):
    for width in (SMALLEST, PHONE, FIRST_TABLES, TABLET, DESKTOP):
        show(unfolded, width)
        assert unfolded.evaluate("document.documentElement.scrollWidth") <= width
        assert unfolded.evaluate(CUT, width) == [], width


# Each box that scrolls sideways: its name, does the keyboard reach it, is more in it than shown?
BOXES = """[...document.querySelectorAll("main *:not(svg *)")]
    .filter(one => ["auto", "scroll"].includes(getComputedStyle(one).overflowX))
    .map(one => [one.getAttribute("role") == "region" && one.getAttribute("aria-label"),
                 one.tabIndex == 0, one.scrollWidth > one.clientWidth])"""


def test_boxes_that_scroll_have_a_name_and_the_focus_and_can_overflow(unfolded):
    overflowing = set()
    for width in (PHONE, FIRST_TABLES, DESKTOP):
        show(unfolded, width)
        boxes = unfolded.evaluate(BOXES)
        assert all(name and focusable for name, focusable, _ in boxes)
        overflowing |= {name for name, _, overflows in boxes if overflows}
    names = {name for name, _, _ in boxes}
    assert len(names) == len(boxes)  # each has a name of its own
    if not any(Path(one).resolve().as_uri() in unfolded.url for one in OWN):  # may be small
        assert overflowing == names


def test_on_a_phone_only_maps_of_subclasses_scroll_and_keep_their_class_in_view(unfolded):
    show(unfolded, PHONE)
    maps = 0
    for box in unfolded.locator(".scroll").all():
        if box.evaluate("one => one.scrollWidth == one.clientWidth"):
            continue
        assert re.match("(Share of each subclass|Fine classes)", box.get_attribute("aria-label"))
        heading = box.locator("tbody th").first
        before = heading.bounding_box()["x"]
        box.evaluate("one => one.scrollLeft = one.scrollWidth")
        assert heading.bounding_box()["x"] == before
        box.evaluate("one => one.scrollLeft = 0")
        maps += 1
    assert maps == (4 if unfolded.locator("#subclasses").count() else 0)


def test_the_first_screen_of_a_phone_says_what_to_ship(folded):
    show(folded, PHONE)
    said = folded.locator(".decision > .badge")
    assert said.inner_text() in ("SHIP", "SHIP NOTHING")
    reason = folded.locator(".decision > p").first
    for one in (said, reason, folded.locator(".tiles > div, .decision > .half").first):
        box = one.bounding_box()
        assert box["y"] + box["height"] <= PHONE_HEIGHT


def test_figures_have_a_name_and_are_read_as_one(unfolded):
    names = unfolded.locator("svg:visible:not([width='0'])").evaluate_all(
        "all => all.map(one => [one.getAttribute('role'), one.getAttribute('aria-label')])"
    )
    assert len(names) >= 4
    assert all(role == "img" and len(name) > 5 for role, name in names)


# What a keyboard must reach, in the order of the page; of folded parts only their summary.
REACHABLE = """[...document.querySelectorAll("a[href], summary, .scroll")]
    .filter(one => one.checkVisibility({contentVisibilityAuto: true}))
    .map(one => one.getAttribute("aria-label") || one.textContent)"""
FOCUSED = """() => {
    const one = document.activeElement, style = getComputedStyle(one);
    return [one == document.body ? null : one.getAttribute("aria-label") || one.textContent,
            style.outlineStyle == "solid" && parseFloat(style.outlineWidth)];
}"""


@pytest.mark.parametrize("page", ["merged devices"], indirect=True)
def test_the_keyboard_reaches_everything_in_order_and_shows_where_it_is(folded):
    folded.reload()  # the focus is nowhere
    reached = []
    for expected in folded.evaluate(REACHABLE):
        folded.keyboard.press("Tab")
        name, ring = folded.evaluate(FOCUSED)
        assert name == expected
        assert ring >= 2, name  # pixels
        reached.append(name)
    folded.keyboard.press("Tab")
    assert folded.evaluate(FOCUSED)[0] is None
    assert {"Models", "Times and memory on each machine", "The numbers"} <= set(reached)


@pytest.mark.parametrize("page", ["merged devices"], indirect=True)
def test_the_keyboard_opens_what_is_folded_and_what_is_in_it_is_reached(folded):
    folded.reload()
    folded.locator("#sweep summary").focus()
    folded.keyboard.press("Enter")
    folded.keyboard.press("Tab")
    assert folded.evaluate(FOCUSED)[0] == "Settings that were tried"


# Rows that a page may break, and parts of folded blocks that are not printed.
BREAKABLE = """[...document.querySelectorAll("tr")]
    .filter(one => getComputedStyle(one).breakInside != "avoid").length"""
MISSING = """[...document.querySelectorAll("details:not([open]) > *")]
    .filter(one => !one.checkVisibility({contentVisibilityAuto: true})
                   || !one.getBoundingClientRect().height)
    .map(one => one.textContent.slice(0, 40))"""


def test_on_paper_all_is_open_light_and_inside_the_margins(folded):
    assert folded.evaluate(MISSING)  # on the screen it is folded
    show(folded, PAPER, "dark", "print")
    assert folded.evaluate(MISSING) == []
    assert folded.evaluate(CUT, PAPER) == []
    assert folded.evaluate("document.documentElement.scrollWidth") <= PAPER
    assert folded.evaluate(BREAKABLE) == 0
    ink, paper = folded.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    red, green, blue = (int(LIGHT["ink"][i : i + 2], 16) for i in (1, 3, 5))
    assert ink == f"rgb({red}, {green}, {blue})"
    assert paper == "rgba(0, 0, 0, 0)"  # nothing is printed there


@pytest.mark.parametrize("page", ["mnist"], indirect=True)
def test_it_prints_to_a_pdf_of_several_pages(folded):
    pdf = folded.pdf(format="A4", prefer_css_page_size=True)
    assert pdf.startswith(b"%PDF")
    assert 5 <= int(re.search(rb"/Count (\d+)", pdf)[1]) <= 20


@pytest.mark.parametrize("page", ["mnist"], indirect=True)
def test_the_page_is_light_enough_to_mail(folded):
    assert len(folded.content().encode()) < 400_000
