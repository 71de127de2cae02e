import csv
import io

from rich.console import Console

from kdtool.edge.predict import Accuracy, ClassProbability, Prediction, PredictionReport
from kdtool.terminal.predictions import predictions_csv, show_predictions, show_totals

GOOD = Prediction(
    path="photos/[1].png",
    classes=[
        ClassProbability(name="犬", probability=0.987),
        ClassProbability(name="[b]cat[/b]", probability=0.0128),
    ],
    resized_from=None,
    error=None,
)
RESIZED = GOOD.model_copy(update={"path": "b.png", "resized_from": (640, 480)})
BAD = Prediction(path="c.png", classes=[], resized_from=None, error="cannot read c.png: no [file]")


def shown(*predictions, encoding="utf-8", **changes):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    report = PredictionReport(model="student.onnx", predictions=list(predictions), **changes)
    show_predictions(Console(file=file, width=40, color_system=None), report)
    file.flush()
    return raw.getvalue().decode(encoding)


def test_each_image_has_a_line_with_its_classes():
    assert shown(GOOD, RESIZED, BAD).splitlines() == [
        "photos/[1].png: 犬 98.7 %, [b]cat[/b] 1.3 %",
        "b.png: 犬 98.7 %, [b]cat[/b] 1.3 % (resized from 640 x 480)",
    ]


def test_the_decided_class_comes_first_and_the_threshold_is_shown():
    cat = GOOD.model_copy(update={"decided": "[b]cat[/b]"})
    dog = GOOD.model_copy(update={"decided": "犬"})
    lines = shown(cat, dog, positive="[b]cat[/b]", threshold=0.0123456).splitlines()
    assert lines == [
        "photos/[1].png: [b]cat[/b] 1.3 % (threshold 1.235 %), 犬 98.7 %",
        "photos/[1].png: 犬 98.7 %, [b]cat[/b] 1.3 % (threshold 1.235 %)",
    ]


def test_a_terminal_without_the_letter_gets_its_number():
    assert shown(GOOD, encoding="ascii").startswith(r"photos/[1].png: \u72ac 98.7 %")


def test_a_refused_answer_says_so():
    refused = GOOD.model_copy(update={"refused": "[b]cat[/b]"})
    assert shown(refused) == "photos/[1].png: no answer ([b]cat[/b] 1.3 %, 犬 98.7 %)\n"


def totals(**changes):
    console = Console(file=io.StringIO(), width=200, color_system=None)
    report = PredictionReport(model="student.onnx", predictions=[], **changes)
    show_totals(console, report)
    return console.file.getvalue().splitlines()


def test_the_share_answered_and_both_accuracies_are_shown():
    every = Accuracy(num_images=100, num_right=90, accuracy=0.9, ci95=(0.8256, 0.9448))
    kept = Accuracy(num_images=80, num_right=79, accuracy=0.9875, ci95=(0.9325, 0.9978))
    assert totals(num_answered=100, accuracy=every, accuracy_answered=every) == [
        "Accuracy of all: 90.00 % (95 % interval 82.56 to 94.48), 90 right of 100 images in "
        "folders with the name of a class.",
    ]
    given = {"min_confidence": 0.8, "num_answered": 80, "num_refused": 20, "accuracy": every}
    lines = totals(**given, accuracy_answered=kept, other_folders=["bird", "x"])
    assert lines[0] == (
        "Answered 80 of 100 images (80.00 %); the others are less probable than 80 %."
    )
    assert lines[2].startswith("Accuracy of the answered: 98.75 % (95 % interval 93.25 to 99.78)")
    assert lines[3] == ("Not counted, as they have the name of no class of the model: bird and x.")
    assert totals(num_answered=1) == []
    assert len(totals(min_confidence=1.0, num_refused=9, accuracy=every)) == 2


def test_no_cell_of_the_csv_is_a_formula_and_none_loses_its_content():
    names = ["=1+1", "@x", "-1", "a,b\n", "+"]
    classes = [ClassProbability(name=name, probability=0.2) for name in names]
    predictions = [
        Prediction(path=path, decided=name, label=name, classes=classes, resized_from=None,
                   error=None)
        for path, name in zip(["=a.png", "-b.png", "@/c.png", "photos/=d.png", "e.png"], names,
                              strict=True)
    ]  # fmt: skip
    report = PredictionReport(model="m.onnx", classes=names, predictions=[*predictions, BAD])
    rows = list(csv.reader(io.StringIO(predictions_csv(report), newline="")))
    assert rows[0][6:] == [f"p_{name}" for name in names]
    paths = ["./=a.png", "./-b.png", "./@/c.png", "photos/=d.png", "e.png", "c.png"]
    assert [row[0] for row in rows[1:]] == paths
    assert [row[2] for row in rows[1:]] == ["'=1+1", "'@x", "-1", "a,b\n", "'+", ""]
    assert [row[1] for row in rows[1:]] == [*["given"] * 5, "unreadable"]
    assert rows[-1][5:] == ["cannot read c.png: no [file]", *[""] * 5]
    for cell in (cell for row in rows for cell in row):
        assert not cell.startswith(("=", "+", "@"))
