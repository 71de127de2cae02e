"""Kills studies at random moments until they end, and compares them with studies left alone.

    uv run python tests/reliability/kills.py --kills 1000

Each run is a fork of a process that has imported everything. It is ended by SIGKILL, or as often as
`--gentle` says by SIGTERM or SIGINT, which must end it with status 143 or 130. At the end every
file must be that of the calm run but for what was measured, no process may live, and after gentle
signals alone no file may stay in the folder for temporary files.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import onnxscript  # noqa: F401
import torch._dynamo  # noqa: F401
from studies import RECIPE, differences

import kdtool.cli.app  # noqa: F401
from kdtool import __main__ as command_line
from kdtool.train.fit import state

COMMANDS = (
    ["distill"],
    ["subclass-distill"],
    ["distill", "--sweep", "distill.temperature=1,4"],
    ["distill", "--jobs", "2"],
)
SIGNALS = {signal.SIGTERM: 143, signal.SIGINT: 130}


def started(arguments, folder):
    """Start a run in a session of its own; return its process."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.chdir(folder)
    temporary = folder / "temporary"
    temporary.mkdir(exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
    state.SECONDS_BETWEEN_SAVES = 0  # after each epoch
    sys.argv = ["kdtool", *arguments, "recipe.toml", "--out", str(folder), "--quiet", "--anyway"]
    command_line.main()
    sys.exit()  # with what Python does at its end


def finish(child):
    """Wait for a run; return its status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def wait(child, seconds):
    """Wait at most so long; return the status, or None."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return None


def living(session):
    """Processes of a session that are not about to end, after at most a minute.

    One that imports PyTorch finds out only after that, on a busy machine after many seconds.
    """
    for _ in range(600):
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(path.parent.name))
        if not found:
            return []
        time.sleep(0.1)
    return found


def killed_study(arguments, folder, most_seconds, kills, draw, gentle):
    """Run a study, killed again and again, until it ends or there were `kills`.

    Args:
        arguments: Of the command.
        folder: For it.
        most_seconds: Until the end of a run, longer after runs that finish no stage.
        kills: After which there are no more.
        draw: Of moments and signals.
        gentle: Share of SIGTERM and SIGINT.

    Returns:
        How it was ended each time, whether it finished, and what went wrong.
    """
    ends, faults, num_stages, longest = Counter(), [], 0, most_seconds
    while ends.total() < kills and not faults:
        child = started(arguments, folder)
        # more often early, so that there are more of them in a study
        status = wait(child, 0.2 + longest * draw.random() ** 2)
        if status is None:
            number = draw.choice(list(SIGNALS)) if draw.random() < gentle else signal.SIGKILL
            os.kill(child, number)
            status = finish(child)
            ends[signal.Signals(number).name] += 1
            faults = faults_of(child, number, status, folder)
        elif status:
            faults = [f"ended with {status}: {(folder / 'output.txt').read_text()[-300:]}"]
        before, num_stages = num_stages, len(list(folder.glob("killed/stages/*.json")))
        longest = most_seconds if num_stages > before else 1.15 * longest  # so that it ends
        if status == 0:
            return ends, True, faults
    return ends, False, faults


def faults_of(child, number, status, folder):
    """Say what is wrong with a run that was ended by a signal."""
    name, faults = signal.Signals(number).name, []
    output = (folder / "output.txt").read_text()
    is_over = "\nReport: " in output  # Python itself is ending, and no longer asks a handler
    if status not in {0, SIGNALS.get(number, -number), -number if is_over else 0}:
        faults.append(f"{name} ended it with {status}")
    if left := living(child):
        for process in left:
            command = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ")
            faults.append(f"process {process} outlives {name}: {command[:300].decode()}")
            os.kill(process, signal.SIGKILL)
    if "Traceback" in output:
        faults.append(f"traceback after {name}: {folder / 'output.txt'}")
    return faults


def calm_studies(root):
    """Run each command without a signal; return the folders, and the seconds of the slowest."""
    folders, longest = [], 0.0
    for number, arguments in enumerate(COMMANDS):
        folder = new_folder(root / f"calm{number}")
        began = time.monotonic()
        if status := finish(started(arguments, folder)):
            sys.exit(f"a calm run ended with {status}: {folder / 'output.txt'}")
        longest = max(longest, time.monotonic() - began)
        folders.append(folder)
    return folders, longest


def new_folder(folder):
    folder.mkdir()
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--gentle", type=float, default=0.2, help="share of SIGTERM and SIGINT")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="kills-cache-")
    draw, root = random.Random(given.seed), Path(tempfile.mkdtemp(prefix="kills-"))
    calm, seconds = calm_studies(root)
    ends, faults, num_done = Counter(), [], 0
    while ends.total() < given.kills and not faults:
        number, kills = num_done % len(COMMANDS), given.kills - ends.total()
        folder = new_folder(root / f"study{num_done}")
        settings = (COMMANDS[number], folder, seconds / 3, kills, draw, given.gentle)
        more, done, faults = killed_study(*settings)
        ends += more
        if done:
            faults += differences(folder / "killed", calm[number] / "killed")
            left = list((folder / "temporary").iterdir())
            if left and not more["SIGKILL"]:
                faults.append(f"left in the temporary folder: {left}")
            num_done += 1
            print(f"{ends.total()} ends in {num_done} studies", file=sys.stderr)
        if not faults:
            shutil.rmtree(folder)
    listed = ", ".join(f"{count} by {name}" for name, count in ends.items())
    print(f"{ends.total()} runs ended ({listed}) in {num_done} studies: {len(faults)} faults")
    print(*(f"{' '.join(COMMANDS[number])}: {one}" for one in faults), sep="\n")
    shutil.rmtree(os.environ["XDG_CACHE_HOME"])
    if not faults:
        shutil.rmtree(root)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
