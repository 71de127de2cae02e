"""Decide which file to ship, from results.json alone: the only place where that is decided."""

from collections.abc import Iterator
from statistics import fmean

from kdtool.format import (
    METRIC_NAMES,
    count,
    listed,
    percent,
    points,
    points_range,
    printable,
    probability,
    role_name,
    score_change,
    score_change_range,
    score_text,
    whole_percent,
)
from kdtool.report.budget import budget_checks, budget_phrase, missed
from kdtool.report.device_choice import device_choices, same_choices
from kdtool.results.base import TEACHER_OF, Precision, Role
from kdtool.results.decision import BudgetCheck, Decision, DeviceChoice, NextStep, is_weak_teacher
from kdtool.results.evidence import Verdict
from kdtool.results.study import FileResult, ModelResult, Results
from kdtool.stats.chance import (
    balanced_accuracy,
    is_above_chance,
    is_above_largest_class,
    largest_class,
    never_called,
)

FEW_IMAGES = 20  # of a class in the test split; fewer, and one image is more than 5 points
MOST_NAMES = 5  # classes in one sentence


def decision_of(results: Results) -> Decision:
    """Return what was decided; of an older kdtool's results, what would be decided now."""
    return results.decision or decide(results)


def decide(results: Results) -> Decision:
    """Return what to ship and why, what may go wrong, and what to do next."""
    role = shipped_role(results)
    if role is None:
        return Decision(
            ship=None,
            because="No student has a file yet.",
            alarms=[],
            risks=[],
            next=[NextStep(purpose="train the other models", command="kdtool distill RECIPE")],
        )
    model = results.models[role]
    found = list(_alarms(results, role, model))
    checks = budget_checks(results, role)
    best = model.files.get(model.recommended) if model.recommended else None
    candidates = model.accurate_files
    devices = device_choices(results, role, candidates, next((alarm for alarm, _ in found), None))
    file = next((one for one in candidates if not missed(one, checks)), None)
    if best and file is None and not found:
        found = [_over_budget(best, checks)]
    if found or file is None:
        return Decision(
            ship=None,
            because=found[0][0] if found else "None of the files is recommended.",
            alarms=[alarm for alarm, _ in found],
            risks=[],
            next=[NextStep(purpose=remedy) for remedy in dict.fromkeys(step for _, step in found)],
            budgets=checks,
            devices=devices,
        )
    return Decision(
        ship=file.path,
        because=_reason(results, role, model, file)
        if file is best
        else f"It keeps to the budget; {best.path if best else ''} does not: "
        f"{'; '.join(map(budget_phrase, missed(best, checks))) if best else ''}.",
        alarms=[],
        risks=[*_risks(results, role, model, file), *_elsewhere(file, devices)],
        next=list(_next(results, model, file)),
        budgets=checks,
        devices=devices,
    )


def _over_budget(best: FileResult, checks: list[BudgetCheck]) -> tuple[str, str]:
    broken = missed(best, checks)
    over = "over" if any(one.fit == "over budget" for one in broken) else "not known to keep to"
    return (
        f"{best.path} is {over} the budget, and no other file keeps to it: "
        f"{'; '.join(map(budget_phrase, broken))}.",
        "take a smaller student (student.model), or a larger budget ([device] of the recipe); "
        "where a value is not known, measure on the device",
    )


def shipped_role(results: Results) -> Role | None:
    """Return the role of the shipped model; None if it has no file."""
    role = results.shipped or "student"  # a study of an earlier kdtool had one student only
    return role if role in results.models and results.models[role].files else None


def file_to_ship(results: Results) -> tuple[Role, FileResult] | None:
    """Return the file that was decided for, and the role of its model; None: nothing ships."""
    path = decision_of(results).ship
    return next(((role, file) for role, _, file in results.files if file.path == path), None)


def precision_to_ship(results: Results, role: Role) -> Precision:
    """Return which file of a role to pack: the one that was decided for, or else the best one."""
    model, path = results.models[role], decision_of(results).ship
    chosen = (precision for precision, file in model.files.items() if file.path == path)
    return next(chosen, model.recommended or "fp32")


def _alarms(results: Results, role: Role, model: ModelResult) -> Iterator[tuple[str, str]]:
    """Yield why no file of a student should be shipped, each with what to try."""
    for file in model.files.values():
        if file.parity.passed is False:
            yield (
                f"{file.path} does not give PyTorch's answers.",
                "report this with the recipe: the file is not the model that was trained",
            )
    yield from _knows_nothing(results, role, model)
    yield from _weak_teacher(results, role)
    verdict = against_control(results, role)
    if verdict and verdict.verdict == "HURT":
        change = score_change(verdict.metric, verdict.difference)
        yield (
            f"The {role_name(role)} is worse than the same network trained without a teacher "
            f"({change}, {score_change_range(verdict.metric, verdict.interval)}).",
            "try another distill.temperature, distill.soft_weight or distill.method (--sweep "
            "chooses on validation), or a better teacher",
        )


def _knows_nothing(results: Results, role: Role, model: ModelResult) -> Iterator[tuple[str, str]]:
    """Yield that a student is at chance, is no better than a constant, or never calls a class."""
    confusion, name = model.exported.test.confusion, role_name(role)
    classes = [printable(one) for one in results.data.classes]
    remedy = (
        "train longer (student.epochs), with another student.learning_rate, or, where classes are "
        'uneven, with student.class_weights = "balanced"'
    )
    point = model.operating_point
    if point and point.rule != "argmax":
        # the file calls classes by its threshold, the confusion matrix by the larger probability
        rates = point.test
        if rates.sensitivity + rates.specificity <= 1:
            yield f"The {name} is at chance at its threshold.", remedy
        return
    if not is_above_chance(confusion):
        balanced, num_images = balanced_accuracy(confusion)[0], sum(map(sum, confusion))
        yield (
            f"The {name} is not shown to be better than chance: it recognizes "
            f"{percent(balanced)} of {count(num_images)} test images, mean over the classes; "
            f"chance is {percent(1 / len(classes))}.",
            remedy,
        )
    elif results.metric == "accuracy" and not is_above_largest_class(confusion):
        largest = largest_class(confusion)
        share = sum(confusion[largest]) / sum(map(sum, confusion))
        yield (
            f"The {name} is right on {percent(model.exported.test.accuracy)} of the test images, "
            f"which is not shown to be better than always answering {classes[largest]} "
            f"({percent(share)}).",
            remedy,
        )
    if missing := never_called(confusion):
        yield f"The {name} never answers {_some([classes[c] for c in missing])}.", remedy


def _weak_teacher(results: Results, role: Role) -> Iterator[tuple[str, str]]:
    """Yield that a teacher is no better than the control on validation."""
    teacher, control = results.models.get(TEACHER_OF[role]), results.models.get("control")
    if teacher is None or control is None:
        return
    ours, theirs = (fmean(run.best.score for run in one.seeds) for one in (teacher, control))
    if not is_weak_teacher(ours, theirs):
        return
    name, metric = role_name(TEACHER_OF[role]), results.metric
    yield (
        f"The {name} is no better than the control on validation images: {METRIC_NAMES[metric]} "
        f"{score_text(metric, ours)} and {score_text(metric, theirs)}.",
        f"train the {name} longer, or take a larger one (teacher.model)",
    )


def against_control(results: Results, role: Role) -> Verdict | None:
    """Return the verdict on a student against the control; None: there is none."""
    pairs = {(verdict.of, verdict.against): verdict for verdict in results.verdicts}
    return pairs.get((role, "control"))


def _reason(results: Results, role: Role, model: ModelResult, file: FileResult) -> str:
    if file.gate:
        return f"{_capital(file.gate.reason)}."
    verdict = against_control(results, role)
    helped = verdict is not None and verdict.verdict == "HELPED"
    text = "It is better than the same network trained without a teacher" if helped else ""
    if len(model.files) > 1 or model.refused:
        smaller = "no smaller file is both faster and accurate enough"
        if is_busy(model):
            smaller = "whether a smaller file is faster could not be measured on a busy machine"
        return f"{text}; {smaller}." if text else f"{_capital(smaller)}."
    return f"{text or 'It is the only file'}; the recipe asks for no smaller file."


def more_epochs(results: Results, model: ModelResult) -> NextStep | None:
    """Suggest more epochs if most seeds were still getting better in their last; None: they end."""
    num_last = sum(one.best_epoch == one.epochs[-1].epoch for one in model.seeds)
    if 2 * num_last <= len(model.seeds):
        return None
    kept = f"as {num_last} of {len(model.seeds)} students kept their last"
    table = results.recipe.get("student")
    if isinstance(table, dict) and table.get("phase"):  # each has epochs of its own
        return NextStep(purpose=f"see whether longer phases (student.phase) help, {kept}")
    command = "subclass-distill" if "subclass-student" in results.models else "distill"
    num_epochs = 2 * max(one.epochs[-1].epoch for one in model.seeds)
    return NextStep(
        purpose=f"see whether more epochs help, {kept}",
        command=f"kdtool {command} RECIPE --set student.epochs={num_epochs} --set name=NAME",
    )


def is_busy(model: ModelResult) -> bool:
    """Return whether a file of a model was timed on a busy machine."""
    return any(file.latency and file.latency.noise for file in model.files.values())


def _some(names: list[str]) -> str:
    """Return the first names as a list, and how many more there are."""
    num_more = len(names) - MOST_NAMES
    return listed([*names[:MOST_NAMES], f"{num_more} more"] if num_more > 0 else names)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _risks(results: Results, role: Role, model: ModelResult, file: FileResult) -> Iterator[str]:
    """Yield what may go wrong with a file, most serious first."""
    if file.against_teacher:
        low, _ = file.against_teacher.ci95
        least = max(0.0, -low)
        yield (
            f"It loses at most {100 * least:.2f} points of accuracy against the "
            f"{role_name(TEACHER_OF[role])}: {points(file.against_teacher.difference)} "
            f"({points_range(file.against_teacher.ci95)}) on the test images."
        )
    verdict = against_control(results, role)
    if verdict and verdict.verdict == "NO EVIDENCE":
        change = score_change(verdict.metric, verdict.difference)
        ends = score_change_range(verdict.metric, verdict.interval)
        yield (
            "It is not shown to be better than the same network trained without a teacher "
            f"({change}, {ends}); training without one would be simpler."
        )
    if verdict and len(verdict.seeds) == 1:
        yield "One seed was trained: another may be better or worse."
    pairs = zip(results.data.classes, results.data.class_counts["test"], strict=True)
    few = [printable(name) for name, number in pairs if number < FEW_IMAGES]
    if few:
        yield f"Fewer than {FEW_IMAGES} test images of {_some(few)}: hardly tested."
    noise = file.latency.noise if file.latency else None
    if noise:
        yield f"Times were measured on a busy machine ({noise}): do not rely on them."
    elif file.latency and not results.devices:
        yield "No time was measured on the device: on another processor the order may differ."


def _elsewhere(file: FileResult, devices: list[DeviceChoice]) -> Iterator[str]:
    """Yield on which machines another file is the better choice."""
    others = [one for one in devices if one.ship and one.ship != file.path]
    for one, machines in same_choices(others):
        yield f"On {listed(machines)} ship {one.ship} instead. {one.because}"


def _next(results: Results, model: ModelResult, file: FileResult) -> Iterator[NextStep]:
    """Yield what to do with a file, the most useful first."""
    if is_busy(model):
        yield NextStep(
            purpose="measure again when the machine is quiet", command="kdtool export STUDY"
        )
    elif not results.devices:
        files = " ".join(one.path for one in model.files.values())
        yield NextStep(
            purpose="measure on the device, where these files are",
            command=f"kdtool profile {files} --json > device.json",
        )
        yield NextStep(
            purpose="add its figures to the report",
            command="kdtool profile STUDY --merge device.json",
        )
    if longer := more_epochs(results, model):
        yield longer
    yield NextStep(
        purpose="make a folder that runs on a device without kdtool",
        command="kdtool export STUDY --kit",
    )
    yield _classify(model, file)


def _classify(model: ModelResult, file: FileResult) -> NextStep:
    """Return how to classify images, and which answers not to trust."""
    found = model.coverage
    if not (found and found.is_confirmed and found.chosen and found.test):
        return NextStep(
            purpose="classify an image", command=f"kdtool predict STUDY/{file.path} IMAGE"
        )
    threshold = probability(found.chosen.threshold)
    return NextStep(
        purpose=f"classify images and leave those below {threshold} to a person "
        f"({whole_percent(found.test.share)} of the test images are answered, "
        f"{percent(found.test.accuracy)} of these correctly)",
        command=f"kdtool predict STUDY/{file.path} FOLDER --min-confidence {threshold}",
    )
