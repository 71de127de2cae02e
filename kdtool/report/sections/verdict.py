"""The verdicts in words: what helped, compared with what, and how certain that is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdtool.format import (
    METRIC_NAMES,
    NBSP,
    count,
    in_percent,
    listed,
    p_value,
    plural,
    role_name,
    roles_present,
    score_change,
    score_change_range,
    score_change_size,
    score_scale,
    score_text,
    test_score,
    whole_percent,
)
from kdtool.report.decision import shipped_role
from kdtool.report.parts.canvas import LIGHT, label, new_figure, quiet_axes
from kdtool.results.base import TEACHER_OF, Role
from kdtool.results.evidence import Verdict
from kdtool.results.study import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


HOLM_LINE = (
    "The more comparisons a study makes, the more likely one of them looks significant by chance. "
    "Holm's correction raises every p value for that; a verdict needs a corrected p below 0.05."
)

# The questions that the comparisons of a study answer, the most important first.
QUESTIONS: dict[tuple[Role, Role], str] = {
    ("subclass-student", "control"): "Does subclass distillation help?",
    ("subclass-student", "student"): "Does it help more than plain distillation?",
    ("student", "control"): "Does plain distillation help?",
}
# Subclass compared with plain distillation: the second half of a sentence that began with the
# control.
_OVER_PLAIN = {
    "HELPED": "it beats plain distillation",
    "NO EVIDENCE": "there is no evidence that it beats plain distillation",
    "HURT": "it is worse than plain distillation",
}


def on_methods(results: Results) -> list[Verdict]:
    """Return the verdicts on methods, in the order of `QUESTIONS`."""
    found = {(verdict.of, verdict.against): verdict for verdict in results.verdicts}
    return [found[pair] for pair in QUESTIONS if pair in found]


def control_line(results: Results) -> str:
    """Say what the control is, and how its steps differ from the student's with early stopping."""
    steps = {
        role: [seed.num_steps for seed in model.seeds]
        for role, model in results.models.items()
        if role in ("control", "student", "subclass-student")
    }
    how_long = "for the same number of steps"
    if len({tuple(each) for each in steps.values()}) > 1:
        ends = [f"the {role_name(role)} after {_range(each)}" for role, each in steps.items()]
        how_long = f"with the same maximum number of steps (early_stop ended {listed(ends)})"
    teacher = results.models.get("teacher")
    about = (
        ""  # each student has one of its own, as the table of uncertainty says
        if teacher and len(teacher.seeds) > 1
        else " All students of a kind learn from the same teacher, so the verdict is about this "
        "teacher."
    )
    return (
        f"The control is the same student, trained on the same data {how_long}, but without a "
        f"teacher: the difference between the two is what distillation added.{about}"
    )


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return count(low) if low == high else f"{count(low)} to {count(high)}"


def main_verdict(results: Results) -> Verdict | None:
    """Return the verdict on the study's method: its student against the control."""
    wanted = (v for v in on_methods(results) if v.against == "control")
    return next(wanted, None)


def subject(results: Results) -> Role | None:
    """Return the student of the key figures: the shipped one, or the one of the main verdict."""
    main = main_verdict(results)
    return shipped_role(results) or (main.of if main else None)


def headline(results: Results) -> str:
    """Return the first sentence of a report: the verdict, or what the study contains so far."""
    verdicts = on_methods(results)
    main = main_verdict(results)
    over_plain = next((v for v in verdicts if v.against == "student"), None)
    if main and over_plain:
        against = ("and " if _agree(main, over_plain) else "but ") + _OVER_PLAIN[over_plain.verdict]
        return f"{_finding(main, several=True)}, {against}."
    if main:
        return verdict_sentence(main, len(results.verdicts))
    if not results.models:
        return "No model has been trained in this study yet."
    means = {role: mean_score(results, role) for role in roles_present(results)}
    of = "" if results.metric == "accuracy" else f"{METRIC_NAMES[results.metric]} "
    text = listed([f"the {role_name(role)} reaches {of}{mean}" for role, mean in means.items()])
    return f"No verdict yet: {text} on the test images; a verdict needs a control and a student."


def mean_score(results: Results, role: Role) -> str:
    """Return the study's metric of a role, the mean over its seeds."""
    return score_text(results.metric, results.models[role].test[results.metric].mean)


def _agree(first: Verdict, second: Verdict) -> bool:
    return (first.verdict == "HELPED") == (second.verdict == "HELPED")


def method(verdict: Verdict, *, several: bool) -> str:
    """Name the method that a verdict is about; `several`: the study compares two."""
    plain = "plain distillation" if several else "distillation"
    return "subclass distillation" if verdict.of == "subclass-student" else plain


def _finding(verdict: Verdict, *, several: bool) -> str:
    """Return the first half of the sentence on a verdict; `several`: it is one of several."""
    name = method(verdict, several=several)
    over = " over plain distillation" if verdict.against == "student" else ""
    if verdict.verdict == "NO EVIDENCE":
        return f"No evidence that {name} helped{over}"
    word = "helped" if verdict.verdict == "HELPED" else "hurt"
    return f"{name.capitalize()} {word}{over}"


def difference_phrase(verdict: Verdict) -> str:
    """Say how much better one model is, such as "is 0.73 points more accurate than ..."."""
    other = "the same student trained without a teacher"
    if verdict.against == "student":
        other = "the student of plain distillation"
    metric, up = verdict.metric, verdict.difference > 0
    size = score_change_size(metric, verdict.difference)
    same = size == score_change_size(metric, 0.0)
    if metric == "accuracy":
        how = "as accurate" if same else f"{size} {'more' if up else 'less'} accurate"
    else:
        direction = "as high" if same else f"{size} {'higher' if up else 'lower'}"
        how = f"{direction} in {METRIC_NAMES[metric]}"
    return f"is {how} {'as' if same else 'than'} {other}"


def verdict_label(verdict: Verdict) -> str:
    """Return the verdict, such as "HELPED", marked if it rests on one seed only."""
    return verdict.verdict + (" (ONE SEED)" if len(verdict.seeds) == 1 else "")


def verdict_sentence(verdict: Verdict, comparisons: int = 1) -> str:
    """Return a verdict on a method in one sentence, complete in itself.

    Args:
        verdict: On a method.
        comparisons: How many verdicts the study makes.
    """
    low, high = verdict.interval
    includes_zero = low <= 0 <= high
    ends = score_change_range(verdict.metric, verdict.interval)
    name = "95 % interval"
    if comparisons > 1 and verdict.ci_holm:
        name = f"interval corrected for {comparisons} comparisons"
    basis = f"{name} {ends}, {plural(len(verdict.seeds), 'seed')}"
    doubt = ", so nothing is known about other seeds" if len(verdict.seeds) == 1 else ""
    if verdict.verdict == "NO EVIDENCE" and includes_zero:
        doubt += "; the interval includes zero"
    if comparisons > 1:
        doubt += f"; {p_value(verdict.p_holm)}, corrected for {comparisons} comparisons"
    finding = _finding(verdict, several=comparisons > 1)
    sentence = (
        f"{finding}: the {role_name(verdict.of)} {difference_phrase(verdict)} ({basis}{doubt})."
    )
    if verdict.verdict == "NO EVIDENCE" and not includes_zero:
        sentence += (
            f" The interval by itself excludes zero ({p_value(verdict.p_value)}), but this is one "
            f"of {comparisons} comparisons, and p corrected for that (Holm) is not below 0.05."
        )
    return sentence


def caveat(verdicts: Sequence[Verdict], num_images: int) -> str | None:
    """Return what the verdicts leave open, and what would settle it; None if they leave nothing."""
    if not verdicts:
        return None
    seeds = verdicts[0].seeds
    if len(seeds) == 1:
        which = "The" if len(verdicts) == 1 else "Each"
        return (
            f"This study has one seed ({seeds[0]}). {which} interval covers only the choice of "
            "test images, not the choice of seeds: another seed may give another verdict."
        )
    open_ones = [verdict for verdict in verdicts if verdict.verdict == "NO EVIDENCE"]
    seen = [verdict.uncertainty.visible for verdict in open_ones if verdict.uncertainty]
    if not seen:
        return None
    basis = f"{plural(len(seeds), 'seed')} and {count(num_images)} test images"
    if max(seen) == 1:
        return (
            f"With {basis}, even large differences cannot be distinguished from chance: use more "
            "of both."
        )
    metric = verdicts[0].metric
    of = "" if metric == "accuracy" else f" in {METRIC_NAMES[metric]}"
    return (
        f"A study with {basis} detects differences{of} of about "
        f"{score_change_size(metric, max(seen))} or more in 80 % of repetitions. More seeds or "
        "more test images make smaller differences detectable."
    )


def mcnemar_sentence(verdicts: Sequence[Verdict]) -> str:
    """Return the p value of every seed, and its meaning."""
    found = []
    for verdict in verdicts:
        pairs = zip(verdict.mcnemar_p, verdict.seeds, strict=True)
        values = listed([f"{p_value(p)} (seed{NBSP}{seed})" for p, seed in pairs])
        pair = f"{role_name(verdict.of)} and {role_name(verdict.against)} "
        found.append(values if len(verdicts) == 1 else pair + values)
    scope = ""
    if len(verdicts[0].seeds) > 1:
        scope = " Each p is for one seed, the interval for all seeds, so the two may disagree."
    of = "" if verdicts[0].metric == "accuracy" else " (always of the accuracy)"
    return (
        f"Exact McNemar test{of}: {'; '.join(found)}. It uses only the test images that one model "
        "gets right and the other wrong; p is the probability that chance alone splits them at "
        f"least this unevenly.{scope}"
    )


def gap_share(results: Results, role: Role) -> float | None:
    """Return the share of the gap between control and teacher that a student closed.

    Returns:
        1: the whole gap; None if a model is missing, or the teacher is no better than the control.
    """
    needed: tuple[Role, ...] = (TEACHER_OF[role], "control", role)
    if not all(one in results.models for one in needed):
        return None
    teacher, control, student = (results.models[one].test[results.metric].mean for one in needed)
    return (student - control) / (teacher - control) if teacher > control else None


def gap_sentence(results: Results, verdict: Verdict) -> str | None:
    """Say how much of the gap to its teacher a student closed; None without that teacher.

    Args:
        results: The study's.
        verdict: A student compared with the control.
    """
    role = TEACHER_OF[verdict.of]
    if role not in results.models:
        return None
    metric, name = results.metric, role_name(role)
    teacher, control = (results.models[one].test[metric].mean for one in (role, "control"))
    above, below = mean_score(results, role), mean_score(results, "control")
    within = "" if metric == "accuracy" else f" in {METRIC_NAMES[metric]}"
    gap = f"the gap between control ({below}) and {name} ({above}){within}"
    share = gap_share(results, verdict.of)
    if share is None:
        return f"There was no gap to close{within}: {name} {above}, control {below}."
    if verdict.verdict == "NO EVIDENCE":
        return f"For scale: {gap} is {score_change_size(metric, teacher - control)}."
    title = method(verdict, several=len(results.verdicts) > 1).capitalize()
    if share > 1:
        scored = f"the {role_name(verdict.of)} scored higher than its teacher on the test images"
        return f"{title} closed {gap}: {scored}."
    done = "closed" if share >= 0 else "widened"
    by = f"{whole_percent(share)} of {gap}" if share >= 0 else f"{gap} by {whole_percent(-share)}"
    return f"{title} {done} {by}."


ROW = 2.6  # height of a verdict, in units of the y axis


def differences(results: Results, verdicts: list[Verdict], width: int) -> "Figure":
    """Draw each verdict's interval, a dot for each seed, and the line of no difference."""
    from matplotlib.ticker import MaxNLocator

    several = len(verdicts) > 1
    figure = new_figure(width, 50 + 75 * len(verdicts) if several else 112)
    axes = figure.add_subplot()
    quiet_axes(axes, grid="x")
    axes.axvline(0, color=LIGHT["ink"], linewidth=1.5)
    reach = [0.0]
    for row, verdict in enumerate(verdicts):
        reach += _draw(axes, results, verdict, -ROW * row)
    margin = 0.08 * (max(reach) - min(reach) or 1)
    low, high = min(reach) - margin, max(reach) + margin
    axes.set(xlim=(low, high), ylim=(-1 - ROW * (len(verdicts) - 1), 1.2), yticks=[])
    axes.xaxis.set_major_locator(MaxNLocator(6 if width > 400 else 4))
    pairs = [f"{role_name(one.of)} minus {role_name(one.against)}" for one in verdicts]
    if several:
        axes.set_ylim(top=1.9)
        for row, pair in enumerate(pairs):
            place = (low, 1.35 - ROW * row)
            behind = {"facecolor": LIGHT["panel"], "edgecolor": "none", "pad": 2}
            axes.annotate(pair, place, va="center", color=LIGHT["ink"], bbox=behind)
    metric = verdicts[0].metric
    unit = "points of " if in_percent(metric) else "difference in "
    what = unit + METRIC_NAMES[metric]
    axes.set_xlabel(what if several else f"{what}, {pairs[0]}")
    return figure


def _draw(axes: "Axes", results: Results, verdict: Verdict, y: float) -> list[float]:
    """Draw one verdict at a height; return how far it reaches, in units of the x axis."""
    metric, scale = verdict.metric, score_scale(verdict.metric)
    ours, theirs = (
        {run.seed: test_score(run.test, metric) for run in results.models[role].seeds}
        for role in (verdict.of, verdict.against)
    )
    pairs = [(mine, theirs.get(seed)) for seed, mine in ours.items()]
    dots = [scale * (a - b) for a, b in pairs if a is not None and b is not None]
    low, high = (scale * end for end in verdict.interval)
    mean, color = scale * verdict.difference, LIGHT[verdict.of]
    axes.plot([low, high], [y, y], color=color, linewidth=3, solid_capstyle="round")
    axes.plot(mean, y, "D", color=color, markersize=9, markeredgecolor=LIGHT["panel"])
    axes.plot(dots, [y - 0.6] * len(dots), "o", color=LIGHT["muted"], markersize=5)
    label(axes, score_change(metric, verdict.difference), (mean, y), (0, 8), color)
    return [low, high, *dots]
