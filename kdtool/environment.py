"""This machine and what a process may use of it: versions, processor, cores, memory, open files."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import kdtool
from kdtool.results.profile import Environment

if sys.platform != "win32":
    import resource

PACKAGES = (
    "torch", "torchvision", "onnx", "onnxruntime", "onnxruntime-gpu", "onnxruntime-directml",
    "onnxruntime-migraphx", "onnxruntime-openvino", "onnxruntime-qnn", "onnxruntime-rocm",
    "openvino", "numpy", "thop",
)  # fmt: skip

# Others that `kdtool profile` may run; a study does not depend on them.
OTHER_RUNTIMES = (
    "opencv-python-headless", "opencv-python", "tract", "ncnn", "executorch", "ai-edge-litert",
)  # fmt: skip

NVIDIA_NAMES = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
CPU_INFO = Path("/proc/cpuinfo")
GROUPS = Path("/proc/self/cgroup")
MOUNTED = Path("/sys/fs/cgroup")
MEMORY_INFO = Path("/proc/meminfo")
STATUS = Path("/proc/self/status")
FLAG_KEYS = {"flags", "Features"}
CPU_FEATURES = (
    "avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8",  # x86
    "asimd", "asimddp", "i8mm", "bf16", "sve",  # ARM
)  # fmt: skip


def collect_environment(gpu: str | None = None, others: tuple[str, ...] = ()) -> Environment:
    """Describe this machine and the installed versions of `PACKAGES`, without importing them.

    Args:
        gpu: Name of the GPU that was used, if any.
        others: More packages.
    """
    return Environment(
        kdtool=kdtool.__version__,
        python=platform.python_version(),
        packages=_installed((*PACKAGES, *others)),
        os=platform.platform(),
        cpu=cpu_name(CPU_INFO),
        cpu_features=cpu_features(CPU_INFO),
        num_cores=cores(),
        memory_bytes=memory()[0],
        gpu=gpu,
    )


def nvidia_gpu() -> str | None:
    """Return the name of the NVIDIA GPU, of each kind if there are several; None if unknown."""
    try:
        done = subprocess.run(
            NVIDIA_NAMES,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):  # no driver, or one that does not answer
        return None
    names = (line.strip() for line in done.stdout.splitlines())
    return " or ".join(dict.fromkeys(name for name in names if name)) or None


def cpu_name(cpuinfo: Path) -> str:
    """Return the name of the processor.

    Args:
        cpuinfo: `/proc/cpuinfo`. On x86 it has a `model name`; on ARM only a `Model`, which is the
            board's name. If the file is missing, `platform.processor()` is used.
    """
    fallback = platform.processor() or platform.machine()
    if not cpuinfo.is_file():
        return fallback
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    fields = {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in lines)}
    return fields.get("model name") or fields.get("Model") or fallback


def cpu_features(cpuinfo: Path) -> list[str]:
    """Return the instructions for int8 and bfloat16 that the processor has; none if unknown.

    Args:
        cpuinfo: `/proc/cpuinfo`, with a line of `flags` on x86 and of `Features` on ARM.
    """
    if not cpuinfo.is_file():
        return []
    text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    lines = (line.partition(":") for line in text.splitlines())
    has = {flag for key, _, rest in lines if key.strip() in FLAG_KEYS for flag in rest.split()}
    return [feature for feature in CPU_FEATURES if feature in has]


def cores(groups: Path = GROUPS, mounted: Path = MOUNTED) -> int:
    """Return how many cores this process may use, at least 1; 1.5 count as 1: a thread would wait.

    Args:
        groups: As of `group_folders`.
        mounted: As of `group_folders`.
    """
    has_affinity = hasattr(os, "sched_getaffinity")  # Linux
    found = [len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1]
    for folder in group_folders("cpu", groups, mounted):
        quota = _numbers(folder / "cpu.max")  # version 2: quota and period
        if len(quota) < 2:  # version 1
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota = [number for name in names for number in _numbers(folder / name)]
        if len(quota) == 2 and quota[0] > 0:
            found.append(max(1, quota[0] // quota[1]))
    return min(found)


def memory(
    groups: Path = GROUPS, mounted: Path = MOUNTED, info: Path = MEMORY_INFO
) -> tuple[int | None, int | None]:
    """Return the bytes of memory that this process may use, and those that are free of them.

    Args:
        groups: As of `group_folders`.
        mounted: As of `group_folders`.
        info: `/proc/meminfo`. If it is missing, all memory counts as free.

    Returns:
        None for what the system does not say.
    """
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows, an unknown name, no value
        return None, None
    free = 1024 * _of_table(info, {"MemAvailable:"}) or total
    for folder in group_folders("memory", groups, mounted):
        for most, used, total_of in (
            ("memory.max", "memory.current", ""),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
        ):
            if limit := _numbers(folder / most):
                # Files that were read count as used, and are dropped where room is needed.
                files = {f"{total_of}inactive_file", f"{total_of}active_file"}
                dropped = _of_table(folder / "memory.stat", files)
                taken = max(0, sum(_numbers(folder / used)) - dropped)
                total, free = min(total, limit[0]), min(free, max(0, limit[0] - taken))
    return total, min(total, free)


def group_folders(controller: str, groups: Path = GROUPS, mounted: Path = MOUNTED) -> list[Path]:
    """Return the folders of the control groups that limit this process, the innermost first.

    Args:
        controller: cpu or memory.
        groups: `/proc/self/cgroup`, lines of `number:controllers:path`.
        mounted: `/sys/fs/cgroup`. Version 2 has its groups there, version 1 in a folder for each
            controller. A container may see its own group as the root.

    Source: man 7 cgroups.
    """
    if not groups.is_file():
        return [mounted] if mounted.is_dir() else []
    found: dict[Path, None] = {}
    for line in groups.read_text(encoding="utf-8", errors="replace").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        for root in [mounted / controllers, mounted / controller] if controllers else [mounted]:
            found |= dict.fromkeys(_upwards(root, path))
    return list(found)


def own_memory(field: str) -> int:
    """Return the bytes that Linux counts for this process, such as those of "VmData:".

    Source: man 5 proc_pid_status.
    """
    rows = (line.split() for line in STATUS.read_text(encoding="ascii").splitlines())
    return next(1024 * int(row[1]) for row in rows if row[:1] == [field])


_num_sharers = 1


def share_memory(num_processes: int) -> None:
    """Count this process as one of several on this machine that need memory at the same time."""
    global _num_sharers
    _num_sharers = num_processes


def num_sharers() -> int:
    """Return how many processes share the memory that is free with this one, which counts too."""
    return _num_sharers


def own_limit() -> int | None:
    """Return the bytes of memory that this process may still take; None: there is no such limit.

    Source: man 2 getrlimit, RLIMIT_DATA.
    """
    if sys.platform != "linux":
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    return None if soft == resource.RLIM_INFINITY else max(0, soft - own_memory("VmData:"))


def descriptors() -> int | None:
    """Return how many files this process may have open; None where there is no such limit."""
    if sys.platform == "win32":
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """Yield the folders from `path` below `root` up to `root`, those that exist."""
    names = [name for name in path.split("/") if name not in ("", "..")]
    for length in range(len(names), -1, -1):
        folder = root.joinpath(*names[:length])
        if folder.is_dir():
            yield folder


def _numbers(file: Path) -> list[int]:
    """Return the whole numbers of a file; none if it does not exist or says "max"."""
    try:
        words = file.read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return []
    return [int(word) for word in words] if all(map(_is_whole, words)) else []


def _is_whole(word: str) -> bool:
    return word.removeprefix("-").isdecimal()


def _of_table(file: Path, keys: set[str]) -> int:
    """Return the sum of the numbers after `keys` in a file of such lines; 0 if it has none."""
    try:
        lines = file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.split()[0] in keys)


def _installed(packages: tuple[str, ...]) -> dict[str, str]:
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
