"""Usage errors in words: what was given, what was expected, and which command takes it."""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, cast

import typer

from kdtool.errors import did_you_mean, nearest

# What typer raises for a wrong command line; it does not export the name.
UsageError = cast("type[Exception]", typer.BadParameter.__bases__[0])
# What each option that takes a number expects; the values of others are checked by checks.py.
NUMBERS = {
    "--images": "a whole number from 1 to 64, such as --images 24",
    "--jobs": "a whole number of 1 or more, such as --jobs 2",
    "--masks": "a whole number from 10 to 100000, such as --masks 1000",
    "--min-confidence": "a probability from 0 to 1, such as --min-confidence 0.9",
    "--opset": "a whole number of 18 or more, such as --opset 20",
    "--seconds": "a positive number, such as --seconds 10",
    "--soak": "a positive number of minutes, such as --soak 10",
    "--threads": "a whole number from 1 to 256, such as --threads 4",
}
PATHS = {"--out", "--merge", "--wheel"}  # an empty path would be the working folder


@contextmanager
def usage_in_words(context: Any, typed: list[str]) -> Iterator[None]:
    """Say in a usage error of the block what was typed and what was expected.

    Args:
        context: Of the command that reads `typed`.
        typed: The words after the name of the command.

    Raises:
        UsageError: A word is empty, an option does not exist, or a value is not of its kind.
    """
    before = ["", *typed]
    if any(
        not word and (before[k] in PATHS or not before[k].startswith("--"))
        for k, word in enumerate(typed)
    ):
        text = "a word of this command is empty; is a variable of the shell not set?"
        raise _usage_error(text, context)
    try:
        yield
    except UsageError as error:
        if hasattr(error, "possibilities"):
            text = _no_such_option(str(getattr(error, "option_name", "")), context, typed)
            raise _usage_error(text, context) from None
        name = next(iter(getattr(getattr(error, "param", None), "opts", [])), "")
        if name in NUMBERS:
            text = f"got {name} {_value(name, typed)}; expected {NUMBERS[name]}"
            raise _usage_error(text, context) from None
        raise


@contextmanager
def no_command_in_words(context: Any) -> Iterator[None]:
    """Say in a usage error of the words before a command, or its name, what there is.

    Args:
        context: Of kdtool.

    Raises:
        UsageError: A command or option does not exist.
    """
    commands = context.command.commands
    try:
        yield
    except UsageError as error:
        given = str(getattr(error, "option_name", ""))
        text = cast("Any", error).format_message()
        owners = [one for one, other in commands.items() if given in _long_options(other)]
        if owners:
            text = f"{given} follows the command, as in `kdtool {owners[0]} ... {given}`"
        elif not given and text.startswith("No such command") and "Did you mean" not in text:
            text += f" kdtool has {', '.join(commands)}."
        else:
            raise
        raise _usage_error(text, context) from None


@contextmanager
def usage_wrapped() -> Iterator[None]:
    """Wrap the usage errors of the block at the width of the terminal."""
    try:
        yield
    except UsageError as error:
        if not sys.stderr.isatty():
            raise
        from kdtool.terminal.text import safe

        text = safe("Error: " + cast("Any", error).format_message())
        width = shutil.get_terminal_size().columns
        lines = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
        raise _usage_error(lines.removeprefix("Error: "), cast("Any", error).ctx) from None


def _usage_error(text: str, context: Any) -> Exception:
    return UsageError(text, context)


def _no_such_option(given: str, context: Any, typed: list[str]) -> str:
    """Return that there is no option `given`, and what may have been meant."""
    text = f"No such option: {given}"
    name, commands = context.command.name, context.parent.command.commands
    own = _long_options(context.command)
    if not given.startswith("--"):  # of "-out", only "-o" is given
        word = next((one for one in typed if one.startswith(given)), given)
        meant = [one for one in own if one == f"-{word}" or one.startswith(f"-{given}")]
        return text + (f"; did you mean {meant[0]}?" if meant else "")
    owners = [one for one, other in commands.items() if given in _long_options(other)]
    if owners:
        also = "" if len(owners) == 1 else f" and {owners[-1]}"
        takes = "takes" if len(owners) == 1 else "take"
        listed = ", ".join(owners[:-1] or owners)
        return f"{text}; kdtool {listed}{also} {takes} it, kdtool {name} does not"
    if "--set" in own and (keys := _recipe_keys(given)):
        return f"{text}; the recipe has it: {' or '.join(f'--set {key}=VALUE' for key in keys)}"
    return text + (did_you_mean(given, own, "{}") or f"; kdtool {name} takes {', '.join(own)}")


def _long_options(command: Any) -> list[str]:
    return [
        name
        for one in command.params
        if one.param_type_name == "option"
        for name in (*one.opts, *one.secondary_opts)
        if name.startswith("--")
    ]


def _recipe_keys(option: str) -> list[str]:
    """Return the keys of a recipe that have the name of an option, such as --epochs."""
    from kdtool.recipe.problems import known_keys  # slow, and only this error needs it

    keys = [key for key in known_keys() if ".phase." not in key]
    word = option.removeprefix("--").replace("-", "_")
    meant = nearest(word, {key.rpartition(".")[2] for key in keys}, 0.8)
    return [key for key in keys if meant and key.rpartition(".")[2] == meant]


def _value(name: str, typed: list[str]) -> str:
    """Return what was typed after an option, as its next word or after "="."""
    values = [after for before, after in pairwise(typed) if before == name]
    values += [word.partition("=")[2] for word in typed if re.match(rf"{re.escape(name)}=", word)]
    return values[-1] if values else "(nothing)"
