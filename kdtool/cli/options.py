"""Options, start and end that commands on a study share."""

import re
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kdtool.cli.shell.completion import choices, recipe_keys
from kdtool.cli.shell.signals import careful
from kdtool.errors import (
    NOTHING_LOST,
    GateError,
    InterruptedRunError,
    KdtoolError,
    did_you_mean,
)

CLUSTERS = ("local", "auto")
ADDRESS = r"ray://(\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):\d{1,5}"  # of a Ray client server
Ending = Literal["study", "trained", "files", "kit", "explained", "devices"]

if TYPE_CHECKING:
    from kdtool.results.study import Results
    from kdtool.terminal.progress import Terminal
    from kdtool.train.ranks.group import Ranks


RecipePath = Annotated[
    Path,
    typer.Argument(metavar="RECIPE", help="TOML file that describes data and models."),
]
StudyPath = Annotated[
    Path, typer.Argument(metavar="STUDY", help="Folder of a finished study, such as runs/mnist.")
]
Out = Annotated[
    Path,
    typer.Option(
        "--out", metavar="FOLDER", help="Parent folder; the study is written to FOLDER/NAME."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the recipe, such as teacher.epochs=5. Repeatable.",
        autocompletion=recipe_keys,
    ),
]
Sweep = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=V,V,...",
        help="Train students for each value and keep the best on validation, such as "
        "distill.temperature=1,4,16. At most two keys.",
        autocompletion=recipe_keys,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the results as JSON instead of a table.")]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Where PyTorch computes: auto, cpu, cuda or mps.",
        autocompletion=choices("auto", "cpu", "cuda", "mps"),
    ),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Replace a study in this folder that has different settings."),
]
Anyway = Annotated[
    bool,
    typer.Option(
        "--anyway",
        help="Train the students even if the teacher is no better than the control.",
    ),
]
Subclasses = Annotated[
    bool,
    typer.Option("--subclasses", help="For `kdtool subclass-distill`, with its models too."),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        metavar="N",
        min=1,
        show_default=False,
        help="Number of training processes, 1 or more. [default: auto]",
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster",
        metavar="NAME",
        help="Train the models as tasks of Ray: local (starts it on this machine), auto (the "
        "cluster that this machine belongs to) or ray://HOST:PORT.",
        autocompletion=choices("local", "auto", "ray://"),
    ),
]
Log = Annotated[
    str | None,
    typer.Option(
        "--log",
        metavar="NAME,...",
        help="Also log recipe, curves, figures and files to mlflow (MLFLOW_TRACKING_URI, else "
        "./mlruns) or tensorboard (STUDY/tensorboard).",
        autocompletion=choices("mlflow", "tensorboard", "mlflow,tensorboard"),
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="Print only warnings and the results, no progress.")
]


def check_cluster(cluster: str | None, jobs: int | None) -> None:
    """Check the name of a cluster, and that Ray is installed; not whether the cluster exists.

    Raises:
        BadParameter: There is no such name, or `--jobs` is given too.
        KdtoolError: Ray is missing; says how to install it.
    """
    if cluster is None:
        return
    if jobs is not None:
        raise typer.BadParameter(
            f"got both --jobs {jobs} and --cluster {cluster}; --jobs is for processes of this "
            "machine, and a cluster trains as many models at a time as it has room for: remove one"
        )
    if cluster not in CLUSTERS and not re.fullmatch(ADDRESS, cluster):
        raise typer.BadParameter(
            f"got --cluster {cluster or '(nothing)'}; expected local, auto or ray://HOST:PORT, "
            f"such as ray://10.0.0.5:10001{did_you_mean(cluster.lower(), CLUSTERS, '{}')}"
        )
    if find_spec("ray") is None:
        from kdtool.install import install_command

        raise KdtoolError(f"--cluster needs Ray: {install_command('ray')}")


def given_options(context: typer.Context) -> dict[str, str]:
    """Return the options that were typed: name of the parameter -> as it is typed."""
    return {
        option.name: option.opts[0]
        for option in context.command.params
        if option.name
        and option.param_type_name == "option"
        and str(context.get_parameter_source(option.name)) == "ParameterSource.COMMANDLINE"
    }


def start(*, quiet: bool) -> "Terminal":
    """Return the terminal and announce the imports that follow, which take seconds."""
    from kdtool.terminal.progress import Terminal

    terminal = Terminal(quiet=quiet)
    terminal.say("loading PyTorch")
    return terminal


@contextmanager
def resumable() -> Iterator[Callable[[], None]]:
    """Turn Ctrl-C and SIGTERM into one message and exit status 130 or 143.

    Standard output is for results only: what a user's own model prints goes to standard error.

    Yields:
        A function to call after the imports, before anything is written: from then on a signal
        cleans up; before, it ends the process at once.
    """
    try:
        with redirect_stdout(sys.stderr), ExitStack() as stack:
            yield lambda: stack.enter_context(careful())
    except KeyboardInterrupt as error:
        raise InterruptedRunError("interrupted; run the same command again to resume") from error


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into one message and exit status 130 or 143: nothing is resumed."""
    try:
        with careful():
            yield
    except KeyboardInterrupt as error:
        raise InterruptedRunError(NOTHING_LOST) from error


def follows(device: str) -> bool:
    """Help rank 0, if this process is another rank of `torchrun`; return whether it was."""
    from kdtool.train.ranks.launched import launched

    place = launched()
    if place is None or place.leads:
        return False
    from kdtool.train.pipeline.parallel.ranks import follow
    from kdtool.train.ranks.watch import following

    with following(place, device) as (ranks, own_device):
        follow(ranks, place.name, own_device)
    return True


@contextmanager
def leads(device: str, terminal: "Terminal") -> Iterator[tuple["Ranks", str]]:
    """Have the other ranks of `torchrun` help in the block, if there are any.

    Yields:
        All ranks, and the device of this one.

    Raises:
        KdtoolError: A rank failed, or cannot be reached.
    """
    from kdtool.train.ranks.launched import launched
    from kdtool.train.ranks.watch import leading

    with leading(launched(), device, terminal.fail) as found:
        yield found


def dismiss_others(device: str) -> None:
    """Let the other ranks of `torchrun` end, if there are any: nothing is left to train."""
    from kdtool.train.ranks.launched import launched

    if launched() is not None:
        with leads(device, start(quiet=True)):
            pass


def check_alone(jobs: int | None, cluster: str | None) -> None:
    """Check that --jobs and --cluster are not used together with `torchrun`.

    Raises:
        KdtoolError: They are.
    """
    from kdtool.train.ranks.launched import launched

    for option, value in (("--jobs", jobs), ("--cluster", cluster)):
        if value is not None and launched() is not None:
            raise KdtoolError(
                f"got {option} {value} under torchrun, whose ranks train each model together, one "
                f"after the other: leave out {option}, or start kdtool without torchrun"
            )


@contextmanager
def logged(results: "Results", folder: Path, tools: Collection[str]) -> Iterator[None]:
    """Log a study to other tools after the block, which prints what the command made.

    Raises:
        StudyError: A tool failed; the study is complete.
    """
    try:
        yield
    finally:
        if tools:
            from kdtool.study.tracking import log_study
            from kdtool.terminal.progress import Terminal

            log_study(results, folder, list(tools), Terminal().say)


def show(
    results: "Results",
    folder: Path,
    ending: Ending,
    *,
    as_json: bool,
    warned: Collection[str] = (),
    trained: Literal["teacher", "control"] | None = None,
    next_step: tuple[str, str] | None = None,
    num_merged: int | None = None,
    targets: Collection[str] = (),
) -> None:
    """Print what a command made: for a person, or the whole results as one JSON document.

    Args:
        results: The study's.
        folder: The study's.
        ending: What the command made.
        as_json: Print JSON instead.
        warned: Warnings that were printed before, which are not repeated.
        trained: The role that `finetune` trained.
        next_step: A purpose and the command for it, where the results do not say it.
        num_merged: How many machines `profile --merge` added or replaced.
        targets: Names in `--for`.

    Raises:
        GateError: A file that the recipe asks for lost too much accuracy and was not written, or
            a target was refused.
    """
    if as_json:
        from kdtool.results.base import to_json

        typer.echo(to_json(results), nl=False)
    else:
        from kdtool.terminal import devices, stages, study
        from kdtool.terminal.text import output_console, show_next

        console = output_console()
        if ending != "devices":  # measurements do not depend on the data
            study.show_warnings(console, results, warned)
        if trained:
            stages.show_trained(console, results, folder, trained)
        elif ending == "devices":
            devices.show_devices(console, results, folder, num_merged)
        else:
            shows = {
                "study": study.show_results,
                "files": stages.show_files,
                "kit": stages.show_kit,
                "explained": stages.show_explained,
            }
            shows[ending](console, results, folder)
        steps = [next_step] if next_step else study.next_steps(results, folder, kit=ending == "kit")
        show_next(console, steps)
    refused = [reason for model in results.models.values() for reason in model.refused.values()]
    for one in results.targets:
        if one.name in targets and one.path is None:
            reasons = "; ".join(f"{check.precision}: {check.refused}" for check in one.checks)
            refused.append(f"{one.name} is not written: {reasons}")
    if refused and ending in {"study", "files", "kit"}:
        raise GateError("; ".join(refused))
