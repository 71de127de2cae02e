"""The runtimes that kdtool writes files for, and what each takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from kdtool.errors import KdtoolError
from kdtool.install import install_command
from kdtool.results.base import Precision

# How a model takes images: uint8 `(N, H, W, C)`; float32 `(N, C, H, W)` in [0, 1]; int8
# `(N, H, W, C)`, pixels less 128.
Takes = Literal["pixels", "tensor", "signed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A runtime, and the form of its file."""

    name: str  # of `--for`, of the folder, and of the module of its runner
    title: str
    package: str  # that is installed
    module: str  # by which Python imports it
    extra: str  # of kdtool, that installs it
    files: tuple[str, ...]  # names of the model's files; the first one is what `load` gets
    precisions: tuple[Precision, ...]  # that are tried
    resizes: bool = False  # whether it resizes images as ONNX Runtime does
    takes: Takes = "pixels"
    takes_int8: Takes = "pixels"
    also: tuple[str, ...] = ()  # packages, and modules, that its runner imports besides
    # Package, and module, that writes the files; None: kdtool, or an environment that it makes
    converter: str | None = None

    @property
    def file(self) -> str:
        """Name of what `load` gets."""
        return self.files[0]

    @property
    def reads_onnx(self) -> bool:
        """Whether it runs an ONNX file."""
        return self.file.endswith(".onnx")


TARGETS = (
    Target(
        name="ort",
        title="ONNX Runtime, in its own format",
        package="onnxruntime",
        module="onnxruntime",
        extra="cpu",
        files=("model.ort",),
        precisions=("fp32", "fp16", "int8"),
        resizes=True,
    ),
    Target(
        name="openvino",
        title="OpenVINO",
        package="openvino",
        module="openvino",
        extra="openvino",
        files=("model.onnx",),
        precisions=("fp32", "int8"),
    ),
    Target(
        name="opencv",
        title="OpenCV",
        package="opencv-python-headless",
        module="cv2",
        extra="opencv",
        files=("model.onnx",),
        precisions=("fp32", "int8"),
    ),
    Target(
        name="tract",
        title="tract",
        package="tract",
        module="tract",
        extra="tract",
        files=("model.onnx",),
        precisions=("fp32", "int8"),
    ),
    Target(
        name="ncnn",
        title="ncnn",
        package="ncnn",
        module="ncnn",
        extra="ncnn",
        files=("model.param", "model.bin"),
        precisions=("fp32",),
        takes="tensor",
        converter="pnnx",
    ),
    Target(
        name="executorch",
        title="ExecuTorch",
        package="executorch",
        module="executorch",
        extra="executorch",
        files=("model.pte",),
        precisions=("fp32", "int8"),
        takes="tensor",
        takes_int8="signed",
        also=("torch",),
    ),
    Target(
        name="litert",
        title="LiteRT",
        package="ai-edge-litert",
        module="ai_edge_litert",
        extra="litert",
        files=("model.tflite",),
        precisions=("fp32",),
        takes="tensor",
    ),
)
WEB = "web"  # a page, which a browser runs and no package of Python
TARGET_NAMES = (WEB, *(one.name for one in TARGETS))


@dataclass(frozen=True, kw_only=True, slots=True)
class Folders:
    """Folders that `export` writes in addition to the files."""

    kit: bool = False
    wheel: Path | None = None  # of kdtool, for the kit
    card: bool = False
    targets: Sequence[str] = ()  # of `TARGET_NAMES`, installed
    web_package: Path | None = None  # npm's onnxruntime-web; None: downloaded


def target_of(name: str) -> Target:
    """Return a target by its name, one of `TARGET_NAMES` but `WEB`."""
    return next(one for one in TARGETS if one.name == name)


def check_installed(names: Sequence[str]) -> None:
    """Check that the runtimes and converters of targets are installed, without importing them.

    Raises:
        KdtoolError: Some are not; says how to install all of them.
    """
    given = [target_of(name) for name in names if name != WEB]
    missing = {one: packages for one in given if (packages := _missing(one))}
    if missing:
        what = " and ".join(
            f"--for {one.name} needs {' and '.join(packages)}" for one, packages in missing.items()
        )
        how = " && ".join(install_command(one.extra) for one in missing)
        raise KdtoolError(f"{what}: {how}")


def _missing(target: Target) -> list[str]:
    """Return the packages of a target that are not installed."""
    needed = {target.package: target.module}
    if target.converter is not None:
        needed[target.converter] = target.converter
    return [package for package, module in needed.items() if not _is_there(package, module)]


def is_installed(target: Target) -> bool:
    """Return whether a runtime is installed, without importing it; its converter may be missing."""
    needed = {target.package: target.module} | {name: name for name in target.also}
    return all(_is_there(*one) for one in needed.items())


def _is_there(package: str, module: str) -> bool:
    """Return whether a module is installed; any folder on the path is found as a module too."""
    return find_spec(module) is not None and _package_with(package, module) is not None


def package_of(target: Target) -> str:
    """Return the installed package with a target's runtime, such as onnxruntime-gpu."""
    return _package_with(target.package, target.module) or target.package


def _package_with(package: str, module: str) -> str | None:
    """Return the package, or another that has the module; None: neither is installed."""
    try:
        version(package)
    except PackageNotFoundError:
        return next(iter(packages_distributions().get(module, [])), None)
    return package
