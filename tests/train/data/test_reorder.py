import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kdtool.train.data.stratify import reorder


@given(st.integers(1, 40).flatmap(lambda count: st.permutations(range(count))))
def test_rows_are_those_of_an_index(order):
    array = np.random.default_rng(0).integers(0, 256, (len(order), 2, 3), dtype=np.uint8)
    expected = array[order]
    reorder(array, np.array(order))
    np.testing.assert_array_equal(array, expected)
