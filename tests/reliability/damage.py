"""Damages every file of a finished study, one at a time, and counts what `kdtool verify` finds.

    uv run python tests/reliability/damage.py runs/mnist

Of a copy, each file in turn has one bit flipped, is cut to half, and is deleted. `verify` must name
that file, or end with an error that does. The hashes are compared first, and all else only where
they find nothing.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

from kdtool.edge.verify.folders import made_folders
from kdtool.edge.verify.recount import recount
from kdtool.errors import KdtoolError
from kdtool.study.verify.finished_study import open_study
from kdtool.study.verify.integrity import listed_files
from kdtool.study.verify.verify import verify_records
from kdtool.terminal.progress import Terminal
from kdtool.train.pipeline.verify.verify import verify_numbers

# No results: the lock, what Python compiled, and texts of a card, which its user completes.
IGNORED = (".lock", "*/__pycache__/*", "card/*.md", "card/*.json")


def with_a_flipped_bit(content, draw):
    """Flip a bit that changes the content: 1e5 and 1E5 are the same number in JSON."""
    while True:
        changed = bytearray(content)
        changed[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        if bytes(changed) != content and held(changed) != held(content):
            return bytes(changed)


def held(content):
    try:
        return json.loads(content)
    except ValueError:
        return bytes(content)


def compared(folder):
    """What `verify` finds, part after part."""
    finished, terminal = open_study(folder), Terminal(quiet=True)
    yield listed_files(finished)  # a part of verify_records, and quick
    yield made_folders(folder, finished.results)
    yield from verify_records(finished, [], terminal.warn)
    yield recount(folder, finished.results)
    yield from verify_numbers(finished, terminal)


def is_named(folder, name):
    """Whether `verify` says of a file that it is damaged.

    Of a record that is gone it may name the file instead that no record lists then.
    """
    is_record = name.startswith("stages/")
    try:
        for part in compared(folder):
            listed = [one.file for one in part.mismatches]
            if any(fnmatch(name, one) for one in listed) or (is_record and listed):
                return True
    except KdtoolError as error:
        return Path(name).name in str(error)
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw, root = random.Random(given.seed), Path(tempfile.mkdtemp(prefix="damage-"))
    folder = root / "study"
    shutil.copytree(given.study, folder)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = [path.relative_to(folder).as_posix() for path in files]
    files = [name for name in files if not any(fnmatch(name, one) for one in IGNORED)]
    found, missed, num_damages = Counter(), [], 0
    for name in files:
        path = folder / name
        content = path.read_bytes()
        damages = {
            "one bit": with_a_flipped_bit(content, draw),
            "half": content[: len(content) // 2],
        }
        if not name.startswith("card/"):  # its user may leave files out
            damages["gone"] = None
        num_damages += len(damages)
        for damage, changed in damages.items():
            path.unlink() if changed is None else path.write_bytes(changed)
            if is_named(folder, name):
                found[damage] += 1
            else:
                missed.append(f"{name}, {damage}: not found")
                print(missed[-1], flush=True)
        path.write_bytes(content)
    counted = ", ".join(f"{damage} {count}" for damage, count in found.items())
    print(f"{len(files)} files, {num_damages} damages: {found.total()} found ({counted})")
    shutil.rmtree(root)
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
