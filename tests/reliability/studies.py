"""A small study of every stage, and what of it must be equal from run to run."""

import json

RECIPE = """\
name = "killed"
seeds = [0, 1]
[data]
source = "digits"
group = [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
[teacher]
model = "mnist-cnn"
epochs = 2
[student]
model = "mnist-mlp"
epochs = 3
[profile]
seconds = 0.05
[explain]
images = 2
"""
# Times differ from run to run, and what follows from them.
MEASURED = {
    "seconds",
    "images_per_second",
    "latency",
    "gate",
    "recommended",
    "p50_ms",
    "ratios",
    "time_ratio",
}


def content(path):
    """What must be equal in a file: its bytes, without times if it is JSON; None: nothing."""
    if path.suffix == ".json" and (held := json_of(path)) is not None:
        if path.parent.name == "stages" and path.name in {"finished.json", "report.json"}:
            return sorted(held["files"])
        held.pop("sha256", None)  # of times too
        return held
    is_report = path.name.startswith("report.") or path.suffix == ".svg"
    return None if is_report or path.name.endswith(".lock") else path.read_bytes()


def json_of(path):
    """The content of a JSON file without times; None: it is damaged, or a folder."""
    try:
        return without_times(json.loads(path.read_text()))
    except (OSError, ValueError):
        return None


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if key not in MEASURED}
    return [without_times(each) for each in value] if isinstance(value, list) else value


def tree(study):
    return {path.relative_to(study): path for path in study.rglob("*") if path.is_file()}


def differences(given, expected):
    """Name the files in which two studies differ."""
    files, calm = tree(given), tree(expected)
    found = [f"{name} is left over" for name in files.keys() - calm.keys()]
    found += [f"{name} is missing" for name in calm.keys() - files.keys()]
    both = files.keys() & calm.keys()
    return found + [f"{one} differs" for one in both if content(files[one]) != content(calm[one])]
