"""One model on several ranks: how they meet, and what all but rank 0 do."""

import torch

from kdtool import __version__
from kdtool.errors import KdtoolError
from kdtool.files import scratch_folder
from kdtool.format import count, plural
from kdtool.recipe.schema import Recipe
from kdtool.study.folder import StartTable, Study
from kdtool.train.evaluation.evaluate import logits_of
from kdtool.train.handed import Handed, received
from kdtool.train.models.device import has_bf16
from kdtool.train.pipeline.roles import plan_role
from kdtool.train.pipeline.train_model import help_train
from kdtool.train.ranks.group import Ranks
from kdtool.train.ranks.join import check_alike, check_batch_size
from kdtool.train.reporter import Silent
from kdtool.train.run import Run, open_run


def meet(run: Run, recipes: list[Recipe], tables: list[StartTable]) -> None:
    """On rank 0: tell the other ranks what is studied, and check that all can do it together.

    Args:
        run: The study.
        recipes: Of its settings.
        tables: Of the models to train.

    Raises:
        KdtoolError: Another rank sees other data, failed, or a batch cannot be shared evenly.
    """
    if not run.ranks.are_several:
        return
    for key in tables:
        for table in (getattr(recipe, key) for recipe in recipes):
            if not table.is_trained:
                check_batch_size(f"{key}.batch_size", table.batch_size, run.ranks.count)
    run.ranks.same(run.recipe)
    check_alike(run.ranks, "rank 0", facts_of(run))
    run.reporter.say(
        f"{run.ranks.count} ranks share each batch, with "
        f"{plural(torch.get_num_threads(), 'thread')} each"
    )


def follow(ranks: Ranks, name: str, device: str) -> None:
    """On another rank: train and evaluate what rank 0 does, until it needs no help any more.

    Args:
        ranks: All of them.
        name: Of this one.
        device: Of this one.
    """
    recipe: Recipe | None = ranks.same(None)
    if recipe is None:
        return
    with scratch_folder() as scratch:
        try:
            run = open_run(Study(scratch), recipe, device, Silent(), ranks)
        except KdtoolError as error:
            check_alike(ranks, name, str(error))
            raise
        check_alike(ranks, name, facts_of(run))
        handed: Handed | None
        while (handed := ranks.same(None)) is not None:
            help_with(run, handed)


def help_with(run: Run, handed: Handed) -> None:
    """On another rank: train or evaluate a model together with rank 0."""
    run, model = received(run, handed)
    if handed.to_train is not None:
        teachers = {} if model is None else {model.role: [model]}
        (plan,) = plan_role(run, handed.to_train, teachers)  # the recipe has one seed
        help_train(run, plan)
    elif model is not None:
        logits_of(run, model)


def facts_of(run: Run) -> dict[str, str]:
    """Return what all ranks must have in common."""
    data = run.splits.result
    images = data.num_train + data.num_validation + data.num_test
    return {
        "data": f"{data.description}, {count(images)} images, fingerprint {data.fingerprint[:12]}",
        "kdtool": __version__,
        "PyTorch": torch.__version__,
        "device": run.device.type,
        "arithmetic": "bf16" if has_bf16(run.device) else "fp32",
    }
