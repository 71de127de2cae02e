"""The command that installs a missing package, for messages; works for every way to get kdtool."""

import re
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec


def install_command(extra: str) -> str:
    """Return the command that installs the packages of one of kdtool's extras.

    It lists the packages themselves, so it works wherever kdtool came from: a clone, a wheel, git
    or an index.

    Args:
        extra: Key of `[project.optional-dependencies]` in pyproject.toml.
    """
    try:
        requirements = requires("kdtool") or []
    except PackageNotFoundError:  # kdtool runs from a folder of sources that was never installed
        requirements = []
    ending = re.compile(rf"""\s*;\s*extra == ['"]{re.escape(extra)}['"]$""")
    packages = [ending.sub("", text) for text in requirements if ending.search(text)]
    names = " ".join(f'"{package}"' for package in packages) or f'".[{extra}]"'
    return f"{pip()} install {names}"


def normalized(name: str) -> str:
    """Return the normalized name of a distribution. Source: PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pip() -> str:
    """Return the installer of this environment: `uv pip` where uv made it, without pip."""
    return "pip" if find_spec("pip") else "uv pip"
