"""The sentences of the report and of the terminal."""

from collections.abc import Sequence

from kdtool.evidence import Verdict
from kdtool.record import Role
from kdtool.report.quantities import (
    NBSP,
    count,
    p_value,
    percent,
    points,
    points_range,
    rough_percent,
)
from kdtool.results import DataResult, Results

ROLES: tuple[Role, ...] = ("teacher", "control", "student")

MAC_LINE = "1 MAC = 1 multiply + 1 add; FLOPs = 2 \N{MULTIPLICATION SIGN} MACs."
CONTROL_LINE = (
    "The control is the same student, trained on the same data for the same number of steps, "
    "but without a teacher: what it lacks is what distillation added. All students learn from one "
    "teacher, so the verdict is about this teacher."
)
INTERVAL_LINE = (
    "A 95 % interval is the range in which the true value plausibly lies, given how few images "
    "and seeds it was measured on."
)

_OPENINGS = {
    "HELPED": "Distillation helped",
    "NO EVIDENCE": "No evidence that distillation helped",
    "HURT": "Distillation hurt",
}


def plain(name: str) -> str:
    """Return a name on one line and without control characters; it may be anything at all."""
    one_line = " ".join(name.split())
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in one_line)


def listed(items: Sequence[str]) -> str:
    """Join as "a, b and c"."""
    *rest, last = items
    return f"{', '.join(rest)} and {last}" if rest else last


def seeds_word(seeds: Sequence[int]) -> str:
    """Return "1 seed" or "3 seeds"."""
    return "1 seed" if len(seeds) == 1 else f"{len(seeds)} seeds"


def present(results: Results) -> list[Role]:
    """Return the roles that the study holds, in the order in which they are shown."""
    return [role for role in ROLES if role in results.models]


def main_verdict(results: Results) -> Verdict | None:
    """Return the verdict on distillation itself: student against control."""
    wanted = (v for v in results.verdicts if (v.of, v.against) == ("student", "control"))
    return next(wanted, None)


def _against(role: Role) -> str:
    return "the same student trained without a teacher" if role == "control" else f"the {role}"


def difference_phrase(verdict: Verdict) -> str:
    """Say by how much one model beats another, such as "is 0.73 points more accurate than ..."."""
    size = points(abs(verdict.difference)).lstrip("+")
    if size == "0.00":
        return f"is as accurate as {_against(verdict.against)}"
    direction = "more" if verdict.difference > 0 else "less"
    return f"is {size} points {direction} accurate than {_against(verdict.against)}"


def verdict_label(verdict: Verdict) -> str:
    """Return the verdict, such as "HELPED", and that it rests on one seed if it does."""
    return verdict.verdict + (" (ONE SEED)" if len(verdict.seeds) == 1 else "")


def verdict_sentence(verdict: Verdict) -> str:
    """Return the verdict on distillation in one sentence that needs no other."""
    low, high = verdict.ci95
    basis = f"95 % interval {points_range(verdict.ci95)}, {seeds_word(verdict.seeds)}"
    doubt = ", which cannot speak for others" if len(verdict.seeds) == 1 else ""
    if verdict.verdict == "NO EVIDENCE" and low <= 0 <= high:
        doubt += "; the interval includes zero"
    opening = _OPENINGS[verdict.verdict]
    return f"{opening}: the {verdict.of} {difference_phrase(verdict)} ({basis}{doubt})."


def other_sentence(verdict: Verdict) -> str:
    """Return a comparison that is no verdict on distillation, such as student against teacher."""
    basis = f"95 % interval {points_range(verdict.ci95)}, {seeds_word(verdict.seeds)}"
    return f"The {verdict.of} {difference_phrase(verdict)} ({basis})."


def caveat(verdict: Verdict, num_images: int) -> str | None:
    """Return what the study could not tell, and what would; None if it could tell."""
    if len(verdict.seeds) == 1:
        return (
            f"This is one seed ({verdict.seeds[0]}). The interval covers the choice of test "
            "images only; it knows nothing of other seeds, and another seed may give another "
            "verdict."
        )
    if verdict.verdict != "NO EVIDENCE":
        return None
    half_width = points((verdict.ci95[1] - verdict.ci95[0]) / 2).lstrip("+")
    return (
        f"With {seeds_word(verdict.seeds)} and {num_images:,} test images, a difference below "
        f"about {half_width} points cannot be told from chance. More seeds or more test images "
        "narrow that."
    )


def mcnemar_sentence(verdict: Verdict) -> str:
    """Return the p value of every seed and what it means."""
    pairs = zip(verdict.mcnemar_p, verdict.seeds, strict=True)
    values = listed([f"{p_value(p)} (seed{NBSP}{seed})" for p, seed in pairs])
    scope = ""
    if len(verdict.seeds) > 1:
        scope = " Each p is of one seed, the interval of all, so that the two may disagree."
    return (
        f"Exact McNemar test: {values}. It looks only at test images that one model gets right "
        "and the other wrong; p is how often pure chance would split them at least this unevenly."
        f"{scope}"
    )


def gap_share(results: Results) -> float | None:
    """Return how much of the way from control to teacher the student went.

    Returns:
        1 is all the way; None if a model is missing, or the teacher is no better than the control.
    """
    if not all(role in results.models for role in ROLES):
        return None
    teacher, control, student = (results.models[role].test["accuracy"].mean for role in ROLES)
    return (student - control) / (teacher - control) if teacher > control else None


def gap_sentence(results: Results, verdict: Verdict) -> str | None:
    """Say how much of the teacher-control gap distillation closed; None without a teacher."""
    if "teacher" not in results.models:
        return None
    teacher, control = (results.models[r].test["accuracy"].mean for r in ("teacher", "control"))
    gap = f"the gap between control ({percent(control)}) and teacher ({percent(teacher)})"
    share = gap_share(results)
    if share is None:
        return f"There was no gap to close: teacher {percent(teacher)}, control {percent(control)}."
    if verdict.verdict == "NO EVIDENCE":
        return f"For scale: {gap} is {points(teacher - control).lstrip('+')} points."
    if share > 1:
        return f"Distillation closed {gap}, and the student passed its teacher."
    done = "closed" if share >= 0 else "widened"
    by = f"{rough_percent(share)} of {gap}" if share >= 0 else f"{gap} by {rough_percent(-share)}"
    return f"Distillation {done} {by}."


def opening(results: Results) -> str:
    """Return the first sentence of a report: the verdict, or what the study holds so far."""
    verdict = main_verdict(results)
    if verdict:
        return verdict_sentence(verdict)
    if not results.models:
        return "Nothing has been trained in this study yet."
    means = {role: results.models[role].test["accuracy"].mean for role in present(results)}
    text = listed([f"the {role} reaches {percent(mean)}" for role, mean in means.items()])
    return f"No verdict yet: {text} on the test images; a verdict needs a control and a student."


def duplicates_sentence(data: DataResult) -> str:
    """Say how many images stand in two splits, and where the first ones do."""
    if not data.num_duplicates:
        return "No image stands in two splits."
    first = [f"{a} {i} and {b} {j}" for a, i, b, j in data.duplicates[:5]]
    where = f", such as {'; '.join(first)}" if first else ""
    noun = "image stands" if data.num_duplicates == 1 else "images stand"
    return f"{count(data.num_duplicates)} {noun}, bit for bit, in two splits{where}."


def channels(number: int) -> str:
    """Name the channels of an image."""
    return {1: "grey", 3: "colour"}.get(number, f"{number} channels")
