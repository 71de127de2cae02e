"""Logs a finished study to other tools, for `--log`.

The tools are optional: each is imported by its own module, and only when it is asked for.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from kdtool.errors import KdtoolError, StudyError, reason
from kdtool.results.study import Results
from kdtool.study.tracked import Tracked, tracked_study


def log_study(
    results: Results, folder: Path, tools: Sequence[str], say: Callable[[str], None]
) -> None:
    """Log a study to other tools, after its results.json has been written.

    Args:
        results: The study's.
        folder: The study's.
        tools: Of mlflow and tensorboard, those whose packages are installed.
        say: Called with where each tool's log is.

    Raises:
        StudyError: A tool failed; the study itself is complete, and the others were tried.
    """
    tracked = tracked_study(results, folder)
    failures = []
    for tool in tools:
        try:
            say(_log(tool, tracked, folder))
        except KdtoolError as error:
            failures.append(f"{tool}: {error}")
        except Exception as error:  # noqa: BLE001  # servers, disks and versions: any may fail
            failures.append(f"{tool}: {reason(error)}")
    if failures:
        raise StudyError(
            f"the study in {folder} is complete, but could not be logged to {'; '.join(failures)}. "
            f"To try again: kdtool report {folder} --log {','.join(tools)}"
        )


def _log(tool: str, tracked: Tracked, folder: Path) -> str:
    if tool == "mlflow":
        from kdtool.study.mlflow_log import log_to_mlflow

        return log_to_mlflow(tracked)
    from kdtool.study.tensorboard_log import log_to_tensorboard

    return log_to_tensorboard(tracked, folder)
