import re
import tomllib

import numpy as np
import pytest
from page_reader import Page

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from kdtool.errors import StudyError
from kdtool.report.context import report_context
from kdtool.report.write import render_markdown, write_report


def test_report_says_verdict_first_and_shows_all_parts(full):
    parts = [
        "HELPED",
        "Distillation helped: the student is",
        "The models side by side",
        "Accuracy against latency",
        "The file to ship",
        "On devices",
        "Sweep over",
        "Class by class",
        "Where the models look",
        "Accuracy and loss during training",
        "How it was made",
        full.results.data.fingerprint,
    ]
    for text in (Page(full.html).words, full.markdown):
        place = 0
        for part in parts:
            place = text.index(part, place)


def test_page_needs_no_network(full):
    page = Page(full.html)
    assert page.resources
    assert all(url.startswith(("data:image/png", "#")) for url in page.resources)
    assert "http" not in full.html
    assert "url(" not in full.html.replace("url(#", "")
    assert not {"script", "link", "iframe"} & page.tags


def test_images_of_markdown_exist_and_are_all_that_is_written(full):
    linked = set(re.findall(r"!\[[^\]]*\]\(([^)]+)\)", full.markdown))
    figures = (full.folder / "figures").iterdir()
    assert linked == {str(path.relative_to(full.folder)) for path in figures}
    assert len(linked) == 11


def test_no_unfinished_files_are_left(full):
    names = {path.name for path in full.folder.iterdir()}
    assert names == {"report.html", "report.md", "figures", "saliency.npz"}


def test_report_is_the_same_each_time(full, write):
    assert write(full.results) == (full.html, full.markdown)


@pytest.mark.parametrize(
    "options",
    [
        {"seeds": (3,)},
        {"sweep_keys": 3},
        {"classes": ("healthy", "pneumonia"), "num_test": 200},
        {"classes": tuple(f"class {i}" for i in range(100)), "sweep_keys": 1, "seeds": (0,)},
        {"latency": False},
        {"latency": False, "int8": True},
        {"int8": True},
        {"int8": True, "devices": (("Raspberry Pi 4", 6.0, None),)},
        {"devices": (("Raspberry Pi 4", 6.0, None),)},
        {"roles": ("teacher",), "explain": True},
        {"roles": ("control",)},
        {"roles": ("control", "student")},
        {"roles": ()},
    ],
    ids=str,
)
def test_every_shape_of_study_renders(build, write, options):
    html, markdown = write(build(**options))
    text = Page(html).words
    for output in (text, markdown):
        assert "How it was made" in output
        assert not re.search(r"\b(None|nan|Undefined|inf)\b", output)
    assert ("HELPED" in text) == (
        {"control", "student"} <= set(options.get("roles", ("control", "student")))
    )


def test_a_model_without_mistakes_renders(build, write):
    html, _ = write(build(roles=("student",), accuracy={"student": 1.1}, num_test=300))
    assert "The student made no mistake on the test images." in Page(html).words


def test_a_single_seed_is_called_that(build, write):
    for text in write(build(roles=("control", "student"), latency=False, seeds=(3,))):
        assert "another seed may give another verdict" in text


def test_warnings_come_before_all_else(build, write):
    results = build(roles=())
    data = results.data.model_copy(update={"warnings": ["These are 5,000 digits <only>."]})
    html, markdown = write(results.model_copy(update={"data": data}))
    text = Page(html).words
    assert text.index("These are 5,000 digits <only>.") < text.index("kdtool report mnist")
    assert markdown.startswith("> **Warning:** These are 5,000 digits &lt;only&gt;.")


@pytest.mark.parametrize(
    ("student", "word"), [(0.9868, "HELPED"), (0.9803, "NO EVIDENCE"), (0.9700, "HURT")]
)
def test_badge_is_the_verdict(build, write, student, word):
    accuracy = {"control": 0.9803, "student": student}
    results = build(roles=("control", "student"), latency=False, accuracy=accuracy)
    assert results.verdicts[0].verdict == word
    html, markdown = write(results)
    decided, verdict = re.findall(r'class="badge \w+">([^<]+)<', html)
    assert decided == ("SHIP NOTHING" if word == "HURT" else "SHIP")
    assert verdict == word
    assert f"**{word}**" in markdown


def test_hostile_class_names_are_only_text(hostile):
    page = Page(hostile.html)
    assert "script" not in page.tags
    for name in hostile.results.data.classes[:8]:
        assert name in page.words
    assert "two lines" in page.words
    for text in (hostile.html, hostile.markdown):
        assert "<script>" not in text
        assert "\x1b" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in hostile.markdown
    assert r"{{ 7 \* 7 }}" in hostile.markdown


@pytest.mark.parametrize(("name", "number"), [("hostile", 22), ("mhist", 8)])
def test_rows_of_markdown_tables_have_as_many_cells_as_their_heads(request, name, number):
    markdown = request.getfixturevalue(name).markdown
    tables = re.findall(r"(?:^\|.*\n)+", markdown, flags=re.MULTILINE)
    assert len(tables) == number
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table
        assert re.fullmatch(r"\|(?:-+:?\|)+", table.splitlines()[1])


def test_recipe_can_be_read_back_from_the_markdown(build, tmp_path):
    results = build()
    results.recipe["name"] = "fence ``` inside"
    markdown = render_markdown(report_context(results, tmp_path))
    fence, recipe = re.search(
        r"^(`{3,})toml\n(.*?)^\1$", markdown, re.MULTILINE | re.DOTALL
    ).groups()
    assert fence == "````"
    read = tomllib.loads(recipe)
    assert read["distill"] == results.recipe["distill"]
    assert read["name"] == "fence ``` inside"
    assert "root" not in read["data"]  # None: TOML has no such value


def test_missing_saliency_is_an_error_that_says_how_to_fix_it(build, tmp_path):
    with pytest.raises(StudyError, match="kdtool explain") as error:
        write_report(build(explain=True), tmp_path)
    assert "saliency.npz" in str(error.value)
    assert not (tmp_path / "report.html").exists()


def test_saliency_of_another_study_is_an_error(build, tmp_path):
    np.savez(tmp_path / "saliency.npz", images=np.zeros((3, 8, 8, 1), np.uint8))
    with pytest.raises(StudyError, match="has 8 explained images"):
        write_report(build(explain=True), tmp_path)
