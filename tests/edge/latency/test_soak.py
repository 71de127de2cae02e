import sys

import numpy as np
import pytest

from kdtool.edge.latency.job import Job
from kdtool.edge.latency.soak import LEAST_POINTS, soak, throttle_count, trend
from kdtool.edge.latency.statistics import t_quantile
from kdtool.edge.session import PROBE_MODEL
from kdtool.terminal.findings import soak_lines

SECONDS = np.arange(1.0, 101.0)


def series(seed, slope, alike=0.0):
    """A straight line with noise of which each value resembles the one before."""
    generator = np.random.default_rng(seed)
    noise = np.zeros(len(SECONDS))
    for place in range(1, len(noise)):
        noise[place] = alike * noise[place - 1] + generator.normal()
    return slope * SECONDS + noise


def test_a_straight_line_has_its_slope_without_doubt():
    found = trend(SECONDS, 5 + 3 * SECONDS, unit=60)
    assert found.value == pytest.approx(180)
    assert found.ci95 == pytest.approx((180, 180))


def test_the_first_tenth_is_left_out():
    values = np.where(SECONDS < 10, 1e6, 2 * SECONDS)
    assert trend(SECONDS, values, unit=1).value == pytest.approx(2)


@pytest.mark.parametrize("alike", [0.0, 0.7])
def test_the_interval_covers_the_slope_as_often_as_it_says(alike):
    found = [trend(SECONDS, series(seed, 0.1, alike), unit=1) for seed in range(300)]
    covered = sum(one.ci95[0] <= 0.1 <= one.ci95[1] for one in found)
    # 0.95 * 300 = 285; where neighbours resemble each other the estimate of how much is a little
    # low: 282. An interval that takes them as independent covers 167 of these.
    assert covered >= 264


def test_independent_points_have_the_interval_of_a_regression():
    values = series(1, 0.1)
    found = trend(SECONDS, values, unit=1)
    stats = pytest.importorskip("scipy.stats")
    kept = SECONDS >= 10
    fitted = stats.linregress(SECONDS[kept], values[kept])
    assert found.value == pytest.approx(fitted.slope)
    half = 1.987 * fitted.stderr
    assert (found.ci95[1] - found.ci95[0]) / 2 == pytest.approx(half, rel=0.15)


def test_few_points_have_no_trend():
    short = SECONDS[: LEAST_POINTS - 1]
    assert trend(short, short, unit=1) is None
    assert trend(short[:0], short[:0], unit=1) is None


@pytest.mark.parametrize(("df", "value"), [(3, 3.182), (9, 2.262), (30, 2.042), (1000, 1.962)])
def test_quantiles_of_students_t(df, value):
    assert t_quantile(df) == pytest.approx(value, rel=0.01)


def test_throttling_is_the_sum_of_the_cores_and_unknown_without_them(tmp_path):
    assert throttle_count(tmp_path) is None
    for core, number in ((0, "3\n"), (1, "4\n"), (2, "")):
        folder = tmp_path / f"devices/system/cpu/cpu{core}/thermal_throttle"
        folder.mkdir(parents=True)
        (folder / "core_throttle_count").write_text(number)
    assert throttle_count(tmp_path) == 7


def test_a_run_records_each_stretch_and_what_the_system_reports(tmp_path):
    path = tmp_path / "probe.onnx"
    path.write_bytes(PROBE_MODEL)
    zone = tmp_path / "class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "temp").write_text("51500\n")
    found = soak("probe", Job(path=str(path)), 1.5 / 60, tmp_path)
    assert [point.seconds for point in found.points] == sorted(p.seconds for p in found.points)
    assert len(found.points) == 2
    assert found.num_runs > 100
    assert all(0 < point.p50_ms <= point.max_ms for point in found.points)
    assert {point.temperature_c for point in found.points} == {51.5}
    if sys.platform == "linux":
        assert all(point.memory_bytes > 2**20 for point in found.points)
    assert found.memory_bytes_per_hour is None  # two points are too few
    text = "\n".join(soak_lines("probe.onnx", found))
    assert "too short to say" in text
    assert "temperature: 52 degrees" in text
