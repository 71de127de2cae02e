"""Every command of the README and of the results, in order, on a small set and for one epoch."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

from typer.testing import CliRunner

from kdtool.cli import app
from kdtool.recipe import DistillTable, SubclassTable
from kdtool.recipe_file import make_recipe

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "recipes" / "RESULTS.md").read_text(encoding="utf-8")
SHORT = ["seeds=[0]", "profile.seconds=0.1", "teacher.epochs=1", "student.epochs=1"]
SHORT += ["teacher.min_steps=0", "student.min_steps=0", "data.root=DIR", "export.max_drop=0.5"]
SHORT_SCRIPTS = {
    "training_loop.py": ["--epochs", "1"],
    "int8_speed.py": ["--seconds", "0.1", "--model", "mnist-cnn", "--size", "28"],
    "same_file.py": ["--times", "1", "--seconds", "0.1"],
    "profile_overhead.py": ["--times", "1"],
}


def commands():
    blocks = re.findall(r"```bash\n(.*?)```", README + RESULTS, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    return [shlex.split(line, comments=True) for line in lines]


def partition(words, separator):
    at = words.index(separator) if separator in words else len(words)
    return words[:at], words[at : at + 1], words[at + 1 :]


def test_the_readme_has_the_two_commands_that_ci_runs():
    given = [" ".join(command) for command in commands()]
    assert "pip install uv && uv run kdtool distill recipes/mnist.toml" in given
    assert "pip install uv && uv run pytest" in given
    ci = (ROOT / ".ci" / "run").read_text()
    assert "readme_command 'pip install uv && uv run pytest'" in ci
    assert "readme_command 'pip install uv && uv run kdtool distill'" in ci


def test_every_command_runs(tmp_path, monkeypatch, write_idx_set):
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    write_idx_set(tmp_path / "DIR", num_train=300, num_test=60, num_classes=10, size=28)
    monkeypatch.chdir(tmp_path)
    num_run = 0
    for command in commands():
        program = " ".join(command[:3])
        if "kdtool" in command:
            arguments, _, output = partition(command[command.index("kdtool") + 1 :], ">")
            if arguments[0] in {"distill", "subclass-distill", "finetune"}:
                settings = [part for setting in SHORT for part in ("--set", setting)]
                arguments = [arguments[0], *settings, *arguments[1:]]
            elif arguments[0] == "profile" and "--merge" not in arguments:
                arguments += ["--seconds", "0.1"]
            done = CliRunner().invoke(app, arguments, catch_exceptions=False)
            assert done.exit_code == 0, f"{command}: {done.output}"
            for path in output:
                Path(path).write_text(done.stdout)
        elif program == "uv run python":
            short = SHORT_SCRIPTS[Path(command[3]).name]
            script = [sys.executable, str(ROOT / command[3]), *command[4:], *short]
            subprocess.run(script, check=True, capture_output=True)
        elif command[0] == "python3":
            subprocess.run([sys.executable, *command[1:]], check=True, capture_output=True)
        else:
            assert command[-3:] == ["uv", "run", "pytest"], f"nothing runs {command}"
            continue
        num_run += 1
    assert num_run >= 9
    assert (tmp_path / "runs" / "mnist" / "report.html").exists()


def test_every_link_of_the_readme_leads_somewhere():
    for page, folder in ((README, ROOT), (RESULTS, ROOT / "recipes")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page):
            assert (folder / target).exists(), target


def test_the_recipe_of_the_readme_is_one():
    parts = re.findall(r"```toml\n(.*?)```", README, flags=re.DOTALL)
    recipe = make_recipe(tomllib.loads("\n".join(parts)), "README")
    assert recipe.distill == DistillTable(temperature=20, soft_weight=0.9)
    assert recipe.subclass == SubclassTable()


def test_the_tree_of_the_readme_names_every_module():
    (tree,) = re.findall(r"```\n(kdtool/\n.*?)```", README, flags=re.DOTALL)
    for path in sorted((ROOT / "kdtool").rglob("*.py")):
        if path.name not in {"__init__.py", "__main__.py"}:
            assert re.search(rf"\b{path.name}\b", tree), f"{path} is not in the tree"
