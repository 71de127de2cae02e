import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdtool.edge.count.macs import einsum_macs


class Multiplied:
    """A number that counts how often it is multiplied."""

    times = 0

    def __mul__(self, other):
        Multiplied.times += 1
        return self

    __rmul__ = __mul__

    def __add__(self, other):
        return self

    __radd__ = __add__


def multiplications(equation, shapes):
    """Let numpy multiply and sum without any cleverness, two operands at a time, and count."""
    Multiplied.times = 0
    left, result = equation.split("->")
    terms = left.split(",")
    joint, operand = terms[0], np.full(shapes[0], Multiplied(), dtype=object)
    for position, (term, shape) in enumerate(zip(terms[1:], shapes[1:], strict=True), start=2):
        needed = "".join(terms[position:]) + result
        kept = "..." + "".join(sorted((set(joint) | set(term)) & set(needed) - {"."}))
        other = np.full(shape, Multiplied(), dtype=object)
        operand = np.array(np.einsum(f"{joint},{term}->{kept}", operand, other), dtype=object)
        joint = kept
    return Multiplied.times


@st.composite
def equations(draw):
    """An equation of two or three operands over the indices a to e, and shapes that fit."""
    sizes = {letter: draw(st.integers(0 if letter == "e" else 1, 3)) for letter in "abcde"}
    dots = draw(st.lists(st.integers(1, 3), max_size=2))
    terms, shapes = [], []
    for _ in range(draw(st.integers(2, 3))):
        letters = draw(st.lists(st.sampled_from("abcde"), max_size=3))
        at = draw(st.integers(0, len(letters)))
        leading = draw(st.integers(0, len(dots)))  # an ellipsis may cover fewer dimensions
        ellipsis = dots[len(dots) - leading :]
        ellipsis = [draw(st.sampled_from([1, size])) for size in ellipsis]
        terms.append("".join(letters[:at]) + "..." + "".join(letters[at:]))
        shape = [sizes[letter] for letter in letters]
        shapes.append((*shape[:at], *ellipsis, *shape[at:]))
    used = sorted({letter for term in terms for letter in term.replace("...", "")})
    result = draw(st.permutations(used))[: draw(st.integers(0, len(used)))]
    return f"{','.join(terms)}->...{''.join(result)}", shapes


@given(equations())
def test_einsum_takes_as_many_products_as_numpy_makes(case):
    equation, shapes = case
    assert einsum_macs(equation, shapes) == multiplications(equation, shapes)


@pytest.mark.parametrize(
    ("equation", "shapes", "num_macs"),
    [
        ("ij,jk->ik", [(2, 3), (3, 5)], 30),
        ("ij,jk", [(2, 3), (3, 5)], 30),
        ("b h s d , b h t d -> b h s t", [(2, 3, 5, 7), (2, 3, 4, 7)], 2 * 3 * 5 * 4 * 7),
        ("...ij,...jk->...ik", [(9, 1, 2, 3), (4, 3, 5)], 9 * 4 * 30),
        ("...ij,...jk", [(4, 2, 3), (3, 5)], 4 * 30),
        ("ij->ji", [(2, 3)], 0),
        ("ii->", [(3, 3)], 0),
        ("ij,jk,kl->il", [(2, 3), (3, 5), (5, 7)], 2 * 3 * 5 + 2 * 5 * 7),
        ("i,j,k->", [(2,), (3,), (5,)], 2 * 3 + 5),
    ],
)
def test_einsum_matches_the_closed_form(equation, shapes, num_macs):
    assert einsum_macs(equation, shapes) == num_macs


@pytest.mark.parametrize("shapes", [[(2, 3)], [(2, 3), (3,)]])
def test_operands_that_do_not_fit_the_equation_are_an_error(shapes):
    with pytest.raises(ValueError, match="zip"):
        einsum_macs("ij,jk->ik", shapes)
