#!/usr/bin/env bash
# The same resize gives other pixels in Pillow 13 than in Pillow 12 where an image loses many more rows than columns.
#
# Pillow 13.0.0 and 12.3.0. A resize has two passes, and each rounds to 8 bits. Up to 12.3 rows are shortened first, then
# columns. Pillow 13 takes the columns first where that is less work: where an image loses more than about twice as many
# rows as columns. What is rounded in between differs, so pixels differ by one level. A classifier that was trained on
# images shrunk by one version sees slightly other pixels on a device that has the other, of tall pictures only; a check
# with images of the model's own size does not notice.
#
# Seen: 64 x 256 pixels to 48 x 64: 0 of 10 images equal, largest difference 1
#       256 x 256 pixels to 64 x 64: 10 of 10 images equal, largest difference 0
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat >shrink.py <<'PY'
import sys

import numpy as np
import PIL
from PIL import Image

random = np.random.default_rng(0)
for wide, high in ((64, 256), (256, 256)):
    shrunk = []
    for _ in range(10):
        image = Image.fromarray(random.integers(0, 256, (high, wide, 3), dtype=np.uint8))
        shrunk.append(np.asarray(image.resize((48 if wide == 64 else 64, 64), Image.Resampling.BILINEAR)))
    np.save(f"{PIL.__version__}-{wide}.npy", np.stack(shrunk))
PY
for version in 12.3.0 13.0.0; do
    python3 -m venv "env-$version"
    "env-$version/bin/pip" install --quiet "pillow==$version" numpy==2.4.6
    "env-$version/bin/python" shrink.py
done
"env-13.0.0/bin/python" - <<'PY'
import numpy as np

for wide, equal, largest in ((64, 0, 1), (256, 10, 0)):
    old, new = (np.load(f"{version}-{wide}.npy").astype(int) for version in ("12.3.0", "13.0.0"))
    same = sum(int((a == b).all()) for a, b in zip(old, new))
    difference = int(np.abs(old - new).max())
    width = new.shape[2]
    print(f"{wide} x 256 pixels to {width} x 64: {same} of 10 images equal, largest difference {difference}")
    assert (same, difference) == (equal, largest)
PY
