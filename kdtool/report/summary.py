"""The card at the top of a report: verdicts, key figures, and the sentences below them."""

from dataclasses import dataclass
from typing import ClassVar

from kdtool.format import (
    INTERVAL_LINE,
    METRIC_NAMES,
    in_percent,
    relative,
    role_name,
    score_change,
    whole_percent,
)
from kdtool.report.canvas import Drawing, drawing
from kdtool.report.cells import relative_time
from kdtool.report.sections import bias_shift, comparison, files
from kdtool.report.sections import verdict as verdicts
from kdtool.report.uncertainty import UncertaintyTable, uncertainty_table
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
    """A verdict on a method, in words."""

    label: str  # such as "HELPED"
    style: str  # class of the page's style
    question: str
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SummarySection:
    """The card at the top."""

    LINK: ClassVar = ""  # the top of the page needs no link

    headline: str
    findings: list[Finding]  # empty: no verdict yet
    tiles: list[Tile]
    explanations: list[str]
    caveat: str | None  # what the verdicts leave open
    control: str  # what the control is
    interval: str  # what an interval is
    holm: str | None  # what Holm's correction is; None: the study has one verdict
    mcnemar: str | None  # the tests of single seeds; None: no verdict yet
    num_verdicts: int
    figure: Drawing | None  # None: no verdict yet
    uncertainty: UncertaintyTable | None


def section(results: Results) -> SummarySection:
    """Return the card at the top of the report."""
    on_methods = verdicts.on_methods(results)
    title = f"Difference in {METRIC_NAMES[results.metric]} with its 95 % interval: " + ", ".join(
        f"{role_name(one.of)} and {role_name(one.against)}" for one in on_methods
    )
    return SummarySection(
        headline=verdicts.headline(results),
        findings=findings(results),
        tiles=tiles(results),
        explanations=explanations(results),
        caveat=verdicts.caveat(on_methods, results.data.num_test),
        control=verdicts.control_line(results),
        interval=INTERVAL_LINE,
        holm=verdicts.HOLM_LINE if len(results.verdicts) > 1 else None,
        mcnemar=verdicts.mcnemar_sentence(on_methods) if on_methods else None,
        num_verdicts=len(results.verdicts),
        figure=drawing(
            "difference",
            title,
            lambda width: verdicts.differences(results, on_methods, min(width, 400)),
        )
        if on_methods
        else None,
        uncertainty=uncertainty_table(results),
    )


def findings(results: Results) -> list[Finding]:
    """Return the verdicts on methods, the most important first."""
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
    """Return the key figures of the student of a study with a verdict, good and bad ones."""
    role = verdicts.subject(results)
    found = {(verdict.of, verdict.against): verdict for verdict in results.verdicts}
    verdict = found.get((role, "control")) if role else None
    if role is None or verdict is None:
        return []
    student, teacher = results.models[role], results.models.get(TEACHER_OF[role])
    metric, teacher_name = results.metric, role_name(TEACHER_OF[role])
    name = METRIC_NAMES[metric]
    shown = [
        Tile(
            value=verdicts.mean_score(results, role),
            caption=f"{name} of the {role_name(role)}"
            + (", which is shipped" if len(results.verdicts) > 1 and results.shipped else ""),
        ),
        Tile(
            value=score_change(metric, verdict.difference),
            caption=f"{'points' if in_percent(metric) else name} compared with the control",
            worse=verdict.verdict == "HURT",
        ),
    ]
    share = verdicts.gap_share(results, role)
    if verdict.verdict != "NO EVIDENCE" and share is not None and 0 <= share <= 1:
        caption = f"of the gap to the {teacher_name} closed"
        shown.append(Tile(value=whole_percent(share), caption=caption))
    if teacher is None:
        return shown
    ratios = [relative(student.num_flops, teacher.num_flops, "fewer FLOPs", "more FLOPs")]
    ours, theirs = comparison.latency_of(student), comparison.latency_of(teacher)
    if ours and theirs:
        ratios.append(relative_time(ours, theirs))
    file, other = comparison.file_of(student), comparison.file_of(teacher)
    if file and other:
        ratio = relative(file.size_bytes, other.size_bytes, "smaller file", "larger file")
        ratios.append(ratio)
    return shown + [
        Tile(value=ratio.times, caption=f"{ratio.word} than the {teacher_name}", worse=ratio.worse)
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
