"""Runs a study where the machine fails it and then again, and compares its end with a calm one.

    uv run python tests/reliability/faults.py

Each fault is met by a command in a shell: it must end with the status and the words that are given,
without a traceback. Then the same command runs again without the fault, and every file must be that
of a calm run but for what was measured. Linux, as root or where user namespaces are allowed.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from studies import RECIPE, differences

RUN = f"{sys.executable} -m kdtool distill recipe.toml --out . --quiet --anyway"
# A file system of its own in the working folder, which has the recipe.
OWN_DISK = "mount -t tmpfs -o size={} tmpfs . && cd . && cp ../recipe.toml ."
AS_NOBODY = "setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nowhere"
CAN_BE_NOBODY = f"{AS_NOBODY} {sys.executable} -c 'import kdtool'"
# A control group of version 1 with a limit of memory, for the command after it.
GROUP = "/sys/fs/cgroup/memory/kdtool-faults"
LIMITED = (
    f"cp ../recipe.toml . && mkdir -p {GROUP} && echo {{}} >{GROUP}/memory.limit_in_bytes && "
    f"(echo $BASHPID >{GROUP}/cgroup.procs; run; exit $?)"
)
CAN_LIMIT = f"mkdir -p {GROUP} && rmdir {GROUP}"
# Killed when its second stage is written.
UNFINISHED = "{ run & while ! ls killed/stages/c*; do sleep 0.2; done; kill -9 $!; wait; }"


@dataclass(frozen=True)
class Fault:
    """What a shell does, in a folder `work` next to `recipe.toml`."""

    meets: str  # the fault
    status: int
    says: str  # a regular expression, found in what is printed
    then: str = "run"  # without the fault
    needs: str = "true"  # a command that fails where the fault cannot be made


FAULTS = {
    "full disk": Fault(
        f"{OWN_DISK.format('400k')} && run", 1, "No space left", "mount -o remount,size=1g . && run"
    ),
    "read-only folder": Fault(
        f"{OWN_DISK.format('1g')} && mount -o remount,ro . && run",
        1,
        "you may not write|Read-only file system",
        "mount -o remount,rw . && run",
    ),
    "no /dev/shm": Fault(
        "cp ../recipe.toml . && mount -t tmpfs -o ro tmpfs /dev/shm && run --jobs 2",
        1,
        "/dev/shm",
        "umount /dev/shm && run",
    ),
    "few descriptors": Fault("cp ../recipe.toml . && (ulimit -n 14; run)", 1, "open files"),
    "few descriptors for processes": Fault(
        "cp ../recipe.toml . && (ulimit -n 22; run --jobs 2)", 1, "open files"
    ),
    "little memory": Fault("cp ../recipe.toml . && (ulimit -v 1200000; run)", 1, "memory"),
    "little memory in a control group": Fault(
        LIMITED.format("500M"), 1, "does not fit into memory", f"rmdir {GROUP}; run", CAN_LIMIT
    ),
    "too little memory for PyTorch in a control group": Fault(  # the kernel kills it
        LIMITED.format("300M"), 137, "", f"rmdir {GROUP}; run", CAN_LIMIT
    ),
    "two writers": Fault(
        "cp ../recipe.toml . && { run & sleep 6; run; status=$?; wait; (exit $status); }",
        1,
        "in use",
    ),
    "no home": Fault("cp ../recipe.toml . && env -u HOME -u XDG_CACHE_HOME run", 0, ""),
    "no temporary folder": Fault("cp ../recipe.toml . && TMPDIR=/nowhere run", 0, ""),
    "another user": Fault(
        f"chmod 777 . && cp ../recipe.toml . && {AS_NOBODY} run",
        0,
        "",
        "true",
        CAN_BE_NOBODY,
    ),
    "unreadable files": Fault(
        f"cp ../recipe.toml . && {UNFINISHED}; "
        f"chmod -R o+rwX . && chmod 0 killed/stages/* && {AS_NOBODY} run",
        1,
        "Permission denied|may not read",
        "chmod 644 killed/stages/* && run",
        CAN_BE_NOBODY,
    ),
    "a clock that goes backwards": Fault(
        f"cp ../recipe.toml . && {UNFINISHED}; faketime -f -400d run",
        0,
        "",
        needs="command -v faketime",
    ),
}


def meet(fault, folder):
    """Return what is wrong after a fault, and the folder of the study at its end."""
    (folder / "work").mkdir(parents=True)
    (folder / "recipe.toml").write_text(RECIPE)
    script = f"""
        cd {folder}/work
        {{ {fault.meets}; }} >../met.txt 2>&1
        echo $? >../status
        {{ {fault.then}; }} >../then.txt 2>&1
        echo $? >../then-status
        cp -r killed ../killed
    """
    script = re.sub(r"\brun\b", RUN, script)
    is_root = os.geteuid() == 0
    apart = ["unshare", "--mount"] + ([] if is_root else ["--user", "--map-root-user"])
    subprocess.run([*apart, "bash", "-c", script], check=False)
    said, status = (folder / "met.txt").read_text(), int((folder / "status").read_text())
    wrong = []
    if status != fault.status:
        wrong.append(f"it ended with {status}, expected {fault.status}: {said[-300:]}")
    if "Traceback" in said:
        wrong.append(f"a traceback: {said[-600:]}")
    if not re.search(fault.says, said):
        wrong.append(f"it does not say {fault.says!r}: {said[-300:]}")
    if (folder / "then-status").read_text().strip() != "0":
        wrong.append(f"without the fault: {(folder / 'then.txt').read_text()[-300:]}")
    return wrong


def main():
    root = Path(tempfile.mkdtemp(prefix="faults-"))
    os.environ |= {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(root / "cache")}
    root.chmod(0o755)
    calm = Fault("cp ../recipe.toml . && run", 0, "")
    if wrong := meet(calm, root / "calm"):
        sys.exit(f"a calm run fails: {wrong}")
    tried = faults = 0
    for name, fault in FAULTS.items():
        if subprocess.run(["bash", "-c", fault.needs], capture_output=True, check=False).returncode:
            print(f"{name}: not tried, as `{fault.needs}` fails here")
            continue
        folder = root / name.replace(" ", "-").replace("/", "")
        wrong = meet(fault, folder) or differences(folder / "killed", root / "calm" / "killed")
        print(f"{name}: {'; '.join(wrong) or 'as in a calm run'}", flush=True)
        tried += 1
        faults += bool(wrong)
    print(f"{tried} of {len(FAULTS)} tried, {faults} not as expected")
    if not faults:
        shutil.rmtree(root)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
