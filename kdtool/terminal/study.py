"""The end of a study in the terminal: warnings, verdict, comparison, and where the report lies."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdtool.format import (
    METRIC_NAMES,
    file_size,
    listed,
    metric_title,
    percent,
    percent_range,
    printable,
    role_name,
    roles_present,
    score_change_size,
    score_text,
    test_score,
    whole_percent,
)
from kdtool.report.cells import Cell
from kdtool.report.sections import verdict as verdicts
from kdtool.report.sections.bias_shift import shift_sentence
from kdtool.report.sections.classes import columns, few_images, one_class_calls
from kdtool.report.sections.comparison import comparison_rows, parity_sentence
from kdtool.report.sections.devices import machine_labels
from kdtool.report.sections.files import choice_sentence, ship_details, ship_sentence, shipped_role
from kdtool.report.sections.operating_point import operating_sentence
from kdtool.report.sections.subclasses import alarm
from kdtool.report.sections.training import kept_epoch
from kdtool.results.base import Role
from kdtool.results.study import Results
from kdtool.terminal.text import ROLE_STYLES, new_table, plain_text

BESIDE = ("weighted_f1", "roc_auc")  # of all classes; no more fits in 80 columns
LONGEST_NAME = 8  # characters


def class_table(console: Console, results: Results) -> Table | None:
    """Return a row a model, a column a class or score; None where there are not two classes."""
    if len(results.data.classes) != 2 or not results.models:
        return None
    table = new_table()
    table.add_column("")
    shown = [one for one in columns(results) if one.of_class or one.metric in BESIDE]
    for column in shown:
        head = f"{column.group}\n{_cut(column.name)}"
        table.add_column(plain_text(console, head), justify="right", no_wrap=True)
    for row, role in enumerate(roles_present(results)):
        cells = [column.cell(row) for column in shown]
        name = plain_text(console, role_name(role), ROLE_STYLES[role])
        table.add_row(name, *(plain_text(console, cell.value if cell else "-") for cell in cells))
    return table


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 2]}.."


# Of the rows of the comparison, those that fit beside each other in 80 columns.
SHOWN = {
    "score": "",  # the study's metric
    "num_params": "Parameters",
    "num_flops": "FLOPs",
    "size": "File size",
    "p50": "Latency p50",
}
MOST_COMPARED = 3  # models, beside whose figures those against the teacher fit
VERDICT_STYLES = {"HELPED": "bold green", "NO EVIDENCE": "bold", "HURT": "bold red"}


def show_results(console: Console, results: Results, folder: Path) -> None:
    """Print the summary of a study.

    Args:
        console: Where to; 80 columns are enough.
        results: Of the study.
        folder: Of the study, where the report lies.
    """
    show_warnings(console, results)
    _show_scores(console, results)
    show_failures(console, results)
    for line in _verdicts(console, results):
        console.print(line)
    for text in (one_class_calls(results), alarm(results)):
        if text:
            console.print(plain_text(console, f"ALARM: {text}", "bold red"))
    shifts = [shift_sentence(results, shift) for shift in results.bias_shifts]
    called = operating_sentence(results)
    for sentence in (*shifts, called, choice_sentence(results), ship_sentence(results)):
        if sentence:
            console.print(plain_text(console, printable(sentence)))
    if results.devices:
        names = listed(list(dict.fromkeys(machine_labels(results)[1:])))
        console.print(plain_text(console, printable(f"Measured on devices: {names}.")))
    show_report_path(console, folder)


def _show_scores(console: Console, results: Results) -> None:
    if not results.models:
        return
    console.print(_table(console, results), "")
    by_class = class_table(console, results)
    if by_class:
        console.print(by_class, "")
    few = few_images(results.data)
    if few:
        console.print(plain_text(console, few, "yellow"))


def show_warnings(console: Console, results: Results) -> None:
    """Print what the user should know before trusting anything."""
    for warning in results.data.warnings:
        console.print(plain_text(console, f"warning: {printable(warning)}", "yellow"))


def show_failures(console: Console, results: Results) -> None:
    """Print a line for each file that should give what PyTorch gave and does not."""
    for role in roles_present(results):
        for file in results.models[role].files.values():
            if file.parity.passed is False:
                line = f"{printable(file.path)}: {parity_sentence(file)}"
                console.print(plain_text(console, line, "red"))


def show_report_path(console: Console, folder: Path) -> None:
    """Print where the report lies."""
    path = plain_text(console, str(folder / "report.html"), "bold")
    console.print(Text("Report: ") + path, soft_wrap=True)


def _verdicts(console: Console, results: Results) -> list[Text]:
    """Return a line for each verdict on a method, below the headline where there are several."""
    found = verdicts.on_methods(results)
    headline = plain_text(console, verdicts.headline(results))
    lines = []
    for verdict in found:
        sentences = [verdicts.verdict_sentence(verdict, len(results.verdicts))]
        if verdict.against == "control":
            sentences.append(verdicts.gap_sentence(results, verdict) or "")
        label = Text(verdicts.verdict_label(verdict), style=VERDICT_STYLES[verdict.verdict])
        text = plain_text(console, " ".join(filter(None, sentences)))
        lines.append(Text.assemble(label, "  ", text))
    caveat = verdicts.caveat(found, results.data.num_test)
    if caveat:
        lines.append(plain_text(console, caveat))
    return lines if len(found) == 1 else [headline, *lines]


def _table(console: Console, results: Results) -> Table:
    table = new_table()
    table.add_column("")
    roles = roles_present(results)
    with_ratios = "teacher" in roles and len(roles) <= MOST_COMPARED
    for role in roles:
        head = Text(role_name(role), style=f"bold {ROLE_STYLES[role]}")
        table.add_column(head, justify="right", no_wrap=len(roles) <= MOST_COMPARED)
        if role != "teacher" and with_ratios:
            table.add_column("vs teacher", header_style="dim", no_wrap=True)
    for row in comparison_rows(results):
        if row.key not in SHOWN:
            continue
        label = SHOWN[row.key] or metric_title(results.metric)
        entries: list[Text] = []
        for role, cell in zip(roles, row.cells, strict=True):
            entries.append(plain_text(console, cell.short or cell.value if cell else "-"))
            if role != "teacher" and with_ratios:
                entries.append(_against(console, cell))
        table.add_row(label, *entries)
    return table


def _against(console: Console, cell: Cell | None) -> Text:
    if cell is None:
        return Text()
    return plain_text(console, cell.relative, "red" if cell.worse else "dim")


def show_trained(console: Console, results: Results, folder: Path, role: Role) -> None:
    """Print how the models of one role did, a row a seed: the end of `finetune`.

    Args:
        console: Where to; 80 columns are enough.
        results: Of the study; holds `role`.
        folder: Of the study.
        role: Whom was trained.
    """
    show_warnings(console, results)
    model = results.models[role]
    console.print(
        plain_text(console, f"{role_name(role)}: {printable(model.model)}", ROLE_STYLES[role])
    )
    table = new_table()
    metric = results.metric
    name = METRIC_NAMES[metric]
    # The interval of one seed is known of its accuracy only.
    scores, beside = ["validation", "test"], []
    if metric != "accuracy":
        scores, beside = [f"{split} {name}" for split in scores], ["test accuracy"]
    for head in ("seed", "kept epoch", *scores, *beside, "95 % interval"):
        table.add_column(head, justify="right")
    for run in model.seeds:
        score = test_score(run.test, metric)
        cells = [
            str(run.seed),
            kept_epoch(run),
            score_text(metric, run.best.score),
            "-" if score is None else score_text(metric, score),
            *([percent(run.test.accuracy)] if beside else []),
            percent_range(run.test.accuracy_ci95),
        ]
        table.add_row(*(plain_text(console, cell) for cell in cells))
    console.print(table, "")
    mean = model.test[metric]
    text = f"{metric_title(metric)} on the test images: {score_text(metric, mean.mean)}"
    if mean.std is not None:
        spread = score_change_size(metric, mean.std)
        text += f", {spread} of spread over {len(model.seeds)} seeds"
    console.print(plain_text(console, f"{text}. Epochs were chosen on validation."))
    show_report_path(console, folder)


def show_files(console: Console, results: Results, folder: Path) -> None:
    """Print the files of a study and which of them to ship: the end of `export`.

    Args:
        console: Where to; 80 columns are enough.
        results: Of the study.
        folder: Of the study, where the files lie.
    """
    show_warnings(console, results)
    files = [
        (role, precision, file)
        for role in roles_present(results)
        for precision, file in results.models[role].files.items()
    ]
    if not files:
        console.print("This study has no ONNX files.")
        return
    table = new_table()
    table.add_column("file", overflow="fold")
    for head in ("type", "opset", "size", "accuracy", "parity", "sha256", ""):
        table.add_column(head, justify="right", no_wrap=True)
    chosen = shipped_role(results)
    for role, precision, file in files:
        is_shipped = role == chosen and precision == results.models[role].recommended
        cells = [
            printable(file.path),
            precision,
            str(file.opset),
            file_size(file.size_bytes),
            percent(file.accuracy),
            percent(file.parity.agreement),
            file.sha256[:12],
            "ship" if is_shipped else "",
        ]
        style = "bold" if is_shipped else ""
        table.add_row(*(plain_text(console, cell, style) for cell in cells))
    console.print(table, "")
    show_failures(console, results)
    console.print(
        "Parity: test images that get the same class as from PyTorch. "
        "Accuracy: of the file's own answers."
    )
    choice, called = choice_sentence(results), operating_sentence(results)
    for line in (called, choice, ship_sentence(results), *ship_details(results)):
        if line:
            console.print(plain_text(console, printable(line)))
    console.print(plain_text(console, f"Files: {folder}"), soft_wrap=True)
    show_report_path(console, folder)


def show_explained(console: Console, results: Results, folder: Path) -> None:
    """Print what the saliency maps show and where they lie: the end of `explain`.

    Args:
        console: Where to; 80 columns are enough.
        results: Of the study.
        folder: Of the study.
    """
    show_warnings(console, results)
    explain = results.explain
    if explain is None:
        console.print("This study has no saliency maps.")
        return
    named = {role for image in explain.images for role in image.predictions}
    roles = [role for role in roles_present(results) if role in named]
    table = new_table()
    table.add_column("image", justify="right", no_wrap=True)
    table.add_column("class", overflow="fold")
    for role in roles:
        head = role_name(role)
        table.add_column(head, header_style=f"bold {ROLE_STYLES[role]}", overflow="fold")
    for image in explain.images:
        cells = [plain_text(console, printable(image.label))]
        for role in roles:
            predicted = image.predictions.get(role)
            if predicted is None:
                cells.append(plain_text(console, "-"))
                continue
            wrong = predicted != image.label
            text = f"{printable(predicted)} {whole_percent(image.probabilities[role])}"
            if role != "teacher" and role in image.agreement:
                text += f", agrees {image.agreement[role]:z.2f}"
            cells.append(plain_text(console, text, "red" if wrong else ""))
        table.add_row(str(image.index), *cells)
    console.print(table, "")
    others = {role: one for role, one in explain.mean_agreement.items() if role != "teacher"}
    if others:
        means = listed(
            [f"{value:z.2f} for the {role_name(role)}" for role, value in others.items()]
        )
        console.print(
            plain_text(
                console,
                f"Agreement with the teacher's heatmaps over {explain.num_compared:,} test images: "
                f"{means} (rank correlation: 1 is the same order of pixels, 0 is none).",
            )
        )
    picture = folder / "figures" / "saliency.png"
    console.print(plain_text(console, f"Pictures: {picture}"), soft_wrap=True)
    show_report_path(console, folder)
