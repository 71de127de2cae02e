import io

from rich.console import Console

from kdtool.edge.predict import ClassProbability, Prediction, PredictionReport
from kdtool.terminal.predictions import show_predictions

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
