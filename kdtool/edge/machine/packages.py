"""Packages: their versions, which of them do not fit together, ONNX Runtime and GPUs."""

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distributions, requires

from kdtool.edge.providers import conflict, how_to_get
from kdtool.errors import KdtoolError, reason
from kdtool.install import install_command, normalized, pip
from kdtool.results.commands.doctor import Finding
from kdtool.results.profile import Environment

Installed = Mapping[str, str]  # normalized name -> version

# Of these, the requirements are compared with what is installed.
COMPARED = ("kdtool", "torch", "torchvision", "onnx", "onnxruntime", "onnxruntime-gpu")
USED_ALWAYS = ("cpu", "gpu", "train")  # extras; the others are for single options
SHOWN = ("numpy", "onnx", "pillow", "protobuf", "pydantic")  # of a device, but for the runtime
REQUIREMENT = re.compile(
    r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^]]*\])?\s*\(?([^;)]*)\)?\s*(?:;(.*))?"
)
EXTRA = re.compile(r"""\s*extra == ['"]([^'"]+)['"]\s*""")


def installed(search_path: list[str] | None = None) -> dict[str, str]:
    """Return the versions of all packages.

    Args:
        search_path: Folders of packages; None: the ones of this Python.
    """
    found = distributions() if search_path is None else distributions(path=search_path)
    versions: dict[str, str] = {}
    for one in found:
        if name := one.metadata["Name"]:
            versions.setdefault(normalized(name), one.version)  # the first on the path counts
    return versions


def package_findings(environment: Environment, versions: Installed) -> list[Finding]:
    """Return what is to be said of Python's packages.

    Args:
        environment: Of this machine.
        versions: Of `installed`.
    """
    listed = [f"{name} {versions[name]}" for name in SHOWN if name in versions]
    found = f"Python {environment.python}, kdtool {environment.kdtool}, {', '.join(listed)}"
    faults = [
        fault
        for name in COMPARED
        if name == "kdtool" or name in versions
        for fault in misfits(name, _requirements(name), versions)
    ]
    if faults:
        return [Finding(topic="packages", mark="ok", found=found, means="see below"), *faults]
    return [Finding(topic="packages", mark="ok", found=found, means="these fit together")]


def misfits(package: str, requirements: Iterable[str], versions: Installed) -> list[Finding]:
    """Return the packages whose version is not what another package requires.

    Args:
        package: That requires them.
        requirements: As of `importlib.metadata.requires`. Those with a condition are left out, but
            for kdtool's extras, which count where their packages are installed.
        versions: Of `installed`.
    """
    faults = []
    for text in requirements:
        match = REQUIREMENT.fullmatch(text)
        extra = EXTRA.fullmatch(match[3]) if match and match[3] else None
        if match is None or (match[3] and (extra is None or package != "kdtool")):
            continue
        name, limits = normalized(match[1]), match[2].replace(" ", "").strip(",")
        version = versions.get(name)
        if version is None and extra:
            continue
        if version is None or not all(holds(version, limit) for limit in limits.split(",")):
            has = f"{name} {version} is installed" if version else f"{name} is not installed"
            always = extra is None or extra[1] in USED_ALWAYS
            faults.append(
                Finding(
                    topic="packages",
                    mark="fails" if always else "warning",
                    found=f"{has}, and {package} needs {name}{limits}",
                    means="what is built for another version fails when it is imported or used"
                    if always or extra is None
                    else f"what needs kdtool's extra {extra[1]} may fail",
                    fix=f'{pip()} install "{name}{limits}"',
                )
            )
    return faults


def holds(version: str, limit: str) -> bool:
    """Return whether a version is within one limit, such as ">=1.20", "==2.9.1" or "<3".

    Suffixes such as rc1 or +cpu do not count, and other kinds of limits hold.

    Source: PEP 440, of which this is the part that packages of numbers need.
    """
    match = re.fullmatch(r"(>=|==|<=|<|>)(\d+(?:\.\d+)*)", limit)
    if match is None:
        return True
    one, other = _release(version), _release(match[2])
    length = max(len(one), len(other))
    one, other = ((*x, *[0] * (length - len(x))) for x in (one, other))
    return {
        ">=": one >= other, "==": one == other, "<=": one <= other, "<": one < other,
        ">": one > other,
    }[match[1]]  # fmt: skip


def training(versions: Installed) -> Finding:
    """Return whether this installation can train."""
    if "torch" not in versions:
        return Finding(
            topic="training",
            mark="ok",
            found="PyTorch is not installed",
            means="this installation runs and measures models and trains none; to train: "
            + install_command("train"),
        )
    missing = sorted(
        name
        for name in extra_of("train", _requirements("kdtool"))
        if normalized(name) not in versions
    )
    found = f"torch {versions['torch']}, torchvision {versions.get('torchvision', 'missing')}"
    if missing:
        return Finding(
            topic="training",
            mark="fails",
            found=f"{found}, but without {', '.join(missing)}",
            means="training or its report stops at the first of them",
            fix=install_command("train"),
        )
    return Finding(topic="training", mark="ok", found=found, means="studies can be trained")


def extra_of(extra: str, requirements: Iterable[str]) -> list[str]:
    """Return the names of the packages of an extra."""
    matches = [REQUIREMENT.fullmatch(text) for text in requirements]
    return [
        match[1]
        for match in matches
        if match and match[3] and (named := EXTRA.fullmatch(match[3])) and named[1] == extra
    ]


def runtime(gpu: str | None, versions: Installed, search_path: list[str] | None = None) -> Finding:
    """Return what is to be said of ONNX Runtime.

    Args:
        gpu: Name of the NVIDIA GPU, if there is one.
        versions: Of `installed`.
        search_path: As of `installed`.
    """
    topic, breaks = "ONNX Runtime", "no ONNX file can be written, checked, measured or run"
    if fault := conflict(search_path):
        found, _, cure = fault.partition(": ")
        means = "the one that was installed last works, and the other's providers are lost"
        return Finding(topic=topic, mark="fails", found=found, means=means, fix=cure)
    try:
        import onnx  # noqa: F401

        from kdtool.edge.session import choose_provider
    except KdtoolError as error:  # it is not installed
        found, _, cure = str(error).partition(": ")
        return Finding(topic=topic, mark="fails", found=found, means=breaks, fix=cure)
    except (ImportError, OSError) as error:
        found = f"it cannot be loaded: {reason(error)}"
        cure = f"{pip()} install --force-reinstall numpy onnx onnxruntime"
        return Finding(topic=topic, mark="fails", found=found, means=breaks, fix=cure)
    chosen, why = choose_provider("auto")
    package = next((name for name in versions if name.startswith("onnxruntime")), topic)
    found = f"{package} {versions.get(package, '')}; --provider auto runs on {chosen}"
    if gpu and chosen == "cpu":
        return Finding(
            topic=topic,
            mark="warning",
            found=found,
            means="files are measured on the processor, not on the GPU"
            + (f" ({why})" if why else ""),
            fix=None if why else how_to_get("cuda"),
        )
    return Finding(topic=topic, mark="ok", found=found, means="ONNX files can be run")


def judge_gpu(gpu: str | None, torch: str | None) -> Finding:
    """Return what is to be said of the GPU.

    Args:
        gpu: Name of the NVIDIA GPU; None: there is none, or it has no driver.
        torch: Version of PyTorch; None: it is not installed.
    """
    if gpu is None:
        return Finding(
            topic="GPU", mark="ok", found="no NVIDIA GPU", means="the processor trains and measures"
        )
    if torch is not None and torch.endswith("+cpu"):
        return Finding(
            topic="GPU",
            mark="warning",
            found=f"{gpu}, but torch {torch} is built for processors only",
            means="training does not use the GPU, and takes many times as long",
            fix="install PyTorch for CUDA as https://pytorch.org/get-started says",
        )
    used = "trains with --device auto" if torch is not None else "is there for ONNX Runtime"
    return Finding(topic="GPU", mark="ok", found=gpu, means=f"it {used}")


def _requirements(package: str) -> Sequence[str]:
    try:
        return requires(package) or []
    except PackageNotFoundError:
        return []


def _release(version: str) -> tuple[int, ...]:
    match = re.match(r"(?:\d+!)?(\d+(?:\.\d+)*)", version)
    return tuple(int(part) for part in match[1].split(".")) if match else ()
