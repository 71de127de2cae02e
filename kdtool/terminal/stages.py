"""The end of `finetune`, `export` and `explain` in the terminal: what each of them made."""

from pathlib import Path

from rich.console import Console

from kdtool.record import Role
from kdtool.report import metrics, words
from kdtool.report.operating import operating_sentence
from kdtool.report.quantities import file_size, percent, percent_range, rough_percent
from kdtool.report.ship import choice_sentence, ship_details, ship_sentence, shipped_role
from kdtool.report.training import kept_epoch
from kdtool.results import Results
from kdtool.terminal.plain import ROLE_STYLES, new_table, plain_text
from kdtool.terminal.study import show_failures, show_report_path, show_warnings


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
        plain_text(console, f"{words.spoken(role)}: {words.plain(model.model)}", ROLE_STYLES[role])
    )
    table = new_table()
    metric = results.metric
    name = metrics.NAMES[metric]
    # The interval of one seed is known of its accuracy only.
    scores, beside = ["validation", "test"], []
    if metric != "accuracy":
        scores, beside = [f"{split} {name}" for split in scores], ["test accuracy"]
    for head in ("seed", "kept epoch", *scores, *beside, "95 % interval"):
        table.add_column(head, justify="right")
    for run in model.seeds:
        score = metrics.score_of(run.test, metric)
        cells = [
            str(run.seed),
            kept_epoch(run),
            metrics.value(metric, run.best.score),
            "-" if score is None else metrics.value(metric, score),
            *([percent(run.test.accuracy)] if beside else []),
            percent_range(run.test.accuracy_ci95),
        ]
        table.add_row(*(plain_text(console, cell) for cell in cells))
    console.print(table, "")
    mean = model.test[metric]
    text = f"{metrics.title(metric)} on the test images: {metrics.value(metric, mean.mean)}"
    if mean.std is not None:
        spread = metrics.size(metric, mean.std)
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
        for role in words.present(results)
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
            words.plain(file.path),
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
            console.print(plain_text(console, words.plain(line)))
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
    roles = [role for role in words.present(results) if role in named]
    table = new_table()
    table.add_column("image", justify="right", no_wrap=True)
    table.add_column("class", overflow="fold")
    for role in roles:
        head = words.spoken(role)
        table.add_column(head, header_style=f"bold {ROLE_STYLES[role]}", overflow="fold")
    for image in explain.images:
        cells = [plain_text(console, words.plain(image.label))]
        for role in roles:
            predicted = image.predictions.get(role)
            if predicted is None:
                cells.append(plain_text(console, "-"))
                continue
            wrong = predicted != image.label
            text = f"{words.plain(predicted)} {rough_percent(image.probabilities[role])}"
            if role != "teacher" and role in image.agreement:
                text += f", agrees {image.agreement[role]:z.2f}"
            cells.append(plain_text(console, text, "red" if wrong else ""))
        table.add_row(str(image.index), *cells)
    console.print(table, "")
    others = {role: one for role, one in explain.mean_agreement.items() if role != "teacher"}
    if others:
        means = words.listed(
            [f"{value:z.2f} for the {words.spoken(role)}" for role, value in others.items()]
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
