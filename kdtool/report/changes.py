"""What changed since the results of a study were last written."""

from collections.abc import Iterator

from kdtool.format import METRIC_NAMES, role_name, score_text
from kdtool.report.decision import against_control, decision_of
from kdtool.results.base import flat
from kdtool.results.study import Results

MOST_KEYS = 8  # of the recipe that are named
BEFORE = {"distill.method": "kd"}  # keys that an older kdtool did not have, as it trained


def changes_since(old: Results, new: Results) -> list[str]:
    """Return the differences between two results of one study, each a sentence.

    Times differ from run to run and are left out.

    Args:
        old: As they were.
        new: As they are.
    """
    return [*_recipe(old, new), *_surroundings(old, new), *_outcome(old, new)]


def _recipe(old: Results, new: Results) -> Iterator[str]:
    before, after = ({**BEFORE, **flat(one.recipe)} for one in (old, new))
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    if old.environment.kdtool != new.environment.kdtool:
        keys = [key for key in keys if key in before]  # others are defaults that it did not have
    for key in keys[:MOST_KEYS]:
        yield f"{key}: {_value(before, key)} before, now {_value(after, key)}."
    if len(keys) > MOST_KEYS:
        yield f"{len(keys) - MOST_KEYS} more keys of the recipe changed."


def _value(table: dict[str, object], key: str) -> str:
    return str(table[key]) if key in table else "not set"


def _surroundings(old: Results, new: Results) -> Iterator[str]:
    if old.data.fingerprint != new.data.fingerprint:
        yield "The images, their labels or their split changed."
    if old.environment.kdtool != new.environment.kdtool:
        yield f"kdtool: {old.environment.kdtool} before, now {new.environment.kdtool}."


def _outcome(old: Results, new: Results) -> Iterator[str]:
    for role in old.models.keys() - new.models.keys():
        yield f"The {role_name(role)} is no longer in the study."
    for role, model in new.models.items():
        if role not in old.models:
            yield f"The {role_name(role)} is new."
            continue
        summary = old.models[role].test.get(new.metric)
        after = score_text(new.metric, model.test[new.metric].mean)
        before = score_text(new.metric, summary.mean) if summary else after
        if before != after:
            name = METRIC_NAMES[new.metric]
            yield f"{name} of the {role_name(role)}: {before} before, now {after}."
        ours, theirs = against_control(new, role), against_control(old, role)
        if ours and theirs and ours.verdict != theirs.verdict:
            words = f"{theirs.verdict} before, now {ours.verdict}"
            yield f"Verdict on the {role_name(role)}: {words}."
    ships, shipped = decision_of(new).ship, decision_of(old).ship
    if ships != shipped:
        yield f"File to ship: {shipped or 'none'} before, now {ships or 'none'}."
