"""The digits of scikit-learn."""

import numpy as np
from sklearn import datasets

from kdtool.train.data.mnist import load_digits


def test_every_digit_is_there_once_scaled_to_bytes():
    data = load_digits()
    ours = np.concatenate([data.train_images, data.test_images])[:, 0]
    labels = np.concatenate([data.train_labels, data.test_labels])
    bunch = datasets.load_digits()
    assert ours.dtype == np.uint8
    assert ours.max() == 255

    def rows(images, labels):
        return sorted(
            (*image.ravel().tolist(), int(c)) for image, c in zip(images, labels, strict=True)
        )

    # 16 grey steps of 255 / 16 each: rounding back gives the original.
    assert rows(np.rint(ours * (16 / 255)), labels) == rows(bunch.images, bunch.target)


def test_a_fifth_of_each_class_is_for_the_test():
    data = load_digits()
    train, test = np.bincount(data.train_labels), np.bincount(data.test_labels)
    assert len(data.test_labels) == 359  # of 1,797
    assert (np.abs(test - 0.2 * (train + test)) < 1).all()
    assert data.classes == tuple("0123456789")
