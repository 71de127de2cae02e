from kdtool.report.parts.measured import machine_labels, measured
from kdtool.report.sections.cost.devices import side_by_side
from kdtool.results.machines import joined


def test_every_row_of_a_device_names_its_machine_and_setting(build, typed):
    results = build(int8=True, devices=(("Pi", 6.0, 1.1),))
    rows = measured(results)
    assert [(row.machine, row.file.path) for row in rows] == [
        ("Intel Xeon, 2.9 GHz, 2 cores", "teacher.onnx"),
        ("Intel Xeon, 2.9 GHz, 2 cores", "control.onnx"),
        ("Intel Xeon, 2.9 GHz, 2 cores", "student.onnx"),
        ("Intel Xeon, 2.9 GHz, 2 cores", "student.int8.onnx"),
        *[("Pi, 4 cores", "student.onnx")] * 2,
        *[("Pi, 4 cores", "student.int8.onnx")] * 2,
    ]
    assert typed(rows[-1].setting) == "ONNX Runtime, CPU, 4 threads, batch 1"


def test_machines_of_one_name_are_told_apart(build):
    results = build(devices=(("Pi", 6.0, None), ("Pi", 6.0, None), ("Pi", 7.0, None)))
    third = results.devices[2]
    environment = third.environment.model_copy(update={"packages": {"onnxruntime": "1.24.0"}})
    devices = [*results.devices[:2], third.model_copy(update={"environment": environment})]
    labels = machine_labels(results.model_copy(update={"devices": devices}))
    assert labels[1:] == ["Pi, 4 cores", "Pi, 4 cores", "Pi, 4 cores (2)"]


def test_a_machine_is_another_with_the_gpu_that_was_used(build):
    results = build(devices=(("Pi", 6.0, None), ("Pi", 6.0, None)))
    trained = results.environment.model_copy(update={"gpu": "NVIDIA H100"})
    first, second = results.devices
    faster = second.environment.model_copy(update={"gpu": "NVIDIA Orin"})
    second = second.model_copy(update={"environment": faster})
    assert joined([first], second) == [first, second]
    changed = results.model_copy(update={"environment": trained, "devices": [first, second]})
    assert machine_labels(changed) == [
        "Intel Xeon, 2.9 GHz, 2 cores",  # its files were timed without
        "Pi, 4 cores",
        "Pi, 4 cores, NVIDIA Orin",
    ]


def test_only_figures_of_one_setting_stand_side_by_side(build):
    rows = measured(build(int8=True, devices=(("Pi", 6.0, 1.1),)))
    shown = side_by_side(rows)
    assert {machine: len(found) for machine, found in shown.items()} == {
        "Intel Xeon, 2.9 GHz, 2 cores": 4,
        "Pi, 4 cores": 2,
    }
    assert {row.latency.threads for found in shown.values() for row in found} == {1}


def test_every_number_of_a_busy_machine_has_a_star(build):
    """With four threads that machine was busy: times, throughput and the ratio; memory is exact."""
    quiet, busy = (
        [row for row in measured(build(int8=True, devices=(("Pi", 6.0, 1.1),))) if not row.here][at]
        for at in (2, 3)
    )
    for row, star in ((quiet, False), (busy, True)):
        assert (row.latency.noise is not None) is star
        p50, p90, images, memory, ratio = row.cells
        for cell in (p50, p90, images, ratio):
            assert cell.value.endswith("*") is star, cell
        assert "*" not in memory.value
        assert ("*" in row.against_fp32) is star


def test_a_ratio_to_a_file_that_was_disturbed_has_a_star_too(build):
    results = build(int8=True)
    files = results.models["student"].files
    noisy = files["fp32"].latency.model_copy(update={"noise": "the clock fell by 30 %"})
    files["fp32"] = files["fp32"].model_copy(update={"latency": noisy})
    row = next(row for row in measured(results) if row.precision == "int8")
    p50, *_, ratio = row.cells
    assert not p50.value.endswith("*")
    assert ratio.value.endswith("*")
