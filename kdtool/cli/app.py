"""The commands by name, and errors; lazy imports live in the modules cli_*.py only."""

from typing import Annotated

import typer

from kdtool import __version__
from kdtool.cli.device import predict, profile
from kdtool.cli.study import distill, explain, export, finetune, subclass_distill
from kdtool.errors import KdtoolError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help in plain text takes a third of the time
    help="Distil image classifiers for small devices, and prove that it helped.",
)

# What each module that may be absent comes with.
TRAIN_EXTRA = {
    "jinja2", "matplotlib", "mlxtend", "onnxscript", "safetensors", "scipy", "sklearn",
    "thop", "torch", "torchvision",
}  # fmt: skip

app.command()(finetune)
app.command()(distill)
app.command("subclass-distill")(subclass_distill)
app.command()(export)
app.command()(explain)
app.command()(profile)
app.command()(predict)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Take the options that stand before the command."""
    if version:
        typer.echo(f"kdtool {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point: errors the user can mend become one message on standard error."""
    try:
        app()
    except KdtoolError as error:
        fail(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in TRAIN_EXTRA:
            raise
        from kdtool.install import install_command

        fail(f"this command needs {error.name}: {install_command('train')}", 1)


def fail(message: str, exit_code: int) -> None:
    """Report and leave."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True, highlight=False)
    console.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True)
    raise SystemExit(exit_code)
