"""The sentences on what the models cost and on the files that are shipped."""

from kdtool.artifacts import FileResult
from kdtool.profiles import Latency
from kdtool.record import TEACHER_OF, Role
from kdtool.report.quantities import Relative, count, relative, small
from kdtool.report.words import listed, present, spoken
from kdtool.results import ModelResult, Results


def file_of(model: ModelResult) -> FileResult | None:
    """Return the file by which models are compared: fp32 with fp32."""
    return model.files.get("fp32")


def latency_of(model: ModelResult) -> Latency | None:
    """Return the latency of the file by which models are compared."""
    file = file_of(model)
    return file.latency if file else None


def cost_comparisons(model: ModelResult, reference: ModelResult) -> list[tuple[Relative, str]]:
    """Compare what two models cost: `(ratio, phrase)`, such as "8.8x fewer FLOPs"."""
    pairs: list[tuple[Relative | None, str]] = [
        (relative(model.num_flops, reference.num_flops, "fewer", "more"), "{} FLOPs")
    ]
    latency, other_latency = latency_of(model), latency_of(reference)
    if latency and other_latency:
        ratio = relative(latency.p50_ms, other_latency.p50_ms, "lower", "higher")
        pairs.append((ratio, "{} latency"))
    pairs.append(
        (relative(model.num_params, reference.num_params, "fewer", "more"), "{} parameters")
    )
    file, other_file = file_of(model), file_of(reference)
    if file and other_file:
        ratio = relative(file.size_bytes, other_file.size_bytes, "smaller", "larger")
        pairs.append((ratio, "{} file size"))
    return [(ratio, phrase.format(ratio.text)) for ratio, phrase in pairs if ratio and ratio.times]


def cost_sentence(results: Results, role: Role = "student") -> str | None:
    """Say what a student costs against its teacher, the worse beside the better."""
    whose = TEACHER_OF[role]
    if not {whose, role} <= results.models.keys():
        return None
    student, teacher = spoken(role), spoken(whose)
    compared = cost_comparisons(results.models[role], results.models[whose])
    better = [phrase for ratio, phrase in compared if not ratio.worse]
    worse = [phrase for ratio, phrase in compared if ratio.worse]
    if not compared:
        return f"The {student} costs as much as the {teacher}."
    parts = [listed(part) for part in (better, worse) if part]
    return f"Compared with the {teacher}, the {student} has {', but '.join(parts)}."


def parity_sentence(file: FileResult) -> str:
    """Say whether a file gives what PyTorch gave."""
    parity = file.parity
    same = parity.num_images - len(parity.flipped)
    images = f"{count(same)} of {count(parity.num_images)} test images"
    if not parity.flipped:
        images = f"all {count(parity.num_images)} test images"
    error = "some answers are no number"
    if parity.max_abs_error is not None:
        error = f"max |difference| {small(parity.max_abs_error)}"
    text = f"same class as PyTorch on {images}, {error}"
    # int8 and fp16 need not agree: whether they are good enough is for their gate to say.
    return f"FAILED the check: {text}" if parity.passed is False else text


def peak_memory(latency: Latency) -> int | None:
    """Return the bytes that a model took at its peak, over the runtime without a model."""
    if latency.peak_memory_bytes is None or latency.runtime_memory_bytes is None:
        return None
    return max(0, latency.peak_memory_bytes - latency.runtime_memory_bytes)


def latency_sentence(results: Results) -> str | None:
    """Say how the latencies were taken, and whether they can be trusted; None if none was."""
    found = [latency_of(results.models[role]) for role in present(results)]
    taken = [latency for latency in found if latency]
    if not taken:
        return None
    one = taken[0]
    threads = f"{count(one.threads)} thread{'s' if one.threads > 1 else ''}"
    runs = listed([count(latency.num_runs) for latency in taken])
    noisy = next((latency.noise for latency in taken if latency.noise), None)
    noise = f" Noisy: {noisy}." if noisy else ""
    return (
        f"Latency of the fp32 files in ONNX Runtime: batches of {count(one.batch_size)}, "
        f"{threads}, {one.provider}, the files in turn, {runs} runs.{noise}"
    )
