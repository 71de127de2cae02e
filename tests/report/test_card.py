import json

import pytest

pytest.importorskip("jinja2")

from kdtool.report.bom import bill_of_materials
from kdtool.report.card import FILE_NAMES, front_matter
from kdtool.report.write import render_card


@pytest.fixture
def results(build):
    return build(int8=True)


def named(results, *names):
    data = results.data.model_copy(
        update={"classes": [*names, *results.data.classes[len(names) :]]}
    )
    return results.model_copy(update={"data": data})


def test_hugging_face_reads_the_figures_of_the_card(results):
    hub = pytest.importorskip("huggingface_hub")
    read = hub.ModelCard(render_card(results, "student"))
    assert read.data.pipeline_tag == "image-classification"
    assert read.data.library_name == "onnx"
    (accuracy,) = read.data.eval_results
    model = results.models["student"]
    assert accuracy.metric_value == pytest.approx(model.files[model.recommended].accuracy, abs=1e-6)
    assert accuracy.dataset_name == results.data.description
    assert accuracy.task_type == "image-classification"


def test_front_matter_states_no_licence(results):  # the weights are their owner's
    assert "license" not in dict(front_matter(results, "student"))


def test_card_lists_every_file_with_its_interval_and_the_verdict(results):
    text = render_card(results, "student")
    for precision in results.models["student"].files:
        assert FILE_NAMES[precision].replace("_", r"\_") in text
    assert "recommended" in text
    assert "95 % interval" in text
    assert "Distillation helped" in text
    assert "It answers with one of its classes for every picture" in text


def test_names_of_classes_are_no_markup_in_the_card(results):
    text = render_card(named(results, "a|b", "<script>", "**c**", "\x1b[31mred"), "student")
    table = text[text.index("By class") :]
    for hostile in ("<script>", "\x1b", "| a|b |", "| **c** |"):
        assert hostile not in table


def test_front_matter_is_read_back_whatever_the_names(results):
    yaml = pytest.importorskip("yaml")
    name = 'it\'s: "a" # [b] {c} \u2028 ü 😀 ---'
    hostile = results.model_copy(update={"name": name})
    text = render_card(hostile, "student")
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["model-index"][0]["name"] == name


def test_bill_of_materials_is_valid_cyclonedx(results):
    cyclonedx = pytest.importorskip("cyclonedx")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    assert cyclonedx
    for role in ("student", "control", "teacher"):
        bom = bill_of_materials(results, role)
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bom)) is None
        references = {one["bom-ref"] for one in bom["components"]}
        assert references >= set(bom["dependencies"][0]["dependsOn"])
        assert len(references) == len(bom["components"])


def test_bill_of_materials_changes_its_number_with_a_file_only(results):
    bom = bill_of_materials(results, "student")
    assert bill_of_materials(results, "student") == bom
    other = bill_of_materials(results, "control")
    assert other["serialNumber"] != bom["serialNumber"]
    hashes = {one["name"]: one["hashes"][0]["content"] for one in bom["components"][:2]}
    for precision, file in results.models["student"].files.items():
        assert hashes[FILE_NAMES[precision]] == file.sha256
