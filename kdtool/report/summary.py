"""The card that a report opens with: verdicts, key figures, and the sentences below them."""

from dataclasses import dataclass

from kdtool.format import METRIC_NAMES, in_percent, relative, role_name, rough_percent, score_change
from kdtool.report.sections import bias_shift, comparison, files
from kdtool.report.sections import verdict as verdicts
from kdtool.results.base import TEACHER_OF
from kdtool.results.study import Results


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """A key figure."""

    value: str
    caption: str
    worse: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A verdict on a method."""

    label: str  # such as "HELPED"
    style: str  # class of the page's style
    question: str
    sentence: str


def findings(results: Results) -> list[Finding]:
    """Return the verdicts on methods, in the order in which a reader wants them."""
    return [
        Finding(
            label=verdicts.verdict_label(verdict),
            style={"HELPED": "helped", "HURT": "hurt"}.get(verdict.verdict, "none"),
            question=verdicts.QUESTIONS[verdict.of, verdict.against],
            sentence=verdicts.verdict_sentence(verdict, len(results.verdicts)),
        )
        for verdict in verdicts.on_methods(results)
    ]


def tiles(results: Results) -> list[Tile]:
    """Return the key figures of a finished study's student, the worse beside the better."""
    role = verdicts.subject(results)
    found = {(verdict.of, verdict.against): verdict for verdict in results.verdicts}
    verdict = found.get((role, "control")) if role else None
    if role is None or verdict is None:
        return []
    student, teacher = results.models[role], results.models.get(TEACHER_OF[role])
    whose, metric = role_name(TEACHER_OF[role]), results.metric
    name = METRIC_NAMES[metric]
    shown = [
        Tile(
            value=verdicts.mean_score(results, role),
            caption=f"{name} of the {role_name(role)}"
            + (", which is shipped" if len(results.verdicts) > 1 and results.shipped else ""),
        ),
        Tile(
            value=score_change(metric, verdict.difference),
            caption=f"{'points' if in_percent(metric) else name} against the control",
            worse=verdict.verdict == "HURT",
        ),
    ]
    share = verdicts.gap_share(results, role)
    if verdict.verdict != "NO EVIDENCE" and share is not None and 0 <= share <= 1:
        shown.append(Tile(value=rough_percent(share), caption=f"of the gap to the {whose} closed"))
    if teacher is None:
        return shown
    ratios = [relative(student.num_flops, teacher.num_flops, "fewer FLOPs", "more FLOPs")]
    ours, theirs = comparison.latency_of(student), comparison.latency_of(teacher)
    if ours and theirs:
        ratios.append(comparison.relative_time(ours, theirs))
    file, other = comparison.file_of(student), comparison.file_of(teacher)
    if file and other:
        ratio = relative(file.size_bytes, other.size_bytes, "smaller file", "larger file")
        ratios.append(ratio)
    return shown + [
        Tile(value=ratio.times, caption=f"{ratio.word} than the {whose}", worse=ratio.worse)
        for ratio in ratios
        if ratio and ratio.times
    ]


def explanations(results: Results) -> list[str]:
    """Return the sentences below the verdict."""
    sentences = [
        verdicts.gap_sentence(results, verdict)
        for verdict in verdicts.on_methods(results)
        if verdict.against == "control"
    ]
    role = verdicts.subject(results) or "student"
    sentences += [
        comparison.cost_sentence(results, role),
        files.choice_sentence(results),
        files.ship_sentence(results),
    ]
    sentences += [bias_shift.shift_sentence(results, shift) for shift in results.bias_shifts]
    return [sentence for sentence in sentences if sentence]
