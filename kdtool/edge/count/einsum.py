"""How many multiply-accumulates an Einsum needs."""

from collections.abc import Sequence
from math import prod


def einsum_macs(equation: str, operands: Sequence[tuple[int, ...]]) -> int:
    """Count an Einsum of any number of operands.

    Two operands take one multiply-accumulate for every combination of their indices; one operand
    has nothing to be multiplied with. More are contracted from left to right, as onnxruntime does
    it: what neither the result nor a later operand has is summed as soon as possible.

    Args:
        equation: As ONNX writes it: letters, `...` for leading dimensions, with `->` or without.
        operands: Shape of each; sizes of 1 are broadcast.

    Source: https://onnx.ai/onnx/operators/onnx__Einsum.html
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = [_sizes(term, shape) for term, shape in zip(left.split(","), operands, strict=True)]
    dots = {name for term in terms for name in term if len(name) > 1}
    if arrow:
        result = set(right) | (dots if "..." in right else set())
    else:  # the letters that stand once
        result = {letter for letter in left if left.count(letter) == 1} | dots
    total = 0
    joint = terms[0]
    for position, other in enumerate(terms[1:], start=2):
        sizes = {name: joint.get(name, 1) for name in joint | other}
        sizes = {name: other.get(name, 1) if size == 1 else size for name, size in sizes.items()}
        total += prod(sizes.values())
        needed = result.union(*terms[position:])
        joint = {name: size for name, size in sizes.items() if name in needed}
    return total


def _sizes(term: str, shape: tuple[int, ...]) -> dict[str, int]:
    """Name every dimension of an operand; those of an ellipsis are counted from its end."""
    before, dots, after = term.partition("...")
    num_dots = len(shape) - len(before) - len(after) if dots else 0
    names = [*before, *(f"...{-number}" for number in range(-num_dots, 0)), *after]
    return dict(zip(names, shape, strict=True))
