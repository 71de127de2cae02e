"""What finetune, export and explain print at their end."""

from pathlib import Path

from rich.console import Console
from rich.text import Text

from kdtool.format import (
    METRIC_NAMES,
    agreement,
    count,
    file_size,
    listed,
    metric_title,
    percent,
    percent_range,
    plural,
    printable,
    role_name,
    roles_present,
    score_change_size,
    score_text,
    test_score,
    whole_percent,
)
from kdtool.report.decision import decision_of
from kdtool.report.sections.cost import targets
from kdtool.report.sections.cost.files import choice_sentence, ship_details, ship_sentence
from kdtool.report.sections.cost.rungs import rung_tables
from kdtool.report.sections.operating_point import operating_sentence
from kdtool.report.sections.training import kept_epoch
from kdtool.results.base import Role
from kdtool.results.study import Results
from kdtool.terminal.study import seeds_text, show_failures, show_paths, show_sentence
from kdtool.terminal.text import ROLE_STYLES, new_table, plain_text, print_table, print_text


def show_trained(console: Console, results: Results, folder: Path, role: Role) -> None:
    """Print scores of the models of one role, a row for each seed: the end of `finetune`.

    Args:
        console: The output; every line fits 80 columns.
        results: The study's; holds `role`.
        folder: The study's.
        role: The role that was trained.
    """
    model = results.models[role]
    title = f"{role_name(role)}: {printable(model.model)}"
    print_text(console, plain_text(console, title, ROLE_STYLES[role]))
    table = new_table()
    metric = results.metric
    name = METRIC_NAMES[metric]
    # A single seed has an interval for accuracy only.
    scores, further = ["validation", "test"], []
    if metric != "accuracy":
        scores, further = [f"{split} {name}" for split in scores], ["test accuracy"]
    for head in ("seed", "kept epoch", *scores, *further, "95 % interval"):
        table.add_column(head, justify="right")
    for run in model.seeds:
        score = test_score(run.test, metric)
        cells = [
            str(run.seed),
            kept_epoch(run),
            score_text(metric, run.best.score),
            "-" if score is None else score_text(metric, score),
            *([percent(run.test.accuracy)] if further else []),
            percent_range(run.test.accuracy_ci95),
        ]
        table.add_row(*(plain_text(console, cell) for cell in cells))
    print_table(console, table)
    console.print()
    mean = model.test[metric]
    text = f"{metric_title(metric)} on the test images: {score_text(metric, mean.mean)}"
    if mean.std is not None:
        spread = score_change_size(metric, mean.std)
        text += f" (mean of {len(model.seeds)} seeds, standard deviation {spread})"
    show_sentence(console, f"{text}. The kept epoch is the best one on validation.")
    show_sentence(
        console,
        f"Trained the {role_name(role)} with {seeds_text(results, [role])} and tested it on "
        f"{count(results.data.num_test)} images.",
    )
    show_paths(console, folder)


def show_files(console: Console, results: Results, folder: Path) -> None:
    """Print the files of a study and which of them to ship: the end of `export`.

    Args:
        console: The output; every line fits 80 columns.
        results: The study's.
        folder: The study's; the files are in it.
    """
    files = results.files
    if not files:
        console.print("This study has no ONNX files.")
        return
    table = new_table()
    table.add_column("file", overflow="fold")
    for head in ("type", "opset", "size", "accuracy", "parity", "sha256", "ship"):
        table.add_column(head, justify="right", no_wrap=True)
    chosen = decision_of(results).ship
    for _, precision, file in files:
        is_shipped = file.path == chosen
        cells = [
            printable(file.path),
            precision,
            str(file.opset),
            file_size(file.size_bytes),
            percent(file.accuracy),
            percent(file.parity.agreement),
            file.sha256[:12],
            "yes" if is_shipped else "",
        ]
        style = "bold" if is_shipped else ""
        table.add_row(*(plain_text(console, cell, style) for cell in cells))
    print_table(console, table)
    console.print()
    show_failures(console, results)
    show_sentence(
        console,
        "Accuracy: on the test images, measured with the file. "
        "Parity: share of test images that get the same class as in PyTorch.",
    )
    choice, called = choice_sentence(results), operating_sentence(results)
    for line in (called, choice, ship_sentence(results), *ship_details(results)):
        if line:
            print_text(console, plain_text(console, printable(line)))
    show_rungs(console, results)
    show_targets(console, results)
    show_sentence(
        console,
        f"Wrote {plural(len(files), 'ONNX file')} and compared them with PyTorch on "
        f"{count(results.data.num_test)} test images.",
    )
    show_paths(console, folder)


def show_rungs(console: Console, results: Results) -> None:
    """Print what was tried for the int8 files that the first attempt did not give."""
    for rungs in rung_tables(results):
        console.print()
        print_text(console, plain_text(console, rungs.title))
        table = new_table()
        table.add_column("attempt")
        for head in ("points", "95 % interval", "time", "size"):
            table.add_column(head, justify="right", no_wrap=True)
        for row in rungs.rows:
            cells = [row.name, row.difference, row.interval, row.time or "-", row.size]
            style = "bold" if row.passed else ""
            table.add_row(*(plain_text(console, cell, style) for cell in cells))
        print_table(console, table)
        console.print()
        kept = rungs.rows[-1].kept_fp32
        if kept:
            print_text(console, plain_text(console, f"In fp32, last attempt: {kept}."))
        if rungs.tuning:
            print_text(console, plain_text(console, rungs.tuning))
        for layer in rungs.layers:
            text = f"{layer.name} ({layer.operator}): {layer.noise}, reason: {layer.reason}."
            print_text(console, plain_text(console, f"Loses much by 8 bits: {text}"))
        show_sentence(
            console,
            "Points: accuracy on validation, relative to fp32. Time: relative to fp32.",
        )


def show_targets(console: Console, results: Results) -> None:
    """Print the files for other runtimes, and why some were refused."""
    section = targets.section(results)
    if section is None:
        return
    console.print()
    table = new_table()
    table.add_column("runtime", overflow="fold")
    for head in ("type", "same class", "diff.", "size", "time"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in section.rows:
        cells = [row.runtime, row.precision, row.agreement, row.difference, row.size, row.time]
        style = "" if row.path else "red"
        table.add_row(*(plain_text(console, cell, style) for cell in cells))
    print_table(console, table)
    console.print()
    show_sentence(console, f"Diff.: the largest of a probability. {targets.TIMED}")
    for line in section.refusals:
        print_text(console, plain_text(console, line))


def show_kit(console: Console, results: Results, folder: Path) -> None:
    """Print the files of a study and where its kit is: the end of `export --kit`.

    Args:
        console: The output; every line fits 80 columns.
        results: The study's.
        folder: The study's.
    """
    show_files(console, results, folder)
    line = Text("Kit: ") + plain_text(console, str(folder / "kit"), "bold")
    console.print(line, soft_wrap=True)


def show_explained(console: Console, results: Results, folder: Path) -> None:
    """Print what the saliency maps show and where they are: the end of `explain`.

    Args:
        console: The output; every line fits 80 columns.
        results: The study's.
        folder: The study's.
    """
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
                text += f", agrees {agreement(image.agreement[role])}"
            cells.append(plain_text(console, text, "red" if wrong else ""))
        table.add_row(str(image.index), *cells)
    print_table(console, table)
    console.print()
    others = {role: one for role, one in explain.mean_agreement.items() if role != "teacher"}
    if others:
        # imports NumPy, which the end of no other command needs
        from kdtool.report.sections.saliency import compared_images

        means = listed(
            [f"{agreement(value)} for the {role_name(role)}" for role, value in others.items()]
        )
        images = compared_images(explain, results.data.num_test)
        show_sentence(
            console,
            f"Agreement with the teacher's maps over {images}: {means} "
            "(rank correlation of pixels: 1 is the same order, 0 is no relation).",
        )
    models = listed([role_name(role) for role in roles])
    show_sentence(
        console, f"Computed saliency maps of {models}; images shown: {len(explain.images)}."
    )
    _show_picture(console, folder / "figures" / "saliency.svg")
    show_paths(console, folder)


def _show_picture(console: Console, picture: Path) -> None:
    if picture.is_file():  # small images are in the page alone
        console.print(plain_text(console, f"Saliency maps: {picture}"), soft_wrap=True)
