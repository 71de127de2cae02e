"""What is otherwise than when the results of a study were last written."""

from collections.abc import Iterator

from kdtool.format import METRIC_NAMES, role_name, score_text
from kdtool.report.decision import against_control, decision_of
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
    before, after = ({**BEFORE, **_flat(one.recipe)} for one in (old, new))
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    for key in keys[:MOST_KEYS]:
        yield f"{key} is {_value(after, key)}; it was {_value(before, key)}."
    if len(keys) > MOST_KEYS:
        yield f"{len(keys) - MOST_KEYS} more keys of the recipe differ."


def _flat(table: dict[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            flat[prefix + key] = value
    return flat


def _value(flat: dict[str, object], key: str) -> str:
    return str(flat[key]) if key in flat else "not set"


def _surroundings(old: Results, new: Results) -> Iterator[str]:
    if old.data.fingerprint != new.data.fingerprint:
        yield "The images, their labels or their split differ."
    if old.environment.kdtool != new.environment.kdtool:
        yield f"kdtool is {new.environment.kdtool}; it was {old.environment.kdtool}."


def _outcome(old: Results, new: Results) -> Iterator[str]:
    metric = new.metric
    for role, model in new.models.items():
        if role not in old.models:
            yield f"The {role_name(role)} is new."
            continue
        before, after = old.models[role].test.get(metric), model.test[metric]
        if before is not None and before.mean != after.mean:
            yield (
                f"The {METRIC_NAMES[metric]} of the {role_name(role)} is "
                f"{score_text(metric, after.mean)}; it was {score_text(metric, before.mean)}."
            )
        ours, theirs = against_control(new, role), against_control(old, role)
        if ours and theirs and ours.verdict != theirs.verdict:
            words = f"{ours.verdict}; it was {theirs.verdict}"
            yield f"The verdict on the {role_name(role)} is {words}."
    ships, shipped = decision_of(new).ship, decision_of(old).ship
    if ships != shipped:
        yield f"To ship is {ships or 'nothing'}; it was {shipped or 'nothing'}."
