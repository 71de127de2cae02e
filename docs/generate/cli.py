"""Write docs/cli.md: the help of every command, as a terminal of 80 columns shows it.

uv run python docs/generate/cli.py
"""

from pathlib import Path

import typer
from typer.main import get_command

from kdtool.cli.app import app
from kdtool.cli.shell.help import HELP_OPTIONS

PAGE = Path(__file__).parents[1] / "cli.md"
INTRODUCTION = """\
# Commands

Every command prints this help with `-h` or `--help`. Results go to standard output, progress and
warnings to standard error, so that `--json` and `--csv` can be redirected to a file.
`kdtool --install-completion` makes the shell complete commands, options and recipe keys.

This page is generated: after a change to a command, run `uv run python docs/generate/cli.py`.
"""


def page() -> str:
    """Return the page as Markdown."""
    group = get_command(app)
    with typer.Context(group, info_name="kdtool", terminal_width=80, **HELP_OPTIONS) as top:
        helps = [("kdtool", group.get_help(top))]
        for name, command in group.commands.items():
            context = typer.Context(command, info_name=name, parent=top)
            helps.append((f"kdtool {name}", command.get_help(context)))
    sections = [f"## {title}\n\n```text\n{text.rstrip()}\n```\n" for title, text in helps]
    return "\n".join([INTRODUCTION, *sections])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
