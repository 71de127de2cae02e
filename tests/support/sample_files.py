"""Files of a study, their latency, and the machines that measured it."""

from kdtool.results.profile import Environment, Latency, ModelProfile
from kdtool.results.quantization import Ladder, Quantization, Rung, SensitiveLayer
from kdtool.results.study import (
    DeviceFile,
    DeviceProfile,
    DeviceTiming,
    FileResult,
    Gate,
    Parity,
)
from kdtool.results.targets import TargetCheck, TargetResult

# Parameters and MACs of the networks of recipes/mnist.toml; latency and size as on one laptop core.
COST = {
    "teacher": ("mnist-cnn", 1_011_466, 10_937_728, 0.412, 4_051_112),
    "control": ("mnist-mlp", 1_238_730, 1_237_152, 0.131, 4_957_300),
    "student": ("mnist-mlp", 1_238_730, 1_237_152, 0.133, 4_957_301),
    "subclass-teacher": ("mnist-cnn", 1_016_626, 10_942_848, 0.417, 4_071_790),
    "subclass-student": ("mnist-mlp", 1_270_130, 1_268_512, 0.137, 5_083_010),
}


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


def model_profile(path, latency, **changes):
    """What `kdtool profile` says of a file, of 10 parameters and MACs."""
    values = {
        "name": path,
        "path": path,
        "sha256": "0" * 64,
        "size_bytes": 1000,
        "opset": 18,
        "num_params": 10,
        "num_bn_statistics": 0,
        "num_macs": 10,
        "num_flops": 20,
        "partial": False,
        "uncounted_ops": [],
        "metadata": {},
        "latency": latency,
        "other_latencies": [],
        "operators": [],
    }
    return ModelProfile(**values | changes)


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
        "validation_difference": -0.001,
        "validation_ci95": (-0.0025, 0.0005),
        "num_validation": 6000,
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


def int8_ladder(size_bytes=1_246_001, passed=True):
    """Four attempts, of which the last keeps its accuracy if `passed`."""
    calibrated, kept = "percentile 99.99", ["/0/Gemm", "/4/Gemm"]
    attempts = [
        ("min-max", "min-max", False, [], -0.0412),
        (calibrated, calibrated, False, [], -0.0305),
        ("bias correction", calibrated, True, [], -0.0127),
        ("2 layers in fp32", calibrated, True, kept, -0.001 if passed else -0.0111),
    ]
    return Ladder(
        rungs=[
            Rung(
                name=name,
                calibration=calibration,
                bias_corrected=corrected,
                kept_fp32=layers,
                difference=difference,
                ci95=(difference - 0.002, difference + 0.002),
                num_validation=6000,
                size_bytes=size_bytes + 40_000 * len(layers),
                time_ratio=None if layers and passed else 0.55,
                time_ratio_ci95=None if layers and passed else (0.53, 0.57),
                passed=difference > -0.01,
            )
            for name, calibration, corrected, layers, difference in attempts
        ],
        worst_layers=[
            SensitiveLayer(
                name=name,
                operator="Gemm",
                snr_db=snr_db,
                input_outliers=outliers,
                output_outliers=1.2,
                weight_spread=spread,
            )
            for name, snr_db, outliers, spread in (("/0/Gemm", 9.4, 7.9, 1.3), ("/4|a", 18, 1, 12))
        ],
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
                "int8_ladder": int8_ladder(),
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


def sample_targets(num_images=1000):
    """ort and tract with int8, openvino with fp32 after a refusal, and opencv refused."""

    def check(precision, difference=2e-7, flipped=(), refused=None, **changes):
        return TargetCheck(
            precision=precision,
            sha256="8b" * 32,
            num_images=num_images,
            agreement=1 - len(flipped) / num_images,
            flipped=list(flipped),
            max_difference=difference,
            tolerance=0.05 if precision == "int8" else 0.001,
            refused=refused,
        ).model_copy(update=changes)

    def target(name, runtime, version, checks, ratio=None, **changes):
        is_written = checks[-1].refused is None
        return TargetResult(
            name=name,
            runtime=runtime,
            version=version,
            checks=checks,
            path=f"targets/{name}" if is_written else None,
            size_bytes=1_246_001 if is_written else None,
            time_ratio=ratio,
            time_ratio_ci95=ratio and (0.97 * ratio, 1.04 * ratio),
        ).model_copy(update=changes)

    flips = "6 of 1,000 test images get another class than in ONNX Runtime (indices 3, 17, 90)"
    wrong = check("int8", 0.16, (3, 17, 90, 91, 92, 93), flips)
    broken = "it cannot run the file: Unsupported operations: `Quick|Gelu`"
    lost = {"agreement": None, "max_difference": None}
    return [
        target("ort", "onnxruntime", "1.32.0", [check("int8", 0.0)], 1.02),
        target("openvino", "openvino", "2026.4.1", [wrong, check("fp32")], 0.91, noise="busy"),
        target(
            "opencv",
            "opencv-python-headless",
            "5.0.0.93",
            [check("int8", refused=broken, **lost), check("fp32", refused=broken, **lost)],
        ),
        target("tract", "tract", "0.23.9", [check("int8", 0.026, ties=[7])], 2.63),
    ]
