"""Whether the measurements of other machines are those of their profiles."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kdtool.results.commands.verification import Part, compared, joined, mismatched, not_checked
from kdtool.results.machines import setting
from kdtool.results.profile import ProfileReport
from kdtool.results.study import DeviceProfile, Results
from kdtool.study.device_profiles import device_profile
from kdtool.study.verify.integrity import RESULTS
from kdtool.study.verify.records import as_json

NAME = "measurements of other machines, with their profiles"

Profiles = Sequence[tuple[Path, ProfileReport]]


def measured_elsewhere(
    folder: Path, results: Results, profiles: Profiles, warn: Callable[[str], None]
) -> Part:
    """Compare profiles with what results.json says of their machines.

    Args:
        folder: Of the study.
        results: Of the study.
        profiles: Output of `kdtool profile --json`, each with its file.
        warn: Called with models that are not of this study.

    Raises:
        StudyError: A profile has no file of this study.
    """
    given = [
        (path, device_profile(path, report, folder, results, warn)) for path, report in profiles
    ]
    known = [profile.environment for _, profile in given]
    missing = [
        f"devices[{place}] ({device.environment.cpu}): give its profile with --device-file"
        for place, device in enumerate(results.devices)
        if device.environment not in known
    ]
    parts = [part for path, one in given for part in _device(path, one, results)]
    return joined(NAME, [not_checked(NAME, *missing), *parts])


def _device(path: Path, profile: DeviceProfile, results: Results) -> Iterator[Part]:
    stored = {
        (file.sha256, *setting(timing.latency)): (f"devices[{d}].files[{f}].timings[{t}]", timing)
        for d, device in enumerate(results.devices)
        if device.environment == profile.environment
        for f, file in enumerate(device.files)
        for t, timing in enumerate(file.timings)
    }
    for file in profile.files:
        for timing in file.timings:
            key = (file.sha256, *setting(timing.latency))
            if key in stored:
                field, old = stored[key]
                yield compared(NAME, RESULTS, as_json(old), as_json(timing), field)
                continue
            latency = timing.latency
            what = f"{file.role} {file.precision}, {latency.threads} threads, {latency.provider}"
            found = f"{latency.p50_ms:g} ms in {path.name}; `profile --merge` adds it"
            yield mismatched(NAME, RESULTS, f"devices: {what}", "nothing", found)
