"""Which latencies of which machine are still valid, and which are replaced by newer ones."""

from kdtool.results.base import Role
from kdtool.results.profile import Environment, Latency
from kdtool.results.study import DeviceFile, DeviceProfile, ModelResult


def still_valid(
    devices: list[DeviceProfile], models: dict[Role, ModelResult]
) -> list[DeviceProfile]:
    """Return the latencies of unchanged files, for a study that wrote its files again."""
    hashes = {file.sha256 for model in models.values() for file in model.files.values()}
    kept = [
        device.model_copy(update={"files": [f for f in device.files if f.sha256 in hashes]})
        for device in devices
    ]
    return [device for device in kept if device.files]


def joined(old: list[DeviceProfile], new: DeviceProfile) -> list[DeviceProfile]:
    """Add a profile; it replaces what the same machine measured before in the same setting.

    Latencies of one machine with different software are separate records, each with its
    environment.
    """
    measured = {
        (file.sha256, *setting(timing.latency)) for file in new.files for timing in file.timings
    }
    kept = []
    for device in old:
        if machine(device.environment) != machine(new.environment):
            kept.append(device)
            continue
        rest = [_without(file, measured) for file in device.files]
        rest = [file for file in rest if file.timings]
        if device.environment == new.environment:
            new = DeviceProfile(environment=new.environment, files=_united(rest, new.files))
        elif rest:
            kept.append(DeviceProfile(environment=device.environment, files=rest))
    return [*kept, new]


def machine(environment: Environment) -> tuple[object, ...]:
    """Return what identifies a machine; two equal boards with the same system count as one.

    Boards of one model that differ in memory are two. A machine that used its GPU is another one
    than the same machine without.
    """
    return (
        environment.cpu,
        environment.os,
        environment.num_cores,
        environment.memory_bytes,
        environment.gpu,
    )


def setting(latency: Latency) -> tuple[object, ...]:
    """Return the setting in which a latency was measured."""
    return (
        latency.runtime,
        latency.arithmetic,
        latency.provider,
        latency.threads,
        latency.batch_size,
    )


def _without(file: DeviceFile, measured: set[tuple[object, ...]]) -> DeviceFile:
    timings = [t for t in file.timings if (file.sha256, *setting(t.latency)) not in measured]
    return file.model_copy(update={"timings": timings})


def _united(old: list[DeviceFile], new: list[DeviceFile]) -> list[DeviceFile]:
    """Return all files once, with the timings of both."""
    files = {file.sha256: file for file in old}
    for file in new:
        before = files[file.sha256].timings if file.sha256 in files else []
        files[file.sha256] = file.model_copy(update={"timings": [*before, *file.timings]})
    return list(files.values())
