"""When a runtime's answers count as those of ONNX Runtime, against cases in closed form."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from kdtool.edge.targets.target import TARGETS, check_installed, package_of, target_of
from kdtool.edge.targets.verify import cause, compare
from kdtool.errors import KdtoolError

EXPECTED = np.array([[0.7, 0.2, 0.1], [0.4002, 0.3999, 0.1999], [0.1, 0.1, 0.8]], np.float32)


def check(given, precision="fp32", expected=EXPECTED, positive=None, threshold=None):
    return compare(
        np.asarray(given, np.float32),
        expected,
        precision,
        positive=positive,
        threshold=threshold,
        sha256="0" * 64,
    )


def moved(image, by):
    """The expected answers, with a part of the first probability moved to the second."""
    given = EXPECTED.copy()
    given[image, 0] -= by
    given[image, 1] += by
    return given


CASES = [
    # (precision, image, how much, flipped, ties, words of the refusal)
    ("fp32", 0, 1e-4, [], [], None),
    ("fp32", 0, 2e-3, [], [], "a probability differs by up to 0.002, allowed is 0.001"),
    ("fp32", 1, 5e-4, [], [1], None),  # a margin of 3e-4: rounding decides
    ("fp32", 1, 2e-4, [1], [], "1 of 3 test images get another class"),  # beyond rounding
    ("int8", 0, 0.04, [], [], None),
    ("int8", 0, 0.3, [0], [], "1 of 3 test images get another class"),
    ("int8", 1, 0.06, [], [1], None),
    ("int8", 0, 0.2, [], [], None),  # the same class: another rounding of integers
    ("int8", 2, -0.26, [], [], "a probability differs by up to 0.26, allowed is 0.25"),
]


@pytest.mark.parametrize(("precision", "image", "by", "flipped", "ties", "words"), CASES)
def test_differences_ties_and_flips(precision, image, by, flipped, ties, words):
    found = check(moved(image, by), precision)
    assert (found.flipped, found.ties) == (flipped, ties)
    assert found.max_difference == pytest.approx(abs(by), rel=1e-3)
    assert found.agreement == pytest.approx(1 - len(flipped) / 3)
    assert words is None if found.refused is None else words in found.refused


def test_values_that_are_not_finite_are_refused():
    given = EXPECTED.copy()
    given[2, 1] = np.nan
    found = check(given)
    assert found.refused == "some of its probabilities are not finite"
    assert (found.max_difference, found.flipped) == (None, [2])


@pytest.mark.parametrize("given", [EXPECTED[:2], EXPECTED[:, :2], EXPECTED[None]])
def test_answers_of_another_shape_are_refused(given):
    found = check(given)
    assert found.refused.startswith("its answers have another shape: ")
    assert found.agreement is None


def test_a_threshold_calls_the_class():
    expected = np.array([[0.71, 0.29], [0.6, 0.4]], np.float32)
    given = np.array([[0.69, 0.31], [0.6, 0.4]], np.float32)
    found = check(given, "int8", expected, positive=1, threshold=0.3)
    assert (found.flipped, found.ties) == ([], [0])
    assert check(given, "fp32", expected, positive=1, threshold=0.3).flipped == [0]
    assert check(given, "int8", expected).flipped == []


def test_the_cause_is_what_an_error_says_without_the_places_in_the_source():
    stderr = (
        "[WARN] the model cannot be loaded. Unsupported operations:\n\tQuickGelu\n\n"
        'Traceback (most recent call last):\n  File "run.py", line 3, in <module>\n'
        "    main(load, predict)\n    ^^^^\nValueError: OpenCV does not read the file\n"
    )
    assert cause(stderr) == (
        "[WARN] the model cannot be loaded. Unsupported operations: QuickGelu ValueError: OpenCV "
        "does not read the file"
    )
    assert len(cause("x" * 5000)) < 450


def test_a_runtime_that_is_not_installed_is_one_error_that_says_how(monkeypatch):
    for module in ("cv2", "tract"):  # imported by another test
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr("sys.path", [])
    monkeypatch.setattr("sys.meta_path", [])
    names = [one.name for one in TARGETS if one.name in ("opencv", "tract")]
    with pytest.raises(KdtoolError) as caught:
        check_installed(names)
    for words in ("--for opencv needs opencv-python-headless", "--for tract needs tract"):
        assert words in str(caught.value)


def test_a_package_without_a_file_of_its_own_is_installed_and_a_mere_folder_is_not(
    tmp_path, monkeypatch
):
    for name in [one for one in sys.modules if one.split(".")[0] == "executorch"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    (tmp_path / "executorch" / "runtime").mkdir(parents=True)  # no __init__.py, as in 1.5
    with pytest.raises(KdtoolError, match="--for executorch needs executorch"):
        check_installed(["executorch"])
    metadata = tmp_path / "executorch-1.5.1.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: executorch\nVersion: 1.5.1\n")
    check_installed(["executorch"])


def test_another_package_with_the_module_will_do():
    """Such as onnxruntime-gpu, beside which onnxruntime must not be installed."""
    ort = target_of("ort")
    assert package_of(ort) == "onnxruntime"
    assert package_of(replace(ort, package="onnxruntime-of-another-build")) == "onnxruntime"
    assert package_of(replace(ort, package="none", module="no_such_module")) == "none"
