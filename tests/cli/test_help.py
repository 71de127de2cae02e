"""Help and shell completion; nothing here needs torch."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from kdtool import errors
from kdtool.cli.app import app

COMMANDS = get_command(app).commands
START = "import sys; sys.argv[0] = 'kdtool'; from kdtool.cli.app import main; main()"
MODULES = "import json, sys; print(json.dumps([*sys.modules]), file=sys.stderr)"


def help_of(*arguments):
    done = CliRunner().invoke(app, [*arguments], prog_name="kdtool")
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_has_a_short_option_and_speaks_in_words(command):
    text = help_of(*command.split(), "--help")
    assert text == help_of(*command.split(), "-h")
    assert "-h, --help" in text
    # Types of Python, braces of typer, ranges such as x>=1
    assert not re.search(r"[<>{}]", text.replace("> pi5.json", ""))
    assert "required" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_top_help_names_every_command_and_every_exit_status():
    text = help_of("--help")
    commands, rest = text.split("Commands:")[1].split("Options:")
    assert re.findall(r"^  (\S+)", commands, re.MULTILINE) == [*COMMANDS]
    statuses = re.findall(r"^  (\d+)  ", rest.split("Exit status:")[1], re.MULTILINE)
    kinds = [getattr(errors, name) for name in dir(errors) if name.endswith("Error")]
    raised = {kind.exit_code for kind in kinds}
    assert {int(status) for status in statuses} == {0, 2, 128 + signal.SIGTERM} | raised
    assert {"--install-completion", "--show-completion"} <= set(text.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_of_a_command_are_accepted_by_it(command):
    examples = help_of(command, "-h").split("Examples:\n")[1].splitlines()
    assert 1 <= len(examples) <= 3
    for example in examples:
        program, name, *arguments = shlex.split(example.partition(" > ")[0])
        assert (program, name) == ("kdtool", command)
        COMMANDS[command].make_context(command, arguments)  # raises on wrong usage


def test_a_default_is_shown_and_an_absent_one_is_not():
    text = " ".join(help_of("profile", "-h").split())
    assert "such as 1,4. [default: 1]" in text
    assert "None" not in text
    assert "[default: teacher]" in help_of("finetune", "-h")


def test_help_imports_nothing_but_typer_and_the_commands():
    """Time is measured by tests/benchmarks/help_time.py; this is what makes it short."""

    def loaded(code):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        return set(json.loads(done.stderr))

    atexit = f"import atexit; atexit.register(lambda: exec({MODULES!r}))"
    by_help = loaded(f"{atexit}; import sys; sys.argv = ['kdtool', '--help']; {START}")
    surplus = by_help - loaded(f"import atexit, json, typer, rich; {MODULES}")
    assert "kdtool.cli.app" in surplus
    assert {name.partition(".")[0] for name in surplus} <= {"kdtool", "typer", "shlex"}
    own = {name for name in surplus if name.startswith("kdtool")}
    assert {name for name in own if not name.startswith("kdtool.cli")} == {
        "kdtool",
        "kdtool.errors",
    }


def complete(*words):
    """What bash offers for the last of `words`."""
    environment = {
        **os.environ,
        "_KDTOOL_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["kdtool", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sys.executable, "-c", START], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["ex"], {"export", "explain"}),
        (["rep"], {"report"}),
        (["distill", "--sw"], {"--sweep"}),
        (["distill", "--set", "distill.t"], {"distill.temperature="}),
        (["distill", "recipes/mn"], set()),  # the shell's own files
        (["finetune", "--role", "s"], {"student"}),
        (["export", "--target", ""], {"x86", "arm", "portable"}),
        (["profile", "--provider", "cu"], {"cuda"}),
        (["distill", "--device", "c"], {"cpu", "cuda"}),
    ],
)
def test_a_shell_completes_commands_options_and_their_values(words, offered):
    assert set(complete(*words)) == offered


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_the_script_for_bash_completes_a_command():
    source = subprocess.run(
        [sys.executable, "-c", START],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "_KDTOOL_COMPLETE": "source_bash"},
    ).stdout
    run = shlex.join([sys.executable, "-c", START])
    script = f"""
kdtool() {{ {run} "$@"; }}
{source.replace("env ", "").replace(" $1 ", " kdtool ")}
COMP_WORDS=(kdtool subc); COMP_CWORD=1
_kdtool_completion kdtool
echo "${{COMPREPLY[@]}}"
complete -p kdtool
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    found, registered = done.stdout.splitlines()
    assert found == "subclass-distill"
    assert registered == "complete -o default -F _kdtool_completion kdtool"
