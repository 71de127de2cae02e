"""The target `web`: a page with the fp32 file, checked in Chromium on every test image."""

from pathlib import Path

from kdtool.edge.kit.build import Answered
from kdtool.edge.kit.readme import TOLERANCES
from kdtool.edge.targets.target import WEB
from kdtool.edge.targets.verify import failed
from kdtool.edge.targets.web.runtime import VERSION, find_runtime
from kdtool.edge.targets.web.write import PAGE, write_web
from kdtool.errors import GateError
from kdtool.results.study import Results
from kdtool.results.targets import TargetCheck, TargetResult
from kdtool.train.export.kit import kit_facts, no_student
from kdtool.train.run import Run

FOLDER = "targets"  # of the study


def write_page(
    run: Run, results: Results, answered: Answered, package: Path | None
) -> TargetResult:
    """Write `STUDY/targets/web`, where Chromium answers as ONNX Runtime does.

    Args:
        run: The study.
        results: Of the study.
        answered: Test images with the answers of the fp32 file.
        package: npm's onnxruntime-web; None: downloaded.

    Raises:
        KdtoolError: onnxruntime-web cannot be had.
        StudyError: The folder cannot be written, or holds something else.
    """
    role = results.shipped
    if role is None:
        raise no_student(run.study.folder)
    file = results.models[role].files["fp32"]
    folder = run.study.folder / FOLDER / WEB
    runtime = find_runtime(package)
    check = failed("fp32", file.sha256, len(answered.labels), "")
    path: str | None = None
    try:
        seen = write_web(
            folder,
            run.study.folder / file.path,
            kit_facts(run, results, role, "fp32", answered.probabilities),
            answered,
            runtime,
        )
        check = TargetCheck(
            precision="fp32",
            sha256=file.sha256,
            num_images=seen.num_images,
            agreement=1.0,
            flipped=[],
            ties=seen.ties,
            max_difference=seen.max_difference,
            tolerance=TOLERANCES["fp32"][0],
            refused=None,
        )
        path = f"{FOLDER}/{WEB}"
    except GateError as error:
        check = check.model_copy(update={"refused": str(error)})
    return TargetResult(
        name=WEB,
        runtime="onnxruntime-web",
        version=VERSION,
        checks=[check],
        path=path,
        size_bytes=(folder / PAGE).stat().st_size if path else None,
        time_ratio=None,
        time_ratio_ci95=None,
    )
