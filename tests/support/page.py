"""Runs the commands of the documentation in their order, on small data and for one epoch."""

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
from cifar_sets import cifar_arrays, write_cifar
from nightly import IS_NIGHT
from pictures import save_classes
from typer.main import get_command
from typer.testing import CliRunner

from kdtool.cli.app import app
from kdtool.recipe.load import check_sweep, load_recipe, parse_sweep

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
RESULTS = ROOT / "recipes" / "RESULTS.md"
MEASURED = ROOT / "docs" / "MEASURED.md"
GUIDES = sorted(set((ROOT / "docs").glob("*.md")) - {MEASURED})
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *GUIDES, MEASURED, RESULTS]
SHORT = ["seeds=[0]", "profile.seconds=0.02", "teacher.epochs=1", "student.epochs=1"]
SHORT += [
    "teacher.phase=[]",
    "student.phase=[]",
    "teacher.min_steps=0",
    "student.min_steps=0",
    "data.root=DIR",
    "export.max_drop=0.5",
    "export.calibration_images=8",
    "explain.images=1",
]
# What recipes of large networks get in their place, and without the weights that are downloaded.
SMALL = ["teacher.model=mnist-cnn", "student.model=mnist-mlp"]
SMALL += ["teacher.weights=none", "student.weights=none"]
SHORT_RECIPES = {
    "recipes/folder.toml": [*SMALL, "data.size=28"],
    "recipes/pneumoniamnist.toml": SMALL,
    "recipe.toml": [
        *SMALL,
        "data.root=my-pictures",
        "data.size=28",
        "teacher.input_size=28",
        "student.input_size=28",
    ],
    "recipes/mlperf-tiny.toml": ["teacher.weights=none"],
    "recipes/capacity-gap.toml": [*SMALL, "data.validation=0.1"],
    "recipes/cifar100.toml": SMALL,
    "recipes/efficientnet-lite.toml": [*SMALL, "teacher.input_size=32", "student.input_size=32"],
}
SHORT_SCRIPTS = {
    "training_loop.py": ["--epochs", "1"],
    "int8_speed.py": ["--seconds", "0.02", "--model", "mnist-cnn", "--size", "28"],
    "same_file.py": ["--times", "1", "--seconds", "0.02"],
    "profile_overhead.py": ["--times", "1"],
    "batchnorm.py": ["--steps", "2", "--models", "torchvision:shufflenet_v2_x0_5"],
    "finetuning.py": ["--images", "4", "--batch", "2", "--times", "1"],
    "false_verdicts.py": ["--trials", "2"],
    "features_and_start.py": ["--images", "100", "--epochs", "1", "--seeds", "1"],
    "parallel_sweep.py": ["--steps", "2", "--times", "1", "--students", "2"],
}


def commands(page):
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    return [shlex.split(line, comments=True) for line in lines]


def run_pages(pages, folder, write_idx_set):
    """Run every command of `pages` in `folder`, once each; return how many ran.

    The working folder must be `folder`. `uv run pytest` is left out, and but for the night scripts
    that measure, of which only the names are checked.
    """
    write_sets(folder, write_idx_set)
    return sum(run_command(list(command)) for command in given_on(pages))


def check_pages(pages, folder, write_idx_set):
    """Check the commands of `pages` without running them; return how many.

    Of a study what it would train, of any other command its options, and that a script is there.
    The working folder must be `folder`.
    """
    write_sets(folder, write_idx_set)
    given = given_on(pages)
    for command in given:
        if "kdtool" in command:
            check_kdtool(list(command[command.index("kdtool") + 1 :]))
        elif command[0] != "python3":  # what runs/mnist/kit holds is on the README too
            assert command[:3] == ("uv", "run", "python"), command
            check_script(ROOT / command[3])
    return len(given)


def check_kdtool(arguments):
    name = arguments[0]
    if name in {"distill", "subclass-distill", "finetune"}:
        check_study(arguments)
    else:
        end = arguments.index(">") if ">" in arguments else len(arguments)
        options_of(name, arguments[1:end])


def options_of(name, arguments):
    """What a command understands of its arguments; an error if it does not."""
    with get_command(app).make_context("kdtool", ["check", "recipe"]) as context:
        return get_command(app).get_command(context, name).make_context(name, arguments).params


def check_script(path):
    assert path.exists()
    assert path.name in SHORT_SCRIPTS


def check_study(arguments):
    """Have `kdtool check` look at the recipe of a command, with its settings and sweep."""
    options = options_of(arguments[0], shortened(arguments)[1:])
    settings = [part for one in options["settings"] for part in ("--set", one)]
    done = CliRunner().invoke(app, ["check", arguments[1], *settings])
    assert done.exit_code == 0, f"{arguments}: {done.output}"
    recipe = load_recipe(Path(arguments[1]), options["settings"])
    sweep = dict(parse_sweep(one) for one in options.get("sweep") or [])
    check_sweep(recipe, sweep, subclasses=arguments[0] == "subclass-distill")


def write_sets(folder, write_idx_set):
    """Write a small set of each source that the pages name."""
    (folder / "recipes").symlink_to(ROOT / "recipes")
    write_idx_set(folder / "DIR", num_train=300, num_test=60, num_classes=10, size=28)
    write_npz(folder / "DIR" / "pneumoniamnist.npz", (28, 28), num_classes=2)
    write_npz(folder / "DIR" / "cifar10-500.npz", (32, 32, 3), num_classes=10)
    for name, num_classes in (("cifar10", 10), ("cifar100", 100)):
        arrays = cifar_arrays(num_classes, num_train=10 * num_classes, num_test=2 * num_classes)
        write_cifar(folder / "DIR", "binary", arrays, name)
    save_classes(folder / "my-pictures", 40)
    (folder / "my-pictures" / "cross").rename(folder / "my-pictures" / "cat")
    (folder / "my-pictures" / "disc").rename(folder / "my-pictures" / "dog")


def given_on(pages):
    """Each command of `pages` once, in their order."""
    return {without_install(command): None for page in pages for command in commands(page)}


def without_install(command):
    """The command without `pip install uv &&`."""
    return tuple(command[4:] if command[:4] == ["pip", "install", "uv", "&&"] else command)


def write_npz(path, shape, num_classes):
    """Write a set of MedMNIST's form, of noise."""
    rng, content = np.random.default_rng(0), {}
    for split in ("train", "val", "test"):
        content[f"{split}_images"] = rng.integers(0, 256, (40, *shape), dtype=np.uint8)
        content[f"{split}_labels"] = np.arange(40)[:, None] % num_classes
    np.savez(path, **content)


def run_command(command):
    """Run a command shortened, and say whether it is one that a test runs."""
    program = " ".join(command[:3])
    if "kdtool" in command:
        run_kdtool(command[command.index("kdtool") + 1 :])
    elif program == "uv run python":
        path = ROOT / command[3]
        check_script(path)
        if IS_NIGHT:
            run_script(path, command[4:])
    elif command[0] == "python3":
        subprocess.run([sys.executable, *command[1:]], check=True, capture_output=True)
    else:
        assert command[-3:] == ["uv", "run", "pytest"], f"nothing runs {command}"
        return False
    return True


def run_script(path, arguments):
    """Run a script, in this process if it starts no others: PyTorch is imported already."""
    import torch

    arguments = [str(path), *arguments, *SHORT_SCRIPTS[path.name]]
    if path.name == "parallel_sweep.py":
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        return
    threads = torch.get_num_threads()
    try:
        with mock.patch.object(sys, "argv", arguments):
            runpy.run_path(str(path), run_name="__main__")
    finally:
        torch.set_num_threads(threads)


def run_kdtool(command):
    at = command.index(">") if ">" in command else len(command)
    arguments, output = shortened(command[:at]), command[at + 1 :]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, f"{command}: {done.output}"
    for path in output:
        Path(path).write_text(done.stdout)


def shortened(command):
    """The arguments of `kdtool` for a command, on small data and for one epoch."""
    arguments = command
    if arguments[0] in {"distill", "subclass-distill", "finetune", "check"}:
        small = [
            part for name, short in SHORT_RECIPES.items() if name in arguments for part in short
        ]
        before, after = (
            [part for one in short for part in ("--set", one)] for short in (SHORT, small)
        )
        arguments = [arguments[0], *before, *arguments[1:], *after]
        if arguments[0].endswith("distill"):
            arguments.append("--anyway")  # trained so briefly, teachers know next to nothing
        is_about_accuracy = any("=DIR" in one for one in command)
        if arguments[0] == "subclass-distill" or "--sweep" in arguments or is_about_accuracy:
            arguments += ["--set", "export.precisions=['fp32']"]
    elif arguments[0] == "profile" and "--merge" not in arguments:
        arguments += ["--seconds", "0.02"]
    return arguments
