"""A realistic results.json: counts, confusion and scores fit together; no torch, no drawing."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from sample_evidence import with_evidence, write_gallery
from sample_scores import with_scores, write_duplicates

from kdtool.evidence import SweepPoint, Uncertainty, Verdict
from kdtool.profiles import Environment, Latency
from kdtool.record import ROLES, Summary
from kdtool.results import (
    ClassScores,
    DataResult,
    DeviceFile,
    DeviceProfile,
    DeviceTiming,
    EpochRecord,
    ExplainedImage,
    ExplainResult,
    FileResult,
    Gate,
    ModelResult,
    Parity,
    Quantization,
    Results,
    SeedResult,
    TestScores,
)

ACCURACY = {
    "teacher": 0.9930,
    "subclass-teacher": 0.9921,
    "control": 0.9803,
    "student": 0.9868,
    "subclass-student": 0.9889,
}
# Parameters and MACs of the networks of recipes/mnist.toml; latency and size as on one laptop core.
COST = {
    "teacher": ("mnist-cnn", 1_011_466, 10_937_728, 0.412, 4_051_112),
    "control": ("mnist-mlp", 1_238_730, 1_237_152, 0.131, 4_957_300),
    "student": ("mnist-mlp", 1_238_730, 1_237_152, 0.133, 4_957_301),
    "subclass-teacher": ("mnist-cnn", 1_016_626, 10_942_848, 0.417, 4_071_790),
    "subclass-student": ("mnist-mlp", 1_270_130, 1_268_512, 0.137, 5_083_010),
}

AGREEMENT = {
    "teacher": 1.0,
    "subclass-teacher": 0.68,
    "control": 0.31,
    "student": 0.47,
    "subclass-student": 0.52,
}

# Processor, its time / the time of the machine that made the study, time of int8 / time of fp32.
DEVICES = (
    ("Raspberry Pi 4 Model B Rev 1.4", 6.0, 1.08),
    ("AMD Ryzen 7 5800X 8-Core Processor", 0.7, 0.55),
)


def wilson(hits, total):
    z = 1.959964
    if not total:
        return 0.0, 1.0
    share, spread = hits / total, z * z / total
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / total / 4)
    centre = (share + spread / 2) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def scores_of(classes, num_images, accuracy, rng):
    """Test scores of a model that mistakes a class mostly for a few fixed others."""
    num_classes = len(classes)
    labels = np.arange(num_images) % num_classes
    wrong = rng.random(num_images) > accuracy
    shift = 1 + rng.geometric(0.4, num_images) % max(num_classes - 1, 1)
    predicted = np.where(wrong, (labels + shift * 3) % num_classes, labels)
    confusion = np.zeros((num_classes, num_classes), int)
    np.add.at(confusion, (labels, predicted), 1)
    right, support, chosen = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    recall = right / np.maximum(support, 1)
    precision = right / np.maximum(chosen, 1)
    f1 = 2 * right / np.maximum(support + chosen, 1)
    per_class = [
        ClassScores(
            name=name,
            accuracy=recall[i],
            accuracy_ci95=wilson(right[i], support[i]),
            precision=precision[i],
            recall=recall[i],
            f1=f1[i],
            support=support[i],
        )
        for i, name in enumerate(classes)
    ]
    total = int(right.sum())
    return TestScores(
        num_images=num_images,
        accuracy=total / num_images,
        accuracy_ci95=wilson(total, num_images),
        weighted_f1=float((f1 * support).sum() / num_images),
        nll=0.05,
        ece=0.01,
        per_class=per_class,
        confusion=confusion.tolist(),
    )


def seed_result(seed, classes, num_images, accuracy, rng):
    curve = accuracy - 0.033 * np.exp(-0.55 * np.arange(12)) + rng.normal(0, 4e-4, 12)
    epochs = [
        EpochRecord(
            epoch=i + 1,
            train_loss=0.3 / (i + 1),
            validation_loss=0.2 / (i + 1),
            validation_accuracy=float(value),
            seconds=2.5,
        )
        for i, value in enumerate(curve)
    ]
    return SeedResult(
        seed=seed,
        test=scores_of(classes, num_images, accuracy + rng.normal(0, 4e-4), rng),
        epochs=epochs,
        best_epoch=int(np.argmax(curve)) + 1,
        num_steps=2532,
        images_per_second=21_600.4,
        device="cpu",
        precision="bf16",
    )


def summary(values):
    mean = float(np.mean(values))
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Summary(mean=mean, std=std, ci95=(mean - 0.0021, min(1.0, mean + 0.0019)))


def file_result(role, num_images, accuracy, latency):
    _, _, _, p50, size = COST[role]
    return FileResult(
        path=f"{role}.onnx",
        sha256="3f" * 32,
        size_bytes=size,
        opset=18,
        accuracy=accuracy,
        parity=Parity(
            num_images=num_images, agreement=1.0, max_abs_error=3.1e-6, flipped=[], passed=True
        ),
        latency=timing(p50) if latency else None,
    )


def timing(p50, **changes):
    values = {
        "runtime": "onnxruntime",
        "threads": 1,
        "provider": "CPUExecutionProvider",
        "batch_size": 1,
        "num_runs": 1000,
        "p50_ms": p50,
        "p50_ci95_ms": (0.98 * p50, 1.03 * p50),
        "p90_ms": 1.21 * p50,
        "p95_ms": 1.3 * p50,
        "p99_ms": 1.6 * p50,
        "min_ms": 0.9 * p50,
        "mean_ms": 1.05 * p50,
        "images_per_second": 1000 / (1.05 * p50),
        "load_ms": 12.0,
        "first_run_ms": 1.1,
        "peak_memory_bytes": 61_000_000,
        "runtime_memory_bytes": 52_700_000,
    }
    return Latency(**values | changes)


def int8_file(fp32, role, **gate):
    """A file beside `fp32` that takes 0.62 of its time and loses 0.03 points."""
    values = {
        "difference": -0.0003,
        "ci95": (-0.0011, 0.0005),
        "mcnemar_p": 0.581,
        "max_drop": 0.01,
        "time_ratio": 0.62,
        "time_ratio_ci95": (0.601, 0.644),
        "recommended": True,
        "reason": "it takes 0.62 of the time of fp32 (0.60 to 0.64)",
    }
    flipped = list(range(0, fp32.parity.num_images, 500))
    return fp32.model_copy(
        update={
            "path": f"{role}.int8.onnx",
            "sha256": "8b" * 32,
            "size_bytes": 1_246_001,
            "accuracy": fp32.accuracy - 0.0003,
            "parity": Parity(
                num_images=fp32.parity.num_images,
                agreement=1 - len(flipped) / fp32.parity.num_images,
                max_abs_error=0.41,
                flipped=flipped,
                passed=None,
            ),
            "quantization": Quantization(
                target="x86", num_calibration=300, kept_fp32=["/0/Gemm", "/4/Gemm"]
            ),
            "gate": Gate(**values | gate),
            "latency": fp32.latency and timing(0.62 * fp32.latency.p50_ms, p90_ms=None),
        }
    )


def with_int8(results, **gate):
    """`results` with an int8 file of each student, recommended if its gate says so."""
    models = dict(results.models)
    for role in ("student", "subclass-student"):
        if role in models:
            file = int8_file(models[role].files["fp32"], role, **gate)
            refused = f"{role}.fp16.onnx is not kept: it loses 4.20 points on test images"
            changes = {
                "files": {**models[role].files, "int8": file},
                "recommended": "int8" if file.gate.recommended else "fp32",
                "refused": {"fp16": refused},
            }
            models[role] = models[role].model_copy(update=changes)
    return results.model_copy(update={"models": models})


def environment(cpu="Intel Xeon, 2.9 GHz", **changes):
    values = {
        "kdtool": "0.1.0",
        "python": "3.11.7",
        "packages": {"torch": "2.9.1", "onnxruntime": "1.23.2", "numpy": "2.4.6"},
        "os": "Linux 6.1",
        "cpu": cpu,
        "cpu_features": ["avx2", "avx512_vnni"],
        "num_cores": 2,
        "memory_bytes": 8_201_502_720,
        "gpu": None,
    }
    return Environment(**values | changes)


def device(results, cpu, slower, time_ratio):
    """The student's files on a device: in two settings, the second of them on a noisy machine."""
    student = results.models["student"].files
    p50 = slower * student["fp32"].latency.p50_ms
    files = []
    for precision, file in student.items():
        ratio = time_ratio if precision == "int8" else None
        timings = [
            DeviceTiming(
                latency=timing(
                    p50 * (ratio or 1) / threads,
                    threads=threads,
                    noise="the clock fell by 30 %" if threads > 1 else None,
                ),
                time_ratio=ratio,
                time_ratio_ci95=ratio and (ratio - 0.02, ratio + 0.03),
            )
            for threads in (1, 4)
        ]
        files.append(
            DeviceFile(role="student", precision=precision, sha256=file.sha256, timings=timings)
        )
    return DeviceProfile(
        environment=environment(cpu, num_cores=4, cpu_features=["asimd"]), files=files
    )


def model_result(role, seeds, classes, num_images, latency, accuracy):
    name, num_params, num_macs, _, _ = COST[role]
    rng = np.random.default_rng(list(COST).index(role))
    runs = [seed_result(seed, classes, num_images, accuracy, rng) for seed in seeds]
    exported = max(runs, key=lambda run: run.best.validation_accuracy)
    return ModelResult(
        model=name,
        seeds=runs,
        exported_seed=exported.seed,
        test={
            "accuracy": summary([run.test.accuracy for run in runs]),
            "weighted_f1": summary([run.test.weighted_f1 for run in runs]),
        },
        files={"fp32": file_result(role, num_images, exported.test.accuracy, latency)},
        refused={},
        recommended="fp32",
        num_params=num_params,
        num_macs=num_macs,
        num_flops=2 * num_macs,
        thop_macs=num_macs + 83_301,
        thop_params=num_params,
    )


def verdicts_of(models, seeds):
    wanted = [
        ("student", "control"),
        ("subclass-student", "control"),
        ("subclass-student", "student"),
    ]
    pairs = [pair for pair in wanted if set(pair) <= models.keys()]
    return [verdict_of(models, seeds, *pair, len(pairs)) for pair in pairs]


def verdict_of(models, seeds, of, against, num_verdicts):
    pairs = zip(models[of].seeds, models[against].seeds, strict=True)
    difference = float(np.mean([a.test.accuracy - b.test.accuracy for a, b in pairs]))
    low, high = difference - 0.0021, difference + 0.0017
    p_value = 2 * NormalDist().cdf(-abs(difference) / 0.00097)
    return Verdict(
        of=of,
        against=against,
        difference=difference,
        ci95=(low, high),
        p_value=p_value,
        p_holm=min(1.0, num_verdicts * p_value),
        uncertainty=uncertainty_of(len(seeds)),
        mcnemar_p=[2e-5, 0.012, 0.0004][: len(seeds)] + [0.2] * (len(seeds) - 3),
        seeds=seeds,
        verdict="HELPED" if low > 0 else "HURT" if high < 0 else "NO EVIDENCE",
    )


def uncertainty_of(num_seeds):
    one = num_seeds == 1
    return Uncertainty(
        seed_std=None if one else 0.0009,
        seed_error=None if one else 0.0009 / math.sqrt(num_seeds),
        image_error=0.0008,
        visible=0.0027,
        images_needed=1_240,
        seeds_needed=None if one else 2,
    )


def sweep_points(num_keys, seeds):
    temperatures, weights = (1, 2, 4, 8, 16, 32), (0.5, 0.9)
    settings = [{"distill.temperature": t} for t in temperatures]
    if num_keys == 2:
        settings = [s | {"distill.soft_weight": w} for w in weights for s in settings]
    if num_keys == 3:
        settings = [s | {"distill.soft_weight": 0.5, "student.model": "a|b"} for s in settings]
    gains = [
        math.log2(s["distill.temperature"] + 1) + s.get("distill.soft_weight", 0) for s in settings
    ]
    return [
        SweepPoint(
            settings=s,
            seeds=seeds,
            validation_accuracy=summary([0.981 + 0.0013 * min(gain, 3.5)] * len(seeds)),
            test_accuracy=summary([0.980 + 0.0014 * min(gain, 3.4)] * len(seeds)),
            selected=i == 3,
        )
        for i, (s, gain) in enumerate(zip(settings, gains, strict=True))
    ]


def explain_result(classes, roles, num_images):
    def image(i):
        label, other = classes[i % len(classes)], classes[(i + 1) % len(classes)]
        return ExplainedImage(
            index=7 * i,
            label=label,
            predictions={r: other if r == "control" and i == 2 else label for r in roles},
            probabilities=dict.fromkeys(roles, 0.99 - 0.03 * i),
            agreement={r: 1.0 if r == "teacher" else 0.4 + 0.02 * i for r in roles},
        )

    return ExplainResult(
        method="vanilla gradient",
        path="saliency.npz",
        images=[image(i) for i in range(num_images)],
        mean_agreement={r: AGREEMENT[r] for r in roles},
        num_compared=500,
    )


def data_result(classes, num_test):
    num_classes = len(classes)
    splits = {"train": 54_000, "validation": 6_000, "test": num_test}
    return DataResult(
        source="mnist",
        description="MNIST, 28 x 28 handwritten digits",
        classes=classes,
        image_shape=(1, 28, 28),
        num_train=54_000,
        num_validation=6_000,
        num_test=num_test,
        class_counts={split: [n // num_classes] * num_classes for split, n in splits.items()},
        num_duplicates=1,
        duplicates=[("train", 1204, "test", 88)],
        fingerprint="9c1e" * 16,
        warnings=[],
    )


def build_results(  # noqa: PLR0913
    *,
    classes=tuple("0123456789"),
    seeds=(0, 1, 2),
    roles=("teacher", "control", "student"),
    num_test=10_000,
    sweep_keys=0,
    explain=False,
    latency=True,
    accuracy=ACCURACY,
    int8=False,
    devices=(),
    evidence=None,
    scores=None,
):
    """Results of a study; every list and score in it fits the others.

    `accuracy` is what the models are meant to reach; 10,000 random images come near it. `int8` is
    True or what the gate of that file holds; `devices` are arguments of `device`; `evidence` are
    options of `with_evidence`, `scores` those of `with_scores`.
    """
    classes, seeds = list(classes), list(seeds)
    models = {
        role: model_result(role, seeds, classes, num_test, latency, accuracy[role])
        for role in roles
    }
    recipe = {
        "name": "mnist",
        "seeds": seeds,
        "data": {"source": "mnist", "root": None, "offline": "mnist-5k", "validation": 0.1},
        "teacher": {"model": "mnist-cnn", "epochs": 12, "learning_rate": 1e-3},
        "student": {"model": "mnist-mlp", "epochs": 12, "learning_rate": 1e-3},
        "distill": {"temperature": 20.0, "soft_weight": 0.9},
        "export": {"calibrate": False},
    }
    results = Results(
        name="mnist",
        recipe=recipe,
        environment=environment(),
        data=data_result(classes, num_test),
        models=models,
        verdicts=verdicts_of(models, seeds),
        shipped=next((r for r in ("subclass-student", "student") if r in models), None),
        sweep=sweep_points(sweep_keys, seeds) if sweep_keys else [],
        explain=explain_result(classes, roles, 8) if explain else None,
        devices=[],
    )
    if evidence is not None:
        results = with_evidence(results, **evidence)
    if scores is not None:
        results = with_scores(results, **scores)
    if int8:
        results = with_int8(results, **({} if int8 is True else int8))
    measured = [device(results, *one) for one in devices]
    return results.model_copy(update={"devices": measured})


def write_saliency(results: Results, folder: Path) -> None:
    """The arrays that `results.explain` names: a stroke a image, and heat around it."""
    num_images = len(results.explain.images)
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:28, 0:28]
    strokes = [
        np.exp(-(((np.hypot(x - 14, y - 14) - 5 - i % 4) / 1.6) ** 2)) for i in range(num_images)
    ]
    images = np.stack([(255 * stroke).astype(np.uint8)[..., None] for stroke in strokes])
    heat = {
        role: np.stack([s * rng.random((28, 28)) for s in strokes]).astype(np.float32)
        for role in results.explain.mean_agreement or ("control", "student")
    }
    np.savez(folder / results.explain.path, images=images, **heat)


@pytest.fixture
def build() -> Callable[..., Results]:
    return build_results


@pytest.fixture
def typed() -> Callable[[str], str]:
    """Turn signs that no keyboard has into those that tests are written with."""
    signs = {"\N{MULTIPLICATION SIGN}": "x", "\N{MINUS SIGN}": "-", "\N{NO-BREAK SPACE}": " "}
    return lambda text: text.translate(str.maketrans(signs))


def write_and_read(results: Results, folder: Path) -> tuple[str, str]:
    """Write a report; return the HTML and the Markdown."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    from kdtool.report.render import write_report

    if results.explain:
        write_saliency(results, folder)
    if results.gallery:
        write_gallery(results, folder)
    if results.data.duplicate_images:
        write_duplicates(results, folder)
    write_report(results, folder)
    return (folder / "report.html").read_text(), (folder / "report.md").read_text()


@pytest.fixture
def write(tmp_path) -> Callable[[Results], tuple[str, str]]:
    """Write a report into `tmp_path`; returns the HTML and the Markdown."""
    return lambda results: write_and_read(results, tmp_path)


@dataclass(frozen=True)
class Written:
    """A study whose report was written."""

    results: Results
    folder: Path
    html: str
    markdown: str


def written(folder, **options) -> Written:
    results = build_results(**options)
    return Written(results, folder, *write_and_read(results, folder))


@pytest.fixture(scope="session")
def full(tmp_path_factory) -> Written:
    """A study with all that a report can show."""
    folder = tmp_path_factory.mktemp("full")
    return written(folder, sweep_keys=1, explain=True, int8=True, devices=DEVICES)


@pytest.fixture(scope="session")
def mhist(tmp_path_factory) -> Written:
    """A study of two classes that is judged by weighted F1, with all that sets it apart."""
    folder = tmp_path_factory.mktemp("mhist")
    accuracy = {"teacher": 0.828, "control": 0.736, "student": 0.781}
    scores = {"metric": "weighted_f1"}
    return written(
        folder,
        classes=("SSA", "HP"),
        num_test=977,
        accuracy=accuracy,
        sweep_keys=1,
        scores=scores,
    )


HOSTILE = (
    "<script>alert(1)</script>",
    "a|b",
    "$x_1$ *b*",
    "\N{CJK UNIFIED IDEOGRAPH-732B}",
    "\"q\" & 'p'",
    "-->",
    "`tick`",
    "{{ 7 * 7 }}",
    "two\nlines",
    "\x1b[31mred",
)


@pytest.fixture(scope="session")
def subclass(tmp_path_factory) -> Written:
    """A study of subclass distillation with all that sets it apart."""
    folder = tmp_path_factory.mktemp("subclass")
    evidence = {"fine_classes": tuple("0123456789"), "collapsed": True, "excluded": ("5-9",)}
    return written(folder, roles=ROLES, classes=("0-4", "5-9"), evidence=evidence)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory) -> Written:
    """A study whose classes are named to break HTML, SVG, Markdown, Jinja and terminals."""
    folder = tmp_path_factory.mktemp("hostile")
    devices = ((HOSTILE[0], 3.0, 0.9), ("a|b \x1b[31m $x$", 2.0, 1.0))
    evidence = {"fine_classes": HOSTILE, "excluded": HOSTILE[:1], "collapsed": True}
    return written(
        folder,
        roles=ROLES,
        classes=HOSTILE,
        sweep_keys=2,
        explain=True,
        int8=True,
        devices=devices,
        evidence=evidence,
    )
