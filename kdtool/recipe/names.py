"""Which networks exist, found without importing PyTorch: its registries are read as text."""

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from kdtool.errors import did_you_mean

BUILT_IN = ("mnist-cnn", "mnist-cnn-small", "mnist-mlp", "resnet8")
WEIGHTS_SUFFIXES = {".safetensors", ".onnx", ".pt", ".pth", ".th", ".ckpt"}
EXPECTED = f"expected {', '.join(BUILT_IN)}, torchvision:NAME, timm:NAME or package.module:function"
# Functions with which a module can bind names that its text does not show.
DYNAMIC = {"__getattr__", "exec", "eval", "globals", "locals", "setattr", "vars"}


def model_problem(name: str) -> str | None:
    """Return why there is no network `name`; None if there is, or if only its import can say.

    Args:
        name: Value of `teacher.model` or `student.model`, not an ONNX file.
    """
    kind, colon, rest = name.partition(":")
    if Path(name).suffix.lower() in WEIGHTS_SUFFIXES:
        return (
            f'got "{name}", a file of weights, expected a network; set the file as its weights: '
            f'weights = "{name}"'
        )
    if not colon:
        return None if name in BUILT_IN else _unknown(name)
    if kind == "torchvision":
        known = torchvision_names()
        return _absent(name, kind, known, rest in known)
    if kind == "timm":
        if find_module("timm") is None:
            return (
                f'got "{name}", but timm is not installed; install it with `uv sync --extra timm` '
                "in a clone of kdtool, else with `pip install timm`"
            )
        known = timm_names()
        return _absent(name, kind, known, rest.partition(".")[0] in known)
    reason = _function_problem(kind, rest)
    return f'got "{name}", {reason}' if reason else None


def _unknown(name: str) -> str:
    hint = did_you_mean(name, BUILT_IN)
    if name in torchvision_names():
        hint = f'; did you mean "torchvision:{name}"?'
    elif not hint and name in timm_names():
        hint = f'; did you mean "timm:{name}"?'
    return f'got "{name}", {EXPECTED}{hint}'


def _absent(name: str, kind: str, known: set[str], found: bool) -> str | None:
    if found or not known:  # not installed, or laid out in another way: the import says more
        return None
    hint = did_you_mean(name, [f"{kind}:{one}" for one in known])
    return f'got "{name}", but {kind} has no such model{hint}'


def torchvision_names() -> set[str]:
    """Return the names of torchvision's classifiers; none if it is not installed."""
    pattern = r"^@register_model\((?:name=)?(?:[\"'](\w+)[\"'])?\)\n(?:[@ )].*\n)*def (\w+)"
    found = (one for text in _sources("torchvision") for one in re.findall(pattern, text, re.M))
    return {given or function for given, function in found}


def timm_names() -> set[str]:
    """Return the names of timm's architectures, without tags; none if it is not installed."""
    names: set[str] = set()
    for text in _sources("timm"):
        names |= set(re.findall(r"^@register_model\s*\n(?:@.*\n)*def (\w+)", text, re.M))
        for block in re.findall(r"^register_model_deprecations\(.*?^\}\)", text, re.M | re.S):
            names |= set(re.findall(r"^\s*[\"'](\w+)[\"']\s*:", block, re.M))
    return names


def _sources(package: str) -> list[str]:
    """Return the text of the modules in the `models` folder of an installed package."""
    spec = find_module(package)
    folders = [Path(place) / "models" for place in (spec and spec.submodule_search_locations) or []]
    files = [path for folder in folders for path in sorted(folder.glob("*.py"))]
    return [path.read_text(encoding="utf-8", errors="replace") for path in files]


def find_module(name: str, path: Sequence[str] | None = None) -> ModuleSpec | None:
    """Return where a module is, without importing it or the package that contains it.

    Args:
        name: In full, such as package.module.
        path: Folders of the package; None: those of Python, then the working folder.
    """
    with working_folder():
        for finder in sys.meta_path:
            if spec := finder.find_spec(name, path):
                return spec
    return None


@contextmanager
def working_folder() -> Iterator[None]:
    """Have modules of the working folder found in the block, after all others.

    A file there that is named like a library does not replace it, now or in the rest of the run.
    """
    before, here = list(sys.path), {"", str(Path.cwd())}
    sys.path[:] = [*(place for place in before if place not in here), str(Path.cwd())]
    try:
        yield
    finally:
        added = [place for place in sys.path[:-1] if place not in before]  # by the module itself
        sys.path[:] = [*before, *added]


def _function_problem(module: str, function: str) -> str | None:
    """Return why there is no function of the user's; None: there is, or only its import can say."""
    parts = module.split(".")
    if not all(part.isidentifier() for part in [*parts, function]):
        return "expected package.module:function, such as nets:small for `small` in nets.py"
    PathFinder.invalidate_caches()
    if fault := _taken(parts[0]):
        return fault
    spec: ModuleSpec | None = None
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        if spec is not None and spec.submodule_search_locations is None:
            return f"but {'.'.join(parts[: depth - 1])} is a module, not a package"
        try:
            path = None if spec is None else list(spec.submodule_search_locations or [])
            found = find_module(name, path)
        except KeyError:  # a namespace in a package, which has no folders before the import
            return None
        if found is None:
            return None if spec and _is_dynamic(spec) else _no_module(name, path)
        spec = found
    assert spec is not None
    file = _source(spec)
    return None if file is None else _no_function(file, function)


def _taken(name: str) -> str | None:
    """Return that a module of the user's has the name of another one; None: it has not."""
    own = Path.cwd() / f"{name}.py"
    if name in sys.stdlib_module_names and not own.is_file():
        return f"but {name} is a module of Python; expected one with a network of yours"
    spec = find_module(name)
    is_other = spec is not None and Path(spec.origin or "").resolve() != own.resolve()
    if own.is_file() and is_other:
        return f"but {own} has the name of another module, {name}, which is found first; rename it"
    return None


def _no_module(name: str, path: list[str] | None) -> str:
    folders = [Path.cwd()] if path is None else [Path(place) for place in path]
    last = name.rpartition(".")[2]
    near = [file.stem for folder in folders for file in folder.glob("*.py")]
    where = f"{folders[0]} or an installed package" if path is None else f"{folders[0]}"
    return f"but there is no module {name} in {where}{did_you_mean(last, near)}"


def _source(spec: ModuleSpec) -> Path | None:
    """Return the Python file of a module; None: it has none, as a namespace or an extension."""
    file = Path(spec.origin or "")
    return file if file.suffix == ".py" and file.is_file() else None


def _is_dynamic(package: ModuleSpec) -> bool:
    """Whether a package may have modules that are not files in its folders."""
    file = _source(package)
    if file is None:
        return package.origin is not None  # a namespace has no origin, only its folders
    text = file.read_text(encoding="utf-8", errors="replace")
    return any(word in text for word in ("__path__", "sys.modules", "__getattr__", "meta_path"))


def _no_function(file: Path, function: str) -> str | None:
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError as error:
        return f"but line {error.lineno} of {file} is not valid Python: {error.msg}"
    except (OSError, ValueError):
        return None
    bound: set[str] = set()  # at any depth: too many rather than too few
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(one.asname or one.name).partition(".")[0] for one in node.names}
        elif isinstance(node, ast.Name) and (node.id in DYNAMIC or isinstance(node.ctx, ast.Store)):
            bound.add(node.id)
    if function in bound or bound & (DYNAMIC | {"*"}):
        return None
    own = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    hint = did_you_mean(function, own) or (f"; it has {', '.join(own)}" if own else "")
    return f"but {file} has no function {function}{hint}"
