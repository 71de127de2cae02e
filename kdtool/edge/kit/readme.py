"""The README of a kit: what a person on the device has to know."""

import re
from dataclasses import dataclass
from importlib.resources import files
from string import Template

from kdtool import __version__
from kdtool.edge.metadata import read_metadata
from kdtool.edge.portable.classifier import decision, image_shape
from kdtool.edge.session import InferenceSession
from kdtool.results.base import Interval, Role
from kdtool.results.evidence import Rates
from kdtool.results.profile import Environment
from kdtool.results.study import FP16_USE, FileResult, Precision
from kdtool.stats.intervals import wilson_interval

MAX_CLASSES = 40  # that the README lists

# How far a probability may be off, and why. Ours: correct float32 runtimes differ by about 1e-6 of
# the largest logit, and float16 has 11 bits. int8 kernels and the same files computed in floats
# differed by at most 6e-4 on 1,797 digits; deeper networks turn more roundings round.
TOLERANCES: dict[Precision, tuple[float, str]] = {
    "fp32": (1e-3, "correct machines differ a hundred times less."),
    "fp16": (1e-2, "machines round float16 at different places."),
    "int8": (
        0.05,
        "processors round int8 differently, and one step of a logit can move a probability by a "
        "few percent. Where old processors overflow, accuracy is lost, and the check fails.",
    ),
}
INPUTS = {
    "pixels": "uint8 `(N, {height}, {width}, {channels})`, pixels as a decoder gives them, 0 to "
    "255; scaling is inside the model.",
    "resize": "uint8 `(N, height, width, {channels})` of any size, 0 to 255; resizing and scaling "
    "are inside the model.",
    "tensor": "float32 `(N, {channels}, {height}, {width})`, pixels divided by 255, as `predict` "
    "does.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class KitFacts:
    """What the study knows of the file that ships."""

    study: str
    role: Role
    precision: Precision
    file: FileResult
    reason: str  # why this file ships and not one of another precision, in words; may be empty
    data: str  # how many images of what it was tested on, in words
    rates: Rates | None  # of two classes: of this file on the test images, decided as it says
    environment: Environment  # of the machine where it was made


def readme(facts: KitFacts, session: InferenceSession, classes: list[str], num_golden: int) -> str:
    """Return the README as Markdown.

    Args:
        facts: Of the model file.
        session: Of the same file.
        classes: Their names, in the order of the probabilities.
        num_golden: How many images the kit can be checked with.
    """
    file = facts.file
    height, width, channels = image_shape(session)
    tolerance, tolerance_words = TOLERANCES[facts.precision]
    template = files("kdtool.edge.portable").joinpath("README.md").read_text(encoding="utf-8")
    return Template(template).substitute(
        study=facts.study,
        role=facts.role,
        precision=facts.precision,
        kdtool=__version__,
        num_classes=len(classes),
        num_golden=num_golden,
        input_name=session.get_inputs()[0].name,
        input_words=INPUTS[_input_form(session)].format(
            height=height, width=width, channels=channels
        ),
        classes=_class_list(classes),
        decided=_decided(session, classes),
        colour="gray" if channels == 1 else "RGB",
        tested=_tested(facts, session),
        size=f"{file.size_bytes:,} bytes",
        opset=file.opset,
        sha256=file.sha256,
        latency=_latency(facts),
        provenance=_provenance(session),
        tolerance=f"{tolerance:g}",
        tolerance_words=tolerance_words,
    )


def _decided(session: InferenceSession, classes: list[str]) -> str:
    chosen = decision(session)
    if chosen is None:
        return "An image is called by its most probable class; `decide` gives the place of that."
    positive, threshold = chosen
    return (
        f"An image is called {_code(classes[positive])} where that has a probability of at least "
        f"{threshold:.4g},\nelse {_code(classes[1 - positive])}; `decide` gives the place of the "
        "class. That threshold was chosen on validation images\n"
        f"by the rule `{_said(session)['rule']}`."
    )


def _tested(facts: KitFacts, session: InferenceSession) -> str:
    accuracy, parity = facts.file.accuracy, facts.file.parity
    interval = wilson_interval(round(accuracy * parity.num_images), parity.num_images)
    points = [
        f"It recognized {_percent(accuracy)} of {facts.data} ({_between(interval)}).",
        f"It gave the class that PyTorch gave on {_percent(parity.agreement)} of them.",
        *(_rates(facts.rates, session) if facts.rates else []),
        facts.reason,
        f"{FP16_USE}." if facts.precision == "fp16" else "",
    ]
    return "\n".join(f"- {point}" for point in points if point)


def _rates(rates: Rates, session: InferenceSession) -> list[str]:
    chosen = decision(session)
    by_threshold = chosen and (
        f"Both are of the more probable class. Called from {chosen[1]:.4g} on, it recognized "
        f"{_percent(rates.accuracy)} of them."
    )
    return [
        by_threshold or "",
        f"Of those that are {_code(_said(session)['positive'])} it called "
        f"{_percent(rates.sensitivity)} so (sensitivity, {_between(rates.sensitivity_ci95)}), and "
        f"of the others {_percent(1 - rates.specificity)} (specificity "
        f"{_percent(rates.specificity)}, {_between(rates.specificity_ci95)}).",
    ]


def _said(session: InferenceSession) -> dict[str, str]:
    """Return how the class is decided, as the file says it."""
    said = read_metadata(session)["decision"]
    return {key: str(value) for key, value in said.items()} if isinstance(said, dict) else {}


def _code(name: str) -> str:
    """Return a name as it is, whatever Markdown makes of its letters elsewhere."""
    fence = "`" * (max(map(len, re.findall("`+", name)), default=0) + 1)
    return f"{fence} {name} {fence}" if len(fence) > 1 else f"`{name}`"


def _between(ends: Interval) -> str:
    return f"95 % interval {_percent(ends[0])} to {_percent(ends[1])}"


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _input_form(session: InferenceSession) -> str:
    if session.get_inputs()[0].type != "tensor(uint8)":
        return "tensor"
    height, _, _ = image_shape(session)
    return "pixels" if isinstance(height, int) else "resize"


def _class_list(classes: list[str]) -> str:
    # Indented by four spaces, Markdown takes names as they are.
    lines = [f"    {name}" for name in classes[:MAX_CLASSES]]
    if len(classes) > MAX_CLASSES:
        lines.append(f"    ... and {len(classes) - MAX_CLASSES} more, see labels.txt")
    return "\n".join(lines)


def _latency(facts: KitFacts) -> str:
    latency = facts.file.latency
    if latency is None:
        return "not measured"
    threads = "1 thread" if latency.threads == 1 else f"{latency.threads} threads"
    noise = f", on a machine that was not quiet: {latency.noise}" if latency.noise else ""
    return f"{latency.p50_ms:.3g} ms (median, {threads}, {facts.environment.cpu}{noise})"


def _provenance(session: InferenceSession) -> str:
    provenance = read_metadata(session).get("provenance")
    if not isinstance(provenance, dict):
        return "unknown"
    return ", ".join(f"{key} {value}" for key, value in provenance.items())
