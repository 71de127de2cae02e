"""The commands as a user gives them, and the recipe of a study that takes seconds."""

from typer.testing import CliRunner

from kdtool.cli.app import app

RECIPE = """
name = "tiny"
seeds = [3, 5]
[data]
source = "digits"
[teacher]
model = "mnist-cnn"
epochs = 10
min_steps = 0
learning_rate = 4e-3
[student]
model = "mnist-mlp"
epochs = 3
min_steps = 0
[distill]
temperature = 3
[export]
precisions = ["fp32", "int8"]
max_drop = 0.05
[profile]
seconds = 0.02
[explain]
images = 4
"""


def kdtool(*arguments):
    """Run a command in this process; an error of ours is raised.

    In studies of seconds, the teacher is often no better than the control.
    """
    if arguments[0] in ("distill", "subclass-distill"):
        arguments = [*arguments, "--anyway"]
    result = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result
