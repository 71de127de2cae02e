"""What every source of images hands over, before it is checked and split."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceData:
    """Train and test images as a source has them; N differs between the two."""

    description: str
    classes: tuple[str, ...]
    train_images: NDArray[np.uint8]  # (N, C, H, W)
    train_labels: NDArray[np.int64]  # (N,), each an index into `classes`
    test_images: NDArray[np.uint8]  # (N, C, H, W)
    test_labels: NDArray[np.int64]  # (N,)
    warnings: tuple[str, ...] = ()  # what the user must know, such as what stands in for the data
