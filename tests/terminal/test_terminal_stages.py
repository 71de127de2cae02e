import io
from pathlib import Path

import pytest
from rich.console import Console
from sample_files import sample_targets
from sample_scores import pretrained

from kdtool.cli.options import show
from kdtool.errors import GateError
from kdtool.terminal.devices import show_devices
from kdtool.terminal.stages import show_explained, show_files, show_kit, show_trained
from kdtool.terminal.study import next_steps, show_results, show_warnings
from kdtool.terminal.text import show_next

FOLDER = Path("runs/mnist")
SHOWS = {
    "results": show_results,
    "files": show_files,
    "kit": show_kit,
    "devices": show_devices,
    "explained": show_explained,
    "trained": lambda console, results, folder: show_trained(
        console, results, folder, next(iter(results.models))
    ),
}


def shown(show, results, encoding="utf-8", width=80):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    show(Console(file=stream, width=width), results, FOLDER)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def flat(text):
    return " ".join(text.split())


@pytest.mark.parametrize("show", SHOWS)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_all_fits_80_columns_and_the_letters_of_the_terminal(build, show, encoding):
    devices = (("日本 Board", 6.0, 1.1),)
    results = build(explain=True, int8=True, devices=devices, classes=("猫", "dog", "b"))
    results = results.model_copy(update={"targets": sample_targets()})
    text = shown(SHOWS[show], results, encoding)
    assert max(map(len, text.splitlines())) <= 80
    assert "None" not in text


@pytest.mark.parametrize("show", SHOWS)
@pytest.mark.parametrize(
    "options", [{"roles": ("control",)}, {"seeds": (3,)}, {"latency": False, "int8": True}], ids=str
)
def test_every_shape_of_study_is_shown(build, show, options):
    text = shown(SHOWS[show], build(**options))
    assert "None" not in text
    assert "runs/mnist/report.html" in text or "This study has no saliency maps" in text


def test_files_are_listed_with_what_identifies_them(build):
    results = build(int8=True)
    lines = [flat(line) for line in shown(show_files, results).splitlines()]
    accuracy = 100 * results.models["student"].files["int8"].accuracy
    assert f"student.int8.onnx int8 18 1.25 MB {accuracy:.2f} % 99.80 % 8b8b8b8b8b8b yes" in lines
    assert "Ship student.int8.onnx. It takes 0.62 of the time of fp32 (0.60 to 0.64)." in lines
    assert sum(line.endswith(" yes") for line in lines) == 1


def test_attempts_for_int8_are_printed(build):
    text = shown(show_files, build(int8=True), "ascii").replace("|", " ")
    lines = [flat(line) for line in text.splitlines()]
    said = "student.int8.onnx: the last of 4 attempts keeps its accuracy on validation"
    assert said in lines
    assert "min-max -4.12 -4.32 to -3.92 0.55x 1.25 MB" in lines
    assert "2 layers in fp32 -0.10 -0.30 to +0.10 0.62x 1.33 MB" in lines
    text = " ".join(lines)
    assert "In fp32, last attempt: /0/Gemm and /4/Gemm." in text
    assert "Loses much by 8 bits: /0/Gemm (Gemm): 9.4 dB, reason: outliers in its input" in text


def test_a_study_without_files_says_so(build):
    results = build(roles=("teacher",))
    models = {"teacher": results.models["teacher"].model_copy(update={"files": {}})}
    text = shown(show_files, results.model_copy(update={"models": models}))
    assert text == "This study has no ONNX files.\n"


def test_explained_images_are_listed_with_predictions_and_agreement(build):
    results = build(explain=True)
    lines = [flat(line) for line in shown(show_explained, results).splitlines()]
    assert "14 2 2 93 % 3 93 %, agrees 0.44 2 93 %, agrees 0.44" in lines
    said = "Agreement with the teacher's maps over a stratified sample of 500 of 10,000 test images"
    assert f"{said}: 0.31" in " ".join(lines)
    assert "Saliency maps" not in " ".join(lines)  # of small images the page alone has them


def test_the_figure_of_saliency_is_named_where_it_was_written(build, tmp_path):
    picture = tmp_path / "figures" / "saliency.svg"
    picture.parent.mkdir()
    picture.write_text("<svg/>")
    stream = io.StringIO()
    show_explained(Console(file=stream, width=80), build(explain=True), tmp_path)
    assert f"Saliency maps: {picture}\n" in stream.getvalue()


def test_training_shows_validation_and_test_of_every_seed(build):
    results = build()
    text = shown(lambda *given: show_trained(*given, "control"), results)
    lines = [flat(line) for line in text.splitlines()]
    for run in results.models["control"].seeds:
        validation, test = run.best.validation_accuracy, run.test.accuracy
        start = f"{run.seed} {run.best_epoch} of 12 {100 * validation:.2f} % {100 * test:.2f} %"
        assert any(line.startswith(start) for line in lines)
    assert "Distillation" not in text


def test_training_shows_the_metric_of_the_study_and_the_accuracy(build):
    results = build(classes=("SSA", "HP"), num_test=977, scores={"metric": "weighted_f1"})
    text = shown(SHOWS["trained"], pretrained(results))
    assert max(map(len, text.splitlines())) <= 80
    lines = [flat(line) for line in text.splitlines()]
    for run in results.models["teacher"].seeds:
        low, high = run.test.accuracy_ci95
        score, f1 = run.best.score, run.test.weighted_f1
        expected = f"{run.seed} pretrained {score:.3f} {f1:.3f} {100 * run.test.accuracy:.2f} % "
        assert f"{expected}{100 * low:.2f} to {100 * high:.2f}" in lines
    mean = results.models["teacher"].test["weighted_f1"]
    expected = f"{mean.mean:.3f} (mean of 3 seeds, standard deviation {mean.std:.3f})"
    assert f"Weighted F1 on the test images: {expected}" in flat(text)


def test_a_teacher_without_maps_has_no_agreement(build):
    text = shown(show_explained, pretrained(build(explain=True)))
    assert "14 2 2 93 % 3 93 % 2 93 %" in flat(text)
    assert "Agreement" not in text


@pytest.mark.parametrize(
    ("show", "said"),
    [
        ("results", "Compared teacher, control and student over 3 seeds on 10,000 test images."),
        ("files", "Wrote 3 ONNX files and compared them with PyTorch on 10,000 test images."),
        ("kit", "Wrote 3 ONNX files and compared them with PyTorch on 10,000 test images."),
        ("explained", "Computed saliency maps of teacher, control and student; images shown: 8."),
        ("trained", "Trained the teacher with 3 seeds and tested it on 10,000 images."),
        ("devices", "The report now has measurements of Pi, 4 cores."),
    ],
)
def test_each_command_ends_with_what_it_did_and_where_the_files_are(build, show, said):
    text = shown(SHOWS[show], build(explain=True, devices=(("Pi", 6.0, 1.1),)))
    done = flat(text).partition(said)
    assert done[1], text
    assert "Files: runs/mnist Report: runs/mnist/report.html" in done[2]
    assert ("Kit: runs/mnist/kit" in done[2]) == (show == "kit")


def test_what_other_machines_measured_is_a_table_for_each_machine(build):
    text = flat(shown(show_devices, build(devices=(("Pi", 6.0, 1.1), ("Jetson", 3.0, 0.9)))))
    head = "file p50 in ms, with interval size memory time / fp32"
    assert text.count(head) == text.count("; ONNX Runtime, CPU, ") >= 2
    assert text.index("Pi, 4 cores; ONNX Runtime, CPU, 1 thread") < text.index("Jetson, 4 cores;")


def test_a_warning_that_was_printed_before_is_not_repeated(build):
    results = build()
    data = results.data.model_copy(update={"warnings": ["few images", "equal images"]})
    results = results.model_copy(update={"data": data})

    def show(console, results, _folder):
        show_warnings(console, results, {"few images"})

    assert shown(show, results) == "warning: equal images\n"


def test_the_next_commands_name_the_file_to_ship(build):
    results = build(int8=True)
    folder = Path("my runs/mnist")
    steps = next_steps(results, folder, kit=False)
    assert steps == [
        (
            "measure on the device, where these files are",
            "kdtool profile student.onnx student.int8.onnx --json > device.json",
        ),
        (
            "add its figures to the report",
            "kdtool profile 'my runs/mnist' --merge device.json",
        ),
        (
            "make a folder that runs on a device without kdtool",
            "kdtool export 'my runs/mnist' --kit",
        ),
        ("classify an image", "kdtool predict 'my runs/mnist/student.int8.onnx' IMAGE"),
    ]
    (*_, (_, command)) = next_steps(results, folder, kit=True)
    assert command == "python3 kit/check.py"
    assert next_steps(build(roles=("teacher",)), folder, kit=False) == [
        ("train the other models", "kdtool distill RECIPE")
    ]

    def show(console, _results, _folder):
        show_next(console, steps[3:])

    (line,) = shown(show, results, width=30).splitlines()
    assert line == "To classify an image: kdtool predict 'my runs/mnist/student.int8.onnx' IMAGE"


@pytest.mark.parametrize("show", SHOWS)
@pytest.mark.parametrize("width", [40, 60, 120])
def test_no_name_and_no_figure_is_cut_at_any_width(build, show, width):
    results = build(int8=True, explain=True, devices=(("Pi", 6.0, 1.1),))
    given = shown(SHOWS[show], results, width=width)
    assert "\N{HORIZONTAL ELLIPSIS}" not in given
    words, wide = set(flat(given).split()), shown(SHOWS[show], results, width=200)
    rules = {
        word for word in flat(wide).split() if set(word) == {"\N{BOX DRAWINGS LIGHT HORIZONTAL}"}
    }
    assert set(flat(wide).split()) - rules <= words


def test_files_for_other_runtimes_are_a_table_with_the_reasons_of_refusals(build):
    results = build().model_copy(update={"targets": sample_targets()})
    text = shown(show_files, results).replace("\N{MULTIPLICATION SIGN}", "x")
    rows = {line.split()[0]: " ".join(line.split()) for line in text.splitlines() if line.strip()}
    assert rows["ort"] == "ort 1.32.0 int8 1,000 of 1,000 0 1.25 MB 1.02x"
    assert rows["opencv"] == "opencv 5.0.0.93 refused - - - -"
    assert rows["tract"] == "tract 0.23.9 int8 1,000 of 1,000 0.03 1.25 MB 2.63x"
    assert "openvino, int8: 6 of 1,000 test images get another class" in flat(text)
    assert "targets/openvino has the fp32 file, which is right there." in flat(text)
    assert "ort, openvino and tract answered rightly." in flat(text)


def test_a_target_that_was_asked_for_and_refused_ends_with_status_3(build, capsys):
    results = build().model_copy(update={"targets": sample_targets()})
    with pytest.raises(GateError, match=r"opencv is not written: int8: it cannot run") as caught:
        show(results, FOLDER, "files", as_json=True, targets=["ort", "opencv"])
    assert caught.value.exit_code == 3
    show(results, FOLDER, "files", as_json=True, targets=["ort", "openvino"])  # it has fp32
    show(results, FOLDER, "files", as_json=True)  # of an earlier command
    assert capsys.readouterr().out.count('"targets"') == 3
