import pytest

import kdtool.format
from kdtool.format import relative


@pytest.mark.parametrize(
    ("function", "value", "expected"),
    [
        ("percent", 0.98675, "98.67 %"),
        ("percent", 1.0, "100.00 %"),
        ("points", 0.0073, "+0.73"),
        ("points", -0.0041, "-0.41"),
        ("points", -0.00001, "0.00"),
        ("percent_range", (0.9852, 0.9883), "98.52 to 98.83"),
        ("points_range", (0.006, 0.009), "0.60 to 0.90"),
        ("points_range", (-0.004, 0.0016), "-0.40 to +0.16"),
        ("count", 1238730, "1,238,730"),
        ("short_count", 1238730, "1.24 M"),
        ("short_count", 999, "999"),
        ("short_count", 999_499, "999 k"),
        ("short_count", 999_990_000_000, "1.00 T"),
        ("short_count", 8_174_280_704, "8.17 G"),
        ("file_size", 4_957_300, "4.96 MB"),
        ("file_size", 812, "812 bytes"),
        ("file_size", 14 * 10**6, "14.0 MB"),
        ("file_size", 10**12, "1.00 TB"),
        ("milliseconds", 0.00052, "0.000520 ms"),
        ("milliseconds", 99.97, "100 ms"),
        ("milliseconds", 0.13, "0.130 ms"),
        ("milliseconds", 0.0021, "0.00210 ms"),
        ("milliseconds", 12.34, "12.3 ms"),
        ("milliseconds", 1234.5, "1,234 ms"),
        ("duration", 30.0, "30.0 s"),
        ("duration", 134.2, "2 min 14 s"),
        ("duration", 7260.0, "2 h 1 min"),
        ("two_digits", 3.1e-6, "3.1e-6"),
        ("two_digits", 0.0, "0"),
        ("two_digits", 0.00996, "0.010"),
        ("two_digits", 0.41, "0.41"),
        ("two_digits", 12.6, "13"),
        ("p_value", 0.00002, "p < 0.001"),
        ("p_value", 0.0123, "p = 0.012"),
    ],
)
def test_quantities_read_well(function, value, expected, typed):
    assert typed(getattr(kdtool.format, function)(value)) == expected


@pytest.mark.parametrize(
    ("value", "reference", "text", "worse"),
    [
        (1_237_152, 10_937_728, "8.8x fewer", False),
        (1_238_730, 1_011_466, "1.22x more", True),
        (1000, 1001, "same", False),
        (10, 12_345, "1,234x fewer", False),
    ],
)
def test_a_ratio_says_which_way(value, reference, text, worse, typed):
    found = relative(value, reference, "fewer", "more")
    assert (typed(found.text), found.worse) == (text, worse)


def test_nothing_is_compared_with_zero():
    assert relative(3, 0, "fewer", "more") is None
