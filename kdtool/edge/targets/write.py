"""Write the folder of a target, which gets its name once it was verified."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np
from numpy.typing import NDArray

from kdtool import __version__
from kdtool.edge.kit.build import Answered, one_a_line, pick_golden, write_golden
from kdtool.edge.kit.folder import replaced_folder, write_manifest
from kdtool.edge.kit.readme import ROUNDING, TOLERANCES, golden_name
from kdtool.edge.latency.driver import started_workers
from kdtool.edge.latency.job import Job
from kdtool.edge.latency.measure import measure_jobs, ratio_of
from kdtool.edge.latency.runners import package_of_runner
from kdtool.edge.metadata import read_metadata
from kdtool.edge.model_file import read_model
from kdtool.edge.targets.target import Takes, Target, package_of
from kdtool.edge.targets.verify import answers_of, compare, failed
from kdtool.errors import GateError, ModelFileError
from kdtool.files import sha256_of
from kdtool.format import file_size
from kdtool.results.base import Precision, Role
from kdtool.results.profile import Runtime
from kdtool.results.targets import TargetCheck, TargetResult

KIND = "folder of a target"
# What is timed in its own runtime; the .ort file is one of ONNX Runtime's.
RUNTIMES: dict[str, Runtime] = {
    "openvino": "openvino",
    "opencv": "opencv",
    "tract": "tract",
    "ncnn": "ncnn",
    "executorch": "executorch",
    "litert": "litert",
}
INPUTS: dict[Takes, str] = {
    "pixels": "it takes uint8 images `(N, {height}, {width}, {channels})`, 0 to 255",
    "tensor": "it takes float32 images `(N, {channels}, {height}, {width})` in [0, 1]",
    "signed": "it takes int8 images `(N, {height}, {width}, {channels})`: pixels less 128",
}
RESIZED = (
    "Images of other sizes are resized by `picture.py`, with Pillow: this runtime does not compute "
    "ONNX's Resize as ONNX Runtime does.\n\n"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A file of the study, and its answers in ONNX Runtime."""

    precision: Precision
    path: Path
    sha256: str  # when it was compared with PyTorch
    probabilities: NDArray[np.float32]  # `(N, K)` on the test images


# Writes the model's files from a file of the study, which is only read; the path is that of the
# target's first file, in a folder without other files.
WriteModel = Callable[[Source, Path], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetFacts:
    """What the study knows about its files."""

    study: str
    role: Role
    classes: Sequence[str]
    positive: int | None  # index of the positive class; None: the most probable class is called
    threshold: float | None  # its least probability
    num_golden: int
    seconds: float  # of timing


def write_target(
    folder: Path,
    target: Target,
    sources: Sequence[Source],
    facts: TargetFacts,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    write_model: WriteModel,
) -> TargetResult:
    """Write `folder` from the first source whose answers the runtime gives, and time it.

    Args:
        folder: An unchanged folder of kdtool in its place is replaced; if no source passes, it
            stays.
        target: The runtime.
        sources: In order of preference.
        facts: About the study.
        images: uint8 `(N, H, W, C)`, test images.
        labels: `(N,)`, their classes.
        write_model: Writes the files of the model; raises GateError if it cannot.

    Raises:
        StudyError: `folder` cannot be written, or holds something else.
        ModelFileError: A source was changed since it was compared with PyTorch.
    """
    checks: list[TargetCheck] = []
    for source in sources:
        if source.precision not in target.precisions:
            reason = f"kdtool writes {' and '.join(target.precisions)} for {target.title}"
            checks.append(failed(source.precision, source.sha256, len(images), reason))
            continue
        check, size = _attempt(folder, target, source, facts, images, labels, write_model)
        checks.append(check)
        if check.refused is None:
            ratio, interval, noise = _timed(folder / target.file, target, source, facts, images)
            return TargetResult(
                name=target.name,
                runtime=package_of(target),
                version=version(package_of(target)),
                checks=checks,
                path=f"{folder.parent.name}/{folder.name}",
                size_bytes=size,
                time_ratio=ratio,
                time_ratio_ci95=interval,
                noise=noise,
            )
    return TargetResult(
        name=target.name,
        runtime=package_of(target),
        version=version(package_of(target)),
        checks=checks,
        path=None,
        size_bytes=None,
        time_ratio=None,
        time_ratio_ci95=None,
    )


def _attempt(
    folder: Path,
    target: Target,
    source: Source,
    facts: TargetFacts,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    write_model: WriteModel,
) -> tuple[TargetCheck, int]:
    """Write the folder from one file, if the runtime gives its answers; return the model's size."""
    if sha256_of(source.path) != source.sha256:
        raise ModelFileError(
            f"{source.path} was changed since it was checked; `kdtool export STUDY` writes it again"
        )
    check = failed(source.precision, source.sha256, len(images), "")
    try:
        with replaced_folder(folder, KIND) as new:
            write_model(source, new / target.file)
            golden = _fill(new, target, source, facts, images, labels)
            given, failure = answers_of(new, target, images)
            check = compare(
                given,
                source.probabilities,
                source.precision,
                positive=facts.positive,
                threshold=facts.threshold,
                sha256=source.sha256,
            )
            if reason := check.refused or failure:
                raise GateError(reason)
            text = _readme(new, target, source, facts, check, golden)
            (new / "README.md").write_text(text, encoding="utf-8", newline="\n")
            about = {"study": facts.study, "role": facts.role, "precision": source.precision}
            write_manifest(new, {**about, "target": target.name, "source": source.sha256})
            size = _size(new, target)
    except GateError as error:
        return check.model_copy(update={"refused": str(error)}), 0
    return check, size


def _fill(
    new: Path,
    target: Target,
    source: Source,
    facts: TargetFacts,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
) -> int:
    """Write everything but the model, its README and manifest; return the number of golden images.

    The golden answers are those of ONNX Runtime.
    """
    tolerance, _ = TOLERANCES[source.precision]
    answered = Answered(images=images, labels=labels, probabilities=source.probabilities)
    golden = pick_golden(answered, tolerance, facts.num_golden)
    names = [facts.classes[label] for label in labels[golden]]
    write_golden(
        new / "golden",
        images[golden],
        names,
        source.probabilities[golden],
        tolerance,
        ROUNDING if source.precision == "int8" else None,
    )
    _, height, width, channels = images.shape
    form = _input_form(source.path)
    model = {
        "file": target.file,
        "precision": source.precision,
        "input": form,
        "takes": _takes(target, source.precision, form),
        "height": height,
        "width": width,
        "channels": channels,
        "positive": facts.positive,
        "threshold": facts.threshold,
    }
    packages = (package_of(target), *target.also, "numpy", "pillow")
    texts = {
        "labels.txt": one_a_line(list(facts.classes)),
        "model.json": json.dumps(model, indent=1) + "\n",
        # Without the label of a build, such as +cpu, which PyPI does not have
        "requirements.txt": "".join(
            f"{name}=={version(name).partition('+')[0]}\n" for name in packages
        ),
    }
    for name, text in texts.items():
        (new / name).write_text(text, encoding="utf-8", newline="\n")
    runners, portable = files("kdtool.edge.targets.runners"), files("kdtool.edge.portable")
    for script, name in (
        (files(package_of_runner(target.name)) / f"{target.name}.py", "run.py"),
        (runners / "common.py", "common.py"),
        (portable / "picture.py", "picture.py"),
    ):
        (new / name).write_text(script.read_text(encoding="utf-8"), encoding="utf-8", newline="\n")
    return len(golden)


def _size(folder: Path, target: Target) -> int:
    """Return the bytes of the model's files."""
    return sum((folder / name).stat().st_size for name in target.files)


def _input_form(path: Path) -> str:
    """Return how a file of kdtool takes its images; without its metadata, as pixels."""
    preprocess = read_metadata(read_model(path)).get("preprocess")
    form = preprocess.get("input") if isinstance(preprocess, dict) else None
    return str(form or "pixels")


def _takes(target: Target, precision: Precision, form: str) -> Takes:
    """Return how the model of a target takes images, made from a file of an input form."""
    if form == "tensor":
        return "tensor"
    return target.takes_int8 if precision == "int8" else target.takes


def _readme(
    new: Path,
    target: Target,
    source: Source,
    facts: TargetFacts,
    check: TargetCheck,
    num_golden: int,
) -> str:
    model = json.loads((new / "model.json").read_text(encoding="utf-8"))
    template = files("kdtool.edge.targets.runners").joinpath("README.md")
    agreement = f", ties within rounding excepted ({len(check.ties)})" if check.ties else ""
    return Template(template.read_text(encoding="utf-8")).substitute(
        study=facts.study,
        title=target.title,
        file="` and `".join(target.files),
        width=model["width"],
        height=model["height"],
        colour="gray" if model["channels"] == 1 else "RGB",
        num_classes=len(facts.classes),
        role=facts.role,
        precision=source.precision,
        size=file_size(_size(new, target)),
        kdtool=__version__,
        package=package_of(target),
        version=version(package_of(target)),
        num_images=f"{check.num_images:,}",
        agreement=agreement,
        difference=f"{check.max_difference or 0:.2g}",
        tolerance=f"{ROUNDING if source.precision == 'int8' else check.tolerance:g}",
        num_golden=num_golden,
        first_golden=f"golden/{golden_name(0, num_golden)}",
        input_words=INPUTS[model["takes"]].format(**model),
        resize=RESIZED if model["input"] == "resize" and not target.resizes else "",
    )


def _timed(
    file: Path,
    target: Target,
    source: Source,
    facts: TargetFacts,
    images: NDArray[np.uint8],
) -> tuple[float, tuple[float, float], str | None]:
    """Return time of a target's file / time of its source in ONNX Runtime, measured in turn."""
    _, height, width, channels = images.shape
    shape = (height, width, channels)
    if _input_form(source.path) == "tensor":
        shape = (channels, height, width)
    shapes: dict[str, tuple[int, ...]] = {"image": shape}
    jobs = [
        Job(path=str(file), runtime=RUNTIMES.get(target.name, "onnxruntime"), shapes=shapes),
        Job(path=str(source.path), shapes=shapes),
    ]
    with started_workers(len(jobs)) as workers:
        ours, reference = measure_jobs(workers, jobs, facts.seconds)
    noise = ours.latency.noise or reference.latency.noise
    return *ratio_of(ours, reference), noise
