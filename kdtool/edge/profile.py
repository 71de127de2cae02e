"""What ONNX files cost: parameters, MACs, size and latency, side by side."""

from collections.abc import Sequence
from pathlib import Path

from kdtool.edge.graph import GraphCost, count_graph
from kdtool.edge.latency import Measurement, measure
from kdtool.edge.metadata import read_metadata
from kdtool.edge.model_file import external_files, model_opset, read_model
from kdtool.environment import collect_environment
from kdtool.errors import KdtoolError
from kdtool.files import sha256_of
from kdtool.profiles import Comparison, ModelProfile, ProfileReport
from kdtool.record import Interval


def profile_models(
    paths: Sequence[Path], threads: int, seconds: float, batch_size: int
) -> ProfileReport:
    """Count and time ONNX files on this machine's processor.

    Args:
        paths: ONNX files, at least one; the others are compared with the first.
        threads: For each model, at least 1.
        seconds: Of measuring, for each model.
        batch_size: Images a run.

    Raises:
        KdtoolError: No file was given, or one cannot be counted or run as asked.
    """
    if not paths:
        raise KdtoolError("no model was given; give one or more .onnx files")
    costs = [count_graph(path, batch_size) for path in paths]
    measurements = measure(paths, threads, seconds, batch_size)
    return ProfileReport(
        environment=collect_environment(),
        models=[
            _model_profile(path, cost, measurement)
            for path, cost, measurement in zip(paths, costs, measurements, strict=True)
        ],
        comparisons=[
            Comparison(
                of=str(path),
                against=str(paths[0]),
                ratio=measurement.ratio,
                ci95=measurement.ratio_ci95,
                verdict=speed_verdict(measurement.ratio, measurement.ratio_ci95),
            )
            for path, measurement in zip(paths[1:], measurements[1:], strict=True)
        ],
    )


def speed_verdict(ratio: float, ci95: Interval) -> str:
    """Say in words what a ratio of times means.

    Args:
        ratio: Time of a model / time of the one it is compared with.
        ci95: Of `ratio`.
    """
    lower, upper = ci95
    if lower <= 1 <= upper:
        return "no measurable difference"
    factor, direction = (1 / ratio, "faster") if ratio < 1 else (ratio, "slower")
    if factor < 1.005:  # would read "1.00 times"
        return f"less than 1 % {direction}"
    return f"{factor:.2f} times {direction}"


def _model_profile(path: Path, cost: GraphCost, measurement: Measurement) -> ModelProfile:
    model = read_model(path)
    num_macs = cost.num_macs // measurement.latency.batch_size
    return ModelProfile(
        path=str(path),
        sha256=sha256_of(path),
        size_bytes=sum(file.stat().st_size for file in (path, *external_files(path, model))),
        opset=model_opset(model),
        num_params=cost.num_params,
        num_bn_statistics=cost.num_bn_statistics,
        num_macs=num_macs,
        num_flops=2 * num_macs,
        partial=cost.partial,
        uncounted_ops=list(cost.uncounted_ops),
        metadata=read_metadata(model),
        latency=measurement.latency,
    )
