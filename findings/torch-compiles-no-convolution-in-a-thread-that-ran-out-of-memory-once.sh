#!/usr/bin/env bash
# After memory ran out once while PyTorch made a convolution on a CPU, that thread can never make another one, although
# memory is free again.
#
# torch 2.15.0 on x86-64, Linux. oneDNN compiles a kernel for each new shape. Where the memory for one cannot be had, PyTorch
# raises "could not create a primitive". The usual answer, a smaller batch, then fails as well, and so does each shape that
# was not computed before, in this thread, to the end of the process: the error of the compiler is kept in the thread and never cleared.
# Shapes that were computed before still work, and in another thread new ones do.
#
# Seen: before, works; no memory for a kernel, "could not create a primitive"; with all memory free, the same shape and
#       another one: "could not create a primitive", an earlier one works; in another thread a new one works
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet uv==0.13.9
"$folder/env/bin/uv" pip install --quiet --python "$folder/env/bin/python" torch==2.15.0 numpy==2.4.6
"$folder/env/bin/python" - <<'PY'
import ctypes
import resource
from threading import Thread

import torch
from torch.nn import functional as F

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
libc = ctypes.CDLL(None)
libc.mallopt(M_MMAP_THRESHOLD, 2**30)  # tensors find their memory in what was freed
libc.mallopt(M_TRIM_THRESHOLD, 2**30)
torch.set_num_threads(1)
images = torch.rand(2, 96, 32, 32)
weights = {channels: torch.rand(channels, channels, 3, 3) for channels in (16, 32, 48, 64)}


def convolution(name, channels):
    """What a convolution of so many channels says."""
    try:
        F.conv2d(images[:, :channels].contiguous(), weights[channels], padding=1)
        said = "works"
    except RuntimeError as error:
        said = str(error)
    print(f"{name}, {channels} channels: {said}")
    return said


FAILS = "could not create a primitive"
assert convolution("before", 16) == "works"
large, small = torch.ones(2**24), torch.ones(10)
del large
with open("/proc/self/status", encoding="ascii") as lines:
    (taken,) = (1024 * int(line.split()[1]) for line in lines if line.startswith("VmData"))
before = resource.getrlimit(resource.RLIMIT_DATA)
resource.setrlimit(resource.RLIMIT_DATA, (taken, before[1]))
assert convolution("no memory for a kernel", 32) == FAILS
resource.setrlimit(resource.RLIMIT_DATA, before)
assert convolution("memory is free", 32) == FAILS
assert convolution("memory is free", 48) == FAILS
assert convolution("memory is free", 16) == "works"
found = []
thread = Thread(target=lambda: found.append(convolution("in another thread", 64)))
thread.start()
thread.join()
assert found == ["works"]
PY
