"""The verdicts in words: what helped, against what, and how sure that is."""

from collections.abc import Sequence

from kdtool.evidence import Verdict
from kdtool.record import Role
from kdtool.report import metrics
from kdtool.report.quantities import NBSP, p_value
from kdtool.report.words import listed, present, seeds_word, spoken
from kdtool.results import Results

HOLM_LINE = (
    "The more comparisons a study makes, the likelier chance alone makes one of them stand out. "
    "Holm's correction raises every p for that; a verdict asks for a corrected p below 0.05."
)

# What the comparisons of a study ask, the one that a reader wants first at the front.
QUESTIONS: dict[tuple[Role, Role], str] = {
    ("subclass-student", "control"): "Does subclass distillation help?",
    ("subclass-student", "student"): "Does it help more than plain distillation?",
    ("student", "control"): "Does plain distillation help?",
}
# Of subclass against plain distillation, when the first half of the sentence was on the control.
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
    """Say what the control is, and where early stopping gave it other steps than the student."""
    steps = {
        role: [seed.num_steps for seed in model.seeds]
        for role, model in results.models.items()
        if role in ("control", "student", "subclass-student")
    }
    for_how_long = "for the same number of steps"
    if len({tuple(each) for each in steps.values()}) > 1:
        told = [f"the {spoken(role)} after {_range(each)}" for role, each in steps.items()]
        for_how_long = f"with as many steps at most (early_stop ended {listed(told)})"
    return (
        f"The control is the same student, trained on the same data {for_how_long}, but without a "
        "teacher: what it lacks is what distillation added. All students of a kind learn from one "
        "teacher, so the verdict is about this teacher."
    )


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def main_verdict(results: Results) -> Verdict | None:
    """Return the verdict on the study's method: its student against the control."""
    wanted = (v for v in on_methods(results) if v.against == "control")
    return next(wanted, None)


def subject(results: Results) -> Role | None:
    """Return the student of whom the key figures speak: the one to ship, or that of the method."""
    main = main_verdict(results)
    return results.shipped or (main.of if main else None)


def headline(results: Results) -> str:
    """Return the first sentence of a report: the verdict, or what the study holds so far."""
    verdicts = on_methods(results)
    main = main_verdict(results)
    over_plain = next((v for v in verdicts if v.against == "student"), None)
    if main and over_plain:
        against = ("and " if _agree(main, over_plain) else "but ") + _OVER_PLAIN[over_plain.verdict]
        return f"{_finding(main, several=True)}, {against}."
    if main:
        return verdict_sentence(main, len(results.verdicts))
    if not results.models:
        return "Nothing has been trained in this study yet."
    means = {role: mean_score(results, role) for role in present(results)}
    of = "" if results.metric == "accuracy" else f"{metrics.NAMES[results.metric]} "
    text = listed([f"the {spoken(role)} reaches {of}{mean}" for role, mean in means.items()])
    return f"No verdict yet: {text} on the test images; a verdict needs a control and a student."


def mean_score(results: Results, role: Role) -> str:
    """Return the study's metric of a role, the mean over its seeds."""
    return metrics.value(results.metric, results.models[role].test[results.metric].mean)


def _agree(first: Verdict, second: Verdict) -> bool:
    return (first.verdict == "HELPED") == (second.verdict == "HELPED")


def method(verdict: Verdict, *, several: bool) -> str:
    """Name the method that a verdict is on; `several`: the study compares two."""
    plain = "plain distillation" if several else "distillation"
    return "subclass distillation" if verdict.of == "subclass-student" else plain


def _finding(verdict: Verdict, *, several: bool) -> str:
    """Say in half a sentence what a verdict found; `several`: it is one of several."""
    name = method(verdict, several=several)
    over = " over plain distillation" if verdict.against == "student" else ""
    if verdict.verdict == "NO EVIDENCE":
        return f"No evidence that {name} helped{over}"
    word = "helped" if verdict.verdict == "HELPED" else "hurt"
    return f"{name.capitalize()} {word}{over}"


def difference_phrase(verdict: Verdict) -> str:
    """Say by how much one model beats another, such as "is 0.73 points more accurate than ..."."""
    other = "the same student trained without a teacher"
    if verdict.against == "student":
        other = "the student of plain distillation"
    metric, up = verdict.metric, verdict.difference > 0
    size = metrics.size(metric, verdict.difference)
    same = size == metrics.size(metric, 0.0)
    if metric == "accuracy":
        how = "as accurate" if same else f"{size} {'more' if up else 'less'} accurate"
    else:
        direction = "as high" if same else f"{size} {'higher' if up else 'lower'}"
        how = f"{direction} in {metrics.NAMES[metric]}"
    return f"is {how} {'as' if same else 'than'} {other}"


def verdict_label(verdict: Verdict) -> str:
    """Return the verdict, such as "HELPED", and that it rests on one seed if it does."""
    return verdict.verdict + (" (ONE SEED)" if len(verdict.seeds) == 1 else "")


def verdict_sentence(verdict: Verdict, comparisons: int = 1) -> str:
    """Return a verdict on a method in one sentence that needs no other.

    Args:
        verdict: On a method.
        comparisons: How many verdicts the study makes.
    """
    low, high = verdict.ci95
    includes_zero = low <= 0 <= high
    ends = metrics.change_range(verdict.metric, verdict.ci95)
    basis = f"95 % interval {ends}, {seeds_word(verdict.seeds)}"
    doubt = ", which cannot speak for others" if len(verdict.seeds) == 1 else ""
    if verdict.verdict == "NO EVIDENCE" and includes_zero:
        doubt += "; the interval includes zero"
    if comparisons > 1:
        doubt += f"; {p_value(verdict.p_holm)}, corrected for {comparisons} comparisons"
    finding = _finding(verdict, several=comparisons > 1)
    sentence = f"{finding}: the {spoken(verdict.of)} {difference_phrase(verdict)} ({basis}{doubt})."
    if verdict.verdict == "NO EVIDENCE" and not includes_zero:
        sentence += (
            f" Alone the interval excludes zero ({p_value(verdict.p_value)}), but this is one of "
            f"{comparisons} comparisons, and corrected for that (Holm) p is not below 0.05."
        )
    return sentence


def caveat(verdicts: Sequence[Verdict], num_images: int) -> str | None:
    """Return what a study's verdicts could not tell, and what would; None if all could tell."""
    if not verdicts:
        return None
    seeds = verdicts[0].seeds
    if len(seeds) == 1:
        which = "The" if len(verdicts) == 1 else "Each"
        return (
            f"This is one seed ({seeds[0]}). {which} interval covers the choice of test images "
            "only; it knows nothing of other seeds, and another seed may give another verdict."
        )
    open_ones = [verdict for verdict in verdicts if verdict.verdict == "NO EVIDENCE"]
    seen = [verdict.uncertainty.visible for verdict in open_ones if verdict.uncertainty]
    if not seen:
        return None
    basis = f"{seeds_word(seeds)} and {num_images:,} test images"
    if max(seen) == 1:
        return f"{basis} cannot tell even large differences from chance: more of both are needed."
    metric = verdicts[0].metric
    of = "" if metric == "accuracy" else f" in {metrics.NAMES[metric]}"
    return (
        f"A study like this one, with {basis}, finds differences{of} of about "
        f"{metrics.size(metric, max(seen))} or more in 4 of 5 cases. More seeds or more test "
        "images let it find smaller ones."
    )


def mcnemar_sentence(verdicts: Sequence[Verdict]) -> str:
    """Return the p value of every seed and what it means."""
    found = []
    for verdict in verdicts:
        pairs = zip(verdict.mcnemar_p, verdict.seeds, strict=True)
        values = listed([f"{p_value(p)} (seed{NBSP}{seed})" for p, seed in pairs])
        pair = f"{spoken(verdict.of)} and {spoken(verdict.against)} "
        found.append(values if len(verdicts) == 1 else pair + values)
    scope = ""
    if len(verdicts[0].seeds) > 1:
        scope = " Each p is of one seed, the interval of all, so that the two may disagree."
    of = "" if verdicts[0].metric == "accuracy" else " of the accuracy, whatever the metric"
    return (
        f"Exact McNemar test{of}: {'; '.join(found)}. It looks only at test images that one model "
        "gets right and the other wrong; p is how often pure chance would split them at least "
        f"this unevenly.{scope}"
    )
