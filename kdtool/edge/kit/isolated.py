"""Run a script that can import only the standard library and a few named packages.

`python -I -S isolated.py SCRIPT MODULES FOLDERS ARGUMENT...`: MODULES and FOLDERS are JSON lists of
the packages and of the folders that contain them. -S leaves out all installed packages, so that no
other package is found.
"""

import importlib.util
import json
import runpy
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

ABSENT = ("kdtool", "onnx", "torch")


class NamedPackages(MetaPathFinder):
    """Finds only packages with given names, in given folders."""

    def __init__(self, modules: list[str], folders: list[str]) -> None:
        self.modules = modules
        self.folders = folders

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return where a package is; Python itself finds the modules inside it."""
        if name not in self.modules:
            return None
        return PathFinder.find_spec(name, self.folders)


def main(script: str, modules: str, folders: str, *arguments: str) -> None:
    """Run `script` as its own program."""
    named: list[str] = json.loads(modules)
    sys.meta_path.append(NamedPackages(named, json.loads(folders)))
    present = [name for name in ABSENT if name not in named and importlib.util.find_spec(name)]
    if present:
        sys.exit(f"the environment is not isolated: it has {', '.join(present)}")
    sys.path.insert(0, str(Path(script).parent))
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
