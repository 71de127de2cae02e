"""The branch of an If that runs, where its condition is known."""

from collections.abc import Iterator, Mapping

from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper

from kdtool.errors import ModelFileError


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the graphs inside a node."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def captured(node: NodeProto) -> Iterator[str]:
    """Yield the names that the bodies of an If, Loop or Scan use, their own ones included."""
    for body in bodies(node):
        for inner in body.node:
            yield from inner.input
            yield from captured(inner)
        yield from (value.name for value in body.output)


def branch_of(node: NodeProto, *, condition: bool) -> tuple[list[NodeProto], list[TensorProto]]:
    """Return the nodes and stored tensors of a branch, which give the outputs of the If `node`.

    Both branches may use one name for two tensors, so all names get that of the If as a prefix.

    Raises:
        ModelFileError: There is no such branch, or it has another number of outputs.
    """
    wanted = "then_branch" if condition else "else_branch"
    branch = next((one.g for one in node.attribute if one.name == wanted), GraphProto())
    if len(branch.output) != len(node.output):
        raise ModelFileError(
            f"its If {node.name} has {len(node.output)} outputs, and its {wanted} "
            f"{len(branch.output)}; export it again"
        )
    own = {tensor.name for tensor in branch.initializer}
    own |= {name for inner in branch.node for name in inner.output if name}
    names = {name: f"{node.output[0]}/{name}" for name in own}
    inside = GraphProto()
    inside.CopyFrom(branch)
    for inner in inside.node:
        _rename(inner, names)
    for tensor in inside.initializer:
        tensor.name = names[tensor.name]
    results = [names.get(value.name, value.name) for value in branch.output]
    ends = [
        helper.make_node("Identity", [result], [output])
        for result, output in zip(results, node.output, strict=True)
        if output
    ]
    return [*inside.node, *ends], list(inside.initializer)


def _rename(node: NodeProto, names: Mapping[str, str]) -> None:
    node.input[:] = [names.get(name, name) for name in node.input]
    node.output[:] = [names.get(name, name) for name in node.output]
    for body in bodies(node):
        for inner in body.node:
            _rename(inner, names)
        for value in body.output:
            value.name = names.get(value.name, value.name)
