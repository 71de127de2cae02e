"""Models of a study that are trained at the same time, before the command goes through all."""

from collections.abc import Callable
from dataclasses import replace

from kdtool.train.pipeline.parallel.cluster import on_cluster
from kdtool.train.pipeline.parallel.pieces import Tried, missing_pieces
from kdtool.train.pipeline.parallel.processes import in_processes
from kdtool.train.pipeline.parallel.reports import train_pieces
from kdtool.train.pipeline.parallel.share import Cluster, share_of
from kdtool.train.pipeline.roles import sees_fixed_images, teacher_logits
from kdtool.train.run import Run


def train_ahead(
    run: Run,
    tried: Tried,
    jobs: int | None,
    cluster: Cluster | None,
    is_checked: Callable[[], bool],
) -> None:
    """Train in several processes what the study needs, if that is faster, or on a cluster.

    Each model becomes a stage of the study. Models that are not trained here are trained later, by
    the main process.

    Args:
        run: The study, with its lock held.
        tried: Of `settings_of`.
        jobs: Number of training processes; None: chosen by `jobs_of`.
        cluster: That trains all models; None: this machine does.
        is_checked: Whether teachers and controls are trained and worth it, as of `train_pieces`.
            An error that it raises ends the training.

    Raises:
        KdtoolError: A model cannot be trained, a process was killed, or `is_checked` did.
    """
    for missing in missing_pieces(run, tried):
        if not missing.pieces:
            continue
        share = share_of(run, jobs, cluster, missing.roles)
        if cluster is None and share.jobs == 1:
            continue
        for piece in missing.pieces:
            asked = replace(run, recipe=piece.recipe)
            if piece.teacher is not None and sees_fixed_images(asked, piece.role):
                teacher_logits(asked, piece.teacher)  # once, here, and not in every process
        opened = in_processes(run, share) if cluster is None else on_cluster(run, share, cluster)
        with opened as workers:
            train_pieces(missing.pieces, run.reporter, workers, share.jobs, is_checked)
