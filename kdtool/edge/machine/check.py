"""What `kdtool doctor` finds out about this machine; it takes seconds and writes nothing."""

import os
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import kdtool
from kdtool.edge.machine.clock import (
    judge_clock,
    judge_letters,
    letters,
    newest_file,
    tick_seconds,
)
from kdtool.edge.machine.packages import (
    installed,
    judge_gpu,
    package_findings,
    runtime,
    training,
)
from kdtool.edge.machine.resources import (
    Folder,
    judge_cores,
    judge_descriptors,
    judge_folder,
    judge_load,
    judge_memory,
    judge_shared_memory,
    no_folder,
)
from kdtool.environment import collect_environment, cores, descriptors, memory, nvidia_gpu
from kdtool.errors import DataError, reason
from kdtool.files import cache_folder
from kdtool.results.commands.doctor import Finding
from kdtool.results.profile import Environment

SHARED_MEMORY = Path("/dev/shm")  # Linux
PROCESSES = Path("/proc")


def examine_machine(out: Path) -> tuple[Environment, list[Finding]]:
    """Return versions and machine, and what was found.

    Args:
        out: Folder of the studies; it need not exist.
    """
    gpu = nvidia_gpu()
    environment = collect_environment(gpu)
    versions = installed()
    findings = [
        *package_findings(environment, versions),
        training(versions),
        runtime(gpu, versions),
        judge_gpu(gpu, versions.get("torch")),
        *_computing(trains="torch" in versions),
        *_folders(out, trains="torch" in versions),
        judge_descriptors(descriptors()),
        _shared_memory(gpu, [name for name in ("ray",) if name in versions]),
        *judge_clock(tick_seconds(), time.time(), newest_file(_packages())),
        judge_letters(letters()),
    ]
    return environment, [one for one in findings if one is not None]


def threads_of_torch(num_allowed: int) -> tuple[int, str | None]:
    """Return how many threads PyTorch starts, and the environment variable that says so, if any.

    Args:
        num_allowed: Cores that the system lets this process run on, whatever share of their time.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        value = os.environ.get(name, "").split(",")[0].strip()
        if value.isdecimal() and int(value):
            return int(value), f"{name}={value}"
    return num_allowed, None


def folder_of(use: str, path: Path) -> Folder:
    """Return what is known of a folder.

    Args:
        use: As of `Folder`.
        path: It need not exist.
    """
    path = path.absolute()
    # Not `Path.is_dir`, which raises where a folder may not be looked into
    exists = next(one for one in (path, *path.parents) if os.path.isdir(one))  # noqa: PTH112
    free_bytes = free_files = None
    if hasattr(os, "statvfs"):  # not on Windows
        status = os.statvfs(exists)
        free_bytes = status.f_bavail * status.f_frsize
        free_files = status.f_favail if status.f_files else None  # some systems have no limit
    is_writable = os.access(exists, os.W_OK | os.X_OK)
    return Folder(use, path, exists, is_writable, free_bytes, free_files)


def _computing(*, trains: bool) -> Iterator[Finding | None]:
    num_cores = cores()
    num_allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else num_cores
    if trains:
        yield judge_cores(num_cores, *threads_of_torch(num_allowed))
    yield judge_load(os.getloadavg()[0] if hasattr(os, "getloadavg") else None, num_cores)
    yield judge_memory(*memory(), trains=trains)


def _folders(out: Path, *, trains: bool) -> Iterator[Finding]:
    studies = judge_folder(folder_of("studies", out))
    yield studies if trains else softened(studies)
    try:
        yield softened(judge_folder(folder_of("downloads", cache_folder())))
    except DataError as error:
        yield no_folder("downloads", reason(error.__cause__ or error), needed=False)
    try:
        yield judge_folder(folder_of("temporary files", Path(tempfile.gettempdir())))
    except FileNotFoundError as error:
        yield no_folder("temporary files", reason(error), needed=True)


def softened(finding: Finding) -> Finding:
    """Return a finding that only some commands meet: what would fail is a warning."""
    return finding.model_copy(update={"mark": "warning"}) if finding.mark == "fails" else finding


def _shared_memory(gpu: str | None, users: list[str]) -> Finding | None:
    if not PROCESSES.is_dir():  # not Linux
        return judge_shared_memory(None, None, [])
    if gpu is not None and " or " in gpu:
        users = [*users, "several GPUs"]
    if not SHARED_MEMORY.is_dir():
        return judge_shared_memory(False, None, users)
    status = os.statvfs(SHARED_MEMORY)
    size = status.f_blocks * status.f_frsize
    return judge_shared_memory(os.access(SHARED_MEMORY, os.W_OK | os.X_OK), size, users)


def _packages() -> list[Path]:
    """Return folders with files that were written when they were installed."""
    spec = find_spec("onnx")  # not imported: it may be damaged
    others = [Path(spec.origin).parent] if spec and spec.origin else []
    return [Path(kdtool.__file__).parent, *others]
