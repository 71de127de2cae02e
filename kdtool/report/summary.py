"""The top of a report: what to ship, at what risk, what to do next; then the verdicts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from kdtool.format import (
    INTERVAL_LINE,
    METRIC_NAMES,
    count,
    file_size,
    in_percent,
    percent,
    plural,
    points,
    points_range,
    printable,
    relative,
    role_name,
    score_change,
    score_change_range,
)
from kdtool.report.budget import budget_sentences
from kdtool.report.decision import against_control, decision_of, file_to_ship
from kdtool.report.parts.canvas import Drawing, small_drawing
from kdtool.report.parts.cells import relative_time, time_text
from kdtool.report.sections import bias_shift
from kdtool.report.sections import verdict as verdicts
from kdtool.report.sections.cost import comparison, files
from kdtool.report.uncertainty import UncertaintyTable, uncertainty_table
from kdtool.results.base import TEACHER_OF
from kdtool.results.decision import NextStep
from kdtool.results.study import FileResult, Results


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
    """The two cards at the top: what to ship, and whether distillation helped."""

    LINK: ClassVar = ""  # the top of the page needs no link

    ship: str | None  # the file; None: nothing
    because: str
    alarms: list[str]  # the reasons why nothing ships, after the first
    tiles: list[Tile]  # of the file that ships
    risks: list[str]
    steps: list[NextStep]
    budgets: list[str]
    changes: list[str]  # since the results were last written
    headline: str  # of the verdicts
    findings: list[Finding]  # empty: no verdict yet
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
    decision = decision_of(results)
    return SummarySection(
        ship=decision.ship and printable(decision.ship),
        because=printable(decision.because),
        alarms=[printable(one) for one in decision.alarms[1:]],
        tiles=tiles(results),
        risks=[printable(one) for one in decision.risks],
        steps=decision.next,
        budgets=[printable(one) for one in budget_sentences(decision.budgets)],
        changes=[printable(one) for one in results.changes],
        headline=verdicts.headline(results),
        findings=findings(results),
        explanations=explanations(results),
        caveat=verdicts.caveat(on_methods, results.data.num_test),
        control=verdicts.control_line(results),
        interval=INTERVAL_LINE,
        holm=verdicts.HOLM_LINE if len(results.verdicts) > 1 else None,
        mcnemar=verdicts.mcnemar_sentence(on_methods) if on_methods else None,
        num_verdicts=len(results.verdicts),
        figure=small_drawing(
            "difference",
            title,
            lambda width: verdicts.differences(results, on_methods, width),
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
    """Return the key figures of the file that ships, good and bad ones; none if nothing ships."""
    found = file_to_ship(results)
    if found is None:
        return []
    role, file = found
    model, teacher = results.models[role], results.models.get(TEACHER_OF[role])
    name = role_name(TEACHER_OF[role])
    shown = [
        Tile(
            value=percent(file.accuracy),
            caption=f"accuracy of this file (seed {model.exported_seed}) on "
            f"{count(results.data.num_test)} test images",
        )
    ]
    if file.against_teacher:
        against = file.against_teacher
        caption = f"points against the {name}, {points_range(against.ci95)}"
        worse = against.ci95[1] < 0
        shown.append(Tile(value=points(against.difference), caption=caption, worse=worse))
    verdict = against_control(results, role)
    if verdict:
        unit = "points" if in_percent(verdict.metric) else METRIC_NAMES[verdict.metric]
        ends = score_change_range(verdict.metric, verdict.interval)
        seeds = f"mean of {plural(len(verdict.seeds), 'seed')}"
        shown.append(
            Tile(
                value=score_change(verdict.metric, verdict.difference),
                caption=f"{unit} against the control, {ends} ({seeds})",
                worse=verdict.verdict == "HURT",
            )
        )
    other = comparison.file_of(teacher) if teacher else None
    return shown + ([*_costs(file, other, name)] if other else [])


def _costs(file: FileResult, other: FileResult, name: str) -> Iterator[Tile]:
    """Yield how much smaller and faster a file is than its teacher's."""
    size = relative(file.size_bytes, other.size_bytes, "smaller", "larger")
    if size and size.times:
        caption = f"{size.word} than the {name}: {file_size(file.size_bytes)}"
        yield Tile(value=size.times, caption=caption, worse=size.worse)
    if file.latency and other.latency:
        time = relative_time(file.latency, other.latency)
        against = f"{time.text} than the {name}" if time.times else time.word
        yield Tile(
            value=time_text(file.latency, file.latency.p50_ms),
            caption=f"per image on this machine, median; {against}",
            worse=time.worse,
        )


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
    ]
    sentences += [bias_shift.shift_sentence(results, shift) for shift in results.bias_shifts]
    return [sentence for sentence in sentences if sentence]
