import json
import re

from page_reader import Page

from kdtool.results.base import to_json


def numbers(text):
    return set(re.findall(r"\d+(?:[.,]\d+)*", text))


def known_numbers(results):
    """Every number of the results in the forms in which the report may round it."""
    found = set()

    def walk(value):
        if isinstance(value, dict):
            for key, item in value.items():
                found.update(numbers(key))
                walk(item)
        elif isinstance(value, list):
            found.add(str(len(value)))
            for item in value:
                walk(item)
        elif isinstance(value, str):
            found.update(numbers(value))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.update(forms(value))

    walk(json.loads(to_json(results)))
    return found


def forms(value):
    scaled = [value, 100 * value, value / 1e3, value / 1e6]
    plain = {f"{abs(v):,.{digits}f}" for v in scaled for digits in range(5)}
    return plain | {str(value), f"{value:.1e}".replace("e-0", "e-").split("e")[0]}


def test_every_number_of_the_comparison_stands_in_the_results(full):
    results, html = full.results, full.html
    start = html.index('<table class="compare"')
    table = Page(html[start : html.index("</table>", start) + len("</table>")])
    derived = set()  # differences and ratios to the teacher
    models = results.models
    for role in ("control", "student"):
        for score in ("accuracy", "weighted_f1"):
            change = models[role].test[score].mean - models["teacher"].test[score].mean
            derived |= forms(change)
        for value in ("num_params", "num_macs", "num_flops", "thop_macs"):
            derived |= ratio_forms(getattr(models[role], value), getattr(models["teacher"], value))
        file, teacher_file = models[role].files["fp32"], models["teacher"].files["fp32"]
        derived |= ratio_forms(file.size_bytes, teacher_file.size_bytes)
        for value in ("p50_ms", "p90_ms", "p95_ms"):
            other = getattr(teacher_file.latency, value)
            derived |= ratio_forms(getattr(file.latency, value), other)
    for model in models.values():
        latency = model.files["fp32"].latency
        derived |= forms(latency.peak_memory_bytes - latency.runtime_memory_bytes)
    said = {"1", "2", "19", "20", "50", "90", "95"}  # "2 per MAC", "19 of 20 runs", "p50", "95 %"
    unknown = numbers(table.words) - known_numbers(results) - derived - said
    assert unknown == set()


def ratio_forms(value, reference):
    ratio = max(value / reference, reference / value)
    return {f"{ratio:.1f}", f"{ratio:.2f}"}
