import csv
import io

import pytest
from rich.console import Console
from sample_files import model_profile, timing

from kdtool.edge.profile import with_budgets
from kdtool.results.profile import (
    Agreement,
    Comparison,
    Environment,
    FailedRun,
    Fastest,
    MatrixRate,
    OperatorTime,
    ProfileReport,
)
from kdtool.terminal.budget import failure_text
from kdtool.terminal.device import cost_table, display_names, profile_csv, show_profile

ENVIRONMENT = Environment(
    kdtool="0.1.0",
    python="3.11.7",
    packages={"numpy": "2.4.6", "onnxruntime": "1.31.1", "openvino": "2026.4"},
    os="Linux",
    cpu="AMD EPYC",
    cpu_features=["avx2", "avx512_vnni"],
    num_cores=2,
    memory_bytes=8 * 2**30,
    gpu=None,
)
LATENCY = timing(
    8.52,
    provider="cpu",
    provider_share=1.0,
    batch_size=4,
    num_runs=1060,
    p50_ci95_ms=(8.31, 8.9),
    p90_ms=9.44,
    p95_ms=9.7,
    p99_ms=None,
    min_ms=8.1,
    mean_ms=8.0,
    images_per_second=500.0,
    load_ms=31.0,
    first_run_ms=12.6,
    peak_memory_bytes=95_000_000,
    runtime_memory_bytes=42_000_000,
    gflop_per_second=12.3,
    other_cores=0.0,
)
TEACHER = model_profile(
    "runs/mnist/teacher.onnx",
    LATENCY,
    size_bytes=14_000_000,
    num_params=3_504_872,
    num_bn_statistics=53_120,
    num_macs=300_774_272,
    num_flops=601_548_544,
)
STUDENT = TEACHER.model_copy(
    update={
        "name": "runs/mnist/student[int8].onnx",
        "path": "runs/mnist/student[int8].onnx",
        "partial": True,
        "num_bn_statistics": 0,
        "uncounted_ops": ["Det", "com.microsoft.Inverse"],
        "uncounted_params": [],
        "uncounted_macs": ["Det", "com.microsoft.Inverse"],
        "latency": LATENCY.model_copy(update={"noise": "other processes kept 0.8 cores busy"}),
    }
)
SLOW = LATENCY.model_copy(
    update={
        "threads": 16,
        "batch_size": 128,
        "p50_ms": 12_345.6,
        "p50_ci95_ms": (11_345.6, 13_345.6),
        "p99_ms": 14_000.0,
        "images_per_second": 10.4,
        "peak_memory_bytes": None,
    }
)
OPERATORS = [
    OperatorTime(
        op_type=f"Op{k}", num_nodes=k + 1, mean_ms=8.0 / 2 ** (k + 1), share=0.5 ** (k + 1)
    )
    for k in range(15)
]


def report_of(*models):
    comparisons = [
        Comparison(
            of=model.name,
            against=models[0].name,
            threads=1,
            batch_size=4,
            ratio=0.8,
            ci95=(0.79, 0.81),
            verdict="1.25 times faster",
        )
        for model in models[1:]
    ]
    return ProfileReport(
        environment=ENVIRONMENT,
        models=list(models),
        comparisons=comparisons,
        matrix_rates=[MatrixRate(threads=1, gflop_per_second=68.0)],
    )


def shown(*models, width=80, encoding="utf-8"):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    show_profile(Console(file=file, width=width, color_system=None), report_of(*models))
    file.flush()
    return raw.getvalue().decode(encoding)


def row(text, *words):
    """The first line that has all of `words`, as words."""
    found = (line for line in text.splitlines() if all(word in line for word in words))
    return " ".join(next(found).split())


def test_tables_show_the_figures_and_what_they_mean():
    text = shown(TEACHER)
    # 95 MB at most, 42 MB of them without the model.
    assert row(text, "301 M") == "teacher.onnx 3.50 M 301 M 602 M 14.0 MB 53.0 MB 31.0 ms"
    # 1060 runs, but no p99 was stored.
    assert row(text, "8.52") == "teacher.onnx 8.52 8.31 .. 8.90 9.44 - 12.6 500"
    assert "1 MAC = 1 multiply + 1 add; FLOPs = 2 x MACs" in text
    assert "53.1 k batch-norm statistics" in text
    words = " ".join(text.split())
    assert (
        "Of the 68.0 GFLOP/s that this machine reaches in float32 matrix products with 1 thread"
        in words
    )
    assert "teacher.onnx: 12.3 GFLOP/s, 18 %" in words
    assert "quiet: no other program disturbed" in words
    assert "1 thread, batch 4, cpu; at least 1,060 runs per model; " in words
    assert "onnxruntime 1.31.1; AMD EPYC (avx2, avx512_vnni); 2 cores." in words
    assert "openvino" not in words


@pytest.mark.parametrize(
    ("params", "macs", "shown_as"),
    [
        (["If"], [], [">= 3.50 M", "301 M", "602 M"]),
        ([], ["Det"], ["3.50 M", ">= 301 M", ">= 602 M"]),
        (["If"], ["If", "Det"], [">= 3.50 M", ">= 301 M", ">= 602 M"]),
        (None, None, [">= 3.50 M", ">= 301 M", ">= 602 M"]),  # of an older kdtool
    ],
)
def test_each_count_has_its_own_mark(params, macs, shown_as):
    update = {"partial": True, "uncounted_params": params, "uncounted_macs": macs}
    model = TEACHER.model_copy(update=update)
    table = cost_table([("teacher", model)])
    assert [next(iter(column.cells)) for column in table.columns[1:4]] == shown_as
    text = " ".join(shown(model).split())
    assert ("teacher.onnx has parameters that are not counted: If" in text) == bool(params)
    assert (f"teacher.onnx has MACs that are not counted: {', '.join(macs or [])}" in text) == bool(
        macs
    )


def test_lower_bounds_noise_and_comparisons_are_shown():
    text = " ".join(shown(TEACHER, STUDENT).split())
    assert ">= 301 M" in text
    assert "student[int8].onnx has MACs that are not counted: Det, com.microsoft.Inverse" in text
    assert "student[int8].onnx against teacher.onnx: 1.25 times faster" in text
    assert "time ratio 0.800, 95 % interval 0.790 .. 0.810" in text
    assert "student[int8].onnx: >= 12.3 GFLOP/s" in text
    assert "noisy: student[int8].onnx: other processes kept 0.8 cores busy" in text
    assert "noisy: teacher.onnx" not in text
    assert "quiet" not in text


def test_the_share_that_an_accelerator_left_to_the_cpu_is_shown():
    part = LATENCY.model_copy(update={"provider": "cuda", "provider_share": 0.75})
    text = " ".join(shown(TEACHER, TEACHER.model_copy(update={"latency": part})).split())
    assert text.count("cuda ran 75 % of the operators, the CPU the others") == 1
    assert text.count("of the operators") == 1


def test_nothing_is_called_quiet_where_the_system_does_not_report_other_programs():
    unknown = LATENCY.model_copy(update={"other_cores": None})
    other = TEACHER.model_copy(update={"name": "b.onnx", "other_latencies": [unknown]})
    text = " ".join(shown(TEACHER, other).split())
    assert "steady, but this system does not report whether other programs were busy" in text
    assert "quiet" not in text


def test_further_settings_have_a_table_and_are_named():
    noisy = SLOW.model_copy(update={"noise": "the blocks differ"})
    text = shown(TEACHER, TEACHER.model_copy(update={"name": "b.onnx", "other_latencies": [noisy]}))
    assert row(text, "b.onnx", "128") == "b.onnx 16 128 12,346 11,346 .. 13,346 10.4 -"
    assert row(text, "b.onnx", "8.31", "MB") == "b.onnx 1 4 8.52 8.31 .. 8.90 500 53.0 MB"
    words = " ".join(text.split())
    assert "b.onnx against teacher.onnx, 1 thread, batch 4: 1.25 times faster" in words
    assert "noisy: b.onnx (16 threads, batch 128, cpu): the blocks differ" in words


def test_the_slowest_operators_are_shown_and_the_others_added_up():
    text = shown(TEACHER.model_copy(update={"operators": OPERATORS}))
    assert row(text, "Op0") == "Op0 1 4.00 50.0 % ############"
    assert row(text, "other") == "3 other operators 42 0.00171 0.0 %"
    assert "Op12" not in text


def test_runtime_of_every_model_is_named():
    pinned = LATENCY.model_copy(update={"runtime": "openvino", "arithmetic": "f32"})
    other = TEACHER.model_copy(
        update={"name": "runs/mnist/teacher.onnx (openvino)", "latency": pinned}
    )
    text = " ".join(shown(TEACHER, other).split())
    assert "teacher.onnx (openvino) against teacher.onnx: 1.25" in text
    assert "onnxruntime 1.31.1; openvino 2026.4 in f32; AMD" in text


def test_eighty_columns_and_ascii_are_enough():
    slow = STUDENT.model_copy(
        update={
            "name": "runs/a-very-long-name-of-a-student-with-many-words.int8.onnx",
            "latency": SLOW.model_copy(update={"p90_ms": 13_000.0, "load_ms": 12_000.0}),
            "other_latencies": [SLOW, LATENCY],
            "operators": OPERATORS,
            "num_macs": 999_990_000_000,
            "num_flops": 1_999_980_000_000,
        }
    )
    text = shown(TEACHER, slow, encoding="ascii")
    assert text == shown(TEACHER, slow)
    lines = text.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    for figure in ("12,346", "11,346 .. 13,346", ">= 1.00 T", ">= 2.00 T", "14,000", "12,000"):
        assert figure in text  # none is cut


def test_names_beyond_the_terminals_letters_are_escaped():
    model = TEACHER.model_copy(update={"name": "modèle/" + 12 * "猫" + ".onnx"})
    lines = shown(model, encoding="ascii").splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert sum(line.count(r"\u") for line in lines) >= 12
    assert "猫.onnx" in shown(model)


def test_csv_has_a_row_for_every_model_and_setting():
    second = STUDENT.model_copy(update={"name": 'a,"b"\n猫.onnx', "other_latencies": [SLOW]})
    text = profile_csv(report_of(TEACHER, second))
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [(line["name"], line["threads"], line["batch_size"]) for line in rows] == [
        ("runs/mnist/teacher.onnx", "1", "4"),
        ('a,"b"\n猫.onnx', "1", "4"),
        ('a,"b"\n猫.onnx', "16", "128"),
    ]
    first, _, slow = rows
    assert (first["num_macs"], first["partial"]) == ("300774272", "False")
    assert (first["p50_lower_ms"], first["p50_upper_ms"]) == ("8.31", "8.9")
    assert (first["p99_ms"], first["gpu"]) == ("", "")
    assert slow["uncounted_ops"] == "Det com.microsoft.Inverse"
    assert (slow["uncounted_params"], slow["uncounted_macs"]) == ("", "Det com.microsoft.Inverse")
    assert slow["cpu"] == "AMD EPYC"
    assert set(type(LATENCY).model_fields) - set(first) == {"p50_ci95_ms"}
    assert text.count("\r\n") == 4


AGREEMENT = Agreement(
    num_golden=16,
    num_patterns=64,
    num_flipped=0,
    num_ties=2,
    max_difference=0.0123,
    problem=None,
)


def in_runtime(runtime, agreement):
    return TEACHER.model_copy(
        update={
            "name": f"{TEACHER.path} ({runtime})",
            "latency": LATENCY.model_copy(update={"runtime": runtime}),
            "agreement": agreement,
        }
    )


def with_runtimes(**changes):
    """A file in five runtimes: one agrees, one does not, one is not compared, one cannot run it."""
    wrong = AGREEMENT.model_copy(
        update={"num_flipped": 12, "problem": "12 of 80 images get another class"}
    )
    models = [
        TEACHER,
        in_runtime("opencv", AGREEMENT),
        in_runtime("openvino", wrong),
        in_runtime("ncnn", None),
    ]
    run = FailedRun(
        name=f"{TEACHER.path} (tract)", path=TEACHER.path, runtime="tract", reason="no [QLinear]"
    )
    fastest = Fastest(
        among="runs/mnist",
        name=models[1].name,
        p50_ms=0.41,
        against=TEACHER.name,
        ratio=0.83,
        ci95=(0.81, 0.85),
        verdict="1.20 times faster",
        noise=None,
    )
    one = fastest.model_copy(update=changes)
    return report_of(*models).model_copy(update={"failed": [run], "fastest": [one]})


def printed(report, width=100):
    file = io.StringIO()
    show_profile(Console(file=file, width=width, color_system=None), report)
    return file.getvalue()


def test_other_runtimes_answers_and_what_they_cannot_run_are_listed():
    text = printed(with_runtimes())
    said = " ".join(text.split())
    assert "with the same ONNX file, on 16 golden images and 64 random patterns:" in said
    answers = text[text.index("Answers compared") :]
    assert row(answers, "(opencv)") == "teacher.onnx (opencv) 0 of 80, 2 tied 1.2e-02 agree"
    assert row(answers, "(openvino)") == "teacher.onnx (openvino) 12 of 80, 2 tied 1.2e-02 differ"
    assert row(answers, "(tract)") == "teacher.onnx (tract) - - none"
    assert (
        "answers differ: teacher.onnx (openvino): 12 of 80 images get another class "
        "cannot run it: teacher.onnx (tract): no [QLinear] "
        "answers not compared: teacher.onnx (ncnn): only image classifiers"
    ) in said
    assert "Answers compared" not in printed(report_of(TEACHER, STUDENT))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "fastest here: teacher.onnx (opencv), 0.410 ms, 1.20 times faster than teacher.onnx "
             "in ONNX Runtime: time ratio 0.830 (0.810 to 0.850) 1 thread"),
        ({"ratio": 0.99, "ci95": (0.97, 1.01), "verdict": "no measurable difference"},
         "fastest here: teacher.onnx (opencv), 0.410 ms, and teacher.onnx in ONNX Runtime: no "
         "measurable difference, time ratio 0.990 (0.970 to 1.010)"),
        ({"name": TEACHER.name, "ratio": None, "ci95": None, "verdict": None, "noise": "busy"},
         "fastest here: teacher.onnx in ONNX Runtime, 0.410 ms do not rely on it"),
    ],
)  # fmt: skip
def test_the_fastest_runtime_is_named_where_it_is_measurably_faster(changes, sentence):
    assert sentence in " ".join(printed(with_runtimes(**changes)).split())


def test_of_several_files_each_has_its_fastest_runtime():
    report = with_runtimes()
    both = [report.fastest[0], report.fastest[0].model_copy(update={"among": "other.onnx"})]
    text = printed(report.model_copy(update={"fastest": both}))
    assert "fastest here of runs/mnist: " in text
    assert "fastest here of other.onnx: " in text


def test_csv_has_agreement_and_a_row_for_what_could_not_run():
    text = profile_csv(with_runtimes())
    plain, opencv, openvino, ncnn, tract = csv.DictReader(io.StringIO(text, newline=""))
    assert (plain["num_flipped"], ncnn["num_flipped"], plain["problem"]) == ("", "", "")
    assert (opencv["num_flipped"], opencv["num_ties"], opencv["max_difference"]) == (
        "0",
        "2",
        "0.0123",
    )
    assert openvino["problem"] == "12 of 80 images get another class"
    assert (tract["runtime"], tract["problem"], tract["p50_ms"]) == ("tract", "no [QLinear]", "")


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/x.onnx", "b/y.onnx"], ["x.onnx", "y.onnx"]),
        (["a/x.onnx", "b/x.onnx"], ["a/x.onnx", "b/x.onnx"]),
        (["a/x[int8].onnx"], [r"x\[int8].onnx"]),
    ],
)
def test_display_names_are_short_but_different(paths, names):
    assert display_names(paths, "utf-8") == names


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_names_and_figures_are_whole_at_every_width(width):
    named = TEACHER.model_copy(update={"name": "runs/mnist/student.int8.onnx"})
    text = shown(TEACHER, named, width=width)
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert max(map(len, text.splitlines())) <= width
    for name in ("teacher.onnx", "student.int8.onnx"):
        costs = text[text.index(name) :]
        for figure in ("3.50 M", "301 M", "602 M", "14.0 MB", "53.0 MB", "31.0 ms"):
            assert figure in costs
        assert "8.31 .. 8.90" in costs
    assert ("model teacher.onnx\n  parameters  3.50 M\n" in text) == (width == 40)
    assert ("\nstudent.int8.onnx \n" in text.replace("\n", " \n")) == (width == 60)


def test_bars_are_left_out_where_they_do_not_fit():
    operators = TEACHER.model_copy(update={"operators": OPERATORS})
    assert "####" in shown(operators, width=80)
    narrow = shown(operators, width=44)
    assert "####" not in narrow
    assert row(narrow, "Op0") == "Op0 1 4.00 50.0 %"


def single(model, p50, ends, **changes):
    changes = {"batch_size": 1, "p50_ms": p50, "p50_ci95_ms": ends, "noise": None} | changes
    return model.model_copy(update={"latency": LATENCY.model_copy(update=changes)})


def test_budgets_are_a_table_and_what_is_not_known_does_not_pass():
    """The files are of 14 MB and need 53 MB; 12 ms is inside the second interval."""
    quick, near, slow, busy, batches = (
        model.model_copy(update={"path": name, "name": name})
        for name, model in {
            "quick.onnx": single(TEACHER, 8.5, (8.3, 8.9)),
            "near.onnx": single(TEACHER, 11.5, (10.9, 12.1)),
            "slow.onnx": single(TEACHER, 12.5, (12.1, 12.9)),
            "busy.onnx": single(TEACHER, 8.5, (8.3, 8.9), noise="busy", peak_memory_bytes=None),
            "batches.onnx": TEACHER,
        }.items()
    )
    limits = {"max_latency_ms": 12.0, "max_size_mb": 14.0, "max_memory_mb": 52.9}
    report = with_budgets(report_of(quick, near, slow, busy, batches), limits)
    stream = io.StringIO()
    show_profile(Console(file=stream, width=80, color_system=None), report)
    lines = [" ".join(line.split()) for line in stream.getvalue().splitlines()]
    for line in (
        "quick.onnx size 14.0 MB - 14.0 MB passes",
        "quick.onnx latency 8.50 ms 8.30 to 8.90 12.0 ms passes",
        "quick.onnx memory 53.0 MB - 52.9 MB fails",
        "near.onnx latency 11.5 ms 10.9 to 12.1 12.0 ms not known",
        "slow.onnx latency 12.5 ms 12.1 to 12.9 12.0 ms fails",
        "busy.onnx latency 8.50 ms 8.30 to 8.90 12.0 ms not known",
        "busy.onnx memory - - 52.9 MB not known",
        "batches.onnx latency - - 12.0 ms not known",
    ):
        assert line in lines
    text = failure_text(report.budgets, with_values=False)
    assert text == (
        "5 of 5 files failed --budget: quick.onnx, near.onnx, slow.onnx, busy.onnx and batches.onnx"
    )


def test_the_fastest_quiet_setting_of_a_file_counts():
    noisy = LATENCY.model_copy(update={"batch_size": 1, "p50_ms": 2.0, "noise": "busy"})
    fast = LATENCY.model_copy(update={"batch_size": 1, "p50_ms": 3.0, "p50_ci95_ms": (2.9, 3.1)})
    slow = single(TEACHER, 8.5, (8.3, 8.9))
    report = report_of(slow.model_copy(update={"other_latencies": [noisy, fast]}))
    (check,) = with_budgets(report, {"max_latency_ms": 4.0}).budgets
    assert (check.value, check.fit) == (3.0, "within budget")
