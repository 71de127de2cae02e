"""Measurements on other machines, added to a study and its report."""

from collections.abc import Callable, Sequence
from pathlib import Path, PureWindowsPath

from pydantic import ValidationError
from pydantic_core import from_json

from kdtool.errors import StudyError, reason
from kdtool.results.base import SCHEMA, Interval, Precision, Role, to_json
from kdtool.results.machines import joined, setting
from kdtool.results.profile import Latency, ModelProfile, ProfileReport
from kdtool.results.study import (
    DeviceFile,
    DeviceProfile,
    DeviceTiming,
    FileResult,
    Results,
)
from kdtool.study.folder import load_study
from kdtool.study.written import write_results

HOW_TO_MAKE_ONE = "make one on the device: `kdtool profile MODEL.onnx... --json > device.json`"

READS_ONNX = ("onnxruntime", "openvino", "opencv", "tract")

Owner = tuple[Role, Precision, FileResult]  # a file of the study and its role


def merge(
    folder: Path, profiles: Sequence[Path], warn: Callable[[str], None]
) -> tuple[Results, int]:
    """Add profiles of other machines to a study; write results.json and the report again.

    An earlier measurement of the same machine in the same setting is replaced.

    Returns:
        The results, and how many of their devices, the last, are from `profiles`.

    Args:
        folder: Of the study.
        profiles: Output of `kdtool profile MODEL.onnx... --json`, for files of the study.
        warn: Called with models that are not of this study; they are left out.

    Raises:
        StudyError: There is no study, it is in use, or one of `profiles` is not a profile or has no
            file of this study. Nothing is changed then.
    """
    reports = [(path, load_profile(path)) for path in profiles]
    study, *_ = load_study(folder)  # before the lock, which would make the folder
    with study.locked():
        *_, results = load_study(folder)
        devices = results.devices
        machines = len({to_json(report.environment) for _, report in reports})
        for path, report in reports:
            devices = joined(devices, device_profile(path, report, folder, results, warn))
        return write_results(study, results.model_copy(update={"devices": devices})), machines


def load_profile(path: Path) -> ProfileReport:
    """Read the output of `kdtool profile --json`.

    Raises:
        StudyError: It cannot be read, or is not a profile.
    """
    try:
        data = path.read_bytes()
        # Windows PowerShell writes UTF-16 when it redirects.
        content = from_json(data.decode("utf-16" if data[:2] == b"\xff\xfe" else "utf-8-sig"))
    except OSError as error:
        raise StudyError(f"cannot read {path}: {error.strerror}; {HOW_TO_MAKE_ONE}") from error
    except ValueError as error:
        raise StudyError(f"{path} is not JSON ({reason(error)}); {HOW_TO_MAKE_ONE}") from error
    if not isinstance(content, dict) or not {"schema", "environment", "models"} <= content.keys():
        raise StudyError(f"{path} is not a profile; {HOW_TO_MAKE_ONE}")
    if "verdicts" in content:
        raise StudyError(f"{path} is the results.json of a study, not a profile; {HOW_TO_MAKE_ONE}")
    if content["schema"] != SCHEMA:
        raise StudyError(
            f"{path} is a profile of schema {content['schema']}, this kdtool reads {SCHEMA}; "
            "measure again with the same kdtool as here"
        )
    try:
        return ProfileReport.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise StudyError(
            f"{path} is not a complete profile of schema {SCHEMA}: "
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}; {HOW_TO_MAKE_ONE}"
        ) from error


def device_profile(
    path: Path,
    report: ProfileReport,
    folder: Path,
    results: Results,
    warn: Callable[[str], None],
) -> DeviceProfile:
    """Return the part of a profile about files of a study, which are matched by SHA-256.

    What was converted from a file of the study is a timing of that file, in another runtime.

    Raises:
        StudyError: It has none of them.
    """
    owners = {owner[2].sha256: owner for owner in results.files}
    strangers = [model for model in report.models if _study_sha256(model) not in owners]
    why = "; ".join(dict.fromkeys(_stranger(model, folder, results) for model in strangers))
    names = {
        model.name: owners[sha256]
        for model in report.models
        if (sha256 := _study_sha256(model)) in owners
    }
    if not names:
        ours = ", ".join(f"{f.path} ({f.sha256[:12]})" for *_, f in owners.values()) or "none"
        raise StudyError(
            f"{path} has no file of this study: {why or 'it has no model'}. "
            f"Files of {folder}: {ours}"
        )
    if strangers:
        warn(f"{path}: left out {why}")
    files = []
    for role, precision, file in owners.values():
        timings = {
            setting(timing.latency): timing
            for model in report.models
            if _study_sha256(model) == file.sha256
            for timing in _timings(model, report, names)
        }
        if timings:
            files.append(
                DeviceFile(
                    role=role,
                    precision=precision,
                    sha256=file.sha256,
                    timings=list(timings.values()),
                )
            )
    return DeviceProfile(environment=report.environment, files=files)


def _study_sha256(model: ModelProfile) -> str:
    """Return the SHA-256 of the study's file that was measured, perhaps converted.

    What a runtime that reads ONNX files runs in another form is not the study's file: it has times
    of its own there.
    """
    converted = model.source_sha256 if model.latency.runtime not in READS_ONNX else None
    return converted or model.sha256


def _stranger(model: ModelProfile, folder: Path, results: Results) -> str:
    """Return which measured file is not of the study, and how to get one that is."""
    name = PureWindowsPath(model.path).name  # reads paths of other systems as well
    text = f"{name} ({model.sha256[:12]})"
    if name in {file.path for *_, file in results.files}:
        return (
            f"{text} differs from {name} of the study, which was exported again, or changed when "
            f"it was copied: copy {folder / name} to the device and measure it there"
        )
    return f"{text} is not a file of this study"


def _timings(
    model: ModelProfile, report: ProfileReport, names: dict[str, Owner]
) -> list[DeviceTiming]:
    timings = []
    for latency in (model.latency, *model.other_latencies):
        ratio, ci95 = _against_fp32(model.name, latency, report, names) or (None, None)
        timings.append(
            DeviceTiming(
                latency=latency,
                time_ratio=ratio,
                time_ratio_ci95=ci95,
                agreement=model.agreement,
            )
        )
    return timings


def _against_fp32(
    name: str, latency: Latency, report: ProfileReport, names: dict[str, Owner]
) -> tuple[float, Interval] | None:
    """Return the ratio of times to the fp32 file of the same role, if the two were compared."""
    role, precision, _ = names[name]
    if precision == "fp32":
        return None
    runtimes = {model.name: model.latency.runtime for model in report.models}
    references = {
        other
        for other, (other_role, other_precision, _) in names.items()
        if (other_role, other_precision) == (role, "fp32") and runtimes[other] == latency.runtime
    }
    for one in report.comparisons:
        if (one.threads, one.batch_size) != (latency.threads, latency.batch_size):
            continue
        if one.of == name and one.against in references:
            return one.ratio, one.ci95
        if one.against == name and one.of in references:
            low, high = one.ci95
            return 1 / one.ratio, (1 / high, 1 / low)
    return None
