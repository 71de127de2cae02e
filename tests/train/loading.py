"""Loading of data without a terminal."""

from contextlib import nullcontext

from kdtool.train.data import splits


def no_progress(_title, _total):
    return nullcontext(lambda _done, _text: None)


def load_splits(table, warn, progress=no_progress):
    return splits.load_splits(table, warn, progress)
