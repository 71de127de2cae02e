"""The files of the model that is shipped, side by side."""

from kdtool.artifacts import FileResult
from kdtool.report.comparison import Cell, Row, memory_cell, p50_cell, size_cell
from kdtool.report.quantities import TIMES, p_value, percent, points, points_range
from kdtool.report.ship import shipped
from kdtool.results import Results


def ship_rows(results: Results) -> list[Row]:
    """Compare the files of the model that is shipped, fp32 first; empty for a single file."""
    model = shipped(results)
    if model is None or len(model.files) == 1:
        return []
    files = list(model.files.values())
    fp32 = model.files.get("fp32")
    others = [fp32 if file is not fp32 else None for file in files]
    pairs = list(zip(files, others, strict=True))
    times = [(file.latency, other.latency if other else None) for file, other in pairs]
    rows = [
        Row(key="size", label="File size", cells=[size_cell(*pair) for pair in pairs]),
        Row(
            key="accuracy",
            label="Accuracy",
            note="of the file's own answers, on the test images",
            cells=[Cell(value=percent(file.accuracy)) for file in files],
        ),
        Row(
            key="difference",
            label="Accuracy against fp32",
            note="in points, on the same images; exact McNemar test",
            cells=[_difference(file) for file in files],
        ),
        Row(
            key="ratio",
            label="Time against fp32",
            note="both timed in turn",
            cells=[_time_ratio(file) for file in files],
        ),
        Row(key="p50", label="Latency, median", cells=[p50_cell(time, None) for time, _ in times]),
        Row(
            key="memory",
            label="Peak memory",
            note="of the process, over the runtime without a model",
            cells=[memory_cell(*pair) for pair in times],
        ),
        Row(
            key="agreement",
            label="Same class as PyTorch",
            note="share of the test images",
            cells=[Cell(value=percent(file.parity.agreement)) for file in files],
        ),
    ]
    return [row for row in rows if any(row.cells)]


def _difference(file: FileResult) -> Cell | None:
    gate = file.gate
    if gate is None:
        return None
    interval = points_range(gate.ci95)
    return Cell(value=points(gate.difference), interval=interval, relative=p_value(gate.mcnemar_p))


def _time_ratio(file: FileResult) -> Cell | None:
    gate = file.gate
    if gate is None:
        return None
    low, high = gate.time_ratio_ci95
    found = "faster" if high < 1 else "slower" if low > 1 else "no measurable difference"
    return Cell(
        value=f"{gate.time_ratio:.2f}{TIMES}",
        interval=f"{low:.2f} to {high:.2f}",
        relative=found,
        worse=low > 1,
    )
