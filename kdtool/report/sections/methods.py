"""Which distillation method to use: each against the control and against kd."""

from dataclasses import dataclass
from typing import ClassVar

from kdtool.format import (
    METRIC_NAMES,
    in_percent,
    printable,
    score_change,
    score_change_range,
    score_range,
    score_text,
)
from kdtool.report.decision import against_control
from kdtool.report.parts.canvas import Drawing, drawing
from kdtool.report.parts.cells import Cell
from kdtool.report.parts.forest import Difference, forest_figure
from kdtool.results.base import Metric
from kdtool.results.evidence import MethodResult, PairedVerdict
from kdtool.results.study import Results

COLUMNS = ("Validation", "Test", "Against the control", "Against kd")


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodRow:
    """One method at its best setting on validation."""

    name: str
    settings: str  # the other keys of that setting; empty: the sweep had one key
    cells: list[Cell | None]  # in the order of `COLUMNS`
    selected: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodsSection:
    """The methods of a sweep, and which one to use."""

    LINK: ClassVar = "Methods"

    sentence: str
    fairness: str
    columns: tuple[str, ...]
    rows: list[MethodRow]
    figure: Drawing
    num_comparisons: int


def section(results: Results) -> MethodsSection | None:
    """Return the methods of a sweep; None if none was over methods."""
    methods = results.methods
    if not methods:
        return None
    name = METRIC_NAMES[results.metric]
    compared = _differences(methods)
    title = f"Difference in {name} of each method, with its interval"
    return MethodsSection(
        sentence=method_sentence(results) or "",
        fairness=_fairness(methods),
        columns=COLUMNS,
        rows=[_row(results.metric, one) for one in methods],
        figure=drawing(
            "methods",
            title,
            lambda width: forest_figure(compared, f"points of {name}", min(width, 620)),
        ),
        num_comparisons=len(compared),
    )


def _differences(methods: list[MethodResult]) -> list[Difference]:
    pairs = [(f"{one.method} \N{MINUS SIGN} control", one.against_control) for one in methods]
    pairs += [
        (f"{one.method} \N{MINUS SIGN} kd", one.against_kd) for one in methods if one.against_kd
    ]
    return [
        Difference(
            name=printable(name),
            value=verdict.difference,
            ci95=verdict.ci_holm,
            is_clear=verdict.verdict != "NO EVIDENCE",
        )
        for name, verdict in pairs
    ]


def method_sentence(results: Results) -> str | None:
    """Say which method to use on these data; None if the study compared none."""
    chosen = next((one for one in results.methods if one.selected), None)
    if chosen is None:
        return None
    metric, control, kd = results.metric, chosen.against_control, chosen.against_kd
    over_control = f"{_change(metric, control)} over the control"
    if control.verdict != "HELPED":
        alone = against_control(results, "student")  # the verdict of the study
        if control.verdict == "NO EVIDENCE" and alone and alone.verdict == "HELPED":
            change = score_change(metric, alone.difference)
            text = (
                f"On these data {chosen.method}, chosen on validation, helps: compared with the "
                f"control alone, as by the study's verdict, {change} "
                f"({score_change_range(metric, alone.interval)}). Among all comparisons here, "
                f"corrected together, that is not shown: {over_control}."
            )
        else:
            text = (
                f"On these data no method is shown to help: {chosen.method}, the best on "
                f"validation, has {over_control}."
            )
        if helped := [one.method for one in results.methods if _helped(one)]:
            text += (
                f" On the test images {', '.join(helped)} did better, but validation did not "
                "choose it; more validation images choose more reliably."
            )
        return text
    if kd is None:
        other = "" if len(results.methods) < 2 else "; no other method was better on validation"
        return f"On these data use {chosen.method}: {over_control}{other}."
    over_kd = f"{_change(metric, kd)} over kd"
    if kd.verdict == "HELPED":
        return f"On these data use {chosen.method}: {over_kd}, {over_control}."
    if kd.verdict == "HURT":
        return (
            f"On these data {chosen.method}, chosen on validation, helps: {over_control}; but on "
            f"the test images it is worse than kd ({over_kd}). More validation images choose more "
            "reliably."
        )
    return (
        f"On these data {chosen.method} helps: {over_control}; it is not shown to differ from kd "
        f"({over_kd})."
    )


def _helped(one: MethodResult) -> bool:
    return one.against_control.verdict == "HELPED"


def _change(metric: Metric, verdict: PairedVerdict) -> str:
    unit = " points" if in_percent(metric) else f" {METRIC_NAMES[metric]}"
    ends = score_change_range(metric, verdict.ci_holm)
    return f"{score_change(metric, verdict.difference)}{unit} ({ends})"


def _fairness(methods: list[MethodResult]) -> str:
    numbers = {one.num_settings for one in methods}
    settings = f"{min(numbers)} to {max(numbers)} settings" if len(numbers) > 1 else "1 setting"
    if len(numbers) == 1 and numbers != {1}:
        settings = f"{max(numbers)} settings"
    uneven = (
        ": a method with more settings had more chances on validation" if len(numbers) > 1 else ""
    )
    return f"{settings} of each method tried{uneven}"


def _row(metric: Metric, one: MethodResult) -> MethodRow:
    others = {key: value for key, value in one.settings.items() if key != "distill.method"}
    return MethodRow(
        name=printable(one.method),
        settings=printable(", ".join(f"{key} = {value}" for key, value in others.items())),
        cells=[
            *(
                Cell(value=score_text(metric, score.mean), interval=score_range(metric, score.ci95))
                for score in (one.validation_score, one.test_score)
            ),
            _verdict_cell(metric, one.against_control),
            _verdict_cell(metric, one.against_kd) if one.against_kd else None,
        ],
        selected=one.selected,
    )


def _verdict_cell(metric: Metric, verdict: PairedVerdict) -> Cell:
    return Cell(
        value=score_change(metric, verdict.difference),
        interval=score_change_range(metric, verdict.ci_holm),
        relative=verdict.verdict,
        worse=verdict.verdict == "HURT",
    )
