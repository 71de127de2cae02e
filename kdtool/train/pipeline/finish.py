"""From trained models to results.json and the report."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from kdtool.environment import collect_environment
from kdtool.recipe.schema import Recipe
from kdtool.results.base import TEACHER_OF, Role
from kdtool.results.evidence import Coverage, MethodResult, SweepPoint
from kdtool.results.machines import still_valid
from kdtool.results.study import Cost, ModelResult, Results, SeedResult, load_results
from kdtool.results.targets import valid_targets
from kdtool.study.keys import key_of
from kdtool.train.evaluation.bias_shift import bias_shifts
from kdtool.train.evaluation.calibration import calibration
from kdtool.train.evaluation.coverage import coverage
from kdtool.train.evaluation.evaluate import Evaluated, evaluate, split_labels
from kdtool.train.evaluation.images import (
    flips,
    gallery,
    shown_images,
    with_duplicate_images,
    write_answers,
)
from kdtool.train.evaluation.methods import Tried, compare_methods
from kdtool.train.evaluation.saliency import explain
from kdtool.train.evaluation.subclasses import subclass_use
from kdtool.train.evaluation.verdicts import class_summaries, summaries, summary_of, verdicts
from kdtool.train.export.accuracy import decision, file_temperature
from kdtool.train.export.choose import SHIPPED, Shipment, ship
from kdtool.train.models.count import count
from kdtool.train.models.device import gpu_name
from kdtool.train.pipeline.sweep import Candidate, best_candidate, mean_worth
from kdtool.train.ranks.group import ALONE
from kdtool.train.run import Run, Trained


@dataclass(frozen=True)
class Swept:
    """What sweeps of a study found."""

    points: list[SweepPoint] = field(default_factory=list)  # one a setting
    methods: list[MethodResult] = field(default_factory=list)  # of a sweep over methods


def conclude(
    run: Run, models: dict[Role, list[Trained]], swept: Swept, *, with_files: bool
) -> Results:
    """Evaluate all models on test; export, time and explain the best seed of each role.

    The other ranks of torchrun end after the evaluation.

    Args:
        run: The study.
        models: Its trained models, one a seed.
        swept: What the settings were chosen from; may be empty.
        with_files: Whether to write ONNX files, time and explain them.

    Returns:
        The content of results.json.

    Raises:
        GateError: The output of an ONNX file differs from PyTorch's.
        KdtoolError: A batch does not fit into memory, or a file cannot be written or timed.
    """
    evaluated = {role: [evaluate(run, one) for one in runs] for role, runs in models.items()}
    run.ranks.dismiss()
    run = replace(run, ranks=ALONE)
    chosen = chosen_of(run, evaluated)
    shipments = ship(run, chosen) if with_files else {}
    if with_files:
        write_answers(run, chosen)
    differences = flips(chosen, split_labels(run.splits.test))
    uses = subclass_use(evaluated, chosen, run.splits)
    return Results(
        name=run.recipe.name,
        recipe=portable(run.recipe),
        environment=collect_environment(gpu_name(run.device)),
        data=with_duplicate_images(run),
        models={
            role: model_result(run, seeds, chosen[role], cost_of(run, role), shipments.get(role))
            for role, seeds in evaluated.items()
        },
        metric=run.recipe.metric,
        verdicts=verdicts(run, evaluated),
        shipped=role_to_ship(evaluated) if with_files else None,
        sweep=swept.points,
        methods=swept.methods,
        flips=differences,
        subclasses=uses,
        bias_shifts=bias_shifts(evaluated, run.splits),
        gallery=gallery(run, chosen, shown_images(differences, uses)),
        explain=explain(run, chosen) if with_files and "teacher" in chosen else None,
        devices=[],
    )


def role_to_ship(evaluated: dict[Role, list[Evaluated]]) -> Role | None:
    """Return the role of the best students on validation; of equals, without subclasses."""
    return max(
        (role for role in SHIPPED if role in evaluated),
        key=lambda role: mean_worth([one.trained for one in evaluated[role]]),
        default=None,
    )


def portable(recipe: Recipe) -> dict[str, object]:
    """Return the recipe without paths on this machine: the data have a fingerprint."""
    return recipe.without_paths.model_dump(
        mode="json", exclude_none=True, exclude={"data": {"root"}}
    )


def with_devices(run: Run, results: Results) -> Results:
    """Return results with measurements on other devices and targets, where files are unchanged."""
    if not run.study.results_path.exists():
        return results
    old = load_results(run.study.results_path)
    devices = still_valid(old.devices, results.models)
    targets = valid_targets(old.targets, {file.sha256 for *_, file in results.files})
    return results.model_copy(update={"devices": devices, "targets": targets})


def chosen_of(run: Run, evaluated: dict[Role, list[Evaluated]]) -> dict[Role, Evaluated]:
    """Return the model of each role that gets files: the best on validation, and its teacher.

    Args:
        run: The study.
        evaluated: Of each role, in the order of its seeds.
    """
    chosen = {role: best_on_validation(seeds) for role, seeds in evaluated.items()}
    for student, teacher in TEACHER_OF.items():
        if student in chosen and len(evaluated.get(teacher, [])) > 1:
            place = run.recipe.seeds.index(chosen[student].trained.seed)
            chosen[teacher] = evaluated[teacher][place]
    return chosen


def best_on_validation(seeds: list[Evaluated]) -> Evaluated:
    """Return the seed with the highest metric on validation; of equals, with the lowest loss."""
    return max(seeds, key=lambda one: one.trained.result.best.worth)


def model_result(
    run: Run, seeds: list[Evaluated], chosen: Evaluated, cost: Cost, shipment: Shipment | None
) -> ModelResult:
    """Collect the results of the models of one role."""
    role = chosen.trained.role
    logits, labels = [one.test_logits for one in seeds], split_labels(run.splits.test)
    validation_labels, point = split_labels(run.splits.validation), decision(run, chosen)
    return ModelResult(
        **cost.model_dump(),
        model=run.table(role).without_paths.model,
        seeds=[
            SeedResult(
                **one.trained.result.model_dump(),
                seed=one.trained.seed,
                test=one.test,
                calibration=calibration(one, validation_labels, labels),
            )
            for one in seeds
        ],
        exported_seed=chosen.trained.seed,
        test=summaries(logits, labels, run.splits.positive),
        per_class=class_summaries(logits, labels, run.splits.classes),
        operating_point=point,
        coverage=coverage_of(run, chosen) if point is None or point.rule == "argmax" else None,
        files=shipment.files if shipment else {},
        refused=shipment.refused if shipment else {},
        int8_ladder=shipment.int8_ladder if shipment else None,
        recommended=shipment.recommended if shipment else None,
    )


def coverage_of(run: Run, chosen: Evaluated) -> Coverage:
    """Return coverage against accuracy of an exported model, with the probabilities of its file."""
    validation_labels, labels = map(split_labels, (run.splits.validation, run.splits.test))
    return coverage(chosen, validation_labels, labels, file_temperature(run, chosen))


def cost_of(run: Run, role: Role) -> Cost:
    """Count parameters and operations of a role's network."""
    model = run.network(role)

    def make() -> tuple[Cost, list[Path]]:
        return count(model, run.image_shape), []

    key = key_of("cost", run.identity(role), run.image_shape)
    return run.study.stage(f"cost-{role}", key, Cost, make)


def methods_of(
    run: Run, candidates: list[Candidate], best: Candidate, controls: list[Trained]
) -> list[MethodResult]:
    """Compare the methods of a sweep, each at its best setting; empty if it tried fewer than two.

    Args:
        run: The study.
        candidates: The settings of the sweep.
        best: The one that was chosen.
        controls: One a seed.
    """
    by_method: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_method.setdefault(candidate.recipe.distill.method, []).append(candidate)
    if len(by_method) < 2:
        return []
    metric, positive = run.recipe.metric, run.splits.positive
    validation_labels, labels = map(split_labels, (run.splits.validation, run.splits.test))
    tried = {}
    for method, settings in by_method.items():
        chosen = best if best in settings else best_candidate(settings)
        seeds = [
            evaluate(replace(run, recipe=chosen.recipe), student) for student in chosen.students
        ]
        logits = [one.test_logits for one in seeds]
        on_validation = [one.validation_logits for one in seeds]
        tried[method] = Tried(
            settings=chosen.settings,
            num_settings=len(settings),
            validation_score=summary_of(metric, on_validation, validation_labels, positive),
            test_score=summary_of(metric, logits, labels, positive),
            test_logits=logits,
            selected=chosen is best,
        )
    of_control = [evaluate(run, one).test_logits for one in controls]
    return compare_methods(tried, of_control, labels, metric, positive)


def sweep_points(run: Run, candidates: list[Candidate], best: Candidate) -> list[SweepPoint]:
    """Return the scores of every setting of a sweep, which was chosen before test was used."""
    metric, positive = run.recipe.metric, run.splits.positive
    points = []
    for candidate in candidates:
        tried = replace(run, recipe=candidate.recipe)
        seeds = [evaluate(tried, student) for student in candidate.students]
        validation = [one.validation_logits for one in seeds], split_labels(run.splits.validation)
        test = [one.test_logits for one in seeds], split_labels(run.splits.test)
        scored = metric != "accuracy"
        points.append(
            SweepPoint(
                role=candidate.role,
                settings=candidate.settings,
                seeds=run.recipe.seeds,
                validation_accuracy=summary_of("accuracy", *validation),
                test_accuracy=summary_of("accuracy", *test),
                validation_score=summary_of(metric, *validation, positive) if scored else None,
                test_score=summary_of(metric, *test, positive) if scored else None,
                selected=candidate is best,
            )
        )
    return points
