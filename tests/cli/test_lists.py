import pytest

from kdtool.cli.checks import split_list


@pytest.mark.parametrize(
    "given", ["fp32,int8", "fp32, int8", " fp32 ,int8 ", "fp32 ,\tint8"], ids=repr
)
def test_spaces_around_the_values_of_a_list_do_not_count(given):
    """As in `--precisions "fp32, int8"`."""
    assert split_list(given) == ["fp32", "int8"]
