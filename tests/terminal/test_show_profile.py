import io

import pytest
from rich.console import Console

from kdtool.profiles import Comparison, Environment, Latency, ModelProfile, ProfileReport
from kdtool.terminal.profile import display_names, format_count, format_ms, show_profile

ENVIRONMENT = Environment(
    kdtool="0.1.0",
    python="3.11.7",
    packages={"numpy": "2.4.6", "onnxruntime": "1.31.1"},
    os="Linux",
    cpu="AMD EPYC",
    num_cores=2,
    gpu=None,
)
LATENCY = Latency(
    threads=1,
    provider="cpu",
    batch_size=4,
    num_runs=60,
    p50_ms=8.52,
    p50_ci95_ms=(8.31, 8.9),
    p90_ms=None,
    p99_ms=None,
    min_ms=8.1,
    mean_ms=8.0,
    load_ms=31.0,
    first_run_ms=12.6,
)
TEACHER = ModelProfile(
    path="runs/mnist/teacher.onnx",
    sha256="0" * 64,
    size_bytes=14_000_000,
    opset=18,
    num_params=3_504_872,
    num_bn_statistics=0,
    num_macs=300_774_272,
    num_flops=601_548_544,
    partial=False,
    uncounted_ops=[],
    metadata={},
    latency=LATENCY,
)
STUDENT = TEACHER.model_copy(
    update={
        "path": "runs/mnist/student[int8].onnx",
        "partial": True,
        "uncounted_ops": ["Einsum", "com.microsoft.QLinearAdd"],
        "latency": LATENCY.model_copy(update={"noise": "other processes kept 0.8 cores busy"}),
    }
)


def shown(*models, width=80, encoding="utf-8"):
    comparisons = [
        Comparison(
            of=model.path,
            against=models[0].path,
            ratio=0.8,
            ci95=(0.79, 0.81),
            verdict="1.25 times faster",
        )
        for model in models[1:]
    ]
    report = ProfileReport(environment=ENVIRONMENT, models=list(models), comparisons=comparisons)
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    show_profile(Console(file=file, width=width, color_system=None), report)
    file.flush()
    return raw.getvalue().decode(encoding)


def test_tables_show_the_figures_and_what_they_mean():
    text = shown(TEACHER)
    cost = next(line for line in text.splitlines() if "300.77 M" in line)
    assert " ".join(cost.split()) == "teacher.onnx 3.50 M 300.77 M 601.55 M 14.00 MB"
    latency = next(line for line in text.splitlines() if "8.52" in line)
    # 4 images in a mean of 8 ms; 60 runs are too few for a p90.
    assert latency.split() == ["teacher.onnx", "8.52", "8.31", "..", "8.90", "-", "12.6", "500"]
    assert "1 MAC = 1 multiply + 1 add; FLOPs = 2 x MACs" in text
    assert "1 thread, batch 4, cpu; onnxruntime 1.31.1; AMD EPYC, 2 cores." in text


def test_lower_bounds_noise_and_comparisons_are_said():
    text = " ".join(shown(TEACHER, STUDENT).split())
    assert "at least 300.77 M" in text
    assert "student[int8].onnx has operators without a count: Einsum, com.microsoft.QLin" in text
    assert "student[int8].onnx against teacher.onnx: 1.25 times faster" in text
    assert "time ratio 0.800, 95 % interval 0.790 .. 0.810" in text
    assert "noisy: student[int8].onnx: other processes kept 0.8 cores busy" in text
    assert "noisy: teacher.onnx" not in text


def test_eighty_columns_and_ascii_are_enough():
    lines = shown(TEACHER, STUDENT, encoding="ascii").splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert not any("…" in line for line in lines)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/x.onnx", "b/y.onnx"], ["x.onnx", "y.onnx"]),
        (["a/x.onnx", "b/x.onnx"], ["a/x.onnx", "b/x.onnx"]),
        (["a/x[int8].onnx"], [r"x\[int8].onnx"]),
    ],
)
def test_display_names_are_short_but_different(paths, names):
    assert display_names(paths) == names


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (14 * 10**6, "14.00 MB"),
        (10**12, "1.00 TB"),
    ],
)
def test_counts_in_thousands(count, text):
    assert format_count(count, "B") == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0.00052, "0.000520"), (0.0731, "0.0731"), (8.5, "8.50"), (99.97, "100"), (1234.5, "1,234")],
)
def test_milliseconds_have_three_digits(ms, text):
    assert format_ms(ms) == text
