"""Changes files of every format that kdtool reads, and has kdtool read them, in processes apart.

    uv run python tests/reliability/mutants.py --count 100000

Each mutant is either used or refused with one message; what else happens is a fault: another
exception, a process that dies, one that takes longer than its time or more than its memory, and one
that touches anything outside of its folder. Mutant N of a format is the same in each run:
`--only png --first N --count 1 --keep FOLDER` makes it again.
"""

import argparse
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / name) for name in ("support", "train"))]
SECONDS, MEMORY = 20, 3 * 2**30  # of one mutant; of a process over what it needs to begin
AT_ONCE = 1000  # mutants of a process
TO_BEGIN, TOO_LONG = 300, signal.SIGALRM  # it imports PyTorch; what ends it
FINE = ("used", "refused")


def work(mutants, keep):
    """Read mutants, in this process; write a line before and after each.

    Args:
        mutants: Format and number of each.
        keep: A folder that gets their files, and then exceptions are raised; None: nothing does.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what else is printed
    from formats import FORMATS

    folder = Path(tempfile.mkdtemp(dir=os.environ["TMPDIR"]))
    names = dict.fromkeys(name for name, _ in mutants)
    for place, name in enumerate(names):
        names[name] = folder / f"valid{place}"
        names[name].mkdir()
        FORMATS[name].write(names[name])
        shutil.copytree(names[name], folder / f"read{place}")
        FORMATS[name].read(folder / f"read{place}")  # raises if it is refused; all is imported then
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    watch(folder)
    for name, number in mutants:
        place = folder / "mutant"
        shutil.copytree(names[name], place)
        change(FORMATS[name], place, [zlib.crc32(name.encode()), number])
        if keep:
            shutil.copytree(place, keep, dirs_exist_ok=True)
        print(json.dumps(None), file=answers)
        print(json.dumps(outcome(FORMATS[name], place, raises=bool(keep))), file=answers)
        shutil.rmtree(place)
    shutil.rmtree(folder)


def change(kind, place, seed):
    """Change one of the files of a format, in place."""
    import numpy as np

    rng = np.random.default_rng(seed)
    path = place / kind.names[int(rng.integers(len(kind.names)))]
    path.write_bytes(kind.change(path.read_bytes(), rng))


def outcome(kind, place, *, raises):
    """Read the files of a folder; return what happened, and the message."""
    from kdtool.errors import KdtoolError

    touched.clear()
    what, text = "used", ""
    try:
        kind.read(place)
    except KdtoolError as error:
        what, text = "refused", str(error)
    except MemoryError as error:
        what, text = "memory", repr(error)
    except Exception as error:
        if raises:
            raise
        what, text = "traceback", f"{type(error).__name__}: {error}"
    return ("touched", "; ".join(sorted(touched))) if touched else (what, text)


touched = set()
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect")
MOVES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.link", "os.symlink")


def watch(folder):
    """Remember what is written, deleted or started outside of `folder`."""
    allowed = (str(folder), os.environ["TMPDIR"], "/dev/null")

    def hook(event, given):
        if event == "open":
            path, mode, flags = given
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if mode is None else None
            if not (writes or (mode and set(mode) & set("wax+"))):
                return
        elif event.startswith(MOVES):
            path = given[0]
        elif event.startswith(STARTS):
            touched.add(event)
            return
        else:
            return
        if isinstance(path, (str, bytes, os.PathLike)):
            full = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 (links stay)
            if not full.startswith(allowed):
                touched.add(f"{event} {full}")

    sys.addaudithook(hook)


def run(mutants, keep=None):
    """Read mutants in a process, and in another one after each that ends it.

    Returns:
        What happened, and the message, of each.
    """
    found = []
    while len(found) < len(mutants):
        reads = False
        rest = mutants[len(found) :]
        with tempfile.TemporaryDirectory() as home, started(rest, home, keep) as process:
            for line in lines_of(process):
                said = json.loads(line)
                reads = said is None
                if not reads:
                    found.append(tuple(said))
        if len(found) < len(mutants):
            if not reads:
                name, number = mutants[len(found)]
                sys.exit(f"the process ended with {process.returncode} before {name} {number}")
            found.append((how_it_ended(process.returncode), ""))
    return found


def started(mutants, home, keep):
    """Start a process that reads mutants."""
    command = [sys.executable, __file__, "--worker", json.dumps(mutants)]
    command += ["--keep", keep] if keep else []
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), home)
    quiet = {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=None if keep else subprocess.DEVNULL,
        cwd=home,
        env=os.environ | places | quiet,
        text=True,
    )


def how_it_ended(code):
    """Say how a process ended that did not finish."""
    if code == -TOO_LONG:
        return "too long"
    return f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"


def lines_of(process):
    """Yield the lines of a process, and end it when the next one takes too long."""
    for seconds in itertools.chain([TO_BEGIN], itertools.repeat(SECONDS)):
        timer = threading.Timer(seconds, process.send_signal, [TOO_LONG])
        timer.start()
        line = process.stdout.readline()
        timer.cancel()
        if not line:
            return
        yield line


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="mutants, of all formats together")
    parser.add_argument("--first", type=int, default=0, help="number of the first of each format")
    parser.add_argument("--only", help="one format")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--keep", help="a folder that gets the mutant; its exception is shown")
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.worker, given.keep)
        return
    from formats import FORMATS

    names = [given.only] if given.only else list(FORMATS)
    each = -(-given.count // len(names))
    mutants = [(name, given.first + number) for number in range(each) for name in names]
    parts = [mutants[at : at + AT_ONCE] for at in range(0, len(mutants), AT_ONCE)]
    began, counts, faults = time.monotonic(), {name: Counter() for name in names}, []
    with ThreadPoolExecutor(given.jobs) as pool:
        found = itertools.chain.from_iterable(pool.map(lambda part: run(part, given.keep), parts))
        for count, ((name, number), (what, text)) in enumerate(zip(mutants, found, strict=True), 1):
            counts[name][what] += 1
            if what not in FINE:
                faults.append(f"{name} {number}: {what} {text[:300]}")
                print(faults[-1], file=sys.stderr)
            if count % 5000 == 0:
                print(f"{count:,} of {len(mutants):,}: {len(faults)} faults", file=sys.stderr)
    print(f"{'format':<22}{'mutants':>9}{'used':>9}{'refused':>9}{'faults':>9}")
    for name, of_name in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        total, fine = of_name.total(), [of_name[what] for what in FINE]
        print(f"{name:<22}{total:>9,}{fine[0]:>9,}{fine[1]:>9,}{total - sum(fine):>9,}")
    print(f"{time.monotonic() - began:,.0f} s")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
