"""Versions, machine, cores and memory that figures are measured with."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import kdtool
from kdtool.results.profile import Environment

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
# Of the container, where there is one (Linux, cgroup 2).
CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
MEMORY_MAX = Path("/sys/fs/cgroup/memory.max")
MEMORY_INFO = Path("/proc/meminfo")
CPU_INFO = Path("/proc/cpuinfo")
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
        num_cores=usable_cores(),
        memory_bytes=memory_bytes(),
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


def memory_bytes(memory_max: Path = MEMORY_MAX) -> int | None:
    """Return the bytes of memory that this process may use; None if unknown.

    Args:
        memory_max: The cgroup's `memory.max`, in bytes or "max"; the limit of a container.
    """
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows, an unknown name, no value
        return None
    share = memory_max.read_text(encoding="ascii").strip() if memory_max.is_file() else "max"
    return memory if share == "max" else min(memory, int(share))


def free_memory_bytes(memory_info: Path = MEMORY_INFO, memory_max: Path = MEMORY_MAX) -> int | None:
    """Return the bytes of memory that other programs leave to this process; None if unknown.

    Args:
        memory_info: `/proc/meminfo`. If it is missing, all memory counts as free.
        memory_max: As of `memory_bytes`, which is the most.
    """
    memory = memory_bytes(memory_max)
    if memory is None or not memory_info.is_file():
        return memory
    lines = memory_info.read_text(encoding="ascii", errors="replace").splitlines()
    free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return min([memory, *free])


def usable_cores(cpu_max: Path = CPU_MAX) -> int:
    """Return how many cores this process may use, at least 1.

    Args:
        cpu_max: The cgroup's `cpu.max`, "quota period" in microseconds or "max period"; the
            limit of a container. 1.5 cores count as 1: a second thread would wait.
    """
    has_affinity = hasattr(os, "sched_getaffinity")  # Linux
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    if not cpu_max.is_file():
        return cores
    quota, period = cpu_max.read_text(encoding="ascii").split()
    if quota == "max":
        return cores
    return max(1, min(cores, int(quota) // int(period)))


def _installed(packages: tuple[str, ...]) -> dict[str, str]:
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
