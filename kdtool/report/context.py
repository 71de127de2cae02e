"""What the templates of the report are filled with."""

from dataclasses import dataclass

import tomli_w

from kdtool.format import (
    INTERVAL_LINE,
    MAC_LINE,
    METRIC_NAMES,
    channels,
    count,
    duplicates_sentence,
    in_percent,
    listed,
    metric_title,
    role_name,
    roles_present,
)
from kdtool.report import summary
from kdtool.report.sections import (
    bias_shift,
    calibration,
    classes,
    comparison,
    devices,
    files,
    images,
    operating_point,
    subclasses,
    training,
)
from kdtool.report.sections import verdict as verdicts
from kdtool.report.sections.comparison import comparison_rows
from kdtool.report.sections.files import ship_rows
from kdtool.report.sections.training import training_rows
from kdtool.results.profile import Environment
from kdtool.results.study import DataResult, Results

MOST_CLASSES_OPEN = 20  # more, and the tables over classes are folded

# Of the figures in `cost_bars`, by their names.
COST_TITLES = {
    "params": "Parameters",
    "flops": "FLOPs for one image",
    "latency": "Latency for one run, median",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The head of a column of a comparison."""

    name: str
    note: str
    style: str  # class of the page's style; may be empty


def report_context(results: Results) -> dict[str, object]:
    """Return the names that both templates use."""
    verdict = verdicts.main_verdict(results)
    on_methods = verdicts.on_methods(results)
    return {
        "results": results,
        "roles": roles_present(results),
        "verdict": verdict,
        "findings": summary.findings(results),
        "headline": verdicts.headline(results),
        "explanations": summary.explanations(results),
        "mcnemar": verdicts.mcnemar_sentence(on_methods) if verdict else None,
        "caveat": verdicts.caveat(on_methods, results.data.num_test),
        "tiles": summary.tiles(results),
        "rows": comparison_rows(results),
        "model_heads": [
            Head(name=role_name(role), note=results.models[role].model, style=role)
            for role in roles_present(results)
        ],
        "cost_titles": COST_TITLES,
        "latency_sentence": comparison.latency_sentence(results),
        **_score_context(results),
        **_evidence_context(results),
        **_ship_context(results),
        **_device_context(results),
        "training": training_rows(results),
        "recipe_toml": tomli_w.dumps(_without_none(results.recipe)),
        "command": _command(results),
        "made_with": _made_with(results.environment),
        "made_from": _made_from(results.data),
        "duplicates": duplicates_sentence(results.data),
        "duplicate_names": images.names(results.data),
        "mac_line": MAC_LINE,
        "control_line": verdicts.control_line(results),
        "holm_line": verdicts.HOLM_LINE if len(results.verdicts) > 1 else "",
        "interval_line": INTERVAL_LINE,
    }


def _score_context(results: Results) -> dict[str, object]:
    metric, rows = results.metric, classes.class_rows(results)
    return {
        "metric_name": METRIC_NAMES[metric],
        "metric_title": metric_title(metric),
        "metric_in_percent": in_percent(metric),
        "of_metric": "" if metric == "accuracy" else f", {METRIC_NAMES[metric]}",
        "phases": training.phase_starts(results),
        "untrained": training.untrained_sentence(results),
        "score_groups": classes.groups(results),
        "scores_of": classes.scores_of(results),
        "score_words": classes.meaning(results),
        "most_in_a_row": classes.MOST_IN_A_ROW,
        "few_images": classes.few_images(results.data),
        "one_class_calls": classes.one_class_calls(results),
        "imbalance": classes.imbalance(results.data),
        "class_rows": rows,
        "changed_rows": classes.most_changed(rows) if len(rows) > MOST_CLASSES_OPEN else [],
        "largest_delta": max((abs(row.delta) for row in rows if row.delta), default=1.0),
        "mistakes": classes.mistakes(results),
        "operating_sentence": operating_point.operating_sentence(results),
        "rule_sentence": operating_point.rule_sentence(results),
        "rates_rows": operating_point.rates_rows(results),
        "rates_columns": operating_point.COLUMNS,
    }


def _evidence_context(results: Results) -> dict[str, object]:
    uses = subclasses.exported_uses(results)
    shown = calibration.shown_calibration(results)
    rows = verdicts.uncertainty_rows(results)
    return {
        "uncertainty_rows": rows,
        "uncertainty_columns": verdicts.columns(results) if rows else [],
        "uncertainty_meaning": verdicts.meaning(results),
        "uses": uses,
        "subclass_alarm": subclasses.alarm(results),
        "subclass_advice": subclasses.advice(results),
        "subclass_seeds": subclasses.seed_rows(results),
        "subclass_meaning": subclasses.MEANING,
        "most_columns": subclasses.MOST_COLUMNS,
        "calibration_advice": calibration.calibration_advice(results),
        "calibration_rows": calibration.calibration_rows(results),
        "calibrated_role": shown[0] if shown else None,
        "excluded": bias_shift.excluded_names(results),
        "shift_meaning": bias_shift.MEANING,
        "shift_rows": bias_shift.shift_rows(results),
    }


def _command(results: Results) -> str:
    if "subclass-student" in results.models:
        return "subclass-distill"
    return "distill" if "student" in results.models else "finetune"


def _ship_context(results: Results) -> dict[str, object]:
    model = files.shipped(results)
    return {
        "shipped": model,
        "ship_sentence": files.ship_sentence(results),
        "ship_choice": files.choice_sentence(results),
        "ship_details": files.ship_details(results),
        "ship_rows": ship_rows(results),
        "ship_heads": [
            Head(name=f"{precision}: ship this", note=file.path, style="chosen")
            if precision == model.recommended
            else Head(name=precision, note=file.path, style="")
            for precision, file in model.files.items()
        ]
        if model
        else [],
        "measure_on_device": files.measure_on_device(results),
    }


def _device_context(results: Results) -> dict[str, object]:
    rows = devices.measured(results) if results.devices else []
    return {
        "device_rows": rows,
        "device_columns": devices.COLUMNS,
        "device_noise": devices.noise_sentences(rows),
        "machines": devices.machine_descriptions(results) if rows else [],
    }


def _made_with(environment: Environment) -> list[tuple[str, str]]:
    versions = {"kdtool": environment.kdtool, "Python": environment.python, **environment.packages}
    return [
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("System", environment.os),
        ("Processor", f"{environment.cpu}, {environment.num_cores} cores for this process"),
        ("GPU", environment.gpu or "none"),
    ]


def _made_from(data: DataResult) -> list[tuple[str, str]]:
    num_channels, height, width = data.image_shape
    return [
        ("Source", f"{data.source}: {data.description}"),
        ("Images", f"{width} \N{MULTIPLICATION SIGN} {height} pixels, {channels(num_channels)}"),
        ("Train", f"{count(data.num_train)} images"),
        ("Validation", f"{count(data.num_validation)} images, which chose epochs and settings"),
        ("Test", f"{count(data.num_test)} images, used once, at the end"),
        *(
            (f"Class {name}", f"merged from {listed(group)}")
            for name, group in zip(data.classes, data.groups, strict=False)
        ),
        *((("Left out", _left_out(data)),) if data.excluded else ()),
        ("Fingerprint", data.fingerprint),
    ]


def _left_out(data: DataResult) -> str:
    counts = zip(data.classes, data.class_counts["train"], strict=True)
    num_left = sum(number for name, number in counts if name not in data.excluded)
    return (
        f"{listed(data.excluded)}: students and control learn from the other "
        f"{count(num_left)} training images"
    )


def _without_none(table: dict[str, object]) -> dict[str, object]:
    """Leave out what is not set: TOML has no null."""
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }
