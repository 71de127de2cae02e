"""The README of a page, and the lines of its "About this file"."""

from importlib.resources import files
from pathlib import Path
from string import Template

import PIL

from kdtool import __version__
from kdtool.edge.kit.readme import TOLERANCES, KitFacts
from kdtool.edge.targets.web.check import WebCheck
from kdtool.edge.targets.web.runtime import WebRuntime
from kdtool.format import count, keyboard_text, percent, plural

SIZES = {
    "resize": "as they are; the model resizes them",
    "other": "{width} x {height}: the shorter side is scaled as Pillow does it, the centre cropped",
}


def about(facts: KitFacts, known: dict[str, object], runtime: WebRuntime) -> dict[str, str]:
    """Return what the page says about itself: name -> text.

    Args:
        facts: About the model file.
        known: From `page_facts`.
        runtime: Of the page.
    """
    size = SIZES["resize" if known["input"] == "resize" else "other"]
    size_bytes = count(facts.file.size_bytes)
    return {
        "Model": f"{facts.study}, {facts.role}, {facts.precision}, {size_bytes} bytes",
        "SHA-256": facts.file.sha256,
        "Images": f"{'gray' if known['channels'] == 1 else 'RGB'}, {size.format(**known)}",
        "Accuracy": f"{keyboard_text(percent(facts.file.accuracy))} on {facts.data}",
        "Made by": f"kdtool {__version__}, onnxruntime-web {runtime.version}",
    }


def readme(
    facts: KitFacts,
    known: dict[str, object],
    runtime: WebRuntime,
    check: WebCheck,
    folder: Path,
) -> str:
    """Return the README as Markdown.

    Args:
        facts: About the model file.
        known: From `page_facts`.
        runtime: Of the page.
        check: What Chromium answered.
        folder: With the page.
    """
    template = files("kdtool.edge.targets.web").joinpath("page/README.md")
    tolerance, _ = TOLERANCES[facts.precision]
    lines = [f"- {name}: {value}" for name, value in about(facts, known, runtime).items()]
    site = [path for path in (folder / "site").rglob("*") if path.is_file()]
    return Template(template.read_text(encoding="utf-8")).substitute(
        title=known["title"],
        about="\n".join(lines),
        checked=_checked(check),
        tolerance=f"{tolerance:g}",
        version=runtime.version,
        pillow=PIL.__version__,
        page_mb=f"{(folder / 'classifier.html').stat().st_size / 1e6:.1f}",
        site_mb=f"{sum(path.stat().st_size for path in site) / 1e6:.1f}",
    )


def _checked(check: WebCheck) -> str:
    num_same = check.num_images - len(check.ties)
    return (
        f"Opened in {check.browser} where it was made: {num_same:,} of "
        f"{plural(check.num_images, 'test image')} get the class of ONNX Runtime, the largest "
        f"difference of a probability is {check.max_difference:.1g}, and its own check of "
        f"{plural(check.num_golden, 'golden image')} passes."
    )
