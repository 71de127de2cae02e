"""The ladder stops at the first file that keeps its accuracy; each network here needs another."""

import numpy as np
import pytest
from int8_networks import IMAGES, PLAIN, centred, loud_channel, network, plain, run

from kdtool.train.export.accuracy import accuracy_difference
from kdtool.train.export.ladder import climb, record
from kdtool.train.export.rungs import Tried, best, network_of, steps

MAX_DROP = 0.15
FASTER, SLOWER = (0.5, (0.45, 0.55)), (1.2, (1.1, 1.3))


def climbed(model, tmp_path, max_drop=MAX_DROP, timer=lambda _: FASTER):
    """Climb the ladder; the label of an image is the class that fp32 calls."""
    (logits,) = run(model, tmp_path)
    centred(model, logits)
    labels = run(model, tmp_path)[0].argmax(axis=1)

    def judge(candidate):
        calls = run(candidate.model, tmp_path)[0].argmax(axis=1)
        return Tried(candidate, accuracy_difference(calls, labels, labels), 1)

    return climb(network_of(model, IMAGES, "portable"), steps(16), judge, timer, max_drop)


def names(tried):
    return [one.candidate.name for one in tried]


def rare_outlier():
    """A channel that is silent but for one pixel of all images, which it answers with 900."""

    def silent(array):
        array[0] = 0
        array[0, :, 1, 1] = -9000, 9000, 9000

    def until(array):
        array[0] = -1.9 * 9000

    def hardly_read(array):
        array[:, 0] = 0.001

    layers = [("conv1", 8, False), ("conv2", 8, False), *PLAIN[2:], ("conv5", 12, False)]
    return network(layers, conv1_w=silent, conv1_b=until, conv2_w=hardly_read)


def rounded_one_way():
    """Weights that all lie just below the middle between two steps: each rounds down."""

    def down(array):
        steps = array / (np.abs(array).max(axis=(1, 2, 3), keepdims=True) / 64)
        array *= np.where(np.abs(steps) > 30, steps, np.floor(steps) + 0.49) / steps

    return network([*PLAIN, ("conv5", 12, False)], conv3_w=down, conv5_w=down)


FIRST = ["min-max", "percentile 99.99", "bias correction"]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (plain, FIRST[:1]),
        (rare_outlier, FIRST[:2]),
        (rounded_one_way, FIRST),
        (loud_channel, [*FIRST, "1 layer in fp32", "2 layers in fp32"]),
    ],
)
def test_it_stops_at_the_first_file_that_keeps_its_accuracy(tmp_path, make, expected):
    tried = climbed(make(), tmp_path)
    assert names(tried) == expected
    *failed, passed = (one.validation.difference for one in tried)
    assert passed >= -MAX_DROP
    assert all(difference < -MAX_DROP for difference in failed)


def test_layers_in_fp32_are_those_around_the_loud_channel(tmp_path):
    (*_, last) = climbed(loud_channel(), tmp_path)
    assert set(last.candidate.kept_fp32) == {"conv2", "conv3"}
    kept = {node.name: node for node in last.candidate.model.graph.node}
    assert (kept["conv2"].input[1], kept["conv3"].input[1]) == ("conv2_w", "conv3_w")
    assert kept["conv2_relu"].input[0] == kept["conv2"].output[0]  # nothing is rounded in between


def test_each_rung_adds_to_the_best_before_it(tmp_path):
    tried = climbed(rare_outlier(), tmp_path, max_drop=1e-9)
    by_name = {one.candidate.name: one for one in tried}
    corrected = by_name["bias correction"].candidate
    assert best(tried[:2]).candidate.name == corrected.calibration == "percentile 99.99"
    assert corrected.bias_corrected
    best_of_three = best(tried[:3]).candidate
    for one in tried[3:]:
        assert one.candidate.calibration == best_of_three.calibration
        assert one.candidate.bias_corrected == best_of_three.bias_corrected
    assert [len(one.candidate.kept_fp32) for one in tried[3:]] == [1, 2]  # of six layers


def test_no_file_that_passes_is_found_where_none_is_good_enough(tmp_path):
    tried = climbed(loud_channel(), tmp_path, max_drop=1e-9)
    ladder = record(tried, {(): FASTER}, 1e-9)
    assert not any(rung.passed for rung in ladder.rungs)
    assert [rung.time_ratio for rung in ladder.rungs] == [0.5, 0.5, 0.5, None, None]
    assert [rung.difference for rung in ladder.rungs] == [
        one.validation.difference for one in tried
    ]
    worst = ladder.worst_layers
    assert {one.name for one in worst[:2]} == {"conv2", "conv3"}
    assert len(worst) == 5


@pytest.mark.parametrize(
    ("ratios", "most"),
    [
        ({0: FASTER, 1: FASTER}, 2),
        ({0: FASTER, 1: SLOWER}, 1),  # no longer faster
        ({0: SLOWER, 1: SLOWER}, 2),  # never faster here: made for another machine
    ],
)
def test_layers_go_to_fp32_while_the_file_is_faster(tmp_path, ratios, most):
    timer = lambda candidate: ratios.get(len(candidate.kept_fp32), FASTER)  # noqa: E731
    tried = climbed(loud_channel(), tmp_path, max_drop=1e-9, timer=timer)
    assert max(len(one.candidate.kept_fp32) for one in tried) == most


def test_the_same_files_twice(tmp_path):
    first, second = (climbed(loud_channel(), tmp_path) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.candidate.model.SerializeToString() == other.candidate.model.SerializeToString()


def test_a_single_attempt_has_no_table_of_layers(tmp_path):
    ladder = record(climbed(plain(), tmp_path), {}, MAX_DROP)
    assert [rung.passed for rung in ladder.rungs] == [True]
    assert ladder.worst_layers == []
