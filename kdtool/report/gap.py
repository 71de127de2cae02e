"""How much of the way from the control to its teacher a student went."""

from kdtool.evidence import Verdict
from kdtool.record import TEACHER_OF, Role
from kdtool.report import metrics
from kdtool.report.quantities import rough_percent
from kdtool.report.verdicts import mean_score, method
from kdtool.report.words import spoken
from kdtool.results import Results


def gap_share(results: Results, role: Role) -> float | None:
    """Return how much of the way from the control to its teacher a student went.

    Returns:
        1 is all the way; None if a model is missing, or the teacher is no better than the control.
    """
    needed: tuple[Role, ...] = (TEACHER_OF[role], "control", role)
    if not all(one in results.models for one in needed):
        return None
    teacher, control, student = (results.models[one].test[results.metric].mean for one in needed)
    return (student - control) / (teacher - control) if teacher > control else None


def gap_sentence(results: Results, verdict: Verdict) -> str | None:
    """Say how much of the gap to its teacher a student closed; None without that teacher.

    Args:
        results: Of the study.
        verdict: A student against the control.
    """
    whose = TEACHER_OF[verdict.of]
    if whose not in results.models:
        return None
    metric, whom = results.metric, spoken(whose)
    teacher, control = (results.models[one].test[metric].mean for one in (whose, "control"))
    above, below = mean_score(results, whose), mean_score(results, "control")
    within = "" if metric == "accuracy" else f" in {metrics.NAMES[metric]}"
    gap = f"the gap between control ({below}) and {whom} ({above}){within}"
    share = gap_share(results, verdict.of)
    if share is None:
        return f"There was no gap to close{within}: {whom} {above}, control {below}."
    if verdict.verdict == "NO EVIDENCE":
        return f"For scale: {gap} is {metrics.size(metric, teacher - control)}."
    name = method(verdict, several=len(results.verdicts) > 1).capitalize()
    if share > 1:
        return f"{name} closed {gap}, and the {spoken(verdict.of)} passed its teacher."
    done = "closed" if share >= 0 else "widened"
    by = f"{rough_percent(share)} of {gap}" if share >= 0 else f"{gap} by {rough_percent(-share)}"
    return f"{name} {done} {by}."
