"""Whether the ONNX files of a study are what it says: counts, classes, threshold."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from kdtool.edge.count.graph import GraphCost, count_graph
from kdtool.edge.metadata import read_metadata, shape_of_image
from kdtool.edge.model_file import model_opset, read_model
from kdtool.errors import ModelFileError
from kdtool.results.base import Precision, Role
from kdtool.results.commands.verification import Part, compared, joined, not_checked
from kdtool.results.profile import ProfileReport
from kdtool.results.study import FileResult, Results

NAME = "ONNX files: parameters, MACs and metadata"


def recount(
    folder: Path, results: Results, profiles: Sequence[tuple[Path, ProfileReport]] = ()
) -> Part:
    """Count the files of a study again; compare them with their metadata, the study and profiles.

    Args:
        folder: Of the study.
        results: Of the study.
        profiles: Of other machines, each with its file.
    """
    parts: list[Part] = []
    costs = {}
    for role, precision, file in results.files:
        path = folder / file.path
        try:
            cost = count_graph(path, shapes=shape_of_image(read_model(path)))
            parts += _file(folder, results, role, precision, cost)
        except ModelFileError as error:
            parts.append(not_checked(NAME, f"{file.path}: {error}"))
            continue
        costs[file.sha256] = (cost, file)
    for path, report in profiles:
        parts += _profile(path, report, costs)
    return joined(NAME, parts)


def _file(
    folder: Path, results: Results, role: Role, precision: Precision, cost: GraphCost
) -> Iterator[Part]:
    model = results.models[role]
    file, point = model.files[precision], model.operating_point
    proto = read_model(folder / file.path)
    metadata = read_metadata(proto)
    yield compared(NAME, file.path, metadata.get("counts"), _counts(cost), "kdtool.counts")
    yield compared(NAME, file.path, metadata.get("classes"), results.data.classes, "kdtool.classes")
    temperature = {"temperature": file.temperature}
    yield compared(NAME, file.path, metadata.get("calibration"), temperature, "kdtool.calibration")
    decision = point and point.model_dump(include={"rule", "positive", "threshold"})
    yield compared(NAME, file.path, metadata.get("decision"), decision, "kdtool.decision")
    provenance = metadata.get("provenance")
    expected = {
        "model": model.model,
        "role": role,
        "seed": model.exported_seed,
        "data": results.data.fingerprint,
    }
    if isinstance(provenance, dict):
        provenance = {key: provenance.get(key) for key in expected}
    yield compared(NAME, file.path, provenance, expected, "kdtool.provenance")
    field = f"models.{role}.files.{precision}.opset"
    yield compared(NAME, "results.json", file.opset, model_opset(proto), field)


def _counts(cost: GraphCost) -> dict[str, object]:
    return {
        "num_params": cost.num_params,
        "num_macs": cost.num_macs,
        "num_flops": 2 * cost.num_macs,
        "params_at_least": cost.params_at_least,
        "macs_at_least": cost.macs_at_least,
    }


def _profile(
    path: Path, report: ProfileReport, costs: dict[str, tuple[GraphCost, FileResult]]
) -> Iterator[Part]:
    """Compare what a profile counted of the files of the study; it may hold other models too."""
    for place, model in enumerate(report.models):
        if model.sha256 not in costs:
            continue
        cost, file = costs[model.sha256]
        found = {
            "size_bytes": file.size_bytes,
            "num_params": cost.num_params,
            "num_macs": cost.num_macs,
            "num_flops": 2 * cost.num_macs,
        }
        stored = {name: getattr(model, name) for name in found}
        yield compared(NAME, path.name, stored, found, f"models[{place}]")
