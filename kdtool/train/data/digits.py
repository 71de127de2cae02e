"""The 1,797 digits of 8 x 8 pixels that come with scikit-learn."""

import numpy as np
from sklearn import datasets

from kdtool.train.data.source import SourceData
from kdtool.train.data.stratify import stratified_split

TEST_SHARE = 0.2


def load_digits() -> SourceData:
    """Return the digits, a fifth of each class for the test; grey values 0 to 16 as 0 to 255."""
    bunch = datasets.load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]  # (N, 1, 8, 8)
    labels = bunch.target.astype(np.int64)
    train, test = stratified_split(labels, round(TEST_SHARE * len(labels)))
    return SourceData(
        description="handwritten digits of 8 x 8 pixels, from scikit-learn",
        classes=tuple(str(name) for name in bunch.target_names),
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
    )
