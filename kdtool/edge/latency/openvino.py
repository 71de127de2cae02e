"""Load a model in OpenVINO; the only module that imports openvino."""

import sys
import time

from kdtool.edge.latency.job import PROBABILITIES, Declared, Job, LoadedModel, random_input
from kdtool.edge.shapes import Dims, input_shapes
from kdtool.errors import KdtoolError, ModelFileError
from kdtool.install import install_command

# Importing openvino sends telemetry, unless this module cannot be imported.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

try:
    import openvino
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "openvino":
        raise
    raise KdtoolError(
        f"timing a model in OpenVINO needs openvino: {install_command('openvino')}"
    ) from error

# Otherwise OpenVINO computes in bfloat16 on CPUs that support it: faster, with other results.
ARITHMETIC = "f32"


def load_in_openvino(job: Job) -> LoadedModel:
    """Load the model of `job` on the CPU, for its batch size and in float32.

    Layers that are quantized in the file stay quantized.

    Raises:
        KdtoolError: OpenVINO cannot load the model, or the job asks for another device.
    """
    if job.provider not in ("cpu", "auto"):
        raise KdtoolError(
            f"the provider {job.provider!r} belongs to onnxruntime; kdtool times OpenVINO on the "
            "CPU only: remove --provider, or use --provider cpu"
        )
    started = time.perf_counter_ns()
    core = openvino.Core()
    try:
        model = core.read_model(job.path)
        declared: Declared = {
            port.any_name: (_dims(port.partial_shape), port.element_type.to_dtype())
            for port in model.inputs
        }
        shapes = input_shapes(
            {name: dims for name, (dims, _) in declared.items()}, job.batch_size, job.shapes
        )
        model.reshape(shapes)
        compiled = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_NUM_THREADS": job.threads,
                "INFERENCE_PRECISION_HINT": ARITHMETIC,
                "NUM_STREAMS": 1,
                "PERFORMANCE_HINT": "LATENCY",
            },
        )
    except RuntimeError as error:
        raise ModelFileError(f"OpenVINO cannot load {job.path}: {_short(error)}") from error
    load_ns = time.perf_counter_ns() - started
    request = compiled.create_infer_request()
    feed = random_input(declared, job.batch_size, job.shapes)
    return LoadedModel(
        run=lambda: request.infer(feed, share_inputs=True, share_outputs=True),
        load_ns=load_ns,
        answer=(lambda images: compiled(images)[PROBABILITIES]) if job.facts else None,
        provider="cpu",
        arithmetic=compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name(),
    )


def _dims(shape: "openvino.PartialShape") -> Dims | None:
    if shape.rank.is_dynamic:
        return None
    return [None if dim.is_dynamic else dim.get_length() for dim in shape]


def _short(error: Exception) -> str:
    """Return the last line of an error of OpenVINO; the lines before are places in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
