"""Cores, memory, disks and open files: what is there, and from where on it is too little."""

from dataclasses import dataclass
from pathlib import Path

from kdtool.format import file_size, keyboard_text, listed, plural
from kdtool.results.commands.doctor import Finding

# PyTorch alone takes 300 to 500 MB, ONNX Runtime 50.
LEAST_TO_TRAIN, LEAST_TO_RUN = 10**9, 10**8  # bytes of memory
# The smallest study of the tests takes 10 MB, the README's 60 MB, one of ResNet-50s a few GB.
LITTLE_DISK, NO_DISK = 10**9, 5 * 10**7  # bytes
# A study in one process was tried with 12 to 48 (docs/doctor.md): 20 fail, 24 suffice. Each process
# of --jobs, and each file that a figure or a log needs at the same time, takes a few more.
FEW_FILES, LEAST_FILES = 128, 32
SMALL_SHARED = 2**28  # bytes; Docker's default is 64 MB
BUSY = 0.5  # of the cores in use by other programs


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that kdtool writes to; it need not exist."""

    use: str  # in words, such as "studies"
    path: Path
    exists: Path  # it, or the nearest folder above it that exists
    is_writable: bool
    free_bytes: int | None  # None: the system does not say
    free_files: int | None  # how many more its file system takes; None: any number


def judge_cores(num_cores: int, num_threads: int, set_by: str | None) -> Finding:
    """Return what is to be said of cores and threads.

    Args:
        num_cores: That this process may use.
        num_threads: That PyTorch starts.
        set_by: Name and value of the environment variable that says so; None: none does.
    """
    found = f"{plural(num_cores, 'core')}, PyTorch uses {plural(num_threads, 'thread')}"
    found += f" ({set_by})" if set_by else ""
    if num_threads > num_cores:
        return Finding(
            topic="cores",
            mark="warning",
            found=found,
            means="threads that wait for each other make training and measuring slower, often "
            "several times",
            fix=f"export OMP_NUM_THREADS={num_cores}",
        )
    if num_threads < num_cores:
        return Finding(
            topic="cores",
            mark="ok",
            found=found,
            means="more cores can be used with --jobs, or with a larger OMP_NUM_THREADS",
        )
    return Finding(topic="cores", mark="ok", found=found, means="all of them are used")


def judge_load(load: float | None, num_cores: int) -> Finding | None:
    """Return whether other programs are at work; None: that is not known.

    Args:
        load: Mean number of programs that ran or waited in the last minute.
        num_cores: That this process may use.
    """
    if load is None:
        return None
    found = f"{load:.1f} programs ran or waited on {plural(num_cores, 'core')} in the last minute"
    if load > BUSY * num_cores:
        means = "times that are measured or predicted now are too long"
        return Finding(topic="load", mark="warning", found=found, means=means)
    return Finding(topic="load", mark="ok", found=found, means="times can be measured")


def judge_memory(total: int | None, free: int | None, *, trains: bool) -> Finding:
    """Return what is to be said of the memory.

    Args:
        total: Bytes that this process may use; None: the system does not say.
        free: Of these, bytes that no program uses.
        trains: Whether PyTorch is installed.
    """
    if total is None or free is None:
        return Finding(
            topic="memory",
            mark="ok",
            found="the system does not say how much there is",
            means="a batch that does not fit is reported when it is trained",
        )
    found = f"{in_words(total)}, of which {in_words(free)} are free"
    least, what = (LEAST_TO_TRAIN, "training") if trains else (LEAST_TO_RUN, "running a model")
    if total < least:
        return Finding(
            topic="memory",
            mark="fails",
            found=found,
            means=f"{what} takes {in_words(least)} at least",
            fix="use a machine, or a container with a limit, of more memory",
        )
    if free < least:
        return Finding(
            topic="memory",
            mark="warning",
            found=found,
            means=f"{what} takes {in_words(least)} at least, so the system may kill it",
            fix="end other programs",
        )
    return Finding(topic="memory", mark="ok", found=found, means=f"{what} has room")


def judge_folder(folder: Folder, needed: int = NO_DISK) -> Finding:
    """Return what is to be said of a folder that kdtool writes to.

    Args:
        folder: What is known of it.
        needed: Bytes without which something fails.
    """
    topic = f"disk, {folder.use}"
    if not folder.is_writable:
        return Finding(
            topic=topic,
            mark="fails",
            found=f"{folder.exists} cannot be written",
            means=f"{folder.use} cannot be saved in {folder.path}",
            fix=f"change its permissions, or use another folder: {OTHER[folder.use]}",
        )
    if folder.free_bytes is None:
        return Finding(
            topic=topic,
            mark="ok",
            found=f"{folder.path} can be written",
            means="the system does not say how much room it has",
        )
    found = f"{folder.path}: {in_words(folder.free_bytes)} are free"
    if folder.free_files == 0:
        return Finding(
            topic=topic,
            mark="fails",
            found=f"{found}, but the file system takes no more files",
            means="nothing can be written, although there is room",
            fix=f"delete files, or use another folder: {OTHER[folder.use]}",
        )
    if folder.free_bytes < needed:
        return Finding(
            topic=topic,
            mark="fails",
            found=found,
            means=f"{in_words(needed)} are needed at least",
            fix=f"make room, or use another folder: {OTHER[folder.use]}",
        )
    if folder.free_bytes < LITTLE_DISK:
        return Finding(
            topic=topic,
            mark="warning",
            found=found,
            means="enough for small networks; a checkpoint takes 4 bytes a parameter",
        )
    return Finding(topic=topic, mark="ok", found=found, means="room enough")


OTHER = {
    "studies": "--out FOLDER",
    "downloads": "the environment variable XDG_CACHE_HOME",
    "temporary files": "the environment variable TMPDIR",
}


def no_folder(use: str, why: str, *, needed: bool) -> Finding:
    """Return that there is no folder for something.

    Args:
        use: Key of `OTHER`.
        why: Of the error that finding it raised.
        needed: Whether every command needs it.
    """
    return Finding(
        topic=f"disk, {use}",
        mark="fails" if needed else "warning",
        found=f"there is no folder for {use}: {why}",
        means="training, export and profiling stop" if needed else "data cannot be downloaded",
        fix=f"set {OTHER[use]} to a folder with room",
    )


def judge_descriptors(limit: int | None) -> Finding:
    """Return what is to be said of the limit of open files; None: there is none."""
    if limit is None:
        return Finding(
            topic="open files", mark="ok", found="no limit", means="as many as are needed"
        )
    found = f"at most {limit:,} at a time"
    if limit < FEW_FILES:
        fails = limit < LEAST_FILES
        return Finding(
            topic="open files",
            mark="fails" if fails else "warning",
            found=found,
            means=f"a study needs {LEAST_FILES} at least"
            if fails
            else "enough for one process; each process of --jobs needs more",
            fix="ulimit -n 1024",
        )
    return Finding(topic="open files", mark="ok", found=found, means="as many as are needed")


def judge_shared_memory(
    is_writable: bool | None, size_bytes: int | None, shared_by: list[str]
) -> Finding | None:
    """Return what is to be said of /dev/shm; None: this system has no such folder.

    Args:
        is_writable: Whether it can be written; None on a system other than Linux.
        size_bytes: Of its file system; None: it does not exist.
        shared_by: What moves data through it here, such as Ray.
    """
    if is_writable is None:
        return None
    if not is_writable:
        what = "is missing" if size_bytes is None else "cannot be written"
        return Finding(
            topic="/dev/shm",
            mark="warning",
            found=f"it {what}",
            means="models cannot be trained in several processes, which a long study does by "
            "itself",
            fix="--jobs 1, or mount it: mount -t tmpfs shm /dev/shm",
        )
    found = f"{in_words(size_bytes or 0)}, can be written"
    if shared_by and (size_bytes or 0) < SMALL_SHARED:
        return Finding(
            topic="/dev/shm",
            mark="warning",
            found=found,
            means=f"{listed(shared_by)} may fail with so little",
            fix="give a container more: docker run --shm-size=2g",
        )
    return Finding(topic="/dev/shm", mark="ok", found=found, means="processes can be started")


def in_words(num_bytes: int) -> str:
    """Return a size, such as "4.96 MB", in signs of every terminal."""
    return keyboard_text(file_size(num_bytes))
