"""Entry point: the commands by name, and how errors are reported."""

import os
import signal
import sys
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from kdtool import __version__
from kdtool.cli.device import predict, profile
from kdtool.cli.doctor import doctor
from kdtool.cli.explain import explain
from kdtool.cli.export import export
from kdtool.cli.inspect import check, init, status, verify
from kdtool.cli.report import report
from kdtool.cli.shell.help import HELP_OPTIONS, Command, Group
from kdtool.cli.shell.signals import exit_code, interrupted_by
from kdtool.cli.study import distill, finetune, subclass_distill
from kdtool.errors import NOTHING_LOST, InterruptedRunError, KdtoolError, of_machine

app = typer.Typer(
    cls=Group,
    context_settings=HELP_OPTIONS,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help in plain text takes a third of the time
    help="Distil image classifiers for small devices, and prove that it helped.",
    epilog="Start with `kdtool distill recipes/mnist.toml`; `kdtool COMMAND -h` explains a "
    "command.",
)

# Modules that the extra `train` installs.
TRAIN_EXTRA = {
    "jinja2", "matplotlib", "mlxtend", "onnxscript", "safetensors", "scipy", "sklearn",
    "thop", "torch", "torchvision",
}  # fmt: skip

DISTILL = """\
kdtool distill recipes/mnist.toml
kdtool distill recipes/folder.toml --set data.root=photos --set name=photos
kdtool distill recipes/mnist.toml --sweep distill.temperature=1,4,16"""
SUBCLASS_DISTILL = """\
kdtool subclass-distill recipes/mnist-2x5.toml
kdtool subclass-distill recipes/mnist-2x5.toml --sweep subclass.per_class=2,5"""
FINETUNE = """\
kdtool finetune recipes/mnist.toml
kdtool finetune recipes/mnist.toml --role student --set student.epochs=5"""
EXPORT = """\
kdtool export runs/mnist --kit
kdtool export runs/mnist --precisions fp32,int8 --target arm"""
EXPLAIN = """\
kdtool explain runs/mnist
kdtool explain runs/mnist --images 24
kdtool explain runs/mnist/student.int8.onnx photo.png --method rise"""
REPORT = """\
kdtool report runs/mnist
kdtool report runs/mnist runs/mnist-small --out runs"""
INIT = """\
kdtool init photos
kdtool init clinic/images.csv --out clinic.toml"""
CHECK = """\
kdtool check recipes/mnist.toml
kdtool check recipes/folder.toml --set data.root=photos --json"""
DOCTOR = """\
kdtool doctor
kdtool doctor recipes/mnist.toml --jobs 1
kdtool doctor recipes/folder.toml --set data.root=photos --json"""
STATUS = """\
kdtool status runs/mnist
kdtool status runs/mnist --json"""
VERIFY = """\
kdtool verify runs/mnist
kdtool verify runs/mnist --device-file pi5.json --json"""
PROFILE = """\
kdtool profile student.onnx teacher.onnx --threads 1,4 --json > pi5.json
kdtool profile runs/mnist --budget max_latency_ms=20,max_size_mb=2.5
kdtool profile runs/mnist --merge pi5.json"""
PREDICT = """\
kdtool predict runs/mnist/student.onnx photo.png
kdtool predict runs/mnist/student.onnx photos --json
kdtool predict runs/mnist/student.onnx photos --min-confidence 0.9 --csv"""

app.command(cls=Command, epilog=INIT, short_help="Look at images and write a recipe for them.")(
    init
)
app.command(
    cls=Command, epilog=DISTILL, short_help="Run a study: teacher, control, student, report."
)(distill)
app.command(
    "subclass-distill",
    cls=Command,
    epilog=SUBCLASS_DISTILL,
    short_help="Run a study that also distils through subclasses.",
)(subclass_distill)
app.command(cls=Command, epilog=FINETUNE, short_help="Train one model of a study.")(finetune)
app.command(cls=Command, epilog=CHECK, short_help="Check a recipe and its data, train nothing.")(
    check
)
app.command(cls=Command, epilog=DOCTOR, short_help="Look for what would fail later.")(doctor)
app.command(cls=Command, epilog=STATUS, short_help="Report how far a study is.")(status)
app.command(cls=Command, epilog=VERIFY, short_help="Check a study's files and numbers again.")(
    verify
)
app.command(cls=Command, epilog=EXPORT, short_help="Write and check a study's ONNX files again.")(
    export
)
app.command(cls=Command, epilog=EXPLAIN, short_help="Show which pixels answers depend on.")(explain)
app.command(cls=Command, epilog=REPORT, short_help="Write a report again, or compare studies.")(
    report
)
app.command(cls=Command, epilog=PROFILE, short_help="Measure ONNX files (no PyTorch needed).")(
    profile
)
app.command(cls=Command, epilog=PREDICT, short_help="Classify images (no PyTorch needed).")(predict)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Handle the options that precede the command."""
    if version:
        typer.echo(f"kdtool {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; what the user can fix becomes one message on standard error."""
    try:
        try:
            if os.environ.get("RANK"):
                begin_as_rank()
            app()
        finally:
            finish_output()
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        if (found := in_words(error)) is None:
            raise
        fail(*found)


def in_words(error: BaseException) -> tuple[str, int] | None:
    """Return the message and the exit status for what a command raised; None: it is a bug."""
    text, status = of_machine(error), 1
    match error:
        case InterruptedRunError():
            text, status = str(error), exit_code(interrupted_by() or signal.SIGINT)
        case SystemExit() if error.code != InterruptedRunError.exit_code:
            text = None
        case SystemExit() | KeyboardInterrupt():  # typer turns a KeyboardInterrupt into an exit
            text, status = NOTHING_LOST, exit_code(interrupted_by() or signal.SIGINT)
        case _ if number := interrupted_by():  # a library turned it into an error of its own
            text, status = NOTHING_LOST, exit_code(number)
        case KdtoolError():
            text, status = str(error), error.exit_code
        case ModuleNotFoundError() if (error.name or "").partition(".")[0] in TRAIN_EXTRA:
            from kdtool.install import install_command

            text = f"this command needs {error.name}: {install_command('train')}"
    return None if text is None else (text, status)


def finish_output() -> None:
    """Write what standard output still holds, while it can be reported that this fails.

    Raises:
        KdtoolError: The disk is full, or whatever reads it has ended.
    """
    try:
        if sys.stdout is not None:  # it is closed
            sys.stdout.flush()
    except OSError as error:
        # Else Python tries again at its end, and reports it in its own words.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise KdtoolError(f"cannot write standard output: {of_machine(error) or error}") from error


def begin_as_rank() -> None:
    """Prepare a process that `torchrun` started, perhaps.

    Raises:
        KdtoolError: The command is none that several ranks can run.
    """
    from kdtool.train.ranks.launched import launched

    if place := launched():
        place.be_quiet()
        command = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
        if command not in {None, "finetune", "distill", "subclass-distill"}:
            raise KdtoolError(
                f"torchrun is for kdtool finetune, distill and subclass-distill; run `kdtool "
                f"{command}` without it"
            )


def fail(message: str, status: int) -> NoReturn:
    """Print an error and exit."""
    from kdtool.terminal.text import error_console, print_message

    with suppress(OSError):  # standard error is full or closed too
        print_message(error_console(), message, "error", "bold red")
    raise SystemExit(status)
