"""No model and no file is asked about the same test images twice."""

from collections import Counter

import onnxruntime
import pytest
import torch
from shell import RECIPE
from torch import nn

from kdtool.recipe.load import load_recipe
from kdtool.results.base import ROLES
from kdtool.study.folder import Study
from kdtool.terminal.progress import Terminal
from kdtool.train.evaluation.evaluate import evaluate
from kdtool.train.export.accuracy import probabilities_on_test
from kdtool.train.export.choose import ship
from kdtool.train.pipeline.roles import train_role
from kdtool.train.run import open_run


@pytest.fixture
def asked(monkeypatch):
    """How many images each ONNX file was asked about, by the path of its session."""
    counts = Counter()
    run = onnxruntime.InferenceSession.run

    def counted(session, outputs, given, *rest):
        counts[session._model_path] += len(next(iter(given.values())))
        return run(session, outputs, given, *rest)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", counted)
    return counts


def test_the_test_images_pass_each_model_and_each_file_once(tmp_path, asked):
    (tmp_path / "tiny.toml").write_text(RECIPE)
    settings = ["teacher.epochs=2", "export.precisions=['fp32','fp16']", "seeds=[3]"]
    recipe = load_recipe(tmp_path / "tiny.toml", settings)
    run = open_run(Study(tmp_path / "tiny"), recipe, "cpu", Terminal(quiet=True))
    models = {}
    for role in [role for role in ROLES if not role.startswith("subclass")]:
        models[role] = train_role(run, role, models)
    test = {image.numpy().tobytes() for image in run.splits.test.images / 255}
    assert len(test) == len(run.splits.test)
    seen = Counter()

    def watch(part, given):
        # The first layer of mnist-cnn, and that of mnist-mlp; export gives them fake tensors.
        if type(given[0]) is torch.Tensor and type(part) in (nn.Conv2d, nn.Flatten):
            found = sum(image.contiguous().numpy().tobytes() in test for image in given[0])
            seen[type(part).__name__] += found

    hook = nn.modules.module.register_module_forward_pre_hook(watch)
    try:
        with torch.no_grad():
            chosen = {role: evaluate(run, *seeds) for role, seeds in models.items()}
            ship(run, chosen)
    finally:
        hook.remove()
    num_test = len(run.splits.test)
    # Control and student are two.
    assert seen == {"Conv2d": num_test, "Flatten": 2 * num_test}
    before = Counter(asked)
    file = run.study.folder / "student.fp16.onnx"
    probabilities = probabilities_on_test(run, file)  # as for a kit, or another runtime
    assert asked == before
    assert len(probabilities) == num_test
    # The three fp32 files, and that in fp16, which validation images chose.
    of_test = [count for count in asked.values() if count >= num_test]
    assert sorted(of_test) == [num_test] * 3 + [num_test + len(run.splits.validation)]
