"""What a node of a cluster compares before it trains a model of the study."""

from dataclasses import replace

import pytest

from kdtool.errors import KdtoolError
from kdtool.train.pipeline.parallel.cluster import task_of
from kdtool.train.pipeline.parallel.node import check_equal
from kdtool.train.pipeline.parallel.pieces import Piece


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"torch": "1.13.0"}, "^PyTorch is .* here, and 1.13.0 where the command runs"),
        ({"fingerprint": "0" * 64}, "^the images here are not those of the study: .* 0000"),
        ({"arithmetic": ("cuda", "bf16")}, "^control would be trained on cpu in fp32 here, and on"),
        ({"key": "0" * 64}, "^control would be another model here: its network, its weights"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_node_where_anything_differs_trains_nothing(open_study, other, message):
    run = open_study(seeds=[3], **{"student.precision": "fp32"})
    piece = Piece("", "control", run.recipe, None)
    expected = task_of(run, piece, [], threads=1).expected
    check_equal(run, piece, expected)
    with pytest.raises(KdtoolError, match=message):
        check_equal(run, piece, replace(expected, **other))
