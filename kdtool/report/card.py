"""The model card: the README with which a file is published, in the form of Hugging Face."""

import json
from dataclasses import dataclass

from kdtool.format import (
    INTERVAL_LINE,
    METRIC_NAMES,
    TIMES,
    bounded,
    channels,
    count,
    file_size,
    listed,
    percent,
    percent_range,
    plural,
    points,
    points_range,
    printable,
    probability,
    role_name,
    test_score,
)
from kdtool.report.decision import decision_of, precision_to_ship
from kdtool.report.parts.cells import time_text
from kdtool.report.provenance import Fact, imbalance
from kdtool.report.sections import verdict as verdicts
from kdtool.report.sections.classes import few_images
from kdtool.report.sections.cost.comparison import parity_sentence
from kdtool.results.base import TEACHER_OF, Metric, Precision, Role, flat
from kdtool.results.study import FileResult, ModelResult, Results
from kdtool.stats.intervals import wilson_interval

# The names that viewers of such repositories look for.
# Source: https://huggingface.co/docs/transformers.js, `dtype`
FILE_NAMES: dict[Precision, str] = {
    "fp32": "onnx/model.onnx",
    "fp16": "onnx/model_fp16.onnx",
    "int8": "onnx/model_int8.onnx",
}
INPUTS = {
    "pixels": "decoded pixels of that size as they are: uint8, height x width x channels, 0 to "
    "255. Scaling is part of the file",
    "resize": "decoded pixels of any size: uint8, height x width x channels, 0 to 255. Resizing "
    "and scaling are part of the file",
    "tensor": "pixels / 255 of that size: float32, channels x height x width",
}
# Hugging Face names its metrics as scikit-learn and `evaluate` do.
HUB_METRICS: dict[Metric, str] = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced_accuracy",
    "weighted_f1": "f1",
    "macro_f1": "f1",
    "roc_auc": "roc_auc",
    "pr_auc": "average_precision",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class CardFile:
    """A file that the card lists."""

    name: str  # in the card's folder
    accuracy: str
    interval: str
    difference: str  # from fp32, with its interval; "-" of fp32
    size: str
    latency: str
    sha256: str
    is_shipped: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class CardClass:
    """Scores of one class on the test images."""

    name: str
    recall: str
    interval: str
    precision: str
    support: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """What the template of the card reads."""

    front: list[tuple[str, str]]  # keys of the front matter, and their values in YAML
    name: str
    kdtool: str  # version
    model: str
    classes: str  # their number
    summary: str
    facts: list[Fact]
    file: str  # the recommended one, in the card's folder
    input: str  # what the files take, a sentence
    pixels: str  # an image for the example, in Python
    files: list[CardFile]
    machine: str
    headline: str  # of the verdicts
    interval: str
    num_test: str
    scores: list[CardClass]
    parity: list[str]
    training: list[Fact]
    limits: list[str]
    versions: str


def card(results: Results, role: Role) -> Card:
    """Return the card of a role's files.

    Args:
        results: The study's.
        role: With at least one file.
    """
    model = results.models[role]
    shipped = precision_to_ship(results, role)
    form = str(flat(results.recipe)["export.input"])
    num_channels, height, width = results.data.image_shape
    return Card(
        front=front_matter(results, role),
        name=printable(results.name),
        kdtool=results.environment.kdtool,
        model=printable(model.model),
        classes=count(len(results.data.classes)),
        summary=summary(results, role),
        facts=[
            Fact(name="Input", value=f"{width} {TIMES} {height} pixels, {channels(num_channels)}"),
            Fact(name="Classes", value=printable(listed(results.data.classes))),
            *_decision(model),
            Fact(
                name="Parameters",
                value=bounded(count(model.num_params), at_least=model.params_at_least),
            ),
            Fact(
                name="Multiply-adds of an image",
                value=bounded(count(model.num_macs), at_least=model.macs_at_least),
            ),
        ],
        file=FILE_NAMES[shipped],
        input=INPUTS[form],
        pixels=f"np.zeros((1, {num_channels}, {height}, {width}), np.float32)"
        if form == "tensor"
        else f"np.zeros((1, {height}, {width}, {num_channels}), np.uint8)",
        files=_files(results, model),
        machine=printable(results.environment.cpu),
        headline=printable(verdicts.headline(results)),
        interval=INTERVAL_LINE,
        num_test=count(results.data.num_test),
        scores=[
            CardClass(
                name=printable(one.name),
                recall=percent(one.accuracy),
                interval=percent_range(one.accuracy_ci95),
                precision=percent(one.precision),
                support=count(one.support),
            )
            for one in model.exported.test.per_class
        ],
        parity=[printable(parity_sentence(file)) for file in model.files.values()],
        training=_training(results, role),
        limits=[printable(one) for one in limits(results)],
        versions=", ".join(
            f"{name} {version}" for name, version in results.environment.packages.items()
        ),
    )


def summary(results: Results, role: Role) -> str:
    """Return in a sentence what a model is and what it learned from."""
    model, data = results.models[role], results.data
    teacher = results.models.get(TEACHER_OF[role]) if role in TEACHER_OF else None
    learned = f", distilled from {printable(teacher.model)}" if teacher else ""
    return (
        f"{printable(model.model)}, a classifier of {count(len(data.classes))} classes with "
        f"{count(model.num_params)} parameters{learned}, trained on {count(data.num_train)} images "
        f"({printable(data.description)})"
    )


def limits(results: Results) -> list[str]:
    """Return what a user must know before relying on the recommended file, most serious first."""
    decision = decision_of(results)
    found = [
        *decision.alarms,
        *decision.risks,
        few_images(results.data),
        imbalance(results.data),
        *results.warnings,
        "It answers with one of its classes for every picture, also for one that shows none of "
        "them; its figures hold for images like those of the test split.",
    ]
    return [one for one in found if one]


def front_matter(results: Results, role: Role) -> list[tuple[str, str]]:
    """Return the front matter of Hugging Face: keys, and values in YAML.

    The licence is that of the weights, which kdtool does not know: it is not among the keys.

    Source: https://huggingface.co/docs/hub/model-cards; `model-index` as in
    https://huggingface.co/docs/hub/model-cards#evaluation-results
    """
    model = results.models[role]
    shipped = model.files[precision_to_ship(results, role)]
    metrics = [{"type": "accuracy", "name": "Accuracy", "value": round(shipped.accuracy, 6)}]
    if results.metric != "accuracy":
        score = test_score(model.exported.test, results.metric)
        if score is not None:
            name = f"{METRIC_NAMES[results.metric].capitalize()} (PyTorch)"
            kind = HUB_METRICS[results.metric]
            metrics.append({"type": kind, "name": name, "value": round(score, 6)})
    dataset = {"type": results.data.source, "name": results.data.description, "split": "test"}
    task = {"type": "image-classification", "name": "Image classification"}
    index = [{"task": task, "dataset": dataset, "metrics": metrics}]
    values: dict[str, object] = {
        "pipeline_tag": "image-classification",
        "library_name": "onnx",
        "tags": ["onnx", "onnxruntime", "knowledge-distillation", "edge", "kdtool"],
        "metrics": sorted({str(metric["type"]) for metric in metrics}),
        "model-index": [{"name": results.name, "results": index}],
    }
    return [(key, _yaml(value)) for key, value in values.items()]


def _yaml(value: object) -> str:
    """Return a value on one line of YAML: JSON, but for characters above 16 bits."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in text)


def _files(results: Results, model: ModelResult) -> list[CardFile]:
    ship = decision_of(results).ship
    return [
        CardFile(
            name=FILE_NAMES[precision],
            accuracy=percent(file.accuracy),
            interval=percent_range(accuracy_interval(file)),
            difference="-"
            if file.gate is None
            else f"{points(file.gate.difference)} ({points_range(file.gate.ci95)})",
            size=file_size(file.size_bytes),
            latency="-" if file.latency is None else time_text(file.latency, file.latency.p50_ms),
            sha256=file.sha256,
            is_shipped=file.path == ship,
        )
        for precision, file in model.files.items()
    ]


def accuracy_interval(file: FileResult) -> tuple[float, float]:
    """Return the 95 % interval of a file's accuracy on the test images."""
    num_images = file.parity.num_images
    return wilson_interval(round(file.accuracy * num_images), num_images)


def _decision(model: ModelResult) -> list[Fact]:
    """With two classes: from which probability the positive class is called."""
    point = model.operating_point
    if point is None:
        return []
    text = f"{point.positive} from a probability of {probability(point.threshold)}"
    return [Fact(name="Predicted", value=printable(text))]


def _training(results: Results, role: Role) -> list[Fact]:
    data, model = results.data, results.models[role]
    facts = {
        "Images": f"{count(data.num_train)} to train on, {count(data.num_validation)} to choose "
        f"on, {count(data.num_test)} to test on: {data.description}",
        "Models": f"{plural(len(model.seeds), 'seed')}; the files are of seed "
        f"{model.exported_seed}, the best on validation",
        **{
            role_name(other).capitalize(): f"{found.model}, {count(found.num_params)} parameters, "
            f"{percent(found.test['accuracy'].mean)} of the test images"
            for other, found in results.models.items()
            if other != role
        },
    }
    return [Fact(name=name, value=printable(value)) for name, value in facts.items()]
