"""Reads many files on all cores: tells files with broken content from those that cannot be read."""

import errno
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from kdtool import environment
from kdtool.errors import reason
from kdtool.format import plural
from kdtool.train.data.source import Progress, problem_list

MOST_WAITING = 4096  # files that are handed to the threads at a time


def for_all(
    read: Callable[[int], None], names: Sequence[str], title: str, progress: Progress
) -> dict[int, str]:
    """Call `read` on the numbers of all files, on all cores; return what is broken, by number.

    Args:
        read: Raises ValueError for a file with broken content, OSError for one that the system
            cannot read, or ValueError with such an error as its cause.
        names: Of the files.
        title: For the progress.
        progress: Shows the progress.

    Raises:
        DataError: The system cannot read some; lists them all.
    """
    reasons: dict[int, str] = {}
    unread: dict[int, str] = {}
    count = len(names)

    def attempt(index: int) -> None:
        try:
            read(index)
        except OSError as error:
            unread[index] = reason(error)
        except ValueError as error:
            why = _of_system(error.__cause__)
            (reasons if why is None else unread)[index] = why or reason(error)

    # The filter holds for all threads, so it is set once and not in each.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with ThreadPoolExecutor(environment.cores()) as pool, progress(title, count) as update:
            for start in range(0, count, MOST_WAITING):  # a million calls that wait take 1 GB
                numbers = range(start, min(start + MOST_WAITING, count))
                for index, _ in zip(numbers, pool.map(attempt, numbers), strict=True):
                    update(index + 1, f"{index + 1:,} of {count:,}")
    if unread:
        raise problem_list(
            f"{len(unread):,} of {plural(count, 'file')} cannot be read:",
            [f"{names[index]}: {unread[index]}" for index in sorted(unread)],
            "the system failed and not the files, so data.skip_broken does not leave them out; run "
            "the same command again when the system can read them",
        )
    return dict(sorted(reasons.items()))


def _of_system(cause: BaseException | None) -> str | None:
    """Return why the system could not read a file; None: it could.

    Args:
        cause: Of the error; Pillow's own have no number, and a damaged file may have it seek to a
            place that no file has.
    """
    if isinstance(cause, MemoryError):
        return "out of memory"
    is_of_system = isinstance(cause, OSError) and cause.errno not in {None, errno.EINVAL}
    return reason(cause) if cause is not None and is_of_system else None
