"""Each test image: its file, its label, and what the exported models call it; for a spreadsheet."""

import csv
import io

from scipy.special import softmax

from kdtool.files import write_atomic
from kdtool.record import Role
from kdtool.train.evaluate import Evaluated, split_labels
from kdtool.train.run import Run


def write_answers(run: Run, chosen: dict[Role, Evaluated]) -> None:
    """Write `predictions/test.csv`, a row for each test image in its order.

    Args:
        run: The study.
        chosen: The exported model of each role.
    """
    classes, names = run.splits.classes, run.splits.test_names
    answers = [softmax(one.test_logits, axis=1) for one in chosen.values()]
    text = io.StringIO(newline="")
    table = csv.writer(text)
    head = [(f"{role} calls", f"{role} probability") for role in chosen]
    table.writerow(["image", "file", "label", *(name for pair in head for name in pair)])
    for index, label in enumerate(split_labels(run.splits.test)):
        row: list[object] = [index, names[index] if names else "", classes[label]]
        for probabilities in answers:
            called = int(probabilities[index].argmax())
            row += [classes[called], f"{probabilities[index, called]:.4f}"]
        table.writerow(row)
    write_atomic(run.study.folder / "predictions" / "test.csv", text.getvalue())
