"""Damages every file of a finished study, one at a time, and counts what `kdtool verify` finds.

    uv run python tests/reliability/damage.py runs/mnist
    uv run python tests/reliability/damage.py runs/mnist --command export

Of a copy, each file in turn has one bit flipped, is cut to half, and is deleted. `verify` must name
that file, or end with an error that does. The hashes are compared first, and all else only where
they find nothing.

With `--command`, each file has one of these damages, or a folder takes its place, and the command
meets it. It must end as in a calm study, or with one error, or leave what `verify` names.
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

from studies import differences
from typer.testing import CliRunner

from kdtool.cli.app import app
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


def run(command, folder):
    """Run a command on a study; return the exception that ended it, or None."""
    return CliRunner().invoke(app, [command, str(folder), "--quiet"]).exception


def damage(path, kind, draw):
    """Damage a file: one bit, half of it gone, all of it gone, or a folder in its place."""
    content = path.read_bytes()
    path.unlink()
    if kind == "one bit":
        path.write_bytes(with_a_flipped_bit(content, draw))
    elif kind == "half":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "a folder":
        path.mkdir()


def end_of(command, damaged, calm, name):
    """Have a command meet a damaged file; return how it ended, and what is wrong with that."""
    error = run(command, damaged)
    if error:
        return ("one error", "") if isinstance(error, KdtoolError) else ("", repr(error))
    if not (differ := differences(damaged, calm)):
        return "as in a calm study", ""
    return ("left to verify", "") if is_named(damaged, name) else ("", "; ".join(differ))


def meet(command, folder, files, draw):
    """Have a command meet one damage of each file; return the number of faults."""
    calm, damaged = folder.with_name("calm"), folder.with_name("damaged")
    shutil.copytree(folder, calm)
    if error := run(command, calm):
        sys.exit(f"kdtool {command} fails on the whole study: {error!r}")
    ends, faults = Counter(), 0
    for name in files:
        shutil.copytree(folder, damaged)
        kind = draw.choice(["one bit", "half", "gone", "a folder"])
        damage(damaged / name, kind, draw)
        end, wrong = end_of(command, damaged, calm, name)
        if wrong:
            faults += 1
            print(f"{name}, {kind}: {wrong}", flush=True)
        else:
            ends[end] += 1
        shutil.rmtree(damaged)
    counted = ", ".join(f"{end} {count}" for end, count in ends.items())
    print(f"{command}: {len(files)} damages, {faults} faults; {counted}")
    return faults


def seek(folder, files, draw):
    """Damage each file in three ways; return how many of them `verify` did not find."""
    found, missed = Counter(), 0
    for name in files:
        path = folder / name
        content = path.read_bytes()
        kinds = ["one bit", "half"]
        if not name.startswith("card/"):  # its user may leave files out
            kinds.append("gone")
        for kind in kinds:
            damage(path, kind, draw)
            if is_named(folder, name):
                found[kind] += 1
            else:
                missed += 1
                print(f"{name}, {kind}: not found", flush=True)
            path.write_bytes(content)
    counted = ", ".join(f"{kind} {count}" for kind, count in found.items())
    total = found.total() + missed
    print(f"{len(files)} files, {total} damages: {found.total()} found ({counted})")
    return missed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--command", choices=["verify", "export", "explain"], default="verify")
    given = parser.parse_args()
    draw, root = random.Random(given.seed), Path(tempfile.mkdtemp(prefix="damage-"))
    folder = root / "study"
    shutil.copytree(given.study, folder)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = [path.relative_to(folder).as_posix() for path in files]
    files = [name for name in files if not any(fnmatch(name, one) for one in IGNORED)]
    if given.command == "verify":
        faults = seek(folder, files, draw)
    else:
        faults = meet(given.command, folder, files, draw)
    shutil.rmtree(root)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
