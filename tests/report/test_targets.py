"""The section about other runtimes."""

import pytest
from sample_files import sample_targets

from kdtool.report.sections.cost.targets import refusals, section
from kdtool.results.targets import valid_targets


@pytest.fixture
def results(build):
    return build(num_test=1000).model_copy(update={"targets": sample_targets()})


def test_both_reports_have_a_row_for_each_runtime_and_the_refusals(write, results, typed):
    html, markdown = map(typed, write(results))
    row = "| openvino 2026.4.1 | fp32 | 1,000 of 1,000 | 2e-07 | 1.25 MB | 0.91x"
    assert f"{row} (noisy) (0.88 to 0.95) |" in markdown
    assert "| opencv 5.0.0.93 | refused | - | - | - | - |" in markdown
    assert "tract 0.23.9 | int8 | 1,000 of 1,000, 1 tie | 0.03 |" in markdown
    assert html.count('<section id="targets">') == 1
    assert "tract 0.23.9" in html
    assert "6 of 1,000 test images get another class" in html


def test_a_study_without_targets_has_no_section(build, write):
    results = build()
    assert section(results) is None
    html, markdown = write(results)
    assert "Other runtimes" not in html + markdown


def test_a_refusal_names_what_works(results):
    texts = refusals(results)
    assert len(texts) == 3
    assert texts[0].endswith("; targets/openvino has the fp32 file, which is right there.")
    assert texts[1].endswith("; ort, openvino and tract answered rightly.")
    alone = results.model_copy(update={"targets": results.targets[2:3]})
    assert refusals(alone)[0].endswith("; the study's own ONNX file in ONNX Runtime is right.")


def test_targets_of_other_files_are_no_longer_valid():
    targets = sample_targets()
    assert valid_targets(targets, {"8b" * 32}) == targets
    assert valid_targets(targets, {"00" * 32}) == []
