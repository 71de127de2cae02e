"""The commands that train nothing and change no study: init, check, status, verify."""

import shlex
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdtool.cli.checks import (
    check_begun_study,
    check_device,
    check_new_recipe,
    check_out_folder,
    check_recipe_path,
    check_study_path,
)
from kdtool.cli.options import (
    Device,
    Json,
    Out,
    Quiet,
    RecipePath,
    Set,
    StudyPath,
    Subclasses,
    interruptible,
    resumable,
    start,
)

if TYPE_CHECKING:
    from kdtool.results.commands.verification import Part
    from kdtool.study.verify.finished_study import FinishedStudy
    from kdtool.terminal.progress import Terminal


def init(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER",
            help="Folder of images, or a .csv or .npz file; asked for if it is left out.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Recipe to write.")] = Path(
        "recipe.toml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
    quiet: Quiet = False,
) -> None:
    """Look at images and write a recipe for them, with the reason for each choice.

    Finds folders of classes, with or without train and test folders, csv tables, .npz and IDX
    files. Trains nothing and needs no PyTorch.
    """
    if folder is None and not sys.stdin.isatty():
        raise typer.BadParameter("give the folder of the images: kdtool init FOLDER")
    check_new_recipe(out, force=force)
    from kdtool.train.pipeline.look import init as command

    if folder is None:
        folder = Path(typer.prompt("Folder of the images").strip().strip("'\"")).expanduser()
    from kdtool.terminal.progress import Terminal
    from kdtool.terminal.text import output_console, plain_text, print_text, show_next

    with interruptible():
        found = command(folder, out, Terminal(quiet=quiet))
    console = output_console()
    total, splits = sum(found.counts.values()), found.num_images
    text = (
        f"{found.description}: {total:,} images of {len(found.counts)} classes; "
        f"{splits['train']:,} to train, {splits['validation']:,} to validate, "
        f"{splits['test']:,} to test."
    )
    print_text(console, plain_text(console, text))
    print_text(console, plain_text(console, f"Recipe: {out}, with a reason for each choice"))
    steps = [("check it", "check"), ("run it", "distill")]
    show_next(console, [(why, shlex.join(["kdtool", word, str(out)])) for why, word in steps])


def check(
    recipe: RecipePath,
    out: Out = Path("runs"),
    settings: Set = None,
    subclasses: Subclasses = False,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check a recipe: load the images, build the networks, and say what would be trained.

    Nothing is trained, and the folder of the study is not changed. Reports every warning; exit
    status 1 if `kdtool distill`, with --subclasses `kdtool subclass-distill`, could not train the
    recipe.
    """
    check_device(device)
    check_recipe_path(recipe)
    from kdtool.recipe.checks import load_checked

    loaded = load_checked(recipe, settings, out)
    check_out_folder(out, loaded.name, writes=False)
    with resumable() as work_begins:
        terminal = start(quiet=quiet)
        from kdtool.train.pipeline.check import check as command

        work_begins()
        report = command(out / loaded.name, loaded, terminal, device=device, subclasses=subclasses)
    if as_json:
        from kdtool.results.base import to_json

        typer.echo(to_json(report), nl=False)
        return
    from kdtool.terminal.commands.check import show_check
    from kdtool.terminal.text import output_console, show_next

    console = output_console()
    show_check(console, report)
    options = [word for text in settings or [] for word in ("--set", text)]
    options += [] if out == Path("runs") else ["--out", str(out)]
    options += [] if device == "auto" else ["--device", device]
    command_name = "subclass-distill" if subclasses else "distill"
    show_next(console, [("run it", shlex.join(["kdtool", command_name, str(recipe), *options]))])


def status(
    study: Annotated[
        Path,
        typer.Argument(metavar="STUDY", help="Folder of a study, finished or not."),
    ],
    as_json: Json = False,
) -> None:
    """Report how far a study is: what is trained, running and left, and what was decided.

    Nothing is changed. Needs neither the images nor PyTorch, and works while the study runs.
    """
    check_begun_study(study)
    from kdtool.study.status import status_of

    found = status_of(study)
    if as_json:
        from kdtool.results.base import to_json

        typer.echo(to_json(found), nl=False)
        return
    from kdtool.terminal.commands.status import show_status
    from kdtool.terminal.text import output_console, show_next

    console = output_console()
    show_status(console, found)
    if found.decision and not found.left:
        from kdtool.results.study import load_results
        from kdtool.terminal import study as shown

        results = load_results(study / "results.json")
        shown.show_decision(console, results)
        shown.show_paths(console, study)
        show_next(console, shown.next_steps(results, study, kit=False))


def verify(
    study: StudyPath,
    device_file: Annotated[
        list[Path] | None,
        typer.Option(
            "--device-file",
            metavar="PROFILE.json",
            help="Output of `kdtool profile --json` on another machine, to compare with what the "
            "study says of that machine. Repeatable.",
        ),
    ] = None,
    settings: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check a study: the SHA-256 of all its files, and every number of results.json again.

    Names each value that does not match, with exit status 1, and what could not be checked here.
    The scores follow from the stored predictions, and the answers of the ONNX files from the images
    where these are on this machine (--set data.root=FOLDER). Nothing is trained, and the study is
    not changed.
    """
    check_study_path(study)
    for text in settings or []:
        if not text.startswith("data."):
            raise typer.BadParameter(
                f"got --set {text}; a study is verified with its own recipe, and only where its "
                "images are may differ, such as --set data.root=FOLDER"
            )
    from kdtool.study.device_profiles import load_profile

    profiles = [(path, load_profile(path)) for path in device_file or []]
    from kdtool.edge.verify.folders import made_folders
    from kdtool.edge.verify.recount import recount
    from kdtool.results.commands.verification import verification
    from kdtool.study.verify.finished_study import open_study
    from kdtool.study.verify.verify import verify_records
    from kdtool.terminal.progress import Terminal

    terminal = Terminal(quiet=quiet)
    finished = open_study(study)
    here = finished
    if settings:
        here = replace(finished, recipe=finished.study.load_recipe(settings))
    with interruptible(), redirect_stdout(sys.stderr):
        parts = verify_records(finished, profiles, terminal.warn)
        results = finished.results
        parts += [recount(study, results, profiles), made_folders(study, results)]
        parts += _computed_again(here, terminal)
    found = verification(str(study), parts)
    if as_json:
        from kdtool.results.base import to_json

        typer.echo(to_json(found), nl=False)
    else:
        from kdtool.terminal.commands.verification import show_verification
        from kdtool.terminal.text import output_console

        show_verification(output_console(), found)
    if not found.passed:
        from kdtool.terminal.commands.verification import failure_text
        from kdtool.terminal.text import error_console, print_message

        print_message(error_console(), failure_text(found), "error", "bold red")
        raise typer.Exit(1)


def _computed_again(finished: "FinishedStudy", terminal: "Terminal") -> list["Part"]:
    """Return what is compared with PyTorch, or why it is not."""
    terminal.say("loading PyTorch")
    try:
        from kdtool.train.pipeline.verify.verify import verify_numbers
    except ModuleNotFoundError as error:
        if (error.name or "kdtool").partition(".")[0] == "kdtool":
            raise
        from kdtool.install import install_command
        from kdtool.results.commands.verification import not_checked

        why = f"intervals, verdicts and the files' answers: need {error.name}"
        return [not_checked("all numbers", f"{why}; {install_command('train')}")]
    return verify_numbers(finished, terminal)
