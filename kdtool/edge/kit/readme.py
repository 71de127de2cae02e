"""The README of a kit: what its user on the device needs to know."""

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from kdtool import __version__
from kdtool.edge.metadata import read_metadata
from kdtool.edge.portable.classifier import decision, image_shape
from kdtool.edge.session import InferenceSession
from kdtool.format import count, keyboard_text, milliseconds, percent, plural, probability
from kdtool.results.base import Interval, Precision, Role
from kdtool.results.evidence import Rates
from kdtool.results.profile import Environment
from kdtool.results.study import FP16_USE, FileResult
from kdtool.stats.intervals import wilson_interval

MAX_CLASSES = 40  # listed in the README

# Where an int8 network adds two branches, each platform (x86, WebAssembly, ARM) rounds near ties
# otherwise, and later layers amplify it: by up to 0.22 in MobileNetV2, with the same classes.
ROUNDING = 0.25

# How far a probability may differ, and why. Our choice: correct float32 runtimes differ by about
# 1e-6 of the largest logit, and float16 has 11 bits. int8 kernels and the same files computed in
# floats differed by at most 6e-4 on 1,797 digits; deeper networks round more often.
TOLERANCES: dict[Precision, tuple[float, str]] = {
    "fp32": (1e-3, "correct machines differ by a hundredth of that."),
    "fp16": (1e-2, "machines round float16 at different steps."),
    "int8": (
        0.05,
        "processors round int8 differently, and one step of a logit can change a probability by a "
        "few percent. Where two branches of the network are added, it can be more: if every class "
        f'is the same and no probability differs by more than {ROUNDING}, the check says "another '
        "platform's rounding\" and passes. On old processors whose int8 arithmetic overflows, it "
        "fails.",
    ),
}
INPUTS = {
    "pixels": "uint8 `(N, {height}, {width}, {channels})`, decoded pixels, 0 to 255; the model "
    "scales them itself.",
    "resize": "uint8 `(N, height, width, {channels})`, decoded pixels of any size, 0 to 255; the "
    "model resizes and scales them itself.",
    "tensor": "float32 `(N, {channels}, {height}, {width})`, pixels divided by 255; `predict` does "
    "that.",
}

INSTALL = {
    "wheel": "Its wheel is in this folder:",
    "none": "Build its wheel in a clone of kdtool with\n`uv build --wheel`, and copy it from "
    "`dist/` into this folder:",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class KitFacts:
    """What the study knows about the file that ships."""

    study: str
    role: Role
    precision: Precision
    file: FileResult
    reason: str  # a sentence: why this precision and not another; may be empty
    data: str  # the test images, such as "1,000 test images of MNIST"
    rates: Rates | None  # with two classes: of this file on the test images, at its threshold
    environment: Environment  # of the machine where it was made
    num_golden: int = 16  # golden images that the kit gets, if there are as many

    @property
    def identity(self) -> dict[str, str]:
        """Which file it is, for the manifest."""
        about = {"study": self.study, "role": self.role, "precision": self.precision}
        return about | {"source": self.file.sha256}


def golden_name(index: int, num_golden: int) -> str:
    """Return the name of a golden image, such as "00.png": by name they are in their order."""
    return f"{index:0{max(2, len(str(num_golden - 1)))}}.png"


def readme(
    facts: KitFacts,
    session: InferenceSession,
    classes: list[str],
    num_golden: int,
    wheel: Path | None,
) -> str:
    """Return the README as Markdown.

    Args:
        facts: About the model file.
        session: The same file, loaded.
        classes: Names, in the order of the probabilities.
        num_golden: Number of golden images.
        wheel: Of kdtool, if the kit has one.
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
        first_golden=golden_name(0, num_golden),
        input_name=session.get_inputs()[0].name,
        input_words=INPUTS[_input_form(session)].format(
            height=height, width=width, channels=channels
        ),
        classes=_class_list(classes),
        decided=_decided(session, classes),
        colour="gray" if channels == 1 else "RGB",
        tested=_tested(facts, session),
        size=f"{count(file.size_bytes)} bytes",
        opset=file.opset,
        sha256=file.sha256,
        latency=_latency(facts),
        provenance=_provenance(session),
        install=INSTALL["none" if wheel is None else "wheel"],
        wheel=wheel.name if wheel else f"kdtool-{__version__}-py3-none-any.whl",
        tolerance=f"{tolerance:g}",
        tolerance_words=tolerance_words,
    )


def _decided(session: InferenceSession, classes: list[str]) -> str:
    chosen = decision(session)
    if chosen is None:
        return "The predicted class is the most probable one; `decide` returns its index."
    positive, threshold = chosen
    return (
        f"The predicted class is {_code(classes[positive])} if its probability is at least "
        f"{probability(threshold)},\nelse {_code(classes[1 - positive])}; `decide` returns its "
        "index. The threshold was chosen on validation images\n"
        f"by the rule `{_metadata_decision(session)['rule']}`."
    )


def _tested(facts: KitFacts, session: InferenceSession) -> str:
    accuracy, parity = facts.file.accuracy, facts.file.parity
    interval = wilson_interval(round(accuracy * parity.num_images), parity.num_images)
    points = [
        f"Accuracy: {_percent(accuracy)} on {facts.data} ({_between(interval)}).",
        f"PyTorch's most probable class is the same on {_percent(parity.agreement)} of them.",
        *(_rates(facts.rates, session) if facts.rates else []),
        facts.reason,
        f"{FP16_USE}." if facts.precision == "fp16" else "",
    ]
    return "\n".join(f"- {point}" for point in points if point)


def _rates(rates: Rates, session: InferenceSession) -> list[str]:
    return [
        f"Sensitivity (share of the images of {_code(_metadata_decision(session)['positive'])} "
        f"that get this class): {_percent(rates.sensitivity)} "
        f"({_between(rates.sensitivity_ci95)}).",
        "Specificity (share of the other images that do not get it): "
        f"{_percent(rates.specificity)} ({_between(rates.specificity_ci95)}).",
    ]


def _metadata_decision(session: InferenceSession) -> dict[str, str]:
    chosen = read_metadata(session)["decision"]
    return {key: str(value) for key, value in chosen.items()} if isinstance(chosen, dict) else {}


def _code(name: str) -> str:
    """Return a name as Markdown code, so that none of its characters is markup."""
    fence = "`" * (max(map(len, re.findall("`+", name)), default=0) + 1)
    return f"{fence} {name} {fence}" if len(fence) > 1 else f"`{name}`"


def _between(ends: Interval) -> str:
    return f"95 % interval {_percent(ends[0])} to {_percent(ends[1])}"


def _percent(share: float) -> str:
    return keyboard_text(percent(share))


def _input_form(session: InferenceSession) -> str:
    if session.get_inputs()[0].type != "tensor(uint8)":
        return "tensor"
    height, _, _ = image_shape(session)
    return "pixels" if isinstance(height, int) else "resize"


def _class_list(classes: list[str]) -> str:
    # Indented by four spaces, names are code in Markdown.
    lines = [f"    {name}" for name in classes[:MAX_CLASSES]]
    if len(classes) > MAX_CLASSES:
        lines.append(f"    ... and {len(classes) - MAX_CLASSES} more, see labels.txt")
    return "\n".join(lines)


def _latency(facts: KitFacts) -> str:
    latency = facts.file.latency
    if latency is None:
        return "not measured"
    threads = plural(latency.threads, "thread")
    noise = f", measured on a noisy machine: {latency.noise}" if latency.noise else ""
    median = keyboard_text(milliseconds(latency.p50_ms))
    return f"{median} (median, {threads}, {facts.environment.cpu}{noise})"


def _provenance(session: InferenceSession) -> str:
    provenance = read_metadata(session).get("provenance")
    if not isinstance(provenance, dict):
        return "unknown"
    return ", ".join(f"{key} {value}" for key, value in provenance.items())
