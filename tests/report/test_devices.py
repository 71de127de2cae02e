import json
import subprocess
import sys

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from sample_files import model_profile

from kdtool.errors import StudyError
from kdtool.results.base import to_json
from kdtool.results.machines import joined, machine, still_valid
from kdtool.results.profile import Agreement, Comparison, ProfileReport
from kdtool.results.study import load_results
from kdtool.study.device_profiles import load_profile, merge
from kdtool.study.folder import Study


def silent(text):
    raise AssertionError(f"unexpected warning: {text}")


RECIPE = """
name = "mnist"
data.source = "digits"
teacher = { model = "mnist-cnn", epochs = 1, batch_size = 32, learning_rate = 1e-3 }
student = { model = "mnist-mlp", epochs = 1, batch_size = 32, learning_rate = 1e-3 }
"""


@pytest.fixture
def study(build, tmp_path):
    """A finished study with an int8 file and no devices."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    results = build(int8=True, seeds=(0,), num_test=200, roles=("student",))
    (folder / "results.json").write_text(to_json(results))
    (folder / "recipe.toml").write_text(RECIPE)
    return Study(folder), results


def faster(latency, times, **changes):
    return latency.model_copy(update={"p50_ms": latency.p50_ms / times, **changes})


@pytest.fixture
def report(study):
    """What a device prints for the student's two files, in two settings; under other names."""
    _, results = study
    fp32, int8 = results.models["student"].files.values()
    latency = fp32.latency
    in_four = faster(latency, 3, threads=4)
    environment = results.environment.model_copy(update={"cpu": "Cortex-A76", "os": "Linux 6.6"})
    first, second = "C:\\models\\a.onnx", "/home/pi/b.onnx"
    return ProfileReport(
        environment=environment,
        models=[
            model_profile(first, latency, sha256=fp32.sha256, other_latencies=[in_four]),
            model_profile(
                second,
                faster(latency, 2),
                sha256=int8.sha256,
                other_latencies=[faster(in_four, 2)],
            ),
        ],
        comparisons=[
            Comparison(
                of=second,
                against=first,
                threads=1,
                batch_size=1,
                ratio=0.5,
                ci95=(0.4, 0.625),
                verdict="2.00 times faster",
            )
        ],
        matrix_rates=[],
    )


def written(report, path):
    path.write_text(to_json(report))
    return path


def test_figures_of_a_device_join_results_and_report(study, report, tmp_path):
    folder = study[0].folder
    results, num_merged = merge(folder, [written(report, tmp_path / "pi.json")], silent)
    assert num_merged == 1
    assert results == load_results(folder / "results.json")
    (device,) = results.devices
    assert device.environment == report.environment
    fp32, int8 = device.files
    assert [file.precision for file in device.files] == ["fp32", "int8"]
    assert [timing.latency for timing in fp32.timings] == [
        report.models[0].latency,
        *report.models[0].other_latencies,
    ]
    assert [timing.time_ratio for timing in fp32.timings] == [None, None]
    assert [timing.time_ratio for timing in int8.timings] == [0.5, None]  # not compared in four
    assert int8.timings[0].time_ratio_ci95 == (0.4, 0.625)
    for name in ("report.html", "report.md"):
        assert "Cortex-A76, 2 cores" in (folder / name).read_text()


def test_a_comparison_the_other_way_round_is_turned(study, report, tmp_path):
    one = report.comparisons[0]
    turned = one.model_copy(
        update={"of": one.against, "against": one.of, "ratio": 2.0, "ci95": (1.6, 2.5)}
    )
    report = report.model_copy(update={"comparisons": [turned]})
    results, _ = merge(study[0].folder, [written(report, tmp_path / "pi.json")], silent)
    timing = results.devices[0].files[1].timings[0]
    assert timing.time_ratio == 0.5
    assert timing.time_ratio_ci95 == pytest.approx((0.4, 0.625))


def test_the_same_machine_replaces_what_it_measured_before(study, report, tmp_path):
    folder = study[0].folder
    merge(folder, [written(report, tmp_path / "pi.json")], silent)
    fp32 = report.models[0]
    new = faster(fp32.latency, 7)
    again = report.model_copy(
        update={
            "models": [fp32.model_copy(update={"latency": new, "other_latencies": []})],
            "comparisons": [],
        }
    )
    (device,) = merge(folder, [written(again, tmp_path / "again.json")], silent)[0].devices
    found = {
        (file.precision, timing.latency.threads): timing.latency.p50_ms
        for file in device.files
        for timing in file.timings
    }
    before = report.models
    assert found == {
        ("fp32", 1): new.p50_ms,
        ("fp32", 4): before[0].other_latencies[0].p50_ms,
        ("int8", 1): before[1].latency.p50_ms,
        ("int8", 4): before[1].other_latencies[0].p50_ms,
    }


def test_several_machines_and_runtimes_are_shown_side_by_side(study, report, tmp_path):
    fp32 = report.models[0]
    twice = faster(fp32.latency, 2, runtime="openvino")
    openvino = model_profile(fp32.path, twice, sha256=fp32.sha256, name="a (openvino)")
    other = report.environment.model_copy(update={"cpu": "Cortex-A53"})
    reports = [
        report.model_copy(update={"models": [*report.models, openvino]}),
        report.model_copy(update={"environment": other}),
    ]
    paths = [written(one, tmp_path / f"{i}.json") for i, one in enumerate(reports)]
    first, second = merge(study[0].folder, paths, silent)[0].devices
    assert (first.environment.cpu, second.environment.cpu) == ("Cortex-A76", "Cortex-A53")
    runtimes = [timing.latency.runtime for timing in first.files[0].timings]
    assert runtimes == ["onnxruntime", "onnxruntime", "openvino"]


def test_a_converted_file_is_a_timing_of_its_source_with_its_answers(study, report, tmp_path):
    """ncnn reads no ONNX file; the .ort file has other times in ONNX Runtime than its source."""
    fp32 = report.models[0]
    agreement = Agreement(
        num_golden=16,
        num_patterns=64,
        num_flipped=12,
        num_ties=0,
        max_difference=0.4,
        problem="12 of 80 images get another class",
    )
    changes = {"source_sha256": fp32.sha256, "agreement": agreement}
    ncnn, ort = (
        model_profile(path, faster(fp32.latency, 2, runtime=runtime), sha256=sha * 32).model_copy(
            update=changes
        )
        for path, sha, runtime in (
            ("targets/ncnn/model.param", "77", "ncnn"),
            ("targets/ort/model.ort", "88", "onnxruntime"),
        )
    )
    report = report.model_copy(update={"models": [fp32, ncnn, ort], "comparisons": []})
    warnings = []
    path = written(report, tmp_path / "pi.json")
    (device,) = merge(study[0].folder, [path], warnings.append)[0].devices
    (file,) = device.files
    found = [(one.latency.runtime, one.latency.threads, one.agreement) for one in file.timings]
    assert found == [("onnxruntime", 1, None), ("onnxruntime", 4, None), ("ncnn", 1, agreement)]
    assert len(warnings) == 1
    assert f"left out model.ort ({'88' * 6}) is not a file of this study" in warnings[0]
    assert "ncnn, CPU" in (study[0].folder / "report.md").read_text()


def test_figures_with_other_software_are_not_mixed(study, report, tmp_path):
    newer = report.environment.model_copy(update={"packages": {"onnxruntime": "1.24.0"}})
    fp32 = report.models[0].model_copy(update={"other_latencies": []})
    again = report.model_copy(update={"environment": newer, "models": [fp32], "comparisons": []})
    paths = [written(one, tmp_path / f"{i}.json") for i, one in enumerate((report, again))]
    old, new = merge(study[0].folder, paths, silent)[0].devices
    assert machine(old.environment) == machine(new.environment)
    assert [len(file.timings) for file in old.files] == [1, 2]
    assert [len(file.timings) for file in new.files] == [1]


def test_joining_twice_is_joining_once(build):
    results = build(int8=True, devices=(("Pi", 6.0, 1.1), ("Board", 2.0, 1.0)))
    one, other = results.devices
    assert joined([one, other], other) == [one, other]
    assert joined([], one) == [one]


def test_models_of_other_studies_are_named_and_left_out(study, report, tmp_path):
    stranger = model_profile("dir/resnet50.onnx", report.models[0].latency, sha256="00" * 32)
    again = model_profile("student.int8.onnx", report.models[0].latency, sha256="11" * 32)
    report = report.model_copy(update={"models": [report.models[0], stranger, again]})
    warnings = []
    path = written(report, tmp_path / "pi.json")
    (device,) = merge(study[0].folder, [path], warnings.append)[0].devices
    assert [file.precision for file in device.files] == ["fp32"]
    (warning,) = warnings
    assert "left out resnet50.onnx (000000000000) is not a file of this study" in warning
    assert "student.int8.onnx (111111111111) differs from student.int8.onnx of the study" in warning


def test_figures_stay_as_long_as_their_file_is_unchanged(build):
    results = build(int8=True, devices=(("Pi", 6.0, 1.1),))
    assert still_valid(results.devices, results.models) == results.devices
    student = results.models["student"]
    changed = student.files["int8"].model_copy(update={"sha256": "77" * 32})
    files = {**student.files, "int8": changed}
    models = {**results.models, "student": student.model_copy(update={"files": files})}
    (device,) = still_valid(results.devices, models)
    assert device.files == results.devices[0].files[:1]
    assert still_valid(results.devices, {}) == []


def test_windows_powershell_writes_utf_16(report, tmp_path):
    for encoding in ("utf-16", "utf-8-sig"):
        path = tmp_path / f"{encoding}.json"
        path.write_text(to_json(report), encoding=encoding)
        assert load_profile(path) == report


HOW = "make one on the device: `kdtool profile MODEL.onnx... --json > device.json`"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", f"is not JSON (.*); {HOW}"),
        (b"\x00\xff\x80", f"is not JSON (.*); {HOW}"),
        (b"model  parameters\nstudent.onnx  12 k\n", f"is not JSON (.*); {HOW}"),
        (b"[" * 100_000, f"is not JSON (.*); {HOW}"),
        (b"[]", f"is not a profile; {HOW}"),
        (b'{"name": "mnist"}', f"is not a profile; {HOW}"),
        (
            b'{"schema": 2, "environment": {}, "models": []}',
            "is a profile of schema 2, this kdtool reads 1; measure again with the same kdtool",
        ),
        (
            b'{"schema": 1, "environment": {}, "models": []}',
            f"is not a complete profile of schema 1: environment.kdtool: Field required; {HOW}",
        ),
    ],
)
def test_what_is_no_profile_says_how_to_make_one(study, tmp_path, content, message):
    path = tmp_path / "pi.json"
    path.write_bytes(content)
    before = study[0].results_path.read_bytes()
    with pytest.raises(StudyError) as error:
        merge(study[0].folder, [path], silent)
    start, _, end = message.partition("(.*)")
    assert str(error.value).startswith(f"{path} {start}")
    assert end in str(error.value)
    assert study[0].results_path.read_bytes() == before


def test_a_results_json_is_no_profile(study):
    with pytest.raises(StudyError, match=r"is the results\.json of a study, not a profile"):
        merge(study[0].folder, [study[0].results_path], silent)


def test_a_profile_that_is_not_there(study, tmp_path):
    with pytest.raises(StudyError, match=r"cannot read .*pi\.json: No such file"):
        merge(study[0].folder, [tmp_path / "pi.json"], silent)


def test_a_study_that_is_not_there_is_not_made(report, tmp_path):
    with pytest.raises(StudyError, match="holds no finished study"):
        merge(tmp_path / "other", [written(report, tmp_path / "pi.json")], silent)
    assert not (tmp_path / "other").exists()


def test_a_study_in_use_is_left_alone(study, report, tmp_path):
    path = written(report, tmp_path / "pi.json")
    with study[0].locked(), pytest.raises(StudyError, match="in use by another kdtool run"):
        merge(study[0].folder, [path], silent)


def test_a_profile_without_a_file_of_the_study_changes_nothing(study, report, tmp_path):
    folder = study[0].folder
    exported_again = model_profile("student.onnx", report.models[0].latency, sha256="00" * 32)
    good = written(report, tmp_path / "good.json")
    bad = report.model_copy(update={"models": [exported_again], "comparisons": []})
    before = study[0].results_path.read_bytes()
    with pytest.raises(StudyError) as error:
        merge(folder, [good, written(bad, tmp_path / "bad.json")], silent)
    message = str(error.value)
    assert "bad.json has no file of this study: student.onnx (000000000000) differs" in message
    assert f"copy {folder / 'student.onnx'} to the device and measure it there" in message
    assert "student.int8.onnx (8b8b8b8b8b8b)" in message
    assert study[0].results_path.read_bytes() == before
    assert not (folder / "report.html").exists()


def test_merging_needs_no_torch(study, report, tmp_path):
    path = written(report, tmp_path / "pi.json")
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'torchvision', 'onnxruntime']));"
        "from pathlib import Path; from kdtool.study.device_profiles import merge;"
        f"merge(Path({str(study[0].folder)!r}), [Path({str(path)!r})], print)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(study[0].results_path.read_text())["devices"]) == 1
