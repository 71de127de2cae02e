"""Limits of this process: cores and memory of its control groups, open files."""

from collections.abc import Iterator
from pathlib import Path

from kdtool.environment import free_memory_bytes, memory_bytes, usable_cores

GROUPS = Path("/proc/self/cgroup")
MOUNTED = Path("/sys/fs/cgroup")


def cores(groups: Path = GROUPS, mounted: Path = MOUNTED) -> int:
    """Return how many cores this process may use, at least 1; 1.5 count as 1.

    Args:
        groups: As of `group_folders`.
        mounted: As of `group_folders`.
    """
    found = [usable_cores(mounted / "cpu.max")]
    for folder in group_folders("cpu", groups, mounted):
        quota = _numbers(folder / "cpu.max")  # version 2: quota and period
        if len(quota) < 2:  # version 1
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota = [number for name in names for number in _numbers(folder / name)]
        if len(quota) == 2 and quota[0] > 0:
            found.append(max(1, quota[0] // quota[1]))
    return min(found)


def memory(groups: Path = GROUPS, mounted: Path = MOUNTED) -> tuple[int | None, int | None]:
    """Return the bytes of memory that this process may use, and those that are free of them.

    Args:
        groups: As of `group_folders`.
        mounted: As of `group_folders`.

    Returns:
        None for what the system does not say.
    """
    total, free = memory_bytes(mounted / "memory.max"), free_memory_bytes()
    if total is None or free is None:
        return total, free
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
        return []
    found: dict[Path, None] = {}
    for line in groups.read_text(encoding="utf-8", errors="replace").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        for root in [mounted / controllers, mounted / controller] if controllers else [mounted]:
            found |= dict.fromkeys(_upwards(root, path))
    return list(found)


def descriptors() -> int | None:
    """Return how many files this process may have open; None where there is no such limit."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
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
