"""The shapes of a model's inputs: declared in its file, or given with `--shape`."""

from collections.abc import Mapping, Sequence

from kdtool.errors import KdtoolError, ModelFileError

Dims = Sequence[int | str | None]  # as declared; a name or None is a dynamic dimension
MOST_DIGITS = 9  # of a size that is typed
GivenShapes = Mapping[str, tuple[int, ...]]  # input ("": the only one) -> no batch


def parse_shape(text: str) -> tuple[str, tuple[int, ...]]:
    """Parse a `--shape`: `3,224,224`, or `NAME=3,224,224` for a model with several inputs.

    Returns:
        The input's name, "" for the only one, and its shape without the batch.

    Raises:
        KdtoolError: The sizes are not positive integers separated by commas.
    """
    name, _, sizes = text.rpartition("=")
    parts = [part.strip() for part in sizes.split(",")]
    if not all(
        part.isascii() and part.isdigit() and len(part) <= MOST_DIGITS and int(part) > 0
        for part in parts
    ):
        raise KdtoolError(
            f"--shape is {text[:80]!r}; give the sizes of one image, without the batch, such as "
            "--shape 3,224,224 or --shape NAME=3,224,224"
        )
    return name, tuple(int(part) for part in parts)


def input_shapes(
    declared: Mapping[str, Dims | None], batch_size: int, shapes: GivenShapes | None = None
) -> dict[str, tuple[int, ...]]:
    """Return the shape of every input of a model.

    Args:
        declared: Dimensions of each input by name; the first one is the batch. None: no shape.
            Dimensions of several inputs that have one name have one size.
        batch_size: Images in a batch.
        shapes: Given for inputs with dynamic dimensions.

    Raises:
        ModelFileError: A dimension is unknown, not positive or contradicts the file, a shape is
            given for an unknown input, or the file has another fixed batch size.
    """
    given = _by_input(list(declared), shapes or {})
    declared = {name: _without_minus_one(dims) for name, dims in declared.items()}
    sizes = _named_sizes(declared, batch_size, given)
    declared = {
        name: dims if not dims or name in given else [dims[0], *(sizes.get(d, d) for d in dims[1:])]
        for name, dims in declared.items()
    }
    unknown = {
        name: dims
        for name, dims in declared.items()
        if name not in given and (dims is None or not all(isinstance(d, int) for d in dims[1:]))
    }
    if unknown:
        raise ModelFileError(_what_to_give(unknown, several=len(declared) > 1))
    filled = {
        name: _fill(name, dims, batch_size, given.get(name)) for name, dims in declared.items()
    }
    # Next to a batch of images there may be inputs without a batch, such as anchors.
    if filled and all(shape and shape[0] != batch_size for shape in filled.values()):
        name, shape = next(iter(filled.items()))
        raise ModelFileError(
            f"{describe(name, declared[name])}: the batch size is fixed to {shape[0]}, but "
            f"{batch_size} was requested; use {shape[0]}, or export with a dynamic batch"
        )
    return filled


def describe(name: str, dims: Dims | None) -> str:
    """Return the declared shape of an input as text."""
    if dims is None:
        return f"input {name!r} has no shape"
    return f"input {name!r} has the shape ({', '.join(map(_size, dims))})"


def _by_input(names: list[str], shapes: GivenShapes) -> dict[str, tuple[int, ...]]:
    """Replace the key "" by the name of the only input."""
    has = f"the model has the inputs {', '.join(map(repr, names)) or '(none)'}"
    for given in shapes:
        if given and given not in names:
            raise ModelFileError(f"--shape is for the input {given!r}, but {has}")
        if not given and len(names) != 1:
            raise ModelFileError(f"{has}; --shape needs the name of one: --shape NAME=3,224,224")
    return {given or names[0]: shape for given, shape in shapes.items()}


def _without_minus_one(dims: Dims | None) -> Dims | None:
    """Return -1, as Paddle2ONNX writes it, as a dynamic dimension."""
    return None if dims is None else [None if dim == -1 else dim for dim in dims]


def _named_sizes(
    declared: Mapping[str, Dims | None], batch_size: int, given: Mapping[str, tuple[int, ...]]
) -> dict[int | str | None, int]:
    """Return the sizes of the dimensions whose name says what they are: the batch, or given."""
    sizes: dict[int | str | None, int] = {}
    for name, dims in declared.items():
        for dim, size in zip((dims or ())[1:], given.get(name, ()), strict=False):
            sizes[dim] = size
    sizes |= {dims[0]: batch_size for dims in declared.values() if dims}
    # Some exporters call every open dimension "?" or "None".
    repeated = {dim for dims in declared.values() if dims for dim in dims if dims.count(dim) > 1}
    return {
        dim: size
        for dim, size in sizes.items()
        if isinstance(dim, str) and dim.isidentifier() and dim not in repeated
    }


def _what_to_give(unknown: Mapping[str, Dims | None], *, several: bool) -> str:
    """Return the `--shape` options that are needed; they contain the known sizes."""
    options = []
    for name, dims in unknown.items():
        sizes = "3,224,224" if dims is None else ",".join(map(_size, dims[1:]))
        options.append(f"--shape {name}={sizes}" if several else f"--shape {sizes}")
    declared = "; ".join(describe(name, dims) for name, dims in unknown.items())
    return f"{declared}; give numbers, without the batch: {' '.join(options)}"


def _fill(
    name: str, dims: Dims | None, batch_size: int, given: tuple[int, ...] | None
) -> tuple[int, ...]:
    """Return the shape of one input with all dimensions declared or given."""
    if not dims:  # onnxruntime reports an input without a shape like this, too
        return () if given is None else (batch_size, *given)
    wanted = dims[1:] if given is None else given
    rest = tuple(size for size in wanted if isinstance(size, int))
    fits = len(rest) == len(dims) - 1 and all(
        dim == size for dim, size in zip(dims[1:], rest, strict=True) if isinstance(dim, int)
    )
    if not fits:
        raise ModelFileError(
            f"{describe(name, dims)}, and --shape {','.join(map(str, rest))} does not fit it; "
            "give the shape without the batch"
        )
    shape = (dims[0] if isinstance(dims[0], int) else batch_size, *rest)
    if any(size < 1 for size in shape):
        raise ModelFileError(f"{describe(name, dims)}: every dimension must be at least 1")
    return shape


def _size(dim: int | str | None) -> str:
    return "?" if dim in (None, "") else str(dim)
