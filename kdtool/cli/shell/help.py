"""Layout of the help: arguments and types in words, a short and a long option, examples."""

import shutil
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand, TyperGroup

from kdtool.cli.shell.usage import no_command_in_words, usage_in_words, usage_wrapped

if TYPE_CHECKING:
    from typer import Context
    from typer._click import HelpFormatter, Parameter

# Every command takes both; the first is the one that a usage error suggests.
HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}
EXIT_STATUS = (
    ("0", "Done."),
    (
        "1",
        "An error that you can fix, such as a wrong value; the message says how. Of profile also: "
        "a file failed a --budget; of doctor: something would fail later.",
    ),
    ("2", "Wrong usage: an unknown command or option, or a value of the wrong kind."),
    (
        "3",
        "A file that was asked for failed its accuracy check and was not written, or a teacher is "
        "no better than the control.",
    ),
    ("130", "Interrupted (Ctrl-C); the same command resumes the work, or starts again (profile)."),
    ("143", "Ended by SIGTERM, in the same way; 129 where the terminal was closed."),
)


NARROW = 60  # characters; a narrower terminal has the names of options on lines of their own


class Command(TyperCommand):
    """A command, with help and usage errors in words.

    Typer alone prints the types of Python, such as `<list[Path]>`, and braces around arguments.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words after the name of the command."""
        with usage_in_words(ctx, [*args]):
            return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: "HelpFormatter") -> None:
        """Write all of the help."""
        _fit(ctx, formatter)
        super().format_help(ctx, formatter)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what follows the name of the command in the usage line."""
        return ["[OPTIONS]", *(_metavar(argument) for argument in _arguments(self, ctx))]

    def format_options(self, ctx: Any, formatter: "HelpFormatter") -> None:
        """Write arguments and options."""
        arguments = [(_metavar(one), _text(one, ctx)) for one in _arguments(self, ctx)]
        if arguments:
            with formatter.section("Arguments"):
                _write(formatter, arguments)
        with formatter.section("Options"):
            _write(formatter, _options(self, ctx))

    def format_epilog(self, ctx: Any, formatter: "HelpFormatter") -> None:
        """Write the examples, a line each, as they are typed."""
        if self.epilog:
            with formatter.section("Examples"):
                indent = " " * formatter.current_indent
                formatter.write("".join(f"{indent}{line}\n" for line in self.epilog.splitlines()))


class Group(TyperGroup):
    """The commands together, with help in words and the exit status."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words before the name of the command."""
        with no_command_in_words(ctx), usage_wrapped():
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is named."""
        with no_command_in_words(ctx):
            return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that is named."""
        with usage_wrapped():
            return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: "HelpFormatter") -> None:
        """Write all of the help."""
        _fit(ctx, formatter)
        super().format_help(ctx, formatter)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what follows `kdtool` in the usage line."""
        return ["[OPTIONS] COMMAND ..."]

    def format_options(self, ctx: Any, formatter: "HelpFormatter") -> None:
        """Write options, commands and exit status."""
        with formatter.section("Commands"):
            _write(formatter, [(name, one.short_help or "") for name, one in self.commands.items()])
        with formatter.section("Options"):
            _write(formatter, _options(self, ctx))
        with formatter.section("Exit status"):
            _write(formatter, EXIT_STATUS)

    def format_epilog(self, ctx: Any, formatter: "HelpFormatter") -> None:
        """Write where to start."""
        formatter.write_paragraph()
        formatter.write_text(self.epilog or "")


def _fit(ctx: Any, formatter: "HelpFormatter") -> None:
    """Narrow the help to the terminal; typer alone goes down to 50 characters."""
    if ctx.terminal_width is None:
        formatter.width = min(formatter.width, shutil.get_terminal_size().columns)


def _write(formatter: "HelpFormatter", rows: Sequence[tuple[str, str]]) -> None:
    formatter.write_dl(rows, col_max=30 if formatter.width >= NARROW else 8)


def _arguments(command: TyperCommand, context: "Context") -> "list[Parameter]":
    return [one for one in command.get_params(context) if one.param_type_name == "argument"]


def _options(command: TyperCommand | TyperGroup, context: "Context") -> list[tuple[str, str]]:
    """Return names and text of each option."""
    rows = []
    for option in command.get_params(context):
        if option.param_type_name != "option" or getattr(option, "hidden", False):
            continue
        names = ", ".join([*sorted(option.opts, key=len), *option.secondary_opts])
        if not getattr(option, "is_flag", False):
            names += f" {_metavar(option)}"
        rows.append((names, _text(option, context)))
    return rows


def _metavar(parameter: "Parameter") -> str:
    """Return the word for a value in the help, such as FILE."""
    return parameter.metavar or (parameter.name or "").upper()


def _text(parameter: "Parameter", context: "Context") -> str:
    """Return the help of a parameter and its default."""
    text: str = getattr(parameter, "help", None) or ""
    default = parameter.get_default(context, call=False)
    if default is None or isinstance(default, bool) or not getattr(parameter, "show_default", True):
        return text
    shown = default.value if isinstance(default, Enum) else default
    return f"{text} [default: {shown}]"
