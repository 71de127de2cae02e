#!/usr/bin/env bash
# torch.load reads a damaged file of weights without a word, though the file itself says that it is damaged.
#
# torch 2.15.0. torch.save writes a ZIP archive with a CRC-32 of each tensor's bytes. torch.load never compares it: not with
# weights_only=True, not with mmap=True. One flipped bit of a download, a disk or a memory card gives another weight, and a
# network that is a little or completely wrong. Python's zipfile refuses to read the same file, and
# `zipfile.ZipFile(path).testzip()` names the tensor; a hash beside the file does as well, and is what kdtool keeps.
#
# Seen: as saved: smallest weight 1.0, testzip None
#       one bit flipped: torch.load -1.0, with mmap -1.0; testzip weights/data/0
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet uv==0.13.9
"$folder/env/bin/uv" pip install --quiet --python "$folder/env/bin/python" torch==2.15.0 numpy==2.4.6
cd "$folder"
"$folder/env/bin/python" - <<'PY'
import struct
import zipfile
from pathlib import Path

import torch


def smallest(**options):
    return torch.load(path, weights_only=True, **options)["layer.weight"].min().item()


path = Path("weights.pt")
torch.save({"layer.weight": torch.ones(1000)}, path)
print(f"as saved: smallest weight {smallest()}, testzip {zipfile.ZipFile(path).testzip()}")
assert smallest() == 1
assert zipfile.ZipFile(path).testzip() is None

content = bytearray(path.read_bytes())
place = content.index(struct.pack("<f", 1) * 1000) + 4 * 500
content[place + 3] ^= 0x80  # the sign of one weight
path.write_bytes(content)
bad = zipfile.ZipFile(path).testzip()
print(f"one bit flipped: torch.load {smallest()}, with mmap {smallest(mmap=True)}; testzip {bad}")
assert smallest() == smallest(mmap=True) == -1
assert bad == "weights/data/0"
PY
