"""Write a page that runs a classifier in a browser, and check it there."""

import json
from pathlib import Path

import numpy as np
import PIL

from kdtool.edge.kit.build import MODEL, Answered, copy_model, pick_golden, write_golden
from kdtool.edge.kit.folder import replaced_folder, write_manifest
from kdtool.edge.kit.readme import TOLERANCES, KitFacts
from kdtool.edge.metadata import read_metadata
from kdtool.edge.portable.classifier import image_shape
from kdtool.edge.predict import check_decision, class_names
from kdtool.edge.session import InferenceSession
from kdtool.edge.targets.web.browser import Browser, find_chromium
from kdtool.edge.targets.web.check import WebCheck, check_page
from kdtool.edge.targets.web.page import adler32, json_bytes, one_file, site_files
from kdtool.edge.targets.web.readme import about, readme
from kdtool.edge.targets.web.runtime import WASM, WebRuntime
from kdtool.errors import GateError, KdtoolError, ModelFileError
from kdtool.results.base import Precision

PAGE = "classifier.html"
SITE = "site"
GOLDEN = "golden"
REFUSED: dict[Precision, str] = {
    "int8": "in WebAssembly int8 takes 1.0 to 5 times the time of fp32, and networks with residual "
    "connections leave the tolerance",
    "fp16": "WebAssembly has no float16 arithmetic",
}


def write_web(
    folder: Path, model: Path, facts: KitFacts, answered: Answered, runtime: WebRuntime
) -> WebCheck:
    """Write the page as one file and as a folder for a server; check the file in Chromium.

    Args:
        folder: Is created; an unchanged one in its place is replaced.
        model: fp32 ONNX file of a classifier that kdtool exported.
        facts: About that file; its SHA-256 must still be `facts.file.sha256`.
        answered: Test images, with the answers of ONNX Runtime on this machine; some become the
            golden images, all are checked.
        runtime: From `find_runtime`.

    Returns:
        What Chromium answered.

    Raises:
        ModelFileError: The file is not fp32, was changed since it was checked, or is no classifier
            that kdtool exported.
        StudyError: `folder` cannot be written, or holds something else.
        GateError: Chromium is not installed or gives other answers; `folder` stays unchanged.
    """
    if facts.precision != "fp32":
        raise ModelFileError(
            f"a browser gets the fp32 file, not {facts.precision}: {REFUSED[facts.precision]}; "
            "give the model's fp32 file"
        )
    with replaced_folder(folder, "kit") as new:
        site = new / SITE
        site.mkdir(parents=True)
        session = copy_model(model, site / MODEL, facts)
        _write_golden(site / GOLDEN, facts, answered, class_names(session, model))
        known = page_facts(session, model, facts)
        shown = about(facts, known, runtime)
        for name, data in site_files(known, shown, runtime).items():
            (site / name).write_bytes(data)
        inside = [MODEL, *(path.relative_to(site).as_posix() for path in site.glob(f"{GOLDEN}/*"))]
        content = {name: (site / name).read_bytes() for name in sorted(inside)}
        (new / PAGE).write_bytes(one_file(known, shown, runtime, content))
        check = _checked(new, answered)
        text = readme(facts, known, runtime, check, new)
        (new / "README.md").write_text(text, encoding="utf-8", newline="\n")
        write_manifest(new, facts.identity)
    return check


def page_facts(session: InferenceSession, model: Path, facts: KitFacts) -> dict[str, object]:
    """Return what the scripts of the page know about the model.

    Args:
        session: Of the model.
        model: Its path, for messages.
        facts: About the file.
    """
    height, width, channels = image_shape(session)
    classes = class_names(session, model)
    chosen = check_decision(session, model, classes)
    is_tensor = session.get_inputs()[0].type != "tensor(uint8)"
    return {
        "title": f"{facts.study}: {facts.role}",
        "classes": classes,
        "input": "tensor" if is_tensor else "pixels" if isinstance(height, int) else "resize",
        "height": height if isinstance(height, int) else None,
        "width": width if isinstance(width, int) else None,
        "channels": channels,
        "columns_first": columns_first(),
        "decision": chosen and {"positive": chosen[0], "threshold": chosen[1]},
        "provenance": read_metadata(session).get("provenance"),
        "wasm": WASM,
    }


def columns_first() -> bool:
    """Whether the installed Pillow may resize the columns of an image before its rows.

    It does so since 13.0 where an image loses more than twice as many rows as columns; the pixels
    then differ by up to one level from those of older versions.
    """
    return int(PIL.__version__.split(".")[0]) >= 13


def _write_golden(folder: Path, facts: KitFacts, answered: Answered, classes: list[str]) -> None:
    """Write golden images as those of a kit, with checksums of their pixels."""
    tolerance, _ = TOLERANCES[facts.precision]
    golden = pick_golden(answered, tolerance, facts.num_golden)
    images = answered.images[golden]
    names = [classes[label] for label in answered.labels[golden]]
    write_golden(folder, images, names, answered.probabilities[golden], tolerance)
    expected = json.loads((folder / "expected.json").read_bytes())
    for entry, image in zip(expected["images"], images, strict=True):
        entry["adler32"] = adler32(np.ascontiguousarray(image).tobytes())
    (folder / "expected.json").write_bytes(json_bytes(expected))


def _checked(folder: Path, answered: Answered) -> WebCheck:
    chromium = find_chromium()
    if chromium is None:
        raise GateError(
            "no Chromium is installed here, in which the page would be checked; install it, such "
            "as by apt install chromium (on Windows the page cannot be checked)"
        )
    try:
        with Browser(chromium) as browser:
            return check_page(browser, folder / PAGE, answered.images[:], answered.probabilities)
    except GateError:
        raise
    except KdtoolError as error:  # of this browser: the page is refused, and other targets are not
        raise GateError(str(error)) from error
